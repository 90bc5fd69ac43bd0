"""y = mask F (s_c x) + n: a slice of a Cartesian k-space file with its mask, maps and operator, ready to solve.

Nothing here looks at more of a slice than the mask leaves of it, except for the reference that scores are taken from.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry
from invdiff.data.header import Header
from invdiff.data.kspace import KSpaceFile
from invdiff.data.masks import achieved_acceleration
from invdiff.data.undersampling import Undersampling
from invdiff.operators.mri import CartesianMRI
from invdiff.operators.partial_fourier import PhaseConstraint
from invdiff.operators.readout import remove_oversampling
from invdiff.prepare_coils import Coils, encoding, mixed
from invdiff.scan import FileScan, Slice
from invdiff.settings import UsageError

ONE_SIDED = 10  # lines of one side that the other lacks, from which on it is no chance
BEFORE = Coils()


@dataclass(frozen=True)
class CartesianScan(FileScan[KSpaceFile]):
    """A Cartesian file and what is to be done with it; see `prepare`."""

    undersampling: Undersampling | None = None
    coils: Coils = BEFORE
    oversampling: int = 1
    partial_fourier: bool = False
    prior: str = field(default="brain-mri", init=False)
    baseline: str = field(default="cg", init=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, h, w), read-out oversampling removed."""
        slices, _, h, w = self.file.shape
        return slices, h // self.oversampling, w

    @property
    def crop(self) -> tuple[int, int] | None:
        """What the file shows; a header that should tell and is malformed is refused here, before the work."""
        return self.file.crop or (None if self.file.header is None else self.file.crop)

    @property
    def geometry(self) -> Geometry | None:
        return self.file.geometry

    @property
    def header(self) -> Header | None:
        return self.file.facts

    def slice(self, i: int) -> Slice | None:
        """Slice i, None where it is all zero."""
        return prepare(
            self.file,
            i,
            self.undersampling,
            self.coils,
            oversampling=self.oversampling,
            partial_fourier=self.partial_fourier,
        )

    def record(self) -> dict[str, Any]:
        """How slices are made, for the attributes of the output."""
        pattern = self.undersampling
        return {
            "notes": "; ".join(self.file.contents.notes),
            "acceleration": pattern.acceleration if pattern else 0.0,
            "mask": pattern.kind if pattern else "as measured",
            "maps": self.coils.described(),
        }


def prepare(
    file: KSpaceFile,
    i: int,
    undersampling: Undersampling | None = None,
    coils: Coils = BEFORE,
    *,
    oversampling: int = 1,
    partial_fourier: bool = False,
) -> Slice | None:
    """Slice i with its operator, None where it is all zero; its k-space is read from the file once.

    Args:
        undersampling: retrospective; None takes the slice as it is.
        coils: whitening, compression and maps.
        oversampling: of the read-out (rows), cut away in image space; 1 for none.
        partial_fourier: take the phase of the image from the symmetric centre of k-space and solve for a real image,
            so that what was measured on one side tells the other.

    Raises:
        UsageError: a file that is undersampled already, or has no maps or noise scan where they are asked for.
        DataError, ValueError: the slice cannot be read, or has too few calibration lines.
    """
    measured = file.measured(i)
    if measured is None:
        return None
    kspace, mask, lost = measured
    mask = mask if undersampling is None else _fewer(file, mask, undersampling)
    kspace = torch.where(mask, kspace, torch.zeros_like(kspace))
    if oversampling > 1:
        kspace, mask = _without_oversampling(file, kspace, mask, oversampling)
    matrix = coils.matrix(kspace, noise_scan(file) if coils.whiten else None)
    kspace = kspace if matrix is None else torch.einsum("vc,chw->vhw", matrix, kspace)
    maps = None
    if len(kspace) > 1:
        stored = mixed(file.maps(i), matrix) if coils.maps == "stored" else None
        body = file.body_coil(i) if coils.maps == "body-coil" else None
        points = lost if bool(lost.any()) else None
        maps = coils.sensitivities(kspace, mask, _cut(stored, oversampling), _reduced(body, oversampling), lost=points)
    op, image = encoding(maps, partial(CartesianMRI, mask, shape=(1, *kspace.shape[-2:])))
    reference = file.reference(i) if file.mask is None or file.fully_sampled else None
    words = _described(mask, partial_fourier)
    found = Slice(kspace[None], op, words, reference, image=image, repaired=int(lost.sum()))
    if not partial_fourier:
        return found
    if coils.sets > 1:
        raise UsageError("--partial-fourier works with one set of maps; leave out --sets.")
    phase = PhaseConstraint(op.reference_image(kspace[None]))
    return replace(found, op=op @ phase, image=lambda x: phase(x)[0, 0])


def _fewer(file: KSpaceFile, mask: Tensor, undersampling: Undersampling) -> Tensor:
    """What of a mask, (w,) or (h, w), the pattern keeps."""
    if file.mask is not None:
        raise UsageError(f"{file.path.name} is already undersampled (it stores a mask); leave out --acceleration.")
    return mask & undersampling.mask(file.shape[-2:], file.path.name)


def _without_oversampling(file: KSpaceFile, kspace: Tensor, mask: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    if mask.ndim == 2:
        if not bool((mask == mask[:1]).all()):
            raise UsageError(f"{file.path.name} is undersampled along the read-out; leave out --oversampling.")
        mask = mask[0]
    try:
        return remove_oversampling(kspace, factor), mask
    except ValueError as error:
        raise UsageError(f"--oversampling {factor}: {error}") from error


def _cut(maps: Tensor | None, factor: int) -> Tensor | None:
    """Maps (coil, h, w) of the central 1 / factor of the rows."""
    if maps is None or factor == 1:
        return maps
    n = maps.shape[1]
    return maps.narrow(1, n // 2 - n // factor // 2, n // factor)


def _reduced(body: Tensor | None, factor: int) -> Tensor | None:
    return body if body is None or factor == 1 else remove_oversampling(body, factor)


def _described(mask: Tensor, partial_fourier: bool) -> str:
    words = f"{achieved_acceleration(mask):.2f}x"
    if bool(mask.all()):
        return f"{words} (fully sampled)"
    if partial_fourier:
        return f"{words} (phase of the centre)"
    return f"{words} (one side of k-space: --partial-fourier can complete it)" if one_sided(mask) else words


def one_sided(mask: Tensor) -> bool:
    """Whether a mask (w,) or (h, w) leaves out one edge of k-space, where it samples ten lines or more at the other."""
    points = mask[None] if mask.ndim == 1 else mask
    for lines in (points.any(0), points.any(1)):
        for side in (lines, lines.flip(0)):
            missing = int(side.nonzero()[0])
            if int(side.flip(0)[:missing].sum()) >= ONE_SIDED:
                return True
    return False


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


def noise_scan(file: KSpaceFile) -> Tensor:
    """Samples of the file's noise scan, (coil, n).

    Raises:
        UsageError: the file has no noise scan. DataError: it is of another number of coils.
    """
    noise = file.noise()
    if noise is None:
        raise UsageError(f"{file.path.name} has no noise scan; leave out --whiten.")
    if len(noise) != file.shape[1]:
        raise DataError(f"has a noise scan of {len(noise)} coils, k-space has {file.shape[1]}.", path=file.path)
    return noise
