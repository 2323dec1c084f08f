// Python bindings for training: Trainer, losses, random numbers.
#pragma once

#include <pybind11/pybind11.h>

namespace nnkernels {

// Adds Trainer, loss, contiguous, permutation and random_weights.
void add_training(pybind11::module_& module);

}  // namespace nnkernels
