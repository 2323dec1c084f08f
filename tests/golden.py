"""Print the SHA-256 of results on a fixed corpus, with all NaNs made one. tests/golden.txt holds what it printed once.

A hash that changes is a result that changes for every user. Where that is meant, renew the file in the same commit, and say
under "Changes" in the README what changed and why:

    NNKERNELS_TARGET=generic python tests/golden.py > tests/golden.txt

test_reproducible.py compares each target with the file, golden.cpp does so without Python: it computes the same results under
the same names.
"""

import hashlib
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import numpy as np

import nnkernels as nnk
from corpus import Array, anything, numbers
from nnkernels import _core

FILE = Path(__file__).with_name("golden.txt")
HEADER = "# SHA-256 of results, by name. tests/golden.py says what they are and how to renew them.\n"
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ACTIVATIONS = (None, "relu", "sigmoid", "tanh", "softmax")


def golden_results() -> Iterator[tuple[str, Array]]:
    """Yield the name and the result of each computation."""
    for dtype in INTEGERS:
        yield f"{dtype} relu", nnk.relu(anything(dtype, 1000))
    for dtype in FLOATS:
        for corpus in (numbers, anything):
            kind = f"{dtype} {corpus.__name__}"
            for function in (nnk.relu, nnk.sigmoid, nnk.tanh, _core.exp):
                yield f"{kind} {function.__name__}", function(corpus(dtype, 10_007))
            for n in (1, 10, 64, 100, 1000, 3001):
                z = corpus(dtype, 5, n)
                for function in (nnk.softmax, nnk.log_softmax, nnk.logsumexp):
                    yield f"{kind} {function.__name__} {n}", function(z)
                yield f"{kind} dot {n}", nnk.dot(z, corpus(dtype, n, seed=2))
        # The sums are exact: the hashes of all shifts are equal.
        for n, shift in product((3, 33, 700, 3001), (0, 4) if dtype == "float16" else (0, 4, 256)):
            z = numbers(np.float16, 5, n).astype(dtype) + np.array(shift, dtype)
            for function in (nnk.softmax, nnk.log_softmax):
                yield f"{dtype} z + {shift} {function.__name__} {n}", function(z)
        for rows, outputs, inputs in ((1, 17, 1500), (13, 40, 129), (7, 9, 4)):
            x = numbers(dtype, rows, inputs)
            for activation in ACTIVATIONS:
                name = f"{dtype} dense {rows} {outputs} {inputs} {activation or 'none'}"
                yield name, nnk.dense(x, *weights_and_bias(dtype, outputs, inputs, 0), activation=activation)
        for widths in ((4, 5, 3), (64, 64, 64, 64, 10), (140, 130, 10)):
            layers = [
                nnk.Dense(*weights_and_bias(dtype, outputs, inputs, index), ("relu", "sigmoid", "tanh", "softmax")[index])
                for index, (inputs, outputs) in enumerate(pairwise(widths))
            ]
            yield f"{dtype} network {' '.join(map(str, widths))}", nnk.Network(layers)(numbers(dtype, 37, widths[0]))


def weights_and_bias(dtype: str, outputs: int, inputs: int, layer: int) -> tuple[Array, Array]:
    """Return a layer's weights, in [-1/4, 1/4), and bias."""
    return numbers(dtype, outputs, inputs, seed=2 + 2 * layer) / 16, numbers(dtype, outputs, seed=3 + 2 * layer)


def golden_hashes() -> dict[str, str]:
    """Return the SHA-256 of each result: of its bytes in C order, the least significant byte of each number first."""
    hashes = {}
    with np.errstate(all="ignore"):
        for name, result in golden_results():
            clean = np.where(np.isnan(result), np.array(np.nan, result.dtype), result) if result.dtype.kind == "f" else result
            hashes[name] = hashlib.sha256(clean.astype(clean.dtype.newbyteorder("<")).tobytes()).hexdigest()
    return hashes


def committed_hashes() -> dict[str, str]:
    """Return what golden.txt holds."""
    lines = FILE.read_text().removeprefix(HEADER).splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


if __name__ == "__main__":
    print(HEADER, end="")
    for name, digest in golden_hashes().items():
        print(digest, name)
