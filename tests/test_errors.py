"""Bad input, environments and model files: exceptions, messages, and no leaks."""

import gc
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import onnx
import pytest
import safetensors.numpy
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import nnkernels as nnk
from safetensors_files import put_together, take_apart

Array = np.ndarray[Any, np.dtype[Any]]

X = np.linspace(-1, 1, 6).reshape(2, 3)
WEIGHTS = np.linspace(-2, 2, 12).reshape(4, 3).astype(np.float32)
BIAS = np.arange(4, dtype=np.int16)
NETWORK = nnk.Network([nnk.Dense(WEIGHTS, BIAS, "relu")])
ALONG_AXIS = (nnk.softmax, nnk.log_softmax, nnk.logsumexp)
LOSSES = (nnk.cross_entropy, nnk.binary_cross_entropy, nnk.squared_error, nnk.absolute_error, nnk.huber, nnk.poisson)


# --- Calls that fail ---


class Failing(NamedTuple):
    """A call, its exception, and the arrays (by dtype and shape) or the text in its message."""

    call: Callable[[], object]
    error: type[Exception]
    named: tuple[Array | str, ...] = ()


def exception_type(call: Callable[[], object]) -> type[Exception]:
    """Return the type of the exception that NumPy raises in a call."""
    try:
        call()
    except Exception as error:
        return type(error)
    raise AssertionError


INTEGER_OUT = exception_type(lambda: np.tanh(X, out=np.zeros((2, 3), int)))
READ_ONLY_OUT = exception_type(lambda: np.tanh(X, out=np.broadcast_to(0.0, (2, 3))))
RAGGED = [[1.0], [1.0, 2.0]]

BAD_ARRAYS = {
    "complex": X.astype(np.complex64),
    "object": X.astype(object),
    "string": X.astype(str),
    "bytes": X.astype(bytes),
    "datetime": X.astype("datetime64[s]"),
    "timedelta": X.astype("timedelta64[s]"),
    "void": np.zeros((2, 3), "V8"),
    "structure": np.zeros((2, 3), [("real", "f8")]),
}
if np.dtype(np.longdouble).itemsize > 8:  # otherwise the same as float64
    BAD_ARRAYS["longdouble"] = X.astype(np.longdouble)


def calls_with_bad_values() -> dict[str, Failing]:
    calls = {}
    for kind, bad in BAD_ARRAYS.items():
        # Ufuncs have NumPy's messages.
        for ufunc in (nnk.relu, nnk.sigmoid, nnk.tanh):
            calls[f"{ufunc.__name__} of {kind}"] = Failing(partial(ufunc, bad), TypeError)
        calls[f"dot, x {kind}"] = Failing(partial(nnk.dot, bad, X), TypeError)
        calls[f"dot, w {kind}"] = Failing(partial(nnk.dot, X, bad), TypeError)
        for function in ALONG_AXIS:
            calls[f"{function.__name__} of {kind}"] = Failing(partial(function, bad), TypeError, (bad,))
        column, row = bad[:, :1], bad[0]
        calls[f"dense, x {kind}"] = Failing(partial(nnk.dense, bad, WEIGHTS, BIAS), TypeError, (bad, WEIGHTS, BIAS))
        calls[f"dense, weights {kind}"] = Failing(partial(nnk.dense, X, bad), TypeError, (X, bad))
        calls[f"dense, bias {kind}"] = Failing(partial(nnk.dense, X, WEIGHTS, column), TypeError, (X, WEIGHTS, column))
        calls[f"Dense, weights {kind}"] = Failing(partial(nnk.Dense, bad), TypeError, (bad,))
        calls[f"Dense, bias {kind}"] = Failing(partial(nnk.Dense, WEIGHTS, row), TypeError, (WEIGHTS, row))
        calls[f"Network of {kind}"] = Failing(partial(NETWORK, bad), TypeError, (bad,))
    takers: dict[str, Callable[..., object]] = {
        **{function.__name__: function for function in ALONG_AXIS},
        "dense, x": partial(nnk.dense, weights=WEIGHTS, bias=BIAS),
        "dense, weights": partial(nnk.dense, X),
        "dense, bias": partial(nnk.dense, X, WEIGHTS),
        "Dense, weights": nnk.Dense,
        "Dense, bias": partial(nnk.Dense, WEIGHTS),
        "Network": NETWORK,
    }
    for name, taker in takers.items():
        calls[f"{name} of a ragged list"] = Failing(partial(taker, RAGGED), ValueError, ("inhomogeneous",))
    for name in ("softmax", "log_softmax", "logsumexp", "Dense, weights", "Network"):
        calls[f"{name} of None"] = Failing(partial(takers[name], None), TypeError, (np.array(None),))
    return calls


