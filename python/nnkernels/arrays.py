"""What each kind of argument becomes: the one place that knows, for all functions, ``Dense`` and ``Network``.

=============================  ================================================================================================
argument                       becomes
=============================  ================================================================================================
NumPy array, list, number      NumPy's array of it; bool, integers, float16, float32 and float64 are real, other dtypes raise
                               TypeError
bfloat16, float8 (ml_dtypes)   float32, like each dtype of another library that NumPy casts safely to float32
subclass of np.ndarray         itself, and the result is one too; a plain array in ``Network`` and ``Dense``
masked array                   in relu, sigmoid and tanh itself, the mask kept; elsewhere TypeError
pandas, NumPy dtypes           in relu, sigmoid and tanh column by column, by pandas; elsewhere ``to_numpy()``
pandas, other columns          float64, NA as NaN: nullable, pyarrow and sparse columns, and bool beside other dtypes (in
                               ``relu`` too: the dtype does not depend on whether an ``Int64`` column has an NA)
pandas in ``dot``              pandas' own: a DataFrame gives an array, a Series of NumPy's dtypes a number, others TypeError
pandas, nullable integers      as targets of a loss NumPy's integers, if none is missing
pyarrow array, table           NumPy's array of it, null as NaN; bool as float64, 0 and 1
xarray DataArray               in relu, sigmoid, tanh and ``dot`` xarray's own; elsewhere its data
Dask array                     itself, and the result is lazy (``Dense`` computes it); each block as an array of its kind
Dask DataFrame, Series         in relu, sigmoid and tanh partition by partition; elsewhere TypeError: ``map_partitions``
scipy.sparse                   TypeError: ``toarray()``
with a unit (astropy, pint)    TypeError
has ``__array_ufunc__``        itself: it is asked for the result; NumPy's array of it in ``Network`` and ``Dense``, and without
                               a ``dtype`` in ``dense`` and the functions along an axis
=============================  ================================================================================================

Labels of pandas and xarray objects are kept where the result has the argument's shape: not by
``logsumexp``, ``dense`` and ``Network``. No library is imported to recognise its objects.
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

# What the functions expect, for error messages.
REAL = "a real dtype (bool, integer, float16, float32 or float64)"
FLOAT = "float16, float32 or float64"

# From this number on NumPy counts the dtypes of other libraries.
_FOREIGN = 256


def is_float(dtype: Any) -> bool:
    """Say whether a dtype is one of those that the kernels compute in, of any byte order."""
    return dtype.type in (np.float16, np.float32, np.float64)


def is_real(dtype: Any) -> bool:
    """Say whether a dtype of NumPy or pandas holds real numbers that a float64 holds too."""
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biu" or is_float(dtype)
    return dtype.kind in "biuf" or dtype == "null[pyarrow]"


def promoted(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that sums of a real dtype are computed in."""
    return dtype.newbyteorder("=") if is_float(dtype) else np.result_type(dtype, np.float32)


def is_python_number(value: object) -> bool:
    """Say whether a value is a number of Python's own, which has no dtype to promote; np.float64 is a float, but has one."""
    return isinstance(value, (bool, int, float)) and not isinstance(value, np.generic)


# --- What arguments become ---


def operands(ufunc: np.ufunc, dtype: DTypeLike | None, *values: Any) -> tuple[Any, ...]:
    """Return the inputs of a ufunc for arguments that are not all arrays of NumPy's own, numbers and lists."""
    try:
        inputs = tuple(map(_elementwise if ufunc.signature is None else _summed, values))
    except TypeError as error:
        got = ", ".join(map(describe, values))
        raise TypeError(f"{ufunc.__name__}: {error}; got {got}; expected arrays of {REAL}") from None
    if dtype is None or not any(map(is_lazy, inputs)):
        return inputs
    # Dask would compute in another dtype and cast the result.
    arrays = tuple(map(as_array, inputs))
    dtypes = ufunc.resolve_dtypes(
        (*(array.dtype for array in arrays), None), signature=(*(None for _ in arrays), np.dtype(dtype))
    )
    return tuple(array.astype(kind) for array, kind in zip(arrays, dtypes, strict=False))


def _elementwise(value: Any) -> Any:
    """Return what relu, sigmoid and tanh take an argument for."""
    match _library(value):
        case "pandas":
            return labelled(_values(value), value) if _is_mixed(value) else value
        case "pyarrow":
            return _from_arrow(value)
    _refuse_sparse(value)
    return _native(value)


def _summed(value: Any) -> Any:
    """Return what ``dot`` and the ufuncs of layers take an argument for."""
    if _library(value) == "pandas":
        return value
    _refuse_partitions(value)
    _refuse_mask(value)
    _refuse_unit(value)
    return _elementwise(value)


def as_array(value: Any) -> Any:
    """Return NumPy's array of an argument, or the argument if it is an array that takes part in ufuncs in its own way."""
    if type(value) in (list, tuple, bool, int, float):
        value = np.asarray(value)
    elif type(value) is not np.ndarray:
        return _as_known(value)
    return value if value.dtype.num < _FOREIGN else _native(value)


