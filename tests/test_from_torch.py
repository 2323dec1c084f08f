"""from_torch: each supported module, in PyTorch and an imitation; refusals, further training."""

import copy
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import little_torch
import nnkernels as nnk
from corpus import Array, numbers
from nnkernels.models.check import compare
from test_errors import run
from ulp import same_bits

Torch = Any  # PyTorch, or its imitation
Module = Any

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")


@pytest.fixture(params=["imitation", pytest.param("torch", marks=needs_torch)])
def torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Torch:
    if request.param == "torch":
        return importlib.import_module("torch")
    monkeypatch.setitem(sys.modules, "torch", little_torch)
    return little_torch


@pytest.fixture
def real() -> Iterator[Torch]:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations
        yield torch


def filled(torch: Torch, module: Module, dtype: Any = np.float32, seed: int = 1) -> Module:
    """Set weights and statistics of a module and its submodules, and evaluation mode."""
    for place, name in enumerate(("weight", "bias", "running_mean", "running_var")):
        tensor = getattr(module, name, None)
        if tensor is not None and type(module).__name__ in ("Linear", "BatchNorm1d"):
            shape = np.shape(tensor.detach().numpy())
            values = numbers(dtype, *shape, seed=seed + place) / dtype(4.0 if len(shape) == 1 else 4.0 * shape[1] ** 0.5)
            tensor.data = torch.from_numpy(abs(values) + dtype(0.1) if name == "running_var" else values)
            if hasattr(tensor, "array"):
                setattr(module, name, torch.from_numpy(tensor.array))
    for place, part in enumerate(module._modules.values()):
        filled(torch, part, dtype, seed + 10 * place + 7)
    return module.eval()


def in_float64(torch: Torch, module: Module, x: Array) -> Array:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Softmax without dim
        outputs: Array = copy.deepcopy(module).double()(torch.from_numpy(x)).numpy()
    return outputs


def kinds(net: nnk.Network) -> list[str | None]:
    return ["scale" if isinstance(layer, nnk.Scale) else layer.activation for layer in net.layers]


def imported(torch: Torch, module: Module) -> nnk.Network:
    """Return a module's network, after comparing both on rows."""
    net = nnk.from_torch(module)
    x = numbers(np.float64, 30, net.inputs, seed=99)
    np.testing.assert_allclose(net(x), in_float64(torch, module, x), rtol=2e-5, atol=2e-5)
    return net


# --- Activations ---

ACTIVATIONS: list[tuple[Callable[[Any], Module], str]] = [
    (lambda nn: nn.ReLU(), "relu"),
    (lambda nn: nn.LeakyReLU(), "leaky_relu"),
    (lambda nn: nn.LeakyReLU(0.2), "leaky_relu(negative_slope=0.2)"),
    (lambda nn: nn.PReLU(), "leaky_relu(negative_slope=0.25)"),
    (lambda nn: nn.PReLU(init=-0.5), "leaky_relu(negative_slope=-0.5)"),
    (lambda nn: nn.ELU(), "elu"),
    (lambda nn: nn.ELU(0.5), "elu(alpha=0.5)"),
    (lambda nn: nn.ELU(2), "elu(alpha=2.0)"),
    (lambda nn: nn.CELU(), "elu"),
    (lambda nn: nn.CELU(0.3), "elu"),
    (lambda nn: nn.SELU(), "elu(alpha=1.6732632423543772)"),
    (lambda nn: nn.Sigmoid(), "sigmoid"),
    (lambda nn: nn.Tanh(), "tanh"),
    (lambda nn: nn.SiLU(), "silu"),
    (lambda nn: nn.GELU(), "gelu"),
    (lambda nn: nn.GELU(approximate="tanh"), "gelu_tanh"),
    (lambda nn: nn.Softplus(), "softplus"),
    (lambda nn: nn.Softplus(beta=3.0, threshold=25.0), "softplus"),
    (lambda nn: nn.Softmax(-1), "softmax"),
    (lambda nn: nn.Softmax(1), "softmax"),
    (lambda nn: nn.Softmax(), "softmax"),
    (lambda nn: nn.LogSoftmax(-1), "log_softmax"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("activation", "expected"), ACTIVATIONS)
def test_activations(torch: Torch, activation: Callable[[Any], Module], expected: str, dtype: Any) -> None:
    nn = torch.nn
    last = nn.Sequential(nn.Linear(5, 7), activation(nn))
    hidden = nn.Sequential(nn.Linear(5, 7), activation(nn), nn.Linear(7, 3))
    for module in (last, hidden):
        net = imported(torch, filled(torch, module, dtype))
        assert net.dtype == dtype
        assert kinds(net)[0] == expected
        assert kinds(net)[1:] in ([], ["scale"], [None])
    assert "scale" not in kinds(net)


def test_softplus_beyond_the_threshold(torch: Torch) -> None:
    """From 20 on, PyTorch returns x for softplus(x), an error of 2e-9."""
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Softplus(), torch.nn.Linear(3, 1))
    filled(torch, module, np.float64)
    for part in (module[0], module[2]):
        part.weight.data = torch.from_numpy(part.weight.detach().numpy() * 1e-3)
    for bias in ([20.5, 20.1, 19.9], [1e3, 1e5, -1e3]):  # exp(1e3) overflows
        module[0].bias.data = torch.from_numpy(np.array(bias))
        assert kinds(nnk.from_torch(module)) == ["softplus", None]
    assert module[1].threshold == 20.0


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_small_outputs(torch: Torch, approximate: str) -> None:
    """PyTorch's 1 + erf cancels completely there."""
    module = filled(torch, torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.GELU(approximate=approximate)), np.float64)
    module[0].weight.data = torch.from_numpy(np.zeros((3, 2)))
    module[0].bias.data = torch.from_numpy(np.array([-6.0, -7.0, -8.0]))
    assert abs(nnk.from_torch(module)([0.0, 0.0])).max() < 1e-8


