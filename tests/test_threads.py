"""The pool: the limit, other threads' floating-point environment, forks."""

import ctypes
import multiprocessing
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import nnkernels as nnk
from ulp import same_bits

LARGE = np.linspace(-5, 5, 1_000_000)


@pytest.mark.usefixtures("threads")
def test_limit() -> None:
    for n in (1, 7, np.int64(3)):
        nnk.set_num_threads(n)
        assert nnk.get_num_threads() == nnk.config()["threads"] == n
        assert nnk.sigmoid(LARGE).shape == LARGE.shape


def run(code: str, **environment: str) -> str:
    """Return what Python prints for a piece of code in a process of its own."""
    finished = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True, timeout=60
    )
    return finished.stdout.strip()


def test_default_limit() -> None:
    code = "import nnkernels as nnk; print(nnk.get_num_threads())"
    environment = dict.fromkeys(["NNKERNELS_NUM_THREADS"], "")
    if hasattr(os, "sched_getaffinity"):
        assert run(code, **environment) == str(len(os.sched_getaffinity(0)))
        assert run("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});" + code, **environment) == "1"
    assert run(code, NNKERNELS_NUM_THREADS="5") == "5"


@pytest.mark.usefixtures("threads")
def test_overflow_in_a_worker_is_reported() -> None:
    nnk.set_num_threads(4)
    x = np.ones((400, 5000), np.float32)
    for row in (0, 399):
        x[row] = 1e38
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            nnk.dot(x, np.full(5000, 1e38, np.float32))
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            nnk.dense(x, np.ones((400, 5000), np.float32))
        x[row] = 1


def in_child(queue: Any) -> None:
    queue.put(nnk.sigmoid(LARGE)[::1000])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_processes(method: str) -> None:
    nnk.set_num_threads(3)
    expected = nnk.sigmoid(LARGE)[::1000]  # the pool has workers now
    context = multiprocessing.get_context(method)
    for _ in range(20 if method == "fork" else 1):
        queue = context.Queue()
        child = context.Process(target=in_child, args=(queue,))
        child.start()
        assert same_bits(queue.get(timeout=60), expected)
        child.join(60)
        assert child.exitcode == 0


FE_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}


def test_rounding_mode_of_the_caller() -> None:
    """Results are those of rounding to nearest, and the caller's mode is as before."""
    machine = os.uname().machine
    library = ctypes.CDLL(None)
    if machine not in FE_UPWARD or not hasattr(library, "fesetround"):
        pytest.skip("the C library's rounding modes are not known here")
    x = np.linspace(-3, 3, 4001, dtype=np.float32)
    weights = np.stack([x[::-1], x * np.float32(0.3)])
    net = nnk.Network([nnk.Dense(weights, activation="tanh")])

    def everything() -> list[Any]:
        return [nnk.tanh(x), nnk.sigmoid(x), nnk.softmax(x), nnk.logsumexp(x), nnk.dot(x, x), nnk.dense(x, weights), net(x)]

    expected = everything()
    library.fesetround(FE_UPWARD[machine])
    try:
        actual = everything()
        mode = library.fegetround()
    finally:
        library.fesetround(0)
    assert mode == FE_UPWARD[machine]
    for one, other in zip(actual, expected, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
