// The element-wise activations. Errors are measured by tests/accuracy.cpp: sigmoid and tanh on all
// floats and a sample of doubles, the other activations on every 31st float and sampled double.
#pragma once

#include "exp.h"
#include "log1p.h"
#include "loop.h"
#include "tables.h"

namespace nnkernels {
namespace {

// max(0, x), exact. relu(-0) = +0, relu(NaN) = NaN. Compares integers, since comparing a NaN would
// raise an exception flag, which the dense kernels report. As signed integers, -0 is the smallest,
// followed by the negative numbers down to -inf.
template <class Target, class V>
V relu(V x) {
  const auto minus_infinity = as<SignedIntegers<V>>(broadcast<V>(Element<V>(-__builtin_huge_val())));
  return as<SignedIntegers<V>>(x) > minus_infinity ? x : V{};
}

// Smaller magnitudes are negligible beside 1. The square of kSquarable is still a normal number,
// and so fast.
template <class C>
constexpr C kSquarable = static_cast<C>(sizeof(C) == 4 ? 0x1p-40 : 0x1p-80);

// From here on, e^-x and x e^-x are 0.
template <class C>
constexpr C kVanished = sizeof(C) == 4 ? C(110) : C(760);

template <class V>
Integers<V> sign_bits() {
  return as<Integers<V>>(broadcast<V>(Element<V>(-0.0)));
}

template <class V>
V magnitude_of(V x) {
  return as<V>(as<Integers<V>>(x) & ~sign_bits<V>());
}

// x, or 0 if its magnitude is below `least`.
template <class V>
V unless_below(Element<V> least, V x) {
  return magnitude_of(x) < least ? V{} : x;
}

// x clamped to [-limit, limit]; NaN stays.
template <class Target, class V>
V within(Element<V> limit, V x) {
  return Target::less(broadcast<V>(limit), V(Target::greater(broadcast<V>(-limit), x)));
}

// a + b in two parts, for a, b >= 0 (T. J. Dekker, 1971).
template <class Target, class V>
TwoParts<V> add(V a, V b) {
  const V sum = a + b;
  return {sum, Target::less(a, b) - (sum - Target::greater(a, b))};
}

template <class V>
V times_sign_of(V x, V v) {
  return as<V>(as<Integers<V>>(v) ^ (as<Integers<V>>(x) & sign_bits<V>()));
}

// The magnitude, which must not be negative, with the sign of x.
template <class V>
V with_sign_of(V x, V magnitude) {
  return as<V>(as<Integers<V>>(magnitude) | (as<Integers<V>>(x) & sign_bits<V>()));
}

// c[first] + c[first + 1] t + ... + c[7] t^(7 - first)
template <std::size_t first, class Target, class V>
V polynomial(const V* c, V t) {
  V result = c[7];
  for (std::size_t i = 7; i > first; --i) result = Target::fma(result, t, c[i - 1]);
  return result;
}

// (f(centre + t) - c0) / t, by the polynomial in a row of a FloatTable.
template <class Target, class V>
V slope(const V* c, V t) {
  return polynomial<2, Target>(c, t);
}

// (high + low) 2^floor(n)
template <class V>
struct Scaled {
  V high, low, n;
};

// e^-Y (1 - share e^-Y) with Y = y + y_low, for Y beyond the tables of sigmoid and softplus.
template <class Target, class V>
Scaled<V> decay(V y, V y_low, float share) {
  const typename Target::template Powers<float> powers{kPowers<float>};
  const V negative = -V(Target::less(broadcast<V>(kVanished<float>), y));
  const Steps<V> steps = count_steps<Target>(negative);
  const V r = subtract_steps<Target>(negative, steps.n) - y_low;
  const TwoParts<V> e = exp_parts<Target>(r, steps.index, powers);
  const V sum = e.high + e.low;
  // Below 2^-64 the square is negligible, and subnormal numbers would be slow.
  const V power = Target::scale_normal(sum, V(Target::greater(broadcast<V>(-64), steps.n)));
  return {e.high, Target::fma(-sum, share * power, e.low), steps.n};
}

// The end of the tables of sigmoid and softplus, and the row for y.
constexpr float kTableEnd = 9.875f;
template <class Target, class V>
Integers<V> table_row(V y) {
  return as<Integers<V>>(V(Target::fma(y, broadcast<V>(1.5625f), broadcast<V>(0x1.8p23f))));
}

template <class Target, class C>
class Sigmoid;

// sigmoid(-|x|) by the table's polynomial, or e^-|x| (1 - e^-|x|) beyond the table; 1 -
// sigmoid(-|x|) for positive x. Lane type float.
// Largest error 0.7703 ULP, at -0x1.c28e98p+1. In [0, 1], monotone. Results are subnormal for x
// below -87.3 and 0 below -104. sigmoid(NaN) = NaN. Method of the table: S. Gal, see
// cpp/fit_coefficients.py.
template <class Target>
class Sigmoid<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    const V y = Target::greater(broadcast<V>(kTiny<float>), magnitude_of(x));
    V c[8];
    polynomials_(table_row<Target>(y), c);
    const V t = y - c[0];
    const V signed_t = as<V>(as<Integers<V>>(t) ^ (~as<Integers<V>>(x) & sign_bits<V>()));
    const V result = Target::fma(slope<Target>(c, t), signed_t, x > 0 ? 1 - c[1] : c[1]);
    if (__builtin_expect(!Target::any_greater(y, broadcast<V>(kTableEnd)), true)) return result;
    const Scaled<V> e = decay<Target>(y, V{}, 1);
    const V lower = Target::scale(y > kVanished<float> ? V{} : V(e.high + e.low), e.n);
    return y > kTableEnd ? (x > 0 ? 1 - lower : lower) : result;
  }

