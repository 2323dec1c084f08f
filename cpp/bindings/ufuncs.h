// The ufuncs of the module.
#pragma once

#include <pybind11/pybind11.h>

namespace nnkernels {

// Adds the activations, dot, logsumexp, and one dense ufunc for each fused activation; also the
// functions few_softmax and few_log_softmax.
void add_ufuncs(pybind11::module_& module);

}  // namespace nnkernels
