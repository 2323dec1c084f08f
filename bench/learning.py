"""The training cases of peers.py: networks and data, each library's way to train, and the goals."""

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import nnkernels as nnk
from cases import (
    CLEAR_REFS,
    DTYPES,
    Case,
    Dtype,
    Goal,
    Group,
    Shape,
    Table,
    add_peers,
    concurrently,
    fma_limit,
    growth_of,
    on_threads,
    uniform,
)
from engines import Array, Way, configured_jax, descriptions, module
from measure import OURS, Check, Contender, Work

# Weights (outputs, inputs) and bias (outputs,) of each layer, as something NumPy can convert to
# arrays.
Parameters = Sequence[tuple[Any, Any]]


@dataclass(frozen=True)
class Task:
    """A network and its training data, for Adam. The last activation determines the loss."""

    name: str
    data: Callable[[], tuple[Array, Array]]  # inputs (rows, inputs), and labels (rows,) or targets (rows, outputs)
    shape: Shape
    batch: int
    epochs: int  # per call
    goals: tuple[Goal, ...]  # in float32
    learning_rate: float = 0.001

    def arrays(self, dtype: Dtype) -> tuple[Array, Array]:
        """The data with inputs and targets of the dtype; labels are int64."""
        x, targets = self.data()
        return x.astype(dtype), targets.astype(dtype if targets.ndim == 2 else np.int64)

    def parameters(self, dtype: Dtype) -> Parameters:
        """The initial parameters."""
        return [(layer.weights, layer.bias) for layer in self.shape.layers(dtype)]


@functools.cache
def digits() -> tuple[Array, Array]:
    """UCI digits, scikit-learn's copy: 1797 images of 8 x 8 pixels.

    Without scikit-learn, generated rows of the same shape.
    """
    datasets = module("sklearn.datasets")
    if not datasets:
        return generated(1797, DIGITS)
    pixels, labels = datasets.load_digits(return_X_y=True)
    return pixels / 16, labels


