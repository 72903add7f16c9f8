"""Eight trials that share their passes over the base, against the same trials one after another on the resident base.

Micro models (width 16, the preset; width 64, random weights), batches of 1 and of 4, eight times LoRA of one rank (equal shapes are grouped
into one product) or eight methods (mixed). Every trial is run by a worker as in a sweep: attach, train, evaluate once, write the Outcome.
Also against one-thread workers side by side, one for each processor. SmolLM2-135M: a few steps, four trials one by one, and the peak memory
of a pack of eight against that of eight processes with one trial each. `auto` lets a worker measure and choose the width, as it does before
a sweep's first trial, and then runs trials in packs of that width and one by one: on the micro model, and on SmolLM2 with batches of 4.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.compute import STANDARD
from search_spaces.trial import Checkpointing, DataRef, MethodRef, ModelRef, Training, Trial
from tests.benchmarks.frame import (
    Figure,
    Target,
    benchmark_parser,
    device_of,
    finish,
    finish_part,
    in_process,
    interleaved,
    peak_bytes,
    ratio_of,
    seconds,
)
from trainers import data, registry
from trainers.packing.choice import Choices, PackingPost
from trainers.references import resolve
from trainers.results import Job
from trainers.storage import Storage
from trainers.tokenizers import byte_level
from trainers.worker import Worker

TARGETS = {
    "micro_equal": Target(2.5, "higher", "x one by one"),
    "micro_mixed": Target(1.8, "higher", "x one by one"),
    "throughput": Target(None, "higher", "x one by one"),
    "side_by_side": Target(None, "higher", "x workers side by side"),
    "memory": Target(0.35, "lower", "of 8 processes"),
    "auto": Target(1.0, "higher", "x one by one"),
}
BUDGET_SECONDS = 180

TRIALS = 8
EQUAL = ("lora",) * TRIALS
MIXED = ("lora", "lorta", "ia3", "adapter_houlsby", "fact_tt", "vera", "dora_rank", "cp")
BLENDS = {"equal": EQUAL, "mixed": MIXED}
SMOLLM2 = "smollm2-135m"
WARM_UP_STEPS = 5
TOKENS = 64
"""Longest sequence; the texts of the task are longer, so that every row is full."""


def trials(model: ModelRef, methods: Sequence[str], steps: int, batch: int) -> list[Trial]:
    """Return one trial per method, which differ in learning rate, on the same data in the same order."""
    source = data.resolve(registry.task("squad"), "embedded", train=64, selection=2, test=2, seed=0)
    return [_trial(model, source, name, steps, batch, 1e-4 * (n + 1)) for n, name in enumerate(methods)]


def _trial(model: ModelRef, source: DataRef, name: str, steps: int, batch: int, rate: float) -> Trial:
    card = registry.method_type(name).card
    training = Training(
        learning_rate=rate,
        steps=steps,
        batch_size=batch,
        optimizer="adamw",
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        scheduler="linear",
        warmup_ratio=0.06,
        clip=1.0,
        dropout=0.0,
        max_length=TOKENS,
        max_new_tokens=1,
        checkpoint=Checkpointing(best="loss", evaluations=1),
    )
    method = MethodRef(name=name, version=registry.method_version(name), capacity=dict.fromkeys(card.capacity, 4))
    targets = ("q", "o")  # square under grouped-query attention, too: every definition covers them
    return Trial(
        phase="select", label=name, model=model, task="squad", data=source, method=method, targets=targets, training=training, seed=0
    )


def one_by_one(worker: Worker, wanted: Sequence[Trial]) -> None:
    """Run trials one after another."""
    with tempfile.TemporaryDirectory() as storage:
        for trial in wanted:
            _run(worker, storage, 1, trial)


def packed(worker: Worker, wanted: Sequence[Trial], width: int = TRIALS) -> None:
    """Run trials in a pack; one that ends makes room for the next."""
    with tempfile.TemporaryDirectory() as storage, ThreadPoolExecutor(width) as lanes:
        list(lanes.map(partial(_run, worker, storage, width), wanted))


def _run(worker: Worker, storage: str, width: int, trial: Trial) -> None:
    status = worker.run(Job(trial, uuid.uuid4().hex[:8], storage, packed=width))
    if status != "finished":
        raise RuntimeError(f"the trial of {trial.label} ended as {status}")


# -------------------------------------------------------------------------------------------------------------- micro models


def small_model(folder: Path) -> ModelRef:
    """Write a random LLaMA of two layers of width 64."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    tokens = {"vocab_size": 258, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
    LlamaForCausalLM(LlamaConfig(**sizes, **tokens, max_position_embeddings=2048, tie_word_embeddings=True)).save_pretrained(folder)
    byte_level(classifier=False).save_pretrained(folder)
    return resolve(ModelRef(id=str(folder)))


