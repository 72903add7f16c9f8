"""A sweep that stops on the edge of its grid, as its user sees it: real Ray, real MLflow, a micro model."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow

EDGES = ("--set", "grid.learning_rate=[1.0e-4, 1.0e-3, 1.0e-2]", "--set", "training.steps=4")
BEYOND = {"low": 1e-5, "high": 1e-1}


def test_a_sweep_stops_goes_on_with_a_wider_grid_and_marks_what_was_accepted(workplace: Any) -> None:
    stopped = workplace.run("run", "sweep.yaml", "--json", *EDGES)
    assert stopped.returncode == 1, stopped.stderr
    assert "stopped before the report phase" in stopped.stderr and "fairsweep extend micro" in stopped.stderr
    document = json.loads(stopped.stdout)
    ends = {edge["end"] for edge in document["stopped_at"]}
    assert ends and (document["trials"], document["finished"]) == (7, 7)

    extended = workplace.json("extend", "micro", "--json")
    assert {step["end"]: step["value"] for step in extended["steps"]} == {end: BEYOND[end] for end in ends}

    again = workplace.json("run", extended["file"], "--accept-edge", "--json")
    trials = 11 + 2 * len(ends)
    assert again["skipped"] == 7 and again["finished"] == trials and not again["stopped_at"]
    rows = {row["method"]: row for row in again["leaderboard"]}
    chosen = {name: (row["tasks"]["squad"]["selected"] or {}).get("learning_rate") for name, row in rows.items()}
    outermost = {BEYOND[end] if end in ends else rate for end, rate in (("low", 1e-4), ("high", 1e-2))}
    on_edge = {name for name, rate in chosen.items() if rate in outermost}
    assert {name for name, row in rows.items() if any(mark.startswith("F9") for mark in row["marks"])} == on_edge

    assert workplace.json("run", extended["file"], "--json")["skipped"] == trials, "what is reported does not stop again"
    audited = workplace.json("audit", "micro", "--json")
    rule = next(rule for rule in audited["rules"] if rule["id"] == "F9")
    assert audited["ok"] and rule["evidence"]["extended"]["learning_rate"] == {end: int(end in ends) for end in BEYOND}
