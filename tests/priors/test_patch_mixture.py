"""The patch mixture against the exact patch denoiser, as a denoiser, and as a file."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.priors.checkpoints import load_prior
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.low_rank_mixture import LowRankMixture
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.patches import patch_grid, random_patches, starts
from invdiff.priors.prior import Prior
from tests.priors.models import COMPLEX, KINDS, REAL, mixture, normal, orthonormal


def shapes(n: int, height: int = 40, width: int = 37, seed: int = 0) -> Tensor:
    """Discs of random place, size and brightness on a dark ground, (n, 1, height, width), in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    images = torch.zeros(n, 1, height, width)
    for image in images:
        for _ in range(4):
            cy, cx, r, level = (torch.rand(4, generator=generator) * torch.tensor([height, width, 10, 1])).tolist()
            image[0] += level / 2 * torch.sigmoid(3 + r - torch.sqrt((y - cy) ** 2 + (x - cx) ** 2))
    return images.clamp(max=1.0)


def phased(images: Tensor) -> Tensor:
    """The same with a smooth phase."""
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return images * torch.exp(1j * (1.5 * x + y * x - 2 * y**2 + 0.7))


@pytest.fixture(scope="module")
def fitted() -> PatchMixturePrior:
    return PatchMixturePrior.fit(shapes(30), components=8, rank=8, patches=4000, iterations=10)


def small(dtype: torch.dtype = REAL, stride: int = 2) -> PatchMixturePrior:
    """Three overlapping components on 4 x 4 patches, in double precision."""
    return PatchMixturePrior(mixture((1, 4, 4), dtype).mixture, 4, stride, dtype.is_complex)


def rms(x: Tensor) -> float:
    return float(x.abs().square().mean().sqrt())


@pytest.mark.parametrize("size", [(40, 37), (23, 56), (8, 8), (9, 11)])
@pytest.mark.parametrize("sigma", [0.05, 0.2, 1.0])
def test_denoises(fitted: PatchMixturePrior, size: tuple[int, int], sigma: float) -> None:
    x0 = shapes(3, max(size[0], 40), max(size[1], 37), seed=7)[..., : size[0], : size[1]]
    x = x0 + sigma * normal(*x0.shape, seed=8).float()
    out = fitted(x, sigma)
    assert out.shape == x.shape
    # The model keeps 8 of 64 directions: under half the noise is left, at high noise far less.
    assert rms(out - x0) < 0.6 * sigma
    wrong = fitted(x, 4 * sigma) if sigma < 1 else fitted(x, sigma / 4)
    assert rms(out - x0) < rms(wrong - x0), "the right sigma must serve best"


def test_limits(fitted: PatchMixturePrior) -> None:
    x = shapes(2) + 0.5 * normal(2, 1, 40, 37).float()
    assert_close(fitted(x, 1e-4), x, rtol=0.0, atol=1e-3)
    flat = fitted(1e4 * normal(2, 1, 40, 37).float(), 1e4)
    m = fitted.mixture
    mean = (m.weights[:, None] * m.means).sum(0).mean()
    assert_close(flat, mean.expand_as(flat), rtol=0.0, atol=0.1)


@pytest.mark.parametrize("dtype", KINDS)
def test_one_patch_is_the_exact_mixture(dtype: torch.dtype) -> None:
    exact = mixture((1, 4, 4), dtype)
    x, sigma = normal(3, 1, 4, 4, dtype=dtype, seed=9), torch.tensor([0.3, 1.0, 2.0], dtype=REAL)
    assert_close(small(dtype)(x, sigma), exact(x, sigma))
    v = normal(3, 1, 4, 4, dtype=dtype, seed=10)
    assert_close(small(dtype).vjp(x, sigma, v), exact.vjp(x, sigma, v))


@pytest.mark.parametrize("size", [(9, 12), (11, 7)])
def test_one_component_is_an_average_of_wiener_filters(size: tuple[int, int]) -> None:
    """Written as a loop over patches, with the Gaussian prior for each."""
    basis, mean = orthonormal(3, (1, 4, 4)), normal(1, 4, 4, seed=3)
    gauss = GaussianPrior.low_rank(mean, basis, torch.tensor([3.0, 1.0, 0.5], dtype=REAL), 0.05)
    core = LowRankMixture(
        torch.ones(1, dtype=REAL),
        mean.reshape(1, 16),
        basis.reshape(1, 3, 16),
        torch.tensor([[3.0, 1.0, 0.5]], dtype=REAL),
        torch.tensor([0.05], dtype=REAL),
    )
    x = normal(1, 1, *size, seed=9)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    for i in sorted({*range(0, size[0] - 3, 3), size[0] - 4}):
        for j in sorted({*range(0, size[1] - 3, 3), size[1] - 4}):
            total[..., i : i + 4, j : j + 4] += gauss(x[..., i : i + 4, j : j + 4], 0.4)
            count[..., i : i + 4, j : j + 4] += 1
    assert_close(PatchMixturePrior(core, 4, 3)(x, 0.4), total / count)


