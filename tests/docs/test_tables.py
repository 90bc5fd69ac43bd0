"""Tables are taken from the results with their recipes, and nothing else is said to be measured."""

import re
from pathlib import Path

import pytest

from docs.render import options, solvers, tables
from docs.render.tables import ROOT, Table, about, measured
from invdiff.solvers import METHODS

PLANTED = """# Title

## Part

Numbers (`recipes/first.py`):

| method | dB |
|---|---:|
| `tv` | 1.0 |
| `dds`, mean of 4 | 2.0 |

Others:

| | tv | dds | noise |
|---|---|---|---|
| slice | 3 | 4 | 5 |

## Next

| `tv` | 6 |
|---|---|
| dds | 7 |

by `recipes/second.py`.
"""
KNOWN = frozenset({"tv", "dds"})


def test_tables_have_the_nearest_recipe_above_or_else_below() -> None:
    found = tables.tables(PLANTED, "x.md")
    assert [t.recipes for t in found] == [("recipes/first.py",), ("recipes/first.py",), ("recipes/second.py",)]
    assert [t.section for t in found] == ["Part", "Part", "Next"]


def test_rows_and_columns_of_one_method_are_found() -> None:
    first, second, _ = tables.tables(PLANTED, "x.md")
    rows, columns = about(first, "dds", KNOWN), about(second, "dds", KNOWN)
    assert rows is not None
    assert rows.rows == (("`dds`, mean of 4", "2.0"),)
    assert columns is not None
    assert (columns.header, columns.rows) == (("", "dds", "noise"), (("slice", "4", "5"),))
    assert about(first, "cg", KNOWN | {"cg"}) is None


@pytest.mark.parametrize("table", measured(), ids=lambda t: f"{t.section}: {t.header[-1]}")
def test_every_table_has_a_recipe_that_exists(table: Table) -> None:
    assert table.recipes, f"no text beside this table of {table.source} names a recipe"
    for name in table.recipes:
        assert name == "invdiff demo" or (ROOT / name).is_file(), name


@pytest.mark.parametrize("name", METHODS)
def test_every_option_is_explained(name: str) -> None:
    function = METHODS[name].function
    told = options.meanings(function)
    assert [option for option in options.options(function) if not told.get(option)] == []


@pytest.mark.parametrize("name", ["dds", "tv"])
def test_measured_rows_name_their_recipes(name: str) -> None:
    lines = "\n".join(solvers.rows(name))
    assert "recipes/compare_methods.py" in lines
    assert lines.count("; in full under [benchmarks]") == len([t for t in measured() if about(t, name, solvers.NAMES)])


def test_measured_tables_are_many() -> None:
    assert len(measured()) > 10, "the README or the results have lost their tables, or these are not read"


def test_no_page_has_numbers_of_its_own() -> None:
    """A measured dB or second belongs in the results, from where the pages take it."""
    for page in (ROOT / "docs").rglob("*.md"):
        if {"_build", "generated", "tutorials"} & set(Path(page).parts):
            continue
        for line in page.read_text(encoding="utf8").splitlines():
            if re.search(r"\d\.\d+ dB|\d+(\.\d+)? (ms|seconds)\b", line):
                assert tables.RECIPE.search(line), f"{page.name}: {line}"
