"""Write `doc/_inventories/*.inv`: where the names of other projects that we refer to are documented.

Sphinx would download megabytes of inventories to link a handful of names; these few keep the build
offline. When the build does not find a name of another project, add it here and run
`python doc/inventories.py`.
"""

from pathlib import Path
from types import SimpleNamespace

from sphinx.util.inventory import InventoryFile

FOLDER = Path(__file__).parent / "_inventories"


def python(name, page):
    return name, f"library/{page}.html", name


def numpy(name, page=None):
    return name, page or f"reference/generated/{name}.html", name


def scipy(name):
    return name, f"reference/generated/{name}.html", name


def sklearn(name):
    return name, f"modules/generated/{name}.html", name


def pandas(name):
    return name, f"reference/api/{name}.html", name


# Of each project, by role: names, the page, and the place on it.
PROJECTS = {
    "python": {
        "py:class": [
            *(python(name, "functions") for name in ("int", "float")),
            *(python(name, "stdtypes") for name in ("str", "list", "dict", "tuple")),
        ],
        "py:function": [
            python("callable", "functions"),
            python("functools.singledispatch", "functools"),
        ],
        "py:data": [python("None", "constants")],
        "std:label": [("bltin-boolean-values", "library/stdtypes.html", "boolean-type-bool")],
    },
    "numpy": {
        "py:class": [
            numpy("numpy.ndarray"),
            numpy("numpy.random.RandomState", "reference/random/legacy.html"),
        ],
        "std:term": [("array_like", "glossary.html", "term-array_like")],
        "std:label": [("arrays.scalars", "reference/arrays.scalars.html", "arrays-scalars")],
    },
    "scipy": {"py:class": [scipy("scipy.sparse.linalg.LinearOperator")]},
    "sklearn": {
        "py:class": [
            sklearn(f"sklearn.{name}")
            for name in (
                "kernel_ridge.KernelRidge",
                "linear_model.LogisticRegression",
                "model_selection.GridSearchCV",
                "pipeline.Pipeline",
                "svm.LinearSVC",
                "svm.SVC",
            )
        ]
    },
    "pandas": {"py:class": [pandas("pandas.DataFrame")]},
}


class Domain:
    """As much of a Sphinx domain as its inventories are written from."""

    def __init__(self, name, roles):
        self.name = name
        self.objects = [
            (label, label, role, page, place, 1)
            for role, found in roles.items()
            for label, page, place in found
        ]

    def get_objects(self):
        return self.objects


def write(project, roles, folder=FOLDER):
    """Write the inventory of one project."""
    by_domain = {}
    for role, found in roles.items():
        domain, _, kind = role.partition(":")
        by_domain.setdefault(domain, {})[kind] = found
    domains = [Domain(name, by_domain[name]) for name in sorted(by_domain)]
    env = SimpleNamespace(
        config=SimpleNamespace(project=project, version=""),
        domains=SimpleNamespace(sorted=lambda: domains),
    )
    builder = SimpleNamespace(get_target_uri=lambda page: page)
    folder.mkdir(exist_ok=True)
    InventoryFile.dump(folder / f"{project}.inv", env, builder)


if __name__ == "__main__":
    for project, roles in PROJECTS.items():
        write(project, roles)
