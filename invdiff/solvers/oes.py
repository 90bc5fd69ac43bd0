"""Optimal Eye Surgeon: which few of a network's random parameters make, left as drawn, the image already.

    p <- Adam on |A g(theta_0 * m; z) - y|^2 / n + kappa mean_i KL(Ber(sigmoid(p_i)) | Ber(s)),
    m = sigmoid((p + l) / 0.2),   l logistic noise (binary Gumbel-softmax at temperature 0.2)

and the mask keeps the share s of all parameters with the largest p, over all layers together. What it keeps generates
images and has little room for noise. No clean image is used; masks can be taken to other images, sizes and operators.

Source: Ghosh et al., Optimal Eye Surgeon: Finding Image Priors through Sparse Generators at Initialization, ICML 2024,
section 3 (temperature, kappa).
Differs: residuals are relative to the brightness of the image and to |A|, and the divergence is a mean, for the paper's
sum over 3.0 million parameters times 1e-9, so that kappa transfers between scans and networks. Biases and
normalisations, 1 % of the parameters, are kept: with 5 % of them drawn as in the paper, most channels are dead before
anything is learned, and its 60,000 steps at a rate of 0.01 are needed to find others. Every convolution keeps at least
one weight: the last, which has as many as the finest scale has channels, could otherwise lose all.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.random import Noise, mix
from invdiff.solvers.checkpoint import Checkpoint, digest, of_operator, restore_adam
from invdiff.solvers.generator import CHANNELS, hourglass, misfit, planted
from invdiff.solvers.mask import Mask, alive, convolutions, largest
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
    lr: float = 0.03,
    kappa: float = 3e-3,
    channels: int = CHANNELS,
    seed: int = 0,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> Mask:
    """The mask for one measurement y (1, *op.shape_out).

    Args:
        sparsity: share of the parameters to keep, more than biases and normalisations, which are.
        iterations: of Adam; 60,000 in the paper. lr: its rate.
        kappa: weight of the mean divergence from keeping each with probability `sparsity`.
        channels: of the network at full resolution, and 2, 4, 8, 8 and 8 times as many at its coarser scales.
        seed: of the network's parameters and input, which the mask belongs to.
        checkpoint: a .safetensors file to keep the state in; where it is there already, learning goes on from it.

    Raises:
        ValueError: more than one measurement; an option outside its range; a checkpoint of something else.
    """
    require("sparsity", sparsity, above=0, at_most=1)
    require("iterations", iterations, at_least=1)
    if len(y) != 1:
        raise ValueError(f"a mask is learned from one measurement, y has {len(y)}. Pass y[i : i + 1].")
    problem = Problem(y, op)
    net = hourglass(problem.channels, op, channels)
    replicas, z = planted(net, seed, y, op)
    learning = Learning(replicas.parameters, lr, Noise([mix(seed, 1)], y.device))
    convolutions(learning.scores(), sparsity)  # refuses a share that is too small before it is worked for
    identity = {"measurement": digest(y), "operator": of_operator(op), "seed": digest(seed)}
    options = {"options": digest(sparsity, iterations, lr, kappa), "network or mask": digest(net.config)}
    file = Checkpoint(checkpoint, identity | options)
    learning.resume(file.read())
    left = range(learning.done, iterations)
    with torch.enable_grad():
        for _ in tqdm(left, "mask", disable=not progress, initial=learning.done, total=iterations):
            energy = misfit(replicas.masked(learning.factors()), z, problem)
            learning.step(energy + kappa * _divergence(learning.p, sparsity))
            file.write(learning.content, last=learning.done == iterations)
    scores = alive(convolutions(learning.scores(), sparsity))
    return Mask(largest(scores, sparsity, seed), net.config, seed)


class Learning:
    """The logits p of the weights of convolutions, (1, n), and all that their next step depends on."""

    def __init__(self, parameters: dict[str, Tensor], lr: float, noise: Noise) -> None:
        self.kept = {name: torch.ones_like(values) for name, values in parameters.items() if values.ndim == 2}
        self.shapes = {name: values.shape for name, values in parameters.items()}
        n = sum(values.numel() for name, values in parameters.items() if name not in self.kept)
        self.p = torch.zeros(1, n, device=noise.device, requires_grad=True)
        self.adam, self.noise, self.done = torch.optim.Adam([self.p], lr=lr), noise, 0

    def factors(self) -> dict[str, Tensor]:
        """A draw of m by name, (1, *shape); 1 for what is kept anyway."""
        u = torch.special.ndtr(self.noise.like(self.p)).clamp(TINY, 1 - TINY)
        return self._by_name(torch.sigmoid((self.p + torch.logit(u)) / TEMPERATURE))

    def scores(self) -> dict[str, Tensor]:
        """p by name, (*shape)."""
        return {name: values[0].cpu() for name, values in self._by_name(self.p.detach()).items()}

    def step(self, loss: Tensor) -> None:
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.done += 1

    def content(self) -> dict[str, Any]:
        """What `resume` takes."""
        adam = self.adam.state_dict()["state"]
        return {"logits": self.p, "adam": adam, "noise": self.noise.states(), "done": self.done}

    def resume(self, content: dict[str, Any] | None) -> None:
        if content is None:
            return
        self.p.data.copy_(content["logits"])
        restore_adam(self.adam, content["adam"])
        self.noise.restore(content["noise"])
        self.done = int(content["done"])

    def _by_name(self, flat: Tensor) -> dict[str, Tensor]:
        sizes = [0 if name in self.kept else shape.numel() for name, shape in self.shapes.items()]
        parts = zip(flat.split(sizes, 1), self.shapes.items(), strict=True)
        return {name: self.kept[name] if name in self.kept else part.view(shape) for part, (name, shape) in parts}


def _divergence(p: Tensor, s: float) -> Tensor:
    """mean KL(Ber(sigmoid(p)) | Ber(s))."""
    pi = torch.sigmoid(p)
    kept, dropped = torch.log((pi + TINY) / (s + TINY)), torch.log((1 - pi + TINY) / (1 - s + TINY))
    return (pi * kept + (1 - pi) * dropped).mean()
