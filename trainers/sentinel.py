"""The sentinel: a tiny fixed trial whose losses tell whether one environment computes what another one does.

A worker runs it before its first trial, in the very process that trains, once for each environment of a sweep. Its Outcome lies beside
those of the sweep, in `<storage>/<sweep>/sentinels/<environment>/outcomes/`, and is no trial of the sweep.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import FairsweepError
from search_spaces.trial import ModelRef, Trial
from trainers import data, references, registry
from trainers.group import Group
from trainers.meter import hardware, versions
from trainers.outcomes import OutcomeStore
from trainers.results import SENTINELS, Job, SentinelPost, platform_digest
from trainers.storage import DamagedError, Storage

log = logging.getLogger(__name__)

DEFINITION = Path(__file__).with_suffix(".yaml")
MEETING_SECONDS = 300.0
"""How long the workers of a group wait for each other to say whether they can run it."""


def stand(post: SentinelPost, group: Group, run: Callable[[Job], object]) -> None:
    """Run the sentinel, unless the sweep has its Outcome in this environment.

    What goes wrong with the storage is left for the first trial to suffer. What a worker of a group suffers alone is raised, as in a trial.

    Args:
        post: where the Outcome goes.
        group: the workers that run it together; all of them call this.
        run: runs a job on this worker.
    """
    offers = group.exchange("sentinel", _offer(post, group.leads), MEETING_SECONDS)
    if not offers or not all(offer["sees"] for offer in offers) or not offers[0]["place"]:
        return
    try:
        run(Job(fixed_trial(), offers[0]["attempt"], offers[0]["place"]))
    except (FairsweepError, OSError) as error:
        log.warning("the sentinel was not recorded: %s", error)


@cache
def fixed_trial() -> Trial:
    """Return the sentinel as a Trial of this installation."""
    written: dict[str, Any] = yaml.safe_load(DEFINITION.read_text())
    name = written["method"]["name"]
    written["model"] = references.resolve(ModelRef(**written["model"]))
    written["data"] = data.resolve(registry.task(written["task"]), **written["data"])
    written["method"]["version"] = registry.method_version(name)
    return Trial.model_validate({"phase": "select", "label": name, **written})


def _offer(post: SentinelPost, leads: bool) -> dict[str, Any]:
    """Return whether this worker sees the driver's storage and, on the first one, where a sentinel is due; empty where none is."""
    offer = {"sees": False, "place": "", "attempt": uuid.uuid4().hex[:8]}
    try:
        folder = Storage.at(post.storage)
        offer["sees"] = folder.inside(post.marker).read() is not None
        if leads and offer["sees"]:
            place = folder / SENTINELS / platform_digest({"versions": versions(), "hardware": hardware()})
            offer["place"] = place.uri if _is_due(OutcomeStore(place / "outcomes"), fixed_trial().id) else ""
    except (FairsweepError, OSError) as error:
        log.warning("the sentinel is left out: %s", error)
        offer["sees"] = False
    return offer


def _is_due(store: OutcomeStore, trial_id: str) -> bool:
    """Tell whether there is no Outcome of a sentinel that finished; one that failed is set aside."""
    try:
        outcome = store.read(trial_id)
    except DamagedError:
        store.set_aside(trial_id, "damaged")
        return True
    if outcome is not None and outcome.status != "finished":
        store.set_aside(trial_id, outcome.status)
    return outcome is None or outcome.status != "finished"
