"""nnkernels.sklearn: the same networks as scikit-learn, reproducible bits, and additional features.

`python tests/test_sklearn.py` prints the SHA-256 of fits. It runs in a separate process for each
other target, and with other kernels of NumPy and BLAS. A changed hash means that a fit changes for
all users: state why in python/docs/changes.md.
"""

import copy
import hashlib
import inspect
import json
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, product
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import sklearn
import threadpoolctl
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.class_weight import compute_sample_weight

import nnkernels as nnk
from conftest import TARGETS
from corpus import Array, numbers
from nnkernels import lbfgs
from nnkernels import sklearn as estimators
from test_errors import run
from test_reproducible import backwards, fortran, one_byte_on, rows_apart, strided
from ulp import same_bits

Settings = dict[str, Any]
Estimator = Any  # one of ours, or of scikit-learn's
Rows = Any  # any kind of X

ROWS, INPUTS = 120, 7


@pytest.fixture(autouse=True)
def one_thread_of_blas() -> Iterator[None]:
    """Let scikit-learn use one thread. Several are slower here, much slower under load."""
    with threadpoolctl.threadpool_limits(1):
        yield


# --- Data, by integer arithmetic: equal on all machines, and X is exact in float32 ---


def inputs() -> Array:
    return numbers("float32", ROWS, INPUTS).astype(np.float64) / 2


def targets() -> dict[str, Array]:
    """Return y of each kind of problem, each a function of X."""
    x = inputs()
    numbers_ = x[:, 0] - 2 * x[:, 1] + x[:, 2] * x[:, 3]
    return {
        "classes": np.array(["dog", "cat", "eel"])[x[:, :3].argmax(axis=1)],
        "binary": np.where(x[:, 0] * x[:, 1] > 0.5, 7, -7),
        "labels": (x[:, :4] > x[:, 1:5]).astype(int),
        "number": numbers_ / 4,
        "numbers": np.stack([numbers_ / 4, x[:, 0] * x[:, 4], x[:, 5] / 2], axis=1),
        "counts": np.floor(np.abs(x[:, 0] * x[:, 1])),
    }


X, Y = inputs(), targets()
WEIGHTS = np.abs(numbers("float64", ROWS, seed=5))
SMALL: Settings = {"hidden_layer_sizes": (6,), "max_iter": 15, "random_state": 0}


def is_regression(kind: str) -> bool:
    return kind in ("number", "numbers", "counts")


def make(module: Any, kind: str, **settings: Any) -> Estimator:
    """Return an estimator for a kind of problem, from nnkernels or scikit-learn."""
    if kind == "counts":
        settings = {"loss": "poisson", **settings}
    return (module.MLPRegressor if is_regression(kind) else module.MLPClassifier)(**settings)


ours, theirs = partial(make, estimators), partial(make, neural_network)


def quiet(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call without the warning that max_iter was reached."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return call(*arguments, **keywords)


def fitted(estimator: Estimator, x: Rows, y: Any, *arguments: Any, **keywords: Any) -> Estimator:
    return quiet(estimator.fit, x, y, *arguments, **keywords)


def parameters(estimator: Estimator) -> Array:
    """Return all weights and intercepts in one vector."""
    return np.concatenate([array.ravel() for array in (*estimator.coefs_, *estimator.intercepts_)])


def outputs(estimator: Estimator, x: Rows = X) -> Array:
    return (estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict)(x)


def same_fit(a: Estimator, b: Estimator) -> bool:
    return (
        same_bits(parameters(a), parameters(b))
        and a.loss_ == b.loss_
        and getattr(a, "loss_curve_", None) == getattr(b, "loss_curve_", None)
        and getattr(a, "validation_scores_", None) == getattr(b, "validation_scores_", None)
    )


# --- The same networks as scikit-learn ---

TOLERANCES = {"sgd": 1e-9, "adam": 1e-6}  # relative to the largest weight


def assert_agree(ours: Estimator, theirs: Estimator, tolerance: float) -> None:
    """Assert that two fits have the same attributes, up to rounding errors."""
    expected = parameters(theirs)
    largest = np.abs(expected).max()
    for name in ("coefs_", "intercepts_"):
        assert [array.shape for array in getattr(ours, name)] == [array.shape for array in getattr(theirs, name)]
    np.testing.assert_allclose(parameters(ours), expected, rtol=0, atol=tolerance * largest)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("loss_curve_", "validation_scores_", "loss_", "best_loss_", "best_validation_score_"):
        actual, expected = getattr(ours, name), getattr(theirs, name)
        assert type(actual) is type(expected) or isinstance(actual, float), name
        if expected is not None:
            np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_allclose(outputs(ours), outputs(theirs), rtol=0, atol=100 * tolerance * max(1, largest))


class Case(NamedTuple):
    """A kind of problem, and settings in addition to `SMALL`."""

    kind: str
    settings: Settings
    weighted: bool = False

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{self.kind}{', weighted' if self.weighted else ''}: {settings}"

    def fit(self, make: Callable[..., Estimator]) -> Estimator:
        estimator = make(self.kind, **SMALL | self.settings)
        return fitted(estimator, X, Y[self.kind], sample_weight=WEIGHTS if self.weighted else None)


def cases() -> Iterator[Case]:
    """Yield variations of each default setting, and pairs of settings that may interact."""
    sgd: Settings = {"solver": "sgd", "learning_rate_init": 0.05}
    early: Settings = {"early_stopping": True, "validation_fraction": 0.2, "max_iter": 60}
    for kind, solver, weighted in product(Y, (sgd, {"solver": "adam"}), (False, True)):
        yield Case(kind, solver | {"learning_rate_init": 0.01}, weighted)
    for solver, activation in product(("sgd", "adam"), ("identity", "logistic", "tanh", "relu")):
        yield Case("classes", {"solver": solver, "activation": activation, "hidden_layer_sizes": (5, 4), "batch_size": 32})
    for hidden in (5, [6, 4], np.array([3]), (4, 3, 5)):
        yield Case("number", sgd | {"hidden_layer_sizes": hidden})
    for batch_size, weighted in product((1, 7, 119, 120), (False, True)):
        # Only scikit-learn clips its loss for probabilities below 1e-16, so learn slowly.
        yield Case("classes", sgd | {"batch_size": batch_size, "max_iter": 4, "learning_rate_init": 0.002}, weighted)
    for solver in ("sgd", "adam"):
        yield Case("numbers", {"solver": solver, "batch_size": 50, "shuffle": False})
        for kind, weighted in product(("classes", "binary", "labels", "numbers"), (False, True)):
            yield Case(kind, {"solver": solver, "batch_size": 25, "learning_rate_init": 0.02, **early}, weighted)
        # An epoch that equals the best score counts as no improvement.
        yield Case("classes", {"solver": solver, **early, "tol": 0, "n_iter_no_change": 3})
        for alpha in (0, 0.5):
            yield Case("binary", {"solver": solver, "alpha": alpha, "batch_size": 50})
    for schedule, momentum, nesterov in product(("constant", "invscaling", "adaptive"), (0, 0.9, 1), (True, False)):
        settings = {"learning_rate": schedule, "momentum": momentum, "nesterovs_momentum": nesterov, "batch_size": 40}
        yield Case("classes", sgd | settings)
    yield Case("number", sgd | {"learning_rate": "invscaling", "power_t": 0.3, "batch_size": 40})
    yield Case("number", sgd | {"learning_rate": "invscaling", "power_t": 0, "batch_size": 40})
    # The rate decreases until the fit ends.
    yield Case("number", sgd | {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 200})
    yield Case("binary", sgd | early | {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 200})
    yield Case("number", sgd | {"tol": 0.5, "n_iter_no_change": 3})
    yield Case("number", sgd | {"tol": 1e9, "n_iter_no_change": np.inf})
    yield Case("numbers", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "learning_rate_init": 0.02})
    yield Case("counts", {"beta_1": 0, "beta_2": 0})
    yield Case("classes", sgd | {"random_state": 7})


CASES = {str(case): case for case in cases()}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_scikit_learn(name: str) -> None:
    case = CASES[name]
    assert_agree(case.fit(ours), case.fit(theirs), TOLERANCES[case.settings.get("solver", "adam")])


