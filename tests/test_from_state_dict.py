"""from_state_dict: names and layouts, order of layers, files, refusals, further training."""

import json
import os
import re
import struct
import sys
from collections.abc import Sequence
from functools import partial
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import little_torch
import nnkernels as nnk
from corpus import Array, numbers
from test_errors import run
from ulp import same_bits

Tensors = dict[str, Any]


def linear(name: str, inputs: int, outputs: int, seed: int = 1, dtype: Any = np.float32, separator: str = ".") -> Tensors:
    return {
        f"{name}{separator}weight": numbers(dtype, outputs, inputs, seed=seed),
        f"{name}{separator}bias": numbers(dtype, outputs, seed=seed + 1),
    }


def norm(name: str, width: int, seed: int = 50, dtype: Any = np.float32) -> Tensors:
    """Return the tensors of a PyTorch BatchNorm1d."""
    return {
        f"{name}.weight": numbers(dtype, width, seed=seed),
        f"{name}.bias": numbers(dtype, width, seed=seed + 1),
        f"{name}.running_mean": numbers(dtype, width, seed=seed + 2),
        f"{name}.running_var": abs(numbers(dtype, width, seed=seed + 3)),
        f"{name}.num_batches_tracked": np.array(100),
    }


def widths(net: nnk.Network) -> list[int]:
    return [net.inputs, *(layer.outputs for layer in net.layers if isinstance(layer, nnk.Dense))]


def first_weights(net: nnk.Network) -> Array:
    layer = net.layers[0]
    assert isinstance(layer, nnk.Dense)
    return layer.weights


