"""Losses and their gradients: accuracy, edge cases, reductions, weights, kinds of arguments."""

import inspect
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bounds
import nnkernels as nnk
import reference
from corpus import Array, numbers
from ulp import same_bits

LOSSES = tuple(reference.LOSSES)
ELEMENTWISE = LOSSES[1:]
OF_LOGITS = ("cross_entropy", "binary_cross_entropy")

# Each loss with default and with other options.
WITH_OPTIONS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in LOSSES),
    ("cross_entropy", {"label_smoothing": 0.1}),
    ("cross_entropy", {"label_smoothing": 1.0}),
    ("binary_cross_entropy", {"pos_weight": 3.7}),
    ("binary_cross_entropy", {"pos_weight": 0.0}),
    ("huber", {"delta": 0.3}),
    ("huber", {"delta": 1e3}),
]
REDUCTIONS = ("none", "sum", "mean")

inf, nan = np.inf, np.nan


def make_targets(name: str, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, *, soft: bool = False) -> Array:
    """Return targets for outputs of the given shape."""
    if name == "cross_entropy":
        if soft:
            return rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(dtype)
        return rng.integers(0, shape[-1], shape[:-1])
    if name == "binary_cross_entropy":
        return (rng.random(shape) if soft else rng.integers(0, 2, shape)).astype(dtype)
    values = rng.normal(0, 3, shape).astype(dtype)
    return np.abs(values) if name == "poisson" else values


