"""How many trials share a process: as the sweep file says, or as was measured for each kind of batches and then kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from search_spaces.packing import Packing, width_of
from search_spaces.trial import Trial
from trainers.packing.choice import LARGEST_CHOICE, Choice, Choices, PackingPost
from trainers.storage import Storage


@dataclass
class Widths:
    """The widths of a sweep's packs.

    Attributes:
        packing: what the sweep file asks for, as far as that is possible.
        solo: whether report trials are profiles, which are never taken in a pack.
        post: where `auto` keeps what was measured, and what groups need to know to measure.
    """

    packing: Packing = "off"
    solo: bool = False
    post: PackingPost | None = field(default=None)

    @cached_property
    def _choices(self) -> Choices:
        assert self.post is not None
        return Choices(Storage.at(self.post.storage))

    @property
    def most(self) -> int:
        """The largest number of trials that may share a process."""
        return width_of(self.packing) or LARGEST_CHOICE

    @property
    def question(self) -> PackingPost | None:
        """What groups are to measure; None where the sweep file says the width."""
        return self.post if width_of(self.packing) is None else None

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What was chosen so far."""
        return self._choices.all() if self.question is not None else ()

    def of(self, trial: Trial) -> int:
        """Return how many trials may share the process of this one; where nothing was measured none does, now or later."""
        if self.solo and trial.phase == "report":
            return 1
        return width_of(self.packing) or self._choices.settled(trial).lanes

    def is_open(self, trial: Trial) -> bool:
        """Tell whether a group that loads the trial's base must measure first."""
        return self.question is not None and bool(self._choices.missing([trial]))
