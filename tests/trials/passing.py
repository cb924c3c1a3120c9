"""What is passed to the package: containers, transformed data, fitted estimators, edits."""

import os
import tempfile
import traceback
import warnings
from itertools import chain

import numpy as np
import scipy.sparse as sp
from sklearn import kernel_ridge, linear_model, multiclass, svm


class NotFittedError(Exception):
    """scikit-learn itself does not fit this: no question of ours."""


class Passed:
    """The data as they are passed, and how rows of the trial are called there.

    Attributes
    ----------
    X, y, weights : arrays, before they are put into containers; ``y`` holds class positions
    factor, offset : of the columns, exact in float64
    positions : where each row of the trial went, a list (two for a split row)
    params : of the objective, with the penalty that goes with the factor
    """

    def __init__(self, trial):
        rng = np.random.default_rng([20261, trial.seed])
        n, d = trial.X.shape
        self.trial = trial
        self.params = dict(trial.params)
        self.factor, self.offset = 1.0, np.zeros(d)
        self.positions = [[i] for i in range(n)]
        order = np.arange(n)
        weights = trial.weights
        self.split_row = None
        if trial.transform == "permuted":
            order = rng.permutation(n)
        elif trial.transform == "rescaled":
            self.factor = float(2.0 ** rng.integers(-6, 7))
            strength = self.factor**2
            if "C" in self.params:
                self.params["C"] /= strength
            else:
                self.params["alpha"] *= strength
        elif trial.transform == "offset":
            self.offset[0] = float(2.0 ** rng.integers(0, 12))
            # What rounding takes from the column is taken from the trial too.
            for X in (trial.X, trial.X_test):
                X[:, 0] = (X[:, 0] + self.offset[0]) - self.offset[0]
            for question in trial.questions:
                for edit in chain.from_iterable(question.edits):
                    if edit.x is not None:
                        edit.x[0] = (edit.x[0] + self.offset[0]) - self.offset[0]
        elif trial.transform == "split":
            self.split_row = int(rng.integers(n))
            order = np.append(order, self.split_row)
            weights = trial.weights.copy()
            weights[self.split_row] *= 0.5
        self.X = self.shown(trial.X[order])
        self.y = trial.y[order]
        self.weights = None if weights is None else weights[order]
        self.positions = [list(np.flatnonzero(order == i)) for i in range(n)]

    def shown(self, X):
        return np.asarray(X) * self.factor + self.offset

    def labelled(self, codes):
        """Class positions as labels; targets as they are."""
        labels = self.trial.labels
        return codes if labels is None else labels[codes]

    def label(self, code):
        labels = self.trial.labels
        return float(code) if labels is None else labels[code]


def contained(X, kind):
    """Rows in a container."""
    if kind == "fortran":
        return np.asfortranarray(X)
    if kind == "readonly":
        X = X.copy()
        X.flags.writeable = False
        return X
    if kind == "csr":
        return sp.csr_array(X)
    if kind == "csc":
        return sp.csc_matrix(X)
    if kind == "float32":
        return X.astype(np.float32)
    if kind == "int":
        return X.astype(np.int64)
    if kind == "list":
        return X.tolist()
    if kind == "strided":
        return np.repeat(X, 2, axis=1)[:, ::2]
    if kind == "memmap":
        with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file:
            np.save(file, X)
        mapped = np.load(file.name, mmap_mode="r")
        # The mapping keeps the file's content.
        os.unlink(file.name)
        return mapped
    if kind in ("frame", "nullable"):
        import pandas as pd

        frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
        return frame.astype("Float64") if kind == "nullable" else frame
    return X.copy()


def contained_targets(y, kind):
    if kind == "list":
        return y.tolist()
    if kind == "series":
        import pandas as pd

        return pd.Series(y)
    return y.copy()


