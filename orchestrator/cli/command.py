"""What every command is made of: its registration, its options, its answer on stdout and its exit code."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TextIO

import click

from orchestrator.output import answer_stream, safe
from search_spaces.errors import FairsweepError, StorageError

DONE, NO, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a key of the sweep file; repeatable."
)
accept_option = click.option(
    "--accept-edge", is_flag=True, help="Report points that were selected on the edge of the grid as they are, their rows marked."
)
tracking_option = click.option(
    "--tracking-uri", metavar="URI", help="MLflow tracking store (default: MLFLOW_TRACKING_URI, else ./fairsweep/mlflow.db)."
)
storage_option = click.option(
    "--storage",
    metavar="PATH|URI",
    default="fairsweep/sweeps",
    show_default=True,
    help="Where all sweeps are kept: a folder, or a URI such as s3://BUCKET/FOLDER.",
)


def with_edge(overrides: Sequence[str], accept_edge: bool) -> tuple[str, ...]:
    """Return the overrides of a sweep file, with what `--accept-edge` adds to them."""
    return (*overrides, *(["search.accept_edge=true"] if accept_edge else []))


class Answer:
    """Writes a command's answer to the real stdout."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def json(self, document: Any) -> None:
        """Write one JSON document."""
        self.stream.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def text(self, text: str) -> None:
        """Write text as it is, at once: a command may go on after it."""
        self.stream.write(text if text.endswith("\n") else text + "\n")
        self.stream.flush()

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


def command(*options: Callable[..., Any], group: click.Group = cli) -> Callable[[Callable[..., int]], click.Command]:
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
        return group.command(function.__name__.rstrip("_").replace("_", "-"))(body)

    return register


def _guarded(function: Callable[..., int], answer: Answer, debug: bool, arguments: dict[str, Any]) -> int:
    try:
        return function(answer, **arguments)
    except FairsweepError as error:
        if debug:
            click.echo(safe(traceback.format_exc()), err=True)
        click.echo(safe(f"fairsweep: {error}"), err=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        click.echo("fairsweep: interrupted", err=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  a stack trace may hold what must not be shown
        if debug:
            click.echo(safe(traceback.format_exc()), err=True)
        click.echo(safe(f"fairsweep: internal error: {error!r}. This is a defect; `fairsweep --debug ...` shows where"), err=True)
        return BAD_INPUT


def reader(tracking_uri: str | None) -> Any:
    """Return a reader of the runs in the tracking store."""
    from orchestrator.tracking.connection import tracking_uri as chosen_uri
    from orchestrator.tracking.records import RunReader

    return RunReader(chosen_uri(tracking_uri))


def write(path: Path, text: str) -> None:
    """Write a file, its folder made where it is missing.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def main() -> None:
    """Entry point of `fairsweep`."""
    cli(prog_name="fairsweep")
