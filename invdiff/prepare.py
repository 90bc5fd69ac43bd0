"""y = mask F (s_c x) + n: a slice of a k-space file with its mask, maps and operator, ready to solve.

Nothing here looks at more of a slice than the mask leaves of it, except for the reference that scores are taken from.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from invdiff.data.coils import espirit
from invdiff.data.errors import DataError
from invdiff.data.kspace import KSpaceFile
from invdiff.data.undersampling import Undersampling
from invdiff.operators.coil_mixing import mix_coils
from invdiff.operators.mri import CartesianMRI
from invdiff.operators.whitening import noise_covariance, whitening_matrix
from invdiff.settings import UsageError

Maps = Literal["espirit", "stored"]


@dataclass(frozen=True)
class Slice:
    """One slice ready to solve.

    Attributes:
        kspace: undersampled, (1, coil, H, W) complex64.
        op: its forward operator.
        mask: what was sampled, or kept, (W,) or (H, W) bool.
        reference: (H', W') float32, of fully sampled files that store one.
    """

    kspace: Tensor
    op: CartesianMRI
    mask: Tensor
    reference: Tensor | None


def prepare(
    file: KSpaceFile,
    i: int,
    undersampling: Undersampling | None = None,
    *,
    maps: Maps = "espirit",
    whiten: bool = False,
) -> Slice:
    """Slice i with its operator.

    Args:
        undersampling: retrospective; None takes the slice as it is.
        maps: "espirit" estimates them from the calibration lines of the mask; "stored" takes the file's own, which may
            know of more than the mask does. A single coil has none.
        whiten: decorrelate the coils with the file's noise scan, at their mean noise level.

    Raises:
        UsageError: a file that is undersampled already, or has no maps or noise scan where they are asked for.
        DataError, ValueError: the slice cannot be read, or has too few calibration lines.
    """
    kspace, mask = file.kspace(i), file.sampling(i)
    if undersampling is not None:
        if file.mask is not None:
            raise UsageError(f"{file.path.name} is already undersampled (it stores a mask); leave out --acceleration.")
        kept = undersampling.mask((kspace.shape[-2], kspace.shape[-1]), file.path.name)
        mask = mask & kept if mask.ndim == kept.ndim else torch.logical_and(mask, kept)
    kspace = torch.where(mask, kspace, torch.zeros_like(kspace))[None]
    matrix = whitening(file) if whiten else None
    kspace = kspace if matrix is None else mix_coils(kspace, matrix)
    sensitivities = _maps(file, i, kspace, mask, maps, matrix) if kspace.shape[1] > 1 else None
    op = CartesianMRI(mask, sensitivities, shape=(1, *kspace.shape[-2:]))
    return Slice(kspace, op, mask, file.reference(i) if file.mask is None or file.fully_sampled else None)


def centre_crop(images: Tensor, shape: tuple[int, int] | None) -> Tensor:
    """The centre (h', w') of images (..., h, w); of a side that is smaller, all of it.

    Where the images are narrower than the crop, the crop becomes a square of their width, as the fastMRI recipes have
    it for the one such volume of the data set.
    """
    if shape is None:
        return images
    if images.shape[-1] < shape[1]:
        shape = (images.shape[-1], images.shape[-1])
    sides = [min(n, m) for n, m in zip(images.shape[-2:], shape, strict=True)]
    top, left = ((n - m) // 2 for n, m in zip(images.shape[-2:], sides, strict=True))
    return images[..., top : top + sides[0], left : left + sides[1]]


def whitening(file: KSpaceFile) -> Tensor:
    """s L^-1 of the file's noise scan, (coil, coil): white coils at their mean noise level s.

    Raises:
        UsageError: the file has no noise scan. DataError: it is of another number of coils.
    """
    noise = file.noise()
    if noise is None:
        raise UsageError(f"{file.path.name} has no noise scan; leave out --whiten.")
    if len(noise) != file.shape[1]:
        raise DataError(f"has a noise scan of {len(noise)} coils, k-space has {file.shape[1]}.", path=file.path)
    psi = noise_covariance(noise)
    return psi.diagonal().real.mean().sqrt() * whitening_matrix(psi)


def _maps(file: KSpaceFile, i: int, kspace: Tensor, mask: Tensor, maps: Maps, matrix: Tensor | None) -> Tensor:
    if maps == "espirit":
        return espirit(kspace[0], mask)[None]
    stored = file.maps(i)
    if stored is None:
        raise UsageError(f"{file.path.name} stores no coil maps; leave out --maps stored.")
    return stored[None] if matrix is None else mix_coils(stored[None], matrix)
