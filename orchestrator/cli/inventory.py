"""Commands on what is registered: methods, tasks, models, studies, count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from orchestrator.cli.command import DONE, Answer, command, json_option
from search_spaces.capacity import Match
from search_spaces.errors import FairsweepError
from search_spaces.sections import EXTRAS

Rows = Sequence[Mapping[str, Any]]


targets_option = click.option("--targets", default="", metavar="ROLES", help="Roles, such as q,v (default: the method's own).")
also_train_option = click.option(
    "--also-train", multiple=True, type=click.Choice(EXTRAS), help="Trained besides the adapter, as in a sweep; repeatable."
)


def _show(answer: Answer, rows: Rows, as_json: bool) -> int:
    from orchestrator import tables

    if as_json:
        answer.json(rows)
    else:
        answer.show(tables.listing(rows))
    return DONE


def _roles(targets: str) -> tuple[str, ...]:
    return tuple(role.strip() for role in targets.split(",") if role.strip())


@command(
    click.option("--method", "only", multiple=True, metavar="NAME", help="Only this method; repeatable."),
    click.option("--model", help="Show every method's sizes on this model: a registered name, hub id or local folder."),
    targets_option,
    also_train_option,
    click.option(
        "--budget", "budgets", multiple=True, type=click.IntRange(1), help="Trainable parameters to solve capacities for; repeatable."
    ),
    click.option("--match", type=click.Choice(["below", "nearest"]), default="below", show_default=True, help="How a budget is matched."),
    json_option,
)
def methods(
    answer: Answer,
    only: tuple[str, ...],
    model: str | None,
    targets: str,
    also_train: tuple[str, ...],
    budgets: tuple[int, ...],
    match: Match,
    as_json: bool,
) -> int:
    """List the registered methods, those of HF PEFT among them; with --model, the sizes that they come in.

    HF PEFT builds a whole model for every size: on a model, its methods are those that --method names.
    """
    from orchestrator import inventory, sizing, tables
    from trainers.registry import method_names

    rows = inventory.methods(only or (method_names() if model else ()))
    if model is None:
        if targets or also_train or budgets:
            raise FairsweepError("sizes are those on a base model. Fix: add --model, such as --model llama2-7b")
        return _show(answer, rows, as_json)
    sizes = sizing.Sizing(model, _roles(targets), budgets, match, also_train).of(rows)
    if as_json:
        answer.json(sizes)
    else:
        answer.show(tables.listing(sizing.table_rows(sizes)), *map(tables.line, sizing.remarks(sizes)))
    return DONE


@command(json_option)
def tasks(answer: Answer, as_json: bool) -> int:
    """List the registered tasks."""
    from orchestrator import inventory

    return _show(answer, inventory.tasks(), as_json)


@command(json_option)
def models(answer: Answer, as_json: bool) -> int:
    """List the registered base models; any hub id or local folder works as well."""
    from orchestrator import inventory

    return _show(answer, inventory.models(), as_json)


@command(json_option)
def studies(answer: Answer, as_json: bool) -> int:
    """List the ready sweeps."""
    from orchestrator import inventory

    return _show(answer, inventory.studies(), as_json)


@command(
    click.option("--model", required=True, help="Registered name, hub id or local folder."),
    click.option("--method", required=True, help="Registry key, such as lora or peft/vera."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Capacity or setting, such as rank=4; repeatable."),
    targets_option,
    also_train_option,
    click.option("--task", help="Count the classification head that this task needs (default: the model's own)."),
    json_option,
)
def count(
    answer: Answer,
    model: str,
    method: str,
    settings: tuple[str, ...],
    targets: str,
    also_train: tuple[str, ...],
    task: str | None,
    as_json: bool,
) -> int:
    """Count trainable parameters, from the model's config alone."""
    from orchestrator import tables
    from orchestrator.counting import count_document

    document = count_document(model, method, settings, _roles(targets), also_train, task)
    if as_json:
        answer.json(document)
    else:
        answer.show(tables.document(document))
    return DONE
