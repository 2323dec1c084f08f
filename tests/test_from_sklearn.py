"""from_sklearn: perceptrons of scikit-learn and nnkernels, scalers, refusals, further training."""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import neural_network
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

import nnkernels as nnk
from corpus import Array
from nnkernels import sklearn as ours
from test_errors import run
from ulp import same_bits

Estimator = Any

X, CLASSES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[CLASSES]
COUNTS = np.round(np.exp(X[:, 0] - 4.0))


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """Ignore warnings of short fits, which do not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=[neural_network, ours], ids=["sklearn", "ours"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


def classifier(library: Any = neural_network, hidden: Any = (8, 5), **settings: Any) -> Estimator:
    return library.MLPClassifier(hidden, random_state=0, **{"max_iter": 30, **settings})


def regressor(library: Any = neural_network, hidden: Any = (8, 5), **settings: Any) -> Estimator:
    return library.MLPRegressor(hidden_layer_sizes=hidden, random_state=0, **{"max_iter": 30, **settings})


def outputs_of(estimator: Estimator, x: Any) -> Array:
    predict = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
    return np.asarray(predict(x)).reshape(len(x), -1)


def imported(estimator: Estimator, x: Any = X, tolerance: float = 1e-13) -> nnk.Network:
    """Return an estimator's network, after comparing both on rows."""
    net = nnk.from_sklearn(estimator)
    expected = outputs_of(estimator, x)
    assert abs(net(np.asarray(x)) - expected).max() <= tolerance * max(1.0, abs(expected).max())
    return net


def kinds(net: nnk.Network) -> list[str | None]:
    return ["scale" if isinstance(layer, nnk.Scale) else layer.activation for layer in net.layers]


# --- Perceptrons ---


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize(
    ("activation", "expected"), [("identity", None), ("logistic", "sigmoid"), ("tanh", "tanh"), ("relu", "relu")]
)
def test_activations(library: Any, activation: str, expected: str | None, solver: str) -> None:
    net = imported(classifier(library, activation=activation, solver=solver).fit(X, NAMES))
    assert kinds(net) == [expected, expected, "softmax"]
    assert net.metadata == {"classes": '["setosa", "versicolor", "virginica"]'}
    assert (net.inputs, net.outputs, net.dtype.name) == (4, 3, "float64")


def test_the_weights_are_transposed_even_if_they_are_square(library: Any) -> None:
    model = classifier(library, 3).fit(X[:, :3], CLASSES)
    for layer, coefs in zip(imported(model, X[:, :3]).layers, model.coefs_, strict=True):
        assert isinstance(layer, nnk.Dense)
        assert same_bits(layer.weights, np.ascontiguousarray(coefs.T))


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [1.0, 2.0], [False, True]])
def test_two_classes_are_two_sigmoid_neurons(library: Any, labels: list[Any]) -> None:
    model = classifier(library).fit(X[50:], np.array(labels)[CLASSES[50:] - 1])
    net = imported(model)
    assert kinds(net)[-1] == "sigmoid"
    assert net.outputs == 2
    assert (net(X).argmax(axis=1) == np.searchsorted(model.classes_, model.predict(X))).all()
    assert json.loads(net.metadata["classes"]) == [str(label) for label in model.classes_]


def test_several_labels_at_once(library: Any) -> None:
    net = imported(classifier(library).fit(X, np.stack([CLASSES > 0, CLASSES > 1], axis=1)))
    assert kinds(net)[-1] == "sigmoid"
    assert dict(net.metadata) == {}


def test_one_class(library: Any) -> None:
    net = nnk.from_sklearn(classifier(library).fit(X, np.zeros(len(X))))
    assert net.outputs == 2
    assert dict(net.metadata) == {}


@pytest.mark.parametrize("columns", [[0], [0, 1], slice(0, 1)])
def test_regressors(library: Any, columns: Any) -> None:
    net = imported(regressor(library).fit(X[:, 2:], X[:, columns].squeeze()), X[:, 2:])
    assert kinds(net) == ["relu", "relu", None]
    assert dict(net.metadata) == {}


def test_poisson_regressors_end_with_exp(library: Any) -> None:
    net = imported(regressor(library, loss="poisson").fit(X, COUNTS))
    assert kinds(net)[-1] == "exp"


def test_no_hidden_layer() -> None:
    assert kinds(imported(classifier(hidden=()).fit(X, CLASSES))) == ["softmax"]


