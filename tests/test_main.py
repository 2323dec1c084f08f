"""``python -m nnkernels``: the demonstration, and predictions from files.

test_train_command.py tests train and show, and predict with networks that have names.
"""

import os
import re
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nnkernels as nnk
from conftest import TARGETS
from nnkernels.__main__ import main
from nnkernels.commands import demonstration
from nnkernels.commands import predict as predict_module
from nnkernels.commands.demonstration import DIGITS_SHA256
from nnkernels.commands.names import Names
from ulp import same_bits

pytestmark = pytest.mark.usefixtures("signals_as_usual")
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX's shell, signals, permissions or error messages")

COMMAND = [sys.executable, "-W", "error", "-m", "nnkernels"]
# Standard output is buffered, as usual, so a closed pipe or a full disk is noticed late.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
PACKAGE = Path(nnk.__file__).parent


def run(
    *arguments: str | Path, stdout: Any = subprocess.PIPE, cwd: Path | None = None, env: dict[str, str] = ENVIRONMENT
) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env, timeout=60)


def make_network(sizes: tuple[int, ...] = (4, 5, 3), dtype: Any = np.float32) -> nnk.Network:
    rng = np.random.default_rng(7)
    layers = [nnk.Dense(rng.normal(0, 1, (m, n)), rng.normal(0, 1, m), "tanh") for n, m in pairwise(sizes)]
    return nnk.Network(layers, dtype)


