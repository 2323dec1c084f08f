"""Stress tests: forks, threads, out of memory, leaks, large arrays, and all of them at once.

    python tests/stress.py COMMAND [--seconds N | --cycles N]

fork     forks a process with warm threads, in half of the cycles busy ones; the child uses threads
threads  8 threads call functions and shared networks; others build and drop networks, and change
         the number of threads
memory   every call that allocates, in an address space with too little room or just enough
leaks    calls that succeed and, one in a hundred, calls that fail: memory must not grow
large    arrays of more than 2**31 elements; needs 10 GB of memory after its first cycle
soak     everything but large arrays at once, with external load on CPUs and memory

Without a limit, a command runs in full, which takes minutes. It exits with 1 if a bit is wrong,
memory grows or something hangs. Linux only.
"""

import argparse
import ctypes
import faulthandler
import gc
import math
import multiprocessing
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import nnkernels as nnk

ACTIVATIONS = (None, "relu", "sigmoid", "tanh", "softmax")

# A process or thread hangs if a cycle takes this many seconds.
HANG = 120

MB = 2**20


class Limit(NamedTuple):
    """The limit of a command's run: a number of cycles, or an end time."""

    cycles: float
    end: float

    def numbers(self) -> Iterator[int]:
        """Count the cycles."""
        number = 0
        while number < self.cycles and time.monotonic() < self.end:
            yield number
            number += 1

    def rounds(self, hang: float = HANG) -> Iterator[int]:
        """Count the cycles. If one takes `hang` seconds, end the process and print its stacks.

        For one thread only, since a process has one timer.
        """
        armed = -math.inf
        for number in self.numbers():
            if (now := time.monotonic()) > armed + 1:
                faulthandler.dump_traceback_later(hang, exit=True)
                armed = now
            yield number
        faulthandler.cancel_dump_traceback_later()


def check(good: bool | np.bool, what: str) -> None:
    if not good:
        raise AssertionError(what)


# --- Memory of this process ---


def pages(index: int) -> int:
    """Return the size of the address space (index 0) or the resident memory (1), in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[index]) * resource.getpagesize()


class Flatness:
    """Samples of values that must not grow: resident bytes, and Python's allocated blocks."""

    def __init__(self, megabytes: int, blocks: float = math.inf) -> None:
        self.allowed = np.array([megabytes * MB, blocks])
        self.samples = array("q")  # its elements allocate no blocks

    def sample(self) -> None:
        self.samples.extend((pages(1), sys.getallocatedblocks()))

    def check(self) -> str:
        """Compare the minima of the last and the second quarter; in the first, caches fill."""
        quarters = np.array_split(np.array(self.samples).reshape(-1, 2), 4)
        check(len(quarters[3]) > 0, "too short a time to see whether memory grows")
        second, last = quarters[1].min(axis=0), quarters[3].min(axis=0)
        growth = last - second
        check(np.all(growth <= self.allowed), f"grew by {growth[0]} bytes and {growth[1]} blocks")
        return f"{last[0] / MB:.0f} MB in memory, grown by {growth[0] / 1024:.0f} kB and {growth[1]:.0f} blocks"


# --- Calls and their expected bits ---


def as_bytes(result: Any) -> NDArray[np.uint8]:
    return np.ascontiguousarray(result).reshape(-1).view(np.uint8)


class Case(NamedTuple):
    """A call and its result with one thread."""

    call: partial[Any]
    expected: NDArray[np.uint8]

    def check(self) -> None:
        check(np.array_equal(as_bytes(self.call()), self.expected), f"other bits from {self.call.func}")


