"""randalo: approximate leave-one-out by Jacobian products, randomised or exact."""

import warnings

import torch
from randalo import RandALO

from benchmarks.peers.models import fitted
from benchmarks.peers.registry import Answering, contestant


def _alo(problem):
    model = fitted(problem)
    if problem.kind == "binary":
        # It asks for the old parameter.
        model.penalty = "l2"
    return RandALO.from_sklearn(model, problem.X, problem.y)


def _own(problem):
    """Decision values as outputs of each row: of its own label for classes."""
    if problem.kind == "ridge":
        return lambda outputs: outputs
    signs = torch.from_numpy(2.0 * problem.y - 1.0)
    return lambda outputs: torch.sigmoid(signs * outputs)


@contestant("randalo: ALO", "loo-ridge", "loo-binary", exact=False)
def deterministic(problem):
    own = _own(problem)

    def call():
        return _alo(problem).evaluate_alo(lambda y, outputs: outputs)

    return Answering(call, read=lambda outputs: own(outputs).numpy())


@contestant("randalo: RandALO (mean loss only)", "loo-ridge", "loo-binary", exact=False)
def randomised(problem):
    def loss(y, outputs):
        if problem.kind == "ridge":
            return 0.5 * ((y - outputs) ** 2).mean()
        return torch.nn.functional.softplus(-y * outputs).mean()

    def call():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _alo(problem).evaluate(loss)

    return Answering(call, read=lambda value: None)
