"""Each library's ways to run layers, at its best settings: the contenders of peers.py."""

import functools
import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import nnkernels as nnk
from nnkernels.activations import TABLE

Array = NDArray[Any]

# Does the work of a case; returns the result, as something NumPy can convert to an array.
Way = Callable[[], Any]


@dataclass(frozen=True)
class Layer:
    """A dense layer, weights (outputs, inputs) and bias (outputs,); or only an activation."""

    weights: Array | None
    bias: Array | None
    activation: str | None

    def outputs(self, inputs: int) -> int:
        """The number of outputs, given the number of inputs."""
        return inputs if self.weights is None else len(self.weights)


# Our functions by the names of their activations.
FUNCTIONS: dict[str, Callable[..., Any]] = {kind.name: kind.function for kind in TABLE if kind.function}

# Makes a library's ways to compute a batch (x: rows, or a single row) through layers, with a number
# of threads. Empty if the library cannot do it or is not installed.
Engine = Callable[[Sequence[Layer], Array, int], list[Way]]


@functools.cache
def module(name: str) -> Any:
    """Import a module; None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def blank(shape: tuple[int, ...], dtype: Any) -> Array:
    """A result array for one way, filled with NaN so that unwritten elements are detected."""
    return np.full(shape, np.nan, dtype)


def buffers(layers: Sequence[Layer], x: Array) -> Iterator[tuple[Layer, Array]]:
    """Each layer with an array for its result."""
    *rows, width = x.shape
    for layer in layers:
        width = layer.outputs(width)
        yield layer, blank((*rows, width), x.dtype)


def chain(steps: list[Way], result: Any) -> Way:
    """One way made of steps, each writing to its own memory; the last one writes to `result`."""
    if len(steps) == 1:
        return steps[0]

    def run() -> Any:
        for step in steps:
            step()
        return result

    return run


def descriptions(layers: Sequence[Layer]) -> list[nnk.Dense]:
    """The layers with weights, as descriptions for a Network."""
    return [nnk.Dense(layer.weights, layer.bias, layer.activation) for layer in layers if layer.weights is not None]


def nnkernels_ways(layers: Sequence[Layer], x: Array, packed: bool = True) -> list[Way]:
    """A Network with packed weights; or, for a single layer, `dense` or a function."""
    *_, (last, out) = buffers(layers, x)
    if last.weights is None:
        return [partial(FUNCTIONS[str(last.activation)], x, out=out)]
    if packed:
        return [partial(nnk.Network(descriptions(layers)), x, out)]
    return [partial(nnk.dense, x, last.weights, last.bias, activation=last.activation, out=out)]


def numpy_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """NumPy with out= throughout; weights as given or transposed; two formulas for sigmoid."""
    zero, row = x.dtype.type(0), np.empty((*x.shape[:-1], 1), x.dtype)
    activations: dict[str | None, list[Callable[..., Any]]] = {
        None: [],
        "relu": [partial(np.maximum, zero)],
        "exp": [np.exp],
        "leaky_relu": [numpy_leaky_relu],
        "elu": [numpy_elu],
        "silu": [numpy_silu],
        "gelu_tanh": [numpy_gelu_tanh],
        "softplus": [partial(np.logaddexp, zero)],
        "tanh": [np.tanh],
        "sigmoid": [numpy_sigmoid, numpy_sigmoid_from_tanh],
        "softmax": [partial(numpy_softmax, row=row)],
    }
    ways = []
    for transposed, choice in itertools.product((False, True), (0, -1)):
        steps: list[Way] = []
        values = x
        for layer, out in buffers(layers, x):
            if layer.weights is not None:
                matrix = np.ascontiguousarray(layer.weights.T) if transposed else layer.weights.T
                steps += [partial(np.matmul, values, matrix, out), partial(np.add, out, layer.bias, out)]
                values = out
            if chosen := activations[layer.activation]:
                steps.append(partial(chosen[choice], values, out=out))
            values = out
        ways.append(chain(steps, values))
    # In this order: as given, transposed. The second formula differs only with sigmoid.
    has_weights = any(layer.weights is not None for layer in layers)
    has_choice = any(layer.activation == "sigmoid" for layer in layers)
    return ways[: 4 if has_weights else 2 : 1 if has_choice else 2]


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


def numpy_leaky_relu(x: Array, out: Array) -> Array:
    """LeakyReLU: max(x, 0.01 x)."""
    np.multiply(x, 0.01, out=out)
    return np.maximum(x, out, out=out)


def numpy_elu(x: Array, out: Array) -> Array:
    """ELU: max(x, exp(min(x, 0)) - 1)."""
    np.minimum(x, 0, out=out)
    np.expm1(out, out=out)
    return np.maximum(x, out, out=out)


def numpy_silu(x: Array, out: Array) -> Array:
    """SiLU: x / (1 + exp(-x))."""
    numpy_sigmoid(x, out)
    return np.multiply(x, out, out=out)


def numpy_gelu_tanh(x: Array, out: Array) -> Array:
    """GELU by tanh: x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3)))."""
    np.multiply(x, x, out=out)
    np.multiply(out, 0.044715, out=out)
    np.add(out, 1, out=out)
    np.multiply(out, x, out=out)
    np.multiply(out, (8 / np.pi) ** 0.5, out=out)
    numpy_sigmoid(out, out)
    return np.multiply(x, out, out=out)


def numpy_softmax(z: Array, out: Array, row: Array) -> Array:
    """Softmax of each row of z; `row` has room for one number per row."""
    np.max(z, axis=-1, keepdims=True, out=row)
    np.subtract(z, row, out=out)
    np.exp(out, out=out)
    np.sum(out, axis=-1, keepdims=True, out=row)
    return np.divide(out, row, out=out)


def scipy_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """SciPy's expit and softmax, and gelu by its ndtr. SciPy has no layers."""
    special = module("scipy.special")
    match layers:
        case [Layer(None, None, "sigmoid")] if special:
            return [partial(special.expit, x, out=blank(x.shape, x.dtype))]
        case [Layer(None, None, "softmax")] if special:
            return [partial(special.softmax, x, axis=-1)]
        case [Layer(None, None, "gelu")] if special:
            out = blank(x.shape, x.dtype)
            return [lambda: np.multiply(x, special.ndtr(x, out=out), out=out)]
    return []


