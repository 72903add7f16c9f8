"""What the options of `compute`, bucketed batches and a base in bf16 are worth, each against the default in the same run.

`fused` and `foreach`: the update of LoRA of rank 8 on SmolLM2's q and v, beside torch's default. `checkpointing`: one training step of a
random LLaMA with its layers run again, and the peak of what the step allocates beyond the weights. `bucketed`: training steps of the same
model on texts whose lengths are log-normal (median 150 tokens, σ 0.5, at most 512), as those of reading comprehension are; a sample of a
pool's batches, per token of text. `bfloat16`: a training step on SmolLM2 in fp32 and in bf16. `--compile` adds the MLPs of SmolLM2,
which no hook touches, under `torch.compile` (half a minute of compiling).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from search_spaces.compute import Kernel
from search_spaces.trial import ModelRef
from tests.benchmarks.frame import Figure, Target, benchmark_parser, device_of, finish, interleaved, ratio_of, synchronized
from trainers import registry
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.recomputation import recompute_layers
from trainers.batches import Batch
from trainers.batching import make_batch
from trainers.encoding import TrainSequence
from trainers.engine import kernel_options
from trainers.models import load
from trainers.sampling import POOL_BATCHES, batch_indices

TARGETS = {
    "fused": Target(2.0, "higher", "x the default update"),
    "foreach": Target(None, "higher", "x the default update"),
    "checkpointing_memory": Target(0.5, "lower", "of the plain step"),
    "checkpointing_time": Target(1.5, "lower", "of the plain step"),
    "bucketed": Target(1.15, "higher", "x shuffled"),
    "padding_left": Target(0.15, "lower", "of shuffled"),
    "bfloat16": Target(1.3, "higher", "x fp32"),
    "compiled": Target(1.05, "higher", "x eager"),
}
BUDGET_SECONDS = 45
ROWS, TOKENS, TARGET_TOKENS = 4, 64, 8


def small(device: torch.device) -> nn.Module:
    """Return a random LLaMA of 8 layers of width 256."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=768, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8
    )
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False).to(device)


def smollm2(dtype: Any, device: torch.device) -> nn.Module:
    """Return SmolLM2-135M."""
    return load(ModelRef(id="smollm2-135m", dtype=dtype), device).model


@contextmanager
def with_lora(base: nn.Module) -> Iterator[AdaptedModel]:
    """Attach LoRA of rank 8 to q and v."""
    with attached(base, registry.method_type("lora"), ("q", "v"), capacity={"rank": 8}, settings={}) as model:
        yield model


def texts(lengths: Sequence[int], device: torch.device) -> Batch:
    """Return a batch of random tokens whose last ones are to be predicted."""
    generator = np.random.Generator(np.random.PCG64(0))
    rows = [TrainSequence(tuple(generator.integers(2, 4000, length).tolist()), TARGET_TOKENS) for length in lengths]
    return make_batch(rows, 0, device)


def step(model: AdaptedModel, batch: Batch) -> Callable[[], None]:
    """Return a forward and backward pass, the gradients left where they are."""

    def run() -> None:
        for parameter in model.trainable().values():
            parameter.grad = None
        (batch.losses(model).sum() / batch.weight).backward()
        synchronized(batch.input_ids.device)

    return run


