"""What happens to the model, and to losses, when a row weighs a little more or moves a little."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._utils.memory import check_fits
from skinfluence._utils.typing import Floats, Frozen, MatrixLike, Names
from skinfluence._utils.validation import check_frozen_choice
from skinfluence.influence.data import SMALLER, Asked
from skinfluence.statistics import fill_total, moves_with_features, warn_held


class Derivatives(Asked):
    """Derivatives, in the sense, signs and scales of Koh and Liang (2017)."""

    def influence_up_params(
        self, *, indices: ArrayLike | None = None, labels: Names | None = None
    ) -> Floats:
        """Derivative of the parameters when a training row is up-weighted, eq. 1.

        ``-Hbar^-1 (J_i' g_i)``: per unit of ``w_i / n_train``.

        Parameters
        ----------
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them (a Series is aligned by its index); all
            when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.

        Returns
        -------
        influence : ndarray of shape (n_train, n_outputs, n_features + fit_intercept)
            The intercept last, in the units of ``intercept_``.
        """
        return self.answers.up_params(self.data.positions(indices, labels))

    def influence_up_loss(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        offset: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        aggregate: Literal["mean"] | None = None,
        smoothing: Literal["auto"] | float | None = "auto",
    ) -> Floats:
        """Derivative of test losses when a training row is up-weighted, eq. 2.

        ``-g_t' J_t Hbar^-1 J_i' g_i``: negative means that up-weighting the row lowers the loss.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,)
        offset : float or array-like of shape (n_test,), default=None
            Of the test points, of a model with an offset, and needed there.
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them (a Series is aligned by its index); all
            when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.
        aggregate : {None, "mean"}, default=None
            ``"mean"``: of the mean test loss, at the cost of one test point.
        smoothing : {"auto", None} or float, default="auto"
            For models with a hinge, which has no second derivative: the temperature of Koh and
            Liang's smooth hinge at the fitted parameters, or None for the derivative of the
            solution itself, which is zero for support vectors on the margin. ``"auto"``: 1e-3.

        Returns
        -------
        influence : ndarray of shape (n_test, n_train), or (n_train,) with ``aggregate="mean"``
        """
        rows = self.data.positions(indices, labels)
        tests = self.data.labelled_tests(X, y, aggregate, offset)
        check_fits((1 if aggregate else tests.design.n_samples, len(rows)), SMALLER)
        some = None if indices is labels is None else rows
        out = self.answers.smoothed(smoothing).up_loss(tests, some, aggregate)
        return out[0] if aggregate else out

    def influence_pert(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        offset: ArrayLike | None = None,
        indices: ArrayLike | None = None,
        labels: Names | None = None,
        aggregate: Literal["mean"] | None = None,
        smoothing: Literal["auto"] | float | None = "auto",
        frozen: Frozen = None,
    ) -> Floats:
        """Derivative of test losses in the features of a training row, eq. 5.

        Moving training row i by a small ``delta`` changes the test loss by
        ``(w_i / n_train) * influence @ delta``.

        Parameters
        ----------
        X : array-like of shape (n_test, n_features)
        y : array-like of shape (n_test,)
        offset : float or array-like of shape (n_test,), default=None
            Of the test points, of a model with an offset, and needed there.
        indices : array-like of int or of bool, default=None
            Training rows by position, or a mask of them (a Series is aligned by its index); all
            when None.
        labels : array-like of labels, default=None
            Training rows by the index of their frame, instead of ``indices``.
        aggregate : {None, "mean"}, default=None
            ``"mean"``: of the mean test loss, at the cost of one test point.
        smoothing : {"auto", None} or float, default="auto"
            As in :meth:`influence_up_loss`. ``"auto"``: None, which agrees with refits.
        frozen : {None, "accept", "refuse"}, default=None
            What becomes of what was learned from the rows besides the model: the statistics of the
            transformers of a pipeline, and ``gamma="scale"``. None: the choice of the object; if that
            is None too, they move with the row, and so do all rows and the test points; where that is
            not known all of them stay as fitted, which a warning says. ``"accept"``: they stay as
            fitted. ``"refuse"``: an error where they would.

        Returns
        -------
        influence : ndarray of shape (n_test, n_train, n_features), or (n_train, n_features)
            In the features given to ``fit``; through a pipeline whose transformers have a
            pullback (:func:`skinfluence.pipeline.pullback`).
        """
        rows = self.data.positions(indices, labels)
        tests = self.data.labelled_tests(X, y, aggregate, offset)
        n_test = 1 if aggregate else tests.design.n_samples
        shape = (n_test, len(rows), self.data.inputs.n_raw_features)
        check_fits(shape, SMALLER)
        out = np.empty(shape)
        answers = self.answers.smoothed(smoothing)
        check_frozen_choice(frozen)
        frozen = self.frozen if frozen is None else frozen
        why = None
        if frozen != "accept" and moves_with_features(self):
            try:
                fill_total(self, answers, tests, X, rows, aggregate, out)
                return out[0] if aggregate else out
            except TypeError as error:
                if frozen == "refuse":
                    raise
                why = error
        answers.pert_loss(tests, rows, aggregate, self.data.inputs.pull_back, out)
        if why is not None:
            warn_held(why)
        return out[0] if aggregate else out

    def self_influence(self) -> Floats:
        """Influence of each training row on its own loss, ``g_i' J_i Hbar^-1 J_i' g_i``.

        Returns
        -------
        influence : ndarray of shape (n_train,)
            ``-influence_up_loss`` of a row on itself: non-negative when C is held.
        """
        return self.answers.self_influence()
