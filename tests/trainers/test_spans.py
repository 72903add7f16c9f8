"""What the time of a trial goes to."""

from __future__ import annotations

from contextlib import suppress

from trainers.spans import KINDS, Spans


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_of_nested_spans_the_innermost_counts() -> None:
    clock = Clock()
    spans = Spans("swap", clock)
    clock.now = 1.0
    with spans.span("train"):
        clock.now = 3.0
        with spans.span("wait"):
            clock.now = 7.0
        clock.now = 8.0
    clock.now = 8.5
    found = spans.seconds()
    assert found == dict.fromkeys(KINDS, 0.0) | {"swap": 1.5, "train": 3.0, "wait": 4.0}
    assert sum(found.values()) == clock.now


def test_a_span_that_ends_by_an_error_counts_too() -> None:
    clock = Clock()
    spans = Spans("swap", clock)
    with suppress(ValueError), spans.span("store"):
        clock.now = 2.0
        raise ValueError
    clock.now = 3.0
    assert (spans.seconds()["store"], spans.seconds()["swap"]) == (2.0, 1.0)


def test_a_joint_pass_is_divided_among_those_who_wait_for_it() -> None:
    clock = Clock()
    runs, waits = Spans("swap", clock), Spans("swap", clock)
    with runs.span("train"), waits.span("wait"):
        clock.now = 6.0
        runs.move(3.0, "train", "wait")
        waits.move(3.0, "wait", "train")
    for spans in (runs, waits):
        found = spans.seconds()
        assert (found["train"], found["wait"], sum(found.values())) == (3.0, 3.0, 6.0)
