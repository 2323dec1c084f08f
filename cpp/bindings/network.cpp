// The C++ side of nnkernels.Network: argument conversion, the GIL, errors. Its Python side is
// python/nnkernels/network.py.
#include "network.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <exception>
#include <new>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "../floating_point.h"
#include "../network.h"
#include "numpy_api.h"

namespace py = pybind11;

namespace nnkernels {
namespace {

// Calls of at least this many multiplications release the GIL.
constexpr std::size_t kReleaseWork = 50'000;

using AnyNetwork = std::variant<Network<Half>, Network<float>, Network<double>>;

std::string shape_text(int dimensions, const npy_intp* shape) {
  std::string text = "(";
  for (int i = 0; i < dimensions; ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + (dimensions == 1 ? ",)" : ")");
}

std::string dtype_of(PyArrayObject* array) {
  return py::str(py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(PyArray_DESCR(array))));
}

// Such as "float32 of shape (2, 3)".
std::string describe(PyArrayObject* array) {
  return dtype_of(array) + " of shape " + shape_text(PyArray_NDIM(array), PyArray_DIMS(array));
}

// Whether forward() can read the array as it is: aligned, in native byte order, with contiguous
// rows at a constant distance.
bool are_rows(PyArrayObject* array, int type) {
  const int dimensions = PyArray_NDIM(array);
  return PyArray_TYPE(array) == type && PyArray_ISBEHAVED_RO(array) && dimensions >= 1 &&
         (PyArray_IS_C_CONTIGUOUS(array) ||
          (dimensions <= 2 && PyArray_STRIDE(array, dimensions - 1) == PyArray_ITEMSIZE(array)));
}

template <class T>
Rows<T> rows_of(PyArrayObject* array, std::size_t width) {
  const int dimensions = PyArray_NDIM(array);
  const bool strided = dimensions == 2 && !PyArray_IS_C_CONTIGUOUS(array);
  const auto row_bytes = static_cast<std::ptrdiff_t>(width * sizeof(T));
  return {static_cast<T*>(PyArray_DATA(array)), strided ? PyArray_STRIDE(array, 0) : row_bytes,
          static_cast<std::ptrdiff_t>(sizeof(T))};
}

// The address range of an array's elements.
std::pair<const char*, const char*> extent(PyArrayObject* array) {
  const char* low = PyArray_BYTES(array);
  const char* high = low + PyArray_ITEMSIZE(array);
  for (int i = 0; i < PyArray_NDIM(array); ++i) {
    if (PyArray_DIM(array, i) == 0) return {low, low};
    const npy_intp reach = (PyArray_DIM(array, i) - 1) * PyArray_STRIDE(array, i);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

bool may_overlap(PyArrayObject* a, PyArrayObject* b) {
  const auto [a_low, a_high] = extent(a);
  const auto [b_low, b_high] = extent(b);
  return a_low < b_high && b_low < a_high;
}

bool is_real(int type) {
  return PyTypeNum_ISBOOL(type) || PyTypeNum_ISINTEGER(type) || type == NPY_HALF || type == NPY_FLOAT || type == NPY_DOUBLE;
}

// Whether Python need not convert the arguments: NumPy arrays (no subclasses), x of a real dtype.
bool are_plain(py::handle x, py::handle out) {
  return PyArray_CheckExact(x.ptr()) && is_real(PyArray_TYPE(as_array(x))) && (out.is_none() || PyArray_CheckExact(out.ptr()));
}

class PyNetwork {
 public:
  // layers: a sequence of (weights, bias, activation, option), or (offset, scale) for a Scale.
  // Layers must chain. weights is (outputs, inputs), bias (outputs,), offset and scale (inputs,).
  // weights and bias are converted from any real dtype to the dtype numbered `type`. one_neuron:
  // outputs have no axis of their own.
  PyNetwork(const py::sequence& layers, int type, bool one_neuron) : network_(make(layers, type)), one_neuron_(one_neuron) {}

  std::size_t size() const {
    return std::visit([](const auto& network) { return network.size(); }, network_);
  }

  std::size_t inputs() const {
    return std::visit([](const auto& network) { return network.inputs(); }, network_);
  }

  std::size_t outputs() const {
    return std::visit([](const auto& network) { return network.outputs(); }, network_);
  }

  bool one_neuron() const { return one_neuron_; }

  py::object dtype() const {
    return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyArray_DescrFromType(type())));
  }

  // A copy of a layer as (weights, bias, activation, option), or (offset, scale).
  py::tuple layer(std::size_t i) const {
    return std::visit([i](const auto& network) { return copy_layer(network, i); }, network_);
  }

  // x and out must be plain.
  py::object call(py::handle x, py::handle out) const {
    return std::visit([&](const auto& network) { return forward(network, x, out); }, network_);
  }

 private:
  static AnyNetwork make(const py::sequence& layers, int type) {
    if (layers.size() == 0) throw py::value_error("expected at least one layer");
    const FloatingPointScope scope(Exceptions::kKeep);
    switch (type) {
      case NPY_HALF:
        return make_of<Half>(layers);
      case NPY_FLOAT:
        return make_of<float>(layers);
      case NPY_DOUBLE:
        return make_of<double>(layers);
      default:
        throw py::type_error("expected float16, float32 or float64");
    }
  }

  static py::object converted(py::handle object, int type, int dimensions) {
    auto array = py::reinterpret_steal<py::object>(
        PyArray_FromAny(object.ptr(), PyArray_DescrFromType(type), dimensions, dimensions,
                        NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST, nullptr));
    if (!array) throw_python_error();
    return array;
  }

  template <class T>
  static Network<T> make_of(const py::sequence& layers) {
    std::vector<LayerView<T>> result;
    std::vector<py::object> arrays;  // keeps the arrays alive until the network has copied them
    // An owning object, not a handle: a sequence may create its items on access.
    for (const py::object item : layers) {
      if (py::len(item) == 2) {
        const auto [given_offset, given_scale] = item.cast<std::tuple<py::object, py::object>>();
        LayerView<T> view{};
        for (const py::object& numbers : {given_offset, given_scale}) arrays.push_back(converted(numbers, NPY_DOUBLE, 1));
        PyArrayObject* const scale = as_array(arrays.back());
        PyArrayObject* const offset = as_array(arrays[arrays.size() - 2]);
        const auto n = static_cast<std::size_t>(PyArray_DIM(scale, 0));
        const bool chains = result.empty() || n == result.back().weights.outputs;
        if (!chains || PyArray_DIM(offset, 0) != PyArray_DIM(scale, 0)) throw py::value_error("expected layers that chain");
        view.weights.inputs = view.weights.outputs = n;
        view.offset = static_cast<const double*>(PyArray_DATA(offset));
        view.scale = static_cast<const double*>(PyArray_DATA(scale));
        result.push_back(view);
        continue;
      }
      if (py::len(item) != 4) throw py::type_error("expected layers of (weights, bias, activation, option) or (offset, scale)");
      const auto [given_weights, given_bias, activation, option] = item.cast<std::tuple<py::object, py::object, int, double>>();
      arrays.push_back(converted(given_weights, kTypeNumber<T>, 2));
      PyArrayObject* weights = as_array(arrays.back());
      arrays.push_back(converted(given_bias, kTypeNumber<T>, 1));
      PyArrayObject* bias = as_array(arrays.back());
      const auto outputs = static_cast<std::size_t>(PyArray_DIM(weights, 0));
      const auto inputs = static_cast<std::size_t>(PyArray_DIM(weights, 1));
      const bool chains = result.empty() || inputs == result.back().weights.outputs;
      if (!chains || PyArray_DIM(bias, 0) != PyArray_DIM(weights, 0)) throw py::value_error("expected layers that chain");
      if (activation < 0 || activation >= static_cast<int>(kActivations)) throw py::value_error("unknown activation");
      result.push_back({{static_cast<const T*>(PyArray_DATA(weights)), PyArray_STRIDE(weights, 0), PyArray_STRIDE(weights, 1),
                         outputs, inputs},
                        {static_cast<const T*>(PyArray_DATA(bias)), PyArray_STRIDE(bias, 0)},
                        static_cast<Activation>(activation),
                        option});
    }
    return Network<T>(result);
  }

  static py::object copy_of(const double* numbers, std::size_t n) {
    npy_intp shape[] = {static_cast<npy_intp>(n)};
    auto array = py::reinterpret_steal<py::object>(PyArray_SimpleNew(1, shape, NPY_DOUBLE));
    if (!array) throw_python_error();
    std::copy_n(numbers, n, static_cast<double*>(PyArray_DATA(as_array(array))));
    return array;
  }

  template <class T>
  static py::tuple copy_layer(const Network<T>& network, std::size_t i) {
    if (i >= network.size()) throw py::index_error("no layer " + std::to_string(i));
    if (network.scales(i)) {
      return py::make_tuple(copy_of(network.offset(i), network.inputs(i)), copy_of(network.scale(i), network.inputs(i)));
    }
    npy_intp shape[] = {static_cast<npy_intp>(network.outputs(i)), static_cast<npy_intp>(network.inputs(i))};
    const auto weights = py::reinterpret_steal<py::object>(PyArray_SimpleNew(2, shape, kTypeNumber<T>));
    if (!weights) throw_python_error();
    const auto bias = py::reinterpret_steal<py::object>(PyArray_SimpleNew(1, shape, kTypeNumber<T>));
    if (!bias) throw_python_error();
    network.copy_weights(i, static_cast<T*>(PyArray_DATA(as_array(weights))));
    network.copy_bias(i, static_cast<T*>(PyArray_DATA(as_array(bias))));
    return py::make_tuple(weights, bias, static_cast<int>(network.activation(i)), network.option(i));
  }

  int type() const {
    return std::visit([](const auto& network) { return type_of(network); }, network_);
  }
  template <class T>
  static int type_of(const Network<T>&) {
    return kTypeNumber<T>;
  }

  // x as rows of T: x itself, or a converted copy. If the first layer is a Scale, x of another
  // dtype is converted to double instead.
  template <class T>
  static py::object convert_input(const Network<T>& network, py::handle x) {
    py::object array = py::reinterpret_borrow<py::object>(x);
    const int dimensions = PyArray_NDIM(as_array(array));
    if (dimensions == 0 || PyArray_DIM(as_array(array), dimensions - 1) != static_cast<npy_intp>(network.inputs())) {
      throw py::value_error("Network expected x of shape (..., " + std::to_string(network.inputs()) + "), got " +
                            describe(as_array(array)));
    }
    const bool to_double = network.scales(0) && PyArray_TYPE(as_array(array)) != kTypeNumber<T>;
    const int type = to_double ? NPY_DOUBLE : kTypeNumber<T>;
    if (!are_rows(as_array(array), type)) {
      const FloatingPointScope scope(Exceptions::kKeep);
      array = py::reinterpret_steal<py::object>(PyArray_FromArray(
          as_array(array), PyArray_DescrFromType(type), NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_FORCECAST));
      if (!array) throw_python_error();
    }
    return array;
  }

  // Raises the error of a ufunc if `out` cannot hold results of this type and shape.
  static void check_output(py::handle out, int type, int dimensions, const npy_intp* shape) {
    PyArrayObject* array = as_array(out);
    if (PyArray_NDIM(array) != dimensions || !std::equal(shape, shape + dimensions, PyArray_DIMS(array))) {
      throw py::value_error("Network expected out of shape " + shape_text(dimensions, shape) + ", got " + describe(array));
    }
    const auto from = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyArray_DescrFromType(type)));
    auto* descriptor = reinterpret_cast<PyArray_Descr*>(from.ptr());
    if (PyArray_CanCastTypeTo(descriptor, PyArray_DESCR(array), NPY_SAME_KIND_CASTING) == 0) {
      throw py::type_error("Network expected out that " + std::string(py::str(from)) + " can be cast to (same_kind), got " +
                           describe(array));
    }
    if (!PyArray_ISWRITEABLE(array)) throw py::value_error("Network expected a writeable out, got a read-only array");
  }

