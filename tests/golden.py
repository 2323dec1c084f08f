"""Print the SHA-256 of results on a fixed corpus. All NaNs count as equal.

tests/golden.txt has the expected hashes. A changed hash means that a result changes for all users.
If that is intended, update the file in the same commit, and state in python/docs/changes.md what
changed and why:

    NNKERNELS_TARGET=generic python tests/golden.py > tests/golden.txt

test_reproducible.py compares each target with the file. golden.cpp computes the same results in
C++, under the same names.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nnkernels as nnk
from corpus import Array, anything, numbers
from nnkernels import _core
from nnkernels.activations import number_of

FILE = Path(__file__).with_name("golden.txt")
HEADER = "# SHA-256 of results, by name. tests/golden.py says what they are and how to renew them.\n"
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# Element-wise functions by their names in common.h, with their texts for Dense. Options are not the
# defaults.
ELEMENTWISE: dict[str, tuple[Callable[..., Any], str]] = {
    "relu": (nnk.relu, "relu"),
    "sigmoid": (nnk.sigmoid, "sigmoid"),
    "tanh": (nnk.tanh, "tanh"),
    "exp": (nnk.exp, "exp"),
    "leaky_relu": (partial(nnk.leaky_relu, negative_slope=0.3), "leaky_relu(negative_slope=0.3)"),
    "elu": (partial(nnk.elu, alpha=0.7), "elu(alpha=0.7)"),
    "silu": (nnk.silu, "silu"),
    "gelu": (nnk.gelu, "gelu"),
    "gelu_tanh": (partial(nnk.gelu, approximate="tanh"), "gelu_tanh"),
    "softplus": (nnk.softplus, "softplus"),
}
TEXTS = {name: text for name, (_, text) in ELEMENTWISE.items()}
ACTIVATIONS = {"none": None, **TEXTS, "softmax": "softmax", "log_softmax": "log_softmax"}

Loss = Callable[..., Any]


def golden_results() -> Iterator[tuple[str, Array]]:
    """Yield the name and result of each computation."""
    for dtype in INTEGERS:
        yield f"{dtype} relu", nnk.relu(anything(dtype, 1000))
    for dtype in FLOATS:
        for corpus in (numbers, anything):
            kind = f"{dtype} {corpus.__name__}"
            for name, (function, text) in ELEMENTWISE.items():
                yield f"{kind} {name}", function(corpus(dtype, 10_007))
                if dtype != "float16":
                    yield f"{kind} {name} gradient", gradient_of(text, corpus(dtype, 10_007), corpus(dtype, 10_007, seed=2))
            for n in (1, 10, 64, 100, 1000, 3001):
                z = corpus(dtype, 5, n)
                for function in (nnk.softmax, nnk.log_softmax, nnk.logsumexp):
                    yield f"{kind} {function.__name__} {n}", function(z)
                yield f"{kind} dot {n}", nnk.dot(z, corpus(dtype, n, seed=2))
        # The shifted logits are exact, so all shifts have equal hashes.
        for n, shift in product((3, 33, 700, 3001), (0, 4) if dtype == "float16" else (0, 4, 256)):
            z = numbers(np.float16, 5, n).astype(dtype) + np.array(shift, dtype)
            for function in (nnk.softmax, nnk.log_softmax):
                yield f"{dtype} z + {shift} {function.__name__} {n}", function(z)
        for rows, outputs, inputs in ((1, 17, 1500), (13, 40, 129), (7, 9, 4)):
            x = numbers(dtype, rows, inputs)
            for activation_name, activation in ACTIVATIONS.items():
                name = f"{dtype} dense {rows} {outputs} {inputs} {activation_name}"
                yield name, nnk.dense(x, *weights_and_bias(dtype, outputs, inputs, 0), activation=activation)
        for widths in ((4, 5, 3), (64, 64, 64, 64, 10), (140, 130, 10)):
            layers = [
                nnk.Dense(*weights_and_bias(dtype, outputs, inputs, index), ("relu", "sigmoid", "tanh", "softmax")[index])
                for index, (inputs, outputs) in enumerate(pairwise(widths))
            ]
            yield f"{dtype} network {' '.join(map(str, widths))}", nnk.Network(layers)(numbers(dtype, 37, widths[0]))
            scaled = with_scales(layers, range(len(layers) + 1))
            for dtype_of_x in dict.fromkeys((dtype, "float64")):
                name = f"{dtype} network with scales {' '.join(map(str, widths))}, x of {dtype_of_x}"
                yield name, nnk.Network(scaled)(numbers(dtype_of_x, 37, widths[0]))
        for corpus, n, dtype_of_x in product((numbers, anything), (1, 20, 700), dict.fromkeys((dtype, "float64"))):
            name = f"{dtype} {corpus.__name__} scale {n}, x of {dtype_of_x}"
            yield name, nnk.Network([scale_of(n, 0)], dtype)(corpus(dtype_of_x, 37, n))
    yield from learning_results()


def gradient_of(activation: str, x: Array, upstream: Array) -> Array:
    """Return the gradient with respect to x, by a layer with the single weight 1."""
    trainer = _core.Trainer((1, 1), [number_of(activation)], x.dtype.num, 0, 0.0, len(x), 0)
    trainer.parameters[:] = 1, 0
    gradient = np.empty((len(x), 1), x.dtype)
    trainer.backward(x[:, np.newaxis], upstream[:, np.newaxis], gradient)
    return gradient


def weights_and_bias(dtype: str, outputs: int, inputs: int, layer: int) -> tuple[Array, Array]:
    """Return a layer's weights, in [-1/4, 1/4), and bias."""
    return numbers(dtype, outputs, inputs, seed=2 + 2 * layer) / 16, numbers(dtype, outputs, seed=3 + 2 * layer)


