from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish, in_process, interleaved, ratio_of, resources_of
from tests.benchmarks.table import markdown, show


@pytest.mark.parametrize(
    ("reached", "better", "met"),
    [(2.5, "higher", True), (2.4, "higher", False), (2.5, "lower", True), (2.6, "lower", False), (None, "higher", None)],
)
def test_a_figure_meets_its_target_from_the_better_side(reached: float | None, better: str, met: bool | None) -> None:
    assert Figure("f", reached, 2.5, better).met is met


def test_a_figure_without_a_target_neither_meets_nor_misses_one() -> None:
    assert Figure("f", 1.0).met is None


def test_json_is_one_document_with_sizes_and_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    parser = benchmark_parser("d")
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args(["--json", "--device", "cuda"])
    finish("b", options, [Target(2.0).reached("slow", 1.0), Target(2.0).reached("fast", 3.0)], {"rows": [1]})
    document = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (document["benchmark"], document["device"], document["sizes"]) == ("b", "cuda", {"trials": 8})
    assert document["missed"] == ["slow"]
    assert [figure["met"] for figure in document["figures"]] == [False, True]
    assert document["details"] == {"rows": [1]}


def test_the_device_becomes_the_resources_of_trials() -> None:
    parser = benchmark_parser("d")
    assert resources_of(parser.parse_args(["--device", "cuda"])) == {"gpus": 1}
    assert resources_of(parser.parse_args([])) == {"cpus": 1}


def test_the_table_marks_what_is_missed_failed_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    missed = Figure("time", 1.2, 1.0, "lower", "s", "note").document()
    documents = [
        {"benchmark": "a", "figures": [missed]},
        {"benchmark": "b", "figures": [], "failed": "took longer than 5 s"},
        {"benchmark": "c", "figures": [], "left_out": "PostgreSQL is not there"},
    ]
    show(documents)
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "a time at most 1 s 1.2 s MISSED note" in shown
    assert "b FAILED took longer than 5 s" in shown
    assert "c left out PostgreSQL is not there" in shown
    assert "| `a` | time | at most 1 s | **1.2 s, missed** | note |" in markdown(documents).splitlines()


def test_contenders_take_turns_in_alternating_order() -> None:
    order: list[str] = []
    ticks = iter(range(100))
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, clock=lambda: float(next(ticks)))
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_the_median_of_the_pairs() -> None:
    ratio = ratio_of({"old": [4.0, 6.0, 100.0], "new": [2.0, 2.0, 2.0]}, "old", "new")
    assert (ratio.median, ratio.pairs) == (3.0, 3)


def test_a_part_runs_in_a_process_of_its_own_and_tells_its_own_peak_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "holding.py").write_text(
        "import sys\nfrom tests.benchmarks.frame import finish_part\n"
        "held = bytearray(int(sys.argv[-1]))\nheld[::4096] = b'x' * len(held[::4096])\nfinish_part({'part': sys.argv[2]})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    small, large = (in_process("holding", "one", str(size)) for size in (1, 100_000_000))
    assert small["part"] == "one"
    assert 99e6 <= large["peak_bytes"] - small["peak_bytes"] <= 110e6
    assert small["peak_bytes"] < 100e6 < len(ballast), "a child's peak is its own, not that of the process that started it"


def test_a_part_that_fails_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="part one of failing ended with 3"):
        in_process("failing", "one")
