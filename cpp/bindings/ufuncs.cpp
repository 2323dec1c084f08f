// Each kernel as a NumPy ufunc. NumPy broadcasts, casts, releases the GIL, buffers misaligned and
// byteswapped arrays, and copies most overlapping ones (exceptions are noted at the loops). A loop
// receives arguments of one dtype, and `steps` in bytes.
#include "ufuncs.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <new>
#include <vector>

#include "../dispatch.h"
#include "../floating_point.h"
#include "../network.h"
#include "../threads.h"
#include "docs.h"
#include "numpy_api.h"

namespace nnkernels {
namespace {

// Minimum elements per thread: first for relu and dot, which are limited by memory, then for
// functions based on exp.
constexpr std::size_t kThreadElements = 1 << 19;
constexpr std::size_t kThreadExps = 3 << 16;

// An element-wise loop is split at multiples of this number: whole vectors and whole cache lines.
constexpr std::size_t kMultiple = 1024;

template <class T>
Strided<const T> input(char* data, npy_intp stride) {
  return {reinterpret_cast<const T*>(data), stride};
}

template <class T>
Strided<T> output(char* data, npy_intp stride) {
  return {reinterpret_cast<T*>(data), stride};
}

// A loop's `data` points at the kernel's entry in the table.
template <class Kernel>
Kernel kernel_of(void* data) {
  return *static_cast<const Kernel*>(data);
}

// The number of rows of n elements that take as long as `elements` elements. The overhead of a row
// counts as 32 elements.
std::size_t rows_of_thread(std::size_t elements, std::size_t n) { return elements / (n + 32) + 1; }

// Whether two arrays of n elements overlap without being the same elements.
bool overlap(const char* a, npy_intp a_step, const char* b, npy_intp b_step, std::size_t n, std::size_t size) {
  if (n == 0 || (a == b && a_step == b_step)) return false;
  const npy_intp last = static_cast<npy_intp>(n) - 1;
  const auto low = [last](const char* p, npy_intp step) { return step < 0 ? p + last * step : p; };
  const auto high = [last, size](const char* p, npy_intp step) { return (step < 0 ? p : p + last * step) + size; };
  return low(a, a_step) < high(b, b_step) && low(b, b_step) < high(a, a_step);
}

// A kernel over n elements, shared among threads if that pays. Computed in order if outputs overlap
// the inputs.
template <class T, std::size_t kWorthThread>
void map_shared(ElementwiseKernel<T>* kernel, Strided<const T> x, Strided<T> y, std::size_t n, double option) {
  const bool in_order =
      overlap(reinterpret_cast<const char*>(x.data), x.stride, reinterpret_cast<const char*>(y.data), y.stride, n, sizeof(T));
  const bool past_caches = n * sizeof(T) >= kLargeBytes && get_num_threads() == 1;
  const Stores stores = past_caches ? Stores::kStreaming : Stores::kCached;
  parallel_for({n, kWorthThread, in_order ? n : kMultiple},
               [&](std::size_t begin, std::size_t end) { kernel(x.from(begin), y.from(begin), end - begin, stores, option); });
}

// ()->(). If an overlapping output trails the input, NumPy makes no copy, and relies on loops going
// in order. Kernels do; threads do not.
template <class T, std::size_t kWorthThread>
void elementwise_loop(char** args, const npy_intp* dimensions, const npy_intp* steps, void* data) {
  const auto kernel = kernel_of<ElementwiseKernel<T>*>(data);
  const Strided<const T> x = input<T>(args[0], steps[0]);
  const Strided<T> y = output<T>(args[1], steps[1]);
  const auto n = static_cast<std::size_t>(dimensions[0]);
  const FloatingPointScope scope(Exceptions::kDrop);
  map_shared<T, kWorthThread>(kernel, x, y, n, 0);
}

// (),()->(): x and an option of type double. A scalar option is used for all of x; an array has one
// option per element.
template <class T, std::size_t kWorthThread>
void option_loop(char** args, const npy_intp* dimensions, const npy_intp* steps, void* data) {
  const auto kernel = kernel_of<ElementwiseKernel<T>*>(data);
  const Strided<const T> x = input<T>(args[0], steps[0]);
  const Strided<const double> options = input<double>(args[1], steps[1]);
  const Strided<T> y = output<T>(args[2], steps[2]);
  const auto n = static_cast<std::size_t>(dimensions[0]);
  const FloatingPointScope scope(Exceptions::kDrop);
  if (options.stride != 0) {
    for (std::size_t i = 0; i < n; ++i) kernel(x.from(i), y.from(i), 1, Stores::kCached, options[i]);
    return;
  }
  map_shared<T, kWorthThread>(kernel, x, y, n, *options.data);
}

// (n)->(n)
template <class T>
void row_loop(char** args, const npy_intp* dimensions, const npy_intp* steps, void* data) {
  const auto kernel = kernel_of<typename Kernels<T>::Rowwise*>(data);
  const auto n = static_cast<std::size_t>(dimensions[1]);
  const Rows<const T> rows{input<T>(args[0], 0).data, steps[0], steps[2]};
  const Rows<T> outputs{output<T>(args[1], 0).data, steps[1], steps[3]};
  const FloatingPointScope scope(Exceptions::kDrop);
  parallel_for({static_cast<std::size_t>(dimensions[0]), rows_of_thread(kThreadExps, n)},
               [&](std::size_t begin, std::size_t end) { kernel(rows.from(begin), outputs.from(begin), end - begin, n); });
}

// (n)->()
template <class T>
void logsumexp_loop(char** args, const npy_intp* dimensions, const npy_intp* steps, void* data) {
  const auto kernel = kernel_of<decltype(Kernels<T>::logsumexp)>(data);
  const auto n = static_cast<std::size_t>(dimensions[1]);
  const FloatingPointScope scope(Exceptions::kDrop);
  parallel_for({static_cast<std::size_t>(dimensions[0]), rows_of_thread(kThreadExps, n)},
               [&](std::size_t begin, std::size_t end) {
                 for (auto i = static_cast<npy_intp>(begin); i < static_cast<npy_intp>(end); ++i) {
                   *output<T>(args[1] + i * steps[1], 0).data = kernel(input<T>(args[0] + i * steps[0], steps[2]), n);
                 }
               });
}

// Up to this many elements, a generalized ufunc's overhead exceeds the work.
constexpr npy_intp kFew = 1024;

PyArrayObject* plain_array(PyObject* object) {
  auto* array = reinterpret_cast<PyArrayObject*>(object);
  return PyArray_CheckExact(object) && PyArray_ISCARRAY_RO(array) ? array : nullptr;
}

// softmax or log_softmax.
template <bool kLog, class T>
void few_rows(PyArrayObject* z, PyArrayObject* y) {
  const Kernels<T>& table = kernels().of<T>();
  const npy_intp n = PyArray_DIM(z, PyArray_NDIM(z) - 1);
  const auto stride = n * static_cast<npy_intp>(sizeof(T));
  const FloatingPointScope scope(Exceptions::kDrop);
  (kLog ? table.log_softmax : table.softmax)({static_cast<const T*>(PyArray_DATA(z)), stride, sizeof(T)},
                                             {static_cast<T*>(PyArray_DATA(y)), stride, sizeof(T)},
                                             static_cast<std::size_t>(PyArray_SIZE(z) / n), static_cast<std::size_t>(n));
}

// (z, axis, out, dtype) of softmax or log_softmax, for the common call: few elements, no
// conversion, the last axis, a plain NumPy array. Returns NotImplemented otherwise; the caller then
// uses the ufunc.
template <bool kLog>
PyObject* call_with_few(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count) {
  int overflow = 0;
  const bool usual = count == 4 && PyLong_CheckExact(arguments[1]) && PyLong_AsLongAndOverflow(arguments[1], &overflow) == -1 &&
                     overflow == 0 && Py_IsNone(arguments[3]);
  PyArrayObject* const z = usual ? plain_array(arguments[0]) : nullptr;
  if (z == nullptr || PyArray_NDIM(z) == 0 || PyArray_SIZE(z) == 0 || PyArray_SIZE(z) > kFew) Py_RETURN_NOTIMPLEMENTED;
  const int type = PyArray_TYPE(z);
  if (type != NPY_HALF && type != NPY_FLOAT && type != NPY_DOUBLE) Py_RETURN_NOTIMPLEMENTED;
  PyArrayObject* y = nullptr;
  if (Py_IsNone(arguments[2])) {
    y = reinterpret_cast<PyArrayObject*>(PyArray_SimpleNew(PyArray_NDIM(z), PyArray_DIMS(z), type));
    if (y == nullptr) return nullptr;
  } else {
    y = plain_array(arguments[2]);
    const auto size = static_cast<std::size_t>(PyArray_ITEMSIZE(z));
    const auto step = static_cast<npy_intp>(size);
    if (y == nullptr || PyArray_TYPE(y) != type || !PyArray_ISWRITEABLE(y) || !PyArray_SAMESHAPE(y, z) ||
        overlap(PyArray_BYTES(z), step, PyArray_BYTES(y), step, static_cast<std::size_t>(PyArray_SIZE(z)), size)) {
      Py_RETURN_NOTIMPLEMENTED;
    }
    Py_INCREF(y);
  }
  if (type == NPY_HALF) {
    few_rows<kLog, Half>(z, y);
  } else if (type == NPY_FLOAT) {
    few_rows<kLog, float>(z, y);
  } else {
    few_rows<kLog, double>(z, y);
  }
  return reinterpret_cast<PyObject*>(y);
}

template <bool kLog>
PyMethodDef method_with_few(const char* name, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_with_few<kLog>)), METH_FASTCALL, doc};
}

