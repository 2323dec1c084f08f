"""dense: accuracy, shapes, activations, layouts; independent rows."""

import re
from functools import partial
from typing import Any

import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import bounds
import nnkernels as nnk
import reference
from golden import ELEMENTWISE
from ulp import same_bits

ACTIVATIONS: dict[str | None, Any] = {
    None: lambda z: z,
    **{text: function for function, text in ELEMENTWISE.values()},
    "leaky_relu": nnk.leaky_relu,
    "elu": nnk.elu,
    "softmax": nnk.softmax,
    "log_softmax": nnk.log_softmax,
}
FEW = (None, "relu", "tanh", "elu(alpha=0.7)", "gelu", "softmax")

SHAPES = [
    *((rows, 5, 7) for rows in range(1, 15)),
    *((7, outputs, 6) for outputs in range(1, 36)),
    *((4, 3, inputs) for inputs in range(20)),
    (2, 9, 1023), (5, 17, 1024), (1, 8, 1025), (9, 33, 2050), (3, 20, 3000), (64, 64, 64), (100, 10, 784),
]  # fmt: skip


def layer(rng: np.random.Generator, rows: int, outputs: int, inputs: int, dtype: Any) -> tuple[NDArray[Any], ...]:
    """Return random x, weights and bias."""
    x = rng.normal(0, 1, (rows, inputs)).astype(dtype)
    weights = rng.normal(0, 1, (outputs, inputs)).astype(dtype)
    return x, weights, rng.normal(0, 1, outputs).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_accuracy(shape: tuple[int, int, int], dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, *shape, dtype)
    exact = reference.dense(x, weights, bias)
    z = nnk.dense(x, weights, bias)
    assert z.dtype == dtype
    assert (np.abs(z - exact) <= bounds.dense(x, weights, bias, dtype)).all()
    for activation, function in ACTIVATIONS.items():
        assert same_bits(nnk.dense(x, weights, bias, activation=activation), function(z))
    for row in range(len(x)):
        assert same_bits(nnk.dense(x[row], weights, bias), z[row])
    for output in range(0, len(weights), 7):
        assert same_bits(nnk.dense(x, weights[output], bias[output]), z[:, output])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_shapes_and_strides(data: st.DataObject) -> None:
    rows, outputs, inputs = (data.draw(st.integers(0, most)) for most in (70, 40, 40))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x, weights, bias = layer(rng, rows, outputs, inputs, dtype)
    expected = np.stack([nnk.dense(row, weights, bias) for row in x]) if rows else np.empty((0, outputs), dtype)

    def laid_out(array: NDArray[Any]) -> NDArray[Any]:
        """Return the same elements with another stride, sign, order, alignment or byte order."""
        kind = data.draw(st.sampled_from(["C", "F", "strided", "negative", "misaligned", "byteswapped", "read-only"]))
        if kind == "strided":
            steps = tuple(data.draw(st.integers(1, 3)) for _ in array.shape)
            big = np.zeros([n * step for n, step in zip(array.shape, steps, strict=True)], dtype)
            view = big[tuple(slice(None, None, step) for step in steps)]
            view[...] = array
            return view
        if kind == "negative":
            flip = (slice(None, None, -1),) * array.ndim
            return array[flip].copy()[flip]
        if kind == "misaligned":
            raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
            view = raw.view(dtype).reshape(array.shape)
            view[...] = array
            return view
        if kind == "byteswapped":
            return array.astype(array.dtype.newbyteorder())
        copy = array.copy(order="F" if kind == "F" else "C")
        copy.flags.writeable = kind != "read-only"
        return copy

    assert same_bits(nnk.dense(laid_out(x), laid_out(weights), laid_out(bias)), expected)
    out = np.full((rows, 2 * outputs), 77, dtype)[:, ::-2]
    assert nnk.dense(laid_out(x), laid_out(weights), laid_out(bias), out=out) is out
    assert same_bits(np.ascontiguousarray(out), expected)


