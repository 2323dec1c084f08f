"""The thread pool: number of threads, floating-point environment, processes, subinterpreters."""

import ctypes
import functools
import multiprocessing
import os
import pickle
import subprocess
import sys
import sysconfig
from pathlib import Path
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
    """Run Python code in a separate process, and return its output."""
    finished = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True, timeout=60
    )
    return finished.stdout.strip()


LIMIT = "import nnkernels as nnk; print(nnk.get_num_threads())"


@functools.cache
def limit(before: str = "", **environment: str) -> int:
    """Return the maximum number of threads in a new process, after running some code."""
    return int(run(before + LIMIT, **{"NNKERNELS_NUM_THREADS": "", "OMP_NUM_THREADS": "", **environment}))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs an affinity mask")
def test_default_limit_is_at_most_the_affinity() -> None:
    assert 1 <= limit() <= len(os.sched_getaffinity(0))  # or a smaller quota (tests/cgroup.cpp)
    assert limit("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});") == 1


@pytest.mark.parametrize("value", ["1", " 1 ", "+1", "1,3", "1 , 3", "1,x"])
def test_omp_num_threads_limits_the_default(value: str) -> None:
    assert limit(OMP_NUM_THREADS=value) == 1
    assert limit(OMP_NUM_THREADS=value, NNKERNELS_NUM_THREADS="5") == 5


@pytest.mark.parametrize("value", ["", " ", "0", "-1", "0,1", ",1", "x", "1x", "1.0", "1 1", "1e0", "1000000", "9" * 30])
def test_omp_num_threads_that_is_no_limit(value: str) -> None:
    assert limit(OMP_NUM_THREADS=value) == limit()


def test_limit_by_the_environment() -> None:
    """NNKERNELS_NUM_THREADS may exceed the number of CPUs. test_errors.py has bad values."""
    assert limit(NNKERNELS_NUM_THREADS="5") == 5
    assert limit(NNKERNELS_NUM_THREADS="5", OMP_NUM_THREADS="1") == 5


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


@pytest.mark.usefixtures("threads")
def test_overlap_is_not_shared_out() -> None:
    """If the input is ahead of an overlapping output, NumPy makes no copy: compute in order."""
    nnk.set_num_threads(2)
    expected = nnk.relu(LARGE[1:])
    for _ in range(20):
        x = np.concatenate([LARGE, LARGE])  # large enough to wake the workers
        nnk.sigmoid(x)
        nnk.relu(x[1 : len(LARGE)], out=x[: len(LARGE) - 1])
        assert same_bits(x[: len(LARGE) - 1], expected)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("rows", [1, 2, 50, 127, 128, 300])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("activation", ["tanh", "softmax"])
def test_shared_layers(rows: int, dtype: type[np.floating], activation: str, rng: np.random.Generator) -> None:
    """Threads share a layer's outputs if there are few rows, else the rows, with the same bits."""
    weights = [rng.standard_normal((1000, n)).astype(dtype) for n in (600, 1000)]
    bias = rng.standard_normal(1000).astype(dtype)
    net = nnk.Network([nnk.Dense(one, bias, activation) for one in weights])
    x = rng.standard_normal((rows, 600)).astype(dtype)
    strided, columns = np.repeat(x, 2, axis=1)[:, ::2], weights[0].copy(order="F")

    def results() -> list[np.ndarray]:
        nnk.sigmoid(LARGE)  # wakes the workers, so that they share smaller loops
        return [
            net(x),
            net(strided),
            nnk.dense(x, weights[0], bias, activation=activation),
            nnk.dense(x, columns, bias[0], activation=activation),
        ]

    nnk.set_num_threads(1)
    expected = results()
    nnk.set_num_threads(3)
    for one, other in zip(results(), expected, strict=True):
        assert same_bits(one, other)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded Python")
def test_import_leaves_the_gil_disabled() -> None:
    code = "import sys, nnkernels; print(sys._is_gil_enabled())"
    assert run(code, PYTHON_GIL="") == "False"  # PYTHON_GIL would override the module


def test_idle_pool_sleeps() -> None:
    # The minimum of some tries: if a virtual CPU stops while a worker spins, that time counts as
    # work.
    code = """
import time
import numpy as np, nnkernels as nnk
nnk.set_num_threads(4)
def idle():
    nnk.sigmoid(np.ones(1_000_000))
    begin = time.process_time()
    time.sleep(0.3)
    return time.process_time() - begin
print(min(idle() for _ in range(5)))
"""
    assert float(run(code)) < 0.03


