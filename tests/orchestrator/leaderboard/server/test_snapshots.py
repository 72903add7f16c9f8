"""Boards are computed once per state, one at a time, and no request waits for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.leaderboard.server.snapshots import Busy, Snapshots


class Board:
    """Something to compute: it is counted, and goes on only when it is let."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = threading.Event()
        self.at_once = 0
        self.most_at_once = 0

    def compute(self, text: str) -> dict[str, str]:
        self.begun.append(text)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.go_on.wait(60)
        self.at_once -= 1
        return {"text": text}


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board()
    yield made
    made.go_on.set()


def test_a_state_is_computed_once(board: Board) -> None:
    board.go_on.set()
    snapshots = Snapshots()
    found = [snapshots.get("small", "state 1", lambda: board.compute("a")) for _ in range(3)]
    assert {snapshot.document["text"] for snapshot in found} == {"a"} and board.begun == ["a"]
    assert snapshots.get("small", "state 2", lambda: board.compute("b")).document == {"text": "b"}
    assert snapshots.get("other", "state 2", lambda: board.compute("c")).document == {"text": "c"}


def test_while_a_new_one_is_computed_the_old_one_is_given(board: Board) -> None:
    board.go_on.set()
    snapshots = Snapshots(patience_seconds=0.01)
    snapshots.get("small", "state 1", lambda: board.compute("a"))
    board.go_on.clear()
    old = snapshots.get("small", "state 2", lambda: board.compute("b"))
    assert (old.state, old.document["text"]) == ("state 1", "a")
    board.go_on.set()
    new = Snapshots.get(snapshots, "small", "state 2", lambda: board.compute("b"))
    while new.state != "state 2":
        new = snapshots.get("small", "state 2", lambda: board.compute("b"))
    assert board.begun == ["a", "b"]


def test_requests_at_once_share_one_computation(board: Board) -> None:
    snapshots = Snapshots(waiting=8)
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(snapshots.get, "small", "state 1", lambda: board.compute("a")) for _ in range(6)]
        board.go_on.set()
        assert {answer.result(60).document["text"] for answer in answers} == {"a"}
    assert board.begun == ["a"]


def test_boards_of_several_sweeps_are_computed_one_after_the_other(board: Board) -> None:
    snapshots = Snapshots(first_seconds=0.01)
    for name in ("one", "two", "three"):
        with pytest.raises(Busy):
            snapshots.get(name, "state 1", lambda name=name: board.compute(name))  # type: ignore[misc]
    board.go_on.set()
    patient = Snapshots.get
    for name in ("one", "two", "three"):
        while True:
            try:
                assert patient(snapshots, name, "state 1", lambda: board.compute("again")).document == {"text": name}
                break
            except Busy:
                continue
    assert board.most_at_once == 1 and sorted(board.begun) == ["one", "three", "two"]


def test_more_requests_than_may_wait_are_answered_at_once(board: Board) -> None:
    snapshots = Snapshots(first_seconds=60, waiting=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(snapshots.get, "small", "state 1", lambda: board.compute("a"))
        while not board.begun:
            pass
        with pytest.raises(Busy):
            snapshots.get("small", "state 1", lambda: board.compute("a"))
        board.go_on.set()
        assert first.result(60).document == {"text": "a"}


def test_a_computation_that_fails_fails_for_those_who_wait_and_is_tried_again() -> None:
    snapshots = Snapshots()

    def fail() -> dict[str, str]:
        raise ValueError("no runs")

    with pytest.raises(ValueError, match="no runs"):
        snapshots.get("small", "state 1", fail)
    assert snapshots.get("small", "state 1", lambda: {"text": "a"}).document == {"text": "a"}


def test_the_least_recently_asked_for_is_dropped(board: Board) -> None:
    board.go_on.set()
    snapshots = Snapshots(most=2)
    for name in ("one", "two", "one", "three", "one", "two"):
        snapshots.get(name, "state 1", lambda name=name: board.compute(name))  # type: ignore[misc]
    assert board.begun == ["one", "two", "three", "two"]


def test_after_a_while_a_board_is_looked_at_again_though_its_state_is_the_same(board: Board) -> None:
    """Files that could not be had at first may be there later."""
    board.go_on.set()
    now = [0.0]
    snapshots = Snapshots(renewed_seconds=60, clock=lambda: now[0])
    first = snapshots.get("small", "state 1", lambda: board.compute("without files"))
    now[0] = 59
    assert snapshots.get("small", "state 1", lambda: board.compute("too early")) is first
    now[0] = 60
    assert snapshots.get("small", "state 1", lambda: board.compute("with files")).document == {"text": "with files"}
    assert board.begun == ["without files", "with files"]
