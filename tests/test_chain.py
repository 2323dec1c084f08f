"""Shared code of nnkernels.models: folding linear layers, comparing a network with its model."""

import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import nnkernels as nnk
import reference
from conftest import TARGETS
from corpus import Array, numbers
from nnkernels.models.chain import Chain
from nnkernels.models.check import compare, probe
from test_errors import run
from ulp import same_bits

Step = tuple[str, tuple[Any, ...]]


def dense(*sizes: int, dtype: Any = np.float64, seed: int = 1) -> tuple[Array, Array]:
    inputs, outputs = sizes
    return numbers(dtype, outputs, inputs, seed=seed), numbers(dtype, outputs, seed=seed + 1)


def chain_of(*steps: Step, inputs: int | None = None) -> Chain:
    chain = Chain("from_test", inputs)
    for number, (method, arguments) in enumerate(steps, 1):
        getattr(chain, method)(f"layer {number}", *arguments)
    return chain


def by_numpy(x: Array, *steps: Step) -> Array:
    """Apply the steps to rows, one by one."""
    for method, arguments in steps:
        match method, arguments:
            case "dense", (weights, bias):
                x = x @ np.transpose(weights) + bias
            case "activation", (name,):
                x = getattr(reference, name)(x)
            case "affine", (factor, shift):
                x = x * factor + shift
            case "scale", (offset, scale):
                x = (x - offset) * scale
            case "batch_norm", (mean, variance, epsilon, gamma, beta):
                x = (x - mean) / np.sqrt(variance + epsilon) * gamma + beta
    return x


def kinds(net: nnk.Network) -> list[str | None]:
    return ["scale" if isinstance(layer, nnk.Scale) else layer.activation for layer in net.layers]


# --- Folding ---


def test_dense_layers_and_activations_are_kept_as_they_are() -> None:
    first, second = dense(3, 4, dtype=np.float32), dense(4, 2, dtype=np.float32)
    net = chain_of(("dense", first), ("activation", ("relu",)), ("activation", (None,)), ("dense", second)).network({"a": "b"})
    assert kinds(net) == ["relu", None]
    assert dict(net.metadata) == {"a": "b"}
    for layer, (weights, bias) in zip(net.layers, (first, second), strict=True):
        assert isinstance(layer, nnk.Dense)
        assert same_bits(layer.weights, weights)
        assert same_bits(layer.bias, bias)


@pytest.mark.parametrize("bias", [None, 0.5, [0.5], [[0.5, 0.5]]])
def test_bias(bias: Any) -> None:
    (layer,) = chain_of(("dense", ([[1.0], [2.0]], bias))).network().layers
    assert isinstance(layer, nnk.Dense)
    assert layer.bias.tolist() == ([0.0, 0.0] if bias is None else [0.5, 0.5])


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ("f4 f4", "f4"), ("f2 f2", "f2"), ("f2 f8", "f8"), ("i8 f4", "f8"), ("i2 i2", "f4"), (">f4 f4", "f4"), ("? ?", "f4"),
    ],
)  # fmt: skip
def test_dtype_is_the_models_own(dtypes: str, expected: str) -> None:
    weights, bias = (np.ones(shape, dtype) for shape, dtype in zip(((2, 2), 2), dtypes.split(), strict=True))
    chain = chain_of(("dense", (weights, bias)), ("affine", (np.float64(2.0), 0.0)), ("activation", ("relu",)))
    assert chain.network().dtype == expected
    assert chain.network(dtype="f2").dtype == np.float16
    assert chain.network64().dtype == np.float64


def test_batch_normalisation_is_folded_in_float64_and_rounded_once() -> None:
    weights, bias = dense(5, 7, dtype=np.float32)
    mean, variance, gamma, beta = (abs(numbers(np.float32, 7, seed=seed)) for seed in (3, 4, 5, 6))
    chain = chain_of(("dense", (weights, bias)), ("batch_norm", (mean, variance, 1e-5, gamma, beta)), ("activation", ("tanh",)))
    wide = [array.astype(np.float64) for array in (weights, bias, mean, variance, gamma, beta)]
    factor = wide[4] / np.sqrt(wide[3] + 1e-5)
    exact = factor[:, np.newaxis] * wide[0], wide[1] * factor + (wide[5] - wide[2] * factor)
    for net, dtype in ((chain.network(), np.float32), (chain.network64(), np.float64)):
        (layer,) = net.layers
        assert isinstance(layer, nnk.Dense)
        assert same_bits(layer.weights, exact[0].astype(dtype))
        assert same_bits(layer.bias, exact[1].astype(dtype))


