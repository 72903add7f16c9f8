"""Tensors that a method uses but does not train."""

from __future__ import annotations

from torch import Tensor, nn


class FrozenTensors(nn.Module):
    """Tensors by name that move to a device and dtype with their method, and are neither counted as parameters nor stored."""

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor.detach(), persistent=False)

    def __getitem__(self, name: str) -> Tensor:
        return self._buffers[name]  # type: ignore[return-value]