def test_float32(library: Any) -> None:
    model = classifier(library).fit(X.astype(np.float32), CLASSES)
    net = imported(model, X, 2e-6)
    assert net.dtype == model.coefs_[0].dtype == np.float32
    assert nnk.from_sklearn(model, dtype=np.float64).dtype == np.float64
    assert nnk.from_sklearn(classifier(library).fit(X, CLASSES), dtype="float32").dtype == np.float32


@pytest.mark.parametrize("rows", [slice(150), slice(50, 150)])
def test_our_estimators_have_that_network(rows: slice) -> None:
    frame = pd.DataFrame(X[rows], columns=["länge", "b", "c", "d"])
    model = ours.MLPClassifier(5, max_iter=20).fit(frame, np.char.add("ä", NAMES[rows]))
    net = nnk.from_sklearn(model)
    assert same_bits(net(X), model.network_(X))
    assert net.metadata == model.network_.metadata
    assert list(net.metadata) == ["classes", "columns"]


def test_coefs_of_ones_own(library: Any) -> None:
    model = classifier(library, 4).fit(X, CLASSES)
    model.coefs_ = [np.asfortranarray(coefs * 2.0) for coefs in model.coefs_]
    imported(model)
    model.coefs_[0][0, 0] = np.nan
    if library is neural_network:  # scikit-learn's predict accepts it
        assert np.isnan(nnk.from_sklearn(model)(X)).all()


# --- Scalers ---


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        StandardScaler(with_mean=False, with_std=False),
        MinMaxScaler(),
        MinMaxScaler((-1, 3)),
        MaxAbsScaler(),
        RobustScaler(),
        RobustScaler(with_centering=False),
        RobustScaler(with_scaling=False),
    ],
    ids=str,
)
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_scalers_become_scales(library: Any, scaler: Any, offset: float) -> None:
    x = np.concatenate([X + offset, np.full((len(X), 1), 7.0 + offset)], axis=1)  # a constant column
    net = imported(make_pipeline(scaler, classifier(library)).fit(x, CLASSES), x, 1e-11 if offset else 1e-13)
    assert kinds(net) == ["scale", "relu", "relu", "softmax"]
    fitted = np.asarray(net.layers[0].scale if isinstance(net.layers[0], nnk.Scale) else 0.0)
    assert np.isfinite(fitted).all()


def test_a_scale_is_exact_where_weights_in_float32_are_not() -> None:
    x = X * 1e-3 + 1e3
    model = make_pipeline(StandardScaler(), classifier(ours, dtype="float32")).fit(x, CLASSES)
    net = imported(model, x, 1e-6)
    assert net.dtype == np.float32


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(), MaxAbsScaler(), RobustScaler()], ids=str)
def test_scalers_of_float32(library: Any, scaler: Any) -> None:
    """Their attributes are float32, so their results for float64 are inexact."""
    x = (X + 1e5).astype(np.float32)
    imported(make_pipeline(scaler, classifier(library)).fit(x, CLASSES), x.astype(np.float64), 1e-5)


def test_several_scalers_and_steps_that_pass_through() -> None:
    identity = FunctionTransformer()
    steps = [
        MinMaxScaler(),
        "passthrough",
        None,
        identity,
        StandardScaler(),
        Pipeline([("a", RobustScaler()), ("b", classifier())]),
    ]
    model = Pipeline([(str(number), step) for number, step in enumerate(steps)]).fit(X, CLASSES)
    assert kinds(imported(model)) == ["scale"] * 3 + ["relu", "relu", "softmax"]


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler((1, 2)), MaxAbsScaler(), RobustScaler()], ids=str)
@pytest.mark.parametrize("targets", [X[:, 0] * 1e4 + 1e5, X[:, :2] * [1e4, 1e-3]], ids=["one", "two"])
def test_scaled_targets(library: Any, scaler: Any, targets: Array) -> None:
    model = TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor(library)), transformer=scaler)
    net = imported(model.fit(X, targets), X, 1e-12)
    assert kinds(net) == ["scale", "relu", "relu", None, "scale"]
    inside = make_pipeline(StandardScaler(), TransformedTargetRegressor(regressor(library), transformer=scaler))
    assert kinds(imported(inside.fit(X, targets), X, 1e-12)) == kinds(net)


def test_targets_that_are_not_transformed() -> None:
    assert kinds(imported(TransformedTargetRegressor(regressor()).fit(X, X[:, 0]))) == ["relu", "relu", None]


# --- Names ---