def test_bias_broadcasts(dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 6, 5, 4, dtype)
    z = nnk.dense(x, weights)
    assert same_bits(z, nnk.dense(x, weights, np.zeros(5, dtype)))
    assert same_bits(nnk.dense(x, weights, 2.0), nnk.dense(x, weights, np.full(5, 2, dtype)))
    assert same_bits(nnk.dense(x, weights, 2), nnk.dense(x, weights, np.full(5, 2, dtype)))
    assert same_bits(nnk.dense(x, weights, bias[np.newaxis]), nnk.dense(x, weights, bias))
    each = rng.normal(0, 1, (6, 1)).astype(dtype)
    assert same_bits(
        nnk.dense(x, weights, each), np.stack([nnk.dense(row, weights, b[0]) for row, b in zip(x, each, strict=True)])
    )
    assert nnk.dense(x[0], weights, bias[np.newaxis]).shape == (1, 5)
    assert nnk.dense(np.ones((2, 3, 4), dtype), weights, bias).shape == (2, 3, 5)


def test_the_usual_call_is_like_any_other(rng: np.random.Generator) -> None:
    """Three arrays of fitting shapes go straight to the ufunc; others give the same result."""

    class Derived(np.ndarray[Any, Any]):
        pass

    for outputs in (1, 5):
        for codes in ("eee", "fff", "ddd", "eed", "fde", "bbb", "iff", "?e?", "qBe"):
            parts = layer(rng, 6, outputs, 4, np.float64)
            x, weights, bias = ((3 * part).astype(code) for part, code in zip(parts, codes, strict=True))
            for activation in FEW:
                expected = nnk.dense(x, weights, bias, activation=activation)
                for other in (
                    (x.view(Derived), weights, bias),
                    (x, weights.view(Derived), bias),
                    (x, weights, bias.view(Derived)),
                    (x, weights, bias[np.newaxis]),
                    (x, weights, np.tile(bias, (6, 1))),
                ):
                    assert same_bits(np.asarray(nnk.dense(*other, activation=activation)), expected)
                out = np.empty_like(expected)
                assert nnk.dense(x, weights, bias, activation=activation, out=out) is out
                assert same_bits(out, expected)
            full = nnk.dense(x, weights, np.repeat(bias[:1], outputs))
            for number in (bias[:1], bias[0], bias[:1].reshape(()), bias[:1, np.newaxis]):
                assert same_bits(nnk.dense(x, weights, number), full)


def test_python_scalar_bias_is_weak() -> None:
    for x, weights, expected in (
        ("e", "e", "e"),
        ("f", "f", "f"),
        ("b", "b", "f"),
        ("b", "e", "f"),
        ("i", "f", "d"),
        ("f", "d", "d"),
    ):
        for bias in (2, 2.0, True, None):
            assert nnk.dense(np.ones(3, x), np.ones((2, 3), weights), bias).dtype == np.dtype(expected)
            assert nnk.dense(np.ones(3, x), np.ones(3, weights), bias).dtype == np.dtype(expected)
    assert nnk.dense(np.ones(3, "f"), np.ones((2, 3), "f"), np.float64(2)).dtype == np.float64


def test_one_neuron(dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 9, 1, 11, dtype)
    expected = nnk.dense(x, weights, bias)
    assert same_bits(nnk.dense(x, weights[0], bias[0]), expected[:, 0])
    assert nnk.dense(x[0], weights[0], bias[0]) == expected[0, 0]
    assert isinstance(nnk.dense(x[0], weights[0], bias[0]), dtype)
    out = np.empty(9, dtype)
    assert nnk.dense(x, weights[0], bias[0], out=out, activation="tanh") is out
    assert same_bits(out, nnk.tanh(expected[:, 0]))


@pytest.mark.each_target
def test_no_inputs_or_rows(dtype: type[np.floating]) -> None:
    bias = np.array([1, -2, 3], dtype)
    assert same_bits(nnk.dense(np.empty((4, 0), dtype), np.empty((3, 0), dtype), bias), np.tile(bias, (4, 1)))
    assert same_bits(nnk.dense(np.empty(0, dtype), np.empty((3, 0), dtype), bias), bias)
    assert nnk.dense(np.empty((0, 2), dtype), np.empty((3, 2), dtype), bias).shape == (0, 3)
    assert nnk.dense(np.ones((5, 2), dtype), np.empty((0, 2), dtype)).shape == (5, 0)


