"""How many trials a pack had: the same for all that is compared, since a joint pass may round otherwise than one alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from orchestrator.fairness.entry import Entry

Group = tuple[str, str, str]
"""Scope, phase and shape of the batches: `auto` chooses one width for each."""


def packing_deviations(entries: Sequence[Entry]) -> list[str]:
    """Return the trials whose pack had another width than those of most trials that they are compared with."""
    found = []
    for (scope, phase, _), some in _grouped(entries).items():
        widths = Counter(entry.packed for entry in some)
        usual = widths.most_common(1)[0][0]
        found += [
            f"{entry.row} on {scope}: trial {entry.trial.id} was packed {entry.packed} wide, where others of the {phase} phase were {usual}"
            for entry in some
            if entry.packed != usual
        ]
    return found


def pack_widths(entries: Iterable[Entry]) -> dict[str, list[int]]:
    """Return the widths of the packs by scope and phase; nothing where every trial had, or is to have, its process to itself."""
    found: dict[str, set[int]] = {}
    for (scope, phase, _), some in _grouped(entries).items():
        found.setdefault(f"{scope}, {phase}", set()).update(entry.packed for entry in some if entry.packed is not None)
    widths = {place: sorted(some) for place, some in found.items()}
    return widths if any(some != [1] for some in widths.values()) else {}


def _grouped(entries: Iterable[Entry]) -> dict[Group, list[Entry]]:
    found: dict[Group, list[Entry]] = {}
    for entry in entries:
        if entry.packed is not None:
            training = entry.trial.training
            shape = f"{training.batch_size} {training.micro_batch} {training.max_length}"
            found.setdefault((entry.scope, entry.trial.phase, shape), []).append(entry)
    return found
