"""Splitting and joining safetensors files, for tests of invalid files."""

import json
import struct
from typing import Any

Header = dict[str, Any]


def take_apart(model: bytes) -> tuple[Header, bytes]:
    """Return header and data of a file: 8 bytes for the header's length, JSON header, data."""
    (length,) = struct.unpack("<Q", model[:8])
    return json.loads(model[8 : 8 + length]), model[8 + length :]


def put_together(header: Header | bytes, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data
