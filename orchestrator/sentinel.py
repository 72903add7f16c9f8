"""The sentinels of a sweep: from its storage to MLflow, and back. What they are is told in `trainers.sentinel`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.tracking import schema
from orchestrator.tracking.connection import AwayError, shown_uri
from orchestrator.tracking.records import RunRecord
from orchestrator.tracking.side_runs import SideRun, SideRuns
from search_spaces.errors import StorageError, TrackingError
from search_spaces.trial import Trial
from trainers.results import SENTINELS, Outcome, platform_digest

if TYPE_CHECKING:
    from trainers.outcomes import OutcomeStore
    from trainers.storage import Storage

log = logging.getLogger(__name__)

LOSS = "train/loss"
LOSSES, SENTINEL = "fairsweep.losses", "fairsweep.sentinel"
"""Tags of a sentinel's run: its training losses as a JSON list, and the id of its Trial."""


@dataclass(frozen=True)
class Sentinel:
    """What one environment computed.

    Attributes:
        trial_id: id of the fixed trial; it changes with the code and the data that the trial runs on.
        losses: training loss of each step.
    """

    run_id: str
    environment: Mapping[str, Any]
    trial_id: str
    losses: tuple[float, ...]


def deliver(uri: str, sweep: str, folder: Storage) -> None:
    """Bring the sentinels in a sweep's folder to MLflow: the first one that finished in each environment.

    One that cannot be read, or that the store refuses, is logged and left for the next run: no result of the sweep waits for it.

    Raises:
        AwayError: the tracking store does not answer.
    """
    runs = SideRuns(uri, sweep)
    for store in _stores(folder):
        try:
            for trial, outcome in _finished(store):
                runs.keep_first(_run(trial, outcome))
        except AwayError:
            raise
        except (StorageError, TrackingError) as error:
            log.warning("a sentinel was not delivered: %s", error)


def sweep_up(folder: Storage) -> None:
    """Remove what workers that were killed left half-written. Call it only while holding the sweep's lock."""
    for store in _stores(folder):
        store.sweep_up()


def sentinels_of(records: Iterable[RunRecord]) -> Iterator[Sentinel]:
    """Yield what runs of kind `sentinel` hold, one of each environment and trial; those that hold something else are left out.

    Args:
        records: the runs, the oldest first.
    """
    seen = set()
    for record in records:
        found = _sentinel(record)
        if found is not None and (key := (platform_digest(found.environment), found.trial_id)) not in seen:
            seen.add(key)
            yield found


def environment_of(record: RunRecord) -> dict[str, Any]:
    """Return the environment that a run recorded; empty where it is missing or malformed."""
    try:
        content = json.loads(schema.joined_tag(schema.ENVIRONMENT_JSON, record.tags) or "{}")
        return {part: content[part] for part in ("versions", "hardware", "execution") if isinstance(content.get(part), dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _stores(folder: Storage) -> list[OutcomeStore]:
    """Return the store of each environment of a sweep's folder; none where they cannot be listed."""
    # Loads pyarrow, which those who only read do not need.
    from trainers.outcomes import OutcomeStore

    place = folder / SENTINELS
    try:
        return [OutcomeStore(place / name / "outcomes") for name in place.names()]
    except StorageError as error:
        log.warning("the sentinels cannot be listed: %s", error)
        return []


def _finished(store: OutcomeStore) -> Iterator[tuple[Trial, Outcome]]:
    for trial_id in store.ids():
        outcome = store.read(trial_id)
        if outcome is not None and outcome.status == "finished":
            yield store.trial(trial_id), outcome


def _run(trial: Trial, outcome: Outcome) -> SideRun:
    points = [point for point in schema.points_of(outcome) if point.key == LOSS]
    tags = {
        SENTINEL: trial.id,
        LOSSES: json.dumps([loss for _, loss in outcome.curves.get(LOSS, [])]),
        **schema.split_tag(schema.ENVIRONMENT_JSON, shown_uri(json.dumps(outcome.environment, sort_keys=True))),
    }
    return SideRun(
        kind="sentinel",
        name=f"{platform_digest(outcome.environment)}-{trial.id}",
        title="sentinel",
        started=outcome.started,
        ended=outcome.ended,
        tags=tags,
        files={"trial.json": trial.model_dump_json(indent=1), "outcome.json": outcome.model_dump_json(indent=1)},
        points=points,
    )


def _sentinel(record: RunRecord) -> Sentinel | None:
    try:
        losses = tuple(float(loss) for loss in json.loads(record.tags[LOSSES]))
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    return Sentinel(record.run_id, environment_of(record), record.tags.get(SENTINEL, ""), losses)
