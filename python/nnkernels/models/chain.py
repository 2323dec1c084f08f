"""The layers of a network to be: what every source of models fills."""

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
    """x * factor + shift, for which a place is sought: each (width,), or one number."""

    name: str
    factor: NDArray[np.float64]
    shift: NDArray[np.float64]


# The numbers of torch's, ONNX's and Keras's SELU.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_GAMMA = 1.0507009873554804934193349852946


class Chain:
    """The layers of a network to be, in the order in which a source names them.

    What is linear is folded into the dense layer beside it, in float64: a layer's numbers are
    rounded once, at the end. What scales the inputs stays a Scale. Every method takes the name by
    which the user knows the layer, such as "module '2' (Linear)", for error messages.

    Parameters
    ----------
    source : str
        The beginning of error messages: "from_onnx('x.onnx')".
    inputs : int, optional
        The number of inputs, if the source tells it.

    Attributes
    ----------
    width : int or None
        The number of outputs of the last layer; None as long as it is unknown.

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
        self._statistics: list[np.dtype[Any]] = []  # count where there are no weights

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise the ValueError that names the source, the layer and the reason."""
        raise ValueError(f"{self.source}: {name}: {reason}")

    def dense(self, name: str, weights: ArrayLike, bias: ArrayLike | None = None) -> None:
        """Add a dense layer of weights (outputs, inputs) and a bias (outputs,), or one number; of any real dtype."""
        matrix = self._numbers(name, "weights (outputs, inputs)", weights, 2)
        outputs = len(matrix)
        if not matrix.size:  # a bias of any length would take memory that no file has
            self.refuse(name, f"expected weights (outputs, inputs) of at least one number, got {describe(weights)}")
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
            with np.errstate(all="ignore"):  # weights that are not finite are kept
                vector = vector + _core.dot(matrix, np.broadcast_to(shift, matrix.shape[1:]))
                matrix = matrix * factor
        self._layers.append(_Dense(matrix, vector, None))
        self.width = outputs

    def activation(self, name: str, activation: str | None, option: float | None = None) -> None:
        """Give the dense layer before it an activation, by its name; None is none. An option may also be given in the name."""
        if activation is None:
            return
        layer = self._layers[-1] if self._layers else None
        if not isinstance(layer, _Dense) or self._affine:
            self.refuse(name, "expected a dense layer before it")
        if layer.activation is not None:
            self.refuse(name, "an activation follows an activation; a network has one after each dense layer")
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
        """Add the activation CELU: alpha elu(x / alpha), which holds for alpha above 0 only."""
        if not 0.0 < alpha < np.inf:
            self.refuse(name, f"expected a finite alpha above 0, got {alpha}")
        self.affine(name, 1.0 / alpha, 0.0)
        self.activation(name, "elu")
        self.affine(name, alpha, 0.0)

    def affine(self, name: str, factor: ArrayLike, shift: ArrayLike) -> None:
        """Add x * factor + shift, element by element; each is (width,), or one number.

        It is folded into the dense layer before it, if that has no activation, or else into the one
        that follows. Where there is none either, it becomes a Scale.
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
        """Add batch normalisation by known statistics: (x - mean) / sqrt(variance + epsilon) * gamma + beta.

        Each is (width,), or one number. Where it comes first it is a Scale, as scaled inputs are:
        folded into weights, large means would cost accuracy, and training would begin with weights
        that fit inputs of no such scale.
        """
        if np.ndim(mean):  # also where that is one number, which is not for inputs of any number
            self._check_width(name, np.size(mean), f"{np.size(mean)} numbers")
        centre, spread, times, plus = (self._row(name, value) for value in (mean, variance, gamma, beta))
        self._statistics += [promoted(as_real(value).dtype) for value in (mean, variance)]
        with np.errstate(all="ignore"):
            spread = spread + epsilon
            if not (spread > 0.0).all():
                self.refuse(name, f"expected variances that are above 0 with epsilon, {epsilon:g}, added")
            factor = times / np.sqrt(spread)
            offset = centre - plus / factor
            first = not self._affine and all(isinstance(layer, Scale) for layer in self._layers)
            if first and np.isfinite(factor).all() and np.isfinite(offset).all():
                self.scale(name, offset, factor)
            else:
                self.affine(name, factor, plus - centre * factor)

    def scale(self, name: str, offset: ArrayLike, scale: ArrayLike) -> None:
        """Add (x - offset) * scale, element by element, as a layer of its own; each is (width,), or one number."""
        self._settle()
        try:
            self._layers.append(Scale(self._row(name, offset), self._row(name, scale)))
        except ValueError as error:
            self.refuse(name, str(error))

    def network(self, metadata: Mapping[str, str] | None = None, dtype: DTypeLike | None = None) -> Network:
        """Return the network; by default of the dtype that the given weights and biases promote to.

        Without any of these it is that of the statistics of batch normalisation. Raises ValueError
        if that dtype has no room for what was folded: too large, or so small that few digits are
        left.
        """
        self._settle()
        if not self._layers:
            raise ValueError(f"{self.source}: expected at least one dense layer, found none")
        if self.width is None:
            raise ValueError(f"{self.source}: expected a layer that tells the number of inputs, found none")
        layers: list[Dense | Scale] = [layer if isinstance(layer, Scale) else Dense(*layer) for layer in self._layers]
        first = layers[0]
        if isinstance(first, Scale) and not self._dtypes:  # no dense layer tells the number of inputs
            layers[0] = Scale(np.broadcast_to(first.offset, self.width), first.scale)
        dtypes = self._dtypes or self._statistics
        own = np.result_type(*dtypes) if dtype is None and dtypes else dtype
        with np.errstate(over="ignore"):
            network = Network(layers, own, metadata)
        if dtype is None:
            self._check_rounded(network)
        return network

    def network64(self) -> Network:
        """Return the network in float64, its numbers not rounded, to be compared with the source."""
        return self.network(dtype=np.float64)

    def _check_rounded(self, network: Network) -> None:
        """Check the weights and biases; a Scale is in float64."""
        for number, (exact, rounded) in enumerate(zip(self._layers, network.layers, strict=True), 1):
            if not (isinstance(exact, _Dense) and isinstance(rounded, Dense)):
                continue
            largest = np.max(np.abs(exact.weights), initial=0.0, where=np.isfinite(exact.weights))
            if not (_fits(exact.weights, rounded.weights, largest) and _fits(exact.bias, rounded.bias, largest)):
                wide = "float32" if network.dtype == np.float16 else "float64"
                reason = f"what is folded into it leaves the range of {network.dtype}: convert the model to {wide} first"
                self.refuse(f"layer {number} of the network", reason)

    def _settle(self) -> None:
        """Make a Scale of an affine that no dense layer takes."""
        if not self._affine:
            return
        name, factor, shift = self._affine
        with np.errstate(all="ignore"):
            offset = 0.0 - shift / factor
        if not (np.isfinite(offset).all() and np.isfinite(factor).all()):
            self.refuse(name, "expected finite factors other than 0, for no dense layer takes them")
        self._layers.append(Scale(offset, factor))
        self._affine = None

    def _check_width(self, name: str, inputs: int, got: str) -> None:
        if self.width not in (None, inputs):
            self.refuse(name, f"expected {self.width} inputs, as many as there are before it; got {got}")
        self.width = inputs

    def _row(self, name: str, value: ArrayLike) -> NDArray[np.float64]:
        """Return what the elements of a row are shifted or multiplied by."""
        row = self._numbers(name, "one number for each input", value, 1)
        if row.ndim:
            self._check_width(name, row.size, f"{row.size} numbers")
        return row

    def _numbers(self, name: str, expected: str, value: ArrayLike, axes: int) -> NDArray[np.float64]:
        """Return an array in float64, without leading axes of length 1; one number has no axis where ``axes`` is 1."""
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
    """Say whether the dtype's precision explains how numbers were rounded, relative to the largest, or to ``least``."""
    finite = np.isfinite(exact)
    largest = np.max(np.abs(exact), initial=least, where=finite)
    with np.errstate(all="ignore"):
        return bool((np.abs(rounded - exact) <= np.finfo(rounded.dtype).eps * largest)[finite].all())