WORKERS = """
import os, pathlib, re, time
import numpy as np, nnkernels as nnk
def tasks():
    return {int(path.name) for path in pathlib.Path("/proc/self/task").iterdir()}
def waits(task):
    status = pathlib.Path(f"/proc/self/task/{task}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\\s*(\\d+)", status, re.M)[1])
def call():
    nnk.sigmoid(np.ones(1_000_000))
    time.sleep(0.05)  # the workers are asleep then
before = tasks()
nnk.set_num_threads(4)
call()
workers = sorted(tasks() - before)
assert len(workers) == 3
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_only_the_workers_wanted_wake() -> None:
    code = """
nnk.set_num_threads(2)
call()
idle = {worker: waits(worker) for worker in workers}
for _ in range(10):
    call()
print([waits(worker) > count for worker, count in idle.items()])
"""
    assert run(WORKERS + code) == "[True, False, False]"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_workers_run_where_the_caller_may() -> None:
    code = """
cpus = os.sched_getaffinity(0)
def follow(now):
    os.sched_setaffinity(0, now)
    for _ in range(100):  # a worker of a busy machine may sleep through a call
        call()
        if all(os.sched_getaffinity(worker) == now for worker in workers):
            return True
    return False
print(*map(follow, (cpus, {min(cpus)}, cpus)))
"""
    assert run(WORKERS + code) == "True True True"


def task_count() -> int:
    return len(list(Path("/proc/self/task").iterdir())) if sys.platform == "linux" else 0


def in_child(queue: Any) -> None:
    nnk.set_num_threads(3)
    before = task_count()
    result = nnk.sigmoid(LARGE)[::1000]
    queue.put((result, task_count() - before))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_processes(method: str) -> None:
    nnk.set_num_threads(3)
    expected = nnk.sigmoid(LARGE)[::1000]  # starts workers, which a forked child does not have
    context = multiprocessing.get_context(method)
    for _ in range(20 if method == "fork" else 1):
        queue = context.Queue()
        child = context.Process(target=in_child, args=(queue,))
        child.start()
        result, workers = queue.get(timeout=60)
        assert same_bits(result, expected)
        assert workers == 2 or sys.platform != "linux"
        child.join(60)
        assert child.exitcode == 0


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_joblib(backend: str) -> None:
    joblib = pytest.importorskip("joblib")  # comes with scikit-learn
    nnk.set_num_threads(3)
    x = LARGE.reshape(1000, 1000)  # so large that joblib passes it as a file
    net = nnk.Network([nnk.Dense(x / 1000, activation="tanh")])
    expected = net(x)
    with joblib.parallel_config(backend=backend):
        for result in joblib.Parallel(n_jobs=2, timeout=60)(joblib.delayed(net)(x) for _ in range(4)):
            assert same_bits(result, expected)


def test_workers_of_joblib_do_not_oversubscribe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joblib tells its workers their share of the CPUs in OMP_NUM_THREADS."""
    joblib = pytest.importorskip("joblib")  # comes with scikit-learn
    monkeypatch.delenv("NNKERNELS_NUM_THREADS", raising=False)
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        limits = joblib.Parallel(n_jobs=2, timeout=60)(joblib.delayed(nnk.get_num_threads)() for _ in range(4))
    assert set(limits) == {1}


SUBINTERPRETERS = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = \"\"\"
try:
    import nnkernels as nnk
except ImportError as error:
    print("refused:", error, flush=True)
else:
    print(nnk.dense([1.0, 2.0], [[3.0, 4.0]], activation="relu"), flush=True)
\"\"\"
def create_legacy():  # one that shares the GIL
    try:
        return interpreters.create("legacy")
    except TypeError:
        return interpreters.create(isolated=False)
for create in (create_legacy, interpreters.create):
    other = create()
    interpreters.run_string(other, code)
    interpreters.destroy(other)
import nnkernels as nnk
print(nnk.dense([1.0, 2.0], [[3.0, 4.0]], activation="relu"))
"""


@pytest.mark.parametrize("first", ["", "import nnkernels"])
def test_subinterpreters(first: str) -> None:
    """Refused, with a shared GIL or their own. The main interpreter is unaffected."""
    *others, main = run(f"{first}\n{SUBINTERPRETERS}").splitlines()
    assert main == "[11.]"
    assert len(others) == 2
    assert all(other.startswith("refused: ") and "interpreter" in other for other in others)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_threads_that_the_system_refuses() -> None:
    code = """
import os, resource
import numpy as np, nnkernels as nnk
x = np.linspace(-5, 5, 1_000_000)
y = np.empty_like(x)
def call(threads):
    nnk.set_num_threads(threads)
    y[...] = 0
    nnk.sigmoid(x, out=y)
    return y.copy()
