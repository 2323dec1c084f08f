// AArch64's Advanced SIMD: 128-bit vectors.
#pragma once

#include <arm_neon.h>

#include "../kernels/exp.h"
#include "bits128.h"

namespace nnkernels {
namespace {

struct Neon : Bits128, PartialHalves<Neon> {
  static constexpr const char* kName = "neon";
  static constexpr std::size_t kTileRows = 6;  // 24 of 32 registers for sums
  using Narrow = Neon;

  static F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
  static F64 fma(F64 a, F64 b, F64 c) { return vfmaq_f64(c, a, b); }

  template <class V>
  static V scale(V v, V n) {
    return scale_in_two_steps(v, n);
  }

  static F32 sqrt(F32 v) { return vsqrtq_f32(v); }
  static F64 sqrt(F64 v) { return vsqrtq_f64(v); }

  static F32 pairwise_add(F32 a, F32 b) { return vpaddq_f32(a, b); }
  static F64 pairwise_add(F64 a, F64 b) { return vpaddq_f64(a, b); }

  static F32 widen(const Half* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits))); }
  static void narrow(Half* p, F32 v) { vst1_u16(&p->bits, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
};

}  // namespace
}  // namespace nnkernels
