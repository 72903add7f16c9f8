"""Which benchmarks there are, read from their source: importing one would load torch or Ray."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
STATED = {"TARGETS", "BUDGET_SECONDS"}


@dataclass(frozen=True)
class Benchmark:
    """A module of this package that states targets and a time budget.

    Attributes:
        module: what `python -m` takes.
        budget_seconds: the longest it should take at its default sizes on two idle processors.
    """

    name: str
    module: str
    budget_seconds: float


def benchmarks(folder: Path = FOLDER) -> list[Benchmark]:
    """Return the benchmarks of a folder by name.

    Raises:
        ValueError: if a module states targets and no budget, or a budget and no targets.
    """
    found = []
    for file in sorted(folder.glob("*.py")):
        stated = _stated(ast.parse(file.read_text(encoding="utf-8")))
        if not stated:
            continue
        if missing := STATED - set(stated):
            raise ValueError(f"{file}: {' and '.join(sorted(missing))} is missing; a benchmark states {' and '.join(sorted(STATED))}")
        found.append(Benchmark(file.stem, f"tests.benchmarks.{file.stem}", float(ast.literal_eval(stated["BUDGET_SECONDS"]))))
    return found


def _stated(module: ast.Module) -> dict[str, ast.expr]:
    """Return the values that a module's top level gives to the names of interest."""
    values = {}
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        for target in targets:
            if isinstance(target, ast.Name) and target.id in STATED and node.value is not None:  # type: ignore[attr-defined]
                values[target.id] = node.value  # type: ignore[attr-defined]
    return values
