"""Line integrals of discs, ellipses and blobs in known places; kernels against the reference; messages."""

import copy
import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.data.ellipses import Ellipse, eight_ellipses, ellipse_image, line_integrals, strip_means
from invdiff.operators import FanBeamCT, ParallelBeamCT
from invdiff.operators.ct import Projector
from invdiff.operators.ct_geometry import ParallelGeometry
from invdiff.operators.kernels import joseph_numba, projection, threads
from invdiff.operators.kernels.backend import using
from tests.operators.cases import ANGLES, CASES, random
from tests.operators.projectors import check_compiled

SCANS = [name for name in CASES if name.startswith(("Parallel", "Fan")) and "matrix" not in name]
FAN = {"source_distance": 500.0, "detector_distance": 400.0}


def half_turn(views: int) -> Tensor:
    return torch.arange(views, dtype=torch.float64) * math.pi / views


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def exact(op: Projector, ellipses: list[Ellipse], samples: int = 8) -> Tensor:
    """Means over the bins of the true line integrals, (view, bin); one geometry formula, that of `ct_geometry`."""
    u = op.geometry.detector_positions(samples)
    t = torch.tensor(op.geometry.angles, dtype=torch.float64)[:, None] - op.geometry.fan_angles(u)
    return line_integrals(ellipses, t, op.geometry.distances(u)).unflatten(1, (-1, samples)).mean(-1)


@pytest.mark.parametrize(("n", "views", "bar"), [(256, 90, 0.7e-2), (512, 60, 0.35e-2)])
def test_ellipses(n: int, views: int, bar: float) -> None:
    ellipses = eight_ellipses(0.475 * n)
    op = ParallelBeamCT(half_turn(views), (n, n))
    wanted = strip_means(ellipses, half_turn(views)[:, None], op.geometry.detector_positions(), 1.0)
    found = op(ellipse_image(ellipses, (n, n)).float()[None, None])[0, 0]
    assert relative(found, wanted) < bar  # observed 0.36 % and 0.18 %
    assert relative(found.roll(1, -1), wanted) > 5 * bar


@pytest.mark.parametrize("detector", ["flat", "curved"])
def test_ellipses_in_a_fan(detector: str) -> None:
    """A detector offset, pixels twice as wide as high and an image off the axis, all in mm."""
    pixel, center = (0.5, 1.0), (4.0, -6.0)
    op = FanBeamCT(
        2 * half_turn(40),
        (360, 180),
        260,
        detector=detector,
        pixel=pixel,
        bin_width=1.5,
        offset=7.25,
        center=center,
        **FAN,
    )
    ellipses = eight_ellipses(80.0)
    x = ellipse_image(ellipses, (360, 180), pixel, center, samples=4).float()[None, None]
    assert relative(op(x)[0, 0], exact(op, ellipses)) < 0.6e-2


@pytest.mark.parametrize("width", [2.0, 4.0])
def test_wide_bins(width: float) -> None:
    """One ray per bin would be off by 0.6 % and 2.4 %, with ripples of 4 % and 11 % in A'1."""
    n, views = 256, 90
    ellipses = eight_ellipses(0.475 * n)
    op = ParallelBeamCT(half_turn(views), (n, n), bin_width=width)
    wanted = strip_means(ellipses, half_turn(views)[:, None], op.geometry.detector_positions(), width)
    assert relative(op(ellipse_image(ellipses, (n, n)).float()[None, None])[0, 0], wanted) < 0.4e-2
    spread = op.adjoint(torch.ones(1, *op.shape_out))[..., 64:192, 64:192]
    ripple = spread[..., 4:-4, 4:-4] - torch.nn.functional.avg_pool2d(spread, 9, 1)
    assert float(ripple.std() / spread.mean()) < 1e-2


@pytest.mark.parametrize("name", ["parallel", "flat", "curved"])
def test_strips(name: str) -> None:
    """The strip model against ellipses, and on constant images against areas."""
    n, views, width = 64, 12, 1.7
    if name == "parallel":
        op: Projector = ParallelBeamCT(half_turn(views), (n, n), bin_width=width, model="strip")
    else:
        fan = {"source_distance": 130.0, "detector_distance": 65.0, "bin_width": width, "detector": name}
        op = FanBeamCT(2 * half_turn(views), (n, n), 95, model="strip", **fan)
    ellipses = eight_ellipses(0.475 * n)
    x = ellipse_image(ellipses, (n, n)).float()[None, None]
    assert relative(op(x)[0, 0], exact(op, ellipses, 32)) < 2.5e-2  # one pixel is 1/64 of the image
    if name == "parallel":
        area = torch.full((views,), 0.02 * n * n)
        torch.testing.assert_close(op(torch.full((1, 1, n, n), 0.02))[0, 0].sum(-1) * width, area)


