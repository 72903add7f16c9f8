"""The board and the audit of a sweep by parameter budget, from what MLflow holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.audit import audit
from orchestrator.leaderboard.board import board_of


@pytest.fixture
def budgeted(sweep_of: Callable[..., Any], sweep_text: str) -> Any:
    """`thin` has 1,000 parameters per rank: 5 ranks for 5,200, which is within the tolerance, and 7 for 7,900, which is not."""
    text = sweep_text.replace("thin: {rank: [2, 4]}", "thin: {}") + "budgets: {counts: [500, 5_200, 7_900]}\n"
    return sweep_of(text)


def test_rows_carry_their_marks(budgeted: Any) -> None:
    rows = {(row.method, tuple(row.capacity.items())): row for row in board_of(budgeted.recorded()).rows}
    assert rows["thin", (("rank", 5),)].marks == ()
    assert rows["thin", (("rank", 7),)].marks == ("F2 off its budget: 7,000 is 11.4% below 7,900",)
    assert rows["plain", ()].marks == ("F2 off its budget: 1,000 is 80.8% below 5,200",)
    refused = rows["thin", (("budget", 500),)]
    assert refused.trainable is None and refused.rank is None
    assert refused.marks == ("not applicable: the budget of 500 is below the smallest size; rank=1 trains 1,000, 2.0 times 500",)


def test_the_audit_measures_the_distance_again(budgeted: Any) -> None:
    certificate = audit(budgeted.recorded())
    assert certificate.ok
    assert certificate.marks() == budgeted.plan.certificate.marks()
    budgeted.change(budgeted.find("select", "thin", rank=5), counts={"peak": 2_000, "stored": 10, "head": 3})
    assert "2,000 is 61.5% below 5,200" in audit(budgeted.recorded()).marks()["thin (rank=5) on tiny"][0]
