"""Fuzz the reader of model files, with Atheris: a file loads, or it raises ValueError.

    pip install atheris
    python tests/fuzz_model.py -max_total_time=600 -max_len=4096 new_inputs tests/corpus/model

A mutation changes parts of a file: lengths, offsets, shapes, dtypes, names, metadata, numbers, the
JSON. A loaded network must run, and be the same after saving and loading. The address space is
limited, so that loading takes memory in proportion to the file's size.
"""

import json
import re
import struct
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import atheris
import numpy as np

from limited_memory import limited_memory

with atheris.instrument_imports(include=["nnkernels"]):
    import nnkernels as nnk

# The memory that a load may take, in bytes: a constant, plus an amount per byte of the file.
MOST_BYTES = 2**23
MOST_BYTES_FOR_EACH = 64

NUMBERS = (
    *("0", "-0", "-1", "1", "2", "3", "7", "255", "65536", "2147483648", "4294967296", "9223372036854775807"),
    *("18446744073709551615", "18446744073709551616", "1" + "0" * 400, "1e3", "1e999", "0.5", "1.0", "01", "NaN", "true"),
)
DTYPES = (
    *("F16", "F32", "F64", "BF16", "F8_E5M2", "F8_E4M3", "F4", "f32", "C64", "BOOL", "U8", "I8", "I16", "U16", "I32", "U32"),
    *("I64", ""),
)
NAMES = (
    *("layers.0.weights", "layers.0.bias", "layers.1.weights", "layers.1.bias", "layers.2.weights", "layers.-1.bias"),
    *("layers.00.bias", "", "__metadata__", "weights", "layers.0.weights\\u0000", "\\ud800", "\\u00e9" * 100),
    *("layers.0.kernel", "layers.1.kernel", "layers.0.mean", "layers.0.var"),
)
ACTIVATIONS = (
    *(
        "none",
        "relu",
        "sigmoid",
        "tanh",
        "softmax",
        "mish",
        "log_softmax",
        "gelu",
        "elu",
        "elu(alpha=0.5)",
        "elu(alpha=nan)",
        "elu(alpha=",
        "relu(alpha=1)",
        "",
        "NONE",
        "relu ",
        "none,none",
        "relu,none,none",
        "," * 500,
    ),
)
SHAPES = ("[]", "[0]", "[[]]", "[1,1,1]", "{}", "null", "[-1,1]", "[0,0]", "[2,0]")
TEXTS = (
    *(b"\xff", b"\xed\xa0\x80", b"\0", b"\\", b'"', b"[" * 300, b'{"a":' * 200, b"]", b"}", b"{", b",", b":", b" " * 50),
    b"null",
)


def model(random: Random) -> bytes:
    """Return a valid file of a network."""
    dtype = random.choice([np.float16, np.float32, np.float64])
    widths = [random.randrange(5) for _ in range(random.randrange(2, 5))]
    layers = [
        nnk.Dense(np.ones((outputs, inputs), dtype), activation=random.choice([None, "relu", "sigmoid", "tanh", "softmax"]))
        for inputs, outputs in pairwise(widths)
    ]
    if random.random() < 0.2:
        layers.append(nnk.Dense(np.ones(widths[-1], dtype)))
    nnk.Network(layers).save(PATH)
    return PATH.read_bytes()


def take_apart(content: bytes) -> tuple[bytes, bytes]:
    """Return the header and the data, split where the header's length says."""
    (length,) = struct.unpack("<Q", content[:8].ljust(8, b"\0"))
    return content[8 : 8 + length], content[8 + length :]