def normalised(x: Array, tensors: Tensors, name: str, epsilon: float = 1e-5) -> Array:
    mean, variance, gamma, beta = (
        tensors[f"{name}.{part}"].astype(float) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta  # type: ignore[no-any-return]


# --- Names and layouts ---


def test_names_of_pytorch() -> None:
    tensors = linear("0", 4, 5) | linear("2", 5, 3, 3)
    net = nnk.from_state_dict(tensors, ["relu", nnk.softmax])
    same = nnk.Network(
        [
            nnk.Dense(tensors["0.weight"], tensors["0.bias"], "relu"),
            nnk.Dense(tensors["2.weight"], tensors["2.bias"], "softmax"),
        ]
    )
    x = numbers(np.float32, 9, 4)
    assert net.dtype == np.float32
    assert same_bits(net(x), same(x))


@pytest.mark.parametrize("nested", [True, False])
def test_names_of_flax_are_transposed_even_if_the_matrix_is_square(nested: bool) -> None:
    kernel, bias = numbers(np.float32, 3, 3), numbers(np.float32, 3, seed=2)
    tensors: Any = {"params/Dense_0/kernel": kernel, "params/Dense_0/bias": bias, "params/Dense_1/kernel": kernel}
    if nested:
        tensors = {"params": {"Dense_0": {"kernel": kernel, "bias": bias}, "Dense_1": {"kernel": kernel}}}
    net = nnk.from_state_dict(tensors, ["gelu_tanh", None])
    assert same_bits(first_weights(net), np.ascontiguousarray(kernel.T))
    weight = nnk.from_state_dict({"weight": kernel}, [None])
    assert same_bits(first_weights(weight), kernel)


@pytest.mark.parametrize("separator", ["/", "."])
def test_batch_normalisation_of_flax(separator: str) -> None:
    names = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    of_torch = norm("bn", 5)
    tensors: Tensors = {f"params{separator}Dense_0{separator}kernel": numbers(np.float32, 4, 5)}
    for theirs, ours in names.items():
        collection = "batch_stats" if theirs in ("mean", "var") else "params"
        tensors[separator.join((collection, "BatchNorm_0", theirs))] = of_torch[f"bn.{ours}"]
    net = nnk.from_state_dict(tensors, [None, "relu"])
    x = numbers(np.float64, 9, 4)
    exact = np.maximum(normalised(x @ next(iter(tensors.values())).astype(float), of_torch, "bn"), 0.0)
    np.testing.assert_allclose(net(x), exact, rtol=1e-4, atol=1e-5 * abs(exact).max())


def test_batch_normalisation_of_keras() -> None:
    of_torch = norm("bn", 5)
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    tensors = {"net/dense/kernel": numbers(np.float32, 4, 5)} | {
        f"net/norm/{theirs}": of_torch[f"bn.{ours}"] for theirs, ours in names.items()
    }
    tensors["net/norm/moving_variance"] *= np.float32(1e-3)  # so that epsilon matters
    of_torch["bn.running_var"] = tensors["net/norm/moving_variance"]
    x = numbers(np.float64, 9, 4)
    for argument, epsilon in ((None, 1e-3), (1e-3, 1e-3), (1e-2, 1e-2)):
        net = nnk.from_state_dict(tensors, ["silu", None], epsilon=argument)
        exact = normalised(nnk.silu(x @ tensors["net/dense/kernel"].astype(float)), of_torch, "bn", epsilon)
        np.testing.assert_allclose(net(x), exact, rtol=1e-4, atol=1e-5 * abs(exact).max())


def test_batch_normalisation_is_folded_where_it_stands() -> None:
    tensors = norm("0", 4) | linear("1", 4, 4) | norm("2", 4, 60) | linear("4", 4, 4, 5) | norm("6", 4, 70)
    net = nnk.from_state_dict(tensors, [None, None, "relu", "tanh", None])
    x = numbers(np.float64, 9, 4)
    y = normalised(x, tensors, "0") @ tensors["1.weight"].T.astype(float) + tensors["1.bias"]
    y = np.tanh(np.maximum(normalised(y, tensors, "2"), 0.0) @ tensors["4.weight"].T.astype(float) + tensors["4.bias"])
    assert len(net) == 4  # Scale, two dense layers, Scale
    np.testing.assert_allclose(net(x), normalised(y, tensors, "6"), rtol=1e-3, atol=1e-4)


def test_statistics_alone() -> None:
    tensors = linear("0", 2, 2) | {name: value for name, value in norm("1", 2).items() if "running" in name}
    assert len(nnk.from_state_dict(tensors, [None, "relu"])) == 1


@pytest.mark.parametrize(
    "activation", [None, "relu", nnk.tanh, "elu(alpha=0.5)", partial(nnk.leaky_relu, negative_slope=0.2), "log_softmax"]
)
def test_activations_are_those_of_dense(activation: Any) -> None:
    (layer,) = nnk.from_state_dict(linear("0", 2, 3), [activation]).layers
    assert isinstance(layer, nnk.Dense)
    assert layer.activation == nnk.Dense([[1.0]], None, activation).activation


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_are_kept(dtype: Any) -> None:
    tensors = linear("0", 2, 3, dtype=dtype)
    net = nnk.from_state_dict(tensors, [None])
    assert same_bits(first_weights(net), tensors["0.weight"])


def test_tensors_of_other_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = numbers(np.float32, 3, 2)
    halves = weights.astype(ml_dtypes.bfloat16)
    monkeypatch.setitem(sys.modules, "torch", little_torch)
    given_as = (weights, weights.tolist(), little_torch.Tensor(weights), little_torch.Tensor(weights, device="cuda"))
    for value in given_as:
        net = nnk.from_state_dict({"0.weight": value}, [None])
        assert np.array_equal(first_weights(net), weights)
    for value in (halves, little_torch.Tensor(halves.astype(np.float32), "bfloat16")):
        assert same_bits(first_weights(nnk.from_state_dict({"0.weight": value}, [None])), halves.astype(np.float32))


def test_a_real_state_dict() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(-1))
    net = nnk.from_state_dict(module.state_dict(), [None, "relu", "softmax"])
    x = numbers(np.float32, 9, 4)
    with torch.no_grad():
        y = module.eval()(torch.from_numpy(x)).numpy()
    assert abs(net(x) - y).max() < 1e-6
    half = module.to(torch.bfloat16).state_dict()
    assert same_bits(
        first_weights(nnk.from_state_dict({"0.weight": half["0.weight"]}, [None])), half["0.weight"].float().numpy()
    )
    assert list(map(len, (nnk.from_torch(module), net))) == [2, 2]


