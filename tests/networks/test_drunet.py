"""The network keeps sizes, sees the noise level, and treats samples apart."""

import pytest
import torch

from invdiff.networks.drunet import DRUNet, coordinate_grid
from invdiff.priors.checkpoints import load_prior
from invdiff.priors.network import NetworkPrior
from invdiff.training.augment import coordinates, draw_pose
from invdiff.training.config import Augment
from invdiff.training.draws import Draws


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


def with_coordinates(plain: DRUNet, seed: int = 1) -> DRUNet:
    """The same network with random weights for coordinate channels."""
    net = DRUNet(widths=(4, 8, 8), blocks=1, stem=plain.stem, embedding=16, coordinates=True).requires_grad_(False)
    state, stem = plain.state_dict(), plain.stem
    generator = torch.Generator().manual_seed(seed)
    new = torch.randn(4, 2 * stem**2, 3, 3, generator=generator)
    net.load_state_dict({**state, "head.weight": torch.cat([state["head.weight"], new], 1)})
    return net


@pytest.mark.parametrize("stem", [1, 2])
def test_absent_coordinates_leave_the_network_of_the_image_channels(stem: int) -> None:
    plain, x = network(stem), torch.randn(2, 2, 17, 12, generator=torch.Generator().manual_seed(0))
    net, noise = with_coordinates(plain), torch.tensor([-1.0, 0.5])
    absent, zero = net(x, noise), net(x, noise, torch.zeros(1, 2, 17, 12))
    assert torch.equal(absent, zero)
    torch.testing.assert_close(absent, plain(x, noise))  # another order of sums in the first convolution
    placed = net(x, noise, coordinate_grid(17, 12))
    assert float((placed - absent).norm()) > 0.1 * float(absent.norm())


def test_coordinates_may_be_dropped_for_single_samples() -> None:
    net, x = with_coordinates(network(2)), torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = coordinate_grid(8, 8)
    mixed = net(x, torch.zeros(2), torch.cat([grid, torch.zeros_like(grid)]))
    torch.testing.assert_close(mixed[:1], net(x[:1], torch.zeros(1), grid), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed[1:], net(x[1:], torch.zeros(1)), rtol=1e-4, atol=1e-5)


def test_wrong_coordinates_are_refused() -> None:
    x = torch.zeros(1, 2, 8, 8)
    with pytest.raises(ValueError, match=r"must be \(1, 2, 8, 8\), got \(1, 2, 4, 8\)"):
        with_coordinates(network(1))(x, torch.zeros(1), coordinate_grid(4, 8))
    with pytest.raises(ValueError, match="built without coordinates"):
        network(1)(x, torch.zeros(1), coordinate_grid(8, 8))


def test_the_grid_is_that_of_affine_grid_and_of_training() -> None:
    grid = coordinate_grid(5, 7)
    identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    known = torch.nn.functional.affine_grid(identity, [1, 1, 5, 7], align_corners=False)
    torch.testing.assert_close(grid, known.permute(0, 3, 1, 2))
    augment = Augment(scale=(1.0, 1.0), shift=0.0)
    pose = draw_pose(Draws((0,), 1), augment, 6, (1.0, 1.0), 0.0)
    torch.testing.assert_close(coordinates(pose, 6), coordinate_grid(6, 6))


def test_networks_without_the_option_are_what_they_were() -> None:
    assert not network(1).coordinates
    packaged = load_prior("brain-mri")
    assert isinstance(packaged, NetworkPrior)
    assert packaged.net.state_dict()["head.weight"].shape[1] == 2 * packaged.net.stem**2


def saved_bytes(net: DRUNet, x: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Size of what is kept for the backward pass without weights and inputs, and the gradient of a sum."""
    kept: dict[int, int] = {}
    known = {p.data_ptr() for p in net.parameters()}

    def pack(t: torch.Tensor) -> torch.Tensor:
        if t.data_ptr() not in known:
            kept[t.data_ptr()] = t.untyped_storage().nbytes()
        return t

    leaf = x.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = net(leaf, torch.zeros(len(x)))
    (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
    return sum(kept.values()), gradient


def test_checkpointing_keeps_less_and_gives_the_same_gradient() -> None:
    x = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DRUNet(widths=(8, 16, 16), blocks=3, stem=1, embedding=16)
        for p in net.parameters():
            p.data = 0.1 * torch.randn(p.shape)
    net.requires_grad_(False)
    bytes_plain, plain = saved_bytes(net, x)
    net.checkpointing = True
    bytes_checkpointed, checkpointed = saved_bytes(net, x)
    torch.testing.assert_close(checkpointed, plain, rtol=1e-6, atol=1e-7)  # the same operations in the same order
    assert bytes_checkpointed < 0.4 * bytes_plain
    assert bytes_checkpointed > 0
