"""LoKO: a Kalman filter over the trainable parameters.

Shapes: C outputs of the head, m observed values, n numbers of one parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.trial import Training
from trainers.api import OptimizerCard, Setting
from trainers.optimizer import Groups, NotFinite, OnlineOptimizer, Optimizer

NOISES = ("innovation_plus_prior", "innovation", "softmax")
VARIANCE, NOISE = "variance", "noise"
TINY = 1e-200
"""Floor of S where nothing at all is observed."""


class KalmanFilter(OnlineOptimizer):
    """An extended Kalman filter whose state is made of the parameters θ, with a diagonal covariance p.

    For an example with target y (one-hot, or a number), prediction ŷ (softmax, or the output itself) and H = ∂ŷ/∂θ:

        S = H diag(p) Hᵀ + R,   K = diag(p) Hᵀ S⁻¹,   θ ← θ + K (y - ŷ),   pᵢ ← pᵢ (1 - Σⱼ Kᵢⱼ Hⱼᵢ).

    The last is the diagonal of P - K H P. R is a moving average, R ← β R + (1 - β) N, taken before S.

    Args:
        p0: variance of every parameter at the start.
        r0: variance of the observation noise at the start, R = r0 I.
        forgetting: β; 1 keeps R as it is.
        noise: N, with e = y - ŷ: `innovation_plus_prior` for e eᵀ + H diag(p) Hᵀ, `innovation` for e eᵀ, `softmax` for
            diag(ŷ) - ŷ ŷᵀ, which is the covariance of classes; a number has none.
        floor: added to the diagonal of S, as a share of its trace: R is kept in the precision of the parameters.

    Errors and Jacobians of probabilities sum to zero over the classes, and so does all that R takes up: S never mixes the constant
    direction with the others, nothing is learnt from it, and in time it vanishes. The filter works on the other C - 1 directions.
    """

    def __init__(
        self,
        groups: Any,
        *,
        p0: float,
        r0: float = 1.0,
        forgetting: float = 0.95,
        noise: str = NOISES[0],
        floor: float = 1e-6,
    ) -> None:
        super().__init__(groups, {})
        self.p0, self.r0, self.forgetting, self.noise, self.floor = p0, r0, forgetting, noise, floor

    def observe(self, outputs_C: Tensor, label: Tensor) -> None:
        """Take one step of the filter; a parameter without `requires_grad` keeps its value and its variance.

        Raises:
            NotFinite: S is not positive definite.
        """
        parameters = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        predicted_m, jacobians = _observation(outputs_C, label, parameters)
        with torch.no_grad():
            error_m = _target(label, predicted_m) - predicted_m
            variances = [self._variance(parameter) for parameter in parameters]
            priors = [_covariance(h_mn.double(), p.double().flatten()) for h_mn, p in zip(jacobians, variances, strict=True)]
            prior_mm = torch.stack(priors).sum(0)
            noise_mm = self._updated_noise(predicted_m, error_m, prior_mm)
            basis_mk = _basis(len(error_m), label).to(prior_mm)
            root_kk = self._root(basis_mk.T @ (prior_mm + noise_mm) @ basis_mk)
            error_k = basis_mk.T @ error_m
            # L⁻¹ by rows of Uᵀ: L⁻¹ Uᵀ H whitens the Jacobian, L⁻¹ Uᵀ e the error.
            whitening_km = torch.linalg.solve_triangular(root_kk, basis_mk.T, upper=False)
            white_k = torch.linalg.solve_triangular(root_kk, error_k[:, None], upper=False)[:, 0]
            for parameter, p, h_mn in zip(parameters, variances, jacobians, strict=True):
                whitened_kn = whitening_km.to(h_mn.dtype) @ h_mn
                parameter.add_(p * (white_k.to(h_mn.dtype) @ whitened_kn).view_as(p))
                # With S = L Lᵀ, Σⱼ Kᵢⱼ Hⱼᵢ is pᵢ times the squared norm of column i of L⁻¹ H: never above 1, but for rounding.
                p.mul_((1 - p * whitened_kn.square().sum(0).view_as(p)).clamp_(min=0))

    def _root(self, spread_kk: Tensor) -> Tensor:
        """Return the Cholesky factor of S with its floor."""
        symmetric_kk = (spread_kk + spread_kk.T) / 2
        floor = (self.floor * symmetric_kk.trace()).clamp(min=TINY)
        root_kk: Tensor
        root_kk, failed = torch.linalg.cholesky_ex(symmetric_kk + floor * torch.eye(len(symmetric_kk)).to(symmetric_kk))
        if bool(failed) or not bool(torch.isfinite(root_kk).all()):
            raise NotFinite("the gain of the filter")
        return root_kk

    def _variance(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if VARIANCE not in state:
            state[VARIANCE] = torch.full_like(parameter, self.p0)
        variance: Tensor = state[VARIANCE]
        return variance

    def _updated_noise(self, predicted_m: Tensor, error_m: Tensor, prior_mm: Tensor) -> Tensor:
        """Move R towards what this example shows; it is kept in the state of the first parameter."""
        state = self.state[self.param_groups[0]["params"][0]]
        if NOISE not in state:
            state[NOISE] = self.r0 * torch.eye(len(error_m), dtype=self.param_groups[0]["params"][0].dtype, device=error_m.device)
        if self.noise == "softmax":
            shown_mm = predicted_m.diag() - predicted_m.outer(predicted_m)
        else:
            shown_mm = error_m.outer(error_m) + (prior_mm if self.noise == "innovation_plus_prior" else 0)
        noise_mm: Tensor = state[NOISE]
        return noise_mm.mul_(self.forgetting).add_(shown_mm.to(noise_mm.dtype), alpha=1 - self.forgetting)


def _covariance(jacobian_mn: Tensor, variance_n: Tensor) -> Tensor:
    return (jacobian_mn * variance_n) @ jacobian_mn.T


def _basis(count: int, label: Tensor) -> Tensor:
    """Return an orthonormal basis (m, k) of what is learnt from: for classes, of all that is orthogonal to the constant direction."""
    if label.is_floating_point():
        return torch.eye(count, dtype=torch.float64)
    # The reflection that takes the last axis to the constant direction takes the others to a basis of the rest.
    axis = torch.full((count,), -(count**-0.5), dtype=torch.float64)
    axis[-1] += 1
    return (torch.eye(count, dtype=torch.float64) - 2 * axis.outer(axis) / axis.dot(axis))[:, :-1]


def _observation(outputs_C: Tensor, label: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the prediction (m,) in fp64, and its Jacobian in parts (m, n), one for each parameter."""
    if label.is_floating_point():
        return outputs_C.detach().double(), _jacobians(outputs_C, parameters)
    probabilities_C = outputs_C.softmax(-1)
    # Probabilities sum to one: the last row follows from the others, and saves a backward pass.
    known = _jacobians(probabilities_C[:-1], parameters)
    # In fp32, 1 - ŷ of a sure class is all rounding, and diag(ŷ) - ŷ ŷᵀ not positive.
    return outputs_C.detach().double().softmax(-1), [torch.cat([h_mn, -h_mn.sum(0, keepdim=True)]) for h_mn in known]


