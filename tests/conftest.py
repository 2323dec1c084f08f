"""Shared by all tests: random numbers, a layer, a network, dtypes and this machine's targets."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import nnkernels as nnk
from corpus import Array

# The same examples in each run; with --hypothesis-profile=long, many new ones.
settings.register_profile("suite", max_examples=50, derandomize=True, deadline=None)
settings.register_profile("long", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile("suite")

DTYPES = (np.float16, np.float32, np.float64)
TUTORIAL_ROWS = [[1, 2, 3, 2.5], [2, 5, -1, 2], [-1.5, 2.7, 3.3, -0.8]]
TARGETS = tuple(nnk.config()["targets"])


def pytest_report_header() -> str:
    config = nnk.config()
    return f"nnkernels {config['version']}: target {config['target']} of {', '.join(TARGETS)}, {config['threads']} threads"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture
def x(rng: np.random.Generator) -> Array:
    return rng.normal(size=(12, 6)).astype(np.float32)


@pytest.fixture
def weights(rng: np.random.Generator) -> Array:
    return rng.normal(size=(4, 6)).astype(np.float32)


@pytest.fixture
def bias(rng: np.random.Generator) -> Array:
    return rng.normal(size=4).astype(np.float32)


@pytest.fixture
def network(weights: Array, bias: Array, rng: np.random.Generator) -> nnk.Network:
    second = rng.normal(size=(3, 4)).astype(np.float32)
    return nnk.Network([nnk.Dense(weights, bias, "tanh"), nnk.Dense(second, None, "softmax")])


@pytest.fixture
def tutorial() -> nnk.Network:
    """Return the tutorial's network."""
    weights = [[0.2, 0.8, -0.5, 1], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87], [0.8, 0.45, -0.15, -0.33],
               [0.4, -0.2, 0.9, -0.5]]  # fmt: skip
    weights_2 = [[0.1, -0.14, 0.5, 0.3, -0.2], [-0.5, 0.12, -0.33, 0.5, 0.8], [0.3, 0.5, -0.3, 0.2, 0.1]]
    return nnk.Network(
        [nnk.Dense(weights, [[2, 3, 0.5, -1, 2.5]], "relu"), nnk.Dense(weights_2, [[0.5, -0.3, 0.8]], "softmax")]
    )


@pytest.fixture(params=DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def dtype(request: pytest.FixtureRequest) -> type[np.floating]:
    return request.param


@pytest.fixture(params=DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def measured_dtype(request: pytest.FixtureRequest) -> type[np.floating]:
    """A dtype narrower than long double, which equals double on some machines."""
    if request.param is np.float64 and np.finfo(np.longdouble).nmant == np.finfo(np.float64).nmant:
        pytest.skip("long double is double here")
    return request.param


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the maximum number of threads after a test that changes it."""
    before = nnk.get_num_threads()
    yield
    nnk.set_num_threads(before)


@pytest.fixture
def signals_as_usual() -> Iterator[None]:
    """Restore ignored signals: SIGHUP under nohup, SIGINT in a script's background jobs."""
    signals = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None))  # Windows has no SIGHUP
    ignored = [number for number in signals if number is not None and signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def symbolic_links(tmp_path: Path) -> None:
    """Skip where the process may not make symbolic links, as on Windows without the privilege."""
    try:
        (tmp_path / "link").symlink_to(tmp_path)
    except OSError:
        pytest.skip("may not make symbolic links")
    (tmp_path / "link").unlink()


def pytest_sessionstart() -> None:
    # All tests run on the target of NNKERNELS_TARGET, or on the best one.
    assert nnk.config()["target"] == (os.environ.get("NNKERNELS_TARGET") or TARGETS[-1])
