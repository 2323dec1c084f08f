"""Gradients of networks: references, central differences, exact sums, arguments, backward."""

import re
from functools import partial
from itertools import cycle, pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bounds
import nnkernels as nnk
import reference
from corpus import Array
from golden import ELEMENTWISE, gradient_of
from test_losses import make_targets
from ulp import same_bits

LAST = (None, "relu", "sigmoid", "tanh", "softmax")
OF_LOGITS = ("cross_entropy", "binary_cross_entropy", "poisson")
OWN = reference.OWN_LOSS
OTHERS = (
    *("exp", "leaky_relu", "leaky_relu(negative_slope=-0.3)", "elu", "elu(alpha=0.7)", "elu(alpha=-0.4)", "silu", "gelu"),
    *("gelu_tanh", "softplus", "log_softmax"),
)
# A loss of logits refuses the outputs of an activation that has a different own loss.
REFUSED = [(last, loss) for last, loss in product(OWN, OF_LOGITS) if OWN[last] != loss]
TAKEN = [pair for pair in product(LAST, reference.LOSSES) if pair not in REFUSED]


def network(rng: np.random.Generator, sizes: tuple[int, ...], hidden: str, last: str | None, dtype: Any = float) -> nnk.Network:
    """Return a network with random weights and biases, and no dead units."""
    pairs = list(pairwise(sizes))
    return nnk.Network(
        [
            nnk.Dense(
                rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(dtype),
                rng.uniform(0, 1, outputs).astype(dtype),
                hidden if number < len(pairs) else last,
            )
            for number, (inputs, outputs) in enumerate(pairs, 1)
        ]
    )


def parameters(layers: Any) -> Array:
    return reference.flat((layer.weights, layer.bias) for layer in layers if isinstance(layer, nnk.Dense))


def with_parameters(net: nnk.Network, values: Array) -> nnk.Network:
    """Return a network with other weights and biases."""
    layers, end = [], 0
    for layer in net.layers:
        begin, middle, end = end, end + layer.weights.size, end + layer.weights.size + layer.bias.size
        layers.append(nnk.Dense(values[begin:middle].reshape(layer.weights.shape), values[middle:end], layer.activation))
    return nnk.Network(layers, net.dtype)


def random_direction(rng: np.random.Generator, like: Array) -> Array:
    """Return a random unit vector."""
    direction = rng.normal(0, 1, like.shape)
    return direction / np.linalg.norm(direction)


def slope(function: Any, at: Array, direction: Array, step: float = 1e-5) -> float:
    """Return the central difference of a function along a direction."""
    return float(function(at + step * direction) - function(at - step * direction)) / (2 * step)


def differences(function: Any, at: Array, step: float = 1e-5) -> Array:
    """Return the central differences of a function with respect to each element."""
    slopes = np.empty_like(at)
    for place in np.ndindex(at.shape):
        above, below = at.copy(), at.copy()
        above[place] += step
        below[place] -= step
        slopes[place] = (function(above) - function(below)) / (2 * step)
    return slopes


SHAPES = [((4, 3), "relu"), *product([(4, 5, 3), (4, 5, 6, 3), (4, 5, 3, 6, 3)], ["relu", "sigmoid", "tanh", "softmax"])]