# Extreme rows and targets, in addition to CASES.
EDGES: dict[str, tuple[str, Settings, Any, Any]] = {
    "no hidden layer": ("classes", {"hidden_layer_sizes": ()}, X, Y["classes"]),
    "one class": ("classes", {}, X, np.full(ROWS, 4)),
    "one row": ("number", {}, X[:1], Y["number"][:1]),
    "one row of a class": ("classes", {}, X[:1], Y["classes"][:1]),
    "a column of classes": ("classes", {}, X, Y["classes"][:, np.newaxis]),
    "a column of numbers": ("number", {}, X, Y["number"][:, np.newaxis]),
    "bool": ("binary", {}, X, Y["binary"] > 0),
    "classes of float64": ("binary", {}, X, 1.0 * Y["binary"]),
    "objects": ("classes", {}, X, Y["classes"].astype(object)),
    "categories": ("classes", {}, X, pd.Series(Y["classes"]).astype("category")),
    "sparse labels": ("labels", {}, X, sparse.csr_array(Y["labels"])),
    "one label": ("labels", {}, X, Y["labels"][:, :1]),
    "two labels": ("labels", {}, X, Y["labels"][:, :2]),
    "a label that no row has": ("labels", {}, X, Y["labels"] * [0, 1, 1, 1]),
    "X of int64": ("number", {}, (2 * X).astype(int), Y["number"]),
    "X of bool": ("number", {}, X > 0, Y["number"]),
    "y of int64": ("number", {}, X, (10 * Y["number"]).astype(int)),
    "y of float32": ("number", {}, X, Y["number"].astype("float32")),
    "large counts": ("counts", {"max_iter": 3}, X, 1e5 * Y["counts"]),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize("name", EDGES)
def test_edges_agree_with_scikit_learn(name: str) -> None:
    kind, settings, x, y = EDGES[name]
    pair = [fitted(make(kind, **SMALL | settings), x, y) for make in (ours, theirs)]
    assert_agree(*pair, TOLERANCES["adam"])
    if is_regression(kind):
        np.testing.assert_allclose(pair[0].predict(x), pair[1].predict(x), rtol=1e-6)
    else:
        predicted, expected = (estimator.predict(x) for estimator in pair)
        assert predicted.dtype == expected.dtype
        assert type(predicted) is type(expected)
        np.testing.assert_array_equal(
            *(sparse.coo_array(p).toarray() if sparse.issparse(p) else p for p in (predicted, expected))
        )


def test_rows_of_weight_0_count_nothing() -> None:
    """Not even in a batch of such rows only, for which scikit-learn divides by 0."""
    settings = SMALL | {"shuffle": False, "batch_size": 30, "alpha": 0.0}
    weights = 1.0 * (np.arange(ROWS) >= 60)
    all_rows = fitted(ours("classes", **settings), X, Y["classes"], weights)
    some = fitted(ours("classes", **settings), X[60:], Y["classes"][60:])
    np.testing.assert_allclose(parameters(all_rows), parameters(some), rtol=0, atol=1e-12)


def in_parts(estimator: Estimator, x: Array, y: Array) -> None:
    classes = np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])
    estimator.partial_fit(x[:50], y[:50], **{"classes": classes} if hasattr(estimator, "predict_proba") else {})
    for rows in (slice(50, 120), slice(0, 120), slice(70, 120)):
        estimator.partial_fit(x[rows], y[rows])


def in_weighted_parts(estimator: Estimator, x: Array, y: Array) -> None:
    in_parts(estimator, x, y)
    estimator.partial_fit(x[:60], y[:60], WEIGHTS[:60])
    estimator.partial_fit(x[60:], y[60:], sample_weight=WEIGHTS[60:])


def parts_after_fit(estimator: Estimator, x: Array, y: Array) -> None:
    fitted(estimator, x, y)
    for _ in range(3):
        estimator.partial_fit(x[:70], y[:70])


def fit_after_parts(estimator: Estimator, x: Array, y: Array) -> None:
    in_parts(estimator, x, y)
    fitted(estimator, x, y)


def warm_start(estimator: Estimator, x: Array, y: Array) -> None:
    fitted(estimator.set_params(warm_start=True), x, y)
    fitted(estimator.set_params(max_iter=4), x, y)
    estimator.partial_fit(x, y)
    fitted(estimator, x[:80], y[:80])


def weights_set(estimator: Estimator, x: Array, y: Array) -> None:
    fitted(estimator, x, y)
    estimator.coefs_ = [array * 0.5 for array in estimator.coefs_]
    estimator.intercepts_[0] = np.zeros_like(estimator.intercepts_[0])
    estimator.partial_fit(x, y)
    estimator.coefs_[0][:2] = 0.25
    estimator.intercepts_[-1] += 1
    estimator.partial_fit(x, y)


def warm_start_from_weights_set(estimator: Estimator, x: Array, y: Array) -> None:
    weights_set(estimator, x, y)
    estimator.coefs_[-1] *= -1
    fitted(estimator.set_params(warm_start=True), x, y)


def settings_changed(estimator: Estimator, x: Array, y: Array) -> None:
    in_parts(estimator, x, y)
    estimator.set_params(alpha=0.3, batch_size=17)
    estimator.partial_fit(x, y)


def one_random_state(estimator: Estimator, x: Array, y: Array) -> None:
    """Continue the random numbers instead of starting them again."""
    estimator.set_params(random_state=np.random.RandomState(3))
    in_parts(estimator, x, y)
    fitted(estimator, x, y)


def numpys_random_state(estimator: Estimator, x: Array, y: Array) -> None:
    np.random.seed(5)  # noqa: NPY002  (random_state=None uses it)
    fitted(estimator.set_params(random_state=None), x, y)
    estimator.partial_fit(x, y)


SEQUENCES = (
    in_parts, in_weighted_parts, parts_after_fit, fit_after_parts, warm_start, weights_set, warm_start_from_weights_set,
    settings_changed, one_random_state, numpys_random_state,
)  # fmt: skip


# Each sequence with each kind. The solvers alternate, so that each runs with every sequence and
# every kind.
SOLVERS = ("sgd constant", "sgd invscaling", "sgd adaptive", "adam")
KINDS = ("classes", "binary", "labels", "numbers", "counts")
CALLS_IN_TURN = [(*pair, solver) for pair, solver in zip(product(SEQUENCES, KINDS), cycle(SOLVERS), strict=False)]


@pytest.mark.parametrize(("sequence", "kind", "solver"), CALLS_IN_TURN, ids=lambda value: getattr(value, "__name__", value))
def test_sequences_of_calls_agree_with_scikit_learn(sequence: Callable[..., None], kind: str, solver: str) -> None:
    name, _, schedule = solver.partition(" ")
    settings = SMALL | {"solver": name, "learning_rate_init": 0.02, "batch_size": 40, "n_iter_no_change": 1, "tol": 0.01}
    pair = [make(kind, **settings, learning_rate=schedule or "constant") for make in (ours, theirs)]
    for estimator in pair:
        sequence(estimator, X, Y[kind])
    assert_agree(*pair, TOLERANCES[name])


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_warm_start_with_early_stopping_agrees_with_scikit_learn(kind: str) -> None:
    pair = [make(kind, **SMALL | {"solver": "sgd", "early_stopping": True, "warm_start": True}) for make in (ours, theirs)]
    for estimator, max_iter in product(pair, (5, 8)):
        fitted(estimator.set_params(max_iter=max_iter), X, Y[kind])
    assert_agree(*pair, TOLERANCES["sgd"])


