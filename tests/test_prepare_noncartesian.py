"""Read-outs become a problem that their image solves; what is chosen, averaged and estimated is what it should be."""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from invdiff import cli
from invdiff.data.coils import simulate_maps
from invdiff.data.errors import DataError
from invdiff.data.phantom import head_phantom
from invdiff.data.readouts import open_readouts
from invdiff.data.trajectories import radial, spiral
from invdiff.metrics import psnr
from invdiff.operators import NonCartesianMRI
from invdiff.prepare_coils import Coils
from invdiff.prepare_noncartesian import (
    NonCartesianScan,
    calibration_width,
    chosen_readouts,
    readout_oversampling,
)
from invdiff.scan import Slice
from invdiff.settings import UsageError

N, SPOKES, COILS, SIGMA = 40, 45, 4, 0.01
TRUTH = head_phantom((N, N)).to(torch.complex64)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """45 golden-angle spokes of 80 samples, four coils, with maps, reference and a noise scan."""
    path = tmp_path_factory.mktemp("radial") / "scan.h5"
    k, maps = radial(SPOKES, (N, N), order="golden"), simulate_maps(COILS, (N, N))
    y = NonCartesianMRI(k.flatten(0, 1), maps).simulate(TRUTH[None, None], SIGMA)
    noise = SIGMA * torch.randn(COILS, 4000, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)) * 2**0.5
    with h5py.File(path, "w") as file:
        file["kspace"], file["trajectory"] = y[0].unflatten(1, (SPOKES, 2 * N)).numpy(), k.numpy()
        file["maps"], file["reference"], file["noise"] = maps.numpy(), TRUTH.abs().numpy(), noise.numpy()
    return path


def prepared(path: Path, **options: Any) -> Slice:
    item = NonCartesianScan(open_readouts(path), **options).slice(0)
    assert item is not None
    return item


def test_the_image_explains_the_samples(scan: Path) -> None:
    item = prepared(scan, coils=Coils("stored"))
    assert item.op.shape_out == (COILS, SPOKES * N)  # oversampling by two was averaged away
    assert item.sigma_y == pytest.approx(SIGMA / 2**0.5, rel=0.03)  # 4 x 4000 complex samples
    residual = item.op(TRUTH[None, None]) - item.y
    # averaging two samples acts as a window of two fields of view: what lies outside of the image is gone
    assert float(residual.abs().square().mean() / 2) ** 0.5 == pytest.approx(item.sigma_y, rel=0.1)
    whole = prepared(scan, coils=Coils("stored"), oversampling=1)
    assert whole.op.shape_out == (COILS, SPOKES * 2 * N)
    residual = whole.op(TRUTH[None, None]) - whole.y
    assert float(residual.abs().square().mean() / 2) ** 0.5 == pytest.approx(SIGMA, rel=0.02)


@pytest.mark.parametrize("maps", ["espirit", "low-resolution"])
def test_maps_come_from_the_centre(scan: Path, maps: str) -> None:
    item = prepared(scan, coils=Coils(maps))  # type: ignore[arg-type]
    true = simulate_maps(COILS, (N, N))
    ours = item.op.maps[0]
    seen = (ours.abs().sum(0) > 0) & (TRUTH.abs() > 0.05)
    assert float(seen[TRUTH.abs() > 0.05].float().mean()) > 0.9
    assert float((ours.conj() * true).sum(0).abs()[seen].mean()) > 0.99


def test_whitening_and_compression(scan: Path, tmp_path: Path) -> None:
    item = prepared(scan, coils=Coils(whiten=True, virtual=3))
    assert item.op.shape_out[0] == 3
    assert item.sigma_y == pytest.approx(SIGMA / 2**0.5, rel=0.05)
    with pytest.raises(UsageError, match="more than the 4"):
        prepared(scan, coils=Coils(virtual=5))
    with h5py.File(scan) as file, h5py.File(tmp_path / "a.h5", "w") as bare:
        bare["kspace"] = np.array([1, 1, 1, 10])[:, None, None] * file["kspace"][()]
        bare["trajectory"] = file["trajectory"][()]
    unequal = prepared(tmp_path / "a.h5", coils=Coils(whiten=True))
    levels = unequal.y[0].unflatten(1, (SPOKES, N))[..., [0, -1]].flatten(1).std(1)
    assert float(levels.max() / levels.min()) < 2  # from the outermost samples, where there is no noise scan
    assert unequal.sigma_y is None


def test_gains_are_divided_out(scan: Path, tmp_path: Path) -> None:
    gains = 1 + 0.3 * np.cos(np.arange(SPOKES))
    with h5py.File(scan) as file, h5py.File(tmp_path / "a.h5", "w") as uneven:
        uneven["kspace"] = gains[None, :, None] * file["kspace"][()]
        for name in ("trajectory", "maps", "reference"):
            uneven[name] = file[name][()]
    misfits = {}
    for asked in (False, True):
        item = prepared(tmp_path / "a.h5", coils=Coils("stored"), gains=asked)
        misfits[asked] = float((item.op(TRUTH[None, None]) - item.y).norm() / item.y.norm())
    assert misfits[False] > 0.15
    assert misfits[True] < 0.1


