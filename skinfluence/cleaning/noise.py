"""How many labels are wrong, and which: noise that may depend on the class."""

from dataclasses import dataclass, replace

import numpy as np

from skinfluence.cleaning.likelihood import SMALLEST
from skinfluence.cleaning.shapes import Likelihood, Shape, surprise

# Shapes are told apart by this many rows as well as by more; a fixed sample of them.
ROWS_FOR_SHAPES = 6000
# In doubt about a shape, this share of any other error is thought possible beside it.
LEAK = 0.03
# So that rows that a shape calls right are still in an order.
LEAST_DOUBT = 1e-6
# Kinds of errors of which the largest share that cannot be excluded is worked out.
CLOSER = 3
# A kind of error that makes up this much of all errors is called by its name.
MAINLY = 2 / 3
# Classes of which at least this much of the worst one's share is wrong are hit like it.
ALIKE = 0.5


@dataclass(frozen=True, eq=False)
class Noise:
    """An estimate of the errors in labels.

    Attributes
    ----------
    share : float
        Share of the labels that are wrong; 0 where no errors are claimed.
    matrix : ndarray of shape (n_classes, n_classes)
        P(given | true), rows true; the identity where no errors are claimed.
    claimed : bool
        Whether errors are claimed at all.
    notes : tuple of str
        What was found, or why no errors are claimed.
    shapes : tuple of Shape
        Labels that are all right, then the shapes of errors that were fitted.
    weights : ndarray of shape (n_shapes,)
        How well each explains the labels, summing to one.
    suspect : tuple or None
        What the user said about the errors.
    told : bool
        Whether the labels can be judged at all: not by a model that knows no more than the class shares.
    misfit : float
        How far the model is wrong about rows, a probability.
    doubt : float
        Chance that a row is one of which the model knows nothing, however sure it is.
    mass : ndarray of shape (n_classes,) or 0.0
        How large the classes are: what is known of such a row.
    """

    share: float
    matrix: np.ndarray
    claimed: bool
    notes: tuple
    shapes: tuple
    weights: np.ndarray
    suspect: tuple | None = None
    told: bool = True
    misfit: float = 0.0
    doubt: float = 0.0
    mass: np.ndarray | float = 0.0

    def right(self, proba):
        """Estimated chances of the true labels, before the given ones are seen."""
        logs = _logs(proba)
        parts = zip(self.weights, self.shapes, strict=True)
        return sum(weight * np.exp(shape.log_right(logs)) for weight, shape in parts)

    def posterior(self, proba, codes):
        """Chance of each class to be the right one, given the label."""
        logs = _logs(proba)
        out = np.zeros_like(logs)
        out[np.arange(len(codes)), codes] = self.weights[0]
        for weight, shape in zip(self.weights[1:], self.shapes[1:], strict=True):
            out += weight * shape.posterior(logs, codes, self.doubt, self.mass)
        return out

    def log_odds(self, proba, codes):
        """Log odds that the label is wrong, averaged over the shapes: what ranks the rows."""
        logs, k = _logs(proba), len(self.matrix)
        out = np.zeros(len(codes))
        # Labels that are all right have no order: their weight goes to the plainest errors.
        shapes, weights = self.shapes[1:] or self.shapes, self.weights[1:].copy()
        if not len(weights):
            weights = np.zeros(1)
        leaks = LEAK * np.maximum(1.0 - weights, LEAST_DOUBT)
        weights[0] += self.weights[0]
        for weight, shape, leak in zip(weights, shapes, leaks, strict=True):
            if weight > 0:
                out += weight * shape.log_odds(logs, codes, _leak(k, self.suspect, leak))
        return out


