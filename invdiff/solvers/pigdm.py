"""PiGDM: pseudoinverse-guided diffusion.

With p(x0 | x) taken as N(D(x; sigma), r^2 I), the likelihood of the state is N(y; A D, r^2 A A^H + sigma_y^2 I), and

    x0 = D + (sigma / r)^2 J^H p,   p = r^2 A^H (r^2 A A^H + sigma_y^2 I)^-1 (y - A D),   J = dD / dx,

estimates E[x0 | x, y]; an ancestral step follows. The solve is a proximal one,

    p = argmin_x |A x - y|^2 + (sigma_y / r)^2 |x - D|^2 - D.

The covariance of x0 given x is sigma^2 J, and r^2 I stands for it: r^2 = sigma^2 |J^H p|^2 / <p, J^H p> makes
(sigma / r)^2 J^H p nearest to p, where the data are met, and never above sigma^2.

Source: Song et al., Pseudoinverse-Guided Diffusion Models for Inverse Problems, ICLR 2023, equation 8 and Algorithm 1.
Differs: r^2 follows from the prior, per sample and level (in p, that of the level above), where the paper has
sigma^2 / (1 + sigma^2), for images of unit variance, which overshoots without bound where they vary more in some
direction; the estimate above replaces D in both parts of the step, where the paper adds the guidance to the mean; the
solve runs for every linear operator, by conjugate gradients where no closed form exists; nothing is clipped.
"""

from itertools import pairwise

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.diffusion.step import ddim
from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior, denoise_vjp
from invdiff.random import Noise
from invdiff.shapes import dot, norm, over
from invdiff.solvers.method import Callback, data_weight, depart

REFERENCE = """@inproceedings{song2023pigdm,
  title = {Pseudoinverse-Guided Diffusion Models for Inverse Problems},
  author = {Song, Jiaming and Vahdat, Arash and Mardani, Morteza and Kautz, Jan},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"""


def pigdm(
    y: Tensor,
    op: LinearOperator,
    prior: Prior,
    *,
    sigma_y: Tensor,
    noise: Noise,
    callback: Callback,
    steps: int = 100,
    grid: str = "karras",
    eta: float = 1.0,
    inner: int = 10,
    teleport: bool = False,
) -> Tensor:
    """Sample from an approximate posterior of y (B, *op.shape_out); returns (B, *op.shape_in), prior's units.

    Args:
        sigma_y: (B,) noise standard deviation per real component; 0 is allowed.
        steps: noise levels; each costs one evaluation and one input gradient. grid: their spacing.
        eta: share of fresh noise, 0 the deterministic flow, 1 the ancestral step.
        inner: conjugate-gradient steps per level at most, where there is no closed form.
        teleport: begin below the levels that the prior passes in closed form, where it has such (see `HybridPrior`).
    """
    require("eta", eta, at_least=0, at_most=1)
    require("inner", inner, at_least=1)
    sigmas = levels(grid, steps, prior.sigma_min, prior.sigma_max)
    x, sigmas = depart(y, op, prior, noise, sigmas, teleport)
    ratio = torch.ones_like(sigma_y)  # r^2 / sigma^2, (B,)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x_hat, pull = denoise_vjp(prior, x, sigma)
        change = op.prox(x_hat, y, data_weight(op, sigma_y, ratio * sigma**2), iterations=inner) - x_hat
        pulled = pull(change)
        ratio = _ratio(change, pulled)
        x0 = x_hat + pulled / over(ratio, pulled)
        fresh = eta * (1 - (sigma_next / sigma) ** 2) ** 0.5
        x = ddim(x, x0, x0, sigma, sigma_next, fresh, noise)
        callback(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma)
    return x


def _ratio(p: Tensor, pulled: Tensor) -> Tensor:
    """|J^H p|^2 / <p, J^H p>, (B,), at most 1; and 1 where the product is not positive, which exact denoisers avoid."""
    overlap = dot(p, pulled).real
    ratio = norm(pulled) ** 2 / torch.where(overlap > 0, overlap, 1)
    return torch.where(overlap > 0, ratio, 1).clamp(1e-8, 1)