expected = call(1)
before = len(os.listdir("/proc/self/task"))
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
most = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + 2**23, most[1]))  # too little for a thread's stack beside the result
first = call(4)
workers = len(os.listdir("/proc/self/task")) - before
resource.setrlimit(resource.RLIMIT_AS, most)
second = call(4)
print(np.array_equal(first, expected), workers, np.array_equal(second, expected), len(os.listdir("/proc/self/task")) - before)
"""
    assert run(code) == "True 0 True 3"


# The control word in the C library's fenv_t: its offset, and the bits for rounding upward and for
# flushing subnormals.
MODES = {"x86_64": (28, 0x4000, 0x8040), "aarch64": (0, 0x400000, 0x1000000)}


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine not in MODES, reason="the layout of fenv_t is not known")
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("mode", ["upward", "flush"])
@pytest.mark.parametrize("n", [500, 4001, 400_001])
def test_floating_point_modes_of_the_caller(mode: str, n: int, dtype: type[np.floating[Any]], tmp_path: Path) -> None:
    """Results are those of the default modes, also in workers, and the caller's modes are restored.

    This holds for computations and for a Network's conversions. For ufuncs, NumPy converts
    integers, ``dtype=`` and ``out=`` of another dtype, in the caller's rounding mode.
    """
    offset, *bits = MODES[os.uname().machine]
    wanted = bits[mode == "flush"]
    library = ctypes.CDLL(None)
    environment, before = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)

    def control() -> int:
        library.fegetenv(environment)
        return ctypes.c_uint32.from_buffer(environment, offset).value

    nnk.set_num_threads(3)
    subnormal = np.finfo(dtype).tiny * np.linspace(0, 1, 5).astype(dtype)
    x = np.concatenate([np.linspace(-104, 3, n - 5).astype(dtype), subnormal])
    rows = np.stack([np.resize(x[::-1], 1000), np.resize(x, 1000) * dtype(0.3)] * 30)
    weights, bias = np.resize(x, (40, 1000)), np.resize(x, 40)
    labels, tenths, outputs = np.arange(60) % 40, np.arange(60) / 10, rows[::-1] / 8
    wide, integers = rows.astype(np.float64) * 1.1, np.arange(2**62, 2**62 + 1000)
    path = tmp_path / "net.safetensors"

    def everything() -> list[Any]:
        layers = [nnk.Dense(weights, bias, "tanh"), nnk.Dense(weights[:, :40], None, "softmax")]
        net = nnk.Network(layers)
        net.save(path)
        training = nnk.train(net, wide, labels, epochs=2, sample_weight=tenths, validation=(rows, labels))
        return [
            *nnk.cross_entropy(rows, labels, label_smoothing=0.1, sample_weight=tenths, gradient=True),
            *(loss(rows, outputs, sample_weight=tenths, reduction="none") for loss in (nnk.huber, nnk.poisson)),
            nnk.squared_error(rows, outputs, sample_weight=tenths), nnk.absolute_error(rows, outputs),
            net.gradient(wide, labels, sample_weight=tenths)[1][0].weights, net.backward(rows, outputs[:, :40])[1],
            training.losses, training.validation_losses, training.network.layers[0].weights,
            nnk.Network.random((5, 4), seed=1, initializer="torch", dtype=dtype).layers[0].weights,
            *(function(x) for function in (nnk.relu, nnk.tanh, nnk.sigmoid, nnk.softmax, nnk.log_softmax, nnk.logsumexp)),
            *(function(x) for function in (nnk.exp, nnk.leaky_relu, nnk.elu, nnk.silu, nnk.gelu, nnk.softplus)),
            *(nnk.dense(rows, weights, bias, activation=activation) for activation in (None, "relu", "sigmoid", "softmax")),
            *(nnk.Network(layers, kind)(rows) for kind in (np.float16, np.float32, np.float64)),
            *(net(array) for array in (rows, wide, integers)),
            *(net(rows, out=np.empty((60, 40), kind)) for kind in (np.float16, np.float32, np.float64)),
            nnk.dot(x, x[::-1]), nnk.softmax(rows, 0), nnk.Network([nnk.Dense(wide)], dtype)(rows),
            nnk.load(path)(rows), pickle.loads(pickle.dumps(net))(rows), net.layers[0].weights,
        ]  # fmt: skip

    with np.errstate(over="ignore", invalid="ignore"):
        expected = everything()
        library.fegetenv(before)
        set_control = control() | wanted
        ctypes.c_uint32.from_buffer(environment, offset).value = set_control
        library.fesetenv(environment)
        try:
            actual = everything()
            left = control()
        finally:
            library.fesetenv(before)
    assert left & wanted == wanted
    for one, other in zip(actual, expected, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_exit_while_a_call_runs() -> None:
    code = """
import threading, time
import numpy as np, nnkernels as nnk
net, x = nnk.Network([nnk.Dense(np.ones((500, 500)))]), np.ones((5000, 500))
def work():
    while True:
        net(x)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("leaves")
"""
    assert run(code) == "leaves"