def test_batch_normalisation_of_the_inputs_is_a_scale() -> None:
    mean, variance, gamma, beta = 1e6 + numbers(np.float64, 3), abs(numbers(np.float64, 3)), [0.5, -2.0, 1e-3], [1.0, 0.0, -3.0]
    statistics: Step = ("batch_norm", (mean, variance, 1e-5, gamma, beta))
    x = mean + numbers(np.float64, 20, 3, seed=2)
    for before in ((), (("scale", (1.0, 2.0)),), (statistics,)):
        steps = (*before, statistics, ("dense", dense(3, 2)), ("activation", ("tanh",)))
        net = chain_of(*steps).network()
        assert kinds(net) == [*["scale"] * len(before), "scale", "tanh"]
        np.testing.assert_allclose(net(x), by_numpy(x, *steps), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("before", "gamma", "variance"),
    [
        ([("affine", (2.0, 1.0))], 1.0, 1.0),
        ([("dense", dense(3, 3)), ("activation", ("relu",))], 1.0, 1.0),
        ([], [1.0, 0.0, 1.0], 1.0),
        ([], 1.0, np.array([1.0, np.inf, 1.0])),
        ([], [1.0, np.nan, 1.0], 1.0),
    ],
)
def test_batch_normalisation_that_no_scale_of_inputs_can_be_is_folded(before: list[Step], gamma: Any, variance: Any) -> None:
    steps: list[Step] = [*before, ("batch_norm", ([1.0, 2.0, 3.0], variance, 1e-5, gamma, 0.5)), ("dense", dense(3, 2))]
    net = chain_of(*steps).network()
    assert "scale" not in kinds(net)
    x = numbers(np.float64, 9, 3)
    np.testing.assert_allclose(net(x), by_numpy(x, *steps), rtol=1e-12)


def test_batch_normalisation_of_large_inputs_learns_on() -> None:
    z = numbers(np.float64, 400, 4)
    targets = (z[:, :1] - z[:, 1:2]) * z[:, 2:3] / 8.0
    learned = nnk.train(nnk.Network.random([4, 16, 1], "tanh", seed=1), z, targets, epochs=40, optimizer=nnk.Adam(0.01))
    mean, deviation = np.array([1e3, 2e3, -3e3, 5e3]), np.array([10.0, 300.0, 50.0, 1.0])
    first, second = learned.network.layers
    assert isinstance(first, nnk.Dense)
    assert isinstance(second, nnk.Dense)
    net = chain_of(
        ("batch_norm", (mean, deviation**2, 0.0)),
        ("dense", (first.weights, first.bias)),
        ("activation", ("tanh",)),
        ("dense", (second.weights, second.bias)),
    ).network()
    for optimizer in (nnk.Adam(), nnk.SGD(0.01)):
        losses = nnk.train(net, mean + deviation * z, targets, epochs=3, optimizer=optimizer).losses
        assert max(losses) < 1.2 * learned.losses[-1], losses


def test_what_follows_an_activation_is_folded_into_the_next_layer() -> None:
    first, second = dense(3, 4), dense(4, 2, seed=5)
    factor, shift = numbers(np.float64, 4, seed=7), numbers(np.float64, 4, seed=8)
    net = chain_of(("dense", first), ("activation", ("relu",)), ("affine", (factor, shift)), ("dense", second)).network()
    layer = net.layers[1]
    assert isinstance(layer, nnk.Dense)
    assert same_bits(layer.weights, second[0] * factor)
    assert same_bits(layer.bias, second[1] + nnk.dot(second[0], shift))


def some_steps(rng: np.random.Generator) -> tuple[list[Step], int]:
    """Return a valid sequence of steps, and its number of inputs."""
    inputs = width = int(rng.integers(1, 6))
    steps: list[Step] = []
    foldable = ended = False  # whether an activation may follow; whether there is a dense layer
    for _ in range(int(rng.integers(1, 9))):
        one = rng.random() < 0.3
        times, plus = rng.uniform(0.5, 2.0, () if one else width), rng.normal(size=() if rng.random() < 0.3 else width)
        match rng.integers(5):
            case 0 | 1:
                outputs = int(rng.integers(1, 6))
                steps.append(("dense", (rng.normal(size=(outputs, width)), rng.normal(size=outputs))))
                width, foldable, ended = outputs, True, True
            case 2 if foldable:
                steps.append(("activation", (str(rng.choice(["relu", "tanh", "sigmoid", "softmax"])),)))
                foldable = False
            case 3:
                steps.append(("affine", (times, plus)))
            case 4:
                steps.append(("scale", (plus, times)))
                foldable = False
    if not ended:
        steps.append(("dense", (rng.normal(size=(2, width)), rng.normal(size=2))))
    return steps, inputs


