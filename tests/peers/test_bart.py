"""BART's programs, called on files, agree with our operators, images and maps; where `bart` is on the path."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from invdiff.data.coils import espirit
from invdiff.data.trajectories import radial
from tests.data.test_coils import likeness, measured
from tests.peers.example import RHO, cartesian, distance, noncartesian

SHAPE = (32, 30)  # BART's centre of odd sizes is another
TRAJECTORY = radial(25, SHAPE, order="golden")
pytestmark = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")


def write(path: Path, values: Tensor, dims: tuple[int, ...]) -> Path:
    """Axes in BART's order."""
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n")
    np.ravel(values.numpy().reshape(dims).astype(np.complex64), order="F").tofile(path.with_suffix(".cfl"))
    return path


def read(path: Path) -> Tensor:
    dims = [int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    values = np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(dims, order="F")
    return torch.from_numpy(np.ascontiguousarray(values.squeeze()))


def bart(*words: object) -> None:
    subprocess.run(["bart", *map(str, words)], check=True, capture_output=True)


def last(values: Tensor) -> Tensor:
    """(coil, ...) to (..., coil)."""
    return values.movedim(0, -1)


def aligned(theirs: Tensor, ours: Tensor) -> Tensor:
    """With our sign: BART's centred transforms of n lines have the sign (-1)^(n / 2)."""
    return theirs * torch.sgn((theirs.conj() * ours).sum().real)


def test_cartesian_solutions(tmp_path: Path) -> None:
    example = cartesian(SHAPE)
    y = write(tmp_path / "y", last(example.y[0]), (*SHAPE, 1, len(example.maps)))
    maps = write(tmp_path / "s", last(example.maps), (*SHAPE, 1, len(example.maps)))
    bart("pics", "-w", 1, "-l2", "-r", RHO, "-i", 300, y, maps, tmp_path / "x")
    assert distance(example.solution(), aligned(read(tmp_path / "x"), example.solution())) < 1e-3
    bart("fft", "-u", "-i", 3, y, tmp_path / "z")
    adjoint = (example.maps.conj() * read(tmp_path / "z").movedim(-1, 0)).sum(0)
    ours = example.op.adjoint(example.y)[0, 0]
    assert distance(ours, aligned(adjoint, ours)) < 1e-5
    assert distance(ours, aligned(adjoint.flip(0), ours)) > 0.1  # negative control


def test_radial_forward_and_adjoint(tmp_path: Path) -> None:
    """BART's default gridding is good to some parts in a thousand."""
    example = noncartesian(SHAPE, TRAJECTORY)
    spokes, samples, _ = TRAJECTORY.shape
    k = torch.cat([TRAJECTORY, torch.zeros(spokes, samples, 1)], -1).permute(2, 1, 0)
    trajectory = write(tmp_path / "k", k, (3, samples, spokes))
    coils = write(tmp_path / "c", last(example.maps * example.image), (*SHAPE, 1, len(example.maps)))
    bart("nufft", trajectory, coils, tmp_path / "y")
    theirs = read(tmp_path / "y").permute(2, 1, 0).flatten(1)  # (samples, spokes, coil) before
    assert distance(example.op(example.image[None, None])[0], theirs) < 5e-3
    y = example.y[0].unflatten(1, (spokes, samples)).permute(2, 1, 0)
    bart("nufft", "-a", "-d", f"{SHAPE[0]}:{SHAPE[1]}:1", trajectory,
         write(tmp_path / "y", y, (1, samples, spokes, len(example.maps))), tmp_path / "z")  # fmt: skip
    adjoint = (example.maps.conj() * read(tmp_path / "z").movedim(-1, 0)).sum(0)
    assert distance(example.op.adjoint(example.y)[0, 0], adjoint) < 5e-3


def test_espirit_maps(tmp_path: Path) -> None:
    """BART finds eigenvectors on a coarser grid and interpolates: its maps are as near to ours as to the truth."""
    kspace, object_ = measured((64, 54), 6, sigma=2e-3)
    y = write(tmp_path / "y", last(kspace), (64, 54, 1, 6))
    bart("ecalib", "-m", 1, "-r", 24, "-k", 6, "-c", 0.9, "-t", 0.02, y, tmp_path / "s")
    theirs, ours = read(tmp_path / "s").movedim(-1, 0), espirit(kspace)
    both = (ours.abs().sum(0) > 0) & (theirs.abs().sum(0) > 0)
    assert float(both[object_].float().mean()) > 0.95
    theirs = theirs / theirs.norm(dim=0).clamp(min=1e-6)
    assert float(likeness(ours, theirs)[both].mean()) > 0.999
    assert float(likeness(ours, theirs)[both].min()) > 0.98
    assert float(likeness(ours.conj(), theirs)[both].mean()) < 0.99  # negative control
