"""Rows from files: headers, rows, errors, pipes."""

import csv
import io
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nnkernels.commands.rows import file_format, open_input, open_output, read_csv, read_npy, write_csv, write_names, write_npy


class Reader:
    """Reads a file with given contents in the test's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "f.csv"

    def csv(self, content: str | bytes, inputs: int, block_rows: int = 1000, **options: Any) -> NDArray[Any]:
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        with open_input(str(self.path)) as file:
            blocks = [block for block, _ in read_csv(file, "f.csv", inputs, block_rows, **options)]
        return np.concatenate([np.empty((0, inputs)), *blocks])

    def error(self, content: str | bytes, inputs: int, **options: Any) -> str:
        """Return the error message for a file that cannot be read."""
        with pytest.raises(ValueError, match=r"^f\.csv, line \d+") as caught:
            self.csv(content, inputs, **options)
        return str(caught.value)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


# --- The first line ---

NAMES = [
    *("a", "x1", "y", "_id", "age", "width/m", "PM2.5", "Größe", "年龄", "σ²", "n_samples", "no2", "e5", "EUR"),
    *("NA_count", "Nancy", "inflation", "nullity", "trueness", "Age (years)", "price ($)", "cost in €", "euro 1"),
    *("rs1", "feature 2019", "# a", "V2", "feature_10", "pixel0", "Q3_2019", "Q3 2019", "PC1", "col1", "var1", "in2", "t0"),
    *("sepal length (cm)", "log(x1)", "NAME", "noise", "Unnamed: 0", "Feature 1", "Single", "t (s)"),
]

NO_NAMES = {
    "missing": [
        *("NA", "na", "N/A", "n/a", "#N/A", "<NA>", "n.a.", "NULL", "null", "None", "nil", "NaT", "missing", "unknown"),
        *("-", "--", "—", "?", "*", ".", "..", "", " ", '""', "#NULL!", "#VALUE!", "-nan(ind)", "1.#IND"),
        *("nan(ind)", "nan(0x7ff)", "snan", "qNaN", "NaNQ", "NA_integer_", "NA_real_", "NA_character_"),
    ],
    "boolean": [
        *("tRUE", "yes", "No", "on", "off", "WAHR", "falsch", "ja", "nein", "vrai", "Faux", "oui", "non"),
        *("verdadero", "falso", "Sí", "si"),
    ],
    "currency": [
        *("$1.50", "1.50$", "€5", "1.50 €", "US$5", "R$ 5", "EUR 5", "EUR5", "5 EUR", "USD 1.000.00", "CHF -5"),
        *("kr 5", "Rs. 5", "£1", "¥5", "EUR 5k", "USD 1e3", "EUR 5 Mio", "Rp 5.000", "TL 5", "Kč 5", "Ft 500", "R 5", "zł 5"),
        *("AED5", "Rs5", "RM5", "Kč5", "Ft500", "Rp5.000", "TL5", "kr5"),
    ],
    "number": [
        *("1_000", "0x1F", "0b11", "0o7", "1.234.5", "1 000", "12%", "1/2", "1'000", "1d5", "1e", "--5", "(5)"),
        *("~5", "<5", "5+", "1:30", "2019-01-01", "1st", "1e5f", "1+2j", "#1", "1\x002", "\uff11\uff12", "\u0664"),
        *("½", "五", "ca. 5", "max 5", "t-1", "No. 5", "Ⅷ", "\u22125", "∞", "5°"),
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_a_header(reader: Reader, name: str) -> None:
    """Among other names, in quotes, with spaces; also alone, unless they may be booleans."""
    for line in (f"{name},b,c", f"z,{name},c", f'"{name}","b","c"', f'z,\t{name} , "c"'):
        assert reader.csv(f"{line}\n1,2,3\n", 3).tolist() == [[1, 2, 3]]
    if name != "y":
        assert reader.csv(f"{name}\n1\n", 1).tolist() == [[1]]


@pytest.mark.parametrize("field", [field for fields in NO_NAMES.values() for field in fields])
def test_first_line_with_a_field_that_is_no_name_is_no_header(reader: Reader, field: str) -> None:
    shown = re.escape(repr(field.strip().strip('"')))
    for line, column, what, no_name, value in (
        (f"a,{field},c", 1, "'a'", 2, shown),
        (f"1,{field},3", 2, shown, 1, "'1'"),
        (f"{field},{field},{field}", 1, shown, 1, shown),
    ):
        message = reader.error(f"{line}\n1,2,3\n", 3)
        assert re.search(rf"line 1, column {column}: expected a number, got {what}", message), message
        assert re.search(rf"; not a header either, since column {no_name} is {value}: use --header if it is one$", message), (
            message
        )
        assert reader.csv(f"{line}\n1,2,3\n", 3, header=True).tolist() == [[1, 2, 3]]
        assert "--header" not in reader.error(f"{line}\n1,2,3\n", 3, header=False)
    assert "line 1, column 1: expected a number" in reader.error(f"{field}\n1\n", 1)


@pytest.mark.parametrize(
    "field", ["nan", "NaN", "-inf", "Infinity", "1e5", "-1E-5", "+1", ".5", "5.", " 7 ", '"8"', "1e999", "\xa09"]
)
def test_first_line_of_numbers_is_a_row(reader: Reader, field: str) -> None:
    """Fields that Python and NumPy read as numbers make a row; one among names is an error."""
    expected = np.array([[float(field.strip('"'))] * 3, [1, 2, 3]])
    for header in (None, False):
        np.testing.assert_array_equal(reader.csv(f"{field},{field},{field}\n1,2,3\n", 3, header=header), expected)
    assert reader.csv(f"{field},{field},{field}\n1,2,3\n", 3, header=True).tolist() == [[1, 2, 3]]
    assert "line 1, column 1: expected a number, got 'a'" in reader.error(f"a,{field},c\n1,2,3\n", 3)


@pytest.mark.parametrize("fields", [["t"], ["F"], ["y"], ["t", "f", "n"], ["Y", "N"]])
def test_single_letters_that_may_be_booleans(reader: Reader, fields: list[str]) -> None:
    rows = ",".join("1" * len(fields))
    assert "line 1, column 1" in reader.error(f"{','.join(fields)}\n{rows}\n", len(fields))
    assert len(reader.csv(f"{','.join(fields)},x\n{rows},1\n", len(fields) + 1)) == 1


@pytest.mark.parametrize(("line", "repeated"), [("da,net,net", 3), ("fehlt,fehlt,b", 2), ("a,b,a", 3)])
def test_names_that_are_not_all_different(reader: Reader, line: str, repeated: int) -> None:
    """Repeated names may be values."""
    message = reader.error(f"{line}\n1,2,3\n", 3)
    name = line.split(",")[repeated - 1]
    assert message.endswith(f"; not a header either, since column {repeated} is {name!r} again: use --header if it is one")
    assert reader.csv(f"{line}\n1,2,3\n", 3, header=True).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("inputs", [3, 4, 12])
@pytest.mark.parametrize("quote", ["", '"', " "])
def test_numbers_from_zero_may_be_a_header_or_a_row(reader: Reader, inputs: int, quote: str) -> None:
    line = ",".join(f"{quote}{column}{quote}" for column in range(inputs))
    row = list(range(1, inputs + 1))
    content = f"\n{line}\n{','.join(map(str, row))}\n"
    message = reader.error(content, inputs)
    assert message.startswith("f.csv, line 2: '0,1,2")
    assert message.endswith("may be a header or a row: use --header or --no-header")
    assert reader.csv(content, inputs, header=True).tolist() == [row]
    assert reader.csv(content, inputs, header=False).tolist() == [list(range(inputs)), row]


@pytest.mark.parametrize("line", ["0,1", "0", "0,1,2.0", "1,2,3", "0,1,3", "0,2,1", "00,1,2"])
def test_other_numbers_are_a_row(reader: Reader, line: str) -> None:
    expected = [[float(field) for field in line.split(",")]]
    assert reader.csv(f"{line}\n", len(expected[0])).tolist() == expected


@pytest.mark.parametrize("line", ["age,2019,2020", "Index,0,1", "a,b,c", "1,2,3", "0,1,2", "title", "", '"a\nb",c,d'])
def test_header_by_the_option(reader: Reader, line: str) -> None:
    """Any first line is skipped, also with line breaks in quotes or another width than the rows."""
    assert reader.csv(f"{line}\n4,5,6\n" if line else "4,5,6\n4,5,6\n", 3, header=True).tolist() == [[4, 5, 6]]


# By name: first lines above a row of three numbers, where --header cannot help.
NO_HEADERS = {
    "index": ",a,b,c",
    "label column": "a,b,c,label",
    "semicolons": "a;b;c",
    "numbers between semicolons": "1;2;3",
    "tabs": "a\tb\tc",
    "too few": "a,b",
    "a number": "5",
}


@pytest.mark.parametrize("case", NO_HEADERS)
def test_no_header_is_advised_where_it_cannot_help(reader: Reader, case: str) -> None:
    message = reader.error(f"{NO_HEADERS[case]}\n1,2,3\n", 3)
    assert message.startswith("f.csv, line 1: expected 3 numbers separated by ',', got ")
    assert "--header" not in message


@pytest.mark.parametrize("line", ["title", "Heights and weights", "# 2019", "a b c"])
def test_title(reader: Reader, line: str) -> None:
    expected = "line 1: expected 3 numbers separated by ',', got 1 (--delimiter names another character)"
    hint = "; if it is a title, use --header" if line != "# 2019" else ""
    assert reader.error(f"{line}\n1,2,3\n", 3) == f"f.csv, {expected}{hint}"


def test_no_header_by_the_option(reader: Reader) -> None:
    assert "line 1, column 1: expected a number, got 'a'" in reader.error("a,b,c\n1,2,3\n", 3, header=False)


# --- Names of columns ---

COLUMNS = ("a", "b c", "2019")


@pytest.mark.parametrize("block_rows", [1, 1000])
@pytest.mark.parametrize("rows", ["1,2,3\n4,5,6\n", '1,"2",3\n\n4,5,6\n'])
def test_columns_in_any_order(reader: Reader, rows: str, block_rows: int) -> None:
    for header, order in (("a,b c,2019", (0, 1, 2)), ('2019, "a",b c ', (1, 2, 0)), ("# b c,2019,a", (2, 0, 1))):
        for said in (None, True):
            read = reader.csv(f"{header}\n{rows}", 3, block_rows, header=said, columns=COLUMNS, ignored=("y",))
            assert read.tolist() == [[1 + place for place in order], [4 + place for place in order]]
    for said in (None, False):
        assert reader.csv(rows, 3, block_rows, header=said, columns=COLUMNS).tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("field", ["", "x", "nan", '"1,2"', '"\n"', '" ""y"" "', "\udcff"])
def test_a_column_is_ignored_whatever_is_in_it(reader: Reader, field: str) -> None:
    content = f"b c,y,2019,a\n2,{field},3,1\n5,0,6,4\n".encode(errors="surrogateescape")
    assert reader.csv(content, 3, columns=COLUMNS, ignored=("y",)).tolist() == [[1, 2, 3], [4, 5, 6]]


# By name: contents for COLUMNS, and the expected message.
OTHER_COLUMNS = {
    "missing": ("a,b c\n1,2\n", "line 1: the header lacks columns that the network was trained on: '2019'"),
    "missing, with the ignored one": ("a,y,2019\n1,2,3\n", "the header lacks columns that the network was trained on: 'b c'"),
    "unknown": (
        "a,b c,2019,z\n1,2,3,4\n",
        "line 1: the header has columns that the network was not trained on; remove them from the file: 'z'",
    ),
    "twice": ("a,b c,2019,a\n1,2,3,4\n", "line 1: the header repeats columns: 'a'"),
    "another letter case": ("A,b c,2019\n1,2,3\n", "line 1: the header lacks columns that the network was trained on: 'a'"),
    "fault": ("b c,2019,a\n1,2,3\n1,x,3\n", "line 3, column 2 ('2019'): expected a number, got 'x'"),
    "other width": ("b c,2019,a\n1,2\n", "line 2: expected 3 numbers separated by ',', got 2"),
    "other width, with the ignored one": ("b c,2019,a,y\n1,2,3\n", "line 2: expected 4 fields separated by ',', got 3"),
    "numbers": ("1,2,3,4\n", "line 1: expected 3 numbers separated by ',', got 4"),
}


@pytest.mark.parametrize("case", OTHER_COLUMNS)
def test_other_columns(reader: Reader, case: str) -> None:
    content, expected = OTHER_COLUMNS[case]
    assert expected in reader.error(content, 3, columns=COLUMNS, ignored=("y",))


def test_columns_of_one_input(reader: Reader) -> None:
    for content in ("a\n1\n2\n", "y,a\nx,1\n,2\n"):
        assert reader.csv(content, 1, columns=("a",), ignored=("y",)).tolist() == [[1], [2]]
    assert "line 3, column 1 ('a'): expected a number, got ''" in reader.error("a\n1\n\n", 1, columns=("a",))


def test_truth_values(reader: Reader) -> None:
    """Truth values are rows, not a header, unless they are names of the network."""
    expected = [[1, 0], [0, 1], [1, 0.5]]
    for field in ("True", "TRUE", "true", "False", "FALSE", "false"):
        number = float(field.lower() == "true")
        assert reader.csv(f"2,{field}\n{field},3\n", 2).tolist() == [[2, number], [number, 3]]
        message = reader.error(f"a,{field}\n1,2\n", 2)
        assert message.endswith(f"not a header either, since column 2 is '{field}': use --header if it is one")
    assert reader.csv('True,False\nFALSE, TRUE\n"true",0.5\n', 2).tolist() == expected
    assert reader.csv("True,False\n1,2\n", 2, header=True).tolist() == [[1, 2]]
    assert "may be a header or a row" in reader.error("True,False\n1,2\n", 2, columns=("False", "True"))
    for field in ("tRue", "t", "Yes", "True_"):
        assert f"expected a number, got '{field}'" in reader.error(f"1,2\n1,{field}\n", 2)


# --- Missing values, and files that are not CSV ---

NA_HINT = ' (write a missing value as nan: to_csv(na_rep="nan"))'


@pytest.mark.parametrize("field", [*NO_NAMES["missing"], "nope", "∞", "$", "Yes"])
def test_missing_values_are_to_be_written_as_nan(reader: Reader, field: str) -> None:
    """Also in the first line. Other strange fields are not called missing."""
    is_missing = field in NO_NAMES["missing"] and field not in ("#VALUE!", "1.#IND")
    for content, header in ((f"1,2\n3,{field}\n", None), (f"1,{field}\n", False), (f"1,{field}\n", None)):
        message = reader.error(content, 2, header=header)
        assert (NA_HINT in message) == is_missing, message
    assert NA_HINT in reader.error("1\n\n2\n", 1)


@pytest.mark.parametrize("header", [None, True, False])
def test_npy_read_as_csv(reader: Reader, header: bool | None) -> None:
    content = io.BytesIO()
    np.save(content, np.ones((2, 3)))
    reader.path.write_bytes(content.getvalue())
    for name, todo in (("standard input", "use --format npy"), ("f.csv", "rename it so that it ends in .npy")):
        with (
            open_input(str(reader.path)) as file,
            pytest.raises(ValueError, match=rf"^{name}: expected CSV, got .npy: {todo}$"),
        ):
            list(read_csv(file, name, 3, 10, header=header))


# --- Lines and columns ---

# By name: contents, number of inputs, and the expected message.
FAULTS: dict[str, tuple[str | bytes, int, str]] = {
    "header in the middle": ("a,b\n1,2\na,b\n3,4\n", 2, "line 3, column 1: expected a number, got 'a'"),
    "byte order mark in the middle": ("1,2\n\ufeff3,4\n", 2, "line 2, column 1: expected a number, got '\\ufeff3'"),
    "header of another width": ("a,b\n1,2,3\n", 3, "line 1: expected 3 numbers separated by ',', got 2"),
    "delimiter at the end": ("1,2\n3,4,\n", 2, "line 2: expected 2 numbers separated by ',', got 3"),
    "delimiter at the end, one column": ("1\n2,\n", 1, "line 2: expected 1 number separated by ',', got 2"),
    "line too short": ("1,2,3\n4,5\n6,7,8\n", 3, "line 2: expected 3 numbers separated by ',', got 2"),
    "lines that make up for each other": ("1,2\n3\n4,5,6\n", 2, "line 2: expected 2 numbers"),
    "another delimiter": ("1;2;3\n", 3, "got 1 (--delimiter names another character)"),
    "only delimiters": ("1,2,3\n,,\n", 3, "line 2, column 1: expected a number, got ''"),
    "blank line, one column": ("1\n\n2\n", 1, "line 2, column 1: expected a number, got ''"),
    "blank line at the end, one column": ("x\n1\n2\n\n", 1, "line 4, column 1: expected a number, got ''"),
    "spaces, one column": ("1\n  \n2\n", 1, "line 2, column 1: expected a number, got ''"),
    "empty quotes, one column": ('1\n""\n2\n', 1, "line 2, column 1: expected a number, got ''"),
    "comment": ("1,2\n# note\n3,4\n", 2, "line 2: expected 2 numbers separated by ',', got 1"),
    "comment after numbers": ("1,2\n3,4 # note\n", 2, "line 2, column 2: expected a number, got '4 # note'"),
    "quote without an end": ('1,2\n"3,4\n5,6\n', 2, "line 2: unexpected end of data"),
    "quote without an end, long": ('1,2\n"3,4\n' + "5,6\n" * 100_000, 2, "line 2: field larger than field limit"),
    "text after a quote": ('1,2\n"3"4,5\n', 2, "line 2: ',' expected after '\"'"),
    "quote in a number": ('1,2\n3"4,5\n', 2, "line 2, column 1: expected a number, got '3\"4'"),
    "doubled quote": ('1,2\n"3""4",5\n', 2, "line 2, column 1: expected a number, got '3\"4'"),
    "thousands in quotes": ('1,2\n"1,000",2\n', 2, "line 2, column 1: expected a number, got '1,000'"),
    "after a quoted line break": ('"1\n",2\n3,x\n', 2, "line 3, column 2: expected a number, got 'x'"),
    "in quoted line breaks": ('1,2\n"3\n","\nx"\n', 2, "line 2, column 2: expected a number, got 'x'"),
    "after blank lines": ("1,2\n\n \n3,x\n", 2, "line 4, column 2: expected a number, got 'x'"),
    "after CR": ("1,2\r3,x\r", 2, "line 2, column 2: expected a number, got 'x'"),
    "NUL": ("1,2\n3,4\x00\n", 2, "line 2, column 2: expected a number, got '4\\x00' (the file must be text in UTF-8)"),
    "Latin-1": (b"1,2\n3,4\xb0\n", 2, "line 2, column 2: expected a number, got '4\\udcb0' (the file must be text in UTF-8)"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), 2, "line 1, column 1: expected a number"),
    "UTF-16 without a mark": ("1,2\n1,2\n".encode("utf-16-le"), 2, "line 1, column 1: expected a number, got '1\\x00'"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00", 1, "line 1, column 1: expected a number"),
    "underscore": ('1,2\n"3_0",4\n', 2, "line 2, column 1: expected a number, got '3_0'"),
    "other digits": ('1,2\n"\u0663",4\n', 2, "line 2, column 1: expected a number, got '\u0663'"),
}


@pytest.mark.parametrize("block_rows", [1, 2, 1000])
@pytest.mark.parametrize("case", FAULTS)
def test_faults_name_line_and_column(reader: Reader, case: str, block_rows: int) -> None:
    content, inputs, expected = FAULTS[case]
    assert expected in reader.error(content, inputs, block_rows=block_rows)


# By name: contents with the rows 1,2,3 and 4,5,6.
READABLE: dict[str, str | bytes] = {
    "plain": "1,2,3\n4,5,6\n",
    "no end of line": "1,2,3\n4,5,6",
    "CRLF": "1,2,3\r\n4,5,6\r\n",
    "CR": "1,2,3\r4,5,6\r",
    "CR CR LF": "1,2,3\r\r\n4,5,6\r\r\n",
    "byte order mark": "\ufeff1,2,3\n4,5,6\n",
    "byte order mark and quote": '\ufeff"1",2,3\n4,5,6\n',
    "spaces": " 1 ,\t2, 3 \n4 , 5,6\n",
    "blank lines": "\n \n1,2,3\n\n\t\n4,5,6\n\n\x0c\n",
    "quotes": '"1","2","3"\n"4","5","6"\n',
    "some quotes": '1,2,3\n4,"5",6\n',
    "quotes after spaces": '1, "2", "3"\n4,5,6\n',
    "spaces in quotes": '" 1","2 "," 3 "\n4,5,6\n',
    "line breaks in quotes": '"1\n","\r\n2",3\n4,"\n\n5",6\n',
    "header in quotes": '"a","b ""c""","d, e"\n1,2,3\n4,5,6\n',
    "header with line breaks": '"a\nb","c\n\nd",e\n1,2,3\n4,5,6\n',
    "header in Latin-1": "Größe,b,c\n1,2,3\n4,5,6\n".encode("latin-1"),
    "header of np.savetxt": "# a,b,c\n1,2,3\n4,5,6\n",
}


