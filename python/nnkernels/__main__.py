"""``python -m nnkernels``: a demonstration, or predictions by a saved network."""

import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
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
            predict(
                options.model,
                options.input,
                options.output,
                fallback=options.format,
                delimiter=options.delimiter,
                header=options.header,
            )
            status = 0
        else:
            status = demonstrate()
        _flush()
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError as error:
        _report(f"{error.filename or 'standard output'}: {error.strerror}")
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
        description="Without a command: run a small network, train one to read handwritten digits, and compare with NumPy.",
    )
    parser.add_argument("--version", action="version", version=f"nnkernels {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands")
    predict_parser = commands.add_parser(
        "predict",
        help="run a saved network on the rows of a file",
        description="Run a saved network on the rows of a file or a pipe, and write a row of outputs for each. CSV is UTF-8; "
        "numbers may be quoted. Blank lines are skipped, but not in a file of one column. The output has no header "
        "(pd.read_csv(path, header=None)): its row i is for the i-th row of INPUT that is not blank. Exit status 2: the files "
        "or arguments are wrong.",
    )
    predict_parser.add_argument("model", type=Path, metavar="MODEL", help="what net.save(path) wrote")
    predict_parser.add_argument(
        "input", metavar="INPUT", help="the rows: a name that ends in .csv or .npy, or - for standard input"
    )
    predict_parser.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="OUTPUT",
        help="where the outputs go: a name that ends in .csv or .npy, or - for standard output (the default)",
    )
    predict_parser.add_argument(
        "--format",
        choices=("csv", "npy"),
        help="format of INPUT and OUTPUT where the name ends in neither .csv nor .npy; csv by default for -, pipes and devices",
    )
    predict_parser.add_argument(
        "--delimiter",
        type=_delimiter,
        default=",",
        metavar="CHARACTER",
        help="what separates the numbers of a line of CSV, in INPUT and OUTPUT: comma (the default), semicolon, tab, or any "
        "character that is in no number",
    )
    predict_parser.add_argument(
        "--header",
        action=BooleanOptionalAction,
        help="whether the first line of a CSV file is a header, and no row; by default it is if each field is a name: "
        "it begins with a letter, is no missing value, boolean, amount or number, and differs from the others",
    )
    return parser


def _delimiter(text: str) -> str:
    delimiter = {"comma": ",", "semicolon": ";", "tab": "\t"}.get(text, text)
    if len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n+-._':
        raise ArgumentTypeError(f"expected comma, semicolon, tab or one character that is in no number, got {text!r}")
    return delimiter


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
