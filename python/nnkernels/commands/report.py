"""What the commands print of data and networks."""

import hashlib
import sys
from collections.abc import Iterable

from nnkernels.commands.rows import named
from nnkernels.network import Network


def say(lines: Iterable[str]) -> None:
    """Print lines at once. Characters that standard output's encoding lacks are written as backslash escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    with named("standard output"):
        for line in lines:
            print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def count(number: int, noun: str) -> str:
    """Return a number of things.

    >>> count(1, "row"), count(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def weights_sha256(net: Network) -> str:
    """Return the SHA-256 of all weights and biases, layer after layer, as little-endian bytes; of a Scale, offset and scale."""
    digest = hashlib.sha256()
    for layer in net.layers:
        for name in ("weights", "bias", "offset", "scale"):
            array = getattr(layer, name, None)
            if array is not None:
                digest.update(array.tobytes() if sys.byteorder == "little" else array.byteswap().tobytes())
    return digest.hexdigest()
