"""Batched generation beside one call of transformers' `generate` per example in the same run.

Both write greedily in fp32 with the same stop tokens. `generate` is called for a sample of the rows, spread evenly over short and long
texts. The ratio is that of CPU seconds per example, which other work on the machine hardly changes (on a GPU of wall seconds); that of wall
seconds stands beside it. `--rows 256 --sample 64` is the full size.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import trainers.determinism  # noqa: F401  must come before torch computes anything
from search_spaces.trial import ModelRef
from tests.benchmarks.frame import Target, benchmark_parser, device_of, finish
from trainers import registry
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.untuned import Untuned
from trainers.encoding import encode, eval_split
from trainers.generation import generate
from trainers.models import load
from trainers.rows import read_rows

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
UNIT = "x one call per example"
TARGETS = {
    "throughput": Target(2.0, "higher", UNIT),
    "throughput_of_256": Target(3.0, "higher", UNIT),
    "differing_texts": Target(0, "lower"),
}
"""Many rows gain more: more of them share a passage."""
BUDGET_SECONDS = 40


def one_by_one(model: AdaptedModel, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
    """Return what `generate` writes after each prompt, called for one prompt at a time."""
    stops = [tokenizer("\n", add_special_tokens=False).input_ids[-1], tokenizer.eos_token_id]
    base: Any = model.base
    texts = []
    for number, prompt in enumerate(prompts):
        ids = torch.tensor([prompt], device=base.device)
        options = {"do_sample": False, "max_new_tokens": max_new_tokens, "eos_token_id": stops, "pad_token_id": tokenizer.pad_token_id}
        written = base.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(prompt) :]
        texts.append(str(tokenizer.decode(written, skip_special_tokens=True)).strip())
        sys.stderr.write(f"\r  one by one: {number + 1} of {len(prompts)} ")
    sys.stderr.write("\n")
    return texts


def measure(model: AdaptedModel, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, sample: int) -> dict[str, Any]:
    """Generate the texts of all rows in batches, and those of a sample one by one."""
    start = now()
    batched = generate(model, tokenizer, prompts, max_new_tokens)
    between = now()
    ordered = sorted(range(len(prompts)), key=lambda i: (len(batched[i]), len(prompts[i])))
    chosen = [ordered[(2 * n + 1) * len(ordered) // (2 * sample)] for n in range(min(sample, len(ordered)))]
    single = one_by_one(model, tokenizer, [prompts[i] for i in chosen], max_new_tokens)
    seconds, single_seconds = (between - start) / len(prompts), (now() - between) / len(chosen)
    differing = [{"batched": batched[i], "single": text} for i, text in zip(chosen, single, strict=True) if text != batched[i]]
    cpu_ratio, wall_ratio = (single_seconds / seconds).tolist()
    return {
        "rows": len(prompts),
        "prompt_tokens": sum(map(len, prompts)),
        "sample": len(chosen),
        "cpu_seconds_per_example": {"batched": round(float(seconds[0]), 4), "single": round(float(single_seconds[0]), 4)},
        "ratio": wall_ratio if next(model.base.parameters()).device.type == "cuda" else cpu_ratio,
        "wall_ratio": round(wall_ratio, 2),
        "differing": differing,
    }


def now() -> Tensor:
    """Return the CPU seconds of this process, and the time of day."""
    return torch.tensor([time.process_time(), time.perf_counter()], dtype=torch.float64)


def main() -> None:
    """Measure, and print how many times more examples per second are written in batches."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="a folder with <task>/validation.jsonl")
    parser.add_argument("--task", default="squad")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--sample", type=int, default=4, help="rows for which `generate` is called")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--max-new-tokens", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.sample = 4, 2
    torch.set_num_threads(options.threads)
    if not options.data.is_dir():
        sys.stderr.write(f"{options.data} is not there: embedded rows are read, which are shorter than real ones\n")
    task = registry.task(options.task)
    rows = read_rows(task, str(options.data) if options.data.is_dir() else "embedded", "test")
    examples = [rows.example(task, index) for index in range(min(options.rows, len(rows)))]
    base = load(ModelRef(id=options.model), device_of(options))
    limit = options.max_length - options.max_new_tokens
    prompts = [item.prompt for item in eval_split(examples, encode(examples, base.tokenizer, limit, evaluation=True)).items]
    with attached(base.model, Untuned, [], capacity={}, settings={}) as model, model.evaluating():
        generate(model, base.tokenizer, prompts[:1], 2)
        row = measure(model, base.tokenizer, prompts, options.max_new_tokens, min(options.sample, len(prompts)))
    name = "throughput_of_256" if row["rows"] >= 256 else "throughput"
    figures = [
        TARGETS[name].reached(name, row["ratio"], f"{row['rows']} examples of {row['prompt_tokens']} tokens"),
        TARGETS["differing_texts"].reached("differing_texts", len(row["differing"]), f"of {row['sample']}"),
    ]
    finish("generation", options, figures, row)


if __name__ == "__main__":
    main()
