// The targets' tables. Only those of the build's architecture are defined.
#pragma once

#include "../kernels.h"

namespace nnkernels {

const KernelTable& generic_table();  // any CPU
const KernelTable& avx2_table();     // x86-64-v3: AVX2, FMA, F16C
const KernelTable& avx512_table();   // x86-64-v4: AVX-512 F, BW, CD, DQ, VL
const KernelTable& neon_table();     // AArch64

}  // namespace nnkernels
