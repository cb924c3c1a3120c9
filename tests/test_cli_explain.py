"""The command line explains a prediction, and audits the model that was asked for."""

import json

import numpy as np
import pandas as pd
import pytest

from skinfluence.cleaning.selection import select_model
from skinfluence.cleaning.tables import file_problem
from skinfluence.cleaning.words import Words
from skinfluence.cli import main
from skinfluence.datasets import make_mixed_table


@pytest.fixture(autouse=True)
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame, _ = make_mixed_table(250, random_state=0)
    frame.to_csv("data.csv", index=False)
    return frame


FILE = ["data.csv", "--target", "renewed", "--id-column", "customer"]


def explained(capsys, *arguments):
    assert main(["explain", *FILE, *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_row_is_explained_by_the_other_rows_and_checked(table, capsys):
    found = explained(capsys, "--row", "C00017", "--verify", 2)
    assert found["id"] == table["customer"][17] and found["given"] == table["renewed"][17]
    assert 17 not in [line["row"] for line in found["rows"]] and len(found["rows"]) == 10
    for line in found["rows"]:
        assert line["id"] == table["customer"][line["row"]]
        assert line["given"] == table["renewed"][line["row"]]
        assert (line["effect"] < 0) == (line["side"] == "for")
    refits = [line["refit"] for line in found["rows"]]
    assert sum(refit is not None for refit in refits) == 4 and found["largest_difference"] < 1e-3
    total = sum(line["contribution"] for line in found["features"])
    assert total == pytest.approx(found["decision"], rel=1e-6)


def test_it_is_printed(table, capsys):
    assert main(["explain", *FILE, "--row", "C00017"]) == 0
    out = capsys.readouterr().out
    for words in (
        table["customer"][17],
        "Rows it rests on",
        "speak against",
        "intercept",
        "by refit",
    ):
        assert words in out
    assert main(["explain", "data.csv", "--target", "spend", "--row", "3", "--top", "2"]) == 0
    assert "Rows that raise it" in capsys.readouterr().out


def test_behind_a_curve_features_add_up_to_what_it_is_undone_on(capsys):
    arguments = ["data.csv", "--target", "spend", "--features", "age,visits", "--verify", "0"]
    assert main(["explain", *arguments, "--row", "3", "--log-target"]) == 0
    out = capsys.readouterr().out
    assert "through" in out and "after scaling" in out and "before it is turned into units" in out
    assert "Through: which contributions, as above" in " ".join(out.split())
    assert main(["explain", *arguments, "--row", "3", "--log-target", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    total = sum(line["contribution"] for line in found["features"])
    assert np.exp(total) == pytest.approx(found["prediction"])


def test_words_are_features_where_asked_for(capsys):
    found = explained(
        capsys, "--row", "C00017", "--text-components", 0, "--features", "comment,age"
    )
    names = [line["feature"] for line in found["features"]]
    assert any(name.startswith("comment: ") for name in names)
    through = [part["feature"] for line in found["rows"] for part in line["through"]]
    assert any(name.startswith("comment: ") for name in through)


def test_only_the_features_named_are_features():
    problem = file_problem("data.csv", "renewed", features=["spend", "age"])
    assert list(problem.X.columns) == ["spend", "age"]
    names = select_model(problem, C=1.0).names
    assert all(name.startswith(("spend", "age", "missingindicator")) for name in names)


@pytest.mark.parametrize("n", [5, 0])
def test_texts_have_as_many_features_as_asked_for(n):
    problem = file_problem("data.csv", "renewed", features=["comment"])
    names = select_model(problem, C=1.0, text_components=n).names
    assert len(names) == 5 if n else all(name.startswith("comment: ") for name in names)


def test_balanced_classes_count_alike(capsys):
    weights = {}
    for given in ("none", "balanced"):
        options = ["--no-html", "--verify", "0", "--C", "1", "--json", "--class-weight", given]
        assert main(["audit", *FILE, *options]) == 0
        weights[given] = json.loads(capsys.readouterr().out)["mean_loo_loss"]
    problem = file_problem("data.csv", "renewed", id_column="customer")
    balanced = select_model(problem, C=1.0, class_weight="balanced")
    assert balanced.model.class_weight == "balanced"
    assert weights["none"] != pytest.approx(weights["balanced"], rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*FILE[:3], "--row", "250"], "rows 0 to 249. Got 250."),
        ([*FILE, "--row", "c00017"], "Did you mean 'C00017'?"),
        ([*FILE, "--row", "17"], "pass --drop-columns customer for --id-column"),
        ([*FILE[:3], "--id-column", "plan", "--row", "basic"], "must name one row"),
        ([*FILE], "--row"),
        (["--row", "1"], "give a FILE"),
        ([*FILE[:3], "--row", "-1"], "must be a whole number from 0"),
        ([*FILE[:3], "--row", "C00017"], "the id of a row with --id-column"),
        ([*FILE, "--row", "C00001", "--features", "agee"], "Did you mean 'age'?"),
        ([*FILE, "--row", "C00001", "--features", "renewed"], "cannot be a feature"),
        ([*FILE, "--row", "C00001", "--features", "age", "--drop-columns", "spend"], "not both"),
    ],
)
def test_a_wrong_call_is_refused_with_the_remedy(arguments, words, capsys):
    assert main(["explain", *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in err and out == ""


def test_a_row_is_named_as_the_audit_names_it(table, capsys):
    """Ids that are whole numbers too are not taken for places in the table."""
    table.assign(customer=np.arange(250)[::-1]).to_csv("data.csv", index=False)
    found = explained(capsys, "--row", 240, "--verify", 0, "--features", "age")
    assert (found["row"], found["id"]) == (9, "240")
    arguments = ["data.csv", "--target", "renewed", "--drop-columns", "customer", "--features", ""]
    assert main(["explain", *arguments, "--row", "9", "--verify", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["row"] == 9


def test_changes_of_a_large_target_are_printed_in_its_units(table, capsys):
    table.assign(spend=table["spend"] * 1e4).to_csv("data.csv", index=False)
    arguments = ["data.csv", "--target", "spend", "--features", "age,visits", "--row", "3"]
    assert main(["explain", *arguments, "--verify", "0"]) == 0
    out = capsys.readouterr().out
    assert "change of the prediction" in " ".join(out.split()) and "e+0" not in out


def test_words_that_no_two_rows_share_are_no_features():
    words = Words()
    assert words.fit_transform(pd.Series(["a1", None, "b2"], name="x")).shape == (3, 0)
    found = words.fit_transform(pd.Series(["one two", "two three", None], name="x"))
    assert list(found.columns) == ["x: two"] and found["x: two"][2] == 0
    assert np.isfinite(words.transform(pd.Series(["four", ""])).to_numpy()).all()


def test_sources_are_named_by_a_column_that_is_no_feature(table, capsys):
    rng = np.random.RandomState(0)
    names = rng.choice(["ada", "bob", ""], len(table))
    wrong = (names == "bob") & (rng.uniform(size=len(table)) < 0.5)
    renewed = table["renewed"].where(~wrong, table["renewed"].map({"yes": "no", "no": "yes"}))
    table.assign(who=names, renewed=renewed).to_csv("data.csv", index=False)
    options = ["--source-column", "who", "--verify", "0", "--C", "0.1"]
    assert main(["audit", *FILE, *options, "--json", "--no-html"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {line["source"] for line in found["sources"]} == {"ada", "bob", "(not said)"}
    assert found["sources"][0]["source"] == "bob"
    assert sum(line["n_rows"] for line in found["sources"]) == len(table)
    assert main(["audit", *FILE, *options, "--no-html"]) == 0
    assert "Sources, each judged by the model without it" in capsys.readouterr().out
    table.assign(who="ada").to_csv("data.csv", index=False)
    assert main(["audit", *FILE, *options]) == 2
    assert "one source only" in capsys.readouterr().err


def heavy(n=240):
    """A label that follows the size of numbers with heavy tails."""
    rng = np.random.RandomState(0)
    a, b = np.exp(3 * rng.normal(size=(2, n)))
    label = np.where(np.log(a) - np.log(b) + rng.normal(size=n) > 0, "yes", "no")
    frame = pd.DataFrame({"a": a, "b": b, "label": label})
    frame.loc[::17, "a"] = np.nan
    return frame


def test_the_scaling_of_heavy_tails_is_chosen_by_leave_one_out_loss(tmp_path, capsys):
    heavy().to_csv("data.csv", index=False)
    problem = file_problem("data.csv", "label")
    losses = {}
    for way in ("standard", "squash", "quantile"):
        chosen = select_model(problem, C=1.0, scaling=way)
        losses[way] = chosen.scores[chosen.strength]
    best = select_model(problem, C=1.0, scaling="auto")
    assert losses["standard"] > 1.2 * min(losses.values())
    assert best.scores[best.strength] == pytest.approx(min(losses.values()))
    assert f"{losses['standard']:.4g}" in best.notes[0]
    options = ["--C", "1", "--verify", "0", "--no-html", "--json", "--scaling", "auto"]
    assert main(["audit", "data.csv", "--target", "label", *options]) == 0
    assert any(
        "Numbers are scaled by" in note for note in json.loads(capsys.readouterr().out)["notes"]
    )


def test_numbers_scaled_to_unit_variance_are_what_they_were():
    """The default is that of the table as it is: medians for gaps, then unit variance."""
    frame = heavy()
    frame.to_csv("data.csv", index=False)
    X = select_model(file_problem("data.csv", "label"), C=1.0).X
    a = frame["a"].fillna(frame["a"].median())
    np.testing.assert_allclose(X[:, 0], (a - a.mean()) / a.std(ddof=0), rtol=1e-5, atol=1e-6)
