"""Reading groups and arrays from untrusted HDF5 files. Memory stays proportional to their size.

Soft and external links, and arrays in chunks, in other files or larger than the file are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Errors of h5py for a damaged file.
_ERRORS = (AttributeError, LookupError, OSError, OverflowError, RuntimeError, SystemError, TypeError, ValueError)

# Upper limit of nested groups.
_MOST_DEPTH = 32

# Upper limit of the bytes of a name.
_MOST_NAME = 1000

# Upper limit of link reads: one per this many bytes of the file. Files of Keras need fewer.
_LINK_BYTES = 8

# Kinds of messages in a group's header with two numbers: two addresses, or an address and a size.
_CONTINUATION, _SYMBOL_TABLE = _ADDRESSES = (0x10, 0x11)

# Marks the end of a heap's list of free blocks.
_NO_BLOCK = 1

# Upper limit of the places in a file to search for an attribute.
_MOST_PLACES = 100


class Group:
    """A group of an HDF5 file. ``open_hdf5`` returns the root group."""

    def __init__(self, group: Any, room: _Room, address: int = 0) -> None:
        self._group = group
        self._room = room
        self._address = address  # 0 for the root group

    def group(self, path: str) -> Group | None:
        """Return the group at a path below this one, or None."""
        found = self._find(path)
        return found if isinstance(found, Group) else None

    def array(self, path: str) -> NDArray[Any] | None:
        """Return the array at a path below this one, or None."""
        found = self._find(path)
        return None if found is None or isinstance(found, Group) else self._room.read(found)

    def arrays(self) -> list[tuple[list[str], Any]]:
        """Return all arrays below this group: for each the path, and a function that reads it."""
        found: list[tuple[list[str], Any]] = []
        self._search([], set(), found)
        return found

    def _search(self, path: list[str], seen: set[int], found: list[tuple[list[str], Any]]) -> None:
        if len(path) > _MOST_DEPTH:
            raise ValueError(f"expected at most {_MOST_DEPTH} nested groups, got more at {self._group.name!r}")
        if self._address in seen:  # a cycle of links
            return
        seen.add(self._address)
        for name in self._room.names(self._address):
            child = self._member(name)
            if isinstance(child, Group):
                child._search([*path, name], seen, found)
            elif child is not None:
                found.append(([*path, name], partial(self._room.read, child)))

    def text(self, name: str) -> str | None:
        """Return an attribute, which must be one string; None if there is none."""
        import h5py

        with _damaged():
            if not h5py.h5a.exists(self._group.id, name.encode()):
                return None
            attribute = h5py.h5a.open(self._group.id, name.encode())
            kind, shape = attribute.dtype, attribute.shape
            content = None
            if shape == () and kind.kind == "S" and kind.itemsize <= self._room.size:
                buffer = np.zeros((), kind)
                attribute.read(buffer)
                content = bytes(buffer[()])
            elif shape == () and kind.kind == "O":
                content = _variable_length(self._room.content, name.encode())
        if content is None:
            raise ValueError(f"expected attribute {name!r} to be a string within the file")
        return content.decode("utf-8", "replace")

    def _find(self, path: str) -> Any:
        """Return the Group or the h5py.Dataset at a path, or None."""
        found: Any = self
        for name in path.split("/"):
            if not isinstance(found, Group):
                return None
            found = found._member(name)
        return found

    def _member(self, name: str) -> Any:
        import h5py

        if "/" in name:  # HDF5 would follow it as a path, with all links
            raise ValueError(f"the HDF5 file is damaged: {name!r} is not a name")
        with _damaged():
            links, text = self._group.id.links, name.encode("utf-8", "surrogateescape")
            if not links.exists(text):
                return None
            link = links.get_info(text)
            hard = link.type == h5py.h5l.TYPE_HARD
            found = self._group[text] if hard else None
        place = f"{self._group.name}/{name}".replace("//", "/")
        if not hard:
            raise ValueError(f"expected {place!r} in the file itself, got a link to another name or file")
        if isinstance(found, h5py.Group):
            return Group(found, self._room, link.u)
        if isinstance(found, h5py.Dataset):
            return found
        raise ValueError(f"expected {place!r} to be a group or an array")


class _Room:
    """The content of a file, with budgets: bytes left for arrays, and reads left for links."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = self.left = len(content)
        self._links = self.size // _LINK_BYTES

    def names(self, group: int) -> list[str]:
        """Return the names in the group at an address.

        HDF5 itself loops for ever, or crashes, if the nodes of a damaged tree form a cycle.
        """
        try:
            tree, heap = _symbol_table(self.content, group)
            (texts,) = struct.unpack_from("<24xQ", self.content, heap)
            names = [self._name(texts + place) for place in _name_places(self.content, tree)]
        except (OverflowError, struct.error):
            raise ValueError("the HDF5 file is damaged: an address is beyond its end") from None
        return names

    def _name(self, place: int) -> str:
        self._links -= 1
        if self._links < 0:
            raise ValueError("the HDF5 file is damaged: its groups have more names than fit into the file")
        return self.content[place : place + _MOST_NAME].partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def read(self, dataset: Any) -> NDArray[Any]:
        import h5py

        with _damaged():
            place, dtype, shape = dataset.name, dataset.dtype, dataset.shape
            properties = dataset.id.get_create_plist()
            whole = properties.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) and not properties.get_external_count()
            stored = dataset.id.get_storage_size()
        if not whole or shape is None:
            raise ValueError(f"expected {place!r} to be stored in one piece in this file, as by Keras")
        if dtype.kind != "f" and dtype != "V2":
            raise ValueError(f"expected {place!r} to hold floating-point numbers, got {dtype}")
        size = prod(shape) * dtype.itemsize
        if size > min(stored, self.left):
            raise ValueError(f"the HDF5 file is damaged: {place!r} claims {size:,} bytes, more than it holds")
        self.left -= size
        with _damaged():
            array = dataset[()]
        return np.asarray(array, dtype.newbyteorder("="))


