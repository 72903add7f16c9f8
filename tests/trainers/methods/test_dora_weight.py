"""DoRA against HF PEFT's, with and without biases and dropout, and the closed form of its norms."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters import export
from trainers.adapters.adaptation import AdapterDropout
from trainers.adapters.attach import attached
from trainers.adapters.merging import merged_parameters
from trainers.adapters.sites import Site
from trainers.models import load, meta_model
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, Reference, batch, disturb, loss_of

DORA = method_type("dora_weight")
RANK = 3
NAMES = {"down": "lora_A.default.weight", "up": "lora_B.default.weight", "magnitude": "lora_magnitude_vector.default.weight"}


def base_of(name: str) -> nn.Module:
    """A base in fp64 whose biases are not the zeros of a fresh model."""
    base = load(ModelRef(id=name), torch.device("cpu")).model.double()
    generator = torch.Generator().manual_seed(5)
    for parameter_name, parameter in base.named_parameters():
        if parameter_name.endswith(".bias"):
            parameter.data.normal_(0, 0.5, generator=generator)
    return base


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return base_of("micro-llama")


def hf_peft(base: nn.Module, sites: Sequence[Site], scale: float = 1.0, dropout: float = 0.0) -> tuple[Any, Reference]:
    """HF PEFT's DoRA on a copy of the base, and its logits as a function of this project's parameters."""
    paths = {site.key: site.path for site in sites}
    config = peft.LoraConfig(r=RANK, lora_alpha=16 * scale, lora_dropout=dropout, use_dora=True, target_modules=list(paths.values()))
    theirs = peft.get_peft_model(base, config).double()

    def logits(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        named = {tuple(name.split(".")): tensor for name, tensor in parameters.items()}
        swapped = {f"base_model.model.{paths[key]}.{NAMES[group]}": tensor for (group, key), tensor in named.items()}
        output: Tensor = functional_call(theirs, swapped, (), {"input_ids": ids, "attention_mask": mask}).logits
        return output

    return theirs, logits


@pytest.mark.parametrize(("name", "targets"), [("micro-llama", ("q", "v", "down")), ("micro-bert", ("q", "v", "fc1", "fc2"))])
def test_trains_as_hf_peft_does(name: str, targets: tuple[str, ...]) -> None:
    base = base_of(name)
    twin = copy.deepcopy(base)
    with attached(base, DORA, targets, capacity={"rank": RANK}, settings={}, scale=0.5) as model:
        _, reference = hf_peft(twin, model.method.sites, scale=0.5)
        assert_trains_like(model, reference)


@pytest.mark.parametrize("name", ["micro-llama", "micro-bert"])
def test_drops_the_input_of_the_base_product_as_hf_peft_does(name: str) -> None:
    base = base_of(name)
    twin = copy.deepcopy(base)
    with attached(base, DORA, ("q", "v"), capacity={"rank": RANK}, settings={}, dropout=0.4, dropout_seed=9) as model:
        theirs, reference = hf_peft(twin, model.method.sites, dropout=0.4)
        masks = AdapterDropout(0.4, torch.Generator().manual_seed(9))
        for site in model.method.sites:
            theirs.get_submodule(f"base_model.model.{site.path}").lora_dropout["default"] = masks
        assert_trains_like(model, reference)


@given(sizes=st.tuples(*[st.integers(1, 9)] * 3), rank=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_norms_in_closed_form_are_those_of_the_whole_matrix(sizes: tuple[int, int, int], rank: int, seed: int) -> None:
    hidden, inner, tokens = 2 * sizes[0] + 2, sizes[1] + 3, sizes[2]
    config = LlamaConfig(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=1, num_attention_heads=2, vocab_size=8, head_dim=4)
    torch.manual_seed(seed)
    base = LlamaForCausalLM(config).double()
    with attached(base, DORA, ("q", "o", "up", "down"), capacity={"rank": rank}, settings={}) as model:
        for parameter in model.trainable().values():
            parameter.data.normal_()
        model.method.prepare()
        for site in model.method.sites:
            own = base.get_parameter(f"{site.path}.weight")
            whole = own + 16 / rank * model.method.up[site.key] @ model.method.down[site.key]
            adapted = model.method.magnitude[site.key][:, None] * whole / whole.norm(dim=1, keepdim=True)
            assert torch.allclose(model.method.weight(site), adapted - own, rtol=0, atol=1e-9)
            x = torch.randn(1, tokens, site.in_features, dtype=torch.float64)
            assert torch.allclose(model.method.transform(x, x @ own.T, site), x @ adapted.T, rtol=0, atol=1e-8)


def test_norms_of_a_bf16_base_are_worked_out_in_fp32() -> None:
    base = load(ModelRef(id="micro-llama"), torch.device("cpu")).model.bfloat16()
    with attached(base, DORA, ("q", "down"), capacity={"rank": RANK}, settings={}) as model:
        disturb(model)
        model.method.prepare()
        for site in model.method.sites:
            own = base.get_parameter(f"{site.path}.weight").double()
            down, up, magnitude = (model.method.get_submodule(group)[site.key].double() for group in ("down", "up", "magnitude"))
            whole = own + 16 / RANK * up @ down
            wanted = magnitude[:, None] * whole / whole.norm(dim=1, keepdim=True) - own
            assert torch.allclose(model.method.weight(site).double(), wanted, rtol=0, atol=1e-6)


def test_a_zero_row_stays_zero() -> None:
    base = base_of("micro-llama")
    base.get_parameter("model.layers.0.self_attn.q_proj.weight").data[2] = 0
    with attached(base, DORA, ("q",), capacity={"rank": RANK}, settings={}) as model:
        logits = model(*batch()).logits
        logits.sum().backward()
        assert torch.isfinite(logits).all()
        assert all(torch.isfinite(p.grad).all() for p in model.trainable().values())


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_a_zero_row_with_a_bias_has_small_gradients(dropout: float) -> None:
    base = base_of("micro-bert")
    name = "roberta.encoder.layer.0.attention.self.query"
    base.get_parameter(f"{name}.weight").data[2] = 0
    twin = copy.deepcopy(base)
    with attached(base, DORA, ("q",), capacity={"rank": RANK}, settings={}, dropout=dropout) as model:
        model.head.take(model.pristine.parameters)
        logits = model(*batch()).logits
        loss_of(logits, batch()[0]).backward()
        assert torch.allclose(logits, twin(*batch()).logits, rtol=0, atol=1e-9)
        method = model.method
        for group in ("up", "magnitude"):
            gradient = method.get_submodule(group)["l0_q"].grad
            assert not gradient[2].any()
            assert gradient[:2].all()
        assert all(p.grad is not None and float(p.grad.abs().max()) < 10 for p in model.trainable().values())


def test_trained_biases_are_not_rescaled() -> None:
    """Biases that the sweep trains stand in for the base's own: the output moves by what the bias moves."""
    base = base_of("micro-bert")
    with attached(base, DORA, ("q",), capacity={"rank": RANK}, settings={}, also_train=("biases",)) as model:
        disturb(model)
        changed = merged_parameters(model)
        with model.evaluating():
            wanted = model(*batch()).logits
        twin = base_of("micro-bert")
        ids, mask = batch()
        with torch.no_grad():
            given_logits = functional_call(twin, changed, (), {"input_ids": ids, "attention_mask": mask}).logits
        assert torch.allclose(given_logits, wanted, rtol=0, atol=1e-9)


