// The ufuncs of the module.
#pragma once

#include <pybind11/pybind11.h>

namespace nnkernels {

// Adds relu, sigmoid, tanh, exp, dot, softmax, log_softmax, logsumexp and one dense for each activation; few_softmax and
// few_log_softmax, which are functions.
void add_ufuncs(pybind11::module_& module);

}  // namespace nnkernels