def torch_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """PyTorch: linear with functions in place, or functions with out= throughout."""
    torch = module("torch")
    if not torch:
        return []
    torch.set_num_threads(threads)
    linear, own = torch.nn.functional.linear, torch._C._nn  # module of the functions that take out=
    # Functions that write to an array, and functions that overwrite their argument, if any.
    into = {
        "exp": lambda values, out: torch.exp(values, out=out),
        "leaky_relu": lambda values, out: own.leaky_relu(values, 0.01, out=out),
        "elu": lambda values, out: own.elu(values, out=out),
        "silu": lambda values, out: own.silu(values, out=out),
        "gelu": lambda values, out: own.gelu(values, out=out),
        "gelu_tanh": lambda values, out: own.gelu(values, approximate="tanh", out=out),
        "softplus": lambda values, out: own.softplus(values, out=out),
        "relu": lambda values, out: torch.clamp_min(values, 0, out=out),
        "sigmoid": lambda values, out: torch.sigmoid(values, out=out),
        "tanh": lambda values, out: torch.tanh(values, out=out),
        "softmax": lambda values, out: torch.softmax(values, -1, out=out),
    }
    overwriting = {
        "relu": torch.relu_,
        "sigmoid": torch.sigmoid_,
        "tanh": torch.tanh_,
        "softmax": partial(torch.softmax, dim=-1),
    }
    tensor = values = torch.from_numpy(x)
    steps: list[Way] = []
    weighted = []
    for layer, buffer in buffers(layers, x):
        out = torch.from_numpy(buffer)
        if layer.weights is not None:
            weights, bias = torch.from_numpy(layer.weights), torch.from_numpy(layer.bias)
            weighted.append((weights, bias, overwriting.get(str(layer.activation))))
            steps.append(partial(torch.addmm, bias, values, weights.T, out=out))
            values = out
        if layer.activation is not None:
            steps.append(partial(into[layer.activation], values, out))
        values = out
    if not weighted:
        plain = {"relu": [partial(torch.relu, tensor)]}  # torch.relu has no out=
        return [chain(steps, values), *plain.get(str(layers[0].activation), [])]

    def run_linear() -> Any:
        values = tensor
        for weights, bias, activation in weighted:
            values = linear(values, weights, bias)
            if activation is not None:
                values = activation(values)
        return values

    return [run_linear, chain(steps, values)]


