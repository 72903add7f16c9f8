"""Singular triplets of base weights: right, the same everywhere, and computed once."""

import gc
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainers.adapters import spectrum
from trainers.adapters.spectrum import Spectrum, leading_spectrum


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path))
    return tmp_path / "spectra"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ranks of the decompositions that are really made."""
    ranks: list[int] = []
    real: Callable[[Tensor, int], Spectrum] = spectrum._decomposed

    def noted(weight: Tensor, rank: int) -> Spectrum:
        ranks.append(rank)
        return real(weight, rank)

    monkeypatch.setattr(spectrum, "_decomposed", noted)
    return ranks


def matrix(rows: int, columns: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).to(dtype)


def product(triplets: Spectrum) -> Tensor:
    return triplets.left_or * triplets.values_r @ triplets.right_ri


@given(rows=st.integers(1, 30), columns=st.integers(1, 30), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_triplets_are_orthonormal_and_give_the_matrix_back(rows: int, columns: int, seed: int) -> None:
    weight, side = matrix(rows, columns, seed, torch.float64), min(rows, columns)
    whole = leading_spectrum(weight, side)
    assert torch.allclose(product(whole), weight, rtol=0, atol=1e-10)
    for vectors in (whole.left_or.T, whole.right_ri):
        assert torch.allclose(vectors @ vectors.T, torch.eye(side, dtype=torch.float64), rtol=0, atol=1e-10)
    assert bool((whole.values_r[:-1] >= whole.values_r[1:]).all())
    largest = whole.left_or.gather(0, whole.left_or.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())
    part = leading_spectrum(weight, 1)
    assert torch.equal(part.left_or, whole.left_or[:, :1])


def test_large_matrices_are_decomposed_well_and_reproducibly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The iterations against the exact decomposition, on a spectrum that falls as slowly as that of random weights."""
    weight = matrix(320, 260)
    exact = leading_spectrum(weight, 16)
    monkeypatch.setattr(spectrum, "EXACT_SIDE", 64)
    state = torch.random.get_rng_state()
    approximate = spectrum._decomposed(weight, 64)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(5)
    again = spectrum._decomposed(weight, 64)
    assert torch.equal(approximate.left_or, again.left_or)
    leading = approximate.leading(16)
    assert torch.allclose(leading.values_r, exact.values_r, rtol=1e-3, atol=0)
    assert float((product(leading) - product(exact)).norm() / product(exact).norm()) < 0.02


def test_a_weight_is_decomposed_once(computed: list[int]) -> None:
    weight = matrix(200, 150)
    for rank in (4, 64, 1):
        leading_spectrum(weight, rank)
    assert computed == [64]
    assert leading_spectrum(weight, 65).values_r.shape == (65,)
    leading_spectrum(weight, 140)
    assert computed == [64, 128, 150]
    leading_spectrum(weight, 4)
    assert computed == [64, 128, 150]


def test_triplets_do_not_depend_on_what_was_asked_before() -> None:
    """At a side above the exact ones, where a larger sketch gives other vectors."""
    weight = matrix(1040, 1040)
    twin = weight.clone()
    alone = leading_spectrum(weight, 8)
    wide = leading_spectrum(twin, 100)
    after = leading_spectrum(twin, 8)
    assert all(torch.equal(getattr(alone, part), getattr(after, part)) for part in ("left_or", "values_r", "right_ri"))
    assert not torch.equal(wide.values_r[:8], after.values_r)


@pytest.mark.parametrize("shape", [(320, 260), (260, 320)])
def test_the_sketch_is_the_same_in_every_precision(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """On another kind of arithmetic the result differs by rounding: the random start is not drawn there."""
    monkeypatch.setattr(spectrum, "EXACT_SIDE", 64)
    single, double = (spectrum._decomposed(matrix(*shape, dtype=dtype), 64) for dtype in (torch.float32, torch.float64))
    assert torch.allclose(single.values_r.double(), double.values_r, rtol=1e-5, atol=0)
    assert torch.allclose(product(single).double(), product(double), rtol=0, atol=1e-4)


def test_a_weight_that_changes_is_decomposed_again(computed: list[int]) -> None:
    weight = matrix(20, 10)
    before = leading_spectrum(weight, 3)
    weight.mul_(2)
    assert torch.allclose(leading_spectrum(weight, 3).values_r, 2 * before.values_r, rtol=1e-5, atol=0)
    assert len(computed) == 2


def test_a_model_that_is_converted_is_decomposed_again(computed: list[int]) -> None:
    layer = nn.Linear(10, 20)
    assert leading_spectrum(layer.weight, 3).values_r.dtype == torch.float32
    assert leading_spectrum(layer.double().weight, 3).values_r.dtype == torch.float64
    assert len(computed) == 2


def test_equal_weights_of_another_process_come_from_the_file(computed: list[int], folder: Path) -> None:
    first = leading_spectrum(matrix(200, 150), 8)
    second = leading_spectrum(nn.Parameter(matrix(200, 150)), 8)
    assert computed == [64]
    assert torch.equal(first.left_or, second.left_or)
    assert torch.equal(first.right_ri, second.right_ri)
    assert len(list(folder.iterdir())) == 1
    leading_spectrum(matrix(200, 150, seed=1), 8)
    leading_spectrum(matrix(200, 150).double(), 8)
    leading_spectrum(matrix(200, 150).reshape(150, 200), 8)
    assert len(computed) == 4


def test_small_weights_leave_no_file(folder: Path) -> None:
    leading_spectrum(matrix(100, 90), 8)
    assert not folder.exists()


@pytest.mark.parametrize("damage", [b"", b"not safetensors at all"])
def test_a_damaged_file_is_made_anew(computed: list[int], folder: Path, damage: bytes) -> None:
    wanted = leading_spectrum(matrix(200, 150), 8)
    [file] = folder.iterdir()
    file.write_bytes(damage)
    assert torch.equal(leading_spectrum(matrix(200, 150), 8).left_or, wanted.left_or)
    leading_spectrum(matrix(200, 150), 8)
    assert computed == [64, 64]
    assert list(folder.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_only_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert leading_spectrum(matrix(200, 150), 8).values_r.shape == (8,)
    assert "cannot keep a decomposition in" in caplog.text
    assert "move the cache by FAIRSWEEP_CACHE" in caplog.text


def test_bf16_weights_are_decomposed_in_fp32() -> None:
    weight = matrix(140, 130, dtype=torch.bfloat16)
    triplets = leading_spectrum(weight, 130)
    assert triplets.values_r.dtype == torch.float32
    assert torch.allclose(product(triplets), weight.float(), rtol=0, atol=1e-4)


def test_a_weight_that_is_gone_is_forgotten() -> None:
    gc.collect()
    count = len(spectrum._known)
    weight = matrix(20, 10)
    leading_spectrum(weight, 2)
    assert len(spectrum._known) == count + 1
    del weight
    gc.collect()
    assert len(spectrum._known) == count
