"""Operations of forward and backward passes, against counts by hand.

Shapes: B batch, i in_features, o out_features, r rank, T tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.errors import NotApplicableError
from search_spaces.trial import ModelRef
from trainers import models, registry
from trainers.adapters.attach import attached
from trainers.adapters.convolution import Cyclic, Negacyclic, Padded
from trainers.operations import FORMULAS, OperationCounter, Operations, during

WIDTH, LAYERS, SITES = 16, 2, 4
"""Of the micro model with `targets: [q, v]`."""


def counted(function: Callable[[], Any]) -> Operations:
    with OperationCounter() as counter:
        function()
    return counter.total()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return models.load(ModelRef(id="micro-llama"), torch.device("cpu")).model


def forward_of(base: nn.Module, method: str, ids_BT: Tensor, **capacity: int) -> Operations:
    name = registry.method_type(method)
    with attached(base, name, ["q", "v"], capacity=capacity, settings={}) as model:
        return counted(lambda: model(ids_BT, torch.ones_like(ids_BT)))


def test_a_matrix_product_is_two_flops_per_mac_however_it_is_written() -> None:
    a, b, out, v = torch.ones(2, 3), torch.ones(3, 4), torch.zeros(2, 4), torch.ones(3)
    expected = Operations(flops=2 * 2 * 3 * 4, macs=2 * 3 * 4, forward_flops=2 * 2 * 3 * 4)
    for product in (lambda: a @ b, lambda: out.addmm_(a, b), lambda: torch.addmm(out, a, b), lambda: out[None].baddbmm_(a[None], b[None])):
        assert counted(product) == expected
    assert counted(lambda: a @ v).macs == 2 * 3 and counted(lambda: v @ v) == Operations(6, 3, 6)
    z = torch.ones(2, 3, dtype=torch.complex64)
    assert counted(lambda: z @ z.T).macs == 4 * 2 * 3 * 2


def test_element_wise_products_are_one_multiplication_per_output() -> None:
    x_Bi, scale_i, z_Bi = torch.ones(4, 3), torch.ones(3), torch.ones(4, 3, dtype=torch.complex64)
    assert counted(lambda: x_Bi * scale_i) == counted(lambda: x_Bi.mul_(scale_i)) == counted(lambda: x_Bi * 0.5) == Operations(12, 12, 12)
    assert counted(lambda: torch.addcmul(scale_i, x_Bi, scale_i)) == Operations(24, 12, 24)
    assert counted(lambda: z_Bi * z_Bi) == Operations(6 * 12, 4 * 12, 6 * 12)
    assert counted(lambda: z_Bi * scale_i).macs == 2 * 12
    assert counted(lambda: torch.arange(12) * 2) == Operations()


@pytest.mark.parametrize("size", [8, 12, 7])
def test_fourier_transforms_are_counted(size: int) -> None:
    rows, real = 3, round(2.5 * 3 * size * math.log2(size))
    signal, spectrum = torch.randn(rows, size), torch.randn(rows, size, dtype=torch.complex64)
    assert counted(lambda: torch.fft.rfft(signal)).flops == real
    assert counted(lambda: torch.fft.irfft(spectrum[:, : size // 2 + 1], n=size)).flops == real
    assert counted(lambda: torch.fft.fft(spectrum)).flops == round(5 * rows * size * math.log2(size))
    assert counted(lambda: torch.fft.ifft(spectrum, dim=0)).flops == round(5 * rows * size * math.log2(rows))
    assert counted(lambda: torch.fft.fft2(spectrum)).flops == round(5 * rows * size * math.log2(rows * size))
    assert counted(lambda: torch.fft.rfft(signal[:, :1])) == Operations()


def test_a_transform_of_eight_has_twelve_butterflies() -> None:
    """Of 4 multiplications and 6 additions each."""
    assert counted(lambda: torch.fft.fft(torch.ones(8, dtype=torch.complex64))) == Operations(12 * 10, 12 * 4, 12 * 10)


def test_the_products_of_structured_matrices_are_counted_in_both_directions() -> None:
    x, size = torch.randn(5, 16, requires_grad=True), 16
    transforms = {Cyclic: 2.5 * 16 * 4, Negacyclic: 5 * 8 * 3, Padded: 2.5 * 32 * 5}
    # The twist to and from the negacyclic spectrum: 8 complex products each.
    twists = {Cyclic: 0, Negacyclic: 2 * 8 * 6, Padded: 0}
    for kind, transform in transforms.items():
        family: Any = kind(size)
        family.spectrum(x)  # The factors of the twist are computed once.
        once = 5 * (2 * transform + twists[kind])

        def forward(family: Any = family) -> torch.Tensor:
            there_and_back: torch.Tensor = family.signal(family.spectrum(x))
            return there_and_back

        def both(forward: Callable[[], torch.Tensor] = forward) -> None:
            forward().sum().backward()

        assert (counted(forward).flops, counted(both).flops) == (once, 2 * once)


def test_a_step_of_lora_on_one_matrix() -> None:
    batch, i, o, r = 4, 3, 5, 2
    x_Bi, weight_oi = torch.randn(batch, i, requires_grad=True), torch.randn(o, i)
    a_ri, b_or = torch.randn(r, i, requires_grad=True), torch.randn(o, r, requires_grad=True)

    def step() -> None:
        y_Bo = (x_Bi @ weight_oi.T).addmm_(x_Bi @ a_ri.T, (0.5 * b_or).T)
        with during("backward"):
            y_Bo.sum().backward()

    base, down, up = batch * i * o, batch * i * r, batch * r * o
    # Backward: the input's gradient through base and adapter, and those of A and B; 0.5 scales B and its gradient.
    forward, backward = base + down + up, base + 2 * down + 2 * up
    scaling = o * r
    assert counted(step) == Operations(
        flops=2 * (forward + backward) + 2 * scaling, macs=forward + backward + 2 * scaling, forward_flops=2 * forward + scaling
    )


def test_what_a_method_adds_to_a_forward_pass(base: nn.Module) -> None:
    ids_BT = torch.arange(15).view(3, 5)
    tokens, n, r = ids_BT.numel(), WIDTH, 2
    untuned = forward_of(base, "full", ids_BT)
    pair, scaled = 2 * tokens * r * (n + n), n * r
    transforms = 2.5 * n * math.log2(n) * (tokens * (LAYERS + SITES) + SITES)
    added = {
        "lora": SITES * (pair + scaled),
        "ia3": SITES * tokens * n,
        # d on the code, b on B's rows; the scale on b.
        "vera": SITES * (pair + tokens * r + scaled + n),
        # The input's spectrum is shared by q and v; a and b and their factor make the kernel.
        "surm_circulant": transforms + SITES * (2 * n + tokens * (n // 2 + 1) * 6),
    }
    for method, flops in added.items():
        found = forward_of(base, method, ids_BT, **({"rank": r} if method in ("lora", "vera") else {}))
        assert found.flops - untuned.flops == flops, method
        assert found.forward_flops == found.flops > found.macs > untuned.macs


def test_an_update_is_not_counted_and_a_backward_pass_apart() -> None:
    x = torch.ones(3)
    with OperationCounter() as counter:
        _ = x * x
        with during("backward"):
            _ = x * x
            with during("update"):
                _ = x * x
    assert counter.total() == Operations(flops=6, macs=6, forward_flops=3)


def test_the_counts_are_those_of_the_counter_of_torch_with_the_same_formulas(base: nn.Module) -> None:
    """The mode of torch, which also knows in which module an operation runs, is the slow way to the same sum."""

    def raw(formula: Callable[..., tuple[int, int]]) -> Callable[..., int]:
        def flops(*args: Any, **kwargs: Any) -> int:
            return formula(*args, **kwargs)[0]

        flops._get_raw = True  # type: ignore[attr-defined]
        return flops

    ids_BT = torch.arange(10).view(2, 5)
    for name in ("lora", "surm_circulant", "fact_tt", "ia3"):
        method = registry.method_type(name)
        with attached(base, method, ["q", "v"], capacity=dict.fromkeys(method.card.capacity, 2), settings={}) as model:
            slow = FlopCounterMode(display=False, custom_mapping={packet: raw(formula) for packet, formula in FORMULAS.items()})
            for gradients in (True, False):
                with slow, torch.set_grad_enabled(gradients):
                    logits = model(ids_BT, torch.ones_like(ids_BT)).logits
                    _ = logits.sum().backward() if gradients else None
                with OperationCounter() as fast, torch.set_grad_enabled(gradients):
                    logits = model(ids_BT, torch.ones_like(ids_BT)).logits
                    _ = logits.sum().backward() if gradients else None
                assert fast.total().flops == slow.get_total_flops() > 0, (name, gradients)


class Seen(TorchDispatchMode):
    """Notes which operations run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.packets: set[Any] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.packets.add(func._overloadpacket)
        return func(*args, **(kwargs or {}))


def test_no_product_of_any_method_goes_uncounted(base: nn.Module) -> None:
    ids_BT = torch.arange(10).view(2, 5)
    known = set(FORMULAS)
    for name in registry.method_names():
        method = registry.method_type(name)
        with (
            suppress(NotApplicableError),
            attached(base, method, ["q", "v"], capacity=dict.fromkeys(method.card.capacity, 2), settings={}) as model,
        ):
            model.before_step(0, 4)
            with Seen() as seen:
                model(ids_BT, torch.ones_like(ids_BT)).logits.sum().backward()
            products = {p for p in seen.packets if re.search(r"mm|mv|mul|dot|conv|fft|addr|bilinear|attention", str(p))}
            assert products and products <= known, (name, products - known)
