"""The `methods` section: labels, the methods that they stand for, and what may not be set there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict

from search_spaces.errors import Fault
from search_spaces.faults import Section
from search_spaces.grid import axis_types
from search_spaces.sections import TrainingSection
from search_spaces.trial import BASE, Scalar

Option = Scalar | list[Scalar] | None
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_/+-]*")
_SCALARS = (bool, int, float, str)


def _one_for_all(where: str) -> str:
    return f"write it under `{where}`: it is one for all methods"


_SHARED = {
    **{axis: _one_for_all(f"grid: {{{axis}: [...]}}") for axis in axis_types()},
    **{name: _one_for_all(f"training: {{{name}: ...}}") for name in TrainingSection.model_fields if name not in axis_types()},
    **{
        alias: _one_for_all(f"grid: {{{axis}: [...]}}")
        for alias, axis in {
            "lr": "learning_rate",
            "lora_dropout": "dropout",
            "num_epochs": "epochs",
            "num_train_epochs": "epochs",
            "max_steps": "steps",
            "train_batch_size": "batch_size",
            "per_device_train_batch_size": "batch_size",
            "warmup": "warmup_ratio",
            "warmup_steps": "warmup_ratio",
            "lr_scheduler": "scheduler",
            "lr_scheduler_type": "scheduler",
            "max_grad_norm": "clip",
            "gradient_clipping": "clip",
        }.items()
    },
    **dict.fromkeys(
        ("alpha", "lora_alpha", "scaling", "lora_scale"),
        "write `grid: {scale: [...]}`, which multiplies every method's scaling: alpha is a learning rate in disguise",
    ),
    **dict.fromkeys(("seed", "seeds"), "write `seeds: {select: [...], report: [...]}`: they are the same for all methods"),
    **{key: _one_for_all("targets: [...]") for key in ("targets", "target_modules")},
    **{key: _one_for_all("also_train: [norms, biases]") for key in ("also_train", "bias", "modules_to_save")},
    "head": _one_for_all("head: default"),
}
"""Keys that are never a method's own, with the fix."""
_SHARED.pop("optimizer")  # A variant of a method may have an optimiser of its own.


class MethodSection(Section):
    """One label: the method it stands for, and capacity and settings of the method and of its optimiser as further keys."""

    model_config = ConfigDict(extra="allow")

    method: str | None = None
    """Registry key; None takes the label."""
    optimizer: str | None = None
    """None takes that of `training`."""

    aliases: ClassVar[tuple[str, ...]] = ("rank",)

    @property
    def options(self) -> dict[str, Option]:
        """Capacity and settings as written."""
        return dict(self.model_extra or {})

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Hyper-parameters that are one for all, and values that no method can take."""
        for key, value in raw.items():
            if key in _SHARED:
                yield Fault(str(key), f"{value!r} is not a method's own to set", _SHARED[key])
            elif key not in cls.model_fields:
                yield from _option_faults(str(key), value)
        if raw.get("method") == BASE:
            yield Fault("method", f"the untuned model is on every board under its own label {BASE!r}", "remove this label")


def label_faults(methods: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield the faults of the labels themselves, and of a section without methods."""
    for label, section in methods.items():
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            yield Fault(str(label), "is not a label: use letters, digits, and any of _ / + - after the first")
        if label == BASE and section:
            yield Fault(BASE, "the untuned model takes no keys", "leave it out: it is on every board")
    if not set(methods) - {BASE}:
        yield Fault("", "no method is listed", "write, for example, `methods: {lora: {rank: [8]}}`")


def _option_faults(key: str, value: Any) -> Iterable[Fault]:
    if isinstance(value, list):
        if not value:
            yield Fault(key, "the list is empty", "list at least one value, or remove the key")
        for number, item in enumerate(value):
            if not isinstance(item, _SCALARS):
                yield Fault(f"{key}.{number}", f"{item!r} is not a number, a text or a truth value")
            elif item in value[:number]:
                yield Fault(key, f"{item!r} is listed more than once")
    elif value is not None and not isinstance(value, _SCALARS):
        yield Fault(key, f"{value!r} is not a value or a list of values")
