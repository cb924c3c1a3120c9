"""dattri: influence functions by explicit Hessians, conjugate gradients, LiSSA, Arnoldi, EK-FAC."""

import os

import torch
from dattri.algorithm.influence_function import (
    IFAttributorArnoldi,
    IFAttributorCG,
    IFAttributorDataInf,
    IFAttributorExplicit,
    IFAttributorLiSSA,
)
from dattri.task import AttributionTask
from torch import nn

from benchmarks.peers.networks import added, loader, model_of
from benchmarks.peers.registry import Answering, contestant

SMALL = ("binary", "softmax")
MNIST = ("mnist10k-1", "mnist10k-10", "mnist55k-1", "mnist55k-10")

# It shows bars without asking.
os.environ["TQDM_DISABLE"] = "1"


def _task(problem):
    model, _, tensors = model_of(problem)
    loss = nn.BCEWithLogitsLoss() if problem.kind == "binary" else nn.CrossEntropyLoss()

    def mean_loss(parameters, data):
        X, y = data
        return loss(torch.func.functional_call(model, parameters, X), y)

    weights = {name: value.detach() for name, value in model.state_dict().items()}
    return AttributionTask(loss_func=mean_loss, model=model, checkpoints=weights), tensors


def _attributor(method, options, question="attribute"):
    def make(problem):
        # It makes its tables in the default type.
        torch.set_default_dtype(torch.float64)
        task, (X, y, X_test, y_test) = _task(problem)

        def call():
            keywords = options(problem) if callable(options) else options
            attributor = method(task, **keywords)
            rows = loader(X, y)
            attributor.cache(rows)
            if question == "self_attribute":
                return attributor.self_attribute(rows)
            return attributor.attribute(rows, loader(X_test, y_test))

        read = (lambda out: out) if question == "self_attribute" else (lambda out: out.T)
        return Answering(call, read=lambda out: read(out).detach().numpy())

    return make


def _explicit(problem):
    return {"regularization": added(problem)}


def _iterated(problem):
    """It cannot stop by the residual; what pyDVL's conjugate gradients need is enough."""
    iterations = {"binary": 60, "softmax": 200, "cnn": 300}[problem.kind]
    return {"regularization": added(problem), "max_iter": iterations}


contestant("dattri: explicit", *SMALL, "head", "cnn", scale=-1.0)(
    _attributor(IFAttributorExplicit, _explicit)
)
contestant("dattri: explicit", "self-binary", "self-softmax")(
    _attributor(IFAttributorExplicit, _explicit, "self_attribute")
)
contestant("dattri: CG", *MNIST, "enron", "head", "cnn", scale=-1.0)(
    _attributor(IFAttributorCG, _iterated)
)
contestant("dattri: Arnoldi", *SMALL, "mnist10k-1", "cnn", exact=False, scale=-1.0)(
    _attributor(
        IFAttributorArnoldi,
        lambda problem: {"regularization": added(problem), "proj_dim": 50, "max_iter": 50},
    )
)
contestant("dattri: DataInf", *SMALL, "mnist10k-1", exact=False, scale=-1.0)(
    _attributor(IFAttributorDataInf, _explicit)
)
contestant("dattri: LiSSA", "mnist10k-1", exact=False, scale=-1.0)(
    _attributor(
        IFAttributorLiSSA,
        lambda problem: {"batch_size": 1, "num_repeat": 1, "recursion_depth": 5_000, "scaling": 25},
    )
)