def calls_with_bad_shapes() -> dict[str, Failing]:
    calls = {}
    scalar, cube = np.array(1.0), np.ones((2, 4, 3))
    for function in ALONG_AXIS:
        name = function.__name__
        calls[f"{name} without dimensions"] = Failing(partial(function, scalar), ValueError, (scalar,))
        for axis in (2, -3):
            calls[f"{name}, axis {axis}"] = Failing(partial(function, X, axis), np.exceptions.AxisError, (f"axis {axis}", X))
        no_axes: tuple[Any, ...] = (0.5, [0])
        for value in no_axes:
            calls[f"{name}, axis {value}"] = Failing(partial(function, X, value), TypeError, (type(value).__name__,))
    for other in (np.ones(2), np.ones((4, 3)), scalar):
        calls[f"dot with shape {other.shape}"] = Failing(partial(nnk.dot, X, other), ValueError)
    bad_layers: dict[str, tuple[Any, ...]] = {
        "x too short": (X[:, :2], WEIGHTS, BIAS),
        "x without dimensions": (X[0, 0], WEIGHTS, BIAS),
        "bias too short": (X, WEIGHTS, BIAS[:3]),
        "bias of other rows": (X, WEIGHTS, np.ones((3, 4))),
        "weights of three dimensions": (X, cube, BIAS),
        "weights without dimensions": (X, scalar, BIAS),
        "one neuron, x too short": (X[:, :2], WEIGHTS[0], BIAS[0]),
        "one neuron, bias of other rows": (X, WEIGHTS[0], np.ones(3)),
    }
    for name, arguments in bad_layers.items():
        calls[f"dense, {name}"] = Failing(partial(nnk.dense, *arguments), ValueError, arguments)
        calls[f"dense, {name}, fused"] = Failing(partial(nnk.dense, *arguments, activation="tanh"), ValueError, arguments)
    bad_descriptions: dict[str, tuple[Any, ...]] = {
        "bias too short": (WEIGHTS, BIAS[:3]),
        "bias of several rows": (WEIGHTS, np.ones((2, 4))),
        "weights of three dimensions": (cube, BIAS),
        "weights without dimensions": (scalar, BIAS),
        "one neuron, several biases": (WEIGHTS[0], BIAS),
    }
    for name, arguments in bad_descriptions.items():
        calls[f"Dense, {name}"] = Failing(partial(nnk.Dense, *arguments), ValueError, arguments)
    for shape in ((2,), (2, 4), (3, 0), (), (3, 1)):
        wrong = np.ones(shape)
        calls[f"Network of shape {shape}"] = Failing(partial(NETWORK, wrong), ValueError, ("(..., 3)", wrong))
    return calls


def calls_with_numbers_too_large_for_c() -> dict[str, Failing]:
    calls = {}
    for function in ALONG_AXIS:
        for axis in (2**63, -(10**30)):
            calls[f"{function.__name__}, axis {axis}"] = Failing(partial(function, X, axis), ValueError, (str(axis), X))
    calls["dense, huge bias"] = Failing(partial(nnk.dense, X, WEIGHTS, 10**400), ValueError, (X, WEIGHTS))
    calls["Dense, huge bias"] = Failing(partial(nnk.Dense, WEIGHTS, -(10**400)), ValueError, (WEIGHTS,))
    return calls


def calls_with_bad_outputs() -> dict[str, Failing]:
    writers: dict[str, tuple[Callable[..., object], tuple[int, ...]]] = {
        "softmax": (partial(nnk.softmax, X), (2, 3)),
        "log_softmax": (partial(nnk.log_softmax, X, 0), (2, 3)),
        "softmax of all": (partial(nnk.softmax, X, None), (2, 3)),
        "logsumexp": (partial(nnk.logsumexp, X), (2,)),
        "logsumexp, keepdims": (partial(nnk.logsumexp, X, 0, keepdims=True), (1, 3)),
        "logsumexp of two axes": (partial(nnk.logsumexp, X[..., np.newaxis], (0, -1)), (3,)),
        "dense": (partial(nnk.dense, X, WEIGHTS, BIAS), (2, 4)),
        "softmax of a row": (partial(nnk.softmax, X[:1]), (1, 3)),
        "logsumexp of a row": (partial(nnk.logsumexp, X[:1]), (1,)),
        "logsumexp of columns": (partial(nnk.logsumexp, X[:, :1], 0), (1,)),
        "logsumexp of all": (partial(nnk.logsumexp, X, (0, 1), keepdims=True), (1, 1)),
        "dense of a row": (partial(nnk.dense, X[:1], WEIGHTS, BIAS), (1, 4)),
        "dense of several biases": (partial(nnk.dense, X[0], WEIGHTS, np.zeros((3, 1))), (3, 4)),
        "dense of one neuron": (partial(nnk.dense, X, WEIGHTS[0], BIAS[0]), (2,)),
        "Network": (partial(NETWORK, X), (2, 4)),
        "tanh": (partial(nnk.tanh, X), (2, 3)),
        "dot": (partial(nnk.dot, X, X), (2,)),
    }
    calls = {}
    for name, (write, shape) in writers.items():
        integers, longer, scalar = np.zeros(shape, int), np.zeros((shape[0] + 1, *shape[1:])), np.zeros(())
        numpys_message = name in ("tanh", "dot")
        several = np.zeros((5, *shape))
        outputs: list[tuple[str, Array, type[Exception]]] = [
            # Network, which is not a ufunc, raises the base class of NumPy's exception.
            ("integers", integers, TypeError if name == "Network" else INTEGER_OUT),
            ("a wrong shape", longer, ValueError),
            ("a wrong number of dimensions", scalar, ValueError),
            *([] if numpys_message else [("several results", several, ValueError)]),
        ]
        for kind, out, error in outputs:
            expected = () if numpys_message or error is TypeError else (f"out of shape {shape}",)
            calls[f"{name} to {kind}"] = Failing(partial(write, out=out), error, () if numpys_message else (out, *expected))
        read_only = np.broadcast_to(0.0, shape)
        calls[f"{name} to a read-only array"] = Failing(partial(write, out=read_only), READ_ONLY_OUT, ("read-only",))
        calls[f"{name} to a list"] = Failing(partial(write, out=[0.0]), TypeError)
    return calls


