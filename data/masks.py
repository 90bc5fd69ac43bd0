"""R = width / sampled lines: Cartesian sampling masks and their calibration region.

A mask is bool, (w,) for lines of phase encoding or (h, w) for points; True is sampled; the centre of k-space is index
n // 2. The centre block of L lines starts at (n - L + 1) // 2.
"""

from typing import Literal

import torch
from torch import Generator, Tensor

from invdiff.random import mix

Region = tuple[slice, slice]


def cartesian_mask(
    width: int | tuple[int, ...],
    acceleration: float,
    acs: int,
    kind: Literal["random", "equispaced"] = "random",
    seed: int = 0,
) -> Tensor:
    """Lines of a 1-D Cartesian undersampling, bool (w,).

    Args:
        width: number of lines, or a shape whose last axis they are.
        acceleration: wanted width / sampled lines, calibration lines included.
        acs: fully sampled lines at the centre.
        kind: "random" draws the other lines uniformly without replacement, so that their number is exact;
            "equispaced" takes every R'-th line from a random offset, R' = R (n - L) / (n - R L), so that grid and
            centre together come within a line or two of the wanted acceleration.
        seed: the mask depends on the arguments alone.

    Raises:
        ValueError: the numbers contradict each other; the message names the two.
    """
    n = width if isinstance(width, int) else width[-1]
    lines = _line_count(n, acceleration, acs, kind)
    mask = torch.zeros(n, dtype=torch.bool)
    start = (n - acs + 1) // 2
    mask[start : start + acs] = True
    if lines == n:
        return torch.ones_like(mask)
    generator = Generator().manual_seed(mix(seed, n, acs))
    if kind == "random":
        outer = torch.nonzero(~mask)[:, 0]
        mask[outer[torch.randperm(len(outer), generator=generator)[: lines - acs]]] = True
        return mask
    step = acceleration * (n - acs) / (n - acceleration * acs)
    offset = float(torch.rand((), generator=generator, dtype=torch.float64)) * step
    mask[torch.arange(offset, n, step, dtype=torch.float64).long().clamp(max=n - 1)] = True
    return mask


def _line_count(n: int, acceleration: float, acs: int, kind: str) -> int:
    if kind not in ("random", "equispaced"):
        raise ValueError(f"kind must be 'random' or 'equispaced', got {kind!r}.")
    if n < 1 or not 1 <= acceleration <= n:
        raise ValueError(f"acceleration must lie between 1 and the width {n}, got {acceleration}.")
    if not 0 <= acs <= n:
        raise ValueError(f"acs must lie between 0 and the width {n}, got {acs}.")
    lines = round(n / acceleration)
    if n > lines and acs >= n / acceleration:
        raise ValueError(
            f"acs={acs} leaves no other line: acceleration {acceleration} of {n} lines allows {lines} in all; lower "
            "one of the two."
        )
    return lines


def achieved_acceleration(mask: Tensor) -> float:
    """Points of the grid per sampled point, of a mask of any shape.

    Raises:
        ValueError: nothing is sampled.
    """
    sampled = int((mask != 0).sum())
    if sampled == 0:
        raise ValueError("the mask is all zero, so nothing would be measured.")
    return mask.numel() / sampled


def acs_lines(mask: Tensor) -> slice:
    """The run of sampled lines through the centre line of a mask (w,).

    Raises:
        ValueError: the mask is not 1-D or its centre line is not sampled.
    """
    if mask.ndim != 1:
        raise ValueError(f"acs_lines takes a mask (w,), got {tuple(mask.shape)}; use calibration_region.")
    sampled, centre = mask != 0, len(mask) // 2
    if not bool(sampled[centre]):
        raise ValueError(f"the centre line {centre} is not sampled, so there are no calibration lines.")
    below = int(sampled[:centre].flip(0).long().cumprod(0).sum())
    above = int(sampled[centre:].long().cumprod(0).sum())
    return slice(centre - below, centre + above)


def calibration_region(mask: Tensor, shape: tuple[int, int]) -> Region:
    """Largest fully sampled block about the centre of k-space, (rows, columns).

    For lines it is their central run at full height. For points, a centred square grows while all of it is sampled,
    then its rows, then its columns, so that the shorter side is as long as it can be.

    Args:
        mask: (w,) or (h, w). shape: (h, w).

    Raises:
        ValueError: the mask does not fit the shape, or its centre is not sampled.
    """
    h, w = shape
    if tuple(mask.shape) not in ((w,), (h, w)):
        raise ValueError(f"a mask for {shape} must be ({w},) or ({h}, {w}), got {tuple(mask.shape)}.")
    if mask.ndim == 1:
        return slice(0, h), acs_lines(mask)
    sampled = mask != 0
    if not bool(sampled[h // 2, w // 2]):
        raise ValueError(f"the centre ({h // 2}, {w // 2}) is not sampled, so there is no calibration region.")
    size = 1
    while size < min(h, w) and bool(sampled[centred(h, size + 1), centred(w, size + 1)].all()):
        size += 1
    rows = size
    while rows < h and bool(sampled[centred(h, rows + 1), centred(w, size)].all()):
        rows += 1
    columns = size
    while columns < w and bool(sampled[centred(h, rows), centred(w, columns + 1)].all()):
        columns += 1
    return centred(h, rows), centred(w, columns)


def centred(n: int, length: int) -> slice:
    """The centre block of `length` in n, starting at (n - length + 1) // 2."""
    start = (n - length + 1) // 2
    return slice(start, start + length)
