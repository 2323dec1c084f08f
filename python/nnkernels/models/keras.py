"""Networks of Keras: model objects, .keras files and .h5 files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from numbers import Real
from os import PathLike, fsdecode
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from nnkernels.activations import TABLE
from nnkernels.files import Path, open_regular, widened
from nnkernels.models.chain import Chain
from nnkernels.models.check import compare, probe
from nnkernels.models.hdf5 import Group, open_hdf5
from nnkernels.network import Network

# Models within models.
_MOST_DEPTH = 20

# Rescaling and Normalization by single numbers, which in a network become as many numbers as there
# are inputs.
_MOST_SCALES = 16

# How many times its size the members of a .keras file may take; Keras does not compress them.
_MOST_EXPANSION = 64

# Kinds of models, by the names of their classes.
_MODELS = ("Sequential", "Functional", "Model")

# The groups of a .keras file, for layers that have variables.
_GROUPS = {
    "Dense": "dense",
    "BatchNormalization": "batch_normalization",
    "Normalization": "normalization",
    "PReLU": "p_re_lu",
    "Sequential": "sequential",
    "Functional": "functional",
    "Model": "functional",
}

# Layers that do something in training only, or nothing.
_IDLE = (
    *("InputLayer", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization", "Identity"),
    *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
)

# Keras's names of activations, in lower case, and ours.
_ACTIVATIONS = {name: kind.name for kind in TABLE[1:] for name in kind.keras if name.islower()}
_ACTIVATIONS["leaky_relu"] = "leaky_relu(negative_slope=0.2)"  # 0.3 in the layer LeakyReLU

# Classes that stand for functions of one's own; a lambda may also be a mapping with "value", its
# code.
_FUNCTIONS = ("function", "__lambda__")
_CODE = "Python code, which is not executed"

# The least standard deviation that Normalization divides by.
_LEAST_DEVIATION = 1e-7


def from_keras(model_or_path: object) -> Network:
    """Return the network of a Keras model.

    A model is Sequential, or functional without branches. Its layers are Dense, activations
    (Activation, ReLU, LeakyReLU, ELU, PReLU of one slope, Softmax), BatchNormalization (folded into
    the Dense beside it; a Scale where it comes first), Normalization and Rescaling (each a Scale),
    Flatten, models of these, and layers that act in training only, such as Dropout. The network has
    the dtype of the model's variables; bfloat16 becomes float32, exactly. If Flatten comes first,
    the network takes rows that are flat: ``net(x.reshape(len(x), -1))``.

    Keras itself is not imported. Files are read by the package h5py; nothing in them is executed.

    Parameters
    ----------
    model_or_path : Keras model, str, bytes or path-like
        A model that is built, or a .keras or .h5 file of a whole model. The outputs of a model
        object are compared with the network's on 64 rows, unless it computes in bfloat16. A file is
        not checked: names of layers and activations in it are taken as Keras's own. If functions or
        classes of one's own have such names, give the model.

    Returns
    -------
    Network

    Raises
    ------
    TypeError
        For what is no Keras model and no path.
    ValueError
        For a model that is no chain of these layers, which names the layer and the reason; for a
        file that is malformed, or that holds weights alone; where folded numbers leave the range of
        the dtype; and where the model and the network differ.
    ImportError
        Where a file is to be read and h5py is missing.
    OSError, MemoryError
        As for other files.

    Examples
    --------
    >>> import nnkernels as nnk, keras  # doctest: +SKIP
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])  # doctest: +SKIP
    >>> nnk.from_keras(model)  # doctest: +SKIP
    Network of 1 layer, float32
      layer  inputs  outputs  activation  parameters
          1       4        3  softmax             15
      total                                       15
    """
    if isinstance(model_or_path, (str, bytes, PathLike)):
        return _from_file(model_or_path)
    kind = type(model_or_path)
    model: Any = model_or_path
    if not _is_of_keras(kind.__module__) or kind.__name__ not in _MODELS:
        if any(_is_of_keras(base.__module__) for base in kind.__mro__):
            reason = "what other classes compute is known to their code alone"
            raise ValueError(f"from_keras expected a Sequential or a functional model, got a {kind.__name__}; {reason}")
        raise TypeError(f"from_keras expected a Keras model, or the path of a .keras or .h5 file, got a {kind.__name__}")
    try:
        item = {"class_name": kind.__name__, "config": model.get_config()}
    except OSError as error:  # Keras wants to show a lambda's source
        raise ValueError(f"from_keras: a lambda in the model is {_CODE} ({error})") from None
    reader = _Reader("from_keras")
    reader.read(item, _LayerWeights(model))
    network = reader.chain.network()
    precision = reader.precision()
    if precision is not None:
        exact = reader.chain.network64()
        x = probe(exact).astype(precision)
        try:
            outputs = model.predict_on_batch(x.reshape(-1, *reader.shape) if reader.shape else x)
        except Exception as error:  # of any backend
            raise ValueError(f"from_keras: the model cannot be run: {error}") from error
        rounded = reader.chain.network(dtype=precision)
        compare("from_keras", rounded, exact, np.asarray(outputs), x, precision)
    return network


def _from_file(path: Path) -> Network:
    name = fsdecode(path)
    source = f"from_keras({name!r})"
    reader = _Reader(source)
    with open_regular(path, "a model") as file:
        archive = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        config, content = _unpack(file, source) if archive else (None, file.read())
    if not content.startswith(b"\x89HDF\r\n"):
        raise ValueError(f"{source}: expected a .keras or .h5 file, as model.save writes")
    try:
        with open_hdf5(content) as root:
            if config is not None:
                reader.read(_parse(config), _ArchiveWeights(root))
            else:
                text = root.text("model_config")
                weights = root.group("model_weights")
                if text is None or weights is None:
                    advice = "give from_keras the model after model.load_weights(path), or a file that model.save wrote"
                    raise ValueError(f"it holds weights alone, and no layers; {advice}")
                reader.read(_parse(text), _LegacyWeights(weights))
        return reader.chain.network()
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(source) else f"{source}: {error}") from None


def _unpack(file: Any, source: str) -> tuple[bytes, bytes]:
    """Return config.json and model.weights.h5 of an archive."""
    import zipfile
    from zlib import error as zlib_error

    size = file.seek(0, 2)
    room = _MOST_EXPANSION * size
    members = []
    try:
        with zipfile.ZipFile(file) as archive:
            for name in ("config.json", "model.weights.h5"):
                if name not in archive.namelist():
                    raise ValueError(f"it has no {name}; expected a .keras file, as model.save writes")
                member = archive.getinfo(name)
                room -= member.file_size
                if member.compress_size > size:
                    raise ValueError(f"{name} claims {member.compress_size:,} bytes, more than the archive has")
                if room < 0 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{name} is compressed too much")
                members.append(archive.read(member))
    except (EOFError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError) as error:
        raise ValueError(f"{source}: {error}") from None
    except (zipfile.BadZipFile, zlib_error) as error:
        raise ValueError(f"{source}: the archive is damaged: {error}") from None
    return members[0], members[1]


def _parse(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the description of its layers is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"the description of its layers is damaged: {error}") from None


class _Layer(NamedTuple):
    """A layer as its model describes it."""

    kind: str
    name: str
    path: str  # with the names of the models around it
    place: int  # among the layers of its class in the same model
    config: Mapping[str, Any]
    refuse: Callable[[str], NoReturn]

    @property
    def label(self) -> str:
        """Its name in error messages."""
        return f"layer {self.path!r} ({self.kind})"

    def number(self, name: str, default: float) -> float:
        """Return a finite number."""
        value = self.config.get(name, default)
        try:
            if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
                return float(value)
        except OverflowError:
            pass
        return self.refuse(f"expected {name} to be a finite number, got {_shown(value)}")

    def flag(self, name: str, default: bool) -> bool:
        """Return whether an option is on."""
        value = self.config.get(name, default)
        if not isinstance(value, bool):
            self.refuse(f"expected {name} to be true or false, got {_shown(value)}")
        return value

    def row(self, name: str) -> NDArray[np.float64] | None:
        """Return a number, or a list of numbers, or None."""
        value = self.config.get(name)
        if value is None:
            return None
        try:
            array = np.array(value, np.float64)
            if array.ndim > 2 or not np.isfinite(array).all():
                raise ValueError
        except (OverflowError, TypeError, ValueError):
            self.refuse(f"expected {name} to hold finite numbers, got {_shown(value)}")
        return array

    def check_last_axis(self) -> None:
        """Refuse an axis that is not the last of an array (rows, inputs)."""
        axis = self.config.get("axis", -1)
        axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        if len(axes) != 1 or isinstance(axes[0], bool) or axes[0] not in (-1, 1):
            self.refuse(f"expected the last axis, got axis={_shown(axis)}")


class _Weights(Protocol):
    """The variables of a model's layers."""

    def arrays(self, layer: _Layer, names: Sequence[str]) -> list[NDArray[Any] | None]:
        """Return a layer's first variables, for which there are these names; None for those that are missing."""

    def inside(self, layer: _Layer) -> _Weights | None:
        """Return the variables of a model within the model."""


