#include "limits.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <limits>
#include <stdexcept>

#include "buffer.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace nnkernels {
namespace {

// Two fma units times a latency of up to six cycles. Twelve sums and the factor fit in sixteen
// registers.
constexpr std::size_t kFmaChains = 12;

// Defines a function that makes `steps` steps of kFmaChains chains. It loads the sums and the
// factor from memory and stores the sums, so that the compiler can remove nothing. A macro, because
// a template cannot take its instruction set as an argument.
#define NNKERNELS_FMA_CHAINS(name, instructions, Vector, fma)                              \
  instructions void name(std::byte* memory, std::size_t steps) {                           \
    Vector sums[kFmaChains], factor;                                                       \
    std::memcpy(sums, memory, sizeof sums);                                                \
    std::memcpy(&factor, memory + sizeof sums, sizeof factor);                             \
    for (std::size_t step = 0; step < steps; ++step) {                                     \
      for (std::size_t i = 0; i < kFmaChains; ++i) sums[i] = fma(factor, factor, sums[i]); \
    }                                                                                      \
    std::memcpy(memory, sums, sizeof sums);                                                \
  }

// Parallel loads, each into its own sum.
constexpr std::size_t kReadChains = 8;

// Defines a function that reads kReadChains vectors, `distance` bytes apart, `steps` times,
// advancing by `stride` bytes per step. Stores their sum in *sum.
#define NNKERNELS_READ_CHAINS(name, instructions, size)                                                                   \
  instructions void name(const std::byte* data, std::size_t steps, std::size_t distance, std::size_t stride, long* sum) { \
    using Vector = long __attribute__((vector_size(size)));                                                               \
    Vector sums[kReadChains] = {};                                                                                        \
    for (std::size_t step = 0; step < steps; ++step, data += stride) {                                                    \
      for (std::size_t i = 0; i < kReadChains; ++i) {                                                                     \
        Vector vector;                                                                                                    \
        std::memcpy(&vector, data + i * distance, sizeof vector);                                                         \
        sums[i] += vector;                                                                                                \
      }                                                                                                                   \
    }                                                                                                                     \
    for (std::size_t i = 1; i < kReadChains; ++i) sums[0] += sums[i];                                                     \
    *sum = sums[0][0];                                                                                                    \
  }

#if defined(__x86_64__)
#define NNKERNELS_AVX2 __attribute__((target("avx2,fma")))
#define NNKERNELS_AVX512 __attribute__((target("avx512f")))
#endif

NNKERNELS_FMA_CHAINS(generic_float, , float, std::fma)
NNKERNELS_FMA_CHAINS(generic_double, , double, std::fma)
NNKERNELS_READ_CHAINS(generic_read, , 16)
#if defined(__x86_64__)
NNKERNELS_FMA_CHAINS(avx2_float, NNKERNELS_AVX2, __m256, _mm256_fmadd_ps)
NNKERNELS_FMA_CHAINS(avx2_double, NNKERNELS_AVX2, __m256d, _mm256_fmadd_pd)
NNKERNELS_READ_CHAINS(avx2_read, NNKERNELS_AVX2, 32)
NNKERNELS_FMA_CHAINS(avx512_float, NNKERNELS_AVX512, __m512, _mm512_fmadd_ps)
NNKERNELS_FMA_CHAINS(avx512_double, NNKERNELS_AVX512, __m512d, _mm512_fmadd_pd)
NNKERNELS_READ_CHAINS(avx512_read, NNKERNELS_AVX512, 64)
#elif defined(__aarch64__)
float32x4_t neon_fma(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }
float64x2_t neon_fma(float64x2_t a, float64x2_t b, float64x2_t c) { return vfmaq_f64(c, a, b); }
NNKERNELS_FMA_CHAINS(neon_float, , float32x4_t, neon_fma)
NNKERNELS_FMA_CHAINS(neon_double, , float64x2_t, neon_fma)
#endif
#undef NNKERNELS_FMA_CHAINS
#undef NNKERNELS_READ_CHAINS

struct Instructions {
  const char* target;
  bool (*supported)();
  std::size_t fma_size;  // bytes of the fma's vector
  void (*fma_float)(std::byte* memory, std::size_t steps);
  void (*fma_double)(std::byte* memory, std::size_t steps);
  std::size_t read_size;
  void (*read)(const std::byte* data, std::size_t steps, std::size_t distance, std::size_t stride, long* sum);
};

bool always() { return true; }
#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
#endif

// Widest last. The generic fma works on single elements, so its vector is one element.
constexpr Instructions kInstructions[] = {
    {"generic", always, 0, generic_float, generic_double, 16, generic_read},
#if defined(__x86_64__)
    {"avx2", has_avx2, 32, avx2_float, avx2_double, 32, avx2_read},
    {"avx512", has_avx512, 64, avx512_float, avx512_double, 64, avx512_read},
#elif defined(__aarch64__)
    {"neon", always, 16, neon_float, neon_double, 16, generic_read},
#endif
};

const Instructions& instructions_of(const std::string& target) {
  for (const Instructions& instructions : kInstructions) {
    if (target == instructions.target && instructions.supported()) return instructions;
  }
  throw std::invalid_argument("this machine has no target " + target);
}

// CPU time of this process, in seconds. std::clock is too coarse: it counts microseconds.
double cpu_seconds() {
  std::timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The shortest CPU time of several calls, in seconds.
template <class Run>
double shortest(int calls, Run run) {
  double seconds = std::numeric_limits<double>::infinity();
  for (int call = 0; call < calls; ++call) {
    const double start = cpu_seconds();
    run();
    seconds = std::min(seconds, cpu_seconds() - start);
  }
  return seconds;
}

// Makes the compiler assume that all memory is read and written here.
void clobber_memory() { asm volatile("" : : : "memory"); }

// Passes over `bytes` that together take at least some hundreds of microseconds.
std::size_t passes(std::size_t bytes) { return std::max<std::size_t>((std::size_t{16} << 20) / bytes, 1); }

}  // namespace

std::vector<std::string> supported_targets() {
  std::vector<std::string> targets;
  for (const Instructions& instructions : kInstructions) {
    if (instructions.supported()) targets.emplace_back(instructions.target);
  }
  return targets;
}

double fma_peak(const std::string& target, std::size_t element_size) {
  constexpr std::size_t kSteps = 500'000;
  const Instructions& instructions = instructions_of(target);
  if (element_size != sizeof(float) && element_size != sizeof(double)) {
    throw std::invalid_argument("expected elements of 4 or 8 bytes, got " + std::to_string(element_size));
  }
  const auto run = element_size == sizeof(float) ? instructions.fma_float : instructions.fma_double;
  const std::size_t vector_size = std::max(instructions.fma_size, element_size);
  Buffer<std::byte> memory((kFmaChains + 1) * vector_size);
  std::memset(memory.data(), 0, memory.size());  // fma is as fast on zeros as on other numbers
  const double seconds = shortest(10, [&] { run(memory.data(), kSteps); });
  return static_cast<double>(2 * kSteps * kFmaChains * (vector_size / element_size)) / seconds;
}

double read_bandwidth(std::size_t bytes) {
  const Instructions& widest = instructions_of(supported_targets().back());
  const std::size_t step = kReadChains * widest.read_size;
  const std::size_t steps = std::max<std::size_t>(bytes / step, 1), total = steps * step;
  Buffer<std::byte> data(total);
  std::memset(data.data(), 1, total);
  const auto seconds = [&](std::size_t distance, std::size_t stride) {
    return shortest(10, [&] {
      for (std::size_t pass = 0; pass < passes(total); ++pass) {
        long sum;
        widest.read(data.data(), steps, distance, stride, &sum);
        asm volatile("" : : "r"(sum) : "memory");
      }
    });
  };
  // One stream or several, whichever is faster.
  const double best = std::min(seconds(widest.read_size, step), seconds(total / kReadChains, widest.read_size));
  return static_cast<double>(total * passes(total)) / best;
}

double copy_bandwidth(std::size_t bytes) {
  const std::size_t half = bytes / 2;
  Buffer<std::byte> source(half), destination(half);
  std::memset(source.data(), 1, half);
  std::memset(destination.data(), 1, half);
  const double seconds = shortest(10, [&] {
    for (std::size_t pass = 0; pass < passes(bytes); ++pass) {
      std::memcpy(destination.data(), source.data(), half);
      clobber_memory();
    }
  });
  return static_cast<double>(2 * half * passes(bytes)) / seconds;
}

}  // namespace nnkernels
