"""Projections to images in Hounsfield units: geometry, weights, orientation, and the command line."""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from invdiff.cli import main
from invdiff.data.beam import Beam
from invdiff.data.projections import open_projections
from invdiff.operators.ct import Projector
from invdiff.operators.ct_geometry import FanGeometry, ParallelGeometry
from invdiff.prepare_ct import ProjectionScan, scan_geometry
from invdiff.scans import KINDS
from invdiff.solve import solve
from invdiff.units import hu_to_mu, mu_to_hu
from tests.data.scans import BINS, sinogram, write_dicom_projections, write_htc, write_named

N, PIXEL = 64, 3.0
REGIONS = {"water": (0.0, 0.0, 0.0), "bone": (0.3, 0.2, 900.0), "air": (-0.35, -0.1, -1000.0)}  # x, y, HU
FAN = FanGeometry(
    [i * math.pi / 90 for i in range(180)],
    (4 * N, 4 * N),
    110,
    pixel=(PIXEL / 4, PIXEL / 4),
    bin_width=4.0,
    source_distance=400.0,
    detector_distance=200.0,
)


def cylinder() -> torch.Tensor:
    """Water with a rod of bone and a hole, (1, 1, 256, 256) mm^-1, drawn four times as fine as it is reconstructed."""
    y, x = (c / (N * PIXEL / 2) for c in FAN.coordinates())
    hu = torch.where(x**2 + y[:, None] ** 2 < 0.8**2, 0.0, -1000.0)
    for name in ("bone", "air"):
        x0, y0, value = REGIONS[name]
        hu = torch.where((x - x0) ** 2 + (y[:, None] - y0) ** 2 < 0.2**2, value, hu)
    return hu_to_mu(hu)[None, None].float()


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photon counts of the cylinder, two slices."""
    p = Projector(FAN)(cylinder())[0]
    values = torch.poisson(1e6 * torch.exp(-p.expand(2, -1, -1)), torch.Generator().manual_seed(0)).numpy()
    geometry = {"source_distance": 400.0, "detector_distance": 200.0, "bin_width": 4.0, "pixel": PIXEL, "shape": [N, N]}
    path = tmp_path_factory.mktemp("ct") / "scan.h5"
    about: dict[str, Any] = {"angles": FAN.angles, "counts": values, "photons": 1e6, "spacing": 2.5}
    return write_named(path, projections=None, **about, **geometry)


def means(hu: np.ndarray) -> dict[str, float]:
    """Mean of each region's middle."""
    u = (2 * np.arange(N) + 1) / N - 1
    return {n: float(hu[np.hypot(u - x, -u[:, None] - y) < 0.12].mean()) for n, (x, y, _) in REGIONS.items()}


def test_the_command_gives_hounsfield_units(counts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "image.h5"
    assert main(["reconstruct", str(counts), "--method", "fbp", "--out", str(out)]) == 0
    assert "slice 1: 180 views" in capsys.readouterr().out
    with h5py.File(out) as file:
        volume, about = file["reconstruction"][()], dict(file.attrs)
    assert volume.shape == (2, N, N)
    assert (about["units"], about["method"], about["source_format"]) == ("HU", "fbp", "projections")
    found = means(volume[1])
    for name, (_, _, value) in REGIONS.items():
        assert abs(found[name] - value) < 10, found


def test_dicom_and_nifti(counts: Path, tmp_path: Path) -> None:
    pydicom, nibabel = pytest.importorskip("pydicom"), pytest.importorskip("nibabel")
    command = ["reconstruct", str(counts), "--method", "fbp", "--plane", "axial"]
    assert main([*command, "--out", str(tmp_path / "series")]) == 0
    dataset = pydicom.dcmread(tmp_path / "series" / "0002.dcm")
    assert (dataset.Modality, dataset.RescaleType, list(dataset.PixelSpacing)) == ("CT", "HU", [PIXEL, PIXEL])
    assert abs(means(dataset.pixel_array.astype(float))["bone"] - 900) < 10
    assert main([*command, "--out", str(tmp_path / "a.nii.gz")]) == 0
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.header.get_zooms(), (PIXEL, PIXEL, 2.5))
    assert abs(means(image.get_fdata()[:, :, 0].T)["air"] + 1000) < 10
    assert main(["reconstruct", str(counts), "--method", "fbp", "--out", str(tmp_path / "b.dcm")]) == 1