  // m sigmoid(-y) and m sigmoid(-y - low), without rounding the sigmoid.
  V product(V m, V y) const {
    return product(m, y, V{}, [m](V /*base*/, V slope, V t) {
      const V p = slope * t;
      return Target::fma(m, p, m * Target::fma(slope, t, -p));
    });
  }
  V product(V m, V y, V low) const {
    return product(m, y, low, [m, low](V base, V slope, V t) {
      const V p = slope * t;
      const V s = base + p;
      // Rounding error of p, plus the change of the sigmoid by `low`; its derivative is s^2 - s.
      const V p_low = Target::fma(slope, t, -p) + Target::fma(s, s, -s) * low;
      return Target::fma(m, p, m * p_low);
    });
  }

 private:
  // rest(base, slope, t) is m slope t; the sigmoid is base + slope t.
  template <class Rest>
  V product(V m, V y, V low, const Rest& rest) const {
    V c[8];
    polynomials_(table_row<Target>(y), c);
    const V t = y - c[0];
    const V result = Target::fma(m, c[1], V(rest(c[1], slope<Target>(c, t), t)));
    if (__builtin_expect(!Target::any_greater(y, broadcast<V>(kTableEnd)), true)) return result;
    const Scaled<V> e = decay<Target>(y, low, 1);
    const V lower = Target::scale(y > kVanished<float> ? V{} : V(Target::fma(m, e.high, V(m * e.low))), e.n);
    return y > kTableEnd ? lower : result;
  }

  typename Target::Lookup polynomials_{kSigmoidTable};
};

