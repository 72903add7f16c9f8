"""An appendix as Markdown."""

from __future__ import annotations

from orchestrator.appendix.blocks import Appendix, Block, BoardTable, Commands, Items, Paragraph, Picture, Section, Table
from orchestrator.leaderboard.render import markdown as board_text
from orchestrator.leaderboard.render import markdown_line

FIGURES = "figures"
"""Folder of the figures, beside the appendix."""


def markdown(appendix: Appendix) -> str:
    """Return the appendix as Markdown: the certificate first."""
    verdict = markdown_line(appendix.verdict)
    parts = [verdict if appendix.ok else f"**{verdict}**", f"# {markdown_line(appendix.title)}"]
    for section in appendix.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    return [f"## {markdown_line(section.title)}", *map(_block, section.blocks)]


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, strong):
            return f"**{markdown_line(text)}**" if strong else markdown_line(text)
        case Items(texts):
            return "\n".join(f"- {markdown_line(text)}" for text in texts)
        case Table():
            return _table(block)
        case Commands(lines):
            return "\n".join(["```sh", *lines, "```"])
        case BoardTable(board):
            # Its first line, the certificate, is that of the appendix.
            return board_text(board).partition("\n\n")[2].strip()
        case Picture(drawing):
            caption = markdown_line(drawing.caption)
            return f"![{caption.partition('. ')[0]}]({FIGURES}/{drawing.name}.svg)\n\n{caption}"


def _table(table: Table) -> str:
    rule = ["---:" if number in table.numbers else "---" for number in range(len(table.header))]
    lines = [[markdown_line(cell) for cell in line] for line in (table.header, *table.rows)]
    grid = "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))
    return f"{markdown_line(table.caption)}:\n\n{grid}"
