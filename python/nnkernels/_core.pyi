from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnkernels.settings import Config

relu: np.ufunc
sigmoid: np.ufunc
tanh: np.ufunc
exp: np.ufunc
dot: np.ufunc
softmax: np.ufunc
log_softmax: np.ufunc
logsumexp: np.ufunc
dense: np.ufunc
dense_relu: np.ufunc
dense_sigmoid: np.ufunc
dense_tanh: np.ufunc
dense_softmax: np.ufunc

def few_softmax(z: Any, axis: Any, out: Any, dtype: Any, /) -> Any: ...
def few_log_softmax(z: Any, axis: Any, out: Any, dtype: Any, /) -> Any: ...

class Network:
    def __init__(self, layers: Sequence[tuple[NDArray[Any], NDArray[Any], int]], type: int, one_neuron: bool) -> None: ...
    def __len__(self) -> int: ...
    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> Any: ...
    def _layer(self, index: int) -> tuple[NDArray[Any], NDArray[Any], int]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def one_neuron(self) -> bool: ...

def config() -> Config: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