def recorded(call: Callable[[], Any]) -> list[tuple[type[Warning], str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [(warning.category, str(warning.message)) for warning in caught]


@pytest.mark.parametrize(
    "settings", [{"max_iter": 2}, {"max_iter": 2, "batch_size": 1000}, {"tol": 10.0, "max_iter": 100}], ids=str
)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_warnings_are_those_of_scikit_learn(settings: Settings, solver: str) -> None:
    actual, expected = (
        recorded(lambda make=make: make("classes", **SMALL | settings, solver=solver).fit(X, Y["classes"]))
        for make in (ours, theirs)
    )
    assert actual == expected


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("classes", {"solver": "sgd", "max_iter": 3}),
        ("classes", {"solver": "sgd", "tol": 0.05, "n_iter_no_change": 1, "max_iter": 60, "learning_rate": "adaptive"}),
        ("number", {"early_stopping": True, "tol": 0.5, "max_iter": 30}),
        ("number", {"tol": 0.5, "max_iter": 30}),
    ],
    ids=str,
)
def test_verbose_prints_what_scikit_learn_prints(kind: str, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for make in (ours, theirs):
        fitted(make(kind, **SMALL | settings, verbose=True), X, Y[kind])
        printed.append(capsys.readouterr())
    (actual, _), (expected, _) = printed
    number = r"-?\d+\.\d+"
    assert re.sub(number, "#", actual) == re.sub(number, "#", expected)
    for pair in zip(re.findall(number, actual), re.findall(number, expected), strict=True):
        assert float(pair[0]) == pytest.approx(float(pair[1]), abs=2e-6)
        assert len(pair[0].partition(".")[2]) == len(pair[1].partition(".")[2])


OFF_DEFAULT: dict[str, tuple[Any, Settings]] = {
    "hidden_layer_sizes": ((3,), {}),
    "activation": ("tanh", {}),
    "solver": ("sgd", {}),
    "alpha": (0.1, {}),
    "batch_size": (16, {}),
    "learning_rate": ("invscaling", {"solver": "sgd"}),
    "learning_rate_init": (0.1, {}),
    "power_t": (0.1, {"solver": "sgd", "learning_rate": "invscaling"}),
    "max_iter": (3, {}),
    "shuffle": (False, {"batch_size": 30}),
    "random_state": (4, {}),
    "tol": (1.0, {"n_iter_no_change": 2}),
    "momentum": (0.3, {"solver": "sgd"}),
    "nesterovs_momentum": (False, {"solver": "sgd"}),
    "early_stopping": (True, {}),
    "validation_fraction": (0.4, {"early_stopping": True}),
    "beta_1": (0.5, {}),
    "beta_2": (0.5, {}),
    "epsilon": (0.1, {}),
    "n_iter_no_change": (1, {"tol": 1.0}),
    "max_fun": (3, {"solver": "lbfgs"}),
    "loss": ("poisson", {}),
    "dtype": ("float32", {}),
    "class_weight": ({7: 3}, {}),
    "warm_start": (True, {}),
}
# Tested by test_verbose, test_callback and test_progress.
SAY_ONLY = {"verbose", "callback", "progress"}


@pytest.mark.parametrize("name", OFF_DEFAULT)
def test_each_parameter_acts(name: str) -> None:
    """A value other than the default gives a different network. Other tests check its effect."""
    value, others = OFF_DEFAULT[name]
    kind = "counts" if name == "loss" else "binary"
    if name == "loss":
        value = "squared_error"
    pair = []
    for settings in ({}, {name: value}):
        estimator = fitted(ours(kind, **SMALL | others | settings), X, Y[kind])
        if name == "warm_start":
            fitted(estimator, X, Y[kind])
        pair.append(estimator)
    assert not np.array_equal(parameters(pair[0]), parameters(pair[1])), name


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_parameters_and_defaults_are_those_of_scikit_learn(name: str) -> None:
    actual, expected = (inspect.signature(getattr(module, name)).parameters for module in (estimators, neural_network))
    shared = {key: value for key, value in actual.items() if key in expected}
    assert list(shared) == list(expected)
    assert {key: (value.default, value.kind) for key, value in shared.items()} == {
        key: (value.default, value.kind) for key, value in expected.items()
    }
    more = {key: value.default for key, value in actual.items() if key not in expected}
    assert more.items() <= {"dtype": None, "class_weight": None, "callback": None, "progress": False}.items()
    assert ("class_weight" in more) == (name == "MLPClassifier")
    assert set(actual) - SAY_ONLY - {"loss"} <= set(OFF_DEFAULT)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["classes", "number"])
def test_attributes_and_methods_are_those_of_scikit_learn(kind: str, solver: str) -> None:
    pair = [fitted(make(kind, **SMALL, solver=solver), X, Y[kind]) for make in (ours, theirs)]
    actual, expected = ({name for name in dir(estimator) if not name.startswith("_")} for estimator in pair)
    assert actual - expected == {"network_", "dtype", "callback", "progress"} | (
        {"class_weight"} if kind == "classes" else set()
    )
    # With lbfgs, scikit-learn's regressor has partial_fit, but its classifier does not.
    assert expected - actual == ({"partial_fit"} if kind == "number" and solver == "lbfgs" else set())
    for name in ("coefs_", "intercepts_", "n_iter_", "t_", "n_features_in_"):
        assert type(getattr(pair[0], name)) is type(getattr(pair[1], name)), name
    assert isinstance(pair[0].loss_, float)
    for array in (*pair[0].coefs_, *pair[0].intercepts_):
        assert type(array) is np.ndarray
        assert array.flags.writeable
    assert hasattr(pair[0], "partial_fit") == (solver != "lbfgs")


def test_classes_are_not_those_of_scikit_learn() -> None:
    for name in ("MLPClassifier", "MLPRegressor"):
        assert not issubclass(getattr(estimators, name), getattr(neural_network, name))
        assert getattr(estimators, name).__module__ == "nnkernels.sklearn"


# --- The same bits ---

# The fits with committed hashes: kind, settings, dtype of X.
FITS: dict[str, tuple[str, Settings, str]] = {
    "sgd": ("binary", {"solver": "sgd", "batch_size": 32, "learning_rate_init": 0.05}, "float64"),
    "sgd invscaling": ("labels", {"solver": "sgd", "batch_size": 50, "learning_rate": "invscaling", "power_t": 0.3}, "float32"),
    "sgd adaptive": ("number", {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1}, "float64"),
    "adam": ("classes", {"batch_size": 32}, "float64"),
    "adam float32": ("classes", {"batch_size": 32}, "float32"),
    "adam early stopping": ("numbers", {"early_stopping": True, "learning_rate_init": 0.02, "max_iter": 40}, "float64"),
    "adam poisson": ("counts", {"activation": "tanh", "hidden_layer_sizes": (6, 4)}, "float32"),
    "adam weighted": ("binary", {"activation": "logistic", "class_weight": "balanced"}, "float64"),
    "lbfgs": ("classes", {"solver": "lbfgs"}, "float64"),
    "lbfgs float32": ("numbers", {"solver": "lbfgs", "activation": "tanh"}, "float32"),
    "lbfgs poisson": ("counts", {"solver": "lbfgs", "activation": "logistic"}, "float64"),
}
GOLDEN = {
    "sgd": "fdfe9f04d25a6ca272dbc0ce3c735ad72343eef44cbf37255575f46890c3e5c2",
    "sgd invscaling": "3b4c214902a416956ef0d8feb106bead11c0f1619468c3c4ad3507d0a2079971",
    "sgd adaptive": "6a366f90a440effdbb8e89d69cdc188dd42ccc6f17a598c487b70e6c5b5dff7d",
    "adam": "44b93adc398d0f4a7e3a55b957669ac03fe171a9e757ee2a7d3c22b05776eecd",
    "adam float32": "ba122ec2044d84d174e502925639f8125eac67aff20a6e54bb2c56e52a51a536",
    "adam early stopping": "c16aa579b21448f7966c0d46b213964ff89926b65c2a6725dd263d568811f813",
    "adam poisson": "caaddbb735ef75ec65081bc712434c15c3e3849ba9960e646aae52bcdf75aed5",
    "adam weighted": "a4748c9d45d6d1ca253c53892a537ea3245c5cd229b5c709c57c673392ccdc82",
    "lbfgs": "c104eb4623d7c1b2812949b6bd1ef0b23bdc45b8b4742f3e5f0b7963478277df",
    "lbfgs float32": "95385e1d03efe31e1063f656da163365e3c4f4d35e5bff0494bd02463bcc2256",
    "lbfgs poisson": "e3d00f2d1eb585c41fe474bb00397e6df7afe3958ac7a0a78e3b64a89f0da601",
}


def digest(estimator: Estimator) -> str:
    """Return the SHA-256 of weights, losses and outputs."""
    sums = hashlib.sha256()
    for array in (parameters(estimator), getattr(estimator, "loss_curve_", [estimator.loss_]), outputs(estimator)):
        sums.update(np.asarray(array).tobytes())
    return sums.hexdigest()


