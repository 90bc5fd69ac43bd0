"""RED-diff: regularisation by denoising diffusion.

The mean mu of a point-like posterior is optimised by Adam, at one noise level after the other, from high to low:

    |A mu - y|^2 / (2 |A|^2) + w <stop[eps_hat - eps], mu>,   w = lam sigma,   eps_hat = (x - D(x; sigma)) / sigma,

x = mu + sigma eps. In variance-exploding coordinates the second gradient is lam (mu - D(mu + sigma eps; sigma)): the
denoiser's residual, as in regularisation by denoising. Repeats spread by what Adam leaves of eps in mu, which is no
posterior spread: an eighth of it where there are data.

Source: Mardani et al., A Variational Perspective on Solving Inverse Problems with Diffusion Models, ICLR 2024,
Algorithm 1 and equation 12; w = lam / sqrt(SNR), sqrt(SNR) = 1 / sigma.
Differs: the data term is divided by |A|^2, so that lam and lr transfer between operators; the learning rate falls
linearly to 0, so that the draws of eps average out in 100 steps instead of 1000; levels are spaced as by Karras et al.,
2022; the start is a proximal step from the prior's mean (that mean itself, where the operator is not linear) instead
of A^+ y; Adam scales real and imaginary parts apart.
"""

from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm
from invdiff.solvers.adam import Adam
from invdiff.solvers.method import Callback, operator_norm, start

REFERENCE = """@inproceedings{mardani2024reddiff,
  title = {A Variational Perspective on Solving Inverse Problems with Diffusion Models},
  author = {Mardani, Morteza and Song, Jiaming and Kautz, Jan and Vahdat, Arash},
  booktitle = {International Conference on Learning Representations},
  year = {2024}
}"""


def red_diff(
    y: Tensor,
    op: Operator,
    prior: Prior,
    *,
    noise: Noise,
    callback: Callback,
    steps: int = 100,
    grid: str = "karras",
    lam: float = 0.25,
    lr: float = 0.3,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        steps: Adam steps and noise levels; each costs one evaluation. grid: their spacing.
        lam: weight of the prior (0.25 in the released code, and here). On training slices of brain-mri, 4x single-coil,
            1 gave 0.2 dB less at a noise of 0.01 and 0.3 dB more at 0.05.
        lr: Adam's first learning rate (0.1 and 0.5 in the released code; on those slices 0.1 gave 0.8 dB less).
    """
    require("lam", lam, at_least=0)
    require("lr", lr, above=0)
    sigmas = levels(grid, steps, prior.sigma_min, prior.sigma_max)
    scale = operator_norm(op) ** 2
    mu = prior(start(y, op, prior, noise, sigmas[0]), sigmas[0])
    if isinstance(op, LinearOperator):
        mu = op.prox(mu, y, 0.1 * scale)
    adam = Adam(lr, betas=(0.9, 0.99))
    for i, sigma in enumerate(sigmas[:-1]):
        adam.lr = lr * (1 - i / steps)
        residual = op(mu) - y
        x0 = prior(mu + sigma * noise.like(mu), sigma)
        mu = mu - adam.step(op.vjp(mu, residual) / scale + lam * (mu - x0))
        callback(i, steps, x=mu, x0=x0, sigma=sigma, misfit=norm(residual))
    return mu
