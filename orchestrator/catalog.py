"""The real catalog: what the plan asks of the registry, looked up on first use, so that a command that needs no torch loads none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from search_spaces.trial import DataRef, ModelRef, Scalar
from trainers.api import Counts, MethodCard, TaskCard


class InstalledCatalog:
    """Methods, tasks and models of this installation."""

    def method(self, name: str) -> MethodCard:
        """Return a method's card."""
        from trainers import registry

        return registry.method_type(name).card

    def method_version(self, name: str) -> str:
        """Return a hash of the code that implements a method."""
        from trainers import registry

        return registry.method_version(name)

    def task(self, name: str) -> TaskCard:
        """Return a task's card."""
        from trainers import registry

        return registry.task(name).card

    def model(self, ref: ModelRef) -> ModelRef:
        """Return a base model with the digest of its weights."""
        from trainers import references

        return references.resolve(ref)

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
    ) -> Counts:
        """Count what a method trains on a model, on the meta device."""
        from trainers import registry
        from trainers.counting import count

        base = _shapes(model.id, model.revision)
        return count(base, registry.method_type(method), targets, capacity, settings, also_train).counts


@cache
def _shapes(model_id: str, revision: str | None) -> Any:
    from trainers.shapes import shapes

    return shapes(ModelRef(id=model_id, revision=revision))
