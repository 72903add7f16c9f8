"""DROP: discrete reasoning over a passage; the model writes a number, a date or a span."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from search_spaces.errors import DataError
from trainers.api import Example, HubSource, Row, Scores, Task, TaskCard
from trainers.metrics import drop
from trainers.metrics.rowwise import score_rows
from trainers.tasks import _passages, _words
from trainers.tasks._fields import field, key, text, texts


class Drop(Task):
    """Counting, arithmetic and comparison, scored with the official exact match and F1 of DROP."""

    card: ClassVar[TaskCard] = TaskCard(
        name="drop",
        title="DROP",
        hub=HubSource(path="ucinlp/drop", revision="95cda593fae71b60b5b19f82de3fcf3298c1239c"),
        license="CC BY-SA 4.0",
        citation="Dua et al. 2019, arXiv 1903.00161",
        form="generate",
        main="f1",
        metrics=("em", "f1"),
        fields=("passage", "question", "answers_spans"),
    )

    def example(self, row: Row) -> Example:
        """Render one row: passage and question; the target is the first span of the first answer."""
        passage, question = text(row, "passage"), text(row, "question").strip()
        candidates = _candidates(row)
        return Example(
            id=str(row.get("query_id") or key(passage, question)),
            group=key(passage),
            prompt=f"Passage: {passage}\nQuestion: {question}\nAnswer:",
            target=f" {texts(row, 'answers_spans.spans')[0]}\n",
            references=[_answer(spans) for spans in candidates],
        )

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> Scores:
        """Score spans (a text, or a list of texts) against lists of answers of the release's form."""
        return score_rows(drop.score, predictions, references)

    def embedded(self, split: Literal["train", "test"], count: int, seed: int) -> list[dict[str, Any]]:
        """Write passages with amounts, lists and years, and questions of difference, sum, comparison, counting and duration."""
        rows = _passages.generate(split, count, seed, lambda generator: generator.choice(_KINDS)(generator), passage="passage")
        return [
            {"section_id": f"embedded-{key(row['passage'])}", "query_id": f"embedded-{split}-{seed}-{index}", **row}
            for index, row in enumerate(rows)
        ]


def _candidates(row: Row) -> list[list[str]]:
    """Return the accepted answers, each as its spans: `candidate_answers` where the row keeps them apart, else regrouped."""
    if "candidate_answers" not in row:
        return _regroup(texts(row, "answers_spans.spans"), field(row, "answers_spans.types"))
    candidates = field(row, "candidate_answers")
    if not isinstance(candidates, list | tuple) or not candidates:
        raise DataError(f"the field 'candidate_answers' must be a list of answers, not {candidates!r:.80}")
    return [texts({"candidate_answers": spans}, "candidate_answers") for spans in candidates]


def _regroup(spans: Sequence[str], types: Any) -> list[list[str]]:
    """Take apart the answers of several annotators, which the hub's version writes one after another into one list.

    A number or a date is an answer of its own. The spans of one answer name different things, so a span that repeats, contains
    or is contained in one of the answer under way begins the next answer.
    """
    if not isinstance(types, list | tuple) or len(types) != len(spans):
        raise DataError(f"the field 'answers_spans.types' must hold one type for each of the {len(spans)} spans, not {types!r:.80}")
    answers: list[list[str]] = []
    previous = ""
    for span, kind in zip(spans, types, strict=True):
        if kind == previous == "span" and not any(_overlap(span, other) for other in answers[-1]):
            answers[-1].append(span)
        else:
            answers.append([span])
        previous = kind
    return answers


def _overlap(span: str, other: str) -> bool:
    return span.lower() in other.lower() or other.lower() in span.lower()


def _answer(spans: Sequence[str]) -> dict[str, Any]:
    # The scorer turns numbers and dates into texts before it compares, so all of them may stand as spans.
    return {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": list(spans)}


def _written(passage: str, question: str, answer: str, kind: str = "number") -> dict[str, Any]:
    return {"passage": passage, "question": question, "answers_spans": {"spans": [answer], "types": [kind]}}


def _amounts(generator: random.Random) -> dict[str, Any]:
    first, second = _passages.people(generator, 2)
    verb, past, things = generator.choice(_words.TRADES)
    more, less = sorted(generator.sample(range(3, 60), 2), reverse=True)
    told = generator.choice(_words.COMPARISONS).format(first=first, second=second, past=past, things=things, more=more, less=less)
    ask = generator.choice(("difference", "sum", "more", "fewer"))
    if ask == "difference":
        return _written(told, f"How many more {things} did {first} {verb} than {second}?", str(more - less))
    if ask == "sum":
        return _written(told, f"How many {things} did {first} and {second} {verb} together?", str(more + less))
    return _written(told, f"Who {past} {ask} {things}?", first if ask == "more" else second, "span")


def _listing(generator: random.Random) -> dict[str, Any]:
    (who,) = _passages.people(generator, 1)
    verb, past, noun, items = generator.choice(_words.LISTS)
    listed = generator.sample(items, generator.randint(2, 6))
    when = generator.choice(_words.YEARS)
    told = f"In {when} {who} {past} {', '.join(listed[:-1])} and {listed[-1]}."
    return _written(told, f"How many {noun} did {who} {verb}?", str(len(listed)))


def _duration(generator: random.Random) -> dict[str, Any]:
    (where,) = _passages.places(generator, 1)
    start, end = sorted(generator.sample(range(1820, 1990), 2))
    (begun, ended), question = generator.choice(_words.LIFETIMES)
    told = generator.choice(
        ("The {where} {begun} in {start} and {ended} in {end}.", "In {start} the {where} {begun}. It {ended} in {end}.")
    )
    passage = told.format(where=where, begun=begun, ended=ended, start=start, end=end)
    return _written(passage, question.format(where=where), str(end - start))


_KINDS: tuple[Callable[[random.Random], dict[str, Any]], ...] = (_amounts, _amounts, _listing, _duration)

TASK = Drop
