"""pyinfluence: closed-form influence functions of scikit-learn models, binary only."""

from pyinfluence import InfluenceFunctions, self_influence

from benchmarks.peers.models import fitted
from benchmarks.peers.registry import Answering, contestant


def _size(problem):
    return len(problem.y)


# Its scores are of a removal, positive where the row helps: ours over -n.
@contestant("pyinfluence", "binary", scale=lambda problem: -len(problem.y))
def scores(problem):
    model = fitted(problem)

    def call():
        attributor = InfluenceFunctions(mode="loss", damping=0.0).fit(model, problem.X, problem.y)
        return attributor.explain(problem.X_test, problem.y_test)

    return Answering(call)


@contestant("pyinfluence", "self-binary", scale=_size)
def self_scores(problem):
    model = fitted(problem)

    def call():
        attributor = InfluenceFunctions(mode="loss", damping=0.0).fit(model, problem.X, problem.y)
        return self_influence(attributor)

    return Answering(call)
