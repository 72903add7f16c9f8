"""Which trials share a process, and what happens to them when it dies: decided without Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.exploration import Enumeration
from orchestrator.sweep.bases import Bases
from orchestrator.sweep.course import HAND_OUTS, Course
from orchestrator.sweep.searcher import CourseSearcher
from orchestrator.sweep.widths import Widths
from search_spaces.compute import Compute
from search_spaces.trial import Trial
from tests.orchestrator.sweep.stand_ins import Groups, Silent
from trainers.outcomes import OutcomeStore
from trainers.packing.choice import Choice, Choices, Kind, Measurement, PackingPost, choose
from trainers.results import Outcome
from trainers.storage import Storage

Trials = Callable[..., Trial]
Outcomes = Callable[..., Outcome]


class Sweep:
    """A searcher whose Tune trials are carried out by hand."""

    def __init__(
        self, store: OutcomeStore, outcome_of: Outcomes, trials: list[Trial], groups: int = 1, widths: Widths | None = None
    ) -> None:
        self.store, self.outcome_of, self.started, self.groups = store, outcome_of, list[int](), Groups(groups)
        self.course = Course(store, Enumeration(tuple(trials)), (), lambda outcomes: [], Silent())
        widths = widths or Widths(4)
        fleet: Any = self.groups
        self.searcher = CourseSearcher(self.course, fleet, Bases(), self.started.append, lambda: groups, solo=widths.solo, widths=widths)
        self.next_id = 0

    def suggest(self) -> tuple[str, dict[str, Any]] | None:
        self.next_id += 1
        suggested = self.searcher.suggest(str(self.next_id))
        return (str(self.next_id), suggested) if isinstance(suggested, dict) else None

    def finish(self, tune_id: str, *trial_ids: str) -> None:
        """Let trials of a Tune trial leave their Outcomes."""
        for trial_id in trial_ids:
            trial = self.course._planned[trial_id]
            self.store.commit(trial, self.outcome_of(trial))
        self.searcher.on_trial_result(tune_id, {"endings": [_ending(trial_id) for trial_id in trial_ids]})

    def die(self, suggested: tuple[str, dict[str, Any]]) -> None:
        """Let the process of a Tune trial die."""
        tune_id, config = suggested
        self.searcher.on_trial_complete(tune_id, {"endings": [_ending(name, broken=True, reason="died") for name in config["jobs"]]})


def _ending(trial_id: str, **more: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "began": 1.0, "ended": 2.0, **more}


@pytest.fixture
def sweep(store: OutcomeStore, outcome_of: Outcomes) -> Callable[..., Sweep]:
    return lambda trials, **options: Sweep(store, outcome_of, trials, **options)


def rates(trial_of: Trials, count: int, **more: Any) -> list[Trial]:
    """Trials that differ in their learning rate only."""
    return [_trained(trial_of(**more), learning_rate=0.001 * (number + 1)) for number in range(count)]


def _trained(trial: Trial, **changes: Any) -> Trial:
    return trial.model_copy(update={"training": trial.training.model_copy(update=changes)})


def test_trials_of_one_seed_begin_together_up_to_the_width(sweep: Callable[..., Sweep], trial_of: Trials) -> None:
    trials = [trial for pair in zip(rates(trial_of, 5, seed=100), rates(trial_of, 5, seed=101), strict=True) for trial in pair]
    made = sweep(trials)
    tune_id, config = made.suggest() or pytest.fail("nothing was handed out")
    assert list(config["jobs"]) == [trial.id for trial in trials if trial.seed == 100][:4], "other seeds have batches of other widths"
    assert {(job["packed"], job["cohort"]) for job in config["jobs"].values()} == {(4, next(iter(config["jobs"].values()))["cohort"])}
    assert next(iter(config["jobs"].values()))["cohort"][1] == 4
    assert made.suggest() is None, "the pack is full"
    made.finish(tune_id, *list(config["jobs"])[:1])
    assert made.suggest() is None, "a lane alone would be out of step with the others"
    made.finish(tune_id, list(config["jobs"])[1])
    _, joined = made.suggest() or pytest.fail("half of the pack is free")
    assert list(joined["jobs"]) == [trials[1].id, trials[3].id], "the next in the queue, with what goes with it"


def test_the_waiting_trials_are_dealt_among_the_groups_that_are_idle(sweep: Callable[..., Sweep], trial_of: Trials) -> None:
    made = sweep(rates(trial_of, 4), groups=2)
    suggested = [made.suggest(), made.suggest(), made.suggest()]
    assert [len(found[1]["jobs"]) if found else 0 for found in suggested] == [2, 2, 0]
    assert {found[1]["group"] for found in suggested if found} == {0, 1}


@pytest.mark.parametrize("other", [{"batch_size": 3}, {"max_length": 99}, {"epochs": None, "steps": 7}])
def test_trials_with_other_batches_do_not_begin_together(sweep: Callable[..., Sweep], trial_of: Trials, other: dict[str, Any]) -> None:
    made = sweep([*rates(trial_of, 1), _trained(trial_of(), **other)])
    _, config = made.suggest() or pytest.fail("nothing was handed out")
    assert len(config["jobs"]) == 1


def test_a_profile_is_never_taken_in_a_pack(sweep: Callable[..., Sweep], trial_of: Trials) -> None:
    made = sweep(rates(trial_of, 2, phase="report"), widths=Widths(4, solo=True))
    _, config = made.suggest() or pytest.fail("nothing was handed out")
    assert [job["packed"] for job in config["jobs"].values()] == [1]
    assert made.suggest() is None


def test_of_a_pack_that_died_only_the_guilty_trial_uses_up_its_attempts(
    sweep: Callable[..., Sweep], store: OutcomeStore, trial_of: Trials
) -> None:
    trials = rates(trial_of, 4)
    guilty, made = trials[2].id, sweep(trials)
    died = 0
    while (suggested := made.suggest()) is not None:
        tune_id, config = suggested
        if guilty in config["jobs"]:
            died += 1
            assert len(config["jobs"]) in (4, 1), "once together, then alone"
            made.die(suggested)
            continue
        made.finish(tune_id, *config["jobs"])
        made.searcher.on_trial_complete(tune_id, {"endings": []})
    assert died == 1 + HAND_OUTS, "the first time it was one of four"
    outcomes = {trial.id: store.read(trial.id) for trial in trials}
    assert {name: outcome and outcome.status for name, outcome in outcomes.items()} == {
        trial.id: "error" if trial.id == guilty else "finished" for trial in trials
    }
    assert made.started == [0] * died, "each death costs one start"


def test_the_innocent_are_packed_again_once_the_guilty_one_is_found(sweep: Callable[..., Sweep], trial_of: Trials) -> None:
    made = sweep(rates(trial_of, 4))
    made.die(made.suggest() or pytest.fail("nothing was handed out"))
    alone = made.suggest() or pytest.fail("nothing was handed out")
    assert len(alone[1]["jobs"]) == 1 and made.suggest() is None, "nothing runs beside a trial under suspicion"
    (guilty,) = alone[1]["jobs"]
    made.die(alone)
    tune_id, config = made.suggest() or pytest.fail("nothing was handed out")
    assert list(config["jobs"]) == [guilty], "it goes on alone"
    made.finish(tune_id, guilty)
    _, config = made.suggest() or pytest.fail("nothing was handed out")
    assert len(config["jobs"]) == 3


def test_a_lost_proxy_loses_all_its_trials(sweep: Callable[..., Sweep], trial_of: Trials) -> None:
    made = sweep(rates(trial_of, 3))
    tune_id, config = made.suggest() or pytest.fail("nothing was handed out")
    made.finish(tune_id, next(iter(config["jobs"])))
    made.searcher.on_trial_complete(tune_id, error=True)
    assert made.groups.ended == [0] and made.started == [0]
    _, again = made.suggest() or pytest.fail("nothing was handed out")
    assert len(again["jobs"]) == 1 and next(iter(again["jobs"])) in list(config["jobs"])[1:]


# ---------------------------------------------------------------------------------------------------------------- auto


def _measured(*gains: float) -> tuple[Measurement, ...]:
    return tuple(Measurement(lanes=2**number, steps_per_second=1, peak_bytes=1, gain=gain) for number, gain in enumerate(gains))


@pytest.mark.parametrize(
    ("gains", "lanes"), [((1, 0.9, 0.8), 1), ((1, 1.04, 1.04), 1), ((1, 1.5, 2, 2.05), 4), ((1, 0.9, 1.4), 4), ((1,), 1)]
)
def test_a_wider_pack_must_be_faster(gains: tuple[float, ...], lanes: int) -> None:
    assert choose(_measured(*gains)) == lanes


def test_the_width_that_was_chosen_first_stays(tmp_path: Any, trial_of: Trials) -> None:
    folder, trial = Storage.at(tmp_path), trial_of()
    kind = Kind.of(trial)
    proposal = Choice(model="m", task="t", shape=kind.shape, lanes=4, measured=_measured(1, 2, 3))
    assert list(Choices(folder).missing([trial])) == [kind]
    Choices(folder).propose(kind, proposal)
    assert not Choices(folder).missing([trial]), "it is measured once"
    assert Widths("auto", post=PackingPost(folder.uri, (), Compute())).of(trial) == 4
    Choices(folder).propose(kind, proposal.model_copy(update={"lanes": 8}))
    assert Widths("auto", post=PackingPost(folder.uri, (), Compute())).of(trial) == 4


def test_a_kind_that_was_not_measured_is_not_packed_then_or_later(tmp_path: Any, trial_of: Trials) -> None:
    folder, trial = Storage.at(tmp_path), trial_of()
    assert Widths("auto", post=PackingPost(folder.uri, (), Compute())).of(trial) == 1
    Choices(folder).propose(Kind.of(trial), Choice(model="m", task="t", shape=Kind.of(trial).shape, lanes=4))
    assert Widths("auto", post=PackingPost(folder.uri, (), Compute())).of(trial) == 1
