"""What tuners of HF PEFT store whose construction needs the base's weights: for counting without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Kind = Literal["trained", "frozen", "index"]
Parts = list[tuple[str, int, Kind]]
"""(HF PEFT's name, number of values, whether they are trained, stored but frozen, or stored indices)"""
Sides = Sequence[tuple[int, int]]
"""(in_features, out_features) of each adapted matrix; in_features counts a bias as one more."""


def adamss(options: Mapping[str, Any], sides: Sides) -> Parts:
    """A (k, r) for each of K subspaces, B (o, k), and the frozen basis (r, i); a subspace of fewer than k rows has less."""
    rank, spaces, width = options["subspace_rank"], options["num_subspaces"], options["r"]
    basis = [min(width, i, o) for i, o in sides]
    return [
        ("adamss_A", sum(min(spaces, o) * rank * r for (_, o), r in zip(sides, basis, strict=True)), "trained"),
        ("adamss_B", sum(o * rank for _, o in sides), "trained"),
        ("adamss_newB", sum(i * r for (i, _), r in zip(sides, basis, strict=True)), "frozen"),
    ]


def frod(options: Mapping[str, Any], sides: Sides) -> Parts:
    """λ_l (i) and the non-zero off-diagonal values of the sparse rotation."""
    rotations = sum(max(1, min(int(i * i * options["sparse_rate"]), i * i - i)) for i, _ in sides)
    return [("frod_lambda_l", sum(i for i, _ in sides), "trained"), ("frod_lambda_s_values", rotations, "trained")]


def shira(options: Mapping[str, Any], sides: Sides) -> Parts:
    """The trained values of a sparse matrix, and two indices for each."""
    values = sum(options["r"] * (i + o) for i, o in sides)
    return [("shira_weight", values, "trained"), ("shira_indices", 2 * values, "index")]


def unilora(options: Mapping[str, Any], sides: Sides) -> Parts:
    """One vector for the whole model."""
    return [("unilora_theta_d", options["theta_d_length"], "trained")]
