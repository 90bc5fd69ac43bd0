"""A reconstruction is written whole or not at all, and never over its input."""

import errno
import os
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff.data import atomic
from invdiff.data.errors import DataError
from invdiff.data.writer import write_reconstruction

IMAGES = torch.rand(3, 40, 31, generator=torch.Generator().manual_seed(0))


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    write_reconstruction(path, IMAGES, {"method": "cg", "nfe": 3, "sigma_y": 0.5})
    with h5py.File(path, "r") as file:
        assert list(file) == ["reconstruction"]
        assert file["reconstruction"].dtype == np.float32
        assert np.array_equal(file["reconstruction"][()], IMAGES.numpy())
        assert dict(file.attrs) == {"method": "cg", "nfe": 3, "sigma_y": 0.5}
    assert os.listdir(tmp_path) == ["out.h5"]
    first = path.read_bytes()
    write_reconstruction(path, IMAGES, {"method": "cg", "nfe": 3, "sigma_y": 0.5}, overwrite=True)
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(DataError, match=r"No space left on device.*nothing was left"):
        write_reconstruction(tmp_path / "out.h5", IMAGES)
    assert os.listdir(tmp_path) == []


def test_a_write_cut_short_by_the_system_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = tmp_path / "out.h5"
    write_reconstruction(old, IMAGES[:1])
    before = old.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(DataError, match="could not be written"):
            write_reconstruction(old, IMAGES, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["out.h5"]
    assert old.read_bytes() == before


def test_a_disk_that_loses_bytes_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_write_through", lambda path, content: path.write_bytes(content[:-1]))
    with pytest.raises(DataError, match="read back differs"):
        write_reconstruction(tmp_path / "out.h5", IMAGES)
    assert os.listdir(tmp_path) == []


def test_inputs_and_existing_files_are_kept(tmp_path: Path, sound: Path) -> None:
    path, before = tmp_path / "in.h5", sound.read_bytes()
    path.write_bytes(before)
    alias = tmp_path / "alias.h5"
    alias.symlink_to(path)
    for target in (path, alias):  # known by its content
        with pytest.raises(DataError, match="is an input"):
            write_reconstruction(target, IMAGES, overwrite=True)
    other = tmp_path / "images.h5"
    write_reconstruction(other, IMAGES)
    with pytest.raises(DataError, match="is an input"):  # known by its name
        write_reconstruction(other, IMAGES, inputs=[other], overwrite=True)
    with pytest.raises(DataError, match="overwrite=True"):
        write_reconstruction(other, IMAGES)
    with pytest.raises(DataError, match="does not exist"):
        write_reconstruction(tmp_path / "no" / "out.h5", IMAGES)
    assert path.read_bytes() == before


def test_bad_images_and_attributes(tmp_path: Path) -> None:
    bad = IMAGES.clone()
    bad[1, 2, 3] = torch.nan
    for images, match in (
        (bad, r"1 values that are NaN.*\(1, 2, 3\)"),
        (IMAGES.double() * 1e300, "beyond float32"),
        (IMAGES[0], r"\(slices, H, W\)"),
        (IMAGES + 0j, "magnitude first"),
        (IMAGES[:0], r"\(slices, H, W\)"),
    ):
        with pytest.raises(ValueError, match=match):
            write_reconstruction(tmp_path / "out.h5", images)
    with pytest.raises(TypeError, match="attribute 'a'"):
        write_reconstruction(tmp_path / "out.h5", IMAGES, {"a": [1]})  # type: ignore[dict-item]
    assert os.listdir(tmp_path) == []
