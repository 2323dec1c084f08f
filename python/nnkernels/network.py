"""Networks: construction, forward pass, gradients, and files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain, pairwise
from os import PathLike
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
from nnkernels.files import HDF5, KERAS, ONNX, Path, check_suffix, read_file, read_metadata, read_tensors, write_file
from nnkernels.layers import Dense, Scale, attributes_of_subclass, restored
from nnkernels.losses import LossLike
from nnkernels.problem import backpropagate, compute_gradient


class Network(_core.Network):
    """Layers compiled to one function: ``net(x)`` is the forward pass.

    A network is immutable and thread-safe. It can be pickled, and so can subclasses with their
    attributes. It keeps its own copy of the weights, rearranged for the CPU.

    Parameters
    ----------
    layers : iterable of Dense and Scale
        At least one layer. The inputs of each layer are the outputs of the previous one.
    dtype : dtype, optional
        float16, float32 or float64. Defaults to the common dtype of all weights and biases, or
        float64 if there are only Scale layers. Weights beyond its range become infinite, with
        NumPy's warning.
    metadata : mapping of str to str, optional
        Any information about the network, such as the names of classes. ``save``, ``load``, pickles
        and ``train`` keep it. Names that begin with "nnkernels." are reserved.

    Raises
    ------
    TypeError
        If a layer is neither Dense nor Scale. If ``dtype`` is invalid. If metadata are not strings.
    ValueError
        If there are no layers, or their sizes do not match. If a layer of one neuron is followed by
        a layer other than a Scale of single numbers. If the option of an activation is beyond the
        range of the dtype. If a name of metadata is reserved.
    MemoryError
        If there is not enough memory for the weights.

    Notes
    -----
    **Call.** ``net(x, out=None)`` is the forward pass. x has the shape (..., inputs). The result
    has the network's dtype and the shape (..., outputs), or (...) if the weights of the last layer
    have the shape (inputs,). It has the same bits as ``dense`` called layer by layer.

    x may have any real dtype. It is converted to the network's dtype. Numbers beyond its range
    become infinite, with NumPy's warning. Overflow inside a layer gives infinity without a warning.
    pandas objects give NumPy arrays. Dask arrays give lazy Dask arrays.

    ``out`` is an array for the result. It must have the shape of the result, and a dtype to which
    the result can be cast (same_kind). It may overlap x. It is returned. Dask arrays do not take
    ``out``.

    A call raises TypeError if x or ``out`` has an unsupported dtype, is masked or sparse, or has a
    unit. It raises ValueError if a shape does not fit, ``out`` is read-only, or a Dask array has
    several chunks along the axis of inputs. It raises MemoryError if there is not enough memory.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> hidden = nnk.Dense([[1.0, -1.0], [0.5, 2.0]], [0.0, 1.0], "relu")
    >>> net = nnk.Network([hidden, nnk.Dense([[1.0, 1.0]])])
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
                raise ValueError(f"Network expected an option within the range of {common}, got {layer.activation!r}")
        super().__init__(
            [_for_core(layer, width) for layer, width in zip(checked, widths, strict=True)],
            common.num,
            bool(dense) and dense[-1].weights.ndim == 1,
        )
        self._metadata = _as_metadata(metadata)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata, read-only and sorted by name."""
        return MappingProxyType(self._metadata)

    @property
    def layers(self) -> tuple[Dense | Scale, ...]:
        """The layers, with copies of their weights. Single numbers of a Scale become vectors."""
        parts: list[tuple[Any, ...]] = [self._layer(index) for index in range(len(self))]
        last = max((index for index, part in enumerate(parts) if len(part) == 4), default=0)
        if self.one_neuron:  # it and the layers after it have no axis of outputs
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
            outputs, activation, parameters = inputs, "(scale)", 0  # a Scale has no trainable ones
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
        """Return the attributes that a subclass adds: its dictionary and its slots."""
        return attributes_of_subclass(self, Network.__slots__)

    def _call_converted(self, x: Any, out: Any) -> Any:
        """Run the forward pass for arguments other than plain NumPy arrays. Called from C++."""
        try:
            array = as_array(x)
            out = as_output(out, array)
            if is_lazy(array):
                return self._call_lazily(array)
            array = as_real(array)
            if out is not None and not isinstance(out, np.ndarray):
                raise TypeError("out must be an ndarray")
        except (TypeError, ValueError) as error:
            raise explained(error, "Network", f"x of shape (..., {self.inputs}) with {REAL}", x=x, out=out) from None
        result = _core.Network.__call__(self, array, None if out is None else out.view(np.ndarray))
        return result if out is None else out

    def _call_lazily(self, x: Any) -> Any:
        need_known(x, *range(x.ndim)[-1:])
        if x.ndim == 0 or x.shape[-1] != self.inputs:
            raise ValueError(f"the last axis of x must have {self.inputs} elements")
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

        Weights are uniform in [-bound, bound). ``initializer`` chooses the bound.

        Parameters
        ----------
        sizes : iterable of int
            The number of inputs, then the number of outputs of each layer; each at least 1.
        activation : str, callable or None, default "relu"
            Activation of the hidden layers, as in ``Dense``.
        output : str, callable or None, default None
            Activation of the last layer, as in ``Dense``.
        seed : int
            From 0 to 2**64 - 1. The same seed gives the same bits on every machine.
        initializer : {"glorot", "he", "torch"}, default "glorot"
            The bound is ``sqrt(6 / (inputs + outputs))`` for "glorot", ``sqrt(6 / inputs)`` for
            "he", and ``1 / sqrt(inputs)`` for "torch", as in PyTorch's Linear. Biases are 0 for
            "glorot" and "he", and random with the same bound for "torch".
        dtype : dtype, default float32
            float16, float32 or float64. Random numbers are drawn in float64 and rounded once.

        Returns
        -------
        Network
            A network with Dense layers of these sizes.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid.
        MemoryError
            If there is not enough memory for the weights.

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
        if any(inputs * outputs >= 2**58 for inputs, outputs in pairwise(lengths)):  # byte counts could overflow
            raise MemoryError(f"{function}: a layer of 2**58 weights or more does not fit into memory")
        seed = as_integer(function, "seed", seed, 0, MOST_SEED)
        if initializer not in _INITIALIZERS:
            raise ValueError(f"{function} expected initializer to be one of {', '.join(_INITIALIZERS)}, got {initializer!r}")
        number_of(activation)  # check it even if there is no hidden layer
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
        """Return the mean loss of ``net(x)``, and its gradients with respect to weights and biases.

        Parameters
        ----------
        x : array_like, shape (..., inputs)
            Rows of inputs.
        targets : array_like
            True outputs, of the shape of ``net(x)``. For cross_entropy labels (...), or
            probabilities (..., classes).
        loss : str, callable or None, default None
            A name such as "huber"; the function, such as ``nnkernels.huber``; or a
            ``functools.partial`` that sets the function's option: label_smoothing, pos_weight or
            delta. None chooses the loss by the last activation: cross_entropy for softmax and
            log_softmax, binary_cross_entropy for sigmoid, poisson for exp, else squared_error. A
            loss that matches the last activation is computed from the logits, so that it stays
            accurate if the outputs round to 0 or 1.
        sample_weight : array_like, shape (...) or that of the losses, optional
            Weight of each row or of each element of the loss: finite and at least 0. A row of
            weight 0 has no effect, even if it holds NaN.

        Returns
        -------
        value : NumPy scalar
            The weighted mean of the losses, in the network's dtype.
        gradients : tuple of Dense
            The gradients with respect to weights and bias of each Dense layer, as a Dense of the
            same shapes without activation. Scale layers are left out. A float16 network is computed
            in float32; value and gradients are rounded once.

        Raises
        ------
        TypeError
            If an argument has the wrong type, as in the losses.
        ValueError
            If the shapes do not fit. If a label, target or weight is out of range; the message
            names the row, counted from 0. If the loss is unknown. If the loss and the last
            activation do not match, such as binary_cross_entropy and softmax.
        MemoryError
            If there is not enough memory for the activations of all rows.

        Notes
        -----
        If there are no rows, or all weights are 0, the value is NaN. Source of backpropagation: D.
        E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating
        errors", 1986.

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
        """Return the gradients of your own loss, given its gradient with respect to the outputs.

        Parameters
        ----------
        x : array_like, shape (..., inputs)
            Rows of inputs.
        upstream : array_like, shape (..., outputs)
            Gradient with respect to ``net(x)``, of the same shape: (...) if the last layer is one
            neuron.

        Returns
        -------
        gradients : tuple of Dense
            The gradients with respect to weights and bias of each Dense layer, summed over all
            rows, as a Dense of the same shapes without activation. Scale layers are left out.
        x_gradient : ndarray of the shape of x
            The gradient with respect to x, in the network's dtype. A float16 network is computed in
            float32; the gradients are rounded once.

        Raises
        ------
        TypeError
            If an argument has no real dtype, is masked or sparse, or has a unit.
        ValueError
            If the shapes do not fit.
        MemoryError
            If there is not enough memory for the activations of all rows.

        Notes
        -----
        A layer with activation f and z = x weights^T + bias has these gradients with respect to

        - z: d = upstream f'(z); for softmax, upstream times its Jacobian,
        - the weights: d^T x,
        - the bias: the sum of d over the rows,
        - x: d weights, which is ``upstream`` of the previous layer.

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
        layers, x_gradient = backpropagate(self, x, upstream)
        return tuple(Dense(weights, bias) for weights, bias in layers), x_gradient

    def save(self, path: Path) -> None:
        """Write the network to a file in the safetensors format, which ``nnkernels.load`` reads.

        An existing file is overwritten. The same network gives the same bytes.

        Parameters
        ----------
        path : str, bytes or path-like
            The name of the file. It must not end in .onnx, .keras, .h5 or .pt.

        Raises
        ------
        ValueError
            If the name ends in the suffix of another format, or the metadata exceed 100 MB.
        OSError
            If the system cannot write the file. It may be left incomplete.
        MemoryError
            If there is not enough memory for a copy of the weights.

        Notes
        -----
        A Dense has the tensors ``layers.0.weights`` and ``layers.0.bias``, a Scale
        ``layers.0.offset`` and ``layers.0.scale``, where 0 is the index of the layer. The file's
        metadata entry ``nnkernels.activations`` lists the activations as in ``Dense.activation``,
        separated by commas, with "none" for no activation and "scale" for a Scale. The other
        entries are the network's metadata.

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
        check_suffix(path, "Network.save", "; Network.to_onnx writes ONNX")
        layers = self.layers
        names = [_SCALE if isinstance(layer, Scale) else layer.activation or "none" for layer in layers]
        tensors = {
            f"layers.{index}.{part}": getattr(layer, part)
            for index, (layer, name) in enumerate(zip(layers, names, strict=True))
            for part in _parts(name)
        }
        own = {_ACTIVATIONS: ",".join(names)}
        if set(names) == {_SCALE}:
            own[_DTYPE] = self.dtype.name  # there are no weights to infer it from
        write_file(path, tensors, own | self._metadata)

    def to_onnx(self, path: Path) -> None:
        """Write the network to an ONNX file, which ONNX Runtime and ``nnkernels.from_onnx`` read.

        An existing file is overwritten. The same network gives the same bytes. ``from_onnx``
        restores the network, unless a layer has no inputs or no outputs.

        Parameters
        ----------
        path : str, bytes or path-like
            The name of the file.

        Raises
        ------
        ImportError
            If the package onnx is not installed.
        OSError
            If the system cannot write the file.
        ValueError
            If the weights take 2 GB or more, the limit of the ONNX format.

        Notes
        -----
        The file uses opset 17, or 20 if it has gelu. The input "x" has the shape (batch, inputs),
        and the output "y" (batch, outputs), or (batch,) after one neuron; both have the network's
        dtype. A Dense becomes Gemm and its activation. A Scale becomes Sub and Mul in float64. The
        network's metadata become the model's.

        In float64, leaky_relu, elu, softplus and gelu are composed of other operators, because
        ONNX's own use float32 numbers. gelu then needs the operator Erf, which ONNX Runtime
        supports only in float32 and float16.

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


# In the order of their numbers in C++.
_INITIALIZERS = ("glorot", "he", "torch")

# Metadata of a file with this prefix belong to the format, not to the network.
_RESERVED = "nnkernels."
_ACTIVATIONS = "nnkernels.activations"
_DTYPE = "nnkernels.dtype"

# Marks a Scale in the list of activations.
_SCALE = "scale"


def _parts(activation: str) -> tuple[str, str]:
    """Return the names of the two tensors of a layer."""
    return ("offset", "scale") if activation == _SCALE else ("weights", "bias")


def load(path: Path) -> Network:
    """Read a network from a file of ``Network.save``, or from an ONNX or Keras model.

    The content of the file decides how it is read, not its name: ONNX files are read by
    ``from_onnx``, .keras and .h5 files by ``from_keras``. Nothing in a file is executed, and memory
    stays proportional to the file's size.

    Parameters
    ----------
    path : str, bytes or path-like
        A regular file, not a pipe or a device: the file is mapped into memory.

    Returns
    -------
    Network
        A network saved by ``Network.save`` is restored bit for bit.

    Raises
    ------
    TypeError
        If ``path`` is not a path.
    ValueError
        If the file is damaged, incomplete, of another format, or not a regular file. If the format
        is known, the message names it and says how to convert it.
    ImportError
        If the package ``onnx`` or ``h5py`` is missing for an ONNX or Keras model.
    FileNotFoundError, OSError
        If the file is missing, or the system cannot read it.
    MemoryError
        If there is not enough memory for the file.

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
        advice = "for model objects use nnk.from_torch, nnk.from_keras or nnk.from_sklearn"
        raise TypeError(f"load expected the path of a file, got a {type(path).__name__}; {advice}")
    return read_file(path, _read_network, "a network", "Network.save", "{network}", _OTHERS)


