"""ISMRMRD scans along trajectories: samples and positions are those written, in our units; the rest is refused."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invdiff import cli
from invdiff.data.coils import simulate_maps
from invdiff.data.errors import DataError
from invdiff.data.guarded import guarded
from invdiff.data.hdf5 import BUDGET
from invdiff.data.phantom import head_phantom
from invdiff.data.readout_formats import READOUT_FORMATS, open_readout_file, recognised_readouts
from invdiff.data.readouts_ismrmrd import open_ismrmrd_readouts
from invdiff.data.trajectories import radial
from invdiff.operators import NonCartesianMRI
from invdiff.prepare_noncartesian import NonCartesianScan
from tests.data.raw import acquisition, rows_of, write_ismrmrd
from tests.data.test_mutations import mutate

N, SPOKES, SAMPLES = 16, 5, 32
K = radial(SPOKES, (N, N)).numpy()
_RNG = np.random.default_rng(0)
Y = (_RNG.standard_normal((2, 3, SPOKES, SAMPLES)) + 1j * _RNG.standard_normal((2, 3, SPOKES, SAMPLES))).astype("c8")
HEADER: dict[str, Any] = {"n": (N, N, 1), "fov": (160, 160, 5), "trajectory": "radial"}


def spokes(k: np.ndarray = K / N, y: np.ndarray = Y, **values: Any) -> list[np.ndarray]:
    return [
        acquisition(y[s, :, j], traj=k[j], slice=s, position=(1.0, 2.0, 6.0 * s), **values)
        for s in range(len(y))
        for j in range(y.shape[2])
    ]


def write(path: Path, rows: list[np.ndarray] | None = None, **header: Any) -> Path:
    return write_ismrmrd(path, spokes() if rows is None else rows, **(HEADER | header))


@pytest.mark.parametrize("factor", [1 / N, 1.0], ids=["fractions", "cycles"])
def test_both_units_become_cycles_per_field_of_view(tmp_path: Path, factor: float) -> None:
    path = write(tmp_path / "a.h5", spokes(K * factor))
    assert guarded(path, recognised_readouts, path) == "ismrmrd-trajectory"
    file = guarded(path, open_readout_file, path)
    assert (file.shape, file.size, file.format) == ((2, 3, SPOKES, SAMPLES), (N, N), "ismrmrd-trajectory")
    assert np.array_equal(guarded(path, type(file).samples, file, 1), Y[1])
    assert np.allclose(guarded(path, type(file).trajectory, file, 1), K, atol=1e-5)  # stored in single precision
    assert file.extra("noise", 0) is None
    assert file.extra("maps", 0) is None


def test_positions_are_those_of_the_kept_samples_in_their_order(tmp_path: Path) -> None:
    """Reversed read-outs store their positions reversed too."""
    values = {"discard_pre": 3, "discard_post": 5, "flags": (22,)}
    file = open_ismrmrd_readouts(write(tmp_path / "a.h5", spokes(**values)))
    assert file.shape == (2, 3, SPOKES, SAMPLES - 8)
    assert np.array_equal(file.samples(0), Y[0, ..., 3:-5])
    assert np.allclose(file.trajectory(0), K[:, 3:-5], atol=1e-5)


def test_oversampled_fields_of_view_are_left(tmp_path: Path) -> None:
    """An encoded matrix of 2 N over twice the field of view has the pixels, and so the largest k, of N over one."""
    wide = {"n": (2 * N, N, 1), "fov": (320, 160, 5), "m": (N, N, 1), "seen": (160, 160, 5)}
    file = open_ismrmrd_readouts(write(tmp_path / "a.h5", **wide))
    assert file.size == (N, N)
    assert np.allclose(file.trajectory(0), K, atol=1e-5)
    with pytest.raises(DataError, match=r"there are two of these, encoded \(320"):
        open_ismrmrd_readouts(write(tmp_path / "b.h5", spokes(K), **wide))


def test_scans_as_the_package_of_the_format_writes_them(tmp_path: Path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd")
    with h5py.File(write(tmp_path / "own.h5")) as file:
        xml = file["dataset/xml"][0]
    dataset = ismrmrd.Dataset(tmp_path / "package.h5", "dataset", create_if_needed=True)
    dataset.write_xml_header(xml)
    for j in range(SPOKES):
        positions = (K[j] / N).astype(np.float32)
        dataset.append_acquisition(ismrmrd.Acquisition.from_array(np.ascontiguousarray(Y[0, :, j]), positions))
    dataset.close()
    file = open_ismrmrd_readouts(tmp_path / "package.h5")
    assert np.array_equal(file.samples(0), Y[0])
    assert np.allclose(file.trajectory(0), K, atol=1e-5)


def test_noise_frames_and_geometry(tmp_path: Path) -> None:
    noise = _RNG.standard_normal((3, 50)).astype("c8")
    extra = [acquisition(noise, flags=(19,), sample_time_us=8.0), acquisition(Y[0, :, 0], flags=(23,))]
    contrasts = [row for c in range(2) for row in spokes(y=(1 + c) * Y, contrast=c)]
    file = open_ismrmrd_readouts(write(tmp_path / "a.h5", extra + contrasts))
    assert file.shape == (4, 3, SPOKES, SAMPLES)
    assert np.array_equal(file.samples(3), 2 * Y[1])
    found = file.extra("noise", 0)
    assert found is not None
    assert np.allclose(found, 2 * noise, rtol=1e-6)  # a quarter of the bandwidth of the images
    assert file.notes == (
        "1 noise acquisitions left out",
        "1 navigator, correction or dummy acquisitions left out",
    )
    scan = NonCartesianScan(file)
    assert scan.geometry is not None
    assert scan.geometry.spacing == (10, 10, 6)
    assert scan.header is not None
    assert scan.header.vendor == "ACME"
    assert NonCartesianScan(file, size=(N + 2, N)).geometry is None


def test_a_third_coordinate_may_be_a_weight(tmp_path: Path) -> None:
    weights = np.abs(K).sum(-1, keepdims=True)
    file = open_ismrmrd_readouts(write(tmp_path / "a.h5", spokes(np.concatenate([K / N, weights], -1))))
    assert np.allclose(file.trajectory(0), K, atol=1e-5)
    assert file.notes == ("third coordinate of the trajectory taken for density weights and left out",)
    flat = open_ismrmrd_readouts(write(tmp_path / "b.h5", spokes(np.concatenate([K / N, 0 * weights], -1))))
    assert not flat.notes


def broken(value: float) -> np.ndarray:
    k = K / N
    k[1, 2] = value
    return k


FAULTS: list[tuple[Callable[[], list[np.ndarray]], dict[str, Any], str]] = [
    (lambda: rows_of(Y), {}, "acquisition 0 holds no trajectory. Compute where"),
    (lambda: spokes(K[:, ::2] / N)[:1], {}, "acquisition 0 holds 32 coordinates for 32 samples"),
    (lambda: spokes(np.repeat(K / N, 2, -1)[..., :3]), {}, "positions along three axes"),
    (lambda: spokes(), {"n": (N, N, 4)}, "encodes three axes in space"),
    (lambda: spokes(), {"trajectory": "cartesian"}, "is a Cartesian scan"),
    (lambda: spokes(), {"n": (0, N, 1)}, "no encoded matrix size"),
    (lambda: spokes(0 * K), {}, "zero everywhere"),
    (lambda: spokes(broken(math.nan)), {}, "NaN or infinite, the first at"),
    (lambda: [*spokes(), acquisition(Y[1, :, 0, 1:], traj=K[0, 1:] / N, slice=1)], {}, "read-outs of 31, 32 samples"),
    (lambda: spokes()[:-1], {}, "images of 4, 5 read-outs"),
    (lambda: [*spokes()[:-1], acquisition(Y[1, :2, 0], traj=K[0] / N, slice=1)], {}, "acquisitions of 2, 3 coils"),
    (lambda: [acquisition(Y[0, :, 0], flags=(19,))], {}, "none of an image"),
    (
        lambda: [*spokes()[:-1], acquisition(Y[1, :, 0], traj=np.pad(K[0], ((0, 0), (0, 1))), slice=1)],
        {},
        "two and with three",
    ),
]


@pytest.mark.parametrize(("rows", "header", "match"), FAULTS)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, rows: Callable[[], list[np.ndarray]], header: dict[str, Any], match: str
) -> None:
    path = write(tmp_path / "a.h5", rows(), **header)
    with pytest.raises(DataError, match=match) as caught:
        open_ismrmrd_readouts(path)
    assert str(path) in str(caught.value)


def test_budgets_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with pytest.raises(DataError, match="budget"):
        open_ismrmrd_readouts(path, budget=2000)
    assert open_ismrmrd_readouts(path).budget == BUDGET


def test_other_files_are_not_taken(tmp_path: Path) -> None:
    assert recognised_readouts(write_ismrmrd(tmp_path / "cartesian.h5")) is None
    with pytest.raises(DataError, match="There is: trajectory") as caught:
        open_readout_file(tmp_path / "cartesian.h5")
    assert all(name in str(caught.value) for name in READOUT_FORMATS)


def test_a_scan_is_reconstructed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line to the image that was measured, rows along the read direction."""
    n, count = 32, 50
    k, maps, truth = radial(count, (n, n)), simulate_maps(4, (n, n)), head_phantom((n, n))
    op = NonCartesianMRI(k.flatten(0, 1), maps)
    y = op.simulate(truth[None, None].to(maps.dtype), 1e-3)[0].unflatten(1, (count, 2 * n))
    path = write(tmp_path / "scan.h5", spokes(k.numpy() / n, y[None].numpy()), n=(n, n, 1), fov=(320, 320, 5), coils=4)
    assert cli.main(["reconstruct", str(path), "--method", "cg", "--out", str(tmp_path / "out.h5")]) == 0
    assert f"({count} of {count} read-outs" in capsys.readouterr().out
    with h5py.File(tmp_path / "out.h5") as file:
        image = np.abs(file["reconstruction"][0])
    likeness = {
        name: np.corrcoef(x.flatten(), image.flatten())[0, 1] for name, x in (("is", truth), ("turned", truth.mT))
    }
    assert likeness["is"] > 0.97
    assert likeness["turned"] < 0.9


@pytest.mark.parametrize("count", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(tmp_path: Path, count: int) -> None:
    whole, rng = write(tmp_path / "sound.h5").read_bytes(), random.Random(2)
    path, refused = tmp_path / "damaged.h5", 0
    for _ in range(count):
        path.write_bytes(mutate(whole, rng))
        refused += refusal(path) is not None
    assert refused > count // 10


def refusal(path: Path) -> str | None:
    """Why a file cannot be read, None where it was; any error but a DataError that names the file goes up."""
    try:
        if guarded(path, recognised_readouts, path):
            file = guarded(path, open_readout_file, path)
            guarded(path, type(file).samples, file, 0)
            guarded(path, type(file).trajectory, file, 0)
    except DataError as error:
        return str(error)[str(error).index(str(path)) :]
    return None
