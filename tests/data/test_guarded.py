"""A guarded call gives its result or its exception, and outlives crashes, endless calls, interrupts and forks."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5s, h5t

import invdiff
from invdiff.data.errors import DataError
from invdiff.data.guarded import Guard
from invdiff.data.kspace import open_kspace

PATH = Path("file.h5")


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.stop()


def child_of(guard: Guard) -> int:
    return guard(PATH, os.getpid)


def test_results_and_exceptions_come_back(guard: Guard) -> None:
    assert guard(PATH, math.sqrt, 16.0) == 4
    assert child_of(guard) != os.getpid()
    values = guard(PATH, np.full, (300, 400), 1 + 2j)
    assert values.shape == (300, 400)
    assert (values == 1 + 2j).all()
    values[0, 0] = 0  # what comes back can be written to
    with pytest.raises(ValueError, match="math domain error"):
        guard(PATH, math.sqrt, -1.0)
    with pytest.raises(DataError, match="planted"):
        guard(PATH, _refuse)
    assert child_of(guard) == child_of(guard)  # one child for all calls


def _refuse() -> None:
    raise DataError("planted", path=PATH, slice=3)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_killed_child_becomes_a_sentence(guard: Guard, number: signal.Signals) -> None:
    before = child_of(guard)
    with pytest.raises(DataError, match=rf"file\.h5: killed the process that read it \({number.name}\)"):
        guard(PATH, os.kill, before, number)
    assert child_of(guard) != before
    with pytest.raises(DataError, match=r"\(status 7\)"):
        guard(PATH, os._exit, 7)


def test_a_file_that_kills_its_reader(tmp_path: Path) -> None:
    """A number format of other exponents beside a usual one: the pair does not fit its own size."""
    path = tmp_path / "killer.h5"
    odd = h5t.IEEE_F32LE.copy()
    odd.set_ebias(111)
    pair = h5t.create(h5t.COMPOUND, 8)
    pair.insert(b"r", 0, odd)
    pair.insert(b"i", 4, h5t.IEEE_F32LE)
    with h5py.File(path, "w") as file:
        h5d.create(file.id, b"kspace", pair, h5s.create_simple((2, 3, 24, 21)))

    def read_often() -> None:
        for _ in range(20):  # writing past the end of a buffer does not always show at once
            open_kspace(path).kspace(0)

    with pytest.raises(DataError, match=r"killer\.h5: killed the process that read it \(SIG"):
        read_often()
    alone = "import sys, h5py\nfor _ in range(20): h5py.File(sys.argv[1])['kspace'][()]"
    assert subprocess.run([sys.executable, "-c", alone, str(path)], check=False).returncode < 0


def test_a_call_that_takes_all_memory(guard: Guard) -> None:
    with pytest.raises(MemoryError):
        guard(PATH, bytearray, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    assert guard(PATH, math.sqrt, 4.0) == 2


def test_an_endless_call_is_given_up() -> None:
    guard = Guard(timeout=0.3)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"still being read after 0\.3 s and was given up"):
        guard(PATH, time.sleep, 30.0)
    assert time.monotonic() - began < 20
    guard.timeout = 60
    assert guard(PATH, math.sqrt, 4.0) == 2
    guard.stop()


def test_an_interrupt_between_question_and_answer_mixes_nothing_up(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("invdiff.data.guarded._receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            guard(PATH, math.sqrt, 4.0)
    assert guard(PATH, math.sqrt, 9.0) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_child_of_its_own(guard: Guard) -> None:
    mine = child_of(guard)
    read, write = os.pipe()
    if os.fork() == 0:  # in the fork: no assertion may leave it
        os.write(write, str(child_of(guard)).encode())
        guard.stop()
        os._exit(0)
    os.wait()
    assert int(os.read(read, 20)) != mine
    assert child_of(guard) == mine


def test_the_child_is_light_and_ends_with_its_parent() -> None:
    code = f"""
import os, sys, types
sys.path[:], sys.modules["invdiff"] = {sys.path!r}, types.ModuleType("invdiff")
sys.modules["invdiff"].__path__ = {invdiff.__path__!r}
from pathlib import Path
from invdiff.data.guarded import guarded
from invdiff.data.formats import open_contents
print(guarded(Path("x"), os.getpid), flush=True)
try:
    guarded(Path("x"), open_contents, Path("absent.h5"), None, dict())
except Exception:
    pass
print("torch" in guarded(Path("x"), eval, "list(__import__('sys').modules)"), flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    child, heavy = done.stdout.split()
    assert heavy == "False"
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
