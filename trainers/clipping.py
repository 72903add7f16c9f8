"""What DeepSpeed does with the gradients of a worker alone before the optimiser's step, without what it tells other workers.

The norms and factors are those of `deepspeed.runtime.utils.clip_grad_norm_`, operation by operation, so that the numbers are the same to
the last bit; left out are the reductions over one worker, which cost as much as a small model's forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def fill_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give a gradient of zeros to parameters without one, unless they are left out: momentum and decay move them all the same."""
    for parameter in parameters:
        if parameter.requires_grad and parameter.grad is None and parameter.numel():
            parameter.grad = torch.zeros_like(parameter)


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> None:
    """Scale gradients so that their 2-norm, all of them taken as one vector, is at most `limit`."""
    gradients: list[Tensor] = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    norms = torch._foreach_norm([gradient.float() for gradient in gradients], 2.0)
    total = torch.stack(list(norms)).pow(2.0).sum().float().pow(0.5)
    factor = torch.tensor([limit], device=total.device) / (total + 1e-6)
    torch._foreach_mul_(gradients, torch.min(torch.tensor([1.0], device=total.device), factor)[0])
