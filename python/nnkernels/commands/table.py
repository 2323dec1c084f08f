"""Tables to learn from: CSV with numbers, and a target column of numbers or class names.

All rows are in memory at once. What cannot be learnt from is a ValueError that names the file, the line and the column.
"""

import math
import reprlib
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkernels.commands.rows import (
    NOT_UTF_8,
    CsvTable,
    Field,
    Record,
    check_ambiguous,
    csv_lines,
    first_no_name,
    header_hint,
    is_number,
    parse_number,
)

Task = Literal["classes", "regression"]

# Numbers that are read at a time.
_BLOCK_NUMBERS = 2**18

# What stands for a missing class name. Other words, such as none and unknown, may be classes.
_MISSING = {"", "NA", "na", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "NaT", "NULL", "null"}


class Table(NamedTuple):
    """Rows to learn from.

    ``columns`` and ``target`` are names, () and None for a file without a header. ``texts`` are the different texts of the
    target column, ``codes`` the place of each row's text there. ``lines`` has the line where each row begins.
    """

    file: str
    inputs: NDArray[np.float64]
    texts: list[str]
    codes: NDArray[np.int64]
    lines: NDArray[np.int64]
    columns: tuple[str, ...]
    target: str | None
    target_column: int

    def input_label(self, column: int) -> str:
        """Return what messages and reports call an input."""
        if self.columns:
            return reprlib.repr(self.columns[column])
        return f"column {column + 1 + (column >= self.target_column)}"

    @property
    def target_label(self) -> str:
        """What messages and reports call the target."""
        return f"column {self.target_column + 1}" if self.target is None else reprlib.repr(self.target)

    def error(self, row: int, message: str) -> ValueError:
        """Return an error about the target of a row."""
        name = "" if self.target is None else f" ({self.target_label})"
        return ValueError(f"{self.file}, line {self.lines[row]}, column {self.target_column + 1}{name}: {message}")


def read_table(file: BinaryIO, name: str, delimiter: str, header: bool | None, target: str | None, task: Task | None) -> Table:
    """Read a CSV file whose columns are numbers, but for the target: its column's name, or number from 1 (None: the last).

    With the task "regression" the target must be a number, too. ``header`` is as in ``read_csv``.
    """
    with csv_lines(file, name) as lines:
        table = CsvTable(lines, 2, delimiter)
        table.missing = "fill in missing values, or leave such rows out"
        first = table.first()
        if first is None:
            raise ValueError("line 1: expected rows, got none")
        table.columns = len(first.fields)
        if table.columns < 2:
            raise ValueError(
                f"line {first.first}: expected inputs and a target, got one column (--delimiter names another character)"
            )
        has_header = _is_header(first, delimiter) if header is None else header
        if has_header:
            table.skip(first)
            table.names = _checked_names(first)
        column = _find_target(target, table.names, first)
        parse = _Target(task == "regression")
        table.fields = {column: Field(parse, parse.expected)}
        blocks = table.blocks(max(1, _BLOCK_NUMBERS // table.columns))
        inputs, codes, numbers = [], [], []
        try:
            for block in blocks:
                bad = np.argwhere(~np.isfinite(block.numbers))
                if len(bad):
                    row, bad_column = bad[0]
                    got = block.numbers[row, bad_column]
                    place = f"line {block.lines[row]}, {table.label(bad_column)}"
                    raise ValueError(f"{place}: expected a finite number, got {got} ({table.missing})")
                inputs.append(np.delete(block.numbers, column, axis=1))
                codes.append(block.numbers[:, column].astype(np.int64))
                numbers.append(np.array(block.lines, np.int64))
        except ValueError as error:
            if not numbers and header is None and not has_header and f"line {first.first}," in str(error):
                raise ValueError(f"{error}{header_hint(first)}") from None
            raise
        if not any(map(len, inputs)):
            raise ValueError(f"line {first.last + 1}: expected rows after the header, got none")
    texts = list(parse.codes)
    used, ranks = np.unique(np.concatenate(codes), return_inverse=True)  # a text in quotes may have been read as another one
    return Table(
        name,
        np.concatenate(inputs),
        [texts[code] for code in used],
        ranks.astype(np.int64),
        np.concatenate(numbers),
        tuple(name for place, name in enumerate(table.names) if place != column),
        table.names[column] if table.names else None,
        column,
    )


class _Target:
    """Reads the target column: the number of each different text, in the order in which they first come."""

    def __init__(self, numeric: bool) -> None:
        self.expected = "a number" if numeric else "a class name or a number"
        self.codes: dict[str, int] = {}
        self._numeric = numeric

    def __call__(self, field: str) -> float:
        text = field.strip()
        code = self.codes.get(text)
        if code is None:
            try:
                good = math.isfinite(parse_number(text))
            except ValueError:
                good = not self._numeric
            if not good or text in _MISSING or NOT_UTF_8.search(text):
                raise ValueError
            code = self.codes[text] = len(self.codes)
        return code


def _is_header(first: Record, delimiter: str) -> bool:
    """Return whether all fields are names, or all but the first, which names the rows' numbers in what pandas writes."""
    check_ambiguous(first, delimiter)
    texts = first.texts
    return first_no_name(texts if texts[0] else texts[1:]) is None


def _checked_names(header: Record) -> list[str]:
    names = header.names
    for column, name in enumerate(names, 1):
        got = None
        if not name:
            got = "no name; if the column numbers the rows, leave it out: to_csv(index=False)"
        elif NOT_UTF_8.search(name):
            got = f"{reprlib.repr(name)} (the file must be text in UTF-8)"
        elif name in names[: column - 1]:
            got = f"{reprlib.repr(name)} again"
        if got:
            raise ValueError(f"line {header.first}, column {column}: expected a name of its own, got {got}")
    return names


def _find_target(target: str | None, names: list[str], first: Record) -> int:
    """Return the place of the target column."""
    columns = len(first.fields)
    if target is None:
        return columns - 1
    if target in names:
        return names.index(target)
    if target.isascii() and target.isdecimal() and len(target) < 10 and 1 <= int(target) <= columns:
        return int(target) - 1
    known = f"the columns are {', '.join(map(reprlib.repr, names[:20]))}" if names else "there are no names in it"
    raise ValueError(
        f"line {first.first}: no column is {reprlib.repr(target)}: say its name, or a number from 1 to {columns}; {known}"
    )


def as_numbers(table: Table) -> NDArray[np.float64] | None:
    """Return the different targets as numbers, or None if one is text."""
    if not all(map(is_number, table.texts)):
        return None
    return np.array(list(map(parse_number, table.texts)))
