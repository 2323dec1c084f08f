// sum x[i] w[i]: each partial sum of sum.h is a chain of fmas. Error bound: as in sum.h, times the
// sum of |x[i] w[i]|.
//
// Fewer than 32 floats, or 8 doubles, make one chain in double, where products of floats are exact.
// With partial sums, few terms would be rounded at every multiplication and addition. Error bound:
// n times half an ULP of 1 in double, times the sum of |x[i] w[i]|; for floats also the rounding of
// the result.
//
// Infinities and NaN follow the arithmetic; overflow is that of the partial sums. Source: see
// sum.h.
#pragma once

#include "sum.h"

namespace nnkernels {
namespace {

template <class C>
constexpr std::size_t kFewProducts = sizeof(C) == 4 ? 32 : 8;

template <class Target, class T>
T dot(Strided<const T> x, Strided<const T> weights, std::size_t n) {
  using C = Compute<T>;
  alignas(64) C x_buffer[kBlock];
  alignas(64) C weights_buffer[kBlock];
  if (n < kFewProducts<C>) {
    const C* xs = read_block<Target, T>(x, 0, n, x_buffer);
    const C* ws = read_block<Target, T>(weights, 0, n, weights_buffer);
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum = __builtin_fma(xs[i], ws[i], sum);
    return narrow_one<Target, T>(static_cast<C>(sum));
  }
  return narrow_one<Target, T>(sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
    const C* xs = read_block<Target, T>(x, start, count, x_buffer);
    const C* ws = read_block<Target, T>(weights, start, count, weights_buffer);
    return sum_block_in_chains<Target, C>(count, [&](Lanes<Target, C> sums, std::size_t i, std::size_t lanes) {
      return Target::fma(load_lanes<Target>(xs + i, lanes, C(0)), load_lanes<Target>(ws + i, lanes, C(0)), sums);
    });
  }));
}

}  // namespace
}  // namespace nnkernels
