"""x* = x_i of the least score, i ended some iterations after it: what all stop rules have in common."""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.shapes import over

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
        order: among rules that are joined; 0 takes an image of the past, 2 the newest, 1 first one and then the other.
    """

    weights: Tensor | None = None
    slack = 1 / 2
    order = 0

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
