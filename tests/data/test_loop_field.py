"""The field on the axis of a loop of radius R: B = 2 pi R^2 / (d^2 + R^2)^(3/2) for unit current and mu / 4 pi = 1."""

import math

import pytest
import torch

from invdiff.data.coils import _loop_fields


@pytest.mark.parametrize("angle", [0.0, 0.5 * math.pi, 2.0])
def test_field_on_the_axis(angle: float) -> None:
    radius, distance = 0.4, 1.5
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    grid = torch.stack([t * math.cos(angle), t * math.sin(angle)])[:, None]
    one = torch.ones(1, dtype=torch.float64)
    field = _loop_fields(grid, angle * one, distance * one, radius)[0, 0]
    # the code leaves out the constant R d phi of the segments
    field = field * radius * 2 * math.pi / 32
    wanted = 2 * math.pi * radius**2 / ((distance - t) ** 2 + radius**2) ** 1.5
    torch.testing.assert_close(field.abs(), wanted, rtol=1e-9, atol=0)
    direction = torch.polar(torch.ones_like(t), torch.full_like(t, -angle))  # B_x - i B_y of a radial field
    torch.testing.assert_close((field / direction / wanted).imag, torch.zeros_like(t), rtol=0, atol=1e-9)
