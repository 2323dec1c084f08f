// The ufuncs of the module.
#pragma once

#include <pybind11/pybind11.h>

namespace nnkernels {

// Adds the activations, dot, logsumexp, and a dense for each activation that is fused; few_softmax and
// few_log_softmax, which are functions.
void add_ufuncs(pybind11::module_& module);

}  // namespace nnkernels
