"""Imports go one way, and importing the package loads nothing heavy."""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import skinfluence
from skinfluence import Influence

ROOT = Path(skinfluence.__file__).parent
TESTS = Path(__file__).parent
STRUCTURE = ROOT.parent / "doc" / "structure.md"
OPTIONAL = {"torch", "dask", "pandas", "matplotlib", "jinja2", "tqdm", "cleanlab", "skrub", "rich"}
HEAVY = sorted(OPTIONAL | {"pyarrow", "polars", "autograd.numpy", "IPython", "numba"})
BY_STRING = {"import_module", "__import__", "find_spec", "lazy_import"}


def modules(root=ROOT):
    """Every module of a package by its dotted name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path, *, at_import=False):
    """Absolute names a module imports: those run at its import, or also in functions, by string.

    What stands under ``if TYPE_CHECKING`` is no import.
    """
    anywhere, at_once = _imports_in(path.read_text(encoding="utf-8"), str(path))
    return at_once if at_import else anywhere


@cache
def _imports_in(text, path):
    anywhere, at_once = [], []
    by_string = any(name in text for name in BY_STRING)

    def visit(children, later):
        for child in children:
            if isinstance(child, ast.expr) and not by_string:
                # Most of the nodes, and no import is among them.
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                visit(child.orelse, later)
                continue
            for name in _named_by(child, path):
                anywhere.append(name)
                if not later:
                    at_once.append(name)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            visit(ast.iter_child_nodes(child), later or function)

    visit(ast.iter_child_nodes(ast.parse(text)), False)
    return anywhere, at_once


def _named_by(node, path):
    """What one statement or call imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{path} has a relative import"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call):
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        given = node.args[:1] if called in BY_STRING else []
        return [one.value for one in given if isinstance(getattr(one, "value", None), str)]
    return []


def graph_of(root=ROOT):
    """Which module imports which, wherever in the code it does."""
    known = modules(root)
    edges = defaultdict(set)
    for name, path in known.items():
        for target in imports_of(path):
            while target and target not in known:
                target = target.rpartition(".")[0]
            if target and target not in (name, root.name):
                edges[name].add(target)
    return edges


def room_of(module):
    """The folder or file of the package root that a module lies in."""
    return module.split(".")[1] if "." in module else module


def rooms_of(edges):
    rooms = defaultdict(dict)
    for name, targets in edges.items():
        for target in targets:
            if room_of(name) != room_of(target):
                rooms[room_of(name)].setdefault(room_of(target), f"{name} imports {target}")
    return rooms


def circle_in(edges):
    """The nodes of one circle, or None."""
    state, trail = {}, []

    def walk(node):
        state[node] = "open"
        trail.append(node)
        for target in sorted(edges.get(node, ())):
            if state.get(target) == "open":
                return [*trail[trail.index(target) :], target]
            if target not in state and (found := walk(target)):
                return found
        trail.pop()
        state[node] = "done"
        return None

    for node in sorted(edges):
        if node not in state and (found := walk(node)):
            return found
    return None


def floors_of(rooms, every):
    """How many rooms stand below each, at the longest: 0 for those that import none."""
    known = {}

    def floor(room):
        if room not in known:
            known[room] = 1 + max((floor(below) for below in rooms.get(room, ())), default=-1)
        return known[room]

    return {room: floor(room) for room in every}


def documented_floors():
    """Floor of each room as doc/structure.md has it: lines ``| 3 | `room/`, `other.py` | … |``."""
    found = {}
    for line in STRUCTURE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| (\d+) \| (.*?) \|", line):
            for room in re.findall(r"`(\w+)(?:/|\.py)`", match[2]):
                assert room not in found, f"doc/structure.md has {room} twice"
                found[room] = int(match[1])
    return found


