"""Train a small network with PyTorch, and print its parameters as JSON.

It trains in float64, 200 steps with each optimizer. test_optimizers.py uses this if PyTorch is
installed, and otherwise reads trajectories.json. To update that file:

    python tests/trajectories.py > tests/trajectories.json
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

import nnkernels as nnk
from corpus import Array, numbers

FILE = Path(__file__).with_name("trajectories.json")

OPTIMIZERS: dict[str, Any] = {
    "sgd": nnk.SGD(0.05),
    "momentum": nnk.SGD(0.01, momentum=0.9),
    "nesterov": nnk.SGD(0.01, momentum=0.9, nesterov=True),
    "nesterov weight decay": nnk.SGD(0.01, momentum=0.8, nesterov=True, weight_decay=0.1),
    "adam": nnk.Adam(),
    "adam settings": nnk.Adam(0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-4),
    "adam weight decay": nnk.Adam(0.01, weight_decay=0.1),
    "adamw": nnk.AdamW(0.01),
}
EPOCHS, BATCH = 40, 9  # 5 steps per epoch, the last with 4 rows


def problem() -> tuple[nnk.Network, Array, Array]:
    """Return a network of 4-5-3, and 40 rows and their labels."""
    layers = [
        nnk.Dense(numbers(float, 5, 4, seed=2) / 8, numbers(float, 5, seed=3) / 8, "tanh"),
        nnk.Dense(numbers(float, 3, 5, seed=4) / 8, numbers(float, 3, seed=5) / 8, "softmax"),
    ]
    return nnk.Network(layers), numbers(float, 40, 4), np.arange(40) * 7 % 3


def by_pytorch(settings: Any) -> list[float]:
    """Return the trained parameters, layer by layer: weights, then bias."""
    import torch

    net, x, labels = problem()
    tensors = [torch.tensor(array, requires_grad=True) for layer in net.layers for array in (layer.weights, layer.bias)]
    if isinstance(settings, nnk.SGD):
        keywords = {"momentum": settings.momentum, "nesterov": settings.nesterov}
    else:
        keywords = {"betas": (settings.beta_1, settings.beta_2), "eps": settings.epsilon}
    groups = [
        {"params": tensors[::2], "weight_decay": settings.weight_decay},
        {"params": tensors[1::2], "weight_decay": 0.0},
    ]
    optimizer = getattr(torch.optim, type(settings).__name__)(groups, lr=settings.learning_rate, **keywords)
    for _ in range(EPOCHS):
        for rows, wanted in zip(torch.tensor(x).split(BATCH), torch.tensor(labels).split(BATCH), strict=True):
            hidden = torch.tanh(rows @ tensors[0].T + tensors[1])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(hidden @ tensors[2].T + tensors[3], wanted).backward()
            optimizer.step()
    return [value for tensor in tensors for value in tensor.detach().flatten().tolist()]


if __name__ == "__main__":
    print(json.dumps({name: by_pytorch(settings) for name, settings in OPTIMIZERS.items()}, indent=1))
