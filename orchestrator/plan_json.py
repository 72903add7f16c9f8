"""A Plan as JSON: what `fairsweep plan --json` prints, and `plan.json`, which `plan_document` reads again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.budgets import fit_json
from orchestrator.cells import Capacity, Cell, cell_of
from orchestrator.halving import Rungs
from orchestrator.published import figures_beside, without_row
from search_spaces.trial import TRIAL_FORMAT, Trial
from trainers.results import Counts

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.study_plan import StudyPlan
    from orchestrator.variants import Variant

Json = dict[str, Any]


def summary(plan: Plan) -> Json:
    """Return what a user wants to see of a plan: how much it runs, what it trains, what it refuses, and its certificate."""
    per_cell = plan.factory.point_count * len(plan.spec.seeds.select) + len(plan.spec.seeds.report)
    by_label = Counter({label: count * per_cell for label, count in Counter(cell.label for cell in plan.cells).items()})
    return {
        "sweep": plan.spec.name,
        "digest": plan.digest,
        "trials": plan.select_count + plan.report_count,
        "phases": {"select": plan.select_count, "report": plan.report_count},
        "open": plan.select_count - len(plan.trials),
        "search": search_json(plan.factory.study),
        "methods": _methods_json(plan),
        "trials_by_method": {variant.label: by_label[variant.label] for variant in plan.found.variants},
        "base": {"trials": len(plan.base_trials)},
        "main_metrics": plan.main_metrics,
        "budgets": plan.spec.budgets.model_dump(mode="json") if plan.spec.budgets else None,
        "notes": plan.notes,
        "halving": _halving_json(plan),
        "published": _published_json(plan),
        "refused": [asdict(refusal) for refusal in plan.refused],
        "certificate": plan.certificate.to_json(),
    }


def document(plan: Plan) -> Json:
    """Return all of a plan that a leaderboard or an audit needs that reads MLflow only: the summary, every cell and every known trial."""
    return {
        **summary(plan),
        "trial_format": TRIAL_FORMAT,
        "spec": plan.spec.model_dump(mode="json"),
        "seeds": plan.spec.seeds.model_dump(mode="json"),
        "points": [dict(point) for point in plan.factory.points],
        "models": [model.model_dump() for model in plan.found.models],
        "data": {name: task.data.model_dump(exclude={"source"}) for name, task in plan.found.tasks.items()},
        "implementations": {variant.label: _implementation_json(variant) for variant in plan.found.variants},
        "cells": [_counted_cell_json(plan, cell) for cell in plan.cells],
        "select": [_trial_json(trial) for trial in plan.trials],
        "base_trials": [_trial_json(trial) for trial in plan.base_trials],
    }


def search_json(study: StudyPlan | None) -> Json | None:
    """Return what defines a search, or None where the whole grid is run."""
    return study.model_dump(mode="json") if study is not None else None


def _methods_json(plan: Plan) -> Json:
    rungs: dict[str, dict[Any, Json]] = {variant.label: {} for variant in plan.found.variants}
    for (model, label, capacity), counts in plan.found.counts.items():
        fits = plan.found.fits.get((model, label, capacity), ())
        rung = rungs[label].setdefault((capacity, tuple(fit.budget for fit in fits)), {"config": dict(capacity), "models": {}})
        rung["models"][model] = {**_counts_json(counts), "budgets": [fit_json(fit, plan.tolerance) for fit in fits]}
        rung["models"][model]["heads"] = _heads(plan, model, label, capacity)
    return {
        variant.label: {
            "implementation": variant.card.name,
            "points": plan.factory.point_count,
            "capacities": [_rung_json(**rung) for rung in rungs[variant.label].values()],
        }
        for variant in plan.found.variants
    }


def _heads(plan: Plan, model: str, label: str, capacity: Capacity) -> dict[str, int]:
    """Return the trainable parameters of the classification head by task."""
    found = ((task, plan.counts.get(Cell(model, task, label, capacity))) for task in plan.found.tasks)
    return {task: counts.head for task, counts in found if counts}


def _rung_json(config: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> Json:
    """Return one capacity of a label; of several models and budgets, the one that is furthest off stands for the rung."""
    fits = [fit for counts in models.values() for fit in counts["budgets"]]
    furthest = max(fits, key=lambda fit: abs(fit["off"]), default=None)
    return {
        "config": config,
        "trainable": next(iter(models.values()))["trainable"],
        "budget": furthest and furthest["budget"],
        "off": furthest and furthest["off"],
        "within_tolerance": furthest and furthest["within_tolerance"],
        "models": models,
    }


def _halving_json(plan: Plan) -> Json | None:
    """Return the rungs of every task, the same for every row, with the steps that they leave of those of the whole grid."""
    if (section := plan.spec.halving) is None:
        return None
    training = {trial.task: trial.training for trial in plan.trials}
    tasks = {task: Rungs.of(section, some, len(plan.factory.points)).to_json() for task, some in training.items()}
    return {**section.model_dump(), "tasks": tasks}


def _published_json(plan: Plan) -> Json | None:
    """Return how many published figures there are, how many stand beside a row of this sweep, and the rows that it does not have."""
    if (published := plan.spec.published) is None:
        return None
    rows = (*plan.cells, *(refusal.cell for refusal in plan.refused), *map(cell_of, plan.base_trials))
    return {
        "sources": len(published.sources),
        "figures": len(list(published.figures())),
        "shown": len(figures_beside(published, rows)),
        "without_row": without_row(published, rows),
    }


def _implementation_json(variant: Variant) -> Json:
    card = variant.card
    return {
        "method": card.name,
        "version": variant.version,
        "family": card.family,
        "settings": variant.settings,
        "defaults": variant.defaults,
        "optimizer": variant.optimizer.name,
        "optimizer_settings": variant.optimizer_settings,
        "reads": list(variant.reads),
        "trains_extra": list(card.trains_extra),
        "is_control": card.is_control,
        "head_schedule": card.head_schedule,
    }


def _counted_cell_json(plan: Plan, cell: Cell) -> Json:
    counts = _counts_json(plan.counts[cell])
    return {**_cell_json(cell), "counts": counts, "roles": list(plan.roles(cell)), "budgets": plan.budgets(cell)}


def _cell_json(cell: Cell) -> Json:
    return {"label": cell.label, "model": cell.model, "task": cell.task, "capacity": cell.config}


def _trial_json(trial: Trial) -> Json:
    return {"id": trial.id, **_cell_json(cell_of(trial)), "point": trial.point, "seed": trial.seed}


def _counts_json(counts: Counts) -> dict[str, int]:
    return {**counts.model_dump(), "trainable": counts.trainable}
