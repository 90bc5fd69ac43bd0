"""When to stop fitting a network to one scan, and which iterate to take, from what can be seen without the truth.

    moving variance   mean_w |x_w - mean x|^2 over the last W images; least where structure is in and noise is not yet
    running variance  the same with exponential forgetting: d = x - e, e += a d, v = (1 - a)(v + a |d|^2)
    discrepancy       |A x - y| <= sigma_y sqrt(m)
    held out          |A x - y| over measurements that the fit does not see, and then sees

Source: Wang et al., Early Stopping for Deep Image Prior, TMLR 2023 (moving and running variance, patience);
Yaman et al., Zero-Shot Self-Supervised Learning for MRI Reconstruction, ICLR 2022 (held-out measurements).
"""

from collections import deque

import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.checks import nearest, require
from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.held_out import HELD_OUT, HeldOut, hold_out
from invdiff.solvers.stop import Stop, forgetting

__all__ = [
    "RULES",
    "Discrepancy",
    "FirstOf",
    "HeldOut",
    "MovingVariance",
    "Never",
    "RunningVariance",
    "Stop",
    "forgetting",
    "hold_out",
    "stop_rule",
]

VIEW = 64  # side to which images are averaged before their variance is taken


class Never(Stop):
    """The last image, after all iterations."""

    order = 2

    def __init__(self) -> None:
        super().__init__(1)

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        return torch.full((len(x),), -float(i), device=x.device)

    def ended(self, i: int, score: Tensor) -> Tensor:
        return torch.zeros_like(self.done)


class MovingVariance(Stop):
    """Least variance of the last `window` images, per pixel, of images averaged down to `VIEW` pixels a side.

    Kept up from sum x and sum |x|^2 of the window, in double precision, so that an iteration costs one image.
    """

    def __init__(self, window: int = 100, patience: int = 500) -> None:
        super().__init__(patience)
        require("window", window, at_least=2)
        self.images: deque[Tensor] = deque(maxlen=window)
        self.sum = self.squares = torch.zeros((), dtype=torch.float64)

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        if i == 0:  # a rule that has judged another run begins anew
            self.images.clear()
            self.sum = self.squares = torch.zeros((), dtype=torch.float64)
        if len(self.images) == self.images.maxlen:
            self._count(self.images[0], -1)
        self.images.append(_view(x))
        self._count(self.images[-1], 1)
        if len(self.images) < (self.images.maxlen or 0):
            return torch.full((len(x),), torch.inf, device=x.device)
        spread = self.squares - (self.sum / len(self.images)).square().flatten(1).mean(1) * len(self.images)
        return (spread / len(self.images)).clamp(min=0).to(x.dtype.to_real())

    def _count(self, image: Tensor, sign: int) -> None:
        image = image.double()
        self.sum = self.sum.to(image.device) + sign * image
        self.squares = self.squares.to(image.device) + sign * image.square().flatten(1).mean(1)


class RunningVariance(Stop):
    """Least exponentially weighted variance, without a window to keep; begins after `begin` iterations."""

    def __init__(self, forgetting: float = 0.1, begin: int = 100, patience: int = 500) -> None:
        super().__init__(patience)
        require("forgetting", forgetting, above=0, at_most=1)
        self.forgetting, self.begin = forgetting, begin

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        image = _view(x)
        if i == 0:
            self.mean, self.variance = image, torch.zeros(len(x), device=x.device)
        change = image - self.mean
        self.mean = self.mean + self.forgetting * change
        step = self.variance + self.forgetting * change.square().flatten(1).mean(1)
        self.variance = (1 - self.forgetting) * step
        return self.variance if i >= self.begin else torch.full_like(self.variance, torch.inf)


class Discrepancy(Stop):
    """The first image that explains y to the noise: |A x - y| <= limit, (B,)."""

    order = 2

    def __init__(self, limit: Tensor) -> None:
        super().__init__(1)
        self.limit = limit

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        return norm(residual)

    def ended(self, i: int, score: Tensor) -> Tensor:
        return score <= self.limit


