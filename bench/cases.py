"""The cases of peers.py except training: tables, the work of each case, and its goals."""

import itertools
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import erf, inf, prod
from operator import is_
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import numpy as np

import nnkernels as nnk
from engines import ENGINES, Array, Layer, Way, blank, descriptions, nnkernels_ways
from measure import OURS, Check, Contender, Limit, Work

Dtype = type[np.float16] | type[np.float32] | type[np.float64]
DTYPES: tuple[Dtype, ...] = (np.float32, np.float64)


@dataclass(frozen=True)
class Goal:
    """The required value of a figure of a case.

    - "ratio": the best peer's time over that of nnkernels
    - a library's name: the library's time over that of nnkernels
    - "versus": the time of the table's `versus` contender over that of nnkernels
    - "over": the time of nnkernels minus that of `versus`, in the table's unit
    - "percent": percent of the limit
    - "value": the result of `direct`
    """

    figure: str
    at_least: float = -inf
    at_most: float = inf

    def __str__(self) -> str:
        bound = f">= {self.at_least:.3g}" if self.at_least > -inf else f"<= {self.at_most:.3g}"
        return bound + "%" * (self.figure == "percent")

    def reached(self, value: float) -> bool:
        """Whether the figure meets the goal."""
        return self.at_least <= value <= self.at_most


@dataclass(frozen=True)
class Case:
    """A row of a table; `prepare` makes its work for a number of threads."""

    name: str
    prepare: Callable[[int], Work]
    goals: tuple[Goal, ...] = ()
    heavy: bool = False  # too long for a smoke run
    labels: dict[str, Any] = field(default_factory=dict)  # what the case is, for the plots


@dataclass(frozen=True)
class Table:
    """Cases printed together; times per call, row or element, in `unit` ("us" or "ns")."""

    title: str
    unit: str
    cases: list[Case]
    versus: str | None = None  # a contender of nnkernels' own
    mean_goal: float = 0.0  # goal for the geometric mean of the ratios


@dataclass(frozen=True)
class Group:
    """Tables measured in one process, with its threads and CPU target (None: the best)."""

    name: str
    tables: Callable[[], list[Table]]
    threads: int = 1
    target: str | None = None
    learns: bool = False  # needs PyTorch's gradients


def uniform(shape: tuple[int, ...], limit: float, dtype: Dtype, seed: int) -> Array:
    """Random numbers between -limit and limit, reproducible by the seed."""
    return np.random.default_rng(seed).uniform(-limit, limit, shape).astype(dtype)


# Activations without their own branch in `forward`, in float64. Their layers are always alone,
# because the slope of exp is unbounded.
SMOOTH: dict[str | None, Any] = {
    "exp": np.exp,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(erf, otypes=[float])(x * 0.5**0.5)) / 2,
    "gelu_tanh": lambda x: x / (1 + np.exp(-((8 / np.pi) ** 0.5) * (x + 0.044715 * x**3))),
    "softplus": lambda x: np.logaddexp(x, 0),
}


def forward(layers: Sequence[Layer], x: Array) -> Check:
    """The result of layers in float64, and its tolerance for x's dtype: eight standard deviations.

    A sum of n products is assumed to be off by sqrt(n) roundings of its root mean square size,
    independently of other sums.
    """
    kind = np.finfo(x.dtype)
    eps = float(kind.eps)
    values = x.astype(np.float64)
    variance = np.zeros_like(values)
    with np.errstate(all="ignore"):
        for layer in layers:
            if layer.weights is not None and layer.bias is not None:
                weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
                squares = values**2 @ (weights**2).T + bias**2
                variance = variance @ (weights**2).T + weights.shape[-1] * eps**2 * squares
                values = values @ weights.T + bias
            if layer.activation == "relu":
                values = np.maximum(values, 0)
            elif layer.activation == "sigmoid":
                values, variance = 1 / (1 + np.exp(-values)), variance + eps**2 / 4
            elif layer.activation == "tanh":
                values, variance = np.tanh(values), variance + eps**2 / 4
            elif layer.activation in SMOOTH:
                values = SMOOTH[layer.activation](values)
                variance = 2 * variance + eps**2 / 4 * np.maximum(1, values**2)  # the slopes are at most 1.13
            elif layer.activation == "softmax":
                difference = values - values.max(axis=-1, keepdims=True)
                values = np.exp(difference)
                values /= values.sum(axis=-1, keepdims=True)
                # Errors of the logits are at most twice the relative errors of the probabilities.
                # Rounding the difference gives its exponential the same relative error. The sum is
                # one of 16 partial sums.
                rounding = eps**2 * (1 + difference**2 / 32 + difference.shape[-1] / 16)
                relative = 4 * variance.max(axis=-1, keepdims=True) + rounding
                # In float64, squares of small probabilities would underflow.
                variance = np.where(values == 0, 0, np.square(values, dtype=np.longdouble) * relative)
        return Check(values, (8 * np.sqrt(variance)).astype(np.float64) + float(kind.smallest_subnormal))