@pytest.mark.parametrize("seed", range(300))
def test_chains_compute_what_their_layers_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, inputs = some_steps(rng)
    x = rng.normal(size=(20, inputs))
    exact = by_numpy(x, *steps)
    net = chain_of(*steps, inputs=inputs).network()
    np.testing.assert_allclose(net(x), exact, rtol=1e-12, atol=1e-12 * max(1.0, abs(exact).max()))
    assert sum(isinstance(layer, nnk.Dense) for layer in net.layers) == sum(method == "dense" for method, _ in steps)
    after_first = ["affine" if method == "affine" else "scale" for method, _ in steps if method in ("affine", "scale")]
    assert kinds(net).count("scale") <= len(after_first)


@pytest.mark.parametrize(
    "steps", [["affine", "dense"], ["affine", "affine", "dense"], ["dense", "affine", "affine", "activation"]]
)
def test_no_scale_is_left_where_a_dense_layer_takes_it(steps: list[str]) -> None:
    arguments = {"affine": (numbers(np.float64, 3), 2.0), "dense": dense(3, 3), "activation": ("relu",)}
    assert "scale" not in kinds(chain_of(*((step, arguments[step]) for step in steps)).network())


def test_an_affine_at_the_end_is_a_scale() -> None:
    net = chain_of(("dense", dense(2, 2)), ("activation", ("relu",)), ("affine", ([2.0, -4.0], [0.0, 1.0]))).network()
    scale = net.layers[1]
    assert isinstance(scale, nnk.Scale)
    assert scale.offset.tolist() == [0.0, 0.25]
    assert scale.scale.tolist() == [2.0, -4.0]


def test_scales_stay_and_an_affine_before_one_too() -> None:
    net = chain_of(
        ("scale", (1e5, 1e-3)), ("affine", (2.0, 1.0)), ("scale", ([1.0, 2.0], 1.0)), ("dense", dense(2, 1))
    ).network()
    assert kinds(net) == ["scale", "scale", "scale", None]


def test_what_changes_nothing_is_left_out() -> None:
    layers = ("dense", dense(2, 2)), ("activation", ("relu",)), ("affine", (1.0, [0.0, 0.0]))
    assert kinds(chain_of(*layers).network()) == ["relu"]


def test_selu_and_celu() -> None:
    x = np.linspace(-5.0, 5.0, 41)[:, np.newaxis]
    for follow in ((), (("dense", ([[2.0]], [1.0])),)):
        net = chain_of(("dense", ([[1.0]], [0.0])), ("selu", ()), *follow).network()
        selu = 1.0507009873554804934 * np.where(x > 0, x, 1.6732632423543772848 * np.expm1(np.minimum(x, 0)))
        np.testing.assert_allclose(net(x), 2 * selu + 1 if follow else selu, rtol=1e-14)
        for alpha in (1.0, 0.3, 2.0):
            net = chain_of(("dense", ([[1.0]], [0.0])), ("celu", (alpha,)), *follow).network()
            celu = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))
            np.testing.assert_allclose(net(x), 2 * celu + 1 if follow else celu, rtol=1e-14)
            assert kinds(net) == ["elu", *([None] if follow else ["scale"] if alpha != 1.0 else [])]


def test_weights_that_are_not_finite_are_kept() -> None:
    with np.errstate(all="raise"):
        net = chain_of(("affine", (2.0, 1.0)), ("dense", ([[np.inf, np.nan, 1.0]], [0.0])), ("affine", (2.0, 1.0))).network()
    (layer,) = net.layers
    assert isinstance(layer, nnk.Dense)
    assert np.array_equal(layer.weights, [[np.inf, np.nan, 4.0]], equal_nan=True)


