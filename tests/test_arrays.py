"""Conversion of arguments in all functions, Dense and Network: the table of nnkernels/arrays.py."""

import re
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr

import nnkernels as nnk
from nnkernels import _core
from nnkernels.arrays import as_array
from ulp import same_bits

dd = pytest.importorskip("dask.dataframe")
ml_dtypes = pytest.importorskip("ml_dtypes")
pa = pytest.importorskip("pyarrow")

Array = np.ndarray[Any, np.dtype[Any]]
Function = Callable[..., Any]

ELEMENTWISE = (nnk.relu, nnk.sigmoid, nnk.tanh)
ALONG_AXIS = (nnk.softmax, nnk.log_softmax)
ACTIVATIONS = (None, "relu", "sigmoid", "tanh", "softmax")

WEIGHTS = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
NETWORK = nnk.Network([nnk.Dense(WEIGHTS, np.arange(4, dtype=np.float32), "tanh"), nnk.Dense(np.ones((3, 4), np.float32))])

# Functions of x. The last axis of x has two elements.
ELEMENTWISE_CALLS: dict[str, Function] = {function.__name__: function for function in ELEMENTWISE}
SUMMING_CALLS: dict[str, Function] = {
    **{function.__name__: function for function in (*ALONG_AXIS, nnk.logsumexp)},
    "softmax of all": partial(nnk.softmax, axis=None),
    "dense, x": partial(nnk.dense, weights=WEIGHTS, activation="tanh"),
    "dense, weights": lambda x: nnk.dense(WEIGHTS[0], x, 0.5),
    "dense, bias": lambda x: nnk.dense(WEIGHTS[:2, :1], np.ones((2, 1), np.float32), x),
    "dense, one neuron": lambda x: nnk.dense(x, WEIGHTS[0], 0.5),
    "Dense, weights": lambda x: nnk.Dense(x).weights,
    "Dense, bias": lambda x: nnk.Dense(np.ones((2, 3), np.float32), x).bias,
    "Network": NETWORK,
}
CALLS = ELEMENTWISE_CALLS | SUMMING_CALLS
DOT: dict[str, Function] = {"dot, x": lambda x: nnk.dot(x, WEIGHTS[0]), "dot, w": lambda x: nnk.dot(WEIGHTS[0], x)}

NAN = np.nan
INDEX = ["first", "second"]


def series(values: list[Any], dtype: str) -> pd.Series:
    return pd.Series(values, INDEX, dtype, "name")


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(column, INDEX) for name, column in columns.items()})


def of_dtypes(*dtypes: str) -> pd.DataFrame:
    """Return columns of these dtypes: 1 and a missing value (or 0 if the dtype has none)."""
    missing = {"bool": False, "Sparse[int64]": 0}
    return frame(**{f"column {i}": pd.array([1, missing.get(dtype)], dtype=dtype) for i, dtype in enumerate(dtypes)})


# pandas objects, and the equivalent arrays.
PANDAS: dict[str, tuple[Any, Array]] = {
    "float64": (series([1, None], "float64"), np.array([1, NAN])),
    "float32": (series([1, None], "float32"), np.array([1, NAN], np.float32)),
    "int16": (series([1, -2], "int16"), np.array([1, -2], np.int16)),
    "bool": (series([True, False], "bool"), np.array([True, False])),
    "frame of float32": (frame(a=np.float32([1, -2]), b=np.float32([3, NAN])), np.array([[1, 3], [-2, NAN]], np.float32)),
    "frame of int64": (frame(a=[1, -2], b=[3, 4]), np.array([[1, 3], [-2, 4]])),
    **{
        dtype: (series([1, None], dtype), np.array([1, NAN]))
        for dtype in (
            "Float64",
            "Float32",
            "Int64",
            "UInt8",
            "boolean",
            "double[pyarrow]",
            "float[pyarrow]",
            "int64[pyarrow]",
            "bool[pyarrow]",
            "Sparse[float64]",
        )
    },
    "null[pyarrow]": (series([None, None], "null[pyarrow]"), np.array([NAN, NAN])),
    "Int64 without NA": (series([1, -2], "Int64"), np.array([1.0, -2.0])),
    "Sparse[int64, 0]": (series([1, 0], "Sparse[int64]"), np.array([1.0, 0.0])),
    "bool beside float": (of_dtypes("float64", "bool"), np.array([[1, 1], [NAN, 0]])),
    "bool beside int": (frame(a=[3, -4], b=[True, False]), np.array([[3.0, 1.0], [-4.0, 0.0]])),
    "nullable": (of_dtypes("Float64", "boolean"), np.array([[1, 1], [NAN, NAN]])),
    "pyarrow": (of_dtypes("int8[pyarrow]", "bool[pyarrow]"), np.array([[1, 1], [NAN, NAN]])),
    "nulls beside int": (frame(a=pd.array([None, None], dtype="null[pyarrow]"), b=[1, 2]), np.array([[NAN, 1], [NAN, 2]])),
    "sparse": (of_dtypes("Sparse[float64]", "Sparse[int64]"), np.array([[1, 1], [NAN, 0]])),
    "of everything": (of_dtypes("Int64", "Sparse[float64]"), np.array([[1, 1], [NAN, NAN]])),
}
assert "Sparse" in str(PANDAS["sparse"][0].dtypes.iloc[0])

