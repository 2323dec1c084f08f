"""Neural networks for NumPy: they predict and learn by C++ SIMD kernels, with the same bits on every CPU.

>>> import nnkernels as nnk
>>> nnk.softmax([2.5, 0.3, -1.2])
array([0.88064861, 0.09757865, 0.02177274])
"""

from nnkernels._core import dot, exp, relu, sigmoid, silu, softplus, tanh
from nnkernels.activations import elu, gelu, leaky_relu
from nnkernels.functions import log_softmax, logsumexp, softmax
from nnkernels.layers import Dense, Scale, dense
from nnkernels.losses import absolute_error, binary_cross_entropy, cross_entropy, huber, poisson, squared_error
from nnkernels.network import Network, load
from nnkernels.optimizers import SGD, Adam, AdamW
from nnkernels.settings import config, get_num_threads, set_num_threads, show_config
from nnkernels.training import Training, TrainingError, TrainingState, train

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
