"""Power-function exponential moving average: beta_t = (1 - 1/t)^(gamma + 1).

Its width is a fixed share of the steps so far, whatever their number, so that a training stopped early has a fitting
average too. gamma = 6.94 is a relative width of 0.10.

Source: Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2024, equations 1-3.
"""

import copy

import torch
from torch import nn


class PowerEMA:
    """Average of a network's parameters; `net` holds it, ready to evaluate."""

    def __init__(self, net: nn.Module, gamma: float = 6.94) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.gamma = gamma

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Mix in `net` after optimiser step `step`, counted from 1."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        for mean, value in zip(self.net.parameters(), net.parameters(), strict=True):
            mean.lerp_(value, 1 - beta)
