"""Activations: the functions that take an option, and a table of all activations."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nnkernels import _core
from nnkernels.functions import log_softmax, softmax

# A name, the function, a functools.partial that sets the function's option, or None.
Activation: TypeAlias = str | Callable[..., Any] | None


def leaky_relu(
    x: ArrayLike, negative_slope: ArrayLike = 0.01, *, out: NDArray[Any] | None = None, dtype: DTypeLike | None = None
) -> Any:
    """Leaky rectified linear unit, element-wise: x where x > 0, else negative_slope x.

    Parameters
    ----------
    x : array_like
        float16, float32 and float64 are kept. Other real dtypes promote as in ``np.tanh``.
    negative_slope : float or array_like, default 0.01
        Slope for negative x. It broadcasts with x. It is rounded to the dtype of the result, or to
        float32 if that is float16.
    out : ndarray, optional
        Array for the result.
    dtype : dtype, optional
        dtype of the result.

    Returns
    -------
    ndarray of the broadcast shape
        The product is rounded once. ``leaky_relu(-0.0)`` is ``-0.0`` for a positive slope. NaN
        propagates. pandas, xarray and Dask objects keep their type.

    Raises
    ------
    TypeError
        If an argument is longdouble, complex, object, string or datetime.
    ValueError
        If the shapes do not broadcast.

    Notes
    -----
    Source: A. L. Maas, A. Y. Hannun and A. Y. Ng, "Rectifier nonlinearities improve neural network
    acoustic models", 2013.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.leaky_relu([-2.0, 0.0, 3.0])
    array([-0.02,  0.  ,  3.  ])
    """
    return _with_option(_core.leaky_relu, x, negative_slope, out, dtype)


def elu(x: ArrayLike, alpha: ArrayLike = 1.0, *, out: NDArray[Any] | None = None, dtype: DTypeLike | None = None) -> Any:
    """Exponential linear unit, element-wise: x where x > 0, else alpha (exp(x) - 1).

    Parameters
    ----------
    x : array_like
        float16, float32 and float64 are kept. Other real dtypes promote as in ``np.tanh``.
    alpha : float or array_like, default 1.0
        The limit at -inf is -alpha. It broadcasts with x. It is rounded to the dtype of the result,
        or to float32 if that is float16.
    out : ndarray, optional
        Array for the result.
    dtype : dtype, optional
        dtype of the result.

    Returns
    -------
    ndarray of the broadcast shape
        The error is below 1 ULP. ``elu(-0.0)`` is ``-0.0`` for a positive alpha. NaN propagates.
        pandas, xarray and Dask objects keep their type.

    Raises
    ------
    TypeError
        If an argument is longdouble, complex, object, string or datetime.
    ValueError
        If the shapes do not broadcast.

    Notes
    -----
    Source: D.-A. Clevert, T. Unterthiner and S. Hochreiter, "Fast and accurate deep network
    learning by exponential linear units (ELUs)", 2016. The method is in cpp/kernels/activations.h.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.elu([-2.0, 0.0, 3.0])
    array([-0.86466472,  0.        ,  3.        ])
    """
    return _with_option(_core.elu, x, alpha, out, dtype)


def gelu(x: ArrayLike, *, approximate: str = "none", out: NDArray[Any] | None = None, dtype: DTypeLike | None = None) -> Any:
    """Gaussian error linear unit, element-wise: x Phi(x) = x (1 + erf(x / sqrt(2))) / 2.

    Phi is the cumulative distribution function of the standard normal distribution.

    Parameters
    ----------
    x : array_like
        float16, float32 and float64 are kept. Other real dtypes promote as in ``np.tanh``.
    approximate : {"none", "tanh"}, default "none"
        "tanh" computes x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, which differs by up to
        5e-4.
    out : ndarray, optional
        Array for the result.
    dtype : dtype, optional
        dtype of the result.

    Returns
    -------
    ndarray of the shape of x
        The error is below 1 ULP in float32 and below 1.5 ULP in float64, for subnormal results too.
        ``gelu(-0.0)`` and ``gelu(-inf)`` are ``-0.0``. NaN propagates. pandas, xarray and Dask
        objects keep their type.

    Raises
    ------
    TypeError
        If x is longdouble, complex, object, string or datetime.
    ValueError
        If ``approximate`` is neither "none" nor "tanh".

    Notes
    -----
    Source: D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", 2016. The method is
    in cpp/kernels/activations.h.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.gelu([-2.0, 0.0, 1.0])
    array([-0.04550026,  0.        ,  0.84134475])
    >>> nnk.gelu([-2.0, 0.0, 1.0], approximate="tanh")
    array([-0.04540231,  0.        ,  0.84119199])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu expected approximate to be 'none' or 'tanh', got {approximate!r}")
    ufunc = _core.gelu if approximate == "none" else _core.gelu_tanh
    return ufunc(x, out=out, dtype=dtype)


def _with_option(ufunc: np.ufunc, x: ArrayLike, option: ArrayLike, out: NDArray[Any] | None, dtype: DTypeLike | None) -> Any:
    # As a Python number, the option would be rounded to the dtype of x, which may be float16.
    option = np.float64(option) if isinstance(option, (int, float)) else option
    return ufunc(x, option, out=out, dtype=dtype)


