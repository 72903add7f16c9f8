"""SURM's structured matrices against dense ones, scipy and HF PEFT, in both positions, with counts and error messages."""

from collections.abc import Callable, Mapping
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.merging import merged
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing import MethodCase, MethodSuite
from trainers.testing.oracle import Parameters, Reference, assert_trains_like, batch, dense_reference, disturb

CIRCULANT, TOEPLITZ, KRONECKER, LDR = (method_type(f"surm_{name}") for name in ("circulant", "toeplitz", "kronecker", "ldr"))
Dense = Callable[[Parameters, int], Tensor]
"""The dense matrix of one map, from the method's parameters and the map's index."""


def micro(name: str = "micro-llama") -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def llama(width: int, heads: int = 1, key_value_heads: int | None = None) -> nn.Module:
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads or heads,
        head_dim=width // heads,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).double().eval()


def circulant(column: Tensor) -> Tensor:
    """Column k is the first one, rolled down k times."""
    return torch.stack([column.roll(k) for k in range(len(column))], 1)


def skew_circulant(column: Tensor) -> Tensor:
    """The same, with the part that wraps around negated."""
    return circulant(column) * (torch.ones(len(column), len(column), dtype=column.dtype).tril() * 2 - 1)


def toeplitz(column: Tensor, row: Tensor) -> Tensor:
    """From the first column and the first row."""
    size = len(column)
    return torch.stack([torch.stack([column[p - q] if p >= q else row[q - p] for q in range(size)]) for p in range(size)])


def toeplitz_of(variant: str, vector: Tensor) -> Tensor:
    if variant == "symmetric":
        return toeplitz(vector, vector)
    if variant == "skew":
        column = torch.cat([vector.new_zeros(1), vector])
        return toeplitz(column, -column)
    size = (len(vector) + 1) // 2
    return toeplitz(vector[size - 1 :], vector[:size].flip(0))


def circulant_map(variant: str) -> Dense:
    shape = circulant if variant == "circulant" else skew_circulant
    return lambda parameters, n: shape(parameters["vector_a"][n] * parameters["vector_b"][n])


def toeplitz_map(variant: str) -> Dense:
    return lambda parameters, n: toeplitz_of(variant, parameters["vector_b"][n]) @ toeplitz_of(variant, parameters["vector_a"][n])


def ldr_map(parameters: Parameters, n: int) -> Tensor:
    pairs = zip(parameters["circulant"][n], parameters["skew_circulant"][n], strict=True)
    return torch.stack([circulant(column) @ skew_circulant(skew) for column, skew in pairs]).sum(0)


def kronecker_map(scaling: float) -> Dense:
    return lambda parameters, n: scaling * torch.kron(parameters["factor_b.8x2"][n], parameters["factor_a.2x8"][n])


CASES: Mapping[str, tuple[Any, Mapping[str, int], Mapping[str, Any], Dense]] = {
    "circulant": (CIRCULANT, {}, {}, circulant_map("circulant")),
    "skew_circulant": (CIRCULANT, {}, {"variant": "skew_circulant"}, circulant_map("skew_circulant")),
    "symmetric": (TOEPLITZ, {}, {}, toeplitz_map("symmetric")),
    "skew": (TOEPLITZ, {}, {"variant": "skew"}, toeplitz_map("skew")),
    "general": (TOEPLITZ, {}, {"variant": "general"}, toeplitz_map("general")),
    "kronecker": (KRONECKER, {"rank": 2}, {}, kronecker_map(1 / 2)),
    "ldr": (LDR, {"rank": 3}, {}, ldr_map),
}


# ----------------------------------------------------------------------------------------------------------- LoRA position


@pytest.mark.parametrize("name", CASES)
def test_trains_like_the_dense_matrix(name: str) -> None:
    kind, capacity, options, dense = CASES[name]
    with attached(micro(), kind, ("q", "v", "o"), capacity=capacity, settings=options) as model:
        index = model.method.index
        assert_trains_like(model, dense_reference(micro(), model.method.sites, lambda parameters, site: dense(parameters, index[site])))


@pytest.mark.parametrize("name", [name for name in CASES if name != "kronecker"])
def test_trains_like_the_dense_matrix_with_a_learned_factor(name: str) -> None:
    kind, capacity, options, dense = CASES[name]
    with attached(micro(), kind, ("q", "v"), capacity=capacity, settings={**options, "trainable_alpha": True}, scale=0.5) as model:
        index = model.method.index
        scaled = "circulant" if kind is LDR else "vector_b"

        def update(parameters: Parameters, site: Any) -> Tensor:
            return 0.5 * dense({**parameters, scaled: parameters["alpha"] * parameters[scaled]}, index[site])

        assert_trains_like(model, dense_reference(micro(), model.method.sites, update))