def gradient_of(name: str, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
    """Return the value and the gradient of a loss."""
    return getattr(nnk, name)(*arguments, gradient=True, **keywords)


def call(name: str, *arguments: Any, **keywords: Any) -> Any:
    return getattr(nnk, name)(*arguments, **keywords)


def check(name: str, outputs: Array, targets: Array, **keywords: Any) -> None:
    """Compare with the reference, within the bounds of losses.h."""
    dtype = outputs.dtype.type
    actual = gradient_of(name, outputs, targets, **keywords)
    exact = reference.loss(name, outputs, targets, **keywords)
    limits = bounds.loss(name, outputs, targets, dtype, **keywords)
    for what, a, e, limit in zip(("value", "gradient"), actual, exact, limits, strict=True):
        a, e = np.asarray(a, np.longdouble), np.asarray(e)
        overflow = np.abs(e) + limit > np.finfo(dtype).max
        error = np.where(overflow & np.isinf(a), 0, np.abs(a - e))
        worst = np.argmax(error / limit)
        assert (error <= limit).all(), f"{what}: {a.flat[worst]} for {e.flat[worst]}, {np.max(error / limit):.3g} bounds"


# --- Accuracy ---


def logits(kind: str, name: str, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return ordinary outputs, or outputs of one difficult kind."""
    info = np.finfo(dtype)
    normal = rng.normal(0, 3, shape)
    # Sums of losses must not overflow, except in float16.
    largest = {"squared_error": info.max**0.5 / 2**9, "poisson": 0.9 * np.log(info.max)}.get(
        name, min(info.max / 16, info.max**0.75)
    )
    if kind.startswith("margin"):  # how confident a row is
        sure = np.arange(shape[-1]) == rng.integers(0, shape[-1], shape[:-1])[..., np.newaxis]
        normal = normal / 30 + np.where(sure, float(kind.split()[1]), 0) * rng.choice([-1, 1])
    if kind == "huge":
        normal = rng.uniform(-largest, largest, shape)
    if kind == "tiny":
        normal = normal * info.tiny
    if kind == "equal":
        normal = np.full(shape, 0.1)
    return normal.astype(dtype)


@pytest.mark.parametrize("kind", ["ordinary", "margin 17", "margin 80", "huge", "tiny", "equal"])
@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=str)
def test_accuracy(
    name: str, options: dict[str, float], kind: str, measured_dtype: type[np.floating], rng: np.random.Generator
) -> None:
    """Each reduction for each shape, half of them with soft targets."""
    for shape, soft in product([(300, 1), (70, 3), (9, 33), (2, 1030)], [False, True]):
        outputs = logits(kind, name, rng, shape, measured_dtype)
        targets = make_targets(name, rng, shape, measured_dtype, soft=soft)
        by_row, by_term = rng.uniform(0, 2, shape[0]), rng.integers(0, 3, shape[:1] if name == "cross_entropy" else shape)
        if soft:
            ways = [("none", by_row), ("mean", None), ("mean", by_term)]
        else:
            ways = [("none", None), ("sum", by_term), ("mean", by_row)]
        for reduction, sample_weight in ways:
            with np.errstate(over="ignore"):  # the sum may overflow in float16
                check(name, outputs, targets, sample_weight=sample_weight, reduction=reduction, **options)


@pytest.mark.parametrize("n", [2, 3, 10, 100, 1000])
@pytest.mark.parametrize("margin", [17, 80, 100, 700])
@pytest.mark.parametrize("name", OF_LOGITS)
def test_confident_rows(name: str, margin: float, n: int, measured_dtype: type[np.floating]) -> None:
    """Loss and gradient of a confident, right row are small, but 0 only if they underflow."""
    z = np.full((1, n), -margin, measured_dtype)
    z[0, n // 2] = 0
    targets = np.array([n // 2])
    if name == "binary_cross_entropy":
        z, targets = z[:, :1], np.zeros((1, 1), measured_dtype)
    for reduction in REDUCTIONS:
        check(name, z, targets, reduction=reduction)
    value, gradient = gradient_of(name, z, targets)
    if margin < -np.log(np.finfo(measured_dtype).smallest_subnormal):
        assert value > 0
        assert (gradient != 0).all()


def test_confident_row_of_the_design() -> None:
    z = np.array([[0, -17]], np.float32)
    value, gradient = nnk.cross_entropy(z, [0], gradient=True)
    assert f"{value:.1e}" == "4.1e-08"
    assert gradient[0, 0] == -gradient[0, 1] == -value


def test_tutorial() -> None:
    """The losses in the tutorial's first part."""
    p = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]])
    np.testing.assert_allclose(nnk.cross_entropy(np.log(p), [0, 1, 1]), -np.log([0.7, 0.5, 0.9]).mean(), rtol=1e-15)
    assert nnk.squared_error([1.0, 2.0], [3.0, 2.5]) == (4 + 0.25) / 2  # no factor of 1/2
    assert nnk.absolute_error([1.0, 2.0], [3.0, 2.5]) == (2 + 0.5) / 2
    assert nnk.huber([1.0, 2.0], [3.0, 2.5]) == (1.5 + 0.125) / 2
    assert nnk.huber([1.0], [4.0], delta=2.0) == 2 * (3 - 1)
    assert nnk.poisson([0.0, 0.0], [3.0, 5.0]) == 1
    np.testing.assert_allclose(nnk.binary_cross_entropy([0.0, 0.0], [1.0, 0.0]), np.log(2), rtol=1e-15)


@pytest.mark.parametrize("n", [3, 33, 700, 3001])
def test_differences_alone(n: int, dtype: type[np.floating]) -> None:
    """cross_entropy(z + c) has the bits of cross_entropy(z) if each z + c is exact."""
    z, labels = numbers(np.float16, 5, n).astype(dtype), np.arange(5) % n
    for shift in (4, -4) if dtype is np.float16 else (4, -256):
        for actual, expected in zip(
            *(gradient_of("cross_entropy", rows, labels, reduction="none") for rows in (z + dtype(shift), z)), strict=True
        ):
            assert same_bits(actual, expected)


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=str)
def test_float16_is_float32_rounded_once(name: str, options: dict[str, float], rng: np.random.Generator) -> None:
    outputs = rng.normal(0, 3, (50, 11)).astype(np.float16)
    targets = make_targets(name, rng, outputs.shape, np.float16)
    for reduction in REDUCTIONS:
        keywords = {"reduction": reduction, "sample_weight": rng.random(50), **options}
        half = gradient_of(name, outputs, targets, **keywords)
        single = gradient_of(name, outputs.astype(np.float32), targets, **keywords)
        for narrow, wide in zip(half, single, strict=True):
            assert same_bits(np.asarray(narrow), np.asarray(wide).astype(np.float16))


