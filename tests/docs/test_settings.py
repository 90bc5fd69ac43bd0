"""Settings and distances from exact posteriors are shown as they were measured, and nothing where nothing was."""

import json
from pathlib import Path

import pytest

from docs.render import settings
from docs.render.tables import ROOT
from invdiff.solvers import METHODS
from invdiff.tuned import packaged

RECORD = {
    "refusal": "",
    "stopped": "",
    "mean": {"measured": [0.125, 0.01], "unmeasured": [0.25, 0.01]},
    "spread": {"measured": [0.5, 0.01], "unmeasured": [1.0, 0.01]},
    "p": {"pixels": 0.2, "TARP": 0.003},
    "nfe": 100,
}


def test_every_row_of_the_table_is_listed_with_a_recipe_that_exists() -> None:
    lines = settings.listing()
    assert len(lines) == 3 + len(packaged())
    for row in packaged():
        assert row.method in METHODS
        assert (ROOT / row.recipe.split()[0]).is_file()


def test_a_method_has_its_own_rows_alone() -> None:
    names = {row.method for row in packaged()}
    for name in METHODS:
        assert (settings.settings(name) != []) == (name in names)


def test_distances_are_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, refused = RECORD | {"stopped": "it diverged"}, RECORD | {"refusal": "not linear"}
    cells = {"dds": {"Gaussian, MRI": RECORD, "Gaussian, CT": stopped, "mixture, MRI": refused}}
    monkeypatch.setattr(settings, "PROOF", tmp_path / "proof.json")
    assert settings.proof("dds") == []
    settings.PROOF.write_text(json.dumps(cells), encoding="utf8")
    lines = settings.proof("dds")
    assert "| Gaussian, MRI | 0.12 | 0.25 | 0.50 | 1.00 | 3e-03 | 100 |" in lines
    assert any("it diverged" in line for line in lines)
    assert not any("mixture" in line for line in lines)
    assert "recipes/solver_proof.py" in lines[0]
    assert settings.proof("daps") == []
