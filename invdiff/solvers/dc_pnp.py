"""DC-PnP: plug-and-play ADMM with a diffusion denoiser that is shown white noise.

    x = argmin |A x - y|^2 + rho |x - (z - u)|^2,   rho = w sigma_y^2 / sigma^2     data
    v = x + u + noise whose spectrum completes that of x + u - z to a white one of level sigma
    z = D(v; sigma)                                                               prior
    u = u + x - z                                                                 dual

while sigma falls. The scaled dual u feeds back what remains of the misfit, which half-quadratic splitting leaves; what
it gathers is coloured, and the noise added in the second line makes the denoiser's input what it was trained on.

Source: Du et al., Plug-and-Play Diffusion Meets ADMM: Dual-Variable Coupling for Robust Medical Image Reconstruction,
arXiv 2602.23214, for the dual and the spectral homogenisation.
Differs: the spectrum is estimated for each sample alone, not over the batch, by the paper's box of 7 x 7 frequencies;
complex images get complex noise. rho > 0, for noisy data; as rho rises, u falls in proportion, as a scaled dual must,
or it would wind up on what high noise levels hide and on the noise of the data (3 dB at a noise of 0.05). Conjugate
gradients go on from the last x.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fft import fft2, ifft2

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.linalg import cg
from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.method import Callback, data_weight
from invdiff.solvers.purification import Turning

REFERENCE = """@article{du2026dcpnp,
  title = {Plug-and-Play Diffusion Meets {ADMM}: Dual-Variable Coupling for Robust Medical Image Reconstruction},
  author = {Du, Chenhe and Tian, Xuanyu and Wu, Qing and Liu, Muyu and Yu, Jingyi and Wei, Hongjiang and
            Zhang, Yuyao},
  journal = {arXiv preprint arXiv:2602.23214},
  year = {2026}
}"""
BOX, FLOOR = 7, 1e-6


def dc_pnp(
    y: Tensor,
    op: LinearOperator,
    prior: Prior,
    *,
    sigma_y: Tensor,
    noise: Noise,
    callback: Callback,
    steps: int = 50,
    sigma: float = 2.0,
    w: float = 0.5,
    inner: int = 30,
    turn: bool = False,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        sigma_y: (B,) noise standard deviation per real component; 0 is allowed.
        steps: noise levels, one evaluation each. sigma: the first of them; the start is a rough reconstruction, and
            detail below this is the prior's.
        w: trust in the prior against the data; 1 is the likelihood of the noise. On training slices of brain-mri, 4x
            single-coil, 2, 1 and 0.5 gave 30.2, 30.5 and 30.7 dB at a noise of 0.01, 27.0, 27.6 and 28.0 dB at 0.05.
            0 as in the released settings, for noise-free data: no penalty, `inner` conjugate-gradient steps from z - u
            regularise the data step.
        inner: conjugate-gradient steps per level at most, where there is no closed form.
        turn: ask the prior in another of eight poses at every level, where it was trained in all of them, see
            `purification.Turning`.
    """
    require("inner", inner, at_least=1)
    z, asked = op.reference_image(y), Turning(prior) if turn else prior
    levelled = descent(y, op, asked, z, sigma_y, noise, steps=steps, sigma=sigma, w=w, inner=inner)
    for i, (level, z) in enumerate(levelled):
        callback(i, steps, x=z, sigma=level, misfit=norm(op(z) - y))
    return z


def descent(
    y: Tensor,
    op: LinearOperator,
    prior: Prior,
    z: Tensor,
    sigma_y: Tensor,
    noise: Noise,
    *,
    steps: int,
    sigma: float,
    w: float,
    inner: int,
) -> Iterator[tuple[float, Tensor]]:
    """From the image z (B, *op.shape_in) down from noise level sigma: each level, and the prior's estimate at it."""
    require("w", w, at_least=0)
    sigmas = levels("karras", steps, prior.sigma_min, min(sigma, prior.sigma_max))[:-1]
    weights = [data_weight(op, sigma_y, level**2 / w) for level in sigmas] if w > 0 else [None] * steps
    x, u = z, torch.zeros_like(z)
    for i, (level, rho) in enumerate(zip(sigmas, weights, strict=True)):
        u = u if i == 0 else rescaled(u, weights[i - 1], rho)
        x = data_step(y, op, z - u, x, rho, inner)
        v = x + u
        z = prior(v if i + 1 == steps else v + complement(v - z, level, noise), level)
        u = v - z
        yield level, z


def rescaled(u: Tensor, before: Tensor | None, rho: Tensor | None) -> Tensor:
    """The scaled dual once its penalty, (B,), has changed: rho u stays (Boyd et al., 2011, section 3.4.1)."""
    return u if before is None or rho is None else over(before / rho, u) * u


def data_step(y: Tensor, op: LinearOperator, z: Tensor, x: Tensor, rho: Tensor | None, inner: int) -> Tensor:
    """argmin |A x - y|^2 + rho |x - z|^2, from x; without rho conjugate gradients from z, cut short."""
    if rho is None:
        return cg(op.normal, op.adjoint(y), z, iterations=inner, tol=1e-5)
    return op.prox(z, y, rho, x, iterations=inner)


def complement(residual: Tensor, sigma: float, noise: Noise) -> Tensor:
    """Noise that makes `residual` white of level sigma per real component where it is below that, (B, C, H, W)."""
    power = smoothed(fft2(residual, norm="ortho").abs() ** 2)
    missing = (sigma**2 - power / (2 if residual.is_complex() else 1)).clamp(min=FLOOR * sigma**2)
    coloured = ifft2(missing.sqrt() * fft2(noise.like(residual), norm="ortho"), norm="ortho")
    return coloured if residual.is_complex() else coloured.real


def smoothed(power: Tensor) -> Tensor:
    """Means over channels and over boxes of BOX x BOX frequencies, on a torus, (B, 1, H, W)."""
    margins = [min(BOX, n - 1 + n % 2) // 2 for n in power.shape[-2:]]
    power = F.pad(power.mean(1, keepdim=True), (margins[1], margins[1], margins[0], margins[0]), mode="circular")
    return F.avg_pool2d(power, [2 * m + 1 for m in margins], stride=1)