class _LayerWeights:
    """Variables of a model object."""

    def __init__(self, model: Any) -> None:
        self._layers = {layer.name: layer for layer in model.layers}

    def arrays(self, layer: _Layer, names: Sequence[str]) -> list[NDArray[Any] | None]:
        found = self._layers[layer.name].get_weights()
        return [*found, *[None] * len(names)][: len(names)]

    def inside(self, layer: _Layer) -> _LayerWeights:
        return _LayerWeights(self._layers[layer.name])


class _ArchiveWeights:
    """Variables in a .keras file: groups have the names of classes, numbered in the order of the layers."""

    def __init__(self, model: Group) -> None:
        # The second is of Keras 2.12.
        self._layers = model.group("layers") or model.group("_layer_checkpoint_dependencies")

    def _group(self, layer: _Layer) -> Group | None:
        name = _GROUPS[layer.kind] + (f"_{layer.place}" if layer.place else "")
        return None if self._layers is None else self._layers.group(name)

    def arrays(self, layer: _Layer, names: Sequence[str]) -> list[NDArray[Any] | None]:
        group = self._group(layer)
        variables = None if group is None else group.group("vars")
        return [None if variables is None else variables.array(str(index)) for index in range(len(names))]

    def inside(self, layer: _Layer) -> _ArchiveWeights | None:
        group = self._group(layer)
        return None if group is None else _ArchiveWeights(group)


