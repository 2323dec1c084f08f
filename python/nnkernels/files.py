"""Files of tensors in the safetensors format: writing them, and reading them without trust."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fsdecode, fstat
from stat import S_ISREG
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

# What open() takes for a file's name.
Path: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]

T = TypeVar("T")

# What safetensors reads of a file's header.
_MOST_HEADER = 100_000_000

# The names of dtypes in a file.
_DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}

ONNX, KERAS, HDF5 = "an ONNX file", "a Keras file", "an HDF5 file"

# What a network can be made of them with.
_LAYERS = "read its weights with {reader}, and save a Network([Dense(weights, bias, activation), ...])"
_MODULE = (
    "nnk.from_state_dict({reader}(path, weights_only=True), activations) makes a network of its tensors (of a checkpoint, give "
    "the entry that holds them); if it is a whole module that you trust, load it with weights_only=False for nnk.from_torch"
)
_IMPORT = "nnk.load and {reader} read it"
_OBJECT = "read it with {reader}, and give the model to nnk.from_sklearn, nnk.from_torch or nnk.from_keras"

# Files of other kinds: how they begin, what they are, what reads them, and how a network comes of
# them.
_OTHER_FILES = (
    (rb"PK\x03\x04.{26}[^\0]*FB|\x80\x02\x8a\nl\xfc\x9cF\xf9", "a PyTorch file", "torch.load", _MODULE),
    (rb"PK\x03\x04.{26}[^\0]*\.npy", "an .npz file", "numpy.load", _LAYERS),
    (rb"PK\x03\x04.{26}(metadata\.json|config\.json|model\.weights\.)", KERAS, "nnk.from_keras", _IMPORT),
    (rb"\x80[\x02-\x05]|c[\w.]+\n\w+\n|\([dl]p0\n|[}\]]q\0", "a pickle", "the library that wrote it", _OBJECT),
    (rb"\x89HDF\r\n", HDF5, "nnk.from_keras", _IMPORT),
    (rb"GGUF", "a GGUF file", "gguf", _LAYERS),
    (rb'\s*[{\[]\s*["{\[\d-]', "a JSON file", "the library that wrote it", _LAYERS),
    (rb"\x93NUMPY", "an .npy file", "numpy.load", _LAYERS),
    (rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x3a\x42]", ONNX, "nnk.from_onnx", _IMPORT),
    (rb"....TFL3", "a TensorFlow Lite file", "TensorFlow", _LAYERS),
    (rb"PK\x03\x04|\x1f\x8b|x[\x01\x5e\x9c\xda]", "a compressed file", "the library that wrote it", _OBJECT),
)


def write_file(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write C-contiguous arrays under their names; the bytes depend on the contents alone."""
    import json

    # Written here, for safetensors' own writer has two copies of all tensors made, and panics where
    # there is no memory.
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in sorted(tensors):
        begin, end = end, end + tensors[name].nbytes
        dtype = f"F{8 * tensors[name].itemsize}"
        header[name] = {"dtype": dtype, "shape": tensors[name].shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # what follows is aligned
    if len(text) > _MOST_HEADER:
        raise ValueError(f"{fsdecode(path)}: expected names and metadata of at most {_MOST_HEADER:,} bytes, got {len(text):,}")
    with open(path, "wb") as file:  # noqa: PTH123 - importing pathlib costs milliseconds
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(tensors[name].data)


def widened(bfloat16: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the float32 of which bfloat16 are the upper halves.

    >>> widened(np.array([0x3F80, 0xC000], np.uint16))
    array([ 1., -2.], dtype=float32)
    """
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


@contextmanager
def open_regular(path: Path, content: str) -> Iterator[BinaryIO]:
    """Open a file that is neither a pipe nor a device, for these could not be read twice, or without end."""
    name = fsdecode(path)
    with open(name, "rb") as file:  # noqa: PTH123 - the system says best why a file cannot be read
        if not S_ISREG(fstat(file.fileno()).st_mode):
            raise ValueError(f"{name}: {content} is read from a file, not from a pipe or a device")
        yield file


def read_file(
    path: Path,
    parse: Callable[[Any], T],
    content: str,
    writer: str,
    advice: str,
    others: Mapping[str, Callable[[Path], T]] | None = None,
) -> T:
    """Return what ``parse`` makes of a file, which it reads by ``read_metadata`` and ``read_tensors``.

    ``others`` reads files of other kinds, by the names above. For error messages: the content that
    the file should have ("a network"), the function that writes it, and what to do with a file of
    another kind, where "{reader}" stands for what reads that kind, "{network}" for how a network
    comes of it.

    Raises ValueError for all that is wrong with the content, OSError and MemoryError.
    """
    from safetensors import SafetensorError, safe_open

    name = fsdecode(path)
    with open_regular(path, content) as opened:
        beginning = opened.read(256)
    if not beginning:
        raise ValueError(f"{name} does not hold {content}: it is empty")
    try:
        with safe_open(name, framework="numpy") as file:
            return parse(file)
    except (SafetensorError, TypeError, ValueError) as error:
        kind, todo = _other_kind(beginning, advice)
        reader = (others or {}).get(kind)
        if reader is None:
            reason = f"it is {kind}; {todo}" if kind else f"{error}; expected a file that {writer} wrote"
            raise ValueError(f"{name} does not hold {content}: {reason}") from None
    except OSError as error:
        if f"(os error {errno.ENOMEM})" in str(error):  # what safetensors before 0.8 makes of a MemoryError
            raise MemoryError(f"{name}: {error}") from None
        raise type(error)(f"{name}: {error}") from None
    return reader(path)


def read_metadata(file: Any, key: str) -> str:
    """Return an entry of an open file's metadata."""
    try:
        return str((file.metadata() or {})[key])
    except KeyError:
        raise ValueError(f"its metadata has no entry {key!r}") from None


def read_tensors(file: Any, expected: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Return the tensors of an open file, which has those expected and no others."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    for name in slices.keys() ^ expected:
        raise ValueError(f"tensor {name[:60]!r} is {'unexpected' if name in slices else 'missing'}")
    for name, tensor in slices.items():
        if tensor.get_dtype() not in _DTYPES:
            raise ValueError(f"tensor {name!r} should be of dtype F16, F32 or F64, but is {tensor.get_dtype()}")
    return {name: _read_tensor(tensor) for name, tensor in slices.items()}


def _read_tensor(tensor: Any) -> NDArray[Any]:
    np.empty(tensor.get_shape(), _DTYPES[tensor.get_dtype()])  # Where there is no memory NumPy raises, and the reader panics.
    whole: NDArray[Any] = tensor[()]
    return whole


def _other_kind(beginning: bytes, advice: str) -> tuple[str, str]:
    """Return what kind of file begins so, if it is a well-known one, and what to do; else empty strings."""
    import re

    length, header = int.from_bytes(beginning[:8], "little"), beginning[8:9]
    if not header or (header == b"{" and length <= _MOST_HEADER):  # as safetensors begins
        return "", ""
    if beginning.startswith((b"version https://git-lfs", b"version https://hawser")):
        return "a Git LFS pointer, not the model", "git lfs pull fetches that"
    if re.match(rb"\s*<[!?\w]", beginning):
        return "an HTML page, not the model", "download that"
    for pattern, kind, reader, network in _OTHER_FILES:
        if re.match(pattern, beginning, re.DOTALL):
            return kind, advice.format(reader=reader, network=network.format(reader=reader))
    return "", ""
