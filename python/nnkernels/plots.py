"""Plots of losses. matplotlib is imported on first use."""

from __future__ import annotations

from collections.abc import Sequence
from os import fsdecode
from os.path import splitext
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from nnkernels.files import Path

# Suffix of the file: format and metadata. Without a date the same losses give the same bytes.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {".png": ("png", {}), ".svg": ("svg", {"Date": None})}

# The axis is logarithmic if the losses span more than this factor.
_LOGARITHMIC = 10

# Up to this many epochs are marked as points.
_FEW_EPOCHS = 30


def plot_format(function: str, path: Path) -> str:
    """Return the suffix of a plot's name, .png or .svg.

    Raises ValueError for other suffixes, and ImportError if matplotlib is not installed.
    """
    name = fsdecode(path)
    suffix = splitext(name)[1].lower()  # noqa: PTH122 - importing pathlib costs milliseconds
    if suffix not in _FORMATS:
        raise ValueError(f"{function} expected a name that ends in .png or .svg, got {name!r}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(f"{function} needs matplotlib: pip install 'nnkernels[plot]'") from None
    return suffix


def draw_losses(file: BinaryIO, suffix: str, losses: Sequence[float], validation_losses: Sequence[float]) -> None:
    """Write a plot of losses over epochs. Without pyplot, no window opens and no figure leaks."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    marker = "." if len(losses) <= _FEW_EPOCHS else ""
    epochs = range(1, len(losses) + 1)
    axes.plot(epochs, losses, marker=marker, label="training")
    if validation_losses:
        axes.plot(epochs, validation_losses, marker=marker, label="validation")
        lowest = min(validation_losses)
        best = validation_losses.index(lowest) + 1
        axes.plot([best], [lowest], "o", color="black", fillstyle="none", label=f"best: {lowest:.4g} in epoch {best}")
    shown = [*losses, *validation_losses]
    if shown and min(shown) > 0 and max(shown) > _LOGARITHMIC * min(shown):
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    kind, metadata = _FORMATS[suffix]
    with rc_context({"svg.hashsalt": "nnkernels"}):
        figure.savefig(file, format=kind, metadata=metadata)