def xor() -> tuple[Array, Array]:
    """The four rows of exclusive or."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    return x, np.logical_xor(x[:, :1], x[:, 1:])


@functools.cache
def generated(rows: int, shape: Shape) -> tuple[Array, Array]:
    """Normal inputs, and targets from a random network with noise.

    The targets are the network's outputs, their signs, or the index of the largest one.
    """
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return generator.standard_normal(shape, np.float32)

    inputs, outputs = shape.sizes[0], shape.sizes[-1]
    x = normal(rows, inputs)
    hidden = np.tanh(x @ normal(inputs, 16) / inputs**0.5)
    signal = hidden @ normal(16, outputs) / 4 + 0.1 * normal(rows, outputs)
    targets = {"softmax": signal.argmax(axis=-1), "sigmoid": signal > 0, None: signal}
    return x, targets[shape.last]


DIGITS = Shape((64, 64, 10))
BINARY = Shape((20, 100, 1), last="sigmoid")
CLASSES = Shape((784, 128, 10))
REGRESSION = Shape((8, 64, 64, 1), last=None)
XOR = Shape((2, 8, 1), "tanh", "sigmoid")


def ahead(times: dict[str, float]) -> tuple[Goal, ...]:
    """Faster than every peer, and than some by a factor."""
    return Goal("ratio", at_least=1), *(Goal(library, at_least=ratio) for library, ratio in times.items())


DIGITS_32 = Task(
    "digits 1797x64, 64-10, batch 32", digits, DIGITS, batch=32, epochs=4, goals=ahead({"scikit-learn": 24, "JAX": 4})
)
CLASSES_128 = Task(
    "classes 60000x784, 128-10, batch 128",
    partial(generated, 60000, CLASSES),
    CLASSES,
    batch=128,
    epochs=1,
    goals=(*ahead({"scikit-learn": 2.4, "JAX": 1.3}), Goal("percent", at_least=80)),
)
TASKS = (
    DIGITS_32,
    Task(
        "digits 1797x64, 64-10, batch 200", digits, DIGITS, batch=200, epochs=10, goals=ahead({"scikit-learn": 8, "JAX": 4.5})
    ),
    Task(
        "binary 20000x20, 100-1, batch 200",
        partial(generated, 20000, BINARY),
        BINARY,
        batch=200,
        epochs=2,
        goals=ahead({"scikit-learn": 11, "JAX": 3.5}),
    ),
    CLASSES_128,
    Task(
        "regression 20640x8, 64-64-1, batch 64",
        partial(generated, 20640, REGRESSION),
        REGRESSION,
        batch=64,
        epochs=1,
        goals=ahead({"scikit-learn": 15, "JAX": 2.7}),
    ),
    Task("xor 4x2, 8-1 tanh, batch 4", xor, XOR, batch=4, epochs=500, goals=ahead({"scikit-learn": 400}), learning_rate=0.05),
)


# Training in plain NumPy


def layer_inputs(parameters: Parameters, hidden: str, x: Array) -> list[Array]:
    """The inputs of each layer, and the last outputs before their activation, in float64."""
    values = [x]
    for weights, bias in parameters:
        if len(values) > 1:
            values[-1] = np.maximum(values[-1], 0) if hidden == "relu" else np.tanh(values[-1])
        values.append(values[-1] @ np.asarray(weights, np.float64).T + np.asarray(bias, np.float64))
    return values


def loss_of_outputs(last: str | None, z: Array, targets: Array) -> tuple[float, Array]:
    """The mean loss of outputs before the last activation, and its gradient."""
    if last == "softmax":
        rows = np.arange(len(z))
        sums = np.logaddexp.reduce(z, axis=-1, keepdims=True)
        losses, gradient = sums[:, 0] - z[rows, targets], np.exp(z - sums)
        gradient[rows, targets] -= 1
    elif last == "sigmoid":
        losses, gradient = np.logaddexp(0, z) - targets * z, 1 / (1 + np.exp(-z)) - targets
    else:
        losses, gradient = (z - targets) ** 2, 2 * (z - targets)
    return float(losses.mean()), gradient / losses.size


def loss_of(task: Task, parameters: Parameters) -> float:
    """The mean loss of all rows."""
    x, targets = task.arrays(np.float64)
    *_, z = layer_inputs(parameters, task.shape.hidden, x)
    return loss_of_outputs(task.shape.last, z, targets)[0]


@functools.cache
def learned_loss(task: Task) -> float:
    """The loss of plain NumPy in float64, from the same parameters, with its own order of rows."""
    x, targets = task.arrays(np.float64)
    parameters = task.parameters(np.float64)
    moments = [[np.zeros((2, *array.shape)) for array in pair] for pair in parameters]
    generator = np.random.default_rng(0)
    step = 0
    for _ in range(task.epochs):
        order = generator.permutation(len(x))
        for start in range(0, len(x), task.batch):
            rows = order[start : start + task.batch]
            step += 1
            *values, z = layer_inputs(parameters, task.shape.hidden, x[rows])
            _, upstream = loss_of_outputs(task.shape.last, z, targets[rows])
            for pair, pair_moments, inputs in zip(parameters[::-1], moments[::-1], values[::-1], strict=True):
                gradients = upstream.T @ inputs, upstream.sum(axis=0)
                slope = inputs > 0 if task.shape.hidden == "relu" else 1 - inputs**2
                upstream = upstream @ pair[0] * slope
                for array, gradient, (m, v) in zip(pair, gradients, pair_moments, strict=True):
                    m += 0.1 * (gradient - m)
                    v += 0.001 * (gradient**2 - v)
                    array -= task.learning_rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return loss_of(task, parameters)


# Each library's ways to train


@dataclass(frozen=True)
class Learner:
    """Ways to train on a task from its initial parameters, and to read the result's parameters."""

    ways: list[Way]
    parameters: Callable[[Any], Parameters]


