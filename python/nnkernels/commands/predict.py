"""Run a saved network on the rows of a file, block by block: memory does not grow with the file."""

import errno
import os
import reprlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from nnkernels.arrays import describe
from nnkernels.network import load

# Numbers in a block of inputs or outputs: 2 MB in float64.
BLOCK_NUMBERS = 2**18

# Multiplications in a block, which an interruption waits for: less than half a second, on any CPU target.
_BLOCK_WORK = 2**28

# But no fewer rows than this, which make it worth while to read a large network's weights.
_FEW_ROWS = 16

# A run is long, and shows its progress, after this many seconds.
PROGRESS_DELAY = 0.5


def predict(model: Path, source: Path, output: Path | None = None) -> None:
    """Write the outputs of a saved network, a row for each row of the source; as CSV to standard output if there is no path.

    Raises OSError or ValueError for what cannot be read or written, is malformed or does not fit; the output then is as it
    was before.
    """
    from tqdm import tqdm

    read_blocks = _read_npy if _suffix(source) == ".npy" else _read_csv
    write_blocks = _write_csv if output is None or _suffix(output) == ".csv" else _write_npy
    net = load(model)
    layers = net.layers
    inputs, outputs = layers[0].inputs, layers[-1].outputs
    work = sum(layer.inputs * layer.outputs for layer in layers)
    block_rows = max(1, min(BLOCK_NUMBERS // max(1, inputs, outputs), max(_FEW_ROWS, _BLOCK_WORK // max(1, work))))
    silent = not _is_terminal(sys.stderr) or (output is None and _is_terminal(sys.stdout))
    bar_format = "{l_bar}{bar}| {elapsed}<{remaining}"

    with (
        tqdm(total=100, miniters=1, disable=silent, delay=PROGRESS_DELAY, leave=False, bar_format=bar_format) as bar,
        _standard_output() if output is None else _replacement(output) as file,
    ):

        def results() -> Iterator[NDArray[Any]]:
            for rows, percent in read_blocks(source, inputs, block_rows):
                with np.errstate(over="ignore"):  # What is beyond the network's dtype becomes infinite.
                    result = net(rows)
                yield result.reshape(len(rows), outputs)  # One neuron makes one column.
                bar.update(percent - bar.n)

        write_blocks(file, results())


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".npy"):
        raise ValueError(f"{path}: expected a name that ends in .csv or .npy")
    return suffix


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _standard_output() -> AbstractContextManager[BinaryIO]:
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    return nullcontext(sys.stdout.buffer)


@contextmanager
def _replacement(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside the path, which takes its place when it is complete; on any exception nothing is left of it."""
    target = Path(os.path.realpath(path))  # What a link leads to is replaced, not the link.
    temporary = target.with_name(f".nnkernels-{os.urandom(8).hex()}")
    try:
        try:
            with suppress(FileNotFoundError):
                target.open("r+b").close()  # A folder or a write-protected file is an error; replacing would not notice.
            file = temporary.open("xb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        with file:
            yield file
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _read_npy(path: Path, inputs: int, block_rows: int) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield blocks of rows, and the percentage of the file read with each."""
    try:
        whole = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:
        # A malformed header raises whatever NumPy's parser meets: ValueError, TypeError, SyntaxError, OverflowError, ...
        raise ValueError(f"{path} is not a whole .npy file of numbers: {error}") from None
    if whole.dtype.kind not in "biu" and whole.dtype.type not in (np.float16, np.float32, np.float64):
        raise ValueError(f"{path}: expected a real dtype (bool, integer, float16, float32 or float64), got {whole.dtype}")
    if whole.ndim not in (1, 2) or whole.shape[-1] != inputs:
        raise ValueError(f"{path}: expected the shape (rows, {inputs}) or ({inputs},), got {describe(whole)}")
    total = len(np.atleast_2d(whole))
    if total == 0:
        raise _no_rows(path)
    order: Literal["C", "F"] = "F" if whole.flags.fnc else "C"
    for start in range(0, total, block_rows):
        # A new map each time: what has been read through a map counts as memory of the process as long as the map lives.
        table = np.atleast_2d(np.memmap(path, whole.dtype, "r", whole.offset, whole.shape, order))
        block = table[start : start + block_rows]
        yield block, 100 * (start + len(block)) // total


def _read_csv(path: Path, inputs: int, block_rows: int) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield blocks of rows, and the percentage of the file read with each (0 for a pipe, whose size nobody knows)."""
    with path.open(encoding="utf-8-sig") as file:
        size = os.fstat(file.fileno()).st_size
        characters = 0
        lines = ((number, line) for number, line in enumerate(file, 1) if not line.isspace())
        try:
            first = list(islice(lines, 1))
            rows = lines if first and _is_header(first[0][1]) else chain(first, lines)
            while block := list(islice(rows, block_rows)):
                characters += sum(len(line) for _, line in block)
                yield _parse(path, block, inputs), min(100, 100 * characters // size) if size else 0
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from None
        if characters == 0:
            raise _no_rows(path)


def _is_header(line: str) -> bool:
    """Return whether there is text in a line, but no number: a first row with one bad number is an error, not a header."""
    fields = [field.strip(' \t\r\n"') for field in line.split(",")]
    return any(fields) and not any(map(_is_number, fields))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return field.strip().isascii() and "_" not in field  # Python alone reads other digits, and 1_000.


def _parse(path: Path, lines: list[tuple[int, str]], inputs: int) -> NDArray[np.float64]:
    try:
        table = np.loadtxt([line for _, line in lines], delimiter=",", comments=None, ndmin=2)
        if table.shape[1] != inputs:
            raise ValueError(f"expected {inputs} numbers a line, got {table.shape[1]}")
    except ValueError as error:
        raise ValueError(f"{path}, {_fault(lines, inputs) or error}") from None
    return table


def _fault(lines: list[tuple[int, str]], inputs: int) -> str | None:
    """Say which line is not the numbers that it should be."""
    for number, line in lines:
        fields = line.split(",")
        if len(fields) != inputs:
            return f"line {number}: expected {inputs} numbers separated by commas, got {len(fields)}"
        for column, field in enumerate(fields, 1):
            if not _is_number(field):
                return f"line {number}, column {column}: expected a number, got {reprlib.repr(field.strip())}"
    return None


def _no_rows(path: Path) -> ValueError:
    return ValueError(f"{path}: expected at least one row of numbers, got none")


def _write_npy(file: BinaryIO, results: Iterator[NDArray[Any]]) -> None:
    # The number of rows is known at the end. NumPy leaves room for it in a header, which then can be written again.
    first = next(results)
    header = np.lib.format.header_data_from_array_1_0(first)
    np.lib.format.write_array_header_1_0(file, header)
    rows = 0
    for block in chain([first], results):
        file.write(block.data)
        rows += len(block)
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, header | {"shape": (rows, first.shape[1])})


def _write_csv(file: BinaryIO, results: Iterable[NDArray[Any]]) -> None:
    for block in results:
        # str of NumPy's numbers gives the fewest digits that no other number of the dtype has.
        file.write("".join(",".join(map(str, row)) + "\n" for row in block).encode())
