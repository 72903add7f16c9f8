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
from trainers.methods._peft_layers import ADAPTER, PeftTuner


class PromptTuner(PeftTuner):
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
        tokens_BT = inputs["input_ids"]
        prompt = self.peft_model.get_prompt(len(tokens_BT))
        if not isinstance(prompt, Tensor):
            return inputs | {"past_key_values": _continued(inputs.get("past_key_values"), prompt)}
        embed: Any = base.get_input_embeddings
        text_BTd = embed()(tokens_BT)
        inputs = {name: value for name, value in inputs.items() if name != "input_ids"}
        inputs["inputs_embeds"] = torch.cat([prompt.to(text_BTd.dtype), text_BTd], 1)
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        inputs["logits_to_keep"] = inputs.get("logits_to_keep") or tokens_BT.shape[1]
        return inputs

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


def _continued(given: Any, prompt: Any) -> Any:
    """Return the prompt's cache, or the caller's empty one filled from it."""
    if given is None:
        return prompt
    for number, layer in enumerate(prompt.layers):
        given.update(layer.keys, layer.values, number)
    return given
