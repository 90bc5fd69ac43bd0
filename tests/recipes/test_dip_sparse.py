"""The recipe of sparse generators: every row, the oracle named as one, and columns that belong together."""

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

from tests.recipes.loading import recipe as loaded

recipe = loaded("dip_sparse")

TINY = ["--size", "16", "--iterations", "3", "--mask-iterations", "2", "--pruning-iterations", "1", "--sparsity", "0.1"]


def test_it_prints_every_row_and_their_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        picture = np.random.default_rng(number).random((20, 24))
        matplotlib.image.imsave(tmp_path / f"{number}.png", picture, cmap="gray")
    out = tmp_path / "masks"
    recipe.main([*TINY, "--data", str(tmp_path), "--images", "2", "--kinds", "synflow", "--out", str(out)])
    rows = capsys.readouterr().out
    names = ["dense DIP", "OES", "OES, whole channels", "synflow"]
    lines = [line for line in rows.splitlines() if line.startswith("image 1: |")]
    assert [line.split("|")[1].strip() for line in lines] == names
    assert "times as fast" in rows
    assert sorted(path.name for path in out.iterdir()) == ["OES.png", "OES_whole_channels.png", "synflow.png"]


def test_the_packaged_image_serves_and_oracles_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    recipe.main([*TINY, "--kinds", "random"])
    table = capsys.readouterr().out.split("\n\n")[-1].splitlines()
    assert [c.strip() for c in table[0].split("|")[2:-1]] == list(recipe.COLUMNS)
    assert sum("oracle" in column for column in recipe.COLUMNS) == 2
    assert len(table) == 2 + 4


def test_the_columns_are_of_one_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up path that settles, 60 images long, and is best just before it gets noisy again."""
    scan = recipe.scans(None, 1, 16, 0)[0]
    levels = [0.3] * 10 + [0.01] * 120 + [0.2] * 700
    generator = torch.Generator().manual_seed(0)

    def solve(*arguments: Any, callback: Any, **settings: Any) -> None:
        assert settings["stop"] == "never"
        for step, level in enumerate(levels):
            x = scan.truth + level * torch.randn(scan.truth.shape, generator=generator)
            callback({"step": step, "x": x})

    monkeypatch.setattr(recipe.invdiff, "solve", solve)
    values = recipe.follow(scan, "dip", len(levels))
    assert values["final"] == pytest.approx(14, abs=1)  # 20 log10(1 / 0.2)
    assert values["best (oracle)"] == pytest.approx(40, abs=1.5)
    assert 10 <= values["best at (oracle)"] < 130
    assert 105 <= values["stopped at"] < 140, "the window has left the noisy start"
    assert values["final"] < values["stopped"] <= values["best (oracle)"]


def test_images_smaller_than_the_crop_are_refused() -> None:
    with pytest.raises(SystemExit, match="smaller than --size"):
        recipe.scans(None, 1, 512, 0)
