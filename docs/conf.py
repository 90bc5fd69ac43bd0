"""python -m sphinx -W --keep-going -b html docs docs/_build: the pages of this folder as a site, without network.

Pages are Markdown; facts that the library knows (options, tables, help texts, cards) come from `docs.render`.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import invdiff  # noqa: E402

project = "invdiff"
author = "The invdiff authors"
copyright = "The invdiff authors, Apache-2.0"
version = release = invdiff.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "docs.render.extension",
]
exclude_patterns = ["_build", "render", "generated"]
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist", "linkify"]
myst_linkify_fuzzy_links = False
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # of overridden methods, torch's too
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
napoleon_use_rtype = False
nitpicky = True

html_theme = "furo"
html_title = f"invdiff {release}"
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