def write_csv(path: Path, rows: NDArray[Any]) -> Path:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def read_csv(path: Path, dtype: Any) -> NDArray[Any]:
    lines = path.read_text().splitlines()
    return np.array([[np.dtype(dtype).type(field) for field in line.split(",")] for line in lines])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with a 4-5-3 network and 20 rows. No hidden files may remain."""
    make_network().save(tmp_path / "net.safetensors")
    x = np.random.default_rng(8).normal(0, 1, (20, 4))
    np.save(tmp_path / "x.npy", x)
    write_csv(tmp_path / "x.csv", x)
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# --- The demonstration ---


def matrix_after(title: str, text: str, rows: int = 3) -> NDArray[np.float64]:
    lines = text[text.index(title) + len(title) :].splitlines()[1 : rows + 1]
    return np.array([[float(field) for field in line.strip(" []").split()] for line in lines])


def digits_right() -> int:
    digits = demonstration.read_digits()
    net = nnk.load(PACKAGE / "digits.safetensors")
    return int(np.count_nonzero(net(digits.held_pixels / 16).argmax(axis=-1) == digits.held_labels))


def train_digits() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parent.parent / "python" / "train_digits.py"))


def test_demonstration() -> None:
    shown = run(env=ENVIRONMENT | {"PYTHONIOENCODING": "utf-8"})
    assert (shown.returncode, shown.stderr) == (0, "")
    hidden = [[4.8, 1.21, 2.385, 0, 3.95], [8.9, 0, 0.2, 2.34, 0.4], [1.41, 1.051, 0.026, 0, 4.73]]
    output = [
        [2.01644962e-01, 4.99767821e-02, 7.48378255e-01],
        [1.41035714e-01, 6.13247392e-04, 8.58351038e-01],
        [2.30990753e-02, 6.49025876e-01, 3.27875049e-01],
    ]
    np.testing.assert_array_equal(matrix_after("hidden layer, ReLU:", shown.stdout), hidden)
    np.testing.assert_array_equal(matrix_after("output layer, softmax:", shown.stdout), output)

    losses = -np.log([0.748378255, 0.858351038, 0.649025876])
    np.testing.assert_allclose(matrix_after("for labels [2, 2, 1]:", shown.stdout, 1)[0], losses, rtol=1e-7)
    np.testing.assert_allclose(
        matrix_after("mean loss, which training makes smaller:", shown.stdout, 1), losses.mean(), rtol=1e-8
    )

    rows = len(demonstration.read_digits().held_labels)
    assert f"{digits_right()} of {rows} right" in shown.stdout
    assert f"nnkernels {rows} of {rows}, NumPy" in shown.stdout
    assert "CC BY 4.0" in shown.stdout
    assert re.search(
        r"\n  trained from random weights in \d+\.\d{3} seconds:\n    30 epochs.* 1,198 training digits.* 1,140 steps",
        shown.stdout,
    )
    assert "\n  equal to NumPy up to rounding:" in shown.stdout
    assert re.search(r"one row in a call +[\d,]+ +[\d,]+\n", shown.stdout)
    assert "▓██" in shown.stdout  # in a picture


def test_demonstration_is_in_ascii_where_blocks_cannot_be_printed() -> None:
    shown = run(env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.isascii()
    assert "*##" in shown.stdout  # in a picture


@pytest.mark.parametrize(("encoding", "parts"), [("utf-8", "▏▎▍▌▋▊▉█"), ("ascii", "#")])
def test_bars_are_as_long_as_the_losses(encoding: str, parts: str) -> None:
    losses = demonstration.learn_digits(demonstration.read_digits()).losses
    shown = run(env=ENVIRONMENT | {"PYTHONIOENCODING": encoding}).stdout
    lines = re.findall(r"^    epoch +(\d+)  (\d\.\d{4})  (\S+)$", shown, re.MULTILINE)
    assert [int(epoch) for epoch, _, _ in lines] == [1, 2, 3, 4, 5, 10, 15, 20, 25, 30]
    for epoch, printed, bar in lines:
        loss = losses[int(epoch) - 1]
        assert printed == f"{loss:.4f}"
        assert bar[:-1].strip(parts[-1]) == ""
        length = len(bar) - 1 + (parts.index(bar[-1]) + 1) / len(parts)
        assert 0 <= length - 64 * loss / losses[0] < 1 / len(parts)


@pytest.mark.parametrize(("target", "threads"), list(zip(TARGETS, cycle([1, 2]), strict=False)))
def test_demonstration_trains_the_same_network_everywhere(target: str, threads: int) -> None:
    shown = run(env=ENVIRONMENT | {"NNKERNELS_TARGET": target, "NNKERNELS_NUM_THREADS": str(threads)})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"nnkernels {nnk.__version__}, target {target}, threads {threads}\n")
    assert (
        f"\n  equal, bit for bit, to the weights learnt on every other machine:\n    SHA-256 {DIGITS_SHA256}\n" in shown.stdout
    )


def test_demonstration_notices_other_weights(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = demonstration.read_digits().train_pixels
    pixels[0, 0] ^= 1
    learn = demonstration.learn_digits
    monkeypatch.setattr(demonstration, "learn_digits", lambda digits: learn(digits._replace(train_pixels=pixels)))
    assert main([]) == 1
    shown = capsys.readouterr().out
    assert re.search(rf"\n  NOT EQUAL, bit for bit, .*\n    SHA-256 [0-9a-f]{{64}}\n    but not {DIGITS_SHA256}\n", shown)
    assert "\n  equal to NumPy" in shown


def test_shipped_digits() -> None:
    digits = demonstration.read_digits()
    for pixels, labels, rows in (
        (digits.train_pixels, digits.train_labels, 1198),
        (digits.held_pixels, digits.held_labels, 599),
    ):
        assert pixels.shape == (rows, 64)
        assert pixels.dtype == labels.dtype == np.uint8
        assert pixels.max() == 16
        assert set(labels) == set(range(10))
    assert digits_right() >= 0.96 * len(digits.held_labels)
    assert all(part in digits.source for part in ("UCI", "Alpaydin", "Kaynak", "1998", "CC BY 4.0"))
    assert sum(path.stat().st_size for path in PACKAGE.glob("digits*")) < 200_000


def test_shipped_digits_are_those_of_scikit_learn() -> None:
    for shipped, original in zip(demonstration.read_digits(), train_digits()["split_digits"](), strict=True):
        assert np.array_equal(shipped, original)


def test_shipped_network_is_the_one_that_is_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)  # importing it fails
    shutil.copy(PACKAGE / "digits.npz", folder)
    train_digits()["write_network"](folder)
    assert (folder / "digits.safetensors").read_bytes() == (PACKAGE / "digits.safetensors").read_bytes()
    assert capsys.readouterr().out.splitlines()[0].split() == ["SHA-256", DIGITS_SHA256]


def test_demonstration_notices_a_network_that_is_not_equal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = demonstration.numpy_network
    monkeypatch.setattr(demonstration, "numpy_network", lambda layers, x: right(layers, x * np.float32(1.01)))
    assert main([]) == 1
    assert "NOT EQUAL to NumPy" in capsys.readouterr().out


def test_rounding_bound(rng: np.random.Generator) -> None:
    # Layers with cancellation. float64 is 2**29 times as fine, so its values count as exact.
    layers = [
        nnk.Dense(rng.normal(0, 1, (m, n)).astype(np.float32), rng.normal(0, 1, m).astype(np.float32), activation)
        for n, m, activation in ((30, 40, "relu"), (40, 40, "relu"), (40, 6, "softmax"))
    ]
    x = rng.normal(0, 1, (500, 30)).astype(np.float32)
    bound = demonstration.rounding_bound(layers, x)
    exact = nnk.Network(layers, np.float64)(x)
    for float32 in (nnk.Network(layers)(x), demonstration.numpy_network(layers, x)):
        error = np.abs(float32 - exact)
        assert (error <= bound).all()
        assert (error > bound / 10_000).any()  # The bound is not too loose.


# --- Predictions ---


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_predict(folder: Path, suffix: str) -> None:
    expected = make_network()(np.load(folder / "x.npy"))
    done = run("predict", folder / "net.safetensors", folder / f"x{suffix}", "-o", folder / "y.npy")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert same_bits(np.load(folder / "y.npy"), expected)
    printed = run("predict", folder / "net.safetensors", folder / f"x{suffix}")
    assert (printed.returncode, printed.stderr) == (0, "")
    (folder / "y.csv").write_text(printed.stdout)
    assert same_bits(read_csv(folder / "y.csv", np.float32), expected)


def digits_of(text: str) -> int:
    return len(text.lower().partition("e")[0].lstrip("-").replace(".", "").strip("0"))


def test_csv_has_the_shortest_digits_that_read_back_equal(folder: Path, dtype: Any, rng: np.random.Generator) -> None:
    # One neuron that returns its input, so that any number can be an output; in float16 every
    # number.
    nnk.Network([nnk.Dense([[1.0]])], dtype).save(folder / "same.safetensors")
    if dtype == np.float16:
        values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    else:
        integers = np.uint32 if dtype == np.float32 else np.uint64
        values = rng.integers(0, np.iinfo(integers).max, 20_000, integers, endpoint=True).view(dtype)
    special = [0, np.inf, -np.inf, np.nan, np.finfo(dtype).max, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal, 0.1]
    values = np.concatenate([values[~np.isnan(values)], np.array(special, dtype)])[:, np.newaxis]
    np.save(folder / "values.npy", values)
    assert main(["predict", str(folder / "same.safetensors"), str(folder / "values.npy"), "-o", str(folder / "y.csv")]) == 0
    expected = values + dtype(0)  # -0 becomes 0 when the bias is added
    assert same_bits(read_csv(folder / "y.csv", dtype), expected)
    for text in (folder / "y.csv").read_text().split():
        digits = digits_of(text)
        if digits > 1 and np.isfinite(dtype(text)):
            shorter = f"{float(text):.{digits - 2}e}"
            with np.errstate(over="ignore"):
                assert dtype(shorter) != dtype(text), (text, shorter)


@pytest.mark.parametrize("output", ["y.npy", "y.csv"])
def test_every_dtype_reads_back(folder: Path, dtype: Any, output: str) -> None:
    net = make_network((4, 6, 2), dtype)
    net.save(folder / "other.safetensors")
    for name in ("x.npy", "x.csv"):
        assert main(["predict", str(folder / "other.safetensors"), str(folder / name), "-o", str(folder / output)]) == 0
        written = np.load(folder / output) if output == "y.npy" else read_csv(folder / output, dtype)
        assert same_bits(written, net(np.load(folder / "x.npy")))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block_rows", [1, 7, 20, 1000])
def test_blocks(folder: Path, order: Any, block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_module, "BLOCK_NUMBERS", 4 * block_rows)
    x = np.load(folder / "x.npy")
    np.save(folder / "ordered.npy", np.asarray(x, order=order))
    for name in ("ordered.npy", "x.csv"):
        for output in ("y.npy", "y.csv"):
            assert main(["predict", str(folder / "net.safetensors"), str(folder / name), "-o", str(folder / output)]) == 0
        assert same_bits(np.load(folder / "y.npy"), make_network()(x))
        assert same_bits(read_csv(folder / "y.csv", np.float32), make_network()(x))


def test_more_than_one_block_of_the_usual_size(folder: Path, rng: np.random.Generator) -> None:
    rows = predict_module.BLOCK_NUMBERS // 5 * 2
    x = rng.normal(0, 1, (rows, 4)).astype(np.float32)
    np.save(folder / "many.npy", x)
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "many.npy"), "-o", str(folder / "y.npy")]) == 0
    assert same_bits(np.load(folder / "y.npy"), make_network()(x))


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i8", "f2", "f4", "f8", ">f4", ">i4"])
def test_npy_dtypes(folder: Path, dtype: str) -> None:
    x = np.arange(12).reshape(3, 4).astype(dtype)
    np.save(folder / "typed.npy", x)
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "typed.npy"), "-o", str(folder / "y.npy")]) == 0
    assert same_bits(np.load(folder / "y.npy"), make_network()(x))


def test_one_row_and_one_neuron_are_tables(folder: Path) -> None:
    x = np.load(folder / "x.npy")
    np.save(folder / "row.npy", x[3])
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "row.npy"), "-o", str(folder / "y.npy")]) == 0
    assert same_bits(np.load(folder / "y.npy"), make_network()(x)[3:4])
    neuron = nnk.Network([nnk.Dense([1.0, 2.0, -3.0, 0.5], 1.0)])
    neuron.save(folder / "neuron.safetensors")
    for name in ("y.npy", "y.csv"):
        assert main(["predict", str(folder / "neuron.safetensors"), str(folder / "x.npy"), "-o", str(folder / name)]) == 0
    assert same_bits(np.load(folder / "y.npy"), neuron(x)[:, np.newaxis])
    assert same_bits(read_csv(folder / "y.csv", np.float64), neuron(x)[:, np.newaxis])


CSV_VARIANTS: dict[str, Callable[[str], str]] = {
    "header": lambda text: "a,b,c,d\n" + text,
    "header in quotes": lambda text: '"width","height in m","c","d"\n' + text,
    "header after blank lines": lambda text: "\n\n a , b , c , d \n" + text,
    "byte order mark and header": lambda text: "\ufeffa,b,c,d\n" + text,
    "byte order mark": lambda text: "\ufeff" + text,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "blank lines": lambda text: text.replace("\n", "\n \n\n"),
    "quotes": lambda text: re.sub(r"[^,\n]+", r'"\g<0>"', text),
    "spaces and tabs": lambda text: text.replace(",", " ,\t"),
    "no end of line": lambda text: text.rstrip("\n"),
}


@pytest.mark.parametrize("variant", CSV_VARIANTS)
def test_csv_variants(folder: Path, variant: str) -> None:
    source = folder / "variant.csv"
    source.write_bytes(CSV_VARIANTS[variant]((folder / "x.csv").read_text()).encode())
    assert main(["predict", str(folder / "net.safetensors"), str(source), "-o", str(folder / "y.npy")]) == 0
    assert same_bits(np.load(folder / "y.npy"), make_network()(np.load(folder / "x.npy")))


@pytest.mark.parametrize("content", [np.zeros((0, 4)), "", "\n \n\n", "a,b,c,d\n"], ids=["npy", "empty", "blank", "header"])
def test_no_rows(folder: Path, content: NDArray[Any] | str, dtype: Any) -> None:
    make_network((4, 5, 3), dtype).save(folder / "other.safetensors")
    source = folder / ("none.npy" if isinstance(content, np.ndarray) else "none.csv")
    write(source, content)
    assert main(["predict", str(folder / "other.safetensors"), str(source), "-o", str(folder / "y.npy")]) == 0
    written = np.load(folder / "y.npy")
    assert (written.shape, written.dtype) == ((0, 3), dtype)
    assert main(["predict", str(folder / "other.safetensors"), str(source), "-o", str(folder / "y.csv")]) == 0
    assert (folder / "y.csv").read_bytes() == b""


def test_input_beyond_the_dtype_becomes_infinite_silently(folder: Path) -> None:
    (folder / "large.csv").write_text("1e300,-1e300,1,1e999\n")
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "large.csv"), "-o", str(folder / "y.npy")]) == 0
    assert same_bits(np.load(folder / "y.npy"), make_network()(np.array([[np.inf, -np.inf, 1, np.inf]])))


@posix
def test_output_may_be_the_input_a_link_or_there_already(folder: Path) -> None:
    expected = make_network()(np.load(folder / "x.npy"))
    (folder / "link.npy").symlink_to(folder / "x.npy")
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "x.npy"), "-o", str(folder / "link.npy")]) == 0
    assert (folder / "link.npy").is_symlink()
    assert same_bits(np.load(folder / "x.npy"), expected)


def test_output_has_the_permissions_of_a_new_file(folder: Path) -> None:
    (folder / "new").touch()
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "x.npy"), "-o", str(folder / "y.npy")]) == 0
    assert (folder / "y.npy").stat().st_mode == (folder / "new").stat().st_mode


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_output_keeps_the_permissions_of_the_file_it_replaces(folder: Path, mode: int) -> None:
    for name in ("y.npy", "y.csv"):
        (folder / name).touch()
        (folder / name).chmod(mode)
        assert main(["predict", str(folder / "net.safetensors"), str(folder / "x.npy"), "-o", str(folder / name)]) == 0
        assert stat.S_IMODE((folder / name).stat().st_mode) == mode
        assert (folder / name).stat().st_size > 0


# --- Options ---


@pytest.mark.parametrize(
    ("name", "character"), [("comma", ","), ("tab", "\t"), ("semicolon", ";"), ("|", "|"), (" ", " "), ("\t", "\t")]
)
def test_delimiter(folder: Path, name: str, character: str) -> None:
    """The delimiter separates the fields of input and output."""
    (folder / "x.csv").write_text((folder / "x.csv").read_text().replace(",", character))
    arguments = [str(folder / "net.safetensors"), str(folder / "x.csv"), "-o", str(folder / "y.csv")]
    assert main(["predict", *arguments, "--delimiter", name]) == 0
    (folder / "y.csv").write_text((folder / "y.csv").read_text().replace(character, ","))
    assert same_bits(read_csv(folder / "y.csv", np.float32), make_network()(np.load(folder / "x.npy")))


@pytest.mark.parametrize("delimiter", ["", "ab", "1", "e", ".", "-", "+", "_", '"', "\n", "tabs"])
def test_delimiter_that_cannot_be(delimiter: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict", "net.safetensors", "x.csv", f"--delimiter={delimiter}"])
    assert caught.value.code == 2
    assert "--delimiter: expected comma, semicolon, tab or a character that is not part of a number" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "rows"), [("--header", 20), ("--no-header", 21)])
def test_header_option(folder: Path, option: str, rows: int) -> None:
    (folder / "numbered.csv").write_text("0,1,2,3\n" + (folder / "x.csv").read_text())
    arguments = ["predict", str(folder / "net.safetensors"), str(folder / "numbered.csv"), "-o", str(folder / "y.npy")]
    assert main([*arguments, option]) == 0
    x = np.concatenate([np.arange(4.0)[np.newaxis], np.load(folder / "x.npy")])[-rows:]
    assert same_bits(np.load(folder / "y.npy"), make_network()(x))


# --- Pipes ---


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which ``predict`` is the command with its network."""
    function = f"predict() {{ '{sys.executable}' -W error -m nnkernels predict net.safetensors \"$@\"; }}; set -o pipefail; "
    arguments = ["bash", "-c", function + command]
    return subprocess.run(arguments, cwd=folder, env=ENVIRONMENT, capture_output=True, timeout=60, check=False)


