"""Reading training data: CSV with columns of numbers, and a target of numbers or class names.

All rows are in memory at once. Invalid data raise a ValueError that names the file, the line and
the column.
"""

import math
import reprlib
from collections.abc import Sequence
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkernels.commands.names import listed
from nnkernels.commands.rows import (
    BLOCK_NUMBERS,
    IGNORED,
    NOT_UTF_8,
    CsvTable,
    Field,
    Record,
    check_ambiguous,
    csv_lines,
    first_no_name,
    first_record,
    header_hint,
    parse_number,
)

Task = Literal["classes", "regression"]

# Upper limit of names in an error message.
_MOST_NAMES = 10

# Missing class names. Other words, such as none and unknown, may be classes.
_MISSING = {"", "NA", "na", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "NaT", "NULL", "null"}


# Advice for missing values and for text.
_IF_MISSING = "fill in missing values, or remove such rows"
_IF_TEXT = "leave the column out by --ignore, or convert it to numbers by pandas.get_dummies"


class Table(NamedTuple):
    """Training data.

    Attributes
    ----------
    file : str
        Name of the file.
    inputs : ndarray, shape (rows, inputs)
        The inputs.
    texts : list of str
        The different texts in the target column.
    numbers : ndarray, shape (texts,)
        ``texts`` as numbers; NaN for text that is not a number.
    codes : ndarray, shape (rows,)
        The index of each row's target in ``texts``.
    lines : ndarray, shape (rows,)
        The line number of each row.
    columns, ignored : tuple of str
        Names of the inputs and of ignored columns; () without a header.
    target : str or None
        Name of the target; None without a header.
    places : list of int
        Column indices of the inputs.
    target_column : int
        Column index of the target.
    """

    file: str
    inputs: NDArray[np.float64]
    texts: list[str]
    numbers: NDArray[np.float64]
    codes: NDArray[np.int64]
    lines: NDArray[np.int64]
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    target: str | None
    places: list[int]
    target_column: int

    def input_label(self, column: int) -> str:
        """Return the name of an input for messages and reports."""
        if self.columns:
            return reprlib.repr(self.columns[column])
        return f"column {self.places[column] + 1}"

    @property
    def is_numeric(self) -> bool:
        """Whether all targets are numbers."""
        return not np.isnan(self.numbers).any()

    @property
    def target_label(self) -> str:
        """The name of the target for messages and reports."""
        return f"column {self.target_column + 1}" if self.target is None else reprlib.repr(self.target)

    def error(self, row: int, message: str) -> ValueError:
        """Return an error about the target of a row."""
        name = "" if self.target is None else f" ({self.target_label})"
        return ValueError(f"{self.file}, line {self.lines[row]}, column {self.target_column + 1}{name}: {message}")


