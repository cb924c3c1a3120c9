"""A quantity of a model at evaluation points, and the answer to edits of its training data.

Quantities are evaluated at ``eta + d eta``, never linearised.
"""

import inspect
import warnings
from dataclasses import dataclass, field
from html import escape

import numpy as np

from skinfluence._utils._optional import require
from skinfluence._utils.calls import level_outside
from skinfluence._utils.naming import rows_have
from skinfluence._utils.scoring import is_scorer, score_of

__all__ = ["Effect", "Estimate", "Quantity"]


@dataclass(frozen=True, eq=False)
class Effect:
    """The answer to one or several edits, with the trust of each.

    Attributes
    ----------
    values : ndarray of shape (n_test, n_edits, ...) or (n_test, ...)
        After minus before; the edit axis is missing for a single edit.
    bound : ndarray of shape (n_edits,) or float
        Certified bound on the error of the parameters, in the norm of the edited Hessian ``P``: the
        error of a decision value is at most ``|x_t|_{P^-1}`` times it. ``inf`` where there is none.
    method_used : ndarray of str, shape (n_edits,), or str
        How each answer was obtained.
    leverage : ndarray of shape (n_edits,) or float
        Largest eigenvalue of ``D^1/2 h D^1/2`` over the weight an edit takes away: near 1, the
        rows decide their own prediction. NaN where it was not looked at.
    route : ndarray of str, shape (n_edits,), or str
        What became of the steps before the model: ``"nothing to move"``, ``"penalty moved"`` (scalers),
        ``"fills moved"`` (imputers), ``"fitted again"``, or ``"transformers as fitted"``.
    greater_is_better : bool or None
        Of the quantity: False for losses, where a positive effect says that the rows were helpful;
        True for scorers, where a negative one does; None for what is neither.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import Influence, edits
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    >>> inf = Influence(LogisticRegression(tol=1e-10).fit(X, y), X, y)
    >>> effect = inf.effect([edits.remove(0), edits.relabel(1, 0)], [[2.5]], of="predict_proba")
    >>> effect.values.shape
    (1, 2, 2)
    >>> effect.values[0, :, 1].round(3)
    array([ 0.055, -0.229])
    >>> bool((effect.bound < 1e-2).all())
    True
    """

    values: np.ndarray
    bound: np.ndarray
    method_used: np.ndarray
    leverage: np.ndarray
    route: np.ndarray | str = field(default="nothing to move", kw_only=True)
    greater_is_better: bool | None = field(default=None, kw_only=True)

    def __repr__(self):
        return f"{type(self).__name__}({'; '.join(self._summary())})"

    def _repr_html_(self):
        head = escape("; ".join(self._summary()))
        try:
            table = self.to_frame().head(20).to_html()
        except ImportError:
            table = ""
        return f"<p><code>{escape(type(self).__name__)}</code> {head}</p>{table}"

    def _summary(self):
        """What a reader asks first: how many, how large, how sure, by which methods."""
        many = np.ndim(self.method_used) > 0
        values = np.asarray(self.values, dtype=float)
        known = values[np.isfinite(values)]
        what = f"{len(self.method_used)} edits" if many else "one edit"
        parts = [f"{what}, values of shape {values.shape}"]
        if known.size:
            parts.append(f"from {known.min():.3g} to {known.max():.3g}")
        if known.size < values.size:
            parts.append(f"{values.size - known.size} without an answer")
        bounds = np.asarray(self.bound, dtype=float)
        bounds = bounds[np.isfinite(bounds)]
        parts.append(f"bound at most {bounds.max():.2g}" if bounds.size else "no bound")
        methods, counts = np.unique(np.asarray(self.method_used, dtype=str), return_counts=True)
        by = [
            f"{name} ({n})" if many else name
            for name, n in zip(methods.tolist(), counts, strict=True)
        ]
        return [*parts, f"by {', '.join(by)}"]

    def to_frame(self, names=None):
        """One line for each edit; needs pandas.

        Parameters
        ----------
        names : array-like of shape (n_edits,), default=None
            The index; numbers by default.

        Returns
        -------
        frame : DataFrame
            ``mean_effect`` and ``largest_effect`` (in size, with its sign) over the test points,
            ``bound``, ``method_used``, ``leverage`` and ``route``.
        """
        pd = require("pandas", extra="audit")
        methods = np.atleast_1d(np.asarray(self.method_used, dtype=object))
        values = np.asarray(self.values, dtype=float)
        if not np.ndim(self.method_used):
            by_edit = values.reshape(1, -1)
        else:
            axis = 1 if values.ndim > 1 else 0
            by_edit = np.moveaxis(values, axis, 0).reshape(len(methods), -1)
        largest = np.abs(np.nan_to_num(by_edit, nan=-np.inf, posinf=np.inf)).argmax(axis=1)
        return pd.DataFrame(
            {
                "mean_effect": by_edit.mean(axis=1),
                "largest_effect": by_edit[np.arange(len(methods)), largest],
                "bound": np.atleast_1d(self.bound),
                "method_used": methods,
                "leverage": np.atleast_1d(self.leverage),
                "route": self.route,
            },
            index=names,
        )