def test_hf_peft_loads_the_exported_folder(base: nn.Module, tmp_path: Path) -> None:
    ids, mask = batch()
    with attached(base, DORA, ("q", "v"), capacity={"rank": RANK}, settings={}, scale=0.25) as model:
        disturb(model)
        with model.evaluating():
            wanted = model(ids, mask).logits
        export.write(model, "peft", tmp_path / "dora", "micro-llama", None)
    theirs = peft.PeftModel.from_pretrained(base_of("micro-llama"), str(tmp_path / "dora"), autocast_adapter_dtype=False).double().eval()
    with torch.no_grad():
        assert torch.allclose(theirs(input_ids=ids, attention_mask=mask).logits, wanted, rtol=0, atol=1e-9)


def test_a_folder_without_the_head_is_refused(tmp_path: Path) -> None:
    with attached(base_of("micro-bert"), DORA, ("q",), capacity={"rank": 1}, settings={}) as model:
        with pytest.raises(NotApplicableError, match="would lack the classification head. Fix: export it as merged"):
            export.write(model, "peft", tmp_path, "micro-bert", None)
        with pytest.raises(NotApplicableError, match="dora_weight is not a low-rank update"):
            export.write(model, "lora", tmp_path, "micro-bert", None)


def test_count_of_llama2() -> None:
    with attached(meta_model(ModelRef(id="llama2-7b")), DORA, ("q", "v"), capacity={"rank": 8}, settings={}) as model:
        assert sum(p.numel() for p in model.trainable().values()) == 4_456_448


@pytest.mark.parametrize("rank", [0, 17, True, 1.5])
def test_bad_ranks_are_refused(base: nn.Module, rank: Any) -> None:
    with pytest.raises(CapacityError, match=r"dora_weight: rank .* is not valid. Valid: a whole number from 1 to 16"):
        with attached(base, DORA, ("q",), capacity={"rank": rank}, settings={}):
            pass
