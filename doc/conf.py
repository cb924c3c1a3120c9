"""Sphinx configuration: the user guide, the gallery, and pages from the docstrings. Builds offline.

``sphinx-build -W --keep-going -b html doc doc/_build/html``
"""

import importlib.metadata
import warnings

project = "skinfluence"
author = "The skinfluence developers"
copyright = "The skinfluence developers"
release = importlib.metadata.version("skinfluence")
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples"]
templates_path = ["_templates"]
default_role = "literal"
nitpicky = True
toc_object_entries_show_parents = "hide"

# The reference ----------------------------------------------------------------------------------

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# The members come from doc/_templates/autosummary/class.rst, with their parameters.
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    "Influence": "skinfluence.Influence",
    "Objective": "skinfluence.objective.Objective",
    "Labels": "skinfluence.objective.Labels",
    "Loss": "skinfluence.losses.Loss",
    "Edit": "skinfluence.edits.Edit",
    "Effect": "skinfluence.quantity.Effect",
    "Quantity": "skinfluence.quantity.Quantity",
    "Top": "skinfluence.answers.Top",
    "SolveReport": "skinfluence.solvers.SolveReport",
    "Solution": "skinfluence.solvers.Solution",
    "Audit": "skinfluence.cleaning.Audit",
    "Plan": "skinfluence.cleaning.Plan",
    "NamedInfluence": "skinfluence.pipeline.NamedInfluence",
    "AttackResult": "skinfluence.attack.AttackResult",
    "Vulnerability": "skinfluence.attack.Vulnerability",
    "Answers": "skinfluence.answers.Answers",
    "Problem": "skinfluence.problem.Problem",
    "Chosen": "skinfluence.problem.Chosen",
    "Design": "skinfluence.design.Design",
    "array-like": ":term:`array-like <numpy:array_like>`",
    "ndarray": "numpy.ndarray",
    "DataFrame": "pandas.DataFrame",
    "LinearOperator": "scipy.sparse.linalg.LinearOperator",
}


def skip_what_is_not_ours(app, kind, name, member, skip, options):
    """Leave out methods that scikit-learn documents itself: an estimator's page has our own."""
    of = getattr(member, "fget", None) or member
    module = getattr(of, "__module__", None) or ""
    return True if kind == "class" and not module.startswith("skinfluence") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_what_is_not_ours)


# Names of other projects, from inventories that doc/inventories.py writes -----------------------


intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "_inventories/python.inv"),
    "numpy": ("https://numpy.org/doc/stable", "_inventories/numpy.inv"),
    "scipy": ("https://docs.scipy.org/doc/scipy", "_inventories/scipy.inv"),
    "sklearn": ("https://scikit-learn.org/stable", "_inventories/sklearn.inv"),
    "pandas": ("https://pandas.pydata.org/docs", "_inventories/pandas.inv"),
}

# The pages --------------------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "doc_module": ("skinfluence",),
    "reference_url": {"skinfluence": None},
    "backreferences_dir": "gallery/backreferences",
    "subsection_order": [f"examples/{part}" for part in ("rows", "trust", "models", "scale")],
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "download_all_examples": False,
    "plot_gallery": True,
}
# An example that warns shows the warning to whoever reads it: better that the build fails.
warnings.filterwarnings("error", module="__main__")

html_theme = "pydata_sphinx_theme"
html_title = "skinfluence"
html_static_path = ["_static"]
html_css_files = ["skinfluence.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skinfluence"},
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
}
html_sidebars = {"index": [], "installation": [], "tutorial": [], "api": []}
