"""The data of a trial: which rows, split how, as which tokens, with a digest of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from search_spaces.errors import DataError
from search_spaces.trial import DataRef, Phase, digest
from trainers.api import Example, Form, Task
from trainers.cache import cached, contents
from trainers.encoding import (
    Choice,
    EvalItem,
    EvalSplit,
    TrainSequence,
    encode,
    eval_split,
    longest,
    training_choices,
    training_sequences,
)
from trainers.rows import Rows, Split, canonical, read_rows
from trainers.sampling import SplitIndices, batch_indices, order_digest, split_indices
from trainers.texts import LabelledText, encode_texts, labelled_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "Choice",
    "EvalItem",
    "EvalSplit",
    "LabelledText",
    "SplitIndices",
    "TaskData",
    "TrainSequence",
    "TrainingItem",
    "batch_indices",
    "load",
    "order_digest",
    "read_rows",
    "resolve",
    "split_indices",
    "width_of",
]

TrainingItem = TrainSequence | Choice | LabelledText
"""What one example is in training: a text to write, texts to choose among, or texts with a label."""
HALF = 32
"""Hexadecimal digits of a data digest that stand for the train pool; the others stand for the test pool."""


def width_of(item: TrainingItem) -> int:
    """Return the tokens of the longest text that an example puts into a batch, before what a method adds."""
    return max(len(option.ids) for option in item.options) if isinstance(item, Choice) else len(item.ids)


class TaskData:
    """The tokenised data of a task. The test split is read when it is first asked for, and never in the select phase."""

    def __init__(
        self,
        train: tuple[TrainingItem, ...],
        selection: EvalSplit,
        digests: dict[str, str],
        read_test: Callable[[], tuple[EvalSplit, str]],
    ) -> None:
        self.train = train
        self.selection = selection
        self.digests = digests
        """Digests of the contents of `train` and `selection`: ids, tokens and references of their examples."""
        self.test_reads = 0
        """How often the test split was handed out."""
        self.test_digest = ""
        """Digest of the test split's content; empty as long as it has not been read."""
        self._read_test = read_test
        self._test: EvalSplit | None = None

    def test(self, phase: Phase) -> EvalSplit:
        """Return the test split, and count the read.

        Raises:
            RuntimeError: the phase is `select`.
            DataError: the test rows changed since the sweep was planned, or are malformed.
        """
        if phase == "select":
            raise RuntimeError("the select phase may not read the test split")
        if self._test is None:
            self._test, self.test_digest = self._read_test()
        self.test_reads += 1
        return self._test


def resolve(task: Task, source: str, *, train: int, selection: int, test: int, seed: int) -> DataRef:
    """Identify the data of a task, and check all of it where that needs no network.

    Args:
        task: the task.
        source: `hub`, `embedded`, or a folder; rows of the latter two are all rendered once, so that a faulty one is found now.
        train: largest number of training examples.
        selection: largest number of examples of the selection split.
        test: largest number of examples of the test split.
        seed: seed of the permutation that picks the examples.

    Returns:
        The reference; the first half of its digest names the train pool, the second the test pool.

    Raises:
        DataError: the source is missing, a row is malformed, no training example would be left, or a split is too small to be scored.
    """
    for key, count in ("selection", selection), ("test", test):
        _require_scorable(task, f"data.{key} is {count}", count)
    pools = {split: _checked(task, source, split, selection) for split in ("train", "test")}
    content = pools["train"][:HALF] + pools["test"][:HALF]
    return DataRef(source=source, train=train, selection=selection, test=test, seed=seed, digest=content)


def load(
    task: Task,
    ref: DataRef,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    max_new_tokens: int,
    cache: Path | None = None,
    has_head: bool = False,
) -> TaskData:
    """Read, split and tokenise the train and selection splits, and prepare to read the test split.

    Args:
        task: the task.
        ref: the data, as `resolve` gave it.
        tokenizer: a fast tokenizer.
        max_length: tokens of the longest sequence, what is generated included.
        max_new_tokens: tokens that generation may write.
        cache: folder for the encodings, which processes may share; None keeps none.
        has_head: whether the model predicts labels with a classification head, or is a causal language model.

    Raises:
        DataError: the rows are missing, malformed, or not those that were planned with; or `max_length` is too small.
        NotApplicableError: the task has no form for such a model.
        StorageError: the cache cannot be written.
    """
    form = task.card.form_on(has_head=has_head)
    encoder = _Encoder(task, tokenizer, longest(task, max_length, max_new_tokens, form), cache, form)

    def read_test() -> tuple[EvalSplit, str]:
        rows = _planned_rows(task, ref, "test")
        picked = split_indices(0, len(rows), 0, 0, ref.test, ref.seed).test
        examples = [rows.example(task, index) for index in picked]
        table = encoder.table("test", examples)
        return encoder.split(examples, table), _content_digest(examples, table)

    rows = _planned_rows(task, ref, "train")
    _require_training(rows, ref.selection)
    picked = split_indices(len(rows), 0, ref.train, ref.selection, 0, ref.seed)
    train, selection = ([rows.example(task, index) for index in indices] for indices in (picked.train, picked.selection))
    tables = {"train": encoder.table("train", train), "selection": encoder.table("selection", selection)}
    digests = {"train": _content_digest(train, tables["train"]), "selection": _content_digest(selection, tables["selection"])}
    return TaskData(encoder.training(train, tables["train"]), encoder.split(selection, tables["selection"]), digests, read_test)


