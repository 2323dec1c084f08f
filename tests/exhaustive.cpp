// Every float through exp, sigmoid and tanh, on every target of this machine:
//
//   exhaustive [stride]
//
// With a stride, only every stride-th float. Prints for each function the largest error in units in the last place and where
// it is, against the C library's double function (whose own error is below 2^-28 of a float's ULP), and exits with 1
// if an error is above the promised one, a target's bits differ from those of `generic`, or a property fails: range,
// monotony, oddness, NaN for NaN.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <vector>

#include "dispatch.h"
#include "threads.h"

namespace nnk = nnkernels;

struct Function {
  const char* name;
  nnk::Kernels<float>::Elementwise* nnk::Kernels<float>::*kernel;
  double (*reference)(double);
  double promised_ulp;
  float low, high;  // the range of its results
  bool odd;
};

static const Function kFunctions[] = {
    {"exp", &nnk::Kernels<float>::exp, [](double x) { return std::exp(x); }, 1.0, 0, std::numeric_limits<float>::infinity(),
     false},
    {"sigmoid", &nnk::Kernels<float>::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 1.0, 0, 1, false},
    {"tanh", &nnk::Kernels<float>::tanh, [](double x) { return std::tanh(x); }, 1.0, -1, 1, true},
};

static float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

static std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Floats in increasing order as 0, 1, 2, ...: first the negative ones, from -NaN on, then the positive ones.
static std::uint32_t ordered(std::uint64_t i) {
  const auto index = static_cast<std::uint32_t>(i);
  return index < 0x80000000u ? ~index : index - 0x80000000u;
}

// The distance from the float next to |exact| in units in the last place of the exact value's binade.
static double error_in_ulp(float y, double exact) {
  if (std::isinf(y) || std::fabs(exact) >= 0x1.ffffffp127)
    return static_cast<double>(y) == static_cast<double>(static_cast<float>(exact)) ? 0 : 1e9;
  const int exponent = exact == 0 ? -126 : std::max(std::ilogb(exact), -126);
  return std::fabs(static_cast<double>(y) - exact) / std::ldexp(1.0, exponent - 23);
}

struct Report {
  double worst = 0;
  float worst_input = 0;
  std::uint64_t failures = 0;
};

static void check_chunk(const Function& function, std::uint64_t begin, std::uint64_t end, std::uint64_t stride,
                        Report& report) {
  std::vector<float> x, y, other, mirrored;
  for (std::uint64_t i = begin; i < end; i += stride) x.push_back(from_bits(ordered(i)));
  const std::size_t n = x.size();
  y.resize(n), other.resize(n), mirrored.resize(n);
  const std::ptrdiff_t step = sizeof(float);
  (nnk::kernels().float32.*function.kernel)({x.data(), step}, {y.data(), step}, n);
  for (const nnk::KernelTable* table : nnk::supported_tables()) {
    (table->float32.*function.kernel)({x.data(), step}, {other.data(), step}, n);
    for (std::size_t i = 0; i < n; ++i) {
      const bool equal = bits_of(y[i]) == bits_of(other[i]) || (std::isnan(y[i]) && std::isnan(other[i]));
      if (!equal && report.failures++ == 0)
        std::printf("  %s(%a) differs on %s: %a, %a\n", function.name, x[i], table->target, y[i], other[i]);
    }
  }
  if (function.odd) {
    for (std::size_t i = 0; i < n; ++i) other[i] = -x[i];
    (nnk::kernels().float32.*function.kernel)({other.data(), step}, {mirrored.data(), step}, n);
  }
  float previous = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isnan(x[i])) {
      if (!std::isnan(y[i]) && report.failures++ == 0) std::printf("  %s(NaN) is %a\n", function.name, y[i]);
      continue;
    }
    const double error = error_in_ulp(y[i], function.reference(x[i]));
    if (error > report.worst) report.worst = error, report.worst_input = x[i];
    const bool right = y[i] >= function.low && y[i] <= function.high && y[i] >= previous &&
                       (!function.odd || bits_of(mirrored[i]) == (bits_of(y[i]) ^ 0x80000000u));
    if (!right && report.failures++ == 0)
      std::printf("  %s(%a) = %a is out of range or order, or not odd\n", function.name, x[i], y[i]);
    previous = y[i];
  }
}

int main(int argc, char** argv) {
  const std::uint64_t stride = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  if (stride == 0) return std::fprintf(stderr, "usage: exhaustive [stride]\n"), 2;
  nnk::initialize_threads();
  constexpr std::uint64_t kFloats = std::uint64_t{1} << 32;
  const std::uint64_t chunk = (std::uint64_t{1} << 16) * stride;
  bool good = true;
  for (const Function& function : kFunctions) {
    Report total;
    std::mutex mutex;
    nnk::parallel_for((kFloats + chunk - 1) / chunk, 1, [&](std::size_t begin, std::size_t end) {
      Report mine;
      for (std::uint64_t i = begin; i < end; ++i) {
        // One float more than the chunk, so that the order is checked across chunks.
        check_chunk(function, i * chunk, std::min(kFloats, (i + 1) * chunk + stride), stride, mine);
      }
      const std::lock_guard<std::mutex> lock(mutex);
      total.failures += mine.failures;
      if (mine.worst > total.worst) total.worst = mine.worst, total.worst_input = mine.worst_input;
    });
    std::printf("%-8s largest error %.4f ULP at %a (%.9g), %llu failures; targets compared:", function.name, total.worst,
                total.worst_input, total.worst_input, static_cast<unsigned long long>(total.failures));
    for (const nnk::KernelTable* table : nnk::supported_tables()) std::printf(" %s", table->target);
    std::printf("\n");
    good = good && total.failures == 0 && total.worst <= function.promised_ulp;
  }
  return good ? 0 : 1;
}
