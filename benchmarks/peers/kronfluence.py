"""kronfluence: Kronecker-factored curvature with corrected eigenvalues (EK-FAC), through files."""

import tempfile

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.peers.networks import added, model_of
from benchmarks.peers.registry import Answering, contestant


class _Classes(Task):
    """Summed losses; the Fisher matrix from labels that the model draws, as it is meant."""

    def __init__(self, binary):
        self.binary = binary

    def compute_train_loss(self, batch, model, sample=False):
        X, y = batch
        out = model(X)
        if self.binary:
            if sample:
                y = torch.bernoulli(torch.sigmoid(out.detach()))
            return nn.functional.binary_cross_entropy_with_logits(out, y, reduction="sum")
        if sample:
            y = torch.multinomial(out.detach().softmax(dim=1), 1).ravel()
        return nn.functional.cross_entropy(out, y, reduction="sum")

    def compute_measurement(self, batch, model):
        return self.compute_train_loss(batch, model)


@contestant(
    "kronfluence: EK-FAC", "binary", "softmax", "mnist10k-1", "head", "cnn", exact=False, scale=-1.0
)
def ekfac(problem):
    model, _, (X, y, X_test, y_test) = model_of(problem)
    task, double = _Classes(problem.kind == "binary"), torch.float64
    # It replaces modules inside another one.
    model = prepare_model(nn.Sequential(model), task)
    train, test = TensorDataset(X, y), TensorDataset(X_test, y_test)
    factors = FactorArguments(
        strategy="ekfac",
        activation_covariance_dtype=double,
        gradient_covariance_dtype=double,
        eigendecomposition_dtype=double,
        per_sample_gradient_dtype=double,
        lambda_dtype=double,
    )
    scores = ScoreArguments(
        damping_factor=added(problem),
        score_dtype=double,
        per_sample_gradient_dtype=double,
        precondition_dtype=double,
    )
    size = min(1_000, len(y))

    def call():
        with tempfile.TemporaryDirectory() as folder:
            analyzer = Analyzer(
                "peers",
                model,
                task,
                cpu=True,
                output_dir=folder,
                disable_tqdm=True,
                disable_model_save=True,
            )
            analyzer.fit_all_factors(
                "factors", train, per_device_batch_size=size, factor_args=factors
            )
            analyzer.compute_pairwise_scores(
                "scores",
                "factors",
                test,
                train,
                per_device_query_batch_size=len(y_test),
                per_device_train_batch_size=size,
                score_args=scores,
            )
            return analyzer.load_pairwise_scores("scores")["all_modules"]

    return Answering(call, read=lambda out: out.numpy())
