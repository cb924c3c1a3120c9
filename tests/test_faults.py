"""What goes wrong around a question: it is interrupted, disks are full, caches damaged, threads many."""

import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from pathlib import Path

import autograd.numpy as anp
import numpy as np
import pytest
from sklearn import linear_model, svm
from sklearn.kernel_ridge import KernelRidge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skinfluence
from skinfluence import Influence, edits
from skinfluence._compiled import cached
from skinfluence._compiled.cached import compiled
from skinfluence.losses import AutogradLoss
from skinfluence.m_estimation import MEstimator
from skinfluence.solvers import CG, LiSSA
from tests.registries import make_data

PACKAGE = os.path.dirname(skinfluence.__file__)
N, D = 40, 4
# Interrupted at so many places; .ci/full tries more of them.
PLACES = 40 if os.environ.get("SKINFLUENCE_LONG") == "1" else 2


def _decision(theta, x):
    return anp.dot(x, theta)


def _loss(theta, x, y):
    return anp.logaddexp(0.0, _decision(theta, x)) - y * _decision(theta, x)


# A model, its task and the options of Influence.
KINDS = {
    "primal": (linear_model.LogisticRegression(tol=1e-8), "binary", {}),
    "softmax": (linear_model.LogisticRegression(tol=1e-8), "softmax", {}),
    "ridge": (linear_model.Ridge(), "regression", {}),
    "lambda": (linear_model.PoissonRegressor(tol=1e-10), "counts", {"hold": "lambda"}),
    "mixed": (linear_model.LogisticRegression(tol=1e-8), "binary", {"precision": "mixed"}),
    "CG": (linear_model.LogisticRegression(tol=1e-8), "binary", {"solver": CG()}),
    "LiSSA": (
        linear_model.LogisticRegression(tol=1e-8),
        "binary",
        {"solver": LiSSA(random_state=0)},
    ),
    "squared hinge": (svm.LinearSVC(dual=False, tol=1e-8), "binary", {}),
    "SVC": (svm.SVC(C=3.0, tol=1e-8), "softmax", {}),
    "kernel ridge": (KernelRidge(alpha=0.3, kernel="rbf"), "regression", {}),
    "user's loss": (MEstimator(_loss, D, decision=_decision, l2=0.1), "binary", {}),
    "naive Bayes": (GaussianNB(), "binary", {}),
    "whole pipeline": (
        make_pipeline(StandardScaler(), linear_model.LogisticRegression(tol=1e-8)),
        "binary",
        {},
    ),
}
EVERY = pytest.mark.parametrize("kind", KINDS)


class Asked:
    """An influence of a kind that nobody has asked yet, and the questions."""

    def __init__(self, kind):
        model, task, options = KINDS[kind]
        self.X, self.y = make_data(task, N, D, 0)
        if kind == "user's loss":
            self.y = (self.y == self.y[0]).astype(float)
        self.method = "one-step" if kind == "LiSSA" else "auto"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.influence = Influence(model.fit(self.X, self.y), self.X, self.y, **options)
        self.fresh = pickle.dumps(self.influence)

    def anew(self):
        return pickle.loads(self.fresh)

    def questions(self, inf):
        X, y, method = self.X[:5], self.y[:5], self.method
        one = edits.remove([0, 3]) + edits.add(X[1] + 0.5, y[1])
        decision = {"of": "decision_function", "method": method}
        return {
            "rows": lambda: inf.removal_effect(X, **decision),
            "edits": lambda: inf.effect([one, edits.remove(7)], X, **decision).values,
            "own": lambda: inf.loo_decision_function(method=method),
        }

    def answers(self, inf):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {name: _answer(ask) for name, ask in self.questions(inf).items()}


def _answer(ask):
    """What is answered, or in which words it is not: a kind may not know a question."""
    try:
        return np.asarray(ask())
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def assert_same(found, expected):
    for name, one in expected.items():
        if isinstance(one, str):
            assert found[name] == one, name
        else:
            np.testing.assert_array_equal(found[name], one, err_msg=name)


# Ctrl-C ----------------------------------------------------------------------------------------


