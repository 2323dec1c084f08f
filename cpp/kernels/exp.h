// The exponential, and what sigmoid and tanh need of it.
//
// Method: x = n log(2) + r with an integer n and |r| <= log(2)/2 (W. J. Cody, W. Waite, "Software Manual for the
// Elementary Functions", 1980, chapter 6), then e^r = 1 + r + r^2/2 + r^3 p(r) with a minimax polynomial p.
// The coefficients are printed by cpp/fit_coefficients.py.
#pragma once

#include "loop.h"

namespace nnkernels {
namespace {

template <class C>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float kLog2e = 0x1.715476p+0f;
  // log(2) = kLn2High + kLn2Low. x - n kLn2High is a multiple of 2^-25 below 0.5, so the fma gives it exactly.
  static constexpr float kLn2High = 0x1.62e43p-1f;
  static constexpr float kLn2Low = -0x1.05c61p-29f;
  // Error of the polynomial 2^-30.1, relative to e^r - 1.
  static constexpr float kPolynomial[] = {0x1.555556p-3f, 0x1.5554f2p-5f, 0x1.1110a2p-7f, 0x1.6d416cp-10f, 0x1.a189fep-13f};
  // Adding it rounds to an integer, which is then in the low bits.
  static constexpr float kRound = 0x1.8p23f;
  static constexpr int kExponentShift = 23;
  // Below kLowest the result rounds to 0, above kHighest it overflows.
  static constexpr float kLowest = -104.0f;
  static constexpr float kHighest = 89.0f;
  static constexpr float kSmallestExponent = -126.0f;
};

template <>
struct ExpConstants<double> {
  static constexpr double kLog2e = 0x1.71547652b82fep+0;
  // As above: a multiple of 2^-54 below 0.5.
  static constexpr double kLn2High = 0x1.62e42fefa39efp-1;
  static constexpr double kLn2Low = 0x1.abc9e3b39803fp-56;
  // Error of the polynomial 2^-60.4, relative to e^r - 1.
  static constexpr double kPolynomial[] = {
      0x1.5555555555559p-3,  0x1.5555555555559p-5,  0x1.111111110f6bp-7,   0x1.6c16c16c14a41p-10, 0x1.a01a01afe9d3bp-13,
      0x1.a01a01af79c17p-16, 0x1.71ddf83d6716ep-19, 0x1.27e4c79402015p-22, 0x1.af5ef4e033eeap-26, 0x1.1f930b9fdec69p-29};
  static constexpr double kRound = 0x1.8p52;
  static constexpr int kExponentShift = 52;
  static constexpr double kLowest = -746.0;
  static constexpr double kHighest = 710.0;
  static constexpr double kSmallestExponent = -1022.0;
};

// 2^n for integers n of a normal result.
template <class V>
V power_of_two(V n) {
  using K = ExpConstants<Element<V>>;
  const auto one = as<Integers<V>>(broadcast<V>(1));
  return as<V>((as<Integers<V>>(n + K::kRound) << K::kExponentShift) + one);
}

// v * 2^n, rounded once, for targets without an instruction for it: the first product is exact.
template <class V>
V scale_in_two_steps(V v, V n) {
  using K = ExpConstants<Element<V>>;
  const V half = (n * Element<V>(0.5) + K::kRound) - K::kRound;
  return v * power_of_two(half) * power_of_two(n - half);
}

// c[0] + c[1] x + ..., the terms by twos: half as long a chain of operations as Horner's.
template <class Target, std::size_t kTerms, class V>
V polynomial(const V* c, V x) {
  static_assert(kTerms >= 2);
  const V square = x * x;
  constexpr std::size_t kLast = (kTerms - 1) / 2 * 2;
  V result = kLast + 1 < kTerms ? V(Target::fma(c[kLast + 1], x, c[kLast])) : c[kLast];
  for (std::size_t i = kLast; i > 0; i -= 2) result = Target::fma(result, square, Target::fma(c[i - 1], x, c[i - 2]));
  return result;
}

// (e^r - 1 - r) / r^2 for |r| <= log(2)/2.
template <class Target, class V>
V exp_polynomial(V r) {
  using C = Element<V>;
  using K = ExpConstants<C>;
  constexpr std::size_t kTerms = sizeof(K::kPolynomial) / sizeof(C) + 1;
  V c[kTerms] = {broadcast<V>(C(0.5))};
  for (std::size_t i = 1; i < kTerms; ++i) c[i] = broadcast<V>(K::kPolynomial[i - 1]);
  return polynomial<Target, kTerms>(c, r);
}

// x = n log(2) + r, r rounded.
template <class V>
struct Reduced {
  V n;
  V r;
};

// For |x| below 2^20 at least.
template <class Target, class V>
Reduced<V> reduce(V x) {
  using K = ExpConstants<Element<V>>;
  const V n = Target::fma(x, broadcast<V>(K::kLog2e), broadcast<V>(K::kRound)) - K::kRound;
  const V high = Target::fma(n, broadcast<V>(-K::kLn2High), x);
  return {n, Target::fma(n, broadcast<V>(-K::kLn2Low), high)};
}

// e^r for |r| <= log(2)/2. Monotone in float (tests/accuracy.cpp): only the last sum rounds more than a step of r changes.
template <class Target, class V>
V exp_reduced(V r) {
  return 1 + Target::fma(exp_polynomial<Target>(r), V(r * r), r);
}

// e^x = 2^n (1 + expm1 + expm1_low), |expm1_low| at most half an ULP of expm1.
template <class V>
struct ExpParts {
  V n;
  V expm1;
  V expm1_low;
};

// For kLowest <= x <= kHighest.
template <class Target, class V>
ExpParts<V> exp_parts(V x) {
  using K = ExpConstants<Element<V>>;
  const V n = Target::fma(x, broadcast<V>(K::kLog2e), broadcast<V>(K::kRound)) - K::kRound;
  const V high = Target::fma(n, broadcast<V>(-K::kLn2High), x);
  const V r = Target::fma(n, broadcast<V>(-K::kLn2Low), high);
  const V r_low = Target::fma(n, broadcast<V>(-K::kLn2Low), V(high - r));
  const V tail = Target::fma(exp_polynomial<Target>(r), V(r * r), r_low);
  const V expm1 = r + tail;
  return {n, expm1, (r - expm1) + tail};
}

// e^x. Largest error in float 0.9938 ULP, at 0x1.f3532p+3 (all floats); in double 0.9756 ULP over 2^27 numbers, at
// 0x1.e9bec201b9a4bp+1.
// exp(NaN) = NaN, exp(-inf) = 0, exp(inf) = inf; subnormal results are rounded once more.
template <class Target, class V>
V exp(V x) {
  using K = ExpConstants<Element<V>>;
  x = Target::less(broadcast<V>(K::kHighest), V(Target::greater(broadcast<V>(K::kLowest), x)));
  const Reduced<V> reduced = reduce<Target>(x);
  return Target::scale(exp_reduced<Target>(reduced.r), reduced.n);
}

template <class Target, class T>
void exp(Strided<const T> input, Strided<T> output, std::size_t n) {
  using V = Lanes<Target, Compute<T>>;
  map<Target>(input, output, n, [](V x) { return exp<Target>(x); });
}

}  // namespace
}  // namespace nnkernels
