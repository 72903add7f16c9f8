"""Examines a machine or cluster for a sweep, and lists all checks."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from packaging.requirements import Requirement

from cluster import machine
from cluster.doctor import CHECKS as MACHINE_CHECKS
from cluster.examination import Check, Finding, NodeReport, findings
from cluster.machine import Machine
from cluster.questions import Answer, Examiners, Node, Question, ThisMachine
from orchestrator.doctor import accelerators, memory, services, storage_probe
from orchestrator.doctor.subject import Subject, demand_of, ops_of
from orchestrator.doctor.threads import threads
from orchestrator.plan import Plan
from orchestrator.sweep.ray_session import ClusterError, ray_session
from orchestrator.tracking import probe as tracking_probe
from orchestrator.tracking.connection import shown_uri
from search_spaces.errors import Fault

ANSWER_SECONDS = 120.0
"""How long a node may take for one answer; the first one waits until it has imported torch and DeepSpeed."""
OBJECT_STORE_BYTES = 128 * 2**20
PROTOCOL = ("python", "ray", "mlflow")
"""Whose versions must agree for processes to understand each other; with `trainers.meter.PACKAGES`, those that change numbers."""

CHECKS: tuple[Check[Subject], ...] = (
    services.cluster,
    services.sweep,
    *MACHINE_CHECKS,
    accelerators.gpus,
    accelerators.bfloat16,
    accelerators.deepspeed,
    services.storage,
    services.tracking,
    services.tracking_versions,
    services.tracking_shared,
    services.tracking_security,
    memory.model_memory,
    threads,
)


@dataclass(frozen=True)
class Checkup:
    """What is to be examined.

    Attributes:
        storage: folder or URI of all sweeps.
        uri: tracking URI.
        address: Ray cluster; None for this machine.
        plan: of the sweep; None without one.
        faults: what is wrong with the sweep file.
        timeout_seconds: how long a node may take for one answer.
        progress: is told what is being done.
    """

    storage: str
    uri: str
    address: str | None = None
    plan: Plan | None = None
    faults: tuple[Fault, ...] = ()
    timeout_seconds: float = ANSWER_SECONDS
    progress: Callable[[str], None] = lambda text: None

    def run(self) -> Subject:
        """Examine; what is wrong is in the result, not raised."""
        self.progress("trying the tracking store")
        required = requirements()
        libraries = sorted({Requirement(text).name for text in required} | set(numeric_libraries()))
        subject = Subject(
            driver=Machine.model_validate(machine.examine(libraries, {})),
            nodes=(),
            requirements=required,
            decisive=frozenset(numeric_libraries()) | frozenset(PROTOCOL),
            plan=self.plan,
            faults=self.faults,
            demand=demand_of(self.plan),
            clustered=self.address is not None,
            tracking=tracking_probe.probe(self.uri),
        )
        try:
            with self._examiners() as examiners:
                return self._examined(subject, examiners, libraries)
        except ClusterError as error:
            return replace(subject, unreachable=str(error))

    @contextmanager
    def _examiners(self) -> Iterator[Examiners]:
        if self.address is None:
            yield ThisMachine(socket.gethostname())
            return
        self.progress(f"connecting to Ray at {self.address}")
        with ray_session(self.address):
            from cluster.examiner import cluster_examiners

            with cluster_examiners(self.timeout_seconds) as examiners:
                yield examiners

    def _examined(self, subject: Subject, examiners: Examiners, libraries: Sequence[str]) -> Subject:
        count = len(examiners.nodes)
        self.progress(f"asking {count} node{'s' if count != 1 else ''} for versions, memory, disks and accelerators")
        offsets = examiners.offsets()
        caches = _values(examiners.ask(lambda node: ("trainers.locations:cache_root", {})))
        topics = {
            "machine": examiners.ask(lambda node: self._machine_question(node, libraries, caches)),
            accelerators.TOPIC: examiners.ask(lambda node: ("trainers.accelerator:examine", {"ops": ops_of(self.plan)})),
        }
        if subject.clustered:
            topics["authentication"] = examiners.ask(lambda node: ("cluster.examiner:authentication", {}))
        self.progress("trying the storage from every node")
        storage = storage_probe.probe(self.storage, examiners)
        unreached = _unreached(examiners) if count > 1 else None
        reports = tuple(_report(node, topics, offsets.get(node.name)) for node in examiners.nodes)
        return replace(subject, nodes=reports, storage=storage, unreached=unreached, silent=examiners.silent)

    def _machine_question(self, node: Node, libraries: Sequence[str], caches: Mapping[str, Any]) -> Question:
        folders = {"Ray": node.temporary or os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()}
        if node.name in caches:
            folders["cache"] = str(caches[node.name])
        if "://" not in self.storage:
            folders["storage"] = os.path.abspath(self.storage)
        return "cluster.machine:examine", {"libraries": libraries, "folders": folders, "address": node.address}


def diagnose(subject: Subject) -> list[Finding]:
    """Return what all checks find; no secret of a URI is shown."""
    return [replace(found, seen=shown_uri(found.seen), fix=shown_uri(found.fix)) for found in findings(CHECKS, subject)]


def requirements() -> list[str]:
    """Return what fairsweep requires, without its extras."""
    try:
        needed = requires("fairsweep") or []
    except PackageNotFoundError:
        return []
    return [text for text in needed if "extra ==" not in text]


def numeric_libraries() -> tuple[str, ...]:
    """Return the libraries whose versions can change a trial's numbers."""
    from trainers.meter import PACKAGES

    return PACKAGES


def _values(answers: Mapping[str, Answer]) -> dict[str, Any]:
    return {name: answer.value for name, answer in answers.items() if not answer.error}


def _unreached(examiners: Examiners) -> dict[str, dict[str, str]]:
    """Let every node connect to all others; return what each cannot reach."""
    nodes = {node.name: node for node in examiners.nodes if node.address}
    listening = _values(examiners.ask(lambda node: ("cluster.network:listen", {"host": node.address})))
    places = {name: (nodes[name].address, port) for name, port in listening.items()}
    answers = examiners.ask(
        lambda node: ("cluster.network:reach", {"places": [place for name, place in places.items() if name != node.name]})
    )
    return {name: failed for name, failed in _values(answers).items() if failed}


def _report(node: Node, topics: Mapping[str, Mapping[str, Answer]], offset: Any) -> NodeReport:
    answers = {topic: found[node.name] for topic, found in topics.items() if node.name in found}
    values = {topic: answer.value for topic, answer in answers.items() if not answer.error}
    found = Machine.model_validate(values.pop("machine")) if "machine" in values else None
    return NodeReport(
        node=_with_resources(node, found, values.get(accelerators.TOPIC, {})),
        machine=found,
        offset=offset,
        authentication=values.pop("authentication", None),
        facts=values,
        errors={topic: answer.error for topic, answer in answers.items() if answer.error},
    )


def _with_resources(node: Node, found: Machine | None, accelerator: Mapping[str, Any]) -> Node:
    """Return this machine with what Ray would offer of it; the nodes of a cluster say so themselves."""
    if node.id or found is None:
        return node
    memory_bytes = max(0, found.available_bytes - OBJECT_STORE_BYTES)
    return replace(node, resources={"CPU": found.cpus, "GPU": len(accelerator.get("gpus", ())), "memory": memory_bytes})