# --- Structure ---


def test_sequentials_may_be_nested(torch: Torch) -> None:
    nn = torch.nn
    block = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.ReLU(), nn.Identity()))
    net = imported(torch, filled(torch, nn.Sequential(nn.Flatten(), block, nn.Sequential(), nn.Dropout(), nn.Linear(6, 2))))
    assert kinds(net) == ["relu", None]


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ("BLRL", ["scale", "relu", None]),
        ("LBRL", ["relu", None]),
        ("LRBL", ["relu", None]),
        ("LBBRBBL", ["relu", None]),
        ("LRLB", ["relu", None]),
        ("LRDB", ["relu", "scale"]),
        ("BLBRBLB", ["scale", "relu", None]),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_normalisation(torch: Torch, modules: str, expected: list[str], affine: bool, dtype: Any) -> None:
    nn = torch.nn
    made = {
        "B": lambda: nn.BatchNorm1d(4, eps=0.01, affine=affine),
        "L": lambda: nn.Linear(4, 4),
        "R": nn.ReLU,
        "D": nn.Dropout,
    }
    net = imported(torch, filled(torch, nn.Sequential(*(made[letter]() for letter in modules)), dtype))
    assert kinds(net) == expected
    assert net.dtype == dtype


@pytest.mark.parametrize("mean", [1e3, 1e6])
def test_batch_normalisation_of_large_inputs(torch: Torch, mean: float) -> None:
    module = filled(torch, torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 8), torch.nn.ReLU()), np.float64)
    module[0].running_mean.data = torch.from_numpy(np.full(4, mean))
    module[0].running_var.data = torch.from_numpy(np.full(4, 1e-4))
    net = nnk.from_torch(module)
    x = mean + numbers(np.float64, 20, 4) / 100.0
    np.testing.assert_allclose(net(x), in_float64(torch, module, x), atol=1e-9 * mean**2 / 1e6)


def test_a_linear_module_alone(torch: Torch) -> None:
    assert kinds(imported(torch, filled(torch, torch.nn.Linear(4, 3, bias=False)))) == [None]


def test_a_module_that_is_used_twice(torch: Torch) -> None:
    shared, relu = torch.nn.Linear(4, 4), torch.nn.ReLU()
    net = imported(torch, filled(torch, torch.nn.Sequential(shared, relu, shared, relu)))
    assert kinds(net) == ["relu", "relu"]
    first, second = net.layers
    assert isinstance(first, nnk.Dense)
    assert isinstance(second, nnk.Dense)
    assert same_bits(first.weights, second.weights)