def fit_named(name: str, layout: Callable[[Array], Rows] = np.asarray, **more: Any) -> Estimator:
    kind, settings, dtype = FITS[name]
    return fitted(ours(kind, **SMALL | settings | more), layout(X.astype(dtype)), Y[kind])


def digests() -> dict[str, str]:
    return {name: digest(fit_named(name)) for name in FITS}


@pytest.fixture(scope="module")
def expected() -> dict[str, Estimator]:
    return {name: fit_named(name) for name in FITS}


def test_golden_hashes(expected: dict[str, Estimator]) -> None:
    assert {name: digest(estimator) for name, estimator in expected.items()} == GOLDEN


def environments() -> Iterator[dict[str, str]]:
    """Yield environments for other kernels of nnkernels, BLAS and NumPy, on one thread."""
    dispatched = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])  # type: ignore[call-overload]
    of_numpy = {"NPY_DISABLE_CPU_FEATURES": " ".join(dispatched)} if dispatched else {}
    blas = {"generic": "Prescott", "avx2": "Haswell"} if "avx2" in TARGETS else {}
    for target in [target for target in TARGETS if target != nnk.config()["target"]] or TARGETS:
        of_blas = {"OPENBLAS_CORETYPE": blas[target]} if target in blas else {}
        yield {"NNKERNELS_TARGET": target, "OMP_NUM_THREADS": "1"} | of_numpy | of_blas


@pytest.mark.parametrize("environment", [*environments()], ids=str)
def test_same_bits_by_other_kernels(environment: dict[str, str]) -> None:
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); runpy.run_path({__file__!r}, None, '__main__')"
    )
    ran = run(code, **environment)
    assert ran.returncode == 0, ran.stderr
    assert dict(line.rsplit(" ", 1) for line in ran.stdout.splitlines()) == GOLDEN


def frame(x: Array) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"column {i}" for i in range(x.shape[1])])


def read_only(x: Array) -> Array:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[Array], Rows]] = {
    **{layout.__name__: layout for layout in (fortran, strided, backwards, rows_apart, one_byte_on, read_only)},
    "DataFrame": frame,
    "csr": sparse.csr_array,
    "csc": sparse.csc_array,
    "csr matrix": sparse.csr_matrix,
    "unsorted csc": lambda x: sparse.csc_matrix(sparse.csr_matrix(x)[::-1])[::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FITS)
def test_same_bits_by_layout(name: str, layout: str, expected: dict[str, Estimator]) -> None:
    estimator = fit_named(name, LAYOUTS[layout])
    assert same_fit(estimator, expected[name])
    rows = LAYOUTS[layout](X.astype(FITS[name][2]))
    assert same_bits(outputs(estimator, rows), outputs(expected[name], X.astype(FITS[name][2])))


@pytest.mark.parametrize("name", FITS)
def test_same_bits_from_lists(name: str, expected: dict[str, Estimator]) -> None:
    kind, settings, dtype = FITS[name]
    assert same_fit(fitted(ours(kind, **SMALL | settings, dtype=dtype), X.tolist(), Y[kind].tolist()), expected[name])


@pytest.mark.parametrize("name", FITS)
def test_same_bits_by_dtype_of_the_same_values(name: str, expected: dict[str, Estimator]) -> None:
    kind, settings, dtype = FITS[name]
    for of in ("float32", "float64"):
        for same in (dtype, np.dtype(dtype), np.dtype(dtype).type):
            estimator = fitted(ours(kind, **SMALL | settings, dtype=same), X.astype(of), Y[kind])
            assert same_fit(estimator, expected[name])
            assert {array.dtype for array in (*estimator.coefs_, *estimator.intercepts_)} == {np.dtype(dtype)}


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threads_used", [1, 2, 7])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_same_bits_by_threads(solver: str, threads_used: int, expected: dict[str, Estimator]) -> None:
    nnk.set_num_threads(threads_used)
    for name in FITS:
        if name.startswith(solver):
            assert same_fit(fit_named(name), expected[name])
    # Large enough for several threads.
    x, labels = numbers("float32", 300, 150), np.arange(300) % 3
    settings: Settings = {"solver": solver, "hidden_layer_sizes": (200,), "max_iter": 2, "random_state": 0}
    shared = fitted(ours("classes", **settings), x, labels)
    nnk.set_num_threads(1)
    assert same_fit(shared, fitted(ours("classes", **settings), x, labels))


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_same_bits_by_jobs(backend: str, expected: dict[str, Estimator]) -> None:
    def fit(name: str) -> Estimator:
        kind, settings, dtype = FITS[name]
        return ours(kind, **SMALL | settings).fit(X.astype(dtype), Y[kind])

    with joblib.parallel_config(backend=backend), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(fit)(name) for name in FITS)
    for name, estimator in zip(FITS, found, strict=True):
        assert same_fit(estimator, expected[name])
        assert same_bits(outputs(estimator), outputs(expected[name]))


def test_rows_alone_have_the_bits_of_the_batch(expected: dict[str, Estimator]) -> None:
    for name, estimator in expected.items():
        rows = X.astype(FITS[name][2])
        assert same_bits(np.concatenate([outputs(estimator, rows[i : i + 1]) for i in range(ROWS)]), outputs(estimator, rows))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_parts_weights_and_early_stopping_have_the_bits_of_dense(container: Callable[..., Any], solver: str) -> None:
    x = np.where(X > 0.5, X, 0)
    pair = []
    for rows in (x, container(x)):
        estimator = ours("classes", **SMALL, solver=solver, batch_size=25)
        fitted(estimator, rows, Y["classes"], WEIGHTS)
        estimator.partial_fit(rows, Y["classes"])
        stopped = fitted(ours("number", **SMALL, solver=solver, early_stopping=True, batch_size=25), rows, Y["number"], WEIGHTS)
        pair.append((estimator, stopped))
    assert all(map(same_fit, *pair))


# --- lbfgs ---


def rosenbrock(x: Array) -> tuple[float, Array]:
    return float(scipy.optimize.rosen(x)), scipy.optimize.rosen_der(x)


def quadratic(x: Array) -> tuple[float, Array]:
    """Return a quadratic bowl, 10,000 times as steep in one direction as in another."""
    scales = np.logspace(0, 4, len(x))
    return float((scales * (x - 1) ** 2).sum() / 2), scales * (x - 1)


def logistic_regression(w: Array) -> tuple[float, Array]:
    """Return the loss of a linear classifier, with a penalty."""
    signs = np.where(Y["binary"] > 0, 1, -1)
    z = signs * (X @ w)
    slopes = -signs / (1 + np.exp(z))
    return float(np.logaddexp(0, -z).mean() + 0.005 * w @ w), X.T @ slopes / ROWS + 0.01 * w


def beale(x: Array) -> tuple[float, Array]:
    a, b = x
    parts = np.array([1.5 - a + a * b, 2.25 - a + a * b**2, 2.625 - a + a * b**3])
    return float(parts @ parts), 2 * np.array([[b - 1, b**2 - 1, b**3 - 1], [a, 2 * a * b, 3 * a * b**2]]) @ parts


