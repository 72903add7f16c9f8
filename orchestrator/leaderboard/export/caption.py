"""What the caption of a board says: the certificate first, then how to read the figures."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.board_columns import NAME_LENGTH
from orchestrator.leaderboard.export.tex import clipped, escape
from orchestrator.leaderboard.row import Row
from search_spaces.trial import BASE


def caption(board: Board, rows: Sequence[Row], part: tuple[int, int] | None = None) -> str:
    """Return the caption of the rows of one base model, as LaTeX.

    Args:
        part: which part it is, of how many; None for a table in one piece.
    """
    sentences = [escape(f"{board.verdict()}.")]
    if not board.certificate.ok:
        sentences[0] = rf"\textbf{{{sentences[0]}}}"
        sentences.append("The order of the rows is no ranking of a fair comparison.")
    sentences.append(
        escape(f"Sweep {board.sweep} with {clipped(rows[0].model, NAME_LENGTH)}{f', part {part[0]} of {part[1]}' if part else ''}.")
    )
    if part and part[0] > 1:
        return " ".join([*sentences, "Read as part 1."])
    sentences.append(rf"Scores are means over the report seeds{_seeds(rows)}, in \%; the best of each column in bold.")
    sentences.append(_spread(rows))
    if any(row.rank_interval for row in rows):
        sentences.append("Ranks: with the places that the simultaneous tests leave open.")
    sentences.append(_ties(board, rows))
    return " ".join(sentence for sentence in sentences if sentence)


def _seeds(rows: Sequence[Row]) -> str:
    numbers = {task.seeds for row in rows if row.method != BASE for task in row.tasks.values()}
    return f" ({min(numbers)})" if len(numbers) == 1 else ""


def _spread(rows: Sequence[Row]) -> str:
    scores = [score for row in rows for task in row.tasks.values() for score in task.metrics.values()]
    found = []
    if any(score.ci for score in scores):
        found.append(
            r"in brackets, the 95\,\% confidence interval, given the selected grid point (of the untuned model: over test examples only)"
        )
    if any(score.std is not None and not score.ci for score in scores):
        found.append(r"$\pm$, where there is no interval, the standard deviation over the seeds")
    return f"Lowered: {'; '.join(found)}." if found else "There is neither an interval nor a spread of one seed."


def _ties(board: Board, rows: Sequence[Row]) -> str:
    if not any(row.tie_letters for row in rows):
        return ""
    families = [family for family in board.analysis.families if family.model == rows[0].model and family.budget is None]
    resamples = f", {families[0].resamples:,} resamples" if families else ""
    test = rf"step-down max-$t$ over all pairs, 5\,\%{resamples}"
    return f"Raised: rows that share a letter are not told apart ({test}); letters are no groups."
