"""Training.plot: files, their bytes, and the drawing."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

import nnkernels as nnk


def make_training(epochs: int = 40, validation: bool = True) -> nnk.Training:
    x = np.linspace(-1, 1, 60)[:, np.newaxis]
    held_back = (x[1::3], np.sin(4 * x[1::3])) if validation else None
    net = nnk.Network.random([1, 16, 1], "tanh", seed=0)
    return nnk.train(net, x, np.sin(4 * x), optimizer=nnk.Adam(0.02), epochs=epochs, validation=held_back)


def axes_of(training: nnk.Training, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the axes of a plot."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure: matplotlib.figure.Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    training.plot(path)
    (figure,) = figures
    (axes,) = figure.axes
    return axes


def test_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = make_training()
    axes = axes_of(training, tmp_path / "losses.png", monkeypatch)
    losses, validation, best = axes.lines
    for line, expected in ((losses, training.losses), (validation, training.validation_losses)):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 41))
        np.testing.assert_array_equal(line.get_ydata(), expected)
    lowest = min(training.validation_losses)
    epoch = training.validation_losses.index(lowest) + 1
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([epoch], [lowest])
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["training", "validation", f"best: {lowest:.4g} in epoch {epoch}"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")


def test_training_losses_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = axes_of(make_training(validation=False), tmp_path / "losses.svg", monkeypatch)
    assert [line.get_label() for line in axes.lines] == ["training"]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [((2.0, 0.1), "log"), ((2.0, 0.3), "linear"), ((2.0, 0.0), "linear"), ((2.0, -1.0), "linear"), ((1.0,), "linear")],
)
def test_scale_of_the_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: Any, scale: str) -> None:
    """Losses that are 0 or negative (possible for poisson) have no logarithm."""
    training = make_training(len(losses), validation=False)
    object.__setattr__(training, "_losses", losses)
    assert axes_of(training, tmp_path / "losses.svg", monkeypatch).get_yscale() == scale


def test_no_epochs(tmp_path: Path) -> None:
    make_training(0).plot(tmp_path / "losses.png")


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_paths(tmp_path: Path, kind: Any) -> None:
    make_training(2).plot(kind(tmp_path / "losses.PNG"))
    assert (tmp_path / "losses.PNG").read_bytes().startswith(b"\x89PNG")


def test_the_same_bytes(tmp_path: Path) -> None:
    """Plots have no date."""
    training = make_training()
    for suffix in ("png", "svg"):
        for name in ("first", "second"):
            training.plot(tmp_path / f"{name}.{suffix}")
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second
        assert not re.search(rb"<dc:date>|tIME", first)


@pytest.mark.parametrize("name", ["losses", "losses.pdf", "losses.png.txt", ".png"])
def test_other_suffixes(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"^Training\.plot expected a name that ends in \.png or \.svg, got "):
        make_training(1).plot(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it fails
    with pytest.raises(ImportError, match=r"^Training\.plot needs matplotlib: pip install 'nnkernels\[plot\]'$"):
        make_training(1).plot(tmp_path / "losses.png")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_training(1).plot(tmp_path / "missing" / "losses.png")


def test_no_state_of_pyplot(tmp_path: Path) -> None:
    """No figure remains, no setting changes, and pyplot is not imported."""
    code = (
        "import sys, nnkernels as nnk, matplotlib\n"
        "nnk.train(nnk.Network.random([1, 1], seed=0), [[1.0]], [[1.0]]).plot('losses.svg')\n"
        "assert matplotlib.rcParams['svg.hashsalt'] is None\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
