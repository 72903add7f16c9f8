"""pdfLaTeX compiles an appendix, whatever its names say."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.appendix.folder import write_appendix
from orchestrator.appendix.source import Source
from tests.services.required import required

pytestmark = pytest.mark.services


def test_an_appendix_compiles(
    sweep: Any, source_of: Callable[..., Source], renamed: Callable[[Source, str], Source], tmp_path: Path
) -> None:
    required(shutil.which("pdflatex") is not None, "pdflatex is not installed. Fix: apt-get install texlive-latex-recommended")
    hostile = "\\end{document} $x_1$ 50% & {лора} 模型 é ~^#"
    sweep.change(sweep.find("report", "thin", rank=4, seed=2), status="error", error=f"{hostile} {'z' * 3000}")
    write_appendix(renamed(source_of(sweep), hostile), tmp_path / "out")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "appendix.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path / "out", env={**os.environ, "MKTEXPK": "0"}, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode("latin-1")[-3000:]
    log = (tmp_path / "out" / "appendix.log").read_text(encoding="latin-1")
    assert "Missing character" not in log and "File `figures" not in log
