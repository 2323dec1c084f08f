"""to_onnx: ONNX's checker and evaluator, ONNX Runtime, and the way back by from_onnx."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import nnkernels as nnk
from conftest import DTYPES
from corpus import Array
from nnkernels.activations import TABLE
from nnkernels.models import to_onnx

RNG = np.random.default_rng(20261129)
ACTIVATIONS = (
    *(kind.activation for kind in TABLE),
    *("leaky_relu(negative_slope=0.2)", "leaky_relu(negative_slope=0.5)", "leaky_relu(negative_slope=0.3333333333333333)"),
    *("elu(alpha=0.1)", "elu(alpha=1.6732632423543772)"),
)


class Erf(OpRun):
    """Erf in the dtype of x; ONNX's evaluator computes it in float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.vectorize(math.erf)(x.astype(np.float64)).astype(x.dtype),)


def same(first: nnk.Network, second: nnk.Network) -> None:
    """Check that two networks are equal, bit for bit."""
    assert (first.dtype, first.one_neuron, dict(first.metadata)) == (second.dtype, second.one_neuron, dict(second.metadata))
    assert len(first) == len(second)
    for ours, theirs in zip(first.layers, second.layers, strict=True):
        assert type(ours) is type(theirs)
        for name in ours._own:
            given, got = getattr(ours, name), getattr(theirs, name)
            if isinstance(given, np.ndarray):
                assert (given.dtype, given.shape, given.tobytes()) == (got.dtype, got.shape, got.tobytes())
            else:
                assert given == got


def networks(activation: str | None, dtype: Any) -> list[nnk.Network]:
    """Return networks with each kind of layer and this activation."""
    weights, second = (RNG.normal(size=(4, 3)) / 4).astype(dtype), (RNG.normal(size=(2, 4)) / 4).astype(dtype)
    bias = RNG.normal(size=4).astype(dtype)
    scale = nnk.Scale(RNG.normal(size=3), RNG.normal(size=3))
    first = nnk.Dense(weights, bias, activation)
    layers: list[list[nnk.Dense | nnk.Scale]] = [
        [first, nnk.Dense(second, None, activation)],
        [scale, first, nnk.Scale([1.0, 2.0, 3.0, 4.0], 0.5), nnk.Scale(1.0, 0.1), nnk.Dense(second)],
        [first, nnk.Dense(second[0], 0.5, activation)],
        [first, nnk.Dense(second[0], 0.5, activation), nnk.Scale(1.0, 2.0)],
        [nnk.Dense(weights, bias), nnk.Scale(0.5, 2.0)],
    ]
    return [nnk.Network(several, dtype) for several in layers]


def check(network: nnk.Network, path: Path) -> None:
    """Write a network to a file, and check it."""
    network.to_onnx(path)
    onnx.checker.check_model(path, full_check=True)
    content = path.read_bytes()
    copy = nnk.from_onnx(path)
    same(network, copy)
    copy.to_onnx(path)
    assert path.read_bytes() == content
    x = RNG.normal(size=(7, network.inputs)).astype(network.dtype)
    with np.errstate(all="ignore"):
        y = network(x)
        evaluated = [ReferenceEvaluator(onnx.load(path), new_ops=[Erf]).run(None, {"x": x})[0]]
    evaluated += runtime(content, x)
    exact = y.astype(np.float64)
    tolerance = 64 * np.finfo(network.dtype).eps * max(1.0, float(np.abs(exact).max(initial=0)))
    for other in evaluated:
        assert (other.dtype, other.shape) == (y.dtype, y.shape)
        np.testing.assert_allclose(other.astype(np.float64), exact, rtol=0, atol=tolerance)
    if network.dtype != np.float16:  # ONNX's evaluator rounds more often in float16
        nnk.from_onnx(path, check=(x, evaluated[0]))


def runtime(content: bytes, x: Array) -> list[Any]:
    """Return the results of ONNX Runtime, if it is installed and has the operators."""
    try:
        import onnxruntime
    except ImportError:
        return []
    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        assert x.dtype == np.float64
        assert b"Erf" in content
        return []
    return [session.run(None, {"x": x})[0]]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(tmp_path: Path, activation: str | None, dtype: Any) -> None:
    for network in networks(activation, dtype):
        check(network, tmp_path / "net.onnx")


def test_runtime() -> None:
    """Without ONNX Runtime, the other tests use only ONNX's evaluator."""
    pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    "layers",
    [
        [nnk.Scale([1.0, 2.0], [3.0, 4.0])],
        [nnk.Scale([1e5, -0.0], 1e-5), nnk.Scale([1.0, 2.0], 1e3)],
        [nnk.Dense(np.ones((2, 1)))],
        [nnk.Dense(np.ones(1), 2.0)],
        [nnk.Dense([3.0, -0.0], -0.0, "sigmoid")],
        [nnk.Dense(np.ones((1, 2)), None, "sigmoid"), nnk.Scale(1.0, 2.0)],
    ],
)
def test_layers(tmp_path: Path, layers: list[Any], dtype: Any) -> None:
    check(nnk.Network(layers, dtype, {"classes": '["é"]', "": "\n"}), tmp_path / "net.onnx")