def read_saved(path: Path) -> Network:
    """Read a network that ``Network.save`` wrote, and no other format."""
    return read_file(path, _read_network, "a network", "Network.save", "{network}")


# These imports are deferred: most networks need no converter.
def _load_onnx(path: Path) -> Network:
    from nnkernels.models.onnx import from_onnx

    return from_onnx(path)


def _load_keras(path: Path) -> Network:
    from nnkernels.models.keras import from_keras

    return from_keras(path)


_OTHERS = {ONNX: _load_onnx, KERAS: _load_keras, HDF5: _load_keras}


def _widths(layers: list[Dense | Scale]) -> list[int]:
    """Return the number of inputs of each layer. Raise ValueError if their sizes do not match."""
    width = next((layer.inputs for layer in layers if layer.inputs is not None), None)
    if width is None:
        raise ValueError("Network expected a layer with a fixed number of inputs, got only Scale layers of single numbers")
    widths = []
    one_neuron = 0  # number of the previous layer if it is one neuron
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
    """Return the arguments of C++ for a layer with ``width`` inputs."""
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
                raise TypeError(f"Network expected metadata to be strings, got {text!r} in {item}")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise ValueError(f"Network expected metadata that can be encoded in UTF-8, got {text!r}") from None
        if item[0].startswith(_RESERVED):
            raise ValueError(f"Network expected names of metadata that do not begin with {_RESERVED!r}, got {item[0]!r}")
    return {str(name): str(metadata[name]) for name in sorted(metadata)}


def _read_network(file: Any) -> Network:
    if _ACTIVATIONS not in (file.metadata() or {}):
        advice = "nnk.from_state_dict(path, activations) converts tensors of other libraries"
        raise ValueError(f"its metadata has no entry {_ACTIVATIONS!r}; {advice}")
    activations = read_metadata(file, _ACTIVATIONS).split(",", len(file.keys()))  # bounded by the number of tensors
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
        raise ValueError(f"its metadata has an invalid dtype, {str(dtype)[:20]!r}")
    own = {name: text for name, text in metadata.items() if not name.startswith(_RESERVED)}
    return Network(layers, dtype, own)