@pytest.mark.each_target
def test_not_finite(dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 20, 9, 13, dtype)
    clean = nnk.dense(x, weights, bias)
    x[4, 5] = np.nan
    z = nnk.dense(x, weights, bias)
    assert np.isnan(z[4]).all()
    assert same_bits(np.delete(z, 4, 0), np.delete(clean, 4, 0))
    for activation in ACTIVATIONS:
        assert np.isnan(nnk.dense(x, weights, bias, activation=activation)[4]).all()
    x[4, 5], weights[2, 5] = 0, np.inf
    with np.errstate(invalid="ignore"):
        z = nnk.dense(x, weights, bias)
    assert np.isnan(z[4, 2])
    assert np.isinf(np.delete(z[:, 2], 4)).all()
    assert np.isfinite(np.delete(z, 2, 1)).all()


@pytest.mark.each_target
@pytest.mark.parametrize("rows", [1, 50])
def test_overflow_is_reported(dtype: type[np.floating], rows: int) -> None:
    x = np.full((rows, 3), np.finfo(dtype).max)
    for activation in (None, "sigmoid"):
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            nnk.dense(x, x[:1], activation=activation)
    with np.errstate(over="ignore"):
        assert (nnk.dense(x, x[:1]) == np.inf).all()
        assert (nnk.dense(x, x[:1], activation="sigmoid") == 1).all()


def test_overlapping_output(dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 30, 40, 40, dtype)
    expected = nnk.dense(x, weights, bias, activation="relu")
    for shift in (0, 1, -1):
        memory = np.zeros((32, 40), dtype)
        memory[1:-1] = x
        out = memory[1 + shift : 31 + shift]
        nnk.dense(memory[1:-1], weights, bias, activation="relu", out=out)
        assert same_bits(out, expected)
    expected = nnk.dense(x[:, :40], weights[:30])
    assert same_bits(nnk.dense(x, weights[:30], out=weights[:, :30][:30]), expected)
    square = weights[:30, :30].copy()
    expected = nnk.dense(x[:, :30], square)
    assert same_bits(nnk.dense(x[:, :30], square, out=square), expected)


def test_output_of_another_dtype(rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 8, 6, 7, np.float32)
    for dtype in (np.float16, np.float64):
        out = np.empty((8, 6), dtype)
        nnk.dense(x, weights, bias, out=out)
        assert same_bits(out, nnk.dense(x, weights, bias).astype(dtype))


def test_activation_itself(rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 4, 3, 2, np.float32)
    for activation in (
        *(nnk.relu, nnk.sigmoid, nnk.tanh, nnk.exp, nnk.leaky_relu, nnk.elu, nnk.silu, nnk.gelu, nnk.softplus),
        *(nnk.softmax, nnk.log_softmax),
    ):
        expected = nnk.dense(x, weights, bias, activation=activation.__name__)
        assert same_bits(nnk.dense(x, weights, bias, activation=activation), expected)
        assert same_bits(expected, activation(nnk.dense(x, weights, bias)))
        assert nnk.Dense(weights, bias, activation).activation == activation.__name__


TEXTS: list[tuple[Any, str | None]] = [
    (partial(nnk.leaky_relu, negative_slope=0.2), "leaky_relu(negative_slope=0.2)"),
    (partial(nnk.leaky_relu, negative_slope=np.float32(0.25)), "leaky_relu(negative_slope=0.25)"),
    (partial(nnk.leaky_relu, negative_slope=0.01), "leaky_relu"),
    (partial(nnk.leaky_relu), "leaky_relu"),
    (partial(nnk.elu, alpha=2), "elu(alpha=2.0)"),
    (partial(nnk.elu, alpha=1), "elu"),
    ("elu(alpha=1.0)", "elu"),
    ("elu(alpha=0.50)", "elu(alpha=0.5)"),
    ("elu(alpha=1e-3)", "elu(alpha=0.001)"),
    ("elu(alpha=-2)", "elu(alpha=-2.0)"),
    ("leaky_relu(negative_slope=0.1)", "leaky_relu(negative_slope=0.1)"),
    ("elu(alpha=1.6732632423543772)", "elu(alpha=1.6732632423543772)"),
    (partial(nnk.gelu, approximate="tanh"), "gelu_tanh"),
    (partial(nnk.gelu, approximate="none"), "gelu"),
    (partial(nnk.gelu), "gelu"),
    ("gelu_tanh", "gelu_tanh"),
    (partial(nnk.tanh), "tanh"),
]


