"""train: reproducible networks, results, state, stopping, errors; and networks learn."""

import inspect
import io
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nnkernels as nnk
import reference
from corpus import Array, numbers
from golden import ACTIVATIONS, FITS, ROWS, parameters_and_losses
from nnkernels import _core
from safetensors_files import put_together, take_apart
from test_errors import run
from test_gradients import parameters
from test_losses import LAYOUTS, make_targets
from ulp import same_bits

Arguments = dict[str, Any]

CASES = [*product(FITS, ("float32", "float64")), ("batch 32", "float16")]
OPTIMIZERS: dict[str, Any] = {
    "sgd": nnk.SGD(0.05),
    "momentum": nnk.SGD(0.02, momentum=0.9, nesterov=True),
    "adam": nnk.Adam(0.01),
    "adamw": nnk.AdamW(0.01),
}


def weights_of(net: nnk.Network) -> Array:
    return parameters(net.layers)


def loss_of(net: nnk.Network, x: Array, labels: Array, **keywords: Any) -> float:
    """Return the cross-entropy of a network that ends in softmax, by functions."""
    *hidden, last = net.layers
    return float(nnk.cross_entropy(nnk.Network([*hidden, nnk.Dense(last.weights, last.bias)])(x), labels, **keywords))


# --- Comparison with a plain NumPy reference ---


@pytest.mark.parametrize("last", [None, "own"])
@pytest.mark.parametrize("activation", [text for text in ACTIVATIONS.values() if text])
def test_each_activation_beside_the_reference(activation: str, last: str | None, rng: np.random.Generator) -> None:
    """60 steps of Adam: as hidden activation, and as last activation with its own loss."""
    net = nnk.Network.random((5, 7, 4), "silu" if last else activation, activation if last else None, seed=3, dtype=np.float64)
    x = rng.uniform(-1, 1, (48, 5))
    own = reference.OWN_LOSS.get(activation, "squared_error") if last else "squared_error"
    targets = make_targets(own, rng, (48, 4), float)
    settings, run = nnk.Adam(0.01), {"epochs": 20, "batch_size": 16}
    training = nnk.train(net, x, targets, optimizer=settings, shuffle=False, **run)
    exact, losses = reference.fit(net.layers, x, targets, settings, **run)
    np.testing.assert_allclose(weights_of(training.network), exact.astype(float), rtol=0, atol=1e-11)
    np.testing.assert_allclose(training.losses, losses, rtol=1e-11)
    assert training.losses[-1] < training.losses[0]
    assert [layer.activation for layer in training.network.layers] == [layer.activation for layer in net.layers]


WITH_OPTIONS = ("elu(alpha=0.3)", "leaky_relu(negative_slope=-0.2)")


def test_state_files_hold_options(tmp_path: Path) -> None:
    x, targets = numbers(np.float32, 50, 3), numbers(np.float32, 50, 2, seed=2)
    given: Arguments = {"x": x, "targets": targets, "seed": 1}
    net = nnk.Network.random((3, 5, 4, 2), WITH_OPTIONS[0], WITH_OPTIONS[1], seed=1, dtype=np.float32)
    whole = nnk.train(net, **given, epochs=4)
    first = nnk.train(net, **given, epochs=1)
    for carry in (lambda state: state, pickled, partial(saved, tmp_path)):
        second = nnk.train(net, **given, epochs=3, state=carry(first.state))
        assert same_bits(weights_of(second.network), weights_of(whole.network))
        assert [layer.activation for layer in second.network.layers] == [WITH_OPTIONS[0]] * 2 + [WITH_OPTIONS[1]]
    with safetensors.safe_open(tmp_path / "state", "numpy") as file:
        written = ",".join([WITH_OPTIONS[0]] * 2 + [WITH_OPTIONS[1]])
        assert written in file.metadata().values()
    others = (("elu", WITH_OPTIONS[1]), ("elu(alpha=0.31)", WITH_OPTIONS[1]), (WITH_OPTIONS[0], "leaky_relu"), ("silu", None))
    for hidden, last in others:
        other = nnk.Network.random((3, 5, 4, 2), hidden, last, seed=1, dtype=np.float32)
        with pytest.raises(ValueError, match=r"(?s)state.*activations"):
            nnk.train(other, **given, epochs=3, state=saved(tmp_path, first.state))


def test_options_count_in_training() -> None:
    x, targets = numbers(np.float32, 50, 3), numbers(np.float32, 50, 2, seed=2)
    results = {
        nnk.train(nnk.Network.random((3, 5, 2), activation, None, seed=1, dtype=np.float32), x, targets, epochs=2).losses[-1]
        for activation in ("elu", "elu(alpha=0.5)", "elu(alpha=-0.5)", "leaky_relu", "leaky_relu(negative_slope=0.3)", "relu")
    }
    assert len(results) == 6


# --- The same network in every way ---


@cache
def arguments(name: str, dtype: str) -> Arguments:
    return FITS[name].arguments(dtype)


@cache
def expected(name: str, dtype: str) -> Array:
    return parameters_and_losses(nnk.train(**arguments(name, dtype)))


def laid_out(layout: Callable[[Array], Array], given: Arguments) -> Array:
    """Train with x, targets and weights in another layout."""
    others = {key: layout(given[key]) for key in ("x", "targets", "sample_weight") if given[key] is not None}
    for array in others.values():
        array.flags.writeable = False
    return parameters_and_losses(nnk.train(**given | others))


def in_parts(carry: Callable[[nnk.TrainingState], nnk.TrainingState], given: Arguments) -> Array:
    """Train one epoch, and continue from its state."""
    first = nnk.train(**given | {"epochs": 1})
    if given["epochs"] == 1:
        return parameters_and_losses(first)
    second = nnk.train(**given | {"epochs": given["epochs"] - 1, "state": carry(first.state)})
    return np.concatenate([weights_of(second.network).astype(float), first.losses, second.losses])


def saved(folder: Path, state: nnk.TrainingState) -> nnk.TrainingState:
    state.save(folder / "state")
    return nnk.TrainingState.load(folder / "state")


def pickled(state: nnk.TrainingState) -> nnk.TrainingState:
    return pickle.loads(pickle.dumps(state))


