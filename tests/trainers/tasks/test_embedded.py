"""The rows that the tasks write themselves."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.api import Task
from trainers.tasks.drop import Drop
from trainers.tasks.record import Record
from trainers.tasks.squad import Squad
from trainers.tasks.sst2 import Sst2
from trainers.tasks.stsb import Stsb

TASKS: list[Task] = [Squad(), Drop(), Record()]
LABELLED: list[Task] = [Sst2(), Stsb()]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.card.name)
labelled_task = pytest.mark.parametrize("task", LABELLED, ids=lambda task: task.card.name)
all_tasks = pytest.mark.parametrize("task", [*TASKS, *LABELLED], ids=lambda task: task.card.name)

Split = Literal["train", "test"]
splits = st.sampled_from(["train", "test"])


@all_tasks
@given(split=splits, seed=st.integers(0, 2**31), count=st.integers(1, 20))
def test_rows_depend_on_split_seed_and_index_alone(task: Task, split: Split, seed: int, count: int) -> None:
    assert task.embedded(split, count + 7, seed)[:count] == task.embedded(split, count, seed)


@all_tasks
@given(seeds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)))
def test_no_passage_is_in_both_splits_whatever_the_seeds(task: Task, seeds: tuple[int, int]) -> None:
    train = {task.example(row).group for row in task.embedded("train", 40, seeds[0])}
    assert not train & {task.example(row).group for row in task.embedded("test", 40, seeds[1])}


@every_task
def test_rows_have_the_fields_of_the_hub_and_differ(task: Task) -> None:
    rows = task.embedded("train", 500, 0)
    examples = [task.example(row) for row in rows]
    assert all(set(task.card.fields) <= set(row) for row in rows)
    assert len({example.id for example in examples}) == 500
    assert len({example.group for example in examples}) > 490
    assert len({example.target for example in examples}) > 50
    assert task.embedded("train", 5, 1) != rows[:5]


@every_task
def test_the_first_answer_scores_one(task: Task) -> None:
    examples = [task.example(row) for row in task.embedded("test", 100, 3)]
    if task.card.form == "generate":
        predictions = [example.target.strip() for example in examples]
    else:
        predictions = [example.references[0] for example in examples]
    assert set(task.score(predictions, [example.references for example in examples]).metrics.values()) == {1.0}


@given(split=splits, seed=st.integers(0, 10_000))
def test_squad_answers_are_spans_of_short_contexts(split: Split, seed: int) -> None:
    for row in Squad().embedded(split, 10, seed):
        (answer,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert row["context"][start : start + len(answer)] == answer
        assert 1 <= len(answer.split()) <= 3
        example = Squad().example(row)
        assert len((example.prompt + example.target).split()) <= 45


@given(split=splits, seed=st.integers(0, 10_000))
def test_record_has_one_answer_among_its_entities_and_tells_where_they_stand(split: Split, seed: int) -> None:
    for row in Record().embedded(split, 10, seed):
        (answer,) = row["answers"]
        assert answer in row["entities"]
        assert len(row["entities"]) == len(set(row["entities"])) >= 3
        assert answer not in row["query"]
        spans = row["entity_spans"]
        found = [row["passage"][start:end] for start, end in zip(spans["start"], spans["end"], strict=True)]
        assert found == spans["text"]
        assert set(found) == set(row["entities"])


@given(seed=st.integers(0, 10_000))
def test_drop_counts_and_calculates(seed: int) -> None:
    for row in Drop().embedded("train", 20, seed):
        (answer,), (kind,) = row["answers_spans"]["spans"], row["answers_spans"]["types"]
        words = row["passage"].replace(",", " ").replace(".", " ").split()
        numbers = [int(word) for word in words if word.isdecimal()]
        if kind == "span":
            assert answer in row["passage"]
        elif len(numbers) == 2:
            assert int(answer) in (sum(numbers), abs(numbers[0] - numbers[1]))
        else:
            assert int(answer) == row["passage"].count(",") + 2


def test_a_question_cannot_be_answered_by_always_naming_the_same_fact() -> None:
    rows = Squad().embedded("test", 300, 0)
    first = sum(row["answers"]["answer_start"][0] < len(row["context"]) / 3 for row in rows)
    assert 60 < first < 160
    assert len({row["answers"]["text"][0] for row in rows}) > 120


@labelled_task
def test_labelled_rows_differ_and_cover_the_labels(task: Task) -> None:
    examples = [task.example(row) for row in task.embedded("train", 500, 0)]
    assert len({example.texts for example in examples}) > 400
    labels = [example.label for example in examples if example.label is not None]
    if task.card.num_labels == 1:
        assert min(labels) < 0.5 and max(labels) > 4.5 and len(set(labels)) > 10
    else:
        assert 200 < sum(labels) < 300


def test_sentences_that_mean_the_same_score_highest() -> None:
    for row in Stsb().embedded("train", 300, 0):
        assert (row["label"] == 5.0) == (row["sentence1"] == row["sentence2"])
