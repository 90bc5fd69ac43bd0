"""Solvers begin below the levels that a prior passes in closed form, and say so; with plain priors nothing changes."""

import json
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import CartesianMRI
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.hybrid import HybridPrior
from invdiff.result import Result

SIDE, SIGMA = 12, 0.05
OPTIONS: dict[str, dict[str, Any]] = {
    "dds": {"steps": 20},
    "dps": {"steps": 60},
    "sitcom": {"steps": 10, "inner": 4},
    "pigdm": {"steps": 60},
    "ddnm": {"steps": 40},
    "ddrm": {"steps": 20},
    "diffpir": {"steps": 40},
}


def prior_of(switch: float | None) -> GaussianPrior | HybridPrior:
    """A stationary Gaussian, alone or as both parts of a hybrid prior."""
    k = torch.arange(SIDE) - SIDE // 2
    power = 1.5 / (1 + (k[:, None] ** 2 + k**2) / 4.0) ** 1.5
    gaussian = GaussianPrior.stationary(torch.zeros(1, SIDE, SIDE, dtype=torch.complex64), power[None])
    gaussian.describe(sigma_min=0.01, sigma_max=20.0)
    return gaussian if switch is None else HybridPrior(gaussian, gaussian, switch)


def problem() -> tuple[CartesianMRI, Tensor, Tensor]:
    line = torch.arange(SIDE)
    op = CartesianMRI((line % 3 == 0) | ((line - SIDE // 2).abs() < 2), shape=(SIDE, SIDE))
    gaussian = prior_of(None)
    assert isinstance(gaussian, GaussianPrior)
    truth = gaussian.sample(2, 3)
    return op, truth, op.simulate(truth, SIGMA, seed=1)


def run(prior: Any, method: str, **options: Any) -> Result:
    op, _, y = problem()
    more = OPTIONS[method] | options
    return invdiff.solve(y, op, prior, method, sigma_y=SIGMA, seed=0, progress=False, scale=1.0, **more)


@pytest.mark.parametrize("method", OPTIONS)
def test_plain_priors_walk_all_levels(method: str) -> None:
    with_it, without = (run(prior_of(None), method, teleport=choice) for choice in (True, False))
    assert torch.equal(with_it.x, without.x)
    assert (with_it.nfe, with_it.skipped) == (without.nfe, 0)
    assert "closed form" not in with_it.status


@pytest.mark.parametrize("method", OPTIONS)
def test_levels_are_skipped_and_reported(method: str) -> None:
    seen: list[dict[str, Any]] = []
    plain, short = run(prior_of(None), method), run(prior_of(2.0), method, teleport=True, callback=seen.append)
    assert short.skipped > 0
    assert f"{short.skipped} more noise levels passed in closed form" in short.status
    steps = OPTIONS[method]["steps"]
    assert len(seen) == steps - short.skipped
    assert {s["steps"] for s in seen} == {len(seen)}
    assert seen[0]["sigma"] > 2 * 2**0.5 > seen[1]["sigma"]
    if method == "sitcom":
        assert short.nfe <= plain.nfe - short.skipped
    else:
        assert short.nfe == plain.nfe - short.skipped == steps - short.skipped
    assert run(prior_of(2.0), method, teleport=False).skipped == 0


@pytest.mark.parametrize("method", OPTIONS)
def test_the_error_stays_what_it_was(method: str) -> None:
    """Over 16 draws of two images the rms errors agree; the data decide, not where the walk begins."""
    _, truth, _ = problem()
    errors = [
        float((run(prior, method, teleport=True, num_samples=16).samples - truth[:, None]).abs().square().mean().sqrt())
        for prior in (prior_of(None), prior_of(2.0))
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)  # 32 images of 144 values


def test_a_file_holds_what_was_skipped(tmp_path: Path) -> None:
    result = run(prior_of(2.0), "dds")
    with h5py.File(result.save(tmp_path / "out.h5")) as file:
        assert json.loads(file.attrs["record"])["skipped"] == result.skipped > 0


def test_runs_in_groups_count_once() -> None:
    """An operator with tensors of each item is run once for each draw."""
    _, truth, _ = problem()
    masks = torch.stack([torch.arange(SIDE) % 2 == 0, torch.arange(SIDE) % 3 == 0])[:, None, None]
    op = CartesianMRI(masks.expand(2, 1, SIDE, SIDE), shape=(SIDE, SIDE))
    y = op.simulate(truth, SIGMA, seed=1)
    result = invdiff.solve(y, op, prior_of(2.0), "dds", sigma_y=SIGMA, seed=0, scale=1.0, steps=20, num_samples=3)
    assert result.nfe + result.skipped == 20


def test_another_image_in_the_batch_changes_nothing() -> None:
    op, _, y = problem()
    options: dict[str, Any] = {"sigma_y": SIGMA, "seed": 0, "scale": 1.0, "steps": 20}
    both = invdiff.solve(y, op, prior_of(2.0), "dds", **options).x
    alone = invdiff.solve(y[:1], op, prior_of(2.0), "dds", **options).x
    torch.testing.assert_close(both[:1], alone, rtol=1e-5, atol=1e-5)  # single precision through 20 levels