def onnx_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """ONNX Runtime with one Gemm per layer; input and output bound to memory, or not."""
    runtime, onnx = module("onnxruntime"), module("onnx")
    if not (runtime and onnx):
        return []
    nodes = []
    constants: dict[str, Any] = {}
    values = "x"
    for index, layer in enumerate(layers):
        if layer.weights is not None:
            constants |= {f"weights{index}": layer.weights, f"bias{index}": layer.bias}
            inputs = [values, f"weights{index}", f"bias{index}"]
            nodes.append(onnx.helper.make_node("Gemm", inputs, [values := f"sums{index}"], transB=1))
        if layer.activation is not None:
            attributes_of: dict[str, dict[str, Any]] = {"softmax": {"axis": -1}, "gelu_tanh": {"approximate": "tanh"}}
            attributes = attributes_of.get(layer.activation, {})
            operator = {"leaky_relu": "LeakyRelu", "gelu_tanh": "Gelu"}.get(layer.activation, layer.activation.capitalize())
            result = f"values{index}"
            if layer.activation == "silu":  # ONNX Runtime fuses these into one operator
                nodes.append(onnx.helper.make_node("Sigmoid", [values], [f"gates{index}"]))
                nodes.append(onnx.helper.make_node("Mul", [values, f"gates{index}"], [result]))
            else:
                nodes.append(onnx.helper.make_node(operator, [values], [result], **attributes))
            values = result
    nodes[-1].output[0] = "out"
    *_, (_, out) = buffers(layers, x)
    tensor = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.helper.np_dtype_to_tensor_dtype(x.dtype))
    graph = onnx.helper.make_graph(
        nodes,
        "case",
        [tensor("x", shape=x.shape)],
        [tensor("out", shape=out.shape)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # Versions that each ONNX Runtime of the last years can read; Gelu needs a newer one.
    opset, version = (20, 9) if any(node.op_type == "Gelu" for node in nodes) else (17, 8)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=version)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: in a pinned process, the threads' own pinning fails with a warning
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("out", "cpu", 0, x.dtype.type, out.shape, out.ctypes.data)

    def run_bound() -> Array:
        session.run_with_iobinding(binding)
        return out

    return [run_bound, lambda: session.run(None, {"x": x})[0]]


def openvino_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """OpenVINO, tuned for latency, on shared memory. It computes float64 in float32."""
    openvino = module("openvino")
    if not openvino or x.dtype != np.float32:
        return []
    operators = module("openvino.opset13")
    parameter = node = operators.parameter(x.shape, x.dtype)
    for layer in layers:
        if layer.weights is not None:
            node = operators.matmul(node, operators.constant(layer.weights), False, True)
            node = operators.add(node, operators.constant(layer.bias))
        if layer.activation == "softmax":
            node = operators.softmax(node, -1)
        elif layer.activation is not None:
            node = getattr(operators, layer.activation)(node)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.compile_model(openvino.Model([node], [parameter]), "CPU", settings).create_infer_request()
    *_, (_, out) = buffers(layers, x)
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(out, shared_memory=True))

    def run_asynchronously() -> Array:
        request.start_async()
        request.wait()
        return out

    def run() -> Array:
        request.infer(share_inputs=True, share_outputs=True)
        return out

    return [run, run_asynchronously]