@dataclass(frozen=True)
class Estimate:
    """What answering a question would cost.

    Attributes
    ----------
    routes : dict
        How many edits take which way, in the words of ``Effect.route``; of rows "fitted together" one fit
        answers about several.
    fits : int
        Times that the transformers would be fitted again; of a model in folds, those that its models would.
    seconds : float
        Of CPU, for those fits, and for the models behind them, from the time that a few of them took just
        now; of a model in folds for all of the answer. Other edits of which nothing is fitted again are
        answered together, and not in it.
    memory : int
        Bytes of the answer and, where steps are fitted again, of the rows that one edit leaves.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_selection import SelectKBest
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skinfluence import Influence
    >>> X, y = np.random.default_rng(0).standard_normal((40, 6)), np.arange(40) % 2
    >>> inf = Influence(make_pipeline(SelectKBest(k=3), LogisticRegression()).fit(X, y), X, y)
    >>> inf.estimate("removal_effect", X[:1]).fits
    40
    """

    routes: dict
    fits: int
    seconds: float
    memory: int


class Quantity:
    """A quantity of a model at evaluation points, as a function of its decision values.

    Parameters
    ----------
    of : {"loss", "decision_function", "predict_proba", "predict"}, scorer or callable
    loss : Loss
    tests : Tests
        The evaluation points: a design, the loss's y, and what a callable gets as y.
    eta : ndarray of shape (n_test, n_outputs)
        Their decision values before the edits.

    Attributes
    ----------
    greater_is_better : bool or None

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.answers import Tests
    >>> from skinfluence.design import design_of
    >>> from skinfluence.losses import SquaredError
    >>> from skinfluence.quantity import Quantity
    >>> tests = Tests(design_of(np.array([[5.0]])), np.array([4.0]), np.array([4.0]))
    >>> quantity = Quantity("loss", SquaredError(), tests, np.array([[3.0]]))
    >>> quantity.change(np.array([[[1.0]]]))  # from a loss of 1/2 to none
    array([[-0.5]])
    """

    def __init__(self, of, loss, tests, eta):
        self.design = tests.design
        self.loss, self.y, self.eta = loss, tests.y, eta
        if getattr(loss, "beside", None) is not None:
            self.loss, self.y, self.eta = loss.beside(of, tests, eta)
        self.greater_is_better = False if isinstance(of, str) and of == "loss" else None
        self._decides = isinstance(of, str) and of == "predict" and tests.labels is not None
        self._evaluate = {
            "loss": self._loss,
            "decision_function": self._decision,
            "predict_proba": self.loss.predict_proba,
            "predict": self._position if self._decides else self._mean,
        }.get(of if isinstance(of, str) else None)
        if self._evaluate is None and is_scorer(of):
            if tests.codes is None:
                raise ValueError(f"A score needs y. Pass it with of={of!r}.")
            self.greater_is_better = True
            self._score = score_of(of, loss, tests.labels, tests.codes)
            self._evaluate = self._scores
        elif callable(of):
            self._call = as_called(of, tests.codes)
            self._evaluate = self._user
        elif self._evaluate is None:
            raise ValueError(
                "of must be 'loss', 'decision_function', 'predict_proba', 'predict', the name of a "
                f"scorer of scikit-learn or a callable. Got {of!r} instead."
            )
        if isinstance(of, str) and of == "loss" and tests.y is None:
            raise ValueError("The effect on the loss needs y. Pass it, or of='decision_function'.")
        self.before = np.asarray(self._evaluate(self.eta[None]))[0]
        n_test = len(eta)
        if self._evaluate == self._user and self.before.shape not in ((), (n_test,)):
            raise ValueError(
                f"A callable must return one value per test point, ({n_test},), or one scalar. Got "
                f"an array of shape {self.before.shape}."
            )

        self._warn_of_infinite(of)

    def _warn_of_infinite(self, of):
        """Say where the quantity is infinite as fitted: differences from there are no numbers."""
        lost = np.isinf(self.before)
        if not lost.any():
            return
        what = of if isinstance(of, str) else "value of the function"
        where = f"The {what} is infinite as fitted"
        if self.before.ndim:
            rows = np.flatnonzero(lost.reshape(len(lost), -1).any(axis=1))
            where = f"{rows_have(rows, name='test row')} an infinite {what} as fitted"
        warnings.warn(
            f"{where}, from which there is no difference (NaN). Ask for of='decision_function', or leave the "
            "rows out; are they in the units of the training rows?",
            UserWarning,
            stacklevel=level_outside(),
        )

    @property
    def shape(self):
        """Shape of the quantity without the edits: (n_test, ...) or () for a scalar."""
        return self.before.shape

    def change(self, eta_steps):
        """After minus before for decision values moved by ``eta_steps`` (b, n_test, K)."""
        # NaN steps are edits without an answer; they have been warned about. Where a step is so
        # long that a loss or a mean overflows, it is infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.asarray(self._evaluate(self.eta + eta_steps)) - self.before
        # Which class it was is no number: whether it is another.
        return np.abs(np.sign(moved)) if self._decides else moved

    def _loss(self, eta):
        return self.loss.value(eta, self.y)

    def _decision(self, eta):
        eta = self.loss.expand(eta)
        return eta[..., 0] if eta.shape[-1] == 1 else eta

    def _mean(self, eta):
        mean = self.loss.mean(eta)
        return mean[..., 0] if mean.shape[-1] == 1 else mean

    def _position(self, eta):
        decided = self.loss.decide(eta).astype(float)
        # Edits without an answer decide nothing.
        unknown = np.isnan(self._decision(eta)).reshape(*eta.shape[:2], -1).any(axis=2)
        return np.where(unknown, np.nan, decided)

    def _scores(self, eta):
        return np.array([np.nan if np.isnan(one).any() else self._score(one) for one in eta])

    def _user(self, eta):
        decisions = self._decision(eta)
        values = np.stack([_numbers(self._call(one)) for one in decisions])
        # A function that counts would make a number of the NaN of an edit without an answer.
        unknown = np.isnan(decisions).reshape(*eta.shape[:2], -1).any(axis=2)
        if unknown.any():
            values[unknown if values.ndim > 1 else unknown.any(axis=1)] = np.nan
        return values


def _numbers(found):
    try:
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"A callable must return numbers. Got {found!r}.") from error


def as_called(of, codes):
    """A callable ``of`` as a function of the decision values alone."""
    try:
        signature = inspect.signature(of)
        positional = [
            p
            for p in signature.parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
        ]
        wants_y = len(positional) >= 2
    except (TypeError, ValueError):
        wants_y = codes is not None
    if not wants_y:
        return of
    if codes is None:
        raise ValueError("This function takes (eta, y), but y was not given. Pass y.")
    return lambda eta: of(eta, codes)