def test_a_sequential_of_ones_own_without_forward(torch: Torch) -> None:
    class Block(torch.nn.Sequential):  # type: ignore[misc]
        pass

    class Layer(torch.nn.Linear):  # type: ignore[misc]
        pass

    assert kinds(imported(torch, filled(torch, Block(torch.nn.Linear(2, 2), torch.nn.ReLU())))) == ["relu"]
    nnk.from_torch(Block(Layer(2, 2)).eval())


def test_names_alone_do_not_count(torch: Torch) -> None:
    """User classes may have names of PyTorch, or be called LazyNet."""

    class Linear(torch.nn.Linear):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    class LazyNet(torch.nn.Sequential):  # type: ignore[misc]
        pass

    refused(Linear(2, 2).eval(), "the module (Linear): a custom forward pass is not supported")
    assert kinds(nnk.from_torch(LazyNet(torch.nn.Linear(2, 2)).eval())) == [None]


def test_training_mode_of_what_has_no_mode(torch: Torch) -> None:
    module = filled(torch, torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))
    module.training = module[0].training = True
    assert kinds(nnk.from_torch(module)) == ["relu"]


def test_the_module_stays_as_it_is(torch: Torch) -> None:
    module = filled(torch, torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Softplus()))
    before = [tensor.detach().numpy().copy() for tensor in (module[0].weight, module[1].running_mean)]
    net = nnk.from_torch(module)
    x = numbers(np.float32, 5, 3)
    outputs = net(x)
    for tensor, values in zip((module[0].weight, module[1].running_mean), before, strict=True):
        assert same_bits(tensor.detach().numpy(), values)
        assert str(tensor.dtype) == "torch.float32"
    module[0].weight.data = torch.from_numpy(np.zeros((2, 3), np.float32))
    assert same_bits(net(x), outputs)


@pytest.mark.parametrize("seed", range(40))
def test_random_modules(torch: Torch, seed: int) -> None:
    nn, rng = torch.nn, np.random.default_rng(seed)
    width = int(rng.integers(1, 9))
    modules = [nn.BatchNorm1d(width)] if rng.random() < 0.2 else []
    for _ in range(int(rng.integers(1, 5))):
        outputs = int(rng.integers(1, 9))
        modules.append(nn.Linear(width, outputs, bias=bool(rng.random() < 0.8)))
        width = outputs
        if rng.random() < 0.4:
            modules.append(nn.BatchNorm1d(width, affine=bool(rng.random() < 0.5)))
        if rng.random() < 0.8:
            modules.append(ACTIVATIONS[rng.integers(len(ACTIVATIONS))][0](nn))
        if rng.random() < 0.3:
            modules.append(nn.Dropout())
        if rng.random() < 0.2:
            modules.append(nn.BatchNorm1d(width))
    imported(torch, filled(torch, nn.Sequential(*modules), seed=seed))


# --- dtypes ---


def test_float16(torch: Torch) -> None:
    module = filled(torch, torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), np.float16)
    net = nnk.from_torch(module)
    assert net.dtype == np.float16
    assert isinstance(net.layers[0], nnk.Dense)
    assert same_bits(net.layers[0].weights, module[0].weight.detach().numpy())


def test_bfloat16_becomes_float32(torch: Torch) -> None:
    module = filled(torch, torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()))
    if torch is little_torch:
        for name in ("weight", "bias"):
            setattr(module[0], name, torch.Tensor(getattr(module[0], name), "bfloat16"))
    else:
        module.to(torch.bfloat16)
    net = nnk.from_torch(module)
    assert net.dtype == np.float32
    assert isinstance(net.layers[0], nnk.Dense)
    assert same_bits(net.layers[0].weights, module[0].weight.detach().float().numpy())


def test_modules_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", little_torch)
    module = filled(little_torch, little_torch.nn.Sequential(little_torch.nn.Linear(3, 2)))
    module[0].weight = little_torch.Tensor(module[0].weight, device="cuda")
    assert kinds(nnk.from_torch(module)) == [None]
    assert module[0].weight.device.type == "cuda"


# --- Refusals ---


