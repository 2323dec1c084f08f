"""The tasks of ``train``, ``Classes`` and ``Quantities``: targets, held-back rows, scores."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from nnkernels import _core
from nnkernels.commands.names import shown
from nnkernels.commands.report import count
from nnkernels.commands.table import Table, Task
from nnkernels.layers import Scale

# Number of the permutation that chooses held-back rows. Epochs use the permutations from 0.
_HOLDING_BACK = 2**64 - 1

# A target with at most this many different integers has classes.
_MOST_CLASSES = 20

# Upper limits of classes and confusions in the report.
_MOST_COUNTS = 20
_MOST_CONFUSIONS = 5

# Targets beyond this many standard deviations need float64: float32 has a spacing of 0.001
# deviations there.
_MOST_DEVIATIONS = 2**14

# Targets beyond these limits need float64 too, because outputs are rounded to the network's dtype.
_LARGEST_FLOAT32 = 2.0**120
_LEAST_DEVIATION = 2.0**-100


class Standard(NamedTuple):
    """Mean and standard deviation, with the same bits on every machine.

    The deviation of equal numbers is set to 1.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, numbers: NDArray[np.float64]) -> Standard | None:
        """Compute both; None if one, its inverse or their ratio overflows or underflows."""
        if numbers.min() == numbers.max():
            return cls(float(numbers[0]), 1.0)
        try:
            mean = math.fsum(numbers.tolist()) / len(numbers)
        except OverflowError:
            return None
        with np.errstate(over="ignore"):
            differences = numbers - mean
        largest = float(np.abs(differences).max())
        ratios = differences / largest  # their squares neither overflow nor all underflow
        deviation = largest * math.sqrt(math.fsum((ratios * ratios).tolist()) / len(numbers))
        return cls(mean, deviation) if _is_normal(deviation) and math.isfinite(mean / deviation) else None


def _is_normal(number: float) -> bool:
    return 2.0**-1022 <= number < 2.0**1022


class Classes:
    """Classification. Each class has training rows and held-back rows.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, sorted as numbers or as text.
    targets : ndarray of int
        Class of each row.
    held_back : ndarray of bool
        Whether a row is held back.
    activation : str or None
        Activation of the last layer.
    dtype : dtype
        dtype of the network.
    """

    activation = "softmax"
    dtype: DTypeLike = np.float32

    def __init__(self, table: Table, fraction: float, seed: int) -> None:
        self._table = table
        self.classes, self.targets = _name_classes(table)
        self._counts = np.bincount(self.targets)
        if len(self.classes) < 2:
            raise table.error(0, f"expected at least two classes, got {reprlib.repr(self.classes[0])} in all rows")
        alone = np.flatnonzero(self._counts[self.targets] == 1)
        if len(alone):
            name = reprlib.repr(self.classes[self.targets[alone[0]]])
            message = f"expected at least two rows of each class (one is held back), got one of class {name}"
            if len(alone) > 1:
                message += f" and of {'1 other class' if len(alone) == 2 else f'{len(alone) - 1} other classes'}"
            if table.is_numeric:
                message += "; if the targets are quantities, use --task regression"
            raise table.error(int(alone[0]), message)
        left = [_share(rows, fraction) for rows in self._counts.tolist()]  # number to hold back
        self.held_back = np.zeros(len(self.targets), bool)
        order = _core.permutation(seed, _HOLDING_BACK, len(self.targets))
        for row, label in zip(order.tolist(), self.targets[order].tolist(), strict=True):
            if left[label]:
                self.held_back[row] = True
                left[label] -= 1

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return len(self.classes)

    @property
    def last_layers(self) -> list[Scale]:
        """Layers to append after training."""
        return []

    def describe(self) -> Iterator[str]:
        """Yield lines about the targets."""
        width = max(len(shown(name)) for name in self.classes[:_MOST_COUNTS])
        for name, rows in zip(self.classes[:_MOST_COUNTS], self._counts.tolist(), strict=False):
            yield f"  {shown(name):{width}}  {count(rows, 'row')}"
        if len(self.classes) > _MOST_COUNTS:
            yield f"  and {len(self.classes) - _MOST_COUNTS} more"

    def judge(self, outputs: NDArray[Any]) -> Iterator[str]:
        """Yield lines about the outputs for the held-back rows."""
        answers, labels = outputs.argmax(axis=-1), self.targets[self.held_back]
        right = int(np.count_nonzero(answers == labels))
        usual = int(np.bincount(self.targets[~self.held_back]).argmax())
        baseline = int(np.count_nonzero(labels == usual))
        trivial = f"always {shown(self.classes[usual])}"
        rate = f"{right / len(labels):.1%}; {trivial}: {baseline / len(labels):.1%}"
        yield f"{right:,} of {len(labels):,} held-back rows right, {rate}"
        if right <= baseline:
            yield f"this network is no better than predicting {trivial}"
        wrong = answers != labels
        pairs, counts = np.unique(np.stack([labels[wrong], answers[wrong]]), axis=1, return_counts=True)
        for place in np.argsort(-counts, kind="stable")[:_MOST_CONFUSIONS]:
            label, answer = pairs[:, place]
            rows = np.count_nonzero(labels == label)
            yield f"  {shown(self.classes[label])} taken for {shown(self.classes[answer])}: {counts[place]:,} of {rows:,}"


