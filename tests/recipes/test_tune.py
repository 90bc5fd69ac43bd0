"""The tuning recipe: what it keeps, what it writes, and that an interrupted run goes on where it was."""

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from invdiff.tuned import parse
from tests.recipes.loading import recipe as loaded


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with measurements that are made up: a base by part, and so many dB for each option."""
    module = loaded("tune")
    monkeypatch.setattr(module, "GRIDS", {"diffpir": {"steps": [50], "lam": [0.3, 3.0], "zeta": [0.5]}})
    monkeypatch.setattr(module, "problem", lambda scan, part, data, slices: SimpleNamespace(prior=None, part=part))
    monkeypatch.setattr(module, "METHODS", {**module.METHODS, "diffpir": module.METHODS["cg"]})  # no prior to name
    return module


def measuring(recipe: ModuleType, gains: dict[str, dict[Any, float]], held_out: float = 1.0) -> Any:
    """A stand-in for `run`; `held_out` of every gain is left on held-out slices. It counts its calls."""
    calls: list[Any] = []

    def run(p: SimpleNamespace, method: str, options: dict[str, Any]) -> Any:
        calls.append((method, options, p.part))
        if len(calls) == run.stop:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        gain = sum(gains.get(name, {}).get(value, 0.0) for name, value in options.items())
        steps = options.get("steps", 100)
        psnr = 30 + gain * (held_out if p.part == "val" else 1.0)
        return recipe.Score([psnr, psnr], (0.01, 0.05), steps, 0, steps / 10, 7.0)

    run.stop, run.calls = 0, calls  # type: ignore[attr-defined]
    return run


def tuned_row(recipe: ModuleType, folder: Path, *more: str) -> Any:
    table = folder / "table.toml"
    words = ["--data", str(folder), "--families", "inpainting", "--methods", "diffpir", *more]
    recipe.main([*words, "--log", str(folder / "log.jsonl"), "--table", str(table)])
    (found,) = parse(table.read_text())
    return found


def test_options_are_kept_one_after_the_other(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gains = {"steps": {50: -0.03}, "lam": {0.3: 0.4, 3.0: -1.0}, "zeta": {0.5: 0.05}}
    monkeypatch.setattr(recipe, "run", measuring(recipe, gains))
    row = tuned_row(recipe, tmp_path)
    assert row.options == {"steps": 50, "lam": 0.3}  # fewer at equal quality, and 0.4 dB; 0.05 dB is too little
    assert (row.score, row.baseline, row.evaluations, row.relative_time) == (30.37, 30.0, 50, 0.5)
    assert row.noise == pytest.approx((0.01 / 1.25, 0.05 * 1.25), rel=0.05)  # rounded to two digits
    assert "| inpainting | diffpir | {'steps': 50, 'lam': 0.3} | 30.37 | 30.0 |" in capsys.readouterr().out


def test_what_held_out_slices_do_not_confirm_is_not_written(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "run", measuring(recipe, {"lam": {0.3: 0.4}, "steps": {50: -1.0}}, held_out=0.25))
    row = tuned_row(recipe, tmp_path)
    assert row.options == {}
    assert row.score == row.baseline == 30.0
    assert row.evaluations == 100


def test_own_defaults_are_scored_without_a_search(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "run", measuring(recipe, {"lam": {0.3: 4.0}}))
    row = tuned_row(recipe, tmp_path, "--own")
    assert row.options == {}
    assert row.recipe.endswith(" --own")


def test_a_loss_on_one_slice_outweighs_a_gain_on_average(recipe: ModuleType) -> None:
    def score(*psnr: float, nfe: int = 100) -> Any:
        return recipe.Score(list(psnr), (0.01, 0.05), nfe, 0, 1.0, 1.0)

    old = [score(30, 30)]
    assert recipe.better([score(31, 29.9)], old, 0.1)
    assert not recipe.better([score(32, 29.7)], old, 0.1)
    assert recipe.better([score(29.97, 29.97, nfe=50)], old, 0.1)
    assert not recipe.better([score(29.97, 29.97)], old, 0.1)


def test_an_interrupted_run_goes_on(recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gains = {"lam": {0.3: 0.4}}
    first = measuring(recipe, gains)
    first.stop = 3
    monkeypatch.setattr(recipe, "run", first)
    with pytest.raises(KeyboardInterrupt):
        tuned_row(recipe, tmp_path)
    assert len([json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]) == 2
    assert not (tmp_path / "table.toml").exists()
    second = measuring(recipe, gains)
    monkeypatch.setattr(recipe, "run", second)
    row = tuned_row(recipe, tmp_path)
    assert all(call not in second.calls for call in first.calls[:2])
    third = measuring(recipe, gains)
    monkeypatch.setattr(recipe, "run", third)
    assert tuned_row(recipe, tmp_path) == row
    assert third.calls == []