def with_validation(given: Arguments) -> Array:
    training = nnk.train(**given, validation=(given["x"][:3], given["targets"][:3]))
    assert len(training.validation_losses) == given["epochs"]
    return parameters_and_losses(training)


def with_callback(given: Arguments) -> Array:
    seen: list[int] = []
    training = nnk.train(**given, callback=lambda training: seen.append(len(training.losses)))
    assert seen == list(range(1, given["epochs"] + 1))
    return parameters_and_losses(training)


def of_float64(given: Arguments) -> Array:
    return parameters_and_losses(nnk.train(**given | {"x": given["x"].astype(np.float64)}))


WAYS: dict[str, Callable[[Arguments], Array]] = {
    **{layout: partial(laid_out, way) for layout, way in LAYOUTS.items()},
    "in two parts": partial(in_parts, lambda state: state),
    "pickled": partial(in_parts, pickled),
    "validation": with_validation,
    "callback": with_callback,
    "x of float64": of_float64,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_same_network(name: str, dtype: str, way: str) -> None:
    assert same_bits(WAYS[way](arguments(name, dtype)), expected(name, dtype))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_same_network_from_a_saved_state(name: str, dtype: str, tmp_path: Path) -> None:
    assert same_bits(in_parts(partial(saved, tmp_path), arguments(name, dtype)), expected(name, dtype))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("threads_used", [1, 2, 7])
@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_same_network_by_threads(name: str, dtype: str, threads_used: int) -> None:
    nnk.set_num_threads(threads_used)
    assert same_bits(parameters_and_losses(nnk.train(**arguments(name, dtype))), expected(name, dtype))


def test_same_network_from_many_fits_at_once() -> None:
    jobs = [*CASES, *CASES[::-1]]
    with ThreadPoolExecutor(6) as pool:
        results = pool.map(lambda case: parameters_and_losses(nnk.train(**arguments(*case))), jobs)
        for case, result in zip(jobs, results, strict=True):
            assert same_bits(result, expected(*case)), case


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_same_network_4_and_6_epochs_are_10(dtype: str, optimizer: str, tmp_path: Path) -> None:
    given = arguments("batch 32", dtype) | {"optimizer": OPTIMIZERS[optimizer], "epochs": 10}
    whole = parameters_and_losses(nnk.train(**given))
    first = nnk.train(**given | {"epochs": 4})
    # The state's weights are used, not the network's. Continuing does not change the state.
    for net, carry in product((given["net"], first.network), (lambda state: state, pickled, partial(saved, tmp_path))):
        second = nnk.train(**given | {"net": net, "epochs": 6, "state": carry(first.state)})
        assert len(second.losses) == 6
        assert same_bits(np.concatenate([weights_of(second.network).astype(float), first.losses, second.losses]), whole)
    steps = [first, *(nnk.train(**given | {"epochs": 1, "state": first.state}) for _ in range(2))]
    assert same_bits(weights_of(steps[1].network), weights_of(steps[2].network))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_same_network_from_input_of_each_dtype(dtype: str) -> None:
    given = arguments("squared_error", dtype) | {"x": numbers(np.float16, ROWS, 6), "targets": numbers(np.float16, ROWS, 1)}
    exact = parameters_and_losses(nnk.train(**given))
    for code in "efd":
        others = {key: given[key].astype(code) for key in ("x", "targets")}
        assert same_bits(parameters_and_losses(nnk.train(**given | others)), exact)
    whole: Arguments = {key: np.rint(given[key]) for key in ("x", "targets")}
    exact = parameters_and_losses(nnk.train(**given | whole))
    kinds: list[Callable[[Array], Any]] = [np.int8, np.int64, np.ndarray.tolist, pd.DataFrame]
    for kind in kinds:
        others = {key: kind(array) for key, array in whole.items()}
        assert same_bits(parameters_and_losses(nnk.train(**given | others)), exact)


# --- Behaviour of train ---


def test_signature() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(nnk.train).parameters.items()}
    empty = inspect.Parameter.empty
    assert defaults == {
        "net": empty, "x": empty, "targets": empty, "loss": None, "optimizer": "adam", "epochs": 10, "batch_size": 32,
        "seed": 0, "shuffle": True, "sample_weight": None, "validation": None, "patience": None, "callback": None,
        "progress": None, "state": None,
    }  # fmt: skip
    given = arguments("batch 32", "float32")
    training = nnk.train(given["net"], given["x"], given["targets"])
    explicit = nnk.train(
        given["net"], given["x"], given["targets"], loss="cross_entropy", optimizer=nnk.Adam(), epochs=10, batch_size=32, seed=0
    )
    assert same_bits(parameters_and_losses(training), parameters_and_losses(explicit))
    assert isinstance(training, nnk.Training)
    assert isinstance(training.state, nnk.TrainingState)
    assert isinstance(training.network, nnk.Network)
    assert (len(training.losses), training.validation_losses) == (10, ())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_given_network_is_unchanged(dtype: str) -> None:
    given = arguments("batch 32", dtype)
    before = weights_of(given["net"])
    trained = nnk.train(**given).network
    assert same_bits(weights_of(given["net"]), before)
    assert not np.array_equal(weights_of(trained), before)
    assert trained.dtype == given["net"].dtype
    assert [layer.activation for layer in trained.layers] == [layer.activation for layer in given["net"].layers]


def test_shuffled_rows_are_the_permutation_of_the_epoch() -> None:
    given = arguments("batch 32", "float32") | {"sample_weight": np.arange(ROWS) % 5 / 4}
    state, seed = None, given["seed"]
    for epoch in range(3):
        order = _core.permutation(seed, epoch, ROWS)
        rows = {key: given[key][order] for key in ("x", "targets", "sample_weight")}
        by_hand = nnk.train(**given | rows | {"epochs": 1, "shuffle": False, "state": state})
        state = by_hand.state
    assert same_bits(weights_of(by_hand.network), weights_of(nnk.train(**given | {"epochs": 3}).network))
    assert not np.array_equal(weights_of(by_hand.network), weights_of(nnk.train(**given | {"seed": 1}).network))


