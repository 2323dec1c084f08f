// The ufuncs of the module.
#pragma once

#include <pybind11/pybind11.h>

namespace nnkernels {

// Adds relu, sigmoid, tanh, exp, dot, softmax, log_softmax, logsumexp and one dense for each activation.
void add_ufuncs(pybind11::module_& module);

}  // namespace nnkernels