FUNCTIONS: dict[str, tuple[Callable[[Array], tuple[float, Array]], Array]] = {
    "Rosenbrock 2": (rosenbrock, np.array([-1.2, 1.0])),
    "Rosenbrock 10": (rosenbrock, np.tile([-1.2, 1.0], 5)),
    "quadratic 2": (quadratic, np.zeros(2)),
    "quadratic 30": (quadratic, np.zeros(30)),
    "logistic regression": (logistic_regression, np.zeros(INPUTS)),
    "Beale": (beale, np.array([1.0, 1.0])),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_minimize_beside_scipy(name: str) -> None:
    function, start = FUNCTIONS[name]
    before = start.copy()
    counted = 0

    def evaluate(x: Array) -> tuple[float, Array]:
        nonlocal counted
        counted += 1
        return function(x)

    ours = lbfgs.minimize(evaluate, start, tolerance=1e-6)
    theirs = scipy.optimize.minimize(function, start, method="L-BFGS-B", jac=True, options={"gtol": 1e-6, "maxiter": 15000})
    assert ours.converged
    assert same_bits(start, before)
    assert ours.evaluations == counted
    value, gradient = function(ours.x)
    assert ours.value == value
    assert ours.value <= theirs.fun + 1e-7
    assert np.abs(gradient).max() < 1e-2
    assert ours.evaluations <= 1.5 * theirs.nfev + 5


def test_minimize_ends_where_it_is_told() -> None:
    start = np.tile([-1.2, 1.0], 5)
    first = rosenbrock(start)[0]
    for most in (1, 2, 5, 20):
        few = lbfgs.minimize(rosenbrock, start, max_iterations=most)
        assert (few.iterations, few.converged) == (most, False)
        assert few.value == rosenbrock(few.x)[0] < first
        few = lbfgs.minimize(rosenbrock, start, max_evaluations=most)
        assert few.evaluations <= max(most, 2)
        assert not few.converged
        assert few.value == rosenbrock(few.x)[0] <= first
    stopped = lbfgs.minimize(rosenbrock, start, callback=lambda minimum: minimum.iterations == 3)
    assert stopped.iterations == 3
    assert lbfgs.minimize(rosenbrock, np.ones(4)).iterations == 0


def test_minimize_keeps_away_from_what_is_not_finite() -> None:
    """-log(x) + x is infinite or NaN for x <= 0, where the first steps would go."""

    def barrier(x: Array) -> tuple[float, Array]:
        with np.errstate(all="ignore"):
            return float((100 * x - np.log(x)).sum()), 100 - 1 / x

    found = lbfgs.minimize(barrier, np.array([3.0, 1.0]), tolerance=1e-7)
    np.testing.assert_allclose(found.x, 0.01, rtol=1e-6)


@pytest.mark.parametrize("kind", Y)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lbfgs_is_as_good_as_scikit_learns(kind: str, activation: str) -> None:
    """Compares mean minimised losses over several starts, since the problems have many minima."""
    losses: list[list[float]] = [[], []]
    for seed, (of, make) in product(range(6), zip(losses, (ours, theirs), strict=True)):
        settings: Settings = {"solver": "lbfgs", "hidden_layer_sizes": (6,), "activation": activation, "alpha": 0.1}
        estimator = fitted(make(kind, **settings, random_state=seed, max_iter=60), X, Y[kind])
        assert estimator.n_iter_ <= 60
        of.append(objective(estimator, kind))
    assert np.mean(losses[0]) <= np.mean(losses[1]) + 2 * np.std(losses[1]) / len(losses[1]) ** 0.5 + 0.01


def objective(estimator: Estimator, kind: str) -> float:
    """Return the objective of lbfgs: the loss whose gradient scikit-learn computes."""
    y = Y[kind]
    penalty = 0.05 * sum((array**2).sum() for array in estimator.coefs_) / ROWS
    if kind == "counts":
        rates = estimator.predict(X)
        return float((rates - y * np.log(rates)).mean() + penalty)
    if is_regression(kind):
        return float(((estimator.predict(X) - y) ** 2).sum() / (2 * ROWS) + penalty)
    return float(estimator.loss_)


@pytest.mark.parametrize("kind", Y)
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_of_lbfgs_is_that_of_scikit_learn(kind: str, weighted: bool) -> None:
    """scikit-learn's loss_ at our weights, from a fit with one evaluation and no step."""
    keywords = {"sample_weight": WEIGHTS} if weighted else {}
    settings: Settings = {"solver": "lbfgs", "alpha": 0.3, "hidden_layer_sizes": (4,), "max_iter": 20, "random_state": 1}
    mine = fitted(ours(kind, **settings), X, Y[kind], **keywords)
    other = fitted(theirs(kind, **settings, warm_start=True), X, Y[kind], **keywords)
    other.coefs_, other.intercepts_ = ([array.copy() for array in arrays] for arrays in (mine.coefs_, mine.intercepts_))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.set_params(max_fun=1, tol=1e9).fit(X, Y[kind], **keywords)
    assert mine.loss_ == pytest.approx(other.loss_, rel=1e-9)


def test_lbfgs_warm_start_goes_on() -> None:
    estimator = ours("classes", **SMALL, solver="lbfgs", warm_start=True)
    first = fitted(estimator, X, Y["classes"]).loss_
    assert fitted(estimator, X, Y["classes"]).loss_ < first


def test_lbfgs_warns_where_it_has_not_converged() -> None:
    for settings in ({"max_iter": 2}, {"max_fun": 3}):
        with pytest.warns(ConvergenceWarning, match="lbfgs"):
            ours("classes", solver="lbfgs", random_state=0, **settings).fit(X, Y["classes"])


# --- Additional features: dtype, class_weight, callback, progress, network_ ---


@pytest.mark.parametrize("kind", Y)
def test_dtype_follows_x(kind: str) -> None:
    for of, expected in (("float32", "float32"), ("float64", "float64"), ("int64", "float64"), ("float16", "float64")):
        estimator = fitted(ours(kind, **SMALL), X.astype(of), Y[kind])
        assert {array.dtype.name for array in (*estimator.coefs_, *estimator.intercepts_)} == {expected}
        assert outputs(estimator, X.astype(of)).dtype == expected


@pytest.mark.parametrize("dtype", ["float16", "int32", "float128", 3, np.int64])
def test_other_dtypes_are_errors(dtype: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="dtype"):
        ours("classes", dtype=dtype).fit(X, Y["classes"])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", Y)
def test_float32_is_near_float64(kind: str, solver: str) -> None:
    single, double = (
        parameters(fitted(ours(kind, **SMALL, solver=solver, dtype=dtype), X, Y[kind])) for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-4)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_class_weight_equals_sample_weight(solver: str) -> None:
    make = partial(ours, "classes", **SMALL, solver=solver, batch_size=50)
    y = np.where(X[:, 0] > 1, "dog", Y["classes"])  # unbalanced
    for class_weight in ({"dog": 3.0, "eel": 0.25}, "balanced", {"cat": 2, "dog": 1, "eel": 1}):
        weights = compute_sample_weight(class_weight, y)
        by_class = fitted(make(class_weight=class_weight), X, y)
        assert same_fit(by_class, fitted(make(), X, y, weights))
        assert not same_fit(by_class, fitted(make(), X, y))
        both = fitted(make(class_weight=class_weight), X, y, WEIGHTS)
        assert same_fit(both, fitted(make(), X, y, WEIGHTS * weights))
    ones = fitted(make(class_weight={"cat": 1, "dog": 1, "eel": 1}), X, y)
    assert same_fit(ones, fitted(make(), X, y, np.ones(ROWS)))


def test_class_weight_in_partial_fit() -> None:
    y, classes = Y["classes"], np.unique(Y["classes"])
    weights = {"dog": 3.0, "cat": 1.0, "eel": 0.5}
    by_class, by_sample = ours("classes", **SMALL, class_weight=weights), ours("classes", **SMALL)
    for rows in (slice(0, 50), slice(50, 120)):
        by_class.partial_fit(X[rows], y[rows], classes=classes)
        by_sample.partial_fit(X[rows], y[rows], compute_sample_weight(weights, y[rows]), classes=classes)
    assert same_fit(by_class, by_sample)
    with pytest.raises(ValueError, match="balanced"):
        ours("classes", **SMALL, class_weight="balanced").partial_fit(X, y, classes=classes)


@pytest.mark.parametrize("class_weight", ["other", {"cow": 2.0}, 3])
def test_bad_class_weights_are_errors(class_weight: Any) -> None:
    with pytest.raises(ValueError, match=r"class_weight|class weight|cow"):
        ours("classes", **SMALL, class_weight=class_weight).fit(X, Y["classes"])


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("kind", Y)
def test_callback(kind: str, solver: str) -> None:
    seen: list[nnk.Training] = []
    estimator = fitted(ours(kind, **SMALL | {"max_iter": 6}, solver=solver, callback=seen.append), X, Y[kind])
    plain = fitted(ours(kind, **SMALL | {"max_iter": 6}, solver=solver), X, Y[kind])
    assert same_fit(estimator, plain)
    assert [type(training) for training in seen] == [nnk.Training] * estimator.n_iter_
    assert [len(training.losses) for training in seen] == list(range(1, estimator.n_iter_ + 1))
    assert same_bits(seen[-1].network(X), estimator.network_(X))
    assert not same_bits(seen[0].network(X), estimator.network_(X))
    if solver != "lbfgs":
        assert list(seen[-1].losses) == estimator.loss_curve_


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_callback_ends_the_fit(solver: str) -> None:
    """Without a warning; the network so far is kept."""
    make = partial(ours, "classes", hidden_layer_sizes=(6,), random_state=0, solver=solver)
    ended = make(callback=lambda training: len(training.losses) == 4).fit(X, Y["classes"])
    assert ended.n_iter_ == 4
    assert same_bits(parameters(ended), parameters(fitted(make(max_iter=4), X, Y["classes"])))
    for no_end in (1, "True", np.array([1]), None):
        assert fitted(make(max_iter=3, callback=lambda training, value=no_end: value), X, Y["classes"]).n_iter_ == 3


def test_errors_of_a_callback_get_out() -> None:
    def callback(training: nnk.Training) -> None:
        raise LookupError("mine")

    estimator = ours("classes", **SMALL, callback=callback)
    with pytest.raises(LookupError, match="mine"):
        estimator.fit(X, Y["classes"])
    with pytest.raises((TypeError, ValueError), match="callback"):
        ours("classes", **SMALL, callback=3).fit(X, Y["classes"])


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_progress(solver: str, capfd: pytest.CaptureFixture[str]) -> None:
    for progress, shown in ((None, False), (False, False), (True, True)):
        fitted(ours("classes", **SMALL, solver=solver, progress=progress), X, Y["classes"])
        printed = capfd.readouterr()
        assert printed.out == ""
        assert ("15" in printed.err and "loss" in printed.err) == shown, printed.err
    with pytest.raises((TypeError, ValueError), match="progress"):
        ours("classes", **SMALL, progress="yes").fit(X, Y["classes"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", Y)
def test_network(kind: str, dtype: str, tmp_path: Path) -> None:
    estimator, x = fitted(ours(kind, **SMALL, dtype=dtype), X, Y[kind]), X.astype(dtype)
    network = estimator.network_
    assert isinstance(network, nnk.Network)
    network.save(tmp_path / "net.safetensors")
    for same in (network, nnk.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(network))):
        result = same(x)
        if is_regression(kind):
            assert same_bits(result if kind == "numbers" else result.ravel(), estimator.predict(x))
        else:
            assert same_bits(result, estimator.predict_proba(x))
    if kind == "binary":
        assert [layer.activation for layer in network.layers] == ["relu", "sigmoid"]
        assert network(x).shape == (ROWS, 2)
        last = network.layers[-1]
        assert same_bits(last.weights, np.stack([-estimator.coefs_[-1][:, 0], estimator.coefs_[-1][:, 0]]))


def test_weights_that_are_set_count_at_once() -> None:
    for kind in Y:
        estimator = fitted(ours(kind, **SMALL), X, Y[kind])
        before = outputs(estimator)
        estimator.coefs_[0][:] /= 2
        assert not np.array_equal(outputs(estimator), before)
        estimator.coefs_ = [array * 2 if i == 0 else array for i, array in enumerate(estimator.coefs_)]
        assert same_bits(outputs(estimator), before)
        estimator.coefs_ = [array.tolist() for array in estimator.coefs_]
        estimator.intercepts_ = [fortran(array) for array in estimator.intercepts_]
        np.testing.assert_array_equal(outputs(estimator), before)


@pytest.mark.parametrize("shape", [(6,), (4,), (3, 2)])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_warm_start_goes_on_from_weights_that_are_set(shape: tuple[int, ...], early_stopping: bool) -> None:
    estimator = fitted(ours("classes", **SMALL, warm_start=True, early_stopping=early_stopping), X, Y["classes"])
    other = fitted(ours("classes", **SMALL | {"hidden_layer_sizes": shape, "random_state": 7}), X, Y["classes"])
    estimator.coefs_, estimator.intercepts_ = copy.deepcopy((other.coefs_, other.intercepts_))
    expected = parameters(other)
    fitted(estimator.set_params(learning_rate_init=1e-12, max_iter=1), X, Y["classes"])
    np.testing.assert_allclose(parameters(estimator), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_goes_on_from_weights_of_other_shapes(solver: str) -> None:
    estimator = ours("classes", **SMALL, solver=solver).partial_fit(X, Y["classes"], classes=np.unique(Y["classes"]))
    other = fitted(ours("classes", **SMALL | {"hidden_layer_sizes": 4}, solver=solver), X, Y["classes"])
    estimator.coefs_, estimator.intercepts_ = copy.deepcopy((other.coefs_, other.intercepts_))
    assert estimator.partial_fit(X, Y["classes"]).coefs_[0].shape == (INPUTS, 4)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_weights_set_before_the_first_fit(solver: str) -> None:
    other = fitted(ours("classes", **SMALL), X, Y["classes"])
    estimator = ours("classes", **SMALL, solver=solver, warm_start=True)
    estimator.coefs_, estimator.intercepts_ = copy.deepcopy((other.coefs_, other.intercepts_))
    fitted(estimator, X, Y["classes"])
    assert estimator.n_iter_ > 0
    assert estimator.loss_ < other.loss_


@pytest.mark.parametrize(("no", "yes"), [(0, 255), (0, 2), (-0.0, -1.0)])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_any_number_but_0_is_a_yes_of_a_label(no: float, yes: float, early_stopping: bool) -> None:
    settings = SMALL | {"early_stopping": early_stopping}
    expected = fitted(ours("labels", **settings), X, Y["labels"])
    other = fitted(ours("labels", **settings), X, np.where(Y["labels"], yes, no))
    assert same_bits(parameters(other), parameters(expected))
    assert other.loss_curve_ == expected.loss_curve_
    assert other.validation_scores_ == expected.validation_scores_


@pytest.mark.parametrize(("x", "y"), [(1e80, 1.0), (1.0, 1e160), (1e200, 1e200)])
def test_lbfgs_ends_where_the_gradient_is_too_large(x: float, y: float) -> None:
    estimator = ours("number", hidden_layer_sizes=3, solver="lbfgs", random_state=0)
    with pytest.warns(ConvergenceWarning, match="Scale the data"):
        estimator.fit(np.array([[1.0], [2.0], [3.0]]) * x, np.array([1.0, 2.0, 3.0]) * y)


@pytest.mark.parametrize("max_fun", [1, 2, 3, 4])
def test_lbfgs_names_the_limit_of_evaluations(max_fun: int) -> None:
    estimator = ours("number", hidden_layer_sizes=3, solver="lbfgs", random_state=0, max_fun=max_fun)
    with pytest.warns(ConvergenceWarning, match="maximum number of evaluations"):
        estimator.fit(X, Y["number"])


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("given", [{"sample_weight": np.zeros(ROWS)}, {"class_weight": {-7: 0, 7: 0}}])
def test_weights_of_only_0_are_an_error(solver: str, given: dict[str, Any]) -> None:
    estimator = ours("binary", **SMALL, solver=solver, class_weight=given.get("class_weight"))
    with pytest.raises(ValueError, match="at least one non-zero number"):
        estimator.fit(X, Y["binary"], sample_weight=given.get("sample_weight"))


@pytest.mark.parametrize("y", [np.array(["1", "2"] * 60), np.arange(ROWS).astype("M8[D]")])
def test_a_regressor_refuses_what_is_no_number(y: Array) -> None:
    with pytest.raises(ValueError, match="expected y to be real numbers"):
        ours("number").fit(X, y)


def test_one_class_scores_as_it_predicts() -> None:
    estimator = fitted(ours("binary", **SMALL, early_stopping=True), X, np.full(ROWS, 3))
    assert set(estimator.validation_scores_) == {1.0}
    assert set(estimator.predict(X)) == {3}


def test_ctrl_c_among_the_initial_weights_leaves_what_was_there() -> None:
    class Interrupted(np.random.RandomState):
        calls = 0

        def random_sample(self, *arguments: Any) -> Any:
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().random_sample(*arguments)

    estimator = fitted(ours("classes", **SMALL), X, Y["classes"])
    before = parameters(estimator)
    with pytest.raises(KeyboardInterrupt):
        estimator.set_params(random_state=Interrupted(0)).fit(X, Y["classes"])
    assert same_bits(parameters(estimator), before)


@pytest.mark.parametrize("kind", ["classes", "binary", "labels", "number", "counts"])
def test_few_rows_and_many_have_the_same_bits(kind: str) -> None:
    estimator = fitted(ours(kind, **SMALL), X.astype(np.float32), Y[kind])
    predict = estimator.predict if is_regression(kind) else estimator.predict_proba
    for x in (X, X.astype(np.float32)):
        assert same_bits(predict(x)[:7], predict(x[:7]))


def test_network_has_names() -> None:
    frame = pd.DataFrame(X, columns=[f"column {number}" for number in range(INPUTS)])
    for kind in ("classes", "binary"):
        network = fitted(ours(kind, **SMALL), frame, Y[kind]).network_
        assert json.loads(network.metadata["classes"]) == [str(name) for name in np.unique(Y[kind])]
        assert json.loads(network.metadata["columns"]) == list(frame)
    assert "classes" not in fitted(ours("labels", **SMALL), frame, Y["labels"]).network_.metadata
    assert dict(fitted(ours("number", **SMALL), X, Y["number"]).network_.metadata) == {}


def test_a_rate_of_almost_0_is_no_error() -> None:
    fitted(
        ours("number", **SMALL, solver="sgd", learning_rate="invscaling", learning_rate_init=1e-305, power_t=1e300),
        X,
        Y["number"],
    )


def test_predictions() -> None:
    for kind in Y:
        estimator = fitted(ours(kind, **SMALL), X, Y[kind])
        predicted = estimator.predict(X)
        assert predicted.shape == Y[kind].shape
        if is_regression(kind):
            assert not hasattr(estimator, "predict_proba")
            continue
        assert predicted.dtype == Y[kind].dtype
        probabilities = estimator.predict_proba(X)
        logarithms = estimator.predict_log_proba(X)
        np.testing.assert_allclose(np.exp(logarithms), probabilities, rtol=1e-12)
        if kind == "labels":
            np.testing.assert_array_equal(predicted, probabilities > 0.5)
        else:
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-15)
            np.testing.assert_array_equal(predicted, estimator.classes_[probabilities.argmax(axis=1)])
        assert estimator.score(X, Y[kind]) == pytest.approx((predicted == Y[kind]).reshape(ROWS, -1).all(axis=1).mean())


# --- Ctrl-C ---

INTERRUPTED = """
import signal, threading, time, warnings
import numpy as np
from nnkernels.sklearn import MLPClassifier

for rows, inputs, hidden, solver, early in (
    (100, 8, (8,), "adam", False), (100, 8, (8,), "sgd", True), (20_000, 40, (100, 100), "adam", False)
):
    x = np.linspace(-1, 1, rows * inputs).reshape(rows, inputs) % 0.7
    labels = np.arange(rows) % 3
    estimator = MLPClassifier(hidden, solver=solver, max_iter=10**6, max_fun=10**9, tol=0, n_iter_no_change=10**6, alpha=0,
                              early_stopping=early, random_state=0, callback=lambda training: started.set() and None)
    started = threading.Event()

    def interrupt():
        global sent
        started.wait()
        time.sleep(0.1)
        sent = time.monotonic()
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(x, labels)
    seconds = time.monotonic() - sent
    messages = [str(warning.message) for warning in caught]
    print(seconds < 1 or seconds, estimator.n_iter_ > 0, messages, estimator.predict(x[:2]).shape)
"""


@pytest.mark.usefixtures("signals_as_usual")
def test_ctrl_c_ends_the_fit_with_a_warning() -> None:
    """A small fit, one with early stopping, one with a long epoch: each ends within a second."""
    ran = run(INTERRUPTED)
    assert ran.stdout == "True True ['Training interrupted by user.'] (2,)\n" * 3, ran.stdout + ran.stderr


# --- Other tools ---


def carried(estimator: Estimator, folder: Path) -> Iterator[Estimator]:
    yield pickle.loads(pickle.dumps(estimator))
    yield copy.deepcopy(estimator)
    joblib.dump(estimator, folder / "estimator")
    yield joblib.load(folder / "estimator")
    yield joblib.load(folder / "estimator", mmap_mode="r")


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", Y)
def test_copies_go_on_as_the_original(kind: str, solver: str, tmp_path: Path) -> None:
    estimator = fitted(ours(kind, **SMALL, solver=solver, batch_size=30), X, Y[kind])
    estimator.partial_fit(X, Y[kind])
    copies = list(carried(estimator, tmp_path))
    estimator.partial_fit(X, Y[kind])
    for other in copies:
        other.partial_fit(X, Y[kind])
        assert same_fit(other, estimator)
        assert same_bits(outputs(other), outputs(estimator))


def test_clone() -> None:
    estimator = ours("classes", **SMALL, class_weight="balanced", dtype="float32")
    fitted(estimator, X, Y["classes"])
    other = clone(estimator)
    assert other.get_params() == estimator.get_params()
    assert not hasattr(other, "coefs_")
    assert not hasattr(other, "network_")
    assert same_fit(fitted(other, X, Y["classes"]), estimator)


def test_representations() -> None:
    for kind in ("classes", "number"):
        estimator = ours(kind, alpha=0.5)
        name = type(estimator).__name__
        assert repr(estimator) == f"{name}(alpha=0.5)"
        for of in (estimator, fitted(ours(kind, **SMALL), X, Y[kind])):
            html = estimator_html_repr(of)
            assert name in html
            assert "scikit-learn.org/1.9/modules/generated/nnkernels" not in html


@pytest.fixture
def iris() -> tuple[pd.DataFrame, pd.Series]:
    data = load_iris(as_frame=True)
    return data.data, data.target


def test_pipeline_and_set_output(iris: tuple[pd.DataFrame, pd.Series]) -> None:
    x, y = iris
    classifier = ours("classes", hidden_layer_sizes=(10,), solver="lbfgs", random_state=0, max_iter=1000)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), classifier)
    assert pipeline.fit(x, y).score(x, y) > 0.95
    assert list(classifier.feature_names_in_) == list(x.columns)
    with sklearn.config_context(transform_output="pandas"):
        assert make_pipeline(StandardScaler(), clone(classifier)).fit(x, y).score(x, y) > 0.95
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(x[x.columns[::-1]])
    with pytest.warns(UserWarning, match="valid feature names"):
        classifier.predict(x.to_numpy())


