"""Short names of base models, for files and labels."""

from __future__ import annotations

import re

from orchestrator.leaderboard.board import Board


def model_slugs(board: Board) -> dict[str, str]:
    """Return a name for each base model of a board that no other has: its number, and what of the last part of its name may be used."""
    models = dict.fromkeys(row.model for row in board.rows)
    return {model: f"{number}-{slug(model)}".strip("-") for number, model in enumerate(models, start=1)}


def slug(name: str) -> str:
    """Return what of a name the name of a file or a label may hold; a path or a hub id gives its last part."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().rstrip("/").rpartition("/")[2]).strip("-.")[:40]
