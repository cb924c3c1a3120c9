"""No bound on the edit of a pipeline is violated, and "exact" is exact: a few of very many draws."""

import pytest

from tests.statistics.edit_trials import judge


@pytest.mark.parametrize("seed", range(60))
def test_random_edits_of_random_pipelines_are_those_of_refits(seed):
    wrong = judge(seed)
    if wrong is None:
        pytest.skip("no model before or after the edit")
    assert not wrong, wrong
