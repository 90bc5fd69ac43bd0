"""Purification: x + sigma n, carried back to 0 along the prior's probability flow; and a prior asked in many poses."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from invdiff.priors.prior import Prior
from invdiff.random import Noise

POSES = 8


def purify(prior: Prior, x: Tensor, sigma: float, steps: int, noise: Noise) -> Tensor:
    """What the prior makes of x (B, C, H, W) when detail below sigma is hidden by noise; `steps` evaluations."""
    return flow(prior, x + sigma * noise.like(x), sigma, steps)


def flow(prior: Prior, x: Tensor, sigma: float, steps: int) -> Tensor:
    """x at noise level sigma at level 0, by Euler (DDIM) steps from levels in equal ratios; one step is D(x; sigma)."""
    ratio = min(prior.sigma_min / sigma, 1.0) ** (1 / steps)
    for a, b in pairwise([*(sigma * ratio**k for k in range(steps)), 0.0]):
        x_hat = prior(x, a)
        x = x_hat + (x - x_hat) * (b / a)
    return x


class Turning:
    """T_k^-1 D(T_k x; sigma): `prior`, asked about x in another pose k at every evaluation.

    A network that was trained on images in all poses errs differently in each: where an image passes through many
    evaluations, the errors average out, at no cost. Poses are flips and quarter turns, half turns where images are not
    square. Priors that do not say `any_pose`, or want coordinates, are asked upright.

    Source: Terris et al., Equivariant Plug-and-Play Image Reconstruction, CVPR 2024; there the poses are drawn.
    """

    def __init__(self, prior: Prior, first: int = 0) -> None:
        self.prior, self.count = prior, first
        self.turns = getattr(prior, "any_pose", False) and not getattr(prior, "coordinates", False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        if not self.turns:
            return self.prior(x, sigma)
        k, square = 3 * self.count % POSES, x.shape[-1] == x.shape[-2]
        turns, flip = k % 4 if square else 2 * (k % 2), k >= POSES // 2
        self.count += 1
        posed = torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))
        estimate: Tensor = getattr(self.prior, "unmasked", self.prior)(posed, sigma)
        back = torch.rot90(estimate, -turns, (-2, -1))
        back, support = back.flip(-1) if flip else back, getattr(self.prior, "support", None)
        return back if support is None else back * support
