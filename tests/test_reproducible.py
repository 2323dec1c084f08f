"""Reproducibility: every way to compute a row gives the bits of the row alone on `generic`.

`python tests/test_reproducible.py FILE` computes the reference from single contiguous rows on one
thread. The fixture `reference` runs it in a separate process. All tests run on the target of this
process; `test_other_targets` runs the tests marked `each_target` on each other target.
"""

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
from numpy.typing import DTypeLike

import nnkernels as nnk
from conftest import DTYPES, TARGETS
from corpus import Array, anything, numbers
from golden import (
    ACTIVATIONS,
    ELEMENTWISE,
    INTEGERS,
    committed_hashes,
    golden_hashes,
    parameters_and_losses,
    scale_of,
    with_scales,
)  # fmt: skip
from ulp import same_bits

ROWS = 257
# Every small size, since kernels take several rows at once with a remainder; then sizes around
# powers of two.
BATCHES = (*range(1, 66), 127, 128, 129, 255, 256, 257)

Function = Callable[..., Array]


class Case(NamedTuple):
    """Rows, and functions that should give the same bits for them; the first gives the reference.

    `with_weights`, if there are weights, returns such a function with weights and biases in another
    layout.
    """

    x: Array
    ways: list[Function]
    with_weights: Callable[[Function], Function] | None = None


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
    memory = np.zeros(array.nbytes + 64 + offset, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    view = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def byteswapped(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder())


def broadcast(array: Array) -> Array:
    """Repeat the first row. This layout changes values; expected values change in the same way."""
    return np.broadcast_to(array[:1], array.shape)


WRITEABLE = (np.copy, fortran, strided, backwards, rows_apart, one_element_on, one_byte_on, byteswapped)
LAYOUTS = (*WRITEABLE, broadcast)


# --- cases ---


def function_cases(x: Array) -> Iterator[tuple[str, Case]]:
    for name, (function, _) in ELEMENTWISE.items():
        yield name, Case(x, [function])
    for function in (nnk.softmax, nnk.log_softmax, nnk.logsumexp):
        yield function.__name__, Case(x, [function, partial(down_the_columns, function)])


def down_the_columns(function: Function, x: Array, out: Array | None = None) -> Array:
    result = function(x.T, axis=0, out=None if out is None else out.T)
    return result.T if out is None else out


def dot_case(x: Array) -> Case:
    weights = numbers(x.dtype, x.shape[-1], seed=2)

    def with_weights(layout: Function) -> Function:
        return lambda x, out=None: nnk.dot(x, layout(weights), out=out)

    return Case(x, [with_weights(np.asarray)], with_weights)


# The functions of the activations, by their texts.
BY_TEXT = {"softmax": nnk.softmax, "log_softmax": nnk.log_softmax} | {text: function for function, text in ELEMENTWISE.values()}


def layers_case(x: Array, layers: list[nnk.Dense | nnk.Scale]) -> Case:
    ways = [partial(chain, layers), partial(chain, layers, fused=False), nnk.Network(layers, x.dtype)]
    return Case(x, ways, lambda layout: partial(chain, layers, layout=layout))


def chain(
    layers: list[nnk.Dense | nnk.Scale],
    x: Array,
    out: Array | None = None,
    *,
    fused: bool = True,
    layout: Function = np.asarray,
) -> Array:
    """Compute the forward pass by functions."""
    for layer in layers:
        last_out = out if layer is layers[-1] else None
        if isinstance(layer, nnk.Scale):
            x = ((x.astype(np.float64) - layer.offset) * layer.scale).astype(x.dtype.newbyteorder("="))
            if last_out is not None:
                last_out[...] = x
                x = last_out
            continue
        weights, bias = layout(layer.weights), layout(layer.bias)
        if fused or layer.activation is None:
            x = nnk.dense(x, weights, bias, activation=layer.activation, out=last_out)
        else:
            x = BY_TEXT[layer.activation](nnk.dense(x, weights, bias), out=last_out)
    return x


def network_case(x: Array, outputs: tuple[int, ...], activation: str | None) -> Case:
    layers = [
        nnk.Dense(numbers(x.dtype, n, inputs, seed=2 * i) / 16, numbers(x.dtype, n, seed=2 * i + 1), activation)
        for i, (inputs, n) in enumerate(pairwise((x.shape[-1], *outputs)), 1)
    ]
    return layers_case(x, layers)


def scaled_case(x: Array, outputs: tuple[int, ...], activation: str | None) -> Case:
    """Return a network with a Scale before each layer and after the last."""
    case = network_case(x, outputs, activation)
    return layers_case(x, with_scales(case.ways[-1].layers, range(len(outputs) + 1)))  # type: ignore[attr-defined]


def neuron_case(x: Array) -> Case:
    """Return a neuron (1-D weights) and the equal layer with one output."""
    weights, bias = numbers(x.dtype, 1, x.shape[-1], seed=2) / 16, numbers(x.dtype, 1, seed=3)

    def in_a_layer(x: Array, out: Array | None = None) -> Array:
        result = nnk.dense(x, weights, bias, activation="sigmoid", out=None if out is None else out[..., np.newaxis])
        return result[..., 0] if out is None else out

    case = layers_case(x, [nnk.Dense(weights[0], bias[0], "sigmoid")])
    return case._replace(ways=[*case.ways, in_a_layer])


def small_cases(dtype: DTypeLike) -> Iterator[tuple[str, Case]]:
    """Yield cases too small to wake a thread."""
    x = numbers(dtype, ROWS, 17)
    x[7, 3] = np.nan
    x_of_functions = x.copy()
    x_of_functions[5::8] = anything(dtype, *x[5::8].shape)
    yield from function_cases(x_of_functions)
    yield "scale", layers_case(x_of_functions, [scale_of(17, 0)])._replace(with_weights=None)
    yield "scaled network 17 (10, 5) tanh", scaled_case(x, (10, 5), "tanh")
    yield "scaled network 130 (7,) softmax", scaled_case(numbers(dtype, ROWS, 130), (7,), "softmax")
    yield "dot", dot_case(x)
    yield "neuron", neuron_case(x)
    for outputs, activation in (*product([(17,)], ACTIVATIONS.values()), ((3, 10, 5), "tanh")):
        yield f"network 17 {outputs} {activation}", network_case(x, outputs, activation)
    # Too wide for a row in each lane.
    yield "network 130 (20, 7) tanh", network_case(numbers(dtype, ROWS, 130), (20, 7), "tanh")


def shared_cases(dtype: DTypeLike) -> Iterator[tuple[str, Case]]:
    """Yield cases that 7 awake threads share: by rows, or by outputs if there are few rows."""
    x = numbers(dtype, 60, 4000)
    for name, case in function_cases(x):
        if name in ("relu", "leaky_relu", "tanh", "gelu", "softmax", "log_softmax", "logsumexp"):
            yield name, case
    yield "dot", dot_case(x)
    yield "scale", layers_case(numbers(dtype, 120, 2000), [scale_of(2000, 0)])._replace(with_weights=None)
    yield "scaled network 520 (21,) relu", scaled_case(numbers(dtype, ROWS, 520), (21,), "relu")
    for rows, inputs, outputs, activation in (
        (ROWS, 520, (21,), "tanh"),
        (13, 1100, (450,), "softmax"),
        (13, 360, (450, 10), "relu"),
        (ROWS, 160, (30, 10), "softmax"),
        (ROWS, 120, (40, 10), "sigmoid"),
    ):
        yield f"network {inputs} {outputs} {activation}", network_case(numbers(dtype, rows, inputs), outputs, activation)


SMALL = {f"{np.dtype(dtype)} {name}": case for dtype in DTYPES for name, case in small_cases(dtype)}
SMALL |= {f"{dtype} relu": Case(anything(dtype, ROWS, 17), [nnk.relu]) for dtype in INTEGERS}
SHARED = {f"{np.dtype(dtype)} {name}, shared": case for dtype in DTYPES for name, case in shared_cases(dtype)}


# --- tests ---

REFERENCE_FILE = "NNKERNELS_TEST_REFERENCE"  # path of the reference, for processes of test_other_targets


@pytest.fixture(scope="module")
def reference_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    if REFERENCE_FILE in os.environ:
        return os.environ[REFERENCE_FILE]
    path = str(tmp_path_factory.mktemp("reference") / "rows.npz")
    environment = os.environ | {"NNKERNELS_TARGET": "generic", "NNKERNELS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, path], env=environment, check=True)
    return path


@pytest.fixture(scope="module")
def reference(reference_file: str) -> dict[str, Array]:
    with np.load(reference_file) as file:
        return dict(file)


@pytest.fixture(autouse=True)
def anything_may_overflow() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


def same(actual: Array, expected: Array) -> bool:
    """Return whether two arrays of any layout have the same bits."""
    return same_bits(*(np.array(array, array.dtype.newbyteorder("="), order="C") for array in (actual, expected)))


def check(actual: Array, expected: Array) -> None:
    assert same(actual, expected)


@pytest.mark.each_target
@pytest.mark.parametrize("name", SMALL)
def test_batches(name: str, reference: dict[str, Array]) -> None:
    """Batches start at different rows, so that a row has many positions."""
    case = SMALL[name]
    twice, expected = np.concatenate([case.x, case.x]), np.concatenate([reference[name]] * 2)
    for batch, way in product(BATCHES, case.ways):
        rows = slice(batch * 100 % ROWS, batch * 100 % ROWS + batch)
        assert same_bits(way(twice[rows]), expected[rows])


@pytest.mark.each_target
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("rows", [1, 67])
def test_layouts(name: str, rows: int, reference: dict[str, Array]) -> None:
    """Each layout of the input with each layout of out, without out, in place, and overlapping."""
    case = SMALL[name]
    for layout, way in product(LAYOUTS, case.ways):
        x, expected = layout(case.x[:rows]), layout(reference[name][:rows])
        check(way(x), expected)
        for out_layout in WRITEABLE:
            out = out_layout(np.zeros_like(reference[name][:rows]))
            assert way(x, out=out) is out
            check(out, expected)
        if x.shape == expected.shape and layout is not broadcast:
            assert way(x, out=x) is x
            check(x, expected)
            for begin in (0, 2):  # the output is shifted by a row
                memory = layout(np.pad(case.x[:rows], ((1, 1), (0, 0))))
                way(memory[1:-1], out=memory[begin:][:rows])
                check(memory[begin:][:rows], expected)


@pytest.mark.each_target
@pytest.mark.parametrize("name", [name for name, case in SMALL.items() if case.with_weights])
def test_weights_layouts(name: str, reference: dict[str, Array]) -> None:
    case = SMALL[name]
    for layout in WRITEABLE:
        check(case.with_weights(layout)(case.x), reference[name])


def call_in_a_row(threads_used: int) -> None:
    """Repeat calls until threads share the next call even if it is small (cpp/threads.cpp).

    At most two threads share these calls.
    """
    nnk.set_num_threads(min(threads_used, 2))
    x = np.zeros(2**20, np.uint8)
    end = time.perf_counter() + 0.0012
    while threads_used > 1 and time.perf_counter() < end:
        nnk.relu(x, out=x)
    nnk.set_num_threads(threads_used)


def sleeps() -> dict[str, int]:
    """Return how often each other thread of this process has fallen asleep (Linux only)."""
    tasks = {path.name: (path / "status").read_text() for path in Path("/proc/self/task").iterdir()}
    del tasks[str(threading.get_native_id())]
    return {task: int(re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M)[0]) for task, text in tasks.items()}


def woke_since(before: dict[str, int]) -> int:
    time.sleep(0.002)  # the workers fall asleep again
    return sum(count > before.get(task, count) for task, count in sleeps().items())


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("threads_used", [1, 2, pytest.param(7, marks=pytest.mark.each_target)])
def test_threads(name: str, threads_used: int, reference: dict[str, Array]) -> None:
    case = SHARED[name]
    ways = case.ways if case.with_weights is None else [*case.ways, case.with_weights(fortran)]
    nnk.set_num_threads(threads_used)
    nnk.relu(np.zeros(threads_used << 19, np.uint8))  # start all workers
    time.sleep(0.002)
    before = sleeps() if sys.platform == "linux" else {}
    for _ in range(50):  # a call is not shared if this thread was delayed before it
        for rows, way in product(sorted({1, 13, len(case.x)}), ways):
            x, expected = case.x[:rows], reference[name][:rows]
            columns, out = fortran(x), fortran(np.zeros_like(expected))
            call_in_a_row(threads_used)
            result = way(x)
            way(columns, out=out)
            check(result, expected)
            check(out, expected)
        if sys.platform != "linux" or woke_since(before) >= threads_used - 1:
            return
    pytest.fail(f"{threads_used} threads never shared it")


@cache
def large(dtype: str, threads_used: int) -> tuple[Array, int]:
    """Return the result of steps large enough for several threads, and how many threads woke."""
    net = nnk.Network.random((300, 520, 350, 10), "tanh", "softmax", seed=1, dtype=np.dtype(dtype))
    nnk.set_num_threads(threads_used)
    nnk.relu(np.zeros(threads_used << 19, np.uint8))  # start all workers
    time.sleep(0.002)
    before = sleeps() if sys.platform == "linux" else {}
    x = numbers(dtype, 330, 300)
    training = nnk.train(net, x, np.arange(330) % 10, epochs=1, batch_size=300)
    woken = woke_since(before) if sys.platform == "linux" else threads_used - 1
    return parameters_and_losses(training), woken


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threads_used", [2, 7])
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.each_target), "float64"])
def test_training_by_threads(dtype: str, threads_used: int) -> None:
    """The last batch is shorter than the others."""
    result, woken = large(dtype, threads_used)
    assert same_bits(result, large(dtype, 1)[0])
    assert woken >= threads_used - 1


