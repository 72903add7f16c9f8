"""Turns a stored adapter into the formats of other tools."""

from __future__ import annotations

from pathlib import Path

from search_spaces.errors import ModelError
from trainers.adapters import export as formats
from trainers.adapters import storing
from trainers.adapters.attach import attached
from trainers.models import BaseModel
from trainers.registry import method_type


def export(base: BaseModel, folder: Path, form: str, out: Path) -> None:
    """Write the adapter stored in `folder` as `form` (`lora`, `peft` or `merged`) to `out`.

    Args:
        base: the base that the adapter was trained on.

    Raises:
        StorageError: the stored adapter is damaged or does not fit.
        ModelError: it belongs to another base.
        NotApplicableError: the method cannot be written in this format; the message gives the reason.
    """
    state, document = storing.load(folder)
    if document.model.digest and base.ref.digest and document.model.digest != base.ref.digest:
        raise ModelError(f"the adapter in {folder} was trained on {document.model.id!r}, with other weights than {base.ref.id!r}")
    with attached(
        base.model,
        method_type(document.method.name),
        document.targets,
        capacity=document.method.capacity,
        settings=document.method.settings,
        scale=document.scale,
        also_train=document.also_train,
        init_seed=document.init_seed,
        num_labels=document.num_labels,
    ) as model:
        storing.restore(model, state)
        formats.write(model, form, out, document.model.id, base.tokenizer)
