"""The recipe, from slices to a prior that loads."""

import sys
from pathlib import Path
from types import ModuleType

import h5py
import pytest
import torch

from invdiff.networks import build
from invdiff.priors import HybridPrior, NetworkPrior, load_prior
from invdiff.priors.checkpoints import save_prior
from invdiff.priors.container import read_content
from tests.recipes.loading import recipe as loaded

CONFIG = """
name = "small"
[data]
scaling = "percentile"
channels = "complex"
[batch]
size = 32
crop = 16
"""


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return loaded("fit_hybrid")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network, its configuration, and slices of ellipses."""
    network = {"in_channels": 2, "out_channels": 2, "widths": [4, 6]}
    net = NetworkPrior(build("drunet", network), sigma_data=0.25, complex=True, percentile=99.5)
    save_prior(net, "drunet", network, tmp_path / "small.safetensors", {})
    (tmp_path / "small.toml").write_text(CONFIG)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 56), torch.linspace(-1, 1, 56), indexing="ij")
    widths = 0.4 + 0.4 * torch.rand(24, 2, generator=torch.Generator().manual_seed(0))
    ellipses = [(200 * ((x / a) ** 2 + (y / b) ** 2 < 1)).byte() for a, b in widths.tolist()]
    with h5py.File(tmp_path / "slices.h5", "w") as file:
        file["train/images"] = torch.stack(ellipses[:16]).numpy()
        file["val/images"] = torch.stack(ellipses[16:]).numpy()
    return tmp_path


def run(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> None:
    names = {"--config": "small.toml", "--data": "slices.h5", "--out": "hybrid.safetensors"}
    arguments = [part for option, name in names.items() for part in (option, str(folder / name))]
    fixed = ["fit_hybrid.py", str(folder / "small.safetensors"), *arguments, "--images", "130", "--held-out", "8"]
    monkeypatch.setattr(sys, "argv", [*fixed, *more])
    recipe.main()


def test_it_writes_a_prior_with_what_it_measured(
    recipe: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(recipe, monkeypatch, folder, "--switch", "2")
    prior = load_prior(folder / "hybrid.safetensors")
    assert isinstance(prior, HybridPrior)
    assert (prior.sigma_switch, prior.sigma_teleport, prior.complex) == (2.0, 1.0, True)
    table = read_content(folder / "hybrid.safetensors")["card"]["denoising_psnr"]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["network", *(f"{v:.2f}" for v in table["network"].values())] in rows
    # a network that was not trained knows the variance of a pixel; the Gaussian knows that ellipses are smooth
    assert all(table["coarse, 60 components"][s] > table["network"][s] + 1 for s in ("1", "2", "5"))
    assert table["hybrid"]["0.5"] == pytest.approx(table["network"]["0.5"], abs=0.011)
    assert table["hybrid"]["10"] == pytest.approx(table["coarse, 60 components"]["10"], abs=0.011)


def test_without_a_crossing_the_switch_must_be_given(
    recipe: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="the Gaussian is the better denoiser at all"):
        run(recipe, monkeypatch, folder)
    assert not (folder / "hybrid.safetensors").exists()


def test_the_switch_lies_where_the_curves_cross(recipe: ModuleType) -> None:
    gaussian = {f"{sigma:g}": 20.0 for sigma in recipe.SIGMAS}
    net = gaussian | {"0.5": 30.0, "1": 25.0, "2": 22.0, "3": 21.0, "5": 19.0, "10": 18.0, "20": 17.0, "80": 16.0}
    assert recipe.crossing(net, gaussian) == pytest.approx(15**0.5)  # halfway from 3 to 5 in the logarithm
    with pytest.raises(ValueError, match="the network is the better denoiser at all"):
        recipe.crossing({s: v + 9 for s, v in gaussian.items()}, gaussian)
