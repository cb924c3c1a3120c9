"""Data with planted errors, and the truth about them: flipped labels, shifted targets, demo sets.

Everything here is generated or ships with scikit-learn; nothing is downloaded.
"""

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skinfluence._utils.demos import DEMOS

__all__ = ["flip_labels", "load_demo", "make_mixed_table", "shift_targets"]


def flip_labels(y, share, *, random_state=None):
    """Give a share of the rows another label, drawn evenly from the other classes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        The true labels.
    share : float
        Share of the rows to flip, between 0 and 1: exactly ``round(share * n_samples)`` change.
    random_state : int, RandomState instance or None, default=None
        Which rows are flipped, and to what.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,)
        A copy of `y` with the flipped labels.
    flipped : ndarray of shape (n_samples,), dtype=bool
        True where the label was flipped.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.datasets import flip_labels
    >>> y = np.repeat(["cat", "dog"], 10)
    >>> y_noisy, flipped = flip_labels(y, 0.1, random_state=0)
    >>> int(flipped.sum()), bool(np.all((y_noisy != y) == flipped))
    (2, True)
    """
    y = np.asarray(y)
    rng = check_random_state(random_state)
    rows = _draw_rows(len(y), share, rng)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2 and len(rows):
        raise ValueError(
            f"Flipping labels needs at least two classes. Got only {classes[0]!r}: "
            "there is no other label to give."
        )
    flipped = np.zeros(len(y), dtype=bool)
    flipped[rows] = True
    if len(rows):
        # A step of 1 .. K-1 around the circle of classes never lands on the class it left.
        codes[rows] = (codes[rows] + rng.randint(1, len(classes), size=len(rows))) % len(classes)
    return classes[codes], flipped


def shift_targets(y, share, *, size=5.0, random_state=None):
    """Move a share of the targets up or down by a number of standard deviations.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        The true targets.
    share : float
        Share of the rows to move, between 0 and 1.
    size : float, default=5.0
        Size of the shift, in standard deviations of `y`.
    random_state : int, RandomState instance or None, default=None
        Which rows are moved, and in which direction.

    Returns
    -------
    y_noisy : ndarray of shape (n_samples,)
        A float copy of `y` with the moved targets.
    shifted : ndarray of shape (n_samples,), dtype=bool
        True where the target was moved.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.datasets import shift_targets
    >>> y_noisy, shifted = shift_targets(np.arange(20.0), 0.1, random_state=0)
    >>> int(shifted.sum())
    2
    """
    y = np.array(y, dtype=float)
    rng = check_random_state(random_state)
    rows = _draw_rows(len(y), share, rng)
    shifted = np.zeros(len(y), dtype=bool)
    shifted[rows] = True
    y[rows] += size * y.std() * rng.choice([-1.0, 1.0], size=len(rows))
    return y, shifted


def load_demo(name, *, flip_share=0.1, random_state=0):
    """Load a data set that ships with scikit-learn, with a known share of its labels flipped.

    Parameters
    ----------
    name : {"digits", "breast-cancer", "wine"}
        Which data set.
    flip_share : float, default=0.1
        Share of the labels to flip.
    random_state : int, RandomState instance or None, default=0
        Which labels are flipped, and to what.

    Returns
    -------
    demo : Bunch
        ``X`` of shape (n_samples, n_features); ``y``, the labels with errors, as strings;
        ``y_true``, the labels without; ``flipped``, True where they differ; ``feature_names``;
        ``images`` of shape (n_samples, height, width) or None; ``name``.

    Examples
    --------
    >>> from skinfluence.datasets import load_demo
    >>> demo = load_demo("wine", flip_share=0.1)
    >>> demo.X.shape, int(demo.flipped.sum())
    ((178, 13), 18)
    """
    from sklearn import datasets

    loaders = {
        "digits": datasets.load_digits,
        "breast-cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
    }
    if name not in loaders:
        raise ValueError(f"name must be one of {', '.join(DEMOS)}. Got {name!r} instead.")
    data = loaders[name]()
    y_true = np.asarray(data.target_names).astype(str)[data.target]
    y, flipped = flip_labels(y_true, flip_share, random_state=random_state)
    return Bunch(
        name=name,
        X=data.data,
        y=y,
        y_true=y_true,
        flipped=flipped,
        feature_names=[str(feature) for feature in data.feature_names],
        images=data.get("images"),
    )