FLOAT8 = [name for name in dir(ml_dtypes) if name.startswith(("bfloat16", "float8", "float6", "float4", "int4"))]


def foreign(name: str) -> tuple[Array, Array]:
    values = np.array([[1, 2], [0.5, 4]], getattr(ml_dtypes, name))
    return values, values.astype(np.float32)


class Nameless:
    """An array whose class has no __module__."""

    __module__ = None  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array([[1.0, 2.0]])


OTHER: dict[str, tuple[Any, Array]] = {
    "list": ([[1.0, 2.0]], np.array([[1.0, 2.0]])),
    "pyarrow float": (pa.array([1.0, None]), np.array([1, NAN])),
    "pyarrow float32": (pa.array([1.0, None], pa.float32()), np.array([1, NAN], np.float32)),
    "pyarrow int": (pa.array([1, None]), np.array([1, NAN])),
    "pyarrow int without null": (pa.array([1, -2], pa.int16()), np.array([1, -2], np.int16)),
    "pyarrow bool": (pa.array([True, False]), np.array([1.0, 0.0])),
    "pyarrow bool with null": (pa.array([True, None]), np.array([1.0, NAN])),
    "pyarrow null": (pa.array([None, None]), np.array([NAN, NAN])),
    "class without a module": (Nameless(), np.array([[1.0, 2.0]])),
    "tuple": ((1.0, 2.0), np.array([1.0, 2.0])),
    "pyarrow chunks of nulls": (pa.chunked_array([pa.nulls(1), pa.nulls(1)]), np.array([NAN, NAN])),
    "pyarrow table": (pa.table({"a": [True, None], "b": [1.0, 2.0]}), np.array([[1.0, 1.0], [NAN, 2.0]])),
    "pyarrow table of int": (pa.table({"a": [1, -2], "b": [3, 4]}), np.array([[1, 3], [-2, 4]])),
    "pyarrow table of bool": (pa.table({"a": [True, False], "b": pa.nulls(2)}), np.array([[1.0, NAN], [0.0, NAN]])),
    "pyarrow batch": (pa.RecordBatch.from_pydict({"a": [True, None], "b": [1, 2]}), np.array([[1.0, 1.0], [NAN, 2.0]])),
    "pyarrow chunks": (pa.chunked_array([[True], [None]]), np.array([1.0, NAN])),
    **{name: foreign(name) for name in FLOAT8},
}


TAKEN = PANDAS | OTHER


def is_asked(call: str, kind: str) -> bool:
    """Return whether to test a call with a kind: a bias has one row, and pandas handles dot."""
    return not (call == "Dense, bias" and TAKEN[kind][1].ndim == 2) and not (call in DOT and kind in PANDAS)


@pytest.mark.parametrize(
    ("call", "kind"), [(call, kind) for call in CALLS | DOT for kind in TAKEN if is_asked(call, kind)], ids=str
)
def test_argument_is_taken_for_an_array(call: str, kind: str) -> None:
    argument, array = TAKEN[kind]
    result, expected = (np.asarray((CALLS | DOT)[call](value)) for value in (argument, array))
    assert result.dtype == expected.dtype
    assert same_bits(result, expected) if expected.dtype.kind == "f" else np.array_equal(result, expected)


def test_foreign_dtypes_are_computed_in_float32() -> None:
    for name in FLOAT8:
        values, single = foreign(name)
        for function in (*ELEMENTWISE, *ALONG_AXIS, nnk.logsumexp, lambda x: nnk.dot(x, x), lambda x: nnk.dense(x, x, x[0])):
            result = function(values)
            assert result.dtype == np.float32
            assert same_bits(result, function(single))
        assert nnk.Network([nnk.Dense(values, values[0])]).dtype == np.float32


