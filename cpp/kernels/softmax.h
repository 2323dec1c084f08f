// softmax, log_softmax and logsumexp of rows, without overflow.
//
// softmax divides by the sum of the exponentials, so that a common factor of them does not matter. So it takes e^z 2^-k with
// the integer k nearest to max / log(2), at most sqrt(2): z = n log(2) + r, and then e^r 2^(n - k), with no difference to
// round. (The rounding of z - max would change the exponential by up to |z - max| / 2 ULP.) Only if the maximum is a large
// number it is subtracted before: elements that are not negligible beside it are less than a factor of 2 away, and the
// difference is exact (P. H. Sterbenz, "Floating-Point Computation", 1974).
//
// log_softmax and logsumexp subtract the maximum in two terms, z - max = d + d_low exactly (D. E. Knuth, "The Art of Computer
// Programming", volume 2, 4.2.2, theorem B). The logarithm of the sum is max + log1p(the sum without one maximum's own term,
// which is 1), so that it keeps its accuracy where one element dominates, and is kept in two parts, too: so little but the last
// rounding is added to the error of the sum.
//
// Error bounds for n elements, with u half an ULP of 1 and h = ceil(log2(n)), the height of the sum's tree:
//   softmax                 u (h + 4.1) of the exact result, which is h + 4.1 ULP at most: the error of an exponential (exp.h)
//                           twice, for the sum has it too, that of the sum (sum.h), and that of the quotient
//   logsumexp, log_softmax  u of the exact result, and u (h + 4.2) of log(sum e^(z - max))
// The worst error of softmax that a search found in random rows of up to 5000 elements is 4.8 ULP in float, 5.9 in double. In
// rows made so that each addition rounds off half an ULP of 1 (tests/test_sums.py) it is 3.3 for 2 elements, 5.9 for 10, 10.3
// for 1000.
//
// Sums are in the order of sum.h. A NaN makes its row NaN. A row of -inf, or with +inf: softmax and log_softmax are NaN,
// logsumexp is -inf or +inf.
#pragma once

#include "exp.h"
#include "log1p.h"
#include "sum.h"

namespace nnkernels {
namespace {

template <class C>
constexpr C kLeast = -__builtin_huge_val();

template <class Target, class C>
C fold_maximum(Lanes<Target, C> v) {
  return fold_lanes(v, [](auto low, auto high) { return low > high ? low : high; });
}

// The largest element, NaN ignored; -inf where there is none.
template <class Target, class T>
Compute<T> maximum(Strided<const T> row, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr std::size_t kVectors = 4;  // independent of each other, to hide the latency
  alignas(64) C buffer[kBlock];
  V largest[kVectors];
  for (V& v : largest) v = broadcast<V>(kLeast<C>);
  for (std::size_t start = 0; start < n; start += kBlock) {
    const std::size_t count = least(kBlock, n - start);
    const C* z = read_block<Target, T>(row, start, count, buffer);
    std::size_t i = 0;
    for (; i + kVectors * kWidth <= count; i += kVectors * kWidth) {
      for (std::size_t v = 0; v < kVectors; ++v) largest[v] = Target::greater(load<V>(z + i + v * kWidth), largest[v]);
    }
    for (; i < count; i += kWidth) {
      largest[0] = Target::greater(load_lanes<Target>(z + i, least(kWidth, count - i), kLeast<C>), largest[0]);
    }
  }
  const V pairs[] = {Target::greater(largest[0], largest[1]), Target::greater(largest[2], largest[3])};
  return fold_maximum<Target, C>(Target::greater(pairs[0], pairs[1]));
}

// All exponentials carry a factor of 2^kUp, which cancels in the quotient: so none is subnormal, and slow to compute.
template <class C>
constexpr C kUp = sizeof(C) == 4 ? 64 : 512;
template <class C>
constexpr double kDown = sizeof(C) == 4 ? 0x1p-64 : 0x1p-512;  // 2^-kUp

// e^x 2^(kUp - k); 0 in the lanes of `zero`, whatever x is there.
template <class Target, class V, class Mask>
V scaled_exp(const Reduced<V>& x, V k, Mask zero, const typename Target::template Powers<Element<V>>& powers) {
  const TwoParts<V> parts = exp_parts<Target>(x, powers);
  const V value = zero ? V{} : parts.high + parts.low;
  const V n = zero ? V{} : x.n - (k - kUp<Element<V>>);
  return Target::scale_normal(value, n);
}

// Whether a maximum, or each of several, is a large number: more than twice the range of the exponential.
template <class C, class Maxima>
auto is_large(Maxima max) {
  constexpr C kLarge = sizeof(C) == 4 ? 256 : 2048;
  return (max >= kLarge) | (max <= -kLarge);
}

// Whether numbers are so small that their squares are subnormal: all of which have the exponential 1.
template <class C, class Numbers>
auto is_tiny(Numbers x) {
  constexpr C kTiny = static_cast<C>(sizeof(C) == 4 ? 0x1p-60 : 0x1p-500);
  return (x < kTiny) & (x > -kTiny);
}

// Whether Exponential wants to know of this maximum.
template <class C>
bool is_special(C max) {
  return is_large<C>(max) || is_tiny<C>(max);
}

// e^z 2^(kUp - k), see above, for the elements of rows whose maxima are in the same lanes; 0 where e^z 2^-k is. kAnyMaximum:
// also for maxima that are large numbers, and fast where all are tiny.
template <class Target, class C, bool kAnyMaximum = true>
class Exponential {
 public:
  using V = Lanes<Target, C>;

