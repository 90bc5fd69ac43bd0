"""x <- x - t g with t = <s, d> / |d|^2,  s and d being the last changes of x and of its gradient g.

A step length from what the last step taught about the curvature, for each sample of a batch alone; the objective may
rise now and then.

Source: Barzilai and Borwein, Two-Point Step Size Gradient Methods, 1988, equation 6.
"""

from torch import Tensor, where

from invdiff.shapes import dot, norm, over


class BarzilaiBorwein:
    """Steps of one minimisation; `step(gradient)` returns what to subtract.

    Args:
        first: (B,), length of the first step.
    """

    def __init__(self, first: Tensor) -> None:
        self.length = first
        self.gradient: Tensor | None = None
        self.taken: Tensor | None = None

    def step(self, gradient: Tensor) -> Tensor:
        if self.gradient is not None and self.taken is not None:
            change = self.gradient - gradient
            curvature = dot(self.taken, change).real
            self.length = where(curvature > 0, curvature / norm(change).clamp(min=1e-30) ** 2, self.length)
        self.gradient = gradient
        self.taken = over(self.length, gradient) * gradient
        return self.taken
