"""E[y] = I0 exp(-A x) + b: photon counts behind an attenuating object (Beer and Lambert).

y = Poisson(E[y]) + sigma_y n is what a detector reports: sigma_y is the standard deviation of its electronic noise, in
counts. Noise that varies with the counts is made even by `invdiff.operators.anscombe`, or by taking line integrals
(`invdiff.data.line_integrals`), behind which A is linear.

Source: Bouman and Sauer, A Unified Approach to Statistical Tomography Using Coordinate Descent Optimization,
1996, for the model; Xu and Tsui, Electronic Noise Modeling in Statistical Iterative Reconstruction, 2009.
"""

from typing import Any

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator, Operator
from invdiff.random import streams


class Transmission(Operator):
    """Mean counts behind the line integrals of a projector.

    Args:
        projector: A, whose output are line integrals, (B, *projector.shape_out).
        photons: I0, the counts without the object (the air scan): a number, or what broadcasts to the projector's
            output, such as (bin,) or (view, bin); positive.
        background: b, the mean counts that are no straight light (scatter, dark current), in the same forms; 0 or more.

    Raises:
        TypeError: a projector that is not linear or not real.
        ValueError: photons or background out of range, or of a shape that does not fit.

    Example:
        >>> from invdiff.operators import Identity
        >>> op = Transmission(Identity((1, 1, 2)), photons=1000.0)
        >>> op(torch.tensor([[[[0.0, 1.0]]]])).round().tolist()
        [[[[1000.0, 368.0]]]]
    """

    photons: Tensor
    background: Tensor

    def __init__(self, projector: LinearOperator, photons: Any, background: Any = 0.0) -> None:
        if not isinstance(projector, LinearOperator) or projector.complex_out:
            raise TypeError("Transmission takes a linear operator with real output, such as ParallelBeamCT.")
        super().__init__(projector.shape_in, projector.shape_out, False, False)
        self.projector, self.batch = projector, projector.batch
        self.register_buffer("photons", self._counts("photons", photons), persistent=False)
        self.register_buffer("background", self._counts("background", background), persistent=False)
        if not bool((self.photons > 0).all()):
            raise ValueError(
                f"Transmission: photons must be positive, and {int((self.photons <= 0).sum())} bins are not; leave "
                "dead bins out by an infinite sigma_y on their line integrals."
            )

    def _counts(self, name: str, values: Any) -> Tensor:
        """Values as a tensor that broadcasts to (B, *shape_out)."""
        counts = torch.as_tensor(values, dtype=torch.float32)
        fits = counts.ndim <= len(self.shape_out) and all(
            a in (1, b) for a, b in zip(counts.shape[::-1], self.shape_out[::-1], strict=False)
        )
        if not fits:
            raise ValueError(f"Transmission: {name} must broadcast to {self.shape_out}, got {tuple(counts.shape)}.")
        if not bool((counts >= 0).all() and counts.isfinite().all()):
            raise ValueError(f"Transmission: {name} must be finite and 0 or more.")
        return counts

    @property
    def name(self) -> str:
        return f"Transmission({self.projector.name})"

    def forward(self, x: Tensor) -> Tensor:
        return self.photons * torch.exp(-self.projector(x)) + self.background

    def reach(self) -> float:
        """1 / |A|: line integrals of about 1, with projectors in mm small numbers of mm^-1."""
        return 1 / (self.projector.norm() or 1.0)

    def simulate(self, x: Tensor, sigma_y: float = 0.0, seed: int | None = 0) -> Tensor:
        """Poisson counts plus electronic noise of standard deviation sigma_y; sample i draws from stream i of `seed`.

        Counts are no whole numbers, and may be negative, only where sigma_y is not 0.
        """
        require("sigma_y", sigma_y, at_least=0)
        mean = self(x)
        noise, _ = streams(seed, len(mean), device=mean.device)
        counts = noise.poisson(mean)
        return counts + sigma_y * noise.like(counts) if sigma_y else counts

    def estimate_sigma(self, y: Tensor) -> Tensor:
        """sqrt(mean y), (B,): the root mean square of the Poisson noise over all bins, without electronic noise."""
        return y.flatten(1).clamp(min=0).mean(1).sqrt()
