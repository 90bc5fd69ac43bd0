"""Every method, operator, prior and command has its page, and every public name its docstring and place."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.render import commands, examples, sections, tutorials
from invdiff import operators
from invdiff.operators import Operator
from invdiff.priors.checkpoints import available
from invdiff.solvers import METHODS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = "\n".join(page.read_text(encoding="utf8") for page in sorted((DOCS / "reference").glob("*.md")))
MODULES = re.findall(r"^\.\. automodule:: (\S+)", REFERENCE, re.MULTILINE)
SINGLE = {name.rpartition(".")[2] for name in re.findall(r"^\.\. autofunction:: (\S+)", REFERENCE, re.MULTILINE)}


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf8")


def public(module: str) -> Iterator[tuple[str, object]]:
    """Names of a module that a user may use: `__all__`, else what it defines without an underscore."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__all__"):
        yield from ((name, getattr(loaded, name)) for name in loaded.__all__)
        return
    for name, value in vars(loaded).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module:
            yield name, value


def undocumented(module: str) -> list[str]:
    """Public classes and functions without a docstring."""
    code = [(n, v) for n, v in public(module) if inspect.isclass(v) or inspect.isroutine(v)]
    return [name for name, value in code if not (value.__doc__ or "").strip()]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_with_all_its_parts(name: str) -> None:
    page = text(f"solvers/{name}.md")
    for part in ("equation", "needs", "cost", "operators", "options", "rows", "citation"):
        assert f"```{{generate}} solvers.{part} {name}\n" in page
    for heading in ("## When it fails", "## Choosing them"):
        assert len(page.partition(heading)[2].partition("\n## ")[0].strip()) > 40, heading
    assert re.search(rf"^{name}$", text("solvers/index.md"), re.MULTILINE)


def test_no_page_is_of_a_method_or_prior_that_is_gone() -> None:
    assert {p.stem for p in (DOCS / "solvers").glob("*.md")} == {"index", *METHODS}
    assert {p.stem for p in (DOCS / "priors").glob("*.md")} == {"index", *available()}


def test_every_operator_is_on_a_page_of_physics() -> None:
    pages = "\n".join(p.read_text(encoding="utf8") for p in (DOCS / "operators").glob("*.md"))
    assert [name for name in operators.__all__ if f"(#invdiff.operators.{name})" not in pages] == []


def test_every_operator_class_has_an_example() -> None:
    made = {part for name in examples.MAKERS for part in re.findall(r"\w+", name)}
    classes = {n for n in operators.__all__ if inspect.isclass(getattr(operators, n))}
    assert classes - made == {"LinearOperator", "Operator"}
    assert all(issubclass(getattr(operators, name), Operator) for name in classes)


def test_every_command_is_on_the_page_and_shows_examples() -> None:
    page = text("command-line.md")
    for call in commands.parsers():
        assert f"commands.help_of {call}\n" in page
        assert "examples:\n" in commands.text(call), f"{call} --help shows no example"


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_docstrings(module: str) -> None:
    assert undocumented(module) == []


def test_a_missing_docstring_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("def told():\n    '''Told.'''\n\ndef untold():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert undocumented("planted") == ["untold"]


def test_the_public_packages_are_in_the_reference() -> None:
    assert {"invdiff", *(f"invdiff.{p}" for p in ("operators", "priors", "testing", "plotting", "metrics"))} <= set(
        MODULES
    )


def imported(code: str) -> set[tuple[str, str]]:
    """(module, name) of all that a piece of code takes from the library."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
    return {(n.module, a.name) for n in nodes if n.module and n.module.startswith("invdiff.") for a in n.names}


def test_what_users_are_shown_to_import_is_in_the_reference() -> None:
    pages = [ROOT / "README.md", *DOCS.glob("*.md"), *(DOCS / "operators").glob("*.md")]
    blocks = [b for p in pages for b in re.findall(r"^```python\n(.*?)^```", p.read_text("utf8"), re.M | re.S)]
    taken = set().union(*map(imported, [*blocks, *(s.read_text("utf8") for s in tutorials.scripts())]))
    documented = {name for module in MODULES for name, _ in public(module)} | SINGLE
    callables = {(m, n) for m, n in taken if not n.isupper()}  # constants have no docstring of their own
    assert [f"{m}.{n}" for m, n in sorted(callables) if n not in documented and f"{m}.{n}" not in MODULES] == []


def test_included_links_lead_to_files() -> None:
    pages = ["\n".join(sections.section("README.md", "Methods", "by", "operator")), sections.results()]
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", "\n".join(pages)):
        assert (DOCS / target).exists(), target


def test_percent_scripts_become_pages(tmp_path: Path) -> None:
    script = tmp_path / "01_first.py"
    script.write_text("# ---\n# jupyter: x\n# ---\n\n# %% [markdown]\n# # First\n#\n# Text.\n\n# %%\nx = 1\n", "utf8")
    page = tutorials.page(script)
    assert page.startswith("# First\n\nText.")
    assert "```{code-block} python\nx = 1\n```" in page
    assert "jupyter" not in page.partition("The script is")[0]
