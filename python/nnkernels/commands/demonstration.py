"""The demonstration: a small network, and one that learns handwritten digits."""

import hashlib
import math
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import fill, indent
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkernels.layers import Dense
from nnkernels.losses import cross_entropy
from nnkernels.network import Network
from nnkernels.optimizers import Adam
from nnkernels.settings import config
from nnkernels.training import Training, train

# SHA-256 of the weights and biases from ``learn_digits``. python/train_digits.py prints it.
DIGITS_SHA256 = "2ff706b81cbde7107aa2bb9edd098a731cada5e887af93107d1e993e5a12474b"

_BATCH_SIZE = 32
_BAR_LENGTH = 64

# Constants of float32.
_UNIT_ROUNDOFF = 2.0**-24
_LEAST_SUBNORMAL = 2.0**-149


class Digits(NamedTuple):
    """Images of 8 x 8 pixels from 0 to 16, one per row, and labels. Two thirds are for training."""

    train_pixels: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    held_pixels: NDArray[np.uint8]
    held_labels: NDArray[np.uint8]
    source: str


def read_digits(folder: Path = Path(__file__).parent.parent) -> Digits:
    """Read the digits from the package, or from another folder."""
    with np.load(folder / "digits.npz") as data:
        arrays = data["train_pixels"], data["train_labels"], data["held_pixels"], data["held_labels"]
        return Digits(*arrays, source=str(data["source"]))


