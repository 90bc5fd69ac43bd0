"""Validation: the table is what it says, and fixed; analytic priors stand beside the network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from invdiff.training.config import Config
from invdiff.training.slices import Slices
from invdiff.training.validate import Held, analytic_tables, held_images, psnr
from tests.training.test_slices import Given
from tests.training.tiny import TINY, discs

CONFIG = replace(TINY, validation=replace(TINY.validation, fit=12, components=2, rank=2, patch=4, patches=400))


@pytest.fixture(scope="module")
def found() -> Slices:
    return Slices(Given(list(discs(20))), CONFIG.data, 2**20)


class Copy:
    """A prior that returns what it is given."""

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return x


@pytest.mark.parametrize("is_complex", [False, True])
def test_leaving_the_noise_in_has_the_psnr_of_the_noise(is_complex: bool) -> None:
    """10 log10(4 / sigma^2), per real component."""
    dtype = torch.complex64 if is_complex else torch.float32
    images, noise = (torch.randn(4, 1, 64, 64, dtype=dtype, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    held = Held(images, noise * (2**0.5 if is_complex else 1))  # torch gives complex noise of unit total variance
    table = held.psnr(Copy(), (0.1, 1.0))  # type: ignore[arg-type]
    assert table == {"0.1": pytest.approx(26.02, abs=0.1), "1": pytest.approx(6.02, abs=0.1)}


def test_the_mean_is_over_decibels_of_images() -> None:
    x0 = torch.zeros(2, 1, 2, 2)
    x = x0 + torch.tensor([0.2, 0.02])[:, None, None, None]
    torch.testing.assert_close(psnr(x, x0), torch.tensor([20.0, 40.0]))


def test_images_and_noise_are_fixed(found: Slices) -> None:
    a, b = held_images(found, CONFIG), held_images(found, CONFIG)
    assert a.images.shape == (6, 1, 16, 16)
    assert a.images.is_complex()
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.noise, b.noise)
    assert float(torch.view_as_real(a.noise).std()) == pytest.approx(1.0, abs=0.05)
    assert float(a.images.abs().max()) == pytest.approx(1.0, abs=0.01)


def test_slices_of_other_shapes_are_fitted_without_stretching() -> None:
    wide = discs(3)[:, 8:24]
    images = held_images(Slices(Given(list(wide)), CONFIG.data, 2**20), CONFIG).images.abs()
    assert float(images[:, :, :4].max()) == float(images[:, :, 12:].max()) == 0
    assert float(images[:, :, 4:12].max()) > 0.5


def test_analytic_priors_remove_noise(found: Slices) -> None:
    held = held_images(found, CONFIG)
    tables = analytic_tables(found, held, CONFIG)
    nothing = held.psnr(Copy(), CONFIG.validation.sigmas)  # type: ignore[arg-type]
    assert sorted(tables) == ["patch mixture", "stationary Gaussian"]
    for table in tables.values():
        assert table.keys() == nothing.keys()
        assert all(table[sigma] > nothing[sigma] + 2 for sigma in table)


def test_without_images_to_fit_there_are_none(found: Slices) -> None:
    config: Config = replace(CONFIG, validation=replace(CONFIG.validation, fit=0))
    assert analytic_tables(found, held_images(found, config), config) == {}
