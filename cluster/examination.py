"""What was learnt of the machines that a sweep would run on, and what checks find in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from cluster.machine import Machine
from cluster.questions import Node, Offset
from cluster.resources import TrialResources

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: the check's name.
        node: the node's name; None for what concerns no single node.
        level: `failure` when a sweep would fail.
        seen: what there is.
        fix: what to do; empty when nothing is to be done.
    """

    level: Level
    seen: str
    fix: str = ""
    node: str | None = None
    check: str = ""


@dataclass(frozen=True)
class NodeReport:
    """What was learnt of one node.

    Attributes:
        machine: None where it could not be learnt.
        offset: of its clock; None on the driver's own machine.
        authentication: whether its Ray asks for a token; None without Ray.
        facts: what else its answers held, by topic.
        errors: why there is no answer, by topic.
    """

    node: Node
    machine: Machine | None = None
    offset: Offset | None = None
    authentication: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name


@dataclass(frozen=True)
class Examination:
    """What was learnt, for the checks to judge.

    Attributes:
        driver: the machine of this process.
        nodes: reports of all nodes; on one machine without Ray, of this machine alone.
        clustered: whether the nodes are those of a Ray cluster.
        silent: node name -> why it answers no more.
        requirements: what fairsweep requires, as the packaging metadata write it.
        decisive: libraries that change a trial's numbers, or what processes say to each other.
        unreached: node name -> the nodes that it cannot connect to, with the reason; None where it was not tried.
        demand: what a trial of the sweep reserves; None without one.
    """

    driver: Machine
    nodes: Sequence[NodeReport]
    clustered: bool = False
    silent: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    decisive: frozenset[str] = frozenset()
    unreached: Mapping[str, Mapping[str, str]] | None = None
    demand: TrialResources | None = None

    @property
    def known(self) -> list[tuple[str, Machine]]:
        """The nodes whose machine is known, by name."""
        return [(report.name, report.machine) for report in self.nodes if report.machine]

    @property
    def alive(self) -> list[NodeReport]:
        """The nodes that Ray holds for alive."""
        return [report for report in self.nodes if not report.node.lost]


E = TypeVar("E", bound=Examination)
Check = Callable[[E], Iterator[Finding]]


def findings(checks: Sequence[Check[E]], examination: E) -> list[Finding]:
    """Return what the checks find, in their order; a finding is named for the check that made it."""
    return [replace(found, check=check.__name__.replace("_", " ")) for check in checks for found in check(examination)]


def size(count: float) -> str:
    """Return a number of bytes as a person writes it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
