"""Stored adapters: what is written, and what is refused on reading."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from search_spaces.errors import StorageError
from search_spaces.trial import ModelRef
from trainers.adapters import storing
from trainers.adapters.attach import attached
from trainers.models import load
from trainers.registry import method_type


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return load(ModelRef(id="micro-llama"), torch.device("cpu")).model


@pytest.fixture
def folder(base: nn.Module, tmp_path: Path) -> Path:
    with attached(base, method_type("lora"), ("q",), capacity={"rank": 2}, settings={}, also_train=("norms",)) as model:
        storing.save(model, tmp_path / "adapter", document())
    return tmp_path / "adapter"


def document(**changes: Any) -> dict[str, Any]:
    method = {"name": "lora", "version": "abc", "capacity": {"rank": 2}, "settings": {}}
    return {"model": {"id": "micro-llama"}, "method": method, "targets": ["q"], "also_train": ["norms"]} | changes


def test_method_and_extras_are_stored_apart(folder: Path) -> None:
    names = set(load_file(folder / storing.TENSORS))
    assert {name for name in names if name.startswith("method.")} == {f"method.{n}.l{k}_q" for n in ("down", "up") for k in (0, 1)}
    assert "extras.model.norm.weight" in names
    assert json.loads((folder / storing.DOCUMENT).read_text())["method"]["capacity"] == {"rank": 2}


def test_extras_come_back(base: nn.Module, tmp_path: Path) -> None:
    options: dict[str, Any] = {"capacity": {"rank": 2}, "settings": {}, "also_train": ("norms",)}
    with attached(base, method_type("lora"), ("q",), **options) as model:
        model.extras.values[0].data.fill_(3.0)
        storing.save(model, tmp_path / "adapter", document())
    with attached(base, method_type("lora"), ("q",), **options) as model:
        storing.restore(model, storing.load(tmp_path / "adapter")[0])
        assert bool((model.extras.values[0] == 3.0).all())


def test_an_incomplete_document_is_refused_before_writing(base: nn.Module, tmp_path: Path) -> None:
    with attached(base, method_type("lora"), ("q",), capacity={"rank": 2}, settings={}) as model:
        with pytest.raises(StorageError, match=r"adapter_config.json: targets: Field required"):
            storing.save(model, tmp_path / "adapter", {k: v for k, v in document().items() if k != "targets"})
    assert not (tmp_path / "adapter").exists()


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / storing.TENSORS).unlink()
    with pytest.raises(StorageError, match=r"holds no adapter.safetensors. Valid: a folder written by fairsweep"):
        storing.load(folder)


@pytest.mark.parametrize("name", [storing.TENSORS, storing.DOCUMENT])
def test_damaged_files_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(StorageError, match=name):
        storing.load(folder)


@pytest.mark.parametrize("name", [storing.TENSORS, storing.DOCUMENT])
def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside" / name
    outside.parent.mkdir()
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(StorageError, match="leads out of its folder"):
        storing.load(folder)


def test_an_adapter_of_another_capacity_is_refused_whole(base: nn.Module, folder: Path) -> None:
    state, _ = storing.load(folder)
    with attached(base, method_type("lora"), ("q",), capacity={"rank": 3}, settings={}, also_train=("norms",)) as model:
        before = {name: tensor.clone() for name, tensor in storing.adapter_state(model).items()}
        with pytest.raises(StorageError, match=r"'method.down.l0_q' \(\(2, 16\) stored, \(3, 16\) needed\)"):
            storing.restore(model, state)
        assert all(torch.equal(tensor, before[name]) for name, tensor in storing.adapter_state(model).items())


def test_an_adapter_of_other_targets_is_refused(base: nn.Module, folder: Path) -> None:
    with attached(base, method_type("lora"), ("q", "v"), capacity={"rank": 2}, settings={}, also_train=("norms",)) as model:
        with pytest.raises(StorageError, match="'method.down.l0_v' .absent stored"):
            storing.restore(model, storing.load(folder)[0])
