// relu, sigmoid and tanh. Errors as tests/accuracy.cpp prints them: of all floats, and of the doubles that it takes.
#pragma once

#include "exp.h"
#include "loop.h"
#include "tables.h"

namespace nnkernels {
namespace {

// max(0, x), by its definition. Exact for all numbers. relu(-0) = +0, relu(NaN) = NaN. In integers, of which -0 is the least
// and all to -inf come next, for a comparison with NaN would raise an exception flag, in the dense kernels where it counts.
template <class Target, class V>
V relu(V x) {
  const auto minus_infinity = as<SignedIntegers<V>>(broadcast<V>(Element<V>(-__builtin_huge_val())));
  return as<SignedIntegers<V>>(x) > minus_infinity ? x : V{};
}

template <class Target, class C>
class Tanh;

// sigmoid(-|x|) = 1 / (1 + e^|x|) = p / (p + t), where e^|x| = t / p with a power of two p <= 1 and 1/2 < t <= 1, but for
// t's small part. sigmoid(x) = 1 - sigmoid(-x).
// Largest error in float 0.7718 ULP, at -0x1.5dcd72p+6; in double 0.7952 ULP, at -0x1.6236e6843b9cdp+9.
// In [0, 1], monotone; results are subnormal for x below -87.3 in float, -708.4 in double, and 0 below -104 and -745.2.
// sigmoid(NaN) = NaN. The derivation is our own; e^|x| is that of exp.h.
template <class Target, class C>
class Sigmoid {
 public:
  using V = Lanes<Target, C>;

  V operator()(V x) const {
    using K = ExpConstants<C>;
    constexpr auto kTiny = static_cast<C>(sizeof(C) == 4 ? 0x1p-60 : 0x1p-500);  // so that no square of it is subnormal
    const V y = Target::less(broadcast<V>(-kTiny), as<V>(as<Integers<V>>(x) | as<Integers<V>>(broadcast<V>(C(-0.0)))));
    const auto zero = y < K::kLowest;
    const Steps<V> steps = count_steps<Target>(y);
    const V r = subtract_low<Target>(subtract_high<Target>(y, steps.n), steps.n);
    const TwoParts<V> t = exp_parts<Target>(V(-r), steps.index, powers_);
    const V n = zero ? V{} : steps.n;
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
  typename Target::template Powers<C> powers_{kNegativePowers<C>};
};

// The table's polynomial for |x|, with the sign of x.
// Largest error 0.7280 ULP, at -0x1.2d8244p+2. In [-1, 1], monotone, odd; tanh(x) = x for subnormal x.
// tanh(NaN) = NaN. The table is due to S. Gal: cpp/fit_coefficients.py.
template <class Target>
class Tanh<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    constexpr float kSaturated = 9.02f;  // beyond it tanh rounds to 1
    constexpr float kSmall = 0.125f;     // the first row begins there
    constexpr float kTiny = 0x1p-60f;    // so that no square of it is subnormal
    const auto sign = as<Integers<V>>(x) & as<Integers<V>>(broadcast<V>(-0.0f));
    const V magnitude = as<V>(as<Integers<V>>(x) ^ sign);
    const V y = Target::less(broadcast<V>(kSaturated), V(Target::greater(broadcast<V>(kTiny), magnitude)));
    const auto row = as<SignedIntegers<V>>(y) >> 21;
    const auto lowest = (as<SignedIntegers<V>>(broadcast<V>(kSmall)) >> 21) - 1;
    V c[7];
    polynomials_(row > lowest ? row : lowest, c);
    const V t = y - c[0];
    const V slope = Target::fma(polynomial<Target, 4>(c + 3, t), t, c[2]);
    const V result = Target::fma(slope, t, V(y < kSmall ? y : c[1]));
    // The lesser one is the magnitude if that is tiny.
    return as<V>(as<Integers<V>>(V(Target::less(magnitude, result))) | sign);
  }

