"""Sphinx configuration: numpydoc pages from the docstrings, and the user guide."""

import importlib.metadata

project = "skinfluence"
author = "The skinfluence developers"
copyright = "The skinfluence developers"
release = importlib.metadata.version("skinfluence")
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
]
autosummary_generate = True
numpydoc_show_class_members = False
default_role = "literal"
myst_enable_extensions = ["dollarmath", "amsmath"]
exclude_patterns = ["_build"]

html_theme = "alabaster"
html_theme_options = {
    "description": "What a model would have been without that row",
    "fixed_sidebar": True,
}
