"""The fastMRI recipes on a small data set in the true layout: they run, resume, refuse, and agree with the library."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.hdf5 import keys
from invdiff.data.kspace import open_kspace
from invdiff.data.reconstructions import read_volume
from invdiff.data.synthetic import write_synthetic_set
from invdiff.metrics import fastmri_scores
from tests.recipes.loading import recipe

prepare, reconstruct, evaluate = (recipe(f"fastmri_{name}") for name in ("prepare", "reconstruct", "evaluate"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders multicoil_train, _val and _test of two volumes each, 2 slices, 3 coils, 40 x 32."""
    return write_synthetic_set(tmp_path_factory.mktemp("fastmri"), shape=(40, 32), coils=3, sigma=0.01)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_set(tmp_path_factory.mktemp("knee"), shape=(40, 32), single_coil=True, volumes=1)


def run(data: Path, out: Path, *arguments: str) -> int:
    return reconstruct.main([str(data), str(out), "--acceleration", "2", "--acs", "0.3", *arguments])


def test_prepare_describes_every_volume(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = tmp_path / "index.jsonl"
    assert prepare.main([str(data), "--out", str(index), "--read"]) == 0
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    assert len(rows) == 6
    first = rows[0]
    assert (first["file"], first["part"], first["acquisition"]) == (
        "multicoil_test/file0000200.h5", "multicoil_test", "AXT1")  # fmt: skip
    assert first["acceleration"] > 1.5
    assert rows[-1]["reference"] == "reconstruction_rss"
    assert rows[-1]["size"] == [40, 32]
    printed = capsys.readouterr().out
    assert "multicoil_val        AXT2               1      2        1   3 to  3   40x32" in printed
    assert "6 files, 0 faulty" in printed


def test_prepare_names_faulty_files_and_sums_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_synthetic_set(tmp_path / "set", shape=(16, 12), coils=2, slices=1, volumes=1)
    (data / "multicoil_val" / "cut.h5").write_bytes((data / "multicoil_val" / "file0000100.h5").read_bytes()[:3000])
    with h5py.File(data / "multicoil_train" / "file0000000.h5", "r+") as file:
        file["kspace"][0, 0, 0, 0] = np.nan
    assert prepare.main([str(data)]) == 1
    assert "4 files, 1 faulty" in capsys.readouterr().out
    assert prepare.main([str(data), "--read", "--sums"]) == 1  # NaN shows when slices are read
    printed = capsys.readouterr().out
    assert "cut.h5: is truncated" in printed
    assert "1 of 384 values are NaN" in printed
    assert len((data / "SHA256SUMS").read_text().splitlines()) == 4


def test_reconstruct_writes_leaderboard_files_and_evaluate_scores_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cg"
    assert run(data / "multicoil_val", out, "--method", "cg") == 0
    names = sorted(p.name for p in out.glob("*.h5"))
    assert names == ["file0000100.h5", "file0000101.h5"]
    with h5py.File(out / names[0]) as file:
        assert keys(file) == ["reconstruction"]
        assert file["reconstruction"].dtype == np.float32
        assert file["reconstruction"].shape == (2, 40, 32)
    capsys.readouterr()
    report = tmp_path / "report"
    assert evaluate.main([str(out), str(data / "multicoil_val"), "--out", str(report)]) == 0
    assert "AXT1 (1 volume)" in capsys.readouterr().out
    scores = json.loads((report / "scores.json").read_text())["volumes"]
    truth, images = (read_volume(f / names[0], n)[0] for f, n in (
        (data / "multicoil_val", ["reconstruction_rss"]), (out, ["reconstruction"])))  # fmt: skip
    assert scores[0]["ssim"] == fastmri_scores(truth, images).ssim
    assert scores[0]["ssim"] > 0.7
    assert {p.name for p in report.iterdir()} == {"scores.csv", "scores.json", "scores.png", "examples.png"}
    assert (report / "examples.png").stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore::invdiff.priors.mismatch.PriorMismatch")  # a phantom is no brain
def test_single_coil_test_files_and_a_prior(single: Path, data: Path, tmp_path: Path) -> None:
    assert run(single / "singlecoil_val", tmp_path / "s", "--method", "tv", "--set", "iterations=5") == 0
    assert read_volume(tmp_path / "s" / "file0000100.h5")[0].shape == (2, 40, 32)
    assert evaluate.main([str(tmp_path / "s"), str(single / "singlecoil_val"), "--out", str(tmp_path / "report")]) == 0
    assert run(data / "multicoil_test", tmp_path / "t", "--method", "adjoint", "--shard", "2/2") == 0
    assert [p.name for p in (tmp_path / "t").glob("*.h5")] == ["file0000201.h5"]
    torch.manual_seed(0)
    one = write_synthetic_set(tmp_path / "one", shape=(40, 32), coils=3, slices=1, volumes=1)
    assert run(one / "multicoil_val", tmp_path / "d", "--method", "dds", "--set", "steps=2") == 0


@pytest.mark.filterwarnings("ignore::invdiff.priors.mismatch.PriorMismatch")  # a phantom is no brain
def test_interrupted_work_goes_on_with_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = ["--method", "dds", "--set", "steps=2", "--seed", "3"]
    assert run(data / "multicoil_val", whole, *arguments) == 0
    true, calls = reconstruct.solved, []

    def killed(job: object, file: object, i: int) -> torch.Tensor:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(i)
        return true(job, file, i)

    monkeypatch.setattr(reconstruct, "solved", killed)
    with pytest.raises(KeyboardInterrupt):
        run(data / "multicoil_val", broken, *arguments)
    assert [p.name for p in broken.glob("*.h5")] == ["file0000100.h5"]
    assert len(list((broken / ".slices").rglob("*.npy"))) == 1
    calls.clear()
    assert run(data / "multicoil_val", broken, *arguments) == 0
    assert calls == [1]  # the slice that was missing, and no other
    for path in whole.glob("*.h5"):
        assert path.read_bytes() == (broken / path.name).read_bytes()
    assert list((broken / ".slices").iterdir()) == []
    calls.clear()
    (broken / "file0000101.h5").write_bytes(b"damaged")
    assert run(data / "multicoil_val", broken, *arguments) == 0
    assert calls == [0, 1]  # a damaged output is no output


def test_other_settings_faulty_volumes_and_changed_files(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data / "multicoil_test", tmp_path / "a", "--method", "adjoint") == 0
    with pytest.raises(SystemExit, match="other settings"):
        run(data / "multicoil_test", tmp_path / "a", "--method", "cg")
    with pytest.raises(SystemExit, match="adjoint has no option 'steps'"):
        run(data / "multicoil_test", tmp_path / "c", "--method", "adjoint", "--set", "steps=5")
    own = write_synthetic_set(tmp_path / "set", shape=(40, 32), coils=3, slices=1) / "multicoil_val"
    assert prepare.main([str(own), "--sums"]) == 0
    content = bytearray((own / "file0000100.h5").read_bytes())
    content[-300] ^= 4
    (own / "file0000100.h5").write_bytes(content)
    assert run(own, tmp_path / "b", "--method", "adjoint", "--manifest", str(own / "SHA256SUMS")) == 1
    assert "file0000100.h5: has the sum" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "b").glob("*.h5")] == ["file0000101.h5"]  # the others go on


