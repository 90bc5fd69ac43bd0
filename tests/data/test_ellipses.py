"""Exact integrals of ellipses against sums over their images."""

import math

import torch

from invdiff.data.ellipses import Ellipse, eight_ellipses, ellipse_image, line_integrals, strip_means

TILTED = Ellipse(3.0, -4.0, 12.0, 5.0, 0.6, 0.5)


def test_image_has_the_area_and_the_place() -> None:
    image = ellipse_image([TILTED], (60, 120), pixel=(1.0, 0.5), center=(1.0, -2.0))
    y, x = 1.0 - (torch.arange(60) - 29.5), -2.0 + 0.5 * (torch.arange(120) - 59.5)
    mass = float(image.sum()) * 0.5
    assert math.isclose(mass, 0.5 * math.pi * 12 * 5, rel_tol=1e-3)
    assert math.isclose(float((image * x).sum()) * 0.5 / mass, 3.0, rel_tol=1e-3)
    assert math.isclose(float((image * y[:, None]).sum()) * 0.5 / mass, -4.0, rel_tol=1e-3)
    xy = float((image * (x - 3) * (y[:, None] + 4)).sum()) * 0.5 / mass
    assert math.isclose(xy, (12**2 - 5**2) / 8 * math.sin(1.2), rel_tol=1e-2)  # tilted upwards to the right


def test_pixels_are_means_of_samples() -> None:
    fine = ellipse_image([TILTED], (48, 48), pixel=(0.25, 0.25), center=(-4.0, 3.0), samples=1)
    coarse = ellipse_image([TILTED], (12, 12), center=(-4.0, 3.0), samples=4)
    torch.testing.assert_close(coarse, fine.unfold(0, 4, 4).unfold(1, 4, 4).mean((-2, -1)))


def test_strips_are_means_of_lines() -> None:
    ellipses = eight_ellipses(20.0)
    t, s = torch.tensor([0.0, 0.4, 2.0], dtype=torch.float64)[:, None], torch.arange(-19.0, 20.0, dtype=torch.float64)
    places = (torch.arange(200, dtype=torch.float64) + 0.5) / 200 - 0.5
    lines = line_integrals(ellipses, t[..., None], s[:, None] + places).mean(-1)
    torch.testing.assert_close(strip_means(ellipses, t, s, 1.0), lines, rtol=1e-3, atol=1e-4)
    mass = sum(e.value * math.pi * e.a * e.b for e in ellipses)
    torch.testing.assert_close(strip_means(ellipses, t, s, 1.0).sum(-1), torch.full((3,), mass, dtype=torch.float64))


def test_a_disc_is_where_its_centre_projects() -> None:
    disc = Ellipse(6.0, 2.0, 1.0, 1.0, 0.0, 1.0)
    t, s = torch.tensor([[0.0], [math.pi / 2]], dtype=torch.float64), torch.tensor([6.0, 2.0], dtype=torch.float64)
    assert line_integrals([disc], t, s).tolist() == [[2.0, 0.0], [0.0, 2.0]]
