"""Comparison of a converted network with its source model."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels import _core
from nnkernels.arrays import as_contiguous, as_real
from nnkernels.commands.names import class_names
from nnkernels.layers import Dense, Scale, dense
from nnkernels.network import Network

# Number of probe rows, and their magnitudes, each for a quarter of the rows.
_ROWS = 64
_SIZES = (0.5, 1.0, 2.0, 4.0)

# The search for inputs with outputs near 0: upper limit of steps, and mean square of outputs at
# which it ends.
_STEPS = 24
_NEAR = 0.1

# Tolerance in float64, relative to the largest output. Correct networks differ by at most 1.9e-15,
# wrong ones by at least 4e-7.
_TOLERANCE = 1e-10

# Additional tolerance in float64, in multiples of the effect of rounding the inputs once. It is for
# large means: a model subtracts them first, but in the network they are folded into the bias.
_SENSITIVITY = 32.0

# Tolerance in float32 and float16, in rounding errors of the network. Correct networks differ by at
# most 2.2, wrong ones by 18.
_ROUNDING = 8.0

# Activations with rounding errors of order eps even for small outputs, since they add or subtract
# numbers of order 1.
_AS_1 = ("sigmoid", "softmax", "gelu", "gelu_tanh")


def probe(network: Network) -> NDArray[np.float64]:
    """Return rows of inputs (64, inputs) that distinguish networks, the same on every machine.

    They are random, and scaled and shifted so that the outputs of the first dense layer, before its
    activation, are of order 1. A network is usually trained on inputs in this range.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> from nnkernels.models.check import probe
    >>> net = nnk.Network([nnk.Dense([[100.0]], [-1e5])])
    >>> x = probe(net)
    >>> x.shape, bool(abs(x - 1000.0).max() < 0.1)
    ((64, 1), True)
    """
    scales: list[Scale] = []
    rows = _core.random_weights(0, 0, _ROWS * network.inputs, 2, 1, 1).reshape(_ROWS, network.inputs)
    rows *= np.repeat(_SIZES, _ROWS // len(_SIZES))[:, np.newaxis]
    with np.errstate(all="ignore"):
        for layer in network.layers:
            if isinstance(layer, Dense):
                rows = _before_dense(layer, rows)
                break
            scales.append(layer)
        for scale in reversed(scales):
            rows = rows / np.where(scale.scale == 0.0, 1.0, scale.scale) + scale.offset
    return np.where(np.isfinite(rows), rows, 0.0)


def _before_dense(layer: Dense, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale and shift rows so that the layer's outputs, before its activation, are of order 1."""
    weights, bias = (_finite(as_contiguous(array, np.float64)) for array in (np.atleast_2d(layer.weights), layer.bias))
    lengths = np.sqrt(_core.dot(weights.T, weights.T))  # norms of the columns
    lengths = np.where(lengths == 0.0, 1.0, lengths)
    weights = weights / lengths
    outputs = dense(rows, weights).ravel()
    size = np.sqrt(_core.dot(outputs, outputs) / max(1, outputs.size))
    rows = rows / (size if size > 0.0 else 1.0)
    # A large bias means that inputs are far from 0. Conjugate gradients find the smallest inputs
    # whose outputs are near 0.
    centre = np.zeros(weights.shape[1])
    residual = -np.broadcast_to(bias, len(weights))
    direction = gradient = _core.dot(weights.T, residual)
    square = _core.dot(gradient, gradient)
    for _ in range(_STEPS):
        product = _core.dot(weights, direction)
        curvature = _core.dot(product, product)
        if not 0.0 < curvature < np.inf or _core.dot(residual, residual) < _NEAR * len(residual):
            break
        centre = centre + square / curvature * direction
        residual = residual - square / curvature * product
        gradient = _core.dot(weights.T, residual)
        previous, square = square, _core.dot(gradient, gradient)
        direction = gradient + square / previous * direction
    return (rows + centre) / lengths


def _finite(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(array), array, 0.0)


