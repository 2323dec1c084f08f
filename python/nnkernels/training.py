"""The training loop ``train``, its result ``Training``, and ``TrainingState`` to resume from."""

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
from nnkernels.files import Path, check_suffix, read_file, read_metadata, read_tensors, write_file
from nnkernels.frozen import Frozen
from nnkernels.layers import Dense
from nnkernels.losses import LOSSES, LossLike
from nnkernels.network import Network
from nnkernels.optimizers import MOMENTS, Optimizer, OptimizerLike, as_optimizer
from nnkernels.problem import Architecture, Problem, Rows, split_network

# A function to call after each epoch. It ends training by returning True.
Callback: TypeAlias = Callable[["Training"], object]

# Seconds before the progress bar is shown.
_PROGRESS_DELAY = 0.5

# While a call of C++ takes fewer seconds than this, the next call runs more epochs. For a tiny
# network, the overhead of a call exceeds the time of an epoch.
_LEAST_CALL = 0.01


class Description(NamedTuple):
    """The properties of a training that must match those of the state to resume from."""

    sizes: str
    activations: str
    dtype: str
    loss: str
    optimizer: str


class TrainingState(Frozen):
    """State of a training: ``train(..., state=training.state)`` resumes from it.

    With the same data and settings, 4 epochs and then 6 give the same bits as 10 epochs. States are
    immutable. ``train`` and ``TrainingState.load`` create them.

    Attributes
    ----------
    epochs, steps : int
        Number of epochs and steps so far.
    parameters : ndarray
        Weights (outputs, inputs) and bias of each layer in turn, as one flat read-only array:
        float64 for a float64 network, else float32.
    moments : tuple of ndarray
        Moments of the optimizer, each of the shape of ``parameters``: m and v for Adam, v for SGD
        with momentum.
    description : tuple of str
        The network's sizes, activations and dtype, the loss, and the kind of optimizer. They must
        match to resume. Settings such as the learning rate may change.

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
        """Copy the state to a Trainer. Raises ValueError if the shapes differ."""
        arrays, values = (trainer.parameters, *trainer.moments), (self.parameters, *self.moments)
        if [(array.dtype, array.shape) for array in arrays] != [(value.dtype, value.shape) for value in values]:
            expected, got = (", ".join(map(describe, several)) for several in (arrays, values))
            raise ValueError(f"train expected a state with parameters and moments {expected}, got {got}")
        for array, value in zip(arrays, values, strict=True):
            array[:] = value
        trainer.steps = self.steps

    def save(self, path: Path) -> None:
        """Write the state to a file in the safetensors format, which ``load`` reads.

        An existing file is overwritten. The same state gives the same bytes.

        Parameters
        ----------
        path : str, bytes or path-like
            The name of the file. It must not end in .onnx, .keras, .h5 or .pt.

        Raises
        ------
        ValueError
            If the name ends in the suffix of another format.
        OSError
            If the system cannot write the file. It may be left incomplete.

        Notes
        -----
        The tensors are ``parameters``, ``moments.0`` and ``moments.1``. The file's metadata entries
        are ``nnkernels.training.epochs``, ``.steps``, ``.sizes`` and so on.
        """
        check_suffix(path, "TrainingState.save")
        tensors = dict(zip(_tensor_names(len(self.moments)), (self.parameters, *self.moments), strict=True))
        values = {"epochs": self.epochs, "steps": self.steps, **self.description._asdict()}
        write_file(path, tensors, {_PREFIX + name: str(value) for name, value in values.items()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a state that ``save`` wrote.

        Nothing in a file is executed, and memory stays proportional to the file's size.

        Parameters
        ----------
        path : str, bytes or path-like
            A regular file.

        Returns
        -------
        TrainingState
            The saved state, bit for bit.

        Raises
        ------
        ValueError
            If the file does not hold a whole state.
        OSError
            If the system cannot read the file.
        MemoryError
            If there is not enough memory for the state.
        """
        return read_file(
            path,
            lambda file: cls(*_read_state(file)),
            content="a state of training",
            writer="TrainingState.save",
            advice="expected a file that TrainingState.save wrote",
        )


# Prefix of the entries of a file's metadata.
_PREFIX = "nnkernels.training."

