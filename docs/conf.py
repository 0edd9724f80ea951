"""How Sphinx makes the documentation site: `make docs`."""

import re
from importlib import metadata

from sphinx.application import Sphinx

project = "omrl-bench"
author = "the omrl-bench contributors"
copyright = author
release = metadata.version("omrl-bench")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinxcontrib.typer"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/_build"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
add_module_names = False
# Types of NumPy, torch and of private aliases have no page here; a name of ours that is gone is still an error where a
# page names it.
nitpicky = False

html_theme = "furo"
html_title = f"omrl-bench {release}"

# Documents outside this folder: those that are pages here; the others are copied beside the page that names them.
PAGES = {"../BENCHMARK.md": "benchmark.md", "../README.md": "index.md", "docs/cards": "families.md"}


def setup(app: Sphinx) -> None:
    """Let links of the repository's documents lead to pages of the site."""
    app.connect("source-read", _link)
    app.connect("include-read", lambda app, path, parent, source: _link(app, parent, source))


def _link(app: Sphinx, name: str, source: list[str]) -> None:
    for outside, page in PAGES.items():
        source[0] = re.sub(rf"\]\({re.escape(outside)}(#[^)]*)?\)", rf"]({page}\1)", source[0])
    source[0] = re.sub(r"\[([^]]+)\]\((\.\./[^)]+\.md)\)", r"{download}`\1 <\2>`", source[0])
