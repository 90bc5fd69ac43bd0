"""Any prior with its evaluations and input gradients counted."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from invdiff.priors.prior import Prior, Pullback, denoise_vjp, teleport


class Counted:
    """Behaves as `prior`; `nfe` counts denoiser calls, `vjps` products with its Jacobian. A batch counts once.

    `skipped` counts the noise levels passed by teleportation.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior, self.nfe, self.vjps = prior, 0, 0
        self.skipped = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        self.nfe += 1
        return self.prior(x, sigma)

    def unmasked(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """See `Supported`; of other priors the estimate."""
        self.nfe += 1
        estimate: Tensor = getattr(self.prior, "unmasked", self.prior)(x, sigma)
        return estimate

    def denoise_vjp(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Pullback]:
        self.nfe += 1
        x0, pull = denoise_vjp(self.prior, x, sigma)

        def counted(v: Tensor) -> Tensor:
            self.vjps += 1
            return pull(v)

        return x0, counted

    def teleport(self, x: Tensor, sigmas: Sequence[float]) -> tuple[Tensor, list[float]]:
        x, rest = teleport(self.prior, x, sigmas)
        self.skipped += len(sigmas) - len(rest)
        return x, rest