# --- Edge cases ---


@pytest.fixture(autouse=True)
def nothing_warns() -> Any:
    with np.errstate(all="raise", under="ignore"):
        yield


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_no_rows(name: str, reduction: str, dtype: type[np.floating]) -> None:
    outputs = np.empty((0, 3), dtype)
    targets = np.empty(0, int) if name == "cross_entropy" else outputs
    value, gradient = gradient_of(name, outputs, targets, reduction=reduction)
    assert gradient.shape == outputs.shape
    assert gradient.dtype == value.dtype == dtype
    if reduction == "none":
        assert value.shape == targets.shape
    else:
        np.testing.assert_equal(float(value), nan if reduction == "mean" else 0.0)


def test_special_logits_of_cross_entropy(dtype: type[np.floating]) -> None:
    rows = [[0, -inf], [-inf, 0], [nan, 0], [0, nan], [inf, 0], [0, inf], [-inf, -inf], [0, 0]]
    values, gradient = gradient_of("cross_entropy", np.array(rows, dtype), np.zeros(8, int), reduction="none")
    expected = np.array([0, inf, nan, nan, nan, nan, nan, dtype(np.float32(np.log(2)))], dtype)
    np.testing.assert_array_equal(values[:-1], expected[:-1])
    np.testing.assert_array_equal(gradient, np.array([[0, 0], [-1, 1], *[[nan, nan]] * 5, [-0.5, 0.5]], dtype))
    for reduction in ("sum", "mean"):
        assert np.isnan(call("cross_entropy", np.array(rows, dtype), np.zeros(8, int), reduction=reduction))
        assert call("cross_entropy", np.array(rows[:2], dtype), [0, 0], reduction=reduction) == inf


def test_probability_0_where_the_logarithm_is_infinite(dtype: type[np.floating]) -> None:
    z = np.array([[0, 0, -inf], [0, -inf, -inf]], dtype)
    value, gradient = gradient_of("cross_entropy", z, np.array([[0.5, 0.5, 0], [1, 0, 0]], dtype), reduction="none")
    assert value[1] == 0
    np.testing.assert_allclose(value[0].astype(float), np.log(2), rtol=1e-3)
    np.testing.assert_array_equal(gradient, np.zeros_like(z))
    assert call("cross_entropy", z, np.array([[0, 0.5, 0.5], [0.5, 0.5, 0]], dtype)) == inf
    assert call("cross_entropy", z, np.zeros_like(z)) == 0


@pytest.mark.parametrize(
    ("name", "special"),
    [
        (
            "binary_cross_entropy",
            [(1, nan, nan, nan), (inf, 1, 0, 0), (-inf, 0, 0, 0), (inf, 0, inf, 1), (-inf, 1, inf, -1), (nan, 0, nan, nan)],
        ),
        ("squared_error", [(inf, 0, inf, inf), (-inf, 0, inf, -inf), (nan, 0, nan, nan), (inf, inf, nan, nan)]),
        ("absolute_error", [(inf, 0, inf, 1), (-inf, 0, inf, -1), (nan, 0, nan, nan), (2, 2, 0, 0)]),
        ("huber", [(inf, 0, inf, 1), (-inf, 0, inf, -1), (nan, 0, nan, nan), (1, 0, 0.5, 1), (0, 1, 0.5, -1)]),
        ("poisson", [(inf, 0, inf, inf), (-inf, 1, inf, -1), (nan, 0, nan, nan), (0, 1, 1, 0)]),
    ],
)
def test_special_outputs(name: str, special: list[tuple[float, ...]], dtype: type[np.floating]) -> None:
    """Special outputs and targets, among ordinary rows."""
    outputs, targets, losses, gradients = np.array(special, dtype).T
    for before in range(20):
        pad = np.ones(before, dtype)
        actual = gradient_of(name, np.append(pad, outputs), np.append(pad, targets), reduction="none")
        np.testing.assert_array_equal(actual[0][before:], losses)
        np.testing.assert_array_equal(actual[1][before:], gradients)


