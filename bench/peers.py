"""Time nnkernels, other libraries and the limits of the machine, and check the goals.

    python bench/peers.py [--group NAME]... [--filter REGEX] [--quick] [--json FILE] ...

Each result is verified before it is timed. The contenders of a case take turns, so that
disturbances affect all of them alike. README.md explains the tables. cases.py holds work and goals,
engines.py the libraries' ways, learning.py both for training; measure.py times, plots.py draws.
"""

import argparse
import contextlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import cases
import learning
import nnkernels as nnk
from cases import Case, Group, Table
from engines import ENGINES, module
from measure import OURS, Effort, Limits, Time, Work, take_turns, verify
from plots import draw

GROUPS = [*cases.GROUPS, *learning.GROUPS]

ROOT = Path(__file__).resolve().parent.parent

# The libraries' names and those of their distributions.
DISTRIBUTIONS = {
    "nnkernels": "nnkernels",
    "NumPy": "numpy",
    "SciPy": "scipy",
    "PyTorch": "torch",
    "ONNX Runtime": "onnxruntime",
    "OpenVINO": "openvino",
    "JAX": "jax",
    "numexpr": "numexpr",
    "scikit-learn": "scikit-learn",
}

# Libraries read these once, when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# These make OpenBLAS, and so NumPy and SciPy, run kernels for another CPU.
MISLEADING_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

MEASUREMENT = Effort(samples=31, seconds=0.003)
MEASUREMENT_OF_THREADS = Effort(samples=31, seconds=0.01, pause=0.004, trials=3)
SMOKE_TEST = Effort(samples=2, seconds=0.0001)

# Units per second.
UNITS = {"ms": 1e3, "us": 1e6, "ns": 1e9}