@functools.cache
def configured_jax() -> Any:
    """JAX on the CPU with float64; None if not installed. peers.py sets its threads."""
    jax = module("jax")
    if jax:
        for setting, value in {"enable_x64": True, "platforms": "cpu", "cpu_enable_async_dispatch": False}.items():
            jax.config.update(f"jax_{setting}", value)
    return jax


def jax_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """JAX, compiled: into a new array, or into one donated to the next call."""
    jax = configured_jax()
    if not jax:
        return []
    activations = {
        "relu": lambda values: jax.numpy.maximum(values, 0),
        "sigmoid": jax.nn.sigmoid,
        "exp": jax.numpy.exp,
        "leaky_relu": jax.nn.leaky_relu,
        "elu": jax.nn.elu,
        "silu": jax.nn.silu,
        "gelu": partial(jax.nn.gelu, approximate=False),
        "gelu_tanh": jax.nn.gelu,
        "softplus": jax.nn.softplus,
        "tanh": jax.numpy.tanh,
        "softmax": jax.nn.softmax,
    }
    parameters = [(layer.weights if layer.weights is None else layer.weights.T.copy(), layer.bias) for layer in layers]

    def forward(values: Any, parameters: Any) -> Any:
        for layer, (weights, bias) in zip(layers, parameters, strict=True):
            if weights is not None:
                values = values @ weights + bias
            if layer.activation is not None:
                values = activations[layer.activation](values)
        return values

    *_, (_, out) = buffers(layers, x)
    x, parameters, donated = jax.device_put((x, parameters, out))
    compiled = jax.jit(forward)
    compiled_into = jax.jit(
        lambda values, parameters, out: forward(values, parameters), donate_argnames="out", keep_unused=True
    )

    def run_donating() -> Any:
        nonlocal donated
        donated = compiled_into(x, parameters, out=donated).block_until_ready()
        return donated

    return [lambda: compiled(x, parameters).block_until_ready(), run_donating]


def numexpr_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """numexpr, compiled, with out=. It has only element-wise functions."""
    numexpr = module("numexpr")
    expressions = {"relu": "where(x > 0, x, 0)", "sigmoid": "1 / (1 + exp(-x))", "tanh": "tanh(x)"}
    match layers:
        case [Layer(None, None, str(activation))] if numexpr and activation in expressions:
            numexpr.set_num_threads(threads)
            # numexpr's type names: its float has 32 bits.
            kind = float if x.dtype == np.float32 else np.double
            compiled = numexpr.NumExpr(expressions[activation], [("x", kind)])
            return [partial(compiled, x, out=blank(x.shape, x.dtype), ex_uses_vml=False)]
    return []


def sklearn_ways(layers: Sequence[Layer], x: Array, threads: int) -> list[Way]:
    """scikit-learn's MLPClassifier with these weights. It has no single layers."""
    networks = module("sklearn.neural_network")
    *hidden, last = layers
    activations = {layer.activation for layer in hidden}
    if not networks or last.weights is None or last.activation != "softmax" or len(activations) != 1:
        return []
    classes = np.arange(len(last.weights))
    model = networks.MLPClassifier([layer.outputs(0) for layer in hidden], activation=activations.pop())
    model.partial_fit(np.zeros((len(classes), x.shape[-1]), x.dtype), classes, classes=classes)
    model.coefs_ = [layer.weights.T for layer in layers if layer.weights is not None]
    model.intercepts_ = [layer.bias for layer in layers]
    return [partial(model.predict_proba, x)]


# The peers, in the order of the tables' columns.
ENGINES: dict[str, Engine] = {
    "NumPy": numpy_ways,
    "SciPy": scipy_ways,
    "PyTorch": torch_ways,
    "ONNX Runtime": onnx_ways,
    "OpenVINO": openvino_ways,
    "JAX": jax_ways,
    "numexpr": numexpr_ways,
    "scikit-learn": sklearn_ways,
}
