"""The learning rate: warm-up, decay and cooldown, by steps and by time."""

import pytest
import torch

from invdiff.training.clock import Clock
from invdiff.training.config import Optimizer
from invdiff.training.distributed import World
from invdiff.training.learning_rate import rate

PLAN = Optimizer(lr=1.0, warmup=10, decay_from=100, cooldown=0.25)
ALONE = World(torch.device("cpu"))


@pytest.mark.parametrize(
    ("step", "start", "done", "wanted"),
    [
        (1, 0, 0.0, 0.1),
        (10, 0, 0.0, 1.0),
        (100, 0, 0.0, 1.0),
        (400, 0, 0.5, 0.5),
        (400, 0, 0.75, 0.5),
        (400, 0, 0.875, 0.25),
        (400, 0, 1.0, 0.0),
        (405, 400, 0.0, 0.5 * (100 / 405) ** 0.5),  # warm-up begins afresh, the decay goes on
    ],
)
def test_rate(step: int, start: int, done: float, wanted: float) -> None:
    assert rate(step, start, done, PLAN) == pytest.approx(wanted)


def test_no_cooldown() -> None:
    assert rate(100, 0, 1.0, Optimizer(lr=1.0, cooldown=0.0, warmup=1)) == 1.0


def test_a_clock_of_steps_counts_from_where_the_training_began() -> None:
    clock = Clock(ALONE, 50, 10, None)
    assert [clock.done(step) for step in (51, 56, 60)] == [0.0, 0.5, 0.9]
    assert [clock.over(step) for step in (50, 59, 60, 70)] == ["", "", "steps", "steps"]


def test_a_clock_of_time_follows_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("invdiff.training.clock.time.monotonic", lambda: now[0])
    clock = Clock(ALONE, 0, None, 40.0)
    assert (clock.done(1), clock.over(0)) == (0.0, "")
    now[0] = 130.0
    clock.tick(1.0, 0)
    assert (clock.done(2), clock.over(1)) == (0.75, "")
    now[0] = 140.0
    clock.tick(1.0, 0)
    assert (clock.done(3), clock.over(2)) == (1.0, "time")


def test_where_steps_are_known_time_only_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("invdiff.training.clock.time.monotonic", lambda: now[0])
    clock = Clock(ALONE, 0, 100, 40.0)
    now[0] = 50.0
    clock.tick(1.0, 0)
    assert (clock.done(11), clock.over(10)) == (0.1, "time")


def test_a_signal_ends_it() -> None:
    clock = Clock(ALONE, 0, 100, None)
    clock.tick(1.0, 15)
    assert clock.over(3) == "signal"