class _Encoder:
    """Tokenises the examples of a task in one of its forms, or finds them in the cache."""

    def __init__(self, task: Task, tokenizer: PreTrainedTokenizerBase, limit: int, cache: Path | None, form: Form) -> None:
        self.task, self.tokenizer, self.cache, self.labels = task, tokenizer, cache, form == "label"
        self.trains_options = form == "choose" and task.card.trains_options
        self.limit = min(limit, tokenizer.model_max_length) if self.labels else limit
        self.tokenizer_digest = _tokenizer_digest(tokenizer) if cache else ""

    def table(self, split: str, examples: Sequence[Example]) -> pa.Table:
        """Return the encodings of a split; the cached file is named by all that they depend on."""
        texts = [e.texts if self.labels else [e.prompt, e.target, e.options] for e in examples]
        content = digest([self.tokenizer_digest, self.limit, self.labels, self.trains_options, texts]) if self.cache else ""
        return cached(self.cache, f"{self.task.card.name}-{split}-{content[:HALF]}", lambda: self._encode(split, examples))

    def _encode(self, split: str, examples: Sequence[Example]) -> pa.Table:
        if self.labels:
            return encode_texts(examples, self.tokenizer, self.limit)
        return encode(examples, self.tokenizer, self.limit, evaluation=split != "train", trains_options=self.trains_options)

    def training(self, examples: Sequence[Example], table: pa.Table) -> tuple[TrainingItem, ...]:
        """Return what is trained on."""
        if self.labels:
            return labelled_texts(examples, table)
        return training_choices(table) if self.trains_options else training_sequences(table)

    def split(self, examples: Sequence[Example], table: pa.Table) -> EvalSplit:
        """Return what is evaluated on."""
        return EvalSplit(tuple(examples), texts=labelled_texts(examples, table)) if self.labels else eval_split(examples, table)


def _checked(task: Task, source: str, split: Split, selection: int) -> str:
    """Return the digest of a pool after a look at all of its rows; of the hub's, the digest of its name and revision."""
    if source == "hub":
        return _hub_digest(task, split)
    rows = read_rows(task, source, split)
    for index in range(len(rows)):
        rows.example(task, index)
    if split == "train":
        _require_training(rows, selection)
    else:
        _require_scorable(task, f"{rows.origin} has {len(rows)} rows", len(rows))
    return _rows_digest(rows)


def _planned_rows(task: Task, ref: DataRef, split: Split) -> Rows:
    """Read a pool, and make sure that it is the one the trial's id stands for."""
    rows = read_rows(task, ref.source, split)
    planned = ref.digest[:HALF] if split == "train" else ref.digest[HALF:]
    found = (_hub_digest(task, split) if ref.source == "hub" else _rows_digest(rows))[:HALF]
    if found != planned:
        raise DataError(
            f"{rows.origin} is not what the trial was planned with: its digest is {found}, not {planned}. "
            "Fix: plan the sweep again, or bring the old data back"
        )
    return rows


def _require_training(rows: Rows, selection: int) -> None:
    if len(rows) <= selection:
        raise DataError(
            f"{rows.origin} has {len(rows)} rows and data.selection takes {selection} of them: no training example is left. "
            f"Fix: set data.selection below {len(rows)}, or add rows"
        )


def _require_scorable(task: Task, what: str, count: int) -> None:
    if count < task.card.fewest:
        raise DataError(f"{what}, and the metrics of {task.card.name} need {task.card.fewest} at least. Fix: raise the number")


def _hub_digest(task: Task, split: Split) -> str:
    hub = task.card.hub
    return digest([hub.path, hub.config, hub.revision, hub.train if split == "train" else hub.test])


def _rows_digest(rows: Rows) -> str:
    content = hashlib.sha256()
    for index in range(len(rows)):
        content.update(canonical(rows[index]) + b"\n")
    return content.hexdigest()


def _content_digest(examples: Sequence[Example], table: pa.Table) -> str:
    """Return the digest of what a model reads of a split, and of what it is scored against."""
    content = hashlib.sha256(digest([[e.id, e.references, e.answers, *_labels(e)] for e in examples]).encode())
    for part in contents(table, [name for name in ("example", "kind", "targets", "ids", "segments") if name in table.column_names]):
        content.update(part)
    return content.hexdigest()


def _labels(example: Example) -> list[int | float]:
    return [] if example.label is None else [example.label]


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    # Padding and truncation are states of the last call, and part of the text: this call takes them off.
    tokenizer("a", padding=False, truncation=False)
    settings: str = tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(f"{tokenizer.bos_token_id} {settings}".encode()).hexdigest()
