"""ONNX's backend cases as networks: single operators, and converted PyTorch layers.

Inputs after the first become constants. An identity dense layer is put before an activation. A case
is either read, and gives its stored outputs, or refused because it is not a chain of layers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

import nnkernels as nnk
from corpus import Array
from nnkernels.models.onnx import ACTIVATIONS, OPERATORS
from onnx_models import node_cases


class Case(NamedTuple):
    name: str
    model: Any
    inputs: list[Any]
    outputs: list[Any]


def arrays(folder: Path, kind: str) -> list[Any]:
    tensors = (onnx.TensorProto.FromString(path.read_bytes()) for path in sorted(folder.glob(f"{kind}_*.pb")))
    return [numpy_helper.to_array(tensor) for tensor in tensors]


def stored(kind: str) -> Iterator[Case]:
    """Yield the cases stored in files."""
    for case in load_model_tests(kind=kind):
        model = onnx.load(Path(case.model_dir, "model.onnx"))
        for folder in Path(case.model_dir).glob("test_data_set_*"):
            yield Case(case.name, model, arrays(folder, "input"), arrays(folder, "output"))


def computed() -> Iterator[Case]:
    """Yield the cases of each supported operator, including its expanded forms."""
    for case in node_cases():
        operators = {node.op_type for node in case.model.graph.node}
        if operators & OPERATORS.keys():
            for inputs, outputs in case.data_sets:
                yield Case(case.name, case.model, list(inputs), list(outputs))


def as_chain(case: Case) -> Any:
    """Return a case's model, with constants for further inputs, and dense before an activation."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    given = [value for value in graph.input if value.name not in {tensor.name for tensor in graph.initializer}]
    for value, array in zip(given[1:], case.inputs[1:], strict=False):
        graph.initializer.append(numpy_helper.from_array(array, value.name))
    first = given[0].name
    alone = [node for node in graph.node if node.op_type != "Constant"]
    of_activation = alone[0].op_type in {*ACTIVATIONS, "Selu", "Celu", "PRelu", "Swish"}
    if of_activation and case.inputs[0].ndim and case.inputs[0].shape[-1] <= 1000:  # an identity of 10,000 inputs takes seconds
        for node in graph.node:
            node.input[:] = ["dense" if name == first else name for name in node.input]
        graph.node.insert(0, helper.make_node("MatMul", [first, "identity"], ["dense"]))
        graph.initializer.append(
            numpy_helper.from_array(np.eye(case.inputs[0].shape[-1], dtype=case.inputs[0].dtype), "identity")
        )
    return model


# Cases that must be read.
READ = {
    "node": {
        *("gemm_default_no_bias", "gemm_default_vector_bias", "gemm_transposeB", "gemm_alpha", "gemm_beta", "matmul_2d",
            "relu"),
        *("sigmoid", "tanh", "elu", "elu_default", "leakyrelu", "leakyrelu_default", "selu", "celu", "softplus", "exp",
            "gelu_default_1"),
        *("gelu_tanh_1", "softmax_axis_2", "softmax_negative_axis", "logsoftmax_axis_2", "batchnorm_example",
            "softmax_example"),
    },
    "pytorch-converted": {
        *("Linear", "Linear_no_bias", "Softmax", "LogSoftmax", "Sigmoid", "Tanh", "SELU", "ELU", "LeakyReLU", "ReLU",
            "Softplus"),
        *("PReLU_1d", "BatchNorm1d_3d_input_eval", "softmax_lastdim", "log_softmax_lastdim", "LeakyReLU_with_negval"),
    },
    "pytorch-operator": {"operator_mm", "operator_exp", "operator_selu", "operator_add_broadcast"},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:from_onnx")
@pytest.mark.parametrize("kind", READ)
def test_cases(tmp_path: Path, kind: str) -> None:
    read = set()
    for case in computed() if kind == "node" else stored(kind):
        if not case.inputs or not isinstance(case.inputs[0], np.ndarray) or case.inputs[0].dtype.kind != "f":
            continue
        path = tmp_path / "model.onnx"
        path.write_bytes(as_chain(case).SerializeToString())
        try:
            network = nnk.from_onnx(path, output=case.model.graph.output[0].name)
        except ValueError as error:
            assert path.name in str(error), case.name  # noqa: PT017 - an error is optional
            continue
        agree(case, network)
        read.add(case.name.removeprefix("test_"))
    missing = READ[kind] - read
    assert not missing, sorted(read)


def agree(case: Case, network: nnk.Network) -> None:
    """Compare with the stored outputs, whose channels may be on the second axis."""
    x, y = case.inputs[0], case.outputs[0]
    if case.model.graph.node[0].op_type == "BatchNormalization" and x.ndim > 2:
        x, y = np.moveaxis(x, 1, -1), np.moveaxis(y, 1, -1)
    rows: Array = x.reshape(-1, network.inputs) if network.inputs else x
    actual = network(rows).astype(np.float64)
    tolerance = 2e-3 if y.dtype == np.float16 else 1e-5
    np.testing.assert_allclose(actual.reshape(y.shape), y.astype(np.float64), tolerance, 1e-6, err_msg=case.name)
