"""The price of certified leave-one-out, in fits: all rows left out, one thread, CPU seconds.

    python benchmarks/price.py                        # tables that ship with scikit-learn, random ones
    python benchmarks/price.py --data DIR a9a mails   # see benchmarks/data.py for the folder
    python benchmarks/price.py --data DIR SVC search  # a kernel machine; searches over texts

The unit is one ``newton-cholesky`` fit to 1e-10 (``lbfgs`` from 700 parameters on), timed between the
repeats of the question. The factorisation is part of every answer. ``error`` is the largest of
|answer - refit| / |refit - fit| over a sample of rows; ``over`` counts own values off by more than the
tolerance and the floor of float64
(effects certify the parameters, in the norm of the Hessian). Behind a scaler the answer is put beside
that with the scaler as fitted, too.
"""

import argparse
import time
import warnings
from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skinfluence import Influence
from skinfluence.model_selection import LeaveOneOutSearch

TOL = 1e-3
METHODS = ("one-step", "auto", "exact")
# What is asked: own decision values, effects on 50 other points, own values behind a scaler, and the
# three rows that help and harm one point most.
QUESTIONS = ("own", "effects", "scaled", "top")
# What a kernel machine is asked, in fits of libsvm; the search over texts by one step, in five-fold ones.
SVC_ROWS, SEARCHED = "SVC 3,000 x 57", "search over words"
TEXTS = (300, 700, 1340)
N_POINTS = 50


def breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def digits_3_8():
    X, y = load_digits(return_X_y=True)
    chosen = np.isin(y, (3, 8))
    return X[chosen] / 16.0, (y[chosen] == 8).astype(int)


def one_hot(n=1000, d=61, seed=0):
    """Twelve categories of five levels and a number: the shape of a credit table."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 5, (n, 12))
    X = np.concatenate([np.eye(5)[levels].reshape(n, 60), rng.standard_normal((n, 1))], axis=1)
    score = X @ rng.normal(0, 0.8, d)
    return X, (score - np.median(score) + rng.logistic(size=n) > 0).astype(int)


def heavy_tails(n=4601, d=57, seed=0):
    """Counts with long tails and many zeros, standardised: the shape of a table of words in mails."""
    rng = np.random.default_rng(seed)
    spam = rng.random(n) < 0.39
    rate = rng.gamma(0.3, 2.0, (2, d))
    X = rng.gamma(0.15, rate[spam.astype(int)] / 0.15) * (rng.random((n, d)) < 0.35)
    return StandardScaler().fit_transform(X), (spam ^ (rng.random(n) < 0.07)).astype(int)


def random(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, (X @ rng.standard_normal(d) / np.sqrt(d) * 2 + rng.logistic(size=n) > 0).astype(int)


def classes(n_classes, rows=12, d=20, seed=0):
    """Few rows of many classes."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), rows)
    centers = 1.5 * rng.standard_normal((n_classes, d))
    return centers[y] + rng.standard_normal((len(y), d)), y


def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


def a9a(data, dense):
    from data import load_a9a

    X, y = load_a9a(data)
    return X.toarray() if dense else X, y


def diabetes(data):
    from data import load_diabetes

    return load_diabetes(data)


def mails(data, n=4137):
    """Counts of words in mails, those of five mails at least."""
    from data import load_enron

    texts, y = load_enron(data)
    some = np.random.default_rng(0).permutation(len(y))[:n]
    X = CountVectorizer(min_df=5).fit_transform([texts[i] for i in some])
    return X.astype(float), y[some]


def texts(data, n=3500, words=7000):
    """Mails as shares of their words, by rarity."""
    from data import load_enron

    mails, y = load_enron(data)
    some = np.random.default_rng(0).permutation(len(y))
    X = TfidfVectorizer(max_features=words, min_df=2).fit_transform([mails[i] for i in some])
    return X[:n], y[some[:n]]


WORKS = {
    "breast cancer C=.01": (breast_cancer, 0.01),
    "breast cancer C=1": (breast_cancer, 1.0),
    "breast cancer C=100": (breast_cancer, 100.0),
    "digits 3 v 8": (digits_3_8, 1.0),
    "one-hot 1,000 x 61": (one_hot, 1.0),
    "heavy tails 4,601 x 57": (heavy_tails, 1.0),
    "random 10,000 x 100": (lambda: random(10_000, 100), 1.0),
    "random 20,000 x 50": (lambda: random(20_000, 50), 1.0),
    "random 20,000 x 100": (lambda: random(20_000, 100), 1.0),
    "digits, 10 classes": (digits, 1.0),
    "20 classes": (lambda: classes(20), 1.0),
    "50 classes": (lambda: classes(50), 1.0),
    "100 classes": (lambda: classes(100), 1.0),
}
# From --data.
READ = {
    "a9a dense": (lambda data: a9a(data, True), 1.0),
    "a9a sparse": (lambda data: a9a(data, False), 1.0),
    "diabetes130": (diabetes, 1.0),
    "mails, 1,000 of Enron1": (lambda data: mails(data, 1000), 1.0),
    "mails of Enron1": (mails, 1.0),
    "texts 3,500 x 7,000": (texts, 1.0),
}
# Where newton-cholesky factors a large Hessian, the unit is another solver's fit.
LARGE = 700


