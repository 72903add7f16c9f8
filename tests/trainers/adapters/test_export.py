"""Adapters in the formats of other tools: loaded by those tools, they give the same logits."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from search_spaces.errors import ModelError, NotApplicableError, UnknownNameError
from search_spaces.trial import ModelRef
from trainers.adapters import storing
from trainers.adapters.attach import attached
from trainers.adapters.snapshot import fingerprint
from trainers.export import export
from trainers.models import BaseModel, load
from trainers.registry import bridged_names, method_names, method_type

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)
CAPACITY = {"block_size": 4, "boft_block_size": 4, "oft_block_size": 4, "sparse_rate": 0.05, "sparsity": 0.9}
SETTINGS: dict[str, dict[str, Any]] = {
    "peft/adamss": {"r": 4, "num_subspaces": 2},
    "peft/road": {"group_size": 4},
    "peft/trainable_tokens": {"token_indices": [0, 7, 200, 255]},
    "peft/vblora": {"vector_length": 4},
}
NEEDS_A_HEAD = ("lorta_head",)


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return load(ModelRef(id="micro-llama"), torch.device("cpu"))


def trained(base: BaseModel, name: str, folder: Path, targets: tuple[str, ...] = ("q", "v"), **options: Any) -> Tensor:
    """Store an adapter with moved parameters; return its logits."""
    kind = method_type(name)
    also_train, settings = options.pop("also_train", ()), options.pop("settings", SETTINGS.get(name, {}))
    capacity = {key: CAPACITY.get(key, 2) for key in kind.card.capacity}
    fixed: dict[str, Any] = {"capacity": capacity, "settings": settings, "also_train": also_train, "scale": 0.7, "init_seed": 3}
    with attached(base.model, kind, targets, **fixed) as model:
        with torch.no_grad():
            for parameter in model.trainable().values():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)), alpha=0.05)
        method = {"name": name, "version": "-", "capacity": capacity, "settings": settings}
        document = {"model": {"id": "micro-llama"}, "method": method, "targets": targets, "also_train": also_train}
        storing.save(model, folder, document | {"scale": 0.7, "init_seed": 3})
        with model.evaluating():
            logits: Tensor = model(IDS, MASK).logits
    return logits


def read_by_hf_peft(folder: Path) -> Tensor:
    other = load(ModelRef(id="micro-llama"), torch.device("cpu")).model
    with torch.no_grad():
        logits: Tensor = peft.PeftModel.from_pretrained(other, folder).eval()(input_ids=IDS, attention_mask=MASK).logits[:, -IDS.shape[1] :]
    return logits


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in method_names() if method_type(name).card.exports_lora and name not in NEEDS_A_HEAD),
        ("lorta", {"orientation": "lit_gpt"}),
        ("aurora", {"variant": "tk"}),
        ("peft/lora", {}),
        ("peft/lora", {"use_dora": True}),
    ],
)
@pytest.mark.parametrize("form", ["lora", "peft"])
def test_low_rank_methods_become_lora_folders(base: BaseModel, tmp_path: Path, name: str, settings: Any, form: str) -> None:
    wanted = trained(base, name, tmp_path / "adapter", settings=settings)
    export(base, tmp_path / "adapter", form, tmp_path / "out")
    assert {"adapter_model.safetensors", "adapter_config.json"} == {file.name for file in (tmp_path / "out").iterdir()}
    assert torch.allclose(read_by_hf_peft(tmp_path / "out"), wanted, atol=1e-6)


@pytest.mark.parametrize("name", bridged_names())
def test_tuners_become_their_own_folders(base: BaseModel, tmp_path: Path, name: str) -> None:
    wanted = trained(base, name, tmp_path / "adapter")
    export(base, tmp_path / "adapter", "peft", tmp_path / "out")
    assert torch.allclose(read_by_hf_peft(tmp_path / "out"), wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "lorta", "full", "peft/ia3", "peft/vera", "peft/ln_tuning", "peft/trainable_tokens"])
def test_merged_folders_load_as_ordinary_models(base: BaseModel, tmp_path: Path, name: str) -> None:
    bits = fingerprint(base.model)
    wanted = trained(base, name, tmp_path / "adapter", also_train=() if name == "full" else ("norms",))
    export(base, tmp_path / "adapter", "merged", tmp_path / "out")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.allclose(whole(input_ids=IDS, attention_mask=MASK).logits, wanted, atol=1e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").encode("abc") == base.tokenizer.encode("abc")
    assert fingerprint(base.model) == bits


def test_methods_without_the_format_say_why(base: BaseModel, tmp_path: Path) -> None:
    for name, form, reason in (
        ("peft/ia3", "lora", "peft/ia3 is not a low-rank update of single matrices. Fix: export it as peft or merged"),
        ("full", "lora", "full is not a low-rank update"),
        ("full", "peft", "HF PEFT has no tuner for full"),
        ("peft/prompt_tuning", "merged", "peft/prompt_tuning cannot be merged"),
    ):
        folder = tmp_path / f"{name}-{form}".replace("/", "-")
        trained(base, name, folder)
        with pytest.raises(NotApplicableError, match=reason):
            export(base, folder, form, tmp_path / "out")


def test_norms_have_no_place_in_a_lora_folder(base: BaseModel, tmp_path: Path) -> None:
    trained(base, "lora", tmp_path / "adapter", also_train=("norms",))
    with pytest.raises(NotApplicableError, match="Fix: export it as merged"):
        export(base, tmp_path / "adapter", "lora", tmp_path / "out")


def test_an_unknown_format_is_refused(base: BaseModel, tmp_path: Path) -> None:
    trained(base, "lora", tmp_path / "adapter")
    with pytest.raises(UnknownNameError, match="unknown format 'gguf'. Valid: lora, merged, peft"):
        export(base, tmp_path / "adapter", "gguf", tmp_path / "out")


def test_another_base_is_refused(base: BaseModel, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    save_file({}, tmp_path / "adapter" / storing.TENSORS)
    document = '{"model": {"id": "other", "digest": "aaaa"}, "method": {"name": "lora", "version": "-"}, "targets": ["q"]}'
    (tmp_path / "adapter" / storing.DOCUMENT).write_text(document)
    known = BaseModel(base.ref.model_copy(update={"digest": "bbbb"}), base.model, base.tokenizer)
    with pytest.raises(ModelError, match="was trained on 'other', with other weights"):
        export(known, tmp_path / "adapter", "lora", tmp_path / "out")
