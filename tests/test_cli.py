"""The command line: what it prints, writes, refuses, and with which exit status."""

import hashlib
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff import cli, demo
from invdiff.data.synthetic import write_synthetic_fastmri
from invdiff.solvers import METHODS


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A fully sampled file of two slices, four coils."""
    path = tmp_path / "scan.h5"
    write_synthetic_fastmri(path, shape=(48, 40), coils=4, slices=2, sigma=0.01, seed=0)
    return path


def test_reconstruct_writes_every_slice_and_prints_scores(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = scan.with_name("out.h5")
    call = ["reconstruct", str(scan), "--method", "dds", "--set", "steps=2", "--acceleration", "2", "--acs", "0.3"]
    assert cli.main([*call, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for word in ("slice 1", "chi2", "PSNR", "cg", "wrote"):
        assert word in printed
    with h5py.File(out) as file:
        images = file["reconstruction"][:]
        assert images.shape == (2, 48, 40)
        assert images.dtype == np.float32
        assert file.attrs["method"] == "dds"
        assert file.attrs["source_sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert cli.main([*call, "--out", str(out)]) == 2  # never replaced unasked
    assert "exists already" in capsys.readouterr().err


def test_the_run_of_least_misfit_is_selected(tmp_path: Path) -> None:
    scan, images = tmp_path / "scan.h5", {}
    write_synthetic_fastmri(scan, shape=(24, 20), coils=2, slices=1, sigma=0.01, seed=0)
    for name, options in (("mean", []), ("misfit", ["--select", "misfit"])):
        out = scan.with_name(f"{name}.h5")
        network = ["--method", "dip", "--set", "iterations=3", "--set", "channels=8", "--set", "average=1"]
        call = ["reconstruct", str(scan), *network, "--samples", "2", "--out", str(out)]
        assert cli.main([*call, "--acceleration", "2", "--acs", "0.3", *options]) == 0
        with h5py.File(out) as file:
            images[name] = file["reconstruction"][0]
            assert (file.attrs["select"], file.attrs["samples"]) == (name, 2)
    assert np.abs(images["mean"] - images["misfit"]).max() > 0.01 * images["mean"].max()


def test_an_undersampled_file_runs_as_it_is_and_is_not_undersampled_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = torch.zeros(40, dtype=torch.bool)
    mask[::2] = mask[14:26] = True
    path = tmp_path / "under.h5"
    write_synthetic_fastmri(path, shape=(48, 40), coils=3, slices=1, mask=mask, sigma=0.01, seed=0)
    assert cli.main(["reconstruct", str(path), "--method", "cg"]) == 0
    assert (tmp_path / "under_cg.h5").exists()
    assert cli.main(["reconstruct", str(path), "--method", "wavelet", "--acceleration", "2"]) == 2
    assert "already undersampled" in capsys.readouterr().err


def test_empty_slices_become_zeros(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(scan, "r+") as file:
        file["kspace"][1] = 0
    assert cli.main(["reconstruct", str(scan), "--method", "cg", "--acceleration", "2", "--acs", "0.3"]) == 0
    assert "slice 1: empty" in capsys.readouterr().out
    with h5py.File(scan.with_name("scan_cg.h5")) as file:
        assert not file["reconstruction"][1].any()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--method", "sitcon"], 2, "sitcom"),
        (["--prior", "brain-mir"], 2, "brain-mri"),
        (["--set", "steps"], 2, "OPTION=VALUE"),
        (["--method", "dds", "--set", "stepz=3"], 1, "steps"),
        (["--method", "dds", "--set", "steps=0"], 1, "steps must be at least 1"),
        (["--acceleration", "30", "--acs", "0.5"], 1, "20"),
        (["--sigma", "-1"], 1, "sigma_y"),
        (["--select", "misfit"], 2, "Add --samples 4"),
        (["--method", "dds", "--set", "steps=2.5"], 1, "steps must be a whole number, got 2.5"),
        (["--method", "cg", "--acceleration", "0"], 1, "acceleration must lie between 1 and the width"),
        (["--method", "dip", "--set", "checkpoint=a.safetensors"], 2, "holds the fit of one slice, and scan.h5 has 2"),
        (["--method", "cg", "--device", "abacus"], 2, "torch knows no such device"),
    ],
)
def test_faults_get_a_sentence_and_leave_no_output(
    scan: Path, arguments: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["reconstruct", str(scan), *arguments]) == status
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert [p.name for p in scan.parent.iterdir()] == ["scan.h5"]


def test_damaged_files_get_a_sentence(tmp_path: Path, scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = scan.read_bytes()
    for name, content in (("empty.h5", b""), ("cut.h5", whole[: len(whole) // 2]), ("text.h5", b"hello")):
        path = tmp_path / name
        path.write_bytes(content)
        assert cli.main(["reconstruct", str(path)]) == 1
        error = capsys.readouterr().err
        assert name in error
        assert "Traceback" not in error


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.h5"):
        cli.main(["reconstruct", str(tmp_path / "none.h5"), "--debug"])


def test_interruption_ends_with_130(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("invdiff.reconstruct.solve", interrupt)
    assert cli.main(["reconstruct", str(scan), "--method", "cg"]) == 130
    assert [p.name for p in scan.parent.iterdir()] == ["scan.h5"]


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    width = max(map(len, METHODS)) + 1
    assert [line[:width].rstrip() for line in lines] == list(METHODS)
    assert [line[width:].partition("  [")[0] for line in lines] == [method.summary for method in METHODS.values()]
    assert cli.main(["priors"]) == 0
    assert "brain-mri" in capsys.readouterr().out


def test_a_device_that_is_not_there_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert cli.main(["reconstruct", str(tmp_path / "none.h5"), "--device", "cuda"]) == 2
    assert "--device cuda: there is none that this torch can use" in capsys.readouterr().err


def test_a_figure_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "simulate", lambda seed: pytest.fail("work was begun"))
    for out in (tmp_path / "none" / "demo.png", tmp_path / "demo.docx", tmp_path / "demo"):
        assert cli.main(["demo", "--out", str(out)]) == 1
        assert "in a folder that exists" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--pixel", "0"], ["--mu-water", "-1"], ["--spacing", "1", "nan", "1"]])
def test_lengths_are_above_0(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["reconstruct", "scan.h5", *arguments])
    assert "must be a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--crop", "0", "5"], ["--samples", "0"], ["--coils", "-1"], ["--sets", "two"]])
def test_counts_are_whole_numbers_from_1(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["reconstruct", "scan.h5", *arguments])
    assert "must be a whole number of 1 or more" in capsys.readouterr().err


def test_warnings_are_sentences_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def warn(options: object) -> int:
        seen.append(warnings.formatwarning("the image is strange", UserWarning, "solve.py", 7, "x = f(y)"))
        return 0

    monkeypatch.setattr(cli, "_methods", warn)
    usual = warnings.formatwarning
    assert cli.main(["methods"]) == cli.main(["methods", "--debug"]) == 0
    assert seen[0] == "invdiff: warning: the image is strange\n"
    assert "solve.py:7" in seen[1]
    assert warnings.formatwarning is usual


def test_usage_errors_end_with_2() -> None:
    for arguments in ([], ["reconstruct"], ["demo", "--threads", "0"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2


def test_the_demo_prints_its_table_and_writes_its_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "METHODS", ("adjoint", "cg", "tv", "wavelet", "dds"))  # sitcom takes half a minute
    out = tmp_path / "demo.png"
    assert cli.main(["demo", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    scores = {line.split()[0]: float(line.split()[1]) for line in lines if line.split()[0] in demo.METHODS}
    assert scores["cg"] > scores["adjoint"]
    assert scores["dds"] > max(scores["tv"], scores["wavelet"]) + 1.0  # what the packaged prior must be worth
    assert out.stat().st_size > 20_000