# --- The order of layers ---


def orders(*tensors: Tensors, activations: Sequence[Any] | None = None, **keywords: Any) -> list[int]:
    every: Tensors = {name: tensor for part in tensors for name, tensor in part.items()}
    return widths(nnk.from_state_dict(every, activations or [None] * len(tensors), **keywords))


def test_numbers_are_sorted_as_such() -> None:
    named = {number: linear(f"layers.{number}.fc", 3, 3, number) for number in range(12)}
    for tensors in (sorted(named, key=str), sorted(named)):
        net = nnk.from_state_dict({name: value for number in tensors for name, value in named[number].items()}, [None] * 12)
        for number, layer in enumerate(net.layers):
            assert isinstance(layer, nnk.Dense)
            assert same_bits(layer.weights, named[number][f"layers.{number}.fc.weight"])


def test_a_mapping_that_is_not_sorted_has_an_order() -> None:
    assert orders(linear("hidden", 4, 4), linear("end", 4, 4), linear("again", 4, 2)) == [4, 4, 4, 2]
    with pytest.raises(
        ValueError, match=r"layer 'hidden': expected 3 inputs, the outputs of the layer before; got weights \(5, 4\)"
    ):
        orders(linear("out", 5, 3), linear("hidden", 4, 5))


def test_orders_of_files_are_not_chosen(tmp_path: Path) -> None:
    """The safetensors library sorts tensors by dtype, then by name."""
    half: Any = np.float16
    safetensors.numpy.save_file(linear("embed", 4, 4, dtype=half) | linear("head", 4, 4), tmp_path / "a.safetensors")
    loaded = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert next(iter(loaded)).startswith("head")
    with pytest.raises(ValueError, match=AMBIGUOUS):
        orders(loaded, activations=[None, None])
    assert orders(linear("2", 4, 9), linear("0", 4, 4, dtype=half), activations=[None] * 2) == [4, 4, 9]
    # One dtype, not sorted by name: a chosen order.
    parts = linear("hidden", 4, 4, dtype=half), linear("end", 4, 4, dtype=half), linear("again", 4, 2)
    assert orders(*parts) == [4, 4, 4, 2]


@pytest.mark.parametrize("names", [["fc-out", "fc"], ["enc.act", "enc"], ["fc", "fc-out"], ["enc", "enc.act"]])
@pytest.mark.parametrize("kind", ["tensors", "layers", "nested"])
def test_every_way_to_sort_is_no_order(names: list[str], kind: str) -> None:
    matrices = {f"{name}.weight": np.eye(4) for name in names}
    if kind == "tensors":
        matrices = dict(sorted(matrices.items()))
    elif kind == "layers":
        matrices = {f"{name}.weight": np.eye(4) for name in sorted(names)}
    else:
        matrices = {f"{name}.weight": np.eye(4) for name in sorted(names, key=lambda name: name.split("."))}
    with pytest.raises(ValueError, match=AMBIGUOUS):
        nnk.from_state_dict(matrices, [None, None])


def test_shapes_tell_the_order_of_a_mapping_that_is_sorted() -> None:
    assert orders(linear("hidden", 9, 3), linear("in", 4, 9), linear("out", 3, 7)) == [4, 9, 3, 7]
    assert orders(linear("fc1", 4, 9), linear("fc2", 9, 9), linear("head", 9, 2)) == [4, 9, 9, 2]
    assert orders(norm("bn1", 9), norm("bn2", 7), linear("fc1", 4, 9), linear("fc2", 9, 7), linear("fc3", 7, 3)) == [4, 9, 7, 3]


def test_digits_that_are_no_numbers() -> None:
    assert orders(linear("a²", 4, 5), linear("a³", 5, 4), linear("b", 4, 2)) == [4, 5, 4, 2]


def test_messages_stay_short() -> None:
    with pytest.raises(ValueError, match=r"'layer0' \(2 -> 2\), .*, 'layer19' \(2 -> 2\) and 980 more$"):
        nnk.from_state_dict({f"layer{number}.weight": np.ones((2, 2)) for number in range(1000)}, [])


