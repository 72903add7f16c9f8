"""Stores an adapter as one safetensors file and one JSON document, and takes it back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from search_spaces.errors import StorageError
from search_spaces.trial import MethodRef, ModelRef
from trainers.adapters.attach import AdaptedModel

TENSORS, DOCUMENT = "adapter.safetensors", "adapter_config.json"
METHOD, EXTRAS, HEAD = "method.", "extras.", "head."


class AdapterDocument(BaseModel):
    """What an adapter's tensors belong to: enough to attach it again. More keys may stand beside these."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: ModelRef
    method: MethodRef
    targets: tuple[str, ...]
    scale: float = 1.0
    also_train: tuple[str, ...] = ()
    num_labels: int | None = None
    """Outputs of the classification head, where the adapter has one."""
    init_seed: int = 0
    """Restores frozen random parts, which are drawn again instead of being stored."""


def adapter_state(model: AdaptedModel) -> dict[str, Tensor]:
    """Return what is stored of an adapted model: the method's tensors under `method.`, norms and biases under `extras.`, and the head."""
    state = {METHOD + name: tensor for name, tensor in model.method.stored().items()}
    state |= {EXTRAS + name: tensor.detach() for name, tensor in model.extras.held().items()}
    return state | {HEAD + name: tensor.detach() for name, tensor in model.head.held().items()}


def save(model: AdaptedModel, folder: Path, document: Mapping[str, Any]) -> int:
    """Write an adapter.

    Args:
        folder: is created; it receives `adapter.safetensors` and `adapter_config.json`.
        document: the content of an `AdapterDocument`, JSON-like.

    Returns:
        The size of the tensors' file in bytes.

    Raises:
        StorageError: the document is incomplete, or the folder cannot be written.
    """
    _validated(document, folder)
    state = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in adapter_state(model).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / TENSORS, metadata={"format": "pt"})
        (folder / DOCUMENT).write_text(json.dumps(dict(document), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise StorageError(f"cannot write the adapter to {folder}: {error}. Fix: free space or choose another folder") from error
    return (folder / TENSORS).stat().st_size


def load(folder: Path) -> tuple[dict[str, Tensor], AdapterDocument]:
    """Read an adapter; only JSON and safetensors are read, and only inside the folder.

    Raises:
        StorageError: a file is missing, damaged, or a link that leads out of the folder.
    """
    text = _inside(folder, DOCUMENT).read_bytes()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise StorageError(f"{folder / DOCUMENT} is not JSON: {error}") from error
    try:
        state = load_file(_inside(folder, TENSORS))
    except SafetensorError as error:
        raise StorageError(f"{folder / TENSORS} is not a safetensors file: {error}") from error
    return state, _validated(content, folder)


def restore(model: AdaptedModel, state: Mapping[str, Tensor]) -> None:
    """Put stored tensors into an attached adapter of the same method, capacity and base.

    Raises:
        StorageError: names or shapes differ; nothing is changed then.
    """
    own = {name: tuple(tensor.shape) for name, tensor in adapter_state(model).items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if own != given:
        differing = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
        first = differing[0]
        raise StorageError(
            f"the stored adapter does not fit {model.method.card.name} on this base: {len(differing)} tensors differ, the first "
            f"is {first!r} ({given.get(first, 'absent')} stored, {own.get(first, 'absent')} needed). "
            "Fix: use the base and the capacity that it was trained with"
        )
    for prefix, part in ((METHOD, model.method), (EXTRAS, model.extras), (HEAD, model.head)):
        part.restore({name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)})


def _validated(content: Mapping[str, Any], folder: Path) -> AdapterDocument:
    try:
        return AdapterDocument.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise StorageError(f"{folder / DOCUMENT}: {where}: {first['msg']}") from error


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if path.parent != folder.resolve():
        raise StorageError(f"{folder / name} leads out of its folder, to {path}. Fix: replace the link by the file")
    if not path.is_file():
        raise StorageError(f"{folder} holds no {name}. Valid: a folder written by fairsweep, with {TENSORS} and {DOCUMENT}")
    return path
