"""PyTorch's samples of losses and activations (OpInfo). Needs PyTorch and expecttest."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nnkernels as nnk
from corpus import Array
from golden import gradient_of

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="PyTorch's samples need it")

Sample = tuple[Array, Array, dict[str, Any]]


def cross_entropy(
    scores: Array, targets: Array, weight: Array | None = None, ignore_index: int = -100, **keywords: Any
) -> tuple[Any, Array]:
    """PyTorch has the classes on the second axis, and class weights."""
    counts = np.ones(scores.shape[1]) if weight is None else weight
    if targets.ndim == scores.ndim:
        targets, sample_weight = np.moveaxis(targets, 1, -1) * counts, None
    else:
        ignored = targets == ignore_index
        targets = np.where(ignored, 0, targets)
        sample_weight = np.where(ignored, 0, counts[targets])
    logits = np.moveaxis(scores, 1, -1)
    value, gradient = nnk.cross_entropy(logits, targets, sample_weight=sample_weight, gradient=True, **keywords)
    return value, np.moveaxis(gradient, -1, 1)


def binary_cross_entropy_with_logits(
    logits: Array,
    targets: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    reduction: str = "mean",
) -> tuple[Any, Array]:
    """PyTorch divides the sum of weighted losses by their number; pos_weight is per column."""
    sample_weight = None if weight is None else np.broadcast_to(weight, logits.shape)
    keywords: dict[str, Any] = {"reduction": "none", "gradient": True}
    if pos_weight is None:
        value, gradient = nnk.binary_cross_entropy(logits, targets, sample_weight=sample_weight, **keywords)
    else:
        columns = [
            nnk.binary_cross_entropy(
                logits[:, i], targets[:, i], sample_weight=None if weight is None else weight[:, i], pos_weight=p, **keywords
            )
            for i, p in enumerate(pos_weight)
        ]
        value, gradient = (np.stack(parts, axis=1) for parts in zip(*columns, strict=True))
    if reduction == "none":
        return value, gradient
    return value.sum() / (value.size if reduction == "mean" else 1), gradient / (value.size if reduction == "mean" else 1)


def poisson_nll_loss(log_rates: Array, targets: Array, *, eps: float = 0.0, **keywords: Any) -> tuple[Any, Array]:
    """The loss of log rates, without log(y!)."""
    return nnk.poisson(log_rates, targets, gradient=True, reduction=keywords["reduction"])


OURS: dict[str, Any] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "mse_loss": lambda outputs, targets, **keywords: nnk.squared_error(outputs, targets, gradient=True, **keywords),
    "l1_loss": lambda outputs, targets, **keywords: nnk.absolute_error(outputs, targets, gradient=True, **keywords),
    "huber_loss": lambda outputs, targets, **keywords: nnk.huber(outputs, targets, gradient=True, **keywords),
    "poisson_nll_loss": poisson_nll_loss,
}
LEAST_SAMPLES = {
    "cross_entropy": 21, "binary_cross_entropy_with_logits": 26, "mse_loss": 6, "l1_loss": 6, "huber_loss": 9,
    "poisson_nll_loss": 18,
}  # fmt: skip


def samples(name: str, dtype: Any) -> Iterator[Any]:
    from torch.testing._internal.common_methods_invocations import op_db

    (info,) = (info for info in op_db if info.name == f"nn.functional.{name}")
    for sample in info.sample_inputs("cpu", dtype, requires_grad=False):
        if name != "poisson_nll_loss" or (sample.kwargs["log_input"] and not sample.kwargs["full"]):
            for key in sample.kwargs.keys() & {"weight", "pos_weight"}:
                sample.kwargs[key] = sample.kwargs[key].abs()  # negative weights are not supported
            yield sample


def as_numpy(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


def softplus(x: Array, beta: float = 1, threshold: float = 20) -> Array:
    return np.where(x * beta > threshold, x, nnk.softplus(x * x.dtype.type(beta)) / x.dtype.type(beta))


# Functions of a tensor by their names in PyTorch's list, and as a text for a layer, with their
# options.
ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "exp": (nnk.exp, lambda: "exp"),
    "log_softmax": (lambda x, dim, **_: nnk.log_softmax(x, axis=dim), None),
    "softmax": (lambda x, dim, **_: nnk.softmax(x, axis=dim), None),
    "sigmoid": (nnk.sigmoid, lambda: "sigmoid"),
    "tanh": (nnk.tanh, lambda: "tanh"),
    "nn.functional.leaky_relu": (nnk.leaky_relu, lambda negative_slope=0.01: f"leaky_relu(negative_slope={negative_slope})"),
    "nn.functional.elu": (nnk.elu, lambda alpha=1.0: f"elu(alpha={alpha})"),
    "nn.functional.silu": (lambda x, **_: nnk.silu(x), lambda **_: "silu"),
    "nn.functional.gelu": (nnk.gelu, lambda approximate="none": "gelu" if approximate == "none" else "gelu_tanh"),
    "nn.functional.softplus": (softplus, lambda beta=1, threshold=20: "softplus" if (beta, threshold) == (1, 20) else None),
    "nn.functional.relu": (lambda x, **_: nnk.relu(x), lambda **_: "relu"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_samples_of_activations(name: str, dtype: str) -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    function, text_of = ACTIVATIONS[name]
    count = 0
    for info in (info for info in op_db if info.name == name and not info.variant_test_name):
        for sample in info.sample_inputs("cpu", getattr(torch, dtype), requires_grad=False):
            if "dtype" in sample.kwargs or (sample.input.ndim == 0 and "softmax" in name):
                continue  # not supported
            x = sample.input.clone().requires_grad_()
            expected = info.op(x, *sample.args, **sample.kwargs)
            keywords = {key: value for key, value in sample.kwargs.items() if key != "inplace"}
            actual = function(sample.input.numpy(), *sample.args, **keywords)
            wanted = expected.detach().numpy()
            scale = max(1.0, float(np.abs(wanted).max(initial=0)))
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=8 * np.finfo(dtype).eps * scale)
            assert (actual.shape, actual.dtype) == (wanted.shape, wanted.dtype)
            count += 1
            text = text_of(*sample.args, **keywords) if text_of else None
            if text is not None and x.numel():
                expected.sum().backward()
                values = sample.input.numpy().ravel()
                gradient = gradient_of(text, values, np.ones_like(values))
                scale = max(1.0, float(x.grad.abs().max()))
                np.testing.assert_allclose(
                    gradient.ravel(), x.grad.numpy().ravel(), rtol=0, atol=32 * np.finfo(dtype).eps * scale
                )
    assert count >= 1


@pytest.mark.filterwarnings("ignore")  # from imports of PyTorch's tests
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OURS)
def test_samples(name: str, dtype: str) -> None:
    function, given = getattr(torch.nn.functional, name), list(samples(name, getattr(torch, dtype)))
    assert len(given) >= LEAST_SAMPLES[name]
    for sample in given:
        outputs = sample.input.clone().requires_grad_()
        expected = function(outputs, *sample.args, **sample.kwargs)
        expected.sum().backward()
        keywords = {key: as_numpy(value) for key, value in sample.kwargs.items()}
        value, gradient = OURS[name](sample.input.numpy(), *map(as_numpy, sample.args), **keywords)
        for actual, wanted in ((value, expected.detach()), (gradient, outputs.grad)):
            scale = max(1.0, float(wanted.abs().max()))
            np.testing.assert_allclose(actual, wanted.numpy(), rtol=0, atol=8 * np.finfo(dtype).eps * scale)
        assert gradient.shape == outputs.shape
