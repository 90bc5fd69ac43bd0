"""k(x, ky, kz) = F^-1_kx k(kx, ky, kz): a 3-D scan as one 2-D problem for each position along the read-out."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError

Volume = NDArray[np.complex64]


def readout_to_space(kspace: Volume, axis: int) -> Volume:
    """Centred orthonormal inverse transform along one axis."""
    shifted = np.fft.ifftshift(kspace, axes=axis)
    return np.fft.fftshift(np.fft.ifft(shifted, norm="ortho", axis=axis), axes=axis).astype(np.complex64)


def space_to_readout(image: Volume, axis: int) -> Volume:
    """Inverse of `readout_to_space`."""
    shifted = np.fft.ifftshift(image, axes=axis)
    return np.fft.fftshift(np.fft.fft(shifted, norm="ortho", axis=axis), axes=axis).astype(np.complex64)


def hybrid_slice(read: Callable[..., Volume], arguments: tuple[Any, ...], x: int) -> Volume:
    """Position x of the volume read(*arguments), (coils, kx, ky, kz); the last volume is kept, transformed.

    Args:
        read, arguments: hashable; the first argument is the file.
        x: position along the read-out.

    Raises:
        DataError: the sampled (ky, kz) differ along the read-out, so that it cannot be transformed first.
    """
    return np.ascontiguousarray(_hybrid(read, arguments, arguments[0].stat().st_mtime_ns)[:, x])


@lru_cache(maxsize=1)
def _hybrid(read: Callable[..., Volume], arguments: tuple[Any, ...], changed: int) -> Volume:
    volume = read(*arguments)
    sampled = (volume != 0).any(0)
    if not (sampled == sampled.any(0)).all():
        raise DataError(
            "is a 3-D scan whose read-out (first axis) is not fully sampled, so it does not fall into 2-D slices; fill "
            "the read-out first.",
            path=arguments[0],
            dataset="kspace",
        )
    return readout_to_space(volume, 1)
