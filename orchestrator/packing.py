"""Whether the trials of a sweep can share processes: decided for all of its methods together, so that they are treated alike."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.variants import Variant
from search_spaces.errors import Fault
from search_spaces.faults import join
from search_spaces.packing import Packing, width_of
from search_spaces.spec import SweepSpec
from search_spaces.trial import Trial


def method_faults(spec: SweepSpec, variants: Sequence[Variant]) -> list[Fault]:
    """Return a fault for every label whose trials cannot share a process, where the sweep file asks for a number of them."""
    if (width_of(spec.packing) or 1) == 1:
        return []
    fix = "write `packing: auto`, which packs where every method can be packed, or `packing: off`; or leave the method out"
    return [Fault(join("methods", label), f"{reason}, which `packing: {spec.packing}` asks for", fix) for label, reason in _odd(variants)]


def packing_of(spec: SweepSpec, variants: Sequence[Variant]) -> Packing:
    """Return how a sweep is packed: as its file says, but not at all where `auto` meets something that cannot be packed."""
    return "off" if spec.packing == "auto" and packing_obstacles(spec, variants) else spec.packing


def planned_width(spec: SweepSpec, trial: Trial) -> int | None:
    """Return how many trials the pack of a trial is to have; None where that is measured. A profile is never taken in a pack."""
    return 1 if spec.resources.solo and trial.phase == "report" else width_of(spec.packing)


def packing_obstacles(spec: SweepSpec, variants: Sequence[Variant]) -> list[str]:
    """Return what keeps the trials of a sweep from sharing processes, in words."""
    found = [f"{label}: {reason}" for label, reason in _odd(variants)]
    if spec.resources.workers > 1:
        found.append(f"a trial has {spec.resources.workers} processes of its own (resources.workers)")
    if spec.deepspeed.zero_stage > 0:
        found.append(f"ZeRO stage {spec.deepspeed.zero_stage} (deepspeed.zero_stage)")
    if spec.compute.gradient_checkpointing:
        found.append("layers run again in the backward pass (compute.gradient_checkpointing)")
    return found


def _odd(variants: Sequence[Variant]) -> list[tuple[str, str]]:
    """Return the labels that cannot be packed, with the reason."""
    methods = [(v.label, f"its method {v.card.name} cannot be packed") for v in variants if not v.card.packable]
    online = [(v.label, f"its optimiser {v.optimizer.name} learns online and cannot be packed") for v in variants if v.optimizer.online]
    return methods + online
