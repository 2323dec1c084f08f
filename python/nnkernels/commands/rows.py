"""Reading and writing rows of numbers as CSV and .npy, in files, pipes and standard streams ("-").

Files are processed in blocks, so that memory does not grow with the file. Each row must be numbers;
otherwise a ValueError names the file, the line and the column.
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

# Rows, and the percentage of the file read so far; 0 if the file's size is unknown.
Blocks = Iterator[tuple[NDArray[Any], int]]

_STANDARD_STREAM = "-"

# Upper limit of numbers in a block of inputs or outputs: 2 MB in float64.
BLOCK_NUMBERS = 2**18

# Upper limit of symbolic links to follow, as in Linux.
_MOST_LINKS = 40


def input_label(name: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if name == _STANDARD_STREAM else name


def file_format(name: str, fallback: Format | None = None) -> Format:
    """Return the format of a file by its suffix, else the fallback, else CSV for a stream.

    Streams are pipes, devices and standard streams. Raises ValueError for other names.

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
    """Return whether a name is a stream: a pipe, a device, or a file that is already open."""
    if name == _STANDARD_STREAM or _descriptor(name) is not None:
        return True
    try:
        mode = Path(name).stat().st_mode
    except OSError:
        return False  # opening it will report the error
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _descriptor(name: str) -> int | None:
    """Return the descriptor of an open file, named as /dev/fd/3 or by a link like /dev/stdout."""
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
    """A file whose errors have its label. A file given by its descriptor is not closed."""

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
    """Set the file name of an OSError to a label."""
    try:
        yield
    except OSError as error:
        error.filename = label
        raise