  explicit Exponential(V max) {
    using K = ExpConstants<C>;
    if (kAnyMaximum) offset_ = is_large<C>(max) ? max : V{};
    // An infinite maximum makes everything NaN.
    const V highest = max - offset_;
    lowest_ = highest + (K::kLowest - 1);
    constexpr C kRoundToInteger = K::kRound * PowerTable<C>::kSteps;
    k_ = Target::fma(highest, broadcast<V>(K::kLog2e), broadcast<V>(kRoundToInteger)) - kRoundToInteger;
  }

  V operator()(V z) const {
    if (kAnyMaximum) {
      z -= offset_;
      z = is_tiny<C>(z) ? V{} : z;
    }
    return scaled_exp<Target>(reduce<Target>(z), k_, z < lowest_, powers_);
  }

 private:
  V offset_{}, lowest_, k_;
  typename Target::template Powers<C> powers_{kPowers<C>};
};

// Divides by sums: multiplies with the reciprocal, and corrects by what is left.
template <class Target, class V>
class DivideBy {
 public:
  explicit DivideBy(V divisor) : divisor_(divisor), reciprocal_(1 / divisor) {}

  V operator()(V dividend) const {
    const V quotient = dividend * reciprocal_;
    return Target::fma(Target::fma(-quotient, divisor_, dividend), reciprocal_, quotient);
  }

 private:
  V divisor_, reciprocal_;
};

// One row, whose maximum is known. Fetches what lies `row_ahead` and `output_ahead` bytes further, the next row, while it
// computes.
template <class Target, class T, bool kAnyMaximum>
void softmax_row(Strided<const T> row, Strided<T> output, std::size_t n, Compute<T> max, std::ptrdiff_t row_ahead,
                 std::ptrdiff_t output_ahead) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  // Half outputs cannot hold the exponentials: those of rows of more than a block are computed twice.
  constexpr bool kHalf = !std::is_same_v<T, C>;
  alignas(64) C row_buffer[kBlock];
  alignas(64) C output_buffer[kBlock];
  const Exponential<Target, C, kAnyMaximum> exponential(broadcast<V>(max));
  const C sum = sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
    const C* z = read_block<Target, T>(row, start, count, row_buffer);
    C* y = output_block<Target, T>(output, start, output_buffer);
    // Captured by value, so that all of it stays in registers.
    const C block = sum_block_in_trees<Target, C>(count, [=](std::size_t i, std::size_t lanes) {
      __builtin_prefetch(reinterpret_cast<const char*>(z + i) + row_ahead, 0);
      __builtin_prefetch(reinterpret_cast<const char*>(y + i) + output_ahead, 1);
      const V e = exponential(load_lanes<Target>(z + i, lanes, kLeast<C>));
      store_lanes<Target>(y + i, e, lanes);
      return e;
    });
    if constexpr (!kHalf) write_block<Target, T>(y, output, start, count);
    return block;
  });
  const DivideBy<Target, V> divide_by_sum(broadcast<V>(sum));
  if constexpr (!kHalf) {
    map<Target, T>({output.data, output.stride}, output, n, divide_by_sum);
  } else if (n <= kBlock) {
    map_contiguous<Target>(output_buffer, output_buffer, n, divide_by_sum);
    write_block<Target, T>(output_buffer, output, 0, n);
  } else {
    map<Target, T>(row, output, n, [&](V z) { return divide_by_sum(exponential(z)); });
  }
}

// Contiguous rows, of which three or more fit into so many bytes of the first cache, are computed step by step together, so
// many at most: a row's steps wait for each other.
constexpr std::size_t kGroupBytes = 8192;
constexpr std::size_t kGroupRows = 8;

