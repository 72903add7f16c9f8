"""The DeepSpeed engine: one adapter's optimiser around a resident base.

Shapes: B micro-batch, T tokens, K positions kept at the end, V vocabulary.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

from search_spaces.trial import Training
from trainers.adapters.attach import AdaptedModel
from trainers.schedules import learning_rate_factor

NEVER = 1_000_000_000


@dataclass(frozen=True)
class Batch:
    """Sequences of one micro-batch, padded on the left so that all targets end at the last position."""

    input_ids: Tensor
    """(B, T)"""
    attention_mask: Tensor
    """(B, T)"""
    targets: Tensor
    """(B, K) the last K tokens, with -100 where a token is not a target."""


def _nothing() -> None:
    pass


def _leave_out_frozen(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Take the gradients, zeros for lack of others, from the parameters that this step leaves out: the optimiser then passes over them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                parameter.grad = None


@cache
def process_group() -> None:
    """Start this process's group of one: gloo on CPU, nccl on GPU; it meets in memory, so that no port is needed."""
    deepspeed = _deepspeed()
    os.environ.setdefault("LOCAL_RANK", "0")
    if not torch.distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    deepspeed.init_distributed(dist_init_required=False, verbose=False)


@cache
def _deepspeed() -> Any:
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    import deepspeed
    import deepspeed.ops

    # Its CPU communication kernel would be compiled at the first start (26-48 s, needs a compiler, and a kill meanwhile leaves a lock
    # that hangs the next start); a group of one gains nothing from it.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    return deepspeed


class Engine:
    """Optimises the trainable parameters of an adapted model.

    Attributes:
        model: the adapted model that is trained.
        optimizer: the torch optimiser that DeepSpeed steps.
    """

    def __init__(
        self,
        model: AdaptedModel,
        training: Training,
        steps: int,
        *,
        head: Callable[[str], bool],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Build the optimiser, the schedule and the engine around them.

        Args:
            steps: optimiser steps of the whole training.
            head: tells whether a parameter's name belongs to the classification head.
            extra: DeepSpeed settings that do not change what is trained.
        """
        process_group()
        self.model, self.training = model, training
        self.optimizer = torch.optim.AdamW(
            self._groups(head),
            lr=training.learning_rate,
            betas=training.betas,
            eps=training.eps,
            weight_decay=training.weight_decay,
        )
        self._stepped: Callable[[], None] = _nothing
        self.optimizer.register_step_pre_hook(_leave_out_frozen)
        self.optimizer.register_step_post_hook(lambda *_: self._stepped())
        schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: learning_rate_factor(training, step, steps))
        self.schedule = schedule
        self._engine, *_ = _deepspeed().initialize(
            model=model,
            model_parameters=list(model.trainable().values()),
            optimizer=self.optimizer,
            lr_scheduler=schedule,
            config=self._config(extra),
        )

    def _groups(self, head: Callable[[str], bool]) -> list[dict[str, Any]]:
        named = self.model.trainable()
        body = {"params": [p for name, p in named.items() if not head(name)]}
        rate = self.training.head_learning_rate
        top = {
            "params": [p for name, p in named.items() if head(name)],
            "lr": self.training.learning_rate if rate is None else rate,
        }
        return [group for group in (body, top) if group["params"]]

    def _config(self, extra: Mapping[str, Any] | None) -> dict[str, Any]:
        size = self.training.batch_size
        micro = min(self.training.micro_batch or size, size)
        return {
            "zero_optimization": {"stage": 0},
            **dict(extra or {}),
            "train_micro_batch_size_per_gpu": micro,
            "gradient_accumulation_steps": math.ceil(size / micro),
            "gradient_clipping": self.training.clip or 0.0,
            "zero_allow_untested_optimizer": True,
            "steps_per_print": NEVER,
        }

    def step(self, batches: Sequence[Batch], target_tokens: int, stepped: Callable[[], None] = _nothing) -> float:
        """Take one optimiser step on the micro-batches of one global batch.

        Args:
            batches: all micro-batches.
            target_tokens: target tokens of the global batch: the loss is the mean over them, however they are split.
            stepped: called right after the optimiser's step, while the parameters still have their gradients.

        Returns:
            The loss.
        """
        total, self._stepped = 0.0, stepped
        for batch in batches:
            loss = token_losses(self._engine, batch).sum() / target_tokens
            total += float(loss.detach())
            penalty = self.model.penalty()
            if penalty is not None:
                loss = loss + penalty / len(batches)
            self._engine.backward(loss, scale_wrt_gas=False)
            self._engine.step()
        return total

    def resume(self, state: Mapping[int, Mapping[str, Tensor]], step: int) -> None:
        """Put the optimiser's state and the schedule back to where they were after `step` steps."""
        document = self.optimizer.state_dict()
        document["state"] = {index: dict(values) for index, values in state.items()}
        self.optimizer.load_state_dict(document)
        self.schedule.last_epoch = step
        for group, base_rate in zip(self.optimizer.param_groups, self.schedule.base_lrs, strict=True):
            group["lr"] = base_rate * self.schedule.lr_lambdas[0](step)
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def close(self) -> None:
        """Release the engine; the base and the adapter stay."""
        self._engine.destroy()


def token_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of every kept position, (B, K), zero where it is not a target; in fp32."""
    keep = batch.targets.shape[1]
    output = model(batch.input_ids, batch.attention_mask, logits_to_keep=keep + 1)
    logits_BKV = output.logits[:, -keep - 1 : -1].float()
    return nn.functional.cross_entropy(logits_BKV.transpose(1, 2), batch.targets, ignore_index=-100, reduction="none")
