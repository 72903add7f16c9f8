"""What the lanes' methods do at a module, neighbours of equal shapes in one product.

Shapes: R rows of all lanes, L lanes of a group, B rows of a lane, T tokens, N = B T, i in_features, o out_features, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from trainers.adapters.adaptation import Adaptation
from trainers.packing.crew import Crew
from trainers.packing.forms import Form, form_of
from trainers.packing.grouped_products import decoded, dropped_out, updated
from trainers.packing.plans import LaneByLane, SitePlan


@dataclass(frozen=True)
class Part:
    """One lane at a module.

    Attributes:
        lane: its place.
        rows: of the module's output that are its own.
        form: what it hands to a group; None if it is computed by itself.
        first: A (r, i), or the code (B, T, ..., r).
        last_or: B (o, r).
    """

    lane: int
    rows: int
    form: Form | None = None
    first: Tensor | None = None
    last_or: Tensor | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What neighbours have in common that are one group."""
        if self.first is None or self.last_or is None:
            return (self.lane,)
        return self.form, self.rows, self.first.shape, self.last_or.shape

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """What it hands to a group."""
        assert self.first is not None and self.last_or is not None
        return self.first, self.last_or


class GroupedUpdates(SitePlan):
    """Neighbouring lanes of equal shapes in one product, all others lane by lane.

    Args:
        acts: what each lane does at the module; None where it does nothing.
    """

    def __init__(self, acts: Sequence[Adaptation | None]) -> None:
        self.acts = tuple(acts)
        self.lane_by_lane = LaneByLane(acts)
        self._forms = [None if a is None or a.transform is None else form_of(type(a.method)) for a in acts]
        self._cast = next((a.cast for a, form in zip(acts, self._forms, strict=True) if a is not None and form), None)

    def enter(self, crew: Crew, x_RTi: Tensor) -> Tensor:
        """Return every lane's input."""
        return self.lane_by_lane.enter(crew, x_RTi)

    def transform(self, crew: Crew, x_RTi: Tensor, y_RTo: Tensor) -> Tensor:
        """Return every lane's output."""
        if self._cast is None:
            return self.lane_by_lane.transform(crew, x_RTi, y_RTo)
        wide_RTi = self._cast(x_RTi)
        groups = [list(group) for _, group in groupby(self._parts(crew, wide_RTi, y_RTo), key=lambda part: part.kind)]
        if len(groups) == 1 and groups[0][0].form is not None:
            return self._joint(groups[0], wide_RTi, y_RTo, overwrite=True)
        outputs, start = [], 0
        for group in groups:
            rows = slice(start, start := start + sum(part.rows for part in group))
            if group[0].form is None:
                outputs.append(self.lane_by_lane.output(crew, group[0].lane, crew.parts(x_RTi)[group[0].lane], y_RTo[rows].clone()))
            else:
                outputs.append(self._joint(group, wide_RTi[rows], y_RTo[rows]))
        return torch.cat(outputs)

    def _parts(self, crew: Crew, wide_RTi: Tensor, y_RTo: Tensor) -> list[Part]:
        parts = []
        for lane, (acts, form, rows) in enumerate(zip(self.acts, self._forms, crew.sizes_of(y_RTo), strict=True)):
            if acts is None or form is None:
                parts.append(Part(lane, rows))
            elif form == "factors":
                parts.append(Part(lane, rows, form, *acts.method.factors(acts.site)))
            else:
                x_BTi = crew.parts(wide_RTi)[lane]
                with crew.aboard(lane):
                    x_BTi = x_BTi if acts.dropout is None else acts.dropout(x_BTi)
                    parts.append(Part(lane, rows, form, *acts.method.code(x_BTi, acts.site)))
        return parts

    def _joint(self, group: Sequence[Part], x_RTi: Tensor, y_RTo: Tensor, *, overwrite: bool = False) -> Tensor:
        """Return the outputs of a group's rows."""
        lanes, pairs = len(group), [part.pair for part in group]
        y_LNo = y_RTo.reshape(lanes, -1, len(pairs[0][1]))
        if group[0].form == "code":
            adapted_LNo = decoded(pairs, y_LNo, overwrite=overwrite)
        else:
            x_LNi = x_RTi.reshape(lanes, -1, x_RTi.shape[-1])
            dropouts = [acts.dropout if (acts := self.acts[part.lane]) is not None else None for part in group]
            adapted_LNo = updated(dropped_out(x_LNi, dropouts), pairs, y_LNo, overwrite=overwrite)
        return adapted_LNo.reshape(y_RTo.shape).to(y_RTo.dtype)


def site_plan(acts: Sequence[Adaptation | None]) -> SitePlan:
    """Return how lanes are computed at a module that runs once for all of their rows."""
    grouped = any(a is not None and a.transform is not None and form_of(type(a.method)) for a in acts)
    return GroupedUpdates(acts) if grouped else LaneByLane(acts)