def test_noise_comes_from_the_photons(counts: Path) -> None:
    item = ProjectionScan(open_projections(counts), weighted=True).slice(0)
    assert isinstance(item.sigma_y, torch.Tensor)
    torch.testing.assert_close(item.sigma_y, torch.exp(item.y / 2) / 1e3, rtol=1e-3, atol=0)
    even = ProjectionScan(open_projections(counts)).slice(0)
    assert even.sigma_y == pytest.approx(float(item.sigma_y.square().mean().sqrt()))
    assert ProjectionScan(open_projections(counts), views=45).slice(0).y.shape == (1, 1, 45, 110)
    result = solve(item.y, item.op, method="sirt", sigma_y=item.sigma_y, iterations=10, subsets=10)
    assert abs(means(item.image(result.x).numpy())["water"]) < 30


def test_dead_bins_are_left_out_without_weights(counts: Path, tmp_path: Path) -> None:
    with h5py.File(counts) as file:
        values, about = {n: file[n][()] for n in ("angles", "counts", "shape")}, dict(file.attrs)
    photons = np.full(110, 1e6)
    photons[40] = 0
    path = write_named(tmp_path / "dead.h5", projections=None, photons=photons, **values, **about)
    item = ProjectionScan(open_projections(path)).slice(0)
    assert isinstance(item.sigma_y, torch.Tensor)
    assert item.sigma_y.isinf().nonzero()[:, 3].unique().tolist() == [40]
    image = item.image(solve(item.y, item.op, method="fbp", sigma_y=item.sigma_y).x)
    assert abs(means(image.numpy())["bone"] - 900) < 30


