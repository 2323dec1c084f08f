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
// CPUID instead of __builtin_cpu_supports, which lacks F16C in some compilers, and everything in
// some Clangs for Windows.
struct Cpuid {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  explicit Cpuid(unsigned leaf) { __get_cpuid_count(leaf, 0, &eax, &ebx, &ecx, &edx); }
};

static bool has_all(unsigned word, unsigned bits) { return (word & bits) == bits; }

// Whether the operating system saves these registers (bits of XCR0) in a context switch.
static bool saves_registers(unsigned registers) {
  if (!has_all(Cpuid(1).ecx, bit_OSXSAVE)) return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return has_all(low, registers);
}

constexpr unsigned kAvxRegisters = 0x6;
#if defined(__APPLE__)
constexpr unsigned kAvx512Registers = kAvxRegisters;  // macOS enables the rest at a thread's first use
#else
constexpr unsigned kAvx512Registers = 0xe6;
#endif

static bool has_avx2() {
  return saves_registers(kAvxRegisters) && has_all(Cpuid(1).ecx, bit_AVX | bit_FMA | bit_F16C) &&
         has_all(Cpuid(7).ebx, bit_AVX2 | bit_BMI | bit_BMI2);
}

static bool has_avx512() {
  return has_avx2() && saves_registers(kAvx512Registers) &&
         has_all(Cpuid(7).ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL);
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
