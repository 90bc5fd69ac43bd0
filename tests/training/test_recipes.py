"""The committed configurations: each parses, builds its network, and trains on images of its kind."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from invdiff.data.samples import load_sample
from invdiff.priors.checkpoints import load_prior
from invdiff.training.export import export
from invdiff.training.network import make_network
from invdiff.training.toml import read_config
from invdiff.training.train import train
from tests.training.tiny import discs, write

RECIPES = Path(__file__).parents[2] / "recipes" / "train"
SMALL = ["batch.images=1", "batch.size=32", "batch.crop=16", "validation.images=1", "validation.sigmas=[0.4]"]
SMALL += ["validation.fit=0", "averages.keep=0"]


@pytest.fixture
def data(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Discs with the parts, units and subjects that the recipe expects."""
    parts = {"train__images": discs(4), "val__images": discs(2, seed=1)}
    if request.param == "ct":
        parts = {name: 5 * images.astype(np.int16) - 1000 for name, images in parts.items()}
        parts |= {"train__subject": np.array(list("aaab"), "S"), "val__subject": np.array(list("cd"), "S")}
    path = write(tmp_path / "slices.h5", **parts)
    with h5py.File(path, "r+") as file:
        if request.param == "ct":
            file.attrs["units"] = "HU"
    return path


@pytest.mark.parametrize(
    ("data", "name", "is_complex", "window"),
    [("brain", "brain-mri", True, None), ("ct", "ct", False, (0.0, pytest.approx(0.0386)))],
    indirect=["data"],
)
def test_a_recipe_trains(
    data: Path, name: str, is_complex: bool, window: tuple[float, float] | None, tmp_path: Path
) -> None:
    config = read_config(RECIPES / f"{name}.toml", SMALL)
    assert sum(p.numel() for p in make_network(config).parameters()) > 5e6
    train(config, data, tmp_path / "a.pt", steps=2)
    export(tmp_path / "a.pt", tmp_path / "a.safetensors")
    prior = load_prior(tmp_path / "a.safetensors")
    assert (prior.complex, prior.window) == (is_complex, window)
    assert prior.domain == config.domain


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_parses_and_describes_its_prior(path: Path) -> None:
    config = read_config(path)
    assert config.name == path.stem
    assert config.domain
    assert {"data", "data_licence", "limits"} <= config.card.keys()


def test_the_packaged_prior_begins_a_training(tmp_path: Path) -> None:
    """Its weights are those of the recipe's network, and its steps count for decay and average."""
    image = load_sample("brain").image.numpy()
    data = write(tmp_path / "s.h5", train__images=image[None], val__images=image[None, ::-1])
    config = read_config(RECIPES / "brain-mri.toml", SMALL)
    weights = Path(__file__).parents[2] / "data" / "weights" / "brain-mri.safetensors"
    outcome = train(config, data, tmp_path / "a.pt", steps=0, init=weights)
    assert outcome.step >= 4767
    assert outcome.report is not None
    assert outcome.report["psnr"]["0.4"] > 25  # the noise alone has 14