# By name: a command that reads x.csv or x.npy and writes its outputs to y.csv or y.npy.
PIPES = {
    "csv to csv": "cat x.csv | predict - | cat > y.csv",
    "csv to npy": "cat x.csv | predict - -o y.npy",
    "csv to npy pipe": "cat x.csv | predict x.csv -o - --format npy | cat > y.npy",
    "npy to npy pipe": "cat x.npy | predict - --format npy | cat > y.npy",
    "npy to csv": "cat x.npy | predict - --format npy -o y.csv",
    "redirected": "predict - < x.csv > y.csv",
    "redirected npy": "predict - --format npy < x.npy > y.npy",
    "redirected Fortran order": "predict - --format npy < fortran.npy > y.npy",
    "after a line": "{ read -r; predict -; } < titled.csv > y.csv",
    "appended": "head -1 x.csv | predict - > y.csv; tail +2 x.csv | predict - >> y.csv",
    "appended by name": "head -1 x.csv | predict - > y.csv; tail +2 x.csv | predict - -o /dev/stdout >> y.csv",
    "standard streams by name": "cat x.csv | predict /dev/stdin -o /dev/stdout > y.csv",
    "process substitution": "mkfifo end; predict <(cat x.csv) -o >(cat > y.csv; echo > end) && read < end",
    "process substitution of npy": "predict <(cat x.npy) --format npy > y.npy",
    "fifos": "mkfifo in.csv out.csv; cat x.csv > in.csv & cat out.csv > y.csv & predict in.csv -o out.csv && wait",
    "npy fifos": "mkfifo in.npy out.npy; cat x.npy > in.npy & cat out.npy > y.npy & predict in.npy -o out.npy && wait",
    "csv to npy fifo": "mkfifo out.npy; cat out.npy > y.npy & predict x.csv -o out.npy && wait",
    "one after another": "predict x.csv | cut -d, -f1-3 | sed 's/$/,0/' | predict - > /dev/null && predict x.csv > y.csv",
    "other suffix": "cp x.csv x.txt; predict x.txt --format csv -o y.csv",
}