def test_a_network_without_outputs_is_written_but_not_read(tmp_path: Path, dtype: Any) -> None:
    nnk.Network([nnk.Dense(np.ones((0, 3)))], dtype).to_onnx(tmp_path / "net.onnx")
    onnx.checker.check_model(tmp_path / "net.onnx", full_check=True)
    with pytest.raises(ValueError, match="with at least one number"):
        nnk.from_onnx(tmp_path / "net.onnx")


def test_numbers_that_are_not_finite(tmp_path: Path, dtype: Any) -> None:
    network = nnk.Network([nnk.Dense(np.array([[np.nan, np.inf], [-np.inf, -0.0]], dtype), np.array([-0.0, np.nan], dtype))])
    network.to_onnx(tmp_path / "net.onnx")
    same(network, nnk.from_onnx(tmp_path / "net.onnx"))


def test_what_is_in_a_file(tmp_path: Path) -> None:
    network = nnk.Network(
        [nnk.Scale(1.0, 2.0), nnk.Dense(np.ones((2, 3), np.float32), None, "silu"), nnk.Dense(np.ones((1, 2), np.float32))],
        metadata={"b": "2", "a": "1"},
    )
    network.to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert [node.op_type for node in model.graph.node] == ["Cast", "Sub", "Mul", "Cast", "Gemm", "Sigmoid", "Mul", "Gemm"]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("a", "1"), ("b", "2")]
    for value, name, length in ((model.graph.input[0], "x", 3), (model.graph.output[0], "y", 1)):
        first, second = value.type.tensor_type.shape.dim
        assert (value.name, first.dim_param, second.dim_value) == (name, "batch", length)
    names = [tensor.name for tensor in model.graph.initializer]
    assert names == [
        "layers.0.offset",
        "layers.0.scale",
        *(f"layers.{i}.{part}" for i in (1, 2) for part in ("weights", "bias")),
    ]


@pytest.mark.parametrize(("dtype", "activation"), [*product(DTYPES, ["gelu", "gelu_tanh", "relu"])])
def test_opset(tmp_path: Path, dtype: Any, activation: str) -> None:
    nnk.Network([nnk.Dense(np.ones((1, 1)), None, activation)], dtype).to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    operators = {node.op_type for node in model.graph.node}
    assert model.opset_import[0].version == (20 if "Gelu" in operators else 17)
    assert ("Gelu" in operators) == (activation != "relu" and dtype != np.float64)


def test_options_that_float32_cannot_hold(tmp_path: Path) -> None:
    """The attribute is rounded to float32. The doc_string has all digits until it changes."""
    network = nnk.Network([nnk.Dense(np.ones((1, 1), np.float32), None, "elu(alpha=0.3333333333333333)")])
    network.to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    attribute = model.graph.node[1].attribute[0]
    assert attribute.f == np.float32(1 / 3)
    attribute.f = 0.25
    onnx.save(model, tmp_path / "net.onnx")
    assert nnk.from_onnx(tmp_path / "net.onnx").layers[0].activation == "elu(alpha=0.25)"
    model.graph.node[1].doc_string = "a text"
    onnx.save(model, tmp_path / "net.onnx")
    assert nnk.from_onnx(tmp_path / "net.onnx").layers[0].activation == "elu(alpha=0.25)"


def test_too_large(network: nnk.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_onnx, "_MOST_BYTES", 100)
    with pytest.raises(ValueError, match="to_onnx expected weights of at most 100 bytes, the limit of an ONNX file; got 172"):
        network.to_onnx(tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_paths(network: nnk.Network, tmp_path: Path) -> None:
    for path in (tmp_path / "net.onnx", str(tmp_path / "net.onnx"), bytes(tmp_path / "net.onnx")):
        network.to_onnx(path)
        same(network, nnk.from_onnx(path))
    with pytest.raises(FileNotFoundError):
        network.to_onnx(tmp_path / "none" / "net.onnx")


def test_trained_on(tmp_path: Path) -> None:
    """A restored network can be trained."""
    network = nnk.Network.random([3, 5, 2], "gelu", "softmax", seed=0)
    network.to_onnx(tmp_path / "net.onnx")
    x, labels = RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40)
    first, second = (nnk.train(net, x, labels, epochs=2) for net in (network, nnk.from_onnx(tmp_path / "net.onnx")))
    assert first.losses == second.losses
    same(first.network, second.network)