def test_smooth_image() -> None:
    """Gaussian blobs, whose line integrals are Gaussians."""
    n, views, width = 256, 60, 12.0
    places = [(-60.0, 30.0, 1.0), (20.0, -50.0, 0.7), (75.0, 60.0, -0.5)]
    op = ParallelBeamCT(half_turn(views), (n, n))
    y, x = op.geometry.coordinates()
    image = sum(v * torch.exp(-((x - a) ** 2 + (y[:, None] - b) ** 2) / (2 * width**2)) for a, b, v in places)
    t, s = half_turn(views)[:, None], op.geometry.detector_positions()
    norm = width * math.sqrt(2 * math.pi)
    wanted = sum(v * norm * torch.exp(-((s - a * t.cos() - b * t.sin()) ** 2) / (2 * width**2)) for a, b, v in places)
    assert isinstance(image, Tensor)
    assert isinstance(wanted, Tensor)
    assert relative(op(image.float()[None, None])[0, 0], wanted) < 0.12e-2


def test_places_and_signs() -> None:
    """A pixel right of the axis is at positive s in view 0; one above it at positive s in view pi / 2."""
    op = ParallelBeamCT([0.0, math.pi / 2], (9, 9), 9)
    x = torch.zeros(2, 1, 9, 9)
    x[0, 0, 4, 7] = x[1, 0, 1, 4] = 1
    y = op(x)
    assert y[0, 0].argmax(-1).tolist() == [7, 4]
    assert y[1, 0].argmax(-1).tolist() == [4, 7]
    torch.testing.assert_close(y.sum((-1, -3)), torch.ones(2, 2))


def test_units() -> None:
    """A slab of 0.02 per mm and 10 mm gives 0.2, whatever the pixels."""
    for pixel in ((1.0, 1.0), (0.5, 2.0)):
        shape = (int(10 / pixel[0]), 40)
        op = ParallelBeamCT([0.0], shape, 5, pixel=pixel)
        torch.testing.assert_close(op(torch.full((1, 1, *shape), 0.02)), torch.full((1, 1, 1, 5), 0.2))


def test_far_source_is_a_parallel_beam() -> None:
    x = random(1, 1, 24, 24)
    parallel = ParallelBeamCT(ANGLES, (24, 24), 35)(x)
    for detector in ("flat", "curved"):
        fan = FanBeamCT(ANGLES, (24, 24), 35, source_distance=1e6, detector_distance=0.0, detector=detector)
        assert relative(fan(x), parallel) < 1e-3


def test_quarter_shift_interleaves_opposite_views() -> None:
    op = ParallelBeamCT([0.3, 0.3 + math.pi], (32, 32), 47, offset=0.25)
    s = op.geometry.detector_positions()
    assert sorted([*s.tolist(), *(-s).tolist()]) == pytest.approx(torch.arange(-23.25, 23.3, 0.5).tolist())
    plain = ParallelBeamCT([0.3, 0.3 + math.pi], (32, 32), 47)
    y = plain(random(1, 1, 32, 32))[0, 0]
    torch.testing.assert_close(y[0], y[1].flip(-1), rtol=1e-4, atol=1e-3)  # without it they see the same lines


@pytest.mark.parametrize("name", SCANS)
def test_kernels_agree_with_the_reference(name: str) -> None:
    op = CASES[name]()
    assert isinstance(op, Projector)
    for dtype, bar in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        for batch in (1, 3, 11):  # alone; one pack of eight; two packs
            x = random(batch, *op.shape_in, dtype=dtype)
            y = random(batch, *op.shape_out, dtype=dtype)
            with using("torch"):
                wanted = op(x), op.adjoint(y)
            with using("numba"):
                found = op(x), op.adjoint(y)
            assert relative(found[0], wanted[0]) < bar
            assert relative(found[1], wanted[1]) < bar


@pytest.mark.parametrize("wrong", ["step", "weight"])
def test_comparison_sees_a_wrong_ray(wrong: str) -> None:
    op = ParallelBeamCT(ANGLES, (9, 7))
    other = copy.deepcopy(op)
    other.scan[3 if wrong == "step" else 2] *= 1.001
    x = random(1, *op.shape_in)
    assert relative(other(x), op(x)) > 1e-4