@pytest.mark.parametrize("name", [name for name in CASES if name != "kronecker"])
def test_a_learned_factor_starts_at_zero_and_is_what_trains_first(name: str) -> None:
    kind, capacity, options, _ = CASES[name]
    ids, mask = batch()
    with attached(micro(), kind, ("q",), capacity=capacity, settings={**options, "trainable_alpha": True}) as model:
        logits = model(ids, mask).logits
        logits.square().sum().backward()
        assert torch.equal(logits.detach(), micro()(input_ids=ids, attention_mask=mask).logits)
        assert {n for n, p in model.method.named_parameters() if p.grad is not None and bool(p.grad.all())} == {"alpha"}


def test_kronecker_fits_matrices_that_are_not_square() -> None:
    base = llama(16, 4, 2)
    with attached(base, KRONECKER, ("q", "v", "up"), capacity={"rank": 4}, settings={}) as model:
        groups = {"q": "factor_b.4x4", "v": "factor_b.2x4", "up": "factor_b.8x4"}

        def update(parameters: Parameters, site: Any) -> Tensor:
            b, a = parameters[groups[site.role]][site.layer], parameters["factor_a.4x4"][model.method.index[site]]
            return torch.kron(b, a) / 4

        assert_trains_like(model, dense_reference(llama(16, 4, 2), model.method.sites, update))
        assert sum(p.numel() for p in model.trainable().values()) == 2 * ((16 + 16) + (16 + 8) + (16 + 32))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [6, 10, 14])
def test_merges_at_even_sizes_that_are_no_powers_of_two(name: str, width: int) -> None:
    kind, capacity, options, _ = CASES[name]
    (ids, mask), base = batch(), llama(width)
    with attached(base, kind, ("q", "v"), capacity=capacity, settings=options) as model:
        disturb(model)
        with model.evaluating():
            wanted = model(ids, mask).logits
        with merged(model) as whole:
            assert torch.allclose(whole(input_ids=ids, attention_mask=mask).logits, wanted, rtol=0, atol=1e-10)


# -------------------------------------------------------------------------------------------------------- adapter position


def adapter_reference(base: nn.Module, model: AdaptedModel, dense: Dense) -> Reference:
    """A second base with `h + gelu(M h) + bias` behind the outputs of attention and feed-forward."""
    current: dict[str, Tensor] = {}

    def adapter(h: Tensor, index: int) -> Tensor:
        return h + nn.functional.gelu(h @ dense(current, index).T) + current["bias"][index]

    for index, site in enumerate(model.method.sites):
        base.get_submodule(site.path).register_forward_hook(lambda _, inputs, output, n=index: adapter(output, n))

    def logits(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        current.update(parameters)
        output: Tensor = base(input_ids=ids, attention_mask=mask).logits
        return output

    return logits


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("base", "roles"), [("micro-llama", ["o", "down"]), ("micro-bert", ["o", "fc2"])])
def test_adapters_train_like_the_dense_matrix(name: str, base: str, roles: list[str]) -> None:
    kind, capacity, options, dense = CASES[name]
    dense = kronecker_map(1.0) if kind is KRONECKER else dense
    with attached(micro(base), kind, ("q",), capacity=capacity, settings={**options, "position": "adapter"}) as model:
        assert [site.role for site in model.method.sites] == roles * 2
        assert_trains_like(model, adapter_reference(micro(base), model, dense))


@pytest.mark.parametrize("name", CASES)
def test_adapters_start_at_the_base_and_do_not_merge(name: str) -> None:
    kind, capacity, options, _ = CASES[name]
    ids, mask = batch()
    with attached(micro(), kind, (), capacity=capacity, settings={**options, "position": "adapter"}) as model:
        with model.evaluating():
            assert torch.allclose(model(ids, mask).logits, micro()(input_ids=ids, attention_mask=mask).logits, rtol=0, atol=1e-12)
        with pytest.raises(NotApplicableError, match=f"{kind.card.name} cannot be merged: position: adapter"), merged(model):
            pass


@pytest.mark.parametrize("position", ["lora", "adapter"])
def test_dropout_acts_on_what_the_map_reads(position: str) -> None:
    ids, mask = batch()
    with attached(micro(), CIRCULANT, ("q",), capacity={}, settings={"position": position}, dropout=0.5) as model:
        disturb(model)
        first, second = model(ids, mask).logits, model(ids, mask).logits
        with model.evaluating():
            third, fourth = model(ids, mask).logits, model(ids, mask).logits
    assert not torch.allclose(first, second)
    assert torch.equal(third, fourth)


