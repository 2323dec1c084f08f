"""from_onnx: what it reads, by ONNX's reference implementation; what it refuses; labels, external data, hostile files."""

import json
import os
import resource
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nnkernels as nnk
from corpus import Array
from make_models import FORMS
from nnkernels.models import composed
from onnx_models import evaluated, onnx_model, write

RNG = np.random.default_rng(20261128)
X = RNG.normal(size=(5, 3)).astype(np.float32)
MODELS = Path(__file__).parent / "models"

# The constants of the models below, by their names: of 3 inputs and 2 outputs.
CONSTANTS: dict[str, Any] = {
    **{name: RNG.normal(size=shape).astype(np.float32) for name, shape in {
        "w": (2, 3), "wt": (3, 2), "b": (2,), "row": (1, 2), "v": (2, 2), "one": (3, 1), "vector": (3,), "m3": (3,), "k3": (3,),
        "scale2": (2,), "shift2": (2,), "mean2": (2,), "scale3": (3,), "shift3": (3,), "mean3": (3,), "w6": (2, 6), "wide": (1, 1, 2),
    }.items()},
    "var2": np.array([0.5, 2.0], np.float32), "var3": np.array([0.5, 2.0, 1e-3], np.float32),
    "half": 0.5, "two": 2.0, "number": [[1.5]], "slope": [0.25], "slopes": [0.25, 0.25], "no": np.array(False),
    "flat": np.array([-1, 2]), "rows": np.array([0, -1]), "keep": np.array([0, 2, 1]), "last": np.array([2]), "unit": np.array([-1]),
    "column": np.array([-1, 1]), "list": np.array([-1]),
}  # fmt: skip
LINEAR = "h = Gemm<transB=1>(x, w, b) "


def read(path: Path, model: Any, **keywords: Any) -> nnk.Network:
    return nnk.from_onnx(write(path / "model.onnx", model), **keywords)


def activations(network: nnk.Network) -> list[str | None]:
    return ["scale" if isinstance(layer, nnk.Scale) else layer.activation for layer in network.layers]


def used(nodes: str, **more: Any) -> dict[str, Any]:
    """Return the constants that a model's nodes name."""
    constants = CONSTANTS | more
    return {name: constants[name] for name in constants if f"{name})" in nodes or f"{name}," in nodes}


