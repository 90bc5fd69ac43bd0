"""Filtered backprojection against analytic ellipses, scikit-image and itself in other geometries."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.transform import iradon
from torch import Tensor

import invdiff
from invdiff.operators import Identity
from invdiff.operators.ct import ParallelBeamCT
from invdiff.operators.ct_geometry import FanGeometry, Geometry, ParallelGeometry
from invdiff.operators.projector import fill_bins
from invdiff.operators.ramp import WINDOWS, ramp_filter, ramp_kernel
from invdiff.operators.view_weights import ray_weights, view_spacing
from invdiff.solvers.fbp import filtered_backprojection
from tests.operators.ellipses import brain, head, sinogram

N, RADIUS = 65, 31.0
HALF = tuple(i * math.pi / 180 for i in range(180))
FULL = tuple(i * math.pi / 180 for i in range(360))
PARALLEL = ParallelGeometry(HALF, (N, N), 93, bin_width=1.0)


def fan(detector: str, angles: tuple[float, ...] = FULL, bins: int = 111) -> FanGeometry:
    lengths = {"source_distance": 130.0, "detector_distance": 100.0}
    return FanGeometry(angles, (N, N), bins, bin_width=1.5, detector=detector, **lengths)


def rmse(x: Tensor, geometry: Geometry) -> float:
    error = (x - head(geometry, RADIUS))[0, 0][brain(geometry, RADIUS)]
    return float(error.square().mean().sqrt())


def test_the_kernel_is_the_transform_of_a_cut_ramp() -> None:
    n, width = 64, 0.7
    response = width * torch.fft.fft(ramp_kernel(n, width)).real
    f = torch.fft.fftfreq(2 * n, width, dtype=torch.float64).abs()
    # a ramp of 2 n samples but for the foot, which the exact kernel lifts a little so that means are right
    torch.testing.assert_close(response[3:], f[3:], rtol=0.02, atol=1e-3)
    assert 0 < float(response[0]) < float(f[1])


def test_no_worse_than_scikit_image() -> None:
    """720 views of the Shepp-Logan head; scikit-image turns about pixel n // 2, which odd sizes share with us."""
    geometry = ParallelGeometry([i * math.pi / 720 for i in range(720)], (N, N), 93, bin_width=1.0)
    p = sinogram(geometry, RADIUS)
    theirs = iradon(p[0, 0].T.numpy(), np.rad2deg(geometry.angles), output_size=N, circle=False, filter_name="ramp")
    ours = filtered_backprojection(p, geometry)
    assert rmse(ours, geometry) <= rmse(torch.from_numpy(theirs)[None, None], geometry) * (1 + 1e-9)
    torch.testing.assert_close(ours[0, 0], torch.from_numpy(theirs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_fan_beams_reconstruct_the_head_as_well(detector: str) -> None:
    bar = 1.1 * rmse(filtered_backprojection(sinogram(PARALLEL, RADIUS), PARALLEL), PARALLEL)
    geometry = fan(detector)
    full = filtered_backprojection(sinogram(geometry, RADIUS), geometry)
    assert rmse(full, geometry) < bar
    for extra in (0.0, 0.5):  # Parker's weights, and Silver's for longer scans
        span = geometry.short_scan + extra
        short = replace(geometry, angles=[1.0 + (i + 0.5) * span / 240 for i in range(240)])
        assert rmse(filtered_backprojection(sinogram(short, RADIUS), short), short) < 1.05 * bar


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_fan_agrees_with_parallel_on_rebinned_data(detector: str) -> None:
    """Rays of the fan, read from its own sinogram where the parallel rays run."""
    geometry = fan(detector, tuple(i * math.pi / 360 for i in range(720)), bins=267)
    geometry = replace(geometry, bin_width=0.75)
    rows = replace(PARALLEL, bins=221, bin_width=geometry.axis_bin_width)
    p = sinogram(geometry, RADIUS)
    s = rows.detector_positions()
    g = torch.asin(s / geometry.source_distance)
    u = geometry.source_to_detector * (g.tan() if detector == "flat" else g)
    bins = (u - geometry.detector_positions()[0]) / geometry.bin_width
    views = (torch.tensor(HALF, dtype=torch.float64)[:, None] + g).remainder(2 * math.pi) * 360 / math.pi
    rebinned = _bilinear(p[0, 0], views, bins.expand_as(views))
    inside = brain(PARALLEL, 0.95 * RADIUS)
    parallel = filtered_backprojection(rebinned[None, None], rows, "hann", 0.5)[0, 0][inside]
    wrong = replace(geometry, detector={"flat": "curved", "curved": "flat"}[detector])
    found = [filtered_backprojection(p, g, "hann", 0.5)[0, 0][inside] for g in (geometry, wrong)]
    right, other = (float((x - parallel).norm() / parallel.norm()) for x in found)
    assert right < 0.01 < 0.015 < other


def _bilinear(p: Tensor, views: Tensor, bins: Tensor) -> Tensor:
    """p (view, bin), periodic in views, at fractional places."""
    v, b = views.floor().long(), bins.floor().long()
    fv, fb = views - v, bins - b
    rows = [p[(v + i) % len(p), b + j] for i in (0, 1) for j in (0, 1)]
    return (1 - fv) * ((1 - fb) * rows[0] + fb * rows[1]) + fv * ((1 - fb) * rows[2] + fb * rows[3])


def test_views_may_come_in_any_order_and_cover_a_full_turn() -> None:
    whole = replace(PARALLEL, angles=FULL)
    reference = filtered_backprojection(sinogram(PARALLEL, RADIUS), PARALLEL)
    torch.testing.assert_close(filtered_backprojection(sinogram(whole, RADIUS), whole), reference)
    order = torch.randperm(180, generator=torch.Generator().manual_seed(0)).tolist()
    mixed = replace(PARALLEL, angles=[HALF[i] for i in order])
    torch.testing.assert_close(filtered_backprojection(sinogram(mixed, RADIUS), mixed), reference)
    golden = replace(PARALLEL, angles=[(i * math.pi * 0.61803399) % math.pi for i in range(377)])
    assert rmse(filtered_backprojection(sinogram(golden, RADIUS), golden), golden) < 1.2 * rmse(reference, PARALLEL)


def test_a_shifted_detector_and_an_image_off_the_axis() -> None:
    bar = rmse(filtered_backprojection(sinogram(PARALLEL, RADIUS), PARALLEL), PARALLEL)
    shifted = replace(PARALLEL, offset=1.25)
    assert rmse(filtered_backprojection(sinogram(shifted, RADIUS), shifted), shifted) < 1.3 * bar
    part = replace(PARALLEL, shape=(21, 15), center=(6.0, -3.0))
    whole = filtered_backprojection(sinogram(PARALLEL, RADIUS), PARALLEL)
    torch.testing.assert_close(filtered_backprojection(sinogram(part, RADIUS), part), whole[:, :, 16:37, 22:37])


@pytest.mark.parametrize("pixel", [0.5, (1.0, 0.6)])
def test_values_do_not_depend_on_units(pixel: float | tuple[float, float]) -> None:
    """The same head, larger: line integrals grow with it, the attenuation stays."""
    geometry = replace(PARALLEL, pixel=pixel, bin_width=0.5)
    x = filtered_backprojection(sinogram(geometry, 14.0), geometry, "hann")
    centre = x[0, 0, 28:37, 28:37]
    assert float((centre - head(geometry, 14.0)[0, 0, 28:37, 28:37]).mean().abs()) < 2e-3  # of values of 0.2


def test_windows_smooth_in_their_order_and_keep_the_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, 180, 93, generator=generator, dtype=torch.float64)
    level = [float(filtered_backprojection(noise, PARALLEL, w).std()) for w in
             ("ramp", "shepp-logan", "cosine", "hamming", "hann")]  # fmt: skip
    assert level == sorted(level, reverse=True)
    assert len(WINDOWS) == len(level)
    p = sinogram(PARALLEL, RADIUS)
    means = [float(filtered_backprojection(p, PARALLEL, w)[0, 0, 20:45, 20:45].mean()) for w in WINDOWS]
    assert np.ptp(means) < 2e-3
    with pytest.raises(ValueError, match="Did you mean 'hann'"):
        ramp_filter(p, 1.0, "han")
    with pytest.raises(ValueError, match="cutoff must be above 0 and at most 1"):
        ramp_filter(p, 1.0, cutoff=1.5)


def test_weights_of_a_line_sum_to_one() -> None:
    for span in (math.pi + 1.0, 2 * math.pi, 3.6):
        angles = [0.2 + (i + 0.5) * span / 4000 for i in range(4000)]
        geometry = fan("curved", tuple(angles), bins=91)
        share = ray_weights(geometry) * 4000 / span
        g = geometry.fan_angles(geometry.detector_positions())
        first = torch.tensor(angles, dtype=torch.float64)[:, None]
        other = ((first + math.pi - 2 * g - 0.2).remainder(2 * math.pi) / span * 4000 - 0.5).round().long()
        measured = other < 4000
        pair = share + torch.where(measured, share.flip(1).gather(0, other.clamp(max=3999)), 0.0)
        torch.testing.assert_close(pair, torch.ones_like(pair), rtol=0, atol=0.02)


@pytest.mark.parametrize("geometry", [fan("flat"), replace(PARALLEL, angles=FULL)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_detector_that_sees_one_side(geometry: Geometry, side: int) -> None:
    bar = 1.3 * rmse(filtered_backprojection(sinogram(geometry, RADIUS), geometry), geometry)
    half = replace(geometry, bins=geometry.bins * 2 // 3, offset=side * geometry.bins / 6)
    p = sinogram(half, RADIUS)
    assert float(p[..., 0 if side > 0 else -1].min()) > 1  # cut off within the head
    assert rmse(filtered_backprojection(p, half), half) < bar


def test_limited_angles_keep_their_spacing() -> None:
    spacing, start, length = view_spacing(torch.tensor([0.3, 0.1, 0.2], dtype=torch.float64), math.pi)
    torch.testing.assert_close(spacing, torch.full((3,), 0.1, dtype=torch.float64))
    assert (start, length) == pytest.approx((0.05, 0.3))
    assert view_spacing(torch.tensor([0.5], dtype=torch.float64), math.pi)[0].tolist() == [math.pi]


def test_missing_bins_are_interpolated_along_their_view() -> None:
    p = torch.tensor([[[[0.0, 9.0, 9.0, 6.0, 9.0], [9.0, 9.0, 9.0, 9.0, 9.0]]]])
    known = torch.tensor([[[[True, False, False, True, False], [False] * 5]]])
    assert fill_bins(p, known).tolist() == [[[[0.0, 2.0, 4.0, 6.0, 6.0], [0.0] * 5]]]


SMALL = ParallelBeamCT([i * math.pi / 90 for i in range(90)], (N, N), bins=93)


def test_the_method_is_the_function_whatever_the_weights() -> None:
    p = sinogram(SMALL.geometry, RADIUS).float()
    wanted = filtered_backprojection(p, SMALL.geometry, "hann")
    plain = invdiff.solve(p, SMALL, method="fbp", window="hann")
    assert torch.equal(plain.x, wanted)
    sigma = 0.1 + torch.rand(90, 93, generator=torch.Generator().manual_seed(0))[None, None]
    weighted = invdiff.solve(p, SMALL, method="fbp", sigma_y=sigma, window="hann")
    torch.testing.assert_close(weighted.x, wanted, rtol=1e-4, atol=1e-5)


def test_unused_bins_are_filled_in() -> None:
    p = sinogram(SMALL.geometry, RADIUS).float()
    sigma = torch.ones_like(p)
    sigma[..., 40] = torch.inf
    broken = torch.where(sigma.isinf(), 50.0, p)
    whole = invdiff.solve(p, SMALL, method="fbp", window="hann").x
    repaired = invdiff.solve(broken, SMALL, method="fbp", sigma_y=sigma, window="hann").x
    worst = invdiff.solve(broken, SMALL, method="fbp", window="hann").x
    assert float((repaired - whole).norm()) < 0.05 * float(whole.norm()) < 0.1 * float((worst - whole).norm())


@pytest.mark.parametrize("method", ["fbp", "sirt"])
def test_other_operators_are_refused(method: str) -> None:
    op = Identity((1, 4, 4))
    with pytest.raises(ValueError, match=f"{method} does not work behind Identity: it needs the geometry"):
        invdiff.solve(torch.zeros(1, 1, 4, 4), op, method=method)
