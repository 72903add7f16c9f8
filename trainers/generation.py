"""Greedy generation, many rows at a time, with a cache of keys and values.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import PreTrainedTokenizerFast

from trainers.adapters.attach import AdaptedModel
from trainers.batching import rows_each
from trainers.dealing import ALONE, dealt, in_step
from trainers.group import Group
from trainers.key_values import bytes_per_token
from trainers.prefill import Prefill, alike, prefill

ROWS = 128
"""Most rows that are written in step."""
CACHE_BYTES = 2 * 2**30
"""Largest cache of keys and values of rows that are written in step; a row that needs more is written alone."""
PADDING = 1.5
"""Largest cache of a batch relative to what its rows fill."""


def generate(
    model: AdaptedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    heartbeat: Callable[[], None] = lambda: None,
    group: Group = ALONE,
) -> list[str]:
    """Return what the model writes after each prompt, up to the end of a line or of the text, without spaces around it.

    Args:
        prompts: token ids.
        max_new_tokens: tokens after which a text ends at the latest.
        heartbeat: called after each forward pass; may raise to end the generation.
        group: the workers that share the prompts; each returns all texts.
    """
    stops = {tokenizer("\n", add_special_tokens=False).input_ids[-1], tokenizer.eos_token_id}
    texts: dict[int, str] = {}
    most_rows, most_tokens = rows_each(len(prompts), ROWS, group.size), CACHE_BYTES // bytes_per_token(model.base)
    with in_step(model, group):
        for _, rows in dealt(_batches(prompts, max_new_tokens, most_tokens, most_rows), group):
            read = prefill(model, [prompts[i] for i in rows], tokenizer.pad_token_id, max_new_tokens, heartbeat)
            written = _Writing(model, read, heartbeat).until(stops, max_new_tokens)
            for row, tokens in zip(rows, written, strict=True):
                texts[row] = str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()
    found = {row: text for part in group.gather(sorted(texts.items())) for row, text in part}
    return [found[row] for row in range(len(prompts))]


def _batches(prompts: Sequence[Sequence[int]], room: int, most_tokens: int, most_rows: int) -> Iterator[list[int]]:
    """Cut prompts into batches by their lengths, those that begin alike side by side; the same batches for every method."""
    groups = sorted(alike(prompts), key=lambda group: (max(len(prompts[i]) for i in group), group))
    batch: list[int] = []
    for index in (i for group in groups for i in group):
        lengths = [len(prompts[i]) + room for i in (*batch, index)]
        cached = len(lengths) * max(lengths)
        if batch and (len(lengths) > most_rows or cached > most_tokens or cached > PADDING * sum(lengths)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class _Writing:
    """Rows that are continued in step, a token at a time."""

    def __init__(self, model: AdaptedModel, read: Prefill, heartbeat: Callable[[], None]) -> None:
        self.model, self.heartbeat = model, heartbeat
        self.rows, self.cache, self.mask_BT = read.rows, read.cache, read.mask
        self.next_B = read.logits.argmax(-1)

    def until(self, stops: set[int], max_new_tokens: int) -> list[list[int]]:
        """Return what is written after each prompt, greedily, until a token that stops it."""
        written: list[list[int]] = [[] for _ in self.rows]
        unfinished = set(self.rows)
        for count in range(1, max_new_tokens + 1):
            for row, token in zip(self.rows, self.next_B.tolist(), strict=True):
                if row in unfinished and token not in stops:
                    written[row].append(token)
                else:
                    unfinished.discard(row)
            if not unfinished or count == max_new_tokens:
                break
            self._keep(unfinished)
            self._step()
        return written

    def _keep(self, unfinished: set[int]) -> None:
        """Leave out what is finished: rows from the end take the places that become free."""
        size = len(unfinished)
        spare = [n for n in range(size, len(self.rows)) if self.rows[n] in unfinished]
        kept = [n if self.rows[n] in unfinished else spare.pop() for n in range(size)]
        kept_B = torch.tensor(kept, device=self.next_B.device)
        self.rows = [self.rows[n] for n in kept]
        self.cache.batch_select_indices(kept_B)
        self.next_B, self.mask_BT = self.next_B[kept_B], self.mask_BT[kept_B]

    def _step(self) -> None:
        self.mask_BT = torch.cat([self.mask_BT, torch.ones_like(self.mask_BT[:, :1])], 1)
        output = self.model(self.next_B[:, None], self.mask_BT, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.next_B = output.logits[:, -1].argmax(-1)
        self.heartbeat()
