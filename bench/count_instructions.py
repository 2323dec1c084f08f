"""Count the kernels' instructions under callgrind and compare them with instructions.json.

    python bench/count_instructions.py [--update] [PROGRAM]

PROGRAM is bench_count as built by CMake; default: the one in build/bench. Fails if a kernel takes
over 5% more instructions than committed. --update writes the new counts instead. README.md says
what is counted.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE = 0.05
FIGURES = Path(__file__).with_name("instructions.json")

BUILD = """\
    cmake -S . -B build/bench -DNNKERNELS_BENCH=ON && cmake --build build/bench --target bench_count"""
UPDATE = f"""\
{BUILD}
    python bench/count_instructions.py --update"""


def count(program: Path) -> tuple[str, dict[str, int]]:
    """The compiler that built the program, and the instructions of each call, by name."""
    if not program.exists():
        sys.exit(f"expected bench_count at {program}, where there is nothing; to build it:\n{BUILD}")
    if not shutil.which("valgrind"):
        sys.exit("expected valgrind, which is not installed; Debian's and Ubuntu's package has the same name")
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        callgrind = [
            "valgrind",
            "--tool=callgrind",
            "--toggle-collect=counted(*",
            "--dump-after=count(*",
            "--combine-dumps=yes",
            f"--callgrind-out-file={profile}",
        ]
        # Use the best target of valgrind's CPU, whatever the environment says.
        environment = {**os.environ, "NNKERNELS_TARGET": ""}
        ran = subprocess.run([*callgrind, str(program)], env=environment, capture_output=True, text=True)
        if ran.returncode != 0:
            sys.exit(f"expected {program} to run under callgrind, but it exited with {ran.returncode}:\n{ran.stderr}")
        totals = re.findall(r"^totals: (\d+)$", profile.read_text(), re.MULTILINE)
    compiler, *names = ran.stdout.splitlines()
    # The last total counts the code after the last call: nothing.
    return compiler, dict(zip(names, map(int, totals[:-1]), strict=True))


def main() -> int:
    """Print the table.

    Returns 1 if a count is too high, a call has no committed count, or a committed count no call.
    """
    parser = argparse.ArgumentParser(description="Compare the instructions of the main kernels with the committed figures.")
    parser.add_argument("--update", action="store_true", help=f"write {FIGURES.name} anew for this compiler")
    parser.add_argument("program", nargs="?", type=Path, default=Path("build/bench/bench/bench_count"), metavar="PROGRAM")
    arguments = parser.parse_args()

    compiler, counts = count(arguments.program)
    builder = f"{compiler}, {platform.machine()}"
    all_figures: dict[str, dict[str, int]] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    figures = all_figures.get(builder, {})
    names = list(counts | figures)
    changes = {name: counts[name] / figures[name] - 1 for name in names if name in counts and name in figures}

    print(f"Instructions of one call, {builder}\n")
    print(f"| {'call':40} | {'committed':>10} | {'now':>10} | {'change':>7} |")
    print(f"| :{'-' * 39} | {'-' * 9}: | {'-' * 9}: | {'-' * 6}: |")
    for name in names:
        change = f"{changes[name]:+.1%}" if name in changes else ""
        print(f"| {name:40} | {figures.get(name, ''):>10} | {counts.get(name, ''):>10} | {change:>7} |")
    print()

    if arguments.update:
        FIGURES.write_text(json.dumps(all_figures | {builder: counts}, indent=2) + "\n")
        print(f"{FIGURES.name} holds these counts now, as those of {builder}.")
        return 0
    if not figures:
        print(f"Nothing to compare with: {FIGURES.name} has no figures of {builder}. To add them:\n{UPDATE}")
        return 0
    more = [name for name, change in changes.items() if change > TOLERANCE]
    fewer = [name for name, change in changes.items() if change < -TOLERANCE]
    unmatched = [name for name in names if name not in changes]
    if fewer:
        print(f"Over {TOLERANCE:.0%} fewer instructions than committed: {', '.join(fewer)}. To hold the gain:\n{UPDATE}")
    if unmatched:
        print(f"Counted or committed, but not both: {', '.join(unmatched)}. If that is meant:\n{UPDATE}")
    if more:
        print(f"Over {TOLERANCE:.0%} more instructions than committed: {', '.join(more)}.")
        print(f"If they are worth it, commit the new figures, and say in the message what they are for:\n{UPDATE}")
    if more or unmatched:
        return 1
    print(f"No call takes over {TOLERANCE:.0%} more instructions than committed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
