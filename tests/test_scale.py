"""Scale: the bits of float64 NumPy in every place; files, arguments, gradients, training."""

import copy
import json
import pickle
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import nnkernels as nnk
from conftest import DTYPES
from corpus import Array, anything, numbers
from nnkernels import _core
from safetensors_files import put_together, take_apart
from test_gradients import differences
from ulp import same_bits, ulp_error

Layers = list[nnk.Dense | nnk.Scale]

REAL = "?bBhHiIlLqQefd"
FLOAT64 = np.dtype(np.float64).num


def by_numpy(x: Array, scale: nnk.Scale, dtype: Any) -> Array:
    with np.errstate(all="ignore"):
        return ((x.astype(np.float64) - scale.offset) * scale.scale).astype(dtype)


def chained(layers: Layers, x: Array, dtype: Any) -> Array:
    """Compute the forward pass by NumPy and ``dense``. Only a first Scale takes unrounded x."""
    if isinstance(layers[0], nnk.Dense):
        x = x.astype(dtype)
    for layer in layers:
        if isinstance(layer, nnk.Scale):
            x = by_numpy(x, layer, dtype)
        else:
            x = nnk.dense(x, layer.weights, layer.bias, activation=layer.activation)
    return x


def some_scale(n: int, seed: int = 1) -> nnk.Scale:
    return nnk.Scale(numbers(float, n, seed=seed), numbers(float, n, seed=seed + 1))


def some_dense(dtype: Any, outputs: int, inputs: int, activation: str | None = None) -> nnk.Dense:
    return nnk.Dense(numbers(dtype, outputs, inputs, seed=3) / 16, numbers(dtype, outputs, seed=4), activation)


def some_numbers(code: Any, *shape: int) -> Array:
    """Return numbers of a real dtype: random bits; for floats, only every third number."""
    dtype = np.dtype(code)
    if dtype.kind == "f":
        array = numbers(dtype, *shape)
        array[..., ::3] = anything(dtype, *shape)[..., ::3]
        return array
    return anything(np.uint8, *shape) > 100 if dtype.kind == "b" else anything(dtype, *shape)


@pytest.fixture(autouse=True)
def nan_may_signal() -> Iterator[None]:
    """Ignore NumPy's warnings for signaling NaNs, which random bits contain."""
    with np.errstate(invalid="ignore"):
        yield


# --- The bits of NumPy ---


@pytest.mark.parametrize("code", ["f", "d"])
def test_all_lengths(code: str, dtype: type[np.floating]) -> None:
    all_numbers = some_numbers(code, 71 * 71)
    for n in range(71):
        scale = some_scale(n)
        net = nnk.Network([scale], dtype)
        for rows in range(71):
            x = all_numbers[: rows * n].reshape(rows, n)
            assert same_bits(net(x), by_numpy(x, scale, dtype)), (rows, n)


@pytest.mark.parametrize("n", [127, 128, 129, 255, 256, 257, 300, 784, 1100, 3000])
@pytest.mark.parametrize("code", ["f", "d"])
def test_long_rows(n: int, code: str, dtype: type[np.floating]) -> None:
    for rows in (1, 2, 9):
        x = some_numbers(code, rows, n)
        assert same_bits(nnk.Network([some_scale(n)], dtype)(x), by_numpy(x, some_scale(n), dtype))


@pytest.mark.parametrize("code", REAL)
def test_each_dtype_of_x(code: str, dtype: type[np.floating]) -> None:
    x = some_numbers(code, 40, 7)
    layers: Layers = [some_scale(7), some_dense(dtype, 5, 7, "tanh")]
    for several in (layers[:1], layers):
        net = nnk.Network(several, dtype)
        for part in (x, x[:3], x[0]):
            assert same_bits(net(part), chained(several, part, dtype))


