from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels.settings import Config

relu: np.ufunc
sigmoid: np.ufunc
tanh: np.ufunc
exp: np.ufunc
leaky_relu: np.ufunc
elu: np.ufunc
silu: np.ufunc
gelu: np.ufunc
gelu_tanh: np.ufunc
softplus: np.ufunc
dot: np.ufunc
softmax: np.ufunc
log_softmax: np.ufunc
logsumexp: np.ufunc
dense: np.ufunc
dense_relu: np.ufunc
dense_sigmoid: np.ufunc
dense_tanh: np.ufunc
dense_softmax: np.ufunc
dense_log_softmax: np.ufunc

def few_softmax(z: Any, axis: Any, out: Any, dtype: Any, /) -> Any: ...
def few_log_softmax(z: Any, axis: Any, out: Any, dtype: Any, /) -> Any: ...

class Network:
    def __init__(self, layers: Sequence[tuple[Any, ...]], type: int, one_neuron: bool) -> None: ...
    def __len__(self) -> int: ...
    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> Any: ...
    def _layer(self, index: int) -> tuple[Any, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def one_neuron(self) -> bool: ...

class Trainer:
    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[tuple[int, float] | tuple[NDArray[np.float64], NDArray[np.float64]]],
        type: int,
        loss: int,
        option: float,
        batch_size: int,
        moments: int,
    ) -> None: ...
    @property
    def parameters(self) -> NDArray[Any]: ...
    @property
    def gradient_array(self) -> NDArray[Any]: ...
    @property
    def moments(self) -> tuple[NDArray[Any], ...]: ...
    steps: int
    def epochs(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[np.float64] | None,
        optimizer: Sequence[float],
        seed: int,
        first: int,
        count: int,
        shuffle: bool,
    ) -> list[float]: ...
    def run_batches(
        self,
        x: NDArray[Any],
        targets: NDArray[Any],
        weights: NDArray[np.float64] | None,
        optimizer: Sequence[float],
        order: NDArray[np.int64] | None,
        gradient_scale: float,
    ) -> tuple[float, float]: ...
    def evaluate(self, x: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float64] | None) -> float: ...
    def gradient(
        self, x: NDArray[Any], targets: NDArray[Any], weights: NDArray[np.float64] | None, drop_tiny: bool = False
    ) -> float: ...
    def backward(self, x: NDArray[Any], upstream: NDArray[Any], x_gradient: NDArray[Any]) -> None: ...

def loss(
    kind: int,
    option: float,
    outputs: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[np.float64] | None,
    reduction: int,
    gradient: bool,
) -> tuple[Any, NDArray[Any] | None]: ...
def contiguous(array: NDArray[Any], type: int) -> NDArray[Any]: ...
def permutation(seed: int, epoch: int, n: int) -> NDArray[np.int64]: ...
def random_weights(seed: int, stream: int, n: int, initializer: int, inputs: float, outputs: float) -> NDArray[np.float64]: ...
def config() -> Config: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
