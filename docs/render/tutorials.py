"""recipes/notebooks/*.py as pages: the percent scripts, in which cells begin with `# %%`, without running them."""

import re
from pathlib import Path

from docs.render.tables import ROOT

NOTEBOOKS = ROOT / "recipes" / "notebooks"


def scripts() -> list[Path]:
    """The percent scripts, which begin with their number, in its order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))


def page(script: Path) -> str:
    """One script as Markdown: its text cells, its code cells, and where it is."""
    text = re.sub(r"\A# ---\n.*?^# ---\n", "", script.read_text(encoding="utf8"), flags=re.DOTALL | re.MULTILINE)
    _, *cells = re.split(r"^# %%", "# %%" + text if not text.lstrip().startswith("# %%") else text, flags=re.MULTILINE)
    shown = [part for cell in cells if (part := _cell(cell))]
    note = f"The script is `recipes/notebooks/{script.name}`; open it in Jupyter through jupytext, or run it as it is."
    return "\n\n".join([*shown, note]) + "\n"


def _cell(cell: str) -> str:
    head, _, body = cell.partition("\n")
    if "[markdown]" in head:
        text = re.sub(r"^# ?", "", body.strip("\n"), flags=re.MULTILINE)
        return re.sub(r'\A"""\n?|\n?"""\Z', "", text).strip()
    return f"```{{code-block}} python\n{body.strip()}\n```" if body.strip() else ""


def title(script: Path) -> str:
    """The first heading of a script, else its name."""
    found = re.search(r"^#+ (.+)", page(script), re.MULTILINE)
    return found.group(1) if found else script.stem


def write_all(folder: Path) -> None:
    """Write the pages, and remove those of scripts that are gone."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        if old.stem not in {script.stem for script in scripts()}:
            old.unlink()
    for script in scripts():
        made, text = folder / f"{script.stem}.md", page(script)
        if not made.exists() or made.read_text(encoding="utf8") != text:
            made.write_text(text, encoding="utf8")


def listing() -> list[str]:
    """A toctree of the pages."""
    if not scripts():
        return ["There are none in this version.", ""]
    return ["```{toctree}", ":maxdepth: 1", "", *(f"tutorials/{script.stem}" for script in scripts()), "```", ""]
