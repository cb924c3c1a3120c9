"""The list of mutants is about the code as it stands."""

from collections import Counter

from tests.mutants import ROOT, mutants


def test_each_mistake_can_still_be_made():
    for one in mutants():
        text = (ROOT / one["file"]).read_text(encoding="utf-8")
        assert text.count(one["old"]) == 1, one["name"]
        assert one["new"] != one["old"]
        assert all((ROOT / path.split("::")[0]).exists() for path in one["tests"]), one["name"]


def test_no_mutant_is_listed_twice():
    every = mutants()
    assert len(every) >= 30
    for key in ("name", "old"):
        assert max(Counter(one[key] for one in every).values()) == 1
