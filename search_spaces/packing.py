"""The key `packing`: how many trials may train at once in one process, over one pass through the base model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from search_spaces.errors import Fault

LARGEST_PACK = 64
"""Each trial of a pack has a thread of its own."""
VALID = f"Valid: auto, off, or a number of trials from 1 to {LARGEST_PACK}"


def _read(written: Any) -> Any:
    if written is False:  # how YAML 1.1 reads `off`
        return "off"
    if written in ("auto", "off") or (type(written) is int and 1 <= written <= LARGEST_PACK):
        return written
    raise ValueError(f"{written!r} is not a width of packing. {VALID}")


Packing = Annotated[int | Literal["auto", "off"], BeforeValidator(_read)]
"""`off`: one trial at a time; a number: the trials of a pack, for every method; `auto`: what the memory holds and a measurement favours."""


def width_of(packing: Packing) -> int | None:
    """Return how many trials a pack has; None where that is measured."""
    if packing == "auto":
        return None
    return 1 if packing == "off" else int(packing)


def packing_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield what keeps trials from sharing a process, where a number of them is asked for."""
    width = raw.get("packing")
    if not isinstance(width, int) or width < 2:
        return
    workers, stage = _value(raw, "resources", "workers"), _value(raw, "deepspeed", "zero_stage")
    fix = "write `packing: off`, or `packing: auto`, which packs where that is possible"
    if isinstance(workers, int) and workers > 1:
        yield Fault("packing", f"{width} trials cannot share a process where each has {workers} of its own (resources.workers)", fix)
    if isinstance(stage, int) and stage > 0:
        yield Fault("packing", f"{width} trials cannot share a process with ZeRO stage {stage} (deepspeed.zero_stage)", fix)


def _value(raw: Mapping[str, Any], section: str, key: str) -> Any:
    found = raw.get(section)
    return found.get(key) if isinstance(found, Mapping) else None
