"""Losses, which compare outputs with targets, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkernels import _core
from nnkernels.activations import TABLE
from nnkernels.arrays import REAL, as_contiguous, as_number, as_real, as_targets, explained, promoted, rounded

# A name, a function of this module, a functools.partial of one, or None: the loss that matches the
# last activation.
LossLike: TypeAlias = str | Callable[..., Any] | None

_REDUCTIONS = ("none", "sum", "mean")


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    gradient: bool = False,
) -> Any:
    """Cross-entropy of softmax(logits): -sum t log softmax(z), over the last axis.

    It is for classes that exclude each other. For an integer label it is logsumexp(z) - z[label].

    Parameters
    ----------
    logits : array_like, shape (..., classes)
        Outputs z before softmax.
    targets : array_like, shape (...) or (..., classes)
        Integer labels from 0, or probabilities t, each at least 0.
    sample_weight : array_like, shape (...), optional
        Weight of each row: finite and at least 0. A row of weight 0 contributes 0, even if it holds
        NaN or an invalid label.
    label_smoothing : float, default 0.0
        e in [0, 1]. The targets become (1 - e) t + e / classes.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" returns the weighted loss of each row, "sum" their sum, and "mean" their sum divided
        by the sum of the weights.
    gradient : bool, default False
        Whether to also return the gradient with respect to the logits. For "none" and "sum" it is
        ``weight (sum(t) softmax(z) - t)`` in each row. For "mean" this is divided by the sum of the
        weights.

    Returns
    -------
    value : NumPy scalar, or ndarray of shape (...) for "none"
        The loss. Its dtype is that of the logits: float16, float32 and float64 are kept; float16 is
        computed in float32 and rounded once. Other real dtypes promote as
        ``np.result_type(logits, np.float32)``.
    gradient : ndarray of the shape of the logits
        Only with ``gradient=True``. Its dtype is that of the value.

    Raises
    ------
    TypeError
        If an argument has no real dtype, is masked or sparse, or has a unit. If labels are not
        integers.
    ValueError
        If the shapes do not fit. If a label or a weight is out of range; the message names the row,
        counted from 0. If ``label_smoothing`` or ``reduction`` is invalid.
    MemoryError
        If there is not enough memory for the gradient or for converted copies.

    Notes
    -----
    A target probability of 0 contributes 0, even if its logit is -inf. A label whose logit is -inf
    gives inf. NaN in a row gives NaN. The mean of no rows is NaN. The gradient is accurate even if
    softmax(z) rounds to 1. Losses are summed in float64 in a fixed order, so that the bits depend
    only on the arguments (cpp/kernels/losses.h). Label smoothing: C. Szegedy et al., "Rethinking
    the Inception architecture for computer vision", 2016.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> logits = [[2.0, 1.0, 0.1], [0.5, 2.5, 0.0]]
    >>> print(f"{nnk.cross_entropy(logits, [0, 1]):.6f}")
    0.306882
    >>> value, gradient = nnk.cross_entropy(logits, [0, 1], gradient=True)
    >>> gradient.round(4)
    array([[-0.1705,  0.1212,  0.0493],
           [ 0.0556, -0.0893,  0.0337]])
    """
    return _evaluate("cross_entropy", {"label_smoothing": label_smoothing}, logits, targets, sample_weight, reduction, gradient)


def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: float = 1.0,
    reduction: str = "mean",
    gradient: bool = False,
) -> Any:
    """Cross-entropy of sigmoid(logits), element by element.

    For target y the loss is::

        -(pos_weight y log sigmoid(z) + (1 - y) log(1 - sigmoid(z)))

    It is computed as ``(1 - y) softplus(z) + pos_weight y softplus(-z)``, which neither overflows
    nor loses digits. It is for yes-or-no questions, with one output per question.

    Parameters
    ----------
    logits : array_like, shape (..., outputs)
        Outputs z before sigmoid.
    targets : array_like, shape (..., outputs)
        Probabilities y in [0, 1]. NaN gives NaN.
    pos_weight : float, default 1.0
        Factor of the positive term, from 0 to 2**127.
    sample_weight, reduction
        As in ``squared_error``.
    gradient : bool, default False
        As in ``squared_error``. The gradient of an element is
        ``(1 - y) sigmoid(z) - pos_weight y sigmoid(-z)``.

    Returns
    -------
    value, gradient
        As in ``squared_error``.

    Raises
    ------
    TypeError, MemoryError
        As in ``squared_error``.
    ValueError
        As in ``squared_error``. If a target is outside [0, 1]; the message names the row, counted
        from 0. If ``pos_weight`` is out of range.

    Notes
    -----
    Source: D. R. Cox, "The regression analysis of binary sequences", 1958.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> print(f"{nnk.binary_cross_entropy([2.0, -1.0, 40.0], [1, 0, 1]):.6f}")
    0.146730
    """
    return _evaluate("binary_cross_entropy", {"pos_weight": pos_weight}, logits, targets, sample_weight, reduction, gradient)


def squared_error(
    outputs: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: str = "mean",
    gradient: bool = False,
) -> Any:
    """Squared error: (z - y)^2, element by element, without a factor of 1/2.

    Its gradient is 2 (z - y).

    Parameters
    ----------
    outputs : array_like, shape (..., outputs)
        Predictions z.
    targets : array_like, shape (..., outputs)
        True values y.
    sample_weight : array_like, shape (...) or (..., outputs), optional
        Weight of each row or element: finite and at least 0. An element of weight 0 contributes 0,
        even if it is NaN.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" returns the weighted loss of each element, "sum" their sum, and "mean" their sum
        divided by the sum of the elements' weights. The weight of a row applies to each of its
        elements.
    gradient : bool, default False
        Whether to also return the gradient with respect to the outputs. For "none" and "sum" it is
        the weighted gradient of each element. For "mean" this is divided by the sum of the
        elements' weights.

    Returns
    -------
    value : NumPy scalar, or ndarray of the shape of the outputs for "none"
        The loss. Its dtype is that of the outputs: float16, float32 and float64 are kept; float16
        is computed in float32 and rounded once. Other real dtypes promote as
        ``np.result_type(outputs, np.float32)``.
    gradient : ndarray of the shape of the outputs
        Only with ``gradient=True``. Its dtype is that of the value.

    Raises
    ------
    TypeError
        If an argument has no real dtype, is masked or sparse, or has a unit.
    ValueError
        If the shapes do not fit: (n,) and (n, 1) are not broadcast. If a weight is out of range;
        the message names the row, counted from 0. If ``reduction`` is invalid.
    MemoryError
        If there is not enough memory for the gradient or for converted copies.

    Notes
    -----
    The mean of no elements is NaN. Source: C. F. Gauss, "Theoria combinationis observationum",
    1823.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> float(nnk.squared_error([1.0, 2.0], [1.5, 0.0]))
    2.125
    >>> nnk.squared_error([1.0, 2.0], [1.5, 0.0], reduction="sum", gradient=True)
    (np.float64(4.25), array([-1.,  4.]))
    """
    return _evaluate("squared_error", {}, outputs, targets, sample_weight, reduction, gradient)


def absolute_error(
    outputs: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: str = "mean",
    gradient: bool = False,
) -> Any:
    """Absolute error: ``|z - y|``, element by element.

    Its gradient is the sign of z - y, and 0 if z = y. Parameters, results and errors are as in
    ``squared_error``.

    Notes
    -----
    Source: P.-S. Laplace, "Memoire sur la probabilite des causes par les evenements", 1774.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> float(nnk.absolute_error([1.0, 2.0], [1.5, 0.0]))
    1.25
    """
    return _evaluate("absolute_error", {}, outputs, targets, sample_weight, reduction, gradient)


def huber(
    outputs: ArrayLike,
    targets: ArrayLike,
    *,
    delta: float = 1.0,
    sample_weight: ArrayLike | None = None,
    reduction: str = "mean",
    gradient: bool = False,
) -> Any:
    """Huber loss, element by element: quadratic for small errors, linear for outliers.

    With d = z - y it is d^2 / 2 if ``|d| <= delta``, else ``delta (|d| - delta / 2)``. Its gradient
    is d clipped to [-delta, delta]. Results and errors are as in ``squared_error``.

    Parameters
    ----------
    delta : float, default 1.0
        At least 2**-126.
    outputs, targets, sample_weight, reduction, gradient
        As in ``squared_error``.

    Notes
    -----
    Source: P. J. Huber, "Robust estimation of a location parameter", 1964.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.huber([1.0, 2.0], [1.5, 0.0], reduction="none")
    array([0.125, 1.5  ])
    """
    return _evaluate("huber", {"delta": delta}, outputs, targets, sample_weight, reduction, gradient)


def poisson(
    outputs: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    reduction: str = "mean",
    gradient: bool = False,
) -> Any:
    """Poisson loss of log rates: exp(z) - y z, element by element.

    Its gradient is exp(z) - y. It is for counts y with expectation exp(z): the negative
    log-likelihood without the term log(y!), which does not depend on z. Parameters, results and
    errors are as in ``squared_error``.

    Notes
    -----
    Source: J. A. Nelder and R. W. M. Wedderburn, "Generalized linear models", 1972.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.poisson([0.0, 0.0], [1, 3], gradient=True)
    (np.float64(1.0), array([ 0., -1.]))
    """
    return _evaluate("poisson", {}, outputs, targets, sample_weight, reduction, gradient)


_FUNCTIONS: tuple[Any, ...] = (cross_entropy, binary_cross_entropy, squared_error, absolute_error, huber, poisson)

# Names, in the order of the losses' numbers in C++.
LOSSES: tuple[str, ...] = tuple(function.__name__ for function in _FUNCTIONS)


class _Option(NamedTuple):
    name: str
    expected: str
    accepts: Callable[[float], bool]


# In these ranges float32 does not round delta to 0 or pos_weight to infinity.
_OPTIONS = {
    "cross_entropy": _Option("label_smoothing", "a number in [0, 1]", lambda value: 0 <= value <= 1),
    "binary_cross_entropy": _Option("pos_weight", "a number from 0 to 2**127", lambda value: 0 <= value <= 2.0**127),
    "huber": _Option("delta", "a number of at least 2**-126", lambda value: value >= 2.0**-126),
}

# The losses that take logits, and the activations with such a loss.
_OF_LOGITS = ("cross_entropy", "binary_cross_entropy", "poisson")
_OWN = {kind.name: kind.loss for kind in TABLE if kind.loss in _OF_LOGITS}


class Loss(NamedTuple):
    """A loss and the value of its option, or 0 if it has no option."""

    name: str
    option: float

    @property
    def number(self) -> int:
        """The number of the loss in C++."""
        return LOSSES.index(self.name)

    @property
    def of_rows(self) -> bool:
        """Whether there is one loss per row, not one per output."""
        return self.name == "cross_entropy"

    @property
    def expected(self) -> str:
        """The expected targets and weights, for error messages."""
        if self.of_rows:
            return "integer labels (...) or probabilities (..., classes) as targets, and a sample_weight (...) or None"
        return "targets of the outputs' shape, and a sample_weight of this shape, with or without the last axis, or None"


def choose_loss(function: str, loss: LossLike, activation: str | None) -> tuple[Loss, str | None]:
    """Return the loss for an argument, and the activation to apply before it.

    If the loss matches the last activation, it is computed from the logits, and None is returned as
    activation.
    """
    own = _OWN.get(activation or "", "squared_error")
    chosen = _as_loss(function, own if loss is None else loss)
    if activation not in _OWN or chosen.name not in _OF_LOGITS:
        return chosen, activation
    if chosen.name != own:
        cause = f"{chosen.name} takes logits, but the last layer has {activation}"
        advice = ""
        if own == "binary_cross_entropy":
            advice = ": for one output its targets are labels[:, None], for more np.eye(outputs)[labels]"
        raise ValueError(f"{function}: {cause}, whose loss is {own}{advice}")
    return chosen, None


def _as_loss(function: str, loss: object) -> Loss:
    given, options = (loss.func, loss.keywords) if isinstance(loss, partial) and not loss.args else (loss, {})
    name = given if isinstance(given, str) else next((name for name in LOSSES if _function(name) is given), None)
    if name not in LOSSES:
        expected = f"None, {', '.join(LOSSES)}, or a functools.partial that sets an option"
        kind = ValueError if isinstance(loss, str) else TypeError
        raise kind(f"{function} expected loss to be {expected}, got {loss!r}")
    for keyword in options:
        if name not in _OPTIONS or keyword != _OPTIONS[name].name:
            allowed = f"only {_OPTIONS[name].name}" if name in _OPTIONS else "nothing"
            raise TypeError(f"{function}: a functools.partial of {name} may set {allowed}, got {keyword}")
    return _checked(name, {**_function(name).__kwdefaults__, **options})


def _function(name: str) -> Any:
    return _FUNCTIONS[LOSSES.index(name)]


def _checked(name: str, options: dict[str, Any]) -> Loss:
    if name not in _OPTIONS:
        return Loss(name, 0.0)
    option = _OPTIONS[name]
    return Loss(name, as_number(name, option.name, options[option.name], option.expected, option.accepts))


def as_terms(
    loss: Loss,
    targets: Any,
    sample_weight: Any,
    leading: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: DTypeLike,
) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return targets and weights for C++: each (rows,) or (rows, outputs).

    ``shape`` and ``dtype`` are those of the outputs. ``leading`` is the part of ``shape`` that
    counts rows.
    """
    rows, outputs = math.prod(leading), math.prod(shape[len(leading) :])
    weights = None if sample_weight is None else _as_weights(loss, sample_weight, leading, shape)
    array = as_targets(targets)
    hidden = np.False_ if weights is None else weights.reshape(weights.shape + (1,) * (array.ndim - weights.ndim)) == 0
    if loss.of_rows and array.shape == leading:
        if array.dtype.kind not in "biu":
            raise TypeError(f"labels must be integers, not {array.dtype}: pass targets.astype(int)")
        good = (array >= 0) & (array < outputs)
        advice = "np.unique(labels, return_inverse=True)[1] numbers the classes from 0"
        if outputs == 1:
            advice = "two classes need 2 outputs with softmax, or 1 with sigmoid"
        _need(good | hidden, array, len(leading), "label", f"no class from 0 to {outputs - 1}: {advice}")
        array = as_contiguous(array if good.all() else np.where(good, array, 0), np.int64).reshape(rows)
    elif array.shape == shape:
        if loss.of_rows:
            _need(~(array < 0) | hidden, array, len(leading), "target", "negative")
        elif loss.name == "binary_cross_entropy":
            _need(~((array < 0) | (array > 1)) | hidden, array, len(leading), "target", "not in [0, 1]")
        array = as_contiguous(array, dtype).reshape(rows, outputs)
    else:
        fitting = leading if loss.of_rows else shape
        advice = ""
        if [n for n in array.shape if n > 1] == [n for n in fitting if n > 1]:
            advice = f": reshape them to {fitting}"
        elif not loss.of_rows and array.shape in (leading, (*leading, 1)) and array.dtype.kind in "biu":
            advice = f": np.eye({outputs})[labels] converts labels of shape {leading}"
            if loss.name != "binary_cross_entropy":  # cross_entropy does not go with its sigmoid
                advice += "; or use softmax as last activation, or none with loss='cross_entropy': both take labels"
        raise ValueError(f"{loss.name} needs targets of shape {fitting}{advice}")
    if weights is not None:
        weights = as_contiguous(weights, np.float64).reshape((rows,) if weights.shape == leading else (rows, outputs))
    return array, weights


