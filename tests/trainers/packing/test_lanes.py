"""Lanes of a pack against the same training alone, in fp64: threads, passes and failures, without a worker around them."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from search_spaces.trial import ModelRef
from trainers import registry
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.sites import Site
from trainers.adapters.snapshot import fingerprint
from trainers.methods.lora import Lora
from trainers.models import load
from trainers.packing.board import Board
from trainers.packing.pack import Pack

STEPS = 4


@dataclass(frozen=True)
class Trainee:
    """What one lane trains."""

    method: str | type = "lora"
    capacity: Mapping[str, Any] = field(default_factory=lambda: {"rank": 2})
    targets: tuple[str, ...] = ("q", "v")
    rate: float = 0.1
    dropout: float = 0.0
    also_train: tuple[str, ...] = ()
    seed: int = 0
    steps: int = STEPS
    num_labels: int | None = None
    growth: int = 1
    """Tokens by which each batch is wider than the one before."""


@dataclass
class Trained:
    """What became of it."""

    losses: list[float] = field(default_factory=list)
    parameters: dict[str, Tensor] = field(default_factory=dict)
    error: Exception | None = None


@pytest.fixture(scope="module")
def llama() -> nn.Module:
    return load(ModelRef(id="micro-llama")).model.double()


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    """An encoder with dropout of its own, in its layers and in its attention."""
    base = load(ModelRef(id="micro-bert")).model.double()
    for module in base.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.2
    return base


def train(model: AdaptedModel, trainee: Trainee, trained: Trained) -> None:
    """Take steps of plain gradient descent on random tokens, the same for all."""
    torch.manual_seed(trainee.seed)
    optimizer = torch.optim.SGD(model.trainable().values(), lr=trainee.rate)
    tokens = torch.Generator().manual_seed(7)
    for step in range(trainee.steps):
        ids = torch.randint(2, 250, (2, 5 + step * trainee.growth), generator=tokens)
        model.before_step(step, trainee.steps)
        loss = model(ids, torch.ones_like(ids)).logits.square().mean()
        loss.backward()
        model.back_through_base()
        optimizer.step()
        optimizer.zero_grad()
        trained.losses.append(float(loss.detach()))
    trained.parameters = {name: p.detach().clone() for name, p in model.trainable().items()}


def attach(base: nn.Module, trainee: Trainee) -> Any:
    kind = trainee.method if isinstance(trainee.method, type) else registry.method_type(trainee.method)
    return attached(
        base,
        kind,
        trainee.targets,
        capacity=trainee.capacity,
        settings={},
        dropout=trainee.dropout,
        also_train=trainee.also_train,
        init_seed=trainee.seed,
        dropout_seed=trainee.seed,
        num_labels=trainee.num_labels,
    )


def alone(base: nn.Module, trainee: Trainee) -> Trained:
    trained = Trained()
    with attach(base, trainee) as model:
        train(model, trainee, trained)
    return trained


def beside(base: nn.Module, *trainees: Trainee, pack: Pack | None = None) -> list[Trained]:
    """Train in the lanes of one pack, a thread each."""
    pack, cohort = pack or Pack(), (uuid.uuid4().hex, len(trainees))
    found = [Trained() for _ in trainees]

    def run(trainee: Trainee, trained: Trained) -> None:
        try:
            with pack.lane(cohort=cohort) as lane, lane.base(base) as own, attach(own, trainee) as model:
                lane.take(model, base)
                train(model, trainee, trained)
        except Exception as error:  # noqa: BLE001  it is what the test looks at
            trained.error = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in zip(trainees, found, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a lane never ended"
    return found


def assert_alike(packed: Trained, solo: Trained) -> None:
    assert packed.error is None
    assert packed.losses == pytest.approx(solo.losses, rel=1e-12)
    for name, parameter in solo.parameters.items():
        torch.testing.assert_close(packed.parameters[name], parameter, rtol=1e-10, atol=1e-13)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each pass over a trunk."""
    rows: list[int] = []
    plain = Board.manned

    def counted(self: Board, crew: Any, *arguments: Any) -> Any:
        rows.append(crew.rows)
        return plain(self, crew, *arguments)

    monkeypatch.setattr(Board, "manned", counted)
    return rows


def test_lanes_share_every_pass_and_train_as_they_would_alone(llama: nn.Module, passes: list[int]) -> None:
    trainees = [Trainee(), Trainee(rate=0.3, seed=1), Trainee("lorta", rate=0.01), Trainee(dropout=0.3, capacity={"rank": 1})]
    packed = beside(llama, *trainees)
    assert passes == [8] * STEPS
    for trained, trainee in zip(packed, trainees, strict=True):
        assert_alike(trained, alone(llama, trainee))


@pytest.mark.parametrize("extra", [("norms",), ("norms", "biases")])
def test_norms_and_biases_are_each_lanes_own(llama: nn.Module, extra: tuple[str, ...]) -> None:
    trainees = [Trainee(also_train=extra), Trainee(also_train=extra, rate=0.5, seed=3), Trainee()]
    for trained, trainee in zip(beside(llama, *trainees), trainees, strict=True):
        assert_alike(trained, alone(llama, trainee))


def test_an_encoder_with_dropout_and_heads_of_its_own(bert: nn.Module, passes: list[int]) -> None:
    trainees = [Trainee(num_labels=3), Trainee(num_labels=3, rate=0.3, seed=1, dropout=0.2), Trainee("bitfit", {}, (), num_labels=3)]
    packed = beside(bert, *trainees)
    assert passes == [6] * STEPS
    for trained, trainee in zip(packed, trainees, strict=True):
        assert_alike(trained, alone(bert, trainee))


