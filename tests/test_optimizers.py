"""SGD, Adam, AdamW: steps against references and PyTorch, settings, no subnormal moments."""

import copy
import importlib.util
import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest

import bounds
import nnkernels as nnk
import reference
import trajectories
from conftest import TUTORIAL_ROWS
from corpus import Array, numbers
from nnkernels import _core
from test_gradients import network, parameters

SETTINGS: dict[str, Any] = trajectories.OPTIMIZERS | {
    "default sgd": nnk.SGD(),
    "default adamw": nnk.AdamW(),
    "sgd weight decay": nnk.SGD(0.1, weight_decay=0.05),
    "adamw settings": nnk.AdamW(0.003, beta_1=0.7, beta_2=0.9, epsilon=1e-3, weight_decay=0.3),
    "no first moment": nnk.Adam(0.01, beta_1=0.0),
    "no decay of adamw": nnk.AdamW(0.01, weight_decay=0.0),
}

LABELS = np.array([2, 2, 1])  # for the tutorial's rows


def close(actual: Any, exact: Any, tolerance: float) -> None:
    np.testing.assert_allclose(actual, np.asarray(exact, float), rtol=tolerance, atol=tolerance)


def test_tutorial_loss_and_gradient(tutorial: nnk.Network) -> None:
    hidden, last = tutorial.layers
    logits = nnk.dense(nnk.Network([hidden])(TUTORIAL_ROWS), last.weights, last.bias)
    exact, exact_gradients = reference.gradient(tutorial.layers, np.array(TUTORIAL_ROWS), LABELS)
    close(nnk.cross_entropy(logits, LABELS), exact, 1e-14)
    value, gradients = tutorial.gradient(TUTORIAL_ROWS, LABELS)
    close(value, exact, 1e-14)
    close(parameters(gradients), reference.flat(exact_gradients), 1e-14)


@pytest.mark.parametrize("name", SETTINGS)
def test_tutorial_step(name: str, tutorial: nnk.Network) -> None:
    """One step on three rows. Their order affects only the last bits."""
    training = nnk.train(tutorial, TUTORIAL_ROWS, LABELS, optimizer=SETTINGS[name], epochs=1)
    run = {"epochs": 1, "batch_size": 3}
    exact, losses = reference.fit(tutorial.layers, np.array(TUTORIAL_ROWS), LABELS, SETTINGS[name], **run)
    close(parameters(training.network.layers), exact, 1e-14)
    close(training.losses, losses, 1e-14)
    assert not np.array_equal(parameters(training.network.layers), parameters(tutorial.layers))


@pytest.mark.parametrize("name", SETTINGS)
def test_200_steps(name: str) -> None:
    net, x, labels = trajectories.problem()
    run = {"epochs": trajectories.EPOCHS, "batch_size": trajectories.BATCH}
    training = nnk.train(net, x, labels, optimizer=SETTINGS[name], shuffle=False, **run)
    exact, losses = reference.fit(net.layers, x, labels, SETTINGS[name], **run)
    close(parameters(training.network.layers), exact, 1e-13)
    close(training.losses, losses, 1e-13)


@pytest.mark.parametrize("name", trajectories.OPTIMIZERS)
def test_200_steps_of_pytorch(name: str) -> None:
    settings = trajectories.OPTIMIZERS[name]
    if importlib.util.find_spec("torch"):
        expected = trajectories.by_pytorch(settings)
        close(json.loads(trajectories.FILE.read_text())[name], expected, 1e-13)
    else:
        expected = json.loads(trajectories.FILE.read_text())[name]
    net, x, labels = trajectories.problem()
    run = {"epochs": trajectories.EPOCHS, "batch_size": trajectories.BATCH}
    training = nnk.train(net, x, labels, optimizer=settings, shuffle=False, **run)
    close(parameters(training.network.layers), expected, 1e-13)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("rows", [1, 20])
def test_steps_of_each_size(name: str, rows: int, dtype: type[np.floating], rng: np.random.Generator) -> None:
    """Three steps of layers with 1 to 40 outputs: flat arrays with tails of every length."""
    unit = bounds.unit(dtype) * (2 if dtype is not np.float16 else 2**14)  # rounded to float16 at the end
    for outputs in (*range(1, 18), 33, 40):
        net = network(rng, (3, outputs), "relu", None, dtype)
        x, targets = numbers(dtype, rows, 3), numbers(dtype, rows, outputs, seed=2)
        training = nnk.train(net, x, targets, optimizer=SETTINGS[name], epochs=3, batch_size=rows, shuffle=False)
        exact, _ = reference.fit(net.layers, x, targets, SETTINGS[name], epochs=3, batch_size=rows)
        actual = parameters(training.network.layers).astype(float)
        # Adam's division may magnify errors of small gradients.
        np.testing.assert_allclose(actual, exact.astype(float), rtol=64 * unit, atol=64 * unit)


def test_names_of_optimizers(rng: np.random.Generator) -> None:
    net, x, labels = trajectories.problem()
    for name, settings in (("sgd", nnk.SGD()), ("adam", nnk.Adam()), ("adamw", nnk.AdamW())):
        by_name, by_settings = (nnk.train(net, x, labels, optimizer=optimizer, epochs=1) for optimizer in (name, settings))
        assert np.array_equal(parameters(by_name.network.layers), parameters(by_settings.network.layers))
    default = nnk.train(net, x, labels, epochs=1)
    assert np.array_equal(
        parameters(default.network.layers), parameters(nnk.train(net, x, labels, optimizer="adam", epochs=1).network.layers)
    )
    with pytest.raises(ValueError, match=r"(?s)optimizer.*adamw.*rmsprop"):
        nnk.train(net, x, labels, optimizer="rmsprop")
    for other in (None, 3, nnk.SGD):
        with pytest.raises(TypeError, match="optimizer"):
            nnk.train(net, x, labels, optimizer=other)


