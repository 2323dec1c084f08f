"""The functions as NumPy ufuncs: keywords, casting, errstate, pickle, processes.

test_arrays.py tests kinds of arguments.
"""

import copy
import gc
import itertools
import multiprocessing
import pickle
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

import nnkernels as nnk
from ulp import same_bits

Array = np.ndarray[Any, np.dtype[Any]]

ELEMENTWISE = (nnk.relu, nnk.sigmoid, nnk.tanh)
ALONG_AXIS = (nnk.softmax, nnk.log_softmax)
ACTIVATIONS = (None, "relu", "sigmoid", "tanh", "softmax")


# --- Real ufuncs ---


@pytest.mark.parametrize(("ufunc", "signature"), [*((function, None) for function in ELEMENTWISE), (nnk.dot, "(n),(n)->()")])
def test_are_ufuncs(ufunc: np.ufunc, signature: str | None) -> None:
    assert isinstance(ufunc, np.ufunc)
    assert ufunc.signature == signature
    assert getattr(nnk, ufunc.__name__) is ufunc
    assert (ufunc.nin, ufunc.nout) == (1 if signature is None else 2, 1)
    assert ufunc.__doc__ is not None
    assert ">>>" in ufunc.__doc__


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_out_and_where(function: np.ufunc, x: Array, rng: np.random.Generator) -> None:
    expected = function(x)
    for call in (lambda out: function(x, out), lambda out: function(x, out=out), lambda out: function(x, out=(out,))):
        out = np.full_like(x, 7)
        assert call(out) is out
        assert same_bits(out, expected)
    out = np.full_like(x, 7)
    where = np.less(rng.random(x.shape), 0.5)
    assert function(x, out=out, where=where) is out
    assert same_bits(out, np.where(where, expected, np.float32(7)))
    function(x, out=out, where=where[:, :1])
    assert same_bits(out[~where[:, 0]], np.where(where, expected, np.float32(7))[~where[:, 0]])
    broadcast = np.empty((2, *x.shape), np.float64)
    assert same_bits(function(x, out=broadcast)[1], expected.astype(np.float64))


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_at(function: np.ufunc) -> None:
    x = np.array([-1.0, -2.0, 3.0])
    function.at(x, [0, 2])
    assert same_bits(x, np.array([function(-1.0), -2.0, function(3.0)]))


REAL = "?bBhHiIlLqQefd"


def outcome(function: Callable[..., Array], *arguments: object, **keywords: Any) -> object:
    """Return the dtype of a result, or the type of a TypeError."""
    try:
        return function(*arguments, **keywords).dtype
    except TypeError as error:
        return type(error)


@pytest.mark.parametrize("of", REAL)
def test_dtype_and_casting_are_numpys(of: str) -> None:
    x = np.ones(3, of)
    for dtype, casting in itertools.product((None, *REAL), ("no", "equiv", "safe", "same_kind", "unsafe")):
        keywords = {"dtype": dtype, "casting": casting}
        expected = outcome(np.tanh, x, **keywords)
        assert outcome(nnk.tanh, x, **keywords) == expected
        assert outcome(nnk.sigmoid, x, **keywords) == expected
        assert outcome(nnk.relu, x, **keywords) == outcome(np.maximum, x, x, **keywords)


@pytest.mark.parametrize("scalar", [True, 2, 2.0, np.float16(2), np.float32(2), np.int8(2), np.uint64(2)], ids=repr)
def test_scalars_promote_as_numpys_do(scalar: Any) -> None:
    assert type(nnk.tanh(scalar)) is type(nnk.sigmoid(scalar)) is type(np.tanh(scalar))
    assert type(nnk.relu(scalar)) is type(np.maximum(scalar, scalar))


def test_keywords_of_generalized_ufuncs(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 5))
    expected = nnk.dot(np.moveaxis(x, 1, -1), np.moveaxis(w, 1, -1))
    assert same_bits(nnk.dot(x, w, axis=1), expected)
    assert same_bits(nnk.dot(x, w, axis=1, keepdims=True), expected[:, np.newaxis])
    assert same_bits(nnk.dot(x, np.moveaxis(w, 1, 0), axes=[1, 0, ()]), expected)
    out = np.empty((3, 5), np.float32)
    assert nnk.dot(x, w, axis=1, out=out) is out
    assert same_bits(out, expected.astype(np.float32))
    single = nnk.dot(x.astype(np.float32), w.astype(np.float32))
    assert same_bits(nnk.dot(x, w, dtype=np.float32), single)
    with pytest.raises(TypeError, match="safe"):
        nnk.dot(x, w, dtype=np.float32, casting="safe")
    with pytest.raises(TypeError, match="where"):
        nnk.dot(x, w, where=True)


