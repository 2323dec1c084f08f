"""from_keras: layers of every kind from objects and files, refusals, hostile files, real models."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray

import nnkernels as nnk
from keras_files import (
    Layer,
    as_object,
    dense,
    described,
    functional,
    inputs,
    layer,
    node,
    sequential,
    write_archive,
    write_legacy,
)

Array = NDArray[Any]
RNG = np.random.default_rng(20261128)
FUZZED = sorted(Path(__file__).parent.joinpath("corpus", "keras").iterdir())


def numbers(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.normal(0, 0.7, shape).astype(dtype)


# A few layers, starting with 4 inputs.
FIRST = dense("first", numbers(4, 4), numbers(4))  # square: a transposed kernel would fit
LAST = dense("last", numbers(4, 3), numbers(3), "softmax")


def normalisation(**options: Any) -> Layer:
    arrays = {"gamma": numbers(4), "beta": numbers(4), "moving_mean": numbers(4), "moving_variance": numbers(4) ** 2}
    if not options.get("scale", True):
        del arrays["gamma"]
    if not options.get("center", True):
        del arrays["beta"]
    return layer("BatchNormalization", "norm", **({"axis": -1, "epsilon": 0.01} | options), **arrays)


# --- Each layer against its textbook formula in float64 ---

FORMULAS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "sigmoid": scipy.special.expit,
    "tanh": np.tanh,
    "silu": lambda z: z * scipy.special.expit(z),
    "swish": lambda z: z * scipy.special.expit(z),
    "gelu": lambda z: z * scipy.special.ndtr(z),
    "softplus": lambda z: np.logaddexp(z, 0),
    "exponential": np.exp,
    "softmax": lambda z: scipy.special.softmax(z, -1),
    "log_softmax": lambda z: scipy.special.log_softmax(z, -1),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
    "celu": lambda z: np.where(z > 0, z, np.expm1(z)),
}


def activated(activation: Any, z: Array) -> Array:
    if isinstance(activation, dict):
        return computed(layer(activation["class_name"], **activation["config"]), z)
    return FORMULAS[activation](z)


def computed(of: Layer, x: Array) -> Array:
    """Return the outputs of a layer or model for rows, in float64."""
    config, arrays = of.config, {name: array.astype(np.float64) for name, array in of.variables.items()}
    match of.kind:
        case "Dense":
            return activated(config["activation"], x @ arrays["kernel"] + arrays.get("bias", 0.0))
        case "Activation":
            return activated(config["activation"], x)
        case "BatchNormalization":
            spread = np.sqrt(arrays["moving_variance"] + config["epsilon"])
            return (x - arrays["moving_mean"]) / spread * arrays.get("gamma", 1.0) + arrays.get("beta", 0.0)
        case "Normalization":
            mean, variance = (np.asarray(arrays.get(name, config.get(name))) for name in ("mean", "variance"))
            deviation = np.maximum(np.sqrt(variance), 1e-7)
            return x * deviation + mean if config.get("invert") else (x - mean) / deviation
        case "Rescaling":
            return x * np.asarray(config["scale"]) + np.asarray(config.get("offset", 0.0))
        case "LeakyReLU":
            return np.where(x > 0, x, config.get("negative_slope", config.get("alpha", 0.3)) * x)
        case "PReLU":
            return np.where(x > 0, x, arrays["alpha"] * x)
        case "ReLU":
            return np.where(x > 0, x, config.get("negative_slope", 0.0) * x)
        case "ELU":
            return np.where(x > 0, x, config.get("alpha", 1.0) * np.expm1(x))
        case "Softmax":
            return FORMULAS["softmax"](x)
        case "Flatten":
            return x.reshape(len(x), -1)
        case _:
            for inner in of.layers:
                x = computed(inner, x)
            return x


LEAKY = {"module": "keras.layers", "class_name": "LeakyReLU", "config": {"name": "leaky", "negative_slope": 0.1}}

MODELS: dict[str, Layer] = {
    **{f"activation {name}": sequential(inputs(4), dense("d", numbers(4, 4), numbers(4), name)) for name in FORMULAS},
    "activation that is a layer": sequential(inputs(4), dense("d", numbers(4, 4), numbers(4), LEAKY), LAST),
    "activation that is a layer of Keras 2": sequential(
        dense("d", numbers(4, 4), numbers(4), {"class_name": "ELU", "config": {"name": "elu", "alpha": 0.5}})
    ),
    "no bias": sequential(inputs(4), dense("d", numbers(4, 3))),
    "no shape of inputs": sequential(FIRST, LAST),
    "float16": sequential(dense("d", numbers(4, 3, dtype=np.float16), numbers(3, dtype=np.float16), "relu")),
    "float64": sequential(dense("d", numbers(4, 3, dtype=np.float64), numbers(3, dtype=np.float64), "tanh")),
    "big-endian": sequential(dense("d", numbers(4, 3, dtype=">f4"), numbers(3, dtype=">f8"))),
    "Activation": sequential(inputs(4), FIRST, layer("Activation", activation="tanh"), LAST),
    "ReLU": sequential(FIRST, layer("ReLU", max_value=None, negative_slope=0.0, threshold=0.0), LAST),
    "ReLU with a slope": sequential(FIRST, layer("ReLU", max_value=None, negative_slope=0.5, threshold=0), LAST),
    "LeakyReLU": sequential(FIRST, layer("LeakyReLU", negative_slope=0.25), LAST),
    "LeakyReLU of Keras 2": sequential(FIRST, layer("LeakyReLU", alpha=0.30000001192092896), LAST),
    "ELU": sequential(FIRST, layer("ELU", alpha=0.5), LAST),
    "PReLU": sequential(FIRST, layer("PReLU", alpha=np.array([0.25], np.float32), shared_axes=[1]), LAST),
    "PReLU of equal slopes": sequential(FIRST, layer("PReLU", alpha=np.full(4, 0.25, np.float32), shared_axes=None), LAST),
    "Softmax": sequential(FIRST, layer("Softmax", axis=-1)),
    "Softmax by number": sequential(FIRST, layer("Softmax", axis=1)),
    "BatchNormalization": sequential(FIRST, normalisation(), layer("Activation", activation="relu"), LAST),
    "BatchNormalization after an activation": sequential(dense("d", numbers(4, 4), numbers(4), "relu"), normalisation(), LAST),
    "BatchNormalization first": sequential(inputs(4), normalisation(axis=[1]), FIRST),
    "BatchNormalization last": sequential(dense("d", numbers(4, 4), numbers(4), "relu"), normalisation()),
    "BatchNormalization, no center": sequential(FIRST, normalisation(center=False)),
    "BatchNormalization, no scale": sequential(FIRST, normalisation(scale=False)),
    "Normalization": sequential(
        inputs(4), layer("Normalization", axis=[-1], mean=numbers(4), variance=np.array([4, 1, 0, 1], np.float32)), LAST
    ),
    "Normalization by options": sequential(
        inputs(4), layer("Normalization", axis=[-1], mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 2.0, 3.0, 4.0]), LAST
    ),
    "Normalization of all": sequential(
        layer("Normalization", axis=[], mean=np.array(3, np.float32), variance=np.array(2, np.float32)), LAST
    ),
    "Normalization inverted": sequential(
        FIRST, layer("Normalization", axis=-1, mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 2.0, 3.0, 0.0], invert=True)
    ),
    "Rescaling": sequential(layer("Rescaling", scale=1 / 255, offset=-1), LAST),
    "Rescaling by columns": sequential(
        inputs(4), layer("Rescaling", scale=[1.0, 2.0, 3.0, 4.0], offset=[0.0, 1.0, 2.0, 3.0]), LAST
    ),
    "training only": sequential(
        *(inputs(4), layer("GaussianNoise", stddev=1.0), FIRST, layer("Dropout", rate=0.5), layer("AlphaDropout", rate=0.5)),
        *(layer("GaussianDropout", rate=0.5), layer("ActivityRegularization", l1=0.1), layer("Identity"), LAST),
    ),
    "Flatten": sequential(inputs(2, 2), layer("Rescaling", scale=0.5), layer("Flatten", data_format="channels_last"), LAST),
    "Flatten of rows": sequential(inputs(4), layer("Flatten"), LAST),
    "functional": functional(inputs(4), FIRST, layer("Dropout", rate=0.5), LAST),
    "models in models": functional(
        inputs(4),
        sequential(dense("first", numbers(4, 4), numbers(4), "tanh"), normalisation(), name="one"),
        functional(layer("InputLayer", "other", batch_shape=[None, 4]), FIRST, sequential(FIRST, name="deep"), name="two"),
        sequential(FIRST, name="three"),
        FIRST,
        LAST,
    ),
    "a layer whose name is a path": sequential(sequential(FIRST._replace(name="a/b"), name="inner"), LAST._replace(name="c/d")),
}


def rows_for(model: Layer) -> Array:
    first = model.layers[0]
    shape = first.config["batch_shape"][1:] if first.kind == "InputLayer" else [4]
    return RNG.normal(0, 1, (20, *shape))


def read(form: str, model: Layer, folder: Path) -> nnk.Network:
    match form:
        case "object":
            return nnk.from_keras(as_object(model, lambda x: computed(model, x.astype(np.float64)).astype(x.dtype)))
        case ".keras":
            return nnk.from_keras(write_archive(folder / "model.keras", model))
        case _:
            return nnk.from_keras(write_legacy(folder / "model.h5", model, 2 if "2" in form else 3))


@pytest.mark.parametrize("form", ["object", ".keras", ".h5", ".h5 of Keras 2"])
@pytest.mark.parametrize("name", MODELS)
def test_every_layer(name: str, form: str, tmp_path: Path) -> None:
    model = MODELS[name]
    net = read(form, model, tmp_path)
    x = rows_for(model)
    expected = computed(model, x)
    scale = max(1.0, float(np.abs(expected).max()))
    tolerance = {np.float16: 4e-3, np.float32: 2e-6, np.float64: 1e-14}[net.dtype.type]
    np.testing.assert_allclose(net(x.reshape(len(x), -1)), expected, rtol=0, atol=tolerance * scale)


def test_dtype_and_activations_are_the_models(tmp_path: Path) -> None:
    assert [read(".keras", MODELS[name], tmp_path).dtype for name in ("float16", "no bias", "float64")] == ["f2", "f4", "f8"]
    for name, text in (
        ("activation leaky_relu", "leaky_relu(negative_slope=0.2)"),  # the layer's default is 0.3
        ("activation gelu", "gelu"),  # by erf
        ("activation exponential", "exp"),
    ):
        (only,) = read(".keras", MODELS[name], tmp_path).layers
        assert isinstance(only, nnk.Dense)
        assert only.activation == text
    weights = read(".h5", sequential(FIRST), tmp_path).layers[0].weights  # type: ignore[union-attr]
    assert (weights == FIRST.variables["kernel"].T).all()


def test_scales_stay(tmp_path: Path) -> None:
    """Folded into float32 weights, an offset of 1e5 would have an error of 5e-3."""
    model = sequential(layer("Normalization", axis=[-1], mean=[1e5] * 4, variance=[1.0] * 4), LAST)
    net = read(".keras", model, tmp_path)
    assert isinstance(net.layers[0], nnk.Scale)
    x = 1e5 + RNG.normal(0, 1, (20, 4))
    np.testing.assert_allclose(net(x), computed(model, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16", "float16"])
def test_policies(policy: str, tmp_path: Path) -> None:
    """The variables' dtype decides; with mixed policies it is float32."""
    dtype = {"bfloat16": ml_dtypes.bfloat16, "mixed_float16": np.float32, "float16": np.float16}[policy]
    options = {"dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": policy}, "registered_name": None}}
    kernel, bias = numbers(4, 3).astype(dtype), numbers(3).astype(dtype)
    model = sequential(inputs(4), dense("d", kernel, bias, "tanh", **options))
    stored = sequential(inputs(4), dense("d", kernel.view("V2"), bias.view("V2"), "tanh", **options))
    x = rows_for(model)
    for net in (
        read(".keras", stored if policy == "bfloat16" else model, tmp_path),
        nnk.from_keras(as_object(model, lambda x: computed(model, x.astype(np.float64)).astype(x.dtype))),
    ):
        assert net.dtype == (np.float16 if policy == "float16" else np.float32)
        assert (net.layers[0].weights == kernel.T.astype(np.float32)).all()  # type: ignore[union-attr]
        np.testing.assert_allclose(net(x), computed(model, x), rtol=0, atol=4e-3 if policy == "float16" else 1e-6)