def test_names_of_columns_and_classes(library: Any) -> None:
    frame = pd.DataFrame(X, columns=["länge", "b", "c", "d"])
    for model in (classifier(library), make_pipeline(StandardScaler(), classifier(library))):
        net = imported(model.fit(frame, NAMES), frame)
        assert json.loads(net.metadata["columns"]) == ["länge", "b", "c", "d"]
        assert json.loads(net.metadata["classes"]) == ["setosa", "versicolor", "virginica"]
    target = TransformedTargetRegressor(regressor(library), transformer=StandardScaler()).fit(frame, X[:, 0])
    assert list(imported(target, frame).metadata) == ["columns"]


def test_predict_knows_the_names(tmp_path: Any) -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), classifier()).fit(frame, NAMES)
    nnk.from_sklearn(model).save(tmp_path / "net.safetensors")
    frame[list("dcba")].to_csv(tmp_path / "rows.csv", index=False)
    code = "import runpy, sys; sys.argv[0] = 'nnkernels'; runpy.run_module('nnkernels', run_name='__main__')"
    ran = run(code, "predict", str(tmp_path / "net.safetensors"), str(tmp_path / "rows.csv"))
    assert [line.split(",")[0] for line in ran.stdout.splitlines()] == model.predict(frame).tolist(), ran.stderr


# --- Refusals ---


class Clipped(neural_network.MLPClassifier):  # type: ignore[misc]
    def predict_proba(self, X: Any) -> Array:  # noqa: N803 - scikit-learn's name
        probabilities: Array = super().predict_proba(X)
        return np.minimum(probabilities, 0.4)


class Similar(neural_network.MLPClassifier):  # type: ignore[misc]
    pass


ENDS = "expected an MLPClassifier or MLPRegressor, or a Pipeline that ends with one"
SCALERS = "expected one of StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler; apply other steps before the network"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (LogisticRegression, f"LogisticRegression: {ENDS}"),
        (partial(make_pipeline, StandardScaler(), LinearRegression()), f"step 'linearregression' (LinearRegression): {ENDS}"),
        (partial(make_pipeline, StandardScaler().fit(X), "passthrough"), f"step 'passthrough' (str): {ENDS}"),
        (partial(make_pipeline, PCA(), classifier()), f"step 'pca' (PCA): {SCALERS}"),
        (
            partial(make_pipeline, ColumnTransformer([("a", StandardScaler(), [0])]), classifier()),
            f"step 'columntransformer' (ColumnTransformer): {SCALERS}",
        ),
        (
            partial(make_pipeline, FunctionTransformer(np.exp), classifier()),
            f"step 'functiontransformer' (FunctionTransformer): {SCALERS}",
        ),
        (
            partial(make_pipeline, MinMaxScaler(clip=True), classifier()),
            "step 'minmaxscaler' (MinMaxScaler): expected clip=False, got clip=True: a network cannot clip its inputs",
        ),
        (partial(GridSearchCV, classifier(), {"alpha": [0.1]}, cv=2), f"GridSearchCV: {ENDS}; pass its best_estimator_"),
        (
            partial(TransformedTargetRegressor, regressor(), func=np.log1p, inverse_func=np.expm1),
            f"transformer_ (FunctionTransformer): {SCALERS}",
        ),
        (partial(TransformedTargetRegressor, LinearRegression()), f"regressor_ (LinearRegression): {ENDS}"),
        (partial(Clipped, 3, random_state=0), "the network and the model differ: output "),
    ],
)
def test_refusals(make: Callable[[], Estimator], message: str) -> None:
    model = make() if "passthrough" in message else make().fit(X, CLASSES)
    with pytest.raises(ValueError, match="^from_sklearn: " + re.escape(message)):
        nnk.from_sklearn(model)


def test_the_message_has_the_name_of_the_class() -> None:
    with pytest.raises(ValueError, match=r"output \d \('(setosa|versicolor|virginica)'\) of row \d"):
        nnk.from_sklearn(Clipped(3, random_state=0).fit(X, NAMES))


