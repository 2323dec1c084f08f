"""Conversion of multi-layer perceptrons of scikit-learn and of ``nnkernels.sklearn``."""

from __future__ import annotations

import warnings
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkernels.activations import TABLE
from nnkernels.commands.names import Names
from nnkernels.models.chain import Chain
from nnkernels.models.check import compare, probe
from nnkernels.network import Network

_SOURCE = "from_sklearn"

# scikit-learn's names of activations, and ours.
_ACTIVATIONS = {kind.sklearn or kind.name: kind.activation for kind in TABLE}

_MODELS = ("MLPClassifier", "MLPRegressor")
_CONTAINERS = ("Pipeline", "TransformedTargetRegressor")
_SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")


def from_sklearn(estimator: Any, *, dtype: DTypeLike | None = None) -> Network:
    """Convert a fitted estimator of scikit-learn or ``nnkernels.sklearn`` to a network.

    As a check, the network's outputs for 64 rows are compared with the estimator's.

    Parameters
    ----------
    estimator : estimator
        An MLPClassifier or MLPRegressor; a Pipeline of scalers and one of these; or a
        TransformedTargetRegressor around them. Scalers are StandardScaler, MinMaxScaler,
        MaxAbsScaler and RobustScaler; each becomes a Scale.
    dtype : dtype, optional
        float16, float32 or float64. Defaults to the dtype of ``coefs_``.

    Returns
    -------
    Network
        A network whose outputs are those of ``predict_proba``, or of ``predict`` with shape (rows,
        outputs). For two classes it has two sigmoid neurons with weights (-w, w). For
        ``loss="poisson"`` it ends with exp. Its metadata has the names of classes and columns, for
        ``python -m nnkernels predict``.

    Raises
    ------
    TypeError
        If ``estimator`` is not an estimator.
    ValueError
        If the estimator is not fitted, is unsupported, or has an unsupported step. If the outputs
        differ.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> from sklearn.neural_network import MLPClassifier
    >>> x, y = [[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]], ["a", "b", "c"]
    >>> model = MLPClassifier(4, solver="lbfgs", random_state=0).fit(x, y)
    >>> net = nnk.from_sklearn(model)
    >>> net
    Network of 2 layers, float64
      layer  inputs  outputs  activation  parameters
          1       2        4  relu                12
          2       4        3  softmax             15
      total                                       27
    >>> net.metadata["classes"]
    '["a", "b", "c"]'
    """
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        got = estimator.__name__ if isinstance(estimator, type) else f"a {type(estimator).__name__}"
        hint = (
            "; load the file first, for example by joblib.load, if you trust it"
            if isinstance(estimator, (str, bytes, PathLike))
            else ""
        )
        raise TypeError(f"{_SOURCE} expected a fitted MLPClassifier, MLPRegressor or Pipeline, got {got}{hint}")
    chain = Chain(_SOURCE, getattr(estimator, "n_features_in_", None))
    model = _add(chain, type(estimator).__name__, estimator)
    columns = getattr(estimator, "feature_names_in_", ())
    metadata = Names(_classes(model), tuple(map(str, columns))).metadata()
    network = chain.network(metadata, dtype)
    network64 = chain.network64()
    x = probe(network64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # about missing names of columns
        expected = estimator.predict_proba(x) if hasattr(model, "classes_") else estimator.predict(x)
    expected = np.asarray(expected).reshape(len(x), -1)
    compare(_SOURCE, network, network64, expected, x, "float32" if expected.dtype == np.float32 else "float64")
    return network


def _add(chain: Chain, name: str, estimator: Any) -> Any:
    """Add the layers of an estimator to the chain. Return the perceptron in it."""
    kind = _kind(estimator)
    if kind not in (*_MODELS, *_CONTAINERS):
        hint = "; pass its best_estimator_" if hasattr(estimator, "best_estimator_") else ""
        chain.refuse(name, f"expected an MLPClassifier or MLPRegressor, or a Pipeline that ends with one{hint}")
    if kind == "Pipeline":
        if not estimator.steps:
            chain.refuse(name, "expected an MLPClassifier or MLPRegressor as its last step, found no step")
        *steps, last = ((f"step {step!r} ({type(part).__name__})", part) for step, part in estimator.steps)
        for step, scaler in steps:
            if not _is_identity(scaler):
                chain.scale(step, *_scaling(chain, step, scaler))
        return _add(chain, *last)
    if kind == "TransformedTargetRegressor":
        model = _fitted(chain, name, estimator, "regressor_")
        model = _add(chain, f"regressor_ ({type(model).__name__})", model)
        scaler = estimator.transformer_
        if not _is_identity(scaler):  # invert it
            name = f"transformer_ ({type(scaler).__name__})"
            offset, scale = _scaling(chain, name, scaler)
            chain.scale(name, -offset * scale, 1.0 / scale)
        return model
    _add_perceptron(chain, name, estimator)
    return estimator


def _add_perceptron(chain: Chain, name: str, model: Any) -> None:
    layers = list(zip(_fitted(chain, name, model, "coefs_"), model.intercepts_, strict=True))
    for number, (coefs, intercepts) in enumerate(layers, 1):
        weights, bias, last = np.transpose(coefs), np.asarray(intercepts), number == len(layers)
        if last and _has_one_label(model):
            weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
        layer = f"{name}, layer {number}"
        chain.dense(layer, weights, bias)
        activation = model.out_activation_ if last else model.activation
        if activation not in _ACTIVATIONS:
            chain.refuse(layer, f"expected an activation of {', '.join(_ACTIVATIONS)}, got {activation!r}")
        chain.activation(layer, _ACTIVATIONS[activation])


def _has_one_label(model: Any) -> bool:
    """Return whether a model is a classifier with one output, for two classes or one."""
    return bool(model.out_activation_ == "logistic" and model.n_outputs_ == 1)


def _classes(model: Any) -> tuple[str, ...]:
    """Return the names of the outputs; () for a regressor, or if rows can have several labels."""
    classes = tuple(map(str, getattr(model, "classes_", ())))
    return classes if model.out_activation_ == "softmax" or (_has_one_label(model) and len(classes) == 2) else ()


def _scaling(chain: Chain, name: str, scaler: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the offset and scale of a fitted scaler."""
    offset: ArrayLike = 0.0
    divisor: ArrayLike = 1.0
    match _kind(scaler):
        case "StandardScaler":
            _fitted(chain, name, scaler, "scale_")
            offset, divisor = scaler.mean_ if scaler.with_mean else 0.0, scaler.scale_ if scaler.with_std else 1.0
        case "RobustScaler":
            _fitted(chain, name, scaler, "scale_")
            offset, divisor = scaler.center_ if scaler.with_centering else 0.0, scaler.scale_ if scaler.with_scaling else 1.0
        case "MaxAbsScaler":
            divisor = _fitted(chain, name, scaler, "scale_")
        case "MinMaxScaler":
            divisor = 1.0 / np.asarray(_fitted(chain, name, scaler, "scale_"), np.float64)
            offset = -scaler.min_ * divisor  # not data_min_: transform uses min_, which may be float32
        case _:
            chain.refuse(name, f"expected one of {', '.join(_SCALERS)}; apply other steps before the network")
    if getattr(scaler, "clip", False):
        chain.refuse(name, "expected clip=False, got clip=True: a network cannot clip its inputs")
    return np.asarray(offset, np.float64), 1.0 / np.asarray(divisor, np.float64)


def _kind(estimator: Any) -> str:
    """Return the name of the supported class that an estimator's class derives from, or ""."""
    known = (*_MODELS, *_CONTAINERS, *_SCALERS, "FunctionTransformer")
    bases = (base for base in type(estimator).__mro__ if base.__module__.partition(".")[0] in ("sklearn", "nnkernels"))
    return next((base.__name__ for base in bases if base.__name__ in known), "")


def _is_identity(transformer: Any) -> bool:
    if _kind(transformer) == "FunctionTransformer":
        return transformer.func is None and transformer.inverse_func is None
    return transformer is None or transformer == "passthrough"


def _fitted(chain: Chain, name: str, estimator: Any, attribute: str) -> Any:
    """Return an attribute of a fitted estimator. Raise ValueError if it is not fitted."""
    if not hasattr(estimator, attribute):
        chain.refuse(name, f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' first.")
    return getattr(estimator, attribute)
