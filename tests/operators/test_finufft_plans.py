"""The transform by finufft: high accuracy, three dimensions, plans that are kept, gradients in the trajectory."""

import pickle
import sys

import pytest
import torch
from torch import Tensor

from invdiff.operators.finufft_plans import FinufftNUFFT
from invdiff.operators.nufft import make_nufft
from invdiff.operators.trajectory_gradient import nufft, nufft_adjoint
from invdiff.testing import check_operator
from tests.operators import exact
from tests.operators.cases import random

finufft = pytest.importorskip("finufft")


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex64) -> Tensor:
    return random(*shape, seed=seed, dtype=dtype)


def anywhere(*sizes: int, shape: tuple[int, ...], seed: int = 5) -> Tensor:
    uniform = torch.rand(*sizes, len(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (uniform - 0.5) * torch.tensor(shape)


@pytest.mark.parametrize("shape", [(40, 33), (9, 8), (6, 7, 5)])
@pytest.mark.parametrize(("accuracy", "bar"), [(1e-4, 3e-4), (1e-8, 2e-7)])
def test_both_directions_equal_the_definition(shape: tuple[int, ...], accuracy: float, bar: float) -> None:
    """At 1e-8 the error is float32 rounding of the result: coordinates are in double precision."""
    k = anywhere(200, shape=shape)
    op = make_nufft(k, shape, 2, accuracy)
    x, y = noise(3, 2, *shape), noise(3, 2, 200, seed=1)
    assert exact.distance(op(x), exact.transform(x, k)) < bar
    assert exact.distance(op.adjoint(y), exact.adjoint(y, k, shape)) < bar


def test_double_precision_reaches_the_tolerance() -> None:
    k, x = anywhere(200, shape=(40, 33)), noise(1, 1, 40, 33, dtype=torch.complex128)
    assert exact.distance(make_nufft(k, (40, 33), 1, 1e-11).double()(x), exact.transform(x, k)) < 1e-10


@pytest.mark.parametrize("accuracy", ["default", "high"])
def test_presets_in_three_dimensions(accuracy: str) -> None:
    shape = (6, 7, 5)
    k, x = anywhere(200, shape=shape), noise(1, 2, *shape)
    bar = {"default": 5e-4, "high": 1.5e-5}[accuracy]
    assert exact.distance(make_nufft(k, shape, 2, accuracy)(x), exact.transform(x, k)) < bar


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5)])
def test_contract(shape: tuple[int, ...]) -> None:
    """The two directions are transposes at any tolerance, as the dense matrices show."""
    for batch in ((), (2,)):
        assert check_operator(make_nufft(anywhere(*batch, 9, shape=shape), shape, 2, 1e-3))["dot"] < 1e-6


def test_plans_are_kept_and_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    plan = finufft.Plan
    monkeypatch.setattr(finufft, "Plan", lambda *args, **options: made.append(args) or plan(*args, **options))
    op, x = make_nufft(anywhere(9, shape=(5, 6)), (5, 6), 2, 1e-5), noise(3, 2, 5, 6)
    for _ in range(3):
        op.adjoint(op(x))
    assert len(made) == 2  # one for each direction
    twin = pickle.loads(pickle.dumps(op))
    assert twin.plans == {}
    assert torch.equal(twin(x), op(x))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(ImportError, match=r'finufft .* is not installed.*"invdiff\[nufft\]".*accuracy="high" in 2-D'):
        make_nufft(anywhere(9, shape=(5, 6)), (5, 6), 1, 1e-5)
    make_nufft(anywhere(9, shape=(5, 6)), (5, 6), 1, "high")  # needs none


@pytest.mark.parametrize("tolerance", [0.0, 0.5, 1e-14])
def test_refused_tolerances(tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"between 1e-12 and 0\.1"):
        FinufftNUFFT(anywhere(1, 9, shape=(5, 6)), (5, 6), 1, tolerance)


@pytest.mark.parametrize("batch", [(), (1,), (2,)])
@pytest.mark.parametrize("shape", [(4, 5), (3, 2, 4)])
def test_gradients_in_image_samples_and_trajectory(shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
    k = anywhere(*batch, 4, shape=shape).requires_grad_()
    x = noise(2, 2, *shape, dtype=torch.complex128).requires_grad_()
    y = noise(2, 2, 4, dtype=torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, k: nufft(x, k, 1e-11), (x, k), fast_mode=True)
    assert torch.autograd.gradcheck(lambda y, k: nufft_adjoint(y, k, shape, 1e-11), (y, k), fast_mode=True)


@pytest.mark.parametrize("shape", [(4, 5), (3, 2, 4)])
def test_gradient_in_the_trajectory_has_the_precision_of_the_data(shape: tuple[int, ...]) -> None:
    """dy_j / dk_ja = T(-2 pi i r_a / N_a x), exactly: coordinates in single precision would be off by 1e-8."""
    k, x = anywhere(4, shape=shape).requires_grad_(), noise(1, 1, *shape, dtype=torch.complex128)
    y = noise(1, 1, 4, dtype=torch.complex128)
    (gradient,) = torch.autograd.grad(nufft(x, k, 1e-12), k, y)
    for axis, n in enumerate(shape):
        r = (torch.arange(n, dtype=torch.float64) - n // 2).reshape(-1, *[1] * (len(shape) - 1 - axis))
        wanted = (y.conj() * exact.transform(-2j * torch.pi / n * r * x, k.detach()))[0, 0].real
        torch.testing.assert_close(gradient[:, axis], wanted, rtol=1e-10, atol=1e-10)


def test_second_derivatives() -> None:
    k = anywhere(3, shape=(3, 4)).requires_grad_()
    x, y = (noise(1, 1, *s, dtype=torch.complex128).requires_grad_() for s in ((3, 4), (3,)))
    assert torch.autograd.gradgradcheck(lambda x, k: nufft(x, k, 1e-11), (x, k), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda y, k: nufft_adjoint(y, k, (3, 4), 1e-11), (y, k), fast_mode=True)


def test_a_trajectory_is_found_again_by_descent() -> None:
    """A gradient delay: spokes shifted along themselves by an unknown number, from the samples of a known image."""
    angle = torch.arange(11, dtype=torch.float64) * torch.pi / 11
    along = torch.stack((angle.sin(), angle.cos()), -1)[:, None]
    spokes = along * torch.arange(-8, 8)[None, :, None]
    x = exact.adjoint(torch.ones(1, 1, 1), torch.zeros(1, 2), (20, 20)) * 0
    x[0, 0, 7:14, 5:12] = 1
    y = nufft(x, (spokes + 0.3 * along).flatten(0, 1), "high")
    delay = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for _ in range(8):  # Gauss-Newton by the gradient of the misfit and its curvature
        misfit = (nufft(x, (spokes + delay * along).flatten(0, 1), "high") - y).abs().square().sum()
        (slope,) = torch.autograd.grad(misfit, delay, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, delay)
        delay = (delay - slope / curvature.abs()).detach().requires_grad_()
    assert abs(float(delay.detach()) - 0.3) < 1e-4
