#include "avx2.h"

#include "../kernels/table.h"
#include "targets.h"

namespace nnkernels {

const KernelTable& avx2_table() {
  static constexpr KernelTable table = make_table<Avx2>();
  return table;
}

}  // namespace nnkernels
