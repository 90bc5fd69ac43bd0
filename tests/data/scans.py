"""Small scans of known projections in every layout, written from their descriptions."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

VIEWS, BINS, ROWS = 12, 9, 3
ANGLES = np.linspace(0, np.pi, VIEWS, endpoint=False)


def sinogram(slices: int = 2, views: int = VIEWS, bins: int = BINS) -> np.ndarray:
    """Line integrals (slices, views, bins) float32 in 0..2."""
    return np.random.default_rng(0).random((slices, views, bins), np.float32) * 2


def write_named(path: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {"projections": sinogram(), "angles": ANGLES, "bin_width": 0.5} | changes
    values = {n: v for n, v in values.items() if v is not None}
    if path.suffix == ".npz":
        np.savez(path, **values)
        return path
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            if np.ndim(value) or name == "photons":
                file[name] = value
            else:
                file.attrs[name] = value
    return path


def write_lodopab(folder: Path, samples: int = 2) -> Path:
    path = folder / "observation_test_000.hdf5"
    rng = np.random.default_rng(1)
    for name, shape in (("observation", (1000, 513)), ("ground_truth", (362, 362))):
        with h5py.File(folder / f"{name}_test_000.hdf5", "w") as file:
            file["data"] = rng.random((samples, *shape), np.float32)
    return path


LENGTHS = {"source_origin_mm": 410.66, "source_detector_mm": 553.74, "detector_pixel_mm": 0.2, "image_pixel_mm": 0.148}


def write_htc(path: Path, samples: tuple[str, ...] = ("ta",), **changes: Any) -> Path:
    values = {"sinogram": sinogram(1)[0], "angles_deg": np.arange(VIEWS, dtype=np.float32)} | changes
    if path.suffix == ".mat":
        from scipy.io import savemat

        names = ("distanceSourceOrigin", "distanceSourceDetector", "pixelSizePost", "effectivePixelSizePost")
        parameters = dict(zip(names, LENGTHS.values(), strict=True)) | {"angles": values["angles_deg"]}
        savemat(path, {"CtDataLimited": {"sinogram": values["sinogram"], "parameters": parameters}})
        return path
    with h5py.File(path, "w") as file:
        for sample in samples:
            group = file.create_group(sample)
            group.attrs.update(LENGTHS)
            group["ground_truth"] = np.zeros((512, 512), np.uint8)
            for name, value in values.items():
                group[name] = value
    return path


def write_tiff(folder: Path, about: dict[str, Any] | None = None, stack: bool = False) -> Path:
    """Counts of ROWS detector rows with flat and dark frames: a folder of images, or a stack."""
    import tifffile

    place = folder if stack else folder / "scan"
    place.mkdir(exist_ok=True)
    counts = np.rint(100 + 5000 * np.exp(-np.moveaxis(sinogram(ROWS), 0, 1))).astype(np.uint16)  # (view, row, bin)
    if stack:
        tifffile.imwrite(place / "scan.tif", counts, photometric="minisblack")
    for v in range(0 if stack else VIEWS):
        tifffile.imwrite(place / f"view_{v:03}.tif", counts[v])
    tifffile.imwrite(place / "flat.tif", np.full((2, ROWS, BINS), 5100, np.uint16), photometric="minisblack")
    tifffile.imwrite(place / "dark.tif", np.full((ROWS, BINS), 100, np.uint16))
    known = {"step_deg": 15.0, "bin_width": 0.5, "flat": "flat.tif", "dark": "dark.tif"} | (about or {})
    (place / ("scan.json" if stack else "geometry.json")).write_text(json.dumps(known))
    return place / "scan.tif" if stack else place


def write_dicom_projections(folder: Path, **changes: Any) -> Path:
    """A resting table, ROWS detector rows, columns off centre by one bin; `changes` of attributes by our names."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    from invdiff.data.projections_dicom import _TAGS

    folder.mkdir(exist_ok=True)
    facts: dict[str, Any] = {"z": 0.0, "rho": 595.0, "to_detector": 1085.6, "width": 1.2858, "height": 1.0947}
    facts |= {"central": [BINS / 2 + 1.5, ROWS / 2], "detector": "CYLINDRICAL", "rows": ROWS, "columns": BINS}
    facts |= {"mu_water": 0.0192} | changes
    projections = sinogram(ROWS)
    for v in range(VIEWS):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[str(v)])
        dataset.InstanceNumber, dataset.Rows, dataset.Columns = v + 1, BINS, ROWS
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.0001", "-0.5"
        for name, value in (facts | {"phi": float(ANGLES[v])}).items():
            value = value[v] if name == "z" and np.ndim(value) else value
            kind = "CS" if name == "detector" else "US" if name in ("rows", "columns") else "FL"
            dataset.add_new(_TAGS[name], kind, value)
        dataset.PixelData = np.rint((projections[:, v].T + 0.5) / 1e-4).astype("<u2").tobytes()
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, dataset.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta = meta
        dataset.save_as(folder / f"{VIEWS - v:03}.dcm", enforce_file_format=True)
    return folder
