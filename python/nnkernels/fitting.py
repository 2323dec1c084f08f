"""Epochs, losses and scores by scikit-learn's conventions. scikit-learn is not imported.

Rows may be a SciPy sparse matrix in CSR format. It is made dense batch by batch, and gives the same
bits as a dense array.
"""

from __future__ import annotations

import decimal
import math
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnkernels import _core
from nnkernels.arrays import as_contiguous
from nnkernels.network import Network
from nnkernels.problem import Problem, Rows

# Numbers of the optimizers in C++: Optimizer::Kind in cpp/training.h.
_SGD, _ADAM_HAT = 0, 3

# Lower limit of the learning rate of "invscaling", relative to the first. Such a rate changes no
# parameter, but keeps the velocity finite.
_LEAST_RATE = 1e-20

# Rows per block when predicting from a sparse matrix.
_DENSE_ROWS = 1024

# L-BFGS takes rows in blocks, so that a block's activations, about this many numbers, fit into the
# cache; but at least 256 rows.
_NUMBERS_IN_CACHE = 2**16
_LEAST_BLOCK = 256

_LOG_2 = 0.6931471805599453


class Factors(NamedTuple):
    """Factors that convert a loss here, the mean over rows and outputs, to scikit-learn's."""

    loss: float  # factor of the reported loss
    gradient: float  # factor of the gradient
    poisson: bool  # whether scikit-learn's loss adds a constant

    @classmethod
    def of(cls, loss: str, outputs: int) -> Factors:
        """Return the factors for a loss and a number of outputs."""
        # scikit-learn's loss has a factor of 1/2. Its gradient is not divided by the outputs'
        # number.
        if loss == "squared_error":
            return cls(0.5, 0.5 * outputs, False)
        factor = 1.0 if loss == "cross_entropy" else float(outputs)
        return cls(factor, factor, loss == "poisson")


class StochasticOptimizer:
    """Settings and state of scikit-learn's SGD or Adam, kept between epochs and calls of fit."""

    def __init__(self, estimator: Any) -> None:
        self.learning_rate = self._first_rate = float(estimator.learning_rate_init)
        self._schedule, self._power = "constant", float(estimator.power_t)
        if estimator.solver == "sgd":
            self._schedule = estimator.learning_rate
            self._kind = _SGD
            self._settings = (float(estimator.momentum), float(estimator.nesterovs_momentum), 0.0)
        else:
            self._kind = _ADAM_HAT
            self._settings = (float(estimator.beta_1), float(estimator.beta_2), float(estimator.epsilon))
        self._steps = 0
        self._moments: list[NDArray[Any]] = []

    @property
    def count_of_moments(self) -> int:
        """The number of moments per parameter."""
        return 1 if self._kind == _SGD else 2

    def numbers(self, alpha: float) -> tuple[float, ...]:
        """Return the arguments of C++."""
        return (self._kind, self.learning_rate, *self._settings, float(alpha))

    def fits(self, parameters: int) -> bool:
        """Return whether the moments, if there are any yet, have this number of parameters."""
        return all(len(moment) == parameters for moment in self._moments)

    def restore(self, trainer: _core.Trainer) -> None:
        """Copy the state to a new Trainer."""
        trainer.steps = self._steps
        for moment, kept in zip(trainer.moments, self._moments, strict=False):  # at first there are none
            np.copyto(moment, kept)

    def keep(self, trainer: _core.Trainer) -> None:
        """Copy the state from a Trainer."""
        self._steps, self._moments = trainer.steps, [moment.copy() for moment in trainer.moments]

    def end_epoch(self, trainer: _core.Trainer, rows_seen: int) -> None:
        """Set the rate of "invscaling" to learning_rate_init / (rows_seen + 1)^power_t."""
        if self._schedule == "invscaling":
            # Not by **, whose last bit depends on the machine.
            power = decimal.Context(prec=40, traps=[]).power(decimal.Decimal(rows_seen + 1), decimal.Decimal(self._power))
            self._set_rate(trainer, self._first_rate / float(power))

    def ends(self, trainer: _core.Trainer, message: str, verbose: object) -> bool:
        """Return whether a fit without progress ends. If it goes on, lower its learning rate."""
        over = self._schedule != "adaptive" or self.learning_rate <= 1e-6
        if not over:
            self._set_rate(trainer, self.learning_rate / 5.0)
            message += f" Setting learning rate to {self.learning_rate:f}"
        elif self._schedule == "adaptive":
            message += " Learning rate too small. Stopping."
        else:
            message += " Stopping."
        if verbose:
            print(message)
        return over

    def _set_rate(self, trainer: _core.Trainer, rate: float) -> None:
        """Change the learning rate, but keep scikit-learn's velocity, -rate times the Trainer's."""
        rate = max(rate, _LEAST_RATE * self._first_rate, sys.float_info.min)
        velocity = trainer.moments[0]
        np.multiply(velocity, self.learning_rate / rate, out=velocity)
        self.learning_rate = rate


