"""The quick run leaves out combinations, and neither a value nor a pair of them."""

import itertools
from types import SimpleNamespace

import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier

from skinfluence.utils.estimator_checks import parametrize_with_influence_checks
from tests import fewer


def pairs(combinations):
    return {
        (i, j, one[i], one[j])
        for one in combinations
        for i, j in itertools.combinations(range(len(one)), 2)
    }


@pytest.mark.parametrize("sizes", [(2, 2, 2), (4, 11, 3), (3, 5, 2, 2), (7, 1, 2), (3, 4)])
def test_every_pair_of_values_is_kept(sizes):
    whole = list(itertools.product(*map(range, sizes)))
    kept = [whole[at] for at in fewer.pairwise(whole)]
    assert pairs(kept) == pairs(whole)
    largest = sorted(sizes)[-2:]
    assert largest[0] * largest[1] <= len(kept) <= len(whole)
    assert len(kept) < len(whole) or len(sizes) < 3 or 1 in sizes


def test_half_of_all_switches_still_meet_three_at_a_time(monkeypatch):
    monkeypatch.setattr(fewer, "LONG", False)
    whole = list(itertools.product((False, True), repeat=4))
    kept = [whole[at] for at in fewer.half(whole)]
    assert len(kept) == 8
    for some in itertools.combinations(range(4), 3):
        assert len({tuple(one[i] for i in some) for one in kept}) == 8


def test_every_question_is_put_to_some_and_every_estimator_is_asked_some(monkeypatch):
    monkeypatch.setattr(fewer, "LONG", False)
    cases = [(estimator, check) for estimator in range(5) for check in "abcdefg"]
    kept = fewer.in_turn(cases, lambda case: case[1], 3)
    assert {check for _, check in kept} == set("abcdefg")
    assert {estimator for estimator, _ in kept} == set(range(5))
    assert len(kept) <= len(cases) / 2
    # Of two estimators or one, too.
    for n in (1, 2):
        few = fewer.in_turn(cases[: 7 * n], lambda case: case[1], 3)
        assert sorted(check for _, check in few) == list("abcdefg")


@pytest.mark.parametrize("each", [1, 2])
def test_everyone_has_a_turn_and_everything_has_one(monkeypatch, each):
    monkeypatch.setattr(fewer, "LONG", False)
    pairs = fewer.turns("abcdef", range(4), each)
    assert [one for one, _ in pairs] == [one for one in "abcdef" for _ in range(each)]
    assert {other for _, other in pairs} == set(range(4)) and len(set(pairs)) == len(pairs)
    monkeypatch.setattr(fewer, "LONG", True)
    assert set(fewer.turns("abcdef", range(4), each)) == set(itertools.product("abcdef", range(4)))


def test_each_estimator_has_a_sample_and_all_samples_are_met(monkeypatch):
    monkeypatch.setattr(fewer, "LONG", False)
    mark = parametrize_with_influence_checks([LogisticRegression(), RidgeClassifier(), Ridge()])
    kept = [case.values for case in fewer.samples_in_turn(mark).args[1]]
    met = {(type(estimator).__name__, check.sample.name) for estimator, check in kept}
    assert met == {
        ("LogisticRegression", "binary"),
        ("RidgeClassifier", "multiclass"),
        ("Ridge", "regression"),
    }


def test_a_long_run_leaves_nothing_out(monkeypatch):
    monkeypatch.setattr(fewer, "LONG", True)
    assert fewer.half([(True, False)] * 3) == [0, 1, 2]
    cases = [(1, "a"), (2, "a"), (3, "a")]
    assert fewer.in_turn(cases, lambda case: case[1], 3) == cases


def test_only_tests_under_three_marks_are_thinned(some_items):
    one, two, three = (
        [item for item in some_items if item.originalname == name] for name in ("f", "g", "h")
    )
    out = fewer.left_out(some_items)
    assert not set(map(id, out)) & set(map(id, one + two))
    assert len(three) == 12 and 12 - len(out) == 6


@pytest.fixture
def some_items():
    """Items as pytest makes them, of tests under one, two and three marks."""

    def items(name, **axes):
        marks = [SimpleNamespace(args=(axis, values)) for axis, values in axes.items()]
        for values in itertools.product(*axes.values()):
            params = dict(zip(axes, values, strict=True))
            yield SimpleNamespace(
                path="test.py",
                originalname=name,
                parent=None,
                callspec=SimpleNamespace(params=params),
                iter_markers=lambda _, marks=marks: iter(marks),
            )

    a, b, c = [object(), object()], [object(), object(), object()], [object(), object()]
    return [*items("f", a=a), *items("g", a=a, b=b), *items("h", a=a, b=b, c=c)]