def as_real(value: Any) -> NDArray[Any]:
    """Return a plain array of a real dtype; raise TypeError if there is none."""
    array = as_array(value)
    if is_lazy(array):
        array = as_array(array.compute())
    array = np.asarray(array)
    if not is_real(array.dtype):
        raise TypeError(f"{array.dtype} is no real dtype")
    return array


def as_targets(value: Any) -> NDArray[Any]:
    """Return what ``as_real`` does, but pandas' nullable integers as integers where none is missing: they may be labels."""
    if _is_nullable_integer(value):
        with suppress(TypeError, ValueError):  # pandas': an NA is no integer
            integers: NDArray[Any] = value.to_numpy(np.result_type(*(dtype.numpy_dtype for dtype in _dtypes(value))))
            return integers
    return as_real(value)


def as_contiguous(array: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array as C++ reads it: C-contiguous, aligned and of a native dtype; the array itself if it is so."""
    return _core.contiguous(array, np.dtype(dtype).num)


def rounded(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return an array or number of a kernel in a dtype, silently: what is beyond its range becomes infinite."""
    with np.errstate(all="ignore"):
        return as_contiguous(np.asarray(value), dtype)[()]


def as_output(out: Any, *arguments: Any) -> Any:
    """Return an output, which may be in a tuple, as for a ufunc; raise TypeError if it is no place for bare numbers."""
    if type(out) is tuple and len(out) == 1:
        (out,) = out
    if out is None:
        return None
    if _is_masked(out):
        raise TypeError("out has a mask, which would stay as it is: give out.data")
    _refuse_unit(out)
    if any(map(is_lazy, (out, *arguments))):
        raise TypeError("Dask arrays are computed later, and into new arrays: leave out away")
    return out


def check_shape(out: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError for an output of another shape, which NumPy would fill by broadcasting."""
    if isinstance(out, np.ndarray) and out.shape != shape:
        raise ValueError("out has another shape")


def labelled(result: Any, like: Any) -> Any:
    """Return a result with the labels of an argument of its shape, if it has any."""
    match _library(like):
        case "xarray":
            return like.copy(data=result)
        case "pandas" if hasattr(like, "index"):
            labels = {"columns": like.columns} if hasattr(like, "columns") else {"name": like.name}
            # As pandas does it after a ufunc, for its subclasses too.
            return like._constructor(result, index=like.index, **labels).__finalize__(like)
    return result


def _library(value: Any) -> str:
    """Return which of the libraries that have ways of their own a value's class, or one that it is derived from, is of."""
    names = (str(getattr(base, "__module__", "")).partition(".")[0] for base in type(value).__mro__)
    return next((name for name in names if name in ("dask", "pandas", "pyarrow", "xarray")), "")


def _as_known(value: Any) -> Any:
    """Return NumPy's array of an object, or the object if it takes part in ufuncs in its own way."""
    value = _without_labels(value)
    _refuse_mask(value)
    _refuse_unit(value)
    _refuse_sparse(value)
    value = _native(value if hasattr(value, "__array_ufunc__") and hasattr(value, "dtype") else np.asarray(value))
    if is_lazy(value) and not is_real(value.dtype):  # else Dask would find out, in its own words
        raise TypeError(f"{value.dtype} is no real dtype")
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
    """Say whether a pandas object holds real numbers, but of dtypes for which it has no array of numbers."""
    dtypes = _dtypes(value)
    booleans = sum(dtype.kind == "b" for dtype in dtypes)
    return all(map(is_real, dtypes)) and (0 < booleans < len(dtypes) or any(_library(dtype) == "pandas" for dtype in dtypes))


def _is_nullable_integer(value: Any) -> bool:
    return _library(value) == "pandas" and all(_library(dtype) == "pandas" and dtype.kind in "biu" for dtype in _dtypes(value))


def _values(value: Any) -> NDArray[Any]:
    if not all(map(is_real, _dtypes(value))):
        raise TypeError("a column is of no real dtype")
    array: NDArray[Any] = value.to_numpy(np.float64, na_value=np.nan) if _is_mixed(value) else value.to_numpy()
    return array


def _from_arrow(value: Any) -> NDArray[Any]:
    if hasattr(value, "columns"):
        return np.stack([_from_arrow(column) for column in value.columns], axis=-1)
    array = np.asarray(value)  # null is NaN; among booleans None
    return array.astype(np.float64) if str(getattr(value, "type", "")) in ("bool", "null") else array


def _native(value: Any) -> Any:
    """Return an array of a foreign dtype as float32, if that holds all its numbers."""
    dtype: Any = getattr(value, "dtype", None)
    return value.astype(np.float32) if getattr(dtype, "num", 0) >= _FOREIGN and np.can_cast(dtype, np.float32) else value


def _refuse_partitions(value: Any) -> None:
    if hasattr(type(value), "map_partitions"):
        raise TypeError(
            f"a Dask {type(value).__name__} is not taken whole: call its map_partitions, or give to_dask_array(lengths=True)"
        )


def _kind(value: Any) -> type[Any]:
    """Return the class of an argument; for a Dask array that of its blocks, as far as Dask knows."""
    return type(value._meta if is_lazy(value) else value)


def _is_masked(value: Any) -> bool:
    return hasattr(_kind(value), "filled")


def _refuse_mask(value: Any) -> None:
    """Raise TypeError for a masked array: a sum cannot leave numbers out, and must not count them unnoticed."""
    if _is_masked(value):
        raise TypeError("a masked array must be filled first")


def _refuse_unit(value: Any) -> None:
    kind = _kind(value)
    if hasattr(kind, "unit") or hasattr(kind, "units"):
        raise TypeError(f"a {kind.__name__} has a unit, which would be lost: give its numbers")


def _is_sparse(value: Any) -> bool:
    return hasattr(_kind(value), "toarray")


def _refuse_sparse(value: Any) -> None:
    if _is_sparse(value):
        raise TypeError(f"a {_kind(value).__name__} is sparse: give its toarray()")


# --- Numbers ---

# Seeds are from 0 to this.
MOST_SEED = 2**64 - 1


def as_number(function: str, name: str, value: object, expected: str, accepts: Callable[[float], bool]) -> float:
    """Return a setting as a float. ``accepts`` says whether it is ``expected``, a text for the error message."""
    if type(value) is not float and (not isinstance(value, Real) or isinstance(value, bool)):
        raise TypeError(f"{function} expected {name} to be {expected}, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
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
    """Return a setting that is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function} expected {name} to be True or False, got {value!r} of type {type(value).__name__}")
    return bool(value)


# --- Dask ---


def is_lazy(value: Any) -> bool:
    """Say whether a value is a Dask array."""
    return type(value) is not np.ndarray and hasattr(value, "map_blocks") and _library(value) == "dask"


def need_whole(array: Any, *axes: int) -> None:
    """Raise ValueError if an axis of a Dask array is in several chunks."""
    for axis in axes if is_lazy(array) else ():
        if len(array.chunks[axis]) > 1:
            raise ValueError(f"axis {axis} is in {len(array.chunks[axis])} chunks: rechunk({{{axis}: -1}}) first")


def need_known(array: Any, *axes: int) -> None:
    """Raise ValueError if an axis of a Dask array is of unknown length or in several chunks."""
    if is_lazy(array):
        for axis in axes:
            if math.isnan(array.shape[axis]):
                raise ValueError(f"axis {axis} has unknown chunk sizes: compute_chunk_sizes() first")
        need_whole(array, *axes)


def map_chunks(
    function: Callable[[Any], Any], array: Any, axes: Sequence[int], lengths: Sequence[int] | None, dtype: np.dtype[Any]
) -> Any:
    """Return a Dask array: a function of each chunk of one.

    The function needs the axes whole, and its results have these lengths there, or not these axes
    if ``lengths`` is None.
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


# --- What errors say of arguments ---

# What is not mentioned where it is None.
_OPTIONAL = ("bias", "out", "sample_weight")


def describe(value: Any) -> str:
    """Say what an argument is, for an error message: kind, dtype and shape, or the type if it is no array."""
    if hasattr(type(value), "map_partitions"):
        return f"a Dask {type(value).__name__}"
    try:
        array = value if hasattr(value, "dtype") and hasattr(value, "shape") else np.asarray(value)
        if _library(value) == "pandas" and hasattr(value, "shape"):
            dtypes = ", ".join(dict.fromkeys(str(dtype) for dtype in _dtypes(value)))
            return f"a {type(value).__name__} of dtype {dtypes} and shape {value.shape}"
    except (TypeError, ValueError):
        return f"a {type(value).__name__} that is no array"
    origin = f" from a {type(value).__name__}" if array.dtype == object and array is not value else ""
    kind = "masked " if _is_masked(value) else "sparse " if _is_sparse(value) else ""
    return f"{kind}{array.dtype} of shape {array.shape}{origin}"


def shape_of(value: Any) -> tuple[int, ...]:
    """Return an argument's shape, for an error message; () for one that has none."""
    try:
        return tuple(np.shape(value))
    except (TypeError, ValueError):
        return ()


def explained(error: Exception, function: str, expected: str, **arguments: object) -> Exception:
    """Return the error with what came and what was expected. NumPy's own subclasses keep their type and text.

    OverflowError, of an axis or a bias that is a Python number too large for C, is a ValueError
    here.
    """
    given = {name: value for name, value in arguments.items() if value is not None or name not in _OPTIONAL}
    came = ", ".join(f"{name} {describe(value)}" for name, value in given.items())
    context = f"got {came}; expected {expected}"
    if type(error) in (TypeError, ValueError, OverflowError):
        cause = str(error).rstrip(".")
        if not cause.startswith(function):  # NumPy's often do
            cause = f"{function}: {cause}"
        kind = ValueError if isinstance(error, OverflowError) else type(error)
        return kind(f"{cause}; {context}")
    error.add_note(f"{function} {context}")
    return error
