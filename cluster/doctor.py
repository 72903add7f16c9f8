"""Checks of the machines that a sweep would run on. Each check is one function of what was learnt of them, listed in `CHECKS`.

Checks of what lies beyond the machines (accelerators, storage, tracking, models) are of the same kind; `orchestrator.doctor` adds them.
"""

from __future__ import annotations

from collections.abc import Iterator

from packaging.requirements import Requirement

from cluster.examination import Check, Examination, Finding, Level, size
from cluster.machine import Machine
from cluster.network import is_loopback
from cluster.questions import Node
from cluster.resources import ResourcesError, TrialResources

SKEW_WARNING_SECONDS, SKEW_FAILURE_SECONDS = 1.0, 60.0
LOW_DISK_BYTES, NO_DISK_BYTES = 5 * 2**30, 2**28
SAME_CODE = "install the same fairsweep on every node, or send this one with `fairsweep submit`"


def answers(examination: Examination) -> Iterator[Finding]:
    """Every node answers all that it is asked."""
    for report in examination.nodes:
        if report.node.lost:
            yield Finding("warning", f"Ray lost this node: {report.node.lost}", "start it again, if the sweep is to use it", report.name)
        elif reason := examination.silent.get(report.name):
            fix = f"look at the raylet and its log on that node; if it says that a module is missing, {SAME_CODE}"
            yield Finding("failure", f"does not answer: {reason}", fix, report.name)
        for topic, error in report.errors.items():
            yield Finding("failure", f"cannot tell its {topic}: {error}", SAME_CODE, report.name)


def versions(examination: Examination) -> Iterator[Finding]:
    """Every node has the driver's versions."""
    for name, machine in examination.known:
        differing = [lib for lib in sorted({*examination.driver.versions, *machine.versions}) if _differ(lib, machine, examination.driver)]
        for library in differing:
            there, here = (found.versions.get(library, "none") for found in (machine, examination.driver))
            decisive = library in examination.decisive
            why = "its trials would not be comparable, or cannot be talked to" if decisive else "it may behave differently"
            fix = f"install {library} {here} on this node" if here != "none" else f"install {library} {there} here"
            yield Finding("failure" if decisive else "warning", f"{library} {there}, but the driver has {here}: {why}", fix, name)
        if not differing:
            shown = ", ".join(f"{lib} {machine.versions[lib]}" for lib in sorted(examination.decisive) if lib in machine.versions)
            yield Finding("ok", shown or f"python {machine.versions.get('python')}", node=name)


def requirements(examination: Examination) -> Iterator[Finding]:
    """Every node has what fairsweep requires."""
    needed = [need for need in map(Requirement, examination.requirements) if need.marker is None or need.marker.evaluate({"extra": ""})]
    for name, machine in examination.known:
        for need in needed:
            found = machine.versions.get(need.name)
            if found is None or not need.specifier.contains(found, prereleases=True):
                fix = f"pip install '{need.name}{need.specifier}'"
                yield Finding("failure", f"{need.name} {found or 'is not installed'}, required is {need.specifier or 'any'}", fix, name)


def code(examination: Examination) -> Iterator[Finding]:
    """Every node runs the driver's fairsweep."""
    for name, machine in examination.known:
        # One machine alone has one code, were it edited at this moment.
        if examination.clustered and machine.code != examination.driver.code:
            seen = f"fairsweep's code is {machine.code}, but the driver's is {examination.driver.code}: its trials would differ"
            yield Finding("failure", seen, SAME_CODE, name)