class Epochs:
    """Epochs of steps on rows."""

    def __init__(self, trainer: _core.Trainer, rows: Rows, batch_size: int, alpha: float, factors: Factors) -> None:
        self._trainer, self._rows, self._batch_size = trainer, rows, batch_size
        self._alpha, self._factors = float(alpha), factors
        self._constants = poisson_constants(rows.targets) if factors.poisson else None

    def run(self, order: NDArray[np.int64], optimizer: StochasticOptimizer) -> float:
        """Make the steps of an epoch, with rows in this order. Return scikit-learn's loss."""
        numbers = optimizer.numbers(self._alpha)
        trainer, rows = self._trainer, self._rows
        loss = penalty = 0.0
        if is_sparse(rows.x):
            for begin in range(0, len(order), self._batch_size):
                batch = dense(take(rows, order[begin : begin + self._batch_size]), trainer.parameters.dtype)
                sums = trainer.run_batches(*batch, numbers, None, self._factors.gradient)
                loss, penalty = loss + sums[0], penalty + sums[1]
        else:
            loss, penalty = trainer.run_batches(*rows, numbers, order, self._factors.gradient)
        loss = self._factors.loss * loss + self._alpha * penalty
        if self._constants is not None:
            weights = None if rows.weights is None else rows.weights[order]
            loss += sum_constants(self._constants[order], weights, self._batch_size)
        return loss / len(order)


