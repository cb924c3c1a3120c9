"""Fewer combinations for the quick run, and no value less; ``SKINFLUENCE_LONG=1`` runs all of them.

A test under three or more ``parametrize`` is run for so many of their combinations that each value
meets each value of every other one; questions to many estimators are put to some of them, in turn.
Mistakes that need three values at once, or one estimator of its kind, are left to ``.ci/full``.
"""

import itertools
import os

import pytest

LONG = os.environ.get("SKINFLUENCE_LONG") == "1"


def pairwise(combinations):
    """Positions of combinations in which every pair of values occurs that occurs in any.

    Parameters
    ----------
    combinations : list of tuple
        All of one length, of hashable values.

    Returns
    -------
    positions : list of int
        In order. Found greedily: the next one has the most pairs that were not there yet.
    """
    pairs = [
        {(i, j, one[i], one[j]) for i, j in itertools.combinations(range(len(one)), 2)}
        for one in combinations
    ]
    missing, positions = set().union(*pairs), []
    while missing:
        best = max(range(len(pairs)), key=lambda at: len(pairs[at] & missing))
        missing -= pairs[best]
        positions.append(best)
    return sorted(positions)


def half(options):
    """Positions of half of all combinations of switches: those with an even number turned on.

    Any but one of the switches are together in every way. Long runs take all.
    """
    return [at for at, one in enumerate(options) if LONG or sum(one) % 2 == 0]


def in_turn(cases, of, share):
    """Of the cases with the same ``of(case)`` one in ``share``, at least one, in turn.

    What is asked of many estimators is asked of some, and the next question of others.
    """
    groups = {}
    for case in cases:
        groups.setdefault(of(case), []).append(case)
    kept = set()
    for turn, same in enumerate(groups.values()):
        step = 1 if LONG else min(share, len(same))
        kept.update(id(case) for at, case in enumerate(same) if (turn + at) % step == 0)
    return [case for case in cases if id(case) in kept]


def turns(ones, others, each=1):
    """Pairs in which each of ``ones`` has as many of ``others``, that are passed on in turn."""
    ones, others = list(ones), list(others)
    each = len(others) if LONG else each
    return [
        (one, others[(at * each + k) % len(others)])
        for at, one in enumerate(ones)
        for k in range(each)
    ]


def samples_in_turn(mark):
    """Influence checks with one sample for each estimator: two classes for one, more for the next.

    All checks of an estimator on a sample share its refits, which is what they cost.
    """
    names, cases = mark.args
    samples = {}
    for case in cases:
        estimator, check = case.values
        samples.setdefault(id(estimator), {})[check.sample.name] = None
    for turn, (estimator, of_one) in enumerate(samples.items()):
        samples[estimator] = list(of_one) if LONG else [list(of_one)[turn % len(of_one)]]
    kept = [one for one in cases if one.values[1].sample.name in samples[id(one.values[0])]]
    return pytest.mark.parametrize(names, kept)


def left_out(items):
    """Tests of pytest that stand for no pair of values which others do not stand for."""
    by_test = {}
    for item in items:
        if hasattr(item, "callspec"):
            by_test.setdefault((item.path, item.originalname, item.parent), []).append(item)
    out = []
    for same in by_test.values():
        combinations = [_values(item) for item in same]
        if len(combinations[0]) > 2:
            kept = set(pairwise(combinations))
            out += [item for at, item in enumerate(same) if at not in kept]
    return out


def _values(item):
    """What each ``parametrize`` and fixture gave to a test: its identity, which all tests share."""
    params = dict(item.callspec.params)
    together = [
        mark.args[0] if isinstance(mark.args[0], (list, tuple)) else mark.args[0].split(",")
        for mark in item.iter_markers("parametrize")
    ]
    names = [[name.strip() for name in group] for group in together]
    alone = set(params) - {name for group in names for name in group}
    return tuple(
        tuple(id(params[name]) for name in group if name in params)
        for group in [*names, *([name] for name in sorted(alone))]
    )
