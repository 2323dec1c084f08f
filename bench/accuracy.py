"""Measure the errors of exp, sigmoid and tanh in several libraries.

    python bench/accuracy.py [--stride N] [--doubles N] [--csv FILE]

Runs every float32 except NaN, and a sample of float64, through each library's function. An error is
the distance from the exact result, in units in the last place (ULP) of the exact result in the
dtype. The tables also give the input of the largest error, and whether a function is monotone,
stays in its range, and is odd bit for bit (tanh).

The exact result is computed in the next wider type, whose own error is negligible: by NumPy's
float64 functions for float32, by the C library's long double functions for float64. With mpmath
installed, that error is measured too.

tests/accuracy.cpp sweeps nnkernels alone, every activation on every target.
"""

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import nnkernels as nnk
from engines import ENGINES, Array, Layer, Way, blank, configured_jax, module
from measure import OURS
from peers import DISTRIBUTIONS, machine, settings_for, show_progress

# Arrays of this many numbers stay in the L2 cache, and hide the overhead of a call.
CHUNK = 1 << 14

BY_ENGINE = ("NumPy", "SciPy", "PyTorch", "ONNX Runtime")
PEERS = (*BY_ENGINE, "JAX")
DTYPES = ("float32", "float64")
WIDER: dict[str, Any] = {"float32": np.float64, "float64": np.longdouble}


@dataclass(frozen=True)
class Function:
    """A function: ours, the exact one in a wider type, and the rules for its results."""

    ours: Callable[..., Any]
    exact: Callable[[Any], Any]
    low: float
    high: float
    odd: bool = False


FUNCTIONS = {
    "exp": Function(nnk.exp, np.exp, 0, np.inf),
    "sigmoid": Function(nnk.sigmoid, lambda x: 1 / (1 + np.exp(-x)), 0, 1),
    "tanh": Function(nnk.tanh, np.tanh, -1, 1, odd=True),
}


@dataclass
class Finding:
    """A library's largest errors in a function and its first broken rules, with their inputs.

    Errors with a subnormal exact result are kept separately: some libraries return 0 there.
    """

    error: float = 0.0
    at: float = 0.0
    subnormal_error: float = 0.0
    subnormal_at: float | None = None
    not_monotone: float | None = None
    out_of_range: float | None = None
    not_odd: float | None = None
    curve: dict[float, float] = field(default_factory=dict)  # the largest error by the first number of a quarter of a binade

    def add(self, other: "Finding") -> None:
        """Merge the finding of another part."""
        if not other.error <= self.error:  # NaN included
            self.error, self.at = other.error, other.at
        if not other.subnormal_error <= self.subnormal_error:
            self.subnormal_error, self.subnormal_at = other.subnormal_error, other.subnormal_at
        for rule in ("not_monotone", "out_of_range", "not_odd"):
            if getattr(self, rule) is None:
                setattr(self, rule, getattr(other, rule))
        for start, error in other.curve.items():
            self.curve[start] = max(self.curve.get(start, 0.0), error)


def ways(name: str, x: Array) -> dict[str, Way]:
    """Each library's function, applied to the contents of x at the time of the call."""
    found: dict[str, Way] = {OURS: partial(FUNCTIONS[name].ours, x, out=blank(x.shape, x.dtype))}
    for library in BY_ENGINE:
        if of_library := ENGINES[library]([Layer(None, None, name)], x, 1):
            found[library] = of_library[0]
    if jax := configured_jax():  # its way in engines.py would copy the present contents of x
        compiled = jax.jit({"exp": jax.numpy.exp, "sigmoid": jax.nn.sigmoid, "tanh": jax.numpy.tanh}[name])
        found["JAX"] = lambda: np.asarray(compiled(x))
    return found


