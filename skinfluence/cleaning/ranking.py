"""The audit itself: leave-one-out evidence about every training row, and what to do about it.

Refits live in `verification`, pictures in `plots`, the page in `report`.
"""

import numbers
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import _num_samples

from skinfluence import Influence
from skinfluence._utils._optional import require
from skinfluence._utils.rows import groups_of
from skinfluence._utils.typing import Frozen, MatrixLike
from skinfluence.cleaning.judging import judge_labels
from skinfluence.cleaning.plans import Plan, carry_out, decided_plan, log_of, suggested_plan
from skinfluence.cleaning.sources import table_of_sources
from skinfluence.cleaning.targets import judge_targets, left_out_losses
from skinfluence.leave_one_out import whole_pipeline
from skinfluence.problem import refuse_several_targets
from skinfluence.statistics import learns_from_rows

if TYPE_CHECKING:
    from pandas import DataFrame

# Of those to validate on: effects of all training rows on each are in memory together.
ROWS_AT_ONCE = 200

# What the rows can be ranked by, the default first.
SCORES = {
    judge_labels: ("error_proba", "loo_loss", "margin", "trimmed", "self_influence", "cleanlab"),
    judge_targets: ("loo_loss", "self_influence"),
}
# Of score="trimmed", where their number is not given.
USUAL_ROUNDS = 3


