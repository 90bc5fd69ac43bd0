"""What k-space tells by itself: the fully sampled region around its centre, and the noise level at its edge."""

import math

import torch
from torch import Tensor

MAD = 0.6744897501960817  # median of |n| for standard normal n
HALF_LINES = 4  # samples from the centre to the edge that a usable region has at least
SHARE, LEAST = 0.1, 256  # part of the sampled points that tells the noise, and their least number


def calibration_window(mask: Tensor) -> Tensor | None:
    """A smooth window over the largest fully sampled rectangle centred on the zero frequency.

    Along each axis, at distance i from the centre and with m the first distance outside, w(i) = 1 up to i = m / 2 and
    cos^2(pi (i / m - 1/2)) beyond: wide enough to keep the intensity of thin bright structures, without ringing.

    Args:
        mask: (H, W) bool, centred.

    Returns:
        (H, W) float32, 1 at the centre, or None where fewer than seven lines around the centre are sampled.
    """
    quadrant = _fold(_fold(mask).T).T  # (i, j): whether (+-i, +-j) are all sampled
    depth = quadrant.long().cumprod(0).sum(0).cummin(0).values  # rows that columns 0..j all have
    area = (2 * depth - 1) * (2 * torch.arange(len(depth), device=mask.device) + 1)
    columns = int(area.argmax()) + 1
    rows = int(depth[columns - 1])
    if min(rows, columns) < HALF_LINES:
        return None
    return torch.outer(_bell(rows, mask.shape[0]), _bell(columns, mask.shape[1])).to(mask.device)


def _fold(mask: Tensor) -> Tensor:
    """Rows 0, 1, ... from the centre, true where both row c + i and row c - i are."""
    c, i = len(mask) // 2, torch.arange((len(mask) + 1) // 2, device=mask.device)
    return mask[c + i] & mask[c - i]


def _bell(m: int, n: int) -> Tensor:
    part = (torch.arange(n) - n // 2).abs() / m
    return torch.where(part < 1, torch.cos(math.pi * (part - 0.5).clamp(min=0)) ** 2, 0.0)


def edge_noise(y: Tensor, mask: Tensor) -> Tensor:
    """Noise standard deviation per real component from the sampled points farthest from the centre.

    The median of |Re y| and |Im y| over these points and all coils, divided by that of a standard normal: a tenth of
    the points, the corners first. Signal that reaches the edge of k-space makes it too high. Points that are exactly
    zero in all coils were filled in, not measured, and do not count.

    Args:
        y: (coil, H, W) complex. mask: (H, W) bool.

    Returns:
        (), real; 0 where y is zero everywhere.
    """
    values = y[:, mask][:, _distance(mask)[mask].argsort(descending=True, stable=True)]
    values = values[:, (values != 0).any(0)]
    count = max(math.ceil(SHARE * values.shape[1]), LEAST)
    components = torch.view_as_real(values[:, :count].resolve_conj()).abs()
    return components.median() / MAD if components.numel() else components.sum()


def _distance(mask: Tensor) -> Tensor:
    """Distance from the centre of k-space, each axis in units of its length, squared."""
    rows, columns = ((torch.arange(n, device=mask.device) - n // 2) / n for n in mask.shape)
    return rows[:, None] ** 2 + columns**2