@posix
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("case", PIPES)
def test_pipes(folder: Path, case: str) -> None:
    x = np.load(folder / "x.npy")
    np.save(folder / "fortran.npy", np.asfortranarray(x))
    (folder / "titled.csv").write_text("a title\n" + (folder / "x.csv").read_text())
    done = shell(folder, PIPES[case])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    written = np.load(folder / "y.npy") if (folder / "y.npy").exists() else read_csv(folder / "y.csv", np.float32)
    assert same_bits(written, make_network()(x))
    assert all(path.is_fifo() for path in folder.glob("out.*"))  # The pipe is not replaced.


@posix
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("source", "output", "kind"),
    [
        ("-", "-", "csv"),
        ("-", "-", "npy"),
        ("/dev/stdin", "/dev/stdout", "csv"),
        ("/dev/fd/0", "/dev/fd/1", "npy"),
        ("/proc/self/fd/0", "/proc/self/fd/1", "csv"),
        ("in", "out", "npy"),
    ],
)
def test_files_that_are_open_go_on_where_they_are(folder: Path, source: str, output: str, kind: str) -> None:
    """A shell and its commands continue where the other stopped, also through links."""
    if source.startswith("/") and not Path(source).parent.exists():
        pytest.skip(f"needs {source}")
    (folder / "in").symlink_to("/dev/stdin")
    (folder / "link").symlink_to("/dev/stdout")
    (folder / "out").symlink_to("link")
    content = (folder / f"x.{kind}").read_bytes()
    (folder / "titled").write_bytes(b"a title\n" + content)
    command = f"{{ read -r; echo begin; predict {source} -o {output} --format {kind}; echo end; }} < titled > log"
    done = shell(folder, command)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    written = (folder / "log").read_bytes()
    assert written.startswith(b"begin\n")
    assert written.endswith(b"end\n")
    (folder / f"y.{kind}").write_bytes(written[6:-4])
    result = np.load(folder / "y.npy") if kind == "npy" else read_csv(folder / "y.csv", np.float32)
    assert same_bits(result, make_network()(np.load(folder / "x.npy")))


NO_FILE = "expected a network in a regular file, got a pipe or a device"

