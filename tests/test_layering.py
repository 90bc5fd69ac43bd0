"""Imports run one way: the contracts hold, and each planted import in a wrong direction is caught."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("operators", "data")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package as one plain folder, so that checkouts without links are judged alike."""
    skip = shutil.ignore_patterns("__pycache__", "weights", "samples")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "invdiff",
        tmp_path / "invdiff",
        ignore=lambda folder, names: {*skip(folder, names), *(LINKED if Path(folder) == ROOT / "invdiff" else ())},
    )
    for name in LINKED:
        shutil.copytree(ROOT / name, tmp_path / "invdiff" / name, ignore=skip)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    """Exit status and report of lint-imports run in `folder`."""
    command = shutil.which("lint-imports", path=sysconfig.get_path("scripts"))
    assert command is not None, "lint-imports is not installed: pip install -e '.[test]'"
    done = subprocess.run([command, "--no-cache"], cwd=folder, capture_output=True, text=True, encoding="utf8")
    return done.returncode, done.stdout + done.stderr


def test_contracts_hold(tree: Path) -> None:
    status, report = lint(tree)
    assert status == 0, report


@pytest.mark.parametrize(
    ("file", "line", "caught"),
    [
        ("operators/base.py", "from invdiff.solve import solve", "Imports run one way BROKEN"),
        ("priors/prior.py", "    from invdiff import solvers", "Imports run one way BROKEN"),
        ("data/__init__.py", "import invdiff.operators.base", "Imports run one way BROKEN"),
        ("solvers/dps.py", "import invdiff.data", "Numerics never read files"),
        ("helpers.py", "", "not listed as layers"),
    ],
)
def test_planted_fault_is_caught(tree: Path, file: str, line: str, caught: str) -> None:
    late = f"\n\ndef late() -> None:\n{line}\n" if line.startswith(" ") else f"\n{line}\n"
    with (tree / "invdiff" / file).open("a", encoding="utf8") as f:
        f.write(late)
    status, report = lint(tree)
    assert status == 1, report
    assert caught in report


def test_only_the_command_line_imports_the_front_page(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the package, names come from the module that defines them; `invdiff` itself imports nearly everything."""
    monkeypatch.syspath_prepend(tree)
    graph = grimp.build_graph("invdiff", cache_dir=None)
    assert graph.find_modules_that_directly_import("invdiff") <= {"invdiff.__main__", "invdiff.cli"}
