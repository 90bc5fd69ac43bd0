"""|p - q| >= r(p), r(k) = r0 (1 + slope |k|): masks of points, and of trajectories on a grid.

A mask is bool (h, w), True is sampled, the centre of k-space is (h // 2, w // 2). What acceleration a mask has in the
end is told by `invdiff.data.masks.achieved_acceleration`.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from invdiff.checks import require
from invdiff.data.masks import centred
from invdiff.random import mix

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2  # 111.2 degrees
_LEVELS = 8  # distances are kept to an eighth of a grid step


def poisson_mask(
    shape: tuple[int, int],
    acceleration: float,
    calibration: int | tuple[int, int] = 24,
    *,
    slope: float = 2.0,
    corners: bool = False,
    seed: int = 0,
) -> Tensor:
    """Variable-density Poisson disc: random points that keep a distance, which grows away from the centre.

    Points are visited in random order; one is taken unless an earlier point p lies nearer than r(p). The scale r0 is
    the largest, by bisection, that leaves enough points; those taken last, beyond the wanted number, are dropped, so
    that the acceleration is met exactly (calibration block included).

    Args:
        shape: (h, w).
        acceleration: grid points per sampled point.
        calibration: side, or sides, of the fully sampled centre block.
        slope: growth of the distance; 0 has one density everywhere. |k| is 1 at the middle of each edge.
        corners: whether points outside the ellipse that fits the grid may be sampled.
        seed: the mask depends on the arguments alone.

    Raises:
        ValueError: numbers that contradict each other; the message names them.

    Source: Bridson, Fast Poisson disk sampling in arbitrary dimensions, SIGGRAPH 2007 (the condition; visiting a
        grid in random order takes the place of its candidate list).
    """
    sides = (calibration, calibration) if isinstance(calibration, int) else calibration
    require("slope", slope, at_least=0)
    centre, radius = _block(shape, sides), _radius(shape)
    allowed = centre | (radius <= 1) if not corners else np.ones(shape, np.bool_)
    wanted = _wanted(shape, acceleration, int(centre.sum()), int(allowed.sum())) - int(centre.sum())
    order = _visits(shape, mix(seed, *shape, *sides))
    order = order[(allowed & ~centre).reshape(-1)[order]]
    taken, low, high = order.tolist(), 0.0, 1 + 1.1 * math.sqrt(acceleration)  # above the densest packing
    while high - low > 0.05:
        middle = (low + high) / 2
        found = _thrown(order, shape, middle * (1 + slope * radius))
        taken, low, high = (found, middle, high) if len(found) >= wanted else (taken, low, middle)
    mask = centre.copy()
    mask.reshape(-1)[taken[:wanted]] = True
    return torch.from_numpy(mask)


def radial_mask(shape: tuple[int, int], spokes: int, *, golden: bool = True, start: float = 0.0) -> Tensor:
    """Grid points nearest to diameters of k-space.

    Args:
        shape: (h, w). spokes: number of diameters.
        golden: angles grow by the golden angle (111 degrees), else by pi / spokes.
        start: angle of the first spoke from the column axis, radians.

    Source: Winkelmann et al., IEEE Transactions on Medical Imaging 26:68, 2007.
    """
    require("spokes", spokes, at_least=1)
    angle = start + np.arange(spokes)[:, None] * (GOLDEN_ANGLE if golden else math.pi / spokes)
    rho = np.linspace(-1, 1, 4 * max(shape))
    return _nearest(shape, rho * np.sin(angle), rho * np.cos(angle))


def spiral_mask(shape: tuple[int, int], interleaves: int, turns: float, *, density: float = 1.0) -> Tensor:
    """Grid points nearest to Archimedean spirals, |k| = s^density for angle 2 pi turns s, s in [0, 1].

    Args:
        shape: (h, w). interleaves: spirals, turned by 2 pi / interleaves each. turns: of each spiral.
        density: 1 is even along the radius; above 1 the centre is denser.
    """
    require("interleaves", interleaves, at_least=1)
    require("turns", turns, above=0)
    require("density", density, above=0)
    s = np.linspace(0, 1, max(8, math.ceil(8 * math.pi * turns * max(shape))))
    angle = 2 * math.pi * (turns * s + np.arange(interleaves)[:, None] / interleaves)
    return _nearest(shape, s**density * np.sin(angle), s**density * np.cos(angle))


def _wanted(shape: tuple[int, int], acceleration: float, centre: int, allowed: int) -> int:
    total = shape[0] * shape[1]
    if not 1 <= acceleration <= total:
        raise ValueError(f"acceleration must lie between 1 and the {total} points of {shape}, got {acceleration}.")
    wanted = round(total / acceleration)
    if wanted < centre:
        raise ValueError(
            f"the calibration block has {centre} points, acceleration {acceleration:g} of {shape} allows {wanted}; "
            "lower one of the two."
        )
    if wanted > allowed:
        raise ValueError(
            f"acceleration {acceleration:g} wants {wanted} points, the ellipse has {allowed}; raise it, or pass "
            "corners=True."
        )
    return wanted


def _block(shape: tuple[int, int], sides: tuple[int, int]) -> NDArray[np.bool_]:
    if not all(0 <= side <= n for side, n in zip(sides, shape, strict=True)):
        raise ValueError(f"a calibration block {sides} does not fit into {shape}.")
    mask = np.zeros(shape, np.bool_)
    mask[centred(shape[0], sides[0]), centred(shape[1], sides[1])] = True
    return mask


def _radius(shape: tuple[int, int]) -> NDArray[np.float64]:
    """|k|, 1 at the middle of each edge."""
    y, x = (((np.arange(n) - n // 2) / max(n / 2, 1)) ** 2 for n in shape)
    return np.sqrt(y[:, None] + x)


def _visits(shape: tuple[int, int], seed: int) -> NDArray[np.intp]:
    order = torch.randperm(shape[0] * shape[1], generator=Generator().manual_seed(seed))
    return order.numpy().astype(np.intp)


def _thrown(order: NDArray[np.intp], shape: tuple[int, int], distance: NDArray[np.float64]) -> list[int]:
    """Points taken, in the order of taking."""
    h, w = shape
    level = np.minimum(distance * _LEVELS, _LEVELS * max(shape)).astype(np.intp)
    pad = int(level.max()) // _LEVELS + 1
    blocked = np.zeros((h + 2 * pad, w + 2 * pad), np.bool_)
    discs = {int(n): _disc(int(n)) for n in np.unique(level)}
    taken = []
    for point in order.tolist():
        y, x = divmod(point, w)
        if not blocked[y + pad, x + pad]:
            disc = discs[int(level[y, x])]
            r = len(disc) // 2
            blocked[y + pad - r : y + pad + r + 1, x + pad - r : x + pad + r + 1] |= disc
            taken.append(point)
    return taken


def _disc(level: int) -> NDArray[np.bool_]:
    """Offsets nearer than level / 8 grid steps."""
    r = level // _LEVELS + 1
    y = np.arange(-r, r + 1) ** 2
    return (y[:, None] + y) * _LEVELS**2 < level**2


def _nearest(shape: tuple[int, int], ky: NDArray[np.float64], kx: NDArray[np.float64]) -> Tensor:
    """Points nearest to positions in units of the half width."""
    mask = np.zeros(shape, np.bool_)
    rows, columns = (np.rint(n // 2 + k * n / 2).astype(np.intp) for k, n in zip((ky, kx), shape, strict=True))
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    mask[rows[inside], columns[inside]] = True
    return torch.from_numpy(mask)
