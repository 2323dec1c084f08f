"""from_onnx: ONNX's reference implementation, refusals, labels, external data, hostile files."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nnkernels as nnk
from limited_memory import limited_memory
from make_models import FORMS
from onnx_models import evaluated, onnx_model, write

RNG = np.random.default_rng(20261128)
X = RNG.normal(size=(5, 3)).astype(np.float32)
MODELS = Path(__file__).parent / "models"

# The constants of the models below by name, for 3 inputs and 2 outputs.
CONSTANTS: dict[str, Any] = {
    **{name: RNG.normal(size=shape).astype(np.float32) for name, shape in {
        "w": (2, 3), "wt": (3, 2), "b": (2,), "row": (1, 2), "v": (2, 2), "one": (3, 1), "vector": (3,), "m3": (3,), "k3": (3,),
        "scale2": (2,), "shift2": (2,), "mean2": (2,), "scale3": (3,), "shift3": (3,), "mean3": (3,), "w6": (2, 6),
            "wide": (1, 1, 2),
    }.items()},
    "var2": np.array([0.5, 2.0], np.float32), "var3": np.array([0.5, 2.0, 1e-3], np.float32),
    "half": 0.5, "two": 2.0, "one_": 1.0, "root": 1.4142135, "inverse": 0.70710677, "cube": 0.044715, "beta": 0.7978846,
    "three_": 3.0, "twenty": 20.0, "zero": 0.0, "number": [[1.5]], "slope": [0.25], "slopes": [0.25, 0.25],
        "no": np.array(False),
    "flat": np.array([-1, 2]), "rows": np.array([0, -1]), "last": np.array([2]), "unit": np.array([-1]),
    "front": np.array([0]), "nought": np.array(0), "column": np.array([-1, 1]), "list": np.array([-1]),
}  # fmt: skip
LINEAR = "h = Gemm<transB=1>(x, w, b) "


def read(path: Path, model: Any, **keywords: Any) -> nnk.Network:
    return nnk.from_onnx(write(path / "model.onnx", model), **keywords)


def activations(network: nnk.Network) -> list[str | None]:
    return ["scale" if isinstance(layer, nnk.Scale) else layer.activation for layer in network.layers]


def used(nodes: str, **more: Any) -> dict[str, Any]:
    """Return the constants that a model's nodes use."""
    constants = CONSTANTS | more
    return {name: constants[name] for name in constants if f"{name})" in nodes or f"{name}," in nodes}


