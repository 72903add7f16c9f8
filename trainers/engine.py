"""The DeepSpeed engine: one adapter's optimiser around a resident base."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.compute import Kernel
from search_spaces.errors import NotApplicableError
from search_spaces.trial import Training
from trainers.adapters.attach import AdaptedModel
from trainers.adapters.method import Method
from trainers.api import group_refusal
from trainers.batches import LabelBatch, MicroBatch, label_losses
from trainers.clipping import clip_gradients, fill_gradients
from trainers.group import Group, alone, library
from trainers.operations import during
from trainers.optimizer import NotFinite, OnlineOptimizer
from trainers.registry import optimizer_type
from trainers.schedules import learning_rate_factor
from trainers.sharding import Shards

NEVER = 1_000_000_000


def _nothing() -> None:
    pass


def _leave_out_frozen(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Take the gradients, zeros for lack of others, from the parameters that this step leaves out: the optimiser then passes over them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                parameter.grad = None


class _Trained(nn.Module):
    """What DeepSpeed sees of an adapted model: the trained parameters, and a forward pass.

    It would broadcast and walk over the base's weights for every trial, and take those that ZeRO-3 has partitioned for its own.
    """

    def __init__(self, model: AdaptedModel) -> None:
        super().__init__()
        self._model = (model,)
        self.parts = nn.ModuleList([model.method, model.extras, model.head])
        self._named = tuple(super().named_parameters())

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the adapted model."""
        return self._model[0](*inputs, **options)

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the adapted model, which stay the same: DeepSpeed asks for them in every step."""
        yield from self._named

    def train(self, mode: bool = True) -> _Trained:
        """Leave the mode to the adapted model."""
        return self


class Engine:
    """Optimises the trainable parameters of an adapted model.

    Attributes:
        model: the adapted model that is trained.
        optimizer: the torch optimiser that takes the steps.
        schedule: sets its learning rate; None where it reads none.
    """

    def __init__(
        self,
        model: AdaptedModel,
        training: Training,
        steps: int,
        *,
        head: Callable[[str], bool],
        extra: Mapping[str, Any] | None = None,
        group: Group | None = None,
        kernel: Kernel = "auto",
    ) -> None:
        """Build the optimiser, the schedule and the engine around them.

        Args:
            steps: optimiser steps of the whole training.
            head: tells whether a parameter's name belongs to the classification head.
            extra: DeepSpeed settings that do not change what is trained.
            group: the workers that train together; by default this one alone.
            kernel: how the update is computed, by an optimiser that has a choice.

        Raises:
            NotApplicableError: an optimiser that does not minimise the method's regulariser, or that is not defined for this group.
        """
        self.model, self.training, self.group = model, training, group or alone()
        self.zero_stage = zero_stage(extra)
        # Settings of the user's own may say how gradients are reduced: their numbers can depend on it even on a worker alone.
        self._plain = not set(extra or {}) - {"zero_optimization"}
        kind = optimizer_type(training.optimizer)
        card = model.method.card
        reason = kind.card.refusal("label", penalised=card.penalised) or group_refusal(card, kind.card, self.group.size, self.zero_stage)
        if reason:
            raise NotApplicableError(reason)
        groups = [{**options, **(kernel_options(kernel) if kind.card.kernels else {})} for options in self._groups(head)]
        self.optimizer = kind.build(groups, training)
        self._stepped: Callable[[], None] = _nothing
        self.schedule: torch.optim.lr_scheduler.LambdaLR | None = None
        if "learning_rate" in kind.card.reads:
            self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: learning_rate_factor(training, step, steps))
        # DeepSpeed has one backward pass for a loss; an online optimiser needs one for every output.
        self._engine = None if isinstance(self.optimizer, OnlineOptimizer) else self._deepspeed_engine(extra)
        self._shards = Shards(self._engine.optimizer, self.group) if self._engine is not None and self.zero_stage else None
        if self._shards is None:
            self.optimizer.register_step_pre_hook(_leave_out_frozen)
            self.optimizer.register_step_post_hook(lambda *_: self._stepped())
        else:
            shards = self._shards
            self.optimizer.register_step_pre_hook(lambda optimizer, *_: shards.leave_out_frozen(optimizer))

    def _deepspeed_engine(self, extra: Mapping[str, Any] | None) -> Any:
        engine, *_ = library().initialize(
            model=_Trained(self.model),
            model_parameters=list(self.model.trainable().values()),
            optimizer=self.optimizer,
            lr_scheduler=self.schedule,
            config=self._config(extra),
        )
        # A worker alone has nothing to reduce; DeepSpeed would send every gradient and their norm through gloo all the same.
        engine.enable_backward_allreduce = not self._sole
        return engine

    @property
    def _sole(self) -> bool:
        return self.group.size == 1 and self.zero_stage == 0 and self._plain

    def _groups(self, head: Callable[[str], bool]) -> list[dict[str, Any]]:
        named = self.model.trainable()
        body: dict[str, Any] = {"params": [p for name, p in named.items() if not head(name)]}
        rate = self.training.head_learning_rate
        top: dict[str, Any] = {
            "params": [p for name, p in named.items() if head(name)],
            "lr": self.training.learning_rate if rate is None else rate,
        }
        groups = [group for group in (body, top) if group["params"]]
        if self.zero_stage and self.model.method.card.freezes:
            # Parameters in one row take a step together.
            return [{**group, "params": [parameter]} for group in groups for parameter in group["params"]]
        return groups

    def _config(self, extra: Mapping[str, Any] | None) -> dict[str, Any]:
        share = self.training.batch_size // self.group.size
        micro = min(self.training.micro_batch or share, share)
        settings = dict(extra or {})
        # The weights that ZeRO-3 partitions are those of the base, which is not this engine's.
        given = settings.pop("zero_optimization", {})
        zero = {key: value for key, value in given.items() if key != "offload_param" and not key.startswith("stage3_")}
        zero["stage"] = min(self.zero_stage, 2)
        return {
            **settings,
            "zero_optimization": zero,
            "train_micro_batch_size_per_gpu": micro,
            "gradient_accumulation_steps": math.ceil(share / micro),
            "gradient_clipping": 0.0 if self._sole else self.training.clip or 0.0,
            "zero_allow_untested_optimizer": True,
            "steps_per_print": NEVER,
        }

    @property
    def learning_rate(self) -> float | None:
        """The learning rate of the next step; None for an optimiser that reads none."""
        return None if self.schedule is None else float(self.schedule.get_last_lr()[0])

    def step(self, batches: Sequence[MicroBatch], weight: int, stepped: Callable[[], None] = _nothing) -> float:
        """Take one optimiser step on one global batch; all workers of the group take it together.

        Args:
            batches: all micro-batches of this worker's share.
            weight: target tokens, or examples, of the global batch: the loss is the mean over them, however they are split.
            stepped: called right after the optimiser's step, while the parameters still have their gradients, if it uses any.

        Returns:
            What this worker's share adds to the loss.

        Raises:
            NotFinite: the gradient is not a finite number, as far as DeepSpeed finds out.
        """
        if isinstance(self.optimizer, OnlineOptimizer):
            loss_sum = self._observe(self.optimizer, batches)
            stepped()
            return loss_sum / weight
        assert self._engine is not None
        self._require_declared()
        total, self._stepped = 0.0, stepped
        for number, batch in enumerate(batches):
            loss = batch.losses(self._engine).sum() / weight
            total += float(loss.detach())
            # DeepSpeed takes the mean of the workers' gradients, where their sum is due.
            loss = loss * self.group.size
            penalty = self.model.penalty()
            if penalty is not None:
                loss = loss + penalty / len(batches)
            with during("backward"):
                self._engine.backward(loss, scale_wrt_gas=False)
                self.model.back_through_base()
            with during("update"):
                self._update(last=number == len(batches) - 1)
        return total

    def _update(self, last: bool) -> None:
        """Let DeepSpeed count a micro-batch, and take the optimiser's step after the last one."""
        assert self._engine is not None
        shards, acts = self._shards, type(self.model.method).after_step is not Method.after_step
        gradients = shards.gradients() if shards is not None and last and acts else []
        if self._sole and last:
            parameters = [*self.model.trainable().values()]
            fill_gradients(parameters)
            if self.training.clip:
                clip_gradients(parameters, self.training.clip)
        self._engine.step()
        if shards is None or not last:
            return
        if self._engine.optimizer.overflow:
            raise NotFinite("the gradient")
        if acts:
            factor = shards.clipping(self.training.clip)
            for parameter, gradient in zip(shards.parameters, gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.mul_(factor)
            self._stepped()
            shards.take_in()
            for parameter in shards.parameters:
                parameter.grad = None

    def _require_declared(self) -> None:
        """Refuse to leave out parameters that stand in one row with others: the optimiser would move them all the same."""
        card = self.model.method.card
        if self._shards is not None and not card.freezes and not all(p.requires_grad for p in self._shards.parameters):
            raise NotApplicableError(
                f"{card.name} leaves out parameters in some steps without declaring it, which ZeRO-{self.zero_stage} must know. "
                "Fix: `freezes=True` in its card, or deepspeed.zero_stage: 0"
            )

    def _observe(self, optimizer: OnlineOptimizer, batches: Sequence[MicroBatch]) -> float:
        """Let an optimiser learn from one example after the other; return the sum of their losses, each before its own step."""
        total = 0.0
        for batch in batches:
            if not isinstance(batch, LabelBatch):
                raise NotApplicableError(f"the optimiser {self.training.optimizer} learns from labels, not from texts")
            for row in batch.rows():
                outputs_BC = row.outputs(self.model)
                total += float(label_losses(outputs_BC.detach(), row.labels).sum())
                if not math.isfinite(total):
                    return total
                with during("backward"):
                    optimizer.observe(outputs_BC[0], row.labels[0])
        return total

    def state(self) -> dict[int, dict[str, Tensor]]:
        """Return the optimiser's state by its parameters' order, whole on every worker; all workers call this together."""
        if self._shards is not None:
            return self._shards.state()
        state = self.optimizer.state_dict()["state"]
        return {number: {key: torch.as_tensor(value).clone() for key, value in values.items()} for number, values in state.items()}

    def resume(self, state: Mapping[int, Mapping[str, Tensor]], step: int) -> None:
        """Put the optimiser and the schedule back to where they were after `step` steps; the parameters have their values of then."""
        if self._shards is not None:
            self._shards.take_in()
            self._shards.load_state(state)
        else:
            document = self.optimizer.state_dict()
            document["state"] = {index: dict(values) for index, values in state.items()}
            self.optimizer.load_state_dict(document)
        if self.schedule is None:
            return
        self.schedule.last_epoch = step
        for group, base_rate in zip(self.optimizer.param_groups, self.schedule.base_lrs, strict=True):
            group["lr"] = base_rate * self.schedule.lr_lambdas[0](step)
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def close(self) -> None:
        """Release the engine; the base and the adapter stay."""
        if self._engine is not None:
            self._engine.destroy()


def zero_stage(settings: Mapping[str, Any] | None) -> int:
    """Return the ZeRO stage of DeepSpeed's settings."""
    return int((settings or {}).get("zero_optimization", {}).get("stage", 0))


def kernel_options(kernel: Kernel) -> dict[str, bool]:
    """Return what a parameter group of a torch optimiser says to choose a kernel; nothing for torch's own choice."""
    return {} if kernel == "auto" else {"foreach": kernel == "foreach", "fused": kernel == "fused"}
