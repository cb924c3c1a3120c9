"""Influence for whole torch modules: the questions of Influence, asked of a network."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state

from skinfluence import leave_one_out
from skinfluence._utils.validation import check_rows, check_sample_weight, refuse_masked
from skinfluence.influence import Influence
from skinfluence.influence.data import ProblemData
from skinfluence.neural.answers import ModuleAnswers
from skinfluence.neural.gradient_checks import check_curved, check_gradient
from skinfluence.neural.loading import taken
from skinfluence.neural.network import Network
from skinfluence.neural.problem import ModuleInputs, ModuleProblem, decay_of
from skinfluence.neural.running import check_rowwise
from skinfluence.neural.solving import factor_of
from skinfluence.neural.training import as_trained, targets
from skinfluence.solvers.base import check_damping

HESSIANS = ("gauss-newton", "full", "kfac")


class ModuleInfluence(Influence):
    """What a trained network would have been without, or with other, training rows.

    The questions, names, shapes and signs are those of :class:`~skinfluence.Influence`. The
    objective is ``sum_i w_i loss_i / W + weight_decay / 2 |theta|^2`` with ``W = sum_i w_i``, as
    torch optimisers with (coupled) weight decay minimise it.

    Parameters
    ----------
    module : torch.nn.Module
        Trained. A copy is taken, in evaluation mode: dropout is off, batch normalisation uses its
        running statistics, and training on changes no answer.
    loss : torch loss, callable or Loss
        As in training, with its class weights and ``ignore_index``: ``nn.CrossEntropyLoss()``,
        ``nn.BCEWithLogitsLoss()``, ``nn.NLLLoss()``, ``nn.BCELoss()`` or their functions (exact
        numpy twins are used), any ``loss(outputs, targets)`` in torch, or a
        :class:`skinfluence.losses.Loss`. It is called row by row; the mean is taken here, and
        compared with that of your loss.
    X : array-like of shape (n_train, ...), tensor, Dataset or DataLoader
        The training rows; train indices refer to them. A Dataset is read into memory, in its own
        order; of a DataLoader the rows that its sampler draws, as its ``collate_fn`` makes them.
    y : array-like of shape (n_train,), default=None
        Class positions 0 .. K - 1, or numbers. None takes the second entry of the Dataset's items.
    sample_weight : array-like of shape (n_train,), default=None
    weight_decay : float or dict, default=0.0
        In units of the mean loss. A dict gives it by name, of a parameter, a part of the module or
        a kind (``{"weight": 1e-3, "bias": 0.0}``); what it does not name has none.
    hessian : {"gauss-newton", "full", "kfac"}, default="gauss-newton"
        ``J' Lambda J``, never negative; with the curvature of the network too; or Kronecker
        factors by layer, for large networks (linear and convolutional layers).
    damping : float, default=0.0
        Added to the Hessian of the mean loss, in the units of ``weight_decay``. Never chosen for
        you.
    parameters : str or list of str, default=None
        Parameters or parts of the module that may move, such as ``"head"``; the others are held.
        All when None. Those with ``requires_grad=False`` are always held.
    projection : int, default=None
        Let the parameters move only in a random subspace of that dimension: gradients are
        compressed to it, for networks with more parameters than a Hessian can have.
    solver : {"auto", "exact", "cg", "lissa"}, skinfluence.solvers.CG or LiSSA, default="auto"
        ``"auto"``: Cholesky up to 5,000 free coordinates, CG (to 1e-8) beyond. With the full
        Hessian CG is preconditioned by the Gauss-Newton one, and far cheaper for a few test points.
        ``"lissa"``
        walks along minibatches of 32 rows (Gauss-Newton only) and has a standard error.
    hold : {"auto", "C", "lambda"}, default="auto"
        What edits keep: ``"lambda"`` the weight decay of the mean loss, as training again would
        (``"auto"``); ``"C"`` its ratio to the sum.
    input_shape : tuple, default=None
        Of one row as the module takes it, when rows come flattened.
    device : str or torch.device, default="auto"
    dtype : {"float64", "float32"}, default="float64"
        Of all passes through the network.
    random_state : int, RandomState instance or None, default=None
        Of the projection.
    verbose : bool, default=False
        Show a progress bar while edits are solved (needs tqdm).

    Raises
    ------
    ImportError
        Without torch; it names the extra.
    SingularHessianError
        If the Hessian is not positive definite, with its smallest Ritz value and what to do.
    ValueError
        For a module that is random in evaluation mode or mixes the rows of a batch; for a loss
        that has no curvature, or of which a batch's is not the mean or the sum of its rows'.
    TypeError
        For a module that does not return one real tensor, or has complex parameters.

    Warns
    -----
    ConvergenceWarning
        If the network is far from a stationary point of the objective.

    Notes
    -----
    Edits move the network's outputs linearly in its parameters; losses are evaluated at the moved
    outputs. ``method="one-step"``, which ``"auto"`` is too, takes the edited rows out of the
    Gauss-Newton part of the Hessian, and is NaN, with a warning, where they hold more curvature
    than it has (Kronecker factors are too coarse for rows of high leverage). A network has no
    certificate (``bound`` is ``inf``) and no unique optimum: ``"exact"`` is refused.
    ``influence_up_params`` has shape (n_train, n_parameters), the chosen parameters flattened in
    the module's order, and ``influence_pert`` counts the values of a row flattened.

    References
    ----------
    .. [1] P. W. Koh and P. Liang, "Understanding Black-box Predictions via Influence Functions",
       ICML 2017.
    .. [2] X. Lyu et al., "Deeper Understanding of Black-box Predictions via Generalized Influence
       Functions", 2024 (``parameters``).

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skinfluence.neural import ModuleInfluence
    >>> X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([[0.0], [1.0], [1.0], [4.0]])
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(net.weight, 19 / 21.1)  # the optimum, with the decay
    >>> inf = ModuleInfluence(net, torch.nn.MSELoss(), X, y, weight_decay=0.05)
    >>> inf.removal_effect(X[:2], y[:2]).shape
    (2, 4)
    """

    def __init__(
        self,
        module,
        loss,
        X,
        y=None,
        sample_weight=None,
        *,
        weight_decay=0.0,
        hessian="gauss-newton",
        damping=0.0,
        parameters=None,
        projection=None,
        solver="auto",
        hold="auto",
        input_shape=None,
        device="auto",
        dtype="float64",
        random_state=None,
        verbose=False,
    ):
        if hessian not in HESSIANS:
            raise ValueError(f"hessian must be one of {HESSIANS}. Got {hessian!r} instead.")
        damping = check_damping(damping)
        refuse_masked(X=X, y=y, sample_weight=sample_weight)
        X, y = taken(X, y)
        inputs = ModuleInputs(X, input_shape)
        design = inputs.training_rows
        y = targets(y)
        check_rows(design.X, y)
        rng = check_random_state(random_state)
        network = Network(module, parameters, device, dtype, projection, rng)
        network.prepare(design.X[:3])
        check_rowwise(lambda x: network.run(x), network.rows(design.X[:3]))
        whole = network.module
        trained = as_trained(loss, y, network, design.X)
        sample_weight = check_sample_weight(sample_weight, len(y))
        weights = sample_weight * trained.class_weights
        if not weights.any():
            raise ValueError("Some row must have weight. sample_weight and the loss leave out all.")
        problem = ModuleProblem(
            network=network,
            loss=trained.loss,
            design=design,
            y=trained.y,
            weights=weights,
            sample_weight=sample_weight,
            decay=decay_of(weight_decay, network),
            damping=damping,
            hessian=hessian,
            labels=trained.labels,
            counted=trained.counted,
        ).holding(hold)
        check_gradient(problem, trained, whole)
        check_curved(problem)
        is_classifier = trained.labels is not None
        estimator = _Classifier(module) if is_classifier else _Regressor(module)
        answers = ModuleAnswers(factor_of(problem, solver), verbose)
        self._hold(estimator, answers, ProblemData(problem, inputs, answers.concern))

    def loo_score(self, scoring=None, *, method="auto", tol=1e-3, frozen=None):
        """A scorer on the pooled leave-one-out outputs, of the rows that the loss counts.

        Parameters
        ----------
        scoring : str or scorer, default=None
            As in scikit-learn; accuracy or R2 when None.
        method, tol, frozen
            As in :meth:`loo_decision_function`.
        """
        scorer = leave_one_out.resolve_scorer(scoring, self.objective)
        outputs = leave_one_out.outputs(self, method, tol, frozen)
        return outputs.score(self.data.y, scorer, np.flatnonzero(self.objective.counted))

    def __repr__(self):
        problem = self.objective
        return (
            f"ModuleInfluence({type(self.estimator.module).__name__}, n_train={problem.n_samples}, "
            f"n_parameters={problem.n_parameters}, hessian={problem.hessian!r})"
        )


class _Classifier(ClassifierMixin, BaseEstimator):
    """The module where an estimator is expected: what kind of model it is."""

    def __init__(self, module):
        self.module = module


class _Regressor(RegressorMixin, BaseEstimator):
    """As _Classifier."""

    def __init__(self, module):
        self.module = module
