"""Exact match and F1 of SQuAD v1.1, which ReCoRD v1.0 uses unchanged.

Source: `evaluate-v1.1.py` of the SQuAD explorer and `record_evaluation.py` of ReCoRD v1.0, whose functions are identical.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from search_spaces.errors import DataError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower the case, delete ASCII punctuation, then articles, and collapse white space, in this order.

    Punctuation is deleted, not replaced: `well-known` becomes `wellknown` and `3.5` becomes `35`. Curly quotes, dashes and
    accents stay.
    """
    bare = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(prediction: str, reference: str) -> float:
    """Return 1.0 when the two texts are equal after normalisation, else 0.0."""
    return float(normalise(prediction) == normalise(reference))


def f1(prediction: str, reference: str) -> float:
    """Return the F1 of the two texts as multisets of tokens; 0.0 when they share none, two empty texts included."""
    predicted, expected = normalise(prediction).split(), normalise(reference).split()
    shared = sum((Counter(predicted) & Counter(expected)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def score(prediction: str | None, references: Sequence[str]) -> dict[str, float]:
    """Score one prediction: the best exact match and the best F1 over the references, each on its own.

    Args:
        prediction: the answer's text; None, an answer that is missing, scores 0.
        references: the accepted answers, at least one.

    Raises:
        DataError: `prediction` is no text, or `references` no list of texts.
    """
    _check(prediction, references)
    if prediction is None:
        return {"em": 0.0, "f1": 0.0}
    return {"em": _best(exact_match, prediction, references), "f1": _best(f1, prediction, references)}


def _best(metric: Callable[[str, str], float], prediction: str, references: Sequence[str]) -> float:
    return max(metric(prediction, reference) for reference in references)


def _check(prediction: Any, references: Any) -> None:
    if not (prediction is None or isinstance(prediction, str)):
        raise DataError(f"'prediction' must be a text or null, not {prediction!r}")
    if not isinstance(references, list | tuple) or not references or not all(isinstance(text, str) for text in references):
        raise DataError(f"'references' must be a list of at least one text, not {references!r}")
