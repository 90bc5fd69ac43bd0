"""Stop rules choose the image that their score says, sample by sample, and never see the truth."""

from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.operators import CartesianMRI, Identity, Inpainting, Operator
from invdiff.random import streams
from invdiff.solvers import held_out
from invdiff.solvers.held_out import FAST, LAG
from invdiff.solvers.stopping import (
    Discrepancy,
    FirstOf,
    HeldOut,
    MovingVariance,
    Never,
    RunningVariance,
    Stop,
    forgetting,
    hold_out,
    stop_rule,
)


def images(levels: list[float], seed: int = 0) -> list[Tensor]:
    """A fixed image plus noise of the given level at each iteration, (1, 1, 8, 8)."""
    generator = torch.Generator().manual_seed(seed)
    return [1 + level * torch.randn(1, 1, 8, 8, generator=generator) for level in levels]


def run(stop: Stop, path: list[Tensor], residuals: list[Tensor] | None = None) -> int:
    """The number of images seen until the rule ends."""
    for i, x in enumerate(path):
        stop.look(i, x, x - 1 if residuals is None else residuals[i])
        if bool(stop.done.all()):
            return i + 1
    return len(path)


DIP = [0.5] * 40 + [0.05] * 40 + [0.5] * 200  # unsettled, settled, unsettled again


@pytest.mark.parametrize(
    "stop", [MovingVariance(window=20, patience=60), RunningVariance(begin=10, patience=60)], ids=["moving", "running"]
)
def test_variance_rules_take_the_settled_stretch(stop: Stop) -> None:
    path = images(DIP)
    seen = run(stop, path)
    assert 55 <= int(stop.at) <= 85
    assert torch.equal(stop.chosen, path[int(stop.at)])
    assert seen == int(stop.at) + 61, "patience counts from the chosen image"


def test_a_rule_waits_half_as_long_as_it_took() -> None:
    """The run ends at 1.5 times the chosen iteration, where `patience` does not end it before."""
    path = images([0.5 - 0.0015 * i for i in range(300)] + [0.05] * 40 + [0.5] * 600)
    stop, hasty = (MovingVariance(window=20, patience=p) for p in (500, 50))
    seen = run(stop, path)
    assert 315 <= int(stop.at) <= 345
    assert seen == int(stop.at) * 3 // 2 + 1
    assert run(hasty, path) == int(hasty.at) + 51


def test_a_young_choice_is_given_time() -> None:
    path = images([0.05] * 30 + [0.5] * 300)
    stop = MovingVariance(window=20, patience=500)
    assert run(stop, path) == int(stop.at) + 101


def test_moving_variance_is_that_of_the_window() -> None:
    path, stop = images([0.3] * 4 + [3e-4] * 6), MovingVariance(window=4, patience=10)
    scores = [float(stop.look(i, x, x)) for i, x in enumerate(path)]
    assert scores[:3] == [float("inf")] * 3
    for last in (5, 9):  # sums that have held larger deviations a thousandfold still tell these
        window = torch.stack(path[last - 3 : last + 1])
        assert scores[last] == pytest.approx(float((window - window.mean(0)).square().mean()), rel=1e-4)


def test_discrepancy_takes_the_first_image_that_explains_the_data() -> None:
    stop, path = Discrepancy(torch.tensor([2.0])), images([0.0] * 5)
    residuals = [torch.full((1, 4), value) for value in (5.0, 2.0, 0.9, 0.1, 0.0)]
    assert run(stop, path, residuals) == 3  # |r| = 2 x 0.9
    assert int(stop.at) == 2


def test_samples_end_apart() -> None:
    stop = Discrepancy(torch.tensor([1.0, 1.0]))
    for i, level in enumerate((3.0, 0.5, 0.1)):
        x = torch.full((2, 1, 2, 2), float(i))
        stop.look(i, x, torch.tensor([[level], [0.2 if i == 0 else 9.0]]))
    assert stop.chosen[:, 0, 0, 0].tolist() == [1.0, 0.0], "the second had ended at once"


def test_held_out_misfit_sees_only_what_is_left_out() -> None:
    weights = torch.tensor([[True, True, False]])
    stop = HeldOut(weights, patience=5)
    for i in range(LAG + 1):
        score = stop.look(i, torch.zeros(1, 1), torch.tensor([[9.0, 9.0, 0.5]]))
    assert float(score) == 0.5


def first_shapes(length: int = 700) -> list[Tensor]:
    """Residuals of a fitted and a held-out entry: the first falls fast at first, while the second rises."""
    steps = torch.arange(length)
    fitted = 5 + 40 * torch.exp(-steps / 15)
    held = torch.where(steps < 15, 6 - 0.2 * steps, 4.5 - 0.004 * (steps - 15)).clamp(min=2.0)
    held += 0.01 * (steps - 500).clamp(min=0)
    return list(torch.stack([fitted, held], 1)[:, None])


