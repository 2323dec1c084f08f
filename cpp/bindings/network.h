// The class behind nnkernels.Network.
#pragma once

#include <pybind11/pybind11.h>

namespace nnkernels {

void add_network(pybind11::module_& module);

}  // namespace nnkernels
