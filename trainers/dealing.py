"""Deals the forward passes of an evaluation out to the workers of a group, and keeps the workers in step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

from trainers.adapters.attach import AdaptedModel
from trainers.adapters.partition import is_collective
from trainers.group import Group

T = TypeVar("T")
ALONE = Group()


class TimeLimit(Exception):
    """The trial ran past `resources.time_limit`; raised by a heartbeat."""


def dealt(batches: Iterable[T], group: Group) -> Iterator[tuple[int, T]]:
    """Yield this worker's batches, each with its place among all of them."""
    return islice(enumerate(batches), group.rank, None, group.size)


@contextmanager
def in_step(model: AdaptedModel, group: Group) -> Iterator[None]:
    """Run this worker's forward passes of an evaluation in a `with` block that the workers leave together.

    On a partitioned base the weights of a layer are gathered when it runs, so that all workers must forward something: before each pass
    they tell each other who still has work, and who has none forwards a token. Time that is up on one worker is up on all of them.

    Raises:
        TimeLimit: a heartbeat raised it, on this worker or on another one.
    """
    late: TimeLimit | None = None
    collective = group.size > 1 and is_collective(model.base)
    before = model.before_pass
    if collective:
        model.before_pass = lambda: _announce(group)
    try:
        yield
    except TimeLimit as error:
        late = error
    finally:
        model.before_pass = before
    while collective and group.any(False):
        _forward_a_token(model)
    if group.any(late is not None):
        raise late or TimeLimit("the time limit passed on another worker of the group")


def _announce(group: Group) -> None:
    group.any(True)


def _forward_a_token(model: AdaptedModel) -> None:
    ids_BT = torch.zeros(1, 1, dtype=torch.long, device=next(model.base.parameters()).device)
    model(ids_BT, torch.ones_like(ids_BT))
