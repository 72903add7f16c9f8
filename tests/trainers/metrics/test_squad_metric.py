from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import DataError
from trainers.metrics import squad


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The well-known A. Smith", "wellknown smith"),
        ("$3.50, or 1,000", "350 or 1000"),
        ("vitamin A", "vitamin"),
        ("a\u00a0\n b", "b"),
        ("“Ted”", "“ted”"),
        ("Åland", "åland"),
    ],
)
def test_normalisation_follows_the_official_order(text: str, expected: str) -> None:
    assert squad.normalise(text) == expected


def test_f1_counts_repeated_tokens_and_takes_the_best_reference() -> None:
    assert squad.score("red red car", ["red car"])["f1"] == pytest.approx(0.8)
    assert squad.score("red car", ["bus", "the red car"]) == {"em": 1.0, "f1": 1.0}


def test_two_texts_of_articles_match_exactly_but_share_no_token() -> None:
    assert squad.score("the", ["a an"]) == {"em": 1.0, "f1": 0.0}


def test_a_missing_prediction_scores_nothing() -> None:
    assert squad.score(None, ["the"]) == {"em": 0.0, "f1": 0.0}


@pytest.mark.parametrize(("prediction", "references"), [(3, ["3"]), ("3", "3"), ("3", []), ("3", [3])])
def test_malformed_pairs_are_refused(prediction: object, references: object) -> None:
    with pytest.raises(DataError, match="must be"):
        squad.score(prediction, references)  # type: ignore[arg-type]


@given(st.text(max_size=30), st.text(max_size=30))
def test_f1_is_symmetric_and_an_exact_match_with_tokens_scores_one(left: str, right: str) -> None:
    assert squad.f1(left, right) == pytest.approx(squad.f1(right, left))
    assert 0 <= squad.f1(left, right) <= 1
    assert squad.f1(left, left) == float(bool(squad.normalise(left)))
