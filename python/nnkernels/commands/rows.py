"""Rows of numbers in CSV and .npy: files, pipes, and the standard streams by the name "-".

Both are read and written block by block, so memory does not grow with the file. No row is lost or invented: anything but a row
of numbers is a ValueError that names the file, the line and the column.
"""

import csv
import errno
import os
import re
import reprlib
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from itertools import chain, islice, tee
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Literal, NamedTuple, TextIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

Format = Literal["csv", "npy"]

# Rows, and the percentage of the file read with them (0 where the size of the file is unknown).
Blocks = Iterator[tuple[NDArray[Any], int]]

_STANDARD_STREAM = "-"

# Links to follow, as many as Linux does.
_MOST_LINKS = 40


def input_label(name: str) -> str:
    """Return what messages call an input."""
    return "standard input" if name == _STANDARD_STREAM else name


def file_format(name: str, fallback: Format | None = None) -> Format:
    """Return the format that a name ends in; else the fallback; else CSV for pipes, devices and the standard streams.

    Raises ValueError for other names.

    >>> file_format("rows.NPY", "csv"), file_format("-", "npy"), file_format("-")
    ('npy', 'npy', 'csv')
    """
    suffix = Path(name).suffix.lower()
    if suffix == ".csv" or suffix == ".npy":
        return "csv" if suffix == ".csv" else "npy"
    if fallback is None and not _is_stream(name):
        raise ValueError(f"{name}: expected a name that ends in .csv or .npy, or --format")
    return fallback or "csv"


def _is_stream(name: str) -> bool:
    """Return whether a name is a pipe, a device, or a file that is open already: it can only be read or written in order."""
    if name == _STANDARD_STREAM or _descriptor(name) is not None:
        return True
    try:
        mode = Path(name).stat().st_mode
    except OSError:
        return False  # opening it says why
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _descriptor(name: str) -> int | None:
    """Return the number of a file that is open already, if its name says so: /dev/fd/3, or a link such as /dev/stdout."""
    path = Path(name)
    for _ in range(_MOST_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) == os.path.realpath("/dev/fd"):
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


def _size(file: BinaryIO) -> int | None:
    """Return the size of a file; None for a pipe or a device."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


# --- Opening ---


class _File(FileIO):
    """A file whose errors tell its label. Given by its descriptor, it goes on where it is, and stays open."""

    def __init__(self, file: Path | int, mode: str, label: str) -> None:
        self._label = label
        with _named(label):
            super().__init__(file, mode, closefd=not isinstance(file, int))

    def readinto(self, buffer: Any) -> Any:
        with _named(self._label):
            return super().readinto(buffer)

    def write(self, data: Any) -> Any:
        with _named(self._label):
            return super().write(data)


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Let errors of the system tell the label of the file."""
    try:
        yield
    except OSError as error:
        error.filename = label
        raise


def _open(name: str, mode: str, standard: TextIO | None, label: str) -> _File:
    """Open a file by its name. One that is open already is not opened again, which would begin at its start."""
    if name != _STANDARD_STREAM:
        descriptor = _descriptor(name)
        return _File(Path(name) if descriptor is None else descriptor, mode, label)
    if standard is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), label)
    return _File(standard.fileno(), mode, label)


@contextmanager
def open_input(name: str) -> Iterator[BinaryIO]:
    """Open a file, a pipe or standard input."""
    with BufferedReader(_open(name, "rb", sys.stdin, input_label(name))) as file:
        yield file


@contextmanager
def open_output(name: str, kind: Format) -> Iterator[BinaryIO]:
    """Open a file to write from its start; on any exception a regular file is as it was before.

    A .npy file begins with its number of rows, which is known at the end. For a stream it waits in a temporary file.
    """
    if not _is_stream(name):
        with _replacement(Path(name)) as file:
            yield file
        return
    label = "standard output" if name == _STANDARD_STREAM else name
    with BufferedWriter(_open(name, "wb", sys.stdout, label)) as stream:
        if kind == "csv":
            yield stream
        else:
            with TemporaryFile() as file:
                yield file
                file.seek(0)
                shutil.copyfileobj(file, stream)