def optimizers(device: torch.device, repetitions: int) -> list[Figure]:
    """Compare the kernels of the update."""
    shapes = [shape for _ in range(30) for shape in ((8, 576), (576, 8), (8, 576), (192, 8))]
    kernels: tuple[Kernel, ...] = ("auto", "foreach", "fused")
    updates: dict[str, Callable[[], object]] = {}
    for kernel in kernels:
        parameters = [nn.Parameter(torch.zeros(shape, device=device)) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer = torch.optim.AdamW([{"params": parameters, **kernel_options(kernel)}])
        updates[kernel] = _synchronously(optimizer.step, device)
    times = interleaved(updates, 5 * repetitions, warm_up=3, clock=clock(device))
    ratios = {kernel: ratio_of(times, "auto", kernel) for kernel in ("foreach", "fused")}
    return [TARGETS[kernel].reached(kernel, ratio.median, str(ratio)) for kernel, ratio in ratios.items()]


def clock(device: torch.device) -> Callable[[], float]:
    """Return the processor's seconds where one thread computes, which other processes do not disturb; else those of the wall."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def _synchronously(run: Callable[[], object], device: torch.device) -> Callable[[], None]:
    def whole() -> None:
        run()
        synchronized(device)

    return whole


def checkpointing(device: torch.device, repetitions: int) -> list[Figure]:
    """Compare a step with one whose layers are run again; the gradients must be the same bits."""
    batch = texts([256] * ROWS, device)
    runs, gradients, peaks = {}, [], []
    base, twin = small(device), small(device)
    with with_lora(base) as plain, with_lora(twin) as again:
        recompute_layers(again)
        for name, model in (("plain", plain), ("again", again)):
            runs[name] = step(model, batch)
            peaks.append(allocated(runs[name], device))
            gradients.append([p.grad.clone() for p in model.trainable().values() if p.grad is not None])
        if not all(torch.equal(one, other) for one, other in zip(*gradients, strict=True)):
            raise AssertionError("gradient checkpointing changed the gradients")
        times = ratio_of(interleaved(runs, repetitions, clock=clock(device)), "again", "plain")
    memory = f"{peaks[0] / 2**20:.0f} MiB plain, {peaks[1] / 2**20:.0f} MiB again, weights left out"
    return [
        TARGETS["checkpointing_memory"].reached("checkpointing_memory", peaks[1] / peaks[0], memory),
        TARGETS["checkpointing_time"].reached("checkpointing_time", times.median, str(times)),
    ]


def allocated(run: Callable[[], None], device: torch.device) -> int:
    """Return the largest sum of what a run has allocated and not yet freed, in bytes."""
    if device.type == "cuda":
        held = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - held
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results: Any = profiler.profiler
    live = peak = 0
    for event in sorted((e for e in results.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def buckets(device: torch.device, sample: int) -> list[Figure]:
    """Compare steps on shuffled and on bucketed batches."""
    count, size = 4 * POOL_BATCHES * ROWS, ROWS
    drawn = np.random.Generator(np.random.PCG64(1)).lognormal(np.log(150), 0.5, count)
    lengths: list[int] = np.clip(drawn, 16, 512).astype(int).tolist()
    orders = {name: batch_indices(count, size, count // size, 0, given) for name, given in (("shuffled", None), ("bucketed", lengths))}
    padding = {name: sum(size * max(lengths[i] for i in rows) - sum(lengths[i] for i in rows) for rows in o) for name, o in orders.items()}
    with with_lora(small(device)) as model:
        runs, tokens = {}, {}
        for name, order in orders.items():
            by_width = sorted(order[:POOL_BATCHES], key=lambda rows: max(lengths[i] for i in rows))
            picked = [texts([lengths[i] for i in rows], device) for rows in by_width[:: max(1, POOL_BATCHES // sample)]]
            tokens[name] = sum(batch.text_tokens for batch in picked)
            runs[name] = _all([step(model, batch) for batch in picked])
        times = interleaved(runs, 3, clock=clock(device))
        per_token = {name: [seconds / tokens[name] for seconds in some] for name, some in times.items()}
        ratio = ratio_of(per_token, "shuffled", "bucketed")
    share = {name: padding[name] / sum(lengths) for name in padding}
    note = f"padding {share['shuffled']:.0%} of the text shuffled, {share['bucketed']:.1%} bucketed"
    return [
        TARGETS["bucketed"].reached("bucketed", ratio.median, f"text tokens per second, {ratio}"),
        TARGETS["padding_left"].reached("padding_left", padding["bucketed"] / padding["shuffled"], note),
    ]


def _all(runs: Sequence[Callable[[], None]]) -> Callable[[], None]:
    def run() -> None:
        for one in runs:
            one()

    return run


def precision(device: torch.device, repetitions: int) -> list[Figure]:
    """Compare a step on the base in fp32 and in bf16."""
    batch = texts([TOKENS] * ROWS, device)
    with with_lora(smollm2("float32", device)) as whole, with_lora(smollm2("bfloat16", device)) as half:
        runs = {"fp32": step(whole, batch), "bf16": step(half, batch)}
        ratio = ratio_of(interleaved(runs, repetitions, clock=clock(device)), "fp32", "bf16")
    return [TARGETS["bfloat16"].reached("bfloat16", ratio.median, str(ratio))]


def compilation(device: torch.device, repetitions: int) -> list[Figure]:
    """Compare a step with one whose MLPs are compiled."""
    batch = texts([TOKENS] * ROWS, device)
    base: Any = smollm2("float32", device)
    with with_lora(base) as model:
        mlps = [layer.mlp for layer in base.model.layers]
        forwards = {"eager": [mlp.forward for mlp in mlps], "compiled": [torch.compile(mlp.forward) for mlp in mlps]}

        def run(name: str) -> None:
            for mlp, forward in zip(mlps, forwards[name], strict=True):
                mlp.forward = forward
            step(model, batch)()

        contenders: dict[str, Callable[[], object]] = {name: partial(run, name) for name in forwards}
        times = interleaved(contenders, repetitions, warm_up=2, clock=clock(device))
    ratio = ratio_of(times, "eager", "compiled")
    return [TARGETS["compiled"].reached("compiled", ratio.median, str(ratio))]


def figures(options: argparse.Namespace) -> list[Figure]:
    """Measure everything that was asked for."""
    device = device_of(options)
    repetitions = 2 if options.quick else options.repetitions
    found = optimizers(device, repetitions)
    found += checkpointing(device, repetitions)
    found += buckets(device, 3 if options.quick else 10)
    found += precision(device, repetitions)
    return found + (compilation(device, repetitions) if options.compile else [])


def main() -> None:
    """Measure, and print every figure as a ratio."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=3, help="pairs of steps per comparison")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    options = parser.parse_args()
    finish("compute", options, figures(options))


if __name__ == "__main__":
    main()
