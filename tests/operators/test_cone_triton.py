"""The CUDA kernels of the cone beam against those for a CPU, in Triton's interpreter where there is no device."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from invdiff.operators import ConeBeamCT
from invdiff.operators.kernels.backend import using
from invdiff.testing import check_operator
from tests.operators.cases import CASES, random
from tests.operators.projectors import check_kernels, check_on_device

cone_triton = pytest.importorskip("invdiff.operators.kernels.cone_triton", exc_type=ImportError)

ANGLES = torch.tensor([0.2, 1.9], dtype=torch.float64)
NEAR: dict[str, Any] = {"source_distance": 14.0, "detector_distance": 6.0}
SCANS = {
    "cubes": lambda: ConeBeamCT(ANGLES, (5, 6, 7), 5, 9, **NEAR),
    "wide bins, off the axis": lambda: ConeBeamCT(
        ANGLES,
        (4, 5, 6),
        2,
        4,
        pixel=(1.5, 1.0, 1.3),
        bin_width=3.1,
        row_height=4.5,
        offset=(0.25, -0.5),
        center=(0.5, -1.0, 0.5),
        **NEAR,
    ),
    "one row": lambda: ConeBeamCT(ANGLES[:1], (3, 5, 5), 1, 8, **NEAR),
}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where the kernels run."""
    if request.param == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("kernels are compiled here; the interpreter needs TRITON_INTERPRET=1")
    return torch.device(request.param)


@pytest.mark.parametrize("name", SCANS)
def test_kernels_agree_with_those_of_the_cpu(name: str, device: torch.device) -> None:
    op = SCANS[name]()
    x, y = random(2, *op.shape_in), random(2, *op.shape_out)
    wanted = op(x), op.adjoint(y)
    op = op.to(device)
    with using("triton"):
        assert op.kernels == "triton"
        found = op(x.to(device)), op.adjoint(y.to(device))
    for a, b in zip(found, wanted, strict=True):
        assert float((a.cpu() - b).abs().max() / b.abs().max()) < 1e-5  # observed 1e-6
    dot = (found[0].cpu().double() * y).sum(), (found[1].cpu().double() * x).sum()
    assert abs(float(dot[0] - dot[1])) < 1e-6 * float(found[0].norm().cpu() * y.norm())


@pytest.mark.parametrize("wrong", ["reach", "_climb", "_levels"])
def test_comparison_sees_a_missed_ray(wrong: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few rays or heights per voxel, or slices in another place."""
    op = SCANS["cubes"]().to(device)
    y = random(1, *op.shape_out).to(device)
    right = getattr(cone_triton, wrong)
    fault = (lambda *a: right(*a) + 0.5) if wrong == "_levels" else (lambda *a: right(*a) - 2)
    monkeypatch.setattr(cone_triton, wrong, fault)
    with using("triton"):
        found = op.adjoint(y)
    with using("torch"):
        wanted = op.adjoint(y)
    assert float((found - wanted).abs().max() / wanted.abs().max()) > 0.03


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("Cone")])
def test_contract_on_a_device(name: str) -> None:
    check_operator(CASES[name]().to("cuda"))


@pytest.mark.cuda
def test_a_real_size_on_a_device() -> None:
    """Against the CPU at 64 x 128 x 128, the same twice, and transposed."""
    angles = torch.linspace(0, 6.2, 40, dtype=torch.float64)
    op = ConeBeamCT(angles, (64, 128, 128), 80, 220, source_distance=400.0, detector_distance=300.0)
    check_on_device(op, 2)


KERNELS = """
from invdiff.operators.kernels.cone_triton import ACROSS, HEIGHTS, adjoint_kernel, project_kernel

POINTERS = ("x", "start", "step", "depth", "change", "slopes", "levels", "y", "turns", "scan")
BLOCKS = {"ACROSS": ACROSS, "HEIGHTS": HEIGHTS}
for real in ("fp32", "fp64"):
    ptx(project_kernel, POINTERS, real, **BLOCKS)
    ptx(adjoint_kernel, POINTERS, real, REACH=3, CLIMB=3, SLACK=0.05, **BLOCKS)
"""


@pytest.mark.slow
def test_compiles_for_a_device_without_one(tmp_path: Path) -> None:
    """Without spills."""
    check_kernels(KERNELS, tmp_path)