template <class Target, class C>
void softmax_group(const Rows<const C>& rows, const Rows<C>& outputs, std::size_t count, std::size_t n) {
  using V = Lanes<Target, C>;
  C maxima[kGroupRows];
  C sums[kGroupRows];
  for (std::size_t i = 0; i < count; ++i) maxima[i] = maximum<Target, C>(rows.row(i), n);
  for (std::size_t i = 0; i < count; ++i) {
    const V max = broadcast<V>(maxima[i]);
    if (is_special<C>(maxima[i])) {
      map_contiguous<Target>(rows.row(i).data, outputs.row(i).data, n, Exponential<Target, C>(max));
    } else {
      map_contiguous<Target>(rows.row(i).data, outputs.row(i).data, n, Exponential<Target, C, false>(max));
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    sums[i] = sum_block_in_trees<Target, C>(n, [y = outputs.row(i).data](std::size_t start, std::size_t lanes) {
      return load_lanes<Target>(y + start, lanes, C(0));
    });
  }
  for (std::size_t i = 0; i < count; ++i) {
    C* y = outputs.row(i).data;
    map_contiguous<Target>(y, y, n, DivideBy<Target, V>(broadcast<V>(sums[i])));
  }
}

// A row of one vector at most, in registers.
template <class Target, class C>
void softmax_vector(const C* z, C* y, std::size_t n) {
  using V = Lanes<Target, C>;
  const V v = load_lanes<Target>(z, n, kLeast<C>);
  const V e = Exponential<Target, C>(broadcast<V>(fold_maximum<Target, C>(v)))(v);
  const C sum = fold_lanes(e, [](auto low, auto high) { return low + high; });
  store_lanes<Target>(y, DivideBy<Target, V>(broadcast<V>(sum))(e), n);
}

// Rows of up to so many elements are computed kLanes rows at a time, one in each lane, which spares the sums and maxima across
// lanes.
constexpr std::size_t kShortRow = 32;

// kLanes rows of n elements, transposed on the way in and out.
template <class Target, class T>
void softmax_lanes(const Rows<const T>& rows, const Rows<T>& outputs, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  alignas(64) C elements[kShortRow][kWidth];
  C buffer[kShortRow];
  if (std::is_same_v<T, C> && rows.row_stride == sizeof(T)) {  // they lie across already
    for (std::size_t i = 0; i < n; ++i) {
      std::memcpy(elements[i], Strided<const T>{rows.data, rows.element_stride}.from(i).data, sizeof elements[i]);
    }
  } else {
    for (std::size_t lane = 0; lane < kWidth; ++lane) {
      const C* z = read_block<Target, T>(rows.row(lane), 0, n, buffer);
      for (std::size_t i = 0; i < n; ++i) elements[i][lane] = z[i];
    }
  }
  V max = broadcast<V>(kLeast<C>);
  for (std::size_t i = 0; i < n; ++i) max = Target::greater(load<V>(elements[i]), max);
  const Exponential<Target, C> exponential(max);
  V sums[kShortRow];
  for (std::size_t i = 0; i < n; ++i) {
    sums[i] = exponential(load<V>(elements[i]));
    store(elements[i], sums[i]);
  }
  // As fold_partial_sums, but without the elements that are not there.
  for (std::size_t half = kShortRow / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half && i + half < n; ++i) sums[i] += sums[i + half];
  }
  const DivideBy<Target, V> divide_by_sum(sums[0]);
  for (std::size_t i = 0; i < n; ++i) store(elements[i], divide_by_sum(load<V>(elements[i])));
  if (std::is_same_v<T, C> && outputs.row_stride == sizeof(T)) {
    for (std::size_t i = 0; i < n; ++i) {
      std::memcpy(Strided<T>{outputs.data, outputs.element_stride}.from(i).data, elements[i], sizeof elements[i]);
    }
  } else {
    for (std::size_t lane = 0; lane < kWidth; ++lane) {
      C* y = output_block<Target, T>(outputs.row(lane), 0, buffer);
      for (std::size_t i = 0; i < n; ++i) y[i] = elements[i][lane];
      write_block<Target, T>(y, outputs.row(lane), 0, n);
    }
  }
}

