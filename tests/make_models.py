"""Write the models in tests/models, which have forms of old exporters.

    python tests/make_models.py

Each model has inputs and expected outputs, which NumPy computes from the definitions of its
operators.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.float32]

FOLDER = Path(__file__).parent / "models"


class Form(NamedTuple):
    """A model in an old form, with inputs and expected outputs."""

    model: Any
    x: Array
    y: Array


def numbers(*shape: int) -> Array:
    """Return numbers between -1 and 1 with few decimal digits."""
    return (np.sin(np.arange(1, np.prod(shape) + 1) * 0.7).round(2)).reshape(shape).astype(np.float32)


WEIGHTS, BIAS, SECOND = numbers(4, 3), numbers(4), numbers(2, 4)
FACTOR, SHIFT, MEAN, VARIANCE = numbers(4), numbers(4)[::-1].copy(), numbers(4) / 2, np.abs(numbers(4)) + np.float32(0.5)
X = numbers(5, 3)


def form(opset: int, nodes: list[Any], constants: dict[str, Array], x: Array, y: Array, listed: bool = False) -> Form:
    """Return a model from "x" to "y". ``listed``: constants are also inputs, as in IR 3."""
    inputs = [helper.make_tensor_value_info("x", 1, ["N", *x.shape[1:]])]
    if listed:
        inputs += [helper.make_tensor_value_info(name, 1, array.shape) for name, array in constants.items()]
    graph = helper.make_graph(
        nodes,
        "old",
        inputs,
        [helper.make_tensor_value_info("y", 1, ["N", *y.shape[1:]])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return Form(helper.make_model(graph, opset_imports=opsets, ir_version=3, producer_name="tests"), x, y.astype(np.float32))


def dense(x: Any, weights: Any, bias: Any = 0.0) -> Any:
    return x.astype(np.float64) @ weights.T.astype(np.float64) + bias


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def normalised(z: Any, epsilon: float = 1e-5) -> Any:
    return (z - MEAN) / np.sqrt(VARIANCE + epsilon) * FACTOR + SHIFT


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


BATCH = {"factor": FACTOR, "shift": SHIFT, "mean": MEAN, "variance": VARIANCE}


def gemm_broadcast() -> Form:
    """Caffe2 and PyTorch 0.3: Gemm needs broadcast=1 for a bias of one axis."""
    nodes = [node("Gemm", "x w b", "h", broadcast=1, transB=1), node("Relu", "h", "y")]
    return form(6, nodes, {"w": WEIGHTS, "b": BIAS}, X, np.maximum(dense(X, WEIGHTS, BIAS), 0), listed=True)


def add_axis() -> Form:
    """Opset 6: Add and Mul have an attribute axis for a constant."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Add", "h b", "a", broadcast=1, axis=1),
        node("Mul", "a factor", "m", broadcast=1, axis=-1),
        node("Tanh", "m", "y"),
    ]
    y = np.tanh(dense(X, WEIGHTS, BIAS) * FACTOR)
    return form(6, nodes, {"w": WEIGHTS.T.copy(), "b": BIAS, "factor": FACTOR}, X, y)


def batch_normalization_spatial() -> Form:
    """Opset 7: BatchNormalization has spatial and momentum; opset 6: is_test."""
    nodes = [
        node("Gemm", "x w b", "h", transB=1),
        node("BatchNormalization", "h factor shift mean variance", "n", spatial=0, momentum=0.9),
        node("Dropout", "n", "d", ratio=0.5),
        node("Gemm", "d v", "s", transB=1),
        node("Softmax", "s", "y"),
    ]
    y = softmax(dense(normalised(dense(X, WEIGHTS, BIAS)), SECOND))
    return form(8, nodes, {"w": WEIGHTS, "b": BIAS, "v": SECOND, **BATCH}, X, y, listed=True)


def batch_normalization_unsqueezed() -> Form:
    """PyTorch 1.0: an axis is added for BatchNormalization, and removed."""
    nodes = [
        node("Gemm", "x w b", "h", transB=1),
        node("Unsqueeze", "h", "u", axes=[2]),
        node("BatchNormalization", "u factor shift mean variance", "n", epsilon=1e-3),
        node("Squeeze", "n", "q", axes=[2]),
        node("Sigmoid", "q", "y"),
    ]
    y = 1 / (1 + np.exp(-normalised(dense(X, WEIGHTS, BIAS), 1e-3)))
    return form(9, nodes, {"w": WEIGHTS, "b": BIAS, **BATCH}, X, y)


def batch_normalization_transposed() -> Form:
    """Sequences: channels are transposed to the second axis for BatchNormalization, and back."""
    x = numbers(2, 5, 3)
    nodes = [
        node("MatMul", "x w", "h"),
        node("Transpose", "h", "t", perm=[0, 2, 1]),
        node("BatchNormalization", "t factor shift mean variance", "n"),
        node("Transpose", "n", "u", perm=[0, 2, 1]),
        node("Relu", "u", "y"),
    ]
    return form(9, nodes, {"w": WEIGHTS.T.copy(), **BATCH}, x, np.maximum(normalised(dense(x, WEIGHTS)), 0))


def reshape_attribute() -> Form:
    """Opset 1: the shape is an attribute; Dropout and BatchNormalization have is_test."""
    x = numbers(5, 1, 3)
    nodes = [
        node("Reshape", "x", "f", shape=[0, -1]),
        node("Gemm", "f w b", "h", broadcast=1, transB=1),
        node("Dropout", "h", "d", is_test=1),
        node("LogSoftmax", "d", "y", axis=1),
    ]
    y = np.log(softmax(dense(x[:, 0], WEIGHTS, BIAS)))
    return form(1, nodes, {"w": WEIGHTS, "b": BIAS}, x, y)


def gelu_composed() -> Form:
    """PyTorch below opset 20: GELU by Erf."""
    nodes = [
        node("Gemm", "x w b", "h", transB=1),
        node("Div", "h root", "r"),
        node("Erf", "r", "e"),
        node("Add", "e one", "a"),
        node("Mul", "h a", "m"),
        node("Mul", "m half", "y"),
    ]
    constants = {"w": WEIGHTS, "b": BIAS, "root": np.float32(np.sqrt(2.0)), "one": np.float32(1), "half": np.float32(0.5)}
    z = dense(X, WEIGHTS, BIAS)
    from math import erf, sqrt

    y = z / 2 * (1 + np.vectorize(erf)(z / sqrt(2.0)))
    return form(13, nodes, {name: np.asarray(value) for name, value in constants.items()}, X, y)


FORMS: dict[str, Callable[[], Form]] = {
    function.__name__: function
    for function in (
        gemm_broadcast,
        add_axis,
        batch_normalization_spatial,
        batch_normalization_unsqueezed,
        batch_normalization_transposed,
        reshape_attribute,
        gelu_composed,
    )
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, function in FORMS.items():
        (FOLDER / f"{name}.onnx").write_bytes(function().model.SerializeToString(deterministic=True))
