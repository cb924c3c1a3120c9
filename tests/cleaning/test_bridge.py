"""cleanlab is asked about leave-one-out probabilities, and what it finds stands beside our rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.preprocessing import StandardScaler

from skinfluence.cleaning import audit, from_cleanlab, to_datalab
from skinfluence.datasets import flip_labels
from skinfluence.linear_model import LogisticRegression, Ridge


@pytest.fixture(scope="module")
def data():
    X, y = load_wine(return_X_y=True)
    y, wrong = flip_labels(np.array(["a", "b", "c"])[y], 0.1, random_state=0)
    return StandardScaler().fit_transform(X), y, wrong


@pytest.fixture(scope="module")
def found(data):
    X, y, _ = data
    return audit(LogisticRegression(C=0.1).fit(X, y), X, y)


def test_its_order_is_an_order_of_ours(data):
    rank = pytest.importorskip("cleanlab.rank")
    X, y, _ = data
    found = audit(LogisticRegression(C=0.1).fit(X, y), X, y, score="cleanlab")
    quality = rank.get_label_quality_scores(np.searchsorted(found.classes, y), found.loo_proba)
    assert (np.diff(quality[found.table["row"]]) >= 0).all()


def test_a_class_of_one_row_is_no_matter(data):
    pytest.importorskip("cleanlab")
    X, y, _ = data
    y = np.where(np.arange(len(y)) == 7, "only", y)
    model = LogisticRegression(C=0.1).fit(X, y)
    found = audit(model, X, y, score="cleanlab")
    assert found.table["row"].iloc[-1] == 7


def test_datalab_sees_leave_one_out_probabilities(found, data):
    pytest.importorskip("datasets")
    cleanlab = pytest.importorskip("cleanlab")
    lab = to_datalab(found, issue_types={"label": {}})
    assert isinstance(lab, cleanlab.Datalab)
    issues = lab.get_issues("label")
    assert data[2][issues["is_label_issue"].to_numpy()].mean() > 0.5
    both = from_cleanlab(found, lab.get_issues())
    marked = both.table.set_index("row")["cleanlab"] == "label"
    np.testing.assert_array_equal(marked.sort_index(), issues["is_label_issue"])
    score = both.table.set_index("row")["cleanlab_score"].sort_index()
    np.testing.assert_allclose(score, issues["label_score"])
    assert both.table.columns[-1] == "action" and "cleanlab: label" in both.to_html()


def test_tables_masks_and_positions_say_the_same(found):
    mask = np.zeros(178, dtype=bool)
    mask[[3, 50]] = True
    table = pd.DataFrame({"is_label_issue": mask, "is_near_duplicate_issue": False})
    for issues in (table, mask, [3, 50]):
        both = from_cleanlab(found, issues)
        assert sorted(both.table.loc[both.table["cleanlab"] == "label", "row"]) == [3, 50]
        assert both.table.drop(columns="cleanlab").equals(found.table)
    table["is_near_duplicate_issue"] = True
    again = from_cleanlab(both, table)
    assert set(again.table["cleanlab"]) == {"label, near duplicate", "near duplicate"}


@pytest.mark.parametrize(
    ("issues", "words"),
    [
        (pd.DataFrame({"is_label_issue": [True]}), "each of the 178"),
        (pd.DataFrame({"score": np.zeros(178)}), "columns such as"),
        (np.zeros(178), "mask or positions"),
        ([500], "mask or positions"),
    ],
)
def test_issues_of_other_rows_are_refused(found, issues, words):
    with pytest.raises(ValueError, match=words):
        from_cleanlab(found, issues)


def test_numbers_have_no_probabilities():
    X, y = load_diabetes(return_X_y=True)
    with pytest.raises(TypeError, match="classifier"):
        to_datalab(audit(Ridge().fit(X, y), X, y))
