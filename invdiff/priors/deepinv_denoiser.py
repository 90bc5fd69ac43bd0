"""D(x; sigma) = denoiser(x, sigma): denoisers of the deepinv library, which work on images in [0, 1]."""

from typing import Any

from invdiff.diffusion.precondition import Direct, Network
from invdiff.priors.adapted import AdaptedPrior


def from_deepinv(denoiser: Network, *, sigma_min: float, sigma_max: float, **declared: Any) -> AdaptedPrior:
    """A deepinv denoiser, or anything else that is called as denoiser(x, sigma), as a prior.

    Args:
        denoiser: x (B, C, H, W) float32 with values in [0, 1] plus noise, sigma (B,); returns the image.
        sigma_min, sigma_max: noise levels it was trained for, which the object does not tell, in the prior's units:
            those of `range`, by default [0, 1]. (DRUNet: up to 50 / 255.)
        declared: arguments of `AdaptedPrior`. For values in [-1, 1], such as those of the parts of complex images, pass
            range=(-1, 1); sigma_min and sigma_max then double with the range.

    A denoiser trained for low noise leaves the high levels of a diffusion sampler out of reach: start the solver at
    sigma_max, or use a method that needs no more.

    Example:
        prior = from_deepinv(deepinv.models.DRUNet(1, 1), sigma_min=0.004, sigma_max=0.2, net_channels=1)
    """
    return AdaptedPrior(
        denoiser, Direct(), **{"net_range": (0.0, 1.0), "sigma_min": sigma_min, "sigma_max": sigma_max, **declared}
    )
