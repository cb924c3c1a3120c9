"""Checks of finite effects: against refits, and against their own certificates."""

import warnings

import numpy as np

from skinfluence import edits
from skinfluence.curvature import Curvature
from skinfluence.edits.points import edited
from skinfluence.leave_one_out import loo_eta
from skinfluence.utils.estimator_checks.failing import agreement, relative_error, require, skip
from skinfluence.utils.estimator_checks.subject import with_rows

TRUTH = (
    "If first order and one step agree with refits of slightly smaller weights, look at natural_hold; "
    "otherwise at the objective."
)
# Pearson, Spearman and slope (off one) at most this far off, relative L2 error at most this large.
ROUND_OFF = 1e-9
EXACT = (1e-6, 1e-3, 1e-6, 1e-6)
CERTIFIED = (1e-4, 1e-2, 1e-2, 1e-2)
FIRST_ORDER = (5e-3, 2e-2, 5e-2, 5e-2)


def _require_agreement(what, found, expected, limits, remedy):
    got = agreement(found, expected)
    require(_is_close(got, limits), f"{what} must agree with refits.", str(got), remedy)


def _is_close(got, limits):
    if got.relative_l2 <= ROUND_OFF:
        # Equal effects have no order.
        return True
    pearson, spearman, slope, l2 = limits
    close = got.pearson >= 1 - pearson and got.spearman >= 1 - spearman
    return close and abs(got.slope - 1) <= slope and got.relative_l2 <= l2


def _removal_effect(subject, method, of="loss"):
    sample = subject.sample
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return subject.influence.removal_effect(
            sample.X_test, sample.y_test, of=of, method=method, indices=subject.removable
        )


def check_removal_effects(subject):
    """Certified and exact removals equal refits without the row."""
    for of in ("loss", "decision_function"):
        expected = subject.change(subject.removals, of)
        for method, limits in (("exact", EXACT), ("auto", CERTIFIED)):
            found = _removal_effect(subject, method, of)
            what = f"removal_effect(of={of!r}, method={method!r})"
            _require_agreement(what, found, expected, limits, TRUTH)


def check_local_methods(subject):
    """First order and one step are right for small edits: a little less weight of each row."""
    subject.need_derivatives()
    if not subject.takes_weights:
        skip("The estimator's fit takes no sample_weight.")
    for method in ("influence", "one-step"):
        # Less and less: a loss that curves sharply is linear only over little.
        for share in (1e-2, 1e-4):
            got = agreement(*_small_effects(subject, method, share))
            if _is_close(got, FIRST_ORDER):
                break
        require(
            _is_close(got, FIRST_ORDER),
            f"effect(reweight, method={method!r}) must agree with refits for small changes.",
            f"{got} for {share:.0e} less weight",
            "Look at the derivatives first, then at natural_hold.",
        )


def _small_effects(subject, method, share):
    """Effects of taking a share of its weight from each row, and those of refits."""
    sample, rows = subject.sample, subject.removable[::2]
    less = (1.0 - share) * subject.weight[rows]
    changes, etas = [], []
    for row, weight in zip(rows, less, strict=True):
        changes.append(edits.reweight(row, weight))
        etas.append(subject.after(weight=with_rows(subject.weight, row, weight)).eta)
    found = subject.influence.effect(changes, sample.X_test, sample.y_test, method=method)
    return found.values, subject.change(etas)


def check_every_edit(subject):
    """Groups, other weights, labels and features, and new rows equal refits."""
    sample = subject.sample
    for name, edit, refit in _edits_of(subject):
        expected = subject.change(refit().eta[None], "decision_function")[:, 0]
        found = subject.influence.effect(
            edit, sample.X_test, of="decision_function", method="exact"
        )
        error = relative_error(found.values, expected)
        require(
            error < 1e-6,
            f"effect({name}) must equal a refit on the edited data.",
            f"a relative error of {error:.1e}",
            TRUTH,
        )