def test_column_transformer() -> None:
    table = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": Y["classes"]})
    y = X[:, 0] + (Y["classes"] == "dog")
    columns = ColumnTransformer([("numbers", StandardScaler(), ["a", "b"]), ("names", OneHotEncoder(), ["kind"])])
    for threshold in (0, 1):  # dense and sparse
        columns.set_params(sparse_threshold=threshold)
        model = make_pipeline(columns, ours("number", hidden_layer_sizes=(10,), solver="lbfgs", random_state=0))
        assert quiet(model.fit, table, y).score(table, y) > 0.98


def test_grid_search(iris: tuple[pd.DataFrame, pd.Series]) -> None:
    x, y = iris
    grid = {"alpha": [1e-4, 10.0], "hidden_layer_sizes": [(4,), (8,)], "class_weight": [None, "balanced"]}
    found = []
    for jobs in (1, 2):
        search = GridSearchCV(ours("classes", random_state=0, max_iter=30), grid, cv=3, n_jobs=jobs)
        with joblib.parallel_config(backend="threading"):
            found.append(quiet(search.fit, x, y))
    assert same_fit(*(search.best_estimator_ for search in found))
    assert same_bits(*(search.cv_results_["mean_test_score"] for search in found))
    assert found[0].best_params_["alpha"] == 1e-4