def learned(net: nnk.Network, x: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return a network's parameters after training."""
    layers = nnk.train(net, x, labels, epochs=2, batch_size=300).network.layers
    dense = (layer for layer in layers if isinstance(layer, nnk.Dense))
    return np.concatenate([array.ravel() for layer in dense for array in (layer.weights, layer.bias)])


def gradient(net: nnk.Network, x: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    return net.gradient(x, labels)[1][0].weights


def calls(dtype: type[np.floating[Any]], rows: int, inputs: int, outputs: int, elements: int) -> list[partial[Any]]:
    rng = np.random.default_rng(rows)
    flat, x, weights, bias = (
        rng.normal(0, 2, shape).astype(dtype) for shape in (elements, (rows, inputs), (outputs, inputs), outputs)
    )
    net = nnk.Network([nnk.Dense(weights / inputs, bias, "tanh"), nnk.Dense(weights.T[:10], None, "softmax")])
    strided = np.repeat(x, 2, axis=1)[:, ::2]
    elementwise: list[partial[Any]] = [partial(function, flat) for function in (nnk.relu, nnk.sigmoid, nnk.tanh)]
    layers = [partial(nnk.dense, x, weights, bias, activation=activation) for activation in ACTIVATIONS]
    labels = np.arange(rows) % net(x).shape[-1]
    return [
        *elementwise,
        *layers,
        *(partial(function, x) for function in (nnk.softmax, nnk.log_softmax, nnk.logsumexp)),
        partial(nnk.dot, x, weights[0]),
        partial(nnk.dense, strided, weights[::-1], 1.0),
        *(partial(net, array) for array in (x, strided, x.astype(np.float64), x.astype(np.float16))),
        *(partial(function, net, array, labels) for function in (learned, gradient) for array in (x, strided)),
        partial(nnk.cross_entropy, x, labels, reduction="none"),
    ]


def cases(rows: int, inputs: int, outputs: int, elements: int) -> list[Case]:
    before = nnk.get_num_threads()
    nnk.set_num_threads(1)
    found = [
        Case(call, as_bytes(call()))
        for dtype in (np.float16, np.float32, np.float64)
        for call in calls(dtype, rows, inputs, outputs, elements)
    ]
    nnk.set_num_threads(before)
    return found


def small_cases() -> list[Case]:
    return cases(rows=3, inputs=20, outputs=12, elements=50)


def medium_cases() -> list[Case]:
    """Return calls that release the GIL but use one thread."""
    return cases(rows=50, inputs=64, outputs=32, elements=20_000)


def large_cases() -> list[Case]:
    """Return calls that use several threads."""
    return cases(rows=3300, inputs=300, outputs=50, elements=1_200_000)


# --- fork ---


def in_child(work: list[Case]) -> int:
    """Return the exit status of a forked child that does the work; a signal ends it if it hangs."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(HANG // 2)
        try:
            for case in work:
                case.check()
            check(len(list(Path("/proc/self/task").iterdir())) > 1, "the child has no workers")
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def at_work(work: list[Case]) -> Iterator[None]:
    """Let another thread repeat the work."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            for case in work:
                case.check()

    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(repeat)
        try:
            yield
        finally:
            stop.set()
            thread.result()


def fork(limit: Limit) -> str:
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    work = large_cases()
    nnk.set_num_threads(3)
    flatness = Flatness(megabytes=32)
    forks = 0

    def cycle(number: int) -> None:
        case = work[number % len(work)]
        case.check()
        status = in_child([case, work[(number + 7) % len(work)]])
        check(status == 0, f"the child of cycle {number} ended with {status}")
        flatness.sample()

    rounds = limit.rounds()
    for number in rounds:
        if number % 2 == 0:
            cycle(number)
        else:
            with at_work(work[:3]):
                cycle(number)
        forks += 1
    return f"{forks} forks, {flatness.check()}"


# --- threads ---


def threads(limit: Limit) -> str:
    small, medium, large = small_cases(), medium_cases(), large_cases()
    mixed = [*500 * [small], *50 * [medium], large]
    flatness = Flatness(megabytes=48)
    stop = threading.Event()
    warm: list[int] = []  # callers whose scratch has its full size
    nets = [case for case in small if isinstance(case.call.func, nnk.Network)]
    seen = [time.monotonic()] * 10  # when each thread last made progress

    def call(seed: int) -> int:
        generator = random.Random(seed)
        count = 0
        for case in (*medium, *large):
            case.check()
            seen[seed] = time.monotonic()
        warm.append(seed)
        for _ in limit.numbers():
            if stop.is_set():
                break
            count += 1
            generator.choice(generator.choice(mixed)).check()
            seen[seed] = time.monotonic()
        return count

    def build() -> int:
        generator = random.Random(0)
        count = 0
        while not stop.is_set():
            case = generator.choice(nets)
            original: Any = case.call.func
            x = case.call.args[0]
            copy = nnk.Network(original.layers) if count % 2 else pickle.loads(pickle.dumps(original))
            Case(partial(copy, x), case.expected).check()
            if len(warm) == 8:
                flatness.sample()
            count += 1
            seen[8] = time.monotonic()
        return count

    def change_limit() -> int:
        count = 0
        while not stop.wait(0.001):
            nnk.set_num_threads(1 + count % 7)
            count += 1
            seen[9] = time.monotonic()
        return count

    with ThreadPoolExecutor(10) as pool:
        futures: list[Future[int]] = [pool.submit(call, seed) for seed in range(8)]
        futures += [pool.submit(build), pool.submit(change_limit)]
        while wait(futures, timeout=0.1).not_done:
            failed = any(future.done() and future.exception() for future in futures)
            if failed or all(future.done() for future in futures[:8]):
                stop.set()
            # Use a timer: a hanging thread may hold the GIL.
            oldest = min((when for future, when in zip(futures, seen, strict=True) if not future.done()), default=None)
            if oldest is not None:
                faulthandler.dump_traceback_later(max(oldest + HANG - time.monotonic(), 0.001), exit=True)
    faulthandler.cancel_dump_traceback_later()
    *counts, built, changed = (future.result() for future in futures)
    return f"{sum(counts)} calls by 8 threads, {built} networks built, {changed} limits set, {flatness.check()}"


# --- memory ---


def places(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return calls that allocate several MB: results, scratch, copies, packed weights, files."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (600, 600))
    single, half = x.astype(np.float32), x.astype(np.float16)
    layers = [nnk.Dense(x, x[0], "tanh"), nnk.Dense(single, None, "softmax")]
    net, path = nnk.Network(layers), folder / "net.safetensors"
    net.save(path)
    wide = rng.normal(0, 0.1, (3, 400_000)).astype(np.float16)
    halves = nnk.Network([nnk.Dense(half)])
    kept = np.empty_like(x)
    labels = np.arange(600) * 7 % 600
    state = nnk.train(net, x, labels, epochs=1).state

    def go_on() -> NDArray[Any]:
        state.save(folder / "state")
        restored = nnk.TrainingState.load(folder / "state")
        return nnk.train(net, x, labels, epochs=1, state=restored).state.parameters

    def dense_in_place() -> Any:
        kept[...] = x
        return nnk.dense(kept, x, out=kept)

    def save() -> NDArray[np.uint8]:
        net.save(folder / "copy.safetensors")
        return np.fromfile(folder / "copy.safetensors", np.uint8)

    return {
        "sigmoid": partial(nnk.sigmoid, x),
        "relu of integers": partial(nnk.relu, x.astype(np.int32)),
        "softmax": partial(nnk.softmax, half),
        "log_softmax along another axis": partial(nnk.log_softmax, x, 0),
        "logsumexp of another dtype": partial(nnk.logsumexp, single, 0, dtype=np.float64),
        "dot": partial(nnk.dot, x[:, np.newaxis, :8], x[:, :8]),
        "dense": partial(nnk.dense, single, single, activation="relu"),
        "dense of float16": partial(nnk.dense, wide, wide),
        "dense in place": dense_in_place,
        "dense of columns": partial(nnk.dense, x.T, x.T, 0.5),
        "Dense": lambda: nnk.Dense(half).weights,
        "Network": lambda: nnk.Network(layers)(x[0]),
        "Network, another dtype": lambda: nnk.Network(layers, np.float32)(x[0]),
        "network's result": partial(net, x),
        "network's input of another dtype": partial(net, half),
        "network of float16": partial(halves, half.T),
        "layers": lambda: net.layers[0].weights,  # type: ignore[union-attr]
        "pickle": lambda: pickle.loads(pickle.dumps(net))(x[0]),
        "save": save,
        "load": lambda: nnk.load(path)(x[0]),
        "loss": lambda: nnk.cross_entropy(single, labels, gradient=True)[1],
        "loss of another dtype": lambda: nnk.squared_error(half, x, gradient=True)[1],
        "Network.random": lambda: nnk.Network.random((600, 600), seed=1)(x[0]),
        "gradient": partial(gradient, net, x, labels),
        "backward": lambda: net.backward(single, single)[1],
        "train": partial(learned, net, x, labels),
        "train, x of another dtype": partial(learned, net, single, labels),
        "train, float16": partial(learned, halves, half, x),
        "state": go_on,
    }


def with_room(room: float, call: Callable[[], Any]) -> Any:
    """Run a call with ``room`` more bytes of address space, in a new thread. None if that fails."""
    results: list[Any] = []
    unlimited = resource.getrlimit(resource.RLIMIT_AS)

    def run() -> None:
        limited = (pages(0) + int(room), unlimited[1])
        try:
            resource.setrlimit(resource.RLIMIT_AS, limited)
            results.append(call())
        except MemoryError:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_AS, unlimited)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()
    return results[0] if results else None


def memory(limit: Limit) -> str:
    # One heap for all threads; larger blocks are mapped, and unmapped when freed. So the limit
    # applies to each call.
    for parameter, value in ((-8, 1), (-3, 64 * 1024)):  # M_ARENA_MAX, M_MMAP_THRESHOLD
        ctypes.CDLL(None).mallopt(parameter, value)
    nnk.set_num_threads(3)
    outcomes: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        operations = places(Path(folder))
        expected, needed = {}, {}
        for name, call in operations.items():
            expected[name] = as_bytes(call()).copy()
            needed[name] = next(room for room in (MB * 2**k for k in range(12)) if with_room(room, call) is not None)
        for number in limit.rounds():
            name, call = list(operations.items())[number % len(operations)]
            # Multiples of the golden ratio spread evenly, whatever their number.
            room = 1.1 * needed[name] * (number // len(operations) * 0.6180339887 % 1)
            result = with_room(room, call)
            outcomes[name, "refused" if result is None else "done"] += 1
            for array in (result, call()):
                check(
                    array is None or np.array_equal(as_bytes(array), expected[name]),
                    f"{name}: wrong with room for {room:.0f} bytes",
                )
    for name in operations:
        refused, done = outcomes[name, "refused"], outcomes[name, "done"]
        print(f"  {name:34}{needed[name] / MB:6.0f} MB {refused:6} refused {done:6} done")
        check(refused > 0 and (done > 0 or refused < 5), f"{name} was not tried with both too little room and enough")
    return f"{outcomes.total()} calls with little room, and one after each"


# --- leaks ---


def leaks(limit: Limit) -> str:
    import test_errors

    failing = list(test_errors.CALLS.values())
    flatness = Flatness(megabytes=1, blocks=300)
    count = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        test_errors.run_every_call(Path(folder))  # caches fill
        successful = test_errors.successful_calls(Path(folder))
        for count in limit.rounds():
            successful[count % len(successful)]()
            if count % 100 == 0:
                one = failing[failed % len(failing)]
                failed += 1
                with suppress(one.error):
                    one.call()
                    check(False, f"{one.call} did not fail")
            if count % 2000 == 0:
                gc.collect()  # also empties the interpreter's free lists
                flatness.sample()
    return f"{count + 1} calls, {failed} failed calls, {flatness.check()}"


# --- large ---

# A number of elements beyond 32 bits, and indices around 2**31.
LARGE = 2**31 + 17
PLACES = [0, 5, 2**31 - 1, 2**31, LARGE - 1]

# An odd period, so that the pattern differs on both sides of 2**31.
PATTERN = 1_000_003


def large_numbers() -> None:
    """Arrays of one repeated number, which take no memory."""
    ones, zeros = np.broadcast_to(np.float64(1), LARGE), np.broadcast_to(np.float32(0), LARGE)
    check(nnk.dot(ones, ones) == LARGE, "dot")
    check(abs(nnk.logsumexp(zeros) - math.log(LARGE)) < 1e-5, "logsumexp")


def large_elementwise() -> None:
    """Element-wise functions equal those of the pattern alone."""
    pattern = np.random.default_rng(0).normal(0, 4, PATTERN).astype(np.float16)
    x, y = np.empty(LARGE, np.float16), np.empty(LARGE, np.float16)
    parts = [slice(start, min(start + PATTERN, LARGE)) for start in range(0, LARGE, PATTERN)]
    for part in parts:
        x[part] = pattern[: part.stop - part.start]
    for function, out in ((nnk.sigmoid, y), (nnk.tanh, y), (nnk.relu, x)):
        function(x, out=out)
        expected = function(pattern).view(np.uint16)
        good = all(np.array_equal(out[part].view(np.uint16), expected[: part.stop - part.start]) for part in parts)
        check(good, f"{function.__name__}")


def large_rows() -> None:
    """Dense layers with more than 2**31 inputs and results in total, and with a few rows."""
    rows = PATTERN * 269  # of 8 elements
    few = np.random.default_rng(0).normal(0, 1, (PATTERN, 8)).astype(np.float16)
    weights = np.random.default_rng(1).normal(0, 1, (8, 8)).astype(np.float16)
    x, y = np.empty((rows, 8), np.float16), np.empty((rows, 8), np.float16)
    check(x.size > 2**31, "rows")
    for start in range(0, rows, PATTERN):
        x[start : start + PATTERN] = few
    net = nnk.Network([nnk.Dense(weights, None, "relu")])
    for name, function in (("dense", partial(nnk.dense, weights=weights, activation="relu")), ("Network", net)):
        y[...] = -1
        function(x, out=y)
        expected = function(few).view(np.uint16)
        good = all(np.array_equal(y[start : start + PATTERN].view(np.uint16), expected) for start in range(0, rows, PATTERN))
        check(good, name)


def large_sums() -> None:
    """Sums of LARGE elements, few of them nonzero."""
    x, y = np.zeros(LARGE, np.float16), np.full(LARGE, 7, np.float16)
    x[PLACES] = [1, 2, 4, 8, 16]
    y[PLACES] = [32, 16, 8, 4, 2]
    check(nnk.dot(x, y) == 5 * 32 + 0 * 7, "dot")
    check(nnk.dot(x[::-1], y[::-1]) == 5 * 32, "dot backwards")
    x.fill(-100)
    x[PLACES] = 0
    nnk.softmax(x, out=y)
    check(np.all(y[PLACES] == np.float16(0.2)) and np.count_nonzero(y) == len(PLACES), "softmax")
    check(nnk.logsumexp(x) == np.float16(math.log(5)), "logsumexp")
    nnk.log_softmax(x, out=y)
    check(np.all(y[PLACES] == np.float16(-math.log(5))) and y[1] == y[-2] == np.float16(-100 - math.log(5)), "log_softmax")


def large_layer() -> None:
    """A dense layer of LARGE inputs."""
    x = np.zeros((1, LARGE), np.float32)
    x[0, PLACES] = [1, 2, 4, 8, 16]
    weights = np.broadcast_to(np.array([[1], [-2]], np.float32), (2, LARGE))
    check(nnk.dense(x, weights).tolist() == [[31.0, -62.0]], "dense")


def large(limit: Limit) -> str:
    steps = (large_numbers, large_elementwise, large_rows, large_sums, large_layer)
    done = 0
    for step, _ in zip(steps, limit.rounds(hang=1800), strict=False):
        begin = time.monotonic()
        step()
        print(f"  {step.__doc__} {time.monotonic() - begin:.0f} s", flush=True)
        done += 1
    return f"{done} of {len(steps)} kinds of arrays of {LARGE} elements"


# --- soak ---


def keep_busy() -> None:
    """Keep a CPU busy, and now and then allocate 500 MB of memory."""
    while True:
        taken = np.ones(500 * MB // 8)
        for _ in range(20):
            taken[:MB].sum()
            np.sort(taken[: 4 * MB][::-1])
        del taken


def soak(limit: Limit) -> str:
    seconds = limit.end - time.monotonic()
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=keep_busy, daemon=True) for _ in range(2)]
    for other in others:
        other.start()
    commands = ("fork", "threads", "memory", "leaks")
    children = [subprocess.Popen([sys.executable, __file__, command, "--seconds", f"{seconds:.0f}"]) for command in commands]
    try:
        failed = [command for command, child in zip(commands, children, strict=True) if child.wait(seconds + 2 * HANG) != 0]
    finally:
        for child in children:
            child.kill()
        for other in others:
            other.kill()
    check(not failed, f"failed: {', '.join(failed)}")
    return f"{', '.join(commands)} at once for {seconds:.0f} s, with load"


# Each command's function, and its default cycles and seconds.
COMMANDS: dict[str, tuple[Callable[[Limit], str], float, float]] = {
    "fork": (fork, 1000, math.inf),
    "threads": (threads, 100_000, math.inf),
    "memory": (memory, 4000, math.inf),
    "leaks": (leaks, 1_000_000, math.inf),
    "large": (large, math.inf, math.inf),
    "soak": (soak, math.inf, 600),
}


def main() -> int:
    """Run a command, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="begin no cycle after this many seconds")
    length.add_argument("--cycles", type=int, help="run this many cycles")
    options = parser.parse_args()
    function, cycles, seconds = COMMANDS[options.command]
    if options.seconds is not None:
        cycles, seconds = math.inf, options.seconds
    elif options.cycles is not None:
        cycles = options.cycles
    begin = time.monotonic()
    try:
        done = function(Limit(cycles, begin + seconds))
    except AssertionError as error:
        print(f"{options.command}: FAILED: {error}")
        return 1
    print(f"{options.command}: good: {done}; {time.monotonic() - begin:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
