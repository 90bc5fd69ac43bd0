"""Markdown out of plain text: escapes, tables, and docstrings with their indented equations."""

import re
import textwrap
from collections.abc import Iterable, Sequence


def escaped(text: str) -> str:
    """Text that Markdown shows as it is; `code` in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<\[\]$|\\])", r"\\\1", part) for part in parts)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; cells are Markdown without line breaks."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return [*lines, *("| " + " | ".join(cell.replace("\n", " ") for cell in row) + " |" for row in rows), ""]


def blocks(docstring: str) -> list[str]:
    """Paragraphs and indented blocks, without the empty lines between them."""
    found = re.split(r"\n\s*\n", docstring.strip("\n"))
    merged: list[str] = []
    for block in found:
        indented = all(line.startswith("    ") for line in block.splitlines())
        if indented and merged and merged[-1].startswith("    "):
            merged[-1] += "\n\n" + block
        else:
            merged.append(block)
    return merged


def prose(docstring: str) -> list[str]:
    """A docstring as Markdown lines: indented blocks as code, "Source:" and "Differs:" in bold."""
    lines: list[str] = []
    for block in blocks(docstring):
        if block.startswith("    "):
            lines += ["```text", *textwrap.dedent(block).splitlines(), "```", ""]
        else:
            text = escaped(" ".join(block.split()))
            text = re.sub(r"(?:(?<=^)|(?<=\. ))(Source|Differs|Known limit):", r"**\1.**", text)
            lines += [text.replace(" **Differs.**", "\n\n**Differs.**"), ""]
    return lines
