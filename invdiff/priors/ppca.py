"""S = U diag(lambda) U^H + s^2 (I - U U^H): the likeliest covariance of that form for given data."""

import torch
from torch import Tensor


def probabilistic_pca(rows: Tensor, rank: int, smallest: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Leading eigenvectors, their variances and the mean variance of the rest.

    Args:
        rows: centred data (N, d) scaled such that rows^H rows is the sample covariance; for complex data, per real
            component. In double, since `eigh` of flat image regions fails in single precision.
        rank: r <= d.
        smallest: no variance is set below this; the result is then the likeliest under that bound.

    Returns:
        basis (r, d), orthonormal; variances (r,), decreasing; floor ().

    Source: Tipping and Bishop, Probabilistic principal component analysis, 1999, eqs. (7)-(8). Our variances include
        the floor.
    """
    size = rows.shape[1]
    if rank > size:
        raise ValueError(f"rank {rank} exceeds the {size} values of a sample.")
    if len(rows) < size:
        _, singular, basis = torch.linalg.svd(rows, full_matrices=False)
        variances = singular**2
    else:
        variances, vectors = torch.linalg.eigh(rows.mH @ rows)
        variances, basis = variances.flip(0).clamp(min=0.0), vectors.mH.flip(0)
    if rank > len(basis):
        raise ValueError(f"rank {rank} needs at least as many samples, got {len(rows)}.")
    total = rows.abs().square().sum()
    floor = (total - variances[:rank].sum()).clamp(min=0.0) / max(size - rank, 1)
    return basis[:rank], variances[:rank].clamp(min=smallest), floor.clamp(min=smallest)
