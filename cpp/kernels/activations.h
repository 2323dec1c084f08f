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

template <class V>
Integers<V> sign_bits() {
  return as<Integers<V>>(broadcast<V>(Element<V>(-0.0)));
}

template <class V>
V magnitude_of(V x) {
  return as<V>(as<Integers<V>>(x) & ~sign_bits<V>());
}

// x, or 0 where its magnitude is below the least.
template <class V>
V unless_below(Element<V> least, V x) {
  return magnitude_of(x) < least ? V{} : x;
}

// A number that is not negative, with the sign of x.
template <class V>
V with_sign_of(V x, V magnitude) {
  return as<V>(as<Integers<V>>(magnitude) | (as<Integers<V>>(x) & sign_bits<V>()));
}

// (f(centre + t) - c0) / t, by the polynomial in a row of a FloatTable.
template <class Target, class V>
V slope(const V* c, V t) {
  V result = c[7];
  for (std::size_t i = 7; i > 2; --i) result = Target::fma(result, t, c[i - 1]);
  return result;
}

template <class Target, class C>
class Sigmoid;

// The table's polynomial for sigmoid(-|x|), or for positive x 1 less that; and where the table ends e^-|x| (1 - e^-|x|), if any
// lane is there.
// Largest error 0.7703 ULP, at -0x1.c28e98p+1. In [0, 1], monotone; results are subnormal for x below -87.3, and 0 below -104.
// sigmoid(NaN) = NaN. The table is due to S. Gal: cpp/fit_coefficients.py.
template <class Target>
class Sigmoid<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    constexpr float kTableEnd = 9.875f;
    const V y = Target::greater(broadcast<V>(kTiny<float>), magnitude_of(x));
    V c[8];
    polynomials_(as<Integers<V>>(V(Target::fma(y, broadcast<V>(1.5625f), broadcast<V>(0x1.8p23f)))), c);
    const V t = y - c[0];
    const V signed_t = as<V>(as<Integers<V>>(t) ^ (~as<Integers<V>>(x) & sign_bits<V>()));
    const V result = Target::fma(slope<Target>(c, t), signed_t, x > 0 ? 1 - c[1] : c[1]);
    if (__builtin_expect(!Target::any_greater(y, broadcast<V>(kTableEnd)), true)) return result;
    const V lower = tail(y);
    return y > kTableEnd ? (x > 0 ? 1 - lower : lower) : result;
  }

 private:
  static V tail(V y) {
    constexpr float kLowest = ExpConstants<float>::kLowest;
    const typename Target::template Powers<float> powers{kPowers<float>};
    const V negative = -V(Target::less(broadcast<V>(-kLowest), y));
    const Steps<V> steps = count_steps<Target>(negative);
    const V r = subtract_steps<Target>(negative, steps.n);
    const TwoParts<V> e = exp_parts<Target>(r, steps.index, powers);
    const V sum = e.high + e.low;
    // Below 2^-64 the square is nothing beside the rest; subnormal numbers would be slow.
    const V power = Target::scale_normal(sum, V(Target::greater(broadcast<V>(-64), steps.n)));
    const V low = Target::fma(-sum, power, e.low);
    return Target::scale(y > -kLowest ? V{} : V(e.high + low), steps.n);
  }

  typename Target::Lookup polynomials_{kSigmoidTable};
};

// sigmoid(-|x|) = 1 / (1 + e^|x|) = p / (p + t), where e^|x| = t / p with a power of two p <= 1 and 1/2 < t <= 1, but for
// t's small part. sigmoid(x) = 1 - sigmoid(-x).
// Largest error 0.7952 ULP, at -0x1.6236e6843b9cdp+9. In [0, 1], monotone; results are subnormal for x below -708.4, and 0
// below -745.2. sigmoid(NaN) = NaN. The derivation is our own; e^|x| is that of exp.h.
template <class Target>
class Sigmoid<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    using K = ExpConstants<double>;
    const V y = Target::less(broadcast<V>(-kTiny<double>), V(-magnitude_of(x)));
    const auto zero = y < K::kLowest;
    const Steps<V> steps = count_steps<Target>(y);
    const V r = subtract_steps<Target>(y, steps.n);
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
  typename Target::template Powers<double> powers_{kNegativePowers<double>};
};

template <class Target, class C>
class Tanh;

// The table's polynomial for |x|, with the sign of x.
// Largest error 0.6897 ULP, at 0x1.feee04p-2. In [-1, 1], monotone, odd; tanh(x) = x for subnormal x.
// tanh(NaN) = NaN. The table is due to S. Gal: cpp/fit_coefficients.py.
template <class Target>
class Tanh<Target, float> {
 public:
  using V = Lanes<Target, float>;

