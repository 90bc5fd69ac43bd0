"""Docstrings become reStructuredText without losing an equation, a name or an argument."""

import pytest

pytest.importorskip("docutils")
pytest.importorskip("sphinx")

from docs.render.docstrings import rewritten
from docs.render.markdown import blocks, escaped, prose, table


def told(steps: int, rate: float, grid: str) -> None:
    """Walk.

        x = argmin |A x - y|^2

    with `steps` of them, as `invdiff.solve` does.

    Args:
        steps: number *n*; each costs |A|. grid: their
            spacing. rate: how fast.

    Raises:
        ValueError: no steps.

    Source: Somebody, 2020.
    """


def test_equations_are_literal_and_text_is_escaped() -> None:
    lines = rewritten(told, told.__doc__ and _clean(told.__doc__))
    assert lines[lines.index("::") + 2] == "    x = argmin |A x - y|^2"
    assert "with :py:obj:`steps` of them, as :py:obj:`invdiff.solve` does." in lines


def test_arguments_of_one_line_are_told_one_by_one() -> None:
    lines = rewritten(told, _clean(told.__doc__ or ""))
    start = lines.index("Args:")
    assert lines[start + 1] == r"    steps: number \*n\*; each costs \|A\|."
    assert lines[start + 2] == "    grid: their spacing."
    assert lines[start + 3] == "    rate: how fast."
    assert "Source: Somebody, 2020." in lines


def test_lists_with_hanging_indents_are_bullets() -> None:
    lines = rewritten(object(), "What.\n\nx: (B,), the image,\n    of a batch.\ny, z: others.\n")
    assert "* **x**: (B,), the image, of a batch." in lines
    assert "* **y, z**: others." in lines


def test_markdown_shows_what_a_docstring_says() -> None:
    text = "y = A x: *all* of [it].\n\n    y = |x|\n\n    z = 2\n\nSource: Him. Differs: not at all."
    assert blocks(text)[1] == "    y = |x|\n\n    z = 2"
    lines = prose(text)
    assert lines[0] == r"y = A x: \*all\* of \[it\]."
    assert lines[2:7] == ["```text", "y = |x|", "", "z = 2", "```"]
    assert "**Source.** Him." in "\n".join(lines)
    assert "**Differs.** not at all." in "\n".join(lines)
    assert escaped("a_b `c_d`") == r"a\_b `c_d`"
    assert table(("a",), [("1",)]) == ["| a |", "| --- |", "| 1 |", ""]


def _clean(docstring: str) -> str:
    import inspect

    return inspect.cleandoc(docstring)
