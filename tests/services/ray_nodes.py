"""A Ray cluster of several nodes on this machine.

Each node has a network namespace with an address of its own where root allows it; else all are raylets on loopback.

    with RayNodes(3, cpus_each=1) as nodes:
        nodes.run(["python", "driver.py", "--address", nodes.address])   # in the head's namespace, as a user on the head node
        driver = nodes.popen([...])                                      # the same, in the background
        nodes.kill(2)             # node 2 is gone at once: kill -9 of its raylet, agents and workers, of nothing else
        nodes.start(2)            # and back
        nodes.terminate(1)        # preempted: SIGTERM, and kill -9 of what is left after a grace
        nodes.start(3)            # one more node than at the start
        nodes.processes(0)        # the process ids of the head node (node 0)
        nodes.addresses[1], nodes.gateway, nodes.folder

`RayNodes(1, dashboard=True)` serves the dashboard and Ray Jobs at `nodes.dashboard`, to the head's namespace; `token="..."` (32 characters
or more) switches Ray's token authentication on. `nodes.environment` holds what a process needs to reach the cluster: `RAY_ADDRESS`,
`RAY_AUTH_MODE` and `RAY_AUTH_TOKEN`; `run` and `popen` set it. A server that a node's processes are to reach (a tracking server, an object
store) listens on `nodes.gateway`, this machine's address on the bridge; 127.0.0.1 of this machine is another one than theirs.

Several of them can run at the same time. What an earlier, killed process left behind (namespaces, processes, folders) goes at the next
start.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
from filelock import FileLock

from tests.services.network import Network, namespaces_available, remove_network

ROOT = Path("/tmp/fairsweep-nodes")
"""Short, since the path of a Unix socket has at most 107 characters."""
PORT, DASHBOARD_PORT, AGENT_PORT = 6379, 8265, 52400
START_SECONDS = 180.0
STARTS = 3
"""How often a node is started that gives up for lack of CPU time: Ray's own patience is a minute at most."""
REPOSITORY = Path(__file__).parents[2]