class FirstOf(Stop):
    """Whichever rule ends first for a sample chooses its image; while none has, the first one by `order` does.

    The score is that of this first one. Where another ends with the newest image, that one gets the least score, so
    that the least is the one chosen (but for two rules of order 0, of which the second ends first).
    """

    def __init__(self, rules: list[Stop]) -> None:
        super().__init__(1)
        self.rules = sorted(rules, key=lambda rule: rule.order)
        self.weights = self._fitted()

    def look(self, i: int, x: Tensor, residual: Tensor, shown: Tensor | None = None) -> Tensor:
        scores = [rule.look(i, x, residual, shown) for rule in self.rules]
        first, score = self.rules[0], scores[0]
        free = torch.ones_like(first.done) if i == 0 else ~self.done
        self.chosen = first.chosen if i == 0 else torch.where(over(free, x), first.chosen, self.chosen)
        self.at = first.at if i == 0 else torch.where(free, first.at, self.at)
        for rule, own in zip(self.rules[1:], scores[1:], strict=True):
            ends = free & rule.done & ~first.done
            below = torch.nextafter(first.least, torch.full_like(first.least, -torch.inf))
            score = torch.where(ends & (rule.at == i), torch.where(first.least.isfinite(), below, own), score)
            self.chosen = torch.where(over(ends, x), rule.chosen, self.chosen)
            self.at = torch.where(ends, rule.at, self.at)
            free = free & ~ends
        self.done = torch.stack([rule.done for rule in self.rules]).any(0)
        self.weights = self._fitted()
        return score

    def _fitted(self) -> Tensor | None:
        return next((rule.weights for rule in self.rules if rule.weights is not None), None)


def stop_rule(
    name: str | Stop,
    y: Tensor,
    op: Operator,
    sigma_y: Tensor | None,
    noise: Noise,
    patience: int,
    average: float = 0.1,
) -> Stop:
    """The rule, or the rules joined by "+", of this name: "variance", "running", "discrepancy", "held-out", "never".

    A rule of one's own is taken as it is.

    Args:
        average: forgetting with which "held-out" averages residuals; that of the images, where they are averages.

    Raises:
        ValueError: an unknown rule, or "discrepancy" without sigma_y.
        TypeError: neither a name nor a rule.
    """
    if isinstance(name, Stop):
        return name
    if not isinstance(name, str):
        raise TypeError(f"stop must be the name of a rule or a Stop (an object, no class), got {name!r}. See stopping.")
    rules = [_rule(part.strip(), y, op, sigma_y, noise, patience, average) for part in name.split("+")]
    return rules[0] if len(rules) == 1 else FirstOf(rules)


def _rule(
    name: str, y: Tensor, op: Operator, sigma_y: Tensor | None, noise: Noise, patience: int, average: float
) -> Stop:
    if name not in RULES:
        raise ValueError(f"unknown stop rule {name!r}.{nearest(name, RULES)} Join several with +.")
    if name == "discrepancy":
        if sigma_y is None:
            raise ValueError("stop='discrepancy' needs sigma_y, the noise level of y. Pass it, or use 'variance'.")
        return Discrepancy(sigma_y * op.measured(y.is_complex()) ** 0.5)
    if name == "held-out":
        return HeldOut(hold_out(y, op, HELD_OUT, noise), patience, average)
    if name == "never":
        return Never()
    return MovingVariance(patience=patience) if name == "variance" else RunningVariance(patience=patience)


RULES = ("variance", "running", "discrepancy", "held-out", "never")


def _view(x: Tensor) -> Tensor:
    """Real components of x, averaged down to at most `VIEW` pixels a side."""
    x = torch.cat([x.real, x.imag], 1) if x.is_complex() else x
    height, width = (min(n, VIEW) for n in x.shape[-2:])
    return F.adaptive_avg_pool2d(x, (height, width))
