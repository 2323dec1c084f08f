"""Fit the polynomials of cpp/kernels and print them as C++ hex floats.

    python cpp/fit_coefficients.py

Needs mpmath. Each polynomial is the weighted minimax one, found by the Remez exchange (E. Ya. Remez, 1934; the procedure is in
J.-M. Muller, "Elementary Functions", 3rd edition, chapter 3), with its coefficients rounded to the working precision.

The table of tanh holds a polynomial a row, about a centre where the function is all but a float (S. Gal, "Computing elementary
functions", 1986). These come from C. L. Lawson's iteratively reweighted least squares (1961), in float64, so that
another LAPACK may print another last digit.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from mpmath import cos, exp, ldexp, linspace, log, lu_solve, matrix, mp, mpf, pi, polyval, sqrt, tanh
from numpy.typing import NDArray

Function = Callable[[mpf], mpf]
Array = NDArray[Any]

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


def lawson(x: Array, target: Array, weight: Array, terms: int) -> Array:
    """The coefficients (lowest power first) whose largest weight * |polynomial(x) - target| is smallest, over the points x."""
    scale = np.abs(x).max()
    powers = np.vander(x / scale, terms, increasing=True)
    shares = np.ones(len(x))
    best: Array = np.zeros(terms)
    smallest = np.inf
    for _ in range(100):
        factors = np.sqrt(shares) * weight
        coefficients = np.linalg.lstsq(powers * factors[:, np.newaxis], target * factors, rcond=None)[0]
        errors = np.abs(weight * (powers @ coefficients - target))
        if errors.max() < smallest:
            best, smallest = coefficients, errors.max()
        shares *= errors
        shares /= shares.sum()
    result: Array = best / scale ** np.arange(terms)
    return result


def row(function: Function, value: np.floating, low: mpf, high: mpf, degree: int) -> list[np.floating]:
    """The coefficients c1, c2, ... of function(t) = value + c1 t + c2 t^2 + ..., of the least relative error.

    They are rounded one after the other, and the rest fitted anew to what is left.
    """
    middle, radius = (low + high) / 2, (high - low) / 2
    points = [middle - radius * cos(pi * (i + mpf(1) / 2) / 150) for i in range(150)]
    points = [t for t in points if abs(t) > radius / 200]
    x = np.array([float(t) for t in points])
    target = np.array([float((function(t) - mpf(float(value))) / t) for t in points])
    weight = np.array([float(abs(t) / abs(function(t))) for t in points])
    coefficients: list[np.floating] = []
    for terms in range(degree, 0, -1):
        coefficients.append(np.float32(lawson(x, target, weight, terms)[0]))
        target = (target - float(coefficients[-1])) / x
        weight = weight * np.abs(x)
    return coefficients


def nearest_float(function: Function, candidates: Iterable[mpf], enough: mpf) -> tuple[mpf, np.floating]:
    """The first candidate where the function is a float up to a relative error of `enough`, and that float."""
    best, least = (mpf(0), np.float32(0)), mpf("inf")
    for x in candidates:
        value = function(x)
        error = abs(mpf(float(np.float32(float(value)))) - value) / value
        if error < least:
            best, least = (x, np.float32(float(value))), error
        if error < enough:
            break
    return best


def shifted(function: Function, origin: mpf, t: mpf) -> mpf:
    """The function at origin + t."""
    return function(origin + t)


def outward(count: int) -> Iterator[int]:
    """0, -1, 1, -2, 2, ..."""
    return ((-1) ** k * ((k + 1) // 2) for k in range(count))


def tanh_table() -> dict[int, list[np.floating]]:
    """The rows of kTanhTable: four for each binade from 2^-3 to where tanh rounds to 1, and one for all below."""
    table: dict[int, list[np.floating]] = {}
    for exponent, quarter in itertools.product(range(-3, 4), range(4)):
        low, high = (mpf(2) ** exponent * (1 + mpf(q) / 4) for q in (quarter, quarter + 1))
        if high > 9.02:
            high = mpf("9.02")
        if low > high:
            break
        middle, step = float((low + high) / 2), float((high - low) / 8) / 1000
        floats = (mpf(float(np.float32(middle + k * step))) for k in outward(2000))
        centre, value = nearest_float(tanh, floats, mpf(2) ** -32)
        coefficients = row(partial(shifted, tanh, centre), value, low - centre, high - centre, 5)
        table[int(np.float32(float(low)).view(np.uint32)) >> 21] = [np.float32(float(centre)), value, *coefficients]
    # Below, x itself is the leading term.
    rest, _ = remez(
        lambda x: (tanh(x) - x) / x if x > mpf(10) ** -8 else -x * x / 3, lambda x: mpf(1), 4, mpf(10) ** -9, mpf(1) / 8
    )
    table[min(table) - 1] = [np.float32(0), np.float32(0), *(np.float32(float(c)) for c in rest)]
    return table


def print_table(name: str, table: dict[int, list[np.floating]]) -> None:
    """Print 32 rows of eight floats, in the order of the row's number modulo 32."""
    print(f"{name}:")
    rows = {number % 32: values for number, values in table.items()}
    for number in range(32):
        values = [*rows.get(number, []), *[np.float32(0)] * 8][:8]
        print("    {" + ", ".join("0" if value == 0 else hexadecimal(value) for value in values) + "},")


