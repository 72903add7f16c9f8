"""The folder of an appendix: whole or not at all, never over somebody's files, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.appendix.folder import MANIFEST, write_appendix
from orchestrator.appendix.source import Source
from orchestrator.cli import cli
from search_spaces.errors import StorageError


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_an_appendix_is_written_replaced_and_the_same(short: Source, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "appendix"
    names = write_appendix(short, out)
    first = contents(out)
    assert set(first) == set(names) and {"appendix.md", "appendix.tex", "leaderboard.json", "sweep.yaml", MANIFEST} < set(names)
    md = (out / "appendix.md").read_text()
    assert all(f"(figures/{Path(name).stem}.svg)" in md for name in names if name.endswith(".svg"))
    assert json.loads((out / "leaderboard.json").read_text())["verdict"] == short.board.verdict()
    assert (out / "sweep.yaml").read_text() == short.spec
    write_appendix(short, out)
    assert contents(out) == first
    assert [p.name for p in out.parent.iterdir()] == ["appendix"]
    assert str(tmp_path) not in md


@pytest.mark.parametrize("name", ["notes.txt", "figures/mine.svg"])
def test_a_folder_with_other_files_is_left_alone(short: Source, tmp_path: Path, name: str) -> None:
    out = tmp_path / "appendix"
    write_appendix(short, out)
    (out / name).write_text("mine")
    before = contents(out)
    with pytest.raises(StorageError, match="changed or added"):
        write_appendix(short, out)
    assert contents(out) == before


def test_what_was_written_by_hand_is_not_replaced(short: Source, tmp_path: Path) -> None:
    write_appendix(short, tmp_path / "a")
    (tmp_path / "a" / "appendix.md").write_text("edited by hand")
    with pytest.raises(StorageError, match=r"appendix\.md, which was changed"):
        write_appendix(short, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("years of work")
    (tmp_path / "c").write_text("a file")
    for name, reason in (("b", "holds no appendix"), ("c", "is no folder")):
        with pytest.raises(StorageError, match=reason):
            write_appendix(short, tmp_path / name)
    (tmp_path / "empty").mkdir()
    write_appendix(short, tmp_path / "empty")


def test_a_fault_leaves_what_was_there(short: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "appendix"
    write_appendix(short, out)
    before = contents(out)
    real = Path.rename

    def full(self: Path, target: Any) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_appendix(short, out)
    assert contents(out) == before and [p.name for p in tmp_path.iterdir()] == ["appendix"]


def test_the_commands_read_a_store_and_write_what_they_say(delivered: Any, uri: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "--tracking-uri", uri])

    out, tex, figures = tmp_path / "appendix", tmp_path / "board.tex", tmp_path / "figures"
    result = run("appendix", "small", "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert "start with appendix.md or appendix.tex" in result.stdout
    assert "| thin (rank=2) | tiny | reading |" in (out / "appendix.md").read_text() and (out / "sweep.yaml").is_file()
    refused = run("appendix", "smal", "--out", str(tmp_path / "other"))
    assert refused.exit_code == 2 and "Did you mean 'small'" in refused.stderr and not (tmp_path / "other").exists()

    result = run("leaderboard", "small", "--format", "latex", "--out", str(tex), "--figures", str(figures))
    assert result.exit_code == 0, result.stderr
    verdict = (out / "appendix.tex").read_text().splitlines()[0]
    assert tex.read_text().startswith(f"{verdict}\n")
    assert {p.name: p.read_bytes() for p in figures.iterdir()} == {p.name: p.read_bytes() for p in (out / "figures").iterdir()}
    refused = run("leaderboard", "small", "--out", str(tmp_path / "table"))
    assert refused.exit_code == 2 and "latex or html" in refused.stderr