PLACES: dict[str, Callable[[Any, int], Layers]] = {
    "alone": lambda dtype, n: [some_scale(n)],
    "several alone": lambda dtype, n: [some_scale(n), some_scale(n, 5), some_scale(n, 7)],
    "first": lambda dtype, n: [some_scale(n), some_dense(dtype, 5, n, "relu")],
    "twice first": lambda dtype, n: [some_scale(n), some_scale(n, 5), some_dense(dtype, 5, n, "relu")],
    "between": lambda dtype, n: [some_dense(dtype, 5, n, "tanh"), some_scale(5), some_dense(dtype, 3, 5, "softmax")],
    "last": lambda dtype, n: [some_dense(dtype, 5, n, "softmax"), some_scale(5)],
    "twice last": lambda dtype, n: [some_dense(dtype, 5, n, "sigmoid"), some_scale(5), some_scale(5, 8)],
    "everywhere": lambda dtype, n: [
        some_scale(n), some_dense(dtype, 19, n, "tanh"), some_scale(19), some_dense(dtype, 5, 19), some_scale(5, 5)
    ],
    "single numbers": lambda dtype, n: [
        nnk.Scale(0.1, 3), some_dense(dtype, 5, n, "tanh"), nnk.Scale(-1, 0.3), some_scale(5), nnk.Scale([0.1], [7])
    ][: 4],
    "after one neuron": lambda dtype, n: [
        some_scale(n), nnk.Dense(numbers(dtype, n), 0.5), nnk.Scale(0.25, 3), nnk.Scale(1, 1.0 / 3)
    ],
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("n", [7, 150], ids=["narrow", "wide"])
def test_places(place: str, n: int, dtype: type[np.floating]) -> None:
    layers = PLACES[place](dtype, n)
    net = nnk.Network(layers, dtype)
    for code in ("d", "f", "e"):
        x = numbers(code, 300, n)
        expected = chained(layers, x, dtype)
        for rows in (1, 2, 5, 15, 16, 17, 33, 64, 100, 300):
            assert same_bits(net(x[:rows]), expected[:rows])
        assert same_bits(net(x[9]), expected[9] if expected.ndim > 1 else dtype(expected[9]))
        assert same_bits(net(x.reshape(2, 75, 2, n)), expected.reshape(2, 75, 2, *expected.shape[1:]))
    assert (net.one_neuron, net.dtype, len(net)) == (place == "after one neuron", dtype, len(layers))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("place", ["alone", "everywhere"])
@pytest.mark.parametrize(("rows", "n"), [(40_000, 4), (9000, 20), (400, 784)])
def test_large_batches_by_threads(place: str, rows: int, n: int, dtype: type[np.floating]) -> None:
    layers = PLACES[place](dtype, n)
    net = nnk.Network(layers, dtype)
    for code in (dtype, np.float64, np.uint8):
        x = some_numbers(code, rows, n) if place == "alone" else numbers(float, rows, n).astype(code)
        expected = chained(layers, x, dtype)
        for threads_used in (1, 2, 7):
            nnk.set_num_threads(threads_used)
            assert same_bits(net(x), expected)


@pytest.mark.each_target
def test_special_numbers(dtype: type[np.floating]) -> None:
    info = np.finfo(dtype)
    least, most = float(info.smallest_subnormal), float(info.max)
    of_x = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, least, -least, float(info.smallest_normal), most, -most, 5e-324, 1e308]
    offsets = [0.0, -0.0, 1.0, least, most, -most, 5e-324, -1e308]
    scales = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, least, most, 1e-308, 1e308, 5e-324]
    x, offset, scale = map(np.ravel, np.meshgrid(of_x, offsets, scales))
    description = nnk.Scale(offset, scale)
    net = nnk.Network([description], dtype)
    with np.errstate(all="ignore"):
        inputs = (x, x.astype(dtype), x.astype(np.float32))
    for given_x in inputs:
        with np.errstate(all="raise"):  # silent, like a layer that overflows
            result = net(given_x)
        expected = by_numpy(given_x, description, dtype)
        assert same_bits(result, expected)
        assert same_bits(np.signbit(result)[~np.isnan(result)], np.signbit(expected)[~np.isnan(expected)])


