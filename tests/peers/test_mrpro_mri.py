"""mrpro's Fourier and coil operators and its conjugate gradients are ours."""

import warnings

import pytest
import torch
from torch import Tensor

from tests.peers.example import MASK, RHO, SHAPE, TRAJECTORY, Example, cartesian, distance, noncartesian

pytestmark = pytest.mark.filterwarnings("ignore")  # of its dependencies
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    mrpro = pytest.importorskip("mrpro", exc_type=Exception)  # type: ignore[arg-type]  # torchvision may not fit torch


def theirs(example: Example) -> "mrpro.operators.LinearOperator":
    """F C; axes are (other, coil, z, y, x)."""
    if example.y.ndim == 4:
        axes = [torch.arange(n, dtype=torch.float32) - n // 2 for n in SHAPE]
        ky, kx = axes[0][None, None, None, :, None], axes[1][MASK][None, None, None, None, :]
    else:
        ky, kx = (TRAJECTORY.float()[None, None, None, ..., i] for i in (0, 1))
    trajectory = mrpro.data.KTrajectory(torch.zeros(1, 1, 1, 1, 1), ky, kx)
    size = mrpro.data.SpatialDimension(1, *SHAPE)
    fourier = mrpro.operators.FourierOp(size, size, trajectory)
    return fourier @ mrpro.operators.SensitivityOp(example.maps[None, :, None])


def as_theirs(example: Example, y: Tensor) -> Tensor:
    """(1, coil, ...) as (1, coil, 1, read-outs, samples)."""
    return y[..., MASK][:, :, None] if y.ndim == 4 else y.unflatten(2, TRAJECTORY.shape[:2])[:, :, None]


CASES = pytest.mark.parametrize(("make", "error"), [(cartesian, 1e-5), (noncartesian, 1e-3)])  # its NUFFT's tolerance


@CASES
def test_forward_adjoint_and_normal(make: object, error: float) -> None:
    example: Example = make()  # type: ignore[operator]
    op, other, x, y = example.op, theirs(example), example.image, example.y
    (out,) = other(x[None, None, None])
    assert distance(as_theirs(example, op(x[None, None])), out) < error
    (image,) = other.adjoint(as_theirs(example, y))
    assert distance(op.adjoint(y)[0, 0], image[0, 0, 0]) < error
    (normal,) = other.adjoint(out)  # its gram is that for even sizes alone
    assert distance(op.normal(x[None, None])[0, 0], normal[0, 0, 0]) < error


@CASES
def test_least_squares(make: object, error: float) -> None:
    example: Example = make()  # type: ignore[operator]
    other = theirs(example)
    (b,) = other.adjoint(as_theirs(example, example.y))
    (x,) = mrpro.algorithms.optimizers.cg(
        lambda v: (other.adjoint(other(v)[0])[0] + RHO * v,), (b,), max_iterations=200, tolerance=1e-7
    )
    assert distance(example.solution(), x[0, 0, 0]) < 10 * error  # amplified by the condition of the problem
