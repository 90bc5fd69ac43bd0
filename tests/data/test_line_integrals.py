"""Counts to line integrals: values, variance, dead bins, beam hardening."""

import math

import pytest
import torch

import invdiff
from invdiff.data.line_integrals import line_integrals, metal_trace, unharden, water_polynomial
from invdiff.operators import Identity, ParallelBeamCT, Transmission
from invdiff.units import MU_WATER, hu_to_mu, mu_to_hu


def test_line_integrals_undo_beer_and_lambert() -> None:
    x = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    photons = torch.linspace(900, 1100, 7)
    p, _ = line_integrals(Transmission(Identity((1, 5, 7)), photons)(x), photons)
    torch.testing.assert_close(p, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("electronic", [0.0, 20.0])
def test_variance_is_that_of_simulated_data(electronic: float) -> None:
    op = Transmission(Identity((1, 200, 200)), 5000.0)
    x = torch.full((1, 1, 200, 200), 2.0)
    p, variance = line_integrals(op.simulate(x, electronic, seed=1), 5000.0, electronic)
    # 40,000 draws scatter by 0.7 %; the log bends the noise of 700 counts by another 0.5 %.
    assert abs(float(p.var() / variance.mean()) - 1) < 0.04


def test_starved_and_dead_bins() -> None:
    counts = torch.tensor([[100.0, 0.0, -3.0, 50.0, torch.nan]])
    photons = torch.tensor([100.0, 100.0, 100.0, 0.0, 100.0])
    p, variance = line_integrals(counts, photons)
    torch.testing.assert_close(p[0, 1:3], torch.full((2,), math.log(1000.0)))
    assert variance[0, 1:3].tolist() == pytest.approx([10.0, 10.0])
    assert p[0, 3:].tolist() == [0.0, 0.0]
    assert bool(variance[0, 3:].isinf().all())


def test_water_looks_like_water_after_the_polynomial() -> None:
    spectrum, mu = [0.2, 0.5, 0.3], [0.027, 0.0206, 0.0177]
    coefficients = water_polynomial(spectrum, mu, MU_WATER, 300.0)
    thickness = torch.linspace(1, 300, 50, dtype=torch.float64)
    decay = torch.exp(-thickness[:, None] * torch.tensor(mu)) @ torch.tensor(spectrum, dtype=torch.float64)
    hardened = -torch.log(decay)
    q, variance = unharden(hardened, coefficients, torch.ones_like(hardened))
    before = (hardened / thickness / MU_WATER - 1).abs().max()
    after = (q / thickness / MU_WATER - 1).abs().max()
    assert float(before) > 0.04
    assert float(after) < 2e-3  # 2 HU; a cubic leaves this much
    assert variance is not None
    slope = torch.gradient(q, spacing=(hardened,))[0] ** 2
    torch.testing.assert_close(variance[1:-1], slope[1:-1], rtol=1e-2, atol=0)


def test_a_polynomial_that_falls_is_refused() -> None:
    with pytest.raises(ValueError, match="falls at p = 3"):
        unharden(torch.tensor([1.0, 3.0, 5.0]), [1.0, -0.2])
    with pytest.raises(ValueError, match="one coefficient"):
        unharden(torch.ones(2), [])


def test_the_trace_of_metal_is_what_crosses_it() -> None:
    image = torch.zeros(1, 1, 3, 4)
    image[0, 0, 1, 2] = 5000.0
    trace = metal_trace(lambda x: x.sum(2, keepdim=True), image, 3000.0)
    assert trace.tolist() == [[[[False, False, True, False]]]]


def test_hounsfield_scale() -> None:
    assert hu_to_mu(-1000.0) == 0.0
    assert hu_to_mu(0.0, 0.02) == 0.02
    hu = torch.linspace(-1000, 3000, 9)
    torch.testing.assert_close(mu_to_hu(hu_to_mu(hu, 0.021), 0.021), hu, rtol=1e-5, atol=1e-2)
    with pytest.raises(ValueError, match="mu_water must be above 0"):
        mu_to_hu(0.0, -0.02)


def test_metal_left_out_leaves_the_rest_in_its_place() -> None:
    """A screw in water that no photon passes: its rays are found in a first image, and interpolated or skipped."""
    op = ParallelBeamCT([i * math.pi / 90 for i in range(90)], (64, 64))
    y, x = torch.meshgrid(*op.geometry.coordinates(), indexing="ij")
    water = (torch.hypot(y, x) < 28) * MU_WATER
    screw = torch.hypot(y - 9, x - 12) < 2.5
    truth = torch.where(screw, 2.0, water).float()[None, None]
    p, variance = line_integrals(Transmission(op, 1e5).simulate(truth), 1e5)
    first = invdiff.solve(p, op, method="fbp").x
    trace = metal_trace(op, first, float(hu_to_mu(3000.0)))
    assert 0.02 < float(trace.float().mean()) < 0.2
    away = (torch.hypot(y, x) < 26) & (torch.hypot(y - 9, x - 12) > 6)
    sigma = torch.where(trace, torch.inf, variance.sqrt())
    images = {
        "as they are": first,
        "interpolated": invdiff.solve(p, op, method="fbp", sigma_y=sigma).x,
        "skipped": invdiff.solve(p, op, method="tv", sigma_y=sigma).x,
    }
    off = {
        name: float((mu_to_hu(x) - mu_to_hu(truth))[0, 0, away].square().mean().sqrt()) for name, x in images.items()
    }
    print(off)
    assert off["interpolated"] < 0.5 * off["as they are"]
    assert off["skipped"] < 0.5 * off["as they are"]
