"""Reading the model argument of the commands."""

import sys
import warnings
from contextlib import suppress
from pathlib import Path

from nnkernels.commands.names import Names, names_of
from nnkernels.network import Network, load


def read_model(path: Path, output: str | None = None) -> tuple[Network, Names]:
    """Return the network in a file, and its names. Print warnings on standard error.

    ``output`` chooses an output of an ONNX model with several. Raises OSError, ValueError and
    ImportError.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        net = load(path) if output is None else _read_output(path, output)
    for warning in caught:
        if not issubclass(warning.category, UserWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif sys.stderr is not None:
            with suppress(OSError):
                print(f"nnkernels: {warning.message}", file=sys.stderr, flush=True)
    return net, names_of(net, str(path))


def _read_output(path: Path, output: str) -> Network:
    from nnkernels.models.onnx import from_onnx

    return from_onnx(path, output=output)
