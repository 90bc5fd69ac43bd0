"""The loss of EDM: what it is for known networks, how its noise levels are spread, and that parts add up."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from invdiff.diffusion.precondition import edm
from invdiff.training.batches import Part
from invdiff.training.config import Noise
from invdiff.training.draws import Draws, share
from invdiff.training.loss import denoise, draw_sigma, part_loss
from invdiff.training.precision import Precision, choose


class Nothing(nn.Module):
    """F = 0, so that D = c_skip x."""

    def forward(self, x: Tensor, noise: Tensor, coordinates: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


def part(count: int = 4000, rows: slice = slice(None)) -> Part:
    """Gaussian images of standard deviation 0.25."""
    x0 = 0.25 * torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    draw = Draws((0,), count, rows)
    return Part(x0[rows], torch.zeros(len(draw), 2, 4, 4), draw, len(draw) / count)


def test_the_wiener_filter_of_white_images_has_a_loss_of_one() -> None:
    """D = c_skip x errs by sd^2 sigma^2 / (sd^2 + sigma^2), of which lambda is the inverse."""
    assert float(part_loss(Nothing(), part(), Noise(sigma_data=0.25))) == pytest.approx(1.0, rel=0.02)  # 64000 values


def test_parts_add_up_to_the_batch() -> None:
    whole = float(part_loss(Nothing(), part(8), Noise()))
    assert sum(float(part_loss(Nothing(), part(8, share(8, i, 4)), Noise())) for i in range(4)) == pytest.approx(whole)


def test_log_normal_levels_have_their_mean_and_width() -> None:
    sigma = draw_sigma(Draws((0,), 4000), Noise(mean=-1.5, std=1.3, min=1e-6, max=1e6)).log()
    assert float(sigma.mean()) == pytest.approx(-1.5, abs=0.005)  # stratified: far below 1.3 / sqrt(4000)
    assert float(sigma.std()) == pytest.approx(1.3, rel=0.01)


def test_log_uniform_levels_fill_their_range_evenly() -> None:
    sigma = draw_sigma(Draws((0,), 100), Noise(distribution="log-uniform", min=0.01, max=4.0))
    place = (sigma / 0.01).log() / math.log(400) * 100
    assert place.floor().clamp(0, 99).tolist() == list(range(100))


def test_levels_stay_in_their_range() -> None:
    sigma = draw_sigma(Draws((0,), 1000), Noise(std=5.0, min=0.02, max=3.0))
    assert (float(sigma.min()), float(sigma.max())) == (pytest.approx(0.02), pytest.approx(3.0))


def test_denoise_is_the_preconditioned_network() -> None:
    net = nn.Conv2d(1, 1, 1)
    x, sigma = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 2.0])
    c = edm(sigma[:, None, None, None], 0.5)
    wrapped = lambda x, noise: net(x) + noise[:, None, None, None]  # noqa: E731
    wanted = c.c_skip * x + c.c_out * (net(c.c_in * x) + c.c_noise)
    torch.testing.assert_close(denoise(wrapped, x, sigma, 0.5), wanted)  # type: ignore[arg-type]


def test_half_precision_is_for_the_network_alone() -> None:
    seen: list[torch.dtype] = []

    class Watched(nn.Conv2d):
        def forward(self, x: Tensor, noise: Tensor) -> Tensor:
            out = super().forward(x)
            seen.append(out.dtype)
            return out

    net, x = Watched(1, 1, 3, padding=1), torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = denoise(net, x, torch.tensor([0.1, 2.0]), 0.5)
    half = denoise(net, x, torch.tensor([0.1, 2.0]), 0.5, precision=Precision("bf16", torch.device("cpu")))
    assert seen == [torch.float32, torch.bfloat16]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0, atol=0.02)  # c_out times eight bits


def test_the_place_is_given_only_to_networks_that_want_it() -> None:
    given: list[bool] = []

    class Placed(Nothing):
        def forward(self, x: Tensor, noise: Tensor, coordinates: Tensor | None = None) -> Tensor:
            given.append(coordinates is not None)
            return torch.zeros_like(x)

    for with_place in (False, True):
        part_loss(Placed(), part(4), replace(Noise()), with_place=with_place)
    assert given == [False, True]


def test_a_precision_that_is_asked_for_is_taken() -> None:
    cpu = torch.device("cpu")
    assert [choose(name, cpu).name for name in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]
    assert choose("auto", cpu).name in ("fp32", "bf16")
    assert choose("auto", torch.device("mps")).name == "fp32"
    assert [choose(name, cpu).scaler().is_enabled() for name in ("bf16", "fp16")] == [False, True]
