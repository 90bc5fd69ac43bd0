"""Docstrings, which are plain text with equations, as the reStructuredText that autodoc wants, and names as links.

Indented blocks are shown as they stand, `names` become links where the reference has them, and arguments that one line
of a docstring takes together are told one by one.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

from docs.render.markdown import blocks
from docs.render.options import meanings

SECTIONS = ("Args", "Attributes", "Example", "Raises", "Returns", "Warns")
NAME = re.compile(r"(?:invdiff\.)?[A-Za-z_]\w*(?:\.\w+)*")


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite one docstring in place; napoleon comes after."""
    lines[:] = rewritten(obj, inspect.cleandoc("\n".join(lines)))


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what nobody has written: the fields of named tuples, which their docstring tells."""
    return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def rewritten(obj: Any, docstring: str) -> list[str]:
    """Lines for napoleon."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", docstring, flags=re.MULTILINE)
    lines = list(_free(parts[0]))
    for title, content in zip(parts[1::2], parts[2::2], strict=True):
        body, rest = _split_off(content)
        lines += [*_section(obj, title, textwrap.dedent(body)), "", *_free(rest)]
    return lines


def _split_off(content: str) -> tuple[str, str]:
    """The indented lines that belong to a section, and what follows it."""
    found = re.search(r"^\S", content, re.MULTILINE)
    return (content, "") if found is None else (content[: found.start()], content[found.start() :])


def _section(obj: Any, title: str, body: str) -> Iterator[str]:
    if title == "Example":
        yield from ("", *body.splitlines())
    elif title == "Attributes":
        yield from ("**Attributes**", "", *_items(body))
    elif title == "Args" and (told := _told(obj)):
        yield from ("Args:", *(f"    {name}: {_inline(text)}" for name, text in told.items()))
        yield from (_inline(line) for line in re.findall(r"^Other arguments:.*", body, re.MULTILINE))
    else:
        yield from (f"{title}:", *(f"    {_inline(line)}" for line in body.splitlines()))


def _told(obj: Any) -> dict[str, str]:
    """What is said of each argument, where all that is said is of arguments."""
    try:
        return meanings(obj)
    except (TypeError, ValueError):
        return {}


def _free(text: str) -> Iterator[str]:
    """Paragraphs, lists of "name: meaning" with hanging indents, and indented blocks."""
    for block in blocks(text) if text.strip() else []:
        if block.startswith("    ") and ">>>" not in block:
            yield from ("::", "", *block.splitlines(), "")
        elif block.startswith("    "):
            yield from (*textwrap.dedent(block).splitlines(), "")
        elif re.search(r"^ +\S", block, re.MULTILINE):
            yield from (*_items(block), "")
        else:
            yield from (*map(_inline, block.splitlines()), "")


def _items(body: str) -> Iterator[str]:
    """One bullet for each line that is not indented, with those that hang under it."""
    for item in re.split(r"\n(?=\S)", body.strip("\n")):
        head, colon, rest = " ".join(item.split()).partition(": ")
        named = colon and re.fullmatch(r"[\w.`]+(, [\w.`]+)*", head)
        yield f"* **{head.replace('`', '')}**: {_inline(rest)}" if named else f"* {_inline(' '.join(item.split()))}"
    yield ""


def _inline(text: str) -> str:
    """Escapes outside backticks; what is inside becomes a link or code."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(_code(part[1:-1]) if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|]|_(?!\w)|`)", r"\\\1", text)


def _code(text: str) -> str:
    return f":py:obj:`{text}`" if NAME.fullmatch(text) else f"``{text}``"


def resolve(app: Sphinx, env: Any, node: Any, contnode: nodes.Element) -> nodes.Node | None:
    """A link to where the reference documents a name, whatever module it is defined in.

    Names of other libraries stay text. So do, in the reference alone, our own names that it does not document: the
    types that annotations of public functions mention.
    """
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    objects = env.get_domain("py").objects
    tail = target.rpartition(".")[2]
    found = [full for full in objects if full.rpartition(".")[2] == tail and objects[full].objtype != "module"]
    if target in objects or len(found) == 1:
        full = target if target in objects else found[0]
        where = objects[full]
        return make_refnode(app.builder, node["refdoc"], where.docname, where.node_id, contnode, full)
    foreign = not target.startswith("invdiff") and "invdiff" not in str(node.get("py:module", ""))
    return contnode if foreign or str(node["refdoc"]).startswith("reference/") else None