def refused(module: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^from_torch: " + re.escape(message)):
        nnk.from_torch(module)


ALONE = "expected a dense layer before it"
WIDTH = "expected 3 inputs, the outputs of the layer before; got "


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ("", "expected at least one dense layer, found none"),
        ("ReLU()", f"module '0' (ReLU): {ALONE}"),
        (
            "Linear(2, 2), ReLU(), ReLU()",
            "module '2' (ReLU): expected one activation after a dense layer, got several",
        ),
        ("Linear(2, 2), LeakyReLU(float('nan'))", "module '1' (LeakyReLU): expected a finite negative_slope, got nan"),
        ("Linear(2, 3), Linear(2, 1)", f"module '1' (Linear): {WIDTH}weights (1, 2)"),
        ("Linear(2, 3), BatchNorm1d(2)", f"module '1' (BatchNorm1d): {WIDTH}2 numbers"),
        ("Sequential(Conv1d(2, 2, 1))", "module '0.0' (Conv1d): expected one of Sequential, Linear, "),
        ("Linear(2, 2), PReLU(2)", "module '1' (PReLU): expected one slope for all inputs, got 2"),
        ("Linear(2, 2), Softmax(0)", "module '1' (Softmax): expected dim=-1, the axis of outputs; got dim=0"),
        ("Linear(2, 2), LogSoftmax(2)", "module '1' (LogSoftmax): expected dim=-1"),
        ("Flatten(0), Linear(2, 2)", "module '0' (Flatten): expected Flatten(1, -1), got Flatten(0, -1)"),
        ("Linear(2, 2), Softplus(1.0, 5.0)", "module '1' (Softplus): expected threshold to be 20 or more, and beta other"),
        (
            "Linear(2, 2), Softplus(0.0)",
            "module '1' (Softplus): expected threshold to be 20 or more, and beta other than 0; got",
        ),
        ("Linear(2, 2), CELU(0.0)", "module '1' (CELU): expected a finite alpha above 0, got 0.0"),
        ("BatchNorm1d(2, track_running_stats=False)", "module '0' (BatchNorm1d): expected track_running_stats=True"),
        ("LazyLinear(3)", "module '0' (LazyLinear): its sizes are not known yet: call the module on a row"),
        ("DataParallel(Linear(2, 2))", "module '0' (DataParallel): it wraps a module: pass its attribute module"),
    ],
)
def test_refusals(torch: Torch, parts: str, message: str) -> None:
    refused(torch.nn.Sequential(*eval(f"({parts},)" if parts else "()", dict(vars(torch.nn)))).eval(), message)


@pytest.mark.parametrize("name", ["BatchNorm1d", "Dropout"])
def test_training_mode_is_refused(torch: Torch, name: str) -> None:
    part = torch.nn.BatchNorm1d(2) if name == "BatchNorm1d" else torch.nn.Dropout()
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), part)
    refused(module, f"module '1' ({name}): it is in training mode: call module.eval() first")
    assert kinds(nnk.from_torch(module.eval())) == [None]


def test_a_forward_pass_of_ones_own_is_refused(torch: Torch) -> None:
    nn: Any = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.add_module("layers", nn.Sequential(nn.Linear(2, 2)))
            self.add_module("end", nn.Tanh())

        def forward(self, x: Any) -> Any:
            return self.layers(x)

    class Residual(nn.Sequential):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    reason = "a custom forward pass is not supported: pass a Sequential of its layers"
    refused(Net().eval(), f"the module (Net): {reason}, such as its layers")
    refused(Residual(nn.Linear(2, 2)).eval(), f"the module (Residual): {reason}")
    refused(nn.Sequential(nn.Linear(2, 2), Residual(nn.Linear(2, 2))).eval(), f"module '1' (Residual): {reason}")
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    module[1].forward = abs
    refused(module, f"module '1' (ReLU): {reason}")


def test_forward_hooks_are_refused(torch: Torch) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2)).eval()
    module[0].register_forward_hook(lambda *_: None)
    refused(module, "module '0' (Linear): it has forward hooks, which may change its outputs: remove them")


def test_a_module_that_computes_something_else(torch: Torch) -> None:
    class Odd(torch.nn.ReLU):  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            return torch.from_numpy(-x.numpy())

    module = filled(torch, torch.nn.Sequential(torch.nn.Linear(2, 3), Odd()))
    with pytest.raises(ValueError, match=r"^from_torch: the network and the model differ: output \d of row"):
        nnk.from_torch(module)


