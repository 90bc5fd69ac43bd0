"""EM: the likelihood never falls, separated components and subspaces are found."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.priors.em import fit_mixture
from invdiff.priors.low_rank_mixture import LowRankMixture
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.ppca import probabilistic_pca
from tests.priors.models import KINDS, REAL, mixture, normal, orthonormal


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("zero_mean", [False, True])
def test_likelihood_never_falls(dtype: torch.dtype, zero_mean: bool) -> None:
    x = mixture((1, 3, 4), dtype, spread=0.3).sample(400, 1).flatten(1)
    _, history = fit_mixture(x, 3, 2, iterations=40, zero_mean=zero_mean, tol=0.0)
    assert len(history) > 10, "EM must take some steps for this to be a test"
    # Relative rounding of a sum of 400 log-densities in double precision.
    assert all(b >= a - 1e-10 * abs(a) for a, b in itertools.pairwise(history))
    assert history[-1] > history[0] + 1e-3


def test_likelihood_check_sees_a_wrong_step() -> None:
    """Negative control: variances off by a factor lower the likelihood of the fitted model."""
    x = mixture((1, 3, 4)).sample(400, 1).flatten(1)
    good, history = fit_mixture(x, 3, 2)
    level = torch.zeros(1, dtype=REAL)
    for factor in (0.8, 1.25):
        bad = LowRankMixture(good.weights, good.means, good.bases, factor * good.variances, good.floors)
        assert float(bad.log_joint(x, level).logsumexp(1).mean()) < history[-1] - 1e-3


@pytest.mark.parametrize("dtype", KINDS)
def test_separated_components_are_recovered(dtype: torch.dtype) -> None:
    truth = mixture((1, 3, 4), dtype, spread=4.0)
    found = GaussianMixturePrior.fit(truth.sample(6000, 1), 3, 2, seed=1)
    a, b = truth.mixture, found.mixture
    order = (a.means[:, None] - b.means[None]).abs().sum(2).argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    # The smallest component has 1200 samples: variances to 4 standard errors of 4 %, means of 1.2 / sqrt(1200).
    assert_close(b.weights[order], a.weights, rtol=0.0, atol=0.03)
    assert_close(b.means[order], a.means, rtol=0.0, atol=0.2)
    assert_close(b.variances[order], a.variances.sort(1, descending=True)[0], rtol=0.18, atol=0.0)
    assert_close(b.floors[order], a.floors, rtol=0.08, atol=0.0)


def test_subspaces_are_recovered() -> None:
    bases = torch.stack([orthonormal(2, (1, 4, 4), seed=k) for k in range(3)])
    truth = GaussianMixturePrior(
        torch.tensor([0.3, 0.3, 0.4]), torch.zeros(3, 1, 4, 4), bases, torch.ones(3, 2), torch.full((3,), 1e-3)
    )
    found = GaussianMixturePrior.fit(truth.sample(1500, 0), 3, 2, 100, seed=2, zero_mean=True)
    overlap = torch.einsum("krd,lsd->klrs", bases.flatten(2), found.mixture.bases).square().sum((2, 3))
    # 2 where subspaces coincide.
    assert float(overlap.amax(1).min()) > 1.99
    assert float(found.mixture.means.abs().max()) == 0


def test_same_seed_same_fit() -> None:
    images = mixture().sample(100, 1)
    fits = [GaussianMixturePrior.fit(images, 8, 2, 5, seed=s) for s in (0, 0, 1)]
    assert torch.equal(fits[0].mixture.means, fits[1].mixture.means)
    assert not torch.equal(fits[0].mixture.means, fits[2].mixture.means)


def test_flat_regions_and_duplicates() -> None:
    """Pixels that never vary and equal images are no reason to fail."""
    images = torch.zeros(40, 1, 6, 5)
    images[:20, :, :2] = 1.0
    images[20:30, :, 3:] = 0.5
    prior = GaussianMixturePrior.fit(images, 4, 3)
    assert torch.isfinite(prior(images, 0.1)).all()
    assert_close(prior(images, 0.01), images, rtol=0.0, atol=0.01)


def test_pca_is_the_likeliest() -> None:
    """Tipping and Bishop: the residual of the sample covariance is flat, and both ways of computing it agree."""
    x = normal(30, 12) * torch.linspace(0.1, 2, 12, dtype=REAL)
    rows = (x - x.mean(0)) / 30**0.5
    basis, variances, floor = probabilistic_pca(rows, 4)
    values = torch.linalg.eigvalsh(rows.mT @ rows).flip(0)
    assert_close(variances, values[:4])
    assert_close(floor, values[4:].mean())
    assert_close(basis @ basis.mT, torch.eye(4, dtype=REAL))
    few = probabilistic_pca(rows[:8], 4)
    padded = probabilistic_pca(torch.cat([rows[:8], torch.zeros(10, 12, dtype=REAL)]), 4)
    assert_close(few[1:], padded[1:])
    assert_close(few[0].mT @ few[0], padded[0].mT @ padded[0])


@pytest.mark.parametrize(
    ("images", "components", "rank", "says"),
    [
        (normal(3, 1, 2, 2), 4, 1, "4 components"),
        (normal(30, 1, 2, 2), 2, 5, "rank 5"),
        (torch.ones(30, 1, 2, 2), 2, 1, "samples that differ"),
    ],
)
def test_refusals(images: Tensor, components: int, rank: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        GaussianMixturePrior.fit(images, components, rank)
