"""Reference implementations of the kernels: textbook formulas in NumPy, in float64 or wider."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

Array = NDArray[Any]


def relu(x: Array) -> Array:
    return np.where(np.isnan(x), x, np.where(x > 0, x, 0))


def sigmoid(x: Array) -> Array:
    x = np.asarray(x, np.longdouble)
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def tanh(x: Array) -> Array:
    return np.tanh(np.asarray(x, np.longdouble))


def exp(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(x, np.longdouble))


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    x = np.asarray(x, np.longdouble)
    return np.where(x > 0, x, negative_slope * x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    x = np.asarray(x, np.longdouble)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def silu(x: Array) -> Array:
    x = np.asarray(x, np.longdouble)
    return at_most_infinite(x, x * sigmoid(x))


def gelu(x: Array) -> Array:
    """Accurate to about 1e-12, because SciPy's function is float64."""
    x = np.asarray(x, np.longdouble)
    return at_most_infinite(x, x * erfc((-x / np.sqrt(np.longdouble(2))).astype(float)) / 2)


GELU_FACTOR = 2 * np.sqrt(2 / np.longdouble("3.14159265358979323846264338327950288"))
GELU_CUBE = np.longdouble("0.044715")


def gelu_tanh(x: Array) -> Array:
    x = np.asarray(x, np.longdouble)
    return at_most_infinite(x, x * sigmoid(GELU_FACTOR * (x + GELU_CUBE * x * x * x)))


def at_most_infinite(x: Array, y: Array) -> Array:
    """Return y, but the limit -0.0 where x is -inf (the product -inf * 0 is NaN)."""
    return np.where(np.isneginf(x), -0.0, y)


