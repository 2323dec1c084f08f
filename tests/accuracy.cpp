// Measures the largest errors of the activations, their derivatives and log1p, on every target of
// this machine: over all floats, over 2^27 doubles of every exponent, and over the doubles around
// each jump of a reduced argument:
//
//   accuracy [stride [function]]
//
// With a stride, tests only every stride-th number. Prints the largest error, in ULP, and its
// argument. The reference is the C library's function of the next wider type, whose own error is
// below 2^-8 ULP (tests/test_activations.py). Exits with 1 if an error exceeds its promised
// maximum, a target's bits differ from `generic`, or a property fails: range, monotonicity,
// oddness, NaN for NaN.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <vector>

#include "dispatch.h"
#include "kernels/log1p.h"
#include "threads.h"

using namespace nnkernels;

static constexpr std::uint64_t kChunk = 1 << 16;

// For each type: the wider type of its references, and the integer of its size.
template <class T>
struct Type;
template <>
struct Type<float> {
  using Wide = double;
  using Bits = std::uint32_t;
};
template <>
struct Type<double> {
  using Wide = long double;
  using Bits = std::uint64_t;
};
template <class T>
using Wide = typename Type<T>::Wide;
template <class T>
using Bits = typename Type<T>::Bits;

template <class T>
struct Function {
  const char* name;
  Activation activation;  // kNone: log1p
  Wide<T> (*reference)(Wide<T>);
  double promised_ulp;
  T low, high;  // the range of its results
  enum Rules : unsigned { kMonotone = 1, kOdd = 2, kKeepsSign = 4, kDerivative = 8 };
  unsigned rules;
  double option = 0;
  double promised_normal = promised_ulp;  // for normal results

  bool keeps(Rules rule) const { return (rules & rule) != 0; }
};

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <class T>
constexpr double kNewUlp = sizeof(T) == 4 ? 1 : 1.5;
template <class T>
constexpr double kDerivativeUlp = sizeof(T) == 4 ? 16 : 32;

// A product (T. J. Dekker) or a sum (D. E. Knuth) as the unevaluated sum of two numbers.
struct Parts {
  long double high, low;
};

static Parts product(long double a, long double b) { return {a * b, std::fma(a, b, -(a * b))}; }

static Parts sum(long double a, long double b) {
  const long double s = a + b, rest = s - a;
  return {s, (a - (s - rest)) + (b - rest)};
}

// erfc(-x / sqrt(2)) / 2. The rounding error of the argument matters for large |x|, so it is
// corrected.
static long double normal_distribution(long double x) {
  constexpr long double kRoot = 0xb504f333f9de6484p-64L, kRootLow = 0xb2fb1366ea957d3ep-129L;  // sqrt(1/2)
  constexpr long double kFactor = 0x906eba8214db688dp-63L;                                     // 2 / sqrt(pi)
  Parts argument = product(-x, kRoot);
  argument.low -= x * kRootLow;
  const long double erfc = std::erfc(argument.high);
  if (!(std::fabs(x) < 200)) return erfc / 2;
  return (erfc - kFactor * std::exp(-argument.high * argument.high) * argument.low) / 2;
}
static double normal_distribution(double x) { return std::erfc(-x * std::sqrt(0.5)) / 2; }

