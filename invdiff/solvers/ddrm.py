"""DDRM: denoising diffusion restoration models, in the singular vectors of A = U diag(s) V^H.

With x_ = V^H x, d_ = V^H D(x; sigma), y_ = U^H y / s and its noise e = sigma_y / s, each coefficient is drawn from

    N(d_ + sqrt(1 - eta^2) sigma_next (x_ - d_) / sigma,  eta^2 sigma_next^2)             where s = 0,
    N(d_ + sqrt(1 - eta^2) sigma_next (y_ - d_) / e,      eta^2 sigma_next^2)             where sigma_next < e,
    N((1 - eta_b) d_ + eta_b y_,                          sigma_next^2 - eta_b^2 e^2)     where sigma_next >= e.

Source: Kawar et al., Denoising Diffusion Restoration Models, NeurIPS 2022, equations 7 and 8.
Differs: sigma_y is the noise of y itself (the released code doubles what it is given); singular values below 1e-4 of
the largest count as zero; the run starts from the prior's noise alone, of which at sigma_max the data are a negligible
part; levels are spaced as by Karras et al., 2022.
"""

from itertools import pairwise

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import over
from invdiff.solvers.method import Callback, depart

REFERENCE = """@inproceedings{kawar2022ddrm,
  title = {Denoising Diffusion Restoration Models},
  author = {Kawar, Bahjat and Elad, Michael and Ermon, Stefano and Song, Jiaming},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022}
}"""
RCOND = 1e-4
UNKNOWN = "it needs the singular vectors, and they are not known. Use ddnm, diffpir or dds, which need none."


def unknown_spectrum(op: Operator) -> str | None:
    """Why DDRM cannot work behind an operator: it does not give its singular vectors away."""
    if isinstance(op, LinearOperator) and op.svd(bool(op.complex_in)) is not None:
        return None
    return UNKNOWN


def ddrm(
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
    eta_b: float = 1.0,
    teleport: bool = True,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        sigma_y: (B,) noise standard deviation per real component; 0 is allowed.
        steps: noise levels; each costs one evaluation (20 in the paper). On training slices of brain-mri, 4x
            single-coil, 20, 50 and 100 gave 25.7, 27.5 and 29.3 dB. grid: their spacing.
        eta: share of fresh noise where the data say nothing, or less than the state; 0 to 1. With 1 the latter data are
            not used at all.
        eta_b: share of the data in the mean where they say more; 0 to 1.
        teleport: begin below the levels that the prior passes in closed form, where it has such (see `HybridPrior`).

    Raises:
        ValueError: singular vectors that are not known.
    """
    require("eta", eta, at_least=0, at_most=1)
    require("eta_b", eta_b, at_least=0, at_most=1)
    svd = op.svd(prior.complex)
    if svd is None:
        raise ValueError(f"ddrm does not work behind {op.name}: {UNKNOWN}")
    seen = svd.s > RCOND * svd.s.max()
    s = torch.where(seen, svd.s, 1)
    data, error = svd.uh(y) / s, over(sigma_y, s) / s
    sigmas = levels(grid, steps, prior.sigma_min, prior.sigma_max)
    x, sigmas = depart(y, op, prior, noise, sigmas, teleport)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = prior(x, sigma)
        guess, keep = svd.vh(x0), (1 - eta**2) ** 0.5 * sigma_next
        unseen = guess + keep * (svd.vh(x) - guess) / sigma
        faint = guess + keep * (data - guess) / error.clamp(min=sigma_next or 1.0)  # used where error > sigma_next
        clear = (1 - eta_b) * guess + eta_b * data
        told = sigma_next >= error
        mean = torch.where(seen, torch.where(told, clear, faint), unseen)
        variance = torch.where(seen & told, sigma_next**2 - (eta_b * error) ** 2, (eta * sigma_next) ** 2)
        x = svd.v(mean + variance.sqrt() * svd.vh(noise.like(x)))
        callback(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma)
    return x
