#include "generic.h"

#include "../kernels/table.h"
#include "targets.h"

namespace nnkernels {

const KernelTable& generic_table() {
  static constexpr KernelTable table = make_table<Generic>();
  return table;
}

}  // namespace nnkernels
