// Chooses the table of kernels: for the target in NNKERNELS_TARGET, or for the best that this CPU
// can run.
#pragma once

#include <vector>

#include "kernels.h"

namespace nnkernels {

// The tables that this CPU can run, from `generic` to the best.
const std::vector<const KernelTable*>& supported_tables();

// The table in use, chosen by the first call. Throws std::invalid_argument, listing the choices, if
// NNKERNELS_TARGET is unknown or not supported by this CPU.
const KernelTable& kernels();

}  // namespace nnkernels
