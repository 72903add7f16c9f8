"""Values in words: numbers as people write them, digests by their beginning, evidence as sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

ABSENT = "-"
DIGEST_LENGTH = 12
"""Digits of a digest that are printed; MLflow holds all of them."""
_DIGEST = re.compile(r"[0-9a-f]{32,}")
_LONGEST = 1500


def word(value: Any) -> str:
    """Return a value of a sweep file or of a rule's evidence in words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_inner(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_inner, value)) or "none"
    return _DIGEST.sub(lambda found: found[0][:DIGEST_LENGTH], str(value))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return what should be a mapping; an empty one in place of anything else that a tracking server may hold."""
    return value if isinstance(value, Mapping) else {}


def facts(evidence: Mapping[str, Any]) -> list[str]:
    """Return the facts of a rule's evidence, one text each; its deviations and marks are no facts."""
    shown = {key: value for key, value in evidence.items() if key not in ("deviations", "marks") and value not in (None, [], {}, ())}
    return [clipped(f"{key.replace('_', ' ')}: {word(value)}") for key, value in shown.items()]


def clipped(text: str) -> str:
    """Return a text that is not longer than a reader bears; what is left out, the JSON has."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... (cut; `fairsweep audit --json` has all of it)"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage without its sign."""
    return f"{100 * fraction:.{digits}f}" if fraction is not None else ABSENT


def interval(bounds: tuple[float, float] | None) -> str:
    """Return the bounds of an interval in per cent."""
    return f"[{percent(bounds[0])}, {percent(bounds[1])}]" if bounds else ABSENT


def point(values: Mapping[str, Any] | None) -> str:
    """Return a grid point, such as `learning_rate=0.001 scale=1`."""
    return " ".join(f"{axis}={word(value)}" for axis, value in (values or {}).items()) or ABSENT


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits."""
    return f"{value:.{digits}g}" if value is not None else ABSENT


def _inner(value: Any) -> str:
    """Return a nested value: in parentheses where it has several parts, which would else run into the next ones."""
    nested = isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str))
    if nested and len(value) == 1 and not isinstance(value, Mapping):
        return _inner(value[0])
    return f"({word(value)})" if nested and value else word(value)
