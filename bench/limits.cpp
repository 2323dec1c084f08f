#include "limits.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <limits>
#include <map>
#include <stdexcept>
#include <utility>

#include "buffer.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace nnkernels {
namespace {

// Two fma units times a latency of up to six cycles; twelve sums and the factor fit in sixteen registers.
constexpr std::size_t kChains = 12;

// Defines a function that makes `steps` steps of kChains chains. The sums and the factor come from memory, where the sums
// return, so that the compiler can leave nothing out. A macro, as a template cannot take its instruction set as an argument.
#define NNKERNELS_FMA_CHAINS(name, instructions, Vector, fma)                           \
  instructions void name(std::byte* memory, std::size_t steps) {                        \
    Vector sums[kChains], factor;                                                       \
    std::memcpy(sums, memory, sizeof sums);                                             \
    std::memcpy(&factor, memory + sizeof sums, sizeof factor);                          \
    for (std::size_t step = 0; step < steps; ++step) {                                  \
      for (std::size_t i = 0; i < kChains; ++i) sums[i] = fma(factor, factor, sums[i]); \
    }                                                                                   \
    std::memcpy(memory, sums, sizeof sums);                                             \
  }

NNKERNELS_FMA_CHAINS(generic_float, , float, std::fma)
NNKERNELS_FMA_CHAINS(generic_double, , double, std::fma)
#if defined(__x86_64__)
NNKERNELS_FMA_CHAINS(avx2_float, __attribute__((target("avx2,fma"))), __m256, _mm256_fmadd_ps)
NNKERNELS_FMA_CHAINS(avx2_double, __attribute__((target("avx2,fma"))), __m256d, _mm256_fmadd_pd)
NNKERNELS_FMA_CHAINS(avx512_float, __attribute__((target("avx512f"))), __m512, _mm512_fmadd_ps)
NNKERNELS_FMA_CHAINS(avx512_double, __attribute__((target("avx512f"))), __m512d, _mm512_fmadd_pd)
#elif defined(__aarch64__)
float32x4_t neon_fma(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }
float64x2_t neon_fma(float64x2_t a, float64x2_t b, float64x2_t c) { return vfmaq_f64(c, a, b); }
NNKERNELS_FMA_CHAINS(neon_float, , float32x4_t, neon_fma)
NNKERNELS_FMA_CHAINS(neon_double, , float64x2_t, neon_fma)
#endif
#undef NNKERNELS_FMA_CHAINS

struct FmaChains {
  const char* target;
  std::size_t vector_size;
  std::size_t element_size;
  void (*run)(std::byte* memory, std::size_t steps);
};

constexpr FmaChains kFmaChains[] = {
    {"generic", 4, 4, generic_float}, {"generic", 8, 8, generic_double},
#if defined(__x86_64__)
    {"avx2", 32, 4, avx2_float},      {"avx2", 32, 8, avx2_double},
    {"avx512", 64, 4, avx512_float},  {"avx512", 64, 8, avx512_double},
#elif defined(__aarch64__)
    {"neon", 16, 4, neon_float},      {"neon", 16, 8, neon_double},
#endif
};

// The shortest CPU time of a call, in seconds.
template <class Run>
double shortest(int calls, Run run) {
  double seconds = std::numeric_limits<double>::infinity();
  for (int call = 0; call < calls; ++call) {
    const std::clock_t start = std::clock();
    run();
    const std::clock_t end = std::clock();
    seconds = std::min(seconds, static_cast<double>(end - start) / CLOCKS_PER_SEC);
  }
  return seconds;
}

double measure_fma_peak(const std::string& target, std::size_t element_size) {
  constexpr std::size_t kSteps = 500'000;
  for (const FmaChains& chains : kFmaChains) {
    if (target != chains.target || element_size != chains.element_size) continue;
    Buffer<std::byte> memory((kChains + 1) * chains.vector_size);
    std::memset(memory.data(), 0, memory.size());  // fma is as fast on zeros as on other numbers
    const double seconds = shortest(10, [&] { chains.run(memory.data(), kSteps); });
    const std::size_t lanes = chains.vector_size / chains.element_size;
    return static_cast<double>(2 * kSteps * kChains * lanes) / seconds;
  }
  throw std::invalid_argument("there are no fma chains for target " + target + " and elements of " +
                              std::to_string(element_size) + " bytes");
}

double measure_copy_bandwidth(std::size_t bytes) {
  const std::size_t half = bytes / 2;
  const std::size_t copies = std::max<std::size_t>((std::size_t{32} << 20) / bytes, 1);
  Buffer<std::byte> source(half), destination(half);
  std::memset(source.data(), 1, half);
  std::memset(destination.data(), 1, half);
  const double seconds = shortest(10, [&] {
    for (std::size_t copy = 0; copy < copies; ++copy) {
      std::memcpy(destination.data(), source.data(), half);
      benchmark::DoNotOptimize(destination.data());
      benchmark::ClobberMemory();
    }
  });
  return static_cast<double>(2 * half * copies) / seconds;
}

}  // namespace

double fma_peak(const std::string& target, std::size_t element_size) {
  static std::map<std::pair<std::string, std::size_t>, double> known;
  const auto [place, is_new] = known.try_emplace({target, element_size});
  if (is_new) place->second = measure_fma_peak(target, element_size);
  return place->second;
}

double copy_bandwidth(std::size_t bytes) {
  static std::map<std::size_t, double> known;
  const auto [place, is_new] = known.try_emplace(bytes);
  if (is_new) place->second = measure_copy_bandwidth(bytes);
  return place->second;
}

}  // namespace nnkernels