def test_subclasses_are_taken_as_what_they_compute() -> None:
    imported(Similar(3, random_state=0).fit(X, CLASSES))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (classifier(), "MLPClassifier"),
        (regressor(ours), "MLPRegressor"),
        (make_pipeline(StandardScaler(), classifier()), "StandardScaler"),
        (make_pipeline(RobustScaler(), classifier()), "RobustScaler"),
        (make_pipeline(MinMaxScaler(), classifier()), "MinMaxScaler"),
        (make_pipeline(MaxAbsScaler(), classifier()), "MaxAbsScaler"),
        (make_pipeline(StandardScaler().fit(X), classifier()), "MLPClassifier"),
        (TransformedTargetRegressor(regressor()), "TransformedTargetRegressor"),
    ],
)
def test_what_is_not_fitted(model: Estimator, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^from_sklearn: .*: This {name} instance is not fitted yet\. Call 'fit' first\.$"):
        nnk.from_sklearn(model)


def test_attributes_that_do_not_fit() -> None:
    model = classifier().fit(X, CLASSES)
    model.coefs_[1] = model.coefs_[1][:-1]
    with pytest.raises(ValueError, match=r"^from_sklearn: MLPClassifier, layer 2: expected 8 inputs"):
        nnk.from_sklearn(model)
    model = classifier().fit(X, CLASSES)
    model.activation = "softsign"
    with pytest.raises(ValueError, match=r"^from_sklearn: MLPClassifier, layer 1: expected an activation of identity, relu,"):
        nnk.from_sklearn(model)


class NoPerceptron(BaseEstimator):  # type: ignore[misc]
    """A class with a name of scikit-learn, from another module."""


NoPerceptron.__name__ = "MLPClassifier"


def test_names_alone_do_not_count() -> None:
    with pytest.raises(ValueError, match=f"^from_sklearn: MLPClassifier: {ENDS}"):
        nnk.from_sklearn(NoPerceptron())


def test_a_pipeline_without_steps() -> None:
    with pytest.raises(
        ValueError, match=r"^from_sklearn: Pipeline: expected an MLPClassifier .* as its last step, found no step$"
    ):
        nnk.from_sklearn(Pipeline([]))


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (neural_network.MLPClassifier, "MLPClassifier"),
        (None, "a NoneType"),
        ("net.pkl", "a str; load the file first, for example by joblib.load, if you trust it"),
        ([], "a list"),
    ],
)
def test_what_is_no_estimator(value: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"^from_sklearn expected a fitted MLPClassifier, MLPRegressor or Pipeline, got {got}$"):
        nnk.from_sklearn(value)


def test_bad_dtypes() -> None:
    with pytest.raises(TypeError, match="Network expected dtype"):
        nnk.from_sklearn(classifier(hidden=2, max_iter=1).fit(X, CLASSES), dtype="int8")


def test_the_estimator_stays_as_it_is() -> None:
    model = classifier().fit(X, CLASSES)
    before = [coefs.copy() for coefs in model.coefs_]
    net = nnk.from_sklearn(model)
    outputs = net(X)
    for coefs, values in zip(model.coefs_, before, strict=True):
        assert same_bits(coefs, values)
        coefs[:] = 0.0
    assert same_bits(net(X), outputs)


# --- Further training ---


def test_an_imported_network_learns_on(library: Any) -> None:
    model = make_pipeline(StandardScaler(), classifier(library, max_iter=3)).fit(X + 100.0, CLASSES)
    net = nnk.from_sklearn(model)
    training = nnk.train(net, X + 100.0, CLASSES, optimizer=nnk.Adam(0.01), epochs=60, seed=1)
    assert training.losses[-1] < 0.3 * training.losses[0]
    scale = training.network.layers[0]
    assert isinstance(scale, nnk.Scale)
    assert same_bits(scale.offset, model[0].mean_)
    assert dict(training.network.metadata) == dict(net.metadata)


def test_a_binary_network_learns_on() -> None:
    model = make_pipeline(StandardScaler(), classifier(activation="tanh", max_iter=3)).fit(X[50:], CLASSES[50:])
    x, targets = X[50:], np.eye(2)[CLASSES[50:] - 1]
    training = nnk.train(nnk.from_sklearn(model), x, targets, optimizer=nnk.Adam(0.01), epochs=60, seed=1)
    assert training.losses[-1] < 0.6 * training.losses[0]


def test_a_regressor_learns_on() -> None:
    scaled = make_pipeline(StandardScaler(), regressor(activation="tanh", max_iter=3))
    model = TransformedTargetRegressor(scaled, transformer=StandardScaler()).fit(X, X[:, 0] * 100.0)
    net = nnk.from_sklearn(model)
    training = nnk.train(net, X, X[:, :1] * 100.0, optimizer=nnk.Adam(0.01), epochs=60, seed=1)
    assert training.losses[-1] < 0.5 * training.losses[0]
    poisson = nnk.from_sklearn(regressor(loss="poisson", max_iter=3).fit(X, COUNTS))
    training = nnk.train(poisson, X, COUNTS[:, np.newaxis], optimizer=nnk.Adam(0.01), epochs=60, seed=1)
    assert training.losses[-1] < training.losses[0]
