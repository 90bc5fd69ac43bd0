"""Files of projections: values, geometry, recognition, faults."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from invdiff.data import projections_lodopab as lodopab
from invdiff.data.beam import Beam, beam_from, central_rows
from invdiff.data.errors import DataError
from invdiff.data.guarded import guarded
from invdiff.data.projection_formats import PROJECTION_FORMATS
from invdiff.data.projections import ProjectionFile, open_projections
from tests.data.raw import write_matlab
from tests.data.scans import (
    ANGLES,
    BINS,
    ROWS,
    VIEWS,
    sinogram,
    write_dicom_projections,
    write_htc,
    write_lodopab,
    write_named,
    write_tiff,
)
from tests.data.test_mutations import mutate


@pytest.mark.parametrize("name", ["scan.h5", "scan.npz"])
def test_named_line_integrals(tmp_path: Path, name: str) -> None:
    file = open_projections(write_named(tmp_path / name, offset=0.25, pixel=0.7, shape=[8, 7]))
    assert (file.format, file.shape, file.contents.kind) == ("projections", (2, VIEWS, BINS), "integrals")
    assert (file.beam.bin_width, file.beam.offset, file.beam.pixel, file.beam.shape) == (0.5, 0.25, 0.7, (8, 7))
    np.testing.assert_array_equal(file.beam.angles, ANGLES)
    p, variance = file.line_integrals(1)
    np.testing.assert_array_equal(p, sinogram()[1])
    assert variance is None
    assert file.reference(0) is None


@pytest.mark.parametrize("name", ["scan.h5", "scan.npz"])
def test_named_counts_with_flat_and_dark(tmp_path: Path, name: str) -> None:
    counts = 50 + 1000 * np.exp(-sinogram())
    frames = {"flat": np.full((3, BINS), 1050.0), "dark": np.full(BINS, 50.0)}
    file = open_projections(write_named(tmp_path / name, projections=None, counts=counts, electronic=4.0, **frames))
    p, variance = file.line_integrals(0)
    torch.testing.assert_close(p, torch.from_numpy(sinogram()[0]), rtol=1e-5, atol=1e-5)
    assert variance is not None
    seen = 1000 * torch.exp(-p)
    torch.testing.assert_close(variance, (seen + 16) / seen**2, rtol=1e-4, atol=0)


def test_stored_line_integrals_with_photons_have_a_variance(tmp_path: Path) -> None:
    file = open_projections(write_named(tmp_path / "scan.h5", photons=500.0))
    p, variance = file.line_integrals(0)
    assert variance is not None
    torch.testing.assert_close(variance, torch.exp(p) / 500, rtol=1e-4, atol=0)


def test_one_slice_may_lack_its_axis(tmp_path: Path) -> None:
    file = open_projections(write_named(tmp_path / "scan.h5", projections=sinogram()[0], reference=np.ones((4, 5))))
    assert file.shape == (1, VIEWS, BINS)
    np.testing.assert_array_equal(file.line_integrals(0)[0], sinogram()[0])
    assert file.reference(0).shape == (4, 5)


def test_lodopab_in_millimetres_and_upright(tmp_path: Path) -> None:
    file = open_projections(write_lodopab(tmp_path))
    assert (file.format, file.shape) == ("lodopab", (2, 1000, 513))
    assert lodopab.MU_MAX == pytest.approx(0.08135858, abs=1e-8)
    with h5py.File(tmp_path / "observation_test_000.hdf5") as f:
        stored = f["data"][1]
    np.testing.assert_allclose(file.line_integrals(1)[0], stored * 81.35858, rtol=1e-6)
    with h5py.File(tmp_path / "ground_truth_test_000.hdf5") as f:
        np.testing.assert_allclose(file.reference(1), f["data"][1].T * 0.08135858, rtol=1e-6)
    assert file.beam.bins * file.beam.bin_width == pytest.approx(2 * 183.84776, abs=1e-3)
    assert file.beam.angles[0] == pytest.approx(-math.pi / 2000)


@pytest.mark.parametrize("name", ["htc.h5", "htc.mat"])
def test_htc(tmp_path: Path, name: str) -> None:
    file = open_projections(write_htc(tmp_path / name))
    assert (file.format, file.shape) == ("htc2022", (1, VIEWS, BINS))
    np.testing.assert_array_equal(file.line_integrals(0)[0], sinogram(1)[0])
    np.testing.assert_allclose(np.rad2deg(file.beam.angles), np.arange(VIEWS))
    assert file.beam.source_distance == 410.66
    assert file.beam.detector_distance == pytest.approx(143.08)
    assert (file.beam.shape, file.beam.pixel) == ((512, 512), 0.148)


def test_htc_with_several_samples_asks_which(tmp_path: Path) -> None:
    path = write_htc(tmp_path / "htc.h5", ("ta", "tb"))
    with pytest.raises(DataError, match="ta, tb; name one with sample="):
        open_projections(path)
    assert open_projections(path, sample="tb").contents.reader.name == "tb"


@pytest.mark.parametrize("stack", [False, True])
def test_tiff(tmp_path: Path, stack: bool) -> None:
    file = open_projections(write_tiff(tmp_path, stack=stack))
    assert (file.format, file.shape, file.contents.kind) == ("tiff", (ROWS, VIEWS, BINS), "counts")
    # counts of 670 to 5000 were rounded to whole numbers
    torch.testing.assert_close(file.line_integrals(2)[0], torch.from_numpy(sinogram(ROWS)[2]), rtol=0, atol=1e-3)
    np.testing.assert_allclose(file.beam.angles, np.deg2rad(15 * np.arange(VIEWS)))


def test_tiff_rows_far_from_the_plane_are_left_out(tmp_path: Path) -> None:
    fan = {"source_distance": 20.0, "detector_distance": 5.0}
    file = open_projections(write_tiff(tmp_path, fan))
    assert file.shape == (1, VIEWS, BINS)
    assert "2 of 3 detector rows" in file.contents.notes[0]
    np.testing.assert_allclose(file.line_integrals(0)[0], sinogram(ROWS)[1], atol=1e-3)
    assert file.contents.spacing == pytest.approx(0.4)


def test_dicom_projections(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    file = open_projections(write_dicom_projections(tmp_path / "scan"))
    assert (file.format, file.shape) == ("dicom-ct-pd", (ROWS, VIEWS, BINS))
    np.testing.assert_allclose(file.line_integrals(1)[0], sinogram(ROWS)[1], atol=6e-5)
    np.testing.assert_allclose(file.beam.angles, ANGLES + math.pi, rtol=1e-6)
    assert file.beam.offset == -1.0
    assert file.beam.detector == "curved"
    assert file.beam.detector_distance == pytest.approx(490.6)
    assert file.contents.table is None
    assert file.contents.mu_water == pytest.approx(0.0192)
    mirrored = open_projections(tmp_path / "scan", mirrored=True)
    np.testing.assert_array_equal(mirrored.line_integrals(1)[0], file.line_integrals(1)[0].flip(1))
    assert mirrored.beam.offset == 1.0


def test_dicom_projections_that_need_more_than_a_fan_beam(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    helical = open_projections(write_dicom_projections(tmp_path / "a", z=list(np.arange(VIEWS) * 1.0)))
    np.testing.assert_allclose(helical.contents.table, np.arange(VIEWS))
    with pytest.raises(DataError, match="flying focal spot"):
        open_projections(write_dicom_projections(tmp_path / "b", shift_z=0.5))
    assert open_projections(tmp_path / "b", focal_spot=False).shape[0] == ROWS
    with pytest.raises(DataError, match="lacks the attributes of DICOM-CT-PD for rho"):
        open_projections(write_dicom_projections(tmp_path / "c", rho=None))
    write_dicom_projections(tmp_path / "d")
    write_dicom_projections(tmp_path / "e", rho=600.0)
    (tmp_path / "e" / "001.dcm").rename(tmp_path / "d" / "001.dcm")
    with pytest.raises(DataError, match="differs from the other views in rho"):
        open_projections(tmp_path / "d")


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no angles": ({"angles": None}, "lacks angles"),
    "degrees": ({"angles": np.rad2deg(ANGLES)}, "name degrees angles_deg"),
    "wrong number": ({"angles": ANGLES[:-1]}, "11 angles for 12 views"),
    "no bin width": ({"bin_width": None}, "lacks bin_width"),
    "negative": ({"bin_width": -1.0}, "bin_width is a length in mm"),
    "half a fan": ({"source_distance": 100.0}, "one of them is missing"),
    "complex": ({"projections": sinogram() + 1j}, "wanted real numbers"),
    "flat list": ({"projections": np.ones(7)}, "wanted (view, bin)"),
    "no air": ({"projections": None, "counts": sinogram()}, "need the air scan"),
    "exchanged": (
        {"projections": None, "counts": sinogram(), "flat": np.ones(BINS), "dark": np.full(BINS, 2.0)},
        "are flat and dark exchanged",
    ),
    "references": ({"reference": np.ones((3, 4, 4))}, "one image for each of the 2 slices"),
    "shape": ({"detector": "round"}, "'flat' or 'curved'"),
}


@pytest.mark.parametrize("ending", [".h5", ".npz"])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_named_files(tmp_path: Path, fault: str, ending: str) -> None:
    changes, sentence = FAULTS[fault]
    with pytest.raises(DataError) as caught:
        open_projections(write_named(tmp_path / f"scan{ending}", **changes))
    assert sentence in str(caught.value)
    assert f"scan{ending}" in str(caught.value)


def test_values_that_are_not_finite_are_refused_when_read(tmp_path: Path) -> None:
    bad = sinogram()
    bad[1, 3, 4] = np.nan
    file = open_projections(write_named(tmp_path / "scan.h5", projections=bad))
    assert file.line_integrals(0)[0].shape == (VIEWS, BINS)
    with pytest.raises(DataError, match=r"slice 1: 1 of 108 values are NaN"):
        file.line_integrals(1)


def test_faults_of_tiff(tmp_path: Path) -> None:
    import tifffile

    folder = write_tiff(tmp_path, {"pitch": 3})
    with pytest.raises(DataError, match="no geometry value is called 'pitch'"):
        open_projections(folder)
    (folder / "geometry.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        open_projections(folder)
    (folder / "geometry.json").unlink()
    with pytest.raises(DataError, match=r"write geometry\.toml beside it"):
        open_projections(folder)
    write_tiff(tmp_path)
    tifffile.imwrite(folder / "view_005.tif", np.ones((ROWS, BINS + 1), np.uint16))
    with pytest.raises(DataError, match="take it out of the folder"):
        open_projections(folder)
    with pytest.raises(DataError, match="over the budget of 100"):
        open_projections(write_tiff(tmp_path), budget=100)


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_projections(tmp_path / "nothing.h5")
    with pytest.raises(DataError, match="holds no projections that can be read"):
        open_projections(write_matlab(tmp_path / "kspace"))
    with pytest.raises(ValueError, match="Did you mean 'tiff'"):
        open_projections(tmp_path, "tif")
    with pytest.raises(TypeError, match="no option 'samples'"):
        open_projections(write_htc(tmp_path / "htc.h5"), samples="ta")
    with pytest.raises(DataError, match="slice 2 does not exist; there are 2"):
        open_projections(write_named(tmp_path / "scan.h5")).line_integrals(2)


def test_a_lying_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("projections", (3, 10**6, 10**6), "f4", chunks=(1, 64, 64))
        file["angles"] = ANGLES
        file.attrs["bin_width"] = 1.0
    with pytest.raises(DataError, match="over the budget"):
        open_projections(tmp_path / "scan.h5")


WRITERS: dict[str, Callable[[Path], Path]] = {
    "projections": lambda path: write_named(path / "sound.h5"),
    "npz": lambda path: write_named(path / "sound.npz"),
    "htc": lambda path: write_htc(path / "sound.h5"),
    "matlab": lambda path: write_htc(path / "sound.mat"),
    "tiff": lambda path: write_tiff(path, stack=True),
}


def outcome(path: Path, open_file: Callable[[Path], ProjectionFile] = open_projections) -> str:
    try:
        file = open_file(path)
        for i in range(min(file.n_slices, 2)):
            file.line_integrals(i)
            file.reference(i)
    except DataError as error:
        return "refused" if str(path.parent) in str(error) else "anonymous"
    return "read"


@pytest.mark.parametrize("count", [25, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str, count: int) -> None:
    path = WRITERS[kind](tmp_path)
    whole, rng, before = path.read_bytes(), random.Random(3), guarded.timeout
    guarded.timeout = 20.0
    try:
        words = []
        for _ in range(count):
            path.write_bytes(mutate(whole, rng))
            words.append(outcome(path))
    finally:
        guarded.timeout = before
    assert words.count("refused") > 0
    assert "anonymous" not in words


def test_another_exception_would_be_seen(tmp_path: Path) -> None:
    def planted(path: Path) -> ProjectionFile:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        outcome(tmp_path, planted)


def test_rows_of_a_cone_beam() -> None:
    fan = Beam(ANGLES, BINS, 1.0, source_distance=500.0, detector_distance=500.0)
    assert central_rows(fan, 64, 1.0) == (15, 49)  # 17.45 mm on either side
    assert central_rows(fan, 5, 50.0) == (2, 3)
    assert central_rows(beam_from({"step_deg": 1, "bin_width": 1}, 3, 2), 64, 1.0) == (0, 64)


def test_every_format_says_what_it_is() -> None:
    assert all(kind.summary for kind in PROJECTION_FORMATS.values())


def test_measured_helsinki_sinograms(data_folder: Path) -> None:
    file = open_projections(data_folder / "ct_sinogram_htc2022.h5", sample="ta")
    assert file.shape == (1, 61, 560)
    assert file.reference(0).unique().tolist() == [0.0, 1.0]