def audit(
    estimator: Any,
    X: MatrixLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    suspect: Mapping[str, Any] | None = None,
    score: (
        Literal["error_proba", "loo_loss", "margin", "trimmed", "self_influence", "cleanlab"] | None
    ) = None,
    effects: bool | None = None,
    groups: ArrayLike | None = None,
    X_val: MatrixLike | None = None,
    y_val: ArrayLike | None = None,
    method: Literal["auto", "one-step", "exact"] = "auto",
    frozen: Frozen = None,
    rounds: int = 0,
    trim: float | None = None,
    influence: Influence | None = None,
) -> "Audit":
    """Rank the training rows of a fitted model by how wrong they look without themselves.

    Every row is judged by the model that has not seen it. A high leave-one-out loss says that the
    other rows contradict this one; what is known about the errors says whether it is wrong.

    Parameters
    ----------
    estimator : fitted classifier, regressor, or Pipeline
        The model, fitted on the rows given here. A classifier has ``predict_proba``, or a
        ``decision_function`` to whose leave-one-out values probabilities are fitted.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        The training rows, in the order given to ``fit``.
    y : array-like of shape (n_samples,)
        The training targets.
    sample_weight : array-like of shape (n_samples,), default=None
        The weights given to ``fit``.
    ids : array-like of shape (n_samples,), default=None
        Names of the rows for the table. The index of a DataFrame `X` or the row number by default.
    suspect : {``{"true": c}``, ``{"given": c}``}, default=None
        What you know about the errors: only members of class c were mislabelled, or only labels c
        cannot be trusted. In small tables with overlapping classes the labels themselves do not tell.
    score : {"error_proba", "loo_loss", "margin", "trimmed", "self_influence", "cleanlab"}, default=None
        What the table is ranked by: how likely the label is wrong (default for classifiers),
        the leave-one-out loss (default for regressors), by how much the most likely other class is
        ahead of the given one without the row, or how strongly the row pulls the model towards
        itself. "trimmed": how likely the label is wrong by a fit without the rows that look most wrong,
        in three `rounds` where none are given. "cleanlab": its label quality, of the leave-one-out
        probabilities. "error_proba", "margin", "trimmed" and "cleanlab" are for classifiers.
    effects : bool, default=None
        Whether to work out what dropping each row does to the others, the column
        ``effect_of_dropping``: about the price of two Hessians and leverages, or of n solves where
        there are fewer rows than parameters. It is known of linear models with a smooth loss and of
        kernel ridge regression; None: of these. True refuses other models.
    groups : array-like of shape (n_samples,), default=None
        Where each row comes from: its annotator, hospital or file. Gives the table ``sources``, at
        the price of an edit and of one-step leave-one-out answers for each source.
    X_val, y_val : array-like of shape (n_val, n_features) and (n_val,), default=None
        Rows that are known to be right. Gives the column ``effect_on_validation``: the change of
        their mean loss when a row is dropped.
    method : {"auto", "one-step", "exact"}, default="auto"
        How leave-one-out answers are computed. "one-step": one Newton step for every row. "auto":
        so too, and then the rows that look most surprising or most wrong are solved with a certified
        error: about 300 for two classes, fewer for more, never fewer than 20.
        "exact": every row solved to round-off.
    frozen : {None, "accept", "refuse"}, default=None
        What becomes of the transformers of a pipeline and of balanced class weights while rows are
        left out. None: they are without the row too, as :class:`~skinfluence.Influence` says.
        "accept": they stay as fitted on all rows, as they always do in ``effect_of_dropping`` and
        ``self_influence``.
    rounds : int, default=0
        Trimmed leave-one-out, for classifiers with probabilities: so many times the rows that look most
        wrong, a growing share of all, are left out of the fit together and all rows judged again. It
        helps where no more is left out than is wrong, which `trim` sees to; see the guide.
    trim : float, default=None
        The share of the rows left out in the last round. By default the share of errors that is claimed
        without trimming; none where none are.
    influence : Influence, default=None
        An `Influence` already factored for this model and these rows.

    Returns
    -------
    audit : Audit
        With ``table``, ``plan()``, ``apply()``, ``verify()``, ``plot()`` and ``to_html()``.

    Notes
    -----
    A surprising label can be wrong, or right in a place where the classes overlap. ``error_proba``
    tells the two apart: where the probabilities say that one label in ten disagrees, one in ten does
    without any error; errors leave disagreement where there should be none. The labels are explained
    by right ones, which follow the leave-one-out probabilities (sharpened and shifted, because errors
    blunt and shift them), and by a chance ``noise_matrix[true, given]`` that one class is given as
    another [1]_: none, the same for all, or its own for some classes or pairs of classes. These shapes
    are fitted by maximum likelihood, weighed by how well they explain the labels, and averaged;
    ``error_proba`` is Bayes' rule. Where the model does not beat the shares of the classes, or where
    no errors explain the labels as well, nothing is suggested, and a note says why and how many errors
    cannot be excluded. The suggested action is

    - **relabel** when another class has a chance of at least two thirds to be the right one;
    - **drop** when the label is wrong with a chance of at least a half, and no class is that likely;
    - **keep** otherwise, wherever a class would lose its last row, and beyond the first rows of which four in
      five are expected to be wrong together: a note says how many more are more likely wrong than right.

    A model that cannot follow the data disagrees with right labels too, but with whole neighbourhoods of
    them. Before the noise is estimated, the leave-one-out probabilities are moved by what the labels of
    the 20 nearest rows say beyond the model, as far as that explains the labels (``local_proba``); not
    where there are as many columns as rows.

    For a regressor: **drop** when the leave-one-out residual is extreme (3.5 robust standard
    deviations) and dropping is predicted to lower the loss of the other rows; also when it is so far off
    that no residual of this spread and these tails explains it, whatever the others gain (a Bonferroni
    test at 5 %, of Student's t with the tails of the residuals; a note says so); **keep** otherwise.
    Residuals of counts and amounts are those of the deviance.

    References
    ----------
    .. [1] Bootkrajang & Kaban (2012), Label-noise robust logistic regression and its applications,
       ECML PKDD: a model of the true label and a chance for each pair that it was replaced.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.cleaning import audit
    >>> from skinfluence.datasets import load_demo
    >>> from skinfluence.linear_model import LogisticRegression
    >>> demo = load_demo("wine", flip_share=0.1)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(demo.X, demo.y)
    >>> found = audit(model, demo.X, demo.y)
    >>> found.table[["row", "given", "suggested", "action"]].head(3)
       row    given suggested   action
    0   18  class_1   class_0  relabel
    1   98  class_2   class_1  relabel
    2    5  class_1   class_0  relabel
    >>> found.depth_table(demo.flipped)[["depth", "found"]].head(3)
       depth  found
    0   0.05      9
    1   0.10     18
    2   0.15     18
    """
    require("pandas", extra="audit")
    check_consistent_length(X, y, sample_weight, ids)
    y = _plain(y)
    if ids is None:
        ids = X.index if hasattr(X, "iloc") else np.arange(len(y))
    if is_classifier(estimator):
        if not hasattr(estimator, "predict_proba") and not hasattr(estimator, "decision_function"):
            raise TypeError(
                "audit needs the probabilities or the decision values of a classifier. Got "
                f"{type(estimator).__name__}, which has neither. "
                "Fit skinfluence.linear_model.LogisticRegression instead."
            )
        judge = judge_labels
    elif is_regressor(estimator):
        judge = judge_targets
    else:
        raise TypeError(
            f"audit needs a fitted classifier or regressor. Got {type(estimator).__name__} instead."
        )
    score = _known_score(score, SCORES[judge])
    if influence is None:
        influence = Influence(estimator, X, y, sample_weight=sample_weight)
    refuse_several_targets(influence.objective, "Audits")
    knows = influence.answers.knows("effect_on_others")
    unsaid = effects is None and not knows
    if effects is None:
        effects = knows
    if effects and not knows:
        raise TypeError(
            "audit weighs what dropping a row does to the others, which is known of linear models with "
            "a smooth loss and of kernel ridge regression. Got "
            f"{influence.objective.model_name}; pass effects=False."
        )
    if score == "self_influence" and not influence.answers.knows("self_influence"):
        raise TypeError(
            "score='self_influence' needs a derivative, which not every kind of model has. Got "
            f"{influence.objective.model_name}; leave score= out."
        )
    frozen = _settled(influence, method, frozen)
    asked = {"method": method, "frozen": frozen}
    if score == "trimmed" and not rounds:
        rounds = USUAL_ROUNDS
    _check_rounds(rounds, trim, groups, estimator)
    trimming = {"rounds": rounds, "trim": trim}
    options = {**asked, **trimming, "suspect": suspect, "effects": effects, "score": score}
    groups = _known_groups(groups, len(y), influence._inputs.labels)
    columns, scores, evidence = judge(estimator, influence, y, options)
    noise = evidence.pop("noise")
    if unsaid:
        evidence["notes"] = (*evidence["notes"], _note_on_effects(influence))
    if X_val is not None or y_val is not None:
        columns["effect_on_validation"] = _effect_on_validation(influence, X_val, y_val, asked)
        columns["action"] = columns.pop("action")
    sources = None
    if groups is not None:

        def losses(without, targets):
            return left_out_losses(without, targets, options)

        sources, notes = table_of_sources(influence, groups, columns, losses, _held(frozen))
        evidence["notes"] = (*evidence["notes"], *notes)
    return Audit(
        estimator=estimator,
        X=X,
        y=y,
        sample_weight=None if sample_weight is None else np.asarray(sample_weight),
        task="classification" if judge is judge_labels else "regression",
        table=_ranked_table(columns, scores[score], ids),
        score=score,
        noise=noise,
        checked=np.zeros(len(y), dtype=bool),
        options={
            **asked,
            **trimming,
            "score": score,
            "suspect": suspect,
            "effects": effects,
            "groups": groups,
            "X_val": X_val,
            "y_val": y_val,
        },
        sources=sources,
        **evidence,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """What leaving each row out says about a training set. Made by `audit`.

    Attributes
    ----------
    table : DataFrame of n_samples rows
        The most suspicious row first, by ``score``. ``row`` is the position in `X`, ``id`` its name;
        ``given`` the target it carries; ``suggested`` what the model without the row predicts or,
        where an action is suggested, the other label most likely to be right; ``suggested_proba``
        its probability without the row for a classifier, ``residual_z`` (the leave-one-out residual in robust
        standard deviations) for a regressor; ``loo_loss`` the loss of the row under the model
        without it, in nats or squared units of the target; ``error_proba`` the estimated chance that
        a label is wrong (classifiers only); ``self_influence`` how strongly the row
        pulls the model towards itself (not of models that have no derivatives: naive Bayes,
        discriminants, neighbours, support vector regression); ``effect_of_dropping`` the predicted
        change of the mean
        leave-one-out loss of the *other* rows, so that a negative number says dropping helps them
        (not with ``effects=False``);
        ``action`` one of "drop", "relabel", "keep".
    estimator, X, y, sample_weight
        What was audited, as given.
    task : {"classification", "regression"}
        What was audited.
    classes : ndarray of shape (n_classes,) or None
        The classes of a classifier.
    loo_proba : ndarray of shape (n_samples, n_classes) or None
        Leave-one-out probabilities in the order of the training rows.
    local_proba : ndarray of shape (n_samples, n_classes) or None
        The same, moved by what the labels of the nearest rows say beyond them: what ``noise`` and
        ``error_proba`` are made of.
    loo_prediction : ndarray of shape (n_samples,)
        Leave-one-out predictions in the order of the training rows.
    score : str
        What the table is ranked by.
    noise : Noise or None
        The estimate of the errors in the labels of a classifier.
    notes : tuple of str
        What the reader should know about this audit.
    checked : ndarray of bool, shape (n_samples,)
        Rows that a person has checked, see :meth:`update`.
    options : dict
        How the audit was asked for.
    trimmed : ndarray of bool, shape (n_samples,)
        With ``rounds``: the rows that the last fit has not seen.
    sources : DataFrame or None
        With ``groups``: a line for each source, the one that the others would miss least first.
        ``n_rows``, ``mean_loo_loss``, suggestions of ``drop`` and ``relabel``, ``error_share`` (mean
        ``error_proba``); ``left_out_score``, accuracy or R2 on its rows of the model without all of them;
        ``effect_of_dropping``, the change of the mean leave-one-out loss of all other rows when
        the whole source is dropped, with an interval of 95 % for the mean over these rows.

    Examples
    --------
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.cleaning import audit
    >>> from skinfluence.datasets import load_demo
    >>> from skinfluence.linear_model import LogisticRegression
    >>> demo = load_demo("wine", flip_share=0.1)
    >>> X = scale(demo.X)
    >>> found = audit(LogisticRegression(C=0.1).fit(X, demo.y), X, demo.y)
    >>> first = found.table["row"].head(18)
    >>> f"{demo.flipped[first].sum()} of the {demo.flipped.sum()} turned labels come first"
    '18 of the 18 turned labels come first'
    """

    estimator: Any
    X: Any
    y: np.ndarray
    sample_weight: Any
    task: str
    table: Any
    classes: Any
    loo_proba: Any
    local_proba: Any
    loo_prediction: np.ndarray
    score: str
    noise: Any
    notes: tuple
    checked: np.ndarray
    options: dict
    trimmed: np.ndarray
    sources: Any = None

    @property
    def noise_share(self) -> float | None:
        """Estimated share of wrong labels, at least; 0 where no errors are claimed.

        None for a regressor.
        """
        return None if self.noise is None else self.noise.share

    @property
    def noise_matrix(self) -> "DataFrame | None":
        """Estimated chance of each given label (columns) by true label (rows).

        The identity where no errors are claimed, None for a regressor.
        """
        if self.noise is None:
            return None
        pd = require("pandas", extra="audit")
        return pd.DataFrame(
            self.noise.matrix,
            index=pd.Index(self.classes, name="true"),
            columns=pd.Index(self.classes, name="given"),
        )

    def __repr__(self) -> str:
        counts = self.table["action"].value_counts()
        return (
            f"Audit(n_rows={len(self.y)}, drop={counts.get('drop', 0)}, "
            f"relabel={counts.get('relabel', 0)}, keep={counts.get('keep', 0)}, "
            f"mean_loo_loss={self.table['loo_loss'].mean():.4g})"
        )

    def _repr_html_(self) -> str:
        return f"<p><code>{escape(repr(self))}</code></p>{self.table.head(20).to_html(index=False)}"

    def to_frame(self, X: Any = None) -> "DataFrame":
        """The table, beside what the rows are.

        Parameters
        ----------
        X : DataFrame or array-like of n_samples rows, default=None
            What to show of each row: the training rows or anything that goes with them.

        Returns
        -------
        frame : DataFrame
            A copy, the most suspicious row first.
        """
        pd = require("pandas", extra="audit")
        if X is None:
            return self.table.copy()
        check_consistent_length(X, self.y)
        shown = _safe_indexing(X, self.table["row"].to_numpy())
        if not hasattr(shown, "columns"):
            shown = shown.toarray() if hasattr(shown, "toarray") else np.asarray(shown)
            shown = pd.DataFrame(shown.reshape(len(self.y), -1)).add_prefix("x")
        shown = shown.reset_index(drop=True)
        taken = {name: f"{name} (row)" for name in shown.columns if name in self.table.columns}
        return pd.concat([self.table, shown.rename(columns=taken)], axis=1)

    def plan(
        self,
        *,
        top: int | None = None,
        actions: Collection[Literal["drop", "relabel"]] = ("drop", "relabel"),
        budget: int | None = None,
        decisions: str | PathLike[str] | None = None,
    ) -> Plan:
        """Collect what to drop and what to relabel.

        Parameters
        ----------
        top : int, default=None
            Look only at this many rows from the top of the table. All by default.
        actions : collection of {"drop", "relabel"}, default=("drop", "relabel")
            Which suggestions to follow.
        budget : int, default=None
            Change at most this many rows, the first suggestions of the table. All by default.
        decisions : path-like, default=None
            The ``decisions.csv`` that the page of `to_html` saved: the plan is what was decided there,
            whatever was suggested. An error where it is about other rows.

        Returns
        -------
        plan : Plan
            With ``drop``, ``relabel`` and ``labels``.
        """
        if decisions is not None:
            return decided_plan(self, decisions)
        return suggested_plan(self, top, actions, budget)

    def apply(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        plan: Plan | Literal["relabel", "drop"] | Mapping[int, Any] | None = None,
    ) -> tuple[Any, NDArray[Any], NDArray[np.intp]]:
        """Give the rows and targets with a plan carried out; nothing is changed in place.

        Parameters
        ----------
        X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
            Rows in the order of the training set: the training rows or anything that goes with them.
        y : array-like of shape (n_samples,), default=None
            Targets to correct. The audited ones by default.
        plan : {Plan, "relabel", "drop", mapping}, default=None
            What to carry out. ``self.plan()`` by default. "relabel": every row that looks wrong gets
            its suggested label. "drop": every row that looks wrong goes. A mapping from rows to the
            labels they get, None for those that go, is carried out as it is.

        Returns
        -------
        X_clean : same type as X
            The rows that stay.
        y_clean : ndarray
            Their targets, relabelled where the plan says so.
        kept : ndarray of int
            Their positions in the training set.
        """
        return carry_out(self, X, y, plan)

    def changes(
        self, plan: Plan | Literal["relabel", "drop"] | Mapping[int, Any] | None = None
    ) -> "DataFrame":
        """Say what a plan changes: the log to keep beside the cleaned rows.

        Parameters
        ----------
        plan : {Plan, "relabel", "drop", mapping}, default=None
            As in :meth:`apply`.

        Returns
        -------
        log : DataFrame
            ``row``, ``id``, ``action``, the target ``before`` and ``after`` (None for dropped rows),
            and why; the most suspicious row first.
        """
        return log_of(self, plan)

    def update(self, rows: ArrayLike, labels: ArrayLike | None = None) -> "Audit":
        """Audit again with what a person found out about some rows; nothing is changed in place.

        The model is fitted on from where it is, where its solver can start there, and the transformers
        that did not look at y stay as they are. The rows count as checked from now on: their action is
        "keep", they come last in the table, and plans leave them alone.

        Parameters
        ----------
        rows : array-like of int
            Positions of the rows that were looked at.
        labels : array-like of shape (n_rows,), default=None
            Their right targets. The given ones by default, which says that they are right.

        Returns
        -------
        audit : Audit
            Of the corrected targets, with a column ``checked``.
        """
        from skinfluence.cleaning.updating import updated

        def again(estimator, y):
            given = {"sample_weight": self.sample_weight, "ids": _in_order(self.table)}
            return audit(estimator, self.X, y, **given, **self.options)

        return updated(self, rows, labels, again)

    def verify(
        self,
        k: int = 10,
        *,
        preprocessing: Literal["frozen", "refit"] | None = None,
        progress: bool = False,
    ) -> "DataFrame":
        """Refit without each of the top rows and compare with what was predicted.

        Parameters
        ----------
        k : int, default=10
            How many rows from the top of the table: one refit each.
        preprocessing : {None, "frozen", "refit"}, default=None
            What to do with the transformers of a pipeline: "frozen" keeps them as fitted on all rows,
            "refit" fits the whole pipeline anew. None: what the audit did.
        progress : bool, default=False
            Show a progress bar on a terminal.

        Returns
        -------
        verification : DataFrame of k rows
            ``row``, ``id``, ``given``, ``loo_loss`` as predicted, ``refit_loss`` as found,
            ``difference`` (refit minus predicted) and ``refit_suggested``. A row whose class would
            vanish cannot be refitted: NaN.
        """
        from skinfluence.cleaning.verification import verify

        return verify(self, k, preprocessing=preprocessing, progress=progress)

    def depth_table(
        self, planted: ArrayLike, *, depths: Sequence[float] = (0.05, 0.10, 0.15, 0.20, 0.30)
    ) -> "DataFrame":
        """Count how many known errors are among the first rows of the ranking.

        Parameters
        ----------
        planted : array-like of shape (n_samples,), dtype=bool
            True for the rows known to be wrong, in the order of the training set.
        depths : tuple of float
            Shares of the rows to look at, from the top.

        Returns
        -------
        table : DataFrame
            ``depth``, ``rows`` looked at, ``found`` errors among them, ``share_found`` of all errors,
            ``precision`` (errors per row looked at) and ``random``, the share a random order finds on
            average.
        """
        pd = require("pandas", extra="audit")
        planted = np.asarray(planted, dtype=bool)
        check_consistent_length(planted, self.y)
        hits = np.cumsum(planted[self.table["row"].to_numpy()])
        rows = np.array([max(1, round(depth * len(planted))) for depth in depths])
        found = hits[rows - 1]
        return pd.DataFrame(
            {
                "depth": depths,
                "rows": rows,
                "found": found,
                "share_found": found / max(1, planted.sum()),
                "precision": found / rows,
                "random": rows / len(planted),
            }
        )

    def plot(self, ax: Any = None, *, planted: ArrayLike | None = None) -> Any:
        """Draw the ranked leave-one-out losses, coloured by suggested action.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. A new figure by default.
        planted : array-like of shape (n_samples,), dtype=bool, default=None
            True for the rows known to be wrong; marked below the curve.

        Returns
        -------
        display : RankedLossDisplay
            With ``ax_``, ``figure_`` and the drawn artists.
        """
        from skinfluence.cleaning.plots import RankedLossDisplay

        return RankedLossDisplay.from_audit(self, planted=planted).plot(ax)

    def to_html(self, path: str | PathLike[str] | None = None, **options: Any) -> str:
        """Write the audit as one self-contained page on which its rows can be decided about.

        The rows of the page are accepted, changed or rejected by key or click; decisions stay in the
        browser, and its button saves them as ``decisions.csv`` for :meth:`plan`.

        Parameters
        ----------
        path : str or path-like, default=None
            Where to write. Nothing is written by default.
        **options
            Passed on to `skinfluence.cleaning.report.render`: ``title``, ``top``, ``details``,
            ``images``, ``verification``, ``planted``, ``selection``, ``cleaning_score``, ``command``,
            ``reviewed``, ``neighbours``.

        Returns
        -------
        page : str
            The page.
        """
        from skinfluence.cleaning.outputs import write_together
        from skinfluence.cleaning.report import render

        page = render(self, **options)
        if path is not None:
            write_together({path: page})
        return page


def _plain(y: Any) -> np.ndarray:
    """Targets as an array; whole numbers and booleans of a nullable type keep their kind."""
    kind = getattr(getattr(y, "dtype", None), "kind", "O")
    values = np.asarray(y)
    if values.dtype != object or kind not in "biu" or y.isna().any():
        return values
    numpy_dtype = getattr(y.dtype, "numpy_dtype", None)
    return np.asarray(y, dtype=np.dtype(kind) if numpy_dtype is None else numpy_dtype)


def _note_on_effects(influence):
    also = "" if influence.answers.knows("self_influence") else " and no self_influence"
    return (
        "What dropping a row does to all the others is known of linear models with a smooth loss and of "
        f"kernel ridge regression, not of {influence.objective.model_name}: the table has no "
        f"effect_of_dropping{also}. X_val= and y_val=, rows known to be right, give effect_on_validation."
    )


def _check_rounds(rounds, trim, groups, estimator):
    if not isinstance(rounds, numbers.Integral) or rounds < 0:
        raise ValueError(f"rounds must be a whole number from 0. Got {rounds!r}.")
    if trim is not None and not 0 <= trim < 0.5:
        raise ValueError(f"trim must be a share of the rows from 0 to below a half. Got {trim!r}.")
    if trim is not None and not rounds:
        raise ValueError(
            f"trim={trim} needs rounds=, how many times to leave rows out, or score='trimmed'. Got rounds=0."
        )
    if rounds and groups is not None:
        raise ValueError(
            "rounds= (or score='trimmed') and groups= cannot be given together: sources are judged "
            "untrimmed. Audit twice."
        )
    if rounds and not (is_classifier(estimator) and hasattr(estimator, "predict_proba")):
        raise TypeError(
            "rounds= (and score='trimmed') is for classifiers with probabilities. Got "
            f"{type(estimator).__name__}; leave it out."
        )


def _known_groups(groups, n, labels):
    if groups is None:
        return None
    names, _ = groups_of(groups, n, labels)
    if len(names) < 2:
        raise ValueError(f"groups must name at least two sources. Got only {names.tolist()!r}.")
    return np.asarray(groups)


def _held(frozen):
    """What becomes of the transformers without a source: as in the rest of the audit."""
    return frozen if frozen == "accept" else None


def _settled(influence, method, frozen):
    """What becomes of the transformers, once for all questions of an audit; it is said here."""
    first = "one-step" if method == "auto" and influence.answers.certifies else method
    whole = whole_pipeline(influence, first, frozen)
    frozen = influence.frozen if frozen is None else frozen
    held = whole is None and learns_from_rows(influence)
    return "accept" if held else frozen


def _effect_on_validation(influence, X, y, asked):
    """Change of the mean loss of rows that are known to be right when each row is dropped."""
    if X is None or y is None:
        raise ValueError("X_val and y_val go together. Got only one of them.")
    n = _num_samples(X)
    check_consistent_length(X, y)
    total, y = np.zeros(influence.objective.n_samples), np.asarray(y)
    for start in range(0, n, ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, n))
        total += influence.removal_effect(_safe_indexing(X, rows), y[rows], **asked).sum(axis=0)
    return total / n


def _in_order(table):
    """Names of the rows in the order of the training set."""
    return table.sort_values("row")["id"].to_numpy()


def _known_score(score, known):
    """The score by name, the first one for None."""
    if score is None:
        return known[0]
    if score not in known:
        what = "classifier" if "margin" in known else "regressor"
        raise ValueError(
            f"score of a {what} must be one of {', '.join(map(repr, known))}. Got {score!r}."
        )
    return score


def _ranked_table(columns, score, ids):
    pd = require("pandas", extra="audit")
    # Equal scores by loss, equal losses as in the training set. A row without an answer is last.
    order = np.lexsort((-columns["loo_loss"], -score))
    table = pd.DataFrame({"row": np.arange(len(order)), "id": np.asarray(ids), **columns})
    table = table.iloc[order].reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(order) + 1))
    return table
