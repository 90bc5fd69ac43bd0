"""mask = centre | pattern: the undersampling masks of the fastMRI challenges, line for line.

With n columns, centre fraction f, acceleration a and L = round(n f), the centre block of L lines starts at
(n - L + 1) // 2. A mask is seeded with the file name, so that all slices of a volume share one mask and every
laboratory draws the same; it depends on the width too. All draws come from NumPy's legacy generator, whose stream is
frozen.

Until September 2021 the plain name "equispaced" of the published code meant what is called "equispaced_fraction" here
and there now; results of that time compare with the latter.

Source: Zbontar et al., fastMRI, arXiv:1811.08839, section 4.9, and the definitions published with the data; "magic":
Defazio, Offset Sampling Improves Deep Learning based Accelerated MRI Reconstructions, arXiv:1912.01101.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.checks import nearest

Lines = NDArray[np.bool_]
Seed = str | int | Sequence[int]


def fastmri_mask(
    width: int,
    accelerations: float | Sequence[float],
    fractions: float | Sequence[float],
    kind: str = "random",
    *,
    seed: Seed,
    offset: int | None = None,
    padding: tuple[int, int] | None = None,
) -> tuple[Tensor, int]:
    """The published mask of one volume.

    Args:
        width: columns n of k-space.
        accelerations, fractions: numbers, or lists of equal length of which one pair is drawn. The challenges used
            (4, 0.08) and (8, 0.04).
        kind: "random", "equispaced", "equispaced_fraction", "magic" or "magic_fraction". The two without "fraction" put
            the wanted acceleration outside the centre, so that the mask as a whole has more lines than 1 / a.
        seed: the file name with its ending and without folders ("file1000000.h5"), whose characters are the seed; or a
            number or several, as the published code takes them.
        offset: first line of a grid, drawn where it is None; no draw is made where it is given.
        padding: (left, right) of the header; columns k < left or k >= right hold no data and are cleared.

    Returns:
        the mask, bool (n,), and the number of lines in its centre block (before padding).

    Raises:
        ValueError: numbers that contradict each other, where the published code would divide by zero, fail in its
            generator or return nothing but the centre.
    """
    rates, shares = _listed(accelerations), _listed(fractions)
    if kind not in _PATTERNS:
        raise ValueError(f"there is no fastMRI mask {kind!r}.{nearest(kind, _PATTERNS)}")
    if len(rates) != len(shares) or not rates:
        raise ValueError(f"{len(rates)} accelerations and {len(shares)} fractions do not pair up.")
    # The legacy generator is what the published masks are defined by; it is local, and nothing else uses it.
    rng = np.random.RandomState(list(map(ord, seed)) if isinstance(seed, str) else seed)
    choice = rng.randint(len(rates))  # drawn for a single pair too
    rate, share = rates[choice], shares[choice]
    _check(width, rate, share)
    lines = round(width * share)
    if kind == "magic_fraction":
        lines = max(min(lines, round(width / rate)), 1)
    mask = _centre(width, lines) | _PATTERNS[kind](rng, width, rate, lines, offset)
    if padding is not None:
        mask &= (np.arange(width) >= padding[0]) & (np.arange(width) < padding[1])
    return torch.from_numpy(mask), lines


def _listed(values: float | Sequence[float]) -> list[float]:
    return list(values) if isinstance(values, Sequence) else [values]


def _check(n: int, rate: float, share: float) -> None:
    if n < 1 or not 1 <= rate <= n:
        raise ValueError(f"acceleration must lie between 1 and the width {n}, got {rate}.")
    if not 0 <= share <= 1:
        raise ValueError(f"the centre fraction must lie between 0 and 1, got {share}.")


def _centre(n: int, lines: int) -> Lines:
    start = (n - lines + 1) // 2
    return _grid(n, range(start, start + lines))


def _grid(n: int, lines: range | NDArray[np.intp]) -> Lines:
    mask = np.zeros(n, np.bool_)
    mask[np.asarray(lines, np.intp)] = True
    return mask


def _full_centre(n: int, rate: float, lines: int) -> ValueError:
    return ValueError(
        f"{lines} centre lines of {n} leave no other line at acceleration {rate:g}, which allows {n / rate:g} in all; "
        "lower one of the two."
    )


def _random(rng: np.random.RandomState, n: int, rate: float, lines: int, offset: int | None) -> Lines:
    """Every column with probability (n / a - L) / (n - L)."""
    if n / rate <= lines and rate > 1:
        raise _full_centre(n, rate, lines)
    return rng.uniform(size=n) < (n / rate - lines) / max(n - lines, 1)


def _equispaced(rng: np.random.RandomState, n: int, rate: float, lines: int, offset: int | None) -> Lines:
    """Every a-th column."""
    step = _whole(rate)
    return _grid(n, range(rng.randint(0, step) if offset is None else offset, n, step))


def _equispaced_fraction(rng: np.random.RandomState, n: int, rate: float, lines: int, offset: int | None) -> Lines:
    """Every a'-th column, a' = a (L - n) / (L a - n), rounded to columns."""
    if n / rate <= lines:
        raise _full_centre(n, rate, lines)
    step = rate * (lines - n) / (lines * rate - n)
    start = rng.randint(0, round(step)) if offset is None else offset
    return _grid(n, np.around(np.arange(start, n - 1, step)).astype(np.intp))


def _magic(rng: np.random.RandomState, n: int, rate: float, lines: int, offset: int | None) -> Lines:
    """Every a-th column, shifted against its mirror image, so that conjugate symmetry fills in twice as many.

    The half with the DC column first starts at o + 1 and the other, counted outwards, at o + 2, for even offsets o;
    at o + 2 and o - 1 for odd ones.
    """
    step = _whole(rate)
    o = rng.randint(0, step) if offset is None else offset
    positive, negative = (o + 1, o + 2) if o % 2 == 0 else (o + 2, o - 1)
    half = (n + 1) // 2
    right, left = _grid(half, range(positive, half, step)), _grid(n - half, range(negative, n - half, step))
    return np.fft.fftshift(np.concatenate([right, left[::-1]]))


def _magic_fraction(rng: np.random.RandomState, n: int, rate: float, lines: int, offset: int | None) -> Lines:
    """As magic, every a'-th column, a' = round(n / (round(n / a) - L))."""
    others = round(n / rate) - lines
    if others < 1:
        raise _full_centre(n, rate, lines)
    return _magic(rng, n, round(n / others), lines, offset)


def _whole(rate: float) -> int:
    if rate != int(rate):
        raise ValueError(f"grids of this kind need a whole acceleration, got {rate}; take a kind with 'fraction'.")
    return int(rate)


_PATTERNS: dict[str, Callable[[np.random.RandomState, int, float, int, int | None], Lines]] = {
    "random": _random,
    "equispaced": _equispaced,
    "equispaced_fraction": _equispaced_fraction,
    "magic": _magic,
    "magic_fraction": _magic_fraction,
}
FASTMRI_KINDS = tuple(_PATTERNS)
