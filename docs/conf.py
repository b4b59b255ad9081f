"""Sphinx configuration."""

import os
import sys
from pathlib import Path

from covidct import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for card_pages and command_pages

project = "covidct"
copyright = "2026, the covidct developers"
release = __version__
extensions = ["card_pages", "command_pages", "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"covidct {release}"
exclude_patterns = ["_build"]
html_static_path = ["_static"]
html_css_files = ["notebooks.css"]
html_extra_path = ["../covidct/report/schemas"]  # served where the schemas' $id says
autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Tutorials are run by every build, so that one that breaks ends it; COVIDCT_NOTEBOOKS=off is for writers of text.
nb_execution_mode = os.environ.get("COVIDCT_NOTEBOOKS", "force")
nb_execution_raise_on_error = True
nb_execution_in_temp = True  # what a tutorial writes is gone afterwards
nb_merge_streams = True
nb_execution_timeout = 600  # seconds a cell, on a machine that has other work
nitpicky = True  # a reference to a public name of covidct must lead somewhere; all others have no page here
nitpick_ignore_regex = [
    ("py:.*", r"(?!covidct\.).*"),  # of other libraries
    ("py:.*", r"covidct\.\w+\.[a-z]\w*\.\w+"),  # of files: internal
    ("py:attr", ".*"),
]
