"""The works: data, one model fitted for everybody, the true answer, and the arithmetic floor."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.data import load_enron, load_mnist, network_features
from benchmarks.peers import floors, reference

WORKS = {}

PAIRS = {"flops": floors.pair_flops, "products": floors.pair_products}
ROWS = {"flops": floors.row_flops, "products": floors.row_products}
PERTURBATIONS = {"bytes": floors.pert_bytes, "products": floors.pert_products}


@dataclass(frozen=True)
class Work:
    """One question, asked of everybody.

    Parameters
    ----------
    name, title : str
    make : callable
        ``make(quick, data)`` returns the problem with its model and ``truth``.
    flops : callable, default=None
        ``flops(problem)``: multiplications and additions of the matrix products that the answer
        needs, symmetric ones counted once.
    bytes : callable, default=None
        ``bytes(problem)`` of an answer whose writing is the floor.
    products : callable, default=None
        ``products(problem)`` returns a call that makes these products (or that answer) and nothing
        else, in their own shapes.
    """

    name: str
    title: str
    make: Callable
    flops: Callable | None = None
    bytes: Callable | None = None
    products: Callable | None = None


def work(name, title, **floors):
    """Register a maker under a name."""

    def register(make):
        WORKS[name] = Work(name, title, make, **floors)
        return make

    return register


def _fitted(kind, X, y, l2, X_test, y_test, start=None):
    """The problem with its parameters at the optimum, the largest derivative below 1e-10."""
    problem = SimpleNamespace(kind=kind, X=X, y=y, l2=float(l2), X_test=X_test, y_test=y_test)
    K = int(y.max()) + 1 if kind == "softmax" else 1
    problem.theta = np.zeros((K, X.shape[1])) if start is None else start
    problem.theta = reference.fit(problem, problem.theta)
    return problem


def synthetic(n, m, d, kind="binary"):
    """Normal features, and labels or targets of a noisy linear function of them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n + m, d))
    y = X @ rng.standard_normal(d) + 3.0 * rng.standard_normal(n + m)
    if kind == "binary":
        y = (y > 0).astype(np.int64)
    return _fitted(kind, X[:n], y[:n], 1.0, X[n:], y[n:])


def digits():
    """1,500 rows and 297 tests of 64 pixels, 10 classes."""
    X, y = load_digits(return_X_y=True)
    X = X / 16.0
    return _fitted("softmax", X[:1500], y[:1500], 1.0, X[1500:], y[1500:])


def mnist(n, m):
    """The last n of the training rows, lambda 0.01 of the mean loss (Koh and Liang's)."""
    X, y, X_test, y_test = load_mnist()
    X, y = np.ascontiguousarray(X[-n:]), y[-n:].astype(np.int64)
    l2 = 0.01 * n
    start = LogisticRegression(C=1.0 / l2, fit_intercept=False, tol=1e-5, max_iter=500).fit(X, y)
    return _fitted("softmax", X, y, l2, X_test[:m], y_test[:m].astype(np.int64), start.coef_)


def enron(data):
    """Word counts of the mails of Enron1, words in at least ten of them; ten are tests."""
    texts, y = load_enron(data)
    X = sp.csr_array(CountVectorizer(min_df=10).fit_transform(texts).astype(np.float64))
    y = y.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    return _fitted("binary", X[:-10], y[:-10], 1.0, X[-10:], y[-10:])


def _with(problem, truth, **more):
    problem.truth = truth
    for name, value in more.items():
        setattr(problem, name, value)
    return problem


def _left_out(problem, n_refits):
    """With refits of some rows as the truth, and the fit itself as what changes are taken from."""
    rows = np.sort(np.random.default_rng(1).choice(len(problem.y), n_refits, replace=False))
    fitted = reference.own_outputs(problem, problem.X, problem.y)
    return _with(problem, reference.left_out(problem, rows), rows=rows, base=fitted)


# The works -----------------------------------------------------------------------------------


def _normal(quick, m=10, **options):
    """10,000 rows of 100 columns and m tests, or a fifth of that."""
    return synthetic(*((2_000, min(m, 100), 50) if quick else (10_000, m, 100)), **options)


def _asked(problem_of, question):
    """The maker of a problem, with the answer to a question as its truth."""

    def make(quick, data):
        problem = problem_of(quick)
        return _with(problem, question(problem))

    return make


def _many_tests(quick):
    return _normal(quick, 500)


def _digits(quick):
    return digits()


