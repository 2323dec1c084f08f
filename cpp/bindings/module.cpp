// The extension module nnkernels._core.
#include <cstdlib>
#include <string>

#define NNKERNELS_IMPORTS_NUMPY
#include "../dispatch.h"
#include "../threads.h"
#include "network.h"
#include "numpy_api.h"
#include "ufuncs.h"

namespace py = pybind11;

namespace nnkernels {
namespace {

// import_array and import_umath return from the function they stand in.
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

}  // namespace

PYBIND11_MODULE(_core, module) {
  if (import_numpy() < 0) throw_python_error();
  try {
    kernels();
    initialize_threads();
  } catch (const std::invalid_argument& error) {
    throw py::import_error(error.what());
  }
  add_ufuncs(module);
  add_network(module);
  module.def("config", &config);
  module.def("get_num_threads", &get_num_threads);
  module.def("set_num_threads", &set_num_threads, py::arg("threads"));
}

}  // namespace nnkernels
