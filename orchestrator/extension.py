"""The next sweep file after a selected point lay on the edge of the grid: the same sweep, its grid or domain wider (F9)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.fairness import Edge
from orchestrator.recorded import RecordedSweep
from orchestrator.tracking.records import RunReader
from search_spaces.domains import Value
from search_spaces.errors import SpecError, StorageError, TrackingError
from search_spaces.faults import faults_of
from search_spaces.loading import dump_spec
from search_spaces.search import LARGEST_EXTENSION
from search_spaces.spacing import End, bound_beyond, step_beyond
from search_spaces.spec import SweepSpec
from search_spaces.strict_yaml import YamlFault, parse

_NEXT = {
    "grid": "run it to go on; what has run is not repeated",
    "halving": "run it to go on; its points compete anew, so the select phase runs from the start",
    "optuna": "run it to search the wider domain, whose points are other ones from the start",
}
"""Algorithm of the search, or halving -> what the new sweep file is for."""


@dataclass(frozen=True)
class Step:
    """One new value of an axis, or bound of a continuous one, at one of its ends."""

    axis: str
    end: End
    value: float

    def __str__(self) -> str:
        return f"{self.axis}={self.value:g} at the {self.end} end"

    def to_json(self) -> dict[str, Any]:
        """Return the step as JSON documents show it."""
        return {"axis": self.axis, "end": self.end, "value": self.value}


@dataclass(frozen=True)
class Extension:
    """A sweep with its grid extended.

    Attributes:
        spec: the sweep file to run next.
        steps: what is new in its grid; nothing when the grid stays as it is.
        exhausted: ends that selected points lie on, and that were extended as often as is allowed.
    """

    spec: SweepSpec
    steps: tuple[Step, ...]
    exhausted: tuple[Edge, ...]

    def file(self, out: Path | None) -> Path:
        """Return where the sweep file goes."""
        return out or Path(f"{self.spec.name}-extended.yaml")

    def write(self, out: Path | None) -> None:
        """Write the sweep file; one of the default name is replaced only when this command wrote it.

        Raises:
            StorageError: it cannot be written, or another file has its name.
        """
        file, head = self.file(out), f"# {self.spec.name}, its grid widened by `fairsweep extend`"
        try:
            if out is None and file.exists() and not file.read_text(encoding="utf-8").startswith(head):
                raise StorageError(f"{file} is there already, and this command did not write it. Fix: pass --out")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{head}: {'; '.join(map(str, self.steps))}\n{dump_spec(self.spec)}", encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"cannot write {file}: {error}") from error

    def lines(self, out: Path | None) -> list[str]:
        """Return what the command says."""
        file, found = self.file(out), []
        if self.steps:
            found.append(f"wrote {file}: {', '.join(map(str, self.steps))}, for all methods")
            kind = "halving" if self.spec.halving else self.spec.search.algorithm
            found.append(f"{_NEXT[kind]}: fairsweep run {shlex.quote(str(file))}")
        spent = f"this end was extended {LARGEST_EXTENSION} times already. Fix: `fairsweep run --accept-edge` marks the rows"
        found += [f"{edge}: {spent}" for edge in self.exhausted]
        return found or [f"no selected point of {self.spec.name} lies on an edge of its grid"]

    def to_json(self, out: Path | None) -> dict[str, Any]:
        """Return what `fairsweep extend --json` prints."""
        return {
            "sweep": self.spec.name,
            "file": str(self.file(out)) if self.steps else None,
            "steps": [step.to_json() for step in self.steps],
            "exhausted": [edge.to_json() for edge in self.exhausted],
        }


def extend(reader: RunReader, sweep: RecordedSweep) -> Extension:
    """Extend the grid of a sweep by a step at every end that a selected point lies on.

    Args:
        reader: of the store that holds the sweep.
        sweep: the sweep, its select phase run.

    Raises:
        TrackingError: select trials are missing, or the sweep file cannot be read.
        SpecError: the sweep would not be valid with the new values.
    """
    name = sweep.plan.sweep
    if not sweep.conduct.selected:
        raise TrackingError(f"the select phase of sweep {name!r} is not complete in MLflow. Fix: run the sweep first")
    written = _read(reader.sweep_artifact(name, "spec.yaml", sweep.plan.digest), name)
    counts = {axis: ends.model_dump() for axis, ends in sweep.plan.spec.search.extended.items()}
    edges = {(edge.axis, edge.end): edge for found in sweep.edges.values() for edge in found}
    exhausted = [edge for edge in edges.values() if counts.get(edge.axis, {}).get(edge.end, 0) >= LARGEST_EXTENSION]
    steps = [Step(edge.axis, edge.end, _beyond(edge)) for edge in edges.values() if edge not in exhausted]
    for step in steps:
        ends = counts.setdefault(step.axis, {"low": 0, "high": 0})
        ends[step.end] += 1
    grid = {axis: widened(values, [step for step in steps if step.axis == axis]) for axis, values in written["grid"].items()}
    content = {**written, "grid": grid, "search": {**written.get("search", {}), "extended": counts, "accept_edge": False}}
    return Extension(_checked(content, name), tuple(steps), tuple(exhausted))


def widened(values: Sequence[Value] | Mapping[str, Any], steps: Iterable[Step]) -> list[Value] | dict[str, Any]:
    """Return an axis's values with new ones at their ends, in the direction in which they were written; or its domain, new bounds in it."""
    if isinstance(values, Mapping):
        kind, (low, high) = next(iter(values.items()))
        ends = {"low": low, "high": high} | {step.end: step.value for step in steps}
        return {kind: [ends["low"], ends["high"]]}
    found = list(values)
    numbers = [value for value in values if isinstance(value, int | float)]
    ascending = bool(numbers) and numbers[0] <= numbers[-1]
    for step in steps:
        found.insert(0 if (step.end == "low") == ascending else len(found), step.value)
    return found


def _beyond(edge: Edge) -> float:
    if edge.domain is not None:
        return bound_beyond(edge.axis, edge.domain, edge.end)
    return step_beyond(edge.axis, edge.values, edge.end)


def _read(text: str, name: str) -> dict[str, Any]:
    try:
        written = parse(text)
    except YamlFault as error:
        raise TrackingError(f"spec.yaml of sweep {name!r} cannot be read: {error}. Fix: run the sweep again, which records it") from error
    if not isinstance(written, dict) or not isinstance(written.get("grid"), Mapping):
        raise TrackingError(f"spec.yaml of sweep {name!r} is no sweep file. Fix: run the sweep again, which records it")
    return written


def _checked(content: Mapping[str, Any], name: str) -> SweepSpec:
    try:
        return SweepSpec.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{name} with its grid extended", faults_of(error)) from error