# Upper limit of epochs and steps.
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
            raise ValueError(f"its metadata has an invalid {what}")
    names = _tensor_names(MOMENTS[description.optimizer])
    tensors = read_tensors(file, names)
    layers = zip(pairwise(sizes), activations, strict=True)
    length = sum((inputs + 1) * outputs for (inputs, outputs), activation in layers if activation != "scale")
    dtype = np.result_type(description.dtype, np.float32)
    for name, tensor in tensors.items():
        if tensor.shape != (length,) or tensor.dtype != dtype:
            raise ValueError(f"expected tensor {name!r} to be {dtype} of shape ({length},), got {describe(tensor)}")
    return description, epochs, steps, tensors[names[0]], [tensors[name] for name in names[1:]]


class Training(Frozen):
    """The result of ``train``, which ``callback`` gets too. Immutable.

    Attributes
    ----------
    state : TrainingState
        The state after the last epoch, to resume from.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> net = nnk.Network([nnk.Dense([[0.0]])])
    >>> nnk.train(net, [[1.0]], [[1.0]], optimizer=nnk.SGD(0.125), epochs=3)
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
        # The run appends to these lists. Copying them for each callback would take quadratic time.
        self._set(_losses=losses, _validation_losses=validation_losses, _epochs=len(losses))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._architecture, self._parameters, self.losses, self.validation_losses, self.state)

    @property
    def losses(self) -> tuple[float, ...]:
        """The mean loss of each epoch. The loss of a batch is taken before its step."""
        return tuple(self._losses[: self._epochs])

    @property
    def validation_losses(self) -> tuple[float, ...]:
        """The validation loss after each epoch; () without ``validation``."""
        return tuple(self._validation_losses[: self._epochs])

    @property
    def network(self) -> Network:
        """The trained network."""
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
        """Plot the losses over the epochs to a PNG or SVG file.

        The lowest validation loss is marked. The axis of the loss is logarithmic if the loss falls
        by more than a factor of ten. An existing file is overwritten. The same losses give the same
        bytes for the same version and settings of matplotlib.

        Parameters
        ----------
        path : str, bytes or path-like
            A name that ends in .png or .svg.

        Raises
        ------
        ImportError
            If matplotlib is not installed: ``pip install 'nnkernels[plot]'``.
        ValueError
            If the name has another suffix.
        OSError
            If the system cannot write the file.

        Examples
        --------
        >>> import nnkernels as nnk, pathlib, tempfile
        >>> net = nnk.Network.random([1, 4, 1], seed=0)
        >>> training = nnk.train(net, [[-1.0], [1.0]], [[0.5], [2.0]])
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
    """Raised by ``train`` when a loss or a parameter becomes NaN or infinite.

    Attributes
    ----------
    training : Training
        The training up to the last finite epoch.

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
    """Train a network to lower its loss. The given network is unchanged; the result has a new one.

    Each step computes the gradient of the mean loss of ``batch_size`` rows, and the optimizer
    changes the parameters. The last batch of an epoch may be smaller.

    Parameters
    ----------
    net : Network
        The network to start from, such as a ``Network.random``. A float16 network is trained in
        float32.
    x : array_like, shape (..., inputs)
        Rows of inputs. They are not copied if they are C-contiguous and have the dtype of the
        training.
    targets : array_like
        True outputs, of the shape of ``net(x)``. For cross_entropy labels (...), or probabilities
        (..., classes).
    loss : str, callable or None, default None
        As in ``Network.gradient``. None chooses the loss that matches the last activation.
    optimizer : SGD, Adam, AdamW or str, default "adam"
        An optimizer; or "sgd", "adam" or "adamw", with default settings.
    epochs : int, default 10
        Number of passes over the rows in this call. 0 makes no step.
    batch_size : int, default 32
        Number of rows per step, at least 1. It is limited to the number of rows in ``x``.
    seed : int, default 0
        Seed of the order of rows, from 0 to 2**64 - 1.
    shuffle : bool, default True
        Whether each epoch has a new random order of rows. Otherwise rows keep their order.
    sample_weight : array_like, shape (...) or that of the losses, optional
        Weight of each row or of each element of the loss: finite, at least 0, and not all 0. A row
        of weight 0 has no effect, even if it holds NaN. A batch of such rows makes no step.
    validation : (x, targets) or (x, targets, sample_weight), optional
        Rows whose loss is computed after each epoch.
    patience : int, optional
        Training ends after this many epochs, at least 1, without a lower validation loss. The
        result then has the network with the lowest validation loss, and the state after the last
        epoch. Requires ``validation``.
    callback : callable, optional
        Function to call after each epoch with the current Training. Training ends if it returns
        True.
    progress : bool or None, default None
        Whether to show a progress bar on standard error. None shows it after half a second if
        standard error is a terminal.
    state : TrainingState, optional
        State to resume from; the parameters of ``net`` are then not used. It must be from a
        training with the same sizes, activations, dtype, loss, and kind of optimizer.

    Returns
    -------
    Training
        The result, with attributes ``network``, ``losses``, ``validation_losses`` and ``state``.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the shapes do not fit. If there are no rows, or all weights are 0. If the state does not
        match. If ``patience`` is given without ``validation``. If a label, target or weight is out
        of range; the message names the row, counted from 0. It is raised before the first step.
    TrainingError
        If a loss or a parameter becomes NaN or infinite. Its attribute ``training`` is the training
        up to the last finite epoch. It is a FloatingPointError.
    MemoryError
        If there is not enough memory for the parameters, gradients, moments, and the activations of
        a batch.

    Notes
    -----
    The trained network depends only on data, settings and seed. Its bits are the same on every CPU,
    for any number of threads, and in one call or several with ``state``. Rows are shuffled by
    Fisher-Yates with random numbers from Philox4x64-10, keyed by seed and epoch (J. K. Salmon et
    al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

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
            raise ValueError("train expected validation=(x, targets) with patience, which waits for a lower validation loss")
    if callback is not None and not callable(callback):
        raise TypeError(f"train expected callback to be a function, got {callback!r}")
    if progress is not None:
        progress = as_bool("train", "progress", progress)

    problem, parameters = split_network("train", net, loss)
    rows = _as_rows(problem, x, targets, sample_weight)
    held_back = None if validation is None else _as_validation(problem, validation)
    description = description_of(problem, chosen)
    if state is None:
        state = _first_state(description, parameters)
    else:
        _check_state(state, description)
    if not _are_finite(state.parameters, problem.architecture.dtype):
        raise ValueError("train expected finite parameters, got NaN or infinity before the first step")
    run = _Run(problem, min(batch_size, len(rows.x)), state)
    del parameters, state  # so that the run can free them

    lowest, best, best_parameters = math.inf, 0, None  # validation loss, epoch, parameters
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
    """A running call of ``train``: its losses, and the state after the last finite epoch."""

    def __init__(self, problem: Problem, batch_size: int, state: TrainingState) -> None:
        self._architecture = problem.architecture
        self._trainer = problem.trainer(batch_size, MOMENTS[state.description.optimizer])
        state.restore(self._trainer)
        self.state = state
        self.losses: list[float] = []
        self.validation_losses: list[float] = []

    def training(self, parameters: NDArray[Any]) -> Training:
        """Return the current Training with these parameters of the network."""
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
        """Train, and yield after each epoch, or after several short ones.

        Raises TrainingError if an epoch is not finite.
        """
        trainer = self._trainer
        numbers = optimizer.numbers()
        one_by_one = one_by_one or held_back is not None
        count = 1  # epochs per call of C++
        while len(self.losses) < epochs:
            begin = perf_counter()
            count = min(count, epochs - len(self.losses))
            losses = trainer.epochs(*rows, numbers, seed, self.state.epochs, count, shuffle)
            validation_loss = None if held_back is None else trainer.evaluate(*held_back)
            failure = _find_failure(losses, validation_loss, trainer.parameters, self._architecture.dtype)
            if failure and count > 1:  # Repeat these epochs one by one, with the same bits.
                self.state.restore(trainer)
                count, one_by_one = 1, True
                continue
            if failure:
                cause = _find_bad_row("", rows) or (held_back and _find_bad_row("validation's ", held_back))
                raise TrainingError(
                    f"train: no longer finite after {self.state.epochs} epochs: {failure}; "
                    f"{cause or f'try a learning_rate below {optimizer.learning_rate}'}; "
                    "the exception's attribute training holds the finite epochs",
                    self.training(self.state.parameters),
                )
            description, made = self.state.description, self.state.epochs + count
            del self.state  # free its memory before the next state takes as much
            self.state = TrainingState(description, made, trainer.steps, trainer.parameters, trainer.moments)
            self.losses += losses
            if validation_loss is not None:
                self.validation_losses.append(validation_loss)
            if not one_by_one and perf_counter() - begin < _LEAST_CALL:
                count *= 8
            yield


def _as_rows(problem: Problem, x: Any, targets: Any, sample_weight: Any) -> Rows:
    """Check and convert data. Raise ValueError if there are no rows, or all weights are 0."""
    rows = problem.as_rows(x, targets, sample_weight)
    if rows.targets.size == 0:
        got = f"x of shape {shape_of(x)} and targets of shape {shape_of(targets)}"
        raise ValueError(f"{problem.function} expected at least one row and one output, got {got}")
    if rows.weights is not None and not rows.weights.any():
        raise ValueError(f"{problem.function} expected a sample_weight above 0, got only zeros")
    return rows


def _as_validation(problem: Problem, validation: object) -> Rows:
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        got = f"{len(validation)} items" if isinstance(validation, (tuple, list)) else f"a {type(validation).__name__}"
        raise TypeError(f"train expected validation to be (x, targets) or (x, targets, sample_weight), got {got}")
    x, targets, sample_weight = (*validation, None)[:3]
    return _as_rows(problem._replace(function="train's validation"), x, targets, sample_weight)


def description_of(problem: Problem, optimizer: Optimizer) -> Description:
    """Return the description that a state must match."""
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
    zeros.flags.writeable = False  # so that the state does not copy it
    return TrainingState(description, 0, 0, parameters, [zeros] * MOMENTS[description.optimizer])


def _check_state(state: object, description: Description) -> None:
    if not isinstance(state, TrainingState):
        raise TypeError(f"train expected state to be a TrainingState, got a {type(state).__name__}")
    for name, theirs, ours in zip(Description._fields, state.description, description, strict=True):
        if theirs != ours:
            raise ValueError(f"train expected a state with {name} {ours}, got {name} {theirs}")


def _find_failure(
    losses: list[float], validation_loss: float | None, parameters: NDArray[Any], dtype: np.dtype[Any]
) -> str | None:
    """Describe the first value that is not finite; None if all are. ``dtype`` is the network's."""
    for loss in losses:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
    if validation_loss is not None and not math.isfinite(validation_loss):
        return f"the validation loss is {validation_loss}"
    return None if _are_finite(parameters, dtype) else f"a parameter is NaN or infinite in {dtype}"


def _are_finite(parameters: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Return whether all parameters are finite in the network's dtype."""
    # min and max propagate NaN. np.isfinite of all parameters would need a temporary array.
    extremes = np.array([parameters.min(initial=0), parameters.max(initial=0)])
    return bool(np.isfinite(rounded(extremes, dtype)).all())


def _find_bad_row(whose: str, rows: Rows) -> str | None:
    """Describe the first row with NaN or infinity whose weight is not 0."""
    for name, array in (("x", rows.x), ("targets", rows.targets)):
        bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if rows.weights is not None:
            bad &= rows.weights.any(axis=tuple(range(1, rows.weights.ndim)))
        if bad.any():
            return f"row {bad.argmax()} of {whose}{name} has NaN or infinity"
    return None


def is_true(value: object) -> bool:
    """Return whether a callback's result is True, not merely truthy."""
    return isinstance(value, (bool, np.bool_)) and bool(value)


def _is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal. sys.stderr may be closed, or lack ``isatty``."""
    with suppress(AttributeError, ValueError):
        return bool(stream.isatty())
    return False


class Progress:
    """A tqdm progress bar. tqdm is imported when the bar is first shown."""

    def __init__(self, epochs: int, show: bool | None) -> None:
        self._epochs = epochs
        self._bar: Any = None
        if sys.stderr is None or show is False or (show is None and not _is_terminal(sys.stderr)):
            self._due = math.inf
        else:
            self._due = 0.0 if show else perf_counter() + _PROGRESS_DELAY

    def update(self, epochs: int, loss: float, validation_loss: float | None = None) -> None:
        """Show the number of epochs so far, and the losses of the last one."""
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