@pytest.mark.each_target
@pytest.mark.usefixtures("threads")
def test_sample(reference: dict[str, Array]) -> None:
    """A sample of all combinations; the tests above vary one or two parameters at a time."""
    generator = random.Random(1)
    for _ in range(400):
        name, case = generator.choice(list((SMALL | SHARED).items()))
        batch = generator.randint(1, len(case.x))
        start = generator.randint(0, len(case.x) - batch)
        threads_used = generator.choice((1, 2, 3, 7))
        layout, out_layout, weights_layout = (generator.choice(layouts) for layouts in (LAYOUTS, WRITEABLE, WRITEABLE))
        way = generator.choice([*case.ways, case.with_weights(weights_layout)] if case.with_weights else case.ways)
        x, expected = (layout(array[start : start + batch]) for array in (case.x, reference[name]))
        in_place = x.shape == expected.shape and layout is not broadcast and generator.random() < 0.5
        out = x if in_place else out_layout(np.zeros_like(expected))
        call_in_a_row(threads_used)
        way(x, out=out)
        drawn = name, way, threads_used, start, batch, layout, out_layout, weights_layout, in_place
        assert same(out, expected), drawn


@pytest.mark.parametrize("name", SHARED)
def test_dask(name: str, reference: dict[str, Array]) -> None:
    """Chunks of 1 row, 5 rows and the rest, in Dask's threads."""
    x, ways, _ = SHARED[name]
    lazy = da.from_array(x, chunks=((1, 5, len(x) - 6), -1))
    columns = [(n,) for n in reference[name].shape[1:]]
    blocks = partial(lazy.map_blocks, dtype=x.dtype, drop_axis=[] if columns else 1, chunks=(lazy.chunks[0], *columns))
    results = [blocks(way) if isinstance(way, nnk.Network) else way(lazy) for way in ways]
    assert all(isinstance(result, da.Array) for result in results)
    for result in dask.compute(*results, scheduler="threads", num_workers=2):
        assert same_bits(result, reference[name])


@pytest.mark.each_target
def test_golden_hashes() -> None:
    assert golden_hashes() == committed_hashes()


@pytest.mark.parametrize("target", [target for target in TARGETS if target != nnk.config()["target"]])
def test_other_targets(target: str, reference_file: str) -> None:
    """Run the tests marked each_target on another target."""
    files = [path for path in Path(__file__).parent.glob("test_*.py") if "each_target" in path.read_text(encoding="utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "each_target", *files]
    environment = os.environ | {"NNKERNELS_TARGET": target, REFERENCE_FILE: reference_file}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        alone = {name: np.stack([case.ways[0](row.copy()) for row in case.x]) for name, case in (SMALL | SHARED).items()}
    np.savez(Path(sys.argv[1]), **alone)
