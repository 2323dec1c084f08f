// relu, sigmoid and tanh. Errors as tests/accuracy.cpp prints them.
#pragma once

#include "exp.h"
#include "loop.h"
#include "tables.h"

namespace nnkernels {
namespace {

// max(0, x). Exact. relu(-0) = +0, relu(NaN) = NaN. In integers, where -0 to -inf come one after the other, for a comparison
// with NaN would raise an exception flag, in the dense kernels where it counts.
template <class Target, class V>
V relu(V x) {
  const auto minus_zero = as<Integers<V>>(broadcast<V>(Element<V>(-0.0)));
  const auto infinity = as<Integers<V>>(broadcast<V>(Element<V>(__builtin_huge_val())));
  return as<Integers<V>>(x) - minus_zero <= infinity ? V{} : x;
}

// (numerator + numerator_low) / (denominator + denominator_low), where each low part is at most an ULP of the high one.
// One division, and one Newton step from its result, which leaves little more than the last rounding's half ULP.
template <class Target, class V>
V divide(V numerator, V numerator_low, V denominator, V denominator_low) {
  const V reciprocal = 1 / denominator;
  const V quotient = numerator * reciprocal;
  const V rest = Target::fma(-quotient, denominator, numerator) + Target::fma(-quotient, denominator_low, numerator_low);
  return Target::fma(rest, reciprocal, quotient);
}

template <class Target, class C>
class Tanh;

// sigmoid(-|x|) = 1 / (1 + e^|x|) = p / (p + t), where e^|x| = t / p with a power of two p <= 1 and 1/2 < t <= 1, but for
// t's small part. sigmoid(x) = 1 - sigmoid(-x).
// In [0, 1], monotone; results are subnormal for x below -87.3 in float, -708.4 in double, and 0 below -104 and -745.2.
// sigmoid(NaN) = NaN.
template <class Target, class C>
class Sigmoid {
 public:
  using V = Lanes<Target, C>;

  V operator()(V x) const {
    using K = ExpConstants<C>;
    constexpr C kTiny = sizeof(C) == 4 ? 0x1p-60 : 0x1p-500;  // so that no square of it is subnormal
    const V y = Target::less(broadcast<V>(-kTiny), as<V>(as<Integers<V>>(x) | as<Integers<V>>(broadcast<V>(C(-0.0)))));
    const auto zero = y < K::kLowest;
    const Reduced<V> reduced = reduce_negated<Target>(y);
    const TwoParts<V> t = exp_parts<Target>(reduced, powers_);
    const V n = zero ? V{} : reduced.n;
    const V power = Target::scale_normal(broadcast<V>(1), V(Target::greater(broadcast<V>(K::kSmallestExponent), n)));
    // The denominator in two parts: its difference to t.high is exact, and so are the next two but for what does not matter.
    const V denominator = (t.high + power) + t.low;
    const V negative_low = ((denominator - t.high) - power) - t.low;
    const V reciprocal = 1 / denominator;
    const V rest = Target::fma(reciprocal, negative_low, Target::fma(-reciprocal, denominator, broadcast<V>(1)));
    const V lower = Target::scale(zero ? V{} : V(Target::fma(rest, reciprocal, reciprocal)), n);
    return x > 0 ? 1 - lower : lower;
  }

 private:
  static constexpr PowerTable<C> kInverse = inverse(ExpConstants<C>::kPowers);
  typename Target::template Powers<C> powers_{kInverse};
};

// The table's polynomial for |x|, with the sign of x.
// Largest error 0.7280 ULP, at -0x1.2d8244p+2 (all floats). In [-1, 1], monotone, odd; tanh(x) = x for subnormal x.
// tanh(NaN) = NaN.
template <class Target>
class Tanh<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    constexpr float kSaturated = 9.02f;  // beyond it tanh rounds to 1
    constexpr float kSmall = 0.125f;     // the first row begins there
    const auto sign = as<Integers<V>>(x) & as<Integers<V>>(broadcast<V>(-0.0f));
    const V magnitude = Target::less(broadcast<V>(kSaturated), as<V>(as<Integers<V>>(x) ^ sign));
    const auto row = as<SignedIntegers<V>>(magnitude) >> 21;
    const auto lowest = (as<SignedIntegers<V>>(broadcast<V>(kSmall)) >> 21) - 1;
    V c[7];
    polynomials_(row > lowest ? row : lowest, c);
    const V t = magnitude - c[0];
    const V slope = Target::fma(polynomial<Target, 4>(c + 3, t), t, c[2]);
    const V result = Target::fma(slope, t, V(magnitude < kSmall ? magnitude : c[1]));
    return as<V>(as<Integers<V>>(result) | sign);
  }

