"""What a seed draws: data, weights, an estimator and its options, containers, questions and edits."""

from dataclasses import dataclass, field

import numpy as np

# Share of each family among the trials.
FAMILIES = {
    "LogisticRegression": 30,
    "Ridge": 12,
    "LinearRegression": 3,
    "RidgeClassifier": 5,
    "PoissonRegressor": 6,
    "GammaRegressor": 4,
    "TweedieRegressor": 5,
    "LinearSVC": 11,
    "LinearSVC hinge": 4,
    "SVC": 5,
    "KernelRidge": 5,
    "SGDClassifier": 2,
    "SGDRegressor": 2,
    "OneVsRestClassifier": 3,
    "MEstimator": 2,
    "module": 1,
}
CLASSIFIERS = {
    "LogisticRegression",
    "RidgeClassifier",
    "LinearSVC",
    "LinearSVC hinge",
    "SVC",
    "SGDClassifier",
    "OneVsRestClassifier",
    "MEstimator",
}
# Kept small: the oracle's interior point and its kernel matrices are cubic in long double.
KERNELS = {"SVC", "LinearSVC hinge", "KernelRidge"}


@dataclass
class Edit:
    """One weighted change: ``kind`` of skinfluence.edits, and what it takes."""

    kind: str
    row: int = -1
    x: np.ndarray = None
    y: object = None
    weight: float = 1.0


@dataclass
class Question:
    """What is asked, of which rows or by which edits."""

    kind: str
    of: str = "decision_function"
    method: str = "auto"
    tol: float = 1e-3
    rows: list = field(default_factory=list)
    edits: list = field(default_factory=list)


@dataclass
class Trial:
    """Everything that a seed decides. ``y`` holds class positions of classifiers."""

    seed: int
    family: str
    ours: bool
    params: dict
    fitting: dict
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    labels: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    container: str
    target_container: str
    options: dict
    questions: list
    transform: str
    traits: list


def draw(seed):
    """The trial of a seed."""
    rng = np.random.default_rng([20260, seed])
    traits = []
    shares = np.array(list(FAMILIES.values()), dtype=float)
    family = str(rng.choice(list(FAMILIES), p=shares / shares.sum()))
    corner = _corner(family, rng)
    n, d = _size(family, rng)
    if corner == "rare":
        n, d = min(n, 40), min(max(d, 2), 8)
    elif corner == "wide":
        n = int(rng.integers(4, 12))
        d = n + int(rng.integers(2, 12))
        traits.append("few rows, weak penalty")
    elif corner == "integers":
        n, d = int(rng.integers(4, 16)), int(rng.integers(1, 6))
    X = _rows(rng, n, d, traits)
    k = 2 if family == "MEstimator" else int(rng.choice([2, 2, 2, 3, 4]))
    if family in CLASSIFIERS:
        k = min(k, n)
        y = _classes(rng, X, k, traits)
        k = int(y.max()) + 1
    else:
        k, y = 0, _targets(rng, X, family)
    if corner == "rare":
        X, y = _rare_feature(rng, X, y, k, traits)
    weights = _weights(rng, n, traits) if _takes_weights(family) else None
    if weights is not None and k:
        # A class without weight is a trial of its own, not every other one.
        for c in range(k):
            if not weights[y == c].any() and rng.random() < 0.9:
                weights[np.flatnonzero(y == c)[0]] = 1.0
    scaled = _scales(rng, X, corner, traits)
    container = _container(rng, scaled, traits)
    if container in ("csr", "csc") and family == "MEstimator":
        container = "array"
    if container == "float32":
        with np.errstate(over="ignore", under="ignore"):
            scaled = scaled.astype(np.float32).astype(float)
    params, fitting, ours = _model(rng, family, k, scaled, weights, corner, traits)
    if container in ("csr", "csc") and "Ridge" in family:
        # The direct solvers take no sparse rows.
        fitting.pop("solver", None)
    if corner == "heavy" or (corner == "rare" and rng.random() < 0.6):
        # All but a few rows weigh much: what those few do is small beside the objective.
        light = X[:, -1] != 0 if corner == "rare" else rng.random(n) < 0.3
        weights = np.where(light, 1.0, 10.0 ** rng.uniform(3, 5))
        traits.append("heavy weights")
    if params.get("class_weight") == "balanced":
        # As numbers: the oracle's edits keep them. tests/statistics/test_balanced.py has those that move.
        counted = None if family == "RidgeClassifier" else weights
        params["class_weight"] = _balanced(y, k, counted)
    labels = np.arange(2) if family == "MEstimator" else _labels(rng, k)
    X_test, y_test = _tests(rng, scaled, y, family, k)
    if container == "int":
        X_test = np.round(X_test)
    elif container == "float32":
        X_test = X_test.astype(np.float32).astype(float)
    if corner == "rare":
        X_test[0] = scaled[_rare_row(rng, scaled)]
    options = _options(rng, family, corner)
    transform = _transform(rng, family, params, fitting, options, container, weights)
    trial = Trial(
        seed,
        family,
        ours,
        params,
        fitting,
        scaled,
        y,
        weights,
        labels,
        X_test,
        y_test,
        container,
        str(rng.choice(["array", "array", "list", "series"])),
        options,
        [],
        transform,
        traits,
    )
    for _ in range(int(rng.choice([1, 2, 3]))):
        trial.questions.append(_question(rng, trial, k, corner))
    return trial


