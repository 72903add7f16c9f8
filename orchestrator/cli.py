"""The command line: reads arguments, prints answers. The only module that prints; everything heavy is imported inside a command."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TextIO

import click

from orchestrator.output import answer_stream
from search_spaces.errors import FairsweepError

DONE, NO, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key of the sweep file; repeatable."
)
tracking_option = click.option(
    "--tracking-uri", metavar="URI", help="MLflow tracking store (default: MLFLOW_TRACKING_URI, else ./fairsweep/mlflow.db)."
)
storage_option = click.option(
    "--storage",
    type=click.Path(path_type=Path),
    default=Path("fairsweep/sweeps"),
    show_default=True,
    help="Folder of all sweeps.",
)


class Answer:
    """Writes a command's answer to the real stdout."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def json(self, document: Any) -> None:
        """Write one JSON document."""
        self.stream.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def text(self, text: str) -> None:
        """Write text as it is."""
        self.stream.write(text if text.endswith("\n") else text + "\n")

    def show(self, *renderables: Any) -> None:
        """Write tables and the like, as wide as the terminal, or 160 columns elsewhere."""
        from rich.console import Console

        console = Console(file=self.stream, width=None if self.stream.isatty() else 160, highlight=False)
        for renderable in renderables:
            console.print(renderable)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--debug", is_flag=True, help="Show log messages, and the stack trace of an error.")
@click.version_option(package_name="fairsweep")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Fair comparisons of parameter-efficient fine-tuning methods."""
    context.obj = debug


def command(*options: Callable[..., Any]) -> Callable[[Callable[..., int]], click.Command]:
    """Register a command: its function gets an Answer first, and its return value is the exit code."""

    def register(function: Callable[..., int]) -> click.Command:
        @wraps(function)
        def run(context: click.Context, **arguments: Any) -> None:
            with answer_stream(debug=bool(context.obj)) as stream:
                code = _guarded(function, Answer(stream), bool(context.obj), arguments)
            context.exit(code)

        body: Any = click.pass_context(run)
        for option in reversed(options):
            body = option(body)
        return cli.command(function.__name__.rstrip("_").replace("_", "-"))(body)

    return register


def _guarded(function: Callable[..., int], answer: Answer, debug: bool, arguments: dict[str, Any]) -> int:
    try:
        return function(answer, **arguments)
    except FairsweepError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"fairsweep: {error}", err=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        click.echo("fairsweep: interrupted", err=True)
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        click.echo(f"fairsweep: internal error: {error!r}. This is a defect; `fairsweep --debug ...` shows where", err=True)
        return BAD_INPUT


# ------------------------------------------------------------------------------------------------------------- sweeps


@command(click.argument("spec"), set_option, json_option)
def plan(answer: Answer, spec: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what a sweep would run, and certify that it is fair; trains nothing. SPEC is a file or a study's name."""
    from orchestrator import tables
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan

    made = load_plan(spec, InstalledCatalog(), overrides)
    if as_json:
        answer.json(made.to_json())
    else:
        answer.show(*tables.plan(made))
    return DONE if made.certificate.ok else NO


@command(
    click.argument("spec"),
    set_option,
    click.option("--address", metavar="HOST:PORT", help="Ray cluster; without it the sweep runs on this machine."),
    storage_option,
    tracking_option,
    click.option("--retry-failed", is_flag=True, help="Run trials again that failed."),
    json_option,
)
def run(
    answer: Answer,
    spec: str,
    overrides: tuple[str, ...],
    address: str | None,
    storage: Path,
    tracking_uri: str | None,
    retry_failed: bool,
    as_json: bool,
) -> int:
    """Run a sweep, or continue it: what has finished is not repeated. SPEC is a file or a study's name."""
    from rich.console import Console

    from orchestrator.catalog import InstalledCatalog
    from orchestrator.display import SweepDisplay
    from orchestrator.plan import load_plan
    from orchestrator.report import RunReport
    from orchestrator.sweep.runner import Runner, sweep_documents
    from orchestrator.tracking.connection import tracking_uri as chosen_uri

    made = load_plan(spec, InstalledCatalog(), overrides)
    uri = chosen_uri(tracking_uri)
    with SweepDisplay(Console(stderr=True), len(made.trials) + made.report_count, made.main_metrics) as display:
        result = Runner(made, storage, uri, display, sweep_documents(made), address, retry_failed).run()
    report = RunReport(made, result, uri)
    for line in report.warnings():
        click.echo(f"fairsweep: {line}", err=True)
    if result.interrupted:
        click.echo(f"fairsweep: interrupted; what has finished is saved. To continue, run: {report.command(sys.argv)}", err=True)
        return INTERRUPTED
    if as_json:
        answer.json(report.to_json())
    else:
        answer.show(*report.renderables())
    return NO if result.failed else DONE


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

    board = board_of(load(_reader(tracking_uri), sweep))
    if form == "table":
        if out is not None:
            raise FairsweepError("a table is for the terminal. Fix: pass --format json, csv or md with --out")
        answer.show(render.table(board))
        return DONE
    text = render.text(board, form)
    if out is None:
        answer.text(text)
    else:
        _write(out, text)
    return DONE


@command(click.argument("sweep"), tracking_option, json_option)
def audit(answer: Answer, sweep: str, tracking_uri: str | None, as_json: bool) -> int:
    """Derive the fairness certificate of SWEEP again, from its MLflow runs alone; exit code 1 when a rule fails."""
    from orchestrator import tables
    from orchestrator.audit import audit as audited
    from orchestrator.recorded import load

    certificate = audited(load(_reader(tracking_uri), sweep))
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

    lines = lines_of(load(_reader(tracking_uri), sweep))
    if as_json:
        answer.json([line.model_dump(mode="json") for line in lines])
    else:
        answer.show(listing(lines))
    return DONE