 private:
  typename Target::template Lookup<7> polynomials_{kTanhTable};
};

// N / D = ((1 - p) + m) / ((1 + p) + m), where e^(2|x|) = (1 + m) / p with a power of two p, and |m| < 1/2 from a polynomial as
// accurate as m is small, which the exponential's table is not; with the sign of x.
// Largest error 0.9287 ULP, at -0x1.6ac5cbb8a6db6p-3; a search about there found 0.9580, at 0x1.6a69e26b3c81cp-3. In [-1, 1],
// monotone, odd; tanh(x) = x for subnormal x. tanh(NaN) = NaN. The derivation is our own.
template <class Target>
class Tanh<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    using K = ExpConstants<double>;
    constexpr double kRound = K::kRound * PowerTable<double>::kSteps;  // to an integer
    constexpr double kSaturated = 18.54;  // from here on tanh rounds to what it does here, so that n is -53 at least
    constexpr double kOne = 19.0615;      // beyond it tanh rounds to 1
    constexpr double kTiny = 0x1p-500;    // so that no square of it is subnormal
    const auto sign = as<Integers<V>>(x) & as<Integers<V>>(broadcast<V>(-0.0));
    const V magnitude = as<V>(as<Integers<V>>(x) ^ sign);
    const V y = Target::less(broadcast<V>(kSaturated), V(Target::greater(broadcast<V>(kTiny), magnitude))) * -2;
    // -y = -n log(2) + r + r_low
    const V n = Target::fma(y, broadcast<V>(K::kLog2e), broadcast<V>(kRound)) - kRound;
    const V high = Target::fma(n, broadcast<V>(K::kLn2High), V(-y));
    const V r = Target::fma(n, broadcast<V>(K::kLn2Low), high);
    const V r_low = Target::fma(n, broadcast<V>(K::kLn2Low), V(high - r));
    V c[kTerms];
    for (std::size_t i = 0; i < kTerms; ++i) c[i] = broadcast<V>(kPolynomial[i]);
    const V tail = Target::fma(polynomial<Target, kTerms>(c, r), V(r * r), r_low);
    const V m = r + tail;
    const V m_low = (r - m) + tail;
    // The sums in two parts each. D = N + 2p.
    const V power = magnitude > kOne ? V{} : Target::scale_normal(broadcast<V>(1), n);
    const V first = 1 - power;
    const V numerator = first + m;
    const V numerator_low = (m - (numerator - first)) + m_low;
    const V denominator = Target::fma(broadcast<V>(2), power, numerator);
    const V negative_low = (Target::fma(broadcast<V>(-2), power, denominator) - numerator) - numerator_low;
    // One division, and one Newton step from its result, which leaves little more than the last rounding's half ULP.
    const V reciprocal = 1 / denominator;
    const V quotient = numerator * reciprocal;
    const V rest = Target::fma(-quotient, denominator, numerator) + Target::fma(quotient, negative_low, numerator_low);
    const V result = Target::fma(rest, reciprocal, quotient);
    // The lesser one is the magnitude if that is tiny.
    return as<V>(as<Integers<V>>(V(Target::less(magnitude, result))) | sign);
  }

 private:
  // (e^r - 1 - r) / r^2 for |r| <= log(2)/2, to 2^-60.4, relative to e^r - 1.
  static constexpr double kPolynomial[] = {0.5,
                                           0x1.5555555555559p-3,
                                           0x1.5555555555559p-5,
                                           0x1.111111110f6bp-7,
                                           0x1.6c16c16c14a41p-10,
                                           0x1.a01a01afe9d3bp-13,
                                           0x1.a01a01af79c17p-16,
                                           0x1.71ddf83d6716ep-19,
                                           0x1.27e4c79402015p-22,
                                           0x1.af5ef4e033eeap-26,
                                           0x1.1f930b9fdec69p-29};
  static constexpr std::size_t kTerms = sizeof kPolynomial / sizeof(double);
};

template <class Target, class T>
void relu(Strided<const T> input, Strided<T> output, std::size_t n, Stores stores) {
  map<Target>(
      input, output, n, [](Lanes<Target, Compute<T>> x) { return relu<Target>(x); }, stores);
}

template <class Target, class T>
void sigmoid(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/) {
  map<Target>(input, output, n, Sigmoid<Target, Compute<T>>());
}

template <class Target, class T>
void tanh(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/) {
  map<Target>(input, output, n, Tanh<Target, Compute<T>>());
}

// max(0, x) of integers; the compiler makes vectors of it.
template <class /*Target*/, class T>
void integer_relu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/) {
  if (input.contiguous() && output.contiguous()) {
    for (std::size_t i = 0; i < n; ++i) output.data[i] = input.data[i] > 0 ? input.data[i] : T(0);
  } else {
    for (std::size_t i = 0; i < n; ++i) output[i] = input[i] > 0 ? input[i] : T(0);
  }
}

}  // namespace
}  // namespace nnkernels
