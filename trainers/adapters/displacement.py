"""The product with a sum of circulant times skew-circulant matrices, in memory that does not grow with the number of terms.

Shapes: T rows, m terms, n size, F frequencies (cyclic), G frequencies (negacyclic).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.adapters.convolution import Cyclic, Negacyclic

CACHED = 2**18
"""Elements (of all terms) that a CPU works on at once, so that what stands between two transforms stays in its cache."""
RESIDENT = 2**26
"""The same for other devices, where it bounds memory only."""


class DisplacementProduct(torch.autograd.Function):
    """`Σ_t C_t S_t x` in pieces of rows; the backward pass works out again what stands between C_t and S_t instead of keeping it.

    Takes x (..., n), the spectra of C (m, F) and of S (m, G), and their transforms. The spectra's gradients are those of
    `trainers.adapters.convolution.Transform`.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, circulant: Tensor, skew: Tensor, cyclic: Cyclic, negacyclic: Negacyclic) -> Tensor:
        """Return the product (..., n)."""
        context.save_for_backward(x, circulant, skew)
        context.cyclic, context.negacyclic = cyclic, negacyclic
        product = torch.empty_like(x, memory_format=torch.contiguous_format)
        for x_Tn, product_Tn in _pieces(len(skew), x, product):
            between_TmF = _between(negacyclic.analyse(x_Tn).unsqueeze(1), skew, cyclic, negacyclic)
            product_Tn.copy_(cyclic.synthesise(between_TmF.mul_(circulant).sum(1)))
        return product

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Return the gradients of x and of both spectra."""
        x, circulant, skew = context.saved_tensors
        cyclic, negacyclic = context.cyclic, context.negacyclic
        of_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        of_circulant, of_skew = torch.zeros_like(circulant), torch.zeros_like(skew)
        from_circulant, from_skew = circulant.conj().resolve_conj(), skew.conj().resolve_conj()
        for x_Tn, gradient_Tn, of_x_Tn in _pieces(len(skew), x, gradient, of_x):
            x_T1G, gradient_T1F = negacyclic.analyse(x_Tn).unsqueeze(1), cyclic.analyse(gradient_Tn).unsqueeze(1)
            between_TmF = _between(x_T1G, skew, cyclic, negacyclic)
            of_circulant += between_TmF.mul_(gradient_T1F.conj().resolve_conj()).sum(0)
            back_TmG = negacyclic.analyse(cyclic.synthesise(gradient_T1F * from_circulant))
            of_skew += (back_TmG * x_T1G.conj().resolve_conj()).sum(0)
            of_x_Tn.copy_(negacyclic.synthesise(back_TmG.mul_(from_skew).sum(1)))
        return of_x, of_circulant.conj(), of_skew, None, None


def _between(x_T1G: Tensor, skew: Tensor, cyclic: Cyclic, negacyclic: Negacyclic) -> Tensor:
    """Return the cyclic spectrum (T, m, F) of every `S_t x`."""
    return cyclic.analyse(negacyclic.synthesise(x_T1G * skew))


def _pieces(terms: int, *tensors: Tensor) -> Any:
    """Return the rows of tensors (..., n) in pieces that fit together."""
    size = tensors[0].shape[-1]
    rows = max(1, (CACHED if tensors[0].device.type == "cpu" else RESIDENT) // (terms * size))
    return zip(*(tensor.reshape(-1, size).split(rows) for tensor in tensors), strict=True)
