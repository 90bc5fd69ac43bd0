"""The local Wiener prior against a loop over blocks, as a denoiser, off its template, in `solve`, and as a file."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import invdiff
from invdiff.operators.base import Operator
from invdiff.operators.inpainting import Inpainting
from invdiff.priors.checkpoints import load_prior
from invdiff.priors.local_wiener import LocalWienerPrior
from invdiff.priors.patches import patch_grid
from invdiff.priors.prior import Prior
from invdiff.priors.template import CELLS, Template
from tests.priors.models import COMPLEX, KINDS, REAL, normal, real_matrix


def heads(n: int, height: int = 26, width: int = 23, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Ellipses that nearly coincide, with two inner discs of random size and brightness, (n, 1, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    images = torch.zeros(n, 1, height, width)
    for image in images:
        a, b, level, r1, r2, g1, g2 = (torch.rand(7, generator=generator)).tolist()
        image[0] = (0.4 + 0.1 * level) * torch.sigmoid(
            20 * (0.75 + 0.1 * a - torch.sqrt(y**2 + (1.3 + 0.1 * b) * x**2))
        )
        for sign, r, g in ((-1, r1, g1), (1, r2, g2)):
            disc = torch.sigmoid(30 * (0.12 + 0.1 * r - torch.sqrt((y - 0.3) ** 2 + (x - 0.25 * sign) ** 2)))
            image[0] += 0.6 * g * disc
    return images.to(dtype)


def phased(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return images * torch.exp(1j * (1.5 * x + y * x - 2 * y**2 + 0.7))


@pytest.fixture(scope="module")
def fitted() -> LocalWienerPrior:
    return LocalWienerPrior.fit(heads(60))


def rms(x: Tensor) -> float:
    return float(x.abs().square().mean().sqrt())


def dense(images: Tensor, x: Tensor, sigma: float, patch: int, stride: int, shift: int) -> Tensor:
    """The definition, one block after another."""
    height, width = images.shape[-2:]
    line = torch.sin(torch.pi * (torch.arange(patch, dtype=REAL) + 0.5) / patch) ** 2
    taper = torch.outer(line, line)
    top, bottom = torch.zeros_like(x), torch.zeros(height, width, dtype=REAL)
    rows = sorted({*range(0, height - patch + 1, stride), height - patch})
    columns = sorted({*range(0, width - patch + 1, stride), width - patch})
    for i in rows:
        for j in columns:
            places = [
                (k, m)
                for k in range(max(0, i - shift), min(height - patch, i + shift) + 1)
                for m in range(max(0, j - shift), min(width - patch, j + shift) + 1)
            ]
            stack = torch.cat([images[:, 0, k : k + patch, m : m + patch].flatten(1) for k, m in places])
            mean = torch.zeros_like(stack[0]) if stack.is_complex() else stack.mean(0)
            off = stack - mean
            c = off.mT @ off.conj() / len(off) / (2 if off.is_complex() else 1)
            gain = c @ torch.linalg.inv(c + sigma**2 * torch.eye(patch**2, dtype=c.dtype))
            block = x[:, 0, i : i + patch, j : j + patch]
            out = mean + (block.flatten(1) - mean) @ gain.mT
            top[:, 0, i : i + patch, j : j + patch] += taper * out.reshape(block.shape)
            bottom[i : i + patch, j : j + patch] += taper
    return top / bottom


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_is_a_wiener_filter_for_each_block(dtype: torch.dtype, sigma: float) -> None:
    images = heads(12, 9, 8, dtype=REAL) + 0.1 * normal(12, 1, 9, 8)
    images = phased(images) if dtype.is_complex else images
    prior = LocalWienerPrior.fit(images, patch=4, stride=2, shift=1)
    x = images[:2] + sigma * normal(2, 1, 9, 8, dtype=dtype, seed=3)
    assert_close(prior(x, sigma), dense(images, x, sigma, 4, 2, 1), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 1.0])
def test_denoises_images_of_its_kind(fitted: LocalWienerPrior, sigma: float) -> None:
    x0 = heads(4, seed=7)
    x = x0 + sigma * normal(*x0.shape, seed=8).float()
    out = fitted(x, sigma)
    assert rms(out - x0) < 0.5 * sigma
    wrong = fitted(x, 4 * sigma) if sigma < 1 else fitted(x, sigma / 4)
    assert rms(out - x0) < rms(wrong - x0), "the right sigma must serve best"


def test_off_its_template_it_harms_and_says_so(fitted: LocalWienerPrior) -> None:
    x0 = heads(8, seed=7)
    fitted.recognise(x0)
    others = {"moved": x0.roll(6, 3), "brighter": 3 * x0, "empty": 0 * x0}
    for x in others.values():
        with pytest.raises(ValueError, match="does not lie as the training images"):
            fitted.recognise(x)
    x = others["moved"]
    noisy = x + 0.05 * normal(*x.shape, seed=8).float()
    assert rms(fitted(noisy, 0.05) - x) > 1.5 * rms(fitted(x0 + (noisy - x), 0.05) - x0)
    with pytest.raises(ValueError, match="image 1 does not lie"):
        fitted.recognise(torch.cat([x0[:1], others["brighter"][:1]]))


def test_template_of_few_images() -> None:
    assert Template.fit(heads(6)).limit > 1
    assert Template.fit(heads(6)).mean.shape == (CELLS, CELLS)
    with pytest.raises(ValueError, match="4 training images"):
        Template.fit(heads(3))


def test_solve_checks_before_the_first_step(fitted: LocalWienerPrior) -> None:
    mask = torch.rand(26, 23, generator=torch.Generator().manual_seed(0)) > 0.3
    op = Inpainting(mask, (1, 26, 23))
    x0 = heads(1, seed=7)
    y = op.simulate(x0, 0.02, seed=1)
    result = invdiff.solve(y, op, fitted, "dds", sigma_y=0.02, seed=0)
    assert rms(result.x - x0) < 0.5 * rms(op.adjoint(y) - x0)
    with pytest.raises(ValueError, match="does not lie as the training images"):
        invdiff.solve(op.simulate(x0.roll(6, 3), 0.02, seed=1), op, fitted, "dds", sigma_y=0.02, seed=0)


class Square(Operator):
    def forward(self, x: Tensor) -> Tensor:
        return x**2


def test_what_cannot_be_checked_is_refused(fitted: LocalWienerPrior) -> None:
    op = Square((1, 26, 23), (1, 26, 23), False, False)
    with pytest.raises(ValueError, match="shows none"):
        invdiff.solve(heads(1) ** 2, op, fitted, "dps", sigma_y=0.02, scale=1.0)


@pytest.mark.parametrize("dtype", KINDS)
def test_vjp_is_the_transpose(dtype: torch.dtype) -> None:
    images = heads(9, 6, 5, dtype=REAL) + 0.1 * normal(9, 1, 6, 5)
    prior = LocalWienerPrior.fit(phased(images) if dtype.is_complex else images, patch=4, stride=2, shift=1)
    x, v = (normal(2, 1, 6, 5, dtype=dtype, seed=k) for k in (1, 2))
    sigma = torch.tensor([0.3, 1.0], dtype=REAL)
    leaf = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: prior(x, sigma), leaf)
    (pull,) = torch.autograd.grad(prior(leaf, sigma), leaf, v)
    assert_close(prior.vjp(x, sigma, v), pull)
    forward = real_matrix(lambda v: prior(v, 0.5) - prior(torch.zeros_like(v), 0.5), (1, 6, 5), dtype)
    back = real_matrix(lambda v: prior.vjp(torch.zeros_like(v), 0.5, v), (1, 6, 5), dtype)
    assert_close(back, forward.mT)
    assert not torch.allclose(back, forward, atol=1e-3), "the windows make J unsymmetric, so the transpose matters"


def test_batch_and_sigma_per_sample(fitted: LocalWienerPrior) -> None:
    x = heads(3, seed=2) + 0.1 * normal(3, 1, 26, 23).float()
    sigma = torch.tensor([0.05, 0.1, 0.4])
    alone = torch.cat([fitted(x[i : i + 1], float(sigma[i])) for i in range(3)])
    assert_close(fitted(x, sigma), alone, rtol=0.0, atol=1e-5)


def test_real_prior_made_complex(fitted: LocalWienerPrior) -> None:
    prior = fitted.as_complex()
    x0 = phased(heads(3, seed=7))
    x = x0 + 0.2 * normal(*x0.shape, dtype=torch.complex64, seed=8)
    assert rms(prior(x, 0.2) - x0) < 0.6 * rms(x - x0)
    turn = torch.exp(torch.tensor(1.1j))
    assert_close(prior(turn * x, 0.2), turn * prior(x, 0.2), rtol=0.0, atol=1e-4)
    prior.recognise(x0)
    assert prior.as_complex() is prior
    assert prior.range == (-fitted.range[1], fitted.range[1])


def test_made_complex_keeps_second_moments() -> None:
    images = heads(9, 9, 8, dtype=REAL)
    made = LocalWienerPrior.fit(images, patch=4, stride=4).as_complex()
    direct = LocalWienerPrior.fit(images.to(COMPLEX), patch=4, stride=4)
    x = normal(2, 1, 9, 8, dtype=COMPLEX)
    assert_close(made(x, 0.3), direct(x, 0.3), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_file(tmp_path: Path, dtype: torch.dtype) -> None:
    images = phased(heads(20)) if dtype.is_complex else heads(20)
    prior = LocalWienerPrior.fit(images).describe(domain="heads", percentile=99.0, window=(0.0, 2.0))
    path = tmp_path / "heads.safetensors"
    prior.save(path, {"licence": "none"})
    for back in (LocalWienerPrior.load(path), load_prior(path)):
        assert isinstance(back, LocalWienerPrior)
        for name in ("size", "patch", "stride", "complex", "shape", "range", "domain", "percentile", "window"):
            assert getattr(back, name) == getattr(prior, name)
        assert back.template.limit == prior.template.limit
        back.recognise(images)
        for sigma in (0.02, 0.3):
            x = images[:1] + sigma * normal(1, 1, 26, 23, dtype=dtype)
            # Half precision rounds the bases to 5e-4.
            assert rms(back(x, sigma) - prior(x, sigma)) < 0.03 * sigma
    n = len(patch_grid(26, 23, 8, 4, torch.device("cpu"))[0])
    assert path.stat().st_size < n * 64 * 64 * 2 * (2 if dtype.is_complex else 1) * 1.2 + 2**16


def test_moves(fitted: LocalWienerPrior) -> None:
    prior = LocalWienerPrior.fit(heads(20)).double()
    x = heads(1, dtype=REAL)
    assert prior.dtype == REAL
    assert_close(prior(x, 0.1), LocalWienerPrior.fit(heads(20))(x, 0.1), rtol=0.0, atol=1e-5)


def test_flat_background_is_no_reason_to_fail() -> None:
    images = heads(8)
    images[..., :10, :] = 0
    prior = LocalWienerPrior.fit(images)
    assert torch.isfinite(prior(images, 0.01)).all()
    assert_close(prior(images, 0.01)[..., :2, :], images[..., :2, :], rtol=0.0, atol=1e-3)


def test_protocol_and_refusals(fitted: LocalWienerPrior) -> None:
    assert isinstance(fitted, Prior)
    assert fitted.shape == (1, 26, 23)
    with pytest.raises(ValueError, match="takes images"):
        fitted(torch.zeros(1, 1, 26, 24), 0.1)
    with pytest.raises(ValueError, match="single-channel"):
        LocalWienerPrior.fit(torch.zeros(4, 2, 20, 20))
    with pytest.raises(ValueError, match="smaller; pad it"):
        LocalWienerPrior.fit(heads(4, 7, 20))
    m, template = fitted, fitted.template
    with pytest.raises(ValueError, match=r"must be \(n, d\)"):
        LocalWienerPrior((26, 27), m.means, m.bases, m.variances, template)
    with pytest.raises(ValueError, match="not orthonormal"):
        LocalWienerPrior((26, 23), m.means, 2 * m.bases, m.variances, template)
    with pytest.raises(ValueError, match="0 or more"):
        LocalWienerPrior((26, 23), m.means, m.bases, -m.variances - 1, template)