@pytest.mark.parametrize(("sizes", "hidden"), SHAPES, ids=str)
@pytest.mark.parametrize(("last", "loss"), TAKEN)
def test_gradient(last: str | None, loss: str, sizes: tuple[int, ...], hidden: str, rng: np.random.Generator) -> None:
    """In float64, against textbook formulas and a central difference (error 1e-10 here).

    The difference is along a random direction, so that it depends on each weight and bias.
    """
    net = network(rng, sizes, hidden, last)
    x = rng.normal(0, 1, (6, 4))
    targets = make_targets(loss, rng, (6, 3), float, soft=True)
    keywords = {"sample_weight": rng.uniform(0.5, 2, 6)}
    value, gradients = net.gradient(x, targets, loss, **keywords)
    exact, exact_gradients = reference.gradient(net.layers, x, targets, loss, **keywords)
    largest = np.abs(reference.flat(exact_gradients)).max()
    np.testing.assert_allclose(float(value), float(exact), rtol=1e-14)
    np.testing.assert_allclose(
        parameters(gradients), reference.flat(exact_gradients).astype(float), rtol=0, atol=1e-14 * largest
    )
    start = parameters(net.layers)
    direction = random_direction(rng, start)
    along = slope(lambda values: with_parameters(net, values).gradient(x, targets, loss, **keywords)[0], start, direction)
    np.testing.assert_allclose(parameters(gradients) @ direction, along, rtol=0, atol=1e-8 * largest)


