"""Output of the commands."""

import hashlib
import sys
from collections.abc import Iterable

from nnkernels.commands.rows import named
from nnkernels.network import Network


def say(lines: Iterable[str]) -> None:
    """Print and flush lines. Characters that cannot be encoded become backslash escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    with named("standard output"):
        for line in lines:
            print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if needed.

    >>> count(1, "row"), count(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def weights_sha256(net: Network) -> str:
    """Return the SHA-256 of the little-endian bytes of each layer's arrays in turn."""
    digest = hashlib.sha256()
    for layer in net.layers:
        for name in ("weights", "bias", "offset", "scale"):
            array = getattr(layer, name, None)
            if array is not None:
                digest.update(array.tobytes() if sys.byteorder == "little" else array.byteswap().tobytes())
    return digest.hexdigest()
