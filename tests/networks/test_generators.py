"""Networks fitted to one scan: sizes, published parameter count, samples apart."""

import pytest
import torch
from torch import nn

from invdiff.networks.deep_decoder import DeepDecoder
from invdiff.networks.generator_blocks import scales
from invdiff.networks.hourglass import Hourglass
from invdiff.networks.image_unet import ImageUNet
from invdiff.networks.skip_hourglass import SkipHourglass


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_hourglass_without_skips_has_its_published_number_of_parameters() -> None:
    assert count(Hourglass(32, 3, sigmoid=True)) == 3_008_867


def test_the_deep_decoder_has_fewer_parameters_than_pixels_of_its_paper() -> None:
    assert count(DeepDecoder(3, (512, 512))) < 3 * 512 * 512 / 7  # k = 128, about 100,000


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (9, 5)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    z = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0))
    depth = scales(*size, 3)
    assert SkipHourglass(4, 3, (8,) * depth, 2)(z).shape == (2, 3, *size)
    assert Hourglass(4, 3, (4, 8, 8)[:depth])(z).shape == (2, 3, *size)
    assert ImageUNet(4, (4, 8, 8)[: depth + 1])(z).shape == z.shape
    decoder = DeepDecoder(2, size, 4, depth)
    assert decoder(torch.randn(1, 4, *decoder.sizes[0])).shape == (1, 2, *size)


@pytest.mark.parametrize("net", [SkipHourglass(4, 1, (8, 8), 2), Hourglass(4, 1, (4, 8)), ImageUNet(4, (4, 8))])
def test_samples_do_not_meet(net: nn.Module) -> None:
    z = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(z)[:1], net(z[:1]), rtol=1e-5, atol=1e-5)  # sums of another order


def test_a_residual_network_begins_as_the_identity() -> None:
    x = torch.randn(1, 2, 12, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ImageUNet(2, (4, 8), residual=True)(x), x)
    assert not torch.allclose(ImageUNet(2, (4, 8))(x), x)


def test_the_sigmoid_bounds_the_output() -> None:
    out = Hourglass(4, 1, (4, 8), sigmoid=True)(torch.randn(1, 4, 16, 16)).detach()
    assert 0 < float(out.min())
    assert float(out.max()) < 1


def test_scales_keep_four_pixels() -> None:
    assert [scales(n, n, 5) for n in (128, 64, 16, 8, 3)] == [5, 4, 2, 1, 1]