def softplus(x: Array) -> Array:
    x = np.asarray(x, np.longdouble)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softmax(z: Array, axis: int = -1) -> Array:
    z = np.asarray(z, np.longdouble)
    e = np.exp(z - z.max(axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True)


def logsumexp(z: Array, axis: int = -1) -> Array:
    z = np.sort(np.asarray(z, np.longdouble), axis=axis)
    largest = np.take(z, [-1], axis=axis)
    others = np.exp(np.delete(z, -1, axis=axis) - largest).sum(axis=axis)
    return np.squeeze(largest, axis) + np.log1p(others)


def log_softmax(z: Array, axis: int = -1) -> Array:
    z = np.asarray(z, np.longdouble)
    largest = z.max(axis=axis, keepdims=True)
    # z - logsumexp(z), with the largest element subtracted from both to avoid cancellation
    return (z - largest) - np.expand_dims(logsumexp(z - largest, axis), axis)


def dot(x: Array, weights: Array) -> Array:
    return (np.asarray(x, np.longdouble) * np.asarray(weights, np.longdouble)).sum(axis=-1)


def dense(x: Array, weights: Array, bias: Array) -> Array:
    return np.asarray(x, np.longdouble) @ np.asarray(weights, np.longdouble).T + np.asarray(bias, np.longdouble)


# --- Losses: the loss of each term, and its derivative with respect to the outputs ---


def target_probabilities(targets: Array, outputs: Array, label_smoothing: float = 0.0) -> Array:
    """Return cross_entropy's target probabilities: labels one-hot, smoothed with 1 / n."""
    n = outputs.shape[-1]
    rows = np.eye(n, dtype=np.longdouble)[targets.astype(np.intp)] if targets.ndim < outputs.ndim else targets
    smoothing = np.longdouble(label_smoothing)
    return (1 - smoothing) * np.asarray(rows, np.longdouble) + smoothing / n


def cross_entropy(outputs: Array, targets: Array, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    t = target_probabilities(targets, outputs, label_smoothing)
    total = t.sum(axis=-1, keepdims=True)
    losses = -np.where(t == 0, 0, t * log_softmax(outputs)).sum(axis=-1)
    # p - 1 cancels if p is near 1: use -(sum of the other exponentials) / sum instead.
    z = np.asarray(outputs, np.longdouble)
    largest = np.arange(z.shape[-1]) == z.argmax(axis=-1)[..., np.newaxis]
    others = np.where(largest, 0, softmax(z)).sum(axis=-1, keepdims=True)
    return losses, np.where(largest, (total - t) - total * others, total * softmax(z) - t)


def binary_cross_entropy(outputs: Array, targets: Array, pos_weight: float = 1.0) -> tuple[Array, Array]:
    y, positive = np.asarray(targets, np.longdouble), np.longdouble(pos_weight)
    losses = (1 - y) * softplus(outputs) + positive * y * softplus(-outputs)
    return losses, (1 - y) * sigmoid(outputs) - positive * y * sigmoid(-outputs)


def squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    difference = np.subtract(outputs, targets, dtype=np.longdouble)
    return difference**2, 2 * difference


def absolute_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    difference = np.subtract(outputs, targets, dtype=np.longdouble)
    return np.abs(difference), np.sign(difference)


def huber(outputs: Array, targets: Array, delta: float = 1.0) -> tuple[Array, Array]:
    difference = np.subtract(outputs, targets, dtype=np.longdouble)
    distance, limit = np.abs(difference), np.longdouble(delta)
    losses = np.where(distance <= limit, difference**2 / 2, limit * (distance - limit / 2))
    return losses, np.clip(difference, -limit, limit)


def poisson(outputs: Array, targets: Array) -> tuple[Array, Array]:
    rate = exp(outputs)
    return rate - np.multiply(targets, outputs, dtype=np.longdouble), rate - targets


LOSSES = {
    function.__name__: function
    for function in (cross_entropy, binary_cross_entropy, squared_error, absolute_error, huber, poisson)
}


def reduced(losses: Array, gradient: Array, sample_weight: Array | None, reduction: str) -> tuple[Any, Array]:
    """Return the losses or their sum or mean, and its gradient."""
    weights = np.ones_like(losses)
    if sample_weight is not None:
        given = np.asarray(sample_weight, np.longdouble)
        weights = np.broadcast_to(given.reshape(given.shape + (1,) * (losses.ndim - given.ndim)), losses.shape)
    factors = weights / weights.sum() if reduction == "mean" else weights
    losses = np.where(factors == 0, 0, factors * losses)
    factors = factors.reshape(factors.shape + (1,) * (gradient.ndim - factors.ndim))
    return losses if reduction == "none" else losses.sum(), np.where(factors == 0, 0, factors * gradient)


def loss(
    name: str, outputs: Array, targets: Array, *, sample_weight: Array | None = None, reduction: str = "mean", **options: float
) -> tuple[Any, Array]:
    """Return the value of a loss, and its gradient with respect to the outputs."""
    return reduced(*LOSSES[name](outputs, targets, **options), sample_weight, reduction)


# --- Gradients of a network ---


class Layer(NamedTuple):
    """A dense layer of any dtype. nnkernels.Dense also works here."""

    weights: Array
    bias: Array
    activation: str | None


Gradients = list[tuple[Array, Array]]
ACTIVATIONS = {
    None: lambda z: z, "relu": relu, "sigmoid": sigmoid, "tanh": tanh, "exp": exp, "leaky_relu": leaky_relu, "elu": elu,
    "silu": silu, "gelu": gelu, "gelu_tanh": gelu_tanh, "softplus": softplus, "softmax": softmax, "log_softmax": log_softmax,
}  # fmt: skip
OWN_LOSS = {
    "softmax": "cross_entropy",
    "log_softmax": "cross_entropy",
    "sigmoid": "binary_cross_entropy",
    "exp": "poisson",
}


def name_and_option(activation: str | None) -> tuple[str | None, dict[str, float]]:
    """Return the name and the options in a text such as "elu(alpha=0.5)"."""
    if activation is None or "(" not in activation:
        return activation, {}
    name, option, value = activation.removesuffix(")").replace("(", "=").split("=")
    return name, {option: float(value)}


def activate(activation: str | None, z: Array) -> Array:
    name, options = name_and_option(activation)
    return ACTIVATIONS[name](z, **options)


def derivative(name: str, x: Array, negative_slope: float = 0.01, alpha: float = 1.0) -> Array:
    """Return the derivative of an element-wise activation at x, and its limit at infinity."""
    x = np.asarray(x, np.longdouble)
    s = sigmoid(x)
    bounded = np.clip(x, -100, 100)  # beyond, the factor of x is 0
    density = np.exp(-bounded * bounded / 2) / np.sqrt(GELU_FACTOR**-2 * 16)
    inner = sigmoid(GELU_FACTOR * (bounded + GELU_CUBE * bounded**3))
    slope = GELU_FACTOR * (1 + 3 * GELU_CUBE * bounded**2)
    wide = np.clip(x, -12000, 12000)
    return {
        "relu": lambda: np.where(x > 0, 1, 0),
        "sigmoid": lambda: s * sigmoid(-x),
        "tanh": lambda: 1 - np.tanh(x) ** 2,
        "exp": lambda: np.exp(x),
        "leaky_relu": lambda: np.where(x > 0, 1, negative_slope),
        "elu": lambda: np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0))),
        "silu": lambda: s * (1 + wide * sigmoid(-x)),
        "gelu": lambda: erfc((-bounded / np.sqrt(np.longdouble(2))).astype(float)) / 2 + bounded * density,
        "gelu_tanh": lambda: inner + bounded * inner * (1 - inner) * slope,
        "softplus": lambda: s,
    }[name]()


