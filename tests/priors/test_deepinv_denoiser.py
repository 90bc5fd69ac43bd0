"""Denoisers in deepinv's form of call, (x, sigma) on images in [0, 1], as priors."""

import pytest
import torch
from torch import Tensor, nn

from invdiff.priors.deepinv_denoiser import from_deepinv
from tests.priors.models import low_rank, normal

LEVELS = {"sigma_min": 0.01, "sigma_max": 0.4}


class StandIn(nn.Module):
    """The exact denoiser of a Gaussian, which takes sigma as deepinv's denoisers do: a number or (B,)."""

    def __init__(self) -> None:
        super().__init__()
        self.exact = low_rank((1, 6, 5)).float()

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.exact(x, sigma)


def image(*shape: int) -> Tensor:
    return normal(*shape, dtype=torch.float32, seed=3)


def test_the_denoiser_is_called_in_its_own_units() -> None:
    net, x, sigma = StandIn(), image(2, 1, 6, 5), torch.tensor([0.1, 0.3])
    torch.testing.assert_close(from_deepinv(net, **LEVELS)(x, sigma), net(x, sigma))
    wide = from_deepinv(net, range=(-1, 1), channels="complex-split", **LEVELS)
    out = wide(torch.complex(x, x.flip(0)), sigma)
    torch.testing.assert_close(out.real, 2 * net((x + 1) / 2, sigma / 2) - 1)
    torch.testing.assert_close(out.imag, 2 * net((x.flip(0) + 1) / 2, sigma / 2) - 1)
    assert (wide.sigma_min, wide.sigma_max, wide.range) == (0.01, 0.4, (-1, 1))


def test_noise_levels_must_be_said_and_kept() -> None:
    with pytest.raises(TypeError, match="sigma_max"):
        from_deepinv(StandIn(), sigma_min=0.01)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"from 0\.01 to 0\.4"):
        from_deepinv(StandIn(), **LEVELS)(image(1, 1, 6, 5), 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_deepinv_itself(channels: int) -> None:
    deepinv = pytest.importorskip("deepinv")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = deepinv.models.DRUNet(channels, channels, nc=(4, 8, 8, 8), nb=1, pretrained=None)
    prior = from_deepinv(net, net_channels=channels, **LEVELS)
    x, sigma = image(2, channels, 16, 16), torch.tensor([0.05, 0.2])
    out = prior(x, sigma)
    for i in range(2):
        torch.testing.assert_close(out[i : i + 1], net(x[i : i + 1], float(sigma[i])), rtol=1e-4, atol=1e-4)
    leaf = x.clone().requires_grad_()
    (pull,) = torch.autograd.grad(prior(leaf, sigma), leaf, x)
    assert bool(pull.isfinite().all())
