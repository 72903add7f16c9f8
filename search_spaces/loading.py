"""Reading sweep files: a path or a study's name, `--set` overrides, and every fault at once."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from search_spaces.errors import Fault, SpecError, UnknownNameError
from search_spaces.faults import faults_of
from search_spaces.keypath import assign, remove
from search_spaces.spec import SweepSpec
from search_spaces.strict_yaml import YamlFault, parse

STUDIES = Path(__file__).parent / "studies"
_INSTEAD = {
    "model": "models",
    "models": "model",
    "training.epochs": "training.steps",
    "training.steps": "training.epochs",
    "grid.epochs": "training.steps",
    "grid.steps": "training.epochs",
}
"""Keys that exclude one another: setting the one from the command line takes the place of the other in the file."""


@dataclass(frozen=True)
class Reading:
    """A sweep file as read.

    Attributes:
        source: the file, for messages.
        spec: the sweep; of a file with faults, only its valid sections.
        faults: what is wrong with the file, names of methods, tasks and models left aside.
        singular: whether the file writes `model:` for a list of one.
    """

    source: str
    spec: SweepSpec
    faults: tuple[Fault, ...] = ()
    singular: bool = False

    def refuse(self, faults: Sequence[Fault]) -> SpecError:
        """Return the error that lists faults under the paths that the file uses."""
        return SpecError(self.source, [_as_written(fault) if self.singular else fault for fault in faults])

    def checked(self) -> SweepSpec:
        """Return the sweep.

        Raises:
            SpecError: the file has faults.
        """
        if self.faults:
            raise self.refuse(self.faults)
        return self.spec


def list_studies() -> tuple[str, ...]:
    """Return the names of the studies that come with fairsweep."""
    return tuple(sorted(path.stem for path in STUDIES.glob("*.yaml")))


def load_spec(source: str | Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read and validate a sweep file; names of methods, tasks and models are not looked up.

    Args:
        source: path of a YAML file, or the bare name of a study.
        overrides: `key.path=value` texts, values in YAML.

    Raises:
        SpecError: the file cannot be read, or has faults; all of them are listed.
        UnknownNameError: a bare name that is no study.
    """
    return read_spec(source, overrides).checked()


def read_spec(source: str | Path, overrides: Sequence[str] = ()) -> Reading:
    """Read a sweep file as `load_spec` does, but return its faults with what is valid beside them.

    Raises:
        SpecError: the file cannot be read, or is not a mapping in YAML.
        UnknownNameError: a bare name that is no study.
    """
    path = _locate(source)
    raw = _read(path)
    faults = _override(raw, overrides)
    try:
        spec = SweepSpec.model_validate(raw)
    except ValidationError as error:
        faults += faults_of(error)
        spec = _outline(raw, faults)
    return Reading(str(source), spec, tuple(dict.fromkeys(faults)), singular="model" in raw and "models" not in raw)


def dump_spec(spec: SweepSpec) -> str:
    """Return a sweep as YAML text with every default written out; reading it gives an equal sweep."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _locate(source: str | Path) -> Path:
    path = Path(source)
    if isinstance(source, str) and re.fullmatch(r"[A-Za-z0-9_-]+", source):
        if source in list_studies():
            return STUDIES / f"{source}.yaml"
        if not path.exists():
            raise UnknownNameError("study", source, list_studies())
    return path


def _read(path: Path) -> dict[Any, Any]:
    try:
        raw = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        fix = f"give the path of a sweep file, or the name of a study: {', '.join(list_studies())}"
        raise SpecError(str(path), [Fault("", f"cannot be read: {error.strerror}.", fix)]) from error
    except UnicodeDecodeError as error:
        raise SpecError(str(path), [Fault("", f"is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}")]) from error
    except YamlFault as error:
        raise SpecError(str(path), [error.fault]) from error
    if not isinstance(raw, dict):
        found = "is empty" if raw is None else f"holds {type(raw).__name__} {raw!r:.60}"
        raise SpecError(str(path), [Fault("", f"{found}, where a mapping with the keys `name`, `models`, `tasks`, ... is due")])
    return raw


def _override(raw: dict[Any, Any], overrides: Sequence[str]) -> list[Fault]:
    """Apply `--set` texts to a file as written; return what is wrong with them."""
    paths = [text.partition("=")[0].strip() for text in overrides]
    for path in paths:
        if path in _INSTEAD and _INSTEAD[path] not in paths:
            remove(raw, _INSTEAD[path])
    faults = []
    for text, path in zip(overrides, paths, strict=True):
        try:
            if "=" not in text or not all(path.split(".")):
                raise ValueError("it should be key.path=value, such as training.steps=10")
            assign(raw, path, parse(text.partition("=")[2]))
        except (ValueError, YamlFault) as error:
            faults.append(Fault(f"--set {text}", str(error)))
    return faults


def _outline(raw: Mapping[Any, Any], faults: Sequence[Fault]) -> SweepSpec:
    """Return what is left of a file when its faulty keys are taken out."""
    rest = copy.deepcopy(dict(raw))
    # From the back, so that the numbers of list entries still hold.
    for path in sorted({fault.path for fault in faults if fault.path}, key=_natural, reverse=True):
        remove(rest, path.replace("models.0", "model", 1) if "model" in rest and "models" not in rest else path)
    return SweepSpec.outline(rest)


def _natural(path: str) -> list[str]:
    return [part.zfill(6) for part in path.split(".")]


def _as_written(fault: Fault) -> Fault:
    return Fault(re.sub(r"^models(\.0)?(?=\.|$)", "model", fault.path), fault.message, fault.fix)
