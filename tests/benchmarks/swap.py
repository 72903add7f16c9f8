"""Putting one stored adapter after another on a resident SmolLM2, beside loading each in a new process; and every method's adapters.

A swap builds the adapter's modules, reads its file, copies its tensors, and takes all of it off again. `seconds` is the 95th percentile of
the swaps. For every method that fits the base the table shows how many adapters are loaded from disk per second, how many go into a GiB,
how long their tensors take to a GPU, and the peak memory of a forward pass over one text of 64 tokens, base included.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.frame import Figure, Target, benchmark_parser, device_of, finish, finish_part, in_process, synchronized

if TYPE_CHECKING:
    import torch

    from trainers.adapters.attach import AdaptedModel
    from trainers.models import BaseModel

TARGETS = {
    "seconds": Target(0.2, "lower", "s"),
    "memory": Target(1.02, "lower", "x after the first tenth"),
    "new_process": Target(None, "higher", "x a swap"),
}
BUDGET_SECONDS = 40
MODEL, TARGETED = "smollm2-135m", ("q", "o")
"""With grouped-query attention, q and o are the projections that every definition covers."""
METHOD = "lora"
TOKENS = 64
LOADS = 3


def base_on(device: torch.device) -> BaseModel:
    """Return the resident base."""
    from search_spaces.trial import ModelRef
    from trainers.models import load

    return load(ModelRef(id=MODEL), device)


def adapted(base: BaseModel, method: str, init_seed: int = 0) -> AbstractContextManager[AdaptedModel]:
    """Return the `with` block in which a method is attached."""
    from tests.benchmarks.step_time import CAPACITY, KEYS
    from trainers import registry
    from trainers.adapters.attach import attached

    kind = registry.method_type(method)
    capacity = CAPACITY.get(method) or {key: KEYS[key] for key in kind.card.capacity}
    return attached(base.model, kind, TARGETED, capacity=capacity, settings={}, init_seed=init_seed)


def stored(base: BaseModel, method: str, folder: Path, init_seed: int = 0) -> int:
    """Store an adapter; return the size of its tensors in bytes."""
    from trainers.adapters import storing

    document = {"model": {"id": MODEL}, "method": {"name": method, "version": "benchmark"}, "targets": TARGETED, "init_seed": init_seed}
    with adapted(base, method, init_seed) as model:
        return storing.save(model, folder, document)


def swap(base: BaseModel, method: str, folder: Path, device: torch.device, init_seed: int = 0) -> float:
    """Put a stored adapter on the base and take it off again; return the seconds."""
    from trainers.adapters import storing

    synchronized(device)
    began = time.perf_counter()
    with adapted(base, method, init_seed) as model:
        storing.restore(model, storing.load(folder)[0])
        synchronized(device)
    return time.perf_counter() - began


def swaps(options: argparse.Namespace) -> dict[str, Any]:
    """Swap all adapters in this process, and watch its memory."""
    import psutil

    device = device_of(options)
    base = base_on(device)
    folders = [options.folder / str(number) for number in range(options.adapters)]
    for number, folder in enumerate(folders):
        stored(base, METHOD, folder, number)
    swap(base, METHOD, folders[0], device)
    seconds, resident = [], []
    for number, folder in enumerate(folders):
        seconds.append(swap(base, METHOD, folder, device, number))
        resident.append(psutil.Process().memory_info().rss)
    early = resident[len(resident) // 10]
    return {"seconds": seconds, "growth": resident[-1] / early, "resident_bytes": resident[-1]}


def fresh(options: argparse.Namespace) -> dict[str, Any]:
    """Load base and adapter in this process, which is new."""
    device = device_of(options)
    return {"swap_seconds": swap(base_on(device), METHOD, options.folder / "0", device)}


def methods(options: argparse.Namespace) -> dict[str, Any]:
    """Return a row for every method that fits the base."""
    from search_spaces.errors import CapacityError, NotApplicableError
    from trainers import registry

    device = device_of(options)
    base, rows = base_on(device), []
    for name in registry.method_names() if options.methods == ["all"] else options.methods:
        try:
            rows.append({"method": name, **costs(base, name, options.folder / name, device)})
        except (NotApplicableError, CapacityError) as error:
            sys.stderr.write(f"  {name}: not on this base: {error}\n")
    return {"rows": rows}


def costs(base: BaseModel, method: str, folder: Path, device: torch.device) -> dict[str, Any]:
    """Return what loading a method's adapter costs, and what a forward pass with it needs."""
    import torch

    from trainers.adapters import storing
    from trainers.meter import peak_bytes, reset_peak

    size = stored(base, method, folder)
    seconds = statistics.median(swap(base, method, folder, device) for _ in range(LOADS))
    ids = torch.full((1, TOKENS), 2, device=device)
    with adapted(base, method) as model:
        storing.restore(model, storing.load(folder)[0])
        with model.evaluating():
            reset_peak()
            model(ids, torch.ones_like(ids))
    return {"bytes": size, "seconds": seconds, "peak_inference_bytes": peak_bytes(), "to_device_seconds": _to_device(folder, device)}


