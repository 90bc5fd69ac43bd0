"""z = A y over coils: virtual coils that keep the signal of many in a few, by singular values.

    X = U S V^H, one row per coil;   A = the first rows of U^H:  |X - A^H A X| is the least for that number of rows

Geometric compression takes one such matrix for every position along the fully sampled read-out, where fewer coils
matter, and turns each to continue its neighbour, so that virtual coils stay smooth. Coils of unequal or correlated
noise are whitened first (see `whitening`); A has orthonormal rows, so white noise stays white at its level. `mix_coils`
applies A.

Source: Buehrer et al., Array Compression for MRI With Large Coil Arrays, 2007; Zhang et al., Coil Compression for
Accelerated Imaging With Cartesian Sampling, 2013, for the latter.
"""

import torch
from torch import Tensor

from invdiff.operators.readout import readout_ifft


def svd_compression(kspace: Tensor, coils: int) -> Tensor:
    """A, (coils, C) complex with orthonormal rows, from calibration data or a whole scan.

    Args:
        kspace: (C, ...) complex, Cartesian or not; entries that are zero in all coils do not matter.
        coils: virtual coils, 1 to C.

    Raises:
        TypeError: real data.
        ValueError: an impossible number of coils; values that are all zero or not finite.
    """
    _check(kspace, coils)
    return _leading(kspace.flatten(1)[None], coils)[0]


def geometric_compression(kspace: Tensor, coils: int, axis: int = -2) -> Tensor:
    """One matrix for every position along the read-out, (n, coils, C) with orthonormal rows, smooth in the position.

    Args:
        kspace: (C, H, W) Cartesian, complex, fully sampled along `axis`.
        coils: virtual coils, 1 to C.
        axis: the read-out.

    Raises:
        TypeError, ValueError: see `svd_compression`.
    """
    _check(kspace, coils)
    hybrid = readout_ifft(kspace, axis).movedim(axis, 0).flatten(2)  # (n, C, lines)
    matrices = _leading(hybrid, coils)
    # Positions without signal have no directions of their own: start where there is most, and go outwards.
    start = int(hybrid.abs().square().sum((1, 2)).argmax())
    for order in (range(start + 1, len(matrices)), range(start - 1, -1, -1)):
        for i in order:
            before = matrices[i - 1] if i > start else matrices[i + 1]
            matrices[i] = _aligned(matrices[i], before)
    return matrices


def _leading(x: Tensor, coils: int) -> Tensor:
    """U^H of the largest singular values of each x (n, C, m), (n, coils, C), by the small matrices x x^H."""
    wide = x.to(torch.complex128)
    _, vectors = torch.linalg.eigh(wide @ wide.mH)
    return vectors[..., -coils:].flip(-1).mH.to(x.dtype).contiguous()


def _aligned(matrix: Tensor, before: Tensor) -> Tensor:
    """Q A with the unitary Q that brings it closest to the matrix before: Q = V U^H for A before^H = U S V^H."""
    u, _, vh = torch.linalg.svd(matrix @ before.mH)
    return vh.mH @ u.mH @ matrix


def _check(kspace: Tensor, coils: int) -> None:
    if not kspace.is_complex():
        raise TypeError(f"coil compression takes complex k-space (C, ...), got {kspace.dtype}.")
    if kspace.ndim < 2 or not 1 <= coils <= len(kspace):
        raise ValueError(
            f"coil compression to {coils} coils needs k-space (C, ...) with C at least that, got {tuple(kspace.shape)}."
        )
    if not bool(torch.isfinite(kspace).all()) or not bool((kspace != 0).any()):
        raise ValueError("coil compression: the data are all zero or not finite, so they say nothing about the coils.")