@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_the_running_mean(weighted: bool) -> None:
    """Each batch's loss before its step, weighted as in a mean loss."""
    given = arguments("in order", "float64") | {"epochs": 1, "sample_weight": np.arange(ROWS) % 5 / 4 if weighted else None}
    whole = given | {"batch_size": ROWS}
    before = loss_of(given["net"], given["x"], given["targets"], sample_weight=given["sample_weight"])
    np.testing.assert_allclose(nnk.train(**whole).losses, [before], rtol=1e-15)
    total, state, net = 0.0, None, given["net"]
    for begin in range(0, ROWS, 32):
        rows = {
            key: None if given[key] is None else given[key][begin : begin + 32] for key in ("x", "targets", "sample_weight")
        }
        weight = len(rows["x"]) if rows["sample_weight"] is None else rows["sample_weight"].sum()
        total += weight * loss_of(net, rows["x"], rows["targets"], sample_weight=rows["sample_weight"])
        step = nnk.train(**given | rows | {"state": state})
        state, net = step.state, step.network
    weights = ROWS if given["sample_weight"] is None else given["sample_weight"].sum()
    training = nnk.train(**given)
    np.testing.assert_allclose(training.losses, [total / weights], rtol=1e-14)
    assert same_bits(weights_of(training.network), weights_of(net))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rows_of_weight_0(optimizer: str) -> None:
    """They add nothing, even if NaN. A batch of such rows makes no step, not even by momentum."""
    given = arguments("in order", "float32") | {"optimizer": OPTIMIZERS[optimizer]}
    weights = np.ones(ROWS)
    weights[32:96] = weights[100:110] = weights[-5:] = 0
    zeros, anything = (np.where(weights[:, np.newaxis] > 0, given["x"], fill).astype(np.float32) for fill in (0, np.nan))
    expected = parameters_and_losses(nnk.train(**given | {"x": zeros, "sample_weight": weights}))
    assert same_bits(parameters_and_losses(nnk.train(**given | {"x": anything, "sample_weight": weights})), expected)
    kept = np.r_[0:32, 96:ROWS]
    rows = {"x": anything[kept], "targets": given["targets"][kept], "sample_weight": weights[kept]}
    assert same_bits(parameters_and_losses(nnk.train(**given | rows)), expected)


def test_weights_of_elements(rng: np.random.Generator) -> None:
    given = arguments("multi-label", "float32")
    rows = rng.integers(0, 3, ROWS) / 2
    by_row, by_element = (
        nnk.train(**given | {"sample_weight": weights}) for weights in (rows, np.repeat(rows[:, np.newaxis], 5, axis=1))
    )
    assert same_bits(parameters_and_losses(by_row), parameters_and_losses(by_element))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 70, 257, 700])
@pytest.mark.parametrize("weighted", [False, True])
def test_validation_losses_are_those_after_each_epoch(weighted: bool, rows: int, dtype: str) -> None:
    given = arguments("sample weights", dtype)
    x, labels, weights = numbers(dtype, rows, 6, seed=9), np.arange(rows) % 5, np.arange(rows) % 3 + 1 if weighted else None
    networks: list[nnk.Network] = []
    validation = (x, labels, weights) if weighted else (x, labels)
    training = nnk.train(**given, validation=validation, callback=lambda training: networks.append(training.network))
    assert len(training.validation_losses) == len(networks) == given["epochs"]
    for net, loss in zip(networks, training.validation_losses, strict=True):
        assert np.dtype(dtype).type(loss) == loss_of(net, x, labels, sample_weight=weights)
    assert same_bits(weights_of(networks[-1]), weights_of(training.network))


def overfitting() -> Arguments:
    """Return arguments of a fit whose validation loss first falls and then rises."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(0, 1, (30, 8)), rng.integers(0, 3, 30)
    noisy = np.where(rng.random(30) < 0.7, labels, rng.integers(0, 3, 30))
    return {
        "net": nnk.Network.random((8, 40, 3), "tanh", "softmax", seed=3),
        "x": x,
        "targets": noisy,
        "optimizer": nnk.Adam(0.02),
        "validation": (x + rng.normal(0, 0.5, x.shape), labels),
    }


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_patience(patience: int) -> None:
    given = overfitting()
    training = nnk.train(**given, epochs=200, patience=patience)
    best = int(np.argmin(training.validation_losses))
    assert len(training.validation_losses) == len(training.losses) == best + 1 + patience < 200
    assert same_bits(weights_of(training.network), weights_of(nnk.train(**given, epochs=best + 1).network))
    # The state continues from the last epoch.
    more = nnk.train(**given, epochs=2, state=training.state)
    whole = nnk.train(**given, epochs=best + 3 + patience)
    assert same_bits(weights_of(more.network), weights_of(whole.network))
    assert training.losses + more.losses == whole.losses
    assert training.validation_losses + more.validation_losses == whole.validation_losses


def test_an_equal_validation_loss_is_not_lower() -> None:
    training = nnk.train(**overfitting() | {"optimizer": nnk.SGD(0.0)}, epochs=50, patience=3)
    assert len(training.losses) == 4


def test_patience_that_does_not_end_gives_the_best_network() -> None:
    given = overfitting()
    training = nnk.train(**given, epochs=150, patience=1000)
    best = int(np.argmin(training.validation_losses))
    assert best < 149
    assert same_bits(weights_of(training.network), weights_of(nnk.train(**given, epochs=best + 1).network))
    last = nnk.train(**given, epochs=150)  # without patience: the last network
    assert not np.array_equal(weights_of(last.network), weights_of(training.network))
    assert last.losses == training.losses


def test_callback_ends_it_by_returning_true() -> None:
    given = arguments("batch 32", "float32")
    for last in (1, 3):
        ended = nnk.train(**given | {"epochs": 50}, callback=lambda training, last=last: len(training.losses) == last)
        assert same_bits(parameters_and_losses(ended), parameters_and_losses(nnk.train(**given | {"epochs": last})))


def test_callback_goes_on_where_it_returns_something_else() -> None:
    given = arguments("batch 32", "float32")
    for value in (None, False, 1, "end"):
        training = nnk.train(**given, callback=lambda _, value=value: value)
        assert same_bits(parameters_and_losses(training), expected("batch 32", "float32"))


def test_no_epochs() -> None:
    given = arguments("batch 32", "float32")
    nothing = nnk.train(**given | {"epochs": 0})
    assert (nothing.losses, nothing.validation_losses) == ((), ())
    assert same_bits(weights_of(nothing.network), weights_of(given["net"]))
    assert same_bits(parameters_and_losses(nnk.train(**given | {"state": nothing.state})), expected("batch 32", "float32"))


def test_x_is_not_copied() -> None:
    """If x is C-contiguous and has the network's dtype, C++ reads it in place."""
    x = np.zeros((200_000, 20), np.float32)
    net = nnk.Network.random((20, 2), output="softmax", seed=0)
    labels = np.zeros(len(x), np.int64)
    tracemalloc.start()
    try:
        nnk.train(net, x, labels, epochs=1, batch_size=1000, validation=(x, labels))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 8