def test_old_descriptions(tmp_path: Path) -> None:
    """A list of layers (before Keras 2.2.3), the container's name (2.12), inputs as a mapping."""
    item = described(sequential(FIRST, LAST), 2)
    item["config"] = item["config"]["layers"]
    net = nnk.from_keras(write_legacy(tmp_path / "old.h5", sequential(FIRST, LAST), 2, item))
    assert net.outputs == 3
    path = write_archive(tmp_path / "old.keras", sequential(FIRST, LAST))
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", content.getvalue())
        archive.writestr("config.json", json.dumps(described(sequential(FIRST, LAST))))
    for load in (nnk.from_keras, nnk.load):
        assert load(path).outputs == 3
    item = described(functional(inputs(4), LAST))
    item["config"] |= {"input_layers": {"a": ["my_input", 0, 0]}, "output_layers": {"b": ["last", 0, 0]}}
    assert nnk.from_keras(write_archive(path, functional(inputs(4), LAST), item)).outputs == 3
    item = described(functional(inputs(4), LAST), 2)
    item["config"]["layers"][1]["inbound_nodes"] = [["my_input", 0, 0, {}]]
    assert nnk.from_keras(write_legacy(path, functional(inputs(4), LAST), 2, item)).outputs == 3


def test_paths_of_every_kind(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "model.keras", sequential(FIRST))
    for name in (path, str(path), os.fsencode(path)):
        assert nnk.from_keras(name).inputs == 4
        assert nnk.load(name).inputs == 4
    with pytest.raises(FileNotFoundError):
        nnk.from_keras(tmp_path / "nothing")
    with pytest.raises(TypeError, match=r"expected a Keras model, or the path of a .keras or .h5 file, got a list$"):
        nnk.from_keras([])
    if not hasattr(os, "mkfifo"):
        return
    os.mkfifo(tmp_path / "pipe")
    keep = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(ValueError, match="got a pipe or a device"):
        nnk.from_keras(tmp_path / "pipe")
    os.close(keep)


