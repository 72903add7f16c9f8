"""The width that `packing: auto` takes for a kind of batches, kept in the sweep's storage for later runs. Free of torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from search_spaces.compute import Compute
from search_spaces.trial import Frozen, ModelRef, Trial, digest
from trainers.packing.shape import BatchShape
from trainers.storage import Storage

log = logging.getLogger(__name__)

FOLDER = "packing"
"""In a sweep's folder, the folder of its choices."""
LARGEST_CHOICE = 8
"""Widest pack that is measured."""
GAIN = 1.05
"""A wider pack must be faster by this factor than the widest one before it that was worth its memory."""


@dataclass(frozen=True)
class PackingPost:
    """What is to be measured, and where that is recorded.

    Attributes:
        storage: the sweep's folder: a path or a URI.
        trials: those that stand for all of their kind.
        compute: how they compute.
        memory: bytes that a trial reserves; None where it reserves none.
        side_by_side: processes of the sweep on one machine.
    """

    storage: str
    trials: tuple[Trial, ...]
    compute: Compute
    memory: int | None = None
    side_by_side: int = 1


class Measurement(Frozen):
    """What a pack of one width did."""

    lanes: int
    steps_per_second: float
    """Optimiser steps of all its trials together."""
    peak_bytes: int
    gain: float = 1.0
    """How many times faster that is than the same trials one by one: methods cost different amounts."""


class Kind(NamedTuple):
    """Trials whose passes through the base cost the same, whatever their method."""

    model: ModelRef
    task: str
    data: str
    shape: BatchShape

    @classmethod
    def of(cls, trial: Trial) -> Kind:
        """Return a trial's kind."""
        return cls(trial.model, trial.task, trial.data.digest, BatchShape.of(trial))

    @property
    def name(self) -> str:
        """A name for files."""
        return digest([self.model.model_dump(), self.task, self.data, list(self.shape)])[:16]


class Choice(Frozen):
    """A width and what it was chosen by."""

    model: str
    task: str
    shape: BatchShape
    lanes: int = 1
    measured: tuple[Measurement, ...] = ()
    limit_bytes: int | None = None
    """What the process may use; wider packs that would need more were not tried."""
    predicted_bytes: int | None = None
    """What the next wider pack would need by the memory model, where that kept it from being tried."""
    reason: str = ""


def choose(measured: Sequence[Measurement]) -> int:
    """Return the narrowest width from which on wider packs bring less than `GAIN`; 1 where packing does not pay."""
    best = measured[0]
    for wider in measured[1:]:
        if wider.gain >= GAIN * best.gain:
            best = wider
    return best.lanes


class Choices:
    """Reads and writes `<storage>/<sweep>/packing/`.

    A worker leaves what it measured in `<kind>.measured.json`. The driver, of which there is one, makes it the sweep's choice in
    `<kind>.json` when it first needs it; that file is never changed.

    Args:
        folder: the sweep's.
    """

    def __init__(self, folder: Storage) -> None:
        self._folder = folder / FOLDER
        self._settled: dict[Kind, Choice] = {}

    def missing(self, trials: Sequence[Trial]) -> dict[Kind, list[Trial]]:
        """Return the trials of each kind that nothing is known of."""
        found: dict[Kind, list[Trial]] = {}
        for trial in trials:
            found.setdefault(Kind.of(trial), []).append(trial)
        return {kind: some for kind, some in found.items() if not (self._read(kind.name) or self._read(f"{kind.name}.measured"))}

    def propose(self, kind: Kind, choice: Choice) -> None:
        """Leave what was measured for the driver."""
        self._write(f"{kind.name}.measured", choice)

    def settled(self, trial: Trial) -> Choice:
        """Return the choice for a trial's kind; the first call for a kind settles it for good."""
        kind = Kind.of(trial)
        if kind not in self._settled:
            choice = self._read(kind.name)
            if choice is None:
                choice = self._read(f"{kind.name}.measured") or Choice(
                    model=kind.model.id, task=kind.task, shape=kind.shape, reason="nothing was measured"
                )
                self._write(kind.name, choice)
            log.info("packing %s on %s, batches of %d: %d at once", kind.task, kind.model.id, kind.shape.batch_size, choice.lanes)
            self._settled[kind] = choice
        return self._settled[kind]

    def all(self) -> tuple[Choice, ...]:
        """Return what was settled so far in this process."""
        return tuple(self._settled.values())

    def _read(self, name: str) -> Choice | None:
        content = (self._folder / f"{name}.json").read()
        try:
            return None if content is None else Choice.model_validate_json(content)
        except ValidationError:
            log.warning("%s is damaged and is left out", self._folder / f"{name}.json")
            return None

    def _write(self, name: str, choice: Choice) -> None:
        (self._folder / f"{name}.json").write(json.dumps(choice.model_dump(mode="json"), indent=1).encode())