template <class Target, class T>
void softmax(const Rows<const T>& rows, const Rows<T>& outputs, std::size_t count, std::size_t n) {
  using C = Compute<T>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  std::size_t row = 0;
  if (n == 0) return;
  if (n <= kShortRow) {
    for (; row + kWidth <= count; row += kWidth) softmax_lanes<Target, T>(rows.from(row), outputs.from(row), n);
  }
  const bool contiguous = rows.element_stride == sizeof(T) && outputs.element_stride == sizeof(T);
  if constexpr (std::is_same_v<T, C>) {
    const std::size_t most = least(kGroupRows, kGroupBytes / sizeof(C) / n);
    if (contiguous && n <= kWidth) {
      for (; row < count; ++row) softmax_vector<Target, C>(rows.row(row).data, outputs.row(row).data, n);
    } else if (contiguous && most > 2) {
      for (; row < count; row += most) {
        softmax_group<Target, C>(rows.from(row), outputs.from(row), least(most, count - row), n);
      }
    }
  }
  for (; row < count; ++row) {
    // The next row fits into the first cache beside this one, if they are this short.
    const bool fetch = std::is_same_v<T, C> && contiguous && row + 1 < count && n <= 2 * kBlock;
    const C max = maximum<Target, T>(rows.row(row), n);
    const std::ptrdiff_t row_ahead = fetch ? rows.row_stride : 0, output_ahead = fetch ? outputs.row_stride : 0;
    if (is_special<C>(max)) {
      softmax_row<Target, T, true>(rows.row(row), outputs.row(row), n, max, row_ahead, output_ahead);
    } else {
      softmax_row<Target, T, false>(rows.row(row), outputs.row(row), n, max, row_ahead, output_ahead);
    }
  }
}

// z - max in two terms; the low one is 0 where the high one is -inf.
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
  return {high, high == kLeast<Element<V>> ? V{} : low};
}

// e^(z - max) 2^kUp; 0 where as many terms as there can be, 2^34, would not sum to half the smallest number.
template <class Target, class V>
V exp_difference(V z, V max, const typename Target::template Powers<Element<V>>& powers) {
  using C = Element<V>;
  const Difference<V> d = subtract(z, max);
  Reduced<V> reduced = reduce<Target>(d.high);
  reduced.r += d.low;
  return scaled_exp<Target>(reduced, V{}, d.high < ExpConstants<C>::kLowest - 24, powers);
}

// log(sum e^z) = max + log1p(others), for n > 0. The second part is NaN where the maximum is infinite.
template <class Target, class T>
TwoDoubles log_sum(Strided<const T> row, std::size_t n, Compute<T> largest) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  alignas(64) C buffer[kBlock];
  const V max = broadcast<V>(largest);
  const typename Target::template Powers<C> powers{kPowers<C>};
  // Elements equal to the maximum are counted, not summed.
  double maxima = 0;
  const C smaller = sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
    const C* z = read_block<Target, T>(row, start, count, buffer);
    Integers<V> counts{};
    const C sum = sum_block_in_trees<Target, C>(count, [&](std::size_t i, std::size_t lanes) {
      const V v = load_lanes<Target>(z + i, lanes, kLeast<C>);
      const auto is_max = v == max;
      counts -= as<Integers<V>>(is_max);  // all ones, so that this adds 1
      return is_max ? V{} : exp_difference<Target>(v, max, powers);
    });
    for (std::size_t lane = 0; lane < kLanes<Target, C>; ++lane) maxima += static_cast<double>(counts[lane]);
    return sum;
  });
  const TwoDoubles log1p = log1p_positive(static_cast<double>(smaller) * kDown<C> + (maxima - 1));
  const double high = largest + log1p.high;
  const double added = high - largest;
  return {high, (largest - (high - added)) + (log1p.high - added) + log1p.low};
}

template <class Target, class T>
void log_softmax_row(Strided<const T> row, Strided<T> output, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  const TwoDoubles sum = log_sum<Target, T>(row, n, maximum<Target, T>(row, n));
  const auto high = static_cast<C>(sum.high);
  const V sum_high = broadcast<V>(high);
  const V sum_low = broadcast<V>(static_cast<C>((sum.high - high) + sum.low));
  map<Target, T>(row, output, n, [&](V z) {
    const Difference<V> d = subtract(z, sum_high);
    return d.high + (d.low - sum_low);
  });
}

template <class Target, class T>
void log_softmax(const Rows<const T>& rows, const Rows<T>& outputs, std::size_t count, std::size_t n) {
  if (n == 0) return;
  for (std::size_t row = 0; row < count; ++row) log_softmax_row<Target, T>(rows.row(row), outputs.row(row), n);
}

template <class Target, class T>
T logsumexp(Strided<const T> row, std::size_t n) {
  using C = Compute<T>;
  const C max = maximum<Target, T>(row, n);
  if (n == 0) return narrow_one<Target, T>(max);
  const TwoDoubles sum = log_sum<Target, T>(row, n, max);
  return narrow_one<Target, T>(static_cast<C>(__builtin_isfinite(sum.high) ? sum.high + sum.low : sum.high));
}

}  // namespace
}  // namespace nnkernels