@pytest.mark.parametrize(("activation", "text"), TEXTS, ids=str)
def test_text_of_an_activation(activation: Any, text: str, rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 4, 3, 2, np.float32)
    assert nnk.Dense(weights, bias, activation).activation == text
    assert nnk.Dense(weights, bias, text).activation == text
    expected = nnk.dense(x, weights, bias, activation=text)
    assert same_bits(nnk.dense(x, weights, bias, activation=activation), expected)
    assert same_bits(nnk.Network([nnk.Dense(weights, bias, activation)])(x), expected)
    if callable(activation):
        assert same_bits(activation(nnk.dense(x, weights, bias)), expected)


WRONG_ACTIVATIONS: list[tuple[Any, type[Exception]]] = [
    ("elu(alpha=nan)", ValueError),
    ("elu(alpha=inf)", ValueError),
    ("elu(alpha=1e999)", ValueError),
    ("elu(alpha=)", ValueError),
    ("elu(alpha=one)", ValueError),
    ("elu(negative_slope=1)", ValueError),
    ("elu(0.5)", ValueError),
    ("elu(alpha=1.0", ValueError),
    ("elu()", ValueError),
    ("relu(alpha=1.0)", ValueError),
    ("gelu(approximate=tanh)", ValueError),
    ("none", ValueError),
    ("Elu", ValueError),
    (partial(nnk.elu, alpha=np.nan), TypeError),
    (partial(nnk.elu, alpha="a"), TypeError),
    (partial(nnk.elu, alpha=np.ones(3)), TypeError),
    (partial(nnk.elu, beta=1.0), TypeError),
    (partial(nnk.leaky_relu, alpha=1.0), TypeError),
    (partial(nnk.elu, np.ones(3)), TypeError),
    (partial(nnk.gelu, approximate="erf"), TypeError),
    (partial(nnk.relu, out=None), TypeError),
    (partial(np.tanh), TypeError),
    (nnk.logsumexp, TypeError),
    (0, TypeError),
    ([], TypeError),
]


@pytest.mark.parametrize(("activation", "kind"), WRONG_ACTIVATIONS, ids=str)
def test_wrong_activations(activation: Any, kind: type[Exception], rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 4, 3, 2, np.float32)
    for call in (partial(nnk.dense, x), nnk.Dense):
        with pytest.raises(kind, match=r"^activation expected .*; got "):
            call(weights, bias, activation=activation)


ONLY_SLOPE = "leaky_relu with negative_slope=NUMBER, which is finite, and nothing else"
EXPECTED_ACTIVATIONS: list[tuple[Any, str]] = [
    (partial(nnk.leaky_relu, alpha=0.2), ONLY_SLOPE),
    (partial(nnk.leaky_relu, 0.2), ONLY_SLOPE),
    (partial(nnk.leaky_relu, 0.2, negative_slope=0.2), ONLY_SLOPE),
    ("leaky_relu(alpha=0.2)", ONLY_SLOPE),
    (partial(nnk.elu, alpha="x"), "elu with alpha=NUMBER, which is finite, and nothing else"),
    (partial(nnk.relu, alpha=1), "relu with no option"),
    (partial(nnk.softmax, axis=0), "softmax with no option"),
    (partial(nnk.gelu, approximate="erf"), "gelu with approximate='none' or 'tanh' and nothing else"),
    (np.tanh, "'tanh' or nnk.tanh"),
    (partial(np.exp), "'exp' or nnk.exp"),
    (type("ReLU", (), {})(), "'relu' or nnk.relu"),
    (type("LeakyReLU", (), {})(), "'leaky_relu(negative_slope=0.01)' or nnk.leaky_relu"),
    (type("Identity", (), {})(), "None"),
    ("leaky_relu(0.2)", "'leaky_relu(negative_slope=0.01)'"),
    ("ReLU", "'relu'"),
    ("swish", "'silu'"),
    ("logistic", "'sigmoid'"),
    ("linear", "None"),
]


