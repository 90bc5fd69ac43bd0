"""Volumes come back from every format with their values and their place in space; what cannot be written is refused."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.atomic import write_folder
from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry
from invdiff.data.header import Header
from invdiff.data.kspace import open_kspace
from invdiff.data.outputs import WRITERS, Volume, check_output, write_volume
from invdiff.data.write_bart import write_bart
from invdiff.data.write_dicom import missing_attributes, write_dicom
from invdiff.data.write_nifti import write_nifti

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(3, 10, 7, dtype=torch.complex64, generator=GENERATOR)
C, S = 0.8, 0.6
OBLIQUE = Geometry((2.0, 1.5, 4.0), ((0, C, S), (1, 0, 0), (0, -S, C)), (5.0, -6.0, 7.0))
HEADER = Header(echo_time=4.1, repetition_time=8.6, field_strength=2.89, vendor="ACME", patient_position="HFS")


def volume(**changes: Any) -> Volume:
    return Volume(**({"images": IMAGES, "geometry": OBLIQUE, "header": HEADER} | changes))


# Geometry


def test_pixels_lie_where_the_equation_says() -> None:
    centre = OBLIQUE.position(5, 3, 0, (10, 7))
    assert centre.tolist() == [5, -6, 7]
    assert np.allclose(OBLIQUE.position(6, 3, 0, (10, 7)) - centre, [0, 1.6, 1.2])  # 2 mm along the rows' direction
    assert np.allclose(OBLIQUE.position(5, 2, 0, (10, 7)) - centre, [-1.5, 0, 0])
    assert np.allclose(OBLIQUE.position(5, 3, 2, (10, 7)) - centre, [0, -4.8, 6.4])
    assert np.allclose(OBLIQUE.position(4, 2, 1, (8, 5)), OBLIQUE.position(5, 3, 1, (10, 7)))  # cropping moves nothing
    lps = OBLIQUE.affine((10, 7)) @ [2, 9, 1, 1] * [-1, -1, 1, 1]
    assert np.allclose(lps[:3], OBLIQUE.position(9, 2, 1, (10, 7)))


def test_geometries_that_cannot_be() -> None:
    for spacing in ((0.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0, 1e5)):
        with pytest.raises(ValueError, match="three positive lengths"):
            Geometry(spacing)
    with pytest.raises(ValueError, match="right angles"):
        Geometry((1, 1, 1), ((1, 0, 0), (1, 0, 0), (0, 0, 1)))
    with pytest.raises(ValueError, match="plane must be axial"):
        Geometry((1, 1, 1)).facing("oblique")
    with pytest.raises(ValueError, match="state the plane"):
        Geometry((1, 1, 1)).position(0, 0, 0, (2, 2))
    axial = Geometry((1, 1, 1)).facing("axial")
    assert axial.assumed
    assert axial.position(1, 0, 0, (2, 2)).tolist() == [-1, 0, 0]  # first column is the patient's right


# NIfTI


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_magnitude_phase_and_affine(tmp_path: Path, ending: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / f"a.b{ending}"
    assert write_volume(path, volume()) == [path, tmp_path / f"a.b_phase{ending}"]
    magnitude, phase = nibabel.load(path), nibabel.load(tmp_path / f"a.b_phase{ending}")
    stored = np.asarray(magnitude.dataobj) * np.exp(1j * np.asarray(phase.dataobj))
    assert np.allclose(stored.transpose(2, 1, 0), IMAGES.numpy(), atol=1e-6)  # float32 polar and back
    assert magnitude.get_data_dtype() == np.float32
    assert np.allclose(magnitude.affine, OBLIQUE.affine((10, 7)), atol=1e-5)  # stored in float32
    assert (int(magnitude.header["sform_code"]), int(magnitude.header["qform_code"])) == (1, 1)
    assert np.allclose(magnitude.header.get_zooms(), (1.5, 2.0, 4.0))
    first = path.read_bytes()
    write_volume(path, volume(), overwrite=True)
    assert path.read_bytes() == first


def test_nifti_claims_no_more_than_is_known(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    write_nifti(tmp_path / "a.nii", IMAGES.abs(), Geometry((2.0, 1.5, 4.0)))
    image = nibabel.load(tmp_path / "a.nii")
    assert np.allclose(image.header.get_zooms(), (1.5, 2.0, 4.0))
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii"]  # real images have no phase file
    write_nifti(tmp_path / "b.nii", IMAGES.abs())
    assert nibabel.load(tmp_path / "b.nii").header.get_zooms() == (1, 1, 1)
    with pytest.raises(ValueError, match=r"ends in \.nii or \.nii\.gz"):
        write_nifti(tmp_path / "b.img", IMAGES.abs())


# DICOM


def read_series(folder: Path) -> list[Any]:
    pydicom = pytest.importorskip("pydicom")
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def test_dicom_series_holds_values_place_and_origin(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    paths = write_volume(tmp_path / "out", volume(attrs={"method": "cg", "source_file": "scan.h5"}))
    assert [p.name for p in paths] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    series = read_series(tmp_path / "out")
    text = str(series[0].DerivationDescription)
    assert text.startswith("method cg, source_file scan.h5; value = stored x ")
    assert text.endswith("not for diagnosis")
    scale = float(text.split("stored x ")[1].split(";")[0])
    for i, dataset in enumerate(series):
        stored = dataset.pixel_array * scale
        assert np.allclose(stored, IMAGES[i].abs(), atol=0.51 * scale)  # rounded to one of 4096
        assert np.allclose(np.array(dataset.ImagePositionPatient, float), OBLIQUE.position(0, 0, i, (10, 7)))
        assert missing_attributes(dataset) == []
    assert list(series[0].PixelSpacing) == [2.0, 1.5]  # rows first
    assert np.allclose(np.array(series[0].ImageOrientationPatient, float), [1, 0, 0, 0, C, S])
    assert list(series[0].ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
    assert (series[0].EchoTime, series[0].Manufacturer, series[0].PatientPosition) == (4.1, "ACME", "HFS")
    assert len({d.SOPInstanceUID for d in series}) == 3
    assert len({d.SeriesInstanceUID for d in series}) == 1
    again = read_series(
        write_volume(tmp_path / "again", volume(attrs={"method": "cg", "source_file": "scan.h5"}))[0].parent
    )
    assert again[0].SeriesInstanceUID == series[0].SeriesInstanceUID
    other = read_series(write_volume(tmp_path / "other", volume(attrs={"method": "tv"}))[0].parent)
    assert other[0].SeriesInstanceUID != series[0].SeriesInstanceUID


def test_dicom_and_nifti_put_a_pixel_in_one_place(tmp_path: Path) -> None:
    nibabel, pydicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
    write_volume(tmp_path / "a.nii", volume())
    affine = nibabel.load(tmp_path / "a.nii").affine
    write_volume(tmp_path / "out", volume())
    dataset = pydicom.dcmread(tmp_path / "out" / "0002.dcm")
    orientation, spacing = np.array(dataset.ImageOrientationPatient, float), np.array(dataset.PixelSpacing, float)
    r, c = 6, 2  # PS3.3 equation C.7.6.2.1-1: columns along the first triple, rows along the second
    lps = (
        np.array(dataset.ImagePositionPatient, float)
        + orientation[:3] * spacing[1] * c
        + orientation[3:] * spacing[0] * r
    )
    assert np.allclose((affine @ [c, r, 1, 1])[:3], lps * [-1, -1, 1], atol=1e-4)


def test_dicom_needs_an_orientation(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    for geometry in (None, Geometry((1, 1, 1))):
        with pytest.raises(DataError, match=r"need pixel sizes and an orientation.*--plane axial"):
            write_volume(tmp_path / "out", volume(geometry=geometry))
        with pytest.raises(DataError, match="--plane axial"):
            check_output(tmp_path / "out", geometry)
    assert list(tmp_path.iterdir()) == []
    write_volume(tmp_path / "out", volume(geometry=Geometry((1, 1, 1)).facing("coronal")))
    assert "orientation assumed, not measured" in str(read_series(tmp_path / "out")[0].DerivationDescription)


def test_dicom_single_files_patients_and_lacking_attributes(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    with pytest.raises(DataError, match="one slice, and there are 3; name a folder"):
        write_volume(tmp_path / "a.dcm", volume())
    path = tmp_path / "a.dcm"
    assert write_dicom(path, IMAGES[:1].abs(), OBLIQUE, patient={"PatientID": "p7"}) == [path]
    dataset = pydicom.dcmread(path)
    assert dataset.PatientID == "p7"
    with pytest.raises(ValueError, match="no DICOM keyword"):
        write_dicom(tmp_path / "b.dcm", IMAGES[:1].abs(), OBLIQUE, patient={"Patient": "p7"})
    del dataset.EchoTime
    dataset.Modality = ""
    assert missing_attributes(dataset) == ["Modality", "EchoTime"]
    dark = write_dicom(tmp_path / "dark.dcm", torch.zeros(1, 4, 4), OBLIQUE)
    assert not pydicom.dcmread(dark[0]).pixel_array.any()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("header", [HEADER, None])
def test_dicom_passes_the_validator(tmp_path: Path, header: Header | None) -> None:
    pytest.importorskip("pydicom")
    paths = write_volume(tmp_path / "out", volume(header=header))
    found = subprocess.run(["dciodvfy", str(paths[1])], capture_output=True, text=True, check=False).stderr
    assert "MRImage" in found
    assert [line for line in found.splitlines() if line.startswith("Error")] == []


# BART, HDF5, folders


def test_bart_images_and_kspace_come_back(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.cfl", volume())
    assert np.array_equal(open_kspace(tmp_path / "a").kspace(2)[0].numpy(), IMAGES[2].numpy())
    kspace = torch.randn(2, 4, 6, 5, dtype=torch.complex64, generator=GENERATOR)
    write_bart(tmp_path / "k.cfl", kspace)
    file = open_kspace(tmp_path / "k.hdr")
    assert file.shape == (2, 4, 6, 5)
    assert torch.equal(file.kspace(1), kspace[1])
    for bad, match in ((kspace * torch.nan, "NaN"), (kspace[0, 0], r"got \(6, 5\)")):
        with pytest.raises(ValueError, match=match):
            write_bart(tmp_path / "b.cfl", bad)
    with pytest.raises(ValueError, match=r"ends in \.cfl"):
        write_bart(tmp_path / "b.bin", kspace)


def test_hdf5_holds_magnitudes(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.h5", volume(attrs={"method": "cg"}))
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["reconstruction"][()], IMAGES.abs().numpy())
        assert file.attrs["method"] == "cg"


@pytest.mark.parametrize("name", ["a.h5", "a.nii", "a.cfl", "out"])
def test_nothing_is_replaced_unasked(tmp_path: Path, name: str) -> None:
    if name == "out":
        pytest.importorskip("pydicom")
    if name == "a.nii":
        pytest.importorskip("nibabel")
    path = tmp_path / name
    check_output(path, OBLIQUE)
    written = write_volume(path, volume())
    before = [p.read_bytes() for p in written]
    for attempt in (lambda: check_output(path, OBLIQUE), lambda: write_volume(path, volume())):
        with pytest.raises(DataError, match="exists already"):
            attempt()
    assert [p.read_bytes() for p in written] == before
    check_output(path, OBLIQUE, overwrite=True)
    write_volume(path, volume(images=2 * IMAGES), overwrite=True)
    assert [p.read_bytes() for p in written] != before
    assert len(list(tmp_path.iterdir())) == (1 if name == "out" else len(written))  # no temporary names


def test_companions_and_foreign_folders_are_seen_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").touch()
    with pytest.raises(DataError, match=r"a\.hdr: exists already"):
        check_output(tmp_path / "a.cfl", None)
    (tmp_path / "b_phase.nii.gz").touch()
    with pytest.raises(DataError, match=r"b_phase\.nii\.gz: exists already"):
        check_output(tmp_path / "b.nii.gz", None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(DataError, match="not empty"):
        check_output(tmp_path / "out", OBLIQUE, overwrite=True)
    with pytest.raises(DataError, match=r"ends in none of \.h5"):
        check_output(tmp_path / "a.png", None)
    pytest.importorskip("pydicom")
    with pytest.raises(DataError, match=r"one\.dcm: one DICOM file holds one slice, and there are 2"):
        check_output(tmp_path / "one.dcm", OBLIQUE, slices=2)
    check_output(tmp_path / "one.dcm", OBLIQUE, slices=1)
    assert set(WRITERS) == {".h5", ".hdf5", ".nii", ".nii.gz", ".dcm", "", ".cfl"}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.name == "2":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr("invdiff.data.atomic._write_through", full)
    with pytest.raises(DataError, match=r"No space left.*nothing was left"):
        write_folder(tmp_path / "out", {"1": b"a", "2": b"b"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["image.nii.gz", "image.dcm", "folder"])
def test_a_missing_library_is_named_before_the_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invdiff.data.outputs.find_spec", lambda library: None)
    with pytest.raises(ImportError, match=r"is written with (nibabel|pydicom); pip install invdiff\[io\]"):
        check_output(tmp_path / name, Geometry((1.0, 1.0, 1.0)).facing("axial"))
    check_output(tmp_path / "image.h5", None)