def forward(layers: Sequence[Layer], x: Array) -> list[Array]:
    """Return the input and the outputs of each layer."""
    outputs = [np.asarray(x, np.longdouble)]
    for layer in layers:
        outputs.append(activate(layer.activation, dense(outputs[-1], layer.weights, layer.bias)))
    return outputs


def through_activation(activation: str | None, z: Array, upstream: Array) -> Array:
    """Return the gradient with respect to an activation's input z, given that of its result."""
    name, options = name_and_option(activation)
    if name is None:
        return upstream
    if name == "softmax":
        y = softmax(z)
        return y * (upstream - (upstream * y).sum(axis=-1, keepdims=True))
    if name == "log_softmax":
        return upstream - softmax(z) * upstream.sum(axis=-1, keepdims=True)
    return upstream * derivative(name, z, **options)


def backward(layers: Sequence[Layer], x: Array, upstream: Array) -> tuple[Gradients, Array]:
    """Return the gradients of weights, biases and x, given the gradient of the outputs."""
    inputs = forward(layers, x)[:-1]
    gradients: Gradients = []
    for layer in reversed(layers):
        given = inputs.pop()
        upstream = through_activation(layer.activation, dense(given, layer.weights, layer.bias), upstream)
        gradients.insert(0, (upstream.T @ given, upstream.sum(axis=0)))
        upstream = upstream @ np.asarray(layer.weights, np.longdouble)
    return gradients, upstream


def gradient(
    layers: Sequence[Layer], x: Array, targets: Array, name: str | None = None, **keywords: Any
) -> tuple[Any, Gradients]:
    """Return the mean loss of a network, and the gradients of all weights and biases."""
    *hidden, last = layers
    own = OWN_LOSS.get(last.activation or "", "squared_error")
    if last.activation in OWN_LOSS and name in (None, own):  # the loss takes logits
        layers = [*hidden, Layer(last.weights, last.bias, None)]
    value, upstream = loss(name or own, forward(layers, x)[-1], targets, **keywords)
    return value, backward(layers, x, upstream)[0]


# --- Optimizers: parameters and moments after step t = 1, 2, ... ---


def sgd(settings: Any, p: Array, g: Array, moments: list[Array], t: int, is_weight: Array) -> tuple[Array, list[Array]]:
    g = g + settings.weight_decay * is_weight * p
    velocity = settings.momentum * moments[0] + g
    return p - settings.learning_rate * (g + settings.momentum * velocity if settings.nesterov else velocity), [velocity]


def adam(settings: Any, p: Array, g: Array, moments: list[Array], t: int, is_weight: Array) -> tuple[Array, list[Array]]:
    g = g + settings.weight_decay * is_weight * p
    beta_1, beta_2 = np.longdouble(settings.beta_1), np.longdouble(settings.beta_2)
    m = beta_1 * moments[0] + (1 - beta_1) * g
    v = beta_2 * moments[1] + (1 - beta_2) * g * g
    step = m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + settings.epsilon)
    return p - settings.learning_rate * step, [m, v]