def _symbol_table(content: bytes, group: int) -> tuple[int, int]:
    """Return the addresses of a group's tree and of the heap with its names, from its header.

    A header of version 1 has 16 bytes, with the number of messages. Each message begins with 8
    bytes, with its kind and size. Some messages have the address of the header's next part.
    """
    version, count, size = struct.unpack_from("<BxH4xI", content, group)
    parts = [(group + 16, size)] if version == 1 else []
    for place, size in parts:
        end = place + size
        while place < end and count > 0:
            count -= 1
            kind, length = struct.unpack_from("<HH", content, place)
            if kind in _ADDRESSES:
                addresses = struct.unpack_from("<QQ", content, place + 8)
                if kind == _SYMBOL_TABLE:
                    return addresses
                parts.append(addresses)
            place += 8 + length
    raise ValueError("expected groups in the oldest format of HDF5, the default of h5py")


def _name_places(content: bytes, tree: int) -> Iterator[int]:
    """Yield the offsets of a group's names in the heap, from the leaves of its tree."""
    nodes, seen = [tree], set()
    while nodes:
        node = nodes.pop()
        if node in seen:
            raise ValueError("the HDF5 file is damaged: a node occurs twice in a tree")
        seen.add(node)
        (count,) = struct.unpack_from("<6xH", content, node)
        match content[node : node + 4]:
            case b"TREE":  # a header of 24 bytes, then a key before each child
                nodes += [struct.unpack_from("<Q", content, node + 32 + 16 * index)[0] for index in range(count)][::-1]
            case b"SNOD":  # a header of 8 bytes, then entries of 40
                yield from (struct.unpack_from("<Q", content, node + 8 + 40 * index)[0] for index in range(count))
            case _:
                raise ValueError("the HDF5 file is damaged: there is no node at an address in a tree")


@contextmanager
def open_hdf5(content: bytes) -> Iterator[Group]:
    """Open the content of an HDF5 file, and yield its root group.

    Raises ImportError if h5py is missing, and ValueError if the file is damaged.

    Examples
    --------
    >>> import io, h5py
    >>> from nnkernels.models.hdf5 import open_hdf5
    >>> file = io.BytesIO()
    >>> with h5py.File(file, "w") as opened:
    ...     opened["layer/kernel"] = [[1.0, 2.0]]
    >>> with open_hdf5(file.getvalue()) as group:
    ...     group.array("layer/kernel")
    array([[1., 2.]])
    """
    try:
        import h5py
    except ImportError:
        raise ImportError("Keras files need the package h5py: pip install 'nnkernels[keras]'") from None
    _check_heaps(content)
    with _damaged():
        file = h5py.File(BytesIO(content), "r")
    try:
        yield Group(file, _Room(content))
    finally:
        with _damaged():
            file.close()


def _check_heaps(content: bytes) -> None:
    """Raise ValueError if a heap's list of free blocks has a cycle, in which HDF5 would not stop.

    A heap has the offset of its first free block at byte 16, then its address. Each free block
    begins with the offset of the next one.
    """
    left = len(content)  # budget for all lists
    place = content.find(b"HEAP")
    while 0 <= place <= len(content) - 32:
        free, heap = struct.unpack_from("<QQ", content, place + 16)
        seen = set()
        while free != _NO_BLOCK and heap + free + 16 <= len(content):
            left -= 1
            if free in seen or left < 0:
                raise ValueError("the HDF5 file is damaged: the list of free blocks of a heap has no end")
            seen.add(free)
            (free,) = struct.unpack_from("<Q", content, heap + free)
        place = content.find(b"HEAP", place + 1)


@contextmanager
def _damaged() -> Iterator[None]:
    """Convert errors of h5py to ValueError."""
    try:
        yield
    except _ERRORS as error:
        raise ValueError(f"the HDF5 file is damaged: {error}") from None


def _variable_length(content: bytes, name: bytes) -> bytes | None:
    """Return the string of an attribute of variable length, or None.

    HDF5 itself would allocate the memory that the attribute claims, up to 4 GB. An attribute is a
    header, name, type, shape, the length of the string, the address of a heap, and the number of an
    object there.
    """
    place = -1
    for _ in range(_MOST_PLACES):
        place = content.find(name + b"\0", place + 1)
        if place < 0:
            break
        for version, header, unit in ((1, 8, 8), (2, 8, 1), (3, 9, 1)):  # parts are aligned to the unit
            start = max(place - header, 0)
            sizes = struct.unpack_from("<4H", content[start : start + 8].ljust(8, b"\0"))
            if sizes[0] & 255 == version and sizes[1] == len(name) + 1:
                reference = place + sum(size + -size % unit for size in sizes[1:])
                text = _heap_object(content, *struct.unpack("<IQI", content[reference : reference + 16].ljust(16, b"\0")))
                if text is not None:
                    return text
    return None


def _heap_object(content: bytes, length: int, heap: int, number: int) -> bytes | None:
    """Return an object of a global heap: 16 bytes, then for each object number, size and bytes."""
    place = heap + 16
    if content[heap : heap + 4] != b"GCOL":
        return None
    while place + 16 <= len(content):
        found, _, size = struct.unpack_from("<HHxxxxQ", content, place)
        place += 16
        if found == number:
            text = content[place : place + length]
            return text if size == length == len(text) else None
        if found == 0:
            return None
        place += size + -size % 8
    return None
