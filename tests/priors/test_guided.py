"""Guided-diffusion checkpoints as priors: found, filled, and with the right parameterisation and channels."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.diffusion.precondition import Epsilon, Velocity
from invdiff.diffusion.vp import Schedule
from invdiff.networks.guided_unet import GuidedUNet
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import load_prior

SMALL: dict[str, Any] = {"base": 32, "widths": (32, 64), "blocks": 1, "attention": (1,), "head_width": 32}
CHANNELS = {"rgb": (3, 6), "grey": (1, 1), "complex": (2, 4)}


def net(c_in: int = 3, c_out: int = 6, **changes: Any) -> GuidedUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = GuidedUNet(c_in, c_out, **{**SMALL, **changes})
    return made.eval().requires_grad_(False)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path / "ffhq.pt")
    return path / "ffhq.pt"


def load(path: Path, **options: Any) -> AdaptedPrior:
    prior = load_prior(path, **{"head_width": 32, **options})
    assert isinstance(prior, AdaptedPrior)
    return prior


def image(channels: int) -> Tensor:
    return torch.randn(2, channels, 8, 10, generator=torch.Generator().manual_seed(1))


def expected(made: GuidedUNet, x: Tensor, sigma: float) -> Tensor:
    """x - sigma eps(x / sqrt(1 + sigma^2), t), with the time found by hand in the table."""
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    log = ((1 - abar) / abar).sqrt().log()
    i = int((log < torch.tensor(sigma).log()).sum())
    t = i - 1 + float((torch.tensor(sigma).log() - log[i - 1]) / (log[i] - log[i - 1]))
    eps = made(x / (1 + sigma**2) ** 0.5, torch.full((len(x),), t))[:, : x.shape[1]]
    return x - sigma * eps


@pytest.mark.parametrize("kind", ["rgb", "grey"])
def test_a_flat_file_becomes_a_prior_of_real_images(tmp_path: Path, kind: str) -> None:
    made = net(*CHANNELS[kind])
    prior = load(saved(tmp_path, made.state_dict()))
    x = image(CHANNELS[kind][0])
    torch.testing.assert_close(prior(x, 0.7), expected(made, x, 0.7), rtol=1e-4, atol=1e-4)
    assert (prior.sigma_min, prior.sigma_max) == pytest.approx((0.01, 157.4), rel=1e-3)
    assert (prior.shape, prior.range, prior.complex) == ((x.shape[1], None, None), (-1.0, 1.0), False)


def test_two_channels_are_a_complex_image(tmp_path: Path) -> None:
    made = net(*CHANNELS["complex"])
    prior = load(saved(tmp_path, made.state_dict()), percentile=99.0, domain="knees")
    z = image(2)
    out = expected(made, z, 0.7)
    x = torch.complex(z[:, :1], z[:, 1:])
    torch.testing.assert_close(prior(x, 0.7), torch.complex(out[:, :1], out[:, 1:]), rtol=1e-4, atol=1e-4)
    assert (prior.percentile, prior.domain, prior.shape) == (99.0, "knees", (1, None, None))


def test_sizes_that_do_not_divide_are_padded(tmp_path: Path) -> None:
    prior = load(saved(tmp_path, net().state_dict()))
    x = image(3)[..., :7, :9]
    assert prior(x, 0.7).shape == x.shape


def test_averaged_weights_are_chosen_and_prefixes_removed(tmp_path: Path) -> None:
    made, other = net(), net()
    for p in other.parameters():
        p.data.zero_()
    content = {
        "model": {f"module.{k}": v for k, v in other.state_dict().items()},
        "ema": {f"_orig_mod.{k}": v for k, v in made.state_dict().items()},
        "step": 5,
    }
    x = image(3)
    torch.testing.assert_close(load(saved(tmp_path, content))(x, 0.7), expected(made, x, 0.7), rtol=1e-4, atol=1e-4)


def test_half_precision_weights_are_computed_with_in_single(tmp_path: Path) -> None:
    made = net()
    half = {k: v.half() for k, v in made.state_dict().items()}
    prior = load(saved(tmp_path, half))
    assert {p.dtype for p in prior.parameters()} == {torch.float32}


def test_what_the_file_cannot_tell_is_taken_from_the_caller(tmp_path: Path) -> None:
    made = net(3, 3, heads=1, qkv_order="new")
    path = saved(tmp_path, made.state_dict())
    x = image(3)
    right = load(path, heads=1, qkv_order="new")
    torch.testing.assert_close(right(x, 0.7), expected(made, x, 0.7), rtol=1e-4, atol=1e-4)
    cosine = Velocity(Schedule.cosine())
    assert load(path, parameterisation=cosine).parameterisation == cosine
    grey = load(path, channels="replicate", range=(0.0, 1.0))
    assert (grey.shape, grey.sigma_min) == ((1, None, None), pytest.approx(Schedule.linear().sigma_min / 2))
    assert isinstance(grey.parameterisation, Epsilon)


def test_unknown_options_name_their_neighbours(tmp_path: Path) -> None:
    path = saved(tmp_path, net().state_dict())
    with pytest.raises(TypeError, match=r"'qkv_oder'.*'qkv_order'"):
        load(path, qkv_oder="new")


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = dict(net().state_dict())
    for change, word in (
        ({"out.2.bias": torch.zeros(5)}, r"mis-shaped, first out\.2\.bias \(5,\) for \(6,\)"),
        ({"extra.weight": torch.zeros(5)}, r"1 unexpected, first extra\.weight"),
    ):
        with pytest.raises(ValueError, match=word):
            load(saved(tmp_path, {**tensors, **change}))
    del tensors["middle_block.1.norm.bias"]
    with pytest.raises(ValueError, match=r"1 missing, first middle_block\.1\.norm\.bias"):
        load(saved(tmp_path, tensors))


def test_class_conditional_networks_need_a_class(tmp_path: Path) -> None:
    made = net(classes=4, label=2)
    path = saved(tmp_path, made.state_dict())
    with pytest.raises(ValueError, match="needs label, 0 to 3"):
        load(path)
    x = image(3)
    torch.testing.assert_close(load(path, label=2)(x, 0.7), expected(made, x, 0.7), rtol=1e-4, atol=1e-4)
    assert float((load(path, label=1)(x, 0.7) - load(path, label=2)(x, 0.7)).abs().max()) > 1e-5


def test_heads_that_do_not_divide_are_refused_with_the_option(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pass heads or head_width"):
        load(saved(tmp_path, net().state_dict()), head_width=48)
