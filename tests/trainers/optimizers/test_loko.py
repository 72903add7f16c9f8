"""LoKO against the filters that it approximates: the scalar Kalman filter, recursive least squares, and the full extended filter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainers.optimizer import NotFinite
from trainers.optimizers.loko import NOISES, KalmanFilter, Loko

Vector = list[float]
sizes = st.floats(0.1, 3.0)


def filter_of(*parameters: nn.Parameter, **options: Any) -> KalmanFilter:
    """A filter with constant observation noise, unless told otherwise."""
    return KalmanFilter([{"params": list(parameters)}], **{"p0": 1.0, "forgetting": 1.0, "floor": 0.0, **options})


def parameter(values: Any) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def variance(kalman: KalmanFilter, theta: nn.Parameter) -> Tensor:
    found: Tensor = kalman.state[theta]["variance"]
    return found


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-5, 5)), min_size=1, max_size=12), sizes, sizes)
def test_one_parameter_is_the_scalar_kalman_filter(observations: list[tuple[float, float]], p0: float, r0: float) -> None:
    theta = parameter([0.5])
    kalman = filter_of(theta, p0=p0, r0=r0)
    mean, spread = 0.5, p0
    for x, y in observations:
        kalman.observe(theta * x, number(y))
        gain = spread * x / (x * spread * x + r0)
        mean, spread = mean + gain * (y - x * mean), (1 - gain * x) * spread
        assert theta.item() == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert float(variance(kalman, theta)) == pytest.approx(spread, rel=1e-9, abs=1e-12)


def test_rows_on_parameters_of_their_own_are_recursive_least_squares() -> None:
    # Every observation touches one parameter: the covariance stays diagonal, so nothing is lost, and the filter is exact.
    draw = torch.Generator().manual_seed(0)
    theta = parameter([0.0] * 4)
    kalman = filter_of(theta, p0=2.0, r0=0.3)
    rows = torch.eye(4, dtype=torch.float64)[torch.randint(0, 4, (40,), generator=draw)] * torch.rand(40, 1, generator=draw).double()
    targets = rows @ torch.tensor([1.0, -2.0, 0.5, 3.0]).double() + 0.1 * torch.randn(40, generator=draw).double()
    for row, target in zip(rows, targets, strict=True):
        kalman.observe((row @ theta)[None], target)
    precision = rows.T @ rows / 0.3 + torch.eye(4).double() / 2.0
    torch.testing.assert_close(theta.detach(), torch.linalg.solve(precision, rows.T @ targets / 0.3), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(variance(kalman, theta), torch.linalg.inv(precision).diag(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_a_step_is_the_full_extended_filter_with_a_diagonal_prior(classes: int) -> None:
    draw = torch.Generator().manual_seed(classes)
    weight, bias = parameter(torch.randn(classes, 3, generator=draw).tolist()), parameter([0.1] * classes)
    kalman = filter_of(weight, bias, p0=0.7, r0=0.2)
    for step in range(5):
        x = torch.randn(3, generator=draw).double()
        label = number(1.3) if classes == 1 else torch.tensor(step % classes)
        theta = torch.cat([weight.detach().flatten(), bias.detach()])
        spread = torch.cat([variance(kalman, p).flatten() for p in (weight, bias)]).diag() if step else 0.7 * torch.eye(len(theta)).double()

        def observed(theta: Tensor, x: Tensor = x) -> Tensor:
            outputs = theta[: 3 * classes].view(classes, 3) @ x + theta[3 * classes :]
            return outputs if classes == 1 else outputs.softmax(-1)

        h = torch.autograd.functional.jacobian(observed, theta)
        target = label[None] if classes == 1 else nn.functional.one_hot(label, classes).double()
        gain = spread @ h.T @ torch.linalg.inv(h @ spread @ h.T + 0.2 * torch.eye(classes).double())
        wanted = theta + gain @ (target - observed(theta))
        left = (spread - gain @ h @ spread).diag()

        kalman.observe(weight @ x + bias, label)
        torch.testing.assert_close(torch.cat([weight.detach().flatten(), bias.detach()]), wanted, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(torch.cat([variance(kalman, p).flatten() for p in (weight, bias)]), left, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("noise", NOISES)
def test_the_noise_is_a_moving_average_of_what_its_setting_names(noise: str) -> None:
    theta = parameter([[0.4], [-0.2], [0.1]])
    kalman = filter_of(theta, p0=0.5, r0=2.0, forgetting=0.9, noise=noise)
    wanted = 2.0 * torch.eye(3).double()
    for label in (0, 2):
        spread = variance(kalman, theta).flatten().diag() if label else 0.5 * torch.eye(3).double()
        p = theta.detach().flatten().softmax(0)
        h = p.diag() - p.outer(p)
        error = nn.functional.one_hot(torch.tensor(label), 3).double() - p
        shown = {"innovation": error.outer(error), "innovation_plus_prior": error.outer(error) + h @ spread @ h.T, "softmax": h}[noise]
        wanted = 0.9 * wanted + 0.1 * shown
        kalman.observe(theta[:, 0], torch.tensor(label))
    torch.testing.assert_close(kalman.state[theta]["noise"], wanted, rtol=1e-9, atol=1e-12)


def test_a_regression_problem_is_solved_online() -> None:
    draw = torch.Generator().manual_seed(1)
    truth, theta = torch.tensor([1.5, -0.5, 2.0]), nn.Parameter(torch.zeros(3))
    kalman = KalmanFilter([{"params": [theta]}], p0=1.0)
    for _ in range(400):
        x = torch.randn(3, generator=draw)
        kalman.observe((x @ theta)[None], x @ truth + 0.01 * torch.randn((), generator=draw))
    assert float((theta.detach() - truth).abs().max()) < 0.05


@pytest.mark.parametrize("noise", NOISES)
def test_classes_are_separated_online(noise: str) -> None:
    draw = torch.Generator().manual_seed(2)
    weight = nn.Parameter(torch.zeros(3, 2))
    kalman = KalmanFilter([{"params": [weight]}], p0=1.0, noise=noise)
    corners = torch.tensor([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    points = [(corners[n % 3] + 0.5 * torch.randn(2, generator=draw), n % 3) for n in range(300)]
    for x, label in points:
        kalman.observe(weight @ x, torch.tensor(label))
    right = sum(int((weight @ x).argmax()) == label for x, label in points)
    assert right > 285
    assert bool(torch.isfinite(weight).all()) and bool((variance(kalman, weight) >= 0).all())


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("p0", [1.0, 10.0, 100.0])
def test_large_features_do_not_break_the_filter(noise: str, p0: float) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.zeros(3, 64))
    kalman = KalmanFilter([{"params": [weight]}], p0=p0, noise=noise)
    for _ in range(1000):
        x = 10 * torch.randn(64, generator=draw)
        kalman.observe(weight @ x, x[:3].argmax())
    assert bool(torch.isfinite(weight).all()) and bool((variance(kalman, weight) >= 0).all())


def test_the_floor_is_a_share_of_what_is_observed() -> None:
    def learnt(unit: float) -> Tensor:
        theta = parameter([0.5])
        filter_of(theta, r0=0.3 * unit**2, floor=0.1).observe(theta * unit, number(2.0 * unit))
        return theta.detach()

    torch.testing.assert_close(learnt(1e-6), learnt(1.0))
    torch.testing.assert_close(learnt(1e6), learnt(1.0))


def test_nothing_observed_is_nothing_learnt() -> None:
    theta = parameter([[0.4], [-0.2]])
    kalman = filter_of(theta, forgetting=0.0, noise="softmax")
    kalman.observe(theta[:, 0] * 0 + torch.tensor([2000.0, 0.0]).double(), torch.tensor(0))
    assert theta.flatten().tolist() == [0.4, -0.2]


def test_a_filter_that_breaks_down_says_so() -> None:
    theta = nn.Parameter(torch.tensor([[1e30], [0.0]]))
    kalman = KalmanFilter([{"params": [theta]}], p0=1e30)
    kalman.state[theta]["noise"] = torch.full((2, 2), float("inf"))
    with pytest.raises(NotFinite, match="the gain of the filter"):
        kalman.observe(theta[:, 0], torch.tensor(1))


def test_a_step_lowers_the_error_of_its_example() -> None:
    theta = parameter([[0.3, -0.1], [0.2, 0.5]])
    kalman, x = filter_of(theta, p0=0.1), torch.tensor([1.0, 2.0]).double()
    before = (theta.detach() @ x).softmax(0)[0]
    kalman.observe(theta @ x, torch.tensor(0))
    assert (theta.detach() @ x).softmax(0)[0] > before


def test_a_parameter_that_the_step_leaves_out_keeps_value_and_variance() -> None:
    left_out, used = parameter([1.0]), parameter([1.0])
    kalman = filter_of(left_out, used)
    left_out.requires_grad_(False)
    kalman.observe(left_out * used * 2.0, number(5.0))
    left_out.requires_grad_(True)
    kalman.observe(used * 1.0, number(5.0))
    assert left_out.item() == 1.0 and float(variance(kalman, left_out)) == 1.0
    assert used.item() > 1.0 and float(variance(kalman, used)) < 1.0


def test_a_continued_filter_goes_on_from_its_state() -> None:
    def walk(kalman: KalmanFilter, theta: nn.Parameter, labels: list[int]) -> None:
        for label in labels:
            kalman.observe(theta[:, 0] * 2.0, torch.tensor(label))

    whole, half = (nn.Parameter(torch.tensor([[0.4], [-0.2]])) for _ in range(2))
    undisturbed, first = (KalmanFilter([{"params": [theta]}], p0=0.3) for theta in (whole, half))
    walk(undisturbed, whole, [0, 1, 1, 0])
    walk(first, half, [0, 1])
    second = KalmanFilter([{"params": [half]}], p0=0.3)
    second.load_state_dict(first.state_dict())
    walk(second, half, [1, 0])
    assert torch.equal(whole, half)
    assert torch.equal(variance(undisturbed, whole), variance(second, half))


def test_it_reads_no_hyper_parameter_and_trains_labels_alone() -> None:
    assert Loko.card.reads == () and Loko.card.forms == ("label",)
    assert Loko.card.refusal("label") == ""
    assert Loko.card.refusal("label", 2, {"noise": "softmax"}) == Loko.card.refusal("label", 1) == ""
    assert "noise: softmax" in Loko.card.refusal("label", 1, {"noise": "softmax"})
    assert "does not minimise. Fix: take another" in Loko.card.refusal("label", 2, penalised=True)
    assert "vocabulary" in Loko.card.refusal("generate") and "Fix:" in Loko.card.refusal("choose")
    with pytest.raises(RuntimeError, match="learns by observe"):
        filter_of(parameter([1.0])).step()