def _as_weights(loss: Loss, sample_weight: Any, leading: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the weights of rows, of shape ``leading``, or of elements, of ``shape``."""
    weights = as_real(sample_weight)
    if weights.shape != leading and (loss.of_rows or weights.shape != shape):
        raise ValueError("the shape of sample_weight does not fit")
    _need((weights >= 0) & (weights < math.inf), weights, len(leading), "sample_weight", "negative or not finite")
    terms = 1 if loss.of_rows or weights.shape == shape else shape[-1]  # per weight
    with np.errstate(over="ignore"):
        if math.isinf(terms * float(weights.sum(dtype=np.float64))):
            raise ValueError("the sum of sample_weight is not finite")
    return weights


def _need(good: NDArray[np.bool_], array: NDArray[Any], axes: int, name: str, fault: str) -> None:
    """Raise ValueError for the first element that is not good. The first ``axes`` count rows."""
    if good.all():
        return
    place = tuple(map(int, np.unravel_index(np.argmin(good), good.shape)))
    row, output = place[:axes] or (0,), place[axes:]
    where = f"row {row[0] if len(row) == 1 else row}" + (f", output {output[0]}" if output else "")
    raise ValueError(f"{where}: {name} {array[place]} is {fault}")


def _evaluate(
    name: str, options: dict[str, float], outputs: Any, targets: Any, sample_weight: Any, reduction: str, gradient: bool
) -> Any:
    """Return the value of a loss, or the value and the gradient."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{name} expected reduction to be one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
    loss = _checked(name, options)
    try:
        array = as_real(outputs)
        shape = array.shape
        if loss.of_rows and array.ndim == 0:
            raise ValueError("logits need an axis of classes")
        leading = shape[:-1] if loss.of_rows or array.ndim > 1 else shape
        dtype = promoted(array.dtype)
        computed = np.result_type(dtype, np.float32)
        terms = as_terms(loss, targets, sample_weight, leading, shape, computed)
    except (TypeError, ValueError) as error:
        first = "logits" if name.endswith("cross_entropy") else "outputs"
        raise explained(
            error, name, f"{loss.expected}; all of {REAL}", **{first: outputs}, targets=targets, sample_weight=sample_weight
        ) from None
    rows = as_contiguous(array, computed).reshape(math.prod(leading), math.prod(shape[len(leading) :]))
    value, slope = _core.loss(loss.number, loss.option, rows, *terms, _REDUCTIONS.index(reduction), bool(gradient))
    if reduction == "none":
        value = value.reshape(leading if loss.of_rows else shape)[()]  # like a ufunc: a scalar if 0-d
    value = rounded(value, dtype)
    return value if slope is None else (value, rounded(slope.reshape(shape)[()], dtype))