// sigmoid(v) with v = 2 sqrt(2/pi) (x + 0.044715 x^3)
static long double tanh_distribution(long double x) {
  constexpr long double kLinear = 0xcc42299ea1b28468p-63L, kLinearLow = 0xfcb3c500bab8e2ffp-128L;
  constexpr long double kCubic = 0x922279526c5a57a5p-67L, kCubicLow = -0x843a29d1c7079669p-133L;
  if (!(std::fabs(x) < 1000)) return x < 0 ? 0 : x > 0 ? 1 : x;
  const Parts square = product(x, x);
  const Parts cubic = product(kCubic, square.high);
  const Parts slope = sum(kLinear, cubic.high);
  const long double slope_low = slope.low + cubic.low + kCubic * square.low + kCubicLow * square.high + kLinearLow;
  const Parts v = product(x, slope.high);
  const long double sigmoid = 1 / (1 + std::exp(-v.high)), rest = 1 / (1 + std::exp(v.high));
  return sigmoid + sigmoid * rest * (v.low + x * slope_low);
}
static double tanh_distribution(double x) {
  return 1 / (1 + std::exp(-std::sqrt(8 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

// x * factor; at -infinity the limit, -0.
template <class W>
W times(W x, W factor) {
  return x == -std::numeric_limits<W>::infinity() ? W(-0.0) : x * factor;
}

// x, clamped to a range where its products with vanishing factors are 0, not NaN.
template <class W>
W bounded(W x) {
  return x < -1000 ? -1000 : x > 1000 ? 1000 : x;
}

template <class W>
W sigmoid(W x) {
  return 1 / (1 + std::exp(-x));
}

template <class W>
W softplus(W x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

template <class W>
W gelu_derivative(W x) {
  const W density = std::exp(-x * x / 2) / std::sqrt(2 * std::acos(W(-1)));
  return normal_distribution(x) + x * density;
}

template <class W>
W gelu_tanh_derivative(W x) {
  const W s = tanh_distribution(x), rest = tanh_distribution(-x);
  return s + x * s * rest * std::sqrt(8 / std::acos(W(-1))) * (1 + 3 * W(0.044715L) * x * x);
}

// The activations' options, rounded to T.
template <class T>
constexpr T kSlope = T(0.01);
template <class T>
constexpr T kAlpha = T(0.7);

template <class T, class W, class F>
static const Function<T> kTable[] = {
    {"exp", Activation::kExp, [](W x) { return std::exp(x); }, 0.8, 0, kInfinity<T>, F::kMonotone, 0,
     sizeof(T) == 4 ? 0.57 : 0.8},
    {"sigmoid", Activation::kSigmoid, [](W x) { return sigmoid(x); }, 0.8, 0, 1, F::kMonotone},
    {"tanh", Activation::kTanh, [](W x) { return std::tanh(x); }, 0.8, -1, 1, F::kMonotone | F::kOdd},
    {"leaky_relu", Activation::kLeakyRelu, [](W x) { return x > 0 ? x : kSlope<T> * x; }, 0.501, -kInfinity<T>, kInfinity<T>,
     F::kMonotone | F::kKeepsSign, 0.01},
    {"elu", Activation::kElu, [](W x) { return x > 0 ? x : std::expm1(x); }, kNewUlp<T>, -1, kInfinity<T>,
     F::kMonotone | F::kKeepsSign, 1},
    {"elu 0.7", Activation::kElu, [](W x) { return x > 0 ? x : kAlpha<T> * std::expm1(x); }, kNewUlp<T>, -kAlpha<T>,
     kInfinity<T>, F::kMonotone | F::kKeepsSign, 0.7},
    {"silu", Activation::kSilu, [](W x) { return times(x, sigmoid(x)); }, kNewUlp<T>, T(-0.2785), kInfinity<T>, F::kKeepsSign},
    {"gelu", Activation::kGelu, [](W x) { return times(x, normal_distribution(x)); }, kNewUlp<T>, T(-0.17), kInfinity<T>,
     F::kKeepsSign},
    {"gelu_tanh", Activation::kGeluTanh, [](W x) { return times(x, tanh_distribution(x)); }, kNewUlp<T>, T(-0.1701),
     kInfinity<T>, F::kKeepsSign},
    {"softplus", Activation::kSoftplus, [](W x) { return softplus(x); }, kNewUlp<T>, 0, kInfinity<T>, F::kMonotone},
    {"elu'", Activation::kElu, [](W x) { return x > 0 ? 1 : std::exp(x); }, kDerivativeUlp<T>, 0, 1, F::kDerivative, 1},
    {"silu'", Activation::kSilu, [](W x) { return sigmoid(x) * (1 + bounded(x) * sigmoid(-x)); }, kDerivativeUlp<T>, T(-0.1),
     T(1.1), F::kDerivative},
    {"gelu'", Activation::kGelu, [](W x) { return gelu_derivative(bounded(x)); }, kDerivativeUlp<T>, T(-0.13), T(1.13),
     F::kDerivative},
    {"gelu_tanh'", Activation::kGeluTanh, [](W x) { return gelu_tanh_derivative(bounded(x)); }, kDerivativeUlp<T>, T(-0.13),
     T(1.13), F::kDerivative},
    {"softplus'", Activation::kSoftplus, [](W x) { return sigmoid(x); }, kDerivativeUlp<T>, 0, 1, F::kDerivative},
};

template <class T>
static constexpr const auto& kFunctions = kTable<T, Wide<T>, Function<T>>;

static const Function<double> kLog1p = {
    "log1p",           Activation::kNone,          [](long double x) { return std::log1p(x); }, 1.0, 0,
    kInfinity<double>, Function<double>::kMonotone};

template <class T>
T from_bits(Bits<T> bits) {
  T x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
Bits<T> bits_of(T x) {
  Bits<T> bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The rank of a number among all values of T in increasing order, from -NaN to NaN; and the
// inverse.
template <class T>
constexpr Bits<T> kSign = Bits<T>{1} << (8 * sizeof(T) - 1);

template <class T>
Bits<T> place_of(T x) {
  const Bits<T> bits = bits_of(x);
  return bits < kSign<T> ? bits + kSign<T> : ~bits;
}

template <class T>
T number_at(Bits<T> place) {
  return from_bits<T>(place < kSign<T> ? ~place : place - kSign<T>);
}

// The numbers to test, in increasing order.
template <class T>
struct Numbers {
  const char* name;
  std::uint64_t count;
  T (*number)(std::uint64_t i);
};

static const Numbers<float> kEveryFloat = {"float", std::uint64_t{1} << 32,
                                           [](std::uint64_t i) { return number_at<float>(static_cast<Bits<float>>(i)); }};

// One double from each of 2^27 strata. Seven in eight have magnitudes from 2^-30 to 2^10: for
// smaller ones the functions are 1, 1/2 or x, for larger ones 0, 1 or infinity.
static double stratified_double(std::uint64_t i) {
  constexpr std::uint64_t kUnit = std::uint64_t{1} << 22;
  const double edges[] = {-0x1p10, -0x1p-30, 0x1p-30, 0x1p10};
  const std::uint64_t units[] = {1, 14, 2, 14, 1};
  std::size_t range = 0;
  for (; i >= units[range] * kUnit; ++range) i -= units[range] * kUnit;
  const std::uint64_t begin = range == 0 ? 0 : place_of(edges[range - 1]);
  const std::uint64_t last = range == 4 ? ~std::uint64_t{0} : place_of(edges[range]) - 1;
  const std::uint64_t part = (last - begin) / (units[range] * kUnit);
  return number_at<double>(begin + i * part + i * 0x9e3779b97f4a7c15u % part);
}

static const Numbers<double> kStratified = {"double", std::uint64_t{1} << 27, stratified_double};

// The doubles around each multiple of log(2)/64 for which the exponential is neither 0 nor
// infinity. The reduced argument of exp and sigmoid jumps at every second multiple, and is 0 at the
// others.
static constexpr std::uint64_t kAround = 33;
static constexpr std::int64_t kFirstSeam = -69000;
static constexpr std::int64_t kLastSeam = 66000;

static double beside(double seam, std::uint64_t i) { return number_at<double>(place_of(seam) - kAround / 2 + i % kAround); }

static double beside_seam(std::uint64_t i) {
  const auto seam = static_cast<long double>(kFirstSeam + static_cast<std::int64_t>(i / kAround));
  return beside(static_cast<double>(seam * (0.693147180559945309417232121458176568L / 64)), i);
}

static const Numbers<double> kSeams = {"seams", (kLastSeam - kFirstSeam + 1) * kAround, beside_seam};

// The doubles around each sixteenth of the binades from 2^-6 to 2^5, where tanh changes its node.
static double beside_node(std::uint64_t i) {
  const std::uint64_t seam = i / kAround;
  return beside(std::ldexp(1 + static_cast<double>(seam % 16) / 16, static_cast<int>(seam / 16) - 6), i);
}

static const Numbers<double> kNodes = {"nodes", 11 * 16 * kAround, beside_node};

// The error, in ULP of T in the exact value's binade.
template <class T>
double error_in_ulp(T y, Wide<T> exact) {
  constexpr int kBits = std::numeric_limits<T>::digits - 1;
  const T rounded = static_cast<T>(exact);
  if (std::isinf(y) || std::isinf(rounded)) return y == rounded ? 0 : 1e9;
  const int exponent = exact == 0 ? std::numeric_limits<T>::min_exponent - 1
                                  : std::max(std::ilogb(exact), std::numeric_limits<T>::min_exponent - 1);
  return static_cast<double>(std::fabs(static_cast<Wide<T>>(y) - exact) / std::ldexp(Wide<T>(1), exponent - kBits));
}

template <class T>
struct Report {
  double worst = 0;
  T worst_input = 0;
  double worst_normal = 0;  // of normal results
  std::uint64_t failures = 0;

  void fail(const char* what, const char* name, T x, T y) {
    if (failures++ == 0) std::printf("  %s: %s(%a) = %a\n", what, name, static_cast<double>(x), static_cast<double>(y));
  }
};

template <class T>
void compute(const Function<T>& function, const KernelTable& table, const std::vector<T>& x, std::vector<T>& y) {
  if (function.keeps(Function<T>::kDerivative)) {
    y.assign(x.size(), 1);
    table.learning<T>().of(function.activation)(x.data(), y.data(), x.size(), function.option);
    return;
  }
  y.resize(x.size());
  if (function.activation != Activation::kNone) {
    table.of<T>().of(function.activation)({x.data(), sizeof(T)}, {y.data(), sizeof(T)}, x.size(), Stores::kCached,
                                          function.option);
  } else if constexpr (std::is_same_v<T, double>) {
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = log1p_positive(x[i]).high;
  }
}

template <class T>
void check(const Function<T>& function, const std::vector<T>& x, Report<T>& report) {
  std::vector<T> y, other;
  compute(function, kernels(), x, y);
  for (const KernelTable* table : supported_tables()) {
    if (function.activation == Activation::kNone) break;  // log1p is not in the tables
    compute(function, *table, x, other);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool equal = bits_of(y[i]) == bits_of(other[i]) || (std::isnan(y[i]) && std::isnan(other[i]));
      if (!equal) report.fail(table->target, function.name, x[i], other[i]);
    }
  }
  if (function.keeps(Function<T>::kOdd)) {
    std::vector<T> mirrored(x);
    for (T& value : mirrored) value = -value;
    compute(function, kernels(), mirrored, other);
  }
  T previous = -kInfinity<T>;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      if (!std::isnan(y[i])) report.fail("not NaN", function.name, x[i], y[i]);
      continue;
    }
    const Wide<T> exact = function.reference(x[i]);
    // For derivatives, in ULP of 1.
    const double error = function.keeps(Function<T>::kDerivative)
                             ? static_cast<double>(std::fabs(y[i] - exact)) / std::numeric_limits<T>::epsilon()
                             : error_in_ulp(y[i], exact);
    if (!(error <= report.worst)) report.worst = error, report.worst_input = x[i];
    if (std::isnormal(y[i])) report.worst_normal = std::max(report.worst_normal, error);
    if (!(y[i] >= function.low && y[i] <= function.high)) report.fail("out of range", function.name, x[i], y[i]);
    if (function.keeps(Function<T>::kMonotone) && y[i] < previous) report.fail("not monotone", function.name, x[i], y[i]);
    if (function.keeps(Function<T>::kKeepsSign) && std::signbit(y[i]) != std::signbit(x[i])) {
      report.fail("another sign", function.name, x[i], y[i]);
    }
    if (function.keeps(Function<T>::kOdd) && bits_of(other[i]) != bits_of(-y[i]))
      report.fail("not odd", function.name, x[i], y[i]);
    previous = y[i];
  }
}

template <class T>
bool sweep(const Numbers<T>& numbers, const Function<T>& function, std::uint64_t stride) {
  Report<T> total;
  std::mutex mutex;
  const std::uint64_t chunk = kChunk * stride;
  const std::uint64_t count = numbers.count;
  parallel_for({(count + chunk - 1) / chunk, 1}, [&](std::size_t begin, std::size_t end) {
    Report<T> mine;
    std::vector<T> x;
    for (std::uint64_t c = begin; c < end; ++c) {
      x.clear();
      // One more number, to check monotonicity across chunks.
      for (std::uint64_t i = c * chunk; i < std::min(count, (c + 1) * chunk + stride); i += stride) {
        const T value = numbers.number(i);
        if (function.activation == Activation::kNone && !(value >= 0 && value < T(0x1p100))) continue;
        x.push_back(value);
        // Neighbours are the first to be out of order where a function is nearly flat. That of -0
        // is beyond 0, which comes next.
        if ((stride > 1 || sizeof(T) == 8) && value != 0) x.push_back(std::nextafter(value, kInfinity<T>));
      }
      check(function, x, mine);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    total.failures += mine.failures;
    if (!(mine.worst <= total.worst)) total.worst = mine.worst, total.worst_input = mine.worst_input;
    total.worst_normal = std::max(total.worst_normal, mine.worst_normal);
  });
  std::printf("%-6s %-10s largest error %.4f ULP at %a = %.9g, %.4f of normal results; %llu failures\n", numbers.name,
              function.name, total.worst, static_cast<double>(total.worst_input), static_cast<double>(total.worst_input),
              total.worst_normal, static_cast<unsigned long long>(total.failures));
  return total.failures == 0 && total.worst <= function.promised_ulp && total.worst_normal <= function.promised_normal;
}

int main(int argc, char** argv) {
  const std::uint64_t stride = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  if (stride == 0) return std::fprintf(stderr, "usage: accuracy [stride [function]]\n"), 2;
  initialize_threads();
  std::printf("targets compared:");
  for (const KernelTable* table : supported_tables()) std::printf(" %s", table->target);
  std::printf("\n");
  bool good = true;
  const auto wanted = [&](const char* name) { return argc < 3 || std::strcmp(argv[2], name) == 0; };
  for (const auto& function : kFunctions<float>) {
    if (wanted(function.name)) good = sweep(kEveryFloat, function, stride) && good;
  }
  if (std::numeric_limits<long double>::digits == std::numeric_limits<double>::digits) {
    std::printf("double: not measured, for long double is no wider here\n");
  } else {
    for (const auto& function : kFunctions<double>) {
      if (!wanted(function.name)) continue;
      good = sweep(kStratified, function, stride) && good;
      good = sweep(kSeams, function, stride) && good;
      good = sweep(kNodes, function, 1) && good;
    }
    if (wanted(kLog1p.name)) good = sweep(kStratified, kLog1p, stride) && good;
  }
  return good ? 0 : 1;
}
