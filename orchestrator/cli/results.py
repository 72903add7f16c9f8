"""Commands on what MLflow holds: leaderboard, audit, runs, show, ui, export."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.command import DONE, NO, Answer, command, json_option, reader, tracking_option, write
from search_spaces.errors import FairsweepError


@command(
    click.argument("sweep", required=False),
    click.option("--format", "form", type=click.Choice(["table", "json", "csv", "md"]), default="table", show_default=True),
    click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file."),
    tracking_option,
)
def leaderboard(answer: Answer, sweep: str | None, form: str, out: Path | None, tracking_uri: str | None) -> int:
    """Show the leaderboard of SWEEP (default: the one that ran last), computed from MLflow alone."""
    from orchestrator.leaderboard import render
    from orchestrator.leaderboard.board import board_of
    from orchestrator.recorded import load

    board = board_of(load(reader(tracking_uri), sweep))
    if form == "table":
        if out is not None:
            raise FairsweepError("a table is for the terminal. Fix: pass --format json, csv or md with --out")
        answer.show(render.table(board))
        return DONE
    text = render.text(board, form)
    if out is None:
        answer.text(text)
    else:
        write(out, text)
    return DONE


@command(click.argument("sweep"), tracking_option, json_option)
def audit(answer: Answer, sweep: str, tracking_uri: str | None, as_json: bool) -> int:
    """Derive the fairness certificate of SWEEP again, from its MLflow runs alone; exit code 1 when a rule fails."""
    from orchestrator import tables
    from orchestrator.audit import audit as audited
    from orchestrator.recorded import load

    certificate = audited(load(reader(tracking_uri), sweep))
    if as_json:
        answer.json(certificate.to_json())
    else:
        answer.show(*tables.certificate(certificate, certificate.missing))
    return DONE if certificate.ok else NO


@command(click.argument("sweep"), tracking_option, json_option)
def runs(answer: Answer, sweep: str, tracking_uri: str | None, as_json: bool) -> int:
    """List the trials of SWEEP with their status."""
    from orchestrator.leaderboard.listing import lines_of, listing
    from orchestrator.recorded import load

    lines = lines_of(load(reader(tracking_uri), sweep))
    if as_json:
        answer.json([line.model_dump(mode="json") for line in lines])
    else:
        answer.show(listing(lines))
    return DONE


@command(click.argument("run_id", metavar="RUN"), tracking_option, json_option)
def show(answer: Answer, run_id: str, tracking_uri: str | None, as_json: bool) -> int:
    """Show one run in full. RUN is an MLflow run id or a trial id."""
    from orchestrator.leaderboard.listing import run_json, run_view

    record = reader(tracking_uri).run(run_id)
    if as_json:
        answer.json(run_json(record))
    else:
        answer.show(run_view(record))
    return DONE


@command(
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
    click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535)),
    tracking_option,
)
def ui(answer: Answer, host: str, port: int, tracking_uri: str | None) -> int:
    """Browse the runs: start the MLflow server on the tracking store."""
    from orchestrator.tracking.server import serve

    return serve(tracking_uri, host, port)


@command(
    click.argument("run_id", metavar="RUN"),
    click.option("--format", "form", type=click.Choice(["lora", "peft", "merged"]), required=True),
    click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder."),
    tracking_option,
)
def export(answer: Answer, run_id: str, form: str, out: Path, tracking_uri: str | None) -> int:
    """Write the adapter of a run for other tools. RUN is an MLflow run id or a trial id."""
    from orchestrator.exporting import export_run

    export_run(reader(tracking_uri), run_id, form, out)
    answer.text(f"wrote {out}")
    return DONE
