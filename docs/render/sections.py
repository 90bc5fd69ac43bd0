"""Sections of the README and of recipes/results/README.md, word by word, with links that work from docs/."""

import re
from pathlib import Path

from docs.render.tables import ROOT

RESULTS = "recipes/results/README.md"
LINKS = {RESULTS: "benchmarks.md", "README.md": "index.md"}


def section(source: str, *words: str) -> list[str]:
    """The text below one heading."""
    parts = re.split(r"^## (.+)$", _text(source), flags=re.MULTILINE)
    bodies = {title.replace("`", ""): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}
    return _relinked(bodies[" ".join(words)], source).strip().splitlines()


def results() -> str:
    """All results, without their title; its text before the first heading is about the machine."""
    return f"## Machine\n{_relinked(_text(RESULTS), RESULTS).partition(chr(10))[2]}"


def write_all(folder: Path) -> None:
    """The results as a file to include: their sections follow the results as they grow."""
    folder.mkdir(exist_ok=True)
    (folder / "results.md").write_text(results(), encoding="utf8")


def _relinked(text: str, source: str) -> str:
    """Targets relative to docs/: pages of this site for the files that they show, other files where they are."""
    folder = source.rpartition("/")[0]

    def target(found: re.Match[str]) -> str:
        path = f"{folder}/{found.group(1)}".lstrip("/")
        path = f"{path}/README.md" if (ROOT / path).is_dir() else path
        return f"]({LINKS.get(path, f'../{path}')})"

    return re.sub(r"\]\((?!https?:|#)([^)#]+)\)", target, text)


def _text(source: str) -> str:
    return (ROOT / source).read_text(encoding="utf8")