def other_failing_calls() -> dict[str, Failing]:
    calls = {}
    activations: dict[Any, type[Exception]] = {
        "mish": ValueError,
        "": ValueError,
        "ReLU": ValueError,
        np.tanh: TypeError,
        1: TypeError,
    }
    for activation, error in activations.items():
        similar = {"ReLU": "'relu'", np.tanh: "'tanh' or nnk.tanh"}.get(activation)
        choices = (*((similar,) if similar else ("None", "'relu'", "'sigmoid'", "'tanh'", "'softmax'")), repr(activation))
        calls[f"dense, activation {activation!r}"] = Failing(
            partial(nnk.dense, X, WEIGHTS, activation=activation), error, choices
        )
        calls[f"Dense, activation {activation!r}"] = Failing(partial(nnk.Dense, WEIGHTS, None, activation), error, choices)
    square, wide = nnk.Dense(np.ones((3, 3))), nnk.Dense(WEIGHTS)
    one, thin = nnk.Dense(np.ones(3)), nnk.Dense(np.ones((3, 1)))
    bad_layers: dict[str, tuple[Any, type[Exception], tuple[Array | str, ...]]] = {
        "no layers": ([], ValueError, ("at least one layer",)),
        "an array": ([square, WEIGHTS], TypeError, ("ndarray", "layer 2")),
        "a number": (1, TypeError, ("list of Dense", "int")),
        "layers that do not chain": ([square, wide, square], ValueError, ("layer 2", "layer 3", WEIGHTS, square.weights)),
        "one neuron and more": ([one, thin], ValueError, ("layer 1", one.weights, thin.weights)),
    }
    for name, (layers, error, named) in bad_layers.items():
        calls[f"Network of {name}"] = Failing(partial(nnk.Network, layers), error, named)
    calls["Network of integers"] = Failing(partial(nnk.Network, [square], int), TypeError, ("float64", "int"))
    empty = nnk.Network.__new__(nnk.Network)
    calls["Network without its __init__"] = Failing(partial(empty, X), ValueError, ("__init__",))
    for function in ALONG_AXIS:
        for dtype in (int, np.complex64, "U3", ">f4", np.longdouble, object):
            calls[f"{function.__name__}, dtype {dtype!r}"] = Failing(
                partial(function, X, dtype=dtype), TypeError, ("float16, float32 or float64", repr(dtype))
            )
    for number in (0, -1, 2**31):
        calls[f"{number} threads"] = Failing(partial(nnk.set_num_threads, number), ValueError, (str(number),))
    no_numbers: tuple[Any, ...] = (1.5, "2", None)
    for value in no_numbers:
        calls[f"{value!r} threads"] = Failing(partial(nnk.set_num_threads, value), TypeError, (type(value).__name__,))
    return calls


def failing_calls_of_learning() -> dict[str, Failing]:
    """Return calls of training functions with a bad array as each argument."""
    targets = np.zeros((2, 4))
    takers: dict[str, partial[Any]] = {
        **{loss.__name__: partial(loss, targets) for loss in LOSSES},
        "Network.gradient": partial(NETWORK.gradient, X),
        "Network.backward": partial(NETWORK.backward, X),
        "train": partial(nnk.train, NETWORK, X, epochs=1),
    }
    calls = {}
    for kind, bad in BAD_ARRAYS.items():
        for name, taker in takers.items():
            calls[f"{name}, targets {kind}"] = Failing(partial(taker, bad), TypeError, (bad, name))
            if name != "Network.backward":
                weights = bad[:, 0]
                calls[f"{name}, weights {kind}"] = Failing(
                    partial(taker, targets, sample_weight=weights), TypeError, (weights, targets, name)
                )
            of_x = partial(taker.func, *taker.args[:-1], bad, targets)
            calls[f"{name}, x {kind}"] = Failing(of_x, TypeError, (bad, targets, name))
    return calls


CALLS = {
    **calls_with_bad_values(),
    **calls_with_bad_shapes(),
    **calls_with_numbers_too_large_for_c(),
    **calls_with_bad_outputs(),
    **other_failing_calls(),
    **failing_calls_of_learning(),
}


@pytest.mark.parametrize("name", CALLS)
def test_exception(name: str) -> None:
    failing = CALLS[name]
    threads = nnk.get_num_threads()
    with pytest.raises(failing.error) as caught:
        failing.call()
    # NumPy's exceptions keep their message; a note names the arguments.
    message = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    for expected in failing.named:
        texts = (expected,) if isinstance(expected, str) else (str(expected.dtype), str(expected.shape))
        for text in texts:
            assert text in message
    assert nnk.get_num_threads() == threads


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    return str(caught.value)


# Weights in the layout of scikit-learn's coefs_: (inputs, outputs).
TRANSPOSED: dict[str, Callable[[], object]] = {
    "matrices": lambda: nnk.dense(X, WEIGHTS.T, BIAS),
    "without a bias": lambda: nnk.dense(X, WEIGHTS.T),
    "one row": lambda: nnk.dense(X[0], WEIGHTS.T),
    "lists": lambda: nnk.dense(X.tolist(), WEIGHTS.T.tolist(), BIAS.tolist()),
    "with an activation": lambda: nnk.dense(X, WEIGHTS.T, BIAS, activation="tanh"),
    "to an output": lambda: nnk.dense(X, WEIGHTS.T, BIAS, out=np.zeros((2, 4))),
    "to one output": lambda: nnk.dense(X, np.ones((3, 1))),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_weights(case: str) -> None:
    message = message_of(TRANSPOSED[case])
    assert message.startswith("dense: weights must be (outputs, inputs): pass weights.T; got x float64 of shape ")


@pytest.mark.parametrize(
    ("x", "weights"), [(X, np.ones((4, 5))), (X, np.ones((3, 3, 4))), (X, np.ones((3, 4), complex)), (X, np.ones(4))]
)
def test_other_weights_are_not_called_transposed(x: Array, weights: Array) -> None:
    assert "weights.T" not in message_of(partial(nnk.dense, x, weights))


def test_layers_that_do_not_chain() -> None:
    wide, square = nnk.Dense(WEIGHTS), nnk.Dense(np.ones((3, 3)))
    assert "layer 2 has 4 outputs, layer 3 takes 3 inputs; weights are (outputs, inputs)" in message_of(
        lambda: nnk.Network([square, wide, square])
    )
    for following in (nnk.Dense(np.ones((4, 1))), square):
        message = message_of(partial(nnk.Network, [nnk.Dense(np.ones(3)), following]))
        assert "layer 1 is one neuron before another layer: give its weights the shape (1, inputs)" in message


def test_one_layer_is_no_list() -> None:
    layers: Any = nnk.Dense(WEIGHTS)
    assert message_of(lambda: nnk.Network(layers)) == "Network expected a list of Dense and Scale, got a Dense"


@pytest.mark.parametrize("dtype", ["foo", int, object, [1], 3.5], ids=str)
def test_network_of_another_dtype(dtype: Any) -> None:
    message = message_of(lambda: nnk.Network([nnk.Dense(WEIGHTS)], dtype))
    assert message == f"Network expected dtype float16, float32 or float64, got {dtype!r}"


@pytest.mark.parametrize("number", [1.5, "2", None])
def test_number_of_threads_that_is_no_integer(number: Any) -> None:
    message = message_of(lambda: nnk.set_num_threads(number))
    assert message == f"set_num_threads expected an integer, got {number!r} of type {type(number).__name__}"


MASKED = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])

