"""The noise level and the intensity scale that k-space tells by itself, on simulated scans of a smooth object."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from invdiff.operators import CartesianMRI
from invdiff.operators.calibration import calibration_window


def smooth_scan(n: int, coils: int) -> tuple[Tensor, Tensor]:
    """A smooth complex image (1, 1, n, n) and smooth maps (coils, n, n), seen by all pixels."""
    r = torch.linspace(-1, 1, n)
    rr, cc = r[:, None], r[None]
    blobs = torch.exp(-8 * (rr**2 + cc**2)) + 0.5 * torch.exp(-20 * ((rr - 0.3) ** 2 + (cc + 0.2) ** 2))
    angles = torch.arange(coils) * (2 * math.pi / coils)
    dr, dc = (t[:, None, None] for t in (angles.sin(), angles.cos()))
    maps = torch.polar(torch.exp(-0.5 * ((rr - dr) ** 2 + (cc - dc) ** 2)), angles[:, None, None] + 0 * rr)
    return torch.polar(blobs, rr + 0 * cc)[None, None], maps


def undersampled(n: int) -> Tensor:
    mask = torch.rand(n, generator=torch.Generator().manual_seed(5)) < 0.3
    mask[n // 2 - 10 : n // 2 + 10] = True
    return mask


@pytest.mark.parametrize("sigma", [0.003, 0.1])
def test_noise_level_from_the_edge_of_k_space(sigma: float) -> None:
    x, maps = smooth_scan(128, 6)
    op = CartesianMRI(undersampled(128), maps)
    y = op.simulate(x.repeat(3, 1, 1, 1), sigma, seed=1)
    estimate = op.estimate_sigma(y)
    # About 5000 values a scan: the median's standard error is 1.17 sigma / sqrt(5000), 1.7 per cent.
    assert estimate.shape == (3,)
    assert (estimate / sigma - 1).abs().max() < 0.06
    assert torch.equal(op.estimate_sigma(y[1:2]), estimate[1:2])
    torch.testing.assert_close(op.estimate_sigma(10 * y), 10 * estimate)


def test_noise_level_is_per_item_and_ignores_filled_zeros() -> None:
    x, maps = smooth_scan(96, 4)
    op = CartesianMRI(torch.ones(96, 96), maps)
    y = torch.cat([op.simulate(x, 0.01), op.simulate(x, 0.04)])
    y[..., :8] = 0
    estimate = op.estimate_sigma(y)
    assert (estimate / torch.tensor([0.01, 0.04]) - 1).abs().max() < 0.06
    assert op.estimate_sigma(torch.zeros_like(y)).tolist() == [0, 0]


@pytest.mark.parametrize("coils", [0, 6])
def test_reference_image_tells_the_scale(coils: int) -> None:
    x, maps = smooth_scan(96, max(coils, 1))
    op = CartesianMRI(undersampled(96), maps if coils else None, shape=(96, 96))
    y = op.simulate(x, 0.001)
    reference = op.reference_image(y)
    wanted, came = (np.percentile(v.abs().numpy(), 99) for v in (x, reference))
    assert came == pytest.approx(wanted, rel=0.1)
    torch.testing.assert_close(op.reference_image(7 * y), 7 * reference, rtol=1e-4, atol=1e-4)


def test_reference_image_reads_only_the_calibration_region() -> None:
    x, maps = smooth_scan(48, 3)
    mask = undersampled(48)
    op = CartesianMRI(mask, maps)
    y = op(x)
    loud = y.clone()
    loud[..., 0] += 100
    loud[..., -1] -= 100
    assert torch.equal(op.reference_image(loud), op.reference_image(y))


def test_reference_image_without_calibration_region() -> None:
    """Each item by its own mask: gradient steps where the centre is not sampled, as if it were alone."""
    x, _ = smooth_scan(48, 1)
    sparse = (torch.arange(48) % 2 == 0).expand(48, 48)
    masks = torch.stack([sparse, undersampled(48).expand(48, 48)])
    y = CartesianMRI(masks)(x.repeat(2, 1, 1, 1))
    both = CartesianMRI(masks).reference_image(y)
    for i in range(2):
        alone = CartesianMRI(masks[i]).reference_image(y[i : i + 1])
        torch.testing.assert_close(both[i : i + 1], alone)
    assert both.abs().amax((1, 2, 3)).min() > 0.3


@pytest.mark.parametrize(("height", "width"), [(20, 24), (21, 25), (21, 24)])
def test_window_covers_the_largest_centred_rectangle(height: int, width: int) -> None:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[height // 2 - 5 : height // 2 + 6, width // 2 - 4 : width // 2 + 5] = True
    mask[0], mask[:, 1] = True, True  # sampled, but not connected to the centre
    window = calibration_window(mask)
    assert window is not None
    assert window[height // 2, width // 2] == 1
    assert torch.equal(window > 0, mask & (window > 0))
    assert int((window > 0).sum()) == 11 * 9
    inside = window[height // 2 - 5 : height // 2 + 6]
    torch.testing.assert_close(inside, inside.flip(0))


def test_window_needs_seven_lines() -> None:
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[:, 8:13] = True
    assert calibration_window(mask) is None
    mask[:, 7:14] = True
    assert calibration_window(mask) is not None