def make_layers(sizes: Sequence[int], hidden: str | None, last: str | None, dtype: Dtype) -> list[Layer]:
    """Layers of these sizes, inputs first, with the hidden and the last activation."""
    return [
        Layer(
            # This limit keeps the signal's size from layer to layer.
            uniform((outputs, inputs), (6 / inputs) ** 0.5, dtype, seed=inputs),
            uniform((outputs,), 0.1, dtype, seed=0),
            last if index == len(sizes) - 2 else hidden,
        )
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes))
    ]


def add_peers(work: Work, libraries: Sequence[str], make: Callable[[str], Contender | None]) -> None:
    """Add the libraries that can do the work and are installed; make() returns None otherwise."""
    for library in libraries:
        if library not in ENGINES:
            continue
        try:
            contender = make(library)
        except Exception as error:  # a peer may raise anything
            work.notes.append(f"{library} cannot do it: {error}")
            continue
        if contender:
            work.contenders[library] = contender


def beside_peers(
    layers: Sequence[Layer],
    x: Array,
    threads: int,
    engines: Sequence[str] = tuple(ENGINES),
    units: float = 1,
    packed: bool = True,
) -> Work:
    """Work for nnkernels and peers on the same layers and rows.

    Without `packed`, nnkernels calls `dense` on the single layer.
    """
    check = forward(layers, x)
    work = Work({OURS: Contender(nnkernels_ways(layers, x, packed), units, check)})

    def peer(library: str) -> Contender | None:
        ways = ENGINES[library](layers, x, threads)
        return Contender(ways, units, check) if ways else None

    add_peers(work, engines, peer)
    numbers = sum(array.size for layer in layers for array in (layer.weights, layer.bias) if array is not None)
    work.flops = 2 * len(x) * sum(layer.weights.size for layer in layers if layer.weights is not None)
    work.bytes = (numbers + x.size + check.expected.size) * x.itemsize
    return work


def fma_limit(work: Work, dtype: Dtype) -> Limit:
    """The FMA peak of the target in use."""
    return Limit(f"fma/{nnk.config()['target']}/{dtype.__name__}", work.flops)


# Networks


@dataclass(frozen=True)
class Shape:
    """The sizes of a network, its hidden activation and its last one."""

    sizes: tuple[int, ...]
    hidden: str = "relu"
    last: str | None = "softmax"

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes)) + " tanh" * (self.hidden == "tanh")

    def layers(self, dtype: Dtype) -> list[Layer]:
        """The layers, with random weights."""
        return make_layers(self.sizes, self.hidden, self.last, dtype)

    def weights(self) -> int:
        """The number of weights."""
        return sum(inputs * outputs for inputs, outputs in itertools.pairwise(self.sizes))


TINY = Shape((4, 5, 3))
SMALL = Shape((64, 64, 10))
DIGITS = Shape((784, 128, 10))
TANH = Shape((64, 32, 32, 1), "tanh", "tanh")
LARGE = (Shape((784, 512, 256, 10)), Shape((256, 1024, 1024, 1024, 16)))
NETWORKS = (TINY, SMALL, DIGITS, *LARGE, TANH)
BATCHES = (1, 16, 256, 4096)

# Goals for networks of large layers in percent of the limit, by batch.
LARGE_GOALS = {1: 90, 16: 85, 256: 95, 4096: 95}


