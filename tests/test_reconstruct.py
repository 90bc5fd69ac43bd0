"""`invdiff reconstruct` reads every k-space format, writes every image format, and refuses before it works."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import invdiff
from invdiff import cli
from invdiff.data.errors import DataError
from invdiff.data.kspace import open_kspace
from invdiff.data.manifest import write_manifest
from invdiff.data.synthetic import write_synthetic_fastmri
from invdiff.data.write_bart import write_bart
from tests.data.raw import acquisition, example, rows_of, write_ismrmrd, write_matlab, write_skmtea
from tests.data.scans import write_named

KSPACE = example(2, 4, (32, 28))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_synthetic_fastmri(tmp_path / "scan.h5", shape=(32, 28), coils=4, slices=2, sigma=0.01)


def reconstruct(path: Path, *arguments: object, method: str = "adjoint") -> int:
    return cli.main(["reconstruct", str(path), "--method", method, *map(str, arguments)])


def written_by(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    with h5py.File(path) as file:
        return file["reconstruction"][()], dict(file.attrs)


def write_scan(format: str, folder: Path) -> Path:
    if format == "ismrmrd":
        header = {"n": (32, 28, 1), "fov": (320, 280, 5), "centre": 14, "coils": 4}
        return write_ismrmrd(folder / "s.h5", rows_of(KSPACE), **header)
    if format == "skm-tea":
        return write_skmtea(folder / "s.h5", KSPACE)
    if format == "matlab":
        return write_matlab(folder / "s.mat", KSPACE)
    if format == "bart":
        return write_bart(folder / "s.cfl", KSPACE)[0]
    np.savez(folder / "s.npz", kspace=KSPACE)
    return folder / "s.npz"


@pytest.mark.parametrize("format", ["ismrmrd", "skm-tea", "matlab", "bart", "arrays"])
def test_every_format_is_reconstructed(tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_scan(format, tmp_path)
    out = tmp_path / "out.h5"
    options = ["--open", "echo=1"] if format == "skm-tea" else []
    assert reconstruct(path, "--out", out, "--acceleration", 2, "--acs", 0.4, *options) == 0
    images, attrs = written_by(out)
    assert images.shape == (2, 32, 28)
    assert (attrs["source_format"], attrs["mask"]) == (format, "random")
    assert "2.00x" in capsys.readouterr().out
    name = path if format != "bart" else tmp_path / "s"
    assert reconstruct(name, "--out", out, "--overwrite", "--format", format, *options) == 0
    full = np.linalg.norm(np.abs(ifft(KSPACE)), axis=1)
    # the adjoint of fully sampled data with unit-norm maps is the root sum of squares, where the maps see something
    inside = written_by(out)[0] > 0
    assert inside.mean() > 0.3
    assert np.allclose(written_by(out)[0][inside], full[inside], rtol=0.05, atol=0.02 * full.max())


def ifft(kspace: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)


def test_every_ending_is_written(scan: Path, tmp_path: Path) -> None:
    nibabel, pydicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
    assert reconstruct(scan) == 0
    images, attrs = written_by(tmp_path / "scan_adjoint.h5")
    assert attrs["not_for_diagnosis"]
    assert reconstruct(scan, "--out", tmp_path / "a.nii.gz") == 0
    volume = nibabel.load(tmp_path / "a.nii.gz")
    assert np.allclose(np.asarray(volume.dataobj).transpose(2, 1, 0), images, atol=1e-6)
    assert volume.header.get_zooms() == (1, 1, 5)  # from the header
    phase = np.asarray(nibabel.load(tmp_path / "a_phase.nii.gz").dataobj).transpose(2, 1, 0)
    assert reconstruct(scan, "--out", tmp_path / "a.cfl") == 0
    stored = torch.stack([open_kspace(tmp_path / "a").kspace(i)[0] for i in range(2)]).numpy()
    assert np.allclose(stored, images * np.exp(1j * phase), atol=1e-5)
    assert reconstruct(scan, "--out", tmp_path / "dicom", "--plane", "axial") == 0
    dataset = pydicom.dcmread(tmp_path / "dicom" / "0002.dcm")
    assert "method adjoint" in dataset.DerivationDescription
    assert np.argmax(dataset.pixel_array) == np.argmax(images[1])


def test_what_cannot_be_written_is_refused_before_the_work(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object, **options: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("invdiff.reconstruct.solve", work)
    (tmp_path / "a_phase.nii").touch()
    for arguments, sentence in (
        (["--out", tmp_path / "a.png"], "ends in none of"),
        (["--out", tmp_path / "dicom"], "--plane axial"),
        (["--out", tmp_path / "a.nii"], "a_phase.nii: exists already"),
        (["--out", scan, "--overwrite"], "is an input"),
        (["--out", tmp_path / "none" / "a.h5"], "does not exist"),
        (["--mask", "poison", "--acceleration", 4], "'poisson'"),
        (["--open", "echo=1"], "no option 'echo'"),
        (["--manifest", tmp_path / "SHA256SUMS"], "cannot be read"),
    ):
        assert reconstruct(scan, *arguments) in (1, 2)
        assert sentence in capsys.readouterr().err


def test_manifests_are_checked(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(tmp_path, [scan])
    assert reconstruct(scan, "--manifest", manifest) == 0
    assert written_by(tmp_path / "scan_adjoint.h5")[1]["source_sha256"] == manifest.read_text().split()[0]
    content = bytearray(scan.read_bytes())
    content[-200] ^= 1  # a bit of the data, which HDF5 would read without a word
    scan.write_bytes(content)
    assert reconstruct(scan, "--manifest", manifest, "--overwrite") == 1
    assert "its bytes have changed" in capsys.readouterr().err


def test_masks_of_all_kinds_and_files(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("fastmri-magic", "poisson"):
        assert reconstruct(scan, "--acceleration", 2, "--acs", 0.4, "--mask", kind, "--overwrite") == 0
        assert written_by(tmp_path / "scan_adjoint.h5")[1]["mask"] == kind
    lines = np.arange(28) % 2 == 0
    lines[9:19] = True
    np.savetxt(tmp_path / "m.txt", lines[None], fmt="%d")
    capsys.readouterr()
    assert reconstruct(scan, "--mask", tmp_path / "m.txt", "--overwrite") == 0
    assert f"{28 / lines.sum():.2f}x" in capsys.readouterr().out


def test_images_are_cropped_to_the_reference_or_as_told(scan: Path, tmp_path: Path) -> None:
    with h5py.File(scan, "r+") as file:
        values = file["reconstruction_rss"][:, 6:26, 4:24]
        del file["reconstruction_rss"]
        file["reconstruction_rss"] = values
    assert reconstruct(scan) == 0
    images, _ = written_by(tmp_path / "scan_adjoint.h5")
    assert images.shape == (2, 20, 20)
    assert reconstruct(scan, "--crop", 32, 28, "--overwrite") == 0
    whole, _ = written_by(tmp_path / "scan_adjoint.h5")
    assert np.array_equal(whole[:, 6:26, 4:24], images)


def test_a_crop_larger_than_the_image_falls_back_and_says_so(scan: Path, tmp_path: Path) -> None:
    assert reconstruct(scan, "--crop", 32, 40) == 0
    images, attrs = written_by(tmp_path / "scan_adjoint.h5")
    assert images.shape == (2, 28, 28)
    assert attrs["notes"] == "cropped to (28, 28), not (32, 40)"


def test_a_malformed_header_is_reported_before_the_work(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(scan, "r+") as file:
        del file["ismrmrd_header"], file["reconstruction_rss"]
        file["ismrmrd_header"] = np.bytes_(b"<broken")
    assert reconstruct(scan) == 1
    assert "give the crop size explicitly" in capsys.readouterr().err
    assert reconstruct(scan, "--crop", 20, 20) == 0
    assert written_by(tmp_path / "scan_adjoint.h5")[0].shape == (2, 20, 20)


def test_noise_scans_whiten_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).standard_normal((4, 500, 2)).view(complex)[..., 0]
    header = {"n": (32, 28, 1), "fov": (320, 280, 5), "centre": 14, "coils": 4}
    path = write_ismrmrd(tmp_path / "s.h5", [acquisition(noise, flags=(19,)), *rows_of(KSPACE)], **header)
    assert reconstruct(path, "--whiten") == 0
    assert written_by(tmp_path / "s_adjoint.h5")[1]["notes"] == "1 noise acquisitions left out"
    assert reconstruct(write_scan("arrays", tmp_path), "--whiten", "--overwrite") == 2
    assert "has no noise scan" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["fastmri", "ismrmrd", "bart"])
def test_one_command_each_from_file_to_nifti_dicom_and_scores(
    format: str, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a user with such a file types, word by word; the BART file tells no sizes, so these are given."""
    nibabel, pydicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
    path = scan if format == "fastmri" else write_scan(format, tmp_path)
    told = ["--spacing", 1, 1, 5] if format == "bart" else []
    plane = [] if format == "ismrmrd" else ["--plane", "axial"]  # ISMRMRD knows its directions
    assert reconstruct(path, "--whiten", method="cg") == 2  # nothing is written over a wrong request
    assert reconstruct(path, "--out", tmp_path / "a.nii.gz", *told, method="cg") == 0
    assert nibabel.load(tmp_path / "a.nii.gz").shape == (28, 32, 2)
    assert reconstruct(path, "--out", tmp_path / "dicom", *told, *plane, method="cg") == 0
    dataset = pydicom.dcmread(tmp_path / "dicom" / "0001.dcm")
    assert dataset.pixel_array.shape == (32, 28)
    assert [float(v) for v in dataset.PixelSpacing] == ([10, 10] if format == "ismrmrd" else [1, 1])
    assert reconstruct(path, "--out", tmp_path / "a.h5", "--acceleration", 2, "--acs", 0.4, method="cg") == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "a.h5"), str(truth_of(path, format, tmp_path))]) == 0
    assert "SSIM" in capsys.readouterr().out


