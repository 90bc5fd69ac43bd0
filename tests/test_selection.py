"""Which of several reconstructions `solve` returns, and that the data alone decide."""

from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import HighDynamicRange, Operator, PhaseRetrieval
from invdiff.priors.gaussian import GaussianPrior

SHAPE, SIGMA = (1, 8, 7), 0.05


def gaussian() -> GaussianPrior:
    return GaussianPrior.stationary(torch.zeros(SHAPE), torch.ones(SHAPE))


def guess(y: Tensor, op: Operator, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    """Pure chance: unit noise around nothing."""
    return noise.like(torch.zeros(len(y), *op.shape_in))


def test_the_sample_of_least_misfit_is_kept() -> None:
    op, prior = PhaseRetrieval(SHAPE), gaussian()
    y = op(torch.stack([guess_of(0, 2), guess_of(1, 0)]))  # what sample 2 of item 0 and sample 0 of item 1 explain
    result = invdiff.solve(y, op, prior, guess, num_samples=3, select="misfit", sigma_y=SIGMA, seed=0)
    torch.testing.assert_close(result.x, torch.stack([result.samples[0, 2], result.samples[1, 0]]))
    assert "kept by least misfit: sample 2, 0" in result.status
    assert result.chi2 is not None
    assert bool((result.chi2 < 1e-6).all())
    plain = invdiff.solve(y, op, prior, guess, num_samples=3, sigma_y=SIGMA, seed=0)
    assert torch.equal(plain.x, plain.mean)
    assert torch.equal(plain.mean, result.mean)
    assert plain.chi2 is not None
    assert bool((plain.chi2 > 1).all())


def guess_of(item: int, sample: int) -> Tensor:
    """What `guess` gives for it with seed 0."""
    y = torch.zeros(2, *PhaseRetrieval(SHAPE).shape_out)
    return invdiff.solve(y, PhaseRetrieval(SHAPE), gaussian(), guess, num_samples=3, seed=0).samples[item, sample]


def test_selection_weighs_the_misfit_as_the_noise_does() -> None:
    """An entry that is not used does not choose."""
    op = HighDynamicRange((1, 1, 2), 1.0, (-9.0, 9.0))
    candidates = torch.tensor([[1.0, 5.0], [1.2, 0.0]])[:, None, None]

    def two(y: Tensor, op: Operator, prior: Any = None, *, noise: Any, callback: Any) -> Tensor:
        return candidates

    y, sigma = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[1.0, torch.inf]]]])
    options: dict[str, Any] = {"method": two, "num_samples": 2, "select": "misfit"}
    assert "least misfit: sample 1" in invdiff.solve(y, op, sigma_y=1.0, **options).status
    assert "least misfit: sample 0" in invdiff.solve(y, op, sigma_y=sigma, **options).status


def test_bad_selections_are_refused() -> None:
    op = PhaseRetrieval(SHAPE)
    y = torch.ones(1, *op.shape_out)
    with pytest.raises(ValueError, match="'mean' or 'misfit', got 'best'"):
        invdiff.solve(y, op, gaussian(), "dps", select="best")
    with pytest.raises(ValueError, match="and there is one"):
        invdiff.solve(y, op, gaussian(), "dps", select="misfit")