class Interruption:
    """Ctrl-C at one of the calls within the package, which are counted."""

    def __init__(self, at, only=None):
        self.at, self.only, self.n_calls = at, only, 0

    def __call__(self, frame, event, argument):
        code = frame.f_code
        inside = code.co_filename.startswith(PACKAGE) and self.only in (None, code.co_name)
        if inside and event == "call":
            self.n_calls += 1
            if self.n_calls == self.at:
                raise KeyboardInterrupt

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *error):
        sys.settrace(self.before)


@EVERY
def test_a_question_that_was_interrupted_can_be_asked_again(kind):
    """Wherever Ctrl-C comes: nothing half done is kept and taken for an answer."""
    asked = Asked(kind)
    expected = asked.answers(asked.anew())
    with Interruption(None) as count:
        asked.answers(asked.anew())
    interrupted = []
    for at in np.linspace(1, count.n_calls, PLACES + 1)[:-1].astype(int):
        inf = asked.anew()
        # Threads may take some of the calls away.
        with suppress(KeyboardInterrupt), Interruption(at) as trace:
            asked.answers(inf)
        interrupted.append(trace.n_calls == at)
        assert_same(asked.answers(inf), expected)
    assert np.mean(interrupted) > 0.5


def run(script, *arguments, **environment):
    """A Python of its own, in the checkout; its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.path.dirname(PACKAGE), **environment},
        cwd=Path(PACKAGE).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_import_that_was_interrupted_can_be_done_again():
    script = """
        import sys
        import numpy as np
        from sklearn.linear_model import Ridge

        class Interruption:
            def __init__(self, at):
                self.at, self.n = at, 0

            def __call__(self, frame, event, argument):
                if frame.f_code.co_name == "<module>" and "skinfluence" in frame.f_code.co_filename:
                    self.n += 1
                    if self.n == self.at:
                        raise KeyboardInterrupt

        def forget():
            for name in [name for name in sys.modules if name.split(".")[0] == "skinfluence"]:
                del sys.modules[name]

        def bring(at):
            trace = Interruption(at)
            sys.settrace(trace)
            try:
                import skinfluence.linear_model, skinfluence.pipeline, skinfluence.diagnostics
                from skinfluence import Influence
                X = np.random.default_rng(0).standard_normal((20, 3))
                inf = Influence(Ridge().fit(X, X[:, 0]), X, X[:, 0])
                return trace.n, inf.removal_effect(X[:1], X[:1, 0])[0, 0]
            finally:
                sys.settrace(None)

        n_modules, expected = bring(None)
        found = set()
        for at in np.unique(np.linspace(1, n_modules, int(sys.argv[1])).astype(int)):
            forget()
            try:
                bring(at)
            except KeyboardInterrupt:
                found.add(bool(bring(None)[1] == expected))
        print(n_modules > 50, found)
    """
    assert run(script, PLACES).strip() == "True {True}"


def test_the_command_line_says_in_one_line_that_its_imports_were_interrupted():
    """They are most of what a command does before it reads its table."""
    script = """
        import contextlib, sys

        class Interruption:
            @staticmethod
            def find_spec(name, path, target=None):
                if name == "sklearn":
                    raise KeyboardInterrupt

        sys.meta_path.insert(0, Interruption)
        from skinfluence.cli import main

        with contextlib.redirect_stderr(sys.stdout):
            print(main(["audit", "--demo", "wine"]))
    """
    assert run(script).splitlines() == ["skinfluence audit: interrupted, nothing written", "130"]


# Threads ---------------------------------------------------------------------------------------


@EVERY
def test_many_threads_that_ask_first_get_what_one_gets(kind):
    """What is computed on first use is computed once, and warnings stay as they were."""
    asked = Asked(kind)
    expected = asked.answers(asked.anew())
    inf, filters = asked.anew(), list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        questions = asked.questions(inf)
        names = list(expected) * 2
        found = list(pool.map(lambda name: _answer(questions[name]), names))
    for name, one in zip(names, found, strict=True):
        assert_same({name: one}, {name: expected[name]})
    assert warnings.filters == filters


def test_one_thread_traces_with_autograd_at_a_time():
    """autograd numbers the traces of all threads by one counter: nested ones would be mixed up."""
    inside, go_on, order = threading.Event(), threading.Event(), []

    def slow(eta, y):
        inside.set()
        assert go_on.wait(30)
        order.append("first")
        return (eta[..., 0] - y) ** 2

    def quick(eta, y):
        order.append("second")
        return (eta[..., 0] - y) ** 2

    eta, y = np.ones((2, 1)), np.zeros(2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(AutogradLoss(slow).gradient, eta, y)
        assert inside.wait(30)
        second = pool.submit(AutogradLoss(quick).gradient, eta, y)
        time.sleep(0.2)
        go_on.set()
        np.testing.assert_array_equal(first.result(), second.result())
    assert order == ["first", "second"]


@EVERY
def test_threads_of_blas_change_no_digit_that_counts(kind):
    asked = Asked(kind)
    found = []
    for n in (1, 2):
        with threadpool_limits(n):
            found.append(asked.answers(asked.anew()))
    for name, one in found[0].items():
        if isinstance(one, str):
            assert found[1][name] == one
        else:
            np.testing.assert_allclose(found[1][name], one, rtol=1e-9, atol=1e-12, err_msg=name)


# Files -----------------------------------------------------------------------------------------

QUESTION = """
    import numpy as np
    import scipy.sparse as sp
    import sys
    from sklearn.linear_model import LogisticRegression
    from skinfluence import Influence

    rng = np.random.default_rng(0)
    # As many entries as the smallest of the compiled functions is used for.
    X = sp.csr_array(rng.standard_normal((4000, 50)))
    y = X[:, [0]].toarray().ravel() + rng.standard_normal(4000) > 0
    inf = Influence(LogisticRegression(tol=1e-8).fit(X, y), X, y)
    print(inf.influence_up_loss(X[:2], y[:2]).sum().round(9), "numba" in sys.modules)
