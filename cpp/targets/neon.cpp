#include "neon.h"

#include "../kernels/table.h"
#include "targets.h"

namespace nnkernels {

const KernelTable& neon_table() {
  static constexpr KernelTable table = make_table<Neon>();
  return table;
}

}  // namespace nnkernels
