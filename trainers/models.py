"""Base models: a registered preset, a hub id or a local folder; whole, or as shapes on the meta device."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from search_spaces.errors import ModelError, suggestion
from search_spaces.trial import ModelRef, digest
from trainers.adapters.copies import has_head
from trainers.locations import cache_root
from trainers.references import Preset, preset
from trainers.registry import model_names
from trainers.tokenizers import byte_level

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ENCODERS = ("bert", "roberta")


@dataclass(frozen=True)
class BaseModel:
    """A base model in memory."""

    ref: ModelRef
    model: nn.Module
    tokenizer: Any
    """A fast tokenizer of transformers."""

    @property
    def has_head(self) -> bool:
        """Whether it predicts labels with a classification head; else it writes text."""
        return has_head(self.model)


def config_of(ref: ModelRef) -> Any:
    """Return the model's config: of a preset without a network.

    Raises:
        ModelError: it cannot be loaded.
    """
    known = preset(ref.id)
    if known is not None:
        return AutoConfig.for_model(**known.config)
    with _ReadableErrors(ref):
        return AutoConfig.from_pretrained(ref.id, revision=ref.revision, trust_remote_code=False)


def meta_model(ref: ModelRef) -> nn.Module:
    """Return the model on the meta device: all shapes, no weights."""
    config = config_of(ref)
    with torch.device("meta"):
        model: nn.Module = _auto_class(config).from_config(config)
    return model


def load(ref: ModelRef, device: torch.device | str = "cpu") -> BaseModel:
    """Load a base model, frozen, in evaluation mode and in `ref.dtype`.

    Raises:
        ModelError: it cannot be loaded; the message says how to get it.
    """
    known = preset(ref.id)
    if known is not None and "random" in known.source:
        torch.manual_seed(known.source["random"])
        config = config_of(ref)
        model = _auto_class(config).from_config(config)
        tokenizer: Any = byte_level(classifier=has_head(model))
        model.to(DTYPES[ref.dtype])
    else:
        where, revision = _weights(ref, known)
        with _ReadableErrors(ref):
            options = {"revision": revision, "trust_remote_code": False}
            torch.manual_seed(0)  # draws what the weights lack: a classification head
            model = _auto_class(config_of(ref)).from_pretrained(where, dtype=DTYPES[ref.dtype], use_safetensors=True, **options)
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.eval().requires_grad_(False)
    _keep_output_matrix_whole(model)
    return BaseModel(ref, model.to(device), tokenizer)


def _keep_output_matrix_whole(model: nn.Module) -> None:
    """Hand the output layer contiguous input.

    The last positions of a batch are a strided view; for one, torch multiplies batch by batch and copies the vocabulary matrix for every
    row (24 rows of SmolLM2: 1.3 GB and half of the forward pass).
    """
    output = getattr(model, "get_output_embeddings", lambda: None)()
    if output is not None:
        output.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(), *inputs[1:]))


def _weights(ref: ModelRef, known: Preset | None) -> tuple[str, str | None]:
    if known is None:
        return ref.id, ref.revision
    if "package" in known.source:
        return str(_converted(known)), None
    return known.source["hub"], ref.revision or known.source.get("revision")


def _auto_class(config: Any) -> Any:
    return AutoModelForSequenceClassification if config.model_type in ENCODERS else AutoModelForCausalLM


def _converted(known: Preset) -> Path:
    """Convert a package's GGUF file to safetensors, once per machine, and return the folder."""
    source = known.source
    found = importlib.util.find_spec(source["package"])
    if found is None or not found.submodule_search_locations:
        raise ModelError(
            f"model {known.name!r} comes with the package {source['package']!r}, which is not installed. Fix: {source['install']}"
        )
    folder = Path(found.submodule_search_locations[0])
    target = cache_root() / "models" / f"{known.name}-{digest([source, known.config])[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.is_dir():
            _convert(known, folder, target)
    return target


def _convert(known: Preset, folder: Path, target: Path) -> None:
    staging = target.with_name(target.name + ".part")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    gguf = known.source["gguf"]
    with _ReadableErrors(ModelRef(id=known.name)):
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf)
    tied = {"lm_head.weight"} if known.config.get("tie_word_embeddings") else set()
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    save_file(state, staging / "model.safetensors", metadata={"format": "pt"})
    AutoConfig.for_model(**known.config).save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    staging.rename(target)


class _ReadableErrors:
    """Turns the loaders' errors into a ModelError that says how to get the model."""

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError, ImportError, SafetensorError)):
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ModelError(
                f"cannot load model {self.ref.id!r}: {reason} {suggestion(self.ref.id, model_names())} "
                "Fix: check the name; for a gated or uncached model log in with `hf auth login` on a machine with a network, or pass a "
                "local folder"
            ) from error
