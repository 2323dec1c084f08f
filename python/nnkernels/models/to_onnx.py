"""Writing networks to ONNX files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nnkernels.activations import TABLE, number_of
from nnkernels.files import Path
from nnkernels.layers import Scale
from nnkernels.models.composed import FORMULAS, OPTION, Formula

if TYPE_CHECKING:
    from nnkernels.network import Network

# Upper limit of the bytes of weights: protobuf's 2 GB, minus room for names.
_MOST_BYTES = 2**31 - 2**20

# Activations that are composed of several operators in float64, because ONNX's operator has float32
# attributes or constants, or ONNX Runtime supports it only in float32. Activations without an
# operator are composed in every dtype.
_COMPOSED_IN_FLOAT64 = ("leaky_relu", "elu", "softplus", "gelu", "gelu_tanh")

# Fixed attributes of operators.
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
    "gelu": {"approximate": "none"},
    "gelu_tanh": {"approximate": "tanh"},
}


def to_onnx(network: Network, path: Path) -> None:
    """Write a network to an ONNX file, as ``Network.to_onnx`` describes."""
    try:
        from onnx import helper
    except ImportError:
        raise ImportError("to_onnx needs the package onnx: pip install 'nnkernels[onnx]'") from None

    layers = network.layers
    size = sum(array.nbytes for layer in layers for array in _arrays(layer))
    if size > _MOST_BYTES:
        raise ValueError(f"to_onnx expected weights of at most {_MOST_BYTES:,} bytes, the limit of an ONNX file; got {size:,}")
    graph = _Graph(network.dtype)
    value = "x"
    for number, layer in enumerate(layers):
        graph.layer = f"layers.{number}"
        if isinstance(layer, Scale):
            value = graph.scale(value, layer)
        else:
            value = graph.node("Gemm", value, *map(graph.array, ("weights", "bias"), _arrays(layer)), transB=1)
            value = graph.activation(value, layer.activation)
    if network.one_neuron:
        graph.node("Squeeze", value, graph.array("axes", np.array([1])))
    graph.nodes[-1].output[0] = "y"

    kind = helper.np_dtype_to_tensor_dtype(network.dtype)
    inputs = helper.make_tensor_value_info("x", kind, ["batch", network.inputs])
    outputs = helper.make_tensor_value_info("y", kind, ["batch"] if network.one_neuron else ["batch", network.outputs])
    opset, version = (20, 9) if any(node.op_type == "Gelu" for node in graph.nodes) else (17, 8)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", [inputs], [outputs], graph.arrays),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=version,
        producer_name="nnkernels",
    )
    for name, text in network.metadata.items():
        model.metadata_props.add(key=name, value=text)
    with open(path, "wb") as file:  # noqa: PTH123 - importing pathlib costs milliseconds
        file.write(model.SerializeToString(deterministic=True))


def _arrays(layer: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the two arrays of a layer, with one neuron as a layer of one output."""
    if isinstance(layer, Scale):
        return np.atleast_1d(layer.offset), np.atleast_1d(layer.scale)
    return np.atleast_2d(layer.weights), np.atleast_1d(layer.bias)


class _Graph:
    """Nodes and constants of a graph. Their names begin with ``layer``."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.layer = ""
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        name = f"{self.layer}.{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def array(self, name: str, array: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        self.arrays.append(numpy_helper.from_array(array, f"{self.layer}.{name}"))
        return f"{self.layer}.{name}"

    def scale(self, value: str, layer: Scale) -> str:
        """Add (x - offset) * scale in float64."""
        offset, scale = map(self.array, ("offset", "scale"), _arrays(layer))
        scaled = self.node("Mul", self.node("Sub", self._cast(value, np.dtype(np.float64)), offset), scale)
        return self._cast(scaled, self.dtype)

    def _cast(self, value: str, dtype: np.dtype[Any]) -> str:
        from onnx import helper

        return value if self.dtype == np.float64 else self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(dtype))

    def activation(self, value: str, activation: str | None) -> str:
        """Add an activation."""
        number, option = number_of(activation)
        kind = TABLE[number]
        if activation is None:
            return value
        operator = "Gelu" if kind.name == "gelu_tanh" else kind.onnx
        if not operator or (self.dtype == np.float64 and kind.name in _COMPOSED_IN_FLOAT64):
            return self._composed(dict(reversed(FORMULAS))[kind.name], value, option)
        attributes = {"alpha": option} if kind.option else _ATTRIBUTES.get(kind.name, {})
        output = self.node(operator, value, **attributes)
        if kind.option and float(str(np.float32(option))) != option:
            self.nodes[-1].doc_string = activation  # all digits; the attribute is float32
        return output

    def _composed(self, formula: Formula, value: str, option: float) -> str:
        """Add the operators of a formula."""
        if isinstance(formula, str):
            return value
        if isinstance(formula, float):
            number = option if formula == OPTION else formula
            return self.array(f"number.{len(self.arrays)}", np.array(number, self.dtype))
        operator, *inputs = formula
        return self.node(operator, *(self._composed(part, value, option) for part in inputs))