# --- Refusals ---

UNREAL = {
    "object": frame(a=pd.Series([1.0, "text"], INDEX, object), b=[1.0, 2.0]),
    "object with NA": frame(a=pd.Series([1.0, pd.NA], INDEX, object)),
    "string": frame(a=["1", "2"], b=[1.0, 2.0]),
    "category": frame(a=pd.Categorical([1, 2]), b=[True, False]),
    "datetime64": frame(a=pd.to_datetime(["2020-01-01", "2021-01-01"]), b=[1.0, 2.0]),
    "complex128": frame(a=[1j, 2j], b=[True, False]),
    "decimal128": frame(a=pd.array([1, 2], dtype=pd.ArrowDtype(pa.decimal128(30, 2))), b=[1.0, 2.0]),
}


@pytest.mark.parametrize("kind", UNREAL)
@pytest.mark.parametrize("call", CALLS)
def test_frames_of_other_dtypes_are_refused(call: str, kind: str) -> None:
    argument = UNREAL[kind]["a"] if call == "Dense, bias" else UNREAL[kind]
    with pytest.raises(TypeError) as caught:
        CALLS[call](argument)
    if call in SUMMING_CALLS:
        assert str(UNREAL[kind]["a"].dtype) in str(caught.value)


@pytest.mark.parametrize("scalar", [pd.NA, pd.Timestamp(0), pd.Timedelta(0)], ids=str)
@pytest.mark.parametrize("call", SUMMING_CALLS)
def test_scalars_of_pandas_are_refused(call: str, scalar: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        SUMMING_CALLS[call](scalar)
    assert nnk.tanh(pd.NA) is pd.NA  # as in pandas


@cache
def with_units() -> dict[str, Any]:
    astropy, pint = pytest.importorskip("astropy.units"), pytest.importorskip("pint")
    return {"astropy": np.ones((2, 2)) * astropy.m, "pint": np.ones((2, 2)) * pint.UnitRegistry().m}


@pytest.mark.parametrize("library", ["astropy", "pint"])
@pytest.mark.parametrize("call", CALLS | DOT)
def test_units_are_refused(call: str, library: str) -> None:
    quantity = with_units()[library]
    with pytest.raises(TypeError) as caught:
        (CALLS | DOT)[call](quantity)
    if call in SUMMING_CALLS:
        assert "unit" in str(caught.value)
    with pytest.raises(TypeError, match="unit"):
        NETWORK(np.ones((2, 2)), out=np.empty((2, 3)) * with_units()["astropy"].unit)


@pytest.mark.parametrize("format", ["csr", "csc", "coo"])
@pytest.mark.parametrize("call", CALLS | DOT)
def test_sparse_matrices_are_refused(call: str, format: str) -> None:
    for kind in (scipy.sparse.eye_array, scipy.sparse.eye):
        with pytest.raises(TypeError, match=r"sparse: .*toarray\(\)"):
            (CALLS | DOT)[call](kind(2, format=format))


MASKED = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, True], [False, False]])


@pytest.mark.parametrize("call", SUMMING_CALLS | DOT)
def test_masked_arrays_are_refused_by_sums(call: str) -> None:
    for masked in (MASKED, da.from_array(MASKED), da.ma.masked_greater(da.ones((2, 2)), 0.5)):
        with pytest.raises(TypeError, match="mask"):
            (SUMMING_CALLS | DOT)[call](masked)


def test_masked_outputs_are_refused() -> None:
    x = np.ones((2, 4), np.float32)
    for call, shape in ((nnk.softmax, (2, 4)), (nnk.logsumexp, (2,)), (partial(nnk.dense, weights=WEIGHTS.T), (2, 2))):
        with pytest.raises(TypeError, match="out is a masked array"):
            call(x, out=np.ma.zeros(shape))
    with pytest.raises(TypeError, match="out is a masked array"):
        NETWORK(x[:, :2], np.ma.zeros((2, 3)))


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_masked_arrays_keep_their_mask(function: np.ufunc) -> None:
    result = function(MASKED)
    assert isinstance(result, np.ma.MaskedArray)
    np.testing.assert_array_equal(result.mask, MASKED.mask)
    assert same_bits(result.compressed(), function(MASKED.compressed()))
    lazy = function(da.from_array(MASKED)).compute()
    np.testing.assert_array_equal(lazy.mask, MASKED.mask)


def delayed(block: Any) -> Any:
    """Return a Dask array whose block's type is unknown until it is computed."""
    return da.from_delayed(dask.delayed(lambda: block)(), (2, 2), float)


