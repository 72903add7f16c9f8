"""The real catalog: what the plan asks of the registry, looked up on first use, so that a command that needs no torch loads none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.trial import DataRef, ModelRef, Scalar
from trainers.api import MethodCard, OptimizerCard, TaskCard
from trainers.results import Count


class InstalledCatalog:
    """Methods, optimisers, tasks and models of this installation."""

    def method(self, name: str) -> MethodCard:
        """Return a method's card."""
        from trainers import registry

        return registry.method_type(name).card

    def method_version(self, name: str) -> str:
        """Return a hash of the code that implements a method."""
        from trainers import registry

        return registry.method_version(name)

    def optimizer(self, name: str) -> OptimizerCard:
        """Return an optimiser's card."""
        from trainers import registry

        return registry.optimizer_type(name).card

    def optimizer_version(self, name: str) -> str:
        """Return a hash of the code that implements an optimiser."""
        from trainers import registry

        return registry.optimizer_version(name)

    def task(self, name: str) -> TaskCard:
        """Return a task's card."""
        from trainers import registry

        return registry.task(name).card

    def model(self, ref: ModelRef) -> ModelRef:
        """Return a base model with the digest of its weights."""
        from trainers import references

        return references.resolve(ref)

    def has_head(self, model: ModelRef) -> bool:
        """Tell whether a base model has a classification head."""
        from trainers.counting import has_head_on

        return has_head_on(ModelRef(id=model.id, revision=model.revision))

    def data(self, task: str, source: str, *, train: int, selection: int, test: int, seed: int) -> DataRef:
        """Return a task's data with the digest of its rows."""
        from trainers import data, registry

        return data.resolve(registry.task(task), source, train=train, selection=selection, test=test, seed=seed)

    def count(
        self,
        model: ModelRef,
        method: str,
        capacity: Mapping[str, Scalar],
        settings: Mapping[str, Any],
        targets: Sequence[str],
        also_train: Sequence[str],
        num_labels: int | None,
    ) -> Count:
        """Count what a method trains on a model, and name what it acts on, on the meta device."""
        from trainers.counting import count_on

        ref = ModelRef(id=model.id, revision=model.revision)
        return count_on(ref, method, targets, capacity, settings, also_train, num_labels)
