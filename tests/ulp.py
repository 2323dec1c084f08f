"""Errors in units in the last place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ulp(exact: NDArray[Any], dtype: np.typing.DTypeLike) -> NDArray[np.longdouble]:
    """Return the spacing of a dtype's numbers at each exact value; at 0, the least subnormal."""
    info = np.finfo(dtype)
    _, exponent = np.frexp(np.abs(exact).astype(np.longdouble))
    exponent = np.where(exact == 0, info.minexp, np.maximum(exponent - 1, info.minexp))
    return np.ldexp(np.longdouble(1), exponent - info.nmant)


def ulp_error(actual: NDArray[Any], exact: NDArray[Any]) -> NDArray[np.float64]:
    """Return |actual - exact| in ULP of actual's dtype; inf where only one is finite or NaN."""
    exact = np.asarray(exact, np.longdouble)
    with np.errstate(all="ignore"):
        error = np.abs(actual.astype(np.longdouble) - exact) / ulp(np.where(np.isfinite(exact), exact, 0), actual.dtype)
        rounded = exact.astype(actual.dtype)  # infinity beyond the dtype's range
    alike = (actual == rounded) | (np.isnan(actual) & np.isnan(exact))
    finite = np.isfinite(actual) & np.isfinite(exact)
    return np.where(finite, error, np.where(alike, 0, np.inf)).astype(np.float64)


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two arrays are equal in dtype, shape and bits. All NaNs count as equal."""
    return a.dtype == b.dtype and a.shape == b.shape and _bits(a) == _bits(b)


def _bits(array: NDArray[Any]) -> bytes:
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return array.tobytes()