@pytest.mark.each_target
def test_a_half_is_rounded_once() -> None:
    """A result just above the midpoint of two halves, to which a float would round it."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(float)
    middles = (halves[1:] + halves[:-1]) / 2
    x = np.concatenate([sign * middles * (1 + tiny) for sign in (1, -1) for tiny in (0, 2.0**-40, -(2.0**-40))])
    with np.errstate(over="ignore"):
        correct, twice = x.astype(np.float16), x.astype(np.float32).astype(np.float16)
    assert np.count_nonzero(correct != twice) > 30_000
    n = len(x)
    for scale in (nnk.Scale(np.zeros(n), np.ones(n)), nnk.Scale(np.ones(n), np.ones(n)), nnk.Scale(0 * x, 0.5 + 0 * x)):
        for rows in (x, x[:, np.newaxis].T, np.stack([x] * 3)):
            with np.errstate(over="ignore"):
                before = rows / scale.scale + scale.offset
            result = nnk.Network([scale], np.float16)(before)
            assert same_bits(result, by_numpy(before, scale, np.float16))
            if not scale.offset.any():
                assert same_bits(result, np.broadcast_to(correct, rows.shape))
    # 1 + (2**-11 + 2**-40) is nearer to 1 + 2**-10 than to 1.
    one = nnk.Network([nnk.Scale([-(2.0**-11) - 2.0**-40], [1.0])], np.float16)
    assert one(np.ones((20, 1), np.float16)).tolist() == [[1 + 2.0**-10]] * 20
    # After a dense layer, where lanes would hold floats.
    after = nnk.Network([nnk.Dense(np.eye(1, dtype=np.float16)), nnk.Scale([-(2.0**-11) - 2.0**-40], [1.0])])
    assert after(np.ones((200, 1))).tolist() == [[1 + 2.0**-10]] * 200


def test_x_of_float64_is_not_rounded_before(rng: np.random.Generator) -> None:
    offset = 1e5 + rng.normal(0, 1, 20)
    net = nnk.Network([nnk.Scale(offset, np.ones(20)), nnk.Dense(np.eye(20, dtype=np.float32))])
    x = offset + rng.normal(0, 1e-3, (300, 20))
    exact = x.astype(np.longdouble) - offset
    assert net.dtype == np.float32
    assert ulp_error(net(x), exact).max() <= 1
    assert ulp_error(net(x.astype(np.float32)), exact).max() > 1000
    seconds = 1_700_000_000 + np.arange(20)  # integers that are not exact in float32
    assert nnk.Network([nnk.Scale([1.7e9], [1.0])], np.float32)(seconds[:, np.newaxis]).ravel().tolist() == list(range(20))


# --- Layouts, other kinds of arrays, out ---


def misaligned(array: Array) -> Array:
    return np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array: Array) -> Array:
    memory = np.zeros([3 * length for length in array.shape], array.dtype)[(slice(None, None, 3),) * array.ndim]
    memory[...] = array
    return memory


def rows_apart(array: Array) -> Array:
    memory = np.zeros((*array.shape[:-1], array.shape[-1] + 5), array.dtype)[..., : array.shape[-1]]
    memory[...] = array
    return memory


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": strided,
    "rows apart": rows_apart,
    "negative strides": lambda array: np.flip(np.flip(array).copy()),
    "read-only": read_only,
    "byteswapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "misaligned": misaligned,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["alone", "first", "everywhere"])
def test_layouts(layout: str, place: str, dtype: type[np.floating]) -> None:
    for n, rows in ((6, 60), (140, 9), (3, 1)):
        layers = PLACES[place](dtype, n)
        net = nnk.Network(layers, dtype)
        for code in "fdeh":
            x = numbers(float, rows, n).astype(code)
            laid_out, expected = LAYOUTS[layout](x), chained(layers, x, dtype)
            assert same_bits(net(laid_out), expected)
            assert same_bits(net(laid_out[0]), expected[0])
            broadcast = np.broadcast_to(laid_out[:1], x.shape)
            assert same_bits(net(broadcast), np.broadcast_to(expected[:1], expected.shape))
            transposed = nnk.Network([some_scale(rows)], dtype)
            assert same_bits(transposed(laid_out.T), by_numpy(x.T, some_scale(rows), dtype))


@pytest.mark.parametrize("code", DTYPES)
def test_out(code: type[np.floating], dtype: type[np.floating]) -> None:
    scale = some_scale(6)
    net = nnk.Network([scale], dtype)
    x = numbers(code, 40, 6)
    expected = by_numpy(x, scale, dtype)
    for out in (np.empty((40, 6), dtype), np.empty((40, 12), dtype)[:, ::-2], np.empty((6, 40), dtype).T):
        assert net(x, out) is out
        assert same_bits(np.ascontiguousarray(out), expected)
    for other_dtype in DTYPES:
        out = np.empty((40, 6), other_dtype)
        assert net(x, out=out) is out
        assert same_bits(out, expected.astype(other_dtype))
    for shift in range(-7, 8):  # out overlaps x, by whole rows and by parts of rows
        memory = np.zeros(2 * 7 + x.size, code)
        rows = memory[7:-7].reshape(x.shape)
        rows[...] = x
        out = memory[7 + shift : 7 + shift + x.size].reshape(x.shape)
        assert net(rows, out=out) is out
        assert same_bits(out, expected.astype(code))
    if code is not np.float64:
        with pytest.raises(TypeError, match="same_kind"):
            net(x, out=np.empty((40, 6), int))


def test_arrays_of_others(dtype: type[np.floating]) -> None:
    layers = PLACES["everywhere"](dtype, 6)
    net = nnk.Network(layers, dtype)
    x = numbers(float, 50, 6)
    expected = chained(layers, x, dtype)
    assert same_bits(net(x.tolist()), expected)
    assert same_bits(net(pd.DataFrame(x)), expected)
    frame = pd.DataFrame({"a": [1, 2], "b": [0.1, 0.3], **{name: [True, False] for name in "cdef"}})
    assert same_bits(net(frame), chained(layers, frame.to_numpy(float), dtype))
    lazy = net(da.from_array(x, chunks=((1, 20, 29), -1)))
    assert isinstance(lazy, da.Array)
    assert lazy.dtype == dtype
    assert same_bits(lazy.compute(), expected)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_shapes(data: st.DataObject) -> None:
    dtype, code = (data.draw(st.sampled_from(DTYPES)) for _ in range(2))
    leading = data.draw(st.lists(st.integers(0, 9), max_size=3))
    widths = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=3))
    layers: Layers = []
    for index, width in enumerate(widths):
        if index:
            layers.append(some_dense(dtype, width, widths[index - 1], data.draw(st.sampled_from([None, "relu", "softmax"]))))
        count = data.draw(st.integers(0 if index else 1, 2))
        layers += [some_scale(width, data.draw(st.integers(0, 99))) for _ in range(count)]
    x = LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))](numbers(code, *leading, widths[0]))
    expected = chained(layers, x.reshape(-1, widths[0]) if x.size else np.empty((int(np.prod(leading)), widths[0])), dtype)
    with np.errstate(all="ignore"):
        assert same_bits(np.asarray(nnk.Network(layers, dtype)(x)), expected.reshape(*leading, widths[-1]))


# --- Files, pickles, arguments ---


def same_layers(a: nnk.Network, b: nnk.Network) -> bool:
    for one, other in zip(a.layers, b.layers, strict=True):
        if isinstance(one, nnk.Scale) != isinstance(other, nnk.Scale):
            return False
        names = ("offset", "scale") if isinstance(one, nnk.Scale) else ("weights", "bias")
        if not all(same_bits(getattr(one, name), getattr(other, name)) for name in names):
            return False
    return a.dtype == b.dtype


@pytest.mark.parametrize("place", PLACES)
def test_files_and_pickles(place: str, dtype: type[np.floating], tmp_path: Path) -> None:
    layers = PLACES[place](dtype, 7)
    net = nnk.Network(layers, dtype, {"classes": "a,b"})
    x = numbers(float, 40, 7)
    path = tmp_path / "net"
    net.save(path)
    written = path.read_bytes()
    for other in (nnk.load(path), pickle.loads(pickle.dumps(net)), copy.deepcopy(net), nnk.Network(net.layers, net.dtype)):
        assert same_layers(other, net)
        assert same_bits(other(x), net(x))
        assert repr(other) == repr(net)
    nnk.load(path).save(path)
    assert path.read_bytes() == written
    header, _ = take_apart(written)
    metadata: Any = header.pop("__metadata__")
    kinds = ["scale" if isinstance(layer, nnk.Scale) else layer.activation or "none" for layer in layers]
    alone = {"nnkernels.dtype": np.dtype(dtype).name} if "alone" in place else {}
    assert metadata == {"nnkernels.activations": ",".join(kinds), "classes": "a,b", **alone}
    for index, layer in enumerate(layers):
        if isinstance(layer, nnk.Scale):
            assert header[f"layers.{index}.offset"]["dtype"] == header[f"layers.{index}.scale"]["dtype"] == "F64"


def scale_file(**changes: Any) -> bytes:
    """Return a file of a Scale of 3 inputs, with changed tensors or metadata."""
    tensors = {"offset": np.ones(3), "scale": np.ones(3)}
    metadata = {"nnkernels.activations": "scale", "nnkernels.dtype": "float32"}
    for name, value in changes.items():
        of = tensors if name in tensors else metadata
        key = name if name in tensors else f"nnkernels.{name}"
        of.pop(key) if value is None else of.update({key: value})  # type: ignore[attr-defined]
    return safetensors.numpy.save({f"layers.0.{name}": array for name, array in tensors.items()}, metadata)


def test_a_file_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(scale_file(offset=np.array([1, 2, 3], np.float32)))
    net = nnk.load(path)
    assert net.dtype == np.float32
    assert net([1, 2, 4]).tolist() == [0, 0, 1]
    path.write_bytes(scale_file(dtype="float16"))
    assert nnk.load(path).dtype == np.float16


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": None},
        {"scale": None},
        {"offset": np.ones(4)},
        {"offset": np.ones((3, 3))},
        {"offset": np.array([1, np.nan, 1])},
        {"scale": np.array([1, 1, np.inf])},
        {"offset": np.array(1.0), "scale": np.array(1.0)},
        {"dtype": None},
        {"dtype": "float128"},
        {"dtype": "int8"},
        {"dtype": "float32 "},
        {"dtype": ""},
        {"activations": "scale,scale"},
        {"activations": "none"},
        {"activations": "Scale"},
    ],
    ids=str,
)
def test_a_hostile_file(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(scale_file(**changes))
    with pytest.raises(ValueError, match=r"bad\.safetensors"):
        nnk.load(path)


def test_a_truncated_or_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    whole = scale_file()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"bad\.safetensors"):
            nnk.load(path)
    header, data = take_apart(whole)
    for dtype in ("BF16", "BOOL", "C64", "F8_E4M3"):
        changed: Any = json.loads(json.dumps(header))
        changed["layers.0.offset"]["dtype"] = dtype
        path.write_bytes(put_together(changed, data))
        with pytest.raises(ValueError, match=r"bad\.safetensors"):
            nnk.load(path)


def test_attributes() -> None:
    offset = np.array([1.0, 2.0], np.float32)
    scale = nnk.Scale(offset, 3)
    assert (scale.offset.dtype, scale.scale.tolist(), scale.inputs) == (np.float64, [3, 3], 2)
    assert repr(scale) == "Scale(inputs=2)"
    assert repr(nnk.Scale(1, 2)) == "Scale(inputs=None)"
    offset[...] = 7
    assert scale.offset.tolist() == [1, 2]
    for array in (scale.offset, scale.scale):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(AttributeError, match=r"Scale is frozen.*offset"):
        scale.offset = offset
    with pytest.raises(AttributeError, match="Scale is frozen"):
        del scale.scale
    with pytest.raises(AttributeError):
        scale.extra = 1  # type: ignore[attr-defined]
    assert weakref.ref(scale)() is scale
    for other in (pickle.loads(pickle.dumps(scale)), copy.copy(scale), copy.deepcopy(scale)):
        assert same_bits(other.offset, scale.offset)
        assert same_bits(other.scale, scale.scale)
    single: nnk.Scale = pickle.loads(pickle.dumps(nnk.Scale(1, 2)))
    assert (single.inputs, float(single.offset), float(single.scale)) == (None, 1, 2)


def test_the_network_keeps_its_own_copy() -> None:
    scale = nnk.Scale([1.0, 2.0], [3.0, 4.0])
    net = nnk.Network([scale])
    (layer,) = net.layers
    assert isinstance(layer, nnk.Scale)
    assert not np.shares_memory(layer.offset, scale.offset)
    (wider,) = nnk.Network([nnk.Scale(1, 2), some_dense(float, 2, 3)]).layers[:1]
    assert isinstance(wider, nnk.Scale)
    assert (wider.offset.tolist(), wider.scale.tolist()) == ([1] * 3, [2] * 3)


def test_repr_of_a_network() -> None:
    net = nnk.Network([nnk.Scale(1, 2), nnk.Dense(np.ones((2, 3)), activation="relu"), nnk.Scale([0, 0], 1)])
    assert repr(net) == (
        "Network of 3 layers, float64\n"
        "  layer  inputs  outputs  activation  parameters\n"
        "      1       3        3  (scale)              0\n"
        "      2       3        2  relu                 8\n"
        "      3       2        2  (scale)              0\n"
        "  total                                        8"
    )


@pytest.mark.parametrize(
    ("offset", "scale", "kind", "match"),
    [
        ([1, 2], [1, 2, 3], ValueError, r"\(2,\).*\(3,\)"),
        ([[1, 2]], [1, 2], ValueError, "one axis"),
        (1, [[1, 2]], ValueError, "one axis"),
        ([1, np.nan], 1, ValueError, r"offset\[1\] is nan"),
        (0, [1, 2, np.inf], ValueError, r"scale\[2\] is inf; give a constant column the scale 1"),
        (0, -np.inf, ValueError, r"scale\[0\] is -inf"),
        (1j, 1, TypeError, "complex"),
        (0, ["a"], TypeError, "not a real dtype"),
        (None, 1, TypeError, "not a real dtype"),
        (np.ma.masked_array([1.0], [True]), 1, TypeError, "mask"),
        (0, np.array([1], "m8[s]"), TypeError, "not a real dtype"),
        (0, np.longdouble(1), TypeError, "not a real dtype"),
    ],
    ids=str,
)
def test_wrong_arguments(offset: Any, scale: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=f"(?s){match}"):
        nnk.Scale(offset, scale)


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ([nnk.Scale(0, 1)], "only Scale layers of single numbers"),
        ([nnk.Scale(0, 1), nnk.Scale(2, 1)], "only Scale layers of single numbers"),
        ([nnk.Scale([0, 1], 1), nnk.Scale([0, 1, 2], 1)], "layer 1 has 2 outputs, layer 2 takes 3 inputs"),
        ([nnk.Scale([0, 1], 1), nnk.Scale(0, 1), nnk.Dense(np.ones((2, 3)))], "layer 2 has 2 outputs, layer 3 takes 3 inputs"),
        ([nnk.Dense(np.ones((2, 3))), nnk.Scale([0, 1, 2], 1)], r"2 outputs.*\(2, 3\) before float64 of shape \(3,\)"),
        ([nnk.Dense(np.ones(3)), nnk.Scale([0], 1)], r"one neuron before another layer: give its weights the shape \(1, "),
        ([nnk.Dense(np.ones(3)), nnk.Scale(0, 1), nnk.Dense(np.ones((1, 1)))], "layer 1 is one neuron before another layer"),
    ],
    ids=str,
)
def test_layers_that_do_not_chain(layers: Layers, match: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){match}"):
        nnk.Network(layers)


def test_x_that_does_not_fit() -> None:
    net = nnk.Network([nnk.Scale([0, 1], 1)], np.float32)
    for x in (np.ones(3), np.ones((2, 3)), np.float64(1), np.ones((2, 0))):
        with pytest.raises(ValueError, match=r"\(\.\.\., 2\)"):
            net(x)
    with pytest.raises(TypeError, match="complex"):
        net(np.ones(2) * 1j)
    assert net(np.empty((0, 2))).shape == (0, 2)
    assert net(np.empty((3, 0, 2), int)).shape == (3, 0, 2)


@pytest.mark.parametrize(
    ("layers", "kind"),
    [
        ([(np.ones(2),)], TypeError),
        ([(np.ones(2),) * 3], TypeError),
        ([5], TypeError),
        ([(np.ones(2), np.ones(3))], ValueError),
        ([(np.ones((2, 2)), np.ones(2))], ValueError),
        ([(None, None)], (TypeError, ValueError)),
        ([(np.ones(2), np.ones(2)), (np.ones((2, 3)), np.ones(2), 0, 0.0)], ValueError),
        ([(np.ones((2, 3)), np.ones(2), 13, 0.0)], ValueError),
        ([(np.ones((2, 3)), np.ones(2), 0, 0.0), (np.ones(3), np.ones(3))], ValueError),
    ],
    ids=str,
)
def test_layers_that_cpp_refuses(layers: Any, kind: Any) -> None:
    with pytest.raises(kind):
        _core.Network(layers, FLOAT64, False)


# --- Gradients ---


def scaled_network(rng: np.random.Generator, dtype: Any = float) -> nnk.Network:
    """Return a network of 4 inputs and 3 outputs, with a Scale at each place."""
    return nnk.Network(
        [
            nnk.Scale(rng.normal(0, 1, 4), rng.uniform(0.5, 2, 4)),
            nnk.Scale(0.25, -1.5),
            nnk.Dense(rng.normal(0, 0.5, (5, 4)), rng.normal(0, 1, 5), "tanh"),
            nnk.Scale(rng.normal(0, 1, 5), rng.uniform(0.5, 2, 5)),
            nnk.Dense(rng.normal(0, 0.5, (3, 5)), rng.normal(0, 1, 3), "sigmoid"),
            nnk.Scale(rng.normal(0, 1, 3), rng.uniform(0.5, 2, 3)),
            nnk.Scale(0.5, 3),
        ],
        dtype,
    )


def flat(layers: Any) -> Array:
    arrays = [(layer.weights, layer.bias) for layer in layers if isinstance(layer, nnk.Dense)]
    return np.concatenate([array.ravel() for pair in arrays for array in pair])


def with_weights(net: nnk.Network, values: Array) -> nnk.Network:
    layers, end = list(net.layers), 0
    for index, layer in enumerate(layers):
        if isinstance(layer, nnk.Dense):
            begin, middle, end = end, end + layer.weights.size, end + layer.weights.size + layer.bias.size
            layers[index] = nnk.Dense(values[begin:middle].reshape(layer.weights.shape), values[middle:end], layer.activation)
    return nnk.Network(layers, net.dtype)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson", "cross_entropy", None])
def test_gradient_beside_differences(loss: str | None, rng: np.random.Generator) -> None:
    net = scaled_network(rng)
    x, targets = rng.normal(0, 1, (6, 4)), rng.uniform(0, 1, (6, 3))
    targets = targets / targets.sum(axis=1, keepdims=True)
    value, gradients = net.gradient(x, targets, loss)
    function = getattr(nnk, loss or "squared_error")
    np.testing.assert_allclose(value, function(net(x), targets), rtol=1e-14)
    slopes = differences(lambda values: with_weights(net, values).gradient(x, targets, loss)[0], flat(net.layers))
    assert len(gradients) == 2
    np.testing.assert_allclose(flat(gradients), slopes, rtol=0, atol=1e-7 * np.abs(slopes).max())


def test_backward_beside_differences(rng: np.random.Generator) -> None:
    net = scaled_network(rng)
    x, upstream = rng.normal(0, 1, (6, 4)), rng.normal(0, 1, (6, 3))
    gradients, x_gradient = net.backward(x, upstream)
    by_x = differences(lambda values: (net(values) * upstream).sum(), x)
    np.testing.assert_allclose(x_gradient, by_x, rtol=0, atol=1e-8 * np.abs(by_x).max())
    slopes = differences(lambda values: (with_weights(net, values)(x) * upstream).sum(), flat(net.layers))
    np.testing.assert_allclose(flat(gradients), slopes, rtol=0, atol=1e-8 * np.abs(slopes).max())
    single, single_x = net.backward(x[0], upstream[0])
    assert single_x.shape == (4,)
    assert len(single) == 2


def test_gradient_beside_scales_in_the_weights(rng: np.random.Generator) -> None:
    first, last = (nnk.Scale(rng.normal(0, 1, n), rng.uniform(0.5, 2, n)) for n in (4, 3))
    one, two = (nnk.Dense(rng.normal(0, 0.5, shape), rng.normal(0, 1, shape[0])) for shape in ((5, 4), (3, 5)))
    hidden = nnk.Dense(one.weights, one.bias, "tanh")
    net = nnk.Network([first, hidden, two, last])
    folded = nnk.Network(
        [
            nnk.Dense(one.weights * first.scale, one.bias - one.weights @ (first.offset * first.scale), "tanh"),
            nnk.Dense(two.weights * last.scale[:, np.newaxis], (two.bias - last.offset) * last.scale),
        ]
    )
    x, targets = rng.normal(0, 1, (40, 4)), rng.normal(0, 1, (40, 3))
    np.testing.assert_allclose(net(x), folded(x), rtol=0, atol=1e-13)
    value, (by_one, by_two) = net.gradient(x, targets)
    folded_value, (by_folded_one, by_folded_two) = folded.gradient(x, targets)
    np.testing.assert_allclose(value, folded_value, rtol=1e-13)
    shifts = np.outer(by_folded_one.bias, first.offset)
    for actual, expected in (
        (by_one.weights, (by_folded_one.weights - shifts) * first.scale),
        (by_one.bias, by_folded_one.bias),
        (by_two.weights, by_folded_two.weights * last.scale[:, np.newaxis]),
        (by_two.bias, by_folded_two.bias * last.scale),
    ):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)
    by_x, by_folded_x = net.backward(x, targets)[1], folded.backward(x, targets)[1]
    np.testing.assert_allclose(by_x, by_folded_x, rtol=0, atol=1e-12)


def test_gradient_of_each_dtype(dtype: type[np.floating], rng: np.random.Generator) -> None:
    net, exact = scaled_network(rng, dtype), None
    exact = nnk.Network(net.layers, np.float64)
    x, targets = rng.normal(0, 1, (50, 4)), rng.normal(0, 1, (50, 3))
    value, gradients = net.gradient(x, targets)
    exact_value, exact_gradients = exact.gradient(x, targets)
    tolerance = 64 * np.finfo(dtype).eps
    assert value.dtype == dtype
    np.testing.assert_allclose(float(value), float(exact_value), rtol=tolerance)
    expected = flat(exact_gradients)
    np.testing.assert_allclose(flat(gradients).astype(float), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    by_x, exact_by_x = net.backward(x, targets)[1], exact.backward(x, targets)[1]
    assert by_x.dtype == dtype
    np.testing.assert_allclose(by_x.astype(float), exact_by_x, rtol=0, atol=tolerance * np.abs(exact_by_x).max())


@pytest.mark.parametrize("last", [None, "sigmoid", "softmax"])
def test_own_loss_after_scale_is_squared_error(last: str | None, rng: np.random.Generator) -> None:
    layers: Layers = [nnk.Dense(rng.normal(0, 1, (3, 4)), activation=last), nnk.Scale(1, 2)]
    net = nnk.Network(layers)
    x, targets = rng.normal(0, 1, (20, 4)), rng.normal(0, 1, (20, 3))
    value, gradients = net.gradient(x, targets)
    expected_value, expected = net.gradient(x, targets, "squared_error")
    assert value == expected_value
    assert same_bits(flat(gradients), flat(expected))
    training, other = (nnk.train(net, x, targets, loss=loss, epochs=2) for loss in (None, "squared_error"))
    assert training.losses == other.losses
    assert training.state.description.loss == "squared_error"


# --- Training; test_training.py also trains the networks with Scale of golden.py ---


@pytest.mark.parametrize("dtype_of_x", [np.float32, np.float64])
def test_training_with_inputs_scaled_is_training_with_scaled_inputs(
    dtype_of_x: type[np.floating], dtype: type[np.floating], rng: np.random.Generator
) -> None:
    scale = nnk.Scale(rng.normal(100, 1, 4), rng.uniform(0.5, 2, 4))
    rest = nnk.Network.random((4, 8, 3), seed=1, dtype=np.dtype(dtype))
    net = nnk.Network([scale, *rest.layers], dtype)
    x, targets = rng.normal(100, 2, (70, 4)).astype(dtype_of_x), rng.normal(0, 1, (70, 3))
    computed = np.result_type(dtype, np.float32)
    inputs = by_numpy(x, scale, computed)
    settings_of_both: dict[str, Any] = {"epochs": 3, "optimizer": nnk.Adam(0.01)}
    training = nnk.train(net, x, targets, validation=(x, targets), **settings_of_both)
    expected = nnk.train(rest, inputs, targets, validation=(inputs, targets), **settings_of_both)
    assert training.losses == expected.losses
    assert training.validation_losses == expected.validation_losses
    assert same_bits(flat(training.network.layers), flat(expected.network.layers))


@pytest.mark.parametrize("place", [place for place in PLACES if "alone" not in place])
def test_training_leaves_scales_as_they_are(place: str, dtype: type[np.floating], tmp_path: Path) -> None:
    layers = PLACES[place](dtype, 7)
    net = nnk.Network(layers, dtype)
    x, targets = numbers(dtype, 64, 7), net(numbers(dtype, 64, 7, seed=9))
    seen: list[nnk.Training] = []
    training = nnk.train(net, x, targets, loss="huber", epochs=4, optimizer=nnk.SGD(1e-3), callback=seen.append)
    assert not same_bits(flat(net.layers), flat(training.network.layers))
    for one in (training, *seen, pickle.loads(pickle.dumps(training))):
        assert repr(one.network) == repr(net)
        for before, after in zip(net.layers, one.network.layers, strict=True):
            if isinstance(before, nnk.Scale):
                assert isinstance(after, nnk.Scale)
                assert same_bits(after.offset, before.offset)
                assert same_bits(after.scale, before.scale)
    first = nnk.train(net, x, targets, loss="huber", epochs=1, optimizer=nnk.SGD(1e-3))
    first.state.save(tmp_path / "state")
    state = nnk.TrainingState.load(tmp_path / "state")
    second = nnk.train(first.network, x, targets, loss="huber", epochs=3, optimizer=nnk.SGD(1e-3), state=state)
    assert same_bits(flat(second.network.layers), flat(training.network.layers))
    kinds = ["scale" if isinstance(layer, nnk.Scale) else layer.activation or "none" for layer in layers]
    assert state.description.activations == ",".join(kinds)


def test_a_state_of_other_layers(tmp_path: Path) -> None:
    x, targets = numbers(float, 20, 3), numbers(float, 20, 3)
    dense = some_dense(float, 3, 3)
    first = nnk.train(nnk.Network([some_scale(3), dense]), x, targets, epochs=1)
    with pytest.raises(ValueError, match="activations none,scale, got activations scale,none"):
        nnk.train(nnk.Network([dense, some_scale(3)]), x, targets, state=first.state)
    first.state.save(tmp_path / "state")
    header, data = take_apart((tmp_path / "state").read_bytes())
    metadata: Any = header["__metadata__"]
    for activations in ("scale,scale", "none,none", "scale", "scales,none"):
        changed = metadata | {"nnkernels.training.activations": activations}
        (tmp_path / "bad").write_bytes(put_together({**header, "__metadata__": changed}, data))
        with pytest.raises(ValueError, match="bad"):
            nnk.TrainingState.load(tmp_path / "bad")


def test_one_learns_what_only_a_scale_can_tell(rng: np.random.Generator) -> None:
    """Targets in thousands and x in seconds since 1970 need a Scale at the start and end."""
    x = 1.7e9 + rng.uniform(0, 1000, (200, 1))
    targets = 5000 + 3 * (x - 1.7e9)
    mean, std = targets.mean(axis=0), targets.std(axis=0)
    start = nnk.Network.random((1, 8, 1), "tanh", seed=0)
    net = nnk.Network([nnk.Scale(x.mean(axis=0), 1 / x.std(axis=0)), *start.layers, nnk.Scale(-mean / std, std)])
    training = nnk.train(net, x, targets, optimizer=nnk.SGD(1e-7), epochs=200)
    assert training.losses[-1] < 0.01 * float(std[0]) ** 2


def test_scales_alone_do_not_learn() -> None:
    net = nnk.Network([nnk.Scale([1, 2], 3), nnk.Scale(1, 2)])
    for name, call in {
        "train": lambda: nnk.train(net, [[1, 2]], [[1, 2]]),
        "Network.gradient": lambda: net.gradient([[1, 2]], [[1, 2]]),
        "Network.backward": lambda: net.backward([[1, 2]], [[1, 2]]),
    }.items():
        with pytest.raises(ValueError, match=f"{name} expected a network with a Dense layer, got only Scale layers"):
            call()


# --- The C++ trainer ---


def core_trainer(layers: Any = ((1, 0.0), (0, 0.0)), sizes: Any = (2, 4, 2), moments: int = 2) -> _core.Trainer:
    trainer = _core.Trainer(sizes, layers, FLOAT64, 2, 0.0, 4, moments)
    trainer.parameters[:] = numbers(float, len(trainer.parameters)) / 8
    return trainer


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ((np.ones(2), np.ones(3)), ValueError),
        ((np.ones(3), np.ones(2)), ValueError),
        ((np.ones(4), np.ones(4)), ValueError),
        ((np.ones(2),), TypeError),
        ((np.ones(2),) * 3, TypeError),
        ((1.0, 2.0), TypeError),
        ((["a", 1], [1, 1]), TypeError),
        ([1.0, 1.0], TypeError),
        ("relu", TypeError),
        (None, TypeError),
        (1.5, TypeError),
        (0, TypeError),
        ((13, 0.0), ValueError),
        ((2**40, 0.0), TypeError),
        ((-1, 0.0), ValueError),
        ((0, None), TypeError),
    ],
    ids=str,
)
def test_layers_that_the_trainer_refuses(layer: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"expected|unknown activation"):
        _core.Trainer((2, 2), [layer], FLOAT64, 2, 0.0, 4, 0)


def test_a_scale_that_changes_the_width() -> None:
    with pytest.raises(ValueError, match="chain"):
        _core.Trainer((2, 3), [(np.ones(2), np.ones(2))], FLOAT64, 2, 0.0, 4, 0)


SGD = (0.0, 0.05, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "layers",
    [((1, 0.0), (0, 0.0)), ((np.ones(2), np.full(2, 0.5)), (1, 0.0), (np.ones(4), np.full(4, 2.0)), (0, 0.0))],
    ids=["dense", "scale"],
)
def test_run_batches_is_an_epoch_where_nothing_differs(layers: Any) -> None:
    """Without decay, and with the order of an epoch, the steps are the same."""
    sizes = (2, 4, 2) if len(layers) == 2 else (2, 2, 4, 4, 2)
    x, targets, weights = numbers(float, 10, 2), numbers(float, 10, 2, seed=2), np.arange(10.0)
    weights[:4] = 0
    for of_rows in (None, weights):
        epochs, batches = core_trainer(layers, sizes), core_trainer(layers, sizes)
        order = _core.permutation(3, 7, 10)
        epochs.epochs(x, targets, of_rows, SGD, 3, 7, 1, True)
        batches.run_batches(x, targets, of_rows, SGD, order, 1.0)
        assert same_bits(batches.parameters, epochs.parameters)
        assert batches.steps == epochs.steps
        epochs.epochs(x, targets, of_rows, SGD, 3, 7, 1, False)
        losses, penalty = batches.run_batches(x, targets, of_rows, SGD, None, 1.0)
        assert same_bits(batches.parameters, epochs.parameters)
        assert losses > 0
        assert penalty == 0


def test_conventions_of_run_batches() -> None:
    """The sums, a batch's decay divided by its rows, and the gradient's factor, beside NumPy."""
    x, targets = numbers(float, 10, 2), numbers(float, 10, 2, seed=2)
    order = np.array([3, 1, 4, 1, 5, 9, 2])  # two batches, of 4 and 3 rows; a row may come twice
    trainer = core_trainer(((0, 0.0),), (2, 2))
    losses, penalty = trainer.run_batches(x, targets, None, (0.0, 0.05, 0.0, 0.0, 0.0, 0.1), order, 0.5)
    first = core_trainer(((0, 0.0),), (2, 2)).parameters
    weights, bias = first[:4].reshape(2, 2).copy(), first[4:].copy()
    expected_losses = expected_penalty = 0.0
    for rows in (order[:4], order[4:]):
        errors = x[rows] @ weights.T + bias - targets[rows]
        expected_losses += len(rows) * (errors**2).mean()
        expected_penalty += (weights**2).sum() / 2
        by_outputs = 0.5 * 2 * errors / errors.size
        weights, bias = (
            weights - 0.05 * (by_outputs.T @ x[rows] + 0.1 / len(rows) * weights),
            bias - 0.05 * by_outputs.sum(axis=0),
        )
    np.testing.assert_allclose(trainer.parameters, np.append(weights, bias), rtol=1e-13)
    np.testing.assert_allclose((losses, penalty), (expected_losses, expected_penalty), rtol=1e-13)


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        ({"order": np.array([0, 10])}, IndexError, "no row 10"),
        ({"order": np.array([0, -1])}, IndexError, "no row -1"),
        ({"order": np.array([2**62, 0])}, IndexError, "no row"),
        ({"order": np.array([0, 1], np.int32)}, ValueError, "order"),
        ({"order": np.array([0.0, 1.0])}, ValueError, "order"),
        ({"order": np.arange(10)[::2]}, ValueError, "order"),
        ({"order": np.arange(10)[::-1]}, ValueError, "order"),
        ({"order": np.arange(10).reshape(5, 2)}, ValueError, "order"),
        ({"order": np.array(1)}, TypeError, "order"),
        ({"order": [0, 1]}, TypeError, "order"),
        ({"x": np.ones((10, 3))}, ValueError, "x"),
        ({"x": np.ones((10, 2), np.float32)}, ValueError, "x"),
        ({"targets": np.ones((9, 2))}, ValueError, "targets"),
        ({"weights": np.ones(9)}, ValueError, "weights"),
        ({"optimizer": SGD[:5]}, ValueError, "six numbers"),
        ({"optimizer": (4.0, *SGD[1:])}, ValueError, "six numbers"),
        ({"optimizer": (0.5, *SGD[1:])}, ValueError, "six numbers"),
        ({"optimizer": (float("nan"), *SGD[1:])}, ValueError, "six numbers"),
        ({"optimizer": (-1.0, *SGD[1:])}, ValueError, "six numbers"),
    ],
    ids=str,
)
def test_wrong_arguments_of_run_batches(change: dict[str, Any], kind: Any, match: str) -> None:
    trainer = core_trainer()
    before = trainer.parameters.copy()
    arguments: dict[str, Any] = {"x": np.ones((10, 2)), "targets": np.ones((10, 2)), "weights": None, "optimizer": SGD}
    arguments |= {"order": None, "gradient_scale": 1.0}
    with pytest.raises(kind, match=match):
        trainer.run_batches(**arguments | change)
    assert same_bits(trainer.parameters, before)
    assert trainer.run_batches(**arguments | {"order": np.arange(0)}) == (0, 0)
    for moments in (0, 1):
        with pytest.raises(ValueError, match="more moments"):
            core_trainer(moments=moments).run_batches(**arguments | {"optimizer": (3.0, 0.1, 0.9, 0.99, 1e-8, 0.0)})
