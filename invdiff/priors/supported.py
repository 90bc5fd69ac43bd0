"""m D(x; sigma): a prior that knows where the image is zero."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invdiff.priors.prior import Prior, Pullback, denoise_vjp, teleport


class Supported:
    """`prior` with its estimate set to zero outside `support`, a bool tensor that broadcasts to (B, C, H, W).

    What no coil sees would otherwise be drawn from the prior alone, as structure in the air around a head.
    """

    def __init__(self, prior: Prior, support: Tensor) -> None:
        self.prior, self.support = prior, support

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return self.prior(x, sigma) * self.support

    def unmasked(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """The estimate of `prior` itself, for images that do not lie as the support does."""
        return self.prior(x, sigma)

    def denoise_vjp(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Pullback]:
        x0, pull = denoise_vjp(self.prior, x, sigma)
        return x0 * self.support, lambda v: pull(v * self.support)

    def teleport(self, x: Tensor, sigmas: Sequence[float]) -> tuple[Tensor, list[float]]:
        """Outside the support D = 0, whose flow is x sigma / sigma_0."""
        inside, rest = teleport(self.prior, x, sigmas)
        return torch.where(self.support, inside, x * (rest[0] / sigmas[0])), rest
