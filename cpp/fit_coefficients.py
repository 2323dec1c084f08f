"""Fit the polynomials of cpp/kernels and print them as C++ hex floats.

    python cpp/fit_coefficients.py

Needs mpmath and SciPy. Each polynomial is the weighted minimax polynomial by the Remez exchange (E.
Ya. Remez, 1934; procedure: J.-M. Muller, "Elementary Functions", 3rd edition, chapter 3), with
coefficients rounded to the working precision.

The tables of sigmoid, softplus, tanh and gelu hold one polynomial per row, around a centre where
the function is very close to a float (S. Gal, "Computing elementary functions", 1986). They are
fitted by C. L. Lawson's iteratively reweighted least squares (1961), in float64. So another LAPACK
may print other last digits.
"""

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from mpmath import cos, erfc, exp, ldexp, linspace, log, log1p, lu_solve, matrix, mp, mpf, pi, polyval, sqrt, tanh
from numpy.typing import NDArray
from scipy.special import erfcx

Function = Callable[[mpf], mpf]
Array = NDArray[Any]

mp.dps = 60


def remez(target: Function, weight: Function, degree: int, low: mpf, high: mpf) -> tuple[list[mpf], mpf]:
    """The minimax polynomial of weight(x) * |polynomial(x) - target(x)|, lowest power first."""
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
        # One extreme point in each run of errors of the same sign; if there are more runs than
        # points, the largest ones.
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
    """The value rounded once, to nearest, to a binary format of NumPy, or to `bits` bits."""
    bits = bits or np.finfo(dtype).nmant + 1
    mantissa, exponent = mp.frexp(value)
    return dtype(float(ldexp(mp.nint(ldexp(mantissa, bits)), exponent - bits)))


def fit(name: str, target: Function, weight: Function, degree: int, low: mpf, high: mpf, dtype: type[np.floating]) -> None:
    """Print a polynomial, and its error before and after rounding the coefficients."""
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
    """Print a constant as the sum of two floats, the first with `bits` bits."""
    high = rounded(value, dtype, bits)
    low = rounded(value - mpf(float(high)), dtype)
    print(f"{name}: {hexadecimal(high)} + {hexadecimal(low)}")


