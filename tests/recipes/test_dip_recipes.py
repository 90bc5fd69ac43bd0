"""Recipes of networks fitted to one scan: they run on what is packaged, and say what the stop rule did."""

import re
from pathlib import Path

import pytest
import torch

import invdiff
from invdiff.operators import Identity
from tests.recipes.loading import recipe as load

SHORT = {"iterations": 4, "channels": 4, "stop": "discrepancy"}


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the printed table by method."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {line[1]: line for line in cells if line[0] not in ("scan",)}


@pytest.mark.parametrize("recipe", ["dip_mri", "dip_ct", "dip_denoise"])
def test_it_runs_without_data_and_prints_its_table(
    recipe: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(recipe)
    monkeypatch.setattr(module, "METHODS", {"tv": {"iterations": 3}, "dip": SHORT})
    out, scans = tmp_path / "figure.png", ["--scans", "8 coils"] if recipe == "dip_mri" else []
    module.main(["--methods", "tv", "dip", "--out", str(out), *scans])
    found = rows(capsys.readouterr().out)
    assert float(found["dip"][2].split()[0]) > 0, "PSNR"
    assert re.fullmatch(r"[01] of 1", found["dip"][4])
    assert found["tv"][3].strip() == "", "methods without a stop rule have no oracle"
    assert out.stat().st_size > 1000


def test_the_oracle_is_the_best_iterate_and_the_rule_is_measured_by_it() -> None:
    runs, truth = load("dip_runs"), torch.zeros(1, 1, 8, 8)
    path = iter([10.0, 30.0, 29.0, 12.0, 29.6])
    case = runs.Case("toy", truth + 0.1, Identity((1, 8, 8)), 0.1, truth, lambda x: next(path))
    found = runs.follow(case, "dip", None, iterations=4, channels=4, stop="never")
    assert (found.best, found.best_at, found.ran, found.quality) == (30.0, 2, 4, 29.6)
    assert found.close
    assert found.share == 2.0
    worse = runs.Run(29.4, 30.0, 2, 4, found.result)
    assert not worse.close
    cells = rows(runs.row("toy", "dip", [found, worse]))["dip"]
    assert cells[2:7] == ["29.50 (0.14)", "30.00", "1 of 2", "4", "2.00 (most 2.00)"]


def test_a_wrong_prior_costs_the_difference() -> None:
    recipe, runs = load("dip_mri"), load("dip_runs")
    result = invdiff.solve(torch.ones(1, 1, 8, 8), Identity((1, 8, 8)), None, "tv", sigma_y=0.1, iterations=2)
    wrong, right = ({("1 coil", "dds"): [runs.Run(q, q, 1, 1, result)]} for q in (27.0, 31.5))
    assert recipe.losses(wrong, right).splitlines()[-1] == "| 1 coil | dds | 31.50 | 27.00 | 4.50 |"


@pytest.mark.parametrize("rule", ["variance", "discrepancy"])
def test_a_rule_that_looks_on_does_what_it_does_in_charge(rule: str) -> None:
    """Discrepancy ends this fit, and variance does not: in both ways alike, and the oracle is of the whole path."""
    runs, paths = load("dip_runs"), load("dip_paths")
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    op = Identity((1, 8, 8))
    y = op.simulate(ramp, 0.1, seed=0)
    case = runs.Case("toy", y, op, 0.1, ramp, lambda x: -float((x - ramp).norm()))
    options = {"iterations": 120, "channels": 4}
    ended = paths.watched(case, "dip", [rule, "never"], **options)
    result = invdiff.solve(y, op, None, "dip", sigma_y=0.1, stop=rule, seed=0, progress=False, **options)
    assert ended[rule].quality == case.quality(result.x)
    assert ended[rule].ran == len(result.score)
    assert ended[rule].best == ended["never"].best >= ended["never"].last
    assert (ended[rule].ran < 120) == (rule == "discrepancy")


def test_a_rule_with_a_fit_of_its_own_is_judged_by_the_fit_to_all() -> None:
    runs, paths = load("dip_runs"), load("dip_paths")
    ramp, op = torch.linspace(0, 1, 8).expand(1, 1, 8, 8), Identity((1, 8, 8))
    case = runs.Case("toy", op.simulate(ramp, 0.1, seed=0), op, 0.1, ramp, lambda x: -float((x - ramp).norm()))
    ended = paths.watched(case, "dip", ["held-out", "never"], iterations=20, channels=4)
    assert ended["held-out"].best == ended["never"].best
    assert ended["held-out"].quality != ended["never"].quality
    assert ended["held-out"].ran == 20
    assert paths.verdict("held-out", [ended["held-out"]]).startswith("held-out: within 0.5 dB of the oracle on ")


def test_rules_are_compared_by_their_table(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--size", "16", "--iterations", "3", "--channels", "4", "--rules", "held-out", "never"]
    load("dip_denoise").main(arguments)
    text = capsys.readouterr().out
    assert "image 0, held-out: " in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:] == [
        "held-out",
        "never",
    ]
    assert text.splitlines()[-1].startswith("held-out: within 0.5 dB of the oracle on ")
