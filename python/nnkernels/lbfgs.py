"""L-BFGS: minimises a smooth function of many parameters, with the same bits on every machine."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnkernels._core import dot

Vector: TypeAlias = NDArray[np.float64]

# A function's value and gradient at a point. The gradient is copied, so its array may be used
# again.
Evaluate: TypeAlias = Callable[[Vector], tuple[float, Vector]]

# Steps that the approximation of the inverse Hessian is made of.
_MEMORY = 10

# The constants of the Wolfe conditions, as in SciPy's L-BFGS-B: the least decrease, as a part of
# what the slope promises, and the largest slope that may be left.
_SUFFICIENT_DECREASE = 1e-3
_CURVATURE = 0.9

# Trials along one direction; they end early in an interval of this part of its farther end.
_MOST_TRIALS = 20
_NARROW = 0.1

# An iteration that lowers the value by no more than this part is the last, as in SciPy's L-BFGS-B.
_EPSILON = 2.0**-52
_LEAST_PROGRESS = 1e7 * _EPSILON


_NO_EVALUATIONS = "the maximum number of evaluations is reached"


class Minimum(NamedTuple):
    """What ``minimize`` returns, and gives to its ``callback``.

    Attributes
    ----------
    x : array of float64
        The point.
    value : float
        The function there.
    iterations, evaluations : int
        How many were made.
    converged : bool
        Whether ``x`` is a minimum within the tolerances.
    message : str
        Why the search ended.
    """

    x: Vector
    value: float
    iterations: int
    evaluations: int
    converged: bool
    message: str


@np.errstate(over="ignore", invalid="ignore")
def minimize(
    evaluate: Evaluate,
    start: Vector,
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 15000,
    max_evaluations: int = 15000,
    callback: Callable[[Minimum], bool] | None = None,
) -> Minimum:
    """Minimise a function by L-BFGS with a line search for the strong Wolfe conditions.

    The search has converged when no element of the gradient is above ``tolerance``, or when an
    iteration has lowered the value by at most 2.2e-9 max(old value, new value, 1).

    Parameters
    ----------
    evaluate : callable
        Takes a point, whose array it must not keep, and returns the value and the gradient there.
    start : array of float64
        The first point.
    tolerance : float
        Of the gradient.
    max_iterations, max_evaluations : int
        The search ends after this many; both at least 1.
    callback : callable, optional
        Called after each iteration with a Minimum, whose ``x`` the next iteration changes. If it
        returns True, the search ends.

    Returns
    -------
    Minimum

    Notes
    -----
    J. Nocedal and S. J. Wright, "Numerical optimization", 2nd edition, 2006: algorithms 7.4
    (two-loop recursion, 10 pairs), 3.5 and 3.6 (line search, with cubic interpolation). Dot
    products are those of ``nnkernels.dot``; the rest is + - * / and sqrt.

    Examples
    --------
    >>> import numpy as np
    >>> minimum = minimize(lambda x: (float((x[0] - 3) ** 2), 2 * (x - 3)), np.array([0.0]))
    >>> minimum.x, minimum.iterations, minimum.message
    (array([3.]), 2, 'the gradient is within the tolerance')
    """
    x = np.array(start, np.float64)
    new_x, new_gradient, direction = np.empty((3, len(x)))
    value, slopes = evaluate(x)
    gradient = slopes.copy()
    history = _History(len(x))
    iterations, evaluations = 0, 1

    def at(step: float) -> _Trial:
        nonlocal evaluations
        np.multiply(direction, step, out=new_x)
        np.add(new_x, x, out=new_x)
        new_value, slopes = evaluate(new_x)
        np.copyto(new_gradient, slopes)
        evaluations += 1
        return _Trial(step, new_value, float(dot(new_gradient, direction)))

    def result(message: str, converged: bool = False) -> Minimum:
        return Minimum(x, value, iterations, evaluations, converged, message)

    while not max(gradient.max(), -gradient.min()) <= tolerance:  # so that NaN is no convergence
        if iterations >= max_iterations:
            return result("the maximum number of iterations is reached")
        if evaluations >= max_evaluations:
            return result(_NO_EVALUATIONS)
        np.negative(gradient, out=direction)
        history.multiply(direction)
        slope = float(dot(gradient, direction))
        found = None
        if -math.inf < slope < 0:
            start_step = 1.0 if history else 1.0 / math.sqrt(-slope)
            trials = min(_MOST_TRIALS, max(1, max_evaluations - evaluations - 1))  # and one to go back to the best
            found = _line_search(at, _Trial(0.0, value, slope), start_step, trials)
        if found is None:
            if evaluations >= max_evaluations - 1:
                return result(_NO_EVALUATIONS)
            if not history:
                return result("no step along the gradient lowers the value")
            history.clear()  # rounding errors may have spoilt the direction
            continue
        history.add(x, new_x, gradient, new_gradient, -slope * found.step * _EPSILON)
        x, new_x, gradient, new_gradient = new_x, x, new_gradient, gradient
        old_value, value = value, found.value
        iterations += 1
        if callback is not None and callback(result("")):
            return result("the callback ended it")
        if evaluations < max_evaluations - 1 and old_value - value <= _LEAST_PROGRESS * max(abs(old_value), abs(value), 1.0):
            return result("the value falls no more", converged=True)
    return result("the gradient is within the tolerance", converged=True)


class _History:
    """The last steps s and changes y of the gradient: an approximation of the inverse Hessian."""

    def __init__(self, size: int) -> None:
        self._steps, self._changes = np.empty((2, _MEMORY + 1, size))
        self._curvatures = [0.0] * (_MEMORY + 1)  # s.y
        self._scale = 1.0  # s.y / y.y of the last pair
        self._rows: deque[int] = deque(maxlen=_MEMORY)  # of the pairs, the oldest first
        self._free = 0  # the row of the next pair
        self._product = np.empty(size)

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget all pairs."""
        self._rows.clear()

    def add(self, x: Vector, new_x: Vector, gradient: Vector, new_gradient: Vector, least_curvature: float) -> None:
        """Keep a step and its change of the gradient, if its curvature is large enough."""
        row = self._free
        step = np.subtract(new_x, x, out=self._steps[row])
        change = np.subtract(new_gradient, gradient, out=self._changes[row])
        curvature = float(dot(step, change))
        if curvature > least_curvature:
            self._curvatures[row] = curvature
            self._scale = curvature / float(dot(change, change))
            self._rows.append(row)
            self._free = (row + 1) % (_MEMORY + 1)

    def multiply(self, vector: Vector) -> None:
        """Multiply a vector by the approximation, in place: the two-loop recursion."""
        factors = []
        for row in reversed(self._rows):
            factor = float(dot(self._steps[row], vector)) / self._curvatures[row]
            vector -= np.multiply(self._changes[row], factor, out=self._product)
            factors.append(factor)
        if self._rows:
            vector *= self._scale
        for row, factor in zip(self._rows, reversed(factors), strict=True):
            factor -= float(dot(self._changes[row], vector)) / self._curvatures[row]
            vector += np.multiply(self._steps[row], factor, out=self._product)


