"""The appendix of a sweep, section by section."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.appendix import conclusion, conduct, outcome, results, search
from orchestrator.appendix.blocks import Appendix, Section
from orchestrator.appendix.source import Source

SECTIONS: tuple[Callable[[Source], Section], ...] = (
    results.leaderboard,
    search.procedure,
    search.grid,
    search.methods,
    search.selected,
    search.sensitivity,
    conduct.data,
    conduct.budgets,
    conduct.seeds,
    conduct.environment,
    outcome.cost,
    outcome.failures,
    outcome.test_reads,
    results.metrics,
    results.comparisons,
    results.learning,
    conclusion.certificate,
    conclusion.reproduction,
)
"""In the order in which they appear."""


def appendix_of(source: Source) -> Appendix:
    """Return the appendix of a sweep; sections with nothing to say are left out."""
    sections = [make(source) for make in SECTIONS]
    board = source.board
    return Appendix(f"Appendix: {board.sweep}", board.verdict(), board.certificate.ok, [s for s in sections if s.blocks])