def _to_device(folder: Path, device: torch.device) -> float | None:
    """Return how long an adapter's tensors take from the host's memory to the device; None where they stay."""
    if device.type == "cpu":
        return None
    from trainers.adapters import storing

    state = {name: tensor.pin_memory() for name, tensor in storing.load(folder)[0].items()}
    synchronized(device)
    began = time.perf_counter()
    for tensor in state.values():
        tensor.to(device, non_blocking=True)
    synchronized(device)
    return time.perf_counter() - began


def figures(parts: Mapping[str, Any], adapters: int) -> Iterator[Figure]:
    """Give the figures of the swaps, then those of every method, for which there is no target."""
    seconds, growth = sorted(parts["swaps"]["seconds"]), parts["swaps"]["growth"]
    high, middle = seconds[min(len(seconds) - 1, round(0.95 * len(seconds)))], statistics.median(seconds)
    yield TARGETS["seconds"].reached("seconds", high, f"median {middle:.3f} s, longest {seconds[-1]:.3f} s, {adapters} adapters")
    yield TARGETS["memory"].reached("memory", growth, f"{parts['swaps']['resident_bytes'] / 2**20:,.0f} MiB resident")
    new = parts["fresh"]["process_seconds"]
    yield TARGETS["new_process"].reached("new_process", new / middle, f"{new:.1f} s with imports and base")
    for row in parts["methods"]["rows"]:
        moved = "" if row["to_device_seconds"] is None else f", {1e3 * row['to_device_seconds']:.2f} ms to the device"
        per_gib = 2**30 / max(1, row["bytes"])
        note = f"{per_gib:,.0f} per GiB, {row['peak_inference_bytes'] / 2**20:,.0f} MiB in inference{moved}"
        yield Figure(f"loads, {row['method']}", 1 / row["seconds"], None, "higher", "per second", note)


PARTS = {"swaps": swaps, "fresh": fresh, "methods": methods}


def main() -> None:
    """Measure swaps, a new process and every method in processes of their own, and print the figures."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--adapters", type=int, default=50)
    parser.add_argument("--methods", nargs="+", default=["all"], help="`all` measures every one")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        import torch

        torch.set_num_threads(1)
        finish_part(PARTS[options.part](options))
        return
    if options.quick:
        options.adapters, options.methods = min(options.adapters, 5), [METHOD, "lorta"]
    sizes = ("--adapters", str(options.adapters), "--methods", *options.methods, "--device", options.device)
    with tempfile.TemporaryDirectory() as folder:
        parts = {part: in_process("tests.benchmarks.swap", part, *sizes, "--folder", folder, threads=1) for part in PARTS}
    options.folder = None
    finish("swap", options, list(figures(parts, options.adapters)), parts)


if __name__ == "__main__":
    main()