# Commands, and their messages. many.npy has more rows than a pipe can hold.
ENDS_OF_PIPES = {
    "predict /dev/null": None,
    "predict - < /dev/null": None,
    "predict x.csv -o /dev/null": None,
    "predict - <&-": "standard input: Bad file descriptor",
    "echo 1,2,3,x | predict -": "standard input, line 1, column 4: expected a number, got 'x'; not a header either, *",
    "cat x.npy | predict -": "standard input: expected CSV, got .npy: use --format npy",
    "echo 1,2,3,4 | predict - --format npy": "standard input is not a whole .npy file of numbers: *",
    "head -c 300 x.npy | predict - --format npy": "standard input is not a whole .npy file of numbers: expected 20 rows, got 5",
    "head -c 300 x.npy | predict - --format npy -o >(cat > y.npy)": "standard input is not a whole .npy file of numbers: *",
    "cat fortran.npy | predict - --format npy": "standard input: an array in Fortran order cannot be read by rows *",
    "mkfifo out.csv; head -c 1 out.csv > /dev/null & predict many.npy -o out.csv": "out.csv: Broken pipe",
    "mkfifo out.npy; head -c 1 out.npy > /dev/null & predict many.npy -o out.npy": "out.npy: Broken pipe",
    "mv net.safetensors net; mkfifo net.safetensors; cat net > net.safetensors & predict x.csv": f"net.safetensors: {NO_FILE}",
    "ln -sf /dev/zero net.safetensors; predict x.csv": f"net.safetensors: {NO_FILE}",
    "predict x.csv --format npy > /dev/full": "standard output: No space left on device",
    "predict x.csv -o /dev/full": "/dev/full: No space left on device",
    "predict many.npy -o /dev/full": "/dev/full: No space left on device",
    "predict x.csv -o /dev/stdout --format npy > /dev/full": "/dev/stdout: No space left on device",
    "predict /proc/self/mem --format csv -o y.csv": "/proc/self/mem: Input/output error",
    "predict - --format npy -o y.npy < /proc/self/mem": "standard input: Input/output error",
    "ln -s b.csv a.csv; ln -s a.csv b.csv; predict a.csv": "a.csv: Too many levels of symbolic links",
    "ln -s b.csv a.csv; ln -s a.csv b.csv; predict x.csv -o a.csv": "a.csv: Too many levels of symbolic links",
}


@posix
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("command", ENDS_OF_PIPES)
def test_ends_of_pipes(folder: Path, command: str) -> None:
    message = ENDS_OF_PIPES[command]
    for device in ("/dev/full", "/proc/self/mem"):
        if device in command and not Path(device).exists():
            pytest.skip(f"needs {device}")
    np.save(folder / "fortran.npy", np.asfortranarray(np.load(folder / "x.npy")))
    np.save(folder / "many.npy", np.ones((100_000, 4)))
    done = shell(folder, command)
    expected = 0 if message is None else 128 + signal.SIGPIPE if "Broken pipe" in message else 2
    assert (done.returncode, done.stdout) == (expected, b"")
    assert fnmatchcase(done.stderr.decode(), f"nnkernels: {message}\n" if message else "")


def test_rows_go_through_pipes_block_by_block(folder: Path) -> None:
    """The first outputs come before the last row."""
    rows = predict_module.BLOCK_NUMBERS // 4
    command = [*COMMAND, "predict", "net.safetensors", "-"]
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"1,2,3,4\n" * rows)
        process.stdin.flush()
        first = process.stdout.readline()
        process.stdin.write(b"1,2,3,4\n")
        process.stdin.close()
        rest = process.stdout.read()
    assert process.returncode == 0
    assert first + rest == first * (rows + 1)


# --- Errors ---


# By name: the file, its contents (None: no file) and the expected message.
BAD_INPUTS: dict[str, tuple[str, NDArray[Any] | str | bytes | None, str]] = {
    "missing npy": ("bad.npy", None, "bad.npy: No such file or directory"),
    "missing csv": ("bad.csv", None, "bad.csv: No such file or directory"),
    "suffix": ("bad.txt", "1,2,3,4\n", "bad.txt: expected a name that ends in .csv or .npy"),
    "no suffix": ("bad", "1,2,3,4\n", "bad: expected a name that ends in .csv or .npy"),
    "npy of text": ("bad.npy", "1,2,3,4\n" * 9, "bad.npy is not a whole .npy file"),
    "npz": ("bad.npy", b"PK\x03\x04" + bytes(200), "bad.npy is not a whole .npy file"),
    "npy, narrow": ("bad.npy", np.zeros((5, 3)), "expected the shape (rows, 4) or (4,), got float64 of shape (5, 3)"),
    "npy, wide": ("bad.npy", np.zeros((5, 5)), "got float64 of shape (5, 5)"),
    "npy, number": ("bad.npy", np.array(1.0), "got float64 of shape ()"),
    "npy, long row": ("bad.npy", np.zeros(8), "got float64 of shape (8,)"),
    "npy, 3 dimensions": ("bad.npy", np.zeros((2, 3, 4)), "got float64 of shape (2, 3, 4)"),
    "npy, complex": ("bad.npy", np.zeros((2, 4), complex), "expected a real dtype"),
    "npy, strings": ("bad.npy", np.array([["1", "2", "3", "4"]]), "expected a real dtype"),
    "npy, dates": ("bad.npy", np.zeros((2, 4), "M8[s]"), "expected a real dtype"),
    "npy, records": ("bad.npy", np.zeros((2, 4), "f4,f4"), "expected a real dtype"),
    "csv, two headers": ("bad.csv", "a,b,c,d\na,b,c,d\n", "line 2, column 1: expected a number, got 'a'"),
    "csv, short line": ("bad.csv", "1,2,3,4\n\n1,2,3\n", "line 3: expected 4 numbers separated by ',', got 3"),
    "csv, long line": ("bad.csv", "1,2,3,4\n1,2,3,4,5\n", "line 2: expected 4 numbers separated by ',', got 5"),
    "csv, narrow": ("bad.csv", "1,2,3\n4,5,6\n", "line 1: expected 4 numbers separated by ',', got 3"),
    "csv, semicolons": ("bad.csv", "1;2;3;4\n1;2;3;4\n", "line 1: expected 4 numbers separated by ',', got 1 (--delimiter"),
    "csv, word": ("bad.csv", "1,2,3,4\n1,2,x,4\n", "line 2, column 3: expected a number, got 'x'"),
    "csv, word in the first line": ("bad.csv", "1,2,n/a,4\n", "line 1, column 3: expected a number, got 'n/a'"),
    "csv, long word": ("bad.csv", f"1,2,3,4\n1,2,3,{'x' * 9999}\n", "line 2, column 4: expected a number"),
    "csv, gap": ("bad.csv", "1,2,3,4\n1,,3,4\n", "line 2, column 2: expected a number, got ''"),
    "csv, header with gaps": (
        "bad.csv",
        "a,,,\n1,2,3,4\n",
        "column 1: expected a number, got 'a'; not a header either, since column 2 is '': use --header if it is one",
    ),
    "csv, numbers from 0": (
        "bad.csv",
        "0,1,2,3\n1,2,3,4\n",
        "line 1: '0,1,2,3' may be a header or a row: use --header",
    ),
    "csv, gaps": ("bad.csv", ",,,\n1,2,3,4\n", "line 1, column 1: expected a number, got ''"),
    "csv, comment": ("bad.csv", "1,2,3,4\n1,2,3,4#5\n", "line 2, column 4: expected a number, got '4#5'"),
    "csv, underscore": ("bad.csv", "1,2,3,1_0\n", "line 1, column 4: expected a number, got '1_0'"),
    "csv, Arabic digit": ("bad.csv", "1,2,3,4\n1,2,3,\u0664\n", "line 2, column 4: expected a number, got '\u0664'"),
    "csv, not UTF-8": (
        "bad.csv",
        b"1,2,3,4\n1,2,3,\xff\n",
        "line 2, column 4: expected a number, got '\\udcff'",
    ),
}


