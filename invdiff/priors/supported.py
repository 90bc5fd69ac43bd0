"""m D(x; sigma): a prior that knows where the image is zero."""

from typing import Any

from torch import Tensor

from invdiff.priors.prior import Prior, Pullback, denoise_vjp


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

    def denoise_vjp(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Pullback]:
        x0, pull = denoise_vjp(self.prior, x, sigma)
        return x0 * self.support, lambda v: pull(v * self.support)
