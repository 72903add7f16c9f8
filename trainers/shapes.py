"""The shapes of registered base models, kept beside their presets, so that counting imports no modelling code.

A preset's `<name>.shapes.json` holds its config and, once for all equal layers, class and parameter shapes of every module.
`python -m trainers.shapes` writes the missing ones; a test compares them with the models that transformers builds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from search_spaces.trial import ModelRef
from trainers.registry import model_names, preset_file

_LAYER = re.compile(r"(?<=\.)\d+(?=\.|$)")


class Shapes(nn.Module):
    """A model without weights and without a forward pass: modules, parameters on the meta device, and the config."""

    config: SimpleNamespace


def shapes(ref: ModelRef) -> nn.Module:
    """Return a base model's shapes: of a preset from its stored description, else from transformers.

    Raises:
        ModelError: the config of a model that is not registered cannot be loaded.
    """
    preset = preset_file(ref.id)
    described = preset.with_suffix(".shapes.json") if preset is not None else None
    if described is not None and described.is_file():
        return build(json.loads(described.read_text(encoding="utf-8")))
    from trainers.models import meta_model

    return meta_model(ref)


def build(description: Mapping[str, Any]) -> nn.Module:
    """Build the modules of a description."""
    root = Shapes()
    root.config = SimpleNamespace(**description["config"])
    for path, (kind, parameters) in description["modules"].items():
        for layer in range(description["layers"]) if "{}" in path else (0,):
            _put(root, path.format(layer), _module(kind, parameters))
    for alias, name in description["tied"].items():
        module, _, leaf = alias.rpartition(".")
        root.get_submodule(module).register_parameter(leaf, root.get_parameter(name))
    return root


def describe(model: nn.Module) -> dict[str, Any]:
    """Describe a model whose numbered layers are all alike.

    Raises:
        ValueError: its layers differ.
    """
    modules: dict[str, Any] = {}
    layers: set[int] = set()
    for name, module in model.named_modules():
        own = {leaf: list(p.shape) for leaf, p in module.named_parameters(recurse=False)}
        pattern = _LAYER.sub("{}", name, count=1)
        layers |= {int(number) for number in _LAYER.findall(name)[:1]}
        if own and modules.setdefault(pattern, [type(module).__name__, own]) != [type(module).__name__, own]:
            raise ValueError(f"{name} differs from {pattern} in other layers")
    config: Any = model.config
    return {"config": _plain(config), "layers": len(layers), "modules": modules, "tied": _tied(model)}


def _plain(config: Any) -> dict[str, Any]:
    """Keep what methods and sites read: sizes and names, under the config's own attribute names."""
    values = config.to_dict() | {alias: getattr(config, alias) for alias in config.attribute_map}
    del values["transformers_version"]
    return {key: value for key, value in sorted(values.items()) if isinstance(value, bool | int | float | str)}


def _tied(model: nn.Module) -> dict[str, str]:
    first = {id(p): name for name, p in model.named_parameters()}
    return {name: first[id(p)] for name, p in model.named_parameters(remove_duplicate=False) if first[id(p)] != name}


def _module(kind: str, parameters: Mapping[str, list[int]]) -> nn.Module:
    if kind == "Linear":
        out_features, in_features = parameters["weight"]
        return nn.Linear(in_features, out_features, bias="bias" in parameters, device="meta")
    module: nn.Module = type(kind, (nn.Module,), {})()
    for leaf, shape in parameters.items():
        module.register_parameter(leaf, nn.Parameter(torch.empty(shape, device="meta")))
    return module


def _put(root: nn.Module, path: str, module: nn.Module) -> None:
    *above, leaf = path.split(".")
    parent = root
    for name in above:
        if name not in parent._modules:
            parent.add_module(name, nn.Module())
        parent = parent.get_submodule(name)
    parent.add_module(leaf, module)


def write_missing() -> list[Path]:
    """Describe every preset that has no description yet; return the files written."""
    from trainers.models import meta_model

    written = []
    for name in model_names():
        preset = preset_file(name)
        if preset is not None and not (target := preset.with_suffix(".shapes.json")).exists():
            target.write_text(_readable(describe(meta_model(ModelRef(id=name)))) + "\n", encoding="utf-8")
            written.append(target)
    return written


def _readable(description: Mapping[str, Any]) -> str:
    """Write JSON with one module per line."""
    rows = ",\n".join(f"  {json.dumps(path)}: {json.dumps(module)}" for path, module in description["modules"].items())
    rest = {key: value for key, value in description.items() if key != "modules"}
    return json.dumps(rest)[:-1] + ',\n "modules": {\n' + rows + "\n }\n}"


if __name__ == "__main__":
    write_missing()