def write(path: Path, content: NDArray[Any] | str | bytes | None) -> None:
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def assert_fails(folder: Path, capfd: pytest.CaptureFixture[str], message: str, *arguments: str | Path) -> None:
    """Check that a command exits with status 2 and one line, and changes no file."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["predict", *map(str, arguments)]) == 2
    out, err = capfd.readouterr()
    assert re.fullmatch(r"nnkernels: [^\n]{1,400}\n", err)
    assert message in err
    assert out == ""
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("output", ["y.npy", "y.csv", "there.csv"])
@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input(folder: Path, capfd: pytest.CaptureFixture[str], case: str, output: str) -> None:
    (folder / "there.csv").write_text("keep me")
    name, content, message = BAD_INPUTS[case]
    write(folder / name, content)
    assert_fails(folder, capfd, message, folder / "net.safetensors", folder / name, "-o", folder / output)
    assert_fails(folder, capfd, message, folder / "net.safetensors", folder / name)


@pytest.mark.parametrize("length", [0, 5, 8, 40, 127, 128, 129, 128 + 20 * 4 * 8 - 1])
def test_truncated_npy(folder: Path, capfd: pytest.CaptureFixture[str], length: int) -> None:
    (folder / "short.npy").write_bytes((folder / "x.npy").read_bytes()[:length])
    arguments = (folder / "net.safetensors", folder / "short.npy", "-o", folder / "y.npy")
    assert_fails(folder, capfd, "not a whole .npy file", *arguments)


@pytest.mark.parametrize(
    "shape",
    ["(True, 4)", "(-5, 4)", "(10**20, 4)", f"({10**30}, 4)", "(5, 4", "5", "('a', 4)", "(5, 4)" + 20_000 * " "],
    ids=lambda shape: shape[:30],
)
def test_malformed_npy(folder: Path, capfd: pytest.CaptureFixture[str], shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(160)
    (folder / "malformed.npy").write_bytes(content)
    arguments = (folder / "net.safetensors", folder / "malformed.npy", "-o", folder / "y.npy")
    assert_fails(folder, capfd, "not a whole .npy file", *arguments)


class Trap:
    """A hostile pickle: unpickling it makes a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def test_objects_are_never_unpickled(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    np.save("objects.npy", np.array([[Trap()] * 4], object), allow_pickle=True)
    assert_fails(folder, capfd, "objects", "net.safetensors", "objects.npy", "-o", "y.npy")
    assert not Path("unpickled").exists()
    np.load("objects.npy", allow_pickle=True)
    assert Path("unpickled").exists()


@pytest.mark.skipif(np.finfo(np.longdouble).nmant == np.finfo(np.float64).nmant, reason="a file does not tell them apart")
def test_longdouble(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "long.npy", np.zeros((2, 4), np.longdouble))
    assert_fails(folder, capfd, "long.npy: expected a real dtype", folder / "net.safetensors", folder / "long.npy")


@posix
def test_input_that_is_a_folder(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("folder.npy", "folder.csv"):
        (folder / name).mkdir()
        assert_fails(folder, capfd, f"{name}: Is a directory", folder / "net.safetensors", folder / name)


@pytest.mark.parametrize("model", ["missing.safetensors", "x.npy", "short.safetensors", "empty.safetensors", "folder"])
def test_bad_model(folder: Path, capfd: pytest.CaptureFixture[str], model: str) -> None:
    (folder / "short.safetensors").write_bytes((folder / "net.safetensors").read_bytes()[:-1])
    (folder / "empty.safetensors").touch()
    (folder / "folder").mkdir()
    assert_fails(folder, capfd, f"{folder / model}", folder / model, folder / "x.npy", "-o", folder / "y.npy")


@posix
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("y.txt", "y.txt: expected a name that ends in .csv or .npy"),
        ("missing/y.npy", "missing/y.npy: No such file or directory"),
        ("x.csv/y.npy", "x.csv/y.npy: Not a directory"),
        ("folder.npy", "folder.npy: Is a directory"),
        ("y" * 300 + ".npy", "File name too long"),
    ],
    ids=["suffix", "no folder", "file for a folder", "folder", "long"],
)
def test_bad_output(folder: Path, capfd: pytest.CaptureFixture[str], output: str, message: str) -> None:
    (folder / "folder.npy").mkdir()
    assert_fails(folder, capfd, message, folder / "net.safetensors", folder / "x.npy", "-o", folder / output)


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("protected", ["folder", "file"])
def test_output_without_permission(folder: Path, capfd: pytest.CaptureFixture[str], protected: str) -> None:
    (folder / "closed").mkdir()
    output = folder / "closed" / "y.npy"
    output.touch()
    (output if protected == "file" else output.parent).chmod(0o555)
    assert_fails(folder, capfd, f"{output}: Permission denied", folder / "net.safetensors", folder / "x.npy", "-o", output)
    output.parent.chmod(0o755)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_demonstration_to_a_full_disk(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(stdout=full, cwd=folder)
    assert (done.returncode, done.stderr) == (2, "nnkernels: No space left on device\n")


def test_disk_that_fills_up(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def write_a_part(file: Any, *_: Any) -> None:
        file.write(b"a part")
        file.flush()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict_module, "write_csv", write_a_part)
    assert_fails(folder, capfd, "No space left", folder / "net.safetensors", folder / "x.npy", "-o", folder / "y.csv")


@posix
@pytest.mark.parametrize("arguments", [[], ["predict", "net.safetensors", "x.npy"]], ids=["demonstration", "predict"])
def test_closed_pipe(folder: Path, arguments: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run(*arguments, stdout=write_end, cwd=folder)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "nnkernels: standard output: Broken pipe\n")


@posix
def test_pipe_that_is_closed_on_the_way(folder: Path) -> None:
    np.save(folder / "many.npy", np.ones((100_000, 4)))
    command = [*COMMAND, "predict", "net.safetensors", "many.npy"]
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.readline().split(",")) == 3
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE
        assert process.stderr.read() == "nnkernels: standard output: Broken pipe\n"


