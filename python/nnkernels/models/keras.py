"""Conversion of Keras models: objects, .keras files and .h5 files."""

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

# Upper limit of nested models.
_MOST_DEPTH = 20

# Upper limit of layers that scale by single numbers, which in a network become vectors.
_MOST_SCALES = 16

# Upper limit of the ratio of uncompressed to compressed size. Keras does not compress.
_MOST_EXPANSION = 64

# Classes of models.
_MODELS = ("Sequential", "Functional", "Model")

# Names of the groups in a .keras file, for layers with variables.
_GROUPS = {
    "Dense": "dense",
    "BatchNormalization": "batch_normalization",
    "Normalization": "normalization",
    "PReLU": "p_re_lu",
    "Sequential": "sequential",
    "Functional": "functional",
    "Model": "functional",
}

# Layers without effect in predictions.
_IDLE = (
    *("InputLayer", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization", "Identity"),
    *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
)

# Keras's names of activations, in lower case, and ours.
_ACTIVATIONS = {name: kind.name for kind in TABLE[1:] for name in kind.keras if name.islower()}
_ACTIVATIONS["leaky_relu"] = "leaky_relu(negative_slope=0.2)"  # 0.3 in the layer LeakyReLU

# Classes of user-defined functions. A lambda may also be a mapping with its code as "value".
_FUNCTIONS = ("function", "__lambda__")
_CODE = "Python code, which is not executed"

# Lower limit of the standard deviation in Normalization.
_LEAST_DEVIATION = 1e-7


def from_keras(model_or_path: object) -> Network:
    """Convert a Keras model to a network.

    The model must be Sequential, or functional without branches. Its layers may be Dense,
    activations (Activation, ReLU, LeakyReLU, ELU, PReLU with one slope, Softmax),
    BatchNormalization, Normalization, Rescaling, Flatten, nested models, and layers that act only
    in training, such as Dropout. Normalization and Rescaling become a ``Scale``. BatchNormalization
    is folded into the adjacent Dense; as first layer it becomes a ``Scale``.

    Parameters
    ----------
    model_or_path : Keras model, str, bytes or path-like
        A built model; or a .keras or .h5 file of a whole model.

    Returns
    -------
    Network
        A network with the dtype of the model's variables; bfloat16 becomes float32. If Flatten is
        the first layer, the network takes flat rows: ``net(x.reshape(len(x), -1))``.

    Raises
    ------
    TypeError
        If the argument is neither a Keras model nor a path.
    ValueError
        If the model is unsupported; the message names the layer and the reason. If a file is
        damaged, or holds only weights. If folded weights exceed the range of the dtype. If the
        outputs differ.
    ImportError
        If h5py is missing for a file.
    OSError, MemoryError
        As in ``load``.

    Notes
    -----
    Keras is not imported. Files are read by the package h5py, and nothing in them is executed.

    As a check, the network's outputs for 64 rows are compared with those of a model object, unless
    it computes in bfloat16. A file cannot be checked in this way: names of layers and activations
    are assumed to be Keras's own. If user-defined functions or classes have such names, pass the
    model object.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> from keras import Input, Sequential, layers  # doctest: +SKIP
    >>> model = Sequential([Input((4,)), layers.Dense(3, "softmax")])  # doctest: +SKIP
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
            reason = "other classes may compute anything"
            raise ValueError(f"from_keras expected a Sequential or a functional model, got a {kind.__name__}; {reason}")
        raise TypeError(f"from_keras expected a Keras model, or the path of a .keras or .h5 file, got a {kind.__name__}")
    try:
        item = {"class_name": kind.__name__, "config": model.get_config()}
    except OSError as error:  # Keras cannot find the source of a lambda
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
        except Exception as error:  # depends on the backend
            raise ValueError(f"from_keras: the model raised an error: {error}") from error
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
                    advice = "pass the model after model.load_weights(path), or a file that model.save wrote"
                    raise ValueError(f"it holds weights, but no layers; {advice}")
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
                    raise ValueError(f"expected a .keras file, as model.save writes; it has no {name}")
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
    """A layer in the description of its model."""

    kind: str
    name: str
    path: str  # includes the names of enclosing models
    place: int  # index among the layers of its class in its model
    config: Mapping[str, Any]
    refuse: Callable[[str], NoReturn]

    @property
    def label(self) -> str:
        """The name of the layer in error messages."""
        return f"layer {self.path!r} ({self.kind})"

    def number(self, name: str, default: float) -> float:
        """Return an option that must be a finite number."""
        value = self.config.get(name, default)
        try:
            if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
                return float(value)
        except OverflowError:
            pass
        return self.refuse(f"expected {name} to be a finite number, got {_shown(value)}")

    def flag(self, name: str, default: bool) -> bool:
        """Return an option that must be a bool."""
        value = self.config.get(name, default)
        if not isinstance(value, bool):
            self.refuse(f"expected {name} to be true or false, got {_shown(value)}")
        return value

    def row(self, name: str) -> NDArray[np.float64] | None:
        """Return an option that must be a number, a list of numbers, or None."""
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
        """Refuse an ``axis`` other than the last axis of an array (rows, inputs)."""
        axis = self.config.get("axis", -1)
        axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        if len(axes) != 1 or isinstance(axes[0], bool) or axes[0] not in (-1, 1):
            self.refuse(f"expected the last axis, got axis={_shown(axis)}")


class _Weights(Protocol):
    """The variables of a model's layers."""

    def arrays(self, layer: _Layer, names: Sequence[str]) -> list[NDArray[Any] | None]:
        """Return the variables of a layer, in the order of ``names``; None for a missing one."""

    def inside(self, layer: _Layer) -> _Weights | None:
        """Return the variables of a nested model."""


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
    """Variables in a .keras file. Groups are named by class, and numbered in order of layers."""

    def __init__(self, model: Group) -> None:
        # The second name is from Keras 2.12.
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
    """Variables in an .h5 file: arrays named by variable, within groups named by layer."""

    def __init__(self, model: Group) -> None:
        self._model = model

    def arrays(self, layer: _Layer, names: Sequence[str]) -> list[NDArray[Any] | None]:
        group = self._model.group(layer.name)
        return _Named(group, []).arrays(layer, names) if group else [None] * len(names)

    def inside(self, layer: _Layer) -> _Named | None:
        group = self._model.group(layer.name)
        return _Named(group, layer.name.split("/")) if group else None


class _Named:
    """Variables below the group of a layer or of a nested model in an .h5 file."""

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
        if self._model:  # groups are named by layer, and perhaps by enclosing models
            found = self._arrays.get((path[-1], name), [])
            near = [_common_end(place[:-1], path) for place, _ in found]
            least = max([len(layer.name.split("/")), *near])
            found = [item for item, common in zip(found, near, strict=True) if common >= least]
        else:
            found = self._arrays.get((name,), [])
        if len(found) > 1:
            layer.refuse(f"expected one array {name!r} in the file, got {len(found)}")
        return found[0][1]() if found else None

    def inside(self, layer: _Layer) -> _Named:
        return self


class _Reader:
    """Adds the layers in a model's configuration to a chain.

    Attributes
    ----------
    chain : Chain
        The layers so far.
    shape : tuple of int or None
        The shape of one row of inputs, if the model declares it.
    """

    def __init__(self, source: str) -> None:
        self.chain = Chain(source)
        self.shape: tuple[int, ...] | None = None
        self._now: tuple[int, ...] | None = None  # shape of a row after the layers so far
        self._begun = False
        self._policies: set[str] = set()
        self._scales = 0  # layers that scale by single numbers

    def read(self, item: Any, weights: _Weights) -> None:
        """Read a whole model."""
        if not isinstance(item, Mapping):
            raise ValueError(f"{self.chain.source}: expected the description of a model, got {_shown(item)}")
        self._model(self._layer(item, "", {}), weights, 1)

    def precision(self) -> Literal["float16", "float32"] | None:
        """Return the least precise dtype of the model's computation; None for bfloat16.

        It is never float64: Keras on PyTorch multiplies float64 matrices in float32.
        """
        names = {policy.removeprefix("mixed_") for policy in self._policies}
        if "bfloat16" in names:
            return None
        return "float16" if "float16" in names else "float32"

    def _layer(self, item: Any, prefix: str, places: dict[str, int]) -> _Layer:
        """Return the description of a layer or nested model."""
        config = item.get("config") if isinstance(item, Mapping) else None
        if isinstance(config, list):  # a Sequential of Keras before 2.2.3
            config = {"layers": config}
        kind = item.get("class_name") if isinstance(item, Mapping) else None
        if not isinstance(config, Mapping) or not isinstance(kind, str):
            self.chain.refuse(f"a layer in {prefix!r}", f"expected class_name and config, got {_shown(item)}")
        group = _GROUPS.get(kind, kind)
        place = places[group] = places.get(group, -1) + 1
        name = str(config.get("name", item.get("name", "")))
        layer = _Layer(kind, name, prefix + name, place, config, lambda reason: self.chain.refuse(layer.label, reason))
        if not _is_of_keras(item.get("module", "keras")):  # Keras 2 has no modules
            layer.refuse("expected a class of Keras, got a user-defined class, which may compute anything")
        return layer

    def _model(self, model: _Layer, weights: _Weights | None, depth: int) -> None:
        if model.kind not in _MODELS:
            model.refuse("expected a Sequential or a functional model")
        if depth > _MOST_DEPTH:
            model.refuse(f"expected at most {_MOST_DEPTH} nested models, got more")
        items = model.config.get("layers")
        if not isinstance(items, (list, tuple)) or not items:
            model.refuse(f"expected a list of layers, got {_shown(items)}")
        prefix = "" if depth == 1 else f"{model.path}/"
        places: dict[str, int] = {}
        layers = [self._layer(item, prefix, places) for item in items]
        if len({layer.name for layer in layers}) < len(layers):
            model.refuse("expected layers with different names")
        for layer in layers if model.kind == "Sequential" else _follow(model, layers, items):
            self._declare(layer)
            if layer.kind in _MODELS:
                self._model(layer, weights and weights.inside(layer), depth + 1)
            else:
                self._add(layer, weights)

    def _declare(self, layer: _Layer) -> None:
        """Record the dtype policy of a layer, and the shape of its inputs if it is declared."""
        policy = layer.config.get("dtype", "float32")
        options = policy.get("config") if isinstance(policy, Mapping) else None
        name = options.get("name") if isinstance(options, Mapping) else policy
        quantized = isinstance(policy, Mapping) and "Quantized" in str(policy.get("class_name"))
        if quantized or (isinstance(name, str) and "_from_" in name):
            layer.refuse("quantised weights are not supported")
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
            layer.refuse(f"expected inputs of shape {self._now}, the outputs of the layer before, got {row}")

    def _add(self, layer: _Layer, weights: _Weights | None) -> None:
        """Add a layer to the chain."""
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
            layer.refuse("LoRA is not supported: merge it into the kernel first")
        if layer.config.get("quantization_config"):
            layer.refuse("quantised weights are not supported")
        self._need_row(layer)
        names = ["kernel", "bias"] if layer.flag("use_bias", True) else ["kernel"]
        kernel, *bias = self._variables(layer, weights, names)
        units = layer.config.get("units", kernel.shape[-1] if kernel.ndim else None)
        if kernel.ndim != 2 or kernel.shape[1] != units:
            layer.refuse(f"expected a kernel (inputs, {_shown(units)}), got {kernel.shape}")
        if self._now is not None and self._now != kernel.shape[:1]:
            layer.refuse(f"expected {self._now[0]} inputs, the outputs of the layer before, got a kernel {kernel.shape}")
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
            layer.refuse("expected 1-d arrays of equal length")
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
        with np.errstate(all="ignore"):  # the chain refuses NaN and infinity
            self._scale(layer, 0.0 - shift / factor, factor)

    def _scale(self, layer: _Layer, offset: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
        self._scales += offset.size == scale.size == 1
        if self._scales > _MOST_SCALES:
            layer.refuse(f"expected at most {_MOST_SCALES} layers that scale by single numbers, got more")
        self.chain.scale(layer.label, offset, scale)

    def _parametric_relu(self, layer: _Layer, weights: _Weights | None) -> None:
        (slopes,) = self._variables(layer, weights, ["alpha"])
        slopes = np.unique(np.asarray(slopes, np.float64))
        if slopes.size != 1 or not np.isfinite(slopes).all():
            layer.refuse("expected one slope for all inputs")
        self._leaky_relu(layer, float(slopes[0]))

    def _activation_layer(self, layer: _Layer) -> None:
        """Add a layer that is an activation with options."""
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
                layer.refuse(f"expected one of the supported layers: {supported}")

    def _leaky_relu(self, layer: _Layer, slope: float) -> None:
        if slope:
            self.chain.activation(layer.label, "leaky_relu", slope)
        else:
            self.chain.activation(layer.label, "relu")

    def _activation(self, layer: _Layer, activation: Any) -> None:
        """Add an activation, given as a name or as a layer."""
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
            layer.refuse(f"expected an activation of {', '.join(_ACTIVATIONS)}, selu, celu; got {_shown(activation)}")

    def _variables(self, layer: _Layer, weights: _Weights | None, names: Sequence[str]) -> list[NDArray[Any]]:
        found = weights.arrays(layer, names) if weights else [None] * len(names)
        arrays = []
        for name, array in zip(names, found, strict=True):
            if array is None:
                layer.refuse(f"its {name} is missing; call or build the model before saving it")
            arrays.append(_widened(array))
        return arrays

    def _need_row(self, layer: _Layer) -> None:
        if self._now is not None and len(self._now) != 1:
            layer.refuse(f"expected inputs of shape (rows, inputs), got (rows, {', '.join(map(str, self._now))}): Flatten them")


def _follow(model: _Layer, layers: list[_Layer], items: Sequence[Any]) -> list[_Layer]:
    """Return the layers of a functional model in order. Refuse a model with branches."""
    rest = {layer.name: (layer, item) for layer, item in zip(layers, items, strict=True)}
    name = _only_end(model, "output")
    _only_end(model, "input")
    path: list[_Layer] = []
    while True:
        if name not in rest:
            model.refuse(f"expected a chain of layers, but {name!r} is missing or occurs twice")
        layer, item = rest.pop(name)
        path.append(layer)
        nodes = item.get("inbound_nodes")
        if layer.kind == "InputLayer":
            break
        if not isinstance(nodes, (list, tuple)) or len(nodes) != 1:
            times = len(nodes) if isinstance(nodes, (list, tuple)) else 0
            layer.refuse(f"expected a layer that is called once, got {times} calls")
        name = _source(layer, nodes[0])
    for layer, _ in rest.values():
        layer.refuse("expected no branches, but it is not on the path from input to output")
    return path[::-1]


def _only_end(model: _Layer, kind: str) -> str:
    """Return the name of a model's only input or output layer."""
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
    """Return the name of the layer before a layer, which must have one input."""
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
            layer.refuse(f"expected one input, and no other arguments, got {name}={_shown(value)}")
    return tensor[0]


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    """Convert bfloat16 to float32, exactly. Other dtypes are returned unchanged."""
    if array.dtype.name == "bfloat16" or array.dtype == "V2":
        return widened(array.view(np.uint16))
    return array


def _common_end(first: list[str], second: list[str]) -> int:
    """Return the length of the common end of two lists."""
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
