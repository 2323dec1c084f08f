// softmax, log_softmax and logsumexp of rows, without overflow.
//
// All three compute e^(z - max), with z - max exactly in two terms (T. J. Dekker, "A floating-point
// technique for extending the available precision", 1971). A single rounded term would change the
// exponential by up to |z - max| / 2 ULP. Results depend on the differences z - max alone:
// softmax(z + c) and log_softmax(z + c) have the bits of softmax(z) and log_softmax(z) wherever
// every z + c is exact.
//
// The logarithm of the sum is max + log1p(the sum without the term of one maximum, which is 1), and
// so accurate even where one element dominates. It is kept in two parts, so that little more than
// the last rounding adds to the error of the sum.
//
// Error bounds for n elements, with u half an ULP of 1 and h = ceil(log2(n)), the height of the
// sum's tree:
//   softmax                 u (h + 4.1) of the exact result, which is h + 4.1 ULP at most: from the
//                           exponential (exp.h) twice, because the sum has its error too; from
//                           the sum (sum.h); from the quotient
//   logsumexp, log_softmax  u of the exact result, plus u (h + 4.2) of log(sum e^(z - max))
// In rows where each addition rounds off half an ULP of 1 (tests/test_sums.py), the largest error
// of softmax in float is 1.4 ULP for 2 elements, 4.3 for 10, 10.2 for 1000.
//
// Sums have the order of sum.h. A NaN makes its row NaN. For a row of only -inf, or with a +inf,
// softmax and log_softmax are NaN, and logsumexp is -inf or +inf.
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

