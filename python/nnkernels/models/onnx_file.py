"""Nodes, constants and outputs of untrusted ONNX files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from stat import S_ISREG
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nnkernels.files import Path, open_regular

# A network may have as many numbers as its files have bytes, plus _MOST_NUMBERS. A layer counts for
# its numbers plus _LAYER.
_MOST_NUMBERS = 2**16
_LAYER = 100

# Upper limit of the axes of a tensor.
MOST_AXES = 8

# Operators that convert probabilities to labels, and the index of their input with probabilities.
_LABELS = {"ArgMax": 0, "ai.onnx.ml.ArrayFeatureExtractor": 1, "ai.onnx.ml.Binarizer": 0, "ai.onnx.ml.LabelEncoder": 0}
_ZIPMAP = "ai.onnx.ml.ZipMap"
_MOST_BEHIND = 50  # in a row
_AROUND_LABELS = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")

# Attributes with the names of classes.
_CLASSES = {
    _ZIPMAP: ("classlabels_strings", "classlabels_int64s"),
    "ai.onnx.ml.LabelEncoder": ("values_strings", "values_int64s"),
}


class Node:
    """A node of the graph. ``number`` is its index in the file."""

    __slots__ = ("_number", "_proto", "_source", "inputs", "operator", "outputs")

    def __init__(self, source: str, number: int, proto: Any) -> None:
        self._source, self._number, self._proto = source, number, proto
        self.operator: str = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)

    @property
    def name(self) -> str:
        """The name of the node for messages."""
        own = f" {shown(self._proto.name)!r}" if self._proto.name else ""
        return f"node {self._number} ({shown(self.operator)}{own})"

    @property
    def comment(self) -> str:
        """The documentation string of the node."""
        return str(self._proto.doc_string)

    def refuse(self, reason: str) -> NoReturn:
        """Raise a ValueError with the node and the reason."""
        raise ValueError(f"{self._source}: {self.name}: {reason}")

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute: number, bytes, list or tensor; float32 as its shortest decimal."""
        from onnx import AttributeProto, helper

        found = next((attribute for attribute in self._proto.attribute if attribute.name == name), None)
        if found is None:
            return default
        try:
            value = helper.get_attribute_value(found)
        except ValueError as error:
            self.refuse(f"attribute {name!r}: {error}")
        return float(str(np.float32(value))) if found.type == AttributeProto.FLOAT else value

    def number(self, name: str, default: float) -> float:
        """Return an attribute, which must be a number."""
        value = self.attribute(name, default)
        if not isinstance(value, (int, float)):
            self.refuse(f"expected attribute {name!r} to be a number, got {shown(value)}")
        return value

    def integer(self, name: str, default: int) -> int:
        """Return an attribute, which must be an integer."""
        value = self.attribute(name, default)
        if not isinstance(value, int):
            self.refuse(f"expected attribute {name!r} to be an integer, got {shown(value)}")
        return value

    def numbers(self, name: str) -> list[Any] | None:
        """Return an attribute, which must be a list of numbers; None if there is none."""
        value = self.attribute(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, (int, float)) for item in value):
            self.refuse(f"expected attribute {name!r} to be a list of numbers, got {shown(value)}")
        return value

    def has_subgraph(self) -> bool:
        """Return whether the node contains a graph."""
        return any(attribute.HasField("g") or attribute.graphs for attribute in self._proto.attribute)


