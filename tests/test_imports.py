"""Imports go one way, and importing the package loads nothing heavy."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import skinfluence

ROOT = Path(skinfluence.__file__).parent

# A module may import from its own floor and from those above it in this list.
FLOORS = [
    ("utils", "_kernels"),
    ("losses", "design", "kernels", "blocks"),
    ("objective",),
    ("curvature",),
    ("solvers", "kernel_system", "active_set"),
    ("edits", "steps", "effects", "certificate", "passes", "newton", "refits", "exact"),
    ("derivatives", "pullbacks", "walking", "inputs", "frozen"),
    ("answers", "smooth", "hinge", "kernel_edits", "kernel_answers"),
    ("leave_one_out", "deletions", "diagnostics"),
    ("influence",),
    ("mixin", "adapters", "contract"),
    ("linear_model", "svm", "kernel_ridge", "m_estimation", "datasets", "metrics"),
    ("pipeline", "model_selection", "robustness", "attack", "inspection", "neural", "distributed"),
    ("cleaning",),
    ("cli",),
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
OPTIONAL = {"torch", "dask", "pandas", "matplotlib", "jinja2", "tqdm", "cleanlab", "skrub", "rich"}
HEAVY = sorted(OPTIONAL | {"pyarrow", "polars", "autograd.numpy", "IPython", "numba"})


def modules():
    return sorted(
        path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__"
    )


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path, *, at_import):
    """Absolute names of imported modules; only those run when the module is imported, or all."""
    found = []

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path} has a relative import"
                found.append(child.module)
                found.extend(f"{child.module}.{alias.name}" for alias in child.names)
            if at_import and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    """No room imports from a later one, not even inside a function."""
    own = room_of(path)
    assert own in FLOOR, f"Give {own} its place in FLOORS"
    for name in imports_of(path, at_import=False):
        parts = name.split(".")
        if parts[0] != "skinfluence" or len(parts) == 1 or parts[1] not in FLOOR:
            continue
        assert FLOOR[parts[1]] <= FLOOR[own], f"{own} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_optional_packages_are_imported_where_they_are_used(path):
    tops = {name.split(".")[0] for name in imports_of(path, at_import=True)}
    assert not tops & OPTIONAL


def test_the_core_uses_only_public_scikit_learn():
    """Private modules of scikit-learn may be touched in one file."""
    private = {"sklearn._loss", "sklearn.linear_model._", "sklearn.utils._param", "sklearn._config"}
    for path in modules():
        if path.name == "_compat.py":
            continue
        for name in imports_of(path, at_import=False):
            assert not any(name.startswith(p) for p in private), f"{path} imports {name}"


def fresh(code):
    """The JSON that a new interpreter prints."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


@pytest.mark.parametrize("module", ["skinfluence", "skinfluence.linear_model"])
def test_importing_loads_nothing_heavy(module):
    """scikit-learn's own optional imports are not ours: compare with what it loads alone."""
    loaded = [
        set(fresh(f"import json, sys, {name}; print(json.dumps(sorted(sys.modules)))"))
        for name in (module, "sklearn.linear_model")
    ]
    assert not [name for name in HEAVY if name in loaded[0] - loaded[1]]
