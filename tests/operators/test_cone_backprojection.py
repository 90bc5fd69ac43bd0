"""The compiled backprojection of a cone beam against the plain one: sizes, shifts, precisions, threads, gradients."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invdiff.operators import cone_backprojection
from invdiff.operators.cone_backprojection import backproject_cone, reference
from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.kernels import threads
from invdiff.operators.kernels.backend import using
from invdiff.solvers.fdk import fdk
from tests.operators.cases import random

WHOLE = ConeGeometry(
    [0.1 + i * math.pi / 5 for i in range(11)],
    (7, 9, 13),
    15,
    27,
    source_distance=90.0,
    detector_distance=40.0,
    bin_width=1.7,
    row_height=1.9,
)
SKEWED = replace(WHOLE, pixel=(1.2, 1.0, 1.3), center=(1.0, 2.0, -1.5), offset=(0.75, 0.25))
GEOMETRIES = {
    "all within the detector": WHOLE,
    "voxels of three sides, off the axis": SKEWED,
    "detector shifted past the volume's middle": replace(SKEWED, offset=(-8.5, 9.0)),
    "rays beyond its ends": replace(SKEWED, rows=3, bins=5),
    "one row and one slice": replace(WHOLE, shape=(1, 9, 6), rows=1),
    "rows lower than slices": replace(SKEWED, rows=61, row_height=0.4, bins=90, bin_width=0.5),
}


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def projections(geometry: ConeGeometry, dtype: torch.dtype = torch.float32) -> Tensor:
    return random(2, 3, geometry.views, geometry.rows, geometry.bins, dtype=dtype)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_kernel_agrees_with_plain_torch(name: str) -> None:
    geometry = GEOMETRIES[name]
    for dtype, bar in ((torch.float32, 2e-5), (torch.float64, 1e-13)):  # places round differently: observed 4e-6, 8e-15
        q = projections(geometry, dtype)
        found, wanted = backproject_cone(q, geometry), reference(q, geometry)
        assert found.dtype == dtype
        assert found.shape == (2, 3, *geometry.shape)
        assert found.is_contiguous()
        assert relative(found, wanted) < bar
        with using("torch"):
            assert torch.equal(backproject_cone(q, geometry), wanted)


def test_shifted_and_small_detectors_miss_voxels() -> None:
    """Cases above in which a kernel that reads beyond a detector's end would differ."""
    for name in ("detector shifted past the volume's middle", "rays beyond its ends"):
        geometry = GEOMETRIES[name]
        seen = reference(torch.ones_like(projections(geometry)), geometry)
        assert float(seen.min()) < 0.5 * float(seen.max())


@pytest.mark.parametrize(
    "change",
    [
        {"offset": (0.76, 0.25)},
        {"offset": (0.75, 0.26)},
        {"center": (1.02, 2.0, -1.5)},
        {"pixel": (1.21, 1.0, 1.3)},
        {"row_height": 1.92},
        {"source_distance": 90.5},
    ],
)
def test_the_comparison_sees_another_geometry(change: dict[str, float]) -> None:
    q = projections(SKEWED, torch.float64)
    assert relative(backproject_cone(q, replace(SKEWED, **change)), reference(q, SKEWED)) > 1e-3


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    q = projections(SKEWED)
    alone = backproject_cone(q, SKEWED)
    monkeypatch.setattr(threads, "ALONE", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(backproject_cone(q, SKEWED), alone)
    assert torch.equal(backproject_cone(q[1:], SKEWED), alone[1:])


def test_projections_need_not_be_contiguous() -> None:
    q = projections(SKEWED)
    turned = q.mT.contiguous().mT
    assert not turned.is_contiguous()
    assert torch.equal(backproject_cone(turned, SKEWED), backproject_cone(q, SKEWED))


def test_reconstructions_are_the_same() -> None:
    p = projections(SKEWED, torch.float64)[:, :1]
    with using("torch"):
        wanted = fdk(p, SKEWED, "hann")
    assert relative(fdk(p, SKEWED, "hann"), wanted) < 1e-13


def test_gradients_and_other_precisions_take_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(SKEWED, shape=(2, 3, 2), rows=3, bins=5, angles=SKEWED.angles[:2])
    q = projections(small, torch.float64)[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda q: backproject_cone(q, small), q)
    half = backproject_cone(q.detach().half(), small)
    assert relative(half, backproject_cone(q.detach(), small)) < 1e-2  # of places between bins: 5e-4 of 5
    taken = []
    monkeypatch.setattr(cone_backprojection, "reference", lambda q, _: taken.append(q.dtype))
    backproject_cone(q.detach().half(), small)
    backproject_cone(q, small)
    backproject_cone(q.detach(), small)
    assert taken == [torch.float16, torch.float64]
