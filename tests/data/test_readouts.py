"""Files of read-outs come back as they were, slice by slice, or with a sentence that names file, array and remedy."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invdiff.data.errors import DataError
from invdiff.data.guarded import guarded
from invdiff.data.readouts import ReadoutFile, is_readouts, open_readouts
from invdiff.data.trajectories import radial
from tests.data.test_mutations import mutate

K = radial(3, (8, 8)).numpy()  # (3, 16, 2)
Y = (np.arange(2 * 2 * 48) + 1j).reshape(2, 2, 3, 16).astype(np.complex128)  # two slices, two coils


def written(path: Path, **arrays: Any) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if name == "image_size":
                file.attrs[name] = values
            else:
                file[name] = values
    return path


@pytest.mark.parametrize("ending", ["h5", "npz"])
def test_slices_come_back(tmp_path: Path, ending: str) -> None:
    noise, maps = Y[0, :, 0], np.ones((2, 2, 8, 8), np.complex64)
    arrays = {"trajectory": K, "noise": noise, "maps": maps, "image_size": [8, 6], "reference": np.eye(8)}
    path = written(tmp_path / f"scan.{ending}", kspace=Y, **arrays)
    assert is_readouts(path)
    file = open_readouts(path)
    assert (file.shape, file.size) == ((2, 2, 3, 16), (8, 6))
    assert np.array_equal(file.samples(1), Y[1].astype(np.complex64))
    assert np.array_equal(file.trajectory(1), K)
    assert np.array_equal(file.extra("noise", 0), noise.astype(np.complex64))
    assert file.extra("maps", 1).shape == (2, 8, 8)
    assert np.array_equal(file.extra("reference", 0), np.eye(8))
    one = open_readouts(written(tmp_path / f"one.{ending}", kspace=Y[0], trajectory=K[None].astype(np.float32)))
    assert (one.shape, one.size, one.extra("maps", 0)) == ((1, 2, 3, 16), None, None)
    assert np.array_equal(one.trajectory(0), K.astype(np.float32))


def test_other_files_are_not_taken(tmp_path: Path) -> None:
    assert not is_readouts(written(tmp_path / "a.h5", kspace=Y))
    assert not is_readouts(written(tmp_path / "a.npz", kspace=Y))
    assert not is_readouts(tmp_path / "a.mat")
    assert not is_readouts(tmp_path / "missing.h5")


@pytest.mark.parametrize("ending", ["h5", "npz"])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kspace": Y.real}, "not complex"),
        ({"kspace": Y[0, 0]}, "wanted .coils, read-outs, samples."),
        ({"trajectory": K[:2]}, "one position for each sample"),
        ({"trajectory": np.zeros((3, 16, 3))}, "NonCartesianMRI"),
        ({"trajectory": K + 0j}, "wanted real"),
        ({"noise": Y[0, :1, 0]}, "wanted .coils, n. of 2 coils"),
        ({"maps": np.ones((3, 8, 8), complex)}, "wanted .coils, h, w. of 2 coils"),
        ({"reference": np.ones((3, 8, 8))}, "one for each of 2 slices"),
        ({"image_size": [8.5, 8]}, "whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, ending: str, change: dict[str, Any], match: str) -> None:
    path = written(tmp_path / f"bad.{ending}", **({"kspace": Y, "trajectory": K} | change))
    with pytest.raises(DataError, match=match) as caught:
        open_readouts(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["kspace", "trajectory", "noise"])
def test_values_that_are_not_finite_are_counted_and_located(tmp_path: Path, name: str) -> None:
    arrays = {"kspace": Y[0].copy(), "trajectory": K.copy(), "noise": Y[0, :, 0].copy()}
    arrays[name][1, 2] = np.nan
    file = open_readouts(written(tmp_path / "bad.h5", **arrays))
    with pytest.raises(DataError, match="are NaN or infinite, the first at") as caught:
        _ = file.samples(0), file.trajectory(0), file.extra("noise", 0)
    assert name in str(caught.value)


def test_budgets_are_kept(tmp_path: Path) -> None:
    for ending in ("h5", "npz"):
        with pytest.raises(DataError, match="budget"):
            open_readouts(written(tmp_path / f"a.{ending}", kspace=Y, trajectory=K), budget=1000)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", ["h5", "npz"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, ending: str, count: int) -> None:
    """Read in a process of its own, as the command line does; the bytes are mutated as in `test_mutations`."""
    arrays = {"trajectory": K, "noise": Y[0, :, 0], "image_size": [8, 8]}
    whole = written(tmp_path / f"sound.{ending}", kspace=Y, **arrays).read_bytes()
    path, rng, words = tmp_path / f"damaged.{ending}", random.Random(4), Counter[str]()
    for _ in range(count):
        path.write_bytes(mutate(whole, rng))
        words[outcome(path)] += 1
    assert words["read"] > 0
    assert words["refused"] > count // 4


def outcome(path: Path) -> str:
    """What came of reading everything; any error but a DataError that names the file goes up."""
    try:
        if not guarded(path, is_readouts, path):
            return "other"
        file = guarded(path, open_readouts, path)
        for read in (ReadoutFile.samples, ReadoutFile.trajectory):
            guarded(path, read, file, 0)
        guarded(path, ReadoutFile.extra, file, "noise", 0)
    except DataError as error:
        return named(path, str(error))
    return "read"


def named(path: Path, sentence: str) -> str:
    assert str(path) in sentence
    return "refused"
