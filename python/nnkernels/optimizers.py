"""Optimizers: frozen descriptions of how a step changes parameters p, given their gradient g."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from nnkernels.arrays import as_bool, as_number
from nnkernels.frozen import Frozen

_Range: TypeAlias = tuple[str, Callable[[float], bool]]
_NOT_NEGATIVE: _Range = ("a finite number of at least 0", lambda value: 0 <= value < math.inf)
_BELOW_ONE: _Range = ("a number of at least 0 and below 1", lambda value: 0 <= value < 1)


class Optimizer(Frozen):
    """A frozen description of an optimizer."""

    __slots__ = ()

    # The names of the settings, in the order of __init__; the number in C++; a key of MOMENTS.
    _names: tuple[str, ...]
    _number: int
    _kind: str

    learning_rate: float

    def _settings(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._names)

    @property
    def kind(self) -> str:
        """A key of ``MOMENTS``."""
        return self._kind

    def numbers(self) -> tuple[float, ...]:
        """Return the arguments of C++: the number of the optimizer, then its five settings."""
        return (self._number, *self._settings())

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in zip(self._names, self._settings(), strict=True))
        return f"{type(self).__name__}({settings})"

    def __eq__(self, other: object) -> bool:
        return self._settings() == other._settings() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._settings()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._settings()


class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum v + g; p = p - learning_rate v.

    With ``nesterov``, p = p - learning_rate (g + momentum v). v starts at 0. The formulas are
    PyTorch's.

    Parameters
    ----------
    learning_rate : float, default 0.01
        Finite and at least 0.
    momentum : float, default 0.0
        Finite and at least 0.
    nesterov : bool, default False
        Whether to use Nesterov momentum. Requires a momentum above 0.
    weight_decay : float, default 0.0
        Finite and at least 0. weight_decay p is added to g for weights, but not for biases.

    Raises
    ------
    TypeError
        If an argument is not a number, or ``nesterov`` not a bool.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The attributes have the names of the parameters. Optimizers with equal settings are equal; they
    can be hashed and pickled.

    Sources: B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964;
    Y. Nesterov, "A method for solving the convex programming problem with convergence rate
    O(1/k^2)", 1983.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=0.0)
    """

    __slots__ = _names = ("learning_rate", "momentum", "nesterov", "weight_decay")
    _number = 0

    momentum: float
    nesterov: bool
    weight_decay: float

    def __init__(
        self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        self._set(
            learning_rate=as_number("SGD", "learning_rate", learning_rate, *_NOT_NEGATIVE),
            momentum=as_number("SGD", "momentum", momentum, *_NOT_NEGATIVE),
            nesterov=as_bool("SGD", "nesterov", nesterov),
            weight_decay=as_number("SGD", "weight_decay", weight_decay, *_NOT_NEGATIVE),
        )
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD expected a momentum above 0 for nesterov=True, got momentum=0.0")

    @property
    def kind(self) -> str:
        """A key of ``MOMENTS``."""
        return "sgd with momentum" if self.momentum else "sgd"

    def numbers(self) -> tuple[float, ...]:
        """Return the arguments of C++, with 0 as epsilon."""
        return (self._number, self.learning_rate, self.momentum, self.nesterov, 0.0, self.weight_decay)


class _AdamLike(Optimizer):
    """Settings of Adam and AdamW."""

    __slots__ = _names = ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay")

    beta_1: float
    beta_2: float
    epsilon: float
    weight_decay: float

    def _check(self, learning_rate: float, beta_1: float, beta_2: float, epsilon: float, weight_decay: float) -> None:
        function = type(self).__name__
        self._set(
            learning_rate=as_number(function, "learning_rate", learning_rate, *_NOT_NEGATIVE),
            beta_1=as_number(function, "beta_1", beta_1, *_BELOW_ONE),
            beta_2=as_number(function, "beta_2", beta_2, *_BELOW_ONE),
            epsilon=as_number(function, "epsilon", epsilon, *_NOT_NEGATIVE),
            weight_decay=as_number(function, "weight_decay", weight_decay, *_NOT_NEGATIVE),
        )


class Adam(_AdamLike):
    """Adam: steps of about the learning rate, independent of the gradient's scale.

    Step t = 1, 2, ... is::

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g^2
        p = p - learning_rate m' / (sqrt(v') + epsilon)

    where m' = m / (1 - beta_1^t) and v' = v / (1 - beta_2^t). m and v start at 0.

    Parameters
    ----------
    learning_rate : float, default 0.001
        Finite and at least 0.
    beta_1 : float, default 0.9
        At least 0 and below 1.
    beta_2 : float, default 0.999
        At least 0 and below 1.
    epsilon : float, default 1e-8
        Finite and at least 0.
    weight_decay : float, default 0.0
        Finite and at least 0. weight_decay p is added to g for weights, but not for biases.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If an argument is out of range.

    Notes
    -----
    The attributes have the names of the parameters. Optimizers with equal settings are equal; they
    can be hashed and pickled.

    Source: D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1;
    PyTorch's formula. Moments too small to affect p become 0, because subnormal numbers are slow
    (cpp/kernels/optimizers.h).

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.Adam(0.01)
    Adam(learning_rate=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-08, weight_decay=0.0)
    """

    __slots__ = ()
    _number = 1
    _kind = "adam"

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self._check(learning_rate, beta_1, beta_2, epsilon, weight_decay)


class AdamW(_AdamLike):
    """Adam with decoupled weight decay: p = p - learning_rate weight_decay p before each Adam step.

    The decay applies to weights, but not to biases, and does not enter the moments. Parameters and
    errors are as in ``Adam``; the default of ``weight_decay`` is 0.01.

    Notes
    -----
    Source: I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", 2019; PyTorch's
    formula.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.AdamW(0.01) == nnk.AdamW(0.01, weight_decay=0.01)
    True
    """

    __slots__ = ()
    _number = 2
    _kind = "adamw"

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self._check(learning_rate, beta_1, beta_2, epsilon, weight_decay)


# An optimizer, or its name, which means its default settings.
OptimizerLike: TypeAlias = Optimizer | str

_NAMES: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}

# The number of moments per parameter.
MOMENTS = {"sgd": 0, "sgd with momentum": 1, "adam": 2, "adamw": 2}


def as_optimizer(function: str, optimizer: object) -> Optimizer:
    """Return the optimizer for an argument: an optimizer or a name."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer in _NAMES:
        return _NAMES[optimizer]()
    message = f"{function} expected optimizer to be an SGD, Adam or AdamW, or one of {', '.join(_NAMES)}, got {optimizer!r}"
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        message += f"; create an instance: {optimizer.__name__}()"
    raise (ValueError if isinstance(optimizer, str) else TypeError)(message)
