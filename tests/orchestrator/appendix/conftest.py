"""A small sweep in a real MLflow store, and what an appendix is written from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.appendix.source import Source
from orchestrator.leaderboard.analysis import Analysis
from orchestrator.leaderboard.board import board_of
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from tests.orchestrator.leaderboard.conftest import outcome_with, recorded_run, sweep, sweep_of, sweep_text
from tests.orchestrator.leaderboard.kept import Kept
from trainers.outcomes import OutcomeStore

__all__ = ["outcome_with", "recorded_run", "sweep", "sweep_of", "sweep_text"]


@pytest.fixture
def source_of() -> Callable[..., Source]:
    """Reads a made-up sweep as if MLflow held it."""

    def read(sweep: Any, spec: str | None = "name: small\n") -> Source:
        recorded = sweep.recorded()
        document = json.loads(json.dumps(sweep.plan.document()))
        return Source(board_of(recorded, Kept(sweep, 100)), recorded, document, spec)

    return read


@pytest.fixture
def source(sweep: Any, source_of: Callable[..., Source]) -> Source:
    return source_of(sweep)


@pytest.fixture
def short(source: Source) -> Source:
    """The same with one figure: drawing them takes the time."""
    rows = tuple(row.model_copy(update={"average": None}) for row in source.board.rows)
    return replace(source, board=replace(source.board, rows=rows, analysis=Analysis(grids=source.board.analysis.grids[:1])))


@pytest.fixture
def renamed() -> Callable[[Source, str], Source]:
    """Gives a row another name."""

    def rename(source: Source, name: str) -> Source:
        first = source.board.rows[0].model_copy(update={"method": name, "marks": (name,)})
        return replace(source, board=replace(source.board, rows=(first, *source.board.rows[1:])))

    return rename


@pytest.fixture
def delivered(sweep_of: Any, uri: str, store: OutcomeStore, sweep_text: str) -> Any:
    text = sweep_text.replace("tasks: [reading, counting]", "tasks: [reading]").replace("[2, 4]", "2").replace("  narrow: {}\n", "")
    sweep = sweep_of(text)
    for trial in sweep.trials:
        store.commit(trial, sweep.outcomes[trial.id])
    documents = {"plan.json": json.dumps(sweep.plan.document()), "spec.yaml": text}
    with Deliverer(Tracker(uri, "small", sweep.plan.digest), store) as deliverer:
        for trial in sweep.trials:
            deliverer.put(trial.id)
        deliverer.put_sweep(documents, "finished", now=1.0)
    return sweep
