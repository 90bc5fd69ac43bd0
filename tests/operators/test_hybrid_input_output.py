"""Images from Fourier amplitudes alone: what each step does, and that from coarse to fine it finds the image."""

import math

import pytest
import torch
from torch import Tensor

from invdiff.operators import PhaseRetrieval
from invdiff.operators.hybrid_input_output import Amplitudes, grids, hybrid_input_output, resampled, shrunk
from invdiff.operators.search import Search
from invdiff.random import streams
from invdiff.symmetries import psnr_up_to_symmetries
from tests.operators.cases import random

DISCS = ((0.0, 0.0, 0.8, 0.4), (0.3, -0.2, 0.3, 0.4), (-0.4, 0.3, 0.2, 0.6), (0.1, 0.5, 0.15, 0.3))


def discs(size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A positive image that is not its own twin, (1, 1, *size), peak 1, zero at the rim."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in size), indexing="ij")
    found = torch.zeros_like(y)
    for a, b, radius, value in DISCS:
        found = found + value * torch.sigmoid(20 * (radius - ((y - a) ** 2 + 1.3 * (x - b) ** 2).sqrt()))
    return (found / found.max())[None, None].to(dtype)


def solved(op: PhaseRetrieval, y: Tensor, seed: int = 0, **settings: int) -> Tensor:
    noise, _ = streams(seed, len(y), device=y.device)
    found = op.first_image(y, Search(noise, False, 0.0, settings=settings))
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize(("size", "oversampling"), [((48, 48), 2.0), ((30, 37), 2.2)])
def test_an_image_is_found_from_its_amplitudes(size: tuple[int, int], oversampling: float) -> None:
    op, truth = PhaseRetrieval((1, *size), oversampling), discs(size)
    y = op(truth).repeat(2, 1, 1, 1)  # two starts

    def best(**settings: int) -> float:
        return max(psnr_up_to_symmetries(truth.expand(2, -1, -1, -1), solved(op, y, **settings), op, 1.0, shifts=True))

    assert best() > 27
    assert best(starts=1, iterations=1) < 26.5  # and error reduction alone does not


def test_every_channel_is_found_on_its_own() -> None:
    truth = torch.cat((discs((32, 32)), discs((32, 32)).flip(-1) ** 2), 1)
    op = PhaseRetrieval((2, 32, 32))
    found = solved(op, op(truth))
    each = [float((op(found) - op(truth))[0, c].norm() / op(truth)[0, c].norm()) for c in range(2)]
    assert max(each) < 0.1


def test_images_stay_in_their_frame_and_above_their_least_value() -> None:
    op, truth = PhaseRetrieval((1, 20, 24)), discs((20, 24)) - 0.2
    noise, _ = streams(0, 1)
    box = op.pad(torch.ones(1, 1, 20, 24))[0, 0] > 0
    found = hybrid_input_output(op(truth), box, noise, low=-0.2, iterations=20)
    assert found.shape == (1, 1, 40, 48)
    assert float(found.min()) == pytest.approx(-0.2)
    assert not bool(found[..., ~box].any())


def test_streams_are_starts_and_do_not_depend_on_the_batch() -> None:
    op = PhaseRetrieval((1, 16, 16))
    y = op(torch.cat((discs((16, 16)), discs((16, 16)).flip(-1))))
    both, again = (solved(op, y, iterations=20) for _ in range(2))
    assert torch.equal(both, again)
    assert not torch.allclose(both, solved(op, y, seed=1, iterations=20), atol=1e-2)
    torch.testing.assert_close(solved(op, y[:1], iterations=20), both[:1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [(8, 12), (9, 7)])
def test_imposed_amplitudes_are_the_measured_ones(size: tuple[int, int], is_complex: bool) -> None:
    y = random(2, 3, *size, dtype=torch.float64).abs()
    if not is_complex:
        y = torch.fft.fftshift(torch.fft.fft2(random(2, 3, *size, dtype=torch.float64), norm="ortho").abs(), (-2, -1))
    x = random(2, 3, 4, *size, dtype=torch.complex128 if is_complex else torch.float64)
    known = torch.arange(size[1]).expand(size) % 3 > 0
    data, part = Amplitudes(y, None, size, is_complex), Amplitudes(y, known, size, is_complex)
    spectrum = torch.fft.fft2(data.imposed(x), norm="ortho")
    torch.testing.assert_close(torch.fft.fftshift(spectrum.abs(), (-2, -1)), y[:, :, None].expand(2, 3, 4, *size))
    torch.testing.assert_close(spectrum.angle(), torch.fft.fft2(x).angle())
    assert float(data.misfit(data.imposed(x)).max()) < 1e-12
    if is_complex:  # a real image keeps both of k and -k
        kept = torch.fft.fftshift(torch.fft.fft2(part.imposed(x) - x), (-2, -1))[..., ~known]
        assert float(kept.abs().max()) < 1e-10


def test_grids_halve_down_to_the_coarsest() -> None:
    assert grids((256, 200)) == [(32, 25), (64, 50), (128, 100), (256, 200)]
    assert grids((65, 300)) == [(17, 75), (33, 150), (65, 300)]
    assert grids((9, 5)) == [(9, 5)]


@pytest.mark.parametrize("size", [(8, 10), (9, 7)])
def test_resampling_keeps_values_and_the_centre(size: tuple[int, int]) -> None:
    finer = (2 * size[0] + 1, 2 * size[1])
    torch.testing.assert_close(resampled(torch.ones(1, 1, *size), finer), torch.ones(1, 1, *finer))
    point = torch.zeros(1, 1, *size)
    point[..., size[0] // 2, size[1] // 2] = 1
    large = resampled(point, finer)
    assert int(large.flatten().argmax()) == (finer[0] // 2) * finer[1] + finer[1] // 2
    if size[0] % 2 and size[1] % 2:  # no frequency without its mirror
        torch.testing.assert_close(resampled(large, size), point)


def test_a_coarse_box_holds_the_fine_one() -> None:
    box = torch.zeros(64, 80, dtype=torch.bool)
    box[16:48, 21:60] = True
    coarse = shrunk(box, (16, 20))
    at = coarse.nonzero()
    assert at.min(0).values.tolist() == [4 - 2, math.floor(21 / 4) - 2]
    assert at.max(0).values.tolist() == [12 + 2, math.ceil(59 / 4) + 2]
    assert torch.equal(shrunk(box, (64, 80)), box)
