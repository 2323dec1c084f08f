"""Conversion of bare weights: a mapping of names to tensors, or a .safetensors file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from os import PathLike, fsdecode
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels.activations import Activation, name_of, number_of
from nnkernels.arrays import as_number, as_real, is_float
from nnkernels.commands.names import listed
from nnkernels.files import Path, read_file, widened
from nnkernels.models.chain import Chain
from nnkernels.models.check import compare_rows
from nnkernels.models.torch import as_numpy
from nnkernels.network import Network

_SOURCE = "from_state_dict"

# A mapping of names to tensors, possibly nested, or the path of a .safetensors file.
Tensors: TypeAlias = Mapping[str, Any] | Path

# Names of a layer's tensors in PyTorch, flax and Keras, and their roles here.
_ROLES = {
    "weight": "weight", "kernel": "kernel", "bias": "bias", "scale": "gamma", "gamma": "gamma", "beta": "bias",
    "running_mean": "mean", "moving_mean": "mean", "mean": "mean",
    "running_var": "variance", "moving_variance": "variance", "var": "variance",
}  # fmt: skip

# A tensor that is not needed, and the first parts of names in flax.
_IGNORED = "num_batches_tracked"
_COLLECTIONS = ("params", "batch_stats")

# Default epsilon of batch normalisation: of PyTorch and flax, and of Keras.
_EPSILON = 1e-5
_EPSILON_OF_KERAS = 1e-3

# The supported dtypes in a file, little-endian. bfloat16 is the upper half of a float32.
_DTYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}

# Upper limit of layers listed in a message.
_MOST_LISTED = 20

# Upper limit of nested mappings.
_MOST_DEPTH = 100

# Upper limits of layers and steps in the search for an order in which the shapes fit.
_MOST_SEARCHED = 100
_STEPS = 10_000


class _Layer(NamedTuple):
    name: str
    tensors: dict[str, NDArray[Any]]  # by role
    epsilon: float = _EPSILON

    @property
    def is_dense(self) -> bool:
        return "mean" not in self.tensors

    @property
    def widths(self) -> tuple[int, int]:
        """The numbers of inputs and outputs."""
        if "kernel" in self.tensors:
            return self.tensors["kernel"].shape
        if self.is_dense:
            return self.tensors["weight"].shape[::-1]
        return (self.tensors["mean"].size,) * 2

    def __str__(self) -> str:
        inputs, outputs = self.widths
        return f"{self.name!r} ({inputs} -> {outputs})" if self.is_dense else f"{self.name!r} (normalises {inputs})"


def from_state_dict(
    tensors: Tensors,
    activations: Sequence[Activation],
    *,
    order: Sequence[str] | None = None,
    epsilon: float | None = None,
    check: tuple[ArrayLike, ArrayLike] | None = None,
) -> Network:
    """Convert bare weights, such as a PyTorch ``state_dict`` or the parameters of a flax module.

    The last part of a tensor's name is its role. ``weight`` is a matrix (outputs, inputs);
    ``kernel``, as in flax and Keras, is a matrix (inputs, outputs). A layer with ``running_mean``
    and ``running_var`` (or ``mean`` and ``var``, ``moving_mean`` and ``moving_variance``) is batch
    normalisation. It is folded into the adjacent dense layer, in float64; as first layer it becomes
    a ``Scale``.

    Parameters
    ----------
    tensors : mapping, str, bytes or path-like
        A mapping from names such as "0.weight", "fc1.bias" or "params/Dense_0/kernel" to tensors of
        any library, possibly nested; or the path of a .safetensors file. For a checkpoint, pass the
        entry that holds the weights. For a .pt file, pass the result of
        ``torch.load(path, weights_only=True)``.
    activations : sequence
        One activation per layer, as in ``Dense``, in the order of the forward pass. Batch
        normalisation counts as a layer, and a ReLU after it belongs to it:
        ``[None, "relu", None]``.
    order : sequence of str, optional
        The names of the layers in the order of the forward pass, such as ["fc1", "fc2"]. By default
        it is the order of the mapping. If the mapping is sorted by name, it is the order of the
        numbers in the names, or the only order in which the shapes fit. PyTorch lists layers in the
        order of their definition: pass ``order`` if the forward pass has another one.
    epsilon : float, optional
        Number that batch normalisation adds to the variance. Defaults to 1e-3, as in Keras, if the
        names are moving_mean and moving_variance, else to 1e-5, as in PyTorch and flax.
    check : (x, y), optional
        Rows and the model's outputs for them, computed in the dtype of the weights, to compare with
        the network's outputs. This is recommended, since names can be misleading.

    Returns
    -------
    Network
        A network with the dtype of the weights; bfloat16 becomes float32.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a tensor has an unknown name, dtype or shape. If the number of activations is wrong. If
        the order is ambiguous. If folded weights exceed the range of the dtype. If a file is not in
        the safetensors format. If the outputs differ from ``check``. The message lists the layers
        found.
    FileNotFoundError, OSError, MemoryError
        As in ``load``.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> tensors = {"fc1.weight": [[1.0, -1.0]], "fc1.bias": [0.5], "fc2.kernel": [[1.0, 2.0, 3.0]]}
    >>> nnk.from_state_dict(tensors, ["relu", "softmax"])
    Network of 2 layers, float64
      layer  inputs  outputs  activation  parameters
          1       2        1  relu                 3
          2       1        3  softmax              6
      total                                        9
    """
    source = _SOURCE
    entries: list[str] = []
    if isinstance(tensors, (str, bytes, PathLike)):
        source = f"{_SOURCE}({fsdecode(tensors)!r})"
        named: Iterable[tuple[str, Any]] = _read(tensors).items()
        chosen = False
    elif isinstance(tensors, Mapping):
        named = list(_flattened(tensors))
        chosen = _is_chosen(named)
        entries = _entries(tensors)
    else:
        got = type(tensors).__name__
        raise TypeError(f"{_SOURCE} expected a mapping of names to tensors or the path of a .safetensors file, got a {got}")
    if isinstance(activations, str) or not isinstance(activations, Sequence):
        raise TypeError(f"{_SOURCE} expected activations to be a list with one for each layer, got {activations!r}")
    if epsilon is not None:
        epsilon = as_number(_SOURCE, "epsilon", epsilon, "a number of at least 0", lambda number: 0.0 <= number < np.inf)
    chain = Chain(source)
    layers = _in_order(chain, _layers(chain, named, entries), chosen, order)
    found = f"found {len(layers)} layers: {_listed(layers)}" if layers else "found no layers"
    if len(activations) != len(layers):
        raise ValueError(f"{source} expected one activation or None for each layer, got {len(activations)}; {found}")
    for layer, activation in zip(layers, activations, strict=True):
        name, parts = f"layer {layer.name!r}", layer.tensors
        if layer.is_dense:
            chain.dense(name, parts["weight"] if "weight" in parts else parts["kernel"].T, parts.get("bias"))
        else:
            gamma = parts.get("gamma", parts.get("weight", np.ones(())))
            own = layer.epsilon if epsilon is None else epsilon
            chain.batch_norm(name, parts["mean"], parts["variance"], own, gamma, parts.get("bias", 0.0))
        chain.activation(name, name_of(*number_of(activation)))
    network = chain.network()
    if check is not None:
        compare_rows(source, network, chain.network64(), check)
    return network


def _flattened(tensors: Mapping[str, Any], path: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    if depth > _MOST_DEPTH:
        raise ValueError(f"{_SOURCE} expected at most {_MOST_DEPTH} nested mappings, got more at {path[:60]!r}")
    for name, value in tensors.items():
        whole = f"{path}/{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _flattened(value, whole, depth + 1)
        else:
            yield whole, value


def _entries(tensors: Any) -> list[str]:
    """Return the names of entries that hold layers, such as "model_state_dict" of a checkpoint."""
    return [
        str(name)
        for name, entry in tensors.items()
        if isinstance(entry, Mapping) and any(re.search(r"[./](weight|kernel)$", part) for part, _ in _flattened(entry))
    ]


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a .safetensors file. Its own NumPy reader does not support bfloat16."""
    advice = "{reader} reads it, and from_state_dict takes a mapping of names to tensors"
    return read_file(path, lambda _: _read_checked(path), "tensors", "safetensors", advice)