class Objective:
    """The objective of L-BFGS: the loss of all rows plus the penalty, and its gradient.

    Parameters, gradient and the sum of losses are float64. The network computes in its own dtype.
    """

    def __init__(self, problem: Problem, rows: Rows, alpha: float, factors: Factors) -> None:
        architecture = problem.architecture
        self._dtype = architecture.computed
        count = len(rows.targets)
        block = min(count, max(_LEAST_BLOCK, _NUMBERS_IN_CACHE // sum(architecture.sizes)))
        self._trainer = problem.trainer(block)
        self._rows, self._factors = rows, factors
        self._blocks = []  # pairs of rows and the sum of their weights, above 0
        for begin in range(0, count, block):
            part = take(rows, slice(begin, begin + block))
            weight = len(part.targets) if part.weights is None else math.fsum(part.weights)
            if weight:
                self._blocks.append((part if is_sparse(part.x) else dense(part, self._dtype), weight))
        self._total = math.fsum(weight for _, weight in self._blocks)
        self._gradient, self._decay, self._shrinkage = np.zeros((3, len(self._trainer.parameters)))
        for weights, _ in architecture.split(self._decay):
            weights[:] = alpha / self._total

    def __call__(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return value and gradient. The next call reuses the array of the gradient."""
        trainer = self._trainer
        np.copyto(trainer.parameters, point)
        value = self._penalty(point)
        np.copyto(self._gradient, self._shrinkage)
        for part, weight in self._blocks:
            factor = self._factors.gradient * (weight / self._total)
            value += factor * trainer.gradient(*dense(part, self._dtype), drop_tiny=True)
            self._gradient += np.multiply(trainer.gradient_array, factor, out=trainer.gradient_array)
        return value, self._gradient

    def loss(self, point: NDArray[np.float64], value: float) -> float:
        """Return scikit-learn's loss at a point, given the objective's value there."""
        penalty = self._penalty(point)
        loss = (value - penalty) * (self._factors.loss / self._factors.gradient) + penalty
        if self._factors.poisson:
            targets, weights = self._rows.targets, self._rows.weights
            loss += sum_constants(poisson_constants(targets), weights, len(targets)) / len(targets)
        return loss

    def _penalty(self, point: NDArray[np.float64]) -> float:
        """Return the penalty, and store its gradient in ``_shrinkage``."""
        np.multiply(self._decay, point, out=self._shrinkage)
        return 0.5 * float(_core.dot(self._shrinkage, point))


def is_sparse(x: Any) -> bool:
    """Return whether rows are a sparse matrix."""
    return hasattr(x, "toarray")


def take(rows: Rows, numbers: Any) -> Rows:
    """Return the rows with these numbers."""
    return Rows(rows.x[numbers], rows.targets[numbers], None if rows.weights is None else rows.weights[numbers])


def dense(rows: Rows, dtype: DTypeLike) -> Rows:
    """Convert rows for a Trainer of this dtype."""
    x, targets, weights = rows
    if is_sparse(x):
        x = x.toarray()  # type: ignore[attr-defined]
    return Rows(as_contiguous(x, dtype), as_contiguous(targets, np.int64 if targets.ndim == 1 else dtype), weights)


def apply(network: Network, x: Any) -> NDArray[Any]:
    """Return a network's outputs for rows."""
    if not is_sparse(x):
        return network(x)  # type: ignore[no-any-return]
    outputs = np.empty((x.shape[0], network.outputs), network.dtype)
    for begin in range(0, x.shape[0], _DENSE_ROWS):
        block = slice(begin, begin + _DENSE_ROWS)
        network(x[block].toarray(), out=outputs[block])
    return outputs


def poisson_constants(targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sum over outputs of y log(y) - y, which only scikit-learn's Poisson loss has."""
    y = targets.astype(np.float64)
    return _core.dot(np.where(y > 0, y * log(np.where(y > 0, y, 1.0)) - y, 0.0), np.ones(y.shape[1]))  # type: ignore[no-any-return]


def sum_constants(constants: NDArray[np.float64], weights: NDArray[np.float64] | None, batch_size: int) -> float:
    """Return the sum over batches of rows * weighted mean, as scikit-learn sums its losses."""
    if weights is None:
        return math.fsum(constants)
    total = 0.0
    for begin in range(0, len(constants), batch_size):
        part = weights[begin : begin + batch_size]
        weight = math.fsum(part)
        if weight:
            total += len(part) * float(_core.dot(constants[begin : begin + batch_size], part)) / weight
    return total


def log(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return log(x) for x >= 0 with an error of at most 3 ULP, and the same bits on every machine.

    np.log differs in the last bit. With x = m 2^e, m from sqrt(1/2) to sqrt(2), and s = (m - 1) /
    (m + 1), log(m) = 2 (s + s^3 / 3 + s^5 / 5 + ...).

    >>> log(np.array([1.0, 8.0])) / log(np.array([2.0]))
    array([0., 3.])
    """
    mantissa, exponent = np.frexp(x.astype(np.float64))
    small = mantissa < math.sqrt(0.5)
    mantissa = np.where(small, 2 * mantissa, mantissa)
    s = (mantissa - 1) / (mantissa + 1)
    series = np.zeros_like(s)
    for power in range(21, 0, -2):
        series = series * (s * s) + 1 / power
    return np.where(x > 0, (exponent - small) * _LOG_2 + 2 * s * series, -math.inf)


def accuracy(right: NDArray[np.bool_], weights: NDArray[np.float64] | None) -> float:
    """Return the weighted fraction of rows that are right."""
    if weights is None:
        return int(right.sum()) / len(right)
    total = math.fsum(weights)
    return math.fsum(weights[right]) / total if total else math.nan


def r_squared(outputs: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float64] | None) -> float:
    """Return the mean R^2 over the outputs; NaN if an output is not finite."""
    if not np.isfinite(outputs).all():
        return math.nan
    ones = np.ones(len(outputs))
    weights = ones if weights is None else weights
    total = _core.dot(weights, ones)
    scores = []
    for predicted, true in zip(outputs.T.astype(np.float64), targets.T.astype(np.float64), strict=True):
        residuals, spread = predicted - true, true - _core.dot(weights, true) / total
        unexplained, variance = _core.dot(weights * residuals, residuals), _core.dot(weights * spread, spread)
        scores.append(float(1 - unexplained / variance) if variance else float(unexplained == 0))
    return math.fsum(scores) / len(scores)
