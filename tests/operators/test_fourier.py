"""The centred transform and its phases."""

import numpy as np
import pytest
import torch

from invdiff.operators.fourier import centred_fft2, centred_ifft2, centring_phases
from tests.operators.cases import random

SIZES = [(1, 1), (1, 6), (9, 8), (8, 6), (7, 15), (320, 3)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_phases_replace_shifts(height: int, width: int) -> None:
    x = random(2, height, width, dtype=torch.complex128)
    p, q = centring_phases(height, width)
    torch.testing.assert_close(q * torch.fft.fft2(p * x, norm="ortho"), centred_fft2(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(8, 6), (4, 320)])
def test_phases_of_even_sizes_are_exact_signs(height: int, width: int) -> None:
    for phase in centring_phases(height, width):
        assert not phase.imag.any()
        assert torch.equal(phase.real.abs(), torch.ones(height, width, dtype=torch.float64))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_unitary_and_inverse(height: int, width: int) -> None:
    x = random(2, height, width, dtype=torch.complex128)
    torch.testing.assert_close(centred_ifft2(centred_fft2(x)), x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(centred_fft2(x).norm(), x.norm(), rtol=1e-12, atol=0)


def test_against_the_definition() -> None:
    n, c = 9, 4
    k = np.arange(n) - c
    matrix = np.exp(-2j * np.pi * np.outer(k, k) / n) / np.sqrt(n)
    x = random(n, n, dtype=torch.complex128)
    torch.testing.assert_close(centred_fft2(x), torch.from_numpy(matrix @ x.numpy() @ matrix.T))
