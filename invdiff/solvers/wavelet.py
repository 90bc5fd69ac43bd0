"""x = argmin |A x - y|^2 / 2 + lam mean_s |W S_s x|_1 by FISTA: l1-wavelet reconstruction (compressed sensing).

W is an orthogonal wavelet transform, S_s are the shifts of the image against its grid (one or all of them), and |.|_1
runs over the magnitudes of all coefficients but those of the low-low band. The proximal map is W^H shrink(W v),
averaged over the shifts, which is what shrinking the undecimated transform computes. An average of proximal maps is the
proximal map of the proximal average of the penalties, which lies below their mean by O(lam / |A|^2).

Source: Lustig, Donoho and Pauly, Sparse MRI, 2007, without its finite differences; Coifman and Donoho,
Translation-Invariant De-Noising, 1995, for the shifts; Yu, Better Approximation and Faster Algorithm Using the Proximal
Average, 2013, for their average inside FISTA.
Differs: the weight decreases to lam in the first iterations; the low-low band is not penalised.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from invdiff.checks import require
from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.undecimated import UndecimatedWavelet
from invdiff.operators.wavelet import Wavelet, default_levels, rounded_up
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import Shape, over
from invdiff.solvers.fista import LeastSquares, fista, visible, weights
from invdiff.solvers.method import Callback

REFERENCE = """@article{lustig2007sparse,
  title = {Sparse {MRI}: The Application of Compressed Sensing for Rapid {MR} Imaging},
  author = {Lustig, Michael and Donoho, David and Pauly, John M.},
  journal = {Magnetic Resonance in Medicine},
  volume = {58},
  number = {6},
  pages = {1182--1195},
  year = {2007}
}"""

FACTOR = 1.0  # lam over the standard deviation of the noise in a pixel of A^H y


def wavelet(
    y: Tensor,
    op: LinearOperator,
    prior: Prior | None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    weight: float | str = "auto",
    iterations: int = 100,
    moments: int = 1,
    levels: int | None = None,
    shifts: bool = True,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in), real or complex.

    Images are continued to multiples of 2^levels by free pixels that no data constrain, so that any size fits. Pixels
    that no measurement sees are as free while it runs, and 0 in the result.

    Args:
        sigma_y: (B,) noise standard deviation per real component, for the weight "auto".
        weight: lam as a share of max |A^H y|. "auto" takes the standard deviation of the noise in a pixel of A^H y (at
            least 0.03 % of max |A^H y|), and 0.5 % of max |A^H y| where sigma_y is unknown.
        iterations: each with one A^H A.
        moments: vanishing moments of the Daubechies wavelet, 1 (Haar) to 10. With all shifts Haar is the best for MRI.
        levels: of the transform; None for up to 4, until the low band is at most 8 wide.
        shifts: all positions of the grid (worth 1 to 3 dB), or False for the one transform.

    Raises:
        ValueError: an option is out of its range.
    """
    require("iterations", iterations, at_least=1)
    levels = default_levels(op.shape_in) if levels is None else levels
    require("levels", levels, at_least=1)
    kind = UndecimatedWavelet if shifts else Wavelet
    transform = kind(rounded_up(op.shape_in, levels), moments, levels)
    data = LeastSquares.of(y, op)
    lam = weights(weight, FACTOR, data.b, op, sigma_y)
    share = penalised(transform, levels).to(data.energy)

    def prox(v: Tensor, i: int) -> Tensor:
        c = transform(v)
        return transform.adjoint(shrink(c, over(lam(i) / data.lipschitz, c) * share))

    def report(i: int, x: Tensor, misfit: Tensor) -> None:
        callback(i, iterations, x=visible(_crop(x, op.shape_in), op), misfit=misfit)

    x = fista(_continued(data, op.shape_in, transform.shape_in), prox, report, iterations)
    return visible(_crop(x, op.shape_in), op)


def not_planar(op: Operator) -> str | None:
    """Why the transform is not one of the images behind an operator."""
    if len(op.shape_in) == 3:
        return None
    return f"its transform is one of images (C, H, W), not {op.shape_in}. Use tv or cg."


def penalised(transform: LinearOperator, levels: int) -> Tensor:
    """The threshold of each coefficient in units of the orthogonal transform's: 0 in the low-low band."""
    share = torch.ones(transform.shape_out)
    if isinstance(transform, UndecimatedWavelet):
        for band in range(3 * levels):
            share[:, band] = 0.5 ** (band // 3 + 1)
        share[:, -1] = 0
    else:
        share[..., : share.shape[-2] >> levels, : share.shape[-1] >> levels] = 0
    return share


def shrink(c: Tensor, threshold: Tensor) -> Tensor:
    """c max(1 - threshold / |c|, 0): the proximal map of threshold |c|, real or complex."""
    size = c.abs()
    return c * ((size - threshold).clamp(min=0) / size.clamp(min=torch.finfo(size.dtype).tiny))


def _continued(data: LeastSquares, shape: Shape, grid: Shape) -> LeastSquares:
    """The same misfit for images that are continued to the grid by pixels it does not see."""
    beyond = (0, grid[-1] - shape[-1], 0, grid[-2] - shape[-2])
    return replace(data, normal=lambda x: pad(data.normal(_crop(x, shape)), beyond), b=pad(data.b, beyond))


def _crop(x: Tensor, shape: Shape) -> Tensor:
    return x[..., : shape[-2], : shape[-1]]