@pytest.mark.parametrize(("order", "count", "step"), [("uniform", 15, 3), ("golden", 21, 1)])
def test_read_outs_are_chosen_evenly(order: str, count: int, step: int) -> None:
    kept = chosen_readouts(radial(45, (32, 32), order=order), count)  # type: ignore[arg-type]
    assert kept.tolist() == list(range(0, count * step, step))
    assert len(chosen_readouts(spiral(8, (32, 32)), 4).unique()) == 4
    for wrong in (0, 46):
        with pytest.raises(UsageError, match="has 45 read-outs"):
            chosen_readouts(radial(45, (32, 32)), wrong)


def test_oversampling_is_told_by_the_trajectory() -> None:
    assert readout_oversampling(radial(7, (32, 32))) == 2
    assert readout_oversampling(radial(7, (32, 32), samples=32)) == 1
    assert readout_oversampling(radial(7, (32, 32), samples=96)) == 3
    assert readout_oversampling(radial(7, (32, 32), samples=65)) == 1  # no multiple of two
    assert readout_oversampling(spiral(3, (32, 32))) == 1


def test_the_filled_centre_is_as_wide_as_spokes_are_close() -> None:
    for spokes in (17, 23, 31):
        k = radial(spokes, (64, 64), samples=64).flatten(0, 1)
        assert calibration_width(k) == pytest.approx(2 * spokes / math.pi, abs=3)
    assert calibration_width(radial(150, (64, 64)).flatten(0, 1)) == 24
    with pytest.raises(ValueError, match="too few to fill the centre"):
        calibration_width(radial(7, (64, 64)).flatten(0, 1))


def test_empty_slices_and_sizes(scan: Path, tmp_path: Path) -> None:
    with h5py.File(scan) as file, h5py.File(tmp_path / "a.h5", "w") as empty:
        empty["kspace"] = np.stack([file["kspace"][()], 0 * file["kspace"][()]])
        empty["trajectory"] = file["trajectory"][()]
        empty.attrs["image_size"] = [N + 2, N + 4]
    whole = NonCartesianScan(open_readouts(tmp_path / "a.h5"))
    assert whole.shape == (2, N + 2, N + 4)
    assert whole.slice(1) is None
    assert NonCartesianScan(open_readouts(scan)).shape == (1, N, N)
    with pytest.raises(ValueError, match="image of 20 pixels resolves"):
        prepared(scan, size=(20, 20))


def test_one_command_from_file_to_image(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "image.h5"
    words = ["reconstruct", str(scan), "--method", "cg", "--out", str(out), "--overwrite"]
    assert cli.main([*words, "--maps", "stored", "--whiten"]) == 0
    printed = capsys.readouterr().out
    assert "(45 of 45 read-outs, 40 samples)" in printed
    assert "PSNR" in printed
    with h5py.File(out) as file:
        image, facts = torch.from_numpy(file["reconstruction"][0]), dict(file.attrs)
    assert psnr(TRUTH.abs(), image) > 25
    assert 0.5 < facts["chi2_mean"] < 2
    assert (facts["source_format"], facts["mask"]) == ("trajectory", "all read-outs")
    assert (
        cli.main([*words, "--spokes", "23", "--gains", "--coils", "3", "--size", "44", "--maps", "low-resolution"]) == 0
    )
    with h5py.File(out) as file:
        assert file["reconstruction"].shape == (1, 44, 44)
        assert file.attrs["mask"] == "23 of 45 read-outs"
    pytest.importorskip("nibabel")
    nifti = [*words[:-3], "--out", str(tmp_path / "a.nii.gz"), "--spacing", "2", "2", "5"]
    assert cli.main(nifti) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--acceleration", "4"], "--acceleration is not for non-Cartesian files"),
        (["--partial-fourier"], "--partial-fourier is not for non-Cartesian"),
        (["--maps", "body-coil"], "no k-space of a body coil"),
        (["--oversampling", "3"], "no multiple"),
        (["--spokes", "99"], "45 read-outs"),
        (["--sets", "2", "--maps", "stored"], "wants --maps espirit"),
    ],
)
def test_options_that_do_not_fit_end_in_a_sentence(
    scan: Path, tmp_path: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reconstruct", str(scan), "--method", "cg", "--out", str(tmp_path / "a.h5")]
    assert cli.main([*words, *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_radial_options_are_not_for_cartesian_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", kspace=np.ones((1, 2, 8, 8), complex))
    assert cli.main(["reconstruct", str(tmp_path / "a.npz"), "--method", "cg", "--spokes", "3"]) == 2
    assert "--spokes is not for Cartesian files" in capsys.readouterr().err


def test_damage_is_said(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.h5").write_bytes(scan.read_bytes()[:3000])
    with pytest.raises(DataError, match="truncated"):
        open_readouts(tmp_path / "cut.h5")
