// What learning needs of C++: the class Trainer, the losses, random numbers.
#pragma once

#include <pybind11/pybind11.h>

namespace nnkernels {

// Adds Trainer, loss, permutation and random_uniform.
void add_training(pybind11::module_& module);

}  // namespace nnkernels
