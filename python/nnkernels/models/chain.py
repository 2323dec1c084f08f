"""A builder of networks, which all converters use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkernels import _core
from nnkernels.activations import TABLE, name_of, number_of
from nnkernels.arrays import as_contiguous, as_real, describe, promoted
from nnkernels.layers import Dense, Scale
from nnkernels.network import Network


class _Dense(NamedTuple):
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    activation: str | None


class _Affine(NamedTuple):
    """x * factor + shift, not yet folded into a layer. Each is (width,) or one number."""

    name: str
    factor: NDArray[np.float64]
    shift: NDArray[np.float64]


# Constants of SELU in PyTorch, ONNX and Keras.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_GAMMA = 1.0507009873554804934193349852946


class Chain:
    """A builder of networks. Layers are added in the order of the forward pass.

    Linear operations are folded into the adjacent dense layer, in float64; its weights are rounded
    once, at the end. Scaling of the inputs becomes a Scale. ``name`` is the user's name of a layer,
    such as "module '2' (Linear)", for error messages.

    Parameters
    ----------
    source : str
        Prefix of error messages, such as "from_onnx('x.onnx')".
    inputs : int, optional
        The number of inputs, if it is known.

    Attributes
    ----------
    width : int or None
        The number of outputs so far; None if it is unknown.

    Examples
    --------
    >>> from nnkernels.models.chain import Chain
    >>> chain = Chain("from_example")
    >>> chain.dense("layer 1", [[1.0, 2.0]], [0.5])
    >>> chain.affine("layer 2", 2.0, 1.0)
    >>> chain.activation("layer 3", "relu")
    >>> layer = chain.network().layers[0]
    >>> layer.weights, layer.bias
    (array([[2., 4.]]), array([2.]))
    """

    def __init__(self, source: str, inputs: int | None = None) -> None:
        self.source = source
        self.width = inputs
        self._layers: list[_Dense | Scale] = []
        self._affine: _Affine | None = None
        self._dtypes: list[np.dtype[Any]] = []
        self._statistics: list[np.dtype[Any]] = []  # dtypes, which count if there are no weights

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise a ValueError with the source, the layer and the reason."""
        raise ValueError(f"{self.source}: {name}: {reason}")

    def dense(self, name: str, weights: ArrayLike, bias: ArrayLike | None = None) -> None:
        """Add a dense layer with weights (outputs, inputs) and a bias (outputs,) or one number."""
        matrix = self._numbers(name, "weights (outputs, inputs)", weights, 2)
        outputs = len(matrix)
        if not matrix.size:  # a file without weights could claim a huge bias
            self.refuse(name, f"expected weights (outputs, inputs) with at least one number, got {describe(weights)}")
        self._check_width(name, matrix.shape[1], f"weights {matrix.shape}")
        vector = np.zeros(()) if bias is None else self._numbers(name, f"a bias ({outputs},)", bias, 1)
        if vector.size not in (1, outputs):
            self.refuse(name, f"expected a bias ({outputs},) for weights {matrix.shape}, got {describe(bias)}")
        for array in (weights, bias):
            if array is not None:
                self._dtypes.append(promoted(as_real(array).dtype))
        vector = np.broadcast_to(vector, (outputs,))
        if self._affine:
            _, factor, shift = self._affine
            self._affine = None
            with np.errstate(all="ignore"):  # NaN and infinity are kept
                vector = vector + _core.dot(matrix, np.broadcast_to(shift, matrix.shape[1:]))
                matrix = matrix * factor
        self._layers.append(_Dense(matrix, vector, None))
        self.width = outputs

    def activation(self, name: str, activation: str | None, option: float | None = None) -> None:
        """Set the activation of the last dense layer, by name. The name may include the option."""
        if activation is None:
            return
        layer = self._layers[-1] if self._layers else None
        if not isinstance(layer, _Dense) or self._affine:
            self.refuse(name, "expected a dense layer before it")
        if layer.activation is not None:
            self.refuse(name, "expected one activation after a dense layer, got several")
        if option is not None:
            number, _ = number_of(activation)
            if not math.isfinite(option):
                self.refuse(name, f"expected a finite {TABLE[number].option}, got {option}")
            activation = name_of(number, option)
        self._layers[-1] = layer._replace(activation=activation)

    def selu(self, name: str, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> None:
        """Add the activation SELU: gamma elu(x, alpha)."""
        self.activation(name, "elu", alpha)
        self.affine(name, gamma, 0.0)

    def celu(self, name: str, alpha: float) -> None:
        """Add the activation CELU: alpha elu(x / alpha), for alpha above 0."""
        if not 0.0 < alpha < np.inf:
            self.refuse(name, f"expected a finite alpha above 0, got {alpha}")
        self.affine(name, 1.0 / alpha, 0.0)
        self.activation(name, "elu")
        self.affine(name, alpha, 0.0)

    def affine(self, name: str, factor: ArrayLike, shift: ArrayLike) -> None:
        """Add x * factor + shift, element by element. Each is (width,) or one number.

        It is folded into the previous dense layer if that has no activation, else into the next
        dense layer. If there is no next dense layer, it becomes a Scale.
        """
        times, plus = self._row(name, factor), self._row(name, shift)
        if (times == 1.0).all() and not plus.any():
            return
        layer = self._layers[-1] if self._layers else None
        with np.errstate(all="ignore"):
            if isinstance(layer, _Dense) and layer.activation is None:
                self._layers[-1] = _Dense(layer.weights * times[..., np.newaxis], layer.bias * times + plus, None)
            elif self._affine:
                self._affine = _Affine(name, self._affine.factor * times, self._affine.shift * times + plus)
            else:
                self._affine = _Affine(name, times, plus)

    def batch_norm(
        self, name: str, mean: ArrayLike, variance: ArrayLike, epsilon: float, gamma: ArrayLike = 1.0, beta: ArrayLike = 0.0
    ) -> None:
        """Add batch normalisation: (x - mean) / sqrt(variance + epsilon) * gamma + beta.

        Each is (width,) or one number. As first layer it becomes a Scale: folding large means into
        weights would lose accuracy, and further training would start from badly scaled weights.
        """
        if np.ndim(mean):  # an array of length 1 means one input
            self._check_width(name, np.size(mean), f"{np.size(mean)} numbers")
        centre, spread, times, plus = (self._row(name, value) for value in (mean, variance, gamma, beta))
        self._statistics += [promoted(as_real(value).dtype) for value in (mean, variance)]
        with np.errstate(all="ignore"):
            spread = spread + epsilon
            if not (spread > 0.0).all():
                self.refuse(name, f"expected variances above 0 after adding epsilon, {epsilon:g}")
            factor = times / np.sqrt(spread)
            offset = centre - plus / factor
            first = not self._affine and all(isinstance(layer, Scale) for layer in self._layers)
            if first and np.isfinite(factor).all() and np.isfinite(offset).all():
                self.scale(name, offset, factor)
            else:
                self.affine(name, factor, plus - centre * factor)

    def scale(self, name: str, offset: ArrayLike, scale: ArrayLike) -> None:
        """Add a Scale: (x - offset) * scale, element by element. Each is (width,) or one number."""
        self._settle()
        try:
            self._layers.append(Scale(self._row(name, offset), self._row(name, scale)))
        except ValueError as error:
            self.refuse(name, str(error))

    def network(self, metadata: Mapping[str, str] | None = None, dtype: DTypeLike | None = None) -> Network:
        """Return the network.

        ``dtype`` defaults to the common dtype of the given weights and biases, or of the statistics
        of batch normalisation. Raises ValueError if a folded weight overflows or underflows in the
        default dtype.
        """
        self._settle()
        if not self._layers:
            raise ValueError(f"{self.source}: expected at least one dense layer, found none")
        if self.width is None:
            raise ValueError(f"{self.source}: expected a layer with a fixed number of inputs, found none")
        layers: list[Dense | Scale] = [layer if isinstance(layer, Scale) else Dense(*layer) for layer in self._layers]
        first = layers[0]
        if isinstance(first, Scale) and not self._dtypes:  # no dense layer fixes the number of inputs
            layers[0] = Scale(np.broadcast_to(first.offset, self.width), first.scale)
        dtypes = self._dtypes or self._statistics
        own = np.result_type(*dtypes) if dtype is None and dtypes else dtype
        with np.errstate(over="ignore"):
            network = Network(layers, own, metadata)
        if dtype is None:
            self._check_rounded(network)
        return network

    def network64(self) -> Network:
        """Return the network in float64, without rounding, to compare it with the source."""
        return self.network(dtype=np.float64)

    def _check_rounded(self, network: Network) -> None:
        """Check the rounding of weights and biases. A Scale stays in float64."""
        for number, (exact, rounded) in enumerate(zip(self._layers, network.layers, strict=True), 1):
            if not (isinstance(exact, _Dense) and isinstance(rounded, Dense)):
                continue
            largest = np.max(np.abs(exact.weights), initial=0.0, where=np.isfinite(exact.weights))
            if not (_fits(exact.weights, rounded.weights, largest) and _fits(exact.bias, rounded.bias, largest)):
                wide = "float32" if network.dtype == np.float16 else "float64"
                reason = f"its folded weights exceed the range of {network.dtype}: convert the model to {wide} first"
                self.refuse(f"layer {number} of the network", reason)

    def _settle(self) -> None:
        """Turn an affine operation that is not folded into a Scale."""
        if not self._affine:
            return
        name, factor, shift = self._affine
        with np.errstate(all="ignore"):
            offset = 0.0 - shift / factor
        if not (np.isfinite(offset).all() and np.isfinite(factor).all()):
            self.refuse(name, "expected finite factors other than 0, since no dense layer follows")
        self._layers.append(Scale(offset, factor))
        self._affine = None

    def _check_width(self, name: str, inputs: int, got: str) -> None:
        if self.width not in (None, inputs):
            self.refuse(name, f"expected {self.width} inputs, the outputs of the layer before; got {got}")
        self.width = inputs

    def _row(self, name: str, value: ArrayLike) -> NDArray[np.float64]:
        """Check and return an argument of shape (width,) or one number."""
        row = self._numbers(name, "one number for each input", value, 1)
        if row.ndim:
            self._check_width(name, row.size, f"{row.size} numbers")
        return row

    def _numbers(self, name: str, expected: str, value: ArrayLike, axes: int) -> NDArray[np.float64]:
        """Return a float64 array without leading axes of length 1. One number becomes 0-d."""
        try:
            array = as_real(value)
        except (TypeError, ValueError) as error:
            self.refuse(name, f"expected {expected}, got {describe(value)}: {error}")
        while array.ndim > axes and array.shape[0] == 1:
            array = array[0]
        if array.ndim > axes or (axes == 2 and array.ndim < axes):
            self.refuse(name, f"expected {expected}, got {describe(value)}")
        if axes == 1 and array.size == 1:
            array = array.reshape(())
        return as_contiguous(array, np.float64)


def _fits(exact: NDArray[np.float64], rounded: NDArray[Any], least: float) -> bool:
    """Return whether rounding errors are at most eps times the largest number or ``least``."""
    finite = np.isfinite(exact)
    largest = np.max(np.abs(exact), initial=least, where=finite)
    with np.errstate(all="ignore"):
        return bool((np.abs(rounded - exact) <= np.finfo(rounded.dtype).eps * largest)[finite].all())