def network(shape: Shape, batch: int, dtype: Dtype, threads: int, engines: Sequence[str] = tuple(ENGINES)) -> Work:
    """A batch through a network."""
    work = beside_peers(shape.layers(dtype), uniform((batch, shape.sizes[0]), 1, dtype, seed=1), threads, engines)
    weights_bytes = shape.weights() * np.dtype(dtype).itemsize
    if batch > 1:
        work.limit = fma_limit(work, dtype)
    elif weights_bytes > 2**16:  # reading fewer weights takes less time than the call
        work.limit = Limit(f"read/{weights_bytes}", weights_bytes)
    return work


def half_network(shape: Shape, batch: int, threads: int) -> Work:
    """A batch through a network in float16, compared with float32."""
    contenders = {
        name: network(shape, batch, dtype, threads, engines=()).contenders[OURS]
        for name, dtype in ((OURS, np.float16), ("float32", np.float32))
    }
    return Work(contenders)


def network_case(shape: Shape, batch: int, prepare: Callable[[int], Work], goals: Sequence[Goal]) -> Case:
    """The row of a network."""
    labels = {"network": str(shape), "batch": batch}
    return Case(f"{shape} x{batch}", prepare, tuple(goals), 2 * batch * shape.weights() > 2e8, labels)


def network_goals(shape: Shape, batch: int, dtype: Dtype) -> Iterator[Goal]:
    """The goals of a network in float32 and float64."""
    yield Goal("ratio", at_least=10 if (shape, batch, dtype) == (TINY, 1, np.float32) else 1)
    if shape in LARGE:
        yield Goal("percent", at_least=LARGE_GOALS[batch])


def networks_tables() -> list[Table]:
    """Networks in each type."""
    shapes = list(itertools.product(NETWORKS, BATCHES))

    def table(dtype: Dtype, mean_goal: float) -> Table:
        rows = [network_case(*row, partial(network, *row, dtype), list(network_goals(*row, dtype))) for row in shapes]
        return Table(f"Networks, {dtype.__name__}", "us a call", rows, mean_goal=mean_goal)

    half = [network_case(*row, partial(half_network, *row), [Goal("versus", at_least=1 / 1.3)]) for row in shapes]
    return [
        table(np.float32, 2),
        table(np.float64, 0),
        Table("Networks, float16 beside float32", "us a call", half, versus="float32"),
    ]


def avx2_tables() -> list[Table]:
    """Large networks on the target avx2."""
    goal = [Goal("percent", at_least=90)]
    rows = [
        network_case(shape, batch, partial(network, shape, batch, np.float32, engines=()), goals)
        for shape, (batch, goals) in itertools.product(LARGE, ((16, []), (256, goal), (4096, goal)))
    ]
    return [Table("Large networks with NNKERNELS_TARGET=avx2, float32", "us a call", rows)]


# Dense layers with unpacked weights

DENSE_PEERS = ("NumPy", "PyTorch")


def dense(
    rows: int, outputs: int, inputs: int, activation: str | None, threads: int, engines: Sequence[str] = DENSE_PEERS
) -> Work:
    """`dense` in float32."""
    layers = make_layers((inputs, outputs), None, activation, np.float32)
    work = beside_peers(layers, uniform((rows, inputs), 1, np.float32, seed=1), threads, engines, packed=False)
    if "NumPy" in work.contenders:  # its second way transposes the weights beforehand
        del work.contenders["NumPy"].ways[1:]
    work.limit = Limit(f"read/{4 * outputs * inputs}", 4 * outputs * inputs) if rows == 1 else fma_limit(work, np.float32)
    return work


def fused(rows: int, outputs: int, inputs: int, activation: str, threads: int) -> Work:
    """`dense` with an activation, compared with none."""
    contenders = {
        name: dense(rows, outputs, inputs, chosen, threads, engines=()).contenders[OURS]
        for name, chosen in ((OURS, activation), ("no activation", None))
    }
    return Work(contenders)


