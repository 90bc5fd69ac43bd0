"""torch.set_default_dtype(torch.float64), as a caller may have it, changes no draw, no operator, no reconstruction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.data.coil_ratios import body_coil_maps, low_resolution_maps
from invdiff.data.coils import espirit, simulate_maps
from invdiff.data.noise import sigma_per_coil
from invdiff.demo import smooth_phase
from invdiff.operators import CartesianMRI, GaussianBlur, Operator, ParallelBeamCT, Transmission
from invdiff.priors.patches import random_patches
from invdiff.random import Noise
from invdiff.solvers import METHODS
from invdiff.training import augment
from invdiff.training.draws import Draws
from tests.operators.cases import CASES, random
from tests.test_solve import SHORT

N = 16
QUICK = SHORT | {name: {"steps": 2, "inner": 2} for name in ("daps", "pnp-dm")}
LINES = (torch.arange(N) % 2 == 0) | ((torch.arange(N) - N // 2).abs() < 4)
ANGLES = torch.arange(6, dtype=torch.float64) * torch.pi / 6


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def check_same(compute: Callable[[], Tensor]) -> None:
    """Assert that the values and their precision are the same, to the bit."""
    plain = compute()
    with default(torch.float64):
        found = compute()
    torch.testing.assert_close(found, plain, rtol=0, atol=0, equal_nan=True)


def test_a_leak_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="dtype"):
        check_same(lambda: torch.ones(2))
    with pytest.raises(AssertionError, match="not equal"):
        check_same(lambda: torch.rand(2, generator=torch.Generator().manual_seed(0)).float())


@pytest.mark.parametrize("case", CASES)
def test_operators_and_their_noise(case: str) -> None:
    def measured() -> Tensor:
        op = CASES[case]()
        x = random(op.batch, *op.shape_in, dtype=torch.complex64 if op.complex_in else torch.float32)
        y = op.simulate(x.abs() if op.complex_in is None else x, 0.1, seed=0)
        return torch.view_as_real(y) if y.is_complex() else y

    check_same(measured)
    check_same(lambda: torch.tensor(CASES[case]().norm(), dtype=torch.float64))


def test_noise_estimates_and_reference_images() -> None:
    op = CartesianMRI(LINES, random(1, 3, N, N, dtype=torch.complex64))
    y = op.simulate(random(1, 1, N, N, dtype=torch.complex64), 0.1, seed=0)
    check_same(lambda: op.reference_image(y))
    check_same(lambda: op.estimate_sigma(y))
    check_same(lambda: sigma_per_coil(y[0], LINES))


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "simulated": lambda y: simulate_maps(3, (N, N), seed=1),
    "espirit": lambda y: espirit(y, LINES),
    "low-resolution": lambda y: low_resolution_maps(y, LINES),
    "body coil": lambda y: body_coil_maps(y, y[:1], LINES),
}


@pytest.mark.parametrize("kind", MAPS)
def test_coil_maps(kind: str) -> None:
    y = random(3, N, N, dtype=torch.complex64)
    check_same(lambda: torch.view_as_real(MAPS[kind](y)))


DRAWS: dict[str, Callable[[], Tensor]] = {
    "normal": lambda: Noise([1, 2]).like(torch.zeros(2, 3, dtype=torch.float32)),
    "counts": lambda: Noise([1, 2]).poisson(torch.full((2, 3), 5.0, dtype=torch.float32)),
    "training": lambda: torch.stack([Draws((1, 2), 4).normal(), Draws((1, 2), 4).strata()]),
    "training, uniform": lambda: Draws((1, 2), 4).uniform(0.0, 2.0, 3),
    "training, phase": lambda: augment.smooth_phase(Draws((1, 2), 2), (8, 9)),
    "patches": lambda: random_patches([random(9, 8)], 4, 20, torch.Generator().manual_seed(0)),
    "demo": lambda: smooth_phase(7, 8),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws(name: str) -> None:
    check_same(DRAWS[name])


def blur() -> Operator:
    return GaussianBlur(1.0, (1, N, N))


def counts() -> Operator:
    return Transmission(ParallelBeamCT(ANGLES, (N, N)), 1e3)


def mri() -> Operator:
    return CartesianMRI(LINES, shape=(1, N, N))


@pytest.mark.filterwarnings("ignore::invdiff.priors.mismatch.PriorMismatch")  # of images that are noise
@pytest.mark.parametrize("method", QUICK)
@pytest.mark.parametrize("make", [mri, blur, counts])
def test_reconstructions(make: Callable[[], Operator], method: str) -> None:
    if make is counts and METHODS[method].linear:
        pytest.skip("for linear operators")

    def image() -> Tensor:
        op = make()
        x = random(1, 1, N, N, dtype=torch.complex64) if op.complex_in else random(1, 1, N, N).abs() / 50
        prior = invdiff.load_prior("brain-mri-light" if op.complex_in else "ct-light")
        y = op.simulate(x, 0.01, seed=0)
        return invdiff.solve(y, op, prior, method, sigma_y=0.01, seed=0, tuned=False, **QUICK[method]).x

    check_same(image)


@pytest.mark.parametrize("name", ["brain-mri", "brain-mri-hybrid", "ct"])
def test_networks_compute_in_single_precision(name: str) -> None:
    prior_of = invdiff.load_prior
    x = random(1, 1, N, N, dtype=torch.complex64 if prior_of(name).complex else torch.float32)
    check_same(lambda: prior_of(name)(x, torch.tensor(0.1, dtype=torch.float32)))
