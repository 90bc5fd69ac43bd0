"""What the README shows runs as it stands, and its table of contents names what exists."""

import re
from pathlib import Path

import pytest

import invdiff
import invdiff.operators
import invdiff.priors

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf8")


def test_the_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    result = names["result"]
    assert isinstance(result, invdiff.Result)
    assert result.samples.shape[:2] == (1, 4)
    assert (tmp_path / "result.png").stat().st_size > 10_000


def test_every_name_in_the_table_exists() -> None:
    rows = {cells[1].strip(): cells[2] for line in README.splitlines() if len(cells := line.split("|")) == 4}
    for name in re.findall(r"`(\w+)`", rows["operators"]):
        assert hasattr(invdiff.operators, name), name
    for name in re.findall(r"`([\w-]+)`", rows["methods"]):
        assert name in invdiff.METHODS, name
    assert set(re.findall(r"`([\w-]+)`", rows["methods"])) == set(invdiff.METHODS)
    for name in re.findall(r"`(\w+)`", rows["priors"]):
        assert hasattr(invdiff.priors, name), name


def test_figures_and_links_are_in_the_repository() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target
