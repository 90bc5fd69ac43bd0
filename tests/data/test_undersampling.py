"""Every kind of mask comes near the acceleration that was asked for and keeps its centre."""

from pathlib import Path

import numpy as np
import pytest
import torch

from invdiff.data.errors import DataError
from invdiff.data.masks import achieved_acceleration, calibration_region
from invdiff.data.masks_fastmri import fastmri_mask
from invdiff.data.undersampling import KINDS, Undersampling

SHAPE = (96, 88)
# two kinds keep the grid's acceleration outside the centre; trajectories overlap
TOLERANCE = {"fastmri-equispaced": 0.3, "fastmri-magic": 0.3, "fastmri-random": 0.25, "radial": 0.5, "spiral": 0.5}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    mask = Undersampling(kind, 4, 0.1).mask(SHAPE, "a.h5")
    assert mask.dtype == torch.bool
    assert mask.shape in (SHAPE[1:], SHAPE)
    assert achieved_acceleration(mask) == pytest.approx(4, rel=TOLERANCE.get(kind, 0.06))
    rows, columns = calibration_region(mask, SHAPE)
    if kind not in ("radial", "spiral"):
        assert columns.stop - columns.start >= 9
        assert rows.stop - rows.start >= 9
    by_name = kind.startswith("fastmri")
    other_name = Undersampling(kind, 4, 0.1).mask(SHAPE, "b.h5")
    assert by_name or torch.equal(mask, other_name)
    other_seed = Undersampling(kind, 4, 0.1, seed=1).mask(SHAPE, "a.h5")
    assert torch.equal(mask, other_seed) == (kind not in ("random", "equispaced", "poisson"))


def test_fastmri_kinds_are_the_published_masks() -> None:
    found = Undersampling("fastmri-random", 8, 0.04).mask((640, 368), "file1000000.h5")
    assert torch.equal(found, fastmri_mask(368, 8, 0.04, seed="file1000000.h5")[0])


def test_files_and_unknown_kinds(tmp_path: Path) -> None:
    lines = np.arange(88) % 3 == 0
    np.save(tmp_path / "m.npy", lines)
    assert np.array_equal(Undersampling(str(tmp_path / "m.npy")).mask(SHAPE).numpy(), lines)
    with pytest.raises(DataError, match=r"m\.npy.*wanted a mask of shape \(80,\)"):
        Undersampling(str(tmp_path / "m.npy")).mask((96, 80))
    with pytest.raises(ValueError, match=r"'poison' is neither a kind of mask nor a mask file.*'poisson'"):
        Undersampling("poison")