class Kind(NamedTuple):
    """An activation: its function, its option, and its names in other libraries."""

    name: str
    function: Callable[..., Any] | None
    option: str = ""  # name of the option; "" if there is none
    default: float = 0.0
    loss: str = "squared_error"  # the matching loss, computed from the logits
    onnx: str = ""  # operator
    keras: tuple[str, ...] = ()  # activation and layers
    torch: str = ""  # module
    sklearn: str = ""

    @property
    def activation(self) -> str | None:
        """The argument of ``Dense`` for it."""
        return self.name if self.function else None


# In the order of the C++ enum class Activation in cpp/kernels.h.
TABLE: tuple[Kind, ...] = (
    Kind("none", None, onnx="Identity", keras=("linear",), torch="Identity", sklearn="identity"),
    Kind("relu", _core.relu, onnx="Relu", keras=("relu", "ReLU"), torch="ReLU", sklearn="relu"),
    Kind(
        "sigmoid",
        _core.sigmoid,
        loss="binary_cross_entropy",
        onnx="Sigmoid",
        keras=("sigmoid",),
        torch="Sigmoid",
        sklearn="logistic",
    ),
    Kind("tanh", _core.tanh, onnx="Tanh", keras=("tanh",), torch="Tanh", sklearn="tanh"),
    Kind("exp", _core.exp, loss="poisson", onnx="Exp", keras=("exponential",), sklearn="exp"),
    Kind(
        "leaky_relu",
        leaky_relu,
        "negative_slope",
        0.01,
        onnx="LeakyRelu",
        keras=("leaky_relu", "LeakyReLU"),
        torch="LeakyReLU",
    ),
    Kind("elu", elu, "alpha", 1.0, onnx="Elu", keras=("elu", "ELU"), torch="ELU"),
    Kind("silu", _core.silu, keras=("silu", "swish"), torch="SiLU"),
    Kind("gelu", gelu, onnx="Gelu", keras=("gelu",), torch="GELU"),
    Kind("gelu_tanh", partial(gelu, approximate="tanh")),
    Kind("softplus", _core.softplus, onnx="Softplus", keras=("softplus",), torch="Softplus"),
    Kind(
        "softmax",
        softmax,
        loss="cross_entropy",
        onnx="Softmax",
        keras=("softmax", "Softmax"),
        torch="Softmax",
        sklearn="softmax",
    ),
    Kind(
        "log_softmax",
        log_softmax,
        loss="cross_entropy",
        onnx="LogSoftmax",
        keras=("log_softmax",),
        torch="LogSoftmax",
    ),
)

# The number of each activation in C++, by its name, its function and its ufunc.
_NUMBERS: dict[object, int] = {
    None: 0,
    **{kind.name: number for number, kind in enumerate(TABLE) if number},
    **{kind.function: number for number, kind in enumerate(TABLE) if number},
    **{getattr(_core, kind.name): number for number, kind in enumerate(TABLE) if number},
}

_WITH_OPTION = re.compile(r"(\w+)\((\w+)=([^()]+)\)")


def number_of(activation: object) -> tuple[int, float]:
    """Return the index of an activation in ``TABLE``, and the value of its option or 0."""
    options: dict[str, Any] = {}
    given = activation
    if isinstance(activation, partial):
        given, options = activation.func, dict(activation.keywords)
        if activation.args:
            options["x"] = activation.args  # refused below: x is not an option
    elif isinstance(activation, str) and (match := _WITH_OPTION.fullmatch(activation)):
        given, options = match[1], {match[2]: match[3]}
    if given is gelu and options in ({"approximate": "none"}, {"approximate": "tanh"}):
        given, options = "gelu_tanh" if options["approximate"] == "tanh" else "gelu", {}
    try:
        number = _NUMBERS[given]
    except (KeyError, TypeError):
        raise _refusal(activation, given, _expected_for(given)) from None
    kind = TABLE[number]
    try:
        value = float(options.pop(kind.option, kind.default))
        if options or not math.isfinite(value):
            raise ValueError
    except (TypeError, ValueError):
        option = "approximate='none' or 'tanh'" if kind.name == "gelu" else f"{kind.option}=NUMBER, which is finite,"
        option = f"{option} and nothing else" if kind.option or kind.name == "gelu" else "no option"
        raise _refusal(activation, given, f"{kind.name} with {option}") from None
    return number, value


def _refusal(activation: object, given: object, expected: str) -> Exception:
    kind_of_error = ValueError if isinstance(given, str) else TypeError
    return kind_of_error(f"activation expected {expected}; got {activation!r}")


def _expected_for(given: object) -> str:
    """Describe the expected argument: the activation with this name in any library, else all."""
    word = given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)
    name = _plain(word.partition("(")[0])
    for kind in TABLE:
        if name in map(_plain, filter(None, (kind.name, *kind.keras, kind.torch, kind.sklearn))):
            text = f"{kind.name}({kind.option}={kind.default!r})" if kind.option else kind.activation
            return repr(text) if isinstance(given, str) or text is None else f"{text!r} or nnk.{kind.name}"
    names = ", ".join(f"'{kind.name}'" for kind in TABLE[1:])
    return f"None, {names}, one of these functions, or a functools.partial that sets its option"


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def name_of(number: int, option: float) -> str | None:
    """Return an activation as text, such as "elu(alpha=0.5)"; None for no activation."""
    kind = TABLE[number]
    if not kind.option or option == kind.default:
        return kind.name if number else None
    return f"{kind.name}({kind.option}={option!r})"