 private:
  typename Target::template Lookup<7> polynomials_{kTanhTable};
};


namespace temporary {
struct K {
  static constexpr double kPolynomial[] = {
      0x1.5555555555559p-3,  0x1.5555555555559p-5,  0x1.111111110f6bp-7,   0x1.6c16c16c14a41p-10, 0x1.a01a01afe9d3bp-13,
      0x1.a01a01af79c17p-16, 0x1.71ddf83d6716ep-19, 0x1.27e4c79402015p-22, 0x1.af5ef4e033eeap-26, 0x1.1f930b9fdec69p-29};
};
template <class Target, class V>
V exp_polynomial(V r) {
  constexpr std::size_t kTerms = sizeof(K::kPolynomial) / sizeof(double) + 1;
  V c[kTerms] = {broadcast<V>(0.5)};
  for (std::size_t i = 1; i < kTerms; ++i) c[i] = broadcast<V>(K::kPolynomial[i - 1]);
  return polynomial<Target, kTerms>(c, r);
}
template <class V>
struct ExpParts {
  V n;
  V expm1;
  V expm1_low;
};
template <class Target, class V>
ExpParts<V> exp_parts(V x) {
  using K = ExpConstants<Element<V>>;
  const V n = Target::fma(x, broadcast<V>(K::kLog2e), broadcast<V>(0x1.8p52)) - 0x1.8p52;
  const V high = Target::fma(n, broadcast<V>(-K::kLn2High), x);
  const V r = Target::fma(n, broadcast<V>(-K::kLn2Low), high);
  const V r_low = Target::fma(n, broadcast<V>(-K::kLn2Low), V(high - r));
  const V tail = Target::fma(exp_polynomial<Target>(r), V(r * r), r_low);
  const V expm1 = r + tail;
  return {n, expm1, (r - expm1) + tail};
}
}
// G / (2 - G), where G = 1 - e^(-2|x|), with the sign of x.
// Largest error 0.8604 ULP over 2^27 numbers, at 0x1.6b2058b6c24dp-3. In [-1, 1], monotone, odd; tanh(x) = x for subnormal x.
// tanh(NaN) = NaN.
template <class Target>
class Tanh<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    // Beyond it tanh rounds to 1.
    constexpr double kSaturated = 19.1;
    const auto sign = as<Integers<V>>(x) & as<Integers<V>>(broadcast<V>(-0.0));
    const V magnitude = Target::less(broadcast<V>(kSaturated), as<V>(as<Integers<V>>(x) ^ sign));
    const auto e = temporary::exp_parts<Target>(V(magnitude * -2));
    // G = (1 - 2^n) - 2^n (e^r - 1), the larger term first and the sum in two parts.
    const V power = Target::scale_normal(broadcast<V>(1), e.n);
    const V first = 1 - power;
    const V term = power * e.expm1;
    const V g = first - term;
    const V first_low = (1 - first) - power;
    const V g_low = Target::fma(-power, e.expm1_low, ((first - g) - term) + first_low);
    const V denominator = 2 - g;
    const V denominator_low = ((2 - denominator) - g) - g_low;
    const V quotient = divide<Target>(g, g_low, denominator, denominator_low);
    return as<V>(as<Integers<V>>(quotient) | sign);
  }
};

template <class Target, class T>
void relu(Strided<const T> input, Strided<T> output, std::size_t n) {
  using C = Compute<T>;
  const auto function = [](Lanes<Target, C> x) { return relu<Target>(x); };
  if constexpr (std::is_same_v<T, C>) {
    if (input.contiguous() && output.contiguous() && input.data != output.data && n * sizeof(T) >= kStreamBytes) {
      map_streaming<Target>(input.data, output.data, n, function);
      return;
    }
  }
  map<Target>(input, output, n, function);
}

template <class Target, class T>
void sigmoid(Strided<const T> input, Strided<T> output, std::size_t n) {
  map<Target>(input, output, n, Sigmoid<Target, Compute<T>>());
}

template <class Target, class T>
void tanh(Strided<const T> input, Strided<T> output, std::size_t n) {
  map<Target>(input, output, n, Tanh<Target, Compute<T>>());
}

// max(0, x) of integers; the compiler makes vectors of it.
template <class /*Target*/, class T>
void integer_relu(Strided<const T> input, Strided<T> output, std::size_t n) {
  if (input.contiguous() && output.contiguous()) {
    for (std::size_t i = 0; i < n; ++i) output.data[i] = input.data[i] > 0 ? input.data[i] : T(0);
  } else {
    for (std::size_t i = 0; i < n; ++i) output[i] = input[i] > 0 ? input[i] : T(0);
  }
}

}  // namespace
}  // namespace nnkernels
