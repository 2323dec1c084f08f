"""Rows of numbers in CSV and .npy: files, pipes, and the standard streams by the name "-".

Both are read and written block by block, so memory does not grow with the file. No row is lost or
invented: anything but a row of numbers is a ValueError that names the file, the line and the
column.
"""

import csv
import errno
import os
import re
import reprlib
import shutil
import stat
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter, FileIO, StringIO, TextIOWrapper
from itertools import chain, islice, tee
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Literal, NamedTuple, TextIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnkernels.commands.names import listed

Format = Literal["csv", "npy"]

# Rows, and the percentage of the file read with them (0 where the size of the file is unknown).
Blocks = Iterator[tuple[NDArray[Any], int]]

_STANDARD_STREAM = "-"

# Numbers in a block of inputs or outputs: 2 MB in float64.
BLOCK_NUMBERS = 2**18

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
        raise ValueError(f"{name}: expected a name that ends in .csv or .npy, or --format csv or npy")
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


def file_size(file: BinaryIO) -> int | None:
    """Return the size of a file; None for a pipe or a device."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


# --- Opening ---


class _File(FileIO):
    """A file whose errors tell its label. Given by its descriptor, it goes on where it is, and stays open."""

    def __init__(self, file: Path | int, mode: str, label: str) -> None:
        self._label = label
        with named(label):
            super().__init__(file, mode, closefd=not isinstance(file, int))

    def readinto(self, buffer: Any) -> Any:
        with named(self._label):
            return super().readinto(buffer)

    def write(self, data: Any) -> Any:
        with named(self._label):
            return super().write(data)


@contextmanager
def named(label: str) -> Iterator[None]:
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

    A .npy file begins with its number of rows, which is known at the end. For a stream it waits in
    a temporary file.
    """
    if not _is_stream(name):
        with open_replacement(Path(name)) as file:
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
def open_replacement(path: Path) -> Iterator[BinaryIO]:
    """Open a new file beside the path, which takes its place when it is complete; on any exception nothing is left of it."""
    if _is_stream(str(path)):
        raise ValueError(f"{path}: expected the name of a file, not of a pipe or a device")
    target = Path(os.path.realpath(path))  # What a link leads to is replaced, not the link.
    temporary = target.with_name(f".nnkernels-{os.urandom(8).hex()}")
    try:
        with named(str(path)), suppress(FileNotFoundError):
            target.open("r+b").close()  # A folder or a write-protected file is an error; replacing would not notice.
        with BufferedWriter(_File(temporary, "xb", str(path))) as file:
            with named(str(path)), suppress(FileNotFoundError):
                shutil.copymode(target, temporary)
            yield file
        with named(str(path)):
            temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def check_replaceable(path: Path, read: Callable[[Path], object]) -> None:
    """Raise ValueError for a file that ``read`` refuses, such as a table: it is there for something else."""
    if path.exists() and path.stat().st_size:
        try:
            with warnings.catch_warnings(action="ignore"):  # of what a model that is replaced has
                read(path)
        except ValueError:
            raise ValueError(f"{path}: this file holds no network, so it is kept: say another name, or delete it") from None


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
    size = file_size(file)
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
            # A new map each time: what has been read through a map counts as memory of the process
            # as long as the map lives.
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
        # A malformed header raises whatever NumPy's parser meets: ValueError, TypeError,
        # SyntaxError, OverflowError, ...
        raise _not_whole(name, error) from None
    return shape, fortran_order, dtype


def _not_whole(name: str, reason: object) -> ValueError:
    return ValueError(f"{name} is not a whole .npy file of numbers: {reason}")


