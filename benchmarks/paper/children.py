"""Section 5.3 of Koh and Liang (2017): four children behind one wrong prediction.

Diabetes 130-US hospitals: 20,000 stays, half of them readmitted within 30 days; 127 columns, not
scaled; logistic regression without intercept, weight decay 1e-4. Of the 21 children who were not
readmitted all but one are dropped, so that 3 of 4 are. Which training rows are behind a child that
the model now gets wrong, and through which feature?

The second question has two readings. The derivative of the loss in a feature of a child
(``influence_pert``) asks what the first hair's breadth of *any* column does, also of columns that
no child has: it is large where the data say little. The change of an indicator that the child has
asks what the row does through it. Both are here, and the second also as the exact edit.

    python benchmarks/paper/children.py --data DIR [--quick]
"""

import zipfile

import numpy as np
import pandas as pd
from experiment import Experiment, axes, folder
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence, edits

DECAY, PER_CLASS, SEED = 1e-4, 10_000, 2
COUNTS = [
    "time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications",
    "number_outpatient", "number_emergency", "number_inpatient", "number_diagnoses",
]  # fmt: skip
LEFT_OUT = {
    "encounter_id", "patient_nbr", "weight", "admission_type_id", "admission_source_id",
    "payer_code", "medical_specialty", "diag_1", "diag_2", "diag_3", "readmitted",
}  # fmt: skip
CHILD = "age_[0-10)"


def load_stays(data):
    """All 101,766 stays: counts and indicators, 127 columns, and who came back within 30 days."""
    archive = zipfile.ZipFile(folder(data, "diabetes130") / "dataset_diabetes.zip")
    with archive.open("dataset_diabetes/diabetic_data.csv") as file:
        table = pd.read_csv(file, keep_default_na=False)
    parts = [table[COUNTS].astype(float)]
    # gender, race and age stand before the others there; the order of columns does not matter.
    for name in [one for one in table if one not in LEFT_OUT and one not in COUNTS]:
        two = table[name].nunique() == 2
        parts.append(pd.get_dummies(table[name], prefix=name, drop_first=two, dtype=float))
    return pd.concat(parts, axis=1), (table["readmitted"] == "<30").to_numpy().astype(int)


def split(y):
    """10,000 training rows of each class, mixed, and all others."""
    # The generator of the paper's code, so that the rows are the same.
    rng = np.random.RandomState(SEED)
    sides = [np.flatnonzero(y == label) for label in (1, 0)]
    for side in sides:
        rng.shuffle(side)
    train, test = (
        np.concatenate([s[part] for s in sides])
        for part in (slice(PER_CLASS), slice(PER_CLASS, None))
    )
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test


def fitted(X, y):
    model = LogisticRegression(C=1 / (len(y) * DECAY), fit_intercept=False, tol=1e-10)
    return model.set_params(solver="newton-cholesky", max_iter=200).fit(X, y)


def without(row, column):
    """A row with one indicator turned off."""
    moved = row.copy()
    moved[column] = 0.0
    return moved


