"""What k-space tells by itself: the fully sampled region around its centre, and the noise level at its edge."""

import math

import torch
from torch import Tensor

MAD = 0.6744897501960817  # median of |n| for standard normal n
HALF_LINES = 4  # samples from the centre to the edge that a usable region has at least
SHARE, LEAST = 0.1, 256  # part of the sampled points that tells the noise, and their least number


def calibration_window(mask: Tensor) -> Tensor | None:
    """A smooth window over the largest fully sampled rectangle centred on the zero frequency.

    Args:
        mask: (H, W) bool, centred.

    Returns:
        (H, W) float32, `bell` along both axes, or None where fewer than seven lines around the centre are sampled.
    """
    extent = calibration_extent(mask)
    if extent is None:
        return None
    sides = zip(mask.shape, extent, strict=True)
    places = ((torch.arange(n, dtype=torch.float32, device=mask.device) - n // 2, m) for n, m in sides)
    rows, columns = (bell(place.abs(), m) for place, m in places)
    return torch.outer(rows, columns)


def calibration_extent(mask: Tensor) -> tuple[int, int] | None:
    """First distances from the centre, along rows and columns, outside the largest fully sampled centred rectangle.

    None where fewer than seven lines around the centre are sampled; mask as for `calibration_window`.
    """
    quadrant = _fold(_fold(mask).T).T  # (i, j): whether (+-i, +-j) are all sampled
    depth = quadrant.long().cumprod(0).sum(0).cummin(0).values  # rows that columns 0..j all have
    area = (2 * depth - 1) * (2 * torch.arange(len(depth), device=mask.device) + 1)
    columns = int(area.argmax()) + 1
    rows = int(depth[columns - 1])
    return None if min(rows, columns) < HALF_LINES else (rows, columns)


def _fold(mask: Tensor) -> Tensor:
    """Rows 0, 1, ... from the centre, true where both row c + i and row c - i are."""
    c, i = len(mask) // 2, torch.arange((len(mask) + 1) // 2, device=mask.device)
    return mask[c + i] & mask[c - i]


def bell(distance: Tensor, m: int) -> Tensor:
    """w(i) = 1 up to i = m / 2, cos^2(pi (i / m - 1/2)) up to m, the first distance outside, and 0 beyond.

    Wide enough to keep the intensity of thin bright structures, without ringing.
    """
    part = distance / m
    return torch.where(part < 1, torch.cos(math.pi * (part - 0.5).clamp(min=0)) ** 2, 0.0)


def edge_noise(y: Tensor, mask: Tensor) -> Tensor:
    """`outermost_noise` of Cartesian k-space, the corners being farthest.

    Args:
        y: (coil, H, W) complex. mask: (H, W) bool.
    """
    return outermost_noise(y[:, mask], _distance(mask)[mask])


def outermost_noise(values: Tensor, distance: Tensor) -> Tensor:
    """Noise standard deviation per real component from the sampled points farthest from the centre.

    The median of |Re y| and |Im y| over these points and all coils, divided by that of a standard normal: a tenth of
    the points. Signal that reaches the edge of k-space makes it too high. Points that are exactly zero in all coils
    were filled in, not measured, and do not count.

    Args:
        values: (coil, n) complex. distance: (n,) from the centre of k-space.

    Returns:
        (), real; 0 where the values are zero everywhere.
    """
    values = values[:, distance.argsort(descending=True, stable=True)]
    values = values[:, (values != 0).any(0)]
    count = max(math.ceil(SHARE * values.shape[1]), LEAST)
    components = torch.view_as_real(values[:, :count].resolve_conj()).abs()
    return components.median() / MAD if components.numel() else components.sum()


def _distance(mask: Tensor) -> Tensor:
    """Distance from the centre of k-space, each axis in units of its length, squared."""
    rows, columns = ((torch.arange(n, dtype=torch.float32, device=mask.device) - n // 2) / n for n in mask.shape)
    return rows[:, None] ** 2 + columns**2