@pytest.mark.parametrize("call", SUMMING_CALLS | DOT)
def test_masked_blocks_are_refused_by_sums(call: str) -> None:
    with pytest.raises(TypeError, match="mask"):
        np.asarray((SUMMING_CALLS | DOT)[call](delayed(MASKED)))


def test_columns_without_a_real_dtype_are_named() -> None:
    table = pd.DataFrame({"length": [1.0], "kind": ["a"], "day": [pd.Timestamp(0)]})
    with pytest.raises(TypeError, match=r"leave 'kind', 'day' out, or convert text by pandas\.get_dummies"):
        nnk.softmax(table)


@pytest.mark.parametrize("library", ["astropy", "pint"])
@pytest.mark.parametrize("call", CALLS | DOT)
def test_units_of_blocks_are_refused(call: str, library: str) -> None:
    quantity = with_units()[library]
    for lazy in (delayed(quantity), da.from_array(quantity, asarray=False)):
        with pytest.raises(TypeError):
            np.asarray((CALLS | DOT)[call](lazy))


# --- pandas' labels ---


@pytest.mark.parametrize("kind", PANDAS)
@pytest.mark.parametrize("function", [*ELEMENTWISE, *ALONG_AXIS, partial(nnk.softmax, axis=None)])
def test_labels_are_kept(function: Function, kind: str) -> None:
    argument, array = PANDAS[kind]
    argument.attrs["source"] = "here"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 3 warns when it compares float16
        if argument.ndim == 1:
            expected: Any = pd.Series(function(array), argument.index, name="name")
            pd.testing.assert_series_equal(function(argument), expected, check_exact=True)
        else:
            expected = pd.DataFrame(function(array), argument.index, argument.columns)
            pd.testing.assert_frame_equal(function(argument), expected, check_exact=True)
    assert function(argument).attrs == {"source": "here"}


class Frame(pd.DataFrame):
    """A subclass as pandas documents it."""

    @property
    def _constructor(self) -> type["Frame"]:
        return Frame


def test_subclasses_of_pandas_are_kept() -> None:
    for function in (nnk.softmax, nnk.tanh):
        for columns in (frame(a=[1.0, 2.0]), of_dtypes("Int64")):
            assert type(function(Frame(columns))) is Frame


@pytest.mark.parametrize("function", ALONG_AXIS)
@pytest.mark.parametrize("axis", [-2, -1, 0, 1, (0, 1), None])
def test_axis_of_a_data_frame(function: Function, axis: Any) -> None:
    argument, array = PANDAS["frame of int64"]
    expected = pd.DataFrame(function(array, axis), argument.index, argument.columns)
    pd.testing.assert_frame_equal(function(argument, axis=axis), expected, check_exact=True)


def test_columns_of_several_dtypes_of_numpy_stay_columns() -> None:
    columns = pd.DataFrame({"whole": [1, 2], "single": np.array([3, 4], np.float32), "double": [0.5, 0.25]})
    pd.testing.assert_frame_equal(nnk.softmax(columns), pd.DataFrame(nnk.softmax(columns.to_numpy()), columns=columns.columns))
    assert list(nnk.tanh(columns).dtypes) == [np.float64, np.float32, np.float64]
    assert list(nnk.relu(columns).dtypes) == [np.int64, np.float32, np.float64]


def test_functions_that_leave_the_labels_behind() -> None:
    argument, array = PANDAS["frame of float32"]
    bias = np.arange(4, dtype=np.float32)
    for actual, expected in [
        (nnk.logsumexp(argument), nnk.logsumexp(array)),
        (nnk.logsumexp(argument, axis=0, keepdims=True), nnk.logsumexp(array, axis=0, keepdims=True)),
        (nnk.dense(argument, pd.DataFrame(WEIGHTS), pd.Series(bias)), nnk.dense(array, WEIGHTS, bias)),
        (NETWORK(argument), NETWORK(array)),
    ]:
        assert type(actual) is np.ndarray
        assert same_bits(actual, expected)


