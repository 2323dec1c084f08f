"""Conversion of arguments, for all functions, ``Dense`` and ``Network``. The table has the rules.

============================  ======================================================================
argument                      converted to
============================  ======================================================================
NumPy array, list, number     NumPy array, if bool, integer, float16, float32 or float64; else
                              TypeError
bfloat16, float8 (ml_dtypes)  float32, and so is each foreign dtype that NumPy casts safely to it
subclass of np.ndarray        kept, and the result has the class; plain array in ``Network`` and
                              ``Dense``
masked array                  element-wise kept with its mask; else TypeError
pandas, NumPy dtypes          element-wise column by column, by pandas; else ``to_numpy()``
pandas, other columns         float64, NA as NaN: nullable, pyarrow and sparse columns, and bool
                              columns with others; in ``relu`` too, since the dtype must not
                              depend on NAs
pandas in ``dot``             handled by pandas: a DataFrame gives an array, a Series with a NumPy
                              dtype gives a number; else TypeError
pandas, nullable integers     as targets of a loss NumPy integers, if none is missing
pyarrow array, table          NumPy array, null as NaN; bool becomes float64
xarray DataArray              element-wise and in ``dot`` handled by xarray; else its data
Dask array                    kept, and the result is lazy; ``Dense`` computes it; its blocks follow
                              this table
Dask DataFrame, Series        element-wise partition by partition; else TypeError: use
                              ``map_partitions``
scipy.sparse                  TypeError: use ``toarray()``
with a unit (astropy, pint)   TypeError
has ``__array_ufunc__``       kept: the object computes the result; NumPy array in ``Network`` and
                              ``Dense``, and, if it has no ``dtype``, in ``dense`` and functions
                              along an axis
============================  ======================================================================

"Element-wise" means ufuncs such as relu, sigmoid and tanh. Labels of pandas and xarray objects are
kept if the result has the argument's shape: not in ``logsumexp``, ``dense`` and ``Network``. No
library is imported to recognise its objects.
"""

import math
import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnkernels import _core

# The supported dtypes, for error messages.
REAL = "a real dtype (bool, integer, float16, float32 or float64)"
FLOAT = "float16, float32 or float64"

# NumPy numbers the dtypes of other libraries from here.
_FOREIGN = 256


def is_float(dtype: Any) -> bool:
    """Return whether the kernels can compute in a dtype, of any byte order."""
    return dtype.type in (np.float16, np.float32, np.float64)


def is_real(dtype: Any) -> bool:
    """Return whether a NumPy or pandas dtype holds real numbers of at most 64 bits."""
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biu" or is_float(dtype)
    return dtype.kind in "biuf" or dtype == "null[pyarrow]"


