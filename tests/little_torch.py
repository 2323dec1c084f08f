"""An imitation of PyTorch in NumPy, as far as from_torch needs it, for tests without PyTorch."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import erf, expit, log_softmax, softmax

from corpus import Array


class Tensor:
    def __init__(self, data: Array | Tensor, dtype: str = "", device: str = "cpu") -> None:
        self.data = data
        self.dtype = f"torch.{dtype or self.array.dtype}"
        self.device = SimpleNamespace(type=device)

    @property
    def array(self) -> Array:
        return self.data.array if isinstance(self.data, Tensor) else self.data

    def detach(self) -> Tensor:
        return Tensor(self.data, self.dtype.removeprefix("torch."), self.device.type)

    def cpu(self) -> Tensor:
        assert self.device.type != "meta"
        return Tensor(self.data, self.dtype.removeprefix("torch."))

    def double(self) -> Tensor:
        return Tensor(self.array.astype(np.float64))

    def float(self) -> Tensor:
        return Tensor(self.array.astype(np.float32))

    def numpy(self) -> Array:
        assert self.device.type == "cpu"
        assert self.dtype != "torch.bfloat16"
        return self.array


class Module:
    def __init__(self, *parts: Module) -> None:
        self._modules = {str(place): part for place, part in enumerate(parts)}
        self._forward_hooks: dict[int, Any] = {}
        self._forward_pre_hooks: dict[int, Any] = {}
        self.training = True

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__.get("_modules", {})
        if name not in modules:
            raise AttributeError(name)
        return modules[name]

    def __getitem__(self, place: int) -> Module:
        return list(self._modules.values())[place]

    def add_module(self, name: str, part: Module) -> None:
        self._modules[name] = part

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        assert x.array.dtype == np.float64
        return Tensor(self.forward(x.array))

    def eval(self) -> Any:
        self.training = False
        for part in self._modules.values():
            part.eval()
        return self

    def _apply(self, method: str) -> Any:
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, getattr(value, method)())
        for part in self._modules.values():
            part._apply(method)
        return self

    def cpu(self) -> Any:
        return self._apply("cpu")

    def double(self) -> Any:
        return self._apply("double")

    def register_forward_hook(self, hook: Any) -> None:
        self._forward_hooks[0] = hook


class Sequential(Module):
    def forward(self, x: Array) -> Array:
        for part in self._modules.values():
            x = part(Tensor(x)).array
        return x


class Linear(Module):
    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = Tensor(np.zeros((outputs, inputs), np.float32))
        self.bias = Tensor(np.zeros(outputs, np.float32)) if bias else None

    def forward(self, x: Array) -> Array:
        y: Array = x @ self.weight.array.T
        return y + self.bias.array if self.bias else y


class BatchNorm1d(Module):
    def __init__(self, width: int, eps: float = 1e-5, affine: bool = True, track_running_stats: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = (Tensor(np.ones(width, np.float32)) if affine else None for _ in range(2))
        self.running_mean, self.running_var = (
            Tensor(np.ones(width, np.float32)) if track_running_stats else None for _ in range(2)
        )

    def forward(self, x: Array) -> Array:
        assert self.running_mean
        assert self.running_var
        y: Array = (x - self.running_mean.array) / np.sqrt(self.running_var.array + self.eps)
        return y * self.weight.array + self.bias.array if self.weight and self.bias else y


class Identity(Module):
    def forward(self, x: Array) -> Array:
        return x


class Dropout(Module):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()

    def forward(self, x: Array) -> Array:
        assert not self.training
        return x


class Flatten(Module):
    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Array) -> Array:
        return x


class ReLU(Module):
    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0.0)


class Sigmoid(Module):
    def forward(self, x: Array) -> Array:
        return expit(x)  # type: ignore[no-any-return]


class Tanh(Module):
    def forward(self, x: Array) -> Array:
        return np.tanh(x)


class SiLU(Module):
    def forward(self, x: Array) -> Array:
        return x * expit(x)  # type: ignore[no-any-return]


class LeakyReLU(Module):
    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Array) -> Array:
        return np.where(x > 0.0, x, self.negative_slope * x)


class PReLU(Module):
    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.weight = Tensor(np.full(num_parameters, init, np.float32))

    def forward(self, x: Array) -> Array:
        return np.where(x > 0.0, x, self.weight.array * x)


class ELU(Module):
    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Array) -> Array:
        return np.where(x > 0.0, x, self.alpha * np.expm1(np.minimum(x, 0.0)))


class CELU(ELU):
    def forward(self, x: Array) -> Array:
        return np.where(x > 0.0, x, self.alpha * np.expm1(np.minimum(x, 0.0) / self.alpha))


class SELU(Module):
    def forward(self, x: Array) -> Array:
        return 1.0507009873554805 * np.where(x > 0.0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0.0)))


class GELU(Module):
    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Array) -> Array:
        if self.approximate == "tanh":
            y: Any = x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))) / 2.0
            return y  # type: ignore[no-any-return]
        return x * (1.0 + erf(x / np.sqrt(2.0))) / 2.0  # type: ignore[no-any-return]


class Softplus(Module):
    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Array) -> Array:
        y: Any = np.logaddexp(0.0, self.beta * x) / self.beta
        return np.where(self.beta * x > self.threshold, x, y)


class Softmax(Module):
    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Array) -> Array:
        return softmax(x, axis=-1)  # type: ignore[no-any-return]


class LogSoftmax(Softmax):
    def forward(self, x: Array) -> Array:
        return log_softmax(x, axis=-1)  # type: ignore[no-any-return]


class Conv1d(Module):
    def __init__(self, *sizes: int) -> None:
        super().__init__()


class LazyLinear(Linear):
    def __init__(self, outputs: int) -> None:
        super().__init__(1, outputs)


class DataParallel(Module):
    def __init__(self, module: Module) -> None:
        super().__init__()
        self.add_module("module", module)


def from_numpy(array: Array) -> Tensor:
    return Tensor(copy.copy(array))


no_grad = nullcontext

MODULES: list[Any] = [Module, *Module.__subclasses__(), CELU, LogSoftmax, LazyLinear]
nn = SimpleNamespace(**{module.__name__: module for module in MODULES})
for module in MODULES:
    module.__module__ = "torch.nn.modules.little"
Tensor.__module__ = "torch"