// sigmoid(-|x|) = 1 / (1 + e^|x|) = p / (p + t), where e^|x| = t / p with a power of two p <= 1 and
// 1/2 < t <= 1, except for the low part of t. sigmoid(x) = 1 - sigmoid(-x). Lane type double.
// Largest error 0.7952 ULP, at -0x1.6236e6843b9cdp+9. In [0, 1], monotone. Results are subnormal
// for x below -708.4 and 0 below -745.2. sigmoid(NaN) = NaN. The derivation is our own; e^|x| is
// from exp.h.
template <class Target>
class Sigmoid<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    const Reciprocal s = lower(V(Target::greater(broadcast<V>(kTiny<double>), magnitude_of(x))), V{});
    const V result = Target::scale(V(Target::fma(s.rest, s.value, s.value)), s.n);
    return x > 0 ? 1 - result : result;
  }

  // m sigmoid(-y - low), without rounding the sigmoid.
  V product(V m, V y, V low = V{}) const {
    const Reciprocal s = lower(y, low);
    return Target::scale(V(Target::fma(m, s.value, V(m * (s.rest * s.value)))), s.n);
  }

 private:
  // value (1 + rest) 2^floor(n)
  struct Reciprocal {
    V value, rest, n;
  };

  // sigmoid(-y - low)
  Reciprocal lower(V y, V low) const {
    using K = ExpConstants<double>;
    const auto zero = y > kVanished<double>;
    const Steps<V> steps = count_steps<Target>(V(-y));
    const V r = subtract_steps<Target>(V(-y), steps.n) - low;
    const TwoParts<V> t = exp_parts<Target>(V(-r), steps.index, powers_);
    const V n = zero ? V{} : steps.n;
    const V power = Target::scale_normal(broadcast<V>(1), V(Target::greater(broadcast<V>(K::kSmallestExponent), n)));
    // The denominator in two parts. Its difference to t.high is exact; the next two differences are
    // exact except for negligible errors.
    const V denominator = (t.high + power) + t.low;
    const V negative_low = ((denominator - t.high) - power) - t.low;
    const V reciprocal = 1 / denominator;
    const V rest = Target::fma(reciprocal, negative_low, Target::fma(-reciprocal, denominator, broadcast<V>(1)));
    return {zero ? V{} : reciprocal, zero ? V{} : rest, n};
  }

  typename Target::template Powers<double> powers_{kNegativePowers<double>};
};

template <class Target, class C>
class Tanh;

// tanh(|x|) by the table's polynomial, with the sign of x. Lane type float.
// Largest error 0.6897 ULP, at 0x1.feee04p-2. In [-1, 1], monotone, odd; tanh(x) = x for subnormal
// x. tanh(NaN) = NaN. Method of the table: S. Gal, see cpp/fit_coefficients.py.
template <class Target>
class Tanh<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    constexpr float kSaturated = 9.02f;  // tanh rounds to 1 beyond
    constexpr float kSmall = 0.25f;      // the second row begins there
    const V magnitude = magnitude_of(x);
    const V y = Target::less(broadcast<V>(kSaturated), V(Target::greater(broadcast<V>(kTiny<float>), magnitude)));
    V c[8];
    polynomials_(as<Integers<V>>(V(1 + y)) >> 21, c);
    const V t = y - c[0];
    const V result = Target::fma(slope<Target>(c, t), t, V(1 + y < 1 + kSmall ? y : c[1]));
    // For tiny x, the smaller one is the magnitude.
    return with_sign_of<V>(x, Target::less(magnitude, result));
  }

 private:
  typename Target::Lookup polynomials_{kTanhTable};
};

// tanh(c + t) = T + (1 - T^2) u / (1 + T u), with the sign of x. T = tanh(c) is from a table, in
// two parts; u = tanh(t) is a polynomial. The node c is the middle of |x|'s sixteenth of a binade,
// or 0 for |x| below 2^-5. So the second term is at most a 31st of the first, and its errors matter
// little. Lane type double.
// Largest error 0.6206 ULP, at 0x1.00027e6e56315p+3. In [-1, 1], monotone, odd; tanh(x) = x for
// subnormal x. tanh(NaN) = NaN. The derivation is our own.
template <class Target>
class Tanh<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    constexpr double kSaturated = 19.5;  // tanh rounds to 1 here
    constexpr double kSmall = 0x1p-5;    // start of the first node's sixteenth
    constexpr int kShift = 48;           // number of bits below a sixteenth
    constexpr auto kSixteenth = std::uint64_t{1} << kShift;
    const V magnitude = magnitude_of(x);
    // 19.5 for NaN too.
    const V y = Target::less(V(Target::greater(broadcast<V>(kTiny<double>), magnitude)), broadcast<V>(kSaturated));
    const auto bits = as<Integers<V>>(y);
    constexpr double kBelowSmall = 0x1.fffffffffffffp-6;
    const auto row_of = [](V number) { return as<Integers<V>>(number) >> kShift; };
    V high, low;
    Target::look_up_pairs(
        kTanhNodes, row_of(V(Target::greater(y, broadcast<V>(kBelowSmall)))) - row_of(broadcast<V>(kBelowSmall)), high, low);
    const V node = y < kSmall ? V{} : as<V>((bits & -kSixteenth) | kSixteenth / 2);
    const V t = y - node;
    const V square = t * t;
    const V u = Target::fma(V(polynomial<Target>(kPolynomial, square) * square), t, t);
    // 1 - T^2; the low part matters only near 1.
    const V derivative = Target::fma(broadcast<V>(-2), low, V(Target::fma(-high, high, broadcast<V>(1))));
    const V quotient = u * derivative / Target::fma(high, u, broadcast<V>(1));
    const V result = high + (quotient + low);
    // For tiny x and NaN, the smaller one is the magnitude.
    return with_sign_of<V>(x, Target::less(result, magnitude));
  }

 private:
  // (tanh(t) / t - 1) / t^2 as a polynomial of t^2. Error 2^-60 for |t| <= 2^-5; larger beyond,
  // where the second term of tanh matters less.
  static constexpr double kPolynomial[] = {-0x1.55555555554f5p-2, 0x1.11111110b32b7p-3, -0x1.ba1b9e697f39cp-5,
                                           0x1.664998df79d11p-6, -0x1.1e83ab623656ap-7};
};