@pytest.mark.parametrize("n", [1, 3, 40, 500])
@pytest.mark.parametrize("name", LOSSES)
def test_weight_0_hides_a_row(name: str, n: int, dtype: type[np.floating], rng: np.random.Generator) -> None:
    outputs = rng.normal(0, 1, (9, n)).astype(dtype)
    targets = make_targets(name, rng, outputs.shape, dtype)
    weights = np.array([1, 0.5, 0, 2, 0, 0, 0.25, 3, 0])
    kept = weights > 0
    for reduction, bad in product(REDUCTIONS, (nan, inf, -inf)):
        keywords = {"sample_weight": weights, "reduction": reduction}
        expected, of_expected = gradient_of(name, np.where(kept[:, np.newaxis], outputs, dtype(1)), targets, **keywords)
        hidden = np.where(kept[:, np.newaxis], outputs, dtype(bad))
        value, gradient = gradient_of(name, hidden, targets, **keywords)
        assert same_bits(np.asarray(value), np.asarray(expected))
        assert same_bits(gradient, of_expected)
        assert not gradient[~kept].any()
        if reduction == "none":
            assert not value[~kept].any()
        else:  # a term of weight 0 does not count
            alone = call(name, outputs[kept], targets[kept], sample_weight=weights[kept], reduction=reduction)
            np.testing.assert_allclose(value.astype(float), alone.astype(float), rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy of probabilities", "binary_cross_entropy"])
def test_weight_0_hides_a_target_out_of_range(name: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    loss, _, soft = name.partition(" of ")
    outputs, weights = rng.normal(0, 1, (9, 4)).astype(dtype), np.arange(9) % 3
    targets = make_targets(loss, rng, outputs.shape, dtype, soft=bool(soft))
    row = weights.reshape((9, 1)[: targets.ndim])
    for weighted in (weights, np.broadcast_to(row, outputs.shape)) if loss == "binary_cross_entropy" else (weights,):
        expected = gradient_of(loss, outputs, targets, sample_weight=weighted)
        actual = gradient_of(loss, outputs, np.where(row, targets, targets.dtype.type(-100)), sample_weight=weighted)
        for a, e in zip(actual, expected, strict=True):
            assert same_bits(np.asarray(a), np.asarray(e))
    with pytest.raises(ValueError, match="row 1"):
        call(loss, outputs, np.where(row == 1, -100, targets), sample_weight=weights)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_weight_0_hides_an_element(name: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    outputs = rng.normal(0, 1, (9, 4)).astype(dtype)
    targets, weights = make_targets(name, rng, outputs.shape, dtype), rng.integers(0, 2, outputs.shape)
    hidden = np.where(weights, outputs, dtype(nan))
    for reduction in REDUCTIONS:
        keywords = {"sample_weight": weights, "reduction": reduction}
        for actual, expected in zip(
            gradient_of(name, hidden, targets, **keywords), gradient_of(name, outputs, targets, **keywords), strict=True
        ):
            assert same_bits(np.asarray(actual), np.asarray(expected))


@pytest.mark.parametrize("name", LOSSES)
def test_all_weights_0(name: str, dtype: type[np.floating]) -> None:
    outputs = np.ones((4, 2), dtype)
    targets = np.zeros(4, int) if name == "cross_entropy" else outputs
    assert np.isnan(call(name, outputs, targets, sample_weight=np.zeros(4)))
    assert call(name, outputs, targets, sample_weight=np.zeros(4), reduction="sum") == 0


# --- Consistency of reductions, weights and gradients ---


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=str)
def test_reductions_agree(name: str, options: dict[str, float], rng: np.random.Generator) -> None:
    """gradient=True and weights of 1 keep the value; "sum" and "mean" reduce "none"."""
    outputs = rng.normal(0, 3, (5, 2, 7))
    targets = make_targets(name, rng, outputs.shape, float, soft=True)
    terms, of_terms = gradient_of(name, outputs, targets, reduction="none", **options)
    assert terms.shape == outputs.shape[: 2 if name == "cross_entropy" else 3]
    total, of_total = gradient_of(name, outputs, targets, reduction="sum", **options)
    np.testing.assert_allclose(total, terms.sum(), rtol=1e-14)
    assert same_bits(of_total, of_terms)
    mean, of_mean = gradient_of(name, outputs, targets, **options)
    np.testing.assert_allclose(mean, terms.mean(), rtol=1e-14)
    np.testing.assert_allclose(of_mean, of_terms / terms.size, rtol=1e-14)
    for reduction in REDUCTIONS:
        with_gradient, of_value = gradient_of(name, outputs, targets, reduction=reduction, **options)
        value = call(name, outputs, targets, reduction=reduction, **options)
        assert same_bits(np.asarray(value), np.asarray(with_gradient))
        for shape in {terms.shape, outputs.shape[:2]}:
            weighted = gradient_of(name, outputs, targets, reduction=reduction, sample_weight=np.ones(shape), **options)
            np.testing.assert_allclose(weighted[0], value, rtol=1e-15)
            np.testing.assert_allclose(weighted[1], of_value, rtol=1e-15)


def test_values_are_scalars_of_the_logits_dtype(dtype: type[np.floating]) -> None:
    for name in LOSSES:
        for reduction in ("sum", "mean"):
            targets = [0, 1] if name == "cross_entropy" else np.ones((2, 2))
            value, gradient = gradient_of(name, np.ones((2, 2), dtype), targets, reduction=reduction)
            assert type(value) is type(call(name, np.ones((2, 2), dtype), targets)) is dtype
            assert type(gradient) is np.ndarray
            assert gradient.dtype == dtype


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=str)
def test_gradient_is_the_derivative(name: str, options: dict[str, float], rng: np.random.Generator) -> None:
    """Against central differences, away from kinks."""
    outputs, step = rng.normal(0, 2, (4, 3)), 1e-5
    targets = make_targets(name, rng, outputs.shape, float, soft=True)
    keywords = {"sample_weight": rng.random(4) + 0.5, **options}
    _, gradient = gradient_of(name, outputs, targets, **keywords)
    for place in np.ndindex(outputs.shape):
        above, below = outputs.copy(), outputs.copy()
        above[place] += step
        below[place] -= step
        difference = call(name, above, targets, **keywords) - call(name, below, targets, **keywords)
        np.testing.assert_allclose(gradient[place], difference / (2 * step), rtol=1e-8, atol=1e-9)


# --- Rows are independent, bit for bit ---


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=str)
def test_every_number_of_rows(name: str, options: dict[str, float], rng: np.random.Generator) -> None:
    """A row has the same loss and gradient alone and among other rows, even special ones."""
    for single, n in product((np.float32, np.float64), (*range(1, 20), 31, 32, 33, 64, 100, 1025)):
        outputs = rng.normal(0, 4, (40, n)).astype(single)
        outputs[5, 0], outputs[11, -1], outputs[12, n // 2], outputs[20] = nan, inf, -inf, -inf
        targets = make_targets(name, rng, outputs.shape, single, soft=n % 2 == 0)
        one = partial(gradient_of, name, reduction="none", **options)
        alone = [one(outputs[row : row + 1], targets[row : row + 1]) for row in range(40)]
        expected = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
        for count in (2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 40):
            for rows in (slice(count), slice(-count, None), slice(None, None, -1)):
                for actual, whole in zip(one(outputs[rows], targets[rows]), expected, strict=True):
                    assert same_bits(actual, np.ascontiguousarray(whole[rows]))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(40_001, 10), (2_003, 300)], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_threads(name: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    """Several threads give the bits of one thread, and of a few rows alone."""
    outputs = rng.normal(0, 3, shape).astype(np.float32)
    targets, weights = make_targets(name, rng, shape, np.float32), rng.random(shape[0])
    results = []
    for threads_used in (1, 2, 7):
        nnk.set_num_threads(threads_used)
        nnk.relu(np.zeros(threads_used << 19, np.uint8))  # start all workers
        results.append(gradient_of(name, outputs, targets, sample_weight=weights))
    value, gradient = results[0]
    for other, of_other in results[1:]:
        assert same_bits(np.asarray(other), np.asarray(value))
        assert same_bits(of_other, gradient)
    few, of_few = gradient_of(name, outputs[:100], targets[:100], sample_weight=weights[:100], reduction="none")
    whole, of_whole = gradient_of(name, outputs, targets, sample_weight=weights, reduction="none")
    assert same_bits(whole[:100], few)
    assert same_bits(of_whole[:100], of_few)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.copy,
    "columns": lambda array: np.array(array, order="F"),
    "apart": lambda array: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
    "backwards": lambda array: np.asarray(np.flip(np.flip(array).copy())),
    "swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "misaligned": lambda array: np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape),
}