# The nodes, and the activations of the layers that they become.
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
    "constants": ("c = Constant<value_floats=[1.0, 2.0]>() d = Constant<value_float=0.5>() e = Constant<value = float[2] {3, 4}>() "
                  "h = MatMul(x, wt) i = Add(h, c) j = Mul(i, d) y = Add(j, e)", [None]),
    "identity of constants": ("i = Identity(w) j = Identity(i) y = Gemm<transB=1>(x, j)", [None]),
    "reshaped constants": ("r = Reshape(w6, flat) t = Cast<to=1>(r) s = Unsqueeze(b, list) q = Squeeze(s) "
                           "f = Constant<value_ints=[3]>() i = Identity(x) h = Gemm(x, wt) j = Add(h, q) y = MatMul(j, v)", [None, None]),
    "two layers": (LINEAR + "r = Relu(h) y = Gemm(r, v)", ["relu", None]),
    "identity": ("i = Identity(x) " + LINEAR + "y = Identity(h)", [None]),
    "cast": ("d = Cast<to=11>(x) e = Cast<to=1>(d) h = MatMul(e, wt) y = Cast<to=1>(h)", [None]),
    "dropout": ("h = MatMul(x, wt) y = Dropout(h)", [None]),
    "dropout, all inputs": ("h = MatMul(x, wt) y = Dropout(h, half, no)", [None]),
    "batch normalisation": (LINEAR + "n = BatchNormalization(h, scale2, shift2, mean2, var2) y = Relu(n)", ["relu"]),
    "batch normalisation after": (LINEAR + "r = Relu(h) n = BatchNormalization<epsilon=0.1>(r, scale2, shift2, mean2, var2) "
                                  "y = MatMul(n, v)", ["relu", None]),
    "batch normalisation first": ("n = BatchNormalization(x, scale3, shift3, mean3, var3) y = MatMul(n, wt)", [None]),
    "batch normalisation last": (LINEAR + "r = Tanh(h) y = BatchNormalization(r, scale2, shift2, mean2, var2)", ["tanh", "scale"]),
    "batch normalisation of another axis": (LINEAR + "u = Unsqueeze(h, last) n = BatchNormalization(u, scale2, shift2, mean2, var2) "
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
    "gelu of torch": (LINEAR + "c = Constant<value_float=1.4142135>() o = Constant<value_float=1.0>() d = Div(h, c) e = Erf(d) "
                      "a = Add(e, o) m = Mul(h, a) y = Mul(m, half)", ["gelu"]),
    "gelu, half first": (LINEAR + "c = Constant<value_float=0.70710677>() o = Constant<value_float=1.0>() f = Mul(half, h) "
                         "d = Mul(c, h) e = Erf(d) a = Add(o, e) y = Mul(f, a)", ["gelu"]),
    "gelu by tanh": (LINEAR + "k = Constant<value_float=0.044715>() o = Constant<value_float=1.0>() b0 = Constant<value_float=0.7978846>() "
                     "q = Mul(h, h) c = Mul(h, q) m = Mul(k, c) a = Add(h, m) n = Mul(b0, a) t = Tanh(n) p = Add(o, t) z = Mul(h, p) "
                     "y = Mul(half, z)", ["gelu_tanh"]),
    "gelu by tanh and a power": (LINEAR + "k = Constant<value_float=0.044715>() o = Constant<value_float=1.0>() t3 = Constant<value_float=3.0>() "
                                 "b0 = Constant<value_float=0.7978846>() c = Pow(h, t3) m = Mul(k, c) a = Add(h, m) n = Mul(b0, a) "
                                 "t = Tanh(n) p = Add(o, t) z = Mul(h, p) y = Mul(half, z)", ["gelu_tanh"]),
    "softplus of torch": (LINEAR + "k = Constant<value_float=20.0>() s = Softplus(h) g = Greater(h, k) y = Where(g, h, s)", ["softplus"]),
    "leaky_relu of several": (LINEAR + "z = Constant<value_float=0.0>() n = Less(h, z) m = Mul(half, h) y = Where(n, m, h)",
                              ["leaky_relu(negative_slope=0.5)"]),
    "casts in an activation": (LINEAR + "s = Sigmoid(h) c = Cast<to=1>(s) i = Identity(c) y = Mul(i, h)", ["silu"]),
    "an activation, then a layer": (LINEAR + "s = Sigmoid(h) m = Mul(h, s) y = MatMul(m, v)", ["silu", None]),
    "both classes": ("h = MatMul(x, one) p = Sigmoid(h) o = Constant<value_float=1.0>() n = Sub(o, p) c = Concat<axis=1>(n, p) "
                     "y = Identity(c)", ["sigmoid"]),
    "both classes of two": (LINEAR + "p = Sigmoid(h) o = Constant<value_float=1.0>() n = Sub(o, p) y = Concat<axis=-1>(n, p)",
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
    assert actual.ndim == min(y.ndim, 2)  # more axes are of length 1
    assert (network.dtype, network.inputs) == (np.float32, 3)
    assert read(tmp_path, model, check=(X, y)).dtype == np.float32


# Opset, the declared input, the nodes, the activations.
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
        (17, "float[N, 2, 3] x", "h = MatMul(x, wt) t = Transpose<perm=[0, 2, 1]>(h) n = BatchNormalization(t, scale2, shift2, mean2, var2)"
         " u = Transpose<perm=[0, 2, 1]>(n) y = Relu(u)", ["relu"]),
        (17, "float[N, 3, 4] x", "n = BatchNormalization(x, scale3, shift3, mean3, var3) t = Transpose<perm=[0, 2, 1]>(n) "
         "y = MatMul(t, wt)", [None]),
        (17, "float[N, 3, 1] x", "s = Squeeze(x, last) y = MatMul(s, wt)", [None]),
        (17, "float[3] x", "y = MatMul(x, wt)", [None]),
        (17, "float x", "y = MatMul(x, wt)", None),
        (17, "float[1, 3] x", "s = Squeeze(x) y = MatMul(s, wt)", [None]),
        (12, "float[N, 3] x", "h = MatMul(x, wt) y = Softmax(h)", ["softmax"]),
        (12, "float[N, 1, 3] x", "h = MatMul(x, wt) y = Softmax(h)", ["softmax"]),
        (17, "float[N, 3] x", "u = Unsqueeze(x, last) n = BatchNormalization(u, scale3, shift3, mean3, var3) s = Squeeze(n, last) "
         "y = MatMul(s, wt)", [None]),
        (24, "float[N, 3] x", "h = MatMul(x, wt) y = Swish(h)", ["silu"]),
        (20, "float[N, 3] x", "h = MatMul(x, wt) y = Gelu(h)", ["gelu"]),
        (20, "float[N, 3] x", "h = MatMul(x, wt) y = Gelu<approximate=\"tanh\">(h)", ["gelu_tanh"]),
    ],
)  # fmt: skip
def test_axes(tmp_path: Path, opset: int, inputs: str, nodes: str, expected: Any) -> None:
    model = onnx_model(nodes, used(nodes), inputs=inputs, outputs="float y", opset=opset)
    if expected is None:
        with pytest.raises(ValueError, match="activation twice|before it|axes"):
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


