"""Coils mixed, compressed and whitened: what is kept, what becomes white, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.data.coils import simulate_maps
from invdiff.data.phantom import head_phantom
from invdiff.data.trajectories import cartesian
from invdiff.operators.coil_compression import geometric_compression, svd_compression
from invdiff.operators.coil_mixing import mix_coils
from invdiff.operators.fourier import centred_fft2, centred_ifft2
from invdiff.operators.whitening import noise_covariance, outermost, whitening_matrix
from tests.operators.cases import random


def scan(coils: int = 12, shape: tuple[int, int] = (32, 27)) -> Tensor:
    return centred_fft2(simulate_maps(coils, shape) * head_phantom(shape))


def energy_lost(kspace: Tensor, matrix: Tensor) -> float:
    return 1 - float((mix_coils(kspace[None], matrix).norm() / kspace.norm()) ** 2)


def orthonormal(matrix: Tensor) -> None:
    unit = torch.eye(matrix.shape[-2], dtype=matrix.dtype).expand(*matrix.shape[:-2], -1, -1)
    torch.testing.assert_close(matrix @ matrix.mH, unit, rtol=0, atol=1e-5)


def test_svd_keeps_the_most_that_so_many_coils_can() -> None:
    kspace = scan()
    values = torch.linalg.svdvals(kspace.flatten(1)).square()
    for coils in (1, 5, 12):
        matrix = svd_compression(kspace, coils)
        orthonormal(matrix)
        assert energy_lost(kspace, matrix) == pytest.approx(float(values[coils:].sum() / values.sum()), abs=1e-4)
    other = torch.linalg.qr(random(12, 5, dtype=torch.complex64))[0].mH
    assert energy_lost(kspace, other) > energy_lost(kspace, svd_compression(kspace, 5)) + 0.1


@pytest.mark.parametrize("axis", [-2, -1])
def test_geometric_keeps_more_than_one_matrix_for_all(axis: int) -> None:
    kspace = scan()
    matrices = geometric_compression(kspace, 4, axis)
    assert matrices.shape == (kspace.shape[axis], 4, 12)
    orthonormal(matrices)
    mixed = mix_coils(kspace[None], matrices, axis)
    lost = 1 - float((mixed.norm() / kspace.norm()) ** 2)
    assert lost < 0.7 * energy_lost(kspace, svd_compression(kspace, 4))


def test_geometric_virtual_coils_are_smooth() -> None:
    """Neighbouring matrices are turned to each other; without that their phases are arbitrary."""
    kspace = scan()
    matrices = geometric_compression(kspace, 4)
    jumps = (matrices.diff(dim=0).norm(dim=(1, 2)) / 4**0.5).sort().values
    assert float(jumps[-3]) < 0.5  # the rims of the head, where coils change their order, may turn faster
    hybrid = torch.linalg.eigh(torch.einsum("chw,dhw->hcd", *(centred_ifft2(kspace),) * 2).conj())[1]
    assert float(hybrid[..., -4:].mH.diff(dim=0).norm(dim=(1, 2)).mean()) / 4**0.5 > 2 * float(jumps.mean())


def test_images_of_virtual_coils_hold_the_same_combination() -> None:
    """All coils compressed to as many: root sum of squares is unchanged, whatever the read-out position."""
    kspace = scan(5)
    for matrix in (svd_compression(kspace, 5), geometric_compression(kspace, 5)):
        before, after = (centred_ifft2(k).norm(dim=-3) for k in (kspace, mix_coils(kspace[None], matrix)[0]))
        torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_mixing_takes_samples_along_a_trajectory() -> None:
    samples, matrix = random(2, 12, 50, dtype=torch.complex64), random(4, 12, dtype=torch.complex64)
    torch.testing.assert_close(mix_coils(samples, matrix)[1], matrix @ samples[1])


def mixing(coils: int = 4) -> Tensor:
    return torch.eye(coils) * torch.tensor([1.0, 2.0, 0.5, 3.0]) + 0.4 * random(coils, coils, dtype=torch.complex64)


def test_whitened_noise_has_unit_level_and_no_correlation() -> None:
    noise = mixing() @ random(4, 40000, dtype=torch.complex64) * 2**0.5 * 0.01
    matrix = whitening_matrix(noise_covariance(noise))
    fresh = mixing() @ random(4, 40000, seed=1, dtype=torch.complex64) * 2**0.5 * 0.01
    white = mix_coils(fresh[None], matrix)[0]
    # a covariance of 40000 samples scatters by 1 / sqrt(40000) = 0.5 %
    torch.testing.assert_close(noise_covariance(white), torch.eye(4, dtype=torch.complex64), rtol=0, atol=0.03)
    torch.testing.assert_close(white.real.std(1), torch.ones(4), rtol=0.02, atol=0)
    assert float((noise_covariance(fresh) - torch.eye(4)).abs().max()) > 0.5  # negative control


def test_bandwidth_scales_the_noise_power() -> None:
    noise = random(4, 400, dtype=torch.complex64)
    torch.testing.assert_close(noise_covariance(noise, 2.5), 2.5 * noise_covariance(noise))


def test_borders_of_k_space_tell_the_covariance() -> None:
    kspace, shape = scan(4, (64, 60)), (64, 60)
    kspace = kspace + (mixing() @ random(4, 64 * 60, dtype=torch.complex64)).unflatten(1, shape)
    kspace[:, :, ::3] = 0  # not sampled
    border = outermost(kspace.flatten(1), cartesian(shape).flatten(0, 1), share=0.3)
    assert border.shape == (4, 768)
    found, truth = noise_covariance(border), mixing() @ mixing().mH / 2
    assert float((found - truth).norm() / truth.norm()) < 0.25  # edges of the phantom add some


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: svd_compression(scan(3).abs(), 2), TypeError, "takes complex k-space"),
        (lambda: svd_compression(scan(3), 4), ValueError, r"to 4 coils needs k-space \(C, ...\) with C at least that"),
        (lambda: svd_compression(0 * scan(3), 2), ValueError, "all zero or not finite"),
        (lambda: geometric_compression(scan(3) * torch.nan, 2), ValueError, "all zero or not finite"),
        (lambda: mix_coils(scan(3)[None], torch.eye(4)), ValueError, r"\(4, 4\) takes \(B, 4, ...\), got \(1, 3, 32"),
        (
            lambda: mix_coils(scan(3)[None], torch.eye(3).expand(7, 3, 3)),
            ValueError,
            "for 7 positions, and 32 samples along axis -2",
        ),
        (lambda: noise_covariance(torch.ones(4, 90)), TypeError, "must be complex"),
        (lambda: noise_covariance(random(4, 15, dtype=torch.complex64)), ValueError, "15 noise samples are too few"),
        (lambda: noise_covariance(random(2, 15, dtype=torch.complex64) * torch.nan), ValueError, "NaN"),
        (lambda: noise_covariance(random(2, 15, dtype=torch.complex64), 0), ValueError, "above 0"),
        (lambda: whitening_matrix(torch.ones(3, 3, dtype=torch.complex64)), ValueError, "not positive definite"),
        (lambda: whitening_matrix(torch.zeros(3, 3, dtype=torch.complex64)), ValueError, "not positive definite"),
        (lambda: outermost(torch.ones(3, 5), torch.ones(4, 2)), ValueError, r"got \(3, 5\) and \(4, 2\)"),
        (lambda: outermost(torch.ones(3, 5), torch.ones(5, 2), 1.5), ValueError, "share must be"),
    ],
)
def test_refusals(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