def test_a_chain_without_dense_layers() -> None:
    for steps, inputs in ([("scale", (1.0, 2.0))], 3), ([("affine", ([2.0, 2.0, 2.0], [-2.0] * 3))], None):
        net = chain_of(*steps, inputs=inputs).network()
        assert net.inputs == 3
        assert net.dtype == np.float64
        assert net([1.0, 2.0, 3.0]).tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_statistics_tell_the_dtype_where_there_are_no_weights(dtype: Any) -> None:
    net = chain_of(("batch_norm", (np.ones(3, dtype), np.ones(3, dtype), 1e-5))).network()
    assert net.dtype == dtype
    assert chain_of(("batch_norm", (1.0, 1.0, 1e-5)), ("dense", dense(3, 2, dtype=dtype))).network().dtype == dtype


def test_chain_keeps_no_view_of_the_model() -> None:
    weights, bias = dense(2, 2)
    net = chain_of(("dense", (weights, bias))).network()
    before = net([1.0, 2.0])
    weights[:] = 0.0
    assert same_bits(net([1.0, 2.0]), before)


# --- Refusals ---


RELU = ("activation", ("relu",))
ALONE = "expected a dense layer before it"
MORE = "expected 3 inputs, the outputs of the layer before; got "
MATRIX = "expected weights (outputs, inputs), got "


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "expected at least one dense layer, found none"),
        ([("scale", (1.0, 2.0))], "expected a layer with a fixed number of inputs, found none"),
        ([RELU], f"layer 1: {ALONE}"),
        ([("scale", (1.0, 2.0)), RELU], f"layer 2: {ALONE}"),
        (
            [("dense", dense(2, 2)), RELU, RELU],
            "layer 3: expected one activation after a dense layer, got several",
        ),
        ([("dense", dense(2, 2)), RELU, ("affine", (2.0, 0.0)), RELU], f"layer 4: {ALONE}"),
        ([("dense", dense(2, 2)), ("activation", ("elu", np.nan))], "layer 2: expected a finite alpha, got nan"),
        ([("dense", dense(2, 2)), ("selu", (np.inf,))], "layer 2: expected a finite alpha, got inf"),
        ([("dense", dense(2, 3)), ("dense", dense(2, 1))], f"layer 2: {MORE}weights (1, 2)"),
        ([("dense", dense(2, 3)), ("affine", ([1.0, 2.0], 0.0))], f"layer 2: {MORE}2 numbers"),
        ([("affine", ([1.0, 2.0, 3.0], 1.0)), ("dense", dense(2, 3))], f"layer 2: {MORE}weights (3, 2)"),
        ([("scale", ([1.0, 2.0, 3.0], 1.0)), ("dense", dense(2, 3))], f"layer 2: {MORE}weights (3, 2)"),
        ([("dense", dense(2, 3)), ("batch_norm", (1.0, [1.0, 2.0], 1e-5))], f"layer 2: {MORE}2 numbers"),
        ([("dense", dense(2, 3)), ("batch_norm", ([1.0], 1.0, 1e-5))], f"layer 2: {MORE}1 numbers"),
        (
            [("batch_norm", ([0.0, 0.0], [1.0, -1e-5], 1e-5))],
            "layer 1: expected variances above 0 after adding epsilon, 1e-05",
        ),
        (
            [("batch_norm", ([0.0, 0.0], [1.0, np.nan], 1e-5))],
            "layer 1: expected variances above 0 after adding epsilon, 1e-05",
        ),
        ([("dense", ([1.0, 2.0], None))], f"layer 1: {MATRIX}float64 of shape (2,)"),
        ([("dense", (np.ones((2, 2, 2)), None))], f"layer 1: {MATRIX}float64 of shape (2, 2, 2)"),
        (
            [("dense", (np.ones((2, 0)), None))],
            "layer 1: expected weights (outputs, inputs) with at least one number, got float64 of shape (2, 0)",
        ),
        (
            [("dense", (np.ones((0, 2)), None))],
            "layer 1: expected weights (outputs, inputs) with at least one number, got float64 of shape (0, 2)",
        ),
        ([("dense", ([[1j]], None))], f"layer 1: {MATRIX}complex128 of shape (1, 1): complex128 is not a real dtype"),
        ([("dense", ([["a"]], None))], f"layer 1: {MATRIX}<U1 of shape (1, 1)"),
        ([("dense", ([[1.0]], [1.0, 2.0]))], "layer 1: expected a bias (1,) for weights (1, 1), got float64 of shape (2,)"),
        ([("dense", ([[1.0]], [[1.0], [2.0]]))], "layer 1: expected a bias (1,), got float64 of shape (2, 1)"),
        ([("affine", (np.ones((2, 2)), 0.0))], "layer 1: expected one number for each input, got float64 of shape (2, 2)"),
        ([("dense", dense(2, 2)), RELU, ("affine", ([1.0, 0.0], 1.0))], "layer 3: expected finite factors other than 0"),
        ([("affine", (np.inf, 0.0)), ("scale", (1.0, [1.0]))], "layer 1: expected finite factors other than 0"),
        *(
            ([("dense", dense(2, 2)), ("celu", (alpha,))], f"layer 2: expected a finite alpha above 0, got {alpha}")
            for alpha in (0.0, -0.5, np.nan, np.inf)
        ),
        ([("scale", (np.nan, [1.0, 2.0]))], "layer 1: Scale: offset[0] is nan"),
    ],
)
def test_refusals(steps: list[Step], message: str) -> None:
    with pytest.raises(ValueError, match="^from_test: " + re.escape(message)):
        chain_of(*steps).network()


