"""States on disk: whole or absent, whatever happens while they are written."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from invdiff.files import write_whole
from invdiff.training.state import read_content, read_state, write_state

CONTENT = {
    "config": {},
    "seed": 0,
    "step": 3,
    "start": 0,
    "net": {"w": torch.ones(4)},
    "ema": {},
    "averages": {},
    "optimizer": {},
    "split": {},
}

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from invdiff.training.state import write_state

def half(content, path):
    Path(path).write_bytes(b"PK half a file")
    os.kill(os.getpid(), signal.SIGKILL)

torch.save = half
write_state(Path(sys.argv[1]), {"step": 4})
"""


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_state(path, CONTENT)
    found = read_state(path)
    assert found["step"] == 3
    assert torch.equal(found["net"]["w"], torch.ones(4))


def test_a_fault_while_writing_leaves_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_state(path, CONTENT)
    before = path.read_bytes()

    def full_disk(partial: Path) -> None:
        partial.write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_whole(path, full_disk)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_a_process_killed_while_writing_leaves_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    write_state(path, CONTENT)
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == before
    assert (tmp_path / ".a.pt.partial").exists()  # the control: it was in the middle of writing
    write_state(path, {**CONTENT, "step": 5})  # and the next one is not disturbed by it
    assert read_state(path)["step"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_damaged_files_are_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.pt"
    write_state(path, CONTENT)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.pt is not a training state, or is damaged"):
        read_state(path)


@pytest.mark.parametrize("content", [b"abc", b"hello, this is text", b"\x80\x02.", b"PK\x03\x04"])
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pt is not a training state, or is damaged"):
        read_content(path)


def test_other_contents_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(ValueError, match="does not exist"):
        read_content(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="holds a list"):
        read_content(path)
    torch.save({"net": {}, "step": 1}, path)
    with pytest.raises(ValueError, match="--init"):
        read_state(path)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({**CONTENT, "extra": Path("x")}, path)
    with pytest.raises(ValueError, match="not a training state, or is damaged"):
        read_state(path)
