// log(1 + x) for 0 <= x < 2^1000, once a row, in double for every dtype, and what its rounding leaves.
//
// Method: 1 + x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)], then log(1 + f) = f - f^2/2 + s (f^2/2 + w P(w)) with
// s = f / (2 + f), w = s^2, as in Sun's fdlibm (e_log.c, s_log1p.c); coefficients printed by cpp/fit_coefficients.py.
// Largest error of the first part 0.8281 ULP, at 0x1.a78be9916c1ecp-2 (tests/accuracy.cpp).
// log1p(NaN) = NaN.
#pragma once

#include <cstdint>
#include <cstring>

namespace nnkernels {
namespace {

// A number as a sum, whose second part is at most half an ULP of the first.
struct TwoDoubles {
  double high;
  double low;
};

inline TwoDoubles log1p_positive(double x) {
  constexpr double kLn2High = 0x1.62e42ffp-1;  // its multiples by a k are exact
  constexpr double kLn2Low = -0x1.718432a1b0e26p-35;
  // Error of the polynomial 2^-59.4, relative to the logarithm.
  constexpr double kPolynomial[] = {0x1.5555555555592p-1, 0x1.999999997ff4bp-2, 0x1.24924941de7bp-2, 0x1.c71c521698a4p-3,
                                    0x1.74663c7949c2ep-3, 0x1.39a1f4178a7bep-3, 0x1.2f034c33cd76ep-3};
  double k = 0;
  double f = x;
  double f_low = 0;
  if (x >= 0x1.a827999fcef34p-2) {  // 1 + x >= sqrt(2)
    const double sum = 1 + x;
    const double rest = x < 1 ? x - (sum - 1) : 1 - (sum - x);
    std::uint64_t bits;
    std::memcpy(&bits, &sum, sizeof bits);
    // Adding the distance from sqrt(1/2) to 1 moves the exponent on at sqrt(2) rather than at 2.
    bits += 0x3ff0000000000000u - 0x3fe6a09e667f3bcdu;
    const std::int64_t exponent = static_cast<std::int64_t>(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu;
    double fraction;
    std::memcpy(&fraction, &bits, sizeof fraction);
    const std::uint64_t power_bits = static_cast<std::uint64_t>(1023 - exponent) << 52;
    double power;
    std::memcpy(&power, &power_bits, sizeof power);
    k = static_cast<double>(exponent);
    f = fraction - 1;
    f_low = rest * power;
  }
  const double s = f / (2 + f);
  const double w = s * s;
  double p = kPolynomial[6];
  for (int i = 6; i-- > 0;) p = p * w + kPolynomial[i];
  const double half_square = 0.5 * f * f;
  // d log(1 + f) = f_low / (1 + f)
  const double correction = k * kLn2Low + f_low / (1 + f);
  // k log(2) + f - curvature; what is rounded in each step is kept (T. J. Dekker, 1971).
  const double curvature = half_square - (s * (half_square + w * p) + correction);
  const double rest = f - curvature;
  const double whole = k * kLn2High;
  const double high = whole + rest;
  return {high, ((whole - high) + rest) + ((f - rest) - curvature)};
}

}  // namespace
}  // namespace nnkernels
