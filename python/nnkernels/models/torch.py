"""Conversion of PyTorch modules."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnkernels.activations import TABLE
from nnkernels.models.chain import Chain
from nnkernels.models.check import compare, probe
from nnkernels.network import Network

_SOURCE = "from_torch"

# Activations by PyTorch's names.
_ACTIVATIONS = {kind.torch: kind for kind in TABLE if kind.torch}

# Modules without effect in evaluation mode.
_DROPOUTS = ("Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout")

_KNOWN = ("Sequential", "Linear", *_ACTIVATIONS, "PReLU", "CELU", "SELU", "BatchNorm1d", "Flatten", *_DROPOUTS)

# Wrappers, and the attribute with the wrapped module.
_WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}

# Above a threshold, PyTorch's Softplus returns x. The default is off by 2e-9 there; the other value
# is exact in float64.
_THRESHOLD = 20.0
_EXACT_THRESHOLD = 40.0


def from_torch(module: Any) -> Network:
    """Convert a PyTorch module to a network.

    The module is not changed. As a check, the network's outputs for 64 rows are compared with those
    of a copy of the module in float64.

    Parameters
    ----------
    module : torch.nn.Module
        A Sequential, on any device. It may contain Sequential, Linear, ReLU, LeakyReLU, PReLU with
        one slope, ELU, CELU, SELU, Sigmoid, Tanh, SiLU, GELU, Softplus, Softmax and LogSoftmax over
        the last axis, BatchNorm1d, Dropout, Flatten and Identity.

    Returns
    -------
    Network
        A network with the dtype of the module's weights; bfloat16 becomes float32. A module that is
        used twice becomes two layers.

    Raises
    ------
    TypeError
        If ``module`` is not a module.
    ValueError
        If a module is unsupported, has its own forward pass or forward hooks, has computed,
        quantised or uninitialised weights, is on the meta device, or is a BatchNorm1d or Dropout in
        training mode. If a variance plus epsilon is not above 0. If folded weights exceed the range
        of the dtype. If the outputs differ. The message names the module and the reason.

    Notes
    -----
    Batch normalisation is folded into the adjacent Linear, in float64. As first layer it becomes a
    ``Scale``.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> from torch.nn import Linear, ReLU, Sequential  # doctest: +SKIP
    >>> module = Sequential(Linear(4, 8), ReLU(), Linear(8, 3))  # doctest: +SKIP
    >>> nnk.from_torch(module.eval())  # doctest: +SKIP
    Network of 2 layers, float32
      layer  inputs  outputs  activation  parameters
          1       4        8  relu                40
          2       8        3  -                   27
      total                                       67
    """
    of_keras = any(base.__module__.startswith(("keras.", "tf_keras.")) for base in type(module).__mro__)
    if isinstance(module, type) or of_keras or not hasattr(module, "_modules"):
        got = module.__name__ if isinstance(module, type) else f"a {type(module).__name__}"
        hint = "; use from_keras for a Keras model" if of_keras else ""
        if isinstance(module, dict):
            hint = "; use from_state_dict for a state_dict"
        elif isinstance(module, (str, bytes, PathLike)):
            hint = "; nnk.load(path) says how to convert a PyTorch file"
        raise TypeError(f"{_SOURCE} expected a torch.nn.Module, got {got}{hint}")
    chain = Chain(_SOURCE)
    for path, part in _modules(module):
        _add(chain, f"module {path!r} ({type(part).__name__})" if path else f"the module ({type(part).__name__})", part)
    network, network64 = chain.network(), chain.network64()
    x = probe(network64)
    compare(_SOURCE, network, network64, _run(module, x), x, "float64")
    return network


def _modules(module: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield modules and their paths in the order of the forward pass, and Sequentials too."""
    yield path, module
    if _kind(module) == "Sequential":
        for name, part in module._modules.items():  # named_children() omits repetitions
            yield from _modules(part, f"{path}.{name}" if path else name)


