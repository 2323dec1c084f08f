"""Convert a network to another format."""

import os
from pathlib import Path

from nnkernels.commands.models import read_model
from nnkernels.commands.report import say, weights_sha256
from nnkernels.commands.rows import check_replaceable, named, open_replacement
from nnkernels.network import load, read_saved

# Readers by suffix of the output: they check that an existing file, to be replaced, is a network.
_READERS = {".safetensors": read_saved, ".onnx": load}


def convert(model: Path, output: Path, name: str | None = None) -> None:
    """Write a network or model that ``load`` reads to a .safetensors or .onnx file.

    ``name`` chooses an output of an ONNX model with several. Raises OSError, ValueError, and
    ImportError if a package is missing. Then no file is written.
    """
    reader = _READERS.get(output.suffix.lower())
    if reader is None:
        raise ValueError(f"{output}: expected a name that ends in .safetensors or .onnx")
    if os.path.realpath(model) == os.path.realpath(output):
        raise ValueError(f"{output}: expected different files for the model and the network")
    with open_replacement(output) as file:
        check_replaceable(output, reader)
        net, _ = read_model(model, name)
        with named(str(output)):
            if reader is load:
                net.to_onnx(file.name)
            else:
                net.save(file.name)
    say([str(net), f"written: {output}", f"SHA-256 of the weights: {weights_sha256(net)}"])
