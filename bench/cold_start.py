"""Measure the time from a new process to its first prediction: import, load a model, call it.

    python bench/cold_start.py [--samples N]

Starts Python for each sample, the libraries in turn, and prints the median CPU time until the first
prediction. CPU time hardly depends on other processes. Files are in the page cache. Libraries that
are not installed are left out.

The model is the digits network of ``python -m nnkernels``: in its own file, as ONNX, as a PyTorch
module, and as a pickled estimator of scikit-learn of the same sizes.
"""

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import files, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import nnkernels as nnk
from peers import machine

CPU_TIME = "import time; print(time.process_time())"

# Each runs in a folder that has the model files, with x in row.npy.
STARTS = {
    "Python alone": "",
    "NumPy": "import numpy; numpy.load('row.npy')",
    "nnkernels, imported only": "import nnkernels",
    "nnkernels": "import numpy, nnkernels; nnkernels.load('net.safetensors')(numpy.load('row.npy'))",
    "ONNX Runtime": (
        "import numpy, onnxruntime; session = onnxruntime.InferenceSession('net.onnx', providers=['CPUExecutionProvider']);"
        "session.run(None, {session.get_inputs()[0].name: numpy.load('row.npy')})"
    ),
    "scikit-learn": "import numpy, pickle; pickle.load(open('net.pickle', 'rb')).predict_proba(numpy.load('row.npy'))",
    "PyTorch": (
        "import numpy, torch; module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10));"
        "module.load_state_dict(torch.load('net.pt')); module(torch.from_numpy(numpy.load('row.npy')))"
    ),
}
MODULES = {
    "NumPy": "numpy",
    "nnkernels": "nnkernels",
    "ONNX Runtime": "onnxruntime",
    "scikit-learn": "sklearn",
    "PyTorch": "torch",
}
DISTRIBUTIONS = {**MODULES, "scikit-learn": "scikit-learn"}


def write_models(folder: Path, libraries: list[str]) -> None:
    """Write a row, and the model for each library."""
    source = Path(nnk.__file__).with_name("digits.safetensors")
    (folder / "net.safetensors").write_bytes(source.read_bytes())
    net = nnk.load(source)
    np.save(folder / "row.npy", np.zeros((1, net.inputs), np.float32))
    if "ONNX Runtime" in libraries:
        net.to_onnx(folder / "net.onnx")
    if "scikit-learn" in libraries:
        from sklearn.neural_network import MLPClassifier

        rows = np.zeros((net.outputs, net.inputs), np.float32)
        labels = np.arange(net.outputs)
        model = MLPClassifier(64).partial_fit(rows, labels, classes=labels)
        (folder / "net.pickle").write_bytes(pickle.dumps(model))
    if "PyTorch" in libraries:
        import torch

        names = ("0.weight", "0.bias", "2.weight", "2.bias")
        arrays = [array for layer in net.layers if isinstance(layer, nnk.Dense) for array in (layer.weights, layer.bias)]
        tensors = {name: torch.tensor(array) for name, array in zip(names, arrays, strict=True)}
        torch.save(tensors, folder / "net.pt")


def seconds(code: str, folder: Path) -> float:
    """Return the CPU time of a new Python process that runs this code."""
    run = subprocess.run([sys.executable, "-c", f"{code}\n{CPU_TIME}"], cwd=folder, capture_output=True, text=True, check=True)
    return float(run.stdout)


def size(distribution: str) -> int:
    """Return the bytes that a distribution has installed, without compiled Python."""
    paths = [Path(str(path.locate())) for path in files(distribution) or () if path.suffix != ".pyc"]
    return sum(path.stat().st_size for path in paths if path.exists())


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description="Time the first prediction of new processes.")
    parser.add_argument("--samples", type=int, default=15, help="processes for each library (%(default)s)")
    count = parser.parse_args().samples
    about = machine()
    libraries = [name for name in STARTS if name not in MODULES or find_spec(MODULES[name])]
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_models(folder, libraries)
        samples: dict[str, list[float]] = {library: [] for library in libraries}
        for _ in range(count):
            for library in libraries:
                samples[library].append(seconds(STARTS[library], folder))
    print(f"{about['cpu']}; {about['date']}; Python {about['python']}; CPU time, median of {count} processes\n")
    print("| | first prediction, ms | installed, MB |")
    print("|---|---|---|")
    for library in libraries:
        installed = DISTRIBUTIONS.get(library)
        label = f"{library} {version(installed)}" if installed else library
        megabytes = f"{size(installed) / 1e6:.1f}" if installed else ""
        print(f"| {label} | {statistics.median(samples[library]) * 1e3:.0f} | {megabytes} |")


if __name__ == "__main__":
    main()