@command(click.argument("run_id", metavar="RUN"), tracking_option, json_option)
def show(answer: Answer, run_id: str, tracking_uri: str | None, as_json: bool) -> int:
    """Show one run in full. RUN is an MLflow run id or a trial id."""
    from orchestrator.leaderboard.listing import run_json, run_view

    record = _reader(tracking_uri).run(run_id)
    if as_json:
        answer.json(run_json(record))
    else:
        answer.show(run_view(record))
    return DONE


@command(click.argument("sweep"), storage_option, json_option)
def clean(answer: Answer, sweep: str, storage: Path, as_json: bool) -> int:
    """Remove what SWEEP left besides its Outcomes: checkpoints and the remains of interrupted trials."""
    from orchestrator.sweep.cleaning import clean as cleaned

    removed = cleaned(storage, sweep)
    if as_json:
        answer.json({"sweep": sweep, "removed": removed})
    else:
        answer.text(f"removed {len(removed)} folders of sweep {sweep}" + "".join(f"\n  {path}" for path in removed))
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


# ------------------------------------------------------------------------------------------------------- what there is


def _listing(answer: Answer, kind: str, as_json: bool) -> int:
    from orchestrator import inventory, tables

    rows = inventory.KINDS[kind]()
    if as_json:
        answer.json(rows)
    else:
        answer.show(tables.listing(rows))
    return DONE


@command(json_option)
def methods(answer: Answer, as_json: bool) -> int:
    """List the registered methods, those of HF PEFT among them."""
    return _listing(answer, "methods", as_json)


@command(json_option)
def tasks(answer: Answer, as_json: bool) -> int:
    """List the registered tasks."""
    return _listing(answer, "tasks", as_json)


@command(json_option)
def models(answer: Answer, as_json: bool) -> int:
    """List the registered base models; any hub id or local folder works as well."""
    return _listing(answer, "models", as_json)


@command(json_option)
def studies(answer: Answer, as_json: bool) -> int:
    """List the ready sweeps."""
    return _listing(answer, "studies", as_json)


@command(
    click.option("--model", required=True, help="Registered name, hub id or local folder."),
    click.option("--method", required=True, help="Registry key, such as lora or peft/vera."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Capacity or setting, such as rank=4; repeatable."),
    click.option("--targets", default="", metavar="ROLES", help="Roles, such as q,v (default: the method's own)."),
    json_option,
)
def count(answer: Answer, model: str, method: str, settings: tuple[str, ...], targets: str, as_json: bool) -> int:
    """Count trainable parameters, from the model's config alone."""
    from orchestrator import tables
    from orchestrator.counting import count_document

    document = count_document(model, method, settings, [role.strip() for role in targets.split(",") if role.strip()])
    if as_json:
        answer.json(document)
    else:
        answer.show(tables.document(document))
    return DONE


@command(
    click.argument("task"),
    click.argument("file", type=click.Path(path_type=Path)),
    click.option("--rows", is_flag=True, help="Print the scores of every row, one JSON object a line."),
    json_option,
)
def score(answer: Answer, task: str, file: Path, rows: bool, as_json: bool) -> int:
    """Score a JSONL FILE of {prediction, references} with the official metric of TASK."""
    from trainers import registry
    from trainers.scoring import score_file

    scores = score_file(registry.task(task), file)
    if rows:
        if scores.rows is None:
            raise FairsweepError(f"{task} is not scored row by row. Fix: leave out --rows")
        answer.text("\n".join(json.dumps(row) for row in scores.rows))
    elif as_json:
        answer.json({"task": task, "n": scores.count, "metrics": scores.metrics})
    else:
        answer.text(f"{task}, {scores.count} rows: " + ", ".join(f"{name} {100 * value:.2f}" for name, value in scores.metrics.items()))
    return DONE


@command(click.argument("task"), click.argument("file", type=click.Path(path_type=Path)), json_option)
def prompt(answer: Answer, task: str, file: Path, as_json: bool) -> int:
    """Render the rows of a JSONL FILE as TASK's prompts: one JSON object a line."""
    from trainers import registry
    from trainers.scoring import render_file

    answer.text("\n".join(json.dumps(row, ensure_ascii=False) for row in render_file(registry.task(task), file)))
    return DONE


@command(
    click.argument("run_id", metavar="RUN"),
    click.option("--format", "form", type=click.Choice(["lora", "peft", "merged"]), required=True),
    click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder."),
    tracking_option,
)
def export(answer: Answer, run_id: str, form: str, out: Path, tracking_uri: str | None) -> int:
    """Write the adapter of a run for other tools. RUN is an MLflow run id or a trial id."""
    from orchestrator.exporting import export_run

    export_run(_reader(tracking_uri), run_id, form, out)
    answer.text(f"wrote {out}")
    return DONE


# ----------------------------------------------------------------------------------------------------------------- main


def _reader(tracking_uri: str | None) -> Any:
    from orchestrator.tracking.connection import tracking_uri as chosen_uri
    from orchestrator.tracking.records import RunReader

    return RunReader(chosen_uri(tracking_uri))


def _write(path: Path, text: str) -> None:
    from search_spaces.errors import StorageError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def main() -> None:
    """Entry point of `fairsweep`."""
    cli(prog_name="fairsweep")


if __name__ == "__main__":
    main()