  template <class T>
  py::object forward(const Network<T>& network, py::handle x, py::handle out) const {
    const py::object input = convert_input(network, x);
    PyArrayObject* rows = as_array(input);
    npy_intp shape[NPY_MAXDIMS];
    const int leading = PyArray_NDIM(rows) - 1;
    std::size_t count = 1;
    for (int i = 0; i < leading; ++i) {
      shape[i] = PyArray_DIM(rows, i);
      count *= static_cast<std::size_t>(shape[i]);
    }
    const int dimensions = one_neuron_ ? leading : leading + 1;
    if (!one_neuron_) shape[leading] = static_cast<npy_intp>(network.outputs());

    py::object result;  // destination of the kernels
    if (!out.is_none()) {
      check_output(out, kTypeNumber<T>, dimensions, shape);
      if (are_rows(as_array(out), kTypeNumber<T>) && PyArray_IS_C_CONTIGUOUS(as_array(out)) &&
          !may_overlap(as_array(out), rows)) {
        result = py::reinterpret_borrow<py::object>(out);
      }
    }
    if (!result) {
      result = py::reinterpret_steal<py::object>(PyArray_SimpleNew(dimensions, shape, kTypeNumber<T>));
      if (!result) throw_python_error();
    }

    const auto outputs_bytes = static_cast<std::ptrdiff_t>(network.outputs() * sizeof(T));
    const Rows<T> to{static_cast<T*>(PyArray_DATA(as_array(result))), outputs_bytes, static_cast<std::ptrdiff_t>(sizeof(T))};
    PyThreadState* const released = network.work() * count < kReleaseWork ? nullptr : PyEval_SaveThread();
    std::exception_ptr failure;
    try {
      const FloatingPointScope scope(Exceptions::kDrop);
      if (PyArray_TYPE(rows) == kTypeNumber<T>) {
        network.forward(rows_of<const T>(rows, network.inputs()), count, to);
      } else {
        network.forward_doubles(rows_of<const double>(rows, network.inputs()), count, to);
      }
    } catch (const std::bad_alloc&) {
      failure = std::current_exception();
    }
    if (released != nullptr) restore_thread(released);
    if (failure) std::rethrow_exception(failure);

    if (out.is_none()) {
      // As with a ufunc, a 0-d result becomes a scalar.
      if (dimensions == 0) return py::reinterpret_steal<py::object>(PyArray_Return(as_array(result.release())));
      return result;
    }
    if (!result.is(out)) {
      const FloatingPointScope scope(Exceptions::kKeep);
      if (PyArray_CopyInto(as_array(out), as_array(result)) < 0) throw_python_error();
    }
    return py::reinterpret_borrow<py::object>(out);
  }

