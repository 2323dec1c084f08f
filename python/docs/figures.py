"""Draw the documentation's pictures, for light and dark pages.

    python python/docs/figures.py FOLDER

conf.py calls ``draw_all`` before each build. The pictures are the same on every machine, as the
networks are.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import nnkernels as nnk

ACCURACY = Path(__file__).parents[2] / "bench" / "accuracy.csv"


class Mode(NamedTuple):
    """Colours of a page."""

    name: str
    ink: str
    paper: str
    faint: str
    accent: str
    series: tuple[str, ...]


LIGHT = Mode("light", "#202020", "#ffffff", "#d0d0d0", "#c1121f", ("#3a6ea5", "#7a5195", "#e08214", "#606060", "#8c6d31"))
DARK = Mode("dark", "#d8d8d8", "#131416", "#404040", "#ff6b6b", ("#7fb2e5", "#c49ae0", "#f5a94e", "#a8a8a8", "#cdb06d"))

# Inches; wide enough for a computer, and still legible on a telephone.
WIDTH = 5.2


def settings(mode: Mode) -> Any:
    """Return matplotlib's settings for a page."""
    return {
        "axes.edgecolor": mode.ink,
        "axes.facecolor": "none",
        "axes.labelcolor": mode.ink,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 10,
        "figure.facecolor": "none",
        "font.size": 10,
        "grid.color": mode.faint,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "svg.hashsalt": "nnkernels",
        "text.color": mode.ink,
        "xtick.color": mode.ink,
        "ytick.color": mode.ink,
    }


class Digits(NamedTuple):
    """The tutorial's training on digits, and the pictures that it holds back."""

    training: nnk.Training
    x: Any
    labels: Any


def learn_digits() -> Digits:
    """Train as the tutorial does."""
    pixels, labels = load_digits(return_X_y=True)
    x = pixels.astype(np.float32) / 16
    held = np.arange(len(x)) % 3 == 0
    net = nnk.Network.random([64, 64, 10], "relu", "softmax", seed=0)
    held_back = x[held], labels[held]
    training = nnk.train(net, x[~held], labels[~held], optimizer=nnk.Adam(0.005), epochs=30, validation=held_back)
    return Digits(training, *held_back)


def new_figure(height: float) -> Figure:
    """Return an empty figure of the common width."""
    return Figure((WIDTH, height), layout="constrained")


def losses(mode: Mode, learnt: Digits) -> Figure:
    """Loss over epochs, of training and held-back digits."""
    figure = new_figure(3)
    axes = figure.add_subplot()
    curves = {"training": learnt.training.losses, "held back": learnt.training.validation_losses}
    for (name, values), colour in zip(curves.items(), (mode.series[0], mode.accent), strict=True):
        axes.plot(range(1, len(values) + 1), values, color=colour)
        axes.annotate(name, (len(values), values[-1]), (6, 0), textcoords="offset points", va="center", color=colour)
    axes.set(yscale="log", xlabel="epoch", ylabel="mean loss", xlim=(1, 36), xticks=(1, 10, 20, 30))
    axes.grid(axis="y")
    return figure


def show_picture(axes: Any, picture: Any, mode: Mode, **options: Any) -> None:
    """Draw 8 x 8 numbers as an image without axes."""
    axes.imshow(picture.reshape(8, 8), interpolation="nearest", **options)
    axes.set(xticks=(), yticks=())
    for spine in axes.spines.values():
        spine.set(visible=True, color=mode.faint)


def digits(mode: Mode, learnt: Digits) -> Figure:
    """Eight digits read right and two read wrong."""
    read = learnt.training.network(learnt.x).argmax(axis=-1)
    right, wrong = np.flatnonzero(read == learnt.labels), np.flatnonzero(read != learnt.labels)
    figure = new_figure(2.6)
    for axes, row in zip(figure.subplots(2, 5).flat, [*right[:8], *wrong[:2]], strict=True):
        show_picture(axes, learnt.x[row], mode, cmap="gray_r" if mode is LIGHT else "gray", vmin=0, vmax=1)
        wrongly = read[row] != learnt.labels[row]
        text = f"read {read[row]}, is {learnt.labels[row]}" if wrongly else f"read {read[row]}"
        axes.set_xlabel(text, color=mode.accent if wrongly else mode.ink)
    return figure


