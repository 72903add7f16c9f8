"""An analysis of made-up rows, every part of it filled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import (
    AcrossTasks,
    Analysis,
    Cost,
    Drift,
    ExpectedBest,
    Family,
    Front,
    Granularity,
    Grid,
    GridPoint,
    Learning,
    Pair,
    Reference,
    Sensitivity,
)
from orchestrator.leaderboard.row import Row
from search_spaces.trial import BASE

RATES = (1e-5, 1e-4, 1e-3, 1e-2)
SCALES = (0.5, 1.0, 2.0)
COSTS: tuple[Cost, ...] = ("trainable", "adapter_bytes", "seconds_per_step", "peak_bytes")


def analysis_of(rows: Sequence[Row], draw: np.random.Generator) -> Analysis:
    """Return what the page shows beside the rows."""
    tuned = [row for row in rows if row.method != BASE]
    grids = [_grid(row, task, draw) for row in tuned for task in row.tasks]
    models = list(dict.fromkeys(row.model for row in rows))
    return Analysis(
        families=tuple(_family([row for row in rows if row.model == model], model) for model in models),
        across_tasks=tuple(_across([row for row in rows if row.model == model], model) for model in models),
        expected_best=tuple(_expected(grid) for grid in grids),
        grids=tuple(grids),
        sensitivities=tuple(
            Sensitivity(model=g.model, task=g.task, row=g.row, shares={"learning_rate": 0.71, "scale": 0.12}, spread=0.031) for g in grids
        ),
        fronts=tuple(_front([row for row in tuned if row.model == model], model, cost) for model in models for cost in COSTS),
        granularities=tuple(_granularities(tuned)),
        learning=tuple(_learning(row, task, draw) for row in tuned for task in row.tasks),
        references=_references(),
        drift=(
            Drift(environment="5f2c" * 16, changes=(), deviation=0.0, run_id="d" * 32),
            Drift(environment="9ab1" * 16, changes=("torch 2.12.0 -> 2.13.0", "A100 -> H100"), deviation=0.0031, run_id="e" * 32),
        ),
        device_hours=dict.fromkeys((row.method for row in tuned), 3.5),
        notes=("opt-1.3b, dora (rank=64): no interval on average, for squad is missing",),
    )


def name(row: Row) -> str:
    return row_name(row.method, row.capacity)


def _grid(row: Row, task: str, draw: np.random.Generator) -> Grid:
    axes: dict[str, tuple[Any, ...]] = {"learning_rate": RATES, "scale": SCALES}
    if row.method == "lora_xs":
        axes = {"learning_rate": RATES}
    if row.method == "melora":
        axes |= {"weight_decay": (0.0, 0.1)}
    points = [_point(dict(zip(axes, values, strict=True)), row, draw) for values in product(*axes.values())]
    best = max(points, key=lambda point: point.score if point.score is not None else -1.0)
    edges = tuple(a for a, values in axes.items() if len(values) > 2 and best.point[a] in (values[0], values[-1]))
    return Grid(model=row.model, task=task, row=name(row), axes=axes, points=tuple(points), selected=best.point, edges=edges)


def _point(point: dict[str, Any], row: Row, draw: np.random.Generator) -> GridPoint:
    if point["learning_rate"] == 1e-2 and row.method in {"lora", "full"}:
        return GridPoint(point=point, score=None, loss=None, statuses=("diverged",), runs=("a" * 32,))
    fall = (
        abs(np.log10(point["learning_rate"]) + (4.4 if row.method == "full" else 3.2)) * 0.05 + abs(np.log2(point.get("scale", 1))) * 0.01
    )
    score = float((row.average or 0.5) - fall + draw.normal(0, 0.006))
    return GridPoint(point=point, score=score, loss=2 - score, statuses=("finished",), runs=(f"{draw.integers(2**60):032x}",))


def _expected(grid: Grid) -> ExpectedBest:
    scores = sorted(point.score if point.score is not None else 0.45 for point in grid.points)
    means = [float(np.mean([max(c) for c in _draws(scores, n)])) for n in range(1, len(scores) + 1)]
    return ExpectedBest(model=grid.model, task=grid.task, row=grid.row, scores=tuple(np.maximum.accumulate(means).tolist()), untuned=0.45)


def _draws(scores: Sequence[float], n: int) -> list[list[float]]:
    draw = np.random.default_rng(n)
    return [draw.choice(scores, n, replace=False).tolist() for _ in range(20)]


def _family(rows: Sequence[Row], model: str) -> Family:
    tested = [row for row in rows if row.average is not None]
    pairs = []
    for a, b in combinations(tested, 2):
        difference = (a.average or 0) - (b.average or 0)
        low, high = difference - 0.014, difference + 0.014
        verdict = "better" if low > 0 else "worse" if high < 0 else "non-inferior" if low > -0.01 else "inconclusive"
        p = max(0.0001, min(1.0, float(np.exp(-abs(difference) * 300))))
        pairs.append(
            Pair.model_validate({"a": name(a), "b": name(b), "difference": difference, "ci": (low, high), "p": p, "verdict": verdict})
        )
    left_out = {name(row): "squad is missing" for row in rows if row.average is None}
    return Family(
        name=f"all pairs of {model} on average",
        model=model,
        task=None,
        margin=0.01,
        resamples=10_000,
        pairs=tuple(pairs),
        left_out=left_out,
    )


def _across(rows: Sequence[Row], model: str) -> AcrossTasks:
    return AcrossTasks(model=model, average_ranks={name(row): n + 1.5 for n, row in enumerate(rows) if row.average is not None})


def _front(rows: Sequence[Row], model: str, cost: Cost) -> Front:
    found: list[Row] = []
    for row in sorted((row for row in rows if row.average is not None), key=lambda row: getattr(row, cost)):
        if not found or (row.average or 0) > (found[-1].average or 0):
            found.append(row)
    return Front(model=model, cost=cost, rows=tuple(map(name, found)))


def _granularities(rows: Sequence[Row]) -> list[Granularity]:
    sizes: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        sizes.setdefault((row.model, row.method), []).append(row.trainable or 0)
    return [
        Granularity(model=model, method=method, sizes=tuple(sorted(found)), smallest=min(found), step=None if len(found) == 1 else 4.2)
        for (model, method), found in sizes.items()
    ]


def _learning(row: Row, task: str, draw: np.random.Generator) -> Learning:
    floor, speed = float(draw.uniform(0.2, 0.9)), float(draw.uniform(20, 90))
    curve = tuple((step, floor + 2.2 * float(np.exp(-step / speed)) + float(draw.normal(0, 0.015))) for step in range(0, 400, 16))
    reached = float(draw.integers(60, 380)) if row.method != "prompt" else None
    return Learning(model=row.model, task=task, row=name(row), train_loss=curve[-1][1], target=0.6, steps_to_target=reached, curve=curve)


def _references() -> tuple[Reference, ...]:
    source = "method_comparison/results/lora.json, 2026-01-12"
    first = Reference(
        method="lora-rank32", model="llama-3.2-3B", task="gsm8k", metric="accuracy", score=0.4806, ci=(0.454, 0.508), trainable=9_175_040,
        seconds_per_step=0.19, peak_bytes=22_000_000_000, adapter_bytes=36_715_216, source=source, notes=("one seed",),
    )  # fmt: skip
    return (first, first.model_copy(update={"method": "<img src=x onerror=alert(1)>", "score": 0.21, "ci": None}))
