"""Network and Dense: the bits of the functions, arguments, files, pickles, metadata."""

import copy
import os
import pickle
import threading
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import nnkernels as nnk
from conftest import TUTORIAL_ROWS
from golden import ELEMENTWISE
from nnkernels import _core
from ulp import same_bits

# Activations of hidden layers, in turn.
ACTIVATIONS = ("relu", "sigmoid", "tanh", None)
OTHERS = (
    *("exp", "leaky_relu(negative_slope=0.3)", "elu", "silu", "gelu", "gelu_tanh", "softplus", "log_softmax"),
    *("elu(alpha=0.7)", "leaky_relu"),
)
SIZES = [(4, 5, 3), (64, 64, 10), (784, 128, 10), (3, 1030, 2, 33), (7, 1)]


def random_layers(
    rng: np.random.Generator,
    sizes: tuple[int, ...],
    dtype: Any,
    hidden: tuple[str | None, ...] = ACTIVATIONS,
    last: str | None = "softmax",
) -> list[nnk.Dense]:
    """Return layers with each activation in turn, softmax last."""
    activations = [*(hidden[i % len(hidden)] for i in range(len(sizes) - 2)), last]
    return [
        nnk.Dense(
            rng.normal(0, max(inputs, 1) ** -0.5, (outputs, inputs)).astype(dtype),
            rng.normal(0, 1, outputs).astype(dtype),
            activation,
        )
        for inputs, outputs, activation in zip(sizes, sizes[1:], activations, strict=False)
    ]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{text: function for function, text in ELEMENTWISE.values()},
    "leaky_relu": nnk.leaky_relu,
    "elu": nnk.elu,
    "softmax": nnk.softmax,
    "log_softmax": nnk.log_softmax,
}


def chained(layers: list[nnk.Dense], x: NDArray[Any], *, fused: bool) -> NDArray[Any]:
    """Return the forward pass through the functions."""
    for layer in layers:
        if fused:
            x = nnk.dense(x, layer.weights, layer.bias, activation=layer.activation)
        else:
            x = nnk.dense(x, layer.weights, layer.bias)
            x = x if layer.activation is None else FUNCTIONS[layer.activation](x)
    return x


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_network_is_the_functions(sizes: tuple[int, ...], dtype: type[np.floating], rng: np.random.Generator) -> None:
    layers = random_layers(rng, sizes, dtype)
    net = nnk.Network(layers)
    x = rng.normal(0, 1, (257, sizes[0])).astype(dtype)
    expected = chained(layers, x, fused=False)
    assert same_bits(chained(layers, x, fused=True), expected)
    assert same_bits(net(x), expected)
    for rows in (1, 2, 3, 5, 6, 7, 64):
        assert same_bits(net(x[:rows]), expected[:rows])
        assert same_bits(net(x[100 : 100 + rows]), expected[100 : 100 + rows])
    assert same_bits(net(x[9]), expected[9])


