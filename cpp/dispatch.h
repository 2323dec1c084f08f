// Which kernels run: the best target that this CPU has, or the one that NNKERNELS_TARGET names.
#pragma once

#include <vector>

#include "kernels.h"

namespace nnkernels {

// The tables that this CPU can run, `generic` first, the best last.
const std::vector<const KernelTable*>& supported_tables();

// The table in use. The first call chooses it; throws std::invalid_argument, with the choices, if NNKERNELS_TARGET
// names a target that is unknown or that this CPU cannot run.
const KernelTable& kernels();

}  // namespace nnkernels
