"""Which labels are wrong: average precision of the ranking and of the suggestions, on planted errors.

    python benchmarks/noise.py                                   # what ships with scikit-learn
    python benchmarks/noise.py --data DIR adult enron hausa      # see benchmarks/data.py for the folder
    python benchmarks/noise.py --cleanlab                        # beside cleanlab on 10-fold probabilities
    python benchmarks/noise.py --cleanlab --seeds 5 --data DIR breast-cancer digits adult enron flowers
    python benchmarks/noise.py --cleanlab --seeds 5 --rows 700 --data DIR hausa
    python benchmarks/noise.py --cleanlab --seeds 3 --data DIR made-2 made-4 moons dogfish diabetes
    python benchmarks/noise.py --cleanlab chosen judged later    # the tables of fresh_tables.py
    python benchmarks/noise.py --seeds 3 --data DIR wide         # more columns than rows
    python benchmarks/noise.py --told                            # beside Bayes' rule with the true noise

``random``: labels replaced by any other class; ``1`` and ``0``: only labels of that class (of the
two, or of the first two) are replaced. The penalty is chosen by leave-one-out loss on the noisy labels.
The last lines are means over the seeds; and over the shares and both classes, with the precision of all
suggestions together.
"""

import argparse
import collections
import warnings
import zipfile

import data
import fresh_tables
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, make_classification, make_moons
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from threadpoolctl import threadpool_limits

from skinfluence import Influence
from skinfluence.cleaning import audit
from skinfluence.cleaning.shapes import Likelihood
from skinfluence.leave_one_out import loo_loss
from skinfluence.linear_model import LogisticRegression

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
# Where fewer were found to do.
FEWER = {"digits": (0.1, 1.0, 10.0), "adult": (0.1, 1.0), "enron": (1.0, 10.0, 100.0)}
FEWER["flowers"] = FEWER["dogfish"] = (0.03, 0.3, 3.0)
FEWER["made-2"] = FEWER["made-4"] = FEWER["diabetes"] = (0.1, 1.0)
FRESH = {
    **fresh_tables.CHOSEN_ON,
    **fresh_tables.JUDGED_ON,
    **fresh_tables.LATER,
    **fresh_tables.WIDE,
}
FEWER |= dict.fromkeys(FRESH, (0.1, 1.0, 10.0))
FEWER["adult-products"] = FEWER["insulin-products"] = (0.1, 1.0, 10.0)
FEWER["moons"], FEWER["hausa"] = (0.1, 1.0, 10.0), (10.0,)
FLOWERS, DOGFISH, PATIENTS = 2500, 1200, 30_000


def breast_cancer(args, rng):
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y, None


def digits(args, rng):
    X, y = load_digits(return_X_y=True)
    return X / 16.0, y, None


def adult(args, rng):
    import pandas as pd

    table = pd.read_csv(
        data.folder(args.data, "adult") / "adult.data.xz", header=None, skipinitialspace=True
    )
    table = table.iloc[rng.permutation(len(table))[: args.rows]]
    numbers, categories = [0, 4, 10, 11, 12], [1, 5, 6, 7, 8, 9, 13]
    X = make_column_transformer(
        (StandardScaler(), numbers),
        (OneHotEncoder(sparse_output=False, min_frequency=5), categories),
    ).fit_transform(table)
    return X, (table[14] == ">50K").to_numpy().astype(int), None


def enron(args, rng):
    texts, y = data.load_enron(args.data)
    rows = rng.permutation(len(y))[: args.rows]
    X = TfidfVectorizer(min_df=3, sublinear_tf=True).fit_transform([texts[i] for i in rows])
    return X, y[rows], None


def flowers(args, rng):
    """48 principal components of a network's features of five kinds of flowers."""
    with np.load(data.folder(args.data, "flowers_inception") / "inception_v3_pool3.npz") as kept:
        X, y = kept["X"].astype(float), np.unique(kept["y"], return_inverse=True)[1]
    rows = np.random.default_rng(0).permutation(len(y))[:FLOWERS]
    X = PCA(48, random_state=0).fit_transform(X[rows])
    return 3 * X / X[:, 0].std(), y[rows], None


def _hausa(args):
    import pandas as pd

    table = pd.read_csv(data.folder(args.data, "noisy_news") / "hausa.csv.gz")
    return table[table["split"] == "train"]


def hausa(args, rng):
    """Headlines with their right topics; errors are planted."""
    table = _hausa(args)
    y = np.unique(table["label"], return_inverse=True)[1]
    rows = rng.permutation(len(y))[: args.rows]
    return TfidfVectorizer(sublinear_tf=True).fit_transform(table["title"])[rows], y[rows], None


def made_up(n_classes, separation):
    """Classes of one cluster each, which no plane separates."""

    def load(args, rng):
        X, y = make_classification(
            1500, 20, n_informative=8, n_redundant=2, n_classes=n_classes, class_sep=separation,
            n_clusters_per_class=1, flip_y=0, random_state=args.seed,
        )  # fmt: skip
        return StandardScaler().fit_transform(X), y, None

    return load