def scale_of(n: int, place: int) -> nnk.Scale:
    """Return offsets in [-4, 4) and scales in [1/2, 3/2)."""
    return nnk.Scale(numbers("float64", n, seed=20 + 2 * place), numbers("float64", n, seed=21 + 2 * place) / 8 + 1)


def with_scales(layers: Sequence[nnk.Dense], places: Iterable[int]) -> list[nnk.Dense | nnk.Scale]:
    """Return layers with a Scale before those at ``places``; place len(layers) is the end."""
    result: list[nnk.Dense | nnk.Scale] = list(layers)
    for place in sorted(places, reverse=True):
        result.insert(place, scale_of(layers[place].inputs if place < len(layers) else layers[-1].outputs, place))
    return result


# --- Learning ---

# Losses by name, as functions of outputs and targets, and the kind of their targets (see
# `targets`).
LOSSES: dict[str, tuple[Loss, str]] = {
    "cross_entropy": (nnk.cross_entropy, "labels"),
    "cross_entropy smoothed": (partial(nnk.cross_entropy, label_smoothing=0.1), "labels"),
    "cross_entropy of probabilities": (nnk.cross_entropy, "fractions"),
    "binary_cross_entropy": (nnk.binary_cross_entropy, "fractions"),
    "binary_cross_entropy weighted": (partial(nnk.binary_cross_entropy, pos_weight=3.0), "bits"),
    "squared_error": (nnk.squared_error, "numbers"),
    "absolute_error": (nnk.absolute_error, "numbers"),
    "huber": (partial(nnk.huber, delta=0.75), "numbers"),
    "poisson": (nnk.poisson, "counts"),
}
ROWS = 300  # more than a block of 256; not a multiple of the batch sizes


def targets(dtype: str, kind: str, outputs: int) -> Array:
    """Return the targets: labels 0, 7, 14, ... modulo the number of outputs, or exact numbers."""
    values = numbers(dtype, ROWS, outputs, seed=2)
    if kind == "labels":
        return np.arange(ROWS) * 7 % outputs
    if kind == "bits":
        return (values > 0).astype(dtype)
    return {"numbers": values, "counts": values + 4, "fractions": (values + 4) / 8}[kind]


