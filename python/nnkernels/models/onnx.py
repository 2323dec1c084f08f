"""Conversion of ONNX models: the chain of operators from input to output becomes layers."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels.activations import TABLE, number_of
from nnkernels.files import Path
from nnkernels.layers import Dense, Scale
from nnkernels.models import composed
from nnkernels.models.chain import SELU_ALPHA, SELU_GAMMA, Chain
from nnkernels.models.check import arrays_of, compare_rows
from nnkernels.models.onnx_file import FIRST_LENGTH, MOST_AXES, Model, Node, float_type, shown
from nnkernels.network import Network


def from_onnx(path: Path, *, output: str | None = None, check: tuple[ArrayLike, ArrayLike] | None = None) -> Network:
    """Read a network from an ONNX file of any exporter.

    The model must be a chain of dense layers: Gemm, or MatMul and Add, with activations, including
    activations composed of several operators, such as SiLU and GELU. Batch normalisation and other
    linear operators are folded into dense layers, in float64. Scaler, Sub followed by Mul, and
    batch normalisation as first layer become a ``Scale``. Operators that do not change the rows,
    such as Identity, Dropout, Cast, Flatten and Reshape, are left out.

    Parameters
    ----------
    path : str, bytes or path-like
        The file. Weights in other files (external data) must be in the same folder.
    output : str, optional
        The name of an output, if the model has several.
    check : (x, y), optional
        Inputs (rows, inputs) and the model's outputs for them (rows, outputs), from ONNX Runtime
        for example, to compare with the network's outputs.

    Returns
    -------
    Network
        A network with the dtype of the model's weights; bfloat16 becomes float32. It keeps the
        model's metadata. Names of classes in the model become the entry "classes", a JSON list.

    Raises
    ------
    TypeError
        If ``path`` is not a path, or ``check`` is not two arrays.
    ValueError
        If the file is not an ONNX model, or the model is not such a chain; the message names the
        node and the reason. If folded weights exceed the range of the dtype. If the outputs differ
        from ``check`` by more than rounding errors.
    ImportError
        If the package onnx is not installed.
    FileNotFoundError, OSError
        If a file is missing, or the system cannot read it.

    Warns
    -----
    UserWarning
        If operators at the end that convert probabilities to labels, such as ArgMax and ZipMap, are
        left out.

    Notes
    -----
    Nothing in a file is executed, and memory stays proportional to the file's size. If an input
    with several axes is flattened, the network takes flat rows. Attributes in a file are float32;
    they are read as the shortest decimal number, so that 0.01 is 0.01.

    Examples
    --------
    >>> import nnkernels as nnk, pathlib, tempfile
    >>> net = nnk.Network([nnk.Dense([[1.0, -1.0]], [0.5], "sigmoid")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.to_onnx(pathlib.Path(folder, "net.onnx"))
    ...     copy = nnk.from_onnx(pathlib.Path(folder, "net.onnx"))
    >>> copy.layers[0].weights, copy.layers[0].activation
    (array([[ 1., -1.]]), 'sigmoid')
    """
    model = Model(path)
    end, dropped = model.cut(output)
    with np.errstate(all="ignore"):  # NaN and infinity are kept
        walk = _Walk(model, end, dropped)
        network, network64 = walk.networks()
        if check is not None:
            x, y = arrays_of(model.source, check)
            if x.ndim > 2 and x.shape[-1] != network.inputs:
                x = x.reshape(len(x), -1)  # as the model does
            compare_rows(model.source, network, network64, (x, y))
    if dropped:
        names = ", ".join(model.node(number).name for number in dropped[:8]) + ", ..." * (len(dropped) > 8)
        message = f"{model.source}: left out the conversion of outputs to labels: {names}"
        warnings.warn(message, UserWarning, stacklevel=_callers_level())
    return walk.one_neuron(network)


def _callers_level() -> int:
    """Return the ``stacklevel`` of the line outside this package that called from_onnx or load."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("nnkernels."):
        level, frame = level + 1, frame.f_back
    return level


class _Walk:
    """A walk from a model's input to its output, which adds layers to a chain.

    ``axes`` has the lengths of the current value's axes, or None for an unknown length.
    ``features`` is the index of the axis of features, or None after one neuron. ``fixed`` is False
    until an operator depends on ``features``; until then it may change. ``last`` is the last
    addition to the chain: "", "dense", "affine", "scale" or an activation.
    """

    def __init__(self, model: Model, end: str, dropped: list[int]) -> None:
        self.model = model
        numbers = model.ancestors([end])
        behind = [name for number in dropped for name in model.node(number).inputs]
        model.fold(model.ancestors([end, *behind]))
        self._check_operators(numbers)
        start = self._find_input(numbers, end)
        self.axes = self._find_axes(model.inputs[start])
        self._place = max(0, len(self.axes) - 1)  # axis of features of the input
        self.features: int | None = self._place
        self.fixed = self.moved = self.both_classes = False
        self.last = ""
        self.chain = Chain(model.source, self.axes[-1] if self.axes else None)
        self._scales = 0
        self._widest = 0
        self._dropped = dropped
        self._end = end
        self._consumers: dict[str, list[int]] = {}
        for number in numbers:
            node = model.node(number)
            if model.batch_of(node.outputs[0]) is None:  # Shape does not consume the value
                for name in dict.fromkeys(node.inputs):
                    self._consumers.setdefault(name, []).append(number)
        self.same_rows: set[str] = set()  # earlier values with the same first axis
        self._follow(start)

    # The walk

    def _check_operators(self, numbers: list[int]) -> None:
        """Refuse unsupported operators first: this is the most useful error message."""
        for number in numbers:
            node = self.model.node(number)
            if node.has_subgraph():
                node.refuse("subgraphs are not supported")
            known = node.operator in OPERATORS or node.operator in composed.OPERATORS or node.operator == "Constant"
            if not known and self.model.batch_of(node.outputs[0]) is None:
                node.refuse("expected an operator of a chain of dense layers, such as Gemm, MatMul, Add or Relu")
            if not node.inputs and node.operator != "Constant":
                node.refuse("expected an input, found none")

    def _find_input(self, numbers: list[int], end: str) -> str:
        model = self.model
        needed = [end, *(name for number in numbers for name in model.node(number).inputs)]
        given = [name for name in dict.fromkeys(needed) if model.is_given(name)]
        if len(given) != 1:
            names = ", ".join(repr(shown(name)) for name in given[:20]) or "none"
            raise ValueError(f"{model.source}: expected the output to depend on one input, got {names}")
        return given[0]

    def _find_axes(self, value: Any) -> list[int | None]:
        """Return the declared shape of the input, with None for unknown lengths."""
        if not value.type.tensor_type.HasField("shape"):
            return [None, None]
        dims = value.type.tensor_type.shape.dim
        if not 1 <= len(dims) <= MOST_AXES:
            raise ValueError(f"{self.model.source}: expected an input of 1 to {MOST_AXES} axes, got {len(dims)}")
        return [dim.dim_value if dim.dim_value > 0 else None for dim in dims]

    def _follow(self, value: str) -> None:
        """Walk from a value to the end. Each node adds to the chain, and returns the next value."""
        while value != self._end:
            self.same_rows.add(value)
            numbers = self._consumers.get(value, [])
            if not numbers:
                self.model.refuse(f"output {shown(self._end)!r}", f"expected a node that takes {shown(value)!r}, found none")
            node = self.model.node(numbers[0])
            branches = len(numbers) > 1 or node.inputs.count(value) > 1
            value = self._merge(value, numbers) if branches else self._step(node, value)
        after = [] if self.features is None else self.axes[self.features + 1 :]
        if any(length != 1 for length in after) and self.features != self._place:
            self.model.refuse(f"output {shown(self._end)!r}", "expected its features on the last axis, or on the input's axis")

    def _step(self, node: Node, value: str) -> str:
        """Add a node's operator to the chain, and return the next value."""
        for name in node.inputs:
            if name and name != value and self.model.constant(name) is None:
                node.refuse(f"expected a constant as the other input, but {shown(name)!r} is computed")
        handler = OPERATORS.get(node.operator)
        if handler is None:
            node.refuse("expected this operator only as part of a composed activation, such as GELU")
        if node.inputs[0] != value and node.operator not in _EITHER:
            node.refuse("expected the value of the chain as first input, got a constant")
        if self.both_classes and handler not in _KEEPING:
            node.refuse("expected no operator after the concatenation of both classes of a sigmoid")
        return handler(self, node) or node.outputs[0]

    def _merge(self, value: str, numbers: list[int]) -> str:
        """Add an activation composed of several operators, which starts with these nodes.

        Return the next value.
        """
        known = {value: composed.INPUT}
        waiting = dict.fromkeys(numbers)  # an ordered set
        tolerance = 1e-6
        for _ in range(_MOST_COMPOSED):
            number = next((number for number in waiting if self._inputs(number, known) is not None), None)
            if number is None:
                break
            del waiting[number]
            node = self.model.node(number)
            if any(array is not None and array.dtype == np.float16 for array in map(self.model.constant, node.inputs)):
                tolerance = 2e-3
            expression = composed.expression(node.operator, *(self._inputs(number, known) or ()))
            if expression is None or (node.operator == "Concat" and node.integer("axis", 0) not in self._places()):
                break
            if node.operator == "Cast":
                float_type(node)
            known[node.outputs[0]] = expression
            found = None if waiting else composed.recognise(expression, tolerance)
            if found:
                self._add_composed(node, *found)
                return node.outputs[0]
            waiting |= dict.fromkeys(self._consumers.get(node.outputs[0], []))
        nodes = ", ".join(self.model.node(number).name for number in numbers[:4])
        reason = "expected a chain, but several nodes take this value, and they are not a known activation"
        raise ValueError(f"{self.model.source}: value {shown(value)!r}: {reason}: {nodes}")

    def _inputs(self, number: int, known: Mapping[str, composed.Expression]) -> list[composed.Expression] | None:
        """Return the expressions of a node's inputs; None unless all are known or numbers."""
        inputs = []
        for name in self.model.node(number).inputs:
            array = self.model.constant(name)
            if name in known:
                inputs.append(known[name])
            elif array is not None and array.size == 1 and array.ndim <= len(self.axes) and array.dtype.kind in "fiu":
                inputs.append(composed.number(float(str(array.reshape(-1)[0]))))  # shortest decimal
            else:
                return None
        return inputs

    def _add_composed(self, node: Node, name: str, option: float) -> None:
        if name != "complement":
            self.activation(node, name, option)
            return
        if self.last != "sigmoid" or self.chain.width is None:
            node.refuse("expected both classes to be computed from a sigmoid")
        self.both_classes = True
        self.chain.width *= 2

    # Additions to the chain

    def constant(self, node: Node, place: int) -> NDArray[Any]:
        """Return a constant input, which must have a floating-point dtype."""
        array = self.model.constant(node.inputs[place]) if place < len(node.inputs) else None
        if array is None:
            node.refuse(f"expected a constant as input {place}, found none")
        if array.dtype.kind != "f":
            node.refuse(f"expected floating-point numbers as input {place}, got {array.dtype}")
        return array

    def integers(self, node: Node, name: str) -> list[int] | None:
        """Return integers from an attribute, or from the second input since opset 13, or None."""
        values: Any = node.numbers(name)
        if len(node.inputs) > 1 and node.inputs[1]:
            array = self.model.constant(node.inputs[1])
            values = None if array is None or array.size > MOST_AXES else array.ravel().tolist()
        if values is not None and (len(values) > MOST_AXES or not all(isinstance(value, int) for value in values)):
            node.refuse(f"expected {name} to be at most {MOST_AXES} integers, got {shown(values)}")
        return list(values) if values is not None else None

    def row(self, node: Node, array: NDArray[Any]) -> NDArray[Any]:
        """Return a constant as one number, or as one number for each feature."""
        shape = array.shape
        if node.integer("broadcast", 0) and node.attribute("axis") is not None:  # before opset 7
            first = node.integer("axis", 0) % max(1, len(self.axes))
            shape = (1,) * first + shape + (1,) * (len(self.axes) - first - len(shape))
        shape = (1,) * (len(self.axes) - len(shape)) + shape
        more = len(shape) - len(self.axes)
        if more:
            self.axes[:0] = [1] * more
            self.features = None if self.features is None else self.features + more
            self.same_rows.clear()
        if array.size == 1:
            return array.reshape(())
        if self.features is None or array.size != shape[self.features]:
            node.refuse(f"expected one number for each feature, got a constant of shape {array.shape}")
        self.fixed = True
        return array.reshape(-1)

    def need_features(self, node: Node, place: int) -> None:
        """Refuse an operator that does not act along the axis of features."""
        if not self.fixed and not self.moved and len(self.axes) > 2 and place == 1:  # channels are the features
            self.features = self._place = place
            self.chain.width = self.axes[place]
        if self.features is None or place != self.features:
            node.refuse(f"expected it to act along axis {self.features}, the features, got axis {place}")
        self.fixed = True

    def _places(self) -> tuple[int, ...]:
        """Return both indices of the axis of features: from the front, and from the end."""
        return () if self.features is None else (self.features, self.features - len(self.axes))

    def dense(self, node: Node, weights: NDArray[Any], bias: NDArray[Any] | None = None) -> None:
        """Add a dense layer of weights (outputs, inputs)."""
        if weights.ndim != 2:
            node.refuse(f"expected weights of two axes, got shape {weights.shape}")
        self.need_features(node, len(self.axes) - 1)
        self.model.count(node.name, weights.size)
        self._widest = max(self._widest, *weights.shape)
        self.chain.dense(node.name, weights, bias)
        self.axes[-1] = len(weights)
        self.last = "dense"

    def affine(self, node: Node, factor: ArrayLike, shift: ArrayLike) -> None:
        """Add x * factor + shift."""
        self.chain.affine(node.name, factor, shift)
        self.last = "dense" if self.last == "dense" else "affine"

    def batch_norm(self, node: Node, mean: NDArray[Any], variance: NDArray[Any], epsilon: float, *affine: NDArray[Any]) -> None:
        """Add batch normalisation."""
        self.model.count(node.name, 2 * mean.size)  # it may become a Scale
        self.chain.batch_norm(node.name, mean, variance, epsilon, *affine)
        self.last = "dense" if self.last == "dense" else "affine"

    def scale(self, node: Node, offset: ArrayLike, scale: ArrayLike) -> None:
        """Add a layer (x - offset) * scale."""
        self.chain.scale(node.name, offset, scale)
        self._scales += 1
        self.last = "scale"

    def activation(self, node: Node, name: str, option: float | None = None) -> None:
        """Add an activation. ``option`` may be None for the default."""
        self.chain.activation(node.name, name, option)
        self.last = name

    def following(self, value: str) -> Node | None:
        """Return the only node that takes a value; None if there is not exactly one."""
        numbers = self._consumers.get(value, [])
        return self.model.node(numbers[0]) if len(numbers) == 1 and value != self._end else None

    # The end

    def networks(self) -> tuple[Network, Network]:
        """Return the network, and the same network in float64 without rounding."""
        model, width = self.model, self.chain.width or 0
        if width > 2**16 + model.size:  # a Scale is broadcast to this length
            model.refuse("its input", f"expected fewer elements for a file of {model.size} bytes, got {width}")
        model.count("its layers", 2 * self._scales * max(width, self._widest))
        several = self.last == "sigmoid" and not (self.both_classes and self.chain.width == 2)  # independent labels
        classes = None if several else model.classes(self._dropped, self.chain.width)
        metadata = ({} if classes is None else {"classes": classes}) | model.metadata()
        dtype = None if self._widest else model.float_type_of(self._end)  # without weights
        network, network64 = self.chain.network(metadata, dtype), self.chain.network64()
        return (_of_both_classes(network), _of_both_classes(network64)) if self.both_classes else (network, network64)

    def one_neuron(self, network: Network) -> Network:
        """Return the network, without the axis of outputs if its model has none."""
        if self.features is not None:
            return network
        layers = list(network.layers)
        dense = [place for place, layer in enumerate(layers) if isinstance(layer, Dense)]
        if not dense:
            self.model.refuse(f"output {shown(self._end)!r}", "expected an axis of features, since no dense layer is before it")
        for place, layer in enumerate(layers[dense[-1] :], dense[-1]):
            if isinstance(layer, Dense):
                layers[place] = Dense(layer.weights[0], layer.bias[0], layer.activation)
            else:
                layers[place] = Scale(layer.offset[0], layer.scale[0])
        return Network(layers, network.dtype, network.metadata)


def _of_both_classes(network: Network) -> Network:
    """Replace outputs p = sigmoid(x) by 1 - p and p, with 1 - p = sigmoid(-x)."""
    *layers, last = network.layers
    assert isinstance(last, Dense)
    weights, bias = (np.concatenate([-array, array]) for array in (last.weights, last.bias))
    return Network([*layers, Dense(weights, bias, last.activation)], network.dtype, network.metadata)


# Operators that multiply and add


def _gemm(walk: _Walk, node: Node) -> None:
    if node.integer("transA", 0):
        node.refuse("expected transA=0, since its first input is the rows")
    if len(walk.axes) != 2:
        node.refuse(f"expected rows (batch, inputs), got {len(walk.axes)} axes: flatten them before")
    weights, alpha, beta = walk.constant(node, 1), node.number("alpha", 1.0), node.number("beta", 1.0)
    weights = weights if node.integer("transB", 0) else weights.T
    bias = walk.row(node, walk.constant(node, 2)) if len(node.inputs) > 2 and node.inputs[2] else None
    if alpha == 1.0 and (bias is None or beta == 1.0):
        walk.dense(node, weights, bias)
    else:
        walk.dense(node, weights)
        walk.affine(node, alpha, 0.0 if bias is None else beta * bias.astype(np.float64))


def _matmul(walk: _Walk, node: Node) -> None:
    weights = walk.constant(node, 1)
    walk.dense(node, weights.T if weights.ndim > 1 else weights[np.newaxis])
    if weights.ndim == 1:
        del walk.axes[-1]
        walk.features = None


def _other(walk: _Walk, node: Node) -> tuple[NDArray[Any], bool]:
    """Return the constant operand as a row, and whether it is the second operand."""
    second = walk.model.constant(node.inputs[0]) is None
    return walk.row(node, walk.constant(node, int(second))), second


def _add(walk: _Walk, node: Node) -> None:
    walk.affine(node, 1.0, _other(walk, node)[0])


def _mul(walk: _Walk, node: Node) -> None:
    walk.affine(node, _other(walk, node)[0], 0.0)


def _div(walk: _Walk, node: Node) -> None:
    walk.affine(node, _divisor(walk, node), 0.0)


def _divisor(walk: _Walk, node: Node) -> NDArray[np.float64]:
    """Return the reciprocal of a constant divisor."""
    row, second = _other(walk, node)
    if not second or not row.all():
        node.refuse("expected a constant other than 0 as the divisor")
    return 1.0 / row.astype(np.float64)


def _sub(walk: _Walk, node: Node) -> str | None:
    row, second = _other(walk, node)
    offset = row.astype(np.float64)
    value = node.outputs[0]
    following = walk.following(value)
    if second and following and following.operator in ("Mul", "Div"):
        others = [name for name in following.inputs if name != value]
        after = walk.following(following.outputs[0])
        linear = walk.last == "dense" and after is not None and (after.operator == "Add" or after.operator in ACTIVATIONS)
        if len(others) == 1 and walk.model.constant(others[0]) is not None and not linear:
            walk.scale(node, offset, _divisor(walk, following) if following.operator == "Div" else _other(walk, following)[0])
            return following.outputs[0]
    walk.affine(node, 1.0 if second else -1.0, -offset if second else offset)
    return None


def _scaler(walk: _Walk, node: Node) -> None:
    offset, scale = (
        walk.row(node, np.array(node.numbers(name) or [default])) for name, default in (("offset", 0.0), ("scale", 1.0))
    )
    walk.scale(node, offset, scale)


def _batch_normalization(walk: _Walk, node: Node) -> None:
    if node.integer("training_mode", 0) or any(node.outputs[1:]):
        node.refuse("expected batch normalisation in inference mode, got training mode")
    scale, shift, mean, variance = (walk.constant(node, place) for place in range(1, 5))
    if not scale.shape == shift.shape == mean.shape == variance.shape == (scale.size,):
        node.refuse(f"expected 1-d scale, B, mean and var of equal length, got shapes {scale.shape}, {shift.shape}, ...")
    walk.need_features(node, 1)
    walk.batch_norm(node, mean, variance, node.number("epsilon", 1e-5), scale, shift)


# Activations


def _activation(walk: _Walk, node: Node) -> None:
    kind = ACTIVATIONS[node.operator]
    option = node.number("alpha", kind.default)
    try:
        number, exact = number_of(node.comment)  # where to_onnx writes all digits
    except ValueError:
        number, exact = 0, 0.0
    if TABLE[number] is kind and np.float32(exact) == np.float32(option):
        option = exact
    walk.activation(node, kind.name, option if kind.option else None)


def _softmax(walk: _Walk, node: Node) -> None:
    old = walk.model.opset < 13
    axis = node.integer("axis", 1 if old else -1)
    place = axis + len(walk.axes) if axis < 0 else axis
    if old and walk.features is not None and place <= walk.features:  # along this axis and all later ones
        if any(length != 1 for number, length in enumerate(walk.axes) if number >= place and number != walk.features):
            node.refuse("expected it to act along the features only")
        place = walk.features
    walk.need_features(node, place)
    _activation(walk, node)


def _gelu(walk: _Walk, node: Node) -> None:
    approximate = node.attribute("approximate", b"none")
    if approximate not in (b"none", b"tanh"):
        node.refuse(f"expected approximate to be 'none' or 'tanh', got {shown(approximate)}")
    walk.activation(node, "gelu" if approximate == b"none" else "gelu_tanh")


def _prelu(walk: _Walk, node: Node) -> None:
    slopes = walk.constant(node, 1)
    if not slopes.size or (slopes != slopes.flat[0]).any():
        node.refuse("expected one slope, got several")
    slope = slopes.flat[0]
    walk.activation(node, "leaky_relu", float(slope if slope.dtype == np.float16 else str(slope)))  # shortest decimal


def _selu(walk: _Walk, node: Node) -> None:
    numbers = (("alpha", SELU_ALPHA), ("gamma", SELU_GAMMA))
    given = ((node.number(name, exact), exact) for name, exact in numbers)
    walk.chain.selu(node.name, *(exact if math.isclose(value, exact, rel_tol=1e-7) else value for value, exact in given))
    walk.last = "affine"


def _celu(walk: _Walk, node: Node) -> None:
    walk.chain.celu(node.name, node.number("alpha", 1.0))
    walk.last = "affine"


def _swish(walk: _Walk, node: Node) -> None:
    if node.number("alpha", 1.0) != 1.0:
        node.refuse("expected alpha=1, as in silu")
    walk.activation(node, "silu")


# Operators that keep the rows


def _keep(walk: _Walk, node: Node) -> None:
    pass


def _cast(walk: _Walk, node: Node) -> None:
    float_type(node)


def _dropout(walk: _Walk, node: Node) -> None:
    mode = walk.model.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if (walk.model.opset < 7 and not node.integer("is_test", 0)) or (mode is not None and mode.any()):
        node.refuse("expected dropout in inference mode, got training mode")


def _flatten(walk: _Walk, node: Node) -> None:
    axis = node.integer("axis", 1)
    _join(walk, node, axis + len(walk.axes) if axis < 0 else axis)


def _join(walk: _Walk, node: Node, first: int) -> None:
    """Flatten the axes from ``first`` on into the features, and the axes before into one."""
    joined = walk.axes[first:]
    if walk.fixed:
        rest = [length for place, length in enumerate(walk.axes) if place >= first and place != walk.features]
        if walk.features is None or walk.features < first or any(length != 1 for length in rest):
            node.refuse("expected it to keep the features of a row")
    elif walk.moved or not 0 < first < len(walk.axes):
        node.refuse("expected it to flatten each element of the batch to a row")
    else:
        walk.chain.width = _product(joined)
    if first > 1:
        walk.same_rows.clear()
    walk.axes, walk.features = [_product(walk.axes[:first]), walk.chain.width], 1


def _product(lengths: list[int | None]) -> int | None:
    return None if None in lengths else math.prod(length or 0 for length in lengths)


def _reshape(walk: _Walk, node: Node) -> None:
    target = walk.integers(node, "shape")
    if not target:
        node.refuse("expected a constant shape of at least one axis")
    copies = not node.integer("allowzero", 0)
    axes = [*walk.axes, *[None] * len(target)]
    shape = [axes[place] if new == 0 and copies else None if new == -1 else new for place, new in enumerate(target)]
    if target[0] == FIRST_LENGTH:
        if walk.model.batch_of(node.inputs[1]) not in walk.same_rows:
            node.refuse("expected its shape to begin with the number of rows of its input")
        shape[0] = walk.axes[0]
    if any(length is not None and length < 0 for length in shape):
        node.refuse(f"expected lengths of at least 0, -1, or the number of rows, got shape {target}")
    rows_stay = target[0] != -1 and shape[0] == walk.axes[0]
    row = _product(walk.axes[1:])
    if not walk.fixed and len(shape) == 2 and (rows_stay if shape[1] is None else row in (None, shape[1])):
        _join(walk, node, 1)
        if not rows_stay:
            walk.same_rows.clear()
        walk.chain.width = row if shape[1] is None else shape[1]
        return
    width = walk.chain.width
    if width == 1 and walk.fixed:
        place, stays = (None, len(shape) == 1) if shape[-1] != 1 else (len(shape) - 1, True)
    else:
        place = max((place for place, length in enumerate(shape) if length != 1), default=0)
        after = walk.axes[(walk.features or 0) + 1 :]
        stays = all(length == 1 for length in after) and (
            shape[place] == width if shape[place] is not None else shape[:place] == walk.axes[: walk.features]
        )
    if not stays:
        node.refuse(f"expected it to keep the {width} features of a row, got shape {target}")
    if not rows_stay:
        walk.same_rows.clear()
    walk.axes, walk.features = shape, place


def _squeeze(walk: _Walk, node: Node) -> None:
    length = dict(enumerate(walk.axes))
    if walk.features is not None and walk.fixed:
        length[walk.features] = walk.chain.width
    axes = walk.integers(node, "axes")
    chosen = (
        {place for place in length if length[place] == 1}
        if axes is None
        else {_place(node, axis, len(length)) for axis in axes}
    )
    for place in chosen:
        if length[place] not in ((1,) if place == walk.features else (1, None)):
            node.refuse(f"expected an axis of length 1, got axis {place} of length {length[place]}")
    walk.axes = [length[place] for place in length if place not in chosen]
    walk.same_rows.clear()
    if walk.features in chosen and not walk.fixed:  # the axis before becomes the features
        if walk.moved or not walk.axes:
            node.refuse("expected it to keep the features of a row")
        walk.features, walk.chain.width = len(walk.axes) - 1, walk.axes[-1]
    elif walk.features is not None:
        features = walk.features
        walk.features = None if features in chosen else features - sum(place < features for place in chosen)


def _unsqueeze(walk: _Walk, node: Node) -> None:
    axes = walk.integers(node, "axes") or []
    rank = len(walk.axes) + len(axes)
    chosen = sorted({_place(node, axis, rank) for axis in axes})
    if not axes or len(chosen) != len(axes) or rank > MOST_AXES:
        node.refuse(f"expected different new axes, at most {MOST_AXES} in all, got {axes}")
    walk.same_rows.clear()
    for place in chosen:
        walk.axes.insert(place, 1)
        if walk.features is not None and place <= walk.features:
            walk.features += 1
    if walk.features is None:
        walk.features = chosen[-1]


def _transpose(walk: _Walk, node: Node) -> None:
    rank = len(walk.axes)
    order = node.numbers("perm") or list(reversed(range(rank)))
    if sorted(order) != list(range(rank)):
        node.refuse(f"expected perm to be a permutation of {rank} axes, got {shown(order)}")
    walk.axes = [walk.axes[place] for place in order]
    walk.same_rows.clear()
    walk.features = None if walk.features is None else order.index(walk.features)
    walk.moved = walk.moved or (not walk.fixed and order != list(range(rank)))


def _place(node: Node, axis: int, rank: int) -> int:
    """Return an axis as an index from the front."""
    if not -rank <= axis < rank:
        node.refuse(f"expected axes from {-rank} to {rank - 1}, got {axis}")
    return axis % rank


# Activations with an ONNX operator, by its name.
ACTIVATIONS = {kind.onnx: kind for kind in TABLE[1:] if kind.onnx}

# Handlers of operators.
OPERATORS: dict[str, Callable[[_Walk, Node], str | None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "BatchNormalization": _batch_normalization,
    "ai.onnx.ml.Scaler": _scaler,
    **dict.fromkeys(ACTIVATIONS, _activation),
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Gelu": _gelu,
    "PRelu": _prelu,
    "Selu": _selu,
    "Celu": _celu,
    "Swish": _swish,
    "Identity": _keep,
    "Cast": _cast,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
}

# Operators allowed after both classes of a sigmoid, and operators with a constant as first input.
_KEEPING = (_keep, _cast, _dropout, _flatten, _reshape, _squeeze, _unsqueeze, _transpose)
_EITHER = ("Add", "Sub", "Mul", "Div")

# Upper limit of operators in a composed activation. GELU has 9, and casts.
_MOST_COMPOSED = 16