AMBIGUOUS = r"^from_state_dict: the order of the layers is not clear from names and shapes of .*: pass order=\['"


@pytest.mark.parametrize(
    "tensors",
    [
        [linear("decoder", 4, 4), linear("encoder", 4, 4)],
        [linear("fc1", 4, 4), linear("fc2", 4, 4), linear("out", 4, 4)],
        [norm("bn1", 8), norm("bn2", 8), linear("fc1", 4, 8), linear("fc2", 8, 8), linear("fc3", 8, 3)],
        [linear("fc1", 4, 4), linear("fc2", 4, 4), norm("bn1", 4), norm("bn2", 4)],
        [linear("x", 4, 4), linear("fc2", 4, 4), linear("fc1", 4, 4)],
        [linear("b", 4, 4), linear("a2", 4, 4), linear("a1", 4, 4), linear("c", 4, 5)],
        [linear(letter, 4, 4) for letter in "abcdefghijkl"] + [linear("z", 5, 5)],
        [linear("x" * length, 4, 4) for length in range(1, 150)],
    ],
    ids=range(8),
)
def test_orders_that_are_not_told_are_refused(tensors: list[Tensors]) -> None:
    with pytest.raises(ValueError, match=AMBIGUOUS):
        orders(*tensors)


def test_an_order_that_is_given() -> None:
    tensors = [linear("decoder", 4, 4), linear("encoder", 4, 4, 7), norm("norm", 4)]
    for order in permutations(("decoder", "encoder", "norm")):
        net = nnk.from_state_dict(tensors[0] | tensors[1] | tensors[2], [None] * 3, order=order)
        chained = numbers(np.float64, 9, 4)
        x = chained
        for name in order:
            part = tensors[0] | tensors[1] | tensors[2]
            chained = (
                normalised(chained, part, name)
                if name == "norm"
                else chained @ part[f"{name}.weight"].T.astype(float) + part[f"{name}.bias"]
            )
        np.testing.assert_allclose(net(x), chained, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("order", ["ab", 5, [5, "a"]])
def test_orders_that_are_no_lists_of_names(order: Any) -> None:
    with pytest.raises(TypeError, match=r"^from_state_dict expected order to be a list of names of layers, got "):
        nnk.from_state_dict(linear("a", 4, 4) | linear("b", 4, 4), [None, None], order=order)


def test_a_mapping_that_holds_itself() -> None:
    tensors: dict[str, Any] = {}
    tensors["self"] = tensors
    with pytest.raises(ValueError, match=r"^from_state_dict expected at most 100 nested mappings, got more at 'self/"):
        nnk.from_state_dict(tensors, [])


def test_many_layers() -> None:
    names = [f"{number}.{part}" for number in range(1500) for part in ("b", "a")]
    net = nnk.from_state_dict({f"{name}.weight": np.ones((1, 1)) for name in names}, [None] * len(names))
    assert len(net) == 3000
    names[1], names[2000] = names[2000], names[1]
    with pytest.raises(ValueError, match=AMBIGUOUS):
        nnk.from_state_dict({f"{name}.weight": np.ones((1, 1)) for name in names}, [None] * len(names))


@pytest.mark.parametrize("order", [["a"], ["a", "b", "b"], ["a", "c"], []])
def test_bad_orders(order: Any) -> None:
    message = re.escape("from_state_dict expected order to contain each of 'a' (4 -> 4), 'b' (4 -> 4) once, got ")
    with pytest.raises(ValueError, match=f"^{message}"):
        orders(linear("a", 4, 4), linear("b", 4, 4), order=order)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_an_order_that_is_found_is_the_only_one(sizes: list[int], random: Any) -> None:
    names = list("abcde"[: len(sizes) - 1])
    shuffled = random.sample(names, len(names))
    layers = {name: (sizes[place], sizes[place + 1]) for place, name in enumerate(shuffled)}
    fitting = [
        order
        for order in permutations(names)
        if all(layers[first][1] == layers[second][0] for first, second in pairwise(order))
    ]
    tensors = [linear(name, *layers[name]) for name in names]
    if len(fitting) > 1:
        with pytest.raises(ValueError, match=AMBIGUOUS):
            orders(*tensors)
    else:
        assert orders(*tensors) == sizes


# --- Files ---


def saved(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    """Write a safetensors file, also with bfloat16, which its NumPy writer does not support."""
    codes = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "int64": "I64", "int8": "I8"}
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, value in tensors.items():
        array = np.ascontiguousarray(value)
        header[name] = {
            "dtype": codes[array.dtype.name],
            "shape": np.shape(value),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("as_path", [str, Path, lambda path: str(path).encode()])
def test_files(tmp_path: Path, as_path: Any) -> None:
    tensors = linear("model.10", 4, 5) | norm("model.11", 5) | linear("model.9", 3, 4, 7)
    path = saved(tmp_path / "model.safetensors", tensors, {"format": "pt"})
    net = nnk.from_state_dict(as_path(path), [None, None, "relu"])
    assert widths(net) == [3, 4, 5]
    assert same_bits(first_weights(net), tensors["model.9.weight"])


def test_files_of_safetensors_own_writer(tmp_path: Path) -> None:
    tensors = linear("0", 4, 5) | linear("1", 5, 6)
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    assert widths(nnk.from_state_dict(tmp_path / "model.safetensors", [None, None])) == [4, 5, 6]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_dtypes_of_files(tmp_path: Path, dtype: Any) -> None:
    weights = numbers(np.float64, 70, 3).astype(dtype)
    weights.flat[:4] = [np.inf, -np.inf, np.nan, -0.0]
    weights.flat[4] = np.array(1, "i8").astype("u2").view(dtype) if weights.itemsize == 2 else 5e-324  # a subnormal
    net = nnk.from_state_dict(saved(tmp_path / "model.safetensors", {"weight": weights}), [None])
    expected = weights.astype(np.float32) if dtype is ml_dtypes.bfloat16 else weights
    assert same_bits(first_weights(net), expected)
    assert first_weights(net).flat[4] == expected.flat[4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not hold tensors"),
        (b"PK\x03\x04" + bytes(22) + b"\n\0\x18\0a/data.pklFB\x14\0ZZZZ", "it is a PyTorch file; .*torch.load"),
        (b"\x80\x02}q\0(X\x08\0\0\0weights.", "it is a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (struct.pack("<Q", 1 << 60) + b"{}", "does not hold tensors"),
        (struct.pack("<Q", 2) + b"{}", "expected at least one dense layer, found none"),
        (struct.pack("<Q", 2) + b"[]", "does not hold tensors"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(path.name)}.*{message}"):
        nnk.from_state_dict(path, [])


def test_files_with_other_dtypes(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.safetensors", {"0.weight": np.ones((2, 2), np.int8)})
    with pytest.raises(ValueError, match=r"expected tensor '0.weight' to be F16, BF16, F32, F64, got I8"):
        nnk.from_state_dict(path, [None])


@pytest.mark.parametrize("name", ["0.weight", "0.kernel"])
def test_many_outputs_without_weights(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "model.safetensors", {name: np.ones((2**40, 0), np.float32)})
    with pytest.raises(ValueError, match=r"layer '0': expected weights \(outputs, inputs\) with at least one number, got"):
        nnk.from_state_dict(path, [None])


def test_missing_files_and_pipes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        nnk.from_state_dict(tmp_path / "none.safetensors", [])
    with pytest.raises(ValueError, match="in a regular file, got a pipe or a device"):
        nnk.from_state_dict(os.devnull, [])


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_are_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    content = bytearray(saved(path, linear("0", 3, 2) | {"1.weight": np.ones((2, 2), ml_dtypes.bfloat16)}).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        net = nnk.from_state_dict(path, [None, None])
    except ValueError as error:
        assert path.name in str(error)  # noqa: PT017 - an error is optional
    else:
        assert net.inputs == 3


# --- Refusals ---


@pytest.mark.parametrize(
    ("entries", "advice"),
    [
        (["model_state_dict"], "its entry 'model_state_dict'"),
        (["model", "ema"], "one of its entries 'model', 'ema'"),
    ],
)
def test_checkpoints(entries: list[str], advice: str) -> None:
    layers = linear("0", 4, 5) | linear("2", 5, 3)
    optimizer = {"state": {0: {"exp_avg": ONE}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {"epoch": 3, **dict.fromkeys(entries, layers), "optimizer_state_dict": optimizer}
    for name in ("epoch", "optimizer_state_dict/state/0/exp_avg"):
        message = f"from_state_dict: {name!r}: it is not a tensor of a layer; for a checkpoint, pass {advice}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            nnk.from_state_dict(checkpoint, ["relu", None])
        checkpoint.pop("epoch", None)
    assert len(nnk.from_state_dict(checkpoint[entries[0]], ["relu", None])) == 2


def test_wrong_name_in_a_mapping_that_is_no_checkpoint() -> None:
    layer = {"kernel": ONE, "skew": ONE}
    for tensors in ({"Dense_0": layer}, {"params": {"Dense_0": layer}}):
        with pytest.raises(ValueError, match=f"tensor '.*Dense_0/skew': {ROLES}"):
            nnk.from_state_dict(tensors, [None])


ROLES = "expected a name that ends with one of weight, kernel, bias, scale, gamma, beta, running_mean, "
MATRIX = "expected one 2-d weight or kernel, and a bias; got "
NORM = "expected batch normalisation with mean, variance, weight and bias, each 1-d and of equal length; got "
FLOATS = "expected float16, bfloat16, float32 or float64, got "
ONE = np.ones((2, 2))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"fc.weight_g": ONE}, f"tensor 'fc.weight_g': {ROLES}"),
        ({"params": np.eye(2)}, f"tensor 'params': {ROLES}"),
        ({"fc.qweight": ONE}, f"tensor 'fc.qweight': {ROLES}"),
        ({"layers.0.weights": ONE}, f"tensor 'layers.0.weights': {ROLES}"),
        ({"fc/kernel": ONE, "fc.kernel": ONE}, "tensor 'fc.kernel': expected one kernel in this layer, got two"),
        ({"params": {"a": {"kernel": ONE}}, "a": {"kernel": ONE}}, "tensor 'a/kernel': expected one kernel in this layer"),
        ({"fc.weight": np.ones((2, 2), int)}, f"tensor 'fc.weight': {FLOATS}int64"),
        ({"fc.weight": np.ones((2, 2), complex)}, "tensor 'fc.weight': complex128 is not a real dtype"),
        ({"fc.weight": "ones"}, "tensor 'fc.weight': <U4 is not a real dtype"),
        ({"fc.weight": little_torch.Tensor(ONE, "qint8")}, f"tensor 'fc.weight': {FLOATS}qint8"),
        ({"fc.weight": little_torch.Tensor(ONE, device="meta")}, "tensor 'fc.weight': it is on the meta device"),
        ({"ln.weight": ONE[0], "ln.bias": ONE[0]}, f"layer 'ln': {MATRIX}weight (2,), bias (2,)"),
        ({"fc.bias": ONE[0]}, f"layer 'fc': {MATRIX}bias (2,)"),
        ({"conv.weight": np.ones((2, 2, 3))}, f"layer 'conv': {MATRIX}weight (2, 2, 3)"),
        ({"fc.weight": ONE, "fc.kernel": ONE}, f"layer 'fc': {MATRIX}weight (2, 2), kernel (2, 2)"),
        ({"fc.kernel": ONE, "fc.scale": ONE[0]}, f"layer 'fc': {MATRIX}kernel (2, 2), gamma (2,)"),
        ({"bn.mean": ONE[0]}, f"layer 'bn': {NORM}mean (2,)"),
        ({"bn.var": ONE[0]}, f"layer 'bn': {NORM}variance (2,)"),
        ({"bn.mean": ONE[0], "bn.var": ONE}, f"layer 'bn': {NORM}mean (2,), variance (2, 2)"),
        ({"bn.mean": ONE[0], "bn.var": ONE[0], "bn.kernel": ONE}, f"layer 'bn': {NORM}mean (2,), variance (2,), kernel (2, 2)"),
        ({"bn.mean": ONE[0], "bn.var": ONE[0], "bn.gamma": ONE[0], "bn.weight": ONE[0]}, f"layer 'bn': {NORM}"),
        ({"fc.weight": ONE, "fc.bias": np.ones(3)}, "layer 'fc': expected a bias (2,); got weight (2, 2), bias (3,)"),
        ({"fc.weight": ONE, "fc.bias": np.ones(1)}, "layer 'fc': expected a bias (2,); got weight (2, 2), bias (1,)"),
        ({"fc.kernel": ONE, "fc.bias": ONE[:1]}, "layer 'fc': expected a bias (2,); got kernel (2, 2), bias (1, 2)"),
        ({"bn.mean": ONE[0], "bn.var": np.ones(1)}, f"layer 'bn': {NORM}mean (2,), variance (1,)"),
        ({"0.weight": ONE, "1.weight": np.ones((2, 3))}, "layer '1': expected 2 inputs, the outputs of the layer before; got"),
    ],
)  # fmt: skip
def test_refusals(tensors: Tensors, message: str) -> None:
    with pytest.raises(ValueError, match=r"^from_state_dict: " + re.escape(message)):
        nnk.from_state_dict(tensors, [None] * (2 if "1.weight" in tensors else 1))


def test_the_number_of_activations() -> None:
    tensors = linear("fc1", 4, 8) | norm("fc2", 8) | linear("fc3", 8, 3)
    found = "found 3 layers: 'fc1' (4 -> 8), 'fc2' (normalises 8), 'fc3' (8 -> 3)"
    for activations in (["relu"], ["relu"] * 4, []):
        message = f"from_state_dict expected one activation or None for each layer, got {len(activations)}; {found}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            nnk.from_state_dict(tensors, activations)
    with pytest.raises(ValueError, match=r"found no layers$"):
        nnk.from_state_dict({}, ["relu"])
    with pytest.raises(ValueError, match="expected at least one dense layer"):
        nnk.from_state_dict({}, [])


@pytest.mark.parametrize("activations", ["relu", None, nnk.relu, {"relu"}, 3])
def test_activations_of_another_kind(activations: Any) -> None:
    with pytest.raises(TypeError, match=r"^from_state_dict expected activations to be a list with one for each layer, got "):
        nnk.from_state_dict(linear("0", 2, 2), activations)


def test_unknown_activations() -> None:
    with pytest.raises(ValueError, match=r"activation expected None, .*; got 'gleu'"):
        nnk.from_state_dict(linear("0", 2, 2), ["gleu"])


@pytest.mark.parametrize("tensors", [None, [ONE], ONE, 3])
def test_what_is_no_mapping(tensors: Any) -> None:
    kind = type(tensors).__name__
    with pytest.raises(TypeError, match=rf"^from_state_dict expected a mapping of names to tensors or .* file, got a {kind}$"):
        nnk.from_state_dict(tensors, [None])


@pytest.mark.parametrize(
    ("epsilon", "error"), [(-1.0, ValueError), (np.nan, ValueError), (np.inf, ValueError), ("a", TypeError)]
)
def test_bad_epsilon(epsilon: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^from_state_dict expected epsilon to be a number of at least 0, got"):
        nnk.from_state_dict(linear("0", 2, 2), [None], epsilon=epsilon)


def test_an_activation_that_has_no_dense_layer() -> None:
    with pytest.raises(ValueError, match=r"^from_state_dict: layer '1': expected a dense layer before it$"):
        nnk.from_state_dict(linear("0", 2, 2) | norm("1", 2), ["relu", "relu"])


# --- Comparison on rows ---


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_to_check_by(dtype: Any) -> None:
    tensors = linear("0", 4, 5, dtype=dtype) | linear("1", 5, 5, 3, dtype=dtype)
    x = numbers(dtype, 20, 4)
    y = nnk.from_state_dict(tensors, ["tanh", "softmax"])(x)
    for outputs in (y, y.tolist()) if dtype == np.float64 else (y, y.astype(np.float64)):
        nnk.from_state_dict(tensors, ["tanh", "softmax"], check=(x, outputs))
    for activations in (["tanh", None], ["sigmoid", "softmax"]):
        with pytest.raises(ValueError, match=r"^from_state_dict: the network and the model differ: output "):
            nnk.from_state_dict(tensors, activations, check=(x, y))
    tensors["1.weight"] = tensors["1.weight"].T
    with pytest.raises(ValueError, match="the network and the model differ"):
        nnk.from_state_dict(tensors, ["tanh", "softmax"], check=(x, y))


@pytest.mark.parametrize("shapes", [((20, 3), (20, 5)), ((20, 4), (19, 5)), ((20, 4), (20,)), ((), (5,)), ((80,), (100,))])
def test_rows_of_another_shape(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    x, y = map(np.zeros, shapes)
    message = f"expected check to be rows (..., 4) and their outputs (..., 5), got arrays of shapes {shapes[0]} and {shapes[1]}"
    with pytest.raises(ValueError, match=re.escape(message)):
        nnk.from_state_dict(linear("0", 4, 5), [None], check=(x, y))


def test_rows_may_have_more_axes() -> None:
    tensors = linear("0", 4, 5)
    x = numbers(np.float32, 2, 3, 4)
    nnk.from_state_dict(tensors, [None], check=(x, nnk.from_state_dict(tensors, [None])(x)))


def test_one_output_may_have_no_axis() -> None:
    tensors = linear("0", 4, 1)
    x = numbers(np.float32, 20, 4)
    nnk.from_state_dict(tensors, [None], check=(x, nnk.from_state_dict(tensors, [None])(x)[:, 0]))


def test_nothing_is_imported() -> None:
    code = (
        "import sys, numpy as np, nnkernels as nnk; nnk.from_state_dict({'0.weight': np.ones((2, 2))}, [None]); "
        "print([name for name in ('torch', 'safetensors', 'sklearn', 'onnx', 'h5py') if name in sys.modules])"
    )
    assert run(code).stdout == "[]\n"


# --- Further training ---


def test_an_imported_network_learns_on(tmp_path: Path) -> None:
    tensors = linear("0", 4, 16) | norm("1", 16) | linear("3", 16, 3, 5)
    tensors["3.weight"] /= 16
    path = saved(tmp_path / "model.safetensors", {name: np.asarray(value) for name, value in tensors.items()})
    net = nnk.from_state_dict(path, [None, "silu", "softmax"])
    x = numbers(np.float32, 300, 4)
    targets = (x[:, 0] > 0).astype(int) + (x[:, 1] > x[:, 2])
    training = nnk.train(net, x, targets, epochs=20, seed=1)
    assert training.losses[-1] < 0.5 * training.losses[0]
    same = nnk.train(nnk.from_state_dict(tensors, [None, "silu", "softmax"]), x, targets, epochs=20, seed=1)
    assert training.losses == same.losses


@pytest.mark.parametrize(
    ("check", "got"),
    [
        ((ONE,), "got 1 in a tuple"),
        ([ONE, ONE, ONE], "got 3 in a list"),
        (ONE, "got a ndarray"),
        ("xy", "got a str"),
        (3, "got a int"),
        ((ONE, ["cat"]), "as numbers: <U3 is not a real dtype"),
    ],
)
def test_what_is_no_pair_of_arrays_to_check(check: Any, got: str, tmp_path: Path) -> None:
    nnk.Network([nnk.Dense(ONE)]).to_onnx(tmp_path / "net.onnx")
    expected = r" expected check=\(x, y\), rows and the model's outputs for them, "
    with pytest.raises(TypeError, match=f"^from_state_dict{expected}{got}$"):
        nnk.from_state_dict({"weight": ONE}, [None], check=check)
    with pytest.raises(TypeError, match=rf"^from_onnx\(.*\){expected}{got}$"):
        nnk.from_onnx(tmp_path / "net.onnx", check=check)