def promoted(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the result dtype of functions that sum, such as ``dense``, for input of this dtype."""
    return dtype.newbyteorder("=") if is_float(dtype) else np.result_type(dtype, np.float32)


def is_python_number(value: object) -> bool:
    """Return whether a value is a Python number. np.float64 is not, although it is a float."""
    return isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)


# --- Conversion of arguments ---


def operands(ufunc: np.ufunc, dtype: DTypeLike | None, *values: Any) -> tuple[Any, ...]:
    """Convert arguments of a ufunc other than NumPy arrays, numbers and lists. Called from C++."""
    try:
        inputs = tuple(map(_elementwise if ufunc.signature is None else _summed, values))
    except TypeError as error:
        got = ", ".join(map(describe, values))
        raise TypeError(f"{ufunc.__name__}: {error}; got {got}; expected arrays of {REAL}") from None
    if dtype is None or not any(map(is_lazy, inputs)):
        return inputs
    # Dask computes in the dtype of the input, and casts the result. So cast the input.
    arrays = tuple(map(as_array, inputs))
    dtypes = ufunc.resolve_dtypes(
        (*(array.dtype for array in arrays), None), signature=(*(None for _ in arrays), np.dtype(dtype))
    )
    return tuple(array.astype(kind) for array, kind in zip(arrays, dtypes, strict=False))


def _elementwise(value: Any) -> Any:
    """Convert an argument of an element-wise ufunc."""
    match _library(value):
        case "pandas":
            return labelled(_values(value), value) if _is_mixed(value) else value
        case "pyarrow":
            return _from_arrow(value)
    _refuse_sparse(value)
    return _native(value)


def _summed(value: Any) -> Any:
    """Convert an argument of ``dot`` or a ufunc of layers."""
    if _library(value) == "pandas":
        return value
    _refuse_partitions(value)
    _refuse_mask(value)
    _refuse_unit(value)
    return _elementwise(value)


def as_array(value: Any) -> Any:
    """Return an argument as a NumPy array, or unchanged if it has ``__array_ufunc__``."""
    if type(value) in (list, tuple, bool, int, float):
        value = np.asarray(value)
    elif type(value) is not np.ndarray:
        return _as_known(value)
    return value if value.dtype.num < _FOREIGN else _native(value)


def as_real(value: Any) -> NDArray[Any]:
    """Return an argument as a plain array. Raise TypeError if it has no real dtype."""
    array = as_array(value)
    if is_lazy(array):
        array = as_array(array.compute())
    array = np.asarray(array)
    if not is_real(array.dtype):
        raise TypeError(f"{array.dtype} is not a real dtype")
    return array


def as_targets(value: Any) -> NDArray[Any]:
    """Return targets as by ``as_real``, but keep pandas' nullable integers: they may be labels."""
    if _is_nullable_integer(value):
        with suppress(TypeError, ValueError):  # NA cannot be an integer
            integers: NDArray[Any] = value.to_numpy(np.result_type(*(dtype.numpy_dtype for dtype in _dtypes(value))))
            return integers
    try:
        return as_real(value)
    except TypeError as error:
        names = np.asarray(value)
        if names.size == 0 or not isinstance(names.flat[0], (str, bytes)):
            raise
        raise TypeError(f"{error}: np.unique(names, return_inverse=True)[1] converts names to labels") from None


def as_contiguous(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return a C-contiguous, aligned array of this native dtype, without a copy if possible."""
    return _core.contiguous(array, np.dtype(dtype).num)


def rounded(value: Any, dtype: np.dtype[Any]) -> Any:
    """Round to a dtype without warnings. Numbers beyond its range become infinite."""
    with np.errstate(all="ignore"):
        return as_contiguous(np.asarray(value), dtype)[()]


def as_output(out: Any, *arguments: Any) -> Any:
    """Return ``out``, unpacked from a tuple of one.

    Raises TypeError if it has a mask or a unit, or if it or an argument is lazy.
    """
    if type(out) is tuple and len(out) == 1:
        (out,) = out
    if out is None:
        return None
    if _is_masked(out):
        raise TypeError("out is a masked array, whose mask would not be updated: pass out.data")
    _refuse_unit(out)
    if any(map(is_lazy, (out, *arguments))):
        raise TypeError("Dask arrays are computed later, into new arrays: omit out")
    return out


def check_shape(out: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError if ``out`` has another shape. NumPy would broadcast the result into it."""
    if isinstance(out, np.ndarray) and out.shape != shape:
        raise ValueError("out has the wrong shape")


def labelled(result: Any, like: Any) -> Any:
    """Return a result with the labels of ``like``, which has the same shape."""
    match _library(like):
        case "xarray":
            return like.copy(data=result)
        case "pandas" if hasattr(like, "index"):
            labels = {"columns": like.columns} if hasattr(like, "columns") else {"name": like.name}
            # pandas does the same after a ufunc. It works for subclasses too.
            return like._constructor(result, index=like.index, **labels).__finalize__(like)
    return result


def _library(value: Any) -> str:
    """Return the library of a value's class: dask, pandas, pyarrow or xarray, else ""."""
    names = (str(getattr(base, "__module__", "")).partition(".")[0] for base in type(value).__mro__)
    return next((name for name in names if name in ("dask", "pandas", "pyarrow", "xarray")), "")


def _as_known(value: Any) -> Any:
    """Return an object as a NumPy array, or unchanged if it has ``__array_ufunc__``."""
    value = _without_labels(value)
    _refuse_mask(value)
    _refuse_unit(value)
    _refuse_sparse(value)
    value = _native(value if hasattr(value, "__array_ufunc__") and hasattr(value, "dtype") else np.asarray(value))
    if is_lazy(value) and not is_real(value.dtype):  # otherwise Dask raises its own message
        raise TypeError(f"{value.dtype} is not a real dtype")
    return value


def _without_labels(value: Any) -> Any:
    match _library(value):
        case "pandas":
            return _values(value)
        case "pyarrow":
            return _from_arrow(value)
        case "xarray" if hasattr(value, "data"):
            return value.data
    _refuse_partitions(value)
    return value.to_numpy() if hasattr(value, "to_numpy") else value


def _dtypes(value: Any) -> list[Any]:
    return list(value.dtypes) if hasattr(value, "columns") else [getattr(value, "dtype", np.dtype(object))]


def _is_mixed(value: Any) -> bool:
    """Return whether a pandas object has real dtypes that ``to_numpy()`` converts to object."""
    dtypes = _dtypes(value)
    booleans = sum(dtype.kind == "b" for dtype in dtypes)
    return all(map(is_real, dtypes)) and (0 < booleans < len(dtypes) or any(_library(dtype) == "pandas" for dtype in dtypes))


def _is_nullable_integer(value: Any) -> bool:
    return _library(value) == "pandas" and all(_library(dtype) == "pandas" and dtype.kind in "biu" for dtype in _dtypes(value))


def _values(value: Any) -> NDArray[Any]:
    dtypes = _dtypes(value)
    if not all(map(is_real, dtypes)):
        wrong = [repr(name) for name, dtype in zip(getattr(value, "columns", ()), dtypes, strict=False) if not is_real(dtype)]
        advice = "convert text by pandas.get_dummies"
        if wrong:
            advice = f"leave {', '.join(wrong[:3])}{', ...' * (len(wrong) > 3)} out, or {advice}"
        raise TypeError(f"expected columns of a real dtype: {advice}")
    array: NDArray[Any] = value.to_numpy(np.float64, na_value=np.nan) if _is_mixed(value) else value.to_numpy()
    return array


def _from_arrow(value: Any) -> NDArray[Any]:
    if hasattr(value, "columns"):
        return np.stack([_from_arrow(column) for column in value.columns], axis=-1)
    array = np.asarray(value)  # null becomes NaN, or None among booleans
    return array.astype(np.float64) if str(getattr(value, "type", "")) in ("bool", "null") else array


def _native(value: Any) -> Any:
    """Convert an array of a foreign dtype to float32, if that is a safe cast."""
    dtype: Any = getattr(value, "dtype", None)
    return value.astype(np.float32) if getattr(dtype, "num", 0) >= _FOREIGN and np.can_cast(dtype, np.float32) else value


def _refuse_partitions(value: Any) -> None:
    if hasattr(type(value), "map_partitions"):
        raise TypeError(
            f"a Dask {type(value).__name__} is not supported here: call its map_partitions, or pass its "
            "to_dask_array(lengths=True)"
        )


def _kind(value: Any) -> type[Any]:
    """Return the class of an argument, or of the blocks of a Dask array."""
    return type(value._meta if is_lazy(value) else value)


def _is_masked(value: Any) -> bool:
    return hasattr(_kind(value), "filled")


def _refuse_mask(value: Any) -> None:
    """Raise TypeError for a masked array: a sum would include the masked numbers."""
    if _is_masked(value):
        raise TypeError("masked arrays are not supported here: call filled() first")


def _refuse_unit(value: Any) -> None:
    kind = _kind(value)
    if hasattr(kind, "unit") or hasattr(kind, "units"):
        raise TypeError(f"a {kind.__name__} has a unit, which would be lost: pass its plain numbers")


def _is_sparse(value: Any) -> bool:
    return hasattr(_kind(value), "toarray")


def _refuse_sparse(value: Any) -> None:
    if _is_sparse(value):
        raise TypeError(f"a {_kind(value).__name__} is sparse: pass its toarray()")


# --- Numbers ---

# The largest seed.
MOST_SEED = 2**64 - 1


def as_number(function: str, name: str, value: object, expected: str, accepts: Callable[[float], bool]) -> float:
    """Return a setting as a float. ``expected`` describes, for errors, what ``accepts`` tests."""
    if type(value) is not float and (not isinstance(value, Real) or isinstance(value, bool)):
        raise TypeError(f"{function} expected {name} to be {expected}, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floats
        number = math.inf
    if not accepts(number):
        raise ValueError(f"{function} expected {name} to be {expected}, got {value!r}")
    return number


def as_integer(function: str, name: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    """Return a setting as an int from ``least`` to ``most``."""
    expected = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"{function} expected {name} to be {expected}, got {value!r} of type {type(value).__name__}") from None
    if integer < least or (most is not None and integer > most):
        raise ValueError(f"{function} expected {name} to be {expected}, got {value!r}")
    return integer


def as_bool(function: str, name: str, value: object) -> bool:
    """Return a setting as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function} expected {name} to be True or False, got {value!r} of type {type(value).__name__}")
    return bool(value)


# --- Dask ---


def is_lazy(value: Any) -> bool:
    """Return whether a value is a Dask array."""
    return type(value) is not np.ndarray and hasattr(value, "map_blocks") and _library(value) == "dask"


def need_whole(array: Any, *axes: int) -> None:
    """Raise ValueError if a Dask array has several chunks along an axis."""
    for axis in axes if is_lazy(array) else ():
        if len(array.chunks[axis]) > 1:
            raise ValueError(f"axis {axis} has {len(array.chunks[axis])} chunks: call rechunk({{{axis}: -1}}) first")


def need_known(array: Any, *axes: int) -> None:
    """Raise ValueError if a Dask array has an unknown length or several chunks along an axis."""
    if is_lazy(array):
        for axis in axes:
            if math.isnan(array.shape[axis]):
                raise ValueError(f"axis {axis} has unknown chunk sizes: call compute_chunk_sizes() first")
        need_whole(array, *axes)


def map_chunks(
    function: Callable[[Any], Any], array: Any, axes: Sequence[int], lengths: Sequence[int] | None, dtype: np.dtype[Any]
) -> Any:
    """Apply a function to each chunk of a Dask array.

    Each of ``axes`` must be one chunk. The results have ``lengths`` along these axes, or lack these
    axes if ``lengths`` is None.
    """
    need_whole(array, *axes)
    chunks = dict(enumerate(array.chunks))
    for number, axis in enumerate(axes):
        if lengths is None:
            del chunks[axis]
        else:
            chunks[axis] = (lengths[number],)
    return array.map_blocks(
        function,
        chunks=tuple(chunks.values()),
        drop_axis=[] if lengths is not None else list(axes),
        dtype=dtype,
        meta=np.empty((0,) * len(chunks), dtype),
    )


# --- Error messages ---

# Arguments that are not mentioned if they are None.
_OPTIONAL = ("bias", "out", "sample_weight")


def describe(value: Any) -> str:
    """Describe an argument for an error message: kind, dtype and shape, or its type."""
    if hasattr(type(value), "map_partitions"):
        return f"a Dask {type(value).__name__}"
    try:
        array = value if hasattr(value, "dtype") and hasattr(value, "shape") else np.asarray(value)
        if _library(value) == "pandas" and hasattr(value, "shape"):
            dtypes = ", ".join(dict.fromkeys(str(dtype) for dtype in _dtypes(value)))
            return f"a {type(value).__name__} of dtype {dtypes} and shape {value.shape}"
    except (TypeError, ValueError):
        return f"a {type(value).__name__}, which is not an array"
    origin = f" from a {type(value).__name__}" if array.dtype == object and array is not value else ""
    kind = "masked " if _is_masked(value) else "sparse " if _is_sparse(value) else ""
    return f"{kind}{array.dtype} of shape {array.shape}{origin}"


def shape_of(value: Any) -> tuple[int, ...]:
    """Return an argument's shape, for an error message; () if it has none."""
    try:
        return tuple(np.shape(value))
    except (TypeError, ValueError):
        return ()


def explained(error: Exception, function: str, expected: str, **arguments: object) -> Exception:
    """Return an error with the arguments and the expectation added to its message.

    Its type stays. Only OverflowError, from an axis or a bias too large for C, becomes ValueError.
    NumPy's own subclasses of TypeError and ValueError keep their message, and get a note.
    """
    given = {name: value for name, value in arguments.items() if value is not None or name not in _OPTIONAL}
    came = ", ".join(f"{name} {describe(value)}" for name, value in given.items())
    context = f"got {came}; expected {expected}"
    if type(error) in (TypeError, ValueError, OverflowError):
        cause = str(error).rstrip(".")
        if not cause.startswith(function):  # many of NumPy's do
            cause = f"{function}: {cause}"
        kind = ValueError if isinstance(error, OverflowError) else type(error)
        return kind(f"{cause}; {context}")
    error.add_note(f"{function} {context}")
    return error
