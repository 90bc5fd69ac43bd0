"""The classical solvers against closed forms, an independent implementation, and the promises of every solver."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import sigpy as sp
import sigpy.mri.app as sigpy_mri
import torch
from torch import Tensor

import invdiff
from invdiff.operators import CartesianMRI, GaussianBlur, Identity, Inpainting, RealToComplex, stack
from invdiff.operators.base import LinearOperator
from invdiff.operators.gradient import Gradient
from invdiff.operators.undecimated import UndecimatedWavelet
from invdiff.operators.wavelet import Wavelet, rounded_up
from invdiff.random import streams
from invdiff.shapes import norm, over
from invdiff.solvers.adjoint import adjoint
from invdiff.solvers.cg import cg
from invdiff.solvers.fista import noise_gain
from invdiff.solvers.tv import denoise, tv
from invdiff.solvers.wavelet import penalised, shrink, wavelet

METHODS: dict[str, Callable[..., Tensor]] = {"adjoint": adjoint, "cg": cg, "wavelet": wavelet, "tv": tv}
SHORT: dict[str, dict[str, Any]] = {
    "adjoint": {},
    "cg": {"weight": 0.0, "stop": 1.0},
    "wavelet": {"iterations": 25},
    "tv": {"iterations": 25},
}
SIGMA = 0.02


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def disks(height: int, width: int, batch: int = 1) -> Tensor:
    """Piecewise constant real images in [0, 1], (batch, 1, height, width), each different."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    images = []
    for i in range(batch):
        large = ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1).float()
        small = ((x - 0.3 + 0.1 * i) ** 2 + (y - 0.1 * i) ** 2 < 0.09).float()
        images.append(0.6 * large + 0.4 * small)
    return torch.stack(images)[:, None]


def phased(x: Tensor) -> Tensor:
    rows = torch.linspace(-1, 1, x.shape[-2])[:, None]
    return x * torch.exp(1j * rows)


