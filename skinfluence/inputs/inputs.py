"""From what the user passes to what the model sees: pipelines and validation of rows."""

import warnings
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import validate_data

from skinfluence._utils.rows import index_of
from skinfluence._utils.untouched import transformed
from skinfluence._utils.validation import (
    check_finite_targets,
    in_numpy,
    model_in_numpy,
    refuse_masked,
)
from skinfluence.blocks import Rows, device_rows, is_large, is_lazy, is_tensor, rows_of
from skinfluence.inputs.calibrated import numbers_for
from skinfluence.inputs.curves import curve_of, seen_through
from skinfluence.inputs.frozen import check_no_samplers, check_same_rows, uses_y
from skinfluence.inputs.functions import has_functions, look_at_edited_rows, look_at_functions
from skinfluence.inputs.rows import row_like, with_plain_numbers
from skinfluence.inputs.same_fit import check_same_fit
from skinfluence.inputs.shared import SEEN, refuse_other_steps, where_inside
from skinfluence.inputs.wrappers import line_of, opened
from skinfluence.objective import (
    Objective,
    objective_of,
    refuse_empty_classes,
    refuse_rewritten,
    refuse_unknown,
)
from skinfluence.offsets import with_offset
from skinfluence.problem import having_chosen
from skinfluence.pullbacks import NoDerivativeError, pull_back_in_full, pull_back_through
from skinfluence.pullbacks.naming import all_ends, column_names, names_through
from skinfluence.statistics.leaves import fitted_leaves