@pytest.mark.filterwarnings("ignore:Concatenating sparse arrays:pandas.errors.PerformanceWarning")
@pytest.mark.filterwarnings("ignore:Constructing SparseArray with scalar data:FutureWarning")
@pytest.mark.parametrize("kind", PANDAS)
@pytest.mark.parametrize("as_x", [True, False])
def test_dot_of_pandas_objects_is_left_to_pandas(kind: str, as_x: bool) -> None:
    argument, array = PANDAS[kind]
    weights = np.array([0.5, 2.0])

    def outcome(function: Function) -> Any:
        try:
            return function(argument, weights) if as_x else function(weights, argument)
        except Exception as error:
            return error

    ours, numpys = outcome(nnk.dot), outcome(np.vecdot)
    if getattr(numpys, "dtype", np.dtype(object)) == np.dtype(object):
        assert isinstance(ours, TypeError | ValueError)
    else:
        assert type(ours) is type(numpys)
        np.testing.assert_allclose(ours, numpys, rtol=1e-6)
        np.testing.assert_allclose(ours, np.dot(array, weights), rtol=1e-6)


# --- Dask ---


def too_early(*_: object, **__: object) -> None:
    message = "computed before it was asked for"
    raise AssertionError(message)


def check_lazy(function: Function, x: Array, chunks: Any, expected_chunks: Any = None) -> None:
    """Check that a function of a Dask array is lazy, with the same bits as for NumPy arrays."""
    expected = function(x)
    with dask.config.set(scheduler=too_early):
        lazy = function(da.from_array(x, chunks=chunks))
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
    if expected_chunks is not None:
        assert lazy.chunks == expected_chunks
    delayed = lazy.to_delayed()
    for index in np.ndindex(delayed.shape):
        part = np.asarray(delayed[index].compute(scheduler="synchronous"))
        assert part.shape == tuple(lengths[number] for lengths, number in zip(lazy.chunks, index, strict=True))
        assert part.dtype == lazy.dtype
    assert same_bits(np.asarray(lazy.compute(scheduler="threads")), expected)


@pytest.mark.parametrize("chunks", [(12, 6), (5, 6), (1, 6), (7, 4)], ids=str)
@pytest.mark.parametrize("function", ELEMENTWISE)
def test_dask_elementwise(function: np.ufunc, chunks: tuple[int, int], x: Array) -> None:
    check_lazy(function, x, chunks)


@pytest.mark.parametrize(
    ("rows", "dtype"),
    [
        *((5, dtype) for dtype in (np.float16, np.float32, np.float64, np.int8, np.int64, ml_dtypes.bfloat16)),
        (12, np.float32),
        (1, np.float32),
    ],
)
def test_dask_rows(rows: int, dtype: Any, x: Array, weights: Array, network: nnk.Network) -> None:
    x = (4 * x).astype(dtype)
    one, bias = weights[0], weights[:, 0]
    for function in (
        *ELEMENTWISE,
        *ALONG_AXIS,
        nnk.logsumexp,
        partial(nnk.logsumexp, keepdims=True),
        *(partial(function, dtype=dtype) for function in (*ALONG_AXIS, nnk.logsumexp) for dtype in ("e", "f", "d")),
        lambda x: nnk.dot(x, one),
        lambda x: nnk.dense(x, weights),
        lambda x: nnk.dense(x, weights, 0.5),
        lambda x: nnk.dense(x, one, 0.5, activation="sigmoid"),
        *(partial(nnk.dense, weights=weights, bias=bias, activation=activation) for activation in ACTIVATIONS),
        network,
    ):
        check_lazy(function, x, (rows, 6))


@pytest.mark.parametrize("function", [*ALONG_AXIS, nnk.logsumexp, partial(nnk.logsumexp, keepdims=True)])
def test_dask_other_axes(function: Function, x: Array) -> None:
    for columns in (6, 4, 1):
        check_lazy(partial(function, axis=0), x, (12, columns))
    x = np.stack([x, x[::-1], x * 2])
    check_lazy(partial(function, axis=(0, -1)), x, (3, 5, 6))
    check_lazy(partial(function, axis=(1,)), x, (2, 12, 1))
    check_lazy(partial(function, axis=None), x, (3, 12, 6))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint16])
@pytest.mark.parametrize("wanted", ["e", "f", "d", "i4", "g", "D"])
@pytest.mark.parametrize("function", [*ELEMENTWISE, nnk.dot], ids=str)
def test_dask_computes_in_the_dtype_asked_for(function: np.ufunc, wanted: str, dtype: Any) -> None:
    x = np.linspace(0, 100, 36, dtype=dtype).reshape(6, 6)
    weights = np.full(6, 30.0)
    calls: list[Function] = [partial(function, dtype=wanted)]
    if function is nnk.dot:
        calls = [lambda x: nnk.dot(x, weights, dtype=wanted), lambda x: nnk.dot(weights, x, dtype=wanted)]
    for call in calls:
        try:
            call(x)
        except TypeError as error:  # no kernel for the dtype, or not a same_kind cast
            with pytest.raises(TypeError, match=re.escape(str(error))):
                call(da.from_array(x, chunks=(2, 6)))
        else:
            check_lazy(call, x, (2, 6))
    with pytest.raises(TypeError, match="positional"):
        function(dtype=wanted)


