"""Which trial goes to which group: decided without Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from orchestrator.exploration import Enumeration
from orchestrator.sweep.bases import Bases
from orchestrator.sweep.course import Course
from orchestrator.sweep.searcher import CourseSearcher
from search_spaces.trial import ModelRef, Trial
from tests.orchestrator.sweep.stand_ins import Groups, Silent, Started
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome

Trials = Callable[..., Trial]
Outcomes = Callable[..., Outcome]

A, B = {"id": "micro-llama", "digest": "a"}, {"id": "micro-llama", "digest": "b"}


@pytest.fixture
def course_of(store: OutcomeStore) -> Callable[..., Course]:
    def make(*select: Trial, independent: tuple[Trial, ...] = ()) -> Course:
        def report(outcomes: Mapping[str, Outcome]) -> list[Trial]:
            return []

        return Course(store, Enumeration(select), independent, report, Silent())

    return make


def searcher(course: Course, groups: Groups, started: list[int] | None = None, **options: Any) -> CourseSearcher:
    starts = [] if started is None else started
    return CourseSearcher(course, groups, options.pop("bases", Bases()), starts.append, lambda: len(groups), **options)  # type: ignore[arg-type]


def complete(course: CourseSearcher, tune_id: str, store: OutcomeStore, outcome_of: Outcomes, **result: Any) -> None:
    for lease in course._slots.held_by(tune_id):
        trial = course.course._planned[lease.trial_id]
        store.commit(trial, outcome_of(trial))
    course.on_trial_complete(tune_id, endings(course, tune_id, **result))


def endings(course: CourseSearcher, tune_id: str, *trials: Trial, **ending: Any) -> dict[str, Any]:
    """What a proxy reports of trials, or of all that it has."""
    ids = [trial.id for trial in trials] or [lease.trial_id for lease in course._slots.held_by(tune_id)]
    return {"endings": [{"trial_id": name, "began": 1.0, "ended": 2.0, **ending} for name in ids]}


def trials_of(suggested: Any) -> list[Trial]:
    """The trials of a suggestion, in order."""
    return [Trial.model_validate_json(job["trial"]) for job in suggested["jobs"].values()]


def test_each_group_stays_with_its_base_while_there_is_work_for_it(
    course_of: Callable[..., Course], store: OutcomeStore, trial_of: Trials, outcome_of: Outcomes
) -> None:
    trials = [trial_of(seed=seed, model=model) for seed in range(100, 104) for model in (A, B)]
    made = searcher(course_of(*trials), Groups(2))
    ran: dict[int, list[str]] = {0: [], 1: []}
    for turn in range(4):
        for side in (0, 1):
            suggested = made.suggest(f"{turn}-{side}")
            assert isinstance(suggested, dict)
            ran[suggested["group"]].append(trials_of(suggested)[0].model.digest)
        assert made.suggest("none") is None, "all groups are taken"
        for side in (1, 0):
            complete(made, f"{turn}-{side}", store, outcome_of)
    assert sorted(ran.values()) == [["a"] * 4, ["b"] * 4]
    assert made.suggest("end") == made.FINISHED


def test_a_group_whose_base_has_no_work_left_shares_that_of_another(
    course_of: Callable[..., Course], store: OutcomeStore, trial_of: Trials, outcome_of: Outcomes
) -> None:
    trials = [trial_of(seed=seed, model=A) for seed in range(5)] + [trial_of(seed=0, model=B)]
    made = searcher(course_of(*trials), Groups(2))
    suggestions = [made.suggest(str(number)) for number in range(2)]
    assert [trials_of(s)[0].model.digest for s in suggestions if isinstance(s, dict)] == ["a", "b"]
    complete(made, "1", store, outcome_of)
    third = made.suggest("2")
    assert isinstance(third, dict) and third["group"] == 1 and trials_of(third)[0].model.digest == "a"


def test_a_broken_group_is_started_anew_and_its_trial_is_handed_out_again(course_of: Callable[..., Course], trial_of: Trials) -> None:
    started: list[int] = []
    groups = Groups(1)
    made = searcher(course_of(trial_of(seed=100)), groups, started)
    first = made.suggest("1")
    made.on_trial_complete("1", endings(made, "1", broken=True, reason="rank 1: ActorDiedError"))
    assert started == [0] and not groups.ended, "the proxy had ended its processes"
    assert trials_of(made.suggest("2")) == trials_of(first)


def test_the_group_of_a_lost_proxy_is_ended_before_its_trial_is_handed_out_again(
    course_of: Callable[..., Course], trial_of: Trials
) -> None:
    groups = Groups(1)
    made = searcher(course_of(trial_of(seed=100)), groups)
    made.suggest("1")
    made.on_trial_complete("1", error=True)
    assert groups.ended == [0]


def test_a_hand_out_that_reached_nobody_does_not_count(course_of: Callable[..., Course], store: OutcomeStore, trial_of: Trials) -> None:
    trial = trial_of(seed=100)
    made = searcher(course_of(trial), Groups(1))
    for number in range(10):
        assert made.suggest(str(number)) is not None
        made.on_trial_complete(str(number), endings(made, str(number), broken=True, begun=False))
    assert store.read(trial.id) is None


def test_solo_trials_of_the_report_phase_wait_for_fresh_processes(
    course_of: Callable[..., Course], store: OutcomeStore, trial_of: Trials, outcome_of: Outcomes
) -> None:
    started: list[int] = []
    reports = tuple(trial_of(phase="report", seed=seed) for seed in (1, 2))
    made = searcher(course_of(trial_of(seed=100), trial_of(seed=101), independent=reports), Groups(1), started, solo=True)
    for number in range(2):
        assert isinstance(made.suggest(str(number)), dict), "select trials share a process"
        complete(made, str(number), store, outcome_of)
    for number in (2, 3):
        assert made.suggest("early") is None and len(started) == number - 1
        assert isinstance(made.suggest(str(number)), dict)
        complete(made, str(number), store, outcome_of)


def test_a_sweep_that_has_lost_every_group_stops_and_says_why(course_of: Callable[..., Course], trial_of: Trials) -> None:
    groups = Groups(1)
    made = searcher(course_of(trial_of(seed=100)), groups)
    groups.lost = "no trial found a place"
    assert made.suggest("1") == made.FINISHED and made.course.stopped == "no trial found a place"


def test_the_base_with_the_most_work_that_nobody_holds_comes_first() -> None:
    one, two, three = (ModelRef(id=name) for name in ("one", "two", "three"))
    bases = Bases()
    bases.hold(0, one)
    assert bases.choose(0, {one: 1, two: 50}) == one
    assert bases.choose(1, {one: 100, two: 5, three: 9}) == three
    bases.hold(1, three)
    bases.hold(2, two)
    assert bases.choose(3, {one: 100, two: 5, three: 9}) == one
    bases.hold(3, one)
    bases.hold(4, one)
    assert bases.choose(5, {one: 9, three: 7}) == three, "nine among three groups are less than seven for one"
    assert bases.choose(0, {}) is None


def begun(suggested: Any) -> list[str]:
    """Ids of the trials that a suggestion hands out, in order."""
    assert isinstance(suggested, dict)
    return list(suggested["jobs"])


def test_a_group_is_handed_several_trials_while_there_is_enough_for_all(course_of: Callable[..., Course], trial_of: Trials) -> None:
    trials = [trial_of(seed=seed) for seed in range(100, 116)]
    made = searcher(course_of(*trials), Groups(2), longest_chain=4)
    first, second = begun(made.suggest("0")), begun(made.suggest("1"))
    assert first + second == [trial.id for trial in trials[:7]], "four of sixteen, then three of twelve"
    assert made.suggest("2") is None, "both groups are taken"


def test_the_last_trials_are_handed_out_one_by_one(course_of: Callable[..., Course], trial_of: Trials) -> None:
    trials = [trial_of(seed=seed) for seed in range(100, 103)]
    made = searcher(course_of(*trials), Groups(2), longest_chain=4)
    assert [len(begun(made.suggest(str(number)))) for number in range(2)] == [1, 1]


def test_each_trial_of_a_chain_is_taken_back_when_it_ends(
    course_of: Callable[..., Course], store: OutcomeStore, trial_of: Trials, outcome_of: Outcomes
) -> None:
    trials = [trial_of(seed=seed) for seed in range(100, 108)]
    course = course_of(*trials)
    course.observer = seen = Started()
    made = searcher(course, Groups(1), longest_chain=4)
    names = begun(made.suggest("0"))
    assert len(names) == 4 and seen.ids == names[:1], "the others wait for the first"
    store.commit(trials[0], outcome_of(trials[0]))
    made.on_trial_result("0", {"endings": [{"trial_id": names[0], "began": 1.0, "ended": 2.0}]})
    assert set(course.outcomes) == {names[0]} and seen.ids == names[:2]
    assert made.suggest("1") is None, "the group still has the others"


def test_a_chain_whose_process_died_is_handed_out_again_one_by_one(course_of: Callable[..., Course], trial_of: Trials) -> None:
    started: list[int] = []
    trials = [trial_of(seed=seed) for seed in range(100, 108)]
    made = searcher(course_of(*trials), Groups(1), started, longest_chain=4)
    names = begun(made.suggest("0"))
    made.on_trial_complete("0", {"endings": [{"trial_id": name, "began": 1.0, "ended": 2.0, "broken": True} for name in names]})
    assert started == [0], "the group is started anew, once"
    again = begun(made.suggest("1"))
    assert len(again) == 1 and again[0] in names
