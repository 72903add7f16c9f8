"""What a pack must know of an attached model: where it acts on the base."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from torch import nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.attach import AdaptedModel
from trainers.packing.forms import kin_of


class View:
    """Where one lane's model acts on its base, by module path.

    Args:
        model: attached to a twin of the trunk.
        trunk: modules of the base that joint passes run on, by path, without anything attached.
        hooks: number of forward and backward hooks of each of them.

    Attributes:
        modules: those of the lane's own base, by path.
        adapted: what the method does at modules that run jointly.
        own: paths of modules that run on the lane's rows alone, from its own base: with parameters of the lane's own, or with hooks that
            only its method knows.

    Raises:
        NotApplicableError: the method exchanges modules of its base, or runs them in another way.
    """

    def __init__(self, model: AdaptedModel, trunk: Mapping[str, nn.Module], hooks: Mapping[str, int]) -> None:
        self.model = model
        self.modules = dict(model.base.named_modules())
        if self._is_exchanged(trunk):
            raise NotApplicableError(
                f"{model.method.card.name} exchanges modules of its base, so it cannot run in a pack. Fix: packing: off"
            )
        once = {module: acts[0] for module, acts in model.adaptations.items() if len(acts) == 1}
        self.adapted = {path: once[module] for path, module in self.modules.items() if module in once}
        self._special = frozenset(path for path, module in self.modules.items() if self._is_special(module, trunk[path], hooks[path]))
        self._replaced: frozenset[str] = frozenset()
        self.own = self._special

    def _is_exchanged(self, trunk: Mapping[str, nn.Module]) -> bool:
        if self.modules.keys() != trunk.keys():
            return True
        return any(type(trunk[path]) is not type(module) or "forward" in vars(module) for path, module in self.modules.items())

    def _is_special(self, module: nn.Module, same: nn.Module, hooks: int) -> bool:
        known = sum((a.enter is not None) + (a.transform is not None) for a in self.model.adaptations.get(module, ())[:1])
        exchanged = any(same._parameters.get(name) is not own for name, own in module._parameters.items())
        return exchanged or hook_count(module) != hooks + known

    @cached_property
    def kin(self) -> tuple[str, ...]:
        """Sorts views so that those of equal shapes are neighbours; the model is prepared."""
        return kin_of(self.model)

    def refresh(self) -> bool:
        """Take in which parameters the model replaces in the present pass; tell whether that has changed."""
        if self._replaced == self.model.replaced.keys():
            return False
        self._replaced = frozenset(self.model.replaced)
        self.own = self._special | {name.rpartition(".")[0] for name in self._replaced}
        return True


def hook_count(module: nn.Module) -> int:
    """Return how many hooks a module has."""
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return sum(map(len, kinds))
