"""Exact match and F1 of DROP, for answers of one or several spans, numbers and dates.

Source: `drop_eval.py` of allennlp-reading-comprehension (Dua et al. 2019, arXiv 1903.00161). A *bag* is the set of tokens of
one normalised span.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from search_spaces.errors import DataError

Answer = Mapping[str, Any]
"""An answer of the release: `number`, `date` (`day`, `month`, `year`) and `spans`, of which one is filled in."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SEPARATORS = re.compile(" |-")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def is_number(text: str) -> bool:
    """Tell whether Python reads the text as a float; `nan`, `1_000` and full-width digits are read, `1,000` is not."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def normalise(span: str) -> str:
    """Normalise a span piece by piece, split at spaces and hyphens: case, punctuation, number format, articles, white space.

    Punctuation stays in a piece that is a number already, so `2.0` equals `2`; but `$2.5` loses its point and becomes `25.0`.
    """
    pieces = (_normalise_piece(piece) for piece in _SEPARATORS.split(span))
    return " ".join(piece for piece in pieces if piece)


def _normalise_piece(piece: str) -> str:
    text = piece.lower()
    if not is_number(text):
        text = text.translate(_NO_PUNCTUATION)
    if is_number(text):
        text = str(float(text))
    return " ".join(_ARTICLES.sub(" ", text).split())


def answer_spans(answer: Answer) -> tuple[str, ...]:
    """Return the texts of an answer of the release: its number, or its spans, or its date as `day month year`.

    Raises:
        DataError: the answer has none of the three.
    """
    if not isinstance(answer, Mapping):
        raise DataError(f"'references' must hold DROP answers (objects with number, date and spans), not {answer!r}")
    if answer.get("number"):
        return (str(answer["number"]),)
    if answer.get("spans"):
        return tuple(str(span) for span in answer["spans"])
    date = answer.get("date")
    if not isinstance(date, Mapping):
        raise DataError(f"a DROP answer needs a number, spans or a date; {dict(answer)!r} has none")
    return (" ".join(str(date.get(part, "")) for part in ("day", "month", "year")),)


def exact_match(predicted: Sequence[str], expected: Sequence[str]) -> float:
    """Return 1.0 when both have the same spans after normalisation, in any order, and equally many of them."""
    if len(predicted) != len(expected):
        return 0.0
    return float({normalise(span) for span in predicted} == {normalise(span) for span in expected})


def f1(predicted: Sequence[str], expected: Sequence[str]) -> float:
    """Return the mean F1 over the best one-to-one alignment of the spans, rounded to two decimals; unaligned spans count 0."""
    predicted_bags, expected_bags = _bags(predicted), _bags(expected)
    pairs = np.array([[_bag_f1(guess, truth) for guess in predicted_bags] for truth in expected_bags])
    pairs = pairs.reshape(len(expected_bags), len(predicted_bags))
    rows, columns = linear_sum_assignment(pairs, maximize=True)
    aligned = np.zeros(max(pairs.shape))
    aligned[rows] = pairs[rows, columns]
    return round(float(np.mean(aligned)), 2)


def score(prediction: str | Sequence[str] | None, answers: Sequence[Answer]) -> dict[str, float]:
    """Score one prediction: the best exact match and the best F1 over the candidate answers, each on its own.

    Args:
        prediction: one span, or a list of spans; None, a prediction that is missing, scores 0.
        answers: the answer and the validated answers of the release, at least one; blank ones are passed over.

    Raises:
        DataError: the prediction is neither, or an answer is not of the release's form.
    """
    if not isinstance(answers, list | tuple) or not answers:
        raise DataError(f"'references' must be a list of at least one DROP answer, not {answers!r}")
    candidates = [answer_spans(answer) for answer in answers]
    best = {"em": 0.0, "f1": 0.0}
    if prediction is None:
        return best
    predicted = _prediction_spans(prediction)
    for expected in candidates:
        if expected[0].strip():
            best["em"] = max(best["em"], exact_match(predicted, expected))
            best["f1"] = max(best["f1"], f1(predicted, expected))
    return best


def _prediction_spans(prediction: Any) -> tuple[str, ...]:
    if isinstance(prediction, str):
        return (prediction,)
    if isinstance(prediction, list | tuple) and all(isinstance(span, str) for span in prediction):
        return tuple(prediction)
    raise DataError(f"'prediction' must be a text, a list of texts or null, not {prediction!r}")


def _bags(spans: Sequence[str]) -> list[set[str]]:
    return [set(normalise(span).split()) for span in spans]


def _bag_f1(predicted: set[str], expected: set[str]) -> float:
    """Return the F1 of two bags; 0 when the expected one has numbers and the predicted one none of them."""
    numbers = {token for token in expected if is_number(token)}
    if numbers and not numbers & predicted:
        return 0.0
    shared = len(predicted & expected)
    precision = shared / len(predicted) if predicted else 1.0
    recall = shared / len(expected) if expected else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