def nnkernels_learner(task: Task, dtype: Dtype) -> Learner:
    """`train`."""
    x, targets = task.arrays(dtype)
    train = partial(
        nnk.train,
        nnk.Network(descriptions(task.shape.layers(dtype))),
        x,
        targets,
        optimizer=nnk.Adam(task.learning_rate),
        epochs=task.epochs,
        batch_size=task.batch,
        progress=False,
    )
    return Learner([train], lambda training: [(layer.weights, layer.bias) for layer in training.network.layers])


def sklearn_learner(task: Task, dtype: Dtype) -> Learner | None:
    """`fit` of MLPClassifier or MLPRegressor, without early stopping."""
    networks = module("sklearn.neural_network")
    if not networks:
        return None
    start = [(weights.T, bias) for weights, bias in task.parameters(dtype)]

    class Model(networks.MLPRegressor if task.shape.last is None else networks.MLPClassifier):  # type: ignore[misc]
        """Starts from the task's parameters; scikit-learn has no public way to do so."""

        def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> Parameters:
            weights, bias = start[len(self.coefs_)]
            return weights.copy(), bias.copy()

    model = Model(
        hidden_layer_sizes=task.shape.sizes[1:-1],
        activation=task.shape.hidden,
        alpha=0,
        batch_size=task.batch,
        learning_rate_init=task.learning_rate,
        max_iter=task.epochs,
        n_iter_no_change=task.epochs,
        tol=0,
    )
    warnings.filterwarnings("ignore", category=module("sklearn.exceptions").ConvergenceWarning)
    x, targets = task.arrays(dtype)
    return Learner(
        [partial(model.fit, x, targets.ravel())],
        lambda model: [(weights.T, bias) for weights, bias in zip(model.coefs_, model.intercepts_, strict=True)],
    )


def torch_learner(task: Task, dtype: Dtype) -> Learner | None:
    """PyTorch on tensors in memory, without a DataLoader: fused and plain Adam."""
    torch = module("torch")
    if not torch:
        return None
    torch.set_num_threads(1)
    functional = torch.nn.functional
    activation = {"relu": torch.relu, "tanh": torch.tanh}[task.shape.hidden]
    mean_loss = {
        "softmax": functional.cross_entropy,
        "sigmoid": functional.binary_cross_entropy_with_logits,
        None: functional.mse_loss,
    }[task.shape.last]
    x, targets = map(torch.from_numpy, task.arrays(dtype))
    start = task.parameters(dtype)

    def train(fused: bool) -> Parameters:
        layers = [[torch.tensor(array, requires_grad=True) for array in pair] for pair in start]
        optimizer = torch.optim.Adam([array for pair in layers for array in pair], task.learning_rate, fused=fused)
        for _ in range(task.epochs):
            total = 0.0
            for rows in torch.randperm(len(x)).split(task.batch):
                values = functional.linear(x.index_select(0, rows), *layers[0])
                for weights, bias in layers[1:]:
                    values = functional.linear(activation(values), weights, bias)
                loss = mean_loss(values, targets.index_select(0, rows))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
        return [(weights.detach(), bias.detach()) for weights, bias in layers]

    return Learner([partial(train, fused=True), partial(train, fused=False)], lambda parameters: parameters)


