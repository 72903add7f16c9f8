"""pdfLaTeX compiles what is printed: whatever it says, alone and inside a paper."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.latex import latex
from tests.services.required import required

pytestmark = pytest.mark.services

PAPER = r"""\documentclass[%s]{article}
\usepackage{array,booktabs,longtable}
\begin{document}
Before.
\input{board}
\input{board}
After, see Table~\ref{tab:small-1-tiny}.
\end{document}
"""


def compiled(folder: Path, name: str) -> str:
    """Compile a file twice, so that references are found; return the log."""
    required(shutil.which("pdflatex") is not None, "pdflatex is not installed. Fix: apt-get install texlive-latex-recommended")
    # Without the fonts that are drawn on demand: a paper's PDF must not hold bitmaps.
    environment = {**os.environ, "MKTEXPK": "0", "MKTEXTFM": "0"}
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", name]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode("latin-1")[-3000:]
    return (folder / name).with_suffix(".log").read_text(encoding="latin-1")


def test_a_board_compiles_alone_and_fits_the_page(board: Board, wide: Callable[[Board, int], Board], tmp_path: Path) -> None:
    (tmp_path / "board.tex").write_text(latex(board))
    (tmp_path / "wide.tex").write_text(latex(wide(board, 12)))
    for name in ("board.tex", "wide.tex"):
        log = compiled(tmp_path, name)
        assert "Overfull" not in log and "Output written" in log


def test_hostile_texts_compile(hostile: Board, tmp_path: Path) -> None:
    (tmp_path / "board.tex").write_text(latex(hostile))
    (tmp_path / "long.tex").write_text(latex(replace(hostile, rows=hostile.rows * 10)))
    for name in ("board.tex", "long.tex"):
        log = compiled(tmp_path, name)
        assert "Missing character" not in log and "/etc/passwd" not in log.partition("LaTeX2e")[2]


def test_a_paper_takes_the_board_in(board: Board, tmp_path: Path) -> None:
    (tmp_path / "board.tex").write_text(latex(board))
    for options in ("11pt", "twoside"):
        (tmp_path / "paper.tex").write_text(PAPER % options)
        log = compiled(tmp_path, "paper.tex")
        assert "undefined" not in log.replace("undefined on input", "") and "Output written" in log


def test_every_sign_has_a_font(tmp_path: Path) -> None:
    from orchestrator.leaderboard.export.tex import escape

    signs = [chr(code) for code in (*range(0x20, 0x250), *range(0x370, 0x400), *range(0x2010, 0x2040), *range(0x2190, 0x2270))]
    body = "\n".join(rf"\noindent x{escape(sign)}x\par" for sign in signs)
    (tmp_path / "signs.tex").write_text(rf"\documentclass{{article}}\begin{{document}}{body}\end{{document}}")
    log = compiled(tmp_path, "signs.tex")
    assert "Missing character" not in log and "Output written" in log
