"""What peers.py times: cases, and each library's ways to compute them."""

import functools
import importlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnkernels as nnk

Array = NDArray[Any]
Dtype = type[np.float32] | type[np.float64]

# One way to do the work of a case; returns the result, or what NumPy can make an array of.
Way = Callable[[], Any]

# Operator, inputs, output, attributes.
Node = tuple[str, list[str], str, dict[str, Any]]


@dataclass
class Work:
    """A case ready to run: what the result should be, how far it may be off, and each library's ways to compute it."""

    expected: Array
    tolerance: Array | float
    flops: int | None = None
    ways: dict[str, list[Way]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A row of the table; `prepare` makes the work of it, for a number of threads."""

    name: str
    prepare: Callable[[int], Work]


@dataclass(frozen=True)
class Layer:
    """A dense layer: weights (outputs, inputs), bias (outputs,), and "relu", "softmax" or None."""

    weights: Array
    bias: Array
    activation: str | None


def cases() -> Iterator[Case]:
    """All cases, in the order of the table."""
    dtypes: tuple[Dtype, ...] = (np.float32, np.float64)
    for function, n, dtype in itertools.product(("relu", "sigmoid", "tanh"), (16, 65536, 4194304), dtypes):
        yield Case(f"{function} {n} {dtype.__name__}", partial(elementwise, function, n, dtype))
    for n, dtype in itertools.product((10, 1000), dtypes):
        yield Case(f"softmax 1024x{n} {dtype.__name__}", partial(softmax, 1024, n, dtype))
    for n, dtype in itertools.product((16, 1024, 65536), dtypes):
        yield Case(f"dot {n} {dtype.__name__}", partial(dot, n, dtype))
    shapes = ((1, 1024, 1024), (16, 1024, 1024), (256, 128, 784), (256, 64, 64))
    for (batch, outputs, inputs), dtype, packed in itertools.product(shapes, dtypes, (False, True)):
        name = f"dense{' packed' * packed} {batch}x{outputs}x{inputs} {dtype.__name__}"
        yield Case(name, partial(layers_work, [inputs, outputs], None, packed, batch, dtype))
    networks = ([4, 5, 3], [64, 64, 10], [784, 128, 10], [784, 512, 256, 10])
    for sizes, batch, dtype in itertools.product(networks, (1, 16, 256, 4096), dtypes):
        name = f"network {'-'.join(map(str, sizes))} x{batch} {dtype.__name__}"
        yield Case(name, partial(layers_work, sizes, "softmax", True, batch, dtype))


@functools.cache
def module(name: str) -> Any:
    """Import a module; None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def uniform(shape: tuple[int, ...], limit: float, dtype: Dtype, seed: int) -> Array:
    """Random numbers between -limit and limit, the same for the same seed."""
    return np.random.default_rng(seed).uniform(-limit, limit, shape).astype(dtype)


def blank(shape: tuple[int, ...], dtype: Dtype) -> Array:
    """An array for results, one for each way, of NaN: none passes with the results of another."""
    return np.full(shape, np.nan, dtype)


def elementwise(function: str, n: int, dtype: Dtype, threads: int) -> Work:
    """relu, sigmoid or tanh of n elements."""
    x = uniform((n,), 5, dtype, seed=1)
    exact: dict[str, Callable[[Array], Array]] = {
        "relu": lambda wide: np.maximum(wide, 0),
        "sigmoid": lambda wide: 1 / (1 + np.exp(-wide)),
        "tanh": np.tanh,
    }
    work = Work(exact[function](x.astype(np.float64)), 0.0 if function == "relu" else 4 * float(np.finfo(dtype).eps))
    work.ways["nnkernels"] = [partial(getattr(nnk, function), x, out=blank((n,), dtype))]
    numpy_ways: dict[str, list[Callable[..., Any]]] = {
        "relu": [partial(np.maximum, dtype(0))],
        "sigmoid": [numpy_sigmoid, numpy_sigmoid_from_tanh],
        "tanh": [np.tanh],
    }
    work.ways["NumPy"] = [partial(way, x, out=blank((n,), dtype)) for way in numpy_ways[function]]
    if (special := module("scipy.special")) and function == "sigmoid":
        work.ways["SciPy"] = [partial(special.expit, x, out=blank((n,), dtype))]
    if torch := module("torch"):
        tensor, out = torch.from_numpy(x), torch.from_numpy(blank((n,), dtype))
        if function == "relu":  # torch.relu knows no out=
            work.ways["PyTorch"] = [partial(torch.clamp_min, tensor, 0, out=out), partial(torch.relu, tensor)]
        else:
            work.ways["PyTorch"] = [partial(getattr(torch, function), tensor, out=out)]
    work.ways["ONNX Runtime"] = onnx_ways([(function.capitalize(), ["x"], "out", {})], {"x": x}, {}, x.shape, threads)
    return work


def numpy_sigmoid(x: Array, out: Array) -> Array:
    """1 / (1 + exp(-x))."""
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    return np.reciprocal(out, out=out)


def numpy_sigmoid_from_tanh(x: Array, out: Array) -> Array:
    """1/2 + tanh(x/2) / 2."""
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    np.multiply(out, 0.5, out=out)
    return np.add(out, 0.5, out=out)


def softmax(rows: int, n: int, dtype: Dtype, threads: int) -> Work:
    """Softmax of rows of n elements."""
    z = uniform((rows, n), 8, dtype, seed=1)
    difference = z.astype(np.float64) - z.max(axis=-1, keepdims=True)
    exact = np.exp(difference)
    exact /= exact.sum(axis=-1, keepdims=True)
    # A rounding of the difference is as much of relative error in its exponential; 8 for the rest.
    work = Work(exact, (np.abs(difference) + 8) * np.finfo(dtype).eps * exact)
    work.ways["nnkernels"] = [partial(nnk.softmax, z, out=blank(z.shape, dtype))]
    work.ways["NumPy"] = [partial(numpy_softmax, z, blank(z.shape, dtype), np.empty((rows, 1), dtype))]
    if special := module("scipy.special"):
        work.ways["SciPy"] = [partial(special.softmax, z, axis=-1)]
    if torch := module("torch"):
        out = torch.from_numpy(blank(z.shape, dtype))
        work.ways["PyTorch"] = [partial(torch.softmax, torch.from_numpy(z), -1, out=out)]
    work.ways["ONNX Runtime"] = onnx_ways([("Softmax", ["z"], "out", {"axis": -1})], {"z": z}, {}, z.shape, threads)
    return work


def numpy_softmax(z: Array, out: Array, row: Array) -> Array:
    """Softmax of each row of z; `row` has room for a number a row."""
    np.max(z, axis=-1, keepdims=True, out=row)
    np.subtract(z, row, out=out)
    np.exp(out, out=out)
    np.sum(out, axis=-1, keepdims=True, out=row)
    return np.divide(out, row, out=out)


def dot(n: int, dtype: Dtype, threads: int) -> Work:
    """Dot product of two vectors."""
    x, weights = uniform((n,), 1, dtype, seed=1), uniform((n,), 1, dtype, seed=2)
    expected, tolerance = forward([Layer(weights[np.newaxis], np.zeros(1, dtype), None)], x)
    work = Work(expected[0], tolerance[0], flops=2 * n)
    work.ways["nnkernels"] = [partial(nnk.dot, x, weights)]
    work.ways["NumPy"] = [partial(np.dot, x, weights)]
    if blas := module("scipy.linalg.blas"):
        work.ways["SciPy"] = [partial(blas.sdot if dtype is np.float32 else blas.ddot, x, weights)]
    if torch := module("torch"):
        work.ways["PyTorch"] = [partial(torch.dot, torch.from_numpy(x), torch.from_numpy(weights))]
    inputs = {"x": x, "weights": weights}
    work.ways["ONNX Runtime"] = onnx_ways([("MatMul", list(inputs), "out", {})], inputs, {}, (), threads)
    return work


def layers_work(sizes: list[int], last: str | None, packed: bool, batch: int, dtype: Dtype, threads: int) -> Work:
    """A batch through layers between so many neurons: relu between them, `last` behind them.

    nnkernels runs a Network, whose weights are packed beforehand, or else, for one layer, dense.
    """
    layers = [
        # The limit keeps the signal's size from layer to layer.
        Layer(
            uniform((outputs, inputs), (6 / inputs) ** 0.5, dtype, seed=inputs), uniform((outputs,), 0.1, dtype, seed=0), "relu"
        )
        for inputs, outputs in itertools.pairwise(sizes)
    ]
    layers[-1] = Layer(layers[-1].weights, layers[-1].bias, last)
    x = uniform((batch, sizes[0]), 1, dtype, seed=1)
    out = blank((batch, sizes[-1]), dtype)
    expected, tolerance = forward(layers, x)
    work = Work(expected, tolerance, flops=2 * batch * sum(layer.weights.size for layer in layers))
    if packed:
        network = nnk.Network([nnk.Dense(layer.weights, layer.bias, layer.activation) for layer in layers])
        work.ways["nnkernels"] = [partial(network, x, out)]
    else:
        (layer,) = layers
        work.ways["nnkernels"] = [partial(nnk.dense, x, layer.weights, layer.bias, activation=layer.activation, out=out)]
    work.ways["NumPy"] = numpy_layers(layers, x)
    work.ways["PyTorch"] = torch_layers(layers, x)
    work.ways["ONNX Runtime"] = onnx_layers(layers, x, threads)
    work.ways["scikit-learn"] = sklearn_layers(layers, x)
    return work


def forward(layers: list[Layer], x: Array) -> tuple[Array, Array]:
    """The result of layers in float64, and how far one in x's dtype may be off: eight standard deviations.

    A sum of n products is taken to be off by sqrt(n) roundings of its root mean square size, independently of others.
    """
    eps = np.finfo(x.dtype).eps
    values = x.astype(np.float64)
    variance = np.zeros_like(values)
    for layer in layers:
        weights, bias = layer.weights.astype(np.float64), layer.bias.astype(np.float64)
        squares = values**2 @ (weights**2).T + bias**2
        variance = variance @ (weights**2).T + weights.shape[-1] * eps**2 * squares
        values = values @ weights.T + bias
        if layer.activation == "relu":
            values = np.maximum(values, 0)
        elif layer.activation == "softmax":
            values = np.exp(values - values.max(axis=-1, keepdims=True))
            values /= values.sum(axis=-1, keepdims=True)
            # Errors of the logits are at most twice as large as the relative ones of the probabilities.
            variance = values**2 * (4 * variance.max(axis=-1, keepdims=True) + eps**2)
    return values, 8 * np.sqrt(variance)


def numpy_layers(layers: list[Layer], x: Array) -> list[Way]:
    """NumPy with out= throughout: the weights as they are, and transposed beforehand."""

    def run(matrices: list[Array], buffers: list[Array], row: Array) -> Array:
        values = x
        for layer, matrix, out in zip(layers, matrices, buffers, strict=True):
            np.matmul(values, matrix, out=out)
            np.add(out, layer.bias, out=out)
            if layer.activation == "relu":
                np.maximum(out, zero, out=out)
            elif layer.activation == "softmax":
                numpy_softmax(out, out, row)
            values = out
        return values

    zero = x.dtype.type(0)
    views = [layer.weights.T for layer in layers]
    return [
        partial(
            run, matrices, [blank((len(x), len(layer.bias)), x.dtype.type) for layer in layers], np.empty((len(x), 1), x.dtype)
        )
        for matrices in (views, [np.ascontiguousarray(view) for view in views])
    ]


def torch_layers(layers: list[Layer], x: Array) -> list[Way]:
    """PyTorch: modules in a Sequential, and functions with out=."""
    torch = module("torch")
    if not torch:
        return []
    tensor = torch.from_numpy(x)
    weights = [torch.from_numpy(layer.weights) for layer in layers]
    biases = [torch.from_numpy(layer.bias) for layer in layers]
    buffers = [torch.from_numpy(blank((len(x), len(layer.bias)), x.dtype.type)) for layer in layers]
    sequential = torch.nn.Sequential()
    for layer, matrix, bias in zip(layers, weights, biases, strict=True):
        sequential.append(torch.nn.utils.skip_init(torch.nn.Linear, *reversed(matrix.shape), dtype=matrix.dtype))
        sequential[-1].weight.copy_(matrix)
        sequential[-1].bias.copy_(bias)
        if layer.activation is not None:
            sequential.append(torch.nn.ReLU() if layer.activation == "relu" else torch.nn.Softmax(-1))

    def run_functions() -> Any:
        values = tensor
        for layer, matrix, bias, out in zip(layers, weights, biases, buffers, strict=True):
            torch.addmm(bias, values, matrix.T, out=out)
            if layer.activation == "relu":
                out.clamp_min_(0)
            elif layer.activation == "softmax":
                torch.softmax(out, -1, out=out)
            values = out
        return values

    return [partial(sequential, tensor), run_functions]


def sklearn_layers(layers: list[Layer], x: Array) -> list[Way]:
    """scikit-learn's MLPClassifier with these weights; it has no layer on its own."""
    networks = module("sklearn.neural_network")
    if not networks or layers[-1].activation != "softmax":
        return []
    classes = np.arange(len(layers[-1].bias))
    model = networks.MLPClassifier([len(layer.bias) for layer in layers[:-1]])
    model.partial_fit(np.zeros((len(classes), x.shape[-1]), x.dtype), classes, classes=classes)
    model.coefs_ = [layer.weights.T for layer in layers]
    model.intercepts_ = [layer.bias for layer in layers]
    return [partial(model.predict_proba, x)]


def onnx_layers(layers: list[Layer], x: Array, threads: int) -> list[Way]:
    """ONNX Runtime on a Gemm a layer."""
    nodes: list[Node] = []
    weights: dict[str, Array] = {}
    values = "x"
    for index, layer in enumerate(layers):
        weights |= {f"weights{index}": layer.weights, f"bias{index}": layer.bias}
        nodes.append(("Gemm", [values, f"weights{index}", f"bias{index}"], values := f"sums{index}", {"transB": 1}))
        if layer.activation is not None:
            nodes.append((layer.activation.capitalize(), [values], values := f"values{index}", {}))
    operator, sources, _, attributes = nodes[-1]
    nodes[-1] = (operator, sources, "out", attributes)
    return onnx_ways(nodes, {"x": x}, weights, (len(x), len(layers[-1].bias)), threads)


def onnx_ways(
    nodes: list[Node], inputs: dict[str, Array], weights: dict[str, Array], shape: tuple[int, ...], threads: int
) -> list[Way]:
    """ONNX Runtime on a graph whose result is "out": with input and output bound to memory, and without."""
    runtime, onnx = module("onnxruntime"), module("onnx")
    if not (runtime and onnx):
        return []
    (dtype,) = {array.dtype for array in inputs.values()}
    tensor = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.helper.np_dtype_to_tensor_dtype(dtype))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, sources, [result], **attributes) for operator, sources, result, attributes in nodes],
        "case",
        [tensor(name, shape=array.shape) for name, array in inputs.items()],
        [tensor("out", shape=shape)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    # Versions that each ONNX Runtime of the last years can read.
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    out = blank(shape, dtype.type)
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("out", "cpu", 0, dtype.type, shape, out.ctypes.data)

    def run_bound() -> Array:
        session.run_with_iobinding(binding)
        return out

    return [run_bound, lambda: session.run(None, inputs)[0]]