def put_together(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def change(random: Random, header: bytes, pattern: bytes, texts: tuple[str, ...]) -> bytes:
    """Replace a match of the pattern, or of its first group, by another text."""
    matches = list(re.finditer(pattern, header))
    if not matches:
        return header
    match = random.choice(matches)
    begin, end = match.span(match.re.groups and 1)
    return header[:begin] + random.choice(texts).encode("utf-8", "surrogatepass") + header[end:]


def change_members(random: Random, header: bytes) -> bytes:
    """Remove, repeat or swap members of the header or of a tensor; names may then be repeated."""
    try:
        members: Any = json.loads(header, object_pairs_hook=lambda pairs: ["object", *pairs])
        chosen = random.choice([members, *(value for _, value in members[1:] if value[0] == "object")])
        first, second = random.randrange(1, len(chosen)), random.randrange(1, len(chosen))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return header
    match random.randrange(4):
        case 0:
            del chosen[first]
        case 1:
            chosen.insert(second, chosen[first])
        case 2:
            chosen[first], chosen[second] = (chosen[second][0], chosen[first][1]), (chosen[first][0], chosen[second][1])
        case _:
            chosen[first], chosen[second] = chosen[second], chosen[first]
    return render(members).encode()


def render(value: Any) -> str:
    if isinstance(value, list) and value[:1] == ["object"]:
        return "{" + ",".join(f"{json.dumps(key)}:{render(member)}" for key, member in value[1:]) + "}"
    return json.dumps(value)


def grow(random: Random, header: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Lengthen the last tensor of a valid file consistently: shape, offsets and data."""
    try:
        tensors = json.loads(header)
        last = max((tensors[name] for name in tensors if name != "__metadata__"), key=lambda tensor: tensor["data_offsets"][1])
        size, more = {"F16": 2, "F32": 4, "F64": 8}[last["dtype"]], random.randrange(1, 9)
        last["shape"][-1] += more
        last["data_offsets"][1] += more * size
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return header, data
    return json.dumps(tensors).encode(), data + bytes(more * size)


def mutate_once(random: Random, content: bytes) -> bytes:
    header, data = take_apart(content)
    match random.randrange(12):
        case 0:
            length = random.choice([0, 1, len(content), 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 10**8]) + random.randrange(-9, 9)
            return struct.pack("<Q", length % 2**64) + content[8:]
        case 1:
            return content[: random.randrange(len(content) + 1)]
        case 2:
            data = random.choice([data[: random.randrange(len(data) + 1)], data + random.randbytes(random.randrange(20))])
        case 3:
            header = change(random, header, rb"-?\d+", NUMBERS)
        case 4:
            header = change(random, header, rb'"dtype": ?"(\w*)"', DTYPES)
        case 5:
            header = change(random, header, rb'"((?:layers|__|weights)[^"]*)"', NAMES)
        case 6:
            header = change(random, header, rb'"nnkernels.activations": ?"([^"]*)"', ACTIVATIONS)
        case 7:
            header = change(random, header, rb'"nnkernels.activations": ?"(\w+)', ACTIVATIONS)
        case 8:
            place = random.randrange(len(header) + 1)
            header = header[:place] + random.choice(TEXTS) + header[place + random.choice([0, 0, 1, 9]) :]
        case 9:
            header = change(random, header, rb"\[[^\[\]]*\]", SHAPES)
        case 10:
            header, data = grow(random, header, data)
        case _:
            header = change_members(random, header)
    return put_together(header, data)


def mutate(content: bytes, most: int, seed: int) -> bytes:
    """Return a changed file: usually one change, sometimes several or libFuzzer's own."""
    random = Random(seed)
    if random.random() < 0.1:
        return bytes(atheris.Mutate(content, most))
    if random.random() < 0.05 or len(content) < 8:
        content = model(random)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        content = mutate_once(random, content)
    return content[:most]


def read(content: bytes, reader: Callable[[], nnk.Network]) -> nnk.Network:
    """Read a file with memory in proportion to its size."""
    PATH.write_bytes(content)
    with limited_memory(MOST_BYTES + MOST_BYTES_FOR_EACH * len(content)):
        return reader()


def read_tensors(content: bytes) -> None:
    """Read a file's tensors as if from another library, with "weights" renamed to "weight"."""
    content = content.replace(b'weights"', b'weight" ')
    layers = len(set(re.findall(rb'"([^"]*)[./](?:weight|kernel|mean|running_mean|moving_mean)"', content)))
    try:
        network = read(content, lambda: nnk.from_state_dict(PATH, [None] * layers))
    except ValueError as error:
        assert str(PATH) in str(error)  # noqa: PT017 - no test of pytest's
    else:
        assert network.inputs * network.outputs > 0


def load_and_use(content: bytes) -> None:
    read_tensors(content)
    try:
        network = read(content, lambda: nnk.load(PATH))
    except ValueError as error:
        assert str(PATH) in str(error)  # noqa: PT017 - no test of pytest's
        return
    inputs = network.layers[0].inputs  # without outputs, inputs may be any number
    x = np.ones((3 if inputs < 2**16 else 0, inputs))
    with np.errstate(all="ignore"):
        result = network(x)
    assert len(result) == len(x)
    assert str(len(network)) in repr(network)
    network.save(PATH)
    with np.errstate(all="ignore"):
        assert nnk.load(PATH)(x).tobytes() == result.tobytes()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        PATH = Path(folder, "model.safetensors")
        load_and_use(model(Random(0)))  # do all imports now
        atheris.Setup(sys.argv, load_and_use, custom_mutator=mutate)
        atheris.Fuzz()