def main():
    experiment = Experiment("children", "Section 5.3, domain mismatch", __doc__, tests=(50, 3))
    table, labels = load_stays(experiment.args.data)
    names, X = list(table.columns), table.to_numpy()
    child = names.index(CHILD)
    train, test = split(labels)
    young = X[train, child] == 1
    calm = train[young & (labels[train] == 0)]
    before = f"{labels[train[young]].sum()} of {young.sum()}"
    original = fitted(X[train], labels[train])
    train = train[~np.isin(train, calm[:-1])]
    A, y = X[train], labels[train]
    children = np.flatnonzero(A[:, child] == 1)
    n = len(y)
    experiment.claim(
        "columns; children readmitted, before and after", "127; 3 of 24, 3 of 4",
        f"{A.shape[1]}; {before}, {y[children].sum()} of {len(children)}",
        holds=A.shape[1] == 127 and len(children) == 4,
    )  # fmt: skip
    model = fitted(A, y)
    young = test[X[test, child] == 1]
    right, wrong = (one.predict(X[young]) == labels[young] for one in (original, model))
    targets = young[right & ~wrong][: experiment.args.tests]
    experiment.say(f"{(right & ~wrong).sum()} test children turn wrong; {len(targets)} looked at")

    inf = Influence(model, A, y)
    first = -Influence(model, A, y, hold="lambda").influence_up_loss(X[targets], labels[targets])
    first /= n
    exact = inf.removal_effect(X[targets], labels[targets])
    ratios = []
    for effects in (first, exact):
        others = np.delete(np.abs(effects), children, axis=1).max(axis=1)
        ratios.append(np.sort(np.abs(effects[:, children]), axis=1) / others[:, None])
    for who, some in (("the first test child", slice(1)), ("median of them", slice(None))):
        middle = [np.median(one[some], axis=0) for one in ratios]
        experiment.claim(
            f"{who}: the four rows of children over the next, weakest to strongest", "30 to 40",
            *(", ".join(f"{r:.0f}" for r in one) for one in middle),
            all(one[0] >= 20 for one in middle),
        )  # fmt: skip
    every = [int((one > 1).all(axis=1).sum()) for one in ratios]
    experiment.claim(
        "test children for whom the four are the four largest of all rows", "the one shown",
        *(f"{k} of {len(targets)}" for k in every), min(every) == len(targets),
    )  # fmt: skip
    signs = ["".join("+-"[int(v < 0)] for v in effects[0, children]) for effects in (first, exact)]
    alone = all(
        (np.sign(effects[:, children[y[children] == 0]]) == 1).all()
        and (np.sign(effects[:, children[y[children] == 1]]) == -1).all()
        for effects in (first, exact)
    )
    experiment.claim("the child who was not readmitted has the other sign", "yes", *signs, alone)
    larger = int((np.abs(model.coef_[0]) > np.abs(model.coef_[0, child])).sum())
    experiment.claim(
        "coefficients larger than the child's, of 127", "14", f"{larger}", holds=larger > 5
    )

    # Through which feature? One test child, the four rows.
    x, label = X[targets[:1]], labels[targets[:1]]
    slope = inf.influence_pert(x, label, indices=children)[0] / n
    stopped = LogisticRegression(C=1 / (n * DECAY), fit_intercept=False, max_iter=1000, tol=1e-4)
    early = Influence(stopped.fit(A, y), A, y).influence_pert(x, label, indices=children)[0] / n
    has = A[children] == 1
    has[:, [names.index(one) for one in COUNTS]] = False

    def top(values):
        order = np.argsort(-np.abs(values))
        mine = np.abs(values[child])
        rest = order[order != child][0]
        return names[order[0]], names[rest], mine / np.abs(values[rest])

    place = int((np.abs(slope[0]) > np.abs(slope[0, child])).sum()) + 1
    leads = [top(one) for one in slope]
    experiment.claim(
        "derivative in every column: the child indicator leads", "by far the largest effect",
        f"no: {leads[0][1]} stands {1 / min(one[2] for one in leads):.1f} times above it (place {place})",
        f"fit stopped as theirs: {top(early[0])[1]}, {1 / top(early[0])[2]:.1f} times",
        min(one[2] for one in leads) > 1,
    )  # fmt: skip
    owned = [np.where(h, s, 0.0) for h, s in zip(has, slope, strict=True)]
    toggles = [(i, j) for i, h in zip(children, has, strict=True) for j in np.flatnonzero(h)]
    changes = inf.effect([edits.replace(i, without(A[i], j)) for i, j in toggles], x, label).values
    changed = np.zeros_like(slope)
    for (i, j), value in zip(toggles, changes[0], strict=True):
        changed[list(children).index(i), j] = value
    leads = [[top(one)[2] for one in values] for values in (owned, changed)]
    experiment.claim(
        "turning off an indicator the child has: the child's over the next",
        "by far the largest effect",
        *(f"{min(one):.1f} to {max(one):.1f} times" for one in leads),
        min(min(one) for one in leads) > 1,
    )  # fmt: skip

    figure, (row,) = axes(3)
    order = np.argsort(-np.abs(exact[0]))[:40]
    colours = np.where(np.isin(order, children), "C3", "C0")
    row[0].bar(np.arange(len(order)), exact[0, order], color=colours)
    row[0].set(title="rows behind one wrong child", xlabel="training rows", ylabel="without it")
    for ax, values, title in (
        (row[1], slope[0], "derivative, any column"),
        (row[2], changed[0], "turning an indicator off"),
    ):
        order = np.argsort(-np.abs(values))[:8][::-1]
        ax.barh([names[j][:28] for j in order], values[order],
                color=["C3" if j == child else "C0" for j in order])  # fmt: skip
        ax.set(title=title)
        ax.tick_params(axis="y", labelsize=7)
    experiment.save(figure)


if __name__ == "__main__":
    main()