def test_nothing_is_judged_while_the_first_shapes_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    path = first_shapes()
    at = {}
    for fast in (FAST, 0.0):
        monkeypatch.setattr(held_out, "FAST", fast)
        monkeypatch.setattr(held_out, "LAG", LAG if fast else 1)
        stop = HeldOut(torch.tensor([[True, False]]), average=1.0)
        at[fast] = run(stop, [torch.zeros(1, 1)] * len(path), path)
    assert at[FAST] == len(path), "went on past the early least, until its path was over"
    assert at[0.0] < 300, "judged from the start, the early least would end the fit"


def overfitted(held: int, turn: int = 300, length: int = 1500) -> list[Tensor]:
    """Residuals of `held` entries left out, noise of 1: an error of 0.9 goes until the turn, and comes back slowly."""
    generator = torch.Generator().manual_seed(0)
    noise, early, late = torch.randn(3, 1, held, generator=generator)
    steps = torch.arange(length)
    left, back = 0.9 * (1 - steps / turn).clamp(min=0), 0.9 * ((steps - turn) / (5 * turn)).clamp(min=0)
    return [noise + a * early + b * late for a, b in zip(left, back, strict=True)]


def test_held_out_entries_find_where_the_error_is_least() -> None:
    path = overfitted(20000)
    stop = HeldOut(torch.zeros(1, 20000, dtype=torch.bool), average=1.0)
    run(stop, [torch.zeros(1, 1)] * len(path), path)
    assert 285 + 100 <= int(stop.turned) <= 315 + 100, "a hundred iterations after the least"
    assert int(stop.at) == int(stop.turned) + 100


def test_what_was_held_out_is_fitted_in_the_end() -> None:
    """Sample 0 turns, takes the rest of y in for a hundred iterations and ends; sample 1 goes on improving."""
    weights = torch.tensor([True, True, False]).expand(2, 3)
    stop, joined = HeldOut(weights, average=1.0), FirstOf([HeldOut(weights, average=1.0), Never()])
    for i in range(400):
        residual = torch.tensor([[9.0, 9.0, 1 + abs(i - 150) / 100], [9.0, 9.0, 8 - i / 100]])
        for rule in (stop, joined):
            rule.look(i, torch.full((2, 1), float(i)), residual)
            assert rule.weights is not None
            assert rule.weights.tolist() == [[True, True, i >= 250], [True, True, False]]
            assert rule.done.tolist() == [i >= 350, False]
            assert rule.at.tolist() == [min(i, 150) if i <= 250 else min(i, 350), i]
    assert stop.chosen[:, 0].tolist() == [350, 399]


def test_the_average_is_kept_and_the_iterate_judged() -> None:
    path = images(DIP)
    alone, both = (MovingVariance(window=20, patience=60) for _ in range(2))
    joined = FirstOf([MovingVariance(window=20, patience=60), Never()])
    run(alone, path)
    for i, x in enumerate(path):
        for stop in (both, joined):
            stop.look(i, x, x - 1, torch.full_like(x, i))
    for stop in (both, joined):
        assert int(stop.at) == int(alone.at)
        assert float(stop.chosen[0, 0, 0, 0]) == int(alone.at)


def test_an_average_forgets_where_it_began() -> None:
    """x_0 weighs less than a thousandth after the first hundred iterations; started from it, it weighs a third."""
    weight, plain = 1.0, 1.0
    for i in range(1, 101):
        weight, plain = weight * (1 - forgetting(0.01, i)), plain * 0.99
    assert weight < 1e-3
    assert plain > 0.3
    assert forgetting(0.01, 5000) == 0.01
    assert forgetting(1.0, 3) == 1.0, "no average at all"


def test_a_rule_of_ones_own_is_taken() -> None:
    stop = Never()
    assert stop_rule(stop, torch.zeros(1, 1, 4, 4), Identity((1, 4, 4)), None, streams(0, 1)[0], 10) is stop


def test_never_returns_the_last() -> None:
    path, stop = images([0.1] * 9), Never()
    assert run(stop, path) == 9
    assert torch.equal(stop.chosen, path[-1])


def test_the_first_rule_to_end_chooses() -> None:
    path = images(DIP)
    stop = FirstOf([MovingVariance(window=20, patience=60), Discrepancy(torch.tensor([1.0]))])
    residuals = [torch.full((1, 1), 9.0 if i < 30 else 0.5) for i in range(len(path))]
    assert run(stop, path, residuals) == 31
    assert torch.equal(stop.chosen, path[30])
    late = FirstOf([MovingVariance(window=20, patience=60), Discrepancy(torch.tensor([0.0]))])
    alone = MovingVariance(window=20, patience=60)
    assert run(late, path, residuals) == run(alone, path)
    assert torch.equal(late.chosen, alone.chosen)


