"""Whether a run in MLflow still says what was delivered: its tags against its trial, its values against their seal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from orchestrator.tracking import schema
from orchestrator.tracking.records import RunRecord
from search_spaces.errors import TrackingError
from search_spaces.trial import Trial, digest

RULE_OF_PARAM: Mapping[str, str] = {
    "data": "F3",
    "max_length": "F3",
    "max_new_tokens": "F3",
    "batches": "F3",
    "batch_size": "F4",
    "epochs": "F4",
    "steps": "F4",
    "capacity": "F2",
    "seed": "F5",
    "vary": "F5",
    "targets": "F7",
    "head": "F7",
    "also_train": "F7",
    "dtype": "F8",
    "model": "F8",
    "model_digest": "F8",
    "model_revision": "F8",
    "checkpoint": "F11",
    "method": "F12",
    "method_version": "F12",
    "setting": "F12",
    "optimizer": "F12",
    "optimizer_settings": "F12",
}
"""First part of a param's name -> the rule that it concerns; the others are hyper-parameters (F1)."""

RULE_OF_TAG: Mapping[str, str] = {"phase": "F6", "task": "F3", "model": "F8", "capacity": "F2", "point": "F1", "seed": "F5"}
"""Last part of a tag's name -> the rule that it concerns; the others name the method (F12)."""

RULE_OF_SEALED: Mapping[str, str] = {
    schema.SEALED_DIGEST: "F13",
    "status": "F11",
    "selection": "F11",
    "best_step": "F11",
    "test": "F6",
    "usage": "F4",
    "digest": "F3",
    "counts": "F2",
    "profile": "F10",
}
"""Group of sealed values -> the rule that relies on them."""

COMPANY = ("solo", "side_by_side", "process")
"""What an environment says of a trial's company, which changes no numbers and is no part of the environment's digest."""


class Contradiction(NamedTuple):
    """What a run says against itself.

    Attributes:
        rule: id of the fairness rule that it concerns.
        text: in words.
    """

    rule: str
    text: str


def contradictions(record: RunRecord) -> list[Contradiction]:
    """Return all that a run says against itself.

    Raises:
        TrackingError: the run does not hold its trial.
    """
    return [*_params(record), *_tags(record), *_sealed(record), *_environment(record)]


def altered_digest(record: RunRecord) -> bool:
    """Tell whether a run's tag names another version of the sweep than the one that it was delivered under."""
    seal = schema.seal_in(record.tags)
    return seal is not None and seal.get(schema.SEALED_DIGEST) != record.tags.get(schema.DIGEST)


def delivered_under(record: RunRecord, digest: str) -> bool:
    """Tell whether a run's seal names a version of its sweep."""
    return (schema.seal_in(record.tags) or {}).get(schema.SEALED_DIGEST) == digest


def unreadable(record: RunRecord) -> Contradiction | None:
    """Return why a run cannot be counted: its trial is not the one that it names, or its values are no Outcome; None where it can."""
    try:
        record.trial  # noqa: B018  read to see whether it can be
    except TrackingError as error:
        return Contradiction(_edited(record), str(error))
    try:
        record.outcome  # noqa: B018
    except TrackingError as error:
        return Contradiction("F11", str(error))
    return None


def rule_of(param: str) -> str:
    """Return the rule that a param concerns."""
    return RULE_OF_PARAM.get(param.partition("/")[0], "F1")


def _edited(record: RunRecord) -> str:
    """Return the rule that an edited trial concerns, as the run's params tell what it was."""
    try:
        trial = Trial.model_validate_json(schema.joined_tag(schema.TRIAL_JSON, record.tags) or "")
    except ValidationError:
        return "F1"
    changed = (name for name, value in schema.trial_params(trial).items() if record.params.get(name, "nothing") != value)
    return rule_of(next(changed, ""))


def _params(record: RunRecord) -> Iterator[Contradiction]:
    for text in record.contradictions():
        yield Contradiction(rule_of(text.partition(":")[0]), f"contradicts its trial: {text}")


def _tags(record: RunRecord) -> Iterator[Contradiction]:
    for name, value in schema.trial_tags(record.trial).items():
        if record.tags.get(name, "nothing") != value:
            rule = RULE_OF_TAG.get(name.rpartition(".")[2], "F12")
            yield Contradiction(rule, f"contradicts its trial: {name}: {record.tags.get(name, 'nothing')}, not {value}")


def _sealed(record: RunRecord) -> Iterator[Contradiction]:
    seal = schema.seal_in(record.tags)
    if seal is not None:
        for name, found in schema.seal(record.tags, record.params, record.metrics).items():
            if seal.get(name) != found:
                yield Contradiction(RULE_OF_SEALED[name], f"its {name} was changed after it was delivered")


def _environment(record: RunRecord) -> Iterator[Contradiction]:
    content: dict[str, Any] = dict(record.outcome.environment)
    if isinstance(execution := content.get("execution"), Mapping):
        content["execution"] = {name: value for name, value in execution.items() if name not in COMPANY}
    found, tag = digest(content)[:16], record.outcome.environment_digest
    if content and found != tag:
        yield Contradiction("F10", f"its environment has digest {found}, and its tag {schema.ENVIRONMENT} says {tag or 'nothing'}")