def compare(
    source: str,
    network: Network,
    network64: Network,
    expected: NDArray[Any],
    x: NDArray[Any],
    kind: Literal["float64", "float32", "float16"],
) -> None:
    """Raise ValueError if a network's outputs differ from those of its source model.

    Let y be the model's largest output, and at least 1 after a sigmoid, softmax or gelu. The
    allowed difference is 1e-10 y + 32 (effect of rounding the inputs once) for a model in float64,
    and 8 (max |network - network64| + eps y) for a model in float32 or float16. Outputs of the
    network must be finite if the outputs of ``network64`` are.

    Parameters
    ----------
    source : str
        Prefix of the error message, such as "from_torch".
    network : Network
        The network in the model's dtype.
    network64 : Network
        The same network in float64, with unrounded weights.
    expected : ndarray, shape (rows, outputs)
        The model's outputs.
    x : ndarray, shape (rows, inputs)
        The model's inputs.
    kind : {"float64", "float32", "float16"}
        dtype of the model's computation.
    """
    exact = network64(x)
    expected = np.asarray(expected, np.float64)
    if expected.shape != exact.shape:
        raise ValueError(f"{source}: expected outputs of shape {exact.shape}, got {expected.shape} from the model")
    if not expected.size:
        return
    last = network.layers[-1]
    least = 1.0 if isinstance(last, Dense) and last.activation in _AS_1 else 0.0
    largest = float(max(np.abs(_finite(expected)).max(), least))
    with np.errstate(all="ignore"):
        if kind == "float64":
            sensitivity = np.abs(_finite(network64(np.nextafter(x, np.inf)) - exact)).max()
            allowed = float(_TOLERANCE * largest + _SENSITIVITY * sensitivity)
        else:
            rounding = np.abs(_finite(network(x) - exact)).max()
            allowed = _ROUNDING * float(rounding + np.finfo(kind).eps * largest)
        difference = np.abs(expected - exact)
    same = (expected == exact) | (np.isnan(expected) & np.isnan(exact))
    difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
    if (difference <= allowed).all():
        _check_range(source, network, exact, x)
        return
    row, output = np.unravel_index(np.argmax(difference), difference.shape)
    classes = class_names(network)
    name = f" ({classes[output]!r})" if classes else ""
    raise ValueError(
        f"{source}: the network and the model differ: output {output}{name} of row {row} is "
        f"{exact[row, output]:.17g}, the model's is {expected[row, output]:.17g}; allowed is a difference of {allowed:.2g}"
    )


def arrays_of(source: str, check: object) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows and outputs in ``check``. Raise TypeError if it is not two real arrays."""
    if not isinstance(check, (tuple, list)) or len(check) != 2:
        got = f"{len(check)} in a {type(check).__name__}" if isinstance(check, (tuple, list)) else f"a {type(check).__name__}"
        raise TypeError(f"{source} expected check=(x, y), rows and the model's outputs for them, got {got}")
    try:
        x, y = (as_real(value) for value in check)
    except TypeError as error:
        raise TypeError(f"{source} expected check=(x, y), rows and the model's outputs for them, as numbers: {error}") from None
    return x, y


def _check_range(source: str, network: Network, exact: NDArray[Any], x: NDArray[Any]) -> None:
    """Raise ValueError if an output is not finite, but would be in float64."""
    with np.errstate(all="ignore"):
        rows = np.isfinite(x.astype(network.dtype)).all(axis=-1)
        lost = np.isfinite(exact[rows]) & ~np.isfinite(network(x[rows]))
    if lost.any():
        row = int(np.flatnonzero(rows)[np.argmax(lost.any(axis=-1))])
        wide = "float32" if network.dtype == np.float16 else "float64"
        raise ValueError(
            f"{source}: the outputs of row {row} exceed the range of {network.dtype}: convert the model to {wide} first"
        )


def compare_rows(source: str, network: Network, network64: Network, check: tuple[ArrayLike, ArrayLike]) -> None:
    """Compare a network with a user's rows (..., inputs) and the model's outputs (..., outputs).

    The model is assumed to compute in the network's dtype. Raises ValueError if the outputs differ
    or the shapes do not fit, and TypeError if ``check`` is not two arrays.
    """
    x, y = (as_contiguous(array, np.float64) for array in arrays_of(source, check))
    rows = x.size // max(1, network.inputs)
    if x.shape[-1:] != (network.inputs,) or y.size != rows * network.outputs:
        expected = f"rows (..., {network.inputs}) and their outputs (..., {network.outputs})"
        raise ValueError(f"{source} expected check to be {expected}, got arrays of shapes {x.shape} and {y.shape}")
    kind: Any = network.dtype.name
    compare(source, network, network64, y.reshape(rows, network.outputs), x.reshape(rows, network.inputs), kind)