def lawson(x: Array, target: Array, weight: Array, terms: int) -> Array:
    """The coefficients (lowest power first) of a minimax polynomial over the points x.

    They minimise max weight * |polynomial(x) - target|.
    """
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
    """The coefficients c1, c2, ... of function(t) = value + c1 t + c2 t^2 + ...

    They have the least relative error. Each is rounded before the next ones are fitted again.
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


def centre_of(function: Function, middle: mpf, radius: mpf, suits: Callable[[np.floating], bool]) -> tuple[mpf, np.floating]:
    """A float near `middle` where the function is within 2^-32 (relative) of a suitable float."""
    for k in range(2**16):
        x = mpf(float(np.float32(float(middle + (-1) ** k * radius * k / 2**16))))
        exact = function(x)
        value = np.float32(float(exact))
        if suits(value) and abs(mpf(float(value)) - exact) < exact * mpf(2) ** -32:
            return x, value
    raise ArithmeticError(f"no centre within {radius} of {middle}")


def shifted(function: Function, origin: mpf, t: mpf) -> mpf:
    """The function at origin + t."""
    return function(origin + t)


def worst_error(values: list[np.floating], function: Callable[[Array], Array], low: mpf, high: mpf) -> float:
    """The largest error of a row in ULP, over 2^18 floats.

    It is computed as in the kernel, by Horner's scheme with fmas.
    """

    def fma(a: Array, b: Array, c: np.floating) -> Array:
        return (a.astype(np.float64) * b + c).astype(np.float32)  # rounded twice, but almost never to another float

    y = np.linspace(float(low), float(high), 2**18, dtype=np.float32)
    t = y - values[0]
    slope = np.full_like(t, values[-1])
    for coefficient in values[-2:1:-1]:
        slope = fma(slope, t, coefficient)
    exact = function(y.astype(np.float64))
    return float((np.abs(fma(slope, t, values[1]) - exact) / np.spacing(exact.astype(np.float32))).max())


def best_row(
    function: Function,
    approximate: Callable[[Array], Array],
    low: mpf,
    high: mpf,
    suits: Callable[[np.floating], bool] = lambda value: True,
) -> list[np.floating]:
    """A row for slightly more than low <= y <= high: the best of several centres."""
    slack = (high - low) * mpf(2) ** -18
    rows = []
    for share in np.arange(0.3, 0.71, 0.025):
        centre, value = centre_of(function, low + (high - low) * mpf(float(share)), (high - low) / 4, suits)
        coefficients = row(partial(shifted, function, centre), value, low - slack - centre, high + slack - centre, 6)
        rows.append([np.float32(float(centre)), value, *coefficients])
    return min(rows, key=lambda values: worst_error(values, approximate, low, high))


def sigmoid_table() -> dict[int, list[np.floating]]:
    """The rows of kSigmoidTable: row j for y from (j - 1/2) / 1.5625 to (j + 1/2) / 1.5625."""
    width = 1 / mpf("1.5625")

    def sigmoid(y: mpf) -> mpf:
        return 1 / (1 + exp(y))

    def suits(value: np.floating) -> bool:
        """Whether 1 - value is also very close to a float."""
        units = float(value) * 2.0**24
        return abs(units - round(units)) < 2.0**-5

    half = np.float32(0.5)
    table = {0: [np.float32(0), half, *row(lambda t: sigmoid(t), half, mpf(0), width / 2 * (1 + mpf(2) ** -17), 6)]}
    for j in range(1, 16):
        low, high = ((j + mpf(side) / 2) * width for side in (-1, 1))
        table[j] = best_row(sigmoid, lambda y: 1 / (1 + np.exp(y)), low, high, suits)
    return table


def softplus_table() -> dict[int, list[np.floating]]:
    """The rows of kSoftplusTable, for the same y as kSigmoidTable."""
    width = 1 / mpf("1.5625")

    def softplus(y: mpf) -> mpf:
        return log1p(exp(-y))

    ln2 = np.float32(float(log(2)))
    table = {0: [np.float32(0), ln2, *row(softplus, ln2, mpf(0), width / 2 * (1 + mpf(2) ** -17), 6)]}
    for j in range(1, 16):
        low, high = ((j + mpf(side) / 2) * width for side in (-1, 1))
        table[j] = best_row(softplus, lambda y: np.log1p(np.exp(-y)), low, high)
    return table


def binades_table(
    function: Function, approximate: Callable[[Array], Array], near_zero: Function, end: float
) -> dict[int, list[np.floating]]:
    """The rows of kTanhTable and kGeluTable: four per binade of 1 + y.

    They end at `end`, where the function is 1. In the first row, y itself is the leading term;
    near_zero(y) approximates function(y) / y - 1.
    """
    rest, _ = remez(
        lambda y: (function(y) - y) / y if y > mpf(10) ** -8 else near_zero(y),
        lambda y: mpf(1),
        5, mpf(10) ** -9, mpf(1) / 4 * (1 + mpf(2) ** -20),
    )  # fmt: skip
    zero = np.float32(0)
    table = {4 * 127: [zero, zero, *(np.float32(float(c)) for c in rest)]}
    for exponent, quarter in itertools.islice(itertools.product(range(4), range(4)), 1, None):
        low, high = (mpf(2) ** exponent * (1 + mpf(q) / 4) - 1 for q in (quarter, quarter + 1))
        if low < end:
            table[4 * (127 + exponent) + quarter] = best_row(function, approximate, low, high)
        else:
            table[4 * (127 + exponent) + quarter] = [np.float32(end), np.float32(1), *[zero] * 6]
            break
    return table


def gelu_ratio(y: mpf) -> mpf:
    """2 e^(y^2/2) Phi(-y), with the standard normal distribution function Phi."""
    return exp(y * y / 2) * erfc(y / sqrt(2))


def fit_gelu() -> None:
    """Print the polynomial P(u) of e^(y^2/2) Phi(-y) = P(u) / (y + 5) with u = 1 - 10 / (y + 5)."""

    @cache
    def target(u: mpf) -> mpf:
        y = 5 * (1 + u) / (1 - u)
        return gelu_ratio(y) / 2 * (y + 5)

    coefficients, error = remez(target, lambda u: 1 / target(u), 22, mpf(-1), mpf(39 - 5) / (39 + 5))
    print(f"gelu: P(u), error 2**{float(log(error, 2)):.1f}; lowest power first, the first five in two parts")
    for power, coefficient in enumerate(coefficients):
        if power < 5:
            split(f"u^{power}", coefficient, np.float64)
        else:
            print(f"    {hexadecimal(rounded(coefficient, np.float64))},")


def print_table(name: str, table: dict[int, list[np.floating]]) -> None:
    """Print 16 rows of eight floats, ordered by the row's number modulo 16."""
    print(f"{name}:")
    rows = {number % 16: values for number, values in table.items()}
    for number in range(16):
        values = rows.get(number, [np.float32(0)] * 8)
        print("    {" + ", ".join("0" if value == 0 else hexadecimal(value) for value in values) + "},")


