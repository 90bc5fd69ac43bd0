"""CT series: values, places, regularity; and CT images written and read back."""

import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from invdiff.data.dicom_series import read_series
from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry
from invdiff.data.outputs import Volume, write_volume
from invdiff.data.write_dicom import missing_attributes, write_dicom

pydicom = pytest.importorskip("pydicom")
C, S = 0.8, 0.6
OBLIQUE = Geometry((2.0, 1.5, 3.0), ((0, C, S), (1, 0, 0), (0, -S, C)), (10.0, -20.0, 30.0))
HU = torch.randint(-1024, 3000, (4, 10, 7), generator=torch.Generator().manual_seed(0)).float()


def write(folder: Path, images: torch.Tensor = HU, geometry: Geometry = OBLIQUE) -> Path:
    write_dicom(folder, images, geometry, unit="HU", patient={"PatientID": "p1"})
    return folder


def change(path: Path, **values: Any) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def test_hounsfield_units_come_back_in_their_place(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", HU - 0.4)
    for path in folder.iterdir():
        path.rename(path.with_name(f"{9 - int(path.stem)}.dcm"))  # the order of names says nothing
    series = read_series(folder)
    np.testing.assert_array_equal(series.volume, HU)  # whole Hounsfield units
    assert (series.modality, series.unit) == ("CT", "HU")
    # the slices run along the cross product of columns and rows, which is minus OBLIQUE's third direction or it
    for point in ((0, 0, 0), (9, 6, 3), (4, 2, 1)):
        np.testing.assert_allclose(
            series.geometry.position(*point, (10, 7)), OBLIQUE.position(*point, (10, 7)), atol=1e-4
        )


def test_ct_images_say_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    write_volume(path, Volume(HU[:1], OBLIQUE, attrs={"method": "fbp"}, unit="HU"))
    dataset = pydicom.dcmread(path)
    assert (dataset.Modality, dataset.SOPClassUID) == ("CT", "1.2.840.10008.5.1.4.1.1.2")
    assert (dataset.RescaleType, dataset.PixelRepresentation) == ("HU", 1)
    assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert "method fbp; Hounsfield units; not for diagnosis" in str(dataset.DerivationDescription)
    assert missing_attributes(dataset) == []
    assert "ScanningSequence" not in dataset
    del dataset.RescaleType, dataset.KVP
    assert missing_attributes(dataset) == ["RescaleType", "KVP"]


@pytest.mark.parametrize(("low", "high"), [(-1024, 32767), (-32768, 0), (-5e4, 1e5), (0, 40000), (-1000, 3.4e38)])
def test_values_beyond_16_bits_are_stored_in_wider_steps(tmp_path: Path, low: float, high: float) -> None:
    """A finished reconstruction is not lost because DICOM holds 65536 values; the error is half a step at most."""
    image = torch.linspace(low, high, 3 * 70, dtype=torch.float64).reshape(3, 10, 7).float()
    beyond = low < -32768 or high > 32767
    with pytest.warns(UserWarning, match="beyond the -32768 to 32767 of DICOM") if beyond else nullcontext():
        write_dicom(tmp_path / "a", image, OBLIQUE, unit="HU")
    slopes = {str(pydicom.dcmread(path).RescaleSlope) for path in (tmp_path / "a").iterdir()}
    assert len(slopes) == 1
    step = float(slopes.pop())
    assert step == pytest.approx(max(1.0, -low / 32768, high / 32767), rel=1e-6)
    np.testing.assert_allclose(read_series(tmp_path / "a").volume, image, rtol=1e-6, atol=0.5 * step)
    text = str(pydicom.dcmread(tmp_path / "a" / "0001.dcm").DerivationDescription)
    assert ("in steps of" in text) == beyond


def test_other_units_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no DICOM images in the unit 'mm'"):
        write_dicom(tmp_path / "a", HU, OBLIQUE, unit="mm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_ct_images_pass_the_validator(tmp_path: Path) -> None:
    path = next(write(tmp_path / "out").iterdir())
    found = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
    assert "CTImage" in found
    assert [line for line in found.splitlines() if line.startswith("Error")] == []


def test_irregular_series_are_refused(tmp_path: Path) -> None:
    place = [float(v) for v in pydicom.dcmread(write(tmp_path / "a") / "0002.dcm").ImagePositionPatient]
    (tmp_path / "a" / "0002.dcm").unlink()
    with pytest.raises(DataError, match=r"0003\.dcm: follows 0001\.dcm after 6\.00 mm"):
        read_series(tmp_path / "a")
    change(write(tmp_path / "b") / "0003.dcm", ImagePositionPatient=place)
    with pytest.raises(DataError, match="a slice is there twice"):
        read_series(tmp_path / "b")
    change(write(tmp_path / "c") / "0003.dcm", PixelSpacing=[2.0, 2.0])
    with pytest.raises(DataError, match=r"0003\.dcm: has pixel spacing"):
        read_series(tmp_path / "c")
    change(write(tmp_path / "d") / "0003.dcm", SeriesInstanceUID="1.2.3")
    with pytest.raises(DataError, match=r"holds 2 series \(1\.2\.3, 2\.25\."):
        read_series(tmp_path / "d")
    assert read_series(tmp_path / "d", series="1.2.3").volume.shape == (1, 10, 7)
    for i in range(4):
        position = OBLIQUE.position(0, 0, i, (10, 7)) + np.array([2.0 * i, 0, 0])
        change(write(tmp_path / "e") / f"{i + 1:04}.dcm" if i == 0 else tmp_path / "e" / f"{i + 1:04}.dcm",
               ImagePositionPatient=[round(float(v), 6) for v in position])  # fmt: skip
    with pytest.raises(DataError, match="tilted gantry"):
        read_series(tmp_path / "e")


def test_a_slice_without_a_place_is_refused(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write(tmp_path / "a") / "0002.dcm")
    del dataset.ImagePositionPatient
    dataset.save_as(tmp_path / "a" / "0002.dcm")
    with pytest.raises(DataError, match="lacks ImagePositionPatient"):
        read_series(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="holds 0 series"):
        read_series(tmp_path / "b")


def test_a_series_becomes_nifti_in_the_same_place(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    series = read_series(write(tmp_path / "out"))
    write_volume(tmp_path / "a.nii.gz", Volume(torch.from_numpy(series.volume), series.geometry, unit=series.unit))
    image = nibabel.load(tmp_path / "a.nii.gz")
    r, c, s = 7, 2, 3
    np.testing.assert_array_equal(image.get_fdata()[c, r, s], HU[s, r, c])
    lps = OBLIQUE.position(r, c, s, (10, 7))
    np.testing.assert_allclose((image.affine @ [c, r, s, 1])[:3], lps * [-1, -1, 1], atol=1e-3)
