"""from_onnx on files of current exporters: each layer and activation, against the model."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnkernels as nnk
from corpus import Array

RNG = np.random.default_rng(20261130)
X = RNG.normal(size=(6, 4)).astype(np.float32)


def activations(network: nnk.Network) -> list[str | None]:
    return ["scale" if isinstance(layer, nnk.Scale) else layer.activation for layer in network.layers]


# PyTorch modules by their constructor, and the resulting activation.
TORCH_ACTIVATIONS = {
    "ReLU()": "relu",
    "Sigmoid()": "sigmoid",
    "Tanh()": "tanh",
    "SiLU()": "silu",
    "GELU()": "gelu",
    "GELU(approximate='tanh')": "gelu_tanh",
    "Softplus()": "softplus",
    "LeakyReLU()": "leaky_relu",
    "LeakyReLU(0.2)": "leaky_relu(negative_slope=0.2)",
    "ELU(0.5)": "elu(alpha=0.5)",
    "CELU(0.5)": "elu",
    "SELU()": "elu(alpha=1.6732632423543772)",
    "PReLU()": "leaky_relu(negative_slope=0.25)",
    "Softmax(-1)": "softmax",
    "LogSoftmax(1)": "log_softmax",
    "Identity()": None,
}
TORCH_MODULES = {
    "normalised": ("Linear(4, 3, bias=False), BatchNorm1d(3), ReLU(), Dropout(), BatchNorm1d(3), Linear(3, 1)", ["relu", None]),
    "normalised first": ("BatchNorm1d(4), Linear(4, 2)", ["scale", None]),
    "normalised last": ("Linear(4, 2), ReLU(), BatchNorm1d(2)", ["relu", "scale"]),
    "flattened": ("Flatten(), Linear(4, 2), Flatten(), ReLU()", ["relu"]),
    "nested": ("Sequential(Linear(4, 3), Sequential(Tanh())), Linear(3, 2), Flatten()", ["tanh", None]),
}
TORCH_REFUSED = {"ReLU6()": "Clip", "Hardswish()": "Hard", "Mish()": "Mish|Softplus", "Softmax(0)": "axis 0"}
EXPORTERS = {
    "torchscript, old": {"dynamo": False, "opset_version": 9, "dynamic_axes": {"x": {0: "n"}}},
    "torchscript, new": {"dynamo": False, "opset_version": 20},
    "dynamo": {"dynamo": True, "verbose": False},
}


def export(path: Path, modules: str, exporter: str) -> Any:
    """Export a PyTorch Sequential, and return its outputs for X."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module = eval(f"Sequential({modules})", vars(torch.nn))
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            for values in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                values.uniform_(0.5, 2.0)
    module.eval()
    x = torch.from_numpy(X)
    torch.onnx.export(module, (x,), path, input_names=["x"], **EXPORTERS[exporter])
    with torch.no_grad():
        return module(x).numpy()


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporters
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_torch_activations(tmp_path: Path, exporter: str) -> None:
    """All in one module, because an export takes a second."""
    names = [name for name in TORCH_ACTIVATIONS if exporter != "torchscript, old" or "CELU" not in name]  # opset 9 has no CELU
    modules = ", ".join(f"Linear(4, 4), {name}" for name in names)
    y = export(tmp_path / "model.onnx", modules, exporter)
    network = nnk.from_onnx(tmp_path / "model.onnx", check=(X, y))
    assert activations(network) == [TORCH_ACTIVATIONS[name] for name in names]
    assert network.dtype == np.float32


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporters
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", TORCH_MODULES)
def test_torch_modules(tmp_path: Path, name: str, exporter: str) -> None:
    modules, expected = TORCH_MODULES[name]
    y = export(tmp_path / "model.onnx", modules, exporter)
    assert activations(nnk.from_onnx(tmp_path / "model.onnx", check=(X, y))) == expected


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporters
@pytest.mark.parametrize("exporter", ["torchscript, new", "dynamo"])
@pytest.mark.parametrize("name", TORCH_REFUSED)
def test_torch_refused(tmp_path: Path, name: str, exporter: str) -> None:
    export(tmp_path / "model.onnx", f"Linear(4, 2), {name}", exporter)
    with pytest.raises(ValueError, match=TORCH_REFUSED[name]):
        nnk.from_onnx(tmp_path / "model.onnx")


# scikit-learn

LABELS = {
    "two classes": np.where(X[:, 0] > 0, "yes", "no"),
    "three classes": np.arange(6) % 3,
    "several labels": (X[:, :2] > 0).astype(int),
}