def main() -> None:
    """Print all constants."""
    ln2 = log(2)
    # A little more than half of log(2): the rounding of x * log2(e) can leave the remainder just outside.
    bound = ln2 / 2 * (1 + mpf(2) ** -10)
    for dtype, degree, bits in ((np.float32, 1, 12), (np.float64, 4, 38)):
        split("log(2)", ln2, dtype, bits)
        split("log2(e)", 1 / ln2, dtype)
        fit(
            "exp: p(r) of e^r = 1 + r + r^2 p(r) for |r| <= log(2)/32",
            lambda r: (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10) ** -15 else mpf(1) / 2 + r / 6,
            lambda r: r**2 + mpf(10) ** -9,
            degree, -bound / 16, bound / 16, dtype,
        )  # fmt: skip
        for j in range(16):
            split(f"2^({j}/16)", mpf(2) ** (mpf(j) / 16), dtype)
    fit(
        "tanh: p(r) of e^r = 1 + r + r^2/2 + r^3 p(r) for |r| <= log(2)/2, relative to e^r - 1",
        lambda r: (exp(r) - 1 - r - r**2 / 2) / r**3 if abs(r) > mpf(10) ** -15 else mpf(1) / 6 + r / 24,
        lambda r: r**2 + mpf(10) ** -5,
        9, -bound, bound, np.float64,
    )  # fmt: skip
    # log(1 + f) = f - f^2/2 + s (f^2/2 + w P(w)), s = f / (2 + f), w = s^2, as in Sun's fdlibm.
    split("log(2), so that multiples by a k are exact", ln2, np.float64, 33)
    largest = ((sqrt(2) - 1) / (sqrt(2) + 1)) ** 2 * (1 + mpf(2) ** -20)

    def logarithm_tail(w: mpf) -> mpf:
        s = sqrt(w)
        return (log((1 + s) / (1 - s)) - 2 * s) / (s * w) if w > mpf(10) ** -15 else mpf(2) / 3 + w * 2 / 5

    # An error of P counts s w times, and the logarithm is about 2 s.
    fit(
        "log1p: P(w) of log((1 + s)/(1 - s)) = 2 s + s w P(w), w = s^2, relative to the logarithm",
        logarithm_tail,
        lambda w: (w + mpf(10) ** -5) / 2,
        6, mpf(0), largest, np.float64,
    )  # fmt: skip
    print_table("tanh: centre, c0, ..., c5, unused", tanh_table())


if __name__ == "__main__":
    main()
