"""Losses of decision values beside which a number of each row stands: the log of an exposure, say."""

import numpy as np

from skinfluence.losses.base import Loss


class WithOffset(Loss):
    """A loss of one decision value plus an offset: ``l(eta + o, y)``.

    Its targets are pairs: the target and the offset, which the row keeps whatever becomes of it. The
    derivatives in ``eta`` are those of the loss at ``eta + o``, and so is the constant of self-concordance.

    Parameters
    ----------
    inner : Loss
        Of one output.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.losses import Poisson
    >>> from skinfluence.losses.beside import WithOffset
    >>> eta, pairs = np.array([[0.5]]), np.array([[3.0, np.log(2.0)]])
    >>> WithOffset(Poisson()).gradient(eta, pairs).round(3)  # 2 exp(0.5) - 3
    array([[0.297]])
    """

    def __init__(self, inner):
        self.inner = inner
        self.self_concordance = inner.self_concordance
        self.coding, self.needs_positive = inner.coding, inner.needs_positive
        self.third = None if inner.third is None else self._third

    def check_y(self, y):
        return self.inner.check_y(y)

    def bare(self, y):
        return y[..., 0]

    def offset_of(self, y):
        return y[..., 1]

    def value(self, eta, y):
        return self.inner.value(eta + y[..., 1:], y[..., 0])

    def gradient(self, eta, y):
        return self.inner.gradient(eta + y[..., 1:], y[..., 0])

    def hessian(self, eta, y):
        return self.inner.hessian(eta + y[..., 1:], y[..., 0])

    def _third(self, eta, y):
        return self.inner.third(eta + y[..., 1:], y[..., 0])

    def beside(self, of, tests, eta):
        """The loss, the targets and the decision values of test points, their offsets among these.

        Parameters
        ----------
        of : str, scorer or callable
            What is asked.
        tests : Tests
        eta : ndarray of shape (n_test, 1)
            Without offsets.

        Raises
        ------
        ValueError
            Without offsets of the test points, unless decision values are asked, whose changes have none.
        """
        if tests.offset is not None:
            y = None if tests.y is None else self.bare(tests.y)
            return self.inner, y, eta + np.reshape(tests.offset, (-1, 1))
        if isinstance(of, str) and of == "decision_function":
            return self.inner, None, eta
        raise ValueError(NEEDS_OFFSET)

    def mean(self, eta):
        """The inverse link of decision values that have their offsets in them."""
        return self.inner.mean(eta)

    def predict_proba(self, eta):
        """Class probabilities at decision values that have their offsets in them."""
        return self.inner.predict_proba(eta)


NEEDS_OFFSET = (
    "Test points of a model with an offset must come with theirs. Got none. Pass offset=, one number for "
    "each, or 0.0 for none; of='decision_function' needs none."
)