@pytest.mark.parametrize("dtype", KINDS)
def test_gradient(dtype: torch.dtype) -> None:
    prior = small(dtype)
    x = normal(2, 1, 7, 6, dtype=dtype, seed=9).requires_grad_()
    sigma = torch.tensor([0.5, 1.0], dtype=REAL)
    assert torch.autograd.gradcheck(lambda x: prior(x, sigma), x)
    v = normal(2, 1, 7, 6, dtype=dtype, seed=10)
    (pull,) = torch.autograd.grad(prior(x, sigma), x, v)
    (plain,) = torch.autograd.grad(prior.denoise(x, sigma), x, v)
    assert_close(pull, plain)
    assert_close(prior.vjp(x.detach(), sigma, v), plain)


def test_shifts_by_the_stride() -> None:
    """Away from the border a shift by the stride shifts D; by less it does not."""
    prior = small()
    x = normal(1, 1, 26, 24, seed=9)
    inner = (..., slice(8, -8), slice(8, -8))
    for shift, same in ((2, True), (1, False)):
        moved = prior(x.roll((shift, shift), (-2, -1)), 0.5)[inner]
        stays = prior(x, 0.5).roll((shift, shift), (-2, -1))[inner]
        assert torch.allclose(moved, stays, atol=1e-12) == same


def test_batch_and_sigma_per_sample(fitted: PatchMixturePrior) -> None:
    x = shapes(3, seed=2) + 0.1 * normal(3, 1, 40, 37).float()
    sigma = torch.tensor([0.05, 0.1, 0.4])
    alone = torch.cat([fitted(x[i : i + 1], float(sigma[i])) for i in range(3)])
    assert torch.equal(fitted(x, sigma), alone)


def test_single_precision_is_enough(fitted: PatchMixturePrior, tmp_path: Path) -> None:
    x = shapes(1, seed=2) + 0.01 * normal(1, 1, 40, 37).float()
    fitted.save(tmp_path / "a.safetensors")
    wide = PatchMixturePrior.load(tmp_path / "a.safetensors").double()
    single = PatchMixturePrior.load(tmp_path / "a.safetensors")
    assert wide.dtype == REAL
    # 2 % of the noise: responsibilities rest on differences of log-densities of some thousands.
    assert rms(single(x, 0.01) - wide(x, 0.01)) < 0.02 * 0.01


def test_file(fitted: PatchMixturePrior, tmp_path: Path) -> None:
    fitted.describe(domain="discs", percentile=99.0, window=(0.0, 2.0))
    path = tmp_path / "discs.safetensors"
    fitted.save(path, {"licence": "none"})
    numbers = 8 * 8 * 64
    assert 2 * numbers < path.stat().st_size < 4 * numbers
    for back in (PatchMixturePrior.load(path), load_prior(path)):
        assert isinstance(back, PatchMixturePrior)
        for name in ("patch", "stride", "complex", "range", "domain", "percentile", "window", "sigma_min"):
            assert getattr(back, name) == getattr(fitted, name)
        for sigma in (0.02, 0.3):
            x = shapes(1, seed=2) + sigma * normal(1, 1, 40, 37).float()
            # Half precision rounds the bases to 5e-4.
            assert rms(back(x, sigma) - fitted(x, sigma)) < 0.03 * sigma
    content = json.loads(path.with_suffix(".json").read_text())
    assert content["card"] == {"licence": "none"}
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    path.write_bytes(altered)
    with pytest.raises(ValueError, match="truncated or altered"):
        PatchMixturePrior.load(path)
    path.with_suffix(".json").write_text(json.dumps({**content, "kind": "network"}))
    with pytest.raises(ValueError, match="load_prior opens"):
        PatchMixturePrior.load(path)


def test_complex_fit(tmp_path: Path) -> None:
    prior = PatchMixturePrior.fit(phased(shapes(20)), components=4, rank=6, patches=2000, iterations=6)
    assert prior.complex
    assert float(prior.mixture.means.abs().max()) == 0
    x0 = phased(shapes(2, seed=7))
    x = x0 + 0.2 * normal(*x0.shape, dtype=torch.complex64, seed=8)
    assert rms(prior(x, 0.2) - x0) < 0.6 * rms(x - x0)
    # Circular: a global phase passes through.
    turn = torch.exp(torch.tensor(1.1j))
    assert_close(prior(turn * x, 0.2), turn * prior(x, 0.2), rtol=0.0, atol=1e-4)
    prior.save(tmp_path / "c.safetensors")
    back = PatchMixturePrior.load(tmp_path / "c.safetensors")
    assert rms(back(x, 0.2) - prior(x, 0.2)) < 0.01