def fingerprint(value):
    """What must not change: the bytes of arrays, of frames column by column."""
    if sp.issparse(value):
        return tuple(fingerprint(getattr(value, name)) for name in ("data", "indices", "indptr"))
    if hasattr(value, "columns"):
        return tuple((str(c), str(value[c].dtype), value[c].to_numpy().tobytes()) for c in value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if value is None or isinstance(value, list):
        return repr(value)
    if hasattr(value, "to_numpy"):
        return repr(value.to_numpy().tolist())
    return repr(value)


def state(model):
    """The public attributes of a model."""
    out = {}
    for name, value in vars(model).items():
        if not name.startswith("_"):
            out[name] = fingerprint(value)
    return out


def logistic_loss(params, x, y):
    import autograd.numpy as anp

    margin = (2 * y - 1) * (x @ params)
    return anp.logaddexp(0.0, -margin)


def linear_decision(params, X):
    return X @ params


def estimator_of(passed):
    """The estimator with its parameters, not fitted."""
    from skinfluence import kernel_ridge as our_kernel
    from skinfluence import linear_model as our_linear
    from skinfluence import svm as our_svm
    from skinfluence.m_estimation import MEstimator

    trial, params = passed.trial, dict(passed.params)
    if trial.labels is not None and isinstance(params.get("class_weight"), dict):
        labels = trial.labels.tolist()
        params["class_weight"] = {labels[i]: w for i, w in params["class_weight"].items()}
    params |= trial.fitting
    family = trial.family
    if family == "MEstimator":
        return MEstimator(
            logistic_loss,
            passed.X.shape[1],
            l2=1.0 / params["C"],
            decision=linear_decision,
            classes=[0, 1],
        )
    if family in ("LinearSVC", "LinearSVC hinge", "SVC"):
        name = family.split()[0]
        if params.get("loss") != "smooth_hinge":
            params.pop("temperature", None)
        return getattr(our_svm if trial.ours else svm, name)(**params)
    if family == "KernelRidge":
        return (our_kernel if trial.ours else kernel_ridge).KernelRidge(**params)
    if family == "OneVsRestClassifier":
        inner = linear_model.LogisticRegression(**params)
        return multiclass.OneVsRestClassifier(inner)
    module = our_linear if trial.ours and hasattr(our_linear, family) else linear_model
    return getattr(module, family)(**params)


def fit(passed, X, y, weights):
    """The fitted estimator; raises NotFittedError with scikit-learn's reason."""
    model = estimator_of(passed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if weights is None:
                model.fit(X, y)
            elif passed.trial.family == "OneVsRestClassifier":
                return _one_vs_rest(model, X, y, weights)
            else:
                model.fit(X, y, sample_weight=weights)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            if any("skinfluence" in frame.filename.split("/") for frame in frames[-2:]):
                raise
            raise NotFittedError(f"{type(error).__name__}: {error}") from error
    for name in ("coef_", "intercept_", "dual_coef_"):
        value = getattr(model, name, None)
        if value is not None and not sp.issparse(value) and not np.isfinite(value).all():
            raise NotFittedError(f"{name} is not finite")
    return model


def _one_vs_rest(model, X, y, weights):
    """With weights by metadata routing."""
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        model.estimator.set_fit_request(sample_weight=True)
        return model.fit(X, y, sample_weight=weights)


def edit_of(passed, terms, container):
    """The package's edit."""
    from skinfluence import edits

    out, removed = 0, []
    for term in terms:
        x = None if term.x is None else passed.shown(term.x)
        at = passed.positions[term.row] if term.row >= 0 else None
        if term.kind == "remove":
            removed += [int(i) for i in at]
            continue
        if term.kind == "reweight":
            for i in at:
                out = out + edits.reweight(int(i), term.weight / len(at))
        elif term.kind == "relabel":
            for i in at:
                out = out + edits.relabel(int(i), passed.label(term.y))
        elif term.kind == "replace":
            more = () if term.y is None else (passed.label(term.y),)
            for i in at:
                out = out + edits.replace(int(i), x, *more)
        else:
            out = out + edits.add(x, passed.label(term.y), term.weight)
    return out + edits.remove(removed) if removed else out