def test_a_module_that_cannot_be_copied_or_run(torch: Torch) -> None:
    class Alone(torch.nn.Linear):  # type: ignore[misc]
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("there is one of me")

    class Broken(torch.nn.ReLU):  # type: ignore[misc]
        def __call__(self, x: Any) -> Any:
            raise RuntimeError("not today")

    reason = "a copy of the module cannot be run in float64: "
    refused(Alone(2, 2).eval(), f"{reason}there is one of me")
    refused(torch.nn.Sequential(torch.nn.Linear(2, 2), Broken()).eval(), f"{reason}not today")


@pytest.mark.parametrize(
    ("dtype", "device", "message"),
    [
        ("complex64", "cpu", "module '0' (Linear), weight: expected float16, bfloat16, float32 or float64, got complex64"),
        ("qint8", "cpu", "module '0' (Linear), weight: expected float16, bfloat16, float32 or float64, got qint8"),
        (
            "float32",
            "meta",
            "module '0' (Linear), weight: it is on the meta device, without numbers: load the weights first",
        ),
    ],
)
def test_tensors_that_are_refused(dtype: str, device: str, message: str) -> None:
    module = little_torch.nn.Sequential(little_torch.nn.Linear(2, 2, bias=False)).eval()
    module[0].weight = little_torch.Tensor(module[0].weight, dtype, device)
    refused(module, message)


def test_tensors_of_others_are_refused() -> None:
    class PackedTensor(little_torch.Tensor):
        pass

    module = little_torch.nn.Sequential(little_torch.nn.Linear(2, 2, bias=False)).eval()
    module[0].weight = PackedTensor(module[0].weight)
    refused(module, "module '0' (Linear), weight: expected a plain tensor, got a PackedTensor")


def test_tensors_without_an_array_are_refused() -> None:
    class Sparse(little_torch.Tensor):
        def numpy(self) -> Array:
            raise TypeError("can't convert Sparse layout tensor to numpy")

    Sparse.__module__, Sparse.__name__ = "torch", "Tensor"
    module = little_torch.nn.Sequential(little_torch.nn.Linear(2, 2, bias=False)).eval()
    module[0].weight = sparse = Sparse(module[0].weight)
    sparse.detach = sparse.cpu = lambda: sparse  # type: ignore[method-assign]
    refused(module, "module '0' (Linear), weight: expected a tensor that NumPy can read: can't convert Sparse layout")


def test_other_modules_are_named() -> None:
    """Modules that the imitation lacks."""
    nn = little_torch.nn
    module = nn.Sequential(nn.Linear(2, 2)).eval()
    module[0].parametrizations = {"weight": []}
    refused(module, "module '0' (Linear): its weights are computed: call torch.nn.utils.parametrize.remove_parametrizations")
    module[0].original_name = "Linear"
    refused(module, "module '0' (Linear): TorchScript is not supported: pass the original module")
    quantised = type("Linear", (nn.Linear,), {"__module__": "torch.ao.nn.quantized.modules.linear"})
    refused(nn.Sequential(quantised(2, 2)), "module '0' (Linear): it is quantised: pass the module before quantisation")
    module.add_module("1", None)
    del module[0].original_name, module[0].parametrizations
    refused(module, "module '1' (NoneType): expected one of Sequential, ")


@pytest.mark.parametrize(
    ("value", "got"),
    [({"0.weight": [[1.0]]}, "a dict; use from_state_dict for a state_dict"), (None, "a NoneType"),
     ("net.pt", "a str; nnk.load(path) says how to convert a PyTorch file"),
     (type("Sequential", (), {"__module__": "keras.src.models.sequential", "_modules": {}})(),
      "a Sequential; use from_keras for a Keras model"),
     (little_torch.nn.Linear, "Linear")],
)  # fmt: skip
def test_what_is_no_module(value: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"^from_torch expected a torch.nn.Module, got {re.escape(got)}$"):
        nnk.from_torch(value)


# --- Real PyTorch ---


