"""The section `compute`: how the numbers of all trials are computed, where that changes rounding or memory but not what is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from search_spaces.errors import Fault
from search_spaces.faults import Section
from search_spaces.trial import Frozen

Kernel = Literal["auto", "foreach", "fused", "loop"]


class Compute(Frozen):
    """How a trial computes; none of it is part of a trial's id."""

    optimizer_kernel: Kernel = "auto"
    """How the optimiser's update is computed: `auto` as torch chooses, `loop` one parameter after the other, `foreach` operation by
    operation for all parameters, `fused` one kernel for the whole update. An optimiser that has no such choice keeps its own."""
    gradient_checkpointing: bool = False
    """Whether activations within the base's layers are computed again in the backward pass, where else they are kept."""

    def chosen(self) -> dict[str, Any]:
        """Return the settings that are not the defaults."""
        return self.model_dump(exclude_defaults=True)


STANDARD = Compute()
"""What every trial has whose sweep says nothing."""


class ComputeSection(Section, Compute):
    """The section of the sweep file."""

    misplaced: ClassVar[Mapping[str, str]] = {
        "compile": "remove it: compiling the parts of a base that no method acts on made no step faster",
        "threads": "write `resources: {cpus: ...}`",
        "dtype": "write `models: [{id: ..., dtype: bfloat16}]`",
    }

    @property
    def settings(self) -> Compute:
        """The settings as a trial's hand-out holds them."""
        return Compute(**self.model_dump())


def compute_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield what gradient checkpointing cannot go with."""
    if _value(raw, "compute", "gradient_checkpointing") is not True:
        return
    width, fix = raw.get("packing"), "remove one of the two"
    if type(width) is int and width > 1:
        yield Fault("compute.gradient_checkpointing", f"a layer cannot be run again for each of {width} packed trials (packing)", fix)
    if _value(raw, "deepspeed", "zero_stage") == 3:
        yield Fault("compute.gradient_checkpointing", "not available on a base in parts (deepspeed.zero_stage: 3)", fix)


def _value(raw: Mapping[str, Any], section: str, key: str) -> Any:
    found = raw.get(section)
    return found.get(key) if isinstance(found, Mapping) else None
