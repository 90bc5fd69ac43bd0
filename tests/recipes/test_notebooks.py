"""Every tutorial and its notebook are one, hold no outputs and open alike; what runs them sees what fails."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "recipes" / "notebooks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the folder, which imports its neighbours by their bare names."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("pair", monkeypatch)


@pytest.fixture
def runner(pair: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("run", monkeypatch)


def test_every_script_has_the_notebook_that_it_makes(pair: ModuleType) -> None:
    names = [script.stem for script in pair.scripts()]
    assert names
    assert names == sorted(notebook.stem for notebook in FOLDER.glob("*.ipynb"))
    stale = [script.name for script in pair.scripts() if not pair.agrees(script)]
    assert not stale, f"python recipes/notebooks/pair.py writes the notebooks of {stale}"


def test_notebooks_hold_no_outputs() -> None:
    for path in FOLDER.glob("*.ipynb"):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            assert cell.get("outputs", []) == [], path.name
            assert cell.get("execution_count") is None, path.name


def test_every_tutorial_opens_with_what_one_will_be_able_to_do_and_ends_with_limits_and_what_is_next(
    pair: ModuleType,
) -> None:
    for script in pair.scripts():
        text = [cell.source for cell in pair.cells(script.read_text("utf-8")) if cell.kind == "markdown"]
        number = int(script.name[:2])
        assert text[0].startswith(f"# {number}. "), script.name
        assert "What you will be able to do" in "".join(text[:2]), script.name
        for part in ("hat to look at", "## Limits", "## Next"):
            assert any(part in cell for cell in text), (script.name, part)


SCRIPT = "# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1\n\n\n# %%\nx\n"


def test_cells_become_a_notebook(pair: ModuleType) -> None:
    cells = json.loads(pair.notebook(SCRIPT))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "code"]
    assert ["".join(cell["source"]) for cell in cells] == ["# Title\n\nText.", "x = 1", "x"]
    assert len({cell["id"] for cell in cells}) == 3


@pytest.mark.parametrize("fault", ["x = 1\n" + SCRIPT, SCRIPT + "# %% tags\n", SCRIPT.replace("# Text", "Text")])
def test_what_is_no_script_of_cells_is_refused(fault: str, pair: ModuleType) -> None:
    with pytest.raises(ValueError, match="begins with"):
        pair.cells(fault)


def test_a_notebook_that_was_run_or_edited_is_noticed(pair: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "01_x.py"
    script.write_text(SCRIPT)
    assert not pair.agrees(script)
    script.with_suffix(".ipynb").write_text(pair.notebook(SCRIPT))
    assert pair.agrees(script)
    script.with_suffix(".ipynb").write_text(pair.notebook(SCRIPT).replace('"outputs": []', '"outputs": [1]', 1))
    assert not pair.agrees(script)


def test_jupytext_reads_the_same_cells(pair: ModuleType) -> None:
    jupytext = pytest.importorskip("jupytext")
    for script in pair.scripts():
        text = script.read_text("utf-8")
        theirs = [(cell.cell_type, cell.source) for cell in jupytext.reads(text, fmt="py:percent").cells]
        assert theirs == [(cell.kind, cell.source) for cell in pair.cells(text)], script.name


FIGURE = (
    "# %%\nfrom matplotlib.figure import Figure\n\n# %%\nfigure = Figure()\nfigure.subplots().plot([0, 1])\nfigure\n"
)
PICKLED = "# %%\nimport pickle\nclass A: pass\n\n# %%\nassert type(pickle.loads(pickle.dumps(A()))) is A\n"


def test_a_script_runs_in_an_empty_folder_and_its_figures_are_saved(runner: ModuleType, tmp_path: Path) -> None:
    script, figures = tmp_path / "01_x.py", tmp_path / "figures"
    empty = "# %%\nfrom pathlib import Path\nassert not list(Path().iterdir())\nPath('left.txt').touch()\n\n"
    script.write_text(empty + FIGURE + PICKLED)
    outcome = runner.run(script, 100.0, figures)
    assert outcome.fault == "", outcome.output
    assert [path.name for path in figures.iterdir()] == ["01_x-1.png"]
    assert not (tmp_path / "left.txt").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('wrong')", "line 3"),
        ("import warnings\nwarnings.warn('old')", "UserWarning: old"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "must not use the network"),
    ],
)
def test_errors_warnings_and_downloads_fail(code: str, words: str, runner: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "01_x.py"
    script.write_text(f"# %%\n\n{code}\n")
    outcome = runner.run(script, 100.0)
    assert outcome.fault == "exit status 1"
    assert words in outcome.output


def test_a_script_that_takes_too_long_is_stopped(runner: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "01_x.py"
    script.write_text("# %%\nimport time\n\ntime.sleep(60)\n")
    outcome = runner.run(script, 0.5)
    assert outcome.fault == "took longer than 0.5 s"
    assert outcome.seconds < 30
