"""Stored trajectories and samples come back as they were, or with a sentence."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.errors import DataError
from invdiff.data.trajectories import radial
from invdiff.data.trajectory_files import read_samples, read_trajectory

K = radial(3, (8, 8)).numpy()
Y = (np.arange(48) + 1j).reshape(1, 3, 16).astype(np.complex128)


def written(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, next(iter(arrays.values())))
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    return path


@pytest.mark.parametrize("ending", ["npz", "h5", "hdf5"])
def test_round_trip(ending: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"scan.{ending}", trajectory=K.astype(np.float32), kspace=Y, other=K + 1)
    assert torch.equal(read_trajectory(path), torch.from_numpy(K.astype(np.float32)).double())
    assert torch.equal(read_trajectory(path, "other"), torch.from_numpy(K) + 1)
    assert torch.equal(read_samples(path), torch.from_numpy(Y).to(torch.complex64))


def test_single_arrays(tmp_path: Path) -> None:
    assert torch.equal(read_trajectory(written(tmp_path / "k.npy", k=K)), torch.from_numpy(K))
    assert torch.equal(read_samples(written(tmp_path / "y.npy", y=Y)), torch.from_numpy(Y).to(torch.complex64))


@pytest.mark.parametrize("ending", ["npy", "npz", "h5"])
def test_refused_contents(ending: str, tmp_path: Path) -> None:
    holed = K.copy()
    holed[0, 0] = np.nan
    for values, match in (
        (holed, "2 of 96 values are NaN"),
        (Y, "store real and imaginary part"),
        (K[..., :1], "wanted"),
    ):
        with pytest.raises(DataError, match=match):
            read_trajectory(written(tmp_path / f"bad.{ending}", trajectory=values))
    with pytest.raises(DataError, match="wanted complex samples, got float64"):
        read_samples(written(tmp_path / f"bad.{ending}", kspace=K))


def test_refused_files(tmp_path: Path) -> None:
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    short = tmp_path / "short.npy"
    short.write_bytes(written(tmp_path / "k.npy", k=K).read_bytes()[:100])
    for path, match in (
        (objects, "without pickled objects"),
        (short, "cannot be read as arrays"),
        (tmp_path / "missing.npy", "cannot be read as arrays"),
        (tmp_path / "missing.h5", "cannot be opened"),
        (tmp_path / "k.mat", "unknown ending"),
        (written(tmp_path / "other.npz", k=K), "no array 'trajectory'; it holds k"),
        (written(tmp_path / "other.h5", k=K), "no dataset 'trajectory'; it holds k"),
    ):
        with pytest.raises(DataError, match=match):
            read_trajectory(path)