def dense_tables() -> list[Table]:
    """Every shape beside the peers; activations compared with none."""
    sizes = (16, 128, 512, 1024, 2048)
    shapes = [
        Case(
            f"{rows}x{outputs}x{inputs}",
            partial(dense, rows, outputs, inputs, "relu"),
            (Goal("ratio", at_least=1),),
            2 * rows * outputs * inputs > 2e7,
            {"rows": rows, "outputs": outputs, "inputs": inputs},
        )
        for rows, outputs, inputs in itertools.product((1, 8, 32, 128, 1024), sizes, sizes)
    ]
    activations = [
        Case(
            f"{activation} {rows}x{outputs}x{inputs}",
            partial(fused, rows, outputs, inputs, activation),
            (Goal("versus", at_least=1 / 1.05),),
        )
        for (rows, outputs, inputs), activation in itertools.product(
            ((1, 1024, 1024), (32, 128, 128), (32, 512, 512), (128, 128, 784), (1024, 256, 128)),
            ("relu", "sigmoid", "tanh", "softmax"),
        )
    ]
    return [
        Table("dense with relu, weights not packed ahead (rows x outputs x inputs), float32", "us a call", shapes),
        Table("dense with an activation beside dense without, float32", "us a call", activations, versus="no activation"),
    ]


# Element-wise functions and softmax

ELEMENTWISE = ("relu", "sigmoid", "tanh")
OTHERS = tuple(name for name in SMOOTH if name is not None)
SIZES = (8, 1024, 65536, 4194304)
SOFTMAX_SHAPES = ((1024, 10), (1024, 128), (1024, 1000), (16, 32000))


def function(name: str, x: Array, threads: int, engines: Sequence[str] = tuple(ENGINES)) -> Work:
    """A function of an array."""
    work = beside_peers([Layer(None, None, name)], x, threads, engines, units=x.size)
    if x.nbytes > 2**23:  # the array exceeds the L2 cache
        work.limit = Limit(f"copy/{int(work.bytes)}", work.bytes)
    return work


def random_function(name: str, shape: tuple[int, ...], dtype: Dtype, threads: int) -> Work:
    """A function of ordinary numbers."""
    return function(name, uniform(shape, 8 if name == "softmax" else 5, dtype, seed=1), threads)


def special_numbers(kind: str, shape: tuple[int, ...], dtype: Dtype) -> Array:
    """Numbers that are slow in some libraries."""
    signs = uniform(shape, 1, dtype, seed=1)
    limits = np.finfo(dtype)
    scales: dict[str, Any] = {
        "subnormal": limits.smallest_normal,
        "spread": -0.45 * np.log(limits.smallest_normal),  # results of softmax that are still normal
        "huge": limits.max,
        "nan": np.nan,
        "infinite": np.inf,
    }
    return np.asarray(signs * dtype(scales[kind]), dtype)


def special(name: str, kind: str, shape: tuple[int, ...], dtype: Dtype, threads: int) -> Work:
    """A function of special numbers, compared with ordinary ones."""
    arrays = {OURS: special_numbers(kind, shape, dtype), "ordinary": uniform(shape, 5, dtype, seed=1)}
    return Work({key: function(name, x, threads, engines=()).contenders[OURS] for key, x in arrays.items()})


def strided(name: str, n: int, dtype: Dtype, threads: int) -> Work:
    """A function of every second element, compared with contiguous elements."""
    arrays = {OURS: uniform((2 * n,), 5, dtype, seed=1)[::2], "contiguous": uniform((n,), 5, dtype, seed=1)}
    return Work({key: function(name, x, threads, engines=()).contenders[OURS] for key, x in arrays.items()})