def _takes_weights(family):
    return family not in ("SGDClassifier", "SGDRegressor")


def _corner(family, rng):
    """Corners that random numbers rarely meet: one in five of the families that have them."""
    if rng.random() > 1 / 5:
        return None
    if family in ("LogisticRegression", "OneVsRestClassifier"):
        return str(rng.choice(["rare", "heavy", "rare"]))
    if family in ("Ridge", "RidgeClassifier"):
        return "wide"
    if family == "LinearSVC":
        return "integers"
    return None


def _size(family, rng):
    low, high = [(3, 12), (3, 12), (12, 40), (12, 40), (12, 40), (40, 120), (120, 400)][
        int(rng.choice(7, p=[0.2, 0.2, 0.2, 0.15, 0.14, 0.09, 0.02]))
    ]
    n = int(rng.integers(low, high))
    if family in KERNELS:
        n = min(n, 36)
    d = int(
        rng.choice(
            [1, 2, 3, 4, 6, 8, 12, 20, 40, 60],
            p=[0.1] * 3 + [0.15, 0.2, 0.15] + [0.08, 0.06, 0.03, 0.03],
        )
    )
    if n > 60:
        d = min(d, 20)
    return n, d


def _rows(rng, n, d, traits):
    kind = str(rng.choice(["normal", "normal", "integers", "indicators", "heavy-tailed"]))
    if kind == "normal":
        X = rng.standard_normal((n, d))
    elif kind == "integers":
        X = rng.integers(-3, 4, (n, d)).astype(float)
    elif kind == "indicators":
        X = (rng.random((n, d)) < rng.uniform(0.05, 0.6, d)).astype(float)
    else:
        X = rng.standard_t(2, (n, d))
    traits.append(kind)
    draws = rng.random(4)
    if draws[0] < 0.1 and d > 1:
        X[:, -1] = X[:, 0]
        traits.append("duplicated column")
    if draws[1] < 0.1 and d > 2:
        X[:, 1] = X[:, 0] - 2 * X[:, -1]
        traits.append("collinear")
    if draws[2] < 0.15 and n > 3:
        X[rng.integers(0, n, max(1, n // 5))] = X[0]
        traits.append("duplicated rows")
    if draws[3] < 0.05:
        X[:, 0] = 1.0
        traits.append("constant column")
    return X


def _scales(rng, X, corner, traits):
    d = X.shape[1]
    kind = str(rng.choice(["none", "none", "none", "some", "wild", "offset"]))
    if corner == "integers":
        traits.append("large integers")
        amounts = np.abs(X) if rng.random() < 0.6 else X
        return np.round(amounts * 10.0 ** rng.integers(2, 5, d), -1)
    if corner == "wide":
        return X
    if kind == "some":
        X = X * 10.0 ** rng.uniform(-3, 3, d)
    elif kind == "wild":
        X = X * 10.0 ** rng.uniform(-8, 8, d)
    elif kind == "offset":
        X = X + 10.0 ** rng.uniform(0, 4, d)
    if kind != "none":
        traits.append(f"{kind} scales" if kind != "offset" else "offset")
    return X


def _classes(rng, X, k, traits):
    n = len(X)
    kind = str(rng.choice(["noisy", "noisy", "separable", "random", "one-row class"]))
    score = X @ rng.standard_normal((X.shape[1], k))
    if kind == "noisy":
        score = score + 2.0 * rng.gumbel(size=(n, k)) * (1 + np.abs(score).mean())
    elif kind == "random":
        score = rng.random((n, k))
    y = score.argmax(axis=1)
    if kind == "one-row class":
        y = np.where(y == k - 1, 0, y)
        y[rng.integers(n)] = k - 1
    traits.append(kind)
    # Every class is there, the last ones by force.
    for c in range(k):
        if not (y == c).any():
            counts = np.bincount(y, minlength=k)
            y[rng.choice(np.flatnonzero(y == counts.argmax()))] = c
    return y


def _targets(rng, X, family):
    with np.errstate(all="ignore"):
        score = X @ rng.standard_normal(X.shape[1]) / np.sqrt(X.shape[1])
    score = np.clip(score, -4, 4)
    n = len(X)
    if family == "PoissonRegressor" or family == "TweedieRegressor":
        y = rng.poisson(np.exp(score / 2)).astype(float)
        if not y.any():
            y[rng.integers(n)] = 1.0
        return y
    if family == "GammaRegressor":
        return rng.gamma(2.0, np.exp(score / 2)) + 1e-3
    y = score + rng.uniform(0.01, 2) * rng.standard_normal(n)
    if rng.random() < 0.2:
        y = y * 10.0 ** rng.uniform(-4, 4) + 10.0 ** rng.uniform(-2, 3)
    return y


def _rare_feature(rng, X, y, k, traits):
    """A column that is not zero in a few rows of one class only, all of them alike."""
    X = X.copy()
    column = X.shape[1] - 1
    rows = np.flatnonzero(y == k - 1)
    rows = rows[: max(1, min(len(rows), int(rng.integers(1, 4))))]
    X[:, column] = 0.0
    X[rows] = 0.0
    X[rows, column] = 10.0 ** rng.choice([0.0, 2.0, 4.0, 4.5])
    traits.append("rare feature")
    return X, y


def _weights(rng, n, traits):
    kind = str(
        rng.choice(["none"] * 10 + ["gamma"] * 3 + ["zeros"] * 3 + ["ratios"] * 2 + ["large"])
    )
    if kind == "none":
        return None
    traits.append(f"weights: {kind}")
    if kind == "gamma":
        return rng.gamma(1.0, size=n) + 1e-3
    if kind == "ratios":
        return 10.0 ** rng.uniform(-4, 4, n)
    if kind == "large":
        return np.full(n, 10.0 ** rng.uniform(2, 5))
    weights = rng.integers(0, 3, n).astype(float)
    if not weights.any():
        weights[0] = 1.0
    return weights


def _container(rng, X, traits):
    with np.errstate(over="ignore", under="ignore"):
        small = X.astype(np.float32)
    fits = np.isfinite(small).all() and not ((small == 0) & (X != 0)).any()
    choices = ["array"] * 8 + [
        "fortran",
        "readonly",
        "csr",
        "csc",
        "frame",
        "nullable",
        "list",
        "strided",
    ]
    choices += ["memmap"] + ["float32"] * fits
    if np.array_equal(X, np.round(X)) and np.abs(X).max() < 2**31:
        choices += ["int"]
    kind = str(rng.choice(choices))
    if kind != "array":
        traits.append(kind)
    return kind


def _labels(rng, k):
    if not k:
        return None
    kind = str(rng.choice(["integers", "strings", "floats", "negative", "objects", "bool"]))
    if kind == "strings":
        return np.array([f"c{i}" for i in range(k)])
    if kind == "floats":
        return np.arange(k, dtype=float)
    if kind == "negative":
        return np.arange(k) * 2 - 1
    if kind == "objects":
        return np.array([f"c{i}" for i in range(k)], dtype=object)
    if kind == "bool" and k == 2:
        return np.array([False, True])
    return np.arange(k)


def _strength(rng):
    return float(10.0 ** (rng.uniform(-6, 6) if rng.random() < 0.4 else rng.uniform(-2, 2)))


def _class_weight(rng, k):
    draw = rng.random()
    if draw < 0.75:
        return None
    if draw < 0.88:
        return "balanced"
    return {i: float(w) for i, w in enumerate(10.0 ** rng.uniform(-1, 1, k))}


def _balanced(y, k, weights):
    counts = np.bincount(y, weights, k)
    if not (counts > 0).all():
        return "balanced"
    return {i: float(w) for i, w in enumerate(counts.sum() / (k * counts))}


def _model(rng, family, k, X, weights, corner, traits):
    """Parameters of the objective, those of the fit, and whether the class is ours."""
    ours = bool(rng.random() < 0.3)
    fit_intercept = bool(rng.random() < 0.75)
    strength = _strength(rng)
    if corner in ("rare", "heavy"):
        strength = float(10.0 ** rng.uniform(2, 8))
        fit_intercept = bool(rng.random() < 0.3)
    if corner == "wide":
        strength = float(10.0 ** rng.uniform(4, 8))
    params, fitting = {"fit_intercept": fit_intercept}, {}
    cw = _class_weight(rng, k) if k else None
    if family == "LogisticRegression":
        params |= {"C": strength, "class_weight": cw}
        fitting = {
            "solver": str(rng.choice(["newton-cholesky"] * 4 + ["lbfgs"] * 3)),
            "max_iter": 1000,
        }
        if fitting["solver"] == "newton-cholesky":
            fitting["tol"] = 1e-10
        if k == 2 and rng.random() < 0.15:
            params["solver"] = "liblinear"
            params["intercept_scaling"] = float(rng.choice([1.0, 1.0, 5.0]))
            fitting = {"tol": 1e-10, "max_iter": 1000, "random_state": 0}
        if rng.random() < 0.04:
            params["C"] = np.inf
    elif family in ("Ridge", "RidgeClassifier"):
        params["alpha"] = 1.0 / strength
        if family == "RidgeClassifier":
            params["class_weight"] = cw
        if rng.random() < 0.4:
            fitting["solver"] = str(rng.choice(["svd", "cholesky"]))
    elif family in ("PoissonRegressor", "GammaRegressor", "TweedieRegressor"):
        params["alpha"] = min(1.0 / strength, 1e3)
        if rng.random() < 0.05:
            params["alpha"] = 0.0
        if family == "TweedieRegressor":
            params["power"] = float(rng.choice([0, 1, 1.2, 1.5, 1.9]))
        fitting = {
            "solver": str(rng.choice(["newton-cholesky", "lbfgs"])),
            "max_iter": 1000,
            "tol": 1e-10,
        }
    elif family in ("LinearSVC", "LinearSVC hinge"):
        params |= {"C": strength, "class_weight": cw, "loss": "squared_hinge"}
        params["intercept_scaling"] = float(rng.choice([1.0, 1.0, 10.0]))
        fitting = {"tol": 1e-10, "max_iter": 2000, "random_state": 0}
        if family == "LinearSVC hinge":
            params["loss"], params["class_weight"] = "hinge", None
            params["C"] = float(10.0 ** rng.uniform(-3, 3))
        elif rng.random() < 0.4:
            ours = True
            params["loss"] = "smooth_hinge"
            params["temperature"] = float(rng.choice([0.5, 0.1, 0.01, 0.001]))
            params["C"] = float(10.0 ** rng.uniform(-3, 3))
        else:
            fitting["dual"] = False
    elif family == "SVC":
        ours = ours or bool(rng.random() < 0.3)
        params = {
            "C": float(10.0 ** rng.uniform(-2, 4)),
            "kernel": str(rng.choice(["rbf", "rbf", "linear"])),
        }
        params["gamma"] = _gamma(rng, X)
        params["decision_function_shape"] = "ovo"
        fitting = {"tol": 1e-8, "max_iter": 200_000}
    elif family == "KernelRidge":
        params = {
            "alpha": 1.0 / _strength(rng),
            "kernel": str(rng.choice(["rbf", "rbf", "linear", "laplacian"])),
        }
        params["gamma"] = _gamma(rng, X)
    elif family == "SGDClassifier":
        params |= {
            "alpha": float(10.0 ** rng.uniform(-4, 0)),
            "loss": str(rng.choice(["log_loss", "squared_hinge"])),
        }
        fitting, ours = {"random_state": 0, "max_iter": 500, "tol": 1e-7}, False
    elif family == "SGDRegressor":
        params |= {"alpha": float(10.0 ** rng.uniform(-4, 0))}
        fitting, ours = {"random_state": 0, "max_iter": 500, "tol": 1e-7}, False
    elif family == "OneVsRestClassifier":
        params["C"], ours = strength, False
        fitting = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1000}
    elif family == "MEstimator":
        params, ours = {"fit_intercept": False, "C": min(strength, 1e3)}, True
    elif family == "module":
        params, ours = (
            {"fit_intercept": True, "weight_decay": float(10.0 ** rng.uniform(-4, 0))},
            True,
        )
    elif family == "LinearRegression":
        pass
    traits.append(f"strength {strength:.0e}")
    return params, fitting, ours


def _gamma(rng, X):
    spread = float(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
    return float(10.0 ** rng.uniform(-1.5, 1.0) / spread) if spread > 0 else 1.0


def _tests(rng, X, y, family, k):
    m = int(rng.integers(1, 5))
    rows = rng.integers(0, len(X), m)
    X_test = X[rows].copy()
    fresh = rng.random(m) < 0.5
    other = X[rng.integers(0, len(X), m)]
    X_test[fresh] = 0.5 * (X_test + other)[fresh]
    if k:
        return X_test, rng.integers(0, k, m)
    return X_test, y[rng.integers(0, len(X), m)]


def _options(rng, family, corner):
    options = {}
    if family in KERNELS or family == "module":
        return options
    draws = rng.random(4)
    if draws[0] < 0.3:
        options["solver"] = str(rng.choice(["exact", "primal", "dual", "cg"]))
    elif draws[1] < 0.12:
        options["precision"] = "mixed"
    if draws[2] < 0.25 and family != "MEstimator":
        options["hold"] = str(rng.choice(["C", "lambda"]))
    if draws[3] < 0.1 and family != "MEstimator":
        options["polish"] = True
    if corner:
        options.pop("precision", None)
    if family == "MEstimator":
        options.pop("solver", None)
        options.pop("precision", None)
    return options


def _transform(rng, family, params, fitting, options, container, weights):
    """A change of what is passed that changes no answer."""
    choices = ["permuted"]
    dense = container not in ("csr", "csc")
    if family in ("LogisticRegression", "Ridge", "PoissonRegressor") and weights is not None:
        choices.append("split")
    if family in ("LogisticRegression", "Ridge") and dense:
        # With its intercept liblinear penalises what is not rescaled.
        penalised = params["fit_intercept"] and params.get("solver") == "liblinear"
        if not penalised and container != "int":
            choices.append("rescaled")
        # float32 would round what an offset leaves of the column.
        if params["fit_intercept"] and not penalised and container != "float32":
            choices.append("offset")
    if rng.random() > 0.15 or family in ("SGDClassifier", "SGDRegressor", "module"):
        return "none"
    return str(rng.choice(choices))


def _question(rng, trial, k, corner):
    n, family = len(trial.y), trial.family
    kinds = ["effect"] * 5 + ["removal"] * 3 + ["loo"] * 2 + ["groups"]
    if k and family != "module":
        kinds += ["relabel"]
    method = str(rng.choice(["auto"] * 4 + ["exact"] * 3 + ["one-step"] * 2 + ["influence"]))
    if corner in ("rare", "heavy", "integers"):
        method = str(rng.choice(["auto", "exact"]))
    elif corner == "wide":
        kinds += ["effect"] * 3
        method = str(rng.choice(["auto", "exact", "one-step", "one-step"]))
    if family == "module":
        method = str(rng.choice(["auto", "one-step", "influence"]))
        kinds = ["effect", "removal"]
    of = ["decision_function"] * 3 + ["loss"]
    if family == "LogisticRegression":
        of += ["predict_proba"]
    if family in ("SVC", "LinearSVC hinge", "KernelRidge", "module", "MEstimator"):
        of = ["decision_function"]
    question = Question(str(rng.choice(kinds)), str(rng.choice(of)), method)
    question.tol = float(rng.choice([1e-3, 1e-3, 1e-3, 1e-2, 1e-5]))
    rows = rng.permutation(n)[: min(n, 16 if corner == "integers" else 3)]
    if corner == "rare":
        rows[0] = _rare_row(rng, trial.X)
        rows = np.unique(rows)
    question.rows = [int(r) for r in rows]
    if question.kind == "effect":
        for _ in range(int(rng.choice([1, 1, 2]))):
            question.edits.append(_edit(rng, trial, k, corner))
    if (
        trial.ours
        and family != "module"
        and question.kind in ("removal", "loo", "relabel")
        and rng.random() < 0.3
    ):
        question.kind += " method"
    return question


def _edit(rng, trial, k, corner):
    n = len(trial.y)
    kinds = ["remove"] * 3 + ["group", "relabel", "replace", "add", "reweight", "back", "several"]
    if corner in ("rare", "heavy"):
        kinds += ["add heavy"] * 3
    if trial.transform == "split":
        kinds = ["remove"]
    kind = str(rng.choice(kinds))
    rows = [int(r) for r in rng.permutation(n)]
    own = 1.0 if trial.weights is None else trial.weights
    at = rows[0]

    def target(row=None):
        return int(rng.integers(0, k)) if k else float(trial.y[rng.integers(0, n)])

    def fresh():
        return 0.5 * (trial.X[rng.integers(0, n)] + trial.X[rng.integers(0, n)])

    if kind == "remove":
        return [Edit("remove", at)]
    if kind == "group":
        return [Edit("remove", r) for r in rows[: int(rng.integers(1, max(2, n // 3)))]]
    if kind == "relabel":
        return [Edit("relabel", at, y=target())]
    if kind == "replace":
        return [Edit("replace", at, x=fresh(), y=target() if rng.random() < 0.5 else None)]
    if kind == "add":
        return [Edit("add", x=fresh(), y=target(), weight=float(10.0 ** rng.uniform(-2, 1)))]
    if kind == "add heavy":
        at = _rare_row(rng, trial.X) if corner == "rare" else at
        x = trial.X[at] * rng.choice([-1 / 3, 1 / 3, -1.0])
        y = int(trial.y[at]) if rng.random() < 0.7 else target()
        return [Edit("add", x=x, y=y, weight=float(10.0 ** rng.uniform(0, 3)))]
    if kind == "reweight":
        base = float(own if np.ndim(own) == 0 else own[at])
        return [Edit("reweight", at, weight=base * float(rng.choice([0.0, 0.5, 2.0, 10.0])))]
    if kind == "back":
        weight = float(own if np.ndim(own) == 0 else own[at])
        return [
            Edit("remove", at),
            Edit("add", x=trial.X[at].copy(), y=_plain(trial.y[at]), weight=weight),
        ]
    several = [Edit("remove", at)]
    if n > 2:
        several.append(Edit("relabel", rows[1], y=target()))
    several.append(Edit("add", x=fresh(), y=target(), weight=1.0))
    return several


def _rare_row(rng, X):
    return int(rng.choice(np.flatnonzero(X[:, -1] != 0)))


def _plain(value):
    return int(value) if isinstance(value, np.integer) else float(value)