# By name: a call and the start of its message. A message gives first the cause, then the argument.
CAUSES: dict[str, tuple[Callable[[], object], str]] = {
    "masked": (
        lambda: nnk.softmax(MASKED),
        "softmax: masked arrays are not supported here: call filled() first; got z masked float64 of shape (3,)",
    ),
    "sparse": (
        lambda: nnk.logsumexp(scipy.sparse.eye_array(3)),
        "logsumexp: a dia_array is sparse: pass its toarray(); got z sparse float64 of shape (3, 3)",
    ),
    "ragged": (lambda: nnk.softmax(RAGGED), "softmax: setting an array element with a sequence"),
    "out": (lambda: nnk.logsumexp(X, out=np.zeros(())), "logsumexp: out has the wrong shape; got z float64"),
    "scalar": (lambda: nnk.softmax(1.0), "softmax: Input operand 0 does not have enough dimensions"),
    "complex": (lambda: nnk.softmax(X.astype(complex)), "softmax: ufunc 'softmax' not supported for the input types"),
    "fused": (lambda: nnk.dense(X, np.ones((4, 5)), activation="relu"), "dense_relu: Input operand 1 has a mismatch"),
    "dot, x": (
        lambda: nnk.dot(MASKED, [1.0] * 3),
        "dot: masked arrays are not supported here: call filled() first; got masked float64 of shape (3,)",
    ),
    "dot, w": (
        lambda: nnk.dot([1.0] * 3, MASKED),
        "dot: masked arrays are not supported here: call filled() first; got float64 of shape (3,), masked float64",
    ),
    "dot, sparse": (
        lambda: nnk.dot(scipy.sparse.eye_array(3), X),
        "dot: a dia_array is sparse: pass its toarray(); got sparse float64 of shape (3, 3)",
    ),
    "relu": (
        lambda: nnk.relu(scipy.sparse.eye_array(3)),
        "relu: a dia_array is sparse: pass its toarray(); got sparse float64 of shape (3, 3)",
    ),
    "dense, dimensions": (
        lambda: nnk.dense(1.0, WEIGHTS),
        "dense: x needs at least one axis, and weights one or two; got x float64",
    ),
    "Dense, dimensions": (lambda: nnk.Dense(1.0), "Dense: weights need one axis or two; got weights float64 of shape ()"),
    "Network": (
        lambda: NETWORK(MASKED),
        "Network: masked arrays are not supported here: call filled() first; got x masked float64 of shape (3,)",
    ),
    "Dense": (
        lambda: nnk.Dense(MASKED),
        "Dense: masked arrays are not supported here: call filled() first; got weights masked float64 of shape (3,)",
    ),
}


@pytest.mark.parametrize("case", CAUSES)
def test_messages_begin_with_the_cause(case: str) -> None:
    call, beginning = CAUSES[case]
    message = message_of(call)
    assert message.startswith(beginning), message
    assert "; expected " in message
    assert ".;" not in message


def test_failed_calls_leave_out_alone() -> None:
    out = np.full((2, 4), 7, np.float32)
    calls: tuple[Callable[..., object], ...] = (
        partial(nnk.dense, X[:, :2], WEIGHTS, BIAS),
        partial(nnk.dense, X, WEIGHTS, BIAS, activation="mish"),
        partial(NETWORK, X[:, :2]),
        partial(nnk.softmax, X.astype(object)),
    )
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            call(out=out)
        assert np.all(out == 7)


def test_object_that_has_ufuncs_but_no_dimensions() -> None:
    class Thing:
        __array_ufunc__ = None

    class Rows(Thing):
        def __array__(self, dtype: object = None, copy: object = None) -> Array:
            return X

    rows: Any = Rows()
    thing: Any = Thing()
    assert np.array_equal(nnk.dense(rows, WEIGHTS, BIAS), nnk.dense(X, WEIGHTS, BIAS))
    with pytest.raises(ValueError, match=r"^dense: .*; got x object of shape \(\).*; expected x "):
        nnk.dense(thing, WEIGHTS, BIAS)


def test_object_that_fails_to_become_an_array() -> None:
    class Table:
        def to_numpy(self) -> Array:
            raise ValueError("not all columns are numbers")

    table: Any = Table()
    with pytest.raises(ValueError, match=r"^logsumexp: not all columns are numbers; .*; expected z "):
        nnk.logsumexp(table)


def test_inputs_that_no_memory_holds_are_a_memory_error() -> None:
    claimed = np.broadcast_to(np.float16(1), 2**62 - 1)
    for weights in (claimed, claimed[np.newaxis]):
        with pytest.raises(MemoryError):
            nnk.dense(claimed, weights)


def test_rows_without_elements_take_no_time(dtype: type[np.floating]) -> None:
    rows = 2**59
    x, no_weights = np.empty((rows, 0), dtype), np.empty((0, 0), dtype)
    for function in (nnk.relu, nnk.sigmoid, nnk.tanh, nnk.softmax, nnk.log_softmax):
        assert function(x).shape == (rows, 0)
    for activation in (None, "softmax"):
        assert nnk.dense(x, no_weights, activation=activation).shape == (rows, 0)
        assert nnk.dense(x[:, ::-1], no_weights, x, activation=activation).shape == (rows, 0)
        assert nnk.Network([nnk.Dense(no_weights, activation=activation)])(x).shape == (rows, 0)


