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
class Sigmoid;
template <class Target, class C>
class Tanh;

// e^-|x| = 2^n e^r with an integer n and |r| <= log(2)/2, and e^r / (1 + 2^n e^r) from the table's polynomial for n: times 2^n
// it is sigmoid(-|x|), and sigmoid(x) = 1 - sigmoid(-x).
// Largest error 0.9035 ULP, at -0x1.196b42p+6 (all floats). In [0, 1], monotone; results are subnormal for x below -87.3 and 0
// below -104. sigmoid(NaN) = NaN.
template <class Target>
class Sigmoid<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    using K = ExpConstants<float>;
    const V y = Target::greater(broadcast<V>(K::kLowest), as<V>(as<Integers<V>>(x) | as<Integers<V>>(broadcast<V>(-0.0f))));
    const V shifted = Target::fma(y, broadcast<V>(K::kLog2e), broadcast<V>(K::kRound));
    const V n = shifted - K::kRound;
    const auto lowest = as<SignedIntegers<V>>(broadcast<V>(K::kRound)) - 31;
    const auto row = as<SignedIntegers<V>>(shifted);
    V c[8];
    polynomials_(row > lowest ? row : lowest, c);
    const V r = Target::fma(n, broadcast<V>(-K::kLn2High), y);
    const V t = Target::fma(-n, c[0], r);
    const V slope = Target::fma(polynomial<Target, 5>(c + 3, t), t, c[2]);
    const V lower = Target::scale(Target::fma(slope, t, c[1]), n);
    return x > 0 ? 1 - lower : lower;
  }

 private:
  typename Target::template Lookup<8> polynomials_{kSigmoidTable};
};

// m 2^n / (1 + m 2^n) = sigmoid(-|x|), where m 2^n = e^-|x|, and sigmoid(x) = 1 - sigmoid(-x).
// Largest error 0.7856 ULP over 2^27 numbers, at 0x1.69f73b31c6c97p-2. In [0, 1], monotone; results are subnormal for x below
// -708.4 and 0 below -745.2. sigmoid(NaN) = NaN.
template <class Target>
class Sigmoid<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    using K = ExpConstants<double>;
    const V y = Target::greater(broadcast<V>(K::kLowest), as<V>(as<Integers<V>>(x) | as<Integers<V>>(broadcast<V>(-0.0))));
    const ExpParts<V> e = exp_parts<Target>(y);
    const V m = 1 + e.expm1;
    const V m_low = ((1 - m) + e.expm1) + e.expm1_low;
    // Where n is clamped the product is far below an ULP of 1.
    const V power = power_of_two(Target::greater(broadcast<V>(K::kSmallestExponent), e.n));
    const V term = power * m;
    const V denominator = 1 + term;
    const V denominator_low = Target::fma(power, m_low, (1 - denominator) + term);
    const V lower = Target::scale(divide<Target>(m, m_low, denominator, denominator_low), e.n);
    return x > 0 ? 1 - lower : lower;
  }
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
    const ExpParts<V> e = exp_parts<Target>(V(magnitude * -2));
    // G = (1 - 2^n) - 2^n (e^r - 1), the larger term first and the sum in two parts.
    const V power = power_of_two(e.n);
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