def model_for(X, y, C, tight=False):
    """A fit to 1e-10, or to round-off."""
    classes = len(np.unique(y))
    large = X.shape[1] * (classes if classes > 2 else 1) > LARGE
    # Line searches of lbfgs end before round-off.
    solver = ("newton-cg" if tight else "lbfgs") if large else "newton-cholesky"
    return LogisticRegression(C=C, solver=solver, tol=1e-14 if tight else 1e-10, max_iter=10_000)


def fitted(X, y, C, tight=False):
    return model_for(X, y, C, tight).fit(X, y)


def cpu(call):
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def in_fits(fit, ask, repeats):
    """CPU seconds of a fit and of an answer, the least of each over interleaved repeats."""
    ask()
    times = [(cpu(fit)[0], *cpu(ask)) for _ in range(repeats)]
    return min(t[0] for t in times), min(t[1] for t in times), times[-1][2]


def scaled(X, y, C, tight=False):
    return make_pipeline(StandardScaler(), model_for(X, y, C, tight)).fit(X, y)


def centred(values):
    """Decision values less their mean over classes: a softmax does not determine its intercepts' sum."""
    return values if values.ndim == 1 else values - values.mean(axis=1, keepdims=True)


def refit_error(X, y, C, question, answer, rows, tol):
    """Largest relative error of some answers, and how many are off by more than they may be.

    Effects are compared on all their points at once, in the norm.
    """
    make = scaled if question == "scaled" else fitted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = make(X, y, C, tight=True)
    worst, over = 0.0, 0
    for i in rows:
        kept = np.delete(np.arange(len(y)), i)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = make(X[kept], y[kept], C, tight=True)
        points = X[:N_POINTS] if question == "effects" else X[[i]]
        true, old = (centred(one.decision_function(points)) for one in (model, before))
        found = old + centred(answer[:, i]) if question == "effects" else centred(answer[[i]])
        change, error = np.linalg.norm(true - old), np.linalg.norm(found - true)
        # Changes that float64 refits resolve themselves.
        if change > 1e-7 * max(1.0, np.linalg.norm(true)):
            worst = max(worst, error / change)
        if question != "effects":
            over += error > tol * change + 1e-9 * max(1.0, np.abs(true).max())
    return worst, over


def measure(name, X, y, C, question, methods, repeats, n_refits):
    make = scaled if question == "scaled" else fitted
    model = make(X, y, C)
    rows = np.random.default_rng(0).choice(len(y), min(n_refits, len(y)), replace=False)
    for method in methods:

        def ask(method=method, frozen=None):
            influence = Influence(model, X, y)
            if question == "effects":
                points = X[:N_POINTS]
                return influence.removal_effect(
                    points, of="decision_function", method=method, tol=TOL
                )
            return influence.loo_decision_function(method=method, tol=TOL, frozen=frozen)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            unit, seconds, answer = in_fits(lambda: make(X, y, C), ask, repeats)
            said = ""
            if question == "scaled":
                # Beside the answer of the same machinery with the scaler as fitted.
                held, whole, _ = in_fits(partial(ask, frozen="accept"), ask, repeats)
                said = f"   {whole / held:.2f} times held"
        tol = {"one-step": np.inf, "auto": TOL, "exact": 1e-6}[method]
        worst, over = refit_error(X, y, C, question, answer, rows, tol)
        print(
            f"{name:24s} {question:7s} {method:9s} fit {unit:8.4f} s   answer {seconds:8.4f} s   "
            f"{seconds / unit:7.2f} fits   error {worst:.1e}   over {over} of {len(rows)}{said}",
            flush=True,
        )


def measure_top(name, X, y, C, repeats, k=3):
    """The strongest rows of one point, beside one step: from the fitted model, and asked again."""
    model, seconds = fitted(X, y, C), {}
    for method in ("one-step", "auto"):

        def ask(method=method):
            influence = Influence(model, X, y)
            first, _ = cpu(lambda: influence.top(X[:1], y[:1], k=k, method=method, tol=TOL))
            again, top = cpu(lambda: influence.top(X[:1], y[:1], k=k, method=method, tol=TOL))
            return first, again, top

        asked = [cpu(ask) for _ in range(repeats)]
        seconds[method] = min(t for t, _ in asked), min(one[1] for _, one in asked)
    top = asked[-1][1][2]
    loss = _loss_at(fitted(X, y, C, tight=True), X[:1], y[0])
    worst = 0.0
    for rows, effects in ((top.helpful, top.helpful_effects), (top.harmful, top.harmful_effects)):
        for i, effect in zip(rows[0], effects[0], strict=True):
            kept = np.delete(np.arange(len(y)), i)
            true = _loss_at(fitted(X[kept], y[kept], C, tight=True), X[:1], y[0]) - loss
            worst = max(worst, abs(effect - true) / abs(true))
    for k, what in enumerate(("first", "again")):
        one, auto = (seconds[method][k] for method in ("one-step", "auto"))
        print(
            f"{name:24s} top     {what:9s} one step {one:8.4f} s   answer {auto:8.4f} s   "
            f"{auto / one:7.2f} one steps   error {worst:.1e}",
            flush=True,
        )


