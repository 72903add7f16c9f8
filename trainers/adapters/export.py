"""Writes an attached adapter in the formats of other tools.

Shapes: i in_features, o out_features, r rank.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from search_spaces.errors import NotApplicableError, UnknownNameError
from trainers.adapters.attach import AdaptedModel
from trainers.adapters.copies import in_head
from trainers.adapters.merging import merged
from trainers.adapters.method import Method

Format = Literal["lora", "peft", "merged"]
FORMATS: tuple[Format, ...] = ("lora", "peft", "merged")
_PEFT = "base_model.model."


def write(model: AdaptedModel, form: str, out: Path, base_id: str, tokenizer: Any) -> None:
    """Write an adapter for other tools.

    Args:
        model: the adapted model, with the trained values.
        form: `lora` (a LoRA folder of HF PEFT), `peft` (the tuner's own folder of HF PEFT; for low-rank methods the same as
            `lora`) or `merged` (the whole base with the adapter folded in, as `save_pretrained` writes it).
        out: the folder to create.
        base_id: hub id or folder of the base, which HF PEFT records.
        tokenizer: is written beside a merged model.

    Raises:
        UnknownNameError: no such format.
        NotApplicableError: the method cannot be written in this format; the message gives the reason.
    """
    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    if form == "merged":
        _write_merged(model, out, tokenizer)
        return
    if model.extras.names:
        raise NotApplicableError("trained norms and biases have no place in an HF PEFT folder. Fix: export it as merged")
    if form == "lora" and not model.method.card.exports_lora:
        raise NotApplicableError(f"{model.method.card.name} is not a low-rank update of single matrices. Fix: export it as peft or merged")
    out.mkdir(parents=True, exist_ok=True)
    is_lora = model.method.card.exports_lora and type(model.method).factors is not Method.factors
    if is_lora and (form == "lora" or type(model.method).write_peft is Method.write_peft):
        _write_lora(model, out, base_id)
    else:
        model.method.write_peft(out, base_id)


def _write_merged(model: AdaptedModel, out: Path, tokenizer: Any) -> None:
    with merged(model) as base:
        base.save_pretrained(out)  # type: ignore[operator]
    tokenizer.save_pretrained(out)


def _write_lora(model: AdaptedModel, out: Path, base_id: str) -> None:
    """Write the factors of every site; the scaling is in B, so that `lora_alpha` equals the rank. The head goes with them, whole.

    HF PEFT keeps a layer's weight either as the base's or in the folder, without LoRA: an update of a head's layer is folded in.
    """
    from peft import LoraConfig

    with torch.no_grad():
        model.method.prepare()
        factors = {site.path: model.method.factors(site) for site in model.method.sites if not in_head(f"{site.path}.")}
        head = model.method.merged_head(model.head.held())
    ranks = {path: len(a_ri) for path, (a_ri, _) in factors.items()}
    common = max(ranks.values())
    others = {path: rank for path, rank in ranks.items() if rank != common}
    config = LoraConfig(
        r=common,
        lora_alpha=common,
        target_modules=sorted(factors),
        modules_to_save=sorted({name.rpartition(".")[0] for name in head}) or None,
        rank_pattern=others,
        alpha_pattern=dict(others),
        task_type=None if head else "CAUSAL_LM",
        base_model_name_or_path=base_id,
        inference_mode=True,
    )
    config.save_pretrained(str(out))
    state: dict[str, Tensor] = {f"{_PEFT}{name}": tensor.detach().cpu().contiguous() for name, tensor in head.items()}
    for path, (a_ri, b_or) in factors.items():
        state[f"{_PEFT}{path}.lora_A.weight"] = a_ri.cpu().contiguous()
        state[f"{_PEFT}{path}.lora_B.weight"] = b_or.cpu().contiguous()
    save_file({name: tensor.clone() for name, tensor in state.items()}, out / "adapter_model.safetensors", metadata={"format": "pt"})