def adamw(settings: Any, p: Array, g: Array, moments: list[Array], t: int, is_weight: Array) -> tuple[Array, list[Array]]:
    moved, moments = adam(settings, np.zeros_like(p), g, moments, t, is_weight)
    return p * (1 - settings.learning_rate * settings.weight_decay * is_weight) + moved, moments


OPTIMIZERS = {"SGD": sgd, "Adam": adam, "AdamW": adamw}


def flat(arrays: Any) -> Array:
    """Return the weights and biases of all layers in one array."""
    return np.concatenate([np.ravel(array) for pair in arrays for array in pair])


def fit(
    layers: Sequence[Layer], x: Array, targets: Array, settings: Any, *, epochs: int, batch_size: int, name: str | None = None
) -> tuple[Array, list[float]]:
    """Return the parameters after training on rows in order, and each epoch's running mean loss."""
    shapes = [array.shape for layer in layers for array in (layer.weights, layer.bias)]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]
    parameters = flat((layer.weights, layer.bias) for layer in layers).astype(np.longdouble)
    is_weight = flat((np.ones_like(layer.weights), np.zeros_like(layer.bias)) for layer in layers)
    update = OPTIMIZERS[type(settings).__name__]
    moments = [np.zeros_like(parameters)] * 2
    steps, losses = 0, []
    for _ in range(epochs):
        total = 0.0
        for begin in range(0, len(x), batch_size):
            rows = slice(begin, begin + batch_size)
            parts = [part.reshape(shape) for part, shape in zip(np.split(parameters, ends), shapes, strict=True)]
            current = [Layer(*pair, layer.activation) for *pair, layer in zip(parts[::2], parts[1::2], layers, strict=True)]
            value, gradients = gradient(current, x[rows], targets[rows], name)
            total += float(value) * len(x[rows])
            steps += 1
            parameters, moments = update(settings, parameters, flat(gradients), moments, steps, is_weight)
        losses.append(total / len(x))
    return parameters, losses


# --- Random numbers: NumPy's Philox4x64-10 ---

ORDER_OF_ROWS, INITIAL_WEIGHTS = 0, 1


def philox(seed: int, purpose: int, stream: int, n: int) -> NDArray[np.uint64]:
    """Return the first n numbers of a stream."""
    counter, key = (np.array(words, np.uint64) for words in ([0, stream, 0, 0], [seed, purpose]))
    return np.random.Philox(counter=counter, key=key).random_raw(n)


def permutation(seed: int, epoch: int, n: int) -> list[int]:
    """Return the order of n rows in an epoch, by the Fisher-Yates shuffle from the end.

    Bounded numbers by D. Lemire, "Fast random integer generation in an interval", 2019: multiply a
    random word by the bound and take the upper word. Reject it if the lower word shows bias.
    """
    bits = iter(philox(seed, ORDER_OF_ROWS, epoch, 2 * n).tolist())
    order = list(range(n))
    for last in range(n - 1, 0, -1):
        length = last + 1
        place, lower = divmod(next(bits) * length, 2**64)
        while lower < 2**64 % length:
            place, lower = divmod(next(bits) * length, 2**64)
        order[last], order[place] = order[place], order[last]
    return order


def random_uniform(seed: int, stream: int, n: int) -> NDArray[np.float64]:
    """Return n random numbers of 53 bits in [0, 1)."""
    return (philox(seed, INITIAL_WEIGHTS, stream, n) >> np.uint64(11)) * 2.0**-53


INITIAL_BOUNDS = {
    "glorot": lambda inputs, outputs: np.sqrt(6 / (inputs + outputs)),
    "he": lambda inputs, outputs: np.sqrt(6 / inputs),
    "torch": lambda inputs, outputs: 1 / np.sqrt(inputs),
}


def initial_parameters(initializer: str, sizes: Sequence[int], seed: int) -> list[tuple[Array, Array]]:
    """Return weights and biases in float64: (2 u - 1) bound; biases are 0 except for torch."""
    parameters = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        bound = INITIAL_BOUNDS[initializer](inputs, outputs)
        weights = (2 * random_uniform(seed, 2 * index, outputs * inputs) - 1) * bound
        bias = (2 * random_uniform(seed, 2 * index + 1, outputs) - 1) * bound if initializer == "torch" else np.zeros(outputs)
        parameters.append((weights.reshape(outputs, inputs), bias))
    return parameters
