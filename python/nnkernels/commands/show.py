"""Describe a saved network."""

from pathlib import Path

from nnkernels.commands.models import read_model
from nnkernels.commands.names import shown
from nnkernels.commands.report import count, say, weights_sha256


def show(model: Path) -> None:
    """Print the layers, names, other metadata, file size and hash of a saved network.

    Raises OSError, ValueError and ImportError as ``read_model``.
    """
    net, names = read_model(model)
    say([str(net)])
    lists = {"classes": names.classes, "columns": names.columns, "ignored": names.ignored}
    for title, several in lists.items():
        if several:
            say([f"{title}: {', '.join(map(shown, several))}"])
    say(f"{shown(name)}: {shown(text)}" for name, text in net.metadata.items() if name not in lists)
    say([f"file: {count(model.stat().st_size, 'byte')}", f"SHA-256 of the weights: {weights_sha256(net)}"])
