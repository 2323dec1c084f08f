// The target for any CPU, which specifies the results of all others: 128-bit vectors (SSE2, or the
// compiler's emulation), std::fma for each lane.
#pragma once

#include <cmath>

#include "../kernels/exp.h"
#include "../kernels/half.h"
#include "bits128.h"

namespace nnkernels {
namespace {

struct Generic : Bits128, PartialHalves<Generic> {
  static constexpr const char* kName = "generic";
  static constexpr std::size_t kTileRows = 2;
  using Narrow = Generic;

  static F32 fma(F32 a, F32 b, F32 c) {
    return F32{std::fma(a[0], b[0], c[0]), std::fma(a[1], b[1], c[1]), std::fma(a[2], b[2], c[2]), std::fma(a[3], b[3], c[3])};
  }
  static F64 fma(F64 a, F64 b, F64 c) { return F64{std::fma(a[0], b[0], c[0]), std::fma(a[1], b[1], c[1])}; }

  template <class V>
  static V scale(V v, V n) {
    return scale_in_two_steps(v, n);
  }

  static F32 sqrt(F32 v) { return F32{std::sqrt(v[0]), std::sqrt(v[1]), std::sqrt(v[2]), std::sqrt(v[3])}; }
  static F64 sqrt(F64 v) { return F64{std::sqrt(v[0]), std::sqrt(v[1])}; }

  static F32 pairwise_add(F32 a, F32 b) { return F32{a[0] + a[1], a[2] + a[3], b[0] + b[1], b[2] + b[3]}; }
  static F64 pairwise_add(F64 a, F64 b) { return F64{a[0] + a[1], b[0] + b[1]}; }

  static F32 widen(const Half* p) { return F32{widen_half(p[0]), widen_half(p[1]), widen_half(p[2]), widen_half(p[3])}; }
  static void narrow(Half* p, F32 v) {
    for (std::size_t i = 0; i < 4; ++i) p[i] = narrow_half(v[i]);
  }
};

}  // namespace
}  // namespace nnkernels
