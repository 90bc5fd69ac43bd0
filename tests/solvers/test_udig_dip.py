"""uDiG-DIP: refinements by the prior at falling levels, their number and cost, and its one-shot form."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import Identity, Inpainting, PhaseRetrieval
from invdiff.priors import GaussianPrior
from invdiff.priors.counted import Counted
from invdiff.priors.supported import Supported
from invdiff.random import streams
from invdiff.solvers import checkpoint
from invdiff.solvers.aseq_dip import seen
from invdiff.solvers.purification import POSES, Turning

SIZE = 16
SETTINGS: dict[str, Any] = {"rounds": 3, "every": 5, "channels": 8, "steps": 6, "sigma_y": 0.02, "seed": 0}
PIXELS = Inpainting((torch.arange(SIZE**2).view(SIZE, SIZE) % 3 > 0).bool(), (1, SIZE, SIZE))


def smooth(count: int) -> Tensor:
    noise = streams(1, count)[0].like(torch.zeros(count, 1, SIZE + 4, SIZE + 4))
    return 2 * torch.nn.functional.avg_pool2d(noise, 5, 1)


PRIOR = GaussianPrior.fit(smooth(400)[:-1], "stationary")
TRUTH = smooth(400)[-1:]


class Watched:
    """The prior, with the levels at which it was asked."""

    def __init__(self) -> None:
        self.levels: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(PRIOR, name)

    def __call__(self, x: Tensor, sigma: Any) -> Tensor:
        self.levels.append(float(torch.as_tensor(sigma).flatten()[0]))
        return PRIOR(x, sigma)


def solved(**options: Any) -> invdiff.Result:
    y = PIXELS.simulate(TRUTH, 0.02, seed=0)
    return invdiff.solve(y, PIXELS, PRIOR, "udig-dip", **SETTINGS | options)


def error(result: invdiff.Result) -> float:
    return float((result.x - TRUTH).norm() / TRUTH.norm())


def test_every_refinement_descends_from_its_level_and_begins_below_the_one_before() -> None:
    watched = Watched()
    y = PIXELS.simulate(TRUTH, 0.02, seed=0)
    result = invdiff.solve(y, PIXELS, watched, "udig-dip", **SETTINGS)  # type: ignore[arg-type]
    starts = [i for i, (a, b) in enumerate(zip([0.0, *watched.levels], watched.levels, strict=False)) if b > a]
    assert result.nfe == len(watched.levels)
    assert len(starts) == SETTINGS["rounds"]
    assert [watched.levels[i] for i in starts] == pytest.approx([2.0, 2.0**0.5, 1.0], rel=1e-4)
    assert starts == [0, 6, 12], "each has all its steps"


def test_what_is_missing_comes_from_the_prior() -> None:
    dip = invdiff.solve(
        PIXELS.simulate(TRUTH, 0.02, seed=0), PIXELS, None, "aseq-dip", sigma_y=0.02, seed=0, iterations=15, channels=8
    )
    assert error(solved(steps=30)) < 0.7 * error(dip)
    with pytest.raises(ValueError, match="needs a prior"):
        invdiff.solve(TRUTH, Identity((1, SIZE, SIZE)), None, "udig-dip", sigma_y=0.02)


def test_one_round_takes_one_reconstruction_as_input() -> None:
    assert solved(rounds=1, every=10).nfe == SETTINGS["steps"]


def test_the_average_of_refinements_is_nearer_than_the_last() -> None:
    """They are draws around the posterior mean: the mean of several has less of their spread."""
    many = {"rounds": 12, "sigma_last": 2.0, "steps": 20}
    assert error(solved(average=0.02, **many)) < 0.95 * error(solved(average=1.0, **many))


@pytest.mark.parametrize(("shape", "poses"), [((1, 6, 6), 8), ((1, 6, 4), 4)])
def test_a_turning_prior_is_asked_in_every_pose_and_answers_upright(shape: tuple[int, ...], poses: int) -> None:
    asked: list[Tensor] = []

    class Asked:
        any_pose = True

        def __call__(self, x: Tensor, sigma: Any) -> Tensor:
            asked.append(x)
            return x

    prior: Any = Asked()
    x, turning = torch.arange(shape[1] * shape[2], dtype=torch.float32).view(1, *shape), Turning(prior)
    support = torch.arange(shape[1] * shape[2]).view(shape) > 3
    masked = Turning(Counted(Supported(prior, support)))
    assert all(torch.equal(masked(x, 1.0), x * support) for _ in range(POSES))  # the support does not turn
    asked.clear()
    assert all(torch.equal(turning(x, 1.0), x) for _ in range(POSES))
    assert {tuple(z.shape) for z in asked} == {(1, *shape)}
    assert len({tuple(z.flatten().tolist()) for z in asked}) == poses


def test_only_priors_that_say_so_are_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may know where things are."""
    assert torch.equal(solved().x, solved(turn=False).x)
    monkeypatch.setattr(PRIOR, "any_pose", True, raising=False)
    assert not torch.equal(solved().x, solved(turn=False).x)


def test_no_data_step_sees_what_a_stop_rule_holds_out() -> None:
    x, y = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    weights = torch.arange(16).view(1, 1, 4, 4) % 5 > 0
    assert torch.equal(seen(y, Identity((1, 4, 4)), x, weights), weights.float())
    assert seen(y, Identity((1, 4, 4)), x, None) is y


def test_it_works_behind_non_linear_operators() -> None:
    op = PhaseRetrieval((1, SIZE, SIZE))
    result = invdiff.solve(op.simulate(TRUTH, 0.02, seed=0), op, PRIOR, "udig-dip", **SETTINGS)
    assert bool(torch.isfinite(result.x).all())


def test_a_resumed_fit_goes_on_at_the_level_it_had_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)

    def die(record: dict[str, Any]) -> None:
        if record["step"] == 7:
            raise KeyboardInterrupt

    whole, file = solved(), tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        solved(checkpoint=file, callback=die)
    assert torch.equal(solved(checkpoint=file).x, whole.x)


def test_a_first_level_below_the_last_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma_first"):
        solved(sigma_first=0.5, sigma_last=1.0)