def processors(examination: Examination) -> Iterator[Finding]:
    """Cores and memory, and whether memory is nearly used up."""
    for name, machine in examination.known:
        seen = f"{machine.cpus} cores, {size(machine.memory_bytes)} of memory, {size(machine.available_bytes)} free"
        if machine.available_bytes < max(2**30, machine.memory_bytes // 50):
            yield Finding("warning", seen, "end what holds the memory: Ray ends workers when a node runs out of it", name)
        else:
            yield Finding("ok", seen, node=name)


def disk(examination: Examination) -> Iterator[Finding]:
    """Free disk where the sweep, the cache and Ray write."""
    for name, machine in examination.known:
        for use, found in machine.disks.items():
            level: Level = "failure" if found.free_bytes < NO_DISK_BYTES else "warning" if found.free_bytes < LOW_DISK_BYTES else "ok"
            fix = "" if level == "ok" else f"free space there, or choose another place: {_PLACES.get(use, 'mount a larger disk')}"
            yield Finding(level, f"{use}: {size(found.free_bytes)} of {size(found.total_bytes)} free at {found.folder}", fix, name)


def clock(examination: Examination) -> Iterator[Finding]:
    """The clocks agree: Outcomes, logs and the runs in MLflow are ordered by the times that the nodes write."""
    for report in examination.nodes:
        if report.offset is None:
            continue
        skew = max(0.0, abs(report.offset.seconds) - report.offset.uncertainty)
        level: Level = "failure" if skew >= SKEW_FAILURE_SECONDS else "warning" if skew >= SKEW_WARNING_SECONDS else "ok"
        seen = f"{abs(report.offset.seconds):.3f} s {'ahead of' if report.offset.seconds > 0 else 'behind'} the driver"
        why = "" if level == "ok" else ": times of trials are wrong, and signed requests to an object store are refused"
        fix = "" if level == "ok" else "synchronise the clocks, for example with chrony or systemd-timesyncd"
        yield Finding(level, f"{seen} (± {report.offset.uncertainty:.3f} s){why}", fix, report.name)


def network(examination: Examination) -> Iterator[Finding]:
    """The interface that a group's workers meet on is one that the other nodes reach."""
    several = len({report.node.address for report in examination.alive}) > 1
    for report in examination.alive:
        if report.machine is None or report.node.address is None:
            continue
        found, address = report.machine.interface, report.node.address
        if found is None:
            fix = "start Ray there with --node-ip-address=ADDRESS, one that the node has"
            yield Finding("failure", f"no interface holds its address {address}", fix, report.name)
        elif found.loopback and several:
            fix = "start Ray there with --node-ip-address=ADDRESS, an address that the other nodes reach"
            yield Finding("failure", f"{address} ({found.name}) is loopback: the other nodes cannot reach it", fix, report.name)
        else:
            yield Finding("ok", f"gloo and nccl use {found.name} ({address})", node=report.name)


def ports(examination: Examination) -> Iterator[Finding]:
    """Nodes reach free ports of each other; groups over several nodes meet on them."""
    groups = examination.demand is not None and examination.demand.workers > 1
    for name, others in (examination.unreached or {}).items():
        seen = "cannot connect to " + ", ".join(f"{host} ({reason})" for host, reason in others.items())
        fix = "let the nodes reach each other on all ports above 1023, or keep a group on one node"
        yield Finding("failure" if groups else "warning", seen, fix, name)
    if examination.unreached == {}:
        yield Finding("ok", "every node reaches the others on free ports")


def authentication(examination: Examination) -> Iterator[Finding]:
    """Ray asks for a token where others than this machine can reach it."""
    open_nodes = [report for report in examination.nodes if report.authentication is False]
    exposed = [report.name for report in open_nodes if report.node.address and not is_loopback(report.node.address)]
    if exposed:
        fix = "start every node and the driver with RAY_AUTH_MODE=token and the same token (`ray get-auth-token --generate`)"
        yield Finding("warning", f"off on {', '.join(exposed)}: whoever reaches the cluster can run code on it", fix)
    elif any(report.authentication for report in examination.nodes):
        yield Finding("ok", "on: Ray asks for a token")
    elif open_nodes:
        yield Finding("ok", "off, and the cluster listens on loopback only")


def room(examination: Examination) -> Iterator[Finding]:
    """A trial of the sweep fits."""
    if examination.demand is None or not examination.alive:
        return
    nodes = [report.node.resources for report in examination.alive]
    try:
        count = examination.demand.side_by_side(nodes)
    except ResourcesError as error:
        seen, _, fix = str(error).partition(" Fix: ")
        offered = "; ".join(f"{report.name}: {_offered(report.node)}" for report in examination.alive)
        yield Finding("failure", f"{seen} ({offered})", fix)
    else:
        yield Finding("ok", f"a trial needs {_written(examination.demand)}; {count} fit side by side")


CHECKS: tuple[Check[Examination], ...] = (
    answers,
    versions,
    requirements,
    code,
    processors,
    disk,
    clock,
    network,
    ports,
    authentication,
    room,
)

_PLACES = {"storage": "--storage", "cache": "the variable FAIRSWEEP_CACHE", "Ray": "`ray start --temp-dir`"}


def _differ(library: str, machine: Machine, driver: Machine) -> bool:
    return machine.versions.get(library) != driver.versions.get(library)


def _written(demand: TrialResources) -> str:
    parts = [f"{demand.cpus} CPU", *([f"{demand.gpus:g} GPU"] if demand.gpus else [])]
    each = ", ".join([*parts, *([f"{size(demand.memory_bytes)} of memory"] if demand.memory_bytes else [])])
    return each if demand.workers == 1 else f"{demand.workers} workers with {each} each"


def _offered(node: Node) -> str:
    return f"{node.resources.get('CPU', 0):g} CPU, {node.resources.get('GPU', 0):g} GPU, {size(node.resources.get('memory', 0))}"
