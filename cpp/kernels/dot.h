// sum x[i] w[i]: each partial sum of sum.h is a chain of fmas. Error bound: as there, times the sum of |x[i] w[i]|.
// Infinities and NaN as the arithmetic gives them; overflow is that of the partial sums.
#pragma once

#include "sum.h"

namespace nnkernels {
namespace {

template <class Target, class T>
T dot(Strided<const T> x, Strided<const T> weights, std::size_t n) {
  using C = Compute<T>;
  alignas(64) C x_buffer[kBlock];
  alignas(64) C weights_buffer[kBlock];
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
