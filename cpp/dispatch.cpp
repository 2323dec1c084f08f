#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "targets/targets.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace nnkernels {

#if defined(__x86_64__)
// __builtin_cpu_supports also asks whether the operating system saves the registers. It does not know F16C everywhere.
static bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

static bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && has_f16c();
}

static bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

static std::vector<const KernelTable*> detect_tables() {
  std::vector<const KernelTable*> tables{&generic_table()};
#if defined(__x86_64__)
  if (has_avx2()) tables.push_back(&avx2_table());
  if (has_avx512()) tables.push_back(&avx512_table());
#elif defined(__aarch64__)
  tables.push_back(&neon_table());
#endif
  return tables;
}

const std::vector<const KernelTable*>& supported_tables() {
  static const std::vector<const KernelTable*> tables = detect_tables();
  return tables;
}

static const KernelTable& choose_table() {
  const char* wanted = std::getenv("NNKERNELS_TARGET");
  if (wanted == nullptr || *wanted == '\0') return *supported_tables().back();
  std::string choices;
  for (const KernelTable* table : supported_tables()) {
    if (std::string(wanted) == table->target) return *table;
    choices += (choices.empty() ? "" : ", ") + std::string(table->target);
  }
  throw std::invalid_argument("NNKERNELS_TARGET is '" + std::string(wanted) +
                              "', expected a target that this machine can run: " + choices);
}

const KernelTable& kernels() {
  static const KernelTable& table = choose_table();
  return table;
}

}  // namespace nnkernels
