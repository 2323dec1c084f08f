// The exponential, and what sigmoid and tanh need of it.
//
// Method: x = n log(2) + r with an integer n and |r| <= log(2)/2 (W. J. Cody, W. Waite, "Software Manual for the
// Elementary Functions", 1980, chapter 6), then e^r = 1 + r + r^2/2 + r^3 p(r) with a minimax polynomial p.
// The coefficients are printed by cpp/fit_coefficients.py.
#pragma once

#include "loop.h"

namespace nnkernels {
namespace {

// 2^(j/16), j = 0, ..., 15, in two parts each, as columns of high and low parts, and as rows.
template <class C>
struct PowerTable {
  static constexpr std::size_t kSteps = 16;
  alignas(64) C rows[kSteps][2];
  alignas(64) C columns[2][kSteps] = {};
};

template <class C>
constexpr PowerTable<C> with_columns(PowerTable<C> table) {
  for (std::size_t j = 0; j < PowerTable<C>::kSteps; ++j) {
    for (std::size_t part = 0; part < 2; ++part) table.columns[part][j] = table.rows[j][part];
  }
  return table;
}

// 2^(-j/16), from the table of 2^(j/16).
template <class C>
constexpr PowerTable<C> inverse(const PowerTable<C>& table) {
  PowerTable<C> result = table;
  for (std::size_t j = 1; j < PowerTable<C>::kSteps; ++j) {
    for (std::size_t part = 0; part < 2; ++part) result.rows[j][part] = table.rows[PowerTable<C>::kSteps - j][part] / 2;
  }
  return with_columns(result);
}

template <class C>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float kLog2e = 0x1.715476p+0f;
  // log(2) = kLn2High + kLn2Low. x - n kLn2High is a multiple of 2^-29 below 2^-5, so the fma gives it exactly.
  static constexpr float kLn2High = 0x1.62e43p-1f;
  static constexpr float kLn2Low = -0x1.05c61p-29f;
  // Error of the polynomial 2^-29.2.
  static constexpr float kPolynomial[] = {0x1.00022p-1f, 0x1.555764p-3f};
  static constexpr PowerTable<float> kPowers = with_columns(PowerTable<float>{{
      {0x1p+0f, 0}, {0x1.0b5586p+0f, 0x1.9f3122p-25f}, {0x1.172b84p+0f, -0x1.c15742p-27f},
      {0x1.2387a6p+0f, 0x1.ceac48p-25f}, {0x1.306fep+0f, 0x1.4636e2p-25f}, {0x1.3dea64p+0f, 0x1.824684p-25f},
      {0x1.4bfdaep+0f, -0x1.593abcp-25f}, {0x1.5ab07ep+0f, -0x1.5bd5ecp-27f}, {0x1.6a09e6p+0f, 0x1.9fcef4p-26f},
      {0x1.7a1148p+0f, -0x1.829fdp-25f}, {0x1.8ace54p+0f, 0x1.15506ep-27f}, {0x1.9c4918p+0f, 0x1.51f848p-27f},
      {0x1.ae89fap+0f, -0x1.a94b14p-26f}, {0x1.c199bep+0f, -0x1.3d56b2p-27f}, {0x1.d5818ep+0f, -0x1.822dbcp-27f},
      {0x1.ea4afap+0f, 0x1.52486cp-27f},
  }});
  // Adding it rounds to a multiple of 1/16, whose fraction is then in the lowest four bits, and the integer above.
  static constexpr float kRound = 0x1.8p19f;
  static constexpr int kExponentShift = 23;
  // Below kLowest the result rounds to 0, above kHighest it overflows.
  static constexpr float kLowest = -104.0f;
  static constexpr float kHighest = 89.0f;
  static constexpr float kSmallestExponent = -126.0f;
};

template <>
struct ExpConstants<double> {
  static constexpr double kLog2e = 0x1.71547652b82fep+0;
  // As above: a multiple of 2^-58 below 2^-5.
  static constexpr double kLn2High = 0x1.62e42fefa39efp-1;
  static constexpr double kLn2Low = 0x1.abc9e3b39803fp-56;
  // Error of the polynomial 2^-56.2.
  static constexpr double kPolynomial[] = {0x1.0000000000005p-1, 0x1.555555548ec0dp-3, 0x1.555555545d801p-5,
                                           0x1.11123b4492205p-7, 0x1.6c185ee466e1fp-10};
  static constexpr PowerTable<double> kPowers = with_columns(PowerTable<double>{{
      {0x1p+0, 0}, {0x1.0b5586cf9890fp+0, 0x1.8a62e4adc610bp-54},
      {0x1.172b83c7d517bp+0, -0x1.19041b9d78a76p-55}, {0x1.2387a6e756238p+0, 0x1.9b07eb6c70573p-54},
      {0x1.306fe0a31b715p+0, 0x1.6f46ad23182e4p-55}, {0x1.3dea64c123422p+0, 0x1.ada0911f09ebcp-55},
      {0x1.4bfdad5362a27p+0, 0x1.d4397afec42e2p-56}, {0x1.5ab07dd485429p+0, 0x1.6324c054647adp-54},
      {0x1.6a09e667f3bcdp+0, -0x1.bdd3413b26456p-54}, {0x1.7a11473eb0187p+0, -0x1.41577ee04992fp-55},
      {0x1.8ace5422aa0dbp+0, 0x1.6e9f156864b27p-54}, {0x1.9c49182a3f09p+0, 0x1.c7c46b071f2bep-56},
      {0x1.ae89f995ad3adp+0, 0x1.7a1cd345dcc81p-54}, {0x1.c199bdd85529cp+0, 0x1.11065895048ddp-55},
      {0x1.d5818dcfba487p+0, 0x1.2ed02d75b3707p-55}, {0x1.ea4afa2a490dap+0, -0x1.e9c23179c2893p-54},
  }});
  static constexpr double kRound = 0x1.8p48;
  static constexpr int kExponentShift = 52;
  static constexpr double kLowest = -746.0;
  static constexpr double kHighest = 710.0;
  static constexpr double kSmallestExponent = -1022.0;
};

// The bits of 2^i as V, for integers i of a normal result; bits above those of an exponent do not matter.
template <class V>
V power_of_two(Integers<V> i) {
  const auto one = as<Integers<V>>(broadcast<V>(1));
  return as<V>((i << ExpConstants<Element<V>>::kExponentShift) + one);
}

// floor(n) for multiples n of 1/16, and some bits above those of an exponent.
template <class V>
Integers<V> floor_bits(V n) {
  return as<Integers<V>>(n + ExpConstants<Element<V>>::kRound) >> 4;
}

// v * 2^floor(n) where that power and the product are normal numbers, for targets without an instruction for it.
template <class V>
V scale_by_power(V v, V n) {
  return v * power_of_two<V>(floor_bits(n));
}

// v * 2^floor(n), rounded once, for targets without an instruction for it: the first product is exact.
template <class V>
V scale_in_two_steps(V v, V n) {
  const Integers<V> i = floor_bits(n);
  const Integers<V> half = i >> 1;
  return v * power_of_two<V>(half) * power_of_two<V>(i - half);
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

// (e^r - 1 - r) / r^2 for |r| <= log(2)/32.
template <class Target, class V>
V exp_polynomial(V r) {
  using C = Element<V>;
  using K = ExpConstants<C>;
  constexpr std::size_t kTerms = sizeof(K::kPolynomial) / sizeof(C);
  V c[kTerms];
  for (std::size_t i = 0; i < kTerms; ++i) c[i] = broadcast<V>(K::kPolynomial[i]);
  return polynomial<Target, kTerms>(c, r);
}

// x = n log(2) + r with a multiple n of 1/16, and |r| <= log(2)/32, rounded. The lowest four bits of the index are n's fraction.
template <class V>
struct Reduced {
  V n;
  V r;
  Integers<V> index;
};

// For |x| below 2^16 at least.
template <class Target, class V>
Reduced<V> reduce(V x) {
  using K = ExpConstants<Element<V>>;
  const V shifted = Target::fma(x, broadcast<V>(K::kLog2e), broadcast<V>(K::kRound));
  const V n = shifted - K::kRound;
  const V high = Target::fma(n, broadcast<V>(-K::kLn2High), x);
  return {n, Target::fma(n, broadcast<V>(-K::kLn2Low), high), as<Integers<V>>(shifted)};
}

// As above, but with -r for r.
template <class Target, class V>
Reduced<V> reduce_negated(V x) {
  using K = ExpConstants<Element<V>>;
  const V shifted = Target::fma(x, broadcast<V>(K::kLog2e), broadcast<V>(K::kRound));
  const V n = shifted - K::kRound;
  const V high = Target::fma(n, broadcast<V>(K::kLn2High), V(-x));
  return {n, Target::fma(n, broadcast<V>(K::kLn2Low), high), as<Integers<V>>(shifted)};
}

// As the power table of the index, times e^r, in two parts, of which the second is at most a 44th of the first.
template <class V>
struct TwoParts {
  V high;
  V low;
};

template <class Target, class V>
TwoParts<V> exp_parts(const Reduced<V>& x, const typename Target::template Powers<Element<V>>& powers) {
  V high, low;
  powers(x.index, high, low);
  const V expm1 = Target::fma(exp_polynomial<Target>(x.r), V(x.r * x.r), x.r);
  return {high, Target::fma(high, expm1, low)};
}

// e^x. Largest error in float @ ULP, at @ (all floats); in double @ ULP over 2^27 numbers, at
// @.
// exp(NaN) = NaN, exp(-inf) = 0, exp(inf) = inf; subnormal results are rounded once more.
template <class Target, class C>
class Exp {
 public:
  using V = Lanes<Target, C>;

  V operator()(V x) const {
    using K = ExpConstants<C>;
    const Reduced<V> reduced = reduce<Target>(V(Target::less(broadcast<V>(K::kHighest), V(Target::greater(broadcast<V>(K::kLowest), x)))));
    const TwoParts<V> parts = exp_parts<Target>(reduced, powers_);
    return Target::scale(V(parts.high + parts.low), reduced.n);
  }

 private:
  typename Target::template Powers<C> powers_{ExpConstants<C>::kPowers};
};

template <class Target, class T>
void exp(Strided<const T> input, Strided<T> output, std::size_t n) {
  map<Target>(input, output, n, Exp<Target, Compute<T>>());
}

}  // namespace
}  // namespace nnkernels
