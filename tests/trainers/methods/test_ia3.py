"""IA3 against HF PEFT, and against scaled matrices."""

from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.adapters.merging import merged
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, Reference, batch, disturb

IDS, MASK = batch()


def micro(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def peft_reference(base: nn.Module, paths: dict[str, str], inputs: list[str]) -> Reference:
    """HF PEFT's IA3; `paths` maps our parameters to matrices, `inputs` are those whose input is scaled."""
    model: Any = peft.get_peft_model(base, peft.IA3Config(target_modules=list(paths.values()), feedforward_modules=inputs)).double()

    def logits(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        vectors = {f"base_model.model.{path}.ia3_l.default": parameters[name] for name, path in paths.items()}
        shaped = {name: vector.view(dict(model.named_parameters())[name].shape) for name, vector in vectors.items()}
        output: Tensor = functional_call(model, shaped, (), {"input_ids": ids, "attention_mask": mask}).logits
        return output

    return logits


@pytest.mark.parametrize(
    ("name", "targets", "last"),
    [("micro-llama", ("k", "v", "down"), "down"), ("micro-llama", ("q", "o", "up", "gate"), "-"), ("micro-bert", ("k", "v", "fc2"), "fc2")],
)
def test_trains_like_hf_peft(name: str, targets: tuple[str, ...], last: str) -> None:
    with attached(micro(name), method_type("ia3"), targets, capacity={}, settings={}) as model:
        sites = model.method.sites
        paths = {f"factor.{site.key}": site.path for site in sites}
        assert_trains_like(model, peft_reference(micro(name), paths, [s.path for s in sites if s.role == last]))


def test_default_positions_are_keys_values_and_the_inner_activation() -> None:
    for name, wide in (("micro-llama", "down"), ("micro-bert", "fc2")):
        with attached(micro(name), method_type("ia3"), (), capacity={}, settings={}) as model:
            assert [s.role for s in model.method.sites] == ["k", "v", wide] * 2
            assert [len(model.method.get_parameter(f"factor.{s.key}")) for s in model.method.sites] == [16, 16, 32] * 2


@given(heads=st.integers(1, 3), groups=st.integers(1, 3), size=st.sampled_from([2, 4, 6]), inner=st.integers(1, 9))
@settings(max_examples=8, deadline=None)
def test_equals_scaled_matrices(heads: int, groups: int, size: int, inner: int) -> None:
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=heads * groups * size,
        intermediate_size=inner,
        num_hidden_layers=1,
        num_attention_heads=heads * groups,
        num_key_value_heads=heads,
        attention_bias=True,
    )
    base = LlamaForCausalLM(config).double().eval()
    for parameter in base.parameters():
        nn.init.normal_(parameter, std=0.3)
    with attached(base, method_type("ia3"), ("k", "v", "down"), capacity={}, settings={}) as model:
        disturb(model)
        own: dict[str, Tensor] = dict(model.method.factor.items())  # type: ignore[union-attr, operator, arg-type]
        with model.evaluating():
            given = model(IDS, MASK).logits
    changed = {"model.layers.0.mlp.down_proj.weight": base.get_parameter("model.layers.0.mlp.down_proj.weight") * own["l0_down"]}
    for role in ("k", "v"):
        path = f"model.layers.0.self_attn.{role}_proj"
        changed[f"{path}.weight"] = base.get_parameter(f"{path}.weight") * own[f"l0_{role}"][:, None]
        changed[f"{path}.bias"] = base.get_parameter(f"{path}.bias") * own[f"l0_{role}"]
    wanted = functional_call(base, changed, (), {"input_ids": IDS, "attention_mask": MASK}).logits
    assert torch.allclose(given, wanted, rtol=0, atol=1e-9)


def test_merging_scales_biases_at_outputs_only() -> None:
    sizes: Any = {"vocab_size": 258, "hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    base = OPTForCausalLM(OPTConfig(**sizes, word_embed_proj_dim=16, dropout=0.0)).double().eval()
    for parameter in base.parameters():
        nn.init.normal_(parameter, std=0.3)
    fc2_bias = base.get_parameter("model.decoder.layers.0.fc2.bias").clone()
    with attached(base, method_type("ia3"), ("k", "v", "fc2"), capacity={}, settings={}) as model:
        disturb(model)
        with model.evaluating():
            wanted = model(IDS, MASK).logits
        with merged(model) as whole, torch.no_grad():
            assert torch.allclose(whole(input_ids=IDS, attention_mask=MASK).logits, wanted, rtol=0, atol=1e-9)
            assert torch.equal(whole.get_parameter("model.decoder.layers.0.fc2.bias"), fc2_bias)


def test_small_factors_survive_on_a_bf16_base() -> None:
    base = load(ModelRef(id="micro-llama"), torch.device("cpu")).model.to(torch.bfloat16)
    with attached(base, method_type("ia3"), ("v", "down"), capacity={}, settings={}) as model:
        optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-3, weight_decay=0.0)
        model(IDS, MASK).logits.float().square().mean().backward()
        optimizer.step()
        for name, parameter in model.trainable().items():
            assert not torch.equal(parameter, torch.ones_like(parameter)), name
            assert torch.equal(parameter.bfloat16(), torch.ones_like(parameter).bfloat16()), f"{name}: the step is not small"
        site = next(s for s in model.method.sites if s.role == "v")
        nn.init.constant_(model.method.get_parameter(f"factor.{site.key}"), 1.003)
        y = torch.ones(1, 1, 16, dtype=torch.bfloat16)
        assert torch.allclose(model.method.transform(y.float(), y, site), torch.tensor(1.003), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("model", "count"), [("llama2-7b", 614_400), ("llama2-13b", 962_560), ("roberta-base", 55_296)])
def test_counts_of_the_definition(model: str, count: int) -> None:
    assert count_on(ModelRef(id=model), "ia3", (), {}, {}).counts.peak == count
