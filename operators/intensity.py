"""[c - h, c + h]: the range of intensities that an operator is defined for, by its centre and half width."""

import math


def centre_and_half(range: tuple[float, float], owner: str) -> tuple[float, float]:
    """(c, h) of (low, high).

    Raises:
        ValueError: ends that are not finite or not increasing, in the name of `owner`.
    """
    low, high = map(float, range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{owner}: range must be (low, high), finite and increasing, got {tuple(range)}.")
    return (low + high) / 2, (high - low) / 2
