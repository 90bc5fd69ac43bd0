"""The network keeps sizes, sees the noise level, and treats samples apart."""

import pytest
import torch

from invdiff.networks.drunet import DRUNet


def network(stem: int) -> DRUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DRUNet(widths=(4, 8, 8), blocks=1, stem=stem, embedding=16)
        for p in net.parameters():  # away from the zero initialisation, under which the output is zero
            p.data = 0.1 * torch.randn(p.shape)
    return net.eval()


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (5, 3), (1, 1)])
def test_any_size_comes_back(stem: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0))
    out = network(stem)(x, torch.zeros(2))
    assert out.shape == x.shape
    assert bool(torch.isfinite(out).all())


def test_padding_does_not_change_sizes_that_fit() -> None:
    net, x = network(1), torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    wide = torch.nn.functional.pad(x, (0, 3, 0, 3), mode="reflect")[..., :11, :11]
    assert net(wide, torch.zeros(1)).shape[-2:] == (11, 11)
    assert net(x, torch.zeros(1)).shape == x.shape


def test_samples_do_not_meet_and_the_noise_level_matters() -> None:
    net, x = network(2), torch.randn(2, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    noise = torch.tensor([-1.0, 0.5])
    both = net(x, noise).detach()
    torch.testing.assert_close(both[1:], net(x[1:], noise[1:]), rtol=1e-4, atol=1e-5)
    assert float((net(x[:1], noise[1:]).detach() - both[:1]).norm()) > 1e-3 * float(both[:1].norm())


def test_a_fresh_network_returns_zero_so_that_the_denoiser_starts_at_its_skip() -> None:
    net = DRUNet(widths=(4, 8), blocks=1, embedding=8)
    assert not bool(net(torch.randn(1, 2, 8, 8), torch.zeros(1)).any())
