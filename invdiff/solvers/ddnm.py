"""DDNM+: denoising diffusion null-space model, for noisy data.

    x0 = D(x; sigma) + S A^+ (y - A D)
    x  = x0 + sigma_next sqrt(1 - eta^2) eps + n,   n ~ N(0, P),   eps = (x - D) / sigma.

Without noise S = I and P = tau^2 I, tau = eta sigma_next: the range of A is the data's, the null space the prior's.
With noise, S holds back what of it would exceed the step's own, tau, and P fills up the rest,

    S A^+ = (A^H A + rho)^-1 A^H,   rho = (sigma_y / tau)^2,   P = tau^2 I - sigma_y^2 (S A^+) (S A^+)^H.

With white w1, w2, w3 the proximal step from D + tau w3, for the data y + tau A w1 + sigma_y w2, is a draw of x0 + n.

Source: Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023, section
3.3 (DDNM+), equations 17 to 19.
Differs: S has the gains t^2 / (1 + t^2), t = tau s / sigma_y for a singular value s, where the paper has min(1, t): no
singular vectors are needed, so that every linear operator will do, and draws are less over-confident. The step is that
of DDIM, as in the released code. No time travel. Levels are spaced as by Karras et al., 2022; the last returns x0 with
tau = sigma.
"""

from itertools import pairwise

from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import over
from invdiff.solvers.method import Callback, data_weight, depart

REFERENCE = """@inproceedings{wang2023ddnm,
  title = {Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model},
  author = {Wang, Yinhuai and Yu, Jiwen and Zhang, Jian},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"""


def ddnm(
    y: Tensor,
    op: LinearOperator,
    prior: Prior,
    *,
    sigma_y: Tensor,
    noise: Noise,
    callback: Callback,
    steps: int = 100,
    grid: str = "karras",
    eta: float = 0.85,
    inner: int = 10,
    teleport: bool = True,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        sigma_y: (B,) noise standard deviation per real component; 0 is allowed.
        steps: noise levels; each costs one evaluation. grid: their spacing.
        eta: share of fresh noise, above 0 (0.85 in the released code, and here). On training slices of brain-mri 1
            gave up to 0.3 dB more, and draws that spread less.
        inner: conjugate-gradient steps per level at most, where there is no closed form.
        teleport: begin below the levels that the prior passes in closed form, where it has such (see `HybridPrior`).
    """
    require("eta", eta, above=0, at_most=1)
    require("inner", inner, at_least=1)
    sigmas = levels(grid, steps, prior.sigma_min, prior.sigma_max)
    x, sigmas = depart(y, op, prior, noise, sigmas, teleport)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = prior(x, sigma)
        tau = eta * sigma_next
        if tau == 0:
            x = op.prox(x0, y, data_weight(op, sigma_y, sigma**2), iterations=inner)
        else:
            data = y + tau * op(noise.like(x)) + over(sigma_y, y) * noise.like(y)
            drawn = op.prox(x0 + tau * noise.like(x), data, data_weight(op, sigma_y, tau**2), iterations=inner)
            x = drawn + ((1 - eta**2) ** 0.5 * sigma_next / sigma) * (x - x0)
        callback(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma)
    return x
