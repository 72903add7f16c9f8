"""The sections on what the trials had in common: models, data, budgets, seeds, environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.appendix.blocks import Block, Items, Paragraph, Section, Table
from orchestrator.appendix.source import Source
from orchestrator.appendix.words import DIGEST_LENGTH, mapping, word
from orchestrator.cells import cell_of
from orchestrator.tracking.records import RunRecord
from search_spaces.sections import ALL
from search_spaces.trial import Trial

_SPLITS = ("train", "selection", "test")


def data(source: Source) -> Section:
    """What the trials read: sizes, and digests of the splits."""
    settings = mapping(source.settings.get("data"))
    where = settings.get("source")
    kind = where if where in ("embedded", "hub") else "files of a folder"
    note = f"Data source: {kind}. Digests of what the trials read, their first {DIGEST_LENGTH} digits; more than one is a deviation."
    header = ["task", "split", "at most", "digests"]
    caps = mapping(source.document.get("data"))
    rows = [
        [task, split, _cap(mapping(caps.get(task)), split), ", ".join(sorted(found))] for (task, split), found in _digests(source).items()
    ]
    table = Table("What the trials read", header, rows, frozenset({2}))
    return Section("Models and data", [_base_models(source), Paragraph(note), table])


def budgets(source: Source) -> Section:
    """What every trial consumed."""
    found: dict[tuple[str, str, str], Counter[tuple[int, ...]]] = {}
    for trial, record in _finished(source):
        if not cell_of(trial).is_base:
            usage = record.outcome.usage
            key = trial.model.id, trial.task, trial.phase
            found.setdefault(key, Counter())[usage.steps, usage.examples, usage.text_tokens, usage.evaluations, usage.virtual_tokens] += 1
    rows = [[*key, *map(word, amounts), str(count)] for key, counts in found.items() for amounts, count in sorted(counts.items())]
    header = ["model", "task", "phase", "steps", "examples", "text tokens", "evaluations", "virtual tokens", "trials"]
    note = "What the finished trials consumed. Seeds differ in the order of the examples, and so in the tokens that they saw."
    return Section("Budgets", [Paragraph(note), Table("Budgets as consumed", header, rows, frozenset(range(3, 9)))] if rows else [])


def seeds(source: Source) -> Section:
    """The seeds and what they drive."""
    found = mapping(source.settings.get("seeds"))
    texts = [f"{phase}: {word(found.get(phase))}" for phase in ("select", "report")]
    return Section("Seeds", [Items([*texts, f"a seed drives: {word(found.get('vary'))}; each of them from a generator of its own"])])


def environment(source: Source) -> Section:
    """Versions, hardware and execution, and what differs between environments."""
    found: dict[str, tuple[dict[str, Any], Counter[str]]] = {}
    for trial, record in source.sweep.trials.values():
        known = {part: mapping(record.outcome.environment.get(part)) for part in ("versions", "hardware", "execution")}
        # Which process ran a trial says nothing of its environment.
        facts = {key: word(value) for part in known.values() for key, value in part.items() if key != "process"}
        found.setdefault(repr(sorted(facts.items())), (facts, Counter()))[1][trial.phase] += 1
    groups = sorted(found.values(), key=lambda group: -group[1].total())
    if not groups:
        return Section("Environment", [])
    usual = groups[0][0]
    caption = f"The environment of {groups[0][1].total()} of {sum(counts.total() for _, counts in groups)} trials"
    blocks: list[Block] = [Table(caption, ["", "version or value"], [[key, value] for key, value in usual.items()])]
    if len(groups) > 1:
        blocks.append(Items([f"differing in {counts.total()}: {_difference(usual, facts)}" for facts, counts in groups[1:]]))
    return Section("Environment", blocks)


def _cap(caps: Mapping[str, Any], split: str) -> str:
    if split not in _SPLITS:
        return "-"
    return "all" if caps.get(split) == ALL else word(caps.get(split))


def _base_models(source: Source) -> Table:
    found = source.document.get("models") or ()
    rows = [[word(mapping(model).get(key)) for key in ("id", "dtype", "revision", "digest")] for model in found]
    return Table("Base models", ["model", "precision", "revision", "digest of the weights"], rows)


def _digests(source: Source) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for trial, record in source.sweep.trials.values():
        for split, digest in record.outcome.data_digests.items():
            if split == "order" and cell_of(trial).is_base:
                continue  # nothing is trained in it
            name = f"order of seed {trial.seed_of('order')}" if split == "order" else split
            found.setdefault((trial.task, name), set()).add(digest[:DIGEST_LENGTH])
    tasks = {task: number for number, task in enumerate(source.board.tasks)}
    splits = {split: number for number, split in enumerate(_SPLITS)}
    return dict(sorted(found.items(), key=lambda item: (tasks.get(item[0][0], 0), splits.get(item[0][1], len(splits)), item[0])))


def _finished(source: Source) -> Iterator[tuple[Trial, RunRecord]]:
    return ((trial, record) for trial, record in source.sweep.trials.values() if record.status == "finished")


def _difference(usual: dict[str, str], facts: dict[str, str]) -> str:
    keys = [key for key in dict.fromkeys([*usual, *facts]) if usual.get(key) != facts.get(key)]
    return ", ".join(f"{key} {facts.get(key, 'unknown')} instead of {usual.get(key, 'nothing')}" for key in keys)
