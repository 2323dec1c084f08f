"""Small neural networks for NumPy: fast training and prediction, bit-identical on every machine.

>>> import nnkernels as nnk
>>> nnk.softmax([2.5, 0.3, -1.2])
array([0.88064861, 0.09757865, 0.02177274])
"""

from typing import TYPE_CHECKING, Any

from nnkernels._core import dot, exp, relu, sigmoid, silu, softplus, tanh
from nnkernels.activations import elu, gelu, leaky_relu
from nnkernels.functions import log_softmax, logsumexp, softmax
from nnkernels.layers import Dense, Scale, dense
from nnkernels.losses import absolute_error, binary_cross_entropy, cross_entropy, huber, poisson, squared_error
from nnkernels.network import Network, load
from nnkernels.optimizers import SGD, Adam, AdamW
from nnkernels.settings import config, get_num_threads, set_num_threads, show_config
from nnkernels.training import Training, TrainingError, TrainingState, train

if TYPE_CHECKING:
    from nnkernels.models.keras import from_keras
    from nnkernels.models.onnx import from_onnx
    from nnkernels.models.sklearn import from_sklearn
    from nnkernels.models.state_dict import from_state_dict
    from nnkernels.models.torch import from_torch

__version__ = config()["version"]

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Dense",
    "Network",
    "Scale",
    "Training",
    "TrainingError",
    "TrainingState",
    "__version__",
    "absolute_error",
    "binary_cross_entropy",
    "config",
    "cross_entropy",
    "dense",
    "dot",
    "elu",
    "exp",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_state_dict",
    "from_torch",
    "gelu",
    "get_num_threads",
    "huber",
    "leaky_relu",
    "load",
    "log_softmax",
    "logsumexp",
    "poisson",
    "relu",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "squared_error",
    "tanh",
    "train",
]

# The converters from_torch, from_onnx, ... are imported on first use: their modules cost time.
_SOURCES = "from_"


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__ or not name.startswith(_SOURCES):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.models.{name.removeprefix(_SOURCES)}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
