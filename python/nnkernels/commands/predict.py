"""Run a saved network on the rows of a file, block by block: memory does not grow with the file."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkernels.commands.models import read_model
from nnkernels.commands.rows import (
    BLOCK_NUMBERS,
    Format,
    file_format,
    input_label,
    open_input,
    open_output,
    read_csv,
    read_npy,
    write_csv,
    write_names,
    write_npy,
)
from nnkernels.layers import Dense

# Multiplications in a block, which an interruption waits for: less than half a second, on any CPU
# target.
_BLOCK_WORK = 2**28

# But no fewer rows than this, which make it worth while to read a large network's weights.
_FEW_ROWS = 16

# The class of a row whose outputs are NaN.
_NO_CLASS = "nan"

# A run is long, and shows its progress, after this many seconds.
PROGRESS_DELAY = 0.5


def predict(
    model: Path,
    source: str,
    output: str = "-",
    *,
    fallback: Format | None = None,
    delimiter: str = ",",
    header: bool | None = None,
    probabilities: bool = False,
) -> None:
    """Write what a saved network gives for each row of the source. "-" is standard input or output.

    That is a class name where the network has such names; else, or with ``probabilities``, all
    outputs. Above probabilities in CSV stand the names.

    ``fallback`` is the format where a name ends in neither .csv nor .npy. ``delimiter`` separates
    the fields of CSV, ``header`` tells whether its first line is one (None: if it looks like
    names).

    Raises OSError or ValueError for what cannot be read or written, is malformed or does not fit;
    the output then is as it was before.
    """
    from tqdm import tqdm

    source_format, output_format = file_format(source, fallback), file_format(output, fallback)
    net, names = read_model(model)
    inputs, outputs = net.inputs, net.outputs
    work = sum(layer.weights.size for layer in net.layers if isinstance(layer, Dense))
    block_rows = max(1, min(BLOCK_NUMBERS // max(1, inputs, outputs), max(_FEW_ROWS, _BLOCK_WORK // max(1, work))))
    bar_format = "{l_bar}{bar}| {elapsed}<{remaining}"

    silent = sys.stderr is None or not sys.stderr.isatty()

    with (
        tqdm(total=100, miniters=1, disable=silent, delay=PROGRESS_DELAY, leave=False, bar_format=bar_format) as bar,
        open_input(source) as source_file,
        open_output(output, output_format) as output_file,
    ):
        if output_file.isatty():
            bar.disable = True  # it would be among the rows
        if source_format == "csv":
            ignored = names.ignored if names.target is None else (*names.ignored, names.target)
            blocks = read_csv(source_file, input_label(source), inputs, block_rows, delimiter, header, names.columns, ignored)
        else:
            blocks = read_npy(source_file, input_label(source), inputs, block_rows)

        def results() -> Iterator[NDArray[Any]]:
            for rows, percent in blocks:
                with np.errstate(over="ignore"):  # What is beyond the network's dtype becomes infinite.
                    result = net(rows)
                yield result.reshape(len(rows), outputs)  # One neuron makes one column.
                bar.update(percent - bar.n)

        if names.classes and not probabilities:
            texts = np.array([*names.classes, _NO_CLASS])

            def answers() -> Iterator[NDArray[Any]]:
                for result in results():
                    yield texts[np.where(np.isnan(result).any(axis=-1), len(names.classes), result.argmax(axis=-1))]

            if output_format == "csv":
                write_names(output_file, answers(), delimiter)
            else:
                write_npy(output_file, answers(), (), texts.dtype)
        elif output_format == "csv":
            if names.classes:
                write_names(output_file, [[names.classes]], delimiter)
            write_csv(output_file, results(), delimiter)
        else:
            write_npy(output_file, results(), (outputs,), net.dtype)