// The largest element, ignoring NaN; -inf if there is none.
template <class Target, class T>
Compute<T> maximum(Strided<const T> row, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  constexpr std::size_t kVectors = 4;  // independent chains, to hide the latency
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

// a and b, ordered by decreasing magnitude. The first is the smaller number, because a + b must not
// be positive.
template <class Target, class V>
TwoParts<V> by_magnitude(V a, V b) {
  const V larger = Target::less(a, b);
  return {larger, as<V>(as<Integers<V>>(a) ^ as<Integers<V>>(b) ^ as<Integers<V>>(larger))};
}

// a - b exactly, for a <= b: the rounded difference, and its rounding error. The error is undefined
// if the difference is infinite.
template <class Target, class V>
TwoParts<V> subtract(V a, V b) {
  const V difference = a - b;
  const TwoParts<V> terms = by_magnitude<Target>(a, V(-b));
  return {difference, terms.low - (difference - terms.high)};
}

// All exponentials and reciprocals are multiplied by this, so that their products are normal unless
// the quotient is subnormal: subnormal numbers are slow. The sum of 2^34 exponentials does not
// overflow.
template <class C>
constexpr C kUp = static_cast<C>(sizeof(C) == 4 ? 0x1p90 : 0x1p512);
template <class C>
constexpr PowerTable<C> kUpPowers = times(kUp<C>, kPowers<C>);

// e^(z - max) kUp, for rows whose maxima are in the same lanes. 0 where even 2^34 terms would not
// sum to half the smallest number.
//
// Let z - max = n log(2) + r. The computation of r rounds two results, both below 2^-5: the sum
// with the second term, and the result of subtract_low. There are two ways, with the same bits:
//   (d - n kLn2High) + low             where z - max = d + low
//   (larger - n kLn2High) + smaller    quick, two operations less; z and -max by magnitude
template <class Target, class C, bool kQuick>
class Exponential {
 public:
  using V = Lanes<Target, C>;

  explicit Exponential(V max) : max_(max) {}

  V operator()(V z) const {
    if (!kQuick) z = z - max_ > -kTiny<C> ? max_ : z;  // avoids subnormal differences, which are slow
    const V d = z - max_;
    const auto [n, index] = count_steps<Target>(d);
    const auto [larger, smaller] = by_magnitude<Target>(z, V(-max_));
    const V rest =
        kQuick ? V(subtract_high<Target>(larger, n) + smaller) : V(subtract_high<Target>(d, n) + (smaller - (d - larger)));
    const TwoParts<V> parts = exp_parts<Target>(V(subtract_low<Target>(rest, n)), index, powers_);
    const V result = Target::scale_normal(V(parts.high + parts.low), n);
    return d < ExpConstants<C>::kLowest - 24 ? V{} : result;
  }

 private:
  V max_;
  typename Target::template Powers<C> powers_{kUpPowers<C>};
};

// Whether the quick way is exact for all elements that are not negligible, and has no subnormal
// difference.
//
// larger - n kLn2High equals -smaller to within 2^-5. It is a multiple of the last bit of kLn2High
// / 16, which is 2^-16 (2^-42), or of the last bit of `larger` if that is less. So it is exact if
// it is below 2^8 (2^11), and in no binade above that of `larger`. This holds if |max| is below
// kLargest, and max is not within 2^-5 below a power of two. (With max < 0 the difference is below
// |z| anyway.) If |max| is not tiny, no difference of z and max is subnormal.
template <class Target, class V>
bool is_quick(V max) {
  using C = Element<V>;
  constexpr C kLargest = sizeof(C) == 4 ? 128 : 1024;
  const auto changed_bits = as<Integers<V>>(V(max + C(0x1p-5))) ^ as<Integers<V>>(max);
  const auto below_power = (max > 0) & ((changed_bits >> ExpConstants<C>::kExponentShift) != 0);
  const V limit = broadcast<V>(kTiny<C>);
  const auto tiny = (max < limit) & (max > -limit);
  const auto slow = (max >= kLargest) | (max <= -kLargest) | below_power | tiny;
  return !Target::any_greater(slow ? broadcast<V>(1) : V{}, V{});
}

// Calls function(exponential), with the quick exponential where it is exact.
template <class Target, class C, class Function>
auto with_exponential(Lanes<Target, C> max, Function function) {
  return is_quick<Target>(max) ? function(Exponential<Target, C, true>(max)) : function(Exponential<Target, C, false>(max));
}

// Divides by a sum: multiplies by its reciprocal in two parts.
template <class Target, class V>
class DivideBy {
 public:
  explicit DivideBy(V divisor)
      : reciprocal_(kUp<Element<V>> / divisor),
        rest_(Target::fma(V(-reciprocal_), divisor, broadcast<V>(kUp<Element<V>>)) * (reciprocal_ * kDown)) {}

  V operator()(V dividend) const { return Target::fma(dividend, reciprocal_, V(dividend * rest_)) * kDown; }

 private:
  static constexpr Element<V> kDown = 1 / kUp<Element<V>>;
  V reciprocal_, rest_;
};

// The exponentials of a block, and their sum. With kNext, also updates the lanes of `next` with the
// maximum of the next row's block at `ahead`, and prefetches the outputs `output_ahead` bytes
// further. Not inlined, to keep everything in registers.
template <bool kNext, class Target, class C, bool kQuick>
[[gnu::noinline]] C exponentials(const C* z, C* y, std::size_t count, const Exponential<Target, C, kQuick>& of_row,
                                 const C* ahead, std::ptrdiff_t output_ahead, Lanes<Target, C>& next) {
  using V = Lanes<Target, C>;
  const Exponential<Target, C, kQuick> exponential = of_row;
  V largest = next;
  V* const largest_so_far = &largest;  // captured by value, like the rest
  const C sum = sum_block_in_trees<Target, C>(count, [=](std::size_t i, std::size_t lanes) {
    const V e = exponential(load_lanes<Target>(z + i, lanes, kLeast<C>));
    if constexpr (kNext) {
      __builtin_prefetch(reinterpret_cast<const char*>(y + i) + output_ahead, 1);
      *largest_so_far = Target::greater(load_lanes<Target>(ahead + i, lanes, kLeast<C>), *largest_so_far);
    }
    store_lanes<Target>(y + i, e, lanes);
    return e;
  });
  next = largest;
  return sum;
}

// The first of `rows`, with its exponential. With kNext, also reads the next row and returns its
// maximum; both rows are contiguous, and not of halves.
template <class T, bool kNext, class Target, bool kQuick>
Compute<T> softmax_row(const Rows<const T>& rows, const Rows<T>& outputs, std::size_t n,
                       const Exponential<Target, Compute<T>, kQuick>& exponential) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  // Half outputs cannot hold the exponentials, so rows of more than a block compute them twice.
  constexpr bool kHalf = !std::is_same_v<T, C>;
  alignas(64) C row_buffer[kBlock];
  alignas(64) C output_buffer[kBlock];
  const Strided<const T> row = rows.row(0);
  const Strided<T> output = outputs.row(0);
  // In rows this short, the next row of outputs fits in the L1 cache beside this one.
  const std::ptrdiff_t output_ahead = n <= 2 * kBlock ? outputs.row_stride : 0;
  V next = broadcast<V>(kLeast<C>);
  const C sum = sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
    const C* z = read_block<Target, T>(row, start, count, row_buffer);
    C* y = output_block<Target, T>(output, start, output_buffer);
    const C* ahead = nullptr;
    if constexpr (kNext) ahead = rows.row(1).data + start;
    const C block = exponentials<kNext>(z, y, count, exponential, ahead, output_ahead, next);
    if constexpr (!kHalf) write_block<Target, T>(y, output, start, count);
    return block;
  });
  const C next_max = fold_maximum<Target, C>(next);  // before the division, since it takes long
  const DivideBy<Target, V> divide_by_sum(broadcast<V>(sum));
  if constexpr (!kHalf) {
    map<Target, T>({output.data, output.stride}, output, n, divide_by_sum);
  } else if (n <= kBlock) {
    map_contiguous<Target>(output_buffer, output_buffer, n, divide_by_sum);
    write_block<Target, T>(output_buffer, output, 0, n);
  } else {
    map<Target, T>(row, output, n, [&](V z) { return divide_by_sum(exponential(z)); });
  }
  return next_max;
}

