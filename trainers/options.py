"""Scores the options of examples; what they have in common is forwarded once, and its keys and values are shared.

Shapes: G groups of options that begin alike, R rows, T tokens, K kept positions, V vocabulary, O options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from trainers.adapters.attach import AdaptedModel
from trainers.batches import target_log_probabilities
from trainers.batching import left_padded, packed, padded_targets
from trainers.data import TrainSequence
from trainers.dealing import ALONE, dealt, in_step
from trainers.group import Group
from trainers.key_values import shared

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class _Option:
    """An option, cut where its inputs part from those of its group. Its inputs are all of its tokens but the last."""

    number: int
    """Index among all options."""
    tail: Tokens
    """Inputs after the cut; empty where the group has them all."""
    shared_targets: Tokens
    """What is predicted from the group's inputs."""
    own_targets: Tokens
    """What is predicted from the tail."""


@dataclass(frozen=True)
class _Group:
    """Options whose inputs begin alike."""

    start: Tokens
    """The inputs that all have; never empty."""
    options: tuple[_Option, ...]


def option_scores(
    model: AdaptedModel,
    choices: Sequence[Sequence[TrainSequence]],
    pad: int,
    heartbeat: Callable[[], None] = lambda: None,
    group: Group = ALONE,
) -> list[Tensor]:
    """Return the mean log-probability of every option's target tokens, for each example a tensor (N,) in the order of its options.

    An option that stands several times in an example is scored once.

    Args:
        choices: the options of each example.
        pad: token id that fills rows up.
        heartbeat: called after each forward pass; may raise to end the scoring.
        group: the workers that share the options; each returns all scores.
    """
    distinct = dict.fromkeys((example, option) for example, options in enumerate(choices) for option in options)
    numbers = {key: number for number, key in enumerate(distinct)}
    alike = [part for example, options in enumerate(choices) for part in _groups({o: numbers[example, o] for o in options})]
    sums_O = torch.zeros(len(numbers), dtype=torch.float64)
    with in_step(model, group):
        for _, members in dealt(packed([len(part.start) for part in alike], workers=group.size), group):
            _Pass(model, [alike[n] for n in members], pad, heartbeat).add_to(sums_O)
    group.sum_(sums_O)
    means_O = sums_O / torch.tensor([option.targets for _, option in numbers])
    return [means_O[[numbers[example, option] for option in options]] for example, options in enumerate(choices)]


def _groups(options: dict[TrainSequence, int]) -> Iterator[_Group]:
    """Group options by what their inputs have in common: all of them, or those with equal inputs where nothing is common to all."""
    common = _common_start([option.ids[:-1] for option in options])
    if common:
        yield _group(options, common)
        return
    for inputs in dict.fromkeys(option.ids[:-1] for option in options):
        yield _group({option: n for option, n in options.items() if option.ids[:-1] == inputs}, len(inputs))


def _common_start(texts: Sequence[Tokens]) -> int:
    limit = min(map(len, texts))
    return next((n for n in range(limit) if len({text[n] for text in texts}) > 1), limit)


def _group(options: dict[TrainSequence, int], common: int) -> _Group:
    start = next(iter(options)).ids[:common]
    return _Group(start, tuple(_cut(option, number, common) for option, number in options.items()))


def _cut(option: TrainSequence, number: int, common: int) -> _Option:
    ids, first = option.ids, len(option.ids) - option.targets
    # The token after the shared inputs is predicted from the last of them.
    return _Option(number, ids[common:-1], ids[first : common + 1], ids[max(first, common + 1) :])


class _Pass:
    """Scores the options of some groups: one forward pass over what they share, then passes over what is left of them."""

    def __init__(self, model: AdaptedModel, groups: Sequence[_Group], pad: int, heartbeat: Callable[[], None]) -> None:
        self.model, self.groups, self.pad, self.heartbeat = model, groups, pad, heartbeat
        self.device = next(model.base.parameters()).device

    def add_to(self, sums_O: Tensor) -> None:
        """Add the log-probabilities of the targets to the sums of all options."""
        rows = [(row, option) for row, group in enumerate(self.groups) for option in group.options]
        tails = {key: n for n, key in enumerate(dict.fromkeys((row, option.tail) for row, option in rows if option.tail))}
        ids_GT, mask_GT = left_padded([group.start for group in self.groups], self.pad, self.device)
        targets_OK = padded_targets([option.shared_targets for _, option in rows], self.device)
        # A cache that is told of the model's sliding window would keep the window alone.
        cache = {"past_key_values": DynamicCache(), "use_cache": True} if tails else {"use_cache": False}
        output = self.model(ids_GT, mask_GT, **cache, logits_to_keep=targets_OK.shape[1])
        self._add(sums_O, [option for _, option in rows], [row for row, _ in rows], output.logits, targets_OK)
        virtual = self.model.method.virtual_tokens()
        mask_GT = torch.cat([mask_GT.new_ones(len(mask_GT), virtual), mask_GT], 1)
        keys = list(tails)
        for members in packed([len(tail) for _, tail in keys]):
            part = {keys[n]: row for row, n in enumerate(members)}
            self._add_tails(sums_O, part, [(row, o) for row, o in rows if (row, o.tail) in part], output.past_key_values, mask_GT)

    def _add_tails(
        self, sums_O: Tensor, tails: dict[tuple[int, Tokens], int], rows: Sequence[tuple[int, _Option]], cache: Any, mask_GT: Tensor
    ) -> None:
        groups_R = torch.tensor([row for row, _ in tails], device=self.device)
        ids_RT, mask_RT = left_padded([tail for _, tail in tails], self.pad, self.device)
        targets_OK = padded_targets([option.own_targets for _, option in rows], self.device)
        mask_RT = torch.cat([mask_GT[groups_R], mask_RT], 1)
        output = self.model(ids_RT, mask_RT, past_key_values=shared(cache, groups_R), use_cache=True, logits_to_keep=targets_OK.shape[1])
        self._add(sums_O, [option for _, option in rows], [tails[row, option.tail] for row, option in rows], output.logits, targets_OK)

    def _add(self, sums_O: Tensor, options: Sequence[_Option], rows: Sequence[int], logits_RKV: Tensor, targets_OK: Tensor) -> None:
        logs_O = target_log_probabilities(logits_RKV, torch.tensor(rows, device=self.device), targets_OK)
        sums_O.index_add_(0, torch.tensor([option.number for option in options]), logs_O.double().cpu())
        self.heartbeat()
