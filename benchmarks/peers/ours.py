"""skinfluence, as a user calls it: ``Influence(model, X, y)`` and one question."""

import numpy as np

from benchmarks.peers.models import fitted, unfitted
from benchmarks.peers.registry import Answering, contestant
from skinfluence import Influence
from skinfluence.conformal import JackknifePlusRegressor
from skinfluence.solvers import CG, LiSSA
from skinfluence.values import shapley

SCORES = ("binary", "softmax", "enron", "head")
MNIST = ("mnist10k-1", "mnist10k-10", "mnist55k-1", "mnist55k-10")


def _asked(question, **options):
    """A maker for ``question(influence, problem)`` of a newly made Influence."""

    def make(problem):
        model = fitted(problem)

        def call():
            return question(Influence(model, problem.X, problem.y, **options), problem)

        return Answering(call)

    return make


def _scores(inf, problem):
    return inf.influence_up_loss(problem.X_test, problem.y_test)


contestant("ours", *SCORES)(_asked(_scores))
contestant("ours", "self-binary", "self-softmax")(_asked(lambda inf, _: inf.self_influence()))
contestant("ours", "pert", "pert-wide", "pert-softmax")(
    _asked(lambda inf, problem: inf.influence_pert(problem.X_test, problem.y_test))
)


@contestant("ours: CG", *MNIST, "head")
def conjugate_gradients(problem):
    return _asked(_scores, solver=CG())(problem)


@contestant("ours: CG, rtol=1e-7", *MNIST, "head")
def equal_conjugate_gradients(problem):
    """As accurate as the other packages' conjugate gradients."""
    return _asked(_scores, solver=CG(rtol=1e-7))(problem)


@contestant("ours: CG, rtol=1e-7, mixed", "head")
def mixed_conjugate_gradients(problem):
    return _asked(_scores, solver=CG(rtol=1e-7, precision="mixed"))(problem)


@contestant("ours: CG, rtol=1e-4", *MNIST, exact=False)
def rough_conjugate_gradients(problem):
    return _asked(_scores, solver=CG(rtol=1e-4))(problem)


@contestant("ours: LiSSA", "mnist10k-1", "mnist55k-1", exact=False)
def lissa(problem):
    return _asked(_scores, solver=LiSSA(random_state=0))(problem)


@contestant("ours: LiSSA, the paper's settings", "mnist10k-1", "mnist55k-1", exact=False)
def paper_lissa(problem):
    solver = LiSSA(scale=25, depth=5_000, repeats=10, random_state=0)
    return _asked(_scores, solver=solver)(problem)


def _left_out(method, **options):
    def question(inf, problem):
        if problem.kind == "ridge":
            return inf.loo_predict(method=method, **options)
        return inf.loo_predict_proba(method=method, **options)

    def make(problem):
        answering = _asked(question)(problem)
        if problem.kind == "ridge":
            return answering
        own = np.arange(len(problem.y)), problem.y
        return Answering(answering.call, read=lambda proba: proba[own])

    return make


LOO = ("loo-binary", "loo-plain", "loo-softmax", "enron-loo")
contestant("ours: one step", *LOO, exact=False)(_left_out("one-step"))
contestant("ours: certified to 1e-3", *LOO, exact=False)(_left_out("auto"))
contestant("ours: exact", "loo-ridge", "loo-binary", "loo-plain", "loo-softmax")(_left_out("exact"))


@contestant("ours: jackknife+", "intervals")
def intervals(problem):
    def call():
        model = JackknifePlusRegressor(unfitted(problem)).fit(problem.X, problem.y)
        return model.predict_interval(problem.X_test, problem.coverage)

    return Answering(call)


@contestant("ours: Shapley values", "values", exact=False)
def values(problem):
    model = fitted(problem)

    def call():
        inf = Influence(model, problem.X, problem.y)
        return shapley(inf, problem.X_test, problem.y_test, n_draws=problem.draws, random_state=0)

    return Answering(call, read=lambda found: found.values)


def _module(problem, **options):
    import torch
    from torch import nn

    from benchmarks.peers.networks import model_of
    from skinfluence.neural import ModuleInfluence

    model, _, (X, y, _, _) = model_of(problem)
    # A row carries no share of the decay: hold="C", as in everybody else.
    options = {"weight_decay": problem.l2 / len(y), "hessian": "full", "hold": "C", **options}

    def call():
        with torch.enable_grad():
            inf = ModuleInfluence(model, nn.CrossEntropyLoss(), X, y, **options)
            return _scores(inf, problem)

    return Answering(call)


@contestant("ours: ModuleInfluence, CG", "cnn")
def module_cg(problem):
    return _module(problem, solver="cg")


@contestant("ours: ModuleInfluence, dense", "cnn")
def module_dense(problem):
    return _module(problem, solver="exact")


@contestant("ours: ModuleInfluence", "head")
def module_head(problem):
    """A linear module's Gauss-Newton and full Hessians are the same."""
    return _module(problem, hessian="gauss-newton")