@pytest.mark.parametrize("activation", OTHERS)
def test_networks_of_other_activations(
    activation: str, dtype: type[np.floating], rng: np.random.Generator, tmp_path: Path
) -> None:
    """Narrow and wide, with few and many rows: as the functions, also when saved or pickled."""
    for sizes in ((3, 7, 9, 4), (150, 40, 5)):
        layers = random_layers(rng, sizes, dtype, (activation,), activation)
        net = nnk.Network(layers)
        x = rng.normal(0, 1, (77, sizes[0])).astype(dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            expected = chained(layers, x, fused=False)
        net.save(tmp_path / "net")
        for same in (net, nnk.load(tmp_path / "net"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
            assert [layer.activation for layer in same.layers] == [activation] * len(layers)
            assert same_bits(same(x), expected)
            assert same_bits(same(x[5]), expected[5])
            assert repr(same) == repr(net)
        assert activation in repr(net)
        with safetensors.safe_open(tmp_path / "net", "numpy") as file:
            assert file.metadata() == {"nnkernels.activations": ",".join([activation] * len(layers))}


@given(
    st.lists(
        st.sampled_from([*ACTIVATIONS, *OTHERS, "softmax"])
        | st.builds("elu(alpha={!r})".format, st.floats(-3e38, 3e38))
        | st.builds("leaky_relu(negative_slope={!r})".format, st.floats(-3e38, 3e38)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_files_of_any_activations(activations: list[str | None], dtype: type[np.floating]) -> None:
    layers = [nnk.Dense(np.eye(3, dtype=dtype), np.arange(3, dtype=dtype), activation) for activation in activations]
    net = nnk.Network(layers)
    with TemporaryDirectory() as folder:
        net.save(Path(folder) / "net")
        loaded = nnk.load(Path(folder) / "net")
    for same in (loaded, pickle.loads(pickle.dumps(net)), nnk.Network(net.layers, dtype)):
        assert [layer.activation for layer in same.layers] == [layer.activation for layer in layers]
        assert same_bits(same(np.eye(3, dtype=dtype) - 1), net(np.eye(3, dtype=dtype) - 1))


def test_layouts_and_out(dtype: type[np.floating], rng: np.random.Generator) -> None:
    net = nnk.Network(random_layers(rng, (6, 9, 4), dtype))
    x = rng.normal(0, 1, (20, 6)).astype(dtype)
    expected = net(x)
    spread = np.zeros((40, 18), dtype)[::2, ::3]
    spread[...] = x
    misaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(dtype).reshape(x.shape)
    read_only = x.copy()
    read_only.flags.writeable = False
    wide = np.zeros((20, 8), dtype)
    wide[:, 1:7] = x
    for other in (spread, np.asfortranarray(x), x[::-1, ::-1][::-1, ::-1], misaligned, read_only, wide[:, 1:7],
                  x.astype(x.dtype.newbyteorder()), x.tolist()):  # fmt: skip
        assert same_bits(net(other), expected)
    assert same_bits(net(x.reshape(2, 5, 2, 6)), expected.reshape(2, 5, 2, 4))
    assert same_bits(net(np.asfortranarray(x.reshape(4, 5, 6))), expected.reshape(4, 5, 4))
    assert same_bits(net(np.broadcast_to(x[3], (5, 6))), np.broadcast_to(expected[3], (5, 4)))
    for out in (np.empty((20, 4), dtype), np.empty((20, 8), dtype)[:, ::-2], np.empty((4, 20), dtype).T):
        assert net(x, out) is out
        assert same_bits(np.ascontiguousarray(out), expected)
    for other_dtype in (np.float16, np.float32, np.float64):
        out = np.empty((20, 4), other_dtype)
        assert net(x, out=out) is out
        assert same_bits(out, expected.astype(other_dtype))
    square = nnk.Network([nnk.Dense(np.eye(6)[::-1].astype(dtype), activation="tanh")] * 2)
    for shift in (0, 1, -1):
        memory = np.zeros((22, 6), dtype)
        memory[1:-1] = x
        out = memory[1 + shift : 21 + shift]
        square(memory[1:-1], out=out)
        assert same_bits(out, square(x))


@pytest.mark.each_target
def test_empty(dtype: type[np.floating]) -> None:
    net = nnk.Network([nnk.Dense(np.ones((3, 2), dtype)), nnk.Dense(np.ones((4, 3), dtype), activation="softmax")])
    assert net(np.empty((0, 2), dtype)).shape == (0, 4)
    assert net(np.empty((2, 0, 2), dtype)).shape == (2, 0, 4)
    no_inputs = nnk.Network([nnk.Dense(np.empty((2, 0), dtype), np.array([1, -1], dtype), "relu")])
    assert no_inputs(np.empty((3, 0), dtype)).tolist() == [[1, 0]] * 3


def test_input_of_another_dtype(rng: np.random.Generator) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        net = nnk.Network(random_layers(rng, (5, 4, 3), dtype))
        for code in "?bBhHiIlLqQefd":
            x = np.ones((2, 5), code)
            assert same_bits(net(x), net(x.astype(dtype)))
            assert net(x).dtype == dtype


def test_dtype(rng: np.random.Generator) -> None:
    layers = random_layers(rng, (5, 4, 3), np.float32)
    assert nnk.Network(layers).dtype == np.float32
    assert nnk.Network(layers, np.float64).dtype == np.float64
    assert nnk.Network(layers, dtype="float16").dtype == np.float16
    assert nnk.Network([layers[0], nnk.Dense(np.ones((2, 4)))]).dtype == np.float64
    assert nnk.Network([nnk.Dense(np.ones((2, 3), np.int8), 1)]).dtype == np.float32
    assert nnk.Network([nnk.Dense(np.ones((2, 3), np.float16), 0.5)]).dtype == np.float16


def test_ways_to_call(rng: np.random.Generator) -> None:
    class Derived(nnk.Network):
        pass

    class Doubling(nnk.Network):
        def __call__(self, x: Any, out: Any = None) -> Any:
            return 2 * super().__call__(x, out=out)

    layers = random_layers(rng, (5, 4, 3), np.float32)
    net, x, out = nnk.Network(layers), rng.normal(0, 1, (2, 5)).astype(np.float32), np.empty((2, 3), np.float32)
    expected = np.stack([net(row) for row in x])
    for result in (net(x), net(x=x), net(x, None), net(x, out=None), net(out=None, x=x), nnk.Network.__call__(net, x)):
        assert same_bits(result, expected)
    derived = Derived(layers)
    writes: tuple[Callable[[], Any], ...] = (
        lambda: net(x, out),
        lambda: net(x, out=out),
        lambda: net(out=out, x=x),
        lambda: derived(x=x, out=out),
    )
    for write in writes:
        out[...] = 77
        assert write() is out
        assert same_bits(out, expected)
    assert same_bits(derived(x), expected)
    assert same_bits(Doubling(layers)(x), 2 * expected)
    wrong: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
        ((), {}),
        ((), {"out": out}),
        ((), {"X": x}),
        ((x,), {"x": x}),
        ((x,), {"where": True}),
        ((x, None), {"out": None}),
        ((x, None, None), {}),
    )
    for arguments, keywords in wrong:
        with pytest.raises(TypeError, match=r"\(x, out=None\)"):
            net(*arguments, **keywords)
    not_a_network: Any = 3
    with pytest.raises(TypeError, match="Network"):
        nnk.Network.__call__(not_a_network, x)


def test_one_neuron(dtype: type[np.floating], rng: np.random.Generator) -> None:
    weights, x = rng.normal(0, 1, (2, 4)).astype(dtype), rng.normal(0, 1, (3, 4)).astype(dtype)
    first = nnk.Dense(np.eye(4, dtype=dtype), activation="relu")
    net = nnk.Network([first, nnk.Dense(weights[0], 2.0, "sigmoid")])
    assert same_bits(net(x), nnk.dense(nnk.relu(x), weights[0], 2.0, activation="sigmoid"))
    assert isinstance(net(x[0]), dtype)
    assert net.layers[1].weights.shape == (4,)
    assert net.layers[1].bias.shape == ()
    out = np.empty(3, dtype)
    assert net(x, out=out) is out
    assert same_bits(out, net(x))


def test_it_keeps_its_own_copy(rng: np.random.Generator) -> None:
    weights, bias, x = rng.normal(0, 1, (3, 4)), rng.normal(0, 1, 3), rng.normal(0, 1, (2, 4))
    dense = nnk.Dense(weights, bias)
    net = nnk.Network([dense])
    before = net(x)
    weights[...] = 0
    bias[...] = 0
    assert same_bits(net(x), before)
    assert dense.weights.any()
    for layer in (dense, *net.layers):
        with pytest.raises(ValueError, match="read-only"):
            layer.weights[0, 0] = 1
        with pytest.raises(AttributeError):
            layer.activation = "relu"
    with pytest.raises(AttributeError):
        net.extra = 1


@pytest.mark.parametrize("sizes", [*SIZES, (5, 0, 3), (0, 2)], ids=str)
def test_layers_pickles_and_files(sizes: tuple[int, ...], dtype: type[np.floating], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    layers = random_layers(rng, sizes, dtype)
    net = nnk.Network(layers)
    net.save(tmp_path / "net")
    x = rng.normal(0, 1, (8, sizes[0])).astype(dtype)
    for other in (
        net,
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
        nnk.load(tmp_path / "net"),
        nnk.load(str(tmp_path / "net")),
    ):
        assert len(other) == len(layers)
        assert other.dtype == dtype
        for layer, described in zip(layers, other.layers, strict=True):
            assert same_bits(described.weights, layer.weights)
            assert same_bits(described.bias, layer.bias)
            assert described.activation == layer.activation
        assert same_bits(other(x), net(x))
        assert repr(other) == repr(net)


def test_file_of_one_neuron(tmp_path: Path) -> None:
    nnk.Network([nnk.Dense([1.0, 2.0], 0.5)]).save(tmp_path / "net")
    assert nnk.load(tmp_path / "net")([1.0, 1.0]) == 3.5


def test_many_threads_at_once(rng: np.random.Generator) -> None:
    net = nnk.Network(random_layers(rng, (64, 64, 10), np.float32))
    x = rng.normal(0, 1, (3000, 64)).astype(np.float32)
    expected = net(x)
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(1 for _ in range(20) if not same_bits(net(x), expected))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_layers_that_live_only_while_they_are_read() -> None:
    class Layers:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any], int, float]:
            return np.full((64, 64), float(index)), np.zeros(64), 0, 0.0

    net: Any = _core.Network(Layers(), np.dtype(np.float64).num, False)  # type: ignore[arg-type]
    assert [net._layer(index)[0].max() for index in range(3)] == [0, 1, 2]


@pytest.mark.each_target
def test_overflow_is_silent() -> None:
    net = nnk.Network([nnk.Dense([[1e308, 1e308]]), nnk.Dense([[1.0]], activation="sigmoid")])
    with np.errstate(all="raise"):
        assert net([1e10, 1e10]) == 1


def test_tutorial(tutorial: nnk.Network) -> None:
    first, second = tutorial.layers
    hidden = nnk.relu(nnk.dense(TUTORIAL_ROWS, first.weights, first.bias))
    np.testing.assert_allclose(
        hidden, [[4.8, 1.21, 2.385, 0, 3.95], [8.9, 0, 0.2, 2.34, 0.4], [1.41, 1.051, 0.026, 0, 4.73]], rtol=1e-13
    )
    output = nnk.softmax(nnk.dense(hidden, second.weights, second.bias))
    printed = [
        [2.01644962e-01, 4.99767821e-02, 7.48378255e-01],
        [1.41035714e-01, 6.13247392e-04, 8.58351038e-01],
        [2.30990753e-02, 6.49025876e-01, 3.27875049e-01],
    ]
    assert [[f"{p:.8e}" for p in row] for row in output] == [[f"{p:.8e}" for p in row] for row in printed]
    assert same_bits(chained([first, second], np.array(TUTORIAL_ROWS), fused=True), output)
    assert same_bits(tutorial(TUTORIAL_ROWS), output)


# --- Metadata ---

CLASSES = {"classes": "cat,dog", "a": "", "\u540d": "\U0001f408 n\u00e4ive\n\0", "x.nnkernels.": "1"}


def same_metadata(net: nnk.Network, expected: dict[str, str] = CLASSES) -> bool:
    """Return whether the metadata are as expected, in the order of names."""
    return list(net.metadata.items()) == sorted(expected.items())


def test_metadata_are_kept(tmp_path: Path, rng: np.random.Generator) -> None:
    class Derived(nnk.Network):
        """A subclass with an attribute of its own, whose __init__ takes other arguments."""

        def __init__(self, size: int) -> None:
            super().__init__([nnk.Dense(np.eye(size))], metadata=CLASSES)
            self.size = size

    layers = random_layers(rng, (5, 4, 3), np.float32)
    net = nnk.Network(layers, metadata=CLASSES)
    net.save(tmp_path / "net")
    derived = Derived(3)
    for other in (
        net,
        nnk.load(tmp_path / "net"),
        pickle.loads(pickle.dumps(net)),
        copy.copy(net),
        copy.deepcopy(net),
        nnk.Network(net.layers, net.dtype, net.metadata),
        derived,
        copy.deepcopy(derived),
        copy.copy(derived),
    ):
        assert same_metadata(other)
    assert copy.deepcopy(derived).size == 3
    derived.save(tmp_path / "derived")
    assert same_metadata(nnk.load(tmp_path / "derived"))
    assert nnk.Network(layers).metadata == nnk.Network(layers, metadata={}).metadata == {}


def test_metadata_are_read_only_and_their_own(rng: np.random.Generator) -> None:
    given = {"b": "1", "a": "2"}
    net = nnk.Network(random_layers(rng, (5, 4, 3), np.float32), metadata=given)
    given["a"] = "3"
    given["c"] = "4"
    assert list(net.metadata.items()) == [("a", "2"), ("b", "1")]
    read_only: Any = net.metadata
    with pytest.raises(TypeError):
        read_only["a"] = "3"
    with pytest.raises(TypeError):
        del read_only["a"]
    with pytest.raises(AttributeError):
        net.metadata = {}  # type: ignore[misc]
    assert not hasattr(read_only, "update")


def test_files_of_metadata_are_the_same_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    layers = random_layers(rng, (5, 4, 3), np.float32)
    files = []
    for number, names in enumerate((list(CLASSES), sorted(CLASSES), sorted(CLASSES, reverse=True))):
        path = tmp_path / str(number)
        nnk.Network(layers, metadata={name: CLASSES[name] for name in names}).save(path)
        nnk.load(path).save(path)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]
    with safetensors.safe_open(tmp_path / "0", "numpy") as file:  # read by the safetensors library
        assert file.metadata() == CLASSES | {"nnkernels.activations": "relu,softmax"}


def test_metadata_of_a_trained_network(rng: np.random.Generator, tmp_path: Path) -> None:
    layers = random_layers(rng, (5, 4, 3), np.float32)
    net = nnk.Network([nnk.Dense(layers[0].weights), nnk.Dense(layers[1].weights)], metadata=CLASSES)
    x, targets = rng.normal(0, 1, (40, 5)), rng.normal(0, 1, (40, 3))
    seen: list[nnk.Training] = []
    training = nnk.train(net, x, targets, epochs=2, callback=seen.append)
    assert len(seen) == 2
    for one in (training, *seen, pickle.loads(pickle.dumps(training))):
        assert same_metadata(one.network)
    training.network.save(tmp_path / "net")
    assert same_metadata(nnk.load(tmp_path / "net"))
    assert same_metadata(nnk.train(net, x, targets, epochs=0).network)
    other = nnk.Network(net.layers, metadata={"another": "network"})
    assert same_metadata(nnk.train(other, x, targets, epochs=1, state=training.state).network, {"another": "network"})
    with pytest.raises(nnk.TrainingError) as caught:
        nnk.train(net, x, targets, epochs=20, optimizer=nnk.SGD(1e30))
    assert same_metadata(caught.value.training.network)
    assert same_metadata(pickle.loads(pickle.dumps(caught.value)).training.network)


def test_names_that_promise_another_format(tmp_path: Path) -> None:
    net = nnk.Network([nnk.Dense([[1.0]])])
    for name in ("net.onnx", "net.keras", "net.weights.h5", "NET.PT"):
        path = tmp_path / name
        path.write_bytes(b"kept")
        for same in (path, str(path), os.fsencode(path)):
            with pytest.raises(ValueError, match=r"save writes the safetensors format: .* Network\.to_onnx writes ONNX$"):
                net.save(same)
        assert path.read_bytes() == b"kept"
    for name in ("net", "onnx", "net.onnx.safetensors", "net.bin"):
        net.save(tmp_path / name)
        assert len(nnk.load(tmp_path / name)) == 1


def test_mappings_and_strings_of_other_kinds(tmp_path: Path) -> None:
    class Text(str):
        __slots__ = ()

    layers = [nnk.Dense([[1.0]])]
    for mapping in (UserDict(CLASSES), ChainMap({"a": ""}, CLASSES), MappingProxyType(CLASSES), OrderedDict(CLASSES)):
        assert same_metadata(nnk.Network(layers, metadata=mapping))
    net = nnk.Network(layers, metadata={Text("b"): Text("1"), "a": Text("2")})
    assert [type(text) for item in net.metadata.items() for text in item] == [str] * 4
    net.save(tmp_path / "net")
    assert same_metadata(nnk.load(tmp_path / "net"), {"a": "2", "b": "1"})


@pytest.mark.parametrize(
    ("metadata", "kind", "match"),
    [
        ([("a", "b")], TypeError, "mapping of strings, got a list"),
        ("a", TypeError, "mapping of strings, got a str"),
        (0, TypeError, "mapping of strings, got a int"),
        ({"a": 1}, TypeError, r"got 1 in \('a', 1\)"),
        ({"a": None}, TypeError, r"got None in"),
        ({"a": b"b"}, TypeError, r"got b'b' in"),
        ({1: "a"}, TypeError, r"got 1 in \(1, 'a'\)"),
        ({1: "a", "b": "c"}, TypeError, r"got 1 in"),
        ({"a": "\ud800"}, ValueError, "can be encoded in UTF-8"),
        ({"\udfff": "a"}, ValueError, "can be encoded in UTF-8"),
        ({"nnkernels.": ""}, ValueError, r"begin with 'nnkernels\.', got 'nnkernels\.'"),
        ({"nnkernels.activations": "relu"}, ValueError, "got 'nnkernels.activations'"),
        ({"b": "", "nnkernels.future": ""}, ValueError, "got 'nnkernels.future'"),
    ],
    ids=ascii,
)
def test_wrong_metadata(metadata: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=f"Network expected.*{match}"):
        nnk.Network([nnk.Dense([[1.0]])], metadata=metadata)


def test_reserved_names_of_another_version_are_left_out(tmp_path: Path) -> None:
    """Reserved entries of a later version are not the network's metadata."""
    nnk.Network([nnk.Dense([[1.0]])], metadata={"a": "b"}).save(tmp_path / "net")
    tensors = safetensors.numpy.load_file(tmp_path / "net")
    metadata = {"nnkernels.activations": "none", "nnkernels.future": "x", "a": "b"}
    safetensors.numpy.save_file(tensors, tmp_path / "net", metadata)
    assert same_metadata(nnk.load(tmp_path / "net"), {"a": "b"})


class Mean(nnk.Scale):
    """A Scale with a different constructor and its own attribute."""

    def __init__(self, mean: NDArray[Any]) -> None:
        super().__init__(mean, 1)
        self.origin = "rows"


def test_copies_of_subclasses_of_scale() -> None:
    layer = Mean(np.array([1.0, 2.0]))
    pickles = [pickle.loads(pickle.dumps(layer, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for duplicate in [copy.copy(layer), copy.deepcopy(layer), *pickles]:
        assert type(duplicate) is Mean
        assert (duplicate.origin, duplicate.offset.tolist(), duplicate.scale.tolist()) == ("rows", [1, 2], [1, 1])
        with pytest.raises(AttributeError, match="Mean is frozen"):
            duplicate.offset = np.ones(2)
    del layer.origin
    with pytest.raises(AttributeError, match="Mean is frozen"):
        del layer.scale


def test_an_option_must_be_finite_in_the_dtype() -> None:
    layer = nnk.Dense(np.ones((1, 1)), activation="elu(alpha=1e+300)")
    assert nnk.Network([layer])([-1.0])[0] == pytest.approx(1e300 * np.expm1(-1.0), rel=1e-15)
    for dtype in (np.float32, np.float16):
        with pytest.raises(ValueError, match=rf"option within the range of {np.dtype(dtype)}, got 'elu\(alpha=1e\+300\)'"):
            nnk.Network([layer], dtype)
