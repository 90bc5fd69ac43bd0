"""Analytic priors as files: what comes back denoises as what was saved, and damage is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from invdiff.priors.analytic import DESCRIBED, AnalyticPrior
from invdiff.priors.checkpoints import load_prior
from invdiff.priors.container import as_parts, from_parts
from invdiff.priors.covariance import Covariance, check_orthonormal, nearest_orthonormal
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.mixture import GaussianMixturePrior
from tests.priors.models import COMPLEX, KINDS, REAL, low_rank, mixture, normal, orthonormal, stationary

SHAPE = (1, 5, 4)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("make", [low_rank, stationary, mixture])
def test_round_trip(tmp_path: Path, make: Callable[..., AnalyticPrior], dtype: torch.dtype) -> None:
    prior = make(SHAPE, dtype).describe(
        domain="discs", percentile=99.0, window=(0.0, 2.0), range=(-3.0, 2.5), sigma_min=0.1
    )
    path = tmp_path / "a.safetensors"
    prior.save(path, {"licence": "none"})
    assert json.loads(path.with_suffix(".json").read_text())["card"] == {"licence": "none"}
    for back in (type(prior).load(path), load_prior(path)):
        assert type(back) is type(prior)
        assert [getattr(back, name) for name in DESCRIBED] == [getattr(prior, name) for name in DESCRIBED]
        assert (back.shape, back.complex) == (prior.shape, prior.complex)
        x = prior.mean[:1] + 0 if isinstance(prior, GaussianPrior) else normal(1, *SHAPE, dtype=dtype)
        x = x.expand(2, *SHAPE) + normal(2, *SHAPE, dtype=dtype, seed=9)
        for sigma in (0.3, 2.0):
            # A basis is kept in half precision, 5e-4, the rest in single.
            assert_close(back(x, sigma).to(dtype), prior(x, sigma), rtol=0.0, atol=3e-3)
    assert load_prior(path, domain="rings").domain == "rings"


def test_mixture_keeps_single_precision(tmp_path: Path) -> None:
    prior = mixture(SHAPE)
    prior.save(tmp_path / "a.safetensors")
    back = GaussianMixturePrior.load(tmp_path / "a.safetensors")
    x = normal(3, *SHAPE, seed=9)
    assert back.dtype == REAL
    assert_close(back(x, 0.05), prior(x, 0.05), rtol=0.0, atol=1e-5)
    assert_close(back.log_density(x, 0.05), prior.log_density(x, 0.05), rtol=1e-4, atol=0.0)


def test_real_basis_of_a_complex_prior(tmp_path: Path) -> None:
    mean = torch.zeros(SHAPE, dtype=COMPLEX)
    prior = GaussianPrior.low_rank(mean, orthonormal(3, SHAPE), torch.tensor([3.0, 2.0, 1.0], dtype=REAL))
    prior.save(tmp_path / "a.safetensors")
    x = normal(2, *SHAPE, dtype=COMPLEX)
    assert_close(load_prior(tmp_path / "a.safetensors")(x, 0.5), prior(x, 0.5), rtol=0.0, atol=3e-3)


def test_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    low_rank(SHAPE).save(path)
    with pytest.raises(ValueError, match="kind 'gaussian'; load_prior opens"):
        GaussianMixturePrior.load(path)
    with pytest.raises(TypeError, match="no option 'stride'"):
        load_prior(path, stride=2)
    content = json.loads(path.with_suffix(".json").read_text())
    for change in ({"range": None, "sigma_min": None}, {"kind": "wavelet"}):
        bad = {name: value for name, value in (content | change).items() if value is not None}
        path.with_suffix(".json").write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=r"does not describe a prior|kind 'wavelet'"):
            load_prior(path)
    path.with_suffix(".json").write_text(json.dumps(content))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated or altered"):
        load_prior(path)


def test_other_covariances_have_no_files(tmp_path: Path) -> None:
    class Identity(Covariance):
        shape, complex = SHAPE, False

        def variance(self) -> torch.Tensor:
            return torch.ones(SHAPE)

    with pytest.raises(TypeError, match="Identity has no files"):
        GaussianPrior(torch.zeros(SHAPE), Identity()).save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", KINDS)
def test_nearest_orthonormal_undoes_rounding(dtype: torch.dtype) -> None:
    rows = orthonormal(6, (40,), dtype)
    rounded = from_parts(as_parts(rows).half().double(), 2)
    eye = torch.eye(6, dtype=dtype)
    assert float((rounded @ rounded.mH - eye).abs().max()) > 1e-5, "rounding must show, or this tests nothing"
    found = nearest_orthonormal(rounded)
    check_orthonormal(found)
    assert_close(found @ found.mH, eye, rtol=0.0, atol=1e-12)
    u, _, vh = torch.linalg.svd(rounded, full_matrices=False)
    assert_close(found, u @ vh)
