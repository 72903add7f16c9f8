"""From a tracking store to the board of a sweep: the one way of all commands, exports and the page.

A board is computed once for each state of its runs, and kept on disk. See docs/decisions/017-board-cache.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from orchestrator.collector import collector_at_rest
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.stored_boards import Marked, Stamps, StoredBoard, StoredBoards, code_digest
from orchestrator.tracking.records import RunReader
from orchestrator.tracking.store_mark import store_mark

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestrator.recorded import RecordedSweep

_SHOWN = 5
"""Run ids in one note."""


@collector_at_rest()
def read_board(uri: str, sweep: str | None = None, digest: str | None = None, *, client: MlflowClient | None = None) -> Board:
    """Return the board of a sweep, as its runs are now.

    Args:
        uri: tracking URI.
        sweep: its name; the one that ran last when None.
        digest: the newest one when None.
        client: a client of `uri`, in place of one of its own.

    Raises:
        UnknownNameError: there is no such sweep.
        AwayError: the store does not answer.
        TrackingError: the store lacks the plan, or holds a damaged one.
    """
    boards, known = StoredBoards(uri), None
    if marked := boards.marked(store_mark(uri), sweep, digest):
        known = _usable(boards.find(marked.sweep, digest, marked.state))
    if known is not None:
        return known
    reader, now = _look(uri, sweep, digest, boards, client)
    with boards.computing(now.sweep, digest):
        return _usable(boards.find(now.sweep, digest, now.state)) or _computed(reader, now, digest, boards)


@collector_at_rest()
def board_state(uri: str, sweep: str | None = None, digest: str | None = None, *, client: MlflowClient | None = None) -> str:
    """Return a fingerprint of all that the board of a sweep depends on; the same arguments and errors as `read_board`."""
    boards = StoredBoards(uri)
    now = boards.marked(store_mark(uri), sweep, digest) or _look(uri, sweep, digest, boards, client)[1]
    stored = boards.find(now.sweep, digest, now.state)
    files = stored.current() if stored else {}
    return sha256(json.dumps([code_digest(), now.sweep, now.state, sorted(files.items())]).encode()).hexdigest()


def _usable(stored: StoredBoard | None) -> Board | None:
    """Return a stored board unless it is damaged, or a file that it was computed from is another one now."""
    return stored.board() if stored is not None and stored.current() == stored.stamps else None


def _look(uri: str, sweep: str | None, digest: str | None, boards: StoredBoards, client: MlflowClient | None) -> tuple[RunReader, Marked]:
    """Read the runs of a sweep; return what they say, with the reader that has them."""
    before = store_mark(uri)
    reader = RunReader(uri, client)
    name = sweep or reader.latest_sweep()
    found = Marked(name, reader.pin(name))
    # What was read belongs to a mark only if the store had it all the time.
    boards.note(before if before == store_mark(uri) else None, found, sweep, digest)
    return reader, found


def _computed(reader: RunReader, now: Marked, digest: str | None, boards: StoredBoards) -> Board:
    from orchestrator.evidence import load_evidence
    from orchestrator.leaderboard.board import board_of
    from orchestrator.leaderboard.drift import drift_of
    from orchestrator.leaderboard.references import read_references
    from orchestrator.recorded import load

    sweep = load(reader, now.sweep, digest)
    evidence = load_evidence(reader, [record for trial, record in sweep.trials.values() if trial.phase == "report"])
    references, unread = read_references(reader, now.sweep)
    board = board_of(sweep, evidence, references=references, drift=drift_of(reader, sweep))
    notes = (*_left_out(reader, sweep, now.sweep), *unread, *board.analysis.notes)
    board = replace(board, analysis=board.analysis.model_copy(update={"notes": notes}))
    files: Stamps = {**reader.stamps, **evidence.stamps}
    if not evidence.is_passing:
        boards.save(board, now.sweep, digest, now.state, files)
    # What a kept board gives is what the first one gives.
    return Board.from_json(json.loads(json.dumps(board.to_json())))


def _left_out(reader: RunReader, sweep: RecordedSweep, name: str) -> Iterator[str]:
    """Yield which runs of the experiment are no part of the board, and why."""
    reasons = {
        "not written by fairsweep": reader.foreign_runs(name),
        "not delivered completely": [record.run_id for record in reader.runs(name) if not record.delivered],
        "changed after their delivery": [rejected.record.run_id for rejected in sweep.rejected],
    }
    for reason, run_ids in reasons.items():
        if run_ids:
            more = f" and {len(run_ids) - _SHOWN} more" if len(run_ids) > _SHOWN else ""
            yield f"runs left out, {reason}: {', '.join(run_ids[:_SHOWN])}{more}"