def test_real_modules_that_are_refused(real: Torch) -> None:
    nn, linear = real.nn, real.nn.Linear(2, 2)
    parametrized = real.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    refused(parametrized, "the module (ParametrizedLinear): its weights are computed")
    for method in (nn.utils.weight_norm, nn.utils.spectral_norm):
        refused(method(nn.Linear(2, 2)).eval(), "the module (Linear): it has forward hooks")
    refused(nn.Linear(2, 2, dtype=real.complex64), "the module (Linear), bias: expected float16, bfloat16, float32 or float64")
    refused(nn.Linear(2, 2, device="meta"), "the module (Linear), bias: it is on the meta device")
    refused(nn.LazyBatchNorm1d(), "the module (LazyBatchNorm1d): its sizes are not known yet")
    refused(real.jit.script(nn.Sequential(linear)), "the module (RecursiveScriptModule): TorchScript is not supported")
    refused(
        real.compile(nn.Sequential(linear)), "the module (OptimizedModule): it wraps a module: pass its attribute _orig_mod"
    )
    for name in ("ReLU6", "Hardtanh", "Hardsigmoid", "Hardswish", "Mish", "Softmin", "Softsign", "RReLU"):
        refused(nn.Sequential(linear, getattr(nn, name)()).eval(), f"module '1' ({name}): expected one of Sequential, ")
    for other in (nn.LayerNorm(2), nn.BatchNorm2d(2), nn.Unflatten(1, (2, 1)), nn.ModuleList([linear]), nn.Embedding(2, 2)):
        refused(nn.Sequential(linear, other).eval(), f"module '1' ({type(other).__name__}): expected one of Sequential, ")


def test_quantised_modules_are_refused(real: Torch) -> None:
    if "qint8" not in dir(real) or not real.backends.quantized.supported_engines:
        pytest.skip("this PyTorch does not quantise")
    module = real.ao.quantization.quantize_dynamic(real.nn.Sequential(real.nn.Linear(2, 2)), {real.nn.Linear})
    refused(module, "module '0' (Linear): it is quantised: pass the module before quantisation")


def test_weights_after_their_computation(real: Torch) -> None:
    module = real.nn.utils.parametrizations.weight_norm(real.nn.Linear(3, 2))
    real.nn.utils.parametrize.remove_parametrizations(module, "weight")
    net = nnk.from_torch(module)
    assert isinstance(net.layers[0], nnk.Dense)
    assert same_bits(net.layers[0].weights, module.weight.detach().numpy())


def test_sparse_weights_are_refused(real: Torch) -> None:
    module = real.nn.Linear(2, 2, bias=False)
    module.weight = real.nn.Parameter(real.eye(2).to_sparse())
    refused(module, "the module (Linear), weight: expected a tensor that NumPy can read: ")


def test_lazy_modules_that_were_called(real: Torch) -> None:
    module = real.nn.Sequential(real.nn.LazyLinear(3), real.nn.LazyBatchNorm1d())
    module.eval()(real.zeros(2, 5))
    assert nnk.from_torch(module).inputs == 5


def test_float32_outputs(real: Torch) -> None:
    """PyTorch's float32 outputs agree within the rounding errors of both."""
    nn = real.nn
    module = nn.Sequential(nn.Linear(20, 50), nn.BatchNorm1d(50), nn.GELU(), nn.Dropout(), nn.Linear(50, 5), nn.Softmax(-1))
    net = nnk.from_torch(filled(real, module))
    x = numbers(np.float32, 100, 20)
    with real.no_grad():
        outputs = module(real.from_numpy(x)).numpy()
    net64 = nnk.from_torch(module.double())
    compare("from_torch", net, net64, outputs, x, "float32")


def test_nothing_is_imported() -> None:
    code = "import sys, nnkernels as nnk; nnk.from_torch; print('torch' in sys.modules)"
    assert run(code).stdout == "False\n"


# --- Further training ---


def test_an_imported_network_learns_on(torch: Torch) -> None:
    nn = torch.nn
    modules = [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Dropout(), nn.Linear(16, 3), nn.Softmax(-1)]
    net = nnk.from_torch(filled(torch, nn.Sequential(*modules)))
    x = numbers(np.float32, 300, 4)
    targets = (x[:, 0] > 0).astype(int) + (x[:, 1] > x[:, 2])
    training = nnk.train(net, x, targets, epochs=20, seed=1)
    assert training.losses[-1] < 0.5 * training.losses[0]
    assert kinds(training.network) == ["silu", "softmax"]
    same = nnk.train(nnk.Network(net.layers), x, targets, epochs=20, seed=1)  # the same network, made by hand
    assert training.losses == same.losses
    assert same_bits(training.network(x), same.network(x))