@given(
    shape=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    n=st.integers(1, 40),
    case=st.sampled_from(WITH_OPTIONS),
    layouts=st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 3),
    reduction=st.sampled_from(REDUCTIONS),
    weighted=st.sampled_from(["no", "rows", "losses"]),
    soft=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shapes_and_layouts(
    shape: tuple[int, ...],
    n: int,
    case: tuple[str, dict[str, float]],
    layouts: tuple[str, str, str],
    reduction: str,
    weighted: str,
    soft: bool,
    seed: int,
    dtype: type[np.floating],
) -> None:
    """Any shape (..., n) means rows of n. The layout of arguments does not change the bits."""
    rng = np.random.default_rng(seed)
    name, options = case
    outputs = rng.normal(0, 3, (*shape, n)).astype(dtype)
    targets = np.asarray(make_targets(name, rng, outputs.shape, dtype, soft=soft))
    of_losses = shape if name == "cross_entropy" else outputs.shape
    weights = None if weighted == "no" else np.asarray(rng.random(shape if weighted == "rows" and shape else of_losses))
    rows = [outputs.reshape(-1, n), targets.reshape((-1, n)[: targets.ndim - len(shape) + 1]), weights]
    if weights is not None:
        rows[2] = weights.reshape((-1, n)[: weights.ndim - len(shape) + 1])
    keywords = {"reduction": reduction, **options}
    expected = gradient_of(name, rows[0], rows[1], sample_weight=rows[2], **keywords)
    laid_out = [
        array if array is None else LAYOUTS[layout](array)
        for layout, array in zip(layouts, (outputs, targets, weights), strict=True)
    ]
    before = [array if array is None else array.copy() for array in laid_out]
    for array in laid_out:
        if array is not None:
            array.flags.writeable = False
    value, gradient = gradient_of(name, laid_out[0], laid_out[1], sample_weight=laid_out[2], **keywords)
    assert same_bits(gradient, expected[1].reshape(outputs.shape))
    shape_of_value = of_losses if reduction == "none" else ()
    assert same_bits(np.asarray(value), np.asarray(expected[0]).reshape(shape_of_value))
    for array, copy in zip(laid_out, before, strict=True):
        assert array is None or np.array_equal(array, copy)