class Inputs:
    """The raw inputs of a fitted estimator and the way to its model's features.

    Parameters
    ----------
    estimator : estimator, Pipeline, search or wrapper
        Fitted. The transformers of a pipeline are used as they are.
    X : array-like of shape (n_train, n_raw_features)
        The training rows; validated at once.
    y : array-like of shape (n_train,), default=None
        Names the rows where X does not.

    Attributes
    ----------
    model : estimator
        The innermost one.
    training_X : ndarray or CSR array
        Training rows as the model sees them.
    labels : pandas Index or None
        Of the training rows, where they are a frame's.
    steps : list of (str, transformer)
        What the rows go through, fitted, by name.

    Raises
    ------
    ValueError
        For transformers that gave the model other rows in ``fit``, by cross fitting say.
    """

    # Where the model is in what the user has, in code; None for right there.
    _place = None
    # And where its pipeline is, inside several models.
    _inside = ""
    # A calibrated classifier whose scores are the model's rows; None for no such.
    _calibrated = None

    def __init__(self, estimator, X, y=None):
        check_no_samplers(estimator)
        check_same_rows(estimator)
        refuse_masked(X=X, y=y)
        self.steps, self._targets, self._chosen, several = [], [], [], []
        self.model, place = estimator, ("model", "X")
        while (layer := opened(self.model)) is not None:
            refuse_rewritten(self.model, layer.kind)
            if layer.kind is CalibratedClassifierCV:
                self._calibrated = self.model
            if layer.shared is not None:
                several.append((self.model, layer.shared, len(self.steps), _here(*place)))
            self.steps += layer.transformers
            if layer.target is not None:
                self._targets.append(layer.target)
            self._chosen.append(layer.chosen)
            place = _inside(layer, *place)
            self.model = layer.inside
        self._place = _here(*place)
        self._inside = where_inside(estimator)
        self.transformers = [step for _, step in self.steps]
        # Before the rows: what they are is of no interest to a model that cannot be asked about.
        with _saying(self._place):
            refuse_unknown(self.model)
        for whole, shared, n_before, here in several:
            supervised = [one for one, step in fitted_leaves(shared.steps) if uses_y(step)]
            rows = np.asarray(X[:SEEN]) if is_lazy(X) else X
            with _saying(here):
                refuse_other_steps(whole, shared, rows, self.transformers[:n_before], supervised)
        self._raw = X
        self.labels = index_of(X, y)
        self.training_X = self.transform(X)
        if not is_lazy(X):
            look_at_functions(self.transformers, X)

    def problem(self, y, sample_weight, offset=None, *, same_fit=True):
        """The fitted problem of the model, in the units of the user's targets.

        Parameters
        ----------
        y : array-like of shape (n_train,)
        sample_weight : array-like of shape (n_train,) or None
        offset : array-like of shape (n_train,), default=None
            What stands beside the features in the decision values.
        same_fit : bool, default=True
            Refuse data that the model was not fitted on.
        """
        refuse_masked(y=y, sample_weight=sample_weight, offset=offset)
        y, sample_weight = in_numpy(y), in_numpy(sample_weight)
        model = model_in_numpy(self.model)
        lines, z = self.transformed_targets(y)
        with warnings.catch_warnings():
            # The rows are arrays here, whatever they were.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            with _saying(self._place):
                problem = objective_of(model, self.training_X, z, sample_weight)
        if offset is not None:
            if self._targets:
                raise TypeError(
                    "An offset must be beside a model of the targets themselves. Got one, and a transformer "
                    "of the targets. Ask in the transformed units: Influence(model.regressor_, X, z, "
                    "offset=...) with z the transformed targets."
                )
            problem = with_offset(problem, in_numpy(offset))
        for chosen in reversed(self._chosen):
            problem = having_chosen(problem, chosen)
        refuse_empty_classes(problem)
        if same_fit:
            check_same_fit(model, problem)
        if all(line is not None and _absorbs(problem, line) for line in lines):
            for line in reversed(lines):
                problem = problem.with_targets_back(line.slope, line.offset)
            return problem
        if len(lines) > 1:
            raise TypeError(
                "Targets may go through one transformer that bends, or that the model does not absorb. Got "
                f"{len(lines)}, one in the other. Put them in a pipeline: "
                "TransformedTargetRegressor(model, transformer=make_pipeline(...))."
            )
        return seen_through(problem, curve_of(self._targets[0], np.ravel(y)))

    def transformed_targets(self, y):
        """The straight line of each transformer of the targets, None for one that bends; and their result."""
        if not self._targets:
            return [], y
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise ValueError(
                f"Targets behind a transformer must be one column. Got an array of shape {np.shape(y)}. Ask "
                "in the transformed units: Influence(model.regressor_, X, model.transformer_.transform(y))."
            )
        z, lines = np.ravel(y).astype(np.float64), []
        check_finite_targets(z)
        for transformer in self._targets:
            line = line_of(transformer, z)
            lines.append(line)
            z = line(z) if line else np.ravel(transformer.transform(z[:, None]))
        return lines, z

    @property
    def shown(self):
        """The innermost model, as its user knows it."""
        return self.model if self._calibrated is None else self._calibrated

    @property
    def has_functions(self):
        """Whether functions of the user's own are among the steps."""
        return has_functions(self.transformers)

    def try_after(self, rows, new):
        """Look whether functions of the user's own give the rows that an edit leaves what they gave.

        Parameters
        ----------
        rows : ndarray of int
            Training rows that stay.
        new : list of object
            Raw rows beside them.
        """
        if not is_lazy(self._raw):
            new = [self.raw_row(x) for x in new]
            look_at_edited_rows(self.transformers, self.raw, rows, new)

    @property
    def raw(self):
        """The training rows as the user passed them."""
        return self._raw

    @property
    def moves_targets(self):
        """Whether the model was fitted on transformed targets."""
        return bool(self._targets)

    @property
    def n_raw_features(self):
        """Values per row of the raw inputs; those of a picture are counted flattened."""
        if not self.transformers:
            return self.training_X.shape[1]
        if np.ndim(self._raw) < 2:
            raise TypeError(
                "influence_pert needs inputs with columns. Got texts or mappings, one per row; ask "
                "by word with skinfluence.pipeline.influence_by_name, or on the transformed "
                "features: Influence(pipeline[-1], pipeline[:-1].transform(X), y)."
                f"{self._inside}"
            )
        return int(np.prod(np.shape(self._raw)[1:]))

    def transform(self, X):
        """Rows as the model sees them, validated by the transformers and the model."""
        refuse_masked(X=X)
        if is_tensor(X) and not self.transformers:
            rows = device_rows(X)
            # One row shows the width, and the one that is not finite is refused like any other.
            self._seen(rows[rows.suspect()])
            return rows
        if not is_lazy(X):
            return self._seen(X)
        if not is_large(X):
            return self._seen(np.asarray(X[:]))
        n_features = self._seen(np.asarray(X[:1])).shape[1]
        return rows_of(X, self.transformers, type(self.model).__name__, n_features)

    def _seen(self, X):
        X = transformed(self.transformers, X)
        try:
            return validate_data(
                self.model, X, reset=False, accept_sparse="csr", dtype=np.float64, order="C"
            )
        except ValueError as error:
            needed = numbers_for(self.model)
            if not needed:
                raise
            raise ValueError(f"{error}{needed}") from error

    def raw_rows(self, rows):
        """Some raw training rows, as the user passed them."""
        return _safe_indexing(self._raw, rows)

    def raw_row(self, x):
        """One raw row, a sequence or a one-row table, as the training rows are."""
        if is_tensor(x):
            x = x.detach().cpu().numpy()
        if np.ndim(self._raw) == 1:
            # Texts, one per row.
            return [x]
        if sp.issparse(x) or np.ndim(x) == 2:
            return x
        return row_like(self._raw, x)

    def transform_row(self, x):
        """One raw row, a sequence or a one-row table, as a (1, n_features) array."""
        row = self.transform(self.raw_row(x))
        if row.shape[0] != 1:
            raise ValueError(f"One row is needed. Got {row.shape[0]}.")
        return sp.csr_array(row) if sp.issparse(self.training_X) else _dense(row)

    def pull_back(self, rows, V):
        """Gradients in the model's features at training rows, as gradients in the raw inputs.

        Parameters
        ----------
        rows : ndarray of int, shape (b,)
        V : ndarray of shape (m, b, n_features)
        """
        if not self.transformers:
            return V
        try:
            return pull_back_through(self.transformers, self._raw_rows(rows), V)
        except NoDerivativeError as error:
            # Its pipeline is inside several models.
            raise NoDerivativeError(f"{error}{self._inside}") from error

    def as_rows(self, X):
        """Rows of the user's, as transformers are asked about them."""
        X = with_plain_numbers(X)
        return np.asarray(X, dtype=object) if isinstance(X, list) and np.ndim(X) == 2 else X

    def pull_back_in_full(self, V, X, at, V_new, rows):
        """Gradients in training rows, back through what the steps learned from them, too.

        Parameters
        ----------
        V : ndarray of shape (m, n_rows, n_features)
        X : array-like
            Other rows, of :meth:`as_rows`.
        at : ndarray of int, shape (b,)
            Which of those also go through the steps.
        V_new : ndarray of shape (m, b, n_features)
            Gradients in their features.
        rows : ndarray of int, shape (n_rows,)
            The training rows that the steps were fitted on.
        """
        raw = self._raw_rows(rows)
        return pull_back_in_full(self.transformers, raw, V, _safe_indexing(X, at), V_new)

    def _raw_rows(self, rows):
        if isinstance(self.training_X, Rows):
            return self.training_X.raw(rows)
        X = with_plain_numbers(_safe_indexing(self._raw, rows))
        # A list of rows is an array; a list of texts or mappings stays one.
        return np.asarray(X, dtype=object) if isinstance(X, list) and np.ndim(X) == 2 else X

    def pull_back_to_names(self, rows, V):
        """As :meth:`pull_back`, to raw columns where derivatives reach them, else to named outputs.

        Parameters
        ----------
        rows : ndarray of int, shape (b,)
        V : ndarray of shape (m, b, n_features)

        Returns
        -------
        ends : list of End
            Names, values and gradients, raw columns first.
        """
        X = self._raw_rows(rows)
        names = column_names(X)
        reached = np.ones(V.shape[2], dtype=bool)
        return all_ends(X, *names_through(self.transformers, X, V, reached, names), names)


def _inside(layer, model, X):
    """Code for the model inside a layer, and for its rows, from code for those of the layer.

    Where models are inside each other in another way, refusals are in terms of the layer.
    """
    if layer.kind is Pipeline:
        return f"{model}[-1]", f"{model}[:-1].transform({X})" if layer.transformers else X
    if layer.kind is FrozenEstimator:
        return f"{model}.estimator", X
    if layer.chosen is not None:
        return f"{model}.best_estimator_", X
    return model, X


def _here(model, X):
    """Where the model of a refusal is, as code; None for right where the user has it."""
    return None if model == "model" else f"Here X, model = {X}, {model}."


@contextmanager
def _saying(here):
    """Refusals in terms of a model, with where it is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError) or here is None or "model." not in str(error):
            raise
        raise type(error)(f"{error} {here}") from error


def _absorbs(problem, line):
    """Whether a model with a line of the targets is the line of the model with the targets."""
    return isinstance(problem, Objective) and problem.absorbs(line.offset)


def _dense(row):
    return row.toarray() if sp.issparse(row) else row
