"""A as a sparse matrix (view * bin, H * W): for small geometries and large batches, whose images share every weight."""

from collections.abc import Iterator

from scipy.sparse import coo_matrix, csr_matrix, vstack

from invdiff.operators.kernels import joseph_torch, strip_torch
from invdiff.operators.kernels.rays import Rays
from invdiff.operators.kernels.sparse import LARGEST, SparsePair


def projection_matrix(rays: Rays, shape: tuple[int, int]) -> SparsePair:
    """A and its transpose in compressed rows, single precision.

    Raises:
        ValueError: so many entries that 32-bit indices may not reach them.
    """
    taps = len(rays.views) * (2 * len(rays.lines) * max(shape) if rays.model == "joseph" else 4 * shape[0] * shape[1])
    if taps > LARGEST:
        raise ValueError(
            f"the matrix of {len(rays.views)} views of {rays.bins} bins over {shape[0]} x {shape[1]} pixels may have "
            f"{taps:.1e} entries, {8e-9 * taps:.0f} GB for each direction. mode='auto' stores none."
        )
    parts = _joseph(rays, shape) if rays.model == "joseph" else _strip(rays, shape)
    return SparsePair.of(vstack(list(parts), format="csr"))


def _joseph(rays: Rays, shape: tuple[int, int]) -> Iterator[csr_matrix]:
    """The rows of every view; taps of different rays of a bin on one pixel add up."""
    size = (rays.bins, shape[0] * shape[1])
    rows = [csr_matrix(size, dtype="float32") for _ in rays.views]
    for v, pixels, weights in joseph_torch.taps(rays, shape):
        bins, taps = (weights != 0).nonzero(as_tuple=True)
        entries = (weights[bins, taps].float().numpy(), (bins.numpy(), pixels[bins, taps].numpy()))
        rows[v] = rows[v] + coo_matrix(entries, size).tocsr()
    return iter(rows)


def _strip(rays: Rays, shape: tuple[int, int]) -> Iterator[csr_matrix]:
    for weights in strip_torch.matrices(rays, shape):
        yield csr_matrix(weights.float().numpy())
