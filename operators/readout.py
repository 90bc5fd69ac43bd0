"""Y[k] = sum_r x[r] exp(-2 pi i k r / n): one axis of k-space, its transform, and the removal of its oversampling.

Receivers sample the read-out two times as densely as the field of view asks. The image along it is then twice as wide,
and its outer half holds noise alone: cropping it halves the data and loses nothing. It also whitens what the receiver's
filter, falling towards the edges of its band, has coloured.
"""

from torch import Tensor
from torch.fft import fft, fftshift, ifft, ifftshift


def readout_fft(x: Tensor, axis: int) -> Tensor:
    """Centred orthonormal transform along one axis."""
    return fftshift(fft(ifftshift(x, dim=axis), dim=axis, norm="ortho"), dim=axis)


def readout_ifft(y: Tensor, axis: int) -> Tensor:
    """Inverse and adjoint of `readout_fft`."""
    return fftshift(ifft(ifftshift(y, dim=axis), dim=axis, norm="ortho"), dim=axis)


def remove_oversampling(kspace: Tensor, factor: int = 2, axis: int = -2) -> Tensor:
    """Cartesian k-space of the central 1 / factor of the field of view along the read-out.

    Image values and the noise level are kept (the transforms are orthonormal).

    Args:
        kspace: (..., n, ...) complex, fully sampled along `axis`, which is a multiple of the factor.

    Raises:
        TypeError: real data.
        ValueError: a size that is no multiple of the factor.
    """
    return readout_fft(_central(kspace, factor, axis), axis)


def decimate(samples: Tensor, trajectory: Tensor, factor: int = 2) -> tuple[Tensor, Tensor]:
    """Straight read-outs (spokes) with every factor-th sample, the others averaged in: samples and trajectory.

    k-space values are kept, and the noise standard deviation falls by sqrt(factor).

    Args:
        samples: (..., read-outs, n) complex. trajectory: (read-outs, n, d), evenly spaced along each read-out.

    Returns:
        (..., read-outs, n / factor) and (read-outs, n / factor, d).

    Raises:
        TypeError: real data.
        ValueError: n is no multiple of the factor, or shapes disagree.
    """
    if samples.shape[-2:] != trajectory.shape[-3:-1]:
        raise ValueError(
            f"decimate: samples {tuple(samples.shape)} and trajectory {tuple(trajectory.shape)} must agree as "
            "(..., read-outs, n) and (read-outs, n, d)."
        )
    n = samples.shape[-1]
    kept = readout_fft(_central(samples, factor, -1), -1) / factor**0.5
    first = n // 2 - factor * (n // factor // 2)  # the sample that the first kept one is at
    return kept, trajectory[..., first::factor, :]


def _central(y: Tensor, factor: int, axis: int) -> Tensor:
    """The centre of the image along the axis."""
    n = y.shape[axis]
    if not y.is_complex():
        raise TypeError(f"the read-out must be complex, got {y.dtype}.")
    if factor < 1 or n % factor:
        raise ValueError(f"{n} samples along axis {axis} are no multiple of the oversampling {factor}.")
    kept = n // factor
    return readout_ifft(y, axis).narrow(axis, n // 2 - kept // 2, kept)
