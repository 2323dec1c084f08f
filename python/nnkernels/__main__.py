"""``python -m nnkernels``: a demonstration, and commands to train, predict, show and convert."""

import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from nnkernels import __version__
from nnkernels.arrays import MOST_SEED
from nnkernels.commands.convert import convert
from nnkernels.commands.demonstration import demonstrate
from nnkernels.commands.predict import predict
from nnkernels.commands.show import show
from nnkernels.commands.train import PATIENCE, train

# Shells report a process that was ended by a signal as 128 + the signal's number.
_INTERRUPTED = 128 + signal.SIGINT
_CLOSED_PIPE = 128 + 13  # SIGPIPE, which Windows does not have
_FAILED = 2

# Upper limit of the size of a hidden layer.
_MOST_SIZE = 2**31 - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status = _run(options)
        _flush()
    except KeyboardInterrupt as error:
        if error.args:
            _report(str(error))
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
    except (ImportError, ValueError) as error:
        _report(str(error))
        status = _FAILED
    except MemoryError as error:
        _report(f"out of memory: {error}")
        status = _FAILED
    return status


def _run(options: Namespace) -> int:
    if options.command == "train":
        done = train(
            options.input,
            options.output,
            target=options.target,
            task=options.task,
            hidden=options.hidden,
            epochs=options.epochs,
            batch=options.batch,
            seed=options.seed,
            validation=options.validation,
            optimizer=options.optimizer,
            plot=options.plot,
            ignore=options.ignore,
            delimiter=options.delimiter,
            header=options.header,
        )
        return 0 if done else _INTERRUPTED
    if options.command == "predict":
        predict(
            options.model,
            options.input,
            options.output,
            fallback=options.format,
            delimiter=options.delimiter,
            header=options.header,
            probabilities=options.probabilities,
        )
        return 0
    if options.command == "show":
        show(options.model)
        return 0
    if options.command == "convert":
        convert(options.model, options.converted, options.name)
        return 0
    return demonstrate()


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m nnkernels",
        description="Without a command: run a small network, train one to read handwritten digits, and compare with NumPy.",
    )
    parser.add_argument("--version", action="version", version=f"nnkernels {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands")
    _add_train(commands.add_parser("train", help="train a network on the rows of a CSV file", description=_TRAIN))
    _add_predict(commands.add_parser("predict", help="run a saved network on the rows of a file", description=_PREDICT))
    show_parser = commands.add_parser(
        "show",
        help="describe a saved network",
        description="Print the layers of a saved network, the names of its classes and columns, other metadata, the size "
        "of the file, and the SHA-256 of the weights.",
    )
    show_parser.add_argument("model", type=Path, metavar="MODEL", help=_MODEL)
    _add_convert(commands.add_parser("convert", help="write a network to another format", description=_CONVERT))
    return parser


_MODEL = "a network from train or net.save(path), or an ONNX, .keras or .h5 file"

_CONVERT = (
    "Convert a network, or an ONNX or Keras model that is a chain of dense layers, to a .safetensors or .onnx file. A "
    ".safetensors file can be read without other packages. Print the layers and the SHA-256 of the weights. Exit status 2: "
    "a file or an argument is invalid."
)


def _add_convert(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help=_MODEL)
    parser.add_argument(
        "converted",
        type=Path,
        metavar="OUTPUT",
        help="the file to write, which must end in .safetensors or .onnx; replaces a network, but no other file",
    )
    parser.add_argument("--output", dest="name", metavar="NAME", help="the output to use, if an ONNX model has several")


_TRAIN = (
    "Train a network on the rows of a CSV file, write it, and print a report. All columns except the target must be numbers, "
    "or True and False, which mean 1 and 0. The network scales its inputs to mean 0 and standard deviation 1. Some rows are "
    f"held back. Training ends {PATIENCE} epochs after the lowest loss on these rows, and the network with that loss is "
    "written. The same rows and options give the same weights on every machine. Ctrl-C ends training early: the best network "
    "so far is written, unless the first epoch is incomplete, and the exit status is 130. Exit status 2: a file or an "
    "argument is invalid."
)


