"""What is registered: methods, tasks, base models and studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Rows = list[dict[str, Any]]


def methods(only: Sequence[str] = ()) -> Rows:
    """List methods: all, those that bridges offer among them, or the named ones.

    Raises:
        UnknownNameError: a name that no method has.
    """
    from trainers import registry

    cards = [registry.method_type(name).card for name in (only or (*registry.method_names(), *registry.bridged_names()))]
    return [
        {
            "name": card.name,
            "family": card.family,
            "source": card.reference,
            "mergeable": card.mergeable,
            "packable": card.packable,
            "exports_lora": card.exports_lora,
            "capacity": list(card.capacity),
            "settings": {key: setting.default for key, setting in card.settings.items()},
        }
        for card in cards
    ]


def tasks() -> Rows:
    """List all tasks."""
    from trainers import registry

    cards = [registry.task(name).card for name in registry.task_names()]
    return [
        {
            "name": c.name,
            "title": c.title,
            "form": c.form,
            "num_labels": c.num_labels,
            "main": c.main,
            "metrics": list(c.metrics),
            "hub": c.hub.path,
            "license": c.license,
        }
        for c in cards
    ]


def models() -> Rows:
    """List the registered base models."""
    from trainers.references import preset
    from trainers.registry import model_names

    rows = []
    for name in model_names():
        found = preset(name)
        assert found is not None
        config = found.config
        rows.append(
            {
                "name": name,
                "architecture": config["model_type"],
                "hidden": config["hidden_size"],
                "layers": config["num_hidden_layers"],
                "heads": config["num_attention_heads"],
                "key_value_heads": config.get("num_key_value_heads", config["num_attention_heads"]),
                "about": found.about,
            }
        )
    return rows


def studies() -> Rows:
    """List the ready sweeps."""
    from search_spaces.loading import list_studies, load_spec

    rows = []
    for name in list_studies():
        spec = load_spec(name)
        models = [model.id for model in spec.models]
        rows.append({"name": name, "models": models, "tasks": list(spec.tasks), "methods": list(spec.methods)})
    return rows