# The measurements of a case, in JSON.
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Settings of a process that measures a group."""

    pattern: str
    quick: bool
    alone: bool
    limits: Path | None


@contextlib.contextmanager
def settings_for(threads: int, target: str | None, first_cpu: int) -> Iterator[None]:
    """Set threads, target and (for one thread) CPU of the processes started meanwhile."""
    environment = dict(os.environ)
    for name in MISLEADING_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    # OpenBLAS's threads spin for 2**26 cycles after their work, into the turns of other libraries.
    # 2**22 end in time.
    os.environ["OPENBLAS_THREAD_TIMEOUT"] = "22"
    if threads == 1:  # JAX needs this besides the number of CPUs
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if target:
        os.environ["NNKERNELS_TARGET"] = target
    cpus = os.sched_getaffinity(0) if sys.platform == "linux" else set()
    if cpus and threads == 1:
        os.sched_setaffinity(0, {first_cpu})
    try:
        yield
    finally:
        if cpus:
            os.sched_setaffinity(0, cpus)
        os.environ.clear()
        os.environ.update(environment)


def limits_program(given: Path | None) -> Path | None:
    """The program that measures the limits: as given, or built if CMake is installed."""
    if given or not shutil.which("cmake"):
        return given
    build = ROOT / "build" / "limits"
    commands = (
        ["cmake", "-S", str(ROOT), "-B", str(build), "-DNNKERNELS_BENCH=ON"],
        ["cmake", "--build", str(build), "--target", "limits"],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"There are no limits: {shlex.join(command)} fails\n{done.stderr}", file=sys.stderr)
            return None
    return build / "bench" / "limits"


def figures(case: Case, table: Table, work: Work, times: dict[str, Time], limit: float | None) -> dict[str, float]:
    """The figures that goals refer to (cases.Goal)."""
    if work.direct:
        return {"value": work.direct()}
    ours = times[OURS].median
    found = {}
    if peers := [times[library].median for library in ENGINES if library in times]:
        found["ratio"] = min(peers) / ours
    wanted = {goal.figure for goal in case.goals}
    found |= {library: times[library].median / ours for library in wanted & times.keys()}
    if table.versus and "versus" in wanted:
        found["versus"] = times[table.versus].median / ours
    if table.versus and "over" in wanted:
        found["over"] = (ours - times[table.versus].median) * UNITS[table.unit[:2]]
    if work.limit and limit:
        found["percent"] = 100 * work.limit.amount / (ours * work.contenders[OURS].units * limit)
    return found


def measured(case: Case, group: Group, table: Table, effort: Effort, options: Options, limits: Limits) -> Row:
    """Prepare, verify and time a case."""
    # CPU time excludes other processes, but equals the duration of a call only with one thread.
    clock = time.process_time if group.threads == 1 else time.perf_counter
    work = case.prepare(group.threads)
    verify(case.name, work)
    times, limit = take_turns(work, clock, effort, limits) if work.contenders else ({}, None)
    found = figures(case, table, work, times, limit)
    return {
        "group": group.name,
        "table": table.title,
        "case": case.name,
        "unit": table.unit,
        "labels": case.labels,
        "seconds": {name: asdict(value) for name, value in times.items()},
        "calls": {name: contender.units for name, contender in work.contenders.items()},
        "flops": work.flops,
        "bytes": work.bytes,
        "limit": {"name": work.limit.name, "value": limit} if work.limit and limit else None,
        "figures": found,
        "goals": [
            {"figure": goal.figure, "bound": str(goal), "reached": goal.reached(found[goal.figure])}
            for goal in case.goals
            if goal.figure in found
        ],
        "mean_goal": table.mean_goal,
        "notes": work.notes,
    }


def show_progress(text: str) -> None:
    """Show on a terminal what is being measured, in a line that the next text overwrites."""
    if sys.stderr.isatty():
        print(f"\r{text:80}\r", end="", file=sys.stderr, flush=True)


def run_group(group: Group, options: Options) -> tuple[list[Row], dict[str, list[float]]]:
    """Measure a group in its own process; return the rows and the limits' samples."""
    effort = SMOKE_TEST if options.quick else MEASUREMENT if group.threads == 1 else MEASUREMENT_OF_THREADS
    if options.alone:
        ENGINES.clear()  # in this process only
    limits = Limits(options.limits)
    limits.measure()
    nnk.set_num_threads(group.threads)
    rows: list[Row] = []
    torch = None if options.alone or group.learns else module("torch")
    with torch.inference_mode() if torch else contextlib.nullcontext():
        for table in group.tables():
            chosen = [
                case
                for case in table.cases
                if re.search(options.pattern, f"{table.title}: {case.name}") and not (options.quick and case.heavy)
            ][:: 3 if options.quick else 1]
            of_table = []
            for number, case in enumerate(chosen, 1):
                show_progress(f"{group.name} {number}/{len(chosen)} {case.name}")
                of_table.append(measured(case, group, table, effort, options, limits))
            if of_table:
                show_progress("")
                print_table(table, of_table)
                rows += of_table
    return rows, limits.samples


def line(cells: list[str]) -> str:
    """A row of a Markdown table: the first cell left-aligned, the others right-aligned."""
    first, *others = cells
    return f"| {first:36} | " + " | ".join(f"{cell:>12}" for cell in others) + " |"