@pytest.mark.parametrize("block_rows", [1, 2, 1000])
@pytest.mark.parametrize("case", READABLE)
def test_readable(reader: Reader, case: str, block_rows: int) -> None:
    assert reader.csv(READABLE[case], 3, block_rows).tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("delimiter", list(",;\t |:/~§"))
def test_delimiters(reader: Reader, delimiter: str) -> None:
    for content in ("1,2\n3,4\n", '"1","2"\n"3","4"\n', "a,b\n1,2\n3,4\n"):
        rows = content.replace(",", delimiter)
        assert reader.csv(rows, 2, delimiter=delimiter).tolist() == [[1, 2], [3, 4]]
    # A line of delimiters, even white space, is a row of missing values, not a blank line.
    message = reader.error(f"1{delimiter}2\n{delimiter}\n3{delimiter}4\n", 2, delimiter=delimiter)
    assert "line 2, column 1: expected a number, got ''" in message


@pytest.mark.parametrize("content", ["", "\n", "\n \n\t\n", "\ufeff", "a,b\n", '"a","b"'])
def test_no_rows(reader: Reader, content: str) -> None:
    assert reader.csv(content, 2).shape == (0, 2)
    assert reader.csv(content, 2, header=True).shape == (0, 2)


def test_no_columns(reader: Reader) -> None:
    """For a network without inputs, each row is a blank line."""
    assert reader.csv("\n\n\n", 0).shape == (3, 0)
    assert "expected 0 numbers" in reader.error("\n1\n", 0)