HALF = np.array([[300.0, -200.0], [100.0, 1e-6]], np.float16)


@pytest.mark.parametrize(
    "steps",
    [
        [("dense", (HALF, None)), ("batch_norm", (0.0, 0.0, 1e-5))],  # too large
        [("dense", (HALF * np.float16(1e-5), None)), ("batch_norm", (0.0, 6e4, 1e-5))],  # too small
        [("dense", (HALF, np.ones(2, np.float16))), ("affine", (1.0, 1e5))],
        [("dense", (HALF, None)), ("celu", (1e-4,))],
        [("dense", (HALF.astype(np.float32), None)), ("celu", (1e-38,))],
    ],
)
def test_what_is_folded_has_to_fit_the_dtype(steps: list[Step]) -> None:
    dtype, wide = ("float32", "float64") if steps[0][1][0].dtype == np.float32 else ("float16", "float32")
    message = f"of the network: its folded weights exceed the range of {dtype}: convert the model to {wide} first$"
    chain = chain_of(*steps)
    with pytest.raises(ValueError, match=r"^from_test: layer \d " + message):
        chain.network()
    assert chain.network64().dtype == np.float64


def test_what_is_not_folded_is_in_range() -> None:
    tiny = np.array([[6e-8, -3e-7], [1e-6, np.inf]], np.float16)
    assert chain_of(("dense", (tiny, None))).network().dtype == np.float16
    gamma = [1.0, 1e-9]  # a channel that vanished in training
    assert chain_of(("dense", (HALF, None)), ("batch_norm", (0.0, 1.0, 1e-5, gamma))).network().dtype == np.float16
    net = chain_of(("dense", (HALF, None)), ("activation", ("relu",)), ("affine", (1e-6, 1e5))).network()
    assert isinstance(net.layers[1], nnk.Scale)  # in float64
    assert net.layers[1].scale.tolist() == [1e-6, 1e-6]


def test_networks_have_to_be_finite_where_the_model_is() -> None:
    chain = chain_of(("dense", (HALF, None)), ("dense", (HALF, None)))
    x = np.array([[1.0, 1.0], [4.0, 1.0], [1e5, 1.0]])  # float16 cannot represent the last row
    network, exact = chain.network(), chain.network64()
    compare("from_test", network, exact, exact(x[[0, 2]]), x[[0, 2]], "float64")
    with pytest.raises(ValueError, match=r"^from_test: the outputs of row 1 exceed the range of float16: convert"):
        compare("from_test", network, exact, exact(x), x, "float64")


def test_the_number_of_inputs_is_checked() -> None:
    with pytest.raises(ValueError, match="layer 1: expected 3 inputs"):
        chain_of(("dense", dense(2, 2)), inputs=3)
    assert chain_of(("dense", dense(3, 2)), inputs=3).width == 2


# --- Comparison with the model ---


def network(dtype: Any, activation: str | None = None, scale: float = 1.0) -> nnk.Network:
    first, second = dense(6, 8), dense(8, 3, seed=3)
    return nnk.Network([nnk.Dense(first[0] * scale, first[1], "tanh"), nnk.Dense(second[0] / 8, second[1], activation)], dtype)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_probes_are_where_the_first_layer_is_not_saturated(scale: float, offset: float) -> None:
    weights, bias = dense(6, 8)
    net = nnk.Network([nnk.Dense(weights * scale, bias - weights.sum(axis=1) * offset, "tanh")])
    x = probe(net)
    logits = nnk.Network([nnk.Dense(*(getattr(net.layers[0], name) for name in ("weights", "bias")))])(x)
    assert x.shape == (64, 6)
    assert 0.3 < np.sqrt(np.mean(logits**2)) < 6.0
    assert 0.2 < np.mean(logits > 0) < 0.8


