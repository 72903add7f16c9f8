"""The table of target against reached: in the terminal, and as Markdown for the README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = ("benchmark", "figure", "target", "reached", "")
Row = tuple[str, str, str, str, str]


def rows(documents: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Give a row for each figure, and one for each benchmark that has none, with the reason."""
    for document in documents:
        name = document["benchmark"]
        if reason := document.get("failed"):
            yield name, "", "", "FAILED", reason
        elif reason := document.get("left_out"):
            yield name, "", "", "left out", reason
        for figure in document["figures"]:
            yield name, figure["name"], target_text(figure), reached_text(figure), figure["note"]


def target_text(figure: Mapping[str, Any]) -> str:
    """Return a target as words: at least 1.5 x, at most 0.2 s."""
    if figure["target"] is None:
        return ""
    bound = "at least" if figure["better"] == "higher" else "at most"
    return f"{bound} {number_text(figure['target'])} {figure['unit']}".rstrip()


def reached_text(figure: Mapping[str, Any]) -> str:
    """Return what was reached, and that it misses the target if it does."""
    if figure["reached"] is None:
        return "not measured"
    text = f"{number_text(figure['reached'])} {figure['unit']}".rstrip()
    return f"{text}  MISSED" if figure["met"] is False else text


def number_text(number: float) -> str:
    """Return a number with three significant digits, or as it is if it is whole and large."""
    if number and abs(number) < 1e-3:
        return f"{number:.1e}"
    return f"{number:,.0f}" if abs(number) >= 1000 or number == int(number) else f"{number:.3g}"


def show(documents: Sequence[Mapping[str, Any]]) -> None:
    """Print the table to stdout."""
    table = Table(*COLUMNS, box=None, pad_edge=False, title_justify="left")
    before = None
    for name, figure, target, reached, note in rows(documents):
        style = "bold red" if "MISSED" in reached or reached == "FAILED" else None
        table.add_row("" if name == before else name, figure, target, reached, note, style=style)
        before = name
    Console(width=None if Console().is_terminal else 180, highlight=False, markup=False).print(table)


def markdown(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as Markdown; what missed its target is in bold."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for name, figure, target, reached, note in rows(documents):
        strong = f"**{reached.replace('  MISSED', ', missed')}**" if "MISSED" in reached or reached == "FAILED" else reached
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in (f'`{name}`', figure.replace('_', ' '), target, strong, note))} |")
    return "\n".join(lines) + "\n"
