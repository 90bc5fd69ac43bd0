"""sinogram (view, bin) of the Helsinki Tomography Challenge 2022: flat-detector fan beam, -log(I / I0).

MATLAB files hold a structure CtDataFull or CtDataLimited with the fields `sinogram` and `parameters` (angles in
degrees, distanceSourceOrigin, distanceSourceDetector, pixelSizePost, effectivePixelSizePost, in mm). HDF5 files hold a
group for each sample with `sinogram`, `angles_deg`, `ground_truth` (0 or 1) and these lengths as attributes
(source_origin_mm, source_detector_mm, detector_pixel_mm, image_pixel_mm). Images are 512 x 512.

Source: Meaney, Silva de Moura and Siltanen, Helsinki Tomography Challenge 2022 open tomographic dataset, 2022.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.beam import Beam
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, attributes, check_budget, find, keys, opened, required
from invdiff.data.kspace_arrays import readable
from invdiff.data.projections_contents import ProjectionContents, ProjectionReader

SIDE = 512
_STRUCTURES = ("CtDataFull", "CtDataLimited")
_LENGTHS = ("source_origin_mm", "source_detector_mm", "detector_pixel_mm", "image_pixel_mm")
_FIELDS = ("distanceSourceOrigin", "distanceSourceDetector", "pixelSizePost", "effectivePixelSizePost")


@dataclass(frozen=True)
class HtcReader(ProjectionReader):
    """The one slice of a sample: a group of an HDF5 file, or a structure of a MATLAB file."""

    name: str
    referenced: bool

    def projections(self, i: int) -> NDArray[np.float32]:
        if not h5py.is_hdf5(self.path):
            return np.asarray(_structure(self.path, self.path.stat().st_mtime_ns)[1]["sinogram"], np.float32)
        return self._stored("sinogram")

    def reference(self, i: int) -> NDArray[np.float32] | None:
        """The challenge's segmentation, 1 where there is plastic, not an attenuation."""
        return self._stored("ground_truth") if self.referenced else None

    def _stored(self, name: str) -> NDArray[np.float32]:
        with opened(self.path) as file:
            return np.asarray(required(file, f"{self.name}/{name}", self.path)[()], np.float32)


def open_htc(path: Path, *, sample: str | None = None, budget: int = BUDGET) -> ProjectionContents:
    """Check a file of the challenge.

    Args:
        path: .mat as published, or HDF5 as above.
        sample: the group, where an HDF5 file holds several.
        budget: bytes that one read may ask for.

    Raises:
        DataError: no such sample, or a field that is missing or of another shape.
    """
    if path.suffix.lower() == ".mat" and not h5py.is_hdf5(path):
        return _open_matlab(path, budget)
    with opened(path) as file:
        names = [n for n in keys(file) if find(file, f"{n}/sinogram", path) is not None]
        if sample not in names and (sample is not None or len(names) != 1):
            held = ", ".join(names) or "none"
            raise DataError(f"holds the samples {held}; name one with sample= (--open sample=NAME).", path=path)
        name = sample or names[0]
        data, angles = (required(file, f"{name}/{n}", path) for n in ("sinogram", "angles_deg"))
        check_budget(data, path, 1, budget)
        check_budget(angles, path, 1, budget)
        about = {**attributes(file), **_numbers(path, attributes(file[name]), name)}
        truth = find(file, f"{name}/ground_truth", path)
        referenced = truth is not None and tuple(truth.shape or ()) == (SIDE, SIDE)
        shape, dtype = tuple(data.shape or ()), data.dtype
        degrees = np.asarray(angles[()]) if angles.dtype.kind in "iuf" else np.zeros(0)
    return _contents(path, name, shape, dtype, degrees, about, referenced)


def _numbers(path: Path, about: dict[str, Any], name: str) -> dict[str, Any]:
    lacking = [n for n in _LENGTHS if not isinstance(about.get(n), int | float)]
    if lacking:
        raise DataError(f"lacks the attribute{'s' * (len(lacking) > 1)} {', '.join(lacking)}.", path=path, dataset=name)
    return about


def _open_matlab(path: Path, budget: int) -> ProjectionContents:
    if path.is_file() and path.stat().st_size > budget:
        raise DataError(f"has {path.stat().st_size} bytes, over the budget of {budget}.", path=path)
    with readable(path):
        name, found = _structure(path, path.stat().st_mtime_ns)
        about = {new: float(found["parameters"][old]) for new, old in zip(_LENGTHS, _FIELDS, strict=True)}
        sinogram = np.asarray(found["sinogram"])
        degrees = np.atleast_1d(np.asarray(found["parameters"]["angles"], np.float64))
    return _contents(path, name, sinogram.shape, sinogram.dtype, degrees, about, False)


@lru_cache(maxsize=1)
def _structure(path: Path, changed: int) -> tuple[str, dict[str, Any]]:
    """The name and the fields of the challenge's structure."""
    from scipy.io import loadmat, whosmat

    names = [name for name, _, _ in whosmat(path) if name in _STRUCTURES]
    if not names:
        raise DataError(f"has none of the structures {', '.join(_STRUCTURES)}.", path=path)
    loaded = loadmat(path, variable_names=names[:1], simplify_cells=True, verify_compressed_data_integrity=True)
    return names[0], loaded[names[0]]


def _contents(
    path: Path,
    name: str,
    shape: tuple[int, ...],
    dtype: "np.dtype[Any]",
    degrees: NDArray[np.float64],
    about: dict[str, Any],
    referenced: bool,
) -> ProjectionContents:
    if len(shape) != 2 or min(shape) < 1 or dtype.kind not in "iuf" or degrees.shape != shape[:1]:
        raise DataError(f"wanted a sinogram (view, bin) with an angle for each view, got {dtype} {shape} and "
                        f"{degrees.shape} angles.", path=path, dataset=name)  # fmt: skip
    try:
        source, detector = float(about["source_origin_mm"]), float(about["source_detector_mm"])
        beam = Beam(
            np.deg2rad(degrees.astype(np.float64)),
            shape[1],
            float(about["detector_pixel_mm"]),
            source_distance=source,
            detector_distance=detector - source,
            shape=(SIDE, SIDE),
            pixel=float(about["image_pixel_mm"]),
        )
    except ValueError as error:
        raise DataError(str(error), path=path, dataset=name) from error
    reader = HtcReader(path, name, referenced)
    return ProjectionContents((1, *shape), "integrals", beam, reader, attenuation=False, attrs=about)
