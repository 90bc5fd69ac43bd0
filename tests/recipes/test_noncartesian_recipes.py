"""The recipes for non-Cartesian scans run from files to figures and tables."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import torch

from invdiff.data.coils import simulate_maps
from invdiff.data.phantom import head_phantom
from invdiff.data.trajectories import radial
from invdiff.operators import NonCartesianMRI

pytestmark = pytest.mark.slow
RECIPES = Path(__file__).parents[2] / "recipes"


def run(recipe: str, *arguments: str) -> str:
    """What the recipe prints; a failure shows its errors."""
    here = {**os.environ, "PYTHONPATH": str(RECIPES.parent)}
    done = subprocess.run(
        [sys.executable, str(RECIPES / recipe), *arguments], capture_output=True, text=True, env=here, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(table: str, method: str) -> list[float]:
    """chi2 of a method, one per number of spokes."""
    return [float(line.split("chi2")[1].split()[0]) for line in table.splitlines() if line.split()[:1] == [method]]


def test_benchmark_runs() -> None:
    pytest.importorskip("finufft")
    table = run(
        "bench_nufft.py", "--size", "16", "--spokes", "7", "--samples", "32", "--coils", "1", "2", "--rounds", "1"
    )
    lines = [line for line in table.splitlines() if "invdiff, default" in line]
    assert len(lines) == 6  # three maps, two numbers of coils
    assert all(float(line.split()[-1]) < 5e-4 for line in lines)


def test_a_simulated_scan_is_reconstructed(tmp_path: Path) -> None:
    n, spokes = 48, 51
    k = radial(spokes, (n, n), order="golden")
    op = NonCartesianMRI(k.flatten(0, 1), simulate_maps(4, (n, n)))
    y = op.simulate(head_phantom((n, n)).to(torch.complex64)[None, None], 0.03)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = y[0].unflatten(1, (spokes, 2 * n)).numpy()
        file["trajectory"] = k.numpy()
    out = tmp_path / "radial.png"
    table = run("radial_reconstruct.py", str(tmp_path / "scan.h5"), "--size", str(n), "--every", "1", "--out", str(out))
    assert out.stat().st_size > 10_000
    for method in ("cg", "tv", "wavelet"):
        (chi2,) = values(table, method)
        assert 0.4 < chi2 < 2


def test_the_measured_phantom_is_explained_by_its_image(data_folder: Path, tmp_path: Path) -> None:
    """69 and 23 spokes of 16 coils; with spokes taken as equal the transient of the signal leaves chi2 at 7."""
    path = str(data_folder / "kspace" / "phantom_radial_16ch.h5")
    out = str(tmp_path / "radial.png")
    for chi2 in values(run("radial_reconstruct.py", path, "--methods", "cg", "--out", out), "cg"):
        assert 0.5 < chi2 < 2.2
    (unequal,) = values(
        run("radial_reconstruct.py", path, "--methods", "cg", "--every", "1", "--no-gains", "--out", out), "cg"
    )
    assert unequal > 4
