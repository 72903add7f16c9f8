"""What the harness says at its end: a table, or one JSON document."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

Verdict = Literal["survived", "not survived", "skipped"]
COLOURS = {"survived": "green", "not survived": "red", "skipped": "yellow"}


@dataclass(frozen=True)
class Verdicts:
    """What became of one fault.

    Attributes:
        done: what was done.
        starts: how often the command was given in all.
        violations: what did not hold.
        notes: what was seen.
    """

    name: str
    number: int
    done: str
    verdict: Verdict
    starts: int = 0
    seconds: float = 0.0
    reason: str = ""
    violations: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())


def document(results: Sequence[Verdicts], seed: int, seconds: float) -> dict[str, Any]:
    """Return what `--json` prints."""
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in COLOURS}
    return {
        "ok": not counts["not survived"],
        "seed": seed,
        "seconds": round(seconds, 1),
        **{name.replace(" ", "_"): count for name, count in counts.items()},
        "faults": [{**asdict(result), "seconds": round(result.seconds, 1)} for result in results],
    }


def show(results: Sequence[Verdicts], seconds: float) -> None:
    """Print the table, and below it what did not hold."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table("#", "fault", "what is done", "starts", "seconds", "verdict")
    for result in results:
        colour = COLOURS[result.verdict]
        row = (str(result.number), result.name, result.done, str(result.starts or "-"), f"{result.seconds:.0f}")
        table.add_row(*row, f"[{colour}]{result.verdict}[/]")
    console.print(table)
    for result in results:
        for line in (*result.violations, *([result.reason] if result.reason else [])):
            console.print(f"{result.name}: {line}", markup=False)
    survived = sum(result.verdict == "survived" for result in results)
    console.print(f"{survived} of {len(results)} faults survived, {seconds:.0f} s.")
