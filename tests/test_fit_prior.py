"""`invdiff fit-prior`: from images in a file to a prior that denoises held-out images and reconstructs."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import invdiff
from invdiff.cli import main
from invdiff.data.images import open_images
from invdiff.data.phantom import head_phantom
from invdiff.data.synthetic import write_synthetic_fastmri
from invdiff.operators.inpainting import Inpainting
from invdiff.priors.checkpoints import KINDS as FILES
from invdiff.priors.checkpoints import load_prior
from invdiff.testing_prior import check_prior
from invdiff.training.closed_form import KINDS, Fit, choose, fit_prior, validate
from invdiff.training.config import SIGMAS, Data
from invdiff.training.slices import Slices
from invdiff.training.toml import ConfigError

SMALL = ["--size", "32", "--components", "4", "--patch", "6", "--patches", "1500", "--count", "20"]


def write(path: Path, subjects: int = 6, hu: bool = False) -> Path:
    """Head phantoms 40 x 36, four slices of each subject."""
    images = torch.stack([head_phantom((40, 36), seed=i) for i in range(4 * subjects)])
    images = images / images.amax((1, 2), keepdim=True)
    with h5py.File(path, "w") as file:
        file["images"] = (2000 * images - 1000).round().short().numpy() if hu else (200 * images).byte().numpy()
        file["subject"] = np.array([f"s{i // 4}".encode() for i in range(4 * subjects)])
        if hu:
            file.attrs["units"] = "HU"
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("fit") / "heads.h5")


def fitted(fit: Fit, path: Path) -> tuple[float, float]:
    """Held-out PSNR at the lowest and the highest noise level of the table."""
    source = open_images(path)
    train, held_out = source.take(range(16)), source.take(range(16, 24))
    memory = 2**24
    prior = fit_prior(fit, Slices(train, fit.data, memory), False)
    table = validate(fit, prior, Slices(held_out, fit.data, memory), False)
    return table[f"{SIGMAS[0]:g}"], table[f"{SIGMAS[-1]:g}"]


@pytest.mark.parametrize("channels", ["real", "complex"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_denoises_held_out_images(images: Path, kind: str, channels: str) -> None:
    fit = Fit(Data(channels=channels), kind, (32,), 20, 4, 8, 6, patches=2000, iterations=4)  # type: ignore[arg-type]
    low, high = fitted(fit, images)
    # The noisy images have 10 log10(4 / sigma^2): 32.0 and 4.4 dB. A few whole images span no other at low noise.
    assert low > (20.0 if kind == "gaussian" else 32.5)
    assert high > 14


def test_every_kind_is_a_kind_of_file() -> None:
    assert {"patch-mixture", "gaussian", "local-wiener"} <= set(FILES)


def test_command_makes_a_prior_that_reconstructs(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "heads.safetensors"
    status = main(["fit-prior", str(images), "--complex", "--out", str(out), "--domain", "heads", *SMALL])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert "1 of 6 subjects held out" in printed
    assert all(f"{sigma:g}: " in printed for sigma in SIGMAS)
    content = json.loads(out.with_suffix(".json").read_text())
    assert content["domain"] == "heads"
    assert content["card"]["command"].startswith("invdiff fit-prior heads.h5 --kind patch-mixture")
    assert str(tmp_path) not in json.dumps(content)
    assert content["card"]["limits"] == "Not for diagnosis."
    assert set(content["card"]["validation_psnr"]) == {f"{sigma:g}" for sigma in SIGMAS}
    prior = load_prior(out)
    assert (prior.complex, prior.percentile, prior.window) == (True, 99.5, None)
    scan = write_synthetic_fastmri(tmp_path / "scan.h5", shape=(32, 32), coils=3, slices=1)
    command = ["reconstruct", str(scan), "--acceleration", "2", "--acs", "0.25", "--method", "dds", "--set", "steps=20"]
    status = main([*command, "--prior", str(out)])
    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize("phase", [False, True])
def test_the_fitted_prior_keeps_the_definition_up_to_its_largest_noise(
    images: Path, tmp_path: Path, phase: bool
) -> None:
    """Of aligned images, whose mean image says more than patches know."""
    out = tmp_path / "heads.safetensors"
    assert main(["fit-prior", str(images), "--out", str(out), *(["--complex"] if phase else []), *SMALL]) == 0
    x = torch.stack([head_phantom((32, 32), seed=100 + i) for i in range(6)])[:, None]
    x = x / x.amax((1, 2, 3), keepdim=True)
    assert float((x - x.mean(0)).square().mean()) < 0.2 * float((x - x.mean()).square().mean())
    prior = load_prior(out)
    assert prior.sigma_max == 5
    check_prior(prior, x * torch.exp(1j * torch.linspace(0, 2, 32)) if phase else x)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_complex_images_keep_their_phase(images: Path, tmp_path: Path, kind: str) -> None:
    path, out = tmp_path / "phased.h5", tmp_path / "phased.safetensors"
    with h5py.File(images) as file, h5py.File(path, "w") as phased:
        turn = np.exp(1j * np.linspace(0, 2, 36))
        phased["images"] = (file["images"][()] * turn).astype(np.complex64)
        phased["subject"] = file["subject"][()]
    assert main(["fit-prior", str(path), "--complex", "--kind", kind, "--rank", "4", "--out", str(out), *SMALL]) == 0
    content = json.loads(out.with_suffix(".json").read_text())
    assert "complex slices" in content["card"]["data"]
    assert content["card"]["validation_psnr"]["0.4"] > 18  # the noisy images have 14.0
    assert load_prior(out).complex


def test_hounsfield_units_become_attenuation(tmp_path: Path) -> None:
    path, out = write(tmp_path / "ct.h5", hu=True), tmp_path / "ct.safetensors"
    assert main(["fit-prior", str(path), "--out", str(out), *SMALL]) == 0
    prior = load_prior(out)
    assert (prior.complex, prior.range, prior.percentile) == (False, (-1.0, 1.0), None)
    assert prior.window == pytest.approx((0.0, 0.0386))
    x0 = 0.0193 * head_phantom((32, 32), seed=99)[None, None]
    op = Inpainting(torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) > 0.4, (1, 32, 32))
    y = op.simulate(x0, 0.0002, seed=1)
    result = invdiff.solve(y, op, prior, "dds", sigma_y=0.0002, seed=0)
    assert float((result.x - x0).square().mean()) < 0.2 * float((y - x0).square().mean())


def test_several_sizes_and_balance(images: Path) -> None:
    fit = Fit(
        Data(channels="real", balance=0.5), sizes=(24, 40), count=12, components=4, rank=4, patches=1000, iterations=3
    )
    low, _ = fitted(fit, images)
    assert low > 32.5
    with pytest.raises(ConfigError, match="one size"):
        Fit(Data(channels="real"), "wiener", (24, 40))


def test_balance_counts_subjects_and_not_slices(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = (np.arange(1, 11)[:, None, None] * np.ones((10, 4, 4)) + np.eye(4)).astype(np.float32)
        file["subject"] = np.array([b"many"] * 9 + [b"one"])
    slices = Slices(open_images(tmp_path / "a.h5"), Data(channels="real", percentile=50), 2**20)

    def share(balance: float) -> float:
        chosen = choose(slices, 100, balance)
        last = slices[9]
        return sum(torch.equal(image, last) for image in chosen) / len(chosen)

    assert share(0.0) == 0.1
    assert share(0.5) == pytest.approx(1 / (1 + 3), abs=0.02)
    assert share(1.0) == pytest.approx(0.5, abs=0.02)
    assert len(choose(slices, 100, 0.0)) == 10


def test_parts_and_no_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = write(tmp_path / "all.h5")
    with h5py.File(stored) as file, h5py.File(tmp_path / "parts.h5", "w") as parts:
        for part, rows in (("train", slice(0, 12)), ("val", slice(12, 16)), ("other", slice(16, 24))):
            parts[f"{part}/images"], parts[f"{part}/subject"] = file["images"][rows], file["subject"][rows]
    out = tmp_path / "a.safetensors"
    command = ["fit-prior", str(tmp_path / "parts.h5"), "--kind", "stationary", "--size", "32", "--out", str(out)]
    for more, says in (
        ([], "12 of 12 images: parts train and val"),
        (["--part", "other"], "4 of 4 images: 1 of 2 subjects held out"),
        (["--no-validation", "--part", "other"], "8 of 8 images: nothing held out"),
    ):
        assert main([*command, *more, "--overwrite"]) == 0
        printed = capsys.readouterr().out
        assert says in printed
        assert ("held-out PSNR" in printed) == ("--no-validation" not in more)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--out", "a.pt"], 2, "ends in .safetensors"),
        ([], 2, "ends in .safetensors"),
        (["--out", "OUT", "--complex", "--window", "0", "1"], 2, "--window is for real images"),
        (["--out", "OUT", "--no-validation", "--val", "x.h5"], 2, "holds nothing out"),
        (["--out", "OUT", "--kind", "wiener", "--size", "32", "64"], 2, "one size"),
        (["--out", "OUT", "--no-validation"], 0, ""),
        (["--out", "OUT", "--part", "nothing", "--no-validation"], 1, "has no part 'nothing'"),
        (["--out", "OUT", "--part", "nothing"], 1, "has no part 'nothing'"),
        (["--out", "OUT", "--count", "0"], 1, "count must be at least 1, got 0"),
        (["--out", "OUT", "--patch", "0"], 1, "patch must be at least 1, got 0"),
    ],
)
def test_usage(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, says: str
) -> None:
    words = [str(tmp_path / "a.safetensors") if word == "OUT" else word for word in arguments]
    assert main(["fit-prior", str(images), *words, *(SMALL if not says else [])]) == status
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.safetensors", "a.json"])
def test_an_existing_prior_is_kept_unless_told(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("mine")
    out = tmp_path / "a.safetensors"
    command = ["fit-prior", str(images), "--kind", "stationary", "--size", "32", "--count", "8", "--out", str(out)]
    assert main(command) == 2
    assert f"{name} exists already; give another --out, or --overwrite." in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert main([*command, "--overwrite"]) == 0
    assert load_prior(out).shape == (1, 32, 32)


def test_one_subject_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "one.h5", subjects=1)
    assert main(["fit-prior", str(path), "--out", str(tmp_path / "a.safetensors"), *SMALL]) == 1
    assert "--val" in capsys.readouterr().err
    assert not (tmp_path / "a.safetensors").exists()


def test_hounsfield_units_are_not_complex(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "ct.h5", hu=True)
    assert main(["fit-prior", str(path), "--complex", "--out", str(tmp_path / "a.safetensors"), *SMALL]) == 2
    assert "Hounsfield" in capsys.readouterr().err
