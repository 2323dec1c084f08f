"""Neural-network kernels for NumPy: the forward pass as C++ SIMD ufuncs, with the same bits on every CPU.

>>> import nnkernels as nnk
>>> nnk.softmax([2.5, 0.3, -1.2])
array([0.88064861, 0.09757865, 0.02177274])
"""

from nnkernels._core import dot, relu, sigmoid, tanh
from nnkernels.functions import dense, log_softmax, logsumexp, softmax
from nnkernels.network import Dense, Network, load
from nnkernels.settings import config, get_num_threads, set_num_threads, show_config

__version__ = config()["version"]

__all__ = [
    "Dense",
    "Network",
    "__version__",
    "config",
    "dense",
    "dot",
    "get_num_threads",
    "load",
    "log_softmax",
    "logsumexp",
    "relu",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "softmax",
    "tanh",
]