// Raises MemoryError from a loop, which NumPy calls without the GIL.
void raise_memory_error() {
  NPY_ALLOW_C_API_DEF;
  NPY_ALLOW_C_API;
  PyErr_NoMemory();
  NPY_DISABLE_C_API;
}

// (n),(n)->()
template <class T>
void dot_loop(char** args, const npy_intp* dimensions, const npy_intp* steps, void* data) {
  const auto kernel = kernel_of<decltype(Kernels<T>::dot)>(data);
  const auto rows = static_cast<std::size_t>(dimensions[0]);
  const auto n = static_cast<std::size_t>(dimensions[1]);
  const FloatingPointScope scope(Exceptions::kKeep);
  const Strided<T> results = output<T>(args[2], steps[2]);
  parallel_for({rows, rows_of_thread(kThreadElements, n)}, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) {
      const auto i = static_cast<npy_intp>(row);
      const Strided<const T> x = input<T>(args[0] + i * steps[0], steps[3]);
      const Strided<const T> weights = input<T>(args[1] + i * steps[1], steps[4]);
      results[row] = kernel(x, weights, n);
    }
  });
}

// (n),(m,n),(m)->(m); the data points at the activation. Rows that share weights and bias, as a
// broadcast batch does, go through the layer together.
template <class T>
void dense_loop(char** args, const npy_intp* dimensions, const npy_intp* steps, void* data) {
  const Activation activation = *static_cast<const Activation*>(data);
  const auto rows = static_cast<std::size_t>(dimensions[0]);
  const auto inputs = static_cast<std::size_t>(dimensions[1]);
  const auto outputs = static_cast<std::size_t>(dimensions[2]);
  if (outputs == 0) return;  // for any number of rows
  const bool one_layer = steps[1] == 0 && steps[2] == 0;
  const FloatingPointScope scope(Exceptions::kKeep);
  try {
    const Rows<T> results{output<T>(args[3], 0).data, steps[3], steps[8]};
    for (npy_intp i = 0; i < static_cast<npy_intp>(one_layer ? 1 : rows); ++i) {
      const Rows<const T> x{input<T>(args[0] + i * steps[0], 0).data, steps[0], steps[4]};
      const WeightsView<T> weights{input<T>(args[1] + i * steps[1], 0).data, steps[5], steps[6], outputs, inputs};
      const Strided<const T> bias = input<T>(args[2] + i * steps[2], steps[7]);
      dense(x, one_layer ? rows : 1, weights, bias, activation, results.from(static_cast<std::size_t>(i)));
    }
  } catch (const std::bad_alloc&) {
    raise_memory_error();
  }
}

