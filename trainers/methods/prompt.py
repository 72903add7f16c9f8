"""Prompt tuning: learned embeddings before the text.

Shapes: n virtual tokens, d embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trainers.adapters.method import Method
from trainers.adapters.virtual_tokens import embedded, positions
from trainers.api import MethodCard, Setting


class Prompt(Method):
    """n trained vectors in front of the text's embeddings (Lester et al. 2021, arXiv 2104.08691, section 2).

    `init`: `vocabulary` takes the embeddings of tokens drawn from the whole vocabulary, as HF PEFT's `SAMPLE_VOCAB` (the paper draws from
    the 5,000 most frequent ones, whose frequencies a base does not carry); `random` draws from U(-0.5, 0.5), as the paper (HF PEFT draws
    from N(0, 1)). On a classifier the prompt stands before the first token of the text, as in HF PEFT, so that the head reads the first
    virtual token.
    """

    card = MethodCard(
        name="prompt",
        family="prompt",
        reference="arXiv 2104.08691",
        source="peft 0.21.2 tuners/prompt_tuning",
        capacity=("tokens",),
        settings={"init": Setting("vocabulary", ("vocabulary", "random"), "where the first embeddings come from")},
        default_targets=(),
        starts_as="other",
        mergeable=False,
        reads=("learning_rate",),
        packable=True,
        base_weights="read_at_start",
    )

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return none: no matrix is adapted."""
        return ()

    def build(self, base: nn.Module) -> None:
        """Create the embeddings (n, d)."""
        config: Any = base.config
        count = self.rank_within("tokens", positions(base) - 1, "the model's positions, one left for text")
        width = getattr(config, "word_embed_proj_dim", config.hidden_size)
        self.embeddings = nn.Parameter(torch.empty(count, width))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Take the embeddings of random tokens, or draw."""
        if self.settings["init"] == "random":
            nn.init.uniform_(self.embeddings, -0.5, 0.5, generator=generator)
            return
        embed: Any = base.get_input_embeddings
        table = embed().weight
        rows = torch.randint(len(table), (len(self.embeddings),), generator=generator)
        with torch.no_grad():
            self.embeddings.copy_(table[rows.to(table.device)])

    def virtual_tokens(self) -> int:
        """Return the length of the prompt."""
        return len(self.embeddings)

    def with_virtual_tokens(self, base: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs with embeddings in place of token ids."""
        return embedded(base, inputs, self.embeddings)


METHOD = Prompt