class Fit(NamedTuple):
    """A new network (seed 5) and the settings of its training."""

    loss: str | None = "cross_entropy"  # key of LOSSES; None: the network's own loss, with labels
    sizes: tuple[int, ...] = (6, 8, 5)
    hidden: str = "relu"
    last: str | None = "softmax"
    initializer: str = "glorot"
    optimizer: Any = nnk.Adam(0.01)
    epochs: int = 3
    batch_size: int = 32
    shuffle: bool = True
    weighted: bool = False  # row i has the weight (i mod 5) / 4
    scales: tuple[int, ...] = ()  # see with_scales

    def arguments(self, dtype: str) -> dict[str, Any]:
        """Return the arguments of nnk.train."""
        loss, kind = LOSSES[self.loss or "cross_entropy"]
        net = nnk.Network.random(
            self.sizes, self.hidden, self.last, seed=5, initializer=self.initializer, dtype=np.dtype(dtype)
        )
        return {
            "net": nnk.Network(with_scales(net.layers, self.scales), dtype),  # type: ignore[arg-type]
            "x": numbers(dtype, ROWS, self.sizes[0]),
            "targets": targets(dtype, kind, self.sizes[-1]),
            "loss": self.loss and loss,
            "optimizer": self.optimizer,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": 2**63 + 5,
            "sample_weight": np.arange(ROWS) % 5 / 4 if self.weighted else None,
        }


FITS = {
    "batch 32": Fit(),
    "batch 1": Fit(batch_size=1, epochs=1),
    "batch 7": Fit(batch_size=7),
    "batch 256": Fit(batch_size=256),
    "batch 300": Fit(batch_size=300),
    "batch 1000": Fit(batch_size=1000),
    "in order": Fit(shuffle=False),
    "sgd": Fit(optimizer=nnk.SGD(0.05)),
    "momentum": Fit(optimizer=nnk.SGD(0.02, momentum=0.9)),
    "nesterov": Fit(optimizer=nnk.SGD(0.02, momentum=0.9, nesterov=True)),
    "sgd weight decay": Fit(optimizer=nnk.SGD(0.05, weight_decay=0.1)),
    "momentum weight decay": Fit(optimizer=nnk.SGD(0.02, momentum=0.9, weight_decay=0.1)),
    "adam settings": Fit(optimizer=nnk.Adam(0.02, beta_1=0.8, beta_2=0.95, epsilon=1e-4)),
    "adam weight decay": Fit(optimizer=nnk.Adam(0.01, weight_decay=0.1)),
    "adamw": Fit(optimizer=nnk.AdamW(0.01, weight_decay=0.1)),
    "sample weights": Fit(weighted=True),
    "own loss": Fit(loss=None, initializer="he"),
    "label smoothing": Fit(loss="cross_entropy smoothed"),
    "probabilities": Fit(loss="cross_entropy of probabilities", batch_size=256),
    "logits without activation": Fit(last=None),
    "binary": Fit(loss="binary_cross_entropy", sizes=(6, 8, 1), last="sigmoid"),
    "multi-label": Fit(loss="binary_cross_entropy weighted", last="sigmoid", weighted=True),
    "squared_error": Fit(loss="squared_error", sizes=(6, 8, 8, 1), hidden="tanh", last=None, initializer="torch"),
    "squared_error after softmax": Fit(loss="squared_error", batch_size=7),
    "squared_error after relu": Fit(loss="squared_error", last="relu"),
    "absolute_error after tanh": Fit(loss="absolute_error", last="tanh", optimizer=nnk.SGD(0.01)),
    "huber after sigmoid": Fit(loss="huber", last="sigmoid", weighted=True),
    "poisson": Fit(loss="poisson", sizes=(6, 5), last=None),
    "one layer": Fit(sizes=(6, 5)),
    "four layers": Fit(sizes=(6, 7, 9, 17, 5), hidden="sigmoid"),
    "softmax within": Fit(sizes=(6, 7, 9, 5), hidden="softmax"),
    "wide": Fit(sizes=(6, 290, 270, 5), batch_size=300, epochs=1),  # sums over more than 256 outputs
    "scaled inputs": Fit(scales=(0,)),
    "scaled within": Fit(scales=(1,), weighted=True),
    "scaled outputs": Fit(loss="huber", last=None, scales=(2,)),
    "scaled everywhere": Fit(loss="squared_error", last="tanh", scales=(0, 1, 2)),
    **{f"{name} twice": Fit(loss="squared_error", hidden=text, last=text) for name, text in TEXTS.items() if name != "exp"},
    "exp": Fit(loss="squared_error", sizes=(6, 5), last="exp"),
    "exp within": Fit(loss="huber", hidden="exp", last=None),
    "poisson of exp": Fit(loss="poisson", last="exp"),
    "cross_entropy of log_softmax": Fit(last="log_softmax"),
    "squared_error after log_softmax": Fit(loss="squared_error", hidden="silu", last="log_softmax"),
    "log_softmax within": Fit(sizes=(6, 7, 9, 5), hidden="log_softmax"),
}


