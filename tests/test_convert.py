"""``python -m nnkernels convert``, and the other commands on ONNX and Keras models."""

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import nnkernels as nnk
from keras_files import dense, inputs, layer, sequential, write_archive, write_legacy
from nnkernels.__main__ import main
from nnkernels.commands import models
from test_main import COMMAND

RNG = np.random.default_rng(7)
WEIGHTS, BIAS = RNG.normal(0, 1, (4, 3)).astype(np.float32), RNG.normal(0, 1, 3).astype(np.float32)
MODELS = ("net.safetensors", "net.onnx", "net.keras", "net.h5")


def onnx_model(*more: onnx.NodeProto, outputs: tuple[str, ...] = ("y",)) -> bytes:
    """Return an ONNX file with a Gemm from 4 inputs to 3 outputs, named y, and more nodes."""
    number = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="fc"), *more],
        "graph",
        [helper.make_tensor_value_info("x", number, ["batch", 4])],
        [helper.make_tensor_value_info(name, number, ["batch", 3]) for name in outputs],
        [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(BIAS, "b")],
    )
    model = helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)])
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder with x.csv and a 4-3 network in each format. No hidden files may remain."""
    monkeypatch.chdir(tmp_path)
    nnk.Network([nnk.Dense(WEIGHTS.T, BIAS)]).save("net.safetensors")
    Path("net.onnx").write_bytes(onnx_model())
    model = sequential(inputs(4), dense("fc", WEIGHTS, BIAS))
    write_archive(Path("net.keras"), model)
    write_legacy(Path("net.h5"), model)
    np.savetxt("x.csv", RNG.normal(0, 1, (5, 4)), delimiter=",")
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def first_weights(net: nnk.Network) -> NDArray[Any]:
    (only,) = net.layers
    assert isinstance(only, nnk.Dense)
    return only.weights


@pytest.mark.parametrize("output", ["new.safetensors", "new.onnx", "NEW.ONNX"])
@pytest.mark.parametrize("model", MODELS)
def test_convert(folder: Path, capfd: pytest.CaptureFixture[str], model: str, output: str) -> None:
    assert main(["convert", model, output]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert re.fullmatch(r"Network of 1 layer, float32\n(.*\n)+written: \S+\nSHA-256 of the weights: [0-9a-f]{64}\n", out)
    assert f"written: {output}\n" in out
    expected = nnk.load("net.safetensors")
    assert first_weights(nnk.load(output)).tobytes() == first_weights(expected).tobytes()
    assert str(nnk.load(output)) == str(expected)


def test_metadata_are_kept(folder: Path) -> None:
    metadata = {"classes": '["a", "b", "c"]', "note": "of ours"}
    nnk.Network([nnk.Dense(WEIGHTS.T, BIAS, "softmax")], metadata=metadata).save("net.safetensors")
    assert main(["convert", "net.safetensors", "there.onnx"]) == 0
    assert main(["convert", "there.onnx", "back.safetensors"]) == 0
    assert nnk.load("back.safetensors").metadata == metadata
    assert Path("back.safetensors").read_bytes() == Path("net.safetensors").read_bytes()


@pytest.mark.parametrize("command", ["predict", "show"])
def test_commands_take_models_of_every_kind(folder: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    outputs = set()
    for model in MODELS:
        assert main([command, model, *["x.csv"] * (command == "predict")]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        outputs.add(re.sub(r"file: [\d,]+ bytes", "", out))
    assert len(outputs) == 1


def test_output_of_several(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    relu = helper.make_node("Relu", ["y"], ["z"], name="act")
    Path("two.onnx").write_bytes(onnx_model(relu, outputs=("y", "z")))
    for name, activation in (("y", None), ("z", "relu")):
        assert main(["convert", "two.onnx", "new.safetensors", "--output", name]) == 0
        (only,) = nnk.load("new.safetensors").layers
        assert isinstance(only, nnk.Dense)
        assert only.activation == activation
    capfd.readouterr()
    for options in ([], ["--output", "none"]):
        assert_fails(capfd, "from_onnx('two.onnx'): ", "convert", "two.onnx", "new.safetensors", *options)
    assert_fails(capfd, "net.keras", "convert", "net.keras", "new.safetensors", "--output", "y")


def test_what_is_left_out_is_said_in_a_line(folder: Path) -> None:
    """Even if warnings are errors."""
    tail = helper.make_node("ArgMax", ["p"], ["label"], axis=1, name="argmax")
    soft = helper.make_node("Softmax", ["y"], ["p"], axis=1, name="soft")
    content = onnx.load_from_string(onnx_model(soft, tail, outputs=()))
    content.graph.output.append(helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["batch", 1]))
    Path("label.onnx").write_bytes(content.SerializeToString())
    Path("old.onnx").write_bytes(Path("label.onnx").read_bytes())  # no note about the file that is replaced
    for arguments in (
        ["convert", "label.onnx", "new.safetensors"],
        ["convert", "label.onnx", "old.onnx"],
        ["predict", "label.onnx", "x.csv"],
        ["show", "label.onnx"],
    ):
        ran = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0
        assert re.fullmatch(
            r"nnkernels: from_onnx\('label.onnx'\): left out the conversion of outputs to labels: .*\n", ran.stderr
        )


def test_other_warnings_are_pythons_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    net = nnk.load("net.safetensors")

    def load(_: Path) -> nnk.Network:
        warnings.warn("one line", UserWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        return net

    monkeypatch.setattr(models, "load", load)
    with pytest.warns(DeprecationWarning, match="^old$") as caught:
        assert models.read_model(Path("net.onnx"))[0] is net
    assert len(caught) == 1
    assert capfd.readouterr().err == "nnkernels: one line\n"


# --- Errors ---


def assert_fails(capfd: pytest.CaptureFixture[str], message: str, *arguments: str) -> None:
    """Check that a command exits with status 2 and one line, and changes no file."""
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert main([*arguments]) == 2
    out, err = capfd.readouterr()
    assert re.fullmatch(r"nnkernels: [^\n]{1,400}\n", err)
    assert message in err
    assert out == ""
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("model", "output", "message"),
    [
        ("net.onnx", "new.txt", "new.txt: expected a name that ends in .safetensors or .onnx"),
        ("net.onnx", "new", "new: expected a name that ends in .safetensors or .onnx"),
        ("net.onnx", "none/new.safetensors", "none/new.safetensors: No such file or directory"),
        ("none.onnx", "new.safetensors", "none.onnx: No such file or directory"),
        ("x.csv", "new.safetensors", "x.csv does not hold a network"),
        ("net.onnx", "net.onnx", "net.onnx: expected different files for the model and the network"),
        ("net.onnx", "link.onnx", "link.onnx: expected different files for the model and the network"),
        ("net.onnx", "table.safetensors", "table.safetensors: this file is not a network and is kept: choose another name"),
        ("net.onnx", "table.onnx", "table.onnx: this file is not a network and is kept"),
        ("net.h5", "keras.safetensors", "keras.safetensors: this file is not a network and is kept"),
        ("net.safetensors", "conv.onnx", "conv.onnx: this file is not a network and is kept"),
        ("conv.onnx", "new.safetensors", "from_onnx('conv.onnx'): "),
        (
            "odd.keras",
            "new.safetensors",
            "from_keras('odd.keras'): layer 'my_lstm' (LSTM): expected one of the supported layers",
        ),
        ("named.safetensors", "new.onnx", "named.safetensors: expected metadata 'classes' to be 3 different strings, got 1"),
    ],
)
@pytest.mark.usefixtures("symbolic_links")
def test_errors(folder: Path, capfd: pytest.CaptureFixture[str], model: str, output: str, message: str) -> None:
    Path("link.onnx").symlink_to("net.onnx")
    for name in ("table.safetensors", "table.onnx"):
        Path(name).write_text("1,2\n3,4\n")
    write_archive(Path("keras.safetensors"), sequential(dense("fc", WEIGHTS, BIAS)))
    Path("conv.onnx").write_bytes(onnx_model(helper.make_node("Conv", ["y", "w"], ["z"], name="conv"), outputs=("z",)))
    write_archive(Path("odd.keras"), sequential(dense("fc", WEIGHTS, BIAS), layer("LSTM")))
    nnk.Network([nnk.Dense(WEIGHTS.T)], metadata={"classes": '["a"]'}).save("named.safetensors")
    assert_fails(capfd, message, "convert", model, output)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_networks_are_replaced_and_keep_their_permissions(folder: Path) -> None:
    nnk.Network([nnk.Dense([1.0])]).save("old.safetensors")
    Path("old.safetensors").chmod(0o640)
    Path("old.onnx").write_bytes(onnx_model())
    Path("empty.onnx").touch()
    for output in ("old.safetensors", "old.onnx", "empty.onnx"):
        assert main(["convert", "net.keras", output]) == 0
        assert nnk.load(output).outputs == 3
    assert Path("old.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("package", "model"), [("onnx", "net.onnx"), ("h5py", "net.keras"), ("h5py", "net.h5")])
def test_packages_that_are_missing(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, package: str, model: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"onnx": "onnx", "h5py": "keras"}[package]
    assert_fails(capfd, f"pip install 'nnkernels[{extra}]'", "convert", model, "new.safetensors")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_standard_output_that_is_full(folder: Path) -> None:
    """The network has already been written."""
    ran = subprocess.run(
        ["sh", "-c", f"{' '.join(COMMAND)} convert net.h5 new.safetensors >/dev/full"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (2, "nnkernels: standard output: No space left on device\n")
    assert nnk.load("new.safetensors").outputs == 3