def test_probes_of_scaled_inputs_are_around_their_offset() -> None:
    offset, scale = np.array([1e6, -3.0, 0.0]), np.array([1e3, 1.0, 0.0])
    layers: list[nnk.Dense | nnk.Scale] = [nnk.Scale(offset, scale), nnk.Scale(1.0, 2.0)]
    for net in (nnk.Network([*layers, nnk.Dense(numbers(np.float64, 4, 3))]), nnk.Network(layers)):
        x = probe(net)
        assert np.isfinite(x).all()
        assert abs((x - offset)[:, :2] * scale[:2]).max() < 10.0


@pytest.mark.parametrize(
    "weights",
    [
        np.zeros((2, 3)),
        np.full((2, 3), np.nan),
        np.full((2, 3), np.inf),
        np.zeros((2, 0)),
        np.zeros((0, 3)),
        np.full((2, 3), 1e-320),
    ],
)
def test_probes_are_finite(weights: Array) -> None:
    x = probe(nnk.Network([nnk.Dense(weights, 1.0)]))
    assert x.shape == (64, weights.shape[1])
    assert np.isfinite(x).all()


def test_probes_have_the_same_bits_on_every_target() -> None:
    code = """if True:
        import hashlib, numpy as np, nnkernels as nnk
        from nnkernels.models.check import probe
        weights = np.linspace(-1.0, 1.0, 60).reshape(6, 10) ** 3
        print(hashlib.sha256(probe(nnk.Network([nnk.Dense(weights, weights.sum(axis=1))])).tobytes()).hexdigest())"""
    hashes = {run(code, NNKERNELS_TARGET=target).stdout for target in TARGETS}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 65


@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_right_networks_pass(kind: Literal["float64", "float32", "float16"], activation: str | None) -> None:
    net64, net = network(np.float64, activation), network(kind, activation)
    x = probe(net64)
    expected = x.astype(kind)
    for layer in net.layers:
        assert isinstance(layer, nnk.Dense)
        expected = (expected @ layer.weights.T + layer.bias).astype(kind)
        if layer.activation:
            expected = getattr(reference, layer.activation)(expected.astype(np.float64)).astype(kind)
    compare("from_test", net, net64, expected, x.astype(kind), kind)


def test_wrong_networks_fail() -> None:
    net64, net = network(np.float64), network(np.float32)
    x = probe(net64)
    first, second = net64.layers
    assert isinstance(second, nnk.Dense)
    wrong = nnk.Network([first, nnk.Dense(second.weights * (1 + 1e-6), second.bias)])
    message = r"^from_test: the network and the model differ: output \d of row \d+ is "
    with pytest.raises(ValueError, match=message):
        compare("from_test", net, wrong, net64(x), x, "float64")
    for kind in ("float32", "float16"):
        with pytest.raises(ValueError, match="allowed is a difference of"):
            compare("from_test", net, wrong, net64(x) * 1.01, x, kind)