def _open(name: str, mode: str, standard: TextIO | None, label: str) -> _File:
    """Open a file by name. A file that is already open continues at its current position."""
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
    """Open a file to write from its start. After an exception a regular file is unchanged.

    A .npy file begins with its number of rows, which is known only at the end. For a stream it is
    therefore written to a temporary file first.
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
    """Open a temporary file that replaces ``path`` at the end, or is deleted after an exception."""
    if _is_stream(str(path)):
        raise ValueError(f"{path}: expected the name of a file, not of a pipe or a device")
    target = Path(os.path.realpath(path))  # replace the target of a link
    temporary = target.with_name(f".nnkernels-{os.urandom(8).hex()}")
    try:
        with named(str(path)), suppress(FileNotFoundError):
            target.open("r+b").close()  # fails for a folder or a write-protected file
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
    """Raise ValueError if an existing file is not a network that ``read`` accepts."""
    if path.exists() and path.stat().st_size:
        try:
            with warnings.catch_warnings(action="ignore"):  # about the old model
                read(path)
        except ValueError:
            raise ValueError(f"{path}: this file is not a network and is kept: choose another name, or delete it") from None


# --- .npy ---


def read_npy(file: BinaryIO, name: str, inputs: int, block_rows: int) -> Blocks:
    """Yield the rows of a .npy file of shape (rows, inputs), or (inputs,) for one row."""
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
            f"{name}: an array in Fortran order cannot be read by rows from a pipe: "
            "save np.ascontiguousarray(array), or read it from a file"
        )
    offset = file.tell() if by_columns else 0
    for start in range(0, rows, block_rows):
        stop = min(start + block_rows, rows)
        if by_columns:
            # A new map for each block, since pages that were read count as memory until it is
            # closed.
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
            raise ValueError(f"expected version 1.0 or 2.0, got {version}")  # 3.0: Unicode field names
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
        if min(shape, default=0) < 0:
            raise ValueError(f"expected lengths from 0, got the shape {shape}")
    except OSError:
        raise
    except Exception as error:
        # NumPy's parser raises many types of errors: ValueError, TypeError, SyntaxError, ...
        raise _not_whole(name, error) from None
    return shape, fortran_order, dtype


def _not_whole(name: str, reason: object) -> ValueError:
    return ValueError(f"{name} is not a whole .npy file of numbers: {reason}")


def write_npy(file: BinaryIO, results: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """Write blocks of rows of this shape as one array. ``file`` is seekable and at its start."""
    # The number of rows is known only at the end. NumPy's header leaves room for any number, so
    # that it can be overwritten.
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
    """Yield the rows of a CSV file in UTF-8, with quotes as in RFC 4180. True is 1, False is 0.

    Blank lines are skipped, except in a file of one column, where they are missing numbers.

    Parameters
    ----------
    file : binary file
        The file.
    name : str
        Its name, for error messages.
    inputs, block_rows : int
        Number of inputs, and upper limit of rows in a block.
    delimiter : str, default ","
        Separates fields.
    header : bool or None, default None
        Whether the first line is a header. None means that it is if its fields are different names
        (``_is_name``). An ambiguous line such as 0,1,2 is an error.
    columns : sequence of str, default ()
        Names of the inputs, if they have names. A header must have all of them, in any order. Rows
        are yielded in the order of ``columns``.
    ignored : collection of str, default ()
        Names of columns that a header may have in addition. Their content is not read.
    """
    size, characters = file_size(file), 0
    advice = "rename it so that it ends in .npy" if Path(name).suffix else "use --format npy"
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
    """Yield the lines of a CSV file. Errors get its name, and ``advice`` if it is a .npy file."""
    # Invalid UTF-8 becomes surrogates, which are never part of a number: the error can name the
    # line and column.
    with TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape") as text:
        beginning = next(text, "")
        if beginning.startswith("\udc93NUMPY"):
            raise ValueError(f"{name}: expected CSV, got .npy{advice}")
        try:
            yield chain([beginning] if beginning else [], text)
        except ValueError as error:
            raise ValueError(f"{name}, {error}") from None


class Record(NamedTuple):
    """The fields of a row, and its first and last line. A quoted field may span several lines."""

    first: int
    last: int
    fields: list[str]

    @property
    def texts(self) -> list[str]:
        """The fields without white space around them."""
        return [field.strip() for field in self.fields]

    @property
    def names(self) -> list[str]:
        """The names in a header, without the "# " at the beginning from np.savetxt."""
        texts = self.texts
        return [*(text.removeprefix("# ") for text in texts[:1]), *texts[1:]]


class Field(NamedTuple):
    """A function that parses a field, or raises ValueError, and a description of valid fields."""

    parse: Callable[[str], float]
    expected: str


class Block(NamedTuple):
    """Rows of a CSV file, the line number of each, and the number of characters read."""

    numbers: NDArray[np.float64]
    lines: Sequence[int]
    characters: int


class CsvTable:
    """A parser of CSV lines.

    Parameters
    ----------
    lines : iterator of str
        The lines.
    columns : int
        Number of fields in each line.
    delimiter : str
        Separates fields.
    names : sequence of str, default ()
        Names of the columns, for error messages.
    fields : mapping of int to Field, optional
        Parsers of columns that are not numbers, by index.
    missing, text : str
        Advice for a missing value, and for text in a column of numbers.
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
        """Skip the first record."""
        self._number = sum(1 for _ in islice(self._lines, record.last))

    def blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield the rows."""
        while lines := list(islice(self._lines, block_rows)):
            yield self._parse(lines)

    def _parse(self, lines: list[str]) -> Block:
        """Return the rows that begin in ``lines``. The last one may continue in further lines."""
        characters, begin, end = sum(map(len, lines)), self._number + 1, self._number + len(lines)
        if not all(map(str.isspace, lines)):  # np.loadtxt warns about blank lines only
            converters: Any = {column: _without_quotes(field.parse) for column, field in self._fields.items()}
            try:
                table = np.loadtxt(lines, delimiter=self._delimiter, comments=None, ndmin=2, converters=converters or None)
            except ValueError as error:
                # NumPy converts every exception in a converter to ValueError, including Ctrl-C.
                if error.__cause__ is not None and not isinstance(error.__cause__, ValueError):
                    raise error.__cause__ from None
            else:
                if table.shape == (len(lines), self.columns):
                    self._number = end
                    return Block(table, range(begin, end + 1), characters)
        # Quotes, blank lines or errors need this parser, which takes more than twice as long.
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
        """Return the name of a column for messages."""
        return f"column {column + 1}" + (f" ({reprlib.repr(self._names[column])})" if self._names else "")


def first_record(lines: Iterator[str], delimiter: str, columns: int | None = None) -> tuple[Record | None, Iterator[str]]:
    """Return the first record, and an iterator of all lines, including it.

    Blank lines are skipped, except if ``columns`` is 1.
    """
    ahead, lines = tee(lines)
    return next(_records(ahead, delimiter, columns), None), lines


def _records(lines: Iterator[str], delimiter: str, columns: int | None, before: int = 0) -> Iterator[Record]:
    """Yield the records in lines. ``before`` is the number of lines before them.

    Blank lines are skipped, except if ``columns`` is 1.
    """
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
    """Return whether the first record is a header, by known names of columns or by its form."""
    known = set(columns).intersection(record.names)
    if known and len(known) == len(columns) and all(map(_is_input, record.texts)):
        raise _ambiguous(record, delimiter)
    if known and (len(known) == len(columns) or not all(map(_is_input, known))):
        return True
    check_ambiguous(record, delimiter)
    length = len(record.fields)
    are_names = first_no_name(record.texts) is None
    fits = length == table.columns or bool(columns and length > 1)  # names are checked later
    if fits and are_names:
        return True
    try:
        table.parse_record(record)
    except ValueError as error:
        hint = ""
        if length == table.columns:
            hint = header_hint(record)
        elif length == 1 and are_names and not _OTHER_DELIMITER.search(record.texts[0]):
            hint = "; if it is a title, use --header"
        raise ValueError(f"{error}{hint}") from None
    return False


def header_hint(record: Record) -> str:
    """Return why a record is not taken as a header; "" if it could be one."""
    texts = record.texts
    column = first_no_name(texts)
    if column is None:
        return ""
    name = texts[column - 1]
    got = reprlib.repr(name) + " again" * (name in texts[: column - 1])
    return f"; not a header either, since column {column} is {got}: use --header if it is one"


def check_ambiguous(record: Record, delimiter: str) -> None:
    """Raise ValueError for a record 0,1,2, which may be a header or a row."""
    if len(record.fields) > 2 and record.texts == [str(column) for column in range(len(record.fields))]:
        raise _ambiguous(record, delimiter)


def _ambiguous(record: Record, delimiter: str) -> ValueError:
    line = reprlib.repr(delimiter.join(record.texts))
    return ValueError(f"line {record.first}: {line} may be a header or a row: use --header or --no-header")


def _column_order(header: Record, columns: Sequence[str], ignored: Collection[str]) -> list[int]:
    """Return the index of each of ``columns`` in a header."""
    names = header.names
    places = {name: place for place, name in enumerate(names)}
    expected = {*columns, *ignored}
    for what, several in (
        ("lacks columns that the network was trained on", [name for name in columns if name not in places]),
        (
            "has columns that the network was not trained on; remove them from the file",
            [name for name in names if name not in expected],
        ),
        ("repeats columns", [name for place, name in enumerate(names) if places[name] != place]),
    ):
        if several:
            raise ValueError(f"line {header.first}: the header {what}: {listed(several, _MOST_NAMES, reprlib.repr)}")
    return [places[name] for name in columns]


# Upper limit of names in an error message.
_MOST_NAMES = 5


def _without_quotes(parse: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser for np.loadtxt that refuses quotes, which np.loadtxt does not support."""

    def parse_plain(field: str) -> float:
        if '"' in field:
            raise ValueError
        return parse(field)

    return parse_plain


