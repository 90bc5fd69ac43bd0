"""`invdiff inspect`: every file and folder gets told what it is, or a sentence why not; nothing of it is run."""

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from invdiff import cli
from invdiff.data.geometry import Geometry
from invdiff.data.synthetic import write_synthetic_fastmri
from invdiff.data.trajectories import radial
from invdiff.data.write_dicom import write_dicom
from invdiff.networks.edm_unet import DhariwalUNet, SongUNet
from invdiff.networks.ncsnpp import NCSNpp
from invdiff.training.state import KEYS
from tests.data.raw import acquisition, rows_of, write_ismrmrd
from tests.data.scans import write_dicom_projections, write_htc, write_named
from tests.priors.pickles import weights, write_snapshot

LEVELS: dict[str, Any] = {"size": (16, 16), "first": 8, "widths": (8, 12), "blocks": 1}


def song() -> SongUNet:
    net = weights(SongUNet(in_channels=2, out_channels=2, **LEVELS))
    assert isinstance(net, SongUNet)
    return net


class Told:
    """What the command printed, by the label of the line."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.status = cli.main(["inspect", *arguments])
        captured = capsys.readouterr()
        self.out, self.error = captured.out, captured.err
        assert "Traceback" not in self.error
        self.lines = {line[:13].strip(): line[13:].strip() for line in self.out.splitlines()}

    def __getitem__(self, label: str) -> str:
        return self.lines[label]


def test_a_packaged_prior_shows_its_card(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, "brain-mri")
    assert told.status == 0
    assert told["network"].startswith("DRUNet, 5,")
    assert told["noise levels"].startswith("0.01 to 10")
    assert told["scale"] == "percentile 99.5 of |x| is 1"
    assert told["data licence"] == "CC BY 4.0"


def test_a_checkpoint_of_others_is_told_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = song()
    torch.save({"net": net.state_dict(), "ema": net.state_dict(), "optimizer": {}}, tmp_path / "mri.pt")
    told = Told(capsys, str(tmp_path / "mri.pt"))
    assert told.status == 0
    assert told["holds"] == "net, ema, optimizer"
    assert told["format"].startswith("EDM")
    assert told["network"] == f"SongUNet, {sum(p.numel() for p in net.parameters()):,} parameters"
    assert told["predicts"] == "EDM(sigma_data=0.5)"
    assert told["noise levels"].startswith("0.002 to 80")
    assert told["sees"] == "values -1 to 1 in 2 channels (complex2), sides padded to multiples of 2"
    assert told["images"].startswith("complex, (channels, height, width) = (1, any, any)")
    for missing, option in (("scale", "percentile=99"), ("domain", "domain='...'"), ("may be set", "sigma_data=None")):
        assert option in told[missing]
    supplied = Told(capsys, str(tmp_path / "mri.pt"), "--set", "percentile=99", "--set", "domain=brains")
    assert (supplied["scale"], supplied["domain"]) == ("percentile 99 of |x| is 1", "brains")


def test_each_format_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = weights(NCSNpp(channels=1, first=8, widths=(8, 8), blocks=1))
    levels = {"sigmas": torch.tensor([378.0, 0.01])}
    torch.save({"model": {**levels, **net.state_dict()}, "ema": [], "step": 1}, tmp_path / "score.pth")
    told = Told(capsys, str(tmp_path / "score.pth"))
    assert (told["predicts"], told["values"]) == ("Score()", "0 to 1")
    assert "scale_by_sigma=None" in told["may be set"]
    adm = weights(DhariwalUNet(in_channels=1, out_channels=1, **LEVELS))
    torch.save(adm.state_dict(), tmp_path / "adm.ckpt")
    assert Told(capsys, str(tmp_path / "adm.ckpt"))["network"].startswith("DhariwalUNet")


def test_a_snapshot_is_told_without_running_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = tmp_path / "mark"
    told = Told(capsys, str(write_snapshot(tmp_path / "net.pkl", song(), mark)))
    assert told["holds"] == "ema (EDMPrecond), loss_fn (EDMLoss), augment_pipe, dataset_kwargs"
    assert told["predicts"] == "EDM(sigma_data=0.7)"
    assert not mark.exists()


def test_unsafe_files_are_told_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lightning.ckpt"
    torch.save({"state_dict": song().state_dict(), "hyper_parameters": argparse.Namespace(a=1)}, path)
    told = Told(capsys, str(path))
    assert told.status == 0
    assert "argparse.Namespace" in told["unsafe"]
    assert told["to use it"].startswith("invdiff convert lightning.ckpt lightning.safetensors")


def test_a_payload_is_named_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'mark'}",)

    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"ema": Payload()}))
    told = Told(capsys, str(tmp_path / "net.pkl"))
    assert told.status == 1
    assert "system" in told["unsafe"]
    assert not (tmp_path / "mark").exists()


def test_what_is_missing_to_use_a_checkpoint_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = weights(NCSNpp(channels=1, first=8, widths=(8, 8), blocks=1))
    torch.save({"model": net.state_dict()}, tmp_path / "score.pth")  # without its noise levels
    told = Told(capsys, str(tmp_path / "score.pth"))
    assert told.status == 1
    assert told["format"].startswith("NCSN++")
    assert "pass sigma_min and sigma_max" in told.error
    options = ("--set", "sigma_min=0.01", "--set", "sigma_max=378")
    assert Told(capsys, str(tmp_path / "score.pth"), *options).status == 0


def test_a_state_of_a_training_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"format": 2, **{key: {} for key in KEYS}, "step": 70}, tmp_path / "state.pt")
    told = Told(capsys, str(tmp_path / "state.pt"))
    assert (told.status, told["format"]) == (0, "a state of invdiff train, step 70")
    assert "--export-only" in told["to use it"]


def test_unknown_checkpoints_show_their_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a.weight": torch.zeros(3, 2)}, tmp_path / "net.pt")
    told = Told(capsys, str(tmp_path / "net.pt"))
    assert (told.status, told["tensors"], told["format"]) == (1, "1, 6 numbers: a.weight", "not known")
    assert "AdaptedPrior" in told.error


def test_data_are_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic_fastmri(tmp_path / "scan.h5", shape=(24, 20), coils=3, slices=2, sigma=0.01, seed=0)
    told = Told(capsys, str(tmp_path / "scan.h5"))
    assert told.status == 0
    assert "2 slices of 3 coils, 24 x 20" in told["data"]
    assert "invdiff reconstruct" in told["to use it"]
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((4, 8, 8), np.float32))
    told = Told(capsys, str(tmp_path / "images.npy"))
    assert told.status == 0
    assert "invdiff train" in told["to use it"]


def test_read_outs_are_told_with_their_trajectory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    k = radial(5, (16, 16)).numpy()
    y = np.ones((3, 5, 32), np.complex64)
    np.savez(tmp_path / "radial.npz", kspace=y, trajectory=k, noise=y[:, 0])
    told = Told(capsys, str(tmp_path / "radial.npz"))
    assert told.status == 0
    assert "(trajectory), 1 slice of 3 coils, 5 read-outs of 32 samples" in told["data"]
    assert told["trajectory"].startswith("reaches 7.608 (rows) and 8 (columns) cycles")
    assert (told["image"], told["beside"]) == ("16 x 16", "noise")
    assert told["to use it"].startswith("invdiff reconstruct")
    rows = [acquisition(y[:, 0], flags=(19,))]
    rows += [acquisition(y[:, j], traj=k[j] / 16) for j in range(5)]
    write_ismrmrd(tmp_path / "raw.h5", rows, trajectory="radial", n=(16, 16, 1), fov=(160, 160, 5))
    told = Told(capsys, str(tmp_path / "raw.h5"))
    assert "(ismrmrd-trajectory)" in told["data"]
    assert told["image"] == "16 x 16, as the file says"
    assert told["notes"] == "1 noise acquisitions left out"
    write_ismrmrd(tmp_path / "none.h5", rows_of(y[None]), trajectory="spiral", n=(32, 5, 1))
    told = Told(capsys, str(tmp_path / "none.h5"))
    assert told.status == 1
    assert "holds no trajectory" in told.error


def test_projections_are_told_with_their_rays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, str(write_named(tmp_path / "scan.h5")))
    assert told.status == 0
    assert "(projections), 2 slices of 12 views, 9 bins; line integrals" in told["data"]
    assert told["rays"] == "parallel; bins of 0.5 mm, angles 0 to 165 degrees"
    assert told["reference"] == "none"
    told = Told(capsys, str(write_htc(tmp_path / "htc.h5")))
    assert told["rays"].startswith("fan from 410.7 mm, magnified 1.35 times on a flat detector")
    assert told["reference"] == "512 x 512"
    assert told["to use it"].startswith("invdiff reconstruct")


def test_dicom_folders_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pydicom")
    projections = Told(capsys, str(write_dicom_projections(tmp_path / "projections")))
    assert "(dicom-ct-pd), 3 slices of 12 views, 9 bins" in projections["data"]
    geometry = Geometry((2.0, 1.5, 3.0), ((0, 1, 0), (1, 0, 0), (0, 0, 1)), (10.0, -20.0, 30.0))
    volume = torch.arange(280.0).view(4, 10, 7)
    write_dicom(tmp_path / "series", volume, geometry, unit="HU", patient={"PatientID": "p1"})
    told = Told(capsys, str(tmp_path / "series"))
    assert (told.status, told["to use it"].split()[1]) == (0, "train")
    assert told["series"] == "one volume of 4 slices, 2 (rows) x 1.5 (columns) x 3 (slices) mm"
    sorted((tmp_path / "series").iterdir())[1].unlink()
    told = Told(capsys, str(tmp_path / "series"))
    assert told.status == 0
    assert told["series"].startswith("no regular volume: ")
    assert "slices are missing" in told["series"]


@pytest.mark.parametrize("name", ["none.pt", "text.txt", "empty.pt", "cut.pkl", "page.ckpt", "folder", "x.safetensors"])
def test_everything_else_gets_one_sentence(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_snapshot(tmp_path / "whole.pkl", song(), tmp_path / "mark").read_bytes()
    content = {
        "text.txt": b"hello",
        "empty.pt": b"",
        "cut.pkl": whole[:4000],
        "page.ckpt": b"<html>",
        "x.safetensors": b"1",
    }
    if name in content:
        (tmp_path / name).write_bytes(content[name])
    elif name == "folder":
        (tmp_path / name).mkdir()
    told = Told(capsys, str(tmp_path / name))
    assert told.status == 1
    assert name in told.error
    assert told.error.count("\n") == 1
