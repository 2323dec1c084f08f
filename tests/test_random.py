"""Random numbers: NumPy's raw Philox stream, the order of rows, initial weights."""

from math import factorial
from typing import Any

import numpy as np
import pytest
import scipy.stats

import nnkernels as nnk
import reference
from nnkernels import _core
from ulp import same_bits

SEEDS = (0, 1, 12345, 2**32, 2**63, 2**64 - 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("epoch", [0, 1, 9, 2**33])
def test_permutation_is_numpys_stream(seed: int, epoch: int) -> None:
    for n in (0, 1, 2, 3, 5, 32, 300, 5000):
        order = _core.permutation(seed, epoch, n)
        assert order.dtype == np.int64
        assert order.tolist() == reference.permutation(seed, epoch, n)


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_numbers_are_numpys_stream(seed: int) -> None:
    for stream in (0, 1, 7):
        for n in (0, 1, 4, 5, 1001):
            weights = _core.random_weights(seed, stream, n, 2, 1, 1)  # the bound is 1
            assert same_bits(weights, 2 * reference.random_uniform(seed, stream, n) - 1)
    assert -1 <= weights.min() < weights.max() < 1


def test_streams_differ() -> None:
    """Seeds, epochs and layers have their own streams, and so do orders of rows and weights."""
    orders = {tuple(_core.permutation(seed, epoch, 100)) for seed in SEEDS for epoch in range(10)}
    assert len(orders) == 10 * len(SEEDS)
    numbers = {float(w) for seed in SEEDS for stream in range(10) for w in _core.random_weights(seed, stream, 5, 1, 1, 1)}
    assert len(numbers) == 50 * len(SEEDS)
    raw = {purpose: reference.philox(3, purpose, 2, 10) for purpose in (reference.ORDER_OF_ROWS, reference.INITIAL_WEIGHTS)}
    assert not np.intersect1d(*raw.values()).size


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_orders_are_as_likely(n: int) -> None:
    draws = 100 * factorial(n)
    _, counts = np.unique([_core.permutation(7, epoch, n) for epoch in range(draws)], axis=0, return_counts=True)
    assert len(counts) == factorial(n)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("n", [10, 33])
def test_every_row_is_as_likely_at_every_place(n: int) -> None:
    draws = 200 * n
    orders = np.array([_core.permutation(seed, 0, n) for seed in range(draws)])
    counts = np.array([np.bincount(column, minlength=n) for column in orders.T])
    # Each order is a permutation matrix: (n - 1)^2 degrees of freedom.
    statistic = ((counts - draws / n) ** 2 / (draws / n)).sum() * (n - 1) / n
    assert 1e-4 < scipy.stats.chi2.cdf(statistic, (n - 1) ** 2) < 1 - 1e-4
    rising = (np.diff(orders) > 0).mean()
    assert abs(rising - 0.5) < 5 * np.sqrt((n + 1) / 12 / draws) / (n - 1)


# --- Initial weights ---


@pytest.mark.parametrize("initializer", reference.INITIAL_BOUNDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_initial_weights(initializer: str, seed: int, dtype: type[np.floating]) -> None:
    sizes = (7, 30, 1, 5)
    net = nnk.Network.random(sizes, "tanh", "softmax", seed=seed, initializer=initializer, dtype=dtype)
    assert net.dtype == dtype
    assert [layer.activation for layer in net.layers] == ["tanh", "tanh", "softmax"]
    for layer, (weights, bias) in zip(net.layers, reference.initial_parameters(initializer, sizes, seed), strict=True):
        assert same_bits(layer.weights, weights.astype(dtype))
        assert same_bits(layer.bias, bias.astype(dtype))


def test_defaults_of_a_random_network() -> None:
    net = nnk.Network.random([4, 5, 3], seed=1)
    assert net.dtype == np.float32
    assert [layer.activation for layer in net.layers] == ["relu", None]
    explicit = nnk.Network.random((4, 5, 3), "relu", None, seed=1, initializer="glorot", dtype=np.float32)
    for layer, other in zip(net.layers, explicit.layers, strict=True):
        assert same_bits(layer.weights, other.weights)
    assert nnk.Network.random([4, 5], nnk.tanh, nnk.softmax, seed=1).layers[0].activation == "softmax"


def test_a_layers_weights_are_its_own() -> None:
    """A layer's weights depend on the seed, its index and its shape, not on later layers."""
    short = nnk.Network.random([4, 5, 3], seed=1).layers[0]
    assert same_bits(short.weights, nnk.Network.random([4, 5, 9, 9], seed=1).layers[0].weights)


def test_initial_weights_spread_evenly() -> None:
    for initializer, bound in reference.INITIAL_BOUNDS.items():
        (layer,) = nnk.Network.random([200, 300], seed=3, initializer=initializer, dtype=np.float64).layers
        limit = bound(200, 300)
        assert scipy.stats.kstest(layer.weights.ravel(), scipy.stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-4


def test_seeds_of_numpy_are_integers() -> None:
    expected = nnk.Network.random([3, 2], seed=5).layers[0].weights
    for seed in (np.int64(5), np.uint64(5), np.int8(5)):
        assert same_bits(nnk.Network.random([3, 2], seed=seed).layers[0].weights, expected)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None, np.int64(-3)])
def test_bad_seeds(seed: Any) -> None:
    error = ValueError if isinstance(seed, (int, np.integer)) else TypeError
    net = nnk.Network.random([3, 2], seed=0)
    with pytest.raises(error, match=r"seed.*18446744073709551615"):
        nnk.Network.random([3, 2], seed=seed)
    with pytest.raises(error, match=r"seed.*18446744073709551615"):
        nnk.train(net, np.ones((2, 3)), np.ones((2, 2)), seed=seed)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "pattern"),
    [
        (([3],), {}, ValueError, "sizes"),
        (([],), {}, ValueError, "sizes"),
        ((3,), {}, TypeError, "sizes"),
        (([3, -2],), {}, ValueError, "size"),
        (([3, 2.5],), {}, TypeError, "size"),
        (([3, 2], "step"), {}, ValueError, "activation"),
        (([3, 2], "relu", "step"), {}, ValueError, "activation"),
        (([3, 2],), {"initializer": "normal"}, ValueError, "(?s)initializer.*glorot.*he.*torch"),
        (([3, 2],), {"initializer": ["glorot"]}, ValueError, "(?s)initializer.*glorot.*he.*torch"),
        (([3, 2],), {"dtype": np.int32}, TypeError, "dtype"),
        *(
            ((sizes,), {}, MemoryError, "memory")
            for sizes in ([10**15] * 2, [2, 2**62], [10**30, 2], [2**32, 2**31], [10**9] * 2)
        ),
    ],
    ids=str,
)
def test_bad_arguments(arguments: Any, keywords: Any, error: type[Exception], pattern: str) -> None:
    with pytest.raises(error, match=pattern):
        nnk.Network.random(*arguments, seed=0, **keywords)


def test_the_seed_must_be_given() -> None:
    with pytest.raises(TypeError, match="seed"):
        nnk.Network.random([3, 2])  # type: ignore[call-arg]
