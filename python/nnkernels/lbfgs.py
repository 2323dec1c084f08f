"""L-BFGS: minimises a smooth function of many variables, with the same bits on every machine."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnkernels._core import dot

Vector: TypeAlias = NDArray[np.float64]

# Returns value and gradient at a point. The gradient is copied, so that its array may be reused.
Evaluate: TypeAlias = Callable[[Vector], tuple[float, Vector]]

# Number of steps that approximate the inverse Hessian.
_MEMORY = 10

# Constants of the Wolfe conditions, as in SciPy's L-BFGS-B.
_SUFFICIENT_DECREASE = 1e-3
_CURVATURE = 0.9

# Upper limit of trials in a line search. It ends early if the interval, relative to its larger end,
# is at most _NARROW.
_MOST_TRIALS = 20
_NARROW = 0.1

# Relative decrease of the value below which the search has converged, as in SciPy's L-BFGS-B.
_EPSILON = 2.0**-52
_LEAST_PROGRESS = 1e7 * _EPSILON


_NO_EVALUATIONS = "the maximum number of evaluations is reached"


class Minimum(NamedTuple):
    """The result of ``minimize``, which ``callback`` gets too.

    Attributes
    ----------
    x : ndarray of float64
        The point reached.
    value : float
        The value at ``x``.
    iterations, evaluations : int
        Number of iterations and evaluations made.
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

    The search converges if no element of the gradient exceeds ``tolerance`` in magnitude, or if an
    iteration lowers the value by at most 2.2e-9 max(|old value|, |new value|, 1).

    Parameters
    ----------
    evaluate : callable
        Takes a point and returns value and gradient. It must not keep the array of the point.
    start : ndarray of float64
        The first point.
    tolerance : float, default 1e-5
        Largest element of the gradient at a minimum.
    max_iterations, max_evaluations : int, default 15000
        Upper limits, at least 1.
    callback : callable, optional
        Function to call after each iteration with a Minimum. The search ends if it returns True.
        The next iteration changes the Minimum's ``x``.

    Returns
    -------
    Minimum
        The result.

    Notes
    -----
    Source: J. Nocedal and S. J. Wright, "Numerical optimization", 2nd edition, 2006: algorithms 7.4
    (two-loop recursion, 10 pairs), 3.5 and 3.6 (line search, with cubic interpolation). The bits
    are the same everywhere because only ``nnkernels.dot``, + - * / and sqrt are used.

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

    while not max(gradient.max(), -gradient.min()) <= tolerance:  # "not": NaN does not converge
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
            # One evaluation is kept for a return to the best point.
            trials = min(_MOST_TRIALS, max(1, max_evaluations - evaluations - 1))
            found = _line_search(at, _Trial(0.0, value, slope), start_step, trials)
        if found is None:
            if evaluations >= max_evaluations - 1:
                return result(_NO_EVALUATIONS)
            if not history:
                return result("no step along the gradient lowers the value")
            history.clear()  # try the gradient next: rounding errors may have spoilt the direction
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
    """Approximation of the inverse Hessian by pairs: a step s, and the change y of the gradient."""

    def __init__(self, size: int) -> None:
        self._steps, self._changes = np.empty((2, _MEMORY + 1, size))
        self._curvatures = [0.0] * (_MEMORY + 1)  # s.y
        self._scale = 1.0  # s.y / y.y of the last pair
        self._rows: deque[int] = deque(maxlen=_MEMORY)  # of pairs, oldest first
        self._free = 0  # row for the next pair
        self._product = np.empty(size)

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget all pairs."""
        self._rows.clear()

    def add(self, x: Vector, new_x: Vector, gradient: Vector, new_gradient: Vector, least_curvature: float) -> None:
        """Add a pair, if its curvature s.y is large enough."""
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
    """A point of a line search: its step, value, and slope along the line."""

    step: float
    value: float
    slope: float


def _line_search(at: Callable[[float], _Trial], start: _Trial, step: float, most_trials: int) -> _Trial | None:
    """Return a point that satisfies the strong Wolfe conditions. It is the last one evaluated.

    Otherwise return a point with sufficient decrease, or None.
    """
    low = start  # best point so far
    high = None  # other end of an interval with a minimum
    for _ in range(most_trials):
        trial = at(step)
        if not trial.value <= start.value + _SUFFICIENT_DECREASE * trial.step * start.slope or trial.value >= low.value:
            high = trial  # also if the value is NaN or infinite
        elif abs(trial.slope) <= -_CURVATURE * start.slope:
            return trial
        else:
            before, low = low, trial
            if high is None and trial.slope < 0:  # the minimum is beyond
                reach = low.step - before.step
                step = _cubic_minimizer(before, low)
                step = min(max(step, low.step + 1.1 * reach), low.step + 4 * reach) if step > low.step else low.step + 4 * reach
                continue
            if high is None or trial.slope * (high.step - trial.step) >= 0:
                high = before
        middle, half = 0.5 * (low.step + high.step), 0.5 * abs(high.step - low.step)
        step = _cubic_minimizer(low, high)
        step = min(max(step, middle - 0.8 * half), middle + 0.8 * half) if math.isfinite(step) else middle
        if abs(high.step - low.step) <= _NARROW * max(high.step, low.step):  # a kink: the slope jumps
            break
    if low is start:
        return None
    return low if low is trial else at(low.step)


def _cubic_minimizer(a: _Trial, b: _Trial) -> float:
    """Return the step to the minimum of the cubic through two points and slopes, or NaN."""
    width = b.step - a.step
    first = a.slope + b.slope - 3 * (b.value - a.value) / width
    square = first * first - a.slope * b.slope
    if not square >= 0:
        return math.nan
    root = math.copysign(math.sqrt(square), width)
    divisor = b.slope - a.slope + 2 * root
    return b.step - width * (b.slope + root - first) / divisor if divisor else math.nan