@pytest.mark.parametrize("activation", OTHERS)
def test_gradient_of_other_activations(activation: str, rng: np.random.Generator) -> None:
    """As hidden and last activation, with squared_error and its own loss; also for the inputs."""
    x = rng.normal(0, 1, (6, 4))
    for sizes, last, loss in (
        ((4, 5, 6, 3), None, "squared_error"),
        ((4, 5, 3), activation, "huber"),
        ((4, 5, 3), activation, OWN.get(activation, "squared_error")),
    ):
        net = network(rng, sizes, activation, last)
        targets = make_targets(loss, rng, (6, 3), float, soft=True)
        value, gradients = net.gradient(x, targets, loss)
        exact, exact_gradients = reference.gradient(net.layers, x, targets, loss)
        largest = float(np.abs(reference.flat(exact_gradients)).max())
        np.testing.assert_allclose(float(value), float(exact), rtol=1e-13)
        np.testing.assert_allclose(
            parameters(gradients), reference.flat(exact_gradients).astype(float), rtol=0, atol=1e-13 * largest
        )
        start = parameters(net.layers)
        direction = random_direction(rng, start)
        along = slope(lambda values: with_parameters(net, values).gradient(x, targets, loss)[0], start, direction)  # noqa: B023
        np.testing.assert_allclose(parameters(gradients) @ direction, along, rtol=0, atol=1e-7 * largest)
        upstream = rng.normal(0, 1, (6, 3))
        layers, of_x = net.backward(x, upstream)
        exact_layers, exact_of_x = reference.backward(net.layers, x, upstream)
        for actual, wanted in ((parameters(layers), reference.flat(exact_layers)), (of_x, exact_of_x)):
            np.testing.assert_allclose(actual, wanted.astype(float), rtol=0, atol=1e-13 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("activation", [name for name in OTHERS if name != "exp"])
def test_gradient_of_other_activations_in_each_dtype(
    activation: str, dtype: type[np.floating], rng: np.random.Generator
) -> None:
    net = network(rng, (20, 30, 10), activation, activation, dtype)
    x, targets = rng.normal(0, 1, (300, 20)).astype(dtype), rng.normal(0, 1, (300, 10)).astype(dtype)
    value, gradients = net.gradient(x, targets, "squared_error")
    exact, exact_gradients = reference.gradient(net.layers, x, targets, "squared_error")
    unit = bounds.unit(np.float32) * 16 if dtype is np.float16 else bounds.unit(dtype)
    rounding = np.finfo(dtype).eps if dtype is np.float16 else 0
    np.testing.assert_allclose(float(value), float(exact), rtol=rounding + 32 * unit)
    for actual, wanted in zip(parameters_of_each(gradients), reference_of_each(exact_gradients), strict=True):
        largest = float(np.abs(wanted).max())
        np.testing.assert_allclose(actual.astype(float), wanted, rtol=0, atol=(rounding + 64 * unit) * largest)


def parameters_of_each(layers: Any) -> list[Array]:
    return [array for layer in layers for array in (layer.weights, layer.bias)]


def reference_of_each(pairs: Any) -> list[Array]:
    return [array.astype(float) for pair in pairs for array in pair]


# Largest errors of derivatives, in ULP of 1.
PROMISED_ERROR = {np.float32: 16, np.float64: 32}
ELEMENTWISE_TEXTS = [text for _, text in ELEMENTWISE.values()]
DERIVATIVES = (*ELEMENTWISE_TEXTS, "leaky_relu", "elu", "leaky_relu(negative_slope=-2.0)", "elu(alpha=-3.0)", "elu(alpha=0.0)")


@pytest.mark.parametrize("dtype", PROMISED_ERROR)
@pytest.mark.parametrize("activation", DERIVATIVES)
def test_derivative(activation: str, dtype: type[np.floating]) -> None:
    x = np.concatenate([np.linspace(-30, 30, 60_001), np.geomspace(1e-30, 1e30, 5001), -np.geomspace(1e-30, 1e30, 5001)])
    x = x.astype(dtype)
    name, options = reference.name_and_option(activation)
    if activation == "exp":
        x = x[x < 80]
    actual = gradient_of(activation, x, np.ones_like(x))[:, 0]
    exact = reference.derivative(str(name), x, **{option: float(dtype(value)) for option, value in options.items()})
    error = np.abs(actual - exact) / (np.maximum(np.abs(exact), 1) * np.finfo(dtype).eps)
    assert error.max() <= PROMISED_ERROR[dtype], f"{error.max()} at {x[error.argmax()]!r}"
    upstream = np.cos(np.arange(x.size)).astype(dtype)
    np.testing.assert_allclose(gradient_of(activation, x, upstream)[:, 0], actual * upstream, rtol=4 * np.finfo(dtype).eps)


LIMITS: dict[str, tuple[float, float]] = {
    "relu": (0, 1), "sigmoid": (0, 0), "tanh": (0, 0), "exp": (0, np.inf), "leaky_relu": (0.01, 1), "elu": (0, 1),
    "silu": (0, 1), "gelu": (0, 1), "gelu_tanh": (0, 1), "softplus": (0, 1),
    "leaky_relu(negative_slope=-2.0)": (-2, 1), "elu(alpha=-3.0)": (0, 1),
}  # fmt: skip


@pytest.mark.parametrize("dtype", PROMISED_ERROR)
@pytest.mark.parametrize("activation", LIMITS)
def test_derivatives_far_out(activation: str, dtype: type[np.floating]) -> None:
    """Where the activation equals an asymptote, and at infinity, they are limits, not NaN."""
    low, high = LIMITS[activation]
    for far in (np.inf, float(np.finfo(dtype).max), 1e30, 1e5, 800.0):
        x = np.resize(np.array([-far, far], dtype), 100)
        derivatives = gradient_of(activation, x, np.ones_like(x))[:, 0]
        np.testing.assert_array_equal(derivatives, np.resize(np.array([low, high], dtype), 100))
        zeros = gradient_of(activation, x[:1], np.zeros(1, dtype))
        assert (zeros == 0).all()
    of_nan = gradient_of(activation, np.array([np.nan], dtype), np.ones(1, dtype))
    assert (of_nan == 1 if activation == "relu" else np.isnan(of_nan)).all()


@pytest.mark.parametrize(("last", "loss"), REFUSED)
def test_losses_of_logits_refuse_probabilities(last: str, loss: str, rng: np.random.Generator) -> None:
    net = network(rng, (4, 5, 3), "relu", last)
    x, targets = rng.normal(0, 1, (6, 4)), make_targets(loss, rng, (6, 3), float)
    for call in (net.gradient, partial(nnk.train, net)):
        with pytest.raises(ValueError, match=f"(?s){loss}.*logits"):
            call(x, targets, loss=loss)


@pytest.mark.parametrize(
    ("last", "loss", "hidden"),
    [(*pair, hidden) for pair, hidden in zip(TAKEN, cycle(["relu", "sigmoid", "tanh"]), strict=False)],
)
def test_gradient_in_each_dtype(
    last: str | None, loss: str, hidden: str, dtype: type[np.floating], rng: np.random.Generator
) -> None:
    net = network(rng, (20, 30, 10), hidden, last, dtype)
    x = rng.normal(0, 1, (300, 20)).astype(dtype)
    targets = make_targets(loss, rng, (300, 10), dtype)
    value, gradients = net.gradient(x, targets, loss)
    exact, exact_gradients = reference.gradient(net.layers, x, targets, loss)
    unit = bounds.unit(np.float32) * 16 if dtype is np.float16 else bounds.unit(dtype)
    rounding = np.finfo(dtype).eps if dtype is np.float16 else 0
    np.testing.assert_allclose(float(value), float(exact), rtol=rounding + 32 * unit)
    for layer, pair, described in zip(gradients, exact_gradients, net.layers, strict=True):
        assert isinstance(layer, nnk.Dense)
        assert layer.weights.shape == described.weights.shape
        assert layer.bias.shape == described.bias.shape
        for actual, array in zip((layer.weights, layer.bias), pair, strict=True):
            largest = float(np.abs(array).max())
            np.testing.assert_allclose(actual.astype(float), array.astype(float), rtol=0, atol=(rounding + 64 * unit) * largest)


@pytest.mark.parametrize(
    ("last", "own"),
    [*OWN.items(), (None, "squared_error"), *((a, "squared_error") for a in ("relu", "tanh", "elu(alpha=0.7)", "gelu"))],
)
def test_own_loss(last: str | None, own: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    """loss=None is the last activation's own loss, computed before it if it takes logits."""
    net = network(rng, (4, 5, 3), "tanh", last, dtype)
    x, targets = rng.normal(0, 1, (6, 4)).astype(dtype), make_targets(own, rng, (6, 3), dtype)
    value, gradients = net.gradient(x, targets)
    for loss in (own, getattr(nnk, own), partial(getattr(nnk, own))):
        other_value, others = net.gradient(x, targets, loss)
        assert same_bits(np.asarray(other_value), np.asarray(value))
        assert same_bits(parameters(others), parameters(gradients))
    *hidden, output = net.layers
    before = nnk.Network([*hidden, nnk.Dense(output.weights, output.bias)]) if own in OF_LOGITS else net
    # The same bits as the loss of the forward pass.
    assert same_bits(np.asarray(value), np.asarray(getattr(nnk, own)(before(x), targets)))


@pytest.mark.parametrize(
    ("loss", "options"),
    [("cross_entropy", {"label_smoothing": 0.2}), ("binary_cross_entropy", {"pos_weight": 2.5}), ("huber", {"delta": 0.2})],
)
def test_options_of_a_loss(loss: str, options: dict[str, float], rng: np.random.Generator) -> None:
    net = network(rng, (4, 5, 3), "tanh", None)
    x, targets = rng.normal(0, 1, (6, 4)), make_targets(loss, rng, (6, 3), float)
    value, gradients = net.gradient(x, targets, partial(getattr(nnk, loss), **options))
    exact, exact_gradients = reference.gradient(net.layers, x, targets, loss, **options)
    np.testing.assert_allclose(float(value), float(exact), rtol=1e-14)
    np.testing.assert_allclose(parameters(gradients), reference.flat(exact_gradients).astype(float), rtol=1e-12, atol=1e-15)
    assert value != net.gradient(x, targets, loss)[0]


def test_confident_rows_have_a_gradient(dtype: type[np.floating]) -> None:
    """If the margin is so large that p rounds to 1, the gradient is small but not 0."""
    margin = 8.0 if dtype is np.float16 else 17.0 if dtype is np.float32 else 40.0
    for last, output, targets in (("softmax", [[margin], [0.0]], [0]), ("sigmoid", [[-margin]], [[0.0]])):
        net = nnk.Network([nnk.Dense(np.array(output, dtype), activation=last)])
        (layer,) = net.gradient(np.ones((1, 1), dtype), targets)[1]
        exact = 1 / (1 + np.exp(margin))
        np.testing.assert_allclose(np.abs(layer.weights.astype(float)), exact, rtol=4 * np.finfo(dtype).eps)


# --- backward ---


@pytest.mark.parametrize("hidden", ["relu", "sigmoid", "tanh", "softmax"])
@pytest.mark.parametrize("last", LAST)
def test_backward(last: str | None, hidden: str, rng: np.random.Generator) -> None:
    net = network(rng, (4, 5, 6, 3), hidden, last)
    x, upstream = rng.normal(0, 1, (7, 4)), rng.normal(0, 1, (7, 3))
    gradients, of_x = net.backward(x, upstream)
    exact, exact_of_x = reference.backward(net.layers, x, upstream)
    for actual, wanted in ((parameters(gradients), reference.flat(exact)), (of_x, exact_of_x)):
        np.testing.assert_allclose(actual, wanted.astype(float), rtol=0, atol=1e-14 * float(np.abs(wanted).max()))
    slopes = differences(lambda moved: (net(moved) * upstream).sum(), x)
    np.testing.assert_allclose(of_x, slopes, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])  # by hand, float16 would be rounded before backward
@pytest.mark.parametrize("last", LAST)
def test_backward_is_gradient_by_hand(last: str | None, dtype: type[np.floating], rng: np.random.Generator) -> None:
    """backward, given the gradient of a loss, has the same bits as gradient."""
    net = network(rng, (6, 5, 3), "tanh", last, dtype)
    x, targets = rng.normal(0, 1, (300, 6)).astype(dtype), rng.normal(0, 1, (300, 3)).astype(dtype)
    for loss in ("squared_error", "absolute_error", "huber"):
        _, upstream = getattr(nnk, loss)(net(x), targets, gradient=True)
        assert same_bits(parameters(net.backward(x, upstream)[0]), parameters(net.gradient(x, targets, loss)[1]))


# --- The sums ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 8, 17, 64, 255, 256, 257, 511, 513, 1030])
def test_sums_of_integers_are_exact(rows: int, dtype: type[np.floating], rng: np.random.Generator) -> None:
    """Every number of rows, inputs and outputs, with small integers, whose sums are exact."""
    widths = (1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 70)
    for inputs, outputs in [*product(widths, widths[:7]), (3, 257), (5, 600), (257, 70)]:
        x, upstream = rng.integers(-9, 9, (rows, inputs)), rng.integers(-9, 9, (rows, outputs))
        weights = rng.integers(-9, 9, (outputs, inputs))
        (layer,), of_x = nnk.Network([nnk.Dense(weights.astype(dtype))]).backward(x.astype(dtype), upstream.astype(dtype))
        assert same_bits(layer.weights, (upstream.T @ x).astype(dtype))
        assert same_bits(layer.bias, upstream.sum(axis=0).astype(dtype))
        assert same_bits(of_x, (upstream @ weights).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 40, 256, 257, 1000, 5000])
