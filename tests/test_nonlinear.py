"""Non-linear operators through `solve`: solvers improve on their start, units do not matter, starts are selected."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import invdiff
from invdiff.operators import (
    Anscombe,
    CartesianMRI,
    HighDynamicRange,
    Magnitude,
    NonlinearBlur,
    Operator,
    PhaseRetrieval,
    Weighting,
    anscombe,
    weighted,
)
from invdiff.priors.gaussian import GaussianPrior
from invdiff.shapes import norm
from invdiff.symmetries import psnr_up_to_symmetries
from invdiff.units import Units, identity
from tests.operators.cases import coil_maps, lines, random

SHAPE, SIGMA = (1, 16, 16), 0.05
SHORT: dict[str, dict[str, Any]] = {"dps": {"steps": 60}, "sitcom": {"steps": 10, "inner": 12}}


def gaussian(is_complex: bool = False, mean: float = 0.0) -> GaussianPrior:
    """Smooth images of standard deviation 0.3."""
    y, x = torch.meshgrid(torch.arange(16) - 8, torch.arange(16) - 8, indexing="ij")
    spectrum = 1 / (1 + (y**2 + x**2) / 2.0) ** 1.5
    dtype = torch.complex64 if is_complex else torch.float32
    return GaussianPrior.stationary(torch.full(SHAPE, mean, dtype=dtype), (0.09 * spectrum / spectrum.mean())[None])


OPERATORS: dict[str, tuple[Callable[[], Operator], GaussianPrior]] = {
    "phase retrieval": (lambda: PhaseRetrieval(SHAPE), gaussian(mean=0.5)),
    "phase retrieval of complex images": (lambda: PhaseRetrieval(SHAPE), gaussian(is_complex=True)),
    "high dynamic range": (lambda: HighDynamicRange(SHAPE), gaussian()),
    "non-linear blur": (lambda: NonlinearBlur(SHAPE, size=7), gaussian()),
    "magnitude of a scan": (
        lambda: Magnitude((3, 16, 16)) @ CartesianMRI(lines(16), coil_maps(3, 16, 16)),
        gaussian(is_complex=True),
    ),
    "weighted": (lambda: weighted(HighDynamicRange(SHAPE), 1 + random(*SHAPE).sigmoid()), gaussian()),
    "counts": (lambda: exposure(), gaussian()),
}
BRIGHT = Units(torch.ones(2), torch.full((2,), 2.0))  # images about 2 in physical units, about 0 in the prior's


def exposure() -> Operator:
    """Expected counts, about 30 per unit, made to have unit noise."""
    return Anscombe(SHAPE) @ Weighting(torch.full(SHAPE, 30.0), SHAPE)


@pytest.mark.parametrize("method", SHORT)
@pytest.mark.parametrize("name", OPERATORS)
def test_solvers_improve_on_their_start(name: str, method: str) -> None:
    make, prior = OPERATORS[name]
    units = BRIGHT if name == "counts" else identity(2)
    op, truth = make(), units.to_physical(prior.sample(2, 3))
    y = op.simulate(truth, SIGMA, seed=1)
    result = invdiff.solve(y, op, prior, method, sigma_y=SIGMA, scale=units, seed=0, **SHORT[method])
    begin = norm(op(units.to_physical(prior.mean).expand_as(truth)) - y)
    assert bool((norm(op(result.x) - y) < 0.6 * begin).all())
    assert bool((result.misfit[-1, :, 0] < 0.6 * begin).all())


@pytest.mark.parametrize("method", SHORT)
@pytest.mark.parametrize("name", ["high dynamic range", "non-linear blur"])
def test_what_determines_the_image_finds_it(name: str, method: str) -> None:
    make, prior = OPERATORS[name]
    op, truth = make(), prior.sample(2, 3)
    result = invdiff.solve(op.simulate(truth, SIGMA, seed=1), op, prior, method, sigma_y=SIGMA, seed=0, **SHORT[method])
    assert bool((norm(result.x - truth) < 0.75 * norm(truth - prior.mean)).all())


@pytest.mark.parametrize("method", SHORT)
@pytest.mark.parametrize("factor", [1e-5, 1e5])
def test_units_do_not_matter_where_the_operator_is_homogeneous(method: str, factor: float) -> None:
    """A(c x) = c A(x): the image in other units is the same image.

    Not of phase retrieval, whose first image comes of iterations in which rounding decides between images that fit.
    """
    make, prior = OPERATORS["magnitude of a scan"]
    op = make()
    y = op.simulate(prior.sample(2, 3), SIGMA, seed=1)
    one = invdiff.solve(y, op, prior, method, sigma_y=SIGMA, seed=0, **SHORT[method])
    other = invdiff.solve(factor * y, op, prior, method, sigma_y=factor * SIGMA, seed=0, scale=factor, **SHORT[method])
    # Rounding grows along an optimisation that is not convex; units that matter would be off by orders of magnitude.
    torch.testing.assert_close(other.x / factor, one.x, rtol=0, atol=0.02)


@pytest.mark.parametrize("method", [name for name, method in invdiff.METHODS.items() if method.linear])
def test_methods_for_linear_operators_say_so(method: str) -> None:
    op = PhaseRetrieval(SHAPE)
    with pytest.raises(ValueError, match=f"{method} needs a linear operator and PhaseRetrieval is not. Use ") as caught:
        invdiff.solve(torch.ones(1, *op.shape_out), op, gaussian(), method, sigma_y=SIGMA)
    named = str(caught.value).partition("Use ")[2].rstrip(".").replace(" or ", ", ").split(", ")
    assert named == [name for name, other in invdiff.METHODS.items() if not other.linear]


def test_methods_that_do_not_fit_the_images_are_not_proposed() -> None:
    op = PhaseRetrieval((1, 3, 3))  # too small for networks that make images
    with pytest.raises(ValueError, match="needs a linear operator") as caught:
        invdiff.solve(torch.ones(1, *op.shape_out), op, None, "cg")
    assert "sitcom" in str(caught.value)
    assert "deep-decoder" not in str(caught.value)


def test_a_prior_with_a_percentile_asks_for_the_scale() -> None:
    prior = gaussian()
    prior.percentile = 99.5
    op = PhaseRetrieval(SHAPE)
    with pytest.raises(ValueError, match="cannot be read from y behind the non-linear PhaseRetrieval"):
        invdiff.solve(torch.ones(1, *op.shape_out), op, prior, "dps")


def test_more_starts_fit_better() -> None:
    """Sample streams do not depend on how many there are, so the best of six fits at least as well as the first."""
    make, prior = OPERATORS["phase retrieval"]
    op, truth = make(), prior.sample(1, 3)
    y = op.simulate(truth, SIGMA, seed=1)
    one = invdiff.solve(y, op, prior, "dps", sigma_y=SIGMA, seed=0, **SHORT["dps"])
    six = invdiff.solve(y, op, prior, "dps", sigma_y=SIGMA, seed=0, num_samples=6, select="misfit", **SHORT["dps"])
    assert float(norm(op(six.x) - y)) <= float(norm(op(one.x) - y)) * (1 + 1e-4)
    assert all(math.isfinite(v) for v in psnr_up_to_symmetries(truth, six.x, op))


def test_counts_through_the_variance_stabilising_transform() -> None:
    prior = gaussian()
    truth = BRIGHT.to_physical(prior.sample(2, 3))
    counts = torch.poisson(30 * truth, generator=torch.Generator().manual_seed(0))
    options = SHORT["sitcom"] | {"sigma_y": 1.0, "scale": BRIGHT, "seed": 0}
    result = invdiff.solve(anscombe(counts), exposure(), prior, "sitcom", **options)
    assert bool((norm(result.x - truth) < norm(counts / 30 - truth)).all())  # the prior helps
    assert bool((norm(result.x - truth) < 0.75 * norm(truth - 2)).all())  # and so do the counts


@pytest.mark.parametrize("name", OPERATORS)
def test_all_tensors_move_with_the_operator(name: str) -> None:
    op = OPERATORS[name][0]().to("meta")  # a device on which a tensor that stayed behind cannot be used
    dtype = torch.complex64 if OPERATORS[name][1].complex else torch.float32
    x = torch.empty(2, *op.shape_in, dtype=dtype, device="meta")
    y = op(x)
    assert (y.device.type, y.shape) == ("meta", (2, *op.shape_out))
    assert op.vjp(x, y).device.type == "meta"