def test_real_prior_made_complex(fitted: PatchMixturePrior) -> None:
    prior = fitted.as_complex()
    x0 = phased(shapes(3, seed=7))
    for sigma in (0.1, 0.3):
        x = x0 + sigma * normal(*x0.shape, dtype=torch.complex64, seed=8)
        joint = rms(prior(x, sigma) - x0)
        parts = rms(torch.complex(fitted(x.real, sigma), fitted(x.imag, sigma)) - x0)
        assert joint < 0.6 * rms(x - x0)
        assert joint < parts, "both parts together must beat two real images"
    assert prior.as_complex() is prior
    assert (prior.range, prior.sigma_max) == ((-fitted.range[1], fitted.range[1]), fitted.sigma_max)


def test_made_complex_keeps_second_moments() -> None:
    """Per real component, each component has half the second moment E[x x^T] of the real one and no mean."""
    real = mixture((1, 4, 4)).mixture
    turned = PatchMixturePrior(real, 4).as_complex().mixture

    def covariance(m: LowRankMixture, k: int) -> Tensor:
        u, floor = m.bases[k], m.floors[k]
        return u.mT * (m.variances[k] - floor) @ u + floor * torch.eye(16, dtype=REAL)

    for k in range(3):
        moment = covariance(real, k) + torch.outer(real.means[k], real.means[k])
        assert_close(covariance(turned, k), moment / 2)
    assert float(turned.means.abs().max()) == 0


def test_patches_cover_every_pixel() -> None:
    for size, patch, stride in ((13, 4, 3), (8, 8, 2), (9, 4, 4), (16, 8, 2)):
        index, count = patch_grid(size, size + 1, patch, stride, torch.device("cpu"))
        assert int(count.min()) >= 1
        assert int(count.sum()) == index.numel()
        assert starts(size, patch, stride)[-1] == size - patch
    image = torch.arange(13 * 14.0)
    assert_close(image[index[0]][:8] - image[index[0]][0], torch.arange(8.0))


def test_random_patches_are_turned_pieces_of_the_images() -> None:
    image = torch.arange(30.0).reshape(5, 6)
    rows = random_patches([image], 3, 200, torch.Generator().manual_seed(0)).reshape(-1, 3, 3)
    steps = {(float(p[0, 1] - p[0, 0]), float(p[1, 0] - p[0, 0])) for p in rows}
    assert steps == {(a, b) for a in (-1.0, 1.0) for b in (-6.0, 6.0)} | {
        (b, a) for a in (-1.0, 1.0) for b in (-6.0, 6.0)
    }
    assert {float(p.min()) for p in rows} == {float(6 * i + j) for i in range(3) for j in range(4)}


def test_protocol(fitted: PatchMixturePrior) -> None:
    assert isinstance(fitted, Prior)
    assert fitted.shape == (1, None, None)
    assert fitted.history == sorted(fitted.history)
    low, high = fitted.range
    assert math.isclose(low, 0.0, abs_tol=0.01)
    assert high <= 1.0


def test_refusals(fitted: PatchMixturePrior) -> None:
    with pytest.raises(ValueError, match="smaller; pad it"):
        fitted(torch.zeros(1, 1, 7, 20), 0.1)
    with pytest.raises(ValueError, match="takes images"):
        fitted(torch.zeros(1, 2, 20, 20), 0.1)
    with pytest.raises(TypeError, match="real images"):
        fitted(normal(1, 1, 20, 20, dtype=COMPLEX), 0.1)
    with pytest.raises(ValueError, match="d = 64"):
        PatchMixturePrior(mixture((1, 4, 4)).mixture, 8)
    with pytest.raises(ValueError, match="stride"):
        PatchMixturePrior(mixture((1, 4, 4)).mixture, 4, 5)
    with pytest.raises(ValueError, match="is_complex=True"):
        PatchMixturePrior(mixture((1, 4, 4), COMPLEX).mixture, 4)
    with pytest.raises(ValueError, match=r"\(1, H, W\)"):
        PatchMixturePrior.fit(torch.zeros(4, 2, 20, 20))
    with pytest.raises(ValueError, match="at least one image"):
        PatchMixturePrior.fit([])
