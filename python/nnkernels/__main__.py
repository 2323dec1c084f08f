"""``python -m nnkernels``: a demonstration, or predictions by a saved network."""

import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from nnkernels import __version__
from nnkernels.commands.demonstration import demonstrate
from nnkernels.commands.predict import predict

# What shells report for a process that a signal has ended is 128 + its number.
_INTERRUPTED = 128 + signal.SIGINT
_CLOSED_PIPE = 128 + signal.SIGPIPE
_FAILED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "predict":
            predict(options.model, options.input, options.output)
            status = 0
        else:
            status = demonstrate()
        _flush()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError as error:
        _report(f"standard output: {error.strerror}")
        _discard_stdout()
        status = _CLOSED_PIPE
    except OSError as error:
        reason = error.strerror or str(error)
        _report(f"{error.filename}: {reason}" if error.filename else reason)
        _discard_stdout()
        status = _FAILED
    except ValueError as error:
        _report(str(error))
        status = _FAILED
    except MemoryError as error:
        _report(f"out of memory: {error}")
        status = _FAILED
    return status


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m nnkernels",
        description="Without a command: run a small network, then one that reads handwritten digits, and compare with NumPy.",
    )
    parser.add_argument("--version", action="version", version=f"nnkernels {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands")
    predict_parser = commands.add_parser(
        "predict",
        help="run a saved network on the rows of a file",
        description="Run a saved network on the rows of a file. Exit status 2 says that something is wrong with the files.",
    )
    predict_parser.add_argument("model", type=Path, metavar="MODEL", help="what net.save(path) wrote")
    predict_parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="the rows: .npy, or .csv with commas and perhaps a line of names first",
    )
    predict_parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUTPUT",
        help="where the outputs go: .npy or .csv; by default CSV to standard output",
    )
    return parser


def _report(message: str) -> None:
    if sys.stderr is not None:
        print("nnkernels:", " ".join(message.split()), file=sys.stderr)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard_stdout() -> None:
    """Let what standard output cannot take go nowhere; Python would complain of it at exit."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    # Like Ctrl-C: what has been begun is put away first. Under nohup hanging up is ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