work("binary", "all pairs, binary, 10,000 x 100, 500 tests", **PAIRS)(
    _asked(_many_tests, reference.scores)
)
work("softmax", "all pairs, digits, 1,500 x 64 x 10, 297 tests", **PAIRS)(
    _asked(_digits, reference.scores)
)
work("self-binary", "self-influence, binary, 10,000 x 100", **ROWS)(
    _asked(_many_tests, reference.self_scores)
)
work("self-softmax", "self-influence, digits, 1,500 x 64 x 10", **ROWS)(
    _asked(_digits, reference.self_scores)
)


@work("pert", "input perturbation, binary, 10,000 x 100, 10 tests", **PERTURBATIONS)
def _(quick, data):
    problem = synthetic(*((1_000, 10, 50) if quick else (10_000, 10, 100)))
    return _with(problem, reference.perturbations(problem))


@work("pert-wide", "input perturbation, binary, 2,000 x 784, 10 tests", **PERTURBATIONS)
def _(quick, data):
    problem = synthetic(*((200, 10, 200) if quick else (2_000, 10, 784)))
    return _with(problem, reference.perturbations(problem))


@work("pert-softmax", "input perturbation, digits, 1,500 x 64 x 10, 10 tests", **PERTURBATIONS)
def _(quick, data):
    problem = digits()
    problem.X_test, problem.y_test = problem.X_test[:10], problem.y_test[:10]
    return _with(problem, reference.perturbations(problem))


def _mnist(n, m):
    return _asked(lambda quick: mnist(2_000 if quick else n, m), reference.scores)


for _n in (10_000, 55_000):
    for _m in (1, 10):
        _title = f"MNIST softmax, {_n:,} x 784 x 10, {_m} test{'s' if _m > 1 else ''}"
        work(f"mnist{_n // 1000}k-{_m}", _title)(_mnist(_n, _m))


@work("enron", "sparse scores, Enron1 counts, 10 tests")
def _(quick, data):
    problem = enron(data)
    return _with(problem, reference.scores(problem))


@work("enron-loo", "sparse leave-one-out probabilities, Enron1 counts")
def _(quick, data):
    return _left_out(enron(data), 5 if quick else 20)


@work("loo-ridge", "leave-one-out predictions, ridge, 10,000 x 100", **ROWS)
def _(quick, data):
    return _left_out(_normal(quick, kind="ridge"), 20 if quick else 50)


@work("loo-binary", "leave-one-out probabilities, binary, 10,000 x 100", **ROWS)
def _(quick, data):
    return _left_out(_normal(quick), 20 if quick else 50)


@work("loo-plain", "leave-one-out probabilities, binary, no penalty, 10,000 x 100", **ROWS)
def _(quick, data):
    problem = _normal(quick)
    problem = _fitted("binary", problem.X, problem.y, 0.0, problem.X_test, problem.y_test)
    return _left_out(problem, 20 if quick else 50)


@work(
    "loo-softmax", "leave-one-out probabilities, digits, 1,500 x 64 x 10", flops=floors.block_flops
)
def _(quick, data):
    return _left_out(digits(), 10 if quick else 30)


@work("intervals", "jackknife+ intervals, ridge, 2,000 x 50, 500 new rows, coverage 0.9")
def _(quick, data):
    problem = synthetic(*((300, 50, 10) if quick else (2_000, 500, 50)), kind="ridge")
    return _with(problem, reference.jackknife_plus(problem, 0.9), coverage=0.9)


@work("values", "Shapley values, ridge, 60 x 10, mean squared error on 200 rows")
def _(quick, data):
    problem = synthetic(*((20, 50, 5) if quick else (60, 200, 10)), kind="ridge")
    truth = reference.shapley(problem, 2_000 if quick else 20_000)
    return _with(problem, truth, draws=20 if quick else 400)


@work("head", "softmax head, 3,000 x 1,280 x 5, 10 tests")
def _(quick, data):
    n, d, K = (500, 100, 5) if quick else (3_000, 1_280, 5)
    X, y = network_features(n + 10, d, K)
    problem = _fitted("softmax", X[:n], y[:n], 0.01 * n, X[n:], y[n:])
    return _with(problem, reference.scores(problem))


@work("cnn", "tanh CNN, 2,616 parameters, 100 MNIST rows, 2 tests, full Hessian")
def _(quick, data):
    from benchmarks.peers.networks import trained_cnn

    return trained_cnn(50 if quick else 100, 2, quick)