// max(x, 0) - y for y >= 0; a result of 0 has the sign of x. Gives silu from y = |x| sigmoid(-|x|)
// and gelu from y = |x| Phi(-|x|).
template <class Target, class V>
V subtract_from_positive(V x, V y) {
  return Target::greater(broadcast<V>(Element<V>(-0.0)), x) - y;
}

// x sigmoid(x) = max(x, 0) - |x| sigmoid(-|x|).
// Largest error 0.9604 ULP in float, at -0x1.5be18cp+2; 0.7915 ULP in double, at
// 0x1.56a141d9fc7f6p-1. Underflows gradually. -0 at -0 and at -inf; NaN at NaN. The derivation is
// our own.
template <class Target, class C>
class Silu {
 public:
  using V = Lanes<Target, C>;

  V operator()(V x) const {
    const V y = Target::less(magnitude_of(x), broadcast<V>(kVanished<C>));
    return subtract_from_positive<Target>(x, sigmoid_.product(y, V(Target::greater(y, broadcast<V>(kTiny<C>)))));
  }

 private:
  Sigmoid<Target, C> sigmoid_;
};

template <class C>
struct GeluConstants;

template <>
struct GeluConstants<float> {
  static constexpr float kEnd = 14.9f;   // x Phi(x) rounds to 0 below -kEnd
  static constexpr float kTanhEnd = 12;  // the same for the tanh form
  // 2 sqrt(2/pi), and 0.044715 times this, each in two parts.
  static constexpr float kLinear[] = {0x1.98845p+0f, 0x1.9ea1b2p-23f};
  static constexpr float kCubic[] = {0x1.2444f2p-4f, 0x1.49b16ap-29f};
  static constexpr float kDensity = 0x1.988454p-2f;  // 1 / sqrt(2 pi)
};

template <>
struct GeluConstants<double> {
  static constexpr double kEnd = 39;
  static constexpr double kTanhEnd = 24;
  static constexpr double kLinear[] = {0x1.9884533d4366p+0, -0x1.ee5e069875fe9p-49};
  static constexpr double kCubic[] = {0x1.2444f2a4d8b4bp-4, -0x1.6c843a29d1c70p-61};
  static constexpr double kDensity = 0x1.9884533d43651p-2;
};

// 2 sqrt(2/pi) (y + 0.044715 y^3) in two parts, for y from kSquarable to kTanhEnd.
template <class Target, class V>
TwoParts<V> gelu_tanh_argument(V y) {
  using K = GeluConstants<Element<V>>;
  const V linear = broadcast<V>(K::kLinear[0]), cubic = broadcast<V>(K::kCubic[0]);
  const V square = y * y;
  const V square_low = Target::fma(y, y, -square);
  const V factor = Target::fma(cubic, square, linear);
  // The rounding errors, and the low parts of the constants. linear has few enough bits for an
  // exact difference.
  const V factor_low = Target::fma(cubic, square_low, V(Target::fma(cubic, square, V(linear - factor)))) +
                       Target::fma(broadcast<V>(K::kCubic[1]), square, broadcast<V>(K::kLinear[1]));
  const V high = y * factor;
  return {high, Target::fma(y, factor_low, V(Target::fma(y, factor, -high)))};
}

