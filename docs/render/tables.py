"""Tables of the README and of the results, with the recipes that printed them, so that numbers are written once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("README.md", "recipes/results/README.md")
RECIPE = re.compile(r"recipes/\w+\.py|invdiff demo")


@dataclass(frozen=True)
class Table:
    """A table, the heading it stands under, and the recipes that its text names.

    Attributes:
        source, section: file and heading. header, rows: cells, Markdown. recipes: such as recipes/bench_ct.py.
    """

    source: str
    section: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    recipes: tuple[str, ...]


def tables(text: str, source: str) -> list[Table]:
    """All tables of a Markdown file.

    A table's recipes are those of the nearest text above it, under its heading, that names any; else of the text below.
    """
    return [table for part in re.split(r"^(?=##? )", text, flags=re.MULTILINE) for table in _section(part, source)]


def _section(part: str, source: str) -> Iterator[Table]:
    found = re.split(r"\n\s*\n", part.strip())
    for i, block in enumerate(found):
        if not block.startswith("|"):
            continue
        texts = [*reversed(found[:i]), *found[i + 1 :]]
        named = next((RECIPE.findall(t) for t in texts if not t.startswith("|") and RECIPE.search(t)), [])
        header, _, *rows = (tuple(_cells(line)) for line in block.splitlines())
        heading = part.splitlines()[0].lstrip("# ").strip()
        yield Table(source, heading, header, tuple(rows), tuple(dict.fromkeys(named)))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


@cache
def measured() -> tuple[Table, ...]:
    """Those of all `SOURCES`."""
    return tuple(table for name in SOURCES for table in tables((ROOT / name).read_text(encoding="utf8"), name))


def names_in(cell: str, known: frozenset[str]) -> set[str]:
    """The methods that a cell is about: `tv`, "dds, mean of 4", "`cg` / `tv`"."""
    return {head for part in cell.split(" / ") if (head := part.split(",")[0].strip().strip("`*")) in known}


def about(table: Table, name: str, known: frozenset[str]) -> Table | None:
    """The rows, or columns, of a table of methods that are about one of them; None where there are none.

    Of a table with methods as columns, the columns that are about none stay, since they say what the rows are.
    """
    rows = [names_in(row[0], known) for row in table.rows]
    heads = [names_in(cell, known) for cell in table.header]
    if len([row for row in rows if row]) > 1:
        chosen = tuple(row for row, names in zip(table.rows, rows, strict=True) if name in names)
        return Table(table.source, table.section, table.header, chosen, table.recipes) if chosen else None
    if not any(name in head for head in heads):
        return None
    keep = [i for i, head in enumerate(heads) if not head or name in head]
    header, *columns = (tuple(row[i] for i in keep) for row in (table.header, *table.rows))
    return Table(table.source, table.section, header, tuple(columns), table.recipes)
