"""The training loop, and what it leaves: a network, the losses of its epochs, and a state to go on from."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple, Self, SupportsIndex, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels import _core
from nnkernels.activations import number_of
from nnkernels.arrays import MOST_SEED, as_bool, as_integer, describe, rounded, shape_of
from nnkernels.files import Path, read_file, read_metadata, read_tensors, write_file
from nnkernels.frozen import Frozen
from nnkernels.layers import Dense
from nnkernels.losses import LOSSES, LossLike
from nnkernels.network import Network
from nnkernels.optimizers import MOMENTS, Optimizer, OptimizerLike, as_optimizer
from nnkernels.problem import Architecture, Problem, Rows, take_apart

# What train calls after each epoch; True ends the training.
Callback: TypeAlias = Callable[["Training"], object]

# A run that takes more seconds than this shows its progress.
_PROGRESS_DELAY = 0.5

# Run more epochs in a call of C++ while a call takes fewer seconds than this: Python's part takes
# longer than an epoch of a tiny network.
_LEAST_CALL = 0.01


class Description(NamedTuple):
    """Identifies a training. A state can go on only if every field matches."""

    sizes: str
    activations: str
    dtype: str
    loss: str
    optimizer: str


class TrainingState(Frozen):
    """Where a training stands: ``train(..., state=training.state)`` goes on from there.

    4 epochs and 6 more are 10 epochs, bit for bit, if data and settings are the same. ``train`` and
    ``load`` make states, which are frozen.

    Attributes
    ----------
    epochs, steps : int
        How many were made so far.
    parameters : array
        Weights (outputs, inputs) and bias of layer after layer, flat and read-only: float64 for a
        float64 network, and float32 for a float32 or float16 one.
    moments : tuple of arrays
        Of the optimizer, each of the parameters' shape: m and v of Adam, v of SGD with momentum.
    description : tuple of str
        The network's sizes, activations and dtype, the loss, and the kind of optimizer, which must
        be the same to go on. Their settings may change: a learning rate, for example.

    Examples
    --------
    >>> import nnkernels as nnk, pathlib, tempfile
    >>> net, x, y = nnk.Network.random([1, 4, 1], seed=0), [[-1.0], [1.0]], [[0.5], [2.0]]
    >>> first = nnk.train(net, x, y, epochs=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first.state.save(pathlib.Path(folder, "state.safetensors"))
    ...     state = nnk.TrainingState.load(pathlib.Path(folder, "state.safetensors"))
    >>> second = nnk.train(net, x, y, epochs=6, state=state)
    >>> first.losses + second.losses == nnk.train(net, x, y, epochs=10).losses
    True
    """

    __slots__ = ("description", "epochs", "moments", "parameters", "steps")

    description: Description
    epochs: int
    steps: int
    parameters: NDArray[Any]
    moments: tuple[NDArray[Any], ...]

    def __init__(
        self, description: Description, epochs: int, steps: int, parameters: NDArray[Any], moments: Iterable[NDArray[Any]]
    ) -> None:
        self._set(description=description, epochs=epochs, steps=steps)
        self._set(parameters=_read_only(parameters), moments=tuple(map(_read_only, moments)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.description, self.epochs, self.steps, self.parameters, self.moments)

    def __repr__(self) -> str:
        texts = (f"{name}={text!r}" for name, text in zip(self.description._fields, self.description, strict=True))
        return f"TrainingState(epochs={self.epochs}, steps={self.steps}, {', '.join(texts)})"

    def restore(self, trainer: _core.Trainer) -> None:
        """Let a Trainer go on from here. Raises ValueError if its arrays have other shapes: NumPy would broadcast."""
        arrays, values = (trainer.parameters, *trainer.moments), (self.parameters, *self.moments)
        if [(array.dtype, array.shape) for array in arrays] != [(value.dtype, value.shape) for value in values]:
            expected, got = (", ".join(map(describe, several)) for several in (arrays, values))
            raise ValueError(f"train: the state's parameters and moments should be {expected}, but are {got}")
        for array, value in zip(arrays, values, strict=True):
            array[:] = value
        trainer.steps = self.steps

    def save(self, path: Path) -> None:
        """Write the state to a file in the safetensors format, which ``load`` reads; the same state gives the same bytes.

        Tensors ``parameters``, ``moments.0``, ``moments.1``; entries ``nnkernels.training.epochs``,
        ``.steps``, ``.sizes``, ... of the metadata. A file that is there is overwritten. Raises
        OSError where the system cannot write it, of which a part may then be left.
        """
        tensors = dict(zip(_tensor_names(len(self.moments)), (self.parameters, *self.moments), strict=True))
        values = {"epochs": self.epochs, "steps": self.steps, **self.description._asdict()}
        write_file(path, tensors, {_PREFIX + name: str(value) for name, value in values.items()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a state that ``save`` wrote.

        Nothing in a file is ever executed, and memory stays in proportion to its size. Raises
        ValueError where the file does not hold a whole state, OSError where the system cannot read
        it, and MemoryError.
        """
        return read_file(
            path,
            lambda file: cls(*_read_state(file)),
            content="a state of training",
            writer="TrainingState.save",
            advice="expected a file that TrainingState.save wrote",
        )


# The beginning of the keys of a file's metadata.
_PREFIX = "nnkernels.training."

# Epochs and steps are below this.
_MOST_STEPS = 2**63


def _is_activation(text: str) -> bool:
    with suppress(ValueError):
        return text in ("none", "scale") or number_of(text)[0] > 0
    return False


def _tensor_names(moments: int) -> list[str]:
    return ["parameters", *(f"moments.{number}" for number in range(moments))]


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy, or the array itself if it is read-only."""
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def _read_state(file: Any) -> tuple[Description, int, int, NDArray[Any], list[NDArray[Any]]]:
    description = Description(*(read_metadata(file, _PREFIX + name) for name in Description._fields))
    epochs, steps = (int(read_metadata(file, _PREFIX + name)) for name in ("epochs", "steps"))
    sizes = list(map(int, description.sizes.split("-")))
    activations = description.activations.split(",")
    for good, what in (
        (0 <= epochs < _MOST_STEPS and 0 <= steps < _MOST_STEPS, "number of epochs or steps"),
        (len(activations) == len(sizes) - 1, "number of sizes or activations"),
        (all(map(_is_activation, activations)), "activation"),
        (description.dtype in ("float16", "float32", "float64"), "dtype"),
        (description.loss in LOSSES, "loss"),
        (description.optimizer in MOMENTS, "optimizer"),
    ):
        if not good:
            raise ValueError(f"a bad {what} is in its metadata")
    names = _tensor_names(MOMENTS[description.optimizer])
    tensors = read_tensors(file, names)
    layers = zip(pairwise(sizes), activations, strict=True)
    length = sum((inputs + 1) * outputs for (inputs, outputs), activation in layers if activation != "scale")
    dtype = np.result_type(description.dtype, np.float32)
    for name, tensor in tensors.items():
        if tensor.shape != (length,) or tensor.dtype != dtype:
            raise ValueError(f"tensor {name!r} is {tensor.dtype} of shape {tensor.shape}, and should be {dtype} of ({length},)")
    return description, epochs, steps, tensors[names[0]], [tensors[name] for name in names[1:]]


class Training(Frozen):
    """What ``train`` returns, and gives to its ``callback``. Frozen.

    Attributes
    ----------
    losses : tuple of float
        One for each epoch of this call: the mean over its rows, each batch's loss taken before its
        step.
    validation_losses : tuple of float
        One for each epoch, taken after it; () without ``validation``.
    state : TrainingState
        To go on from.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.train(nnk.Network([nnk.Dense([[0.0]])]), [[1.0]], [[1.0]], optimizer=nnk.SGD(0.125), epochs=3)
    Training(epochs=3, loss=0.0625)
    """

    __slots__ = ("_architecture", "_epochs", "_losses", "_network", "_parameters", "_validation_losses", "state")

    _architecture: Architecture
    _parameters: NDArray[Any]
    _losses: Sequence[float]
    _validation_losses: Sequence[float]
    _epochs: int
    _network: Network | None
    state: TrainingState

    def __init__(
        self,
        architecture: Architecture,
        parameters: NDArray[Any],
        losses: Sequence[float],
        validation_losses: Sequence[float],
        state: TrainingState,
    ) -> None:
        self._set(_architecture=architecture, _parameters=parameters, _network=None, state=state)
        # The lists of the run, which go on growing: copies for each callback would take quadratic
        # time.
        self._set(_losses=losses, _validation_losses=validation_losses, _epochs=len(losses))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._architecture, self._parameters, self.losses, self.validation_losses, self.state)

    @property
    def losses(self) -> tuple[float, ...]:
        """The mean loss in each epoch."""
        return tuple(self._losses[: self._epochs])

    @property
    def validation_losses(self) -> tuple[float, ...]:
        """The validation loss after each epoch."""
        return tuple(self._validation_losses[: self._epochs])

    @property
    def network(self) -> Network:
        """The network that has learnt."""
        if self._network is None:
            architecture = self._architecture
            learnt = iter(architecture.split(rounded(self._parameters, architecture.dtype)))
            described = [
                Dense(*next(learnt), activation) if scale is None else scale
                for activation, scale in zip(architecture.activations, architecture.scales, strict=True)
            ]
            self._set(_network=Network(described, architecture.dtype, architecture.metadata))
        return cast(Network, self._network)

    def plot(self, path: Path) -> None:
        """Write a plot of the losses over the epochs to a PNG or SVG file; the lowest validation loss is marked.

        The loss has a logarithmic axis where it falls by more than a factor of ten. The same losses
        give the same bytes, for a version of matplotlib and its settings. A file that is there is
        overwritten.

        Parameters
        ----------
        path : str, bytes or path-like
            A name that ends in .png or .svg.

        Raises
        ------
        ImportError
            Without matplotlib: ``pip install 'nnkernels[plot]'``.
        ValueError
            For another suffix.
        OSError
            Where the system cannot write the file.

        Examples
        --------
        >>> import nnkernels as nnk, pathlib, tempfile
        >>> training = nnk.train(nnk.Network.random([1, 4, 1], seed=0), [[-1.0], [1.0]], [[0.5], [2.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     training.plot(pathlib.Path(folder, "losses.svg"))
        """
        from nnkernels.plots import draw_losses, plot_format

        suffix = plot_format("Training.plot", path)
        with open(path, "wb") as file:  # noqa: PTH123 - importing pathlib costs milliseconds
            draw_losses(file, suffix, self.losses, self.validation_losses)

    def __repr__(self) -> str:
        text = f"Training(epochs={self._epochs}"
        for name, losses in (("loss", self.losses), ("validation_loss", self.validation_losses)):
            text += f", {name}={losses[-1]:.6g}" if losses else ""
        return text + ")"


class TrainingError(FloatingPointError):
    """A loss, or a parameter, is no longer finite.

    Attributes
    ----------
    training : Training
        Up to the last epoch in which all was finite.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> net = nnk.Network([nnk.Dense([[0.0]])])
    >>> try:
    ...     nnk.train(net, [[1.0]], [[1.0]], optimizer=nnk.SGD(1e200), epochs=10)
    ... except nnk.TrainingError as error:
    ...     error.training
    Training(epochs=1, loss=1)
    """

    def __init__(self, message: str, training: Training) -> None:
        super().__init__(message)
        self.training = training

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.training)


def train(
    net: Network,
    x: ArrayLike,
    targets: ArrayLike,
    *,
    loss: LossLike = None,
    optimizer: OptimizerLike = "adam",
    epochs: SupportsIndex = 10,
    batch_size: SupportsIndex = 32,
    seed: SupportsIndex = 0,
    shuffle: bool = True,
    sample_weight: ArrayLike | None = None,
    validation: tuple[Any, ...] | None = None,
    patience: SupportsIndex | None = None,
    callback: Callback | None = None,
    progress: bool | None = None,
    state: TrainingState | None = None,
) -> Training:
    """Train a network: return one with a lower loss; the given one stays as it is.

    Each step takes ``batch_size`` rows, computes the gradient of their mean loss by the network's
    parameters, and lets the optimizer change these. The last batch of an epoch may be shorter.

    Parameters
    ----------
    net : Network
        For example of ``Network.random``. A float16 network learns in float32.
    x : array_like, shape (..., inputs)
        Rows of inputs. They are not copied if they are C-contiguous and of the dtype the network
        learns in.
    targets : array_like
        What the outputs should be, of their shape; for cross_entropy labels (...) or probabilities
        (..., classes).
    loss : optional
        As in ``Network.gradient``: a name, a function, a ``functools.partial`` of it that sets its
        option, or None for the last activation's own.
    optimizer : SGD, Adam or AdamW
        Or "sgd", "adam" or "adamw", with their defaults.
    epochs : int
        Passes over the rows, beside those of ``state``; 0 makes no step.
    batch_size : int
        At least 1; all rows if there are fewer.
    seed : int
        Of the order of rows, from 0 to 2**64 - 1.
    shuffle : bool
        Whether each epoch has its own random order of rows, or all have the given one.
    sample_weight : array_like, shape (...) or that of the losses, optional
        What each row or term of the loss counts; finite and not negative, and not all 0. A row of
        weight 0 counts nothing, even if it holds NaN; a batch of such rows makes no step.
    validation : (x, targets) or (x, targets, sample_weight), optional
        Rows whose loss is computed after each epoch.
    patience : int, optional
        End after this many epochs without a lower validation loss (at least 1), and return the
        network whose validation loss was the lowest. The state is that after the last epoch.
    callback : callable, optional
        Called after each epoch with a Training of the present network, losses and state; if it
        returns True, training ends.
    progress : bool, optional
        Whether to show a bar on standard error. None: if that is a terminal, once half a second is
        over.
    state : TrainingState, optional
        Where to go on, rather than at the network's weights: that of a training with a network of
        the same sizes, activations and dtype, the same loss, and the same kind of optimizer.

    Returns
    -------
    Training
        With attributes ``network``, ``losses``, ``validation_losses`` and ``state``.

    Raises
    ------
    TypeError, ValueError
        Before the first step: for arguments of the wrong kind, shapes that do not fit, no rows,
        weights that are all 0, a state of another training, ``patience`` without ``validation``,
        and a label, target or weight out of range (the message has its row, counted from 0).
    TrainingError
        A loss or a parameter is no longer finite: a FloatingPointError whose ``training`` is that
        of the last finite epoch.
    MemoryError
        Where there is too little for parameters, gradient, moments, and the activations of a batch.

    Notes
    -----
    The trained network depends on data, settings and seed alone: its bits are the same on every
    CPU, for any number of threads, and in one call or several by ``state``. Order of rows:
    Fisher-Yates by Philox4x64-10 (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2,
    3", 2011), keyed by seed and epoch.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> x, targets = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    >>> net = nnk.Network.random([2, 8, 1], "tanh", "sigmoid", seed=0)
    >>> training = nnk.train(net, x, targets, optimizer=nnk.Adam(0.05), epochs=500)
    >>> training.losses[-1] < 0.01
    True
    >>> training.network(x).round().ravel()
    array([0., 1., 1., 0.], dtype=float32)
    """
    if not isinstance(net, Network):
        raise TypeError(f"train expected net to be a Network, got a {type(net).__name__}")
    chosen = as_optimizer("train", optimizer)
    epochs = as_integer("train", "epochs", epochs, 0)
    batch_size = as_integer("train", "batch_size", batch_size, 1)
    seed = as_integer("train", "seed", seed, 0, MOST_SEED)
    shuffle = as_bool("train", "shuffle", shuffle)
    if patience is not None:
        patience = as_integer("train", "patience", patience, 1)
        if validation is None:
            raise ValueError("train expected validation where there is patience: it waits for a lower validation loss")
    if callback is not None and not callable(callback):
        raise TypeError(f"train expected callback to be a function, got {callback!r}")
    if progress is not None:
        progress = as_bool("train", "progress", progress)

    problem, parameters = take_apart("train", net, loss)
    rows = _as_rows(problem, x, targets, sample_weight)
    held_back = None if validation is None else _as_validation(problem, validation)
    description = description_of(problem, chosen)
    if state is None:
        state = _first_state(description, parameters)
    else:
        _check_state(state, description)
    if not _are_finite(state.parameters, problem.architecture.dtype):
        raise ValueError("train: a parameter is NaN or infinite before the first step")
    run = _Run(problem, min(batch_size, len(rows.x)), state)
    del parameters, state  # the run frees them when it has newer ones

    lowest, best, best_parameters = math.inf, 0, None  # validation loss, epochs until then, and parameters after these
    with Progress(epochs, progress) as bar:
        for _ in run.make_epochs(epochs, rows, held_back, chosen, seed, shuffle, one_by_one=callback is not None):
            bar.update(len(run.losses), run.losses[-1], *run.validation_losses[-1:])
            if patience is not None and run.validation_losses[-1] < lowest:
                lowest, best, best_parameters = run.validation_losses[-1], len(run.losses), run.state.parameters
            if callback is not None and is_true(callback(run.training(run.state.parameters))):
                break
            if patience is not None and len(run.losses) - best >= patience:
                break
    return run.training(run.state.parameters if best_parameters is None else best_parameters)


class _Run:
    """A call of ``train``: its losses so far, and its state after the last finite epoch."""

    def __init__(self, problem: Problem, batch_size: int, state: TrainingState) -> None:
        self._architecture = problem.architecture
        self._trainer = problem.trainer(batch_size, MOMENTS[state.description.optimizer])
        state.restore(self._trainer)
        self.state = state
        self.losses: list[float] = []
        self.validation_losses: list[float] = []

    def training(self, parameters: NDArray[Any]) -> Training:
        """Return a Training with these parameters of the network."""
        return Training(self._architecture, parameters, self.losses, self.validation_losses, self.state)

    def make_epochs(
        self,
        epochs: int,
        rows: Rows,
        held_back: Rows | None,
        optimizer: Optimizer,
        seed: int,
        shuffle: bool,
        one_by_one: bool,
    ) -> Iterator[None]:
        """Train, and yield after each epoch, or after several short ones. Raise TrainingError where one is not finite."""
        trainer = self._trainer
        numbers = optimizer.numbers()
        one_by_one = one_by_one or held_back is not None
        count = 1  # epochs in a call of C++
        while len(self.losses) < epochs:
            begin = perf_counter()
            count = min(count, epochs - len(self.losses))
            losses = trainer.epochs(*rows, numbers, seed, self.state.epochs, count, shuffle)
            validation_loss = None if held_back is None else trainer.evaluate(*held_back)
            failure = _find_failure(losses, validation_loss, trainer.parameters, self._architecture.dtype)
            if failure and count > 1:  # Go back, and find the last finite epoch one by one: the bits will be the same.
                self.state.restore(trainer)
                count, one_by_one = 1, True
                continue
            if failure:
                cause = _find_bad_row("", rows) or (held_back and _find_bad_row("validation's ", held_back))
                raise TrainingError(
                    f"train: no longer finite after {self.state.epochs} epochs: {failure}; "
                    f"{cause or f'try a learning_rate below {optimizer.learning_rate}'}; "
                    "the exception's training has those epochs",
                    self.training(self.state.parameters),
                )
            description, made = self.state.description, self.state.epochs + count
            del self.state  # free it first: the next one is as large
            self.state = TrainingState(description, made, trainer.steps, trainer.parameters, trainer.moments)
            self.losses += losses
            if validation_loss is not None:
                self.validation_losses.append(validation_loss)
            if not one_by_one and perf_counter() - begin < _LEAST_CALL:
                count *= 8
            yield


def _as_rows(problem: Problem, x: Any, targets: Any, sample_weight: Any) -> Rows:
    """Return data with at least one loss that counts."""
    rows = problem.as_rows(x, targets, sample_weight)
    if rows.targets.size == 0:
        got = f"x of shape {shape_of(x)} and targets of shape {shape_of(targets)}"
        raise ValueError(f"{problem.function} expected at least one row, and one output, got {got}")
    if rows.weights is not None and not rows.weights.any():
        raise ValueError(f"{problem.function} expected a sample_weight above 0, got weights that are all 0")
    return rows


def _as_validation(problem: Problem, validation: object) -> Rows:
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        got = f"{len(validation)} items" if isinstance(validation, (tuple, list)) else f"a {type(validation).__name__}"
        raise TypeError(f"train expected validation to be (x, targets) or (x, targets, sample_weight), got {got}")
    x, targets, sample_weight = (*validation, None)[:3]
    return _as_rows(problem._replace(function="train's validation"), x, targets, sample_weight)


def description_of(problem: Problem, optimizer: Optimizer) -> Description:
    """Return what a state of this training is checked by."""
    architecture = problem.architecture
    return Description(
        "-".join(map(str, architecture.sizes)),
        ",".join(activation or "none" for activation in architecture.activations),
        architecture.dtype.type.__name__,
        problem.loss.name,
        optimizer.kind,
    )


def _first_state(description: Description, parameters: NDArray[Any]) -> TrainingState:
    zeros = np.zeros(parameters.shape, parameters.dtype)
    zeros.flags.writeable = False  # so that the state has no copies
    return TrainingState(description, 0, 0, parameters, [zeros] * MOMENTS[description.optimizer])


def _check_state(state: object, description: Description) -> None:
    if not isinstance(state, TrainingState):
        raise TypeError(f"train expected state to be a TrainingState, got a {type(state).__name__}")
    for name, theirs, ours in zip(Description._fields, state.description, description, strict=True):
        if theirs != ours:
            raise ValueError(f"train: the state is of a training with {name} {theirs}, but this one has {name} {ours}")


def _find_failure(
    losses: list[float], validation_loss: float | None, parameters: NDArray[Any], dtype: np.dtype[Any]
) -> str | None:
    """Say what is not finite. The network holds the parameters in this dtype."""
    for loss in losses:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
    if validation_loss is not None and not math.isfinite(validation_loss):
        return f"the validation loss is {validation_loss}"
    return None if _are_finite(parameters, dtype) else f"a parameter is NaN or infinite in {dtype}"


def _are_finite(parameters: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Say whether all parameters are finite in the network's dtype."""
    # NaN if one is; np.isfinite of all would need an array.
    extremes = np.array([parameters.min(initial=0), parameters.max(initial=0)])
    return bool(np.isfinite(rounded(extremes, dtype)).all())


def _find_bad_row(whose: str, rows: Rows) -> str | None:
    """Name the first row that counts, but holds NaN or infinity."""
    for name, array in (("x", rows.x), ("targets", rows.targets)):
        bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if rows.weights is not None:
            bad &= rows.weights.any(axis=tuple(range(1, rows.weights.ndim)))
        if bad.any():
            return f"row {bad.argmax()} of {whose}{name} has NaN or infinity"
    return None


def is_true(value: object) -> bool:
    """Say whether a callback has returned True, not only something that counts as true."""
    return isinstance(value, (bool, np.bool_)) and bool(value)


def _is_terminal(stream: Any) -> bool:
    """Say whether a stream is a terminal. Programs replace sys.stderr by objects that can only write, or close it."""
    with suppress(AttributeError, ValueError):
        return bool(stream.isatty())
    return False


class Progress:
    """A bar of tqdm, which is imported when the bar is first shown."""

    def __init__(self, epochs: int, show: bool | None) -> None:
        self._epochs = epochs
        self._bar: Any = None
        if sys.stderr is None or show is False or (show is None and not _is_terminal(sys.stderr)):
            self._due = math.inf
        else:
            self._due = 0.0 if show else perf_counter() + _PROGRESS_DELAY

    def update(self, epochs: int, loss: float, validation_loss: float | None = None) -> None:
        """Show how many epochs were made, and the losses of the last."""
        if self._bar is None:
            if perf_counter() < self._due:
                return
            from tqdm import tqdm

            self._bar = tqdm(total=self._epochs, initial=epochs, unit="epoch")
        losses = {"loss": loss} if validation_loss is None else {"loss": loss, "validation": validation_loss}
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()}, refresh=False)
        self._bar.update(epochs - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