PIECES = ["1", "-2.5", "x", "1_0", "\u0663", " ", "\xa0", ",", ",", ";", "\n", "\n", "\r", '"', '""', "#", "\x00", "\ufeff"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.integers(1, 3), st.integers(1, 4))
def test_rows_are_those_of_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, text: str, inputs: int, block_rows: int
) -> None:
    """Any text, in blocks of any size, gives the rows of Python's csv and float, or an error."""
    reader = Reader(tmp_path_factory.getbasetemp())
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None)
    expected = None
    with suppress(ValueError, csv.Error):
        records = [record or [""] for record in csv.reader(lines, strict=True, skipinitialspace=True)]
        rows = [record for record in records if inputs == 1 or len(record) > 1 or record[0].strip()]
        if all(len(row) == inputs and not {"_", "\u0663"} & set("".join(row)) for row in rows):
            expected = [[float(field) for field in row] for row in rows]
    if expected is None:
        reader.error(text, inputs, block_rows=block_rows, header=False)
    else:
        assert reader.csv(text, inputs, block_rows, header=False).tolist() == expected


# --- .npy ---


def saved(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def through_file(folder: Path, content: bytes, inputs: int) -> NDArray[Any]:
    path = folder / "f.npy"
    path.write_bytes(content)
    with open_input(str(path)) as file:
        return np.concatenate([np.empty((0, inputs)), *(np.array(block) for block, _ in read_npy(file, "f.npy", inputs, 7))])


def through_pipe(folder: Path, content: bytes, inputs: int) -> NDArray[Any]:
    """Read contents through a FIFO, some bytes at a time."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes with names")
    path = folder / "pipe.npy"
    os.mkfifo(path)

    def feed() -> None:
        with suppress(BrokenPipeError), path.open("wb", buffering=0) as pipe:
            for start in range(0, len(content), 100):
                pipe.write(content[start : start + 100])

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        with open_input(str(path)) as file:
            return np.concatenate([np.empty((0, inputs)), *(block for block, _ in read_npy(file, "f.npy", inputs, 7))])
    finally:
        thread.join()
        path.unlink()


THROUGH = pytest.mark.parametrize("through", [through_file, through_pipe])


@THROUGH
@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i8", "f2", "f4", "f8", ">f4", ">i4"])
def test_npy(tmp_path: Path, through: Callable[..., NDArray[Any]], dtype: str) -> None:
    x = np.arange(100).reshape(25, 4).astype(dtype)
    assert np.array_equal(through(tmp_path, saved(x), 4), x)
    assert np.array_equal(through(tmp_path, saved(x[0]), 4), x[:1])
    assert through(tmp_path, saved(x[:0]), 4).shape == (0, 4)


@THROUGH
def test_npy_that_is_not_whole(tmp_path: Path, through: Callable[..., NDArray[Any]]) -> None:
    """Missing rows are an error, and so are rows of a second array, which np.load ignores."""
    x = np.arange(80.0).reshape(20, 4)
    for content in (saved(x)[:-1], saved(x)[:-200], saved(x) + saved(x), saved(x) + b"\n", saved(x)[:9], b""):
        with pytest.raises(ValueError, match=r"^f\.npy is not a whole \.npy file of numbers: "):
            through(tmp_path, content, 4)


@THROUGH
def test_npy_of_a_negative_length(tmp_path: Path, through: Callable[..., NDArray[Any]]) -> None:
    with pytest.raises(ValueError, match=r"not a whole \.npy file of numbers: expected lengths from 0"):
        through(tmp_path, saved(np.zeros((0, 4))).replace(b"(0, 4)", b"(-5,4)"), 4)


def test_npy_in_fortran_order(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(100.0).reshape(25, 4))
    assert np.array_equal(through_file(tmp_path, saved(x), 4), x)
    with pytest.raises(
        ValueError, match=r"^f\.npy: an array in Fortran order cannot be read .* np\.ascontiguousarray\(array\)"
    ):
        through_pipe(tmp_path, saved(x), 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_written_rows_read_back(tmp_path: Path, dtype: Any, rng: np.random.Generator) -> None:
    blocks = [rng.standard_normal((n, 3)).astype(dtype) for n in (4, 1, 5)]
    for written in (blocks, []):
        expected = np.concatenate([np.empty((0, 3), dtype), *written])
        with open_output(str(tmp_path / "y.npy"), "npy") as file:
            write_npy(file, written, (3,), dtype)
        array = np.load(tmp_path / "y.npy")
        assert array.dtype == dtype
        assert np.array_equal(array, expected)
        with open_output(str(tmp_path / "y.csv"), "csv") as file:
            write_csv(file, written, ";")
        assert np.array_equal(Reader(tmp_path).csv((tmp_path / "y.csv").read_bytes(), 3, delimiter=";").astype(dtype), expected)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_written_names_read_back(tmp_path: Path, delimiter: str) -> None:
    names = ["a", "b,c", "d;e", "f\tg", 'h"i', "j\nk", "Größe", "-"]
    with open_output(str(tmp_path / "y.csv"), "csv") as file:
        write_names(file, [[names], np.array(names), []], delimiter)
    with (tmp_path / "y.csv").open(encoding="utf-8", newline="") as text:
        assert list(csv.reader(text, delimiter=delimiter, strict=True)) == [names, *([name] for name in names)]
    with open_output(str(tmp_path / "y.npy"), "npy") as file:
        write_npy(file, [np.array(names)[:3], np.array(names)[3:]], (), np.array(names).dtype)
    assert np.load(tmp_path / "y.npy").tolist() == names


# --- Names ---


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_formats(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.npy")
    assert [file_format(name) for name in ("x.csv", "X.NPY", "./-.csv")] == ["csv", "npy", "csv"]
    assert [file_format(name, "npy") for name in ("x.csv", "x.txt", "-")] == ["csv", "npy", "npy"]
    streams = ["-", "/dev/stdin", "/dev/fd/63", "/dev/null", str(tmp_path / "pipe")]
    assert [file_format(name) for name in streams] == ["csv"] * 5
    assert file_format(str(tmp_path / "pipe.npy")) == "npy"
    for name in ("x.txt", "./-", "x", str(tmp_path)):
        with pytest.raises(ValueError, match=r"expected a name that ends in \.csv or \.npy, or --format"):
            file_format(name)


def test_standard_input_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_bytes(b"1,2\n3,4\n")
    with (tmp_path / "x.csv").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        with open_input("-") as file:
            assert len(list(read_csv(file, "standard input", 2, 10))) == 1
        assert os.fstat(stream.fileno()).st_size == 8