// x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 = x sigmoid(v) with v = 2 sqrt(2/pi) (x +
// 0.044715 x^3), computed as silu.
// Largest error 0.9626 ULP in float, at -0x1.504c06p+0; 0.7886 ULP in double, at
// 0x1.44b278cd4101cp-2. Special values as for silu.
template <class Target, class C>
class GeluTanh {
 public:
  using V = Lanes<Target, C>;

  V operator()(V x) const {
    const V limited = Target::less(magnitude_of(x), broadcast<V>(GeluConstants<C>::kTanhEnd));
    const TwoParts<V> v = gelu_tanh_argument<Target>(V(Target::greater(limited, broadcast<V>(kSquarable<C>))));
    return subtract_from_positive<Target>(x, sigmoid_.product(limited, v.high, v.low));
  }

 private:
  Sigmoid<Target, C> sigmoid_;
};

// 2 y e^(y^2/2) Phi(-y) in two parts, for y from 0 to kEnd. About y for small y; at most 0.8.
// `normal` is y, or slightly more where y^2 would be subnormal.
template <class Target, class C>
class GeluFactor;

// By a table of polynomials; the row is bits 21 to 24 of 1 + y, as for tanh.
template <class Target>
class GeluFactor<Target, float> {
 public:
  using V = Lanes<Target, float>;

  TwoParts<V> operator()(V y, V normal) const {
    constexpr float kSmall = 0.25f;  // start of the second row
    V c[8];
    polynomials_(as<Integers<V>>(V(1 + normal)) >> 21, c);
    const V t = y - c[0];
    return {1 + normal < 1 + kSmall ? y : c[1], slope<Target>(c, t) * t};
  }

 private:
  typename Target::Lookup polynomials_{kGeluTable};
};

// 2 y w P(u) with w = 1 / (y + 5) and u = 1 - 10 w (M. M. Shepherd and J. G. Laframboise,
// "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", 1981). Since w is rounded, this is the
// value at a slightly different y. The derivative of q = e^(y^2/2) Phi(-y), which is y q - 1 /
// sqrt(2 pi), corrects it.
template <class Target>
class GeluFactor<Target, double> {
 public:
  using V = Lanes<Target, double>;

  TwoParts<V> operator()(V y, V normal) const {
    const V denominator = normal + 5;
    const V denominator_low = normal > 5 ? 5 - (denominator - normal) : normal - (denominator - 5);
    // Few enough bits for an exact u.
    const V w = as<V>(as<Integers<V>>(V(1 / denominator)) & ~std::uint64_t{63});
    const V error = Target::fma(-w, denominator, broadcast<V>(1)) - w * denominator_low;
    const V u = Target::fma(w, broadcast<V>(-10), broadcast<V>(1));
    V p = polynomial<Target>(kPolynomial, u);
    V p_low{};
    for (const auto& [constant, constant_low] : kTwoPartCoefficients) {
      const V next = Target::fma(u, p, broadcast<V>(constant));
      p_low = Target::fma(u, p_low, V(Target::fma(u, p, V(constant - next)) + constant_low));
      p = next;
    }
    const V q = w * p;
    const V by_error = denominator * (GeluConstants<double>::kDensity - normal * q);
    const V q_low = Target::fma(error, by_error, Target::fma(w, p_low, Target::fma(w, p, -q)));
    const V twice = y + y;
    const V high = twice * q;
    return {high, Target::fma(twice, q_low, V(Target::fma(twice, q, -high)))};
  }

