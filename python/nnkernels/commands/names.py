"""Names of classes and columns in a network's metadata."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nnkernels.network import Network


class Names(NamedTuple):
    """Names in a network's metadata.

    ``classes`` are the names of the outputs, ``columns`` the names of the inputs; () if there are
    none. ``target`` is the name of the column to predict, ``ignored`` are the names of columns that
    are not inputs. In the metadata "target" is plain text; the others are JSON lists.

    >>> names = Names(("cat", "dog"), ("weight", "height"), "animal")
    >>> names.metadata()
    {'classes': '["cat", "dog"]', 'columns': '["weight", "height"]', 'target': 'animal'}
    """

    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    target: str | None = None
    ignored: tuple[str, ...] = ()

    def metadata(self) -> dict[str, str]:
        """Return the entries of a network's metadata."""
        lists = (("classes", self.classes), ("columns", self.columns), ("ignored", self.ignored))
        entries = {name: json.dumps(several, ensure_ascii=False) for name, several in lists if several}
        return entries if self.target is None else entries | {"target": self.target}


def names_of(net: Network, file: str) -> Names:
    """Return the names in a network's metadata.

    Raises ValueError with the name of the file if they do not fit the network.
    """
    classes, columns = _read_list(net, "classes", net.outputs, file), _read_list(net, "columns", net.inputs, file)
    return Names(classes, columns, net.metadata.get("target"), _read_list(net, "ignored", None, file))


def class_names(net: Network) -> tuple[str, ...]:
    """Return the names of classes in a network's metadata; () if they are missing or do not fit."""
    try:
        return _read_list(net, "classes", net.outputs, "")
    except ValueError:
        return ()


def _read_list(net: Network, name: str, length: int | None, file: str) -> tuple[str, ...]:
    text = net.metadata.get(name)
    if text is None:
        return ()
    try:
        several = json.loads(text)
    except (RecursionError, ValueError):
        several = None
    if not isinstance(several, list) or not all(isinstance(item, str) and _is_line(item) for item in several):
        raise ValueError(f"{file}: expected metadata {name!r} to be a JSON list of strings without NUL and carriage return")
    if length is not None and (len(several) != length or len(set(several)) != length):
        raise ValueError(f"{file}: expected metadata {name!r} to be {length} different strings, got {len(several)}")
    return tuple(several)


def _is_line(text: str) -> bool:
    """Return whether UTF-8 (no surrogates), NumPy (no NUL) and CSV (no CR) preserve a text."""
    return not any("\ud800" <= character <= "\udfff" or character in "\0\r" for character in text)


def shown(text: str) -> str:
    """Return a printable name: ``repr`` if it is empty or has control characters."""
    return text if text and text.isprintable() else repr(text)


def listed(several: Sequence[str], most: int, label: Callable[[str], str] = shown) -> str:
    """Return the first names, and the number of further ones.

    >>> listed(["a", "b", "c"], 3), listed(["a", "b", "c"], 2)
    ('a, b, c', 'a, b and 1 more')
    """
    more = f" and {len(several) - most} more" if len(several) > most else ""
    return ", ".join(map(label, several[:most])) + more