def coil_maps(coils: int, height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    angle = torch.arange(coils)[:, None, None] * (2 * torch.pi / coils)
    maps = torch.exp(-((x - 1.2 * angle.cos()) ** 2) / 1.5 - (y - 1.2 * angle.sin()) ** 2 / 1.5 + 1j * angle)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def lines(width: int, seed: int = 2) -> Tensor:
    mask = torch.rand(width, generator=torch.Generator().manual_seed(seed)) < 0.4
    mask[width // 2 - 2 : width // 2 + 3] = True
    return mask


def sense(height: int = 24, width: int = 21, coils: int = 4) -> CartesianMRI:
    return CartesianMRI(lines(width), coil_maps(coils, height, width))


def real_mri(height: int = 16, width: int = 15) -> LinearOperator:
    op = CartesianMRI(lines(width), shape=(height, width)) @ RealToComplex((1, height, width))
    assert isinstance(op, LinearOperator)
    return op


def blurred_twice() -> LinearOperator:
    op = stack(GaussianBlur(1.0, (3, 13, 18)), Inpainting(random(13, 18) > 0, shape=(3, 13, 18)))
    assert isinstance(op, LinearOperator)
    return op


CASES: dict[str, tuple[Callable[[], LinearOperator], Callable[[int], Tensor]]] = {
    "SENSE, odd": (sense, lambda b: phased(disks(24, 21, b))),
    "one coil, even": (lambda: CartesianMRI(lines(20), shape=(16, 20)), lambda b: phased(disks(16, 20, b))),
    "real image behind MRI": (real_mri, lambda b: disks(16, 15, b)),
    "stack, colour": (blurred_twice, lambda b: disks(13, 18, b).repeat(1, 3, 1, 1)),
    "tiny": (lambda: Identity((2, 1, 5)), lambda b: random(b, 2, 1, 5)),
}


def run(method: str | Callable[..., Tensor], y: Tensor, op: LinearOperator, **options: Any) -> Tensor:
    function = METHODS[method] if isinstance(method, str) else method
    noise, _ = streams(0, len(y))
    return function(y, op, None, noise=noise, callback=options.pop("callback", quiet), **options)


def quiet(i: int, total: int, **state: Any) -> None:
    pass


def level(method: str, batch: int, sigma: float | None = SIGMA) -> dict[str, Tensor]:
    return {} if method == "adjoint" or sigma is None else {"sigma_y": torch.full((batch,), sigma)}


def with_noise(op: LinearOperator, x: Tensor, sigma: Tensor) -> Tensor:
    """A x + noise, of another standard deviation in each sample."""
    noise = op.simulate(torch.zeros_like(x), 1.0)
    return op(x) + over(sigma, noise) * noise


def relative(a: Tensor, b: Tensor) -> float:
    return float((norm(a - b) / norm(b)).max())


def case(name: str, batch: int = 2) -> tuple[LinearOperator, Tensor, Tensor]:
    make, image = CASES[name]
    op, x = make(), image(batch)
    return op, x, op.simulate(x, SIGMA)


def batch_error(
    method: Callable[..., Tensor], y: Tensor, op: LinearOperator, sigma: Tensor, options: dict[str, Any]
) -> float:
    """Largest relative difference between items solved together and alone."""
    needs = method is not adjoint
    together = run(method, y, op, **({"sigma_y": sigma} if needs else {}), **options)
    alone = [
        run(method, y[i : i + 1], op, **({"sigma_y": sigma[i : i + 1]} if needs else {}), **options)
        for i in range(len(y))
    ]
    return relative(together, torch.cat(alone))


# What every solver promises


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_any_operator_gives_an_image_that_fits(method: str, name: str) -> None:
    op, x, y = case(name)
    out = run(method, y, op, **level(method, 2))
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert bool((norm(op(out) - y) < 0.5 * norm(y)).all())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_batch_of_four_is_four_of_one(method: str, name: str) -> None:
    """Also where samples stop at different times: their noise differs by a factor of 30."""
    op, x, _ = case(name, 4)
    sigma = torch.tensor([0.003, 0.01, 0.03, 0.1])
    y = with_noise(op, x, sigma)
    assert batch_error(METHODS[method], y, op, sigma, SHORT[method]) < 2e-5  # kernels round by batch size


def test_batch_error_sees_a_norm_over_the_batch() -> None:
    op, x, _ = case("SENSE, odd", 4)

    def coupled(y: Tensor, op: LinearOperator, *_: Any, sigma_y: Tensor, **options: Any) -> Tensor:
        return cg(y, op, sigma_y=sigma_y.mean().expand(len(y)), **options)

    sigma = torch.tensor([0.003, 0.01, 0.03, 0.1])
    assert batch_error(coupled, with_noise(op, x, sigma), op, sigma, {}) > 1e-3


@pytest.mark.parametrize("sigma", [SIGMA, None])
@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("method", METHODS)
def test_scaling_the_data_scales_the_image(method: str, factor: float, sigma: float | None) -> None:
    op, _, y = case("SENSE, odd")
    x = run(method, y, op, **level(method, 2, sigma))
    scaled = run(method, factor * y, op, **level(method, 2, None if sigma is None else factor * sigma))
    assert relative(scaled / factor, x) < 1e-4  # a hundred iterations of rounding at 6e-8


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("method", ["cg", "wavelet", "tv"])
def test_scaling_the_operator_scales_the_image_back(method: str, factor: float) -> None:
    op, _, y = case("SENSE, odd")
    x = run(method, y, op, **level(method, 2))
    assert relative(factor * run(method, y, factor * op, **level(method, 2)), x) < 1e-4


@pytest.mark.parametrize("sigma", [SIGMA, None])
@pytest.mark.parametrize("method", METHODS)
def test_no_data_no_image(method: str, sigma: float | None) -> None:
    op, _, y = case("SENSE, odd")
    assert not run(method, torch.zeros_like(y), op, **level(method, 2, sigma)).any()


@pytest.mark.parametrize("method", METHODS)
def test_callback_sees_every_step_and_the_true_misfit(method: str) -> None:
    op, _, y = case("SENSE, odd")
    seen: list[tuple[int, int, float]] = []

    def watch(i: int, total: int, *, x: Tensor, misfit: Tensor) -> None:
        seen.append((i, total, float(((misfit - norm(op(x) - y)) / norm(y)).abs().max())))

    run(method, y, op, callback=watch, **level(method, 2))
    assert [i for i, _, _ in seen] == list(range(len(seen)))
    assert len(seen) <= seen[0][1]
    assert {total for _, total, _ in seen} == {seen[0][1]}
    assert max(error for _, _, error in seen) < 2e-3  # |y|^2 rounds at 6e-8, its root at 2.4e-4 |y|


@pytest.mark.parametrize("method", METHODS)
def test_pixels_that_no_coil_sees_are_zero(method: str) -> None:
    maps = coil_maps(4, 24, 21)
    maps[..., :3] = 0
    op = CartesianMRI(lines(21), maps)
    x = run(method, op.simulate(phased(disks(24, 21)), SIGMA), op, **level(method, 1))
    assert not x[..., :3].any()
    assert bool(x[..., 3:].any())


@pytest.mark.parametrize("method", ["wavelet", "tv", "cg"])
def test_every_baseline_beats_the_adjoint(method: str) -> None:
    """Root-mean-square errors on 8 coils, 1 % noise, two fifths of the lines."""
    op, x = sense(48, 45, 8), phased(disks(48, 45, 2))
    y = op.simulate(x, 0.01)
    gain = norm(run("adjoint", y, op) - x) / norm(run(method, y, op, **level(method, 2, 0.01)) - x)
    assert float(gain.min()) > {"cg": 1.2, "wavelet": 3.0, "tv": 3.0}[method]


# Adjoint and conjugate gradients


def test_adjoint_scale_is_the_least_squares_one() -> None:
    op, _, y = case("SENSE, odd")
    plain, scaled = run("adjoint", y, op, scaled=False), run("adjoint", y, op)
    torch.testing.assert_close(plain, op.adjoint(y))
    for step in (0.99, 1.01):
        assert bool((norm(op(scaled) - y) < norm(op(step * scaled) - y)).all())
    assert relative(run("adjoint", y, 5 * op) * 5, scaled) < 1e-5


def test_adjoint_of_one_coil_is_the_zero_filled_image() -> None:
    op, _, y = case("one coil, even")
    assert relative(run("adjoint", y, op), op.adjoint(y)) < 1e-6


def test_cg_solves_the_regularised_normal_equations() -> None:
    op, _, y = case("real image behind MRI")
    n = int(torch.Size(op.shape_in).numel())
    columns = op.double().normal(torch.eye(n, dtype=torch.float64).reshape(n, *op.shape_in)).reshape(n, n)
    rho = 0.05 * op.norm() ** 2
    b = op.adjoint(y.to(torch.complex128)).reshape(2, n)
    direct = torch.linalg.solve(columns + rho * torch.eye(n), b.T).T.reshape(2, *op.shape_in)
    x = run("cg", y.to(torch.complex128), op, weight=0.05, iterations=200, tol=1e-10)
    assert relative(x, direct) < 1e-8


def test_cg_agrees_with_sigpy() -> None:
    op, _, y = case("SENSE, odd", 1)
    mask = lines(21).expand(24, 21).numpy().astype("float32")
    app = sigpy_mri.SenseRecon(
        y[0].numpy(), coil_maps(4, 24, 21).numpy(), weights=mask, lamda=0.01, max_iter=200, show_pbar=False
    )
    x = run("cg", y, op, weight=0.01 / op.norm() ** 2, iterations=200, tol=1e-7)
    assert relative(x, torch.from_numpy(app.run())[None, None]) < 1e-4


def test_cg_stops_each_sample_at_its_noise() -> None:
    op, x, _ = case("SENSE, odd", 1)
    sigma = torch.tensor([0.01, 0.1])
    y = with_noise(op, x.expand(2, -1, -1, -1), sigma)
    history: list[Tensor] = []
    out = run(
        "cg",
        y,
        op,
        sigma_y=sigma,
        weight=0.0,
        stop=1.0,
        callback=lambda i, total, *, x, misfit: history.append(misfit),
    )
    target = sigma * op.measured(True).sqrt()
    steps = (torch.stack(history) > target).sum(0) + 1
    assert int(steps[1]) < int(steps[0]) < 30
    assert bool((norm(op(out) - y) <= 1.001 * target).all())
    assert bool((torch.stack(history)[steps - 2, [0, 1]] > target)[steps > 1].all())


def test_measurements_are_counted_per_sample() -> None:
    mask = torch.stack((torch.ones(4, 6, dtype=torch.bool), torch.eye(4, 6, dtype=torch.bool)))
    op = CartesianMRI(mask, shape=(4, 6))
    assert op.measured(True).tolist() == [48, 8]


def test_auto_weight_of_cg_follows_the_noise() -> None:
    """Error within 25 % of that at the best of a grid of weights, from 0.5 to 5 % noise."""
    op, x = sense(48, 45, 8), phased(disks(48, 45))
    for sigma in (0.005, 0.02, 0.05):
        y = op.simulate(x, sigma)
        best = min(float(norm(run("cg", y, op, weight=10 ** (e / 2)) - x)) for e in range(-8, 0))
        assert float(norm(run("cg", y, op, **level("cg", 1, sigma)) - x)) < 1.25 * best


# Wavelets


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_wavelet_denoising_is_one_shrinkage(dtype: torch.dtype) -> None:
    y = random(2, 1, 16, 24, dtype=dtype)
    lam = 0.2 * y.abs().flatten(1).amax(1)
    transform = Wavelet((1, 16, 24), 3, 2)
    c = transform(y)
    threshold = over(lam, c) * penalised(transform, 2)
    wanted = torch.where(c.abs() > threshold, c - threshold * c / c.abs(), 0)
    wanted[..., :4, :6] = c[..., :4, :6]
    options = {"weight": 0.2, "moments": 3, "levels": 2, "shifts": False, "iterations": 200}
    x = run("wavelet", y, Identity((1, 16, 24)), **options)
    assert relative(x, transform.adjoint(wanted)) < 1e-5


def test_all_shifts_are_the_average_of_the_shifted_shrinkages() -> None:
    v, levels = random(1, 1, 8, 12, dtype=torch.float64), 2
    threshold = torch.tensor(0.3, dtype=torch.float64)
    one, every = Wavelet((1, 8, 12), 2, levels), UndecimatedWavelet((1, 8, 12), 2, levels)
    total = torch.zeros_like(v)
    for shift in ((a, b) for a in range(4) for b in range(4)):
        c = shrink(one(v.roll(shift, (-2, -1))), threshold * penalised(one, levels))
        total += one.adjoint(c).roll((-shift[0], -shift[1]), (-2, -1))
    torch.testing.assert_close(every.adjoint(shrink(every(v), threshold * penalised(every, levels))), total / 16)


@pytest.mark.parametrize("shifts", [True, False])
def test_translation_moves_the_result_with_all_shifts_only(shifts: bool) -> None:
    y = disks(16, 16) + 0.1 * random(1, 1, 16, 16)
    solve = functools.partial(run, "wavelet", op=Identity((1, 16, 16)), weight=0.1, shifts=shifts)
    moved = solve(y=y.roll((1, 3), (-2, -1)))
    assert (relative(moved, solve(y=y).roll((1, 3), (-2, -1))) < 1e-5) == shifts


# Total variation


def test_tv_of_a_step_moves_both_sides_together() -> None:
    """Rows are equal, so this is one-dimensional: each side moves by lam / its width towards the other."""
    step = torch.cat((torch.zeros(1, 1, 6, 4), torch.ones(1, 1, 6, 6)), dim=3)
    x = run("tv", step, Identity((1, 6, 10)), weight=0.6, iterations=300)
    wanted = torch.cat((torch.full((4,), 0.6 / 4), torch.full((6,), 1 - 0.6 / 6)))
    torch.testing.assert_close(x, wanted.expand(1, 1, 6, 10), atol=1e-4, rtol=0)


def test_large_weight_leaves_the_mean() -> None:
    y = random(2, 1, 9, 8)
    x = run("tv", y, Identity((1, 9, 8)), weight=20.0, iterations=300)
    torch.testing.assert_close(x, y.mean((-2, -1), keepdim=True).expand_as(x), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(2, 11, 8), (1, 5, 4, 6)])
def test_tv_denoiser_closes_the_duality_gap(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """P(x) - D(u) bounds the distance to the optimum; it is computed here from its definition."""
    v, s = random(2, *shape, dtype=dtype), torch.tensor([0.1, 0.5], dtype=torch.float64)
    gradient = Gradient(shape)
    x, dual = denoise(v, s, torch.zeros_like(gradient(v)), gradient, 2000)
    variation = torch.linalg.vector_norm(gradient(x), dim=(1, 2)).flatten(1).sum(1)
    primal = norm(x - v) ** 2 / 2 + s * variation
    at = gradient.adjoint(dual)
    best = (norm(v) ** 2 - norm(v - at) ** 2) / 2
    assert bool((torch.linalg.vector_norm(dual, dim=(1, 2)) <= over(s, v)[:, 0] + 1e-12).all())
    assert bool(((primal - best) / primal < 1e-4).all())
    assert bool((primal >= best - 1e-12).all())


def test_channels_share_their_edges() -> None:
    grey = disks(12, 12) + 0.1 * random(1, 1, 12, 12)
    options = {"weight": 0.1 / float(grey.abs().max()), "iterations": 200}
    one = run("tv", grey, Identity((1, 12, 12)), **options)
    two = run("tv", torch.cat((grey, torch.zeros_like(grey)), 1), Identity((2, 12, 12)), **options)
    torch.testing.assert_close(two[:, :1], one, atol=1e-5, rtol=0)
    assert not two[:, 1].any()


# The same objectives, minimised by SigPy's primal-dual algorithm


def linop(op: LinearOperator, name: str) -> Any:
    """An operator of ours as SigPy's, for one sample."""

    class Wrapped(sp.linop.Linop):  # type: ignore[misc]
        def __init__(self, forward: bool) -> None:
            self.forward = forward
            shapes = (list(op.shape_out), list(op.shape_in))
            super().__init__(*(shapes if forward else shapes[::-1]), repr_str=name)

        def _apply(self, x: Any) -> Any:
            return (op if self.forward else op.adjoint)(torch.from_numpy(x)[None])[0].numpy()

        def _adjoint_linop(self) -> Any:
            return Wrapped(not self.forward)

    return Wrapped(True)


class _Isotropic(sp.prox.Prox):  # type: ignore[misc]
    """Proximal map of lam sum |g| over pixels, with g (C, 2, H, W)."""

    def __init__(self, shape: tuple[int, ...], lam: float) -> None:
        self.lam = lam
        super().__init__(list(shape))

    def _prox(self, alpha: float, g: Any) -> Any:
        size = (abs(g) ** 2).sum((0, 1), keepdims=True) ** 0.5
        return g * (1 - self.lam * alpha / size.clip(min=self.lam * alpha))


def objective(x: Tensor, y: Tensor, op: LinearOperator, penalty: Callable[[Tensor], Tensor]) -> float:
    return float(norm(op(x) - y) ** 2 / 2 + penalty(x))


def sigpy_minimum(y: Tensor, op: LinearOperator, transform: LinearOperator, prox: Any) -> Tensor:
    app = sp.app.LinearLeastSquares(
        linop(op, "A"),
        y[0].numpy(),
        proxg=prox,
        G=linop(transform, "G"),
        max_iter=700,
        show_pbar=False,
    )
    return torch.from_numpy(app.run())[None]


@pytest.mark.parametrize("shape", [(24, 21), (16, 24)])
def test_tv_reaches_the_minimum_that_sigpy_finds(shape: tuple[int, int]) -> None:
    op = sense(*shape)
    y = op.simulate(phased(disks(*shape)), SIGMA)
    lam = 0.02 * float(op.adjoint(y).abs().max())
    gradient = Gradient((1, *shape))

    def penalty(x: Tensor) -> Tensor:
        return lam * torch.linalg.vector_norm(gradient(x), dim=(1, 2)).sum()

    theirs = sigpy_minimum(y, op, gradient, _Isotropic(gradient.shape_out, lam))
    ours = run("tv", y, op, weight=0.02)
    start = objective(op.adjoint(y), y, op, penalty)
    least = objective(theirs, y, op, penalty)
    assert objective(ours, y, op, penalty) < 1.001 * least < start
    assert relative(ours, theirs) < 0.01
    assert objective(run("tv", y, op, weight=0.03), y, op, penalty) > 1.001 * least  # the bar sees a wrong weight


def test_wavelet_reaches_the_minimum_that_sigpy_finds() -> None:
    op = sense(24, 16)
    y = op.simulate(phased(disks(24, 16)), SIGMA)
    lam = 0.02 * float(op.adjoint(y).abs().max())
    transform = Wavelet((1, 24, 16), 4, 2)
    share = lam * penalised(transform, 2)

    def penalty(x: Tensor) -> Tensor:
        return (share * transform(x).abs()).sum()

    theirs = sigpy_minimum(y, op, transform, sp.prox.L1Reg(list(transform.shape_out), share.numpy()))
    ours = run("wavelet", y, op, weight=0.02, moments=4, levels=2, shifts=False)
    start = objective(op.adjoint(y), y, op, penalty)
    assert objective(ours, y, op, penalty) < 1.001 * objective(theirs, y, op, penalty) < start
    assert relative(ours, theirs) < 0.01


def test_padded_sizes_solve_the_problem_with_free_pixels() -> None:
    """Height 13 is continued to 16: the result is optimal over images of 16 rows of which y sees 13."""
    shape, grid = (1, 13, 16), rounded_up((1, 13, 16), 3)
    y = disks(13, 16) + 0.1 * random(1, 1, 13, 16)
    seen = torch.zeros(grid[1:], dtype=torch.bool)
    seen[:13] = True
    options = {"weight": 0.05, "moments": 2, "levels": 3, "shifts": False, "iterations": 200}
    wide = run("wavelet", torch.nn.functional.pad(y, (0, 0, 0, 3)), Inpainting(seen, shape=grid), **options)
    assert relative(run("wavelet", y, Identity(shape), **options), wide[..., :13, :]) < 1e-5


# Weights and refusals


def test_noise_gain_is_the_noise_of_the_adjoint() -> None:
    op = sense(48, 45, 8)
    noise = op.simulate(torch.zeros(20, 1, 48, 45, dtype=torch.complex64), 1.0)
    per_component = (op.adjoint(noise).abs().square().mean() / 2).sqrt()
    assert float(noise_gain(op.adjoint(noise), op)[0]) == pytest.approx(float(per_component), rel=0.03)


@pytest.mark.parametrize("method", ["wavelet", "tv"])
def test_auto_weight_follows_the_noise(method: str) -> None:
    """Error within 20 % of that at the best of a grid of weights (factors of 2), from 0.5 to 5 % noise."""
    op, x = sense(32, 33), phased(disks(32, 33))
    for sigma in (0.005, 0.05):
        y = op.simulate(x, sigma)
        errors = {e: float(norm(run(method, y, op, weight=2.0**e) - x)) for e in (-9, -8, -6, -5, -3)}
        auto = float(norm(run(method, y, op, **level(method, 1, sigma)) - x))
        assert auto < 1.2 * min(errors.values())
        assert auto < 0.7 * max(errors.values())


@pytest.mark.parametrize("method", ["cg", "wavelet", "tv"])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"weight": -0.1}, r'weight must be "auto" or at least 0 .*, got -0.1'),
        ({"weight": float("nan")}, r'weight must be "auto" or at least 0 .*, got nan'),
        ({"weight": "best"}, r"weight must be \"auto\" or at least 0 .*, got 'best'"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
    ],
)
def test_refusals(method: str, option: dict[str, Any], message: str) -> None:
    op, _, y = case("SENSE, odd")
    with pytest.raises(ValueError, match=message):
        run(method, y, op, **option)


def test_more_refusals() -> None:
    op, _, y = case("SENSE, odd")
    with pytest.raises(ValueError, match="stop=1 compares the misfit with the noise: pass sigma_y"):
        run("cg", y, op, stop=1.0)
    with pytest.raises(ValueError, match="inner must be at least 1, got 0"):
        run("tv", y, op, inner=0)
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        run("wavelet", y, op, levels=0)
    with pytest.raises(ValueError, match="moments must be between 1 and 10, got 0"):
        run("wavelet", y, op, moments=0)


def test_volumes_are_refused_by_their_own_shape() -> None:
    op = Identity((1, 5, 6, 7))
    with pytest.raises(
        ValueError, match=r"wavelet does not work behind Identity: .* not \(1, 5, 6, 7\)\. Use tv or cg"
    ):
        invdiff.solve(torch.ones(1, *op.shape_in), op, None, "wavelet")