# Common delimiters, which do not occur in a title.
_OTHER_DELIMITER = re.compile("[,;|\t]")

# Numbers with a decimal comma: 59,0 and 1.000,5.
_DECIMAL_COMMA = re.compile(r"\s*[+-]?[\d.]*,[\d.,]*\d\s*")

# Characters that result from other encodings, such as UTF-16 or Latin-1.
NOT_UTF_8 = re.compile("[\0\ud800-\udfff]")


def parse_number(field: str) -> float:
    """Parse a number as np.loadtxt, which refuses 1_000 and digits of other scripts."""
    if "_" in field or not field.strip().isascii():
        raise ValueError
    return float(field)


def is_number(field: str) -> bool:
    """Return whether a field is a number."""
    try:
        parse_number(field)
    except ValueError:
        return False
    return True


# Booleans as written by pandas, for example from pd.get_dummies, and by R.
_TRUTH = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}


def _parse_input(field: str) -> float:
    truth = _TRUTH.get(field.strip())
    return parse_number(field) if truth is None else truth


def _is_input(field: str) -> bool:
    return field in _TRUTH or is_number(field)


_INPUT = Field(_parse_input, "a number")
IGNORED = Field(lambda field: 0.0, "anything")


# Compared without punctuation: n/a is na.
_MISSING_WORDS = {
    *("na", "nan", "nat", "nd", "nil", "none", "null", "missing", "undefined", "unknown"),
    *("qnan", "snan", "nanq", "nans", "nainteger", "nareal", "nacharacter", "nacomplex"),  # of C libraries and R
}
_MISSING_SIGNS = "-\u2013\u2014?*. \t\r\n"
_BOOLEANS = {
    *("true", "false", "yes", "no", "on", "off", "wahr", "falsch", "ja", "nein", "vrai", "faux", "oui", "non"),
    *("verdadero", "falso", "sí", "si"),
}
_INFINITY = {"inf", "infinity"}
_BOOLEAN_LETTERS = {"t", "f", "y", "n"}