 private:
  // The coefficients from u^5 on; then u^4, ..., 1, in two parts.
  static constexpr double kPolynomial[] = {
      -0x1.1b1c254c9ec0bp-4,  0x1.54b4d4f4f991dp-6,   -0x1.88590ea29d2afp-9, -0x1.a250381c6a552p-11, 0x1.1daf1c3962e9dp-11,
      -0x1.f2144a6cbf954p-15, -0x1.a1707cd7b2bdcp-15, 0x1.17dc86d0db5cfp-16, 0x1.0b1e7cd4ee0ebp-18,  -0x1.73a47c16624dp-19,
      -0x1.6847bc10b577bp-22, 0x1.d0ce4cb93db5ep-22,  0x1.5f28e4f64327p-25,  -0x1.1b84888b53f98p-24, -0x1.1d014aa00df35p-27,
      0x1.10e4920ef0c25p-27,  0x1.899d0d0204481p-30,  -0x1.4d0d5954ff2dfp-32};
  static constexpr double kTwoPartCoefficients[][2] = {{0x1.51f6329f011d4p-3, -0x1.e0c43ad28fee3p-57},
                                                       {-0x1.410ed5f8759e4p-2, 0x1.db3d139009a8bp-56},
                                                       {0x1.fb31653876f9fp-2, 0x1.6cfb5129a06b5p-60},
                                                       {-0x1.54ad03f27ca17p-1, -0x1.94c3fbf557312p-55},
                                                       {0x1.89d3abe1f95aep-1, -0x1.492462d3b91d4p-56}};
};

// x Phi(x) = max(x, 0) - |x| Phi(-|x|), with the standard normal distribution function Phi.
// Largest error 0.9996 ULP in float, at 0x1.ff36f6p-3; in double 1.1641 ULP of normal and 1.5000
// ULP of subnormal results. -0 at -0 and at -inf; NaN at NaN. The derivation is our own.
template <class Target, class C>
class Gelu {
 public:
  using V = Lanes<Target, C>;

  V operator()(V x) const {
    const V y = Target::less(magnitude_of(x), broadcast<V>(K::kEnd));
    const V normal = Target::greater(y, broadcast<V>(kSquarable<C>));
    const TwoParts<V> g = factor_(y, normal);
    const Scaled<V> e = half_gauss(normal);
    const V sum = Target::fma(e.high, g.high, V(Target::fma(e.high, g.low, V(e.low * (g.high + g.low)))));
    return subtract_from_positive<Target>(x, V(Target::scale(sum, e.n)));
  }

  // Phi(x) + x Phi'(x). At -y it is e^(-y^2/2) (q - y / sqrt(2 pi)) with q = e^(y^2/2) Phi(-y); at
  // y it is 1 minus this.
  V derivative(V x) const {
    const V y = Target::less(V(Target::greater(broadcast<V>(kSquarable<C>), magnitude_of(x))), broadcast<V>(K::kEnd));
    const TwoParts<V> g = factor_(y, y);
    const Scaled<V> e = half_gauss(y);
    const V lower = Target::scale(V((e.high + e.low) * ((g.high + g.low) / y - 2 * K::kDensity * y)), e.n);
    return x > 0 ? 1 - lower : x == x ? lower : x;
  }

 private:
  using K = GeluConstants<C>;

  // e^(-y^2/2) / 2
  Scaled<V> half_gauss(V y) const {
    const V half = C(-0.5) * y;
    const V exponent = half * y;
    const V exponent_low = Target::fma(half, y, -exponent);
    const Steps<V> steps = count_steps<Target>(exponent);
    const TwoParts<V> e = exp_parts<Target>(V(subtract_steps<Target>(exponent, steps.n) + exponent_low), steps.index, powers_);
    return {e.high, e.low, steps.n};
  }

  GeluFactor<Target, C> factor_;
  typename Target::template Powers<C> powers_{kHalfPowers<C>};
};

template <class Target, class C>
class Softplus;

