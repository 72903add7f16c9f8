"""The Hadamard adapter against changed matrices, in both placements and both stages."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.copies import extra_parameters
from trainers.adapters.merging import merged
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, Reference, batch, disturb, loss_of

IDS, MASK = batch()
HADAMARD = method_type("hadamard")


def micro(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def reference(base: nn.Module, model: AdaptedModel, placement: str) -> Reference:
    """The base with changed output matrices, which are given biases where they have none, and with the trained norms."""
    method: Any = model.method
    for site in method.sites:
        dense: Any = base.get_submodule(site.path)
        if dense.bias is None:
            dense.bias = nn.Parameter(torch.zeros(site.out_features, dtype=torch.float64))

    def logits(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        changed = {name: parameters[f"copies.values.{n}"] for n, name in enumerate(method.copies.names)}
        for site in method.sites:
            w, b = parameters[f"factor.{site.key}"], parameters[f"shift.{site.key}"]
            weight, bias = base.get_parameter(f"{site.path}.weight"), base.get_parameter(f"{site.path}.bias")
            before = placement == "before_output"
            changed[f"{site.path}.weight"] = weight @ torch.diag(w) if before else torch.diag(w) @ weight
            changed[f"{site.path}.bias"] = weight @ b + bias if before else w * bias + b
        output: Tensor = functional_call(base, changed, (), {"input_ids": ids, "attention_mask": mask}).logits
        return output

    return logits


@pytest.mark.parametrize("placement", ["before_output", "after_output"])
@pytest.mark.parametrize("name", ["micro-llama", "micro-bert"])
def test_trains_like_changed_matrices(name: str, placement: str) -> None:
    with attached(micro(name), HADAMARD, (), capacity={"layers": 2}, settings={"placement": placement}) as model:
        method: Any = model.method
        method.has_head = False  # the second stage alone
        assert_trains_like(model, reference(micro(name), model, placement))


def moved(model: AdaptedModel, step: int, steps: int) -> set[str]:
    """Take one step and return whether parameters of the adapter and of the head changed."""
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-2, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in model.trainable().items()}
    model.before_step(step, steps)
    loss_of(model(IDS, MASK).logits, IDS).backward()
    optimizer.step()
    optimizer.zero_grad()
    return {name.partition(".")[0] for name, p in model.trainable().items() if not torch.equal(p, before[name])}


def test_a_classifier_trains_its_head_first_and_freezes_it_then() -> None:
    with attached(micro("micro-bert"), HADAMARD, (), capacity={"layers": 1}, settings={}) as model:
        assert [moved(model, step, 5) for step in range(5)] == [{"head"}] * 2 + [{"method"}] * 3
    with attached(micro("micro-bert"), HADAMARD, (), capacity={"layers": 1}, settings={"head_share": 0.25}) as model:
        assert [moved(model, step, 5) for step in range(5)] == [{"head"}] + [{"method"}] * 4


@pytest.mark.parametrize(("share", "steps", "first"), [(0.01, 2, 1), (0.99, 2, 1), (0.01, 5, 1), (0.99, 5, 4), (0.5, 1, 0), (0.5, 6, 3)])
def test_each_stage_has_a_step_where_there_are_two(share: float, steps: int, first: int) -> None:
    with attached(micro("micro-bert"), HADAMARD, (), capacity={"layers": 1}, settings={"head_share": share}) as model:
        assert [model.method.trains_head(step, steps) for step in range(steps)] == [True] * first + [False] * (steps - first)
        assert [model.method.complete(taken, steps) for taken in range(steps + 1)] == [False] * (first + 1) + [True] * (steps - first)


def test_a_language_model_is_complete_from_the_start() -> None:
    with attached(micro("micro-llama"), HADAMARD, (), capacity={"layers": 1}, settings={}) as model:
        assert all(model.method.complete(taken, 4) for taken in range(5))


def test_a_language_model_has_one_stage() -> None:
    with attached(micro("micro-llama"), HADAMARD, (), capacity={"layers": 1}, settings={}) as model:
        assert [moved(model, step, 2) for step in range(2)] == [{"method"}] * 2


@pytest.mark.parametrize(("which", "layer"), [("top", 1), ("bottom", 0)])
def test_layers_are_counted_from_one_end(which: str, layer: int) -> None:
    with attached(micro("micro-bert"), HADAMARD, (), capacity={"layers": 1}, settings={"which": which}) as model:
        copied: Any = model.method.copies
        assert copied.names == tuple(f"roberta.encoder.layer.{layer}.attention.output.LayerNorm.{leaf}" for leaf in ("weight", "bias"))
        assert [site.layer for site in model.method.sites] == [layer]


@pytest.mark.parametrize("name", ["micro-llama", "micro-bert"])
def test_norms_that_the_sweep_trains_are_trained_once_each(name: str) -> None:
    base = micro(name)
    with attached(base, HADAMARD, (), capacity={"layers": 1}, settings={}, also_train=("norms",)) as model:
        copies: Any = model.method.copies
        assert sorted([*copies.names, *model.extras.names]) == sorted(extra_parameters(base, ["norms"]))
        assert copies.names and model.extras.names


def test_a_shift_without_a_bias_to_hold_it_is_not_merged() -> None:
    with attached(micro("micro-llama"), HADAMARD, (), capacity={"layers": 1}, settings={}) as model:
        with pytest.raises(NotApplicableError, match="hadamard cannot be merged: the attention's output matrix of this base has no bias"):
            with merged(model):
                pass


@pytest.mark.parametrize("placement", ["before_output", "after_output"])
def test_merges_into_matrix_bias_and_norm(placement: str) -> None:
    base = micro("micro-bert")
    with torch.no_grad():
        for name, parameter in base.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(std=0.3)
    with attached(base, HADAMARD, (), capacity={"layers": 2}, settings={"placement": placement}) as model:
        disturb(model)
        with model.evaluating():
            wanted = model(IDS, MASK).logits
        with merged(model) as whole, torch.no_grad():
            assert torch.allclose(whole(input_ids=IDS, attention_mask=MASK).logits, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layers", [0, 3, True, 1.0])
def test_bad_numbers_of_layers_are_refused(layers: Any) -> None:
    with pytest.raises(CapacityError, match=r"hadamard: layers .* is not valid. Valid: a whole number from 1 to 2 \(the model's layers\)"):
        with attached(micro("micro-llama"), HADAMARD, (), capacity={"layers": layers}, settings={}):
            pass


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_a_share_that_leaves_a_stage_out_is_refused(share: float) -> None:
    with pytest.raises(CapacityError, match="hadamard: head_share .* is not valid. Valid: a number above 0, below 1"):
        with attached(micro("micro-bert"), HADAMARD, (), capacity={"layers": 1}, settings={"head_share": share}):
            pass


@pytest.mark.parametrize(("model", "layers", "count"), [("bert-base", 12, 36_864), ("bert-base", 8, 24_576), ("llama2-7b", 1, 3 * 4096)])
def test_counts_of_the_paper(model: str, layers: int, count: int) -> None:
    assert count_on(ModelRef(id=model), "hadamard", (), {"layers": layers}, {}).counts.peak == count