// The rows of a group are computed together, one step after the other, because the steps of a
// single row wait for each other. A group holds as many contiguous rows as fit in kGroupBytes of
// the L1 cache: at least three, at most kGroupRows.
constexpr std::size_t kGroupBytes = 8192;
constexpr std::size_t kGroupRows = 8;

template <class Target, class C>
void softmax_group(const Rows<const C>& rows, const Rows<C>& outputs, std::size_t count, std::size_t n) {
  using V = Lanes<Target, C>;
  C maxima[kGroupRows];
  C sums[kGroupRows];
  for (std::size_t i = 0; i < count; ++i) maxima[i] = maximum<Target, C>(rows.row(i), n);
  for (std::size_t i = 0; i < count; ++i) {
    with_exponential<Target, C>(broadcast<V>(maxima[i]), [&](const auto& exponential) {
      map_contiguous<Target>(rows.row(i).data, outputs.row(i).data, n, exponential);
    });
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

// A row of at most one vector, in registers.
template <class Target, class C>
void softmax_vector(const C* z, C* y, std::size_t n) {
  using V = Lanes<Target, C>;
  const V v = load_lanes<Target>(z, n, kLeast<C>);
  const V e = Exponential<Target, C, false>(broadcast<V>(fold_maximum<Target, C>(v)))(v);
  const C sum = fold_lanes(e, [](auto low, auto high) { return low + high; });
  store_lanes<Target>(y, DivideBy<Target, V>(broadcast<V>(sum))(e), n);
}

// Rows of up to this many elements are computed kLanes rows at a time, one per lane, which avoids
// sums and maxima across lanes.
constexpr std::size_t kShortRow = 32;

// kLanes rows of n elements, transposed on input and output.
template <class Target, class T>
void softmax_lanes(const Rows<const T>& rows, const Rows<T>& outputs, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  constexpr std::size_t kWidth = kLanes<Target, C>;
  alignas(64) C elements[kShortRow][kWidth];
  C buffer[kShortRow];
  if (std::is_same_v<T, C> && rows.row_stride == sizeof(T)) {  // already transposed
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
  V sums[kShortRow];
  with_exponential<Target, C>(max, [&](const auto& exponential) {
    for (std::size_t i = 0; i < n; ++i) {
      sums[i] = exponential(load<V>(elements[i]));
      store(elements[i], sums[i]);
    }
  });
  // fold_partial_sums without the missing elements.
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
  C max = kLeast<C>;
  for (bool known = false; row < count; ++row) {
    if (!known) max = maximum<Target, T>(rows.row(row), n);
    known = std::is_same_v<T, C> && contiguous && row + 1 < count;
    max = with_exponential<Target, C>(broadcast<Lanes<Target, C>>(max), [&](const auto& exponential) {
      return known ? softmax_row<T, std::is_same_v<T, C>>(rows.from(row), outputs.from(row), n, exponential)
                   : softmax_row<T, false>(rows.from(row), outputs.from(row), n, exponential);
    });
  }
}

// log(sum e^(z - max)) = log1p(others), for n > 0.
template <class Target, class T>
TwoParts<double> log_sum(Strided<const T> row, std::size_t n, Compute<T> largest) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  alignas(64) C buffer[kBlock];
  const V max = broadcast<V>(largest);
  // Elements equal to the maximum are counted instead of summed.
  double maxima = 0;
  const C smaller = with_exponential<Target, C>(max, [&](const auto& exponential) {
    return sum_blocks<C>(n, [&](std::size_t start, std::size_t count) {
      const C* z = read_block<Target, T>(row, start, count, buffer);
      Integers<V> counts{};
      const C sum = sum_block_in_trees<Target, C>(count, [&](std::size_t i, std::size_t lanes) {
        const V v = load_lanes<Target>(z + i, lanes, kLeast<C>);
        const auto is_max = v == max;
        counts -= as<Integers<V>>(is_max);  // all ones is -1, so this adds 1
        return is_max ? V{} : exponential(v);
      });
      for (std::size_t lane = 0; lane < kLanes<Target, C>; ++lane) maxima += static_cast<double>(counts[lane]);
      return sum;
    });
  });
  return log1p_positive(static_cast<double>(smaller) / kUp<C> + (maxima - 1));
}

// z - max - log(sum), with each difference in two terms.
template <class Target, class T>
void log_softmax_row(Strided<const T> row, Strided<T> output, std::size_t n) {
  using C = Compute<T>;
  using V = Lanes<Target, C>;
  const C largest = maximum<Target, T>(row, n);
  const TwoParts<double> sum = log_sum<Target, T>(row, n, largest);
  const C high = static_cast<C>(sum.high) + (largest - largest);  // NaN if the maximum is infinite
  const V max = broadcast<V>(largest);
  const V sum_high = broadcast<V>(high);
  const V sum_low = broadcast<V>(static_cast<C>((sum.high - high) + sum.low));
  map<Target, T>(row, output, n, [&](V z) {
    const TwoParts<V> d = subtract<Target>(z, max);
    const TwoParts<V> result = subtract<Target>(d.high, sum_high);
    return result.high == kLeast<C> ? result.high : V(result.high + (result.low + (d.low - sum_low)));
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
  // max + log(sum), adding the parts so that only one rounding is left.
  const TwoParts<double> sum = log_sum<Target, T>(row, n, max);
  const double high = max + sum.high;
  const double added = high - max;
  const double low = (max - (high - added)) + (sum.high - added) + sum.low;
  return narrow_one<Target, T>(static_cast<C>(__builtin_isfinite(high) ? high + low : high));
}

}  // namespace
}  // namespace nnkernels
