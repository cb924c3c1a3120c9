"""MAPIE: prediction intervals by refits without each row."""

from mapie.regression import CrossConformalRegressor

from benchmarks.peers.models import unfitted
from benchmarks.peers.registry import Answering, contestant


@contestant("mapie: jackknife+", "intervals")
def intervals(problem):
    def call():
        model = CrossConformalRegressor(
            unfitted(problem), confidence_level=problem.coverage, method="plus", cv=-1
        )
        model.fit_conformalize(problem.X, problem.y)
        return model.predict_interval(problem.X_test)[1][:, :, 0]

    return Answering(call)
