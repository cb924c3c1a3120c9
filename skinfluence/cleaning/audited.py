"""What an audit found: its table, and what can be done with it.

Refits live in `verification`, pictures in `plots`, the page in `report`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import _safe_indexing, check_consistent_length

from skinfluence._utils._optional import require
from skinfluence.cleaning.plans import Plan, carry_out, decided_plan, log_of, suggested_plan

if TYPE_CHECKING:
    from pandas import DataFrame


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
        a label is wrong (classifiers only; NaN where nothing can be said, and a note says why);
        ``self_influence`` how strongly the row pulls the model towards itself (not of models that have
        no derivatives: naive Bayes, discriminants, neighbours, support vector regression);
        ``effect_of_dropping`` the predicted change of the mean leave-one-out loss of the *other* rows, so
        that a negative number says dropping helps them, and ``effect_error``, an estimate of how far it is
        off: NaN where it is no larger than that, and its sign not known, and where it is not worked out,
        which a note says (neither with ``effects=False``);
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
        The same, with what the labels of the nearest rows say beyond them: what ``noise`` and
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
    again : callable
        `audit`, for :meth:`update`.
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
    again: Callable[..., Audit]
    sources: Any = None

    @property
    def noise_share(self) -> float | None:
        """Estimated share of wrong labels, at least; 0 where no errors are claimed.

        NaN where nothing can be said of the labels, None for a regressor.
        """
        if self.noise is None:
            return None
        return self.noise.share if self.noise.told else float("nan")

    @property
    def noise_matrix(self) -> DataFrame | None:
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

    def to_frame(self, X: Any = None) -> DataFrame:
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
    ) -> DataFrame:
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

    def update(self, rows: ArrayLike, labels: ArrayLike | None = None) -> Audit:
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
            ids = self.table.sort_values("row")["id"].to_numpy()
            given = {"sample_weight": self.sample_weight, "ids": ids}
            return self.again(estimator, self.X, y, **given, **self.options)

        return updated(self, rows, labels, again)

    def verify(
        self,
        k: int = 10,
        *,
        preprocessing: Literal["frozen", "refit"] | None = None,
        effects: bool = False,
        progress: bool = False,
    ) -> DataFrame:
        """Refit without each of the top rows and compare with what was predicted.

        Parameters
        ----------
        k : int, default=10
            How many rows from the top of the table: one refit each.
        preprocessing : {None, "frozen", "refit"}, default=None
            What to do with the transformers of a pipeline: "frozen" keeps them as fitted on all rows,
            "refit" fits the whole pipeline anew. None: what the audit did.
        effects : bool, default=False
            Leave every other row out of each refit, too, and compare the effects on the others: the price
            of leave-one-out answers for each row. Not after ``rounds``.
        progress : bool, default=False
            Show a progress bar on a terminal.

        Returns
        -------
        verification : DataFrame of k rows
            ``row``, ``id``, ``given``, ``loo_loss`` as predicted, ``refit_loss`` as found,
            ``difference`` (refit minus predicted) and ``refit_suggested``. A row whose class would
            vanish cannot be refitted: NaN. With ``effects`` also ``effect_of_dropping`` as predicted and
            ``refit_effect`` as found, by leave-one-out of each refit, solved to round-off.
        """
        from skinfluence.cleaning.verification import verify

        return verify(self, k, preprocessing=preprocessing, effects=effects, progress=progress)

    def depth_table(
        self, planted: ArrayLike, *, depths: Sequence[float] = (0.05, 0.10, 0.15, 0.20, 0.30)
    ) -> DataFrame:
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
