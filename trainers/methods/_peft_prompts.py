"""Runs HF PEFT's prompt-learning tuners as methods: they put virtual tokens before the text.

Shapes: B batch, T tokens, n virtual tokens, d hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftConfig
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.virtual_tokens import embedded, filled_cache
from trainers.methods._peft_layers import ADAPTER, SitelessTuner


class PromptTuner(SitelessTuner):
    """Learned embeddings before the text, or learned keys and values in every layer's cache."""

    def _config(self, base: nn.Module) -> PeftConfig:
        if not getattr(base, "can_generate", lambda: False)():
            raise NotApplicableError(f"{self.card.name} puts tokens before the text of causal language models; this base is none")
        return super()._config(base)

    def _targets(self, base: nn.Module) -> dict[str, Any]:
        return {}

    def virtual_tokens(self) -> int:
        """Return the number of tokens put before the text."""
        return int(self.config.num_virtual_tokens)

    def with_virtual_tokens(self, base: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs with a filled cache, or with embeddings (B, n + T, d) in place of token ids."""
        prompt = self.peft_model.get_prompt(len(inputs["input_ids"]))
        if isinstance(prompt, Tensor):
            return embedded(base, inputs, prompt)
        layers = [(layer.keys, layer.values) for layer in prompt.layers]
        return inputs | {"past_key_values": filled_cache(inputs.get("past_key_values"), layers)}

    def stored(self) -> dict[str, Tensor]:
        """Return the virtual tokens themselves, as HF PEFT saves them: an encoder that made them serves training only."""
        encoder = self.peft_model.prompt_encoder[ADAPTER]
        if self.config.inference_mode:
            return {"prompt_embeddings": encoder.embedding.weight.detach()}
        tokens = torch.arange(self.virtual_tokens(), device=next(encoder.parameters()).device)
        with torch.no_grad():
            return {"prompt_embeddings": encoder(tokens[None])[0]}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back the virtual tokens; where an encoder had made them, it is put aside and they are used as they are."""
        encoder = self.peft_model.prompt_encoder[ADAPTER]
        if {"transform", "mlp_head", "lstm_head"} & set(dict(encoder.named_children())):
            values = state["prompt_embeddings"].to(next(encoder.parameters()))
            encoder.embedding = nn.Embedding.from_pretrained(values, freeze=True)
            self.config.inference_mode = True
        else:
            super().restore(state)
