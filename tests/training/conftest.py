"""The tiny training with its data in a file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from invdiff.training.config import Config, Data
from tests.training.tiny import TINY, discs, write


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """40 discs of eight subjects, no parts."""
    subjects = np.array([f"p{i // 5}".encode() for i in range(40)])
    return write(tmp_path / "slices.h5", images=discs(40), subject=subjects)


@pytest.fixture
def tiny(slices: Path) -> Config:
    """The tiny training on those discs."""
    return replace(TINY, data=Data(path=str(slices)))
