"""Read-outs: oversampling removed without loss, gains of spokes found, and the field of view moved."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.data.phantom import head_phantom
from invdiff.data.trajectories import radial
from invdiff.operators import NonCartesianMRI
from invdiff.operators.field_of_view import shift_kspace, shift_samples
from invdiff.operators.fourier import centred_fft2, centred_ifft2
from invdiff.operators.readout import decimate, readout_fft, readout_ifft, remove_oversampling
from invdiff.operators.readout_gains import readout_gains
from tests.operators.cases import random


@pytest.mark.parametrize("n", [8, 9])
def test_axis_transform_is_the_two_dimensional_one(n: int) -> None:
    x = random(2, n, 7, dtype=torch.complex64)
    torch.testing.assert_close(readout_fft(readout_fft(x, -1), -2), centred_fft2(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(readout_ifft(readout_fft(x, -2), -2), x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rows", "factor"), [(40, 2), (42, 2), (45, 3)])
def test_removing_oversampling_keeps_the_centre_of_the_image(rows: int, factor: int) -> None:
    x = random(2, rows, 9, dtype=torch.complex64)
    kept = centred_ifft2(remove_oversampling(centred_fft2(x), factor))
    start = rows // 2 - rows // factor // 2
    torch.testing.assert_close(kept, x[:, start : start + rows // factor], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "factor"), [(64, 2), (66, 2), (60, 3)])
def test_decimated_spokes_are_samples_of_the_same_image(n: int, factor: int) -> None:
    """An object inside the field of view; the projections' aliasing at its edge is below the tolerance."""
    size = n // factor
    fine = radial(7, (size, size), samples=n)
    r = torch.arange(size, dtype=torch.float32) - size // 2
    x = torch.exp(-((r[:, None] - 2) ** 2 + (r + 1) ** 2) / 9).to(torch.complex64)[None, None]
    samples = NonCartesianMRI(fine.flatten(0, 1), shape=(size, size), accuracy="high")(x)[0].unflatten(1, (7, n))
    kept, k = decimate(samples, fine, factor)
    assert kept.shape == (1, 7, size)
    wanted = NonCartesianMRI(k.flatten(0, 1), shape=(size, size), accuracy="high")(x)[0]
    assert float((kept.flatten(1) - wanted).norm() / wanted.norm()) < 1e-3
    shifted = NonCartesianMRI(fine[:, 1::factor].flatten(0, 1), shape=(size, size), accuracy="high")(x)[0]
    if factor == 2 and n == 64:  # negative control: one sample off
        assert float((kept.flatten(1) - shifted).norm() / wanted.norm()) > 0.1


def test_decimation_averages_noise() -> None:
    noise = random(1, 50, 256, dtype=torch.complex64)
    kept, _ = decimate(noise, torch.zeros(50, 256, 2), 4)
    assert float(kept.abs().square().mean().sqrt() / noise.abs().square().mean().sqrt()) == pytest.approx(0.5, rel=0.03)


def crossing_scan() -> tuple[Tensor, Tensor, Tensor]:
    """Samples (3, 21, 64) of three coils, the trajectory, and gains as of a transient and of eddy currents."""
    n, k = 32, radial(21, (32, 32))
    x = head_phantom((n, n)) * torch.polar(torch.ones(3, n, n), random(3, 1, 1) + torch.linspace(-1, 1, n))
    y = NonCartesianMRI(k.flatten(0, 1), shape=(n, n), accuracy="high")(x.to(torch.complex64)[:, None])[:, 0]
    s = torch.arange(21) / 21
    gains = torch.polar(1 + 0.3 * torch.exp(-4 * s), 0.3 * torch.cos(math.pi * s))
    return y.unflatten(1, (21, 64)), k, gains / gains.abs().mean()


def test_gains_of_spokes_are_found() -> None:
    samples, k, gains = crossing_scan()
    noisy = gains[:, None] * samples + 1e-3 * samples.abs().max() * random(3, 21, 64, dtype=torch.complex64)
    found = readout_gains(noisy, k)
    found = found * torch.sgn((found.conj() * gains).sum())  # a phase common to all belongs to the image
    # at 32 pixels the object reaches the edge of the small image that stands for it
    assert float((found - gains).abs().max()) < 0.03
    assert float((torch.ones_like(gains) - gains).abs().max()) > 0.25  # negative control
    even = readout_gains(samples, k)
    assert float((even / even[0] - 1).abs().max()) < 0.03


@pytest.mark.parametrize("shape", [(16, 16), (15, 12)])
def test_whole_shifts_roll_the_image(shape: tuple[int, int]) -> None:
    x = random(2, *shape, dtype=torch.complex64)
    moved = centred_ifft2(shift_kspace(centred_fft2(x), (3, -2)))
    torch.testing.assert_close(moved, x.roll((3, -2), (-2, -1)), rtol=1e-4, atol=1e-5)


def test_samples_shift_by_parts_of_a_pixel() -> None:
    n, k = 40, radial(9, (40, 40)).flatten(0, 1)
    r = torch.arange(n, dtype=torch.float32) - n // 2

    def blob(row: float, column: float) -> Tensor:
        return torch.exp(-((r[:, None] - row) ** 2 + (r - column) ** 2) / 20).to(torch.complex64)[None, None]

    op = NonCartesianMRI(k, shape=(n, n), accuracy="high")
    moved = shift_samples(op(blob(4.0, -6.0)), k, (-3.5, 6.25), (n, n))
    wanted = op(blob(0.5, 0.25))
    assert float((moved - wanted).norm() / wanted.norm()) < 1e-4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: remove_oversampling(torch.ones(1, 8, 8)), TypeError, "must be complex"),
        (lambda: remove_oversampling(random(1, 9, 8, dtype=torch.complex64)), ValueError, "9 samples along axis -2"),
        (lambda: decimate(random(2, 5, 8, dtype=torch.complex64), torch.zeros(5, 9, 2)), ValueError, "must agree"),
        (lambda: readout_gains(torch.ones(2, 5, 8), torch.zeros(5, 8, 2)), TypeError, "must be complex"),
        (
            lambda: readout_gains(random(2, 5, 8, dtype=torch.complex64), torch.zeros(4, 8, 2)),
            ValueError,
            "must agree, got",
        ),
        (
            lambda: readout_gains(
                random(1, 2, 2, dtype=torch.complex64), torch.tensor([[[0.0, 0]] * 2, [[9.0, 0]] * 2])
            ),
            ValueError,
            "read-out 1 does not come within 6 cycles",
        ),
        (lambda: shift_kspace(torch.ones(8, 8), (1, 1)), TypeError, "must be complex"),
        (lambda: shift_kspace(random(8, 8, dtype=torch.complex64), (1, 1, 1)), ValueError, "a shift of 3 axes"),
    ],
)
def test_refusals(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