def test_dask_network_keeps_the_chunks_of_a_batch(x: Array, network: nnk.Network) -> None:
    cube = x.reshape(2, 6, 6)
    check_lazy(network, x, (5, 6), ((5, 5, 2), (3,)))
    check_lazy(network, cube, (1, 4, 6), ((1, 1), (4, 2), (3,)))
    check_lazy(network, x[0], 6, ((3,),))
    one = nnk.Network([nnk.Dense(x[0], 0.5, "sigmoid")])
    check_lazy(one, x, (5, 6), ((5, 5, 2),))
    check_lazy(one, cube, (1, 4, 6), ((1, 1), (4, 2)))
    check_lazy(one, x[0], 6, ())
    lazy = da.from_array(x, chunks=(5, 6))
    assert same_bits(network(lazy[lazy[:, 0] > 0]).compute(), network(x[x[:, 0] > 0]))  # chunks of unknown length


def test_dask_network_in_other_processes(x: Array, network: nnk.Network) -> None:
    lazy = network(da.from_array(x, chunks=(5, 6)))
    assert same_bits(lazy.compute(scheduler="processes", num_workers=1), network(x))


def test_map_blocks_with_a_network(x: Array, network: nnk.Network) -> None:
    lazy = da.from_array(x, chunks=(5, 6)).map_blocks(network, dtype=network.dtype, chunks=(5, 3))
    assert same_bits(lazy.compute(scheduler="threads"), network(x))


@pytest.mark.parametrize("call", [call for call in (*SUMMING_CALLS, *DOT) if not call.startswith("Dense")])
def test_dask_refuses_a_row_in_several_chunks(call: str) -> None:
    message = "chunksize" if call == "dot, w" else r"rechunk"  # Dask's own message if two arguments differ
    with pytest.raises(ValueError, match=message):
        (SUMMING_CALLS | DOT)[call](da.from_array(np.ones((2, 2), np.float32), chunks=(2, 1)))


def test_dask_lengths_that_nobody_knows(x: Array, weights: Array, network: nnk.Network) -> None:
    rows, columns = da.from_array(weights, chunks=(2, 6)), da.from_array(x, chunks=(5, 6))
    rows, columns = rows[rows[:, 0] > 0], columns[:, columns[0] > 0]
    for call in (
        lambda: nnk.dense(x, rows),
        lambda: nnk.dense(x, rows, 0.5),
        lambda: nnk.dense(x, weights, rows[:, 0]),
        lambda: nnk.dense(columns, weights),
        lambda: nnk.dense(columns, weights[0], 0.5),
        lambda: network(columns),
    ):
        with pytest.raises(ValueError, match=r"unknown chunk sizes.*compute_chunk_sizes\(\)"):
            call()
    known = rows.compute_chunk_sizes().rechunk(-1)
    assert same_bits(nnk.dense(x, known).compute(), nnk.dense(x, known.compute()))
    batch = da.from_array(x, chunks=(5, 6))
    assert same_bits(nnk.dense(batch[batch[:, 0] > 0], weights).compute(), nnk.dense(x[x[:, 0] > 0], weights))


def test_what_dask_arrays_do_not_take(x: Array, network: nnk.Network) -> None:
    lazy = da.from_array(x, chunks=(5, 6))
    for function in (*ALONG_AXIS, nnk.logsumexp, network, partial(nnk.dense, weights=x)):
        for out in (np.empty((12, 6), np.float32), lazy):
            with pytest.raises(TypeError, match="out"):
                function(lazy, out=out)
        with pytest.raises(TypeError, match="complex64"):
            function(lazy.astype(np.complex64))
    for function in (*ALONG_AXIS, nnk.logsumexp):
        with pytest.raises(TypeError, match="float16, float32 or float64"):
            function(lazy, dtype=int)
        with pytest.raises(ValueError, match="axis 2"):
            function(lazy, axis=2)
    with pytest.raises(ValueError, match=r"^Network: the last axis of x must have 6 elements; .*\(12, 5\)"):
        network(lazy[:, :5])


