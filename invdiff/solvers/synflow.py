"""SynFlow: parameters by their share of the flow through a network of positive weights, without data.

    R(theta) = 1^T g_|theta|(1),   score_i = theta_i dR / dtheta_i

with g made linear: activations, averages and upsampling leave constant maps as they are, a normalisation multiplies by
its |weight|, and biases are left out. Every path leads through every layer, so each layer's scores add up to the same
R, and a layer about to be emptied has the largest ones: pruned a little at a time, s^(k / rounds), none ever is.
Biases and normalisations are kept.

Source: Tanaka et al., Pruning Neural Networks without Any Data by Iteratively Conserving Synaptic Flow, NeurIPS 2020,
equation 2 and algorithm 1 (100 rounds).
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from invdiff.networks.hourglass import Hourglass
from invdiff.solvers.mask import convolutions, largest

ROUNDS = 100


def synflow(
    net: Hourglass, theta: dict[str, Tensor], share: float, seed: int, rounds: int = ROUNDS
) -> dict[str, Tensor]:
    """What to keep of the parameters theta of net, by name, bool; one round would empty layers."""
    keep = {name: torch.ones_like(p, dtype=torch.bool) for name, p in theta.items()}
    for k in range(1, rounds + 1):
        scores = flow(net, {name: p * keep[name] for name, p in theta.items()})
        keep = largest(convolutions(scores, share), share ** (k / rounds), seed)
    return keep


def flow(net: Hourglass, theta: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores by name; those of biases are 0. In double precision, since R is a product over all layers."""
    linear = _linear(deepcopy(net))
    inputs = theta["widen.0.conv.weight"].shape[1]
    ones = torch.ones(1, inputs, net.multiple, net.multiple, dtype=torch.float64)
    weights = {name: theta[name].detach().abs().double().requires_grad_() for name, _ in linear.named_parameters()}
    with torch.enable_grad():
        through = functional_call(linear, weights, (ones,)).mean((0, 2, 3)).sum()
        gradients = torch.autograd.grad(through, list(weights.values()))
    scores = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in theta.items()}
    return scores | {n: p.detach() * g for (n, p), g in zip(weights.items(), gradients, strict=True)}


class _Constant(nn.Module):
    """A layer as it acts, without its bias, on maps that are constant over space."""

    def __init__(self, layer: nn.Conv2d | nn.InstanceNorm2d) -> None:
        super().__init__()
        self.weight = layer.weight

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 1:
            return x * self.weight[:, None, None]
        return F.conv2d(x, self.weight.sum((2, 3), keepdim=True))


def _linear(module: nn.Module) -> nn.Module:
    """The module with its layers replaced."""
    for name, child in module.named_children():
        setattr(module, name, _Constant(child) if isinstance(child, (nn.Conv2d, nn.InstanceNorm2d)) else _linear(child))
    return module
