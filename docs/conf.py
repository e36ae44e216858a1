"""Sphinx's configuration of the site: `make -C docs`."""

import os
import pathlib
import sys

os.environ.setdefault("FASTVAE_PROFILE", "cpu")  # of the tutorials too, which have processes of their own

import fastvae  # noqa: E402 (before theano, which autodoc imports with the modules)

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "fastvae"
author = "the fastvae authors"
copyright = "the fastvae authors"
version = release = fastvae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "blocks",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "mathml",
    "names",
    "reference",
    "repository",
]
exclude_patterns = ["_build", "_ext"]

# A reference that leads nowhere is a warning, and a warning fails the build. Names of other packages are no references.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!fastvae\b).*"),
    # What docstrings name of rooms that are not public.
    (r"py:.*", r"fastvae\.(datasets\.validation\.numbers|minibatch\.values\.Values|checkpoint\.state\.State)"),
    (r"py:.*", r"fastvae\.(backends\.abstract\.AbstractOp\.row_inputs|training\.loop\.Loop)"),
]
default_role = "name"

autodoc_typehints = "none"  # numpydoc's sections have the types in words
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

html_theme = "pydata_sphinx_theme"
html_title = "fastvae"
html_static_path = ["_static"]
html_css_files = ["fastvae.css"]
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "release-notes": []}

# asv's pages, where `make -C docs history` has put them: they lie beside the site, under history/.
HISTORY = HERE / "_build" / "extra"
if HISTORY.is_dir():
    tags.add("history")  # noqa: F821 (Sphinx's)
    html_extra_path = [str(HISTORY)]
