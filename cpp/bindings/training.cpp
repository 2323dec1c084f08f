// The C++ side of training: arrays, the GIL, Ctrl-C. It checks only what memory safety needs;
// python/nnkernels/losses.py and training.py document and check the rest.
#include "training.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <new>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "../floating_point.h"
#include "../random.h"
#include "../training.h"
#include "numpy_api.h"

namespace py = pybind11;

namespace nnkernels {
namespace {

// Maximum delay between two checks for Ctrl-C.
constexpr auto kPatience = std::chrono::milliseconds(50);

// Releases the GIL while C++ works, and calls Python's signal handlers in between.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()), last_(Clock::now()) {}
  ~WithoutGil() {
    if (state_ != nullptr) restore_thread(state_);
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

  // Throws a signal handler's exception, usually KeyboardInterrupt, with the GIL held.
  void handle_signals() {
    if (Clock::now() - last_ < kPatience) return;
    restore_thread(std::exchange(state_, nullptr));
    if (PyErr_CheckSignals() != 0) throw_python_error();
    state_ = PyEval_SaveThread();
    last_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  PyThreadState* state_;
  Clock::time_point last_;
};

// The data of an array, or an error if its type, shape or layout is wrong for the kernels.
template <class T>
T* data_of(py::handle object, int type, const std::vector<std::size_t>& shape, const char* name) {
  if (!PyArray_Check(object.ptr())) throw py::type_error(std::string(name) + " is not an array");
  PyArrayObject* array = as_array(object);
  bool good = PyArray_EquivTypenums(PyArray_TYPE(array), type) && PyArray_IS_C_CONTIGUOUS(array) &&
              PyArray_ISBEHAVED_RO(array) && PyArray_NDIM(array) == static_cast<int>(shape.size());
  for (std::size_t i = 0; good && i < shape.size(); ++i) {
    good = PyArray_DIM(array, static_cast<int>(i)) == static_cast<npy_intp>(shape[i]);
  }
  if (!good) throw py::value_error(std::string(name) + " has the wrong dtype, shape or layout");
  return static_cast<T*>(PyArray_DATA(array));
}

std::size_t rows_of(py::handle object, const char* name) {
  if (!PyArray_Check(object.ptr()) || PyArray_NDIM(as_array(object)) < 1)
    throw py::type_error(std::string(name) + " has no rows");
  return static_cast<std::size_t>(PyArray_DIM(as_array(object), 0));
}

template <class C>
Targets<C> targets_of(Loss loss, py::handle targets, py::handle weights, std::size_t rows, std::size_t n) {
  Targets<C> result{};
  if (loss == Loss::kCrossEntropy && PyArray_Check(targets.ptr()) && PyArray_NDIM(as_array(targets)) == 1) {
    result.labels = data_of<std::int64_t>(targets, NPY_INT64, {rows}, "targets");
    for (std::size_t row = 0; row < rows; ++row) {
      if (result.labels[row] < 0 || static_cast<std::uint64_t>(result.labels[row]) >= n) {
        throw py::value_error("the label of row " + std::to_string(row) + " is not a class");
      }
    }
  } else {
    result.targets = data_of<C>(targets, kTypeNumber<C>, {rows, n}, "targets");
  }
  if (weights.is_none()) return result;
  result.weight_of_term = PyArray_Check(weights.ptr()) && PyArray_NDIM(as_array(weights)) == 2 && loss != Loss::kCrossEntropy;
  result.weights = result.weight_of_term ? data_of<double>(weights, NPY_DOUBLE, {rows, n}, "weights")
                                         : data_of<double>(weights, NPY_DOUBLE, {rows}, "weights");
  return result;
}

Loss loss_of(int number) {
  if (number < 0 || number > static_cast<int>(Loss::kPoisson)) throw py::value_error("unknown loss");
  return static_cast<Loss>(number);
}

template <class C>
py::object new_array(const std::vector<std::size_t>& shape) {
  std::vector<npy_intp> dimensions(shape.begin(), shape.end());
  auto array = py::reinterpret_steal<py::object>(
      PyArray_SimpleNew(static_cast<int>(dimensions.size()), dimensions.data(), kTypeNumber<C>));
  if (!array) throw_python_error();
  return array;
}

template <class C>
py::tuple loss_in(Loss loss, double option, py::handle outputs, py::handle targets, py::handle weights, Reduction reduction,
                  bool gradient) {
  const std::size_t rows = rows_of(outputs, "outputs");
  const std::size_t n = PyArray_NDIM(as_array(outputs)) == 2 ? static_cast<std::size_t>(PyArray_DIM(as_array(outputs), 1)) : 0;
  const C* const from = data_of<const C>(outputs, kTypeNumber<C>, {rows, n}, "outputs");
  const Targets<C> beside = targets_of<C>(loss, targets, weights, rows, n);
  const bool of_rows = loss == Loss::kCrossEntropy;
  const std::size_t terms = of_rows ? rows : rows * n;
  const py::object losses = new_array<C>(of_rows ? std::vector{rows} : std::vector{rows, n});
  const py::object gradients = gradient ? new_array<C>({rows, n}) : py::none();
  C* const losses_data = static_cast<C*>(PyArray_DATA(as_array(losses)));
  C* const gradients_data = gradient ? static_cast<C*>(PyArray_DATA(as_array(gradients))) : nullptr;
  const Buffer<C> factors(gradient && !weights.is_none() ? terms : 0);
  double value;
  {
    const WithoutGil released;
    const FloatingPointScope scope(Exceptions::kDrop);
    const LossSum sum =
        compute_loss(loss, option, from, rows, n, beside, reduction, losses_data, gradients_data, factors.data());
    value = reduction == Reduction::kMean ? sum.mean() : sum.losses;
  }
  if (reduction == Reduction::kNone) return py::make_tuple(losses, gradients);
  return py::make_tuple(value, gradients);
}

py::tuple compute_loss_of(int number, double option, const py::object& outputs, const py::object& targets,
                          const py::object& weights, int reduction, bool gradient) {
  const Loss loss = loss_of(number);
  if (reduction < 0 || reduction > static_cast<int>(Reduction::kMean)) throw py::value_error("unknown reduction");
  const bool is_double = PyArray_Check(outputs.ptr()) && PyArray_TYPE(as_array(outputs)) == NPY_DOUBLE;
  const auto compute = is_double ? loss_in<double> : loss_in<float>;
  return compute(loss, option, outputs, targets, weights, static_cast<Reduction>(reduction), gradient);
}

class PyTrainer {
  struct ForgetPoll {
    std::function<void()>& poll;
    ~ForgetPoll() { poll = nullptr; }
  };

  template <class AnyTrainer>
  static void need_batch(const AnyTrainer& trainer, std::size_t rows) {
    if (rows > trainer.batch()) throw py::value_error("more rows than a batch");
  }

  static Optimizer optimizer_of(const std::vector<double>& numbers) {
    constexpr auto kMost = static_cast<double>(Optimizer::Kind::kAdamHat);
    if (numbers.size() != 6 || !(numbers[0] >= 0 && numbers[0] <= kMost && numbers[0] == std::floor(numbers[0]))) {
      throw py::value_error("expected six numbers of an optimizer, the first of which is its kind");
    }
    return {
        static_cast<Optimizer::Kind>(static_cast<int>(numbers[0])), numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
  }

  template <class AnyTrainer>
  static void need_moments(const AnyTrainer& trainer, const Optimizer& optimizer) {
    const std::size_t needed = optimizer.kind == Optimizer::Kind::kSgd ? (optimizer.beta_1 != 0 ? 1 : 0) : 2;
    if (trainer.moments() < needed) throw py::value_error("the optimizer needs more moments");
  }

  // Runs work() without the GIL. Exceptions leave this function with the GIL held.
  template <class AnyTrainer, class Work>
  static auto without_gil(AnyTrainer& trainer, Work work) {
    WithoutGil released;
    const FloatingPointScope scope(Exceptions::kDrop);
    trainer.poll = [&released] { released.handle_signals(); };
    const ForgetPoll forget{trainer.poll};
    return work();
  }

  // work(trainer, examples), without the GIL.
  template <class Work>
  auto run(const py::object& x, const py::object& targets, const py::object& weights, Work work) {
    return std::visit(
        [&](auto& pointer) {
          auto& trainer = *pointer;
          using C = typename std::decay_t<decltype(trainer)>::Element;
          const std::size_t rows = rows_of(x, "x");
          const Examples<C> examples{data_of<const C>(x, kTypeNumber<C>, {rows, trainer.inputs()}, "x"), rows,
                                     targets_of<C>(trainer.loss(), targets, weights, rows, trainer.outputs())};
          return without_gil(trainer, [&] { return work(trainer, examples); });
        },
        trainer_);
  }

 public:
  // activations: for each layer (number, option), or (offset, scale) for a Scale.
  PyTrainer(const std::vector<std::size_t>& sizes, const py::sequence& activations, int type, int loss, double option,
            std::size_t batch_size, std::size_t moments) {
    if (sizes.size() < 2 || activations.size() != sizes.size() - 1) throw py::value_error("expected one activation per layer");
    if (type != NPY_FLOAT && type != NPY_DOUBLE) throw py::type_error("expected float32 or float64");
    if (moments > 2) throw py::value_error("expected at most two moments");
    if (type == NPY_FLOAT) {
      trainer_ = make<float>(sizes, activations, loss_of(loss), option, batch_size, moments);
    } else {
      trainer_ = make<double>(sizes, activations, loss_of(loss), option, batch_size, moments);
    }
  }

  std::uint64_t steps() {
    return std::visit([](const auto& trainer) { return trainer->steps; }, trainer_);
  }
  void set_steps(std::uint64_t steps) {
    std::visit([steps](const auto& trainer) { trainer->steps = steps; }, trainer_);
  }

  // Views of the C++ memory that keep `self` alive.
  py::object parameters(py::handle self) const {
    return std::visit([self](const auto& trainer) { return view(trainer->parameters(), trainer->size(), self); }, trainer_);
  }
  py::object gradient_array(py::handle self) const {
    return std::visit([self](const auto& trainer) { return view(trainer->gradient(), trainer->size(), self); }, trainer_);
  }
  py::tuple moments(py::handle self) const {
    return std::visit(
        [self](const auto& trainer) {
          py::list views;
          for (std::size_t i = 0; i < trainer->moments(); ++i) views.append(view(trainer->moment(i), trainer->size(), self));
          return py::tuple(views);
        },
        trainer_);
  }

  std::vector<double> epochs(const py::object& x, const py::object& targets, const py::object& weights,
                             const std::vector<double>& optimizer, std::uint64_t seed, std::uint64_t first, std::size_t count,
                             bool shuffle) {
    const Optimizer steps = optimizer_of(optimizer);
    return run(x, targets, weights, [&](auto& trainer, const auto& examples) {
      need_moments(trainer, steps);
      std::vector<double> losses(count);
      for (std::size_t i = 0; i < count; ++i) losses[i] = trainer.run_epoch(examples, steps, seed, first + i, shuffle).mean();
      return losses;
    });
  }

  std::pair<double, double> run_batches(const py::object& x, const py::object& targets, const py::object& weights,
                                        const std::vector<double>& optimizer, const py::object& order, double gradient_scale) {
    const Optimizer steps = optimizer_of(optimizer);
    const std::size_t rows = rows_of(x, "x"), count = order.is_none() ? rows : rows_of(order, "order");
    const auto* numbers = order.is_none() ? nullptr : data_of<const std::int64_t>(order, NPY_INT64, {count}, "order");
    static_assert(sizeof(std::size_t) == sizeof(std::int64_t));
    const auto* const unsigned_numbers = reinterpret_cast<const std::size_t*>(numbers);
    for (std::size_t i = 0; numbers != nullptr && i < count; ++i) {
      if (unsigned_numbers[i] >= rows) throw py::index_error("there is no row " + std::to_string(numbers[i]));
    }
    return run(x, targets, weights, [&](auto& trainer, const auto& examples) {
      need_moments(trainer, steps);
      const BatchSums sums = trainer.run_batches(examples, steps, unsigned_numbers, count, gradient_scale);
      return std::pair(sums.losses, sums.penalty);
    });
  }

  double evaluate(const py::object& x, const py::object& targets, const py::object& weights) {
    return run(x, targets, weights, [](auto& trainer, const auto& examples) { return trainer.evaluate(examples).mean(); });
  }

  double gradient(const py::object& x, const py::object& targets, const py::object& weights, bool drop_tiny) {
    return run(x, targets, weights, [drop_tiny](auto& trainer, const auto& examples) {
      using C = typename std::decay_t<decltype(trainer)>::Element;
      need_batch(trainer, examples.rows);
      return trainer.compute_gradient(examples, drop_tiny ? kLeastGradient<C> : C(0)).mean();
    });
  }

  void backward(const py::object& x, const py::object& upstream, const py::object& x_gradient) {
    std::visit(
        [&](auto& pointer) {
          auto& trainer = *pointer;
          using C = typename std::decay_t<decltype(trainer)>::Element;
          const std::size_t rows = rows_of(x, "x");
          need_batch(trainer, rows);
          const C* const from = data_of<const C>(x, kTypeNumber<C>, {rows, trainer.inputs()}, "x");
          const C* const by_outputs = data_of<const C>(upstream, kTypeNumber<C>, {rows, trainer.outputs()}, "upstream");
          C* const by_inputs = data_of<C>(x_gradient, kTypeNumber<C>, {rows, trainer.inputs()}, "x_gradient");
          if (!PyArray_ISWRITEABLE(as_array(x_gradient))) throw py::value_error("x_gradient is read-only");
          without_gil(trainer, [&] { trainer.backward(from, rows, by_outputs, by_inputs); });
        },
        trainer_);
  }

 private:
  template <class C>
  static std::unique_ptr<Trainer<C>> make(const std::vector<std::size_t>& sizes, const py::sequence& activations, Loss loss,
                                          double option, std::size_t batch_size, std::size_t moments) {
    if (batch_size == 0) throw py::value_error("expected a batch of at least one row");
    // Neither element counts nor byte counts may overflow.
    std::size_t widest = std::max<std::size_t>(batch_size, sizes.size());
    for (const std::size_t size : sizes) widest = std::max(widest, size);
    constexpr std::size_t kMost = std::size_t{1} << 56;
    std::vector<typename Trainer<C>::Layer> layers;
    std::size_t elements = 0;
    for (std::size_t i = 0; i + 1 < sizes.size(); ++i) {
      const py::object activation = activations[i];
      std::size_t of_layer = 0;
      const bool too_many = __builtin_mul_overflow(sizes[i] + sizes[i + 1], sizes[i + 1] + batch_size, &of_layer);
      if (widest >= kMost || too_many || of_layer >= kMost || (elements += of_layer) >= kMost) throw std::bad_alloc();
      typename Trainer<C>::Layer layer{sizes[i], sizes[i + 1], Activation::kNone};
      try {
        const auto [first, second] = activation.cast<std::pair<py::object, py::object>>();
        layer.scales = !py::isinstance<py::int_>(first);
        if (layer.scales) {
          layer.offset = first.cast<std::vector<double>>();
          layer.scale = second.cast<std::vector<double>>();
          const bool fits = layer.offset.size() == layer.inputs && layer.scale.size() == layer.inputs;
          if (!fits || layer.inputs != layer.outputs) throw py::value_error("expected layers that chain");
        } else {
          const int number = first.cast<int>();
          if (number < 0 || number >= static_cast<int>(kActivations)) throw py::value_error("unknown activation");
          layer.activation = static_cast<Activation>(number);
          layer.option = second.cast<double>();
        }
      } catch (const py::cast_error&) {
        throw py::type_error("expected (activation, option) or (offset, scale) for each layer");
      }
      layers.push_back(std::move(layer));
    }
    return std::make_unique<Trainer<C>>(std::move(layers), loss, option, batch_size, moments);
  }

  template <class C>
  static py::object view(C* data, std::size_t size, py::handle self) {
    npy_intp shape[] = {static_cast<npy_intp>(size)};
    auto array = py::reinterpret_steal<py::object>(PyArray_SimpleNewFromData(1, shape, kTypeNumber<C>, data));
    if (!array) throw_python_error();
    if (PyArray_SetBaseObject(as_array(array), self.inc_ref().ptr()) < 0) throw_python_error();
    return array;
  }

  std::variant<std::unique_ptr<Trainer<float>>, std::unique_ptr<Trainer<double>>> trainer_;
};

// The C++ object of a Python one. If __init__ was never called, pybind11 alone would return
// uninitialised memory.
PyTrainer& trainer_of(py::handle self) {
  if (!py::isinstance<PyTrainer>(self)) throw py::type_error("expected a Trainer");
  auto holder = reinterpret_cast<py::detail::instance*>(self.ptr())->get_value_and_holder();
  if (!holder.holder_constructed()) throw py::value_error("this Trainer is empty: its __init__ was never called");
  return *static_cast<PyTrainer*>(holder.value_ptr());
}

// Turns a method into a function of the Python object.
template <class Result, class... Arguments>
auto method(Result (PyTrainer::*function)(Arguments...)) {
  return [function](py::handle self, Arguments... arguments) { return (trainer_of(self).*function)(arguments...); };
}

py::object permutation_of(std::uint64_t seed, std::uint64_t epoch, std::size_t n) {
  npy_intp shape[] = {static_cast<npy_intp>(n)};
  auto array = py::reinterpret_steal<py::object>(PyArray_SimpleNew(1, shape, NPY_INT64));
  if (!array) throw_python_error();
  static_assert(sizeof(std::size_t) == sizeof(std::int64_t));
  permutation(seed, epoch, n, static_cast<std::size_t*>(PyArray_DATA(as_array(array))));
  return array;
}

py::object weights_of(std::uint64_t seed, std::uint64_t stream, std::size_t n, int initializer, double inputs, double outputs) {
  if (initializer < 0 || initializer > static_cast<int>(Initializer::kTorch)) throw py::value_error("unknown initializer");
  const py::object array = new_array<double>({n});
  const FloatingPointScope scope(Exceptions::kDrop);
  random_weights(seed, stream, static_cast<Initializer>(initializer), inputs, outputs, n,
                 static_cast<double*>(PyArray_DATA(as_array(array))));
  return array;
}

// The array itself if it is contiguous, aligned, native and of the dtype numbered `type`; else a
// converted copy. Casts round to nearest, regardless of the caller's rounding mode.
py::object contiguous(const py::object& array, int type) {
  if (!PyArray_Check(array.ptr())) throw py::type_error("expected an array");
  const FloatingPointScope scope(Exceptions::kKeep);
  auto result = py::reinterpret_steal<py::object>(PyArray_FromArray(
      as_array(array), PyArray_DescrFromType(type), NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST));
  if (!result) throw_python_error();
  return result;
}

}  // namespace

void add_training(py::module_& module) {
  py::class_<PyTrainer>(module, "Trainer")
      .def(py::init<const std::vector<std::size_t>&, const py::sequence&, int, int, double, std::size_t, std::size_t>(),
           py::arg("sizes"), py::arg("activations"), py::arg("type"), py::arg("loss"), py::arg("option"), py::arg("batch_size"),
           py::arg("moments"))
      .def_property("steps", method(&PyTrainer::steps), method(&PyTrainer::set_steps), "Steps that an optimizer has made.")
      .def_property_readonly(
          "parameters", [](py::handle self) { return trainer_of(self).parameters(self); },
          "The weights and the bias of each layer in turn.")
      .def_property_readonly(
          "gradient_array", [](py::handle self) { return trainer_of(self).gradient_array(self); },
          "The gradient with respect to the parameters.")
      .def_property_readonly(
          "moments", [](py::handle self) { return trainer_of(self).moments(self); }, "The optimizer's moments.")
      .def("epochs", method(&PyTrainer::epochs), py::arg("x"), py::arg("targets"), py::arg("weights"), py::arg("optimizer"),
           py::arg("seed"), py::arg("first"), py::arg("count"), py::arg("shuffle"),
           "Run `count` epochs; return the mean loss of each.")
      .def("run_batches", method(&PyTrainer::run_batches), py::arg("x"), py::arg("targets"), py::arg("weights"),
           py::arg("optimizer"), py::arg("order"), py::arg("gradient_scale"),
           "Run an epoch in scikit-learn's conventions, over the rows in `order`; return the sums over its batches of the mean "
           "loss and of the weights' penalty, each times the batch's rows.")
      .def("evaluate", method(&PyTrainer::evaluate), py::arg("x"), py::arg("targets"), py::arg("weights"), "The mean loss.")
      .def("gradient", method(&PyTrainer::gradient), py::arg("x"), py::arg("targets"), py::arg("weights"),
           py::arg("drop_tiny") = false,
           "The mean loss, whose gradient is then in gradient_array. drop_tiny: take tiny numbers as 0, as a step does.")
      .def("backward", method(&PyTrainer::backward), py::arg("x"), py::arg("upstream"), py::arg("x_gradient"),
           "The gradients with respect to the parameters and x, from the gradient with respect to the outputs.");
  module.def("loss", &compute_loss_of, py::arg("kind"), py::arg("option"), py::arg("outputs"), py::arg("targets"),
             py::arg("weights"), py::arg("reduction"), py::arg("gradient"),
             "The losses, their sum or their mean, and its gradient with respect to the outputs.");
  module.def("contiguous", &contiguous, py::arg("array"), py::arg("type"), "An array of a type, as the kernels read it.");
  module.def("permutation", &permutation_of, py::arg("seed"), py::arg("epoch"), py::arg("n"), "The order of rows in an epoch.");
  module.def("random_weights", &weights_of, py::arg("seed"), py::arg("stream"), py::arg("n"), py::arg("initializer"),
             py::arg("inputs"), py::arg("outputs"), "Random weights of a layer.");
}

}  // namespace nnkernels
