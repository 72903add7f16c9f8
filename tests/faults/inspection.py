"""What must hold after every fault: each function returns the violations that it found, as sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.faults.driver import Driver
from tests.faults.records import Record, damage, differences
from tests.faults.undisturbed import Undisturbed, board_of


def outcomes(found: Mapping[str, Record], undisturbed: Undisturbed, extra: Mapping[str, int]) -> list[str]:
    """Compare the Outcomes of a disturbed run with those of an undisturbed one.

    Args:
        extra: status -> number of the trials that a fault adds to the sweep; all others must be the undisturbed run's.
    """
    lines = [f"{record.describe()} has no Outcome" for trial_id, record in undisturbed.records.items() if trial_id not in found]
    for trial_id, record in found.items():
        lines += [f"{record.describe()}: {name} is missing, or not as it was written" for name in damage(record)]
        if trial_id in undisturbed.records:
            lines += [f"{record.describe()}: {line}" for line in differences(record, undisturbed.records[trial_id])]
    added = Counter(record.status for trial_id, record in found.items() if trial_id not in undisturbed.records)
    if added != Counter(extra):
        lines.append(f"the fault's own trials ended as {dict(added) or 'none'}, not as {dict(extra) or 'none'}")
    return lines


def answer(driver: Driver, found: Mapping[str, Record], undisturbed: Undisturbed) -> list[str]:
    """Compare what the last driver printed with what there is: how much it says to have done, and the leaderboard."""
    document = driver.document()
    if not document:
        return [f"start {driver.number} answered nothing"]
    failed = sum(record.status != "finished" for record in found.values())
    expected = {"trials": len(found), "finished": len(found) - failed, "failed": failed, "skipped": len(driver.before), "undelivered": []}
    lines = [f"the last run says {name}: {document[name]}, not {value}" for name, value in expected.items() if document[name] != value]
    board = board_of(document)
    lines += [
        f"the leaderboard's row {label} is {board.get(label)}, not {row}"
        for label, row in undisturbed.board.items()
        if board.get(label) != row
    ]
    return lines


def messages(driver: Driver) -> list[str]:
    """Return what a driver showed its user that no user is to see."""
    return [f"start {driver.number} showed {line!r}" for line in driver.complaints()[:1]]