def elementwise_tables() -> list[Table]:
    """Functions beside the peers; special beside ordinary numbers, strided beside contiguous."""
    shapes = [*itertools.product(ELEMENTWISE, ((n,) for n in SIZES)), *(("softmax", shape) for shape in SOFTMAX_SHAPES)]

    def table(dtype: Dtype) -> Table:
        rows = [
            Case(
                f"{name} {'x'.join(map(str, shape))}",
                partial(random_function, name, shape, dtype),
                (Goal("ratio", at_least=1), *[Goal("percent", at_least=90)] * (name == "relu" and shape[0] == SIZES[-1])),
                heavy=prod(shape) > 2e5,
                labels={"function": name, "elements": shape[-1]},
            )
            for name, shape in shapes
        ]
        return Table(f"Element-wise functions and softmax, {dtype.__name__}", "ns an element", rows, mean_goal=2)

    specials = [
        Case(f"{name} of {kind}, {dtype.__name__}", partial(special, name, kind, shape, dtype), (Goal("versus", at_least=0.5),))
        for (name, shape), dtype, kind in itertools.product(
            [*((name, (65536,)) for name in ELEMENTWISE), ("softmax", (64, 1000))],
            DTYPES,
            ("subnormal", "spread", "huge", "nan", "infinite"),
        )
    ]
    strides = [
        Case(f"{name} {n}, {dtype.__name__}", partial(strided, name, n, dtype), (Goal("versus", at_least=0.5),))
        for name, n, dtype in itertools.product(ELEMENTWISE, (1024, 65536), DTYPES)
    ]
    others = [
        Table(
            f"Other activations of 65536 elements, {dtype.__name__}",
            "ns an element",
            [Case(name, partial(random_function, name, (65536,), dtype), (Goal("ratio", at_least=1),)) for name in OTHERS],
        )
        for dtype in DTYPES
    ]
    return [
        *map(table, DTYPES),
        *others,
        Table("Special numbers beside ordinary ones", "ns an element", specials, versus="ordinary"),
        Table("Every second element beside contiguous ones", "ns an element", strides, versus="contiguous"),
    ]


# Tiny calls


def tiny_ufunc(name: str, dtype: Dtype, with_out: bool, threads: int) -> Work:
    """A ufunc on 8 elements, compared with np.tanh."""
    x = uniform((8,), 5, dtype, seed=1)

    def call(ufunc: np.ufunc) -> Way:
        return partial(ufunc, x, out=blank(x.shape, dtype)) if with_out else partial(ufunc, x)

    check = forward([Layer(None, None, name)], x)
    return Work({OURS: Contender([call(getattr(nnk, name))], check=check), "np.tanh": Contender([call(np.tanh)])})


def tiny_network(with_out: bool, threads: int) -> Work:
    """The smallest network on one row, compared with an empty C function of the same arguments."""
    layers, x = TINY.layers(np.float32), uniform((1, TINY.sizes[0]), 1, np.float32, seed=1)
    (way,) = nnkernels_ways(layers, x)
    assert isinstance(way, partial)
    net, out = way.func, way.args[1]
    call, empty = (partial(net, x, out), partial(is_, x, out)) if with_out else (partial(net, x), partial(callable, x))
    return Work({OURS: Contender([call], check=forward(layers, x)), "empty call": Contender([empty])})


def tiny_softmax(threads: int) -> Work:
    """Softmax of one row of 10."""
    work = random_function("softmax", (10,), np.float32, threads)
    return Work({name: Contender(work.contenders[name].ways) for name in (OURS, "SciPy", "PyTorch") if name in work.contenders})


def tiny_dot(threads: int) -> Work:
    """Dot product of vectors of 10."""
    x, weights = uniform((10,), 1, np.float32, seed=1), uniform((10,), 1, np.float32, seed=2)
    check = Check(np.vecdot(x.astype(np.float64), weights.astype(np.float64)), 10 * float(np.finfo(np.float32).eps))
    functions = {OURS: nnk.dot, "NumPy": np.vecdot}
    return Work({name: Contender([partial(dot, x, weights)], check=check) for name, dot in functions.items()})


def tiny_tables() -> list[Table]:
    """Calls that are mostly overhead."""
    options = {"with out": True, "without out": False}
    ufuncs = [
        Case(f"{name} 8 {dtype.__name__}, {text}", partial(tiny_ufunc, name, dtype, out), (Goal("versus", at_least=1),))
        for name, dtype, (text, out) in itertools.product(ELEMENTWISE, DTYPES, options.items())
    ]
    networks = [
        Case(f"{TINY} x1, {text}", partial(tiny_network, out), (Goal("over", at_most=250),)) for text, out in options.items()
    ]
    rows = [
        Case(f"{name} 10", prepare, (Goal("ratio", at_least=1),))
        for name, prepare in {"softmax": tiny_softmax, "dot": tiny_dot}.items()
    ]
    return [
        Table("ufuncs of 8 elements beside np.tanh of 8", "ns a call", ufuncs, versus="np.tanh"),
        Table("The smallest network beside an empty call, float32", "ns a call", networks, versus="empty call"),
        Table("softmax and dot of 10 elements, float32", "ns a call", rows),
    ]


