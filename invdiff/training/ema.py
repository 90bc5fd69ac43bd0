"""mean_t = beta_t mean_{t-1} + (1 - beta_t) theta_t, beta_t = (1 - 1/t)^(gamma + 1): power-function average of weights.

Its profile, the weight of theta_tau, is proportional to tau^gamma: its width is a fixed share of the steps so far,
whatever their number, so that a training stopped early has a fitting average too. The relative width is the standard
deviation of the profile, sigma_rel = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)).

Source: Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2024, equations 1-3.
"""

import copy

import numpy as np
import torch
from torch import nn


class PowerEMA:
    """Average of a network's parameters; `net` holds it, ready to evaluate.

    Args:
        width: relative width sigma_rel, above 0 and below 0.28.
    """

    def __init__(self, net: nn.Module, width: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.width, self.gamma = width, gamma_of(width)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Mix in `net` after optimiser step `step`, counted from 1."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        for mean, value in zip(self.net.parameters(), net.parameters(), strict=True):
            mean.lerp_(value, 1 - beta)


def gamma_of(width: float) -> float:
    """The exponent of a relative width: the largest root of (g + 2)^2 (g + 3) = (g + 1) / width^2."""
    t = width**-2
    return float(np.roots([1, 7, 16 - t, 12 - t]).real.max())
