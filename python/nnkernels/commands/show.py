"""Describe a saved network."""

from pathlib import Path

from nnkernels.commands.names import names_of, shown, weights_sha256
from nnkernels.network import load


def show(model: Path) -> None:
    """Print the layers, names, other metadata, file size and hash of a saved network. Raises OSError and ValueError."""
    net = load(model)
    names = names_of(net, str(model))
    print(net)
    for title, several in (("classes", names.classes), ("columns", names.columns)):
        if several:
            print(f"{title}: {', '.join(map(shown, several))}")
    for name, text in net.metadata.items():
        if name not in ("classes", "columns"):
            print(f"{shown(name)}: {shown(text)}")
    print(f"file: {model.stat().st_size:,} bytes")
    print(f"SHA-256 of the weights: {weights_sha256(net)}")
