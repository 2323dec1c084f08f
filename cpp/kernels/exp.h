// The exponential, and its parts for sigmoid, tanh and softmax.
//
// Method: x = n log(2) + r with a multiple n of 1/16 and |r| <= log(2)/32. Then e^x = 2^floor(n) T
// e^r. T = 2^(n - floor(n)) comes from a table of 16 entries in two parts (P. T. P. Tang,
// "Table-driven implementation of the exponential function in IEEE floating-point arithmetic", ACM
// TOMS 15, 1989). e^r = 1 + r + r^2 p(r) with a minimax polynomial p. cpp/fit_coefficients.py
// prints tables and coefficients.
#pragma once

#include "loop.h"
#include "tables.h"

namespace nnkernels {
namespace {

template <class C>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float kLog2e = 0x1.715476p+0f;
  // log(2) = kLn2High + kLn2Low. kLn2High has 12 bits, so that an fma computes x - n kLn2High
  // exactly.
  static constexpr float kLn2High = 0x1.62ep-1f;
  static constexpr float kLn2Low = 0x1.0bfbe8p-15f;
  // (e^r - 1) / r. Error of e^r: 2^-29.2.
  static constexpr float kPolynomial[] = {1, 0x1.00022p-1f, 0x1.555764p-3f};
  // (e^r - 1 - r) / r^2, for more accurate results. Error of e^r: 2^-31.5 r.
  static constexpr float kQuadratic[] = {0x1p-1f, 0x1.555708p-3f, 0x1.555746p-5f};
  // Adding this rounds to a multiple of 1/16, with the fraction in the lowest four bits and the
  // integer above.
  static constexpr float kRound = 0x1.8p19f;
  static constexpr int kExponentShift = 23;
  // The result rounds to 0 below kLowest and overflows above kHighest.
  static constexpr float kLowest = -104.0f;
  static constexpr float kHighest = 89.0f;
};

template <>
struct ExpConstants<double> {
  static constexpr double kLog2e = 0x1.71547652b82fep+0;
  // As above, with 38 bits.
  static constexpr double kLn2High = 0x1.62e42fefap-1;
  static constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40;
  // As above. Error of e^r: 2^-56.2.
  static constexpr double kPolynomial[] = {
      1, 0x1.0000000000005p-1, 0x1.555555548ec0dp-3, 0x1.555555545d801p-5, 0x1.11123b4492205p-7, 0x1.6c185ee466e1fp-10};
  // As above. Error of e^r: 2^-58.9 r.
  static constexpr double kQuadratic[] = {0x1.0000000000003p-1, 0x1.5555555555559p-3,  0x1.55555554aca83p-5,
                                          0x1.111111108f27cp-7, 0x1.6c181fe93577cp-10, 0x1.a01b8964348ffp-13};
  static constexpr double kRound = 0x1.8p48;
  static constexpr int kExponentShift = 52;
  static constexpr double kLowest = -746.0;
  static constexpr double kHighest = 710.0;
  static constexpr double kSmallestExponent = -1022.0;
};

// For smaller magnitudes the exponential is 1, sigmoid is 1/2, and tanh(x) is x. Replacing them by
// this number avoids subnormal products, which are 30 times as slow on some CPUs.
template <class C>
constexpr C kTiny = static_cast<C>(0x1p-60);

// 2^i as the bits of V, for integers i of a normal result. Bits of i higher than an exponent's are
// ignored.
template <class V>
V power_of_two(Integers<V> i) {
  const auto one = as<Integers<V>>(broadcast<V>(1));
  return as<V>((i << ExpConstants<Element<V>>::kExponentShift) + one);
}

// floor(n) for multiples n of 1/16; bits higher than an exponent's are arbitrary.
template <class V>
Integers<V> floor_bits(V n) {
  return as<Integers<V>>(n + ExpConstants<Element<V>>::kRound) >> 4;
}

// v * 2^floor(n), for targets without such an instruction. v and the product are normal numbers, or
// v is NaN.
template <class V>
V add_to_exponent(V v, V n) {
  const V scaled = as<V>(as<Integers<V>>(v) + (floor_bits(n) << ExpConstants<Element<V>>::kExponentShift));
  return v == v ? scaled : v;
}

// v * 2^floor(n), rounded once, for targets without such an instruction. The first product is
// exact.
template <class V>
V scale_in_two_steps(V v, V n) {
  const Integers<V> i = floor_bits(n);
  const Integers<V> half = i >> 1;
  return v * power_of_two<V>(half) * power_of_two<V>(i - half);
}

// c[0] + c[1] x + ... by Horner's scheme: fewest operations, and no power of x, which may be
// subnormal and slow.
template <class Target, std::size_t kTerms, class V>
V polynomial(const Element<V> (&c)[kTerms], V x) {
  V result = broadcast<V>(c[kTerms - 1]);
  for (std::size_t i = kTerms - 1; i-- > 0;) result = Target::fma(result, x, broadcast<V>(c[i]));
  return result;
}

// The nearest multiple n of 1/16 to x / log(2), and the table index of its fraction, in the lowest
// four bits.
template <class V>
struct Steps {
  V n;
  Integers<V> index;
};

// For |x| below 2^16 at least.
template <class Target, class V>
Steps<V> count_steps(V x) {
  using K = ExpConstants<Element<V>>;
  const V shifted = Target::fma(x, broadcast<V>(K::kLog2e), broadcast<V>(K::kRound));
  return {shifted - K::kRound, as<Integers<V>>(shifted)};
}

// x - n log(2) in two steps. The first is exact for |r| below 2^-5.
template <class Target, class V>
V subtract_high(V x, V n) {
  return Target::fma(n, broadcast<V>(-ExpConstants<Element<V>>::kLn2High), x);
}
template <class Target, class V>
V subtract_low(V rest, V n) {
  return Target::fma(n, broadcast<V>(-ExpConstants<Element<V>>::kLn2Low), rest);
}
template <class Target, class V>
V subtract_steps(V x, V n) {
  return subtract_low<Target>(subtract_high<Target>(x, n), n);
}

// A sum of two numbers, the larger one first.
template <class V>
struct TwoParts {
  V high;
  V low;
};

// e^r times the power at the table index, in two parts. The second part is at most a 44th of the
// first. Monotone in r: no rounding exceeds the change from one r to the next.
template <class Target, class V>
TwoParts<V> exp_parts(V r, Integers<V> index, const typename Target::template Powers<Element<V>>& powers) {
  V high, low;
  powers(index, high, low);
  return {high, Target::fma(V(high * r), polynomial<Target>(ExpConstants<Element<V>>::kPolynomial, r), low)};
}

// e^x for all numbers. Largest error 0.7583 ULP in float, at -0x1.5e7956p+6 (all floats); 0.7490
// ULP in double, at -0x1.626a09ffeaac9p+9. Both are of subnormal results, which are rounded once
// more; the largest errors of normal results are 0.5623 and 0.5664 ULP. Monotone
// (tests/accuracy.cpp). exp(NaN) = NaN, exp(-inf) = 0, exp(inf) = inf.
template <class Target, class C>
class Exp {
 public:
  using V = Lanes<Target, C>;

  V operator()(V x) const {
    using K = ExpConstants<C>;
    const V y = Target::less(broadcast<V>(K::kHighest), V(Target::greater(broadcast<V>(K::kLowest), x)));
    const Steps<V> steps = count_steps<Target>(y);
    const V r = subtract_steps<Target>(y, steps.n);
    V high, low;
    powers_(steps.index, high, low);
    const V linear = high * r;
    return Target::scale(
        V(high + Target::fma(linear, Target::fma(r, polynomial<Target>(K::kQuadratic, r), broadcast<V>(1)), low)), steps.n);
  }

 private:
  typename Target::template Powers<C> powers_{kPowers<C>};
};

}  // namespace
}  // namespace nnkernels
