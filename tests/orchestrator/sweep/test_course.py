from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from orchestrator.exploration import Enumeration
from orchestrator.sweep.course import HAND_OUTS, Course
from search_spaces.trial import Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome

Trials = Callable[..., Trial]
Outcomes = Callable[..., Outcome]


class Recorder:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.settled_ids: list[str] = []

    def planned(self, trials: int, done: int) -> None: ...

    def started(self, trial: Trial) -> None: ...

    def paused(self, trial: Trial) -> None: ...

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        self.settled_ids.append(trial.id)


@pytest.fixture
def course_of(store: OutcomeStore, trial_of: Trials) -> Callable[..., Course]:
    """A course of two select trials, the untuned model, and two report trials that depend on the selection."""

    def make(**changes: Any) -> Course:
        def report(outcomes: Mapping[str, Outcome]) -> Iterable[Trial]:
            assert {t.id for t in select} <= set(outcomes)
            return [trial_of(phase="report", seed=seed) for seed in (1, 2)]

        select = tuple(trial_of(seed=seed) for seed in (100, 101))
        base = (trial_of(phase="report", label="base", seed=0),)
        return Course(
            **{
                "store": store,
                "exploration": Enumeration(select),
                "independent": base,
                "report_trials": report,
                "observer": Recorder(),
                **changes,
            }
        )

    return make


def finish(course: Course, store: OutcomeStore, trial: Trial, outcome_of: Outcomes, **outcome: Any) -> None:
    store.commit(trial, outcome_of(trial, **outcome))
    course.returned(trial.id)


def drain(course: Course, store: OutcomeStore, outcome_of: Outcomes) -> list[Trial]:
    ran = []
    while not course.finished:
        trial = course.next()
        assert trial is not None
        ran.append(trial)
        finish(course, store, trial, outcome_of)
    return ran


def test_report_trials_wait_for_every_select_trial(course_of: Callable[..., Course], store: OutcomeStore, outcome_of: Outcomes) -> None:
    course = course_of()
    first, second, base = course.next(), course.next(), course.next()
    assert first and second and base and base.label == "base"
    assert course.next() is None
    finish(course, store, first, outcome_of)
    finish(course, store, base, outcome_of)
    assert course.next() is None and not course.finished
    finish(course, store, second, outcome_of)
    reports = [course.next(), course.next()]
    assert [t and t.phase for t in reports] == ["report", "report"]
    for trial in reports:
        assert trial is not None
        finish(course, store, trial, outcome_of)
    assert course.finished and len(course.trials) == 5


def test_a_second_run_repeats_nothing(course_of: Callable[..., Course], store: OutcomeStore, outcome_of: Outcomes) -> None:
    drain(course_of(), store, outcome_of)
    again = course_of()
    assert again.finished and again.skipped == 5 and again.next() is None


def test_what_only_the_tracking_store_holds_is_not_repeated(
    course_of: Callable[..., Course], trial_of: Trials, outcome_of: Outcomes
) -> None:
    done = trial_of(seed=100)
    course = course_of(elsewhere={done.id: outcome_of(done)})
    waiting = [course.next(), course.next()]
    assert done.id not in {t.id for t in waiting if t}


def test_a_trial_without_an_outcome_is_handed_out_again_then_recorded(course_of: Callable[..., Course], store: OutcomeStore) -> None:
    course = course_of()
    first = course.next()
    assert first is not None
    for _ in range(HAND_OUTS - 1):
        course.returned(first.id, "ActorDiedError: planted")
        again = course.next()
        assert again is not None and again.id == first.id
    course.returned(first.id, "ActorDiedError: planted")
    outcome = store.read(first.id)
    assert outcome is not None and outcome.status == "error"
    assert outcome.error is not None and "3 attempts" in outcome.error and "planted" in outcome.error


def test_a_worker_that_ray_ends_for_its_memory_is_out_of_memory(course_of: Callable[..., Course], store: OutcomeStore) -> None:
    course = course_of()
    trial = course.next()
    assert trial is not None
    for _ in range(HAND_OUTS):
        course.returned(trial.id, "OutOfMemoryError: the node was low on memory")
        course.next()
    outcome = store.read(trial.id)
    assert outcome is not None and outcome.status == "out_of_memory"


def test_failed_trials_run_again_only_when_asked(
    course_of: Callable[..., Course], store: OutcomeStore, trial_of: Trials, outcome_of: Outcomes
) -> None:
    failed = trial_of(seed=100)
    store.commit(failed, outcome_of(failed, status="error", error="planted", metrics={}))
    plain = course_of()
    assert failed.id in plain.outcomes
    retried = course_of(retry_failed=True)
    first = retried.next()
    assert first is not None and first.id == failed.id
    assert (store.root.parent / "set-aside").names(), "the failed Outcome's files are kept"


def test_a_failure_that_the_tracking_store_holds_runs_again_when_asked(
    course_of: Callable[..., Course], trial_of: Trials, outcome_of: Outcomes
) -> None:
    failed = trial_of(seed=100)
    elsewhere = {failed.id: outcome_of(failed, status="error", error="planted", metrics={})}
    assert failed.id in course_of(elsewhere=elsewhere).outcomes
    assert failed.id not in course_of(elsewhere=elsewhere, retry_failed=True).outcomes


def test_a_damaged_outcome_runs_again(
    course_of: Callable[..., Course], store: OutcomeStore, trial_of: Trials, outcome_of: Outcomes
) -> None:
    trial = trial_of(seed=100)
    store.commit(trial, outcome_of(trial))
    file = store.folder(trial.id) / "outcome.json"
    file.write_text(file.read_text().replace("0.5", "0.9"))
    first = course_of().next()
    assert first is not None and first.id == trial.id


def test_a_stopped_course_hands_out_nothing_more(course_of: Callable[..., Course]) -> None:
    course = course_of()
    course.stop("no space left")
    assert course.finished and course.next() is None
