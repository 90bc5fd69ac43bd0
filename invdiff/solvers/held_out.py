"""|A x - y| over measurements that the fit does not see, and then sees: a stop rule that is not told the noise.

Source: Yaman et al., Zero-Shot Self-Supervised Learning for MRI Reconstruction, ICLR 2022.
"""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.stop import Stop, forgetting

HELD_OUT = 0.05  # share of the measurements that the rule of this name leaves out
REJOIN = 100  # iterations with what was held out, before the image is taken
LAG, FAST = 20, 0.8  # a fit below this share of its average over about so many iterations falls fast


class HeldOut(Stop):
    """Least misfit over entries of y that are left out of the fit, which are then fitted too.

    Once it has turned, the fit goes on for `REJOIN` iterations with all of y, and its image is then the one chosen: to
    have all of y in it is worth more than what some more iterations cost. The wait before is shorter for it. Nothing is
    judged while the misfit of what is fitted falls by a fifth in some twenty iterations: then the first shapes come in,
    and what is left out may be explained worse for a while.

    Args:
        weights: entries to fit at first, bool, broadcasting over y.
        average: forgetting of the exponential average of residuals, that of the images for linear operators.
    """

    slack = 1 / 5
    order = 1

    def __init__(self, weights: Tensor, patience: int = 500, average: float = 0.1) -> None:
        super().__init__(patience)
        self.weights = self.fitted = weights
        self.average = average
        self.mean = self.turned = self.fit = torch.empty(0)
        self.begun = torch.zeros((), dtype=torch.bool)

    def look(self, i: int, x: Tensor, residual: Tensor, shown: Tensor | None = None) -> Tensor:
        if i == 0:
            self.turned = torch.full((len(x),), torch.inf, device=x.device)
        score = super().look(i, x, residual, shown)
        self.weights = self.fitted | over(self.turned <= i, self.fitted)
        return score

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        """The misfit; once it has turned, the less as the newest image is to be chosen."""
        held, fit = residual * ~self.fitted, norm(residual * self.fitted)
        self.fit = torch.lerp(self.fit, fit, 1 / LAG) if i else fit
        slow = (fit >= FAST * self.fit) & (i >= LAG)
        self.begun = self.begun | slow if i else slow
        self.mean = torch.lerp(self.mean, held, forgetting(self.average, i)) if i else held
        misfit = torch.where(self.begun, norm(self.mean), torch.inf)
        return torch.where(self.turned < i, torch.minimum(misfit, 0.999 * self.least), misfit)

    def ended(self, i: int, score: Tensor) -> Tensor:
        self.turned = torch.where(super().ended(i, score), self.turned.clamp(max=i), self.turned)
        return i - self.turned >= REJOIN


def hold_out(y: Tensor, op: Operator, share: float, noise: Noise) -> Tensor:
    """Entries to fit, (B, 1, ...) bool over the axes of y: all but a random share of what was measured.

    One choice for all coils or channels, and at least one entry of every item. The largest hundredth of |y|, which
    holds the overall brightness (the centre of k-space), is always fitted, unless all that was measured is in it.
    """
    require("held_out", share, above=0, at_most=0.5)
    size = y.abs().square().sum(1, keepdim=True).sqrt()
    measured = torch.ones_like(size, dtype=torch.bool)
    if op.sampled is not None:
        measured = measured & op.sampled.any(1, keepdim=True)
    bright = size >= over(torch.quantile(size.flatten(1).float(), 0.99, dim=1), size)
    free = measured & ~bright
    free |= measured & ~over(free.flatten(1).any(1), free)
    drawn = torch.special.ndtr(noise.like(size.real)).masked_fill(~free, torch.inf)
    return ~(free & ((drawn < share) | (drawn == over(drawn.flatten(1).amin(1), drawn))))
