"""Conversion of a network, data and a loss for the C++ ``Trainer``; gradients."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnkernels import _core
from nnkernels.activations import name_of, number_of
from nnkernels.arrays import REAL, as_contiguous, as_real, explained, rounded
from nnkernels.layers import Scale
from nnkernels.losses import Loss, LossLike, as_terms, choose_loss

if TYPE_CHECKING:
    from nnkernels.network import Network

# The weights and the bias of each layer.
Layers: TypeAlias = list[tuple[NDArray[Any], NDArray[Any]]]


class Rows(NamedTuple):
    """Data of a Trainer: x (rows, inputs); targets and weights (rows,) or (rows, outputs)."""

    x: NDArray[Any]
    targets: NDArray[Any]
    weights: NDArray[np.float64] | None


class Architecture(NamedTuple):
    """A network without its parameters."""

    sizes: tuple[int, ...]  # number of inputs, then outputs of each layer
    activations: tuple[str | None, ...]  # "scale" for a Scale
    scales: tuple[Scale | None, ...]  # per layer; None for a Dense
    one_neuron: bool
    dtype: np.dtype[Any]
    computed: np.dtype[Any]  # dtype of the Trainer: float32 for a float16 network
    metadata: dict[str, str]

    def shape_of_outputs(self, leading: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the outputs for inputs of shape (*leading, inputs)."""
        return leading if self.one_neuron else (*leading, self.sizes[-1])

    @property
    def outputs_text(self) -> str:
        """The shape of the outputs as text, for error messages."""
        return "(...)" if self.one_neuron else f"(..., {self.sizes[-1]})"

    @property
    def leading(self) -> int:
        """The number of Scale layers before the first Dense. They are applied before training."""
        return next(number for number, scale in enumerate(self.scales) if scale is None)

    def scale_inputs(self, x: NDArray[Any]) -> NDArray[Any]:
        """Apply the leading Scale layers, and convert to the dtype of the Trainer."""
        leading = [scale for scale in self.scales[: self.leading] if scale is not None]
        return _scaled(x, leading, self.computed) if leading else as_contiguous(x, self.computed)

    @property
    def count_of_parameters(self) -> int:
        """The length of the flat array of all parameters."""
        layers = zip(pairwise(self.sizes), self.scales, strict=True)
        return sum((inputs + 1) * outputs for (inputs, outputs), scale in layers if scale is None)

    def split(self, flat: NDArray[Any]) -> Layers:
        """Return views of the weights and bias of each Dense in a flat array of parameters."""
        layers = []
        begin = 0
        for (inputs, outputs), scale in zip(pairwise(self.sizes), self.scales, strict=True):
            if scale is not None:
                continue
            middle = begin + inputs * outputs
            layers.append((flat[begin:middle].reshape(outputs, inputs), flat[middle : middle + outputs]))
            begin = middle + outputs
        if self.one_neuron:
            weights, bias = layers[-1]
            layers[-1] = weights[0], bias[0, ...]
        return layers


class Problem(NamedTuple):
    """An architecture and the loss to minimise."""

    function: str  # the caller, for error messages
    architecture: Architecture
    loss: Loss
    last_activation: str | None  # to apply before the loss

    def as_x(self, x: Any) -> NDArray[Any]:
        """Return inputs (..., inputs) scaled, and converted for the Trainer."""
        array = as_real(x)
        if array.shape[-1:] != self.architecture.sizes[:1]:
            raise ValueError(f"the last axis of x must have {self.architecture.sizes[0]} elements")
        return self.architecture.scale_inputs(array)

    def as_rows(self, x: Any, targets: Any, sample_weight: Any) -> Rows:
        """Check data, and convert them for the Trainer."""
        architecture, loss = self.architecture, self.loss
        try:
            if loss.of_rows and architecture.one_neuron:
                raise ValueError(f"{loss.name} needs an axis of classes, but the network's output is one neuron without it")
            array = self.as_x(x)
            leading = array.shape[:-1]
            terms = as_terms(
                loss, targets, sample_weight, leading, architecture.shape_of_outputs(leading), architecture.computed
            )
        except (TypeError, ValueError) as error:
            expected = f"x (..., {architecture.sizes[0]}) for outputs {architecture.outputs_text}; {loss.expected}; {REAL}"
            raise explained(error, self.function, expected, x=x, targets=targets, sample_weight=sample_weight) from None
        return Rows(array.reshape(math.prod(leading), array.shape[-1]), *terms)

    def trainer(self, batch_size: int, moments: int = 0) -> _core.Trainer:
        """Return a new Trainer. Its parameters are 0."""
        architecture = self.architecture
        layers: list[tuple[Any, Any]] = [
            number_of(activation) if scale is None else (np.atleast_1d(scale.offset), np.atleast_1d(scale.scale))
            for activation, scale in zip(architecture.activations, architecture.scales, strict=True)
        ]
        if architecture.scales[-1] is None:
            layers[-1] = number_of(self.last_activation)
        leading = architecture.leading
        return _core.Trainer(
            architecture.sizes[leading:],
            layers[leading:],
            architecture.computed.num,
            self.loss.number,
            self.loss.option,
            batch_size,
            moments,
        )