@pytest.mark.parametrize("function", [*ALONG_AXIS, nnk.logsumexp])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_of_functions_along_an_axis(function: Callable[..., Array], dtype: Any, x: Array) -> None:
    assert same_bits(function(x, dtype=dtype), function(x.astype(dtype)))


# --- errstate ---


def finite_rows(dtype: Any) -> Array:
    """Return rows of finite numbers of every magnitude, including the largest and smallest."""
    info = np.finfo(dtype)
    powers = np.ldexp(np.ones(info.maxexp - info.minexp, dtype), np.arange(info.minexp, info.maxexp))
    smallest = np.array([0, info.smallest_subnormal, info.smallest_normal, info.eps], dtype)
    half = np.concatenate([smallest, powers, np.array([info.max], dtype)])
    everything = np.concatenate([half, -half])
    return np.stack([everything, -everything, np.full_like(everything, info.max), np.full_like(everything, -info.max)])


@pytest.mark.parametrize("function", [*ELEMENTWISE, *ALONG_AXIS, nnk.logsumexp])
def test_finite_input_raises_nothing(function: Callable[..., Array], dtype: type[np.floating[Any]]) -> None:
    rows = finite_rows(dtype)
    with np.errstate(all="raise"):
        for z in (rows, rows[:, ::3], rows.T, rows[:1, :1], np.array([[1e308, -1e308, 1e308]]).clip(-rows.max(), rows.max())):
            assert not np.isnan(function(z)).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_finite_sums_raise_nothing(activation: str | None, dtype: type[np.floating[Any]]) -> None:
    values = finite_rows(dtype)[0]
    x = np.outer(values, np.eye(1, 9, 4, dtype=dtype)[0])
    ones = np.ones((5, 9), dtype)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_array_equal(nnk.dot(x, ones[0]), values)
        assert not np.isnan(nnk.dense(x, ones, activation=activation)).any()
        assert not np.isnan(nnk.dense(x, ones[0], dtype(0), activation=activation)).any()


def overflowing(dtype: Any) -> list[Callable[[], Array]]:
    """Return calls whose sums overflow: in all rows, or only in a late one."""
    great = np.full((3, 40), np.finfo(dtype).max)
    late = np.ones((3, 40), dtype)
    late[-1] = np.finfo(dtype).max
    calls: list[Callable[[], Array]] = []
    for x in (great, late):
        calls += [partial(nnk.dot, x, x), partial(nnk.dense, x, x[-1])]
        calls += [partial(nnk.dense, x, x, activation=activation) for activation in ACTIVATIONS]
    return calls


def test_overflow_is_reported_as_errstate_says(dtype: type[np.floating[Any]]) -> None:
    for call in overflowing(dtype):
        with np.errstate(over="raise", invalid="ignore"), pytest.raises(FloatingPointError, match="overflow"):
            call()
        with np.errstate(over="warn", invalid="ignore"), pytest.warns(RuntimeWarning, match="overflow"):
            call()
        told: list[str] = []
        with np.errstate(over="call", invalid="ignore", call=lambda kind, _, told=told: told.append(kind)):
            call()
        assert told == ["overflow"]
        with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            call()


def test_overflow_of_one_thread_is_reported(threads: None) -> None:
    nnk.set_num_threads(2)
    x, weights = np.ones((64, 512), np.float32), np.ones((512, 512), np.float32)
    x[-1] = np.finfo(np.float32).max
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        nnk.dense(x, weights)
    x[-1] = 1
    with np.errstate(all="raise"):
        assert np.all(nnk.dense(x, weights) == 512)


def test_network_overflows_silently(dtype: type[np.floating[Any]]) -> None:
    great = np.full((3, 40), np.finfo(dtype).max)
    with np.errstate(all="raise"):
        assert np.all(np.isposinf(nnk.Network([nnk.Dense(great)])(great)))


@pytest.mark.parametrize("outputs", [1, 2, 3, 5, 16, 17])
@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_infinite_input_alone_is_not_reported(rows: int, outputs: int, dtype: type[np.floating[Any]]) -> None:
    x = np.full((rows, 3), np.array([np.inf, 1, 1], dtype))
    weights = np.ones((outputs, 3), dtype)
    with np.errstate(all="raise"):
        assert np.all(np.isposinf(nnk.dot(x, weights[0])))
        for activation in (None, "relu"):
            assert np.all(np.isposinf(nnk.dense(x, weights, activation=activation)))