// log(1 + e^-|x|) by the table's polynomial, or e^-|x| (1 - e^-|x| / 2) beyond the table; plus x
// for positive x. Lane type float. Largest error 0.5813 ULP of normal results, 0.7657 ULP of
// subnormal results, at -0x1.5dfb1p+6. Monotone. 0 at -inf, inf at inf, NaN at NaN. Method of the
// table: as for sigmoid.
template <class Target>
class Softplus<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    const V y = Target::greater(broadcast<V>(kTiny<float>), magnitude_of(x));
    V c[8];
    polynomials_(table_row<Target>(y), c);
    const V t = y - c[0];
    // The slope is s + s_low, and softplus(-|x|) is high + low. With one part each, rounding errors
    // put neighbours out of order where the function is nearly flat. |c1| > |p|, so the error of
    // high is exact (T. J. Dekker, 1971).
    const V q = polynomial<3, Target>(c, t);
    const V s = Target::fma(q, t, c[2]);
    const V s_low = Target::fma(q, t, V(c[2] - s));
    const V p = s * t;
    const V high = c[1] + p;
    const V low = (c[1] - high + p) + Target::fma(s_low, t, V(Target::fma(s, t, -p)));
    const TwoParts<V> sum = add<Target>(y, high);
    const V result = x > 0 ? V(sum.high + V(sum.low + low)) : V(high + low);
    if (__builtin_expect(!Target::any_greater(y, broadcast<V>(kTableEnd)), true)) return result;
    const Scaled<V> e = decay<Target>(y, V{}, 0.5f);
    const V lower = Target::scale(y > kVanished<float> ? V{} : V(e.high + e.low), e.n);
    return y > kTableEnd ? (x > 0 ? x + lower : lower) : result;
  }

 private:
  typename Target::Lookup polynomials_{kSoftplusTable};
};

// Near 0 the series log(2) + x/2 + x^2/8 - x^4/192 + ...; elsewhere log(1 + e^-|x|) by log1p.h,
// plus x for positive x. Lane type double. Largest error 0.9170 ULP, at -0x1.467db7bd1cf43p+0.
// Monotone. Special values as in float.
template <class Target>
class Softplus<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    const V y =
        Target::greater(broadcast<V>(-kVanished<double>), V(Target::less(broadcast<V>(-kTiny<double>), V(-magnitude_of(x)))));
    const Steps<V> steps = count_steps<Target>(y);
    const TwoParts<V> parts = exp_parts<Target>(V(subtract_steps<Target>(y, steps.n)), steps.index, powers_);
    const V sum = parts.high + parts.low;
    const V e = Target::scale(sum, steps.n);
    const V e_low = Target::scale(V((parts.high - sum) + parts.low), steps.n);
    const TwoParts<V> log = log1p_positive(e);
    // Approximately e_low / (1 + e).
    const V low = Target::fma(e_low, Target::fma(e, broadcast<V>(-0.5), broadcast<V>(1)), log.low);
    const V bounded = within<Target>(kVanished<double>, x);
    const TwoParts<V> whole = add<Target>(bounded, log.high);
    const V result = x > kVanished<double> ? x : x > 0 ? V(whole.high + (whole.low + low)) : V(log.high + low);
    if (__builtin_expect(!Target::any_greater(y, broadcast<V>(-kNear)), true)) return result;
    return magnitude_of(x) < kNear ? near_zero(unless_below<V>(kTiny<double>, bounded)) : result;
  }

 private:
  // Near 0 the result changes by less than 0.04 ULP from one x to the next, and errors of log1p.h
  // could put neighbours out of order. Tiny x become 0, since subnormal squares would be slow.
  static constexpr double kNear = 0x1p-4;
  static V near_zero(V x) {
    constexpr double kLn2High = 0x1.62e42fefa39efp-1, kLn2Low = 0x1.abc9e3b39803fp-56;
    const V half = 0.5 * x;
    const V w = x * x;
    V p = broadcast<V>(31.0 / 14515200);
    for (const double c : {-17.0 / 645120, 1.0 / 2880, -1.0 / 192, 1.0 / 8}) p = Target::fma(p, w, broadcast<V>(c));
    const V high = kLn2High + half;
    const V low = (kLn2High - high) + half;  // exact, since |x/2| < log(2) (T. J. Dekker, 1971)
    return high + (low + Target::fma(p, w, broadcast<V>(kLn2Low)));
  }

  typename Target::template Powers<double> powers_{kPowers<double>};
};

