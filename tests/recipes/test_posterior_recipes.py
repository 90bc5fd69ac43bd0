"""The recipes that compare samplers: SITCOM against DPS, and samples against Stein's identity."""

import pytest
import torch

from invdiff.data.masks import cartesian_mask
from invdiff.operators import CartesianMRI
from tests.recipes.loading import recipe as loaded


@pytest.fixture
def small() -> torch.Tensor:
    """A smooth image of 32x32 in the place of the packaged slice."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    return torch.polar(torch.exp(-2 * (x**2 + y**2)), 0.5 * x)[None, None]


@pytest.mark.filterwarnings("ignore:the image is not what the prior knows")
def test_sitcom_stands_beside_the_better_dps(
    small: torch.Tensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = loaded("sitcom_dps")
    monkeypatch.setattr(recipe, "SIZE", 32)
    scan = CartesianMRI(cartesian_mask(32, 4, 2, seed=0), shape=(1, 32, 32))
    monkeypatch.setitem(recipe.TASKS, "MRI 4x", lambda: scan)
    monkeypatch.setattr(recipe, "SITCOM", {"sitcom, tilt": {"solver": "tilt", "steps": 4, "inner": 2}})
    monkeypatch.setattr(recipe, "truths", lambda *_: small)
    recipe.main(["--tasks", "MRI 4x", "--steps", "8", "--zeta", "0.5", "1"])
    *_, ours, theirs = capsys.readouterr().out.splitlines()
    assert ours.startswith("| MRI 4x | sitcom, tilt |")
    assert theirs.split("|")[4].strip() == "+0.00"  # against itself
    assert theirs.split("|")[5].strip() == "16"  # eight evaluations and eight gradients


@pytest.mark.filterwarnings("ignore:the image is not what the prior knows")
def test_samples_that_ignore_the_data_stand_out(
    small: torch.Tensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = loaded("posterior_fidelity")
    monkeypatch.setattr(recipe, "SIZE", 32)
    monkeypatch.setattr(recipe, "truth", lambda *_: small)
    recipe.main(["--samples", "3", "--methods", "ddnm"])
    rows = {line.split("|")[1].strip(): line for line in capsys.readouterr().out.splitlines() if line.startswith("|")}
    variance = {name: float(row.split("|")[2].split()[0]) for name, row in rows.items() if "+-" in row}
    assert variance["spread halved"] == pytest.approx(variance["`ddnm`"] / 2, rel=0.6)  # a quarter for a linear score
    assert variance["data ignored"] > 10 * abs(variance["`ddnm`"])
