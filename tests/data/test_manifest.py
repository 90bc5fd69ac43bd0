"""A flipped bit, a lost file and a path that leads out of the folder are seen."""

import subprocess
from pathlib import Path

import pytest

from invdiff.data.errors import DataError
from invdiff.data.manifest import NAME, check_against, read_manifest, sha256, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "val").mkdir()
    for name, content in (("a.h5", b"abc"), ("val/a.h5", b"other"), ("val/b.h5", b"")):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_sums_are_written_and_checked(folder: Path) -> None:
    files = sorted(folder.rglob("*.h5"))
    manifest = write_manifest(folder, files)
    lines = manifest.read_text().splitlines()
    # the sum of "abc" in FIPS 180
    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.h5" in lines
    sums = read_manifest(manifest)
    assert len(sums) == 3
    assert [check_against(sums, path) for path in files] == [sha256(path) for path in files]
    flipped = folder / "val" / "a.h5"
    flipped.write_bytes(b"othes")
    with pytest.raises(DataError, match=r"val.a\.h5: has the sum .* its bytes have changed"):
        check_against(sums, flipped)
    (folder / "new.h5").touch()
    with pytest.raises(DataError, match="not listed"):
        check_against(sums, folder / "new.h5")
    with pytest.raises(DataError, match="exists already"):
        write_manifest(folder, files)
    assert write_manifest(folder, files, overwrite=True) == folder / NAME


def test_the_format_is_that_of_sha256sum(folder: Path) -> None:
    write_manifest(folder, sorted(folder.rglob("*.h5")))
    done = subprocess.run(["sha256sum", "--check", "--strict", NAME], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0


def test_bad_manifests_and_paths(folder: Path) -> None:
    for text, match in (
        ("00  a.h5\n", "line 1"),
        (f"{'0' * 64}  ../a.h5\n", "lies outside"),
        (f"{'0' * 64}\n", "line 1"),
    ):
        (folder / NAME).write_text(text)
        with pytest.raises(DataError, match=match):
            read_manifest(folder / NAME)
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(folder / "none")
    with pytest.raises(DataError, match="lies outside"):
        write_manifest(folder / "val", [folder / "a.h5"])
    with pytest.raises(DataError, match="cannot be read"):
        write_manifest(folder, [folder / "gone.h5"], overwrite=True)
