"""How Sphinx makes the site of the documentation: `make docs`, or `sphinx-build -W -c docs . build/site`.

The site's source is the repository itself, of which it takes the pages alone: so a relative link leads to the same
place here and in the repository, and the practical sessions need no copy in this folder.
"""

import json
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from unroll import __version__

project = "unroll"
author = "the authors of unroll"
copyright = author
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["C*.md", "SECURITY.md", "benchmarks/README.md", "docs/**.md", "lessons/*.ipynb"]
exclude_patterns = [".*", "**/.*", "build", "runs", "src", "tests", "benchmarks/results"]

# Text: Markdown as the repository shows it, its headings anchors by the same names.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
highlight_language = "text"  # of code without a language
nb_execution_mode = "off"  # the committed outputs are shown; `make lessons` makes them
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # else pages with widgets load scripts from the network

# Docstrings: single backticks are code, as in Markdown.
default_role = "code"
autodoc_typehints = "signature"
# Estimators get these methods from scikit-learn, with docstrings that lead to its own pages.
autodoc_default_options = {"exclude-members": "set_fit_request, set_predict_request, set_score_request"}
autodoc_preserve_defaults = True
maximum_signature_line_length = 100

# Pages: no file comes from the network, and all of them work from file://.
html_theme = "furo"
html_title = f"unroll {release}"
html_static_path = ["static"]
html_extra_path = ["extra"]  # a first page at the top, which leads to ours
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # a summary reads the page, which browsers refuse on file://
html_math_renderer = "mathml"


def begin_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Write an equation as MathML, which browsers draw and screen readers read without a script or a font."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def begin_display(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation that stands by itself."""
    equation = node.astext().replace("{aligned}", "{align*}")  # as latex2mathml calls it
    translator.body.append(f'<div class="math">{convert(equation, display="block")}</div>\n')
    raise nodes.SkipNode


def give_alternatives(app: Sphinx, page: str, source: list[str]) -> None:
    """Give the pictures of a notebook the texts that their outputs have for those who cannot see them."""
    if app.env.doc2path(page).suffix != ".ipynb":
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                cell["metadata"]["mystnb"] = {"image": {"alt": output["metadata"]["image/png"]["alt"]}}
    source[0] = json.dumps(notebook)


def give_roles(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Give headings in the list of pages the level that Sphinx leaves out, and no role to lists without terms."""
    pages = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = pages.replace('role="heading"', 'role="heading" aria-level="2"')
    if "body" in context:  # parameters in a long signature
        context["body"] = context["body"].replace("<dl>\n<dd>", '<dl role="none">\n<dd>')


def setup(app: Sphinx) -> None:
    """Tell Sphinx what is ours."""
    app.add_html_math_renderer("mathml", (begin_math, None), (begin_display, None))
    app.connect("source-read", give_alternatives)
    app.connect("html-page-context", give_roles, priority=900)  # after the theme