class Timed:
    """A contender that notes the processor seconds that it takes, beside what the clock on the wall says."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run
        self.processor_seconds: list[float] = []

    def __call__(self) -> None:
        self.processor_seconds.append(seconds(self.run, time.process_time))


def throughput(name: str, model: ModelRef, steps: int, repetitions: int, batch: int) -> list[Figure]:
    """Return how many times the throughput of one trial after another a pack has.

    The lower one of two measures: a busy machine gives the threads of a pack more of its time than the one thread of a trial.
    """
    worker, figures = Worker(threads=1), []
    for blend, methods in BLENDS.items():
        for run in (one_by_one, packed):
            run(worker, trials(model, methods, WARM_UP_STEPS, batch))
        wanted = trials(model, methods, steps, batch)
        contenders = {"one by one": Timed(partial(one_by_one, worker, wanted)), "packed": Timed(partial(packed, worker, wanted))}
        wall = ratio_of(interleaved(contenders, repetitions, warm_up=0), "one by one", "packed")
        busy = ratio_of({name: timed.processor_seconds for name, timed in contenders.items()}, "one by one", "packed")
        target = TARGETS[f"micro_{blend}" if (name, batch) == ("micro", 1) else "throughput"]
        note = f"{wall.median:.2f} on the clock, {busy.median:.2f} in processor time, {repetitions} x {steps} steps"
        figures.append(target.reached(f"{name}, batch {batch}, {blend}", min(wall.median, busy.median), note))
    return figures


def against_workers(steps: int) -> Figure:
    """Return the throughput of one pack on one thread, relative to one-thread workers side by side, one for each processor."""
    count = os.cpu_count() or 1
    arguments = ["--steps", str(steps)]
    with ThreadPoolExecutor(count) as starters:
        parts = list(starters.map(lambda _: in_process(__spec__.name, "one by one", *arguments, threads=1), range(count)))
    pack = in_process(__spec__.name, "packed", *arguments, threads=1)
    together = sum(part["trials_per_second"] for part in parts)
    return TARGETS["side_by_side"].reached(
        "micro, batch 1, equal, side by side", pack["trials_per_second"] / together, f"{count} one-thread workers"
    )


def automatic(name: str, model: str, batch: int, *sizes: str) -> Figure:
    """Return what `packing: auto` makes of a kind of trials, from a process of its own."""
    part = in_process(__spec__.name, "auto", "--model", model, "--batch", str(batch), "--blend", "mixed", *sizes, threads=1)
    found = ", ".join(f"{lanes}: {gain:.2f}" for lanes, gain in part["gains"].items())
    return TARGETS["auto"].reached(f"{name}, batch {batch}, mixed, auto", part["gain"], f"chose {part['lanes']}; measured {found}")


def choose_width(worker: Worker, model: ModelRef, wanted: Sequence[Trial], count: int) -> dict[str, Any]:
    """Let a worker choose how many trials to pack, and run some of them so; alone, a trial is what it is held against."""
    with tempfile.TemporaryDirectory() as storage:
        worker.prepare(model, [], packing=PackingPost(storage, tuple(wanted), STANDARD))
        choice = Choices(Storage.at(storage)).settled(wanted[0])
    gain, some = 1.0, wanted[:count]
    if choice.lanes > 1:
        gain = seconds(partial(one_by_one, worker, some)) / seconds(partial(packed, worker, some, choice.lanes))
    return {"lanes": choice.lanes, "gain": gain, "gains": {str(found.lanes): found.gain for found in choice.measured}}


def run_part(options: argparse.Namespace) -> None:
    """Measure trials of one kind in this process: their throughput, on SmolLM2 also the peak of its memory, or the width that is chosen."""
    worker, model = Worker(threads=1), resolve(ModelRef(id=options.model, dtype=options.dtype))
    if options.part == "auto":
        finish_part(choose_width(worker, model, trials(model, BLENDS[options.blend], options.steps, options.batch), options.trials))
        return
    run = packed if options.part == "packed" else one_by_one
    wanted = trials(model, BLENDS[options.blend], options.steps, options.batch)[: options.trials]
    before = seconds(partial(run, worker, trials(model, BLENDS[options.blend], 1, options.batch)[:1]))
    took = seconds(partial(run, worker, wanted))
    finish_part({"trials_per_second": len(wanted) / took, "seconds": took, "warm_up": before})


# ------------------------------------------------------------------------------------------------------------------ SmolLM2


def smollm2(steps: int, dtype: str, batches: Sequence[int]) -> list[Figure]:
    """Return the throughput of a pack on SmolLM2 relative to one trial after another, and with batches of 1 its memory."""
    figures = []
    for batch in batches:
        arguments = ["--model", SMOLLM2, "--dtype", dtype, "--steps", str(steps), "--batch", str(batch)]
        alone = in_process(__spec__.name, "one by one", *arguments, "--trials", str(TRIALS // 2), threads=1)
        pack = in_process(__spec__.name, "packed", *arguments, threads=1)
        name, gain = f"SmolLM2, batch {batch}", pack["trials_per_second"] / alone["trials_per_second"]
        figures.append(TARGETS["throughput"].reached(f"{name}, equal", gain, f"{steps} steps in {dtype}"))
        if batch == 1:
            single = in_process(__spec__.name, "one by one", *arguments, "--trials", "1", threads=1)
            note = f"{pack['peak_bytes'] / 1e9:.2f} GB against {TRIALS} x {single['peak_bytes'] / 1e9:.2f} GB"
            figures.append(TARGETS["memory"].reached(f"{name}, memory", pack["peak_bytes"] / (TRIALS * single["peak_bytes"]), note))
    return figures


def main() -> None:
    """Measure everything, or one part in a process of its own."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--steps", type=int, default=80, help="optimiser steps of a trial on the micro models (default: 80)")
    parser.add_argument("--repetitions", type=int, default=2, help="pairs of measurements where there is a target (default: 2)")
    parser.add_argument("--smollm2-steps", type=int, default=2, help="optimiser steps of a trial on SmolLM2; 0 leaves it out (default: 2)")
    parser.add_argument("--smollm2-batches", type=int, nargs="*", default=[1], help="batch sizes on SmolLM2 (default: 1)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of SmolLM2 (default: float32)")
    for name, default in (("--model", "micro-llama"), ("--blend", "equal")):
        parser.add_argument(name, default=default, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--trials", type=int, default=TRIALS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    device_of(options)
    if options.part:
        run_part(options)
        return
    if options.quick:
        options.steps, options.repetitions, options.smollm2_steps = 10, 1, 0
    micro, few = resolve(ModelRef(id="micro-llama")), max(1, options.steps // 4)
    figures = throughput("micro", micro, options.steps, options.repetitions, batch=1)
    if not options.quick:
        figures += throughput("micro", micro, few, 1, batch=4)
        with tempfile.TemporaryDirectory() as folder:
            figures += throughput("width 64", small_model(Path(folder)), few, 1, batch=1)
        figures.append(against_workers(few))
        figures.append(automatic("micro", "micro-llama", 1, "--steps", str(options.steps)))
    if options.smollm2_steps:
        figures += smollm2(options.smollm2_steps, options.dtype, options.smollm2_batches)
        figures.append(automatic("SmolLM2", SMOLLM2, 4, "--dtype", options.dtype, "--steps", "1", "--trials", "4"))
    finish("packing", options, figures, details={"mixed": list(MIXED), "parent_peak_bytes": peak_bytes()})


if __name__ == "__main__":
    main()
