"""Finds methods, optimisers, tasks and base models by name.

The project's own are the files of `trainers/methods`, `trainers/optimizers`, `trainers/tasks` and `trainers/presets`: a file's name is
its key, and nothing is imported before its first use. A file `<prefix>_bridge.py` offers all names `<prefix>/...` of another library.
Installed packages add theirs through the entry points `fairsweep.methods`, `fairsweep.optimizers`, `fairsweep.tasks` and
`fairsweep.models`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import FairsweepError, UnknownNameError
from trainers.api import Task

if TYPE_CHECKING:
    from trainers.adapters.method import Method
    from trainers.optimizer import Optimizer

_HERE = Path(__file__).parent
_BRIDGE = "_bridge"


class PluginError(FairsweepError):
    """An installed package's entry point cannot be loaded, or claims a name that is taken."""


@cache
def method_names() -> tuple[str, ...]:
    """List the registry keys of all methods, without those that only bridges offer."""
    return _names("methods", "*.py")


@cache
def bridged_names() -> tuple[str, ...]:
    """List the names that bridges offer, such as those of another library's methods; imports that library."""
    return tuple(sorted(f"{stem.removesuffix(_BRIDGE)}/{name}" for stem in _bridges() for name in _module("methods", stem).names()))


def optimizer_names() -> tuple[str, ...]:
    """List the registry keys of all optimisers."""
    return _names("optimizers", "*.py")


def task_names() -> tuple[str, ...]:
    """List the registry keys of all tasks."""
    return _names("tasks", "*.py")


def model_names() -> tuple[str, ...]:
    """List the names of the registered base models."""
    return _names("models", "*.yaml", folder="presets")


@cache
def method_type(name: str) -> type[Method]:
    """Return a method's class.

    Raises:
        UnknownNameError: no method has this name; the message suggests the nearest.
        NotApplicableError: a method of another library that cannot be compared; the message gives the reason.
        PluginError: an installed package's method cannot be loaded.
    """
    prefix, slash, rest = name.partition("/")
    if slash and f"{prefix}{_BRIDGE}" in _bridges():
        bridge = _module("methods", f"{prefix}{_BRIDGE}")
        if rest not in bridge.names() and rest not in bridge.UNSUPPORTED:
            raise UnknownNameError("method", name, bridged_names())
        return bridge.method_type(rest)  # type: ignore[no-any-return]
    if name not in method_names():
        raise UnknownNameError("method", name, (*method_names(), *(bridged_names() if slash else ())))
    return _load("methods", name)  # type: ignore[no-any-return]


@cache
def method_version(name: str) -> str:
    """Return a hash of the files that implement a method, and of the library that a bridge leads to.

    That is its own file and what it uses beyond what every method uses: bases and functions that it shares with some.
    """
    kind = method_type(name)
    module = inspect.getmodule(kind)
    assert module is not None
    own = {module.__name__} | _reached(module.__name__) - _reached("trainers.adapters.method")
    files = [Path(str(sys.modules[name].__file__)).read_bytes() for name in sorted(own)]
    content = b"".join(files) + str(getattr(module, "LIBRARY_VERSION", "")).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def _reached(start: str) -> set[str]:
    """Return the modules whose functions and classes a module uses, directly or not, within its package and this one."""
    packages = {start.partition(".")[0], __package__}
    found, ahead = set(), [start]
    while ahead:
        name = ahead.pop()
        found.add(name)
        owners = {getattr(value, "__module__", None) for value in vars(sys.modules[name]).values()}
        ahead += [o for o in owners - found if isinstance(o, str) and o.partition(".")[0] in packages and o in sys.modules]
    return found


@cache
def optimizer_type(name: str) -> type[Optimizer]:
    """Return an optimiser's class.

    Raises:
        UnknownNameError: no optimiser has this name; the message suggests the nearest.
        PluginError: an installed package's optimiser cannot be loaded.
    """
    if name not in optimizer_names():
        raise UnknownNameError("optimizer", name, optimizer_names())
    return _load("optimizers", name)  # type: ignore[no-any-return]


@cache
def optimizer_version(name: str) -> str:
    """Return a hash of the file that implements an optimiser."""
    return hashlib.sha256(Path(inspect.getfile(optimizer_type(name))).read_bytes()).hexdigest()[:12]


@cache
def task(name: str) -> Task:
    """Return a task.

    Raises:
        UnknownNameError: no task has this name; the message suggests the nearest.
        PluginError: an installed package's task cannot be loaded.
    """
    if name not in task_names():
        raise UnknownNameError("task", name, task_names())
    return _load("tasks", name)()  # type: ignore[no-any-return]


def preset_file(name: str) -> Path | None:
    """Return the YAML file of a registered base model, or None where the name is not registered.

    Raises:
        PluginError: an installed package's model cannot be loaded.
    """
    own = _HERE / "presets" / f"{name}.yaml"
    if own.is_file():
        return own
    return Path(_plugin(_plugins("models")[name])) if name in _plugins("models") else None


def _names(kind: str, pattern: str, folder: str | None = None) -> tuple[str, ...]:
    files = {p.stem for p in (_HERE / (folder or kind)).glob(pattern) if not p.stem.startswith("_") and not p.stem.endswith(_BRIDGE)}
    plugins = _plugins(kind)
    taken = files & set(plugins)
    if taken:
        name = min(taken)
        raise PluginError(
            f"{plugins[name].value} (entry point fairsweep.{kind}) claims {name!r}, which fairsweep itself defines. Fix: rename it"
        )
    return tuple(sorted(files | set(plugins)))


def _bridges() -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in (_HERE / "methods").glob(f"*{_BRIDGE}.py")))


@cache
def _plugins(kind: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"fairsweep.{kind}"):
        if point.name in found and found[point.name].value != point.value:
            raise PluginError(
                f"{point.value} and {found[point.name].value} both claim {point.name!r} in fairsweep.{kind}. Fix: uninstall one"
            )
        found[point.name] = point
    return found


def _plugin(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise PluginError(
            f"plug-in {point.name!r} ({point.value}, {point.group}) cannot be loaded: {error!r}. Fix: mend or uninstall it"
        ) from error


def _module(kind: str, name: str) -> Any:
    return importlib.import_module(f"trainers.{kind}.{name}")


def _load(kind: str, name: str) -> Any:
    """Return the class of that file: `METHOD` or `TASK` in a module, or what the entry point names."""
    if name in _plugins(kind):
        return _plugin(_plugins(kind)[name])
    return getattr(_module(kind, name), kind.removesuffix("s").upper())
