"""Networks of layers: forward pass, gradients, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain, pairwise
from os import PathLike, fsdecode
from types import MappingProxyType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkernels import _core
from nnkernels.activations import Activation, name_of, number_of
from nnkernels.arrays import (
    FLOAT,
    MOST_SEED,
    REAL,
    as_array,
    as_integer,
    as_output,
    as_real,
    describe,
    explained,
    is_float,
    is_lazy,
    map_chunks,
    need_known,
)
from nnkernels.files import HDF5, KERAS, ONNX, Path, read_file, read_metadata, read_tensors, write_file
from nnkernels.layers import Dense, Scale, attributes_of_subclass, restored
from nnkernels.losses import LossLike
from nnkernels.problem import compute_gradient, propagate_back


class Network(_core.Network):
    """Layers compiled to one function: ``net(x)`` is the forward pass.

    Immutable and safe to call from many threads; it can be pickled, a subclass with its attributes.
    It keeps its own copy of the weights, rearranged for the CPU.

    Parameters
    ----------
    layers : iterable of Dense and Scale
        At least one. Each layer takes as many inputs as the layer before has outputs.
    dtype : optional
        float16, float32 or float64; by default the dtype that all weights and biases promote to (of
        Scale alone: float64). What is beyond its range becomes infinite, with NumPy's warning of a
        cast.
    metadata : mapping of str to str, optional
        Anything that belongs to the network, such as the names of classes. ``save``, ``load``,
        pickles and ``train`` keep it. Names that begin with "nnkernels." are reserved.

    Raises
    ------
    TypeError
        For a layer that is no Dense or Scale, for another dtype, and for metadata that are no
        strings.
    ValueError
        For no layers, for layers that do not chain, for one neuron ahead of another layer (but a
        Scale of single numbers), for an activation's option that is infinite in the dtype, and for
        a reserved name.
    MemoryError
        Where there is too little for the weights.

    Calling
    -------
    ``net(x, out=None)``: x of shape (..., inputs) and any real dtype gives an array of shape (...,
    outputs) and the network's dtype; (...) where the last layer is one neuron. x is converted to
    the network's dtype; what is beyond its range becomes infinite, with NumPy's warning of a cast.
    ``out`` is an array of the result's shape, of a dtype that the result can be cast to
    (same_kind); it may overlap x, and is returned. The bits are those of ``dense`` called layer by
    layer. Overflow in a layer gives infinities without a warning. A pandas object gives an array, a
    Dask array a lazy one, which takes no ``out``.

    Raises TypeError for an x or ``out`` whose dtype does not fit, for masked and sparse arrays and
    numbers with a unit, ValueError for a shape that does not fit, a read-only ``out`` and a row
    that a Dask array has in several chunks, and MemoryError where there is too little for the
    result or for a block of rows.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> net = nnk.Network([nnk.Dense([[1.0, -1.0], [0.5, 2.0]], [0.0, 1.0], "relu"), nnk.Dense([[1.0, 1.0]])])
    >>> net([[3.0, 1.0], [0.0, 2.0]])
    array([[6.5],
           [5. ]])
    >>> net
    Network of 2 layers, float64
      layer  inputs  outputs  activation  parameters
          1       2        2  relu                 6
          2       2        1  -                    3
      total                                        9
    """

    __slots__ = ("_metadata",)

    _metadata: dict[str, str]

    def __init__(
        self, layers: Iterable[Dense | Scale], dtype: DTypeLike | None = None, metadata: Mapping[str, str] | None = None
    ) -> None:
        try:
            iterator = iter(layers)
        except TypeError:
            raise TypeError(f"Network expected a list of Dense and Scale, got a {type(layers).__name__}") from None
        checked = list(iterator)
        for number, layer in enumerate(checked, 1):
            if not isinstance(layer, (Dense, Scale)):
                got = f"{type(layer).__name__} as layer {number}"
                raise TypeError(f"Network expected every layer to be a Dense or a Scale, got {got}")
        if not checked:
            raise ValueError("Network expected at least one layer, got none")
        widths = _widths(checked)
        dense = [layer for layer in checked if isinstance(layer, Dense)]
        dtypes = [layer.dtype for layer in dense] or [np.dtype(np.float64)]
        try:
            common = np.result_type(*dtypes) if dtype is None else np.dtype(dtype)
            if not is_float(common):
                raise TypeError
        except (TypeError, ValueError):
            raise TypeError(f"Network expected dtype {FLOAT}, got {dtype!r}") from None
        for layer in dense:
            option = abs(number_of(layer.activation)[1])
            if option > float(np.finfo(np.result_type(common, np.float32)).max):
                raise ValueError(f"Network expected an option that {common} can compute with, got {layer.activation!r}")
        super().__init__(
            [_for_core(layer, width) for layer, width in zip(checked, widths, strict=True)],
            common.num,
            bool(dense) and dense[-1].weights.ndim == 1,
        )
        self._metadata = _as_metadata(metadata)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What was given as metadata, read-only, in the order of the names."""
        return MappingProxyType(self._metadata)

    @property
    def layers(self) -> tuple[Dense | Scale, ...]:
        """Descriptions of the layers, with copies of their weights. A Scale of single numbers has become one of vectors."""
        parts: list[tuple[Any, ...]] = [self._layer(index) for index in range(len(self))]
        last = max((index for index, part in enumerate(parts) if len(part) == 4), default=0)
        if self.one_neuron:  # from it on there is no axis of outputs
            parts[last:] = [(first[0], second[0], *activation) for first, second, *activation in parts[last:]]
        return tuple(Scale(*part) if len(part) == 2 else Dense(part[0], part[1], name_of(*part[2:])) for part in parts)

    def __repr__(self) -> str:
        layers = self.layers
        lines = [
            f"Network of {len(layers)} layer{'s' if len(layers) > 1 else ''}, {self.dtype}",
            "  layer  inputs  outputs  activation  parameters",
        ]
        total = 0
        inputs = self.inputs
        for number, layer in enumerate(layers, 1):
            outputs, activation, parameters = inputs, "(scale)", 0  # which are not learnt
            if isinstance(layer, Dense):
                outputs, activation, parameters = layer.outputs, layer.activation or "-", layer.weights.size + layer.bias.size
            lines.append(f"{number:7}{inputs:8}{outputs:9}  {activation:10}{parameters:12}")
            total += parameters
            inputs = outputs
        lines.append(f"  total{total:41}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (Network, type(self), self.layers, self.dtype, self._metadata), self.__getstate__()

    def __getstate__(self) -> tuple[Any, dict[str, Any]]:
        """Return the attributes of a subclass: its dictionary and its slots."""
        return attributes_of_subclass(self, Network.__slots__)

    def _call_converted(self, x: Any, out: Any) -> Any:
        """Return the forward pass of arguments that C++ does not take: not plain arrays of NumPy with a real dtype."""
        try:
            array = as_array(x)
            out = as_output(out, array)
            if is_lazy(array):
                return self._call_lazily(array)
            array = as_real(array)
            if out is not None and not isinstance(out, np.ndarray):
                raise TypeError("out is no array")
        except (TypeError, ValueError) as error:
            raise explained(error, "Network", f"x of shape (..., {self.inputs}) and {REAL}", x=x, out=out) from None
        result = _core.Network.__call__(self, array, None if out is None else out.view(np.ndarray))
        return result if out is None else out

    def _call_lazily(self, x: Any) -> Any:
        need_known(x, *range(x.ndim)[-1:])
        if x.ndim == 0 or x.shape[-1] != self.inputs:
            raise ValueError(f"x needs {self.inputs} elements on its last axis")
        lengths = None if self.one_neuron else [self.outputs]
        return map_chunks(partial(_core.Network.__call__, self), x, [x.ndim - 1], lengths, self.dtype)

    @classmethod
    def random(
        cls,
        sizes: Iterable[SupportsIndex],
        activation: Activation = "relu",
        output: Activation = None,
        *,
        seed: SupportsIndex,
        initializer: str = "glorot",
        dtype: DTypeLike = np.float32,
    ) -> Self:
        """Return a network with random weights, to be trained.

        Each weight is (2 u - 1) bound, where u is uniform in [0, 1).

        Parameters
        ----------
        sizes : iterable of int
            The number of inputs, then the outputs of each layer; each at least 1.
        activation, output : optional
            The activation of the hidden layers, and that of the last, as in ``Dense``.
        seed : int
            From 0 to 2**64 - 1. A seed gives the same bits on every machine.
        initializer : {"glorot", "he", "torch"}
            The bound: sqrt(6 / (inputs + outputs)), sqrt(6 / inputs), or 1 / sqrt(inputs) as in
            PyTorch's Linear. Biases are 0, but with "torch" they are random in the same way.
        dtype : optional
            float16, float32 or float64. The numbers are float64, rounded once.

        Returns
        -------
        Network

        Raises
        ------
        TypeError, ValueError
            For an argument that is not as above.
        MemoryError
            Where there is too little for the weights.

        Notes
        -----
        Random numbers: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011
        (Philox4x64-10). Bounds: X. Glorot and Y. Bengio, "Understanding the difficulty of training
        deep feedforward neural networks", 2010; K. He et al., "Delving deep into rectifiers", 2015.

        Examples
        --------
        >>> import nnkernels as nnk
        >>> nnk.Network.random([64, 32, 10], "relu", "softmax", seed=0)
        Network of 2 layers, float32
          layer  inputs  outputs  activation  parameters
              1      64       32  relu              2080
              2      32       10  softmax            330
          total                                     2410
        """
        function = "Network.random"
        try:
            lengths = [as_integer(function, "each size", size, 1) for size in sizes]
        except TypeError as error:
            raise TypeError(f"{function} expected sizes to be integers, inputs first; got {sizes!r}") from error
        if len(lengths) < 2:
            raise ValueError(f"{function} expected at least two sizes, inputs and outputs, got {sizes!r}")
        if any(inputs * outputs >= 2**58 for inputs, outputs in pairwise(lengths)):  # their bytes might overflow
            raise MemoryError(f"{function}: no memory holds a layer of 2**58 weights")
        seed = as_integer(function, "seed", seed, 0, MOST_SEED)
        if initializer not in _INITIALIZERS:
            raise ValueError(f"{function} expected initializer to be one of {', '.join(_INITIALIZERS)}, got {initializer!r}")
        number_of(activation)  # which no layer may have
        number = _INITIALIZERS.index(initializer)
        layers = []
        for index, (inputs, outputs) in enumerate(pairwise(lengths)):
            weights = _core.random_weights(seed, 2 * index, inputs * outputs, number, inputs, outputs)
            bias = (
                _core.random_weights(seed, 2 * index + 1, outputs, number, inputs, outputs) if initializer == "torch" else None
            )
            last = index == len(lengths) - 2
            layers.append(Dense(weights.reshape(outputs, inputs), bias, output if last else activation))
        return cls(layers, dtype)

    def gradient(
        self, x: ArrayLike, targets: ArrayLike, loss: LossLike = None, *, sample_weight: ArrayLike | None = None
    ) -> tuple[Any, tuple[Dense, ...]]:
        """Return the mean loss of the outputs for x, and its gradients by weights and biases.

        Parameters
        ----------
        x : array_like, shape (..., inputs)
            Rows of inputs.
        targets : array_like
            What the outputs should be, of their shape; for cross_entropy labels (...) or
            probabilities (..., classes).
        loss : optional
            A name ("huber"), the function (``nnkernels.huber``), a ``functools.partial`` of it that
            sets its option (label_smoothing, pos_weight or delta), or None for the last
            activation's own: softmax and log_softmax have cross_entropy, sigmoid
            binary_cross_entropy, exp poisson, others squared_error. An activation's own loss is
            computed from the logits, so that it is accurate where the outputs round to 0 or 1.
        sample_weight : array_like, shape (...) or that of the losses, optional
            What each row or term of the loss counts; finite and not negative. A row of weight 0
            counts nothing, even if it holds NaN.

        Returns
        -------
        value : NumPy scalar
            The sum of weight times loss over the sum of the weights, of the network's dtype.
        gradients : tuple of Dense
            For each Dense layer a Dense of its shapes, without activation: the gradients by its
            weights and its bias. A Scale has none.

        A float16 network is computed in float32; value and gradients are rounded once.

        Raises
        ------
        TypeError
            For arguments of the wrong kind, as in the losses.
        ValueError
            For shapes that do not fit, a label or target out of range, a bad weight (the message
            has its row, counted from 0), an unknown loss, and a loss of logits after softmax or
            sigmoid that is not its own.
        MemoryError
            Where there is too little for the activations of all rows.

        Notes
        -----
        Backpropagation: D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations
        by back-propagating errors", 1986. The value is the loss of ``net(x)``. No rows, or weights
        that are all 0, give NaN.

        Examples
        --------
        >>> import nnkernels as nnk
        >>> net = nnk.Network([nnk.Dense([[1.0, -1.0]])])
        >>> value, (layer,) = net.gradient([[3.0, 1.0], [0.0, 2.0]], [[1.0], [1.0]])
        >>> float(value), layer.weights, layer.bias
        (5.0, array([[ 3., -5.]]), array([-2.]))
        """
        value, layers = compute_gradient(self, x, targets, loss, sample_weight)
        return value, tuple(Dense(weights, bias) for weights, bias in layers)

    def backward(self, x: ArrayLike, upstream: ArrayLike) -> tuple[tuple[Dense, ...], NDArray[Any]]:
        """Return the gradients of a loss of one's own, from its gradient by the outputs.

        Parameters
        ----------
        x : array_like, shape (..., inputs)
            Rows of inputs.
        upstream : array_like, shape (..., outputs)
            The gradient by ``net(x)``, of its shape; (...) where the last layer is one neuron.

        Returns
        -------
        gradients : tuple of Dense
            For each Dense layer a Dense of its shapes, without activation: the gradients by its
            weights and its bias, sums over all rows. A Scale has none.
        x_gradient : array of the shape of x
            The gradient by x, of the network's dtype. A float16 network is computed in float32;
            gradients are rounded once.

        Raises
        ------
        TypeError
            For dtypes that are not real, masked and sparse arrays, and numbers with a unit.
        ValueError
            For shapes that do not fit.
        MemoryError
            Where there is too little for the activations of all rows.

        Notes
        -----
        For each layer, with activation f, inputs x and z = x weights^T + bias: by z it is d =
        upstream f'(z) (of softmax the product with its Jacobian), by the weights d^T x, by the bias
        the sum of d over the rows, and by x, which is upstream for the layer before, d weights.

        Examples
        --------
        >>> import nnkernels as nnk
        >>> net = nnk.Network([nnk.Dense([[1.0, -1.0]], activation="relu")])
        >>> (layer,), x_gradient = net.backward([[3.0, 1.0], [0.0, 2.0]], [[1.0], [1.0]])
        >>> layer.weights, layer.bias
        (array([[3., 1.]]), array([1.]))
        >>> x_gradient
        array([[ 1., -1.],
               [ 0.,  0.]])
        """
        layers, x_gradient = propagate_back(self, x, upstream)
        return tuple(Dense(weights, bias) for weights, bias in layers), x_gradient

    def save(self, path: Path) -> None:
        """Write the network to a file in the safetensors format, which ``nnkernels.load`` reads.

        Tensors ``layers.0.weights``, ``layers.0.bias``, ``layers.1.weights``, ..., or ``offset``
        and ``scale``; the entry ``nnkernels.activations`` of the file's metadata holds the
        activations as in ``Dense.activation``, separated by commas ("none" where there is none,
        "scale" for a Scale); the other entries are the network's metadata. The same network gives
        the same bytes.

        A file that is there is overwritten. Raises ValueError for a name that ends in .onnx,
        .keras, .h5 or .pt, and for metadata of more than 100 MB; OSError where the system cannot
        write the file, of which a part may then be left; and MemoryError where there is too little
        for a copy of the weights.

        Examples
        --------
        >>> import nnkernels as nnk, pathlib, tempfile
        >>> from safetensors.numpy import load_file
        >>> net = nnk.Network([nnk.Dense([[1.0, -1.0]], activation="sigmoid")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(pathlib.Path(folder, "net.safetensors"))
        ...     sorted(load_file(pathlib.Path(folder, "net.safetensors")))
        ['layers.0.bias', 'layers.0.weights']
        """
        if fsdecode(path).lower().endswith(_OTHER_SUFFIXES):
            advice = "expected a name that ends in .safetensors, say; Network.to_onnx writes ONNX"
            raise ValueError(f"{fsdecode(path)}: Network.save writes the safetensors format: {advice}")
        layers = self.layers
        names = [_SCALE if isinstance(layer, Scale) else layer.activation or "none" for layer in layers]
        tensors = {
            f"layers.{index}.{part}": getattr(layer, part)
            for index, (layer, name) in enumerate(zip(layers, names, strict=True))
            for part in _parts(name)
        }
        own = {_ACTIVATIONS: ",".join(names)}
        if set(names) == {_SCALE}:
            own[_DTYPE] = self.dtype.name  # no weights tell it
        write_file(path, tensors, own | self._metadata)

    def to_onnx(self, path: Path) -> None:
        """Write the network to a file in the ONNX format, which ONNX Runtime and many others read, and ``nnkernels.from_onnx``.

        One file of opset 17, with gelu 20: an input "x" (batch, inputs) and an output "y" (batch,
        outputs), or (batch,) after one neuron, of the network's dtype. A Dense becomes Gemm and its
        activation, a Scale is Sub and Mul in float64. The network's metadata are the model's. The
        same network gives the same bytes, and ``from_onnx`` gives the same network, if each layer
        has inputs and outputs.

        In float64, leaky_relu, elu, softplus and gelu are composed of other operators, for those of
        ONNX hold numbers in float32. gelu then needs the operator Erf, which ONNX Runtime has in
        float32 and float16 alone.

        A file that is there is overwritten. Raises ImportError where the package onnx is not
        installed, OSError where the system cannot write the file, and ValueError for weights of 2
        GB and more, which no ONNX file holds.

        Examples
        --------
        >>> import nnkernels as nnk, pathlib, tempfile
        >>> net = nnk.Network([nnk.Dense([[1.0, -1.0]], activation="silu")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.to_onnx(pathlib.Path(folder, "net.onnx"))
        ...     nnk.from_onnx(pathlib.Path(folder, "net.onnx")).layers
        (Dense(inputs=2, outputs=1, activation='silu', dtype=float64),)
        """
        from nnkernels.models.to_onnx import to_onnx

        to_onnx(self, path)


# How random weights are bounded; the place of each is its number in C++.
_INITIALIZERS = ("glorot", "he", "torch")

# The beginning of the names of a file's metadata that are not the network's, and these names.
_RESERVED = "nnkernels."
_ACTIVATIONS = "nnkernels.activations"
_DTYPE = "nnkernels.dtype"

# Ends of names that promise another format.
_OTHER_SUFFIXES = (".onnx", ".keras", ".h5", ".pt")

# What stands for a Scale among the activations.
_SCALE = "scale"


def _parts(activation: str) -> tuple[str, str]:
    """Return the names of a layer's tensors."""
    return ("offset", "scale") if activation == _SCALE else ("weights", "bias")


def load(path: Path) -> Network:
    """Read a network that ``Network.save`` wrote, or a model of ONNX or Keras.

    The content decides, whatever the name: an ONNX file is read as by ``from_onnx``, a .keras or
    .h5 file as by ``from_keras``. Nothing in a file is ever executed, and memory stays in
    proportion to its size.

    Parameters
    ----------
    path : str, bytes or path-like
        A regular file: a pipe cannot be mapped into memory.

    Returns
    -------
    Network
        With the bits of the network that was saved.

    Raises
    ------
    TypeError
        For what is no path, such as a model.
    ValueError
        The file does not hold a whole network: it is malformed, truncated, or of another kind. The
        message names the kind if another library or Git LFS wrote it, and says how a network comes
        of it. Or it is a pipe or a device.
    ImportError
        For a model of ONNX or Keras, where the package ``onnx`` or ``h5py`` is missing.
    FileNotFoundError, OSError
        The file is missing, or the system cannot read it.
    MemoryError
        The file is too large for the memory.

    Examples
    --------
    >>> import nnkernels as nnk, pathlib, tempfile
    >>> net = nnk.Network([nnk.Dense([[1.0, -1.0]], activation="sigmoid")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(pathlib.Path(folder, "net.safetensors"))
    ...     copy = nnk.load(pathlib.Path(folder, "net.safetensors"))
    >>> copy([0.0, 0.0])
    array([0.5])
    """
    if not isinstance(path, (str, bytes, PathLike)):
        advice = "models that are objects are for nnk.from_torch, nnk.from_keras and nnk.from_sklearn"
        raise TypeError(f"load expected the path of a file, got a {type(path).__name__}; {advice}")
    return read_file(path, _read_network, "a network", "Network.save", "{network}", _OTHERS)


def read_saved(path: Path) -> Network:
    """Read a network that ``Network.save`` wrote, but no file of another library."""
    return read_file(path, _read_network, "a network", "Network.save", "{network}")


# The modules of models.* are imported where they are needed.
def _load_onnx(path: Path) -> Network:
    from nnkernels.models.onnx import from_onnx

    return from_onnx(path)


def _load_keras(path: Path) -> Network:
    from nnkernels.models.keras import from_keras

    return from_keras(path)


_OTHERS = {ONNX: _load_onnx, KERAS: _load_keras, HDF5: _load_keras}


def _widths(layers: list[Dense | Scale]) -> list[int]:
    """Return the number of inputs of each layer. Raise ValueError where layers do not chain."""
    width = next((layer.inputs for layer in layers if layer.inputs is not None), None)
    if width is None:
        raise ValueError("Network expected a layer that tells the number of inputs, got Scale of single numbers alone")
    widths = []
    one_neuron = 0  # the number of the layer that is
    for number, layer in enumerate(layers, 1):
        cause = None
        if layer.inputs is not None and one_neuron:
            cause = f"layer {one_neuron} is one neuron before another layer: give its weights the shape (1, inputs)"
        elif layer.inputs not in (width, None):
            cause = f"layer {number - 1} has {width} outputs, layer {number} takes {layer.inputs} inputs"
            cause += "; weights are (outputs, inputs)" if isinstance(layer, Dense) else ""
        if cause:
            raise ValueError(f"Network: {cause}; got {_first_array(layers[number - 2])} before {_first_array(layer)}")
        widths.append(width)
        if isinstance(layer, Dense):
            width = layer.outputs
            one_neuron = number if layer.weights.ndim == 1 else 0
    return widths


def _first_array(layer: Dense | Scale) -> str:
    return describe(layer.weights if isinstance(layer, Dense) else layer.offset)


def _for_core(layer: Dense | Scale, width: int) -> tuple[Any, ...]:
    """Return a layer of so many inputs as C++ takes it."""
    if isinstance(layer, Scale):
        return np.broadcast_to(layer.offset, (width,)), np.broadcast_to(layer.scale, (width,))
    return np.atleast_2d(layer.weights), np.atleast_1d(layer.bias), *number_of(layer.activation)


def _as_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"Network expected metadata to be a mapping of strings, got a {type(metadata).__name__}")
    for item in metadata.items():
        for text in item:
            if not isinstance(text, str):
                raise TypeError(f"Network expected metadata of strings, got {text!r} in {item}")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"Network expected metadata that UTF-8 can hold, got {text!r}") from None
        if item[0].startswith(_RESERVED):
            raise ValueError(f"Network expected names of metadata that do not begin with {_RESERVED!r}, got {item[0]!r}")
    return {str(name): str(metadata[name]) for name in sorted(metadata)}


