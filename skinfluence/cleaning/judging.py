"""From leave-one-out answers to columns of evidence and a suggested action for every row.

The reasoning is in the notes of `skinfluence.cleaning.audit`.
"""

import warnings

import numpy as np
from scipy.special import xlogy
from scipy.stats import t as student

from skinfluence.cleaning.bridge import label_quality
from skinfluence.cleaning.calibration import chances
from skinfluence.cleaning.noise import estimate_noise
from skinfluence.cleaning.trimming import trimmed
from skinfluence.leave_one_out import Outputs, outputs
from skinfluence.losses import Tweedie

# A target is called extreme when its leave-one-out residual is this many robust standard deviations
# away from the typical one: about 1 in 2,000 rows of a Gaussian sample.
EXTREME_RESIDUAL = 3.5

# Degrees of freedom of the tails of residuals; of fewer rows tails are not known.
DEGREES = np.array([0.8, 1.0, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 30, 100])
MIN_ROWS_FOR_TAILS = 30

# A row is changed when its label is more likely wrong than right, and given another one when that is
# twice as likely as all the rest.
RELABEL_FROM, DROP_FROM = 2 / 3, 1 / 2

# With method="auto": the rows of highest one-step loss that are solved with a certificate.
# Each costs the more the more outputs there are.
CERTIFIED_ROWS, MIN_CERTIFIED_ROWS, CERTIFIED_TOL = 300, 20, 1e-3


def judge_labels(estimator, influence, y, options):
    """Columns of the table, by training row, for a classifier."""
    classes = np.asarray(estimator.classes_)
    codes = np.searchsorted(classes, y)
    n = len(y)
    labels = _as_given(classes, codes, y)
    alone = np.bincount(codes, minlength=len(classes))[codes] == 1
    suspect = suspected(options["suspect"], classes)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # The core warns of rows alone in their class at every question, and answers NaN for them;
        # `notes` says it once.
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        left_out, noise = _left_out_and_noise(influence, codes, classes, suspect, options)
        proba, loss = _chances(left_out, codes, classes), left_out.loss()
        effect = _effect(influence, loss, options)
    out, notes = np.zeros(n, dtype=bool), ()
    if options["rounds"]:
        # How sure the whole of the labels is, before any of them is left out of the fit.
        share = noise.share if options["trim"] is None else options["trim"]
        proba, out = trimmed(
            influence, classes, codes, suspect, options["rounds"], share, options["frozen"]
        )
        loss = -np.log(np.maximum(proba[np.arange(n), codes], np.finfo(float).tiny))
        answered = np.isfinite(loss)
        noise = estimate_noise(proba[answered], codes[answered], classes, suspect)
        notes = _note_on_trimming(out, options["rounds"])
    known = np.isfinite(loss)
    posterior, log_odds = np.zeros_like(proba), np.full(n, np.nan)
    posterior[np.arange(n), codes] = 1.0
    posterior[known] = noise.posterior(proba[known], codes[known])
    log_odds[known] = noise.log_odds(proba[known], codes[known])
    error_proba = np.maximum(1.0 - posterior[np.arange(n), codes], 0.0)
    wrong = noise.claimed & (error_proba >= DROP_FROM)
    another = np.where(np.arange(len(classes)) == codes[:, None], -1.0, posterior)
    # Without a row that is alone there is no class to be right about: nothing to suggest.
    likely = np.where(alone, codes, np.nan_to_num(proba).argmax(axis=1))
    best = np.where(wrong, another.argmax(axis=1), likely)
    relabel = wrong & (another.max(axis=1) >= RELABEL_FROM)
    drop = wrong & ~relabel
    emptied = ~np.isin(codes, codes[~(relabel | drop)])
    columns = {
        "given": y,
        "suggested": labels[best],
        "suggested_proba": proba[np.arange(n), best],
        "loo_loss": loss,
        "error_proba": error_proba,
        **_pull(influence),
        **effect,
        "action": np.select([emptied, relabel, drop], ["keep", "relabel", "drop"], "keep"),
    }
    scores = {
        "error_proba": log_odds,
        "loo_loss": loss,
        "margin": _shortfall(proba, codes),
        "trimmed": log_odds,
        **_pull_of(columns),
    }
    if options.get("score") == "cleanlab":
        scores["cleanlab"] = -label_quality(proba, codes)
    evidence = {
        "classes": classes,
        "loo_proba": proba,
        "loo_prediction": labels[likely],
        "noise": noise,
        "trimmed": out,
        "notes": (
            *notes,
            *_note_on_chances(influence),
            *_note_on_lonely_rows(y[alone]),
            *noise.notes,
            *_note_on_emptied_classes(classes[np.unique(codes[emptied])]),
        ),
    }
    return columns, scores, evidence


def _note_on_trimming(out, rounds):
    if not out.any():
        return ("Nothing was left out of the fit: no errors are claimed. Say how much with trim=.",)
    return (
        f"{out.sum()} of {len(out)} rows, the most suspicious ones, were left out of the fit in "
        f"{rounds} round{'s' if rounds > 1 else ''}; losses and probabilities are those of models that "
        "have not seen them either.",
    )