FIRST, SECOND = dense(6, 8, dtype=np.float32), dense(8, 8, dtype=np.float32, seed=3)
STATISTICS = numbers(np.float32, 8, seed=5), abs(numbers(np.float32, 8, seed=6))
RIGHT: dict[str, tuple[Any, ...]] = {
    "dense": FIRST, "hidden": ("gelu",), "batch_norm": (*STATISTICS, 1e-5), "second": SECOND, "last": ("softmax",),
}  # fmt: skip
MISTAKES: dict[str, dict[str, tuple[Any, ...]]] = {
    "epsilon": {"batch_norm": (*STATISTICS, 2e-5)},
    "the variance is a deviation": {"batch_norm": (STATISTICS[0], STATISTICS[1] ** 2, 1e-5)},
    "transposed": {"second": (SECOND[0].T, SECOND[1])},
    "no bias": {"second": (SECOND[0], None)},
    "gelu": {"hidden": ("gelu_tanh",)},
    "another activation": {"hidden": ("silu",)},
    "float16": {"dense": tuple(array.astype(np.float16) for array in FIRST)},
    "rounded to five digits": {"dense": (FIRST[0].round(5), FIRST[1])},
    "log": {"last": ("log_softmax",)},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_caught(mistake: str) -> None:
    def chain(parts: dict[str, tuple[Any, ...]]) -> Chain:
        methods = {"hidden": "activation", "second": "dense", "last": "activation"}
        return chain_of(*((methods.get(name, name), arguments) for name, arguments in parts.items()))

    right, wrong = chain(RIGHT), chain(RIGHT | MISTAKES[mistake])
    x = probe(wrong.network64())
    compare("from_test", right.network(), right.network64(), right.network64()(x), x, "float64")
    with pytest.raises(ValueError, match="the network and the model differ"):
        compare("from_test", wrong.network(), wrong.network64(), right.network64()(x), x, "float64")
    if mistake != "rounded to five digits":  # smaller than float32 rounding errors
        with pytest.raises(ValueError, match="the network and the model differ"):
            compare("from_test", wrong.network(), wrong.network64(), right.network()(x), x, "float32")
    compare("from_test", right.network(), right.network64(), right.network()(x), x, "float32")


def test_the_message_names_the_worst_output() -> None:
    net = nnk.Network(network(np.float64).layers, metadata={"classes": '["cat", "dog", "cow"]'})
    x = probe(net)
    expected = net(x)
    expected[3, 2] += 1.0
    expected[7, 1] += 2.0
    with pytest.raises(
        ValueError, match=r"output 1 \('dog'\) of row 7 is .*, the model's is .*; allowed is a difference of \S+$"
    ):
        compare("from_test", net, net, expected, x, "float64")


@pytest.mark.parametrize("classes", ["5", "not json", '["cat"]', '["cat", "cat", "cat"]', "[1, 2, 3]", "[" * 10**5, ""])
def test_classes_that_are_no_names_of_outputs_are_not_named(classes: str) -> None:
    net = nnk.Network(network(np.float64).layers, metadata={"classes": classes})
    x = probe(net)
    with pytest.raises(ValueError, match=r"^from_test: the network and the model differ: output \d of row"):
        compare("from_test", net, net, net(x) + 1.0, x, "float64")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite(value: float) -> None:
    net = nnk.Network([nnk.Dense([[value, 1.0], [1.0, 1.0]])])
    x = np.array([[1.0, 2.0]])
    compare("from_test", net, net, net(x), x, "float64")
    for expected in ([[0.0, 3.0]], [[-value, 3.0]] if value == value else [[1.0, 3.0]]):
        with pytest.raises(ValueError, match="output 0 of row 0"):
            compare("from_test", net, net, np.array(expected), x, "float64")


def test_outputs_of_another_shape() -> None:
    net = network(np.float64)
    x = probe(net)
    with pytest.raises(ValueError, match=r"from_test: expected outputs of shape \(64, 3\), got \(64,\) from the model"):
        compare("from_test", net, net, np.zeros(64), x, "float64")
    compare("from_test", net, net, np.zeros((0, 3)), x[:0], "float64")


def test_what_is_folded_may_round_as_its_inputs_do() -> None:
    """The model subtracts 1e6 from inputs near 1e6; the network adds a folded bias of that size."""
    weights = numbers(np.float64, 8, 4)
    net = chain_of(("affine", (1e3, -1e9)), ("dense", (weights, None))).network()
    x = probe(net)
    compare("from_test", net, net, (x - 1e6) * 1e3 @ weights.T, x, "float64")
    with pytest.raises(ValueError, match="the network and the model differ"):
        compare("from_test", net, net, (x - 1e6) * (1e3 + 0.1) @ weights.T, x, "float64")


def test_sources_are_imported_when_they_are_used() -> None:
    code = "import sys, nnkernels; print([name for name in sys.modules if name.startswith('nnkernels.models')])"
    assert run(code).stdout == "[]\n"
    names = [name for name in nnk.__all__ if name.startswith("from_")]
    assert names == ["from_keras", "from_onnx", "from_sklearn", "from_state_dict", "from_torch"]
    assert set(names) <= set(dir(nnk))
    for name in names:
        function: Callable[..., Any] = getattr(nnk, name)
        assert function.__name__ == name
    with pytest.raises(AttributeError, match="module 'nnkernels' has no attribute 'from_nothing'"):
        nnk.from_nothing  # noqa: B018
