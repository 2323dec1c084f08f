"""Fuzz the reader of Keras files, with Atheris: a file loads, or it raises ValueError.

    pip install atheris h5py
    python tests/fuzz_keras.py -max_total_time=600 -max_len=65536 new_inputs tests/corpus/keras

A mutation unpacks an archive, changes it and packs it again with valid checksums. It changes the
JSON that describes the layers, or the HDF5 file: bytes, lengths and addresses. A loaded network
must run. The address space is limited, so that loading takes memory in proportion to the file's
size.
"""

import io
import json
import re
import struct
import sys
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import atheris
import numpy as np

from limited_memory import limited_memory

with atheris.instrument_imports(include=["nnkernels"]):
    import nnkernels as nnk
    import nnkernels.models.keras
    from nnkernels.models.keras import from_keras

# The memory that a load may take, in bytes: a constant, plus an amount per byte of the file.
MOST_BYTES = 2**25
MOST_BYTES_FOR_EACH = 64 * 64

NUMBERS = (0, 1, 2, 7, 8, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 1e300, 10**400, float("nan"), "", "relu", "gelu", "selu", "first", [], {}, [1], [[]]),
    *({"class_name": "LeakyReLU", "module": "keras.layers", "config": {}}, {"class_name": "Dense", "config": {}}, [None, 2]),
    *("Dense", "Sequential", "Functional", "BatchNormalization", "Normalization", "PReLU", "Rescaling", "Softmax"),
    *("InputLayer", "Flatten", "LeakyReLU", "ELU", "ReLU", "Lambda", "Activation", "keras.layers"),
)
KEYS = (
    *("layers", "class_name", "config", "name", "module", "batch_shape", "axis", "units", "epsilon", "scale", "mean"),
    *("inbound_nodes", "variance", "activation", "use_bias", "dtype"),
)


def members_of(content: bytes) -> dict[str, bytes]:
    """Return the members of an archive; for an HDF5 file, the file itself."""
    errors = (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, NotImplementedError, EOFError)
    members: dict[str, bytes] = {}
    with suppress(*errors), zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if archive.getinfo(name).file_size < 2**20}
    return members or {"": content}


def put_together(members: dict[str, bytes], compression: int) -> bytes:
    if "" in members:
        return members[""]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def change_value(random: Random, value: Any, depth: int = 0) -> Any:
    """Return JSON in which one value is replaced, removed, repeated or moved."""
    if isinstance(value, dict) and value and random.random() < 0.95:
        key = random.choice(list(value))
        if random.random() < 0.05:
            return {**value, random.choice(KEYS): random.choice(VALUES)}
        if random.random() < 0.05:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: change_value(random, value[key], depth + 1)}
    if isinstance(value, list) and value and random.random() < 0.95:
        place = random.randrange(len(value))
        match random.randrange(12):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return [*value[:place], value[place], *value[place:]]
            case 2:
                return value[::-1]
            case _:
                return [*value[:place], change_value(random, value[place], depth + 1), *value[place + 1 :]]
    return random.choice(VALUES)


def change_text(random: Random, text: bytes) -> bytes:
    try:
        return json.dumps(change_value(random, json.loads(text))).encode()
    except (RecursionError, ValueError):
        return text


def change_hdf5(random: Random, content: bytes) -> bytes:
    """Change a number, or the description of the layers, in an HDF5 file."""
    found = re.search(rb'\{"class_name.*?\}\0', content, re.DOTALL)
    if found and random.random() < 0.4:
        text = found[0][:-1]
        return content.replace(text, change_text(random, text)[: len(text)].ljust(len(text)))
    # Changes bytes near a structure of the format, or anywhere.
    names = rb"TREE|SNOD|HEAP|GCOL|OHDR|OCHK|BTHD|BTIN|BTLF|FRHP|FHDB|FHIB|model_config|kernel|vars|layers|\x89HDF"
    marks = [mark.start() for mark in re.finditer(names, content)]
    near = marks and random.random() < 0.7
    place = max(0, random.choice(marks) + random.randrange(-64, 192)) if near else random.randrange(len(content) + 1)
    kind = random.choice("BBHIQQ")
    value = random.choice(marks) if marks and random.random() < 0.5 else random.choice(NUMBERS)  # circular links
    number = struct.pack("<" + kind, value % 256 ** struct.calcsize(kind))
    return content[:place] + number + content[place + len(number) :]


def mutate(content: bytes, most: int, seed: int) -> bytes:
    """Return a changed file: usually one change, sometimes several or libFuzzer's own."""
    random = Random(seed)
    if random.random() < 0.1:
        return bytes(atheris.Mutate(content, most))
    if random.random() < 0.05 or len(content) < 100:
        content = random.choice(GOOD)
    members = members_of(content)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        name = random.choice(list(members))
        change = change_text if name.endswith(".json") else change_hdf5
        members[name] = change(random, members[name])
    return put_together(members, random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))[:most]


def load(content: bytes) -> nnk.Network:
    """Load a file with memory in proportion to its size."""
    PATH.write_bytes(content)
    with limited_memory(MOST_BYTES + MOST_BYTES_FOR_EACH * len(content)):
        return from_keras(PATH)


def load_and_use(content: bytes) -> None:
    with np.errstate(all="ignore"):
        try:
            network = load(content)
        except ValueError as error:
            assert str(PATH) in str(error)  # noqa: PT017 - no test of pytest's
            return
        x = np.ones((3, network.inputs))
        result = network(x)
        assert result.shape == (3, network.outputs)
        network.save(PATH)
        assert nnk.load(PATH)(x).tobytes() == result.tobytes()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        PATH = Path(folder, "model")
        GOOD = [path.read_bytes() for path in sorted(Path(__file__).parent.joinpath("corpus", "keras").iterdir())]
        for good in GOOD:
            load_and_use(good)  # do all imports now
        atheris.Setup(sys.argv, load_and_use, custom_mutator=mutate)
        atheris.Fuzz()
