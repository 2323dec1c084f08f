"""``python -m nnkernels train``, predict and show: from CSV to class names."""

import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_digits, load_iris

import nnkernels as nnk
from conftest import TARGETS
from nnkernels import _core
from nnkernels.__main__ import main
from nnkernels.commands import table as table_module
from nnkernels.commands import train as train_module
from nnkernels.commands.report import weights_sha256
from nnkernels.commands.tasks import Standard

COMMAND = [sys.executable, "-W", "error", "-m", "nnkernels"]
IRIS = load_iris()
SPECIES = IRIS.target_names[IRIS.target]


def table(inputs: NDArray[Any], targets: Any, header: str = "") -> str:
    """Return CSV with the target in the last column."""
    rows = zip(inputs.tolist(), targets.tolist(), strict=True)
    lines = (",".join(map(str, [*row, target])) for row, target in rows)
    return header + "".join(f"{line}\n" for line in lines)


# SHA-256 of the weights trained on these data with default options, on every machine.
SHA256 = {
    "iris.csv": "25a5a13bb47fcc22b2bae1c64c5926f2fb1b9c550339ec54d5bd0682c4dc1ccc",
    "diabetes.csv": "bda0523f596a2b49686de02429cc6b263c64d6a8355b31c50a64624b8a4a3ec1",
}

IRIS_HEADER = "sepal length,sepal width,petal length,petal width,species\n"
IRIS_CSV = table(IRIS.data, SPECIES, IRIS_HEADER)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the current folder, with iris.csv. Check that no hidden files remain."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris.csv").write_text(IRIS_CSV)
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def held_back(labels: NDArray[Any], seed: int = 0, fraction: float = 0.2) -> NDArray[np.bool_]:
    """Return the held-back rows: of each class, the first in a random order."""
    order = _core.permutation(seed, 2**64 - 1, len(labels))
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        chosen[rows[: min(max(1, round(fraction * len(rows))), len(rows) - 1)]] = True
    return chosen


def hash_in(text: str) -> str:
    found = re.search(r"^SHA-256 of the weights: ([0-9a-f]{64})$", text, re.MULTILINE)
    assert found
    return found[1]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, **options)


def train_file(content: str, *options: str) -> nnk.Network:
    """Train on a file in the current folder."""
    Path("rows.csv").write_text(content)
    assert main(["train", "rows.csv", "-o", "net.safetensors", *options]) == 0
    return nnk.load("net.safetensors")


def scale_of(net: nnk.Network) -> nnk.Scale:
    """Return the first layer."""
    scale = net.layers[0]
    assert isinstance(scale, nnk.Scale)
    return scale


# --- End to end ---