// x if x > 0, else alpha (e^x - 1), where e^x - 1 = (2^n - 1) + 2^n (e^r - 1), summed in two parts.
// Largest error 0.5755 ULP in float, at -0x1.2061e8p-2; 0.8555 ULP in double, at
// -0x1.081c9c76ff7c5p-4. Monotone for alpha >= 0. -0 at -0 if alpha is positive; -alpha at -inf;
// NaN at NaN. The derivation is our own; the exponential is from exp.h.
template <class Target, class C>
class Elu {
 public:
  using V = Lanes<Target, C>;

  explicit Elu(double alpha) : alpha_(broadcast<V>(static_cast<C>(alpha))) {}

  V operator()(V x) const {
    using K = ExpConstants<C>;
    constexpr C kLowest = sizeof(C) == 4 ? C(-20) : C(-45);  // below it the result rounds to -alpha
    const V y = Target::less(broadcast<V>(-kSquarable<C>), V(Target::greater(broadcast<V>(kLowest), x)));
    const Steps<V> steps = count_steps<Target>(y);
    const V r = subtract_steps<Target>(y, steps.n);
    V high, low;
    powers_(steps.index, high, low);
    const V whole_power = Target::scale_normal(broadcast<V>(1), steps.n);
    const V power = high * whole_power;
    const V linear = power * r;
    const V above = Target::fma(V(linear * r), polynomial<Target>(K::kQuadratic, r), V(low * whole_power));
    const V whole = power - 1;
    const V whole_low = power - (whole + 1);
    const V sum = whole + linear;
    const V rest = ((linear - (sum - whole)) + Target::fma(power, r, -linear)) + (whole_low + above);
    const V result = Target::fma(alpha_, sum, V(alpha_ * rest));
    return x > 0 ? x : x > -kSquarable<C> ? V(alpha_ * x) : result;
  }

 private:
  V alpha_;
  typename Target::template Powers<C> powers_{kPowers<C>};
};

template <class Target, class T>
void relu(Strided<const T> input, Strided<T> output, std::size_t n, Stores stores, double /*option*/) {
  map<Target>(
      input, output, n, [](Lanes<Target, Compute<T>> x) { return relu<Target>(x); }, stores);
}

template <class Target, class T>
void sigmoid(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  map<Target>(input, output, n, Sigmoid<Target, Compute<T>>());
}

template <class Target, class T>
void tanh(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  map<Target>(input, output, n, Tanh<Target, Compute<T>>());
}

template <class Target, class T>
void exp(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  map<Target>(input, output, n, Exp<Target, Compute<T>>());
}

// x if x > 0, else option x, rounded once.
template <class Target, class T>
void leaky_relu(Strided<const T> input, Strided<T> output, std::size_t n, Stores stores, double option) {
  using V = Lanes<Target, Compute<T>>;
  const V slope = broadcast<V>(static_cast<Compute<T>>(option));
  map<Target>(
      input, output, n, [slope](V x) { return x > 0 ? x : slope * x; }, stores);
}

template <class Target, class T>
void elu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double option) {
  map<Target>(input, output, n, Elu<Target, Compute<T>>(option));
}

template <class Target, class T>
void silu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  map<Target>(input, output, n, Silu<Target, Compute<T>>());
}

template <class Target, class T>
void gelu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  map<Target>(input, output, n, Gelu<Target, Compute<T>>());
}

template <class Target, class T>
void gelu_tanh(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  map<Target>(input, output, n, GeluTanh<Target, Compute<T>>());
}

template <class Target, class T>
void softplus(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  map<Target>(input, output, n, Softplus<Target, Compute<T>>());
}

// max(0, x) of integers; the compiler vectorises it.
template <class /*Target*/, class T>
void integer_relu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  if (input.contiguous() && output.contiguous()) {
    for (std::size_t i = 0; i < n; ++i) output.data[i] = input.data[i] > 0 ? input.data[i] : T(0);
  } else {
    for (std::size_t i = 0; i < n; ++i) output[i] = input[i] > 0 ? input[i] : T(0);
  }
}

}  // namespace
}  // namespace nnkernels
