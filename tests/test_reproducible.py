"""The same bits: on every target, for any number of threads, whatever the batch. Layouts are in the kernels' own tests."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnkernels as nnk
from conftest import DTYPES, TARGETS
from nnkernels import _core
from ulp import same_bits

ACTIVATIONS = (None, "relu", "sigmoid", "tanh", "softmax")


def corpus(dtype: type[np.floating], *shape: int) -> NDArray[Any]:
    """Return numbers that depend on the shape alone: integer arithmetic, no random generator of NumPy."""
    bits = np.dtype(dtype).itemsize * 8
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    mixed = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    fraction = (mixed >> np.uint64(64 - min(bits, 50))).astype(np.float64) * 2.0 ** -min(bits, 50)
    return ((fraction - 0.5) * 8).reshape(shape).astype(dtype)


def results(dtype: type[np.floating]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the results of every public function on a small corpus and on one large enough for several threads."""
    info = np.finfo(dtype)
    extremes = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, info.tiny, info.smallest_subnormal, 1], dtype)
    x = np.concatenate([corpus(dtype, 4001), extremes, corpus(dtype, 500) * dtype(25)])
    for function in (nnk.relu, nnk.sigmoid, nnk.tanh, _core.exp):
        yield function.__name__, function(x)
        yield f"{function.__name__}, large", function(corpus(dtype, 600_000))
    for n in (1, 10, 64, 100, 1024, 3001):
        z = corpus(dtype, 300, n)
        yield f"softmax {n}", nnk.softmax(z)
        yield f"log_softmax {n}", nnk.log_softmax(z)
        yield f"logsumexp {n}", nnk.logsumexp(z)
        yield f"dot {n}", nnk.dot(z, corpus(dtype, n))
    for rows, outputs, inputs in ((1, 17, 1500), (2, 5, 4), (7, 35, 33), (400, 130, 129)):
        x, weights, bias = corpus(dtype, rows, inputs), corpus(dtype, outputs, inputs), corpus(dtype, outputs)
        layers = []
        for activation in ACTIVATIONS:
            yield f"dense {rows} {outputs} {inputs} {activation}", nnk.dense(x, weights, bias, activation=activation)
            layers.append(nnk.Dense(corpus(dtype, inputs, inputs) / dtype(16), corpus(dtype, inputs), activation))
        yield f"network {rows} {inputs}", nnk.Network(layers)(x)


def digests() -> dict[str, str]:
    """Return the SHA-256 of each result, all NaNs made one."""
    found = {}
    for dtype in DTYPES:
        for name, array in results(dtype):
            clean = np.where(np.isnan(array), dtype(np.nan), array)
            found[f"{np.dtype(dtype).name} {name}"] = hashlib.sha256(clean.tobytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    return digests()


@pytest.mark.parametrize("target", TARGETS)
def test_targets(target: str, expected: dict[str, str]) -> None:
    environment = os.environ | {"NNKERNELS_TARGET": target, "NNKERNELS_NUM_THREADS": "1"}
    finished = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    ran, *lines = finished.stdout.splitlines()
    assert ran == target
    assert dict(line.rsplit(" ", 1) for line in lines) == expected


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threads_used", [1, 2, 7])
def test_threads(threads_used: int, expected: dict[str, str]) -> None:
    nnk.set_num_threads(threads_used)
    assert digests() == expected


def test_batches(dtype: type[np.floating]) -> None:
    layers = [
        nnk.Dense(corpus(dtype, 21, 37), corpus(dtype, 21), "tanh"),
        nnk.Dense(corpus(dtype, 10, 21), corpus(dtype, 10), "softmax"),
    ]
    net = nnk.Network(layers)
    x = corpus(dtype, 257, 37)
    rows = np.stack([net(row) for row in x])
    for batch in range(1, 258):
        assert same_bits(net(x[:batch]), rows[:batch])
        assert same_bits(net(x[-batch:]), rows[-batch:])
        assert same_bits(nnk.dense(x[:batch], layers[0].weights, layers[0].bias, activation="tanh"), nnk.tanh(
            nnk.dense(x[-257:], layers[0].weights, layers[0].bias)[:batch]))  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", [(1, 1), (3, 2, 5), (33, 17, 6), (128, 128, 127), (129, 3, 2), (5, 129, 4)], ids=str)
def test_batches_of_narrow_and_wide_networks(widths: tuple[int, ...], activation: str | None, dtype: type[np.floating]) -> None:
    """Narrow networks take several rows at once, and what is left as wide ones do (cpp/network.cpp): no bit shows it."""
    layers = [
        nnk.Dense(corpus(dtype, outputs, inputs) / dtype(inputs**0.5), corpus(dtype, outputs), activation)
        for inputs, outputs in pairwise(widths)
    ]
    net = nnk.Network(layers)
    x = corpus(dtype, 100, widths[0])
    rows = np.stack([net(row) for row in x])
    chained = x
    for layer in layers:
        chained = nnk.dense(chained, layer.weights, layer.bias)
        chained = chained if activation is None else getattr(nnk, activation)(chained)
    assert same_bits(rows, chained)
    # Around the rows that a narrow network takes at once on any target: 2, 4, 8, 12, 16 or 32.
    for batch in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100):
        assert same_bits(net(x[:batch]), rows[:batch])
        assert same_bits(net(x[-batch:]), rows[-batch:])
    wider = np.zeros((200, widths[0] + 3), dtype)
    wider[::2, :-3] = x
    assert same_bits(net(wider[::2, :-3]), rows)
    assert same_bits(net(x[::-1]), rows[::-1])


if __name__ == "__main__":
    print(nnk.config()["target"])
    for name, digest in digests().items():
        print(name, digest)