class TestTheSuiteUnderOtherSettings(MethodSuite):
    @pytest.fixture(params=["circulant", "general", "kronecker", "ldr", "learned"])
    def case(self, request: pytest.FixtureRequest) -> MethodCase:
        if request.param == "learned":
            return MethodCase("surm_circulant", settings={"trainable_alpha": True})
        kind, capacity, options, _ = CASES[request.param]
        return MethodCase(kind, capacity, {**options, "position": "adapter"})


# ------------------------------------------------------------------------------------------------------ transforms, oracles


def copy_into(parameter: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values)


def peft_logits_and_gradient(model: Any, parameter: Tensor) -> tuple[Tensor, Tensor]:
    ids, mask = batch()
    logits: Tensor = model(input_ids=ids, attention_mask=mask).logits
    return logits.detach(), torch.autograd.grad(logits.square().sum(), parameter)[0]


def test_circulant_is_c3a_of_one_block() -> None:
    """C3A's kernel is the first row, times in_features; it is fp32 throughout."""
    ids, mask = batch()
    with attached(micro(), CIRCULANT, ("q",), capacity={}, settings={}) as model:
        disturb(model)
        method: Any = model.method
        other: Any = peft.get_peft_model(micro(), peft.C3AConfig(block_size=16, target_modules=["q_proj"]))
        backwards = -torch.arange(16) % 16
        for n, site in enumerate(method.sites):
            kernel = other.base_model.model.get_submodule(site.path).c3a_kernel["default"]
            copy_into(kernel, (16 * (method.vector_a[n] * method.vector_b[n])[backwards])[None, None])
        first = other.base_model.model.get_submodule(method.sites[0].path).c3a_kernel["default"]
        wanted, gradient = peft_logits_and_gradient(other, first)
        logits = model(ids, mask).logits
        logits.square().sum().backward()
        assert torch.allclose(logits, wanted, rtol=0, atol=1e-4)
        ours = method.vector_b.grad[0] / method.vector_a[0]
        assert torch.allclose(ours, 16 * gradient[0, 0][backwards].double(), rtol=1e-4, atol=1e-2)


def test_kronecker_is_lokr_with_whole_factors() -> None:
    ids, mask = batch()
    with attached(micro(), KRONECKER, ("q",), capacity={"rank": 4}, settings={}) as model:
        disturb(model)
        method: Any = model.method
        config = peft.LoKrConfig(r=100, alpha=100, target_modules=["q_proj"], decompose_factor=4)
        other: Any = peft.get_peft_model(micro(), config).double()
        for n, site in enumerate(method.sites):
            layer = other.base_model.model.get_submodule(site.path)
            copy_into(layer.lokr_w1["default"], method.factor_b["4x4"][n] / 4)
            copy_into(layer.lokr_w2["default"], method.factor_a["4x4"][n])
        second = other.base_model.model.get_submodule(method.sites[0].path).lokr_w2["default"]
        wanted, gradient = peft_logits_and_gradient(other, second)
        logits = model(ids, mask).logits
        logits.square().sum().backward()
        assert torch.allclose(logits, wanted, rtol=0, atol=1e-9)
        assert torch.allclose(method.factor_a["4x4"].grad[0], gradient, rtol=0, atol=1e-7)


def test_terms_bound_the_displacement_rank() -> None:
    """Z_1 M - M Z_{-1}, with Z_f the shift down that brings f times the last element to the front."""
    shift = torch.eye(16, dtype=torch.float64).roll(1, 0)
    negated = shift.clone()
    negated[0, -1] = -1
    for rank in (1, 2, 5):
        with attached(micro(), LDR, ("q",), capacity={"rank": rank}, settings={}) as model, model.evaluating():
            disturb(model)
            model.method.prepare()
            update = model.method.weight(model.method.sites[0])
        assert int(torch.linalg.matrix_rank(shift @ update - update @ negated, rtol=1e-9)) == rank


# ---------------------------------------------------------------------------------------------------------- starts, counts


@pytest.mark.parametrize(
    ("name", "drawn", "deviation"), [("circulant", "vector_a", 1.0), ("symmetric", "vector_a", 0.02), ("ldr", "skew_circulant", 0.02)]
)
def test_starts_as_published(name: str, drawn: str, deviation: float) -> None:
    kind, capacity, options, _ = CASES[name]
    for position, expected in (("lora", deviation), ("adapter", 0.02)):
        with attached(llama(256), kind, (), capacity=capacity, settings={**options, "position": position}) as model:
            parameters = dict(model.method.named_parameters())
            assert float(parameters[drawn].detach().std()) == pytest.approx(expected, rel=0.15)
            assert not any(bool(p.any()) for n, p in parameters.items() if n != drawn)


