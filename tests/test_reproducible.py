"""The same bits, always: every way to compute a row, beside `generic`, on one thread, with this row alone and contiguous.

`python tests/test_reproducible.py FILE` computes those rows, and runs in a process of its own for the fixture `reference`. All
tests compare with them on the target of this process; `test_other_targets` runs them all on each of the others.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pytest

import nnkernels as nnk
from conftest import DTYPES, TARGETS
from corpus import Array, anything, numbers
from golden import ACTIVATIONS, INTEGERS, committed_hashes, golden_hashes
from nnkernels import _core
from ulp import same_bits

ROWS = 257

# Of rows, perhaps with out=.
Function = Callable[..., Array]


class Case(NamedTuple):
    """Rows, and all the functions that should give the same bits for them; the first one is asked for the reference."""

    x: Array
    ways: dict[str, Function]


# --- layouts: the same values elsewhere in memory ---


def fortran(array: Array) -> Array:
    return array.copy(order="F")


def strided(array: Array) -> Array:
    return in_memory(array, [2 * n for n in array.shape], (slice(None, None, 2),) * array.ndim)


def backwards(array: Array) -> Array:
    return in_memory(array, list(array.shape), (slice(None, None, -1),) * array.ndim)


def rows_apart(array: Array) -> Array:
    return in_memory(array, [n + 3 for n in array.shape], tuple(slice(n) for n in array.shape))


def in_memory(array: Array, shape: list[int], places: tuple[slice, ...]) -> Array:
    view = np.zeros(shape, array.dtype)[(*places, ...)]
    view[...] = array
    return view


def one_element_on(array: Array) -> Array:
    return bytes_on(array, array.itemsize)


def one_byte_on(array: Array) -> Array:
    return bytes_on(array, 1)


def bytes_on(array: Array, offset: int) -> Array:
    aligned = np.zeros(array.nbytes + 64 + offset, np.uint8)
    begin = -aligned.ctypes.data % 64 + offset
    view = aligned[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def byteswapped(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder())


def broadcast(array: Array) -> Array:
    """Return the first row for each: here alone the values are others, and so are the expected ones."""
    return np.broadcast_to(array[:1], array.shape)


WRITEABLE = (np.copy, fortran, strided, backwards, rows_apart, one_element_on, one_byte_on, byteswapped)
LAYOUTS = (*WRITEABLE, broadcast)


# --- cases ---


def function_cases(x: Array) -> Iterator[tuple[str, Case]]:
    for function in (nnk.relu, nnk.sigmoid, nnk.tanh, _core.exp):
        yield function.__name__, Case(x, {"function": function})
    for function in (nnk.softmax, nnk.log_softmax, nnk.logsumexp):
        yield function.__name__, Case(x, {"function": function, "down the columns": partial(down_the_columns, function)})


def down_the_columns(function: Function, x: Array, out: Array | None = None) -> Array:
    result = function(x.T, axis=0, out=None if out is None else out.T)
    return result.T if out is None else out


def dot_case(x: Array) -> Case:
    weights = numbers(x.dtype, x.shape[-1], seed=2)
    return Case(x, {layout.__name__: lambda x, out=None, w=layout(weights): nnk.dot(x, w, out=out) for layout in WRITEABLE})


def neuron_case(x: Array) -> Case:
    weights, bias = numbers(x.dtype, x.shape[-1], seed=2) / 16, numbers(x.dtype, 1, seed=3)
    def in_a_layer(x: Array, out: Array | None = None) -> Array:
        result = nnk.dense(x, weights[np.newaxis], bias, activation="sigmoid", out=None if out is None else out[..., np.newaxis])
        return result[..., 0] if out is None else out

    return Case(x, network_ways([nnk.Dense(weights, bias[0], "sigmoid")]) | {"in a layer": in_a_layer})


def network_case(dtype: Any, widths: tuple[int, ...], activation: str | None) -> Case:
    layers = [
        nnk.Dense(numbers(dtype, outputs, inputs, seed=2 * i) / 16, numbers(dtype, outputs, seed=2 * i + 1), activation)
        for i, (inputs, outputs) in enumerate(pairwise(widths), 1)
    ]
    return Case(numbers(dtype, ROWS, widths[0]), network_ways(layers))


def network_ways(layers: list[nnk.Dense]) -> dict[str, Function]:
    layouts = (fortran, strided, one_byte_on, byteswapped)
    return {
        "fused": partial(chain, layers),
        "unfused": partial(chain, layers, fused=False),
        "Network": nnk.Network(layers),
        **{f"weights {layout.__name__}": partial(chain, layers, layout=layout) for layout in layouts},
    }


def chain(layers: list[nnk.Dense], x: Array, out: Array | None = None, *, fused: bool = True, layout: Function = np.asarray) -> Array:
    """Return the forward pass by functions."""
    for layer in layers:
        weights, bias = layout(layer.weights), layout(layer.bias)
        last_out = out if layer is layers[-1] else None
        if fused or layer.activation is None:
            x = nnk.dense(x, weights, bias, activation=layer.activation, out=last_out)
        else:
            x = getattr(nnk, layer.activation)(nnk.dense(x, weights, bias), out=last_out)
    return x


def small_cases(dtype: Any) -> Iterator[tuple[str, Case]]:
    """Yield what stays on one thread, whatever its batch."""
    x = numbers(dtype, ROWS, 19)
    x[7, 3] = np.nan
    functions_x = x.copy()
    functions_x[5::8] = anything(dtype, *functions_x[5::8].shape)
    yield from function_cases(functions_x)
    yield "dot", dot_case(x)
    yield "dense neuron", neuron_case(x)
    for widths, activation in product([(4, 5), (17, 17), (6, 33, 18)], ACTIVATIONS):
        yield f"dense {widths} {activation}", network_case(dtype, widths, activation)


def shared_cases(dtype: Any) -> Iterator[tuple[str, Case]]:
    """Yield what several threads share, once they are awake."""
    x = numbers(dtype, ROWS, 520)
    yield from function_cases(x)
    yield "dot", dot_case(x)
    for widths, activation in (((520, 21), "tanh"), ((520, 300), "softmax"), ((300, 200, 10), "sigmoid"), ((128, 100, 10), "relu")):
        yield f"dense {widths} {activation}", network_case(dtype, widths, activation)


def integer_case(dtype: str) -> Case:
    return Case(anything(dtype, ROWS, 19), {"function": nnk.relu})


SMALL = {f"{np.dtype(dtype)} {name}": case for dtype in DTYPES for name, case in small_cases(dtype)}
SMALL |= {f"{dtype} relu": integer_case(dtype) for dtype in INTEGERS}
SHARED = {f"{np.dtype(dtype)} {name}, large": case for dtype in DTYPES for name, case in shared_cases(dtype)}


# --- the tests ---


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    path = tmp_path_factory.mktemp("reference") / "rows.npz"
    environment = os.environ | {"NNKERNELS_TARGET": "generic", "NNKERNELS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, path], env=environment, check=True)
    with np.load(path) as file:
        return dict(file)


def check(actual: Array, expected: Array) -> None:
    """Check that two arrays of whatever layout hold the same bits."""
    assert same_bits(*(np.array(array, array.dtype.newbyteorder("="), order="C") for array in (actual, expected)))


@pytest.fixture(autouse=True)
def everything_may_overflow() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", SMALL)
def test_batches(name: str, reference: dict[str, Array]) -> None:
    """All batches of 1 to 257 rows, from two beginnings each, so that every row is in many places."""
    x, ways = SMALL[name]
    twice, expected = np.concatenate([x, x]), np.concatenate([reference[name]] * 2)
    for batch in range(1, ROWS + 1):
        for begin in (0, batch * 100 % ROWS):
            rows = slice(begin, begin + batch)
            for way in ways.values():
                assert same_bits(way(twice[rows]), expected[rows])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("rows", [1, 13, ROWS])
def test_layouts(name: str, rows: int, reference: dict[str, Array]) -> None:
    """Each layout of the input with each of the output, with none, in place, and nearly in place."""
    case = SMALL[name]
    for layout, way in product(LAYOUTS, case.ways.values()):
        x, expected = layout(case.x[:rows]), layout(reference[name][:rows])
        check(way(x), expected)
        for out_layout in WRITEABLE:
            out = out_layout(np.zeros_like(reference[name][:rows]))
            assert way(x, out=out) is out
            check(out, expected)
        if x.shape == expected.shape and layout is not broadcast:
            assert way(x, out=x) is x
            check(x, expected)
            for begin in (0, 2):  # the output is a row before the input, or a row behind
                memory = layout(np.pad(case.x[:rows], ((1, 1), (0, 0))))
                way(memory[1:-1], out=memory[begin:][:rows])
                check(memory[begin:][:rows], expected)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("threads_used", [1, 2, 7])
def test_threads(name: str, threads_used: int, reference: dict[str, Array]) -> None:
    """Few rows, of which threads share the outputs, and many; after a call that wakes all workers (cpp/threads.h)."""
    nnk.set_num_threads(threads_used)
    case = SHARED[name]
    wakes_seven = np.zeros(7 << 19, np.uint8)
    for rows, layout, way in product((1, 60, ROWS), (np.copy, fortran), case.ways.values()):
        x, expected = layout(case.x[:rows]), reference[name][:rows]
        out = layout(np.zeros_like(expected))
        nnk.relu(wakes_seven, out=wakes_seven)
        check(way(x), expected)
        nnk.relu(wakes_seven, out=wakes_seven)
        check(way(x, out=out), expected)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", [*SMALL, *SHARED])
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_dask(name: str, rows: int, reference: dict[str, Array]) -> None:
    """Chunks of so many rows, in Dask's threads."""
    x, ways = (SMALL | SHARED)[name]
    x, expected = x[:8 * rows], reference[name][:8 * rows]
    lazy = da.from_array(x, chunks=(rows, -1))
    for way in ways.values():
        if isinstance(way, nnk.Network):
            dropped = [1] if expected.ndim == 1 else None
            result = lazy.map_blocks(way, dtype=x.dtype, drop_axis=dropped, chunks=(lazy.chunks[0], *[(n,) for n in expected.shape[1:]]))
        else:
            result = way(lazy)
        assert isinstance(result, da.Array)
        assert same_bits(result.compute(scheduler="threads", num_workers=2), expected)


def test_golden_hashes() -> None:
    assert golden_hashes() == committed_hashes()


@pytest.mark.parametrize("target", [target for target in TARGETS if target != nnk.config()["target"]])
def test_other_targets(target: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-p", "no:cacheprovider", "-k", "not test_other_targets"]
    finished = subprocess.run(command, env=os.environ | {"NNKERNELS_TARGET": target}, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        alone = {
            name: np.stack([np.asarray(next(iter(case.ways.values()))(row.copy())) for row in case.x])
            for name, case in (SMALL | SHARED).items()
        }
    np.savez(Path(sys.argv[1]), **alone)
