"""What every test shares: few threads, repeatable examples, and a folder of measured data where there is one."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported: its kernels run on the CPU

torch.set_num_threads(min(torch.get_num_threads(), 2))  # never raised: the machine may be shared

settings.register_profile("invdiff", derandomize=True, deadline=None, database=None, max_examples=25)
settings.load_profile("invdiff")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked cuda say why they do not run where there is no device."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of measured scans that the environment variable INVDIFF_DATA names; skips where it is not set."""
    name = os.environ.get("INVDIFF_DATA")
    if not name:
        pytest.skip("INVDIFF_DATA is not set; it names a folder of measured scans")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"INVDIFF_DATA must name a folder, got {name!r}. Correct or unset it.")
    return folder