def estimate_noise(proba, codes, classes=None, suspect=None, misfit=0.0):
    """Split the disagreement of labels with leave-one-out probabilities into errors and overlap.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
        Leave-one-out probabilities.
    codes : ndarray of int, shape (n_samples,)
        Positions of the labels in the columns of `proba`.
    classes : sequence of n_classes names, default=None
        For the notes. Positions by default.
    suspect : {("true", int), ("given", int)}, default=None
        Only members of this class were mislabelled, or only labels of this class are wrong.
    misfit : float, default=0.0
        How far the model is wrong about rows, see :func:`~skinfluence.cleaning.surroundings.misfit`.

    Returns
    -------
    noise : Noise
        The estimate.

    Notes
    -----
    True labels follow ``q = softmax(a log p + b)``: the probabilities ``p`` sharpened, because errors
    in the labels blunt them, and shifted, because one-sided errors shift them. A label of class k is
    given as j with chance ``T[k, j]``, so that ``P(given j | x) = sum_k q_k T[k, j]``: errors show as a
    ceiling that the curve of given labels does not pass however sure the model is; overlap does not.

    ``T`` is one of several shapes: no errors; even ones; every class with its own share; only one of
    two classes; for more classes sets of even errors, classes and single pairs, built one kind at a time
    while it earns its price. Each shape is fitted by maximum likelihood with
    ``-(log a - 0.2)^2 / 2 - |b|^2 / 2`` and weighs ``exp(l - log(n) / 2 #shares - s)``, where ``s`` is what
    naming the kinds of a set costs (:func:`~skinfluence.cleaning.shapes.surprise`): one class or one pair
    among many is a surprise. A shape in which a class is given more often as another one than as itself is
    left out: classes could swap their names.

    The chance of an error is the average of Bayes' rule over the shapes by weight. The ranking averages
    the log odds instead, so that a doubtful shape cannot shout down the rest; each shape leaks a little
    into all other errors, the more the more doubtful it is, and without errors the order is that of
    even ones, which is the order of the loss.

    Errors and right labels in places where the model is sure and wrong look alike: no likelihood tells them
    apart. The chances of errors allow for such rows, in the share ``doubt``: the misfit times the overlap of
    the classes, the mean chance that a row is not of its likeliest class. The share and the ranking do not.
    """
    n, k = proba.shape
    identity, certain = np.eye(k), np.ones(1)
    classes = np.arange(k) if classes is None else classes
    rows = np.arange(n)
    if n > ROWS_FOR_SHAPES:
        rows = np.sort(np.random.RandomState(0).permutation(n)[:ROWS_FOR_SHAPES])
    likelihood = Likelihood(np.maximum(_logs(proba)[rows], np.log(SMALLEST)), codes[rows])
    none = likelihood.fit(()) if n and k > 1 else Shape.trivial(k)
    if n == 0 or k < 2:
        return Noise(0.0, identity, False, (), (none,), certain, suspect, told=False)
    blind = _note_on_blindness(likelihood, none, proba, codes)
    if blind is not None:
        return Noise(0.0, identity, False, (blind,), (none,), certain, suspect, told=False)
    shapes, evidence = _shapes(likelihood, none, suspect)
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    noise = Noise(0.0, identity, False, (), tuple(shapes), weights, suspect)
    wrong, right = 1.0 - noise.posterior(proba, codes)[np.arange(n), codes], noise.right(proba)
    mass = right.mean(axis=0)
    doubt = misfit * float(1.0 - right.max(axis=1).mean())
    noise = replace(noise, misfit=misfit, doubt=doubt, mass=mass)
    if weights[0] >= 0.5 or wrong.sum() < 1.0:
        note = _note_on_no_errors(likelihood, shapes, classes, suspect)
        return replace(noise, notes=(note,))
    share = float(wrong.mean())
    matrix = sum(weight * shape.T for weight, shape in zip(weights, shapes, strict=True))
    note = _note_on_errors(share, matrix, mass, classes)
    return replace(noise, share=share, matrix=matrix, claimed=True, notes=(note,))


def _shapes(likelihood, none, suspect):
    """The shapes, "none" first and the plainest errors second, and the log of their weights."""
    k, price = likelihood.k, 0.5 * np.log(likelihood.n)
    shapes, evidence = [none], [none.value]
    if suspect is not None:
        names = [[suspect]]
        if k > 2:
            kind, c = suspect
            others = [i for i in range(k) if i != c]
            names.append([("cell", c, i) if kind == "true" else ("cell", i, c) for i in others])
    else:
        names = [[("even",)], [("true", i) for i in range(k)]]
        if k == 2:
            names += [[("true", 0)], [("true", 1)]]
    for kinds in names:
        shape = likelihood.fit(kinds)
        shapes.append(shape)
        evidence.append(shape.value - price * len(kinds))
    if k > 2 and suspect is None:
        for shape in likelihood.searched(none, price):
            if shape.names != (("even",),):
                shapes.append(shape)
                cost = price * len(shape.names) + surprise(shape.names, k)
                evidence.append(shape.value - cost)
    stays = [not shape.swaps for shape in shapes]
    shapes = [shape for shape, stay in zip(shapes, stays, strict=True) if stay]
    return shapes, np.array(evidence)[stays]


def _logs(proba):
    return np.log(np.maximum(proba, np.finfo(float).tiny))


def _leak(k, suspect, share):
    """Errors thought possible beside a shape; with a suspect, only such as it names."""
    leak = np.full((k, k), share / (k - 1))
    np.fill_diagonal(leak, 0.0)
    if suspect is not None:
        kind, c = suspect
        keeps = np.zeros((k, k), dtype=bool)
        keeps[(c, slice(None)) if kind == "true" else (slice(None), c)] = True
        leak[~keeps] = 0.0
    return leak