def test_layer_of_dask_arrays(x: Array, weights: Array) -> None:
    layer = nnk.Dense(da.from_array(weights), da.from_array(weights[:, 0]))
    assert same_bits(layer.weights, weights)
    lazy = nnk.dense(x, da.from_array(weights), da.from_array(weights[:, 0]), activation="tanh")
    assert isinstance(lazy, da.Array)
    assert same_bits(lazy.compute(), nnk.dense(x, weights, weights[:, 0], activation="tanh"))


@pytest.mark.parametrize("call", CALLS | DOT)
def test_dask_data_frames(call: str) -> None:
    whole = of_dtypes("Int64", "float64", "bool").reset_index(drop=True)
    for argument in (whole, whole["column 0"]):
        lazy = dd.from_pandas(argument, npartitions=2)
        if call in ELEMENTWISE_CALLS:
            result = CALLS[call](lazy)
            assert result.npartitions == 2
            assert result.compute().equals(CALLS[call](argument))
        else:
            with pytest.raises(TypeError, match=r"map_partitions.*to_dask_array"):
                (CALLS | DOT)[call](lazy)


def test_map_partitions() -> None:
    whole = of_dtypes("Int64", "float64").reset_index(drop=True)
    lazy = dd.from_pandas(whole, npartitions=2)
    pd.testing.assert_frame_equal(lazy.map_partitions(nnk.softmax).compute(), nnk.softmax(whole))
    assert same_bits(np.asarray(lazy.map_partitions(NETWORK).compute()), NETWORK(whole))


# --- Outputs and axes, for all kinds of arguments ---


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        *((function, (12, 6)) for function in (*ELEMENTWISE, *ALONG_AXIS)),
        (partial(nnk.softmax, axis=None), (12, 6)),
        (nnk.logsumexp, (12,)),
        (partial(nnk.logsumexp, axis=(0, 1)), ()),
        (lambda x, out: nnk.dot(x, x[0], out=out), (12,)),
        (lambda x, out: nnk.dense(x, x[:4], x[:4, 0], out=out), (12, 4)),
        (lambda x, out: nnk.dense(x, x[0], 0.5, out=out), (12,)),
        (lambda x, out: nnk.Network([nnk.Dense(x[:4])])(x, out), (12, 4)),
    ],
)
def test_output_in_a_tuple(function: Function, shape: tuple[int, ...], x: Array) -> None:
    expected, out = np.empty(shape, np.float32), np.empty(shape, np.float32)
    function(x, out=expected)
    assert function(x, out=(out,)) is out
    assert same_bits(out, expected)


@pytest.mark.parametrize("function", [*ALONG_AXIS, nnk.logsumexp])
def test_errors_of_outputs_name_the_function(function: Function, x: Array) -> None:
    for axis in (None, (0, 1)):
        shape = () if function is nnk.logsumexp else x.shape
        with pytest.raises(TypeError, match=f"'{function.__name__}' output"):
            function(x, axis, out=np.empty(shape, int))


@pytest.mark.parametrize("axis", [True, np.True_, (True,), (np.True_, 0), [0], [], "0", 0.0, (0.0,), (None,)], ids=repr)
@pytest.mark.parametrize("function", [*ALONG_AXIS, nnk.logsumexp])
def test_axes_are_integers(function: Function, axis: Any) -> None:
    for argument in (np.ones((2, 3)), [[1.0, 2.0]], da.ones((2, 3)), pd.DataFrame(np.ones((2, 3)))):
        with pytest.raises(TypeError, match=r"axis an integer, a tuple of integers or None \(got "):
            function(argument, axis=axis)


@pytest.mark.parametrize("keepdims", [False, True])
def test_matrices_along_several_axes(keepdims: bool, x: Array) -> None:
    matrix = x.view(np.matrix)
    for axes, axis in (((1,), 1), ((0,), 0)):
        actual, expected = (nnk.logsumexp(matrix, place, keepdims=keepdims) for place in (axes, axis))
        assert (type(actual), actual.shape) == (type(expected), expected.shape)
        assert same_bits(np.asarray(actual), np.asarray(expected))
    assert nnk.logsumexp(matrix, None, keepdims=keepdims).shape == (1, 1)
    assert nnk.softmax(matrix, None).shape == x.shape


# --- xarray, subclasses, other objects ---


@pytest.mark.parametrize("function", [*ELEMENTWISE, *ALONG_AXIS])
def test_xarray_keeps_its_labels(function: Function, x: Array) -> None:
    array = xr.DataArray(x, dims=("sample", "feature"), coords={"sample": np.arange(12)}, name="x")
    xr.testing.assert_identical(function(array), array.copy(data=function(x)))
    lazy = function(array.chunk({"sample": 5}))
    assert lazy.chunks == ((5, 5, 2), (6,))
    xr.testing.assert_identical(lazy.compute(), array.copy(data=function(x)))


