"""The directive `generate`: Markdown made by a function of `docs.render`, in the place where a page asks for it.

    ```{generate} solvers.options dds
    ```

calls docs.render.solvers.options("dds"). Before pages are read, figures and pages that are files are written.
"""

from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from docs.render import docstrings, figures, sections, tutorials


class Generate(SphinxDirective):
    """`generate MODULE.FUNCTION [ARGUMENT ...]`."""

    required_arguments = 1
    optional_arguments = 9

    def run(self) -> list[nodes.Node]:
        name, *arguments = " ".join(self.arguments).split()
        module, _, function = name.rpartition(".")
        lines = getattr(import_module(f"docs.render.{module}"), function)(*arguments)
        self.env.note_dependency(str(import_module(f"docs.render.{module}").__file__))
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, name), self.content_offset, container)
        return container.children


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("generate", Generate)
    app.connect("builder-inited", lambda app: figures.write_all(app.srcdir / "generated"))
    app.connect("builder-inited", lambda app: sections.write_all(app.srcdir / "generated"))
    app.connect("builder-inited", lambda app: tutorials.write_all(app.srcdir / "tutorials"))
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", docstrings.skip)
    app.connect("missing-reference", docstrings.resolve)
    return {"parallel_read_safe": False}