def _chances(left_out, codes, classes):
    """Leave-one-out probabilities: the model's, or those that its decision values amount to."""
    if hasattr(left_out.estimator, "predict_proba"):
        return left_out.predict_proba()
    return chances(left_out.decision_function(), codes, len(classes))


def _note_on_chances(influence):
    if hasattr(influence.estimator, "predict_proba"):
        return ()
    return (
        "The model has no probabilities: those shown are fitted to its leave-one-out decision values, "
        "and loo_loss is its own loss.",
    )


def _as_given(classes, codes, y):
    """The classes as values of `y`, whose type an estimator does not always keep."""
    present, first = np.unique(codes, return_index=True)
    if y.dtype != object and len(present) == len(classes):
        return y[first]
    labels = classes.astype(object)
    for code, row in zip(present, first, strict=True):
        labels[code] = y[row]
    return labels


def suspected(suspect, classes):
    """``{"true": c}`` or ``{"given": c}`` as the kind and the position of the class; None for None."""
    if suspect is None:
        return None
    rule = (
        "suspect must be {'true': c}, for members of class c that were mislabelled, or {'given': c}, "
        "for labels c that cannot be trusted. Got "
    )
    if not isinstance(suspect, dict) or len(suspect) != 1 or not {"true", "given"} & set(suspect):
        raise ValueError(f"{rule}{suspect!r}.")
    ((kind, label),) = suspect.items()
    at = [i for i, name in enumerate(classes.tolist()) if name == label]
    if not at:
        raise ValueError(f"{rule}{suspect!r}; the classes are {_listed(classes)}.")
    return kind, at[0]


def _shortfall(proba, codes):
    """By how much the most likely other class is ahead of the given one."""
    others = np.where(np.arange(proba.shape[1]) == codes[:, None], -np.inf, proba)
    return others.max(axis=1) - proba[np.arange(len(codes)), codes]


def _left_out_and_noise(influence, codes, classes, suspect, options):
    """Leave-one-out outputs and the noise in the labels.

    With "auto" one step for all rows, by which the noise is estimated, and a certificate for those
    that look most wrong or surprising.
    """

    def noise_in(left_out):
        known = np.isfinite(left_out.loss())
        proba = _chances(left_out, codes, classes)[known]
        return known, proba, estimate_noise(proba, codes[known], classes, suspect)

    asked = {"method": options["method"], "frozen": options["frozen"]}
    if options["method"] != "auto" or not influence.answers.certifies:
        left_out = outputs(influence, **asked)
        return left_out, noise_in(left_out)[2]
    first = outputs(influence, **{**asked, "method": "one-step"})
    known, proba, noise = noise_in(first)
    log_odds = np.full(len(codes), -np.inf)
    log_odds[known] = noise.log_odds(proba, codes[known])
    return _certified(influence, first, [first.loss(), log_odds], options), noise


def judge_targets(estimator, influence, y, options):
    """Columns of the table, by training row, for a regressor."""
    if options["suspect"] is not None:
        raise ValueError(
            f"suspect= names a class, and a regressor has none. Got {options['suspect']!r}; leave it out."
        )
    left_out = _left_out(influence, options)
    prediction, loss = left_out.predict(), left_out.loss()
    loss = loss_of_targets(y, prediction, loss, influence.objective)
    residual = _residual(y, prediction, influence.objective)
    centre = np.nanmedian(residual)
    spread = 1.4826 * np.nanmedian(np.abs(residual - centre))
    z = (residual - centre) / max(spread, np.finfo(float).tiny)
    effect = _effect(influence, loss, options)
    drop = np.abs(z) > EXTREME_RESIDUAL
    alone = beyond_doubt(z)
    if effect:
        drop &= (effect["effect_of_dropping"] < 0) | alone
    columns = {
        "given": y,
        "suggested": prediction,
        "residual_z": z,
        "loo_loss": loss,
        **_pull(influence),
        **effect,
        "action": np.where(drop, "drop", "keep"),
    }
    scores = {"loo_loss": loss, **_pull_of(columns)}
    evidence = {
        "classes": None,
        "loo_proba": None,
        "loo_prediction": prediction,
        "noise": None,
        "trimmed": np.zeros(len(y), dtype=bool),
        "notes": _note_on_masks(alone, effect),
    }
    return columns, scores, evidence


