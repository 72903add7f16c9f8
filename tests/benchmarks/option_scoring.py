"""Scoring options with what they share read once, beside one full forward pass per option in the same run.

Both score the same rows in fp32, in turns of some rows each. The ratio is that of CPU seconds, which other work on the machine hardly
changes (on a GPU of wall seconds); that of wall seconds stands beside it. A full pass reads the whole text of one option and computes
the logits of every position; with `--trimmed` it computes those of the targets alone. `--rows 32` is the full size.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

import trainers.determinism  # noqa: F401  must come before torch computes anything
from search_spaces.trial import ModelRef
from tests.benchmarks.frame import Figure, Target, benchmark_parser, device_of, finish
from trainers import registry
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.untuned import Untuned
from trainers.batching import chunks
from trainers.encoding import EvalItem, TrainSequence, encode, eval_split
from trainers.models import load
from trainers.options import option_scores
from trainers.rows import read_rows

T = TypeVar("T")
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TARGETS = {
    "throughput": Target(5.0, "higher", "x full passes"),
    "largest_difference_of_a_score": Target(1e-4, "lower"),
    "equal_choices": Target(1.0, "higher", "of all"),
}
BUDGET_SECONDS = 25
TURN = 16
"""Examples of one turn."""


def full_scores(model: AdaptedModel, options: Sequence[TrainSequence], trimmed: bool) -> Tensor:
    """Return the scores of an example's options, (N,)."""
    return torch.tensor([full_score(model, option, trimmed) for option in options], dtype=torch.float64)


def full_score(model: AdaptedModel, option: TrainSequence, trimmed: bool) -> float:
    """Return an option's mean log-probability from a forward pass over all of its tokens."""
    ids = torch.tensor([option.ids], device=next(model.base.parameters()).device)
    keep = {"logits_to_keep": option.targets + 1} if trimmed else {}
    logits = model(ids, torch.ones_like(ids), **keep).logits[0, -option.targets - 1 : -1].float()
    return -float(torch.nn.functional.cross_entropy(logits, ids[0, -option.targets :]))


class Stopwatch:
    """Adds up CPU and wall seconds."""

    def __init__(self) -> None:
        self.cpu = self.wall = 0.0

    def time(self, run: Callable[[], T]) -> T:
        """Return the result of a function, whose time is added."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = run()
        self.cpu, self.wall = self.cpu + time.process_time() - cpu, self.wall + time.perf_counter() - wall
        return result


def items(name: str, source: str, count: int, tokenizer: Any, max_length: int) -> tuple[EvalItem, ...]:
    """Return the first rows of a task's validation file as a model sees them."""
    task = registry.task(name)
    rows = read_rows(task, source, "test")
    examples = [rows.example(task, index) for index in range(min(count, len(rows)))]
    return eval_split(examples, encode(examples, tokenizer, max_length, evaluation=True)).items


def measure(model: AdaptedModel, choices: Sequence[Sequence[TrainSequence]], pad: int, trimmed: bool) -> dict[str, Any]:
    """Score all options both ways."""
    shared, full = Stopwatch(), Stopwatch()
    differences: list[float] = []
    equal = 0
    on_device = next(model.base.parameters()).device.type == "cuda"
    for turn in chunks(choices, TURN):
        found = shared.time(lambda turn=turn: option_scores(model, turn, pad))  # type: ignore[misc]
        expected = full.time(lambda turn=turn: [full_scores(model, options, trimmed) for options in turn])  # type: ignore[misc]
        differences += [float((a.cpu() - b).abs().max()) for a, b in zip(found, expected, strict=True)]
        equal += sum(int(a.argmax() == b.argmax()) for a, b in zip(found, expected, strict=True))
        sys.stderr.write(f"\r  {len(differences)} of {len(choices)} examples")
    sys.stderr.write("\n")
    return {
        "rows": len(choices),
        "options": sum(map(len, choices)),
        "cpu_seconds_per_example": {"shared": round(shared.cpu / len(choices), 4), "full": round(full.cpu / len(choices), 4)},
        "ratio": full.wall / shared.wall if on_device else full.cpu / shared.cpu,
        "wall_ratio": round(full.wall / shared.wall, 2),
        "max_difference": max(differences),
        "equal_choices": equal,
    }


def figures(row: dict[str, Any]) -> list[Figure]:
    """Return what was reached."""
    size = f"{row['rows']} examples with {row['options']} options"
    return [
        TARGETS["throughput"].reached("throughput", row["ratio"], size),
        TARGETS["largest_difference_of_a_score"].reached("largest_difference_of_a_score", row["max_difference"]),
        TARGETS["equal_choices"].reached("equal_choices", row["equal_choices"] / row["rows"]),
    ]


def source_of(data: Path) -> str:
    """Return the folder if it is there, else the embedded rows, and say so."""
    if data.is_dir():
        return str(data)
    sys.stderr.write(f"{data} is not there: embedded rows are scored, which are shorter and have fewer options than real ones\n")
    return "embedded"


def main() -> None:
    """Measure, and print how many times more examples per second are scored when options share what they begin with."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="a folder with <task>/validation.jsonl")
    parser.add_argument("--task", default="record")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trimmed", action="store_true", help="let full passes compute the logits of targets alone")
    options = parser.parse_args()
    options.rows = 1 if options.quick else options.rows
    torch.set_num_threads(options.threads)
    base = load(ModelRef(id=options.model), device_of(options))
    choices = [
        item.options or () for item in items(options.task, source_of(options.data), options.rows, base.tokenizer, options.max_length)
    ]
    with attached(base.model, Untuned, [], capacity={}, settings={}) as model, model.evaluating():
        option_scores(model, choices[:1], base.tokenizer.pad_token_id)
        row = measure(model, choices, base.tokenizer.pad_token_id, options.trimmed)
    finish("option_scoring", options, figures(row), row)


if __name__ == "__main__":
    main()
