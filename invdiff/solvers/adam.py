"""Adam on a tensor: m <- b1 m + (1-b1) g,  s <- b2 s + (1-b2) g^2,  step = lr m^ / (sqrt(s^) + eps).

Elementwise, so samples of a batch do not meet; the two components of a complex entry are scaled apart, as if the image
had two real channels.

Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, Algorithm 1.
"""

import torch
from torch import Tensor


class Adam:
    """Step sizes for one minimisation; `step(gradient)` returns what to subtract."""

    def __init__(self, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self.count = 0
        self.mean: Tensor | None = None
        self.square: Tensor | None = None

    def step(self, gradient: Tensor) -> Tensor:
        g = torch.view_as_real(gradient) if gradient.is_complex() else gradient
        first, second = self.betas
        if self.mean is None or self.square is None:
            self.mean, self.square = torch.zeros_like(g), torch.zeros_like(g)
        self.count += 1
        self.mean = torch.lerp(self.mean, g, 1 - first)
        self.square = torch.lerp(self.square, g * g, 1 - second)
        mean = self.mean / (1 - first**self.count)
        scale = (self.square / (1 - second**self.count)).sqrt() + self.eps
        change = self.lr * mean / scale
        return torch.view_as_complex(change) if gradient.is_complex() else change
