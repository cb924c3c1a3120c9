"""The public checks of influence, on our support vector machines."""

import skinfluence.svm as ours
from skinfluence.utils.estimator_checks import parametrize_with_influence_checks
from tests.fewer import samples_in_turn


@samples_in_turn(
    parametrize_with_influence_checks(
        [
            ours.LinearSVC(loss="smooth_hinge", temperature=0.3, class_weight="balanced"),
            ours.LinearSVC(loss="hinge", intercept_scaling=2.0),
            ours.SVC(kernel="linear", class_weight="balanced", decision_function_shape="ovo"),
        ]
    )
)
def test_the_contract_holds(estimator, check):
    check(estimator)