def run_after(preparation: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run predict in a process after some Python code."""
    code = f"import sys\nfrom nnkernels.__main__ import main\n{preparation}\nsys.exit(main(['predict', *sys.argv[1:]]))"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=60)


@posix
@pytest.mark.parametrize("output", ["y.npy", "y.csv"])
def test_limit_of_file_size(folder: Path, output: str) -> None:
    np.save(folder / "many.npy", np.ones((10_000, 4)))
    before = sorted(folder.iterdir())
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))"
    done = run_after(limit, folder, "net.safetensors", "many.npy", "-o", output)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"nnkernels: {output}: File too large\n")
    assert sorted(folder.iterdir()) == before


def run_with_mounts(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run predict after a script that mounts file systems, visible only to it."""
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-e", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "mount -t tmpfs none /mnt"], check=False).returncode != 0:
        pytest.skip("may not mount file systems")
    command = [*namespace, f'{script}\n"$@"', "sh", *COMMAND, "predict", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=60, check=False)


@pytest.mark.parametrize(("options", "message"), [("size=64k", "No space left on device"), ("ro", "Read-only file system")])
@pytest.mark.parametrize("output", ["y.npy", "y.csv"])
def test_output_to_a_file_system_that_cannot_take_it(folder: Path, options: str, message: str, output: str) -> None:
    np.save(folder / "many.npy", np.ones((10_000, 4)))
    (folder / "disk").mkdir()
    mount = f"mount -t tmpfs -o {options} none disk; trap 'ls -A disk' EXIT"
    done = run_with_mounts(mount, folder, "net.safetensors", "many.npy", "-o", f"disk/{output}")
    assert (done.returncode, done.stdout) == (2, "")  # no files are left there
    assert done.stderr == f"nnkernels: disk/{output}: {message}\n"


@pytest.mark.parametrize("output", ["y.npy", "y.csv"])
def test_output_that_cannot_be_replaced(folder: Path, output: str) -> None:
    """A mounted file, as in a container."""
    mount = f"touch {output}; mount --bind {output} {output}"
    done = run_with_mounts(mount, folder, "net.safetensors", "x.npy", "-o", output)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"nnkernels: {output}: Device or resource busy\n")


def test_read_only_file_systems(folder: Path) -> None:
    """Nothing is written beside the package, the model or the rows."""
    mount = "\n".join(f'mount --bind "{place}" "{place}"; mount -o remount,bind,ro "{place}"' for place in (PACKAGE, folder))
    done = run_with_mounts(f'{mount}\ncd "{folder}"; ! touch new 2> /dev/null', folder, "net.safetensors", "x.npy")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 20


