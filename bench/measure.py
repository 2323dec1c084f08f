"""Measurement for peers.py: verify the contenders, time them in turns, measure limits."""

import json
import statistics
import subprocess
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines import Array, Way

OURS = "nnkernels"

# Seconds from which a call counts as long: it varies less, cache state is irrelevant, and fewer
# samples fit.
LONG = 0.05


@dataclass(frozen=True)
class Check:
    """The expected result, or a figure of it, and its tolerance."""

    expected: Array
    tolerance: Array | float
    figure: Callable[[Any], Any] = np.asarray

    def error(self, way: Way) -> str | None:
        """Describe what is wrong with a result; None if it is right."""
        result = np.asarray(self.figure(way()))
        if result.shape != self.expected.shape:
            return f"expected shape {self.expected.shape}, got {result.shape}"
        with np.errstate(all="ignore"):
            error = np.abs(result.astype(np.float64) - self.expected)
            wrong = ~((error <= self.tolerance) | (result == self.expected) | (np.isnan(result) & np.isnan(self.expected)))
        if not wrong.any():
            return None
        allowed, found = np.broadcast_to(self.tolerance, error.shape)[wrong][0], error[wrong][0]
        return f"{wrong.sum()} of {wrong.size} results are wrong, the first by {found:.3g} where {allowed:.3g} is allowed"


@dataclass
class Contender:
    """Ways to do one piece of work; the fastest counts. A call does `units` of work."""

    ways: list[Way]
    units: float = 1
    check: Check | None = None
    setup: Callable[[], Any] | None = None  # runs before each sample


@dataclass(frozen=True)
class Limit:
    """The limit of nnkernels in a case: its name in bench/limits, and the work of a call."""

    name: str
    amount: float  # operations or bytes


@dataclass
class Work:
    """A case ready to run. Without contenders, `direct` measures the figure itself."""

    contenders: dict[str, Contender] = field(default_factory=dict)
    limit: Limit | None = None
    flops: float = 0  # per call of nnkernels
    bytes: float = 0  # of its inputs, weights and outputs, each counted once
    direct: Callable[[], float] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Time:
    """Seconds per unit of work: median and quartiles of samples, and the index of the way."""

    median: float
    low: float
    high: float
    way: int

    @staticmethod
    def of(samples: Sequence[float], way: int) -> "Time":
        """Summarize samples."""
        low, median, high = (float(value) for value in np.quantile(samples, (0.25, 0.5, 0.75)))
        return Time(median, low, high, way)


@dataclass(frozen=True)
class Effort:
    """How long to measure: samples of each way, and the minimum seconds of a sample."""

    samples: int
    seconds: float
    pause: float = 0  # before a sample: lets spinning threads of other libraries fall asleep
    trials: int = 1  # runs to determine the calls in a sample


class Limits:
    """The program bench/limits, which measures limits of this machine; may be missing."""

    def __init__(self, program: Path | None) -> None:
        self.program = program
        self.samples: dict[str, list[float]] = {}

    def measure(self, *names: str) -> dict[str, float]:
        """Operations or bytes per second by the names of limits; empty without the program."""
        if self.program is None:
            return {}
        printed = subprocess.run([self.program, *names], check=True, capture_output=True, text=True).stdout
        found: dict[str, float] = json.loads(printed)
        for name, value in found.items():
            self.samples.setdefault(name, []).append(value)
        return found


def verify(name: str, work: Work) -> None:
    """Raise ArithmeticError if a result of nnkernels is wrong.

    A peer that is wrong or fails is dropped with a note.
    """
    for library, contender in list(work.contenders.items()):
        try:
            errors = [contender.check.error(way) for way in contender.ways] if contender.check else []
        except Exception as error:  # a peer may raise anything
            if library == OURS:
                raise
            errors = [f"fails: {error}"]
        if not any(errors):
            continue
        message = f"{name}: {library}: {next(error for error in errors if error)}"
        if library == OURS:
            raise ArithmeticError(message)
        contender.ways = [way for way, error in zip(contender.ways, errors, strict=False) if error is None]
        work.notes.append(message)
        if not contender.ways:
            del work.contenders[library]


@dataclass
class _Runner:
    """A way during its measurement."""

    contender: str
    way: int
    units: float
    timer: timeit.Timer
    calls: int
    trial: float  # seconds per call in the trial
    samples: list[float] = field(default_factory=list)

    def sample(self, pause: float) -> None:
        if pause:
            time.sleep(pause)
        if self.trial < LONG:
            self.timer.timeit(1)  # warms the caches after the other contenders
        self.samples.append(self.timer.timeit(self.calls) / self.calls / self.units)


def _runner(name: str, way: int, contender: Contender, clock: Callable[[], float], effort: Effort) -> _Runner:
    """Determine the calls per sample, at least one."""
    timer = timeit.Timer(contender.ways[way], contender.setup or "pass", clock)
    calls = 1
    timer.timeit(calls)
    while (taken := min(timer.repeat(effort.trials, calls))) < effort.seconds / 4:
        calls *= 4
    return _Runner(name, way, contender.units, timer, max(1, round(calls * effort.seconds / taken)), taken / calls)


def take_turns(work: Work, clock: Callable[[], float], effort: Effort, limits: Limits) -> tuple[dict[str, Time], float | None]:
    """Times of each contender's best way, and the measured limit; all take turns, sample by sample.

    Each turn starts with a different contender, because the first one follows the limit's
    measurement, which empties the caches. Ways that take over 1.5 times as long in the trial as
    another way of their contender are not measured.
    """
    trials = [
        [_runner(name, way, contender, clock, effort) for way in range(len(contender.ways))]
        for name, contender in work.contenders.items()
    ]
    runners = [runner for ways in trials for runner in ways if runner.trial <= 1.5 * min(other.trial for other in ways)]
    has_long = any(runner.trial >= LONG for runner in runners)
    samples = min(effort.samples, 5) if has_long else effort.samples
    found: list[float] = []
    for turn in range(samples):
        first = turn % len(runners)
        for runner in runners[first:] + runners[:first]:
            runner.sample(effort.pause)
        if work.limit:
            found += limits.measure(work.limit.name).values()
    times: dict[str, Time] = {}
    for runner in runners:
        result = Time.of(runner.samples, runner.way)
        if runner.contender not in times or result.median < times[runner.contender].median:
            times[runner.contender] = result
    return times, statistics.median(found) if found else None
