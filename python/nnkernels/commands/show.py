"""Describe a saved network."""

from pathlib import Path

from nnkernels.commands.names import count, names_of, say, shown, weights_sha256
from nnkernels.network import load


def show(model: Path) -> None:
    """Print the layers, names, other metadata, file size and hash of a saved network. Raises OSError and ValueError."""
    net = load(model)
    names = names_of(net, str(model))
    say([str(net)])
    for title, several in (("classes", names.classes), ("columns", names.columns)):
        if several:
            say([f"{title}: {', '.join(map(shown, several))}"])
    say(f"{shown(name)}: {shown(text)}" for name, text in net.metadata.items() if name not in ("classes", "columns"))
    say([f"file: {count(model.stat().st_size, 'byte')}", f"SHA-256 of the weights: {weights_sha256(net)}"])
