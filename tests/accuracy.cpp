// The largest errors of exp, sigmoid and tanh on every target of this machine, over every float, and over doubles of every
// exponent; and that of log1p:
//
//   accuracy [stride]
//
// With a stride, only every stride-th number. Prints the largest error in units in the last place, and where it is, against the
// C library's function of the next wider type (whose own error is below 2^-10 of such a unit). Exits with 1 if an error is
// above the promised one, a target's bits differ from those of `generic`, or a property fails: range, monotony, oddness, NaN
// for NaN.
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

// What the sweep knows of a type: the wider type of the references, the integer of its size, and how many numbers to take.
template <class T>
struct Sweep;
template <>
struct Sweep<float> {
  using Wide = double;
  using Bits = std::uint32_t;
  static constexpr std::uint64_t kCount = std::uint64_t{1} << 32;
};
template <>
struct Sweep<double> {
  using Wide = long double;
  using Bits = std::uint64_t;
  static constexpr std::uint64_t kCount = std::uint64_t{1} << 27;
};
template <class T>
using Wide = typename Sweep<T>::Wide;

template <class T>
struct Function {
  const char* name;
  typename Kernels<T>::Elementwise* Kernels<T>::*kernel;  // null: log1p
  Wide<T> (*reference)(Wide<T>);
  double promised_ulp;
  T low, high;  // the range of its results
  bool odd;
};

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <class T>
constexpr double kPromisedUlp = sizeof(T) == 4 ? 0.8 : 1.0;

template <class T>
static const Function<T> kFunctions[] = {
    {"exp", &Kernels<T>::exp, [](Wide<T> x) { return std::exp(x); }, kPromisedUlp<T>, 0, kInfinity<T>, false},
    {"sigmoid", &Kernels<T>::sigmoid, [](Wide<T> x) { return 1 / (1 + std::exp(-x)); }, kPromisedUlp<T>, 0, 1, false},
    {"tanh", &Kernels<T>::tanh, [](Wide<T> x) { return std::tanh(x); }, kPromisedUlp<T>, -1, 1, true},
};

static const Function<double> kLog1p = {"log1p",           nullptr, [](long double x) { return std::log1p(x); }, 1.0, 0,
                                        kInfinity<double>, false};

template <class T>
T from_bits(typename Sweep<T>::Bits bits) {
  T x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
typename Sweep<T>::Bits bits_of(T x) {
  typename Sweep<T>::Bits bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The numbers of T in increasing order, from -NaN to NaN: number i of kCount, one from each of as many equal parts.
template <class T>
T number(std::uint64_t i) {
  using Bits = typename Sweep<T>::Bits;
  constexpr std::uint64_t kPart = std::numeric_limits<Bits>::max() / Sweep<T>::kCount;  // less one; 0 for float
  const std::uint64_t somewhere = (i * 0x9e3779b97f4a7c15u) & kPart;
  const auto index = static_cast<Bits>(i * (kPart + 1) + somewhere);
  constexpr Bits kSign = Bits{1} << (8 * sizeof(T) - 1);
  return from_bits<T>(index < kSign ? ~index : index - kSign);
}

// The error in units in the last place of the exact value's binade, as T has them.
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
  std::uint64_t failures = 0;

  void fail(const char* what, const char* name, T x, T y) {
    if (failures++ == 0) std::printf("  %s: %s(%a) = %a\n", what, name, static_cast<double>(x), static_cast<double>(y));
  }
};

template <class T>
void compute(const Function<T>& function, const KernelTable& table, const std::vector<T>& x, std::vector<T>& y) {
  y.resize(x.size());
  if (function.kernel != nullptr) {
    (table.of<T>().*function.kernel)({x.data(), sizeof(T)}, {y.data(), sizeof(T)}, x.size(), Stores::kCached);
  } else if constexpr (std::is_same_v<T, double>) {
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = log1p_positive(x[i]);
  }
}

template <class T>
void check(const Function<T>& function, const std::vector<T>& x, Report<T>& report) {
  std::vector<T> y, other;
  compute(function, kernels(), x, y);
  for (const KernelTable* table : supported_tables()) {
    compute(function, *table, x, other);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const bool equal = bits_of(y[i]) == bits_of(other[i]) || (std::isnan(y[i]) && std::isnan(other[i]));
      if (!equal) report.fail(table->target, function.name, x[i], other[i]);
    }
  }
  if (function.odd) {
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
    const double error = error_in_ulp(y[i], function.reference(x[i]));
    if (error > report.worst) report.worst = error, report.worst_input = x[i];
    if (!(y[i] >= function.low && y[i] <= function.high)) report.fail("out of range", function.name, x[i], y[i]);
    if (y[i] < previous) report.fail("not monotone", function.name, x[i], y[i]);
    if (function.odd && bits_of(other[i]) != bits_of(-y[i])) report.fail("not odd", function.name, x[i], y[i]);
    previous = y[i];
  }
}

template <class T>
bool sweep(const char* type, const Function<T>& function, std::uint64_t stride) {
  Report<T> total;
  std::mutex mutex;
  const std::uint64_t chunk = kChunk * stride;
  const std::uint64_t count = Sweep<T>::kCount;
  parallel_for({(count + chunk - 1) / chunk, 1}, [&](std::size_t begin, std::size_t end) {
    Report<T> mine;
    std::vector<T> x;
    for (std::uint64_t c = begin; c < end; ++c) {
      x.clear();
      // One number more than the chunk, so that the order is checked across chunks.
      for (std::uint64_t i = c * chunk; i < std::min(count, (c + 1) * chunk + stride); i += stride) {
        const T value = number<T>(i);
        if (function.kernel != nullptr || (value >= 0 && value < T(0x1p100))) x.push_back(value);
      }
      check(function, x, mine);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    total.failures += mine.failures;
    if (mine.worst > total.worst) total.worst = mine.worst, total.worst_input = mine.worst_input;
  });
  std::printf("%s %-8s largest error %.4f ULP at %a = %.9g; %llu failures\n", type, function.name, total.worst,
              static_cast<double>(total.worst_input), static_cast<double>(total.worst_input),
              static_cast<unsigned long long>(total.failures));
  return total.failures == 0 && total.worst <= function.promised_ulp;
}

int main(int argc, char** argv) {
  const std::uint64_t stride = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  if (stride == 0) return std::fprintf(stderr, "usage: accuracy [stride]\n"), 2;
  initialize_threads();
  std::printf("targets compared:");
  for (const KernelTable* table : supported_tables()) std::printf(" %s", table->target);
  std::printf("\n");
  bool good = true;
  for (const auto& function : kFunctions<float>) good = sweep("float ", function, stride) && good;
  if (std::numeric_limits<long double>::digits == std::numeric_limits<double>::digits) {
    std::printf("double: not measured, for long double is no wider here\n");
  } else {
    for (const auto& function : kFunctions<double>) good = sweep("double", function, stride) && good;
    good = sweep("double", kLog1p, stride) && good;
  }
  return good ? 0 : 1;
}