class _Trial(NamedTuple):
    """A point on a line: the step to it, and the function's value and slope there."""

    step: float
    value: float
    slope: float


def _line_search(at: Callable[[float], _Trial], start: _Trial, step: float, most_trials: int) -> _Trial | None:
    """Return the point that was evaluated last: one that satisfies the strong Wolfe conditions.

    If none is found, return one whose value is low enough; None if there is none either.
    """
    low = start  # the best point so far
    high = None  # the other end of an interval that holds a minimum
    for _ in range(most_trials):
        trial = at(step)
        if not trial.value <= start.value + _SUFFICIENT_DECREASE * trial.step * start.slope or trial.value >= low.value:
            high = trial  # also where the value is NaN or infinite
        elif abs(trial.slope) <= -_CURVATURE * start.slope:
            return trial
        else:
            before, low = low, trial
            if high is None and trial.slope < 0:  # the minimum is farther away
                reach = low.step - before.step
                step = _cubic_minimizer(before, low)
                step = min(max(step, low.step + 1.1 * reach), low.step + 4 * reach) if step > low.step else low.step + 4 * reach
                continue
            if high is None or trial.slope * (high.step - trial.step) >= 0:
                high = before
        middle, half = 0.5 * (low.step + high.step), 0.5 * abs(high.step - low.step)
        step = _cubic_minimizer(low, high)
        step = min(max(step, middle - 0.8 * half), middle + 0.8 * half) if math.isfinite(step) else middle
        if abs(high.step - low.step) <= _NARROW * max(high.step, low.step):  # a kink: no slope there is small enough
            break
    if low is start:
        return None
    return low if low is trial else at(low.step)


def _cubic_minimizer(a: _Trial, b: _Trial) -> float:
    """Return the step to the minimum of the cubic polynomial through two points; NaN if there is none."""
    width = b.step - a.step
    first = a.slope + b.slope - 3 * (b.value - a.value) / width
    square = first * first - a.slope * b.slope
    if not square >= 0:
        return math.nan
    root = math.copysign(math.sqrt(square), width)
    divisor = b.slope - a.slope + 2 * root
    return b.step - width * (b.slope + root - first) / divisor if divisor else math.nan
