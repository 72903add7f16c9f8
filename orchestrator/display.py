"""The live view of a running sweep: trials done, running and failed, time left, the best so far per method."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search_spaces.trial import BASE, Phase, Trial
from trainers.results import Outcome, Progress

LINE_SECONDS = 30.0
"""Between two lines in a log."""


class SweepDisplay:
    """Shows a run: live on a terminal, by a line now and then on anything else, such as the log of a job.

    Args:
        console: where it is shown.
        trials: trials of the whole sweep, both phases.
        main_metrics: main metric by task.
    """

    def __init__(self, console: Console, trials: int, main_metrics: Mapping[str, str]) -> None:
        self._console, self._total, self._main = console, trials, main_metrics
        self._lock, self._asking, self._begun = Lock(), Lock(), time.monotonic()
        self._note = "starting Ray, loading the base model"
        self._done = self._skipped = self._failed = 0
        self._running: dict[str, Trial] = {}
        self._seconds: list[float] = []
        self._side_by_side = 1
        self._line_due = self._begun
        self._best: dict[tuple[str, Phase], float] = {}
        self._settled: Counter[str] = Counter()
        self._signs: Callable[[], list[Progress]] = list
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._signs = list
        if self._console.is_terminal:
            self._live.stop()

    def planned(self, trials: int, done: int) -> None:
        """Note how much was there before this run, or has become known since."""
        with self._lock:
            self._total = max(self._total, trials)
            self._skipped = max(self._skipped, done - self._done)

    def started(self, trial: Trial) -> None:
        """Show a trial as running."""
        with self._lock:
            self._running[trial.id] = trial

    def paused(self, trial: Trial) -> None:
        """Show a trial no longer as running."""
        with self._lock:
            self._running.pop(trial.id, None)

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        """Count an Outcome and its score."""
        with self._lock:
            self._running.pop(trial.id, None)
            self._done += 1
            self._failed += outcome.status not in ("finished", "pruned")
            self._seconds.append(outcome.profile.wall_seconds)
            self._settled[trial.label] += 1
            split = "test" if trial.phase == "report" else "selection"
            score = outcome.metrics.get(f"{split}/{self._main[trial.task]}")
            if score is not None:
                key = (trial.label, trial.phase)
                self._best[key] = max(score, self._best.get(key, score))
            if not self._console.is_terminal and time.monotonic() >= self._line_due:
                self._line_due = time.monotonic() + LINE_SECONDS
                self._console.print(self._headline(), soft_wrap=True)

    def watch(self, signs: Callable[[], list[Progress]], side_by_side: int) -> None:
        """Take the source of the running trials' progress; returns when the one before is no longer being asked."""
        with self._asking:
            self._signs, self._side_by_side = signs, max(1, side_by_side)
            self._note = "" if side_by_side else "recording in MLflow"

    def _render(self) -> RenderableType:
        with self._asking:
            signs = {sign.trial_id: sign for sign in self._signs()}
        with self._lock:
            return Group(self._headline(), self._bar(), *self._running_lines(signs), *([self._table()] if self._settled else []))

    def _headline(self) -> Text:
        left = self._total - self._skipped - self._done
        parts = [
            f"{self._skipped + self._done} of {self._total} trials",
            f"{len(self._running)} running",
            f"{self._failed} failed",
        ]
        if self._seconds:
            rest = left * sum(self._seconds) / len(self._seconds) / max(self._side_by_side, len(self._running))
            parts.append(f"about {_duration(rest)} left")
        parts.append(f"{_duration(time.monotonic() - self._begun)} so far")
        return Text(", ".join(parts) + (f" ({self._note})" if self._note else ""))

    def _bar(self) -> ProgressBar:
        return ProgressBar(total=max(1, self._total), completed=self._skipped + self._done, width=60)

    def _running_lines(self, signs: Mapping[str, Progress]) -> list[Text]:
        lines = []
        for trial in self._running.values():
            sign = signs.get(trial.id)
            if sign is not None and not sign.steps:  # it waits for its turn
                continue
            point = " ".join(f"{axis}={value:g}" if isinstance(value, float) else f"{axis}={value}" for axis, value in trial.point.items())
            where = f"step {sign.step}/{sign.steps}" if sign else "beginning"
            lines.append(Text(f"  {trial.label} {trial.task} {point} seed {trial.seed} ({trial.phase}): {where}", style="dim"))
        return lines

    def _table(self) -> Table:
        table = Table("method", "trials done", "best so far (selection)", "best so far (test)", box=None, header_style="bold")
        for label in sorted(self._settled, key=lambda label: (label == BASE, label)):
            scores = [self._best.get((label, phase)) for phase in ("select", "report")]
            table.add_row(Text(label), str(self._settled[label]), *("" if s is None else f"{100 * s:.1f}" for s in scores))
        return table


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