# Threads


def on_threads(work: Work, threads: int) -> Work:
    """Run nnkernels with this number of threads, and also with one."""
    ours = work.contenders[OURS]
    ours.setup = partial(nnk.set_num_threads, threads)
    one = Contender(ours.ways, ours.units, ours.check, partial(nnk.set_num_threads, 1))
    work.contenders["one thread"] = one
    work.limit = None
    return work


def network_on_threads(shape: Shape, batch: int, threads: int) -> Work:
    """A network; beside the peers if it is large enough for threads."""
    return on_threads(network(shape, batch, np.float32, threads, tuple(ENGINES) if batch >= 256 else ()), threads)


def function_on_threads(name: str, shape: tuple[int, ...], threads: int) -> Work:
    """A function; beside the peers if it is large enough for threads."""
    x = uniform(shape, 5, np.float32, seed=1)
    return on_threads(function(name, x, threads, tuple(ENGINES) if x.size > 1e6 else ()), threads)


def repeat(way: Way, times: int) -> None:
    """Call it repeatedly."""
    for _ in range(times):
        way()


def at_once(ways: Sequence[Way], times: int) -> None:
    """Call each way repeatedly, in its own Python thread."""
    threads = [Thread(target=repeat, args=(way, times)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def concurrently(prepare: Callable[[int], Work], times: int, threads: int) -> Work:
    """`threads` Python threads compared with one; each call of nnkernels uses one thread."""
    ways = [prepare(1).contenders[OURS].ways[0] for _ in range(threads)]
    alone = partial(nnk.set_num_threads, 1)
    return Work(
        {
            OURS: Contender([partial(at_once, ways, times)], threads * times, setup=alone),
            "one alone": Contender([partial(at_once, ways[:1], times)], times, setup=alone),
        }
    )


def idle_milliseconds(threads: int) -> float:
    """CPU time of the worker threads in the second after a call on all of them: median of five.

    This thread is excluded: waking it takes up to milliseconds if the virtual machine has lost its
    CPU. A worker may lose its CPU while it spins, hence the median.
    """
    nnk.set_num_threads(threads)
    (way,) = nnkernels_ways(DIGITS.layers(np.float32), uniform((4096, DIGITS.sizes[0]), 1, np.float32, seed=1))
    samples = []
    for _ in range(5):
        way()
        start = time.process_time() - time.thread_time()
        time.sleep(1)
        samples.append(time.process_time() - time.thread_time() - start)
    return median(samples) * 1e3


def threads_tables() -> list[Table]:
    """A call on several threads; concurrent Python threads; the idle pool."""
    networks = []
    for shape, batch in itertools.product(NETWORKS, BATCHES):
        goals = [Goal("versus", at_least=1.85 if batch >= 256 and min(shape.sizes[1:-1]) >= 128 else 0.97)]
        if batch >= 256:
            goals.append(Goal("ratio", at_least=1))
        networks.append(network_case(shape, batch, partial(network_on_threads, shape, batch), goals))
    shapes: list[tuple[str, tuple[int, ...]]] = [("sigmoid", (n,)) for n in (8, 1024, 8192, 32768, 65536, 262144, 4194304)]
    shapes += [("relu", (65536,)), ("relu", (4194304,)), ("softmax", (16, 1000)), ("softmax", (1024, 1000))]
    functions = []
    for name, function_shape in shapes:
        is_goal = (name, function_shape) == ("sigmoid", (4194304,))
        functions.append(
            Case(
                f"{name} {'x'.join(map(str, function_shape))}",
                partial(function_on_threads, name, function_shape),
                (Goal("versus", at_least=1.7 if is_goal else 0.97), *[Goal("ratio", at_least=1)] * is_goal),
                heavy=prod(function_shape) > 1e6,
            )
        )
    callers = [
        Case(f"{shape} x{batch}", partial(concurrently, partial(network, shape, batch, np.float32, engines=()), times), goals)
        for shape, batch, times in ((DIGITS, 16, 1000), (DIGITS, 256, 100), (LARGE[0], 16, 200))
        for goals in ((Goal("versus", at_least=1.85),),)
    ]
    idle = Case(
        "CPU milliseconds in the second after a call",
        lambda threads: Work(direct=partial(idle_milliseconds, threads)),
        (Goal("value", at_most=1),),
    )
    return [
        Table("The pool when idle", "ms", [idle]),  # first, since other libraries' threads would count too
        Table("Python threads that call at once, float32", "us a call", callers, versus="one alone"),
        Table("Networks on several threads, float32", "us a call", networks, versus="one thread"),
        Table("Functions on several threads, float32", "ns an element", functions, versus="one thread"),
    ]


# Growth and memory


def many_rows(shape: Shape, batch: int, threads: int) -> Work:
    """A large batch, compared with one of 256 rows."""
    contenders = {}
    for name, rows in ((OURS, batch), ("256 rows", 256)):
        contenders[name] = network(shape, rows, np.float32, threads, engines=()).contenders[OURS]
        contenders[name].units = rows
    return Work(contenders)


# Writing "5" to this file resets Linux's record of the process's peak memory.
CLEAR_REFS = Path("/proc/self/clear_refs")


def resident_bytes(kind: str = "VmRSS") -> int:
    """Memory of this process; "VmHWM" is the peak since the last reset."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


def growth_of(run: Way) -> int:
    """Peak growth of the process in a call, in a new thread without scratch memory."""
    CLEAR_REFS.write_text("5")
    before = resident_bytes()
    at_once([run], 1)
    return resident_bytes("VmHWM") - before


def packed_ratio(shape: Shape) -> float:
    """Memory of a Network's packed weights, divided by the size of the weights."""
    layers = descriptions(shape.layers(np.float32))
    before = resident_bytes()
    net = nnk.Network(layers)
    after = resident_bytes()
    assert len(net) == len(layers)
    return (after - before) / (4 * shape.weights())


def scratch_mebibytes(shape: Shape, batch: int) -> float:
    """Memory of the first call on a batch, without weights, input and output."""
    x = uniform((batch, shape.sizes[0]), 1, np.float32, seed=1)
    (way,) = nnkernels_ways(shape.layers(np.float32), x)
    return growth_of(way) / 2**20


def python_allocations(shape: Shape, batch: int) -> float:
    """Peak bytes from the allocators of Python and NumPy during a call with out=."""
    (way,) = nnkernels_ways(shape.layers(np.float32), uniform((batch, shape.sizes[0]), 1, np.float32, seed=1))
    assert isinstance(way, partial)
    x, out = way.args

    def peak(function: Callable[[Any, Any], Any]) -> int:
        function(x, out)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        function(x, out)
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        return peak(way.func) - peak(is_)
    finally:
        tracemalloc.stop()


def growth_tables() -> list[Table]:
    """Time by batch, and memory."""
    rows = [
        network_case(shape, batch, partial(many_rows, shape, batch), [Goal("versus", at_least=1 / 1.1)])
        for shape, batch in itertools.product((SMALL, DIGITS), (1024, 4096, 16384, 65536))
    ]
    wide = Shape((2048, 2048, 2048))

    def direct(name: str, at_most: float, value: Callable[..., float], *arguments: Any) -> Case:
        return Case(name, lambda threads: Work(direct=partial(value, *arguments)), (Goal("value", at_most=at_most),))

    memory = [
        direct(f"packed weights over weights, {wide}", 1.1, packed_ratio, wide),
        *(
            direct(f"MiB of scratch, {shape} x{batch}", 1, scratch_mebibytes, shape, batch)
            for shape, batch in itertools.product((SMALL, LARGE[1]), (256, 16384))
        ),
        *(
            direct(f"bytes from Python's allocators in a call, {shape} x{batch}", 0, python_allocations, shape, batch)
            for shape, batch in itertools.product((TINY, DIGITS), (1, 256))
        ),
    ]
    return [
        Table("Memory", "", memory if CLEAR_REFS.exists() else []),
        Table("Large batches beside 256 rows, float32", "ns a row", rows, versus="256 rows"),
    ]


GROUPS = [
    Group("networks", networks_tables),
    Group("dense", dense_tables),
    Group("elementwise", elementwise_tables),
    Group("tiny", tiny_tables),
    Group("threads", threads_tables, threads=2),
    Group("growth", growth_tables),
    Group("avx2", avx2_tables, target="avx2"),
]