def left_out_losses(influence, y, options):
    """The leave-one-out loss of each row, as in the table of an audit."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "Row .* only one of its class", UserWarning)
        left_out = _left_out(influence, options)
        loss = left_out.loss()
    if influence.objective.labels is not None:
        return loss
    return loss_of_targets(y, left_out.predict(), loss, influence.objective)


def loss_of_targets(y, prediction, loss, objective):
    """Losses that compare rows: half deviances of counts and amounts, which are 0 at the target.

    The loss of the model leaves out what depends on y only, and would rank large counts last.
    """
    if isinstance(getattr(objective, "loss", None), Tweedie):
        return 0.5 * _residual(y, prediction, objective) ** 2
    return loss


def _residual(y, prediction, objective):
    """How far each target is from what the others predict, in units that spread alike.

    The deviance residual of counts and amounts, whose variance follows their mean.
    """
    loss = getattr(objective, "loss", None)
    if not isinstance(loss, Tweedie):
        return y - prediction
    p, mu = loss.power, prediction
    if p == 1:
        deviance = xlogy(y, y / mu) - y + mu
    elif p == 2:
        deviance = np.log(mu / y) + y / mu - 1
    else:
        deviance = np.maximum(y, 0) ** (2 - p) / ((1 - p) * (2 - p))
        deviance += mu ** (2 - p) / (2 - p) - y * mu ** (1 - p) / (1 - p)
    return np.sign(y - mu) * np.sqrt(2.0 * np.maximum(deviance, 0.0))


def beyond_doubt(z):
    """Rows that no residual of this spread and these tails explains: a Bonferroni test of outliers.

    Tails are those of Student's t whose middle and whose 97.5 % are those of the residuals, so that
    data with heavy tails are not all outliers; the test is at 5 % for all rows together.
    """
    size = np.abs(z[np.isfinite(z)])
    if len(size) < MIN_ROWS_FOR_TAILS:
        return np.zeros(len(z), dtype=bool)
    middle, far = np.quantile(size, [0.5, 0.95])
    if middle <= 0:
        return np.zeros(len(z), dtype=bool)
    ratio = student.ppf(0.975, DEGREES) / student.ppf(0.75, DEGREES)
    # The lightest tails that are not lighter than the data's; ratios fall with the degrees.
    nu = DEGREES[max(int(np.searchsorted(-ratio, -far / middle)) - 1, 0)]
    scale = middle / student.ppf(0.75, nu)
    with np.errstate(invalid="ignore"):
        return 2.0 * student.sf(np.abs(z) / scale, nu) * len(size) < 0.05


def _note_on_masks(alone, effect):
    """Rows that are dropped though the others would lose by it."""
    if not effect:
        return ()
    n = int((alone & (effect["effect_of_dropping"] >= 0)).sum())
    if n == 0:
        return ()
    return (
        f"{n} row{'s are' if n > 1 else ' is'} so far off that no residual of this spread explains "
        f"{'them' if n > 1 else 'it'}, though dropping {'one' if n > 1 else 'it'} alone raises the loss of "
        "the others: they lean on it, or several rows are off together. Look at them first.",
    )


def _effect(influence, loss, options):
    """The column of effects on the others; none where they were not asked for."""
    if not options["effects"]:
        return {}
    return {"effect_of_dropping": influence.answers.effect_on_others(np.isfinite(loss))}


def _pull(influence):
    """The column of how strongly rows pull the model; none where that is not known."""
    if not influence.answers.knows("self_influence"):
        return {}
    return {"self_influence": influence.self_influence()}


def _pull_of(columns):
    return {name: columns[name] for name in ("self_influence",) if name in columns}


def _left_out(influence, options):
    """Leave-one-out outputs; with "auto" one step for all rows, then certified for the top ones."""
    asked = {"method": options["method"], "frozen": options["frozen"]}
    if options["method"] != "auto" or not influence.answers.certifies:
        return outputs(influence, **asked)
    first = outputs(influence, **{**asked, "method": "one-step"})
    return _certified(influence, first, [first.loss()], options)


def _certified(influence, first, scores, options):
    """One-step outputs with those of the rows of highest scores solved to a certified error."""
    n_certified = max(MIN_CERTIFIED_ROWS, CERTIFIED_ROWS // first.eta.shape[1])
    share = -(-n_certified // len(scores))
    rows = np.unique([np.argsort(-score, kind="stable")[:share] for score in scores])
    rows = rows[np.isfinite(first.loss()[rows])]
    eta = first.eta.copy()
    eta[rows] = outputs(influence, "auto", CERTIFIED_TOL, options["frozen"], rows).eta[rows]
    return Outputs(first.estimator, first.objective, eta)


def _note_on_lonely_rows(labels):
    if len(labels) == 0:
        return ()
    shown = _listed(labels)
    return (
        f"{len(labels)} row{'s are' if len(labels) > 1 else ' is'} the only one of "
        f"{'their' if len(labels) > 1 else 'its'} class ({shown}): without it the model cannot know "
        "the class, so nothing can be said about such a row. Look for typing errors in the label.",
    )


def _note_on_emptied_classes(emptied):
    if len(emptied) == 0:
        return ()
    shown = _listed(emptied)
    return (
        f"Every row of {'these classes' if len(emptied) > 1 else 'one class'} looks wrong ({shown}). "
        "No suggestion is made that leaves a class without rows: is it a misspelt or superfluous "
        "label?",
    )


def _listed(labels):
    return ", ".join(repr(str(label)) for label in labels[:5]) + (" …" if len(labels) > 5 else "")
