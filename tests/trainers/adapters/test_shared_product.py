"""A product of one tensor with one factor is worked out once, and never outlives its pass."""

import weakref
from typing import Any

import torch

from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.adapters.shared_product import SharedProduct
from trainers.models import load
from trainers.registry import method_type
from trainers.testing.oracle import batch


def test_the_same_tensor_and_factor_give_the_same_product() -> None:
    product, x, factor = SharedProduct(), torch.randn(2, 5, 4), torch.randn(3, 4)
    first = product(x, factor)
    assert torch.equal(first, x @ factor.T)
    assert product(x, factor) is first
    assert product(x.clone(), factor) is not first
    assert torch.equal(product(x, 2 * factor), x @ (2 * factor).T)


def test_nothing_outlives_a_pass() -> None:
    base = load(ModelRef(id="micro-llama"), torch.device("cpu")).model
    seen: list[weakref.ref[torch.Tensor]] = []
    base.get_submodule("model.layers.1.self_attn.q_proj").register_forward_pre_hook(lambda _, inputs: seen.append(weakref.ref(inputs[0])))
    with attached(base, method_type("lotr"), ("q", "v"), capacity={"rank": 2}, settings={}) as model, torch.no_grad():
        model(*batch())
        assert [tensor() for tensor in seen] == [None]


def test_a_changed_factor_gives_a_new_product() -> None:
    base = load(ModelRef(id="micro-llama"), torch.device("cpu")).model
    for name in ("lotr", "lorta"):
        with attached(base, method_type(name), ("q",), capacity={"rank": 2}, settings={}) as model, torch.no_grad():
            method: Any = model.method
            x, site, results = torch.randn(3, 16), model.method.sites[0], []
            for _ in range(2):
                for parameter in method.parameters():
                    parameter.normal_()
                method.prepare()
                results.append(method.delta(x, site))
                assert torch.allclose(results[-1], x @ method.weight(site).T, atol=1e-3, rtol=1e-3)
            assert not torch.allclose(*results)