def _note_on_blindness(likelihood, none, proba, codes):
    """Why nothing can be said: the model knows no more than the class shares; None if it does."""
    k = likelihood.k
    prior = np.bincount(codes, minlength=k) / len(codes)
    log_prior = np.log(np.maximum(prior, 0.5 / len(codes)))
    rows = np.arange(likelihood.n)
    tempered = none.log_right(likelihood.logs)[rows, likelihood.codes]
    gain = tempered - log_prior[likelihood.codes]
    if gain.mean() > 2.0 * gain.std() / np.sqrt(likelihood.n) + 1e-9:
        return None
    loss = -np.log(np.maximum(proba[np.arange(len(codes)), codes], SMALLEST)).mean()
    return (
        "The model predicts these labels no better than the class shares alone do, as far as so many rows "
        f"tell (leave-one-out log loss {loss:.3g}, of the shares {-log_prior[codes].mean():.3g}), so "
        "nothing can be said about wrong labels and no change is suggested. Columns that matter would tell, "
        "or more rows."
    )


def _note_on_no_errors(likelihood, shapes, classes, suspect):
    """That no errors are claimed, how many there may be nevertheless, and what would tell."""
    k = likelihood.k
    kinds = [suspect] if suspect else [("even",), *(("true", i) for i in range(k))]
    known = {shape.names: shape for shape in shapes}
    most, where = 0.0, ""
    if len(kinds) > CLOSER:
        # Followed with all else free: those that go farthest with all else held.
        mass = np.exp(shapes[0].log_right(likelihood.logs)).mean(axis=0)
        sizes = [
            mass @ _leak(k, kind if len(kind) == 2 else None, 1.0).sum(axis=1) for kind in kinds
        ]
        order = np.argsort(-np.array(sizes) * likelihood.reach(shapes[0], kinds), kind="stable")
        kinds = [kinds[at] for at in order[:CLOSER]]
    for kind in kinds:
        shape = known.get((kind,)) or likelihood.fit([kind])
        share = likelihood.largest(shape)
        right = np.exp(shape.log_right(likelihood.logs)).mean(axis=0)
        errors = float(right @ _leak(k, kind if len(kind) == 2 else None, 1.0).sum(axis=1)) * share
        if errors >= most:
            most, where = errors, _kind_in_words(kind, classes)
    told = (
        ""
        if suspect
        else "; if you know which class was mislabelled, say so with audit(..., suspect=) or --suspect"
    )
    return (
        "No errors are claimed: classes that overlap explain these labels as well. Up to "
        f"{_percent(most)} of the labels may be wrong nevertheless{where}, not counting errors that follow "
        f"the columns, as those of automatic labels do. More rows or better columns would tell{told}. The "
        "ranking shows the most surprising rows; audit(..., score='margin') or --score margin is another "
        "order to look at, and the better one where labels were made by rules on the columns themselves."
    )


def _kind_in_words(kind, classes):
    if kind[0] == "even":
        return ", evenly"
    name = repr(str(classes[kind[1]]))
    if kind[0] == "true":
        return f", if it is members of {name} that were mislabelled"
    return f", if it is labels {name} that are wrong"


def _note_on_errors(share, matrix, right, classes):
    """What was found, as a lower bound."""
    flows = right[:, None] * matrix
    np.fill_diagonal(flows, 0.0)
    total = max(flows.sum(), SMALLEST)
    k = len(flows)
    true, given = np.unravel_index(flows.argmax(), flows.shape)
    names = [repr(str(label)) for label in classes]
    rates = 1.0 - np.diag(matrix)
    if rates.min() >= ALIKE * rates.max():
        how = "all classes alike" if k > 2 else "both classes alike"
    elif flows[true, given] >= MAINLY * total:
        how = f"mainly {names[true]} given as {names[given]}"
    elif flows.sum(axis=1).max() >= MAINLY * total:
        how = f"mainly members of {names[flows.sum(axis=1).argmax()]}"
    elif flows.sum(axis=0).max() >= MAINLY * total:
        how = f"mainly those that say {names[flows.sum(axis=0).argmax()]}"
    else:
        how = "some classes more than others"
    return (
        f"At least about {_percent(share)} of the labels look wrong, {how}. Errors that follow the "
        "columns, as those of automatic labels do, the model learns: they are not counted."
    )


def _percent(share):
    return f"{100 * share:.{1 if share < 0.1 else 0}f} %"