def print_table(table: Table, rows: list[Row]) -> None:
    """Print a table without its empty columns."""
    names = [OURS, *([table.versus] if table.versus else []), *ENGINES]
    names = [name for name in names if any(name in row["seconds"] for row in rows)]
    titles = {"ratio": "ratio", "versus": "2nd / 1st", "over": "over it", "percent": "of limit", "value": "value"}
    titles |= {library: f"ratio to {library}" for library in ENGINES}
    in_goals = {"ratio": "ratio ", "versus": f"{table.versus} ", "over": "over it ", "percent": "limit ", "value": ""}
    in_goals |= {library: f"{library} " for library in ENGINES}
    shown = [figure for figure in titles if any(figure in row["figures"] for row in rows)]
    has_rate = any(row["flops"] for row in rows)
    print(f"\n{table.title}{f' ({table.unit})' if table.unit else ''}\n")
    print(line(["case", *names, *(titles[figure] for figure in shown), *["GFLOP/s"] * has_rate, "goal", "reached"]))
    print(line([":" + 35 * "-", *[11 * "-" + ":"] * (len(names) + len(shown) + has_rate + 2)]))
    for row in rows:
        cells = [row["case"]]
        times = {name: f"{summary['median'] * UNITS[table.unit[:2]]:.4g}" for name, summary in row["seconds"].items()}
        cells += [times.get(name, "") for name in names]
        for figure in shown:
            value = row["figures"].get(figure)
            if value is None:
                cells.append("")
            elif figure == "percent":
                cells.append(f"{value:.1f}% {row['limit']['name'].split('/')[0]}")
            else:
                cells.append(f"{value:.3g}" if figure in ("over", "value") else f"{value:.2f}")
        if has_rate:
            seconds = row["seconds"][OURS]["median"] * row["calls"][OURS]
            cells.append(f"{row['flops'] / seconds * 1e-9:.4g}" if row["flops"] else "")
        cells.append(", ".join(in_goals[goal["figure"]] + goal["bound"] for goal in row["goals"]))
        cells.append(("yes" if all(goal["reached"] for goal in row["goals"]) else "**no**") if row["goals"] else "")
        print(line(cells))
    for note in {note: None for row in rows for note in row["notes"]}:
        print(f"\n{note}")
    sys.stdout.flush()


def print_summary(rows: list[Row]) -> None:
    """Print how many cells of each table lead the peers and reach their goals; list the rest."""
    print("\n# Summary")
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(row["table"], []).append(row)
    for title, of_table in tables.items():
        ratios = {row["case"]: row["figures"]["ratio"] for row in of_table if "ratio" in row["figures"]}
        goals = [(row, goal) for row in of_table for goal in row["goals"]]
        reached = f": {sum(goal['reached'] for _, goal in goals)} of {len(goals)} goals reached" if goals else ""
        print(f"\n{title}{reached}")
        if ratios:
            mean, ahead = statistics.geometric_mean(ratios.values()), sum(ratio > 1 for ratio in ratios.values())
            goal = f" (goal {mean_goal:.3g})" if (mean_goal := of_table[0]["mean_goal"]) else ""
            print(f"- ahead of every peer in {ahead} of {len(ratios)} cells, geometric mean of the ratios {mean:.2f}{goal}")
        behind = {case: ratio for case, ratio in ratios.items() if ratio <= 1}
        if behind:
            print(f"- behind: {', '.join(f'{case} ({ratio:.2f})' for case, ratio in behind.items())}")
        for figure in dict.fromkeys(goal["figure"] for _, goal in goals):
            missed = [
                f"{row['case']} ({row['figures'][figure]:.3g}, {goal['bound']})"
                for row, goal in goals
                if goal["figure"] == figure and not goal["reached"] and not (figure == "ratio" and row["case"] in behind)
            ]
            if missed:
                print(f"- {figure} not reached: {', '.join(missed)}")


def print_limits(limits: dict[str, list[float]]) -> None:
    """Print the limits of the machine: medians and ranges."""
    if limits:
        print("\nLimits of one core, in 1e9 operations or bytes a second: median (least - most, samples)\n")
    for name, values in limits.items():
        median, least, most = (value * 1e-9 for value in (statistics.median(values), min(values), max(values)))
        print(f"- {name}: {median:.4g} ({least:.4g} - {most:.4g}, {len(values)})")


