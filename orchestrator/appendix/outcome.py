"""The sections on what came of the trials: their cost, their failures, their reads of the test split."""

from __future__ import annotations

from collections import Counter

from orchestrator.appendix.blocks import Block, Items, Paragraph, Section, Table
from orchestrator.appendix.source import Source
from orchestrator.appendix.words import number, word
from orchestrator.cells import row_name
from orchestrator.leaderboard.columns import size
from orchestrator.tracking.records import RunRecord
from search_spaces.trial import Trial

_FAILURES = 300
"""Failed trials that are listed one by one."""


def cost(source: Source) -> Section:
    """Device hours by method, and what a row takes."""
    blocks = [_hours(source), _row_costs(source)]
    if not source.board.solo:
        note = "Times and memory were taken beside other trials: they are no profile. resources: {solo: true} measures each alone."
        return Section("Cost", [*blocks, Paragraph(note)])
    return Section("Cost", blocks)


def failures(source: Source) -> Section:
    """Every trial that did not finish, with its error, and what has not run."""
    failed = [(trial, record) for trial, record in source.sweep.trials.values() if record.status not in ("finished", "pruned")]
    missing = source.board.certificate.missing
    if not failed and not missing:
        return Section("Failures", [Paragraph("Every planned trial ran and finished.")])
    rows = [_failure(trial, record) for trial, record in failed[:_FAILURES]]
    header = ["row", "task", "phase", "seed", "status", "error", "run"]
    caption = f"Trials that did not finish: {len(failed)}"
    if len(failed) > _FAILURES:
        caption += f"; the first {_FAILURES}, `fairsweep runs` lists all"
    blocks: list[Block] = [Table(caption, header, rows, frozenset({3}))] if rows else []
    if missing:
        blocks += [Paragraph(f"Planned trials that have not run: {len(missing)}."), Items(_first(missing))]
    return Section("Failures", blocks)


def test_reads(source: Source) -> Section:
    """How often the test split was read, and by whom."""
    reads: dict[tuple[str, str, str, str], list[int]] = {}
    for trial, record in source.sweep.trials.values():
        key = trial.phase, row_name(trial.label, trial.method.capacity), trial.model.id, trial.task
        reads.setdefault(key, []).append(record.outcome.usage.test_reads)
    select = [count for key, counts in reads.items() for count in counts if key[0] == "select"]
    rows = [[*key[1:], str(len(counts)), str(sum(counts))] for key, counts in reads.items() if key[0] == "report"]
    note = f"{sum(select)} reads by the {len(select)} trials of the select phase; each report run may read once. "
    note += "Rule F13 of the certificate counts the reads by other versions of this sweep."
    header = ["row", "model", "task", "report runs", "reads"]
    return Section("Reads of the test split", [Paragraph(note), Table("Reads of the test split", header, rows, frozenset({3, 4}))])


def _hours(source: Source) -> Table:
    hours = source.board.analysis.device_hours
    trials: dict[str, Counter[str]] = {}
    for trial, record in source.sweep.trials.values():
        trials.setdefault(trial.label, Counter())[record.status] += 1
    rows = [
        [label, number(hours.get(label), 4), word(counts.total()), word(counts["finished"])]
        for label, counts in sorted(trials.items(), key=lambda item: -hours.get(item[0], 0.0))
    ]
    every: Counter[str] = sum(trials.values(), Counter())
    rows.append(["all", number(sum(hours.values()), 4), word(every.total()), word(every["finished"])])
    caption = "Device hours: time of every trial, failed ones included, times its workers"
    return Table(caption, ["label", "device hours", "trials", "finished"], rows, frozenset({1, 2, 3}))


def _row_costs(source: Source) -> Table:
    rows = [
        [
            row_name(row.method, row.capacity),
            row.model,
            word(row.trainable),
            size(row.adapter_bytes),
            number(row.seconds_per_step),
            size(row.peak_bytes),
            number(row.flops / 1e9 if row.flops else None),
        ]
        for row in source.board.rows
    ]
    header = ["row", "model", "trainable", "stored adapter", "s/step", "peak memory", "GFLOPs/step"]
    return Table("Cost of the rows", header, rows, frozenset(range(2, 7)))


def _failure(trial: Trial, record: RunRecord) -> list[str]:
    name, status = row_name(trial.label, trial.method.capacity), record.status.replace("_", " ")
    return [name, trial.task, trial.phase, str(trial.seed), status, record.outcome.error or "no reason known", record.run_id]


def _first(texts: tuple[str, ...]) -> list[str]:
    rest = len(texts) - _FAILURES
    return [*texts[:_FAILURES], *([f"and {rest} more: `fairsweep runs` lists all"] if rest > 0 else [])]
