"""Turns the texts of examples into what a classification head reads: token ids with their segments, and the label to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from search_spaces.errors import DataError
from trainers.api import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 256
"""Examples per call of the tokenizer."""


@dataclass(frozen=True)
class LabelledText:
    """A text, or a pair of texts as one sequence, with its label."""

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    """Which text each token belongs to (`token_type_ids`); empty for a model that is not told."""
    label: int | float


def encode_texts(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, limit: int) -> pa.Table:
    """Tokenise texts and pairs as the tokenizer joins them; what is too long is cut at its end, the longer text of a pair first.

    Args:
        examples: the examples of one split, all with one text or all with two.
        tokenizer: a fast tokenizer.
        limit: largest number of tokens, special ones included.

    Returns:
        A table with a row per example: `example` (index), `ids`, `segments`.
    """
    ids: list[list[int]] = []
    segments: list[list[int]] = []
    for start in range(0, len(examples), BATCH):
        columns: list[Any] = [list(texts) for texts in zip(*(e.texts for e in examples[start : start + BATCH]), strict=True)]
        encoded = tokenizer(*columns, padding=False, truncation="longest_first", max_length=limit, return_attention_mask=False)
        ids += encoded["input_ids"]
        segments += encoded.get("token_type_ids", [[] for _ in encoded["input_ids"]])
    numbers = pa.list_(pa.int32())
    return pa.table(
        {
            "example": pa.array(range(len(examples)), pa.int32()),
            "ids": pa.array(ids, numbers),
            "segments": pa.array(segments, numbers),
        }
    )


def labelled_texts(examples: Sequence[Example], table: pa.Table) -> tuple[LabelledText, ...]:
    """Put encodings and labels together.

    Raises:
        DataError: an example has no label.
    """
    rows = zip(examples, table["ids"].to_pylist(), table["segments"].to_pylist(), strict=True)
    return tuple(LabelledText(tuple(ids), tuple(segments), _label(example)) for example, ids, segments in rows)


def _label(example: Example) -> int | float:
    if example.label is None or not example.texts:
        raise DataError(f"example {example.id} has no {'label' if example.texts else 'texts'}, which a classification head needs")
    return example.label