def _read_network(file: Any) -> Network:
    if _ACTIVATIONS not in (file.metadata() or {}):
        advice = "of tensors of other libraries nnk.from_state_dict(path, activations) makes a network"
        raise ValueError(f"its metadata has no entry {_ACTIVATIONS!r}; {advice}")
    activations = read_metadata(file, _ACTIVATIONS).split(",", len(file.keys()))  # no longer list than the tensors are worth
    parts = [[f"layers.{index}.{part}" for part in _parts(name)] for index, name in enumerate(activations)]
    tensors = read_tensors(file, list(chain(*parts)))
    layers: list[Dense | Scale] = []
    for index, activation in enumerate(activations):
        first, second = (tensors[part] for part in parts[index])
        if second.shape != first.shape[:-1] and activation != _SCALE:
            raise ValueError(f"layer {index} has weights {describe(first)} and bias {describe(second)}")
        if activation == _SCALE:
            layers.append(Scale(first, second))
        else:
            layers.append(Dense(first, second, None if activation == "none" else activation))
    metadata = file.metadata()
    dtype = read_metadata(file, _DTYPE) if set(activations) == {_SCALE} else None
    if dtype not in (None, "float16", "float32", "float64"):
        raise ValueError("a bad dtype is in its metadata")
    own = {name: text for name, text in metadata.items() if not name.startswith(_RESERVED)}
    return Network(layers, dtype, own)
