"""Time nnkernels beside NumPy, SciPy, PyTorch, ONNX Runtime and scikit-learn, those that are installed, in one table.

    python bench/peers.py [--quick] [--filter REGEX] [--threads N]

Each result is verified before it is timed, and the contenders of a case take turns, so that whatever else the machine does
meets all of them. README.md says how to read the table; cases.py holds the work.
"""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np

import nnkernels as nnk
from cases import Case, Work, cases, module

# The libraries by the names of their distributions, in the order of the columns.
LIBRARIES = {
    "numpy": "NumPy",
    "scipy": "SciPy",
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "scikit-learn": "scikit-learn",
    "nnkernels": "nnkernels",
}

# BLAS and OpenMP libraries read these once, when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# These make OpenBLAS, and so NumPy and SciPy, run kernels for another CPU than this one.
MISLEADING_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def start_with_threads(threads: int) -> None:
    """Have all libraries use so many threads. The process starts anew if they may have read another number."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, sys.orig_argv)
    nnk.set_num_threads(threads)
    if torch := module("torch"):
        torch.set_num_threads(threads)


def warn_of_misleading_variables() -> None:
    """Say on stderr which variables slow the peers down, and how to unset them."""
    if names := [name for name in MISLEADING_VARIABLES if name in os.environ]:
        unset = " ".join(f"-u {name}" for name in names)
        print(f"{' and '.join(names)} set, which slows NumPy and SciPy down; run env {unset} python ...", file=sys.stderr)


def verify(case: Case, work: Work) -> None:
    """Raise ArithmeticError if a result is off."""
    for library, ways in work.ways.items():
        for way in ways:
            result = np.asarray(way())
            error = np.abs(result - work.expected)
            if result.shape != work.expected.shape or not np.all(error <= work.tolerance):
                allowed = np.max(work.tolerance)
                message = (
                    f"{case.name}: expected {library} to be off by at most {allowed:.3g}, but it is by {np.max(error):.3g}"
                )
                raise ArithmeticError(message)


def calls_in(seconds: float, timer: timeit.Timer) -> int:
    """How many calls take about so long; one at least."""
    calls = 1
    while (taken := timer.timeit(calls)) < seconds / 4:
        calls *= 4
    return max(1, round(calls * seconds / taken))


def measure(work: Work, clock: Callable[[], float], repetitions: int, seconds: float) -> dict[str, float]:
    """Median seconds of a call, for each library that of its best way. All ways take turns, of about `seconds` each."""
    timers = [(library, timeit.Timer(way, timer=clock)) for library, ways in work.ways.items() for way in ways]
    calls = [calls_in(seconds, timer) for _, timer in timers]
    samples: list[list[float]] = [[] for _ in timers]
    for _ in range(repetitions):
        for (_, timer), count, times in zip(timers, calls, samples, strict=True):
            times.append(timer.timeit(count) / count)
    best: dict[str, float] = {}
    for (library, _), times in zip(timers, samples, strict=True):
        best[library] = min(statistics.median(times), best.get(library, np.inf))
    return best


def cpu_model() -> str:
    """The CPU's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def installed() -> dict[str, str]:
    """The libraries that are installed, and their versions."""
    versions = {}
    for distribution, library in LIBRARIES.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(distribution)
    return versions


def line(cells: list[str]) -> str:
    """A row of a Markdown table: the first cell to the left, the others to the right."""
    first, *others = cells
    return f"| {first:36} | " + " | ".join(f"{cell:>12}" for cell in others) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time nnkernels beside its peers.")
    parser.add_argument("--quick", action="store_true", help="few and short repetitions: a smoke test, not a measurement")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only the cases in whose names it is found")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every library (default 1)")
    arguments = parser.parse_args()
    start_with_threads(arguments.threads)
    warn_of_misleading_variables()

    libraries = installed()
    versions = ", ".join(f"{library} {version}" for library, version in libraries.items())
    print(f"{cpu_model()}; {date.today()}; Python {platform.python_version()}, {versions}")
    print(f"nnkernels target {nnk.config()['target']}; threads of every library: {arguments.threads}")
    # CPU time does not count what other processes take away; only of one thread it is what a call lasts.
    clock, clock_name = (time.process_time, "CPU") if arguments.threads == 1 else (time.perf_counter, "elapsed")
    print(f"Median {clock_name} microseconds of a call; ratio of the best peer's to nnkernels'; GFLOP/s of nnkernels.\n")
    print(line(["case", *libraries, "ratio", "GFLOP/s"]))
    print(line([":" + 35 * "-", *[11 * "-" + ":"] * (len(libraries) + 2)]), flush=True)

    repetitions, seconds = (2, 0.0001) if arguments.quick else (21, 0.004)
    ratios = []
    torch = module("torch")
    with torch.inference_mode() if torch else contextlib.nullcontext():
        for case in cases():
            if not re.search(arguments.filter, case.name):
                continue
            work = case.prepare(arguments.threads)
            verify(case, work)
            medians = measure(work, clock, repetitions, seconds)
            ours = medians["nnkernels"]
            ratios.append(min(median for library, median in medians.items() if library != "nnkernels") / ours)
            times = [f"{medians[library] * 1e6:.4g}" if library in medians else "" for library in libraries]
            rate = f"{work.flops / ours * 1e-9:.3g}" if work.flops else ""
            print(line([case.name, *times, f"{ratios[-1]:.2f}", rate]), flush=True)
    if ratios:
        ahead, mean = sum(ratio > 1 for ratio in ratios), statistics.geometric_mean(ratios)
        print(f"\nnnkernels is ahead in {ahead} of {len(ratios)} cases; geometric mean of the ratios {mean:.2f}")


if __name__ == "__main__":
    main()
