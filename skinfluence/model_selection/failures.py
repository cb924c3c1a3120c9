"""Candidates of a search that could not be fitted."""

import warnings

import numpy as np
from sklearn.exceptions import FitFailedWarning

from skinfluence._utils.calls import level_outside


class Failing:
    """Turns an error into the error score of candidates, unless it is to be raised."""

    def __init__(self, trials, error_score):
        self.trials, self.error_score = trials, error_score

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if error is None or not isinstance(error, Exception) or self.error_score == "raise":
            return False
        for trial in self.trials:
            if not trial.method or len(self.trials) == 1:
                trial.error = f"{kind.__name__}: {error}"
                trial.score = trial.std = trial.bound = np.nan
                trial.method = "failed"
        return True


def check_failures(trials, error_score):
    """Say which candidates failed, and refuse where all did or their losses differ."""
    failed = [trial for trial in trials if trial.error]
    if len(failed) == len(trials):
        raise ValueError(
            f"At least one candidate must fit. All {len(trials)} failed, the first with "
            f"{failed[0].error}"
        )
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(trials)} candidates could not be fitted; their score is "
            f"{error_score}. The first, {failed[0].params}, failed with {failed[0].error}",
            FitFailedWarning,
            stacklevel=level_outside(),
        )
        for trial in failed:
            trial.score = error_score
    losses = {trial.loss for trial in trials if trial.loss}
    if len(losses) > 1 and not any(np.isnan(t.bound) for t in trials if t.loss):
        names = sorted(loss[0] for loss in losses)
        raise ValueError(
            "With scoring=None all candidates must have the same loss. Got "
            f"{' and '.join(names)}. Give a scorer, such as scoring='accuracy'."
        )
