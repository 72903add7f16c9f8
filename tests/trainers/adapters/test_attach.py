"""Attaching and detaching: extras, casts, shared inputs, and a base that is left as it was."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError, UnknownNameError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.copies import extra_parameters
from trainers.adapters.merging import merged
from trainers.adapters.snapshot import Snapshot, fingerprint
from trainers.models import load, meta_model
from trainers.registry import method_type

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)


@pytest.fixture
def base() -> nn.Module:
    return load(ModelRef(id="micro-llama"), torch.device("cpu")).model


def loss_of(model: AdaptedModel) -> Tensor:
    return nn.functional.cross_entropy(model(IDS, MASK).logits[:, :-1].flatten(0, 1).float(), IDS[:, 1:].flatten())


def disturb(model: AdaptedModel) -> None:
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(torch.randn(parameter.shape), alpha=0.1)


def test_an_error_while_training_leaves_the_base_alone(base: nn.Module) -> None:
    bits, hooks = fingerprint(base), len(base.get_submodule("model.layers.0.self_attn.q_proj")._forward_hooks)
    with pytest.raises(RuntimeError, match="boom"):
        with attached(base, method_type("lora"), ("q",), capacity={"rank": 2}, settings={}):
            raise RuntimeError("boom")
    assert fingerprint(base) == bits
    assert len(base.get_submodule("model.layers.0.self_attn.q_proj")._forward_hooks) == hooks == 0


@pytest.mark.parametrize("name", ["lora", "peft/lora", "peft/ia3", "peft/oft"])
def test_norms_are_trained_with_every_method(base: nn.Module, name: str) -> None:
    kind = method_type(name)
    capacity = dict.fromkeys(kind.card.capacity, 4)
    bits = fingerprint(base)
    with attached(base, kind, ("q", "v"), capacity=capacity, settings={}, also_train=("norms",)) as model:
        loss_of(model).backward()
        assert sum(p.numel() for p in model.extras.parameters()) == 5 * 16
        assert all(p.grad is not None and bool(p.grad.any()) for p in model.extras.parameters())
        disturb(model)
        with model.evaluating():
            wanted = model(IDS, MASK).logits
        with merged(model) as whole, torch.no_grad():
            assert torch.allclose(whole(input_ids=IDS, attention_mask=MASK).logits, wanted, atol=1e-6)
    assert fingerprint(base) == bits


def test_biases_are_listed_without_norms_and_head() -> None:
    base = meta_model(ModelRef(id="roberta-base"))
    names = extra_parameters(base, ["biases"])
    assert all(name.endswith(".bias") and "LayerNorm" not in name and not name.startswith("classifier") for name in names)
    assert len(names) == 12 * 6
    assert sum(base.get_parameter(name).numel() for name in extra_parameters(base, ["norms"])) == 38_400


def test_biases_scaled_by_a_method_are_merged_with_their_trained_values() -> None:
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=258,
        hidden_size=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=16,
        dropout=0.0,
    )
    opt = OPTForCausalLM(config).eval()
    with attached(opt, method_type("peft/ia3"), ("k", "v", "fc2"), capacity={}, settings={}, also_train=("biases",)) as model:
        disturb(model)
        with model.evaluating():
            wanted = model(IDS, MASK).logits
        with merged(model) as whole, torch.no_grad():
            assert torch.allclose(whole(input_ids=IDS, attention_mask=MASK).logits, wanted, atol=1e-5)


def test_left_padding_does_not_change_the_text(base: nn.Module) -> None:
    padded = torch.cat([torch.full((2, 3), 257), IDS], 1)
    mask = torch.cat([torch.zeros(2, 3, dtype=torch.long), MASK], 1)
    with attached(base, method_type("lora"), ("q",), capacity={"rank": 2}, settings={}) as model:
        disturb(model)
        with model.evaluating():
            assert torch.allclose(model(padded, mask).logits[:, 3:], model(IDS, MASK).logits, atol=1e-6)


def test_matrices_that_read_one_tensor_share_its_cast(base: nn.Module) -> None:
    base.to(torch.bfloat16)
    with attached(base, method_type("lora"), ("q", "k", "v"), capacity={"rank": 2}, settings={}) as model:
        seen: list[Tensor] = []
        inner: Any = model.method.delta

        def watched(x_BTi: Tensor, site: Any) -> Tensor:
            seen.append(x_BTi)
            delta: Tensor = inner(x_BTi, site)
            return delta

        setattr(model.method, "delta", watched)  # noqa: B010
        loss_of(model).backward()
        assert all(x.dtype == torch.float32 for x in seen)
        assert len({id(x) for x in seen}) == 2, "one cast per layer"


def test_gradients_on_a_bf16_base_follow_those_in_fp32(base: nn.Module) -> None:
    def gradient(dtype: torch.dtype) -> Tensor:
        other = load(ModelRef(id="micro-llama"), torch.device("cpu")).model.to(dtype)
        with attached(other, method_type("lora"), ("q", "v"), capacity={"rank": 2}, settings={}) as model:
            loss_of(model).backward()
            parts = [p.grad.flatten() for p in model.trainable().values() if p.grad is not None]
        return torch.cat(parts)

    exact, rough = gradient(torch.float32), gradient(torch.bfloat16)
    assert float((rough - exact).norm() / exact.norm()) < 0.05


def test_unknown_and_missing_roles_are_refused(base: nn.Module) -> None:
    options: dict[str, Any] = {"capacity": {"rank": 2}, "settings": {}}
    with pytest.raises(UnknownNameError, match="unknown role 'qq'"):
        with attached(base, method_type("lora"), ("qq",), **options):
            pass
    with pytest.raises(
        NotApplicableError, match="architecture 'llama' has no matrix of role 'fc1'. Valid targets: q, k, v, o, gate, up, down"
    ):
        with attached(base, method_type("lora"), ("fc1",), **options):
            pass


def test_evaluation_is_without_gradients_and_ends(base: nn.Module) -> None:
    with attached(base, method_type("lorta"), ("q", "v"), capacity={"rank": 2}, settings={}, dropout=0.5) as model:
        disturb(model)
        with model.evaluating():
            first = model(IDS, MASK).logits
            assert torch.equal(first, model(IDS, MASK).logits)
            assert not first.requires_grad
        assert model.training
        assert model(IDS, MASK).logits.requires_grad
        assert not torch.equal(model(IDS, MASK).logits, model(IDS, MASK).logits), "dropout is on again"


def test_fingerprint_sees_every_kind_of_change(base: nn.Module) -> None:
    seen = {fingerprint(base)}
    weight = base.get_parameter("model.embed_tokens.weight").data.view(-1)
    for change in (
        lambda: weight[5].mul_(1.0000002),
        lambda: weight.__setitem__(slice(10, 12), weight[10:12].flip(0).clone()),
        lambda: weight.__setitem__(slice(0, 4100), weight[:4100].roll(1).clone()),
        lambda: weight.__setitem__(-1, -weight[-1]),
        weight.neg_,
        lambda: weight.__setitem__([3, 17], -weight[[3, 17]]),
    ):
        change()
        seen.add(fingerprint(base))
    assert len(seen) == 7


def test_a_snapshot_undoes_structural_changes(base: nn.Module) -> None:
    wanted = base(input_ids=IDS).logits.detach()
    snapshot = Snapshot(base)
    layer: Any = base.get_submodule("model.layers.0")
    layer.self_attn.q_proj = nn.Sequential(nn.Linear(16, 16))
    layer.mlp.forward = lambda x: x * 0
    layer.register_buffer("extra", torch.ones(1))
    layer.mlp.register_forward_hook(lambda *_: None)
    base.requires_grad_(True)
    snapshot.restore()
    assert torch.equal(base(input_ids=IDS).logits, wanted)
    assert "extra" not in dict(base.named_buffers())
    assert not any(p.requires_grad for p in base.parameters())