def _base(module: Any) -> Any:
    """Return the supported PyTorch class that a module's class derives from, or None."""
    bases = (base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules."))
    return next((base for base in bases if base.__name__ in _KNOWN), None)


def _kind(module: Any) -> str:
    return getattr(_base(module), "__name__", "")


def _add(chain: Chain, name: str, module: Any) -> None:
    kind = _kind(module)
    _refuse_unknown(chain, name, module)
    match kind:
        case "Linear":
            bias = None if module.bias is None else as_numpy(chain, f"{name}, bias", module.bias)
            chain.dense(name, as_numpy(chain, f"{name}, weight", module.weight), bias)
        case "BatchNorm1d":
            if module.running_mean is None or module.running_var is None:
                chain.refuse(name, "expected track_running_stats=True, got statistics of each batch")
            mean, variance = as_numpy(chain, name, module.running_mean), as_numpy(chain, name, module.running_var)
            gamma = 1.0 if module.weight is None else as_numpy(chain, name, module.weight)
            beta = 0.0 if module.bias is None else as_numpy(chain, name, module.bias)
            chain.batch_norm(name, mean, variance, module.eps, gamma, beta)
        case "PReLU":
            slopes = as_numpy(chain, name, module.weight)
            if slopes.size != 1:
                chain.refuse(name, f"expected one slope for all inputs, got {slopes.size}")
            chain.activation(name, "leaky_relu", float(slopes[0]))
        case "CELU":
            chain.celu(name, module.alpha)
        case "SELU":
            chain.selu(name)
        case "GELU" if module.approximate == "tanh":
            chain.activation(name, "gelu_tanh")
        case "Softplus":
            if module.threshold < _THRESHOLD or module.beta == 0.0:
                given = f"got threshold {module.threshold} and beta {module.beta}"
                chain.refuse(name, f"expected threshold to be {_THRESHOLD:g} or more, and beta other than 0; {given}")
            chain.affine(name, module.beta, 0.0)
            chain.activation(name, "softplus")
            chain.affine(name, 1.0 / module.beta, 0.0)
        case "Softmax" | "LogSoftmax" if module.dim not in (None, 1, -1):  # for 2-d input None means 1
            chain.refuse(name, f"expected dim=-1, the axis of outputs; got dim={module.dim}")
        case "Flatten" if module.start_dim not in (1, -1) or module.end_dim not in (1, -1):
            chain.refuse(name, f"expected Flatten(1, -1), got Flatten({module.start_dim}, {module.end_dim})")
        case _ if kind in _ACTIVATIONS:
            known = _ACTIVATIONS[kind]
            chain.activation(name, known.activation, float(getattr(module, known.option)) if known.option else None)


def _refuse_unknown(chain: Chain, name: str, module: Any) -> None:
    """Raise ValueError for a module that may not compute the same as PyTorch's class."""
    cls, base = type(module), _base(module)
    is_pytorchs = cls.__module__.startswith("torch.")
    if cls.__name__ in _WRAPPERS:
        chain.refuse(name, f"it wraps a module: pass its attribute {_WRAPPERS[cls.__name__]}")
    if hasattr(module, "original_name"):
        chain.refuse(name, "TorchScript is not supported: pass the original module")
    if is_pytorchs and cls.__name__.startswith("Lazy"):
        chain.refuse(name, "its sizes are not known yet: call the module on a row first")
    if is_pytorchs and "quantized" in cls.__module__:
        chain.refuse(name, "it is quantised: pass the module before quantisation")
    if base is None and (is_pytorchs or not hasattr(module, "_modules")):
        chain.refuse(name, f"expected one of {', '.join(_KNOWN)}")
    if base is None or "forward" in vars(module) or cls.forward is not base.forward:
        parts = [part for part in module._modules if _kind(module._modules[part]) == "Sequential"]
        hint = f", such as its {parts[0]}" if len(parts) == 1 else ""
        chain.refuse(name, f"a custom forward pass is not supported: pass a Sequential of its layers{hint}")
    if getattr(module, "parametrizations", None):
        chain.refuse(name, "its weights are computed: call torch.nn.utils.parametrize.remove_parametrizations first")
    if module._forward_hooks or module._forward_pre_hooks:
        chain.refuse(name, "it has forward hooks, which may change its outputs: remove them first")
    if module.training and base.__name__ in ("BatchNorm1d", *_DROPOUTS):
        chain.refuse(name, "it is in training mode: call module.eval() first")


def as_numpy(chain: Chain, name: str, tensor: Any) -> NDArray[Any]:
    """Return a tensor on any device as a NumPy array; bfloat16 as float32."""
    kind = type(tensor)
    if kind.__module__.partition(".")[0] != "torch" or kind.__name__ not in ("Tensor", "Parameter"):
        chain.refuse(name, f"expected a plain tensor, got a {kind.__name__}")
    if tensor.device.type == "meta":
        chain.refuse(name, "it is on the meta device, without numbers: load the weights first")
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in ("float16", "bfloat16", "float32", "float64"):
        chain.refuse(name, f"expected float16, bfloat16, float32 or float64, got {dtype}")
    try:
        tensor = tensor.detach().cpu()
        array: NDArray[Any] = (tensor.float() if dtype == "bfloat16" else tensor).numpy()
    except (RuntimeError, TypeError) as error:  # a sparse tensor
        chain.refuse(name, f"expected a tensor that NumPy can read: {error}")
    return array


def _run(module: Any, x: NDArray[np.float64]) -> NDArray[Any]:
    """Return the outputs of a float64 copy of a module."""
    torch: Any = sys.modules["torch"]  # imported, since there is a module
    try:
        double = copy.deepcopy(module).cpu().double()
        for _, part in _modules(double):
            if _kind(part) == "Softplus":
                part.threshold = _EXACT_THRESHOLD
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about Softmax without dim
            outputs: NDArray[Any] = double(torch.from_numpy(x.copy())).numpy()
    except Exception as error:
        raise ValueError(f"{_SOURCE}: a copy of the module cannot be run in float64: {error}") from error
    return outputs
