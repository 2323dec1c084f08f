"""What ``python -m nnkernels`` shows: a small network, then one that reads handwritten digits, checked against NumPy."""

import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import fill, indent
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkernels.network import Dense, Network, load
from nnkernels.settings import config

_FOLDER = Path(__file__).parent.parent

# Of float32.
_UNIT_ROUNDOFF = 2.0**-24
_LEAST_SUBNORMAL = 2.0**-149


def demonstrate() -> int:
    """Print the demonstration; return 1 if the digits' network does not give what NumPy gives, otherwise 0."""
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
    print("Three rows of four inputs through two layers")
    _show("hidden layer, ReLU:", Network([hidden])(x))
    _show("output layer, softmax:", Network([hidden, output])(x))


def _show_digits() -> int:
    net = load(_FOLDER / "digits.safetensors")
    with np.load(_FOLDER / "digits.npz") as data:
        pixels, labels, source = data["pixels"], data["labels"], str(data["source"])
    x = pixels.astype(np.float32) / 16
    probabilities = net(x)
    digits = probabilities.argmax(axis=-1)
    right, wrong = np.flatnonzero(digits == labels), np.flatnonzero(digits != labels)

    print("Handwritten digits")
    _show("data:", fill(source, 100))
    _show("network:", net)
    _show(
        f"{len(x)} digits held back from training; the first three that it reads right, and the first that it reads wrong:",
        _pictures(np.concatenate([right[:3], wrong[:1]]), pixels, labels, probabilities),
    )
    _show("accuracy:", f"{len(right)} of {len(x)} right, {len(right) / len(x):.1%}")

    layers = net.layers

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
    return 0 if equal and alike == len(x) else 1


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

    A sum of n products and a bias has at most n + 1 roundings on the way of any term, so it is wrong by at most
    (n + 1) u / (1 - (n + 1) u) times the sum of magnitudes, u = 2**-24 (N. J. Higham, "Accuracy and Stability of Numerical
    Algorithms", 2nd edition, section 3.1); ReLU does not make an error larger. In softmax the difference from the maximum is
    rounded, exp is good to 4 ULP, and the m terms of the sum and the quotient are rounded; together that is as if the
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
    shades = _shades()
    columns = []
    for row in rows:
        picture = ["".join(2 * shades[(pixel + 3) // 4] for pixel in line) for line in pixels[row].reshape(8, 8)]
        likely = probabilities[row].argsort()[::-1][:3]
        readings = [f"{digit} {probabilities[row, digit]:8.3%}" for digit in likely]
        columns.append([*picture, f"label {labels[row]}, read as", *readings])
    lines = zip_longest(*columns, fillvalue="")
    return "\n".join("   ".join(f"{part:16}" for part in line).rstrip() for line in lines)


def _shades() -> str:
    blocks = " ░▒▓█"
    try:
        blocks.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return " .:*#"
    return blocks


def _show(title: str, content: object) -> None:
    print(f"  {title}")
    print(indent(str(content), "    "))