def test_layers_and_networks_cannot_be_changed() -> None:
    layer = NETWORK.layers[0]
    assert isinstance(layer, nnk.Dense)
    for array in (layer.weights, layer.bias):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    for thing, name in ((layer, "weights"), (layer, "more"), (NETWORK, "layers"), (NETWORK, "more")):
        with pytest.raises(AttributeError):
            setattr(thing, name, WEIGHTS)


# --- The environment ---


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("target", ["pentium", "AVX2", "generic "])
def test_unknown_target_is_an_import_error(target: str) -> None:
    ran = run("import nnkernels", NNKERNELS_TARGET=target)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    for expected in ("NNKERNELS_TARGET", f"'{target}'", *nnk.config()["targets"]):
        assert expected in last


@pytest.mark.parametrize("threads", ["0", "-1", "1.5", "two", "2 ", "9" * 30])
def test_bad_number_of_threads_is_an_import_error(threads: str) -> None:
    ran = run("import nnkernels", NNKERNELS_NUM_THREADS=threads)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    for expected in ("NNKERNELS_NUM_THREADS", f"'{threads}'", "positive"):
        assert expected in last


def test_empty_environment_variables_say_nothing() -> None:
    ran = run("import nnkernels; print(nnkernels.config())", NNKERNELS_TARGET="", NNKERNELS_NUM_THREADS="")
    assert ran.stderr == ""
    assert f"'target': '{nnk.config()['targets'][-1]}'" in ran.stdout


# --- Model files ---

TINY = nnk.Network([nnk.Dense(np.arange(6.0).reshape(2, 3), [1.0, 2.0], "relu"), nnk.Dense([1.0, -1.0], 3.0)])
FIRST, LAST = "layers.0.weights", "layers.1.weights"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models") / "model.safetensors"


@pytest.fixture(scope="module")
def model(path: Path) -> bytes:
    TINY.save(path)
    return path.read_bytes()


def one_layer(dtype: str, itemsize: float, weights: list[int], bias: list[int]) -> bytes:
    """Return a file of one layer of zeros."""
    middle, end = (int(itemsize * size) for size in (np.prod(weights), np.prod(weights) + np.prod(bias)))
    tensors = {
        "layers.0.weights": {"dtype": dtype, "shape": weights, "data_offsets": [0, middle]},
        "layers.0.bias": {"dtype": dtype, "shape": bias, "data_offsets": [middle, end]},
    }
    return put_together({"__metadata__": {"nnkernels.activations": "none"}, **tensors}, bytes(end))


def refused(path: Path, content: bytes) -> str:
    """Return the message of the ValueError raised for a file."""
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - messages differ
        nnk.load(path)
    return str(caught.value)


def test_file_put_together_again_loads(path: Path, model: bytes) -> None:
    for content in (put_together(*take_apart(model)), one_layer("F32", 4, [2, 3], [2])):
        path.write_bytes(content)
        assert len(nnk.load(path)) in (1, 2)


def test_truncated_files(path: Path, model: bytes) -> None:
    for length in range(len(model)):
        assert path.name in refused(path, model[:length])
    assert path.name in refused(path, model + b"\0")


@pytest.mark.parametrize("difference", [-352, -8, -1, 1, 8, 88, 10**6, 10**8, 10**8 + 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1])
def test_wrong_header_length(difference: int, path: Path, model: bytes) -> None:
    length = (len(model) - 8 - 88 + difference) % 2**64
    assert path.name in refused(path, struct.pack("<Q", length) + model[8:])


@pytest.mark.parametrize(
    "shape",
    [
        [3, 2],
        [6],
        [2, 3, 1],
        [1, 2, 3],
        [],
        [2, 2],
        [0],
        [2, 0],
        [-2, -3],
        [2.5, 3],
        [2**40, 2**40],
        [2**62, 4],
        [2**64, 1],
        "2",
        [[2]],
    ],
    ids=str,
)
def test_wrong_shape(shape: object, path: Path, model: bytes) -> None:
    header, data = take_apart(model)
    header[FIRST]["shape"] = shape
    assert path.name in refused(path, put_together(header, data))


@pytest.mark.parametrize(
    "offsets",
    [
        [0, 48],
        [16, 16],
        [64, 16],
        [17, 65],
        [16, 2**62],
        [2**64 - 48, 2**64],
        [2**64, 2**65],
        [-1, 47],
        [16],
        [16, 64, 64],
        "16",
    ],
    ids=str,
)
def test_wrong_offsets(offsets: object, path: Path, model: bytes) -> None:
    header, data = take_apart(model)
    header[FIRST]["data_offsets"] = offsets
    assert path.name in refused(path, put_together(header, data))


def test_hole_between_tensors(path: Path, model: bytes) -> None:
    header, data = take_apart(model)
    header[LAST]["data_offsets"] = [end + 8 for end in header[LAST]["data_offsets"]]
    assert path.name in refused(path, put_together(header, data + bytes(8)))


ITEMSIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1),
    **dict.fromkeys(("U16", "I16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32"), 4),
    **dict.fromkeys(("U64", "I64", "C64"), 8),
    "F4": 0.5,
    "F128": 16,
}


@pytest.mark.parametrize("dtype", ITEMSIZES)
def test_wrong_dtype(dtype: str, path: Path) -> None:
    assert path.name in refused(path, one_layer(dtype, ITEMSIZES[dtype], [2, 4], [2]))


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"format": "nnkernels.Network"},
        {"activations": "relu,none"},
        {"format": "pt"},
        {"nnkernels.activations": 2},
        *({"nnkernels.activations": names} for names in ("", "relu", "relu,none,none", "relu,mish", "relu, none")),
    ],
    ids=str,
)
def test_wrong_metadata(metadata: object, path: Path, model: bytes) -> None:
    header, data = take_apart(model)
    del header["__metadata__"]
    assert path.name in refused(path, put_together(header if metadata is None else {"__metadata__": metadata, **header}, data))