def _edits_of(subject):
    """Name, edit, and the refit on the data after it."""
    X, y, w, n = subject.X, subject.y, subject.weight, len(subject.y)
    a, b, c = subject.removable[[1, len(subject.removable) // 2, -2]]
    x, target = X[[a, b]].mean(axis=0), _other_target(subject, b)
    yield "remove two rows", edits.remove([a, b]), lambda: subject.without([a, b])
    yield (
        "relabel",
        edits.relabel(b, target),
        lambda: subject.after(y=with_rows(y, b, target)),
    )
    yield "replace", edits.replace(c, x), lambda: subject.after(with_rows(X, c, x))
    weight = 1.5 if subject.takes_weights else 1.0
    yield (
        "add",
        edits.add(x, target, weight),
        lambda: subject.after(np.vstack([X, x]), np.append(y, target), np.append(w, weight)),
    )
    if subject.takes_weights:
        yield (
            "reweight",
            edits.reweight([a, c], [0.3, 2.5]),
            lambda: subject.after(weight=with_rows(w, [a, c], [0.3, 2.5])),
        )

    def all_at_once():
        keep = np.setdiff1d(np.arange(n), a)
        changed = with_rows(y, b, target)
        return subject.after(
            np.vstack([X[keep], x]), np.append(changed[keep], target), np.append(w[keep], weight)
        )

    edit = edits.remove(a) + edits.relabel(b, target) + edits.add(x, target, weight)
    yield "remove + relabel + add", edit, all_at_once


def _other_target(subject, row):
    """Another target than that of a row, from the same data."""
    return subject.y[np.flatnonzero(subject.y != subject.y[row])[0]]


def check_groups(subject):
    """Columns in np.unique order, each group removed together."""
    sample = subject.sample
    groups = np.array(["z", "a", "m"])[np.arange(len(subject.y)) % 3]
    found = subject.influence.removal_effect(
        sample.X_test, sample.y_test, groups=groups, method="exact"
    )
    names = np.unique(groups)
    etas = [subject.without(np.flatnonzero(groups == name)).eta for name in names]
    _require_agreement("removal_effect(groups=...)", found, subject.change(etas), EXACT, TRUTH)


def check_leave_one_out(subject):
    """Each row's own decision values are those of the refit without it."""
    rows = subject.removable[::3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = loo_eta(subject.influence, "exact")[rows]
    error = relative_error(found, np.stack([_at_row(subject, row) for row in rows]))
    require(
        error < 1e-6,
        "Leave-one-out outputs must be those of the refit without the row.",
        f"a relative error of {error:.1e} in decision values",
        TRUTH,
    )


def _at_row(subject, row):
    keep = np.setdiff1d(np.arange(len(subject.y)), row)
    X, y, weight = subject.X[keep], subject.y[keep], subject.weight[keep]
    return subject.after(X, y, weight, at=subject.X[[row]]).eta[0]


def check_certificates(subject):
    """No answer is further from its refit than its own bound says."""
    subject.need_objective()
    sample, rows = subject.sample, subject.removable
    if not _has_constant(subject.problem):
        skip("The loss declares no self-concordance constant, and so no bound.")
    changes = [edits.remove(row) for row in rows]
    # So much tolerance that single steps are accepted with bounds that say something.
    found = subject.influence.effect(
        changes, sample.X_test, of="decision_function", method="auto", tol=0.9
    )
    expected = subject.change(subject.removals, "decision_function")
    tests = subject.influence.data.tests(sample.X_test, None).design.dense_rows()
    worst = 0.0
    for i, change in enumerate(changes):
        points = subject.influence.data.resolve(change)
        reach = _reach(edited(subject.problem, points), tests)
        error = np.abs(found.values[:, i] - expected[:, i]).reshape(len(tests), -1).max(axis=1)
        # Rounding of the refit itself.
        slack = 1e-9 * np.abs(expected[:, i]).max()
        worst = max(worst, float((error / (found.bound[i] * reach + slack)).max()))
    require(
        worst <= 1.0,
        "The error of a decision value must be at most |x_t| in the inverse of the edited Hessian "
        "times the bound.",
        f"an error {worst:.2f} times as large",
        "If removals do not equal refits, correct that first. Otherwise raise self_concordance of the "
        "loss: the smallest M with |l'''| <= M l'', or None if there is none.",
    )


def _has_constant(problem):
    return problem.loss.self_concordance is not None


def _reach(objective, rows):
    """Largest decision value at each row of a parameter vector of unit size in the Hessian."""
    k, d = objective.theta.shape
    inverse = np.linalg.inv(Curvature(objective).dense()).reshape(k, d, k, d)
    h = np.einsum("ta,kalb,tb->tkl", rows, inverse, rows)
    outputs = objective.loss.expand(np.eye(k))
    seen = np.einsum("kp,tkl,lp->tp", outputs, h, outputs)
    return np.sqrt(seen.max(axis=1))