def moons(args, rng):
    X, y = make_moons(800, noise=0.35, random_state=args.seed)
    cubes = PolynomialFeatures(3, include_bias=False)
    return cubes.fit_transform(StandardScaler().fit_transform(X)), y, None


def dogfish(args, rng):
    """32 principal components of a network's features of dogs and fish."""
    with np.load(data.folder(args.data, "dogfish") / "inception_v3_nsfwjs.npz") as kept:
        X = next(kept[name] for name in kept if kept[name].ndim == 2).astype(float)
        y = np.unique(kept["y"], return_inverse=True)[1]
    rows = rng.permutation(len(y))[:DOGFISH]
    X = PCA(32, random_state=0).fit_transform(X[rows])
    return X / X[:, 0].std(), y[rows], None


def diabetes(args, rng):
    """Patients, and whether they were given insulin."""
    import pandas as pd

    archive = data.folder(args.data, "diabetes130") / "dataset_diabetes.zip"
    with zipfile.ZipFile(archive) as files:
        (name,) = [one for one in files.namelist() if one.endswith("diabetic_data.csv")]
        table = pd.read_csv(files.open(name), nrows=PATIENTS)
    table = table.iloc[rng.permutation(len(table))[: args.rows]]
    numbers = ["time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications"]
    numbers += ["number_outpatient", "number_emergency", "number_inpatient", "number_diagnoses"]
    categories = ["age", "race", "gender", "A1Cresult", "metformin", "glipizide", "glyburide"]
    categories += ["change", "readmitted", "admission_type_id"]
    X = make_column_transformer(
        (StandardScaler(), numbers),
        (OneHotEncoder(sparse_output=False, min_frequency=5), categories),
    ).fit_transform(table)
    return X, (table["insulin"] != "No").to_numpy().astype(int), None


def products(load, rows):
    """A few rows of a table with all products of two columns."""

    def wide(args, rng):
        X, y, _ = load(argparse.Namespace(**{**vars(args), "rows": rows}), rng)
        Z = PolynomialFeatures(2, include_bias=False, interaction_only=True).fit_transform(X)
        return StandardScaler().fit_transform(Z[:, Z.std(axis=0) > 0]) / 8, y, None

    return wide


def hausa_real(args, rng):
    """Headlines with topics from word lists, half of them wrong."""
    table = _hausa(args)
    classes = np.unique(table["label"])
    known = table["distant_label"].isin(classes).to_numpy()
    table = table[known]
    y, given = (np.searchsorted(classes, table[name]) for name in ("label", "distant_label"))
    return TfidfVectorizer(sublinear_tf=True).fit_transform(table["title"]), y, given


SETS = {
    "breast-cancer": breast_cancer, "digits": digits, "adult": adult, "enron": enron,
    "hausa": hausa, "hausa-real": hausa_real, "flowers": flowers, "made-2": made_up(2, 0.6),
    "made-4": made_up(4, 0.8), "moons": moons, "dogfish": dogfish, "diabetes": diabetes,
    "adult-products": products(adult, 400), "insulin-products": products(diabetes, 500), **FRESH,
}  # fmt: skip
GROUPS = {
    "chosen": list(fresh_tables.CHOSEN_ON),
    "judged": list(fresh_tables.JUDGED_ON),
    "later": list(fresh_tables.LATER),
    "wide": [*fresh_tables.WIDE, "adult-products", "insulin-products"],
}


def plant(y, kind, share, rng):
    """Labels with errors in a share of all rows (random), or of the rows of one class."""
    K = y.max() + 1
    struck = rng.random(len(y)) < share
    if kind == "clean":
        return y.copy()
    if kind != "random":
        struck &= y == int(kind)
    noisy = y.copy()
    noisy[struck] = (y[struck] + rng.integers(1, K, struck.sum())) % K
    return noisy


def fitted(X, y, strengths=STRENGTHS):
    """Logistic regression with the penalty of least leave-one-out loss."""
    best = None
    for C in strengths:
        model = LogisticRegression(C=C, tol=1e-6, max_iter=1000).fit(X, y)
        influence = Influence(model, X, y)
        loss = np.nanmean(loo_loss(influence, "one-step"))
        if best is None or loss < best[0]:
            best = loss, model, influence
    return best[1:]


def suggested(found):
    return (found.table.sort_values("row")["action"] != "keep").to_numpy()


def figures(scores, flagged, wrong):
    """Average precision, precision, recall and share flagged."""
    hits = (flagged & wrong).sum()
    return {
        "F1": 2 * hits / (flagged.sum() + wrong.sum()) if wrong.any() else np.nan,
        "AP": average_precision_score(wrong, scores) if wrong.any() else np.nan,
        "precision": hits / flagged.sum() if flagged.any() else np.nan,
        "recall": hits / wrong.sum() if wrong.any() else np.nan,
        "flagged": flagged.mean(),
        "hits": hits,
        "changed": flagged.sum(),
    }


def cleanlab(model, X, given):
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    proba = cross_val_predict(model, X, given, cv=10, method="predict_proba")
    quality = get_label_quality_scores(given, proba, method="self_confidence")
    return proba, -quality, find_label_issues(given, proba)