@contextmanager
def _replacement(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside the path, which takes its place when it is complete; on any exception nothing is left of it."""
    target = Path(os.path.realpath(path))  # What a link leads to is replaced, not the link.
    temporary = target.with_name(f".nnkernels-{os.urandom(8).hex()}")
    try:
        with _named(str(path)), suppress(FileNotFoundError):
            target.open("r+b").close()  # A folder or a write-protected file is an error; replacing would not notice.
        with BufferedWriter(_File(temporary, "xb", str(path))) as file:
            with _named(str(path)), suppress(FileNotFoundError):
                shutil.copymode(target, temporary)
            yield file
        with _named(str(path)):
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


# --- .npy ---


def read_npy(file: BinaryIO, name: str, inputs: int, block_rows: int) -> Blocks:
    """Yield the rows of a .npy file with the shape (rows, inputs), or of one row with the shape (inputs,)."""
    shape, fortran_order, dtype = _read_npy_header(file, name)
    if dtype.kind not in "biu" and dtype.type not in (np.float16, np.float32, np.float64):
        raise ValueError(f"{name}: expected a real dtype (bool, integer, float16, float32 or float64), got {dtype}")
    if len(shape) not in (1, 2) or shape[-1] != inputs:
        raise ValueError(f"{name}: expected the shape (rows, {inputs}) or ({inputs},), got {dtype} of shape {shape}")
    rows = shape[0] if len(shape) == 2 else 1
    row_bytes = inputs * dtype.itemsize
    size = _size(file)
    if size is not None and size - file.tell() != rows * row_bytes:
        raise _not_whole(name, f"expected {rows * row_bytes} bytes of numbers, got {size - file.tell()}")
    by_columns = fortran_order and len(shape) == 2
    if by_columns and size is None:
        raise ValueError(
            f"{name}: a pipe cannot give the rows of an array in Fortran order, whose columns come first: "
            "save np.ascontiguousarray(array), or read it from a file"
        )
    offset = file.tell() if by_columns else 0
    for start in range(0, rows, block_rows):
        stop = min(start + block_rows, rows)
        if by_columns:
            # A new map each time: what has been read through a map counts as memory of the process as long as the map lives.
            block = np.memmap(file, dtype, "r", offset, shape, "F")[start:stop]
        else:
            data = file.read((stop - start) * row_bytes)
            if len(data) < (stop - start) * row_bytes:
                raise _not_whole(name, f"expected {rows} rows, got {start + len(data) // row_bytes}")
            block = np.ndarray((stop - start, inputs), dtype, data)
        yield block, 100 * stop // rows
    if size is None and file.read(1):
        raise _not_whole(name, f"expected {rows} rows, got more bytes")


def _read_npy_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"expected version 1.0 or 2.0, got {version}")  # 3.0 is for records with Unicode names
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
        if min(shape, default=0) < 0:
            raise ValueError(f"expected lengths from 0, got the shape {shape}")
    except OSError:
        raise
    except Exception as error:
        # A malformed header raises whatever NumPy's parser meets: ValueError, TypeError, SyntaxError, OverflowError, ...
        raise _not_whole(name, error) from None
    return shape, fortran_order, dtype


def _not_whole(name: str, reason: object) -> ValueError:
    return ValueError(f"{name} is not a whole .npy file of numbers: {reason}")


def write_npy(file: BinaryIO, results: Iterable[NDArray[Any]], outputs: int, dtype: DTypeLike) -> None:
    """Write blocks of rows as one array, to a file at its start that can be written again there."""
    # The number of rows is known at the end. NumPy leaves room for it in a header, which then is written again.
    header = np.lib.format.header_data_from_array_1_0(np.empty((0, outputs), dtype))
    np.lib.format.write_array_header_1_0(file, header)
    rows = 0
    for block in results:
        file.write(block.data)
        rows += len(block)
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, header | {"shape": (rows, outputs)})


# --- CSV ---


def read_csv(
    file: BinaryIO, name: str, inputs: int, block_rows: int, delimiter: str = ",", header: bool | None = None
) -> Blocks:
    """Yield the rows of a CSV file: UTF-8, quotes as in RFC 4180, any end of line.

    ``header`` tells whether the first line is one. With None it is one if all its fields are different names (``_is_name``). A
    line that may be a header or a row, such as 0,1,2, is an error.

    Blank lines are skipped, but not in a file of one column, where each is a number that is missing.
    """
    size, characters = _size(file), 0
    # A byte that is not UTF-8 becomes a surrogate, which is in no number: the error names its line and column.
    with TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape") as text:
        beginning = next(text, "")
        if beginning.startswith("\udc93NUMPY"):
            advice = "give it a name that ends in .npy" if Path(name).suffix else "say --format npy"
            raise ValueError(f"{name}: expected CSV, got .npy: {advice}")
        table = _CsvTable(chain([beginning] if beginning else [], text), inputs, delimiter)
        try:
            table.skip_header(header)
            while lines := list(islice(table.lines, block_rows)):
                characters += sum(map(len, lines))
                yield table.parse(lines), min(100, 100 * characters // size) if size else 0
        except ValueError as error:
            raise ValueError(f"{name}, {error}") from None


class _Record(NamedTuple):
    """Fields of one row, and the numbers of its first and last line: quotes may enclose line breaks."""

    first: int
    last: int
    fields: list[str]


class _CsvTable:
    """The lines of a CSV file, and how they become numbers."""

    def __init__(self, lines: Iterator[str], inputs: int, delimiter: str) -> None:
        self.lines = lines
        self._number = 0  # of lines read
        self._inputs = inputs
        self._delimiter = delimiter

    def skip_header(self, header: bool | None) -> None:
        """Go past the first record if it is a header, or looks like one if ``header`` is None."""
        ahead, self.lines = tee(self.lines)
        first = next(self._records(ahead), None)
        if first is not None and (self._is_header(first) if header is None else header):
            self._number = sum(1 for _ in islice(self.lines, first.last))

    def parse(self, lines: list[str]) -> NDArray[np.float64]:
        """Return the rows in lines, and in the lines after them up to the end of the last row."""
        if not all(map(str.isspace, lines)):  # np.loadtxt warns where there is nothing else
            with suppress(ValueError):
                table = np.loadtxt(lines, delimiter=self._delimiter, comments=None, ndmin=2)
                if table.shape == (len(lines), self._inputs):
                    self._number += len(lines)
                    return table
        # There are quotes, blank lines or faults. This takes more than twice as long.
        end = self._number + len(lines)
        rows = []
        for record in self._records(chain(lines, self.lines)):
            rows.append(self._parse_record(record))
            if record.last >= end:
                self._number = record.last
                break
        return np.array(rows, np.float64).reshape(len(rows), self._inputs)

    def _records(self, lines: Iterator[str]) -> Iterator[_Record]:
        reader = csv.reader(lines, delimiter=self._delimiter, skipinitialspace=self._delimiter != " ", strict=True)
        while True:
            first = self._number + reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ValueError(f"line {first}: {error}") from None
            is_blank = len(fields) < 2 and not "".join(fields).strip()
            if self._inputs < 2 or not is_blank:
                yield _Record(first, self._number + reader.line_num, fields or [""] * self._inputs)

    def _parse_record(self, record: _Record) -> list[float]:
        fields = record.fields
        if len(fields) != self._inputs:
            hint = " (--delimiter names another character)" if len(fields) == 1 else ""
            expected = f"{self._inputs} number{'s' * (self._inputs != 1)} separated by {self._delimiter!r}"
            raise ValueError(f"line {record.first}: expected {expected}, got {len(fields)}{hint}")
        numbers = []
        for column, field in enumerate(fields, 1):
            try:
                numbers.append(_parse_number(field))
            except ValueError:
                hint = ""
                if _NOT_UTF_8.search(field):
                    hint = " (the file must be text in UTF-8)"
                elif _is_missing(field):
                    hint = ' (write a missing value as nan: to_csv(na_rep="nan"))'
                got = reprlib.repr(field.strip())
                raise ValueError(f"line {record.first}, column {column}: expected a number, got {got}{hint}") from None
        return numbers

    def _is_header(self, record: _Record) -> bool:
        fields = [field.strip() for field in record.fields]
        if len(fields) > 2 and fields == [str(column) for column in range(len(fields))]:
            line = reprlib.repr(self._delimiter.join(fields))
            raise ValueError(f"line {record.first}: {line} may be a header or a row: say --header or --no-header")
        no_name = _first_no_name(fields)
        if len(fields) == self._inputs and no_name is None:
            return True
        try:
            self._parse_record(record)
        except ValueError as error:
            hint = ""
            if len(fields) == self._inputs and no_name is not None:
                name = fields[no_name - 1]
                got = reprlib.repr(name) + " again" * (name in fields[: no_name - 1])
                hint = f"; no header either, for column {no_name} is {got}: say --header if it is one"
            elif len(fields) == 1 and no_name is None and not _OTHER_DELIMITER.search(fields[0]):
                hint = "; if it is a title, say --header"
            raise ValueError(f"{error}{hint}") from None
        return False


# Usual delimiters: a title has none of them.
_OTHER_DELIMITER = re.compile("[,;|\t]")

# What text in another encoding has, such as UTF-16 or Latin-1.
_NOT_UTF_8 = re.compile("[\0\ud800-\udfff]")


def _parse_number(field: str) -> float:
    """Return what np.loadtxt reads. Python alone reads 1_000, and digits of other scripts."""
    if "_" in field or not field.strip().isascii():
        raise ValueError
    return float(field)


# Written as letters and digits alone: n/a is na.
_MISSING_WORDS = {
    *("na", "nan", "nat", "nd", "nil", "none", "null", "missing", "undefined", "unknown"),
    *("qnan", "snan", "nanq", "nans", "nainteger", "nareal", "nacharacter", "nacomplex"),  # as C libraries and R have them
}
_MISSING_SIGNS = "-\u2013\u2014?*. \t\r\n"
_BOOLEANS = {
    *("true", "false", "yes", "no", "on", "off", "wahr", "falsch", "ja", "nein", "vrai", "faux", "oui", "non"),
    *("verdadero", "falso", "sí", "si"),
}
_INFINITY = {"inf", "infinity"}
_BOOLEAN_LETTERS = {"t", "f", "y", "n"}

# A number after a short word and a space or a sign (EUR 5, US$5, ca. 5), or right after what looks like a currency (EUR5, Rs5).
_AMOUNT = re.compile(r"[^\W\d_]{1,3}\W+\d|([A-Z]{3}|[A-Z][a-zč]|RM|TL|kr)\d")


def _first_no_name(fields: list[str]) -> int | None:
    """Return the first column that is no name, or has that of an earlier column, if any.

    A single t, f, y or n is a name only beside others, as in x, y.
    """
    if {field.lower() for field in fields} <= _BOOLEAN_LETTERS:
        return 1
    earlier: set[str] = set()
    for column, field in enumerate(fields, 1):
        if field in earlier or not _is_name(field):
            return column
        earlier.add(field)
    return None


def _is_name(field: str) -> bool:
    """Return whether a field begins with a letter and is no missing value, boolean, amount or number, however written.

    A row that is taken for a header would be lost, so what may be a value is no name: neither EUR5 nor PCA1.

    >>> [_is_name(field) for field in ("age", "x1", "_id", "Größe in m", "# x", "PM2.5", "Feature 1")]
    [True, True, True, True, True, True, True]
    >>> [_is_name(field) for field in ("N/A", "", "-", "True", "EUR 5", "$1.50", "inf", "nan(ind)", "1e5", "0x1F", "2019")]
    [False, False, False, False, False, False, False, False, False, False, False]
    """
    field = field.removeprefix("# ")  # as np.savetxt begins a header
    word = _word(field)
    has_letter_first = field[:1].isalpha() or field[:1] == "_"
    return has_letter_first and not (word in _MISSING_WORDS | _BOOLEANS | _INFINITY or word.isnumeric() or _AMOUNT.match(field))


def _word(field: str) -> str:
    return "".join(filter(str.isalnum, field.partition("(")[0])).casefold()


def _is_missing(field: str) -> bool:
    """Return whether a field stands for a missing value: empty, a dash or the like, or a word such as N/A."""
    return not field.strip(_MISSING_SIGNS) or _word(field) in _MISSING_WORDS


def write_csv(file: BinaryIO, results: Iterable[NDArray[Any]], delimiter: str = ",") -> None:
    """Write blocks of rows, a line for each row."""
    for block in results:
        # str of NumPy's numbers gives the fewest digits that no other number of the dtype has.
        file.write("".join(delimiter.join(map(str, row)) + "\n" for row in block).encode())
