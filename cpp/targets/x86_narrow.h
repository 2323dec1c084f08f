// 128-bit vectors of the x86 targets with FMA. The dense kernel uses them for one row and unpacked
// weights.
#pragma once

#include <immintrin.h>

#include "bits128.h"

namespace nnkernels {
namespace {

struct X86Narrow : Bits128 {
  static F32 fma(F32 a, F32 b, F32 c) { return _mm_fmadd_ps(a, b, c); }
  static F64 fma(F64 a, F64 b, F64 c) { return _mm_fmadd_pd(a, b, c); }

  static F32 pairwise_add(F32 a, F32 b) { return _mm_hadd_ps(a, b); }
  static F64 pairwise_add(F64 a, F64 b) { return _mm_hadd_pd(a, b); }
};

}  // namespace
}  // namespace nnkernels
