"""Density weights: areas that are known, scans that they make even, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from invdiff.data.trajectories import cartesian, radial, spiral
from invdiff.operators import NonCartesianMRI
from invdiff.operators.density import pipe_menon, voronoi
from tests.operators.cases import positions

SHAPE = (40, 40)


def gaussian() -> Tensor:
    """A smooth image off centre whose k-space vanishes at the edge."""
    r = torch.arange(40, dtype=torch.float32) - 20
    return torch.exp(-((r[:, None] - 4) ** 2 + (r + 3) ** 2) / 20).to(torch.complex64)[None, None]


SCANS = {
    "spokes": radial(67, SHAPE),
    "golden spokes": radial(80, SHAPE, order="golden"),
    "spiral": spiral(7, SHAPE),
    "spiral, dense centre": spiral(12, SHAPE, density=2.0),
}


@pytest.mark.parametrize("scan", SCANS)
def test_gridding_with_these_weights_gives_the_image(scan: str) -> None:
    k, x = SCANS[scan].flatten(0, 1), gaussian()
    errors = {}
    for name, w in (("pipe_menon", pipe_menon(k, SHAPE)), ("voronoi", voronoi(k, SHAPE)), ("none", torch.ones(len(k)))):
        op = NonCartesianMRI(k, shape=SHAPE, density=w)
        image = op.gridding(op(x))
        if name == "none":
            image = image * (x.norm() / image.norm())
        errors[name] = float((image - x).norm() / x.norm())
    assert errors["pipe_menon"] < 0.01
    assert errors["voronoi"] < 0.05  # cells of Archimedes' spiral with just enough arms are uneven
    assert errors["none"] > 0.2


@pytest.mark.parametrize("shape", [(9, 8), (16, 21)])
def test_grid_points_have_unit_area(shape: tuple[int, int]) -> None:
    k = cartesian(shape).flatten(0, 1)
    torch.testing.assert_close(voronoi(k, shape), torch.ones(len(k)), rtol=1e-5, atol=0)
    # the window's transform is not quite zero one field of view away: 1.4 % along each axis
    torch.testing.assert_close(pipe_menon(k, shape), torch.ones(len(k)), rtol=0.03, atol=0)


def test_grid_points_have_unit_volume() -> None:
    k = cartesian((6, 5)).flatten(0, 1)
    k = torch.cat([torch.cat((torch.full((len(k), 1), float(z), dtype=k.dtype), k), 1) for z in range(-2, 2)])
    w = pipe_menon(k, (4, 6, 5))
    torch.testing.assert_close(w, torch.ones(len(k)), rtol=0.06, atol=0)  # 1.4 % along each axis of so few points
    doubled = pipe_menon(torch.cat((k, k[:7])), (4, 6, 5))
    torch.testing.assert_close(doubled[:7], doubled[-7:])
    torch.testing.assert_close(doubled[:7], w[:7] / 2, rtol=0.06, atol=0)
    with pytest.raises(ValueError, match=r"voronoi takes images \(H, W\), got \(4, 6, 5\). Use pipe_menon"):
        voronoi(k, (4, 6, 5))


def test_spokes_have_the_area_of_their_ring() -> None:
    """|k| (pi / spokes) dk, away from the centre, whose samples share a disc, and from the edge."""
    spokes, dk = 67, 0.5
    k = radial(spokes, SHAPE)
    radius = k.norm(dim=-1)
    ramp = (radius * math.pi / spokes * dk).float()
    inside = (radius > 1) & (radius < 18)
    for w, tolerance in ((voronoi(k.flatten(0, 1), SHAPE), 2e-3), (pipe_menon(k.flatten(0, 1), SHAPE), 0.08)):
        torch.testing.assert_close(w.view_as(radius)[inside], ramp[inside], rtol=tolerance, atol=0)
    centre = voronoi(k.flatten(0, 1), SHAPE).view_as(radius)[:, 40]
    torch.testing.assert_close(centre.sum(), torch.tensor(math.pi * (dk / 2) ** 2), rtol=1e-2, atol=0)


def test_cells_end_half_a_step_beyond_the_trajectory() -> None:
    """Spokes end at 20 and 19.5 cycles in turn, and half a step is 0.25."""
    total = voronoi(radial(67, SHAPE).flatten(0, 1), SHAPE).sum()
    torch.testing.assert_close(total, torch.tensor(math.pi * (19.75 + 0.25) ** 2), rtol=5e-3, atol=0)


def test_samples_at_one_place_share() -> None:
    k = cartesian((8, 8)).flatten(0, 1)
    doubled = torch.cat((k, k[:5]))
    w = voronoi(doubled, (8, 8))
    torch.testing.assert_close(w[:5], torch.full((5,), 0.5))
    torch.testing.assert_close(w[64:], w[:5])
    torch.testing.assert_close(pipe_menon(doubled, (8, 8))[64:], pipe_menon(doubled, (8, 8))[:5])


def test_items_are_weighted_alone() -> None:
    k = torch.stack([SCANS["spokes"][:20].flatten(0, 1), SCANS["spokes"][20:40].flatten(0, 1)])
    for weigh in (pipe_menon, voronoi):
        both = weigh(k, SHAPE)
        assert both.shape == (2, 1600)
        assert torch.equal(both[1], weigh(k[1], SHAPE))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="4 places of the trajectory lie on one line"):
        voronoi([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], (8, 8))
    with pytest.raises(ValueError, match="pipe_menon: the trajectory reaches"):
        pipe_menon(3 * positions(9, height=8, width=8), (8, 8))
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        pipe_menon(positions(9, height=8, width=8), (8, 8), iterations=0)