@pytest.mark.filterwarnings("ignore:.*(converge|protobuf|Deprecated)")
@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", LABELS)
def test_skl2onnx_classifier(tmp_path: Path, labels: str, dtype: Any, zipmap: bool) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = X.astype(dtype)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((5,), "tanh", max_iter=3, random_state=0)).fit(x, LABELS[labels])
    if labels == "several labels" and zipmap:
        pytest.skip("skl2onnx makes a list of outputs")
    model = skl2onnx.to_onnx(pipeline, x[:1], options={id(pipeline): {"zipmap": zipmap}})
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    expected = pipeline.predict_proba(x)
    with pytest.warns(UserWarning, match="left out the conversion of outputs to labels"):
        network = nnk.from_onnx(tmp_path / "model.onnx")
    assert network.dtype == dtype
    if labels == "several labels":  # skl2onnx returns it after 1 - probability
        expected = np.concatenate([1 - expected, expected], axis=1)
        assert "classes" not in network.metadata
    else:
        assert json.loads(network.metadata["classes"]) == [str(name) for name in pipeline.classes_]
    assert activations(network) == ["scale", "tanh", "softmax" if labels == "three classes" else "sigmoid"]
    np.testing.assert_allclose(network(x), expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*(converge|protobuf|Deprecated)")
@pytest.mark.parametrize("targets", [X[:, 0], X[:, :2]], ids=["one", "two"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_skl2onnx_regressor(tmp_path: Path, activation: str, targets: Array) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    pipeline = make_pipeline(MinMaxScaler(), MLPRegressor(hidden_layer_sizes=5, activation=activation, max_iter=3)).fit(
        X, targets
    )
    (tmp_path / "model.onnx").write_bytes(skl2onnx.to_onnx(pipeline, X[:1]).SerializeToString())
    if targets.ndim == 2:  # skl2onnx flattens two outputs to one column
        with pytest.raises(ValueError, match="expected it to keep the 2 features of a row"):
            nnk.from_onnx(tmp_path / "model.onnx")
        return
    network = nnk.from_onnx(tmp_path / "model.onnx")
    np.testing.assert_allclose(network(X).reshape(6, -1), pipeline.predict(X).reshape(6, -1), rtol=0, atol=1e-6)


# Keras, in a separate process: a process can choose its backend only once.

KERAS = """
import os, sys, warnings
os.environ["KERAS_BACKEND"] = "torch"
warnings.simplefilter("ignore")
import keras, numpy as np
from keras.layers import *
x = np.load("x.npy")
normalization = Normalization()
normalization.adapt(x * 3 + 1)
for number, layers in enumerate(sys.argv[1:]):
    shape = (2, 2) if "Flatten" in layers else (4,)
    model = keras.Sequential([keras.Input(shape), *eval(f"[{layers}]")])
    np.save(f"{number}.npy", np.asarray(model(x.reshape(-1, *shape)).detach()))
    model.export(f"{number}.onnx", format="onnx", verbose=False)
"""
KERAS_MODELS: dict[str, list[str | None]] = {
    "Dense(3, 'relu'), Dense(2, 'softmax')": ["relu", "softmax"],
    "Dense(3), BatchNormalization(), Activation('tanh'), Dropout(0.5), Dense(1, 'sigmoid')": ["tanh", "sigmoid"],
    "normalization, Dense(3, 'elu'), Dense(2)": ["elu", None],
    "Flatten(), Dense(3, 'silu'), Dense(2, 'log_softmax')": ["silu", "log_softmax"],
    "Dense(3, 'gelu'), Dense(3, 'softplus'), LeakyReLU(0.1), Dense(2)": [],
    "Dense(3, 'selu'), Dense(3), LeakyReLU(0.1), Dense(2, 'exponential')": [
        *("elu(alpha=1.6732632423543772)", "leaky_relu(negative_slope=0.1)", "exp"),
    ],
}


def test_keras(tmp_path: Path) -> None:
    for package in ("keras", "torch", "onnxscript"):
        if not find_spec(package):
            pytest.skip(f"{package} is not installed")
    np.save(tmp_path / "x.npy", X)
    subprocess.run([sys.executable, "-c", KERAS, *KERAS_MODELS], cwd=tmp_path, check=True, capture_output=True)
    for number, expected in enumerate(KERAS_MODELS.values()):
        path, y = tmp_path / f"{number}.onnx", np.load(tmp_path / f"{number}.npy")
        if expected:
            assert activations(nnk.from_onnx(path, check=(X, y))) == expected
        else:  # an activation after an activation
            with pytest.raises(ValueError, match="expected one activation after a dense layer, got several"):
                nnk.from_onnx(path)
