"""The CUDA kernels against those for a CPU, in Triton's interpreter where there is no device: tiny, for it is slow."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from invdiff.operators import FanBeamCT, ParallelBeamCT
from invdiff.operators.ct import Projector
from invdiff.operators.kernels.backend import using
from invdiff.testing import check_operator
from tests.operators.cases import CASES, random
from tests.operators.projectors import check_kernels, check_on_device

joseph_triton = pytest.importorskip("invdiff.operators.kernels.joseph_triton", exc_type=ImportError)

ANGLES = torch.tensor([0.2, 1.9], dtype=torch.float64)
FAN = {"source_distance": 11.0, "detector_distance": 6.0}
SCANS = {
    "parallel": lambda: ParallelBeamCT(ANGLES, (6, 9)),
    "parallel, wide bins": lambda: ParallelBeamCT(ANGLES, (6, 5), 4, pixel=(1, 1.3), bin_width=2.3, offset=0.25),
    "fan": lambda: FanBeamCT(ANGLES, (6, 7), 9, bin_width=2.5, center=(0.5, -1.0), **FAN),
    "fan, curved": lambda: FanBeamCT(ANGLES, (6, 7), 9, detector="curved", offset=-0.25, **FAN),
}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where the kernels run."""
    if request.param == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("kernels are compiled here; the interpreter needs TRITON_INTERPRET=1")
    return torch.device(request.param)


@pytest.mark.parametrize("name", SCANS)
def test_kernels_agree_with_those_of_the_cpu(name: str, device: torch.device) -> None:
    op: Projector = SCANS[name]()
    x, y = random(2, *op.shape_in), random(2, *op.shape_out)
    wanted = op(x), op.adjoint(y)
    op = op.to(device)
    with using("triton"):
        assert op.kernels == "triton"
        found = op(x.to(device)), op.adjoint(y.to(device))
    for a, b in zip(found, wanted, strict=True):
        assert float((a.cpu() - b).abs().max()) < 1e-5  # observed 1e-6
    dot = (found[0].cpu().double() * y).sum(), (found[1].cpu().double() * x).sum()
    assert abs(float(dot[0] - dot[1])) < 1e-6 * float(found[0].norm().cpu() * y.norm())


@pytest.mark.parametrize("wrong", ["reach", "detector"])
def test_comparison_sees_a_missed_ray(wrong: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """One ray fewer per pixel, or looked for at the wrong bin."""
    op = ParallelBeamCT(ANGLES, (6, 9)).to(device)
    y = random(1, *op.shape_out).to(device)
    right = getattr(joseph_triton, wrong)
    fault = {"reach": lambda *a: right(*a) - 2, "detector": lambda *a: right(*a) + 1.0}[wrong]
    monkeypatch.setattr(joseph_triton, wrong, fault)
    with using("triton"):
        found = op.adjoint(y)
    with using("torch"):
        assert float((found - op.adjoint(y)).abs().max()) > 0.1


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("Parallel", "Fan")) and "BeamCT" in name])
def test_contract_on_a_device(name: str) -> None:
    check_operator(CASES[name]().to("cuda"))


@pytest.mark.cuda
@pytest.mark.parametrize("detector", ["parallel", "flat", "curved"])
def test_a_real_size_on_a_device(detector: str) -> None:
    """Against the CPU at 256 x 256, the same twice, and transposed."""
    angles = torch.linspace(0, 6.2, 90, dtype=torch.float64)
    if detector == "parallel":
        op: Projector = ParallelBeamCT(angles, (256, 256))
    else:
        op = FanBeamCT(angles, (256, 256), 500, detector=detector, source_distance=400.0, detector_distance=300.0)
    check_on_device(op, 5)


KERNELS = """
from invdiff.operators.kernels.joseph_triton import BLOCK, LANES, adjoint_kernel, project_kernel

POINTERS = ("x", "start", "step", "weight", "y", "turns", "scan")
BLOCKS = {"LANES": LANES, "BLOCK": BLOCK}
for real in ("fp32", "fp64"):
    texts = [ptx(project_kernel, POINTERS, real, per_bin=1, **BLOCKS), ptx(project_kernel, POINTERS, real, **BLOCKS)]
    for fan, curved in ((False, False), (True, False), (True, True)):
        ways = {"REACH": 3, "SLACK": 0.05, "FAN": fan, "CURVED": curved}
        texts.append(ptx(adjoint_kernel, POINTERS, real, **ways, **BLOCKS))
    for text in texts:
        assert real == "fp64" or "ld.global.v4" in text
"""


@pytest.mark.slow
def test_compiles_for_a_device_without_one(tmp_path: Path) -> None:
    """Four images in one load of 16 bytes; no spills."""
    check_kernels(KERNELS, tmp_path)
