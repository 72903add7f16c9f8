"""Delivery in the background: nothing is lost while the store is away, nobody waits for it, and what fails is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from orchestrator.tracking.connection import AwayError
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from trainers.outcomes import OutcomeStore

Add = Callable[..., str]


def delivered(uri: str, sweep: str) -> set[str]:
    return {record.trial_id for record in RunReader(uri).runs(sweep) if record.delivered}


def blocked_store(folder: Path) -> tuple[str, Path]:
    """A store that cannot be opened while a file stands where its folder should be."""
    (folder / "away").write_text("")
    return f"sqlite:///{folder}/away/mlflow.db", folder / "away"


def test_everything_put_is_delivered_by_the_time_it_closes(uri: str, store: OutcomeStore, finished: Add) -> None:
    deliverer = Deliverer(Tracker(uri, "background", "d"), store).start()
    ids = [finished(seed=seed) for seed in range(5)]
    for trial_id in ids:
        deliverer.put(trial_id)
    deliverer.put_sweep({"plan.json": "{}"}, "finished", now=1.0)
    assert deliverer.close(timeout=120) == ()
    assert delivered(uri, "background") == set(ids)
    assert RunReader(uri).sweep_document("background") == {}


def test_the_backlog_of_an_earlier_run_is_delivered_first(uri: str, store: OutcomeStore, finished: Add) -> None:
    ids = {finished(seed=seed) for seed in range(3)}
    Tracker(uri, "backlog", "d").deliver(store, min(ids))
    with Deliverer(Tracker(uri, "backlog", "d"), store):
        pass
    assert delivered(uri, "backlog") == ids


def test_outcomes_wait_while_the_store_is_away_and_arrive_when_it_is_back(tmp_path: Path, store: OutcomeStore, finished: Add) -> None:
    uri, obstacle = blocked_store(tmp_path)
    deliverer = Deliverer(Tracker(uri, "away", "d"), store, longest_wait=0.05).start()
    ids = [finished(seed=seed) for seed in range(2)]
    for trial_id in ids:
        deliverer.put(trial_id)
    while deliverer.away is None:
        threading.Event().wait(0.01)
    assert set(deliverer.undelivered()) == set(ids)
    obstacle.unlink()
    assert deliverer.close(timeout=120) == ()
    assert deliverer.away is None
    assert delivered(uri, "away") == set(ids)


def test_closing_while_the_store_is_away_names_what_is_left_and_the_next_run_delivers_it(
    tmp_path: Path, store: OutcomeStore, finished: Add
) -> None:
    uri, obstacle = blocked_store(tmp_path)
    earlier, later = finished(seed=1), finished(seed=2)
    deliverer = Deliverer(Tracker(uri, "left", "d"), store, longest_wait=0.05).start()
    deliverer.put(later)
    deliverer.put_sweep({}, "finished", now=1.0)
    assert set(deliverer.close(timeout=0.3)) == {earlier, later, "sweep"}
    assert str(obstacle) in str(deliverer.away)
    obstacle.unlink()
    with Deliverer(Tracker(uri, "left", "d"), store):
        pass
    assert delivered(uri, "left") == {earlier, later}


def test_an_outcome_set_aside_to_run_again_is_not_missed(tmp_path: Path, store: OutcomeStore, finished: Add) -> None:
    uri, obstacle = blocked_store(tmp_path)
    retried, other = finished(seed=1, outcome={"status": "error", "metrics": {}}), finished(seed=2)
    deliverer = Deliverer(Tracker(uri, "aside", "d"), store, longest_wait=0.05).start()
    store.set_aside(retried, "error")
    obstacle.unlink()
    assert deliverer.close(timeout=120) == ()
    assert delivered(uri, "aside") == {other}


def test_an_outcome_that_cannot_be_delivered_is_told_and_holds_up_no_other(uri: str, store: OutcomeStore, finished: Add) -> None:
    broken, sound = finished(seed=1), finished(seed=2)
    (store.folder(broken) / "predictions.parquet").write_text("damaged")
    deliverer = Deliverer(Tracker(uri, "broken", "d"), store).start()
    deliverer.put(sound)
    assert deliverer.close(timeout=120) == (broken,)
    assert "checksum" in str(deliverer.failures()[broken])
    assert delivered(uri, "broken") == {sound}


class Failing(Tracker):
    """A tracker whose server answers one trial with an error, until it is mended."""

    poisoned, mended = "", False

    def deliver(self, store: OutcomeStore, trial_id: str) -> str:
        if trial_id == self.poisoned and not self.mended:
            raise AwayError("error 500", answered=True)
        return super().deliver(store, trial_id)


def test_an_outcome_that_the_server_fails_at_holds_up_no_other_and_is_tried_again(uri: str, store: OutcomeStore, finished: Add) -> None:
    tracker = Failing(uri, "poisoned", "d")
    first, second = finished(seed=1), finished(seed=2)
    tracker.poisoned = first
    deliverer = Deliverer(tracker, store, longest_wait=0.01).start()
    while second in deliverer.undelivered():
        threading.Event().wait(0.01)
    assert deliverer.undelivered() == (first,) and delivered(uri, "poisoned") == {second}
    tracker.mended = True
    assert deliverer.close(timeout=120) == ()
    assert delivered(uri, "poisoned") == {first, second}