@pytest.mark.parametrize("function", ALONG_AXIS)
def test_xarray_along_a_dimension(function: Function, x: Array) -> None:
    array = xr.DataArray(x, dims=("sample", "feature"), coords={"sample": np.arange(12)})
    along = xr.apply_ufunc(function, array, input_core_dims=[["feature"]], output_core_dims=[["feature"]])
    xr.testing.assert_identical(along, array.copy(data=function(x)))


def test_xarray_network(x: Array, network: nnk.Network) -> None:
    array = xr.DataArray(x.reshape(4, 3, 6), dims=("run", "sample", "feature"))
    result = xr.apply_ufunc(network, array, input_core_dims=[["feature"]], output_core_dims=[["label"]])
    assert result.dims == ("run", "sample", "label")
    assert same_bits(result.to_numpy(), network(x).reshape(4, 3, 3))
    assert same_bits(network(array), network(x).reshape(4, 3, 3))
    assert isinstance(network(array.chunk({"run": 1})), da.Array)


class Labelled(np.ndarray):
    """A subclass that passes its label on to results."""

    label: str

    def __array_finalize__(self, source: object) -> None:
        self.label = getattr(source, "label", "none")


def test_subclasses_come_back_as_such(x: Array, weights: Array) -> None:
    labelled = x.view(Labelled)
    labelled.label = "mine"
    for function in (
        *ELEMENTWISE,
        *ALONG_AXIS,
        partial(nnk.softmax, axis=(0, 1)),
        nnk.logsumexp,
        lambda x: nnk.dot(x, weights[0]),
        lambda x: nnk.dense(x, weights, activation="tanh"),
        lambda x: nnk.dense(x, weights[0], 1.5),
    ):
        result = function(labelled)
        assert type(result) is Labelled
        assert result.label == "mine"
        assert same_bits(result.view(np.ndarray), function(x))
    assert type(nnk.tanh(labelled, subok=False)) is np.ndarray


def test_network_takes_subclasses_for_arrays(x: Array, network: nnk.Network) -> None:
    out = np.empty((12, 3), np.float32).view(Labelled)
    assert type(network(x.view(Labelled))) is np.ndarray
    assert network(x.view(Labelled), out) is out
    assert same_bits(out.view(np.ndarray), network(x))


class Recorder:
    """An object with __array_ufunc__, which records its calls."""

    ndim = 2
    shape = (12, 6)
    dtype = np.dtype(np.float32)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **keywords: object) -> tuple[Any, ...]:
        return ufunc, method, [type(operand) for operand in inputs], keywords


def test_objects_with_array_ufunc_are_asked(weights: Array) -> None:
    recorder: Any = Recorder()
    bias = weights[:, 0]
    assert nnk.tanh(recorder) == (nnk.tanh, "__call__", [Recorder], {})
    assert nnk.softmax(recorder) == (_core.softmax, "__call__", [Recorder], {"axis": -1})
    assert nnk.log_softmax(recorder, 0, dtype="f8") == (_core.log_softmax, "__call__", [Recorder], {"axis": 0, "dtype": "f8"})
    assert nnk.logsumexp(recorder, keepdims=True)[3] == {"axis": -1, "keepdims": True}
    assert nnk.dot(weights, recorder) == (nnk.dot, "__call__", [np.ndarray, Recorder], {})
    asked = nnk.dense(recorder, weights, bias, activation="relu")
    assert asked == (_core.dense_relu, "__call__", [Recorder, np.ndarray, np.ndarray], {})


class Unwilling:
    __array_ufunc__ = None


@pytest.mark.parametrize("call", CALLS)
def test_objects_that_refuse_ufuncs(call: str) -> None:
    with pytest.raises((TypeError, ValueError), match="Unwilling"):
        CALLS[call](Unwilling())


def test_plain_arrays_stay_themselves(x: Array) -> None:
    assert as_array(x) is x


@pytest.mark.parametrize("plain", [True, 1, 1.0, np.True_, np.float16(1), [1.0], (1.0,), np.ones(3)], ids=repr)
def test_plain_arguments_are_not_converted(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnkernels.arrays.operands", too_early)
    for function in ELEMENTWISE:
        function(plain)
    if np.ndim(plain) > 0:
        nnk.dot(plain, plain)
