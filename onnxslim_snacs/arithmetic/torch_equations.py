"""Symmetric equations, in torch: factors stay on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim_snacs.arithmetic.kernels import Fit, FlatAim, FloatArray, Rows, Solver
from onnxslim_snacs.arithmetic.torch_arrays import put, taken
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def root(device: str, matrix: FloatArray, floor: float) -> FloatArray:
    """As `numpy_equations.root`."""
    here = put(matrix, device)
    factor, failed = torch.linalg.cholesky_ex(here)
    if not failed:
        return taken(factor)
    values, vectors = torch.linalg.eigh(here)
    half = vectors * values.clamp(min=floor).sqrt()
    return taken(torch.linalg.qr(half.T)[1].T)


@dataclass(frozen=True, slots=True)
class TorchSolver:
    """Solves (xx + ridge I) y = right for each group; by eigenvalues where Cholesky fails.

    Attributes:
        xx: (g, d, d).
        ridge: (g,).
        factor: (g, d, d) lower; None if some group has none.
    """

    xx: Tensor
    ridge: Tensor
    factor: Tensor | None

    def __call__(self, right: FloatArray) -> FloatArray:
        """The solution (g, d, o)."""
        return taken(self.on_device(put(right, str(self.xx.device))))

    def on_device(self, right: Tensor) -> Tensor:
        """The solution (g, d, o) of what lies there."""
        if self.factor is not None:
            solved = torch.cholesky_solve(right, self.factor)
            if bool(solved.isfinite().all()):
                return solved
        values, vectors = torch.linalg.eigh(self.xx)
        values = values.clamp(min=0.0) + self.ridge[:, None]
        found: Tensor = vectors @ ((vectors.mT @ right) / values[:, :, None])
        return found


def solver(device: str, xx: FloatArray, ridge: FloatArray) -> TorchSolver:
    """As `numpy_equations.solver`."""
    here, level = put(xx, device), put(ridge, device)
    one = torch.eye(here.shape[1], dtype=here.dtype, device=device)
    factor, failed = torch.linalg.cholesky_ex(here + level[:, None, None] * one)
    return TorchSolver(here, level, None if bool(failed.any()) else factor)


def refined(
    device: str, x: Rows, mean: FloatArray, aim: FlatAim, start: Fit, solve: Solver, steps: int
) -> Fit:
    """As `numpy_equations.refined`; nothing leaves the device between the steps."""
    assert isinstance(solve, TorchSolver)
    here, middle, there = put(x, device), put(mean, device), _put_aim(aim, device)
    weight = before = put(start.weight, device)
    bias = bias_before = put(start.bias, device)
    pace = 1.0
    for _ in range(steps):
        faster = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
        momentum, pace = (pace - 1) / faster, faster
        at, bias_at = weight + momentum * (weight - before), bias + momentum * (bias - bias_before)
        missing = there.missing(here @ at.to(torch.float32) + bias_at.to(torch.float32))
        rise = missing.mean(dim=0, dtype=torch.float64)
        product = (here.T @ missing).to(torch.float64) / len(here) - torch.outer(middle, rise)
        step = solve.on_device(product[None])[0]
        before, bias_before = weight, bias
        weight, bias = at + step, bias_at + rise - middle @ step
    return Fit(taken(weight), taken(bias))


@dataclass(frozen=True, slots=True)
class _Aim:
    """As `kernels.FlatAim`."""

    t: Tensor
    low: Tensor
    high: Tensor
    below: Tensor | None
    above: Tensor | None

    def missing(self, v: Tensor) -> Tensor:
        """(n, o) what v lacks to the nearest value that is as good as the target."""
        if self.below is not None:
            v = torch.where(self.below, torch.maximum(v, self.low), v)
        if self.above is not None:
            v = torch.where(self.above, torch.minimum(v, self.high), v)
        return self.t - v


def _put_aim(aim: FlatAim, device: str) -> _Aim:
    below, above = (None if m is None else put(m, device) for m in (aim.below, aim.above))
    return _Aim(put(aim.t, device), put(aim.low, device), put(aim.high, device), below, above)
