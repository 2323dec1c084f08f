"""Run a saved network on the rows of a file, block by block: memory does not grow with the file."""

import os
import reprlib
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nnkernels.functions import describe
from nnkernels.network import Network, load

# A block of rows, and the share of the file that has been read with it.
Block = tuple[NDArray[Any], float]

# Numbers in a block of inputs or outputs: 2 MB in float64.
BLOCK_NUMBERS = 2**18

# A run is long, and shows its progress, after this many seconds.
PROGRESS_DELAY = 0.5


def predict(model: Path, source: Path, output: Path | None = None) -> None:
    """Write the outputs of a saved network, a row for each row of the source; as CSV to standard output without a path.

    Raises OSError or ValueError, with one line to say why, for what cannot be read, is malformed or does not fit, or
    cannot be written. The output is complete or untouched.
    """
    read = _by_suffix(_READERS, source)
    write = _write_csv if output is None else _by_suffix(_WRITERS, output)
    model.open("rb").close()  # The system's own words for a file that cannot be read.
    net = load(model)
    layers = net.layers
    inputs, outputs = layers[0].inputs, layers[-1].outputs
    blocks = read(source, inputs, max(1, BLOCK_NUMBERS // max(inputs, outputs)))
    with nullcontext(sys.stdout.buffer) if output is None else _replacing(output) as file:
        shown = sys.stderr.isatty() and not (output is None and sys.stdout.isatty())
        write(file, _results(net, _with_progress(blocks) if shown else blocks, outputs), outputs, net.dtype)


def _by_suffix[Function](functions: dict[str, Function], path: Path) -> Function:
    try:
        return functions[path.suffix.lower()]
    except KeyError:
        message = f"{path}: expected a name that ends in {' or '.join(functions)}"
        raise ValueError(message) from None


def _results(net: Network, blocks: Iterable[Block], outputs: int) -> Iterator[NDArray[Any]]:
    for rows, _ in blocks:
        with np.errstate(over="ignore"):  # An input beyond the network's dtype is infinite, which its outputs show.
            result = net(rows)
        yield result.reshape(len(rows), outputs)  # One neuron is one column.


def _with_progress(blocks: Iterable[Block]) -> Iterator[Block]:
    from tqdm import tqdm

    with tqdm(total=1.0, delay=PROGRESS_DELAY, leave=False, bar_format="{l_bar}{bar}| {elapsed}<{remaining}") as bar:
        for rows, share in blocks:
            yield rows, share
            bar.update(share - bar.n)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside the path, which takes its place once it is complete; on any exception, nothing is left of it."""
    path = Path(os.path.realpath(path))  # The file that a link leads to is replaced, not the link.
    temporary = path.with_name(f".nnkernels-{secrets.token_hex(8)}")
    try:
        with suppress(FileNotFoundError):
            path.open("r+b").close()  # Replacing would need no permission to write this file, so ask for it.
        file = temporary.open("xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _npy_blocks(path: Path, inputs: int, rows: int) -> Iterator[Block]:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:
        # For a malformed header NumPy raises, besides ValueError, whatever its parser meets: SyntaxError, OverflowError, ...
        message = f"{path} is not a whole .npy file of numbers: {error}"
        raise ValueError(message) from None
    if array.dtype.kind not in "biu" and array.dtype.type not in (np.float16, np.float32, np.float64):
        message = f"{path}: expected a real dtype (bool, integer, float16, float32 or float64), got {array.dtype}"
        raise ValueError(message)
    if array.ndim not in (1, 2) or array.shape[-1] != inputs:
        message = f"{path}: expected the shape (rows, {inputs}) or ({inputs},), got {describe(array)}"
        raise ValueError(message)
    table = array.reshape(-1, inputs)
    if not len(table):
        raise _no_rows(path)
    for start in range(0, len(table), rows):
        block = table[start : start + rows]
        yield block, (start + len(block)) / len(table)


def _csv_blocks(path: Path, inputs: int, rows: int) -> Iterator[Block]:
    with path.open(encoding="utf-8-sig") as file:
        size = os.fstat(file.fileno()).st_size
        characters = 0
        lines = ((number, line) for number, line in enumerate(file, 1) if not line.isspace())
        try:
            first = next(lines, None)
            if first is None or (_is_header(first[1]) and (first := next(lines, None)) is None):
                raise _no_rows(path)
            lines = chain([first], lines)
            while block := list(islice(lines, rows)):
                characters += sum(len(line) for _, line in block)
                yield _parsed(path, block, inputs), min(1.0, characters / size) if size else 0.0
        except UnicodeDecodeError as error:
            message = f"{path} is not a CSV file in UTF-8: {error}"
            raise ValueError(message) from None


def _is_header(line: str) -> bool:
    """Return whether no field is a number, and one is a word: a row with some bad numbers is an error, not a header."""
    fields = line.split(",")
    return not any(map(_is_number, fields)) and any(map(str.strip, fields))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # as Python alone writes numbers


def _parsed(path: Path, lines: list[tuple[int, str]], inputs: int) -> NDArray[np.float64]:
    try:
        table = np.loadtxt([line for _, line in lines], delimiter=",", comments=None, ndmin=2)
        if table.shape[1] == inputs:
            return table
        problem = f"expected {inputs} numbers in a row, got {table.shape[1]}"
    except ValueError as error:
        problem = str(error)
    for number, line in lines:
        fields = line.split(",")
        if len(fields) != inputs:
            message = f"{path}, line {number}: expected {inputs} numbers separated by commas, got {len(fields)}"
            raise ValueError(message)
        for column, field in enumerate(fields, 1):
            if not _is_number(field):
                message = f"{path}, line {number}, column {column}: expected a number, got {reprlib.repr(field.strip())}"
                raise ValueError(message)
    message = f"{path}, lines {lines[0][0]} to {lines[-1][0]}: {problem}"
    raise ValueError(message)


def _no_rows(path: Path) -> ValueError:
    return ValueError(f"{path}: expected at least one row of numbers, got none")


def _write_npy(file: BinaryIO, results: Iterable[NDArray[Any]], outputs: int, dtype: np.dtype[Any]) -> None:
    # The number of rows is known at the end. NumPy leaves room in a header for any number, so it can be written again.
    def write_header(rows: int) -> None:
        description = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": description, "fortran_order": False, "shape": (rows, outputs)}
        np.lib.format.write_array_header_1_0(file, header)

    rows = 0
    write_header(rows)
    for block in results:
        file.write(block.data)
        rows += len(block)
    file.seek(0)
    write_header(rows)


def _write_csv(file: BinaryIO, results: Iterable[NDArray[Any]], outputs: int, dtype: np.dtype[Any]) -> None:
    for block in results:
        # str of a NumPy number: the fewest digits that tell it from its neighbours in its dtype.
        file.write("".join(",".join(map(str, row)) + "\n" for row in block).encode())


_READERS: dict[str, Callable[[Path, int, int], Iterator[Block]]] = {".npy": _npy_blocks, ".csv": _csv_blocks}
_WRITERS: dict[str, Callable[[BinaryIO, Iterable[NDArray[Any]], int, np.dtype[Any]], None]] = {
    ".npy": _write_npy,
    ".csv": _write_csv,
}