# --- Copies, pickle, other processes ---

FUNCTIONS = (*ELEMENTWISE, nnk.dot, *ALONG_AXIS, nnk.logsumexp, nnk.dense)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def copies(value: Any) -> list[Any]:
    return [copy.copy(value), copy.deepcopy(value), *(pickle.loads(pickle.dumps(value, protocol)) for protocol in PROTOCOLS)]


# pickle looks for dot in all modules, including a deprecated one of NumPy before 2.3, which warns.
@pytest.mark.filterwarnings("ignore:The numpy.linalg.linalg has been made private:DeprecationWarning")
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_copies_of_functions_are_the_functions(function: object) -> None:
    assert all(duplicate is function for duplicate in copies(function))


@pytest.mark.parametrize("one_neuron", [False, True])
def test_copies_of_layers(one_neuron: bool, weights: Array, bias: Array) -> None:
    layer = nnk.Dense(weights[0], bias[0], "tanh") if one_neuron else nnk.Dense(weights, bias, "tanh")
    for duplicate in copies(layer):
        assert type(duplicate) is nnk.Dense
        assert same_bits(duplicate.weights, layer.weights)
        assert same_bits(duplicate.bias, layer.bias)
        assert duplicate.activation == "tanh"
        assert not duplicate.weights.flags.writeable
        assert not duplicate.bias.flags.writeable


def test_copies_of_networks(dtype: type[np.floating[Any]], rng: np.random.Generator) -> None:
    hidden = nnk.Dense(rng.normal(size=(5, 6)), rng.normal(size=5), "sigmoid")
    for last in (nnk.Dense(rng.normal(size=(3, 5))), nnk.Dense(rng.normal(size=5), 1.0)):
        network = nnk.Network([hidden, last], dtype)
        x = rng.normal(size=(4, 6)).astype(dtype)
        for duplicate in copies(network):
            assert type(duplicate) is nnk.Network
            assert repr(duplicate) == repr(network)
            assert same_bits(duplicate(x), network(x))


class NamedLayer(nnk.Dense):
    """A layer with slots, other attributes, and different arguments."""

    __slots__ = ("__dict__", "name")

    def __init__(self, name: str, weights: Array) -> None:
        super().__init__(weights, activation="relu")
        self.name = name


class NamedNetwork(nnk.Network):
    def __init__(self, name: str, layer: nnk.Dense) -> None:
        super().__init__([layer], np.float16)
        self.name = name


class SlottedNetwork(nnk.Network):
    __slots__ = ("name",)


def test_copies_of_subclasses_keep_their_attributes(weights: Array) -> None:
    layer = NamedLayer("hidden", weights)
    layer.history = [0.5, 0.25]  # type: ignore[attr-defined]
    for duplicate in copies(layer):
        assert type(duplicate) is NamedLayer
        assert (duplicate.name, duplicate.history, duplicate.activation) == ("hidden", [0.5, 0.25], "relu")
        assert same_bits(duplicate.weights, layer.weights)
        assert not duplicate.weights.flags.writeable
    with pytest.raises(AttributeError, match="frozen"):
        layer.bias = weights[0]
    with pytest.raises(AttributeError, match="frozen"):
        del layer.activation
    del layer.name
    assert not hasattr(copy.copy(layer), "name")

    named = NamedNetwork("digits", layer)
    slotted: Any = SlottedNetwork([layer])
    slotted.name = "digits"
    for network in (named, slotted):
        for duplicate in copies(network):
            assert type(duplicate) is type(network)
            assert duplicate.name == "digits"
            assert repr(duplicate) == repr(network)
    assert copy.copy(layer).history is layer.history  # type: ignore[attr-defined]
    assert copy.deepcopy(layer).history is not layer.history  # type: ignore[attr-defined]


def test_layers_and_networks_can_be_referred_to_weakly(weights: Array) -> None:
    layer = nnk.Dense(weights)
    network = nnk.Network([layer])
    references = [weakref.ref(layer), weakref.ref(network)]
    assert [reference() for reference in references] == [layer, network]
    del layer, network
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_network_in_a_spawned_process(x: Array, network: nnk.Network) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert same_bits(pool.submit(network, x).result(), network(x))
        assert same_bits(pool.submit(nnk.softmax, x).result(), nnk.softmax(x))