def test_bound_of_sums(rows: int, dtype: type[np.floating], rng: np.random.Generator) -> None:
    x, upstream = (rng.normal(0, 1, (rows, n)).astype(dtype) for n in (20, 7))
    net = nnk.Network([nnk.Dense(rng.normal(0, 1, (7, 20)).astype(dtype))])
    (layer,), of_x = net.backward(x, upstream)
    weights = net.layers[0].weights
    for actual, a, b in (
        (layer.weights, upstream, x),
        (layer.bias, upstream, np.ones(rows, dtype)),
        (of_x.T, weights, upstream.T),
    ):
        exact = a.astype(np.longdouble).T @ b.astype(np.longdouble)
        assert (np.abs(actual - exact) <= bounds.gradient_sum(a, b, dtype)).all()


def test_wide_layers(dtype: type[np.floating], rng: np.random.Generator) -> None:
    """More than a block of 256 outputs. The gradient of x is independent of other rows."""
    net = network(rng, (30, 600, 270, 5), "tanh", None, dtype)
    x, upstream = (rng.normal(0, 1, (40, n)).astype(dtype) for n in (30, 5))
    _, of_x = net.backward(x, upstream)
    for row in range(40):
        assert same_bits(net.backward(x[row : row + 1], upstream[row : row + 1])[1][0], of_x[row])