def make_mixed_table(n_samples=5000, *, flip_share=0.05, random_state=None):
    """Make a table of numbers, categories, texts, dates and gaps, with planted label errors.

    The label, whether a customer renews, follows a logistic model of some of the columns; then
    `flip_share` of the labels is flipped. Needs pandas.

    Parameters
    ----------
    n_samples : int, default=5000
        Number of rows.
    flip_share : float, default=0.05
        Share of the labels to flip.
    random_state : int, RandomState instance or None, default=None
        The seed of everything.

    Returns
    -------
    table : DataFrame
        Columns ``customer``, ``age``, ``spend``, ``visits``, ``city`` (30 levels), ``plan``,
        ``comment`` (free text), ``joined`` (dates) and the label ``renewed``. About 5 % of the
        entries of four columns are missing.
    flipped : ndarray of shape (n_samples,), dtype=bool
        True where the label was flipped.

    Examples
    --------
    >>> from skinfluence.datasets import make_mixed_table
    >>> table, flipped = make_mixed_table(200, random_state=0)
    >>> table.shape, int(flipped.sum())
    ((200, 9), 10)
    """
    from skinfluence._utils._optional import require

    pd = require("pandas", extra="audit")
    rng = check_random_state(random_state)
    age = rng.normal(45, 14, n_samples).clip(18, 90)
    spend = rng.lognormal(4, 0.8, n_samples)
    visits = rng.poisson(6, n_samples).astype(float)
    city = rng.randint(30, size=n_samples)
    plan = rng.choice(["basic", "plus", "premium"], size=n_samples, p=[0.5, 0.3, 0.2])
    days = rng.randint(0, 2000, size=n_samples)
    mood = rng.normal(size=n_samples)
    score = (
        0.9 * (np.log(spend) - 4)
        + 0.35 * (visits - 6)
        + rng.normal(0, 0.8, 30)[city]
        + np.select([plan == "basic", plan == "plus"], [-0.8, 0.2], 1.2)
        - 0.001 * (days - 1000)
        + 1.5 * mood
    )
    renewed = np.where(rng.uniform(size=n_samples) < 1 / (1 + np.exp(-2 * score)), "yes", "no")
    renewed, flipped = flip_labels(renewed, flip_share, random_state=rng)
    joined = pd.Timestamp("2019-01-01") + pd.to_timedelta(days, unit="D")
    table = pd.DataFrame(
        {
            "customer": [f"C{i:05d}" for i in range(n_samples)],
            "age": age.round(),
            "spend": spend.round(2),
            "visits": visits,
            "city": [f"city {c:02d}" for c in city],
            "plan": plan,
            "comment": _comments(mood, rng),
            "joined": joined.strftime("%Y-%m-%d"),
            "renewed": renewed,
        }
    )
    for column in ["age", "visits", "plan", "comment"]:
        table.loc[rng.uniform(size=n_samples) < 0.05, column] = None
    return table, flipped


def _draw_rows(n_samples, share, rng):
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1. Got {share!r} instead.")
    return rng.choice(n_samples, size=round(share * n_samples), replace=False)


def _comments(mood, rng):
    """Short free texts whose words lean with the mood of the row."""
    good = "friendly quick helpful great easy reliable happy clear smooth pleasant".split()
    bad = "slow rude broken late confusing expensive annoyed unclear noisy poor".split()
    filler = "the staff app delivery invoice support was and again today with order very".split()
    comments = []
    for value in mood:
        leaning = good if rng.uniform() < 1 / (1 + np.exp(-3 * value)) else bad
        words = list(rng.choice(leaning, size=3)) + list(rng.choice(filler, size=4))
        rng.shuffle(words)
        comments.append(f"{' '.join(words)} {rng.randint(1000)}")
    return comments
