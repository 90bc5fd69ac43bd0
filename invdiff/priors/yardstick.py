"""x0 = U^H shrink(U x; 2 sigma): a denoiser that knows the noise level and nothing of the images.

U is the undecimated Haar transform, whose noise at level j is sigma / 2^j; its low-low band is left alone.
"""

import torch
from torch import Tensor

from invdiff.operators.undecimated import UndecimatedWavelet
from invdiff.shapes import over

_LEVELS = 3
_THRESHOLD = 2.0  # of a coefficient, in standard deviations of its noise per real component


def shrinkage(x: Tensor, sigma: Tensor | float) -> Tensor:
    """The estimate for x (B, C, H, W), real or complex, and sigma a number or (B,)."""
    transform = UndecimatedWavelet(tuple(x.shape[1:]), moments=1, levels=_LEVELS)
    c = transform(x)
    level = over(torch.as_tensor(sigma, dtype=x.dtype.to_real(), device=x.device), x)
    out = [_shrink(c[:, :, k], _THRESHOLD * level / 2 ** (k // 3 + 1)) for k in range(3 * _LEVELS)]
    return transform.adjoint(torch.stack([*out, c[:, :, -1]], 2))


def _shrink(c: Tensor, threshold: Tensor) -> Tensor:
    size = c.abs()
    return c * ((size - threshold).clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny))
