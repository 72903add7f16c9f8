"""Runs HF PEFT's AdaLoRA as a method, with its own allocator of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftConfig
from torch import Tensor, nn

from search_spaces.errors import CapacityError
from trainers.methods._peft_layers import PeftTuner


class AdaLora(PeftTuner):
    """AdaLoRA with HF PEFT's allocator: starts at rank `init_r` and prunes to `target_r` on average."""

    _MEMORY = ("ipt", "exp_avg_ipt", "exp_avg_unc")

    def _config(self, base: nn.Module) -> PeftConfig:
        target = self._checked_capacity()["target_r"]
        if self.settings["init_r"] is None:
            self.settings["init_r"] = -(-3 * target // 2)
        initial = self.settings["init_r"]
        if not isinstance(initial, int) or initial <= target:
            raise CapacityError(f"{self.card.name}: init_r {initial!r} is not valid. Valid: a whole number above target_r {target}")
        # The number of steps is not known yet; `before_step` tells it.
        self.settings["total_step"] = self.settings["tinit"] + self.settings["tfinal"] + 2
        return super()._config(base)

    def _register(self) -> None:
        # On the meta device HF PEFT leaves the bookkeeping of ranks marked as trainable.
        for name, parameter in self.peft_model.named_parameters():
            if ".ranknum." in name:
                parameter.requires_grad_(False)
        super()._register()

    def before_step(self, step: int, steps: int) -> None:
        """Tell the allocator the number of steps.

        Raises:
            CapacityError: a warm-up and a final phase that leave no step between them.
        """
        config = self.config
        if config.tinit >= steps - config.tfinal:
            raise CapacityError(f"{self.card.name}: tinit {config.tinit} and tfinal {config.tfinal} leave no step of {steps} to prune in")
        config.total_step = steps

    def complete(self, taken: int, steps: int) -> bool:
        """Tell whether pruning is over."""
        return bool(taken >= steps - self.config.tfinal)

    def after_step(self, step: int, steps: int) -> None:
        """Update the importance of each rank and prune, by the gradients of the step just taken."""
        allocator = self.peft_model.base_model.rankallocator
        if step + 1 < steps - self.config.tfinal or allocator.ipt or self.config.rank_pattern:
            self.peft_model.base_model.update_and_allocate(step + 1)

    def training_state(self) -> dict[str, Tensor]:
        """Return the smoothed importances of the allocator, and the masks that it last set."""
        allocator = self.peft_model.base_model.rankallocator
        state = {f"{key}/{name}": t for key in self._MEMORY for name, t in getattr(allocator, key).items()}
        masks = self.config.rank_pattern or {}
        return state | {f"mask/{name}": torch.as_tensor(mask) for name, mask in masks.items()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Put the allocator back."""
        allocator = self.peft_model.base_model.rankallocator
        for full, tensor in state.items():
            key, _, name = full.partition("/")
            if key == "mask":
                self.config.rank_pattern = {**(self.config.rank_pattern or {}), name: tensor.tolist()}
            else:
                getattr(allocator, key)[name] = tensor

    def penalty(self) -> Tensor:
        """Return `γ` times the mean distance of `A A^T` and `B^T B` from the identity (arXiv 2303.10512, eq. 4)."""
        downs, ups = (list(self.get_submodule(name).parameters()) for name in ("lora_A", "lora_B"))
        grams = [a @ a.T for a in downs] + [b.T @ b for b in ups]
        distances = [torch.linalg.norm(gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)) for gram in grams]
        weight: float = self.config.orth_reg_weight
        return weight * torch.stack(distances).mean()

    def stored(self) -> dict[str, Tensor]:
        """Return all ranks, the pruned ones as zeros; HF PEFT would cut these off only with the pattern of the last step."""
        with self._whole():
            return super().stored()

    def write_peft(self, folder: Path, base_id: str) -> None:
        """Write the folder that `PeftModel.from_pretrained` reads, all ranks in it."""
        with self._whole():
            super().write_peft(folder, base_id)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        pattern, self.config.rank_pattern = self.config.rank_pattern, None
        try:
            yield
        finally:
            self.config.rank_pattern = pattern