def write_npy(file: BinaryIO, results: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Write blocks of rows of this shape as one array, to a file at its start that can be written again there."""
    # The number of rows is known at the end. NumPy leaves room for it in a header, which then is
    # written again.
    header = np.lib.format.header_data_from_array_1_0(np.empty((0, *shape), dtype))
    np.lib.format.write_array_header_1_0(file, header)
    rows = 0
    for block in results:
        file.write(block.view(np.uint8).data if block.dtype.kind == "U" else block.data)
        rows += len(block)
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, header | {"shape": (rows, *shape)})


# --- CSV ---


def read_csv(
    file: BinaryIO,
    name: str,
    inputs: int,
    block_rows: int,
    delimiter: str = ",",
    header: bool | None = None,
    columns: Sequence[str] = (),
    ignored: Collection[str] = (),
) -> Blocks:
    """Yield the rows of a CSV file: UTF-8, quotes as in RFC 4180, any end of line. True counts as 1, False as 0.

    ``header`` tells whether the first line is one. With None it is one if all its fields are
    different names (``_is_name``). A line that may be a header or a row, such as 0,1,2, is an
    error.

    ``columns`` are the names of the inputs, if they have any. A header must have all of them, in
    any order; rows are yielded in the order of ``columns``. It may also have those in ``ignored``,
    whatever is in them.

    Blank lines are skipped, but not in a file of one column, where each is a number that is
    missing.
    """
    size, characters = file_size(file), 0
    advice = "give it a name that ends in .npy" if Path(name).suffix else "say --format npy"
    with csv_lines(file, name, f": {advice}") as lines:
        first, lines = first_record(lines, delimiter, inputs)
        table, order = CsvTable(lines, inputs, delimiter), None
        if first is not None and (_is_header(first, table, delimiter, columns) if header is None else header):
            if columns:
                order = _column_order(first, columns, ignored)
                others = set(range(len(first.fields))).difference(order)
                table = CsvTable(lines, len(first.fields), delimiter, first.names, dict.fromkeys(others, IGNORED))
            table.skip(first)
        for block in table.blocks(block_rows):
            characters += block.characters
            numbers = block.numbers if order is None else block.numbers[:, order]
            yield numbers, min(100, 100 * characters // size) if size else 0


@contextmanager
def csv_lines(file: BinaryIO, name: str, advice: str = "") -> Iterator[Iterator[str]]:
    """Give the lines of a CSV file, and let errors begin with its name. The advice is for a .npy file."""
    # A byte that is not UTF-8 becomes a surrogate, which is in no number: the error names its line
    # and column.
    with TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape") as text:
        beginning = next(text, "")
        if beginning.startswith("\udc93NUMPY"):
            raise ValueError(f"{name}: expected CSV, got .npy{advice}")
        try:
            yield chain([beginning] if beginning else [], text)
        except ValueError as error:
            raise ValueError(f"{name}, {error}") from None


class Record(NamedTuple):
    """Fields of one row, and the numbers of its first and last line: quotes may enclose line breaks."""

    first: int
    last: int
    fields: list[str]

    @property
    def texts(self) -> list[str]:
        """The fields without white space around them."""
        return [field.strip() for field in self.fields]

    @property
    def names(self) -> list[str]:
        """The names in a header. np.savetxt begins it with a number sign."""
        texts = self.texts
        return [*(text.removeprefix("# ") for text in texts[:1]), *texts[1:]]


class Field(NamedTuple):
    """How a field becomes a number, where ``parse`` does not raise ValueError, and what is expected there."""

    parse: Callable[[str], float]
    expected: str


class Block(NamedTuple):
    """Rows of a CSV file, the line where each begins, and the number of characters read."""

    numbers: NDArray[np.float64]
    lines: Sequence[int]
    characters: int


class CsvTable:
    """The lines of a CSV file, and how they become numbers.

    Parameters
    ----------
    lines, columns, delimiter
        The lines, the number of fields in each, and what separates these.
    names : sequence of str
        Of the columns, for error messages; may be empty.
    fields : mapping
        How columns are read, by their numbers from 0; numbers otherwise.
    missing, text : str
        What to do about a missing value, and about text where a number is expected.
    """

    def __init__(
        self,
        lines: Iterator[str],
        columns: int,
        delimiter: str,
        names: Sequence[str] = (),
        fields: Mapping[int, Field] | None = None,
        missing: str = 'write a missing value as nan: to_csv(na_rep="nan")',
        text: str = "",
    ) -> None:
        self._lines = lines
        self.columns = columns
        self._delimiter = delimiter
        self._names = names
        self._fields = fields or {}
        self._missing = missing
        self._text = text
        self._number = 0  # of lines read

    def skip(self, record: Record) -> None:
        """Go past the first record."""
        self._number = sum(1 for _ in islice(self._lines, record.last))

    def blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield the rows."""
        while lines := list(islice(self._lines, block_rows)):
            yield self._parse(lines)

    def _parse(self, lines: list[str]) -> Block:
        """Return the rows in lines, and in the lines after them up to the end of the last row."""
        characters, begin, end = sum(map(len, lines)), self._number + 1, self._number + len(lines)
        if not all(map(str.isspace, lines)):  # np.loadtxt warns where there is nothing else
            converters: Any = {column: _without_quotes(field.parse) for column, field in self._fields.items()}
            try:
                table = np.loadtxt(lines, delimiter=self._delimiter, comments=None, ndmin=2, converters=converters or None)
            except ValueError as error:
                # NumPy makes a ValueError of all that a converter raises: of Ctrl-C, too.
                if error.__cause__ is not None and not isinstance(error.__cause__, ValueError):
                    raise error.__cause__ from None
            else:
                if table.shape == (len(lines), self.columns):
                    self._number = end
                    return Block(table, range(begin, end + 1), characters)
        # There are quotes, blank lines or faults. This takes more than twice as long.
        rows, numbers = [], []
        for record in _records(chain(lines, self._lines), self._delimiter, self.columns, self._number):
            rows.append(self.parse_record(record))
            numbers.append(record.first)
            if record.last >= end:
                self._number = record.last
                break
        return Block(np.array(rows, np.float64).reshape(len(rows), self.columns), numbers, characters)

    def parse_record(self, record: Record) -> list[float]:
        """Return the numbers of a record."""
        fields = record.fields
        if len(fields) != self.columns:
            hint = " (--delimiter names another character)" if len(fields) == 1 else ""
            what = "field" if self._fields else "number"
            expected = f"{self.columns} {what}{'s' * (self.columns != 1)} separated by {self._delimiter!r}"
            raise ValueError(f"line {record.first}: expected {expected}, got {len(fields)}{hint}")
        numbers = []
        for column, field in enumerate(fields):
            kind = self._fields.get(column, _INPUT)
            try:
                numbers.append(kind.parse(field))
            except ValueError:
                hint = ""
                if NOT_UTF_8.search(field):
                    hint = " (the file must be text in UTF-8)"
                elif _is_missing(field):
                    hint = f" ({self._missing})"
                elif kind is _INPUT and _DECIMAL_COMMA.fullmatch(field):
                    hint = " (write a decimal point, and nothing between thousands)"
                elif kind is _INPUT and self._text:
                    hint = f" ({self._text})"
                got = reprlib.repr(field.strip())
                place = f"line {record.first}, {self.label(column)}"
                raise ValueError(f"{place}: expected {kind.expected}, got {got}{hint}") from None
        return numbers

    def label(self, column: int) -> str:
        """Return what messages call a column."""
        return f"column {column + 1}" + (f" ({reprlib.repr(self._names[column])})" if self._names else "")


def first_record(lines: Iterator[str], delimiter: str, columns: int | None = None) -> tuple[Record | None, Iterator[str]]:
    """Return the first record, and the lines again. Without the number of columns blank lines are no records."""
    ahead, lines = tee(lines)
    return next(_records(ahead, delimiter, columns), None), lines


def _records(lines: Iterator[str], delimiter: str, columns: int | None, before: int = 0) -> Iterator[Record]:
    """Yield the records in lines, before which there are others. In one column a blank line is one."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != " ", strict=True)
    while True:
        first = before + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"line {first}: {error}") from None
        is_blank = len(fields) < 2 and not "".join(fields).strip()
        if not is_blank:
            yield Record(first, before + reader.line_num, fields)
        elif columns is not None and columns < 2:
            yield Record(first, before + reader.line_num, fields or [""] * columns)


def _is_header(record: Record, table: CsvTable, delimiter: str, columns: Sequence[str]) -> bool:
    """Return whether the first record is no row of the table, but has names, or those of the columns."""
    known = set(columns).intersection(record.names)
    if known and len(known) == len(columns) and all(map(_is_input, record.texts)):
        raise _ambiguous(record, delimiter)
    if known and (len(known) == len(columns) or not all(map(_is_input, known))):
        return True
    check_ambiguous(record, delimiter)
    length = len(record.fields)
    are_names = first_no_name(record.texts) is None
    fits = length == table.columns or bool(columns and length > 1)  # its names will be compared with the columns
    if fits and are_names:
        return True
    try:
        table.parse_record(record)
    except ValueError as error:
        hint = ""
        if length == table.columns:
            hint = header_hint(record)
        elif length == 1 and are_names and not _OTHER_DELIMITER.search(record.texts[0]):
            hint = "; if it is a title, say --header"
        raise ValueError(f"{error}{hint}") from None
    return False


def header_hint(record: Record) -> str:
    """Say why a record is no header, if it is none."""
    texts = record.texts
    column = first_no_name(texts)
    if column is None:
        return ""
    name = texts[column - 1]
    got = reprlib.repr(name) + " again" * (name in texts[: column - 1])
    return f"; no header either, for column {column} is {got}: say --header if it is one"


def check_ambiguous(record: Record, delimiter: str) -> None:
    """Raise ValueError for 0,1,2: a header, or a row."""
    if len(record.fields) > 2 and record.texts == [str(column) for column in range(len(record.fields))]:
        raise _ambiguous(record, delimiter)


def _ambiguous(record: Record, delimiter: str) -> ValueError:
    line = reprlib.repr(delimiter.join(record.texts))
    return ValueError(f"line {record.first}: {line} may be a header or a row: say --header or --no-header")


def _column_order(header: Record, columns: Sequence[str], ignored: Collection[str]) -> list[int]:
    """Return where a header has the columns."""
    names = header.names
    places = {name: place for place, name in enumerate(names)}
    expected = {*columns, *ignored}
    for what, several in (
        ("lacks columns that the network was trained on", [name for name in columns if name not in places]),
        (
            "has columns that the network was not trained on; take them out of the file",
            [name for name in names if name not in expected],
        ),
        ("repeats columns", [name for place, name in enumerate(names) if places[name] != place]),
    ):
        if several:
            raise ValueError(f"line {header.first}: the header {what}: {listed(several, _MOST_NAMES, reprlib.repr)}")
    return [places[name] for name in columns]


# Names in an error message.
_MOST_NAMES = 5


def _without_quotes(parse: Callable[[str], float]) -> Callable[[str], float]:
    """Return a function for np.loadtxt, which does not know quotes."""

    def parse_plain(field: str) -> float:
        if '"' in field:
            raise ValueError
        return parse(field)

    return parse_plain


# Usual delimiters: a title has none of them.
_OTHER_DELIMITER = re.compile("[,;|\t]")

# 59,0 and 1.000,5, as some countries write numbers.
_DECIMAL_COMMA = re.compile(r"\s*[+-]?[\d.]*,[\d.,]*\d\s*")

# What text in another encoding has, such as UTF-16 or Latin-1.
NOT_UTF_8 = re.compile("[\0\ud800-\udfff]")


def parse_number(field: str) -> float:
    """Return what np.loadtxt reads. Python alone reads 1_000, and digits of other scripts."""
    if "_" in field or not field.strip().isascii():
        raise ValueError
    return float(field)


def is_number(field: str) -> bool:
    """Return whether a field can be read as a number."""
    try:
        parse_number(field)
    except ValueError:
        return False
    return True


# As pandas, R and others write truth values: pd.get_dummies makes such columns of text.
_TRUTH = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}


def _parse_input(field: str) -> float:
    truth = _TRUTH.get(field.strip())
    return parse_number(field) if truth is None else truth


def _is_input(field: str) -> bool:
    return field in _TRUTH or is_number(field)


_INPUT = Field(_parse_input, "a number")
IGNORED = Field(lambda field: 0.0, "anything")


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

# A number after a short word and a space or a sign (EUR 5, US$5, ca. 5), or right after what looks
# like a currency (EUR5, Rs5).
_AMOUNT = re.compile(r"[^\W\d_]{1,3}\W+\d|([A-Z]{3}|[A-Z][a-zč]|RM|TL|kr)\d")


def first_no_name(fields: list[str]) -> int | None:
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

    A row that is taken for a header would be lost, so what may be a value is no name: neither EUR5
    nor PCA1.

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


def write_names(file: BinaryIO, blocks: Iterable[Iterable[Any]], delimiter: str = ",") -> None:
    """Write blocks of rows of names, which are put in quotes where they need them; a row may be one name."""
    for block in blocks:
        text = StringIO()
        rows = ([row] if isinstance(row, str) else row for row in block)
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
        file.write(text.getvalue().encode())
