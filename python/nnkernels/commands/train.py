"""Train a network on a CSV file: scale inputs, hold rows back for early stopping, report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnkernels.commands.names import Names, listed
from nnkernels.commands.report import count, say, weights_sha256
from nnkernels.commands.rows import check_replaceable, input_label, named, open_input, open_replacement
from nnkernels.commands.table import Table, Task, read_table
from nnkernels.commands.tasks import Classes, Quantities, Standard, decide_task
from nnkernels.files import check_suffix
from nnkernels.layers import Scale
from nnkernels.network import Network, read_saved
from nnkernels.plots import draw_losses, plot_format
from nnkernels.training import Training, TrainingError
from nnkernels.training import train as train_network

# Training ends after this many epochs without a lower loss on the held-back rows.
PATIENCE = 20

# Upper limit of column names in a line of the report.
_MOST_NAMES = 20


def train(
    source: str,
    output: Path,
    *,
    target: str | None = None,
    task: Task | None = None,
    hidden: Sequence[int] = (64, 64),
    epochs: int = 500,
    batch: int = 32,
    seed: int = 0,
    validation: float = 0.2,
    optimizer: str = "adam",
    plot: Path | None = None,
    ignore: Sequence[str] = (),
    delimiter: str = ",",
    header: bool | None = None,
) -> bool:
    """Train a network on the rows of a CSV file, write it, and print a report.

    Parameters
    ----------
    source : str
        Name of the CSV file; "-" is standard input.
    output : Path
        File of the network.
    target : str, optional
        Column to predict: a name, or a number from 1. Defaults to the last column.
    task : {"classes", "regression"}, optional
        Defaults to the result of ``decide_task``.
    hidden : sequence of int
        Sizes of the hidden layers.
    epochs, batch, seed, optimizer
        As in ``nnkernels.train``.
    validation : float
        Fraction of rows to hold back.
    plot : Path, optional
        File of a plot of the losses.
    ignore : sequence of str
        Columns that are not inputs.
    delimiter, header
        As in ``read_csv``.

    Returns
    -------
    bool
        False if Ctrl-C ended training early. The network is then the best so far.

    Raises
    ------
    OSError, ValueError, ImportError
        If a file or an argument is invalid, or matplotlib is missing for ``plot``. Then no file is
        written, except for the network if only the plot fails.
    """
    check_suffix(output, "train", "; python -m nnkernels convert writes ONNX")
    suffix = None if plot is None else plot_format("--plot", plot)
    paths = [os.path.realpath(name) for name in (source, output, plot) if name is not None]
    if len(set(paths)) < len(paths):
        raise ValueError(f"{output}: expected different files for the rows, the network and the plot")
    with ExitStack() as files:
        # Open the outputs first, so that errors come before training.
        plot_file = None if plot is None else files.enter_context(open_replacement(plot))
        with open_replacement(output) as network_file:
            check_replaceable(output, read_saved)
            with open_input(source) as file:
                table = read_table(file, input_label(source), delimiter, header, target, task, ignore)
            decided, reason = (task, "") if task else decide_task(table)
            problem = (Classes if decided == "classes" else Quantities)(table, validation, seed)
            scale, constant = _standardise(table, ~problem.held_back)
            say(_describe_data(table, decided + (f" ({reason})" if reason else ""), problem, constant))
            run = _learn(table, problem, scale, hidden, epochs, batch, seed, optimizer)
            best = run.best.network
            names = Names(problem.classes, table.columns, table.target, table.ignored)
            net = Network([*best.layers, *problem.last_layers], best.dtype, names.metadata())
            with named(str(output)):
                net.save(network_file.name)
        say(run.describe(epochs))
        held_back = table.inputs[problem.held_back]
        say(problem.judge(net(held_back)))
        say([f"written: {output}", f"SHA-256 of the weights: {weights_sha256(net)}"])
        if plot_file is not None and suffix is not None:
            draw_losses(plot_file, suffix, run.latest.losses, run.latest.validation_losses)
    if plot is not None:
        say([f"written: {plot}"])
    return not run.interrupted


class _Run(NamedTuple):
    """A training after its last epoch, and after the epoch with the lowest validation loss."""

    sizes: Sequence[int]
    latest: Training
    best: Training
    interrupted: bool

    def describe(self, epochs: int) -> Iterator[str]:
        """Yield lines of the report about the network and its epochs."""
        made, best = len(self.latest.losses), len(self.best.losses)
        end = count(made, "epoch")
        if self.interrupted:
            end = f"interrupted after {end}"
        elif made < epochs:
            end += f", the last {PATIENCE} without a lower loss on the held-back rows"
        yield f"network {'-'.join(map(str, self.sizes))}: {end}"
        loss, held_back = self.best.losses[-1], self.best.validation_losses[-1]
        yield f"the best, of epoch {best}, is kept: loss {loss:.4g}, on the held-back rows {held_back:.4g}"
        if made == best == epochs:
            yield "the last epoch was the best: a larger --epochs may give a better network"


def _learn(
    table: Table,
    problem: Classes | Quantities,
    scale: Scale,
    hidden: Sequence[int],
    epochs: int,
    batch: int,
    seed: int,
    optimizer: str,
) -> _Run:
    """Train until the last epoch, early stopping or Ctrl-C.

    Raises KeyboardInterrupt if there is no complete epoch.
    """
    sizes = [table.inputs.shape[1], *hidden, problem.outputs]
    latest: Training | None = None
    best: Training | None = None
    interrupted = False

    def note(training: Training) -> None:
        nonlocal latest, best
        latest = training
        if best is None or training.validation_losses[-1] < best.validation_losses[-1]:
            best = training

    held_back = problem.held_back
    try:
        first = Network.random(sizes, "relu", problem.activation, seed=seed, dtype=problem.dtype)
        train_network(
            Network([scale, *first.layers], first.dtype),
            table.inputs[~held_back],
            problem.targets[~held_back],
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch,
            seed=seed,
            validation=(table.inputs[held_back], problem.targets[held_back]),
            patience=PATIENCE,
            callback=note,
        )
    except KeyboardInterrupt:
        interrupted = True
    except TrainingError as error:
        made = len(error.training.losses)
        message = f"{table.file}: the loss is no longer finite after {count(made, 'epoch')}, and no network is written"
        raise ValueError(f"{message}; try another --optimizer or --batch") from None
    if latest is None or best is None:
        raise KeyboardInterrupt("interrupted before the end of the first epoch: no network is written")
    return _Run(sizes, latest, best, interrupted)


def _standardise(table: Table, rows: NDArray[np.bool_]) -> tuple[Scale, list[str]]:
    """Return a Scale to mean 0 and deviation 1 in these rows, and the names of constant columns."""
    standards, constant = [], []
    for column in range(table.inputs.shape[1]):
        numbers = table.inputs[rows, column]
        standard = Standard.of(numbers)
        if standard is None:
            what = "the numbers are too far apart, or too close, to be standardised"
            raise ValueError(f"{table.file}, {table.input_label(column)}: {what}")
        standards.append(standard)
        if numbers.min() == numbers.max():
            constant.append(table.input_label(column))
    mean, deviation = np.array(standards).T
    return Scale(mean, 1 / deviation), constant


def _describe_data(table: Table, task: str, problem: Classes | Quantities, constant: list[str]) -> Iterator[str]:
    rows, inputs = table.inputs.shape
    held_back = np.count_nonzero(problem.held_back)
    size = f"{count(rows, 'row')} of {count(inputs, 'input')}"
    yield f"{table.file}: {size}; {rows - held_back:,} to learn from, {held_back:,} held back"
    yield f"target {table.target_label}: {task}"
    yield from problem.describe()
    counts = np.arange(rows)
    numbered = [table.input_label(place) for place, column in enumerate(table.inputs.T) if (column == column[0] + counts).all()]
    if numbered:
        yield f"columns that number the rows: {listed(numbered, _MOST_NAMES)}; use --ignore unless they help to predict"
    if constant:
        yield f"constant columns, not scaled: {listed(constant, _MOST_NAMES)}"
