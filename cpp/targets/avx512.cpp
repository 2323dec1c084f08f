#include "avx512.h"

#include "../kernels/table.h"
#include "targets.h"

namespace nnkernels {

const KernelTable& avx512_table() {
  static constexpr KernelTable table = make_table<Avx512>();
  return table;
}

}  // namespace nnkernels
