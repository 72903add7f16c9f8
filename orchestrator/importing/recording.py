"""Imported results in MLflow: a run of kind `reference` in the sweep's experiment."""

from __future__ import annotations

from orchestrator.importing.imported import Imported
from orchestrator.leaderboard.references import FILE, ReferenceDocument
from orchestrator.tracking.side_runs import SideRun, SideRuns

LONGEST_NAME = 200


def record_references(uri: str, sweep: str, name: str, imported: Imported, now: float) -> str:
    """Put imported results into a sweep's experiment, which is made where it is missing; return the run's id.

    An earlier import of the same form and name is replaced; the same content again changes nothing.

    Args:
        uri: tracking URI.
        name: tells several imports apart.
        now: Unix time in seconds.

    Raises:
        TrackingError: the tracking store does not answer or refuses.
    """
    called = f"{imported.form}:{name}"[:LONGEST_NAME]
    document = ReferenceDocument(name=called, references=imported.references)
    files = {FILE: document.model_dump_json(indent=1) + "\n"}
    return SideRuns(uri, sweep).put(SideRun("reference", called, f"published: {called}", now, now, files=files))
