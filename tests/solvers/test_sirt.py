"""SIRT: its fixed point, its speed with subsets, its limits."""

import math

import pytest
import torch

import invdiff
from invdiff.operators.ct import FanBeamCT, ParallelBeamCT
from invdiff.operators.projector import of_views
from invdiff.shapes import norm
from invdiff.solvers.sirt import inverse
from tests.operators.ellipses import head

N = 33
OP = ParallelBeamCT([i * math.pi / 60 for i in range(60)], (N, N), bins=49)
X = head(OP.geometry, 15.0).float()


def solved(y: torch.Tensor, **options: object) -> invdiff.Result:
    return invdiff.solve(y, OP, method="sirt", **options)


def test_it_finds_what_fits_the_data() -> None:
    result = solved(OP(X), iterations=200)
    assert float(norm(OP(result.x) - OP(X)) / norm(OP(X))) < 1e-2
    # slow at high frequencies: 200 iterations leave 14 % of the image and 0.7 % of the data
    assert float(norm(result.x - X) / norm(X)) < 0.16
    assert result.misfit[1:].lt(result.misfit[:-1]).all()


def test_a_fixed_point_of_weighted_least_squares() -> None:
    """At convergence A^H R (A x - y) = 0, for data that no image explains."""
    y = OP(X) + torch.randn(1, 1, 60, 49, generator=torch.Generator().manual_seed(0))
    rows = inverse(OP(torch.ones_like(X)))
    x = solved(y, iterations=600, relaxation=1.9).x
    gradient = [float(norm(OP.adjoint(rows * (y - OP(v))))) for v in (torch.zeros_like(x), x)]
    assert gradient[1] < 2e-3 * gradient[0]


def test_subsets_go_as_far_in_fewer_iterations() -> None:
    y = OP(X)
    slow, fast = solved(y, iterations=60).x, solved(y, iterations=6, subsets=10).x
    assert float(norm(fast - X)) < 1.05 * float(norm(slow - X))
    assert float(norm(solved(y, iterations=6).x - X)) > 1.3 * float(norm(fast - X))


@pytest.mark.parametrize("weighted", [False, True])
def test_part_of_the_views_is_part_of_the_operator(weighted: bool) -> None:
    op = FanBeamCT([0.1 * i for i in range(11)], (5, 7), 12, source_distance=30.0, detector_distance=20.0)
    whole = invdiff.operators.weighted(op, torch.rand(11, 12)) if weighted else op
    x = torch.rand(2, 1, 5, 7)
    torch.testing.assert_close(of_views(whole, slice(1, None, 3))(x), whole(x)[:, :, 1::3])


def test_it_stops_at_the_noise_and_keeps_the_floor() -> None:
    noisy = OP.simulate(X, 0.3, seed=0)
    result = solved(noisy, sigma_y=0.3, iterations=500, stop=1.0)
    assert len(result.misfit) < 100
    assert 0.8 < float(result.chi2) < 1.01
    assert float(solved(noisy, iterations=5, floor=0.0).x.min()) == 0.0
    with pytest.raises(ValueError, match="pass sigma_y"):
        solved(noisy, stop=1.0)
    with pytest.raises(ValueError, match="subsets must be at least 1 and at most 60"):
        solved(noisy, subsets=61)


def test_a_batch_of_two_is_two_of_one() -> None:
    y = torch.cat((OP(X), 2 * OP.simulate(X, 0.1, seed=1)))
    both = solved(y, iterations=4, subsets=3).x
    torch.testing.assert_close(both[1:], solved(y[1:], iterations=4, subsets=3).x, rtol=1e-5, atol=1e-6)
