"""Houlsby, Pfeiffer and series adapters against models whose modules compute the formulas themselves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, batch

IDS, MASK = batch()
Adapter = Callable[[str, Tensor], Tensor]
"""From a site's key and an activation to the adapter's own contribution."""


def micro(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def post_norm_opt() -> nn.Module:
    torch.manual_seed(0)
    sizes: Any = {"vocab_size": 258, "hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = OPTConfig(**sizes, word_embed_proj_dim=16, dropout=0.0, do_layer_norm_before=False, init_std=0.2)
    return OPTForCausalLM(config).double().eval()


def after(module: Any, change: Callable[[Tensor], Tensor]) -> None:
    forward = module.forward
    module.forward = lambda *inputs, **options: change(forward(*inputs, **options))


def before(module: Any, change: Callable[[Tensor], Tensor]) -> None:
    forward = module.forward
    module.forward = lambda x: forward(change(x))


def residual(adapter: Adapter, key: str) -> Callable[[Tensor], Tensor]:
    return lambda h: h + adapter(key, h)


def houlsby_llama(base: Any, adapter: Adapter) -> None:
    for n, layer in enumerate(base.model.layers):
        after(layer.self_attn.o_proj, residual(adapter, f"l{n}_o"))
        after(layer.mlp.down_proj, residual(adapter, f"l{n}_down"))


def houlsby_bert(base: Any, adapter: Adapter) -> None:
    for n, layer in enumerate(base.roberta.encoder.layer):
        after(layer.attention.output.dense, residual(adapter, f"l{n}_o"))
        after(layer.output.dense, residual(adapter, f"l{n}_fc2"))


def pfeiffer_llama(base: Any, adapter: Adapter) -> None:
    def patch(layer: Any, key: str) -> None:
        streams: list[Tensor] = []

        def remembered(stream: Tensor) -> Tensor:
            streams.append(stream)
            return stream

        before(layer.post_attention_layernorm, remembered)
        after(layer.mlp, lambda y: y + adapter(key, y + streams.pop()))

    for n, layer in enumerate(base.model.layers):
        patch(layer, f"l{n}_down")


def pfeiffer_bert(base: Any, adapter: Adapter) -> None:
    def patch(output: Any, key: str) -> None:
        def forward(hidden: Tensor, stream: Tensor) -> Tensor:
            y = output.dense(hidden)
            adapted = y + adapter(key, output.LayerNorm(y + stream))
            normed: Tensor = output.LayerNorm(adapted + stream)
            return normed

        output.forward = forward

    for n, layer in enumerate(base.roberta.encoder.layer):
        patch(layer.output, f"l{n}_fc2")


def pfeiffer_post_norm_opt(base: Any, adapter: Adapter) -> None:
    def patch(norm: Any, key: str) -> None:
        plain = norm.forward
        norm.forward = lambda s: plain(s + adapter(key, plain(s)))

    for n, layer in enumerate(base.model.decoder.layers):
        patch(layer.final_layer_norm, f"l{n}_fc2")


def series_llama(base: Any, adapter: Adapter) -> None:
    for n, layer in enumerate(base.model.layers):
        before(layer.mlp.gate_proj, residual(adapter, f"l{n}_gate"))
        before(layer.mlp.up_proj, residual(adapter, f"l{n}_up"))
        after(layer.mlp.down_proj, residual(adapter, f"l{n}_down"))


def series_bert(base: Any, adapter: Adapter) -> None:
    for n, layer in enumerate(base.roberta.encoder.layer):
        before(layer.intermediate.dense, residual(adapter, f"l{n}_fc1"))
        after(layer.output.dense, residual(adapter, f"l{n}_fc2"))


CASES: list[tuple[str, Callable[[], nn.Module], Callable[[Any, Adapter], None]]] = [
    ("adapter_houlsby", lambda: micro("micro-llama"), houlsby_llama),
    ("adapter_houlsby", lambda: micro("micro-bert"), houlsby_bert),
    ("adapter_pfeiffer", lambda: micro("micro-llama"), pfeiffer_llama),
    ("adapter_pfeiffer", lambda: micro("micro-bert"), pfeiffer_bert),
    ("adapter_pfeiffer", post_norm_opt, pfeiffer_post_norm_opt),
    ("adapter_series", lambda: micro("micro-llama"), series_llama),
    ("adapter_series", lambda: micro("micro-bert"), series_bert),
]


@pytest.mark.parametrize(("name", "build", "patch"), CASES, ids=[f"{name}-{patch.__name__}" for name, _, patch in CASES])
def test_trains_like_the_formula(name: str, build: Callable[[], nn.Module], patch: Callable[[Any, Adapter], None]) -> None:
    other, current = build(), dict[str, Tensor]()

    def adapter(key: str, h: Tensor) -> Tensor:
        code = h @ current[f"down.{key}"].T + current.get(f"down_bias.{key}", 0)
        code = code * torch.sigmoid(code) if name == "adapter_houlsby" else code.clamp(min=0)
        return 0.5 * (code @ current[f"up.{key}"].T + current.get(f"up_bias.{key}", 0))

    def reference(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        current.update(parameters)
        logits: Tensor = other(input_ids=ids, attention_mask=mask).logits
        return logits

    patch(other, adapter)
    with attached(build(), method_type(name), (), capacity={"bottleneck": 3}, settings={}, scale=0.5) as model:
        assert_trains_like(model, reference)


@given(heads=st.integers(1, 5), inner=st.integers(1, 7), bottleneck=st.integers(1, 2), layers=st.integers(1, 2))
@settings(max_examples=8, deadline=None)
def test_sizes(heads: int, inner: int, bottleneck: int, layers: int) -> None:
    hidden = 2 * heads
    config = LlamaConfig(
        vocab_size=258, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads, head_dim=2
    )
    base, pair = LlamaForCausalLM(config).eval(), 2 * hidden * bottleneck
    biases = bottleneck + hidden
    for name, count in (("houlsby", 2 * (pair + biases)), ("pfeiffer", pair + biases), ("series", 3 * pair)):
        with attached(base, method_type(f"adapter_{name}"), ("q",), capacity={"bottleneck": bottleneck}, settings={}) as model:
            assert sum(p.numel() for p in model.trainable().values()) == layers * count
            assert model(IDS, MASK).logits.shape == (2, 9, 258)


@pytest.mark.parametrize("name", ["adapter_houlsby", "adapter_pfeiffer", "adapter_series"])
def test_matrices_start_small_and_biases_at_zero(name: str) -> None:
    base = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=256, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2))
    with attached(base, method_type(name), (), capacity={"bottleneck": 64}, settings={}, init_seed=1) as model:
        for parameter_name, parameter in model.method.named_parameters():
            if "bias" in parameter_name:
                assert not parameter.any()
            else:
                assert 0.019 < float(parameter.detach().std()) < 0.021
                assert abs(float(parameter.detach().mean())) < 0.001


@pytest.mark.parametrize("bottleneck", [0, 17, True, 2.0])
def test_bad_bottlenecks_are_refused(bottleneck: Any) -> None:
    with pytest.raises(CapacityError, match="bottleneck .* is not valid. Valid: a whole number from 1 to 16 .the width of the narrowest"):
        with attached(micro("micro-llama"), method_type("adapter_series"), (), capacity={"bottleneck": bottleneck}, settings={}):
            pass


@pytest.mark.parametrize(
    ("name", "model", "bottleneck", "count"),
    [
        ("adapter_series", "llama2-7b", 64, 50_331_648),
        ("adapter_houlsby", "roberta-base", 64, 2_379_264),
        ("adapter_houlsby", "roberta-base", 8, 313_536),
        ("adapter_pfeiffer", "roberta-base", 48, 894_528),
    ],
)
def test_published_counts(name: str, model: str, bottleneck: int, count: int) -> None:
    assert count_on(ModelRef(id=model), name, (), {"bottleneck": bottleneck}, {}).counts.peak == count
