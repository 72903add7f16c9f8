from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks.discovery import Benchmark

DOCUMENT = '{"benchmark": "good", "figures": [], "missed": ["f"], "details": {}}'
CONTENT = {
    "good": f"print('Ray says hello')\nprint('''{DOCUMENT}''')",
    "passing": "import json, sys\nprint(json.dumps({'benchmark': 'passing', 'figures': [], 'missed': [], 'details': sys.argv[1:]}))",
    "broken": "raise ValueError('no such model')",
    "silent": "",
    "slow": "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "open(sys.argv[0] + '.child', 'w').write(str(child.pid))\n"
    "time.sleep(600)",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in CONTENT.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def ran(monkeypatch: pytest.MonkeyPatch, *arguments: str, budget: float = 60.0) -> int:
    found = [Benchmark(name, name, budget) for name in sorted(CONTENT)]
    monkeypatch.setattr(command, "benchmarks", lambda: found)
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    return command.main()


def test_one_document_holds_those_that_were_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, "good", "passing", "--json", "--device", "cuda", "--quick") == 0
    out, err = capsys.readouterr()
    documents = json.loads(out)["benchmarks"]
    assert [document["benchmark"] for document in documents] == ["good", "passing"]
    assert documents[1]["details"] == ["--json", "--device", "cuda", "--quick"]
    assert "[2/2] passing: about 60 s" in err
    assert "1 targets missed" in err


def test_a_failing_benchmark_is_shown_and_the_others_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, "broken", "good", "silent") == 1
    out, err = capsys.readouterr()
    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert "broken FAILED ended with status 1" in shown
    assert "silent FAILED printed no JSON document" in shown
    assert "ValueError: no such model" in err
    assert "failed: broken, silent" in err


def test_one_that_takes_too_long_is_ended_with_what_it_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, "slow", "--patience", "1", budget=2.0) == 1
    assert "took longer than 2 s" in capsys.readouterr().out
    child = int((folder / "slow.py.child").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the benchmark's child is still there"
        time.sleep(0.05)


def test_an_unknown_name_is_refused_with_the_valid_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"no such benchmark: packin\. Valid: broken, good"):
        ran(monkeypatch, "packin")
