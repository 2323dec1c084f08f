"""Comparison of a network with the model that it was made of."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels import _core
from nnkernels.arrays import as_contiguous, as_real
from nnkernels.commands.names import class_names
from nnkernels.layers import Dense, Scale, dense
from nnkernels.network import Network

# Rows to probe with, and their sizes, a quarter of the rows each.
_ROWS = 64
_SIZES = (0.5, 1.0, 2.0, 4.0)

# Steps of the search for the inputs around which to probe, and the mean square of outputs that ends
# it.
_STEPS = 24
_NEAR = 0.1

# Tolerance in float64, relative to the largest output: correct networks differ by at most 1.9e-15,
# wrong ones by 4e-7 and more.
_TOLERANCE = 1e-10

# Further tolerance in float64, in multiples of what one rounding of the inputs changes: a model
# subtracts a mean of 1e6 first, but the network, where that is folded, last.
_SENSITIVITY = 32.0

# Tolerance in float32 and float16, in rounding errors of the network: correct ones differ by at
# most 2.2, wrong ones by 18.
_ROUNDING = 8.0

# Activations whose outputs a model rounds as if they were of order 1, however small they are: gelu
# is x (1 + erf(x / sqrt(2))).
_AS_1 = ("sigmoid", "softmax", "gelu", "gelu_tanh")


def probe(network: Network) -> NDArray[np.float64]:
    """Return rows of inputs (64, inputs) that tell networks apart, the same on every machine.

    They are random, and such that the outputs of the first dense layer, before its activation, are
    of order 1. So a network that takes inputs around 1e5, or of the size of 1e-3, is probed there.

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
    """Return inputs for which the layer's outputs, without its activation, are of order 1."""
    weights, bias = (_finite(as_contiguous(array, np.float64)) for array in (np.atleast_2d(layer.weights), layer.bias))
    lengths = np.sqrt(_core.dot(weights.T, weights.T))  # of the columns
    lengths = np.where(lengths == 0.0, 1.0, lengths)
    weights = weights / lengths
    outputs = dense(rows, weights).ravel()
    size = np.sqrt(_core.dot(outputs, outputs) / max(1, outputs.size))
    rows = rows / (size if size > 0.0 else 1.0)
    # A large bias belongs to inputs far from 0: conjugate gradients find the smallest ones of
    # outputs near 0.
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
    """Raise ValueError where a network's outputs are not those of the model that it was made of.

    With y the largest of the model's outputs, at least 1 after a sigmoid, softmax or gelu, what is
    allowed is 1e-10 y for a model that computes in float64, and what rounding its inputs changes;
    and 8 (max |network - network64| + eps y) for one that computes in float32 or float16. The
    network's outputs are to be finite where those of ``network64`` are.

    Parameters
    ----------
    source : str
        The beginning of the error message: "from_torch".
    network : Network
        In the model's dtype.
    network64 : Network
        The same network in float64, its weights not rounded.
    expected : array, shape (rows, outputs)
        The model's outputs.
    x : array, shape (rows, inputs)
        The model's inputs.
    kind : {"float64", "float32", "float16"}
        What the model computed in.
    """
    exact = network64(x)
    expected = np.asarray(expected, np.float64)
    if expected.shape != exact.shape:
        raise ValueError(f"{source}: expected outputs of shape {exact.shape}, the model gave {expected.shape}")
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
        f"{source}: the network does not compute what the model computes: output {output}{name} of row {row} is "
        f"{exact[row, output]:.17g}, the model's is {expected[row, output]:.17g}; allowed is a difference of {allowed:.2g}"
    )


def arrays_of(source: str, check: object) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows and outputs that a user gives. Raise TypeError where these are no two arrays of real numbers."""
    if not isinstance(check, (tuple, list)) or len(check) != 2:
        got = f"{len(check)} in a {type(check).__name__}" if isinstance(check, (tuple, list)) else f"a {type(check).__name__}"
        raise TypeError(f"{source} expected check=(x, y), rows and the model's outputs for them, got {got}")
    try:
        x, y = (as_real(value) for value in check)
    except TypeError as error:
        raise TypeError(f"{source} expected check=(x, y), rows and the model's outputs for them, in numbers: {error}") from None
    return x, y


def _check_range(source: str, network: Network, exact: NDArray[Any], x: NDArray[Any]) -> None:
    """Raise ValueError if a network's outputs are not finite where those in float64 are."""
    with np.errstate(all="ignore"):
        rows = np.isfinite(x.astype(network.dtype)).all(axis=-1)
        lost = np.isfinite(exact[rows]) & ~np.isfinite(network(x[rows]))
    if lost.any():
        row = int(np.flatnonzero(rows)[np.argmax(lost.any(axis=-1))])
        wide = "float32" if network.dtype == np.float16 else "float64"
        raise ValueError(
            f"{source}: the outputs of row {row} leave the range of {network.dtype}: convert the model to {wide} first"
        )


def compare_rows(source: str, network: Network, network64: Network, check: tuple[ArrayLike, ArrayLike]) -> None:
    """Compare a network with rows (..., inputs) that a user gives, and the outputs (..., outputs) of the model for them.

    The model computed in the network's dtype. Raises ValueError as ``compare``, and for shapes that
    do not fit; and TypeError for what is no pair of arrays.
    """
    x, y = (as_contiguous(array, np.float64) for array in arrays_of(source, check))
    rows = x.size // max(1, network.inputs)
    if x.shape[-1:] != (network.inputs,) or y.size != rows * network.outputs:
        expected = f"rows (..., {network.inputs}) and their outputs (..., {network.outputs})"
        raise ValueError(f"{source} expected check to be {expected}, got arrays of shapes {x.shape} and {y.shape}")
    kind: Any = network.dtype.name
    compare(source, network, network64, y.reshape(rows, network.outputs), x.reshape(rows, network.inputs), kind)