def truth_of(path: Path, format: str, folder: Path) -> Path:
    """A file with the root sum of squares of the whole k-space, as fastMRI files store it."""
    if format == "fastmri":
        return path
    with h5py.File(folder / "truth.h5", "w") as file:
        file["reconstruction_rss"] = np.linalg.norm(ifft(KSPACE), axis=1).astype(np.float32)
    return folder / "truth.h5"


def test_results_are_recorded_with_the_image(scan: Path, tmp_path: Path) -> None:
    assert reconstruct(scan, "--acceleration", 2, "--acs", 0.4, "--coils", 3, "--sigma", 0.01, method="cg") == 0
    _, attrs = written_by(tmp_path / "scan_cg.h5")
    assert attrs["sampling"] == "2.00x"
    assert attrs["maps"] == "ESPIRiT of the calibration lines"
    assert attrs["seconds"] > 0
    assert 15 < attrs["psnr_mean"] < 60
    assert 0.2 < attrs["chi2_mean"] < 5


def test_every_kind_of_maps_by_its_option(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(scan, "r+") as file:
        file["kspace_body_coil"] = file["kspace"][:, :1]
    words = ["--acceleration", 2, "--acs", 0.4, "--overwrite"]
    for maps, kept in (("low-resolution", "low resolution"), ("body-coil", "body coil"), ("espirit", "ESPIRiT")):
        assert reconstruct(scan, "--maps", maps, *words, method="cg") == 0
        assert kept in written_by(tmp_path / "scan_cg.h5")[1]["maps"]
    assert reconstruct(scan, "--sets", 2, *words, method="cg") == 0
    assert reconstruct(scan, "--partial-fourier", *words, method="cg") == 0
    assert "phase of the centre" in capsys.readouterr().out
    assert reconstruct(scan, "--maps", "stored", *words, method="cg") == 2
    assert "stores no coil maps" in capsys.readouterr().err
    assert reconstruct(scan, "--map-crop", 1.1, *words, method="cg") == 1
    assert "--maps low-resolution" in capsys.readouterr().err


def test_points_without_a_value_are_repaired_and_told_of(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One point beside the centre: calibration goes around it, and nothing is wrong."""
    with h5py.File(scan, "r+") as file:
        file["kspace"][0, 2, 18, 15] = np.nan
    assert reconstruct(scan, "--repair", method="cg") == 0
    said = capsys.readouterr()
    assert "slice 0: 1.00x, 1 points repaired" in said.out
    assert "WARNING" not in said.err
    attrs = written_by(tmp_path / "scan_cg.h5")[1]
    assert attrs["notes"] == "1 points of k-space repaired"
    assert attrs["chi2_mean"] < 2


def test_an_image_that_repair_made_wrong_is_warned_of(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A lattice of lost points leaves few patches about the centre, which tell too little of the coils."""
    with h5py.File(scan, "r+") as file:
        kspace = file["kspace"][()]
        whole = kspace[0, 0, 12:20, 11:19].copy()
        kspace[0, 0, 1::5, 2::5] = np.nan
        kspace[0, 0, 12:20, 11:19] = whole
        file["kspace"][...] = kspace
    assert reconstruct(scan, "--repair", method="cg") == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert "slice 0 has chi2" in warning
    assert "Do not use it" in warning
    assert "--maps low-resolution" in warning


def test_three_sides_of_an_image_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_named(tmp_path / "scan.npz")
    assert reconstruct(path, "--size", 9, 8, 7, method="fbp") == 2
    assert "--size takes one side or two, got 9 8 7" in capsys.readouterr().err


# Runs that end early


def stopping(after: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`solve` fails with `error` after so many calls; the list counts them."""
    calls: list[int] = []

    def solve(*arguments: Any, **options: Any) -> Any:
        calls.append(options["seed"])
        if len(calls) > after:
            raise error
        return invdiff.solve(*arguments, **options)

    monkeypatch.setattr("invdiff.reconstruct.solve", solve)
    return calls


def test_a_run_that_was_stopped_goes_on_from_its_finished_slices(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reconstruct(scan, "--out", tmp_path / "plain.h5", "--acceleration", 2, "--acs", 0.4) == 0
    plain, about = written_by(tmp_path / "plain.h5")
    with monkeypatch.context() as patch:
        stopping(3, KeyboardInterrupt(), patch)  # two calls for each slice: the method, and the one it is compared with
        assert reconstruct(scan, "--out", tmp_path / "a.h5", "--acceleration", 2, "--acs", 0.4) == 130
    assert "1 of 2 slices are finished and kept in" in capsys.readouterr().err
    assert not (tmp_path / "a.h5").exists()
    calls = stopping(99, KeyboardInterrupt(), monkeypatch)
    assert reconstruct(scan, "--out", tmp_path / "b.h5", "--acceleration", 2, "--acs", 0.4) == 0
    assert calls == [1, 1]  # the second slice alone
    assert "slice 0: finished by an earlier run" in capsys.readouterr().out
    images, attrs = written_by(tmp_path / "b.h5")
    assert np.array_equal(images, plain)
    assert {n: v for n, v in attrs.items() if n != "seconds"} == {n: v for n, v in about.items() if n != "seconds"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.h5", "plain.h5", "scan.h5"]


@pytest.mark.parametrize("change", ["option", "file", "damage"])
def test_slices_of_another_run_are_not_taken(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    with monkeypatch.context() as patch:
        stopping(3, RuntimeError("no memory"), patch)
        assert reconstruct(scan, "--out", tmp_path / "a.h5") == 1
    options = ["--crop", 8, 8, "--maps", "low-resolution"] if change == "option" else []
    if change == "file":
        write_synthetic_fastmri(tmp_path / "new.h5", shape=(32, 28), coils=4, slices=2, sigma=0.02).rename(scan)
    if change == "damage":
        (part,) = tmp_path.glob(".scan_adjoint.*.kept/*")
        part.write_bytes(part.read_bytes()[:-100])
    calls = stopping(99, KeyboardInterrupt(), monkeypatch)
    assert reconstruct(scan, "--out", tmp_path / "a.h5", *options) == 0
    assert calls == [0, 0, 1, 1]


def test_what_cannot_be_written_is_not_lost(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("invdiff.reconstruct.write_volume", full)
        assert reconstruct(scan, "--out", tmp_path / "a.h5") == 1
    assert "2 of 2 slices are finished and kept in" in capsys.readouterr().err
    calls = stopping(0, RuntimeError("work was done twice"), monkeypatch)
    assert reconstruct(scan, "--out", tmp_path / "b.h5") == 0
    assert calls == []


def test_a_disk_that_keeps_nothing_does_not_stop_the_run(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr("invdiff.data.kept.write_files", full)
    assert reconstruct(scan, "--out", tmp_path / "a.h5") == 0


def test_numbers_that_cannot_be_are_refused_before_the_work(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping(0, AssertionError("the work began"), monkeypatch)
    assert reconstruct(scan, "--acceleration", 4, "--acs", "nan") == 2
    assert "acs must be at least 0 and at most 1, got nan" in capsys.readouterr().err
    for name, sentence in (("seed", "seed is told by --seed"), ("num_samples", "--samples"), ("y", "y is none")):
        assert reconstruct(scan, "--set", f"{name}=3") == 2
        assert sentence in capsys.readouterr().err
    with pytest.raises(SystemExit):
        reconstruct(scan, "--seed", 2**63)
    assert "at most 64 bits" in capsys.readouterr().err


def test_a_place_that_takes_no_files_is_refused_before_the_work(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    stopping(0, AssertionError("the work began"), monkeypatch)
    monkeypatch.setattr(Path, "touch", refuse)
    for out in ("a.h5", "a.nii", "series"):
        assert reconstruct(scan, "--out", tmp_path / out, "--plane", "axial", "--spacing", 1, 1, 1) == 1
        assert "nothing can be written there (Read-only file system)" in capsys.readouterr().err
