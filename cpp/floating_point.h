// The floating-point environment during a call: rounding to nearest, subnormals kept, whatever the caller has set; the
// caller's is as before afterwards.
#pragma once

#include <cfenv>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nnkernels {

// What becomes of the exception flags that are raised in the meantime.
enum class Exceptions { kDrop, kKeep };

// Raises the exception flags `flags` (FE_OVERFLOW, ...) where FloatingPointScope looks for them: the C library's function for
// it raises some in the x87 unit on x86, which nothing here uses.
inline void raise_exceptions(int flags) {
#if defined(__x86_64__)
  unsigned raised = 0;  // FE_* are MXCSR's own bits on Linux and macOS, but not on Windows
  if ((flags & FE_INVALID) != 0) raised |= _MM_EXCEPT_INVALID;
  if ((flags & FE_DIVBYZERO) != 0) raised |= _MM_EXCEPT_DIV_ZERO;
  if ((flags & FE_OVERFLOW) != 0) raised |= _MM_EXCEPT_OVERFLOW;
  if ((flags & FE_UNDERFLOW) != 0) raised |= _MM_EXCEPT_UNDERFLOW;
  _mm_setcsr(_mm_getcsr() | raised);
#else
  std::feraiseexcept(flags);
#endif
}

// Only what is computed in functions of other files is sure to be computed within it: the compiler knows nothing of the
// environment, and may move an operation that it sees past the scope's ends.
class FloatingPointScope {
 public:
  explicit FloatingPointScope(Exceptions exceptions) : exceptions_(exceptions) { enter(); }
  ~FloatingPointScope() { leave(); }
  FloatingPointScope(const FloatingPointScope&) = delete;
  FloatingPointScope& operator=(const FloatingPointScope&) = delete;

 private:
  const Exceptions exceptions_;

#if defined(__x86_64__)
  static constexpr unsigned kDefault = 0x1f80;  // all exceptions masked, to nearest, no flush to zero, no flag raised
  static constexpr unsigned kFlags = 0x3f;
  unsigned saved_;

  void enter() {
    saved_ = _mm_getcsr();
    if ((saved_ & ~kFlags) != kDefault) _mm_setcsr(kDefault);
  }
  // Reads as little as it can: right after operations that raised flags, reading and then writing is slow on some Intel CPUs,
  // as slow as half a call of the smallest network in bench/peers.py.
  void leave() {
    if (exceptions_ == Exceptions::kDrop) {
      _mm_setcsr(saved_);
    } else if ((saved_ & ~kFlags) != kDefault) {
      _mm_setcsr(saved_ | (_mm_getcsr() & kFlags));
    }
  }
#elif defined(__aarch64__)
  // FPCR holds the modes, FPSR the flags.
  std::uint64_t control_;
  std::uint64_t status_;

  void enter() {
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(control_));
    __asm__ __volatile__("mrs %0, fpsr" : "=r"(status_));
    if (control_ != 0) __asm__ __volatile__("msr fpcr, %0" : : "r"(std::uint64_t{0}));
  }
  void leave() {
    if (control_ != 0) __asm__ __volatile__("msr fpcr, %0" : : "r"(control_));
    if (exceptions_ == Exceptions::kDrop) __asm__ __volatile__("msr fpsr, %0" : : "r"(status_));
  }
#else
  std::fenv_t saved_;

  void enter() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  void leave() {
    if (exceptions_ == Exceptions::kKeep) {
      std::feupdateenv(&saved_);
    } else {
      std::fesetenv(&saved_);
    }
  }
#endif
};

}  // namespace nnkernels