def test_files_that_the_documentation_names_are_in_their_rooms():
    """In the lines ``| 3 | `room/` | `file` does this, `other` that |`` of doc/structure.md."""
    for line in STRUCTURE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| (?:\d+ \| )?(`.*?) \| (.*) \|", line):
            rooms = [ROOT / room for room in re.findall(r"`([\w/]+)/`", match[1])]
            for name in re.findall(r"`([a-z_]+)`", match[2]) if rooms else ():
                there = any(
                    (room / name).is_dir() or (room / f"{name}.py").exists() for room in rooms
                )
                assert there, f"doc/structure.md names {name} in {match[1]}, where it is not"


def test_no_module_imports_itself_through_others():
    assert circle_in(graph_of()) is None


def test_no_room_imports_itself_through_others():
    rooms = rooms_of(graph_of())
    found = circle_in(rooms)
    why = [rooms[a][b] for a, b in pairwise(found)] if found else []
    assert not found, f"{' -> '.join(found)}: {'; '.join(why)}"


def test_rooms_stand_on_the_floors_of_the_documentation():
    """An import upward lifts the floor of its room, and with it this test."""
    rooms = rooms_of(graph_of())
    every = {room_of(name) for name in modules()} - {"skinfluence"}
    floors, documented = floors_of(rooms, every), documented_floors()
    assert set(floors) == set(documented), "doc/structure.md and the package have other rooms"
    for room in sorted(floors, key=floors.get):
        highest = max(rooms.get(room, {room: None}), key=lambda below: floors.get(below, -1))
        why = rooms.get(room, {}).get(highest)
        assert floors[room] == documented[room], (
            f"{room} is on floor {floors[room]}, doc/structure.md says {documented[room]}: {why}"
        )


def test_rooms_inside_smooth_import_only_those_above_them_in_the_documentation():
    order = re.findall(
        r"^\| `smooth/(\w+)/` \|", STRUCTURE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(order) == {path.parent.name for path in (ROOT / "smooth").glob("*/__init__.py")}
    for name, targets in graph_of().items():
        for target in targets:
            here, there = (
                re.match(r"skinfluence\.smooth\.(\w+)\.", f"{m}.") for m in (name, target)
            )
            if here and here[1] in order and there:
                assert there[1] in order[: order.index(here[1]) + 1], f"{name} imports {target}"


@pytest.mark.parametrize(
    "upward",
    [
        "from pack.door import ask",
        "def later():\n    from pack.door import ask",
        "from importlib import import_module\n\n\ndef later():\n    return import_module('pack.door')",
    ],
    ids=["at the top", "in a function", "by string"],
)
def test_an_upward_import_is_seen(tmp_path, upward):
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("")
    (pack / "door.py").write_text("from pack.ground import stone\n")
    (pack / "ground.py").write_text("stone = 1\n")
    assert circle_in(graph_of(pack)) is None
    assert floors_of(rooms_of(graph_of(pack)), ["door", "ground"]) == {"door": 1, "ground": 0}
    (pack / "ground.py").write_text(f"{upward}\n\nstone = 1\n")
    assert circle_in(graph_of(pack)) == ["pack.door", "pack.ground", "pack.door"]
    # Without the import back there is no circle, but the floors have moved.
    (pack / "door.py").write_text("ask = 1\n")
    assert circle_in(graph_of(pack)) is None
    assert floors_of(rooms_of(graph_of(pack)), ["door", "ground"]) == {"door": 0, "ground": 1}


def test_imports_for_type_checking_do_not_count(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("if TYPE_CHECKING:\n    from pack.door import ask\nelse:\n    import json\n")
    assert imports_of(module) == ["json"]


def test_optional_packages_are_imported_where_they_are_used():
    for path in modules().values():
        tops = {name.split(".")[0] for name in imports_of(path, at_import=True)}
        assert not tops & OPTIONAL, f"{path} imports {tops & OPTIONAL} with itself"


def test_the_core_uses_only_public_scikit_learn():
    """Private modules of scikit-learn may be touched in one file."""
    private = {"sklearn._loss", "sklearn.linear_model._", "sklearn.utils._param", "sklearn._config"}
    for path in modules().values():
        if path.name == "_compat.py":
            continue
        for name in imports_of(path):
            assert not any(name.startswith(p) for p in private), f"{path} imports {name}"


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def privates_of(tree):
    """Private names that a module gives to what it defines: functions, classes, fields, attributes of self."""
    own = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                targets = getattr(line, "targets", [getattr(line, "target", None)])
                own.update(one.id for one in targets if isinstance(one, ast.Name))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("self", "cls"):
                own.add(node.attr)
    return {name for name in own if is_private(name)}


def reached_by(tree):
    """Private attributes that a module reads of, or writes to, what is neither self, cls nor super()."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield node.attr


# Of other packages, beside scikit-learn's in _utils/_compat.py.
THEIR_PRIVATES = {
    "_utils/calls.py": {"_getframe"},
    "_compiled/cached.py": {"_cache", "_cache_file", "_source_stamp"},
    "_compiled/chord.py": {"_replace"},
    "neural/loading.py": {"_utils"},
    "adapters/statsmodels.py": {"_offset_exposure"},
}


def test_no_room_reaches_into_the_privates_of_another():
    """What rooms read of an ``Influence`` has a name without an underscore: ``influence.data``."""
    trees, own = {}, defaultdict(set)
    for path in modules().values():
        inside = path.relative_to(ROOT).as_posix()
        trees[inside] = ast.parse(path.read_text(encoding="utf-8"))
        own[inside.partition("/")[0]] |= privates_of(trees[inside])
    for inside, tree in trees.items():
        if inside != "_utils/_compat.py":
            known = own[inside.partition("/")[0]] | THEIR_PRIVATES.get(inside, set())
            assert not set(reached_by(tree)) - known, inside


def test_a_private_of_another_is_seen():
    tree = ast.parse("class Own:\n    def f(self, other):\n        self._a = other._b._a\n")
    assert privates_of(tree) == {"_a"}
    assert set(reached_by(tree)) == {"_a", "_b"}


def test_a_class_has_a_name_of_its_own():
    """So that a type in a docstring says which one it is, whichever room it is read in."""
    places = defaultdict(list)
    for path in modules().values():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not is_private(node.name):
                places[node.name].append(path.relative_to(ROOT).as_posix())
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice


def fresh(code):
    """The JSON that a new interpreter prints."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def test_the_tests_stand_on_modules_that_exist_and_on_no_benchmark():
    """Registries are in ``tests/registries.py``, truth in ``tests/truth.py``, fixtures alone in conftest."""
    known = set(modules(TESTS))
    for name, path in modules(TESTS).items():
        for imported in imports_of(path):
            assert not imported.startswith("benchmarks"), f"{name} imports {imported}"
            assert not imported.startswith("tests.conftest"), f"{name} imports {imported}"
            if imported.startswith("tests."):
                found = imported in known or imported.rpartition(".")[0] in known - {"tests"}
                assert found, f"{name} imports {imported}, which does not exist"


@cache
def asked_from_below():
    """A first question in a new interpreter that imports no adapters, and what else is loaded then."""
    return fresh(
        """
import json, sys, sklearn.linear_model
import numpy as np
alone = set(sys.modules)
from skinfluence.answers import answers_of
from skinfluence.objective import objective_of

X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
problem = objective_of(sklearn.linear_model.Ridge().fit(X, y), X, y)
asked = {"solver": "auto", "hold": "auto", "precision": "float64", "verbose": False}
found = answers_of(problem, **asked).self_influence().tolist()
import skinfluence.influence, skinfluence.linear_model, skinfluence.utils.validation
from skinfluence import objective_of as public
assert public is objective_of and len(public.registry) > 40
print(json.dumps([found, sorted(set(sys.modules) - alone)]))
"""
    )


def test_estimators_are_known_in_whatever_order_rooms_are_imported():
    """What is below the adapters has not imported them, and asks for them with its first question."""
    found, _ = asked_from_below()
    X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([0.0, 1.0, 1.0, 4.0])
    assert found == Influence(Ridge().fit(X, y), X, y).self_influence().tolist()


def test_importing_loads_nothing_heavy_and_no_checks():
    """scikit-learn's own optional imports are not ours: what it has loaded alone does not count."""
    _, ours = asked_from_below()
    assert {"skinfluence.influence", "skinfluence.linear_model"} <= set(ours)
    # The checks of estimators are loaded by those who ask.
    assert not [name for name in [*HEAVY, "skinfluence.utils.estimator_checks"] if name in ours]


@pytest.mark.parametrize("module", ["skinfluence", "skinfluence.cli.arguments"])
def test_how_it_is_called_is_said_before_anything_large_is_loaded(module):
    """scikit-learn takes a second to import: help needs none of it, and Ctrl-C is answered in the rest."""
    loaded = fresh(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")
    assert not {"numpy", "scipy", "sklearn"} & set(loaded)


def test_an_estimator_that_is_registered_before_the_first_question_stays_registered():
    code = """
from skinfluence.objective import objective_of
from sklearn.linear_model import Ridge


@objective_of.register
def own(model: Ridge, X, y, sample_weight=None):
    return "own"

print(f'"{objective_of(Ridge(), None, None)}"')
"""
    assert fresh(code) == "own"
