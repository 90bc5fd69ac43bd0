"""Beer-Lambert counts: mean, variance, noise, and weighted least squares on their line integrals."""

import math

import pytest
import torch

import invdiff
from invdiff.data.line_integrals import line_integrals
from invdiff.operators import CartesianMRI, Identity, Transmission, stack
from invdiff.operators.anscombe import Anscombe, anscombe

SHAPE = (1, 40, 40)


def thickness(value: float = 1.5) -> torch.Tensor:
    return torch.full((2, *SHAPE), value)


def test_counts_fall_exponentially_with_the_line_integral() -> None:
    op = Transmission(Identity(SHAPE), photons=1e4, background=5.0)
    torch.testing.assert_close(op(thickness()), torch.full((2, *SHAPE), 1e4 * 0.22313016 + 5.0), rtol=1e-6, atol=0)


def test_photons_may_differ_between_bins() -> None:
    flat = torch.linspace(100, 200, 40)
    y = Transmission(Identity(SHAPE), flat)(torch.zeros(1, *SHAPE))
    torch.testing.assert_close(y[0, 0, 7], flat)


@pytest.mark.parametrize("electronic", [0.0, 30.0])
def test_simulated_counts_have_poisson_and_electronic_variance(electronic: float) -> None:
    op = Transmission(Identity((1, 300, 300)), photons=1000.0)
    x = torch.full((1, 1, 300, 300), 0.5)
    y = op.simulate(x, electronic, seed=3)
    mean = 1000 * 0.60653066
    # 90,000 draws: the mean scatters by 0.013 %, the variance by 0.5 %; the bars are five of these.
    assert abs(float(y.mean()) / mean - 1) < 1e-3
    assert abs(float(y.var()) / (mean + electronic**2) - 1) < 0.025
    assert bool((y == y.round()).all()) is (electronic == 0)


def test_a_simulated_item_does_not_depend_on_its_batch() -> None:
    op = Transmission(Identity(SHAPE), 50.0)
    both = op.simulate(thickness(), seed=4)
    assert torch.equal(both[:1], op.simulate(thickness()[:1], seed=4))
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both, op.simulate(thickness(), seed=5))


def test_noise_is_estimated_from_the_counts() -> None:
    op = Transmission(Identity(SHAPE), 400.0)
    y = op.simulate(thickness(1.0), seed=0)
    error = (y - op(thickness(1.0))).flatten(1).std(1)
    torch.testing.assert_close(op.estimate_sigma(y), error, rtol=0.1, atol=0)  # 1600 draws scatter by 2 %


def test_refuses_what_is_no_projector_or_no_count() -> None:
    with pytest.raises(ValueError, match="photons must be positive, and 1 bins"):
        Transmission(Identity((1, 1, 3)), [1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match=r"broadcast to \(1, 1, 3\), got \(2,\)"):
        Transmission(Identity((1, 1, 3)), [1.0, 2.0])
    with pytest.raises(ValueError, match="background must be finite"):
        Transmission(Identity((1, 1, 3)), 1.0, -1.0)
    with pytest.raises(TypeError, match="real output"):
        Transmission(CartesianMRI(torch.ones(4, 4)), 1.0)


def test_transmission_and_its_line_integrals_make_weighted_least_squares() -> None:
    """Two rays through one pixel with 100 and 10,000 photons: the brighter one counts a hundred times."""
    pair = stack(Identity((1, 1, 1)), Identity((1, 1, 1)))
    p, variance = line_integrals(torch.tensor([[[50.0]], [[5000.0]]]), torch.tensor([[[100.0]], [[20000.0]]]))
    y = p.reshape(1, *pair.shape_out)
    result = invdiff.solve(y, pair, method="cg", sigma_y=variance.reshape_as(y).sqrt(), weight=0.0)
    wanted = (50 * math.log(2.0) + 5000 * math.log(4.0)) / 5050
    torch.testing.assert_close(result.x.flatten(), torch.tensor([wanted]), rtol=1e-5, atol=0)


def test_dead_bins_do_not_count() -> None:
    op = Identity((1, 1, 4))
    p, variance = line_integrals(
        torch.tensor([[[[50.0, 20.0, torch.nan, 9.0]]]]), torch.tensor([100.0, 80.0, 9.0, 0.0])
    )
    result = invdiff.solve(p, op, method="cg", sigma_y=variance.sqrt(), weight=0.0, tol=1e-6)
    wanted = torch.tensor([[[[math.log(2.0), math.log(4.0), 0.0, 0.0]]]])
    torch.testing.assert_close(result.x, wanted, rtol=1e-4, atol=1e-5)


def test_the_root_of_the_counts_has_even_noise() -> None:
    op = Anscombe(SHAPE) @ Transmission(Identity(SHAPE), 200.0)
    x = torch.linspace(0, 3, 1600).reshape(1, *SHAPE)
    residual = anscombe(Transmission(Identity(SHAPE), 200.0).simulate(x, seed=2)) - op(x)
    assert abs(float(residual.std()) - 1) < 0.06  # 1600 draws scatter by 2 %
    assert abs(float(residual.flatten()[:400].std() / residual.flatten()[-400:].std()) - 1) < 0.15