class _LegacyWeights:
    """Variables in an .h5 file: groups have the names of layers, arrays those of variables, with more groups between."""

    def __init__(self, model: Group) -> None:
        self._model = model

    def arrays(self, layer: _Layer, names: Sequence[str]) -> list[NDArray[Any] | None]:
        group = self._model.group(layer.name)
        return _Named(group, []).arrays(layer, names) if group else [None] * len(names)

    def inside(self, layer: _Layer) -> _Named | None:
        group = self._model.group(layer.name)
        return _Named(group, layer.name.split("/")) if group else None


class _Named:
    """Variables below one group of an .h5 file, which belongs to a layer or to a model within the model."""

    def __init__(self, group: Group, model: list[str]) -> None:
        self._model = model
        self._arrays: dict[tuple[str, ...], list[tuple[list[str], Callable[[], NDArray[Any]]]]] = {}
        for path, read in group.arrays():
            *groups, name = (*path[:-1], path[-1].removesuffix(":0"))
            for key in {(name,), (*groups[-1:], name)}:
                self._arrays.setdefault(key, []).append((path, read))

    def arrays(self, layer: _Layer, names: Sequence[str]) -> list[NDArray[Any] | None]:
        return [self._read(layer, name) for name in names]

    def _read(self, layer: _Layer, name: str) -> NDArray[Any] | None:
        path = layer.path.split("/")
        if self._model:  # the groups around an array are named as its layer, and perhaps as the models around that
            found = self._arrays.get((path[-1], name), [])
            near = [_common_end(place[:-1], path) for place, _ in found]
            least = max([len(layer.name.split("/")), *near])
            found = [item for item, common in zip(found, near, strict=True) if common >= least]
        else:
            found = self._arrays.get((name,), [])
        if len(found) > 1:
            layer.refuse(f"the file has {len(found)} arrays {name!r} for it, expected one")
        return found[0][1]() if found else None

    def inside(self, layer: _Layer) -> _Named:
        return self


