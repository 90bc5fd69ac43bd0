"""z_v = sum_c A_vc y_c: coils mixed by a matrix, the same everywhere or one per position along the read-out.

What whitening (see `whitening`) and compression (see `coil_compression`) apply to data, maps and noise alike.
"""

import torch
from torch import Tensor

from invdiff.operators.readout import readout_fft, readout_ifft


def mix_coils(kspace: Tensor, matrix: Tensor, axis: int = -2) -> Tensor:
    """A y, (B, C, ...) to (B, V, ...).

    Args:
        kspace: (B, C, ...) complex for one matrix; Cartesian (B, C, H, W) for one per position along `axis`.
        matrix: (V, C), or (n, V, C) for the n positions of the image along the read-out `axis`.

    Raises:
        ValueError: sizes that disagree.
    """
    if kspace.ndim < 3 or matrix.ndim not in (2, 3) or kspace.shape[1] != matrix.shape[-1]:
        raise ValueError(
            f"a coil matrix {tuple(matrix.shape)} takes (B, {matrix.shape[-1]}, ...), got {tuple(kspace.shape)}."
        )
    if matrix.ndim == 2:
        return torch.einsum("vc,bc...->bv...", matrix, kspace)
    if kspace.shape[axis] != len(matrix):
        raise ValueError(
            f"there are coil matrices for {len(matrix)} positions, and {kspace.shape[axis]} samples along axis {axis}."
        )
    hybrid = readout_ifft(kspace, axis).movedim(axis, -1)
    mixed = torch.einsum("nvc,bc...n->bv...n", matrix, hybrid)
    return readout_fft(mixed.movedim(-1, axis), axis)