def _read_checked(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file whose header safetensors has checked."""
    tensors = {}
    with open(path, "rb") as file:  # noqa: PTH123 - as read_file
        start = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if name.rpartition(".")[2] == _IGNORED:
                continue
            if entry["dtype"] not in _DTYPES:
                raise ValueError(f"expected tensor {name!r} to be {', '.join(_DTYPES)}, got {entry['dtype']}")
            begin, end = entry["data_offsets"]
            dtype = np.dtype(_DTYPES[entry["dtype"]])
            file.seek(8 + start + begin)
            array = np.fromfile(file, dtype, (end - begin) // dtype.itemsize).reshape(entry["shape"])
            if entry["dtype"] == "BF16":
                array = widened(array)
            tensors[name] = array
    return tensors


def _split(whole: str) -> tuple[str, list[str]]:
    """Return the collection at the beginning of a name, or "", and the other parts."""
    parts = re.split(r"[./]", whole)
    return (parts[0], parts[1:]) if parts[0] in _COLLECTIONS and len(parts) > 1 else ("", parts)


def _layers(chain: Chain, named: Iterable[tuple[str, Any]], entries: list[str]) -> list[_Layer]:
    """Return the layers of named tensors, in the order of their first tensors.

    ``entries`` are the entries of a checkpoint that hold layers, to suggest in an error message.
    """
    layers: dict[str, _Layer] = {}
    for whole, value in named:
        *path, last = _split(whole)[1]
        if last == _IGNORED:
            continue
        if last not in _ROLES:
            if entries and whole.split("/")[0] not in entries:
                several = "one of its entries" if len(entries) > 1 else "its entry"
                chain.refuse(
                    repr(whole), f"it is not a tensor of a layer; for a checkpoint, pass {several} {listed(entries, 3, repr)}"
                )
            chain.refuse(f"tensor {whole!r}", f"expected a name that ends with one of {', '.join(_ROLES)}")
        name = ".".join(path)
        layer = layers.setdefault(name, _Layer(name, {}))
        if last.startswith("moving_"):
            layers[name] = layer = layer._replace(epsilon=_EPSILON_OF_KERAS)
        if _ROLES[last] in layer.tensors:
            chain.refuse(f"tensor {whole!r}", f"expected one {_ROLES[last]} in this layer, got two")
        layer.tensors[_ROLES[last]] = _numbers(chain, f"tensor {whole!r}", value)
    for layer in layers.values():
        _check(chain, f"layer {layer.name!r}", layer.tensors)
    return list(layers.values())


def _check(chain: Chain, name: str, tensors: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError if tensors do not form a layer."""
    shapes = ", ".join(f"{role} {tensor.shape}" for role, tensor in tensors.items())
    if "mean" in tensors or "variance" in tensors:
        good = {"mean", "variance"} <= tensors.keys() and "kernel" not in tensors and not {"gamma", "weight"} <= tensors.keys()
        if not good or any(tensor.ndim != 1 or tensor.size != tensors["mean"].size for tensor in tensors.values()):
            expected = "mean, variance, weight and bias, each 1-d and of equal length"
            chain.refuse(name, f"expected batch normalisation with {expected}; got {shapes}")
        return
    matrices = [tensors[role] for role in ("weight", "kernel") if role in tensors]
    if len(matrices) != 1 or matrices[0].ndim != 2 or "gamma" in tensors:
        chain.refuse(name, f"expected one 2-d weight or kernel, and a bias; got {shapes}")
    outputs = matrices[0].shape[0 if "weight" in tensors else 1]
    if "bias" in tensors and tensors["bias"].shape != (outputs,):
        chain.refuse(name, f"expected a bias ({outputs},); got {shapes}")


def _listed(layers: list[_Layer]) -> str:
    return listed([str(layer) for layer in layers], _MOST_LISTED, str)


def _numbers(chain: Chain, name: str, value: Any) -> NDArray[Any]:
    try:
        array = as_numpy(chain, name, value) if hasattr(value, "detach") else as_real(value)
    except TypeError as error:
        chain.refuse(name, str(error))
    if not is_float(array.dtype):
        chain.refuse(name, f"expected float16, bfloat16, float32 or float64, got {array.dtype}")
    return array


# --- The order of layers ---


def _is_chosen(named: list[tuple[str, Any]]) -> bool:
    """Return whether the order of a mapping may be meaningful, because its names are not sorted.

    safetensors sorts names within each dtype, so this counts as sorted too.
    """
    groups: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for whole, value in named:
        collection, parts = _split(whole)
        path = parts[:-1]
        group = groups.setdefault((collection, str(getattr(value, "dtype", ""))), [])
        group.append((whole, tuple(parts), ".".join(path), tuple(path)))
    return not any(
        all(_is_sorted([keys[way] for keys in group]) for group in groups.values())
        for way in range(4)  # four possible sort keys
    )


def _is_sorted(keys: list[Any]) -> bool:
    """Return whether the first occurrences of keys are sorted."""
    first = list(dict.fromkeys(keys))
    return first == sorted(first)


def _in_order(chain: Chain, layers: list[_Layer], chosen: bool, order: Sequence[str] | None) -> list[_Layer]:
    """Return layers in the order of the forward pass.

    ``chosen`` says whether the order of ``layers`` may be meaningful.
    """
    names = [layer.name for layer in layers]
    if order is not None:
        if isinstance(order, str) or not isinstance(order, Sequence) or not all(isinstance(name, str) for name in order):
            raise TypeError(f"{_SOURCE} expected order to be a list of names of layers, got {order!r}")
        if sorted(order) != sorted(names):
            raise ValueError(f"{chain.source} expected order to contain each of {_listed(layers)} once, got {order!r}")
        return sorted(layers, key=lambda layer: list(order).index(layer.name))
    tokens = {name: _tokens(name) for name in names}
    natural = sorted(layers, key=lambda layer: tokens[layer.name])
    if chosen:
        orders = [] if _contradicts(tokens.values()) else [layers]
    elif all(_is_before(tokens[first.name], tokens[second.name]) for first, second in pairwise(natural)):
        orders = [natural]
    else:
        orders = _fitting_orders(natural, tokens) or [natural]  # the chain will report the mismatch
    if len(orders) != 1 or any(not (first.is_dense or second.is_dense) for first, second in pairwise(orders[0])):
        raise ValueError(
            f"{chain.source}: the order of the layers is not clear from names and shapes of {_listed(natural)}: "
            f"pass order=[{names[0]!r}, ...]"
        )
    return orders[0]


def _tokens(name: str) -> list[tuple[int, str]]:
    """Return the parts of a name as a sort key, with numbers as integers."""
    parts = re.split(r"([0-9]{1,9})", name)  # every second part is a number
    return [(int(part), "") if place % 2 else (-1, part) for place, part in enumerate(parts)]


def _is_before(first: list[tuple[int, str]], second: list[tuple[int, str]]) -> bool:
    """Return whether the first part in which two names differ is a number, and smaller in one."""
    one, other = next((pair for pair in zip(first, second, strict=False) if pair[0] != pair[1]), ((0, ""), (0, "")))
    return 0 <= one[0] < other[0]


def _contradicts(order: Iterable[list[tuple[int, str]]]) -> bool:
    """Return whether an order of names contradicts the numbers in them."""
    reached: dict[tuple[tuple[int, str], ...], int] = {}  # last number after each prefix of a name
    for parts in order:
        for place in range(1, len(parts), 2):
            number, beginning = parts[place][0], tuple(parts[:place])
            if number < reached.get(beginning, 0):
                return True
            reached[beginning] = number
    return False


def _fitting_orders(layers: list[_Layer], tokens: dict[str, list[tuple[int, str]]]) -> list[list[_Layer]]:
    """Return at most two orders of layers that fit the numbers in their names and their shapes.

    If the search is too long, return two, which means that the order is ambiguous.
    """
    names = [layer.name for layer in layers]
    if len(names) > _MOST_SEARCHED:
        return [layers, layers]
    earlier = {name: {other for other in names if _is_before(tokens[other], tokens[name])} for name in names}
    orders: list[list[_Layer]] = []
    steps = 0

    def extend(order: list[_Layer], left: list[_Layer]) -> None:
        nonlocal steps
        steps += 1
        if not left:
            orders.append(order)
        waiting = {layer.name for layer in left}
        for layer in left:
            if len(orders) > 1 or steps > _STEPS:
                return
            if (not order or order[-1].widths[1] == layer.widths[0]) and not earlier[layer.name] & waiting:
                extend([*order, layer], [other for other in left if other is not layer])

    extend([], layers)
    return orders if steps <= _STEPS else [layers, layers]