# --- Arguments ---


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in ("squared_error", "absolute_error", "poisson")), ("huber", {"delta": 1.0}),
     ("cross_entropy", {"label_smoothing": 0.0}), ("binary_cross_entropy", {"pos_weight": 1.0})],
)  # fmt: skip
def test_signature(name: str, options: dict[str, float]) -> None:
    parameters = list(inspect.signature(getattr(nnk, name)).parameters.values())
    assert [parameter.name for parameter in parameters[:2]] == ["logits" if name in OF_LOGITS else "outputs", "targets"]
    defaults = {parameter.name: parameter.default for parameter in parameters[2:]}
    assert defaults == {"sample_weight": None, "reduction": "mean", "gradient": False} | options
    assert {parameter.kind for parameter in parameters[2:]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("code", [*"?bBhHiIlLqQ"])
def test_labels_of_every_integer_dtype(code: str, dtype: type[np.floating], rng: np.random.Generator) -> None:
    z, labels = rng.normal(0, 1, (50, 2)).astype(dtype), rng.integers(0, 2, 50)
    for actual, expected in zip(
        gradient_of("cross_entropy", z, labels.astype(code)), gradient_of("cross_entropy", z, labels), strict=True
    ):
        assert same_bits(np.asarray(actual), np.asarray(expected))


@pytest.mark.parametrize("name", LOSSES)
def test_arguments_of_other_kinds(name: str, rng: np.random.Generator) -> None:
    outputs = rng.normal(0, 1, (6, 3))
    targets, weights = make_targets(name, rng, outputs.shape, float), rng.random(6)
    expected = gradient_of(name, outputs, targets, sample_weight=weights)
    frame = pd.DataFrame if targets.ndim == 2 else pd.Series
    for arguments in (
        (outputs.tolist(), targets.tolist(), weights.tolist()),
        (pd.DataFrame(outputs), frame(targets), pd.Series(weights)),
    ):
        actual = gradient_of(name, *arguments[:2], sample_weight=arguments[2])
        for a, e in zip(actual, expected, strict=True):
            assert same_bits(np.asarray(a), np.asarray(e))


@pytest.mark.parametrize("dtype", ["UInt64", "uint64[pyarrow]"])
def test_targets_of_pandas_beyond_int64(dtype: str) -> None:
    targets = pd.Series([2**63 + 2**62, 1], dtype=dtype)
    for name in ("squared_error", "poisson"):
        assert call(name, np.zeros(2), targets) == call(name, np.zeros(2), targets.to_numpy(np.uint64))
    with pytest.raises(ValueError, match=str(2**63 + 2**62)):
        nnk.cross_entropy(np.zeros((2, 3)), targets)


@pytest.mark.parametrize("name", LOSSES)
def test_promotion(name: str) -> None:
    """Integer outputs become np.result_type(outputs, np.float32), whatever the targets."""
    for code in "?bBhHiIlLqQefd":
        outputs = np.ones((2, 3), code)
        targets = np.ones(2, int) if name == "cross_entropy" else np.ones((2, 3))
        dtype = outputs.dtype if outputs.dtype.kind == "f" else np.result_type(outputs, np.float32)
        value, gradient = gradient_of(name, outputs, targets)
        assert value.dtype == gradient.dtype == dtype
        expected = gradient_of(name, outputs.astype(dtype), targets)
        assert same_bits(np.asarray(value), np.asarray(expected[0]))
        assert same_bits(gradient, expected[1])


def test_one_row_and_one_number() -> None:
    """A single row of logits has a single label; other losses take numbers too."""
    value, gradient = nnk.cross_entropy([2.0, 1.0, -1.0], 0, gradient=True)
    rows, of_rows = nnk.cross_entropy([[2.0, 1.0, -1.0]], [0], gradient=True)
    assert value == rows
    assert same_bits(gradient, of_rows[0])
    assert nnk.squared_error(1.0, 3.0) == 4
    assert nnk.squared_error([1.0, 2.0], [3.0, 2.0], sample_weight=[1.0, 0.0]) == 4


def failing() -> dict[str, tuple[Callable[[], Any], type[Exception] | tuple[type[Exception], ...], str]]:
    """Return failing calls, with the exception and a pattern for its message."""
    z = np.zeros((4, 3), np.float32)
    labels, y = np.array([0, 1, 2, 1]), np.zeros((4, 3), np.float32)
    calls: dict[str, tuple[Callable[[], Any], Any, str]] = {}

    def add(what: str, error: Any, pattern: str, name: str, *arguments: Any, **keywords: Any) -> None:
        calls[f"{name}, {what}"] = partial(call, name, *arguments, **keywords), error, pattern

    for bad in (-1, 3, 2**40):
        add(
            f"label {bad}",
            ValueError,
            rf"(?s)row 2\b.*{bad}|{bad}.*row 2\b",
            "cross_entropy",
            z,
            np.where(labels == 2, bad, labels),
        )
    add(
        "label 2**64 - 1",
        ValueError,
        "row 2",
        "cross_entropy",
        z,
        np.where(labels == 2, np.uint64(2**64 - 1), labels.astype(np.uint64)),
    )
    add("label beyond the first row", ValueError, "row 1", "cross_entropy", z, [0, 9, 0, 9])
    add("labels that are fractions", TypeError, r"integers.*astype\(int\)", "cross_entropy", z, labels + 0.5)
    for names in (["cat", "dog", "cat", "cow"], np.array([b"cat"] * 4), np.array(["cat"] * 4, object)):
        add(f"names {names!r}", TypeError, "np.unique.*converts names to labels", "cross_entropy", z, names)
    add("labels in a column", ValueError, r"reshape them to \(4,\)", "cross_entropy", z, labels[:, np.newaxis])
    add(
        "negative probability",
        ValueError,
        "row 2, output 1",
        "cross_entropy",
        z,
        np.where(np.arange(12) == 7, -1, 1).reshape(4, 3),
    )
    for bad in (-0.25, 1.5, inf):
        targets = y.copy()
        targets[2, 1] = targets[3, 0] = bad
        add(f"target {bad}", ValueError, "row 2", "binary_cross_entropy", z, targets)
    for name in LOSSES:
        targets = labels if name == "cross_entropy" else y
        for bad in (-0.5, nan, inf):
            weights = np.array([1, 0, bad, bad])
            add(f"weight {bad}", ValueError, "row 2", name, z, targets, sample_weight=weights)
        huge = np.full(4, 6e307 if name == "cross_entropy" else 2e307)  # other losses have 3 terms per row
        add("sum of weights", ValueError, "sum of sample_weight", name, z, targets, sample_weight=huge)
        for shape in ((3,), (4, 1), (1,), (), (3, 4)):
            add(f"weights of shape {shape}", ValueError, "sample_weight", name, z, targets, sample_weight=np.ones(shape))
        for rows in (targets[:3], targets[:1], np.stack([targets, targets])):
            add(f"targets of shape {rows.shape}", ValueError, r"\(4, 3\).*float32", name, z, rows)
        add("reduction", ValueError, "reduction", name, z, targets, reduction="average")
        for kind in (complex, object, str, "datetime64[s]"):
            add(f"outputs of {kind}", TypeError, name, name, np.ones((4, 3)).astype(kind), targets)
            add(f"targets of {kind}", TypeError, name, name, z, targets.astype(kind))
    for name in ELEMENTWISE:
        add("(n,) beside (n, 1)", ValueError, r"reshape them to \(4, 1\)", name, z[:, :1], y[:, 0])
        add("(n, 1) beside (n,)", ValueError, r"reshape them to \(4,\).*\(4, 1\)", name, z[:, 0], y[:, :1])
        add("broadcast targets", ValueError, r"\(1, 3\)", name, z, y[:1])
    for bad in (-0.1, 1.1, nan):
        add(f"label_smoothing {bad}", ValueError, "label_smoothing", "cross_entropy", z, labels, label_smoothing=bad)
    for bad in (-1.0, nan, inf, 1e300):
        add(f"pos_weight {bad}", ValueError, "pos_weight", "binary_cross_entropy", z, y, pos_weight=bad)
    for bad in (-1.0, nan, 0.0, 1e-50):
        add(f"delta {bad}", ValueError, "delta", "huber", z, y, delta=bad)
    return calls


FAILING = failing()


@pytest.mark.parametrize("case", FAILING)
def test_errors(case: str) -> None:
    failing_call, error, pattern = FAILING[case]
    with pytest.raises(error, match=pattern):
        failing_call()
