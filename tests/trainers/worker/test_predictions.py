"""The columns of predictions.parquet."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from trainers.api import Example
from trainers.predictions import prediction_table


def examples(references: list[Any]) -> tuple[Example, ...]:
    return tuple(Example(str(n), "g", "", "", reference) for n, reference in enumerate(references))


@pytest.mark.parametrize("references", [[1, 0], ["Yes", "No"], [2.5, 3.0], [2.5, 3]], ids=["int", "str", "float", "numbers"])
def test_one_right_value_per_example_is_kept(references: list[Any]) -> None:
    table = prediction_table("test", examples(references), ["a", "b"], None)
    assert table["reference"].to_pylist() == references
    assert table.column_names == ["split", "id", "group", "prediction", "reference"]


@pytest.mark.parametrize(
    "references",
    [[["a", "b"], ["c"]], [1, "a"], [1, None], [True, False], [{"spans": []}] * 2, [2**60, 0.5], [float("nan"), 1.0], []],
    ids=["lists", "mixed", "none", "bool", "mapping", "too large", "nan", "no example"],
)
def test_other_references_have_no_column(references: list[Any]) -> None:
    table = prediction_table("test", examples(references), ["a", "b"][: len(references)], [{"f1": 1.0}] * len(references) or None)
    assert "reference" not in table.column_names
    assert ("f1" in table.column_names) == bool(references)


def test_splits_with_and_without_references_go_into_one_file() -> None:
    references = {"selection": [1, 2], "test": [0.5, 1.0], "more": [[1], [2]]}
    parts = [prediction_table(name, examples(values), [1, 2], None) for name, values in references.items()]
    table = pa.concat_tables(parts, promote_options="permissive")
    assert table["reference"].to_pylist() == [1.0, 2.0, 0.5, 1.0, None, None]
