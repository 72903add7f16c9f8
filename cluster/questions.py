"""Questions to machines: functions that are called by name on each of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Question = tuple[str, Mapping[str, Any]]
"""A function as `module:function`, imported on the node, and its arguments; it returns plain values."""


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        id: Ray's id; empty for this machine without Ray.
        name: what a person calls it.
        address: its address in the cluster; None for this machine without Ray.
        resources: what it offers in all, in Ray's names.
        temporary: Ray's folder for temporary files there; empty without Ray.
        lost: why Ray holds it for dead; empty while it is alive.
    """

    name: str
    id: str = ""
    address: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    temporary: str = ""
    lost: str = ""


@dataclass(frozen=True)
class Answer:
    """What a node said: a value, or why there is none."""

    value: Any = None
    error: str = ""


@dataclass(frozen=True)
class Offset:
    """How far a node's clock is ahead of the driver's, in seconds, and how uncertain that is: half the round trip."""

    seconds: float
    uncertainty: float


class Examiners(Protocol):
    """Answers questions on some nodes.

    Attributes:
        nodes: the nodes that are asked, lost ones among them.
        silent: node name -> why it answers no more.
    """

    nodes: Sequence[Node]
    silent: dict[str, str]

    def ask(self, question: Callable[[Node], Question]) -> dict[str, Answer]:
        """Return the answers by node name; nodes that are silent are left out."""

    def offsets(self) -> dict[str, Offset]:
        """Return the clocks by node name."""


def called(function: str, arguments: Mapping[str, Any]) -> tuple[str, Any]:
    """Call `module:function`; return `value` with what it returned, or `error` with what it raised."""
    module, _, name = function.partition(":")
    try:
        return "value", getattr(importlib.import_module(module), name)(**arguments)
    except Exception as error:  # noqa: BLE001  what fails on a node is what the doctor is looking for
        return "error", f"{type(error).__name__}: {first_line(str(error))}"


class ThisMachine:
    """Answers in this process, without Ray."""

    def __init__(self, name: str) -> None:
        self.nodes: Sequence[Node] = (Node(name),)
        self.silent: dict[str, str] = {}

    def ask(self, question: Callable[[Node], Question]) -> dict[str, Answer]:
        """Answer a question here."""
        return {node.name: answer(*called(*question(node))) for node in self.nodes}

    def offsets(self) -> dict[str, Offset]:
        """Return nothing: the clock is the driver's own."""
        return {}


def answer(kind: str, value: Any) -> Answer:
    """Return what `called` returned as an Answer."""
    return Answer(value=value) if kind == "value" else Answer(error=value)


def first_line(text: str) -> str:
    """Return the first line of an error's text that says something, shortened."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")[:300]
