"""Cone beams by filtered backprojection: the fan in the central plane, balls off it, short scans, shifted detectors."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import ConeBeamCT
from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.solvers.fbp import filtered_backprojection
from tests.operators.balls import Ball, cone_integrals, volume

BALL = Ball((7.0, -5.0, 9.0), 6.0, 0.02)
BALLS = [BALL, Ball((-8.0, 4.0, -3.0), 8.0, 0.01)]


def turn(views: int, span: float = 2 * math.pi, start: float = 0.0) -> tuple[float, ...]:
    return tuple(start + (i + 0.5) * span / views for i in range(views))


GEOMETRY = ConeGeometry(
    turn(120),
    (31, 41, 41),
    51,
    75,
    source_distance=150.0,
    detector_distance=75.0,
    bin_width=1.5,
    row_height=1.5,
)


def inside(geometry: ConeGeometry, ball: Ball, margin: float = 2.0) -> Tensor:
    """Voxels at least this far within a ball, (D, H, W) bool."""
    return volume(geometry, [ball._replace(radius=ball.radius - margin, value=1.0)], 1)[0, 0] == 1


@pytest.mark.parametrize("span", [2 * math.pi, GEOMETRY.fan.short_scan + 0.1])
def test_the_central_slice_is_that_of_the_fan(span: float) -> None:
    geometry = replace(GEOMETRY, angles=turn(90, span, 1.0))
    p = cone_integrals(geometry, BALLS, 1)[None, None]
    x = filtered_backprojection(p, geometry, "hann")
    fan = filtered_backprojection(p[:, :, :, 25], geometry.fan, "hann")
    assert x.shape == (1, 1, 31, 41, 41)
    assert float((x[:, :, 15] - fan).norm() / fan.norm()) < 1e-12
    assert float((x[:, :, 16] - fan).norm() / fan.norm()) > 0.02


@pytest.mark.parametrize("span", [2 * math.pi, GEOMETRY.fan.short_scan + 0.1])
def test_values_in_balls_off_the_central_plane(span: float) -> None:
    """The ball lies at cone angles of 1 to 6 degrees."""
    geometry = replace(GEOMETRY, angles=turn(120, span, 0.5))
    x = filtered_backprojection(cone_integrals(geometry, BALLS, 1)[None, None], geometry)[0, 0]
    for ball in BALLS:
        assert float(x[inside(geometry, ball)].mean()) == pytest.approx(ball.value, rel=0.02)
    mirrored = BALL._replace(centre=(7.0, -5.0, -9.0))
    assert abs(float(x[inside(geometry, mirrored)].mean())) < 0.05 * BALL.value


def test_voxels_and_bins_of_other_sizes() -> None:
    """Values are per mm whatever the spacings, with the volume and the detector off their centres."""
    geometry = replace(
        GEOMETRY,
        shape=(21, 40, 50),
        pixel=(1.4, 1.1, 0.8),
        rows=30,
        row_height=2.5,
        offset=(1.5, 0.25),
        center=(2.0, 1.0, -1.5),
    )
    x = filtered_backprojection(cone_integrals(geometry, BALLS, 1)[None, None], geometry)[0, 0]
    for ball in BALLS:
        assert float(x[inside(geometry, ball)].mean()) == pytest.approx(ball.value, rel=0.02)


def test_a_detector_that_sees_one_side() -> None:
    half = replace(GEOMETRY, bins=50, offset=(0.0, 12.5))
    p = cone_integrals(half, BALLS, 1)[None, None]
    assert float(p[..., 0].max()) > 0.1  # cut off within the balls
    x = filtered_backprojection(p, half)[0, 0]
    for ball in BALLS:
        assert float(x[inside(half, ball)].mean()) == pytest.approx(ball.value, rel=0.04)


def test_the_method_is_the_function() -> None:
    op = ConeBeamCT(turn(60), (9, 24, 24), 17, 45, source_distance=150.0, detector_distance=75.0)
    truth = volume(op.geometry, [Ball((2.0, 3.0, 1.0), 6.0, 0.02)]).float()
    y = op(truth)
    x = invdiff.solve(y, op, method="fbp", window="hann").x
    assert torch.equal(x, filtered_backprojection(y, op.geometry, "hann"))
    assert float((x - truth).norm() / truth.norm()) < 0.3
    sigma = torch.ones_like(y)
    sigma[..., 20] = torch.inf
    broken = torch.where(sigma.isinf(), 50.0, y)
    repaired = invdiff.solve(broken, op, method="fbp", sigma_y=sigma, window="hann").x
    assert float((repaired - x).norm()) < 0.1 * float(x.norm())