def test_dead_bins_are_left_out_whatever_noise_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ray of no light has the line integral 0: taken for a measurement, it puts a ring of air into the image."""
    photons = np.full(BINS, 1e4)
    photons[4] = 0
    counts = np.round(1e4 * np.exp(-sinogram()))
    path = write_named(tmp_path / "a.h5", projections=None, counts=counts, photons=photons)
    command = ["reconstruct", str(path), "--method", "cg", "--out", str(tmp_path / "out.h5"), "--overwrite"]
    misfits = []
    for told in ([], ["--sigma", "0.02"]):
        assert main([*command, *told]) == 0
        misfits.append(float(capsys.readouterr().out.split("chi2 ")[1].split()[0]))
    level = float(ProjectionScan(open_projections(path)).slice(0).sigma_y[..., 0].max())  # type: ignore[index,union-attr]
    assert misfits[1] == pytest.approx(misfits[0] * (level / 0.02) ** 2, rel=0.2)
    assert main([*command, "--sigma", "-0.1"]) == 1


def test_weights_that_nothing_tells_are_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_named(tmp_path / "a.h5")
    command = ["reconstruct", str(path), "--method", "fbp", "--out", str(tmp_path / "out.h5")]
    with monkeypatch.context() as patch:
        patch.setattr("invdiff.reconstruct.solve", lambda *_, **__: pytest.fail("the work began"))
        assert main([*command, "--weighted"]) == 2
        assert "holds line integrals without photons" in capsys.readouterr().err
        assert main([*command, "--weighted", "--sigma", "0.1"]) == 2
        assert "--sigma one for all; give one" in capsys.readouterr().err
    assert main(command) == 0
    told = write_named(tmp_path / "b.h5", photons=1e4)
    assert main(["reconstruct", str(told), "--method", "fbp", "--out", str(tmp_path / "b_out.h5"), "--weighted"]) == 0
    with h5py.File(tmp_path / "b_out.h5") as file:
        assert file.attrs["weighted"]


def test_other_options_and_scans_are_refused(counts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reconstruct", str(counts), "--acceleration", "4"]) == 2
    assert "--acceleration is not for CT files" in capsys.readouterr().err
    assert main(["reconstruct", str(counts), "--views", "900", "--method", "fbp"]) != 0
    assert "views must be at least 1 and at most 180" in capsys.readouterr().err
    pytest.importorskip("pydicom")
    folder = write_dicom_projections(tmp_path / "scan", z=list(np.arange(12) * 2.0))
    assert main(["reconstruct", str(folder), "--method", "fbp", "--out", str(tmp_path / "a.h5")]) == 1
    assert "is a helical scan: the table moves by 22.0 mm" in capsys.readouterr().err


def test_a_folder_of_dicom_projections_by_one_command(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    folder = write_dicom_projections(tmp_path / "scan")
    out = tmp_path / "a.h5"
    assert main(["reconstruct", str(folder), "--method", "fbp", "--pixel", "1.0", "--out", str(out)]) == 0
    with h5py.File(out) as file:
        assert file["reconstruction"].shape[0] == 3
        assert file.attrs["mu_water_per_mm"] == pytest.approx(0.0192)


def test_segmentations_are_no_references(tmp_path: Path) -> None:
    scan = ProjectionScan(open_projections(write_htc(tmp_path / "a.h5")), size=(64, 64))
    item = scan.slice(0)
    assert item.reference is None
    assert item.op.geometry.pixel[0] == pytest.approx(8 * 0.148)


def test_lodopab_lies_as_its_ground_truth(tmp_path: Path) -> None:
    """A spot at x = 0.06 m, y = -0.03 m: in the data set's arrays the first axis is x, the second y."""
    place, width, peak = (0.06, -0.03), 0.004, 1.0
    t = (np.arange(1000)[:, None] + 0.5) * math.pi / 1000
    s = ((np.arange(513) + 0.5) / 513 - 0.5) * math.sqrt(2) * 0.26
    distance = s - place[0] * np.cos(t) - place[1] * np.sin(t)
    x = ((np.arange(362) + 0.5) / 362 - 0.5) * 0.26
    truth = peak * np.exp(-((x[:, None] - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * width**2))
    data = peak * math.sqrt(2 * math.pi) * width * np.exp(-(distance**2) / (2 * width**2))
    for name, values in (("observation", data), ("ground_truth", truth)):
        with h5py.File(tmp_path / f"{name}_test_000.hdf5", "w") as file:
            file["data"] = values[None].astype(np.float32)
    scan = ProjectionScan(open_projections(tmp_path / "observation_test_000.hdf5"), views=50)
    item = scan.slice(0)
    assert item.reference is not None
    image = item.image(solve(item.y, item.op, method="fbp", window="hann").x)
    assert int(image.argmax()) == int(item.reference.argmax())
    assert float(image.max() / item.reference.max()) == pytest.approx(1, abs=0.05)
    assert item.reference.shape == (362, 362)
    assert float(mu_to_hu(torch.tensor(0.02), scan.water)) == pytest.approx(0, abs=1e-3)


def test_the_image_covers_the_field_of_view_unless_the_file_tells() -> None:
    angles = np.linspace(0, 3, 7)
    parallel = scan_geometry(Beam(angles, 50, 2.0))
    assert isinstance(parallel, ParallelGeometry)
    assert (parallel.shape, parallel.pixel) == ((50, 50), (2.0, 2.0))
    fan = scan_geometry(Beam(angles, 50, 2.0, source_distance=300.0, detector_distance=300.0), pixel=0.5)
    assert (fan.shape, fan.axis_bin_width) == ((100, 100), 1.0)
    told = Beam(angles, 50, 2.0, shape=(40, 40), pixel=1.5)
    assert scan_geometry(told).shape == (40, 40)
    assert scan_geometry(told, (20, 20)).pixel == (3.0, 3.0)


def test_ct_is_known_before_kspace(counts: Path, tmp_path: Path) -> None:
    assert KINDS["CT"].known(counts)
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kspace"] = np.ones((1, 2, 4, 4), np.complex64)
    assert not KINDS["CT"].known(tmp_path / "k.h5")
    assert not KINDS["CT"].known(tmp_path / "none.h5")
