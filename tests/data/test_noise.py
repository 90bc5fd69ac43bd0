"""The noise level is found under an object's signal, whatever the mask, and scales with the data."""

import pytest
import torch

from invdiff.data.masks import cartesian_mask
from invdiff.data.noise import sigma_from_edges, sigma_per_coil
from invdiff.data.synthetic import centred_fft2, coil_images
from invdiff.random import streams


def noisy(shape: tuple[int, int], sigma: float, coils: int = 4) -> torch.Tensor:
    kspace = centred_fft2(coil_images(shape, coils))
    noise, _ = streams(5, 1)
    return kspace + sigma * noise.like(kspace[None])[0]


@pytest.mark.parametrize("shape", [(128, 112), (127, 113)])
@pytest.mark.parametrize("undersampled", [False, True])
def test_level_is_found(shape: tuple[int, int], undersampled: bool) -> None:
    sigma, kspace = 0.02, noisy(shape, 0.02)
    mask = cartesian_mask(shape[1], 4, 10) if undersampled else None
    if mask is not None:
        kspace = torch.where(mask, kspace, torch.zeros_like(kspace))
    # a median of 180 pairs or more over 4 coils scatters by 0.79 / sqrt(720 * 2) = 2 %; the object's edges add some
    for given in (mask, None):  # without a mask the zeros tell
        assert abs(sigma_from_edges(kspace, given) / sigma - 1) < 0.12
    assert abs(sigma_from_edges(3 * kspace, mask) / sigma_from_edges(kspace, mask) - 3) < 1e-5


def test_coils_of_unequal_noise() -> None:
    noise, _ = streams(1, 1)
    levels = torch.tensor([1.0, 2.0, 4.0])
    kspace = noise.like(torch.zeros(1, 3, 96, 80, dtype=torch.complex64))[0] * levels[:, None, None]
    # 384 points: scatter 0.79 / sqrt(768) = 3 %, five of them
    torch.testing.assert_close(sigma_per_coil(kspace), levels, rtol=0.15, atol=0)
    assert abs(sigma_from_edges(kspace) / 7**0.5 - 1) < 0.1


def test_a_few_strong_points_do_not_move_it() -> None:
    noise, _ = streams(2, 1)
    kspace = noise.like(torch.zeros(1, 2, 64, 64, dtype=torch.complex64))[0]
    spiked = kspace.clone()
    spiked[:, 0, :2] = 1e6
    assert abs(sigma_from_edges(spiked) / sigma_from_edges(kspace) - 1) < 0.05
    assert float(spiked.std()) > 1e3  # negative control: the plain standard deviation moves


def test_refusals() -> None:
    kspace = noisy((32, 32), 0.1, 2)
    bad = kspace.clone()
    bad[0, 0, 0] = torch.nan
    for arguments, match in (
        ((kspace.abs(),), "must be complex"),
        ((bad,), "NaN"),
        ((kspace, torch.ones(31)), "must be"),
        ((kspace, None, 0.0), "fraction"),
        ((0 * kspace,), "0 sampled points"),
    ):
        with pytest.raises(ValueError, match=match):
            sigma_from_edges(*arguments)