@pytest.mark.parametrize("name", FORMS)
def test_old_forms(name: str) -> None:
    model, x, y = FORMS[name]()
    file = MODELS / f"{name}.onnx"
    assert onnx.load(file) == model, "run tests/make_models.py"
    network = nnk.from_onnx(file, check=(x, y))
    np.testing.assert_allclose(network(x.reshape(len(x), 1, -1) if name == "reshape_attribute" else x).reshape(y.shape), y, 1e-6, 1e-6)


# The nodes, and the refusal: the node's name, and what it says.
GEMM = "y = Gemm<transB=1>(x, w, b)"
REFUSED: dict[str, tuple[str, str]] = {
    "an operator": ("y = Conv(x, w)", r"node 0 \(Conv\): this operator is none"),
    "of another domain": ("y = com.microsoft.FusedGemm(x, w)", r"node 0 \(com.microsoft.FusedGemm\): this operator is none"),
    "quantised": ("y = MatMulInteger(x, w)", "MatMulInteger"),
    "recurrent": ("y = LSTM(x, w, w)", "LSTM"),
    "embedding": ("y = Gather(w, x)", "Gather"),
    "clip": (LINEAR + "y = Clip(h)", r"node 1 \(Clip\)"),
    "subgraph": ("y = If<then_branch = g () => (float[N] z) {z = Identity(x)}>(x)", r"\(If\): subgraphs are not read"),
    "transA": ("y = Gemm<transA=1>(x, w)", "transA 0"),
    "gemm of sequences": ("s = Constant<value_ints=[2]>() u = Unsqueeze(x, s) y = Gemm(u, wt)", "got 3 axes: flatten"),
    "bias by row": ("y = Gemm(x, wt, matrix)", r"one number for each feature, got a constant of shape \(5, 2\)"),
    "bias of another length": ("y = Gemm(x, wt, vector)", r"bias \(2,\)"),
    "added by row": (LINEAR + "y = Add(h, matrix)", "one number for each feature"),
    "widths": (LINEAR + "y = MatMul(h, wt)", "expected 2 inputs"),
    "computed weights": ("t = MatMul(w, wt) y = MatMul(x, t)", "computed: expected a constant"),
    "weights first": ("y = MatMul(w, x)", "its first input is a constant"),
    "weights of three axes": ("y = MatMul(x, cube)", "weights of two axes"),
    "integer weights": ("y = MatMul(x, integers)", "expected floating numbers as input 1, got int64"),
    "no weights": ("y = MatMul(x)", "constant as input 1, found none"),
    "residual": (LINEAR + "r = Relu(h) y = Add(r, h)", "value 'h': expected a chain, but several nodes take it"),
    "square": (LINEAR + "y = Mul(h, h)", "value 'h': expected a chain, but several"),
    "mish": (LINEAR + "s = Softplus(h) t = Tanh(s) y = Mul(h, t)", "compose no activation that is known: node 1"),
    "silu with a factor": (LINEAR + "f = Mul(h, two) s = Sigmoid(f) y = Mul(h, s)", "compose no activation"),
    "wrong gelu": (LINEAR + "o = Constant<value_float=1.0>() e = Erf(h) a = Add(e, o) m = Mul(h, a) y = Mul(m, half)", "compose no"),
    "long expression": (LINEAR + " ".join(f"h{i} = Mul({p}, {p})" for i, p in enumerate(["h", *(f"h{i}" for i in range(9))]))
                        + " y = Add(h9, h)", "compose no"),
    "division of two": (LINEAR + "s = Sigmoid(h) y = Div(h, s)", "compose no activation"),
    "vector in an activation": (LINEAR + "s = Sigmoid(h) m = Mul(s, b) y = Mul(h, m)", "compose no activation"),
    "sum without input": (LINEAR + "s = Sub(h, h) n = Mul(s, half) y = Add(n, h)", "compose no activation"),
    "part of an activation": (LINEAR + "y = Erf(h)", r"\(Erf\): expected this operator only as a part"),
    "two inputs": ("y = Add(x, z)", "expected one input that the output depends on, found 'x', 'z'"),
    "no input": ("y = Identity(w)", "found none"),
    "activation first": ("y = Relu(x)", "expected a dense layer before it"),
    "activation twice": (LINEAR + "r = Relu(h) y = Tanh(r)", "expected a dense layer before it"),
    "softmax of rows": (LINEAR + "y = Softmax<axis=0>(h)", "along axis 0"),
    "training": (LINEAR + "y = BatchNormalization<training_mode=1>(h, scale2, shift2, mean2, var2)", "got training mode"),
    "training outputs": (LINEAR + "y, a, b2 = BatchNormalization(h, scale2, shift2, mean2, var2)", "got training mode"),
    "batch normalisation of lengths": (LINEAR + "y = BatchNormalization(h, scale2, shift2, mean2, var3)", "of one axis and length"),
    "batch normalisation of rows": ("t = Transpose(x) y = BatchNormalization(t, scale3, shift3, mean3, var3)", "along axis 1"),
    "dropout in training": (LINEAR + "y = Dropout(h, half, yes)", "got training mode"),
    "cast to integers": (LINEAR + "y = Cast<to=7>(h)", "cast to float16, float32 or float64, got data type 7"),
    "slopes": (LINEAR + "y = PRelu(h, b)", "expected one slope"),
    "celu of 0": (LINEAR + "y = Celu<alpha=0.0>(h)", "alpha other than 0"),
    "gelu of another kind": (LINEAR + 'y = Gelu<approximate="erf">(h)', "'none' or 'tanh'"),
    "swish": (LINEAR + "y = Swish<alpha=2.0>(h)", "alpha 1"),
    "not finite": (LINEAR + "y = Elu<alpha=inf>(h)", "expected a finite alpha"),
    "division by 0": (LINEAR + "y = Div(h, nought)", "other than 0 as the divisor"),
    "division of a constant": (LINEAR + "y = Div(b, h)", "other than 0 as the divisor"),
    "not a scale": (LINEAR + "r = Relu(h) y = Mul(r, nought)", "factors other than 0"),
    "infinite scale": ("s = Sub(x, half) y = Mul(s, infinite)", "scale has inf"),
    "transposed rows": ("t = Transpose(x) y = MatMul(t, wt)", "along axis"),
    "transposed outputs": (LINEAR + "y = Transpose(h)", "expected its features on the last axis"),
    "perm": (LINEAR + "y = Transpose<perm=[0, 0]>(h)", "an order of 2 axes"),
    "reshape of features": (LINEAR + "s = Constant<value_ints=[-1, 1]>() y = Reshape(h, s)", "keep the 2 features of a row"),
    "reshape unknown": (LINEAR + "y = Reshape(h)", "a constant shape"),
    "reshape of one neuron": ("h = MatMul(x, one) q = Squeeze(h) s = Constant<value_ints=[1, -1]>() y = Reshape(q, s)", "keep the 1 features"),
    "squeeze of features": (LINEAR + "y = Squeeze(h, last1)", "an axis of length 1, got axis 1 of length 2"),
    "squeeze out of range": (LINEAR + "y = Squeeze(h, flat)", "expected axes from -2 to 1, got 2"),
    "squeeze of a single input": ("s = Constant<value_ints=[1]>() u = Squeeze(x, s) y = Relu(u)", "of length 1, got axis 1 of length 3"),
    "unsqueeze twice": (LINEAR + "s = Constant<value_ints=[0, 0]>() y = Unsqueeze(h, s)", "expected different axes"),
    "flatten of one axis": (LINEAR + "y = Flatten<axis=0>(h)", "keep the features of a row"),
    "flatten of nothing": ("f = Flatten<axis=2>(x) y = MatMul(f, wt)", "a row of each of the batch"),
    "axes that are no integers": (LINEAR + "y = Squeeze<axes=[0.5]>(h)", "axes to be at most 8 integers"),
    "attribute that is no number": ('y = Gemm<alpha="a">(x, wt)', "attribute 'alpha' to be a number"),
    "attribute that is no integer": ("y = Gemm<transB=0.5>(x, wt)", "attribute 'transB' to be an integer"),
    "attribute that is no list": (LINEAR + "y = Transpose<perm=1>(h)", "attribute 'perm' to be a list"),
    "both classes of no sigmoid": ("h = MatMul(x, one) p = Tanh(h) o = Constant<value_float=1.0>() n = Sub(o, p) "
                                   "y = Concat<axis=1>(n, p)", "both classes to be those of a sigmoid"),
    "both classes, then a layer": ("h = MatMul(x, one) p = Sigmoid(h) o = Constant<value_float=1.0>() n = Sub(o, p) "
                                   "c = Concat<axis=1>(n, p) y = MatMul(c, v)", "nothing to follow both classes"),
    "classes as rows": ("h = MatMul(x, one) p = Sigmoid(h) o = Constant<value_float=1.0>() n = Sub(o, p) y = Concat<axis=0>(n, p)", "several"),
    "nothing": ("", "at least one dense layer"),
    "identity alone": ("y = Identity(x)", "at least one dense layer"),
    "a cycle": ("h = Add(x, i) i = Identity(y) y = Identity(h)", "'i' is computed"),
    "a second output": (LINEAR + "d, y = Dropout(h)", "expected it to follow from 'd', which ends"),
    "constant of nothing": ("c = Constant() y = Mul(x, c)", "expected a tensor, numbers or a number"),
    "constants that do not fit": ("r = Reshape(w, last1) y = MatMul(x, r)", "cannot reshape"),
    "constants of integers": ("r = Cast<to=7>(w) y = MatMul(x, r)", "cast to float16"),
    "names twice": (GEMM + " y = Relu(x)", r"node 1 \(Relu\): expected each name once, output 'y'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    nodes, message = REFUSED[name]
    more = {"matrix": np.ones((5, 2), np.float32), "cube": np.ones((2, 3, 2), np.float32), "integers": np.ones((3, 2), np.int64),
            "yes": np.array(True), "nought": 0.0, "infinite": np.inf, "last1": np.array([1])}  # fmt: skip
    inputs = "float[N, 3] x, float[N, 3] z" if "z)" in nodes else "float[N, 3] x"
    outputs = "float[N] x" if name == "nothing" else "float[N] y"
    model = onnx_model(nodes, used(nodes, **more), inputs=inputs, outputs=outputs, opset=24 if "Swish" in nodes else 17)
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, model)
    assert str(caught.value).startswith(f"from_onnx({str(tmp_path / 'model.onnx')!r})")
    assert len(str(caught.value)) < 600
