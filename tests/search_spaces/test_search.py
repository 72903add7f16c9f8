"""The search section and continuous axes of the grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from search_spaces.domains import IntUniform, LogUniform, Uniform
from search_spaces.errors import SpecError
from search_spaces.loading import dump_spec, load_spec
from search_spaces.spec import SweepSpec

FaultsOf = Callable[..., Mapping[str, str]]
OPTUNA = "search={algorithm: optuna, trials: 12, startup: 4}"
RATES = "grid.learning_rate={log_uniform: [1.0e-6, 1.0e-1]}"


@pytest.fixture
def refused(sweep_file: Path) -> FaultsOf:
    """Read the sweep file with overrides, and return path -> what its faults say."""

    def read(*overrides: str) -> dict[str, str]:
        with pytest.raises(SpecError) as caught:
            load_spec(sweep_file, overrides)
        found: dict[str, str] = {}
        for fault in caught.value.faults:
            found[fault.path] = f"{found.get(fault.path, '')} {fault.message} {fault.fix}"
        return found

    return read


def test_a_search_reads_continuous_axes_and_writes_them_back(sweep_file: Path) -> None:
    dropout, decay = "grid.dropout={uniform: [0, 0.5]}", "grid.weight_decay={int_uniform: [0, 3]}"
    spec = load_spec(sweep_file, [OPTUNA, RATES, dropout, decay])
    assert spec.grid["learning_rate"] == LogUniform(1e-6, 1e-1)
    assert (spec.grid["dropout"], spec.grid["weight_decay"], spec.grid["scale"]) == (Uniform(0, 0.5), IntUniform(0, 3), (1.0,))
    assert SweepSpec.model_validate(yaml.safe_load(dump_spec(spec))) == spec
    assert spec.points() == (), "the search asks for the points"


def test_a_search_has_the_documented_defaults(sweep_file: Path) -> None:
    search = load_spec(sweep_file, ["search={algorithm: optuna}", RATES]).search
    assert [search.of(key) for key in ("sampler", "trials", "startup", "batch", "seed")] == ["tpe", 32, 10, 4, 0]


@pytest.mark.parametrize(
    ("axis", "path", "words"),
    [
        ("learning_rate={log_uniform: [0, 0.1]}", "grid.learning_rate", "must be above 0, not 0"),
        ("learning_rate={uniform: [0, 0.1]}", "grid.learning_rate.uniform.0", "greater than 0"),
        ("learning_rate={log_uniform: [0.1, 0.01]}", "grid.learning_rate", "in rising order"),
        ("dropout={uniform: [0, 1]}", "grid.dropout.uniform.1", "less than 1"),
        ("batch_size={uniform: [2, 8]}", "grid.batch_size", "whole numbers write `{int_uniform: [low, high]}`"),
        ("weight_decay={int_uniform: [0, 0.5]}", "grid.weight_decay", "must be integers"),
        ("scheduler={uniform: [0, 1]}", "grid.scheduler", "draws numbers, which the axis does not take"),
        ("steps={int_uniform: [2, 8]}", "grid.steps", "different numbers of examples"),
        ("learning_rate={normal: [0, 1]}", "grid.learning_rate", "is not a list of values"),
    ],
)
def test_a_domain_is_checked_against_its_axis(refused: FaultsOf, axis: str, path: str, words: str) -> None:
    assert words in refused(OPTUNA, RATES, f"grid.{axis}")[path]


def test_only_a_search_takes_a_continuous_axis(refused: FaultsOf) -> None:
    assert "which the algorithm 'grid' cannot enumerate" in refused(RATES)["grid.learning_rate"]


def test_the_batch_size_may_be_searched_where_the_budget_is_in_epochs(refused: FaultsOf, sweep_file: Path) -> None:
    size = "grid.batch_size={int_uniform: [2, 8]}"
    assert "give the budget in epochs" in refused(OPTUNA, RATES, size, "training.epochs=null", "training.steps=4")["grid.batch_size"]
    assert load_spec(sweep_file, [OPTUNA, RATES, size, "training.steps=null", "training.epochs=1"]).grid["batch_size"] == IntUniform(2, 8)


def test_a_search_is_not_halved(refused: FaultsOf) -> None:
    assert any("optuna" in text for path, text in refused(OPTUNA, RATES, "halving={reduction: 3}").items() if path.startswith("halving"))
