"""Operators that know their singular vectors: V is unitary, and U^H A = s V^H, whatever the operator."""

import pytest
import torch
from torch import Tensor

from invdiff.operators import CartesianMRI
from invdiff.operators.base import LinearOperator
from invdiff.operators.svd import SVD
from tests.operators.cases import CASES, lines, random

KNOWN = (
    "Identity",
    "RealToComplex",
    "Inpainting lines",
    "Inpainting per item",
    "Blur circular",
    "Blur circular, kernel larger than the image",
    "MotionBlur",
    "Downsampling bicubic",
    "Downsampling bilinear",
    "Downsampling box",
    "CartesianMRI",
    "CartesianMRI lines",
    "CartesianMRI rows",
    "PhaseConstraint",
    "PhaseConstraint per item",
    "Scaled",
    "Scaled, complex",
)


def known(name: str) -> tuple[LinearOperator, bool, SVD, Tensor]:
    """Operator, whether images are complex, its decomposition, and two images, in double precision."""
    op = CASES[name]().double()
    assert isinstance(op, LinearOperator)
    is_complex = bool(op.complex_in)
    svd = op.svd(is_complex)
    assert svd is not None
    return op, is_complex, svd, random(2, *op.shape_in, dtype=torch.complex128 if is_complex else torch.float64)


def error(op: LinearOperator, svd: SVD, x: Tensor) -> float:
    """The largest violation of the defining equations, for images and measurements of size one."""
    y = op(x)
    data = random(*y.shape, seed=8, dtype=y.dtype)
    c = svd.vh(x)
    pairs = [
        (svd.v(c), x),
        (torch.linalg.vector_norm(c), torch.linalg.vector_norm(x)),
        (svd.uh(y), svd.s * c),
        (svd.v(svd.s * svd.uh(data)), op.adjoint(data)),
        (torch.where(svd.s == 0, svd.uh(data), 0), torch.zeros_like(c)),
    ]
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", KNOWN)
def test_equations_of_the_decomposition_hold(name: str) -> None:
    op, _, svd, x = known(name)
    assert bool((svd.s >= 0).all())
    assert error(op, svd, x) < 2e-6  # phases and small matrices are kept in single precision
    assert svd.vh(x).is_complex() >= x.is_complex()


@pytest.mark.parametrize("name", KNOWN)
def test_the_largest_singular_value_is_the_norm(name: str) -> None:
    op, _, svd, _ = known(name)
    assert float(svd.s.max()) == pytest.approx(op.norm(), rel=1e-5)


@pytest.mark.parametrize("name", ["Blur circular", "Downsampling box", "Identity"])
def test_real_operators_serve_complex_images(name: str) -> None:
    op = CASES[name]().double()
    assert isinstance(op, LinearOperator)
    svd = op.svd(True)
    assert svd is not None
    assert error(op, svd, random(2, *op.shape_in, dtype=torch.complex128)) < 2e-6


@pytest.mark.parametrize("name", [n for n in CASES if n not in KNOWN])
def test_others_say_that_they_know_none(name: str) -> None:
    op = CASES[name]()
    assert not isinstance(op, LinearOperator) or op.svd(bool(op.complex_in)) is None


@pytest.mark.parametrize("fault", ["conjugate", "value", "basis"])
def test_planted_faults_show(fault: str) -> None:
    op = CartesianMRI(lines(8), shape=(9, 8)).double()
    svd = op.svd(True)
    assert svd is not None
    wrong = {
        "conjugate": svd._replace(uh=lambda y: svd.uh(y).conj()),
        "value": svd._replace(s=1.01 * svd.s),
        "basis": svd._replace(vh=lambda x: 1.01 * svd.vh(x)),
    }[fault]
    assert error(op, wrong, random(2, 1, 9, 8, dtype=torch.complex128)) > 1e-3
