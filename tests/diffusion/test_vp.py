"""The VP schedules against the papers' numbers, and the time of a noise level."""

import json
import math

import pytest
import torch

from invdiff.diffusion.vp import Schedule

ALL = [Schedule.linear(), Schedule.scaled_linear(), Schedule.cosine(), Schedule.linear(steps=50).zero_snr()]


@pytest.mark.parametrize(
    ("schedule", "ends", "middle"),
    [  # sigma at t = 250, 500 and 750, to the digits they are quoted with
        (Schedule.linear(), (0.0100, 157.4), (0.96, 3.44, 17.4)),
        (Schedule.scaled_linear(), (0.029, 14.6), (0.70, 1.62, 4.10)),
        (Schedule.scaled_linear(0.0015, 0.0195), (0.039, 83.8), (0.98, 2.78, 10.9)),
        (Schedule.cosine(), (0.0064, 2.0e4), (0.43, 1.02, 2.45)),
    ],
)
def test_known_noise_levels(schedule: Schedule, ends: tuple[float, float], middle: tuple[float, ...]) -> None:
    assert (schedule.sigma_min, schedule.sigma_max) == pytest.approx(ends, rel=0.03)  # two digits
    assert schedule.sigmas()[[250, 500, 750]].tolist() == pytest.approx(middle, rel=0.01)


@pytest.mark.parametrize("schedule", ALL)
def test_sigma_is_that_of_the_cumulative_product(schedule: Schedule) -> None:
    abar = 1.0
    for beta, sigma in zip(schedule.betas().tolist(), schedule.sigmas().tolist(), strict=True):
        abar *= 1 - beta
        assert sigma == pytest.approx(math.sqrt((1 - abar) / abar), rel=1e-9)  # rounding of 1 - abar


@pytest.mark.parametrize("schedule", ALL)
def test_every_time_has_its_own_level_and_lies_between_its_neighbours(schedule: Schedule) -> None:
    times = torch.arange(schedule.steps, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule.sigmas()), times, rtol=0, atol=1e-6)
    sigmas = schedule.sigmas()
    between = (sigmas[1:] * sigmas[:-1]).sqrt()
    torch.testing.assert_close(schedule.time(between), times[:-1] + 0.5, rtol=0, atol=1e-6)
    torch.testing.assert_close(schedule.sigma(schedule.time(between)), between)
    assert schedule.time(torch.tensor([1e-9, 1e9])).tolist() == [0, schedule.steps - 1]


def test_zero_snr_starts_where_the_schedule_does_and_ends_a_step_before_infinity() -> None:
    plain = Schedule.linear()
    zero = plain.zero_snr()
    assert zero.steps == 999
    assert zero.sigma_min == pytest.approx(plain.sigma_min, rel=1e-9)
    assert zero.sigma_max > 10 * plain.sigma_max


@pytest.mark.parametrize("schedule", ALL)
def test_json_keeps_every_digit(schedule: Schedule) -> None:
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


def test_bad_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="cosine"):
        Schedule("cosin", (), 1000)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Schedule.from_betas([0.1, 1.0])
    with pytest.raises(ValueError, match="steps"):
        Schedule.from_betas([0.1])