def parameters_and_losses(training: nnk.Training) -> Array:
    """Return weights and biases of each Dense, then the epochs' losses, all exact in float64."""
    dense = [layer for layer in training.network.layers if isinstance(layer, nnk.Dense)]
    layers = [array.ravel() for layer in dense for array in (layer.weights, layer.bias)]
    return np.concatenate([*layers, training.losses]).astype(np.float64)


def batches(dtype: str) -> Array:
    """Return parameters and sums of three epochs in scikit-learn's conventions.

    Adam adds epsilon before the bias correction.
    """
    given = Fit(weighted=True).arguments(dtype)
    trainer = _core.Trainer((6, 8, 5), [(1, 0.0), (0, 0.0)], np.dtype(dtype).num, 0, 0.0, 32, 2)
    layers = [np.append(layer.weights, layer.bias) for layer in given["net"].layers]
    trainer.parameters[:] = np.concatenate(layers)
    sums = []
    for epoch in range(3):
        order = _core.permutation(2**63 + 5, epoch, ROWS)
        sums += trainer.run_batches(
            given["x"], given["targets"], given["sample_weight"], (3.0, 0.01, 0.9, 0.999, 1e-8, 0.1), order, 0.5
        )
    return np.concatenate([trainer.parameters, sums]).astype(np.float64)


def learning_results() -> Iterator[tuple[str, Array]]:
    for n in (1, 2, 10, 1000):
        yield f"permutation {n}", _core.permutation(2**63 + 5, 3, n)
    yield "random_weights", _core.random_weights(5, 1, 1000, 2, 1, 1)
    for dtype in ("float32", "float64"):
        for initializer in ("glorot", "he", "torch"):
            net = nnk.Network.random((6, 8, 5), seed=5, initializer=initializer, dtype=np.dtype(dtype))
            yield (
                f"{dtype} initial {initializer}",
                np.concatenate([np.append(layer.weights, layer.bias) for layer in net.layers]),
            )
        for (name, (loss, kind)), n in product(LOSSES.items(), (3, 40, 1100)):
            wanted = targets(dtype, kind, n)
            for corpus, reduction in ((numbers, "mean"), (numbers, "none"), (anything, "none")):
                # The value or values, followed by the gradient.
                result = loss(corpus(dtype, ROWS, n), wanted, reduction=reduction, gradient=True)
                yield f"{dtype} {corpus.__name__} {name} {reduction} {n}", np.concatenate([np.ravel(part) for part in result])
    for (name, fit), dtype in product(FITS.items(), ("float32", "float64")):
        yield f"{dtype} training {name}", parameters_and_losses(nnk.train(**fit.arguments(dtype)))
    for dtype in ("float32", "float64"):
        yield f"{dtype} run_batches", batches(dtype)
    # float16 weights, trained in float32 and rounded at the end.
    yield "float16 training batch 32", parameters_and_losses(nnk.train(**FITS["batch 32"].arguments("float16")))


def golden_hashes() -> dict[str, str]:
    """Return the SHA-256 of each result, in C order and little-endian."""
    hashes = {}
    with np.errstate(all="ignore"):
        for name, result in golden_results():
            clean = np.where(np.isnan(result), np.array(np.nan, result.dtype), result) if result.dtype.kind == "f" else result
            hashes[name] = hashlib.sha256(clean.astype(clean.dtype.newbyteorder("<")).tobytes()).hexdigest()
    return hashes


def committed_hashes() -> dict[str, str]:
    """Return the hashes of golden.txt."""
    lines = FILE.read_text().removeprefix(HEADER).splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


if __name__ == "__main__":
    print(HEADER, end="")
    for name, digest in golden_hashes().items():
        print(digest, name)