def print_nodes(name: str, function: Function, exponents: range) -> None:
    """Print a function at the middle of each sixteenth of binades, each value in two parts."""
    print(f"{name}:")
    for exponent, sixteenth in itertools.product(exponents, range(16)):
        value = function(ldexp(1 + mpf(2 * sixteenth + 1) / 32, exponent))
        high = rounded(value, np.float64)
        print(f"    {{{hexadecimal(high)}, {hexadecimal(rounded(value - mpf(float(high)), np.float64))}}},")


def main() -> None:
    """Print all constants."""
    ln2 = log(2)
    # Slightly more than half of log(2), since the rounding of x * log2(e) can leave the remainder
    # just outside.
    bound = ln2 / 2 * (1 + mpf(2) ** -10)
    for dtype, degree, bits in ((np.float32, 1, 12), (np.float64, 4, 38)):
        split("log(2)", ln2, dtype, bits)
        print(f"log2(e): {hexadecimal(rounded(1 / ln2, dtype))}")
        fit(
            "exp: p(r) of e^r = 1 + r + r^2 p(r) for |r| <= log(2)/32",
            lambda r: (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10) ** -15 else mpf(1) / 2 + r / 6,
            lambda r: r**2 + mpf(10) ** -9,
            degree, -bound / 16, bound / 16, dtype,
        )  # fmt: skip
        fit(
            "exp and elu: q(r) of e^r = 1 + r + r^2 q(r), relative to r",
            lambda r: (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10) ** -15 else mpf(1) / 2 + r / 6,
            lambda r: abs(r) + mpf(10) ** -6,
            degree + 1, -bound / 16, bound / 16, dtype,
        )  # fmt: skip
        for j in range(16):
            split(f"2^({j}/16)", mpf(2) ** (mpf(j) / 16), dtype)
        # Few bits, so that the sums of GeluTanh are exact.
        root = 2 * sqrt(2 / pi)
        split("2 sqrt(2/pi)", root, dtype, 21 if dtype == np.float32 else 48)
        split("2 sqrt(2/pi) 0.044715", root * mpf("0.044715"), dtype)
        print(f"1 / sqrt(2 pi): {hexadecimal(rounded(root / 4, dtype))}")

    def tanh_tail(square: mpf) -> mpf:
        t = sqrt(square)
        return (tanh(t) / t - 1) / square if square > mpf(10) ** -12 else -mpf(1) / 3 + square * 2 / 15

    # The wider sixteenths lie where the term of t counts less.
    fit(
        "tanh: P(s) of tanh(t) = t + t s P(s), s = t^2, for |t| < 1/8",
        tanh_tail,
        lambda square: (square + mpf(10) ** -7) / (1 + (square * 512) ** 3),
        4, mpf(0), mpf(1) / 64, np.float64,
    )  # fmt: skip
    print_nodes("tanh at the nodes", tanh, range(-5, 5))
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
    print_table("sigmoid: centre, c0, ..., c6", sigmoid_table())
    print_table("softplus: centre, c0, ..., c6", softplus_table())
    print_table("tanh: centre, c0, ..., c6", binades_table(tanh, np.tanh, lambda y: -y * y / 3, 9))
    print_table(
        "gelu: centre, c0, ..., c6",
        binades_table(lambda y: y * gelu_ratio(y), lambda y: y * erfcx(y / np.sqrt(2)), lambda y: -y * sqrt(2 / pi), np.inf),
    )
    fit_gelu()


if __name__ == "__main__":
    main()
