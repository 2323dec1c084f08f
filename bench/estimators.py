"""Compare nnkernels.sklearn with scikit-learn in speed and scores.

    python bench/estimators.py [--speed] [--scores] [--quick] [--cpu N]

Speeds are medians of whole calls with scikit-learn's defaults, on one thread, in alternating turns
in one process; the table has their ratio and its goal. Before it is timed, a fit must reach
scikit-learn's score. Scores are means over 5 seeds x 3 folds, with the same rows and seeds for both
classes; the noise is that of the difference of two such means.
"""

import argparse
import functools
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import joblib
import numpy as np
from sklearn import datasets, neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnkernels as nnk
from engines import Array, Way
from learning import BINARY, digits, generated
from measure import OURS, Check, Contender, Effort, Limits, Time, Work, take_turns, verify
from nnkernels import sklearn as estimators
from peers import line, machine, settings_for, show_progress, warn_of_other_processes

PEER = "scikit-learn"
MODULES = {OURS: estimators, PEER: neural_network}

EFFORT = Effort(samples=5, seconds=0.05)
SMOKE_TEST = Effort(samples=1, seconds=0.0001)

SEEDS, FOLDS = 5, 3


@dataclass(frozen=True)
class Speed:
    """A timed task, and the goal for the ratio to scikit-learn's time."""

    name: str
    at_least: float
    prepare: Callable[[Any, bool], tuple[Way, Check | None]]  # (module of estimators, is a smoke test)


# --- Speeds ---


@functools.cache
def binary() -> tuple[Array, Array]:
    """20000 rows of 20 numbers, two classes."""
    x, y = generated(20000, BINARY)
    return x, y.ravel().astype(int)


def fit(
    data: Callable[[], tuple[Array, Array]], dtype: str, module: Any, quick: bool, **settings: Any
) -> tuple[Way, Check | None]:
    """A whole fit; its accuracy on the training rows must match scikit-learn's to 2%."""
    x, y = data()
    x = x.astype(dtype)
    if quick:
        x, y, settings = x[:500], y[:500], settings | {"max_iter": 3}
    way = partial(module.MLPClassifier(random_state=0, **settings).fit, x, y)
    if module is neural_network:
        return way, None
    expected = neural_network.MLPClassifier(random_state=0, **settings).fit(x, y).score(x, y)
    return way, Check(np.array(expected), 0.02, lambda estimator: estimator.score(x, y))


def predict(dtype: str, module: Any, quick: bool) -> tuple[Way, None]:
    """Predict the classes of 10^6 rows, with scikit-learn's network in both."""
    x, y = binary()
    model = module.MLPClassifier(random_state=0, max_iter=1).fit(x.astype(dtype), y)
    rows = np.random.default_rng(1).standard_normal((1000 if quick else 10**6, x.shape[1]), np.float32).astype(dtype)
    return partial(model.predict, rows), None


def search(jobs: int, quick: bool) -> Way:
    """Our grid search on digits, on joblib threads."""
    x, y = digits()
    grid = {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}
    model = estimators.MLPClassifier(random_state=0, max_iter=2 if quick else 100, dtype="float32")

    def run() -> Any:
        with joblib.parallel_config(backend="threading"):
            return GridSearchCV(model, grid, cv=4, n_jobs=jobs, refit=False).fit(x, y)

    return run


SPEEDS = (
    Speed("fit, digits 1797x64, float32", 15, partial(fit, digits, "float32")),
    Speed("fit, digits 1797x64, float64", 8, partial(fit, digits, "float64")),
    Speed("fit, yes or no 20000x20, float32", 7, partial(fit, binary, "float32")),
    Speed("fit, yes or no 20000x20, float64", 7, partial(fit, binary, "float64")),
    Speed("fit by lbfgs, digits, float64", 4, partial(fit, digits, "float64", solver="lbfgs")),
    Speed("predict, 1000000x20, float32", 10, partial(predict, "float32")),
    Speed("predict, 1000000x20, float64", 10, partial(predict, "float64")),
)
SCALING = "GridSearchCV on digits, two threads over one"


def contenders(speed: Speed, quick: bool) -> Work:
    """Our class and scikit-learn's."""
    found = {}
    for name, module in MODULES.items():
        way, check = speed.prepare(module, quick)
        found[name] = Contender([way], check=check)
    return Work(found)


def timed(work: Work, clock: Callable[[], float], quick: bool) -> dict[str, Time]:
    """Median times by contender."""
    return take_turns(work, clock, SMOKE_TEST if quick else EFFORT, Limits(None))[0]


