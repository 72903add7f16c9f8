"""DynaLoRA: what a step trains, how modules are chosen, and that with all of them active it is LoRA."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.sites import Site
from trainers.models import load, meta_model
from trainers.registry import method_type
from trainers.testing import assert_trains_like, dense_reference
from trainers.testing.oracle import Parameters, batch, disturb, loss_of

DYNALORA = method_type("dynalora")
ALLOCATORS = ("topk", "threshold", "multinomial", "scaled_multinomial", "random")
TARGETS = ("q", "k", "v", "o")
"""Eight modules on the two layers of the micro models."""


def base_of(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return base_of("micro-llama")


def attach(base: nn.Module, active: int, seed: int = 0, **chosen: Any) -> Any:
    return attached(base, DYNALORA, TARGETS, capacity={"rank": 2, "active": active}, settings=chosen, init_seed=seed)


def train(model: AdaptedModel, start: int, end: int, optimizer: torch.optim.Optimizer) -> list[list[bool]]:
    """Take steps; return which modules each trained."""
    active = []
    for step in range(start, end):
        model.before_step(step, 100)
        active.append([model.method.up[site.key].requires_grad for site in model.method.sites])
        ids, mask = batch()
        loss_of(model(ids, mask).logits, ids).backward()
        optimizer.step()
        model.method.after_step(step, 100)
        optimizer.zero_grad()
    return active


def adamw(model: AdaptedModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.trainable().values(), lr=1e-2, weight_decay=0.1)


def after_training(base: nn.Module, method: str, capacity: dict[str, int], chosen: dict[str, Any]) -> dict[str, Tensor]:
    with attached(base, method_type(method), TARGETS, capacity=capacity, settings=chosen, init_seed=3) as model:
        train(model, 0, 6, adamw(model))
        return {name: p.detach().clone() for name, p in model.trainable().items()}


@pytest.mark.parametrize("importance", ["output", "gradient"])
@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_with_all_modules_active_it_is_lora_step_for_step(base: nn.Module, allocator: str, importance: str) -> None:
    settings = {"allocator": allocator, "importance": importance, "interval": 2, "mass": 1.0}
    dynamic = after_training(base, "dynalora", {"rank": 2, "active": 8}, settings)
    plain = after_training(base, "lora", {"rank": 2}, {})
    assert dynamic.keys() == plain.keys()
    assert all(torch.equal(dynamic[name], plain[name]) for name in plain)


@pytest.mark.parametrize("name", ["micro-llama", "micro-bert"])
def test_trains_like_the_formula_with_the_other_modules_fixed(name: str) -> None:
    base = base_of(name)
    with attach(base, 3, allocator="random", interval=1) as model:
        seen = set()

        def update(parameters: Parameters, site: Site) -> Tensor:
            active = model.method.up[site.key].requires_grad
            change = 16 / 2 * parameters[f"up.{site.key}"] @ parameters[f"down.{site.key}"]
            seen.add((site.key, active))
            return change if active else change.detach()

        assert_trains_like(model, dense_reference(base_of(name), model.method.sites, update))
        assert len(seen) > 8, "no module was active in one step and not in another"


def test_a_module_that_is_not_active_keeps_its_values(base: nn.Module) -> None:
    """Neither momentum from steps in which it was active nor weight decay move it."""
    with attach(base, 2, allocator="random", interval=1) as model:
        optimizer = adamw(model)
        disturb(model)
        for step in range(8):
            before = {name: p.detach().clone() for name, p in model.method.named_parameters()}
            [active] = train(model, step, step + 1, optimizer)
            keys = [site.key for site, on in zip(model.method.sites, active, strict=True) if on]
            moved = {name for name, p in model.method.named_parameters() if not torch.equal(p, before[name])}
            assert moved == {f"{group}.{key}" for key in keys for group in ("down", "up")}
            assert len(keys) == 2


def test_importance_is_the_norm_of_the_whole_output(base: nn.Module) -> None:
    with attach(base, 3) as model:
        disturb(model)
        model.before_step(0, 10)
        norms: dict[str, list[Tensor]] = {}
        for site in model.method.sites:
            # This hook comes after the method's own, so it sees the adapted output.
            base.get_submodule(site.path).register_forward_hook(
                lambda module, inputs, output, key=site.key: norms.setdefault(key, []).append(output.detach().square().sum().sqrt())
            )
        for _ in range(2):
            model(*batch())
        active = model.method.is_active.double()
        wanted = torch.stack([sum(norms[site.key], torch.tensor(1e-6, dtype=torch.float64)) for site in model.method.sites])
        assert torch.allclose(model.method.scores, wanted, rtol=0, atol=1e-9)
        assert torch.equal(model.method.uses, 2 * active)
        with model.evaluating():
            model(*batch())
        assert torch.allclose(model.method.scores, wanted, rtol=0, atol=1e-9), "evaluation counts"


def test_importance_by_gradient_grows_while_active(base: nn.Module) -> None:
    with attach(base, 3, importance="gradient", allocator="random") as model:
        disturb(model)
        model.before_step(0, 10)
        ids, mask = batch()
        loss_of(model(ids, mask).logits, ids).backward()
        gradients = {name: p.grad for name, p in model.method.named_parameters()}
        model.method.after_step(0, 10)
        for site, score in zip(model.method.sites, model.method.scores.tolist(), strict=True):
            parts = [gradients[f"{group}.{site.key}"] for group in ("down", "up")]
            assert score == pytest.approx(1e-6 + sum(float(part.norm()) for part in parts if part is not None), abs=1e-12)
        assert int((model.method.scores > 1e-5).sum()) == 3


SCORES = (1.0, 8.0, 2.0, 40.0, 4.0, 20.0, 15.0, 10.0)
"""Their sum is 100; descending, they are modules 3, 5, 6, 7, 1, 4, 2, 0."""


def chosen_by(base: nn.Module, active: int, scores: Any = SCORES, uses: Any = (0,) * 8, draws: int = 1, **settings: Any) -> list[set[int]]:
    """What the allocator makes of scores, in several choices."""
    with attach(base, active, **settings) as model:
        model.method.scores.copy_(torch.tensor(scores))
        model.method.uses.copy_(torch.tensor(uses))
        picks = []
        for _ in range(draws):
            model.before_step(0, 10)
            picks.append({n for n, site in enumerate(model.method.sites) if model.method.up[site.key].requires_grad})
        return picks


@pytest.mark.parametrize("active", [1, 3, 8])
def test_topk_takes_the_most_important(base: nn.Module, active: int) -> None:
    assert chosen_by(base, active, allocator="topk") == [{3, 5, 6, 7, 1, 4, 2, 0} if active == 8 else set([3, 5, 6][:active])]


@pytest.mark.parametrize(("mass", "wanted"), [(0.3, {3}), (0.41, {3, 5}), (0.6, {3, 5}), (0.8, {3, 5, 6, 7}), (1.0, {3, 5, 6, 7, 1})])
def test_threshold_takes_modules_until_they_hold_the_mass(base: nn.Module, mass: float, wanted: set[int]) -> None:
    """The last case would need all eight; five may be active."""
    assert chosen_by(base, 5, allocator="threshold", mass=mass) == [wanted]


def test_multinomial_draws_by_importance_without_replacement(base: nn.Module) -> None:
    picks = chosen_by(base, 2, allocator="multinomial", draws=400)
    assert all(len(pick) == 2 for pick in picks)
    frequencies = [sum(n in pick for pick in picks) / 400 for n in range(8)]
    # Of two draws without replacement from 100: p_n (1 + Σ_{m≠n} p_m / (1 - p_m)).
    shares = [score / 100 for score in SCORES]
    expected = [p * (1 + sum(q / (1 - q) for m, q in enumerate(shares) if m != n)) for n, p in enumerate(shares)]
    assert frequencies == pytest.approx(expected, abs=0.08)


def test_scaled_multinomial_discounts_modules_by_their_uses(base: nn.Module) -> None:
    """Weights 40 / 4.01 against 10 / 0.01: the one that was never active comes nearly always."""
    picks = chosen_by(base, 1, scores=(40.0,) + (1e-9,) * 6 + (10.0,), uses=(4,) * 7 + (0,), draws=200, allocator="scaled_multinomial")
    assert sum(pick == {7} for pick in picks) > 190
    even = chosen_by(base, 1, scores=(40.0,) + (1e-9,) * 6 + (10.0,), uses=(4,) * 8, draws=400, allocator="scaled_multinomial")
    assert sum(pick == {0} for pick in even) / 400 == pytest.approx(0.8, abs=0.08)


def test_random_draws_evenly(base: nn.Module) -> None:
    picks = chosen_by(base, 2, draws=400, allocator="random")
    assert [sum(n in pick for pick in picks) / 400 for n in range(8)] == pytest.approx([0.25] * 8, abs=0.08)


@pytest.mark.parametrize(("schedule", "changes"), [("periodic", {3, 6, 9, 12}), ("once", {3})])
def test_modules_change_when_the_schedule_says(base: nn.Module, schedule: str, changes: set[int]) -> None:
    with attach(base, 2, allocator="random", schedule=schedule, interval=3, seed=6) as model:
        active = train(model, 0, 14, adamw(model))
    assert {step for step in range(1, 14) if active[step] != active[step - 1]} == changes


def test_choices_follow_the_seed_alone(base: nn.Module) -> None:
    def chosen(seed: int) -> list[list[bool]]:
        torch.rand(seed)
        with attach(base, 3, interval=1, seed=seed) as model:
            return train(model, 0, 5, adamw(model))

    assert chosen(1) == chosen(1) != chosen(2)


@pytest.mark.parametrize("importance", ["output", "gradient"])
def test_a_continued_training_is_the_same(base: nn.Module, importance: str) -> None:
    """From the middle of an interval: the same modules stay active, and the next choices are the same."""
    settings = {"interval": 4, "importance": importance}
    with attach(base, 3, **settings) as model:
        optimizer = adamw(model)
        train(model, 0, 6, optimizer)
        state = {name: tensor.clone() for name, tensor in model.method.training_state().items()}
        values = {name: p.detach().clone() for name, p in model.trainable().items()}
        moments = optimizer.state_dict()["state"]
        moments = {index: {key: torch.as_tensor(v).clone() for key, v in entry.items()} for index, entry in moments.items()}
        active = train(model, 6, 14, optimizer)
        wanted = {name: p.detach().clone() for name, p in model.trainable().items()}
    with attach(base, 3, **settings) as model:
        optimizer = adamw(model)
        for name, parameter in model.trainable().items():
            parameter.data.copy_(values[name])
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
        model.method.load_training_state(state)
        assert train(model, 6, 14, optimizer) == active
        assert all(torch.equal(p, wanted[name]) for name, p in model.trainable().items())


def test_active_parameters_of_the_publication() -> None:
    """16 of the 24 modules of RoBERTa-base at rank 8: 196,608 of 294,912."""
    with attached(meta_model(ModelRef(id="roberta-base")), DYNALORA, (), capacity={"rank": 8, "active": 16}, settings={}) as model:
        assert model.method.active_parameters == 196_608
        assert sum(p.numel() for p in model.method.parameters()) == 294_912


def test_active_parameters_are_those_that_a_step_trains(base: nn.Module) -> None:
    with attach(base, 3) as model:
        model.before_step(0, 10)
        assert sum(p.numel() for p in model.trainable().values() if p.requires_grad) == model.method.active_parameters


@pytest.mark.parametrize("active", [0, 9, True, 2.0])
def test_more_active_modules_than_there_are_is_refused(base: nn.Module, active: Any) -> None:
    with pytest.raises(CapacityError, match=r"dynalora: active .* Valid: a whole number from 1 to 8 \(the number of adapted matrices\)"):
        with attach(base, active):
            pass


@pytest.mark.parametrize(("key", "value"), [("interval", 0), ("mass", 0.0), ("mass", 1.5), ("allocator", "best")])
def test_bad_settings_are_refused(base: nn.Module, key: str, value: Any) -> None:
    with pytest.raises(CapacityError, match=f"dynalora: {key} {value!r} is not valid. Valid: "):
        with attach(base, 2, **{key: value}):
            pass
