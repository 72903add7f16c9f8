"""Low-rank updates of equal shapes, of several lanes in one product.

A lane that is alone gets a neighbour of zeros: a product of one matrix takes other kernels than a product of several, which round
differently, and a trial's numbers must not depend on who is beside it.

Shapes: L lanes, N tokens of a lane (rows times positions), i in_features, o out_features, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainers.adapters.adaptation import AdapterDropout

_NEIGHBOUR = (0, 0, 0, 0, 0, 1)
"""Padding of a tensor (1, n, m) to (2, n, m)."""


def updated(x_LNi: Tensor, pairs: Sequence[tuple[Tensor, Tensor]], y_LNo: Tensor, *, overwrite: bool = False) -> Tensor:
    """Return `y + x A^T B^T` of every lane, (L, N, o).

    Args:
        x_LNi: inputs of the adapters.
        pairs: A (r, i) and B (o, r) of every lane, scaling included.
        y_LNo: outputs of the base.
        overwrite: whether `y` may be written to, which saves a pass over it.
    """
    a_Lri, b_Lor = torch.stack([a_ri for a_ri, _ in pairs]), torch.stack([b_or for _, b_or in pairs])
    if len(pairs) == 1:
        x_LNi, a_Lri = pad(x_LNi, _NEIGHBOUR), pad(a_Lri, _NEIGHBOUR)
    return _added(torch.bmm(x_LNi, a_Lri.mT), b_Lor, y_LNo, overwrite)


def decoded(codes: Sequence[tuple[Tensor, Tensor]], y_LNo: Tensor, *, overwrite: bool = False) -> Tensor:
    """Return `y + code B^T` of every lane, (L, N, o).

    Args:
        codes: the code (..., r), N of them, and B (o, r) of every lane.
        y_LNo: outputs of the base.
        overwrite: whether `y` may be written to.
    """
    code_LNr = torch.stack([code_BTr.flatten(0, -2) for code_BTr, _ in codes])
    b_Lor = torch.stack([b_or for _, b_or in codes])
    if len(codes) == 1:
        code_LNr = pad(code_LNr, _NEIGHBOUR)
    return _added(code_LNr, b_Lor, y_LNo, overwrite)


def _added(code_LNr: Tensor, b_Lor: Tensor, y_LNo: Tensor, overwrite: bool) -> Tensor:
    """Return `y + code B^T`, in the wider dtype of the two; the code may have one lane more, a neighbour."""
    lanes = len(b_Lor)
    if len(code_LNr) > lanes:
        b_Lor, y_LNo = pad(b_Lor, _NEIGHBOUR), pad(y_LNo, _NEIGHBOUR)
    if y_LNo.dtype != code_LNr.dtype:
        return (y_LNo + torch.bmm(code_LNr, b_Lor.mT))[:lanes]
    if overwrite and len(y_LNo) == lanes:
        return y_LNo.baddbmm_(code_LNr, b_Lor.mT)
    return torch.baddbmm(y_LNo, code_LNr, b_Lor.mT)[:lanes]


def dropped_out(x_LBTi: Tensor, dropouts: Sequence[AdapterDropout | None]) -> Tensor:
    """Return inputs (L, B, T, i) with each lane's dropout, drawn from its own generator as it is drawn alone."""
    acting = [d is not None and d.training and d.probability > 0 for d in dropouts]
    if not any(acting):
        return x_LBTi
    mask_LBTi = torch.empty_like(x_LBTi)
    for mask_BTi, dropout, acts in zip(mask_LBTi, dropouts, acting, strict=True):
        if acts and dropout is not None:
            keep = 1 - dropout.probability
            mask_BTi.bernoulli_(keep, generator=dropout.generator).div_(keep)
        else:
            mask_BTi.fill_(1)
    return x_LBTi * mask_LBTi