def test_kronecker_starts_as_published() -> None:
    with attached(llama(256), KRONECKER, (), capacity={"rank": 4}, settings={}) as model:
        assert 0.11 < float(model.method.factor_a["4x64"].detach().abs().max()) <= 1 / 8
        assert not model.method.factor_b["64x4"].any()


@pytest.mark.parametrize(
    ("method", "capacity", "targets", "options", "trainable"),
    [
        ("surm_circulant", {}, ("q", "v"), {}, 36_864),
        ("surm_circulant", {}, ("q", "k", "v"), {}, 55_296),
        ("surm_kronecker", {"rank": 32}, ("q", "k", "v"), {}, 55_296),
        ("surm_toeplitz", {}, ("q", "v"), {"variant": "symmetric"}, 24 * 2 * 768),
        ("surm_toeplitz", {}, ("q", "v"), {"variant": "skew"}, 24 * 2 * 767),
        ("surm_toeplitz", {}, ("q", "v"), {"variant": "general"}, 24 * 2 * 1535),
        ("surm_ldr", {"rank": 3}, ("q", "v"), {}, 24 * 2 * 3 * 768),
        ("surm_ldr", {"rank": 3}, ("q", "v"), {"trainable_alpha": True}, 24 * 3 * (2 * 768 + 1)),
        ("surm_circulant", {}, ("q", "v"), {"trainable_alpha": True}, 24 * (2 * 768 + 1)),
        *((f"surm_{name}", {}, (), {"position": "adapter"}, 55_296) for name in ("circulant", "toeplitz")),
        ("surm_kronecker", {"rank": 24}, (), {"position": "adapter"}, 55_296),
        ("surm_ldr", {"rank": 1}, (), {"position": "adapter"}, 55_296),
    ],
)
def test_counts(method: str, capacity: Any, targets: tuple[str, ...], options: Any, trainable: int) -> None:
    assert count_on(ModelRef(id="roberta-base"), method, targets, capacity, options).counts.peak == trainable


# ---------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", [name for name in CASES if name != "kronecker"])
def test_matrices_that_are_not_square_are_refused_with_those_that_are(name: str) -> None:
    kind, capacity, options, _ = CASES[name]
    message = r"is defined for square matrices; .*v_proj is 8 x 16. Fix: targets: \[q, o\], or position: adapter"
    with pytest.raises(NotApplicableError, match=message):
        with attached(llama(16, 4, 2), kind, ("q", "v"), capacity=capacity, settings=options):
            pass
    with attached(llama(16, 4, 2), kind, ("q", "v"), capacity=capacity, settings={**options, "position": "adapter"}) as model:
        assert {site.role for site in model.method.sites} == {"o", "down"}


@pytest.mark.parametrize("rank", [0, -1, 3, 32, True, 2.0, "2"])
def test_ranks_that_do_not_divide_the_sides_are_refused(rank: Any) -> None:
    with pytest.raises(CapacityError, match=r"surm_kronecker: rank .* must divide the sides of all maps. Valid: 1, 2, 4, 8$") as caught:
        with attached(llama(16, 4, 2), KRONECKER, ("q", "v"), capacity={"rank": rank}, settings={}):
            pass
    assert caught.value.valid == [1, 2, 4, 8]


@pytest.mark.parametrize("rank", [0, 17, True, 2.0])
def test_bad_numbers_of_terms_are_refused(rank: Any) -> None:
    with pytest.raises(CapacityError, match="surm_ldr: rank .* is not valid. Valid: a whole number from 1 to 16"):
        with attached(micro(), LDR, ("q",), capacity={"rank": rank}, settings={}):
            pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainable_alpha": True, "position": "adapter"}, "trainable_alpha true is not valid with position: adapter. Valid: false"),
        ({"variant": "block"}, "variant 'block' is not valid. Valid: 'circulant', 'skew_circulant'"),
        ({"position": "prefix"}, "position 'prefix' is not valid. Valid: 'lora', 'adapter'"),
        ({"trainable_alpha": 1}, "trainable_alpha 1 is not valid. Valid: False, True"),
    ],
)
def test_bad_settings_are_refused(options: Any, message: str) -> None:
    with pytest.raises(CapacityError, match=message), attached(micro(), CIRCULANT, ("q",), capacity={}, settings=options):
        pass
