"""Offers the tuners of HF PEFT as methods `peft/<tuner>`, configured by each tuner's own structural keys."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import NotApplicableError, UnknownNameError
from trainers.api import MethodCard, Setting
from trainers.methods._peft_tuners import TUNERS, UNSUPPORTED, Tuner

if TYPE_CHECKING:
    from trainers.adapters.method import Method

__all__ = ["LIBRARY_VERSION", "UNSUPPORTED", "method_type", "names"]

_FILES = sorted(Path(__file__).parent.glob("_peft_*.py"))
LIBRARY_VERSION = f"{version('peft')} {hashlib.sha256(b''.join(file.read_bytes() for file in _FILES)).hexdigest()[:12]}"
"""HF PEFT's version, with a hash of the bridge's own files."""


def names() -> tuple[str, ...]:
    """List the tuners that can be compared; does not import HF PEFT."""
    return tuple(sorted(TUNERS))


@cache
def method_type(name: str) -> type[Method]:
    """Return the class that runs a tuner.

    Raises:
        NotApplicableError: a tuner that HF PEFT has and a sweep cannot compare; the message gives the reason.
        UnknownNameError: no such tuner.
    """
    if name in UNSUPPORTED:
        raise NotApplicableError(f"peft/{name} is not offered: {UNSUPPORTED[name]}")
    if name not in TUNERS:
        raise UnknownNameError("method", f"peft/{name}", [f"peft/{known}" for known in TUNERS])
    from trainers.methods import _peft_adalora, _peft_layers, _peft_prompts

    forms = {
        "layers": _peft_layers.PeftTuner,
        "ia3": _peft_layers.FeedForwardTuner,
        "norms": _peft_layers.NormTuner,
        "attention": _peft_layers.AttentionTuner,
        "embedding": _peft_layers.EmbeddingTuner,
        "adalora": _peft_adalora.AdaLora,
        "prompt": _peft_prompts.PromptTuner,
    }
    tuner = TUNERS[name]
    attributes = {"card": _card(name, tuner), "tuner": tuner, "__module__": __name__, "__doc__": f"HF PEFT's {name} tuner."}
    return type(f"Peft_{name}", (forms[tuner.form],), attributes)


def _card(name: str, tuner: Tuner) -> MethodCard:
    reads = ["learning_rate", *(["scale"] if tuner.scaling else []), *(["dropout"] if tuner.dropout else [])]
    return MethodCard(
        name=f"peft/{name}",
        family=tuner.family,
        reference=tuner.reference,
        source=f"peft {version('peft')} tuners/{name}",
        capacity=tuner.capacity,
        settings=_settings(name, tuner),
        trains_at_start=tuner.trains_at_start,
        base_weights=tuner.base_weights,
        starts_as=tuner.starts_as,
        mergeable=tuner.mergeable,
        draws=tuner.draws,
        exports_lora=tuner.exports_lora,
        reads=tuple(reads),
        trains_extra=tuner.trains_extra,
        penalised=tuner.penalised,
    )


def _settings(name: str, tuner: Tuner) -> dict[str, Setting]:
    from trainers.methods._peft_layers import config_class

    fields = config_class(f"peft/{name}").__dataclass_fields__
    return {key: Setting(_default(name, key), choices, fields[key].metadata.get("help", "")) for key, choices in tuner.settings.items()}


def _default(name: str, key: str) -> Any:
    from trainers.methods._peft_layers import default_of

    # HF PEFT's defaults of AdaLoRA, 12 and 8, are a ratio: init_r follows target_r unless it is given.
    return None if (name, key) == ("adalora", "init_r") else default_of(f"peft/{name}", key)