def test_load_recognises_files_by_their_content(tmp_path: Path) -> None:
    for write in (write_archive, write_legacy):
        net = nnk.load(write(tmp_path / "net.safetensors", MODELS["functional"]))
        assert net.layers[0].weights.tobytes() == FIRST.variables["kernel"].T.tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["object", ".keras", ".h5"])
def test_learning_on(form: str, tmp_path: Path) -> None:
    model = sequential(inputs(4), layer("Normalization", axis=[-1], mean=[1.0] * 4, variance=[2.0] * 4), FIRST, normalisation(),
                       layer("Activation", activation="gelu"), LAST)  # fmt: skip
    net = read(form, model, tmp_path)
    x = RNG.normal(1, 1, (200, 4))
    labels = x[:, :3].argmax(axis=-1)
    training = nnk.train(net, x, labels, epochs=50, optimizer=nnk.Adam(0.02))
    assert training.losses[-1] < 0.8 * training.losses[0]
    before, after = net.layers[0], training.network.layers[0]
    assert isinstance(before, nnk.Scale)
    assert isinstance(after, nnk.Scale)
    assert (before.offset == after.offset).all()


# --- The check of objects ---


def test_a_model_that_computes_something_else_is_refused() -> None:
    model = sequential(inputs(4), FIRST, LAST)
    with pytest.raises(ValueError, match=r"^from_keras: the network and the model differ: output \d of row"):
        nnk.from_keras(as_object(model, lambda x: computed(model, x + 0.01).astype(np.float32)))


def test_a_model_that_cannot_be_run() -> None:
    def fail(_: Array) -> Array:
        raise RuntimeError("out of memory")

    with pytest.raises(ValueError, match=r"^from_keras: the model raised an error: out of memory$"):
        nnk.from_keras(as_object(sequential(inputs(4), FIRST), fail))


def test_classes_of_ones_own() -> None:
    class Mine(type(as_object(sequential(FIRST)))):  # type: ignore[misc]
        pass

    for model, name in ((Mine(sequential(FIRST)), "Mine"), (as_object(FIRST), "Dense")):
        with pytest.raises(ValueError, match=rf"^from_keras expected a Sequential or a functional model, got a {name}; other"):
            nnk.from_keras(model)


def test_options_that_are_nested_too_deeply_to_be_shown() -> None:
    deep: list[Any] = []
    for _ in range(10**5):
        deep = [deep]
    with pytest.raises(ValueError, match=r"expected an activation of relu, .*; got a nested list$"):
        nnk.from_keras(as_object(sequential(FIRST, layer("Activation", activation=deep))))
    while deep:  # one by one, since freeing them all at once would recurse as deeply
        deep = deep.pop()


# --- Refusals ---


def changed(model: Layer, change: Callable[[dict[str, Any]], Any]) -> tuple[Layer, Any]:
    """Return a model with a changed description."""
    item = described(model)
    change(item["config"])
    return model, item


def with_node(nodes: Any) -> tuple[Layer, Any]:
    return changed(functional(inputs(4), FIRST, LAST), lambda config: config["layers"][2].update(inbound_nodes=nodes))


def of_class(kind: str, **config: Any) -> Layer:
    return sequential(inputs(4), FIRST, layer(kind, "odd", **config))


def only(**options: Any) -> Layer:
    return sequential(inputs(4), dense("odd", numbers(4, 4), numbers(4), **options))


def nested(depth: int) -> Layer:
    model = sequential(FIRST, name="m0")
    for number in range(1, depth):
        model = sequential(model, name=f"m{number}")
    return model


