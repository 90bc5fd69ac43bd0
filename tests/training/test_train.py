"""Training: it learns, it resumes to the bit, it stops cleanly, and refuses what it cannot continue."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from invdiff.training.config import Config
from invdiff.training.distributed import World
from invdiff.training.run import Run
from invdiff.training.state import read_state
from invdiff.training.toml import ConfigError
from invdiff.training.train import train
from tests.training.tiny import discs, write


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than these trainings; the tests of the command and of pictures draw them."""
    for name in ("denoising_strip", "sample_grid"):
        monkeypatch.setattr(f"invdiff.training.keeper.{name}", lambda *arguments: None)


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Everything of a state that training moves."""
    content = read_state(path)
    found = {f"net/{k}": v for k, v in content["net"].items()}
    found |= {f"ema/{k}": v for k, v in content["ema"].items()}
    for width, tensors in content["averages"].items():
        found |= {f"{width}/{k}": v for k, v in tensors.items()}
    for i, moments in content["optimizer"]["state"].items():
        found |= {f"adam/{i}/{k}": v for k, v in moments.items()}
    return found


def assert_same(a: Path, b: Path, rtol: float = 0.0, atol: float = 0.0) -> None:
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=rtol, atol=atol, msg=name)


def after(step: int, number: int) -> Callable[..., Any]:
    """`Run.advance` that sends this process a signal in the step of that number."""
    advance = Run.advance

    def signalled(self: Run, *arguments: Any) -> float:
        loss = advance(self, *arguments)
        if self.step == step:
            os.kill(os.getpid(), number)
        return loss

    return signalled


def test_training_lowers_the_validation_error(tiny: Config, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    state = tmp_path / "a.pt"
    train(tiny, None, state, steps=1, on_record=records.append)
    train(tiny, None, state, steps=150, on_record=records.append)
    reports = [r for r in records if r["event"] == "report"]
    before, after = reports[0]["psnr"], reports[-1]["psnr"]
    assert all(after[sigma] > before[sigma] + 0.3 for sigma in ("0.1", "0.4"))
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == records
    assert [r["event"] for r in records] == ["begin", "report", "end"] * 2


def test_three_steps_and_three_more_are_six(tiny: Config, tmp_path: Path) -> None:
    tiny = replace(tiny, optimizer=replace(tiny.optimizer, cooldown=0.0))
    train(tiny, None, tmp_path / "whole.pt", steps=6)
    train(tiny, None, tmp_path / "parts.pt", steps=3)
    assert read_state(tmp_path / "parts.pt")["step"] == 3
    train(tiny, None, tmp_path / "parts.pt", steps=6, resume="yes")
    assert_same(tmp_path / "whole.pt", tmp_path / "parts.pt")
    train(tiny, None, tmp_path / "other.pt", steps=6, seed=1)
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "whole.pt", tmp_path / "other.pt")  # the control


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_and_the_rest_gives_the_same_weights(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(tiny, None, tmp_path / "whole.pt", steps=8)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", after(3, number))
        outcome = train(tiny, None, tmp_path / "parts.pt", steps=8)
    assert (outcome.step, outcome.stopped, outcome.signal) == (3, "signal", number)
    assert outcome.report is None  # nothing that takes long after a signal
    assert train(tiny, None, tmp_path / "parts.pt", steps=8).stopped == "steps"
    assert_same(tmp_path / "whole.pt", tmp_path / "parts.pt")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_a_crash_goes_back_to_the_last_state(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny, None, tmp_path / "whole.pt", steps=9)
    advance = Run.advance

    def crash(self: Run, *arguments: Any) -> float:
        if self.step == 6:
            raise MemoryError
        return advance(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", after(4, signal.SIGTERM))
        train(tiny, None, tmp_path / "parts.pt", steps=9)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", crash)
        with pytest.raises(MemoryError):
            train(tiny, None, tmp_path / "parts.pt", steps=9)
    assert read_state(tmp_path / "parts.pt")["step"] == 4
    train(tiny, None, tmp_path / "parts.pt", steps=9)
    assert_same(tmp_path / "whole.pt", tmp_path / "parts.pt")
    folders = [sorted(p.name for p in (tmp_path / f"{n}.averages").iterdir()) for n in ("whole", "parts")]
    assert folders[0] == folders[1] != []


def test_time_ends_a_session_with_its_state_saved(tiny: Config, tmp_path: Path) -> None:
    outcome = train(tiny, None, tmp_path / "a.pt", max_seconds=0.05)
    assert outcome.stopped == "time"
    assert read_state(tmp_path / "a.pt")["step"] == outcome.step > 0
    assert outcome.report is not None


def test_accumulation_changes_nothing_but_rounding(tiny: Config, tmp_path: Path) -> None:
    train(tiny, None, tmp_path / "one.pt", steps=4)
    train(replace(tiny, batch=replace(tiny.batch, accumulate=2)), None, tmp_path / "two.pt", steps=4)
    assert_same(
        tmp_path / "one.pt", tmp_path / "two.pt", rtol=1e-3, atol=2e-5
    )  # Adam divides rounding by small numbers
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "one.pt", tmp_path / "two.pt")


def test_recomputed_activations_change_nothing_but_rounding(tiny: Config, tmp_path: Path) -> None:
    train(tiny, None, tmp_path / "one.pt", steps=3)
    train(replace(tiny, batch=replace(tiny.batch, checkpoint=True)), None, tmp_path / "two.pt", steps=3)
    assert_same(tmp_path / "one.pt", tmp_path / "two.pt", rtol=1e-3, atol=2e-5)


def test_other_configurations_seeds_and_data_do_not_continue_a_state(tiny: Config, tmp_path: Path) -> None:
    state = tmp_path / "a.pt"
    train(tiny, None, state, steps=1)
    other = replace(tiny, optimizer=replace(tiny.optimizer, lr=1.0), batch=replace(tiny.batch, images=8))
    with pytest.raises(ConfigError, match=r"batch\.images: 4, now 8; optimizer\.lr: 0\.003, now 1\.0"):
        train(other, None, state, steps=2)
    with pytest.raises(ConfigError, match="seed: 0, now 1"):
        train(tiny, None, state, steps=2, seed=1)
    subjects = [f"p{i // 5}" for i in range(40)]
    changed = write(tmp_path / "changed.h5", images=discs(40, seed=1), subject=subjects)
    with pytest.raises(ConfigError, match="trained on other data"):
        train(tiny, changed, state, steps=2)
    moved = write(tmp_path / "moved.h5", images=discs(40), subject=subjects)
    assert train(replace(tiny, name="new name"), moved, state, steps=2).step == 2  # the same data in another place


def test_resume_says_what_must_be_there(tiny: Config, tmp_path: Path) -> None:
    state = tmp_path / "a.pt"
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(tiny, None, state, steps=1, resume="yes")
    train(tiny, None, state, steps=1, resume="no")
    with pytest.raises(ConfigError, match="exists; give another"):
        train(tiny, None, state, steps=2, resume="no")
    with pytest.raises(ConfigError, match="--init begins a new training"):
        train(tiny, None, state, steps=2, init=state)
    with pytest.raises(ConfigError, match="resume must be"):
        train(tiny, None, state, steps=2, resume="maybe")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="how long"):
        train(tiny, None, state)
    with pytest.raises(ConfigError, match="does not exist; make it"):
        train(tiny, None, tmp_path / "none" / "a.pt", steps=1)


def test_a_training_begins_from_the_average_of_another(tiny: Config, tmp_path: Path) -> None:
    train(tiny, None, tmp_path / "a.pt", steps=5)
    outcome = train(tiny, None, tmp_path / "b.pt", steps=0, init=tmp_path / "a.pt")
    a, b = read_state(tmp_path / "a.pt"), read_state(tmp_path / "b.pt")
    assert (outcome.step, b["start"], outcome.stopped) == (5, 5, "steps")
    assert b["initial"] == {"source": "a.pt", "steps": 5}
    for name, value in a["ema"].items():
        assert torch.equal(b["net"][name], value)
        assert torch.equal(b["ema"][name], value)
    assert train(tiny, None, tmp_path / "b.pt", steps=2).step == 7
    assert read_state(tmp_path / "b.pt")["initial"] == b["initial"]
    other = replace(tiny, noise=replace(tiny.noise, sigma_data=0.5))
    with pytest.raises(ValueError, match=r"sigma_data = 0\.25"):
        train(other, None, tmp_path / "c.pt", steps=1, init=tmp_path / "a.pt")
    other = replace(tiny, network={**tiny.network, "widths": [4, 12]})
    with pytest.raises(ValueError, match="mis-shaped"):
        train(other, None, tmp_path / "c.pt", steps=1, init=tmp_path / "a.pt")


def test_a_state_of_the_first_layout_gives_its_average(tiny: Config, tmp_path: Path) -> None:
    train(tiny, None, tmp_path / "a.pt", steps=3)
    content = read_state(tmp_path / "a.pt")
    old = {key: content[key] for key in ("net", "ema", "optimizer", "step")}
    old |= {"config": {"sigma_data": 0.25, "size": 16}, "generator": torch.Generator().get_state()}
    torch.save(old, tmp_path / "old.pt")
    with pytest.raises(ValueError, match="To begin from its weights: --init"):
        train(tiny, None, tmp_path / "old.pt", steps=4)
    assert train(tiny, None, tmp_path / "b.pt", steps=0, init=tmp_path / "old.pt").step == 3
    assert torch.equal(read_state(tmp_path / "b.pt")["net"]["head.weight"], content["ema"]["head.weight"])


def test_steps_without_a_finite_gradient_are_skipped_and_counted(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invdiff.training.run.MOST_SKIPPED", 3)
    good = Run._gradient

    def bad(self: Run, parts: Any) -> float:
        loss = good(self, parts)
        if self.step in (2, 3) or self.step > 4:
            next(self.net.parameters()).grad[...] = float("nan")  # type: ignore[index]
        return loss

    monkeypatch.setattr(Run, "_gradient", bad)
    outcome = train(tiny, None, tmp_path / "a.pt", steps=4)
    assert outcome.report is not None
    assert outcome.report["skipped"] == 2
    assert all(bool(torch.isfinite(v).all()) for v in weights(tmp_path / "a.pt").values())
    with pytest.raises(RuntimeError, match="no finite gradient for 4 steps, up to step 8"):
        train(tiny, None, tmp_path / "a.pt", steps=20)
    assert read_state(tmp_path / "a.pt")["step"] == 4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_resumes(tiny: Config, tmp_path: Path, precision: str) -> None:
    config = replace(tiny, optimizer=replace(tiny.optimizer, precision=precision, cooldown=0.0))
    train(config, None, tmp_path / "whole.pt", steps=4)
    train(config, None, tmp_path / "parts.pt", steps=2)
    train(config, None, tmp_path / "parts.pt", steps=4)
    assert_same(tmp_path / "whole.pt", tmp_path / "parts.pt")
    content = read_state(tmp_path / "whole.pt")
    assert {v.dtype for v in content["net"].values() if v.ndim > 1} == {torch.float32}
    assert bool(content["scaler"]) == (precision == "fp16")


def test_training_leaves_the_global_generator_alone(tiny: Config, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(tiny, None, tmp_path / "a.pt", steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_best_state_is_kept_apart(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([20.0, 30.0, 25.0])
    monkeypatch.setattr("invdiff.training.validate.Held.psnr", lambda *a: {"0.1": next(scores)})
    for steps in (1, 2, 3):
        train(tiny, None, tmp_path / "a.pt", steps=steps)
    assert read_state(tmp_path / "a.pt")["step"] == 3
    best = read_state(tmp_path / "a.best.pt")
    assert (best["step"], best["best"], best["report"]["psnr"]) == (2, 30.0, {"0.1": 30.0})


def test_memory_and_reports_do_not_change_the_weights(tiny: Config, tmp_path: Path) -> None:
    train(tiny, None, tmp_path / "a.pt", steps=4)
    train(tiny, None, tmp_path / "b.pt", steps=4, memory=0.0, report_every=0.0)
    assert_same(tmp_path / "a.pt", tmp_path / "b.pt")
    reports = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [r["step"] for r in reports if r["event"] == "report"] == [1, 2, 3, 4]


def test_a_network_with_coordinates_is_told_them(tiny: Config, tmp_path: Path) -> None:
    config = replace(tiny, network={**tiny.network, "coordinates": True})
    train(config, None, tmp_path / "a.pt", steps=12)
    head = read_state(tmp_path / "a.pt")["net"]["head.weight"]
    start = Run(config, 0, World(torch.device("cpu")))
    moved = (head - start.net.head.weight).abs().amax((0, 2, 3))  # type: ignore[union-attr]
    assert bool((moved > 0).all())


def test_tensorboard_gets_the_curves(tiny: Config, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(tiny, None, tmp_path / "a.pt", steps=1, tensorboard=tmp_path / "board")
    assert [p.name.startswith("events") for p in (tmp_path / "board").iterdir()] == [True]