def test_cross_validation(iris: tuple[pd.DataFrame, pd.Series]) -> None:
    x, y = iris
    scores = quiet(cross_val_score, ours("classes", random_state=0, learning_rate_init=0.01), x, y, cv=3)
    assert scores.mean() > 0.9
    scores = quiet(cross_val_score, ours("numbers", random_state=0, learning_rate_init=0.01), x, x[x.columns[:2]], scoring="r2")
    assert len(scores) == 5


def test_calibration(iris: tuple[pd.DataFrame, pd.Series]) -> None:
    x, y = iris
    model = quiet(CalibratedClassifierCV(ours("classes", **SMALL | {"max_iter": 100}), ensemble=True, cv=2).fit, x, y)
    assert model.predict_proba(x).shape == (150, 3)
    weighted = quiet(CalibratedClassifierCV(ours("classes", **SMALL), cv=2).fit, x, y, sample_weight=np.ones(150))
    assert weighted.predict(x).shape == (150,)


def test_metadata_routing() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = ours("classes", **SMALL).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        quiet(cross_val_score, estimator, X, Y["classes"], cv=2, params={"sample_weight": WEIGHTS})


def test_digits_are_learnt() -> None:
    x, y = load_digits(return_X_y=True)
    model = ours("classes", random_state=0, dtype="float32", max_iter=30)
    assert quiet(model.fit, x[:1200] / 16, y[:1200]).score(x[1200:] / 16, y[1200:]) > 0.9


