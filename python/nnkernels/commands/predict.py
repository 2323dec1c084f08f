"""Run a saved network on the rows of a file, in blocks: memory does not grow with the file."""

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

# Upper limit of multiplications in a block: less than half a second on any CPU target, so that
# Ctrl-C is quick.
_BLOCK_WORK = 2**28

# Lower limit of rows in a block, so that reading a large network's weights pays.
_FEW_ROWS = 16

# The class of a row with NaN in its outputs.
_NO_CLASS = "nan"

# Seconds before the progress bar is shown.
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
    """Write the predictions of a saved network for each row of a file.

    A prediction is a class name, or all outputs if the network has no class names. With
    ``probabilities`` it is all outputs, and CSV has a header with the class names.

    Parameters
    ----------
    model : Path
        The file of the network.
    source, output : str
        Names of files; "-" is standard input and output.
    fallback : {"csv", "npy"}, optional
        The format if a name ends in neither .csv nor .npy.
    delimiter : str, default ","
        Separates the fields of CSV.
    header : bool or None, default None
        Whether the first line of CSV is a header. None decides by its content.
    probabilities : bool, default False
        Whether to write all outputs rather than class names.

    Raises
    ------
    OSError, ValueError
        If a file cannot be read or written, is malformed, or does not fit the network. The output
        is then as before.
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
            bar.disable = True  # or it would mix with the rows
        if source_format == "csv":
            ignored = names.ignored if names.target is None else (*names.ignored, names.target)
            blocks = read_csv(source_file, input_label(source), inputs, block_rows, delimiter, header, names.columns, ignored)
        else:
            blocks = read_npy(source_file, input_label(source), inputs, block_rows)

        def results() -> Iterator[NDArray[Any]]:
            for rows, percent in blocks:
                with np.errstate(over="ignore"):  # numbers beyond the network's dtype become infinite
                    result = net(rows)
                yield result.reshape(len(rows), outputs)  # one neuron: one column
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
