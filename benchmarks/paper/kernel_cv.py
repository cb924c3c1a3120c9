"""Debruyne et al. (2008), Liu et al. (2014): cross-validation of kernel machines without refits.

Both approximate leave-one-out by influence functions: the first by a series of higher derivatives,
the second by the Bouligand derivative for machines with a hinge. Published: the criterion so found
chooses nearly the same kernel as cross-validation, for a fraction of its time. Here both are exact:
kernel ridge by its own algebra, the support vector machine by the path of its solution. Beside them
the first-order leave-one-out that the papers start from, and refits of scikit-learn.

    python benchmarks/paper/kernel_cv.py [--quick]
"""

import time

import numpy as np
from experiment import Experiment, axes
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import scale
from sklearn.svm import SVC

from skinfluence import Influence

GAMMAS = 10.0 ** np.arange(-4, 1.1, 0.5)


def refits(model, X, y, rows, ask):
    """Of ``rows``, each by a fit without it: (n_rows,)."""
    out = []
    for i in rows:
        others = np.arange(len(y)) != i
        out.append(ask(clone(model).fit(X[others], y[others]), X[[i]])[0])
    return np.array(out)


def predicted(fitted, rows):
    return fitted.predict(rows)


def decided(fitted, rows):
    return fitted.decision_function(rows)


def first_order(inf, n):
    """NaN where no row is on the margin: the intercept is in an interval and has no derivative."""
    try:
        return inf.loo_decision_function(method="influence")
    except ValueError:
        return np.full(n, np.nan)


def squared(values, y):
    return np.mean((values - y) ** 2)


def hinge(values, y):
    return np.mean(np.maximum(0.0, 1.0 - np.where(y == 1, 1, -1) * values))


def main():
    experiment = Experiment(
        "kernel_cv", "Debruyne et al. (2008), Liu et al. (2014), kernel cross-validation", __doc__,
        rows=(300, 120), refits=(100, 40),
    )  # fmt: skip
    args = experiment.args
    rng = np.random.default_rng(0)
    figure, (axs,) = axes(2)
    cases = (
        ("kernel ridge", KernelRidge(alpha=0.1, kernel="rbf"), load_diabetes),
        ("SVC", SVC(C=1.0, tol=1e-10), load_breast_cancer),
    )
    for ax, (name, model, load) in zip(axs, cases, strict=True):
        X, y = load(return_X_y=True)
        some = rng.permutation(len(y))[: args.rows]
        X, y = scale(X)[some], y[some]
        y, ask, lost = (
            (scale(y), predicted, squared) if name == "kernel ridge" else (y, decided, hinge)
        )
        checked = np.sort(rng.permutation(len(y))[: args.refits])
        spent, worst = np.zeros(2), 0.0
        curves = np.empty((3, len(GAMMAS)))
        # Once before it is timed: what is compiled is compiled then.
        Influence(model.set_params(gamma=0.1).fit(X[:50], y[:50]), X[:50], y[:50]).loo_predict()
        for g, gamma in enumerate(GAMMAS):
            model.set_params(gamma=gamma)
            start = time.process_time()
            inf = Influence(model.fit(X, y), X, y)
            exact = inf.loo_decision_function()
            spent[0] += time.process_time() - start
            start = time.process_time()
            truth = refits(model, X, y, checked, ask)
            spent[1] += (time.process_time() - start) * len(y) / len(checked)
            first = first_order(inf, len(y))
            worst = max(worst, np.abs(exact[checked] - truth).max())
            curves[:, g] = lost(first, y), lost(exact, y), lost(truth, y[checked])
        best = GAMMAS[np.nanargmin(curves, axis=1)]
        none = int(np.isnan(curves[0]).sum())
        lacking = f" (of {none} of {len(GAMMAS)} kernels it does not exist)" if none else ""
        experiment.claim(
            f"{name}: gamma of least leave-one-out loss, first order and exact",
            "nearly that of cross-validation", f"{best[0]:.2g}{lacking}", f"{best[1]:.2g}",
            np.abs(np.log10(best[0] / best[1])) <= 0.5,
        )  # fmt: skip
        experiment.claim(
            f"{name}: largest difference to {len(checked)} refits, over {len(GAMMAS)} kernels", "",
            "", f"{worst:.0e}", worst < 1e-5,
        )  # fmt: skip
        experiment.claim(
            f"{name}: CPU time of {len(y)} refits over that of the exact answer", "a fraction", "",
            f"{spent[1] / spent[0]:.0f}×", spent[1] > spent[0],
        )  # fmt: skip
        ways = ("first order", "exact", f"refits, {len(checked)} rows")
        for curve, way in zip(curves, ways, strict=True):
            ax.semilogx(GAMMAS, curve, ":" if way == ways[2] else "-", label=way)
        ax.set(xlabel="gamma", ylabel="leave-one-out loss", title=name)
    axs[0].legend(frameon=False)
    experiment.save(figure)


if __name__ == "__main__":
    main()
