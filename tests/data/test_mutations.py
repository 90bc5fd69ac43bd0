"""Two hundred damaged files: each ends in a good read or a DataError, never in another exception.

They are read in a child process, since damage can also kill the process inside the HDF5 library; a killed reader is
restarted behind the file that killed it.
"""

import random
import subprocess
import sys
from pathlib import Path

READER = """
import sys, warnings
from pathlib import Path
from invdiff.data.errors import DataError
from invdiff.data.fastmri import open_kspace
warnings.simplefilter("error")
for path in sorted(Path(sys.argv[1]).glob("*.h5"))[int(sys.argv[2]):]:
    try:
        file = open_kspace(path)
        for i in range(min(file.n_slices, 3)):
            file.kspace(i), file.reference(i), file.status(i)
        file.header, file.acquisition
        print("read", flush=True)
    except DataError as error:
        assert str(path) in str(error)
        print("refused", flush=True)
    except BaseException as error:
        print("other", path.name, repr(error), flush=True)
"""


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Cut, or flip, overwrite or exchange bytes, most of them in the structure at the front."""
    kind, damaged = rng.randrange(4), bytearray(content)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    for _ in range(rng.choice((1, 4, 32))):
        at = rng.randrange(4096 if rng.random() < 0.7 else len(damaged))
        at = min(at, len(damaged) - 8)
        if kind == 1:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            damaged[at : at + 8] = rng.randbytes(8)
        else:
            damaged[at : at + 8] = rng.choice((b"\xff" * 8, bytes(8), b"\x7f" + b"\xff" * 7))
    return bytes(damaged)


def outcomes(folder: Path, count: int) -> list[str]:
    """One word, or a report, per file."""
    found: list[str] = []
    while len(found) < count:
        command = [sys.executable, "-c", READER, str(folder), str(len(found))]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        found += run.stdout.splitlines()
        if len(found) < count:
            found.append(f"killed {run.returncode}" if run.returncode < 0 else f"other {run.stderr[-500:]}")
    return found


def test_damaged_files_are_read_or_refused(sound: Path, tmp_path: Path) -> None:
    rng, whole, count = random.Random(0), sound.read_bytes(), 200
    for i in range(count):
        (tmp_path / f"{i:03}.h5").write_bytes(mutate(whole, rng))
    found = outcomes(tmp_path, count)
    assert [word for word in found if word.startswith("other")] == []
    assert len(found) == count
    assert found.count("read") > 10
    assert found.count("refused") > 50
    assert sum(word.startswith("killed") for word in found) <= 4


def test_the_reader_would_report_another_exception(tmp_path: Path) -> None:
    (tmp_path / "0.h5").mkdir()
    planted = READER.replace("from invdiff.data.errors import DataError", "DataError = ArithmeticError")
    planted = planted.replace("from invdiff.data.fastmri import open_kspace", "open_kspace = len")
    run = subprocess.run(
        [sys.executable, "-c", planted, str(tmp_path), "0"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("other 0.h5 TypeError")