class RayNodes:
    """Starts nodes, ends them one by one, and removes all of it at the end.

    Args:
        count: nodes at the start; node 0 is the head.
        cpus_each: CPUs that a node offers, a number for all or one for each.
        gpus_each: GPUs that a node pretends to have.
        memory_each: bytes of memory that a node offers; None takes what the machine has.
        resources_each: custom resources of a node.
        dashboard: whether the head serves the dashboard and Ray Jobs.
        token: Ray's authentication token; None switches authentication off.
        environment: more variables for the nodes' processes.
        namespaces: whether each node gets a network namespace; None where root allows.

    Attributes:
        address: `host:port` for `ray.init` and `--address`.
        addresses: of the nodes, by number.
        environment: what a driver needs to reach the cluster.
        folder: temporary files of all nodes, `<number>.log` among them.
    """

    def __init__(
        self,
        count: int,
        cpus_each: int | Sequence[int] = 1,
        *,
        gpus_each: int = 0,
        memory_each: int | None = None,
        resources_each: Mapping[str, float] | None = None,
        dashboard: bool = False,
        token: str | None = None,
        environment: Mapping[str, str] | None = None,
        object_store_bytes: int = 80 * 2**20,
        namespaces: bool | None = None,
    ) -> None:
        self.count, self._cpus = count, cpus_each
        self._gpus, self._memory, self._resources = gpus_each, memory_each, resources_each
        self._with_dashboard, self._object_store_bytes = dashboard, object_store_bytes
        self._namespaces = namespaces_available() if namespaces is None else namespaces
        self._network: Network | None = None
        self._roots: dict[int, psutil.Process] = {}
        self._known: dict[int, list[psutil.Process]] = {}
        self._started: list[subprocess.Popen[Any]] = []
        self._tag = uuid.uuid4().hex[:6]
        self.folder = ROOT / self._tag
        self.port = PORT if self._namespaces else PORT + 1 + int(self._tag, 16) % 3000
        self._auth = {"RAY_AUTH_MODE": "disabled"} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        self._extra = dict(environment or {})

    # ------------------------------------------------------------------------------------------------ life

    def __enter__(self) -> Self:
        ROOT.mkdir(exist_ok=True)
        try:
            with FileLock(ROOT / "lock", timeout=60):
                _remove_leftovers()
                self.folder.mkdir()
                self._record()
                if self._namespaces:
                    self._network = Network(self._tag)
            self._launch(0)
            self._wait_for(0)
            for number in range(1, self.count):
                self._launch(number)
            for number in range(1, self.count):
                self._wait_for(number)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, number: int) -> None:
        """Start a node that is down, or a new one."""
        if self.running(number):
            raise ValueError(f"node {number} is running")
        self._launch(number)
        self._wait_for(number)

    def kill(self, number: int) -> None:
        """End a node's processes at once, as a power cut would."""
        _kill(self._tree(number))

    def terminate(self, number: int, grace_seconds: float = 10.0) -> None:
        """Preempt a node: SIGTERM to what started it, and SIGKILL for what is left after the grace."""
        tree = self._tree(number)
        with contextlib.suppress(psutil.NoSuchProcess):
            self._roots[number].terminate()
        _, left = psutil.wait_procs(tree, timeout=grace_seconds)
        _kill(left)

    def stop(self) -> None:
        """End everything and remove it."""
        for process in self._started:
            _kill(_with_children(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        for number in list(self._roots):
            self.kill(number)
        if self._network is not None:
            remove_network(self._network.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------ where

    @property
    def address(self) -> str:
        return f"{self.addresses[0]}:{self.port}"

    @property
    def addresses(self) -> list[str]:
        """Addresses of all nodes that there have been."""
        return [self._address(number) for number in range(max([self.count, *(n + 1 for n in self._roots)]))]

    @property
    def gateway(self) -> str:
        """This machine's address for what the nodes are to reach."""
        return self._network.gateway if self._network else "127.0.0.1"

    @property
    def dashboard(self) -> str:
        """URL of the dashboard, for processes in the head's namespace."""
        return f"http://{self.addresses[0]}:{self._dashboard_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a driver that is to find this cluster."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = os.pathsep.join(filter(None, [str(REPOSITORY), clean.get("PYTHONPATH")]))
        return {**clean, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path, **self._auth, "RAY_ADDRESS": self.address, **self._extra}

    # ------------------------------------------------------------------------------------------------ what runs

    def command(self, command: Sequence[str], node: int = 0) -> list[str]:
        """Return a command that runs another one on a node."""
        return [*(("ip", "netns", "exec", self._network.namespace(node)) if self._network else ()), *command]

    def run(self, command: Sequence[str], node: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on a node, by default the head, and wait; takes the options of `subprocess.run`."""
        options = {"env": self.environment, "text": True, "capture_output": True, "timeout": 300, **options}
        return subprocess.run(self.command(command, node), check=options.pop("check", False), **options)

    def popen(self, command: Sequence[str], node: int = 0, **options: Any) -> subprocess.Popen[str]:
        """Start a command on a node; it is ended with the cluster at the latest.

        `ip netns exec` becomes the command itself, so that the process id is the command's own.
        """
        options = {"env": self.environment, "text": True, **options}
        process: subprocess.Popen[str] = subprocess.Popen(self.command(command, node), **options)
        self._started.append(process)
        self._record()
        return process

    def processes(self, number: int) -> list[psutil.Process]:
        """Return the processes of a node that are alive."""
        return [process for process in self._tree(number) if process.is_running()]

    def running(self, number: int) -> bool:
        """Tell whether a node is up."""
        return number in self._roots and _alive(self._roots[number])

    # ------------------------------------------------------------------------------------------------ inside

    @property
    def _dashboard_port(self) -> int:
        return DASHBOARD_PORT if self._network else self.port + 3000

    def _address(self, number: int) -> str:
        return self._network.address(number) if self._network else "127.0.0.1"

    def _launch(self, number: int) -> None:
        if self._network and number not in self._roots:
            self._network.add(number)
        log = self._log(number)
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command(self._ray_start(number), number),
                env={name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._roots[number] = psutil.Process(process.pid)
        self._record()

    def _ray_start(self, number: int) -> list[str]:
        cpus = self._cpus if isinstance(self._cpus, int) else self._cpus[number]
        options = {
            "node-ip-address": self._address(number),
            "num-cpus": cpus,
            "num-gpus": self._gpus,
            "object-store-memory": self._object_store_bytes,
            "temp-dir": self.folder / str(number),
            "resources": json.dumps(dict(self._resources or {})),
            "dashboard-agent-listen-port": AGENT_PORT if self._network else self.port + 6000 + number,
            # Chosen by the system: on loopback several nodes share the ports.
            "min-worker-port": 0,
            "max-worker-port": 0,
            **({} if self._memory is None else {"memory": self._memory}),
            **(self._head() if number == 0 else {"address": self.address}),
        }
        script = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        return [*script, *(["--head"] if number == 0 else []), *(f"--{name}={value}" for name, value in options.items())]

    def _head(self) -> dict[str, Any]:
        ports = {"port": self.port, "ray-client-server-port": self.port + 9000}
        if not self._with_dashboard:
            return {**ports, "include-dashboard": "false"}
        return {**ports, "include-dashboard": "true", "dashboard-host": self._address(0), "dashboard-port": self._dashboard_port}

    def _wait_for(self, number: int) -> None:
        for attempt in range(STARTS):
            if attempt:
                _kill(_with_children(self._roots[number].pid))
                self._launch(number)
            if self._came_up(number):
                self._known[number] = _with_children(self._roots[number].pid)
                return
        raise RuntimeError(f"node {number} of the Ray cluster did not start:\n{self._log(number).read_text(errors='replace')}")

    def _came_up(self, number: int) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in self._log(number).read_text(errors="replace"):
            if not self.running(number) or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _log(self, number: int) -> Path:
        return self.folder / f"{number}.log"

    def _tree(self, number: int) -> list[psutil.Process]:
        known = [process for process in self._known.get(number, []) if _alive(process)]
        root = self._roots[number]
        return list(dict.fromkeys([*(_with_children(root.pid) if _alive(root) else []), *known]))

    def _record(self) -> None:
        """Write down what there is, so that the next start can remove it should this process be killed."""
        own = psutil.Process()
        started = [psutil.Process(process.pid) for process in self._started if process.poll() is None]
        processes = [[process.pid, process.create_time()] for process in (*self._roots.values(), *started) if _alive(process)]
        content = {"owner": [own.pid, own.create_time()], "processes": processes, "bridge": f"fs{self._tag}"}
        new = self.folder / "record.new"
        new.write_text(json.dumps(content))
        new.replace(self.folder / "record.json")


def _remove_leftovers() -> None:
    for file in ROOT.glob("*/record.json"):
        content = json.loads(file.read_text())
        if _same(*content["owner"]) is not None:
            continue
        for entry in content["processes"]:
            if (process := _same(*entry)) is not None:
                _kill(_with_children(process.pid))
        if namespaces_available():
            remove_network(content["bridge"])
        shutil.rmtree(file.parent, ignore_errors=True)


def _same(number: int, created: float) -> psutil.Process | None:
    """Return a recorded process, unless it has ended and its id has gone to another one."""
    try:
        process = psutil.Process(number)
        return process if abs(process.create_time() - created) < 1 else None
    except psutil.NoSuchProcess:
        return None


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _with_children(number: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(number)
        return [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)
