"""The phase-retrieval recipe: least misfit beats one start, and no choice beats the one that knows the truth."""

import pytest

from tests.recipes.loading import recipe as loaded

recipe = loaded("phase_retrieval")


def test_selection_is_worth_its_starts() -> None:
    quality = recipe.measure("sitcom", images=6, starts=6, steps=12, inner=10)
    assert quality["least misfit"] > quality["one start"] + 0.5
    assert quality["least misfit"] <= quality["nearest to the truth"]


def test_it_prints_a_row_for_each_method(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(recipe, "SETTINGS", {"dps": {"steps": 5}, "sitcom": {"steps": 2, "inner": 2}})
    recipe.main(["--images", "1", "--starts", "2", "--methods", "dps", "sitcom"])
    title, *rows = capsys.readouterr().out.splitlines()
    assert "2 starts" in title
    assert [row.split()[0] for row in rows] == ["dps", "sitcom"]
