"""Runs that begin below the highest noise level, from an image: which image, at which level, and what it is worth."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import CartesianMRI, HighDynamicRange, Operator, PhaseRetrieval, weighted
from invdiff.operators.search import Search
from invdiff.priors import GaussianPrior
from invdiff.random import streams
from invdiff.solvers.first_image import BEGIN
from invdiff.symmetries import psnr_up_to_symmetries
from tests.operators.test_hybrid_input_output import discs
from tests.solvers.operators import coils, smooth

SHAPE = (1, 24, 24)


def positive() -> GaussianPrior:
    """Images of peak 1 that are nowhere negative, as far as their range says."""
    prior = smooth(False, SHAPE[1:])
    prior.describe(range=(0.0, 1.0))
    return prior


def began_at(method: str, y: Tensor, op: Operator, prior: Any, **options: Any) -> tuple[float, Tensor]:
    """The first noise level of a run, and its result."""
    seen: list[float] = []
    run = {"sigma_y": 0.01, "seed": 0, "tuned": False, "callback": lambda step: seen.append(step["sigma"])}
    x = invdiff.solve(y, op, prior, method, **run, **options).x
    return seen[0], x


@pytest.mark.parametrize("method", ["sitcom", "daps", "dcdp"])
def test_phase_retrieval_begins_with_an_image(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, truth = PhaseRetrieval(SHAPE), discs(SHAPE[1:])
    y, away = op.simulate(truth, 0.01), torch.full((1, *SHAPE), 0.3)

    def ran(first: Tensor | None) -> tuple[float, float]:
        """The first level, and how far the result is from the truth where it begins with this image."""
        monkeypatch.setattr(PhaseRetrieval, "first_image", lambda self, y, search: first)
        level, x = began_at(method, y, op, positive(), steps=8)
        return level, float((x - truth).norm() / truth.norm())

    (level, near), (_, far), (blind, _) = ran(truth), ran(away), ran(None)
    assert level == pytest.approx(BEGIN)
    assert near < 0.95 * far
    assert blind > 1.9


@pytest.mark.parametrize("method", ["sitcom", "daps"])
def test_other_operators_begin_where_they_did_unless_told(method: str) -> None:
    op, prior = coils((8, 6)), smooth(True, (8, 6))
    assert isinstance(op, CartesianMRI)
    y = op.simulate(prior.sample(1, 0), 0.01)
    assert began_at(method, y, op, prior, steps=3)[0] == pytest.approx(prior.sigma_max)
    assert began_at(method, y, op, prior, steps=3, sigma_first=0.7)[0] == pytest.approx(0.7)
    with pytest.raises(ValueError, match=r"sigma_first must be above 0\.01 and at most 10"):
        began_at(method, y, op, prior, sigma_first=20.0)


@pytest.mark.parametrize("method", ["sitcom", "daps"])
def test_operators_without_an_image_say_so(method: str) -> None:
    op, prior = HighDynamicRange((1, 8, 6)), smooth(False, (8, 6))
    y = op(prior.sample(1, 0))
    assert began_at(method, y, op, prior, steps=3)[0] == pytest.approx(prior.sigma_max)
    with pytest.raises(ValueError, match="HighDynamicRange has no image for sigma_first"):
        began_at(method, y, op, prior, sigma_first=0.5)


def test_units_and_weights_do_not_change_the_image() -> None:
    op, truth = PhaseRetrieval(SHAPE), discs(SHAPE[1:])
    y = op(truth)

    def search(low: float = 0.0) -> Search:
        return Search(streams(0, 1)[0], False, low, settings={"iterations": 5})

    plain = op.first_image(y, search())
    units = op.affine(torch.tensor([0.5]), torch.tensor([0.25]))
    inward = units.first_image(y / 0.5, search(low=-0.5))
    weights = 2.0 ** (torch.arange(48) % 3).expand(1, 48, 48)
    weighed = weighted(op, weights).first_image(weights * y, search())
    assert inward is not None
    assert weighed is not None
    torch.testing.assert_close(0.5 * inward + 0.25, plain)
    torch.testing.assert_close(weighed, plain)


def test_unused_amplitudes_do_not_matter() -> None:
    op, truth = PhaseRetrieval(SHAPE), discs(SHAPE[1:])
    y = op.simulate(truth, 0.01)
    sigma = torch.full((1, 1, 48, 48), 0.01)
    sigma[..., 20:29, 20:29] = math.inf  # behind a beam stop
    broken = torch.where(torch.isinf(sigma), 3.0, y)
    runs = [invdiff.solve(v, op, None, "hio", sigma_y=sigma, seed=0, iterations=30).x for v in (y, broken)]
    assert torch.equal(*runs)


def test_hio_is_for_amplitudes() -> None:
    with pytest.raises(ValueError, match="hio does not work behind HighDynamicRange: it is for Fourier amplitudes"):
        invdiff.solve(torch.ones(1, 1, 8, 6), HighDynamicRange((1, 8, 6)), None, "hio", sigma_y=0.1)


def test_of_several_starts_of_hio_the_best_fit_is_kept() -> None:
    op, truth = PhaseRetrieval(SHAPE), discs(SHAPE[1:])
    y = op.simulate(truth, 0.005)
    result = invdiff.solve(y, op, None, "hio", sigma_y=0.005, num_samples=4, select="misfit", seed=0)
    assert psnr_up_to_symmetries(truth, result.x, op, 1.0, shifts=True)[0] > 23
    misfits = [float((op(x) - y).norm()) for x in result.samples.unbind(1)]
    assert float((op(result.x) - y).norm()) == pytest.approx(min(misfits))
    assert float(result.std.max()) > 0.01  # they end in different images