def split_network(function: str, net: Network, loss: LossLike) -> tuple[Problem, NDArray[Any]]:
    """Return the problem of a network and a loss, and the network's parameters in a flat array."""
    layers = [net._layer(index) for index in range(len(net))]
    sizes = (net.inputs, *(len(layer[1]) for layer in layers))
    if net.one_neuron:  # the layers after it act on single numbers
        last = max(index for index, layer in enumerate(layers) if len(layer) == 4)
        layers[last + 1 :] = [(offset[0], scale[0]) for offset, scale in layers[last + 1 :]]
    scales = tuple(Scale(*layer) if len(layer) == 2 else None for layer in layers)
    if None not in scales:
        raise ValueError(f"{function} expected a network with a Dense layer, got only Scale layers")
    activations = tuple("scale" if len(layer) == 2 else name_of(*layer[2:]) for layer in layers)
    computed = np.result_type(net.dtype, np.float32)
    architecture = Architecture(sizes, activations, scales, net.one_neuron, net.dtype, computed, dict(net.metadata))
    learnt = [array.ravel() for layer in layers if len(layer) == 4 for array in layer[:2]]
    parameters = np.concatenate(learnt, dtype=computed)
    parameters.flags.writeable = False
    last_activation = None if scales[-1] is not None else activations[-1]
    return Problem(function, architecture, *choose_loss(function, loss, last_activation)), parameters


def compute_gradient(net: Network, x: Any, targets: Any, loss: LossLike, sample_weight: Any) -> tuple[Any, Layers]:
    """Return the loss of a network, and its gradients with respect to each layer's parameters."""
    problem, parameters = split_network("Network.gradient", net, loss)
    rows = problem.as_rows(x, targets, sample_weight)
    trainer = problem.trainer(max(1, len(rows.x)))
    trainer.parameters[:] = parameters
    value = trainer.gradient(*rows)
    return rounded(value, net.dtype), problem.architecture.split(rounded(trainer.gradient_array, net.dtype))


def backpropagate(net: Network, x: Any, upstream: Any) -> tuple[Layers, NDArray[Any]]:
    """Return the gradients with respect to parameters and x, given that of the outputs."""
    problem, parameters = split_network("Network.backward", net, "squared_error")  # the loss is not used
    architecture = problem.architecture
    try:
        array = problem.as_x(x)
        shape = architecture.shape_of_outputs(array.shape[:-1])
        by_outputs = as_real(upstream)
        if by_outputs.shape != shape:
            raise ValueError("upstream must have the shape of the outputs")
    except (TypeError, ValueError) as error:
        expected = f"x (..., {architecture.sizes[0]}) and upstream {architecture.outputs_text}, both with {REAL}"
        raise explained(error, problem.function, expected, x=x, upstream=upstream) from None
    rows = math.prod(array.shape[:-1])
    trainer = problem.trainer(max(1, rows))
    trainer.parameters[:] = parameters
    by_inputs = np.empty_like(array)
    trainer.backward(
        array.reshape(rows, architecture.sizes[0]),
        as_contiguous(by_outputs, architecture.computed).reshape(rows, architecture.sizes[-1]),
        by_inputs.reshape(rows, architecture.sizes[0]),
    )
    factors = [Scale(0, scale.scale) for scale in reversed(architecture.scales[: architecture.leading]) if scale is not None]
    if factors:
        by_inputs = _scaled(by_inputs, factors, architecture.computed)
    return architecture.split(rounded(trainer.gradient_array, net.dtype)), rounded(by_inputs, net.dtype)


def _scaled(x: NDArray[Any], scales: list[Scale], dtype: np.dtype[Any]) -> Any:
    from nnkernels.network import Network  # a circular import at the top

    return Network(scales, dtype)(x)
