"""PnP-DM: plug-and-play Monte Carlo with a diffusion prior, a split Gibbs sampler.

The posterior exp(-|A z - y|^2 / (2 sigma_y^2)) p(z) is split by a copy x at distance rho,

    x ~ exp(-|A x - y|^2 / (2 sigma_y^2) - |x - z|^2 / (2 rho^2))     the data
    z ~ exp(-|x - z|^2 / (2 rho^2)) p(z)                              the prior: denoise x, as a draw

in turns, while rho falls. The second is the reverse diffusion from sigma = rho to 0.

Source: Wu et al., Principled Probabilistic Imaging using Diffusion Models as Plug-and-Play Priors, NeurIPS 2024,
Algorithm 1; noise levels and reverse SDE after Karras et al., 2022.
Differs: where A is linear the first draw is exact (perturb and optimise), elsewhere Hamiltonian Monte Carlo. The
reverse SDE is taken by the exponential Euler-Maruyama step with the larger of the two usual variances,
r x + (1 - r) D(x) + sigma sqrt(1 - r) n with r = (sigma_next / sigma)^2, exact for rho below the detail of the prior at
any step length, so that few steps do; the smaller one, at five steps, leaves a fifth of the spread out. Samples of the
coupled problem see the noise sigma_y^2 + rho^2 A A^H, so that rho ends at sigma_y / (4 |A|): 3 % of the spread.

Known limit: modes that the data decide, or say nothing of, are visited by their weight. Weak evidence is lost: the mode
is chosen at the rho that tells modes apart, which hides what the data say of it.
"""

from itertools import pairwise

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.likelihood import draw
from invdiff.solvers.method import Callback, operator_norm, start

REFERENCE = """@inproceedings{wu2024pnpdm,
  title = {Principled Probabilistic Imaging using Diffusion Models as Plug-and-Play Priors},
  author = {Wu, Zihui and Sun, Yu and Chen, Yifan and Zhang, Bingliang and Yue, Yisong and Bouman, Katherine L.},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024}
}"""


def pnp_dm(
    y: Tensor,
    op: Operator,
    prior: Prior,
    *,
    sigma_y: Tensor,
    noise: Noise,
    callback: Callback,
    steps: int = 60,
    rho: float = 10.0,
    rho_min: float | None = None,
    levels: int = 4,
    average: int = 1,
    inner: int = 30,
) -> Tensor:
    """Sample from the posterior of y (B, *op.shape_out); returns (B, *op.shape_in), prior's units.

    Args:
        sigma_y: (B,) noise standard deviation per real component.
        steps: turns of both draws (100 in the paper). rho: coupling of the first, at most the prior's sigma_max.
        rho_min: coupling of the last; between them rho falls by equal factors (0.9 with a final 0.3 in the paper).
            None: sigma_y / (4 |A|), at most 0.05 and at least the lowest level of the prior, which then sets the bias.
        levels: steps of the reverse diffusion in each turn, one evaluation each. A Gaussian prior needs 2; of two modes
            with weights 0.7 and 0.3, draws chose the first by 0.60 with 2, 0.63 with 3 and 0.69 with 4.
        average: the mean of z over this many last turns is returned (20 in the paper); 1 keeps it a sample.
        inner: conjugate-gradient iterations at most per turn, or trajectories (see `likelihood.draw`).
    """
    require("levels", levels, at_least=1)
    require("inner", inner, at_least=1)
    require("average", average, at_least=1, at_most=steps)
    first, last = ends(op, prior, sigma_y, rho, rho_min)
    z = start(y, op, prior, noise, 0.0)
    total = torch.zeros_like(z)
    for i in range(steps):
        coupling = first * (last / first) ** (i / max(steps - 1, 1))
        x = draw(y, op, z, coupling, sigma_y, noise, inner)
        z = denoised(prior, x, coupling, levels, noise)
        total = total + z if i >= steps - average else total
        callback(i, steps, x=x, x0=z, sigma=float(coupling[0]), misfit=norm(op(z) - y))
    return total / average


def ends(op: Operator, prior: Prior, sigma_y: Tensor, rho: float, rho_min: float | None) -> tuple[Tensor, Tensor]:
    """First and last coupling of each sample, (B,)."""
    require("rho", rho, above=0)
    first = torch.full_like(sigma_y, min(rho, prior.sigma_max))
    if rho_min is None:
        return first, (sigma_y / (4 * operator_norm(op))).clamp(prior.sigma_min, max(0.05, prior.sigma_min))
    require("rho_min", rho_min, above=0, at_most=rho)
    return first, torch.full_like(sigma_y, rho_min)


def denoised(prior: Prior, x: Tensor, rho: Tensor, levels: int, noise: Noise) -> Tensor:
    """A draw of z given x = z + rho n: the reverse SDE from rho to rho / 4 in equal factors, then the mean."""

    def mean(x: Tensor, share: float) -> Tensor:
        return prior(x, (share * rho).clamp(min=prior.sigma_min))

    shares = [4 ** (-i / max(levels - 1, 1)) for i in range(levels)]
    for a, b in pairwise(shares):
        r = (b / a) ** 2
        x = r * x + (1 - r) * mean(x, a) + (1 - r) ** 0.5 * a * over(rho, x) * noise.like(x)
    return mean(x, shares[-1])
