"""Averages of weights: their formula, and any width rebuilt from stored ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invdiff.training.ema import PowerEMA, gamma_of
from invdiff.training.posthoc import Member, combination, dot
from invdiff.training.snapshots import Snapshots

STEPS = 200


def walk(step: int) -> Tensor:
    """Weights along a training: a drift that slows down, and steps of a random walk on top, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.03 * torch.randn(STEPS, 50, generator=generator)[:step].sum(0)
    return 3 * torch.linspace(-1, 1, 50) * (1 - 0.98**step) + noise


def trained(folder: Path, widths: tuple[float, ...], keep: int) -> tuple[Snapshots, dict[float, PowerEMA]]:
    """Snapshots and averages after the walk."""
    net = nn.Linear(50, 1, bias=False)
    averages = {width: PowerEMA(net, width) for width in widths}
    snapshots = Snapshots(folder, 4, keep)
    for step in range(1, STEPS + 1):
        net.weight.data[0] = walk(step)
        for average in averages.values():
            average.update(net, step)
        if snapshots.due(step):
            snapshots.write(step, list(averages.values()))
    snapshots.thin(STEPS)
    return snapshots, averages


def parameters(averages: Mapping[float, PowerEMA]) -> dict[float, dict[str, Tensor]]:
    return {width: dict(a.net.named_parameters()) for width, a in averages.items()}


def test_the_average_weighs_steps_as_its_formula() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = PowerEMA(net, 0.1)
    values = [1.0, 2.0, 5.0]
    for step, value in enumerate(values, 1):
        net.weight.data.fill_(value)
        average.update(net, step)
    edges = np.arange(4.0) ** (average.gamma + 1) / 3 ** (average.gamma + 1)  # integral of the profile
    assert float(average.net.weight) == pytest.approx(float(np.diff(edges) @ values), rel=1e-5)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.2])
def test_the_exponent_gives_the_width(width: float) -> None:
    """The relative width is the standard deviation of t under the profile (gamma + 1) t^gamma on (0, 1)."""
    gamma = gamma_of(width)
    t = (np.arange(200_000) + 0.5) / 200_000
    p = (gamma + 1) * t**gamma / 200_000
    mean = float(p @ t)
    assert float(p @ (t - mean) ** 2) ** 0.5 == pytest.approx(width, rel=1e-3)


def test_the_inner_product_of_profiles_is_their_integral() -> None:
    t = (np.arange(400_000) + 0.5) / 400_000 * 300
    for (a, ga), (b, gb) in [((100, 7.0), (300, 17.0)), ((300, 7.0), (100, 17.0)), ((200, 5.0), (200, 5.0))]:
        p, q = ((g + 1) * t**g / s ** (g + 1) * (t <= s) for s, g in ((a, ga), (b, gb)))
        closed = float(dot(*(np.array([v]) for v in (a, ga, b, gb)))[0])
        assert closed == pytest.approx(float(p @ q) * 300 / 400_000, rel=1e-3)


@pytest.mark.parametrize("width", [0.06, 0.07, 0.08, 0.12, 0.15])
def test_a_rebuilt_average_equals_the_tracked_one(tmp_path: Path, width: float) -> None:
    """To 0.5 % of what averaging changes, though snapshots are in half precision; the nearest tracked is 10 % off."""
    snapshots, averages = trained(tmp_path / "s", (0.05, 0.1, width), keep=24)
    wanted = dict(averages.pop(width).net.named_parameters())["weight"]
    scale = float((wanted[0] - walk(STEPS)).norm())
    found = snapshots.average(STEPS, width, parameters(averages))["weight"]
    assert float((found - wanted).norm()) < 0.005 * scale
    nearest = parameters(averages)[0.05 if width < 0.07 else 0.1]["weight"]
    assert float((nearest - wanted).norm()) > 0.1 * scale


def test_a_tracked_width_comes_back_as_it_is(tmp_path: Path) -> None:
    snapshots, averages = trained(tmp_path / "s", (0.05, 0.1), keep=8)
    for width, tensors in parameters(averages).items():
        assert torch.equal(snapshots.average(STEPS, width, parameters(averages))["weight"], tensors["weight"])


def test_a_width_that_is_not_determined_is_refused(tmp_path: Path) -> None:
    snapshots, averages = trained(tmp_path / "s", (0.05, 0.1), keep=0)
    assert snapshots.steps() == []
    with pytest.raises(
        ValueError, match=r"relative width 0.2 cannot be made from the 2 stored ones, of widths 0.05, 0.1"
    ):
        snapshots.average(STEPS, 0.2, parameters(averages))


def test_weights_that_never_change_come_out_as_they_are() -> None:
    x, error = combination([Member(s, w) for s in (50, 100, 150, 200) for w in (0.05, 0.1)], 200, 0.08)
    assert x.sum() == pytest.approx(1.0, abs=1e-12)
    assert error < 0.05


@pytest.mark.parametrize("keep", [3, 8, 24])
def test_the_number_of_snapshots_is_bounded_and_a_function_of_the_step(tmp_path: Path, keep: int) -> None:
    snapshots, _ = trained(tmp_path / "s", (0.1,), keep)
    interval = snapshots.interval(STEPS)
    assert snapshots.steps() == list(range(interval, STEPS + 1, interval))
    assert keep // 2 <= len(snapshots.steps()) <= keep
    snapshots.thin(100)  # what a training resumed from step 100 finds
    assert snapshots.steps() == [s for s in range(interval, 101, interval) if s % snapshots.interval(100) == 0]
