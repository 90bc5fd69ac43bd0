"""The recipe of sparse generators: every row, the oracle named as one, and what must hold worked out from the rows."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.recipes.loading import recipe as loaded

recipe, paths = loaded("dip_sparse"), loaded("dip_paths")

TINY = ["--size", "16", "--iterations", "3", "--mask-iterations", "2", "--pruning-iterations", "1", "--sparsity", "0.1"]


def test_it_prints_every_row_and_their_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        picture = np.random.default_rng(number).random((20, 24))
        matplotlib.image.imsave(tmp_path / f"{number}.png", picture, cmap="gray")
    out, names = tmp_path / "masks", ["dip", "dense", "OES", "OES, whole channels", "synflow"]
    recipe.main([*TINY, "--data", str(tmp_path), "--images", "2", "--rows", *names, "--out", str(out)])
    text = capsys.readouterr().out
    for name in names:
        assert f"image 1, {name}, never: " in text
    assert "image 1, OES, held-out: " in text
    assert "image 1, synflow, held-out: " in text
    assert "times as fast" in text
    assert "OES above synflow, both with held-out: " in text
    drawn = ["OES.png", "OES_whole_channels.png", "dense.png", "synflow.png"]
    assert sorted(path.name for path in out.iterdir()) == drawn


def test_the_packaged_image_serves_and_oracles_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    recipe.main([*TINY, "--rows", "dense", "random", "--rules", "variance", "--channels", "4"])
    table = capsys.readouterr().out.split("\n\n")[2].splitlines()
    assert table[0] == "| network | last | best (oracle) | best at (oracle) |"
    assert [line.split("|")[1].strip() for line in table[2:]] == ["dense", "random"]


def test_what_must_hold_is_worked_out_from_the_rows() -> None:
    ended = paths.Ended
    never = [ended(27.0, 28.0, 50, 100, 100, 27.0), ended(25.0, 25.0, 100, 100, 100, 25.0)]
    stopped = [ended(27.4, 28.0, 50, 80, 60, 27.0), ended(24.8, 25.0, 100, 90, 70, 25.0)]
    dense = [ended(24.0, 28.5, 30, 100, 100, 24.0), ended(22.0, 24.5, 30, 100, 100, 22.0)]
    found = {"dense": {"never": dense}, "OES": {"never": never, "held-out": stopped}, "snip": {"never": dense}}
    lines = list(recipe.verdicts(found))
    assert lines == [
        "OES, never: its image is 0.50 dB below the best of its path (wanted at most 1.0)",
        "OES, held-out: its image is 0.40 dB below the best of its path (wanted at most 0.3)",
        "OES, held-out: within 0.5 dB of the oracle on 1 of 2 (50%; wanted 80%), "
        "at most 1.60 times its iterations (wanted 1.5)",
        "dense loses 3.50 dB from its best to its last image (wanted at least 3)",
        "OES above dense, both with never: +3.00 dB (wanted 0)",
        "OES above snip, both with never: +3.00 dB (wanted 0)",
    ]


def test_images_smaller_than_the_crop_are_refused() -> None:
    with pytest.raises(SystemExit, match="smaller than --size"):
        recipe.main(["--size", "512"])
