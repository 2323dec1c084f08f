"""``MLPClassifier`` and ``MLPRegressor``: drop-in replacements of scikit-learn's.

scikit-learn only validates parameters and data. Training and prediction use nnkernels.
"""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels import fitting, lbfgs
from nnkernels.activations import TABLE
from nnkernels.arrays import as_contiguous
from nnkernels.commands.names import Names
from nnkernels.layers import Dense, dense
from nnkernels.losses import choose_loss
from nnkernels.network import Network
from nnkernels.optimizers import SGD
from nnkernels.problem import Architecture, Problem, Rows, split_network
from nnkernels.training import Callback, Progress, Training, TrainingState, description_of, is_true

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelBinarizer
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils._param_validation import Interval, Options, StrOptions
    from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("nnkernels.sklearn needs scikit-learn 1.6 or newer: pip install scikit-learn") from error

__all__ = ["MLPClassifier", "MLPRegressor"]

# scikit-learn's names of activations: our name, and the matching loss.
_ACTIVATIONS = {kind.sklearn: (kind.activation, kind.loss) for kind in TABLE if kind.sklearn}


# Up to this many rows are predicted layer by layer, because creating a Network copies the weights.
_FEW_ROWS = 64


class _MLP(BaseEstimator):  # type: ignore[misc]
    """Base class of both estimators."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {math.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float32", "float64"}), np.dtype, type, None],
        "callback": [callable, None],
        "progress": ["boolean", None],
    }

    def _keep(self, parameters: dict[str, Any]) -> None:
        """Set the arguments of __init__ as attributes, unchanged."""
        for name, value in parameters.items():
            if name != "self":
                setattr(self, name, value)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # --- Predictions ---

    @property
    def network_(self) -> Network:
        """The network of ``coefs_`` and ``intercepts_``, to save and deploy.

        For two classes it has two sigmoid neurons with weights (-w, w). For ``loss="poisson"`` it
        gives rates. Its metadata has the names of columns and classes, for
        ``python -m nnkernels predict``. A StandardScaler before it can become its first layer:
        ``Network([Scale(scaler.mean_, 1 / scaler.scale_), *network_.layers])``.
        """
        check_is_fitted(self)
        return self._network(self._metadata())

    def _network(self, metadata: dict[str, str] | None = None) -> Network:
        return Network((Dense(*layer) for layer in self._layers()), metadata=metadata)

    def _layers(self) -> list[tuple[NDArray[Any], NDArray[Any], str | None]]:
        """Return the arguments of ``Dense`` for each layer."""
        layers = [(np.transpose(coefs), np.asarray(bias)) for coefs, bias in zip(self.coefs_, self.intercepts_, strict=True)]
        if self._has_one_label():
            weights, bias = layers[-1]
            layers[-1] = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
        return [(*layer, activation) for layer, activation in zip(layers, self._activations(), strict=True)]

    def _activations(self) -> tuple[str | None, ...]:
        names = [*[self.activation] * (len(self.coefs_) - 1), self.out_activation_]
        return tuple(_ACTIVATIONS[name][0] for name in names)

    def _has_one_label(self) -> bool:
        """Return whether one output is trained: for two classes, or for one class."""
        return bool(self.out_activation_ == "logistic" and self.n_outputs_ == 1)

    def _metadata(self) -> dict[str, str]:
        return Names(columns=tuple(getattr(self, "feature_names_in_", ()))).metadata()

    def _outputs(self, x: Any) -> NDArray[Any]:
        """Validate rows, and return the network's outputs for them."""
        check_is_fitted(self)
        x = validate_data(self, x, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        if x.shape[0] > _FEW_ROWS or fitting.is_sparse(x):
            return fitting.apply(self._network(), x)
        layers = self._layers()
        dtype = np.result_type(*(array for weights, bias, _ in layers for array in (weights, bias)))
        with np.errstate(all="ignore"):  # like a Network
            for weights, bias, activation in layers:
                x = dense(as_contiguous(x, dtype), weights.astype(dtype), bias.astype(dtype), activation=activation)
        return x  # type: ignore[no-any-return]

    # --- Learning ---

    def _fit(self, x: Any, y: Any, sample_weight: Any, incremental: bool) -> Self:
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        hidden = list(self.hidden_layer_sizes) if np.iterable(self.hidden_layer_sizes) else [self.hidden_layer_sizes]
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        dtype = None if self.dtype is None else np.dtype(self.dtype)
        if dtype not in (None, np.float32, np.float64):
            raise ValueError(f"{type(self).__name__} expected dtype to be None, 'float32' or 'float64', got {self.dtype!r}")

        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        x, y = validate_data(
            self,
            x,
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            dtype=(np.float64, np.float32) if dtype is None else dtype,
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = self._as_targets(y, incremental)
        weights = self._as_weights(x, y, sample_weight, incremental)
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize([x.shape[1], *hidden, self.n_outputs_], x.dtype if dtype is None else dtype)
        elif not hasattr(self, "t_"):  # the user set coefs_ before the first fit
            self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(self.coefs_) + 1

        problem = self._problem(x.shape[1])
        computed = problem.architecture.computed
        targets = as_contiguous(targets, np.int64 if problem.loss.of_rows else computed)
        rows = Rows(x if fitting.is_sparse(x) else as_contiguous(x, computed), targets, weights)
        if self.solver == "lbfgs":
            self._fit_lbfgs(problem, rows)
        else:
            self._fit_epochs(problem, rows, incremental)
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may"
                " contain large values and need to be preprocessed."
            )
        return self

    def _as_weights(self, x: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        if sample_weight is None:
            return None
        weights = as_contiguous(_check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True), np.float64)
        if not weights.any():  # scikit-learn before 1.9 accepts it
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return weights

    def _initialize(self, sizes: list[int], dtype: Any) -> None:
        """Draw scikit-learn's initial weights, and reset the results of previous fits."""
        coefs: list[NDArray[Any]] = []
        intercepts: list[NDArray[Any]] = []
        for inputs, outputs in pairwise(sizes):
            bound = math.sqrt((2.0 if self.activation == "logistic" else 6.0) / (inputs + outputs))
            for arrays, shape in ((coefs, (inputs, outputs)), (intercepts, (outputs,))):
                # The same numbers as random_state.uniform, but without its fused multiply-add,
                # which depends on the compiler.
                uniform = self._random_state.random_sample(shape)
                uniform *= 2 * bound
                uniform -= bound
                arrays.append(uniform.astype(dtype))
        for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
            self.__dict__.pop(name, None)
        self.n_iter_ = self.t_ = 0
        self.coefs_, self.intercepts_ = coefs, intercepts  # together, in case of Ctrl-C

    def _begin_curve(self) -> None:
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.best_loss_: Any = None if self.early_stopping else math.inf
        self.validation_scores_: Any = [] if self.early_stopping else None
        self.best_validation_score_: Any = -math.inf if self.early_stopping else None

    def _problem(self, inputs: int) -> Problem:
        """Return the network and its loss for a Trainer. Two classes have one output."""
        try:
            arrays = [np.asarray(array) for pair in zip(self.coefs_, self.intercepts_, strict=True) for array in pair]
            sizes = (inputs, *(array.shape[1] for array in arrays[::2]))
            shapes = [shape for pair in pairwise(sizes) for shape in (pair, pair[1:])]
        except (IndexError, ValueError):
            sizes, shapes = (0,), []
        if not shapes or [array.shape for array in arrays] != shapes or sizes[-1] != self.n_outputs_:
            raise ValueError(
                f"{type(self).__name__} expected coefs_ (inputs, outputs) and intercepts_ (outputs,) of matching layers "
                f"from {inputs} inputs to {self.n_outputs_} outputs, got {[np.shape(array) for array in self.coefs_]} and "
                f"{[np.shape(array) for array in self.intercepts_]}"
            )
        dtype = np.dtype(np.float32 if all(array.dtype == np.float32 for array in arrays) else np.float64)
        name = type(self).__name__
        activation, loss_name = _ACTIVATIONS[self.out_activation_]
        loss, last = choose_loss(name, loss_name, activation)
        scales = (None,) * len(self.coefs_)
        architecture = Architecture(sizes, self._activations(), scales, False, dtype, dtype, {})
        return Problem(name, architecture, loss, last)

    def _pack(self, architecture: Architecture, flat: NDArray[Any]) -> None:
        """Copy ``coefs_`` and ``intercepts_`` to a flat array of a Trainer."""
        for layer, coefs, intercepts in zip(architecture.split(flat), self.coefs_, self.intercepts_, strict=True):
            layer[0][:], layer[1][:] = np.transpose(coefs), intercepts

    def _unpack(self, architecture: Architecture, flat: NDArray[Any]) -> None:
        """Set ``coefs_`` and ``intercepts_`` to copies of the contents of a flat array."""
        layers = architecture.split(flat.astype(architecture.dtype))
        self.coefs_, self.intercepts_ = [weights.T for weights, _ in layers], [bias for _, bias in layers]

    def _training(self, losses: list[float], steps: int) -> Training:
        """Return the argument of ``callback``. Its state has no moments."""
        problem, parameters = split_network("callback", self.network_, _ACTIVATIONS[self.out_activation_][1])
        state = TrainingState(description_of(problem, SGD()), len(losses), steps, parameters, ())
        return Training(problem.architecture, parameters, losses, (), state)

    def _callback_ends(self, losses: list[float], steps: int) -> bool:
        """Call ``callback``, and return whether it ends the fit."""
        return self.callback is not None and is_true(self.callback(self._training(losses, steps)))

    # --- lbfgs ---

    def _fit_lbfgs(self, problem: Problem, rows: Rows) -> None:
        """Minimise the loss of all rows."""
        architecture = problem.architecture
        start = np.empty(architecture.count_of_parameters)
        self._pack(architecture, start)
        objective = fitting.Objective(problem, rows, self.alpha, fitting.Factors.of(problem.loss.name, self.n_outputs_))
        losses: list[float] = []
        reached: lbfgs.Minimum | None = None
        ended = False

        def report(minimum: lbfgs.Minimum) -> bool:
            nonlocal reached, ended
            reached = minimum
            losses.append(minimum.value)
            bar.update(minimum.iterations, minimum.value)
            if self.verbose:
                print(f"Iteration {minimum.iterations}, loss = {minimum.value:.8f}")
            if self.callback is not None:
                self._unpack(architecture, minimum.x)
                ended = self._callback_ends(losses, minimum.iterations)
            return ended

        try:
            with Progress(self.max_iter, self.progress) as bar:
                reached = lbfgs.minimize(
                    objective,
                    start,
                    tolerance=self.tol,
                    max_iterations=self.max_iter,
                    max_evaluations=self.max_fun,
                    callback=report,
                )
            if not reached.converged and not ended:
                _warn(
                    f"lbfgs failed to converge after {reached.iterations} iteration(s): {reached.message}. "
                    f"{'Increase max_iter or max_fun, or scale' if 'maximum' in reached.message else 'Scale'} the data.",
                    ConvergenceWarning,
                )
        except KeyboardInterrupt:
            _warn("Training interrupted by user.")
        if reached is not None:
            self.n_iter_ = reached.iterations
            self._unpack(architecture, reached.x)
            self.loss_ = objective.loss(reached.x, reached.value)

    # --- sgd and adam ---

    def _fit_epochs(self, problem: Problem, rows: Rows, incremental: bool) -> None:
        if not hasattr(self, "validation_scores_") or (self.validation_scores_ is None) == self.early_stopping:
            self._begin_curve()
        order, held_back = self._hold_back(rows) if self.early_stopping else (np.arange(len(rows.targets)), None)
        count = len(order)
        if self.batch_size != "auto" and self.batch_size > count:
            _warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        batch_size = min(200 if self.batch_size == "auto" else int(self.batch_size), count)

        architecture = problem.architecture
        optimizer: fitting.StochasticOptimizer | None = getattr(self, "_optimizer", None)
        if not incremental or optimizer is None or not optimizer.fits(architecture.count_of_parameters):
            optimizer = self._optimizer = fitting.StochasticOptimizer(self)
        trainer = problem.trainer(batch_size, optimizer.count_of_moments)
        self._pack(architecture, trainer.parameters)
        optimizer.restore(trainer)
        best = trainer.parameters.copy()  # with the best validation score
        factors = fitting.Factors.of(problem.loss.name, self.n_outputs_)
        epochs = fitting.Epochs(trainer, rows, batch_size, self.alpha, factors)
        self.n_iter_ = 0
        try:
            with Progress(self.max_iter, False if incremental else self.progress) as bar:
                while True:
                    if self.shuffle:
                        self._random_state.shuffle(order)
                    self.loss_ = epochs.run(order, optimizer)
                    self.loss_curve_.append(self.loss_)
                    self.n_iter_ += 1
                    self.t_ += count
                    if self.verbose:
                        print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
                    if held_back is not None or self.callback is not None:
                        self._unpack(architecture, trainer.parameters)
                    if self._improves(held_back):
                        np.copyto(best, trainer.parameters)
                    optimizer.end_epoch(trainer, self.t_)
                    if self._no_improvement_count > self.n_iter_no_change:
                        if optimizer.ends(trainer, self._stopping_message(), self.verbose):
                            break
                        self._no_improvement_count = 0
                    if incremental:
                        break
                    bar.update(self.n_iter_, self.loss_)
                    if self._callback_ends(self.loss_curve_, trainer.steps):
                        break
                    if self.n_iter_ == self.max_iter:
                        _warn(
                            f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization "
                            "hasn't converged yet.",
                            ConvergenceWarning,
                        )
                        break
        except KeyboardInterrupt:
            _warn("Training interrupted by user.")
        optimizer.keep(trainer)
        self._unpack(architecture, best if self.early_stopping else trainer.parameters)

    def _hold_back(self, rows: Rows) -> tuple[NDArray[np.int64], Rows]:
        """Split the rows into training rows and held-back rows for early stopping."""
        stratify = rows.targets.astype(bool) if self._has_one_label() else None
        order, held_back = train_test_split(
            np.arange(len(rows.targets)), random_state=self._random_state, test_size=self.validation_fraction, stratify=stratify
        )
        if len(held_back) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
        return order, fitting.take(rows, held_back)

    def _improves(self, held_back: Rows | None) -> bool:
        """Return whether the loss, or the score of held-back rows, is the best so far.

        Count the epochs that improve it by less than ``tol``.
        """
        if held_back is None:
            stands = self.loss_ > self.best_loss_ - self.tol
            improves = self.loss_ < self.best_loss_
            self.best_loss_ = min(self.best_loss_, self.loss_)
        else:
            score = self._score(fitting.apply(self._network(), held_back.x), held_back.targets, held_back.weights)
            self.validation_scores_.append(score)
            if self.verbose:
                print(f"Validation score: {score:f}")
            stands = score < self.best_validation_score_ + self.tol
            improves = score > self.best_validation_score_
            if improves:
                self.best_validation_score_ = score
        self._no_improvement_count = self._no_improvement_count + 1 if stands else 0
        return bool(improves)

    def _stopping_message(self) -> str:
        what = "Validation score" if self.early_stopping else "Training loss"
        return f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs."

    def _check_solver(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True


def _warn(message: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn(message, category, stacklevel=6)  # report the line that calls fit


class MLPClassifier(ClassifierMixin, _MLP):  # type: ignore[misc]
    """Multi-layer perceptron classifier, a replacement of scikit-learn's.

    It has the parameters, attributes and methods of scikit-learn 1.9, and ``dtype``,
    ``class_weight``, ``callback``, ``progress`` and ``network_`` in addition. It makes the same
    steps: the same ``random_state`` gives the same initial weights, order of rows and, up to
    rounding errors, the same network.

    Parameters
    ----------
    hidden_layer_sizes : array_like of int, default (100,)
        Number of neurons of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default "relu"
        Activation of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default "adam"
        "sgd" and "adam" make a step per batch. "lbfgs" uses all rows in each step.
    alpha : float, default 0.0001
        Strength of the L2 penalty: alpha / 2 times the sum of squared weights is added to the loss.
    batch_size : int or "auto", default "auto"
        Rows per batch. "auto" is min(200, rows).
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        Schedule of "sgd". "invscaling" sets the rate to ``learning_rate_init / (t_ + 1)**power_t``
        after each epoch. "adaptive" divides the rate by 5 when epochs stop improving, and ends the
        fit when it is at most 1e-6.
    learning_rate_init : float, default 0.001
        Initial learning rate of "sgd", and learning rate of "adam".
    power_t : float, default 0.5
        Exponent of "invscaling".
    max_iter : int, default 200
        Upper limit of epochs of "sgd" and "adam", or of iterations of "lbfgs".
    shuffle : bool, default True
        Whether each epoch has a new random order of rows.
    random_state : int, RandomState or None, default None
        Seed of the initial weights, the held-back rows, and the order of rows. None gives different
        results each time.
    tol : float, default 1e-4
        Minimum improvement of the loss or score by an epoch. For "lbfgs", the largest element of
        the gradient at a minimum.
    verbose : bool, default False
        Whether to print the loss of each iteration.
    warm_start : bool, default False
        Whether ``fit`` starts from ``coefs_`` and ``intercepts_``, which you may set.
    momentum : float, default 0.9
        Momentum of "sgd".
    nesterovs_momentum : bool, default True
        Whether "sgd" uses Nesterov momentum.
    early_stopping : bool, default False
        Whether to hold rows back, to end the fit when their score stops improving, and to keep the
        weights with the best score.
    validation_fraction : float, default 0.1
        Fraction of rows to hold back.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Settings of "adam".
    n_iter_no_change : int, default 10
        The fit ends after more than this number of consecutive epochs without improvement.
    max_fun : int, default 15000
        Upper limit of evaluations of the loss by "lbfgs".
    dtype : {None, "float32", "float64"}, default None
        dtype of weights and computation. None means float32 if X is float32, else float64. float32
        is faster.
    class_weight : dict, "balanced", list of dict, or None, default None
        Factor of the sample weights for each class. "balanced" is
        ``rows / (classes * rows of the class)``. For several labels, a list with a dict for each.
    callback : callable, optional
        Function to call after each iteration of ``fit`` with an ``nnkernels.Training``: the current
        network and losses, and a state without moments. The fit ends if it returns True.
    progress : bool or None, default False
        Whether to show a progress bar on standard error. None shows it after half a second if
        standard error is a terminal.

    Attributes
    ----------
    classes_ : ndarray
        The classes, sorted.
    coefs_, intercepts_ : list of ndarray
        Weights (inputs, outputs) and bias (outputs,) of each layer. You may set them, or change
        them in place.
    network_ : Network
        An ``nnkernels.Network`` of ``coefs_`` and ``intercepts_``, to save and deploy. It is
        created at each access. For two classes it outputs both probabilities.
    loss_ : float
        Loss of the last iteration.
    best_loss_ : float or None
        Lowest loss; None with ``early_stopping``.
    loss_curve_ : list of float
        Loss of each epoch: the mean over its batches, each taken before its step.
    validation_scores_ : list of float or None
        Accuracy on the held-back rows after each epoch; None without ``early_stopping``.
    best_validation_score_ : float or None
        Highest validation score; None without ``early_stopping``.
    t_ : int
        Number of rows seen in all epochs.
    n_iter_ : int
        Number of iterations of the last fit.
    n_features_in_, feature_names_in_
        Number of features, and their names if X has any.
    n_layers_ : int
        Number of layers, including the inputs.
    n_outputs_ : int
        Number of outputs; 1 for two classes.
    out_activation_ : str
        Activation of the outputs.

    Notes
    -----
    Results depend only on data, parameters and ``random_state``. Their bits are the same on every
    CPU, for any number of threads, and for sparse and dense X.

    These conventions are scikit-learn's, so that parameters keep their meaning:

    - The penalty is divided by the sum of the batch's sample weights, or by its number of rows.
    - The fit ends after n_iter_no_change + 1 epochs without improvement of the loss, or of accuracy
      or R^2 with ``early_stopping``.
    - ``loss_curve_`` weights batches by their rows, not by their sample weights.
    - "adam" adds epsilon before the bias correction:
      ``p = p - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)``.
    - ``fit`` with ``warm_start`` resets moments, learning rate and ``n_iter_``, but continues
      ``loss_curve_`` and the count of epochs without improvement. ``partial_fit`` resets nothing.
    - The gradient of a squared error is not divided by the number of outputs, but the reported loss
      is.

    These differ from scikit-learn:

    - Probabilities are not clipped in the loss. ``loss_curve_`` is higher for a network that is
      certain and wrong.
    - "lbfgs" is ``nnkernels.lbfgs``. For several outputs it minimises the sum of their squared
      errors. scikit-learn gives SciPy the gradient of the sum, but the value of the mean.
    - A negative ``sample_weight`` is refused. A batch whose weights are all 0 makes no step.
    - With ``beta_2=0``, "adam" does not change a parameter whose gradient is 0. scikit-learn
      divides its momentum by epsilon.
    - Sparse X is made dense batch by batch. With thousands of features scikit-learn predicts
      faster.
    - If a fit with ``warm_start`` and ``early_stopping`` does not improve the best score, it keeps
      the weights that it started from.

    Examples
    --------
    >>> from nnkernels.sklearn import MLPClassifier
    >>> model = MLPClassifier(8, "tanh", solver="lbfgs", random_state=1)
    >>> model.fit([[0, 0], [0, 1], [1, 0], [1, 1]], ["equal", "different", "different", "equal"])
    MLPClassifier(activation='tanh', hidden_layer_sizes=8, random_state=1,
                  solver='lbfgs')
    >>> model.predict([[0, 1], [1, 1]]).tolist()
    ['different', 'equal']
    >>> model.network_
    Network of 2 layers, float64
      layer  inputs  outputs  activation  parameters
          1       2        8  tanh                24
          2       8        2  sigmoid             18
      total                                       42
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_MLP._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }
    loss = "log_loss"

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dtype: Any = None,
        class_weight: Any = None,
        callback: Callback | None = None,
        progress: bool | None = False,
    ) -> None:
        self._keep(locals())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the classes of rows.

        Ctrl-C ends the fit with a warning, and keeps the weights so far.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (rows, features)
            Rows of features.
        y : array_like, shape (rows,) or (rows, labels)
            Classes, or a matrix of 0 and 1 if a row can have several labels.
        sample_weight : array_like, shape (rows,), optional
            Weight of each row: finite, at least 0, and not all 0.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If data or parameters are invalid, or the weights are not finite after the fit.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @available_if(lambda estimator: estimator._check_solver())  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None) -> Self:
        """Train one more epoch on these rows, by "sgd" or "adam".

        The first call needs ``classes``, the list of all classes. The other parameters and errors
        are as in ``fit``.
        """
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer().fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Return the most probable classes (rows,), or a matrix of 0 and 1 (rows, labels)."""
        outputs = self.predict_proba(X)
        if self.out_activation_ == "softmax":
            return self.classes_[outputs.argmax(axis=1)]
        if self._has_one_label():
            return self.classes_[((outputs[:, 1] > 0.5) & (len(self.classes_) > 1)).astype(np.intp)]
        return self._label_binarizer.inverse_transform(outputs)

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probabilities of classes (rows, classes) or of labels (rows, labels)."""
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return the logarithm of ``predict_proba``; -inf for a probability of 0."""
        probabilities = self.predict_proba(X)
        return fitting.log(probabilities).astype(probabilities.dtype)

    def _as_targets(self, y: Any, incremental: bool) -> NDArray[Any]:
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start and set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
            if not np.isin(classes, self.classes_).all():
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
                )
        several = self._label_binarizer.y_type_ == "multiclass"
        self.out_activation_ = "softmax" if several else "logistic"
        if several and y.ndim == 1:
            self.n_outputs_ = len(self.classes_)
            return np.searchsorted(self.classes_, y)  # type: ignore[no-any-return]
        targets = self._label_binarizer.transform(y)
        self.n_outputs_ = targets.shape[1]
        return targets != 0  # type: ignore[no-any-return]

    def _metadata(self) -> dict[str, str]:
        metadata = super()._metadata()
        one_of_several = self.out_activation_ == "softmax" or (self._has_one_label() and len(self.classes_) == 2)
        return metadata | Names(tuple(map(str, self.classes_))).metadata() if one_of_several else metadata

    def _as_weights(self, x: Any, y: Any, sample_weight: Any, incremental: bool) -> Any:
        weights = super()._as_weights(x, y, sample_weight, incremental)
        if self.class_weight is None:
            return weights
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit: its weights depend on all rows. Pass a dict with "
                "the weights of sklearn.utils.class_weight.compute_class_weight('balanced', classes=classes, y=y)."
            )
        if y.ndim == 1:
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            of_classes = by_class[np.searchsorted(self.classes_, y)]
        else:
            of_classes = compute_sample_weight(self.class_weight, y)
        return super()._as_weights(x, y, of_classes if weights is None else weights * of_classes, incremental)

    def _score(self, outputs: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
        if self.out_activation_ == "softmax":
            return fitting.accuracy(outputs.argmax(axis=1) == targets, weights)
        answers = (outputs[:, -self.n_outputs_ :] > 0.5) & (len(self.classes_) > 1)  # like predict
        return fitting.accuracy((answers == targets).all(axis=1), weights)


class MLPRegressor(RegressorMixin, _MLP):  # type: ignore[misc]
    """Multi-layer perceptron regressor, a replacement of scikit-learn's.

    Scores are R^2. The other parameters, the attributes and the notes are as in ``MLPClassifier``,
    without classes.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default "squared_error"
        "poisson" is for y of at least 0, such as counts. The last activation is then exp, and the
        predictions are rates.

    Examples
    --------
    >>> from nnkernels.sklearn import MLPRegressor
    >>> model = MLPRegressor(hidden_layer_sizes=8, activation="tanh", solver="lbfgs")
    >>> model = model.set_params(max_iter=1000, random_state=0)
    >>> x, y = [[-1.0], [-0.5], [0.0], [0.5], [1.0]], [1.0, 0.25, 0.0, 0.25, 1.0]
    >>> model.fit(x, y).predict([[0.5], [1.0]]).round(1).tolist()
    [0.3, 1.0]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_MLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dtype: Any = None,
        callback: Callback | None = None,
        progress: bool | None = False,
    ) -> None:
        self._keep(locals())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss == "poisson"
        return tags

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Learn the numbers of rows.

        Ctrl-C ends the fit with a warning, and keeps the weights so far.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (rows, features)
            Rows of features.
        y : array_like, shape (rows,) or (rows, outputs)
            True values.
        sample_weight : array_like, shape (rows,), optional
            Weight of each row: finite, at least 0, and not all 0.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If data or parameters are invalid, or the weights are not finite after the fit.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @available_if(lambda estimator: estimator._check_solver())  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train one more epoch on these rows, by "sgd" or "adam".

        Parameters and errors are as in ``fit``.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the predicted numbers, of shape (rows,) or (rows, outputs)."""
        numbers = self._outputs(X)
        return numbers[:, 0] if numbers.shape[1] == 1 else numbers

    def _as_targets(self, y: Any, incremental: bool) -> NDArray[Any]:
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        if y.dtype.kind not in "biuf":
            raise ValueError(f"MLPRegressor expected y to be real numbers, got {y.dtype}")
        targets = y.reshape(len(y), -1)
        self.n_outputs_ = targets.shape[1]
        if self.loss == "poisson" and (targets < 0).any():
            raise ValueError(f"MLPRegressor expected y of at least 0 for loss='poisson', got {targets.min()}")
        return targets  # type: ignore[no-any-return]

    def _score(self, outputs: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
        return fitting.r_squared(outputs, targets, weights)