def test_iris(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iris.csv", "-o", "net.safetensors"]) == 0
    report, err = capfd.readouterr()
    assert err == ""
    held = held_back(IRIS.target)
    assert main(["predict", "net.safetensors", "iris.csv"]) == 0
    predicted = np.array(capfd.readouterr().out.splitlines())
    right = np.count_nonzero(predicted[held] == SPECIES[held])
    assert right / 30 >= 0.93
    assert report.startswith(
        "iris.csv: 150 rows of 4 inputs; 120 to learn from, 30 held back\n"
        "target 'species': classes (text)\n"
        "  setosa      50 rows\n"
        "  versicolor  50 rows\n"
        "  virginica   50 rows\n"
        "network 4-64-64-3: "
    )
    assert f"\n{right} of 30 held-back rows right, {right / 30:.1%}; always setosa: 33.3%\n" in report
    confusions = re.findall(r"^  (\w+) taken for (\w+): (\d+) of 10$", report, re.MULTILINE)
    for species, answer, count in confusions:
        assert np.count_nonzero((species == SPECIES) & (predicted == answer) & held) == int(count)
    assert sum(int(count) for *_, count in confusions) == 30 - right
    assert "\nwritten: net.safetensors\n" in report
    assert hash_in(report) == weights_sha256(nnk.load("net.safetensors"))


def test_the_network_that_is_written(folder: Path) -> None:
    """It is ``train``'s best network on scaled inputs, with a Scale for the inputs, and names."""
    net = train_file(IRIS_CSV)
    held = held_back(IRIS.target)
    scale = scale_of(net)
    np.testing.assert_allclose(scale.offset, IRIS.data[~held].mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(scale.scale, 1 / IRIS.data[~held].std(axis=0), rtol=1e-14)
    x = ((IRIS.data - scale.offset) * scale.scale).astype(np.float32)
    start = nnk.Network.random([4, 64, 64, 3], "relu", "softmax", seed=0)
    validation = x[held], IRIS.target[held]
    trained = nnk.train(start, x[~held], IRIS.target[~held], epochs=500, validation=validation, patience=20).network
    expected = nnk.Network([scale, *trained.layers], np.float32)
    assert weights_sha256(net) == weights_sha256(expected)
    np.testing.assert_array_equal(net(IRIS.data), trained(x))
    assert dict(net.metadata) == {
        "classes": '["setosa", "versicolor", "virginica"]',
        "columns": '["sepal length", "sepal width", "petal length", "petal width"]',
        "target": "species",
    }


def test_the_same_network_everywhere(folder: Path) -> None:
    """Repeated, on each target, on one or two threads: the same report and the same bytes."""
    (folder / "diabetes.csv").write_text(table(*load_diabetes(return_X_y=True, scaled=False)))
    for name, expected in SHA256.items():
        written = set()
        for target, threads in [(TARGETS[-1], "1"), *((target, "2") for target in TARGETS)]:
            environment = os.environ | {"NNKERNELS_TARGET": target, "NNKERNELS_NUM_THREADS": threads}
            done = run("train", name, "-o", "net.safetensors", env=environment)
            assert (done.returncode, done.stderr) == (0, "")
            assert hash_in(done.stdout) == weights_sha256(nnk.load("net.safetensors")) == expected
            written.add((done.stdout, (folder / "net.safetensors").read_bytes()))
        assert len(written) == 1


def test_diabetes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    net = train_file(table(x, y, "age,sex,bmi,bp,s1,s2,s3,s4,s5,s6,progression\n"))
    report = capfd.readouterr().out
    held = np.zeros(442, bool)
    held[_core.permutation(0, 2**64 - 1, 442)[:88]] = True
    assert main(["predict", "net.safetensors", "rows.csv", "-o", "y.npy"]) == 0
    predicted = np.load("y.npy")
    assert predicted.shape == (442, 1)
    error = y[held] - predicted[held, 0]
    quality = 1 - (error**2).mean() / y[held].var()
    assert quality > 0.4
    trivial = math.sqrt(((y[held] - y[~held].mean()) ** 2).mean())
    assert "\ntarget 'progression': regression (214 different integers; if they are classes, use --task classes)\n" in report
    assert "\n  from 25 to 346\n" in report
    assert (
        f"\nheld-back rows: R^2 {quality:.3f}, typical error {math.sqrt((error**2).mean()):.4g}; "
        f"always the mean ({y[~held].mean():.4g}): {trivial:.4g}\n" in report
    )
    last = net.layers[-1]
    assert isinstance(last, nnk.Scale)
    np.testing.assert_allclose(last.scale, y[~held].std(), rtol=1e-14)
    np.testing.assert_allclose(last.offset, -y[~held].mean() / y[~held].std(), rtol=1e-14)
    assert "classes" not in net.metadata
    assert net.metadata["target"] == "progression"


def test_digits(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Columns that are constant in the training rows are named, and not scaled."""
    x, y = load_digits(return_X_y=True)
    net = train_file(table(x, y), "--hidden", "32", "--epochs", "30", "--seed", "3")
    report = capfd.readouterr().out
    held = held_back(y, 3)
    constant = np.flatnonzero(np.ptp(x[~held], axis=0) == 0)
    names = ", ".join(f"column {column + 1}" for column in constant)
    assert f"\nconstant columns, not scaled: {names}\n" in report
    assert (scale_of(net).scale[constant] == 1).all()
    assert re.search(r"\nnetwork 64-32-10: \d+ epochs", report)
    right = np.count_nonzero(net(x[held]).argmax(axis=-1) == y[held])
    assert right / np.count_nonzero(held) > 0.93
    assert f"\n{right} of {np.count_nonzero(held)} held-back rows right, " in report
    assert "columns" not in net.metadata


# --- Options ---


def test_options(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = [
        "--hidden",
        "5,6",
        "--epochs",
        "3",
        "--batch",
        "7",
        "--seed",
        "12",
        "--validation",
        "0.4",
        "--optimizer",
        "adamw",
    ]
    net = train_file(IRIS_CSV, *options)
    held = held_back(IRIS.target, 12, 0.4)
    x = ((IRIS.data - scale_of(net).offset) * scale_of(net).scale).astype(np.float32)
    start = nnk.Network.random([4, 5, 6, 3], "relu", "softmax", seed=12)
    given: dict[str, Any] = {"optimizer": "adamw", "epochs": 3, "batch_size": 7, "seed": 12}
    trained = nnk.train(start, x[~held], IRIS.target[~held], **given, validation=(x[held], IRIS.target[held]), patience=20)
    np.testing.assert_array_equal(net(IRIS.data), trained.network(x))
    report = capfd.readouterr().out
    assert "90 to learn from, 60 held back\n" in report
    assert (
        "\nnetwork 4-5-6-3: 3 epochs\nthe best, of epoch 3, is kept: "
        f"loss {trained.losses[-1]:.4g}, on the held-back rows {trained.validation_losses[-1]:.4g}\n" in report
    )


@pytest.mark.parametrize("target", ["kind", "1", None])
def test_target(folder: Path, target: str | None) -> None:
    """The target by name, by number from 1, or the last column by default."""
    order = [*range(4), 4] if target is None else [4, *range(4)]
    lines = ["a,b,c,d,kind", *IRIS_CSV.splitlines()[1:]]
    content = "".join(",".join(np.array(line.split(","))[order]) + "\n" for line in lines)
    net = train_file(content, "--epochs", "2", *([] if target is None else ["--target", target]))
    (folder / "plain.csv").write_text(IRIS_CSV)
    assert main(["train", "plain.csv", "-o", "plain.safetensors", "--epochs", "2"]) == 0
    np.testing.assert_array_equal(net(IRIS.data), nnk.load("plain.safetensors")(IRIS.data))
    assert json.loads(net.metadata["columns"]) == ["a", "b", "c", "d"]
    assert net.metadata["target"] == "kind"


def test_a_column_named_as_a_number(folder: Path) -> None:
    content = table(IRIS.data[:, :2], IRIS.target, "2,3,1\n")
    net = train_file(content, "--header", "--target", "1", "--epochs", "1")
    assert json.loads(net.metadata["columns"]) == ["2", "3"]


@pytest.mark.parametrize(
    ("targets", "task", "classes"),
    [
        (["b", "a", "c", "B"], "classes (text)", ["B", "a", "b", "c"]),
        (["no", "yes", "none", "unknown"], "classes (text)", ["no", "none", "unknown", "yes"]),
        (["10", "9", "-1", "2.0"], "classes (4 different integers; if they are quantities, use --task regression)",
         ["-1", "2.0", "9", "10"]),
        (["01", "1", "1.0", "2"], "classes (2 different integers; if they are quantities, use --task regression)", ["1", "2"]),
        (["01", "02", "10", "007"], "classes (4 different integers; if they are quantities, use --task regression)",
         ["01", "02", "007", "10"]),
        (["1", "2", "x", "3"], "classes (text)", ["1", "2", "3", "x"]),
        (["1", "2", "2.5", "3"], "regression (not all are integers)", None),
        ([str(number) for number in range(40)],
         "regression (40 different integers; if they are classes, use --task classes)", None),
    ],
)  # fmt: skip
def test_decisions(
    folder: Path, capfd: pytest.CaptureFixture[str], targets: list[str], task: str, classes: list[str] | None
) -> None:
    rows = np.random.default_rng(0).normal(size=(80, 2))
    repeated = np.array([targets[row % len(targets)] for row in range(80)])
    net = train_file(table(rows, repeated), "--epochs", "1")
    assert f"\ntarget column 3: {task}\n" in capfd.readouterr().out
    if classes is None:
        assert "classes" not in net.metadata
    else:
        assert json.loads(net.metadata["classes"]) == classes


def test_task(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = table(IRIS.data, IRIS.target)
    net = train_file(content, "--task", "regression", "--epochs", "2")
    assert net.outputs == 1
    assert "\ntarget column 5: regression\n" in capfd.readouterr().out
    content = table(IRIS.data, IRIS.target + 0.5)
    net = train_file(content, "--task", "classes", "--epochs", "2")
    assert json.loads(net.metadata["classes"]) == ["0.5", "1.5", "2.5"]


CSV_VARIANTS: dict[str, tuple[Callable[[str], str], list[str]]] = {
    "CRLF": (lambda text: text.replace("\n", "\r\n"), []),
    "blank lines": (lambda text: "\n" + text.replace("\n", "\n \n"), []),
    "quotes": (lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text), []),
    "quoted names": (lambda text: re.sub(r"[a-z]+$", r'"\g<0>"', text, flags=re.MULTILINE), []),
    "some quoted names": (lambda text: text.replace("versicolor", '"versicolor"'), []),
    "spaces": (lambda text: text.replace(",", " ,\t").replace("\n", " \n"), []),
    "byte order mark": (lambda text: "\ufeff" + text, []),
    "semicolons": (lambda text: text.replace(",", ";"), ["--delimiter", "semicolon"]),
    "np.savetxt": (lambda text: "# " + text, []),
    "no header": (lambda text: text.partition("\n")[2], []),
    "a header said": (lambda text: text.replace("sepal length", "2019"), ["--header"]),
    "columns before": (lambda text: re.sub("^(.*),(.*)$", r"\2,\1", text, flags=re.MULTILINE), ["--target", "1"]),
}


@pytest.mark.parametrize("variant", CSV_VARIANTS)
def test_csv_variants(folder: Path, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "BLOCK_NUMBERS", 5 * 40)
    expected = train_file(IRIS_CSV, "--epochs", "2")
    change, options = CSV_VARIANTS[variant]
    Path("rows.csv").write_bytes(change(IRIS_CSV).encode())
    assert main(["train", "rows.csv", "-o", "net.safetensors", "--epochs", "2", *options]) == 0
    assert weights_sha256(nnk.load("net.safetensors")) == weights_sha256(expected)


def test_quotes_in_class_names(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Names keep their delimiters, quotes and line breaks."""
    names = ['a,"b"', "c\nd", "e"]
    quoted = ['"a,""b"""', '"c\nd"', "e"]
    rows = np.random.default_rng(0).normal(size=(30, 1))
    net = train_file(table(rows, np.array([quoted[row % 3] for row in range(30)])), "--epochs", "1")
    assert json.loads(net.metadata["classes"]) == names
    assert "\n  'c\\nd'  10 rows\n" in capfd.readouterr().out
    (folder / "inputs.csv").write_text("1\n-1\n")
    assert main(["predict", "net.safetensors", "inputs.csv", "--probabilities"]) == 0
    assert capfd.readouterr().out.startswith('"a,""b""","c\nd",e\n')


def test_standard_input(folder: Path) -> None:
    done = run("train", "-", "-o", "net.safetensors", "--epochs", "2", input=IRIS_CSV)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("standard input: 150 rows of 4 inputs; ")
    expected = train_file(IRIS_CSV, "--epochs", "2")
    assert hash_in(done.stdout) == weights_sha256(expected)


def test_names_that_standard_output_cannot_show(folder: Path) -> None:
    (folder / "rows.csv").write_text(IRIS_CSV.replace("setosa", "Größe 五"))
    done = run("train", "rows.csv", "-o", "net.safetensors", "--epochs", "1", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  Gr\\xf6\\xdfe \\u4e94" in done.stdout
    assert json.loads(nnk.load("net.safetensors").metadata["classes"])[0] == "Größe 五"
    done = run("show", "net.safetensors", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nclasses: Gr\\xf6\\xdfe \\u4e94, versicolor, virginica\n" in done.stdout


def test_many_classes_and_constant_columns_are_not_all_listed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x = np.concatenate([np.random.default_rng(0).normal(size=(100, 1)), np.ones((100, 30))], axis=1)
    train_file(table(x, np.array([f"c{row % 50:02}" for row in range(100)])), "--epochs", "1")
    report = capfd.readouterr().out
    assert "\n  c19  2 rows\n  and 30 more\nconstant columns, not scaled: column 2, " in report
    assert ", column 21 and 10 more\n" in report


def test_targets_far_from_zero_make_a_float64_network(folder: Path) -> None:
    """float32 would round such targets coarsely."""
    x = np.random.default_rng(0).normal(size=(100, 2))
    for offset, dtype in ((1e3, np.float32), (1e7, np.float64)):
        net = train_file(table(x, x.sum(axis=1) + offset), "--epochs", "60")
        assert net.dtype == dtype
        assert np.abs(net(x)[:, 0] - x.sum(axis=1) - offset).mean() < 0.2


def test_many_columns_take_no_quadratic_time(folder: Path) -> None:
    columns = 50_000
    row = ",".join(["1"] * columns)
    (folder / "wide.csv").write_text(f"{','.join(f'c{column}' for column in range(columns))}\n{row}\n{row}\n")
    begin = time.process_time()
    with (folder / "wide.csv").open("rb") as file:
        found = table_module.read_table(file, "wide.csv", ",", None, None, None)
    assert len(found.columns) == columns - 1
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("unit", [1e300, 2.0**121, 1e-35, 1e-46, 1e-290])
def test_targets_beyond_float32_make_a_float64_network(folder: Path, unit: float) -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    y = x.sum(axis=1) * unit
    net = train_file(table(x, y), "--epochs", "60")
    assert net.dtype == np.float64
    assert np.abs(net(x)[:, 0] / unit - y / unit).mean() < 0.2


def test_truth_values_are_numbers(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Truth values, as from pd.get_dummies, are 1 and 0 in inputs, and classes in the target."""
    rows = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    truth = rows.sum(axis=1) > 0
    header = "x,is_large,y,kind\n"
    numbers = np.column_stack([rows[:, 0], truth, rows[:, 1]])
    expected = train_file(table(numbers, truth, header), "--epochs", "2")
    content = expected_csv = table(numbers, truth, header)
    for yes, no in (("True", "False"), ("TRUE", "FALSE"), ("true", " false")):
        lines = [line.split(",") for line in expected_csv.splitlines()]
        for line in lines[1:]:
            line[1] = yes if float(line[1]) else no
        content = "".join(f"{','.join(line)}\n" for line in lines)
        assert weights_sha256(train_file(content, "--epochs", "2")) == weights_sha256(expected)
        assert predict(capfd, content) == predict(capfd, expected_csv)
    assert json.loads(expected.metadata["classes"]) == ["False", "True"]


def test_ignore(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ignored columns may have any contents; predict ignores them if present."""
    lines = IRIS_CSV.splitlines()
    body = "".join(f"{row},{line.replace(',', ',text,', 1)}\n" for row, line in enumerate(lines[1:]))
    content = f",{lines[0].replace(',', ',day,', 1)}\n{body}"
    expected = train_file(IRIS_CSV, "--epochs", "2")
    for options in (["--ignore", "1,day"], ["--ignore", "3,1,1"]):
        net = train_file(content, "--epochs", "2", *options)
        assert weights_sha256(net) == weights_sha256(expected)
        assert net.metadata["ignored"] == '["", "day"]'
        assert net.metadata["columns"] == expected.metadata["columns"]
        assert predict(capfd, content) == predict(capfd, IRIS_CSV)
        assert main(["show", "net.safetensors"]) == 0
        assert "\nignored: '', day\n" in capfd.readouterr().out
    net = train_file(body, "--epochs", "2", "--ignore", "1,3")
    assert weights_sha256(net) == weights_sha256(expected)
    assert dict(net.metadata) == {"classes": expected.metadata["classes"]}
    Path("rows.csv").write_text(body.replace("5.1", "x", 1))
    capfd.readouterr()
    message = "rows.csv, line 1, column 2: expected a number, got 'x'"
    assert_fails(folder, capfd, message, "train", "rows.csv", "-o", "net.safetensors", "--ignore", "1,3", "--no-header")


def test_columns_that_number_the_rows(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = IRIS_CSV.splitlines()
    content = f"id,{lines[0]}\n" + "".join(f"{row},{line}\n" for row, line in enumerate(lines[1:], 1000))
    train_file(content, "--epochs", "1")
    message = "\ncolumns that number the rows: 'id'; use --ignore unless they help to predict\n"
    assert message in capfd.readouterr().out
    train_file(content, "--epochs", "1", "--ignore", "id")
    assert "number the rows" not in capfd.readouterr().out


@pytest.mark.parametrize("task", ["classes", "regression"])
def test_no_better_than_the_trivial_answer(folder: Path, capfd: pytest.CaptureFixture[str], task: str) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(100, 3))
    y = (generator.random(100) < 0.1).astype(int) if task == "classes" else generator.normal(size=100)
    train_file(table(x, y), "--epochs", "1", "--task", task)
    trivial = "0" if task == "classes" else "the mean"
    assert f"\nthis network is no better than predicting always {trivial}\n" in capfd.readouterr().out
    train_file(IRIS_CSV)
    assert "no better" not in capfd.readouterr().out


PIECES = [
    "1",
    "-2.5",
    "x",
    "y",
    "1_0",
    "\u0663",
    "inf",
    "NA",
    " ",
    "\xa0",
    ",",
    ",",
    ",",
    "\n",
    "\n",
    "\r",
    '"',
    '""',
    "\x00",
    "\ufeff",
]


@given(st.lists(st.sampled_from(PIECES), max_size=16).map("".join), st.integers(1, 9))
def test_rows_are_those_of_the_csv_module(text: str, block: int) -> None:
    """Any text, in blocks of any size, gives the rows of Python's csv and float, or an error."""
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None)
    expected = None
    with suppress(ValueError, csv.Error):
        records = list(csv.reader(lines, strict=True, skipinitialspace=True))
        records = [record for record in records if len(record) > 1 or "".join(record).strip()]
        if records and len(records[0]) > 1 and len({len(record) for record in records}) == 1:
            inputs = [[number(field) for field in record[:-1]] for record in records]
            expected = inputs, [target(record[-1].strip()) for record in records]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_module, "BLOCK_NUMBERS", block)
        file = io.BytesIO(text.encode())
        if expected is None:
            with pytest.raises(ValueError, match=r"^f\.csv, line \d+"):
                table_module.read_table(file, "f.csv", ",", False, None, None)
        else:
            found = table_module.read_table(file, "f.csv", ",", False, None, None)
            assert (found.inputs.tolist(), [found.texts[code] for code in found.codes]) == expected
            assert set(found.codes) == set(range(len(found.texts)))


def number(field: str) -> float:
    if "_" in field or not field.strip().isascii() or not math.isfinite(float(field)):
        raise ValueError
    return float(field)


def target(text: str) -> str:
    if text in ("", "NA") or "\0" in text:
        raise ValueError
    if text.isascii() and "_" not in text:
        with suppress(ValueError):
            if not math.isfinite(float(text)):
                raise csv.Error
    return text


# --- Errors ---

ROWS = "1,2,a\n2,1,b\n3,5,a\n4,4,b\n"

# By name: contents, options, and the expected message.
BAD_TABLES: dict[str, tuple[str | bytes, list[str], str]] = {
    "empty": ("", [], "rows.csv, line 1: expected rows, got none"),
    "blank": ("\n \n", [], "rows.csv, line 1: expected rows, got none"),
    "header alone": ("x,y,kind\n", [], "rows.csv, line 2: expected rows after the header, got none"),
    "header and blank lines": ("x,y,kind\n\n\n", [], "rows.csv, line 2: expected rows after the header, got none"),
    "missing number": ("x,y,kind\n1,2,a\n1,,b\n", [], "line 3, column 2 ('y'): expected a number, got '' (fill in"),
    "missing number, no header": ("1,2,a\n1,NA,b\n", [], "line 2, column 2: expected a number, got 'NA' (fill in"),
    "nan": ("x,y,kind\n1,2,a\n1,nan,b\n", [], "line 3, column 2 ('y'): expected a finite number, got nan (fill in"),
    "infinity": ("1,2,a\n1,-inf,b\n", [], "line 2, column 2: expected a finite number, got -inf"),
    "missing class": (ROWS + "5,6,\n", [], "line 5, column 3: expected a class name or a number, got '' (fill in"),
    "missing class, NA": (ROWS + "5,6,NA\n", [], "line 5, column 3: expected a class name or a number, got 'NA' (fill in"),
    "missing target": ("1,2.5\n3,nan\n", [], "line 2, column 2: expected a class name or a number, got 'nan' (fill in"),
    "infinite target": ("1,2.5\n3,1e999\n", [], "line 2, column 2: expected a class name or a number, got '1e999'"),
    "text": (
        "x,y,kind\n1,2,a\n1,two,b\n",
        [],
        "line 3, column 2 ('y'): expected a number, got 'two' (leave the column out by --ignore, or ",
    ),
    "text in the target": ("1,2.5\n3,x\n", ["--task", "regression"], "line 2, column 2: expected a number, got 'x'"),
    "stray text in the target": (
        "".join(f"{row},{row}\n" for row in range(1, 30)) + "1,x\n",
        [],
        "line 30, column 2: expected a number, as in most rows, got 'x'; if they are classes, use --task classes",
    ),
    "text in the first line": ("1,two,a\n2,3,b\n", [], "get_dummies); not a header either, since column 1"),
    "categories": (
        "color,size,kind\nred,1,a\nblue,2,b\n",
        [],
        "line 2, column 1 ('color'): expected a number, got 'red' (leave",
    ),
    "one row of a class": (
        "x,kind\n1,a\n2,a\n\n3,b\n4,a\n",
        [],
        "line 5, column 2 ('kind'): expected at least two rows of each class (one is held back), got one of class 'b'",
    ),
    "two classes of one row": (
        "1,a\n2,b\n3,c\n4,c\n",
        [],
        "line 1, column 2: expected at least two rows of each class (one is held back), got one of class 'a' and of 1 other",
    ),
    "decimal comma": ("x;y;kind\n1;59,0;a\n", ["--delimiter", ";"], "column 2 ('y'): expected a number, got '59,0' (write a"),
    "all ignored": ("x,y,kind\n1,2,a\n", ["--ignore", "x,2"], "line 1: expected inputs and a target beside the columns to"),
    "target ignored": ("x,y,kind\n1,2,a\n", ["--ignore", "kind"], "line 1: expected inputs and a target beside the columns"),
    "no column to ignore": (
        "x,y,kind\n1,2,a\n",
        ["--ignore", "z"],
        "line 1: expected the name of a column, or a number from 1 to 3, got 'z'",
    ),
    "each row its own class": (
        "1,a\n2,b\n3,c\n",
        [],
        "line 1, column 2: expected at least two rows of each class (one is held back), got one of class 'a' and of 2 other",
    ),
    "one row of a number": (
        "1,1\n2,1\n3,2\n4,2\n5,3\n6,1\n",
        [],
        "line 5, column 2: expected at least two rows of each class (one is held back), got one of class '3'; if the targets",
    ),
    "one class": ("1,a\n2,a\n", [], "line 1, column 2: expected at least two classes, got 'a' in all rows"),
    "one number": ("x,y\n1,2.5\n2,2.50\n", [], "line 2, column 2 ('y'): expected different numbers, got 2.5 in all rows"),
    "one column": ("a\nb\n", [], "line 1: expected inputs and a target, got one column (--delimiter"),
    "another delimiter": ("1;2;a\n2;3;b\n", [], "line 1: expected inputs and a target, got one column (--delimiter"),
    "short line": ("1,2,a\n1,b\n", [], "line 2: expected 3 fields separated by ',', got 2"),
    "long line": ("1,2,a\n1,2,3,b\n", [], "line 2: expected 3 fields separated by ',', got 4"),
    "no such column": (
        "x,y,kind\n1,2,a\n",
        ["--target", "z"],
        "line 1: expected the name of a column, or a number from 1 to 3, got 'z'; the columns are 'x', 'y', 'kind'",
    ),
    "no such number": (
        ROWS,
        ["--target", "4"],
        "line 1: expected the name of a column, or a number from 1 to 3, got '4'; the file has no header",
    ),
    "column 0": (ROWS, ["--target", "0"], "line 1: expected the name of a column, or a number from 1 to 3, got '0'"),
    "a name without a header": (
        ROWS,
        ["--target", "kind"],
        "line 1: expected the name of a column, or a number from 1 to 3, got 'kind'",
    ),
    "index of pandas": (
        ",x,kind\n0,2,a\n1,3,b\n",
        [],
        "line 1, column 1: expected a unique name, got no name; if "
        "the column numbers the rows, leave it out: --ignore 1, or to_csv(index=False)",
    ),
    "names twice": ("x,x,kind\n1,2,a\n", ["--header"], "line 1, column 2: expected a unique name, got 'x' again"),
    "names twice, not said": (
        "x,x,kind\n1,2,a\n",
        [],
        "get_dummies); not a header either, since column 2 is 'x' again: use --header if it is one",
    ),
    "numbers from 0": ("0,1,2\n1,2,3\n", [], "line 1: '0,1,2' may be a header or a row: use --header or --no-header"),
    "name in Latin-1": ("größe,kind\n1,a\n".encode("latin-1"), [], "line 1, column 1: expected a unique name, got 'gr"),
    "class in Latin-1": (
        "1,a\n2,groß\n".encode("latin-1"),
        [],
        "line 2, column 2: expected a class name or a number, got 'gro\\udcdf' (the file must be text in UTF-8)",
    ),
    "quote without an end": ('1,2,a\n1,2,"b\n', [], "line 2: unexpected end of data"),
    "npy": (b"\x93NUMPY\x01\x00", [], "rows.csv: expected CSV, got .npy"),
    "too large": ("1e308,a\n1.7e308,a\n1.5e308,b\n-1.7e308,b\n", [], "rows.csv, column 1: the numbers are too far apart"),
    "too close": ("1e-320,a\n2e-320,a\n3e-320,b\n0,b\n", [], "rows.csv, column 1: the numbers are too far apart"),
    "targets too large": (
        "1,1e308\n2,1.7e308\n3,-1.7e308\n4,1.2e308\n5,0.5\n",
        [],
        "line 1, column 2: the numbers are too far apart",
    ),
}


def assert_fails(folder: Path, capfd: pytest.CaptureFixture[str], message: str, *arguments: str) -> None:
    """Check that a command exits with status 2 and one line, and changes no file."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main([*arguments]) == 2
    out, err = capfd.readouterr()
    assert re.fullmatch(r"nnkernels: [^\n]{1,400}\n", err)
    assert message in err
    assert "written" not in out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(folder: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    content, options, message = BAD_TABLES[case]
    (folder / "rows.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    nnk.Network([nnk.Dense([1.0])]).save("there.safetensors")
    for output in ("net.safetensors", "there.safetensors"):
        assert_fails(folder, capfd, message, "train", "rows.csv", "-o", output, *options)


@pytest.mark.skipif(os.name != "posix", reason="expects POSIX's errors and devices")
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/net.safetensors", "missing/net.safetensors: No such file or directory"),
        ("iris.csv/net.safetensors", "iris.csv/net.safetensors: Not a directory"),
        (".", ".: Is a directory"),
        ("net.onnx", "net.onnx: train writes the safetensors format: expected a name that ends in .safetensors"),
        ("-", "-: expected the name of a file, not of a pipe or a device"),
        ("/dev/null", "/dev/null: expected the name of a file, not of a pipe or a device"),
        ("/dev/stdout", "/dev/stdout: expected the name of a file, not of a pipe or a device"),
    ],
)
@pytest.mark.parametrize("option", ["-o", "--plot"])
def test_bad_output(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str, output: str, message: str
) -> None:
    """A bad output is an error before training."""
    monkeypatch.delattr(train_module, "train_network")
    arguments = ["-o", output] if option == "-o" else ["-o", "net.safetensors", "--plot", output]
    if option == "--plot" and Path(output).suffix != ".svg":
        message = "--plot expected a name that ends in .png or .svg"
    assert_fails(folder, capfd, message, "train", "iris.csv", *arguments)
    if option == "--plot":
        assert_fails(folder, capfd, "no/p.svg: No such file", "train", "iris.csv", "-o", "n.safetensors", "--plot", "no/p.svg")


@pytest.mark.parametrize("options", [["-o", "iris.csv"], ["-o", "link"], ["-o", "p.svg", "--plot", "p.svg"]], ids=" ".join)
@pytest.mark.usefixtures("symbolic_links")
def test_files_do_not_replace_each_other(folder: Path, capfd: pytest.CaptureFixture[str], options: list[str]) -> None:
    (folder / "link").symlink_to("iris.csv")
    assert_fails(
        folder, capfd, "expected different files for the rows, the network and the plot", "train", "iris.csv", *options
    )


def test_missing_input(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert_fails(folder, capfd, "none.csv: No such file or directory", "train", "none.csv", "-o", "net.safetensors")


@pytest.mark.parametrize(
    "options",
    [
        *(["--hidden", ""], ["--hidden", "64,"], ["--hidden", "0"], ["--hidden", "a"], ["--hidden", "-1"]),
        *(["--epochs", "0"], ["--epochs", "1.5"], ["--batch", "0"], ["--seed", "-1"], ["--seed", str(2**64)]),
        *(["--validation", "0"], ["--validation", "1"], ["--validation", "nan"], ["--validation", "x"]),
        *(["--optimizer", "lbfgs"], ["--task", "ranking"]),
    ],
    ids=" ".join,
)
def test_bad_options(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "iris.csv", "-o", "net.safetensors", f"{options[0]}={options[1]}"])
    assert caught.value.code == 2
    assert f"argument {options[0]}: " in capsys.readouterr().err


def test_output_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "iris.csv"])
    assert caught.value.code == 2
    assert "the following arguments are required: -o" in capsys.readouterr().err


def test_loss_that_is_not_finite(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One held-back row overflows float32."""
    rows = np.full(50, 1.0)
    rows[::2] = 1 + 1e-15
    held = np.flatnonzero(held_back(np.arange(50) % 2))
    rows[held[0]] = 1e300
    (folder / "rows.csv").write_text(table(rows[:, np.newaxis], np.array(["a", "b"] * 25)))
    message = (
        "rows.csv: the loss is no longer finite after 0 epochs, and no network is written; try another --optimizer or --batch"
    )
    assert_fails(folder, capfd, message, "train", "rows.csv", "-o", "net.safetensors")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a POSIX shell and signals")  # noqa: PTH110
def test_closed_pipe_and_closed_streams(folder: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [*COMMAND, "train", "iris.csv", "-o", "net.safetensors"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "nnkernels: standard output: Broken pipe\n")
    assert not (folder / "net.safetensors").exists()
    full = subprocess.run(
        ["sh", "-c", f"{' '.join(command)} >/dev/full"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (full.returncode, full.stderr) == (2, "nnkernels: standard output: No space left on device\n")
    missing = f"{' '.join(command)} --target none 2>/dev/full"
    assert subprocess.run(["sh", "-c", missing], timeout=60, check=False).returncode == 2
    assert not (folder / "net.safetensors").exists()
    closed = f"{' '.join(command)} --epochs 2 >&- 2>&-"
    assert subprocess.run(["sh", "-c", closed], timeout=60, check=False).returncode == 0
    assert nnk.load("net.safetensors").outputs == 3


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_output_is_replaced_and_keeps_its_permissions(folder: Path) -> None:
    """The old file may be a network, or empty."""
    for old in (nnk.Network([nnk.Dense([1.0])]).save, lambda path: path.write_bytes(b"")):
        old(folder / "net.safetensors")
        (folder / "net.safetensors").chmod(0o640)
        train_file(IRIS_CSV, "--epochs", "1")
        assert (folder / "net.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["test.csv", "net.safetensors"])
def test_what_is_no_network_is_not_replaced(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delattr(train_module, "train_network")
    (folder / name).write_text(IRIS_CSV)
    message = f"{name}: this file is not a network and is kept: choose another name, or delete it"
    assert_fails(folder, capfd, message, "train", "iris.csv", "-o", name)


# --- Interruption ---


INTERRUPTED = """
import os, signal, sys, time
from nnkernels.__main__ import main
from nnkernels.commands import train

make_network = train.train_network

def train_until(*arguments, callback, **options):
    def interrupt(training):
        callback(training)
        if len(training.losses) == 5:
            signal.raise_signal(signal.SIGINT)
            time.sleep(10)
    return make_network(*arguments, callback=interrupt, **options)

train.train_network = train_until
sys.exit(main(["train", "iris.csv", "-o", "net.safetensors", "--plot", "losses.svg"]))
"""


@pytest.mark.usefixtures("signals_as_usual")
def test_ctrl_c_keeps_the_best_network(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "")
    assert "\nnetwork 4-64-64-3: interrupted after 5 epochs\nthe best, of epoch 5, is kept: loss " in done.stdout
    assert " of 30 held-back rows right, " in done.stdout
    expected = train_file(IRIS_CSV, "--epochs", "5")
    assert hash_in(done.stdout) == weights_sha256(expected)
    assert b"<svg" in (folder / "losses.svg").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="sends another process a signal")
@pytest.mark.usefixtures("signals_as_usual")
def test_ctrl_c_before_the_first_epoch_is_over(folder: Path) -> None:
    """No file remains."""
    (folder / "large.csv").write_text(table(*load_digits(return_X_y=True)))
    nnk.Network([nnk.Dense([1.0])]).save("net.safetensors")
    before = (folder / "net.safetensors").read_bytes()
    command = [sys.executable, "-m", "nnkernels", "train", "large.csv", "-o", "net.safetensors", "--hidden", "3000,3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.poll() is None and not process.stdout.readline().startswith("constant columns"):
            pass
        time.sleep(0.1)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - begin < 3
    message = "nnkernels: interrupted before the end of the first epoch: no network is written\n"
    assert (process.returncode, out, err.rpartition("\r")[2]) == (130, "", message)
    assert (folder / "net.safetensors").read_bytes() == before


# --- Plots ---


@pytest.mark.parametrize("name", ["losses.png", "losses.SVG"])
def test_plot(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    train_file(IRIS_CSV, "--plot", name)
    assert capfd.readouterr().out.endswith(f"\nwritten: {name}\n")
    first = (folder / name).read_bytes()
    assert first.startswith(b"\x89PNG" if name == "losses.png" else b"<?xml")
    train_file(IRIS_CSV, "--plot", name)
    assert (folder / name).read_bytes() == first


def test_plot_needs_matplotlib(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it fails
    arguments = ["train", "iris.csv", "-o", "net.safetensors", "--plot", "losses.png"]
    assert_fails(folder, capfd, "--plot needs matplotlib: pip install 'nnkernels[plot]'", *arguments)


# --- predict ---


@pytest.fixture
def trained(folder: Path) -> Path:
    """Return the folder, with net.safetensors, trained on iris.csv for 30 epochs."""
    train_file(IRIS_CSV, "--epochs", "30")
    return folder


def predict(capfd: pytest.CaptureFixture[str], content: str, *options: str) -> str:
    Path("x.csv").write_text(content)
    capfd.readouterr()
    assert main(["predict", "net.safetensors", "x.csv", *options]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


@pytest.mark.usefixtures("trained")
def test_class_names(capfd: pytest.CaptureFixture[str]) -> None:
    outputs = nnk.load("net.safetensors")(IRIS.data)
    expected = IRIS.target_names[outputs.argmax(axis=-1)]
    inputs = "".join(f"{','.join(map(str, row))}\n" for row in IRIS.data.tolist())
    header = IRIS_HEADER.replace(",species", "")
    for content in (inputs, header + inputs, IRIS_CSV):
        assert predict(capfd, content).split() == expected.tolist()
    lines = predict(capfd, inputs, "--probabilities").splitlines()
    assert lines[0] == "setosa,versicolor,virginica"
    np.testing.assert_array_equal(np.array([line.split(",") for line in lines[1:]]).astype(np.float32), outputs)
    predict(capfd, inputs, "-o", "names.npy")
    np.testing.assert_array_equal(np.load("names.npy"), expected)
    predict(capfd, inputs, "-o", "outputs.npy", "--probabilities")
    np.testing.assert_array_equal(np.load("outputs.npy"), outputs)
    np.save("x.npy", IRIS.data)
    assert main(["predict", "net.safetensors", "x.npy"]) == 0
    assert capfd.readouterr().out.split() == expected.tolist()


@pytest.mark.usefixtures("trained")
def test_rows_without_a_class(capfd: pytest.CaptureFixture[str]) -> None:
    assert predict(capfd, "5,3,1,0\n5,nan,1,0\n").split() == ["setosa", "nan"]
    assert predict(capfd, "") == ""
    assert predict(capfd, "", "--probabilities") == "setosa,versicolor,virginica\n"
    predict(capfd, "", "-o", "none.npy")
    assert np.load("none.npy").shape == (0,)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("with_target", [True, False])
@pytest.mark.parametrize("quote", ["", '"'])
def test_columns_in_another_order(capfd: pytest.CaptureFixture[str], with_target: bool, quote: str) -> None:
    expected = predict(capfd, IRIS_CSV, "--probabilities")
    order = [2, 4, 0, 1, 3] if with_target else [2, 0, 1, 3]
    lines = (np.array(line.split(","))[order] for line in IRIS_CSV.splitlines())
    content = "".join(",".join(f"{quote}{field}{quote}" for field in line) + "\n" for line in lines)
    assert predict(capfd, content, "--probabilities") == expected
    assert predict(capfd, content, "--probabilities", "--header") == expected


@pytest.mark.usefixtures("trained")
def test_the_target_may_be_anything(capfd: pytest.CaptureFixture[str]) -> None:
    content = 'species,sepal length,sepal width,petal length,petal width\n,5,3,1,0\n"?\n",5,3,1,0\n-1,5,3,1,0\nnan,5,3,1,0\n'
    assert predict(capfd, content).split() == ["setosa"] * 4


BAD_COLUMNS = {
    "one is missing": (
        "sepal length,sepal width,petal width\n1,2,3\n",
        "line 1: the header lacks columns that the network was trained on: 'petal length'",
    ),
    "all are missing": (
        "\na,b,c,d\n1,2,3,4\n",
        "line 2: the header lacks columns that the network was trained on: 'sepal length', 'sepal width', 'petal",
    ),
    "one is unknown": (
        IRIS_CSV.replace("species", "kind"),
        "line 1: the header has columns that the network was not trained on; remove them from the file: 'kind'",
    ),
    "one is there twice": (
        "species,petal length," + IRIS_CSV,
        "line 1: the header repeats columns: 'species', 'petal length'",
    ),
    "too many without a header": (IRIS_CSV.partition("\n")[2], "line 1: expected 4 numbers separated by ',', got 5"),
    "another delimiter": (IRIS_CSV.replace(",", ";"), "line 1: expected 4 numbers separated by ',', got 1 (--delimiter names"),
    "text": (IRIS_HEADER + "1,2,x,4,setosa\n", "line 2, column 3 ('petal length'): expected a number, got 'x'"),
    "short line": (IRIS_HEADER + "1,2,3,4\n", "line 2: expected 5 fields separated by ',', got 4"),
}


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_other_columns(trained: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    content, message = BAD_COLUMNS[case]
    (trained / "x.csv").write_text(content)
    capfd.readouterr()
    assert_fails(trained, capfd, f"x.csv, {message}", "predict", "net.safetensors", "x.csv")


def test_many_columns_are_not_all_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = nnk.Network([nnk.Dense(np.ones((1, 9)))], metadata={"columns": json.dumps([f"c{column}" for column in range(9)])})
    net.save("net.safetensors")
    (folder / "x.csv").write_text("c0,c1,x2\n1,2,3\n")
    assert_fails(folder, capfd, "'c2', 'c3', 'c4', 'c5', 'c6' and 2 more", "predict", "net.safetensors", "x.csv")


def test_column_names_that_would_be_no_header(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The network's names are a header, unless they may be a row."""
    train_file(table(IRIS.data[:, :2], SPECIES, "age,2020,kind\n"), "--header", "--epochs", "5")
    expected = predict(capfd, "1,2\n")
    assert predict(capfd, "2020,age\n2,1\n") == expected
    train_file(table(IRIS.data[:, :2], SPECIES, "2019,2020,kind\n"), "--header", "--epochs", "5")
    assert predict(capfd, "2020,kind,2019\n2,b,1\n") == expected
    assert predict(capfd, "2020,2019\n2,1\n", "--header") == expected
    assert predict(capfd, "2020,2018\n2,1\n", "--no-header").splitlines()[1:] == predict(capfd, "2,1\n").splitlines()
    (folder / "x.csv").write_text("2020,2019\n2,1\n")
    message = "x.csv, line 1: '2020,2019' may be a header or a row: use --header or --no-header"
    assert_fails(folder, capfd, message, "predict", "net.safetensors", "x.csv")


@pytest.mark.parametrize("probabilities", [[], ["--probabilities"]])
def test_network_without_names(folder: Path, capfd: pytest.CaptureFixture[str], probabilities: list[str]) -> None:
    """Outputs have numbers; other metadata do not matter."""
    nnk.Network([nnk.Dense(np.eye(2))], metadata={"author": "A", "class": "[]"}).save("net.safetensors")
    assert predict(capfd, "a,b\n1,2\n", *probabilities) == "1.0,2.0\n"


@pytest.mark.parametrize("name", ["classes", "columns"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, "to be a JSON list of strings")
            for text in (
                "",
                "a, b",
                '"ab"',
                "[1, 2]",
                "{}",
                '["a", "\\ud800"]',
                '["a", "a\\u0000"]',
                '["a", "\\r"]',
                "[" * 10**5,
            )
        ),
        *((text, "to be 2 different strings, got ") for text in ('["a"]', '["a", "a"]', '["a", "b", "c"]', "[]")),
    ],
)
def test_names_that_do_not_fit(folder: Path, capfd: pytest.CaptureFixture[str], name: str, text: str, message: str) -> None:
    nnk.Network([nnk.Dense(np.eye(2))], metadata={name: text}).save("net.safetensors")
    (folder / "x.csv").write_text("1,2\n")
    for command in (["predict", "net.safetensors", "x.csv"], ["show", "net.safetensors"]):
        assert_fails(folder, capfd, f"net.safetensors: expected metadata '{name}' {message}", *command)


# --- show ---


def test_show(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(["show", "net.safetensors"]) == 0
    out, err = capfd.readouterr()
    net = nnk.load("net.safetensors")
    assert err == ""
    assert out == (
        f"{net}\n"
        "classes: setosa, versicolor, virginica\n"
        "columns: sepal length, sepal width, petal length, petal width\n"
        "target: species\n"
        f"file: {(trained / 'net.safetensors').stat().st_size:,} bytes\n"
        f"SHA-256 of the weights: {weights_sha256(net)}\n"
    )


def test_show_other_metadata(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nnk.Network([nnk.Dense([1.0])], metadata={"note": "two\nlines", "author": "Å"}).save("net.safetensors")
    assert main(["show", "net.safetensors"]) == 0
    assert "\nauthor: Å\nnote: 'two\\nlines'\nfile: " in capfd.readouterr().out


def test_show_what_is_no_network(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert_fails(folder, capfd, "iris.csv does not hold a network", "show", "iris.csv")
    assert_fails(folder, capfd, "none: No such file or directory", "show", "none")


def test_hash_of_the_weights(dtype: Any) -> None:
    """The SHA-256 of weights and biases, layer by layer, as the demonstration prints it."""
    import hashlib

    from nnkernels.commands.demonstration import DIGITS_SHA256

    net = nnk.Network([nnk.Dense([[1.0, 2.0]], 3.0), nnk.Dense([4.0], 5.0)], dtype)
    assert (
        weights_sha256(net)
        == hashlib.sha256(np.array([1, 2, 3, 4, 5], np.dtype(dtype).newbyteorder("<")).tobytes()).hexdigest()
    )
    digits = nnk.load(Path(nnk.__file__).parent / "digits.safetensors")
    assert weights_sha256(digits) == DIGITS_SHA256


# --- Mean and standard deviation ---


@pytest.mark.parametrize("scale", [1.0, 1e150, 1e290, 1e-150, 1e-290])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e8])
def test_standard(scale: float, offset: float, rng: np.random.Generator) -> None:
    numbers = (rng.normal(size=1000) + offset) * scale
    found = Standard.of(numbers)
    assert found is not None
    exact = [Fraction(number) for number in numbers.tolist()]
    mean: Fraction = sum(exact, Fraction(0)) / 1000
    variance: Fraction = sum(((number - mean) ** 2 for number in exact), Fraction(0)) / 1000
    assert abs(Fraction(found.mean) - mean) <= abs(mean) * Fraction(2) ** -51
    ratio = Fraction(found.deviation) ** 2 / variance
    assert abs(ratio - 1) < Fraction(2) ** -20 if offset > 1 else abs(ratio - 1) < Fraction(2) ** -48


@pytest.mark.parametrize("value", [0.1, 0.0, -1e308, 5e-324])
def test_standard_of_equal_numbers(value: float) -> None:
    assert Standard.of(np.full(7, value)) == (value, 1.0)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interruption_while_rows_are_read_gets_out(exception: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def interrupted(self: Any, field: str) -> float:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise exception
        return 0.0

    monkeypatch.setattr(table_module._Target, "__call__", interrupted)
    with pytest.raises(exception):
        table_module.read_table(io.BytesIO(b"1,a\n" * 50), "rows.csv", ",", None, None, None)
    assert calls == 20
