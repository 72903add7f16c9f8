"""The base classes of optimisers: what a sweep can name, and those that learn from one example at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from search_spaces.trial import Training
from trainers.api import OptimizerCard

Groups = list[dict[str, Any]]
"""Parameter groups as torch takes them, each with its learning rate: the adapter's, and the classification head's."""


class Optimizer(ABC):
    """An optimiser that a sweep can name. A subclass lives in `trainers/optimizers/<name>.py` and declares a `card`."""

    card: ClassVar[OptimizerCard]

    @classmethod
    @abstractmethod
    def build(cls, groups: Groups, training: Training) -> torch.optim.Optimizer:
        """Return torch's optimiser for the parameters of one trial.

        Its `state` holds tensors only, which the checkpoint of a running trial keeps. An `OnlineOptimizer` is given the model's outputs,
        example by example; any other one finds clipped gradients of the mean loss, and its learning rate is scheduled if it reads one.
        """


class NotFinite(ArithmeticError):
    """An update cannot be computed, since a number left the range of its arithmetic; the message names what is not finite."""


class OnlineOptimizer(torch.optim.Optimizer, ABC):
    """Updates its parameters after every single example, from the outputs of a forward pass with a graph."""

    @abstractmethod
    def observe(self, outputs_C: Tensor, label: Tensor) -> None:
        """Learn from one example.

        Args:
            outputs_C: the head's outputs, (C,): logits of the classes, or (1,) the predicted number.
            label: the right class as a whole number, or the right number in floating point; of no dimension.

        Raises:
            NotFinite: the update cannot be computed.
        """

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Refuse: there is nothing to do without an example.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"{type(self).__name__} learns by observe()")
