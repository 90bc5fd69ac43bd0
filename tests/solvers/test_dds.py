"""DDS does not depend on the unit of the measurement: A, y and sigma_y times one number give the same image."""

import pytest
import torch

import invdiff
from invdiff.operators import Inpainting
from invdiff.priors.gaussian import GaussianPrior
from invdiff.shapes import norm


@pytest.mark.parametrize("factor", [300.0, 0.01])
def test_the_trust_in_the_data_follows_the_size_of_the_operator(factor: float) -> None:
    y, x = torch.meshgrid(torch.arange(12) - 6, torch.arange(11) - 5, indexing="ij")
    spectrum = (4 / (1 + (y**2 + x**2) / 2.0) ** 1.5)[None]
    prior = GaussianPrior.stationary(torch.zeros(1, 12, 11), spectrum)
    op = Inpainting(torch.rand(12, 11, generator=torch.Generator().manual_seed(0)) < 0.6)
    data = op.simulate(prior.sample(1, 3), 0.2, seed=1)
    images = [invdiff.solve(c * data, c * op, prior, "dds", sigma_y=c * 0.2, seed=0, steps=8).x for c in (1.0, factor)]
    assert float(norm(images[1] - images[0]) / norm(images[0])) < 1e-3  # conjugate gradients in single precision