# --- Settings ---

SIGNATURES = {
    nnk.SGD: {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    nnk.Adam: {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    nnk.AdamW: {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_defaults(kind: Any) -> None:
    signature = inspect.signature(kind).parameters
    assert {name: parameter.default for name, parameter in signature.items()} == SIGNATURES[kind]
    assert {name: getattr(kind(), name) for name in signature} == SIGNATURES[kind]
    values = [0.5, 0.25, True, 0.125] if kind is nnk.SGD else [0.5, 0.25, 0.75, 0.125, 0.0625]
    given = kind(*values)
    assert [getattr(given, name) for name in signature] == values
    assert repr(given) == f"{kind.__name__}({', '.join(f'{n}={v!r}' for n, v in zip(signature, values, strict=True))})"


@pytest.mark.parametrize("kind", SIGNATURES)
def test_settings_are_frozen(kind: Any) -> None:
    settings = kind(0.5)
    with pytest.raises(AttributeError):
        settings.learning_rate = 1.0
    with pytest.raises(AttributeError):
        settings.decay = 1.0
    for other in (kind(0.5), copy.copy(settings), copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert other == settings
        assert hash(other) == hash(settings)
    assert settings != kind(0.25)
    assert len({nnk.Adam(), nnk.AdamW(weight_decay=0.0), nnk.SGD()}) == 3


@pytest.mark.parametrize("bad", [-0.5, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in SIGNATURES.items() for name in names if name != "nesterov"]
)
def test_bad_settings(kind: Any, name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"(?s){name}.*{bad}"):
        kind(**{name: bad})


def test_settings_that_do_not_go_together() -> None:
    for kind, name in ((nnk.Adam, "beta_1"), (nnk.Adam, "beta_2"), (nnk.AdamW, "beta_2")):
        with pytest.raises(ValueError, match=name):
            kind(**{name: 1.0})
    with pytest.raises(ValueError, match=r"(?s)nesterov.*momentum"):
        nnk.SGD(nesterov=True)
    for bad in ("0.1", None, [0.1], 1j):
        with pytest.raises(TypeError, match="learning_rate"):
            nnk.Adam(bad)
    assert nnk.Adam(np.float32(0.5)).learning_rate == 0.5


# --- Moments of a dead unit ---


def trainer(dtype: type[np.floating]) -> _core.Trainer:
    """Return a trainer of a 9-1 layer with squared_error. All inputs but the last may die."""
    trainer = _core.Trainer([9, 1], [(0, 0.0)], np.dtype(dtype).num, 2, 0.0, 1, 2)
    trainer.parameters[:] = 1
    return trainer


def epoch(trainer: _core.Trainer, x: Array, learning_rate: float = 0.0) -> None:
    settings = (1, learning_rate, 0.9, 0.999, 1e-8, 0.0)
    trainer.epochs(x, np.zeros((len(x), 1), x.dtype), None, settings, 0, 0, 1, False)


@pytest.mark.parametrize(("dtype", "least_m"), [(np.float32, 2.0**-100), (np.float64, 2.0**-900)])
def test_moments_of_a_dead_unit_become_0(dtype: type[np.floating], least_m: float) -> None:
    fit, x = trainer(dtype), np.ones((1, 9), dtype)
    epoch(fit, x)
    m, v = fit.moments
    assert m.shape == v.shape == (10,)
    assert m.all()
    assert v.all()
    x[0, :-1] = 0
    least = np.inf
    for _ in range(10_000):
        epoch(fit, x)
        least = abs(m[0]) or least
        assert least >= least_m
        if m[0] == 0:
            break
    assert (m[:-2] == 0).all()
    assert m[-2:].all()
    assert least < 1.2 * least_m  # and not earlier
    # The second moment decays a hundred times as slowly, so skip to its end.
    info = np.finfo(dtype)
    for begin in (2.0, 1.0002):
        v[:-2] = begin * info.tiny
        epoch(fit, x)
        assert (v[:-2] == 0).all() if begin < 1.0005 else (v[:-2] > info.tiny).all()
    assert (fit.parameters == 1).all()


def test_moments_of_a_dead_unit_do_not_move_it() -> None:
    """The step is 0, not 0 / 0."""
    fit = trainer(np.float32)
    for _ in range(3):
        epoch(fit, np.zeros((1, 9), np.float32), 0.5)
    assert (fit.parameters[:-1] == 1).all()
    assert fit.parameters[-1] != 1


def test_steps_beyond_count_have_no_bias_to_correct() -> None:
    """The powers of the betas are 0, and take no longer than for few steps."""
    results = []
    for steps in (10**6, 2**62):
        fit, x = trainer(np.float64), np.ones((1, 9))
        fit.steps = steps
        epoch(fit, x, learning_rate=0.5)
        results.append(fit.parameters.copy())
    assert np.isfinite(results[0]).all()
    assert results[0].tobytes() == results[1].tobytes()
