"""The products of several lanes against those of one lane after the other, and against those of a lane that is alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from trainers import registry
from trainers.adapters.adaptation import AdapterDropout
from trainers.packing.forms import form_of
from trainers.packing.grouped_products import decoded, dropped_out, updated

LANES = 8
SIZES = [(1, 16, 2, 16), (7, 16, 1, 32), (9, 64, 3, 16), (64, 64, 8, 64), (64, 576, 1, 192), (220, 576, 8, 576)]
"""Tokens, inputs, rank, outputs."""


def drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def lanes_of(tokens: int, i: int, r: int, o: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shapes = ((tokens, i), (r, i), (o, r), (tokens, o))
    x, a, b, y = (drawn(LANES, *shape, seed=seed, dtype=dtype) for seed, shape in enumerate(shapes))
    return x, a, b, y


def grouped(x: Tensor, a: Tensor, b: Tensor, y: Tensor, lanes: slice, overwrite: bool) -> Sequence[Tensor]:
    """Return the outputs of some lanes, and the gradients of inputs and factors."""
    x, a, b = (tensor[lanes].clone().requires_grad_() for tensor in (x, a, b))
    output = updated(x, list(zip(a.unbind(), b.unbind(), strict=True)), y[lanes].clone(), overwrite=overwrite)
    return output.detach(), *torch.autograd.grad(output, (x, a, b), torch.sin(y[lanes]))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_lane_has_the_same_bits_alone_and_in_company(sizes: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    tensors = lanes_of(*sizes, dtype)
    together = grouped(*tensors, slice(None), overwrite=True)
    for lanes in (slice(0, 1), slice(5, 6), slice(2, 5)):
        for overwrite in (True, False):
            fewer = grouped(*tensors, lanes, overwrite)
            assert all(torch.equal(whole[lanes], part) for whole, part in zip(together, fewer, strict=True))


@pytest.mark.parametrize("sizes", SIZES)
def test_a_group_gives_what_its_lanes_give(sizes: tuple[int, int, int, int]) -> None:
    x, a, b, y = lanes_of(*sizes, torch.float64)
    output, into_x, into_a, into_b = grouped(x, a, b, y, slice(None), overwrite=True)
    for lane in range(LANES):
        leaves = [tensor[lane].clone().requires_grad_() for tensor in (x, a, b)]
        wanted = y[lane] + leaves[0] @ leaves[1].T @ leaves[2].T
        gradients = torch.autograd.grad(wanted, leaves, torch.sin(y[lane]))
        given = (output[lane], into_x[lane], into_a[lane], into_b[lane])
        for mine, theirs in zip(given, (wanted.detach(), *gradients), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("blocks", [1, 3])
def test_codes_are_decoded_by_blocks(blocks: int) -> None:
    """A code (B, T, k, r) with a matrix (o / k, r) gives k blocks of output, side by side."""
    codes, matrices = drawn(LANES, 2, 5, blocks, 4, seed=1, dtype=torch.float64), drawn(LANES, 6, 4, seed=2, dtype=torch.float64)
    y = drawn(LANES, 2, 5, blocks * 6, seed=3, dtype=torch.float64)
    given = decoded(list(zip(codes, matrices, strict=True)), y.reshape(LANES, -1, 6)).view_as(y)
    for lane in range(LANES):
        wanted = y[lane] + (codes[lane] @ matrices[lane].T).flatten(-2)
        torch.testing.assert_close(given[lane], wanted, rtol=1e-12, atol=1e-12)
        alone = decoded([(codes[lane], matrices[lane])], y[lane].reshape(1, -1, 6)).view_as(y[lane])
        assert torch.equal(alone, given[lane])


def test_an_output_in_bf16_is_widened_before_the_update_is_added() -> None:
    x, a, b, y = lanes_of(7, 16, 2, 16, torch.float32)
    given = updated(x, list(zip(a, b, strict=True)), y.bfloat16(), overwrite=True)
    torch.testing.assert_close(given, y.bfloat16() + x @ a.mT @ b.mT)
    alone = updated(x[:1], [(a[0], b[0])], y[:1].bfloat16())
    assert torch.equal(alone, given[:1])


def dropouts() -> list[AdapterDropout | None]:
    """Return the dropout of lanes with different probabilities, one of them without any."""
    return [AdapterDropout(p, torch.Generator().manual_seed(n)) if p else None for n, p in enumerate((0.1, 0.0, 0.5))]


def test_dropout_draws_what_each_lane_draws_alone() -> None:
    x, together, apart = drawn(3, 2, 5, 16, seed=0), dropouts(), dropouts()
    for _ in range(2):
        given = dropped_out(x, together)
        wanted = [part if dropout is None else dropout(part) for part, dropout in zip(x, apart, strict=True)]
        assert torch.equal(given, torch.stack(wanted))


def test_nothing_is_dropped_in_evaluation() -> None:
    x = drawn(1, 2, 5, 16, seed=0)
    assert dropped_out(x, [AdapterDropout(0.5, torch.Generator()).eval()]) is x


def test_what_a_method_hands_over_follows_from_what_it_overrides() -> None:
    lora = registry.method_type("lora")

    class Scaled(lora):  # type: ignore[misc, valid-type]
        def factors(self, site: object) -> tuple[Tensor, Tensor]:
            a, b = super().factors(site)
            return a, 2 * b

    class Coded(lora):  # type: ignore[misc, valid-type]
        def code(self, x: Tensor, site: object) -> tuple[Tensor, Tensor]:
            code, b = super().code(x, site)
            return nn.functional.relu(code), b

    class Watched(lora):  # type: ignore[misc, valid-type]
        def transform(self, x: Tensor, y: Tensor, site: object) -> Tensor:
            return super().transform(x, y, site).tanh()

    assert [form_of(kind) for kind in (lora, Scaled, Coded, Watched)] == ["factors", "factors", "code", None]
