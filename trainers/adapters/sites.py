"""Sites: the matrices that adapters act on, named by role instead of by an architecture's own module names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from search_spaces.errors import ModelError, NotApplicableError, UnknownNameError

ROLES = ("q", "k", "v", "o", "gate", "up", "down", "fc1", "fc2")

# Module paths below a layer, by `config.model_type`.
_LLAMA = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
_OPT = {
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "o",
    "fc1": "fc1",
    "fc2": "fc2",
}
_BERT = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "o",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
}
ARCHITECTURES: Mapping[str, Mapping[str, str]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "opt": _OPT,
    "bert": _BERT,
    "roberta": _BERT,
}


@dataclass(frozen=True)
class LayerNorms:
    """The normalisations inside one layer, as module paths below it."""

    after_attention: str
    """Reads the sum of the attention's output and its residual."""
    at_end: str | None = None
    """Its output is the layer's; None for a layer that ends with a residual sum."""


_LLAMA_NORMS = LayerNorms("post_attention_layernorm")
_OPT_NORMS = LayerNorms("final_layer_norm")
_OPT_POST_NORMS = LayerNorms("self_attn_layer_norm", "final_layer_norm")
_BERT_NORMS = LayerNorms("attention.output.LayerNorm", "output.LayerNorm")
NORMS: Mapping[str, LayerNorms] = {
    "llama": _LLAMA_NORMS,
    "mistral": _LLAMA_NORMS,
    "qwen2": _LLAMA_NORMS,
    "qwen3": _LLAMA_NORMS,
    "opt": _OPT_NORMS,
    "bert": _BERT_NORMS,
    "roberta": _BERT_NORMS,
}
_LAYER = re.compile(r"\.layers?\.(\d+)\.(.+)$")


@dataclass(frozen=True)
class Site:
    """One adapted matrix `W` of shape (out_features, in_features)."""

    path: str
    """Module path in the base model."""
    role: str
    layer: int
    in_features: int
    out_features: int
    heads: int
    """Attention heads on the matrix's head axis (out of q, k, v; in of o); 1 for the rest."""
    query_heads: int
    """Query heads of the model; larger than `heads` for k and v under grouped-query attention."""

    @property
    def key(self) -> str:
        """Name free of dots, for parameter dictionaries: `l3_q`."""
        return f"l{self.layer}_{self.role}"

    @property
    def layer_path(self) -> str:
        """Module path of the layer that the matrix is part of."""
        match = _LAYER.search(self.path)
        assert match is not None
        return self.path[: match.start(2) - 1]


def roles_of(base: nn.Module) -> tuple[str, ...]:
    """List the roles that the matrices of a model's architecture have.

    Raises:
        ModelError: an architecture whose roles are not known.
    """
    return tuple(sorted(set(_paths(base).values()), key=ROLES.index))


def find_sites(base: nn.Module, targets: Sequence[str]) -> tuple[Site, ...]:
    """List the matrices of the given roles, by layer, then in the order of `targets`.

    Args:
        base: a transformers model, on any device; the meta device is enough.
        targets: roles.

    Raises:
        UnknownNameError: a role that does not exist.
        NotApplicableError: a role that this architecture does not have.
        ModelError: an architecture whose roles are not known.
    """
    config: Any = base.config
    paths, present = _paths(base), roles_of(base)
    for role in targets:
        if role not in ROLES:
            raise UnknownNameError("role", role, ROLES)
        if role not in present:
            raise NotApplicableError(
                f"architecture {config.model_type!r} has no matrix of role {role!r}. Valid targets: {', '.join(present)}"
            )
    sites = [site for name, module in base.named_modules() if (site := _site(name, module, paths, config)) and site.role in targets]
    return tuple(sorted(sites, key=lambda s: (s.layer, targets.index(s.role))))


def layer_norms(base: nn.Module) -> LayerNorms:
    """Return where the layers of a model's architecture have their normalisations.

    Raises:
        ModelError: an architecture whose roles are not known.
    """
    _paths(base)
    config: Any = base.config
    if config.model_type == "opt" and not config.do_layer_norm_before:
        return _OPT_POST_NORMS
    return NORMS[config.model_type]


def _paths(base: nn.Module) -> Mapping[str, str]:
    config: Any = base.config
    if config.model_type not in ARCHITECTURES:
        raise ModelError(
            f"the roles of architecture {config.model_type!r} are not known. Valid: {', '.join(sorted(ARCHITECTURES))}. "
            "Fix: add its module paths to trainers/adapters/sites.py"
        )
    return ARCHITECTURES[config.model_type]


def _site(name: str, module: nn.Module, paths: Mapping[str, str], config: Any) -> Site | None:
    match = _LAYER.search(name)
    if not match or match[2] not in paths or not isinstance(module, nn.Linear):
        return None
    role, query_heads = paths[match[2]], config.num_attention_heads
    key_value_heads = getattr(config, "num_key_value_heads", None) or query_heads
    heads = {"q": query_heads, "o": query_heads, "k": key_value_heads, "v": key_value_heads}.get(role, 1)
    return Site(name, role, int(match[1]), module.in_features, module.out_features, heads, query_heads)
