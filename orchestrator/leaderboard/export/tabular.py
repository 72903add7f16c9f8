r"""Tables of LaTeX: booktabs rules, in a float where they fit on a page, as a longtable where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PACKAGES = ("array", "booktabs", "longtable")
"""What the tables need."""
PAGE_ROWS = 40
"""Rows from which on a table may be broken over pages."""


@dataclass(frozen=True)
class Tabular:
    r"""A table whose parts are LaTeX already.

    Attributes:
        align: one letter per column, or `p{...}`.
        header: cells of the head.
        rows: cells of the rows; an empty row is a rule.
        caption: stands above.
        label: for \ref.
        size: LaTeX's command for the size of the letters.
        below: stands under the last row.
    """

    align: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    label: str = ""
    size: str = "small"
    below: str = ""

    @property
    def long(self) -> bool:
        """Whether the table may need more than a page."""
        return len(self.rows) > PAGE_ROWS

    def tex(self) -> str:
        """Return the table."""
        return self.longtable() if self.long else self._table()

    def _table(self) -> str:
        lines = [
            r"\begin{table}[!htbp]",
            r"\centering",
            rf"\{self.size}",
            self._caption() + r"\vspace{4pt}",
            rf"\begin{{tabular}}{{{self._columns()}}}",
            r"\toprule",
            _row(self.header),
            r"\midrule",
            *map(_row, self.rows),
            r"\bottomrule",
            r"\end{tabular}",
            *([r"\par\vspace{4pt}\begin{minipage}{\linewidth}", self.below, r"\end{minipage}"] if self.below else []),
            r"\end{table}",
        ]
        return "\n".join(lines)

    def longtable(self) -> str:
        """Return the table so that it may be broken over pages."""
        head = [r"\toprule", _row(self.header), r"\midrule"]
        again = rf"\multicolumn{{{len(self.header)}}}{{@{{}}l@{{}}}}{{\emph{{continued}}}}\\"
        lines = [
            rf"\begingroup\{self.size}\setlength\LTcapwidth{{\linewidth}}",
            rf"\begin{{longtable}}{{{self._columns()}}}",
            self._caption() + r"\\[2pt]",
            *head,
            r"\endfirsthead",
            again,
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endlastfoot",
            *map(_row, self.rows),
            r"\end{longtable}",
            r"\endgroup",
            self.below,
        ]
        return "\n".join(lines)

    def _columns(self) -> str:
        return "@{}" + "".join(self.align) + "@{}"

    def _caption(self) -> str:
        return rf"\caption{{{self.caption}}}" + (rf"\label{{{self.label}}}" if self.label else "")


def stacked(*lines: str) -> str:
    """Return the head of a column in several lines."""
    if len(lines) < 2:
        return lines[0]
    text = r"\\".join(lines)
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{text}\end{{tabular}}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\" if cells else r"\midrule"
