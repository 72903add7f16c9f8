"""Random draws during training."""

from __future__ import annotations

import torch


def derived_generator(generator: torch.Generator) -> torch.Generator:
    """Return a generator of its own, seeded by the next draw of `generator`.

    Its draws depend on the trial's seed alone: they are the same on every worker, and no other random stream moves them.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.Generator().manual_seed(seed)