// NumPy's own vectorcall of a ufunc.
vectorcallfunc numpys_call = nullptr;

// Whether an argument needs no conversion: a NumPy array of NumPy's own class and dtypes, a number,
// a list or a tuple.
bool is_plain(PyObject* object) {
  if (PyArray_CheckExact(object)) return !PyTypeNum_ISUSERDEF(PyArray_TYPE(reinterpret_cast<PyArrayObject*>(object)));
  return PyFloat_CheckExact(object) || PyLong_CheckExact(object) || PyBool_Check(object) || PyList_CheckExact(object) ||
         PyTuple_CheckExact(object) || PyArray_IsScalar(object, Number) || PyArray_IsScalar(object, Bool);
}

// Calls a ufunc after nnkernels.arrays has converted its first `inputs` arguments.
PyObject* call_converted(PyObject* ufunc, PyObject* const* arguments, std::size_t count, PyObject* names, std::size_t inputs) {
  const std::size_t named = names == nullptr ? 0 : static_cast<std::size_t>(PyTuple_GET_SIZE(names));
  try {
    pybind11::object dtype = pybind11::none();
    for (std::size_t i = 0; i < named; ++i) {
      PyObject* name = PyTuple_GET_ITEM(names, static_cast<Py_ssize_t>(i));
      if (PyUnicode_CompareWithASCIIString(name, "dtype") == 0) {
        dtype = pybind11::reinterpret_borrow<pybind11::object>(arguments[count + i]);
      }
    }
    pybind11::tuple values(inputs);
    for (std::size_t i = 0; i < inputs; ++i) {
      values[i] = pybind11::handle(arguments[i]);
    }
    const pybind11::object convert = pybind11::module_::import("nnkernels.arrays").attr("operands");
    const pybind11::tuple operands = convert(pybind11::handle(ufunc), dtype, *values);
    std::vector<PyObject*> converted(arguments, arguments + count + named);
    for (std::size_t i = 0; i < inputs; ++i) {
      converted[i] = PyTuple_GET_ITEM(operands.ptr(), static_cast<Py_ssize_t>(i));
    }
    return numpys_call(ufunc, converted.data(), count, names);
  } catch (pybind11::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

// Calls a ufunc of `kInputs` inputs. Arguments that are not plain are converted first: NumPy would
// leave them to their class, and pandas treats NA, booleans beside numbers and sparse columns
// differently.
template <std::size_t kInputs>
PyObject* call_ufunc(PyObject* ufunc, PyObject* const* arguments, std::size_t flags, PyObject* names) {
  const auto count = static_cast<std::size_t>(PyVectorcall_NARGS(flags));
  const bool complete = count >= kInputs;  // else NumPy reports the missing argument
  if (!complete || std::all_of(arguments, arguments + kInputs, is_plain)) return numpys_call(ufunc, arguments, flags, names);
  return call_converted(ufunc, arguments, count, names, kInputs);
}

// A ufunc's arrays of loops, kernels and types. NumPy keeps pointers to them.
template <std::size_t kLoops, std::size_t kArguments>
struct Loops {
  PyUFuncGenericFunction functions[kLoops];
  void* data[kLoops];
  std::array<char, kArguments> types[kLoops];
};

void* entry(const void* kernel) { return const_cast<void*>(kernel); }

// Loops over float16, float32 and float64. NumPy takes the first loop that fits, in this order.
template <std::size_t kArguments, class Select>
Loops<3, kArguments> float_loops(PyUFuncGenericFunction half, PyUFuncGenericFunction single, PyUFuncGenericFunction twofold,
                                 Select select) {
  const KernelTable& table = kernels();
  Loops<3, kArguments> loops{
      {half, single, twofold}, {select(table.float16), select(table.float32), select(table.float64)}, {}};
  constexpr char kTypes[] = {NPY_HALF, NPY_FLOAT, NPY_DOUBLE};
  for (std::size_t i = 0; i < 3; ++i) {
    loops.types[i].fill(kTypes[i]);
  }
  return loops;
}

// Makes a ufunc from its loops; with a signature, a generalized one. Generalized ufuncs sum, so
// integers and booleans promote as np.result_type(x, np.float32). For this, float16 comes last
// among the loops, and is found only if all arguments are float16.
template <std::size_t kLoops, std::size_t kArguments>
void add(pybind11::module_& module, Loops<kLoops, kArguments>& loops, const char* name, const char* doc,
         const char* signature = nullptr) {
  if (signature != nullptr) {
    const auto to_the_end = [](auto& first_is_half) {
      std::rotate(std::begin(first_is_half), std::begin(first_is_half) + 1, std::end(first_is_half));
    };
    to_the_end(loops.functions);
    to_the_end(loops.data);
    to_the_end(loops.types);
  }
  PyObject* ufunc =
      PyUFunc_FromFuncAndDataAndSignature(loops.functions, loops.data, loops.types[0].data(), kLoops,
                                          static_cast<int>(kArguments) - 1, 1, PyUFunc_None, name, doc, 0, signature);
  if (ufunc == nullptr) throw_python_error();
  // NumPy's default flags for an output, except for the one that lets the output be exactly an
  // input without a copy: other rows still need that input. np.matmul does the same.
  if (signature != nullptr && kArguments > 2) {
    reinterpret_cast<PyUFuncObject*>(ufunc)->op_flags[kArguments - 1] = NPY_ITER_WRITEONLY | NPY_ITER_UPDATEIFCOPY |
                                                                        NPY_ITER_ALIGNED | NPY_ITER_ALLOCATE |
                                                                        NPY_ITER_NO_BROADCAST | NPY_ITER_NO_SUBTYPE;
  }
  module.add_object(name, pybind11::reinterpret_steal<pybind11::object>(ufunc));
}

template <std::size_t kInputs>
void convert_arguments(const pybind11::module_& module, const char* name) {
  auto* ufunc = reinterpret_cast<PyUFuncObject*>(module.attr(name).ptr());
  numpys_call = ufunc->vectorcall;
  ufunc->vectorcall = call_ufunc<kInputs>;
}

// The entry of an element-wise kernel.
template <class T>
void* entry_of(const Kernels<T>& table, Activation activation) {
  return entry(&table.elementwise[static_cast<std::size_t>(activation)]);
}

Loops<3, 2> elementwise_loops(Activation activation) {
  return float_loops<2>(elementwise_loop<Half, kThreadExps>, elementwise_loop<float, kThreadExps>,
                        elementwise_loop<double, kThreadExps>,
                        [activation](const auto& table) { return entry_of(table, activation); });
}

template <std::size_t kWorthThread>
Loops<3, 3> option_loops(Activation activation) {
  auto loops =
      float_loops<3>(option_loop<Half, kWorthThread>, option_loop<float, kWorthThread>, option_loop<double, kWorthThread>,
                     [activation](const auto& table) { return entry_of(table, activation); });
  for (auto& types : loops.types) types[1] = NPY_DOUBLE;
  return loops;
}

template <class Select>
auto row_loops(Select select) {
  return float_loops<2>(row_loop<Half>, row_loop<float>, row_loop<double>, select);
}

template <class T>
constexpr PyUFuncGenericFunction relu_loop = elementwise_loop<T, kThreadElements>;

Loops<14, 2> relu_loops() {
  const KernelTable& table = kernels();
  const IntegerRelu& integer = table.integer_relu;
  const auto relu = [](const auto& of_type) { return entry_of(of_type, Activation::kRelu); };
  static_assert(sizeof(long long) == 8 && sizeof(int) == 4);
  constexpr bool kLongHas64 = sizeof(long) == 8;  // 32 on Windows and on 32-bit machines
  // Floating-point types first, since NumPy searches the loops in order on each call.
  return {{relu_loop<float>, relu_loop<double>, relu_loop<Half>, relu_loop<std::uint8_t>, relu_loop<std::int8_t>,
           relu_loop<std::uint8_t>, relu_loop<std::int16_t>, relu_loop<std::uint16_t>, relu_loop<std::int32_t>,
           relu_loop<std::uint32_t>, kLongHas64 ? relu_loop<std::int64_t> : relu_loop<std::int32_t>,
           kLongHas64 ? relu_loop<std::uint64_t> : relu_loop<std::uint32_t>, relu_loop<std::int64_t>, relu_loop<std::uint64_t>},
          {relu(table.float32), relu(table.float64), relu(table.float16), entry(&integer.uint8), entry(&integer.int8),
           entry(&integer.uint8), entry(&integer.int16), entry(&integer.uint16), entry(&integer.int32), entry(&integer.uint32),
           kLongHas64 ? entry(&integer.int64) : entry(&integer.int32),
           kLongHas64 ? entry(&integer.uint64) : entry(&integer.uint32), entry(&integer.int64), entry(&integer.uint64)},
          {{NPY_FLOAT, NPY_FLOAT},
           {NPY_DOUBLE, NPY_DOUBLE},
           {NPY_HALF, NPY_HALF},
           {NPY_BOOL, NPY_BOOL},
           {NPY_BYTE, NPY_BYTE},
           {NPY_UBYTE, NPY_UBYTE},
           {NPY_SHORT, NPY_SHORT},
           {NPY_USHORT, NPY_USHORT},
           {NPY_INT, NPY_INT},
           {NPY_UINT, NPY_UINT},
           {NPY_LONG, NPY_LONG},
           {NPY_ULONG, NPY_ULONG},
           {NPY_LONGLONG, NPY_LONGLONG},
           {NPY_ULONGLONG, NPY_ULONGLONG}}};
}

void add_elementwise(pybind11::module_& module) {
  struct Function {
    const char* name;
    const char* doc;
    Activation activation;
    Loops<3, 2> loops;
  };
  static Function functions[] = {
      {"sigmoid", kSigmoidDoc, Activation::kSigmoid, {}},
      {"tanh", kTanhDoc, Activation::kTanh, {}},
      {"exp", kExpDoc, Activation::kExp, {}},
      {"silu", kSiluDoc, Activation::kSilu, {}},
      {"gelu", kGeluDoc, Activation::kGelu, {}},
      {"gelu_tanh", kGeluDoc, Activation::kGeluTanh, {}},
      {"softplus", kSoftplusDoc, Activation::kSoftplus, {}},
  };
  for (Function& function : functions) {
    function.loops = elementwise_loops(function.activation);
    add(module, function.loops, function.name, function.doc);
    convert_arguments<1>(module, function.name);
  }
}

void add_dense(pybind11::module_& module) {
  struct Variant {
    const char* name;
    Activation activation;
    Loops<3, 4> loops;
  };
  static Variant variants[] = {
      {"dense", Activation::kNone, {}},
      {"dense_relu", Activation::kRelu, {}},
      {"dense_sigmoid", Activation::kSigmoid, {}},
      {"dense_tanh", Activation::kTanh, {}},
      {"dense_softmax", Activation::kSoftmax, {}},
      {"dense_log_softmax", Activation::kLogSoftmax, {}},
  };
  for (Variant& variant : variants) {
    variant.loops = float_loops<4>(dense_loop<Half>, dense_loop<float>, dense_loop<double>,
                                   [&](const auto&) { return entry(&variant.activation); });
    add(module, variant.loops, variant.name, kDenseDoc, "(n),(m,n),(m)->(m)");
    convert_arguments<3>(module, variant.name);
  }
}

}  // namespace

void add_ufuncs(pybind11::module_& module) {
  static auto relu = relu_loops();
  static auto leaky_relu = option_loops<kThreadElements>(Activation::kLeakyRelu);
  static auto elu = option_loops<kThreadExps>(Activation::kElu);
  static auto softmax = row_loops([](const auto& table) { return entry(&table.softmax); });
  static auto log_softmax = row_loops([](const auto& table) { return entry(&table.log_softmax); });
  static auto logsumexp = float_loops<2>(logsumexp_loop<Half>, logsumexp_loop<float>, logsumexp_loop<double>,
                                         [](const auto& table) { return entry(&table.logsumexp); });
  static auto dot =
      float_loops<3>(dot_loop<Half>, dot_loop<float>, dot_loop<double>, [](const auto& table) { return entry(&table.dot); });
  add(module, relu, "relu", kReluDoc);
  add(module, leaky_relu, "leaky_relu", kOptionDoc);
  add(module, elu, "elu", kOptionDoc);
  add(module, softmax, "softmax", kRowDoc, "(n)->(n)");
  add(module, log_softmax, "log_softmax", kRowDoc, "(n)->(n)");
  add(module, logsumexp, "logsumexp", kRowDoc, "(n)->()");
  add(module, dot, "dot", kDotDoc, "(n),(n)->()");
  convert_arguments<1>(module, "relu");
  for (const char* name : {"leaky_relu", "elu", "dot"}) convert_arguments<2>(module, name);
  add_elementwise(module);
  add_dense(module);
  static PyMethodDef with_few[] = {
      method_with_few<false>("few_softmax", "few_softmax($module, z, axis, out, dtype, /)\n--\n\n"),
      method_with_few<true>("few_log_softmax", "few_log_softmax($module, z, axis, out, dtype, /)\n--\n\n"),
      {}};
  if (PyModule_AddFunctions(module.ptr(), with_few) < 0) throw_python_error();
}

}  // namespace nnkernels