def test_callback_sees_the_current_training() -> None:
    given = arguments("batch 32", "float32")
    seen: list[nnk.Training] = []
    nnk.train(**given, callback=seen.append)
    for epochs, training in enumerate(seen, 1):
        alone = nnk.train(**given | {"epochs": epochs})
        assert same_bits(parameters_and_losses(training), parameters_and_losses(alone))
        more, more_alone = (nnk.train(**given | {"epochs": 1, "state": other.state}) for other in (training, alone))
        assert same_bits(weights_of(more.network), weights_of(more_alone.network))


def test_callbacks_take_linear_time() -> None:
    """Each Training must not copy the losses."""
    x, targets = np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)
    net = nnk.Network.random((2, 1), seed=0)
    tracemalloc.start()
    try:
        seen: list[nnk.Training] = []
        nnk.train(net, x, targets, epochs=2000, callback=seen.append)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 2000 * 2000  # copies take 8 bytes for each of 2000 * 2000 / 2 losses
    assert [len(training.losses) for training in seen] == list(range(1, 2001))


def test_callback_that_raises_or_trains_itself() -> None:
    given = arguments("batch 32", "float32")

    def fail(training: nnk.Training) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        nnk.train(**given, callback=fail)
    inner: list[Array] = []
    outer = nnk.train(**given, callback=lambda _: inner.append(parameters_and_losses(nnk.train(**given))))
    for result in (*inner, parameters_and_losses(outer)):
        assert same_bits(result, expected("batch 32", "float32"))


def test_progress(capfd: pytest.CaptureFixture[str]) -> None:
    given = arguments("batch 32", "float32")
    results = []
    for progress in (None, False, True):
        results.append(parameters_and_losses(nnk.train(**given, progress=progress)))
        out, err = capfd.readouterr()
        assert out == ""
        assert bool(err) == bool(progress)
    assert re.search(r"3/3 .*, loss=[\d.]+\]", err)
    for result in results:
        assert same_bits(result, results[0])
    training = nnk.train(**given, validation=(given["x"], given["targets"]), progress=True)
    losses = f"loss={training.losses[-1]:.4g}, validation={training.validation_losses[-1]:.4g}]"
    assert losses in capfd.readouterr().err


class Writer:
    """A stream such as some programs use for sys.stderr."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def test_progress_where_standard_error_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (Writer(), closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        assert same_bits(parameters_and_losses(nnk.train(**arguments("batch 32", "float32"))), expected("batch 32", "float32"))


WITH_A_TERMINAL = """
import sys, time
import nnkernels as nnk

nnk.train(nnk.Network.random((1, 1), seed=0), [[1]], [[1]], epochs=20, callback=lambda _: time.sleep(float(sys.argv[1])))
"""


@pytest.mark.parametrize(("seconds", "shown"), [(0.001, False), (0.05, True)])
def test_progress_on_a_terminal(seconds: float, shown: bool) -> None:
    """Shown only if training takes longer than half a second."""
    termios = pytest.importorskip("termios")
    terminal, standard_error = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    text = b""
    with subprocess.Popen([sys.executable, "-c", WITH_A_TERMINAL, str(seconds)], stderr=standard_error):
        os.close(standard_error)
        with suppress(OSError):  # the process has ended
            while part := os.read(terminal, 10_000):
                text += part
    os.close(terminal)
    assert (b"20/20" in text) == shown, text


def test_one_neuron() -> None:
    """One neuron stays one neuron, and learns the same as a layer with one output."""
    given = arguments("binary", "float32")
    hidden, last = given["net"].layers
    neuron = nnk.Network([hidden, nnk.Dense(last.weights[0], last.bias[0], last.activation)])
    training = nnk.train(**given | {"net": neuron, "targets": given["targets"][:, 0]})
    assert same_bits(parameters_and_losses(training), expected("binary", "float32"))
    assert training.network.layers[-1].weights.shape == (8,)
    assert training.network(given["x"]).shape == (ROWS,)


# --- Networks learn ---


@pytest.mark.parametrize("seed", range(20))
def test_xor(seed: int) -> None:
    x, targets = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    net = nnk.Network.random((2, 8, 1), "tanh", "sigmoid", seed=seed)
    training = nnk.train(net, x, targets, optimizer=nnk.Adam(0.05), epochs=500, seed=seed)
    assert nnk.binary_cross_entropy(nnk.Network([*training.network.layers[:-1], linear(training.network)])(x), targets) < 0.01
    assert (np.rint(training.network(x)) == targets).all()


def linear(net: nnk.Network) -> nnk.Dense:
    """Return the last layer without its activation."""
    last = net.layers[-1]
    return nnk.Dense(last.weights, last.bias)


def test_sine() -> None:
    x = np.linspace(-np.pi, np.pi, 256)[:, np.newaxis]
    net = nnk.Network.random((1, 32, 32, 1), "tanh", seed=0)
    training = nnk.train(net, x, np.sin(x), optimizer=nnk.Adam(0.005), epochs=300)
    assert nnk.squared_error(training.network(x), np.sin(x).astype(np.float32)) < 1e-3


@pytest.mark.parametrize("seed", range(10))
def test_digits(seed: int) -> None:
    pixels, labels = load_digits(return_X_y=True)
    x, held_back, digits, held_digits = train_test_split(
        pixels / 16, labels, test_size=1 / 3, random_state=seed, stratify=labels
    )
    net = nnk.Network.random([64, 64, 10], "relu", "softmax", seed=seed)
    training = nnk.train(net, x, digits, optimizer=nnk.Adam(0.01), epochs=30, batch_size=32, seed=seed)
    assert (training.network(held_back).argmax(-1) == held_digits).mean() >= 0.96


# --- Losses that become infinite or NaN ---


def diverging(**keywords: Any) -> Arguments:
    """Return arguments of a fit whose loss overflows after some epochs."""
    x = numbers(np.float32, 64, 3)
    return {
        "net": nnk.Network.random((3, 4, 1), "relu", seed=1),
        "x": x,
        "targets": x[:, :1],
        "optimizer": nnk.SGD(0.3),
        "epochs": 500,
    } | keywords


def test_training_error_carries_the_last_finite_epoch() -> None:
    given = diverging()
    with pytest.raises(nnk.TrainingError, match="finite") as caught:
        nnk.train(**given)
    assert isinstance(caught.value, FloatingPointError)
    training = caught.value.training
    epochs = len(training.losses)
    assert 0 < epochs < 500
    assert np.isfinite(parameters_and_losses(training)).all()
    same = nnk.train(**given | {"epochs": epochs})
    assert same_bits(parameters_and_losses(training), parameters_and_losses(same))
    with pytest.raises(nnk.TrainingError) as again:
        nnk.train(**given | {"state": training.state})
    assert same_bits(weights_of(again.value.training.network), weights_of(training.network))
    copied = pickle.loads(pickle.dumps(caught.value))
    assert same_bits(parameters_and_losses(copied.training), parameters_and_losses(training))


@pytest.mark.parametrize("cause", ["NaN in x", "infinity in x", "the step", "the validation loss"])
def test_training_error_in_the_first_epoch(cause: str) -> None:
    """An epoch's losses precede its steps, so the parameters after a step are checked, too."""
    given = arguments("batch 32", "float32")
    if cause.endswith("in x"):
        x = given["x"].copy()
        x[250, 2] = np.nan if cause == "NaN in x" else np.inf
        given = given | {"x": x}
    elif cause == "the step":
        given = given | {"optimizer": nnk.SGD(3e38), "batch_size": ROWS, "x": given["x"] * np.float32(1000)}
    else:
        given = given | {"validation": (given["x"] * np.float32(np.inf), given["targets"])}
    with pytest.raises(nnk.TrainingError, match="after 0 epochs") as caught:
        nnk.train(**given | {"epochs": 2})
    assert same_bits(weights_of(caught.value.training.network), weights_of(given["net"]))
    assert caught.value.training.losses == ()


