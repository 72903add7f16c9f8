"""What every benchmark must have, found by looking into each; none is run."""

from __future__ import annotations

import importlib
import sys

import pytest

from tests.benchmarks.discovery import FOLDER, Benchmark, benchmarks
from tests.benchmarks.frame import Target

ALL = benchmarks()
MINUTES = 20


def test_all_together_stay_within_twenty_minutes() -> None:
    budgets = {benchmark.name: benchmark.budget_seconds for benchmark in ALL}
    assert sum(budgets.values()) <= 60 * MINUTES, budgets


def test_what_uses_the_frame_is_found() -> None:
    using = {file.stem for file in FOLDER.glob("*.py") if "finish(" in file.read_text() and not file.stem.startswith("test_")}
    assert using - {"frame"} == {benchmark.name for benchmark in ALL}


@pytest.mark.parametrize("benchmark_module", ALL, ids=lambda benchmark: benchmark.name)
def test_it_states_targets_and_takes_the_common_options(
    benchmark_module: Benchmark, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(benchmark_module.module)
    assert module.TARGETS
    assert all(isinstance(target, Target) for target in module.TARGETS.values())
    assert any(target.value is not None for target in module.TARGETS.values())
    monkeypatch.setattr(sys, "argv", [benchmark_module.name, "--json", "--device", "cuda", "--quick", "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert {"--json", "--device", "--quick"} <= set(capsys.readouterr().out.replace("[", " ").replace("]", " ").split())
    monkeypatch.setattr(sys, "argv", [benchmark_module.name, "--device", "abacus"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    assert "invalid choice: 'abacus'" in capsys.readouterr().err
