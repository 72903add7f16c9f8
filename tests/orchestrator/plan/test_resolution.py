"""Names and capacities that cannot be: all of them together with the file's other faults, under their key paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan import Plan, load_plan, make_plan
from search_spaces.errors import SpecError
from search_spaces.loading import load_spec

PlanOf = Callable[..., Plan]


def faults_of(plan_of: PlanOf, *overrides: str) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        plan_of(*overrides)
    found: dict[str, str] = {}
    for fault in caught.value.faults:
        found[fault.path] = f"{found.get(fault.path, '')}{fault.message} {fault.fix}"
    return found


@pytest.mark.parametrize(
    ("override", "path", "words"),
    [
        ("methods.thinn={}", "methods.thinn", "unknown method 'thinn'. Did you mean 'thin'?"),
        ("methods.x={method: plian}", "methods.x.method", "Did you mean 'plain'?"),
        ("methods.thin.rnk=3", "methods.thin.rnk", "thin has no key 'rnk'. Did you mean 'rank'?"),
        ("methods.plain.rank=3", "methods.plain.rank", "plain has no key 'rank'"),
        ("methods.thin={}", "methods.thin.rank", "is missing; the capacity of thin is given by rank"),
        ("methods.thin.rank=null", "methods.thin.rank", "null is not a capacity"),
        ("methods.thin.rank=[2, 65]", "methods.thin.rank", "rank=65 on tiny: rank 65 is larger than the matrix of 64 x 64"),
        ("methods.thin.rank=four", "methods.thin.rank", "rank=four on tiny"),
        ("methods.double={rank: 65, blocks: [1, 2]}", "methods.double.rank", "larger than the matrix"),
        ("methods.thin.shape=square", "methods.thin.shape", "'square' is not valid. Valid: 'round', 'flat'."),
        ("methods.thin.depth=deep", "methods.thin.depth", "'deep' is not valid. Valid: a whole number, such as 1"),
        ("methods.copy={method: thin, rank: [4, 8]}", "methods.copy", "copy (rank=4) is the same as 'thin' there"),
        ("tasks=[readng]", "tasks", "unknown task 'readng'. Did you mean 'reading'?"),
        ("models=[tny]", "models", "unknown model 'tny'. Did you mean 'tiny'?"),
        ("model=tny", "model", "unknown model 'tny'. Did you mean 'tiny'?"),
        ("model=org/absent", "model", "org/absent is not in the cache"),
        ("models=[tiny, twin]", "models", "'twin' and 'tiny' are the same model"),
        ("data.source=nowhere", "data.source", "nowhere has no folder reading"),
        ("tasks={reading: {data: {source: nowhere}}}", "tasks.reading", "nowhere has no folder reading"),
        ("targets=[q, gate]", "targets", "unknown role 'gate'. Valid: k, o, q, v."),
        ("targets={tiny: [gate], wide: [q]}", "targets.tiny", "unknown role 'gate'"),
    ],
)
def test_a_fault_names_path_value_and_remedy(plan_of: PlanOf, override: str, path: str, words: str) -> None:
    faults = faults_of(plan_of, override)
    assert path in faults
    assert words in faults[path]


def test_names_are_checked_beside_the_files_other_faults(plan_of: PlanOf) -> None:
    faults = faults_of(
        plan_of,
        "methods.thin.rnk=3",
        "methods.thin.alpha=3",
        "methods.plain.learning_rate=1",
        "methods.plane={dropout: 1}",
        "tasks=[readng, counting]",
        "models=[{id: tny, dtype: int8}]",
        "grid.learning_rate=[]",
        "halving={reduction: 1}",
        "training.steps=0",
    )
    assert set(faults) == {
        "methods.thin.rnk",
        "methods.thin.alpha",
        "methods.plain.learning_rate",
        "methods.plane.dropout",
        "methods.plane",
        "tasks",
        "models.0.dtype",
        "models",
        "grid.learning_rate",
        "training.steps",
        "halving.reduction",
    }


def test_a_key_that_the_file_gets_wrong_is_not_also_reported_as_missing(plan_of: PlanOf) -> None:
    assert faults_of(plan_of, "methods.thin.rank=[]") == {
        "methods.thin.rank": "the list is empty list at least one value, or remove the key"
    }


def test_a_fault_of_every_method_is_reported_once(plan_of: PlanOf) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of("targets=[gate]")
    assert len(caught.value.faults) == 1


def test_a_spec_that_was_read_already_is_checked_too(sweep_file: Path, catalog: Any) -> None:
    spec = load_spec(sweep_file, ["methods.nope={}"])
    with pytest.raises(SpecError, match="small: 1 fault\n  methods.nope: unknown method 'nope'"):
        make_plan(spec, catalog)


def test_the_error_names_the_file(sweep_file: Path, catalog: Any) -> None:
    with pytest.raises(SpecError) as caught:
        load_plan(sweep_file, catalog, ["methods.nope={}"])
    assert str(caught.value).startswith(f"{sweep_file}: 1 fault\n")


def test_settings_count_as_different_methods(plan_of: PlanOf, catalog: Any) -> None:
    plan_of("models=[tiny]")
    assert {(method, settings) for _, method, _, settings in catalog.counted} == {
        ("thin", ()),
        ("thin", ("shape",)),
        ("plain", ()),
    }