# --- Weights and rows ---


@pytest.mark.parametrize(("last", "loss"), [("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy"), (None, "huber")])
def test_rows_of_weight_0_may_hold_anything(last: str, loss: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    net = network(rng, (4, 5, 3), "relu", last, dtype)
    x, targets = rng.normal(0, 1, (20, 4)).astype(dtype), make_targets(loss, rng, (20, 3), dtype)
    weights = rng.integers(0, 3, 20) / 2
    value, gradients = net.gradient(
        np.where(weights[:, np.newaxis] > 0, x, 0).astype(dtype), targets, loss, sample_weight=weights
    )
    for bad in (np.nan, np.inf):
        x[weights == 0] = bad
        other_value, others = net.gradient(x, targets, loss, sample_weight=weights)
        assert same_bits(np.asarray(other_value), np.asarray(value))
        assert same_bits(parameters(others), parameters(gradients))
    kept = weights > 0
    alone, of_alone = net.gradient(x[kept], targets[kept], loss, sample_weight=weights[kept])
    np.testing.assert_allclose(float(value), float(alone), rtol=4 * np.finfo(dtype).eps)
    largest = float(np.abs(parameters(of_alone)).max())
    np.testing.assert_allclose(parameters(gradients), parameters(of_alone), rtol=0, atol=4 * np.finfo(dtype).eps * largest)
    assert np.isnan(net.gradient(x, targets, loss)[0])


@pytest.mark.each_target
def test_no_rows(dtype: type[np.floating], rng: np.random.Generator) -> None:
    with np.errstate(all="raise"):
        value, gradients = network(rng, (4, 5, 3), "relu", "softmax", dtype).gradient(np.empty((0, 4), dtype), np.empty(0, int))
    assert np.isnan(value)
    assert [layer.weights.shape for layer in gradients] == [(5, 4), (3, 5)]


# --- Arguments ---


def test_one_neuron(dtype: type[np.floating], rng: np.random.Generator) -> None:
    """One neuron, with targets (rows,), has the gradients of a layer with one output."""
    hidden, last = network(rng, (4, 5, 1), "relu", "sigmoid", dtype).layers
    neuron = nnk.Network([hidden, nnk.Dense(last.weights[0], last.bias[0], "sigmoid")])
    layer = nnk.Network([hidden, last])
    x, targets = rng.normal(0, 1, (9, 4)).astype(dtype), rng.integers(0, 2, 9)
    value, gradients = neuron.gradient(x, targets)
    expected, of_layer = layer.gradient(x, targets[:, np.newaxis])
    assert same_bits(np.asarray(value), np.asarray(expected))
    assert same_bits(parameters(gradients), parameters(of_layer))
    assert gradients[-1].weights.shape == (5,)
    upstream = rng.normal(0, 1, 9).astype(dtype)
    for actual, wanted in zip(neuron.backward(x, upstream), layer.backward(x, upstream[:, np.newaxis]), strict=True):
        arrays = [array if isinstance(array, np.ndarray) else parameters(array) for array in (actual, wanted)]
        assert same_bits(*arrays)
    for net, wrong in ((neuron, targets[:, np.newaxis]), (neuron, targets[:8]), (layer, targets)):
        with pytest.raises(ValueError, match=rf"targets int64 of shape {re.escape(str(wrong.shape))}"):
            net.gradient(x, wrong)


def test_rows_in_any_shape(dtype: type[np.floating], rng: np.random.Generator) -> None:
    net = network(rng, (4, 5, 3), "tanh", "softmax", dtype)
    x, labels = rng.normal(0, 1, (12, 4)).astype(dtype), rng.integers(0, 3, 12)
    value, gradients = net.gradient(x, labels)
    _, of_x = net.backward(x, net(x))
    for shape in ((3, 4), (2, 3, 2)):
        other_value, others = net.gradient(x.reshape(*shape, 4), labels.reshape(shape))
        assert same_bits(np.asarray(other_value), np.asarray(value))
        assert same_bits(parameters(others), parameters(gradients))
        assert same_bits(net.backward(x.reshape(*shape, 4), net(x).reshape(*shape, 3))[1], of_x.reshape(*shape, 4))


def test_arguments_of_other_kinds(rng: np.random.Generator) -> None:
    """Lists, pandas, other dtypes and layouts: the bits of plain arrays, in the network's dtype."""
    net = network(rng, (4, 5, 3), "tanh", "softmax", np.float32)
    x, labels, weights = rng.integers(-3, 3, (12, 4)).astype(np.float32), rng.integers(0, 3, 12), rng.random(12)
    value, gradients = net.gradient(x, labels, sample_weight=weights)
    assert value.dtype == gradients[0].dtype == np.float32
    upstream = net(x)
    expected = net.backward(x, upstream)
    kinds: list[Any] = [
        (x.tolist(), labels.tolist(), weights.tolist()),
        (pd.DataFrame(x), pd.Series(labels), pd.Series(weights)),
        (np.asfortranarray(x), labels.astype(np.uint8), weights),
        (x[::-1].copy()[::-1], labels, weights),
        *((x.astype(kind), labels, weights) for kind in (np.float16, np.float64, np.int8)),
    ]
    for other_x, other_labels, other_weights in kinds:
        other_value, others = net.gradient(other_x, other_labels, sample_weight=other_weights)
        assert same_bits(np.asarray(other_value), np.asarray(value))
        assert same_bits(parameters(others), parameters(gradients))
        layers, of_x = net.backward(other_x, np.asfortranarray(upstream))
        assert same_bits(parameters(layers), parameters(expected[0]))
        assert same_bits(of_x, expected[1])


@pytest.mark.parametrize(
    ("x", "targets", "keywords", "pattern"),
    [
        ((6, 5), (6,), {}, r"\(6, 5\).*float64"),
        ((6, 4), (5,), {}, r"(?s)\(6, 4\).*\(5,\)|\(5,\).*\(6,\)"),
        ((6, 4), (6,), {"sample_weight": np.ones(5)}, r"\(5,\)"),
        ((6, 4), (6,), {"sample_weight": -np.ones(6)}, "row 0"),
        ((6, 4), (6,), {"loss": "log_loss"}, "(?s)loss.*cross_entropy.*poisson"),
        ((6, 4), (6,), {"loss": "squared_error"}, r"\(6,\)"),
    ],
    ids=str,
)
def test_errors(x: tuple[int, ...], targets: tuple[int, ...], keywords: Any, pattern: str, rng: np.random.Generator) -> None:
    net = network(rng, (4, 5, 3), "relu", "softmax")
    with pytest.raises(ValueError, match=pattern):
        net.gradient(np.ones(x), np.zeros(targets, int), **keywords)


def test_errors_of_backward(rng: np.random.Generator) -> None:
    net = network(rng, (4, 5, 3), "relu", "softmax")
    for x, upstream in (((6, 5), (6, 3)), ((6, 4), (6, 4)), ((6, 4), (5, 3)), ((6, 4), (3,)), ((6, 4), (6, 1))):
        with pytest.raises(ValueError, match=r"backward.*\(6, .\)"):
            net.backward(np.ones(x), np.ones(upstream))
    with pytest.raises(TypeError, match=r"backward.*complex128"):
        net.backward(np.ones((6, 4)), np.ones((6, 3), complex))
    for loss in (3, np.tanh, partial(np.tanh)):
        with pytest.raises(TypeError, match="loss"):
            net.gradient(np.ones((6, 4)), np.zeros(6, int), loss)