@pytest.mark.parametrize("batch", [1, 5])
def test_threads_change_nothing(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither values, to the bit, nor what torch is set to."""
    op = FanBeamCT(ANGLES, (70, 50), 60, source_distance=90.0, detector_distance=20.0)
    x, y = random(batch, *op.shape_in), random(batch, *op.shape_out)
    before = torch.get_num_threads()
    alone = op(x), op.adjoint(y)
    monkeypatch.setattr(threads, "ALONE", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    started = threading.active_count()
    together = op(x), op.adjoint(y)
    monkeypatch.undo()
    assert threading.active_count() == started
    assert torch.equal(alone[0], together[0])
    assert torch.equal(alone[1], together[1])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("start", "step", "length"), [(3.2, 0.5, 9), (30.0, -0.9, 9), (-4.0, 0.0, 9), (2.0, 0.0, 9)])
def test_lines_that_a_ray_crosses(start: float, step: float, length: int) -> None:
    inside = {i for i in range(40) if -1 < start + i * step < length}
    found: set[int] = set()
    for first, last in ((0, 16), (16, 32), (32, 40), (48, 40)):
        low, high = joseph_numba.crossed(start, step, length, first, last)
        assert low <= high
        assert set(range(low, high)) <= set(range(first, last))
        found |= set(range(low, high))
    assert found == inside


def test_blocks_of_lines_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    op = ParallelBeamCT(ANGLES, (70, 50))
    x, y = random(1, *op.shape_in), random(1, *op.shape_out)
    whole = op(x), op.adjoint(y)
    monkeypatch.setattr(joseph_numba, "BLOCK_BYTES", 1)  # sixteen lines at a time
    assert relative(op(x), whole[0]) < 1e-6  # sums of parts
    assert torch.equal(op.adjoint(y), whole[1])


@pytest.mark.parametrize("name", ["ParallelBeamCT wide bins", "FanBeamCT curved"])
def test_torch_operators_keep_their_promises(name: str) -> None:
    op = CASES[name]().double()
    assert isinstance(op, Projector)
    x = random(2, *op.shape_in[1:], dtype=torch.float64).requires_grad_()
    y = random(2, *op.shape_out[1:], dtype=torch.float64).requires_grad_()
    torch.library.opcheck(torch.ops.invdiff.project.default, (x, *op.rays))
    torch.library.opcheck(torch.ops.invdiff.project_adjoint.default, (y, *op.rays, list(op.shape_in[1:])))
    assert torch.autograd.gradcheck(lambda x: projection.project(x, op.rays), x)
    assert torch.autograd.gradgradcheck(lambda x: projection.project(x, op.rays), x)


def test_compiled_code_has_no_breaks() -> None:
    check_compiled(ParallelBeamCT(ANGLES, (9, 7)))


def test_vmap_is_a_batch() -> None:
    op = ParallelBeamCT(ANGLES, (9, 7))
    x = random(4, 2, 9, 7)
    found = torch.func.vmap(lambda x: projection.project(x, op.rays), in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(found, op(x.flatten(0, 1)[:, None]).reshape(4, 2, *op.shape_out[1:]))
    with pytest.raises(ValueError, match="not over its geometry"):
        torch.func.vmap(lambda views: projection.project(x[0], op.rays._replace(views=views)))(op.rays.views[None])


def test_geometry_keeps_double_precision_wherever_it_goes() -> None:
    op = ParallelBeamCT(ANGLES, (9, 7))
    x = random(1, *op.shape_in, dtype=torch.float64)
    wanted = op(x)
    assert torch.equal(op.to(torch.float32).to(torch.float64)(x), wanted)
    assert op.dtype_in == torch.float64


def test_support_is_what_some_ray_sees() -> None:
    assert ParallelBeamCT(half_turn(6), (16, 16)).support is None
    assert ParallelBeamCT(half_turn(60), (16, 16), 16).support is None  # corners are seen edge-on
    op = ParallelBeamCT([0.0, 0.1], (16, 16), 4)
    seen = op.adjoint(torch.ones(1, *op.shape_out))[0] > 0
    assert op.support is not None
    assert bool((op.support >= seen).all())
    assert int((op.support & ~seen).sum()) <= 3 * 16  # a margin of a pixel, and half a bin
    fan = FanBeamCT([0.0], (16, 16), 4, source_distance=20.0, detector_distance=10.0)
    assert fan.support is not None
    assert bool((fan.support >= (fan.adjoint(torch.ones(1, *fan.shape_out))[0] > 0)).all())


def test_nothing_stored_grows_with_views_times_pixels() -> None:
    op = ParallelBeamCT(half_turn(360), (512, 512))
    assert sum(b.numel() * b.element_size() for b in op.buffers()) < 30_000


def test_kernels_are_inspectable() -> None:
    op = ParallelBeamCT(ANGLES, (9, 7))
    assert op.kernels == "numba"
    with using("torch"):
        assert op.kernels == "torch"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles": [0.0, 90.0]}, "look like degrees"),
        ({"angles": [[0.0]]}, r"\(view,\), got \(1, 1\)"),
        ({"angles": [0.0, math.nan]}, "1 of the 2 angles are not finite"),
        ({"bins": 0}, "bins must be a positive whole number"),
        ({"bins": 2.5}, "bins must be a positive whole number"),
        ({"pixel": 0.0}, "pixel is a length in mm and must be positive"),
        ({"pixel": (1, 1, 1)}, r"one size or \(dy, dx\)"),
        ({"bin_width": -1.0}, "bin_width is a length in mm and must be positive"),
        ({"bin_width": 0.0}, "bin_width is a length in mm and must be positive"),
        ({"bin_width": 0.0, "bins": None}, "bin_width is a length in mm and must be positive"),
        ({"offset": math.inf}, "offset must be a finite number"),
        ({"offset": 300.0}, "no ray meets the image"),
        ({"center": (0.0, 500.0), "bins": 1, "angles": [0.0]}, None),
        ({"center": (0.0,)}, "two numbers"),
        ({"shape": (9,)}, r"\(H, W\) or \(C, H, W\)"),
    ],
)
def test_bad_parallel_geometry_has_its_own_sentence(change: dict[str, Any], message: str | None) -> None:
    arguments: dict[str, Any] = {"angles": ANGLES, "shape": (9, 7), "bins": 11} | change
    if message is None:  # a far region may be seen at other angles; its distance is no error
        ParallelBeamCT(**arguments)
        return
    with pytest.raises(ValueError, match=message):
        ParallelBeamCT(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles": [0.0, 45.0]}, "look like degrees"),
        ({"pixel": (1.0, 0.0)}, "pixel is a length in mm and must be positive"),
        ({"bins": 0}, "bins must be a positive whole number"),
        ({"source_distance": 5.0}, "source lies inside the image"),
        ({"source_distance": 0.0}, "source lies inside the image"),
        ({"detector_distance": -1.0}, "measured from the axis"),
        ({"detector": "round"}, "'flat' or 'curved', got 'round'"),
        ({"detector": "curved", "bins": 4000}, "more than half a circle"),
        ({"source_distance": math.nan}, "source_distance must be a finite number"),
    ],
)
def test_bad_fan_geometry_has_its_own_sentence(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"angles": ANGLES, "shape": (9, 7), "bins": 11, "bin_width": 1.0}
    arguments |= {"source_distance": 20.0, "detector_distance": 10.0} | change
    with pytest.raises(ValueError, match=message):
        FanBeamCT(**arguments)


def test_wrong_sinograms_and_precisions_are_refused() -> None:
    op = ParallelBeamCT(ANGLES, (9, 7), 11)
    with pytest.raises(ValueError, match=r"is \(bin, view\), 11 x 5; use y.mT"):
        op.adjoint(torch.zeros(1, 1, 11, 5))
    with pytest.raises(ValueError, match="has 5 views of 11 bins and the sinogram is"):
        op.adjoint(torch.zeros(1, 1, 5, 12))
    with pytest.raises(ValueError, match="has 5 views of 11 bins and the sinogram is"):
        invdiff.solve(torch.zeros(1, 1, 4, 11), op, method="fbp")
    with pytest.raises(ValueError, match=r"y takes \(B, 1, 5, 11\), got \(5, 11\)"):
        invdiff.solve(torch.zeros(5, 11), op, method="fbp")
    with pytest.raises(TypeError, match="float32 or float64, got"):
        op(torch.zeros(1, 1, 9, 7, dtype=torch.float16))


@pytest.mark.parametrize("model", ["joseph", "strip"])
def test_matrix_is_the_operator(model: str) -> None:
    arguments: dict[str, Any] = {"pixel": (1, 1.3), "bin_width": 2.3, "model": model}
    op, stored = (ParallelBeamCT(ANGLES, (9, 7), 5, mode=mode, **arguments) for mode in ("auto", "matrix"))
    x, y = random(3, *op.shape_in), random(3, *op.shape_out)
    torch.testing.assert_close(stored(x), op(x))
    torch.testing.assert_close(stored.adjoint(y), op.adjoint(y))
    assert stored.kernels == "matrix"
    with pytest.raises(TypeError, match=r"holds a matrix of torch.float32, got torch.float64. Move it"):
        stored(x.double())


def test_matrices_that_are_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match="mode='auto' stores none"):
        ParallelBeamCT(half_turn(1000), (2048, 2048), mode="matrix")


def test_unknown_models_and_modes() -> None:
    with pytest.raises(ValueError, match="'joseph' or 'strip', got 'siddon'"):
        ParallelBeamCT(ANGLES, (9, 7), model="siddon")
    with pytest.raises(ValueError, match="'auto' or 'matrix', got 'csr'"):
        ParallelBeamCT(ANGLES, (9, 7), mode="csr")


def test_geometries_are_values() -> None:
    one, two = (ParallelGeometry(a, (9, 7), 11, bin_width=1.0) for a in ((0.0, 0.5), torch.tensor([0.0, 0.5])))
    assert one == two
    assert len({one, two}) == 1
