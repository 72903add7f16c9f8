"""Commands that read published results into a sweep: import peft-results, import csv."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.command import DONE, Answer, cli, command, json_option, tracking_option

if TYPE_CHECKING:
    from orchestrator.importing.imported import Imported


@cli.group("import")
def published() -> None:
    """Read results that were published, and not run here, into a sweep: its board shows them apart and never ranks them."""


sweep_option = click.option("--sweep", required=True, metavar="NAME", help="The sweep whose board shows them; it need not have run yet.")
name_option = click.option(
    "--name", metavar="NAME", help="Tells several imports apart: one of the same name is replaced (default: that of the file or folder)."
)


@command(
    click.argument("folder", metavar="DIR", type=click.Path(path_type=Path)),
    sweep_option,
    name_option,
    click.option("--task", help="What the scores are on (default: the data set that each file names last)."),
    click.option("--test-size", type=click.IntRange(min=1), help="Number of test examples, for the intervals (default: as known)."),
    tracking_option,
    json_option,
    group=published,
)
def peft_results(
    answer: Answer,
    folder: Path,
    sweep: str,
    name: str | None,
    task: str | None,
    test_size: int | None,
    tracking_uri: str | None,
    as_json: bool,
) -> int:
    """Import the result files of a method comparison of HF PEFT: the *.json files in DIR."""
    from orchestrator.importing.peft_results import read_results

    _check_sweep(sweep)
    return _record(answer, read_results(folder, task, test_size), sweep, name or folder.resolve().name, tracking_uri, as_json)


@command(
    click.argument("file", type=click.Path(path_type=Path)),
    sweep_option,
    name_option,
    click.option("--unit", type=click.Choice(["percent", "fraction"]), help="Of all scores, for a table without a column `unit`."),
    tracking_option,
    json_option,
    group=published,
)
def csv(answer: Answer, file: Path, sweep: str, name: str | None, unit: Any, tracking_uri: str | None, as_json: bool) -> int:
    """Import a table: a header, then a line for each score.

    Required columns: method, model, task, metric, score, and unit (percent or fraction) unless --unit is passed. Others: n (test
    examples), trainable, adapter_bytes, peak_bytes, seconds_per_step, source, selected_on (evaluation, selection or unknown), notes.
    """
    from orchestrator.importing.table import read_table

    _check_sweep(sweep)
    return _record(answer, read_table(file, unit), sweep, name or file.stem, tracking_uri, as_json)


def _check_sweep(name: str) -> None:
    from search_spaces.errors import FairsweepError
    from search_spaces.spec import sweep_name

    try:
        sweep_name(name)
    except ValueError as error:
        raise FairsweepError(f"--sweep: {error}") from error


def _record(answer: Answer, imported: Imported, sweep: str, name: str, tracking_uri: str | None, as_json: bool) -> int:
    from orchestrator.importing.recording import record_references
    from orchestrator.output import safe
    from orchestrator.tracking.connection import shown_uri
    from orchestrator.tracking.connection import tracking_uri as chosen_uri

    uri = chosen_uri(tracking_uri)
    run_id = record_references(uri, sweep, name, imported, time.time())
    references = imported.references
    if as_json:
        document = {"sweep": sweep, "name": name, "references": len(references), "left_out": imported.left_out, "run_id": run_id}
        answer.json({**document, "tracking_uri": shown_uri(uri)})
        return DONE
    low, high = (100 * pick(reference.score for reference in references) for pick in (min, max))
    with_interval = sum(reference.ci is not None for reference in references)
    lines = [f"imported {len(references)} published scores into sweep {sweep}: {low:.1f} to {high:.1f} %, {with_interval} with an interval"]
    lines += [f"left out {file}: {reason}" for file, reason in imported.left_out.items()]
    answer.text(safe("\n".join(lines)))
    return DONE