  V operator()(V x) const {
    constexpr float kSaturated = 9.02f;  // beyond it tanh rounds to 1
    constexpr float kSmall = 0.25f;      // the second row begins there
    const V magnitude = magnitude_of(x);
    const V y = Target::less(broadcast<V>(kSaturated), V(Target::greater(broadcast<V>(kTiny<float>), magnitude)));
    V c[8];
    polynomials_(as<Integers<V>>(V(1 + y)) >> 21, c);
    const V t = y - c[0];
    const V result = Target::fma(slope<Target>(c, t), t, V(1 + y < 1 + kSmall ? y : c[1]));
    // The lesser one is the magnitude if that is tiny.
    return with_sign_of<V>(x, Target::less(magnitude, result));
  }

 private:
  typename Target::Lookup polynomials_{kTanhTable};
};

// tanh(c + t) = T + (1 - T^2) u / (1 + T u) with T = tanh(c) in two parts from a table, u = tanh(t) from a polynomial, and the
// node c in the middle of |x|'s sixteenth of a binade: so that the second term is at most a 31st of the first, and its errors
// matter little. Below 2^-5 the node is 0. With the sign of x.
// Largest error 0.6206 ULP, at 0x1.00027e6e56315p+3. In [-1, 1], monotone, odd; tanh(x) = x for subnormal x. tanh(NaN) = NaN.
// The derivation is our own.
template <class Target>
class Tanh<Target, double> {
 public:
  using V = Lanes<Target, double>;

  V operator()(V x) const {
    constexpr double kSaturated = 19.5;  // tanh rounds to 1 there
    constexpr double kSmall = 0x1p-5;    // the first node's sixteenth begins there
    constexpr int kShift = 48;           // of the bits below a sixteenth
    constexpr auto kSixteenth = std::uint64_t{1} << kShift;
    const V magnitude = magnitude_of(x);
    // 19.5 for NaN, too.
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
    // 1 - T^2; the low part matters near 1 only.
    const V derivative = Target::fma(broadcast<V>(-2), low, V(Target::fma(-high, high, broadcast<V>(1))));
    const V quotient = u * derivative / Target::fma(high, u, broadcast<V>(1));
    const V result = high + (quotient + low);
    // The lesser one is the magnitude if that is tiny, or NaN.
    return with_sign_of<V>(x, Target::less(result, magnitude));
  }

 private:
  // (tanh(t) / t - 1) / t^2 as a polynomial of t^2, to 2^-60 for |t| <= 2^-5, and less for more as the second term is.
  static constexpr double kPolynomial[] = {-0x1.55555555554f5p-2, 0x1.11111110b32b7p-3, -0x1.ba1b9e697f39cp-5,
                                           0x1.664998df79d11p-6, -0x1.1e83ab623656ap-7};
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

template <class Target, class T>
void leaky_relu(Strided<const T> input, Strided<T> output, std::size_t n, Stores stores, double option) {
  using V = Lanes<Target, Compute<T>>;
  const V slope = broadcast<V>(static_cast<Compute<T>>(option));
  map<Target>(
      input, output, n, [slope](V x) { return x > 0 ? x : slope * x; }, stores);
}

template <class Target, class T>
void elu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double option) {
  using V = Lanes<Target, Compute<T>>;
  const V alpha = broadcast<V>(static_cast<Compute<T>>(option));
  const Exp<Target, Compute<T>> exponential;
  map<Target>(input, output, n, [=](V x) { return x > 0 ? x : x == 0 ? alpha * x : V(alpha * (exponential(x) - 1)); });
}

template <class Target, class T>
void silu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  using V = Lanes<Target, Compute<T>>;
  const Sigmoid<Target, Compute<T>> sigmoid;
  map<Target>(input, output, n, [=](V x) { return Target::greater(broadcast<V>(-1000), x) * sigmoid(x); });
}

template <class Target, class T>
void gelu(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  for (std::size_t i = 0; i < n; ++i) {
    Compute<T> x;
    widen<Target, T>(input.from(i), &x, 1);
    x = x < -40 ? Compute<T>(-0.0) : x > 40 ? x : Compute<T>(x * __builtin_erfc(-double(x) * 0.70710678118654752) / 2);
    narrow<Target, T>(&x, output.from(i), 1);
  }
}

template <class Target, class T>
void gelu_tanh(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  using V = Lanes<Target, Compute<T>>;
  const Sigmoid<Target, Compute<T>> sigmoid;
  map<Target>(input, output, n, [=](V x) {
    const V y = Target::less(broadcast<V>(100), V(Target::greater(broadcast<V>(-100), x)));
    return x * sigmoid(V(Compute<T>(1.5957691216057308) * (y + Compute<T>(0.044715) * y * y * y)));
  });
}

template <class Target, class T>
void softplus(Strided<const T> input, Strided<T> output, std::size_t n, Stores /*stores*/, double /*option*/) {
  for (std::size_t i = 0; i < n; ++i) {
    Compute<T> x;
    widen<Target, T>(input.from(i), &x, 1);
    x = Compute<T>(x > 700 ? x : __builtin_log1p(__builtin_exp(x)));
    narrow<Target, T>(&x, output.from(i), 1);
  }
}

// max(0, x) of integers; the compiler makes vectors of it.
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
