"""Sphinx configuration."""

from covidct import __version__

project = "covidct"
copyright = "2026, the covidct developers"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"covidct {release}"
exclude_patterns = ["_build"]
autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
myst_enable_extensions = ["colon_fence"]
nb_execution_raise_on_error = True
