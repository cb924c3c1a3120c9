"""What a type checker must accept and refuse of the public edge; never run, checked by mypy.

An ignored error that is no error is one (``warn_unused_ignores``), so that the refusals hold too.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from skinfluence import Influence, edits
from skinfluence.cleaning import Audit, audit
from skinfluence.edits import Edit
from skinfluence.model_selection import leave_one_group_out, loo_predict, loo_score
from skinfluence.quantity import Effect
from skinfluence.solvers import CG, Exact, LiSSA


def what_is_right(model: Any, X: NDArray[np.float64], y: list[str]) -> None:
    inf = Influence(model, X, y, solver=CG(rtol=1e-8), hold="lambda", precision="mixed")
    assert_type(inf.removal_effect(X, y, method="exact", indices=[0, 1]), NDArray[np.float64])
    assert_type(inf.removal_effect(X, of=lambda eta: eta[:, 0]), NDArray[np.float64])
    change = edits.remove(3) + edits.add([0.5, 1.0], "spam") + edits.relabel(labels="a", y="ham")
    assert_type(change, Edit)
    assert_type(inf.effect(change, X, y), Effect)
    assert_type(inf.effect([change, edits.reweight([1, 2], 0.5)], X, y), Effect)
    assert_type(inf.loo_score(scoring="accuracy"), float)
    assert_type(loo_predict(model, X, y), NDArray[Any])
    assert_type(loo_score(model, X, y, frozen="accept"), float)
    leave_one_group_out(model, X, y, groups=y, response_method="predict_proba")
    assert_type(audit(model, X, y, influence=inf), Audit)
    audit(model, X, y).to_html("report.html")


def what_is_wrong(model: Any, X: NDArray[np.float64], y: list[str]) -> None:
    inf = Influence(model, X, y, hold="c")  # type: ignore[arg-type]
    Influence(model, X, y, solver="cholesky")  # type: ignore[arg-type]
    inf.removal_effect(X, y, method="exactly")  # type: ignore[arg-type]
    inf.removal_effect(X, y, of=3)  # type: ignore[arg-type]
    inf.influence_up_loss(X, y, aggregate="sum")  # type: ignore[arg-type]
    inf.effect(3, X, y)  # type: ignore[arg-type]
    edits.remove(3) + 4  # type: ignore[operator]
    loo_predict(model, X, y, response_method="transform")  # type: ignore[arg-type]
    audit(model, X, y, method="influence")  # type: ignore[arg-type]
    Exact("triangular")  # type: ignore[arg-type]
    CG(preconditioner="jacobi")  # type: ignore[arg-type]
    LiSSA(depth="deep")  # type: ignore[arg-type]
