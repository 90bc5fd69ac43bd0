"""Radial and spiral trajectories: ends, centres, angles and distances as their definitions say."""

import math
from typing import Any

import pytest
import torch

from invdiff.data.trajectories import cartesian, radial, spiral
from invdiff.operators.trajectory import checked_trajectory


@pytest.mark.parametrize("shape", [(32, 32), (30, 44), (31, 20)])
@pytest.mark.parametrize("order", ["uniform", "golden", "tiny"])
def test_spokes_cross_the_centre_and_reach_the_edge(shape: tuple[int, int], order: Any) -> None:
    k = radial(9, shape, order=order)
    assert k.shape == (9, 2 * max(shape), 2)
    assert k.dtype == torch.float64
    assert not k[:, max(shape)].any()
    reach = (k / torch.tensor(shape)).norm(dim=-1)  # the same in all directions, in cycles per pixel
    torch.testing.assert_close(reach[:, 0], torch.full((9,), 0.5, dtype=torch.float64))
    steps = (k / torch.tensor(shape)).diff(dim=1).norm(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, 0.5 / max(shape)))
    checked_trajectory(k.flatten(0, 1), shape, "test")


@pytest.mark.parametrize(
    ("order", "tiny", "degrees"), [("uniform", 7, 36.0), ("golden", 7, 111.246118), ("tiny", 1, 111.246118),
                                   ("tiny", 7, 23.628143), ("tiny", 10, 16.952291)],
)  # fmt: skip
def test_angles(order: Any, tiny: int, degrees: float) -> None:
    """The published tiny golden angles: 111.25, 23.63 (N = 7), 16.95 (N = 10)."""
    k = radial(5, (32, 32), order=order, tiny=tiny)
    angle = torch.atan2(k[:, -1, 0], k[:, -1, 1]).rad2deg()
    assert float(angle[0]) == 0  # along the columns, then towards the rows
    off = (angle.diff() - degrees + 180).remainder(360) - 180
    torch.testing.assert_close(off, torch.zeros_like(off), atol=1e-4, rtol=0)
    assert float(angle[1]) == pytest.approx(degrees)


def test_any_run_of_golden_spokes_is_nearly_even() -> None:
    for first in (0, 7, 40):
        k = radial(61, (32, 32), order="golden")[first : first + 13, -1]
        gaps = torch.atan2(k[:, 0], k[:, 1]).remainder(math.pi).sort().values.diff()
        assert float(gaps.max() / gaps.min()) < 2.7  # the square of the golden ratio


@pytest.mark.parametrize("density", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(32, 32), (40, 26)])
def test_spirals(shape: tuple[int, int], density: float) -> None:
    k = spiral(6, shape, density=density) / torch.tensor(shape)
    radius = k.norm(dim=-1)
    assert not radius[:, 0].any()
    assert bool((radius.diff(dim=1) > 0).all())
    assert 0.48 < float(radius.max()) < 0.5
    torch.testing.assert_close(radius[1:], radius[:1].expand(5, -1))  # the others are turned copies
    steps = k.diff(dim=1).norm(dim=-1)
    outer = steps[:, steps.shape[1] // 2 :]  # near the centre chords are shorter than the curve between samples
    assert float(outer.max() / outer.min()) < 1.01
    assert float(steps.max()) * max(shape) == pytest.approx(0.5, rel=0.05)
    turned = torch.atan2(*k[:, 3].unbind(-1)).diff().remainder(2 * math.pi)
    torch.testing.assert_close(turned, torch.full((5,), math.pi / 3, dtype=torch.float64))


def test_arms_of_a_spiral_are_one_cycle_apart() -> None:
    """At the edge, and everywhere for density 1: a ray from the centre meets 6 arms every 6 cycles."""
    k = spiral(6, (48, 48), samples=20000)[0]
    turns = torch.atan2(k[:, 0], k[:, 1]).diff().remainder(2 * math.pi).cumsum(0) / (2 * math.pi)
    radius = k.norm(dim=-1)[1:]
    for turn in range(1, 4):
        crossing = radius[(turns - turn).abs().argmin()]
        assert float(crossing) == pytest.approx(6 * turn, abs=0.02)


def test_cartesian() -> None:
    k = cartesian((5, 4))
    assert k.shape == (5, 4, 2)
    assert k[0, 0].tolist() == [-2, -2]
    assert k[2, 2].tolist() == [0, 0]
    assert k[4, 3].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: radial(0, (8, 8)), "spokes must be at least 1, got 0"),
        (lambda: radial(4, (8, 8), samples=0), "samples must be at least 1"),
        (lambda: radial(4, (8, 8), order="gold"), "order must be one of uniform, golden, tiny, got 'gold'"),
        (lambda: radial(4, (8, 8), order="tiny", tiny=0), "tiny must be at least 1"),
        (lambda: spiral(0, (8, 8)), "interleaves must be at least 1"),
        (lambda: spiral(2, (8, 8), density=0.5), "density must be at least 1"),
        (lambda: spiral(2, (8, 8), turns=0.0), "turns must be positive"),
        (lambda: spiral(2, (0, 8)), "height must be at least 1"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