@pytest.mark.parametrize(
    ("rules", "ends"),
    [
        ([Discrepancy(torch.tensor([1.0])), MovingVariance(window=20, patience=60)], 30),
        ([MovingVariance(window=40, patience=60), Discrepancy(torch.tensor([1.0]))], 30),  # before its first score
        ([Discrepancy(torch.tensor([0.0])), MovingVariance(window=20, patience=60)], None),
        ([Never(), MovingVariance(window=20, patience=500)], None),  # which has not ended either, and decides
    ],
)
def test_the_least_score_of_joined_rules_is_that_of_the_chosen_image(rules: list[Stop], ends: int | None) -> None:
    path, alone, stop = images(DIP[:120]), MovingVariance(window=20, patience=60), FirstOf(rules)
    scores = []
    for i, x in enumerate(path):
        if i == 0 or not bool(stop.done):
            scores.append(float(stop.look(i, x, torch.full((1, 1), 9.0 if i < 30 else 0.5))))
        alone.look(i, x, x)
    assert int(stop.at) == int(torch.tensor(scores).argmin()) == (int(alone.at) if ends is None else ends)
    assert torch.equal(stop.chosen, path[int(stop.at)])


def test_a_rule_that_has_judged_another_run_begins_anew() -> None:
    stop, fresh = (MovingVariance(window=4, patience=10) for _ in range(2))
    for i, x in enumerate(images([0.5] * 6)):
        stop.look(i, x.repeat(2, 1, 1, 1), x)
    for i, x in enumerate(images([0.1] * 9, seed=1)):
        assert torch.equal(stop.look(i, x, x), fresh.look(i, x, x))


RAMP = torch.arange(48.0).view(3, 1, 4, 4)
DOTS = torch.arange(2304).view(48, 48) % 200 == 0


@pytest.mark.parametrize(
    ("y", "op"),
    [
        (RAMP, Identity((1, 4, 4))),  # a twentieth is less than one entry
        (torch.ones(3, 1, 4, 4), Identity((1, 4, 4))),  # all as large as the largest
        (DOTS.expand(3, 1, 48, 48).float(), Inpainting(DOTS, (1, 48, 48))),  # less than a hundredth was measured
    ],
    ids=["few", "constant", "sparse"],
)
def test_something_of_every_item_is_held_out_and_something_fitted(y: Tensor, op: Operator) -> None:
    """Without any held out the score is 0 from the beginning."""
    measured = torch.ones(1, 1, *y.shape[2:], dtype=torch.bool) if op.sampled is None else op.sampled
    for seed in range(20):
        fitted = hold_out(y, op, 0.05, streams(seed, 3)[0])
        assert bool((~fitted).flatten(1).any(1).all())
        assert bool((fitted & measured).flatten(1).any(1).all())
        assert bool((fitted | measured).all())


def test_what_is_held_out_was_measured_and_is_not_the_centre() -> None:
    op = CartesianMRI(torch.arange(32) % 2 == 0, shape=(32, 32))
    x = torch.ones(1, 1, 32, 32, dtype=torch.complex64)
    y = op.simulate(x, 0.01, seed=0)
    fitted = hold_out(y, op, 0.2, streams(0, 1)[0])
    left = ~fitted
    assert bool((op.sampled & left).sum() == left.sum()), "only sampled entries can be held out"
    assert 0.1 < float(left.sum()) / float(op.sampled.sum()) < 0.3
    assert bool(fitted[0, 0, 16, 16]), "the brightest entry is always fitted"
    again = hold_out(y, op, 0.2, streams(0, 1)[0])
    assert torch.equal(fitted, again)


@pytest.mark.parametrize(
    ("name", "sigma", "message"),
    [("varience", None, "Did you mean 'variance'"), ("discrepancy", None, "needs sigma_y")],
)
def test_rules_that_cannot_be_are_refused(name: str, sigma: Any, message: str) -> None:
    y = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match=message):
        stop_rule(name, y, Identity((1, 4, 4)), sigma, streams(0, 1)[0], 10)


@pytest.mark.parametrize("name", [None, 3, Never])
def test_what_is_no_rule_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="name of a rule or a Stop"):
        stop_rule(name, torch.zeros(1, 1, 4, 4), Identity((1, 4, 4)), None, streams(0, 1)[0], 10)


def test_names_may_be_joined_with_spaces() -> None:
    y = torch.zeros(1, 1, 4, 4)
    stop = stop_rule("discrepancy + variance", y, Identity((1, 4, 4)), torch.ones(1), streams(0, 1)[0], 10)
    assert isinstance(stop, FirstOf)
    assert [type(rule) for rule in stop.rules] == [MovingVariance, Discrepancy], "what looks back comes first"
