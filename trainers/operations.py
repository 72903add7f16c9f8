"""Counts the arithmetic of a training step: torch's flop counter, with formulas for what it does not see.

A flop is one multiplication or addition of real numbers. A MAC is one multiplication, with the addition that follows it where there is
one. Counted are, with n elements in the output:

- matrix products, convolutions and attention by torch's formulas, two flops per MAC; in-place products too, which torch passes over;
- element-wise products, n flops and n MACs; with `addcmul` n additions more. A product with one complex operand takes 2 multiplications,
  with two 4 and 2 additions; a complex matrix product four times the MACs of a real one;
- Fourier transforms of length m, 5 m log2 m flops per complex and half of it per real transform, of which two fifths are multiplications
  (radix 2: a butterfly has 4 and 6 additions; Cooley & Tukey 1965, doi 10.1090/S0025-5718-1965-0178586-1).

Left out, as torch leaves them out: additions on their own, divisions, powers, norms, softmax, activation functions, decompositions of
matrices, and what a fused kernel does beside its matrix product. The base's share is therefore the same whichever way a method hooks in.

Published profiles often count a forward pass alone. The 272 GFLOPs and 136 GMACs of LLaMA2-7B on COPA, batches of 1 (Hounie et al. 2024,
arXiv 2410.04060), fit 2 flops for each of 6.6e9 weights and 20 tokens: `forward_flops` compares with such figures, `flops` does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count, shape_wrapper

Phase = Literal["forward", "backward", "update"]
Formula = Callable[..., Any]

_aten = torch.ops.aten
# Autograd has threads of its own on a GPU, so this is no thread's variable.
_phases: list[Phase] = ["forward"]


@contextmanager
def during(phase: Phase) -> Iterator[None]:
    """Say what is going on: only the operations of forward and backward passes are counted."""
    _phases.append(phase)
    try:
        yield
    finally:
        _phases.pop()


@dataclass(frozen=True)
class Operations:
    """What a step computes.

    Attributes:
        flops: multiplications and additions of real numbers.
        macs: multiplications of real numbers.
        forward_flops: those of `flops` that are part of a forward pass.
    """

    flops: int = 0
    macs: int = 0
    forward_flops: int = 0


class OperationCounter(TorchDispatchMode):
    """A `with` block in which operations are counted.

    torch's `FlopCounterMode` asks at each operation in which module it runs, which takes several times as long and is of no use here.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counts: dict[Phase, list[int]] = {"forward": [0, 0], "backward": [0, 0], "update": [0, 0]}

    def total(self) -> Operations:
        """Return the operations of the block; its end need not have been reached."""
        forward, backward = self._counts["forward"], self._counts["backward"]
        return Operations(flops=forward[0] + backward[0], macs=forward[1] + backward[1], forward_flops=forward[0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run an operation, or what it consists of, and count it."""
        options = kwargs or {}
        if _is_composite(func):
            with self:
                return func.decompose(*args, **options)
        out = func(*args, **options)
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            count = self._counts[_phases[-1]]
            flops, macs = formula(*args, out_val=out, **options)
            count[0] += flops
            count[1] += macs
        return out


@cache
def _is_composite(func: Any) -> bool:
    """Tell whether an operation is made of others; autograd takes it apart, so that it is met only where there are no gradients."""
    return bool(func._can_decompose())


def _product(real_flops: Formula) -> Formula:
    """Make a formula of one for sums of products of real numbers."""

    def count(*args: Any, **kwargs: Any) -> tuple[int, int]:
        flops = int(real_flops(*args, **kwargs)) * (4 if any(map(_is_complex, args)) else 1)
        return flops, flops // 2

    return count


def _elementwise(accumulates: bool) -> Formula:
    """Make the formula of a product of the last two operands, element by element, which may be added to something."""

    def count(*args: Any, out_val: Tensor, **_: Any) -> tuple[int, int]:
        if not (out_val.is_floating_point() or out_val.is_complex()):
            return 0, 0
        multiplications, additions = ((1, 0), (2, 0), (4, 2))[sum(map(_is_complex, args[-2:]))]
        if accumulates:
            additions += 2 if out_val.is_complex() else 1
        return out_val.numel() * (multiplications + additions), out_val.numel() * multiplications

    return count


def _fourier(per_element: float, real_side: Literal["input", "output"]) -> Formula:
    """Make the formula `per_element m log2 m` of a transform; the length of a real one is that of its real side."""

    def count(x: Tensor, axes: Sequence[int], *_: Any, out_val: Tensor, **__: Any) -> tuple[int, int]:
        signal = x if real_side == "input" else out_val
        length = math.prod(signal.shape[axis] for axis in axes)
        flops = per_element * signal.numel() * math.log2(max(1, length))
        return round(flops), round(flops * 2 / 5)

    return count


def _is_complex(operand: Any) -> bool:
    return operand.is_complex() if isinstance(operand, Tensor) else isinstance(operand, complex)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


def _matrix_vector_flops(*args: Any, **_: Any) -> int:
    """Return the flops of a product whose last two operands are a matrix, or a vector, and a vector."""
    return 2 * int(args[-2].numel())


_ELSEWHERE: dict[Any, Formula] = {
    _aten.addmm_: flop_registry[_aten.addmm],
    _aten._addmm_activation: flop_registry[_aten.addmm],
    _aten.baddbmm_: flop_registry[_aten.baddbmm],
    _aten.addbmm: flop_registry[_aten.baddbmm],
    _aten.addbmm_: flop_registry[_aten.baddbmm],
    **dict.fromkeys((_aten.mv, _aten.addmv, _aten.addmv_, _aten.dot, _aten.vdot), _matrix_vector_flops),
    # torch has the formulas, but only for the kernels of a GPU.
    _aten._scaled_dot_product_flash_attention_for_cpu: shape_wrapper(_attention_flops),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: shape_wrapper(_attention_backward_flops),
}
"""Sums of products that torch's counter passes over."""

FORMULAS: dict[Any, Formula] = {
    **{packet: _product(flops) for packet, flops in (flop_registry | _ELSEWHERE).items()},
    **dict.fromkeys((_aten.mul, _aten.mul_), _elementwise(accumulates=False)),
    **dict.fromkeys((_aten.addcmul, _aten.addcmul_, _aten.addr, _aten.addr_), _elementwise(accumulates=True)),
    _aten._fft_c2c: _fourier(5, "input"),
    _aten._fft_r2c: _fourier(2.5, "input"),
    _aten._fft_c2r: _fourier(2.5, "output"),
}