def as_inputs(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Return images as inputs from 0 to 1."""
    return pixels.astype(np.float32) / 16


def learn_digits(digits: Digits) -> Training:
    """Train the network of the demonstration, which the package contains as digits.safetensors.

    The learning rate was chosen from 0.001, 0.002, 0.003, 0.005, 0.01 and 0.02 by cross-validation
    on the training digits (five folds, five seeds). It had the highest accuracy.
    """
    net = Network.random([64, 64, 10], "relu", "softmax", seed=0)
    x = as_inputs(digits.train_pixels)
    return train(net, x, digits.train_labels, optimizer=Adam(0.005), epochs=30, batch_size=_BATCH_SIZE)


def sha256(training: Training) -> str:
    """Return the SHA-256 of the weights and biases of all layers in turn."""
    return hashlib.sha256(training.state.parameters.tobytes()).hexdigest()


def demonstrate() -> int:
    """Print the demonstration and return the exit status.

    It is 1 if the trained weights differ from the expected ones, if the outputs differ from NumPy's
    by more than rounding errors, or if a row alone has other bits than in a batch; else 0.
    """
    settings = config()
    print(f"nnkernels {settings['version']}, target {settings['target']}, threads {settings['threads']}\n")
    _show_layers()
    print()
    return _show_digits()


def _show_layers() -> None:
    x = [[1.0, 2.0, 3.0, 2.5], [2.0, 5.0, -1.0, 2.0], [-1.5, 2.7, 3.3, -0.8]]
    hidden = Dense(
        weights=[
            [0.2, 0.8, -0.5, 1.0],
            [0.5, -0.91, 0.26, -0.5],
            [-0.26, -0.27, 0.17, 0.87],
            [0.8, 0.45, -0.15, -0.33],
            [0.4, -0.2, 0.9, -0.5],
        ],
        bias=[[2.0, 3.0, 0.5, -1.0, 2.5]],
        activation="relu",
    )
    output = Dense(
        weights=[[0.1, -0.14, 0.5, 0.3, -0.2], [-0.5, 0.12, -0.33, 0.5, 0.8], [0.3, 0.5, -0.3, 0.2, 0.1]],
        bias=[[0.5, -0.3, 0.8]],
        activation="softmax",
    )
    labels = [2, 2, 1]
    logits = Network([hidden, Dense(output.weights, output.bias)])(x)
    losses = cross_entropy(logits, labels, reduction="none")
    print("Three rows of four inputs through two layers")
    _show("hidden layer, ReLU:", Network([hidden])(x))
    _show("output layer, softmax:", Network([hidden, output])(x))
    _show(f"loss of each row, -log of the probability of its label, for labels {labels}:", losses)
    _show("mean loss, which training makes smaller:", cross_entropy(logits, labels))


def _show_digits() -> int:
    digits = read_digits()
    print("Handwritten digits")
    _show("data:", fill(digits.source, 100))
    training, same = _show_learning(digits)

    net = training.network
    pixels, labels = digits.held_pixels, digits.held_labels
    x = as_inputs(pixels)
    probabilities = net(x)
    readings = probabilities.argmax(axis=-1)
    right, wrong = np.flatnonzero(readings == labels), np.flatnonzero(readings != labels)
    _show(
        f"{len(x)} digits held back from training; the first three that it reads right, and the first that it reads wrong:",
        _pictures(np.concatenate([right[:3], wrong[:1]]), pixels, labels, probabilities),
    )
    _show("accuracy:", f"{len(right)} of {len(x)} right, {len(right) / len(x):.1%}")

    layers = [layer for layer in net.layers if isinstance(layer, Dense)]

    def with_numpy(rows: NDArray[Any]) -> NDArray[Any]:
        return numpy_network(layers, rows)

    speed = [f"{'':24}{'nnkernels':>12}{'NumPy':>12}"]
    for name, rows in (("64 rows in a call", x[:64]), ("one row in a call", x[:1])):
        ours, theirs = _rows_per_second(rows, net, with_numpy)
        speed.append(f"{name:24}{ours:12,.0f}{theirs:12,.0f}")
    _show("rows per second, best of 40 runs, each library with its default threads:", "\n".join(speed))

    difference = np.abs(probabilities.astype(np.float64) - with_numpy(x))
    bound = 2 * rounding_bound(layers, x)
    equal = bool(np.all(difference <= bound))
    _show(
        f"{'equal' if equal else 'NOT EQUAL'} to NumPy up to rounding:",
        f"the largest difference of a probability is {difference.max():.1e}, the largest bound {bound.max():.1e}\n"
        "the bound is |difference| <= 2 p (exp(2 e) - 1) + 2^-148, where e is the rounding error of a logit:\n"
        "with n inputs h, each off by up to d, a layer's sums are off by up to\n"
        "d |W| + (n + 1) 2^-24 ((|h| + d) |W| + |b|); softmax adds a little to e\n"
        "(rounding_bound in nnkernels/commands/demonstration.py)",
    )
    alike, alike_numpy = _rows_alike(net, x), _rows_alike(with_numpy, x)
    _show("rows with the same bits alone and in the batch:", f"nnkernels {alike} of {len(x)}, NumPy {alike_numpy} of {len(x)}")
    return 0 if same and equal and alike == len(x) else 1


def _show_learning(digits: Digits) -> tuple[Training, bool]:
    """Train and show it. Return the training, and whether its weights are the expected ones."""
    begin = perf_counter()
    training = learn_digits(digits)
    seconds = perf_counter() - begin
    rows, epochs, steps = len(digits.train_labels), training.state.epochs, training.state.steps
    _show("network:", training.network)
    _show(
        f"trained from random weights in {seconds:.3f} seconds:",
        f"{epochs} epochs over {rows:,} training digits; {steps:,} steps, each with up to {_BATCH_SIZE} digits",
    )
    _show("mean loss in an epoch:", _loss_bars(training.losses))
    found = sha256(training)
    same = found == DIGITS_SHA256
    _show(
        f"{'equal' if same else 'NOT EQUAL'}, bit for bit, to the weights learnt on every other machine:",
        f"SHA-256 {found}" + ("" if same else f"\nbut not {DIGITS_SHA256}"),
    )
    return training, same


def _loss_bars(losses: Sequence[float]) -> str:
    """Return a bar chart of the first five epochs and every fifth one."""
    parts = _printable(" ▏▎▍▌▋▊▉█", " #")
    steps = len(parts) - 1  # in which a character fills up
    lines = []
    for epoch, loss in enumerate(losses, 1):
        if epoch <= 5 or epoch % 5 == 0:
            full, rest = divmod(math.ceil(loss / max(losses) * _BAR_LENGTH * steps), steps)
            lines.append(f"epoch {epoch:2}  {loss:.4f}  {full * parts[-1]}{parts[rest]}".rstrip())
    return "\n".join(lines)


def numpy_network(layers: Sequence[Dense], x: NDArray[Any]) -> NDArray[Any]:
    """Return the forward pass in NumPy, in place where possible, with ReLU and a final softmax."""
    z: NDArray[Any] = x
    for number, layer in enumerate(layers, 1):
        z = z @ layer.weights.T
        z += layer.bias
        if number < len(layers):
            np.maximum(z, 0, out=z)
    z -= z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)
    return z


def rounding_bound(layers: Sequence[Dense], x: NDArray[Any]) -> NDArray[np.float64]:
    """Return a bound of the error of probabilities in float32, for any order of summation.

    In a sum of n products and a bias, each term is rounded at most n + 1 times. The error is at
    most (n + 1) u / (1 - (n + 1) u) times the sum of magnitudes, with u = 2**-24 (N. J. Higham,
    "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1). ReLU does not
    increase an error. In softmax the difference to the maximum is rounded, exp has an error of up
    to 4 ULP, and the m additions and the division are rounded. Together this is at most the effect
    of an error of u (range of logits + m + 16) in the logits.
    """
    u = _UNIT_ROUNDOFF
    exact: NDArray[np.float64] = x.astype(np.float64)
    error = np.zeros_like(exact)
    for number, layer in enumerate(layers, 1):
        weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
        roundings = (weights.shape[1] + 1) * u
        magnitude = (np.abs(exact) + error) @ np.abs(weights).T + np.abs(bias)
        error = error @ np.abs(weights).T + roundings / (1 - roundings) * magnitude
        exact = exact @ weights.T + bias
        if number < len(layers):
            exact = np.maximum(exact, 0)
    error = error.max(axis=-1, keepdims=True)
    error += u * (np.ptp(exact, axis=-1, keepdims=True) + exact.shape[-1] + 16)
    probabilities: NDArray[np.float64] = np.exp(exact - exact.max(axis=-1, keepdims=True))
    probabilities /= probabilities.sum(axis=-1, keepdims=True)
    bound: NDArray[np.float64] = probabilities * np.expm1(2 * error) + _LEAST_SUBNORMAL
    return bound


def _rows_per_second(rows: NDArray[Any], *functions: Callable[[NDArray[Any]], Any]) -> list[float]:
    """Time functions: the best of 40 runs of 2 ms each. They alternate, to share disturbances."""
    repeats = []
    for function in functions:
        function(rows)
        start = perf_counter()
        function(rows)
        repeats.append(max(1, round(0.002 / (perf_counter() - start))))
    best = [float("inf")] * len(functions)
    for _ in range(40):
        for index, (function, count) in enumerate(zip(functions, repeats, strict=True)):
            start = perf_counter()
            for _ in range(count):
                function(rows)
            best[index] = min(best[index], (perf_counter() - start) / count)
    return [len(rows) / seconds for seconds in best]


def _rows_alike(function: Callable[[NDArray[Any]], NDArray[np.float32]], x: NDArray[Any]) -> int:
    """Count the rows with the same bits in a batch of one and in the whole batch."""
    alone = np.concatenate([function(row[np.newaxis]) for row in x])
    return int(np.count_nonzero((alone.view(np.uint32) == function(x).view(np.uint32)).all(axis=-1)))


def _pictures(rows: NDArray[Any], pixels: NDArray[Any], labels: NDArray[Any], probabilities: NDArray[Any]) -> str:
    """Return images side by side, with the three most probable digits for each."""
    shades = _printable(" ░▒▓█", " .:*#")
    columns = []
    for row in rows:
        picture = ["".join(2 * shades[(pixel + 3) // 4] for pixel in line) for line in pixels[row].reshape(8, 8)]
        likely = probabilities[row].argsort()[::-1][:3]
        readings = [f"{digit} {probabilities[row, digit]:8.3%}" for digit in likely]
        columns.append([*picture, f"label {labels[row]}, read as", *readings])
    lines = zip_longest(*columns, fillvalue="")
    return "\n".join("   ".join(f"{part:16}" for part in line).rstrip() for line in lines)


def _printable(blocks: str, plain: str) -> str:
    """Return ``blocks`` if standard output can encode them, else ``plain``."""
    try:
        blocks.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return plain
    return blocks


def _show(title: str, content: object) -> None:
    print(f"  {title}")
    print(indent(str(content), "    "))
