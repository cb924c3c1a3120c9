"""captum: influence functions by the eigenvectors of an explicit Hessian, or Arnoldi's."""

import torch

# Not exported by captum.influence, and documented in their own modules only.
from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction
from captum.influence._core.influence_function import NaiveInfluenceFunction
from torch import nn

from benchmarks.peers.networks import loader, model_of
from benchmarks.peers.registry import Answering, contestant

SMALL = ("binary", "softmax")


def _summed(problem):
    """Its losses must say that they sum over a batch, which makes its gradients batched."""
    if problem.kind == "binary":
        return nn.BCEWithLogitsLoss(reduction="sum")
    return nn.CrossEntropyLoss(reduction="sum")


def _influence(problem, question, method, **options):
    model, _, (X, y, X_test, y_test) = model_of(problem)
    loss = _summed(problem)
    # The Hessian of a sum: the penalty of the sum.
    options = {"hessian_reg": problem.l2, "sample_wise_grads_per_batch": True, **options}

    def call():
        influence = method(
            model,
            loader(X, y),
            checkpoint="",
            checkpoints_load_func=lambda module, path: 1.0,
            loss_fn=loss,
            batch_size=None,
            **options,
        )
        return question(influence, (X, y), (X_test, y_test))

    return Answering(call, read=lambda answer: answer.detach().numpy())


def _scores(influence, rows, tests):
    return influence.influence(tests)


def _self_scores(influence, rows, tests):
    return influence.self_influence(loader(*rows))


def _rows(problem):
    return len(problem.y)


def _exact(problem, question):
    options = {"projection_dim": problem.theta.size, "hessian_inverse_tol": 0.0}
    return _influence(problem, question, NaiveInfluenceFunction, **options)


@contestant("captum: naive", *SMALL, "cnn", "head", scale=lambda problem: -len(problem.y))
def scores(problem):
    return _exact(problem, _scores)


@contestant("captum: naive", "self-binary", "self-softmax", scale=_rows)
def self_scores(problem):
    return _exact(problem, _self_scores)


@contestant(
    "captum: Arnoldi",
    *SMALL,
    "mnist10k-1",
    "head",
    "cnn",
    exact=False,
    scale=lambda problem: -len(problem.y),
)
def arnoldi(problem):
    torch.set_default_dtype(torch.float64)
    return _influence(problem, _scores, ArnoldiInfluenceFunction)
