"""Tables of published results: one line for each score, in columns that a header names."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from orchestrator.importing.faults import ImportedFileError
from orchestrator.importing.files import text_of
from orchestrator.importing.imported import Imported
from orchestrator.importing.proportion import interval_of
from orchestrator.leaderboard.analysis import Reference
from orchestrator.leaderboard.published import SELECTED_ON
from search_spaces.errors import Fault, suggestion
from search_spaces.published import SelectedOn

Unit = Literal["percent", "fraction"]
ROWS = 10_000
"""Lines that one import reads."""
LONGEST_TEXT = 500
SEPARATORS = {".tsv": "\t"}
"""Of columns, by the end of a file's name; a comma in any other one."""


def _number(written: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", written) or not math.isfinite(float(written)):
        raise ValueError(f"{written!r} is not a number such as 61.2: without a sign of per cent, commas or a range")
    return float(written)


def _seconds(written: str) -> float:
    if (number := _number(written)) < 0:
        raise ValueError(f"{written!r} is below 0")
    return number


def _count(written: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", written):
        raise ValueError(f"{written!r} is not a whole number such as 1319: without commas or units")
    return int(written)


def _positive(written: str) -> int:
    if (number := _count(written)) == 0:
        raise ValueError("it is 0. Valid: 1 or more")
    return number


def _one_of(written: str, valid: Sequence[str]) -> str:
    if written not in valid:
        raise ValueError(f"{written!r} is not valid. {suggestion(written, valid)}")
    return written


COLUMNS: Mapping[str, Callable[[str], Any]] = {
    "method": str,
    "model": str,
    "task": str,
    "metric": str,
    "score": _number,
    "unit": lambda written: _one_of(written, get_args(Unit)),
    "n": _positive,
    "trainable": _count,
    "adapter_bytes": _count,
    "peak_bytes": _count,
    "seconds_per_step": _seconds,
    "source": str,
    "selected_on": lambda written: _one_of(written, get_args(SelectedOn)),
    "notes": str,
}
"""Column -> how its cells are read."""
REQUIRED = ("method", "model", "task", "metric", "score")


def read_table(path: Path, unit: Unit | None = None) -> Imported:
    """Read a table: a header, then a line for each score.

    Columns: method, model, task, metric and score; a unit (percent or fraction), unless it is passed; and as known n (test examples),
    trainable, adapter_bytes, peak_bytes, seconds_per_step, source, selected_on (as in the `published` section of a sweep file), notes.

    Args:
        path: comma-separated, or tab-separated where its name ends in `.tsv`; UTF-8.
        unit: of all scores, where the table has no column for it.

    Raises:
        ImportedFileError: the table has faults; each is told with its line and column.
    """
    lines = list(_lines(path))
    faults = list(_header_faults(lines, unit))
    if faults:
        raise ImportedFileError(str(path), faults)
    (_, header), *rows = lines
    read: list[dict[str, Any]] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, cells in rows:
        values, wrong = _values(line, header, cells, unit)
        faults += wrong or _repeated(line, values, seen)
        read.append(values)
    if faults:
        raise ImportedFileError(str(path), faults)
    return Imported("csv", tuple(_reference(path.name, values) for values in read), {})


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of every line that is not empty."""
    reader = csv.reader(io.StringIO(text_of(path), newline=""), delimiter=SEPARATORS.get(path.suffix.lower(), ","), strict=True)
    begins = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield begins, [cell.strip() for cell in cells]
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ImportedFileError(str(path), [Fault(f"line {reader.line_num}", f"it cannot be cut into cells: {error}")]) from error


def _header_faults(lines: Sequence[tuple[int, list[str]]], unit: Unit | None) -> Iterator[Fault]:
    if len(lines) < 2 or len(lines) > ROWS + 1:
        number = max(0, len(lines) - 1)
        yield Fault("", f"it has {number:,} lines below a header. Valid: 1 to {ROWS:,}", f"begin with {','.join(REQUIRED)},unit")
        return
    line, header = lines[0]
    for name in sorted({name for name in header if name not in COLUMNS}):
        yield Fault(f"line {line}, column {name[:80]}", f"there is no such column. {suggestion(name[:80], COLUMNS)}")
    for name in sorted({name for name in header if header.count(name) > 1}):
        yield Fault(f"line {line}, column {name[:80]}", "it stands there twice")
    for name in REQUIRED:
        if name not in header:
            yield Fault(f"line {line}", f"the column {name} is missing")
    if ("unit" in header) == (unit is not None):
        what = "the unit of the scores is given twice" if unit else "it is not said whether the scores are percentages or fractions"
        yield Fault(f"line {line}", what, "give it once: a column `unit`, or --unit percent or --unit fraction")


def _values(line: int, header: Sequence[str], cells: Sequence[str], unit: Unit | None) -> tuple[dict[str, Any], list[Fault]]:
    """Return the values of a line by column, those of empty cells left out, and what is wrong with it."""
    if len(cells) != len(header):
        what = f"it has {len(cells)} cells, the header has {len(header)}"
        return {}, [Fault(f"line {line}", what, "quote a text that holds a separator")]
    values: dict[str, Any] = {"unit": unit} if unit else {}
    faults = []
    for name, cell in zip(header, cells, strict=True):
        try:
            if len(cell) > LONGEST_TEXT:
                raise ValueError(f"it has {len(cell):,} characters, more than {LONGEST_TEXT}")
            if cell:
                values[name] = COLUMNS[name](cell)
            elif name in (*REQUIRED, "unit"):
                raise ValueError("it is empty")
        except ValueError as error:
            faults.append(Fault(f"line {line}, column {name}", str(error)))
    largest = {"percent": 100, "fraction": 1}.get(values.get("unit", ""))
    if largest and "score" in values and abs(values["score"]) > largest:
        what = f"{values['score']:g} is no {values['unit']}. Valid: {-largest} to {largest}"
        faults.append(Fault(f"line {line}, column score", what))
    return values, faults


def _repeated(line: int, values: Mapping[str, Any], seen: dict[tuple[str, ...], int]) -> Iterator[Fault]:
    key = tuple(str(values.get(name, "")) for name in ("method", "model", "task", "metric", "source"))
    first = seen.setdefault(key, line)
    if first != line:
        yield Fault(f"line {line}", f"the same source already gives this score in line {first}", "keep one of them")


def _reference(file: str, values: Mapping[str, Any]) -> Reference:
    percent = values["unit"] == "percent"
    # Rounded, so that 90.56 becomes 0.9056 and not the fraction next to it.
    score = round(values["score"] / 100, 8) if percent else values["score"]
    n = values.get("n")
    selected_on = [SELECTED_ON[values["selected_on"]]] if "selected_on" in values else []
    return Reference(
        method=values["method"],
        model=values["model"],
        task=values["task"],
        metric=values["metric"],
        score=score,
        n=n,
        ci=interval_of(values["metric"], score, n),
        trainable=values.get("trainable"),
        seconds_per_step=values.get("seconds_per_step"),
        peak_bytes=values.get("peak_bytes"),
        adapter_bytes=values.get("adapter_bytes"),
        source=values.get("source", file),
        notes=(*selected_on, *([values["notes"]] if "notes" in values else [])),
    )