MINE = {"module": "builtins", "class_name": "function", "config": "mine>gelu", "registered_name": "function"}
QUANTIZED = {"module": "keras.dtype_policies", "class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}
TENSOR = node(["first", 0, 0])[0]["args"][0]
SHAPE = r"expected inputs of shape \(rows, inputs\), got "

REFUSED: dict[str, tuple[Layer | tuple[Layer, Any], str]] = {
    **{
        kind: (of_class(kind), rf"layer 'odd' \({kind}\): expected one of the supported layers")
        for kind in ("Conv1D", "LSTM", "Embedding", "Add", "Masking")
    },
    "Lambda": (
        of_class("Lambda", function={"code": "4wEAAAA="}),
        r"layer 'odd' \(Lambda\): it is Python code, which is not executed",
    ),
    "custom class": (
        changed(only(), lambda c: c["layers"][1].update(module=None)),
        r"layer 'odd' \(Dense\): expected a class of Keras, got a user-defined class",
    ),
    "custom module": (
        changed(only(), lambda c: c["layers"][1].update(module="kerasish.layers")),
        "expected a class of Keras, got a user-defined class",
    ),
    "custom activation": (
        only(activation=MINE),
        r"layer 'odd' \(Dense\): its activation is Python code, which is not executed",
    ),
    **{
        f"lambda in a file, {len(code)}": (only(activation=code), "its activation is Python code, which is not executed")
        for code in (
            {"value": ["4wEAAAA="], "defaults": None, "closure": None},
            {"class_name": "__lambda__", "config": {"value": ""}},
        )
    },
    "unknown activation": (only(activation="relu6"), "expected an activation of relu, .*; got 'relu6'"),
    "activation with weights": (
        only(activation={"module": "keras.layers", "class_name": "PReLU", "config": {"name": "p"}}),
        r"layer 'odd/p' \(PReLU\): expected one of the supported layers",
    ),
    "LoRA": (only(lora_rank=2), r"layer 'odd' \(Dense\): LoRA is not supported"),
    "quantised": (only(dtype=QUANTIZED), r"layer 'odd' \(Dense\): quantised weights"),
    "quantised by name": (only(dtype="int8_from_float32"), r"layer 'odd' \(Dense\): quantised weights"),
    "quantisation": (only(quantization_config={"class_name": "Int8QuantizationConfig"}), "quantised weights"),
    "integers": (sequential(dense("odd", np.ones((4, 3), np.int8))), "expected '.*' to hold floating-point numbers, got int8"),
    "branch": (
        changed(functional(inputs(4), FIRST, LAST), lambda c: c["layers"][2].update(inbound_nodes=node(["my_input", 0, 0]))),
        r"layer 'first' \(Dense\): expected no branches, but it is not on the path",
    ),
    "two inputs": (with_node([{"args": [TENSOR, TENSOR], "kwargs": {}}]), r"layer 'last' \(Dense\): expected one input, got 2"),
    "list of inputs": (
        with_node([{"args": [[TENSOR, TENSOR]], "kwargs": {}}]),
        r"layer 'last' \(Dense\): expected one input, and no",
    ),
    "constant input": (with_node([{"args": [TENSOR, 2], "kwargs": {}}]), "expected one input, and no other arguments"),
    "training": (with_node([{"args": [TENSOR], "kwargs": {"training": True}}]), "got training=True"),
    "called twice": (
        with_node([*node(["first", 0, 0]), *node(["first", 0, 0])]),
        r"layer 'last' .*: .* called once, got 2 calls",
    ),
    "called never": (with_node(None), r"layer 'last' \(Dense\): .* called once, got 0 calls"),
    "two inputs of Keras 2": (with_node([[["first", 0, 0, {}], ["my_input", 0, 0, {}]]]), "expected one input, got 2"),
    "training of Keras 2": (with_node([[["first", 0, 0, {"training": True}]]]), "got training=True"),
    "no history": (with_node([{"args": [{**TENSOR, "config": {}}]}]), "expected the name of the layer before it, got None"),
    "no tensor": (with_node([7]), "expected one input, got 0"),
    "short tensor": (with_node([["first"]]), "expected the name of the layer before it"),
    "cycle": (with_node(node(["last", 0, 0])), "expected a chain of layers, but 'last' is missing or occurs twice"),
    "two outputs": (
        changed(functional(inputs(4), FIRST, LAST), lambda c: c.update(output_layers=[["first", 0, 0], ["last", 0, 0]])),
        r"layer 'my_model' \(Functional\): expected one output, got 2",
    ),
    "no outputs": (changed(functional(inputs(4), LAST), lambda c: c.update(output_layers=3)), "expected one output, got 0"),
    "second input": (
        changed(functional(inputs(4), LAST), lambda c: c.update(input_layers=[["my_input", 0, 0], ["other", 0, 0]])),
        "expected one input, got 2",
    ),
    "same names": (sequential(FIRST, FIRST), r"layer 'my_model' \(Sequential\): expected layers with different names"),
    "no layers": (changed(sequential(FIRST), lambda c: c.update(layers=[])), r"expected a list of layers, got \[\]"),
    "layer that is a number": (
        changed(sequential(FIRST), lambda c: c.update(layers=[7])),
        "expected class_name and config, got 7",
    ),
    "no model": ((sequential(FIRST), [1, 2]), r"expected the description of a model, got \[1, 2\]"),
    "single layer": (
        (sequential(FIRST), described(LAST)),
        r"layer 'last' \(Dense\): expected a Sequential or a functional model",
    ),
    "subclass": (
        (sequential(FIRST), {"class_name": "My", "config": {"name": "my"}, "module": None}),
        "expected a class of Keras, got a user-defined class",
    ),
    "models in models": (nested(21), r"layer '.*m0' \(Sequential\): expected at most 20 nested models"),
    "pictures": (
        sequential(inputs(2, 2), dense("odd", numbers(2, 3))),
        rf"layer 'odd' \(Dense\): {SHAPE}\(rows, 2, 2\): Flatten them",
    ),
    "scalars": (sequential(inputs(), FIRST), SHAPE + r"\[None\]"),
    "any length": (sequential(inputs(None), FIRST), SHAPE + r"\[None, None\]"),
    "channels first": (sequential(inputs(2, 2), layer("Flatten", data_format="channels_first"), LAST), "expected data_format"),
    "other inputs": (
        sequential(inputs(5), LAST),
        r"layer 'last' \(Dense\): expected 5 inputs, the outputs .*, got a kernel \(4, 3\)",
    ),
    "other inputs within": (
        sequential(FIRST, sequential(inputs(3), LAST, name="in")),
        r"expected inputs of shape \(4,\), .* got \(3,\)",
    ),
    "units": (only(units=7), r"layer 'odd' \(Dense\): expected a kernel \(inputs, 7\), got \(4, 4\)"),
    "bias": (sequential(dense("odd", numbers(4, 3), numbers(4))), r"expected a bias \(3,\), got \(4,\)"),
    "flag": (
        changed(only(), lambda c: c["layers"][1]["config"].update(use_bias=1)),
        "expected use_bias to be true or false, got 1",
    ),
    "no variables": (
        sequential(layer("Dense", "odd", units=3)),
        r"layer 'odd' \(Dense\): its kernel is missing; call or build",
    ),
    "axis": (sequential(FIRST, layer("Softmax", axis=0)), r"expected the last axis, got axis=0"),
    "renorm": (sequential(FIRST, normalisation(renorm=True)), r"layer 'norm' \(BatchNormalization\): expected renorm=False"),
    "epsilon": (sequential(FIRST, normalisation(epsilon="x")), "expected epsilon to be a finite number, got 'x'"),
    "large epsilon": (sequential(FIRST, normalisation(epsilon=10**400)), "expected epsilon to be a finite number, got 1000"),
    "variance": (
        sequential(FIRST, normalisation(epsilon=-100.0)),
        "expected variances above 0 after adding epsilon, -100",
    ),
    "shapes": (
        sequential(
            FIRST, layer("BatchNormalization", scale=False, center=False, moving_mean=numbers(4), moving_variance=numbers(3))
        ),
        "expected 1-d arrays of equal length",
    ),
    "negative variance": (
        sequential(layer("Normalization", mean=[1.0], variance=[-1.0])),
        "expected a variance of at least 0 for each",
    ),
    "mean": (
        sequential(layer("Normalization", mean=["a"], variance=[1.0])),
        r"expected mean to hold finite numbers, got \['a'\]",
    ),
    "means in means": (
        sequential(layer("Normalization", mean=[[[1.0]]], variance=[1.0])),
        r"expected mean to hold finite numbers, got \[\[\[1.0\]\]\]",
    ),
    "no scale": (sequential(layer("Rescaling", offset=1.0), LAST), "expected a scale, got none"),
    "scale 0": (sequential(layer("Rescaling", scale=0.0), LAST), "expected a scale other than 0"),
    "slopes": (sequential(FIRST, layer("PReLU", alpha=numbers(4))), r"\(PReLU\): expected one slope for all inputs"),
    "max_value": (
        sequential(FIRST, layer("ReLU", max_value=6.0)),
        r"\(ReLU\): expected a ReLU without max_value and threshold",
    ),
    "threshold": (sequential(FIRST, layer("ReLU", threshold=1.0)), "expected a ReLU without max_value and threshold"),
    "activation first": (sequential(layer("ReLU"), FIRST), r"\(ReLU\): expected a dense layer before it"),
    "no dense layer": (sequential(inputs(4), layer("Dropout", rate=0.5)), "expected at least one dense layer"),
    "many scales": (
        sequential(FIRST, *(layer("Rescaling", f"s{number}", scale=2.0) for number in range(17))),
        r"layer 's16' \(Rescaling\): expected at most 16 layers that scale by single numbers",
    ),
    "Rescaling alone": (
        sequential(inputs(2**40), layer("Rescaling", scale=2.0)),
        "expected a layer with a fixed number of inputs",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    case, message = REFUSED[name]
    model, item = case if not isinstance(case, Layer) else (case, described(case))
    path = write_archive(tmp_path / "model.keras", model, item)
    with pytest.raises(ValueError, match=rf"^{re.escape(f'from_keras({str(path)!r})')}: .*{message}"):
        nnk.from_keras(path)


def test_arrays_that_are_there_twice(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "model.h5", sequential(FIRST))
    with h5py.File(path, "r+") as file:
        file["model_weights/first/again/kernel"] = numbers(4, 4)
    with pytest.raises(ValueError, match=r"layer 'first' \(Dense\): expected one array 'kernel' in the file, got 2"):
        nnk.from_keras(path)


def test_models_without_their_groups(tmp_path: Path) -> None:
    inner = sequential(sequential(FIRST, name="inner"), LAST)
    for path, group in (
        (write_archive(tmp_path / "m.keras", inner), "layers"),
        (write_legacy(tmp_path / "m.h5", inner), "model_weights/inner"),
    ):
        content = path.read_bytes()
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                content = archive.read("model.weights.h5")
        weights = io.BytesIO(content)
        with h5py.File(weights, "r+") as file:
            del file[group]
        path.write_bytes(weights.getvalue())
        if path.suffix == ".keras":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("config.json", json.dumps(described(inner)))
                archive.writestr("model.weights.h5", weights.getvalue())
        with pytest.raises(ValueError, match=r"layer 'inner/first' \(Dense\): its kernel is missing"):
            nnk.from_keras(path)


# --- Damaged and hostile files ---


def archived(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def hdf5(fill: Callable[[Any], object], **options: Any) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w", **options) as file:
        fill(file)
    return content.getvalue()


def kernel_made_by(make: Callable[[Any, str], object], **options: Any) -> bytes:
    """Return an .h5 file with one 4-4 Dense, whose kernel is written by make(group, name)."""
    model = sequential(layer("Dense", "d", units=4, use_bias=False))

    def fill(file: Any) -> None:
        file.attrs["model_config"] = json.dumps(described(model))
        make(file.create_group("model_weights/d"), "kernel")

    return hdf5(fill, **options)


def link(to: Any) -> bytes:
    return kernel_made_by(lambda group, name: group.__setitem__(name, to))


def cyclic(group: Any, name: str) -> None:
    group["again"] = group.file["model_weights"]
    group["d"] = group
    group[name] = np.eye(4, dtype=np.float32)


def virtual(group: Any, name: str) -> None:
    layout = h5py.VirtualLayout((4, 4), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "data", (4, 4))
    group.create_virtual_dataset(name, layout)


def claimed(group: Any, name: str) -> None:
    group.create_dataset(name, (2**20, 2**20), "f4")  # nothing is stored


def shared(group: Any, name: str) -> None:
    """Use one array in many layers."""
    names = [f"d{number}" for number in range(2000)]
    group[name] = np.eye(64, dtype=np.float32)
    for number in names:
        group.file[f"model_weights/{number}"] = group
    items = [described(layer("Dense", number, units=64, use_bias=False)) for number in names]
    group.file.attrs["model_config"] = json.dumps(described(sequential(FIRST)) | {"config": {"name": "m", "layers": items}})


def crowded(group: Any, name: str) -> None:
    """Use one group of many arrays in many layers."""
    names = [f"d{number}" for number in range(300)]
    for array in names:
        group[array] = np.zeros((), np.float32)
    group[name] = np.eye(4, dtype=np.float32)
    for number in names:
        group.file[f"model_weights/{number}"] = group
    items = [described(layer("Dense", number, units=4, use_bias=False)) for number in names]
    group.file.attrs["model_config"] = json.dumps(described(sequential(FIRST)) | {"config": {"name": "m", "layers": items}})


def deep(group: Any, name: str) -> None:
    for _ in range(200):
        group = group.create_group("deeper")
    group[name] = np.eye(4)


def longer_text(length: int) -> bytes:
    """Return a file whose description claims a length for which HDF5 allocates memory."""
    content = kernel_made_by(lambda group, name: group.__setitem__(name, np.eye(4)))
    place = content.index(b"model_config\0") + 48
    return content[:place] + struct.pack("<I", length) + content[place + 4 :]


ONE = write_archive
GOOD_H5 = kernel_made_by(lambda group, name: group.__setitem__(name, np.eye(4, dtype=np.float32)))
DESCRIBED = json.dumps(described(sequential(FIRST))).encode()
WEIGHTS = hdf5(lambda file: file.__setitem__("layers/dense/vars/0", np.eye(4)))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "text": (b"not a model at all", "expected a .keras or .h5 file, as model.save writes"),
    "empty": (b"", "expected a .keras or .h5 file"),
    "weights": (hdf5(lambda file: file.create_group("layers/dense")), "weights, but no layers; .*model.load_weights"),
    "description alone": (hdf5(lambda file: file.attrs.__setitem__("model_config", "{}")), "holds weights, but no layers"),
    "description that is a number": (
        hdf5(lambda file: file.attrs.__setitem__("model_config", 3)),
        "'model_config' to be a string",
    ),
    "descriptions": (hdf5(lambda file: file.attrs.__setitem__("model_config", ["a", "b"])), "'model_config' to be a string"),
    "short .h5": (GOOD_H5[:700], "the HDF5 file is damaged"),
    "signature": (b"\x89HDF\r\n\x1a\n" + bytes(100), "the HDF5 file is damaged"),
    "no JSON": (archived({"config.json": b"{", "model.weights.h5": WEIGHTS}), "the description of its layers is damaged"),
    "no UTF-8": (
        archived({"config.json": b"\xff\xfe\xff", "model.weights.h5": WEIGHTS}),
        "the description of its layers is damaged",
    ),
    "nested JSON": (archived({"config.json": b"[" * 10**6, "model.weights.h5": WEIGHTS}), "nested too deeply"),
    "long number": (
        archived({"config.json": b"1" * 10**5, "model.weights.h5": WEIGHTS}),
        "description of its layers is damaged",
    ),
    "no config": (archived({"metadata.json": b"{}"}), "expected a .keras file, as model.save writes; it has no config.json"),
    "no weights": (archived({"config.json": DESCRIBED}), "it has no model.weights.h5"),
    "weights that are text": (
        archived({"config.json": DESCRIBED, "model.weights.h5": b"text"}),
        "expected a .keras or .h5 file",
    ),
    "traversal": (archived({"../config.json": DESCRIBED, "/model.weights.h5": WEIGHTS}), "it has no config.json"),
    "short .keras": (
        archived({"config.json": DESCRIBED, "model.weights.h5": WEIGHTS})[:-30],
        "the archive is damaged: File is not a zip",
    ),
    "zip bomb": (
        archived({"config.json": b" " * 10**8, "model.weights.h5": WEIGHTS}, zipfile.ZIP_DEFLATED),
        "is compressed too much",
    ),
    "zip bomb of bzip2": (archived({"config.json": b" " * 10**7}, zipfile.ZIP_BZIP2), "config.json is compressed too much"),
    "claimed": (kernel_made_by(claimed), "claims 4,398,046,511,104 bytes, more than it holds"),
    "chunks": (
        kernel_made_by(lambda group, name: group.create_dataset(name, (2**30, 2**10), "f4", chunks=(1024, 1024))),
        "in one piece",
    ),
    "compressed": (
        kernel_made_by(lambda group, name: group.create_dataset(name, data=np.zeros((2**11, 2**11)), compression="gzip")),
        "stored in one piece in this file",
    ),
    "external": (
        kernel_made_by(lambda group, name: group.create_dataset(name, (4, 4), "f4", external=[("/etc/passwd", 0, 64)])),
        "stored in one piece in this file",
    ),
    "virtual": (kernel_made_by(virtual), "stored in one piece in this file"),
    "nothing": (kernel_made_by(lambda group, name: group.create_dataset(name, data=h5py.Empty("f4"))), "in one piece"),
    "strings": (kernel_made_by(lambda group, name: group.__setitem__(name, "text")), "hold floating-point numbers, got object"),
    "type": (kernel_made_by(lambda group, name: group.__setitem__(name, np.dtype("f4"))), "to be a group or an array"),
    "array for a group": (
        archived(
            {"config.json": DESCRIBED, "model.weights.h5": hdf5(lambda file: file.__setitem__("layers/dense", np.eye(4)))}
        ),
        "its kernel is missing",
    ),
    "group": (kernel_made_by(lambda group, name: group.create_group(name)), "its kernel is missing"),
    "soft link": (link(h5py.SoftLink("/model_weights/d/kernel")), "in the file itself, got a link to another name or file"),
    "external link": (
        archived(
            {
                "config.json": DESCRIBED,
                "model.weights.h5": hdf5(lambda file: file.__setitem__("layers", h5py.ExternalLink("/etc/passwd", "/layers"))),
            }
        ),
        "'/layers' in the file itself, got a link to another name or file",
    ),
    "shared": (kernel_made_by(shared), "claims 16,384 bytes, more than it holds"),
    "crowded": (kernel_made_by(crowded), "its groups have more names than fit into the file"),
    "deep": (kernel_made_by(deep), "expected at most 32 nested groups"),
    "hollow": (
        kernel_made_by(lambda group, name: group.create_dataset(name, (0, 2**40), "f4")),
        r"kernel \(inputs, 4\), got \(0, 1099",
    ),
    "longer text": (longer_text(1001), "'model_config' to be a string"),
    "much longer text": (longer_text(2**32 - 1), "'model_config' to be a string"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_are_refused(name: str, tmp_path: Path) -> None:
    content, message = HOSTILE[name]
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(f'from_keras({str(path)!r})')}: .*{message}"):
        nnk.from_keras(path)


def test_cycles_of_groups_end(tmp_path: Path) -> None:
    (tmp_path / "cyclic.h5").write_bytes(kernel_made_by(cyclic))
    assert (nnk.load(tmp_path / "cyclic.h5")(np.eye(4)) == np.eye(4)).all()


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_every_version_of_hdf5(libver: str, tmp_path: Path) -> None:
    """The storage of attributes, groups and strings depends on the version."""
    path = tmp_path / "model.keras"
    weights = hdf5(lambda file: file.__setitem__("layers/dense/vars/0", np.eye(4)), libver=libver)
    text = json.dumps(described(sequential(layer("Dense", "d", units=4, use_bias=False)))).encode()
    path.write_bytes(archived({"config.json": text, "model.weights.h5": weights}))
    assert (nnk.load(path)(np.eye(4)) == np.eye(4)).all()

    def with_attributes(group: Any, name: str) -> None:
        group[name] = np.eye(4)
        for number in range(50):
            group.file.attrs[f"attribute {number}"] = "x" * 500

    path.write_bytes(kernel_made_by(with_attributes, libver=libver))
    if libver == "earliest":
        assert (nnk.load(path)(np.eye(4)) == np.eye(4)).all()
    else:
        with pytest.raises(ValueError, match="expected groups in the oldest format of HDF5, the default of h5py"):
            nnk.load(path)


def test_names_that_are_paths_are_not_followed(tmp_path: Path) -> None:
    """HDF5 would follow links within a path, such as to another file."""

    def with_link(group: Any, name: str) -> None:
        group["linkXkernel"] = np.zeros(1)
        group["link"] = h5py.SoftLink("/model_weights")

    content = kernel_made_by(with_link)
    (tmp_path / "model.h5").write_bytes(content.replace(b"linkXkernel", b"link/kernel"))
    with pytest.raises(ValueError, match=r"is not a name|got a link"):
        nnk.from_keras(tmp_path / "model.h5")
    content = kernel_made_by(lambda group, name: group.__setitem__("linkXkernel", np.zeros(1)))
    (tmp_path / "model.h5").write_bytes(content.replace(b"linkXkernel", b"link/kernel"))
    with pytest.raises(ValueError, match=r"the HDF5 file is damaged: 'link/kernel' is not a name"):
        nnk.from_keras(tmp_path / "model.h5")


def test_trees_that_lead_back(tmp_path: Path) -> None:
    """Listing a group's names, HDF5 crashes on the first tree, and never ends on the second."""
    content = write_legacy(tmp_path / "good.h5", sequential(FIRST, LAST)).read_bytes()
    for place in (match.start() for match in re.finditer(b"TREE", content)):
        own = struct.pack("<Q", place)
        for changes in ({5: b"\1", 32: own}, {8: own, 16: own}, {5: b"\xff", 32: own}, {6: b"\xff\xff"}):
            changed = bytearray(content)
            for offset, number in changes.items():
                changed[place + offset : place + offset + len(number)] = number
            path = tmp_path / "changed.h5"
            path.write_bytes(changed)
            try:
                assert nnk.from_keras(path).outputs == 3
            except ValueError as error:
                assert "the HDF5 file is damaged" in str(error)  # noqa: PT017 - an error is optional


def test_members_that_lie_about_their_size(tmp_path: Path) -> None:
    content = archived({"config.json": DESCRIBED, "model.weights.h5": WEIGHTS})
    size = struct.pack("<I", len(DESCRIBED))
    places = [place for place in range(len(content)) if content[place : place + 4] == size]
    for place in places:
        for other in (0, 5, len(DESCRIBED) + 7, 2**32 - 1):
            path = tmp_path / "model.keras"
            path.write_bytes(content[:place] + struct.pack("<I", other) + content[place + 4 :])
            with pytest.raises(ValueError, match="from_keras"):
                nnk.from_keras(path)
    encrypted = bytearray(content)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + flags] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(ValueError, match=r"from_keras.*password"):
        nnk.from_keras(path)


LOAD_IN_LITTLE_MEMORY = """
import resource, sys
import nnkernels as nnk
good, bad = sys.argv[1:]
nnk.from_keras(good)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**25,) * 2)
try:
    nnk.from_keras(bad)
except ValueError:
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space, and tells its size in /proc")
@pytest.mark.parametrize("name", ["much longer text", "zip bomb", "claimed", "chunks", "hollow", "nested JSON", "shared"])
def test_memory_stays_in_proportion_to_the_file(name: str, tmp_path: Path) -> None:
    good = write_archive(tmp_path / "good.keras", sequential(FIRST))
    bad = tmp_path / "bad"
    bad.write_bytes(HOSTILE[name][0])
    ran = subprocess.run([sys.executable, "-c", LOAD_IN_LITTLE_MEMORY, good, bad], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("refused\n", "")


assert FUZZED  # without files the test would be skipped


@pytest.mark.parametrize("file", FUZZED, ids=lambda file: file.name)
def test_files_of_the_fuzzer_load_or_are_refused(file: Path) -> None:
    """The corpus of tests/fuzz_keras.py."""
    try:
        with np.errstate(all="ignore"):
            assert len(nnk.from_keras(file)) > 0
    except ValueError as error:
        assert str(file) in str(error)  # noqa: PT017 - an error is optional


def test_h5py_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(tmp_path / "model.keras", sequential(FIRST))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"need the package h5py: pip install 'nnkernels\[keras\]'"):
        nnk.load(path)


# --- Keras itself ---


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))  # for Keras's settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="pip install keras h5py torch", exc_type=ImportError)


def real_models(keras: Any) -> dict[str, Any]:
    layers = keras.layers
    adapted = layers.Normalization(axis=-1)
    adapted.adapt(numbers(50, 4) * 100 + 1e4)
    norm = layers.BatchNormalization()
    start = keras.Input((4,))
    inner = keras.Sequential([layers.Dense(5, "tanh"), keras.Sequential([layers.Dense(5), layers.BatchNormalization()])])
    return {
        **{name: keras.Sequential([keras.Input((4,)), layers.Dense(8, name), layers.Dense(3)]) for name in FORMULAS},
        "all": keras.Sequential([
            keras.Input((4,)), adapted, layers.Dense(8, use_bias=False), norm, layers.LeakyReLU(), layers.Dropout(0.5),
            layers.Dense(8, activation=layers.LeakyReLU(negative_slope=0.1)), layers.BatchNormalization(scale=False),
            layers.Dense(8), layers.ELU(0.5), layers.GaussianNoise(0.1), layers.Dense(8), layers.PReLU(shared_axes=[1]),
            layers.Dense(8), layers.ReLU(negative_slope=0.5), layers.Dense(3), layers.Softmax(),
        ]),
        "functional": keras.Model(start, layers.Dense(2)(layers.Dropout(0.5)(inner(layers.Dense(4, "relu")(start))))),
        "pictures": keras.Sequential([
            keras.Input((2, 2)), layers.Rescaling(1 / 255, -0.5), layers.Flatten(), layers.Dense(3, "relu"), layers.Dense(2),
            layers.Rescaling([2.0, 3.0], [1.0, 0.0]),
        ]),
        "inverted": keras.Sequential([
            keras.Input((4,)), layers.Dense(2), layers.Normalization(mean=[1.0, 2.0], variance=[3.0, 4.0], invert=True),
        ]),
        "float64": keras.Sequential([keras.Input((4,), dtype="float64"), layers.Dense(3, "tanh", dtype="float64")]),
        "bfloat16": keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh", dtype="bfloat16")]),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_real_models(keras: Any, tmp_path: Path) -> None:
    """Networks from objects are compared with their model; files give the same bits."""
    for name, model in real_models(keras).items():
        model.set_weights([abs(array) + 0.5 if "variance" in variable.path else array + numbers(*array.shape) * 0.3
                           for variable, array in zip(model.weights, model.get_weights(), strict=True)]
                          if name not in ("all", "bfloat16") else model.get_weights())  # fmt: skip
        net = nnk.from_keras(model)
        x = numbers(20, 4)
        outputs = np.asarray(model.predict(x.reshape(20, 2, 2) if name == "pictures" else x, verbose=0), np.float64)
        tolerance = {"bfloat16": 0.02}.get(name, 1e-5)
        np.testing.assert_allclose(net(x), outputs, rtol=tolerance, atol=tolerance * np.abs(outputs).max())
        for suffix in (".keras", ".h5"):
            if (name, suffix) == ("bfloat16", ".h5"):
                continue  # Keras cannot write it
            model.save(tmp_path / f"model{suffix}")
            loaded = nnk.load(tmp_path / f"model{suffix}")
            assert loaded(x).tobytes() == net(x).tobytes(), (name, suffix)


@pytest.mark.filterwarnings("ignore")
def test_real_models_that_are_refused(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    start = keras.Input((4,))
    first = layers.Dense(4)(start)
    lora = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="low")])
    lora.layers[0].enable_lora(2)
    quantized = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="few")])
    quantized.quantize("int8")

    class Mine(layers.Dense):
        pass

    class Model(keras.Model):
        pass

    for model, message in (
        (keras.Model(start, layers.Add()([first, start])), "expected one input"),
        (keras.Model(start, first * 2.0), r"\(Multiply\): expected one input"),
        (keras.Model(start, [first, layers.Dense(3)(first)]), "expected one output, got 2"),
        (keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x)]), "it is Python code"),
        (keras.Sequential([keras.Input((4,)), Mine(3)]), "expected a class of Keras, got a user-defined class"),
        (keras.Sequential([keras.Input((4,)), layers.Dense(3, activation=lambda x: x)]), "its activation is Python code"),
        (
            keras.Sequential([keras.Input((4,)), layers.Dense(3, activation=eval("lambda x: x"))]),
            "a lambda in the model is Python",
        ),
        (keras.Sequential([keras.Input((4, 4)), layers.LSTM(3)]), r"\(LSTM\): expected one of the supported layers"),
        (lora, r"layer 'low' \(Dense\): LoRA"),
        (quantized, r"layer 'few' \(Dense\): quantised"),
        (keras.Sequential([layers.Dense(3)]), "its kernel is missing; call or build"),
        (Model(start, first), "got a Model; other classes may compute anything"),
        (layers.Dense(3), "got a Dense"),
    ):
        with pytest.raises(ValueError, match=message):
            nnk.from_keras(model)
    lora.save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(ValueError, match="it holds weights, but no layers"):
        nnk.load(tmp_path / "only.weights.h5")
