"""How the sections of a sweep file report what is wrong: every fault, under its key path, with the nearest valid key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from search_spaces.errors import Fault, suggestion
from search_spaces.trial import Frozen


class Faults(ValueError):
    """Several faults of one value, with paths relative to it. A ValueError, so that pydantic carries it outwards."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


class Section(Frozen):
    """A mapping of the sweep file.

    Faults of single keys and faults between keys are reported together: pydantic alone stops before the latter.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    aliases: ClassVar[tuple[str, ...]] = ()
    """Keys that are valid in the file without being fields."""
    misplaced: ClassVar[Mapping[str, str]] = {}
    """Keys that users look for here, with the fix that says where they belong."""

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Yield the faults between the keys of the mapping as written; values may be of any type."""
        return ()

    @classmethod
    def rewritten(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the mapping with shorthand forms written out."""
        return raw

    @model_validator(mode="wrap")
    @classmethod
    def _all_faults(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        faults: list[Fault] = []
        section: Self | None = None
        try:
            section = handler(cls.rewritten(raw) if isinstance(raw, Mapping) else raw)
        except ValidationError as error:
            faults = faults_of(error, known=(*cls.model_fields, *cls.aliases), misplaced=cls.misplaced)
        if isinstance(raw, Mapping):
            faults += cls.cross_faults(raw)
        if section is None or faults:
            raise Faults(faults)
        return section


def faults_of(error: ValidationError, known: Sequence[str] = (), misplaced: Mapping[str, str] | None = None) -> list[Fault]:
    """Return pydantic's errors as faults.

    Args:
        error: what pydantic raised.
        known: valid keys, for the suggestion at an unknown one.
        misplaced: unknown keys that have a fix of their own.
    """
    faults = []
    for line in error.errors(include_url=False):
        loc = tuple(part for part in line["loc"] if part != "[key]")
        cause = line.get("ctx", {}).get("error")
        if isinstance(cause, Faults):
            faults += [Fault(join(*loc, fault.path), fault.message, fault.fix) for fault in cause.faults]
        elif line["type"] == "extra_forbidden":
            fix = (misplaced or {}).get(str(loc[-1]), "")
            faults.append(Fault(join(*loc), "unknown key." + ("" if fix else " " + suggestion(str(loc[-1]), known)), fix))
        else:
            faults.append(Fault(join(*loc), _message(line["type"], line["msg"], line["input"], cause)))
    return faults


def join(*parts: str | int) -> str:
    """Return a key path of the sweep file, leaving out empty parts."""
    return ".".join(str(part) for part in parts if part != "")


def _message(kind: str, message: str, value: Any, cause: Any) -> str:
    if kind == "missing":
        return "is missing"
    if cause is not None:
        return str(cause)
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"{value!r} is not a mapping of keys to values"
    expected = re.sub("^(Input|String|Tuple|List|Dictionary) should", "it should", message)
    expected = expected.replace("valid tuple", "list").replace(" after validation", "")
    return f"{value!r} is not valid: {expected}"
