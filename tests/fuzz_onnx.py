"""Fuzz the reader of ONNX files, with Atheris: a file becomes a network, or it raises ValueError.

    pip install atheris onnx
    python tests/fuzz_onnx.py -max_total_time=600 -max_len=4096 new_inputs tests/corpus/onnx

A mutation parses a model and changes its parts: operators, names, attributes, shapes, numbers, the
order of nodes. The resulting network must run, and be the same after writing and reading. The
address space is limited, so that reading takes memory in proportion to the file's size.
"""

import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import atheris
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from limited_memory import limited_memory

with atheris.instrument_imports(include=["nnkernels"]):
    import nnkernels as nnk
    from nnkernels.models import onnx as reader

# The memory that reading may take, in bytes: a constant, plus an amount per byte of the file. Three
# bytes can make a node, which is a separate object.
MOST_BYTES = 2**23
MOST_BYTES_FOR_EACH = 128

ACTIVATIONS = (
    *(None, "relu", "sigmoid", "tanh", "exp", "leaky_relu", "elu(alpha=0.3)", "silu", "gelu", "gelu_tanh", "softplus"),
    *("softmax", "log_softmax"),
)
OPERATORS = (
    *reader.OPERATORS,
    "Constant",
    "Conv",
    "If",
    "ArgMax",
    "Erf",
    "Where",
    "Concat",
    "Exp",
    "Pow",
    "Greater",
    "Less",
    "Shape",
    "Gather",
)
NUMBERS = (0, 1, 2, 3, 4, 7, 8, -1, -2, 2**31, 2**40, 2**60, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 1.0, 0.5, -1.0, 1e-40, 1e38, float("inf"), float("nan"))
ATTRIBUTES = (
    *(
        "alpha",
        "beta",
        "transA",
        "transB",
        "axis",
        "axes",
        "perm",
        "shape",
        "epsilon",
        "training_mode",
        "to",
        "broadcast",
        "gamma",
    ),
    *(
        "approximate",
        "value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
        "offset",
        "scale",
        "allowzero",
        "spatial",
    ),
)
TYPES = (1, 10, 11, 16, 6, 7, 8, 9, 0, 2, 17, 99)


def model(random: Random) -> Any:
    """Return a valid model: one written by to_onnx, or one of other operators."""
    dtype = random.choice([np.float16, np.float32, np.float64])
    widths = [random.randrange(1, 5) for _ in range(random.randrange(2, 5))]
    layers: list[Any] = [nnk.Scale(1.0, 2.0)] if random.random() < 0.3 else []
    for inputs, outputs in pairwise(widths):
        layers.append(nnk.Dense(np.ones((outputs, inputs), dtype), activation=random.choice(ACTIVATIONS)))
    if random.random() < 0.2:
        layers.append(nnk.Dense(np.ones(widths[-1], dtype)))
    nnk.Network(layers).to_onnx(PATH)
    return onnx.load(PATH)


def names_of(graph: Any) -> list[str]:
    return [
        "",
        "x",
        "y",
        *(name for node in graph.node for name in (*node.input, *node.output)),
        *(i.name for i in graph.initializer),
    ]


def attribute(random: Random) -> Any:
    numbers = [random.choice(NUMBERS) for _ in range(random.randrange(4))]
    reals = [random.choice(REALS) for _ in range(random.randrange(1, 4))]
    value = random.choice([random.choice(NUMBERS), random.choice(REALS), numbers or [0], reals, b"tanh", array(random)])
    return helper.make_attribute(random.choice(ATTRIBUTES), value)


def array(random: Random) -> Any:
    shape = [random.randrange(4) for _ in range(random.randrange(4))]
    values = np.full(shape, random.choice(REALS), random.choice([np.float16, np.float32, np.float64]))
    return numpy_helper.from_array(values.astype(np.int64) if random.random() < 0.3 else values, "value")


def mutate_tensor(random: Random, tensor: Any) -> None:
    match random.randrange(6):
        case 0 if tensor.dims:
            tensor.dims[random.randrange(len(tensor.dims))] = random.choice(NUMBERS)
        case 1:
            tensor.dims.append(random.choice(NUMBERS))
        case 2:
            tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
        case 3:
            tensor.data_type = random.choice(TYPES)
        case 4:
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", random.choice(["model.onnx", "..", "/etc/passwd", "none", "\0", "."])),
                ("offset", "1"),
            ):
                tensor.external_data.add(key=key, value=value)
        case _:
            tensor.dims[:] = reversed(tensor.dims)