@pytest.mark.parametrize(("activation", "expected"), EXPECTED_ACTIVATIONS, ids=str)
def test_what_a_wrong_activation_should_be(activation: Any, expected: str) -> None:
    message = f"activation expected {expected}; got {activation!r}"
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        nnk.Dense([[1.0]], activation=activation)


def test_activation_that_resembles_none() -> None:
    for wrong in ("mish", [], 0, nnk.logsumexp):
        with pytest.raises(
            (TypeError, ValueError), match=r"^activation expected None, 'relu', .*, one of these functions, or a "
        ):
            nnk.Dense([[1.0]], activation=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", [text for text in ACTIVATIONS if text])
def test_activations_of_a_dask_array(activation: str, rng: np.random.Generator) -> None:
    array = pytest.importorskip("dask.array")
    x, weights, bias = layer(rng, 12, 3, 2, np.float32)
    lazy = nnk.dense(array.from_array(x, chunks=(4, 2)), weights, bias, activation=activation)
    assert lazy.shape == (12, 3)
    assert same_bits(np.asarray(lazy.compute()), nnk.dense(x, weights, bias, activation=activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_with_output(activation: str | None, dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, weights, bias = layer(rng, 9, 5, 4, dtype)
    expected = nnk.dense(x, weights, bias, activation=activation)
    for out in (np.empty((9, 5), dtype), np.empty((9, 10), dtype)[:, ::-2], np.empty((5, 9), dtype).T):
        assert nnk.dense(x, weights, bias, activation=activation, out=out) is out
        assert same_bits(np.ascontiguousarray(out), expected)
    wide = np.empty((9, 5), np.float64)
    nnk.dense(x, weights, bias, activation=activation, out=wide)
    assert same_bits(wide, expected.astype(np.float64))
    one = nnk.Network([nnk.Dense(weights[0], bias[0], activation)], dtype)
    assert same_bits(nnk.dense(x, weights[0], bias[0], activation=activation), one(x))
    assert same_bits(nnk.dense(x[0], weights[0], bias[0], activation=activation), one(x[0]))
    with pytest.raises(ValueError, match=r"dense: out has the wrong shape.*out of shape \(9, 5\)"):
        nnk.dense(x, weights, bias, activation=activation, out=np.empty((2, 9, 5), dtype))
    with pytest.raises(TypeError, match="dense: Dask arrays are computed later"):
        nnk.dense(dask.array.from_array(x), weights, bias, activation=activation, out=np.empty((9, 5), dtype))
    assert nnk.dense(x[:0], weights, bias, activation=activation).shape == (0, 5)
    memory = np.zeros((10, 5), dtype)
    memory[:9, :4] = x
    nnk.dense(memory[:9, :4], weights, bias, activation=activation, out=memory[1:])
    assert same_bits(memory[1:], expected)


def test_tutorial() -> None:
    x = [1.2, 2.5, -1.0]
    assert float(nnk.dense(x, [0.8, -0.5, 1.0], 2.0)) == 0.71
    weights = [[0.8, -0.5, 1.0], [0.1, 0.7, -1.2], [0.3, -0.3, 0.5]]
    np.testing.assert_allclose(nnk.dense(x, weights, [2.0, 0.5, -1.0]), [0.71, 3.57, -1.89], rtol=4e-16)


def test_out_is_an_operand(dtype: type[np.floating], rng: np.random.Generator) -> None:
    # With several blocks of inputs, the output holds intermediate sums.
    for inputs in (16, 3000):
        x, weights = rng.normal(0, 0.1, (16, inputs)).astype(dtype), rng.normal(0, 0.1, (16, inputs)).astype(dtype)
        bias = rng.normal(0, 1, 16).astype(dtype)
        for activation in (None, "relu", "softmax"):
            expected = nnk.dense(x[0], weights, bias, activation=activation)
            for operand in range(3):
                operands = [x[0].copy(), weights.copy(), bias.copy()]
                out = (operands[0][:16], operands[1][0, :16], operands[2])[operand]
                assert same_bits(nnk.dense(*operands, activation=activation, out=out), expected)
