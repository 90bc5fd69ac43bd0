"""The phase-retrieval recipe: least misfit beats one start, and no choice beats the one that knows the truth."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.recipes.loading import recipe as loaded

recipe = loaded("phase_retrieval")


def test_selection_is_worth_its_starts() -> None:
    found = recipe.measure("dps", recipe.draws(6), starts=6, steps=60)
    quality = {name: sum(values) / 6 for name, values in found.items()}
    assert quality["least misfit"] > quality["one start"] + 0.5
    assert quality["least misfit"] <= quality["nearest to the truth"]


def test_it_prints_a_row_for_each_method(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(recipe, "SETTINGS", {"dps": {"steps": 5}, "sitcom": {"steps": 2, "inner": 2}})
    recipe.main(["--images", "1", "--starts", "2", "--methods", "dps", "sitcom"])
    title, *rows = capsys.readouterr().out.splitlines()
    assert "2 starts" in title
    assert [row.split()[0] for row in rows[::2]] == ["dps", "sitcom"]
    assert all(row.endswith(" of 1") for row in rows[::2])


def test_slices_come_in_physical_units(tmp_path: Path) -> None:
    path = tmp_path / "slices.h5"
    with h5py.File(path, "w") as file:
        for part, count in (("train", 2), ("val", 3)):
            file[f"{part}/images"] = np.random.default_rng(0).uniform(-1000, 500, (count, 128, 128)).astype(np.int16)
    p = recipe.slices(path, 2, sigma=0.0)
    assert p.truth.shape == (2, 1, 128, 128)
    assert p.peak == p.prior.window[1]
    assert 0 <= float(p.truth.min()) < 1e-4 < float(p.truth.max()) <= p.peak  # mm^-1
    torch.testing.assert_close(p.y, p.op(p.truth))