# Nodes, and the activations of the resulting layers.
READ: dict[str, tuple[str, list[str | None]]] = {
    "gemm": ("y = Gemm(x, wt)", [None]),
    "gemm, transposed": ("y = Gemm<transB=1>(x, w, b)", [None]),
    "gemm, factors": ("y = Gemm<alpha=0.5, beta=2.0, transB=1>(x, w, row)", [None]),
    "gemm, factor without bias": ("y = Gemm<alpha=0.3, transB=1>(x, w)", [None]),
    "gemm, one number as bias": ("y = Gemm<transB=1>(x, w, number)", [None]),
    "gemm, scalar bias": ("y = Gemm<transB=1>(x, w, half)", [None]),
    "gemm, empty bias": ("y = Gemm<transB=1>(x, w, )", [None]),
    "matmul": ("y = MatMul(x, wt)", [None]),
    "matmul, add": ("h = MatMul(x, wt) y = Add(h, b)", [None]),
    "matmul, bias first": ("h = MatMul(x, wt) y = Add(row, h)", [None]),
    "transposed initializer": ("t = Transpose(w) h = MatMul(x, t) y = Add(b, h)", [None]),
    "constants": ("c = Constant<value_floats=[1.0, 2.0]>() d = Constant<value_float=0.5>() e = Constant<value = float[2] {3, "
        "4}>() "
                  "h = MatMul(x, wt) i = Add(h, c) j = Mul(i, d) y = Add(j, e)", [None]),
    "identity of constants": ("i = Identity(w) j = Identity(i) y = Gemm<transB=1>(x, j)", [None]),
    "reshaped constants": ("r = Reshape(w6, flat) t = Cast<to=1>(r) s = Unsqueeze(b, list) q = Squeeze(s) "
                           "f = Constant<value_ints=[3]>() i = Identity(x) h = Gemm(x, wt) j = Add(h, q) y = MatMul(j, v)",
                               [None, None]),
    "two layers": (LINEAR + "r = Relu(h) y = Gemm(r, v)", ["relu", None]),
    "identity": ("i = Identity(x) " + LINEAR + "y = Identity(h)", [None]),
    "cast": ("d = Cast<to=11>(x) e = Cast<to=1>(d) h = MatMul(e, wt) y = Cast<to=1>(h)", [None]),
    "dropout": ("h = MatMul(x, wt) y = Dropout(h)", [None]),
    "dropout, all inputs": ("h = MatMul(x, wt) y = Dropout(h, half, no)", [None]),
    "batch normalisation": (LINEAR + "n = BatchNormalization(h, scale2, shift2, mean2, var2) y = Relu(n)", ["relu"]),
    "batch normalisation after": (LINEAR + "r = Relu(h) n = BatchNormalization<epsilon=0.1>(r, scale2, shift2, mean2, var2) "
                                  "y = MatMul(n, v)", ["relu", None]),
    "batch normalisation first": ("n = BatchNormalization(x, scale3, shift3, mean3, var3) y = MatMul(n, wt)", ["scale",
        None]),
    "batch normalisation last": (LINEAR + "r = Tanh(h) y = BatchNormalization(r, scale2, shift2, mean2, var2)", ["tanh",
        "scale"]),
    "batch normalisation of another axis": (LINEAR + "u = Unsqueeze(h, last) n = BatchNormalization(u, scale2, shift2, "
        "mean2, var2) "
                                            "y = Squeeze(n, last)", [None]),
    "multiplied and added": (LINEAR + "m = Mul(h, scale2) a = Add(shift2, m) d = Div(a, two) y = Sub(d, half)", [None]),
    "subtracted from": (LINEAR + "y = Sub(b, h)", [None]),
    "scaled inputs": ("s = Sub(x, m3) m = Mul(s, k3) y = MatMul(m, wt)", ["scale", None]),
    "scaled inputs, factor first": ("s = Sub(x, m3) m = Mul(k3, s) y = MatMul(m, wt)", ["scale", None]),
    "divided inputs": ("s = Sub(x, m3) m = Div(s, k3) y = MatMul(m, wt)", ["scale", None]),
    "shifted inputs": ("s = Sub(x, m3) y = MatMul(s, wt)", [None]),
    "shifted, then scaled by several": ("s = Sub(x, m3) y = Mul(s, half)", ["scale"]),
    "scaled outputs": (LINEAR + "s = Sub(h, b) y = Mul(s, two)", [None, "scale"]),
    "scaled before an activation": (LINEAR + "s = Sub(h, b) m = Mul(s, two) y = Relu(m)", ["relu"]),
    "scaled and shifted": (LINEAR + "s = Sub(h, b) m = Mul(s, two) a = Add(m, row) y = Relu(a)", ["relu"]),
    "scaled alone": ("s = Sub(x, half) m = Mul(s, two) t = Sub(m, m3) y = Mul(t, k3)", ["scale", "scale"]),
    "multiplied alone": ("y = Mul(x, two)", ["scale"]),
    "scaler": ("s = ai.onnx.ml.Scaler<offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, 4.0]>(x) y = MatMul(s, wt)", ["scale", None]),
    "scaler of one number": ("s = ai.onnx.ml.Scaler<offset=[1.0], scale=[0.5]>(x) y = MatMul(s, wt)", ["scale", None]),
    "one neuron": ("y = MatMul(x, vector)", [None]),
    "one neuron, squeezed": ("h = MatMul(x, one) y = Squeeze(h, unit)", [None]),
    "one neuron, reshaped": ("h = MatMul(x, one) s = Sigmoid(h) y = Reshape(s, list)", ["sigmoid"]),
    "one neuron, scaled": ("h = MatMul(x, one) r = Relu(h) q = Squeeze(r) s = Sub(q, half) y = Mul(s, two)", ["relu", "scale"]),
    "one neuron, a column": ("h = MatMul(x, one) q = Squeeze(h) y = Reshape(q, column)", [None]),
    "one neuron, an axis again": ("h = MatMul(x, one) q = Squeeze(h) y = Unsqueeze(q, unit)", [None]),
    "one neuron, squeezed twice": ("h = MatMul(x, one) q = Squeeze(h) y = Squeeze(q)", [None]),
    "an axis in front": (LINEAR + "u = Unsqueeze(h, front) y = Relu(u)", ["relu"]),
    "reshape of outputs": (LINEAR + "y = Reshape(h, rows)", [None]),
    "reshape to rows": (LINEAR + "y = Reshape(h, flat)", [None]),
    "flatten of rows": (LINEAR + "r = Relu(h) f = Flatten(r) y = MatMul(f, v)", ["relu", None]),
    "more axes by a constant": (LINEAR + "y = Add(h, wide)", [None]),
    "leaky_relu": (LINEAR + "y = LeakyRelu<alpha=0.2>(h)", ["leaky_relu(negative_slope=0.2)"]),
    "leaky_relu, default": (LINEAR + "y = LeakyRelu(h)", ["leaky_relu"]),
    "prelu": (LINEAR + "y = PRelu(h, slope)", ["leaky_relu(negative_slope=0.25)"]),
    "prelu of equal slopes": (LINEAR + "y = PRelu(h, slopes)", ["leaky_relu(negative_slope=0.25)"]),
    "elu": (LINEAR + "y = Elu<alpha=0.1>(h)", ["elu(alpha=0.1)"]),
    "selu": (LINEAR + "r = Selu(h) y = MatMul(r, v)", ["elu(alpha=1.6732632423543772)", None]),
    "selu with attributes": (LINEAR + "y = Selu<alpha=2.0, gamma=3.0>(h)", ["elu(alpha=2.0)", "scale"]),
    "celu": (LINEAR + "r = Celu<alpha=0.5>(h) y = MatMul(r, v)", ["elu", None]),
    "softplus": (LINEAR + "y = Softplus(h)", ["softplus"]),
    "exp": (LINEAR + "y = Exp(h)", ["exp"]),
    "softmax": (LINEAR + "y = Softmax(h)", ["softmax"]),
    "softmax of an axis": (LINEAR + "y = Softmax<axis=1>(h)", ["softmax"]),
    "log_softmax": (LINEAR + "y = LogSoftmax<axis=-1>(h)", ["log_softmax"]),
    "silu": (LINEAR + "s = Sigmoid(h) y = Mul(h, s)", ["silu"]),
    "silu, other order": (LINEAR + "s = Sigmoid(h) y = Mul(s, h)", ["silu"]),
    "gelu of torch": (LINEAR + "d = Div(h, root) e = Erf(d) "
                      "a = Add(e, one_) m = Mul(h, a) y = Mul(m, half)", ["gelu"]),
    "gelu, half first": (LINEAR + "f = Mul(half, h) "
                         "d = Mul(inverse, h) e = Erf(d) a = Add(one_, e) y = Mul(f, a)", ["gelu"]),
    "gelu by tanh": (LINEAR + ""
                     "q = Mul(h, h) c = Mul(h, q) m = Mul(cube, c) a = Add(h, m) n = Mul(beta, a) t = Tanh(n) p = Add(one_, "
                         "t) z = Mul(h, p) "
                     "y = Mul(half, z)", ["gelu_tanh"]),
    "gelu by tanh and a power": (LINEAR + ""
                                 "c = Pow(h, three_) m = Mul(cube, c) a = Add(h, m) n = Mul(beta, a) "
                                 "t = Tanh(n) p = Add(one_, t) z = Mul(h, p) y = Mul(half, z)", ["gelu_tanh"]),
    "softplus of torch": (LINEAR + "s = Softplus(h) g = Greater(h, twenty) y = Where(g, h, s)", ["softplus"]),
    "leaky_relu of several": (LINEAR + "n = Less(h, zero) m = Mul(half, h) y = Where(n, m, h)",
                              ["leaky_relu(negative_slope=0.5)"]),
    "casts in an activation": (LINEAR + "s = Sigmoid(h) c = Cast<to=1>(s) i = Identity(c) y = Mul(i, h)", ["silu"]),
    "an activation, then a layer": (LINEAR + "s = Sigmoid(h) m = Mul(h, s) y = MatMul(m, v)", ["silu", None]),
    "both classes": ("h = MatMul(x, one) p = Sigmoid(h) n = Sub(one_, p) c = Concat<axis=1>(n, p) "
                     "y = Identity(c)", ["sigmoid"]),
    "both classes of two": (LINEAR + "p = Sigmoid(h) n = Sub(one_, p) y = Concat<axis=-1>(n, p)",
                            ["sigmoid"]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_read(tmp_path: Path, name: str) -> None:
    nodes, expected = READ[name]
    model = onnx_model(nodes, used(nodes))
    network = read(tmp_path, model)
    assert activations(network) == expected
    y = evaluated(model, X)
    actual = network(X)
    np.testing.assert_allclose(actual.reshape(y.shape), y, rtol=2e-6, atol=2e-6)
    assert actual.ndim == min(y.ndim, 2)  # further axes have length 1
    assert (network.dtype, network.inputs) == (np.float32, 3)
    assert read(tmp_path, model, check=(X, y)).dtype == np.float32


@pytest.mark.parametrize(("dtype", "kind"), [(np.float16, "float16"), (np.float32, "float")])
def test_slopes_of_tensors(tmp_path: Path, dtype: Any, kind: str) -> None:
    """The float16 nearest to 0.01 is kept; the float32 nearest to 0.01 is read as 0.01."""
    constants = {"w16": np.eye(3, dtype=dtype), "s16": np.array([0.01], dtype)}
    model = onnx_model("h = MatMul(x, w16) y = PRelu(h, s16)", constants, inputs=f"{kind}[N, 3] x", outputs=f"{kind}[N] y")
    slope = float(dtype(0.01)) if dtype == np.float16 else None
    assert activations(read(tmp_path, model)) == [f"leaky_relu(negative_slope={slope})" if slope else "leaky_relu"]


# Nodes that compute a shape from the number of rows.
BATCH = "a = Shape(x) g = Gather<axis=0>(a, nought) u = Unsqueeze(g, front) s = Concat<axis=0>(u, list) "


# Opset, declared input, nodes, activations.
@pytest.mark.parametrize(
    ("opset", "inputs", "nodes", "expected"),
    [
        (17, "float[N, 2, 3] x", "f = Flatten(x) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[N, 2, 3] x", "f = Flatten<axis=-2>(x) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[N, 2, 3] x", "s = Constant<value_ints=[0, -1]>() f = Reshape(x, s) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[N, 2, 3] x", "s = Constant<value_ints=[-1, 6]>() f = Reshape(x, s) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[4, 2, 3] x", "s = Constant<value_ints=[4, -1]>() f = Reshape(x, s) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[4, 2, 3] x", "d = Div(x, two) f = Flatten(d) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[N, 2, 3] x", "h = MatMul(x, wt) r = Relu(h) y = Softmax<axis=2>(r)", None),
        (17, "float[N, 2, 3] x", "s = Constant<value_ints=[-1, 3]>() f = Reshape(x, s) y = MatMul(f, wt)", [None]),
        (17, "float[N, 2, 3] x", "h = MatMul(x, wt) r = Relu(h) y = MatMul(r, v)", ["relu", None]),
        (17, "float[N, 2, 3] x", "h = MatMul(x, wt) t = Transpose<perm=[0, 2, 1]>(h) n = BatchNormalization(t, scale2, "
            "shift2, mean2, var2)"
         " u = Transpose<perm=[0, 2, 1]>(n) y = Relu(u)", ["relu"]),
        (17, "float[N, 3, 4] x", "n = BatchNormalization(x, scale3, shift3, mean3, var3) t = Transpose<perm=[0, 2, 1]>(n) "
         "y = MatMul(t, wt)", ["scale", None]),
        (17, "float[N, 2, 3] x", BATCH + "f = Reshape(x, s) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[N, 2, 3] x", BATCH + "d = Div(x, two) f = Reshape(d, s) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[N, 2, 3] x", BATCH + "f = Reshape<allowzero=1>(x, s) y = Gemm<transB=1>(f, w6)", [None]),
        (17, "float[N, 3] x", "h = MatMul(x, wt) " + BATCH.replace("(x)", "(h)") + "y = Reshape(h, s)", [None]),
        (17, "float[N, 3, 1] x", "s = Squeeze(x, last) y = MatMul(s, wt)", [None]),
        (17, "float[3] x", "y = MatMul(x, wt)", [None]),
        (17, "float x", "y = MatMul(x, wt)", None),
        (17, "float[1, 3] x", "s = Squeeze(x) y = MatMul(s, wt)", [None]),
        (12, "float[N, 3] x", "h = MatMul(x, wt) y = Softmax(h)", ["softmax"]),
        (12, "float[N, 1, 3] x", "h = MatMul(x, wt) y = Softmax(h)", ["softmax"]),
        (17, "float[N, 3] x", "u = Unsqueeze(x, last) n = BatchNormalization(u, scale3, shift3, mean3, var3) s = Squeeze(n, "
            "last) "
         "y = MatMul(s, wt)", ["scale", None]),
        (24, "float[N, 3] x", "h = MatMul(x, wt) y = Swish(h)", ["silu"]),
        (20, "float[N, 3] x", "h = MatMul(x, wt) y = Gelu(h)", ["gelu"]),
        (20, "float[N, 3] x", "h = MatMul(x, wt) y = Gelu<approximate=\"tanh\">(h)", ["gelu_tanh"]),
    ],
)  # fmt: skip
def test_axes(tmp_path: Path, opset: int, inputs: str, nodes: str, expected: Any) -> None:
    model = onnx_model(nodes, used(nodes), inputs=inputs, outputs="float y", opset=opset)
    if expected is None:
        with pytest.raises(ValueError, match=r"before it|axes"):
            read(tmp_path, model)
        return
    network = read(tmp_path, model)
    assert activations(network) == expected
    shape = [dim.dim_value or 4 for dim in model.graph.input[0].type.tensor_type.shape.dim]
    x = RNG.normal(size=shape).astype(np.float32)
    y = evaluated(model, x)
    features = network.inputs
    rows = np.moveaxis(x, 1, -1) if shape == [4, 3, 4] else x  # channels
    np.testing.assert_allclose(network(rows.reshape(-1, features)).ravel(), y.ravel(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("inputs", "nodes", "message"),
    [
        (
            "float[N, 1] x",
            "n = BatchNormalization(x, slope, slope, slope, slope) y = Squeeze(n)",
            "expected an axis of features",
        ),
        ("float[N, 1] x", "t = Transpose(x) y = Squeeze(t, front)", "expected it to keep the features of a row"),
        (
            "float[N, 2, 3] x",
            BATCH.replace("(a, nought)", "(a, one1)") + "f = Reshape(x, s) y = MatMul(f, wt)",
            r"\(Gather\): expected an operator",
        ),
        (
            "float[N, 2, 3] x",
            BATCH.replace("(u, list)", "(list, u)") + "f = Reshape(x, s) y = MatMul(f, wt)",
            "expected a constant as the other input, but .* is computed",
        ),
        (
            "float[N, 2, 3] x",
            BATCH + "h = MatMul(x, wt) m = Reshape(h, flat) y = Reshape(m, s)",
            "the number of rows of its input",
        ),
        (
            "float[N, 2, 3] x",
            BATCH + "t = Transpose<perm=[1, 0, 2]>(x) y = Reshape(t, s)",
            "the number of rows of its input",
        ),
        ("float[N, 2, 3] x", BATCH + "t = Unsqueeze(x, front) y = Reshape(t, s)", "the number of rows of its input"),
        ("float[N, 2, 3] x", BATCH + "t = Flatten<axis=2>(x) y = Reshape(t, s)", "the number of rows of its input"),
        (
            "float[N, 2, 3] x",
            BATCH.replace("(a, nought)", "(a, half)") + "f = Reshape(x, s) y = MatMul(f, wt)",
            "expected an operator of a chain",
        ),
        ("float[1] x", "y = Squeeze(x)", "expected it to keep the features of a row"),
        (
            "float[N, 2, 3] x",
            "t = Transpose<perm=[0, 2, 1]>(x) f = Flatten(t) y = Gemm<transB=1>(f, w6)",
            "each element of the batch to a row",
        ),
        ("float[N, 2, 3] x", "m = Mul(x, m3) f = Flatten(m) y = Gemm<transB=1>(f, w6)", "keep the features of a row"),
    ],
)
def test_axes_that_are_refused(tmp_path: Path, inputs: str, nodes: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, onnx_model(nodes, used(nodes, one1=np.array(1)), inputs=inputs))


@pytest.mark.parametrize("nodes", ["y = Softmax(h)", "t = Transpose<perm=[0, 2, 1]>(h) y = Softmax(t)"])
def test_old_softmax_along_several_axes(tmp_path: Path, nodes: str) -> None:
    nodes = "h = MatMul(x, wt) " + nodes
    with pytest.raises(ValueError, match=r"\(Softmax\): expected it to act along the features only"):
        read(tmp_path, onnx_model(nodes, used(nodes), inputs="float[N, 2, 3] x", opset=12))


def test_an_input_of_any_shape(tmp_path: Path) -> None:
    model = onnx_model(GEMM, used(GEMM))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert read(tmp_path, model).inputs == 3


@pytest.mark.parametrize("name", FORMS)
def test_old_forms(name: str) -> None:
    model, x, y = FORMS[name]()
    file = MODELS / f"{name}.onnx"
    assert onnx.load(file) == model, "run tests/make_models.py"
    network = nnk.from_onnx(file, check=(x, y))
    np.testing.assert_allclose(
        network(x.reshape(len(x), 1, -1) if name == "reshape_attribute" else x).reshape(y.shape), y, 1e-6, 1e-6
    )


# Nodes, and their refusal: the node's name and the message.
GEMM = "y = Gemm<transB=1>(x, w, b)"
REFUSED: dict[str, tuple[str, str]] = {
    "an operator": ("y = Conv(x, w)", r"node 0 \(Conv\): expected an operator of a chain"),
    "of another domain": ("y = com.microsoft.FusedGemm(x, w)", r"node 0 \(com.microsoft.FusedGemm\): expected an operator"),
    "quantised": ("y = MatMulInteger(x, w)", "MatMulInteger"),
    "recurrent": ("y = LSTM(x, w, w)", "LSTM"),
    "embedding": ("y = Gather(w, x)", "Gather"),
    "clip": (LINEAR + "y = Clip(h)", r"node 1 \(Clip\)"),
    "subgraph": ("y = If<then_branch = g () => (float[N] z) {z = Identity(x)}>(x)", r"\(If\): subgraphs are not supported"),
    "transA": ("y = Gemm<transA=1>(x, w)", "transA=0"),
    "gemm of sequences": ("s = Constant<value_ints=[2]>() u = Unsqueeze(x, s) y = Gemm(u, wt)", "got 3 axes: flatten"),
    "bias by row": ("y = Gemm(x, wt, matrix)", r"one number for each feature, got a constant of shape \(5, 2\)"),
    "bias of another length": ("y = Gemm(x, wt, vector)", r"bias \(2,\)"),
    "added by row": (LINEAR + "y = Add(h, matrix)", "one number for each feature"),
    "widths": (LINEAR + "y = MatMul(h, wt)", "expected 2 inputs"),
    "computed weights": ("t = MatMul(w, wt) y = MatMul(x, t)", "expected a constant as the other input, but .* is computed"),
    "weights first": ("y = MatMul(w, x)", "as first input, got a constant"),
    "weights of three axes": ("y = MatMul(x, stack)", "weights of two axes"),
    "integer weights": ("y = MatMul(x, integers)", "expected floating-point numbers as input 1, got int64"),
    "no weights": ("y = MatMul(x)", "constant as input 1, found none"),
    "residual": (LINEAR + "r = Relu(h) y = Add(r, h)", "value 'h': expected a chain, but several nodes take this value"),
    "square": (LINEAR + "y = Mul(h, h)", "value 'h': expected a chain, but several"),
    "mish": (LINEAR + "s = Softplus(h) t = Tanh(s) y = Mul(h, t)", "not a known activation: node 1"),
    "silu with a factor": (LINEAR + "f = Mul(h, two) s = Sigmoid(f) y = Mul(h, s)", "not a known activation"),
    "wrong gelu": (LINEAR + "e = Erf(h) a = Add(e, one_) m = Mul(h, a) y = Mul(m, half)", "not a known activation"),
    "long expression": (LINEAR + " ".join(f"h{i} = Mul({p}, {p})" for i, p in enumerate(["h", *(f"h{i}" for i in range(9))]))
                        + " y = Add(h9, h)", "not a known activation"),
    "sum of nothing": (LINEAR + "m = Mul(h, zero) y = Add(m, h)", "not a known activation"),
    "many operators": (LINEAR + "h0 = Sigmoid(h) " + " ".join(f"h{i + 1} = Identity(h{i})" for i in range(20))
                       + " y = Mul(h, h20)", "not a known activation"),
    "negative lengths": (LINEAR + "s = Constant<value_ints=[0, -2]>() y = Reshape(h, s)", "lengths of at least 0, -1, or"),
    "added to one neuron": ("h = MatMul(x, vector) y = Add(h, b)", "one number for each feature"),
    "constants of many axes": ("r = Unsqueeze(w, nine) y = MatMul(x, r)", "at most 8 axes, got 9"),
    "division of two": (LINEAR + "s = Sigmoid(h) y = Div(h, s)", "not a known activation"),
    "vector in an activation": (LINEAR + "s = Sigmoid(h) m = Mul(s, b) y = Mul(h, m)", "not a known activation"),
    "sum without input": (LINEAR + "s = Sub(h, h) n = Mul(s, half) y = Add(n, h)", "not a known activation"),
    "part of an activation": (LINEAR + "y = Erf(h)", r"\(Erf\): expected this operator only as part"),
    "two inputs": ("y = Add(x, z)", "expected the output to depend on one input, got 'x', 'z'"),
    "no input": ("y = Identity(w)", "got none"),
    "activation first": ("y = Relu(x)", "expected a dense layer before it"),
    "activation twice": (LINEAR + "r = Relu(h) y = Tanh(r)", "expected one activation after a dense layer, got several"),
    "softmax of rows after more axes": (LINEAR + "a = Add(h, deep) y = Softmax<axis=1>(a)", "the features, got axis 1"),
    "more axes in an activation": (LINEAR + "s = Sigmoid(h) m = Mul(s, deep) y = Mul(h, m)", "not a known activation"),
    "softmax of rows": (LINEAR + "y = Softmax<axis=0>(h)", "got axis 0"),
    "training": (LINEAR + "y = BatchNormalization<training_mode=1>(h, scale2, shift2, mean2, var2)", "got training mode"),
    "training outputs": (LINEAR + "y, a, b2 = BatchNormalization(h, scale2, shift2, mean2, var2)", "got training mode"),
    "batch normalisation of lengths": (LINEAR + "y = BatchNormalization(h, scale2, shift2, mean2, var3)", "of equal length"),
    "batch normalisation of rows": ("t = Transpose(x) y = BatchNormalization(t, scale3, shift3, mean3, var3)", "got axis 1"),
    "dropout in training": (LINEAR + "y = Dropout(h, half, yes)", "got training mode"),
    "cast to integers": (LINEAR + "y = Cast<to=7>(h)", "cast to float16, float32 or float64, got data type 7"),
    "slopes": (LINEAR + "y = PRelu(h, b)", "expected one slope"),
    "celu of 0": (LINEAR + "y = Celu<alpha=0.0>(h)", "expected a finite alpha above 0, got 0.0"),
    "celu of less": (LINEAR + "y = Celu<alpha=-0.5>(h)", "expected a finite alpha above 0, got -0.5"),
    "gelu of another kind": (LINEAR + 'y = Gelu<approximate="erf">(h)', "'none' or 'tanh'"),
    "swish": (LINEAR + "y = Swish<alpha=2.0>(h)", "alpha=1"),
    "not finite": (LINEAR + "y = Elu<alpha=inf>(h)", "expected a finite alpha"),
    "division by 0": (LINEAR + "y = Div(h, nil)", "other than 0 as the divisor"),
    "division of a constant": (LINEAR + "y = Div(b, h)", "other than 0 as the divisor"),
    "not a scale": (LINEAR + "r = Relu(h) y = Mul(r, nil)", "factors other than 0"),
    "infinite scale": ("s = Sub(x, half) y = Mul(s, infinite)", r"scale\[0\] is inf"),
    "transposed rows": ("t = Transpose(x) y = MatMul(t, wt)", "along axis"),
    "transposed outputs": (LINEAR + "y = Transpose(h)", "expected its features on the last axis"),
    "perm": (LINEAR + "y = Transpose<perm=[0, 0]>(h)", "a permutation of 2 axes"),
    "reshape of features": (LINEAR + "s = Constant<value_ints=[-1, 1]>() y = Reshape(h, s)", "keep the 2 features of a row"),
    "reshape unknown": (LINEAR + "y = Reshape(h)", "a constant shape"),
    "reshape of one neuron": ("h = MatMul(x, one) q = Squeeze(h) s = Constant<value_ints=[1, -1]>() y = Reshape(q, s)",
        "keep the 1 features"),
    "squeeze of features": (LINEAR + "y = Squeeze(h, last1)", "an axis of length 1, got axis 1 of length 2"),
    "squeeze out of range": (LINEAR + "y = Squeeze(h, flat)", "expected axes from -2 to 1, got 2"),
    "squeeze of a single input": ("s = Constant<value_ints=[1]>() u = Squeeze(x, s) y = Relu(u)", "of length 1, got axis 1 "
        "of length 3"),
    "unsqueeze twice": (LINEAR + "s = Constant<value_ints=[0, 0]>() y = Unsqueeze(h, s)", "expected different new axes"),
    "flatten of one axis": (LINEAR + "y = Flatten<axis=0>(h)", "keep the features of a row"),
    "flatten of nothing": ("f = Flatten<axis=2>(x) y = MatMul(f, wt)", "each element of the batch to a row"),
    "axes that are no integers": (LINEAR + "y = Squeeze<axes=[0.5]>(h)", "axes to be at most 8 integers"),
    "attribute that is no number": ('y = Gemm<alpha="a">(x, wt)', "attribute 'alpha' to be a number"),
    "attribute that is no integer": ("y = Gemm<transB=0.5>(x, wt)", "attribute 'transB' to be an integer"),
    "attribute that is no list": (LINEAR + "y = Transpose<perm=1>(h)", "attribute 'perm' to be a list"),
    "both classes of no sigmoid": ("h = MatMul(x, one) p = Tanh(h) n = Sub(one_, p) "
                                   "y = Concat<axis=1>(n, p)", "both classes to be computed from a sigmoid"),
    "both classes, then a layer": ("h = MatMul(x, one) p = Sigmoid(h) n = Sub(one_, p) "
                                   "c = Concat<axis=1>(n, p) y = MatMul(c, v)", "no operator after the concatenation"),
    "classes as rows": ("h = MatMul(x, one) p = Sigmoid(h) n = Sub(one_, p) y = Concat<axis=0>(n, p)", "several"),
    "nothing": ("", "at least one dense layer"),
    "identity alone": ("y = Identity(x)", "at least one dense layer"),
    "a cycle": ("h = Add(x, i) i = Identity(y) y = Identity(h)", "'i' is computed"),
    "a second output": (LINEAR + "d, y = Dropout(h)", "expected a node that takes 'd', found none"),
    "constant of nothing": ("c = Constant() y = Mul(x, c)", "expected a tensor, a number or a list of numbers"),
    "constants that do not fit": ("r = Reshape(w, last1) y = MatMul(x, r)", "cannot reshape"),
    "constants of integers": ("r = Cast<to=7>(w) y = MatMul(x, r)", "cast to float16"),
    "names twice": (GEMM + " y = Relu(x)", r"node 1 \(Relu\): expected unique names, got output 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    nodes, message = REFUSED[name]
    more = {"matrix": np.ones((5, 2), np.float32), "stack": np.ones((2, 3, 2), np.float32), "integers": np.ones((3, 2),
        np.int64),
            "yes": np.array(True), "nil": 0.0, "infinite": np.inf, "last1": np.array([1]), "nine": np.arange(9),
            "deep": np.ones((1, 1, 1), np.float32)}  # fmt: skip
    inputs = "float[N, 3] x, float[N, 3] z" if "z)" in nodes else "float[N, 3] x"
    outputs = "float[N] x" if name == "nothing" else "float[N] y"
    model = onnx_model(nodes, used(nodes, **more), inputs=inputs, outputs=outputs, opset=24 if "Swish" in nodes else 17)
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, model)
    assert str(caught.value).startswith(f"from_onnx({str(tmp_path / 'model.onnx')!r})")
    assert len(str(caught.value)) < 600


# Labels

PROBABILITIES = "h = MatMul(x, wt) p = Softmax(h) "
ARGMAX = PROBABILITIES + "a = ArgMax<axis=1>(p) "
LABELLED: dict[str, tuple[str, str, list[str] | None]] = {
    "argmax": (ARGMAX + "y = Identity(a)", "float[N] y", None),
    "argmax beside": (ARGMAX + "y = Identity(p) l = Cast<to=7>(a)", "int64[N] l, float[N] y", None),
    "zipmap": (PROBABILITIES + 'y = ai.onnx.ml.ZipMap<classlabels_strings=["no", "yes"]>(p)', "float[N] y", ["no", "yes"]),
    "zipmap of integers": (ARGMAX + "y = ai.onnx.ml.ZipMap<classlabels_int64s=[3, 5]>(p)", "int64[N] a, float[N] y", ["3",
        "5"]),
    "extractor": (ARGMAX + "f = ai.onnx.ml.ArrayFeatureExtractor(names, a) r = Reshape(f, list) l = Cast<to=8>(r)",
                  "string[N] l, float[N] p", ["cat", "dög"]),
    "extractor of a constant": (ARGMAX + "c = Constant<value = int64[2] {7, 9}>() l = ai.onnx.ml.ArrayFeatureExtractor(c, a)",
                                "int64[N] l, float[N] p", ["7", "9"]),
    "extractor of too many": (ARGMAX + "l = ai.onnx.ml.ArrayFeatureExtractor(three, a)", "int64[N] l, float[N] p", None),
    "extractor of a matrix": (ARGMAX + "l = ai.onnx.ml.ArrayFeatureExtractor(w, a)", "int64[N] l, float[N] p", None),
    "extractor of what is computed": (ARGMAX + "l = ai.onnx.ml.ArrayFeatureExtractor(h, a)", "int64[N] l, float[N] p", None),
    "encoder": (ARGMAX + 'l = ai.onnx.ml.LabelEncoder<keys_int64s=[0, 1], values_strings=["a", "b"]>(a)', "int64[N] l, "
        "float[N] p",
                ["a", "b"]),
    "binarizer": (PROBABILITIES + "b1 = ai.onnx.ml.Binarizer<threshold=0.5>(p) l = Cast<to=7>(b1)", "int64[N] l, "
        "float[N] p", None),
    "many": (ARGMAX + " ".join(f"l{i} = Cast<to=7>(a)" for i in range(12)), ", ".join(["float[N] p",
        *(f"int64[N] l{i}" for i in range(12))]),
             None),
}  # fmt: skip
NAMES = {"names": np.array(["cat", "dög"]), "three": np.arange(3)}


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_left_out(tmp_path: Path, name: str) -> None:
    nodes, outputs, classes = LABELLED[name]
    model = onnx_model(nodes, used(nodes, **NAMES), outputs=outputs)
    with pytest.warns(UserWarning, match="left out the conversion of outputs to labels: node") as caught:
        network = read(tmp_path, model)
    (warning,) = caught
    assert warning.filename == __file__
    with pytest.warns(UserWarning, match="left out") as caught:
        nnk.load(write(tmp_path / "model.onnx", model))
    assert [warning.filename for warning in caught] == [__file__]
    assert len(str(warning.message)) < 600
    assert dict(network.metadata) == ({} if classes is None else {"classes": json.dumps(classes, ensure_ascii=False)})
    assert activations(network) == ["softmax"]
    np.testing.assert_allclose(network(X), nnk.softmax(X @ CONSTANTS["wt"]), 1e-6)


@pytest.mark.parametrize("weights", ["one", "wt"])
def test_outputs_of_sigmoids_are_no_classes_unless_they_are_both_of_one(tmp_path: Path, weights: str) -> None:
    nodes = f"h = MatMul(x, {weights}) q = Sigmoid(h) "
    nodes += "n = Sub(one_, q) p = Concat<axis=1>(n, q) " if weights == "one" else "p = Identity(q) "
    nodes += "y = ai.onnx.ml.ZipMap<classlabels_int64s=[0, 1]>(p)"
    with pytest.warns(UserWarning, match="ZipMap"):
        network = read(tmp_path, onnx_model(nodes, used(nodes)))
    assert dict(network.metadata) == ({"classes": '["0", "1"]'} if weights == "one" else {})


def test_classes_of_the_metadata_count(tmp_path: Path) -> None:
    nodes = PROBABILITIES + 'y = ai.onnx.ml.ZipMap<classlabels_strings=["no", "yes"]>(p)'
    model = onnx_model(nodes, used(nodes), metadata={"classes": '["a", "b"]', "author": "é", "nnkernels.x": "1"})
    with pytest.warns(UserWarning, match="ZipMap"):
        assert dict(read(tmp_path, model).metadata) == {"classes": '["a", "b"]', "author": "é"}


def test_labels_of_names_that_are_no_text(tmp_path: Path) -> None:
    nodes = PROBABILITIES + 'y = ai.onnx.ml.ZipMap<classlabels_strings=["no", "yes"]>(p)'
    model = onnx_model(nodes, used(nodes))
    model.graph.node[2].attribute[0].strings[0] = b"\xff"
    with pytest.raises(ValueError, match=r"node 2 \(ai.onnx.ml.ZipMap\): expected names of classes in UTF-8"):
        read(tmp_path, model)


# Outputs, metadata, the check

TWO = LINEAR + "p = Sigmoid(h) y = Identity(p)"


def test_an_output_is_named(tmp_path: Path) -> None:
    model = onnx_model(TWO, used(TWO), outputs="float[N, 2] h, float[N, 2] y")
    assert activations(read(tmp_path, model, output="h")) == [None]
    assert activations(read(tmp_path, model, output="y")) == ["sigmoid"]
    with pytest.raises(
        ValueError, match=r"expected one output, got 'h', 'y'; .*from_onnx\(path, output=NAME\), .* convert .* --output NAME$"
    ):
        read(tmp_path, model)
    with pytest.raises(ValueError, match=r"expected output to be one of 'h', 'y'; got 'z'"):
        read(tmp_path, model, output="z")


def test_the_output_of_labels_is_named(tmp_path: Path) -> None:
    nodes = LINEAR + "p = Softmax(h) l = ArgMax(p)"
    model = onnx_model(nodes, used(nodes), outputs="float[N, 2] h, int64[N] l")
    with pytest.warns(UserWarning, match="ArgMax"):
        assert activations(read(tmp_path, model, output="l")) == ["softmax"]


def test_what_is_no_path() -> None:
    for value, got in ((onnx.ModelProto(), r"a ModelProto; onnx\.save\(model, path\) writes the file"), (3, "a int")):
        with pytest.raises(TypeError, match=f"^from_onnx expected the path of a file, got {got}$"):
            nnk.from_onnx(value)  # type: ignore[arg-type]


def test_check(tmp_path: Path) -> None:
    model = onnx_model(LINEAR + "y = Tanh(h)", used(LINEAR))
    y = evaluated(model, X)
    assert activations(read(tmp_path, model, check=(X, y))) == ["tanh"]
    assert activations(read(tmp_path, model, check=(X.tolist(), y.tolist()))) == ["tanh"]
    with pytest.raises(ValueError, match=r"expected check to be rows \(..., 3\) and their outputs \(..., 2\), got"):
        read(tmp_path, model, check=(X, y[1:]))
    flat = onnx_model("f = Flatten(x) y = Gemm<transB=1>(f, w6)", used("w6)"), inputs="float[N, 2, 3] x")
    images = X[:4].reshape(2, 2, 3)
    assert len(read(tmp_path, flat, check=(images, evaluated(flat, images)))) == 1
    y[3, 1] += 1e-4
    with pytest.raises(ValueError, match=r"from_onnx\(.*output 1 of row 3 is"):
        read(tmp_path, model, check=(X, y))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_is_kept(tmp_path: Path, dtype: Any) -> None:
    kind = {np.float16: "float16", np.float32: "float", np.float64: "double"}[dtype]
    nodes = LINEAR + "d = Div(h, root) e = Erf(d) a = Add(e, one_) m = Mul(h, a) y = Mul(m, half)"
    constants = {name: np.asarray(value, dtype) for name, value in used(nodes).items()}
    model = onnx_model(nodes, constants, inputs=f"{kind}[N, 3] x", outputs=f"{kind}[N, 2] y")
    network = read(tmp_path, model)
    assert (network.dtype, activations(network)) == (dtype, ["gelu"])
    np.testing.assert_array_equal(network.layers[0].weights, constants["w"])
    half = {"half": constants["half"]}
    scaled = onnx_model("s = Sub(x, half) y = Mul(s, half)", half, inputs=f"{kind}[N, 3] x", outputs=f"{kind}[N, 3] y")
    assert read(tmp_path, scaled).dtype == dtype


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    model = onnx_model("y = MatMul(x, wt)", used("wt)"))
    tensor = model.graph.initializer[0]
    bits = numpy_helper.to_array(tensor).view(np.uint32) >> 16
    tensor.data_type, tensor.raw_data = TensorProto.BFLOAT16, bits.astype("<u2").tobytes()
    network = read(tmp_path, model)
    np.testing.assert_array_equal(network.layers[0].weights, (bits << 16).view(np.float32).T)
    assert network.dtype == np.float32


def test_numbers_that_are_not_raw(tmp_path: Path) -> None:
    model = onnx_model("y = MatMul(x, wt)", used("wt)"))
    tensor = model.graph.initializer[0]
    tensor.float_data.extend(CONSTANTS["wt"].ravel())
    tensor.ClearField("raw_data")
    np.testing.assert_array_equal(read(tmp_path, model).layers[0].weights, CONSTANTS["wt"].T)


def test_attributes_are_the_shortest_decimals(tmp_path: Path) -> None:
    nodes = (
        "h = Gemm<alpha=0.1, beta=0.3, transB=1>(x, w, b) y = BatchNormalization<epsilon=0.001>(h, scale2, shift2, mean2, var2)"
    )
    network = read(tmp_path, onnx_model(nodes, used(nodes)))
    scale, shift, mean, variance, w, b = (
        CONSTANTS[name].astype(np.float64) for name in ("scale2", "shift2", "mean2", "var2", "w", "b")
    )
    factor = scale / np.sqrt(variance + 0.001)
    (layer,) = network.layers
    np.testing.assert_array_equal(layer.weights, (w * 0.1 * factor[:, np.newaxis]).astype(np.float32))
    np.testing.assert_array_equal(layer.bias, (b * 0.3 * factor + (shift - mean * factor)).astype(np.float32))


def test_numbers_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    constants = used(GEMM, w=np.array([[np.nan, np.inf, -0.0], [1, 2, 3]], np.float32))
    network = read(tmp_path, onnx_model(GEMM, constants))
    assert network.layers[0].weights.tobytes() == constants["w"].tobytes()


# Files


def test_no_package(monkeypatch: pytest.MonkeyPatch, network: nnk.Network, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"from_onnx needs the package onnx: pip install 'nnkernels\[onnx\]'"):
        nnk.from_onnx("x.onnx")
    with pytest.raises(ImportError, match=r"to_onnx needs the package onnx: pip install 'nnkernels\[onnx\]'"):
        network.to_onnx(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an ONNX model, got an empty file"),
        (b"\x08\x08", "with a graph, found none"),
        (b"garbage", "expected an ONNX model"),
        (b"\x3a\xff\xff\xff\xff\x0f", "expected an ONNX model"),
    ],
)
def test_no_model(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        nnk.from_onnx(tmp_path / "x.onnx")


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx_model(GEMM, used(GEMM))
    path = write(tmp_path / "x.onnx", model)
    monkeypatch.chdir(tmp_path)
    for name in (path, str(path), os.fsencode(path), "x.onnx", b"x.onnx"):
        assert len(nnk.from_onnx(name)) == 1
    with pytest.raises(FileNotFoundError):
        nnk.from_onnx("none.onnx")
    with pytest.raises(ValueError, match="got a pipe or a device"):
        nnk.from_onnx(os.devnull)
    with pytest.raises((IsADirectoryError, ValueError)):
        nnk.from_onnx(tmp_path)


def test_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Parser:
        def ParseFromString(self, content: bytes) -> None:  # noqa: N802
            raise MemoryError

    path = write(tmp_path / "x.onnx", onnx_model(GEMM, used(GEMM)))
    monkeypatch.setattr(onnx, "ModelProto", Parser)
    with pytest.raises(MemoryError):
        nnk.from_onnx(path)


def external(model: Any, **entries: str) -> Any:
    """Move the data of the first constant to another file."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = used(GEMM)
    onnx.save(
        onnx_model(GEMM, constants), tmp_path / "x.onnx", save_as_external_data=True, size_threshold=0, location="x.onnx.data"
    )
    assert (tmp_path / "x.onnx.data").exists()
    np.testing.assert_array_equal(nnk.from_onnx(tmp_path / "x.onnx").layers[0].weights, constants["w"])
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(nnk.from_onnx("x.onnx").layers[0].weights, constants["w"])
    (tmp_path / "x.onnx.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"the file 'x.onnx.data' with its data is missing"):
        nnk.from_onnx("x.onnx")


@pytest.mark.usefixtures("symbolic_links")
def test_external_data_in_a_folder_and_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w").write_bytes(b"----" + CONSTANTS["w"].tobytes())
    (tmp_path / "link").symlink_to(tmp_path / "data" / "w")
    for location in ("data/w", "link"):
        model = external(onnx_model(GEMM, used(GEMM)), location=location, offset="4", length="24")
        np.testing.assert_array_equal(read(tmp_path, model).layers[0].weights, CONSTANTS["w"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "expected external data in the model's own folder, got location ''"),
        ({"location": ".."}, "leads outside"),
        ({"location": "../outside"}, "leads outside"),
        ({"location": "inside/../../outside"}, "leads outside"),
        ({"location": "inside\\..\\w"}, "leads outside"),
        ({"location": "/etc/passwd"}, "leads outside"),
        ({"location": "link"}, "leads outside"),
        ({"location": "a\0b"}, "got location"),
        ({"location": "."}, "which is not a regular file"),
        ({"location": "pipe"}, "which is not a regular file"),
        ({"location": "w", "offset": "x"}, "expected offset and length to be numbers"),
        ({"location": "w", "offset": "-4"}, "expected external data of"),
        ({"location": "w", "length": "-4"}, "expected external data of -4 bytes"),
        (
            {"location": "w", "length": "1000000000000"},
            "expected external data of 1000000000000 bytes at 0, but 'w' has 24 bytes",
        ),
        ({"location": "w", "length": "8"}, "expected a tensor of shape"),
    ],
)
@pytest.mark.usefixtures("symbolic_links")
def test_external_data_that_is_refused(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    (tmp_path / "outside").write_bytes(CONSTANTS["w"].tobytes())
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "w").write_bytes(CONSTANTS["w"].tobytes())
    (folder / "link").symlink_to(tmp_path / "outside")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
    elif entries.get("location") == "pipe":
        pytest.skip("needs pipes with names")
    with pytest.raises(ValueError, match=r"initializer 'w': ") as caught:
        read(folder, external(onnx_model(GEMM, used(GEMM)), **entries))
    assert message in str(caught.value)


def test_external_data_that_tensors_share(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONSTANTS["w"].tobytes())
    nodes = "h = Gemm<transB=1>(x, w) y = Add(h, w2)"
    model = external(onnx_model(nodes, {"w": CONSTANTS["w"]}), location="w")
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(model.graph.initializer[0])
    tensor.name = "w2"
    with pytest.raises(ValueError, match=r"'w2': expected external data for each tensor"):
        read(tmp_path, model)


# Hostile files


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit the growth of memory to 200 MB."""
    with limited_memory(200 * 2**20):
        yield


def hostile_tensor(**changes: Any) -> Any:
    model = onnx_model(GEMM, used(GEMM))
    tensor = model.graph.initializer[0]
    for name, value in changes.items():
        if name == "dims":
            tensor.dims[:] = value
        else:
            setattr(tensor, name, value)
    return model


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": [2**60]}, "that fits its data"),
        ({"dims": [2**60, 0]}, "that fits its data"),
        ({"dims": [2**31, 2**31, 2**31]}, "that fits its data"),
        ({"dims": [-1, 3]}, "that fits its data"),
        ({"dims": [1] * 1000}, "at most 8 axes"),
        ({"dims": [60000, 60000]}, "expected a tensor of shape"),
        ({"raw_data": b"1234"}, "expected a tensor of shape"),
        ({"raw_data": b"123"}, "expected a tensor of shape"),
        ({"raw_data": b""}, "expected a tensor of shape"),
        ({"data_type": 0}, "got data type 0"),
        ({"data_type": TensorProto.INT8}, "got data type 3"),
        ({"data_type": TensorProto.STRING}, "expected a tensor of shape"),
        ({"data_type": 1000}, "got data type 1000"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"initializer 'w': ") as caught:
        read(tmp_path, hostile_tensor(**changes))
    assert message in str(caught.value)


@pytest.mark.usefixtures("little_memory")
def test_many_nodes(tmp_path: Path) -> None:
    model = onnx_model(LINEAR, used(LINEAR))
    model.graph.node.extend(helper.make_node("Identity", [f"{i}" if i else "h"], [f"{i + 1}"]) for i in range(19_999))
    model.graph.node.append(helper.make_node("Relu", ["19999"], ["y"]))
    assert activations(read(tmp_path, model)) == ["relu"]
    del model.graph.node[0]  # labels without an input
    model.graph.node[0].input[0] = "w"
    with pytest.raises(ValueError, match="expected the output to depend on one input"):
        read(tmp_path, model)


@pytest.mark.usefixtures("little_memory")
def test_nodes_that_go_in_circles(tmp_path: Path) -> None:
    model = onnx_model("y = Identity(x)", {})
    names = [f"v{i}" for i in range(5_000)]
    model.graph.node[0].input[0] = names[0]
    model.graph.node.extend(helper.make_node("Add", [names[i - 1], names[i - 7]], [names[i]]) for i in range(len(names)))
    with pytest.raises(ValueError, match="expected the output to depend on one input, got none"):
        read(tmp_path, model)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("operator", ["Gemm", "Cast", "Reshape", "Sub"])
def test_layers_that_share_their_numbers(tmp_path: Path, operator: str) -> None:
    """A file of 100 kB would become a network of gigabytes."""
    n, count = 100, 3000
    constants = {"w": np.ones((n, n), np.float32), "v": np.ones(n, np.float32), "shape": np.array([n, n])}
    model = onnx_model("y = MatMul(x, w)", constants, inputs=f"float[N, {n}] x")
    nodes = model.graph.node
    names = ["x", *(f"h{i}" for i in range(1, count)), "y"]
    del nodes[0]
    for i in range(count):
        value, output, weights = names[i], names[i + 1], f"w{i}"
        match operator:
            case "Cast":
                nodes.append(helper.make_node("Cast", ["w"], [weights], to=11))
            case "Reshape":
                nodes.append(helper.make_node("Transpose", ["w"], [f"t{i}"]))
                nodes.append(helper.make_node("Reshape", [f"t{i}", "shape"], [weights]))
            case "Sub":
                nodes.append(helper.make_node("Sub", [value, "v"], [f"s{i}"]))
                nodes.append(helper.make_node("Mul", [f"s{i}", "v"], [output]))
                continue
            case _:
                weights = "w"
        nodes.append(helper.make_node("MatMul", [value, weights], [output]))
    with pytest.raises(ValueError, match="expected each layer to have its own weights"):
        read(tmp_path, model)


@pytest.mark.usefixtures("little_memory")
def test_numbers_that_would_be_broadcast(tmp_path: Path) -> None:
    wide = onnx_model("s = Sub(x, half) y = Mul(s, half)", used("half)"), inputs=f"float[N, {2**40}] x")
    with pytest.raises(ValueError, match="expected fewer elements"):
        read(tmp_path, wide)
    bias = onnx_model(GEMM, used(GEMM, b=np.zeros((1,), np.float32)))
    bias.graph.initializer[1].dims[:] = [2**20, 2**20]
    with pytest.raises(ValueError, match="that fits its data"):
        read(tmp_path, bias)
    zero = onnx_model(
        "h = MatMul(x, none) y = Add(h, half)", {"none": np.zeros((0, 60000), np.float32), "half": 0.5}, inputs="float[N, 0] x"
    )
    with pytest.raises(ValueError, match="with at least one number, got float32 of shape"):
        read(tmp_path, zero)
    zero.graph.initializer[0].dims[:] = [0, 2**40]
    with pytest.raises(ValueError, match="that fits its data"):
        read(tmp_path, zero)


def test_names_that_are_hostile(tmp_path: Path) -> None:
    content = onnx_model(
        "longname = MatMul(x, wt) y = Relu(longname)", used("wt)"), metadata={"key": "value"}
    ).SerializeToString()
    for old, new in (
        (b"longname", b"long\xff\xfe\x00\x80"),
        (b"Relu", b"R\xff\xffu"),
        (b"value", b"v\xffl\xffe"),
        (b"key", b"k\xffy"),
    ):
        (tmp_path / "x.onnx").write_bytes(content.replace(old, new))
        if old == b"longname":
            assert activations(nnk.from_onnx(tmp_path / "x.onnx")) == ["relu"]
        else:
            with pytest.raises(ValueError, match=r"from_onnx\(") as caught:
                nnk.from_onnx(tmp_path / "x.onnx")
            assert "UTF-8" in str(caught.value) or "an operator of a chain" in str(caught.value)


def test_graphs_that_are_hostile(tmp_path: Path) -> None:
    def refused(model: Any) -> str:
        with pytest.raises(ValueError, match=r"from_onnx\(") as caught:
            read(tmp_path, model)
        return str(caught.value)

    model = onnx_model(GEMM, used(GEMM))
    model.graph.initializer.append(model.graph.initializer[0])
    assert "initializer 'w': expected unique names" in refused(model)
    model = onnx_model(GEMM, used(GEMM))
    model.functions.add(name="f", domain="own")
    assert "function 'f': functions in a model are not supported" in refused(model)
    model = onnx_model(GEMM, used(GEMM))
    model.graph.sparse_initializer.add()
    assert "sparse initializers are not supported" in refused(model)
    model = onnx_model(GEMM, used(GEMM))
    del model.graph.node[0].output[:]
    model.graph.output[0].name = "x"
    assert "at least one dense layer" in refused(model)
    model = onnx_model(GEMM, used(GEMM), inputs="float[1,1,1,1,1,1,1,1,1] x")
    assert "an input of 1 to 8 axes, got 9" in refused(model)
    model = onnx_model("y = Identity(x)", {})
    del model.graph.node[0].input[:]
    assert "found none" in refused(model)
    model = onnx_model("h = Relu(x) y = Identity(h)", {})
    del model.graph.node[0].input[:]
    assert "expected an input, found none" in refused(model)
    model = onnx_model("y = Gemm<alpha=1.0>(x, w)", used("w)"))
    model.graph.node[0].attribute[0].ref_attr_name = "alpha"
    assert "attribute 'alpha': " in refused(model)
    model = onnx_model("y = Gemm(x, w)", used("w)"))
    del model.graph.output[:]
    assert "expected one output" in refused(model)


FUZZED = sorted(Path(__file__).parent.glob("corpus/onnx/*"))
assert FUZZED  # without files the test would be skipped


@pytest.mark.filterwarnings("ignore:from_onnx")
@pytest.mark.parametrize("file", FUZZED, ids=lambda file: file.name)
def test_files_of_the_fuzzer_are_read_or_refused(file: Path) -> None:
    """The corpus of tests/fuzz_onnx.py."""
    try:
        assert len(nnk.from_onnx(file)) > 0
    except (ValueError, FileNotFoundError) as error:
        assert str(file) in str(error)  # noqa: PT017 - an error is optional


def test_a_network_is_trained_on(tmp_path: Path) -> None:
    """With folded batch normalisation, and a Scale that stays unchanged."""
    nodes = (
        "s = Sub(x, m3) k = Mul(s, k3) h = Gemm<transB=1>(k, w, b) n = BatchNormalization(h, scale2, shift2, mean2, var2) "
        "r = Elu<alpha=0.5>(n) o = Gemm(r, v) y = Softmax(o)"
    )
    net = read(tmp_path, onnx_model(nodes, used(nodes)))
    assert activations(net) == ["scale", "elu(alpha=0.5)", "softmax"]
    x = RNG.normal(size=(60, 3)).astype(np.float32)
    labels = (x[:, 0] > x[:, 1]).astype(np.int64)
    training = nnk.train(net, x, labels, epochs=100, optimizer=nnk.Adam(0.03))
    assert training.losses[-1] < 0.7 * training.losses[0]
    scale, learnt = net.layers[0], training.network.layers[0]
    assert isinstance(scale, nnk.Scale)
    assert isinstance(learnt, nnk.Scale)
    assert (learnt.offset == scale.offset).all()
    assert (learnt.scale == scale.scale).all()
