"""Keras files and objects, made without Keras, for tests and for fuzz_keras.py."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GROUPS = {"Dense": "dense", "BatchNormalization": "batch_normalization", "Normalization": "normalization", "PReLU": "p_re_lu",
          "Sequential": "sequential", "Functional": "functional"}  # fmt: skip


class Layer(NamedTuple):
    """A layer or model: class, name, options, variables by name, and a model's layers."""

    kind: str
    name: str
    config: dict[str, Any]
    variables: dict[str, Array]
    layers: "tuple[Layer, ...]" = ()


def layer(kind: str, name: str | None = None, /, **config: Any) -> Layer:
    """Return a layer. Options that are arrays become its variables."""
    variables = {key: value for key, value in config.items() if isinstance(value, np.ndarray)}
    return Layer(kind, name or f"my_{kind.lower()}", {key: config[key] for key in config if key not in variables}, variables)


def dense(name: str, kernel: Array, bias: Array | None = None, activation: Any = "linear", **config: Any) -> Layer:
    variables = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    options = {"units": kernel.shape[-1], "activation": activation, "use_bias": bias is not None, **config}
    return layer("Dense", name, **options, **variables)


def inputs(*shape: int | None) -> Layer:
    return layer("InputLayer", "my_input", batch_shape=[None, *shape])


def sequential(*layers: Layer, name: str = "my_model") -> Layer:
    return Layer("Sequential", name, {}, {}, layers)


def functional(*layers: Layer, name: str = "my_model") -> Layer:
    return Layer("Functional", name, {}, {}, layers)


def described(model: Layer, keras: int = 3) -> dict[str, Any]:
    """Return the description of a model or layer in config.json, in the format of Keras 3 or 2."""
    item: dict[str, Any] = {"class_name": model.kind, "config": {"name": model.name, **model.config}}
    if keras == 3:
        item |= {"module": "keras" if model.layers else "keras.layers", "registered_name": None}
    if model.kind == "InputLayer" and keras == 2:
        item["config"]["batch_input_shape"] = item["config"].pop("batch_shape")
    if model.layers:
        item["config"]["layers"] = items = [described(inner, keras) for inner in model.layers]
        if model.kind == "Functional":
            for place, inner in enumerate(items):
                before = [items[place - 1]["config"]["name"], 0, 0] if place else None
                inner |= {"name": inner["config"]["name"], "inbound_nodes": node(before, keras) if before else []}
            first, last = ([items[place]["config"]["name"], 0, 0] for place in (0, -1))
            item["config"] |= {"input_layers": [first], "output_layers": [last] if keras == 2 else last}
    return item


def node(before: list[Any], keras: int = 3) -> list[Any]:
    """Return the description of a layer's call with the output of another layer."""
    if keras == 2:
        return [[[*before, {}]]]
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32", "keras_history": before}}
    return [{"args": [tensor], "kwargs": {"training": False}}]


def write_archive(path: Path, model: Layer, item: Any = None, compression: int = zipfile.ZIP_STORED) -> Path:
    """Write a .keras file. ``item`` replaces the model's description."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        _fill_archive(file, model)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(described(model) if item is None else item))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def _fill_archive(group: Any, model: Layer) -> None:
    counts: dict[str, int] = {}
    for inner in model.layers:
        name = GROUPS.get(inner.kind, inner.kind.lower())
        number = counts[name] = counts.get(name, -1) + 1
        place = group.create_group(f"layers/{name}_{number}" if number else f"layers/{name}")
        variables = place.create_group("vars")
        for index, array in enumerate(inner.variables.values()):
            variables[str(index)] = array
        _fill_archive(place, inner)


def write_legacy(path: Path, model: Layer, keras: int = 3, item: Any = None) -> Path:
    """Write an .h5 file of Keras 3 or 2. ``item`` replaces the model's description."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "3.15.1" if keras == 3 else "2.15.0"
        text = json.dumps(described(model, keras) if item is None else item)
        # Keras 2 with an old h5py writes a string of fixed length.
        file.attrs["model_config"] = text if keras == 3 else np.bytes_(text.encode())
        for inner in model.layers:
            _fill_legacy(file.create_group(f"model_weights/{inner.name}"), inner, model.name if keras == 3 else "", keras)
    return path


def _fill_legacy(group: Any, inner: Layer, prefix: str, keras: int) -> None:
    for part in inner.layers:
        _fill_legacy(group, part, f"{prefix}/{inner.name}", keras)
    for name, array in inner.variables.items():
        group[f"{prefix}/{inner.name}/{name}".strip("/") + (":0" if keras == 2 else "")] = array


class _Object:
    """A layer of a model object."""

    def __init__(self, described_by: Layer) -> None:
        self._described = described_by
        self.name = described_by.name
        self.layers = [as_object(inner) for inner in described_by.layers if inner.kind != "InputLayer"]

    def get_weights(self) -> Sequence[Array]:
        return list(self._described.variables.values())

    def get_config(self) -> Any:
        return described(self._described)["config"]


def as_object(model: Layer, compute: Any = None) -> Any:
    """Return an object with the attributes that the reader uses, and a class named as Keras's."""
    kind = type(model.kind, (_Object,), {"__module__": "keras.src.models", "predict_on_batch": lambda self, x: compute(x)})
    return kind(model)
