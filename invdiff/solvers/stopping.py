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

HELD_OUT = 0.05  # share of the measurements that the rule of this name leaves out
VIEW = 64  # side to which images are averaged before their variance is taken
REJOIN = 100  # iterations with what was held out, before the image is taken
YOUNG = 10  # iterations from which on an average may be over several
WAIT = 100  # iterations that a rule waits at least for a better score, where patience does not say less


def forgetting(average: float, i: int) -> float:
    """Of an exponential average at iteration i: at first over the last tenth, to forget where the run began."""
    return max(average, YOUNG / (YOUNG + i))


class Stop:
    """Keeps, for every sample, the image of the least score, and ends a sample some iterations after it.

    It waits for `patience` iterations, or for a share (`slack`) of those it took to get there (`WAIT` at least) where
    that is less: beyond the first hundreds, a run takes at most 1.5 times the iterations of its choice.

    Attributes:
        chosen: (B, ...), the image to return. done: (B,), samples that have ended; their image no longer changes.
        at: (B,), the iteration of the chosen image.
        weights: entries of y to fit, bool, broadcasting over y; None is all of them.
    """

    weights: Tensor | None = None
    slack = 1 / 2

    def __init__(self, patience: int) -> None:
        require("patience", patience, at_least=1)
        self.patience = patience
        self.chosen, self.done = torch.empty(0), torch.empty(0, dtype=torch.bool)

    def look(self, i: int, x: Tensor, residual: Tensor, shown: Tensor | None = None) -> Tensor:
        """Judge iteration i; returns the score, (B,), inf before any.

        Args:
            x: the image to judge, (B, ...). residual: A x - y of this iteration alone, (B, *shape_out).
            shown: the image to return if it is chosen, where that is not x but an average over iterations.
        """
        shown = x if shown is None else shown
        if i == 0:
            self.chosen, self.done = shown.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
            self.least = torch.full((len(x),), torch.inf, device=x.device)
            self.at = torch.zeros(len(x), dtype=torch.long, device=x.device)
        score = self.score(i, x, residual)
        better = (score < self.least) & ~self.done
        better |= (~torch.isfinite(self.least)) & ~self.done  # nothing judged yet: the last image is all there is
        self.least = torch.where(better, score, self.least)
        self.at = torch.where(better, i, self.at)
        self.chosen = torch.where(over(better, shown), shown, self.chosen)
        self.done = self.done | self.ended(i, score)
        return score

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        """What is to be least, (B,), inf before any; arguments as of `look`."""
        raise NotImplementedError(f"{type(self).__name__} must define score(i, x, residual).")

    def ended(self, i: int, score: Tensor) -> Tensor:
        wait = (self.at * self.slack).floor().clamp(min=WAIT).clamp(max=self.patience)
        return torch.isfinite(self.least) & (i - self.at >= wait)


class Never(Stop):
    """The last image, after all iterations."""

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

    def __init__(self, limit: Tensor) -> None:
        super().__init__(1)
        self.limit = limit

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        return norm(residual)

    def ended(self, i: int, score: Tensor) -> Tensor:
        return score <= self.limit


class HeldOut(Stop):
    """Least misfit over entries of y that are left out of the fit, which are then fitted too.

    Once it has turned, the fit goes on for `REJOIN` iterations with all of y, and its image is then the one chosen: to
    have all of y in it is worth more than what some more iterations cost. The wait before is shorter for it.

    Args:
        weights: entries to fit at first, bool, broadcasting over y.
        average: forgetting of the exponential average of residuals, that of the images for linear operators.
    """

    slack = 1 / 5

    def __init__(self, weights: Tensor, patience: int = 500, average: float = 0.1) -> None:
        super().__init__(patience)
        self.weights = self.fitted = weights
        self.average = average
        self.mean = self.turned = torch.empty(0)

    def look(self, i: int, x: Tensor, residual: Tensor, shown: Tensor | None = None) -> Tensor:
        if i == 0:
            self.turned = torch.full((len(x),), torch.inf, device=x.device)
        score = super().look(i, x, residual, shown)
        self.weights = self.fitted | over(self.turned <= i, self.fitted)
        return score

    def score(self, i: int, x: Tensor, residual: Tensor) -> Tensor:
        """The misfit; once it has turned, the less as the newest image is to be chosen."""
        held = residual * ~self.fitted
        self.mean = torch.lerp(self.mean, held, forgetting(self.average, i)) if i else held
        misfit = norm(self.mean)
        return torch.where(self.turned < i, torch.minimum(misfit, 0.999 * self.least), misfit)

    def ended(self, i: int, score: Tensor) -> Tensor:
        self.turned = torch.where(super().ended(i, score), self.turned.clamp(max=i), self.turned)
        return i - self.turned >= REJOIN


class FirstOf(Stop):
    """Whichever rule ends first for a sample chooses its image; the score is that of the first rule."""

    def __init__(self, rules: list[Stop]) -> None:
        super().__init__(1)
        self.rules = rules
        self.weights = self._fitted()

    def look(self, i: int, x: Tensor, residual: Tensor, shown: Tensor | None = None) -> Tensor:
        scores = [rule.look(i, x, residual, shown) for rule in self.rules]
        first = self.rules[0]
        free = torch.ones_like(first.done) if i == 0 else ~self.done
        self.chosen = first.chosen if i == 0 else torch.where(over(free, x), first.chosen, self.chosen)
        self.at = first.at if i == 0 else torch.where(free, first.at, self.at)
        for rule in self.rules[1:]:
            ends = free & rule.done & ~first.done
            self.chosen = torch.where(over(ends, x), rule.chosen, self.chosen)
            self.at = torch.where(ends, rule.at, self.at)
            free = free & ~ends
        self.done = torch.stack([rule.done for rule in self.rules]).any(0)
        self.weights = self._fitted()
        return scores[0]

    def _fitted(self) -> Tensor | None:
        return next((rule.weights for rule in self.rules if rule.weights is not None), None)


def hold_out(y: Tensor, op: Operator, share: float, noise: Noise) -> Tensor:
    """Entries to fit, (B, 1, ...) bool over the axes of y: all but a random share of what was measured.

    One choice for all coils or channels. The largest hundredth of |y|, which holds the overall brightness (the centre
    of k-space), is always fitted.
    """
    require("held_out", share, above=0, at_most=0.5)
    size = y.abs().square().sum(1, keepdim=True).sqrt()
    measured = torch.ones_like(size, dtype=torch.bool)
    if op.sampled is not None:
        measured = measured & op.sampled.any(1, keepdim=True)
    bright = size >= torch.quantile(size.flatten(1).float(), 0.99, dim=1).view(-1, *[1] * (size.ndim - 1))
    drawn = torch.special.ndtr(noise.like(size.real)) < share
    return ~(drawn & measured & ~bright)


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
    """
    if isinstance(name, Stop):
        return name
    rules = [_rule(part, y, op, sigma_y, noise, patience, average) for part in name.split("+")]
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
