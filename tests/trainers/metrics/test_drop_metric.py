from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import DataError
from trainers.metrics import drop


def number(value: str) -> dict[str, Any]:
    return {"number": value, "date": {"day": "", "month": "", "year": ""}, "spans": []}


def spans(*texts: str) -> dict[str, Any]:
    return {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": list(texts)}


@pytest.mark.parametrize("text", ["2", "2.0", "02", "$2", "2%", "(2)", "-2", "2."])
def test_ways_to_write_a_number_are_equal(text: str) -> None:
    assert drop.score(text, [number("2")]) == {"em": 1.0, "f1": 1.0}


@pytest.mark.parametrize(
    ("text", "expected"), [("1,000", "1000.0"), ("$2.5", "25.0"), ("The red-hot sun", "red hot sun"), ("seven", "seven")]
)
def test_normalisation_goes_piece_by_piece(text: str, expected: str) -> None:
    assert drop.normalise(text) == expected


def test_order_does_not_matter_but_the_number_of_spans_does() -> None:
    assert drop.score(["b", "c"], [spans("c", "b")]) == {"em": 1.0, "f1": 1.0}
    assert drop.score(["b", "c", "b"], [spans("c", "b")])["em"] == 0.0


def test_a_wrong_number_scores_nothing_however_much_else_is_shared() -> None:
    assert drop.score("4 touchdown passes", [spans("3 touchdown passes")])["f1"] == 0.0
    assert drop.score("3 touchdown passes in 4 games", [spans("3 touchdown passes")])["f1"] > 0.5


def test_spans_that_have_no_partner_count_as_wrong() -> None:
    assert drop.score("Kenya", [spans("Kenya", "Tanzania")]) == {"em": 0.0, "f1": 0.5}
    assert drop.score([], [spans("Kenya")]) == {"em": 0.0, "f1": 0.0}


def test_blank_candidates_are_passed_over_and_the_best_of_the_others_counts() -> None:
    blank = number("")
    assert drop.score("", [blank]) == {"em": 0.0, "f1": 0.0}
    assert drop.score("4 May 1901", [blank, {**blank, "date": {"day": "4", "month": "May", "year": "1901"}}])["em"] == 1.0


def test_a_missing_prediction_scores_nothing() -> None:
    assert drop.score(None, [number("2")]) == {"em": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("prediction", "answers"), [("2", []), ("2", ["2"]), ("2", [{"number": ""}]), (2, [number("2")]), ([2], [number("2")])]
)
def test_malformed_pairs_are_refused(prediction: object, answers: Any) -> None:
    with pytest.raises(DataError):
        drop.score(prediction, answers)  # type: ignore[arg-type]


@given(st.lists(st.text("ab1 -.", min_size=1, max_size=6), min_size=1, max_size=4))
def test_an_answer_scores_one_against_itself(texts: list[str]) -> None:
    assert drop.exact_match(texts, texts) == 1.0
    assert drop.f1(texts, texts) == 1.0
