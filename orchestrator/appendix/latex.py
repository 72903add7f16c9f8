"""An appendix as LaTeX."""

from __future__ import annotations

from orchestrator.appendix.blocks import Appendix, Block, BoardTable, Commands, Items, Paragraph, Picture, Section, Table
from orchestrator.appendix.markdown import FIGURES
from orchestrator.leaderboard.export.document import document
from orchestrator.leaderboard.export.latex import body as board_body
from orchestrator.leaderboard.export.tabular import PACKAGES, Tabular
from orchestrator.leaderboard.export.tex import breakable, escape

WIDTH_MM = 165.0
"""Of the text."""
_LETTER_MM, _GAP_MM = 1.65, 4.3
"""A letter at the size of the tables, and what lies between two columns."""
_NARROW = 18
"""Letters of a column that is not broken."""
_FLOATS = 10
"""Figures after which LaTeX is made to place them: it keeps no more than a few dozen waiting."""
_LIST = r"\begin{list}{$\bullet$}{\leftmargin=1.4em\itemsep=1pt\parsep=0pt\topsep=3pt\raggedright}"

_FIGURE = r"""\providecommand\fairsweepfigure[1]{%
  \setbox0\hbox{\includegraphics{#1}}%
  \ifdim\wd0>\linewidth\includegraphics[width=\linewidth,height=0.85\textheight,keepaspectratio]{#1}%
  \else\ifdim\ht0>0.85\textheight\includegraphics[height=0.85\textheight]{#1}\else\leavevmode\box0\fi\fi}"""
"""Shows a figure at its own size, unless it is too large for the page."""


def latex(appendix: Appendix) -> str:
    """Return the appendix as a file that pdfLaTeX compiles, and that a paper can take in with `input`: the certificate first."""
    parts = [_FIGURE, _paragraph(f"{appendix.verdict}.", strong=not appendix.ok), rf"\section*{{{escape(appendix.title)}}}"]
    for section in appendix.sections:
        parts += _section(section)
    return document(appendix.verdict, (*PACKAGES, "graphicx"), "\n\n".join(parts))


def _section(section: Section) -> list[str]:
    parts = [rf"\subsection*{{{escape(section.title)}}}"]
    figures = 0
    for block in section.blocks:
        parts.append(_block(block))
        figures += isinstance(block, Picture)
        if isinstance(block, Picture) and figures % _FLOATS == 0:
            parts.append(r"\clearpage")
    return [*parts, r"\clearpage"] if figures else parts


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, strong):
            return _paragraph(text, strong)
        case Items(texts):
            return "\n".join([_LIST, *(rf"\item {breakable(text)}" for text in texts), r"\end{list}"])
        case Table():
            return _table(block)
        case Commands(lines):
            return "\n".join([r"\begin{flushleft}\ttfamily\small", *(rf"{escape(line)}\\" for line in lines), r"\end{flushleft}"])
        case BoardTable(board):
            return board_body(board)
        case Picture(drawing):
            file = rf"\fairsweepfigure{{{FIGURES}/{drawing.name}.pdf}}"
            return "\n".join([r"\begin{figure}[!htbp]\centering", file, rf"\caption{{{breakable(drawing.caption)}}}", r"\end{figure}"])


def _paragraph(text: str, strong: bool) -> str:
    shown = rf"\textbf{{{breakable(text)}}}" if strong else breakable(text)
    return rf"\par\medskip\noindent {shown}\par"


def _table(table: Table) -> str:
    align = _alignment(table)
    rows = [
        [breakable(cell) if kind.startswith(">") else escape(cell) for cell, kind in zip(row, align, strict=True)] for row in table.rows
    ]
    header = [breakable(name) if kind.startswith(">") else escape(name) for name, kind in zip(table.header, align, strict=True)]
    return Tabular(align, header, rows, escape(table.caption), size="footnotesize").longtable()


def _alignment(table: Table) -> list[str]:
    """Return how the columns are set: short ones as they are, long ones broken, in what the others leave of the width."""
    columns = list(zip(table.header, *table.rows, strict=True))
    letters = [max(map(len, column)) for column in columns]
    # Only the head of a column of numbers is long: it is broken at its words.
    wanted = [max(map(len, " ".join(c).split())) if n in table.numbers else letters[n] for n, c in enumerate(columns)]
    wide = [n for n, count in enumerate(letters) if count > _NARROW]
    taken = sum(_LETTER_MM * count for n, count in enumerate(letters) if n not in wide) + _GAP_MM * len(letters)
    left = max(WIDTH_MM - taken, 20.0 * len(wide))
    shares = {n: min(wanted[n], 120) ** 0.5 for n in wide}
    widths = {n: min(left * share / sum(shares.values()), _LETTER_MM * (wanted[n] + 1)) for n, share in shares.items()}
    return [_column(n in table.numbers, widths.get(n)) for n in range(len(letters))]


def _column(number: bool, width: float | None) -> str:
    if width is None:
        return "r" if number else "l"
    return rf">{{\{'raggedleft' if number else 'raggedright'}\arraybackslash}}p{{{width:.1f}mm}}"