def numbers(dtype: str, stride: int, doubles: int) -> list[range]:
    """The magnitudes to test, as ranges of their bits."""

    def bits(x: float) -> int:
        return int(np.array(x, dtype).view(dtype.replace("float", "uint")))

    if dtype == "float32":
        return [range(0, bits(np.inf) + 1, stride)]
    # Below 2**-30 the functions are 1, 1/2 and x; from 2**10 on they are 0, 1 and infinity. One
    # number in eight is from there.
    edges = (0.0, 2.0**-30, 2.0**10, np.inf)
    shares = (doubles // 16, doubles // 8 * 7, doubles // 16)
    return [
        range(bits(low), bits(high) + 1, (bits(high) - bits(low)) // share | 1)
        for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True)
    ]


def chunks(magnitudes: range) -> Iterator[range]:
    """Chunks of equal length; neighbours share at least one number, to check monotonicity."""
    for first in range(0, len(magnitudes) - 1, CHUNK - 1):
        first = min(first, len(magnitudes) - CHUNK)
        yield magnitudes[first : first + CHUNK]


def exact_results(function: Function, x: Array) -> tuple[Array, Array]:
    """The exact results, infinite where they round to infinity, and 1 / ULP of each."""
    info = np.finfo(x.dtype)
    wide = WIDER[x.dtype.name]
    exact = function.exact(x.astype(wide))
    exact[exact >= wide(info.max) * (1 + wide(info.epsneg) / 2)] = np.inf
    exponent = np.where(np.isfinite(exact) & (exact != 0), np.frexp(exact)[1] - 1, info.minexp)
    return exact, np.ldexp(wide(1), info.nmant - np.maximum(exponent, info.minexp))


def examine(function: Function, x: Array, y: Array, exact: Array, per_ulp: Array) -> Finding:
    """Examine results y for the increasing or decreasing numbers x."""
    error = np.abs(y - exact)
    error *= per_ulp
    if np.isinf(exact[-1]):
        error[y == exact] = 0
    found = Finding()
    tiny = np.finfo(x.dtype).tiny
    if abs(exact[0]) < tiny or abs(exact[-1]) < tiny:
        subnormal = np.where(np.abs(exact) < tiny, error, 0)
        error -= subnormal
        worst = subnormal.argmax()
        found.subnormal_error, found.subnormal_at = float(subnormal[worst]), float(x[worst])
    worst = error.argmax()  # NaN counts as the largest
    found.error, found.at = float(error[worst]), float(x[worst])
    ordered = y[1:] >= y[:-1] if x[-1] > x[0] else y[1:] <= y[:-1]
    if not ordered.all():
        found.not_monotone = float(x[ordered.argmin()])
    if not (y.min() >= function.low and y.max() <= function.high):
        found.out_of_range = float(x[((y >= function.low) & (y <= function.high)).argmin()])
    return found


def measure(name: str, dtype: str, magnitudes: list[range], share: int, shares: int) -> dict[str, Finding]:
    """Measure a share of the numbers, in its own process."""
    function = FUNCTIONS[name]
    unsigned = np.dtype(dtype.replace("float", "uint"))
    x = np.empty(CHUNK, dtype)
    contenders = ways(name, x)
    findings = {library: Finding() for library in contenders}
    steps = np.arange(CHUNK, dtype=unsigned)
    pieces = [piece for numbers in magnitudes for piece in chunks(numbers)][share::shares]
    quarter = np.finfo(dtype).nmant - 2  # bits of a number within a quarter of its binade
    for done, piece in enumerate(pieces):
        if share == 0 and done % 256 == 0:
            show_progress(f"{name} {dtype} {done / len(pieces):.0%}")
        magnitude = (unsigned.type(piece.start) + unsigned.type(piece.step) * steps).view(dtype)
        start = float((unsigned.type(piece.start) >> quarter << quarter).view(dtype))
        positive: dict[str, Array] = {}
        for sign in (1, -1):
            np.multiply(magnitude, sign, out=x)
            with np.errstate(all="ignore"):
                exact, per_ulp = exact_results(function, x)
                for library, way in contenders.items():
                    y = np.asarray(way())
                    found = examine(function, x, y, exact, per_ulp)
                    found.curve[sign * start] = max(found.error, found.subnormal_error)
                    if function.odd and sign == 1:
                        positive[library] = y.copy()
                    elif function.odd:
                        same = (-y).view(unsigned) == positive[library].view(unsigned)
                        found.not_odd = None if same.all() else float(x[same.argmin()])
                    findings[library].add(found)
    if share == 0:
        show_progress("")
    return findings


def reference_error(name: str, dtype: str, count: int = 2000) -> float | None:
    """The largest error of the exact results, in ULP, against mpmath; None without mpmath."""
    mpmath = module("mpmath")
    if not mpmath:
        return None
    mp = mpmath.mp
    mp.prec = 200
    of_mpmath = {"exp": mp.exp, "sigmoid": lambda x: 1 / (1 + mp.exp(-x)), "tanh": mp.tanh}[name]
    rng = np.random.default_rng(1)
    signs = rng.choice([-1, 1], count)
    highest = np.log(float(np.finfo(dtype).max))
    x = np.concatenate([signs * 2 ** rng.uniform(-30, np.log2(highest), count), rng.uniform(-highest, highest, count)]).astype(
        dtype
    )
    exact, per_ulp = exact_results(FUNCTIONS[name], x)
    largest = 0.0
    for argument, value, units in zip(x, exact, per_ulp, strict=True):
        mantissa, exponent = np.frexp(value)
        high = float(mantissa)  # two doubles hold all its bits
        error = mp.ldexp(mp.mpf(high) + mp.mpf(float(mantissa - high)), int(exponent)) - of_mpmath(mp.mpf(float(argument)))
        largest = max(largest, float(mp.ldexp(abs(error), int(np.frexp(units)[1]) - 1)))
    return largest


def described(finding: Finding) -> str:
    """Describe the largest error, the error of subnormal results if larger, and broken rules."""
    parts = [f"{finding.error:.3g}"]
    if not finding.subnormal_error <= max(finding.error, 1):
        parts.append(f"{finding.subnormal_error:.2g} in subnormal results")
    broken = {"not monotone": finding.not_monotone, "out of range": finding.out_of_range, "not odd": finding.not_odd}
    return ", ".join([*parts, *(rule for rule, at in broken.items() if at is not None)])


def number(value: float | None, dtype: str) -> str:
    """A number with just enough digits to identify it."""
    return "" if value is None else repr(np.array(value, dtype).item()) if dtype == "float64" else str(np.float32(value))


def line(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


Results = Mapping[tuple[str, str], Mapping[str, Finding]]


def print_summary(results: Results) -> None:
    """Print each library's largest errors and broken rules."""
    print("\nLargest error in ULP\n")
    print(line(["", OURS, *PEERS]))
    print(line(["---"] * (2 + len(PEERS))))
    for (dtype, name), findings in results.items():
        cells = [described(findings[library]) if library in findings else "" for library in (OURS, *PEERS)]
        print(line([f"{name}, {dtype}", *cells]))


def print_details(results: Results) -> None:
    """Print the inputs of the largest errors, and where rules are first broken."""
    print("\nWhere\n")
    rules = ["not monotone at", "out of range at", "not odd at"]
    print(line(["function", "library", "largest error", "at", "in subnormal results", "at", *rules]))
    print(line(["---"] * 9))
    for (dtype, name), findings in results.items():
        for library, found in findings.items():
            errors = [f"{found.error:.5g}", number(found.at, dtype), "", ""]
            if found.subnormal_at is not None:
                errors[2:] = f"{found.subnormal_error:.5g}", number(found.subnormal_at, dtype)
            broken = [number(at, dtype) for at in (found.not_monotone, found.out_of_range, found.not_odd)]
            print(line([f"{name}, {dtype}", library, *errors, *broken]))


def write_curves(path: Path, results: Results, about: str) -> None:
    """Write the largest error in each quarter of a binade from 2**-10 to 2**10, per library."""
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# {about}\n")
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["function", "dtype", "x", OURS, *PEERS])
        for (dtype, name), findings in results.items():
            curves = [findings[library].curve if library in findings else {} for library in (OURS, *PEERS)]
            for x in sorted(x for x in curves[0] if 2**-10 <= abs(x) < 2**10):
                rows.writerow([name, dtype, x, *(f"{curve[x]:.3g}" if curve else "" for curve in curves)])


def parse() -> argparse.Namespace:
    """Parse the command's arguments."""
    parser = argparse.ArgumentParser(description="Measure the largest errors of nnkernels and of its peers.")
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="take every N-th float32 only, N at most 1009")
    parser.add_argument("--doubles", type=int, default=1 << 22, metavar="N", help="how many float64 to take (%(default)s)")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the largest errors over x, for the documentation's plots"
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.stride <= 1009 or arguments.doubles < 32 * CHUNK:
        parser.error(f"--stride is 1 to 1009, --doubles {32 * CHUNK} at least")
    return arguments


