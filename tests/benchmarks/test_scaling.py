from __future__ import annotations

import pytest

from orchestrator.catalog import InstalledCatalog
from orchestrator.plan import Plan, load_plan
from tests.benchmarks.frame import ROOT
from tests.benchmarks.makespan import Stage, makespan
from tests.benchmarks.scaling import A100, HALVING, LLAMA2_7B, STUDY, Costs, hours, report_stages, select_stages, tables


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(STUDY, InstalledCatalog())


def halved_throughput(kind: str, count: int) -> float:
    return 1 + 0.5 * (count - 1)


def test_trials_of_unequal_length_are_dealt_in_order() -> None:
    assert makespan([Stage("a", (3.0, 1.0, 1.0, 1.0))], gpus=2) == pytest.approx(3.0)
    assert makespan([Stage("a", (1.0, 1.0, 1.0, 3.0))], gpus=2) == pytest.approx(4.0)


def test_lanes_share_a_gpu_at_the_joint_throughput() -> None:
    assert makespan([Stage("a", (6.0, 6.0))], gpus=1, lanes=2, gain=halved_throughput) == pytest.approx(8.0)
    # The first 4.5 s advance both by 3.375 s; the one that is left then has the GPU to itself.
    assert makespan([Stage("a", (3.375, 6.0))], gpus=1, lanes=2, gain=halved_throughput) == pytest.approx(4.5 + 6.0 - 3.375)


def test_the_next_rung_waits_for_the_last_trial_of_this_one() -> None:
    halved = Stage("a", (1.0, 2.0, 1.0), Stage("a", (5.0,)))
    assert makespan([halved], gpus=3) == pytest.approx(7.0)
    assert makespan([halved, Stage("b", (4.0,))], gpus=1) == pytest.approx(13.0)
    assert makespan([halved, Stage("b", (1.0,))], gpus=2) == pytest.approx(7.0), "the survivor does not wait for what has not started"


def test_operations_are_those_of_the_published_profile() -> None:
    # 272 GFLOPs of a forward pass of LLaMA2-7B on COPA (Hounie et al. 2024, arXiv 2410.04060) are 20 tokens and a little.
    assert LLAMA2_7B.forward_flops(rows=1, tokens=20) == pytest.approx(272e9, rel=0.05)


def test_the_stages_hold_the_trials_of_the_plan(plan: Plan) -> None:
    costs = Costs(plan, A100)
    full = plan.spec.seeds, len([cell for cell in plan.cells if cell.label == "full"])
    left_out = full[1] * len(plan.factory.points)
    assert sum(len(stage.seconds) for stage in select_stages(costs, None)) == len(plan.trials) - left_out
    assert sum(len(stage.seconds) for stage in report_stages(costs)) == (len(plan.cells) - full[1]) * len(plan.spec.seeds.report)


def test_halving_trains_the_survivors_to_the_end(plan: Plan) -> None:
    chains = [[len(stage.seconds) for stage in first.chain()] for first in select_stages(Costs(plan, A100), HALVING)]
    assert {tuple(chain) for chain in chains} == {(14, 4, 1), (14, 4)}


def test_more_gpus_and_fewer_steps_never_take_longer(plan: Plan) -> None:
    costs = Costs(plan, A100)
    spans = [hours(costs, gpus, packing=False, halving=halving) for halving in (False, True) for gpus in (1, 8, 64)]
    assert spans[0] > spans[1] > spans[2]
    assert spans[3] < spans[0]
    assert spans[5] < spans[2]
    assert spans[2] >= spans[0] / 64


def test_packing_gains_where_passes_are_small(plan: Plan) -> None:
    costs = Costs(plan, A100)
    assert costs.gain("copa", 8) > 2 > costs.gain("drop", 8) >= 1


def test_the_document_holds_the_tables_as_computed() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for name, table in tables().items():
        assert f"<!-- {name} -->\n{table}<!-- end -->" in text, f"docs/scaling.md: table {name}: run python -m tests.benchmarks.scaling"