  AnyNetwork network_;
  bool one_neuron_;
};

PyTypeObject* network_type = nullptr;

// The C++ object of a Python one. If __init__ was never called, pybind11 alone would return
// uninitialised memory.
const PyNetwork& network_of(py::handle self) {
  if (PyObject_TypeCheck(self.ptr(), network_type) == 0) {
    throw py::type_error("expected a Network, got " + std::string(Py_TYPE(self.ptr())->tp_name));
  }
  auto holder = reinterpret_cast<py::detail::instance*>(self.ptr())->get_value_and_holder();
  if (!holder.holder_constructed()) throw py::value_error("this Network is empty: its __init__ was never called");
  return *static_cast<const PyNetwork*>(holder.value_ptr());
}

// Network.__call__(x, out=None). Bypasses pybind11, whose overhead equals the time of a small
// network.
PyObject* call_network(PyObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  py::handle x, out = Py_None;
  bool good = count <= 2;
  if (good && count > 0) x = arguments[0];
  if (good && count > 1) out = arguments[1];
  for (Py_ssize_t i = 0; good && i < named; ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    if (!x && PyUnicode_CompareWithASCIIString(name, "x") == 0) {
      x = arguments[count + i];
    } else if (count < 2 && PyUnicode_CompareWithASCIIString(name, "out") == 0) {
      out = arguments[count + i];
    } else {
      good = false;
    }
  }
  if (!good || !x) {
    PyErr_SetString(PyExc_TypeError, "Network expected the arguments (x, out=None)");
    return nullptr;
  }
  try {
    const PyNetwork& network = network_of(self);
    const py::object array = PyList_CheckExact(x.ptr()) ? py::reinterpret_steal<py::object>(PyArray_FROM_O(x.ptr()))
                                                        : py::reinterpret_borrow<py::object>(x);
    if (array && are_plain(array, out)) return network.call(array, out).release().ptr();
    PyErr_Clear();  // a list that NumPy cannot convert; Python raises its error again
    return py::handle(self).attr("_call_converted")(x, out).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyMethodDef call_definition{"__call__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_network)),
                            METH_FASTCALL | METH_KEYWORDS,
                            "__call__($self, x, out=None)\n--\n\nThe forward pass: (..., inputs) to (..., outputs)."};

}  // namespace

void add_network(py::module_& module) {
  py::class_<PyNetwork> network(module, "Network");
  network.def(py::init<const py::sequence&, int, bool>(), py::arg("layers"), py::arg("type"), py::arg("one_neuron"))
      .def(
          "__len__", [](py::handle self) { return network_of(self).size(); }, "The number of layers.")
      .def(
          "_layer", [](py::handle self, std::size_t index) { return network_of(self).layer(index); }, py::arg("index"),
          "A copy of a layer: weights, bias, number of the activation and option; or offset and scale.")
      .def_property_readonly(
          "dtype", [](py::handle self) { return network_of(self).dtype(); }, "The dtype of weights, biases and results.")
      .def_property_readonly(
          "inputs", [](py::handle self) { return network_of(self).inputs(); }, "The number of inputs of the first layer.")
      .def_property_readonly(
          "outputs", [](py::handle self) { return network_of(self).outputs(); }, "The number of outputs of the last layer.")
      .def_property_readonly(
          "one_neuron", [](py::handle self) { return network_of(self).one_neuron(); },
          "Whether the last layer is one neuron, so that results have no axis for outputs.");
  network_type = reinterpret_cast<PyTypeObject*>(network.ptr());
  network.attr("__call__") = py::reinterpret_steal<py::object>(PyDescr_NewMethod(network_type, &call_definition));
}

}  // namespace nnkernels
