"""What a worker alone does with its gradients, against DeepSpeed's own functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainers.clipping import clip_gradients, fill_gradients
from trainers.group import alone, library


def parameters(seed: int, dtype: torch.dtype) -> list[nn.Parameter]:
    """Return parameters of several shapes with gradients of several sizes, one of them without."""
    draw = torch.Generator().manual_seed(seed)
    found = [nn.Parameter(torch.zeros(3 + 7 * n, 5 + seed, dtype=dtype)) for n in range(1 + seed % 6)]
    for parameter in found:
        parameter.grad = torch.randn(parameter.shape, generator=draw, dtype=dtype) * 10.0 ** (seed % 5 - 3)
    return [*found, nn.Parameter(torch.zeros(4, dtype=dtype))]


def gradients(of: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in of if parameter.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(10))
def test_gradients_are_clipped_to_the_bits_that_deepspeed_gives(seed: int, dtype: torch.dtype) -> None:
    alone()
    library()
    from deepspeed.runtime.utils import clip_grad_norm_

    theirs, mine = parameters(seed, dtype), parameters(seed, dtype)
    clip_grad_norm_(theirs, 1.0)
    clip_gradients(mine, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(gradients(mine), gradients(theirs), strict=True))


def test_nothing_is_clipped_where_nothing_has_a_gradient() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    clip_gradients([parameter], 1.0)
    assert parameter.grad is None


def test_only_what_is_trained_in_this_step_is_given_zeros() -> None:
    missing, frozen, given = (nn.Parameter(torch.ones(2)) for _ in range(3))
    frozen.requires_grad_(False)
    given.grad = torch.ones(2)
    fill_gradients([missing, frozen, given])
    assert missing.grad is not None and not missing.grad.any()
    assert frozen.grad is None
    assert given.grad.equal(torch.ones(2))