@pytest.mark.parametrize("where", ["x", "targets", "validation's x", "validation's targets"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_training_error_names_the_bad_row(loss: str, where: str) -> None:
    """Rows of weight 0 are not named."""
    net = nnk.Network.random((3, 4, 2), seed=0)
    x, targets, weights = np.ones((9, 3)), np.ones((9, 2)), np.arange(9) != 2
    bad = {"x": x.copy(), "targets": targets.copy()}
    bad[where.split()[-1]][[2, 5, 7], 1] = np.nan
    data = (x, targets, None), (bad["x"], bad["targets"], weights)
    (x, targets, sample_weight), validation = data if where.startswith("validation") else data[::-1]
    with pytest.raises(nnk.TrainingError, match=f"row 5 of {where} has NaN"):
        nnk.train(net, x, targets, loss=loss, sample_weight=sample_weight, validation=validation)


def test_training_error_of_good_rows_speaks_of_the_learning_rate() -> None:
    with pytest.raises(nnk.TrainingError, match=r"learning_rate below 0\.3"):
        nnk.train(**diverging(sample_weight=np.ones(64)))


def test_network_that_is_not_finite_from_the_first() -> None:
    given = arguments("batch 32", "float32")
    hidden, last = given["net"].layers
    with pytest.raises(ValueError, match=r"train.*parameter.*before"):
        nnk.train(**given | {"net": nnk.Network([hidden, nnk.Dense(last.weights, np.inf)])})


def test_training_error_where_a_parameter_is_beyond_float16() -> None:
    """Training in float32 would continue to 559,200."""
    net = nnk.Network([nnk.Dense(np.array([[60000.0]], np.float16))])
    with pytest.raises(nnk.TrainingError, match="float16") as caught:
        nnk.train(net, [[1.0]], [[0.0]], optimizer=nnk.SGD(1.3), epochs=2)
    assert np.isfinite(weights_of(caught.value.training.network)).all()


def test_float16_parameters_underflow_silently() -> None:
    net = nnk.Network([nnk.Dense(np.array([[3 * 2.0**-24]], np.float16))])
    with np.errstate(all="raise"):
        trained = nnk.train(net, [[1.0]], [[0.0]], optimizer=nnk.SGD(0.1), epochs=1).network
    assert trained.layers[0].weights.item() == 2 * 2.0**-24


# --- Errors before the first step ---


def bad_arguments() -> dict[str, tuple[Arguments, type[Exception], str]]:
    """Return wrong arguments, the exception, and a pattern for its message."""
    classes = {key: arguments("batch 32", "float32")[key] for key in ("net", "x", "targets")}
    binary = {key: arguments("multi-label", "float32")[key] for key in ("net", "x", "targets", "loss")}
    labels, x = classes["targets"], classes["x"]
    bad: dict[str, tuple[Arguments, Any, str]] = {}

    def add(what: str, error: Any, pattern: str, **given: Any) -> None:
        bad[what] = classes | given, error, pattern

    last = np.arange(ROWS) == ROWS - 1
    add("label", ValueError, r"row 299: label 5 .*np\.unique\(labels", targets=np.where(last, 5, labels))
    one = nnk.Network([nnk.Dense(np.ones((1, 6)), None, "softmax")])
    add("two classes for one output", ValueError, "2 outputs with softmax, or 1 with sigmoid", net=one, targets=labels % 2)
    add("negative label", ValueError, "row 299", targets=np.where(last, -1, labels))
    add("fractional labels", TypeError, "integer", targets=labels / 2)
    add("binary target", ValueError, "row 299", **binary | {"targets": np.where(last[:, np.newaxis], 2, binary["targets"])})
    add("negative weight", ValueError, "row 299", sample_weight=np.where(last, -1, 1))
    add("weight that is no number", ValueError, "row 299", sample_weight=np.where(last, np.nan, 1))
    add("all weights 0", ValueError, "weight", sample_weight=np.zeros(ROWS))
    add("no rows", ValueError, "row", x=x[:0], targets=labels[:0])
    add("targets of another length", ValueError, r"\(300, 6\).*\(299,\)", targets=labels[1:])
    add("weights of another length", ValueError, r"\(299,\)", sample_weight=np.ones(299))
    add("inputs", ValueError, r"6.*\(300, 5\)", x=x[:, 1:])
    add("complex x", TypeError, "complex64", x=x.astype(np.complex64))
    add("no network", TypeError, "Network.*list", net=[1, 2])
    add("layers", TypeError, "Network", net=classes["net"].layers)
    add("unknown loss", ValueError, "loss.*cross_entropy", loss="log_loss")
    add("loss of another kind", TypeError, "loss", loss=3)
    add("setting that a loss does not have", TypeError, "delta", loss=partial(nnk.cross_entropy, delta=1.0))
    add("setting that is not the loss's own", TypeError, "reduction", loss=partial(nnk.cross_entropy, reduction="sum"))
    add("unknown optimizer", ValueError, "optimizer.*adam", optimizer="rmsprop")
    add("optimizer that is no instance", TypeError, "optimizer", optimizer=nnk.Adam)
    for number in (-1, 0):
        add(f"batch_size {number}", ValueError, "batch_size", batch_size=number)
        add(f"patience {number}", ValueError, "patience", patience=number, validation=(x, labels))
    add("epochs", ValueError, "epochs", epochs=-1)
    for name in ("epochs", "batch_size", "patience"):
        add(f"{name} 2.5", TypeError, name, **{name: 2.5}, validation=(x, labels))
    add("patience alone", ValueError, "patience.*validation", patience=3)
    add("shuffle", TypeError, "shuffle", shuffle="yes")
    add("progress", TypeError, "progress", progress="yes")
    add("callback", TypeError, "callback", callback=3)
    add("state", TypeError, "state.*TrainingState", state={})
    add("labels of another loss", ValueError, "squared_error needs targets.*cross_entropy", loss="squared_error")
    eye, two = r"(?!.*loss='cross_entropy').*np\.eye\(2\)\[labels\]", nnk.Network([nnk.Dense(np.ones((2, 6)), None, "sigmoid")])
    of_two = {"net": two, "targets": labels % 2}
    add("labels after a sigmoid", ValueError, f"{eye} converts labels of shape .300,.", **of_two)
    add("column of labels after a sigmoid", ValueError, eye, net=two, targets=labels[:, np.newaxis] % 2)
    add(
        "loss of labels after a sigmoid",
        ValueError,
        r"labels\[:, None\], for more np\.eye\(outputs\)",
        **of_two,
        loss="cross_entropy",
    )
    add("validation of x alone", (TypeError, ValueError), "validation", validation=x)
    add("validation of four", (TypeError, ValueError), "validation", validation=(x, labels, None, labels))
    add("validation labels", ValueError, "validation.*row 299", validation=(x, np.where(last, 5, labels)))
    add("validation inputs", ValueError, "validation", validation=(x[:, 1:], labels))
    add("validation of no rows", ValueError, "validation", validation=(x[:0], labels[:0]))
    return bad


BAD_ARGUMENTS = bad_arguments()


def test_bad_setting_of_a_loss() -> None:
    with pytest.raises(ValueError, match=r"cross_entropy.*label_smoothing.*2\.0"):
        nnk.train(**arguments("batch 32", "float32") | {"loss": partial(nnk.cross_entropy, label_smoothing=2.0)})


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_errors_before_the_first_step(case: str) -> None:
    given, error, pattern = BAD_ARGUMENTS[case]
    with pytest.raises(error, match=f"(?s)train.*({pattern})"):
        nnk.train(**{"callback": pytest.fail} | given)


# --- Checks in C++ ---

F32 = np.dtype(np.float32).num
X, PROBABILITIES, CLASSES = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32), np.zeros(4, np.int64)
TRAINER = _core.Trainer([3, 2], [(0, 0.0)], F32, 0, 0.0, 4, 0)
STEP = (0, 0.1, 0.0, 0.0, 0.0, 0.0)

REFUSED: dict[str, Callable[[], Any]] = {
    "label beyond": lambda: TRAINER.gradient(X, CLASSES + 2, None),
    "label below": lambda: TRAINER.gradient(X, CLASSES - 1, None),
    "x of another dtype": lambda: TRAINER.gradient(X.astype(float), CLASSES, None),
    "x of other bytes": lambda: TRAINER.gradient(X.astype(X.dtype.newbyteorder()), CLASSES, None),
    "x of fewer inputs": lambda: TRAINER.gradient(PROBABILITIES, CLASSES, None),
    "x with rows between": lambda: TRAINER.gradient(np.repeat(X, 2, axis=0)[::2], CLASSES, None),
    "x of more rows": lambda: TRAINER.gradient(np.ones((5, 3), np.float32), np.zeros(5, np.int64), None),
    "list": lambda: TRAINER.gradient(X.tolist(), CLASSES, None),
    "fewer labels": lambda: TRAINER.gradient(X, CLASSES[:3], None),
    "labels of 32 bits": lambda: TRAINER.gradient(X, CLASSES.astype(np.int32), None),
    "fewer weights": lambda: TRAINER.evaluate(X, CLASSES, np.ones(3)),
    "weights of float32": lambda: TRAINER.evaluate(X, CLASSES, np.ones(4, np.float32)),
    "upstream": lambda: TRAINER.backward(X, X, X.copy()),
    "gradient of x": lambda: TRAINER.backward(X, PROBABILITIES, PROBABILITIES.copy()),
    "read-only gradient of x": lambda: TRAINER.backward(X, PROBABILITIES, np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape)),
    "backward of more rows": lambda: TRAINER.backward(*(np.ones((5, n), np.float32) for n in (3, 2, 3))),
    "optimizer": lambda: TRAINER.epochs(X, CLASSES, None, (7, *STEP[1:]), 0, 0, 1, False),
    "optimizer of more moments": lambda: TRAINER.epochs(X, CLASSES, None, (1, *STEP[1:]), 0, 0, 1, False),
    "settings": lambda: TRAINER.epochs(X, CLASSES, None, STEP[:2], 0, 0, 1, False),
    "negative seed": lambda: TRAINER.epochs(X, CLASSES, None, STEP, -1, 0, 1, False),
    "negative epochs": lambda: TRAINER.epochs(X, CLASSES, None, STEP, 0, 0, -1, False),
    "fewer activations": lambda: _core.Trainer([3, 2], [], F32, 0, 0.0, 4, 0),
    "activation": lambda: _core.Trainer([3, 2], [(13, 0.0)], F32, 0, 0.0, 4, 0),
    "dtype": lambda: _core.Trainer([3, 2], [(0, 0.0)], np.dtype(int).num, 0, 0.0, 4, 0),
    "loss": lambda: _core.Trainer([3, 2], [(0, 0.0)], F32, 9, 0.0, 4, 0),
    "batch of none": lambda: _core.Trainer([3, 2], [(0, 0.0)], F32, 0, 0.0, 0, 0),
    "three moments": lambda: _core.Trainer([3, 2], [(0, 0.0)], F32, 0, 0.0, 4, 3),
    "huge layers": lambda: _core.Trainer([2**40, 2**40], [(0, 0.0)], F32, 0, 0.0, 4, 0),
    "huge batch": lambda: _core.Trainer([3, 2], [(0, 0.0)], F32, 0, 0.0, 2**62, 0),
    "reduction of a loss": lambda: _core.loss(0, 0.0, X, CLASSES, None, 9, False),
    "label of a loss": lambda: _core.loss(0, 0.0, X, CLASSES + 3, None, 1, True),
    "labels of another loss": lambda: _core.loss(2, 0.0, X, CLASSES, None, 1, True),
    "targets of a loss": lambda: _core.loss(2, 0.0, X, X[:3], None, 1, True),
    "weights of a loss": lambda: _core.loss(2, 0.0, X, X, np.ones((4, 2)), 1, True),
    "order of 2**62 rows": lambda: _core.permutation(0, 0, 2**62),
    "2**62 random numbers": lambda: _core.random_weights(0, 0, 2**62, 1, 1, 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_core_refuses(case: str) -> None:
    with pytest.raises((ValueError, TypeError, MemoryError)):
        REFUSED[case]()


def test_trainer_without_its_init() -> None:
    ran = run("""
from nnkernels import _core
try:
    _core.Trainer.__new__(_core.Trainer).parameters
except (ValueError, TypeError):
    print("refused")
""")
    assert ran.stdout == "refused\n"


def test_arrays_of_a_trainer_keep_it_alive() -> None:
    parameters = _core.Trainer([300, 200], [(0, 0.0)], F32, 0, 0.0, 4, 2).parameters
    parameters[:] = 3
    others = [_core.Trainer([300, 200], [(0, 0.0)], F32, 0, 0.0, 4, 2) for _ in range(20)]
    assert all((other.parameters == 0).all() for other in others)
    assert (parameters == 3).all()


# --- States ---


def states() -> dict[str, nnk.TrainingState]:
    return {name: nnk.train(**arguments("batch 32", "float32") | {"optimizer": OPTIMIZERS[name]}).state for name in OPTIMIZERS}


def test_state_of_another_fit() -> None:
    given = arguments("batch 32", "float32")
    for (of, state), name in product(states().items(), OPTIMIZERS):
        if of != name:
            with pytest.raises(ValueError, match=r"(?s)train.*state"):
                nnk.train(**given | {"optimizer": OPTIMIZERS[name], "state": state})
    state = nnk.train(**given).state
    for other in ("squared_error", "four layers", "one layer"):
        with pytest.raises(ValueError, match=r"(?s)train.*state"):
            nnk.train(**arguments(other, "float32") | {"state": state, "optimizer": given["optimizer"]})
    with pytest.raises(ValueError, match=r"(?s)train.*state"):
        nnk.train(**arguments("batch 32", "float64") | {"state": state})


def test_state_of_other_arrays() -> None:
    """A pickle may have an array of another shape, which must not be broadcast."""
    given = arguments("batch 32", "float32")
    state = nnk.train(**given).state
    for first, moments in (
        (state.parameters[:1], state.moments),
        (state.parameters.astype(np.float64), state.moments),
        (state.parameters, [moment[:1] for moment in state.moments]),
        (state.parameters, state.moments[:1]),
    ):
        other = nnk.TrainingState(state.description, state.epochs, state.steps, first, moments)
        with pytest.raises(ValueError, match=r"(?s)train.*state.*moments float32"):
            nnk.train(**given | {"state": other})


def test_trainings_and_states_are_frozen() -> None:
    training = nnk.train(**arguments("batch 32", "float32"))
    for frozen, name in product((training, training.state), ("state", "steps", "parameters", "other")):
        with pytest.raises(AttributeError, match=f"frozen.*{name}"):
            setattr(frozen, name, None)
        with pytest.raises(AttributeError, match=f"frozen.*{name}"):
            delattr(frozen, name)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copied = pickle.loads(pickle.dumps(training, protocol))
        assert same_bits(parameters_and_losses(copied), parameters_and_losses(training))
        assert copied.state.steps == training.state.steps


def test_learning_rate_may_change_on_the_way() -> None:
    given = arguments("batch 32", "float32")
    state = nnk.train(**given).state
    slow, fast = (nnk.train(**given | {"state": state, "optimizer": nnk.Adam(rate)}) for rate in (0.0, 0.1))
    assert not np.array_equal(weights_of(slow.network), weights_of(fast.network))
    assert same_bits(weights_of(slow.network), weights_of(nnk.train(**given).network))


@pytest.mark.parametrize("name", ["state.pt", "state.ONNX"])
def test_states_of_other_suffixes(name: str, tmp_path: Path) -> None:
    state = nnk.train(**arguments("one layer", "float32")).state
    with pytest.raises(ValueError, match=rf"{name}: TrainingState\.save writes the safetensors format"):
        state.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def state_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("states") / "state.safetensors"
    nnk.train(**arguments("one layer", "float32")).state.save(path)
    return path


def go_on(path: Path) -> None:
    """Load a state and train with it, if it can be loaded."""
    nnk.train(**arguments("one layer", "float32") | {"epochs": 1, "state": nnk.TrainingState.load(path)})


def test_broken_state_files(state_file: Path, tmp_path: Path) -> None:
    content, path = state_file.read_bytes(), tmp_path / "broken"
    header, data = take_apart(content)
    path.write_bytes(put_together(header, data))
    go_on(path)
    broken = [content[:length] for length in range(0, len(content), 7)]
    broken += [content + b"\0", b"", b"{}", put_together({}, b"")]
    metadata = header.pop("__metadata__")
    for key, value in metadata.items():
        for wrong in ("", "x", "-1", "1e9", "18446744073709551616", "[]", value + "0" * 400):
            broken.append(put_together({"__metadata__": metadata | {key: wrong}, **header}, data))
        broken.append(put_together({"__metadata__": {k: v for k, v in metadata.items() if k != key}, **header}, data))
    broken.append(put_together(header, data))
    for name, tensor in header.items():
        others = {key: value for key, value in header.items() if key != name}
        longer = tensor | {"shape": [*tensor["shape"], 1]}
        whole = tensor | {"dtype": "I32"}
        renamed = {f"{name}.more": tensor}
        for changed in (renamed, {name: longer}, {name: whole}):
            broken.append(put_together({"__metadata__": metadata, **others, **changed}, data))
    for wrong in broken:
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"state|broken"):
            go_on(path)


def test_state_files_of_other_tensors(state_file: Path, tmp_path: Path) -> None:
    tensors = safetensors.numpy.load_file(state_file)
    header, _ = take_apart(state_file.read_bytes())
    for name, tensor in tensors.items():
        for wrong in (tensor.astype(np.float64), tensor[:-1], np.zeros((0, *tensor.shape[1:]), tensor.dtype)):
            safetensors.numpy.save_file(tensors | {name: wrong}, tmp_path / "other", header["__metadata__"])
            with pytest.raises(ValueError, match=r"state|other"):
                go_on(tmp_path / "other")


def test_network_file_is_no_state_and_the_other_way_round(state_file: Path, tmp_path: Path) -> None:
    arguments("one layer", "float32")["net"].save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"(?s)net.*state"):
        nnk.TrainingState.load(tmp_path / "net")
    with pytest.raises(ValueError, match=r"(?s)state.*network"):
        nnk.load(state_file)
    with pytest.raises(FileNotFoundError, match="nothing"):
        nnk.TrainingState.load(tmp_path / "nothing")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_changed_bytes_of_a_state_go_on_or_are_refused(state_file: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(state_file.read_bytes())
    end = int.from_bytes(content[:8], "little") + 16
    places = st.integers(0, end) | st.integers(0, len(content) - 1)
    for place, byte in data.draw(
        st.dictionaries(places, st.sampled_from(b'0123456789[]{},"F\0\xff') | st.integers(0, 255), min_size=1)
    ).items():
        content[place] = byte
    (tmp_path / "changed").write_bytes(content)
    with np.errstate(all="ignore"):
        try:
            go_on(tmp_path / "changed")
        except (ValueError, nnk.TrainingError):
            return


# --- Ctrl-C and memory ---

INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import nnkernels as nnk

rows, sizes, batch = eval(sys.argv[1])
x = np.linspace(-1, 1, rows * sizes[0], dtype=np.float32).reshape(rows, sizes[0])
labels = np.arange(rows) % sizes[-1]
net = nnk.Network.random(sizes, "relu", "softmax", seed=0)
small = lambda: nnk.train(net, x[:20], labels[:20], epochs=1).network.layers[-1].weights.tobytes()
before = small()

def interrupt():
    global sent
    sent = time.monotonic()
    signal.raise_signal(signal.SIGINT)

timer = threading.Timer(0.5, interrupt)
timer.start()
try:
    nnk.train(net, x, labels, epochs=10**9, batch_size=batch)
except KeyboardInterrupt:
    print(time.monotonic() - sent, small() == before)
"""


@pytest.mark.parametrize(
    "problem",
    [
        (100, (8, 8, 3), 10),  # short epochs
        (200_000, (32, 64, 3), 32),  # long epochs
        (9000, (784, 2048, 2048, 10), 9000),  # a step of seconds
    ],
    ids=str,
)
@pytest.mark.usefixtures("signals_as_usual")
def test_ctrl_c(problem: Any) -> None:
    seconds, unbroken = run(INTERRUPTED, str(problem)).stdout.split()
    assert float(seconds) < 1
    assert unbroken == "True"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space, and tells its size in /proc")
def test_little_memory() -> None:
    """Too little memory raises MemoryError, and the next fit is unaffected."""
    ran = run(
        """
import resource, sys
import numpy as np
import nnkernels as nnk

x = np.linspace(-1, 1, 4000, dtype=np.float32).reshape(20, 200)
net = nnk.Network.random((200, 1000, 200), "tanh", seed=0)
calls = [
    lambda: nnk.train(net, x, x, epochs=1).network.layers[0].weights.tobytes(),
    lambda: nnk.train(net, x.astype(np.float64), x, epochs=1, batch_size=200).losses,
    lambda: net.gradient(x, x)[1][0].weights.tobytes(),
    lambda: net.backward(x, x)[1].tobytes(),
    lambda: nnk.Network.random((2000, 600), seed=0).layers[0].weights.tobytes(),
]
for call in calls:
    expected, outcomes = call(), []
    most = resource.getrlimit(resource.RLIMIT_AS)
    for kilobytes in [*range(0, 12000, 150), 100_000]:
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + kilobytes * 1024, most[1]))
        try:
            assert call() == expected
            outcomes.append("done")
        except MemoryError:
            outcomes.append("refused")
        resource.setrlimit(resource.RLIMIT_AS, most)
    print(*sorted(set(outcomes)), outcomes[-1])
""",
        MALLOC_MMAP_THRESHOLD_="65536",
    )
    assert (ran.stdout, ran.stderr) == ("done refused done\n" * 5, "")