def main() -> None:
    """Measure with one process per available CPU, and print the tables."""
    arguments = parse()
    about = machine()
    versions = ", ".join(f"{library} {about['versions'][library]}" for library in DISTRIBUTIONS if library in about["versions"])
    title = f"{about['cpu']}; {about['date']}; Python {about['python']}, {versions}; target {about['target']}"
    print(title)
    cpus = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else list(range(os.cpu_count() or 1))
    results: dict[tuple[str, str], dict[str, Finding]] = {}
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in cpus]
        for cpu, pool in zip(cpus, pools, strict=True):
            with settings_for(1, None, cpu):
                pool.submit(os.getpid).result()  # starts the process
        for dtype in DTYPES:
            magnitudes = numbers(dtype, arguments.stride, arguments.doubles // 2)
            print(f"\n{dtype}: {2 * sum(map(len, magnitudes))} numbers", flush=True)
            for name in FUNCTIONS:
                if (own := reference_error(name, dtype)) is not None:
                    print(
                        f"- {name}: the reference itself is off by at most 2**{np.log2(own):.1f} ULP, seen by mpmath",
                        flush=True,
                    )
                shares = [pool.submit(measure, name, dtype, magnitudes, share, len(pools)) for share, pool in enumerate(pools)]
                first, *others = (share.result() for share in shares)
                for other in others:
                    for library, finding in other.items():
                        first[library].add(finding)
                results[dtype, name] = first
    print_summary(results)
    print_details(results)
    if arguments.csv:
        command = f"python bench/accuracy.py --stride {arguments.stride} --doubles {arguments.doubles} --csv {arguments.csv}"
        write_curves(arguments.csv, results, f"{command}; {title}")


if __name__ == "__main__":
    main()