def test_wrong_tensors(path: Path, model: bytes) -> None:
    header, data = take_apart(model)
    for name in (FIRST, LAST, "layers.0.bias", "layers.1.bias"):
        for other in ("layers.2.weights", "extra", "", name.upper(), name + "\0"):
            renamed = {other if key == name else key: value for key, value in header.items()}
            assert path.name in refused(path, put_together(renamed, data))
    more = {**header, "extra": {"dtype": "F64", "shape": [1], "data_offsets": [88, 96]}}
    assert "extra" in refused(path, put_together(more, data + bytes(8)))
    swapped = {**header, FIRST: header[LAST], LAST: header[FIRST]}
    assert path.name in refused(path, put_together(swapped, data))


@pytest.mark.parametrize(
    ("weights", "bias"),
    [([4, 3], [2]), ([2, 3], [1]), ([2, 3], []), ([2, 3], [1, 2]), ([3], [1]), ([3], [3]), ([2, 2, 3], [2, 2]), ([], [])],
    ids=str,
)
def test_layer_whose_shapes_do_not_fit(weights: list[int], bias: list[int], path: Path) -> None:
    assert path.name in refused(path, one_layer("F64", 8, weights, bias))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{}", b"\xff" * 20, b"[" * 100_000, b'{"a":' * 100_000], ids=len)
def test_header_that_is_no_object(text: bytes, path: Path) -> None:
    assert path.name in refused(path, put_together(text, b""))


FUZZED = sorted(Path(__file__).parent.glob("corpus/model/*"))
assert FUZZED  # without files the test would be skipped


@pytest.mark.parametrize("file", FUZZED, ids=lambda file: file.name)
def test_files_of_the_fuzzer_load_or_are_refused(file: Path) -> None:
    """tests/fuzz_model.py starts from these."""
    with suppress(ValueError):
        assert len(nnk.load(file)) > 0


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_changed_bytes_load_or_are_refused(path: Path, model: bytes, data: st.DataObject) -> None:
    content = bytearray(model)
    places = st.integers(0, len(model) - 1)
    # Digits and brackets change numbers but keep the header valid.
    for place, byte in data.draw(
        st.dictionaries(places, st.sampled_from(b'0123456789[]{},"F\0\xff') | st.integers(0, 255), min_size=1)
    ).items():
        content[place] = byte
    path.write_bytes(content)
    try:
        network = nnk.load(path)
    except ValueError:
        return
    with np.errstate(all="ignore"):
        assert network(np.zeros((2, network.layers[0].inputs))).shape[0] == 2


def written(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def zipped(name: str) -> bytes:
    return written(lambda file: zipfile.ZipFile(file, "w").writestr(name, "content"))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
GRAPH = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
STATE_DICT = "nnk.from_state_dict(torch.load(path, weights_only=True), activations)"
MODULE = "if it is a whole module that you trust, load it with weights_only=False for nnk.from_torch"
OTHER_FILES: dict[str, tuple[bytes, str, str]] = {
    "Git LFS pointer": (POINTER, "Git LFS pointer, not the model", "git lfs pull"),
    "old Git LFS pointer": (POINTER.replace(b"git-lfs", b"hawser"), "Git LFS pointer, not the model", "git lfs pull"),
    # Starts of files written by torch.save and torch.jit.save.
    "state_dict.pt": (b"PK\x03\x04" + bytes(22) + b"\n\0\x18\0a/data.pklFB\x14\0ZZZZ", "PyTorch", STATE_DICT),
    "script.pt": (b"PK\x03\x04" + bytes(22) + b"\x08\0\x1a\0c/data/0FB\x16\0ZZZZ", "PyTorch", MODULE),
    "old.pth": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "PyTorch", STATE_DICT),
    "weights.npz": (written(lambda file: np.savez(file, weights=X)), "an .npz file", "numpy.load"),
    "weights.npy": (written(lambda file: np.save(file, X)), "an .npy file", "numpy.load"),
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite", "TensorFlow"),
    **{f"pickle {protocol}": (pickle.dumps(X, protocol), "a pickle", "the library") for protocol in range(6)},
    **{
        f"pickle {protocol} of a {type(value).__name__}": (pickle.dumps(value, protocol), "a pickle", "the library")
        for protocol in range(6)
        for value in ({"weights": [1]}, [[0.5]])
    },
    "model.gguf": (b"GGUF\x03\0\0\0\x93\0\0\0\0\0\0\0\x18", "a GGUF file", "gguf"),
    "model.json": (json.dumps({"format": "layers-model", "weights": [[1.0]]}, indent=2).encode(), "a JSON file", "the library"),
    "weights.json": (b"\n[[1.0, 2.0], [3.0, 4.0]]", "a JSON file", "the library"),
    "table.csv": (b"length,width,species\n5.1,3.5,setosa\n", "a text file", "numpy.loadtxt"),
    "page": (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", "an HTML page, not the model", "download"),
    "model.tflite like a page": (b"<\0\0\0TFL3" + bytes(100), "TensorFlow Lite", "TensorFlow"),
    "model.joblib": (written(lambda file: joblib.dump(X, file)), "a pickle", "pass the model to nnk.from_sklearn"),
    "model.joblib.z": (written(lambda file: joblib.dump(X, file, compress=3)), "compressed", "the library"),
    "model.zip": (zipped("model.bin"), "compressed", "the library"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_files_of_other_kinds(kind: str, path: Path) -> None:
    content, what, todo = OTHER_FILES[kind]
    message = refused(path, content)
    for expected in (path.name, what, todo):
        assert expected in message


IMPORTED_FILES: dict[str, tuple[bytes, str]] = {
    "model.keras": (zipped("metadata.json"), "from_keras"),
    "zipped again.keras": (zipped("config.json"), "from_keras"),
    "weights first.keras": (zipped("model.weights.h5"), "from_keras"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "from_keras"),
    "model.onnx": (onnx.helper.make_model(GRAPH, producer_name="us").SerializeToString(), "from_onnx"),
    "like our own.onnx": (onnx.helper.make_model(GRAPH, producer_name="abcd{x").SerializeToString(), "from_onnx"),
    "nobody's.onnx": (onnx.helper.make_model(GRAPH).SerializeToString(), "from_onnx"),
}


@pytest.mark.parametrize("kind", IMPORTED_FILES)
def test_files_that_other_functions_read(kind: str, path: Path) -> None:
    """Load calls the right function. Other readers say what kind of file it is."""
    content, function = IMPORTED_FILES[kind]
    assert refused(path, content).startswith(f"{function}(")
    with pytest.raises(
        ValueError, match=r"does not hold a state of training: it is an? .* file; expected a file that Training"
    ):
        nnk.TrainingState.load(path)
    with pytest.raises(ValueError, match=f"nnk.{function} reads"):
        nnk.from_state_dict(path, [])


@pytest.mark.parametrize("length", [0x280, 0x480, 0x178, 0x8B1F], ids=hex)
def test_broken_files_of_ours_are_not_taken_for_others(length: int, path: Path, model: bytes) -> None:
    header, data = take_apart(model)
    text = json.dumps(header).encode().ljust(length)
    path.write_bytes(put_together(text, data))
    assert len(nnk.load(path)) == 2
    for size in (5, 8, 9, 100, length):
        message = refused(path, put_together(text, data)[:size])
        assert not any(kind in message for _, kind, _ in OTHER_FILES.values())


def test_safetensors_file_of_somebody_else(path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        message = refused(path, safetensors.numpy.save({"weights": X}, metadata))
        assert "'nnkernels.activations'" in message
        assert "nnk.from_state_dict(path, activations) converts tensors" in message


@pytest.mark.parametrize("name", ["net.safetensors", "n\u00e9t", "\udcff"], ids=ascii)  # the last is b"\xff" on Linux
def test_paths_of_every_kind(name: str, model: bytes, tmp_path: Path) -> None:
    try:
        (tmp_path / name).write_bytes(model)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    paths: list[Any] = [tmp_path / name, str(tmp_path / name), os.fsencode(tmp_path / name)]
    for there in paths:
        TINY.save(there)
        assert len(nnk.load(there)) == 2
    with pytest.raises(FileNotFoundError, match="nothing"):
        nnk.load(os.fsencode(tmp_path / "nothing"))
    others: list[tuple[Any, str]] = [(3, "a int"), (TINY, "a Network")]
    for other, got in others:
        with pytest.raises(TypeError, match=rf"^load expected the path of a file, got {got}; .* nnk\.from_torch, "):
            nnk.load(other)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        nnk.load(tmp_path / "nothing")
    with pytest.raises(OSError):  # noqa: PT011
        nnk.load(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_pipe_is_no_model(tmp_path: Path, model: bytes) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # does not wait for a reader
    os.write(writer, model)
    with pytest.raises(ValueError, match=f"^{pipe}: expected a network in a regular file, got a pipe or a device$"):
        nnk.load(pipe)
    os.close(writer)


def test_errors_of_the_reader_name_the_file(path: Path, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Input/output error (os error 5)")

    path.write_bytes(model)
    monkeypatch.setattr("safetensors.safe_open", fail)
    with pytest.raises(OSError, match=rf"{path.name}: Input/output error"):
        nnk.load(path)


def test_empty_file(path: Path) -> None:
    assert refused(path, b"") == f"{path} does not hold a network: it is empty"
    with pytest.raises(ValueError, match=r"does not hold tensors: it is empty$"):
        nnk.from_state_dict(path, [])


# Loads a valid file, then a bad one, with a limit of 32 MiB on further address space.
LOAD_IN_LITTLE_MEMORY = """
import resource, sys
import nnkernels as nnk
good, bad = sys.argv[1:]
nnk.load(good)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**25,) * 2)
try:
    nnk.load(bad)
except ValueError:
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space, and tells its size in /proc")
@pytest.mark.parametrize("kind", ["long header", "longer header", "many layers", "long name", "large", "hollow", "nested"])
def test_memory_stays_in_proportion_to_the_file(kind: str, tmp_path: Path, model: bytes) -> None:
    header, data = take_apart(model)
    hollow = {
        "__metadata__": {"nnkernels.activations": "none"},
        "layers.0.weights": {"dtype": "F64", "shape": [2**33, 0], "data_offsets": [0, 0]},
        "layers.0.bias": {"dtype": "F64", "shape": [2**33], "data_offsets": [0, 0]},
    }
    content = {
        "long header": struct.pack("<Q", 10**8 - 1) + model[8:],
        "longer header": struct.pack("<Q", 2**40) + model[8:],
        "many layers": put_together({**header, "__metadata__": {"nnkernels.activations": "," * 10**6}}, data),
        "long name": put_together({**header, "x" * 10**6: header[FIRST]}, data),
        "large": put_together({**header, FIRST: {**header[FIRST], "shape": [2**33, 3]}}, data),
        "hollow": put_together(hollow, b""),
        "nested": put_together(b"[" * 10**6, b""),
    }[kind]
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(model)
    bad.write_bytes(content)
    ran = run(LOAD_IN_LITTLE_MEMORY, str(good), str(bad))
    assert (ran.stdout, ran.stderr) == ("refused\n", "")


# Saves and loads a network of 8 MB repeatedly, with a limit on further address space.
LITTLE_MEMORY = """
import resource, sys
import numpy as np, nnkernels as nnk
path = sys.argv[1]
net = nnk.Network([nnk.Dense(np.ones((1000, 1000)))])
net.save(path)
nnk.load(path)
most = resource.getrlimit(resource.RLIMIT_AS)
for call in (lambda: net.save(path), lambda: nnk.load(path)):
    outcomes = []
    for megabytes in range(0, 50, 2):
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + megabytes * 2**20, most[1]))
        try:
            call()
            outcomes.append("done")
        except MemoryError:
            outcomes.append("refused")
        resource.setrlimit(resource.RLIMIT_AS, most)
    print(*sorted(set(outcomes)), outcomes[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space, and tells its size in /proc")
def test_too_little_memory_to_save_or_load(tmp_path: Path) -> None:
    # Freed blocks of more than 64 kB are returned to the system, so that the limit applies to each
    # call.
    ran = run(LITTLE_MEMORY, str(tmp_path / "net"), MALLOC_MMAP_THRESHOLD_="65536")
    assert (ran.stdout, ran.stderr) == ("done refused done\n" * 2, "")


# --- Leaks ---

OUT = np.zeros((2, 4), np.float32)
TAKING_PART = (X, WEIGHTS, BIAS, OUT, *(np.dtype(code) for code in "efdhlq"))


def successful_calls(folder: Path) -> list[Callable[[], object]]:
    """Return calls of the whole API, with and without conversion, copies, out and files."""
    whole, half = np.arange(6).reshape(2, 3), WEIGHTS.astype(np.float16)
    strided = np.zeros((2, 8), np.float32)[:, ::2]
    targets, state = np.eye(2, 4), folder / "state"
    elementwise_and_along_axis: tuple[Callable[..., object], ...] = (nnk.relu, nnk.sigmoid, nnk.tanh, *ALONG_AXIS)
    return [
        *(partial(function, array) for function in elementwise_and_along_axis for array in (X, half, whole, X.T, [[1.0]])),
        *(partial(function, WEIGHTS.T, 1, dtype=np.float64) for function in ALONG_AXIS),
        partial(nnk.dot, X, whole),
        partial(nnk.dot, half[0], X[0]),
        *(partial(nnk.dense, X, WEIGHTS, BIAS, activation=a) for a in (None, nnk.relu, "sigmoid", "tanh", "softmax")),
        partial(nnk.dense, X, WEIGHTS, out=OUT),
        partial(nnk.dense, whole, half[0], 1.0),
        partial(nnk.dense, X, WEIGHTS, 1.0, out=strided),
        partial(nnk.Dense, WEIGHTS, BIAS, "tanh"),
        partial(nnk.Network, [nnk.Dense(WEIGHTS, BIAS)], np.float16),
        *(partial(NETWORK, array) for array in (X, X[0], whole, WEIGHTS, WEIGHTS.astype(">f4"), [[1, 2, 3]])),
        partial(NETWORK, X, out=OUT),
        partial(NETWORK, X, out=strided),
        lambda: (NETWORK.layers, NETWORK.dtype, repr(NETWORK)),
        lambda: pickle.loads(pickle.dumps(NETWORK)),
        partial(NETWORK.save, folder / "net"),
        partial(nnk.load, folder / "net"),
        *(partial(loss, X @ WEIGHTS.T, targets, sample_weight=[1, 2], gradient=True) for loss in LOSSES),
        *(partial(loss, strided, targets, reduction="none") for loss in LOSSES),
        partial(nnk.cross_entropy, half.T[:2], [3, 0]),
        partial(nnk.Network.random, (3, 4, 2), "tanh", seed=1, initializer="torch"),
        partial(NETWORK.gradient, X, targets, "huber", sample_weight=[0, 1]),
        partial(NETWORK.backward, whole, targets),
        partial(nnk.train, NETWORK, X, targets, epochs=2, validation=(X, targets), patience=1, callback=lambda _: False),
        *(
            partial(nnk.train, NETWORK, X, targets, optimizer=optimizer, epochs=1)
            for optimizer in (nnk.SGD(), nnk.SGD(momentum=0.5), nnk.AdamW())
        ),
        lambda: nnk.train(NETWORK, whole, targets, epochs=1).state.save(state),
        lambda: nnk.train(NETWORK, X, targets, epochs=1, state=nnk.TrainingState.load(state)).network,
        nnk.config,
        lambda: nnk.set_num_threads(nnk.get_num_threads()),
    ]


def run_every_call(folder: Path) -> None:
    for call in successful_calls(folder):
        call()
    for failing in CALLS.values():
        with suppress(failing.error):
            failing.call()


def clear_method_cache() -> None:
    """Empty the interpreter's method cache, which keeps references to attribute names."""
    if sys.version_info >= (3, 13):
        sys._clear_internal_caches()
    else:
        sys._clear_type_cache()


def test_no_references_and_no_objects_are_left_behind(tmp_path: Path) -> None:
    repetitions = 10

    def count() -> np.ndarray[Any, np.dtype[np.int64]]:
        clear_method_cache()
        gc.collect()
        return np.array([sys.getallocatedblocks(), *(sys.getrefcount(one) for one in TAKING_PART)])

    run_every_call(tmp_path)
    counts = [count()]
    for _ in range(4):
        for _ in range(repetitions):
            run_every_call(tmp_path)
        counts.append(count())
    # A leak grows in every round; caches stop growing.
    assert np.all(np.diff(counts, axis=0).min(axis=0) < repetitions)


# Prints the growth of a separate process over many rounds, in bytes.
GROWTH = """
import pathlib, resource, sys
import numpy as np
import nnkernels as nnk
import test_errors

layer = nnk.Dense(np.ones((256, 1024), np.float32))
x = np.ones((64, 1024), np.float32)

def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def round_of_calls():
    test_errors.run_every_call(pathlib.Path(sys.argv[1]))
    network = nnk.Network([layer, nnk.Dense(np.ones((8, 256)))])
    network(x), network.layers, nnk.dense(x, layer.weights, activation="softmax"), nnk.softmax(x), nnk.logsumexp(x, 0)
    for bad in (x[:, 1:], x.astype(object)):
        try:
            network(bad)
        except (TypeError, ValueError):
            pass

for _ in range(5):
    round_of_calls()
before = resident_bytes()
for _ in range(40):
    round_of_calls()
print(resident_bytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's memory in /proc")
def test_memory_does_not_grow(tmp_path: Path) -> None:
    search = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    ran = run(GROWTH, str(tmp_path), PYTHONPATH=search)
    assert ran.stderr == ""
    assert int(ran.stdout) < 40 * 2**17  # half of x per round
