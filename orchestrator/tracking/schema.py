"""What a run in MLflow holds of a trial: tags, params and metrics, as pure functions of the Trial and its Outcome.

All of it is deterministic, time stamps included, so that delivering twice writes the same points, which a store then keeps once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from orchestrator.tracking.connection import shown_uri
from search_spaces.trial import Trial
from search_spaces.trial import digest as content_digest
from trainers.results import Outcome

KIND, TRIAL, SWEEP, DIGEST = "fairsweep.kind", "fairsweep.trial", "fairsweep.sweep", "fairsweep.digest"
STATUS, ERROR, ENVIRONMENT = "fairsweep.status", "fairsweep.error", "fairsweep.environment"
OUTCOME = "fairsweep.outcome"
"""Digest of the outcome.json that the run holds, or is to hold when its delivery was interrupted."""
DELIVERED = "fairsweep.delivered"
"""The same digest, written last: a run with it is complete."""
NAME, CONTENT = "fairsweep.name", "fairsweep.content"
"""Of a run beside the trials: what it is called within its kind, and the digest of its files; `DELIVERED` says when it is complete."""
ACCEPTED_EDGE = "fairsweep.accepted_edge"
"""Tag of a sweep run: points on the edge of the grid were reported as they are. It is never taken back."""
SEAL = "fairsweep.seal"
"""Digests of what was delivered, by group: a value that was changed later is seen, unless the whole run is forged with its seal."""
SEALED = ("selection", "test", "usage", "profile", "digest", "counts", "best_step")
"""The groups: the first part of a metric's or param's name."""
SEALED_DIGEST = "sweep_digest"
"""What a seal calls the digest that the run was delivered under."""
TRIAL_JSON, ENVIRONMENT_JSON = "fairsweep.trial_json", "fairsweep.environment_json"

RUN_STATUS: Mapping[str, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "diverged": "FAILED",
    "out_of_memory": "FAILED",
    "error": "FAILED",
}
"""Status of a trial -> status of its MLflow run."""

# Servers of MLflow before 2.8 and 2.21 take no more than these.
_PARAM_LIMIT, _TAG_LIMIT = 500, 5000
_ERROR_LIMIT = 500


class Point(NamedTuple):
    """One value of a metric; the time stamp is in milliseconds."""

    key: str
    value: float
    timestamp: int
    step: int


def tags_of(trial: Trial, outcome: Outcome, sweep: str, digest: str, outcome_digest: str) -> dict[str, str]:
    """Return the tags of a trial's run, those that the record is built from included."""
    identity = {KIND: "trial", TRIAL: trial.id, SWEEP: sweep, DIGEST: digest, STATUS: outcome.status}
    return {
        **identity,
        **trial_tags(trial),
        "fairsweep.attempt": outcome.attempt,
        ENVIRONMENT: outcome.environment_digest,
        SEAL: _json(seal(identity, params_of(trial, outcome), latest_of(outcome))),
        OUTCOME: outcome_digest,
        **({ERROR: error_line(outcome.error)} if outcome.error else {}),
        **split_tag(TRIAL_JSON, trial.model_dump_json()),
        **split_tag(ENVIRONMENT_JSON, shown_uri(_json(outcome.environment))),
    }


def trial_tags(trial: Trial) -> dict[str, str]:
    """Return the tags that follow from the Trial alone."""
    return {
        "fairsweep.phase": trial.phase,
        "fairsweep.method": trial.label,
        "fairsweep.implementation": trial.method.name,
        "fairsweep.task": trial.task,
        "fairsweep.model": trial.model.id,
        "fairsweep.capacity": _json(trial.method.capacity),
        "fairsweep.point": _json(trial.point),
        "fairsweep.seed": str(trial.seed),
    }