# --- Dask ---


def test_dask_cluster() -> None:
    """A fitted estimator is sent to a worker process, and predicts blocks of rows there."""
    import distributed  # here because it is slow, and worker processes import this file

    labelled, plain = (fitted(ours("classes", **SMALL), x, Y["classes"]) for x in (frame(X), X))
    regressor = fitted(ours("numbers", **SMALL), X, Y["numbers"])
    table, array = dd.from_pandas(frame(X), npartitions=3), da.from_array(X, chunks=(50, -1))
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        assert os.getpid() not in client.run(os.getpid).values()
        np.testing.assert_array_equal(table.map_partitions(labelled.predict).compute(), labelled.predict(frame(X)))
        np.testing.assert_array_equal(
            array.map_blocks(plain.predict, drop_axis=1, dtype=Y["classes"].dtype).compute(), plain.predict(X)
        )
        for method in (plain.predict_proba, regressor.predict):
            lazy = array.map_blocks(method, chunks=(array.chunks[0], (3,)), dtype=X.dtype)
            assert same_bits(lazy.compute(), method(X))


def test_dask_ml() -> None:
    wrappers = pytest.importorskip("dask_ml.wrappers")
    estimator = fitted(ours("classes", **SMALL), X, Y["classes"])
    wrapped = wrappers.ParallelPostFit(estimator)
    array = da.from_array(X, chunks=(50, -1))
    np.testing.assert_array_equal(wrapped.predict(array).compute(scheduler="threads"), estimator.predict(X))
    assert same_bits(wrapped.predict_proba(array).compute(scheduler="threads"), estimator.predict_proba(X))


# --- Errors ---

CALLS: dict[str, Callable[[Callable[..., Estimator]], Any]] = {
    "activation": lambda make: make("classes", activation="softmax").fit(X, Y["classes"]),
    "solver": lambda make: make("classes", solver="adamw").fit(X, Y["classes"]),
    "alpha": lambda make: make("classes", alpha=-1).fit(X, Y["classes"]),
    "hidden 0": lambda make: make("classes", hidden_layer_sizes=(3, 0)).fit(X, Y["classes"]),
    "hidden -1": lambda make: make("classes", hidden_layer_sizes=-1).fit(X, Y["classes"]),
    "batch_size": lambda make: make("classes", batch_size=0).fit(X, Y["classes"]),
    "rate": lambda make: make("classes", learning_rate_init=0).fit(X, Y["classes"]),
    "schedule": lambda make: make("classes", learning_rate="optimal").fit(X, Y["classes"]),
    "momentum": lambda make: make("classes", momentum=2).fit(X, Y["classes"]),
    "beta_1": lambda make: make("classes", beta_1=1).fit(X, Y["classes"]),
    "max_iter": lambda make: make("classes", max_iter=0).fit(X, Y["classes"]),
    "loss": lambda make: make("number", loss="huber").fit(X, Y["number"]),
    "not fitted": lambda make: make("classes").predict(X),
    "not fitted probabilities": lambda make: make("classes").predict_proba(X),
    "NaN": lambda make: make("classes").fit(np.where(X > 1, np.nan, X), Y["classes"]),
    "inf": lambda make: make("number").fit(np.where(X > 1, np.inf, X), Y["number"]),
    "NaN in y": lambda make: make("number").fit(X, np.where(X[:, 0] > 0, np.nan, 1)),
    "no rows": lambda make: make("classes").fit(X[:0], Y["classes"][:0]),
    "no columns": lambda make: make("classes").fit(X[:, :0], Y["classes"]),
    "one dimension": lambda make: make("classes").fit(X[:, 0], Y["classes"]),
    "three dimensions": lambda make: make("number").fit(X[None], Y["number"]),
    "lengths": lambda make: make("classes").fit(X, Y["classes"][:5]),
    "no y": lambda make: make("classes").fit(X, None),
    "complex": lambda make: make("classes").fit(X * 1j, Y["classes"]),
    "text": lambda make: make("classes").fit(np.array([["a"], ["b"]]), [0, 1]),
    "numbers as classes": lambda make: make("classes").fit(X, Y["number"]),
    "weights too few": lambda make: make("classes").fit(X, Y["classes"], WEIGHTS[:5]),
    "weights of NaN": lambda make: make("classes").fit(X, Y["classes"], np.full(ROWS, np.nan)),
    "columns": lambda make: fitted(make("classes", **SMALL), X, Y["classes"]).predict(X[:, :3]),
    "columns of a part": lambda make: fitted(make("number", **SMALL), X, Y["number"]).partial_fit(X[:, :3], Y["number"]),
    "NaN to predict": lambda make: fitted(make("number", **SMALL), X, Y["number"]).predict(np.full((1, INPUTS), np.nan)),
    "early stopping in parts": lambda make: make("number", early_stopping=True).partial_fit(X, Y["number"]),
    "no classes": lambda make: make("classes").partial_fit(X, Y["classes"]),
    "other classes": lambda make: make("classes").partial_fit(X, Y["classes"], classes=["cat", "cow"]),
    "classes change": lambda make: (
        make("classes")
        .partial_fit(X, Y["classes"], classes=["cat", "dog", "eel"])
        .partial_fit(X, Y["classes"], classes=["cat"])
    ),
    "unseen class": lambda make: (
        make("classes").partial_fit(X, Y["classes"], classes=["cat", "dog", "eel"]).partial_fit(X[:2], ["cow", "cat"])
    ),
    "warm start": lambda make: fitted(make("classes", **SMALL, warm_start=True), X, Y["classes"]).fit(X, Y["binary"]),
    "parts by lbfgs": lambda make: make("classes", solver="lbfgs").partial_fit(X, Y["classes"], classes=["cat", "dog", "eel"]),
    "few to validate": lambda make: make("number", early_stopping=True).fit(X[:5], Y["number"][:5]),
    "class of one": lambda make: make("classes", early_stopping=True).fit(X[:30], np.arange(30) == 0),
    "not finite": lambda make: make("number", solver="sgd", learning_rate_init=1e6).fit(1e200 * X, Y["number"]),
    "no such method": lambda make: make("number").predict_proba(X),
}


@pytest.mark.parametrize("name", CALLS)
def test_errors_are_those_of_scikit_learn(name: str) -> None:
    caught: list[Exception] = []
    for make in (ours, theirs):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with pytest.raises(Exception) as raised:  # noqa: PT011  (any exception of scikit-learn)
                CALLS[name](make)
        caught.append(raised.value)
    actual, expected = caught
    assert type(actual) is type(expected), actual
    # The choices of a parameter are a set, in any order.
    assert sorted(re.findall(r"\w+", str(actual))) == sorted(re.findall(r"\w+", str(expected)))


def test_network_of_an_estimator_that_is_not_fitted() -> None:
    estimator = ours("classes")
    assert not hasattr(estimator, "network_")
    with pytest.raises(NotFittedError):
        estimator.network_  # noqa: B018


def test_without_scikit_learn() -> None:
    """The rest of the package works; the estimators name the missing package."""
    ran = run(
        """
import sys
sys.modules["sklearn"] = None  # importing it fails
import nnkernels
try:
    import nnkernels.sklearn
except ImportError as error:
    print(error)
"""
    )
    assert "pip install scikit-learn" in ran.stdout, ran.stderr


def test_import_of_the_package_imports_no_scikit_learn() -> None:
    ran = run("import sys, nnkernels; print([name for name in sys.modules if name.startswith(('sklearn', 'scipy', 'joblib'))])")
    assert ran.stdout == "[]\n", ran.stderr


if __name__ == "__main__":
    for name, sum_ in digests().items():
        print(name, sum_)
