"""sigma = median |n| / 0.6745: noise level from the corners of k-space, where signal is weakest.

Sigma is the standard deviation per real component, in the units of k-space. With the orthonormal transform it is also
the noise level of the coil images.
"""

import torch
from torch import Tensor

_MEDIAN = 0.6744897501960817  # median of |n|, n standard normal
_LEAST = 64  # points; the estimate then scatters by about a tenth


def sigma_per_coil(kspace: Tensor, mask: Tensor | None = None, fraction: float = 0.05) -> Tensor:
    """Noise level of every coil, (coil,), from the sampled points farthest from the centre.

    The median is not moved by the few points that hold strong signal; where most of them hold some, as with a matrix
    as coarse as the object's detail, it comes out too high.

    Args:
        kspace: (coil, h, w) complex, centred.
        mask: (w,) or (h, w); None takes points where any coil is not zero.
        fraction: share of the sampled points to use, in (0, 1]; at least 64 points.

    Raises:
        ValueError: shapes disagree, NaN, or fewer than 64 points are sampled.
    """
    if kspace.ndim != 3 or not kspace.is_complex():
        raise ValueError(f"kspace must be complex (coil, h, w), got {kspace.dtype} {tuple(kspace.shape)}.")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], got {fraction}.")
    if not bool(kspace.isfinite().all()):
        raise ValueError("kspace holds NaN or infinite values; repair them first.")
    h, w = kspace.shape[1:]
    sampled = _sampled(kspace, mask).to(kspace.device)
    count = int(sampled.sum())
    if count < _LEAST:
        raise ValueError(f"{count} sampled points are too few to estimate noise from; give sigma_y.")
    distance = torch.where(sampled, _distance(h, w).to(kspace.device), -1.0).flatten()
    far = distance.topk(min(count, max(_LEAST, round(fraction * count)))).indices
    parts = torch.view_as_real(kspace.flatten(1)[:, far]).flatten(1)
    return parts.abs().median(dim=1).values / _MEDIAN


def sigma_from_edges(kspace: Tensor, mask: Tensor | None = None, fraction: float = 0.05) -> float:
    """Noise level of all coils together: the root mean square of `sigma_per_coil`, with its arguments and errors."""
    return float(sigma_per_coil(kspace, mask, fraction).double().square().mean().sqrt())


def _sampled(kspace: Tensor, mask: Tensor | None) -> Tensor:
    h, w = kspace.shape[1:]
    if mask is None:
        return (kspace != 0).any(0)
    if tuple(mask.shape) not in ((w,), (h, w)):
        raise ValueError(f"a mask for k-space {(h, w)} must be ({w},) or ({h}, {w}), got {tuple(mask.shape)}.")
    return (mask != 0).expand(h, w)


def _distance(h: int, w: int) -> Tensor:
    """Distance from the centre in units of the half width of each axis, (h, w)."""
    ky, kx = (((torch.arange(n, dtype=torch.float32) - n // 2) / max(n / 2, 1)) ** 2 for n in (h, w))
    return (ky[:, None] + kx).sqrt()
