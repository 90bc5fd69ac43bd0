"""DAPS: decoupled annealing posterior sampling.

At each noise level, estimate, draw from the data and the Gaussian around the estimate, and add the noise of the next:

    x_hat = estimate of x0 from x (one step: the mean D(x; sigma))
    x0    ~ exp(-|A x - y|^2 / (2 sigma_y^2) - |x - x_hat|^2 / (2 r^2)),   r = sigma / sqrt(1 + sigma^2)
    x     = x0 + sigma_next n

No gradient passes through the network.

Source: Zhang et al., Improving Diffusion Inverse Problem Solving with Decoupled Noise Annealing, CVPR 2025,
Algorithm 1.
Differs: where A is linear the draw is exact (perturb and optimise) in place of Langevin steps, elsewhere Hamiltonian
Monte Carlo. The estimate is the mean, the paper's ODE with one step: r is the spread around the mean, and around the
end of an ODE, which already spreads like the prior, it doubles the variance of what is not measured (Gaussian prior,
any number of levels). r is that of a prior of unit variance, not sigma, which keeps the data step well conditioned at
high noise. Levels go down to the lowest of the prior, not 0.1, since x0 keeps the noise of the last.

Known limit: modes that the data decide, or say nothing of, are visited by their weight. Weak evidence is lost: the mode
is chosen at the noise level that tells modes apart, which hides what the data say of it.
"""

from itertools import pairwise

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.step import renoise
from invdiff.operators.base import Operator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm
from invdiff.solvers.first_image import levels_from
from invdiff.solvers.likelihood import draw
from invdiff.solvers.method import Callback, start
from invdiff.solvers.purification import flow

REFERENCE = """@inproceedings{zhang2025daps,
  title = {Improving Diffusion Inverse Problem Solving with Decoupled Noise Annealing},
  author = {Zhang, Bingliang and Chu, Wenda and Berner, Julius and Meng, Chenlin and Anandkumar, Anima and Song, Yang},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2025}
}"""


def daps(
    y: Tensor,
    op: Operator,
    prior: Prior,
    *,
    sigma_y: Tensor,
    noise: Noise,
    callback: Callback,
    steps: int = 100,
    grid: str = "karras",
    ode: int = 1,
    inner: int = 30,
    sigma_first: float | None = None,
) -> Tensor:
    """Sample from the posterior of y (B, *op.shape_out); returns (B, *op.shape_in), prior's units.

    Args:
        sigma_y: (B,) noise standard deviation per real component.
        steps: noise levels (200 in the paper). On a Gaussian prior the draws of 50 spread 10 %, those of 100 spread 5 %
            too wide where nothing is measured.
        grid: their spacing, "karras" as in the paper, or "vp".
        ode: Euler steps of the estimate, each one evaluation (5 in the paper; see Differs).
        inner: conjugate-gradient iterations at most per level, or trajectories (see `likelihood.draw`).
        sigma_first: begin at this level, from the operator's first image; None: from the prior's highest, where the
            operator has no image of its own (see `first_image`).
    """
    require("ode", ode, at_least=1)
    require("inner", inner, at_least=1)
    sigmas, image = levels_from(sigma_first, y, op, prior, noise, grid, steps)
    x = start(y, op, prior, noise, sigmas[0], image)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x_hat = flow(prior, x, sigma, ode)
        r = torch.full_like(sigma_y, sigma / (1 + sigma**2) ** 0.5)
        x0 = draw(y, op, x_hat, r, sigma_y, noise, inner)
        x = renoise(x0, sigma_next, noise)
        callback(i, steps, x=x, x0=x0, sigma=sigma, misfit=norm(op(x0) - y))
    return x0