def _jacobians(values_m: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    last = len(values_m) - 1
    rows = [
        torch.autograd.grad(value, parameters, retain_graph=number < last, materialize_grads=True) for number, value in enumerate(values_m)
    ]
    return [torch.stack(parts).view(len(rows), -1) for parts in zip(*rows, strict=True)]


def _target(label: Tensor, predicted_m: Tensor) -> Tensor:
    if label.is_floating_point():
        return label.to(predicted_m.dtype)[None]
    return nn.functional.one_hot(label, len(predicted_m)).to(predicted_m.dtype)


class Loko(Optimizer):
    """LoKO (Abdi et al.): online fine-tuning as filtering, one example at a time, without a learning rate.

    The examples of a global batch are processed one after the other, each with a forward pass of its own, and C - 1 backward passes
    for C classes, or one for a number: the batch size only says how many examples count as a step. Extra passes show in the operations
    that are measured. Regularisers that are part of a method's definition have no place in a filter: such a method is refused.

    No code was published. Follows the paper: the filter with a diagonal covariance, softmax and one-hot targets, R by a moving average.
    Not verified: N, of which the settings offer three readings; r0 and β; p0, which the paper draws per data set from bounds that it
    tabulates, and which is one value for all parameters here; regression, which the paper does not try.
    """

    card = OptimizerCard(
        name="loko",
        reference="arXiv 2410.11551",
        source="arXiv 2410.11551 (no code was published)",
        reads=(),
        settings={
            "p0": Setting(0.01, doc="Variance of every parameter at the start. The paper's values differ by data set.", above=0),
            "r0": Setting(1.0, doc="Variance of the observation noise at the start.", above=0),
            "forgetting": Setting(0.95, doc="Share of the noise that is kept from one example to the next.", at_least=0, at_most=1),
            "noise": Setting(NOISES[0], NOISES, "What the estimate of the observation noise moves towards."),
        },
        classes_only={"noise": ("softmax",)},
        forms=("label",),
        penalties=False,
        online=True,
        limit="needs the derivative of every output of the model: one backward pass for each class of a classification head, but one for "
        "each word of a language model's vocabulary. Fix: use it with an encoder, on a task of classes or numbers",
    )

    @classmethod
    def build(cls, groups: Groups, training: Training) -> torch.optim.Optimizer:
        """Return the filter."""
        defaults: dict[str, Any] = {key: setting.default for key, setting in cls.card.settings.items()}
        return KalmanFilter(groups, **{**defaults, **training.optimizer_settings})


OPTIMIZER = Loko
