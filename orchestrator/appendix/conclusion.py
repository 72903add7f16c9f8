"""The sections on what a reader may rely on, and how to get the same again: the certificate, the commands."""

from __future__ import annotations

import shlex

from orchestrator.appendix.blocks import Block, Commands, Items, Paragraph, Section
from orchestrator.appendix.source import Source
from orchestrator.appendix.words import clipped, facts, mapping
from orchestrator.fairness import Rule
from orchestrator.leaderboard.columns import printable

SPEC_FILE = "sweep.yaml"
"""Name of the sweep file beside the appendix."""


def certificate(source: Source) -> Section:
    """The rules one by one, with their evidence in words."""
    board = source.board
    blocks: list[Block] = [
        Paragraph(f"{board.verdict()}. Every rule is derived from the MLflow runs alone, not from the plan.", not board.certificate.ok)
    ]
    for rule in board.certificate.rules:
        blocks += _rule(rule)
    return Section("Fairness certificate", blocks)


def reproduction(source: Source) -> Section:
    """The commands that give the same numbers, and what they rest on."""
    name, digest = source.board.sweep, source.board.digest
    if source.spec is None:
        file = "MLflow does not hold the sweep file of this digest: use your own copy."
    else:
        file = f"{SPEC_FILE}, beside this file, is the sweep file as it ran."
    note = f"{file} A trial has the same id on every machine: trials that are recorded are not repeated. Digest of the sweep: {digest}."
    versions = (mapping(record.outcome.environment.get("versions")) for _, record in source.sweep.trials.values())
    found = dict.fromkeys(str(known["fairsweep"]) for known in versions if "fairsweep" in known)
    made = f"It ran with fairsweep {', '.join(found)}. " if found else ""
    quoted = shlex.quote(printable(name))
    commands = [
        f"fairsweep plan {SPEC_FILE}",
        f"fairsweep run {SPEC_FILE}",
        f"fairsweep audit {quoted}",
        f"fairsweep leaderboard {quoted} --format json",
        f"fairsweep appendix {quoted} --out DIR",
    ]
    return Section("Reproduction", [Paragraph(made + note), Commands(commands)])


def _rule(rule: Rule) -> list[Block]:
    head = Paragraph(f"{rule.id} {rule.title}: {'holds' if rule.ok else 'FAILS'}.", strong=not rule.ok)
    deviations = [clipped(f"deviation: {text}") for text in rule.evidence.get("deviations", ())]
    marks = [clipped(f"mark: {label}: {text}") for label, text in rule.evidence.get("marks", {}).items()]
    texts = [*deviations, *marks, *facts(rule.evidence)]
    return [head, *([Items(texts)] if texts else [])]