def quiet(threads: int) -> None:
    """Silence warnings of fits that stop at max_iter, and give nnkernels one thread."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    nnk.set_num_threads(threads)


def print_speeds(quick: bool) -> None:
    """Time everything except the grid search, each case on one CPU."""
    quiet(1)
    print(line(["milliseconds a call", OURS, PEER, "ratio", "goal", "reached"]))
    print(line([":" + 35 * "-", *[11 * "-" + ":"] * 5]))
    for speed in SPEEDS:
        show_progress(speed.name)
        work = contenders(speed, quick)
        verify(speed.name, work)
        times = timed(work, time.process_time, quick)
        show_progress("")
        ours, theirs = (times[name].median for name in (OURS, PEER))
        print_row(speed.name, ours, theirs, theirs / ours, speed.at_least)


def print_scaling(quick: bool) -> None:
    """Time the grid search with two jobs and with one."""
    quiet(1)
    work = Work({f"{jobs} jobs": Contender([search(jobs, quick)]) for jobs in (1, 2)})
    times = timed(work, time.perf_counter, quick)
    one, two = times["1 jobs"].median, times["2 jobs"].median
    print_row(SCALING, two, one, one / two, 1.8)


def print_row(name: str, ours: float, other: float, ratio: float, goal: float) -> None:
    """Print a row of the speed table."""
    reached = "yes" if ratio >= goal else "**no**"
    print(line([name, f"{ours * 1e3:.4g}", f"{other * 1e3:.4g}", f"{ratio:.2f}", f"> {goal:g}", reached]), flush=True)


# --- Scores ---


def data_sets() -> Iterator[tuple[str, Array, Array, bool]]:
    """Name, rows, targets, and whether the targets are classes."""
    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True), True
    yield "diabetes", *datasets.load_diabetes(return_X_y=True), False
    for seed in (0, 1):
        x, y = datasets.make_classification(500, 20, n_informative=8, n_classes=2 + seed, flip_y=0.05, random_state=seed)
        yield f"make_classification {seed}", x, y, True
        x, y = datasets.make_regression(500, 10, n_informative=6, noise=30, random_state=seed)
        yield f"make_regression {seed}", x, y, False


def scores(module: Any, x: Array, y: Array, classes: bool, quick: bool, settings: dict[str, Any]) -> Array:
    """Accuracy or R^2 of each fold and seed; inputs and regression targets are scaled."""
    quiet(1)
    found = []
    for seed in range(1 if quick else SEEDS):
        arguments = {"random_state": seed, **settings, **({"max_iter": 5} if quick else {})}
        folds = (StratifiedKFold if classes else KFold)(FOLDS, shuffle=True, random_state=seed)
        if classes:
            model = make_pipeline(StandardScaler(), module.MLPClassifier(**arguments))
        else:
            model = make_pipeline(
                StandardScaler(), TransformedTargetRegressor(module.MLPRegressor(**arguments), transformer=StandardScaler())
            )
        found.append(cross_val_score(model, x, y, cv=folds))
    return np.concatenate(found)


def print_scores(quick: bool) -> None:
    """Print our mean scores in float64 and float32 beside scikit-learn's."""
    print(line(["mean score", OURS, "float32", PEER, "difference", "of float32", "noise", "within"]))
    print(line([":" + 35 * "-", *[11 * "-" + ":"] * 7]))
    for name, x, y, classes in data_sets():
        for solver in ("adam", "lbfgs"):
            show_progress(f"{name} {solver}")
            of = partial(scores, x=x, y=y, classes=classes, quick=quick)
            ours, single = (of(estimators, settings={"solver": solver, "dtype": dtype}) for dtype in ("float64", "float32"))
            theirs = of(neural_network, settings={"solver": solver})
            mean = statistics.fmean(theirs)
            noise = (2 * max(float(np.var(theirs, ddof=1)), float(np.var(ours, ddof=1))) / len(theirs)) ** 0.5
            differences = [statistics.fmean(values) - mean for values in (ours, single)]
            within = "yes" if all(difference >= -noise for difference in differences) else "**no**"
            show_progress("")
            cells = [f"{value:.4f}" for value in (statistics.fmean(ours), statistics.fmean(single), mean)]
            cells += [f"{value:+.4f}" for value in differences]
            print(line([f"{name}, {solver}", *cells, f"{noise:.4f}", within]), flush=True)


def main() -> None:
    """Print the requested tables; by default both."""
    parser = argparse.ArgumentParser(description="Time nnkernels.sklearn beside scikit-learn, and compare their scores.")
    parser.add_argument("--speed", action="store_true", help="only the table of speeds")
    parser.add_argument("--scores", action="store_true", help="only the table of scores")
    parser.add_argument("--quick", action="store_true", help="few rows, epochs and samples: a smoke test")
    cpus = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
    parser.add_argument("--cpu", type=int, default=cpus[0], metavar="N", help="where to run what has one thread (%(default)s)")
    arguments = parser.parse_args()
    both = arguments.speed == arguments.scores
    about = machine()
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in (OURS, PEER, "NumPy"))
    print(f"{about['cpu']}; {about['date']}; {versions}")
    parts: list[tuple[str, Callable[[bool], None], int]] = []
    if both or arguments.speed:
        parts += [("Speed", print_speeds, 1), ("", print_scaling, 2)]
    if both or arguments.scores:
        parts += [(f"Scores, {SEEDS} seeds x {FOLDS} folds", print_scores, 1)]
    for title, part, cpus_used in parts:
        if title:
            print(f"\n# {title}\n", flush=True)
        if cpus_used > len(cpus):
            print(f"{SCALING}: left out, as there is one CPU")
            continue
        if cpus_used > 1:
            warn_of_other_processes()
        # Each case has its own process, since libraries read the number of threads once. BLAS has
        # one thread throughout.
        with settings_for(1, None, arguments.cpu):
            if cpus_used > 1 and sys.platform == "linux":
                os.sched_setaffinity(0, cpus)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pool.submit(part, arguments.quick).result()


if __name__ == "__main__":
    main()
