"""k(t) in cycles per field of view: radial, spiral and Cartesian trajectories.

Positions are (read-outs, samples, 2) float64, axis 0 along image rows and axis 1 along columns, between -N/2 and N/2
for N pixels. Operators take them flattened: trajectory.reshape(-1, 2). In single precision a position would be wrong by
1e-5 cycles, which shows at accuracies below 1e-4.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Order = Literal["uniform", "golden", "tiny"]
GOLDEN = (1 + 5**0.5) / 2


def radial(
    spokes: int,
    shape: tuple[int, int],
    *,
    samples: int | None = None,
    order: Order = "uniform",
    tiny: int = 7,
) -> Tensor:
    """Spokes through the centre from edge to edge of k-space, (spokes, samples, 2).

    Sample samples // 2 of every spoke is the centre. Angles start along the columns and turn towards the rows.

    Args:
        shape: (H, W); k-space ends at the ellipse of half axes H/2 and W/2, so that resolution is the same in all
            directions of an image with square pixels.
        samples: per spoke; None is twice the longer side, the usual oversampling of two.
        order: "uniform" divides half a turn evenly; "golden" goes on by 111.25 degrees, so that any run of spokes is
            nearly even; "tiny" by the smaller golden angle number `tiny` (23.63 degrees for 7).
        tiny: number N of the tiny golden angle pi / (tau + N - 1), tau = (1 + sqrt 5) / 2.

    Raises:
        ValueError: a number below 1, or an unknown order.

    Source: Winkelmann et al., An Optimal Radial Profile Order Based on the Golden Ratio for Time-Resolved MRI, 2007;
        Wundrak et al., A Small Surrogate for the Golden Angle in Time-Resolved Radial MRI Based on Generalized
        Fibonacci Sequences, 2015.
    """
    n = 2 * max(shape) if samples is None else samples
    _positive(spokes=spokes, samples=n, tiny=tiny, height=shape[0], width=shape[1])
    steps = {"uniform": math.pi / spokes, "golden": math.pi / GOLDEN, "tiny": math.pi / (GOLDEN + tiny - 1)}
    if order not in steps:
        raise ValueError(f"order must be one of {', '.join(steps)}, got {order!r}.")
    radius = (torch.arange(n, dtype=torch.float64) - n // 2) / n
    angle = torch.arange(spokes, dtype=torch.float64) * steps[order]
    return _positions(radius, angle[:, None], shape)


def spiral(
    interleaves: int,
    shape: tuple[int, int],
    *,
    samples: int | None = None,
    turns: float | None = None,
    density: float = 1.0,
) -> Tensor:
    """Spirals from the centre outwards, (interleaves, samples, 2).

        k = N/2 tau^density exp(2 pi i (turns tau + m / interleaves)),   0 <= tau < 1

    with samples at constant distance along the curve, as if gradients had no limits of slew.

    Args:
        shape: (H, W), as for `radial`.
        samples: per interleave; None for half a cycle from one to the next.
        turns: of each interleave; None for the number at which neighbouring arms are one cycle apart at the edge.
        density: 1 is Archimedes' spiral, sampled evenly; above 1 the centre is denser.

    Raises:
        ValueError: a number below 1, turns that are not positive.

    Source: Kim, Adalsteinsson and Spielman, Simple Analytic Variable Density Spiral Design, 2003, for the powers.
    """
    _positive(interleaves=interleaves, density=density, height=shape[0], width=shape[1])
    reach = max(shape) / 2
    turns = density * reach / interleaves if turns is None else turns
    if not turns > 0:
        raise ValueError(f"turns must be positive, got {turns}.")
    fine = np.linspace(0, 1, 64 * math.ceil(turns) + 1024)
    curve = reach * fine**density * np.exp(2j * math.pi * turns * fine)
    length = np.concatenate(([0], np.abs(np.diff(curve)).cumsum()))
    n = math.ceil(2 * length[-1]) if samples is None else samples
    _positive(samples=n)
    tau = torch.from_numpy(np.interp(np.arange(n) / n * length[-1], length, fine))
    start = torch.arange(interleaves, dtype=torch.float64)[:, None] / interleaves
    return _positions(tau**density / 2, 2 * math.pi * (turns * tau + start), shape)


def cartesian(shape: tuple[int, int]) -> Tensor:
    """The points of the Cartesian grid, row by row, (H, W, 2)."""
    axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def _positions(radius: Tensor, angle: Tensor, shape: tuple[int, int]) -> Tensor:
    """Radius 1/2 is the edge; rows first."""
    return torch.stack((shape[0] * radius * angle.sin(), shape[1] * radius * angle.cos()), -1)


def _positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not number >= 1:
            raise ValueError(f"{name} must be at least 1, got {number}.")
