"""Folders of diffusers as priors: D is the clean image that diffusers' own network and scheduler predict."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.diffusion.precondition import Epsilon, Sample, Score, Velocity
from invdiff.diffusion.vp import Schedule
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import load_prior

diffusers = pytest.importorskip("diffusers")

PREDICTIONS = {"epsilon": Epsilon, "sample": Sample, "v_prediction": Velocity}


def unet(**changes: Any) -> Any:
    settings: dict[str, Any] = {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "attention_head_dim": 8,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.UNet2DModel(**{**settings, **changes}).eval().requires_grad_(False)


def folder(path: Path, made: Any, scheduler: Any) -> Path:
    made.save_pretrained(path, safe_serialization=True)
    scheduler.save_pretrained(path)
    return path


def load(path: Path, **options: Any) -> AdaptedPrior:
    prior = load_prior(path, **options)
    assert isinstance(prior, AdaptedPrior)
    return prior


def image(channels: int = 1) -> Tensor:
    return torch.randn(2, channels, 8, 12, generator=torch.Generator().manual_seed(0))


def predicted(made: Any, scheduler: Any, x: Tensor, t: int) -> Tensor:
    """x0 as the scheduler's own step sees it, for x in VE coordinates."""
    x_t = (x * scheduler.alphas_cumprod[t].sqrt()).float()
    step = scheduler.step(made(x_t, t).sample, t, x_t, generator=torch.Generator().manual_seed(0))
    return step.pred_original_sample


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    "betas",
    [
        {"beta_schedule": "linear"},
        {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": torch.linspace(0.001, 0.05, 100).tolist(), "num_train_timesteps": 100},
        {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True, "num_train_timesteps": 200},
    ],
)
def test_the_denoiser_is_what_diffusers_predicts(tmp_path: Path, prediction: str, betas: dict[str, Any]) -> None:
    made, scheduler = unet(), diffusers.DDPMScheduler(prediction_type=prediction, clip_sample=False, **betas)
    prior = load(folder(tmp_path, made, scheduler))
    assert type(prior.parameterisation) is PREDICTIONS[prediction]
    abar = torch.cumprod(1 - scheduler.betas.double(), 0)
    scheduler.alphas_cumprod = abar  # diffusers keeps it in single precision, up to 7e-4 of a step off
    for t in (0, 1, 30, len(abar) // 2, len(abar) - 10):
        sigma = float(((1 - abar[t]) / abar[t]).sqrt())
        scale = max(1.0, sigma)  # of x, and so of the rounding of x - sigma eps
        x = scale * image()
        reference = predicted(made, scheduler, x, t)
        atol = 5e-5 if "rescale_betas_zero_snr" in betas else 1e-5  # diffusers rescales in single precision
        torch.testing.assert_close(prior(x, sigma) / scale, reference / scale, rtol=0, atol=atol)


def test_a_neighbouring_time_is_seen(tmp_path: Path) -> None:
    made, scheduler = unet(), diffusers.DDPMScheduler(clip_sample=False)
    prior = load(folder(tmp_path, made, scheduler))
    x, sigma = 3 * image(), float(Schedule.linear().sigmas()[500])
    assert float((prior(x, sigma) - predicted(made, scheduler, x, 501)).abs().max()) > 1e-3


def test_a_pipeline_with_folders_for_its_parts_is_read(tmp_path: Path) -> None:
    made, scheduler = unet(), diffusers.DDPMScheduler()
    diffusers.DDPMPipeline(unet=made, scheduler=scheduler).save_pretrained(tmp_path)
    assert load(tmp_path).parameterisation == Epsilon(Schedule.linear())


def test_score_networks_see_sigma_and_images_from_zero_to_one(tmp_path: Path) -> None:
    made = unet(time_embedding_type="fourier")
    prior = load(folder(tmp_path, made, diffusers.ScoreSdeVeScheduler(sigma_min=0.02, sigma_max=50.0)))
    x, sigma = image(), torch.tensor([0.3, 4.0])
    expected = x + sigma[:, None, None, None] ** 2 * made(x, sigma).sample
    torch.testing.assert_close(prior(x, sigma), expected, rtol=1e-5, atol=1e-5)
    assert (prior.parameterisation, prior.range) == (Score(), (0.0, 1.0))
    assert (prior.sigma_min, prior.sigma_max) == (0.02, 50.0)


def test_noise_levels_of_score_networks_follow_the_range_declared(tmp_path: Path) -> None:
    made = unet(time_embedding_type="fourier")
    path = folder(tmp_path, made, diffusers.ScoreSdeVeScheduler(sigma_min=0.02, sigma_max=50.0))
    prior, own = load(path, range=(-1.0, 1.0)), load(path)
    assert (prior.sigma_min, prior.sigma_max) == (0.04, 100.0)
    x = image()
    for end, known in ((0.04, 0.02), (100.0, 50.0)):  # both ends are levels that the network was trained at
        torch.testing.assert_close(prior(2 * x - 1, end), 2 * own(x, known) - 1, rtol=1e-4, atol=1e-3)
    assert load(path, net_range=(-1.0, 1.0), range=(0.0, 1.0)).sigma_max == 25.0
    assert load(path, range=(-1.0, 1.0), sigma_max=10.0).sigma_max == 10.0


def test_two_channels_are_a_complex_image_of_any_size(tmp_path: Path) -> None:
    made = unet(in_channels=2, out_channels=2)
    prior = load(folder(tmp_path, made, diffusers.DDPMScheduler()), percentile=99.0)
    x = torch.complex(image(), image().flip(0))[..., :7, :11]
    assert prior(x, 0.5).shape == x.shape
    assert (prior.complex, prior.shape, prior.percentile) == (True, (1, None, None), 99.0)


def altered(path: Path, name: str, **changes: Any) -> None:
    content = json.loads((path / name).read_text())
    (path / name).write_text(json.dumps({**content, **changes}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return folder(tmp_path, unet(), diffusers.DDPMScheduler())


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("config.json", {"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel"),
        ("config.json", {"num_class_embeds": 10}, "conditioned on classes"),
        ("config.json", {"block_out_channels": [8, 32]}, "do"),
        ("scheduler_config.json", {"beta_schedule": "sigmoid"}, "sigmoid"),
        ("scheduler_config.json", {"prediction_type": "flow"}, "Pass parameterisation"),
    ],
)
def test_models_that_are_no_prior_are_refused(saved: Path, name: str, changes: dict[str, Any], word: str) -> None:
    altered(saved, name, **changes)
    with pytest.raises(ValueError, match=word):
        load(saved)


def test_models_of_latents_are_refused(saved: Path) -> None:
    (saved / "model_index.json").write_text(
        json.dumps({"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]})
    )
    with pytest.raises(ValueError, match="latents"):
        load(saved)


def test_a_schedule_can_be_given_where_the_folder_has_none(saved: Path) -> None:
    (saved / "scheduler_config.json").unlink()
    with pytest.raises(ValueError, match="scheduler_config"):
        load(saved)
    given = Velocity(Schedule.cosine())
    assert load(saved, parameterisation=given).parameterisation == given


def test_truncated_missing_and_partial_weights_are_refused(saved: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = saved / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    removed = {name: t for name, t in tensors.items() if name != "conv_out.bias"}
    save_file(removed, weights, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing keys, first conv_out\.bias"):
        load(saved)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="does not hold the weights"):
        load(saved)
    weights.unlink()
    with pytest.raises(ValueError, match="does not hold the weights"):
        load(saved)


def test_pickled_weights_are_not_opened(saved: Path) -> None:
    (saved / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(unet().state_dict(), saved / "diffusion_pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        load(saved)
