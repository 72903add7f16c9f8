"""What a sweep works with, without Ray or a terminal: groups of a fleet, and displays that show nothing. Benchmarks use these too."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.trial import Trial
from trainers.results import Outcome, Progress


class Silent:
    def planned(self, trials: int, done: int) -> None: ...

    def started(self, trial: Trial) -> None: ...

    def paused(self, trial: Trial) -> None: ...

    def settled(self, trial: Trial, outcome: Outcome) -> None: ...

    def watch(self, signs: Callable[[], list[Progress]], side_by_side: int) -> None: ...


class Running(Silent):
    """Remembers which trials run, as a display shows them."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.most = 0

    def started(self, trial: Trial) -> None:
        self.ids.add(trial.id)
        self.most = max(self.most, len(self.ids))

    def paused(self, trial: Trial) -> None:
        self.ids.remove(trial.id)

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        self.ids.discard(trial.id)


class Started(Silent):
    """Remembers which trials are said to run."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def started(self, trial: Trial) -> None:
        self.ids.append(trial.id)


class Groups:
    """Groups that are always ready, and that remember what is asked of them."""

    def __init__(self, count: int) -> None:
        self.count, self.ended, self.lost = count, list[int](), ""

    def __len__(self) -> int:
        return self.count

    def ready(self) -> list[int]:
        return list(range(self.count))

    def expected(self) -> int:
        return self.count

    def names(self, number: int) -> list[str]:
        return [f"member-{number}"]

    def end(self, number: int) -> None:
        self.ended.append(number)

    def hopeless(self) -> Exception | None:
        return RuntimeError(self.lost) if self.lost else None