def read_table(
    file: BinaryIO,
    name: str,
    delimiter: str,
    header: bool | None,
    target: str | None,
    task: Task | None,
    ignore: Sequence[str] = (),
) -> Table:
    """Read training data from a CSV file.

    All columns must be numbers, except the target and the columns to ignore. ``target`` and
    ``ignore`` are names of columns, or numbers from 1; the default target is the last column. For
    the task "regression", the target must be numbers too. ``header`` is as in ``read_csv``.
    """
    with csv_lines(file, name) as lines:
        first, lines = first_record(lines, delimiter)
        if first is None:
            raise ValueError("line 1: expected rows, got none")
        columns = len(first.fields)
        if columns < 2:
            raise ValueError(
                f"line {first.first}: expected inputs and a target, got one column (--delimiter names another character)"
            )
        has_header = _looks_like_header(first, delimiter) if header is None else header
        names = first.names if has_header else []
        column = columns - 1 if target is None else _find_column(target, names, first)
        ignored = sorted({_find_column(column, names, first) for column in ignore})
        places = [place for place in range(columns) if place != column and place not in ignored]
        if column in ignored or not places:
            raise ValueError(f"line {first.first}: expected inputs and a target beside the columns to ignore")
        _check_names(first, names, ignored)
        parse = _Target(task == "regression")
        fields = dict.fromkeys(ignored, IGNORED) | {column: Field(parse, parse.expected)}
        table = CsvTable(lines, columns, delimiter, names, fields, _IF_MISSING, _IF_TEXT)
        if has_header:
            table.skip(first)
        blocks = table.blocks(max(1, BLOCK_NUMBERS // columns))
        inputs, codes, numbers = [], [], []
        try:
            for block in blocks:
                bad = np.argwhere(~np.isfinite(block.numbers))
                if len(bad):
                    row, bad_column = bad[0]
                    got = block.numbers[row, bad_column]
                    place = f"line {block.lines[row]}, {table.label(bad_column)}"
                    raise ValueError(f"{place}: expected a finite number, got {got} ({_IF_MISSING})")
                inputs.append(block.numbers[:, places])
                codes.append(block.numbers[:, column].astype(np.int64))
                numbers.append(np.array(block.lines, np.int64))
        except ValueError as error:
            if not numbers and header is None and not has_header and f"line {first.first}," in str(error):
                raise ValueError(f"{error}{header_hint(first)}") from None
            raise
        if not any(map(len, inputs)):
            raise ValueError(f"line {first.last + 1}: expected rows after the header, got none")
    texts = list(parse.codes)
    used, ranks = np.unique(np.concatenate(codes), return_inverse=True)  # parsing twice may leave unused codes
    return Table(
        file=name,
        inputs=np.concatenate(inputs),
        texts=[texts[code] for code in used],
        numbers=np.array(parse.numbers)[used],
        codes=ranks.astype(np.int64),
        lines=np.concatenate(numbers),
        columns=tuple(names[place] for place in places) if names else (),
        ignored=tuple(names[place] for place in ignored) if names else (),
        target=names[column] if names else None,
        places=places,
        target_column=column,
    )


class _Target:
    """A parser of the target column. Each different text gets a code, counted from 0.

    ``numbers`` are the texts as numbers; NaN for text that is not a number.
    """

    def __init__(self, numeric: bool) -> None:
        self.expected = "a number" if numeric else "a class name or a number"
        self.codes: dict[str, int] = {}
        self.numbers: list[float] = []
        self._numeric = numeric

    def __call__(self, field: str) -> float:
        text = field.strip()
        code = self.codes.get(text)
        if code is None:
            try:
                number = parse_number(text)
                good = math.isfinite(number)
            except ValueError:
                number, good = math.nan, not self._numeric
            if not good or text in _MISSING or NOT_UTF_8.search(text):
                raise ValueError
            code = self.codes[text] = len(self.codes)
            self.numbers.append(number)
        return code


def _looks_like_header(first: Record, delimiter: str) -> bool:
    """Return whether all fields are names. The first may be empty, as pandas writes its index."""
    check_ambiguous(first, delimiter)
    texts = first.texts
    return first_no_name(texts if texts[0] else texts[1:]) is None


def _check_names(header: Record, names: Sequence[str], ignored: Sequence[int]) -> None:
    """Raise ValueError if the name of a used column is empty, not UTF-8, or repeated."""
    earlier: set[str] = set()
    for place, name in enumerate(names):
        got = None
        if not name:
            got = f"no name; if the column numbers the rows, leave it out: --ignore {place + 1}, or to_csv(index=False)"
        elif NOT_UTF_8.search(name):
            got = f"{reprlib.repr(name)} (the file must be text in UTF-8)"
        elif name in earlier:
            got = f"{reprlib.repr(name)} again"
        if got and place not in ignored:
            raise ValueError(f"line {header.first}, column {place + 1}: expected a unique name, got {got}")
        earlier.add(name)


def _find_column(name: str, names: list[str], first: Record) -> int:
    """Return the index of a column, given its name or its number from 1."""
    columns = len(first.fields)
    if name in names:
        return names.index(name)
    if name.isascii() and name.isdecimal() and len(name) < 10 and 1 <= int(name) <= columns:
        return int(name) - 1
    known = f"the columns are {listed(names, _MOST_NAMES, reprlib.repr)}" if names else "the file has no header"
    raise ValueError(
        f"line {first.first}: expected the name of a column, or a number from 1 to {columns}, got {reprlib.repr(name)}; {known}"
    )
