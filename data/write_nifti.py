"""v(x, y, z) at A (x, y, z, 1): volumes as NIfTI, magnitude in one file and phase in another.

The stored array is (columns, rows, slices), float32 without slope; A is RAS, mm. Needs nibabel
(`pip install invdiff[io]`).
"""

import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.atomic import write_files
from invdiff.data.folders import ending, stem
from invdiff.data.geometry import Geometry
from invdiff.data.writer import real_volume


def write_nifti(
    path: str | os.PathLike[str],
    images: Tensor | NDArray[np.number],
    geometry: Geometry | None = None,
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write a volume.

    Args:
        path: .nii or .nii.gz; of complex images that is the magnitude, and the phase in radians goes to
            `..._phase.nii.gz` beside it.
        images: (slices, h, w), real or complex. Programs that read complex NIfTI tend to drop the imaginary part.
        geometry: where the pixels lie. Without directions the pixel sizes are written and no orientation is claimed
            (sform and qform codes 0); without a geometry, sizes of 1 mm.
        inputs, overwrite: as for `invdiff.data.atomic.write_files`.

    Returns:
        the paths written.

    Raises:
        ImportError: nibabel is missing. ValueError: not a finite volume, or another ending.
        DataError: a path is in use, or the disk refused.
    """
    path = Path(path)
    if ending(path) not in (".nii", ".nii.gz"):
        raise ValueError(f"a NIfTI file ends in .nii or .nii.gz, got {path.name}.")
    values = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    parts = {path: np.abs(values) if values.dtype.kind == "c" else values}
    if values.dtype.kind == "c":
        parts[phase_name(path)] = np.angle(values)
    contents = {}
    for name, part in parts.items():
        stored: bytes = _image(real_volume(part), geometry).to_bytes()
        contents[name] = gzip.compress(stored, mtime=0) if ending(name) == ".nii.gz" else stored
    write_files(contents, inputs=inputs, overwrite=overwrite)
    return list(contents)


def phase_name(path: Path) -> Path:
    """Where the phase of complex images goes."""
    return path.with_name(f"{stem(path)}_phase{ending(path)}")


def _image(volume: NDArray[np.float32], geometry: Geometry | None) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise ImportError("NIfTI files are written with nibabel; pip install invdiff[io].") from error
    stored = np.ascontiguousarray(volume.transpose(2, 1, 0))
    known = geometry is not None and geometry.directions is not None
    affine = geometry.affine(volume.shape[1:]) if geometry is not None and known else None
    image = nibabel.Nifti1Image(stored, affine)
    if geometry is not None and not known:
        image.header.set_zooms((geometry.spacing[1], geometry.spacing[0], geometry.spacing[2]))
    for place in (image.set_sform, image.set_qform):
        place(affine, code=1 if known else 0)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"invdiff; not for diagnosis"
    return image
