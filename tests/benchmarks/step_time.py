"""Training steps of every method beside HF PEFT's LoRA of rank 8 on the same targets, interleaved in one run.

A step is forward pass, backward pass, optimiser and hooks. After every step of a method HF PEFT's LoRA takes one on the same base and
batch, so that both meet the same load of the machine; a method's time is the median of these ratios. `frozen` is the base alone, which
only passes gradients through. Peak memory is that of one step, base included, from the allocator's own
records. `--methods all --on small smollm2 --rounds 7` is the full size.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import peft
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, RobertaConfig

from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef
from tests.benchmarks.frame import Figure, Target, benchmark_parser, device_of, finish, synchronized
from trainers import registry
from trainers.adapters.attach import attached
from trainers.adapters.copies import has_head
from trainers.adapters.sites import find_sites
from trainers.models import load

CAPACITY: Mapping[str, Mapping[str, int]] = {"vera": {"rank": 256}, "surm_ldr": {"rank": 1}}
"""Capacities that the limits name, or that make structured methods alike in size; others take the values below."""
KEYS: Mapping[str, int] = {"rank": 8, "bottleneck": 8, "tokens": 8, "layers": 8, "blocks": 2, "active": 8, "inner": 8}
LIMITS: Mapping[str, float] = {
    "lora": 1.00,
    **dict.fromkeys(("lorta", "lotr", "fact_tt", "fact_tk", "cp", "lora_xs", "melora", "ia3", "hadamard", "loretta_rep"), 1.05),
    "loretta_adp": 1.12,
    "vera": 1.20,
    **dict.fromkeys(("surm_circulant", "surm_toeplitz", "surm_kronecker", "surm_ldr"), 1.25),
    **dict.fromkeys(("adalora", "dora_weight", "dora_rank", "dylora"), 1.25),
}
MEMORY_LIMIT = 1.02
"""Largest peak memory of a method that exports LoRA factors, relative to HF PEFT's LoRA."""
UNIT = "x PEFT's LoRA"
TARGETS = {name: Target(limit, "lower", UNIT) for name, limit in LIMITS.items()}
BUDGET_SECONDS = 50
SOME = ("lora", "lorta", "loretta_adp", "vera", "surm_toeplitz", "dora_weight")
"""Methods that are measured by default: one under each limit, and LoRTA. `--methods all` measures every one."""


@dataclass(frozen=True)
class Workload:
    """A base model and a batch."""

    name: str
    model: Callable[[], nn.Module]
    rows: int
    tokens: int
    targets: tuple[str, ...] = ("q", "v")


def small() -> nn.Module:
    """Return a random LLaMA of 8 layers of width 512, with one key-value head per query head."""
    config = LlamaConfig(
        vocab_size=4096, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8
    )
    return AutoModelForCausalLM.from_config(config)


def encoder() -> nn.Module:
    """Return a random RoBERTa classifier of 8 layers of width 512, for methods that need one."""
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8}
    return AutoModelForSequenceClassification.from_config(RobertaConfig(vocab_size=4096, **sizes))


def smollm2() -> nn.Module:
    """Return SmolLM2-135M."""
    return load(ModelRef(id="smollm2-135m")).model


WORKLOADS = {
    "small": Workload("8 layers of 512, 4 x 128 tokens", small, 4, 128),
    "encoder": Workload("RoBERTa, 8 layers of 512, 4 x 128 tokens", encoder, 4, 128),
    # Grouped-query attention: q and o are the projections that every definition covers.
    "smollm2": Workload("SmolLM2-135M, 4 x 64 tokens", smollm2, 4, 64, ("q", "o")),
}


@dataclass
class Contender:
    """Something that takes training steps."""

    step: Callable[[], None]
    trainable: int
    ratios: list[float] = field(default_factory=list)
    peak_bytes: int = 0


