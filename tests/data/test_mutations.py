"""Damaged files: each ends in a good read or a DataError that names it, and never in a dead process.

The bytes of a sound file are cut, flipped, overwritten or exchanged by a seeded mutator. Two hundred files run by
default and three thousand with `-m slow`.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from invdiff.data.errors import DataError
from invdiff.data.guarded import guarded
from invdiff.data.kspace import KSpaceFile, open_kspace
from tests.data.raw import write_ismrmrd, write_matlab, write_skmtea

WRITERS: dict[str, Callable[[Path], Path]] = {
    "ismrmrd": write_ismrmrd,
    "skm-tea": write_skmtea,
    "matlab": write_matlab,
}


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


@pytest.fixture
def patience() -> Iterator[None]:
    """A damaged file can also keep the library busy for ever."""
    before, guarded.timeout = guarded.timeout, 20.0
    yield
    guarded.timeout = before


def outcome(path: Path, open_file: Callable[[Path], KSpaceFile] = open_kspace) -> str:
    """Read everything; what came of it in a word."""
    try:
        file = open_file(path)
        for i in range(min(file.n_slices, 3)):
            if file.status(i) == "ok":
                file.sampling(i)
            file.reference(i)
            file.maps(i)
        _ = file.noise(), file.header, file.acquisition, file.geometry, file.crop
    except DataError as error:
        return _word(path, str(error))
    return "read"


def _word(path: Path, sentence: str) -> str:
    assert str(path) in sentence
    return "killed" if "killed the process" in sentence else "late" if "given up" in sentence else "refused"


def outcomes(whole: bytes, path: Path, count: int, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    words: Counter[str] = Counter()
    for _ in range(count):
        path.write_bytes(mutate(whole, rng))
        words[outcome(path)] += 1
    return words


@pytest.mark.usefixtures("patience")
def test_damaged_files_are_read_or_refused(sound: Path, tmp_path: Path) -> None:
    words = outcomes(sound.read_bytes(), tmp_path / "damaged.h5", 200, seed=0)
    assert words.total() == 200
    assert words["read"] > 10
    assert words["refused"] > 50


@pytest.mark.slow
@pytest.mark.usefixtures("patience")
def test_three_thousand_damaged_files(sound: Path, tmp_path: Path) -> None:
    words = outcomes(sound.read_bytes(), tmp_path / "damaged.h5", 3000, seed=1)
    print(dict(words))
    assert words.total() == 3000  # how many of them kill the reader depends on the HDF5 library
    assert words["read"] > 150
    assert words["refused"] > 750


@pytest.mark.parametrize("count", [25, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.usefixtures("patience")
def test_damaged_files_of_other_formats(tmp_path: Path, format: str, count: int) -> None:
    whole = WRITERS[format](tmp_path / "sound").read_bytes()
    name = "damaged.mat" if format == "matlab" else "damaged.h5"
    words = outcomes(whole, tmp_path / name, count, seed=2)
    assert words["read"] > 0
    assert words["refused"] > 0


def test_another_exception_would_be_seen(tmp_path: Path) -> None:
    def planted(path: Path) -> KSpaceFile:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        outcome(tmp_path, planted)