def test_volumes_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    data = write_synthetic_set(tmp_path / "set", shape=(40, 32), coils=3, slices=1, volumes=1)
    (data / "multicoil_train" / "file0000000.h5").rename(data / "multicoil_train" / "file0000100.h5")
    assert run(data, tmp_path / "out", "--method", "adjoint") == 0
    first, second = (tmp_path / "out" / f"multicoil_{part}" / "file0000100.h5" for part in ("train", "val"))
    assert not np.array_equal(read_volume(first)[0], read_volume(second)[0])


def test_empty_slices_are_zeros(tmp_path: Path) -> None:
    data = write_synthetic_set(tmp_path / "set", shape=(40, 32), coils=3, volumes=1) / "multicoil_val"
    with h5py.File(data / "file0000100.h5", "r+") as file:
        file["kspace"][1] = 0
    assert open_kspace(data / "file0000100.h5").status(1) == "empty"
    assert run(data, tmp_path / "out", "--method", "adjoint") == 0
    images, _ = read_volume(tmp_path / "out" / "file0000100.h5")
    assert images[0].any()
    assert not images[1].any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::invdiff.priors.mismatch.PriorMismatch")
def test_a_prior_is_trained_on_the_references(data: Path, tmp_path: Path) -> None:
    small = ["network.widths=[8,8,8,8]", "batch.size=16", "batch.crop=16", "batch.images=2", "augment.scale=[0.45,0.5]"]
    small += ["optimizer.precision=fp32", "validation.fit=0", "validation.images=2"]
    settings = [word for setting in small for word in ("--set", setting)]
    arguments = [str(data / "multicoil_train"), "--val", str(data / "multicoil_val"), "--steps", "2", *settings]
    out = tmp_path / "p.safetensors"
    train = recipe("fastmri_train_prior")
    assert train.main([*arguments, "--state", str(tmp_path / "p.pt"), "--out", str(out)]) == 0
    card = json.loads(out.with_suffix(".json").read_text())
    assert "fastMRI" in json.dumps(card)
    test = data / "multicoil_test"
    assert run(test, tmp_path / "out", "--method", "dds", "--prior", str(out), "--set", "steps=2") == 0
