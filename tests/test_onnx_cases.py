"""ONNX's backend node tests of supported operators, with a tolerance of 1e-6 instead of 1e-3.

Expected values are recomputed from each case's inputs in float64 or wider, since the stored values
come from float32 arithmetic. Both must agree within ONNX's tolerance, which shows that the operator
is the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx import helper

import nnkernels as nnk
import reference
from nnkernels import _core
from onnx_models import node_cases

Array = np.ndarray[Any, np.dtype[Any]]
Attributes = dict[str, Any]

TOLERANCE = 1e-6


def double(array: Array) -> Array:
    return array.astype(np.float64)


def approximation(attributes: Attributes) -> str:
    return attributes.get("approximate", b"none").decode()


def gelu(attributes: Attributes, x: Array) -> Any:
    return nnk.gelu(x, approximate=approximation(attributes))


def gelu_reference(attributes: Attributes, x: Array) -> Any:
    return {"none": reference.gelu, "tanh": reference.gelu_tanh}[approximation(attributes)](x)


def gemm(attributes: Attributes, a: Array, b: Array, c: Array | None = None) -> Any:
    """Return alpha A B + beta C by a dense layer with the transpose of B as weights."""
    x = attributes.get("alpha", 1.0) * (a.T if attributes.get("transA") else a)
    weights = b if attributes.get("transB") else b.T
    return nnk.dense(x, weights, None if c is None else attributes.get("beta", 1.0) * c)


def gemm_reference(attributes: Attributes, a: Array, b: Array, c: Array | None = None) -> Any:
    product = double(a.T if attributes.get("transA") else a) @ double(b.T if attributes.get("transB") else b)
    return attributes.get("alpha", 1.0) * product + attributes.get("beta", 1.0) * (0 if c is None else double(c))


def matmul(attributes: Attributes, a: Array, b: Array) -> Any:
    """Multiply matrices by dense; vectors and stacks of matrices by dot."""
    if a.ndim == b.ndim == 2:
        return nnk.dense(a, b.T)
    if b.ndim == 1:
        return nnk.dot(a, b)
    columns = b.swapaxes(-1, -2)
    return nnk.dot(a, columns) if a.ndim == 1 else nnk.dot(a[..., :, np.newaxis, :], columns[..., np.newaxis, :, :])


def reduce_log_sum_exp(attributes: Attributes, data: Array, axes: Array) -> Any:
    keepdims = attributes.get("keepdims", 1) == 1
    if axes.size == 0:  # all axes
        result = nnk.logsumexp(data.reshape(-1))
        return result.reshape((1,) * data.ndim) if keepdims else result
    return nnk.logsumexp(data, axis=axes.item(), keepdims=keepdims)


def reduce_log_sum_exp_reference(attributes: Attributes, data: Array, axes: Array) -> Any:
    with np.errstate(divide="ignore"):  # for empty axes
        sums = np.exp(double(data)).sum(axis=tuple(axes) or None, keepdims=attributes.get("keepdims", 1) == 1)
        return np.log(sums)


def classes_last(scores: Array) -> Array:
    return np.moveaxis(scores, 1, -1)


def label_weights(attributes: Attributes, labels: Array, weights: Array | None) -> tuple[Array, Array | None]:
    """Return labels and row weights by class weights. Ignored labels become class 0, weight 0."""
    ignored = labels == attributes["ignore_index"] if "ignore_index" in attributes else np.zeros(labels.shape, bool)
    labels = np.where(ignored, 0, labels)
    if weights is None:
        return labels, np.where(ignored, 0.0, 1.0) if ignored.any() else None
    return labels, np.where(ignored, 0, weights[labels])


def softmax_cross_entropy(cross_entropy: Callable[..., Any], log_softmax: Callable[..., Any]) -> Callable[..., Any]:
    def compute(attributes: Attributes, scores: Array, labels: Array, weights: Array | None = None) -> tuple[Any, Any]:
        labels, sample_weight = label_weights(attributes, labels, weights)
        reduction = attributes["reduction"].decode()
        loss = cross_entropy(classes_last(scores), labels, sample_weight=sample_weight, reduction=reduction)
        return loss, log_softmax(scores, axis=1)

    return compute


def negative_log_likelihood(cross_entropy: Callable[..., Any], logsumexp: Callable[..., Any]) -> Callable[..., Any]:
    """The cross-entropy of log probabilities, which need not be normalised."""

    def compute(attributes: Attributes, scores: Array, labels: Array, weights: Array | None = None) -> Any:
        labels, sample_weight = label_weights(attributes, labels, weights)
        logits, reduction = classes_last(scores), attributes["reduction"].decode()
        counts = np.ones(labels.shape) if sample_weight is None else sample_weight
        excess = np.multiply(counts, logsumexp(logits), dtype=scores.dtype)
        if reduction != "none":
            excess = excess.sum() if reduction == "sum" else scores.dtype.type(excess.sum() / counts.sum())
        return cross_entropy(logits, labels, sample_weight=sample_weight, reduction=reduction) - excess

    return compute


def of_cross_entropy(logits: Array, labels: Array, **keywords: Any) -> Any:
    return reference.loss("cross_entropy", logits, labels, **keywords)[0]


# ONNX's step 0 does not correct the bias of Adam's moments. Nor does step 10000 here, where the
# powers of the betas vanish.
LATE = 10_000

Step = Callable[[Any, Array, Array, list[Array]], tuple[Array, list[Array]]]


def step(settings: Any, parameters: Array, gradient: Array, moments: list[Array]) -> tuple[Array, list[Array]]:
    """Make one step with train, with targets for which squared_error has this gradient."""
    n = len(parameters)
    trainer = _core.Trainer([1, n], [(0, 0.0)], parameters.dtype.num, 2, 0.0, 1, len(moments))
    trainer.parameters[:n], trainer.steps = parameters, LATE
    for ours, given in zip(trainer.moments, moments, strict=True):
        ours[:n] = given
    targets = (parameters - n * gradient / 2)[np.newaxis]
    trainer.epochs(np.ones((1, 1), parameters.dtype), targets, None, settings.numbers(), 0, 0, 1, False)
    return trainer.parameters[:n], [moment[:n] for moment in trainer.moments]


def reference_step(settings: Any, parameters: Array, gradient: Array, moments: list[Array]) -> tuple[Array, list[Array]]:
    update = reference.OPTIMIZERS[type(settings).__name__]
    return update(settings, parameters, double(gradient), moments, LATE, np.ones(len(parameters)))


def optimizer(step: Step, settings_of: Callable[[Attributes, float], Any]) -> Callable[..., Any]:
    """Return a step of several tensors; its arguments are all parameters, gradients, moments."""

    def compute(attributes: Attributes, rate: Array, step_number: Array, *tensors: Array) -> list[Array]:
        assert step_number == 0
        settings = settings_of(attributes, float(rate))
        kinds = 4 if isinstance(settings, nnk.Adam) else 3
        lengths = [len(tensor) for tensor in tensors[: len(tensors) // kinds]]
        parameters, gradient, *moments = np.split(np.concatenate(tensors), kinds)
        parameters, moments = step(settings, parameters, gradient, moments)
        return [part for kind in (parameters, *moments) for part in np.split(kind, np.cumsum(lengths)[:-1])]

    return compute


def adam(attributes: Attributes, rate: float) -> nnk.Adam:
    return nnk.Adam(rate, *(attributes[name] for name in ("alpha", "beta", "epsilon", "norm_coefficient")))


def momentum(attributes: Attributes, rate: float) -> nnk.SGD:
    return nnk.SGD(rate, attributes["alpha"], attributes["mode"] == b"nesterov", attributes["norm_coefficient"])


class Operator(NamedTuple):
    """An ONNX operator, computed by nnkernels; its reference; its minimum number of cases."""

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

CROSS_ENTROPIES = (
    *("none", "none_weights", "sum", "mean", "mean_3d", "mean_weight"),
    *(f"mean_{weight}_ii{shape}" for weight in ("weight", "no_weight") for shape in ("", "_3d", "_4d")),
    *("NCd1d2d3d4d5_mean_weight", "NCd1d2d3d4d5_none_no_weight"),
    *("NCd1_mean_weight_negative_ii", "NCd1d2d3_none_no_weight_negative_ii", "NCd1d2d3_sum_weight_high_ii"),
)
LIKELIHOODS = (
    *("NC", "NCd1", "NCd1_ii", "NCd1_weight", "NCd1_weight_ii", "NCd1d2", "NCd1d2_no_weight_reduction_mean_ii"),
    *(f"NCd1d2_{kind}" for kind in ("reduction_mean", "reduction_sum", "with_weight", "with_weight_reduction_mean")),
    *("NCd1d2_with_weight_reduction_sum", "NCd1d2_with_weight_reduction_sum_ii"),
    *CROSS_ENTROPIES[-5:],
)

OPERATORS = {
    "Relu": Operator(lambda _, x: nnk.relu(x), lambda _, x: reference.relu(x), names("relu", "")),
    "Sigmoid": Operator(lambda _, x: nnk.sigmoid(x), lambda _, x: reference.sigmoid(x), names("sigmoid", "", "example")),
    "Tanh": Operator(lambda _, x: nnk.tanh(x), lambda _, x: reference.tanh(x), names("tanh", "", "example")),
    "Exp": Operator(lambda _, x: nnk.exp(x), lambda _, x: reference.exp(x), names("exp", "", "example")),
    "LeakyRelu": Operator(
        lambda attributes, x: nnk.leaky_relu(x, attributes.get("alpha", 0.01)),
        lambda attributes, x: reference.leaky_relu(x, attributes.get("alpha", 0.01)),
        names("leakyrelu", "", "default", "example"),
    ),
    "Elu": Operator(
        lambda attributes, x: nnk.elu(x, attributes.get("alpha", 1.0)),
        lambda attributes, x: reference.elu(x, attributes.get("alpha", 1.0)),
        names("elu", "", "default", "example"),
    ),
    "Gelu": Operator(gelu, gelu_reference, names("gelu", "default_1", "default_2", "tanh_1", "tanh_2")),
    "Softplus": Operator(lambda _, x: nnk.softplus(x), lambda _, x: reference.softplus(x), names("softplus", "", "example")),
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
    "SoftmaxCrossEntropyLoss": Operator(
        softmax_cross_entropy(nnk.cross_entropy, nnk.log_softmax),
        softmax_cross_entropy(of_cross_entropy, reference.log_softmax),
        names("sce", *(f"{case}{log}" for case in CROSS_ENTROPIES for log in ("", "_log_prob"))),
    ),
    "NegativeLogLikelihoodLoss": Operator(
        negative_log_likelihood(nnk.cross_entropy, nnk.logsumexp),
        lambda attributes, scores, *others: negative_log_likelihood(of_cross_entropy, reference.logsumexp)(
            attributes, scores.astype(np.longdouble), *others
        ),
        names("nllloss", *LIKELIHOODS),
    ),
    "Adam": Operator(optimizer(step, adam), optimizer(reference_step, adam), names("adam", "", "multiple")),
    "Momentum": Operator(
        optimizer(step, momentum),
        optimizer(reference_step, momentum),
        names("momentum", "", "multiple") | names("nesterov_momentum", ""),
    ),
}


@pytest.fixture(scope="module")
def cases() -> dict[str, list[Any]]:
    """Return ONNX's cases with a single node, by operator."""
    single: dict[str, list[Any]] = {}
    case: Any
    for case in node_cases():
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
        for inputs, stored in case.data_sets:
            expected, actual = (function(attributes, *inputs) for function in (operator.expected, operator.compute))
            if not isinstance(actual, (tuple, list)):
                expected, actual = [expected], [actual]
            for e, a, s in zip(expected, actual, stored, strict=False):  # log_prob is optional in ONNX
                np.testing.assert_allclose(e, s, case.rtol, case.atol, err_msg=f"reference of {case.name}")
                np.testing.assert_allclose(a, e, TOLERANCE, TOLERANCE, err_msg=case.name)
                assert (a.dtype, a.shape) == (s.dtype, s.shape), case.name
