"""`invdiff evaluate`: what it prints, matches, writes and leaves out."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from invdiff import cli
from invdiff.data.writer import write_reconstruction
from invdiff.evaluate import mean_and_spread
from invdiff.metrics import fastmri_scores

RNG = np.random.default_rng(0)
TRUTH = {name: RNG.random((3, 20, 16)).astype(np.float32) for name in ("a.h5", "b.h5")}
IMAGES = {name: truth + np.float32(0.05) for name, truth in TRUTH.items()}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Reconstructions and references of two volumes, AXT1 and AXT2."""
    ours, theirs = tmp_path / "ours", tmp_path / "multicoil_val"
    ours.mkdir()
    theirs.mkdir()
    for name, kind in (("a.h5", "AXT1"), ("b.h5", "AXT2")):
        write_reconstruction(ours / name, IMAGES[name])
        with h5py.File(theirs / name, "w") as file:
            file["reconstruction_rss"], file.attrs["acquisition"] = TRUTH[name], kind
            file["kspace"] = np.zeros((3, 2, 4, 4), np.complex64)
    return ours, theirs


def test_folders_are_scored_by_volume_and_acquisition(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = folders[0].parent / "scores.json"
    assert cli.main(["evaluate", *map(str, folders), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    wanted = [fastmri_scores(TRUTH[name], IMAGES[name]) for name in ("a.h5", "b.h5")]
    assert f"{wanted[0].nmse:7.4f} {wanted[0].psnr:7.2f} {wanted[0].ssim:7.4f}" in lines[1]
    assert [line.split()[0] for line in lines[3:6]] == ["AXT1", "AXT2", "all"]
    mean = (wanted[0].psnr + wanted[1].psnr) / 2
    spread = 2 * abs(wanted[0].psnr - wanted[1].psnr) / 2**0.5  # two sample standard deviations of two values
    assert f"PSNR {mean:.2f} +- {spread:.2f}" in lines[5]
    stored = json.loads(out.read_text())
    assert [v["ssim"] for v in stored["volumes"]] == [w.ssim for w in wanted]
    csv = out.with_suffix(".csv")
    assert cli.main(["evaluate", *map(str, folders), "--out", str(csv)]) == 0
    assert float(csv.read_text().splitlines()[1].split(",")[3]) == wanted[0].nmse


def test_two_files_and_leaderboard_names(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = folders
    assert cli.main(["evaluate", str(ours / "a.h5"), str(theirs / "a.h5")]) == 0
    single = capsys.readouterr().out
    assert "(1 volume)" in single
    assert "+- nan" in single  # one volume has no spread
    (ours / "b.h5").rename(ours / "b_v2.h5")
    assert cli.main(["evaluate", str(ours), str(theirs)]) == 0
    assert "b_v2.h5" in capsys.readouterr().out


def test_single_coil_files_compare_with_their_own_target(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = folders
    with h5py.File(theirs / "a.h5", "r+") as file:
        file["reconstruction_esc"] = IMAGES["a.h5"]
    assert cli.main(["evaluate", str(ours / "a.h5"), str(theirs / "a.h5")]) == 0
    assert " inf " in capsys.readouterr().out
    assert cli.main(["evaluate", str(ours / "a.h5"), str(theirs / "a.h5"), "--target", "rss"]) == 0
    assert " inf " not in capsys.readouterr().out


def test_what_cannot_be_scored_is_said_and_left_out(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = folders
    (theirs / "b.h5").write_bytes(b"")
    write_reconstruction(ours / "c.h5", IMAGES["a.h5"])
    write_reconstruction(ours / "d.h5", IMAGES["a.h5"])
    with h5py.File(theirs / "d.h5", "w") as file:
        file["reconstruction_rss"] = 0 * TRUTH["a.h5"]
    assert cli.main(["evaluate", str(ours), str(theirs)]) == 1
    printed = capsys.readouterr().out
    assert "all (1 volume)" in printed
    for sentence in ("b.h5: is empty (0 bytes)", "c.h5: cannot be opened", "d.h5: the reference is all zero"):
        assert sentence in printed
    (ours / "a.h5").unlink()
    assert cli.main(["evaluate", str(ours), str(theirs)]) == 1
    assert "no volume was scored" in capsys.readouterr().out


def test_wrong_usage(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = folders
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        ((ours, theirs / "a.h5"), "two files or two folders"),
        ((tmp_path / "empty", theirs), "holds no .h5 files"),
        ((ours, theirs, "--out", tmp_path / "scores.txt"), "written to .json or .csv"),
    ):
        assert cli.main(["evaluate", *map(str, arguments)]) == 2
        assert sentence in capsys.readouterr().err


def test_scores_that_cannot_be_written_are_refused_before_the_work(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", *map(str, folders), "--out", str(tmp_path / "none" / "scores.csv")]) == 1
    printed = capsys.readouterr()
    assert "make it first" in printed.err
    assert not printed.out


def test_means_of_infinite_scores() -> None:
    assert mean_and_spread([1.0, 3.0]) == (2.0, 2 * 2**0.5)
    mean, spread = mean_and_spread([1.0, float("inf")])
    assert mean == float("inf")
    assert np.isnan(spread)
