"""EDM networks from snapshots and state dictionaries: found, filled, rightly preconditioned, or refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invdiff.diffusion.precondition import EDM, ContinuousEpsilon, Score
from invdiff.networks.drunet import coordinate_grid
from invdiff.networks.edm_unet import DhariwalUNet, SongUNet
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import load_prior
from invdiff.priors.network import NetworkPrior
from invdiff.priors.prior import Prior
from tests.priors.pickles import weights, write_snapshot

SONG: dict[str, Any] = {"size": (16, 16), "first": 8, "widths": (8, 12), "blocks": 1}


def song(channels_in: int = 2, channels_out: int | None = None, **options: Any) -> nn.Module:
    out = channels_in if channels_out is None else channels_out
    return weights(SongUNet(in_channels=channels_in, out_channels=out, **{**SONG, **options}))


def flat(net: nn.Module, prefix: str = "model.") -> dict[str, Tensor]:
    return {prefix + name: t for name, t in net.state_dict().items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path / "net.pt")
    return path / "net.pt"


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def edm(net: nn.Module, z: Tensor, sigma: float, sigma_data: float) -> Tensor:
    """Table 1 of the paper, written out."""
    total = sigma**2 + sigma_data**2
    raw = net(z / math.sqrt(total), torch.full((len(z),), math.log(sigma) / 4))
    return sigma_data**2 / total * z + sigma * sigma_data / math.sqrt(total) * raw


def assert_denoises(prior: Prior, net: nn.Module, sigma_data: float, sigma: float = 0.6) -> None:
    z = image(2, 2, 8, 12)
    wanted = edm(net, z, sigma, sigma_data)
    found = prior(torch.complex(z[:, :1], z[:, 1:]), sigma)
    torch.testing.assert_close(torch.cat([found.real, found.imag], 1), wanted, rtol=1e-5, atol=1e-5)


def test_a_snapshot_gives_the_denoiser_of_its_class(tmp_path: Path) -> None:
    net, mark = song(), tmp_path / "mark"
    prior = load_prior(write_snapshot(tmp_path / "network-snapshot.pkl", net, mark))
    assert isinstance(prior, AdaptedPrior)
    assert prior.parameterisation == EDM(0.7)  # what the snapshot says
    assert (prior.complex, prior.shape, prior.range) == (True, (1, None, None), (-1.0, 1.0))
    assert (prior.sigma_min, prior.sigma_max) == (0.002, 80.0)
    assert_denoises(prior, net, 0.7)
    assert not mark.exists()


def test_options_go_before_what_the_file_says(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "net.pkl", song(), tmp_path / "mark")
    prior = load_prior(path, sigma_data=0.3, percentile=99.0, sigma_max=10.0)
    assert isinstance(prior, AdaptedPrior)
    assert (prior.parameterisation, prior.percentile, prior.sigma_max) == (EDM(0.3), 99.0, 10.0)
    chosen = load_prior(path, parameterisation={"name": "edm", "sigma_data": 0.2})
    assert isinstance(chosen, AdaptedPrior)
    assert chosen.parameterisation == EDM(0.2)
    with pytest.raises(TypeError, match="sigma_data"):
        load_prior(path, sigma_date=0.3)


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.model.", "module.model.", ""])
def test_averaged_tensors_are_taken_from_dictionaries_of_any_wrapper(tmp_path: Path, prefix: str) -> None:
    net, last = song(), song()
    weights(last, seed=1)
    content = {"net": flat(last), "ema": flat(net, prefix), "optimizer": {"step": 3}, "scheduler": {"gamma": 0.1}}
    assert_denoises(load_prior(saved(tmp_path, content)), net, 0.5)


def test_adm_networks_and_their_heads(tmp_path: Path) -> None:
    options: dict[str, Any] = {**SONG, "attention": (1,)}
    net = weights(DhariwalUNet(in_channels=2, out_channels=2, head_width=4, **options))
    path = saved(tmp_path, flat(net))
    assert_denoises(load_prior(path, head_width=4), net, 0.5)
    with pytest.raises(AssertionError):  # the width of a head is not in the file, and it matters
        assert_denoises(load_prior(path, head_width=12), net, 0.5)


def test_settings_in_json_beside_the_file(tmp_path: Path) -> None:
    net = song()
    options = {"network_kwargs": {"class_name": "training.networks.EDMPrecond", "sigma_data": 0.25}}
    (tmp_path / "training_options.json").write_text(json.dumps(options))
    assert_denoises(load_prior(saved(tmp_path, flat(net))), net, 0.25)
    (tmp_path / "training_options.json").write_text("{")
    with pytest.raises(ValueError, match="no JSON file of training options"):
        load_prior(tmp_path / "net.pt")


def test_labels_of_augmentation_are_left_out(tmp_path: Path) -> None:
    net = song()
    assert_denoises(load_prior(saved(tmp_path, {**flat(net), "model.map_augment.weight": torch.ones(8, 9)})), net, 0.5)


def test_grey_images_are_real(tmp_path: Path) -> None:
    net = song(1)
    prior = load_prior(saved(tmp_path, flat(net)), net_range=(0.0, 1.0))
    x = image(2, 1, 8, 12)
    torch.testing.assert_close(prior(x, 0.6), edm(net, x, 0.6, 0.5), rtol=1e-5, atol=1e-5)
    assert prior.range == (0.0, 1.0)


def test_noise_levels_are_in_the_units_of_the_prior(tmp_path: Path) -> None:
    path = saved(tmp_path, flat(song(1)))
    assert load_prior(path, net_range=(0.0, 1.0), range=(0.0, 100.0)).sigma_max == pytest.approx(8000.0)


def test_vp_snapshots_predict_the_noise(tmp_path: Path) -> None:
    net = song()
    settings = {"beta_d": np.float64(9.9), "beta_min": np.float64(0.1), "M": 100}
    prior = load_prior(write_snapshot(tmp_path / "vp.pkl", net, tmp_path / "mark", precond="VPPrecond", **settings))
    assert isinstance(prior, AdaptedPrior)
    assert prior.parameterisation == ContinuousEpsilon(0.1, 10.0, 99.0)
    z, t = image(1, 2, 8, 8), 0.4
    sigma = math.sqrt(math.expm1(9.9 * t**2 / 2 + 0.1 * t))
    wanted = z - sigma * net(z / math.sqrt(1 + sigma**2), torch.tensor([99 * t]))
    found = prior(torch.complex(z[:, :1], z[:, 1:]), sigma)
    torch.testing.assert_close(torch.cat([found.real, found.imag], 1), wanted, rtol=1e-4, atol=1e-4)


def test_other_preconditionings_need_to_be_said(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "ve.pkl", song(), tmp_path / "mark", precond="VEPrecond")
    with pytest.raises(ValueError, match="VEPrecond"):
        load_prior(path)
    prior = load_prior(path, parameterisation="score", sigma_min=0.02, sigma_max=100.0)
    assert isinstance(prior, AdaptedPrior)
    assert prior.parameterisation == Score()


def test_coordinates_make_a_prior_that_knows_its_place(tmp_path: Path) -> None:
    net = song(3, 1)
    prior = load_prior(saved(tmp_path, flat(net)), extent=0.8)
    assert isinstance(prior, NetworkPrior)
    assert (prior.coordinates, prior.range, prior.shape) == (True, (0.0, 1.0), (1, None, None))
    x, sigma = image(1, 1, 8, 8), 0.6
    total = sigma**2 + 0.25
    place = 0.8 * coordinate_grid(8, 8)  # not scaled by c_in
    raw = net(torch.cat([x / math.sqrt(total), place], 1), torch.tensor([math.log(sigma) / 4]))
    wanted = 0.25 / total * x + sigma * 0.5 / math.sqrt(total) * raw
    torch.testing.assert_close(prior(x, sigma), wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="EDM preconditioning only"):
        load_prior(tmp_path / "net.pt", parameterisation="score")


@pytest.mark.parametrize("clue", [{"network_kwargs": {"gated": True}}, {"loss_kwargs": {"class_name": "AmbientLoss"}}])
def test_networks_conditioned_on_a_mask_are_refused(tmp_path: Path, clue: dict[str, Any]) -> None:
    path = saved(tmp_path, {"ema": flat(song(4), "_orig_mod.model.")})
    with pytest.raises(ValueError, match="sampling mask, or all are latents"):
        load_prior(path)
    assert load_prior(path, channels="real").shape == (4, None, None)
    (tmp_path / "training_options.json").write_text(json.dumps(clue))
    with pytest.raises(ValueError, match="conditioned on the sampling mask"):
        load_prior(path, channels="real")


def test_tensors_that_do_not_belong_are_named(tmp_path: Path) -> None:
    content = {**flat(song()), "model.enc.16x16_conv.gate.weight": torch.ones(1)}
    with pytest.raises(ValueError, match=r"1 unexpected, first enc\.16x16_conv\.gate\.weight"):
        load_prior(saved(tmp_path, content))


def test_loading_does_not_move_the_global_generator(tmp_path: Path) -> None:
    path = saved(tmp_path, flat(song()))
    before = torch.random.get_rng_state()
    load_prior(path)
    assert torch.equal(torch.random.get_rng_state(), before)
