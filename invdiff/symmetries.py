"""x ~ e^(i phi) x ~ conj(x(-r)) ~ x(r - s): images of equal Fourier amplitudes, brought as near to the truth as can be.

For evaluation only: everything here looks at the truth. To choose among reconstructions there is `select="misfit"` of
`invdiff.solve`, which does not, and nothing below this module may import it.
"""

import torch
from torch import Tensor
from torch.fft import fft2, ifft2

from invdiff.metrics import psnr
from invdiff.operators.phase_retrieval import PhaseRetrieval
from invdiff.shapes import check_shape


def align_with_truth(x: Tensor, truth: Tensor, op: PhaseRetrieval, shifts: bool | None = None) -> Tensor:
    """Of all images that `op` cannot tell from x, the one nearest to the truth, (B, C, H, W).

    Every channel has its own sign (phase, where complex), its own orientation (as it is, or turned by 180 degrees and
    conjugated) and, with `shifts`, its own circular shift.

    Args:
        x, truth: (B, C, H, W), both real or both complex.
        op: whose symmetries; a mask does not matter.
        shifts: None undoes shifts where the operator does not pad. Behind padding they change nothing only for
            objects within an empty margin.

    Raises:
        TypeError: real beside complex.
        ValueError: shapes that are not the operator's.
    """
    for name, image in (("x", x), ("truth", truth)):
        check_shape(f"align_with_truth: {name}", image, op.shape_in)
    if x.is_complex() != truth.is_complex() or len(x) != len(truth):
        kinds = f"{tuple(x.shape)} {x.dtype} and {tuple(truth.shape)} {truth.dtype}"
        raise TypeError(f"x and truth must be alike, both real or both complex, of one batch; got {kinds}.")
    shifts = op.shape_in == op.shape_out if shifts is None else shifts
    upright, turned = (_placed(v, truth, shifts) for v in (x, x.flip(-2, -1).conj().resolve_conj()))
    nearer = _error(turned, truth) < _error(upright, truth)
    return torch.where(nearer, turned, upright)


def psnr_up_to_symmetries(
    truth: Tensor, x: Tensor, op: PhaseRetrieval, data_range: float | None = None, shifts: bool | None = None
) -> list[float]:
    """`metrics.psnr` of every item after `align_with_truth`, in dB; of magnitudes where complex.

    Args:
        truth, x, op, shifts: see `align_with_truth`.
        data_range: see `metrics.psnr`; 2 for images in [-1, 1].
    """
    aligned = align_with_truth(x, truth, op, shifts)
    if x.is_complex():
        truth, aligned = truth.abs(), aligned.abs()
    return [psnr(t, a, data_range) for t, a in zip(truth, aligned, strict=True)]


def _placed(x: Tensor, truth: Tensor, shifts: bool) -> Tensor:
    """x times the best sign or phase, at the best circular shift, of all channels."""
    correlation = _correlation(x, truth) if shifts else (x.conj() * truth).sum((-2, -1), keepdim=True)
    best = correlation.abs().flatten(2).argmax(2)
    factor = torch.sgn(correlation.flatten(2).gather(2, best[..., None]))[..., None]
    width = correlation.shape[-1]
    rows, columns = best.div(width, rounding_mode="floor"), best % width
    return torch.where(factor == 0, 1, factor) * _rolled(x, rows, columns)


def _correlation(x: Tensor, truth: Tensor) -> Tensor:
    """sum_r conj(x(r - s)) truth(r) for all circular shifts s, of the shape of x."""
    c = ifft2(fft2(x).conj() * fft2(truth))
    return c if x.is_complex() else c.real


def _rolled(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x(r - s) with s = (rows, columns), each (B, C)."""
    height, width = x.shape[-2:]
    i = (torch.arange(height, device=x.device) - rows[..., None]) % height
    j = (torch.arange(width, device=x.device) - columns[..., None]) % width
    x = x.gather(-2, i[..., None].expand_as(x))
    return x.gather(-1, j[..., None, :].expand_as(x))


def _error(x: Tensor, truth: Tensor) -> Tensor:
    return (x - truth).abs().square().sum((-2, -1), keepdim=True)
