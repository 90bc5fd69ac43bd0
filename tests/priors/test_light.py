"""The packaged patch mixtures: what their cards say, and that methods work with them on images they never saw."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import invdiff
from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import head_phantom
from invdiff.data.samples import load_sample
from invdiff.operators.inpainting import Inpainting
from invdiff.operators.mri import CartesianMRI
from invdiff.priors.checkpoints import available, load_prior
from invdiff.priors.patch_mixture import PatchMixturePrior

STEPS = {"dds": 50, "sitcom": 6, "dps": 80}


def rms(x: Tensor) -> float:
    return float(x.abs().square().mean().sqrt())


@pytest.mark.parametrize(("name", "is_complex"), [("brain-mri-light", True), ("ct-light", False)])
def test_card(name: str, is_complex: bool) -> None:
    content, prior = available()[name], load_prior(name)
    assert isinstance(prior, PatchMixturePrior)
    assert prior.complex == is_complex
    assert (prior.percentile is None) != (prior.window is None)
    card = content["card"]
    for key in ("data", "data_licence", "split", "command", "validation_psnr"):
        assert card[key], key
    assert "Not for diagnosis." in card["limits"]
    assert len(card["validation_psnr"]) == 6
    assert all(psnr > 20 for psnr in card["validation_psnr"].values())


@pytest.mark.parametrize("method", sorted(STEPS))
def test_brain_prior_reconstructs_the_sample(method: str) -> None:
    """Single-coil, every second line: a good part of the aliasing can be told from anatomy by patches."""
    x0 = F.interpolate(load_sample("brain").image[None, None], size=(48, 48), mode="area").to(torch.complex64)
    op = CartesianMRI(cartesian_mask(48, 2.0, 10, kind="random", seed=0), shape=(1, 48, 48))
    y = op.simulate(x0, 0.01, seed=1)
    prior = load_prior("brain-mri-light")
    result = invdiff.solve(y, op, prior, method, sigma_y=0.01, seed=0, steps=STEPS[method])
    assert rms(result.x - x0) < 0.7 * rms(op.adjoint(y) - x0)


@pytest.mark.parametrize("method", sorted(STEPS))
def test_ct_prior_fills_in_attenuation(method: str) -> None:
    """In mm^-1; missing pixels would otherwise be air, and noise would stay."""
    x0 = 0.0193 * head_phantom((48, 48), seed=3)[None, None] * 1.2
    op = Inpainting(torch.rand(48, 48, generator=torch.Generator().manual_seed(0)) > 0.5, (1, 48, 48))
    y = op.simulate(x0, 0.0004, seed=1)
    prior = load_prior("ct-light")
    result = invdiff.solve(y, op, prior, method, sigma_y=0.0004, seed=0, steps=STEPS[method])
    assert rms(result.x - x0) < 0.35 * rms(op.adjoint(y) - x0)
