"""A small sound file, and variations on it."""

from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from invdiff.data.synthetic import write_synthetic_fastmri

Change = Callable[[h5py.File], None]


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multi-coil training file: 2 slices, 3 coils, 24 x 21."""
    path = tmp_path_factory.mktemp("fastmri") / "sound.h5"
    return write_synthetic_fastmri(path, shape=(24, 21), coils=3)


@pytest.fixture
def altered(sound: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of the sound file after a change."""

    def make(change: Change) -> Path:
        path = tmp_path / "altered.h5"
        path.write_bytes(sound.read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make