def told(found, y, given, kind, share):
    """Log odds of an error by Bayes' rule, with the matrix that planted the errors and a and b fitted."""
    logs = np.log(np.maximum(found.local_proba, 1e-30))
    kinds = [("even",)] if kind == "random" else [("true", int(kind))]
    shape = Likelihood(logs, given).fit(kinds, held=share)
    k = logs.shape[1]
    return np.nan_to_num(shape.log_odds(logs, given, np.zeros((k, k))), neginf=-1e9)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "sets", nargs="*", default=["breast-cancer", "digits"], choices=[*SETS, *GROUPS, []]
    )
    data.add_data_option(parser)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--kinds", nargs="+", default=["clean", "random", "1", "0"])
    parser.add_argument("--cleanlab", action="store_true")
    parser.add_argument("--rounds", type=int, default=0, help="also with trimmed rows, so often")
    parser.add_argument("--told", action="store_true", help="also with the true matrix")
    parser.add_argument("--keep", metavar="FOLDER", help="write the probabilities there, as npz")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'set':>14} {'noise':>10} {'C':>6}  by        AP    precision  recall  flagged   share")
    totals = collections.defaultdict(list)
    names = [one for name in args.sets for one in GROUPS.get(name, [name])]
    for name in names:
        for seed in range(args.seeds):
            rng, args.seed = np.random.default_rng(seed), seed
            X, y, given = SETS[name](args, rng)
            runs = [(kind, share) for kind in args.kinds for share in args.shares]
            runs = [run for run in runs if run[0] != "clean" or run[1] == args.shares[0]]
            for kind, share in runs if given is None else [("real", 0.0)]:
                own = np.random.default_rng([seed, int(1000 * share), ord(kind[0])])
                noisy = plant(y, kind, share, own) if given is None else given
                lines = show(args, name, seed, kind, share, X, y, noisy)
                for by, found in lines.items():
                    totals[name, kind, share, by].append(found)
    print("means over the seeds")
    for (name, kind, share, by), found in totals.items():
        parts = [
            f"{what} {np.nanmean([one[what] for one in found]):.3f}"
            for what in ("AP", "F1", "precision", "flagged")
        ]
        print(f"{name:>14} {kind + f' {share:g}':>10}  {by:<9} {'  '.join(parts)}")
    summarise(totals)


def summarise(totals):
    """One line for each set, kind of errors and way: means over everything, suggestions counted together."""
    print("means over the seeds, the shares and both classes")
    grouped = collections.defaultdict(list)
    for (name, kind, _, by), found in totals.items():
        grouped[name, kind if kind in ("clean", "random", "real") else "one-sided", by] += found
    for (of, kind, by), found in grouped.items():
        what = ("AP", "F1", "precision")
        AP, F1, precision = (np.nanmean([one[name] for one in found]) for name in what)
        hits, changed = (sum(one[what] for one in found) for what in ("hits", "changed"))
        flagged = np.mean([one["flagged"] for one in found])
        print(
            f"{of:>15} {kind:>9}  {by:<9} AP {AP:.3f}  F1 {F1:.3f}  "
            f"precision {precision:.3f}  together {hits / max(1, changed):.3f}  flagged {flagged:.4f}"
        )


def show(args, name, seed, kind, share, X, y, given):
    """One line for each way to find the errors."""
    wrong = given != y
    model, influence = fitted(X, given, FEWER.get(name, STRENGTHS))
    found = audit(model, X, given, influence=influence)
    score = np.empty(len(y))
    score[found.table["row"]] = -np.arange(len(y), dtype=float)
    lines = {"audit": (score, suggested(found), found.noise_share)}
    loss = found.table.sort_values("row")["loo_loss"].to_numpy()
    lines["loo_loss"] = (np.nan_to_num(loss), np.zeros(len(y), dtype=bool), np.nan)
    if args.rounds:
        trimmed = audit(model, X, given, influence=influence, effects=False, rounds=args.rounds)
        order = np.empty(len(y))
        order[trimmed.table["row"]] = -np.arange(len(y), dtype=float)
        lines["rounds"] = (order, suggested(trimmed), trimmed.noise_share)
    if args.told and kind not in ("clean", "real"):
        scores = told(found, y, given, kind, share)
        lines["told"] = (scores, scores > 0, share)
    kept = {"loo": found.loo_proba, "given": given, "y": y, "C": model.C}
    if args.cleanlab:
        proba, quality, flagged = cleanlab(model, X, given)
        lines["cleanlab"] = (quality, flagged, np.nan)
        kept["cv"] = proba
    if args.keep:
        np.savez(f"{args.keep}/{name}-{kind}-{share:g}-{seed}.npz", **kept)
    found = {}
    for by, (scores, flagged, claimed) in lines.items():
        f = found[by] = figures(scores, flagged, wrong)
        print(
            f"{name:>14} {kind + f' {share:g}':>10} {model.C:6g}  {by:<9} {f['AP']:.3f}   "
            f"{f['precision']:.3f}     {f['recall']:.3f}   {f['flagged']:.4f}   {claimed:.4f}",
            flush=True,
        )
    return found


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
