"""x = sum_c conj(s_c) F^-1 k_c, or the root sum of squares: images of fully sampled fastMRI files.

"rss" takes the stored `reconstruction_rss` where there is one; "complex" combines the coils with ESPIRiT maps and crops
to the size of the stored image. Both keep the arbitrary units of the file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.checks import nearest
from invdiff.data.coils import espirit
from invdiff.data.errors import DataError
from invdiff.data.folders import ending, files_under, part_of
from invdiff.data.hdf5 import opened, required
from invdiff.data.image_source import ImageSource, Pixels, Place
from invdiff.data.kspace import KSpaceFile, open_kspace
from invdiff.data.layout import Axes

Image = Literal["rss", "complex"]


def open_fastmri(path: Path, *, image: Image = "rss", axes: Axes | None = None) -> ImageSource:
    """Slices of a k-space file, or of all in a folder (`multicoil_train` and the like below it are parts).

    Args:
        path: fully sampled files; the subject is the attribute `patient_id`, or the file name where there is none.
        image: "rss" for magnitudes, "complex" for coil-combined images. Maps take seconds for each slice, so write the
            images to a file once before training on them.
        axes: see `invdiff.data.kspace.open_kspace`.

    Raises:
        DataError: an undersampled file, or one that `open_kspace` refuses.
    """
    if image not in _IMAGES:
        raise DataError(f"image={image!r} is not known.{nearest(image, _IMAGES)}", path=path)
    files = [f for f in files_under(path) if ending(f) in (".h5", ".hdf5")]
    scans = [_checked(open_kspace(f, axes=axes)) for f in tqdm(files, unit="file", disable=None, leave=False)]
    places = [
        Place(s.path, shape, str(s.attrs.get("patient_id", s.path.stem)), part_of(path, s.path), None, i, spacing)
        for s in scans
        for shape, spacing in [(_shape(s, image), _spacing(s))]
        for i in range(s.n_slices)
    ]
    reader = FastMRIReader({s.path: s for s in scans}, image)
    return ImageSource(path, places, reader, "complex" if image == "complex" else "magnitude", "MR")


@dataclass(frozen=True)
class FastMRIReader:
    """Reads a slice's image; `KSpaceFile` opens the file anew for each, so this works in every process."""

    scans: dict[Path, KSpaceFile]
    image: Image

    def __call__(self, place: Place) -> Pixels:
        image = _IMAGES[self.image](self.scans[place.path], place.index or 0)
        return centre(image, place.shape).numpy()


def _rss(scan: KSpaceFile, i: int) -> Tensor:
    stored = scan.reference(i) if scan.reference_name == "reconstruction_rss" else None
    return _coil_images(scan, i).abs().square().sum(0).sqrt() if stored is None else stored


def _complex(scan: KSpaceFile, i: int) -> Tensor:
    images = _coil_images(scan, i)
    return images[0] if len(images) == 1 else (espirit(scan.kspace(i)).conj() * images).sum(0)


_IMAGES: dict[str, Callable[[KSpaceFile, int], Tensor]] = {"rss": _rss, "complex": _complex}


def _coil_images(scan: KSpaceFile, i: int) -> Tensor:
    """(coils, h, w)."""
    axes = (-2, -1)
    inverse = torch.fft.ifft2(torch.fft.ifftshift(scan.kspace(i), dim=axes), norm="ortho")
    return torch.fft.fftshift(inverse, dim=axes)


def centre(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """The central (H, W) of an image at least that large."""
    top, left = ((n - m) // 2 for n, m in zip(image.shape, shape, strict=True))
    return image[top : top + shape[0], left : left + shape[1]]


def _checked(scan: KSpaceFile) -> KSpaceFile:
    if not scan.fully_sampled:
        raise DataError("is undersampled (it stores a mask), so it has no true images; leave the file out.",
                        path=scan.path, dataset="mask")  # fmt: skip
    return scan


def _shape(scan: KSpaceFile, image: Image) -> tuple[int, int]:
    """Of the stored image, else of the reconstruction the header names, else of k-space."""
    if scan.reference_name is not None and (image == "complex" or scan.reference_name == "reconstruction_rss"):
        with opened(scan.path) as file:
            _, h, w = required(file, scan.reference_name, scan.path).shape
        return min(h, scan.shape[2]), min(w, scan.shape[3])
    recon = scan.header.recon if scan.header else None
    h, w = scan.shape[2:] if recon is None else recon[:2]
    return min(h, scan.shape[2]), min(w, scan.shape[3])


def _spacing(scan: KSpaceFile) -> tuple[float, float] | None:
    header = scan.header
    if header is None or header.recon is None or header.field_of_view is None:
        return None
    return header.field_of_view[0] / header.recon[0], header.field_of_view[1] / header.recon[1]