def jax_learner(task: Task, dtype: Dtype) -> Learner | None:
    """JAX: each epoch is one compiled scan over the batches, whose state is donated to the next."""
    jax = configured_jax()
    if not jax:
        return None
    activation = {"relu": jax.nn.relu, "tanh": jax.numpy.tanh}[task.shape.hidden]

    def loss(parameters: Any, x: Any, targets: Any) -> Any:
        for index, (weights, bias) in enumerate(parameters):
            x = (activation(x) if index else x) @ weights + bias
        if task.shape.last == "softmax":
            return -jax.nn.log_softmax(x)[jax.numpy.arange(len(x)), targets].mean()
        if task.shape.last == "sigmoid":
            return (jax.nn.softplus(x) - targets * x).mean()
        return ((x - targets) ** 2).mean()

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, order: Any, x: Any, targets: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            parameters, first, second, steps = state
            batch = (array.at[rows].get(mode="promise_in_bounds") for array in (x, targets))
            value, gradient = jax.value_and_grad(loss)(parameters, *batch)
            steps += 1
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
            rate, scale = task.learning_rate / (1 - 0.9**steps), 1 / (1 - 0.999**steps)
            parameters = jax.tree.map(
                lambda p, m, v: p - rate * m / (jax.numpy.sqrt(v * scale) + 1e-8), parameters, first, second
            )
            return (parameters, first, second, steps), value * len(rows)

        full = len(x) - len(x) % task.batch
        state, losses = jax.lax.scan(step, state, order[:full].reshape(-1, task.batch))
        total = losses.sum()
        if full < len(x):
            state, value = step(state, order[full:])
            total += value
        return state, total / len(x)

    x, targets = jax.device_put(task.arrays(dtype))
    start = [(weights.T, bias) for weights, bias in task.parameters(dtype)]
    zeros = jax.tree.map(np.zeros_like, start)
    begin = jax.jit(lambda: (start, zeros, zeros, jax.numpy.zeros((), dtype)))
    generator = np.random.default_rng(0)
    rows = np.arange(len(x), dtype=np.int32)

    def train() -> Any:
        state = begin()
        for _ in range(task.epochs):
            state, total = epoch(state, generator.permutation(rows), x, targets)
            float(total)
        return jax.block_until_ready(state[0])

    return Learner([train], lambda parameters: [(weights.T, bias) for weights, bias in parameters])


# In the order of the tables' columns.
LEARNERS: dict[str, Callable[[Task, Dtype], Learner | None]] = {
    "PyTorch": torch_learner,
    "JAX": jax_learner,
    "scikit-learn": sklearn_learner,
}


# The cases


