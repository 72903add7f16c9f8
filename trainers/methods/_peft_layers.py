"""Runs HF PEFT's tuners as methods: those that put layers of their own into the base model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from search_spaces.errors import CapacityError, NotApplicableError
from trainers.adapters.attach import is_meta
from trainers.adapters.copies import norm_modules
from trainers.adapters.method import Method
from trainers.methods._peft_tuners import Tuner

ADAPTER = "default"
_INSIDE_BASE = "base_model.model."


class PeftTuner(Method):
    """An HF PEFT tuner on the sweep's sites.

    HF PEFT puts its layers into the base; the trainable parameters are registered here as well, grouped by HF PEFT's own names
    (`lora_A`, ...), so that counting and storing see them as the method's.
    """

    tuner: ClassVar[Tuner]
    reads_model = True

    def build(self, base: nn.Module) -> None:
        """Let HF PEFT inject and initialise its layers.

        Raises:
            CapacityError: a capacity or setting that HF PEFT refuses on these matrices; its own reason is given.
            NotApplicableError: a base that the tuner's definition does not cover.
        """
        self._narrow: dict[str, tuple[nn.Parameter, torch.dtype]] = {}
        config = self._config(base)
        self._peft: tuple[PeftModel, ...] = ()
        if is_meta(base) and self.tuner.parts is not None:
            self._stand_in(base, config)
            return
        with self._seeded(base), self._readable_errors():
            # A tuple hides the model from torch: the base must not become a submodule of the method.
            self._peft = (PeftModel(base, config, ADAPTER),)
        self._register()

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Do nothing: HF PEFT has drawn the values while building."""

    @property
    def peft_model(self) -> PeftModel:
        """The HF PEFT model around the base."""
        return self._peft[0]

    @property
    def config(self) -> Any:
        """The tuner's config as HF PEFT uses it."""
        return self.peft_model.peft_config[ADAPTER]

    # ----------------------------------------------------------------------------------------------------- configuration

    def _config(self, base: nn.Module) -> PeftConfig:
        config_type, tuner = config_class(self.card.name), self.tuner
        options = {**tuner.fixed, **self.settings, **self._checked_capacity()}
        if tuner.scaling:
            options[tuner.scaling] = self.scale * default_of(self.card.name, tuner.scaling)
        if tuner.seed:
            options[tuner.seed] = self._draw()
        if tuner.dropout:
            options[tuner.dropout] = self.dropout
        if getattr(base, "can_generate", lambda: False)():
            options["task_type"] = "CAUSAL_LM"
        with self._readable_errors():
            return config_type(**options, **self._targets(base))

    def _checked_capacity(self) -> dict[str, Any]:
        for position, (key, value) in enumerate(self.capacity.items()):
            if isinstance(default_of(self.card.name, key), float):
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                    raise CapacityError(f"{self.card.name}: {key} {value!r} is not valid. Valid: a number between 0 and 1", key, ())
            elif self.tuner.within_side and position == 0:
                smallest = min(min(s.in_features, s.out_features) for s in self.sites)
                self.rank_within(key, smallest, "the smaller side of the smallest adapted matrix")
            else:
                self.rank_within(key, 2**31 - 1, "the largest that can be stored")
        return self.capacity

    def _targets(self, base: nn.Module) -> dict[str, Any]:
        return {"target_modules": [site.path for site in self.sites]}

    # -------------------------------------------------------------------------------------------------------- randomness

    def _draw(self) -> int:
        return 0 if self.generator is None else int(torch.randint(2**31 - 1, (), generator=self.generator))

    @contextmanager
    def _seeded(self, base: nn.Module) -> Iterator[None]:
        device = next(base.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self._draw())
            yield

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            with _quietly():
                # HF PEFT would go on with another capacity than the one asked for.
                warnings.filterwarnings("error", message="Invalid `")
                yield
        except (ValueError, AssertionError, NotImplementedError, TypeError, UserWarning) as error:
            reason = " ".join(str(error).split())
            given = ", ".join(f"{key} {value!r}" for key, value in (self.capacity | self.settings).items())
            raise CapacityError(f"{self.card.name}: HF PEFT refuses {given or 'it'} on these matrices: {reason}") from error

    # -------------------------------------------------------------------------------------------------------- parameters

    def _register(self) -> None:
        for name, parameter in self.peft_model.named_parameters():
            if parameter.requires_grad:
                inner = name.removeprefix(_INSIDE_BASE)
                self._add(*_group_and_key(inner), parameter)
                if parameter.dtype in (torch.bfloat16, torch.float16):
                    self._narrow[inner] = (parameter, parameter.dtype)
        if not any(p.numel() for p in self.parameters()):
            raise CapacityError(f"{self.card.name}: {self.capacity | self.settings} leaves nothing to train on these matrices")

    def _add(self, group: str, key: str, parameter: nn.Parameter) -> None:
        if group not in self._modules:
            self.add_module(group, nn.ParameterDict())
        self.get_submodule(group)[key] = parameter  # type: ignore[operator]

    def _stand_in(self, base: nn.Module, config: Any) -> None:
        """Register parameters of the right sizes, for tuners that cannot be built without the base's weights."""
        assert self.tuner.parts is not None
        biased = [base.get_submodule(site.path).bias is not None for site in self.sites]
        sides = [(site.in_features + bias, site.out_features) for site, bias in zip(self.sites, biased, strict=True)]
        for name, size, kind in self.tuner.parts(vars(config), sides):
            dtype = torch.int32 if kind == "index" else torch.float32
            self._add(name, "all", nn.Parameter(torch.empty(size, dtype=dtype, device="meta"), requires_grad=kind == "trained"))

    def install(self, base: nn.Module, adapt: object) -> None:
        """Attach nothing more: the layers are in place."""

    def replaced(self) -> dict[str, Tensor]:
        """Return, in the base's dtype, the parameters whose layers cannot work with fp32 ones."""
        return {name: parameter.to(dtype) for name, (parameter, dtype) in self._narrow.items()}

    def merged(self, base: nn.Module) -> dict[str, Tensor]:
        """Return the parameters that HF PEFT's own merging changes, worked out on copies."""
        changed: dict[str, Tensor] = {}
        for path, layer in base.named_modules():
            if isinstance(layer, BaseTunerLayer):
                changed |= {f"{path}.{leaf}": tensor for leaf, tensor in _merge_copy(layer).items()}
        return changed

    # ------------------------------------------------------------------------------------------------------------ storing

    def stored(self) -> dict[str, Tensor]:
        """Return what HF PEFT would save."""
        if not self._peft:
            return super().stored()
        with _quietly():
            state = get_peft_model_state_dict(self.peft_model, adapter_name=ADAPTER, save_embedding_layers=False)
        return {name: tensor.detach() for name, tensor in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load what `stored` returned, as HF PEFT loads a saved adapter."""
        with _quietly():
            set_peft_model_state_dict(self.peft_model, dict(state), adapter_name=ADAPTER)

    def write_peft(self, folder: Path, base_id: str) -> None:
        """Write the folder that `PeftModel.from_pretrained` reads."""
        self.config.base_model_name_or_path = base_id
        with _quietly():
            self.peft_model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)


class FeedForwardTuner(PeftTuner):
    """IA3: scales the output of attention matrices and the input of the second feed-forward matrix."""

    def _targets(self, base: nn.Module) -> dict[str, Any]:
        inputs = [site.path for site in self.sites if site.role in ("down", "fc2")]
        return super()._targets(base) | {"feedforward_modules": inputs}


class SitelessTuner(PeftTuner):
    """A tuner whose position is part of its definition: the sweep's targets do not move it."""

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return none."""
        return ()


class NormTuner(SitelessTuner):
    """Trains the normalisation layers, wherever the sweep's targets are."""

    def _targets(self, base: nn.Module) -> dict[str, Any]:
        self._norms = frozenset(norm_modules(base))
        return {"target_modules": sorted(self._norms)}

    def extra_names(self, names: Sequence[str]) -> Sequence[str]:
        """Leave the norms out: HF PEFT has copies of them."""
        return [name for name in names if name.rpartition(".")[0] not in self._norms]


class AttentionTuner(SitelessTuner):
    """LLaMA-Adapter: acts on whole attention layers, the top `adapter_layers` of them; all by default."""

    def _targets(self, base: nn.Module) -> dict[str, Any]:
        config: Any = base.config
        layers, kind = self.settings["adapter_layers"], config.model_type
        if kind not in ("llama", "mistral"):
            raise NotApplicableError(f"{self.card.name} is not defined for architecture {kind!r}. Valid: llama, mistral")
        return {"adapter_layers": config.num_hidden_layers if layers is None else layers}

    def _config(self, base: nn.Module) -> PeftConfig:
        options = self._targets(base)
        self.settings |= options
        with self._readable_errors():
            return config_class(self.card.name)(task_type="CAUSAL_LM", **self._checked_capacity(), **options)


class EmbeddingTuner(SitelessTuner):
    """Trains the embeddings of the listed tokens, wherever the sweep's targets are."""

    def _targets(self, base: nn.Module) -> dict[str, Any]:
        config: Any = base.config
        tokens, vocabulary = self.settings["token_indices"], config.vocab_size
        valid = [t for t in tokens if isinstance(t, int) and not isinstance(t, bool) and 0 <= t < vocabulary]
        if not tokens or valid != tokens:
            raise CapacityError(
                f"{self.card.name}: token_indices {tokens!r} is not valid. Valid: a list of token ids from 0 to {vocabulary - 1}"
            )
        return {}

    def stored(self) -> dict[str, Tensor]:
        """Return what HF PEFT would save, tied embeddings once."""
        own = {name.replace(f".{ADAPTER}", "") for name, _ in self.peft_model.named_parameters()}
        return {name: tensor for name, tensor in super().stored().items() if name in own}


def config_class(name: str) -> Any:
    """Return the config class of `peft/<tuner>`."""
    return PEFT_TYPE_TO_CONFIG_MAPPING[name.partition("/")[2].upper()]


def default_of(name: str, key: str) -> Any:
    """Return the default of one key of that config class."""
    field = config_class(name).__dataclass_fields__[key]
    value = field.default_factory() if callable(field.default_factory) else field.default
    return value.value if isinstance(value, Enum) else value


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence HF PEFT's warnings: what they advise is decided by the sweep."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _group_and_key(name: str) -> tuple[str, str]:
    """Split `a.q_proj.lora_A.default.weight` into `lora_A` and `a/q_proj/weight`."""
    head, found, tail = name.partition(f".{ADAPTER}.") if f".{ADAPTER}." in name else name.partition(f".{ADAPTER}")
    path, _, group = head.rpartition(".")
    parts = [*path.split("."), *(tail.split(".") if found and tail else [])]
    return group, "/".join(p for p in parts if p) or group


def _merge_copy(layer: BaseTunerLayer) -> dict[str, Tensor]:
    own = layer.get_base_layer()
    dtypes = {leaf: p.dtype for leaf, p in own._parameters.items() if p is not None}
    for leaf in dtypes:
        own._parameters[leaf] = nn.Parameter(own.get_parameter(leaf).detach().clone(), requires_grad=False)
    layer.merge(safe_merge=True)
    layer.merged_adapters.clear()
    changed = {leaf: p.detach() for leaf, p in layer.get_base_layer()._parameters.items() if p is not None}
    return {leaf: tensor.to(dtypes.get(leaf, tensor.dtype)) for leaf, tensor in changed.items()}