def cpu_model() -> str:
    """The CPU's name, if the system gives one."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def warn_of_other_processes() -> None:
    """Warn about CPUs that other processes keep busy.

    They distort measurements on several threads, and of memory bandwidth.
    """
    stat = Path("/proc/stat")

    def times() -> dict[str, tuple[int, int]]:
        cpus = (text.split() for text in stat.read_text().splitlines() if re.match(r"cpu\d", text))
        return {cpu: (sum(map(int, counts)), int(counts[3])) for cpu, *counts in cpus}

    if stat.exists():
        before = times()
        time.sleep(0.5)
        for cpu, (total, idle) in times().items():
            busy = 1 - (idle - before[cpu][1]) / max(total - before[cpu][0], 1)
            if busy > 0.1:
                print(f"\nOther processes take {busy:.0%} of {cpu}: do not trust figures of several threads.", flush=True)


def machine() -> dict[str, Any]:
    """The machine and versions that the results depend on."""
    versions = {}
    for library, distribution in DISTRIBUTIONS.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(distribution)
    return {
        "cpu": cpu_model(),
        "date": str(date.today()),
        "python": platform.python_version(),
        "versions": versions,
        "target": nnk.config()["target"],
        "compiler": nnk.config()["compiler"],
    }


def parse() -> argparse.Namespace:
    """Parse the command's arguments."""
    parser = argparse.ArgumentParser(description="Time nnkernels beside its peers, and against the limits of the machine.")
    names = list(dict.fromkeys(group.name for group in GROUPS))
    parser.add_argument("--group", action="append", choices=names, help="only this group; may be given again (default: all)")
    parser.add_argument("--filter", default="", metavar="REGEX", help='only cases in whose "table: case" it is found')
    parser.add_argument("--quick", action="store_true", help="a third of the small cases, few and short samples: a smoke test")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    cpus = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
    parser.add_argument("--cpu", type=int, default=cpus[0], metavar="N", help="where to run what has one thread (%(default)s)")
    parser.add_argument("--limits", type=Path, metavar="PATH", help="the program bench/limits (default: build it with cmake)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all results")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw plots")
    arguments = parser.parse_args()
    if arguments.plots and not module("matplotlib"):
        parser.error("--plots needs matplotlib: pip install matplotlib, or leave it out and draw from --json later")
    return arguments


def main() -> None:
    """Measure the groups, each in its own process; print, save and draw."""
    arguments = parse()
    options = Options(arguments.filter, arguments.quick, arguments.alone, limits_program(arguments.limits))
    about = machine()
    versions = ", ".join(f"{library} {version}" for library, version in about["versions"].items())
    print(f"{about['cpu']}; {about['date']}; Python {about['python']}, {versions}")
    print(f"Medians of {(SMOKE_TEST if options.quick else MEASUREMENT).samples} samples; see bench/README.md.")
    available = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    rows: list[Row] = []
    limits: dict[str, list[float]] = {}
    for group in GROUPS:
        if arguments.group and group.name not in arguments.group:
            continue
        target = group.target or about["target"]
        if group.threads > available:
            print(f"\n# {group.name}: left out, as there are CPUs for {available} thread(s) of {group.threads}")
            continue
        if target not in nnk.config()["targets"]:
            print(f"\n# {group.name}: left out, as this machine has no target {target}")
            continue
        clock = f"CPU time, pinned to CPU {arguments.cpu}" if group.threads == 1 else "elapsed time"
        print(f"\n# {group.name}: target {target}, threads of every library: {group.threads}, {clock}", flush=True)
        warn_of_other_processes()
        spawn = multiprocessing.get_context("spawn")
        with settings_for(group.threads, group.target, arguments.cpu), ProcessPoolExecutor(1, spawn) as pool:
            group_rows, group_limits = pool.submit(run_group, group, options).result()
        rows += group_rows
        for name, values in group_limits.items():
            limits.setdefault(name, []).extend(values)
        medians = {name: statistics.median(values) for name, values in limits.items()}
        results = {"machine": about, "limits": medians, "limits_samples": limits, "rows": rows}
        if arguments.json:  # after each group, so that a later failure loses nothing
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print_summary(rows)
    print_limits(limits)
    if arguments.plots and rows:
        draw(results, arguments.plots)


if __name__ == "__main__":
    main()