def seal(tags: Mapping[str, str], params: Mapping[str, str], metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the digests of what a run holds besides its trial: its sweep's digest and its status, and its values by group.

    Args:
        tags: of the run.
        params: of the run; those that follow from the trial alone are in no group.
        metrics: the latest value of each.
    """
    # Twelve digits survive every database; the last ones of a double may not.
    written = {**{name: f"{value:.12g}" for name, value in metrics.items()}, **params, "counts/trainable": params.get("trainable", "")}
    groups: dict[str, dict[str, str]] = {group: {} for group in SEALED}
    for name, value in written.items():
        if (group := name.partition("/")[0]) in groups:
            groups[group][name] = value
    digests = {group: content_digest(held)[:16] for group, held in groups.items()}
    return {SEALED_DIGEST: tags.get(DIGEST, ""), "status": tags.get(STATUS, ""), **digests}


def seal_in(tags: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the seal that a run carries; None for a run that was delivered without one."""
    if SEAL not in tags:
        return None
    try:
        found = json.loads(tags[SEAL])
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def run_name(trial: Trial) -> str:
    """Return the name of a trial's run, as `lora rank=8 learning_rate=0.001 seed 100 (select)`."""
    settings = [f"{key}={value}" for key, value in (*trial.method.capacity.items(), *trial.point.items())]
    return " ".join([trial.label, *settings, f"seed {trial.seed} ({trial.phase})"])[:250]


def params_of(trial: Trial, outcome: Outcome) -> dict[str, str]:
    """Return every hyper-parameter, the capacity, seed, data digests and trainable parameters."""
    content = {**trial_params(trial), **{f"digest/{split}": value for split, value in outcome.data_digests.items()}}
    if outcome.best_step is not None:
        content["best_step"] = str(outcome.best_step)
    if counts := outcome.counts:
        content |= {f"counts/{name}": str(value) for name, value in counts.model_dump().items()}
        content["trainable"] = str(counts.trainable)
    return content


def trial_params(trial: Trial) -> dict[str, str]:
    """Return the params that follow from the Trial alone."""
    elsewhere = {"model", "method", "training", "point", "phase"}
    content = trial.model_dump(mode="json", exclude=elsewhere if trial.bracket else elsewhere | {"bracket"})
    content |= {"model": trial.model.id, "dtype": trial.model.dtype, "method": trial.method.name}
    content |= {
        "model_revision": trial.model.revision,
        "model_digest": trial.model.digest,
        "method_version": trial.method.version,
    }
    content |= trial.training.model_dump(mode="json", exclude={"batches"} if trial.training.batches == "shuffled" else None)
    content |= {f"capacity/{key}": value for key, value in trial.method.capacity.items()}
    content |= {f"setting/{key}": value for key, value in trial.method.settings.items()}
    return {_key(key): _short(value) for key, value in _flat(content)}


def points_of(outcome: Outcome) -> list[Point]:
    """Return the points of all metrics: the curves, and after them the final values, which are therefore the latest ones."""
    started, ended = int(outcome.started * 1000), int(outcome.ended * 1000)
    last = max([outcome.usage.steps, *(step for curve in outcome.curves.values() for step, _ in curve)])
    points = {
        (key, step): Point(key, value, started + max(ended - started, 0) * step // (last + 1), step)
        for key, curve in outcome.curves.items()
        for step, value in curve
    }
    end = max(ended, started + 1)
    return [*points.values(), *(Point(key, value, end, last) for key, value in finals_of(outcome).items())]


def latest_of(outcome: Outcome) -> dict[str, float]:
    """Return the latest value of every metric that a run holds: the final one, or the end of a curve that has no final value."""
    ends = {key: max(curve)[1] for key, curve in outcome.curves.items() if curve}
    return {**ends, **finals_of(outcome)}


def finals_of(outcome: Outcome) -> dict[str, float]:
    """Return the final value of every metric: scores, profile and usage."""
    # What a trial's time went to stands in its outcome.json, and summed up on the sweep run.
    profile = {f"profile/{name}": value for name, value in outcome.profile.model_dump(exclude={"spans"}).items() if value is not None}
    usage = {f"usage/{name}": value for name, value in outcome.usage.model_dump().items()}
    return {key: float(value) for key, value in {**outcome.metrics, **profile, **usage}.items()}


def error_line(error: str) -> str:
    """Return what an error says in one line as a tag can hold it, printable, short and without credentials: the end of a stack trace."""
    lines = [line for line in error.strip().splitlines() if line.strip()] or [""]
    line = lines[-1] if '\n  File "' in error else lines[0]
    return shown_uri("".join(c if c.isprintable() else " " for c in line))[:_ERROR_LIMIT]


def split_tag(name: str, text: str) -> dict[str, str]:
    """Return a long text as as many tags as it takes: `name`, `name.1`, ..."""
    pieces = [text[start : start + _TAG_LIMIT] for start in range(0, len(text), _TAG_LIMIT)] or [""]
    return {(f"{name}.{number}" if number else name): piece for number, piece in enumerate(pieces)}


def joined_tag(name: str, tags: Mapping[str, str]) -> str | None:
    """Return the text that `split_tag` spread over tags; None where there is none."""
    if name not in tags:
        return None
    pieces = [tags[name]]
    while (piece := tags.get(f"{name}.{len(pieces)}")) is not None:
        pieces.append(piece)
    return "".join(pieces)


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


@lru_cache(maxsize=4096)
def _key(name: str) -> str:
    return re.sub(r"[^\w./ :-]", "_", name)[:250]


def _short(value: Any) -> str:
    # As JSON writes them, without its set-up for each of the many values of ten thousand runs.
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    text = value if isinstance(value, str) else _json(value)
    if len(text) <= _PARAM_LIMIT:
        return text or "none"
    return f"{text[: _PARAM_LIMIT - 30]}... ({len(text)} characters)"


def _json(value: Any) -> str:
    return _COMPACT.encode(value)


_COMPACT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
