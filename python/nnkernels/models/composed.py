"""Activations composed of several ONNX operators: ``to_onnx`` writes, ``from_onnx`` recognises."""

from __future__ import annotations

from math import inf, isclose, pi, sqrt
from typing import Any, NamedTuple, TypeAlias

# The input, a number, or an operator and its inputs.
Formula: TypeAlias = str | float | tuple[Any, ...]

X = "x"

# Placeholder of an activation's option in a formula: a number that does not occur otherwise.
OPTION = 0.7310585786300049

_ERF = ("Add", ("Erf", ("Div", X, sqrt(2.0))), 1.0)
_CUBIC = ("Add", X, ("Mul", 0.044715, ("Mul", X, ("Mul", X, X))))
_TANH = ("Add", ("Tanh", ("Mul", sqrt(2.0 / pi), _CUBIC)), 1.0)

# Formulas by name. The first formula of a name is the one to write. "complement" is not an
# activation, but gives both classes of a sigmoid.
FORMULAS: tuple[tuple[str, Formula], ...] = (
    ("silu", ("Mul", X, ("Sigmoid", X))),
    ("leaky_relu", ("Where", ("Less", X, 0.0), ("Mul", X, OPTION), X)),
    ("elu", ("Where", ("Less", X, 0.0), ("Mul", ("Sub", ("Exp", X), 1.0), OPTION), X)),
    ("softplus", ("Add", ("Relu", X), ("Log", ("Add", ("Exp", ("Neg", ("Abs", X))), 1.0)))),
    ("softplus", ("Where", ("Greater", X, 20.0), X, ("Softplus", X))),
    ("gelu", ("Mul", 0.5, ("Mul", X, _ERF))),
    ("gelu_tanh", ("Mul", 0.5, ("Mul", X, _TANH))),
    ("complement", ("Concat", ("Sub", 1.0, X), X)),
)

# Operators that an expression keeps as functions, and operators that it turns into sums and
# products.
_FUNCTIONS = frozenset(
    ("Abs", "Concat", "Erf", "Exp", "Greater", "Less", "Log", "Relu", "Sigmoid", "Softplus", "Tanh", "Where")
)  # fmt: skip
_ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div", "Neg", "Pow", "Cast", "Identity"))
OPERATORS = _FUNCTIONS | _ARITHMETIC

# Upper limit of the length of a sort key. The formulas above have up to 60 characters.
_MOST_TEXT = 500


class Expression(NamedTuple):
    """A formula in normal form, independent of the order of factors and terms.

    Its value is coefficient * body. ``body`` is "x", "1", or one of these tuples: an operator and
    its inputs; "product" and the bodies of its factors; "sum" and its terms, the first with
    coefficient 1.
    """

    coefficient: float
    body: Any


INPUT = Expression(1.0, X)
_ONE = "1"
_MINUS = Expression(-1.0, _ONE)


def number(value: float) -> Expression:
    """Return the expression of a number."""
    return Expression(float(value), _ONE)


def expression(operator: str, *inputs: Expression) -> Expression | None:
    """Return the expression of an operator's output; None if it is unsupported or too long."""
    result = _expression(operator, *inputs)
    return result if result and len(_order(result.body)) <= _MOST_TEXT else None


def _expression(operator: str, *inputs: Expression) -> Expression | None:
    match operator, inputs:
        case ("Add", (a, b)):
            return _sum(a, b)
        case ("Sub", (a, b)):
            return _sum(a, _product(_MINUS, b))
        case ("Mul", (a, b)):
            return _product(a, b)
        case ("Div", (a, Expression(divisor, "1"))) if divisor:
            return Expression(a.coefficient / divisor, a.body)
        case ("Neg", (a,)):
            return _product(_MINUS, a)
        case ("Pow", (a, Expression((2.0 | 3.0) as exponent, "1"))):
            return _product(*[a] * int(exponent))
        case (("Cast" | "Identity"), (a, *_)):
            return a
        case _ if operator in _FUNCTIONS:
            return Expression(1.0, (operator, *inputs))
    return None


def recognise(found: Expression | None, tolerance: float) -> tuple[str, float] | None:
    """Return the name and option, or 0, of the formula that equals an expression, or None.

    ``tolerance`` is the relative tolerance of numbers.

    >>> x = INPUT
    >>> recognise(expression("Mul", expression("Sigmoid", x), x), 1e-6)
    ('silu', 0.0)
    """
    for name, known in _EXPRESSIONS:
        options: list[float] = []
        if found and _same(found, known, tolerance, options):
            return name, options[0] if options else 0.0
    return None


def _product(*inputs: Expression) -> Expression:
    """Return a product, with nested products flattened."""
    coefficient = 1.0
    factors: list[Any] = []
    for part in inputs:
        coefficient *= part.coefficient
        factors += part.body[1:] if part.body[0] == "product" else [part.body] if part.body != _ONE else []
    return Expression(coefficient, ("product", *sorted(factors, key=_order)) if len(factors) > 1 else (factors or [_ONE])[0])


def _sum(*inputs: Expression) -> Expression | None:
    """Return a sum, with nested sums flattened."""
    terms: list[Expression] = []
    for part in inputs:
        inner = part.body[1:] if part.body[0] == "sum" else (Expression(1.0, part.body),)
        terms += [Expression(part.coefficient * term.coefficient, term.body) for term in inner]
    terms.sort(key=lambda term: _order(term.body))
    first = terms[0].coefficient
    if not 0.0 < abs(first) < inf:
        return None
    return Expression(first, ("sum", *(Expression(term.coefficient / first, term.body) for term in terms)))


def _order(body: Any) -> str:
    """Return a sort key of a body, independent of its numbers. A plain number comes last."""
    if isinstance(body, str):
        return "~" if body == _ONE else body
    return f"{body[0]}({','.join(_order(part.body if isinstance(part, Expression) else part) for part in body[1:])})"


def _same(found: Any, known: Any, tolerance: float, options: list[float]) -> bool:
    """Return whether two expressions or bodies are equal. Append the number at OPTION."""
    if isinstance(known, float):
        if known == OPTION:
            options.append(found)
            return True
        return isclose(found, known, rel_tol=tolerance, abs_tol=0.0)
    if not isinstance(known, tuple) or not isinstance(found, tuple):
        return bool(found == known)
    return len(found) == len(known) and all(_same(*pair, tolerance, options) for pair in zip(found, known, strict=True))


def _parsed(formula: Formula) -> Expression:
    """Convert a formula to an expression."""
    if isinstance(formula, tuple):
        parsed = expression(formula[0], *map(_parsed, formula[1:]))
        assert parsed is not None
        return parsed
    return INPUT if isinstance(formula, str) else number(formula)


_EXPRESSIONS = tuple((name, _parsed(formula)) for name, formula in FORMULAS)
