"""To and from cleanlab: leave-one-out probabilities into its Datalab, its issues beside our rows."""

from dataclasses import replace

import numpy as np

from skinfluence._utils._optional import require


def to_datalab(audit, features=None, **options):
    """Ask cleanlab's Datalab about the rows of an audit, with leave-one-out probabilities.

    Cross-validated probabilities come from models without a tenth of the rows; these from models
    without the row alone.

    Parameters
    ----------
    audit : Audit
        Of a classifier.
    features : array-like of shape (n_samples, n_features), default=None
        For the issues that are found by distances: outliers, near duplicates.
    **options
        To ``Datalab.find_issues``.

    Returns
    -------
    lab : cleanlab.Datalab
        After ``find_issues``.

    Examples
    --------
    >>> from skinfluence.cleaning import audit, from_cleanlab, to_datalab
    >>> from skinfluence.datasets import load_demo
    >>> from skinfluence.linear_model import LogisticRegression
    >>> demo = load_demo("wine", flip_share=0.1)
    >>> X = demo.X / demo.X.std(axis=0)
    >>> found = audit(LogisticRegression(tol=1e-6, max_iter=1000).fit(X, demo.y), X, demo.y)
    >>> lab = to_datalab(found)  # doctest: +SKIP
    >>> both = from_cleanlab(found, lab.get_issues())  # doctest: +SKIP
    """
    if audit.task != "classification":
        raise TypeError(
            "to_datalab needs the probabilities of a classifier. Got a regression audit."
        )
    known = np.isfinite(audit.loo_proba).all(axis=1)
    if not known.all():
        raise ValueError(
            f"Row {np.flatnonzero(~known)[0]} has no leave-one-out probabilities: it is the only one of "
            "its class. Leave it out of the audit."
        )
    cleanlab = require("cleanlab", extra="cleanlab")
    lab = cleanlab.Datalab({"label": audit.y}, label_name="label", verbosity=0)
    lab.find_issues(pred_probs=audit.loo_proba, features=features, **options)
    return lab


def from_cleanlab(audit, issues):
    """Put what cleanlab found beside the rows of an audit, in its table and on its page.

    Parameters
    ----------
    audit : Audit
    issues : DataFrame of n_samples rows
        ``lab.get_issues()`` of a Datalab, or what ``CleanLearning.find_label_issues`` and
        ``filter.find_label_issues`` return, in the order of the training rows. A mask or the positions of
        the label issues will do.

    Returns
    -------
    audit : Audit
        With a column ``cleanlab``, the kinds of issues of each row in words, and
        ``cleanlab_score``, its label quality, where that is known. Rankings and actions stay.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import scale
    >>> from skinfluence.cleaning import audit, from_cleanlab
    >>> from skinfluence.datasets import load_demo
    >>> from skinfluence.linear_model import LogisticRegression
    >>> demo = load_demo("wine", flip_share=0.1)
    >>> X = scale(demo.X)
    >>> found = audit(LogisticRegression(C=0.1).fit(X, demo.y), X, demo.y)
    >>> both = from_cleanlab(found, np.flatnonzero(demo.flipped))
    >>> int((both.table["cleanlab"].head(18) != "").sum())
    18
    """
    n = len(audit.y)
    if not hasattr(issues, "columns"):
        issues = _as_table(np.asarray(issues), n)
    if len(issues) != n:
        raise ValueError(
            f"issues must have one row for each of the {n} audited rows. Got {len(issues)}."
        )
    flags = [name for name in issues.columns if name.startswith("is_") and name.endswith("_issue")]
    if not flags:
        raise ValueError(
            "issues must have columns such as is_label_issue. Got "
            f"{', '.join(map(str, issues.columns[:5]))}."
        )
    kinds = {name: name[3:-6].replace("_", " ") for name in flags}
    marked = {name: issues[name].to_numpy(dtype=bool) for name in flags}
    words = [", ".join(kinds[name] for name in flags if marked[name][row]) for row in range(n)]
    table = audit.table.drop(columns=["cleanlab", "cleanlab_score"], errors="ignore")
    rows, at = table["row"].to_numpy(), len(table.columns) - 1
    table.insert(at, "cleanlab", np.array(words, dtype=object)[rows])
    quality = next((name for name in ("label_score", "label_quality") if name in issues), None)
    if quality is not None:
        table.insert(at + 1, "cleanlab_score", issues[quality].to_numpy(dtype=float)[rows])
    return replace(audit, table=table)


def _as_table(found, n):
    """A mask, or positions, of label issues as a table."""
    pd = require("pandas", extra="audit")
    if found.dtype == bool:
        return pd.DataFrame({"is_label_issue": found})
    if found.ndim != 1 or found.dtype.kind not in "iu" or (len(found) and found.max() >= n):
        raise ValueError(
            "issues must be a table, a mask or positions of rows. Got an array of "
            f"shape {found.shape} and type {found.dtype}."
        )
    marked = np.zeros(n, dtype=bool)
    marked[found] = True
    return pd.DataFrame({"is_label_issue": marked})


def label_quality(proba, codes):
    """Cleanlab's label quality of each row, low for those to look at."""
    require("cleanlab", extra="cleanlab")
    from cleanlab.rank import get_label_quality_scores

    known = np.isfinite(proba).all(axis=1)
    out = np.full(len(codes), np.nan)
    # Every class must be given, which a row without an answer may be the only one to be.
    present, inside = np.unique(codes[known], return_inverse=True)
    kept = proba[known][:, present]
    kept = kept / kept.sum(axis=1, keepdims=True)
    out[known] = get_label_quality_scores(inside, kept)
    return out
