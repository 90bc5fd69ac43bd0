"""The recipe of the measured scans runs on files of their names and layouts, and on the scans themselves."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.coils import simulate_maps
from invdiff.data.masks_points import poisson_mask
from invdiff.data.phantom import head_phantom
from invdiff.data.synthetic import centred_fft2, write_synthetic_fastmri
from invdiff.data.trajectories import radial
from invdiff.operators import NonCartesianMRI
from tests.recipes.test_noncartesian_recipes import run

pytestmark = pytest.mark.slow
N = 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small phantoms in the layouts of the four files."""
    sizes = {"shape": (N, N), "slices": 1, "sigma": 0.01}
    write_synthetic_fastmri(tmp_path / "brain_t1_7ch.h5", coils=7, **sizes)
    with h5py.File(write_synthetic_fastmri(tmp_path / "brain_8ch_poisson.h5", coils=8, **sizes), "r+") as file:
        mask = poisson_mask((N, N), 4, (16, 16)).numpy()
        file["kspace"][...] = np.where(mask, file["kspace"][...], 0)
        file["mask"] = mask
    with h5py.File(write_synthetic_fastmri(tmp_path / "phantom_gre_16ch.h5", coils=16, **sizes), "r+") as file:
        file["kspace_body_coil"] = centred_fft2(file_image(file) + 0j).numpy()
    k = radial(69, (N, N))
    op = NonCartesianMRI(k.flatten(0, 1), simulate_maps(6, (N, N)))
    y = op.simulate(head_phantom((N, N)).to(torch.complex64)[None, None], 0.02)
    with h5py.File(tmp_path / "phantom_radial_16ch.h5", "w") as file:
        file["kspace"], file["trajectory"] = y[0].unflatten(1, k.shape[:2]).numpy(), k.numpy()
    return tmp_path


def file_image(file: h5py.File) -> torch.Tensor:
    """(1, 1, h, w)."""
    return torch.from_numpy(file["reconstruction_rss"][()])[None]


def rows(printed: str) -> list[list[str]]:
    """Cells of the table below its head."""
    lines = [line.strip("|").split("|") for line in printed.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines[1:]]


def test_small_files_of_the_same_layouts(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "figure.png"
    # 64 lines have 5 calibration lines at the recipe's share: too few, so the brain cases are those of the scans alone
    for title, count in (("Poisson", 4), ("body-coil", 3), ("radial", 6)):
        table = rows(run("measured_kspace.py", str(folder), "--out", str(out), "--only", title, "--set", "steps=2"))
        assert len(table) == count
        assert all(0.1 < float(chi2) < 4 for _, _, method, chi2, _, _ in table if method != "`dds`")
    assert out.stat().st_size > 10_000


def test_the_measured_phantom_with_body_coil_maps(data_folder: Path, tmp_path: Path) -> None:
    table = rows(
        run("measured_kspace.py", str(data_folder / "kspace"), "--out", str(tmp_path / "a.png"), "--only", "body")
    )
    assert [row[1:3] for row in table] == [["4.00x", f"`{method}`"] for method in ("cg", "tv", "wavelet")]
    assert all(0.5 < float(row[3]) < 2 for row in table)
    assert [float(row[4]) > bar for row, bar in zip(table, (27, 30, 30), strict=True)] == [True] * 3
