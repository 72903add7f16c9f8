"""Where the points of a study come from: optuna, asked for a batch of them and told what they scored."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from orchestrator.study_plan import StudyPlan
from search_spaces.domains import Choice, Domain, IntUniform, LogUniform, Value
from search_spaces.grid import typed

if TYPE_CHECKING:
    import optuna

Point = dict[str, Value]

DIGITS = 6
"""Significant digits of a sampled real number: whoever reads a point can write it, and another machine's last bit changes none."""
ATTEMPTS = 10
"""How often a sampler that repeats a point is asked anew, before a new point is drawn at random."""
DRAWS = 1000
"""How often that is tried; a domain narrower than its digits has no more points, and a repeated one is not trained again."""


class Sampling:
    """A study of optuna's, in memory. Equal plans and equal scores give equal points."""

    def __init__(self, plan: StudyPlan) -> None:
        self._seed, self._axes = plan.seed, plan.axes
        # In one order, so that the order of the axes in the file draws no other points.
        self._distributions = {axis: _distribution(self._axes[axis]) for axis in sorted(self._axes)}
        self._study = _new_study(plan)
        self._known: list[Point] = []
        self._open: list[tuple[optuna.trial.Trial, Point]] = []

    def ask(self, count: int) -> tuple[Point, ...]:
        """Return the next points; the scores of the last ones must have been told."""
        self._open = [self._new_point() for _ in range(count)]
        return tuple(point for _, point in self._open)

    def tell(self, scores: Iterable[float]) -> None:
        """Tell what the last points scored, in their order; NaN for one that has no score."""
        for (trial, point), score in zip(self._open, scores, strict=True):
            self._tell(trial, point, score)

    def _tell(self, trial: optuna.trial.Trial, point: Point, score: float) -> None:
        """Tell the score at the rounded point; a point that diverged is told as stopped without a value, which ranks last."""
        from optuna.trial import TrialState, create_trial

        self._forget(trial)
        failed = math.isnan(score)
        state, value = (TrialState.PRUNED, None) if failed else (TrialState.COMPLETE, score)
        self._study.add_trial(create_trial(state=state, value=value, params=point, distributions=self._distributions))

    def _new_point(self) -> tuple[optuna.trial.Trial, Point]:
        """Ask for a point that is new; a sampler that keeps repeating points gets one drawn at random instead."""
        trial, point = self._suggested()
        for _ in range(ATTEMPTS):
            if point not in self._known:
                break
            self._forget(trial)
            trial, point = self._suggested()
        generator = Random(f"{self._seed} {len(self._known)}")
        for _ in range(DRAWS if point in self._known else 0):
            point = self._point({axis: domain.sample(generator) for axis, domain in self._axes.items()})
            if point not in self._known:
                break
        self._known.append(point)
        return trial, point

    def _suggested(self) -> tuple[optuna.trial.Trial, Point]:
        trial = self._study.ask(self._distributions)
        return trial, self._point(trial.params)

    def _point(self, values: Mapping[str, Any]) -> Point:
        return {axis: _rounded(axis, domain, values[axis]) for axis, domain in self._axes.items()}

    def _forget(self, trial: optuna.trial.Trial) -> None:
        from optuna.trial import TrialState

        self._study.tell(trial, state=TrialState.FAIL)


def _new_study(plan: StudyPlan) -> optuna.Study:
    import optuna

    # It reports every study and trial on stderr, whose place is the progress of the sweep.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
            "tpe": lambda: optuna.samplers.TPESampler(n_startup_trials=plan.startup, seed=plan.seed, multivariate=True, constant_liar=True),
            "random": lambda: optuna.samplers.RandomSampler(seed=plan.seed),
            "qmc": lambda: optuna.samplers.QMCSampler(seed=plan.seed, scramble=True, warn_independent_sampling=False),
        }
        return optuna.create_study(direction="maximize", sampler=samplers[plan.sampler]())


def _distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, IntUniform):
        return IntDistribution(domain.low, domain.high)
    return FloatDistribution(domain.low, domain.high, log=isinstance(domain, LogUniform))


def _rounded(axis: str, domain: Domain, value: Any) -> Value:
    """Return a sampled value as a sweep file would write it, in the axis's type and within the domain."""
    if isinstance(domain, Choice):
        return next(known for known in domain.values if known == value and type(known) is type(value))
    short = value if isinstance(domain, IntUniform) else float(f"{value:.{DIGITS}g}")
    return typed(axis, min(max(short, domain.low), domain.high))
