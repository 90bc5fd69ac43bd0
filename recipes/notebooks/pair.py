"""NN_name.py = NN_name.ipynb: the cells of a script in the percent format, as a notebook without outputs.

    # %% [markdown]
    # Text, as a comment.

    # %%
    code()

The script is the source: edit it, then write the notebook. (`pip install invdiff[notebooks]` brings jupytext, which
`jupytext.toml` tells of the pairs, so that Jupyter opens the script itself and saves both.)

    python recipes/notebooks/pair.py            # write every notebook from its script
    python recipes/notebooks/pair.py --check    # name those that differ from their script or hold outputs
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
SCRIPTS = "[0-9][0-9]_*.py"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class Cell(NamedTuple):
    """kind: "markdown" or "code". source: without the marks of the script. line: of the first line of it, from 1."""

    kind: str
    source: str
    line: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a pair differs")
    check = parser.parse_args().check
    stale = [script for script in scripts() if not agrees(script)]
    for script in stale:
        if not check:
            script.with_suffix(".ipynb").write_text(notebook(script.read_text("utf-8")), "utf-8")
        print(("differs: " if check else "wrote ") + script.with_suffix(".ipynb").name)
    sys.exit(check and bool(stale))


def scripts(folder: Path = FOLDER) -> list[Path]:
    """The tutorials, in order."""
    return sorted(folder.glob(SCRIPTS))


def agrees(script: Path) -> bool:
    """Whether the notebook beside the script is the one that it makes."""
    pair = script.with_suffix(".ipynb")
    return pair.exists() and pair.read_text("utf-8") == notebook(script.read_text("utf-8"))


def notebook(text: str) -> str:
    """The notebook of a script, format 4.5; equal scripts give equal files."""
    made = [_json_cell(i, cell) for i, cell in enumerate(cells(text))]
    content = {"cells": made, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def cells(text: str) -> list[Cell]:
    """The cells of a script.

    Raises:
        ValueError: text before the first mark, a mark that is neither, or Markdown that is not a comment.
    """
    lines = text.splitlines()
    marks = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    if any(line.strip() for line in lines[: marks[0] if marks else None]):
        raise ValueError("a script begins with a cell, '# %% [markdown]' or '# %%'.")
    return [_cell(lines[i:end], i) for i, end in zip(marks, [*marks[1:], len(lines)], strict=True)]


def _cell(lines: list[str], number: int) -> Cell:
    kinds = {"# %%": "code", "# %% [markdown]": "markdown"}
    mark, body = lines[0].rstrip(), "\n".join(lines[1:]).strip("\n")
    if mark not in kinds:
        raise ValueError(f"line {number + 1}: a cell begins with one of {list(kinds)}, got {mark!r}.")
    if kinds[mark] == "code":
        return Cell("code", body, number + 2)
    return Cell("markdown", "\n".join(_uncommented(line) for line in body.split("\n")), number + 2)


def _uncommented(line: str) -> str:
    if line and line != "#" and not line.startswith("# "):
        raise ValueError(f"a line of a Markdown cell begins with '# ', got {line!r}.")
    return line[2:]


def _json_cell(number: int, cell: Cell) -> dict[str, Any]:
    base = {"cell_type": cell.kind, "id": f"cell-{number}", "metadata": {}}
    more: dict[str, Any] = {"execution_count": None, "outputs": []} if cell.kind == "code" else {}
    return dict(sorted((base | more | {"source": cell.source.splitlines(keepends=True)}).items()))


if __name__ == "__main__":
    main()
