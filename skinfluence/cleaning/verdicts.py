"""What is to be thought of each label, by its chances and the noise in all of them, and what to do about it.

The reasoning is in the notes of `skinfluence.cleaning.audit`.
"""

from dataclasses import dataclass, replace

import numpy as np

# A row is changed when its label is more likely wrong than right even if its chance is off by the misfit, and
# given another one when that is twice as likely as all the rest. Stated chances near a half are cautious:
# of labels said to be wrong with .45 to .50, .53 are (doc/audit.rst).
RELABEL_FROM, CHANGE_FROM = 2 / 3, 0.48


@dataclass(frozen=True, eq=False)
class Verdict:
    """How likely each label is wrong.

    Attributes
    ----------
    posterior : ndarray of shape (n_samples, n_classes)
        Chances of the right class; of a row without an answer, of the given one alone.
    log_odds : ndarray of shape (n_samples,)
        Of an error, by which rows are ranked; NaN without an answer.
    error_proba : ndarray of shape (n_samples,)
        As the table shows it: NaN where nothing is known, not even of 0.
    wrong : ndarray of shape (n_samples,), dtype=bool
        Where a change is suggested.
    n_doubtful : int
        Rows that are more likely wrong than right if the model is as good as it looks, beside those.
    """

    posterior: np.ndarray
    log_odds: np.ndarray
    error_proba: np.ndarray
    wrong: np.ndarray
    n_doubtful: int


@dataclass(frozen=True, eq=False)
class Suggestion:
    """What to do about each row.

    Attributes
    ----------
    classes : ndarray of int, shape (n_samples,)
        Of a row that is wrong the likeliest other class, of the others what the model predicts.
    action : ndarray of str, shape (n_samples,)
        "keep", "relabel" or "drop".
    changed : ndarray of shape (n_samples,), dtype=bool
        Which rows are not kept.
    emptied : ndarray of int
        Classes whose rows all look wrong, which are kept for that.
    """

    classes: np.ndarray
    action: np.ndarray
    changed: np.ndarray
    emptied: np.ndarray


def verdict_on(local, codes, known, noise):
    """The :class:`Verdict` on labels.

    Parameters
    ----------
    local : ndarray of shape (n_samples, n_classes)
        Leave-one-out probabilities that heed the nearest rows.
    codes : ndarray of int, shape (n_samples,)
        Given classes.
    known : ndarray of shape (n_samples,), dtype=bool
        Which rows have an answer.
    noise : Noise
    """
    rows, n = np.arange(len(codes)), int(known.sum())
    posterior, log_odds = np.zeros_like(local), np.full(len(codes), np.nan)
    posterior[rows, codes] = 1.0
    posterior[known] = noise.posterior(local[known], codes[known])
    log_odds[known] = noise.log_odds(local[known], codes[known])
    error_proba = np.maximum(1.0 - posterior[rows, codes], 0.0)
    wrong = noise.claimed & (error_proba >= CHANGE_FROM + noise.misfit)
    right = replace(noise, doubt=0.0).posterior(local[known], codes[known])
    doubtful = noise.claimed & (right[np.arange(n), codes[known]] <= 0.5) & ~wrong[known]
    # Of a row that is alone, and by a model that knows nothing, no chance is known: not even of 0.
    error_proba[~known if noise.told else slice(None)] = np.nan
    return Verdict(posterior, log_odds, error_proba, wrong, int(doubtful.sum()))


def suggested(verdict, codes, likely):
    """The :class:`Suggestion` that follows.

    Parameters
    ----------
    verdict : Verdict
    codes, likely : ndarray of int, shape (n_samples,)
        The given classes, and those that the model predicts without each row.
    """
    others = np.arange(verdict.posterior.shape[1]) != codes[:, None]
    another = np.where(others, verdict.posterior, -1.0)
    relabel = verdict.wrong & (another.max(axis=1) >= RELABEL_FROM)
    drop = verdict.wrong & ~relabel
    # No class loses its last row.
    emptied = ~np.isin(codes, codes[~verdict.wrong])
    return Suggestion(
        classes=np.where(verdict.wrong, another.argmax(axis=1), likely),
        action=np.select([emptied, relabel, drop], ["keep", "relabel", "drop"], "keep"),
        changed=verdict.wrong & ~emptied,
        emptied=np.unique(codes[emptied]),
    )
