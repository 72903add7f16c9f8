"""The table of what was published and not run here."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.leaderboard.analysis import Reference
from orchestrator.leaderboard.export.board_columns import ABSENT, NAME_LENGTH
from orchestrator.leaderboard.export.tabular import Tabular, stacked
from orchestrator.leaderboard.export.tex import breakable, clipped, escape

CAPTION = (
    r"Published, not run here, and never ranked: other code, data or budgets may stand behind these figures. In \%; in brackets, where "
)
CAPTION += r"the number of test examples is known: binomial 95\,\% interval."
_SOURCE_LENGTH = 120


def reference_table(references: Sequence[Reference], label: str) -> Tabular:
    """Return the references as a table, one line each."""
    header = ["method", "model", "task", "metric", "score", "", stacked("trainable", "parameters"), "source"]
    align = ["l", "l", "l", "l", "r@{}", "l", "r", r">{\raggedright\arraybackslash}p{42mm}"]
    return Tabular(align, header, [_row(reference) for reference in references], CAPTION, label, "footnotesize")


def _row(reference: Reference) -> list[str]:
    names = [escape(clipped(text, NAME_LENGTH // 2)) for text in (reference.method, reference.model, reference.task, reference.metric)]
    interval = rf"\textsubscript{{[{100 * reference.ci[0]:.1f}, {100 * reference.ci[1]:.1f}]}}" if reference.ci else ""
    size = f"{reference.trainable:,}" if reference.trainable is not None else ABSENT
    source = breakable(clipped("; ".join((reference.source, *reference.notes)), _SOURCE_LENGTH))
    return [*names, f"{100 * reference.score:.1f}", interval, size, source]