class Model:
    """An ONNX file.

    ``source`` is the prefix of error messages. ``size`` is the number of bytes of the file and of
    its external data.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ImportError:
            raise ImportError("from_onnx needs the package onnx: pip install 'nnkernels[onnx]'") from None
        if not isinstance(path, (str, bytes, os.PathLike)):
            hint = "; onnx.save(model, path) writes the file" if hasattr(path, "SerializeToString") else ""
            raise TypeError(f"from_onnx expected the path of a file, got a {type(path).__name__}{hint}")
        self._path = os.fsdecode(path)
        self.source = f"from_onnx({self._path!r})"
        with open_regular(path, "a model") as file:
            content = file.read()
        if not content:
            raise ValueError(f"{self.source}: expected an ONNX model, got an empty file")
        self.size = len(content)
        self._external: dict[str, int] = {}  # bytes left for tensors in each file
        self._counted = 0
        model = onnx.ModelProto()
        try:
            model.ParseFromString(content)
        except MemoryError:
            raise
        except Exception as error:  # protobuf's DecodeError
            raise ValueError(f"{self.source}: expected an ONNX model: {error}") from None
        graph = model.graph
        if not graph.node and not graph.output:
            raise ValueError(f"{self.source}: expected an ONNX model with a graph, found none")
        if model.functions:
            self.refuse(f"function {shown(model.functions[0].name)!r}", "functions in a model are not supported")
        if graph.sparse_initializer:
            self.refuse("its graph", "sparse initializers are not supported")
        self._metadata = model.metadata_props
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.opset = self.opsets.get("", self.opsets.get("ai.onnx", 1))
        self._nodes = graph.node
        self.inputs = {value.name: value for value in graph.input}
        self.outputs = {value.name: value for value in graph.output}
        self._initializers: dict[str, Any] = {}
        for tensor in graph.initializer:
            if tensor.name in self._initializers:
                self.refuse(f"initializer {shown(tensor.name)!r}", "expected unique names, got this one twice")
            self._initializers[tensor.name] = tensor
        self._producers: dict[str, int] = {}
        for number, node in enumerate(graph.node):
            for name in node.output:
                if name and (name in self._producers or name in self._initializers or name in self.inputs):
                    self.node(number).refuse(f"expected unique names, got output {shown(name)!r} twice")
                self._producers[name] = number
        self._producers.pop("", None)
        self._constants: dict[str, NDArray[Any] | None] = {}
        self._batches: dict[str, tuple[str, int]] = {}

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise a ValueError with a part of the model and the reason."""
        raise ValueError(f"{self.source}: {name}: {reason}")

    def node(self, number: int) -> Node:
        """Return a node by its index in the file."""
        return Node(self.source, number, self._nodes[number])

    def count(self, name: str, numbers: int) -> None:
        """Count the numbers of a layer. Refuse a network that is much larger than its file."""
        self._counted += numbers + _LAYER
        if self._counted > _MOST_NUMBERS + self.size:
            self.refuse(
                name, f"expected each layer to have its own weights, got more numbers than fit into {self.size:,} bytes"
            )

    def metadata(self) -> dict[str, str]:
        """Return the model's metadata, without the names that nnkernels reserves."""
        entries = [(entry.key, entry.value) for entry in self._metadata]
        if not all(isinstance(text, str) for entry in entries for text in entry):
            self.refuse("its metadata", "expected UTF-8")
        return {key: value for key, value in entries if not key.startswith("nnkernels.")}

    def ancestors(self, names: Iterable[str]) -> list[int]:
        """Return the nodes that values depend on, in the order of the file."""
        found: set[int] = set()
        waiting = list(names)
        while waiting:
            number = self._producers.get(waiting.pop())
            if number is not None and number not in found:
                found.add(number)
                waiting += self._nodes[number].input
        return sorted(found)

    def cut(self, output: str | None) -> tuple[str, list[int]]:
        """Return the last value of the network, and the nodes after it, which compute labels."""
        if output is not None and output not in self.outputs:
            raise ValueError(f"{self.source}: expected output to be one of {self._output_names()}; got {output!r}")
        names = list(self.outputs) if output is None else [output]
        ends = {name: self._before_labels(name) for name in names}
        candidates = {end for end, labels in ends.values() if not labels} or {end for end, _ in ends.values()}
        if len(candidates) != 1:
            advice = "choose one by nnk.from_onnx(path, output=NAME), or in the shell by convert MODEL NETWORK --output NAME"
            raise ValueError(f"{self.source}: expected one output, got {self._output_names()}; {advice}")
        (end,) = candidates
        kept = set(self.ancestors([end]))
        behind = [number for number in self.ancestors(names) if number not in kept]
        return end, [number for number in behind if self._nodes[number].op_type != "Constant"]

    def _output_names(self) -> str:
        names = [repr(shown(name)) for name in self.outputs]
        return ", ".join(names[:20]) + ", ..." * (len(names) > 20)

    def _before_labels(self, name: str) -> tuple[str, bool]:
        """Return the value from which an output is computed, and whether the output has labels."""
        end, labels = name, False
        seen: set[str] = set()
        while name in self._producers and name not in seen and len(seen) < _MOST_BEHIND:
            seen.add(name)
            node = self.node(self._producers[name])
            place = _LABELS.get(node.operator, 0)
            if len(node.inputs) <= place or node.operator not in (*_LABELS, _ZIPMAP, *_AROUND_LABELS):
                break
            name = node.inputs[place]
            if node.operator not in _AROUND_LABELS:
                end, labels = name, labels or node.operator != _ZIPMAP
        return end, labels

    def classes(self, dropped: Iterable[int], outputs: int | None) -> str | None:
        """Return the names of classes in dropped nodes, as a JSON list, or None."""
        for number in dropped:
            node = self.node(number)
            found: Any = [node.attribute(name) for name in _CLASSES.get(node.operator, ())]
            if node.operator == "ai.onnx.ml.ArrayFeatureExtractor" and node.inputs:
                array = self.constant(node.inputs[0])
                found = [None if array is None or array.ndim != 1 else array.tolist()]
            for several in found:
                if not isinstance(several, list):
                    continue
                try:
                    names = [item.decode() if isinstance(item, bytes) else str(item) for item in several]
                except UnicodeDecodeError:
                    node.refuse("expected names of classes in UTF-8")
                if len(names) == len(set(names)) == outputs:
                    return json.dumps(names, ensure_ascii=False)
        return None

    def float_type_of(self, name: str) -> type[Any] | None:
        """Return the declared dtype of an output, if it is a floating-point dtype."""
        return _FLOATS.get(self.outputs[name].type.tensor_type.elem_type) if name in self.outputs else None

    # Constants

    def fold(self, numbers: Iterable[int]) -> None:
        """Compute the nodes that are Constant, or only reshape, transpose or cast a constant."""
        for number in numbers:
            operator = self._nodes[number].op_type
            if operator in _FOLDED or operator in _BATCH:
                node = self.node(number)
                constants = [self.constant(name) for name in node.inputs if name]
                if node.operator == operator in _FOLDED and node.outputs and all(array is not None for array in constants):
                    try:
                        folded = self._constants[node.outputs[0]] = self._folded(node, constants)
                    except (IndexError, OverflowError, TypeError, ValueError) as error:
                        node.refuse(str(error).removeprefix(f"{self.source}: {node.name}: "))
                    if constants and not np.may_share_memory(folded, constants[0]):
                        self.count(node.name, folded.size)
                elif node.operator == operator in _BATCH and node.inputs and node.outputs:
                    self._follow_batch(node, constants[1:])

    def _follow_batch(self, node: Node, constants: list[Any]) -> None:
        """Track the length of a first axis on its way by Shape, Gather, Unsqueeze and Concat."""
        value, step = (node.inputs[0], 0) if node.operator == "Shape" else self._batches.get(node.inputs[0], ("", 0))
        if step != _BATCH.index(node.operator) or len(constants) > MOST_AXES:
            return
        if any(array is None or array.dtype.kind != "i" or array.size > MOST_AXES for array in constants):
            return
        output = node.outputs[0]
        if node.operator == "Concat":
            self._constants[output] = np.concatenate([np.array([FIRST_LENGTH]), *(array.ravel() for array in constants)])
        elif any(array.size != 1 or array.any() for array in constants):  # another axis
            return
        self._batches[output] = value, step + 1

    def batch_of(self, name: str) -> str | None:
        """Return the value from which this one takes the length of the first axis, or None."""
        return self._batches[name][0] if name in self._batches else None

    def _folded(self, node: Node, constants: list[Any]) -> NDArray[Any]:
        if node.operator == "Constant":
            tensor = node.attribute("value")
            if type(tensor).__name__ == "TensorProto":
                return self._tensor(node.name, tensor)
            for name, dtype in (("float", np.float32), ("int", np.int64)):
                for value in (node.attribute(f"value_{name}"), node.attribute(f"value_{name}s")):
                    if value is not None:
                        return np.array(value, dtype)
            node.refuse("expected a tensor, a number or a list of numbers")
        if not constants:
            node.refuse("expected an input, found none")
        array: NDArray[Any] = constants[0]
        axes = node.numbers("axes") if len(constants) < 2 else constants[1].ravel().tolist()
        if axes is not None and len(axes) > MOST_AXES:
            node.refuse(f"expected at most {MOST_AXES} axes, got {len(axes)}")
        match node.operator:
            case "Transpose":
                return array.transpose(node.numbers("perm"))
            case "Reshape":
                shape = axes if len(constants) > 1 else node.numbers("shape")
                return array.reshape([n or array.shape[i] for i, n in enumerate(shape or [])])
            case "Squeeze":
                return array.squeeze(None if axes is None else tuple(axes))
            case "Unsqueeze":
                return np.expand_dims(array, tuple(axes or []))
            case "Cast":
                return array.astype(float_type(node))
        return array

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return an initializer or a folded constant by name, or None."""
        if name not in self._constants:
            tensor = self._initializers.get(name)
            if tensor is None:
                return None
            self._constants[name] = self._tensor(f"initializer {shown(name)!r}", tensor)
        return self._constants[name]

    def is_given(self, name: str) -> bool:
        """Return whether a name is an input of the model without an initial value."""
        return name in self.inputs and name not in self._initializers

    def _tensor(self, name: str, tensor: Any) -> NDArray[Any]:
        """Return a tensor as an array, after checking that its shape fits its data."""
        from onnx import TensorProto, numpy_helper

        types = {getattr(TensorProto, kind): kind for kind in _TYPES}
        if tensor.data_type not in types:
            self.refuse(name, f"expected a tensor of {', '.join(_TYPES)}, got data type {tensor.data_type}")
        shape = list(tensor.dims)
        most = _MOST_NUMBERS + self.size
        if tensor.data_location == TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            whole = TensorProto(dims=shape, data_type=tensor.data_type)
            whole.raw_data = self._external_bytes(name, entries)
            tensor = whole
            most += self.size
        if len(shape) > MOST_AXES or any(not 0 <= length <= most for length in shape):
            self.refuse(name, f"expected a shape of at most {MOST_AXES} axes that fits its data, got {shape[:20]}")
        try:
            array = numpy_helper.to_array(tensor)
        except (TypeError, ValueError) as error:
            self.refuse(name, f"expected a tensor of shape {shape}: {error}")
        return array.astype(np.float32) if types[tensor.data_type] == "BFLOAT16" else array

    def _external_bytes(self, name: str, entries: Mapping[str, str]) -> bytes:
        """Return the bytes of a tensor in another file, which must be in the model's own folder."""
        location = entries.get("location", "")
        folder = os.path.realpath(os.path.dirname(self._path) or ".")  # noqa: PTH120 - pathlib is not imported
        expected = "expected external data in the model's own folder"
        if not isinstance(location, str) or not location or "\0" in location:
            self.refuse(name, f"{expected}, got location {shown(location)!r}")
        file = os.path.realpath(os.path.join(folder, location))  # noqa: PTH118
        parts = location.replace("\\", "/").split("/")
        if os.path.isabs(location) or ".." in parts or os.path.commonpath([folder, file]) != folder:  # noqa: PTH117
            self.refuse(name, f"{expected}, got location {shown(location)!r}, which leads outside")
        try:
            offset, length = (int(entries[key]) if entries.get(key) else None for key in ("offset", "length"))
        except ValueError:
            self.refuse(name, f"expected offset and length to be numbers, got {shown(entries)}")
        try:
            status = os.stat(file)  # noqa: PTH116
        except FileNotFoundError:
            missing = f"{self.source}: {name}: the file {shown(location)!r} with its data is missing"
            raise FileNotFoundError(missing) from None
        if not S_ISREG(status.st_mode):
            self.refuse(name, f"{expected}, got location {shown(location)!r}, which is not a regular file")
        if file not in self._external:
            self._external[file] = status.st_size
            self.size += status.st_size
        begin = offset or 0
        length = status.st_size - begin if length is None else length
        if begin < 0 or length < 0 or begin + length > status.st_size:
            whole = f"{shown(location)!r} has {status.st_size} bytes"
            self.refuse(name, f"expected external data of {length} bytes at {begin}, but {whole}")
        self._external[file] -= length
        if self._external[file] < 0:
            self.refuse(name, f"expected external data for each tensor, but {shown(location)!r} is too short for all of them")
        with open(file, "rb") as opened:  # noqa: PTH123
            opened.seek(begin)
            return opened.read(length)


# Supported dtypes of constants, and operators that do not change their numbers.
_TYPES = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16", "INT32", "INT64", "BOOL", "STRING")
_FOLDED = frozenset(("Constant", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast"))

# The operators, in order, that put the length of a first axis into the shape of a Reshape, and the
# placeholder of that length.
_BATCH = ("Shape", "Gather", "Unsqueeze", "Concat")
FIRST_LENGTH = -(2**40)

_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}  # by the numbers of TensorProto


def float_type(node: Node) -> type[Any]:
    """Return the dtype that Cast casts to. Refuse other than floating-point dtypes."""
    to = node.attribute("to")
    to = {b"FLOAT": 1, b"FLOAT16": 10, b"DOUBLE": 11}.get(to, 0) if isinstance(to, bytes) else to  # before opset 6
    if not isinstance(to, int) or to not in _FLOATS:
        node.refuse(f"expected a cast to float16, float32 or float64, got data type {shown(to)}")
    return _FLOATS[to]


def shown(text: object) -> str:
    """Return the beginning of a text from a file, for messages."""
    whole = str(text)
    return whole if len(whole) <= 60 else f"{whole[:60]}..."