"""


def test_folders_that_cannot_be_written_are_not_needed(tmp_path):
    """Neither a home nor a cache: the same answer, compiled for this process."""
    (tmp_path / "file").write_text("no folder can be made in a file")
    nowhere = str(tmp_path / "file" / "cache")
    with redirect_stdout(io.StringIO()) as cached:
        exec(textwrap.dedent(QUESTION), {})
    found = run(QUESTION, HOME=nowhere, NUMBA_CACHE_DIR=nowhere, XDG_CACHE_HOME=nowhere)
    assert found == cached.getvalue() and found.endswith("True\n")


def half(x):
    return 0.5 * x


def test_a_cache_that_was_cut_short_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    assert compiled()(half)(3.0) == 1.5
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for content in (b"", b"garbage"):
        for path in files:
            path.write_bytes(content)
        assert compiled()(half)(3.0) == 1.5
        # And it serves again.
        again = compiled()(half)
        assert again(3.0) == 1.5
        assert sum(again.stats.cache_hits.values()) == 1


def test_a_compiled_function_is_made_again_where_one_that_it_calls_changed(tmp_path, monkeypatch):
    """numba looks at the caller's file alone, and would answer by what stood in the other one."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    assert compiled()(half)(3.0) == 1.5
    same = compiled()(half)
    assert same(3.0) == 1.5 and sum(same.stats.cache_hits.values()) == 1
    monkeypatch.setattr(cached, "stamp", lambda: ((0.0, 1),))
    anew = compiled()(half)
    assert anew(3.0) == 1.5 and sum(anew.stats.cache_misses.values()) == 1


def test_every_compiled_function_is_cached_that_way():
    for path in Path(PACKAGE, "_compiled").glob("*.py"):
        assert path.name == "cached.py" or "cache=True" not in path.read_text(), path.name


@pytest.mark.parametrize("what", ["locator", "save"])
def test_a_disk_that_takes_no_cache_fails_no_question(what, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def nowhere(*args, **kwargs):
        raise RuntimeError("cannot cache function 'half': no locator available")

    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    if what == "save":
        monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)
    else:
        monkeypatch.setattr("numba.core.caching.FunctionCache.__init__", nowhere)
    assert compiled()(half)(3.0) == 1.5


@EVERY
def test_a_pickle_that_was_cut_short_is_no_influence(kind):
    """An error of pickle's, never an object that answers by halves."""
    whole = Asked(kind).fresh
    for share in (0.1, 0.5, 0.9, 0.999):
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            pickle.loads(whole[: int(share * len(whole))])
