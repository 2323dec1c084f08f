"""Fit the polynomials of cpp/kernels and print them as C++ hex floats.

    python cpp/fit_coefficients.py

Needs mpmath. Each polynomial is the weighted minimax one, found by the Remez exchange (E. Ya. Remez, 1934; the procedure is in
J.-M. Muller, "Elementary Functions", 3rd edition, chapter 3), with its coefficients rounded to the working precision.
"""

from collections.abc import Callable

import numpy as np
from mpmath import exp, ldexp, linspace, log, lu_solve, matrix, mp, mpf, polyval, sqrt

Function = Callable[[mpf], mpf]

mp.dps = 60


def remez(target: Function, weight: Function, degree: int, low: mpf, high: mpf) -> tuple[list[mpf], mpf]:
    """The polynomial (lowest power first) whose largest weight(x) * |polynomial(x) - target(x)| is smallest."""
    count = degree + 2
    middle, radius = (low + high) / 2, (high - low) / 2
    points = [middle - radius * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    grid = linspace(low, high, 2001)
    coefficients: list[mpf] = []
    for _ in range(12):
        rows = [[x**power for power in range(degree + 1)] + [(-1) ** i / weight(x)] for i, x in enumerate(points)]
        solution = lu_solve(matrix(rows), matrix([target(x) for x in points]))
        coefficients = [solution[i] for i in range(degree + 1)]
        errors = [weight(x) * (polyval(coefficients[::-1], x) - target(x)) for x in grid]
        # One extreme point in each run of errors of one sign; the largest ones if there are more runs than points.
        runs: list[tuple[mpf, mpf]] = []
        for x, error in zip(grid, errors, strict=True):
            if runs and (error >= 0) == (runs[-1][1] >= 0):
                if abs(error) > abs(runs[-1][1]):
                    runs[-1] = (x, error)
            else:
                runs.append((x, error))
        while len(runs) > count:
            runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
        if len(runs) < count:
            break
        points = [x for x, _ in runs]
    largest = max(abs(error) for error in errors)
    return coefficients, largest


def rounded(value: mpf, dtype: type[np.floating], bits: int | None = None) -> np.floating:
    """The value rounded once, to nearest, to a binary format of NumPy, or to fewer bits than it has."""
    bits = bits or np.finfo(dtype).nmant + 1
    mantissa, exponent = mp.frexp(value)
    return dtype(float(ldexp(mp.nint(ldexp(mantissa, bits)), exponent - bits)))


def fit(name: str, target: Function, weight: Function, degree: int, low: mpf, high: mpf, dtype: type[np.floating]) -> None:
    """Print one polynomial and what is left of its accuracy after rounding its coefficients."""
    coefficients, before = remez(target, weight, degree, low, high)
    constants = [rounded(c, dtype) for c in coefficients]
    exact = [mpf(float(c)) for c in constants]
    after = max(weight(x) * abs(polyval(exact[::-1], x) - target(x)) for x in linspace(low, high, 4000))
    print(
        f"{name}: error 2**{float(log(before, 2)):.1f}, coefficients rounded 2**{float(log(after, 2)):.1f}; lowest power first"
    )
    for constant in constants:
        print(f"    {hexadecimal(constant)},")


def hexadecimal(value: np.floating) -> str:
    """A C++ hex float literal."""
    suffix = "f" if value.dtype == np.float32 else ""
    mantissa, exponent = float(value).hex().split("p")
    mantissa = mantissa.rstrip("0") if "." in mantissa else mantissa
    return f"{mantissa.rstrip('.')}p{exponent}{suffix}"


def split(name: str, value: mpf, dtype: type[np.floating], bits: int | None = None) -> None:
    """Print a constant as the sum of two floats, the first of so many bits."""
    high = rounded(value, dtype, bits)
    low = rounded(value - mpf(float(high)), dtype)
    print(f"{name}: {hexadecimal(high)} + {hexadecimal(low)}")


def main() -> None:
    """Print all constants."""
    ln2 = log(2)
    # A little more than half of log(2): the rounding of x * log2(e) can leave the remainder just outside.
    bound = ln2 / 2 * (1 + mpf(2) ** -10)
    for dtype, degree in ((np.float32, 4), (np.float64, 9)):
        split("log(2)", ln2, dtype)
        split("log2(e)", 1 / ln2, dtype)
        fit(
            "exp: p(r) of e^r = 1 + r + r^2/2 + r^3 p(r), relative to e^r - 1",
            lambda r: (exp(r) - 1 - r - r**2 / 2) / r**3 if abs(r) > mpf(10) ** -15 else mpf(1) / 6 + r / 24,
            lambda r: r**2 + mpf(10) ** -5,
            degree, -bound, bound, dtype,
        )  # fmt: skip
    # log(1 + f) = f - f^2/2 + s (f^2/2 + w P(w)), s = f / (2 + f), w = s^2, as in Sun's fdlibm.
    split("log(2), so that multiples by a k are exact", ln2, np.float64, 33)
    largest = ((sqrt(2) - 1) / (sqrt(2) + 1)) ** 2 * (1 + mpf(2) ** -20)

    def logarithm_tail(w: mpf) -> mpf:
        s = sqrt(w)
        return (log((1 + s) / (1 - s)) - 2 * s) / (s * w) if w > mpf(10) ** -15 else mpf(2) / 3 + w * 2 / 5

    fit(
        "log1p: P(w) of log((1 + s)/(1 - s)) = 2 s + s w P(w), w = s^2, relative to the logarithm",
        logarithm_tail,
        lambda w: w + mpf(10) ** -5,
        6, mpf(0), largest, np.float64,
    )  # fmt: skip


if __name__ == "__main__":
    main()
