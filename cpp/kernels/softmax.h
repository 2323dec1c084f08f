// softmax, log_softmax and logsumexp of a row, the maximum subtracted.
//
// The maximum is subtracted in two terms, z - max = d + d_low exactly (D. E. Knuth, "The Art of Computer Programming",
// volume 2, 4.2.2, theorem B): the rounding of d alone would change e^d by up to |d| / 2 ULP.
// The logarithm of the sum is log1p(the sum without one maximum's own term, which is 1), so that it keeps its accuracy where
// one element dominates.
// Error of softmax: at most 4 ULP an element in all that tests/test_softmax.py tries, float and double, rows of up to a
// million. Of log_softmax and logsumexp: as much, of the larger one of the maximum and the logarithm. Sums are in the order of
// sum.h. A NaN makes its row NaN. A row of -inf, or with +inf: softmax and log_softmax are NaN, logsumexp is -inf or +inf.
#pragma once

#include "exp.h"
#include "log1p.h"
#include "sum.h"

namespace nnkernels {
namespace {

// The largest element, NaN ignored; -inf where there is none.
template <class Target, class T>
Compute<T> maximum(Strided<const T> row, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr C kLeast = -__builtin_huge_val();
  alignas(64) C buffer[kBlock];
  V largest = broadcast<V>(kLeast);
  for (std::size_t start = 0; start < n; start += kBlock) {
    const std::size_t count = least(kBlock, n - start);
    const C* z = read_block<Target, T>(row, start, count, buffer);
    for (std::size_t i = 0; i < count; i += kWidth) {
      const V v = load_lanes<Target>(z + i, least(kWidth, count - i), kLeast);
      largest = v > largest ? v : largest;
    }
  }
  return fold_lanes(largest, [](auto low, auto high) { return low > high ? low : high; });
}

// z - max in two terms; the low one is 0 where e^d underflows, infinities among these.
template <class V>
struct Difference {
  V high;
  V low;
};

template <class V>
Difference<V> subtract(V z, V max) {
  const V high = z - max;
  const V subtracted = high - z;
  const V low = (z - (high - subtracted)) - (max + subtracted);
  return {high, high < ExpConstants<Element<V>>::kLowest ? V{} : low};
}

// e^(z - max)
template <class Target, class V>
V exp_difference(V z, V max) {
  const Difference<V> d = subtract(z, max);
  return exp<Target>(d.high, d.low);
}

template <class Target, class T>
void softmax(Strided<const T> row, Strided<T> output, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  constexpr C kLeast = -__builtin_huge_val();
  // Half outputs cannot hold the exponentials: they are computed twice.
  constexpr bool kKeep = std::is_same_v<T, C>;
  alignas(64) C row_buffer[kBlock];
  alignas(64) C output_buffer[kBlock];
  const V max = broadcast<V>(maximum<Target, T>(row, n));
  const C sum = sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
    const C* z = read_block<Target, T>(row, start, count, row_buffer);
    C* y = output_block<Target, T>(output, start, output_buffer);
    const C block = sum_block_in_trees<Target, C>(count, [&](std::size_t i, std::size_t lanes) {
      const V e = exp_difference<Target>(load_lanes<Target>(z + i, lanes, kLeast), max);
      if constexpr (kKeep) store_lanes<Target>(y + i, e, lanes);
      return e;
    });
    if constexpr (kKeep) write_block<Target, T>(y, output, start, count);
    return block;
  });
  const V scale = broadcast<V>(1 / sum);
  if constexpr (kKeep) {
    map<Target, T>({output.data, output.stride}, output, n, [&](V e) { return e * scale; });
  } else {
    map<Target, T>(row, output, n, [&](V z) { return exp_difference<Target>(z, max) * scale; });
  }
}

// log(sum e^z) = max + log1p(others)
template <class C>
struct LogSum {
  C max;
  double log1p;
};

template <class Target, class T>
LogSum<Compute<T>> log_sum(Strided<const T> row, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  constexpr C kLeast = -__builtin_huge_val();
  alignas(64) C buffer[kBlock];
  const C largest = maximum<Target, T>(row, n);
  const V max = broadcast<V>(largest);
  // Elements equal to the maximum are counted, not summed.
  double maxima = 0;
  const C smaller = sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
    const C* z = read_block<Target, T>(row, start, count, buffer);
    Integers<V> counts{};
    const C sum = sum_block_in_trees<Target, C>(count, [&](std::size_t i, std::size_t lanes) {
      const V v = load_lanes<Target>(z + i, lanes, kLeast);
      const auto is_max = v == max;
      counts -= as<Integers<V>>(is_max);  // all ones, so that this adds 1
      return is_max ? V{} : exp_difference<Target>(v, max);
    });
    for (std::size_t lane = 0; lane < kLanes<Target, C>; ++lane) maxima += static_cast<double>(counts[lane]);
    return sum;
  });
  return {largest, log1p_positive(static_cast<double>(smaller) + (maxima - 1))};
}

template <class Target, class T>
void log_softmax(Strided<const T> row, Strided<T> output, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  const LogSum<C> sum = log_sum<Target, T>(row, n);
  const V max = broadcast<V>(sum.max);
  // Adding max - max makes a row with +inf NaN, as it is in softmax.
  const V log1p = broadcast<V>(static_cast<C>(sum.log1p) + (sum.max - sum.max));
  map<Target, T>(row, output, n, [&](V z) {
    const Difference<V> d = subtract(z, max);
    return (d.high - log1p) + d.low;
  });
}

template <class Target, class T>
T logsumexp(Strided<const T> row, std::size_t n) {
  using C = Compute<T>;
  const LogSum<C> sum = log_sum<Target, T>(row, n);
  if (n == 0) return narrow_one<Target, T>(sum.max);
  return narrow_one<Target, T>(static_cast<C>(static_cast<double>(sum.max) + sum.log1p));
}

}  // namespace
}  // namespace nnkernels