# A number after a short word and a space or sign (EUR 5, US$5, ca. 5), or after a currency (EUR5).
_AMOUNT = re.compile(r"[^\W\d_]{1,3}\W+\d|([A-Z]{3}|[A-Z][a-zč]|RM|TL|kr)\d")


def first_no_name(fields: list[str]) -> int | None:
    """Return the first column, from 1, that is not a name, or repeats an earlier one; else None.

    If all fields are t, f, y or n, they are booleans, not names.
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
    """Return whether a field is a name: it begins with a letter or _, and cannot be a value.

    Values are numbers, booleans, amounts and missing values in any spelling. A row taken as a
    header would be lost, so ambiguous fields, such as EUR5 and PCA1, are not names.

    >>> all(map(_is_name, ("age", "x1", "_id", "Größe in m", "# x", "PM2.5", "Feature 1")))
    True
    >>> any(map(_is_name, ("N/A", "", "-", "True", "EUR 5", "$1.50", "inf", "nan(ind)", "1e5")))
    False
    """
    field = field.removeprefix("# ")  # of np.savetxt
    word = _word(field)
    has_letter_first = field[:1].isalpha() or field[:1] == "_"
    return has_letter_first and not (word in _MISSING_WORDS | _BOOLEANS | _INFINITY or word.isnumeric() or _AMOUNT.match(field))


def _word(field: str) -> str:
    return "".join(filter(str.isalnum, field.partition("(")[0])).casefold()


def _is_missing(field: str) -> bool:
    """Return whether a field is a missing value: empty, a dash, or a word such as N/A."""
    return not field.strip(_MISSING_SIGNS) or _word(field) in _MISSING_WORDS


def write_csv(file: BinaryIO, results: Iterable[NDArray[Any]], delimiter: str = ",") -> None:
    """Write blocks of rows, one line per row."""
    for block in results:
        # str gives the fewest digits that identify a number of the dtype.
        file.write("".join(delimiter.join(map(str, row)) + "\n" for row in block).encode())


def write_names(file: BinaryIO, blocks: Iterable[Iterable[Any]], delimiter: str = ",") -> None:
    """Write blocks of rows of names, quoted if necessary. A row is a name or several names."""
    for block in blocks:
        text = StringIO()
        rows = ([row] if isinstance(row, str) else row for row in block)
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
        file.write(text.getvalue().encode())