def learn(task: Task, dtype: Dtype, threads: int, peers: Sequence[str] = tuple(LEARNERS)) -> Work:
    """A call that trains, timed per step. Its loss must be within a fifth of plain NumPy's."""
    expected, start = learned_loss(task), loss_of(task, task.parameters(np.float64))
    if expected > start / 2:
        raise ArithmeticError(f"{task.name}: expected the loss to fall from {start:.3g} by half at least, got {expected:.3g}")
    rows = len(task.data()[0])
    steps = task.epochs * -(-rows // task.batch)

    def contender(learner: Learner) -> Contender:
        check = Check(np.array(expected), expected / 5, lambda result: loss_of(task, learner.parameters(result)))
        return Contender(learner.ways, steps, check)

    def peer(library: str) -> Contender | None:
        learner = LEARNERS[library](task, dtype)
        return contender(learner) if learner else None

    work = Work({OURS: contender(nnkernels_learner(task, dtype))})
    add_peers(work, peers, peer)
    # Forward pass, gradients of the weights, and gradients of the inputs of all layers but the
    # first.
    multiplications = 3 * task.shape.weights() - task.shape.sizes[0] * task.shape.sizes[1]
    work.flops = 2 * task.epochs * rows * multiplications
    if any(goal.figure == "percent" for goal in task.goals):
        work.limit = fma_limit(work, dtype)
    return work


def learn_on_threads(task: Task, threads: int) -> Work:
    """Steps on this number of threads, compared with one."""
    return on_threads(learn(task, np.float32, threads, peers=()), threads)


def dead_units(threads: int) -> Work:
    """Steps of a network whose hidden units died over 2000 steps ago, compared with live units.

    With batches of one row, a step is mostly Adam. With a bias of -1, units are live on large
    inputs and dead on zeros.
    """
    layers = [replace(layer, bias=-np.ones_like(layer.bias)) for layer in CLASSES.layers(np.float32)]
    x = uniform((64, CLASSES.sizes[0]), 8, np.float32, seed=1)
    labels = np.arange(len(x)) % CLASSES.sizes[-1]
    train = partial(nnk.train, nnk.Network(descriptions(layers)), targets=labels, batch_size=1, progress=False)
    live = train(x, epochs=1)
    dead = train(np.zeros_like(x), epochs=40, state=live.state)

    def hidden_weights(training: nnk.Training) -> Array:
        return training.state.parameters[: x.shape[1] * CLASSES.sizes[1]]

    stays = Check(hidden_weights(dead), 0, hidden_weights)
    return Work(
        {
            OURS: Contender([partial(train, np.zeros_like(x), epochs=1, state=dead.state)], len(x), stays),
            "live": Contender([partial(train, x, epochs=1, state=live.state)], len(x)),
        }
    )


def memory_ratio(shape: Shape, rows: int, batch: int) -> float:
    """Memory of `train`, divided by the size of its data.

    The data are parameters, gradient, two moments, and a batch of layers' inputs and outputs.
    """
    x, labels = uniform((rows, shape.sizes[0]), 1, np.float32, seed=1), np.zeros(rows, np.int64)
    run = partial(
        nnk.train, nnk.Network(descriptions(shape.layers(np.float32))), x, labels, epochs=1, batch_size=batch, progress=False
    )
    parameters = shape.weights() + sum(shape.sizes[1:])
    return growth_of(run) / (4 * (4 * parameters + batch * sum(shape.sizes)))


def learning_tables() -> list[Table]:
    """Training beside the peers; dead units; memory."""

    def table(dtype: Dtype, share: float) -> Table:
        rows = []
        for task in TASKS:
            goals = [goal if goal.figure == "ratio" else replace(goal, at_least=share * goal.at_least) for goal in task.goals]
            rows.append(Case(task.name, partial(learn, task, dtype), tuple(goals), task is CLASSES_128, {"task": task.name}))
        return Table(f"Learning with Adam, {dtype.__name__}", "us a step", rows)

    dead = [Case(f"{CLASSES}, batch 1", dead_units, (Goal("versus", at_least=1 / 1.1),))]
    wide = Shape((784, 1024, 1024, 10))
    memory = [
        Case(
            f"{wide}, 12800 rows, batch 128",
            lambda threads: Work(direct=partial(memory_ratio, wide, 12800, 128)),
            (Goal("value", at_most=2),),
        )
    ]
    return [
        # First, because other cases leave free memory behind, which training would reuse.
        Table("Memory of training over parameters, gradient, moments, batch", "", memory if CLEAR_REFS.exists() else []),
        *(table(dtype, share) for dtype, share in zip(DTYPES, (1, 0.5), strict=True)),
        Table("Dead units beside live ones, float32", "us a step", dead, versus="live"),
    ]


def learning_on_threads_tables() -> list[Table]:
    """Training on several threads; concurrent Python threads that each train a network."""
    shared = [
        Case(
            task.name,
            partial(learn_on_threads, task),
            (Goal("versus", at_least=1.7 if task is CLASSES_128 else 0.97),),
            heavy=task is CLASSES_128,
        )
        for task in TASKS
    ]
    callers = [
        Case(
            DIGITS_32.name,
            partial(concurrently, partial(learn, DIGITS_32, np.float32, peers=()), 20),
            (Goal("versus", at_least=1.9),),
        )
    ]
    return [
        Table("Learning on several threads, float32", "us a step", shared, versus="one thread"),
        Table("Python threads that train a network each, float32", "ms a call", callers, versus="one alone"),
    ]


GROUPS = [
    Group("learning", learning_tables, learns=True),
    Group("learning", learning_on_threads_tables, threads=2, learns=True),
]
