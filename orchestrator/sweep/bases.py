"""Which group works on which base model, so that bases are loaded as rarely as possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from search_spaces.trial import ModelRef


class Bases:
    """Remembers the base that each group holds."""

    def __init__(self) -> None:
        self._held: dict[int, ModelRef] = {}

    def hold(self, group: int, model: ModelRef) -> None:
        """Note that a group has a base, or is about to load it."""
        self._held[group] = model

    def drop(self, group: int) -> ModelRef | None:
        """Note that a group has lost its base; return which one that was."""
        return self._held.pop(group, None)

    def held(self, group: int) -> ModelRef | None:
        """Return a group's base."""
        return self._held.get(group)

    def choose(self, group: int, waiting: Mapping[ModelRef, int]) -> ModelRef | None:
        """Return the base whose trials a group takes next: the one it holds, else the one with the most work that no other group holds.

        Where all are held, the one with the most work for each of its holders is shared.

        Args:
            waiting: number of waiting trials of each base that has any.
        """
        if not waiting:
            return None
        if (held := self._held.get(group)) in waiting:
            return held
        holders = Counter(model for other, model in self._held.items() if other != group)
        return max(waiting, key=lambda model: (not holders[model], waiting[model] / (1 + holders[model])))
