"""What the commands tell of a network beside its layers: the names of classes and columns, and a hash of its weights."""

import hashlib
import json
import sys
from collections.abc import Iterable
from typing import NamedTuple

from nnkernels.network import Network


class Names(NamedTuple):
    """Names in a network's metadata: "classes" and "columns" are JSON lists, "target" is plain text.

    ``classes`` has a name for each output, ``columns`` one for each input; () without. ``target`` is the column to predict.

    >>> names = Names(("cat", "dog"), ("weight", "height"), "animal")
    >>> names.metadata()
    {'classes': '["cat", "dog"]', 'columns': '["weight", "height"]', 'target': 'animal'}
    """

    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    target: str | None = None

    def metadata(self) -> dict[str, str]:
        """Return the entries of a network's metadata."""
        lists = (("classes", self.classes), ("columns", self.columns))
        entries = {name: json.dumps(several, ensure_ascii=False) for name, several in lists if several}
        return entries if self.target is None else entries | {"target": self.target}


def names_of(net: Network, file: str) -> Names:
    """Return the names in a network's metadata. Raises ValueError, which tells the file, if they do not fit the network."""
    classes = _read_list(net, "classes", net.outputs, file)
    return Names(classes, _read_list(net, "columns", net.inputs, file), net.metadata.get("target"))


def _read_list(net: Network, name: str, length: int, file: str) -> tuple[str, ...]:
    text = net.metadata.get(name)
    if text is None:
        return ()
    try:
        several = json.loads(text)
    except (RecursionError, ValueError):
        several = None
    if not isinstance(several, list) or not all(isinstance(item, str) and _is_utf_8(item) for item in several):
        raise ValueError(f"{file}: expected metadata {name!r} to be a JSON list of strings")
    if len(several) != length or len(set(several)) != length:
        raise ValueError(f"{file}: expected metadata {name!r} to be {length} different strings, got {len(several)}")
    return tuple(several)


def _is_utf_8(text: str) -> bool:
    """JSON can hold halves of surrogate pairs, which no file takes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def shown(text: str) -> str:
    """Return a name as a terminal can show it: without line breaks and control characters."""
    return text if text.isprintable() else repr(text)


def say(lines: Iterable[str]) -> None:
    """Print lines at once. Characters that standard output's encoding lacks are written as backslash escapes."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
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
