"""Masks of all kinds of files are one mask; what is no mask for this k-space is refused with its path."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.errors import DataError
from invdiff.data.mask_files import load_mask
from invdiff.data.write_bart import write_bart

POINTS = np.random.default_rng(0).random((8, 6)) < 0.4


def write(folder: Path, ending: str, mask: np.ndarray) -> Path:
    path = folder / f"m{ending}"
    if ending == ".npy":
        np.save(path, mask)
    elif ending == ".npz":
        np.savez(path, mask=mask)
    elif ending == ".csv":
        np.savetxt(path, np.atleast_2d(mask), fmt="%d", delimiter=",")
    elif ending == ".cfl":
        write_bart(path, np.atleast_2d(mask).astype(float)[None], overwrite=True)
    elif ending == ".mat":
        from scipy.io import savemat

        savemat(path, {"mask": mask})
    else:
        with h5py.File(path, "w", userblock_size=512 if ending == ".v73.mat" else 0) as file:
            file["mask"] = mask.T if ending == ".v73.mat" else mask
    return path


@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv", ".cfl", ".mat", ".v73.mat", ".h5"])
def test_every_kind_of_file_holds_the_same_mask(tmp_path: Path, ending: str) -> None:
    found = load_mask(write(tmp_path, ending, POINTS.astype(np.uint8)), (8, 6))
    assert torch.equal(found, torch.from_numpy(POINTS))
    lines = load_mask(write(tmp_path, ending, POINTS[0].astype(np.uint8)), (8, 6))
    assert torch.equal(lines, torch.from_numpy(POINTS[0]))
    with pytest.raises(DataError, match=rf"m{ending}.*wanted a mask of shape \(7,\) or \(8, 7\)"):
        load_mask(write(tmp_path, ending, POINTS.astype(np.uint8)), (8, 7))


def test_what_is_no_mask(tmp_path: Path) -> None:
    for values, match in (
        (POINTS * 0.5, "neither 0 nor 1"),
        (POINTS & False, "all zero"),
        (POINTS + 1j, "wanted bool"),
    ):
        np.save(tmp_path / "m.npy", values)
        with pytest.raises(DataError, match=match):
            load_mask(tmp_path / "m.npy", (8, 6))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["masks/poisson_6.0x"] = POINTS
    assert load_mask(tmp_path / "m.h5", (8, 6), key="masks/poisson_6.0x").shape == (8, 6)
    with pytest.raises(DataError, match="it holds masks"):
        load_mask(tmp_path / "m.h5", (8, 6))
    with pytest.raises(DataError, match="does not exist"):
        load_mask(tmp_path / "none.npy", (8, 6))
    (tmp_path / "m.png").touch()
    with pytest.raises(DataError, match=r"ends in none of \.npy"):
        load_mask(tmp_path / "m.png", (8, 6))
    (tmp_path / "m.txt").write_text("1 0 1\n1 x 1\n")
    with pytest.raises(DataError, match="no sound array file"):
        load_mask(tmp_path / "m.txt", (2, 3))
