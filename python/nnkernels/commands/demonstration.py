"""What ``python -m nnkernels`` shows: a small network, then one that learns to read handwritten digits, beside NumPy."""

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

# SHA-256 of the weights and biases that ``learn_digits`` gives, on every machine.
# python/train_digits.py prints it.
DIGITS_SHA256 = "2ff706b81cbde7107aa2bb9edd098a731cada5e887af93107d1e993e5a12474b"

_BATCH_SIZE = 32
_BAR_LENGTH = 64

# Of float32.
_UNIT_ROUNDOFF = 2.0**-24
_LEAST_SUBNORMAL = 2.0**-149


class Digits(NamedTuple):
    """Pictures of 8 x 8 pixels from 0 to 16, one a row, and the digits that they show. Training takes two thirds."""

    train_pixels: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    held_pixels: NDArray[np.uint8]
    held_labels: NDArray[np.uint8]
    source: str


def read_digits(folder: Path = Path(__file__).parent.parent) -> Digits:
    """Read the digits that the package, or another folder, holds."""
    with np.load(folder / "digits.npz") as data:
        arrays = data["train_pixels"], data["train_labels"], data["held_pixels"], data["held_labels"]
        return Digits(*arrays, source=str(data["source"]))


def as_inputs(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Return pictures as inputs from 0 to 1."""
    return pixels.astype(np.float32) / 16


def learn_digits(digits: Digits) -> Training:
    """Train the network of the demonstration. The package ships it as digits.safetensors.

    The learning rate was chosen without the held-back digits: of 0.001, 0.002, 0.003, 0.005, 0.01
    and 0.02 it had the highest accuracy in a cross-validation on the others (five folds, five
    seeds).
    """
    net = Network.random([64, 64, 10], "relu", "softmax", seed=0)
    x = as_inputs(digits.train_pixels)
    return train(net, x, digits.train_labels, optimizer=Adam(0.005), epochs=30, batch_size=_BATCH_SIZE)


def sha256(training: Training) -> str:
    """Return the SHA-256 of weights and biases, layer after layer."""
    return hashlib.sha256(training.state.parameters.tobytes()).hexdigest()


def demonstrate() -> int:
    """Print the demonstration and return the exit status.

    It is 1 if the trained weights are not the committed ones, if the outputs differ from NumPy's by
    more than rounding, or if a row alone has other bits than in a batch; otherwise 0.
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
    _show("rows per second, best of 40 turns, each with its own choice of threads:", "\n".join(speed))

    difference = np.abs(probabilities.astype(np.float64) - with_numpy(x))
    bound = 2 * rounding_bound(layers, x)
    equal = bool(np.all(difference <= bound))
    _show(
        f"{'equal' if equal else 'NOT EQUAL'} to NumPy up to rounding:",
        f"the largest difference of a probability is {difference.max():.1e}, the largest bound {bound.max():.1e}\n"
        "it is |difference| <= 2 p (exp(2 e) - 1) + 2^-148, where rounding can move a logit by e: from n inputs h,\n"
        "each up to d off, a layer's sums are up to d |W| + (n + 1) 2^-24 ((|h| + d) |W| + |b|) off\n"
        "(softmax itself adds a little to e: rounding_bound in nnkernels/commands/demonstration.py)",
    )
    alike, alike_numpy = _rows_alike(net, x), _rows_alike(with_numpy, x)
    _show("rows with the same bits alone and in the batch:", f"nnkernels {alike} of {len(x)}, NumPy {alike_numpy} of {len(x)}")
    return 0 if same and equal and alike == len(x) else 1


def _show_learning(digits: Digits) -> tuple[Training, bool]:
    """Train and show it; return the training, and whether its weights are the committed ones."""
    begin = perf_counter()
    training = learn_digits(digits)
    seconds = perf_counter() - begin
    rows, epochs, steps = len(digits.train_labels), training.state.epochs, training.state.steps
    _show("network:", training.network)
    _show(
        f"trained from random weights in {seconds:.3f} seconds:",
        f"{epochs} epochs, each over all {rows:,} digits for training; {steps:,} steps, each with up to {_BATCH_SIZE} of them",
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
    """Return a bar for each of the first five epochs, and for every fifth."""
    parts = _printable(" ▏▎▍▌▋▊▉█", " #")
    steps = len(parts) - 1  # by which a character fills up
    lines = []
    for epoch, loss in enumerate(losses, 1):
        if epoch <= 5 or epoch % 5 == 0:
            full, rest = divmod(math.ceil(loss / max(losses) * _BAR_LENGTH * steps), steps)
            lines.append(f"epoch {epoch:2}  {loss:.4f}  {full * parts[-1]}{parts[rest]}".rstrip())
    return "\n".join(lines)


def numpy_network(layers: Sequence[Dense], x: NDArray[Any]) -> NDArray[Any]:
    """Return the forward pass in NumPy, in place wherever it can be: ReLU, but softmax at the end."""
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
    """Return how far from the exact probabilities a float32 forward pass can be, whatever its order of summation.

    A sum of n products and a bias has at most n + 1 roundings on the way of any term, so it is
    wrong by at most (n + 1) u / (1 - (n + 1) u) times the sum of magnitudes, u = 2**-24 (N. J.
    Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1); ReLU does
    not make an error larger. In softmax the difference from the maximum is rounded, exp is good to
    4 ULP, and the m terms of the sum and the quotient are rounded; together that is as if the
    logits were wrong by u (range of logits + m + 16).
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
    """Return each function's best of 40 turns of about 2 ms; they take turns, so that what else runs disturbs all alike."""
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
    """Count the rows that have the same bits in a batch of one and in the whole batch."""
    alone = np.concatenate([function(row[np.newaxis]) for row in x])
    return int(np.count_nonzero((alone.view(np.uint32) == function(x).view(np.uint32)).all(axis=-1)))


def _pictures(rows: NDArray[Any], pixels: NDArray[Any], labels: NDArray[Any], probabilities: NDArray[Any]) -> str:
    """Return pictures side by side, with the three most probable readings of each."""
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
    """Return the blocks if standard output can show them."""
    try:
        blocks.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return plain
    return blocks


def _show(title: str, content: object) -> None:
    print(f"  {title}")
    print(indent(str(content), "    "))
