"""Optimal Eye Surgeon: which few of a network's random parameters make, left as drawn, the image already.

    p <- Adam on |A g(theta_0 * m; z) - y|^2 / n + kappa sum_i KL(Ber(sigmoid(p_i)) | Ber(s)),
    m = sigmoid((p + l) / 0.2),   l logistic noise (binary Gumbel-softmax at temperature 0.2)

and the mask keeps the share s of all parameters with the largest p, over all layers together. What it keeps generates
images and has little room for noise. No clean image is used; masks can be taken to other images, sizes and operators.

Source: Ghosh et al., Optimal Eye Surgeon: Finding Image Priors through Sparse Generators at Initialization, ICML 2024,
section 3 (temperature, kappa, Adam at 0.01).
Differs: residuals are relative to the brightness of the image and to |A|, so that kappa transfers between scans.
"""

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.random import Noise, mix
from invdiff.solvers.generator import hourglass, misfit, planted
from invdiff.solvers.mask import Mask, largest
from invdiff.solvers.pruning import prune
from invdiff.solvers.untrained import Problem
from invdiff.solvers.whole_channels import whole_channels

__all__ = ["Mask", "learn_mask", "prune", "whole_channels"]

TEMPERATURE = 0.2
TINY = 1e-6  # guards logarithms, as in the paper's code


def learn_mask(
    y: Tensor,
    op: Operator,
    *,
    sparsity: float = 0.05,
    iterations: int = 2000,
    lr: float = 0.01,
    kappa: float = 1e-9,
    seed: int = 0,
    progress: bool = False,
) -> Mask:
    """The mask for one measurement y (1, *op.shape_out).

    Args:
        sparsity: share of the parameters to keep. iterations: of Adam; 60,000 in the paper. lr: its rate.
        kappa: weight of the divergence from keeping each with probability `sparsity`.
        seed: of the network's parameters and input, which the mask belongs to.

    Raises:
        ValueError: more than one measurement; an option outside its range.
    """
    require("sparsity", sparsity, above=0, at_most=1)
    require("iterations", iterations, at_least=1)
    if len(y) != 1:
        raise ValueError(f"a mask is learned from one measurement, y has {len(y)}. Pass y[i : i + 1].")
    problem = Problem(y, op)
    net = hourglass(problem.channels, op)
    replicas, z = planted(net, seed, y, op)
    gumbel = Noise([mix(seed, 1)], y.device)
    logits = {name: torch.zeros_like(p).requires_grad_() for name, p in replicas.parameters.items()}
    adam = torch.optim.Adam(list(logits.values()), lr=lr, foreach=True)
    with torch.enable_grad():
        for _ in tqdm(range(iterations), "mask", disable=not progress):
            soft = {name: torch.sigmoid((p + _logistic(p, gumbel)) / TEMPERATURE) for name, p in logits.items()}
            loss = misfit(replicas.masked(soft), z, problem) + kappa * _divergence(logits, sparsity)
            adam.zero_grad()
            loss.backward()
            adam.step()
    scores = {name: p.detach()[0].cpu() for name, p in logits.items()}
    return Mask(largest(scores, sparsity, seed), net.config, seed)


def _logistic(p: Tensor, noise: Noise) -> Tensor:
    u = torch.special.ndtr(noise.like(p)).clamp(TINY, 1 - TINY)
    return torch.logit(u)


def _divergence(logits: dict[str, Tensor], s: float) -> Tensor:
    """sum KL(Ber(sigmoid(p)) | Ber(s))."""
    total = torch.zeros(())
    for p in logits.values():
        pi = torch.sigmoid(p)
        kept, dropped = torch.log((pi + TINY) / (s + TINY)), torch.log((1 - pi + TINY) / (1 - s + TINY))
        total = total.to(p) + (pi * kept + (1 - pi) * dropped).sum()
    return total
