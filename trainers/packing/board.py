"""Hooks the lanes of a joint pass into the base that it runs on: one hook a module, whoever is aboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from trainers.adapters.attach import AdaptedModel
from trainers.packing.crew import Crew
from trainers.packing.draws import Draws, DrawsByLane, drops_out
from trainers.packing.grouped import site_plan
from trainers.packing.plans import OwnModules, SitePlan
from trainers.packing.twins import twin
from trainers.packing.views import View, hook_count


class Board:
    """The base that joint passes run on, the trunk, and what the lanes do at its modules.

    Hooks stay where a lane once needed them; what they do is looked up in the plans of the present crew.

    Args:
        base: the resident base; it stays as it is.

    Attributes:
        trunk: a twin of it.
        base_bytes: size of its weights.
    """

    def __init__(self, base: nn.Module) -> None:
        self.trunk = twin(base).eval()
        self.modules = dict(self.trunk.named_modules())
        self._hooks = {path: hook_count(module) for path, module in self.modules.items()}
        self.base_bytes = sum(p.numel() * p.element_size() for p in base.parameters())
        self._drops_out = drops_out(base)
        self._sites: set[str] = set()
        self._owned: set[str] = set()
        self._plans: dict[tuple[int, ...], tuple[dict[str, SitePlan], dict[str, OwnModules]]] = {}
        self._crew: Crew | None = None
        self._at: dict[str, SitePlan] = {}
        self._own: dict[str, OwnModules] = {}

    def view(self, model: AdaptedModel) -> View:
        """Return where a model that is attached to a twin of this base acts.

        Raises:
            NotApplicableError: it cannot run in a pack.
        """
        return View(model, self.modules, self._hooks)

    def forget(self) -> None:
        """Let go of all plans: a lane has come or gone."""
        self._plans.clear()

    @contextmanager
    def manned(self, crew: Crew, draws: list[Draws], training: bool) -> Iterator[None]:
        """Let the trunk run for a crew within a `with` block."""
        if training != self.trunk.training:
            self.trunk.train(training)
        self._at, self._own = self._planned(crew)
        self._crew = crew
        drawing = DrawsByLane(crew, draws) if training and self._drops_out else nullcontext()
        with _put(crew):
            try:
                with drawing:
                    yield
            finally:
                crew.clear()
                self._crew, self._at, self._own = None, {}, {}

    # -------------------------------------------------------------------------------------------------------------- plans

    def _planned(self, crew: Crew) -> tuple[dict[str, SitePlan], dict[str, OwnModules]]:
        changed = [view.refresh() for view in crew.views]
        if any(changed):
            self.forget()
        key = tuple(map(id, crew.views))
        if key not in self._plans:
            self._plans[key] = self._plan(crew)
        return self._plans[key]

    def _plan(self, crew: Crew) -> tuple[dict[str, SitePlan], dict[str, OwnModules]]:
        owned = set().union(*(view.own for view in crew.views))
        adapted = set().union(*(view.adapted for view in crew.views)) - owned
        own = {path: OwnModules([view.modules[path] for view in crew.views]) for path in owned}
        at: dict[str, SitePlan] = {path: site_plan([view.adapted.get(path) for view in crew.views]) for path in adapted}
        self._install(at, own)
        return at, own

    def _install(self, at: dict[str, SitePlan], own: dict[str, OwnModules]) -> None:
        for path in at.keys() - self._sites:
            self.modules[path].register_forward_pre_hook(self._enter(path))
            self.modules[path].register_forward_hook(self._transform(path))
            self._sites.add(path)
        for path in own.keys() - self._owned:
            module = self.modules[path]
            module.forward = self._forward(path, module.forward)
            self._owned.add(path)

    # -------------------------------------------------------------------------------------------------------------- hooks

    def _enter(self, path: str) -> Callable[..., Any]:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> Any:
            plan = self._at.get(path)
            if plan is None or self._crew is None:
                return None
            entered = plan.enter(self._crew, inputs[0])
            return None if entered is inputs[0] else (entered, *inputs[1:])

        return hook

    def _transform(self, path: str) -> Callable[..., Any]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Any:
            plan = self._at.get(path)
            return None if plan is None or self._crew is None else plan.transform(self._crew, inputs[0], output)

        return hook

    def _forward(self, path: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*arguments: Any, **named: Any) -> Any:
            plan = self._own.get(path)
            if plan is None or self._crew is None:
                return plain(*arguments, **named)
            return plan.run(self._crew, arguments, named)

        return forward


@contextmanager
def _put(crew: Crew) -> Iterator[None]:
    """Put the tensors that stand in for parameters into the lanes' own modules, for the length of a pass."""
    put: list[tuple[nn.Module, str, Any]] = []
    try:
        for view in crew.views:
            for name, tensor in view.model.replaced.items():
                path, _, leaf = name.rpartition(".")
                module = view.modules[path]
                put.append((module, leaf, module._parameters[leaf]))
                module._parameters[leaf] = tensor
        yield
    finally:
        for module, leaf, parameter in reversed(put):
            module._parameters[leaf] = parameter
