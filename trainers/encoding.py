"""Turns examples into token ids: what is trained on, what is prompted with, what is chosen among.

The protocol is that of the MeZO and LoReTTA code: a text is stripped of spaces; a target is as long as the text with it is longer
than the prompt; a text that is too long loses its beginning, except for the token that the tokenizer puts first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from search_spaces.errors import DataError
from trainers.api import Example, Form, Task
from trainers.texts import LabelledText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAINING, PROMPT, OPTION = 0, 1, 2
"""Kinds of sequences in a table of encodings."""
BATCH = 256
"""Texts per call of the tokenizer, whose results take a hundred times the memory of the ids alone."""

Ids = npt.NDArray[np.int32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSequence:
    """A text whose end is to be predicted."""

    ids: tuple[int, ...]
    targets: int
    """The last `targets` ids are predicted, the others only read."""


@dataclass(frozen=True)
class EvalItem:
    """What the model sees of one example in evaluation."""

    prompt: tuple[int, ...]
    options: tuple[TrainSequence, ...] | None
    """The texts to choose among, in the order of the example's options; None for generation."""


@dataclass(frozen=True)
class EvalSplit:
    """A split to evaluate on; what is not empty has one entry per example, in the same order."""

    examples: tuple[Example, ...]
    items: tuple[EvalItem, ...] = ()
    sequences: tuple[TrainSequence, ...] = ()
    """The examples as in training, for the split's loss."""
    texts: tuple[LabelledText, ...] = ()
    """What a classification head reads, in place of items and sequences."""


def longest(task: Task, max_length: int, max_new_tokens: int, form: Form | None = None) -> int:
    """Return the number of tokens that an encoded text may have; what generation may write is kept free.

    Args:
        form: the form of the task; None takes that of causal language models.

    Raises:
        DataError: nothing would be left of the prompt.
    """
    limit = max_length - max_new_tokens if (form or task.card.form) == "generate" else max_length
    if limit < 2:
        raise DataError(
            f"training.max_length is {max_length} and training.max_new_tokens {max_new_tokens}: that leaves {limit} tokens for the "
            f"prompts of {task.card.name}, which need 2 at least. Fix: raise max_length, or lower max_new_tokens"
        )
    return limit


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, limit: int, *, evaluation: bool) -> pa.Table:
    """Tokenise examples.

    Args:
        examples: the examples of one split.
        tokenizer: a fast tokenizer.
        limit: largest number of tokens of a text.
        evaluation: whether to encode prompts and options too, besides the training sequences.

    Returns:
        A table with a row per sequence: `example` (index), `kind`, `ids`, `targets`.
    """
    plan = [entry for index, example in enumerate(examples) for entry in _sequences(index, example, evaluation)]
    tokens = _tokenise(tokenizer, {text for _, _, prompt, full in plan for text in (prompt, full, full.lstrip())})
    keep = _first_kept(tokenizer)
    rows = []
    for index, kind, prompt, full in plan:
        ids = _cut(tokens[full.lstrip()], limit, keep)
        rows.append((index, kind, ids, _targets(kind, len(tokens[full]) - len(tokens[prompt]), len(ids))))
    _warn_of_cuts(tokens, limit)
    return _table(rows)


def training_sequences(table: pa.Table) -> tuple[TrainSequence, ...]:
    """Return the training sequences of a table, in the order of the examples."""
    return tuple(sequence for _, kind, sequence in _unpack(table) if kind == TRAINING)


def eval_split(examples: Sequence[Example], table: pa.Table) -> EvalSplit:
    """Put the sequences of a table back to their examples."""
    training: list[TrainSequence] = []
    prompts: list[tuple[int, ...]] = []
    options: list[list[TrainSequence]] = [[] for _ in examples]
    for index, kind, sequence in _unpack(table):
        if kind == TRAINING:
            training.append(sequence)
        elif kind == PROMPT:
            prompts.append(sequence.ids)
        else:
            options[index].append(sequence)
    items = tuple(EvalItem(prompt, tuple(texts) or None) for prompt, texts in zip(prompts, options, strict=True))
    return EvalSplit(tuple(examples), items, tuple(training))


def _sequences(index: int, example: Example, evaluation: bool) -> Iterator[tuple[int, int, str, str]]:
    prompt = example.prompt.strip(" ")
    yield index, TRAINING, prompt, (example.prompt + example.target).strip(" ")
    if evaluation:
        yield index, PROMPT, prompt, prompt
        for option in example.options or ():
            yield index, OPTION, prompt, option.strip(" ")


def _tokenise(tokenizer: PreTrainedTokenizerBase, texts: set[str]) -> dict[str, Ids]:
    ordered = sorted(texts)
    tokens: dict[str, Ids] = {}
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        encoded = tokenizer(batch, padding=False, truncation=False, return_attention_mask=False, verbose=False)
        tokens.update((text, np.array(ids, dtype=np.int32)) for text, ids in zip(batch, encoded["input_ids"], strict=True))
    return tokens


def _first_kept(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return 1 when the tokenizer begins every text with its BOS token, else 0."""
    bos = tokenizer.bos_token_id
    return int(bos is not None and tokenizer("a")["input_ids"][:1] == [bos])


def _cut(ids: Ids, limit: int, keep: int) -> Ids:
    """Cut a text from the left, but keep its first `keep` tokens."""
    return ids if len(ids) <= limit else np.concatenate([ids[:keep], ids[len(ids) - limit + keep :]])


def _targets(kind: int, grown: int, length: int) -> int:
    """Return how many tokens are targets: those by which the target lengthened the prompt, at least one, and never the first token."""
    return 0 if kind == PROMPT else min(max(grown, 1), length - 1)


def _warn_of_cuts(tokens: Mapping[str, Ids], limit: int) -> None:
    cut = sum(len(ids) > limit for ids in tokens.values())
    if cut:
        _log.warning("%d of %d texts are longer than %d tokens and lose their beginning", cut, len(tokens), limit)


def _table(rows: list[tuple[int, int, Ids, int]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    types = (pa.int32(), pa.int32(), pa.list_(pa.int32()), pa.int32())
    names = ("example", "kind", "ids", "targets")
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, types, strict=True)})


def _unpack(table: pa.Table) -> Iterator[tuple[int, int, TrainSequence]]:
    combined = table.combine_chunks()
    ids = combined["ids"].combine_chunks()
    flat, ends = ids.flatten().to_numpy(), ids.value_lengths().to_numpy().cumsum()
    # One int object per token of the vocabulary instead of one per position: a fifth of the memory.
    shared = list(range(int(flat.max()) + 1)) if len(flat) else []
    start = 0
    columns = (combined[name].to_pylist() for name in ("example", "kind", "targets"))
    for end, example, kind, targets in zip(ends.tolist(), *columns, strict=True):
        sequence = TrainSequence(tuple(map(shared.__getitem__, flat[start:end].tolist())), targets)
        yield example, kind, sequence
        start = end
