"""Documents as `Board.to_json` makes them, of made-up sweeps: a large one with everything on it, and small ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.audit import Audit
from orchestrator.fairness import Rule
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.row import FailedRun, MetricScore, PublishedScores, Row, TaskScore
from search_spaces.trial import BASE
from tests.orchestrator.leaderboard.page.analyses import RATES, analysis_of
from trainers.results import Counts

MODELS = ("llama2-7b", "opt-1.3b")
TASKS = {"copa": "accuracy", "squad": "f1", "drop": "f1"}
METHODS = {
    "lora": (8.0, 3.2, {"rank": (1, 8, 64)}),
    "dora": (8.4, 3.3, {"rank": (1, 8, 64)}),
    "lorta": (7.2, 2.1, {"rank": (4, 8, 16)}),
    "lora_xs": (6.4, 2.4, {"rank": (4, 16, 64)}),
    "peft/vera": (6.0, 2.8, {"r": (64, 256, 1024)}),
    "loretta_rep": (7.0, 2.5, {"rank": (2, 5, 16)}),
    "adapter_houlsby": (8.1, 3.6, {"bottleneck": (4, 16, 64)}),
    "prefix": (4.2, 2.9, {"tokens": (5, 20, 80)}),
    "prompt": (2.3, 2.3, {"tokens": (5, 20, 80)}),
    "melora": (7.6, 2.7, {"rank": (2, 8, 32)}),
    "surm_circulant": (6.8, 2.6, {"terms": (1, 4, 16)}),
    "full": (9.0, 6.8, {}),
}
"""Label -> gain over the untuned model in points, log10 of the smallest size in thousands, ladder."""

FAMILIES = {
    "lorta": "tensor",
    "loretta_rep": "tensor",
    "prefix": "prompt",
    "prompt": "prompt",
    "adapter_houlsby": "adapter",
    "full": "full",
}
HOSTILE = ("<script>alert('x')</script>", "\u202egnp.exe\u202c \"quoted\" & 'more'", "x" * 10_000)
SEEDS = (0, 1, 2, 3, 4)


def board(*, failing: bool = False, hostile: bool = True, seed: int = 0) -> Board:
    """Return a board of 12 methods in up to 3 sizes on 2 models and 3 tasks, with failures, refused rows and hostile names."""
    draw = np.random.default_rng(seed)
    rows = [row for model in MODELS for row in ranked(_rows(model, hostile, draw))]
    refused = Row(
        method="loretta_rep",
        implementation="loretta_rep",
        capacity={"rank": 4096},
        trainable=None,
        counts=None,
        model=MODELS[1],
        tasks={},
        average=None,
        runs=(),
        marks=("not applicable: rank=4096 exceeds the width 2048 of every target matrix",),
    )
    return Board(
        "low-resource",
        "be6e3a86" * 8,
        TASKS,
        ("learning_rate", "scale"),
        (*rows, refused),
        certificate(failing),
        True,
        analysis_of(rows, draw),
    )


def document(*, failing: bool = False, hostile: bool = True, running: bool = False, **more: Any) -> dict[str, Any]:
    """Return the document of `board` as the page gets it."""
    return {**board(failing=failing, hostile=hostile).to_json(), "running": running, "state": "1", "experiment_id": "7", **more}


def certificate(failing: bool) -> Audit:
    """Return a certificate of which two rules fail, or none."""
    titles = {
        "F1": "identical grid points for every method",
        "F2": "capacity chosen by the selection score; ladders compared at equal length",
        "F3": "identical data: splits, caps, order per seed, truncation",
        "F4": "identical budget: examples, text tokens, steps, evaluations",
        "F5": "identical seeds; none both selects and reports",
        "F6": "test split read once per report run, never to select",
        "F9": "no selected point on the edge of the grid",
        "F10": "one environment",
    }
    evidence: dict[str, dict[str, Any]] = {
        "F1": {"algorithm": "grid", "axes": {"learning_rate": list(RATES), "scale": [0.5, 1.0, 2.0]}, "points": dict.fromkeys(METHODS, 12)},
        "F3": {"digests": {"copa with llama2-7b, train": ["a280" * 16]}},
        "F5": {"select": [100], "report": list(SEEDS), "vary": ["dropout", "init", "order"]},
    }
    deviations = {
        "F3": ["lora (rank=8) on copa with llama2-7b: digest of train is 00ff, where others have a280"],
        "F9": ["prompt (tokens=80) on drop with opt-1.3b: learning_rate=0.01 is the largest of the grid"],
    }
    rules = [
        Rule(
            name,
            title,
            not (failing and name in deviations),
            {**evidence.get(name, {}), "deviations": deviations.get(name, []) if failing else []},
        )
        for name, title in titles.items()
    ]
    return Audit(tuple(rules), ("prompt (tokens=80) on drop with opt-1.3b: report seed 4",) if failing else ())


def ranked(rows: list[Row]) -> list[Row]:
    """Return rows from the best on, with ranks, tie letters and rank intervals as their intervals suggest."""
    ordered = sorted(rows, key=lambda row: -(row.average if row.average is not None else -1))
    places = [row for row in ordered if row.average is not None]
    found = []
    for row in ordered:
        if row.average is None:
            found.append(row)
            continue
        ties = [n for n, other in enumerate(places) if abs((other.average or 0) - row.average) < 0.012]
        letters = "".join(chr(97 + n // 4) for n in ties[:1] + ties[-1:])
        marks = {
            "rank": places.index(row) + 1,
            "rank_interval": (ties[0] + 1, ties[-1] + 1),
            "tie_letters": "".join(dict.fromkeys(letters)),
        }
        found.append(row.model_copy(update=marks))
    return found


def _rows(model: str, hostile: bool, draw: np.random.Generator) -> list[Row]:
    found = [_row(model, BASE, {}, 0, 0.0, draw)]
    for label, (gain, size, ladder) in METHODS.items():
        key, values = next(iter(ladder.items()), ("", (None,)))
        for place, value in enumerate(values):
            trainable = int(10 ** (size + 3 * (size < 5) + 0.62 * place) * (2 if model == MODELS[0] else 1))
            found.append(_row(model, label, {key: value} if key else {}, trainable, (gain + 1.1 * place - 0.25 * place**2) / 100, draw))
    if hostile:
        found += [_row(model, name, {"rank": 8}, 90_000 + n, 0.05, draw) for n, name in enumerate(HOSTILE)]
    return found


def _row(model: str, label: str, capacity: dict[str, Any], trainable: int, gain: float, draw: np.random.Generator) -> Row:
    base = 0.58 if model == MODELS[0] else 0.46
    diverged, broken = (
        label == "prefix" and capacity.get("tokens") == 80,
        label == "dora" and capacity.get("rank") == 64 and model == MODELS[1],
    )
    tasks, scores = {}, []
    for n, (task, main) in enumerate(TASKS.items()):
        mean, half = base + 0.07 * n + gain + float(draw.normal(0, 0.006)), float(draw.uniform(0.008, 0.02))
        alone = label == BASE
        score = MetricScore(mean=mean, std=None if alone else half / 2, ci=(mean - half, mean + half))
        other = MetricScore(mean=mean - 0.1, std=None if alone else half / 2, ci=None)
        lost = broken and task == "squad"
        tasks[task] = TaskScore(
            main=main,
            metrics={} if lost else {main: score, **({"em": other} if main == "f1" else {})},
            seeds=1 if alone else 5,
            finished=1 if alone else 4 if (diverged and task == "drop") or lost else 5,
            selected={} if alone else {"learning_rate": RATES[int(draw.integers(len(RATES)))], "scale": 1.0},
        )
        scores.append(None if lost else mean)
    average = None if None in scores else float(np.mean([s for s in scores if s is not None]))
    status = "diverged" if diverged else "out_of_memory"
    error = "the loss was nan at step 41" if diverged else "CUDA out of memory: tried to allocate 2.1 GiB <b>bold</b>"
    failed = FailedRun(run_id="f" * 32, trial="t1", task="drop" if diverged else "squad", seed=4, status=status, error=error)
    marks = ["learning_rate lies on the edge of the grid on drop"] if label in {"prompt", "prefix"} else []
    marks += ["incomplete: squad (1 out_of_memory)"] if broken else []
    return Row(
        method=label,
        implementation=label if label not in HOSTILE else "lora",
        family="" if label == BASE else FAMILIES.get(label, "low-rank"),
        capacity=capacity,
        trainable=trainable,
        counts=Counts(peak=trainable, stored=trainable, head=0),
        adapter_bytes=4 * trainable + 2_000 if trainable else None,
        model=model,
        tasks=tasks,
        average=average,
        average_ci=None if average is None else (average - 0.009, average + 0.009),
        failures=int(diverged or broken),
        failed_runs=(failed,) if diverged or broken else (),
        seconds_per_step=None if label == BASE else 0.4 + 0.02 * float(draw.uniform()) + trainable / 1e9,
        peak_bytes=None if label == BASE else int(1.5e10 + 14 * trainable),
        flops=None if label == BASE else 9.1e12 + 6 * trainable,
        macs=None if label == BASE else 4.5e12 + 3 * trainable,
        load_seconds=None if label == BASE else 0.06,
        runs=tuple(f"{draw.integers(2**62):032x}" for _ in range(1 if label == BASE else 15)),
        published=(
            PublishedScores(
                source="a2024",
                citation="Author et al., arXiv 2400.00001",
                table="Table 4",
                selected_on="evaluation",
                scores={"copa": {"accuracy": 0.871}},
            ),
        )
        if label == "lora" and capacity == {"rank": 8}
        else (),
        marks=tuple(marks),
    )
