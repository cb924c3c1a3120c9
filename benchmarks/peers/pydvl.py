"""pyDVL: influence functions of torch modules."""

import logging

import torch
from pydvl.influence import InfluenceMode
from pydvl.influence.torch import (
    ArnoldiInfluence,
    CgInfluence,
    DirectInfluence,
    EkfacInfluence,
    LissaInfluence,
    NystroemPreconditioner,
    NystroemSketchInfluence,
)
from pydvl.valuation import (
    Dataset,
    MinUpdates,
    ModelUtility,
    PermutationSampler,
    ShapleyValuation,
    SupervisedScorer,
)
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.models import unfitted
from benchmarks.peers.networks import added, loader, model_of
from benchmarks.peers.registry import Answering, contestant

logging.getLogger("pydvl").setLevel(logging.ERROR)

# Rows whose gradients are held at once: 10,000 of 100 parameters, 1,000 of 7,840.
BLOCK = 1 << 23
SCORES = ("binary", "softmax", "head", "cnn")
SMALL = ("binary", "softmax")
MNIST = ("mnist10k-1", "mnist10k-10", "mnist55k-1", "mnist55k-10")
# It squares both, and takes norms over the tests instead of the parameters: about 1e-8 so.
CG = {"rtol": 1e-4, "atol": 1e-4, "maxiter": 2_000, "warn_on_max_iteration": False}


def _model(method, options, hessian_rows=None):
    """A maker of all scores with one of pyDVL's methods.

    Parameters
    ----------
    hessian_rows : callable, default=None
        ``hessian_rows(problem)``: rows of a batch for the Hessian; all of them when None.
    """

    def make(problem):
        model, loss, (X, y, X_test, y_test) = model_of(problem)
        batch = hessian_rows(problem) if hessian_rows else None
        block = max(1, BLOCK // problem.theta.size)

        def call():
            keywords = options(problem) if callable(options) else dict(options)
            influence = method(model, loss, regularization=added(problem), **keywords)
            influence = influence.fit(loader(X, y, batch_size=batch))
            return _scores(influence, X, y, X_test, y_test, block)

        return Answering(call, read=_array)

    return make


def _scores(influence, X, y, X_test, y_test, block):
    # Its conjugate gradients leave out tests beyond the number of parameters.
    tests = min(influence.n_parameters, len(y_test))
    factors = [
        influence.influence_factors(*part)
        for part in zip(X_test.split(tests), y_test.split(tests), strict=True)
    ]
    factors = torch.cat(factors) if len(factors) > 1 else factors[0]
    parts = zip(X.split(block), y.split(block), strict=True)
    return torch.cat([influence.influences_from_factors(factors, *part) for part in parts], 1)


def _array(answer):
    return answer.detach().numpy()


def _cnn_rows(problem):
    """The dense Hessian of the CNN is 2,616 tangents of every activation: few pictures at once."""
    return {"cnn": 10, "head": 200}.get(_shape(problem))


def _shape(problem):
    if problem.kind == "cnn":
        return "cnn"
    return "head" if problem.theta.size > 5_000 else "small"


contestant("pydvl: direct", *SCORES, scale=-1.0)(_model(DirectInfluence, {}, _cnn_rows))
contestant("pydvl: CG", *MNIST, "enron", "head", "cnn", scale=-1.0)(_model(CgInfluence, CG))
contestant("pydvl: block CG", *MNIST[1::2], "enron", "head", "cnn", scale=-1.0)(
    _model(CgInfluence, {**CG, "solve_simultaneously": True})
)
contestant("pydvl: CG, Nystroem", *MNIST, scale=-1.0)(
    _model(CgInfluence, lambda _: {**CG, "preconditioner": NystroemPreconditioner(50)})
)
contestant("pydvl: Arnoldi", *SMALL, *MNIST[:2], "head", "cnn", exact=False, scale=-1.0)(
    _model(ArnoldiInfluence, {"rank": 50})
)
contestant("pydvl: Nystroem", *SMALL, *MNIST[:2], "head", "cnn", exact=False, scale=-1.0)(
    _model(NystroemSketchInfluence, {"rank": 50})
)


@contestant("pydvl: LiSSA", "mnist10k-1", exact=False, scale=-1.0)
def lissa(problem):
    """Scale 25 as in the paper; batches of 500, and as many steps as the default has."""
    model, loss, (X, y, X_test, y_test) = model_of(problem)
    block = max(1, BLOCK // problem.theta.size)

    def call():
        influence = LissaInfluence(
            model,
            loss,
            regularization=added(problem),
            scale=25.0,
            maxiter=1_000,
            warn_on_max_iteration=False,
        ).fit(DataLoader(TensorDataset(X, y), batch_size=500))
        return _scores(influence, X, y, X_test, y_test, block)

    return Answering(call, read=_array)


@contestant("pydvl: EK-FAC", "softmax", "mnist10k-1", "head", exact=False, scale=-1.0)
def ekfac(problem):
    model, _, (X, y, X_test, y_test) = model_of(problem)
    block = max(1, BLOCK // problem.theta.size)

    def call():
        # It makes its Kronecker factors in the default type.
        torch.set_default_dtype(torch.float64)
        influence = EkfacInfluence(
            model, update_diagonal=True, hessian_regularization=added(problem)
        ).fit(loader(X, y))
        return _scores(influence, X, y, X_test, y_test, block)

    return Answering(call, read=_array)


@contestant("pydvl: direct", "self-binary", "self-softmax")
def self_scores(problem):
    """It has no self-influence: the diagonals of blocks of 100 rows."""
    model, loss, (X, y, _, _) = model_of(problem)

    def call():
        influence = DirectInfluence(model, loss, regularization=added(problem)).fit(loader(X, y))
        factors = influence.influence_factors(X, y)
        parts = zip(factors.split(100), X.split(100), y.split(100), strict=True)
        return torch.cat([influence.influences_from_factors(*p).diagonal() for p in parts])

    return Answering(call, read=_array)


@contestant("pydvl: direct", "pert", "pert-wide", "pert-softmax", scale=-1.0)
def perturbations(problem):
    """The mixed derivatives of 100 rows at once."""
    model, loss, (X, y, X_test, y_test) = model_of(problem)

    def call():
        influence = DirectInfluence(model, loss, regularization=added(problem)).fit(loader(X, y))
        factors = influence.influence_factors(X_test, y_test)
        mode = InfluenceMode.Perturbation
        parts = zip(X.split(100), y.split(100), strict=True)
        blocks = [influence.influences_from_factors(factors, *p, mode=mode) for p in parts]
        return torch.cat(blocks, dim=1)

    return Answering(call, read=_array)


@contestant("pydvl: Shapley values, permutations", "values", exact=False, scale=0.5)
def values(problem):
    """A hundred orders without truncation. Its utility is the squared error, ours half of it."""
    train, test = (
        Dataset(X, y) for X, y in ((problem.X, problem.y), (problem.X_test, problem.y_test))
    )
    nothing = -float((problem.y_test**2).mean())

    def call():
        scorer = SupervisedScorer("neg_mean_squared_error", test, default=nothing)
        valuation = ShapleyValuation(
            ModelUtility(unfitted(problem), scorer),
            PermutationSampler(seed=0),
            MinUpdates(100),
            progress=False,
        )
        valuation.fit(train)
        return valuation.values().sort(key="index")

    return Answering(call, read=lambda found: found.values)