class Bench:
    """The contenders on one base; each has modules of its own around the same weights.

    Args:
        steps: length of the training that the hooks are told: ranks are being allocated in its first half.
    """

    def __init__(self, workload: Workload, steps: int, device: torch.device) -> None:
        self.workload, self.steps, self.device = workload, steps, device
        self.base = workload.model().to(device).eval().requires_grad_(False)
        self.weight_bytes = sum(p.numel() * p.element_size() for p in self.base.parameters())
        generator = torch.Generator().manual_seed(0)
        vocabulary: int = self.base.config.vocab_size  # type: ignore[union-attr, assignment]
        self.ids = torch.randint(2, vocabulary, (workload.rows, workload.tokens), generator=generator).to(device)
        self.mask = torch.ones_like(self.ids)

    def shared(self) -> nn.Module:
        """Return a model of its own with the base's very weights."""
        with torch.device("meta"):
            twin = type(self.base)(self.base.config)
        twin.load_state_dict(self.base.state_dict(keep_vars=True), assign=True, strict=False)
        twin.tie_weights()
        for (name, buffer), (_, own) in zip(list(twin.named_buffers()), self.base.named_buffers(), strict=True):
            if buffer.device.type == "meta":
                module, _, leaf = name.rpartition(".")
                twin.get_submodule(module)._buffers[leaf] = own
        return twin.eval().requires_grad_(False)

    def loss(self, logits: Tensor) -> Tensor:
        """Return the loss of the next tokens, or of classes."""
        if logits.dim() == 2:
            return nn.functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device) % logits.shape[1])
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), self.ids[:, 1:].flatten())

    def method(self, name: str, stack: ExitStack) -> Contender:
        """Attach a method."""
        kind = registry.method_type(name)
        capacity = CAPACITY.get(name) or {key: KEYS[key] for key in kind.card.capacity}
        model = stack.enter_context(attached(self.shared(), kind, self.workload.targets, capacity=capacity, settings={}))
        optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-4)
        done = 0

        def step() -> None:
            nonlocal done
            model.before_step(done, self.steps)
            loss, penalty = self.loss(model(self.ids, self.mask).logits), model.penalty()
            (loss if penalty is None else loss + penalty).backward()
            optimizer.step()
            model.method.after_step(done, self.steps)
            optimizer.zero_grad()
            done += 1

        return Contender(step, sum(p.numel() for p in model.trainable().values()))

    def peft_lora(self) -> Contender:
        """Return HF PEFT's LoRA of rank 8, which trains a classification head as every method does."""
        base = self.shared()
        paths = [site.path for site in find_sites(base, self.workload.targets)]
        head = ["classifier"] if has_head(base) else None
        model = peft.get_peft_model(base, peft.LoraConfig(r=8, lora_alpha=16, target_modules=paths, modules_to_save=head)).train()
        trainable = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=1e-4)

        def step() -> None:
            self.loss(model(input_ids=self.ids, attention_mask=self.mask).logits).backward()
            optimizer.step()
            optimizer.zero_grad()

        return Contender(step, sum(p.numel() for p in trainable))

    def frozen(self) -> Contender:
        """Return the base alone, from whose embeddings on gradients are computed."""
        base = self.shared().train()
        base.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.requires_grad_())
        return Contender(lambda: self.loss(base(input_ids=self.ids, attention_mask=self.mask).logits).backward(), 0)

    def contenders(self, names: Sequence[str], stack: ExitStack) -> Iterator[tuple[str, Contender]]:
        """Yield what can be attached to this base, the frozen base first."""
        yield "frozen", self.frozen()
        for name in names:
            try:
                yield name, self.method(name, stack)
            except (NotApplicableError, CapacityError) as error:
                sys.stderr.write(f"  {name}: not on this base: {error}\n")


def peak_bytes(step: Callable[[], None], device: torch.device) -> int:
    """Return the largest sum of what a step has allocated and not yet freed, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    results: Any = profiler.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def seconds(step: Callable[[], None], device: torch.device) -> float:
    """Return how long a step takes."""
    synchronized(device)
    start = time.perf_counter()
    step()
    synchronized(device)
    return time.perf_counter() - start


def measure(workload: Workload, names: Sequence[str], rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Return a row for each contender."""
    bench = Bench(workload, 2 * (rounds + 2), device)
    with ExitStack() as stack:
        reference = bench.peft_lora()
        contenders = dict(bench.contenders(names, stack))
        for contender in (reference, *contenders.values()):
            contender.step()
            contender.peak_bytes = bench.weight_bytes + peak_bytes(contender.step, device)
        for number in range(rounds):
            sys.stderr.write(f"\r  {workload.name}: round {number + 1} of {rounds}")
            for contender in contenders.values():
                # The order alternates: whoever comes second finds warm caches.
                pair = [(who, seconds(who.step, device)) for who in (contender, reference)][:: -1 if number % 2 else 1]
                times = {id(who): took for who, took in pair}
                contender.ratios.append(times[id(contender)] / times[id(reference)])
    sys.stderr.write("\n")
    return [_row(name, contender, reference) for name, contender in contenders.items()]


def _row(name: str, contender: Contender, reference: Contender) -> dict[str, Any]:
    low, _, high = statistics.quantiles(contender.ratios, n=4)
    exports = name != "frozen" and registry.method_type(name).card.exports_lora
    return {
        "method": name,
        "trainable": contender.trainable,
        "time": round(statistics.median(contender.ratios), 3),
        "peak_memory": round(contender.peak_bytes / reference.peak_bytes, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "limits": {"time": LIMITS.get(name), "peak_memory": MEMORY_LIMIT if exports else None},
    }


def figures(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Figure]:
    """Give time and peak memory of every method on every base; to two digits, which is what a median of some pairs can tell."""
    for base, row in ((base, row) for base, rows in tables.items() for row in rows):
        name = f"{row['method']}, {base}"
        note = f"{row['trainable']:,} parameters, quartiles {row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f}"
        yield Figure(f"{name}, time", round(row["time"], 2), row["limits"]["time"], "lower", UNIT, note)
        yield Figure(f"{name}, peak memory", round(row["peak_memory"], 2), row["limits"]["peak_memory"], "lower", UNIT)


def main() -> None:
    """Measure, and print ratios to HF PEFT's LoRA; methods that need a classification head are measured on the encoder."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="pairs of steps per method")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--on", nargs="+", choices=WORKLOADS, default=["small"])
    parser.add_argument("--methods", nargs="+", default=list(SOME), help="`all` measures every method")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.methods = 2, ["lora"]
    torch.set_num_threads(options.threads)
    device = device_of(options)
    methods = list(registry.method_names()) if options.methods == ["all"] else options.methods
    tables = {name: measure(WORKLOADS[name], methods, options.rounds, device) for name in options.on}
    seen = {row["method"] for rows in tables.values() for row in rows}
    if left := [name for name in methods if name not in seen]:
        tables["encoder"] = measure(WORKLOADS["encoder"], left, options.rounds, device)
    finish("step_time", options, list(figures(tables)), tables)


if __name__ == "__main__":
    main()
