"""NetworkPrior and its files."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from invdiff.networks.drunet import DRUNet
from invdiff.priors.channels import from_channels, to_channels
from invdiff.priors.checkpoints import available, load_prior, save_prior
from invdiff.priors.counted import Counted
from invdiff.priors.network import NetworkPrior
from invdiff.priors.prior import denoise_vjp

CONFIG = {"widths": [4, 8], "blocks": 1, "stem": 2, "embedding": 8}


def prior(is_complex: bool = True) -> NetworkPrior:
    channels = 2 if is_complex else 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DRUNet(in_channels=channels, out_channels=channels, widths=(4, 8), blocks=1, stem=2, embedding=8)
        for p in net.parameters():
            p.data = 0.2 * torch.randn(p.shape)
    return NetworkPrior(net, sigma_data=0.25, complex=is_complex, percentile=99.5, domain="test")


class Linear(nn.Module):
    """F(x) = 0: the denoiser is then c_skip x."""

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        return 0 * x


def test_preconditioning_without_a_network_is_the_white_gaussian_denoiser() -> None:
    p = NetworkPrior(Linear(), sigma_data=0.5, complex=False)
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(p(x, 0.5), x / 2)
    torch.testing.assert_close(p(x, torch.tensor([0.5, 1.0]))[1], x[1] * 0.25 / 1.25)


def test_the_image_gradient_is_the_derivative() -> None:
    p = prior()
    x = torch.randn(1, 1, 6, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    v = torch.randn(1, 1, 6, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    d = torch.randn(1, 1, 6, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
    x0, pull = denoise_vjp(p, x, 0.3)
    torch.testing.assert_close(x0, p(x, 0.3))
    step = 1e-2
    difference = (p(x + step * d, 0.3) - p(x - step * d, 0.3)) / (2 * step)
    left, right = (v.conj() * difference).sum().real, (pull(v).conj() * d).sum().real
    torch.testing.assert_close(left, right, rtol=2e-2, atol=1e-3)  # kinks of ReLU and float32 differences


def test_real_images_are_refused_by_a_complex_prior() -> None:
    with pytest.raises(TypeError, match="complex"):
        prior()(torch.zeros(1, 1, 4, 4), 0.1)
    with pytest.raises(TypeError, match="real"):
        prior(False)(torch.zeros(1, 1, 4, 4, dtype=torch.complex64), 0.1)


def test_counting() -> None:
    counted = Counted(prior())
    x = torch.zeros(2, 1, 4, 4, dtype=torch.complex64)
    counted(x, 0.1)
    _, pull = denoise_vjp(counted, x, 0.1)
    assert (counted.nfe, counted.vjps) == (2, 0)
    pull(x)
    assert (counted.nfe, counted.vjps) == (2, 1)
    assert counted.percentile == 99.5


def test_channels_round_trip() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.complex64)
    torch.testing.assert_close(from_channels(to_channels(x), True), x, rtol=0, atol=0)


def saved(path: Path) -> Path:
    path = path / "p.safetensors"
    save_prior(prior(), "drunet", CONFIG, path, {"data": "none"})
    return path


def test_a_saved_prior_comes_back_to_half_precision(tmp_path: Path) -> None:
    loaded = load_prior(saved(tmp_path))
    x = torch.randn(1, 1, 9, 8, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded(x, 0.2), prior()(x, 0.2), rtol=1e-2, atol=1e-3)  # weights in float16
    assert (loaded.percentile, loaded.complex, loaded.range) == (99.5, True, (-1.0, 1.0))


def test_truncated_and_altered_weights_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="truncated or altered"):
        load_prior(path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="truncated or altered"):
        load_prior(path)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    card["network"]["widths"] = [4, 12]
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="does not fit"):
        load_prior(path)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_prior(tmp_path / "none.safetensors")
    path = saved(tmp_path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ValueError, match="does not describe"):
        load_prior(path)


def test_an_unknown_name_lists_its_neighbours() -> None:
    with pytest.raises(ValueError, match="brain-mri"):
        load_prior("brain-mir")


def test_the_packaged_prior_loads_offline_and_denoises() -> None:
    assert "brain-mri" in available()
    p = load_prior("brain-mri")
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    image = 0.6 * ((y / 0.8) ** 2 + (x / 0.6) ** 2 < 1) * torch.ones(1, 1, 1, 1)
    clean = image.to(torch.complex64)
    noise = torch.randn(1, 1, 64, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)) * 2**0.5
    for sigma in (0.05, 0.2, 0.6):
        error = (p(clean + sigma * noise, sigma) - clean).abs().square().mean() / 2
        assert float(error) < 0.5 * sigma**2  # a disc is not a brain: half of the noise is little to ask


def test_a_prior_that_was_loaded_for_inference_still_has_input_gradients() -> None:
    with torch.inference_mode():
        packaged = load_prior("ct")
    x = torch.zeros(1, 1, 16, 16, requires_grad=True)
    packaged(x, 0.5).sum().backward()
    assert x.grad is not None
