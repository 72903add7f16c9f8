"""Commands on what MLflow holds: leaderboard, appendix, audit, runs, show, ui, export."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.command import DONE, NO, Answer, command, json_option, reader, tracking_option, write
from search_spaces.errors import FairsweepError

FORMATS = ("table", "json", "csv", "md", "latex", "html")


@command(
    click.argument("sweep", required=False),
    click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True),
    click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file."),
    click.option("--figures", type=click.Path(path_type=Path, file_okay=False), help="Also write the figures to a folder, as SVG and PDF."),
    tracking_option,
)
def leaderboard(answer: Answer, sweep: str | None, form: str, out: Path | None, figures: Path | None, tracking_uri: str | None) -> int:
    """Show the leaderboard of SWEEP (default: the one that ran last), computed from MLflow alone."""
    from orchestrator.leaderboard import render
    from orchestrator.leaderboard.reading import read_board
    from orchestrator.tracking.connection import tracking_uri as chosen_uri

    if form == "table" and out is not None:
        raise FairsweepError("a table is for the terminal. Fix: pass --format json, csv, md, latex or html with --out")
    board = read_board(chosen_uri(tracking_uri), sweep)
    if figures is not None:
        from orchestrator.leaderboard.export.figures.files import write_figures

        click.echo(f"fairsweep: {len(write_figures(board, figures))} files of figures in {figures}", err=True)
    if form == "table":
        answer.show(render.table(board))
    elif out is None:
        answer.text(render.text(board, form))
    else:
        write(out, render.text(board, form))
    return DONE


@command(
    click.argument("sweep"),
    click.option("--out", type=click.Path(path_type=Path), required=True, help="A new or empty folder, or one that holds an appendix."),
    tracking_option,
)
def appendix(answer: Answer, sweep: str, out: Path, tracking_uri: str | None) -> int:
    """Write how the numbers of SWEEP came about, for reviewers: Markdown, LaTeX and figures."""
    from orchestrator.appendix.folder import check_replaceable, write_appendix
    from orchestrator.appendix.source import read_source
    from orchestrator.tracking.connection import tracking_uri as chosen_uri

    check_replaceable(out)
    files = write_appendix(read_source(chosen_uri(tracking_uri), sweep), out)
    answer.text(f"wrote {len(files)} files to {out}: start with appendix.md or appendix.tex")
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
        answer.show(*tables.audit(certificate))
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
    click.option("--auth", is_flag=True, help="Ask for a login: MLflow's basic auth, as MLFLOW_AUTH_CONFIG_PATH configures it."),
    tracking_option,
)
def ui(answer: Answer, host: str, port: int, auth: bool, tracking_uri: str | None) -> int:
    """Browse the runs and the leaderboard: start the MLflow server on the tracking store."""
    from orchestrator.tracking.server import is_open, serve

    if is_open(host, auth):
        fix = "Fix: pass --auth, or leave --host out and come through a tunnel"
        click.echo(f"fairsweep: whoever reaches {host} may read, change and delete all runs. {fix}", err=True)
    return serve(tracking_uri, host, port, auth=auth, ready=lambda address: answer.text(f"leaderboard: {address}"))


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