def measure_svc(repeats, n_refits):
    """All rows of overlapping classes left out of an RBF machine, on exact paths.

    Compared with refits of libsvm, whose kernels are in single precision: some 1e-6 is theirs.
    """
    X, y = heavy_tails(3000)

    def make(rows=slice(None), **options):
        return SVC(C=1.0, gamma=1.0 / (X.shape[1] * X.var()), **options).fit(X[rows], y[rows])

    model = make(tol=1e-10)
    ask = lambda: Influence(model, X, y).loo_decision_function()
    unit, seconds, answer = in_fits(make, ask, repeats)
    worst = 0.0
    for i in np.random.default_rng(0).choice(model.support_, n_refits, replace=False):
        true = make(np.delete(np.arange(len(y)), i), tol=1e-10).decision_function(X[[i]])[0]
        worst = max(worst, abs(answer[i] - true))
    print(
        f"{SVC_ROWS:24s} own     exact     fit {unit:8.4f} s   answer {seconds:8.4f} s   "
        f"{seconds / unit:7.2f} fits   error {worst:.1e}   {len(model.support_)} support vectors",
        flush=True,
    )


def headlines(data, n):
    """Short texts in five classes, as shares of their words, by rarity."""
    from data import load_headlines

    texts, y = load_headlines(data, n)
    return TfidfVectorizer(sublinear_tf=True).fit_transform(texts), y


def made_up_texts(n=1340, words=4059, n_classes=7, seed=0):
    """Twelve words a text, by topic, and a seventh of the topics wrong."""
    rng = np.random.default_rng(seed)
    topic = rng.integers(0, n_classes, n)
    often = rng.gamma(0.3, size=(n_classes, words)) * rng.gamma(0.3, size=words)
    counts = rng.poisson(12 * often[topic] / often.sum(axis=1)[topic, None])
    y = np.where(rng.random(n) < 0.15, rng.integers(0, n_classes, n), topic)
    return TfidfTransformer(sublinear_tf=True).fit_transform(sp.csr_array(counts.astype(float))), y


def measure_search(X, y, repeats):
    """Five penalties of a softmax over texts, beside GridSearchCV."""
    model, grid = LogisticRegression(max_iter=1000), {"C": np.logspace(-1, 2, 5)}
    search = LeaveOneOutSearch(model, grid, method="one-step")
    folds = GridSearchCV(model, grid, cv=5, scoring="neg_log_loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unit, seconds, _ = in_fits(lambda: folds.fit(X, y), lambda: search.fit(X, y), repeats)
    print(
        f"{SEARCHED:24s} {X.shape[0]} x {X.shape[1]} x {len(np.unique(y))}   five folds {unit:8.4f} s   "
        f"one step {seconds:8.4f} s   {seconds / unit:7.2f} times",
        flush=True,
    )


def measure_searches(data, repeats):
    """Over headlines where they are at hand, and over made-up texts."""
    for n in TEXTS if data else ():
        measure_search(*headlines(data, n), repeats)
    measure_search(*made_up_texts(), repeats)


def _loss_at(model, x, y):
    eta = model.decision_function(x)[0]
    return np.logaddexp(0.0, -eta if y == model.classes_[1] else eta)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="*", help="parts of names; all when none is given")
    parser.add_argument("--data", help="folder with a9a; see benchmarks/data.py")
    parser.add_argument("--questions", nargs="+", default=QUESTIONS, choices=QUESTIONS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--refits", type=int, default=20)
    arguments = parser.parse_args()
    works = dict(WORKS)
    if arguments.data:
        for name, (read, C) in READ.items():
            works[name] = partial(read, arguments.data), C
    with threadpool_limits(1):
        for name, (make, C) in works.items():
            if arguments.works and not any(part in name for part in arguments.works):
                continue
            X, y = make()
            # Sparse rows are not centred.
            asked = [one for one in arguments.questions if one != "scaled" or not sp.issparse(X)]
            for question in asked:
                if question == "top":
                    # Of two classes.
                    if len(np.unique(y)) == 2:
                        measure_top(name, X, y, C, arguments.repeats)
                    continue
                methods = arguments.methods if question == "own" else ["auto"]
                measure(name, X, y, C, question, methods, arguments.repeats, arguments.refits)
        for name, ask in (
            (SVC_ROWS, lambda: measure_svc(arguments.repeats, arguments.refits)),
            (SEARCHED, lambda: measure_searches(arguments.data, arguments.repeats)),
        ):
            if not arguments.works or any(part in name for part in arguments.works):
                ask()


if __name__ == "__main__":
    main()
