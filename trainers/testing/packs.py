"""Trains methods in the lanes of a pack and alone, and compares what the steps compute.

Shapes: B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Barrier

import torch
from torch import Tensor, nn

from trainers.adapters.attach import AdaptedModel
from trainers.packing.pack import Pack
from trainers.testing.cases import MethodCase, attached_case, loss_on

ZERO = 0.01
"""Share of the norm of all tensors together below which the norm of one counts as zero."""
EPSILON = 1e-4
"""Of AdamW: large, so that a gradient that is zero but for rounding is not blown up to a step."""
SECONDS = 60.0
"""How long a lane waits for the others to be there."""


@dataclass(frozen=True)
class PackedTrial:
    """One trial of a comparison: a method with its own first values, data and learning rate.

    Attributes:
        seed: of the adapter's first values and of the batches.
    """

    case: MethodCase
    seed: int = 1
    learning_rate: float = 1e-2
    dropout: float = 0.0

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return tokens (B, T) and their mask, of one shape for all: two rows, of which the first has padding."""
        generator = torch.Generator().manual_seed(1000 * self.seed + step)
        ids_BT = torch.randint(0, 256, (2, 9), generator=generator)
        mask_BT = torch.ones_like(ids_BT)
        mask_BT[0, -2:] = 0
        return ids_BT, mask_BT


@dataclass
class Trace:
    """What the steps of a training computed: before each of them the parameters, then its loss and its gradients by name."""

    parameters: list[dict[str, Tensor]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    gradients: list[dict[str, Tensor]] = field(default_factory=list)

    def assert_like(self, other: Trace, tolerance: float) -> None:
        """Compare losses, gradients and parameters, each as a whole tensor, relative to its norm.

        Raises:
            AssertionError: a difference above the tolerance; the message names the step and the tensor.
        """
        assert len(self.losses) == len(other.losses)
        for step, (mine, theirs) in enumerate(zip(self.losses, other.losses, strict=True)):
            assert abs(mine - theirs) <= tolerance * abs(theirs), f"the loss of step {step}: {mine} instead of {theirs}"
            _compare(f"at step {step} the gradient of", self.gradients[step], other.gradients[step], tolerance)
            _compare(f"before step {step}", self.parameters[step], other.parameters[step], tolerance)

    def same_bits(self, other: Trace) -> bool:
        """Tell whether everything is bitwise equal."""
        pairs = [*zip(self.parameters, other.parameters, strict=True), *zip(self.gradients, other.gradients, strict=True)]
        return self.losses == other.losses and all(a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in pairs)


def trained(model: AdaptedModel, trial: PackedTrial, steps: int, states: Sequence[dict[str, Tensor]] = ()) -> Trace:
    """Take AdamW steps as the training loop does, alone or in a lane; return what they computed.

    Args:
        states: parameters to put in place before each step, instead of those that the step before left.
    """
    trace, trainable = Trace(), model.trainable()
    optimizer = torch.optim.AdamW(trainable.values(), lr=trial.learning_rate, weight_decay=0.01, eps=EPSILON)
    for step in range(steps):
        if states:
            _put(trainable, states[step])
        trace.parameters.append({name: p.detach().clone() for name, p in trainable.items()})
        model.before_step(step, steps)
        loss, penalty = loss_on(model, *trial.batch(step)), model.penalty()
        trace.losses.append(float(loss.detach()))
        (loss if penalty is None else loss + penalty).backward()
        model.back_through_base()
        trace.gradients.append({name: p.grad.clone() for name, p in trainable.items() if p.grad is not None})
        optimizer.step()
        model.method.after_step(step, steps)
        optimizer.zero_grad()
    return trace


def alone(base: nn.Module, trial: PackedTrial, steps: int) -> Trace:
    """Train one trial on a base by itself."""
    with _attached(base, trial) as model:
        return trained(model, trial, steps)


def together(
    base: nn.Module, trials: Sequence[PackedTrial], steps: int, states: Sequence[Sequence[dict[str, Tensor]]] = ()
) -> tuple[list[Trace], list[int]]:
    """Train trials in the lanes of one pack, which start in step.

    Args:
        states: of each trial, as for `trained`.

    Returns:
        Their traces, and the rows of every pass over the base.

    Raises:
        Exception: what one of them raised.
    """
    pack, rows, start = Pack(), [], Barrier(len(trials))

    def train(number: int) -> Trace:
        with pack.lane() as lane, lane.base(base) as own, _attached(own, trials[number]) as model, _all_ending(start):
            lane.take(model, base)
            with lane.aside():
                start.wait(SECONDS)
            return trained(model, trials[number], steps, states[number] if states else ())

    hook = pack.board(base).trunk.register_forward_pre_hook(lambda *seen: rows.append(len(seen[2]["attention_mask"])), with_kwargs=True)
    try:
        with ThreadPoolExecutor(len(trials)) as threads:
            futures = [threads.submit(train, number) for number in range(len(trials))]
        return [future.result() for future in futures], rows
    finally:
        hook.remove()


@contextmanager
def _all_ending(start: Barrier) -> Iterator[None]:
    """Let nobody wait for a lane that has failed."""
    try:
        yield
    except BaseException:
        start.abort()
        raise


def _attached(base: nn.Module, trial: PackedTrial) -> AbstractContextManager[AdaptedModel]:
    return attached_case(trial.case, base, trial.seed, dropout=trial.dropout)


def _put(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


def _compare(what: str, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float) -> None:
    assert given.keys() == wanted.keys(), f"{what}: {sorted(given.keys() ^ wanted.keys())} on one side only"
    # Some gradients are zero but for rounding, as that of the keys' biases: no step changes the attention by them.
    floor = ZERO * sum(float(tensor.double().square().sum()) for tensor in wanted.values()) ** 0.5
    for name, tensor in given.items():
        norm = max(float(wanted[name].double().norm()), floor)
        difference = float((tensor.double() - wanted[name].double()).norm())
        assert difference <= tolerance * norm, f"{what} {name} differs by {difference / norm if norm else difference:.2e} relative"