def test_lanes_with_other_numbers_of_labels_are_not_joined(bert: nn.Module, passes: list[int]) -> None:
    trainees = [Trainee(num_labels=2), Trainee(num_labels=5)]
    packed = beside(bert, *trainees)
    assert passes == [2] * (2 * STEPS)
    for trained, trainee in zip(packed, trainees, strict=True):
        assert_alike(trained, alone(bert, trainee))


def test_a_lane_that_ends_early_leaves_the_others_as_they_were(llama: nn.Module, passes: list[int]) -> None:
    trainees = [Trainee(steps=1), Trainee(seed=1), Trainee(seed=2)]
    packed = beside(llama, *trainees)
    assert passes == [6] + [4] * (STEPS - 1)
    for trained, trainee in zip(packed, trainees, strict=True):
        assert_alike(trained, alone(llama, trainee))


class Late(Lora):
    """Lets another lane in, in the middle of its training."""

    arrive: threading.Event
    pack: Pack

    def before_step(self, step: int, steps: int) -> None:
        if step == 2:
            self.arrive.set()
            while len(self.pack.lanes) < 2:
                time.sleep(0.001)


def test_a_lane_that_comes_later_is_waited_for_until_it_has_caught_up(llama: nn.Module, passes: list[int]) -> None:
    pack, first, second = Pack(), Trainee(Late, steps=6), Trainee(seed=1, steps=6)
    Late.arrive, Late.pack = threading.Event(), pack
    found: dict[str, list[Trained]] = {}
    other = threading.Thread(target=lambda: (Late.arrive.wait(30), found.update(late=beside(llama, second, pack=pack))), daemon=True)
    other.start()
    found["first"] = beside(llama, first, pack=pack)
    other.join(60)
    assert passes == [2, 2] + [2, 2] + [4] * 4
    assert_alike(found["first"][0], alone(llama, replace(first, method="lora")))
    assert_alike(found["late"][0], alone(llama, second))


class Faulty(Lora):
    """Fails in its own code, in a pass."""

    where = "forward"

    def before_step(self, step: int, steps: int) -> None:
        self.step = step

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        if self.step == 2 and self.where == "forward":
            raise ArithmeticError("this method cannot go on")
        adapted = super().transform(x_BTi, y_BTo, site)
        if self.step == 2:
            adapted.register_hook(self._refuse)
        return adapted

    def _refuse(self, _: Tensor) -> Tensor:
        raise ArithmeticError("this method cannot go back")


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_method_that_fails_takes_no_neighbour_along(llama: nn.Module, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Faulty, "where", where)
    trainees = [Trainee(dropout=0.3), Trainee(Faulty), Trainee("lorta", seed=1, dropout=0.1)]
    packed = beside(llama, *trainees)
    assert isinstance(packed[1].error, ArithmeticError)
    assert len(packed[1].losses) == 2
    for index in (0, 2):
        assert_alike(packed[index], alone(llama, trainees[index]))


def test_a_lane_that_diverges_changes_nothing_for_the_others(llama: nn.Module) -> None:
    trainees = [Trainee(), Trainee(rate=1e200, seed=1), Trainee(seed=2)]
    packed = beside(llama, *trainees)
    assert not torch.tensor(packed[1].losses).isfinite().all()
    for index in (0, 2):
        assert_alike(packed[index], alone(llama, trainees[index]))


def test_a_joint_pass_that_does_not_fit_in_memory_is_taken_apart(llama: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    plain = Board.manned

    def small(self: Board, crew: Any, *arguments: Any) -> Any:
        if crew.rows > 4:
            raise MemoryError
        rows.append(crew.rows)
        return plain(self, crew, *arguments)

    monkeypatch.setattr(Board, "manned", small)
    trainees = [Trainee(seed=seed, dropout=0.2, growth=0) for seed in range(4)]
    for trained, trainee in zip(beside(llama, *trainees), trainees, strict=True):
        assert_alike(trained, alone(llama, trainee))
    assert rows[:4] == [2, 2, 2, 2]
    assert 4 in rows[4:]


def test_the_base_is_as_it_was(llama: nn.Module) -> None:
    before, modules = fingerprint(llama), [(type(m), dict(m._forward_hooks), dict(m._parameters)) for m in llama.modules()]
    beside(llama, Trainee(also_train=("norms",)), Trainee("lorta", seed=1))
    assert fingerprint(llama) == before
    assert [(type(m), dict(m._forward_hooks), dict(m._parameters)) for m in llama.modules()] == modules
    assert not llama.training


class Exchanging(Lora):
    """Puts a module of its own into the base."""

    def install(self, base: nn.Module, adapt: Any) -> None:
        path, _, leaf = self.sites[0].path.rpartition(".")
        setattr(base.get_submodule(path), leaf, nn.Sequential(base.get_submodule(self.sites[0].path)))


def test_a_method_that_exchanges_modules_is_refused(llama: nn.Module) -> None:
    refused, beside_it = beside(llama, Trainee(Exchanging), Trainee(seed=1))
    assert isinstance(refused.error, NotApplicableError)
    assert "cannot run in a pack" in str(refused.error)
    assert_alike(beside_it, alone(llama, Trainee(seed=1)))
