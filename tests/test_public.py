"""What doc/api.rst lists is public, and nothing else is: every place that says so says the same."""

import importlib
import inspect
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import skinfluence
from skinfluence.mixin import InfluenceMixin

API = Path(__file__).parents[1] / "doc" / "api.rst"


def listed():
    """The names that the reference lists, without the package: ``svm.SVC``."""
    return re.findall(r"^   ([A-Za-z_][\w.]*)$", API.read_text(encoding="utf-8"), re.MULTILINE)


def rooms():
    """Names that the reference lists, by the module they are listed in; "" is the package."""
    found = defaultdict(set)
    for name in listed():
        room, _, own = name.rpartition(".")
        found[room].add(own)
    return found


def public(name):
    room, _, own = name.rpartition(".")
    return getattr(importlib.import_module(f"skinfluence.{room}".rstrip(".")), own)


def is_ours(thing):
    return (getattr(thing, "__module__", None) or "").startswith("skinfluence")


def methods_of(cls):
    """The public methods and properties of a class that are written here, by name."""
    for name, member in inspect.getmembers(cls):
        member = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and is_ours(member) and not inspect.isclass(member):
            yield name, member


def parameters_of(thing):
    """Names of its parameters; of a class only if the constructor is ours."""
    if inspect.isclass(thing) and not is_ours(thing.__init__):
        return set()
    return set(inspect.signature(thing).parameters) - {"self", "args"}


def named_in(docstring):
    """What it names in a line of its own, alone or with others: ``X, y, of : ...``, ``**options``."""
    found = set()
    for line in docstring.splitlines():
        if re.match(r"\*{0,2}\w+(, \*{0,2}\w+)*( :.*)?$", line):
            found.update(re.findall(r"\w+", line.partition(" :")[0]))
    return found


def test_the_reference_lists_each_name_once():
    assert len(listed()) == len(set(listed())) > 90


def test_what_is_public_has_a_docstring():
    for name in listed():
        assert inspect.getdoc(public(name)), name
        if inspect.isclass(public(name)):
            for own, method in methods_of(public(name)):
                assert inspect.getdoc(method), f"{name}.{own}"


def test_what_is_public_has_an_example():
    """In its docstring, where the reference shows it; the doctests run them."""
    without = [name for name in listed() if ">>> " not in inspect.getdoc(public(name))]
    assert not without


def test_docstrings_name_every_parameter():
    """Those of methods for users. Those who extend find the conventions of each in its class."""
    for_users = API.read_text(encoding="utf-8").partition("\nYour own model\n")[0]
    missing = []
    for name in listed():
        things = {name: public(name)}
        if inspect.isclass(things[name]) and f"   {name}\n" in for_users:
            things |= {f"{name}.{own}": method for own, method in methods_of(things[name])}
        for full, thing in things.items():
            if unnamed := parameters_of(thing) - named_in(inspect.getdoc(thing)):
                missing.append(f"{full}: {', '.join(sorted(unnamed))}")
    assert not missing


@pytest.mark.parametrize("room", sorted(set(rooms()) - {""}))
def test_a_public_module_exports_what_is_listed(room):
    module = importlib.import_module(f"skinfluence.{room}")
    assert set(module.__all__) == rooms()[room]


def test_the_package_exports_what_is_listed():
    expected = rooms()[""] | {room.partition(".")[0] for room in rooms()} - {""}
    assert set(skinfluence.__all__) == set(dir(skinfluence)) == expected


def fresh(code):
    """The JSON that a new interpreter prints."""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def test_public_modules_are_there_after_importing_the_package():
    """And those that nothing needed yet are not loaded before."""
    loaded, types = fresh(
        "import json, sys, skinfluence\n"
        "loaded = [name for name in sys.modules if name.startswith('skinfluence.')]\n"
        "types = {name: type(getattr(skinfluence, name)).__name__ for name in dir(skinfluence)}\n"
        "print(json.dumps([loaded, types]))"
    )
    for room in {room.partition(".")[0] for room in rooms()} - {""}:
        assert types[room] == "module"
    for room in ("linear_model", "svm", "cleaning", "model_selection", "neural", "utils"):
        assert f"skinfluence.{room}" not in loaded


def test_a_name_that_is_not_there_is_refused_as_in_any_module():
    with pytest.raises(AttributeError, match="no attribute 'lineear_model'"):
        _ = skinfluence.lineear_model


ASKED = [
    name for name, method in vars(InfluenceMixin).items() if hasattr(skinfluence.Influence, name)
]


@pytest.mark.parametrize("name", [name for name in ASKED if not name.startswith("_")])
def test_the_methods_of_estimators_are_documented_as_those_they_ask(name):
    method, asked = getattr(InfluenceMixin, name), getattr(skinfluence.Influence, name)
    assert inspect.signature(method) == inspect.signature(asked)
    assert inspect.getdoc(method) == inspect.getdoc(asked)
