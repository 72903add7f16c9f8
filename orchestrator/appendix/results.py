"""The sections on the results: the board, every metric, the comparisons, the training."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.appendix.blocks import Block, BoardTable, Items, Paragraph, Picture, Section, Table
from orchestrator.appendix.source import Source
from orchestrator.appendix.words import interval, number, percent
from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import Family
from orchestrator.leaderboard.export.figures.files import figures_of
from orchestrator.leaderboard.row import Row

_PAIRS = 120
"""Pairs of a family that are listed."""
_STATISTICS = (
    "Seeds and test examples are crossed: every seed is scored on the same examples. Intervals of means come from two-way variance "
    "components (seed, example) with Satterthwaite's degrees of freedom, those of F1, MCC and correlations from a studentised crossed "
    "bootstrap in which the metric is computed anew of each draw; examples that share a passage are drawn together. Below three seeds "
    "what is trained has no interval; that of the untuned model is over test examples only. Intervals are conditional on the selected "
    "grid point: they do not cover what another selection would have given."
)
_COMPARED = (
    "Examples are paired between the rows, seeds are not. All pairs of a family are tested together by step-down max-t over joint draws, "
    "p = (k + 1) / (resamples + 1); their intervals hold simultaneously."
)


def leaderboard(source: Source) -> Section:
    """The board and its figures."""
    pictures = [Picture(drawing) for drawing in figures_of(source.board)]
    return Section("Leaderboard", [BoardTable(source.board), *pictures])


def metrics(source: Source) -> Section:
    """Every metric of every task, the main one of which ranks."""
    lines = [line for row in source.board.rows for line in _metric_lines(row)]
    header = ["row", "model", "task", "metric", "mean %", "95 % interval", "std over seeds", "seeds finished"]
    caption = "Test scores in every metric; the main metric of a task ranks"
    table = Table(caption, header, lines, frozenset({4, 5, 6, 7}))
    return Section("Scores in every metric", [Paragraph(_STATISTICS), table] if lines else [])


def comparisons(source: Source) -> Section:
    """The pairwise tests of the families over all tasks, and how many there are of the others."""
    families = source.board.analysis.families
    chief = [family for family in families if family.task is None and family.budget is None]
    others = [family for family in families if family not in chief]
    blocks: list[Block] = [block for family in chief for block in _family(family)]
    if others:
        blocks.append(Paragraph(f"{len(others)} further families (tasks, parameter budgets) are in the JSON of the leaderboard."))
    return Section("Comparisons", [Paragraph(_COMPARED), *blocks] if blocks else [])


def learning(source: Source) -> Section:
    """How the rows trained, which is no result."""
    rows = [
        [entry.row, entry.model, entry.task, number(entry.train_loss), percent(entry.target), number(entry.steps_to_target)]
        for entry in source.board.analysis.learning
    ]
    header = ["row", "model", "task", "last training loss", "target, selection %", "steps to the target"]
    note = "Means over the report seeds. The target of a task is the lowest of the best selection scores of its rows, so that all reach it."
    table = Table("Training, which says nothing of generalisation", header, rows, frozenset({3, 4, 5}))
    return Section("Training", [Paragraph(note), table] if rows else [])


def _metric_lines(row: Row) -> Iterator[list[str]]:
    for task, score in row.tasks.items():
        seeds = f"{score.finished}/{score.seeds}"
        for metric, value in score.metrics.items():
            name = f"{metric} (main)" if metric == score.main else metric
            yield [
                row_name(row.method, row.capacity),
                row.model,
                task,
                name,
                percent(value.mean),
                interval(value.ci),
                percent(value.std),
                seeds,
            ]
        if not score.metrics:
            yield [row_name(row.method, row.capacity), row.model, task, f"{score.main} (main)", "missing", "-", "-", seeds]


def _family(family: Family) -> Iterator[Block]:
    rows = [
        [pair.a, pair.b, f"{100 * pair.difference:+.1f}", interval(pair.ci), number(pair.p), pair.verdict] for pair in family.pairs[:_PAIRS]
    ]
    caption = (
        f"{family.name}: difference a - b in points; non-inferior within {percent(family.margin)} points; {family.resamples:,} resamples"
    )
    if len(family.pairs) > _PAIRS:
        caption += f"; the first {_PAIRS} of {len(family.pairs)} pairs, the JSON has all"
    if rows:
        yield Table(caption, ["a", "b", "a - b", "simultaneous 95 % interval", "adjusted p", "a against b"], rows, frozenset({2, 3, 4}))
    if family.left_out:
        yield Items([f"{row} could not be compared: {reason}" for row, reason in family.left_out.items()])