def _name_classes(table: Table) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the classes, and the class of each row. Equal numbers are one class: 1 and 1.0."""
    if not table.is_numeric:
        order = sorted(range(len(table.texts)), key=table.texts.__getitem__)
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return tuple(table.texts[place] for place in order), ranks[table.codes]
    different, ranks = np.unique(table.numbers, return_inverse=True)
    texts = dict(zip(ranks.tolist(), table.texts, strict=True))
    if len(different) < len(table.texts):
        texts = {rank: repr(number).removesuffix(".0") for rank, number in enumerate(different.tolist())}
    return tuple(texts[rank] for rank in range(len(different))), ranks[table.codes]


def _share(rows: int, fraction: float) -> int:
    """Return the number of rows to hold back: at least one, but not all."""
    return min(max(1, round(fraction * rows)), rows - 1)


class Quantities:
    """Regression. Targets are standardised for training.

    Attributes are as in ``Classes``. ``classes`` is empty, and ``targets`` has the shape (rows, 1).
    """

    activation = None
    classes = ()
    outputs = 1

    def __init__(self, table: Table, fraction: float, seed: int) -> None:
        self._numbers = table.numbers[table.codes]
        if self._numbers.min() == self._numbers.max():
            raise table.error(0, f"expected different numbers, got {self._numbers[0]} in all rows")
        rows = len(self._numbers)
        self.held_back = np.zeros(rows, bool)
        self.held_back[_core.permutation(seed, _HOLDING_BACK, rows)[: _share(rows, fraction)]] = True
        standard = Standard.of(self._numbers[~self.held_back])
        if standard is None:
            raise table.error(0, "the numbers are too far apart, or too close, to be standardised")
        self._mean, self._deviation = standard
        self.targets = ((self._numbers - self._mean) / self._deviation)[:, np.newaxis]
        largest = float(np.abs(self._numbers).max())
        fits = largest <= min(_MOST_DEVIATIONS * self._deviation, _LARGEST_FLOAT32) and self._deviation >= _LEAST_DEVIATION
        self.dtype: DTypeLike = np.float32 if fits else np.float64

    @property
    def last_layers(self) -> list[Scale]:
        """Layers to append after training: (z + mean / deviation) * deviation."""
        return [Scale([-self._mean / self._deviation], [self._deviation])]

    def describe(self) -> Iterator[str]:
        """Yield lines about the targets."""
        yield f"  from {self._numbers.min():.6g} to {self._numbers.max():.6g}"

    def judge(self, outputs: NDArray[Any]) -> Iterator[str]:
        """Yield lines about the outputs for the held-back rows."""
        numbers = self._numbers[self.held_back]
        standard = Standard.of(numbers)
        error, trivial = _error(outputs[:, 0] - numbers), _error(numbers - self._mean)
        spread = _error(numbers - standard.mean) if standard else 0.0
        quality = f"R^2 {1 - error / spread * (error / spread):.3f}, " if spread > 0 else ""
        yield f"held-back rows: {quality}typical error {error:.4g}; always the mean ({self._mean:.4g}): {trivial:.4g}"
        if not error < trivial:
            yield "this network is no better than predicting always the mean"


def _error(differences: NDArray[Any]) -> float:
    """Return the root mean square."""
    return math.hypot(*differences.tolist()) / math.sqrt(len(differences))


def decide_task(table: Table) -> tuple[Task, str]:
    """Return the task, and why: text or few different integers mean classes."""
    if not table.is_numeric:
        _refuse_stray_text(table)
        return "classes", "text"
    different = np.unique(table.numbers)
    if not (different == np.floor(different)).all():
        return "regression", "not all are integers"
    reason = f"{len(different)} different integers"
    if len(different) <= min(_MOST_CLASSES, max(2, len(table.inputs) // 2)):
        return "classes", f"{reason}; if they are quantities, use --task regression"
    return "regression", f"{reason}; if they are classes, use --task classes"


def _refuse_stray_text(table: Table) -> None:
    """Raise ValueError for text among quantities, each of which would become a class."""
    is_text = np.isnan(table.numbers)
    of_rows = is_text[table.codes]
    if np.count_nonzero(~is_text) > _MOST_CLASSES and np.count_nonzero(of_rows) < len(of_rows) / 2:
        row = int(of_rows.argmax())
        got = reprlib.repr(table.texts[table.codes[row]])
        raise table.error(row, f"expected a number, as in most rows, got {got}; if they are classes, use --task classes")
