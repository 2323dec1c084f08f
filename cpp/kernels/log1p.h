// log(1 + x) for 0 <= x < 2^1000, in two parts. Lane type double for every dtype.
//
// Method: 1 + x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)]. log(1 + f) = f - f^2/2 + s (f^2/2
// + w P(w)) with s = f / (2 + f), w = s^2, as in Sun's fdlibm (e_log.c, s_log1p.c).
// cpp/fit_coefficients.py prints the coefficients. Largest error of the first part 0.8281 ULP, at
// 0x1.a78be9916c1ecp-2 (tests/accuracy.cpp). log1p(NaN) = NaN.
#pragma once

#include "exp.h"

namespace nnkernels {
namespace {

// The second part of the result is at most half an ULP of the first.
template <class V>
TwoParts<V> log1p_positive(V x) {
  constexpr double kLn2High = 0x1.62e42ffp-1;  // k times this is exact
  constexpr double kLn2Low = -0x1.718432a1b0e26p-35;
  // Error of the polynomial: 2^-59.4, relative to the logarithm.
  constexpr double kPolynomial[] = {0x1.5555555555592p-1, 0x1.999999997ff4bp-2, 0x1.24924941de7bp-2, 0x1.c71c521698a4p-3,
                                    0x1.74663c7949c2ep-3, 0x1.39a1f4178a7bep-3, 0x1.2f034c33cd76ep-3};
  constexpr std::uint64_t kOne = 0x3ff0000000000000u, kRootOfHalf = 0x3fe6a09e667f3bcdu, kFraction = 0x000fffffffffffffu;
  const auto reduced = x >= 0x1.a827999fcef34p-2;  // 1 + x >= sqrt(2)
  const V sum = 1 + x;
  const V sum_low = x < 1 ? x - (sum - 1) : 1 - (sum - x);
  // Adding the distance from sqrt(1/2) to 1 makes the exponent change at sqrt(2) instead of 2.
  const auto bits = as<Integers<V>>(sum) + (kOne - kRootOfHalf);
  const auto exponent = (bits >> 52) - 1023;
  const V power = as<V>((1023 - exponent) << 52);
  const V fraction = as<V>((bits & kFraction) + kRootOfHalf);
  // The exponent as a number: small integers are the last bits of 1.5 2^52.
  constexpr double kShift = 0x1.8p52;
  const V count = as<V>(exponent + as<Integers<V>>(broadcast<V>(kShift))) - kShift;
  const V k = reduced ? count : V{};
  const V f = reduced ? fraction - 1 : x;
  const V f_low = reduced ? sum_low * power : V{};
  const V s = f / (2 + f);
  const V w = s * s;
  V p = broadcast<V>(kPolynomial[6]);
  for (std::size_t i = 6; i-- > 0;) p = p * w + kPolynomial[i];
  const V half_square = 0.5 * f * f;
  // d log(1 + f) = f_low / (1 + f)
  const V correction = k * kLn2Low + f_low / (1 + f);
  // k log(2) + f - curvature, keeping the rounding error of each step (T. J. Dekker, 1971).
  const V curvature = half_square - (s * (half_square + w * p) + correction);
  const V rest = f - curvature;
  const V whole = k * kLn2High;
  const V high = whole + rest;
  return {high, ((whole - high) + rest) + ((f - rest) - curvature)};
}

// The same for one number.
inline TwoParts<double> log1p_positive(double x) {
  using V = LanesOf<double, 16>::type;
  const TwoParts<V> result = log1p_positive(V{x, x});
  return {result.high[0], result.low[0]};
}

}  // namespace
}  // namespace nnkernels
