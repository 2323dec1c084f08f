"""ONNX models from text, and ONNX's own cases, for tests."""

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper, parser

from corpus import Array


def onnx_model(
    nodes: str,
    constants: dict[str, Any] | None = None,
    *,
    inputs: str = "float[N, 3] x",
    outputs: str = "float[N, M] y",
    opset: int = 17,
    metadata: dict[str, str] | None = None,
) -> Any:
    """Return a model, from its nodes in ONNX's text form and its constants by name."""
    graph = parser.parse_graph(f"network ({inputs}) => ({outputs}) {{ {nodes} }}")
    for name, value in (constants or {}).items():
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        graph.initializer.append(numpy_helper.from_array(array, name))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    for key, text in (metadata or {}).items():
        model.metadata_props.add(key=key, value=text)
    return model


def write(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def evaluated(model: Any, x: Array, output: int = 0) -> Any:
    """Return the result of ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x})[output]


@cache
def node_cases() -> list[Any]:
    """Return ONNX's generated backend cases, most of a single node. Takes seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # computing the cases of other operators overflows
        return list(collect_testcases(None))
