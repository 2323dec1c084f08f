"""Settings of the documentation's site: python -m sphinx -W -b html python/docs BUILD."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from figures import draw_all  # noqa: E402 - found by the line above

project = "nnkernels"
author = "nnkernels developers"
version = release = version_of(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx.ext.napoleon"]

# The addresses of the project: pages write {repo}`cpp/README.md` for a link to a file of it.
REPOSITORY = "https://github.com/nnkernels/nnkernels"

myst_heading_anchors = 3

autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False  # types are words, not links

# Every link to a name must have a target. Types of attributes are words without a dot, such as
# ndarray.
nitpicky = True
nitpick_ignore_regex = [("py:class", r"[^.]+")]

# Vendored inventories of other projects' names and addresses, so that a build needs no network.
# They are in Sphinx's first format, which is plain text.
intersphinx_mapping = {
    "numpy": ("https://numpy.org/doc/stable/", "inventories/numpy.txt"),
    "python": ("https://docs.python.org/3/", "inventories/python.txt"),
    "sklearn": ("https://scikit-learn.org/stable/", "inventories/sklearn.txt"),
}

html_theme = "furo"
html_title = f"nnkernels {version}"
html_baseurl = "https://nnkernels.github.io/nnkernels/"
html_favicon = "static/icon.svg"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_copy_source = html_use_index = html_domain_indices = False
html_show_copyright = False
pygments_dark_style = "github-dark"
html_theme_options = {"source_repository": REPOSITORY, "source_branch": "main", "source_directory": "python/docs/"}


class Picture(SphinxDirective):
    """A picture of figures.py: ``{picture} name`` with the alternative text as content.

    Each picture has a light and a dark version.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return two images, of which the theme shows one."""
        alt = " ".join(self.content)
        return [
            nodes.image(uri=f"figures/{self.arguments[0]}-{mode}.svg", alt=alt, classes=["picture", f"only-{mode}"])
            for mode in ("light", "dark")
        ]


def link_to_repository(
    name: str, raw: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = None
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """Return a link to a file of the repository, by its path from the top level."""
    link = nodes.reference(refuri=f"{REPOSITORY}/blob/main/{text}")
    link += nodes.literal(text=text)
    top = HERE.parents[1]
    # A source distribution is without .ci and .github.
    found = (top / text).exists() or not (top / ".ci").exists()
    return [link], [] if found else [inliner.reporter.warning(f"no file {text}", line=line)]


def setup(app: Sphinx) -> None:
    """Register the above."""
    draw_all(HERE / "figures")
    app.add_directive("picture", Picture)
    app.add_role("repo", link_to_repository)
