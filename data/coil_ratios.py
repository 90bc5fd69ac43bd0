"""s_c = <z_c conj(b)> / <|b|^2>: coil sensitivities as coil images z_c divided by a reference image b.

<.> is an average over a neighbourhood, so that s is the smooth map that fits z_c = s b there best. The reference is the
image of a body coil, or the combination of the coils themselves at low resolution. Maps are (coil, h, w) complex64 with
sum over coils |s|^2 = 1 where they are defined and 0 elsewhere, as those of `invdiff.data.coils`.
"""

import torch
from torch import Tensor
from torch.fft import fft2, fftfreq, fftshift, ifft2, ifftshift

from invdiff.data.coils import calibration_block, virtual_coil

LEAST = 6  # lines of the calibration block
REGULARISATION = 1e-3  # of the largest <|b|^2>: keeps the quotient finite where the reference is dark


def low_resolution_maps(
    kspace: Tensor, mask: Tensor | None = None, *, width: int = 32, threshold: float = 0.05
) -> Tensor:
    """Maps from the calibration lines alone: the coil images at low resolution over their root sum of squares.

    Their phase is taken relative to the smooth virtual coil of `espirit`, so the object keeps its own. Where the object
    has edges the maps err by some per cent, which ESPIRiT's do not; they need no more than the centre of k-space.

    Args:
        kspace: (coil, h, w) complex, centred, scale free.
        mask: sampled lines (w,) or points (h, w); None if everything is sampled.
        width: side of the calibration block, at most.
        threshold: maps are zero where the combined image is below this share of its maximum.

    Raises:
        ValueError: see `calibration_block`.

    Source: McKenzie et al., Self-Calibrating Parallel Imaging With Automatic Coil Sensitivity Extraction, 2002.
    """
    block = calibration_block(kspace, mask, width, LEAST)
    images = _low_resolution(block, kspace.shape[1:])
    reference = torch.einsum("c,chw->hw", virtual_coil(block).conj(), images)
    power = images.abs().square().sum(0)
    return _supported(images * torch.sgn(reference).conj(), power, threshold)


def body_coil_maps(
    kspace: Tensor, body: Tensor, mask: Tensor | None = None, *, width: int = 32, threshold: float = 0.05
) -> Tensor:
    """Maps of an array from the same slice received with the body coil, whose sensitivity is nearly even.

    Args:
        kspace: (coil, h, w) complex, centred: of the array.
        body: (channel, h, w) complex, centred: of the body coil, fully sampled; its channels are combined into one.
        mask: what is sampled of the array, lines (w,) or points (h, w); None if everything is. Only the calibration
            block is read, of both.
        width: side of the calibration block, at most.
        threshold: maps are zero where the body coil's image is below this share of its maximum.

    Raises:
        ValueError: shapes that disagree; see also `calibration_block`.

    Source: Pruessmann et al., SENSE: Sensitivity Encoding for Fast MRI, 1999, for the reference scan.
    Differs: the quotient is fitted in a neighbourhood, in place of polynomials; normalised to sum |s|^2 = 1, so the
        image is that of the root sum of squares, not the body coil's.
    """
    if body.ndim != 3 or body.shape[1:] != kspace.shape[1:]:
        raise ValueError(f"the body coil is {tuple(body.shape)}, where k-space is {tuple(kspace.shape)}.")
    sizes = kspace.shape[1:]
    images = _low_resolution(calibration_block(kspace, mask, width, LEAST), sizes)
    block = calibration_block(body, mask, width, LEAST)
    reference = torch.einsum("c,chw->hw", virtual_coil(block).conj(), _low_resolution(block, sizes))
    reach = 0.5 / min(width, *sizes)  # half a pixel of the low resolution, in fields of view
    power = _averaged(reference.abs().square().to(images), reach).real
    fitted = _averaged(images * reference.conj(), reach) / (power + REGULARISATION * power.max())
    return _supported(fitted, power, threshold)


def _low_resolution(block: Tensor, sizes: torch.Size) -> Tensor:
    """Images (coil, h, w) of a block about the centre of k-space, windowed against ringing."""
    rows, columns = (_bell(n) for n in block.shape[1:])
    full = block.new_zeros(len(block), *sizes)
    top, left = ((n - m + 1) // 2 for n, m in zip(sizes, block.shape[1:], strict=True))
    full[:, top : top + block.shape[1], left : left + block.shape[2]] = block * torch.outer(rows, columns)
    axes = (-2, -1)
    return fftshift(ifft2(ifftshift(full, dim=axes), norm="ortho"), dim=axes)


def _bell(n: int) -> Tensor:
    """1 in the inner half of n samples, falling as cos^2 to 0 just outside the last."""
    distance = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2).abs() / ((n + 1) / 2)
    return torch.cos(torch.pi * (distance - 0.5).clamp(min=0)) ** 2


def _averaged(image: Tensor, reach: float) -> Tensor:
    """Convolved with a Gaussian of standard deviation `reach`, in fields of view."""
    ky, kx = (fftfreq(n, 1 / n, dtype=torch.float32, device=image.device) for n in image.shape[-2:])
    kernel = torch.exp(-2 * (torch.pi * reach) ** 2 * (ky[:, None] ** 2 + kx**2))
    return ifft2(fft2(image) * kernel)


def _supported(maps: Tensor, power: Tensor, threshold: float) -> Tensor:
    """Maps of unit norm where the reference is bright enough, zero elsewhere."""
    norm = torch.linalg.vector_norm(maps, dim=0)
    seen = (power > threshold**2 * power.max()) & (norm > 0)
    return torch.where(seen, maps / torch.where(seen, norm, 1), 0).to(torch.complex64)
