// The extension module nnkernels._core.
#include <cstdlib>
#include <string>

#define NNKERNELS_IMPORTS_NUMPY
#include "../dispatch.h"
#include "../threads.h"
#include "network.h"
#include "numpy_api.h"
#include "training.h"
#include "ufuncs.h"

namespace py = pybind11;

namespace nnkernels {
namespace {

// A separate function, because import_array and import_umath return from the function that contains
// them.
int import_numpy() {
  import_array1(-1);
  import_umath1(-1);
  return 0;
}

const char* compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

py::dict config() {
  py::list targets;
  for (const KernelTable* table : supported_tables()) targets.append(table->target);
  py::dict result;
  result["version"] = NNKERNELS_VERSION;
  result["target"] = kernels().target;
  result["targets"] = targets;
  result["threads"] = get_num_threads();
  result["compiler"] = compiler();
  return result;
}

// NumPy does not support subinterpreters, and pybind11 deadlocks in them on Python 3.11.
constexpr const char* kRefusal = "nnkernels does not work in a subinterpreter: import it in the main interpreter";

bool in_main_interpreter() { return PyInterpreterState_Get() == PyInterpreterState_Main(); }

}  // namespace

PYBIND11_MODULE(_main_core, module, py::mod_gil_not_used()) {
  if (!in_main_interpreter()) throw py::import_error(kRefusal);
  if (import_numpy() < 0) throw_python_error();
  try {
    kernels();
    initialize_threads();
  } catch (const std::invalid_argument& error) {
    throw py::import_error(error.what());
  }
  add_ufuncs(module);
  add_network(module);
  add_training(module);
  module.def("config", &config);
  module.def("get_num_threads", &get_num_threads);
  module.def("set_num_threads", &set_num_threads, py::arg("threads"));
}

// Python calls this to load _core, before the module's initialisation above. From Python 3.13 on it
// always runs in the main interpreter.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (!in_main_interpreter()) {
    PyErr_SetString(PyExc_ImportError, kRefusal);
    return nullptr;
  }
  // Import NumPy first: in the initialisation above, an exception such as Ctrl-C would become an
  // ImportError.
  PyObject* numpy = PyImport_ImportModule("numpy");
  if (numpy == nullptr) return nullptr;
  Py_DECREF(numpy);
  return PyInit__main_core();
}

}  // namespace nnkernels
