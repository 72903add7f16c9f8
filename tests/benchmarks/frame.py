"""What all benchmarks share: figures with targets, options, clocks, processes of their own, and one JSON document each.

A benchmark is a module of this package that states, as literals, `TARGETS` (name -> `Target`) and `BUDGET_SECONDS` (the longest it should
take at its default sizes on two idle processors), and ends its `main` with `finish`:

    TARGETS = {"throughput": Target(2.5, "higher", "x solo")}
    BUDGET_SECONDS = 90

    def main() -> None:
        parser = benchmark_parser(__doc__)
        parser.add_argument("--trials", type=int, default=8)
        options = parser.parse_args()
        ratio = ratio_of(interleaved({"solo": solo, "packed": packed}, repetitions=5), "solo", "packed")
        finish("packing", options, [TARGETS["throughput"].reached("throughput", ratio.median, note=str(ratio))], details={...})

It is run as `python -m tests.benchmarks.<name>`. `make bench` runs every one and shows all figures in one table. What a benchmark tells
while it runs goes to stderr. A missed target is no failure: it is shown, and `missed` of the document names it; an exception is one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Better = Literal["higher", "lower"]
ROOT = Path(__file__).resolve().parents[2]
COMMON = ("json", "device", "quick", "part")
"""Options that every benchmark has; all others are sizes, which the document gives."""


@dataclass(frozen=True)
class Figure:
    """One measured number beside what was aimed at.

    Args:
        name: what it is, unique within its benchmark.
        reached: the measured value; None where it cannot be measured here, and `note` says why.
        target: the value aimed at; None for a figure that is only shown.
        better: whether the target is a lower (`higher`) or an upper bound (`lower`).
        unit: "s", "MB", "x solo", ...
        note: spread, size or reason, in a few words.
    """

    name: str
    reached: float | None
    target: float | None = None
    better: Better = "higher"
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None without a target or a measured value."""
        if self.target is None or self.reached is None:
            return None
        return self.reached >= self.target if self.better == "higher" else self.reached <= self.target

    def document(self) -> dict[str, Any]:
        """Return the figure as it stands in the JSON document."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Target:
    """What a figure is held against; a benchmark states all of its own in `TARGETS`."""

    value: float | None
    better: Better = "higher"
    unit: str = ""

    def reached(self, name: str, value: float | None, note: str = "") -> Figure:
        """Return the figure of a measured value."""
        return Figure(name, value, self.value, self.better, self.unit, note)


@dataclass(frozen=True)
class Ratio:
    """How many times longer the first of two took, from pairs taken in turn."""

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"quartiles {self.low:.2f} to {self.high:.2f}, {self.pairs} pairs"


def benchmark_parser(description: str | None, uses_device: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the common options; a benchmark adds its sizes, with small defaults.

    `--quick` asks for the smallest sizes that still run everything, for a look; its figures mean little.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    device = "where models compute" if uses_device else "taken for uniformity: no model computes here"
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help=f"{device} (default: cpu)")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: a look at whether it runs")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser


def device_of(options: argparse.Namespace) -> Any:
    """Return the `torch.device` that was asked for; end with a message if it is not there."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch sees no GPU here (torch.cuda.is_available() is false). Fix: leave the option out, or run on a GPU")
    return torch.device(options.device)


def resources_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the part of a sweep file's `resources` that gives each trial the device: one GPU, or one processor."""
    return {"gpus": 1} if options.device == "cuda" else {"cpus": 1}


def synchronized(device: Any) -> None:
    """Wait until a device has done what it was given; call it before each look at a clock."""
    if getattr(device, "type", device) == "cuda":
        import torch

        torch.cuda.synchronize()


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long a function takes; with `time.process_time`, in processor seconds of this process."""
    start = clock()
    run()
    return clock() - start


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    repetitions: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time functions in turn, so that all meet the same load of the machine; the order is turned round each time.

    Returns:
        The seconds of every repetition, by name, warm-up left out.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-warm_up, repetitions):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            took = seconds(contenders[name], clock)
            if number >= 0:
                times[name].append(took)
    return times


def ratio_of(times: Mapping[str, Sequence[float]], baseline: str, contender: str) -> Ratio:
    """Return how many times longer the baseline took than the contender: the median of the pairs' ratios, with quartiles."""
    pairs = [a / b for a, b in zip(times[baseline], times[contender], strict=True)]
    low, _, high = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else (pairs[0],) * 3
    return Ratio(statistics.median(pairs), low, high, len(pairs))


def peak_bytes() -> int:
    """Return the largest resident set that this process has had.

    Linux' VmHWM; `getrusage` would give a process started by a larger one the size of that one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


def in_process(module: str, part: str, *arguments: str, threads: int | None = None) -> dict[str, Any]:
    """Measure one part of a benchmark in a process of its own: `python -m <module> --part <part> <arguments>`.

    Several may run at the same time, one per thread of the caller. The child ends with `finish_part`.

    Args:
        module: of the benchmark, such as `tests.benchmarks.packing` (`__spec__.name` of it).
        threads: what OMP_NUM_THREADS becomes; None leaves it.

    Returns:
        What the child gave, with its `peak_bytes` and its `process_seconds`, start and imports included.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, "--part", part, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"part {part} of {module} ended with {done.returncode}: {' '.join(command)}")
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "process_seconds": time.perf_counter() - start}


def finish_part(measured: Mapping[str, Any]) -> None:
    """End a part: print what it measured, and this process's peak memory, as the last line."""
    sys.stdout.write("\n" + json.dumps({**measured, "peak_bytes": peak_bytes()}) + "\n")


def finish(benchmark: str, options: argparse.Namespace, figures: Sequence[Figure], details: Mapping[str, Any] | None = None) -> None:
    """Print a benchmark's figures: a table, or with `--json` one document as the last line.

    Args:
        benchmark: the module's name.
        details: whatever else was measured; it must be plain JSON.
    """
    _write(options, document_of(benchmark, options, figures, details or {}))


def left_out(benchmark: str, options: argparse.Namespace, reason: str) -> None:
    """Print that a benchmark cannot run here, and why."""
    _write(options, {**document_of(benchmark, options, (), {}), "left_out": reason})


def document_of(benchmark: str, options: argparse.Namespace, figures: Sequence[Figure], details: Mapping[str, Any]) -> dict[str, Any]:
    """Return a benchmark's document: name, device, threads, load, sizes, figures, missed targets and details."""
    sizes = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name not in COMMON}
    return {
        "benchmark": benchmark,
        "device": options.device,
        "quick": options.quick,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "load": round(os.getloadavg()[0], 2),
        "sizes": sizes,
        "figures": [figure.document() for figure in figures],
        "missed": [figure.name for figure in figures if figure.met is False],
        "details": dict(details),
    }


def _write(options: argparse.Namespace, document: Mapping[str, Any]) -> None:
    if options.json:
        sys.stdout.write("\n" + json.dumps(document, allow_nan=False, default=_number) + "\n")
        return
    from tests.benchmarks.table import show

    show([document])


def _number(value: Any) -> Any:
    """Return a NumPy or torch scalar as Python's."""
    number = value.item()
    return None if isinstance(number, float) and not math.isfinite(number) else number
