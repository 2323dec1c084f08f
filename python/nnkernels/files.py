"""Reading and writing safetensors files. Files to read are not trusted."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fsdecode, fstat
from stat import S_ISREG
from typing import Any, BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

# The name of a file, as for open().
Path: TypeAlias = str | bytes | PathLike[str] | PathLike[bytes]

T = TypeVar("T")

# Upper limit of safetensors for the size of a header, in bytes.
_MOST_HEADER = 100_000_000

# Suffixes of other formats.
_OTHER_SUFFIXES = (".onnx", ".keras", ".h5", ".pt")

# dtypes by their names in a file.
_DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}

ONNX, KERAS, HDF5 = "an ONNX file", "a Keras file", "an HDF5 file"

# How to convert other kinds of files to a network.
_LAYERS = "read its weights with {reader}, and save a Network([Dense(weights, bias, activation), ...])"
_MODULE = (
    "nnk.from_state_dict({reader}(path, weights_only=True), activations) converts its tensors (for a checkpoint, pass the "
    "entry that holds them); if it is a whole module that you trust, load it with weights_only=False for nnk.from_torch"
)
_IMPORT = "nnk.load and {reader} read it"
_OBJECT = "read it with {reader}, and pass the model to nnk.from_sklearn, nnk.from_torch or nnk.from_keras"

# Other kinds of files: a pattern of their first bytes, their name, their reader, how to convert
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
    (rb"[\t\n\r -~]{9}", "a text file", "numpy.loadtxt", _LAYERS),
)


def check_suffix(path: Path, writer: str, advice: str = "") -> None:
    """Raise ValueError if the name of a file to write ends in the suffix of another format."""
    if fsdecode(path).lower().endswith(_OTHER_SUFFIXES):
        expected = "expected a name that ends in .safetensors, for example"
        raise ValueError(f"{fsdecode(path)}: {writer} writes the safetensors format: {expected}{advice}")


def write_file(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write C-contiguous arrays to a safetensors file. The same arguments give the same bytes."""
    import json

    # safetensors' own writer needs two copies of all tensors, and panics if memory runs out.
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in sorted(tensors):
        begin, end = end, end + tensors[name].nbytes
        dtype = f"F{8 * tensors[name].itemsize}"
        header[name] = {"dtype": dtype, "shape": tensors[name].shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the tensors
    if len(text) > _MOST_HEADER:
        raise ValueError(f"{fsdecode(path)}: expected names and metadata of at most {_MOST_HEADER:,} bytes, got {len(text):,}")
    with open(path, "wb") as file:  # noqa: PTH123 - importing pathlib costs milliseconds
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(tensors[name].data)


def widened(bfloat16: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Convert bfloat16, given as uint16, to float32. It is the upper half of a float32.

    >>> widened(np.array([0x3F80, 0xC000], np.uint16))
    array([ 1., -2.], dtype=float32)
    """
    return (bfloat16.astype(np.uint32) << 16).view(np.float32)


@contextmanager
def open_regular(path: Path, content: str) -> Iterator[BinaryIO]:
    """Open a regular file. A pipe cannot be read twice, and a device may have no end."""
    name = fsdecode(path)
    with open(name, "rb") as file:  # noqa: PTH123 - importing pathlib costs milliseconds
        if not S_ISREG(fstat(file.fileno()).st_mode):
            raise ValueError(f"{name}: expected {content} in a regular file, got a pipe or a device")
        yield file


def read_file(
    path: Path,
    parse: Callable[[Any], T],
    content: str,
    writer: str,
    advice: str,
    others: Mapping[str, Callable[[Path], T]] | None = None,
) -> T:
    """Read a safetensors file with ``parse``, which uses ``read_metadata`` and ``read_tensors``.

    Parameters
    ----------
    path : str, bytes or path-like
        A regular file.
    parse : callable
        Takes the open file, returns the result, and raises ValueError for wrong content.
    content, writer : str
        The expected content, such as "a network", and the function that writes it, for error
        messages.
    advice : str
        What to do with a file of another kind, for error messages. "{reader}" stands for the
        function that reads it, "{network}" for how to convert it to a network.
    others : mapping, optional
        Readers of other kinds of files, by kind: ONNX, KERAS, HDF5.

    Raises
    ------
    ValueError
        If the content is wrong in any way.
    OSError, MemoryError
        If the file cannot be read.
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
        if f"(os error {errno.ENOMEM})" in str(error):  # safetensors before 0.8 has no MemoryError
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
    """Return the tensors of an open file, which must have exactly the expected names."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
    for name in slices.keys() ^ expected:
        raise ValueError(f"tensor {name[:60]!r} is {'unexpected' if name in slices else 'missing'}")
    for name, tensor in slices.items():
        if tensor.get_dtype() not in _DTYPES:
            raise ValueError(f"expected tensor {name!r} to be F16, F32 or F64, got {tensor.get_dtype()}")
    return {name: _read_tensor(tensor) for name, tensor in slices.items()}


def _read_tensor(tensor: Any) -> NDArray[Any]:
    # If memory runs out, this raises MemoryError. The reader would panic.
    np.empty(tensor.get_shape(), _DTYPES[tensor.get_dtype()])
    whole: NDArray[Any] = tensor[()]
    return whole


def _other_kind(beginning: bytes, advice: str) -> tuple[str, str]:
    """Return the kind of a file by its first bytes, and advice; empty strings if it is unknown."""
    import re

    length, header = int.from_bytes(beginning[:8], "little"), beginning[8:9]
    if not header or (header == b"{" and length <= _MOST_HEADER):  # as in safetensors
        return "", ""
    if beginning.startswith((b"version https://git-lfs", b"version https://hawser")):
        return "a Git LFS pointer, not the model", "git lfs pull fetches the model"
    if re.match(rb"\s*<[!?\w]", beginning):
        return "an HTML page, not the model", "download the model itself"
    for pattern, kind, reader, network in _OTHER_FILES:
        if re.match(pattern, beginning, re.DOTALL):
            return kind, advice.format(reader=reader, network=network.format(reader=reader))
    return "", ""
