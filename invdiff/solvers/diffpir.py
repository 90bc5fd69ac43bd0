"""DiffPIR: denoising diffusion models for plug-and-play image restoration.

    x0 = argmin_x |A x - y|^2 + rho |x - D(x_sigma; sigma)|^2,   rho = lam sigma_y^2 / sigma^2
    x  = x0 + sigma_next (sqrt(1 - zeta) eps + sqrt(zeta) n),    eps = (x_sigma - x0) / sigma

Source: Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, CVPRW 2023, Algorithm 1 and
equation 13.
Differs: sigma_y is the noise of y itself, the same in rho as in the data; levels are spaced as by Karras et al., 2022;
conjugate gradients solve the data step where no closed form exists; the last level returns x0; nothing is clipped.
"""

from itertools import pairwise

from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.diffusion.step import ddim
from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.solvers.method import Callback, data_weight, depart

REFERENCE = """@inproceedings{zhu2023diffpir,
  title = {Denoising Diffusion Models for Plug-and-Play Image Restoration},
  author = {Zhu, Yuanzhi and Zhang, Kai and Liang, Jingyun and Cao, Jiezhang and Wen, Bihan and Timofte, Radu and
            Van Gool, Luc},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition Workshops},
  year = {2023}
}"""


def diffpir(
    y: Tensor,
    op: LinearOperator,
    prior: Prior,
    *,
    sigma_y: Tensor,
    noise: Noise,
    callback: Callback,
    steps: int = 100,
    grid: str = "karras",
    lam: float = 1.0,
    zeta: float = 1.0,
    inner: int = 10,
    teleport: bool = True,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        sigma_y: (B,) noise standard deviation per real component; 0 is allowed.
        steps: noise levels; each costs one evaluation. grid: their spacing.
        lam: trust in the prior against the data (1 in the released configurations, 7 to 15 where tuned).
        zeta: share of fresh noise, 0 to 1 (0.1 to 0.3 in the released configurations, 1 for inpainting). On training
            slices of brain-mri, 4x single-coil, 0.3 and 1 gave 26.9 and 30.0 dB; 0.3 spreads more like the posterior.
        inner: conjugate-gradient steps per level at most, where there is no closed form.
        teleport: begin below the levels that the prior passes in closed form, where it has such (see `HybridPrior`).
    """
    require("lam", lam, above=0)
    require("zeta", zeta, at_least=0, at_most=1)
    require("inner", inner, at_least=1)
    sigmas = levels(grid, steps, prior.sigma_min, prior.sigma_max)
    x, sigmas = depart(y, op, prior, noise, sigmas, teleport)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = op.prox(prior(x, sigma), y, data_weight(op, sigma_y, sigma**2 / lam), iterations=inner)
        x = ddim(x, x0, x0, sigma, sigma_next, zeta**0.5, noise)
        callback(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma)
    return x
