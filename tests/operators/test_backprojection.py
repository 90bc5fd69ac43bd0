"""The compiled backprojection against the plain one: beams, precisions, threads, gradients."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invdiff.operators import backprojection
from invdiff.operators.backprojection import backproject, reference
from invdiff.operators.ct_geometry import FanGeometry, Geometry, ParallelGeometry
from invdiff.operators.kernels import threads
from invdiff.operators.kernels.backend import using
from tests.operators.cases import random

ANGLES = [0.1 + i * math.pi / 7 for i in range(14)]
OPTIONS = {"bin_width": 1.7, "pixel": (1.0, 1.3), "offset": 0.25, "center": (2.0, -1.0)}
FAN = {"source_distance": 90.0, "detector_distance": 40.0}
GEOMETRIES: dict[str, Geometry] = {
    "parallel": ParallelGeometry(ANGLES, (21, 34), 19, **OPTIONS),  # shorter than the image: rays beyond its ends
    "flat": FanGeometry(ANGLES, (21, 34), 25, detector="flat", **OPTIONS, **FAN),
    "curved": FanGeometry(ANGLES, (21, 34), 25, detector="curved", **OPTIONS, **FAN),
}


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("beam", GEOMETRIES)
def test_the_kernel_agrees_with_plain_torch(beam: str) -> None:
    geometry = GEOMETRIES[beam]
    for dtype, bar in ((torch.float32, 1e-5), (torch.float64, 1e-13)):  # places round differently: observed 1e-6, 1e-15
        q = random(2, 3, geometry.views, geometry.bins, dtype=dtype)
        found = backproject(q, geometry)
        assert found.dtype == dtype
        assert relative(found, reference(q, geometry)) < bar
        with using("torch"):
            assert torch.equal(backproject(q, geometry), reference(q, geometry))


def test_the_comparison_sees_another_geometry() -> None:
    q = random(1, 1, 14, 25)
    curved, flat = GEOMETRIES["curved"], GEOMETRIES["flat"]
    assert relative(backproject(q, curved), reference(q, flat)) > 1e-2
    assert relative(backproject(q, curved), reference(q, replace(curved, offset=0.26))) > 1e-3


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = GEOMETRIES["flat"]
    q = random(2, 1, geometry.views, geometry.bins)
    alone = backproject(q, geometry)
    monkeypatch.setattr(threads, "ALONE", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(backproject(q, geometry), alone)
    assert torch.equal(backproject(q[1:], geometry), alone[1:])


def test_gradients_and_other_precisions_take_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = GEOMETRIES["parallel"]
    q = random(1, 1, geometry.views, geometry.bins, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: backproject(q, geometry), q)
    taken = []
    monkeypatch.setattr(backprojection, "reference", lambda q, _: taken.append(q.dtype))
    backproject(q.detach().half(), geometry)
    backproject(q.detach(), geometry)
    assert taken == [torch.float16]