LITTLE_MEMORY = """
import resource
import safetensors.numpy, tqdm
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**24,) * 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space, and tells its size in /proc")
@pytest.mark.parametrize("wide", ["model", "rows"])
def test_too_little_memory(folder: Path, wide: str) -> None:
    make_network((4, 1_000_000 if wide == "model" else 1000, 1)).save(folder / "wide.safetensors")
    np.save(folder / "many.npy", np.ones((1_000_000, 4), order="F"))  # mapped into memory, by columns
    before = sorted(folder.iterdir())
    done = run_after(LITTLE_MEMORY, folder, "wide.safetensors", "many.npy", "-o", "y.npy")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"nnkernels: (out of memory: |Cannot allocate memory)[^\n]*\n", done.stderr)
    assert sorted(folder.iterdir()) == before


# Sets a C locale with a decimal comma.
DECIMAL_COMMA = """
import locale
locale.setlocale(locale.LC_NUMERIC, "comma")
assert locale.format_string("%.1f", 0.5) == "0,5"
"""


@pytest.mark.skipif(shutil.which("localedef") is None, reason="needs localedef, which comes with glibc")
def test_decimal_comma_of_the_locale(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "source").write_text('LC_NUMERIC\ndecimal_point ","\nthousands_sep "."\ngrouping 3\nEND LC_NUMERIC\n')
    command = ["localedef", "--force", "--no-archive", "-i", "./source", "./comma"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    monkeypatch.setitem(ENVIRONMENT, "LOCPATH", str(folder))
    done = run_after(DECIMAL_COMMA, folder, "net.safetensors", "x.csv", "-o", "y.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert same_bits(read_csv(folder / "y.csv", np.float32), make_network()(np.load(folder / "x.npy")))


@posix
def test_closed_standard_output_and_error(folder: Path) -> None:
    def closed(streams: str, arguments: str) -> subprocess.CompletedProcess[str]:
        command = f'"$0" -m nnkernels {arguments} {streams}'
        shell = ["sh", "-c", command, sys.executable]
        return subprocess.run(shell, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT, timeout=60)

    done = closed(">&-", "predict net.safetensors x.npy")
    assert (done.returncode, done.stderr) == (2, "nnkernels: standard output: Bad file descriptor\n")
    assert closed(">&-", "predict net.safetensors x.npy -o y.npy").returncode == 0
    assert closed(">&-", "").returncode == 0
    assert closed("2>&-", "predict net.safetensors x.npy").returncode == 0
    done = closed("2>&-", "predict net.safetensors missing.npy")
    assert (done.returncode, done.stdout) == (2, "")


# --- Interruption ---


@posix
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signal_leaves_nothing(folder: Path, name: str, status: int) -> None:
    (folder / "y.csv").write_text("keep me")
    # A pipe that stays open after some rows, so that the process waits in the middle of its work.
    os.mkfifo(folder / "pipe.csv")
    pipe = os.open(folder / "pipe.csv", os.O_RDWR)
    os.write(pipe, b"1,2,3,4\n" * 100)
    arguments = ["predict", "net.safetensors", "pipe.csv", "-o", "y.csv"]
    command = [sys.executable, "-m", "nnkernels", *arguments]  # not -W error: an interrupted open may warn
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(folder.glob(".nnkernels-*")):
            time.sleep(0.005)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    os.close(pipe)
    assert (process.returncode, out, err) == (status, b"", b"")
    assert (folder / "y.csv").read_text() == "keep me"
    assert sorted(path.name for path in folder.iterdir()) == ["net.safetensors", "pipe.csv", "x.csv", "x.npy", "y.csv"]


@posix
def test_interruption_does_not_wait_for_wide_layers(folder: Path) -> None:
    """In a wide network, even a block of rows with few numbers is much work."""
    make_network((4, 3000, 3000, 3)).save(folder / "wide.safetensors")
    np.lib.format.open_memmap(folder / "many.npy", "w+", np.float32, (10**8, 4))  # a sparse file, which takes no disk space
    before = sorted(folder.iterdir())
    command = [sys.executable, "-m", "nnkernels", "predict", "wide.safetensors", "many.npy", "-o", "y.npy"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(folder.glob(".nnkernels-*")):
            time.sleep(0.005)
        time.sleep(0.1)  # The process is now computing a block.
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        seconds = time.monotonic() - begin
    assert (process.returncode, out, err) == (130, b"", b"")
    assert seconds < 1
    assert sorted(folder.iterdir()) == before


def test_interruption_between_blocks_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []

    class Interrupted(nnk.Network):
        def __call__(self, x: Any, out: Any = None) -> Any:
            if written:
                raise KeyboardInterrupt
            written.append(x)
            return super().__call__(x, out)

    monkeypatch.setattr(predict_module, "BLOCK_NUMBERS", 4 * 7)
    monkeypatch.setattr(predict_module, "read_model", lambda path: (Interrupted(make_network().layers), Names()))
    for output in ("y.npy", "y.csv"):
        written.clear()
        assert main(["predict", str(folder / "net.safetensors"), str(folder / "x.npy"), "-o", str(folder / output)]) == 130
        assert len(written) == 1
        assert sorted(path.name for path in folder.iterdir()) == ["net.safetensors", "x.csv", "x.npy"]


# --- Progress ---


class Terminal:
    """A terminal of 80 columns: a stream to write to, and its output after it is closed."""

    def __init__(self) -> None:
        pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")  # not on Windows
        self.other_end, own = pty.openpty()
        termios.tcsetwinsize(own, (24, 80))
        self.stream = os.fdopen(own, "w", encoding="utf-8")

    def close(self) -> bytes:
        self.stream.close()
        shown = b""
        try:
            while part := os.read(self.other_end, 4096):
                shown += part
        except OSError:  # Linux raises it at the end
            pass
        os.close(self.other_end)
        return shown


class Slow(nnk.Network):
    """A network slow enough for tqdm, which updates at most every 0.1 s, to show each block."""

    def __call__(self, x: Any, out: Any = None) -> Any:
        time.sleep(0.11)
        return super().__call__(x, out)


@pytest.mark.parametrize("name", ["x.npy", "x.csv"])
@pytest.mark.parametrize("long", [True, False])
def test_progress_on_a_terminal_when_it_is_long(folder: Path, name: str, long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    monkeypatch.setattr(predict_module, "BLOCK_NUMBERS", 4 * 5)
    monkeypatch.setattr(predict_module, "PROGRESS_DELAY", 1e-9 if long else 1e9)
    monkeypatch.setattr(predict_module, "read_model", lambda path: (Slow(make_network().layers), Names()))
    assert main(["predict", str(folder / "net.safetensors"), str(folder / name), "-o", str(folder / "y.npy")]) == 0
    shown = terminal.close()
    if long:
        assert [int(percent) for percent in re.findall(rb"(\d+)%", shown)] == pytest.approx([25, 50, 75, 100], abs=3)
        assert re.search(rb"\r +\r$", shown)  # The bar disappears at the end.
    else:
        assert shown == b""


def test_no_progress_among_rows_on_the_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    monkeypatch.setattr(sys, "stdout", terminal.stream)
    monkeypatch.setattr(predict_module, "PROGRESS_DELAY", 1e-9)
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "x.npy")]) == 0
    shown = terminal.close()
    assert shown.count(b"\n") == 20
    assert b"%" not in shown


def test_no_progress_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(predict_module, "PROGRESS_DELAY", 0)
    assert main(["predict", str(folder / "net.safetensors"), str(folder / "x.npy"), "-o", str(folder / "y.npy")]) == 0
    assert capfd.readouterr() == ("", "")


# --- The command line ---


def test_version_and_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10000")  # each paragraph is a line
    for arguments, expected in (
        (["--version"], f"nnkernels {nnk.__version__}\n"),
        (["--help"], "predict"),
        (["predict", "--help"], "CSV must be UTF-8; numbers may be quoted. "),
        (["predict", "--help"], "row i is for the i-th non-blank row of INPUT"),
        (["predict", "--help"], "pd.read_csv(path, header=None)"),
        (["predict", "--help"], "Exit status 2: a file or an argument is invalid."),
        (["predict", "--help"], "A header must have the columns that the network was trained on, in any order"),
        (
            ["train", "--help"],
            "Ctrl-C ends training early: the best network so far is written, unless the first epoch is incomplete",
        ),
        (["train", "--help"], "Exit status 2: a file or an argument is invalid."),
        (["show", "--help"], "Print the layers of a saved network"),
        (["convert", "--help"], "Convert a network, or an ONNX or Keras model that is a chain of dense layers, to"),
        (["convert", "--help"], "replaces a network, but no other file"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["predict", "net.safetensors"],
        ["train"],
        ["train", "x.csv"],
        ["show"],
        ["convert", "m.onnx"],
        ["unknown"],
        ["--unknown"],
    ],
    ids=str,
)
def test_bad_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m nnkernels" in capsys.readouterr().err
