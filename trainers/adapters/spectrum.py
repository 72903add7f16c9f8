"""Leading singular triplets of base weights, computed once per weight: kept in the process and in files that processes share.

Shapes: i in_features, o out_features, r rank.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from trainers.locations import cache_root

log = logging.getLogger(__name__)

FORMAT = "2"
"""Part of the files' names; changes with the algorithm."""
EXACT_SIDE = 1024
"""Largest smaller side that is decomposed exactly: half a second on one core."""
FILE_SIDE = 128
"""Smallest smaller side whose decomposition takes longer than reading a file."""
LEAST_RANK = 64
"""Decompositions are computed and kept at this rank at least, and at powers of two above it, so that most ranks share one."""
ITERATIONS = 10


@dataclass(frozen=True)
class Spectrum:
    """`W ≈ left diag(values) right`: the largest singular values, descending, with their vectors, on CPU.

    The largest entry, by absolute value, of every left vector is positive.
    """

    left_or: Tensor
    values_r: Tensor
    right_ri: Tensor

    def leading(self, rank: int) -> Spectrum:
        """Return the first `rank` triplets."""
        return Spectrum(self.left_or[:, :rank], self.values_r[:rank], self.right_ri[:rank])


_known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""(state of the weight, its spectra by the rank they were computed at) by weight."""


def leading_spectrum(weight_oi: Tensor, rank: int) -> Spectrum:
    """Return the `rank` leading singular triplets of a weight, in fp32 (fp64 of a weight in fp64).

    A smaller side up to 1024 is decomposed exactly; above that by ten subspace iterations on twice the rank (Halko et al. 2011,
    arXiv 0909.4061, algorithm 4.4) from a fixed start, the same on every device. The result depends on weight and rank alone, not on what
    was asked before. A weight that was changed in place is decomposed again, unless the change went through `.data`, which torch does not
    record.
    """
    # A conversion of the whole model keeps the parameter and exchanges its memory.
    state = (weight_oi._version, weight_oi.data_ptr(), weight_oi.dtype)
    seen, known = _known.get(weight_oi, (None, {}))
    if seen != state:
        known = {}
        _known[weight_oi] = (state, known)
    kept = _kept_rank(rank, min(weight_oi.shape))
    if kept not in known:
        known[kept] = _stored(weight_oi.detach(), kept)
    spectrum: Spectrum = known[kept]
    return spectrum.leading(rank)


def _kept_rank(rank: int, side: int) -> int:
    return min(side, max(LEAST_RANK, 1 << (rank - 1).bit_length()))


def _stored(weight_oi: Tensor, rank: int) -> Spectrum:
    """Return the spectrum from its file where there is one, else computed and written."""
    if min(weight_oi.shape) < FILE_SIDE:
        return _decomposed(weight_oi, rank)
    path = cache_root() / "spectra" / f"{_digest(weight_oi)}-{rank}.safetensors"
    spectrum = _read(path)
    if spectrum is None:
        spectrum = _decomposed(weight_oi, rank)
        _write(path, spectrum)
    return spectrum


def _decomposed(weight_oi: Tensor, rank: int) -> Spectrum:
    matrix_oi = weight_oi.to(torch.promote_types(weight_oi.dtype, torch.float32))
    side = min(matrix_oi.shape)
    if side <= EXACT_SIDE or 2 * rank >= side:
        left, values, right = torch.linalg.svd(matrix_oi, full_matrices=False)
    else:
        left, values, right = _iterated(matrix_oi, 2 * rank)
    left, values, right = left[:, :rank], values[:rank], right[:rank]
    signs = torch.where(left.gather(0, left.abs().argmax(0, keepdim=True)) < 0, -1, 1)
    return Spectrum(*(t.cpu().contiguous() for t in (left * signs, values, right * signs.T)))


def _iterated(matrix_oi: Tensor, sketch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return approximate leading triplets, as many as the sketch has columns."""
    # Drawn on CPU: every device has random numbers of its own.
    start_is = torch.randn(matrix_oi.shape[1], sketch, generator=torch.Generator().manual_seed(0))
    basis_os = torch.linalg.qr(matrix_oi @ start_is.to(matrix_oi))[0]
    for _ in range(ITERATIONS):
        basis_is = torch.linalg.qr(matrix_oi.T @ basis_os)[0]
        basis_os = torch.linalg.qr(matrix_oi @ basis_is)[0]
    left_ss, values, right = torch.linalg.svd(basis_os.T @ matrix_oi, full_matrices=False)
    return basis_os @ left_ss, values, right


def _digest(weight_oi: Tensor) -> str:
    content = hashlib.sha256(f"{FORMAT} {weight_oi.dtype} {tuple(weight_oi.shape)}".encode())
    content.update(weight_oi.cpu().contiguous().view(torch.uint8).numpy().data)
    return content.hexdigest()[:32]


def _read(path: Path) -> Spectrum | None:
    try:
        return Spectrum(**load_file(path))
    except (FileNotFoundError, SafetensorError, TypeError, OSError):
        # Missing or damaged: it is computed and written anew.
        return None


def _write(path: Path, spectrum: Spectrum) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(vars(spectrum), draft)
        os.replace(draft, path)
    except (OSError, SafetensorError) as error:
        # The trial itself is fine: the next one computes it again.
        log.warning("cannot keep a decomposition in %s: %s. Fix: free space there, or move the cache by FAIRSWEEP_CACHE", path, error)
        with contextlib.suppress(OSError):
            draft.unlink()