def mutate_node(random: Random, graph: Any, node: Any) -> None:
    match random.randrange(8):
        case 0:
            node.op_type = random.choice(OPERATORS)
        case 1 if node.input:
            node.input[random.randrange(len(node.input))] = random.choice(names_of(graph))
        case 2 if node.output:
            node.output[random.randrange(len(node.output))] = random.choice(names_of(graph))
        case 3:
            node.attribute.append(attribute(random))
        case 4 if node.attribute:
            del node.attribute[random.randrange(len(node.attribute))]
        case 5:
            node.domain = random.choice(["", "ai.onnx", "ai.onnx.ml", "com.microsoft"])
        case 6:
            node.input.append(random.choice(names_of(graph)))
        case _ if node.input:
            del node.input[random.randrange(len(node.input))]


def insert_node(random: Random, graph: Any) -> None:
    """Insert an operator after a node."""
    place = random.randrange(len(graph.node))
    if not graph.node[place].output:
        return
    output = graph.node[place].output[0]
    graph.node[place].output[0] = between = f"between{len(graph.node)}"
    others = random.choice([[], [random.choice(names_of(graph))]])
    graph.node.insert(place + 1, helper.make_node(random.choice(OPERATORS), [between, *others], [output]))
    if random.random() < 0.5:
        graph.node[place + 1].attribute.append(attribute(random))


def mutate_once(random: Random, content: Any) -> None:
    graph = content.graph
    match random.randrange(9):
        case 0 | 1 if graph.node:
            mutate_node(random, graph, random.choice(graph.node))
        case 2 | 3 if graph.node:
            insert_node(random, graph)
        case 4 if graph.initializer:
            mutate_tensor(random, random.choice(graph.initializer))
        case 5:
            for entry in content.opset_import:
                entry.version = random.choice([1, 6, 7, 8, 9, 12, 13, 17, 20, 2**40])
        case 6:
            graph.initializer.append(array(random))
            graph.initializer[-1].name = random.choice(names_of(graph))
        case 7 if graph.node:
            graph.node.append(random.choice(graph.node))
        case _:
            for value in (*graph.input, *graph.output):
                value.type.tensor_type.shape.dim.add(dim_value=random.choice(NUMBERS))


def mutate(content: bytes, most: int, seed: int) -> bytes:
    """Return a changed file: usually one change, sometimes several or libFuzzer's own."""
    random = Random(seed)
    if random.random() < 0.1:
        return bytes(atheris.Mutate(content, most))
    try:
        parsed = model(random) if random.random() < 0.05 else onnx.ModelProto.FromString(content)
        for _ in range(random.choice([1, 1, 1, 2, 4])):
            mutate_once(random, parsed)
        return bytes(parsed.SerializeToString()[:most])
    except Exception:  # not a model, or refused by protobuf
        return bytes(atheris.Mutate(content, most))


def read(content: bytes) -> nnk.Network:
    """Read a file with memory in proportion to its size."""
    PATH.write_bytes(content)
    with limited_memory(MOST_BYTES + MOST_BYTES_FOR_EACH * len(content)):
        return nnk.from_onnx(PATH)


def read_and_use(content: bytes) -> None:
    try:
        network = read(content)
    except (ValueError, FileNotFoundError) as error:
        assert str(PATH) in str(error)  # noqa: PT017 - no test of pytest's
        return
    x = np.ones((3 if network.inputs < 2**16 else 0, network.inputs))
    with np.errstate(all="ignore"):
        result = network(x)
        assert len(result) == len(x)
        network.to_onnx(PATH)
        assert nnk.from_onnx(PATH)(x).tobytes() == result.tobytes()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        PATH = Path(folder, "model.onnx")
        read_and_use(model(Random(0)).SerializeToString())  # do all imports now
        atheris.Setup(sys.argv, read_and_use, custom_mutator=mutate)
        atheris.Fuzz()