def weights(mode: Mode, learnt: Digits) -> Figure:
    """The weights of the first layer's first 32 neurons as images."""
    first = learnt.training.network.layers[0]
    assert isinstance(first, nnk.Dense)
    rows = first.weights[:32]
    limit = np.abs(rows).max()
    colours = "RdBu_r" if mode is LIGHT else "berlin_r"
    figure = new_figure(2.75)
    for axes, row in zip(figure.subplots(4, 8).flat, rows, strict=True):
        show_picture(axes, row, mode, cmap=colours, vmin=-limit, vmax=limit)
    return figure


def order(mode: Mode, learnt: Digits) -> Figure:
    """How the products of a dense layer are summed."""
    chains, steps = 4, 4
    colours = (mode.series[0], mode.series[2], mode.accent, mode.series[1])
    figure = new_figure(2.9)
    axes = figure.add_subplot()
    axes.set(xlim=(-0.7, 15.7), ylim=(-4.1, 1.1), xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    for k in range(chains * steps):
        chain = k % chains
        axes.text(k, 0.6, f"{k}", ha="center", va="center", color=mode.paper, fontsize=9, weight="bold",
                  bbox={"boxstyle": "square,pad=0.25", "facecolor": colours[chain], "edgecolor": "none"})  # fmt: skip
        axes.plot((k, 1.5 + 4 * chain), (0.2, -0.75), color=colours[chain], linewidth=0.8)
    for chain, colour in enumerate(colours):
        axes.text(1.5 + 4 * chain, -1.1, f"p{chain}", ha="center", va="center", color=colour, weight="bold", fontsize=12)
    for left, (start, end) in (("p0 + p1", (1.5, 5.5)), ("p2 + p3", (9.5, 13.5))):
        middle = (start + end) / 2
        for x in (start, end):
            axes.plot((x, middle), (-1.5, -2.1), color=mode.ink, linewidth=0.8)
        axes.plot((middle, 7.5), (-2.8, -3.4), color=mode.ink, linewidth=0.8)
        axes.text(middle, -2.45, left, ha="center", va="center")
    axes.text(7.5, -3.75, "sum of the block", ha="center", va="center", weight="bold")
    return figure


def accuracy(dtype: str) -> Callable[[Mode, Digits], Figure]:
    """Return a picture of the largest errors in a dtype over x."""
    with ACCURACY.open(encoding="utf-8") as file:
        next(file)  # says how it was made
        rows = [row for row in csv.DictReader(file) if row["dtype"] == dtype]
    libraries = list(rows[0])[3:]

    def draw(mode: Mode, learnt: Digits) -> Figure:
        figure = new_figure(5.6)
        panels = figure.subplots(3, 1, sharex=True)
        colours = dict(zip(libraries, (mode.accent, *mode.series), strict=True))
        for axes, name in zip(panels, ("exp", "sigmoid", "tanh"), strict=True):
            chosen = [row for row in rows if row["function"] == name]
            for library in reversed(libraries):
                points = [(float(row["x"]), float(row[library])) for row in chosen if row[library]]
                if points:
                    width = 2 if library == libraries[0] else 1
                    axes.plot(*zip(*points, strict=True), color=colours[library], linewidth=width, label=library)
            axes.axhline(0.5, color=mode.ink, linewidth=0.8, linestyle=":")
            axes.set(title=f"{name}, {dtype}", ylim=(0, 3.2), ylabel="ULP", xscale="symlog")
            axes.grid(axis="y")
        axes.set(xlabel="x", xlim=(-100, 100), xticks=(-100, -10, -1, 0, 1, 10, 100))
        axes.set_xticklabels(("-100", "-10", "-1", "0", "1", "10", "100"))
        lines, names = panels[1].get_legend_handles_labels()
        figure.legend(lines[::-1], names[::-1], loc="outside lower center", ncols=3, fontsize=9)
        return figure

    return draw


def draw_all(folder: Path) -> None:
    """Draw each picture for both kinds of pages, as SVG."""
    folder.mkdir(exist_ok=True)
    learnt = learn_digits()
    pictures = {
        "losses": losses,
        "digits": digits,
        "weights": weights,
        "order": order,
        "accuracy-float32": accuracy("float32"),
        "accuracy-float64": accuracy("float64"),
    }
    for name, draw in pictures.items():
        for mode in (LIGHT, DARK):
            with rc_context(settings(mode)):
                draw(mode, learnt).savefig(folder / f"{name}-{mode.name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