class _Reader:
    """Fills a chain with the layers that a model's configuration describes.

    Attributes
    ----------
    chain : Chain
        The layers so far.
    shape : tuple of int or None
        The shape of one row of the model's inputs, if the model tells it.
    """

    def __init__(self, source: str) -> None:
        self.chain = Chain(source)
        self.shape: tuple[int, ...] | None = None
        self._now: tuple[int, ...] | None = None  # the shape of a row after the layers so far
        self._begun = False
        self._policies: set[str] = set()
        self._scales = 0  # by single numbers

    def read(self, item: Any, weights: _Weights) -> None:
        """Read a whole model."""
        if not isinstance(item, Mapping):
            raise ValueError(f"{self.chain.source}: expected the description of a model, got {_shown(item)}")
        self._model(self._layer(item, "", {}), weights, 1)

    def precision(self) -> Literal["float16", "float32"] | None:
        """Return the dtype that the model computes in, which may be less than that of its weights; None for bfloat16.

        Keras on PyTorch multiplies float64 matrices in float32.
        """
        names = {policy.removeprefix("mixed_") for policy in self._policies}
        if "bfloat16" in names:
            return None
        return "float16" if "float16" in names else "float32"

    def _layer(self, item: Any, prefix: str, places: dict[str, int]) -> _Layer:
        """Return the description of a layer, or of a model."""
        config = item.get("config") if isinstance(item, Mapping) else None
        if isinstance(config, list):  # a Sequential of Keras before 2.2.3
            config = {"layers": config}
        kind = item.get("class_name") if isinstance(item, Mapping) else None
        if not isinstance(config, Mapping) or not isinstance(kind, str):
            self.chain.refuse(f"a layer in {prefix!r}", f"expected its class and its options, got {_shown(item)}")
        group = _GROUPS.get(kind, kind)
        place = places[group] = places.get(group, -1) + 1
        name = str(config.get("name", item.get("name", "")))
        layer = _Layer(kind, name, prefix + name, place, config, lambda reason: self.chain.refuse(layer.label, reason))
        if not _is_of_keras(item.get("module", "keras")):  # Keras 2 has no modules
            layer.refuse("a class of your own; what it computes is known to its code alone")
        return layer

    def _model(self, model: _Layer, weights: _Weights | None, depth: int) -> None:
        if model.kind not in _MODELS:
            model.refuse("expected a Sequential or a functional model")
        if depth > _MOST_DEPTH:
            model.refuse(f"expected at most {_MOST_DEPTH} models within each other")
        items = model.config.get("layers")
        if not isinstance(items, (list, tuple)) or not items:
            model.refuse(f"expected a list of layers, got {_shown(items)}")
        prefix = "" if depth == 1 else f"{model.path}/"
        places: dict[str, int] = {}
        layers = [self._layer(item, prefix, places) for item in items]
        if len({layer.name for layer in layers}) < len(layers):
            model.refuse("expected layers of different names")
        for layer in layers if model.kind == "Sequential" else _follow(model, layers, items):
            self._declare(layer)
            if layer.kind in _MODELS:
                self._model(layer, weights and weights.inside(layer), depth + 1)
            else:
                self._add(layer, weights)

    def _declare(self, layer: _Layer) -> None:
        """Note the policy of a layer, and the shape of its inputs where it tells that."""
        policy = layer.config.get("dtype", "float32")
        options = policy.get("config") if isinstance(policy, Mapping) else None
        name = options.get("name") if isinstance(options, Mapping) else policy
        quantized = isinstance(policy, Mapping) and "Quantized" in str(policy.get("class_name"))
        if quantized or (isinstance(name, str) and "_from_" in name):
            layer.refuse("quantised weights")
        if layer.kind not in ("InputLayer", *_MODELS):
            self._policies.add(name if isinstance(name, str) else "float32")
        shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
        if shape is None:
            return
        if not isinstance(shape, (list, tuple)) or len(shape) < 2 or not all(_is_length(length) for length in shape[1:]):
            layer.refuse(f"expected inputs of shape (rows, inputs), got {_shown(shape)}")
        row = tuple(shape[1:])
        if not self._begun:
            self.shape = self._now = row
            self._begun = True
        elif self._now not in (None, row):
            layer.refuse(f"expected inputs of shape {self._now}, as they are before it, got {row}")

    def _add(self, layer: _Layer, weights: _Weights | None) -> None:
        """Add what a layer computes to the chain."""
        self._begun = True
        if layer.kind in _IDLE:
            return
        if layer.kind == "Flatten":
            if layer.config.get("data_format", "channels_last") not in ("channels_last", None):
                layer.refuse("expected data_format 'channels_last'")
            self._now = self._now and (math.prod(self._now),)
            return
        add: Any = {
            "Dense": self._dense,
            "BatchNormalization": self._batch_normalization,
            "Normalization": self._normalization,
            "Rescaling": self._rescaling,
            "PReLU": self._parametric_relu,
        }.get(layer.kind)
        if add is not None:
            add(layer, weights)
        elif layer.kind == "Activation":
            self._activation(layer, layer.config.get("activation"))
        else:
            self._activation_layer(layer)

    def _dense(self, layer: _Layer, weights: _Weights | None) -> None:
        if layer.config.get("lora_rank"):
            layer.refuse("a LoRA beside its kernel; merge it into the kernel first")
        if layer.config.get("quantization_config"):
            layer.refuse("quantised weights")
        self._need_row(layer)
        names = ["kernel", "bias"] if layer.flag("use_bias", True) else ["kernel"]
        kernel, *bias = self._variables(layer, weights, names)
        units = layer.config.get("units", kernel.shape[-1] if kernel.ndim else None)
        if kernel.ndim != 2 or kernel.shape[1] != units:
            layer.refuse(f"expected a kernel (inputs, {_shown(units)}), got {kernel.shape}")
        if self._now is not None and self._now != kernel.shape[:1]:
            layer.refuse(f"expected {self._now[0]} inputs, as many as there are before it, got a kernel {kernel.shape}")
        if bias and bias[0].shape != (units,):
            layer.refuse(f"expected a bias ({_shown(units)},), got {bias[0].shape}")
        self.chain.dense(layer.label, kernel.T, *bias)
        self._now = (kernel.shape[1],)
        self._activation(layer, layer.config.get("activation"))

    def _batch_normalization(self, layer: _Layer, weights: _Weights | None) -> None:
        self._need_row(layer)
        layer.check_last_axis()
        if layer.config.get("renorm"):
            layer.refuse("expected renorm=False")
        scale, center = layer.flag("scale", True), layer.flag("center", True)
        names = [*["gamma"] * scale, *["beta"] * center, "moving_mean", "moving_variance"]
        arrays = dict(zip(names, self._variables(layer, weights, names), strict=True))
        mean, variance = arrays["moving_mean"], arrays["moving_variance"]
        if any(array.shape != mean.shape for array in arrays.values()) or mean.ndim != 1:
            layer.refuse("expected arrays of one shape")
        gamma, beta = arrays.get("gamma", 1.0), arrays.get("beta", 0.0)
        self.chain.batch_norm(layer.label, mean, variance, layer.number("epsilon", 1e-3), gamma, beta)

    def _normalization(self, layer: _Layer, weights: _Weights | None) -> None:
        axis = layer.config.get("axis", -1)
        if axis not in (None, [], ()):
            self._need_row(layer)
            layer.check_last_axis()
        mean, variance = layer.row("mean"), layer.row("variance")
        if mean is None or variance is None:
            mean, variance = (np.asarray(array, np.float64) for array in self._variables(layer, weights, ["mean", "variance"]))
        if mean.shape != variance.shape or not (variance >= 0.0).all():
            layer.refuse("expected a variance of at least 0 for each mean")
        deviation = np.maximum(np.sqrt(variance), _LEAST_DEVIATION)
        if layer.flag("invert", False):
            self._scale(layer, 0.0 - mean / deviation, deviation)
        else:
            self._scale(layer, mean, 1.0 / deviation)

    def _rescaling(self, layer: _Layer, weights: _Weights | None) -> None:
        factor, shift = layer.row("scale"), layer.row("offset")
        if factor is None:
            layer.refuse("expected a scale, got none")
        shift = np.zeros(()) if shift is None else shift
        if factor.ndim or shift.ndim:
            self._need_row(layer)
        if not factor.all():
            layer.refuse("expected a scale other than 0")
        with np.errstate(all="ignore"):  # what is not finite the chain refuses
            self._scale(layer, 0.0 - shift / factor, factor)

    def _scale(self, layer: _Layer, offset: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
        self._scales += offset.size == scale.size == 1
        if self._scales > _MOST_SCALES:
            layer.refuse(f"expected at most {_MOST_SCALES} layers that scale by single numbers")
        self.chain.scale(layer.label, offset, scale)

    def _parametric_relu(self, layer: _Layer, weights: _Weights | None) -> None:
        (slopes,) = self._variables(layer, weights, ["alpha"])
        slopes = np.unique(np.asarray(slopes, np.float64))
        if slopes.size != 1 or not np.isfinite(slopes).all():
            layer.refuse("expected one slope for all inputs")
        self._leaky_relu(layer, float(slopes[0]))

    def _activation_layer(self, layer: _Layer) -> None:
        """Add a layer that is an activation, with options of its own."""
        match layer.kind:
            case "LeakyReLU":
                self._leaky_relu(layer, layer.number("alpha" if "alpha" in layer.config else "negative_slope", 0.3))
            case "ELU":
                self.chain.activation(layer.label, "elu", layer.number("alpha", 1.0))
            case "ReLU":
                if layer.config.get("max_value") is not None or layer.number("threshold", 0.0) != 0.0:
                    layer.refuse("expected a ReLU without max_value and threshold")
                self._leaky_relu(layer, layer.number("negative_slope", 0.0))
            case "Softmax":
                layer.check_last_axis()
                self.chain.activation(layer.label, "softmax")
            case "Lambda":
                layer.refuse(f"it is {_CODE}")
            case _:
                supported = "Dense, activations, BatchNormalization, Normalization, Rescaling, Dropout and Flatten"
                layer.refuse(f"not supported; layers that are: {supported}")

    def _leaky_relu(self, layer: _Layer, slope: float) -> None:
        if slope:
            self.chain.activation(layer.label, "leaky_relu", slope)
        else:
            self.chain.activation(layer.label, "relu")

    def _activation(self, layer: _Layer, activation: Any) -> None:
        """Add an activation that is given by its name, or is a layer."""
        if activation in (None, "linear"):
            return
        if isinstance(activation, Mapping) and ("value" in activation or activation.get("class_name") in _FUNCTIONS):
            layer.refuse(f"its activation is {_CODE}")
        if isinstance(activation, Mapping) and isinstance(activation.get("config"), Mapping):
            inner = self._layer(activation, f"{layer.name}/", {})
            self._activation_layer(inner)
        elif activation == "selu":
            self.chain.selu(layer.label)
        elif activation == "celu":
            self.chain.celu(layer.label, 1.0)
        elif isinstance(activation, str) and activation in _ACTIVATIONS:
            self.chain.activation(layer.label, _ACTIVATIONS[activation])
        else:
            layer.refuse(f"expected an activation out of {', '.join(_ACTIVATIONS)}, selu, celu; got {_shown(activation)}")

    def _variables(self, layer: _Layer, weights: _Weights | None, names: Sequence[str]) -> list[NDArray[Any]]:
        found = weights.arrays(layer, names) if weights else [None] * len(names)
        arrays = []
        for name, array in zip(names, found, strict=True):
            if array is None:
                layer.refuse(f"its {name} is missing; call or build the model before it is saved")
            arrays.append(_widened(array))
        return arrays

    def _need_row(self, layer: _Layer) -> None:
        if self._now is not None and len(self._now) != 1:
            layer.refuse(f"expected inputs of shape (rows, inputs), got (rows, {', '.join(map(str, self._now))}): Flatten them")


def _follow(model: _Layer, layers: list[_Layer], items: Sequence[Any]) -> list[_Layer]:
    """Return the layers of a functional model in the order of the one path through it, from its output back to its input."""
    rest = {layer.name: (layer, item) for layer, item in zip(layers, items, strict=True)}
    name = _only_end(model, "output")
    _only_end(model, "input")
    path: list[_Layer] = []
    while True:
        if name not in rest:
            model.refuse(f"expected a chain of layers; {name!r} is no layer of it, or comes twice")
        layer, item = rest.pop(name)
        path.append(layer)
        nodes = item.get("inbound_nodes")
        if layer.kind == "InputLayer":
            break
        if not isinstance(nodes, (list, tuple)) or len(nodes) != 1:
            times = len(nodes) if isinstance(nodes, (list, tuple)) else 0
            layer.refuse(f"expected a layer that is called once, it is called {times} times")
        name = _source(layer, nodes[0])
    for layer, _ in rest.values():
        layer.refuse("a branch: it is not on the path from the input to the output")
    return path[::-1]


def _only_end(model: _Layer, kind: str) -> str:
    """Return the name of the one input or output layer of a model."""
    ends = model.config.get(f"{kind}_layers")
    if isinstance(ends, Mapping):
        ends = list(ends.values())
    if isinstance(ends, (list, tuple)) and ends and isinstance(ends[0], str):
        ends = [ends]
    if not isinstance(ends, (list, tuple)) or len(ends) != 1 or not isinstance(ends[0], (list, tuple)) or not ends[0]:
        count = len(ends) if isinstance(ends, (list, tuple)) else 0
        model.refuse(f"expected one {kind}, got {count}")
    return str(ends[0][0])


def _source(layer: _Layer, node: Any) -> str:
    """Return the name of the layer that gives a layer's one input."""
    options: Any
    if isinstance(node, Mapping):  # Keras 3
        inputs, options = node.get("args"), node.get("kwargs")
        tensors = [
            part["config"].get("keras_history")
            for part in (inputs if isinstance(inputs, (list, tuple)) else [])
            if isinstance(part, Mapping)
            and part.get("class_name") == "__keras_tensor__"
            and isinstance(part.get("config"), Mapping)
        ]
        if not isinstance(inputs, (list, tuple)) or len(inputs) != len(tensors):
            layer.refuse("expected one input, and no other arguments")
    else:
        tensors = [node] if isinstance(node, (list, tuple)) and node and isinstance(node[0], str) else node
        options = None
    if not isinstance(tensors, (list, tuple)) or len(tensors) != 1:
        layer.refuse(f"expected one input, got {len(tensors) if isinstance(tensors, (list, tuple)) else 0}")
    tensor = tensors[0]
    if not isinstance(tensor, (list, tuple)) or len(tensor) < 3 or not isinstance(tensor[0], str):
        layer.refuse(f"expected the name of the layer before it, got {_shown(tensor)}")
    options = tensor[3] if len(tensor) > 3 else options
    for name, value in options.items() if isinstance(options, Mapping) else ():
        if value not in (None, False):
            layer.refuse(f"expected one input, and no other arguments; it is called with {name}={_shown(value)}")
    return tensor[0]


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    """Return bfloat16 as float32, which holds it exactly; other dtypes as they are."""
    if array.dtype.name == "bfloat16" or array.dtype == "V2":
        return widened(array.view(np.uint16))
    return array


def _common_end(first: list[str], second: list[str]) -> int:
    """Return how many names at the end of two lists are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first[::-1], second[::-1], strict=False)))


def _is_of_keras(module: object) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in ("keras", "tf_keras", "tensorflow")


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a nested {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