def _add_train(parser: ArgumentParser) -> None:
    parser.add_argument("input", metavar="ROWS", help="a CSV file in UTF-8, or - for standard input")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="MODEL",
        help="the file to write; replaces a network, but no other file",
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="the column to predict: its name, or its number from 1; by default the last"
    )
    parser.add_argument(
        "--ignore",
        type=lambda text: text.split(","),
        default=[],
        metavar="COLUMN,COLUMN",
        help="names or numbers of columns that are not inputs, such as row numbers, dates and text",
    )
    parser.add_argument(
        "--task",
        choices=("classes", "regression"),
        help="what to learn; by default classes if the target is text, or has at most 20 different integers, each in two rows "
        "on average",
    )
    parser.add_argument(
        "--hidden",
        type=_sizes,
        default=(64, 64),
        metavar="N,N",
        help="sizes of the hidden layers, with relu; 64,64 by default",
    )
    at_least_1 = _integer(1, 2**63 - 1)
    parser.add_argument("--epochs", type=at_least_1, default=500, metavar="N", help="maximum number of epochs; 500 by default")
    parser.add_argument("--batch", type=at_least_1, default=32, metavar="N", help="rows per step; 32 by default")
    parser.add_argument(
        "--seed",
        type=_integer(0, MOST_SEED),
        default=0,
        metavar="N",
        help="seed of the held-back rows, the initial weights and the order of rows; 0 by default",
    )
    parser.add_argument(
        "--validation",
        type=_fraction,
        default=0.2,
        metavar="FRACTION",
        help="fraction of the rows, or of each class, to hold back; 0.2 by default",
    )
    parser.add_argument("--optimizer", choices=("adam", "adamw", "sgd"), default="adam", help="adam by default")
    parser.add_argument(
        "--plot", type=Path, metavar="PICTURE", help="plot the losses to a .png or .svg file: pip install 'nnkernels[plot]'"
    )
    _add_csv(parser, "ROWS")


_PREDICT = (
    "Run a saved network on the rows of a file or a pipe, and write a line for each row: the name of the class, or, if the "
    "network has no class names, its outputs. CSV must be UTF-8; numbers may be quoted. Blank lines are skipped, except in a "
    "file of one column. True and False mean 1 and 0. A header must have the columns that the network was trained on, in any "
    "order; it may also have the target and ignored columns. The output has no header: read it by "
    "pd.read_csv(path, header=None). Its row i is for the i-th non-blank row of INPUT. Exit status 2: a file or an argument "
    "is invalid."
)


def _add_predict(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help=_MODEL)
    parser.add_argument("input", metavar="INPUT", help="the file of rows, which ends in .csv or .npy, or - for standard input")
    parser.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="OUTPUT",
        help="the file to write, which ends in .csv or .npy, or - for standard output (the default)",
    )
    parser.add_argument(
        "--format",
        choices=("csv", "npy"),
        help="format of INPUT and OUTPUT if their names end in neither .csv nor .npy; csv by default for -, pipes and devices",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="write a column for each class instead of the most probable class; CSV then has a header with the names",
    )
    _add_csv(parser, "INPUT and OUTPUT")


def _add_csv(parser: ArgumentParser, files: str) -> None:
    parser.add_argument(
        "--delimiter",
        type=_delimiter,
        default=",",
        metavar="CHARACTER",
        help=f"separator of the fields of CSV in {files}: comma (the default), semicolon, tab, or any character that is not "
        "part of a number",
    )
    parser.add_argument(
        "--header",
        action=BooleanOptionalAction,
        help="whether the first line of a CSV file is a header; by default it is if its fields are different names: each "
        "begins with a letter and is not a missing value, boolean, amount or number",
    )


def _integer(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of integers from ``least`` to ``most``."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 20 and least <= int(text) <= most):
            raise ArgumentTypeError(f"expected an integer from {least} to {most}, got {text!r}")
        return int(text)

    return read


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(_integer(1, _MOST_SIZE), text.split(",")))
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"expected sizes such as 64 or 64,64; {error}") from None


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return number


def _delimiter(text: str) -> str:
    delimiter = {"comma": ",", "semicolon": ";", "tab": "\t"}.get(text, text)
    if len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n+-._':
        raise ArgumentTypeError(f"expected comma, semicolon, tab or a character that is not part of a number, got {text!r}")
    return delimiter


def _report(message: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):  # standard error may be full or closed; the exit status remains
            print("nnkernels:", " ".join(message.split()), file=sys.stderr, flush=True)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard_stdout() -> None:
    """Discard the rest of standard output, so that Python does not report an error at exit."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    # Clean up, as after Ctrl-C. nohup ignores SIGHUP, and Windows does not have it.
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
