"""The node tests of ONNX's backend for our operators, at 1e-6 where ONNX asks for 1e-3.

Expected values are computed again, in float64 or wider, from each case's inputs: the stored ones come from float32 arithmetic.
That both agree within ONNX's tolerance shows that the same operator is meant.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx import helper
from onnx.backend.test.case.node import collect_testcases

import nnkernels as nnk
import reference

Array = np.ndarray[Any, np.dtype[Any]]
Attributes = dict[str, Any]

TOLERANCE = 1e-6


def double(array: Array) -> Array:
    return array.astype(np.float64)


def gemm(attributes: Attributes, a: Array, b: Array, c: Array | None = None) -> Any:
    """Return alpha A B + beta C by a dense layer, whose weights are the transpose of B."""
    x = attributes.get("alpha", 1.0) * (a.T if attributes.get("transA") else a)
    weights = b if attributes.get("transB") else b.T
    return nnk.dense(x, weights, None if c is None else attributes.get("beta", 1.0) * c)


def gemm_reference(attributes: Attributes, a: Array, b: Array, c: Array | None = None) -> Any:
    product = double(a.T if attributes.get("transA") else a) @ double(b.T if attributes.get("transB") else b)
    return attributes.get("alpha", 1.0) * product + attributes.get("beta", 1.0) * (0 if c is None else double(c))


def matmul(attributes: Attributes, a: Array, b: Array) -> Any:
    """Multiply two matrices by dense, vectors and stacks of matrices by dot."""
    if a.ndim == b.ndim == 2:
        return nnk.dense(a, b.T)
    if b.ndim == 1:
        return nnk.dot(a, b)
    columns = b.swapaxes(-1, -2)
    return nnk.dot(a, columns) if a.ndim == 1 else nnk.dot(a[..., :, np.newaxis, :], columns[..., np.newaxis, :, :])


def reduce_log_sum_exp(attributes: Attributes, data: Array, axes: Array) -> Any:
    keepdims = attributes.get("keepdims", 1) == 1
    if axes.size == 0:  # all of them
        result = nnk.logsumexp(data.reshape(-1))
        return result.reshape((1,) * data.ndim) if keepdims else result
    return nnk.logsumexp(data, axis=axes.item(), keepdims=keepdims)


def reduce_log_sum_exp_reference(attributes: Attributes, data: Array, axes: Array) -> Any:
    with np.errstate(divide="ignore"):  # no elements
        sums = np.exp(double(data)).sum(axis=tuple(axes) or None, keepdims=attributes.get("keepdims", 1) == 1)
        return np.log(sums)


class Operator(NamedTuple):
    """An operator of ONNX as nnkernels computes it, its reference, and the cases that there must be at least."""

    compute: Callable[..., Any]
    expected: Callable[..., Any]
    cases: frozenset[str]


def names(prefix: str, *suffixes: str) -> frozenset[str]:
    return frozenset(f"test_{prefix}_{suffix}" if suffix else f"test_{prefix}" for suffix in suffixes)


ALONG_AXIS = ("axis_0", "axis_1", "axis_2", "default_axis", "large_number", "negative_axis")
REDUCTIONS = ("default_axes_keepdims", "do_not_keepdims", "keepdims", "negative_axes_keepdims")
GEMMS = (
    "all_attributes",
    "alpha",
    "beta",
    "default_matrix_bias",
    "default_no_bias",
    "default_scalar_bias",
    "default_single_elem_vector_bias",
    "default_vector_bias",
    "default_zero_bias",
    "transposeA",
    "transposeB",
)

OPERATORS = {
    "Relu": Operator(lambda _, x: nnk.relu(x), lambda _, x: reference.relu(x), names("relu", "")),
    "Sigmoid": Operator(lambda _, x: nnk.sigmoid(x), lambda _, x: reference.sigmoid(x), names("sigmoid", "", "example")),
    "Tanh": Operator(lambda _, x: nnk.tanh(x), lambda _, x: reference.tanh(x), names("tanh", "", "example")),
    "Softmax": Operator(
        lambda attributes, x: nnk.softmax(x, **attributes),
        lambda attributes, x: reference.softmax(x, **attributes),
        names("softmax", "example", *ALONG_AXIS),
    ),
    "LogSoftmax": Operator(
        lambda attributes, x: nnk.log_softmax(x, **attributes),
        lambda attributes, x: reference.log_softmax(x, **attributes),
        names("logsoftmax", "example_1", *ALONG_AXIS),
    ),
    "ReduceLogSumExp": Operator(
        reduce_log_sum_exp,
        reduce_log_sum_exp_reference,
        names("reduce_log_sum_exp", "empty_set", *(f"{case}_{kind}" for case in REDUCTIONS for kind in ("example", "random"))),
    ),
    "Gemm": Operator(gemm, gemm_reference, names("gemm", *GEMMS)),
    "MatMul": Operator(
        matmul,
        lambda _, a, b: double(a) @ double(b),
        names("matmul", "1d_1d", "1d_3d", "2d", "3d", "4d", "4d_1d", "bcast"),
    ),
}


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Any]]:
    """Return ONNX's cases of a single node, by operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # computing the cases of other operators overflows
        collected = collect_testcases(None)
    single: dict[str, list[Any]] = {}
    case: Any
    for case in collected:
        nodes = case.model.graph.node
        if len(nodes) == 1:
            single.setdefault(nodes[0].op_type, []).append(case)
    return single


@pytest.mark.parametrize("name", OPERATORS)
def test_operator(cases: dict[str, list[Any]], name: str) -> None:
    operator = OPERATORS[name]
    assert {case.name for case in cases[name]} >= operator.cases
    for case in cases[name]:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in case.model.graph.node[0].attribute}
        for inputs, (stored,) in case.data_sets:
            expected = operator.expected(attributes, *inputs)
            np.testing.assert_allclose(expected, stored, case.rtol, case.atol, err_msg=f"reference of {case.name}")
            actual = operator.compute(attributes, *inputs)
            np.testing.assert_allclose(actual, expected, TOLERANCE, TOLERANCE, err_msg=case.name)
            assert (actual.dtype, actual.shape) == (stored.dtype, stored.shape), case.name
